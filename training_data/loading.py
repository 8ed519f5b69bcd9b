"""How much of a training step is spent waiting for data."""
from __future__ import annotations

import time

from torch.utils.data import DataLoader, Dataset

from mimicmotion.stream import SampleStream

FIRST_BATCHES = 2               # while the workers start


def measured_stall(clips: Dataset, *, seconds_per_step: float, num_steps: int = 30, batch_size: int = 1,
                   num_workers: int = 2, seed: int = 0) -> dict[str, float]:
    """Let a step of `seconds_per_step` (on a GPU: the CPU sleeps) ask for batches as training does.

    Returns seconds waited per step, their share of the whole step, and seconds one worker needs for a sample.
    """
    loader = DataLoader(clips, batch_sampler=SampleStream(len(clips), batch_size, seed), num_workers=num_workers)
    batches, waited = iter(loader), 0.0
    for step in range(FIRST_BATCHES + num_steps):
        began = time.perf_counter()
        next(batches)
        waited += (time.perf_counter() - began) * (step >= FIRST_BATCHES)
        time.sleep(seconds_per_step)
    began = time.perf_counter()
    for position in range(min(8, num_steps)):
        clips[(position % len(clips), position)]
    alone = (time.perf_counter() - began) / min(8, num_steps)
    per_step = waited / num_steps
    return {"waited_seconds": per_step, "stall": per_step / (per_step + seconds_per_step), "sample_seconds": alone}
