"""What the training loop asks of a task, what a batch is, and the settings every run has.

A task says what is learnt and from what; `training.loop.train(task, clips, config)` does the rest: batches, processes,
optimizer, averaged weights, checkpoints, exact resume, validation, log.
"""
from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Required, TYPE_CHECKING, TypedDict

import numpy as np

from configs import setting

if TYPE_CHECKING:                           # a script reads its settings, and refuses a typo, before it imports torch
    from torch import nn, Tensor

VALIDATION_POSITION = 1 << 40               # positions from here on are held-out clips: no training sample reaches them
MAX_SEED = 2**40                            # seeds are multiplied by a million, and generators take 63 bits
MAX_WORKERS = 256                           # of one training process: each is a process of its own
MAX_BATCH = 4096                            # clips, or batches, of a step
MAX_LORA_RANK = 1024                        # the layers themselves are hardly wider
EDGES = ("conv_in", "conv_out", "embedding", "codebook", "head")      # parts of names of in- and output layers
OPTIMIZERS = ("adamw", "adamw_8bit", "muon")
SCHEDULES = ("cosine", "linear", "step")
TRACKERS = ("tensorboard", "wandb", "all", "none")


class Batch(TypedDict, total=False):
    """Samples of a dataset, stacked; every item has a `position`, the rest is between the dataset and its task."""

    position: Required[Tensor]              # (B,) place of each sample in the endless stream, seeds its randomness
    name: list[str]                         # file of each sample, for messages


class VideoBatch(Batch, total=False):
    """Samples of the video datasets: pictures in [-1, 1], and either `target` or cached latents."""

    target: Tensor                          # (B, F, 3, H, W)
    pose: Tensor                            # (B, F, 3, H, W), the drawn skeletons
    reference: Tensor                       # (B, 3, H, W), another picture of the same person
    latents: Tensor                         # (B, F, 4, h, w) of `target`, not scaled
    reference_latents: Tensor               # (B, 4, h, w), not scaled
    moved_latents: Tensor                   # (B, F, 4, h, w) of the reference moved into each pose, scaled
    embedding: Tensor                       # (B, 1, D), the image encoder's of `reference`
    noise_aug_strength: Tensor              # (B,) of the noise that cached `reference_latents` were made with
    fps: Tensor                             # (B,)
    motion_bucket_id: Tensor                # (B,)
    hands: Tensor                           # (B, F, 2, 5) boxes in canvas pixels, and mean confidence
    head: Tensor                            # (B, F, 1, 5)
    caption: list[str]


class Task(Protocol):
    """One thing to learn. Subclass it: the first three are to be written, the others have defaults.

    Whatever changes from step to step is a parameter or a buffer of `objective`; parameters that are not to be trained
    have requires_grad=False. The loop moves `objective` to its device; frozen networks follow the batch in `inputs`.
    """

    objective: nn.Module                    # forward(*inputs) -> losses (B,), or () where samples share one loss
    settings: dict[str, Any] = {}           # what else decides the result; checkpoints keep it, and a change is refused
    edges: tuple[str, ...] = EDGES          # parts of parameter names that Muon leaves to AdamW

    def inputs(self, batch: Batch) -> tuple:
        """What `objective` takes for a batch; all randomness is a function of (seed, position) alone."""

    def export(self, folder: Path) -> None:
        """Write the model as its `load` reads it, from the weights that `objective` has now."""

    def sample(self, batch: Batch) -> np.ndarray | None:
        """A validation video (F, H, W, 3) uint8 of a held-out clip, a batch of one; None makes none."""
        return None

    def validation_inputs(self, batch: Batch) -> dict[str, tuple]:
        """Inputs of the validation losses of a held-out clip, by name; the same at every call."""
        return {"loss": self.inputs(batch)}

    def training_mode(self) -> AbstractContextManager:
        """A context around all steps, for networks that run in a special way while they are trained."""
        return nullcontext()


def fastest_precision() -> str:
    """The arithmetic that this machine's device trains in without loss."""
    import torch
    from accelerate.utils import parse_flag_from_env

    from runtime.device import cpu_has_bfloat16
    if not torch.cuda.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"):
        return "bf16" if cpu_has_bfloat16() else "no"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


@dataclass
class TrainConfig:
    """Settings of one training run that the loop itself reads; a task's own are in a subclass."""

    output: str = setting("outputs/train", "folder for checkpoints, logs and the exported weights", free=True)
    max_steps: int = setting(100_000, "optimizer steps", free=True)
    batch_size: int = setting(1, "clips per process and step")
    gradient_accumulation: int = setting(1, "batches per optimizer step")
    optimizer: str = setting("adamw", "adamw_8bit needs bitsandbytes", OPTIMIZERS)
    learning_rate: float = setting(1e-5, "peak learning rate; Muon's when optimizer is muon")
    adam_learning_rate: float = setting(1e-3, "for what Muon leaves to AdamW")
    adam_beta2: float = setting(0.999, "decay of AdamW's second moment; beside Muon it is 0.99")
    weight_decay: float = setting(0.01, "decoupled weight decay")
    warmup_steps: int = setting(500, "linear warm-up")
    schedule: str = setting("cosine", "way to the final learning rate; step takes it for the last third", SCHEDULES)
    final_learning_rate: float = setting(1.0, "share of the peak at the end; 1 = constant")
    max_grad_norm: float = setting(1.0, "gradient clipping; 0 = off")
    ema_decay: float = setting(0.9999, "exponential moving average of the weights; 0 = off")
    allow_tf32: bool = setting(False, "float32 products in TF32 on an NVIDIA GPU")
    mixed_precision: str = setting("auto", "arithmetic; the trained weights stay float32; auto: bf16 where the device has it, else fp16 on "
                                   "a GPU, no on a CPU", ("auto", "no", "bf16", "fp16"))
    num_workers: int = setting(2, "data-loading processes", free=True)
    validate_every: int = setting(0, "steps between validations on held-out clips; 0 = none", free=True)
    validation_clips: int = setting(0, "this many clips at the end of the data are held out")
    validation_videos: int = setting(1, "of these, videos are made of so many", free=True)
    checkpoint_every: int = setting(500, "steps between checkpoints", free=True)
    asynchronous_saving: bool = setting(False, "go on while a checkpoint is written; a copy of it takes host memory", free=True)
    checkpoints_total_limit: int = setting(2, "older checkpoints are deleted; 0 = none is", free=True)
    resume: bool = setting(True, "go on from a checkpoint in output, if there is one", free=True)
    resume_from: str = setting("latest", "latest, or the folder of a checkpoint", free=True)
    allow_changes: str | None = setting("", "settings (comma-separated) that may differ from the checkpoint's; null: it cannot be asked for", free=True)
    report_to: str = setting("tensorboard", "where curves go", TRACKERS, free=True)
    log_every: int = setting(20, "steps between log lines", free=True)
    seed: int = setting(0, "seed of samples and noise")

    def __post_init__(self):
        for item in self.__dataclass_fields__.values():
            choices = item.metadata.get("choices")
            if choices and getattr(self, item.name) not in choices:
                raise ValueError(f"{item.name}: expected one of {', '.join(choices)} "
                                 f"(found {getattr(self, item.name)!r}): choose one")
        if self.mixed_precision == "auto":
            self.mixed_precision = fastest_precision()
        if not self.output.strip():
            raise ValueError("output: expected a folder (found nothing): name one")
        self.require_at_least(1, "max_steps", "batch_size", "gradient_accumulation", "checkpoint_every", "log_every")
        self.require_at_least(0, "warmup_steps", "validate_every", "validation_clips", "validation_videos",
                              "num_workers", "checkpoints_total_limit", "max_grad_norm", "learning_rate",
                              "adam_learning_rate", "weight_decay", "seed")
        if self.validate_every and not self.validation_clips:
            raise ValueError("validate_every: expected validation_clips of at least 1 (found 0): say how many to hold out with "
                             "train.validation_clips=, or set train.validate_every=0")
        self.require_at_most(MAX_SEED, "seed")
        self.require_at_most(MAX_WORKERS, "num_workers")
        self.require_at_most(MAX_BATCH, "batch_size", "gradient_accumulation")
        self.require_at_most(1, "learning_rate", "adam_learning_rate", "weight_decay")
        self.require_shares("final_learning_rate", "adam_beta2")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay: expected 0 (off) to less than 1 (found {self.ema_decay})")

    def require_at_least(self, least: float, *names: str) -> None:
        """A ValueError that names the first of these settings below `least`."""
        for name in names:
            if not getattr(self, name) >= least:
                raise ValueError(f"{name}: expected at least {least} (found {getattr(self, name)}): raise it")

    def require_at_most(self, most: float, *names: str) -> None:
        """A ValueError that names the first of these settings above `most`."""
        for name in names:
            if not getattr(self, name) <= most:
                raise ValueError(f"{name}: expected at most {most} (found {getattr(self, name)}): choose a smaller one")

    def require_shares(self, *names: str) -> None:
        """A ValueError that names the first of these settings outside [0, 1]."""
        for name in names:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1 (found {getattr(self, name)})")
