"""The steps that train the demo's text-to-motion model: optimizer, learning rate, and where a stopped run goes on."""
from __future__ import annotations

import logging
import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from mimicmotion.optimizer import Muon

log = logging.getLogger("train_demo_t2m")
SAVE_SECONDS = 60.0
EDGES = {"encoder.model.0": "conv_in", "decoder.model.6": "conv_out", "tok_emb": "embedding",
         "trans_head.head": "head", "trans_head.blocks": "later.blocks", "position_embedding": "embedding"}


def optimizer_for(*models: nn.Module, lr: float, adam_lr: float) -> Muon:
    """Muon on hidden matrices, Adam on the first and last layers, which Muon finds by these names."""
    named = []
    for name, parameter in (pair for model in models for pair in model.named_parameters()):
        for ours, edge in EDGES.items():
            name = name.replace(ours, edge)
        named.append((name, parameter))
    return Muon(named, lr, adam_lr=adam_lr)


class Progress:
    """Step, learning rate and what a resumed run needs, saved once a minute."""

    def __init__(self, path: Path, steps: int, optimizer: torch.optim.Optimizer, **parts):
        self.path, self.steps, self.optimizer, self.parts, self.step = path, steps, optimizer, parts, 0
        self.peak = [group["lr"] for group in optimizer.param_groups]
        self.saved = time.monotonic()
        if path.exists():
            state = torch.load(path, weights_only=True)
            self.step = state["step"]
            for name, part in {**parts, "optimizer": optimizer}.items():
                part.load_state_dict(state[name])
            log.info("resumed %s at step %d", path, self.step)
        self.begun = self.saved, self.step

    def __iter__(self):
        """Steps left; warms up over 30 steps, then a cosine to a fiftieth."""
        while self.step < self.steps:
            factor = min((self.step + 1) / 30, 1) * max(0.5 + 0.5 * math.cos(math.pi * self.step / self.steps), 0.02)
            for group, peak in zip(self.optimizer.param_groups, self.peak, strict=True):
                group["lr"] = peak * factor
            yield self.step
            self.step += 1
            if time.monotonic() - self.saved > SAVE_SECONDS or self.step == self.steps:
                self.save()

    def __str__(self) -> str:
        pace = (time.monotonic() - self.begun[0]) / max(self.step + 1 - self.begun[1], 1)
        return f"step {self.step + 1}/{self.steps}  {pace:.2f} s/step"

    def save(self) -> None:
        state = {name: part.state_dict() for name, part in {**self.parts, "optimizer": self.optimizer}.items()}
        torch.save(state | {"step": self.step}, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)
        self.saved = time.monotonic()


def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()
