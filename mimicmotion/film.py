"""A video file written while its later frames are still being made: the codec works beside the network."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from queue import Queue

import numpy as np

from .video import write_video

WINDOWS_AHEAD = 4                                      # that wait for the codec; then their maker waits
GIVEN_UP = object()                                    # in place of the frames that do not come any more
UNSEEN = nullcontext(lambda frames: None)              # the film of frames nobody is to see


class Film:
    """`with film as show:` gives a function to call with finished frames, (K, H, W, 3) uint8 RGB, in order.

    The file appears whole when the context ends; after an error in it, or in the writing, which is raised there, there
    is none. A film may be begun again.
    """

    def __init__(self, path: Path, fps: float):
        self.path, self.fps = path, fps
        self.is_written = False

    def __enter__(self) -> Callable[[np.ndarray], None]:
        self._windows: Queue = Queue(WINDOWS_AHEAD)
        self._thread = ThreadPoolExecutor(1)
        self._writing = self._thread.submit(self._write)
        return self._windows.put

    def __exit__(self, kind, error, traceback) -> None:
        self._windows.put(None if kind is None else GIVEN_UP)
        self._thread.shutdown()
        if kind is None:
            self._writing.result()
            self.is_written = True

    def _write(self) -> None:
        frames = self._frames()
        try:
            write_video(self.path, frames, self.fps)
        finally:
            for _ in frames:                           # after an error: nobody is to wait for room in the queue
                pass

    def _frames(self) -> Iterator[np.ndarray]:
        while (window := self._windows.get()) is not None:
            if window is GIVEN_UP:
                raise RuntimeError(f"{self.path}: given up")
            yield from window
