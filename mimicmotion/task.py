"""What one training step computes: the denoising loss of the pose-conditioned SVD network on a batch of clips."""
from __future__ import annotations

import torch
from torch import nn, Tensor

from mimicmotion.edm import denoising_loss, expand, mixed_noise, noise_condition, sample_sigmas, scaled_input
from mimicmotion.latents import image_embeddings, image_latents
from mimicmotion.pipeline import PoseToVideo
from training.config import TrainConfig

FRAMES_ENCODED_AT_ONCE = 4               # by the VAE, whose activations at 576x1024 are 2 GB per frame


class DenoisingLoss(nn.Module):
    """UNet, PoseNet and image encoder as one module whose output is the loss per sample, so that DDP sees it all."""

    def __init__(self, model: PoseToVideo, config: TrainConfig):
        super().__init__()
        self.unet, self.pose_net, self.image_encoder = model.unet, model.pose_net, model.image_encoder
        self.config = config

    def forward(self, latents: Tensor, reference_latents: Tensor, reference: Tensor, pose: Tensor, noise: Tensor,
                sigma: Tensor, keep: Tensor, time_ids: Tensor | None = None, embedding: Tensor | None = None,
                hands: Tensor | None = None, head: Tensor | None = None, *, weighted: bool = True) -> Tensor:
        """The loss of each sample, (B,).

        latents, noise: (B, F, 4, h, w); reference_latents: (B, 4, h, w); reference: (B, 3, H, W);
        pose: (B, F, 3, H, W); sigma, keep: (B,); time_ids: (B, 3), None for the settings'; embedding: (B, 1, D), None to
        compute it here; hands, head: (B, F, 2, 5), (B, F, 1, 5) as in `box_region_weight`; weighted: False counts every
        place and noise level the same.
        """
        num_frames = latents.shape[1]
        if time_ids is None:
            time_ids = fixed_time_ids(self.config, len(latents)).to(latents)
        noisy = latents + expand(sigma, latents) * noise                                # (B, F, 4, h, w)
        still = reference_latents.unsqueeze(1).expand(-1, num_frames, -1, -1, -1)       # (B, F, 4, h, w)
        net_input = torch.cat([scaled_input(noisy, sigma), still * expand(keep, still)], dim=2)
        if embedding is None:
            embedding = image_embeddings(self.image_encoder, reference)                 # (B, 1, D)
        pose_features = self.pose_net(pose.flatten(0, 1))                               # (B*F, C, h, w)
        pose_features = pose_features * expand(keep.repeat_interleave(num_frames), pose_features)
        v = self.unet(net_input, noise_condition(sigma), embedding * expand(keep, embedding), time_ids,
                      pose_latents=pose_features, return_dict=False)[0]                 # (B, F, 4, h, w)
        if not weighted:
            return denoising_loss(v, latents, noise, sigma)
        loss = denoising_loss(v, latents, noise, sigma, self.region_weight(pose, hands, head, latents.shape[-2:]))
        return loss * min_snr_weight(sigma, self.config.min_snr_gamma) if self.config.min_snr_gamma else loss

    def region_weight(self, pose: Tensor, hands: Tensor | None, head: Tensor | None,
                      latent_size: tuple[int, int]) -> Tensor | None:
        """(B, F, 1, h, w), the product of all regions' weights, or None where every place counts the same."""
        weight = pose_region_weight(pose, latent_size, self.config.pose_weight)
        for boxes, amplification in ((hands, self.config.hand_weight), (head, self.config.head_weight)):
            if boxes is not None and amplification != 1:
                of_boxes = box_region_weight(boxes, pose.shape[-2:], latent_size, amplification, self.config.hand_confidence)
                weight = of_boxes if weight is None else weight * of_boxes
        return weight


def fixed_time_ids(config: TrainConfig, batch_size: int) -> Tensor:
    """(B, 3): frame rate - 1, motion bucket and noise augmentation as the settings have them."""
    return torch.tensor([[config.fps - 1.0, config.motion_bucket_id, config.noise_aug_strength]]).repeat(batch_size, 1)


def noise_augmentation(batch: dict, config: TrainConfig) -> Tensor:
    """Noise on each reference's pixels, (B,): what cached latents were made with, or a draw from (seed, position)."""
    positions = batch["position"].tolist()
    if "latents" in batch:
        return batch.get("noise_aug_strength", torch.zeros(len(positions))).float().cpu()
    normal = [torch.randn((), generator=torch.Generator().manual_seed(config.seed * 1_000_003 + position + (1 << 40)))
              for position in positions]
    return config.noise_aug_strength * (config.noise_aug_spread * torch.stack(normal)).exp()


def time_ids_of(batch: dict, config: TrainConfig) -> Tensor:
    """(B, 3) numbers for the UNet: the clip's own frame rate (- 1, as SVD) and motion, or the settings'."""
    ids = fixed_time_ids(config, len(batch["position"]))
    ids[:, 2] = noise_augmentation(batch, config)
    if "fps" in batch:
        ids[:, 0] = batch["fps"].float().cpu() - 1
    if "motion_bucket_id" in batch:
        ids[:, 1] = batch["motion_bucket_id"].float().cpu()
    return ids


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
    target, reference = batch["target"], batch["reference"]
    noise = torch.stack([torch.randn(reference.shape[1:], generator=torch.Generator().manual_seed(int(p)))
                         for p in batch["position"]]).to(reference)                     # (B, 3, H, W)
    reference = reference + expand(noise_augmentation(batch, config).to(reference), reference) * noise
    frames = [image_latents(model.vae, few).float() for few in target.flatten(0, 1).split(FRAMES_ENCODED_AT_ONCE)]
    latents = torch.cat(frames).unflatten(0, target.shape[:2])                          # (B, F, 4, h, w)
    return latents * scale, image_latents(model.vae, reference).float()


def loss_inputs(batch: dict, model: PoseToVideo, config: TrainConfig) -> tuple[Tensor | None, ...]:
    """What `DenoisingLoss` takes for a batch on the device, noise drawn as training draws it."""
    latents, reference_latents = latents_of(batch, model, config)
    randomness = sample_randomness(config, batch["position"].tolist(), latents.shape[1:])
    return (latents, reference_latents, batch["reference"], batch["pose"],
            *(numbers.to(latents) for numbers in randomness), time_ids_of(batch, config).to(latents),
            None if config.train_image_encoder else batch.get("embedding"), batch.get("hands"), batch.get("head"))


def pose_region_weight(pose: Tensor, latent_size: tuple[int, int], amplification: float) -> Tensor | None:
    """(B, F, 1, h, w), mean 1 per sample: `amplification` within about a latent cell of the drawn pose, 1 elsewhere."""
    if amplification == 1:
        return None
    drawn = (pose.amax(2) > -0.9).float()                                               # (B, F, H, W)
    drawn = nn.functional.adaptive_max_pool2d(drawn, tuple(latent_size))                # (B, F, h, w)
    drawn = nn.functional.max_pool2d(drawn, kernel_size=3, stride=1, padding=1)
    weight = 1 + (amplification - 1) * drawn.unsqueeze(2)                               # (B, F, 1, h, w)
    return weight / weight.mean(dim=(1, 2, 3, 4), keepdim=True)


def box_region_weight(boxes: Tensor, canvas_size: tuple[int, int], latent_size: tuple[int, int], amplification: float,
                      confidence: float) -> Tensor:
    """(B, F, 1, h, w): `amplification` in latent cells that touch a clearly seen hand or head, 1 elsewhere.

    boxes: (B, F, N, 5) left, top, right, bottom in canvas pixels, and mean confidence, of each hand or head. One below
    `confidence` counts like the background: amplifying a blurred or misplaced one teaches its blur.
    """
    left, top, right, bottom, seen = boxes.unsqueeze(-1).unbind(-2)                     # (B, F, N, 1) each
    inside = []
    for low, high, length, cells in ((top, bottom, canvas_size[0], latent_size[0]),
                                     (left, right, canvas_size[1], latent_size[1])):
        edges = torch.arange(cells + 1, device=boxes.device) * (length / cells)         # (cells + 1,) pixels
        inside.append((edges[1:] > low) & (edges[:-1] < high))                          # (B, F, N, cells)
    rows, columns = inside
    touched = rows[..., :, None] & columns[..., None, :] & (seen >= confidence)[..., None]      # (B, F, N, h, w)
    return 1 + (amplification - 1) * touched.any(dim=2, keepdim=True).float()


def min_snr_weight(sigma: Tensor, gamma: float) -> Tensor:
    """Weight of each sample's squared v error (Hang et al. 2023, section 3.4): min(SNR, gamma) / (SNR + 1). (B,)"""
    snr = sigma ** -2
    return snr.clamp(max=gamma) / (snr + 1)
