"""What moves in a training run: the task's weights and their average, the optimizer, the learning rate; on any launcher."""
from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from diffusers.training_utils import EMAModel
from torch import nn, Tensor
from torch.distributed.checkpoint.state_dict import (get_model_state_dict, get_optimizer_state_dict,
                                                     set_model_state_dict, set_optimizer_state_dict)
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import distribute_tensor, DTensor

from training.optimizer import build_optimizer, learning_rate_factor
from training.task import Task, TrainConfig

SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)      # weights or optimizer state cut up over processes


def refuse_what_shards_cannot(accelerator: Accelerator, config: TrainConfig) -> None:
    """A ValueError for settings that need whole weight matrices, or float32 ones in sight."""
    kind = accelerator.distributed_type
    if config.optimizer != "adamw":
        raise ValueError(f"optimizer: expected adamw with {kind.value}, which cuts the weights up "
                         f"(found {config.optimizer}): set train.optimizer=adamw")
    if kind == DistributedType.DEEPSPEED and config.asynchronous_saving:
        raise ValueError("asynchronous_saving: expected false with DeepSpeed, which writes its own files (found true): "
                         "set train.asynchronous_saving=false, or use FSDP")
    if kind == DistributedType.DEEPSPEED and config.ema_decay:
        raise ValueError("ema_decay: expected 0 with DeepSpeed, which keeps the float32 weights to itself "
                         f"(found {config.ema_decay}): set train.ema_decay=0, or use FSDP")


class Learner:
    """One training run's moving parts. Call it for the losses, `accumulate` their mean, `advance` once per step."""

    def __init__(self, accelerator: Accelerator, task: Task, config: TrainConfig):
        self.accelerator, self.task, self.config = accelerator, task, config
        self.settings = dict(task.settings)                     # what checkpoints remember beside the config
        self.sharded = accelerator.distributed_type in SHARDED
        if self.sharded:
            refuse_what_shards_cannot(accelerator, config)
        self.objective = task.objective.to(accelerator.device)
        trained = [(name, p) for name, p in self.objective.named_parameters() if p.requires_grad]
        self.optimizer = build_optimizer(trained, config, task.edges)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, config))
        self.distributed, self._prepared_optimizer = accelerator.prepare(self.objective, self.optimizer)
        self.named = [(name, p) for name, p in self.objective.named_parameters() if p.requires_grad]
        self.parameters = [parameter for _, parameter in self.named]
        self.ema = EMAModel(self.parameters, decay=config.ema_decay) if config.ema_decay else None

    def __call__(self, *inputs) -> Tensor:
        """The losses, (B,) or (), of what the task's objective takes."""
        return self.distributed(*inputs)

    def accumulate(self, loss: Tensor) -> float | None:
        """Add the loss's gradient, a mean over processes; at the end of an accumulation clip it and step.

        The gradient's norm before clipping, where it was taken. One that is not finite changes no weight, unless fp16's
        loss scaler is there to handle it.
        """
        self.accelerator.backward(loss)
        norm = None
        if self.accelerator.sync_gradients:
            norm = self.accelerator.clip_grad_norm_(self.parameters, self.config.max_grad_norm or math.inf)
            norm = None if norm is None else float(whole(norm))
        if norm is None or math.isfinite(norm) or self.accelerator.scaler is not None:
            self._prepared_optimizer.step()
        self._prepared_optimizer.zero_grad(set_to_none=True)
        return norm

    def advance(self) -> None:
        """Move the learning rate and the averaged weights on by one step."""
        self.schedule.step()
        if self.ema is not None:
            self.ema.step(self.parameters)

    def use_averaged_weights(self) -> None:
        """Replace the trained weights by their average."""
        if self.ema is not None:
            self.ema.copy_to(self.parameters)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Within the context the weights are their average; afterwards bit by bit what they were."""
        averaged = self.parameters if self.ema is not None else []
        before = [mine(parameter).detach().to("cpu", copy=True) for parameter in averaged]
        self.use_averaged_weights()
        try:
            yield
        finally:
            if isinstance(self.distributed, FSDPModule):
                self.distributed.reshard()              # or the next step would go by the averages it holds gathered
            with torch.no_grad():
                for parameter, values in zip(averaged, before, strict=True):
                    mine(parameter).copy_(values)

    @property
    def accumulating(self):
        """Context of one of the batches that make up an optimizer step."""
        return self.accelerator.accumulate(self.distributed)

    def averaged_state(self) -> dict[str, Tensor]:
        """The averaged weights by name, whole, on the main process's CPU; nothing elsewhere. All processes call it."""
        found = {}
        for (name, _), average in zip(self.named, self.ema.shadow_params if self.ema is not None else ()):
            gathered = whole(average)
            if self.accelerator.is_main_process:
                found[name] = gathered.to("cpu", copy=True).contiguous()
        return found

    def moving(self) -> list[tuple[str, Tensor]]:
        """All that changes in the objective, by name: trained parameters and buffers."""
        frozen = {name for name, parameter in self.objective.named_parameters() if not parameter.requires_grad}
        return [(name, tensor) for name, tensor in self.objective.state_dict().items() if name not in frozen]

    def state(self) -> dict[str, Tensor]:
        """A copy of what moves, on the CPU, where nothing is cut up."""
        return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in self.moving()}

    def load_state(self, tensors: dict[str, Tensor], source: Path) -> None:
        """Put back what `state` gave, exactly that."""
        copy_named(tensors, self.moving(), source)

    def shards(self) -> dict:
        """This process's part of weights and optimizer under FSDP, which go on changing."""
        return {"model": get_model_state_dict(self.distributed),
                "optimizer": get_optimizer_state_dict(self.distributed, self.optimizer)}

    def load_shards(self, shards: dict) -> None:
        """Put back what `shards` gave."""
        set_model_state_dict(self.distributed, shards["model"])
        set_optimizer_state_dict(self.distributed, self.optimizer, shards["optimizer"])

    def make_whole(self) -> None:
        """Replace the objective's cut-up weights by whole ones on the main process; the end of a training."""
        state = self.accelerator.get_state_dict(self.distributed)
        for name in [name for name, _ in self.objective.named_parameters()] if self.accelerator.is_main_process else []:
            module, _, last = name.rpartition(".")
            self.objective.get_submodule(module).register_parameter(last, nn.Parameter(state[name]))

    def loop_state(self) -> dict:
        """What moves beside the weights."""
        state = {"schedule": self.schedule.state_dict()}
        if not self.sharded:
            state["optimizer"] = self.optimizer.state_dict()
        if self.accelerator.scaler is not None:
            state["scaler"] = self.accelerator.scaler.state_dict()
        if self.ema is not None:
            state["averaged_steps"] = self.ema.optimization_step
        return state

    def load_loop_state(self, state: dict, averaged: dict[str, Tensor], source: Path) -> None:
        """Put back what `loop_state` and `averaged_state` gave."""
        self.schedule.load_state_dict(state["schedule"])
        if not self.sharded:
            self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.optimization_step = state["averaged_steps"]
            copy_named(averaged, list(zip([name for name, _ in self.named], self.ema.shadow_params, strict=True)), source)


@torch.no_grad()
def copy_named(tensors: dict[str, Tensor], into: list[tuple[str, Tensor]], source: Path) -> None:
    """Copy whole tensors into the tensors of the same names, cut up or not; a ValueError where the names differ."""
    names = {name for name, _ in into}
    if names != tensors.keys():
        other = sorted(names ^ tensors.keys())[0]
        raise ValueError(f"{source}: expected the tensors that this run trains (found a difference in '{other}'): "
                         "restore the settings it was written with")
    for name, tensor in into:
        values = tensors[name].to(tensor.device)
        if isinstance(tensor, DTensor):
            values = distribute_tensor(values, tensor.device_mesh, tensor.placements)
        tensor.copy_(values)


def whole(tensor: Tensor) -> Tensor:
    """A tensor that FSDP cut up, put together; any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def mine(tensor: Tensor) -> Tensor:
    """This process's part of a tensor that FSDP cut up; any other as it is."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
