"""The one training loop: a task, clips and settings in; the folder with the model out.

What a sample is made of is a function of (seed, position in the sample stream), never of a generator's history, so the
number of processes does not change what a sample looks like.
"""
from __future__ import annotations

import atexit
import importlib.util
import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import (DistributedType, gather_object, GradientAccumulationPlugin, InitProcessGroupKwargs,
                              ProjectConfiguration, set_seed)
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from configs import AgreedError
from media.files import locked
from runtime.cpu_layers import faster_on_cpu
from runtime.device import keep_freed_memory
from runtime.processes import shut_down, StopRequest
from training.batches import batches_of, SampleStream
from training.checkpoints import (by_the_main_process, cannot_write, CheckpointWriter, chosen_checkpoint,
                                  free_gigabytes, latest_checkpoint, LONGEST_SAVE, point_latest_at, require_writable, restore)
from training.learner import Learner, mine
from training.task import Batch, Task, TrainConfig
from training.validation import held_out, on_device, Validation

log = logging.getLogger(__name__)


def train(task: Task, clips: Dataset, config: TrainConfig) -> Path:
    """Train the task's objective on `clips`; the folder `config.output`, which then holds the exported model.

    A clip is asked for as clips[(index, position)] and is a dict with `position` and what the task reads. Where
    clips.origin(index) gives (file, video, person or folder), messages name the file, and videos are held out whole for
    validation. One run at a time writes to an output. Under `accelerate launch` each process takes its share of every step.
    Afterwards the objective has the (averaged) weights that were exported. A finished run is exported again.
    SIGTERM or SIGINT ends the program with a checkpoint and 128 + the signal's number.
    """
    output = Path(config.output)
    require_writable(output)
    accelerator = started(config)
    with ExitStack() as stack:
        by_the_main_process(accelerator, lambda: stack.enter_context(locked(output)))
        if accelerator.log_with:
            accelerator.init_trackers("train", config=asdict(config))
        return trained(task, clips, config, accelerator)


def trained(task: Task, clips: Dataset, config: TrainConfig, accelerator: Accelerator) -> Path:
    """`train`, once the processes have met and the output is this run's."""
    output, split = Path(config.output), held_out(clips, config)
    chosen = agreed_checkpoint(accelerator, config)
    learner = Learner(accelerator, task, config)
    validation = Validation(task, clips, split.measured, config) if split.measured else None
    learner.settings["clips"] = f"{len(split.trained)} of {len(clips)}"
    set_seed(config.seed, device_specific=True)                                         # dropout, if a network has any
    refuse_too_little_space(learner, output)
    if learner.sharded and config.validate_every and config.validation_videos:
        log.warning("validation_videos: none are made while the weights are cut up, the validation loss is measured")
    step, position = restore(chosen, learner) if chosen else (0, 0)
    if step > config.max_steps:
        raise AgreedError(f"max_steps: expected at least {step}, where {chosen.name} stands (found {config.max_steps}): "
                         f"that run has gone further; its model is in {chosen}")
    stream = SampleStream(split.trained, config.batch_size, config.seed, first=position,
                          num_processes=accelerator.num_processes, process_index=accelerator.process_index)
    curves, signal = TrainingLog(accelerator, stream, config, step, list(learner.objective.parameters())), 0    # what all processes agree on
    with (StopRequest() as stop, task.training_mode(), faster_on_cpu(task.objective, accelerator.device, training=True),
          CheckpointWriter(output, learner) as save,
          batches_of(clips, stream, config, accelerator) if step < config.max_steps else nullcontext() as batches):
        while step < config.max_steps and not signal:
            step += 1
            signal = one_step(learner, batches, curves, stop, step)
            position += config.batch_size * config.gradient_accumulation * accelerator.num_processes
            if step % config.checkpoint_every == 0 or step == config.max_steps or signal:
                save(step, position)
            if validation and config.validate_every and step % config.validate_every == 0 and not signal:
                curves.validated(validation(learner, step), step)
    curves.close()
    if signal and step < config.max_steps:
        again = "" if config.resume_from == "latest" else " with resume_from=latest"
        log.info("%s: stopped at step %d of %d: the same command%s goes on from there", output.name, step,
                 config.max_steps, again)
        raise SystemExit(128 + signal)
    finish(learner, output)
    return output


def one_step(learner: Learner, batches: Iterator[Batch], curves: TrainingLog, stop: StopRequest, step: int) -> int:
    """One optimizer step on `gradient_accumulation` batches; a signal that any process received until then, or 0."""
    accelerator, signal = learner.accelerator, 0
    for _ in range(learner.config.gradient_accumulation):
        batch = on_device(next(batches), accelerator.device)
        with learner.accumulating:
            with accelerator.autocast():
                losses = learner(*learner.task.inputs(batch))                           # (B,) or ()
            signal = max(signal, curves.add(losses, batch, stop.signal, step))
            curves.add_norm(learner.accumulate(losses.mean()), step)
    learner.advance()
    curves.step(step, learner.schedule.get_last_lr()[0])
    return signal


def finish(learner: Learner, output: Path) -> None:
    """Leave the averaged weights in the objective and export them to `output`; the end of a training."""
    learner.use_averaged_weights()
    if learner.sharded:
        learner.make_whole()

    def export() -> None:
        try:
            learner.task.export(output)
        except OSError as error:
            raise ValueError(cannot_write(output / "model", error)) from error
        log.info("wrote the model to %s", output)

    by_the_main_process(learner.accelerator, export)
    for tracker in learner.accelerator.trackers:
        tracker.finish()


def started(config: TrainConfig) -> Accelerator:
    """The accelerator, on whatever launcher started this process."""
    output = Path(config.output)
    names = trackers(config.report_to)
    accumulation = GradientAccumulationPlugin(config.gradient_accumulation)     # a number would yield to the launcher's
    accelerator = Accelerator(mixed_precision=config.mixed_precision, log_with=names or None,
                              gradient_accumulation_plugin=accumulation,
                              kwargs_handlers=[InitProcessGroupKwargs(timeout=LONGEST_SAVE)],
                              project_config=ProjectConfiguration(str(output), logging_dir=str(output / "logs")))
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        accelerator.state.deepspeed_plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": config.batch_size, "gradient_clipping": config.max_grad_norm,
            "gradient_accumulation_steps": config.gradient_accumulation}
    keep_freed_memory(accelerator.device)
    atexit.register(shut_down)                                              # a program may train several times before
    if config.allow_tf32:
        torch.backends.cuda.matmul.allow_tf32 = True
    return accelerator


def agreed_checkpoint(accelerator: Accelerator, config: TrainConfig) -> Path | None:
    """The checkpoint to go on from, None to begin; machines that see different folders are refused.

    Newer ones that are damaged are warned of and put aside, so that nothing takes them for what follows.
    """
    output = Path(config.output)
    chosen, damaged = chosen_checkpoint(output, config.resume, config.resume_from)
    seen = set(gather_object([chosen.name if chosen else "none"]))
    if len(seen) > 1:
        found = " and ".join(sorted(seen))
        raise AgreedError(f"{output}: expected one folder that all processes see (found {found} in it): "
                          "put output on a disk that the machines share")

    def put_aside() -> None:
        for checkpoint, reason in damaged:
            log.warning("%s; going on from %s", reason, chosen.name)
            os.replace(checkpoint, checkpoint.with_name(f"damaged-{checkpoint.name}-{time.time():.0f}"))
        if damaged:
            point_latest_at(chosen)

    by_the_main_process(accelerator, put_aside)
    return chosen


def refuse_too_little_space(learner: Learner, output: Path) -> None:
    """Before hours are spent: at least one checkpoint must fit on the disk beside what is there."""
    trained = sum(parameter.numel() for parameter in learner.parameters)
    moments = {"muon": 4, "adamw": 8, "adamw_8bit": 2}[learner.config.optimizer]                # bytes per parameter
    every = sum(parameter.numel() for parameter in learner.objective.parameters())
    needed = (2 * every + (4 + moments + (4 if learner.ema is not None else 0)) * trained) / 1e9
    free = free_gigabytes(output)
    log.info("%.1f M parameters are trained; a checkpoint takes about %.2f GB", trained / 1e6, needed)
    if free < needed:
        raise ValueError(f"{output}: expected {needed:.1f} GB for a checkpoint (found {free:.1f} GB free): free space, "
                         "or choose another output")


# -------------------------------------------------------------------------------------------------------------- curves

LEAST_LOSS_SCALE = 2**-14            # of fp16, which begins at 2**16 and halves it at every norm that is no number


def trackers(report_to: str) -> list[str]:
    """The trackers accelerate is to start; one that is not installed is an error here, as accelerate leaves it out."""
    wanted = {"all": ["tensorboard", "wandb"], "none": []}.get(report_to, [report_to])
    for name in wanted:
        if importlib.util.find_spec(name) is None:
            raise ValueError(f"report_to: expected {name} to be installed (found none): pip install {name}, "
                             "or report_to=none")
    return wanted


class TrainingLog:
    """The progress bar and curves: mean loss, learning rate and seconds per step, every `log_every` steps."""

    def __init__(self, accelerator: Accelerator, stream: SampleStream, config: TrainConfig, start: int,
                 parameters: Sequence[Tensor] = ()):
        """parameters: of the model, which are looked at where a loss is no number."""
        self.parameters = parameters
        self.accelerator, self.stream, self.config = accelerator, stream, config
        self.losses, self.norms, self.began, self.first = [], [], time.perf_counter(), start
        self.bar = tqdm(total=config.max_steps, initial=start, desc="training", unit="step", dynamic_ncols=True,
                        disable=not accelerator.is_main_process)

    def add(self, losses: Tensor, batch: Batch, signal: int, step: int) -> int:
        """Take in a batch's losses, (B,) or (), of all processes; the largest signal any of them received.

        A loss that is no number ends the run on every process, before it reaches a weight.
        """
        positions = batch["position"].to(losses.device)
        facts = torch.stack([positions, torch.full_like(positions, signal)], dim=1)
        losses = losses.detach().float().expand(len(positions))
        losses, facts = self.accelerator.gather((losses.contiguous(), facts))               # (N,), (N, 2)
        losses, facts = losses.cpu(), facts.cpu()
        broken = facts[~losses.isfinite(), 0].tolist()
        if broken:
            mine = dict(zip(batch["position"].tolist(), batch.get("name", [])))
            known = {position: name for some in gather_object([mine]) for position, name in some.items()}
            names = ", ".join(f"clip {known.get(p, self.stream.clip_at(p))} (sample {p})" for p in broken)
            raise self.diverged(step, f"loss: {losses[~losses.isfinite()][0].item()} from {names}",
                                "that clip" if len(broken) == 1 else "those clips")
        self.losses.append(losses.mean().item())
        return int(facts[:, 1].max())

    def add_norm(self, norm: float | None, step: int) -> None:
        """Take in a step's gradient norm; one that is no number ends the run, unless fp16's scaler may still help."""
        scaler = self.accelerator.scaler
        if norm is not None and not math.isfinite(norm) and (scaler is None or scaler.get_scale() < LEAST_LOSS_SCALE):
            raise self.diverged(step, f"gradient norm: {norm}", "the clips")
        if norm is not None and math.isfinite(norm):
            self.norms.append(norm)

    def diverged(self, step: int, found: str, suspects: str) -> ValueError:
        """The error that says which clips to look at, and what is left to go on from."""
        intact = latest_checkpoint(Path(self.config.output))
        left = f"{intact} is intact" if intact else f"there is no checkpoint in {self.config.output} yet"
        if not all(mine(parameter).isfinite().all() for parameter in self.parameters):
            suspects = f"the weights, which hold NaN or infinity (those this run began with?), then at {suspects}"
        return ValueError(f"step {step}: expected finite numbers (found {found}): look at {suspects}, or lower "
                          f"learning_rate, and run again; {left}")

    def step(self, step: int, learning_rate: float) -> None:
        """Count a step; report when due."""
        self.bar.update()
        if step % self.config.log_every:
            return
        loss = sum(self.losses) / len(self.losses)
        seconds = (time.perf_counter() - self.began) / max(1, step - self.first)
        values = {"loss": loss, "learning_rate": learning_rate, "seconds_per_step": seconds}
        if self.norms:
            values["gradient_norm"] = sum(self.norms) / len(self.norms)
        memory = ""
        if torch.cuda.is_available():
            values["gpu_gib"] = torch.cuda.max_memory_allocated() / 2**30
            memory = f"  {values['gpu_gib']:.1f} GiB"
        self.bar.set_postfix_str(f"loss {loss:.4f}  lr {learning_rate:.1e}  {seconds:.2f} s/step{memory}")
        self.accelerator.log(values, step=step)
        self.losses, self.norms, self.began, self.first = [], [], time.perf_counter(), step

    def validated(self, values: dict[str, float], step: int) -> None:
        """Report a validation; its time does not count as a step's."""
        self.accelerator.log(values, step=step)
        if self.accelerator.is_main_process:
            self.bar.write(f"step {step}  " + "  ".join(f"{name} {value:.4f}" for name, value in values.items()))
        self.began, self.first = time.perf_counter(), step

    def close(self) -> None:
        self.bar.close()
