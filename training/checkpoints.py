"""A run's folders checkpoint-<step>: they appear whole or not at all, `latest` points at the newest, old ones go.

A checkpoint holds the model of the averaged weights as the task exports it, so that `latest` is a model, and what going
on exactly needs: trained.safetensors (all that moves in the objective), averaged.safetensors (where weights are
averaged), loop.pt (optimizer, schedule, random generators) and state.json (step, samples taken, settings). Weights that
are cut up over processes are in sharded/ instead, and give a model at the end only.
"""
from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import random
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.utils import DistributedType, gather_object
from safetensors import safe_open, SafetensorError
from safetensors.torch import load_file
from torch.distributed.checkpoint import async_save, CheckpointException, load as distributed_load, save as distributed_save
from torch.distributed.checkpoint.staging import BlockingAsyncStager

from configs import AgreedError
from media.files import one_line
from runtime.weights import save_tensors
from training.learner import Learner
from training.task import TrainConfig

log = logging.getLogger(__name__)

TORCH_CANNOT_WRITE = ("PytorchStreamWriter", "unexpected pos", "file write failed", "iostream error")
STATE_KEYS = {"step": int, "position": int, "num_processes": int, "sharded": str | None, "config": dict, "settings": dict,
              "files": dict, "hashes": dict}
LOOP_KEYS = {"schedule", "randomness"}
LONGEST_SAVE = timedelta(hours=3)               # the processes that do not write wait so long for the one that does
FORMAT = 2                                               # of what a checkpoint's folder holds
SAME_DATA = {"batch_size", "gradient_accumulation"}      # may change when their product with the processes stays
# of settings whose default is another today, and of a task's newer ones
FIRST_DEFAULTS = {"mixed_precision": "bf16", "moved_picture": False}


def step_of(checkpoint: Path) -> int:
    """The step a checkpoint was written at, from its name."""
    return int(checkpoint.name.split("-")[1])


def checkpoints(output: Path) -> list[Path]:
    """Whole checkpoints in `output`, oldest first."""
    return sorted((path for path in output.glob("checkpoint-*") if path.name.split("-")[1].isdigit()), key=step_of)


def latest_checkpoint(output: Path) -> Path | None:
    """The newest whole checkpoint, or None."""
    return (checkpoints(output) or [None])[-1]


def chosen_checkpoint(output: Path, resume: bool, resume_from: str) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The checkpoint to go on from, None to begin, and newer damaged ones with what is wrong with them.

    One that would be overwritten on the way is refused, and so is a run of which every checkpoint is damaged.
    """
    there = checkpoints(output)
    if not resume:
        if there:
            raise ValueError(f"{output}: expected no checkpoint, as resume=false (found {there[-1].name}): "
                             "choose another output, or delete them")
        return None, []
    if resume_from == "latest":
        return newest_whole(there)
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
    if reason := damage(chosen):
        raise ValueError(f"{reason}: choose another checkpoint")
    return chosen, []


def newest_whole(there: list[Path]) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The newest checkpoint that is not damaged, and the damaged ones after it with the reasons. there: oldest first."""
    damaged = []
    for checkpoint in reversed(there):
        reason = damage(checkpoint)
        if not reason:
            return checkpoint, damaged
        damaged.append((checkpoint, reason))
    if damaged:
        raise ValueError(f"{damaged[0][1]}: no checkpoint beside it is whole: bring one back, or choose another output")
    return None, []


def damage(checkpoint: Path) -> str:
    """What is wrong with a checkpoint's files, in a line that names the first one; nothing where they are whole."""
    try:
        state = read_state(checkpoint)
        if state.get("format") != FORMAT:
            return ""                                   # of another version, which `restore` says
        for name, size in state["files"].items():
            path = checkpoint / name
            found = path.stat().st_size if path.is_file() else "none"
            if found != size:
                raise ValueError(f"{path}: expected a file of {size} bytes (found {found})")
        for name, written in state["hashes"].items():
            if hash_of(checkpoint / name) != written:
                raise ValueError(f"{checkpoint / name}: expected the bytes that were written (found others): the disk, or a copy, is at fault")
        read_loop(checkpoint)
        for path in checkpoint.glob("*.safetensors"):
            read_weights(path, only_names=True)
    except ValueError as error:
        return str(error)
    return ""


def read_state(checkpoint: Path) -> dict:
    """What state.json holds."""
    path = checkpoint / "state.json"
    try:
        state = {"settings": {}, "files": {}, "hashes": {}} | json.loads(path.read_text(encoding="utf-8"))
        odd = sorted(key for key, kind in STATE_KEYS.items() if not isinstance(state.get(key), kind))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: expected what a run goes on from (found {one_line(error)})") from None
    if state.get("format") == FORMAT and odd:
        raise ValueError(f"{path}: expected what a run goes on from (found '{odd[0]}': {state.get(odd[0])!r})")
    return state


def read_loop(checkpoint: Path) -> dict:
    """What loop.pt holds; tensors stay in the file until they are used."""
    path = checkpoint / "loop.pt"
    try:
        loop = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        if not isinstance(loop, dict) or not LOOP_KEYS <= loop.keys():
            raise ValueError("something else in it")
        return loop
    except Exception as error:                          # other content, read as a pickle, fails in any way
        found = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path}: expected a whole torch file (found {found})") from None


def read_weights(path: Path, *, only_names: bool = False) -> dict[str, torch.Tensor]:
    """A .safetensors file's tensors."""
    try:
        if not only_names:
            return load_file(path)
        with safe_open(path, "pt") as file:
            return dict.fromkeys(file.keys())
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: expected a whole file of tensors (found {error})") from None


def require_writable(output: Path) -> None:
    """Make the folder, before the hours whose result it is to hold; a ValueError where nothing can be written."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not os.access(output, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ValueError(f"{output}: expected a folder that can be written ({error.strerror}): "
                         "choose another") from error


def partial_folder(final: Path) -> Path:
    """Where a checkpoint lies until it is whole."""
    return final.with_name(f".{final.name}.partial")


def begin(final: Path) -> Path:
    """An empty folder to write a checkpoint into; leftovers of interrupted writing and deleting are cleared away."""
    output, partial = final.parent, partial_folder(final)
    try:
        output.mkdir(parents=True, exist_ok=True)
        for leftover in [*output.glob(".checkpoint-*.partial"), *output.glob(".checkpoint-*.old")]:
            shutil.rmtree(leftover)
        partial.mkdir()
    except OSError as error:
        raise ValueError(cannot_write(final, error)) from error
    return partial


@contextmanager
def writing(partial: Path, final: Path) -> Iterator[None]:
    """Within the context files are written; where they cannot be, they go, and a ValueError says what is left."""
    try:
        yield
    except (OSError, RuntimeError, CheckpointException) as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, RuntimeError) and not any(mark in str(error) for mark in TORCH_CANNOT_WRITE):
            raise
        raise ValueError(cannot_write(final, error)) from error


def publish(partial: Path, final: Path, keep: int) -> None:
    """Flush the folder from `begin` to disk and give it its name; delete all but the newest `keep` (0: none)."""
    for file in (path for path in partial.rglob("*") if path.is_file()):
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    os.replace(partial, final)
    point_latest_at(final)
    for old in checkpoints(final.parent)[:-keep] if keep else []:
        doomed = old.with_name(f".{old.name}.old")              # a half deleted one no longer has its name
        os.replace(old, doomed)
        shutil.rmtree(doomed)
    log.info("saved %s", final)


def by_the_main_process(accelerator: Accelerator, work: Callable[[], Path | None]) -> Path | None:
    """What `work` gives in the main process, None elsewhere, once it is done; if it fails, all end with its reason."""
    made, reason = None, None
    if accelerator.is_main_process:
        try:
            made = work()
        except ValueError as error:
            reason = str(error)
    reason, *_ = gather_object([reason])
    if reason:
        raise AgreedError(reason)
    return made


def cannot_write(path: Path, error: Exception) -> str:
    """The one line that says what is left when a checkpoint, or the model at the end, cannot be written."""
    if isinstance(error, CheckpointException):
        error, _ = next(iter(error.failures.values()))
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


class CheckpointWriter:
    """Writes a run's checkpoints. All processes make one, and call it together.

    With `asynchronous_saving` a call copies to host memory what the next steps change, and threads write it meanwhile;
    the next call, or the end of the context, waits for them and ends all processes with the reason if they failed.
    """

    def __init__(self, output: Path, learner: Learner):
        self.output, self.learner, self.accelerator = output, learner, learner.accelerator
        self.asynchronous, self.pending, self.group = learner.config.asynchronous_saving, None, None
        self.thread = ThreadPoolExecutor(1) if self.asynchronous else None
        if self.asynchronous and learner.sharded:       # a group of its own: the steps use the other meanwhile
            self.group = dist.new_group(backend="gloo", timeout=LONGEST_SAVE)

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.wait()
        elif self.pending and (error := self.pending.exception()):          # what ended the run is said by itself
            log.warning("%s", error)
        if self.thread:
            self.thread.shutdown()

    def __call__(self, step: int, position: int) -> None:
        """Write checkpoint-<step>. position: samples taken so far, by all processes."""
        self.wait()
        learner, accelerator, final = self.learner, self.accelerator, self.output / f"checkpoint-{step}"
        randomness = gather_object([random_state()])
        partial = by_the_main_process(accelerator, lambda: begin(final))
        shards = self._write_shards(final) if learner.sharded else None
        tensors = {"averaged": learner.averaged_state()} if learner.ema is not None else {}
        if not learner.sharded:
            by_the_main_process(accelerator, lambda: self._export(partial, final))
            tensors["trained"] = learner.state() if accelerator.is_main_process else {}
        loop = {**learner.loop_state(), "randomness": randomness}
        loop = BlockingAsyncStager().stage(loop) if self.asynchronous else loop
        state = {"format": FORMAT, "step": step, "position": position, "num_processes": accelerator.num_processes,
                 "sharded": str(accelerator.distributed_type) if learner.sharded else None,
                 "config": asdict(learner.config), "settings": learner.settings}

        def write() -> None:
            with writing(partial, final):
                if shards:
                    shards.result()
                write_files(partial, tensors, loop, state)
                publish(partial, final, learner.config.checkpoints_total_limit)

        if not self.asynchronous:
            by_the_main_process(accelerator, write)
        else:
            self.pending = self.thread.submit(write) if accelerator.is_main_process else shards

    def wait(self) -> None:
        """Wait until the checkpoint that is being written is there; if it cannot be written, all end with the reason."""
        if not self.asynchronous:
            return
        pending, self.pending = self.pending, None
        if pending and not self.accelerator.is_main_process:
            wait([pending])                             # if it failed, so did the main process's
        by_the_main_process(self.accelerator, lambda: pending.result() if pending else None)

    def _export(self, partial: Path, final: Path) -> None:
        """The model of the averaged weights."""
        with writing(partial, final), self.learner.averaged_weights():
            self.learner.task.export(partial)

    def _write_shards(self, final: Path) -> Future | None:
        """Every process's part of weights and optimizer; where one cannot write, all end with the reason."""
        folder, learner = partial_folder(final) / "sharded", self.learner
        try:
            if self.accelerator.distributed_type != DistributedType.FSDP:
                return self.accelerator.save_state(str(folder)) and None
            if self.asynchronous:
                return async_save(learner.shards(), checkpoint_id=folder, process_group=self.group)
            distributed_save(learner.shards(), checkpoint_id=folder)
        except (CheckpointException, OSError) as error:
            raise ValueError(cannot_write(final, error)) from error
        return None


def write_files(folder: Path, tensors: dict[str, dict], loop: dict, state: dict) -> None:
    """A checkpoint's files beside the exported model; state.json comes last and lists all of them, with the hashes of these."""
    written = [f"{name}.safetensors" for name in tensors] + ["loop.pt"]
    for name, named in tensors.items():
        save_tensors(named, folder / f"{name}.safetensors")
    torch.save(loop, folder / "loop.pt")
    files = {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
    hashes = {name: hash_of(folder / name) for name in written}
    (folder / "state.json").write_text(json.dumps(state | {"files": files, "hashes": hashes}, indent=1))


def hash_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def restore(checkpoint: Path, learner: Learner) -> tuple[int, int]:
    """Restore a run from a checkpoint: (step, samples taken so far). Other settings are refused, and named."""
    processes = learner.accelerator.num_processes
    state = read_state(checkpoint)
    if state.get("format") != FORMAT:
        raise AgreedError(f"{checkpoint}: expected a checkpoint of this version (found an earlier one's): its weights "
                         "load as a model, which a run in another output can start from")
    kind = str(learner.accelerator.distributed_type) if learner.sharded else None
    if state["sharded"] != kind or (kind and state["num_processes"] != processes):
        raise AgreedError(f"{checkpoint}: expected the {state['num_processes']} processes that wrote it, with "
                         f"{state['sharded'] or 'whole'} weights (found {processes} with {kind or 'whole'} weights): "
                         "cut-up weights go back to the same processes only; start as before, or choose another output")
    refuse_other_settings(checkpoint, state, learner.config, learner.settings, processes)
    if kind == str(DistributedType.FSDP):
        load_shards(checkpoint, learner)
    elif learner.sharded:
        learner.accelerator.load_state(str(checkpoint / "sharded"))
    else:
        learner.load_state(read_weights(checkpoint / "trained.safetensors"), checkpoint)
    averaged = {} if learner.ema is None else read_weights(checkpoint / "averaged.safetensors")
    loop = read_loop(checkpoint)
    learner.load_loop_state(loop, averaged, checkpoint)
    if processes == state["num_processes"]:
        restore_random_state(loop["randomness"][learner.accelerator.process_index])
    else:
        log.warning("%s was written by %d processes, now there are %d: the samples go on where they stopped, %d per "
                    "step instead of %d", checkpoint.name, state["num_processes"], processes,
                    processes * learner.config.batch_size, state["num_processes"] * state["config"]["batch_size"])
    log.info("resuming from %s", checkpoint)
    return state["step"], state["position"]


def load_shards(checkpoint: Path, learner: Learner) -> None:
    """Every process's part of weights and optimizer from a checkpoint."""
    if not (checkpoint / "sharded" / ".metadata").is_file():
        raise AgreedError(f"{checkpoint}: expected sharded/.metadata, as this version writes it (found none): go on with "
                          "the version that wrote it, or choose another output")
    shards = learner.shards()
    distributed_load(shards, checkpoint_id=checkpoint / "sharded")
    learner.load_shards(shards)


def refuse_other_settings(path: Path, state: dict, config: TrainConfig, settings: dict, processes: int) -> None:
    """A ValueError that names every setting which would change the result; new settings had their first defaults then.

    state: what state.json holds; settings: the task's, now.
    """
    known = {item.name: item for item in fields(config)}
    then = {name: item.default for name, item in known.items()} | FIRST_DEFAULTS | state["config"] | state.get("settings", {})
    now = json.loads(json.dumps(asdict(config) | settings))
    changed = {key for key, value in now.items()
               if not (key in known and known[key].metadata["free"]) and then.get(key) != value
               and (key in then or key != "clips")}                 # which earlier checkpoints do not say
    samples_then = then["batch_size"] * then["gradient_accumulation"] * state["num_processes"]
    if samples_then == config.batch_size * config.gradient_accumulation * processes:
        changed -= SAME_DATA
    changed -= set((config.allow_changes or "").replace(" ", "").split(","))
    if changed:
        ways = "restore them, or choose another output" if config.allow_changes is None else (
            f"restore them, choose another output, or allow_changes={','.join(sorted(changed))}")
        listed = "; ".join(f"{key}: {then.get(key)} -> {now[key]}" for key in sorted(changed))
        raise AgreedError(f"{path}: written with other settings ({listed}): {ways}")
    if then["max_steps"] != config.max_steps and config.final_learning_rate != 1:
        log.warning("max_steps: %d -> %d: the learning rate follows the new schedule from here on", then["max_steps"],
                    config.max_steps)
