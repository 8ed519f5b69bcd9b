"""What the benchmark runs on: the real networks with random weights, in three sizes, and inputs to match.

Speed and memory do not depend on the weights. "small" is wide enough to be bound by arithmetic on a CPU; "full" is
SVD-xt-1.1 with MimicMotion's PoseNet and wants a GPU; "tiny" is for tests.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from dwpose.skeleton import FACE, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND, Skeleton
from mimicmotion.networks import PoseNet, PoseUNet
from mimicmotion.pipeline import PoseToVideo

ROOT = Path(__file__).resolve().parents[1]
SCHEDULER = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
                 use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0, timestep_spacing="leading",
                 timestep_type="continuous", steps_offset=1)                        # SVD's
BODY_PLACES = ((.5, .12), (.53, .1), (.47, .1), (.56, .11), (.44, .11), (.62, .25), (.38, .25), (.68, .4), (.32, .4),
               (.7, .52), (.3, .52), (.57, .55), (.43, .55), (.58, .74), (.42, .74), (.58, .93), (.42, .93),
               (.6, .96), (.62, .96), (.57, .96), (.4, .96), (.38, .96), (.43, .96))    # x, y of the frame: body, feet


@dataclass(frozen=True)
class Scale:
    """A size of everything."""
    channels: tuple[int, ...]            # of the UNet's levels
    heads: tuple[int, ...]
    token: int                           # width of the picture's CLIP token
    vae_channels: tuple[int, ...]        # four levels: PoseNet shrinks by 8, too
    layers: int                          # per UNet and VAE level
    clip: dict
    size: tuple[int, int]                # height, width of a frame, pixels
    frames: int                          # of the videos sampled
    tile: int                            # frames
    overlap: int                         # frames
    steps: int
    gpt: dict                            # arguments of t2m's GPT
    canvas: tuple[int, int]              # height, width of what is drawn and detected, pixels
    drawn: int                           # frames drawn or detected

    @property
    def unet(self) -> dict:
        deep = len(self.channels) - 1
        return dict(
            block_out_channels=self.channels, num_attention_heads=self.heads, cross_attention_dim=self.token,
            layers_per_block=self.layers, addition_time_embed_dim=self.channels[0] * 4 // 5 // 2 * 2,
            projection_class_embeddings_input_dim=self.channels[0] * 4 // 5 // 2 * 2 * 3,
            down_block_types=("CrossAttnDownBlockSpatioTemporal",) * deep + ("DownBlockSpatioTemporal",),
            up_block_types=("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * deep)

    @property
    def vae(self) -> dict:
        return dict(block_out_channels=self.vae_channels, down_block_types=("DownEncoderBlock2D",) * 4,
                    layers_per_block=self.layers)


SCALES = {
    "tiny": Scale((32, 64), (1, 2), 32, (32, 32, 32, 32), 1,
                  dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, patch_size=14,
                       image_size=28, projection_dim=32), (64, 48), 6, 5, 2, 2,
                  dict(num_codes=16, width=32, text_dim=16, block_size=11, num_layers=1, num_heads=2), (128, 96), 2),
    "small": Scale((64, 128, 256, 256), (1, 2, 4, 4), 256, (32, 64, 128, 128), 2,
                   dict(hidden_size=256, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=4,
                        patch_size=14, image_size=224, projection_dim=256), (256, 192), 26, 16, 6, 3, {},
                   (576, 1024), 16),
    "full": Scale((320, 640, 1280, 1280), (5, 10, 20, 20), 1024, (128, 256, 512, 512), 2,
                  dict(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16,
                       patch_size=14, image_size=224, projection_dim=1024, hidden_act="gelu"), (576, 1024), 151, 72, 6,
                  25, {}, (576, 1024), 16),
}


def random_model(scale: Scale, device: str, dtype: torch.dtype, seed: int = 0) -> PoseToVideo:
    """A video model with random weights, made on the device it runs on."""
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []), torch.device(device):
        torch.manual_seed(seed)
        unet, pose_net = PoseUNet(**scale.unet), PoseNet(scale.channels[0])
        nn.init.normal_(pose_net.final_proj.weight, std=0.1)                        # a new one would say nothing
        vae = AutoencoderKLTemporalDecoder(**scale.vae)
        clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**scale.clip))
    networks = [nn.Module.to(network, device, dtype).eval() for network in (unet, pose_net, vae, clip)]
    return PoseToVideo(*networks, EulerDiscreteScheduler(**SCHEDULER))


def seeded(seed: int = 0) -> torch.Generator:
    """The same noise for all."""
    return torch.Generator().manual_seed(seed)


def random_frames(num_frames: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Noise, (F, H, W, 3) uint8."""
    return np.random.default_rng(seed).integers(0, 256, (num_frames, *size, 3), np.uint8)


def waving_person(num_frames: int, size: tuple[int, int], seed: int = 0) -> Skeleton:
    """A whole person who moves a little from frame to frame, every point seen."""
    rng = np.random.default_rng(seed)
    places = np.zeros((num_frames, NUM_KEYPOINTS, 2))
    places[:, :len(BODY_PLACES)] = BODY_PLACES
    for part, centre, spread in ((FACE, (.5, .11), .02), (LEFT_HAND, (.71, .55), .03), (RIGHT_HAND, (.29, .55), .03)):
        places[:, part] = centre + spread * rng.uniform(-1, 1, places[0, part].shape)
    places += 0.004 * rng.standard_normal(places.shape) + 0.02 * np.sin(np.arange(num_frames))[:, None, None]
    height, width = size
    side = min(width, height * 0.6)                                                # a person is not as wide as a screen
    x, y = (width - side) / 2 + places[..., 0] * side, places[..., 1] * height
    return Skeleton(np.stack([x, y, rng.uniform(.5, 1, x.shape)], axis=-1), size, 15)
