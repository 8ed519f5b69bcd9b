"""Settings of a training run."""
from __future__ import annotations

from dataclasses import dataclass, field

PARTS = ("all", "spatial", "temporal")


def _setting(default, help: str):
    return field(default=default, metadata={"help": help})


@dataclass
class TrainConfig:
    """Settings of one training run. The defaults are MimicMotion's fine-tuning (paper, section 4.1)."""

    output: str = _setting("outputs/train", "folder for checkpoints, logs and the exported weights")
    max_steps: int = _setting(100_000, "optimizer steps")
    batch_size: int = _setting(1, "clips per process and step")
    gradient_accumulation: int = _setting(1, "batches per optimizer step")
    parts: str = _setting("all", "what is trained: all | spatial (single pictures) | temporal")
    train_image_encoder: bool = _setting(False, "also train the CLIP image encoder")
    optimizer: str = _setting("adamw", "adamw | muon")
    learning_rate: float = _setting(1e-5, "peak learning rate; Muon's when optimizer is muon")
    adam_learning_rate: float = _setting(1e-3, "for what Muon leaves to AdamW")
    weight_decay: float = _setting(0.01, "decoupled weight decay")
    warmup_steps: int = _setting(500, "linear warm-up")
    final_learning_rate: float = _setting(1.0, "share of the peak reached by cosine decay; 1 = constant")
    max_grad_norm: float = _setting(1.0, "gradient clipping; 0 = off")
    ema_decay: float = _setting(0.9999, "exponential moving average of the weights; 0 = off")
    sigma_mean: float = _setting(0.7, "mean of ln(sigma)")
    sigma_std: float = _setting(1.6, "standard deviation of ln(sigma)")
    sigma_uniform_share: float = _setting(0.0, "share of samples whose sigma is log-uniform")
    conditioning_dropout: float = _setting(0.1, "share of samples without picture and pose, for guidance")
    noise_aug_strength: float = _setting(0.02, "noise on the reference picture")
    noise_sharing: float = _setting(0.0, "share of the noise's variance common to a clip's frames; 0 as SVD")
    pose_weight: float = _setting(1.0, "loss weight where the pose is drawn, against 1 elsewhere")
    fps: int = _setting(7, "frame rate the network is told")
    motion_bucket_id: int = _setting(127, "amount of motion the network is told")
    gradient_checkpointing: bool = _setting(False, "less memory, a third more time")
    mixed_precision: str = _setting("bf16", "no | bf16 | fp16")
    num_workers: int = _setting(2, "data-loading processes")
    checkpoint_every: int = _setting(500, "steps between checkpoints")
    checkpoints_total_limit: int = _setting(2, "older checkpoints are deleted")
    resume: bool = _setting(True, "go on from the latest checkpoint in output")
    log_every: int = _setting(20, "steps between log lines")
    seed: int = _setting(0, "seed of samples, noise levels and noise")

    def __post_init__(self):
        if self.parts not in PARTS:
            raise ValueError(f"parts: expected one of {', '.join(PARTS)} (found {self.parts!r}): choose one")
        if self.optimizer not in ("adamw", "muon"):
            raise ValueError(f"optimizer: expected adamw or muon (found {self.optimizer!r}): choose one")
        if self.max_steps < 1 or self.batch_size < 1:
            raise ValueError(f"max_steps, batch_size: expected at least 1 (found {self.max_steps}, {self.batch_size})")
