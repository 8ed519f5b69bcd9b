"""Make an SVD folder of our demo's size with fresh weights: where scripts/train_demo.sh starts from.

    python demo/init_models.py weights/demo/svd --video weights/demo/video --adapter weights/demo/adapter
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from configs import run_main
from mimicmotion.checkpoint import save_checkpoint
from mimicmotion.networks import PoseNet, PoseUNet
from mimicmotion.savings import zero_temporal_branches

EMBEDDING = 128                     # width of the picture token the UNet attends to
VAE = dict(in_channels=3, out_channels=3, down_block_types=("DownEncoderBlock2D",) * 4, latent_channels=16,
           block_out_channels=(32, 64, 96, 128), layers_per_block=1, sample_size=192, force_upcast=False,
           scaling_factor=0.3043)
IMAGE_ENCODER = dict(image_size=64, patch_size=8, hidden_size=128, intermediate_size=384, num_hidden_layers=3,
                     num_attention_heads=4, projection_dim=EMBEDDING, hidden_act="gelu")
# Two levels, 700 and 15.6: the networks are nearly deterministic, and a third at SVD's own 0.002 changes pixels by one level of 8 bits.
SCHEDULER = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
                 prediction_type="v_prediction", interpolation_type="linear", use_karras_sigmas=True, sigma_min=15.59,
                 sigma_max=700.0, timestep_type="continuous", timestep_spacing="leading", steps_offset=1)
ATTENTION, PLAIN = "CrossAttn{}BlockSpatioTemporal", "{}BlockSpatioTemporal"


def unet_config(channels: tuple[int, ...], attention: tuple[bool, ...], layers: tuple[int, ...]) -> dict:
    """An SVD UNet by its levels, finest first: how wide, which of them attend, how many layers."""
    kinds = [ATTENTION if attends else PLAIN for attends in attention]
    return dict(sample_size=None, in_channels=2 * VAE["latent_channels"], out_channels=VAE["latent_channels"], block_out_channels=channels,
                down_block_types=tuple(kind.format("Down") for kind in kinds),
                up_block_types=tuple(kind.format("Up") for kind in reversed(kinds)),
                addition_time_embed_dim=64, projection_class_embeddings_input_dim=192, layers_per_block=layers,
                cross_attention_dim=EMBEDDING, transformer_layers_per_block=1,
                num_attention_heads=tuple(width // 32 for width in channels), num_frames=16)


VIDEO_UNET = unet_config((64, 128, 192), (False, True, False), (3, 1, 1))       # a face is a few of the finest level's places
ADAPTER_UNET = unet_config((64, 64), (False, False), (1, 1))


def save_fresh(folder: Path, config: dict) -> None:
    """A UNet whose temporal branches are silent, and its PoseNet, with weights by torch's generator."""
    unet = PoseUNet(**config)
    zero_temporal_branches(unet)
    save_checkpoint(folder, unet, PoseNet(config["block_out_channels"][0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("svd", type=Path, help="folder for vae, image_encoder and scheduler")
    parser.add_argument("--video", type=Path, required=True, help="folder for the video model's fresh UNet and PoseNet")
    parser.add_argument("--adapter", type=Path, required=True, help="folder for the adapter's")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    vae = AutoencoderKLTemporalDecoder(**VAE)
    zero_temporal_branches(vae)
    vae.save_pretrained(arguments.svd / "vae")
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**IMAGE_ENCODER))
    encoder.save_pretrained(arguments.svd / "image_encoder")
    EulerDiscreteScheduler(**SCHEDULER).save_pretrained(arguments.svd / "scheduler")
    save_fresh(arguments.video, VIDEO_UNET)
    save_fresh(arguments.adapter, ADAPTER_UNET)


if __name__ == "__main__":
    run_main(main)
