"""What moves in a training run: the task's weights and their average, the optimizer, the learning rate; on any launcher.

Muon (Jordan et al. 2024) is for weight matrices, AdamW for everything else: momentum whose matrix is replaced by its nearest
semi-orthogonal one (Newton-Schulz). torch.optim.Muon takes 2-D parameters only; a convolution is a matrix (out, in * kernel) here.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
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

from training.task import EDGES, Task, TrainConfig

# ---------------------------------------------------------------------------------------------------------- optimizers

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)      # quintic coefficients that pull singular values to about 1
NEWTON_SCHULZ_STEPS = 5
MIN_MATRIX_SIDE = 16


def orthogonalised(matrix: Tensor) -> Tensor:
    """The semi-orthogonal matrix nearest to `matrix` (m, n), approximately.

    In bfloat16 on a GPU; in float32 on a CPU: one without bfloat16 takes twenty times as long in it.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.float() if matrix.device.type == "cpu" else matrix.bfloat16()
    x = x.T if tall else x                                                              # (short, long)
    x = x / (x.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T                                                                  # (short, short)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


def is_matrix(name: str, parameter: Tensor, edges: tuple[str, ...]) -> bool:
    """True for hidden weight matrices and convolutions, which Muon handles; `edges` names in- and output layers."""
    if parameter.ndim < 2 or any(edge in name for edge in edges):
        return False
    return min(parameter.shape[0], parameter[0].numel()) >= MIN_MATRIX_SIDE


class Muon(torch.optim.Optimizer):
    """Muon for matrices and AdamW for the rest; groups carry `use_muon`, so schedulers and checkpoints work as usual."""

    def __init__(self, named_parameters: Iterable[tuple[str, nn.Parameter]], lr: float, *, adam_lr: float,
                 weight_decay: float = 0.01, edges: tuple[str, ...] = EDGES):
        named = [(name, p) for name, p in named_parameters if p.requires_grad]
        matrices = [p for name, p in named if is_matrix(name, p, edges)]
        others = [p for name, p in named if not is_matrix(name, p, edges)]
        groups = [dict(params=matrices, lr=lr, use_muon=True), dict(params=others, lr=adam_lr, use_muon=False)]
        super().__init__([g for g in groups if g["params"]],
                         dict(momentum=0.95, betas=(0.9, 0.99), weight_decay=weight_decay, eps=1e-8))

    @torch.no_grad()
    def step(self, closure=None):
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            update = self._muon if group["use_muon"] else self._adamw
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    update(parameter, group)
        return loss

    def _muon(self, parameter: Tensor, group: dict) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        gradient, momentum = parameter.grad, state["momentum"]
        momentum.lerp_(gradient, 1 - group["momentum"])
        matrix = gradient.lerp(momentum, group["momentum"]).flatten(1)                  # Nesterov; (out, in * kernel)
        scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
        parameter.add_(orthogonalised(matrix).view_as(parameter), alpha=-group["lr"] * scale)

    def _adamw(self, parameter: Tensor, group: dict) -> None:
        state = self.state[parameter]
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        (beta1, beta2), gradient = group["betas"], parameter.grad
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - beta1)
        state["square"].lerp_(gradient.square(), 1 - beta2)
        mean = state["mean"] / (1 - beta1 ** state["step"])
        square = state["square"] / (1 - beta2 ** state["step"])
        parameter.addcdiv_(mean, square.sqrt().add_(group["eps"]), value=-group["lr"])


def build_optimizer(named: list[tuple[str, nn.Parameter]], config: TrainConfig,
                    edges: tuple[str, ...]) -> torch.optim.Optimizer:
    """Muon, AdamW, or AdamW with 8-bit moments (a quarter of their memory) over the trained parameters."""
    if config.optimizer == "muon":
        return Muon(named, config.learning_rate, adam_lr=config.adam_learning_rate, weight_decay=config.weight_decay,
                    edges=edges)
    adamw = eight_bit_adamw() if config.optimizer == "adamw_8bit" else torch.optim.AdamW
    return adamw([p for _, p in named], lr=config.learning_rate, betas=(0.9, config.adam_beta2),
                 weight_decay=config.weight_decay)


def eight_bit_adamw() -> type:
    """bitsandbytes' AdamW, whose moments take one byte each."""
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise ValueError(f"optimizer: adamw_8bit expects bitsandbytes ({error}): pip install -r requirements-gpu.txt, "
                         "or optimizer=adamw") from error
    return AdamW8bit


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """Linear warm-up to the peak, then the schedule's way to the final share of it."""
    final, warmup_steps = config.final_learning_rate, config.warmup_steps
    warmup = min(1.0, (step + 1) / max(1, warmup_steps))
    if config.schedule == "step":
        return warmup * (final if 3 * step >= 2 * config.max_steps else 1.0)
    done = min(1.0, max(0, step + 1 - warmup_steps) / max(1, config.max_steps - warmup_steps))
    rest = 1 - done if config.schedule == "linear" else 0.5 + 0.5 * math.cos(math.pi * done)
    return warmup * (final + (1 - final) * rest)


# ------------------------------------------------------------------------------------------------------------- learner

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
