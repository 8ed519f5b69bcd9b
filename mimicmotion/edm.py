"""The diffusion maths of Stable Video Diffusion: noise schedule, preconditioned denoiser and loss (Karras et al. 2022)."""
from __future__ import annotations

import math

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler
from diffusers.schedulers import AysSchedules
from torch import Tensor

SIGMA_MIN, SIGMA_MAX = 0.002, 700.0      # SVD's scheduler_config.json
SCHEDULES = ("karras", "align_your_steps")
ALIGN_YOUR_STEPS = AysSchedules["StableDiffusionVideoSigmas"]                 # ten levels and 0 (Sabour et al. 2024)
ALL_LEVELS, NO_LEVELS = (0.0, float("inf")), (float("inf"), float("inf"))     # guidance intervals


def expand(per_sample: Tensor, like: Tensor) -> Tensor:
    """(B,) to (B, 1, 1, ...) so that it broadcasts over `like`, whose first axis is B."""
    return per_sample.reshape(-1, *[1] * (like.ndim - 1))


def sample_sigmas(normal: Tensor, uniform: Tensor, *, mean: float, std: float, uniform_share: float) -> Tensor:
    """Noise levels (B,): log-normal (EDM, Table 1), a share of them log-uniform so that no level is starved.

    normal: (B,) standard normal numbers; uniform: (B, 2) numbers in [0, 1), which sample is log-uniform and where.
    """
    log_normal = mean + std * normal                                                    # (B,)
    low, high = math.log(SIGMA_MIN), math.log(SIGMA_MAX)
    log_uniform = low + (high - low) * uniform[:, 1]                                    # (B,)
    return torch.where(uniform[:, 0] < uniform_share, log_uniform, log_normal.clamp(low, high)).exp()


def mixed_noise(noise: Tensor, sharing: float) -> Tensor:
    """Noise whose frames have `sharing` of their variance in common (PYoCo's mixed noise, Ge et al. 2023, section 3.2).

    noise: (..., F, 4, h, w) standard normal; the common part is frame 0's, so nothing more is drawn. Each frame stays
    standard normal; 0 leaves them independent, as SVD was trained.
    """
    if not 0 <= sharing <= 1:
        raise ValueError(f"noise_sharing: expected 0 (independent frames) to 1 (the same noise in all) (found {sharing})")
    if sharing == 0:
        return noise
    common = noise[..., :1, :, :, :]                                                    # (..., 1, 4, h, w)
    mixed = sharing**0.5 * common + (1 - sharing) ** 0.5 * noise[..., 1:, :, :, :]
    return torch.cat([common, mixed], dim=-4)


def noise_condition(sigma: Tensor) -> Tensor:
    """What the network is told about the noise level: c_noise = ln(sigma) / 4 (EDM, Table 1). (B,) to (B,)"""
    return 0.25 * sigma.log()


def scaled_input(noisy: Tensor, sigma: Tensor) -> Tensor:
    """c_in * x (EDM, Eq. 7): unit variance at every noise level. noisy: (B, F, 4, h, w); sigma: (B,)"""
    return noisy / (expand(sigma, noisy) ** 2 + 1).sqrt()


def denoised(noisy: Tensor, v: Tensor, sigma: Tensor) -> Tensor:
    """The clean latents a v-prediction stands for: c_skip * x + c_out * v (EDM, Eq. 7). (B, F, 4, h, w)"""
    s = expand(sigma, noisy)
    return noisy / (s**2 + 1) - v * s / (s**2 + 1).sqrt()


def velocity(clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
    """The v whose `denoised` is `clean` when noisy = clean + sigma * noise. (B, F, 4, h, w)"""
    s = expand(sigma, clean)
    return (noise - s * clean) / (s**2 + 1).sqrt()


def denoising_loss(v: Tensor, clean: Tensor, noise: Tensor, sigma: Tensor, weight: Tensor | None = None) -> Tensor:
    """Squared error of v per sample (B,): EDM's lambda(sigma) = (sigma^2 + 1) / sigma^2 on the clean latents.

    weight: (B, F, 1, h, w), mean 1 per sample, to look harder at a region.
    """
    error = (v.float() - velocity(clean, noise, sigma)) ** 2                            # (B, F, 4, h, w)
    return (error if weight is None else error * weight).flatten(1).mean(1)


def check_schedule(num_steps: int, schedule: str, guidance_interval: tuple[float, float]) -> None:
    """Refuse what gives no noise levels, or guidance at none of them."""
    if num_steps < 1:
        raise ValueError(f"num_inference_steps: expected at least 1 (found {num_steps})")
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)} (found {schedule!r})")
    low, high = guidance_interval
    if not 0 <= low < high:
        raise ValueError(f"guidance_sigma_min: expected 0 to below guidance_sigma_max (found {low:g} and {high:g}): "
                         "for no guidance use guidance_scale=1")


def aligned_levels(num_steps: int) -> list[float]:
    """Align Your Steps for SVD, log-linearly between its ten levels when another number is wanted; ends in 0."""
    levels = np.log(ALIGN_YOUR_STEPS[:-1])
    places = np.linspace(0, len(levels) - 1, num_steps)
    return [*np.exp(np.interp(places, np.arange(len(levels)), levels)).tolist(), 0.0]


def scheduled(scheduler: EulerDiscreteScheduler, num_steps: int, schedule: str,
              device: torch.device) -> EulerDiscreteScheduler:
    """A fresh scheduler of the same configuration, set to `num_steps` levels of the schedule."""
    fresh = EulerDiscreteScheduler.from_config(scheduler.config)
    if schedule == "karras":
        fresh.set_timesteps(num_steps, device=device)
    else:
        fresh.set_timesteps(sigmas=aligned_levels(num_steps), device=device)
    return fresh


def guided_levels(sigmas: torch.Tensor, interval: tuple[float, float]) -> list[bool]:
    """Per noise level, whether guidance is on: above the first and up to the second (Kynkäänniemi et al. 2024, §3)."""
    low, high = interval
    return [low < sigma <= high for sigma in sigmas.tolist()]
