"""The one training loop: pose-conditioned SVD on (video, pose, reference) clips, for the video model and the adapter.

What a sample is made of is a function of (seed, position in the sample stream), never of a generator's history, so the
number of processes does not change what a sample looks like.
"""
from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object, GradientAccumulationPlugin, ProjectConfiguration, set_seed
from torch import Tensor
from torch.utils.data import Dataset

from mimicmotion.pipeline import PoseToVideo
from mimicmotion.savings import spatial_only
from mimicmotion.task import loss_inputs
from runtime.device import keep_freed_memory
from runtime.processes import leave, StopRequest
from training.batches import batches_of, next_of, SampleStream
from training.checkpoints import chosen_checkpoint, free_gigabytes, require_writable, restore, save
from training.config import TrainConfig
from training.export import export
from training.learner import Learner
from training.log import trackers, TrainingLog
from training.validation import Validation

log = logging.getLogger(__name__)


def train(model: PoseToVideo, clips: Dataset, config: TrainConfig, held_out: Dataset | None = None) -> Path:
    """Train `model` on `clips`; the folder that then holds config.json and model.safetensors (the averaged weights).

    A clip is asked for as clips[(index, position)] and is a dict: `pose` (F, 3, H, W) and `reference` (3, H, W) in
    [-1, 1], `position`, and either `target` (F, 3, H, W) or cached `latents` (F, 4, h, w) with `reference_latents`
    (4, h, w). It may have `embedding` (1, D) of the reference, `fps`, `motion_bucket_id`, `noise_aug_strength` (of
    cached latents), `hands` (F, 2, 5; see regions.py) and `name`. held_out: clips to validate on, else the last
    `validation_clips` of `clips`. Under `accelerate launch` each process takes its share of every step.
    SIGTERM or SIGINT ends the program with a checkpoint and 128 + the signal's number.
    """
    output = Path(config.output)
    require_writable(output)
    accelerator = started(config)
    num_clips, validation = split(model, clips, config, held_out)
    chosen = agreed_checkpoint(accelerator, config)
    model.vae.requires_grad_(False).to(accelerator.device)
    if config.gradient_checkpointing:
        model.unet.enable_gradient_checkpointing()
    if config.attention == "xformers":
        use_xformers(model)
    set_seed(config.seed)                                                               # new weights: LoRA's
    learner = Learner(accelerator, model, config)
    set_seed(config.seed, device_specific=True)                                         # dropout, if a network has any
    refuse_too_little_space(learner, output)
    if learner.sharded and config.validate_every and config.validation_videos:
        log.warning("validation_videos: none are made while the weights are cut up, the validation loss is measured")
    step, position = restore(chosen, learner) if chosen else (0, 0)
    stream = SampleStream(num_clips, config.batch_size, config.seed, first=position,
                          num_processes=accelerator.num_processes, process_index=accelerator.process_index)
    batches = batches_of(clips, stream, config)
    curves = TrainingLog(accelerator, stream, config, step)
    signal = 0                                                                          # what all processes agree on
    with StopRequest() as stop, spatial_only(model.unet) if config.parts == "spatial" else nullcontext():
        while step < config.max_steps and not signal:
            step += 1
            signal = one_step(learner, model, batches, curves, stop, step)
            position += config.batch_size * config.gradient_accumulation * accelerator.num_processes
            if step % config.checkpoint_every == 0 or step == config.max_steps or signal:
                save(output, learner, step, position)
            if validation and config.validate_every and step % config.validate_every == 0 and not signal:
                curves.validated(validation(learner, step), step)
    curves.close()
    if signal and step < config.max_steps:
        leave(accelerator)
        again = "" if config.resume_from == "latest" else " with resume_from=latest"
        log.info("stopped at step %d of %d: the same command%s goes on from there", step, config.max_steps, again)
        raise SystemExit(128 + signal)
    export(accelerator, model, learner, output)
    return output


def one_step(learner: Learner, model: PoseToVideo, batches: Iterator[dict], curves: TrainingLog, stop: StopRequest,
             step: int) -> int:
    """One optimizer step on `gradient_accumulation` batches; a signal that any process received until then, or 0."""
    accelerator, config, signal = learner.accelerator, learner.config, 0
    for _ in range(config.gradient_accumulation):
        batch = {key: value.to(accelerator.device) if isinstance(value, Tensor) else value
                 for key, value in next_of(batches).items()}
        with learner.accumulating:
            with accelerator.autocast():
                losses = learner(*loss_inputs(batch, model, config))                    # (B,)
            signal = max(signal, curves.add(losses, batch, stop.signal, step))
            curves.add_norm(learner.accumulate(losses.mean()), step)
    learner.advance()
    curves.step(step, learner.schedule.get_last_lr()[0])
    return signal


def started(config: TrainConfig) -> Accelerator:
    """The accelerator, with trackers running and whatever launcher started this process."""
    output = Path(config.output)
    names = trackers(config.report_to)
    accumulation = GradientAccumulationPlugin(config.gradient_accumulation)     # a number would yield to the launcher's
    accelerator = Accelerator(mixed_precision=config.mixed_precision, log_with=names or None,
                              gradient_accumulation_plugin=accumulation,
                              project_config=ProjectConfiguration(str(output), logging_dir=str(output / "logs")))
    if names:
        accelerator.init_trackers("train", config=asdict(config))
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        accelerator.state.deepspeed_plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": config.batch_size, "gradient_clipping": config.max_grad_norm,
            "gradient_accumulation_steps": config.gradient_accumulation}
    keep_freed_memory(accelerator.device)
    if config.allow_tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
    return accelerator


def agreed_checkpoint(accelerator: Accelerator, config: TrainConfig) -> Path | None:
    """The checkpoint to go on from, None to begin; machines that see different folders are refused."""
    chosen = chosen_checkpoint(Path(config.output), config.resume, config.resume_from)
    seen = set(gather_object([chosen.name if chosen else "none"]))
    if len(seen) > 1:
        found = " and ".join(sorted(seen))
        raise ValueError(f"{config.output}: expected one folder that all processes see (found {found} in it): "
                         "put output on a disk that the machines share")
    return chosen


def split(model: PoseToVideo, clips: Dataset, config: TrainConfig,
          held_out: Dataset | None) -> tuple[int, Validation | None]:
    """How many of `clips`, from the first, are trained on; and the validation, where clips are held out for it."""
    if held_out is not None:
        return len(clips), Validation(model, held_out, list(range(len(held_out))), config)
    num_clips = len(clips) - config.validation_clips
    if config.validate_every and not config.validation_clips:
        raise ValueError("validate_every: expected validation_clips of at least 1 (found 0): say how many to hold out")
    if num_clips < 1:
        raise ValueError(f"clips: expected more than the {config.validation_clips} held out for validation "
                         f"(found {len(clips)}): check the data folder, or lower validation_clips")
    held = list(range(num_clips, len(clips)))
    return num_clips, Validation(model, clips, held, config) if held else None


def use_xformers(model: PoseToVideo) -> None:
    """Attention by xformers, or one line why not."""
    try:
        model.unet.enable_xformers_memory_efficient_attention()
    except (ImportError, ValueError) as error:
        raise ValueError(f"attention: expected xformers and an NVIDIA GPU ({' '.join(str(error).split())}): "
                         "attention=sdpa needs as little memory") from error


def refuse_too_little_space(learner: Learner, output: Path) -> None:
    """Before hours are spent: at least one checkpoint must fit on the disk beside what is there."""
    trained = sum(parameter.numel() for parameter in learner.parameters)
    moments = {"muon": 4, "adamw": 8, "adamw_8bit": 2}[learner.config.optimizer]
    every = trained if learner.config.lora_rank else sum(p.numel() for p in learner.objective.parameters())
    needed = (4 * every + (moments + (4 if learner.ema is not None else 0)) * trained) / 1e9
    free = free_gigabytes(output)
    log.info("%.1f M parameters are trained; a checkpoint takes about %.2f GB", trained / 1e6, needed)
    if free < needed:
        raise ValueError(f"{output}: expected {needed:.1f} GB for a checkpoint (found {free:.1f} GB free): free space, "
                         "or choose another output")
