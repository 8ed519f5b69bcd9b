"""What one training step computes: the denoising loss of the pose-conditioned SVD network on a batch of clips."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from .conditioning import added_time_ids, image_embeddings, image_latents, video_latents
from .diffusion import denoising_loss, expand, mixed_noise, noise_condition, sample_sigmas, scaled_input
from .pipeline import PoseToVideo
from .train_config import TrainConfig


class DenoisingLoss(nn.Module):
    """UNet, PoseNet and image encoder as one module whose output is the loss per sample, so that DDP sees it all."""

    def __init__(self, model: PoseToVideo, config: TrainConfig):
        super().__init__()
        self.unet, self.pose_net, self.image_encoder = model.unet, model.pose_net, model.image_encoder
        self.config = config

    def forward(self, latents: Tensor, reference_latents: Tensor, reference: Tensor, pose: Tensor,
                noise: Tensor, sigma: Tensor, keep: Tensor) -> Tensor:
        """latents, noise: (B, F, 4, h, w); reference: (B, 3, H, W); pose: (B, F, 3, H, W); sigma, keep: (B,) to (B,)"""
        num_frames = latents.shape[1]
        noisy = latents + expand(sigma, latents) * noise                                # (B, F, 4, h, w)
        still = reference_latents.unsqueeze(1).expand(-1, num_frames, -1, -1, -1)       # (B, F, 4, h, w)
        net_input = torch.cat([scaled_input(noisy, sigma), still * expand(keep, still)], dim=2)
        embeddings = image_embeddings(self.image_encoder, reference)                    # (B, 1, D)
        pose_features = self.pose_net(pose.flatten(0, 1))                               # (B*F, C, h, w)
        pose_features = pose_features * expand(keep.repeat_interleave(num_frames), pose_features)
        time_ids = added_time_ids(self.config.fps, self.config.motion_bucket_id, self.config.noise_aug_strength,
                                  batch_size=len(latents)).to(latents)                  # (B, 3)
        v = self.unet(net_input, noise_condition(sigma), embeddings * expand(keep, embeddings), time_ids,
                      pose_latents=pose_features, return_dict=False)[0]                 # (B, F, 4, h, w)
        weight = pose_region_weight(pose, latents.shape[-2:], self.config.pose_weight)
        return denoising_loss(v, latents, noise, sigma, weight)


def pose_region_weight(pose: Tensor, latent_size: tuple[int, int], amplification: float) -> Tensor | None:
    """(B, F, 1, h, w), mean 1 per sample: `amplification` within about a latent cell of the drawn pose, 1 elsewhere."""
    if amplification == 1:
        return None
    drawn = (pose.amax(2) > -0.9).float()                                               # (B, F, H, W)
    drawn = nn.functional.adaptive_max_pool2d(drawn, tuple(latent_size))                # (B, F, h, w)
    drawn = nn.functional.max_pool2d(drawn, kernel_size=3, stride=1, padding=1)
    weight = 1 + (amplification - 1) * drawn.unsqueeze(2)                               # (B, F, 1, h, w)
    return weight / weight.mean(dim=(1, 2, 3, 4), keepdim=True)


def sample_randomness(config: TrainConfig, positions: list[int],
                      latent_shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Noise (B, *latent_shape), sigma (B,) and keep (B,; 0 = no conditioning), from (seed, position) alone."""
    noise, normal, uniform = [], [], []
    for position in positions:
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + position)
        noise.append(mixed_noise(torch.randn(latent_shape, generator=generator), config.noise_sharing))
        normal.append(torch.randn((), generator=generator))
        uniform.append(torch.rand(3, generator=generator))
    uniform = torch.stack(uniform)                                                      # (B, 3)
    sigma = sample_sigmas(torch.stack(normal), uniform[:, :2], mean=config.sigma_mean, std=config.sigma_std,
                          uniform_share=config.sigma_uniform_share)
    keep = (uniform[:, 2] >= config.conditioning_dropout).float()                       # (B,)
    return torch.stack(noise), sigma, keep


@torch.no_grad()
def latents_of(batch: dict, model: PoseToVideo, config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Target (B, F, 4, h, w) and reference (B, 4, h, w) latents: cached ones, or encoded here.

    As in SVD the target is multiplied by the VAE's scaling factor and the reference is not.
    """
    scale = model.vae.config.scaling_factor
    if "latents" in batch:
        return batch["latents"].float() * scale, batch["reference_latents"].float()
    noise = torch.stack([torch.randn(batch["reference"].shape[1:], generator=torch.Generator().manual_seed(int(p)))
                         for p in batch["position"]]).to(batch["reference"])            # (B, 3, H, W)
    reference = batch["reference"] + config.noise_aug_strength * noise
    return video_latents(model.vae, batch["target"]).float() * scale, image_latents(model.vae, reference).float()
