"""MusePose: a picture and pose frames -> a video, by Stable Diffusion 1.5 with a reference network and motion modules.

Here is what is read before any network is imported: where its weights are, and the settings of its training.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from configs import setting
from training.task import TrainConfig

MIN_SNR_GAMMA = 5.0
FETCH = "fetch MusePose's with python scripts/download_weights.py musepose (and musepose-base, for stage 1 of training)"


@dataclass(frozen=True)
class WeightFiles:
    """Where the networks' weights are; the names are those of MusePose's own YAML, without `_path`."""
    pretrained_base_model: Path      # folder with unet/config.json
    pretrained_vae: Path
    image_encoder: Path
    denoising_unet: Path | None      # .pth; None: the base model's
    reference_unet: Path | None      # .pth; None: the base model's
    pose_guider: Path | None         # .pth; None: a new one
    motion_module: Path | None       # .pth; None: single pictures

    @classmethod
    def of(cls, folder: str | Path) -> WeightFiles:
        """In the layout of the official `pretrained_weights`."""
        folder, muse = Path(folder), Path(folder) / "MusePose"
        return cls(folder / "sd-image-variations-diffusers", folder / "sd-vae-ft-mse", folder / "image_encoder",
                   *(muse / f"{name}.pth" for name in ("denoising_unet", "reference_unet", "pose_guider", "motion_module")))


def check_weight_files(weights: str, networks: str) -> None:
    """The renderer's weights are there; ValueError names the first that is not. networks: folder of ours in place of four files."""
    files = WeightFiles.of(weights)
    official = files.denoising_unet, files.reference_unet, files.pose_guider, files.motion_module
    missing = [path for path in ((Path(networks) / "model.safetensors",) if networks else official) if not path.is_file()]
    if missing:
        raise ValueError(f"{missing[0]}: expected a weights file (found none): {FETCH}, or choose musepose.weights")


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
