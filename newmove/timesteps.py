"""How noisy the samples of a training step are: the noisier, the more of the loss is about motion and layout.

The published code's three distributions over timesteps (its `sampling` key): p(t) ~ 1 + s/2 cos(pi t / T), with s = -1
for high-level (the default: noisy steps three times as likely as clean ones), +1 for low-level, 0 for uniform.
"""
from __future__ import annotations

import math

import torch
from diffusers import DDPMScheduler
from torch import Tensor

MODES = {"uniform": 0.0, "high-level": -1.0, "low-level": 1.0}      # s
AMPLITUDE = 0.5
BISECTIONS = 50                                                     # of [0, 1]: exact in float64


def tilt(mode: str) -> float:
    """The factor s of a mode, times the amplitude."""
    if mode not in MODES:
        raise ValueError(f"sampling: expected {', '.join(MODES)} (found {mode!r}): choose one")
    return AMPLITUDE * MODES[mode]


def timestep_probabilities(mode: str, num_timesteps: int = 1000) -> Tensor:
    """(T,) float64. The published code has T = 1000 in the cosine whatever the model's; here it is the model's own."""
    t = torch.arange(num_timesteps, dtype=torch.float64)
    weight = 1 + tilt(mode) * torch.cos(math.pi * t / num_timesteps)
    return weight / weight.sum()


def sample_timesteps(probabilities: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Timesteps of `shape`, int64, drawn from (T,) probabilities."""
    cumulative = probabilities.cumsum(0)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64) * cumulative[-1]
    return torch.searchsorted(cumulative, uniform, right=True).clamp_(max=len(probabilities) - 1)


def tilted(uniform: Tensor, mode: str) -> Tensor:
    """Numbers in [0, 1] with density 1 + s/2 cos(pi u), of uniform ones: its cumulative sum, turned round.

    For flow matching, whose noise levels are continuous.
    """
    s = tilt(mode)
    low, high = torch.zeros_like(uniform, dtype=torch.float64), torch.ones_like(uniform, dtype=torch.float64)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = middle + s / math.pi * torch.sin(math.pi * middle) < uniform
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def flow_sigmas(uniform: Tensor, mode: str, shift: float) -> Tensor:
    """Noise levels in [0, 1] for flow matching: the tilt once, or the model's own shift, never both.

    A shift of 3 or 5 is a tilt already (mean 0.68 or 0.75 against NewMove's 0.60), so `shift` counts in uniform mode only.
    """
    if mode != "uniform":
        return tilted(uniform, mode)
    return shift * uniform / (1 + (shift - 1) * uniform)


class DiffusionNoise:
    """Noise as a diffusion model is trained with: discrete timesteps; the target is what its scheduler config says."""

    def __init__(self, scheduler: DDPMScheduler, mode: str):
        self.scheduler = scheduler
        self.probabilities = timestep_probabilities(mode, scheduler.config.num_train_timesteps)
        if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
            raise ValueError("scheduler_config.json: expected prediction_type epsilon or v_prediction (found "
                             f"{scheduler.config.prediction_type}): take ZeroScope v2 or ModelScope text-to-video")

    def draw(self, generator: torch.Generator) -> Tensor:
        """A timestep, a scalar int64."""
        return sample_timesteps(self.probabilities, (), generator)

    def noised(self, latents: Tensor, noise: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy latents, target and the timestep the network is told. latents, noise: (N, ...); timestep: (N,)."""
        if self.scheduler.config.prediction_type == "v_prediction":
            target = self.scheduler.get_velocity(latents, noise, timestep)
        else:
            target = noise
        return self.scheduler.add_noise(latents, noise, timestep), target, timestep


class FlowNoise:
    """Noise as a flow-matching model is trained with: latents and noise mixed in a straight line; target noise - latents."""

    def __init__(self, num_train_timesteps: int, mode: str, shift: float):
        self.num_train_timesteps, self.mode, self.shift = num_train_timesteps, mode, shift
        tilt(mode)

    def draw(self, generator: torch.Generator) -> Tensor:
        """A noise level in [0, 1], a scalar float64."""
        return flow_sigmas(torch.rand((), generator=generator, dtype=torch.float64), self.mode, self.shift)

    def noised(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy latents, target and the timestep the network is told. latents, noise: (N, ...); sigma: (N,)."""
        s = sigma.to(latents).view(-1, *[1] * (latents.ndim - 1))                        # (N, 1, ...)
        return (1 - s) * latents + s * noise, noise - latents, sigma.to(latents) * self.num_train_timesteps
