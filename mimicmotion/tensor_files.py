"""Tensors on disk: .safetensors, .pth, .pt and .bin, each byte in memory once, nothing in a file ever executed.

A tensor that is stored in the asked dtype is mapped: its pages are read when they are first used. Others are converted
one after the other, and what they were converted from is let go of on the way.
"""
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

MAPPED_BYTES = 32 << 20                                       # converted before the pages they came from are given back
KINDS = (                                                     # how a file's tensors are named, and what it then is
    ("model.diffusion_model.", "Stable Video Diffusion in one file, which has no PoseNet"),
    ("conv_in.", "a plain SVD UNet, which has no PoseNet"),
    ("vqvae.", "T2M-GPT's VQ-VAE"),
    ("trans_base.", "T2M-GPT's GPT"),
    ("text_model.", "CLIP's text encoder"),
    ("vision_model.", "CLIP's image encoder"),
    ("encoder.", "an autoencoder (VAE)"),
)


def read_tensors(path: Path, dtype: torch.dtype | None, device: str = "cpu") -> dict[str, Tensor]:
    """All tensors of a file, floating ones in `dtype` (None: as stored). device="meta" reads names and shapes only."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a weights file (found none): check the path")
    if path.suffix == ".safetensors":
        return {name: converted(tensor, dtype, device) for name, tensor in mapped(path)}
    tensors = flat(read_pickled(path, mapped=True), path)
    if device == "cpu" and any(target(tensor, dtype) != tensor.dtype for tensor in tensors.values()):
        tensors = flat(read_pickled(path, mapped=False), path)
    return {name: converted(tensors.pop(name), dtype, device) for name in list(tensors)}


def target(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    return dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype


def converted(tensor: Tensor, dtype: torch.dtype | None, device: str) -> Tensor:
    return tensor.to(device, target(tensor, dtype))


def mapped(path: Path) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of a .safetensors; a new map now and then, so that pages nobody holds go out of memory."""
    try:
        with safe_open(path, "pt") as file:
            names = list(file.keys())
        while names:
            size = 0
            with safe_open(path, "pt") as file:
                while names and size < MAPPED_BYTES:
                    tensor = file.get_tensor(names[0])
                    size += tensor.nbytes
                    yield names.pop(0), tensor
    except SafetensorError as error:
        raise ValueError(f"{path}: expected whole safetensors ({error}): fetch the file again") from None


def read_pickled(path: Path, mapped: bool):
    """What torch.save wrote, tensors and plain containers only; `mapped` from disk where the format allows it."""
    try:
        with warnings.catch_warnings(action="ignore"):            # a second line, about the pickle's version
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_zip(path))
    except pickle.UnpicklingError as error:
        if words := first_words(path):
            raise ValueError(f"{path}: expected a torch file (found the text '{words}'): is it a web page, or what "
                             "Git LFS leaves in a file's place? fetch the file itself") from None
        found = re.search(r"(?:GLOBAL|function|class) `?([\w.]+)`?", str(error))
        raise ValueError(f"{path}: expected tensors only (found {found[1] if found else 'something else'}, "
                         "not run): do not trust this file") from None
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path}: expected a whole torch file ({str(error).split('. ')[0] or 'it ends early'}): "
                         "fetch it again") from None


def is_zip(path: Path) -> bool:
    """torch.save's present format; the one before 2020 cannot be mapped."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def first_words(path: Path) -> str:
    """How a file of text begins, nothing for a binary one."""
    with path.open("rb") as file:
        line = file.read(48).partition(b"\n")[0]
    return line.decode() if line.isascii() and line.decode().isprintable() else ""


def flat(content: object, path: Path) -> dict[str, Tensor]:
    """`content` as one dict of tensors, or a ValueError that says what else it is."""
    if isinstance(content, Mapping) and all(isinstance(tensor, Tensor) for tensor in content.values()):
        return dict(content)
    keys = f" with the keys {', '.join(map(repr, list(content)[:3]))}" if isinstance(content, Mapping) else ""
    raise ValueError(f"{path}: expected one flat dict of tensors (found a {type(content).__name__}{keys}): is this a "
                     "training state, or another model's checkpoint?")


def kind_of(names: list[str]) -> str:
    """What a file with tensors of these names is, in words."""
    for prefix, kind in KINDS:
        if any(name.startswith(prefix) for name in names):
            return kind
    return "none of the models used here"


def metadata(path: Path) -> dict[str, str]:
    """The notes in a .safetensors file's header."""
    with safe_open(path, "pt") as file:
        return file.metadata() or {}
