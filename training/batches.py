"""Batches of samples: an endless stream that can be entered anywhere, shared among processes."""
from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from runtime.processes import ignore_stop_signals
from training.task import Batch, TrainConfig


class SampleStream(Sampler):
    """Batches of (clip index, position). Position p is the p-th sample ever drawn; each epoch is a seeded permutation.

    From `first` on, batch s of n processes takes positions [s * n * batch_size, (s + 1) * n * batch_size), so n
    processes of batch 1 see what one process of batch n sees. `start` is the batch to begin with.
    """

    def __init__(self, num_clips: int, batch_size: int, seed: int, *, num_processes: int = 1, process_index: int = 0,
                 start: int = 0, first: int = 0):
        if num_clips < 1:
            raise ValueError("clips: expected at least one clip to train on (found none): check the data folder")
        self.num_clips, self.batch_size, self.seed = num_clips, batch_size, seed
        self.num_processes, self.process_index, self.start, self.first = num_processes, process_index, start, first

    def clip_at(self, position: int) -> int:
        """The clip that position p takes."""
        epoch, within = divmod(position, self.num_clips)
        if getattr(self, "_epoch", None) != epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._epoch, self._order = epoch, torch.randperm(self.num_clips, generator=generator).tolist()
        return self._order[within]

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        batch = self.start
        while True:
            begin = self.first + (batch * self.num_processes + self.process_index) * self.batch_size
            yield [(self.clip_at(p), p) for p in range(begin, begin + self.batch_size)]
            batch += 1


def batches_of(clips: Dataset, stream: SampleStream, config: TrainConfig) -> Iterator[Batch]:
    """Batches for ever. Workers leave stopping to the process they work for."""
    loader = DataLoader(clips, batch_sampler=stream, num_workers=config.num_workers,
                        pin_memory=torch.cuda.is_available(), worker_init_fn=ignore_stop_signals,
                        generator=torch.Generator().manual_seed(config.seed))
    return iter(loader)


def next_of(batches: Iterator[Batch]) -> Batch:
    """The next batch. What a worker cannot use is said in its own line, without the traceback torch puts before it."""
    try:
        return next(batches)
    except (ValueError, FileNotFoundError) as error:
        kind = type(error)
        raise kind(str(error).strip().splitlines()[-1].removeprefix(f"{kind.__name__}: ")) from error
