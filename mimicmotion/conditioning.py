"""What the UNet is told about the picture: a CLIP embedding, VAE latents and three numbers. Batch-correct throughout.

The preparation is the published one (Stable Video Diffusion, Appendix D; MimicMotion's pipeline, steps 1-4), for
training and sampling alike. Pictures are (B, 3, H, W) in [-1, 1].
"""
import torch
import torch.nn.functional as F
from torch import Tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)   # RGB, of CLIP's training pictures in [0, 1]
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def gaussian_kernel(num_taps: int, sigma: float) -> Tensor:
    """A normalised Gaussian of `num_taps` (odd) taps."""
    x = torch.arange(num_taps, dtype=torch.float32) - num_taps // 2
    weights = torch.exp(-x**2 / (2 * sigma**2))
    return weights / weights.sum()                                            # (num_taps,)


def blur_and_resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Squash to `size` (height, width) as SVD does: Gaussian low-pass, then bicubic, corners aligned; overshoots."""
    channels = images.shape[1]
    kernels = []
    for length, target in zip(images.shape[-2:], size):
        sigma = max((length / target - 1) / 2, 0.001)
        kernels.append(gaussian_kernel(int(max(4 * sigma, 3)) | 1, sigma).to(images))
    rows, columns = (kernel.expand(channels, 1, -1) for kernel in kernels)    # (3, 1, taps)
    pad_y, pad_x = rows.shape[-1] // 2, columns.shape[-1] // 2
    images = F.pad(images, (pad_x, pad_x, pad_y, pad_y), mode="reflect")
    images = F.conv2d(images, columns[:, :, None], groups=channels)           # (B, 3, H + 2 pad_y, W)
    images = F.conv2d(images, rows[..., None], groups=channels)               # (B, 3, H, W)
    return F.interpolate(images, size=size, mode="bicubic", align_corners=True)


def clip_pixels(images: Tensor, image_size: int) -> Tensor:
    """Pictures as the CLIP image encoder wants them: (B, 3, image_size, image_size), normalised."""
    small = blur_and_resize(images, (image_size, image_size)) * 0.5 + 0.5     # about [0, 1]
    mean, std = (small.new_tensor(v)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
    return (small - mean) / std


def image_embeddings(image_encoder, images: Tensor) -> Tensor:
    """CLIP embeddings (B, 1, D) of pictures, at the encoder's own picture size (224 in the official weights)."""
    pixels = clip_pixels(images.float(), image_encoder.config.image_size)     # (B, 3, s, s)
    return image_encoder(pixel_values=pixels.to(image_encoder.dtype)).image_embeds[:, None]


def image_latents(vae, images: Tensor) -> Tensor:
    """VAE mode (B, 4, h, w) of pictures, *not* multiplied by the VAE's scaling factor: SVD conditions on it so.

    Noise augmentation, where wanted, is added to the pixels before (MimicMotion: also before the VAE).
    """
    return vae.encode(images.to(vae.dtype)).latent_dist.mode()


def added_time_ids(fps: int, motion_bucket_id: int, noise_aug_strength: float | Tensor, batch_size: int = 1) -> Tensor:
    """(B, 3) float32 numbers for the UNet: SVD was trained on fps - 1. noise_aug_strength may be one per sample, (B,)."""
    noise_aug = torch.as_tensor(noise_aug_strength, dtype=torch.float32).expand(batch_size)
    fixed = noise_aug.new_tensor([fps - 1, motion_bucket_id]).expand(batch_size, 2)
    return torch.cat([fixed, noise_aug[:, None]], dim=1)                      # (B, 3)
