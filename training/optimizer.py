"""The optimizers of a run and the way of its learning rate; Muon for weight matrices, with AdamW for everything else.

Muon (Jordan et al. 2024): momentum whose matrix is replaced by its nearest semi-orthogonal one (Newton-Schulz).
torch.optim.Muon takes 2-D parameters only; a convolution is a matrix (out, in * kernel) here.
"""
from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn, Tensor

from training.task import EDGES, TrainConfig

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)      # quintic coefficients that pull singular values to about 1
MIN_MATRIX_SIDE = 16


def orthogonalised(matrix: Tensor, steps: int = 5) -> Tensor:
    """The semi-orthogonal matrix nearest to `matrix` (m, n), approximately.

    In bfloat16 on a GPU; in float32 on a CPU: one without bfloat16 takes twenty times as long in it.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.float() if matrix.device.type == "cpu" else matrix.bfloat16()
    x = x.T if tall else x                                                              # (short, long)
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T                                                                  # (short, short)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


def is_matrix(name: str, parameter: Tensor, edges: tuple[str, ...] = EDGES) -> bool:
    """True for hidden weight matrices and convolutions, which Muon handles; `edges` names in- and output layers."""
    if parameter.ndim < 2 or any(edge in name for edge in edges):
        return False
    return min(parameter.shape[0], parameter[0].numel()) >= MIN_MATRIX_SIDE


class Muon(torch.optim.Optimizer):
    """Muon for matrices and AdamW for the rest; groups carry `use_muon`, so schedulers and checkpoints work as usual."""

    def __init__(self, named_parameters: Iterable[tuple[str, nn.Parameter]], lr: float, *, adam_lr: float,
                 momentum: float = 0.95, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.01,
                 edges: tuple[str, ...] = EDGES):
        named = [(name, p) for name, p in named_parameters if p.requires_grad]
        matrices = [p for name, p in named if is_matrix(name, p, edges)]
        others = [p for name, p in named if not is_matrix(name, p, edges)]
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


def build_optimizer(named: list[tuple[str, nn.Parameter]], config: TrainConfig,
                    edges: tuple[str, ...] = EDGES) -> torch.optim.Optimizer:
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
