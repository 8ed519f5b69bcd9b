"""MusePose's noise, DDIM with a zero terminal signal (Lin et al. 2024), and its windows of frames denoised together."""
from __future__ import annotations

import math
from collections.abc import Sequence

from diffusers import DDIMScheduler
import torch
from torch import Tensor

from musepose.networks import MAX_WINDOW

MIN_SNR_GAMMA = 5.0
NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
         "steps_offset": 1, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
         "timestep_spacing": "trailing"}


def scheduler(num_inference_steps: int | None = None, **changes) -> DDIMScheduler:
    """The published scheduler; changes: of `NOISE`, as in the YAML's noise_scheduler_kwargs."""
    found = DDIMScheduler(**NOISE | changes)
    if found.config.prediction_type != "v_prediction":
        raise ValueError("prediction_type: expected v_prediction, which MusePose was trained for "
                         f"(found {found.config.prediction_type!r}): leave it out")
    if num_inference_steps is not None:
        if not 1 <= num_inference_steps <= found.config.num_train_timesteps:
            raise ValueError(f"num_inference_steps: expected 1 to {found.config.num_train_timesteps} "
                             f"(found {num_inference_steps}): 20 is usual")
        found.set_timesteps(num_inference_steps)
    return found


def scales(timesteps: Tensor, alphas_cumprod: Tensor, ndim: int) -> tuple[Tensor, Tensor]:
    """Signal and noise shares of each sample, (B, 1, ...) with `ndim` dimensions."""
    alpha = alphas_cumprod.to(timesteps.device)[timesteps].view(-1, *[1] * (ndim - 1))
    return alpha.sqrt(), (1 - alpha).sqrt()


def noised(latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Latents (B, ...) at each sample's noise level; timesteps: (B,) long."""
    signal, spread = scales(timesteps, alphas_cumprod, latents.ndim)
    return signal * latents + spread * noise


def velocity(latents: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """What the denoiser is to predict (Salimans & Ho 2022, section 4)."""
    signal, spread = scales(timesteps, alphas_cumprod, latents.ndim)
    return signal * noise - spread * latents


def min_snr_weight(timesteps: Tensor, alphas_cumprod: Tensor, gamma: float = MIN_SNR_GAMMA) -> Tensor:
    """Weight of each sample's squared v error, (B,): min(SNR + 1, gamma) / (SNR + 1).

    Where it is not that of Hang et al. 2023 (min(SNR, gamma) / (SNR + 1)): so without signal the weight is 1, not 0.
    """
    alpha = alphas_cumprod.to(timesteps.device)[timesteps]
    snr = alpha / (1 - alpha)
    return (snr + 1).clamp(max=gamma) / (snr + 1)


def offset_noise(noise: Tensor, offsets: Tensor, strength: float) -> Tensor:
    """Noise (B, F, 4, h, w) whose mean varies: offsets (B, 4), one per sample and channel, the same in all frames."""
    return noise + strength * offsets[:, None, :, None, None]


# ---------------------------------------------------------------------- windows (AnimateDiff's uniform contexts)

def check_windows(size: int, overlap: int, stride: int = 1) -> None:
    """Refuse windows that leave frames without a prediction."""
    if not 1 <= size <= MAX_WINDOW:
        raise ValueError(f"window: expected 1 to {MAX_WINDOW} frames, which MusePose's motion modules know "
                         f"(found {size}): 48 is what it was trained on")
    if not 0 <= overlap < size:
        raise ValueError(f"window_overlap: expected 0 to window - 1 = {size - 1} (found {overlap}): 4 is usual")
    if stride < 1:
        raise ValueError(f"window_stride: expected at least 1 (found {stride})")


def frame_windows(num_frames: int, size: int = 48, overlap: int = 4, stride: int = 1) -> list[list[int]]:
    """The frames of each window. The last one goes on at frame 0 where the video ends within it.

    stride k: further windows over every 2nd, 4th, ... frame, k - 1 times as long as the video is so long.
    """
    check_windows(size, overlap, stride)
    if num_frames <= size:
        return [list(range(num_frames))]
    passes = min(stride, math.ceil(math.log2(num_frames / size)) + 1)
    steps = [2 ** number for number in range(passes)]
    return [[frame % num_frames for frame in range(start, start + size * step, step)]
            for step in steps for start in range(0, num_frames - overlap, size * step - overlap)]


def padded_length(num_frames: int, size: int = 48, overlap: int = 4) -> int:
    """Frames that windows cover exactly; the published code fills up to them by repeating the last pose."""
    return overlap + max(0, math.ceil((num_frames - overlap) / (size - overlap))) * (size - overlap)


def averaged(predictions: Sequence[Tensor], windows: Sequence[list[int]], num_frames: int) -> Tensor:
    """The mean of what the windows (T, 4, h, w) say of each frame, (F, 4, h, w), summed in the order of the windows."""
    total = predictions[0].new_zeros(num_frames, *predictions[0].shape[1:])
    count = total.new_zeros(num_frames, 1, 1, 1)
    for prediction, window in zip(predictions, windows):
        frames = torch.tensor(window, device=total.device)
        total.index_add_(0, frames, prediction)
        count.index_add_(0, frames, count.new_ones(len(window), 1, 1, 1))
    return total / count
