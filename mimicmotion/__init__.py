"""Picture + pose frames → video: MimicMotion (arXiv 2406.19680) on Stable Video Diffusion. Frames, never joints.

Here is what is read before any network is imported: where its weights are, and the settings of its training.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from configs import setting
from training.task import MAX_LORA_RANK, TrainConfig

SVD_FILES = ("vae/config.json", "image_encoder/config.json", "scheduler/scheduler_config.json")
FETCH = "fetch it with python scripts/download_weights.py"
WANTED = "expected a video model's tensors 'unet.*' and 'pose_net.*'"
REMEDY = "take MimicMotion_1-1.pth or a folder this repository trained; plain SVD goes in the key svd"
PARTS = ("all", "spatial", "temporal")


def check_model_files(svd: Path, checkpoint: Path, key: str) -> None:
    """A video model's files are there; ValueError names the first that is not. key: of their settings, for the message."""
    missing = [name for name in SVD_FILES if not (svd / name).is_file()]
    if missing:
        raise ValueError(f"{key}.svd={svd}: {missing[0]} is missing: {FETCH} svd (weights/README.md)")
    if checkpoint.is_dir():
        checkpoint_file(checkpoint)
        missing = [name for name in ("config.json", "model.safetensors") if not (checkpoint / name).is_file()]
        if missing:
            raise ValueError(f"{key}.checkpoint={checkpoint}: {missing[0]} is missing: {FETCH} mimicmotion "
                             "(weights/README.md), or name the folder that a training wrote")
    elif not checkpoint.is_file():
        raise ValueError(f"{key}.checkpoint={checkpoint}: no such file or folder: {FETCH} mimicmotion "
                         "(weights/README.md)")


def checkpoint_file(checkpoint: str | Path) -> Path:
    """The weights file of a video checkpoint: itself, or the one in our folder."""
    path = Path(checkpoint)
    if not path.is_dir():
        return path
    if any((path / name).exists() for name in ("unet", "vae", "model_index.json", "diffusion_pytorch_model.safetensors",
                                               "diffusion_pytorch_model.fp16.safetensors")):
        raise ValueError(f"{path}: {WANTED} (found a folder of plain SVD): {REMEDY}")
    return path / "model.safetensors"


def unet_folder(svd: str | Path, checkpoint: str | Path | None) -> Path:
    """Where the UNet's config.json is: a checkpoint folder brings its own."""
    return Path(checkpoint) if checkpoint and Path(checkpoint).is_dir() else Path(svd) / "unet"


def image_encoder_folder(svd: str | Path, checkpoint: str | Path | None) -> Path:
    """Where the image encoder is: a checkpoint folder may bring its own."""
    own = Path(checkpoint or svd) / "image_encoder"
    return own if own.is_dir() else Path(svd) / "image_encoder"


@dataclass
class VideoTrainConfig(TrainConfig):
    """Settings of one training run. The defaults are MimicMotion's fine-tuning (paper, section 4.1)."""

    parts: str = setting("all", "what is trained; spatial is for single pictures", PARTS)
    lora_rank: int = setting(0, "train low-rank updates of the UNet's attention, and PoseNet; 0 = all weights")
    train_image_encoder: bool = setting(False, "also train the CLIP image encoder")
    sigma_mean: float = setting(0.7, "mean of ln(sigma)")
    sigma_std: float = setting(1.6, "standard deviation of ln(sigma)")
    sigma_uniform_share: float = setting(0.0, "share of samples whose sigma is log-uniform")
    min_snr_gamma: float = setting(0.0, "min-SNR weighting (Hang et al. 2023, who use 5); 0 = off")
    conditioning_dropout: float = setting(0.1, "share of samples without picture and pose, for guidance")
    moved_dropout: float = setting(0.1, "share of samples that are not told of the moved picture, for weights that take it")
    noise_aug_strength: float = setting(0.02, "noise on the reference picture; the median where it is drawn")
    noise_aug_spread: float = setting(0.0, "standard deviation of its logarithm per sample; 0 = not drawn")
    noise_sharing: float = setting(0.0, "share of the noise's variance common to a clip's frames; 0 as SVD")
    pose_weight: float = setting(1.0, "loss weight where the pose is drawn, against 1 elsewhere")
    hand_weight: float = setting(10.0, "loss weight around clearly seen hands, where the data says where they are")
    head_weight: float = setting(1.0, "loss weight around a clearly seen face and its hair, where the data says where")
    hand_confidence: float = setting(0.5, "mean confidence from which a hand or a face is clearly seen")
    fps: int = setting(7, "frame rate the network is told where the data does not say")
    motion_bucket_id: int = setting(127, "amount of motion the network is told where the data does not say")
    gradient_checkpointing: bool = setting(False, "less memory, a third more time", free=True)
    attention: str = setting("sdpa", "PyTorch's attention, or xformers'", ("sdpa", "xformers"), free=True)
    compile: bool = setting(False, "torch.compile the UNet: minutes at the start, then faster steps", free=True)
    validation_sampling_steps: int = setting(25, "sampling steps of the validation videos", free=True)

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(1, "fps", "validation_sampling_steps")
        self.require_at_least(0, "lora_rank", "min_snr_gamma", "noise_aug_strength", "noise_aug_spread", "sigma_std",
                              "pose_weight", "hand_weight", "head_weight", "motion_bucket_id")
        self.require_at_most(MAX_LORA_RANK, "lora_rank")
        self.require_shares("sigma_uniform_share", "conditioning_dropout", "moved_dropout", "noise_sharing", "hand_confidence")
        if self.lora_rank and self.parts != "all":
            raise ValueError(f"lora_rank: expected parts=all (found parts={self.parts}): LoRA chooses its own layers")
        if self.lora_rank and self.train_image_encoder:
            raise ValueError("lora_rank: expected train_image_encoder=false (found true): choose one of them")
