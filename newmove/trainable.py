"""Which weights of a text-to-video network are trained, by name, and the file they alone are saved in.

The paper trains the layers over time and text. The file is float32, 2.3 GB for ZeroScope instead of 5.6: after one step
at 5e-6 most float16 weights would be where they were.

A setting is a list of group names and substrings; what any of them matches is trained, whatever their order.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import nn, Tensor

from media.files import save_atomically
from runtime.weights import save_tensors

NAME = "customization.safetensors"
OVER_TIME = ("temp_attentions", "transformer_in")
GROUPS = {                                                      # name -> does it hold a parameter of this name?
    "all": lambda name: True,
    "cross": lambda name: "attn2" in name and keys_or_values(name),
    "self": lambda name: "attn1" in name and keys_or_values(name),
    "temporal": lambda name: any(part in name for part in OVER_TIME),
}
PAPER = ("cross", "temporal", "temp_convs")                     # 826 tensors, 570,882,176 numbers of ZeroScope


def keys_or_values(name: str) -> bool:
    """Is this a key or value projection of an attention over space? Those over time have other groups."""
    return ("to_k" in name or "to_v" in name) and not any(part in name for part in OVER_TIME)


def as_list(groups: str | Sequence[str]) -> list[str]:
    """A setting as a list; one name may be given by itself."""
    return [groups] if isinstance(groups, str) else list(groups)


def trained_names(names: Iterable[str], groups: str | Sequence[str]) -> list[str]:
    """The names that the groups and substrings select, in the order of `names`; ValueError for one that selects none."""
    names, groups = list(names), as_list(groups)
    if not groups:
        raise ValueError(f"trainable_modules: expected at least one of {', '.join(GROUPS)}, temp_convs (found none): "
                         "name what is trained")
    chosen = set()
    for group in groups:
        matches = GROUPS.get(group, lambda name: group and group in name)
        found = {name for name in names if matches(name)}
        if not found:
            raise ValueError(f"trainable_modules: expected {', '.join(GROUPS)}, temp_convs or a part of a weight's name "
                             f"(found {group!r}, which is in none): nothing would be trained")
        chosen |= found
    return [name for name in names if name in chosen]


def train_only(network: nn.Module, groups: str | Sequence[str]) -> list[str]:
    """Let gradients reach the chosen parameters and no others; their names."""
    chosen = trained_names((name for name, _ in network.named_parameters()), groups)
    wanted = set(chosen)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in wanted)
    return chosen


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
