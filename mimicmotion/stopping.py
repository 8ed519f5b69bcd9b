"""SIGTERM and SIGINT as requests: the step under way is finished and saved before the program ends. And how it ends."""
from __future__ import annotations

import logging
import signal
import threading
import time

import torch
from accelerate import Accelerator

logger = logging.getLogger(__name__)

STOPPING = (signal.SIGTERM, signal.SIGINT)
ONE_REQUEST_SECONDS = 2.0                   # a scheduler and a launcher each pass the same request on
LEAVING_SECONDS = 0.3                       # for other threads, before the process group goes


class StopRequest:
    """Within the context a signal only sets `signal`; another one later ends the program at once, unsaved."""

    def __init__(self):
        self.signal, self._when = 0, 0.0    # 0 = none came
        self._before = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._receive) for number in STOPPING}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def agreed(self, accelerator: Accelerator) -> int:
        """The largest signal any process received, the same on all; 0 = none."""
        mine = torch.tensor([self.signal], device=accelerator.device)
        return int(accelerator.gather(mine).max())

    def _receive(self, number: int, frame) -> None:
        if self.signal:
            if time.monotonic() - self._when > ONE_REQUEST_SECONDS:
                raise SystemExit(128 + number)
            return
        self.signal, self._when = number, time.monotonic()
        logger.info("%s: finishing the step and saving it; once more to stop at once", signal.Signals(number).name)


def ignore_stop_signals(worker: int = 0) -> None:
    """For data-loading processes: they end with the process that started them, not before it."""
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def leave(accelerator: Accelerator) -> None:
    """End trackers and the process group; every process calls it, whenever it is done.

    A thread of gloo's that has finished a collective still has to let go of its tensors, for which it needs the
    interpreter, while the group's end waits for that thread and holds the interpreter: it is given time to do so first.
    """
    time.sleep(LEAVING_SECONDS if accelerator.num_processes > 1 else 0)
    accelerator.end_training()
