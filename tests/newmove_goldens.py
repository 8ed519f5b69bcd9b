"""A set of NewMove goldens as a complete folder: what is given as a recipe, weights and noise, is drawn and written.

The recipe: one CPU generator; the parts in the order of WEIGHTS and their parameters in the order of names, normal numbers
scaled by fan-in, a few tensors that follow no rule stored; then per training step `skip` uniform numbers, the VAE's noise
and the network's.
"""
import json
import math
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = ("text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model")    # in this order


def complete(goldens: Path, made: Path) -> Path:
    """`goldens` if nothing is missing in it; else its copy in `made`, with what recipe.json describes."""
    if not (goldens / "recipe.json").is_file():
        return goldens
    shutil.copytree(goldens, made, dirs_exist_ok=True)
    recipe = json.loads((goldens / "recipe.json").read_text())
    exceptions, inputs = load_file(goldens / "exceptions.safetensors"), load_file(goldens / "inputs.safetensors")
    generator = torch.Generator().manual_seed(recipe["seed"])
    for part in WEIGHTS:
        tensors = {name: drawn(name, shape, generator) for name, shape in sorted(recipe["shapes"][part].items())}
        tensors |= {name: exceptions[f"{part}/{name}"] for name in tensors if f"{part}/{name}" in exceptions}
        save_file(tensors, made / "pipeline" / f"{part}.safetensors", {"format": "pt"})
    for step in recipe["steps"]:
        torch.rand(step["skip"], generator=generator)
        inputs |= {name: torch.randn(shape, generator=generator) for name, shape in step["noise"].items()}
    save_file(inputs, made / "inputs.safetensors")
    return made


def drawn(name: str, shape: list[int], generator: torch.Generator) -> torch.Tensor:
    normal = torch.randn(shape, generator=generator)
    if "embeddings." in name:
        return normal / 5
    if name.endswith("bias"):
        return normal * 0.05
    if len(shape) == 1:
        return 1 + 0.1 * normal
    scaled = normal / math.prod(shape[1:]) ** 0.5
    return scaled * 1.6 if "to_k." in name or "to_q." in name else scaled
