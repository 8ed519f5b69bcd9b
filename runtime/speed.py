"""How long networks take on a device: operations counted without doing any, and how many the device does in a second."""
from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import torch
from torch import nn, Tensor

CHANNELS = 320                          # of the layers that are timed: the widest pictures in Stable Diffusion's U-Nets have so many
CELLS = {"cpu": 32, "cuda": 256}        # side of what they are given: enough that starting them costs little
ROUNDS = 3                              # the quickest counts


@torch.no_grad()
def operations(run: Callable[..., object], *given: Tensor) -> int:
    """Floating-point operations of run(*given) on the meta device; a multiplication with its addition is two."""
    from torch.utils.flop_counter import FlopCounterMode        # a second, for who asks

    with FlopCounterMode(display=False) as counter:
        run(*given)
    return counter.get_total_flops()


@cache
@torch.no_grad()
def operations_per_second(device: str, dtype: torch.dtype) -> float:
    """What a residual block and a transformer's feed-forward reach on the device now; measured in a second on two slow cores."""
    kind, channels = torch.device(device).type, CHANNELS
    side = CELLS[kind]
    block = nn.Sequential(nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
                          nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
    tokens = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
    cells = channels * channels * side * side
    counted = 2 * (2 * 9 + 2 * 4) * cells                                               # of two convolutions and two linear layers
    block, tokens = block.to(device, dtype), tokens.to(device, dtype)
    image = torch.zeros(1, channels, side, side, device=device, dtype=dtype)
    words = torch.zeros(1, side * side, channels, device=device, dtype=dtype)

    def seconds() -> float:
        start = time.perf_counter()
        block(image), tokens(words)
        if kind == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    seconds()
    return counted / min(seconds() for _ in range(ROUNDS))
