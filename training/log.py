"""What a run says while it runs: the progress bar, curves, and the end of a run whose loss is no number."""
from __future__ import annotations

import importlib.util
import logging
import math
import time

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor
from tqdm import tqdm

from training.batches import SampleStream
from training.task import Batch, TrainConfig

log = logging.getLogger(__name__)

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

    def __init__(self, accelerator: Accelerator, stream: SampleStream, config: TrainConfig, start: int):
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
            raise self.diverged(step, f"loss: {losses[~losses.isfinite()][0].item()} from {names}")
        self.losses.append(losses.mean().item())
        return int(facts[:, 1].max())

    def add_norm(self, norm: float | None, step: int) -> None:
        """Take in a step's gradient norm; one that is no number ends the run, unless fp16's scaler may still help."""
        scaler = self.accelerator.scaler
        if norm is not None and not math.isfinite(norm) and (scaler is None or scaler.get_scale() < LEAST_LOSS_SCALE):
            raise self.diverged(step, f"gradient norm: {norm}")
        if norm is not None and math.isfinite(norm):
            self.norms.append(norm)

    def diverged(self, step: int, found: str) -> ValueError:
        return ValueError(f"step {step}: expected finite numbers (found {found}): look at that clip, or lower "
                          f"learning_rate, and run again; the last checkpoint in {self.config.output} is intact")

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
