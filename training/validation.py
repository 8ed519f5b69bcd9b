"""How good the model is on clips no step sees: losses with the same clips and noise every time, and a few videos.

The training loss hardly moves, as most of it is which noise level was drawn; two curves of these can be compared.
"""
from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from media.video_writer import write_video
from training.learner import Learner
from training.task import Batch, Task, TrainConfig, VALIDATION_POSITION

VIDEO_FPS = 8


class Validation:
    """Held-out clips, by index of `clips`, and what is measured on them."""

    def __init__(self, task: Task, clips: Dataset, indices: list[int], config: TrainConfig):
        self.task, self.clips, self.indices, self.config = task, clips, indices, config

    def batch(self, number: int, device: torch.device) -> Batch:
        """The number-th held-out clip as a batch of one."""
        item = self.clips[(self.indices[number], VALIDATION_POSITION + number)]
        return on_device(default_collate([item]), device)

    @torch.no_grad()
    def __call__(self, learner: Learner, step: int) -> dict[str, float]:
        """Mean of every validation loss, and over all, of the averaged weights; videos in output/validation/step-<step>."""
        accelerator, names = learner.accelerator, []
        with learner.averaged_weights(), accelerator.autocast():
            totals = torch.zeros((), device=accelerator.device)
            for begin in range(0, len(self.indices), accelerator.num_processes):
                number = begin + accelerator.process_index             # all processes compute: FSDP needs them all
                batch = self.batch(number % len(self.indices), accelerator.device)
                named = self.task.validation_inputs(batch)
                losses = torch.stack([learner(*inputs).float().mean() for inputs in named.values()])
                names, totals = list(named), totals + (losses if number < len(self.indices) else 0)
            means = (accelerator.reduce(totals, "sum") / len(self.indices)).tolist()
            if accelerator.is_main_process and not learner.sharded:
                for number in range(min(self.config.validation_videos, len(self.indices))):
                    self.write(number, step, accelerator.device)
        return {f"validation/{name}": mean for name, mean in zip(names, means)} | {
            "validation/loss": sum(means) / len(means)}

    def write(self, number: int, step: int, device: torch.device) -> None:
        """The task's video of a held-out clip, if it makes one."""
        video = self.task.sample(self.batch(number, device))
        if video is not None:
            folder = Path(self.config.output) / "validation" / f"step-{step}"
            write_video(folder / f"clip-{number}.mp4", video, VIDEO_FPS)


def on_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors moved."""
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}


def held_out(task: Task, clips: Dataset, config: TrainConfig) -> tuple[int, Validation | None]:
    """How many of `clips`, from the first, are trained on; and the validation, where clips are held out for it."""
    num_clips = len(clips) - config.validation_clips
    if config.validate_every and not config.validation_clips:
        raise ValueError("validate_every: expected validation_clips of at least 1 (found 0): say how many to hold out")
    if num_clips < 1:
        raise ValueError(f"clips: expected more than the {config.validation_clips} held out for validation "
                         f"(found {len(clips)}): check the data folder, or lower validation_clips")
    indices = list(range(num_clips, len(clips)))
    return num_clips, Validation(task, clips, indices, config) if indices else None
