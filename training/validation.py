"""How good the model is on clips no step sees: losses with the same clips and noise every time, and a few videos.

The training loss hardly moves, as most of it is which noise level was drawn; two curves of these can be compared.
"""
from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from media.video_writer import write_video
from training.learner import Learner
from training.task import Batch, Task, TrainConfig, VALIDATION_POSITION

log = logging.getLogger(__name__)

VIDEO_FPS = 8
LARGEST_SHARE = 0.1                         # of all clips, that persons or folders may cost where videos would do
NAMED = 5                                   # held-out videos in the log


class Validation:
    """Held-out clips, by index of `clips`, and what is measured on them."""

    def __init__(self, task: Task, clips: Dataset, indices: Sequence[int], config: TrainConfig):
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


class Split(NamedTuple):
    """Which clips are trained on and which are measured, by index. In neither: more clips of a held-out video."""

    trained: Sequence[int]
    measured: Sequence[int]


def held_out(clips: Dataset, config: TrainConfig) -> Split:
    """The last `validation_clips` of the clips, or, where `clips.origin` says where they come from, whole videos.

    What is held out is a function of the names alone, so that new clips hardly change it.
    """
    count = config.validation_clips
    if len(clips) - count < 1:
        raise ValueError(f"clips: expected more than the {count} held out for validation "
                         f"(found {len(clips)}): check the data folder, or lower validation_clips")
    if not count:
        return Split(range(len(clips)), ())
    if hasattr(clips, "origin"):
        return split_by_origin([clips.origin(index) for index in range(len(clips))], count)
    log.info("validation: the last %d of %d clips are held out; these clips do not say which video they come from",
             count, len(clips))
    return Split(range(len(clips) - count), range(len(clips) - count, len(clips)))


def split_by_origin(origins: Sequence[tuple[str, str, str]], count: int) -> Split:
    """Hold out whole videos with about `count` clips. origins: (file, video, person or folder) of every clip.

    Persons and folders are held out whole, too, unless that would cost many more clips than are measured.
    """
    for column in (2, 1):                                               # persons or folders, then videos
        groups = defaultdict(list)                                      # name -> indices
        for index, origin in enumerate(origins):
            groups[origin[column] or origin[1]].append(index)
        chosen = whole_groups(groups, count)
        held = sorted(index for name in chosen for index in groups[name])
        dear = column == 2 and len(held) > max(2 * count, len(origins) * LARGEST_SHARE)
        if len(held) < len(origins) and not dear:
            break
    else:
        raise ValueError(f"validation_clips: expected clips of two videos at least (found {len(origins)} of "
                         f"'{origins[0][1]}' alone, and no clip of a held-out video is trained on): add videos, or "
                         "set validation_clips=0 and validate_every=0")
    measured = [held[number * len(held) // count] for number in range(count)] if len(held) > count else held
    names = sorted({origins[index][column] or origins[index][1] for index in measured})
    kind = kinds([origins[index] for index in measured], column)
    log.info("validation: %s held out, by %s, of which no clip is trained on: %s%s",
             "1 clip is" if len(measured) == 1 else f"{len(measured)} clips are", kind,
             ", ".join(names[:NAMED]), f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    if len(measured) < count or len(measured) < len(held):
        log.warning("validation_clips=%d: %d measured, %d more of the same %s not used", count,
                    len(measured), len(held) - len(measured), kind)
    kept = set(range(len(origins))) - set(held)
    return Split(sorted(kept), measured)


def kinds(origins: Sequence[tuple[str, str, str]], column: int) -> str:
    """What clips are held out by: a named person stands in the video's place, too, and a folder is in the video's path."""
    found = {"persons" if group == video else "folders" if column == 2 and group in Path(video).parts else "videos"
             for _, video, group in origins}
    return " and ".join(sorted(found))


def whole_groups(groups: dict[str, list[int]], count: int) -> list[str]:
    """Names of groups with at most `count` clips together, in an order made from the names; or the smallest alone."""
    order = sorted(groups, key=lambda name: hashlib.sha256(name.encode(errors="backslashreplace")).digest())
    chosen, left = [], count
    for name in order:
        if len(groups[name]) <= left and len(chosen) + 1 < len(groups):
            chosen.append(name)
            left -= len(groups[name])
    return chosen or [min(order, key=lambda name: len(groups[name]))]
