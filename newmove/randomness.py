"""Random numbers by name: each is a function of the seed, the sample's position and what it is for."""
from __future__ import annotations

import hashlib

import torch


def generator_for(seed: int, *what: int | str) -> torch.Generator:
    """A CPU generator that belongs to (seed, *what) alone; another name is another stream."""
    digest = hashlib.sha256("/".join(map(str, (seed, *what))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big"))
