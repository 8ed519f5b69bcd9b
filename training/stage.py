"""One network's training by steps, as part of a longer recipe: optimizer, learning rate, processes, exact resume.

`training.train` is the loop of the video models; this is the smaller one that text-to-motion's stages run in.
"""
from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors.torch import load_file
from torch import nn, Tensor

from runtime.processes import StopRequest
from runtime.weights import save_tensors
from training.checkpoints import (begin, by_the_main_process, latest_checkpoint, publish, random_state,
                                  restore_random_state)

log = logging.getLogger(__name__)

FREE = {"output", "data", "text_encoder", "checkpoint_every", "log_every", "evaluated"}      # may differ when going on


def share(batch: int, num_processes: int, name: str) -> int:
    """Of a batch, what each process takes."""
    each, rest = divmod(batch, num_processes)
    if rest or each < 1:
        raise ValueError(f"{name}: expected a batch that {num_processes} processes can share (found {batch}): "
                         "choose a multiple")
    return each


class Stage:
    """Iterate for (step, this process's sample positions) and call `learn` once for each.

    parts: further things with state_dict and load_state_dict. The learning rate warms up and falls to a twentieth for
    the last third (T2M-GPT, section 4.1).
    """

    def __init__(self, accelerator: Accelerator, folder: Path, objective: nn.Module, *, steps: int, batch: int,
                 learning_rate: float, warmup_steps: int, checkpoint_every: int, log_every: int, settings: dict,
                 parts: dict):
        self.accelerator, self.folder, self.objective = accelerator, folder, objective
        self.steps, self.share = steps, share(batch, accelerator.num_processes, folder.name)
        self.checkpoint_every, self.log_every, self.settings, self.parts = checkpoint_every, log_every, settings, parts
        self.parameters = [parameter for parameter in objective.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-6)
        factor = lambda step: min(1, (step + 1) / max(1, warmup_steps)) * (0.05 if 3 * step >= 2 * steps else 1)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)
        self.distributed, self.prepared = accelerator.prepare(objective, self.optimizer)
        self.step, self.losses, self.began = self.restore(), [], time.perf_counter()

    def __iter__(self) -> Iterator[tuple[int, list[int]]]:
        """Steps left. A signal ends the program after a checkpoint."""
        with StopRequest() as stop:
            while self.step < self.steps:
                first = (self.step * self.accelerator.num_processes + self.accelerator.process_index) * self.share
                yield self.step, list(range(first, first + self.share))
                self.step += 1
                signal = stop.agreed(self.accelerator)
                if self.step % self.checkpoint_every == 0 or self.step == self.steps or signal:
                    self.save()
                if signal and self.step < self.steps:
                    log.info("%s stopped at step %d of %d: the same command goes on from there", self.folder.name,
                                self.step, self.steps)
                    raise SystemExit(128 + signal)

    def learn(self, *inputs: Tensor) -> tuple:
        """One optimizer step on the first of what the objective returns, which is returned. NaN ends the run."""
        with self.accelerator.autocast():
            outputs = self.distributed(*inputs)
        loss = outputs[0] if isinstance(outputs, tuple) else outputs
        mean = self.accelerator.reduce(loss.detach().float(), "mean").item()
        if not math.isfinite(mean):
            raise ValueError(f"{self.folder.name}, step {self.step + 1}: expected a finite loss (found {mean}): lower "
                             f"the learning rate and run again; the last checkpoint in {self.folder} is intact")
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.parameters, 1.0)
        self.prepared.step()
        self.prepared.zero_grad(set_to_none=True)
        self.schedule.step()
        self.report(mean)
        return outputs

    def report(self, loss: float) -> None:
        self.losses.append(loss)
        if (self.step + 1) % self.log_every == 0 and self.accelerator.is_main_process:
            seconds = (time.perf_counter() - self.began) / len(self.losses)
            log.info("%s step %d/%d  loss %.4f  lr %.1e  %.3f s/step", self.folder.name, self.step + 1, self.steps,
                        sum(self.losses) / len(self.losses), self.schedule.get_last_lr()[0], seconds)
            self.losses, self.began = [], time.perf_counter()

    def save(self) -> None:
        """Write checkpoint-<step>; all processes call it."""
        randomness = gather_object([random_state()])
        scaler = self.accelerator.scaler
        state = {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(),
                 "randomness": randomness, "scaler": scaler.state_dict() if scaler else None,
                 "parts": {name: part.state_dict() for name, part in self.parts.items()}}

        def write(folder: Path) -> None:
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.objective.state_dict().items()}
            save_tensors(tensors, folder / "model.safetensors")
            torch.save(state, folder / "loop.pt")
            (folder / "state.json").write_text(json.dumps({"step": self.step, "settings": self.settings}, indent=1))

        by_the_main_process(self.accelerator,
                            lambda: publish(begin(self.folder, self.step), self.folder, self.step, write, keep=2))

    def restore(self) -> int:
        """The step to go on from: 0 without a checkpoint. Other settings are refused, and named."""
        checkpoint = latest_checkpoint(self.folder)
        if checkpoint is None:
            return 0
        facts = json.loads((checkpoint / "state.json").read_text())
        changed = [f"{key}: {facts['settings'].get(key)} -> {value}" for key, value in self.settings.items()
                   if key not in FREE and facts["settings"].get(key) != value]
        if changed:
            raise ValueError(f"{checkpoint}: written with other settings ({'; '.join(changed)}): restore them, or "
                             "choose another output")
        self.objective.load_state_dict(load_file(checkpoint / "model.safetensors"))
        state = torch.load(checkpoint / "loop.pt", map_location="cpu", weights_only=True)
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        for name, part in self.parts.items():
            part.load_state_dict(state["parts"][name])
        if len(state["randomness"]) == self.accelerator.num_processes:
            restore_random_state(state["randomness"][self.accelerator.process_index])
        log.info("resuming from %s", checkpoint)
        return facts["step"]
