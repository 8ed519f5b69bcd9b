"""How good the model is on clips no step sees: the loss at fixed noise levels with fixed noise, and a few videos.

The training loss hardly moves, as most of it is which noise level was drawn. Here levels, noise and clips are the same
every time and in every run, so two curves can be compared.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from media.images import as_frames
from media.video_writer import write_video
from mimicmotion.edm import mixed_noise
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.task import latents_of, time_ids_of
from training.config import TrainConfig
from training.learner import Learner

SIGMAS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)       # the noise levels a fine-tuning draws 9 of 10 samples from
POSITION = 1 << 40                              # samples no training reaches, so that crops are their own
VIDEO_FPS = 8


class Validation:
    """Held-out clips, by index of `clips`, and what is measured on them."""

    def __init__(self, model: PoseToVideo, clips: Dataset, indices: list[int], config: TrainConfig):
        self.model, self.clips, self.indices, self.config = model, clips, indices, config

    def batch(self, number: int, device: torch.device) -> dict:
        """The number-th held-out clip as a batch of one."""
        item = self.clips[(self.indices[number], POSITION + number)]
        return {key: value.to(device) if isinstance(value, Tensor) else value
                for key, value in default_collate([item]).items()}

    @torch.no_grad()
    def __call__(self, learner: Learner, step: int) -> dict[str, float]:
        """Mean loss per noise level and over all, of the averaged weights; videos in output/validation/step-<step>."""
        accelerator = learner.accelerator
        with learner.averaged_weights(), accelerator.autocast():
            totals = torch.zeros(len(SIGMAS), device=accelerator.device)
            for begin in range(0, len(self.indices), accelerator.num_processes):
                number = begin + accelerator.process_index             # all processes compute: FSDP needs them all
                losses = self.losses(learner, number % len(self.indices))
                totals += losses if number < len(self.indices) else 0
            means = (accelerator.reduce(totals, "sum") / len(self.indices)).tolist()
            if accelerator.is_main_process and not learner.sharded:
                for number in range(min(self.config.validation_videos, len(self.indices))):
                    self.write(number, step)
        names = [f"validation/sigma_{sigma:g}" for sigma in SIGMAS]
        return dict(zip(names, means)) | {"validation/loss": sum(means) / len(means)}

    def losses(self, learner: Learner, number: int) -> Tensor:
        """The squared v error of a clip at every noise level, (len(SIGMAS),), every place counting the same."""
        batch = self.batch(number, learner.accelerator.device)
        latents, reference_latents = latents_of(batch, self.model, self.config)
        noise = torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(number))
        noise = mixed_noise(noise, self.config.noise_sharing)[None].to(latents)             # (1, F, 4, h, w)
        rows = []
        for value in SIGMAS:
            sigma = latents.new_full((1,), value)
            rows.append(learner(latents, reference_latents, batch["reference"], batch["pose"], noise, sigma,
                                torch.ones_like(sigma), time_ids_of(batch, self.config).to(latents),
                                batch.get("embedding"), weighted=False))
        return torch.cat(rows)

    def write(self, number: int, step: int) -> Path:
        """Reference, poses, the video made from them and, where the data has it, the true one, side by side."""
        batch = self.batch(number, torch.device("cpu"))
        reference, poses = as_frames(batch["reference"][0]), as_frames(batch["pose"][0])     # (H, W, 3), (F, H, W, 3)
        rate, motion, _ = time_ids_of(batch, self.config)[0].round().int().tolist()
        video = self.model(reference, poses, torch.Generator().manual_seed(number), tile_size=max(2, len(poses)),
                           tile_overlap=1, num_inference_steps=self.config.validation_sampling_steps,
                           noise_sharing=self.config.noise_sharing, fps=rate + 1, motion_bucket_id=motion,
                           progress=False)
        columns = [np.broadcast_to(reference, video.shape), poses, video]
        if "target" in batch:
            columns.append(as_frames(batch["target"][0]))
        folder = Path(self.config.output) / "validation" / f"step-{step}"
        return write_video(folder / f"clip-{number}.mp4", np.concatenate(columns, axis=2), VIDEO_FPS)
