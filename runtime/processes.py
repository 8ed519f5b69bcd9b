"""Several processes: one piece of work shared exactly, items dealt out over a folder, and stopping together."""
from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from media.files import locked
from runtime.device import launched_count

log = logging.getLogger(__name__)

PATIENCE = timedelta(days=1)             # of processes that wait while the main one plans, detects and writes
STOPPING = (signal.SIGTERM, signal.SIGINT)
ONE_REQUEST_SECONDS = 2.0                   # a scheduler and a launcher each pass the same request on
CLOSING_SECONDS = 0.3                       # for other threads, before the process group goes


@dataclass(frozen=True)
class Processes:
    """This process among those that make a video. The default is one process alone, for which all of this is free."""
    rank: int = 0
    count: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def is_main(self) -> bool:
        """Only the main process reads inputs, writes files and talks."""
        return self.rank == 0

    def map(self, work: Callable[[Any], Tensor], items: Sequence) -> Iterator[Tensor]:
        """work(item) of every item, in order, in every process. float32 tensors; the processes take turns."""
        if self.count == 1:
            yield from map(work, items)
            return
        for start in range(0, len(items), self.count):
            turn = items[start:start + self.count]
            result = self.agreed(lambda: work(turn[self.rank]) if self.rank < len(turn) else None)
            for owner in range(len(turn)):
                yield self.sent(result if owner == self.rank else None, owner)

    def gathered(self, work: Callable[[Any], Tensor], items: Sequence) -> list[Tensor]:
        """What `map` gives, all of it held: each process does its share without waiting for the others, then they exchange."""
        own = self.agreed(lambda: [work(item) for item in self.share(items)])
        if self.count == 1:
            return own
        owners = [place % self.count for place in range(len(items))]
        return [self.sent(own[place // self.count] if owner == self.rank else None, owner) for place, owner in enumerate(owners)]

    def share(self, items: Sequence) -> list:
        """This process's part of the items: every count-th one, so that the parts are alike."""
        return list(items[self.rank::self.count])

    def meet(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            dist.barrier()

    def agreed(self, work: Callable[[], Any]) -> Any:
        """work()'s result, if it succeeded in all processes; otherwise the same error in all."""
        if self.count == 1:
            return work()
        result = error = None
        try:
            result = work()
        except Exception as caught:                                           # raised again below, everywhere
            error = caught
        words: list = [None] * self.count
        dist.all_gather_object(words, None if error is None else (type(error).__name__, str(error)))
        failed = [(rank, *said) for rank, said in enumerate(words) if said is not None]
        if not failed:
            return result
        if any(kind == torch.OutOfMemoryError.__name__ for _, kind, _ in failed):
            raise torch.OutOfMemoryError(failed[0][2]) from error
        rank, kind, message = failed[0]
        if rank == self.rank:
            raise error
        if kind in (ValueError.__name__, FileNotFoundError.__name__):
            raise ValueError(message)
        raise RuntimeError(f"process {rank} of {self.count}: {kind}: {message}")

    def sent(self, tensor: Tensor | None, owner: int) -> Tensor:
        """The owner's float32 tensor, in every process."""
        mine = self.rank == owner
        rank = torch.tensor([tensor.ndim if mine else 0])
        dist.broadcast(rank, owner)
        shape = torch.tensor(tensor.shape) if mine else torch.zeros(rank.item(), dtype=torch.long)
        dist.broadcast(shape, owner)
        data = tensor.float().contiguous() if mine else torch.empty(shape.tolist(), device=self.device)
        dist.broadcast(data, owner)
        return data

    def shared(self, value: Any = None) -> Any:
        """The main process's value, in every process: numbers, text, arrays and dataclasses of them."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]


ALONE = Processes()


def join_processes(device: torch.device, patience: timedelta = PATIENCE) -> Processes:
    """This process's place among those the launcher started, once they have all met."""
    if launched_count() == 1:
        return ALONE
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=patience)
    return Processes(dist.get_rank(), dist.get_world_size(), device)


@contextmanager
def joined_processes(device: torch.device, patience: timedelta) -> Iterator[Processes]:
    """The launched processes, joined within the context. patience: how long one that is ready waits for the others."""
    processes = join_processes(device, patience)
    try:
        yield processes
    finally:
        shut_down()


@contextmanager
def only_run_in(folder: Path, processes: Processes = ALONE) -> Iterator[None]:
    """The main process holds the folder's lock; the system releases it when the process ends, however it ends."""
    with locked(folder, "choose another name=") if processes.is_main else nullcontext():
        yield


class StopRequest:
    """Within the context a signal only sets `signal`; another one later ends the program at once, unsaved.

    Of several processes that were launched, each also stops when its launcher is gone, as if that had passed on a SIGTERM.
    """

    def __init__(self):
        self._signal, self._when = 0, 0.0   # 0 = none came
        self._before = {}
        self._launcher = os.getppid() if os.environ.get("WORLD_SIZE", "1") != "1" else None

    @property
    def signal(self) -> int:
        """The signal that came, or 0."""
        if not self._signal and self._launcher and os.getppid() != self._launcher:
            self._signal, self._when = signal.SIGTERM, time.monotonic()
            log.warning("what launched this process is gone: finishing the step and saving it")
        return self._signal

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in STOPPING}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame) -> None:
        if self._signal:
            if time.monotonic() - self._when > ONE_REQUEST_SECONDS:
                raise SystemExit(128 + number)
            return
        self._signal, self._when = number, time.monotonic()
        log.info("%s: finishing the step and saving it; once more to stop at once", signal.Signals(number).name)


def ignore_stop_signals(worker: int = 0) -> None:
    """For data-loading processes: they end with the process that started them, not before it."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def end_with_parent() -> None:
    """A pool's initializer: its processes end at once when the one that started them is gone, also where that was killed.

    Python's own ones would wait for work for ever. (torch's data-loading processes look after their parent themselves.)
    """
    def end() -> None:
        wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def end_with_launcher() -> None:
    """A launched process whose work can go on anywhere ends within a second when its launcher is gone, also while it waits for another."""
    launcher = os.getppid()

    def end() -> None:
        while os.getppid() == launcher:
            time.sleep(0.5)
        os._exit(1)

    if os.environ.get("WORLD_SIZE", "1") != "1":
        threading.Thread(target=end, daemon=True).start()


def shut_down() -> None:
    """Ends the process group, if there is one. Every process of a program calls it at its end.

    The group's end waits for gloo's threads while it holds the interpreter lock, which a thread that has just finished
    a collective needs once more to release its tensors. Without a pause before, both can wait for ever.
    """
    if dist.is_initialized():
        time.sleep(CLOSING_SECONDS)
        dist.destroy_process_group()
