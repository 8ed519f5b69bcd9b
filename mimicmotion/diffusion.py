"""The diffusion of Stable Video Diffusion: noise schedule, preconditioned denoiser and loss (Karras et al. 2022).

One denoising step of all frames follows: overlapping tiles, guidance, how tiles are blended (MimicMotion, section 3.4).
"""
from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import EulerDiscreteScheduler
from diffusers.schedulers import AysSchedules
from torch import Tensor

from mimicmotion.networks import PoseUNet
from mimicmotion.savings import FeatureCache
from runtime.processes import ALONE, Processes

log = logging.getLogger(__name__)

# ------------------------------------------------------------------------------------------------------ noise and loss

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


# ------------------------------------------------------------------------------------------------------ denoising step

MODES = ("published", "balanced")
UNCONDITIONAL, CONDITIONAL, BOTH = range(0, 1), range(1, 2), range(0, 2)    # halves of classifier-free guidance, as rows


def check_tiling(tile_size: int, tile_overlap: int, mode: str, max_tile: int | None = None) -> None:
    """Refuse tilings that would leave frames without a prediction."""
    if mode not in MODES:
        raise ValueError(f"tiles: expected one of {', '.join(MODES)} (found {mode!r})")
    if tile_size < 2:
        raise ValueError(f"tile_size: expected at least 2 frames (found {tile_size}): frame 0 is part of every tile")
    if not 1 <= tile_overlap < tile_size:
        raise ValueError(f"tile_overlap: expected 1 to tile_size - 1 = {tile_size - 1} (found {tile_overlap}): "
                         "frame 0 is shared by all tiles and counts as one")
    if max_tile is not None and max_tile < tile_size:
        raise ValueError(f"max_tile: expected at least tile_size = {tile_size} (found {max_tile}): lower tile_size too")


def tile_ranges(num_frames: int, tile_size: int, tile_overlap: int, mode: str = "published",
                max_tile: int | None = None) -> list[list[int]]:
    """The frames of each tile; consecutive tiles share frame 0 and at least tile_overlap - 1 others.

    "published": full tiles of `tile_size`; where the end is not met, one more full tile ends there, repeating frames.
    "balanced": the fewest tiles, of equal length up to one frame, with exactly the overlap asked for. A video of up to
    `max_tile` frames (None: an eighth above `tile_size`) is one tile: 73 frames cost 73, not 72 + 72.
    Fewer frames than a tile are one tile of all frames, in both.
    """
    check_tiling(tile_size, tile_overlap, mode, max_tile)
    longest = tile_size
    if mode == "balanced":
        longest = tile_size + tile_size // 8 if max_tile is None else max_tile
    if num_frames <= longest:
        return [list(range(num_frames))]
    if mode == "balanced":
        return balanced_ranges(num_frames, tile_size, tile_overlap)
    run = tile_size - 1                                                       # frames of a tile beside frame 0
    starts = list(range(1, num_frames - run + 1, tile_size - tile_overlap))
    if starts[-1] != num_frames - run:
        starts.append(num_frames - run)
    return [[0, *range(start, start + run)] for start in starts]


def balanced_ranges(num_frames: int, tile_size: int, tile_overlap: int) -> list[list[int]]:
    """The fewest tiles of at most `tile_size` frames that cover all frames, as equal as whole frames allow."""
    shared = tile_overlap - 1                                                 # by two neighbours, beside frame 0
    num_tiles = -(-(num_frames - tile_overlap) // (tile_size - tile_overlap))
    advance = (num_frames - tile_overlap) / num_tiles                         # new frames per tile
    edges = [round(i * advance) for i in range(num_tiles + 1)]
    return [[0, *range(1 + start, 1 + end + shared)] for start, end in zip(edges, edges[1:])]


@dataclass(frozen=True, eq=False)
class Tile:
    """A tile where the latents are."""
    frames: Tensor   # (T,) long
    weight: Tensor   # (T, 1, 1, 1) float32

    @classmethod
    def of(cls, frames: list[int], device: torch.device) -> Tile:
        weight = tile_weights(len(frames))[:, None, None, None]
        return cls(torch.tensor(frames, device=device), weight.to(device))


def blended(predictions: Sequence[Tensor], tiles: Sequence[Tile], num_frames: int) -> Tensor:
    """The weighted mean of what the tiles say of each frame, (F, 4, h, w), summed in the order of the tiles."""
    total = predictions[0].new_zeros(num_frames, *predictions[0].shape[1:])
    weight = total.new_zeros(num_frames, 1, 1, 1)
    for prediction, tile in zip(predictions, tiles):
        total[tile.frames] += tile.weight * prediction
        weight[tile.frames] += tile.weight
    return total / weight


def tile_weights(num_frames: int) -> Tensor:
    """Triangle over a tile's frames, (num_frames,): 1/T at both ends, largest in the middle, never zero."""
    position = (torch.arange(num_frames) + 0.5) * 2 / num_frames
    return torch.minimum(position, 2 - position)


@dataclass(eq=False)
class Denoiser:
    """What all denoising steps of a video share. A call gives the v of all frames, (F, 4, h, w) float32."""
    unet: PoseUNet
    tiles: list[Tile]
    picture: Tensor                      # (1, 4, h, w) VAE latents; with those of the moved picture (F, 8, h, w)
    tokens: Tensor                       # (2, 1, 1) no picture, the picture: rows for the cross-attentions
    numbers: Tensor                      # (1, 3) fps - 1, motion bucket, noise augmentation
    pose_features: Tensor                # (F, C0, h, w), on the device or in the CPU's memory
    guidance: Tensor                     # (F, 1, 1, 1)
    guidance_batch: int                  # halves in one call: 2, or 1 for half the activations
    cache: FeatureCache
    processes: Processes = ALONE

    def __call__(self, noisy: Tensor, timestep: Tensor, guided: bool) -> Tensor:
        """noisy: (F, 4, h, w) float32 of unit variance. Out of memory is retried one half of the guidance at a time."""
        calls = [(tile, halves) for tile in range(len(self.tiles)) for halves in self.batches(guided)]
        self.cache.next_step(calls)
        try:
            parts = self.processes.gathered(lambda call: self.predict(*call, noisy, timestep), calls)
        except torch.OutOfMemoryError:
            if not guided or self.guidance_batch == 1:
                raise
            log.warning("both halves of the guidance in one call ran out of memory: going on with one at a time")
            self.guidance_batch = 1
            return self(noisy, timestep, guided)
        predictions = []
        for number, tile in enumerate(self.tiles):
            halves = torch.cat([part for part, (owner, _) in zip(parts, calls) if owner == number])   # (1 or 2, T, ...)
            if guided:
                without, given = halves
                predictions.append(without + self.guidance[tile.frames] * (given - without))
            else:
                predictions.append(halves[0])
        return blended(predictions, self.tiles, len(noisy))

    def batches(self, guided: bool) -> tuple[range, ...]:
        """The halves that make up a tile, call by call. Processes that would idle share out the halves, too."""
        if not guided:
            return (CONDITIONAL,)
        even = len(self.tiles) % self.processes.count == 0
        return (BOTH,) if self.guidance_batch == 2 and even else (UNCONDITIONAL, CONDITIONAL)

    def predict(self, number: int, halves: range, noisy: Tensor, timestep: Tensor) -> Tensor:
        """The UNet's v of a tile, (len(halves), T, 4, h, w) float32."""
        frames = self.tiles[number].frames
        noise = noisy[frames].to(self.unet.dtype)                             # (T, 4, h, w)
        picture = self.picture.expand(len(noisy), -1, -1, -1)[frames]         # (T, 4 or 8, h, w)
        rows = [torch.cat([noise, picture if half in CONDITIONAL else torch.zeros_like(picture)], dim=1) for half in halves]
        poses = self.posed(frames) if halves[-1] in CONDITIONAL else None           # (T, C0, h, w)
        deep = self.cache.get((number, halves))
        v, fresh = self.unet(torch.stack(rows), timestep, self.tokens[halves.start:halves.stop],
                             self.numbers.expand(len(halves), -1), poses, deep, return_dict=False)
        if deep is None:
            self.cache.put((number, halves), fresh)
        return v.float()

    def posed(self, frames: Tensor) -> Tensor:
        """The pose features of frames (T,), on the device, (T, C0, h, w)."""
        return self.pose_features[frames.to(self.pose_features.device)].to(self.picture.device)
