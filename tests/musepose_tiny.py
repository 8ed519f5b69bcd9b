"""A tiny MusePose with random weights, in memory and as files in the official layout's formats."""
import json
import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from musepose.checkpoint import is_motion, MOTION_NAMES, WeightFiles
from musepose.networks import build_denoiser, build_pose_guider, build_reference_net
from musepose.pipeline import MusePose

CONFIG = {"_class_name": "UNet2DConditionModel", "act_fn": "silu", "attention_head_dim": 4,
          "block_out_channels": (32, 64, 64), "center_input_sample": False, "cross_attention_dim": 24,
          "down_block_types": ("CrossAttnDownBlock2D",) * 2 + ("DownBlock2D",), "downsample_padding": 1,
          "flip_sin_to_cos": True, "freq_shift": 0, "in_channels": 4, "layers_per_block": 1, "mid_block_scale_factor": 1,
          "norm_eps": 1e-5, "norm_num_groups": 8, "out_channels": 4, "sample_size": 8,
          "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 2}
WIDTHS = (8, 16, 24)                                  # of the pose guider: features of a quarter of the picture's size
TOLERANCE = 1e-4                 # of the largest value
OFFICIAL = CONFIG | {"attention_head_dim": 8, "block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768,
                     "norm_num_groups": 32, "layers_per_block": 2,
                     "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
                     "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3}


def apart(found, wanted):
    """The largest difference, in shares of the largest wanted value."""
    assert found.shape == wanted.shape
    return ((found.float() - wanted).abs().max() / wanted.abs().max()).item()


def published_motion_name(name: str) -> str:
    """What the published motion module calls a tensor, by its name in diffusers."""
    block, rest = re.fullmatch(r"(.*\.motion_modules\.\d+)\.(.*)", name).groups()
    for published, ours in reversed(MOTION_NAMES[1:]):
        rest = f".{rest}".replace(ours, published).removeprefix(".")
    return f"{block}.temporal_transformer.{rest}"


def random_filled(network: nn.Module, gain: float = 1.0) -> nn.Module:
    """Weights of a size that leaves every layer something to say."""
    for name, parameter in network.named_parameters():
        scale = gain / max(parameter[0].numel(), 1) ** 0.5 if parameter.ndim > 1 else 0.1
        nn.init.normal_(parameter, std=scale)
        if parameter.ndim == 1 and "norm" in name and name.endswith("weight"):
            parameter.data += 1
    return network.eval()


def tiny_vae() -> AutoencoderKL:
    return AutoencoderKL(block_out_channels=(8, 8, 16), down_block_types=("DownEncoderBlock2D",) * 3, norm_num_groups=4,
                         up_block_types=("UpDecoderBlock2D",) * 3, layers_per_block=1, sample_size=32).eval()


def tiny_encoder() -> CLIPVisionModelWithProjection:
    return CLIPVisionModelWithProjection(CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                                                          num_attention_heads=4, image_size=32, patch_size=16,
                                                          projection_dim=CONFIG["cross_attention_dim"])).eval()


def tiny_model(seed: int = 0, config: dict = CONFIG) -> MusePose:
    """All five networks, with random weights of this seed."""
    torch.manual_seed(seed)
    networks = build_denoiser(config), build_reference_net(config), build_pose_guider(config["block_out_channels"][0], WIDTHS)
    return MusePose(*map(random_filled, networks), tiny_vae(), tiny_encoder())


def tiny_files(folder: Path, seed: int = 0, layout: bool = False) -> WeightFiles:
    """The networks as .pth in half precision, and the base model with other weights.

    layout: as the official folder, else all beside one another.
    """
    model = tiny_model(seed)
    half = lambda tensors: {name: tensor.half() for name, tensor in tensors.items()}
    denoiser = model.denoiser.state_dict()
    motion = {published_motion_name(name): tensor for name, tensor in denoiser.items() if is_motion(name)}
    motion |= {name.replace("to_q.weight", "pos_encoder.pe"): torch.zeros(1, 24, 8)
               for name in list(motion) if name.endswith("to_q.weight")}
    base = random_filled(build_denoiser(CONFIG, motion=False)).state_dict()
    files = WeightFiles.of(folder) if layout else WeightFiles(
        folder / "base", folder / "vae", folder / "image_encoder",
        *(folder / f"{name}.pth" for name in ("denoising_unet", "reference_unet", "pose_guider", "motion_module")))
    unet = files.pretrained_base_model / "unet"
    unet.mkdir(parents=True)
    files.denoising_unet.parent.mkdir(exist_ok=True)
    (unet / "config.json").write_text(json.dumps(CONFIG))
    torch.save(half(base), unet / "diffusion_pytorch_model.bin")
    torch.save(half({name: tensor for name, tensor in denoiser.items() if not is_motion(name)}), files.denoising_unet)
    torch.save(half(model.reference_net.state_dict()), files.reference_unet)
    torch.save(half(model.pose_guider.state_dict()), files.pose_guider)
    torch.save(half(motion), files.motion_module)
    model.vae.save_pretrained(files.pretrained_vae)
    model.image_encoder.save_pretrained(files.image_encoder)
    return files
