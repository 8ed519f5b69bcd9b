"""What the tests of training share: tiny clips, settings, and launching processes."""
from __future__ import annotations

import multiprocessing.connection
import os
import socket
from pathlib import Path

import torch
from torch.utils.data import Dataset

from mimicmotion import VideoTrainConfig
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.task import VideoTask
from training.loop import train

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([                     # installed modules only: it does not look into tests/, and says nothing
    "pytest", "mimicmotion.task", "training.loop", "train_motion_customization", "generate_customized", "musepose.task", "renderers.mimicmotion"])


class RandomClips(Dataset):
    """Eight clips of cached latents that depend on their index alone."""

    def __len__(self):
        return 8

    def __getitem__(self, key):
        index, position = key
        generator = torch.Generator().manual_seed(index)
        return {"latents": torch.randn(2, 4, 8, 8, generator=generator),
                "reference_latents": torch.randn(4, 8, 8, generator=generator),
                "reference": torch.rand(3, 64, 64, generator=generator) * 2 - 1,
                "pose": torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1,
                "position": torch.tensor(position)}


def settings(output: Path, **changes) -> VideoTrainConfig:
    return VideoTrainConfig(**{**dict(output=str(output), max_steps=4, learning_rate=1e-3, warmup_steps=1, ema_decay=0.5,
                                      checkpoint_every=2, log_every=1, num_workers=0, mixed_precision="no", report_to="none",
                                      seed=3), **changes})


def batch_of(indices: list[int]) -> dict:
    items = [RandomClips()[(index, index)] for index in indices]
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


def train_video(model: PoseToVideo, clips: Dataset, config: VideoTrainConfig) -> Path:
    """Train a video model, as train_video_generation.py does."""
    return train(VideoTask(model, config), clips, config)


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def in_process(environment: dict, work, arguments: tuple) -> None:
    os.environ.update(environment, ACCELERATE_USE_CPU="true")
    work(*arguments)


def launched(num_processes: int, work, *arguments) -> list[int]:
    """Exit codes of `work(*arguments)` in processes of their own, joined by gloo when there are several."""
    port = free_port()
    environments = [{}] if num_processes == 1 else [
        dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(num_processes), LOCAL_WORLD_SIZE=str(num_processes),
             MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)) for rank in range(num_processes)]
    workers = [PROCESSES.Process(target=in_process, args=(variables, work, arguments)) for variables in environments]
    for worker in workers:
        worker.start()
    multiprocessing.connection.wait([worker.sentinel for worker in workers])
    for worker in workers:                              # as a launcher does: one that dies takes the others along
        worker.join(60 if not any(other.exitcode for other in workers) else 5)
        worker.kill()
        worker.join()
    return [worker.exitcode for worker in workers]
