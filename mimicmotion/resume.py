"""Training checkpoints: everything a run needs to go on exactly, written atomically, the oldest deleted."""
from __future__ import annotations

import logging
import os
from dataclasses import asdict
from pathlib import Path

import torch

from .train_config import TrainConfig

logger = logging.getLogger(__name__)

# settings that may change between two halves of a run without changing what it computes
FREE = {"output", "max_steps", "num_workers", "checkpoint_every", "checkpoints_total_limit", "resume", "log_every"}


def checkpoints(output: Path) -> list[Path]:
    """Complete training checkpoints in `output`, oldest first."""
    return sorted(output.glob("checkpoint-*.pt"), key=lambda path: int(path.stem.split("-")[1]))


def latest_checkpoint(output: Path) -> Path | None:
    """The newest complete checkpoint, or None."""
    return (checkpoints(output) or [None])[-1]


def save(output: Path, step: int, parts: dict, config: TrainConfig) -> Path:
    """Write checkpoint-<step>.pt; it appears under its name only when whole."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"checkpoint-{step}.pt"
    temporary = path.with_suffix(".partial")
    state = {name: part.state_dict() for name, part in parts.items()}
    torch.save({"step": step, "config": asdict(config), **state}, temporary)
    os.replace(temporary, path)
    for old in checkpoints(output)[:-config.checkpoints_total_limit]:
        old.unlink()
    logger.info("saved %s", path)
    return path


def restore(path: Path, parts: dict, config: TrainConfig) -> int:
    """Restore `parts` from a checkpoint; the step it was written at. Other settings are refused, and named."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    changed = [f"{key}: {state['config'].get(key)} -> {value}" for key, value in asdict(config).items()
               if key not in FREE and state["config"].get(key) != value]
    if changed:
        raise ValueError(f"{path}: written with other settings ({'; '.join(changed)}): "
                         "restore them, choose another output, or pass resume=false")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    logger.info("resuming from %s", path)
    return state["step"]
