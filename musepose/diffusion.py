"""The noise of MusePose: DDIM with a zero terminal signal (Lin et al. 2024), and v targets for training."""
from __future__ import annotations

from diffusers import DDIMScheduler
from torch import Tensor

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
