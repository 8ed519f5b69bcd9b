"""A customised model as one file: only what was trained, in float32, with a note of the model it belongs to.

2.3 GB for ZeroScope instead of 5.6, and nothing is rounded: after one step at 5e-6 most float16 weights would be where
they were.
"""
from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from media.files import save_atomically
from runtime.weights import save_tensors

NAME = "customization.safetensors"


def save_trained(folder: Path, trained: dict[str, Tensor], base: str | Path, fingerprint: str,
                 word: str = "") -> Path:
    """Write the trained tensors, float32, and the base they belong to.

    fingerprint: of the base. word: what means the motion in prompts."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in trained.items()}
    broken = next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)
    if broken:
        raise ValueError(f"{folder}: expected finite weights (found inf or NaN in '{broken}'): has training diverged? "
                         "lower learning_rate")
    notes = {"format": "pt", "base": str(base), "fingerprint": fingerprint, "word": word}
    save_atomically(folder / NAME, lambda path: save_tensors(tensors, path, notes))
    return folder / NAME
