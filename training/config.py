"""Settings of a training run."""
from __future__ import annotations

from dataclasses import dataclass, field

PARTS = ("all", "spatial", "temporal")
OPTIMIZERS = ("adamw", "adamw_8bit", "muon")
TRACKERS = ("tensorboard", "wandb", "all", "none")
AT_LEAST_ONE = ("max_steps", "batch_size", "gradient_accumulation", "checkpoint_every", "log_every", "fps",
                "validation_sampling_steps")
NOT_NEGATIVE = ("lora_rank", "warmup_steps", "validate_every", "validation_clips", "validation_videos", "num_workers",
                "checkpoints_total_limit", "min_snr_gamma", "noise_aug_strength", "noise_aug_spread", "max_grad_norm",
                "learning_rate", "adam_learning_rate", "weight_decay", "sigma_std", "pose_weight", "hand_weight",
                "head_weight", "motion_bucket_id", "seed")
SHARES = ("final_learning_rate", "sigma_uniform_share", "conditioning_dropout", "noise_sharing", "hand_confidence")


def _setting(default, help: str, choices: tuple[str, ...] = ()):
    return field(default=default, metadata={"help": help} | ({"choices": choices} if choices else {}))


@dataclass
class TrainConfig:
    """Settings of one training run. The defaults are MimicMotion's fine-tuning (paper, section 4.1)."""

    output: str = _setting("outputs/train", "folder for checkpoints, logs and the exported weights")
    max_steps: int = _setting(100_000, "optimizer steps")
    batch_size: int = _setting(1, "clips per process and step")
    gradient_accumulation: int = _setting(1, "batches per optimizer step")
    parts: str = _setting("all", "what is trained; spatial is for single pictures", PARTS)
    lora_rank: int = _setting(0, "train low-rank updates of the UNet's attention, and PoseNet; 0 = all weights")
    train_image_encoder: bool = _setting(False, "also train the CLIP image encoder")
    optimizer: str = _setting("adamw", "adamw_8bit needs bitsandbytes", OPTIMIZERS)
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
    min_snr_gamma: float = _setting(0.0, "min-SNR weighting (Hang et al. 2023, who use 5); 0 = off")
    conditioning_dropout: float = _setting(0.1, "share of samples without picture and pose, for guidance")
    noise_aug_strength: float = _setting(0.02, "noise on the reference picture; the median where it is drawn")
    noise_aug_spread: float = _setting(0.0, "standard deviation of its logarithm per sample; 0 = not drawn")
    noise_sharing: float = _setting(0.0, "share of the noise's variance common to a clip's frames; 0 as SVD")
    pose_weight: float = _setting(1.0, "loss weight where the pose is drawn, against 1 elsewhere")
    hand_weight: float = _setting(10.0, "loss weight around clearly seen hands, where the data says where they are")
    head_weight: float = _setting(1.0, "loss weight around a clearly seen face and its hair, where the data says where")
    hand_confidence: float = _setting(0.5, "mean confidence from which a hand or a face is clearly seen")
    fps: int = _setting(7, "frame rate the network is told where the data does not say")
    motion_bucket_id: int = _setting(127, "amount of motion the network is told where the data does not say")
    gradient_checkpointing: bool = _setting(False, "less memory, a third more time")
    attention: str = _setting("sdpa", "PyTorch's attention, or xformers'", ("sdpa", "xformers"))
    compile: bool = _setting(False, "torch.compile the UNet: minutes at the start, then faster steps")
    allow_tf32: bool = _setting(False, "float32 products in TF32 on an NVIDIA GPU")
    mixed_precision: str = _setting("bf16", "arithmetic; the trained weights stay float32", ("no", "bf16", "fp16"))
    num_workers: int = _setting(2, "data-loading processes")
    validate_every: int = _setting(0, "steps between validations on held-out clips; 0 = none")
    validation_clips: int = _setting(0, "this many clips at the end of the data are held out")
    validation_videos: int = _setting(1, "of these, videos are made of so many")
    validation_sampling_steps: int = _setting(25, "sampling steps of those videos")
    checkpoint_every: int = _setting(500, "steps between checkpoints")
    checkpoints_total_limit: int = _setting(2, "older checkpoints are deleted; 0 = none is")
    resume: bool = _setting(True, "go on from a checkpoint in output, if there is one")
    resume_from: str = _setting("latest", "latest, or the folder of a checkpoint")
    report_to: str = _setting("tensorboard", "where curves go", TRACKERS)
    log_every: int = _setting(20, "steps between log lines")
    seed: int = _setting(0, "seed of samples, noise levels and noise")

    def __post_init__(self):
        for item in self.__dataclass_fields__.values():
            choices = item.metadata.get("choices")
            if choices and getattr(self, item.name) not in choices:
                raise ValueError(f"{item.name}: expected one of {', '.join(choices)} "
                                 f"(found {getattr(self, item.name)!r}): choose one")
        if not self.output.strip():
            raise ValueError("output: expected a folder (found nothing): name one")
        for names, least in ((AT_LEAST_ONE, 1), (NOT_NEGATIVE, 0)):
            for name in names:
                if not getattr(self, name) >= least:
                    raise ValueError(f"{name}: expected at least {least} (found {getattr(self, name)}): raise it")
        for name in SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1 (found {getattr(self, name)})")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay: expected 0 (off) to less than 1 (found {self.ema_decay})")
        if self.lora_rank and self.parts != "all":
            raise ValueError(f"lora_rank: expected parts=all (found parts={self.parts}): LoRA chooses its own layers")
        if self.lora_rank and self.train_image_encoder:
            raise ValueError("lora_rank: expected train_image_encoder=false (found true): choose one of them")
