"""One video over several processes, exactly: work is dealt out, and every process gets every result, in order.

Started by `accelerate launch` or `torch.distributed.run`, one process per GPU. Results are sent as they are and put
together in one order everywhere, so the outcome is that of one process.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(days=1)             # of processes that wait while the main one plans, detects and writes


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


def launched_count() -> int:
    """How many processes the launcher started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", 1))


def own_gpu() -> str:
    """The GPU of this process: each of the launched ones on a machine has its own."""
    if launched_count() == 1:
        return "cuda"
    needed, found = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
    if needed > found:
        raise ValueError(f"--num_processes: expected at most one per GPU, {found} (found {needed}): start fewer")
    return f"cuda:{os.environ['LOCAL_RANK']}"


def join_processes(device: torch.device) -> Processes:
    """This process's place among those the launcher started, once they have all met."""
    if launched_count() == 1:
        return ALONE
    if not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    return Processes(dist.get_rank(), dist.get_world_size(), device)
