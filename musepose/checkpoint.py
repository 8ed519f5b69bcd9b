"""MusePose's weights on disk: the official folder `pretrained_weights`, or our folder with one safetensors file.

Every tensor of every file is accounted for. The official .pth are float16 views of one flat training buffer, up to 3.4 GB
for 2 MB of content: they are mapped and copied tensor by tensor. Nothing in a file is ever executed.
"""
from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from media.files import read_json
from runtime.weights import (
    MAPPED_BYTES, converted, empty, empty_from, flat, is_zip, mapped, present_vae_name, read_pickled, save_with_config,
)
from musepose import FETCH, WeightFiles
from musepose.networks import Denoiser, PoseGuider, ReferenceNet, build_denoiser, build_pose_guider, build_reference_net, is_motion

PARTS = ("denoiser", "reference_net", "pose_guider")          # the prefixes of our one file's tensors
OUTPUT_LAYERS = ("conv_norm_out.", "conv_out.")               # of Stable Diffusion; the reference network has none
POSITIONS = re.compile(r"\.pos_encoder\.pe$")                 # computed anew, whatever a file holds
COUNTERS = re.compile(r"(^|\.)position_ids$")                 # older transformers stored them
MOTION_NAMES = (                                              # published name -> diffusers'
    (".temporal_transformer.", "."), (".attention_blocks.0.", ".attn1."), (".attention_blocks.1.", ".attn2."),
    (".norms.0.", ".norm1."), (".norms.1.", ".norm2."), (".ff_norm.", ".norm3."))
PUBLISHED_WIDTHS = (16, 32, 96, 256)                           # of the pose guider's levels
WEIGHTS_NAMES = ("diffusion_pytorch_model", "pytorch_model", "model")     # stems in a component folder


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks that MusePose trains."""
    denoiser: Denoiser
    reference_net: ReferenceNet
    pose_guider: PoseGuider


def copied_tensors(path: Path, dtype: torch.dtype | None, device: str = "cpu") -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of a weights file, each with memory of its own; floating ones in `dtype` (None: as stored).

    Beside the copies at most a few dozen megabytes of the file are in memory. device="meta": names and shapes only.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a weights file (found none): {FETCH}, or correct the path")
    if path.suffix == ".safetensors":
        for name, tensor in mapped(path):
            yield name, copied(tensor, dtype, device)
        return
    names, first = list(flat(read_pickled(path, mapped=True), path)), 0
    while first < len(names):
        tensors, size = flat(read_pickled(path, mapped=is_zip(path)), path), 0          # a new map gives the old pages back
        while first < len(names) and (size < MAPPED_BYTES or device == "meta" or not is_zip(path)):
            tensor = tensors[names[first]]
            yield names[first], copied(tensor, dtype, device)
            size, first = size + tensor.nbytes, first + 1


def copied(tensor: Tensor, dtype: torch.dtype | None, device: str) -> Tensor:
    """The tensor's values in memory that belongs to nobody else."""
    result = converted(tensor, dtype, device)
    if device == "meta" or result.data_ptr() != tensor.data_ptr():
        return result
    return result.clone(memory_format=torch.contiguous_format)


def motion_name(name: str) -> str:
    """A published motion module's tensor by its name in diffusers."""
    for published, ours in MOTION_NAMES:
        name = name.replace(published, ours)
    return name


def kind_of(names: list[str]) -> str:
    """What a file with these tensors is, in words."""
    if not names:
        return "an empty file"
    if all(is_motion(f".{name}") or name.endswith(".pe") for name in names):
        return "motion modules: motion_module.pth"
    if any(name.startswith("blocks.") for name in names):
        return "a pose guider: pose_guider.pth"
    if any(name.startswith("conv_in.") for name in names):
        moving = ", with motion modules" if any(map(is_motion, names)) else ""
        has_output = any(name.startswith("conv_out.") for name in names)
        return (f"a denoiser{moving}: denoising_unet.pth, or Stable Diffusion's UNet" if has_output else
                "a reference network: reference_unet.pth")
    if any(name.startswith(("control_model.", "controlnet_")) for name in names):
        return "a ControlNet"
    return f"'{names[0]}': none of MusePose's files"


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: Path, wanted: str) -> nn.Module:
    """Put `tensors` into a module built without memory: exactly its parameters, or a ValueError. wanted: what they are."""
    expected = module.state_dict()
    missing, unexpected = ([name for name in one if name not in other] for one, other in
                           ((expected, tensors), (tensors, expected)))
    if missing or unexpected:
        problem, names = ("missing", missing) if missing else ("unexpected", unexpected)
        raise ValueError(f"{source}: expected {wanted} (found {kind_of(list(tensors))}; {len(names)} tensors {problem}, "
                         f"first '{names[0]}'): give each file in its own place")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise ValueError(f"{source}: expected {wanted} of the size in the base model's config.json (found '{name}' "
                             f"{tuple(tensor.shape)} instead of {tuple(expected[name].shape)}): do they belong together?")
        if not tensor.is_floating_point():
            raise ValueError(f"{source}: expected float16, bfloat16 or float32 (found '{name}' in {tensor.dtype}): "
                             "is it quantised?")
    module.load_state_dict(tensors, assign=True)
    some = next(iter(tensors.values()))
    return nn.Module.to(module, some.device, some.dtype).requires_grad_(True).eval()     # moves the positions, which are no tensors of a file


def named_tensors(path: Path, dtype: torch.dtype | None, device: str = "cpu") -> dict[str, Tensor]:
    """All tensors of a file; motion modules by diffusers' names, positions and counters left out."""
    return {motion_name(name) if is_motion(f".{name}") else name: tensor
            for name, tensor in copied_tensors(path, dtype, device)
            if not POSITIONS.search(name) and not COUNTERS.search(name)}


def component_file(folder: Path) -> Path:
    """The weights file of a diffusers or transformers component folder."""
    for stem in WEIGHTS_NAMES:
        for suffix in (".safetensors", ".bin"):
            if (folder / f"{stem}{suffix}").is_file():
                return folder / f"{stem}{suffix}"
    raise FileNotFoundError(f"{folder}: expected {WEIGHTS_NAMES[0]}.safetensors or .bin (found neither): {FETCH}")


def base_config(files: WeightFiles) -> tuple[dict, Path]:
    """The config of the base model's UNet, and where it is."""
    path = files.pretrained_base_model / "unet" / "config.json"
    return read_json(path), path


def load_denoiser(files: WeightFiles, dtype: torch.dtype, device: str = "cpu") -> Denoiser:
    """The denoiser: 2-D tensors of denoising_unet.pth or of the base model, and motion modules where a file is named."""
    config, config_path = base_config(files)
    source = files.denoising_unet or component_file(files.pretrained_base_model / "unet")
    tensors = named_tensors(source, dtype, device)
    network = empty(lambda given: build_denoiser(given, motion=files.motion_module is not None), config, config_path)
    if files.motion_module is None:
        return fill(network, tensors, source, "a denoiser for single pictures")
    still = {name: tensor for name, tensor in tensors.items() if not is_motion(name)}
    if still.keys() != {name for name in network.state_dict() if not is_motion(name)}:
        still_network = empty(lambda given: build_denoiser(given, motion=False), config, config_path)
        fill(still_network, still or tensors, source, "a denoiser")
    motion = named_tensors(files.motion_module, dtype, device)
    only = {name for name in network.state_dict() if is_motion(name)}
    if motion.keys() != only:
        names = sorted(motion.keys() ^ only)
        raise ValueError(f"{files.motion_module}: expected motion modules (found {kind_of(list(motion))}; {len(names)} "
                         f"tensors differ, first '{names[0]}'): give each file in its own place")
    return fill(network, still | motion, files.motion_module, "motion modules")


def load_reference_net(files: WeightFiles, dtype: torch.dtype, device: str = "cpu") -> ReferenceNet:
    """The reference network: reference_unet.pth, or the base model without its output layers."""
    config, config_path = base_config(files)
    source = files.reference_unet or component_file(files.pretrained_base_model / "unet")
    tensors = named_tensors(source, dtype, device)
    if files.reference_unet is None:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(OUTPUT_LAYERS)}
    return fill(empty(build_reference_net, config, config_path), tensors, source, "a reference network")


def load_pose_guider(path: Path, channels: int, dtype: torch.dtype, device: str = "cpu") -> PoseGuider:
    """A pose guider of the widths its file has. channels: of the denoiser's first layer."""
    tensors = named_tensors(path, dtype, device)
    if not {"conv_in.weight", "conv_out.weight", "blocks.0.weight"} <= tensors.keys() or "time_embedding.linear_1.weight" in tensors:
        raise ValueError(f"{path}: expected a pose guider (found {kind_of(list(tensors))}): give each file in its own place")
    network = empty(lambda config: build_pose_guider(channels, config["blocks"]), {"blocks": guider_widths(tensors)}, path)
    return fill(network, tensors, path, "a pose guider")


def guider_widths(tensors: Mapping[str, Tensor]) -> tuple[int, ...]:
    """The widths of a pose guider's levels."""
    halvings = sorted(int(name.split(".")[1]) for name in tensors if re.fullmatch(r"blocks\.\d*[13579]\.weight", name))
    return (len(tensors["conv_in.weight"]), *(len(tensors[f"blocks.{number}.weight"]) for number in halvings))


def load_networks(files: WeightFiles, dtype: torch.dtype) -> Networks:
    """The three networks from the official files; a new pose guider changes nothing, as its last layer is zero."""
    denoiser = load_denoiser(files, dtype)
    channels = denoiser.config.block_out_channels[0]
    if files.pose_guider is None:
        guider = build_pose_guider(channels, PUBLISHED_WIDTHS).to(dtype=dtype).eval()
    else:
        guider = load_pose_guider(files.pose_guider, channels, dtype)
    return Networks(denoiser, load_reference_net(files, dtype), guider)


def load_vae(folder: str | Path, dtype: torch.dtype, device: str = "cpu") -> AutoencoderKL:
    """Stable Diffusion's autoencoder; attention names of before 2023 are read, too."""
    folder = Path(folder)
    path, tensors = component_file(folder), {}
    for name, tensor in copied_tensors(path, dtype, device):
        tensors[present_vae_name(name)] = tensor.flatten(1) if ".attentions." in name and tensor.ndim == 4 else tensor
    return fill(empty_from(folder, AutoencoderKL.from_config), tensors, path, "a VAE")


def load_image_encoder(folder: str | Path, dtype: torch.dtype, device: str = "cpu") -> CLIPVisionModelWithProjection:
    """CLIP's image encoder."""
    path = component_file(Path(folder))
    return fill(empty_from(Path(folder), clip_vision), named_tensors(path, dtype, device), path, "CLIP's image encoder")


def clip_vision(config: dict) -> CLIPVisionModelWithProjection:
    """The network of a CLIP image encoder's config.json, untrained."""
    return CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))


def save_networks(folder: Path, networks: Networks, config: dict, dtype: torch.dtype = torch.float16, source: str = "") -> Path:
    """Write {config.json, model.safetensors}: the three networks in one file, and the base UNet's config. The folder."""
    tensors = {f"{part}.{name}": tensor.detach().to("cpu", dtype).contiguous()
               for part in PARTS for name, tensor in getattr(networks, part).state_dict().items()}
    return save_with_config(folder, tensors, config, {"source": source})


def load_saved_networks(folder: str | Path, dtype: torch.dtype, device: str = "cpu") -> Networks:
    """What `save_networks` wrote."""
    folder = Path(folder)
    path, parts = folder / "model.safetensors", {part: {} for part in PARTS}
    for name, tensor in copied_tensors(path, dtype, device):
        part, _, rest = name.partition(".")
        if part not in parts:
            raise ValueError(f"{path}: expected tensors {', '.join(f'{part}.*' for part in PARTS)} (found '{name}'): "
                             "is it another model's file?")
        parts[part][rest] = tensor
    for part, tensors in parts.items():
        if not tensors:
            raise ValueError(f"{path}: expected tensors '{part}.*' (found none): convert the official weights again")
    config, place = read_json(folder / "config.json"), folder / "config.json"
    motion = any(map(is_motion, parts["denoiser"]))
    denoiser = empty(lambda given: build_denoiser(given, motion), config, place)
    guider = lambda given: build_pose_guider(given["block_out_channels"][0], guider_widths(parts["pose_guider"]))
    networks = denoiser, empty(build_reference_net, config, place), empty(guider, config, place)
    return Networks(*(fill(network, parts[part], path, f"a {part}") for network, part in zip(networks, PARTS)))
