"""Freed tensors' memory stays with the process, for computing on CPUs.

glibc gives every block of more than 32 MB back to the system when a tensor is freed, and the next operation gets it
anew, page by page, filled with zeros: a fifth of the time of the video network on a CPU.
"""
import ctypes
import sys

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4               # names and numbers of glibc's malloc.h
KEPT = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1}                              # no separate blocks; never shrink
UNTOUCHED = {M_MMAP_MAX: 65536, M_MMAP_THRESHOLD: 32 << 20, M_TRIM_THRESHOLD: 64 << 20}     # what glibc settles on


def keep_freed_memory(device: torch.device | str = "cpu") -> bool:
    """From now on, in this process. Does nothing and gives False for a GPU, and where malloc is not glibc's."""
    return torch.device(device).type == "cpu" and set_malloc(KEPT)


def return_freed_memory() -> None:
    """As in a program that never asked for anything, what was kept given back: for the benchmark's comparison."""
    if set_malloc(UNTOUCHED):
        glibc().malloc_trim(0)


def set_malloc(options: dict[int, int]) -> bool:
    """Were all options taken?"""
    return glibc() is not None and all([glibc().mallopt(option, value) for option, value in options.items()])


def glibc() -> ctypes.CDLL | None:
    """The C library of this process, where it is the one with these settings."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "mallopt") else None
