"""MusePose: a picture and pose frames -> a video, by Stable Diffusion 1.5 with a reference network and motion modules.

Here are the settings of its training, which a script reads before it imports any network.
"""
from __future__ import annotations

from dataclasses import dataclass

from configs import setting
from training.task import TrainConfig

MIN_SNR_GAMMA = 5.0


@dataclass
class MusePoseTrainConfig(TrainConfig):
    """Settings of MusePose's training beside the loop's; names and defaults are those of its own YAML."""

    warmup_steps: int = setting(1, "linear warm-up")
    ema_decay: float = setting(0.0, "exponential moving average of the weights; 0 = off, as published")
    seed: int = setting(12580, "seed of samples and noise")
    stage: int = setting(1, "1: pictures; 2: motion modules on clips")
    uncond_ratio: float = setting(0.1, "share of samples without picture")
    noise_offset: float = setting(0.05, "standard deviation of the noise's mean, per sample and channel")
    snr_gamma: float = setting(MIN_SNR_GAMMA, "of min-SNR weighting; 0: every noise level counts the same")
    enable_zero_snr: bool = setting(True, "the last timestep is noise alone, and the target is v")
    gradient_checkpointing: bool = setting(False, "activations are computed twice, in less memory", free=True)

    def __post_init__(self):
        super().__post_init__()
        if self.stage not in (1, 2):
            raise ValueError(f"stage: expected 1 (pictures) or 2 (motion) (found {self.stage})")
        self.require_shares("uncond_ratio")
        self.require_at_least(0, "noise_offset", "snr_gamma")
        if not self.enable_zero_snr:
            raise ValueError("enable_zero_snr: expected true, as sampling assumes (found false): leave it out")
