"""The noise levels a video is denoised at: Karras' spacing, as published, or the ten of Align Your Steps."""
import numpy as np
import torch
from diffusers import EulerDiscreteScheduler
from diffusers.schedulers import AysSchedules

SCHEDULES = ("karras", "align_your_steps")
ALIGN_YOUR_STEPS = AysSchedules["StableDiffusionVideoSigmas"]                 # ten levels and 0 (Sabour et al. 2024)
ALL_LEVELS, NO_LEVELS = (0.0, float("inf")), (float("inf"), float("inf"))     # guidance intervals


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
