"""The video model on disk: strict loading, checks before a run, errors that name file and tensor, atomic saving.

Read: .safetensors, our folder {config.json, model.safetensors}, MimicMotion's .pth, and diffusers component folders with
or without the "fp16" variant. On device="meta" everything is compared and nothing is read: that is the check of a file.
"""
import inspect
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder, AutoencoderTiny, EulerDiscreteScheduler
from torch import nn, Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from media.files import read_json
from mimicmotion import check_model_files, checkpoint_file, image_encoder_folder, networks, REMEDY, unet_folder, WANTED
from mimicmotion.networks import PoseNet, PoseUNet
from mimicmotion.savings import is_temporal, is_zero_initialised, zero_temporal_branches
from runtime.weights import check_safetensors, empty, empty_from, fill, kind_of, metadata, read_tensors, save_with_config, tensors_key, weights_file

log = logging.getLogger(__name__)

SVD_NOISE = {"prediction_type": "v_prediction", "timestep_type": "continuous"}     # what the networks were trained for
PARTS = ("unet", "pose_net")                                  # the prefixes of a video model's tensors
TRAINED_FRAMES = {"MimicMotion_1": 16, "MimicMotion_1-1": 72}     # published checkpoints, alike but for their numbers
SILENT = {"temporal_branches": "silent"}                      # how a file says that it has none, as they would change nothing


def load_vae(folder: str | Path, dtype: torch.dtype, device: str = "cpu") -> AutoencoderKLTemporalDecoder:
    """The SVD autoencoder from its component folder."""
    return loaded(AutoencoderKLTemporalDecoder.from_config, folder, "diffusion_pytorch_model", dtype, device)


def encoder_key(folder: str | Path) -> str:
    """Sixteen hex digits of what decides a VAE's latents: its encoder. A decoder that learns on keeps them."""
    return tensors_key(weights_file(Path(folder), "diffusion_pytorch_model", torch.float32), ("encoder.", "quant_conv."))


def load_tiny_vae(folder: str | Path, dtype: torch.dtype, device: str = "cpu") -> AutoencoderTiny:
    """A small autoencoder of the same latents (TAESD is one) from its diffusers folder."""
    return loaded(tiny_vae, folder, "diffusion_pytorch_model", dtype, device).to(memory_format=torch.channels_last)


def load_image_encoder(folder: str | Path, dtype: torch.dtype, device: str = "cpu") -> CLIPVisionModelWithProjection:
    """The CLIP image encoder from its component folder."""
    return loaded(clip_vision, folder, "model", dtype, device)


def load_unet(folder: str | Path, dtype: torch.dtype, device: str = "cpu") -> PoseUNet:
    """A plain SVD UNet from its component folder."""
    return loaded(PoseUNet.from_config, folder, "diffusion_pytorch_model", dtype, device)


def loaded(build: Callable[[dict], nn.Module], folder: str | Path, stem: str, dtype: torch.dtype, device: str):
    """The network of a component folder. stem: of its weights file's name."""
    network = empty_from(Path(folder), build)
    path = weights_file(Path(folder), stem, dtype)
    return fill(network, read_tensors(path, dtype, device), path)


def tiny_vae(config: dict) -> AutoencoderTiny:
    """The network of a tiny VAE's config.json, untrained."""
    config.pop("block_out_channels", None)                        # which diffusers writes, and does not know
    return AutoencoderTiny.from_config(config)


def clip_vision(config: dict) -> CLIPVisionModelWithProjection:
    """The network of a CLIP image encoder's config.json, untrained."""
    return CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))


def load_video_model(svd_folder: str | Path, checkpoint: str | Path | None, dtype: torch.dtype,
                     device: str = "cpu") -> tuple[PoseUNet, PoseNet]:
    """UNet and PoseNet. checkpoint: our folder (its own UNet size), a .safetensors or MimicMotion's .pth (the size of
    svd_folder/unet/config.json), or None: the plain SVD UNet and a new PoseNet, which changes nothing until trained."""
    config_folder = unet_folder(svd_folder, checkpoint)
    if checkpoint is None:
        unet = load_unet(config_folder, dtype, device)
        return unet, PoseNet(unet.config.block_out_channels[0]).to(device, dtype).eval()
    path = checkpoint_file(checkpoint)
    parts = split_parts(read_tensors(path, dtype, device), path)
    unet = empty_from(config_folder, PoseUNet.from_config)
    if path.suffix == ".safetensors" and SILENT.items() <= metadata(path).items():
        parts["unet"] |= silent_branches(unet, dtype, device)
    pose_net = empty(PoseNet, unet.config.block_out_channels[0], config_folder)
    return fill(unet, parts["unet"], path, "unet."), fill(pose_net, parts["pose_net"], path, "pose_net.")


def silent_branches(unet: PoseUNet, dtype: torch.dtype, device: str) -> dict[str, Tensor]:
    """New temporal branches that change nothing, for a file without them: the same at every call."""
    made = unet
    if device != "meta":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = PoseUNet.from_config(unet.config)
        zero_temporal_branches(made)
    return {name: tensor.to(device, dtype) for name, tensor in made.state_dict().items() if is_temporal(name)}


def refuse_other_width(unet: PoseUNet, image_encoder: CLIPVisionModelWithProjection, source: Path | str) -> None:
    """A ValueError where the picture's token is not what the UNet attends to: they come from different models."""
    wanted, found = unet.config.cross_attention_dim, image_encoder.config.projection_dim
    if wanted != found:
        raise ValueError(f"{source}: expected an image encoder that gives {wanted} numbers, as the UNet takes (found "
                         f"{found}): does the svd folder belong to this checkpoint?")


def split_parts(tensors: dict[str, Tensor], source: Path) -> dict[str, dict[str, Tensor]]:
    """A flat video-model dict by its prefixes, which are taken off."""
    parts, others = {part: {} for part in PARTS}, []
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part].update({rest: tensor}) if part in parts else others.append(name)
    if not any(parts.values()):
        raise ValueError(f"{source}: {WANTED} (found '{others[0]}': {kind_of(others)}): {REMEDY}" if others else
                         f"{source}: {WANTED} (found an empty file): fetch it again")
    if others:
        raise ValueError(f"{source}: {WANTED} (found '{others[0]}'): is this a video model with more in its file?")
    if not all(parts.values()):
        found = "'unet.*' only: plain SVD, which has no PoseNet" if parts["unet"] else "'pose_net.*' only"
        raise ValueError(f"{source}: {WANTED} (found {found}): {REMEDY}")
    return parts


def trained_frames(checkpoint: str | Path) -> int | None:
    """Frames per tile a published checkpoint was trained on, by its file's name or the one it was converted from."""
    path = checkpoint_file(checkpoint)
    source = metadata(path).get("source", path.name) if path.suffix == ".safetensors" else path.name
    return TRAINED_FRAMES.get(Path(source).stem)


def save_checkpoint(folder: Path, unet: PoseUNet, pose_net: PoseNet, dtype: torch.dtype = torch.float16,
                    source: str = "") -> Path:
    """Write {config.json, model.safetensors}; each file appears whole or not at all. The folder.

    Temporal branches are left out where all are silent, which the file then says. source: the published file these weights
    come from, which the file then remembers.
    """
    tensors, silent = {}, is_zero_initialised(unet)
    for part, module in zip(PARTS, (unet, pose_net)):
        for name, tensor in module.state_dict().items():
            if silent and is_temporal(name):
                continue
            stored = tensor.detach().to("cpu", dtype).contiguous()
            if not stored.isfinite().all():
                raise ValueError(f"{folder}: expected finite weights (found inf or NaN in '{part}.{name}' as {dtype}): "
                                 "has training diverged? float32 holds larger numbers")
            tensors[f"{part}.{name}"] = stored
    config = {key: value for key, value in unet.config.items() if not key.startswith("_")}
    return save_with_config(folder, tensors, config, {"source": source} | (SILENT if silent else {}))


def load_scheduler(folder: Path) -> EulerDiscreteScheduler:
    """SVD's Euler scheduler. Its published config carries fields of another scheduler, which are left out."""
    known, path = inspect.signature(EulerDiscreteScheduler.__init__).parameters, folder / "scheduler_config.json"
    config = read_json(path)
    for key, wanted in SVD_NOISE.items():
        if config.get(key) != wanted:
            raise ValueError(f"{path}: expected {key} '{wanted}', as SVD's (found {config.get(key)!r}): "
                             "is it another model's scheduler?")
    try:
        return EulerDiscreteScheduler(**{key: value for key, value in config.items() if key in known})
    except (TypeError, ValueError, RuntimeError) as error:                     # NotImplementedError is one
        raise ValueError(f"{path}: expected a config this version can build ({error}): fetch it again") from None


def check_video_model(svd: Path, checkpoint: Path, key: str, tile_size: int | None = None) -> None:
    """A video model's files are there, whole, and that model's; ValueError names the file and the first wrong tensor.

    tile_size: frames; a warning when the published checkpoint was trained on shorter tiles.
    """
    check_model_files(svd, checkpoint, key)
    encoder = image_encoder_folder(svd, checkpoint)
    for folder in (svd / "vae", encoder, checkpoint):
        check_safetensors(folder)
    unet, _ = load_video_model(svd, checkpoint, torch.float16, device="meta")
    load_vae(svd / "vae", torch.float16, device="meta")
    refuse_other_width(unet, load_image_encoder(encoder, torch.float16, device="meta"), checkpoint)
    load_scheduler(svd / "scheduler")
    frames = trained_frames(checkpoint)
    if frames and tile_size and tile_size > frames:
        log.warning("%s.checkpoint=%s was trained on %d frames, %s.tile_size is %d: faces and clothes may drift; "
                    "set %s.tile_size=%d, or use MimicMotion_1-1.pth", key, checkpoint, frames, key, tile_size, key, frames)


def check_tiny_vae(folder: Path, svd: Path, key: str) -> None:
    """A tiny autoencoder's files are there, whole, and of the VAE's latents."""
    if not (folder / "config.json").is_file():
        raise ValueError(f"{key}.tiny_vae={folder}: config.json is missing: name a folder of diffusers' AutoencoderTiny, or leave it empty")
    check_safetensors(folder)
    tiny, vae = load_tiny_vae(folder, torch.float16, device="meta"), load_vae(svd / "vae", torch.float16, device="meta")
    wanted, found = (f"{network.config.latent_channels} channels, {2 ** (len(levels) - 1)} times smaller" for network, levels in (
        (vae, vae.config.block_out_channels), (tiny, tiny.config.decoder_block_out_channels)))
    if found != wanted:
        raise ValueError(f"{key}.tiny_vae={folder}: expected latents of {wanted}, as of {svd / 'vae'} (found {found}): "
                         "take one that was made for this VAE")


def takes_moved_picture(svd: Path, checkpoint: Path) -> bool:
    """As `PoseUNet.takes_moved_picture`, before anything is loaded."""
    return networks.takes_moved_picture(read_json(unet_folder(svd, checkpoint) / "config.json"))


def size_multiple(svd: Path, checkpoint: Path) -> int:
    """As `networks.size_multiple`, before anything is loaded."""
    return networks.size_multiple(*(read_json(folder / "config.json") for folder in (svd / "vae", unet_folder(svd, checkpoint))))
