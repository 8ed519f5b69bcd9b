"""Muon for the weight matrices, AdamW for everything else, in one optimizer.

Muon (Jordan et al. 2024): momentum whose matrix is replaced by its nearest semi-orthogonal one (Newton-Schulz).
torch.optim.Muon takes 2-D parameters only; a convolution is a matrix (out, in * kernel) here.
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
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import distribute_tensor, DTensor

from mimicmotion.pipeline import PoseToVideo
from mimicmotion.savings import is_temporal
from mimicmotion.task import DenoisingLoss
from training.config import TrainConfig

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)      # quintic coefficients that pull singular values to about 1
EDGES = ("conv_in", "conv_out", "embedding", "codebook", "head")      # in- and outputs stay with AdamW
MIN_MATRIX_SIDE = 16
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)      # weights or optimizer state cut up over processes


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """The semi-orthogonal matrix nearest to `matrix` (m, n), approximately, in bfloat16."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.bfloat16().T if tall else matrix.bfloat16()                              # (short, long)
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T                                                                  # (short, short)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


def is_matrix(name: str, parameter: Tensor) -> bool:
    """True for hidden weight matrices and convolutions, which Muon handles."""
    if parameter.ndim < 2 or any(edge in name for edge in EDGES):
        return False
    return min(parameter.shape[0], parameter[0].numel()) >= MIN_MATRIX_SIDE


class Muon(torch.optim.Optimizer):
    """Muon for matrices and AdamW for the rest; groups carry `use_muon`, so schedulers and checkpoints work as usual."""

    def __init__(self, named_parameters: Iterable[tuple[str, nn.Parameter]], lr: float, *, adam_lr: float,
                 momentum: float = 0.95, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.01):
        named = [(name, p) for name, p in named_parameters if p.requires_grad]
        matrices = [p for name, p in named if is_matrix(name, p)]
        others = [p for name, p in named if not is_matrix(name, p)]
        groups = [dict(params=matrices, lr=lr, use_muon=True), dict(params=others, lr=adam_lr, use_muon=False)]
        super().__init__([g for g in groups if g["params"]],
                         dict(momentum=momentum, betas=betas, weight_decay=weight_decay, eps=1e-8))

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


def build_optimizer(named: list[tuple[str, nn.Parameter]], config: TrainConfig) -> torch.optim.Optimizer:
    """Muon, AdamW, or AdamW with 8-bit moments (a quarter of their memory) over the trained parameters."""
    if config.optimizer == "muon":
        return Muon(named, config.learning_rate, adam_lr=config.adam_learning_rate, weight_decay=config.weight_decay)
    adamw = eight_bit_adamw() if config.optimizer == "adamw_8bit" else torch.optim.AdamW
    return adamw([p for _, p in named], lr=config.learning_rate, weight_decay=config.weight_decay)


def eight_bit_adamw() -> type:
    """bitsandbytes' AdamW, whose moments take one byte each."""
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise ValueError(f"optimizer: adamw_8bit expects bitsandbytes ({error}): pip install -r requirements-gpu.txt, "
                         "or optimizer=adamw") from error
    return AdamW8bit


def add_lora(unet: nn.Module, rank: int) -> None:
    """Give every attention projection an update of `rank`, zero at the start; needs peft."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError(f"lora_rank: expected peft to be installed ({error}): pip install peft") from error
    config = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(PROJECTIONS))
    inject_adapter_in_model(config, unet)


def is_lora(name: str) -> bool:
    """Does this parameter belong to an update?"""
    return ".lora_" in name


def merged_state(unet: nn.Module) -> dict[str, Tensor]:
    """The UNet's tensors under their usual names, updates added in: what a UNet without LoRA loads."""
    state = {}
    layers = {name: module for name, module in unet.named_modules() if hasattr(module, "get_delta_weight")}
    for name, tensor in unet.state_dict().items():
        if is_lora(name):
            continue
        owner, _, kind = name.rpartition(".base_layer.")
        if owner in layers and kind == "weight":
            tensor = tensor + sum(layers[owner].get_delta_weight(adapter) for adapter in layers[owner].lora_A)
        state[name.replace(".base_layer.", ".")] = tensor
    return state


def trained_parameters(objective: DenoisingLoss, config: TrainConfig) -> list[tuple[str, nn.Parameter]]:
    """Freeze what `parts` or LoRA leaves out; the named parameters that are trained."""
    for name, parameter in objective.named_parameters():
        temporal = is_temporal(name)
        wanted = {"all": True, "spatial": not temporal, "temporal": temporal}[config.parts]
        if config.lora_rank:
            wanted = is_lora(name) or name.startswith("pose_net.")
        if name.startswith("image_encoder."):
            wanted = config.train_image_encoder and config.parts != "temporal"
        parameter.requires_grad_(wanted)
    return [(name, parameter) for name, parameter in objective.named_parameters() if parameter.requires_grad]


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then cosine decay to `final_learning_rate` of the peak."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    cosine = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / config.max_steps))
    return warmup * (config.final_learning_rate + (1 - config.final_learning_rate) * cosine)


def refuse_what_shards_cannot(accelerator: Accelerator, config: TrainConfig) -> None:
    """Settings that need whole weight matrices, or float32 ones in sight."""
    kind = accelerator.distributed_type
    if config.optimizer != "adamw":
        raise ValueError(f"optimizer: expected adamw with {kind.value}, which cuts the weights up "
                         f"(found {config.optimizer}): set train.optimizer=adamw")
    if config.lora_rank or config.train_image_encoder:
        raise ValueError(f"lora_rank, train_image_encoder: expected neither with {kind.value}, which cuts the weights "
                         "up: start with configs/accelerate/ddp.yaml")
    if kind == DistributedType.DEEPSPEED and config.ema_decay:
        raise ValueError("ema_decay: expected 0 with DeepSpeed, which keeps the float32 weights to itself "
                         f"(found {config.ema_decay}): set train.ema_decay=0, or use FSDP")


class Learner:
    """One training run's moving parts. Call it for the losses, `accumulate` their mean, `advance` once per step."""

    def __init__(self, accelerator: Accelerator, model: PoseToVideo, config: TrainConfig):
        self.accelerator, self.config = accelerator, config
        self.sharded = accelerator.distributed_type in SHARDED
        if self.sharded:
            refuse_what_shards_cannot(accelerator, config)
        if config.lora_rank:
            add_lora(model.unet, config.lora_rank)
        self.objective = DenoisingLoss(model, config).to(accelerator.device)
        self.optimizer = build_optimizer(trained_parameters(self.objective, config), config)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, config))
        if config.compile:
            self.objective.unet.compile()
        self.distributed, self._prepared_optimizer = accelerator.prepare(self.objective, self.optimizer)
        self.named = [(name, p) for name, p in self.objective.named_parameters() if p.requires_grad]
        self.parameters = [parameter for _, parameter in self.named]
        self.ema = EMAModel(self.parameters, decay=config.ema_decay) if config.ema_decay else None

    def __call__(self, *inputs: Tensor, **named: bool) -> Tensor:
        """The loss of each sample, (B,), of what `DenoisingLoss` takes."""
        return self.distributed(*inputs, **named)

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
                found[name] = gathered.cpu().contiguous()
        return found

    def trained_state(self) -> dict[str, Tensor]:
        """A copy of the trained parameters by name on the CPU, where nothing is cut up."""
        return {name: parameter.detach().to("cpu", copy=True).contiguous() for name, parameter in self.named}

    def set_trained(self, tensors: dict[str, Tensor], source: Path) -> None:
        """Put whole tensors into the trained parameters, exactly those."""
        self._copy(tensors, self.parameters, source)

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
            self._copy(averaged, self.ema.shadow_params, source)

    @torch.no_grad()
    def _copy(self, tensors: dict[str, Tensor], into: list[Tensor], source: Path) -> None:
        names = [name for name, _ in self.named]
        if set(names) != tensors.keys():
            other = sorted(set(names) ^ tensors.keys())[0]
            raise ValueError(f"{source}: expected the parameters this run trains (found a difference in '{other}'): "
                             "restore the settings it was written with")
        for name, tensor in zip(names, into, strict=True):
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
