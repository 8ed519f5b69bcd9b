"""Training checkpoints: everything a run needs to go on exactly, written atomically, the oldest deleted."""
from __future__ import annotations

import logging
import os
from dataclasses import asdict
from pathlib import Path

import torch

logger = logging.getLogger(__name__)

RESUMABLE_CHANGES = {"output", "max_steps", "num_workers", "checkpoint_every", "checkpoints_total_limit", "resume", "log_every"}


def checkpoints(output: Path) -> list[Path]:
    """Complete training checkpoints in `output`, oldest first."""
    return sorted(output.glob("checkpoint-*.pt"), key=lambda path: int(path.stem.split("-")[1]))


def latest_checkpoint(output: Path) -> Path | None:
    """The newest complete checkpoint, or None."""
    found = checkpoints(output)
    return found[-1] if found else None


class Progress:
    """Saves and restores model, averaged weights, optimizer and schedule of one run."""

    def __init__(self, output, model, optimizer, schedule, ema, config):
        self.output, self.config = Path(output), config
        self.parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
        if ema is not None:
            self.parts["ema"] = ema

    def save(self, step: int) -> Path:
        """Write checkpoint-<step>.pt; it appears under its name only when whole."""
        self.output.mkdir(parents=True, exist_ok=True)
        path = self.output / f"checkpoint-{step}.pt"
        temporary = path.with_suffix(".partial")
        state = {name: part.state_dict() for name, part in self.parts.items()}
        torch.save({"step": step, "config": asdict(self.config), **state}, temporary)
        os.replace(temporary, path)
        for old in checkpoints(self.output)[:-self.config.checkpoints_total_limit]:
            old.unlink()
        logger.info("saved %s", path)
        return path

    def resume(self) -> int:
        """Restore the newest checkpoint; the step to go on from."""
        path = latest_checkpoint(self.output)
        state = torch.load(path, map_location="cpu", weights_only=True)
        now = asdict(self.config)
        changed = [f"{key}: {state['config'].get(key)} -> {value}" for key, value in now.items()
                   if key not in RESUMABLE_CHANGES and state["config"].get(key) != value]
        if changed:
            raise ValueError(f"{path}: written with other settings ({'; '.join(changed)}): "
                             "restore them, choose another output, or pass resume=false")
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        logger.info("resuming from %s", path)
        return state["step"]
