"""Batches of samples: an endless stream that can be entered anywhere, shared among processes."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch.utils.data import DataLoader, Dataset, Sampler

from configs import AgreedError
from runtime.processes import ignore_stop_signals
from training.task import Batch, TrainConfig


class SampleStream(Sampler):
    """Batches of (clip index, position). Position p is the p-th sample ever drawn; each epoch is a seeded permutation.

    clips: the indices that are drawn from. first: the position to begin with. From there on batch s of n processes takes
    positions [s * n * batch_size, (s + 1) * n * batch_size), so n processes of batch 1 see what one of batch n sees.
    """

    def __init__(self, clips: Sequence[int], batch_size: int, seed: int, *, num_processes: int = 1,
                 process_index: int = 0, first: int = 0):
        if not clips:
            raise ValueError("clips: expected at least one clip to train on (found none): check the data folder")
        self.clips, self.batch_size, self.seed = clips, batch_size, seed
        self.num_processes, self.process_index, self.first = num_processes, process_index, first
        self._epoch, self._order = None, []                 # of the epoch last asked for

    def clip_at(self, position: int) -> int:
        """The clip that position p takes."""
        epoch, within = divmod(position, len(self.clips))
        if self._epoch != epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._epoch, self._order = epoch, torch.randperm(len(self.clips), generator=generator).tolist()
        return self.clips[self._order[within]]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for begin in count(self.first + self.process_index * self.batch_size, self.num_processes * self.batch_size):
            yield [(self.clip_at(p), p) for p in range(begin, begin + self.batch_size)]


class Named(Dataset):
    """Clips whose errors say which clip, sample and file they come from."""

    def __init__(self, clips: Dataset):
        self.clips = clips

    def __getitem__(self, key: tuple[int, int]) -> dict:
        index, position = key
        try:
            return self.clips[key]
        except (ValueError, OSError) as error:
            file = self.clips.origin(index)[0] if hasattr(self.clips, "origin") else ""
            where = f"clip {index} (sample {position})" + f", {file}" * (file not in str(error))
            says = str(error)
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                says = f"expected a readable file ({error}): mend it or leave it out"
            raise ValueError(f"{where}: {says}") from error


@contextmanager
def batches_of(clips: Dataset, stream: SampleStream, config: TrainConfig,
               accelerator: Accelerator) -> Iterator[Iterator[Batch]]:
    """Batches for ever, within the context; afterwards no loading process is left, whatever happened.

    Where one process cannot read a clip, all end with its reason. Loading processes ignore requests to stop, which a
    scheduler sends to them as well, so that the process they work for can finish its step.
    """
    loader = DataLoader(Named(clips), batch_sampler=stream, num_workers=config.num_workers,
                        pin_memory=torch.cuda.is_available(), worker_init_fn=ignore_stop_signals,
                        generator=torch.Generator().manual_seed(config.seed))
    batches = iter(loader)
    try:
        yield agreed_batches(batches, accelerator)
    finally:
        if config.num_workers:
            batches._shutdown_workers()                     # or multiprocessing waits at exit for who ignores its signal
            for worker in batches._workers:
                worker.kill()


def agreed_batches(batches: Iterator[Batch], accelerator: Accelerator) -> Iterator[Batch]:
    """The batches of this process, until one process cannot read its own: then all end, with its reason.

    What the user can mend is one AgreedError in all; a fault of the program keeps its traceback in its own process.
    """
    while True:
        batch, fault, reason = None, None, ""
        try:
            batch = next(batches)
        except ValueError as error:                         # a worker's: torch puts its traceback before the line
            reason = str(error).strip().splitlines()[-1].removeprefix("ValueError: ")
        except Exception as error:                          # also of a worker that the system has killed
            fault, reason = error, (str(error).strip().splitlines() or [""])[-1]
            reason = reason if reason.startswith(type(error).__name__) else f"{type(error).__name__}: {reason}"
        if accelerator.num_processes > 1:
            failed = torch.tensor([bool(reason)], device=accelerator.device)
            if accelerator.gather(failed).any():
                reasons = gather_object([reason])
                reason = next(f"process {rank}: {said}" for rank, said in enumerate(reasons) if said)
        if fault:
            raise fault
        if reason:
            raise AgreedError(reason)
        yield batch
