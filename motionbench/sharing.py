"""One run in one folder, by one or several processes: who takes which clips, and who waits for whom.

Started by `accelerate launch` or `python -m torch.distributed.run`, each process takes its share; alone, all of it.
"""
from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from torch import distributed

Item = TypeVar("Item")
LONGEST_WAIT = timedelta(days=14)       # of a process that has finished its share for the slowest one


@dataclass(frozen=True)
class Processes:
    """This process among those of the run."""

    rank: int = 0
    count: int = 1

    @classmethod
    def of_launch(cls) -> Processes:
        """As the launcher says in the environment."""
        return cls(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Every count-th item: neighbours differ in motion and identity, so that shares are alike."""
        return list(items[self.rank::self.count])

    @contextmanager
    def together(self) -> Iterator[None]:
        """Inside, `meet` works. The processes exchange nothing but that they have arrived."""
        if self.count > 1:
            distributed.init_process_group("gloo", timeout=LONGEST_WAIT)
        try:
            yield
        finally:
            if self.count > 1:
                distributed.destroy_process_group()

    def meet(self) -> None:
        """Wait until every process is here."""
        if self.count > 1:
            distributed.barrier()


@contextmanager
def only_run_in(folder: Path, processes: Processes) -> Iterator[None]:
    """The main process holds the folder's lock; the system lets go of it when the process ends, however it ends."""
    if not processes.is_main:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            raise ValueError(f"{folder}: another run is writing here (process {owner}): wait for it, or choose another "
                             "name=") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
