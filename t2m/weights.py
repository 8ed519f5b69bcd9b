"""Reading T2M-GPT's files: the released ones and ours, strictly, with errors that name the file and the tensor."""
from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import init_empty_weights
from safetensors import safe_open, SafetensorError
from torch import nn, Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from t2m.features import CONTACTS, NUM_FEATURES, YAW_VELOCITY

VQVAE_FILES = ("vqvae.safetensors", "net_last.pth", "VQVAE/net_last.pth", "pretrained/VQVAE/net_last.pth")
GPT_FILES = ("gpt.safetensors", "net_best_fid.pth", "VQTransformer_corruption05/net_best_fid.pth",
             "pretrained/VQTransformer_corruption05/net_best_fid.pth")
TEXT_FILES = ("model.safetensors", "pytorch_model.bin")
META_FOLDERS = ("", "meta", "VQVAEV3_CB1024_CMT_H1024_NRES3/meta",
                "checkpoints/t2m/VQVAEV3_CB1024_CMT_H1024_NRES3/meta")
CONFIG_KEYS = ("vqvae", "gpt", "prompt", "temperature", "forward_smoothing")
RELEASED_KEYS = ("net", "trans")              # the one top-level key of each released .pth
HUMANML3D_STD = ((YAW_VELOCITY, 0.012826), (CONTACTS, 0.355933))     # what the released weights were NOT trained with


def found(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of `names` that exists in `folder`."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder}: expected one of {', '.join(names)} (found none): "
                            "run scripts/download_weights.py, or point t2m at the folder that has it")


def read_config(folder: Path) -> dict:
    """Sizes and prompt of the checkpoint; without a config.json, none, which means the released ones."""
    path = folder / "config.json"
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON (found {error}): fetch it again") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path}: expected names and values (found a {type(config).__name__}): fetch it again")
    unknown = set(config) - set(CONFIG_KEYS)
    if unknown:
        raise ValueError(f"{path}: expected only {', '.join(CONFIG_KEYS)} (found {sorted(unknown)[0]!r})")
    return config


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors, CLIP's .bin, or a released .pth under its one top-level key; read when first used."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}
        with path.open("rb") as file:
            start = file.read(4)
        is_zip = start == b"PK\x03\x04"                          # torch.save's format since 2020, which can be mapped
        with warnings.catch_warnings(action="ignore"):            # a second line, about the pickle's version
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        if start in (b"<!DO", b"<!do", b"<htm", b"vers"):
            raise ValueError(f"{path}: expected a torch file (found a web page, or what Git LFS leaves in a file's "
                             "place): fetch the file itself") from None
        found = re.search(r"(?:GLOBAL|function|class) `?([\w.]+)`?", str(error))
        raise ValueError(f"{path}: expected tensors only (found {found[1] if found else 'something else'}, not run): "
                         "do not trust this file") from None
    except (SafetensorError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).split(". ")[0] or "it ends early"
        raise ValueError(f"{path}: expected a whole checkpoint ({reason}): download it again") from None
    if isinstance(content, dict) and path.suffix == ".bin":
        return content
    for key in RELEASED_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            return content[key]
    raise ValueError(f"{path}: expected a checkpoint with the key {' or '.join(map(repr, RELEASED_KEYS))} "
                     f"(found {sorted(content)[:3] if isinstance(content, dict) else type(content).__name__}): "
                     "is this another model's file?")


def without_memory(build: Callable[..., nn.Module], config: dict, part: str, folder: Path) -> nn.Module:
    """A VQVAE or GPT without memory for its weights; its sizes are config.json's `part`, or the released ones."""
    try:
        with torch.device("meta"):
            return build(**config.get(part, {}))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{folder / 'config.json'}: expected the sizes of a {build.__name__} in '{part}' ({error}): "
                         "fetch it again") from None


def load_strictly(model: nn.Module, path: Path, device: str = "cpu") -> nn.Module:
    """Fill `model` from `path` in float32; a missing, left-over or misshapen tensor is named.

    The model may be built without memory: it takes the file's tensors as they are. device="meta" compares and reads
    nothing.
    """
    tensors, expected = read_tensors(path), model.state_dict()
    missing, left_over = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if len(missing) == len(expected):
        raise ValueError(f"{path}: expected the tensors of T2M-GPT's {type(model).__name__} (found "
                         f"{min(tensors, default='none')!r}): {describe(tensors)}")
    for problem, names in (("missing", missing), ("left over", left_over)):
        if names:
            raise ValueError(f"{path}: {len(names)} tensors {problem}, first {min(names)!r}: is this the right file?")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(f"{path}: {name}: expected {tuple(expected[name].shape)} (found {tuple(tensor.shape)}): "
                             "do the sizes in config.json belong to this file?")
        if not tensor.is_floating_point():
            raise ValueError(f"{path}: {name}: expected floating numbers (found {tensor.dtype}): is it quantised?")
    model.load_state_dict({name: tensor.to(device, torch.float32) for name, tensor in tensors.items()}, assign=True)
    return model


def describe(tensors: dict[str, Tensor]) -> str:
    """What a file that is not the expected one seems to be."""
    for prefix, kind in (("vqvae.", "the VQ-VAE, net_last.pth"), ("trans_base.", "the GPT, net_best_fid.pth")):
        if any(name.startswith(prefix) for name in tensors):
            return f"this is {kind}: are the two files exchanged?"
    return "is this another model's file?"


def load_text_tower(folder: Path, dtype: torch.dtype = torch.float32,
                    device: str = "cpu") -> CLIPTextModelWithProjection:
    """CLIP's text encoder with its projection, from a folder with only these or with a whole CLIP."""
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder / 'config.json'}: expected CLIP's text encoder there (found none): "
                                "put openai/clip-vit-base-patch32 in the folder, or download the weights")
    path = found(folder, TEXT_FILES)
    try:
        with init_empty_weights(include_buffers=False):
            model = CLIPTextModelWithProjection(CLIPTextConfig.from_pretrained(folder, local_files_only=True))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'config.json'}: expected the config of CLIP's text encoder ({error}): "
                         "fetch it again") from None
    tensors, expected = read_tensors(path), model.state_dict()
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise ValueError(f"{path}: {len(missing)} tensors missing, first {missing[0]!r}: "
                         "is this a CLIP with its text projection?")
    for name, wanted in expected.items():
        if tensors[name].shape != wanted.shape:
            raise ValueError(f"{path}: {name}: expected {tuple(wanted.shape)} (found {tuple(tensors[name].shape)}): "
                             "does config.json belong to this file?")
    model.load_state_dict({name: tensors[name].to(device, dtype) for name in expected}, assign=True)
    return model.eval()


def read_statistics(folder: Path, released: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (263,) float64; for the released weights they must be the evaluator's `meta` pair."""
    mean_path = found(folder, tuple(str(Path(meta, "mean.npy")) for meta in META_FOLDERS))
    std_path = found(mean_path.parent, ("std.npy",))
    mean, std = read_numbers(mean_path), read_numbers(std_path)
    for path, values in ((mean_path, mean), (std_path, std)):
        if values.shape != (NUM_FEATURES,) or not np.isfinite(values).all():
            raise ValueError(f"{path}: expected ({NUM_FEATURES},) finite numbers (found shape {values.shape})")
    if not (std > 0).all():
        raise ValueError(f"{std_path}: expected positive deviations (found {std.min():.3g}): is this a copy of mean.npy?")
    if released and all(np.allclose(std[block], value, rtol=0.1) for block, value in HUMANML3D_STD):
        raise ValueError(
            f"{std_path}: expected the evaluator's meta/std.npy, whose first value is 0.000515 (found {std[0]:.6f}, "
            "HumanML3D's Std.npy): the released weights would turn and walk 25 times too much; take std.npy of "
            "VQVAEV3_CB1024_CMT_H1024_NRES3/meta")
    return mean, std


def read_numbers(path: Path) -> np.ndarray:
    """The numbers of an .npy file, float64."""
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False).astype(np.float64)
    except (ValueError, TypeError, EOFError) as error:
        raise ValueError(f"{path}: expected an .npy file of numbers ({error}): fetch it again") from None
