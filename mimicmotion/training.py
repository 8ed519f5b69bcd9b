"""The one training loop: pose-conditioned SVD on (video, pose, reference) clips, for the video model and the adapter.

Randomness is a function of (seed, position in the sample stream), never of a generator's history: resuming needs no
saved random state, and the number of processes does not change what a sample looks like.
"""
from __future__ import annotations

import logging
import math
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from .checkpoint import save_checkpoint
from .learner import Learner
from .objective import latents_of, sample_randomness
from .pipeline import PoseToVideo
from .resume import latest_checkpoint, restore, save
from .spatial import spatial_only
from .stream import SampleStream
from .train_config import TrainConfig

logger = logging.getLogger(__name__)


def train(model: PoseToVideo, clips: Dataset, config: TrainConfig) -> Path:
    """Train `model` on `clips`; the folder that then holds config.json and model.safetensors (the averaged weights).

    A clip is a dict: `pose` (F, 3, H, W) and `reference` (3, H, W) in [-1, 1], and either `target` (F, 3, H, W) or
    cached `latents` (F, 4, h, w) with `reference_latents` (4, h, w). Under `accelerate launch` each process takes its
    share of every step.
    """
    output = Path(config.output)
    accelerator = Accelerator(mixed_precision=config.mixed_precision, log_with="tensorboard",
                              gradient_accumulation_steps=config.gradient_accumulation,
                              project_config=ProjectConfiguration(str(output), logging_dir=str(output / "logs")))
    accelerator.init_trackers("train")
    model.vae.requires_grad_(False).to(accelerator.device)
    if config.gradient_checkpointing:
        model.unet.enable_gradient_checkpointing()
    learner = Learner(accelerator, model, config)
    checkpoint = latest_checkpoint(output) if config.resume else None
    start = restore(checkpoint, learner.parts(), config) if checkpoint else 0
    stream = SampleStream(len(clips), config.batch_size, config.seed, start=start * config.gradient_accumulation,
                          num_processes=accelerator.num_processes, process_index=accelerator.process_index)
    batches = iter(DataLoader(clips, batch_sampler=stream, num_workers=config.num_workers))
    log = TrainingLog(accelerator, config, start)
    with spatial_only(model.unet) if config.parts == "spatial" else nullcontext():
        for step in range(start + 1, config.max_steps + 1):
            for _ in range(config.gradient_accumulation):
                batch = {key: value.to(accelerator.device) for key, value in next(batches).items()}
                with learner.accumulating, accelerator.autocast():
                    latents, reference_latents = latents_of(batch, model, config)
                    randomness = sample_randomness(config, batch["position"].tolist(), latents.shape[1:])
                    loss = learner(latents, reference_latents, batch["reference"], batch["pose"],
                                   *(numbers.to(latents) for numbers in randomness))
                    learner.accumulate(loss)
                log.add(loss)
            learner.advance()
            log.step(step, learner.schedule.get_last_lr()[0])
            if step % config.checkpoint_every == 0 or step == config.max_steps:
                accelerator.wait_for_everyone()
                if accelerator.is_main_process:
                    save(output, step, learner.parts(), config)
    log.close()
    export(accelerator, model, learner, output)
    return output


class TrainingLog:
    """The progress bar and tensorboard: mean loss, learning rate and seconds per step, every `log_every` steps."""

    def __init__(self, accelerator: Accelerator, config: TrainConfig, start: int):
        self.accelerator, self.config = accelerator, config
        self.losses, self.began = [], time.perf_counter()
        self.bar = tqdm(total=config.max_steps, initial=start, desc="training", unit="step", dynamic_ncols=True,
                        disable=not accelerator.is_main_process)

    def add(self, loss: Tensor) -> None:
        self.losses.append(loss.detach())

    def step(self, step: int, learning_rate: float) -> None:
        """Count a step; report when due. A loss that is not finite ends the run, the last checkpoint intact."""
        self.bar.update()
        if step % self.config.log_every:
            return
        loss = self.accelerator.reduce(torch.stack(self.losses).mean(), "mean").item()
        if not math.isfinite(loss):
            raise ValueError(f"step {step}: expected a finite loss (found {loss}): lower learning_rate and resume; "
                             f"the last checkpoint in {self.config.output} is intact")
        seconds = (time.perf_counter() - self.began) / self.config.log_every
        self.bar.set_postfix_str(f"loss {loss:.4f}  lr {learning_rate:.1e}  {seconds:.2f} s/step")
        self.accelerator.log({"loss": loss, "learning_rate": learning_rate, "seconds_per_step": seconds}, step=step)
        self.losses, self.began = [], time.perf_counter()

    def close(self) -> None:
        self.bar.close()


def export(accelerator: Accelerator, model: PoseToVideo, learner: Learner, output: Path) -> None:
    """Write the averaged weights as a checkpoint that `PoseToVideo.load` reads."""
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        learner.use_averaged_weights()
        save_checkpoint(output, model.unet, model.pose_net)
        if learner.config.train_image_encoder:
            model.image_encoder.half().save_pretrained(output / "image_encoder")
        logger.info("wrote %s", output / "model.safetensors")
    accelerator.end_training()
