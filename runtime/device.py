"""The machine: device and number format of a run, the memory it may take, and a seed for everything drawn at random."""
from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil
import torch
from torch import nn

GIB = 1 << 30
CUDA_CONTEXT = GIB // 2                # taken by CUDA itself, of a limit set by hand
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4               # names and numbers of glibc's malloc.h
KEPT = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1}                              # no separate blocks; never shrink
UNTOUCHED = {M_MMAP_MAX: 65536, M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 64 << 20}     # what glibc settles on


def chosen_device(name: str) -> str:
    """'auto' is a GPU when torch sees one. Of several launched processes each has its own."""
    if name == "auto":
        return own_gpu() if torch.cuda.is_available() else "cpu"
    if name != "cpu" and not (name == "cuda" or name.startswith("cuda:")):
        raise ValueError(f"device: must be auto, cpu, cuda or cuda:N (found '{name}')")
    if name.startswith("cuda:") and launched_count() > 1:
        raise ValueError(f"device={name}: one GPU cannot serve {launched_count()} processes: use device=auto")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={name}: torch sees no GPU: install a CUDA build of torch, or use device=cpu")
    return own_gpu() if name == "cuda" else name


def chosen_dtype(name: str, device: str) -> torch.dtype:
    """'auto' is float16 on a GPU, bfloat16 on a CPU with bfloat16 arithmetic, float32 elsewhere."""
    if name != "auto":
        return getattr(torch, name)
    if device != "cpu":
        return torch.float16
    return torch.bfloat16 if cpu_has_bfloat16() else torch.float32


def cpu_has_bfloat16() -> bool:
    """Has this CPU arithmetic in bfloat16? Without it bfloat16 takes up to twenty times as long as float32."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and any(flag in cpuinfo.read_text() for flag in ("amx_bf16", "avx512_bf16"))


def seed_for(seed: int, *what: object) -> int:
    """The seed of one thing drawn at random, from a run's seed and the thing's name: independent of all others, below 2^63."""
    digest = hashlib.sha256(" ".join(map(str, (seed, *what))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator_for(seed: int, *what: object) -> torch.Generator:
    """A CPU generator that belongs to (seed, *what) alone; another name is another stream."""
    return torch.Generator().manual_seed(seed_for(seed, *what))


def free_memory(device: str | torch.device, limit_gb: float = 0.0, networks: Iterable[nn.Module] = ()) -> int:
    """Bytes that networks and their work may take on the device: what is free, or less where the user set a limit.

    limit_gb: GiB, CUDA's own half included; 0: no limit. networks: already loaded ones, whose memory counts as free.
    """
    device = torch.device(device)
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)      # kept by torch, unused
    else:
        free = psutil.virtual_memory().available
    free += sum(p.nbytes for network in networks for p in network.parameters() if p.device.type == device.type)
    if limit_gb == 0:
        return free
    return min(free, int(limit_gb * GIB) - (CUDA_CONTEXT if device.type == "cuda" else 0))


def launched_count() -> int:
    """How many processes the launcher started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", 1))


def own_gpu() -> str:
    """The GPU of this process: each of the launched ones on a machine has its own."""
    if launched_count() == 1:
        return "cuda"
    needed, found = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if needed > found:
        raise ValueError(f"--num_processes: expected at most one per GPU, {found} (found {needed}): start fewer")
    return f"cuda:{os.environ['LOCAL_RANK']}"


def keep_freed_memory(device: torch.device | str = "cpu") -> bool:
    """From now on, in this process. Does nothing and gives False for a GPU, and where malloc is not glibc's."""
    return torch.device(device).type == "cpu" and set_malloc(KEPT)


def return_freed_memory() -> None:
    """As in a program that never asked for anything, what was kept given back: for the benchmark's comparison."""
    if set_malloc(UNTOUCHED):
        trim_memory()


def trim_memory() -> None:
    """What was freed and kept goes back to the system now, of every thread; does nothing where malloc is not glibc's."""
    if glibc() is not None:
        glibc().malloc_trim(0)


def set_malloc(options: dict[int, int]) -> bool:
    """Were all options taken?"""
    return glibc() is not None and all([glibc().mallopt(option, value) for option, value in options.items()])


def glibc() -> ctypes.CDLL | None:
    """The C library of this process, where it is the one with these settings."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "mallopt") else None
