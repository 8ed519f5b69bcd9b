"""Freed memory stays with the process: the system is not asked for the same pages again and again."""
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.device import keep_freed_memory

COUNT_PAGES = """
import resource, torch
from runtime.device import keep_freed_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(16 << 20)               # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(new_pages(), keep_freed_memory("cpu"), min(new_pages() for _ in range(3)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_pages_are_asked_for_once():
    done = subprocess.run([sys.executable, "-c", COUNT_PAGES], cwd=Path(__file__).parents[1], capture_output=True,
                          text=True, check=True)
    before, kept, after = done.stdout.split()
    assert kept == "True" and int(after) < int(before) / 10 and int(before) > 100


def test_a_gpu_program_keeps_the_systems_way():
    assert not keep_freed_memory("cuda")
