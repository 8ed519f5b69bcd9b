"""What learns: the objective, its optimizer, learning rate and averaged weights, as one thing to step, save and restore."""
from __future__ import annotations

import math

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from .objective import DenoisingLoss
from .optimizer import Muon
from .pipeline import PoseToVideo
from .spatial import is_temporal
from .train_config import TrainConfig


def trained_parameters(objective: DenoisingLoss, config: TrainConfig) -> list[tuple[str, nn.Parameter]]:
    """Freeze what `parts` leaves out; the named parameters that are trained."""
    for name, parameter in objective.named_parameters():
        temporal = is_temporal(name)
        wanted = {"all": True, "spatial": not temporal, "temporal": temporal}[config.parts]
        if name.startswith("image_encoder."):
            wanted = config.train_image_encoder and config.parts != "temporal"
        parameter.requires_grad_(wanted)
    return [(name, parameter) for name, parameter in objective.named_parameters() if parameter.requires_grad]


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


class Learner:
    """One training run's moving parts. Call it for the loss, `accumulate` that, and `advance` once per optimizer step."""

    def __init__(self, accelerator: Accelerator, model: PoseToVideo, config: TrainConfig):
        self.accelerator, self.config = accelerator, config
        self.objective = DenoisingLoss(model, config).to(accelerator.device)
        named = trained_parameters(self.objective, config)
        self.parameters = [parameter for _, parameter in named]
        self.optimizer = build_optimizer(named, config)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: learning_rate_factor(step, config))
        self.ema = EMAModel(self.parameters, decay=config.ema_decay) if config.ema_decay else None
        self._distributed, self._prepared_optimizer = accelerator.prepare(self.objective, self.optimizer)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The mean loss of a batch, gradients averaged over processes."""
        return self._distributed(*inputs).mean()

    def accumulate(self, loss: Tensor) -> None:
        """Add the loss's gradient; at the end of an accumulation clip it and step."""
        self.accelerator.backward(loss)
        if self.accelerator.sync_gradients and self.config.max_grad_norm:
            self.accelerator.clip_grad_norm_(self.parameters, self.config.max_grad_norm)
        self._prepared_optimizer.step()
        self._prepared_optimizer.zero_grad(set_to_none=True)

    def advance(self) -> None:
        """Move the learning rate and the averaged weights on by one step."""
        self.schedule.step()
        if self.ema is not None:
            self.ema.step(self.parameters)

    def use_averaged_weights(self) -> None:
        """Replace the trained weights by their average, at the end."""
        if self.ema is not None:
            self.ema.copy_to(self.parameters)

    @property
    def accumulating(self):
        """Context of one of the batches that make up an optimizer step."""
        return self.accelerator.accumulate(self._distributed)

    def parts(self) -> dict:
        """Everything a checkpoint holds, by name; each has state_dict and load_state_dict."""
        parts = {"model": self.objective, "optimizer": self.optimizer, "schedule": self.schedule, "ema": self.ema}
        return {name: part for name, part in parts.items() if part is not None}
