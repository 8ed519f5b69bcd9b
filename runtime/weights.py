"""Tensors on disk: strict reading without executing anything, errors that name file and tensor, and atomic saving."""
import hashlib
import json
import os
import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import init_empty_weights
from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
from torch import nn, Tensor
from torch.overrides import TorchFunctionMode

from media.files import read_json, save_atomically, save_text

MAPPED_BYTES = 32 << 20                                       # converted before the pages they came from are given back
KINDS = (                                                     # how a file's tensors are named, and what it then is
    ("model.diffusion_model.", "Stable Video Diffusion in one file, which has no PoseNet"),
    ("conv_in.", "a plain SVD UNet, which has no PoseNet"),
    ("vqvae.", "T2M-GPT's VQ-VAE, net_last.pth"),
    ("trans_base.", "T2M-GPT's GPT, net_best_fid.pth"),
    ("text_model.", "CLIP's text encoder"),
    ("vision_model.", "CLIP's image encoder"),
    ("encoder.", "an autoencoder (VAE)"),
)
OLD_VAE_ATTENTION = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}      # and its present names
IGNORED = ("vision_model.embeddings.position_ids",)           # a counter that older transformers stored


def read_tensors(path: Path, dtype: torch.dtype | None, device: str = "cpu", keys: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """All tensors of a file, floating ones in `dtype` (None: as stored). device="meta" reads names and shapes only.

    keys: a torch file may hold its tensors under one of these top-level keys.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a weights file (found none): check the path")
    if path.suffix == ".safetensors":
        return {name: converted(tensor, dtype, device) for name, tensor in mapped(path)}
    tensors = flat(read_pickled(path, mapped=True), path, keys)
    if device == "cpu" and any(target(tensor, dtype) != tensor.dtype for tensor in tensors.values()):
        tensors = flat(read_pickled(path, mapped=False), path, keys)
    return {name: converted(tensors.pop(name), dtype, device) for name in list(tensors)}


def target(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    """The type a tensor is read in: floating ones in `dtype`, others as they are."""
    return dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype


def converted(tensor: Tensor, dtype: torch.dtype | None, device: str) -> Tensor:
    """The tensor on the device, in `dtype` where it is a floating one."""
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


def tensors_key(path: Path, prefixes: tuple[str, ...] = ("",)) -> str:
    """Sixteen hex digits of the tensors of a .safetensors whose names begin with one of `prefixes`."""
    digest = hashlib.sha256()
    for name, tensor in mapped(path):
        if name.startswith(prefixes):
            digest.update(name.encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def read_pickled(path: Path, mapped: bool):
    """What torch.save wrote, tensors and plain containers only; `mapped` from disk where the format allows it."""
    try:
        with warnings.catch_warnings(action="ignore"):            # a second line, about the pickle's version
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and is_zip(path))
    except Exception as error:                                    # a text, read as a pickle, fails in any way
        if words := first_words(path):
            raise ValueError(f"{path}: expected a torch file (found the text '{words}'): is it a web page, or what "
                             "Git LFS leaves in a file's place? fetch the file itself") from None
        if isinstance(error, pickle.UnpicklingError):
            found = re.search(r"(?:GLOBAL|function|class) `?([\w.]+)`?", str(error))
            raise ValueError(f"{path}: expected tensors only (found {found[1] if found else 'something else'}, "
                             "not run): do not trust this file") from None
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


def flat(content: object, path: Path, keys: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """The dict of tensors that `content` is or has under one of `keys`, or a ValueError that says what else it is."""
    if isinstance(content, Mapping):
        content = next((content[key] for key in keys if isinstance(content.get(key), Mapping)), content)
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


def present_vae_name(name: str) -> str:
    """A VAE weight's name as diffusers has it now; files of before 2023 have others for attention."""
    for old, new in OLD_VAE_ATTENTION.items():
        name = name.replace(old, new)
    return name


def metadata(path: Path) -> dict[str, str]:
    """The notes in a .safetensors file's header."""
    with safe_open(path, "pt") as file:
        return file.metadata() or {}


def fill(module: nn.Module, tensors: dict[str, Tensor], source: Path | str, prefix: str = "") -> nn.Module:
    """Put `tensors` into a module built without memory; exactly its parameters, or a ValueError that names one."""
    expected, model = module.state_dict(), type(module).__name__
    if not expected.keys() & tensors.keys():
        raise ValueError(f"{source}: expected the tensors of a {model} (found {kind_of(list(tensors))}): "
                         "is this the right file?")
    missing = [name for name in expected if name not in tensors]
    unexpected = [name for name in tensors if name not in expected and name not in IGNORED]
    for problem, names in (("tensors missing", missing), ("unexpected tensors", unexpected)):
        if names:
            raise ValueError(f"{source}: {len(names)} {problem}, first '{prefix}{names[0]}': "
                             f"is it a {model} of the size in its config.json?")
    for name, wanted in expected.items():
        tensor = tensors[name]
        if tensor.shape != wanted.shape:
            count = sum(tensors[other].shape != expected[other].shape for other in expected)
            found = f"{tuple(tensor.shape)} instead of {tuple(wanted.shape)}"
            raise ValueError(f"{source}: {count} tensors of another shape, first '{prefix}{name}' {found}: "
                             "does config.json belong to this file?")
        if tensor.is_floating_point() != wanted.is_floating_point():
            raise ValueError(f"{source}: '{prefix}{name}' is {tensor.dtype} instead of {wanted.dtype}: "
                             "is it quantised? float16, bfloat16 and float32 are read")
    module.load_state_dict({name: tensors[name] for name in expected}, assign=True)
    return module.requires_grad_(True).eval()


def finite(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The tensors of a file as they are, or a ValueError that names one with NaN or infinity; those on "meta" are not looked at."""
    for name, tensor in tensors.items():
        if tensor.numel() and not tensor.is_meta and not torch.stack(tensor.aminmax()).isfinite().all():        # a NaN is both
            raise ValueError(f"{path}: expected finite weights (found NaN or infinity in '{name}'): the file is damaged, fetch it again "
                             "or train anew")
    return tensors


def check_safetensors(path: Path) -> None:
    """Every .safetensors under `path` is as long as its header says."""
    for file in sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]:
        if file.suffix != ".safetensors":
            continue
        size = file.stat().st_size
        with file.open("rb") as stream:
            header_size = int.from_bytes(stream.read(8), "little")
            try:
                header = json.loads(stream.read(header_size)) if header_size < size else {}
                ends = {name: 8 + header_size + int(entry["data_offsets"][1])
                        for name, entry in header.items() if name != "__metadata__"}
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
                ends = {}
        if not ends:
            raise ValueError(f"{file}: not a whole safetensors file ({size:,} bytes): fetch it again")
        cut = [name for name, end in ends.items() if end > size]
        if cut:
            raise ValueError(f"{file}: cut off at {size:,} of {max(ends.values()):,} bytes, tensor "
                             f"'{min(cut, key=ends.get)}' is not whole: fetch it again")


def weights_file(folder: Path, stem: str, dtype: torch.dtype) -> Path:
    """The weights file of a diffusers component folder; half precision prefers the "fp16" variant, full the full one."""
    variants = (folder / f"{stem}.safetensors", folder / f"{stem}.fp16.safetensors")
    found = [path for path in variants if path.is_file()]
    if not found:
        raise FileNotFoundError(f"{folder}: expected {variants[0].name} or {variants[1].name} (found neither): "
                                "download the weights")
    return found[0] if dtype == torch.float32 else found[-1]


class Unfilled(TorchFunctionMode):
    """Within the context, modules get parameters without first values. On the meta device these would import torch's compiler: seconds."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def without_parameters() -> Iterator[None]:
    """Within the context, modules are built without memory for their parameters; buffers are real."""
    with init_empty_weights(include_buffers=False), Unfilled():
        yield


def empty(build, config: dict, path: Path) -> nn.Module:
    """A module without memory for its parameters (buffers are real), from its config."""
    try:
        with without_parameters():
            return build(config)
    except (TypeError, KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: expected a config this version can build ({error}): fetch it again") from None


def empty_from(folder: Path, build) -> nn.Module:
    """The network without memory that the folder's config.json describes."""
    return empty(build, read_json(folder / "config.json"), folder)


def save_tensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a .safetensors file with the usual permissions; the library alone would make it readable by its owner only.

    What the system refuses is an OSError.
    """
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        if system := re.search(r"\(os error (\d+)\)", str(error)):
            raise OSError(int(system[1]), os.strerror(int(system[1])), str(path)) from error
        raise
    path.chmod(mode)


def save_with_config(folder: Path, tensors: dict[str, Tensor], config: dict, notes: dict[str, str]) -> Path:
    """Write {config.json, model.safetensors}; each file appears whole or not at all. notes: for the header, without empty ones."""
    save_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    header = {"format": "pt"} | {name: note for name, note in notes.items() if note}
    save_atomically(folder / "model.safetensors", lambda path: save_tensors(tensors, path, header))
    return folder
