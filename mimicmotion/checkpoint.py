"""Weights on disk: strict loading, one copy in memory, errors that name file and tensor; saving that is all or nothing.

Read: .safetensors, our folder {config.json, model.safetensors}, MimicMotion's .pth, and diffusers component folders with
or without the "fp16" variant. Nothing in a file is ever executed.
"""
import json
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLTemporalDecoder
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from .pose_net import PoseNet
from .unet import PoseUNet

PARTS = ("unet", "pose_net")                                  # the prefixes of a video model's tensors
IGNORED = ("vision_model.embeddings.position_ids",)           # a counter that older transformers stored


def read_json(path: Path) -> dict:
    """A config file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a config file (found none): is this a complete model folder?")
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON (found {error}): fetch it again") from None


def read_tensors(path: Path, dtype: torch.dtype) -> dict[str, Tensor]:
    """All tensors of a .safetensors, .pth, .pt or .bin file, floating ones in `dtype`, each read from disk once."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a weights file (found none): check the path")
    cast = lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                return {name: cast(file.get_tensor(name)) for name in file.keys()}
        except SafetensorError as error:
            raise ValueError(f"{path}: expected whole safetensors ({error}): fetch the file again") from None
    tensors = read_pickled(path)
    if not isinstance(tensors, Mapping) or not all(isinstance(t, Tensor) for t in tensors.values()):
        raise ValueError(f"{path}: expected one flat dict of tensors (found a {type(tensors).__name__} with other "
                         "things): is this a training state?")
    return {name: cast(tensor) for name, tensor in tensors.items()}


def read_pickled(path: Path):
    """What torch.save wrote, tensors and plain containers only, mapped from disk where the format allows."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip(path))
    except pickle.UnpicklingError as error:
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


def fill(module: nn.Module, tensors: dict[str, Tensor], source: Path | str, prefix: str = "") -> nn.Module:
    """Put `tensors` into a module built without memory; exactly its parameters, or a ValueError that names one."""
    expected = module.state_dict()
    missing = [name for name in expected if name not in tensors]
    unexpected = [name for name in tensors if name not in expected and name not in IGNORED]
    reshaped = [name for name in expected if name in tensors and tensors[name].shape != expected[name].shape]
    if missing:
        raise ValueError(f"{source}: {len(missing)} tensors missing, first '{prefix}{missing[0]}': "
                         f"is it a {type(module).__name__} of the size in its config.json?")
    if unexpected:
        raise ValueError(f"{source}: {len(unexpected)} unexpected tensors, first '{prefix}{unexpected[0]}': "
                         f"is it a {type(module).__name__} of the size in its config.json?")
    if reshaped:
        name = reshaped[0]
        found, wanted = tuple(tensors[name].shape), tuple(expected[name].shape)
        raise ValueError(f"{source}: {len(reshaped)} tensors of another shape, first '{prefix}{name}' "
                         f"{found} instead of {wanted}: does config.json belong to this file?")
    module.load_state_dict({name: tensors[name] for name in expected}, assign=True)
    return module.requires_grad_(True).eval()


def weights_file(folder: Path, stem: str, dtype: torch.dtype) -> Path:
    """The weights file of a diffusers component folder; half precision prefers the "fp16" variant, full the full one."""
    variants = (folder / f"{stem}.safetensors", folder / f"{stem}.fp16.safetensors")
    found = [path for path in variants if path.is_file()]
    if not found:
        raise FileNotFoundError(f"{folder}: expected {variants[0].name} or {variants[1].name} (found neither): "
                                "download the weights")
    return found[0] if dtype == torch.float32 else found[-1]


def empty(build, config: dict, path: Path) -> nn.Module:
    """A module without memory for its parameters (buffers are real), from its config."""
    try:
        with init_empty_weights(include_buffers=False):
            return build(config)
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: expected a config this version can build ({error}): fetch it again") from None


def load_vae(folder: str | Path, dtype: torch.dtype) -> AutoencoderKLTemporalDecoder:
    """The SVD autoencoder from its component folder."""
    folder = Path(folder)
    vae = empty(AutoencoderKLTemporalDecoder.from_config, read_json(folder / "config.json"), folder)
    path = weights_file(folder, "diffusion_pytorch_model", dtype)
    return fill(vae, read_tensors(path, dtype), path)


def load_image_encoder(folder: str | Path, dtype: torch.dtype) -> CLIPVisionModelWithProjection:
    """The CLIP image encoder from its component folder."""
    folder = Path(folder)
    build = lambda config: CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
    encoder = empty(build, read_json(folder / "config.json"), folder)
    path = weights_file(folder, "model", dtype)
    return fill(encoder, read_tensors(path, dtype), path)


def load_unet(folder: str | Path, dtype: torch.dtype) -> PoseUNet:
    """A plain SVD UNet from its component folder."""
    folder = Path(folder)
    unet = empty(PoseUNet.from_config, read_json(folder / "config.json"), folder)
    path = weights_file(folder, "diffusion_pytorch_model", dtype)
    return fill(unet, read_tensors(path, dtype), path)


def load_video_model(svd_folder: str | Path, checkpoint: str | Path | None,
                     dtype: torch.dtype) -> tuple[PoseUNet, PoseNet]:
    """UNet and PoseNet. checkpoint: our folder (its own UNet size), a .safetensors or MimicMotion's .pth (the size of
    svd_folder/unet/config.json), or None: the plain SVD UNet and a new PoseNet, which changes nothing until trained."""
    unet_folder = Path(svd_folder) / "unet"
    if checkpoint is None:
        unet = load_unet(unet_folder, dtype)
        return unet, PoseNet(unet.config.block_out_channels[0]).to(dtype).eval()
    path, config_folder = Path(checkpoint), unet_folder
    if path.is_dir():
        path, config_folder = path / "model.safetensors", path
    tensors = read_tensors(path, dtype)
    parts = split_parts(tensors, path)
    unet = empty(PoseUNet.from_config, read_json(config_folder / "config.json"), config_folder)
    pose_net = empty(lambda config: PoseNet(config["block_out_channels"][0]), unet.config, config_folder)
    return fill(unet, parts["unet"], path, "unet."), fill(pose_net, parts["pose_net"], path, "pose_net.")


def split_parts(tensors: dict[str, Tensor], source: Path) -> dict[str, dict[str, Tensor]]:
    """A flat video-model dict by its prefixes, which are taken off."""
    parts = {part: {} for part in PARTS}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise ValueError(f"{source}: expected tensors 'unet.*' and 'pose_net.*' (found '{name}'): "
                             "is this a plain SVD checkpoint?")
        parts[part][rest] = tensor
    return parts


def save_checkpoint(folder: str | Path, unet: PoseUNet, pose_net: PoseNet, dtype: torch.dtype = torch.float16) -> Path:
    """Write {config.json, model.safetensors}; each file appears whole or not at all. The folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for part, module in zip(PARTS, (unet, pose_net)):
        for name, tensor in module.state_dict().items():
            stored = tensor.detach().to("cpu", dtype).contiguous()
            if not stored.isfinite().all():
                raise ValueError(f"{folder}: expected finite weights (found inf or NaN in '{part}.{name}' as {dtype}): "
                                 "has training diverged? float32 holds larger numbers")
            tensors[f"{part}.{name}"] = stored
    config = {key: value for key, value in unet.config.items() if not key.startswith("_")}
    save_atomically(folder / "config.json", lambda path: path.write_text(json.dumps(config, indent=2) + "\n"))
    save_atomically(folder / "model.safetensors", lambda path: save_file(tensors, path, metadata={"format": "pt"}))
    return folder


def save_atomically(path: Path, write) -> None:
    """Let `write` fill a temporary file beside `path`, then give it its name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
