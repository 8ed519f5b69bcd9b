"""A run's folders checkpoint-<step>: they appear whole or not at all, `latest` points at the newest, old ones go.

What is in a checkpoint is the caller's matter (resume.py, stage.py). A name that exists is a checkpoint that is whole.
"""
from __future__ import annotations

import errno
import logging
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors import SafetensorError

logger = logging.getLogger(__name__)

TORCH_CANNOT_WRITE = ("PytorchStreamWriter", "unexpected pos", "file write failed", "iostream error")


def step_of(checkpoint: Path) -> int:
    """The step a checkpoint was written at, from its name."""
    return int(checkpoint.name.split("-")[1])


def checkpoints(output: Path) -> list[Path]:
    """Whole checkpoints in `output`, oldest first."""
    return sorted((path for path in output.glob("checkpoint-*") if path.name.split("-")[1].isdigit()), key=step_of)


def latest_checkpoint(output: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    return (checkpoints(output) or [None])[-1]


def chosen_checkpoint(output: Path, resume: bool, resume_from: str) -> Path | None:
    """The checkpoint to go on from, None to begin. One that would be overwritten on the way is refused."""
    there = checkpoints(output)
    if not resume:
        if there:
            raise ValueError(f"{output}: expected no checkpoint, as resume=false (found {there[-1].name}): "
                             "choose another output, or delete them")
        return None
    if resume_from == "latest":
        return there[-1] if there else None
    chosen = Path(resume_from)
    chosen = chosen if chosen.exists() else output / resume_from
    chosen = chosen.resolve()
    if not (chosen.exists() and chosen.name.startswith("checkpoint-")):
        raise ValueError(f"resume_from: expected 'latest' or a folder checkpoint-<step> (found '{resume_from}'): "
                         f"there are {', '.join(path.name for path in there) or 'none'} in {output}")
    later = [path.name for path in there if step_of(path) > step_of(chosen)]
    if later:
        raise ValueError(f"resume_from: {chosen.name} is older than {', '.join(later)} in {output}, which would be "
                         "mistaken for what follows it: resume_from=latest goes on from there; or move them away, or "
                         "choose another output")
    return chosen


def require_writable(output: Path) -> None:
    """Make the folder, before the hours whose result it is to hold; a ValueError where nothing can be written."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not os.access(output, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ValueError(f"{output}: expected a folder that can be written ({error.strerror}): "
                         "choose another") from error


def begin(output: Path, step: int) -> Path:
    """An empty folder to write a checkpoint into; leftovers of interrupted writing and deleting are cleared away."""
    partial = output / f".checkpoint-{step}.partial"
    try:
        output.mkdir(parents=True, exist_ok=True)
        for leftover in [*output.glob(".checkpoint-*.partial"), *output.glob(".checkpoint-*.old")]:
            shutil.rmtree(leftover)
        partial.mkdir()
    except OSError as error:
        raise ValueError(cannot_write(output / f"checkpoint-{step}", error)) from error
    return partial


def publish(partial: Path, output: Path, step: int, write: Callable[[Path], None], keep: int) -> Path:
    """Let `write` fill the folder from `begin`, flush it to disk, give it its name; delete all but `keep` (0: none)."""
    final = output / f"checkpoint-{step}"
    try:
        write(partial)
        for file in (path for path in partial.rglob("*") if path.is_file()):
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        os.replace(partial, final)
        point_latest_at(final)
    except (OSError, SafetensorError, RuntimeError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, RuntimeError) and not any(mark in str(error) for mark in TORCH_CANNOT_WRITE):
            raise
        raise ValueError(cannot_write(final, error)) from error
    for old in checkpoints(output)[:-keep] if keep else []:
        delete(old)
    logger.info("saved %s", final)
    return final


def by_the_main_process(accelerator: Accelerator, work: Callable[[], Path]) -> Path | None:
    """What `work` gives in the main process, None elsewhere, once it is done; if it fails, all end with its reason."""
    made, reason = None, None
    if accelerator.is_main_process:
        try:
            made = work()
        except ValueError as error:
            reason = str(error)
    reason, *_ = gather_object([reason])
    if reason:
        raise ValueError(reason)
    return made


def cannot_write(path: Path, error: Exception) -> str:
    """The one line that says what is left when a checkpoint, or the model at the end, cannot be written."""
    intact = latest_checkpoint(path.parent)
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    left = f"{intact.name} is intact" if intact else "there is no earlier one"
    return (f"{path}: cannot be written ({reason}; {free_gigabytes(path.parent):.2f} GB free): "
            f"free space and run the same command again; {left}")


def free_gigabytes(folder: Path) -> float:
    """Free space where `folder` is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free / 1e9


def point_latest_at(checkpoint: Path) -> None:
    """The link `latest` beside a checkpoint, moved in one go."""
    temporary = checkpoint.parent / f".latest.{os.getpid()}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(checkpoint.name)
    os.replace(temporary, checkpoint.parent / "latest")


def delete(checkpoint: Path) -> None:
    """Away with a checkpoint; a half deleted one no longer has its name."""
    if checkpoint.is_file():
        checkpoint.unlink()
        return
    doomed = checkpoint.with_name(f".{checkpoint.name}.old")
    os.replace(checkpoint, doomed)
    shutil.rmtree(doomed)


def random_state() -> dict:
    """State of every global random generator of this process, as tensors and plain numbers."""
    version, numbers, gauss = random.getstate()
    kind, key, position, has_gauss, cached = np.random.get_state()
    return {"python": (version, list(numbers), gauss),
            "numpy": (kind, torch.from_numpy(key.astype(np.int64)), int(position), int(has_gauss), float(cached)),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None}


def restore_random_state(state: dict) -> None:
    """Put back what `random_state` took."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    kind, key, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, key.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
