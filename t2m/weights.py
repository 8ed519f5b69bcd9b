"""Files of text-to-motion weights, the released ones and ours: where they lie, and what is read of them, strictly."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from string import Formatter

import numpy as np
import torch
from torch import nn

from media.files import read_json, save_arrays, stored_arrays
from runtime.weights import fill, finite, read_tensors, without_parameters
from t2m.features import CONTACTS, HEADINGS, NUM_FEATURES, YAW_VELOCITY
from t2m.known_motions import Example

VQVAE_FILES = ("vqvae.safetensors", "net_last.pth", "VQVAE/net_last.pth", "pretrained/VQVAE/net_last.pth")
GPT_FILES = ("gpt.safetensors", "net_best_fid.pth", "VQTransformer_corruption05/net_best_fid.pth",
             "pretrained/VQTransformer_corruption05/net_best_fid.pth")
META_FOLDERS = ("", "meta", "VQVAEV3_CB1024_CMT_H1024_NRES3/meta",
                "checkpoints/t2m/VQVAEV3_CB1024_CMT_H1024_NRES3/meta")
EXAMPLES_FILE = "examples.npz"
RANGES = {                                    # of config.json's numbers
    "temperature": (0.001, 1000.0),
    "forward_smoothing": (0.01, 1000.0),      # frames
    "draws": (1, 1000),
}
CONFIG_KEYS = ("vqvae", "gpt", "prompt", "heading", *RANGES)
RELEASED_KEYS = ("net", "trans")              # the one top-level key of each released .pth
HUMANML3D_STD = ((YAW_VELOCITY, 0.012826), (CONTACTS, 0.355933))     # what the released weights were NOT trained with


def found(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of `names` that exists in `folder`."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder}: expected one of {', '.join(names)} (found none): "
                            "python scripts/download_weights.py t2m fetches what can be fetched and says which files are "
                            "placed by hand, and where; or train with python train_t2m.py")


def read_config(folder: Path) -> dict:
    """Sizes and prompt of the checkpoint; without a config.json, none, which means the released ones."""
    path = folder / "config.json"
    if not path.exists():
        return {}
    config = read_json(path)
    unknown = set(config) - set(CONFIG_KEYS)
    if unknown:
        raise ValueError(f"{path}: expected only {', '.join(CONFIG_KEYS)} (found {sorted(unknown)[0]!r})")
    for key in sorted(config.keys() - {"vqvae", "gpt"}):
        if wanted := unfit(key, config[key]):
            raise ValueError(f"{path}: {key}: expected {wanted} (found {config[key]!r}): correct it, or leave it out")
    return config


def unfit(key: str, value: object) -> str | None:
    """What config.json's `key` should be, in words, where `value` is not that; None where it is."""
    if key == "prompt":
        return None if can_be_filled_in(value) else "a text with {text}, and no other field than {text} and {seconds}"
    if key == "heading":
        return None if value in tuple(HEADINGS) else " or ".join(HEADINGS)
    least, most = RANGES[key]
    is_number = type(value) is int or type(value) is float and isinstance(least, float)
    kind = "a number" if isinstance(least, float) else "a whole number"
    return None if is_number and least <= value <= most else f"{kind} from {least:g} to {most:g}"


def can_be_filled_in(prompt: object) -> bool:
    """Whether `prompt` is a text with {text} in it, into which nothing but a text and seconds is to be put."""
    try:
        names = {name for _, name, _, _ in Formatter().parse(prompt) if name is not None}
        prompt.format(text="waves", seconds=1.0)
    except (TypeError, ValueError, LookupError, AttributeError):
        return False
    return "text" in names and names <= {"text", "seconds"}


def without_memory(build: Callable[..., nn.Module], config: dict, part: str, folder: Path) -> nn.Module:
    """A VQVAE or GPT without memory for its parameters; its sizes are config.json's `part`, or the released ones."""
    try:
        with without_parameters():
            return build(**config.get(part, {}))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{folder / 'config.json'}: expected the sizes of a {build.__name__} in '{part}' ({error}): "
                         "fetch it again") from None


def load_strictly(model: nn.Module, path: Path, device: str = "cpu") -> nn.Module:
    """Fill `model` from `path` in float32; a missing, unexpected, misshapen or not finite tensor is named.

    The model may be built without memory: it takes the file's tensors as they are. device="meta" compares and reads
    nothing.
    """
    return fill(model, finite(read_tensors(path, torch.float32, device, RELEASED_KEYS), path), path)


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


def write_examples(folder: Path, examples: Sequence[Example]) -> None:
    """Motions to know others by, in half precision; every second frame is enough, since motions are compared at 10 fps."""
    joints = [example.joints[::2].astype(np.float16) for example in examples]
    save_arrays(folder / EXAMPLES_FILE, joints=np.concatenate(joints), lengths=np.array([len(each) for each in joints]),
                kinds=np.array([example.kind for example in examples]), sides=np.array([example.side or "" for example in examples]),
                real=np.array([example.real for example in examples]))


def read_examples(folder: Path) -> list[Example]:
    """What `write_examples` wrote, at 20 fps again; none where there is no such file."""
    path = folder / EXAMPLES_FILE
    if not path.exists():
        return []
    with stored_arrays(path, "example motions") as arrays:
        joints = np.split(arrays["joints"].astype(np.float32), np.cumsum(arrays["lengths"])[:-1])        # S of (T / 2, 22, 3)
        return [Example(str(kind), str(side) or None, at_20_fps(each), bool(real)) for kind, side, each, real in
                zip(arrays["kinds"], arrays["sides"], joints, arrays["real"], strict=True)]


def at_20_fps(joints: np.ndarray) -> np.ndarray:
    """(T, 22, 3) at 10 fps -> (2 T - 1, 22, 3)"""
    doubled = np.repeat(joints, 2, axis=0)[:-1]
    doubled[1::2] = (joints[1:] + joints[:-1]) / 2
    return doubled
