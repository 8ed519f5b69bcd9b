"""The one training loop: pose-conditioned SVD on (video, pose, reference) clips, for the video model and the adapter.

Randomness is a function of (seed, position in the sample stream), never of a generator's history: resuming needs no saved
random state, and the number of processes does not change what a sample looks like.
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
from diffusers.training_utils import EMAModel
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from .checkpoint import save_checkpoint
from .objective import DenoisingLoss, latents_of, sample_randomness
from .optimizer import Muon
from .pipeline import PoseToVideo
from .resume import Progress, latest_checkpoint
from .spatial import is_temporal, spatial_only
from .stream import SampleStream
from .train_config import TrainConfig

logger = logging.getLogger(__name__)


def trained_parameters(loss: DenoisingLoss, config: TrainConfig) -> list[tuple[str, nn.Parameter]]:
    """Freeze what `parts` leaves out; the named parameters that are trained."""
    for name, parameter in loss.named_parameters():
        temporal = is_temporal(name)
        wanted = {"all": True, "spatial": not temporal, "temporal": temporal}[config.parts]
        if name.startswith("image_encoder."):
            wanted = config.train_image_encoder and config.parts != "temporal"
        parameter.requires_grad_(wanted)
    return [(name, parameter) for name, parameter in loss.named_parameters() if parameter.requires_grad]


def build_optimizer(named: list[tuple[str, nn.Parameter]], config: TrainConfig) -> torch.optim.Optimizer:
    """Muon or AdamW over the trained parameters."""
    if config.optimizer == "muon":
        return Muon(named, config.learning_rate, adam_lr=config.adam_learning_rate, weight_decay=config.weight_decay)
    return torch.optim.AdamW([p for _, p in named], lr=config.learning_rate, weight_decay=config.weight_decay)


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then cosine decay to `final_learning_rate` of the peak."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cosine = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / config.max_steps))
    return warmup * (config.final_learning_rate + (1 - config.final_learning_rate) * cosine)


def train(model: PoseToVideo, clips: Dataset, config: TrainConfig) -> Path:
    """Train `model` on `clips`; the folder that then holds config.json and model.safetensors (the averaged weights).

    A clip is a dict: `pose` (F, 3, H, W) and `reference` (3, H, W) in [-1, 1], and either `target` (F, 3, H, W) or cached
    `latents` (F, 4, h, w) with `reference_latents` (4, h, w). Under `accelerate launch` each process takes its share of
    every step.
    """
    output = Path(config.output)
    accelerator = Accelerator(mixed_precision=config.mixed_precision, log_with="tensorboard",
                              gradient_accumulation_steps=config.gradient_accumulation,
                              project_config=ProjectConfiguration(str(output), logging_dir=str(output / "logs")))
    accelerator.init_trackers("train")
    objective = DenoisingLoss(model, config)
    named = trained_parameters(objective, config)
    parameters = [parameter for _, parameter in named]
    optimizer = build_optimizer(named, config)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, config))
    if config.gradient_checkpointing:
        model.unet.enable_gradient_checkpointing()
    model.vae.requires_grad_(False).to(accelerator.device)
    objective.to(accelerator.device)
    ema = EMAModel(parameters, decay=config.ema_decay) if config.ema_decay else None
    progress = Progress(output, objective, optimizer, schedule, ema, config)
    start = progress.resume() if config.resume and latest_checkpoint(output) else 0
    distributed, optimizer = accelerator.prepare(objective, optimizer)
    stream = SampleStream(len(clips), config.batch_size, config.seed, start=start * config.gradient_accumulation,
                          num_processes=accelerator.num_processes, process_index=accelerator.process_index)
    loader = DataLoader(clips, batch_sampler=stream, num_workers=config.num_workers)
    only_pictures = config.parts == "spatial"
    with spatial_only(model.unet) if only_pictures else nullcontext():
        run_steps(accelerator, distributed, model, loader, optimizer, schedule, ema, parameters, progress, start, config)
    export(accelerator, model, ema, parameters, output)
    return output


def run_steps(accelerator, objective, model, loader, optimizer, schedule, ema, parameters, progress, start, config):
    """Batch, condition, loss, backward, clip, step, log, save: from step `start` to `config.max_steps`."""
    bar = tqdm(total=config.max_steps, initial=start, desc="training", unit="step", dynamic_ncols=True,
               disable=not accelerator.is_main_process)
    step, losses, began = start, [], time.perf_counter()
    batches = iter(loader)
    while step < config.max_steps:
        for _ in range(config.gradient_accumulation):
            batch = {key: value.to(accelerator.device) for key, value in next(batches).items()}
            with accelerator.accumulate(objective), accelerator.autocast():
                latents, reference_latents = latents_of(batch, model, config)
                noise, sigma, keep = sample_randomness(config, batch["position"].tolist(), latents.shape[1:])
                loss = objective(latents, reference_latents, batch["reference"], batch["pose"],
                                 noise.to(latents), sigma.to(latents), keep.to(latents)).mean()
                accelerator.backward(loss)
                if accelerator.sync_gradients and config.max_grad_norm:
                    accelerator.clip_grad_norm_(parameters, config.max_grad_norm)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            losses.append(loss.detach())
        schedule.step()
        if ema is not None:
            ema.step(parameters)
        step += 1
        bar.update()
        if step % config.log_every == 0:
            mean_loss = accelerator.reduce(torch.stack(losses).mean(), "mean").item()
            if not math.isfinite(mean_loss):
                raise FloatingPointError(f"step {step}: the loss is {mean_loss}; the last checkpoint in "
                                         f"{config.output} is intact: lower learning_rate and resume")
            seconds = (time.perf_counter() - began) / len(losses) * config.gradient_accumulation
            rate = schedule.get_last_lr()[0]
            bar.set_postfix_str(f"loss {mean_loss:.4f}  lr {rate:.1e}  {seconds:.2f} s/step")
            accelerator.log({"loss": mean_loss, "learning_rate": rate, "seconds_per_step": seconds}, step=step)
            losses, began = [], time.perf_counter()
        if step % config.checkpoint_every == 0 or step == config.max_steps:
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                progress.save(step)
    bar.close()


def export(accelerator: Accelerator, model: PoseToVideo, ema: EMAModel | None, parameters: list[nn.Parameter],
           output: Path) -> None:
    """Write the averaged weights as a checkpoint that `PoseToVideo.load` reads."""
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if ema is not None:
            ema.copy_to(parameters)
        save_checkpoint(output, model.unet, model.pose_net)
        if any(p.requires_grad for p in model.image_encoder.parameters()):
            model.image_encoder.save_pretrained(output / "image_encoder")
        logger.info("wrote %s", output / "model.safetensors")
    accelerator.end_training()
