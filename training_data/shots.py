"""Where one camera shot ends and the next begins, and shots as pieces of bounded length.

A jump of the colour histogram, measured in a 2 x 2 grid of the picture, is a cut. That is the content detector of
PySceneDetect without its dependency; slow fades are not found. A piece is never held longer than its frames need.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

CUT_DISTANCE = 0.35             # share of the pixels that change their colour bin
CUT_JUMP = 4.0                  # and so many times the usual change of the last frames
THUMBNAIL = 64                  # pixels, square
BINS = 8                        # per colour channel
USUAL_FRAMES = 12               # frames that tell what change is usual


def colour_histogram(frame: np.ndarray) -> np.ndarray:
    """Colour histograms of the four quarters of a picture, (4, BINS ** 3), each adding up to 1."""
    small = cv2.resize(frame, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA) // (256 // BINS)
    codes = (small.astype(np.int32) * (1, BINS, BINS * BINS)).sum(axis=-1)                  # (64, 64)
    half = THUMBNAIL // 2
    quarters = codes.reshape(2, half, 2, half).swapaxes(1, 2).reshape(4, -1)                # (4, 1024)
    return np.stack([np.bincount(quarter, minlength=BINS ** 3) for quarter in quarters]) / half ** 2


class CutFinder:
    """Shown the frames one after the other: does a new shot begin here?"""

    def __init__(self):
        self.last, self.usual = None, deque(maxlen=USUAL_FRAMES)

    def __call__(self, frame: np.ndarray) -> bool:
        histogram, last = colour_histogram(frame), self.last
        self.last = histogram
        if last is None:
            return False
        change = float(np.abs(histogram - last).sum(axis=1).mean() / 2)         # 0 alike .. 1 nothing in common
        cut = change > max(CUT_DISTANCE, CUT_JUMP * float(np.median(self.usual or [0])))
        self.usual.clear() if cut else self.usual.append(change)
        return cut


def pieces(frames: Iterable[np.ndarray], longest: int, shortest: int) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first frame, frames (n, H, W, 3)) of every piece: no cut inside, n <= longest.

    A long shot gives several pieces, none of them shorter than `shortest` (longest >= 2 * shortest); a short shot is
    given as it is. Where the video breaks off, what was read comes first and the error after it.
    """
    is_cut, first, held, broken = CutFinder(), 0, [], None
    frames = iter(frames)
    while True:
        try:
            frame = next(frames, None)
        except ValueError as error:
            frame, broken = None, error
        ends = frame is None or is_cut(frame) or (held and frame.shape != held[0].shape)
        if held and ends:
            middle = len(held) if len(held) <= longest else len(held) // 2
            yield from ((first + start, np.stack(held[start:end])) for start, end in ((0, middle), (middle, len(held)))
                        if start < end)
            first, held = first + len(held), []
        elif len(held) == longest + shortest:
            yield first, np.stack(held[:longest])
            first, held = first + longest, held[longest:]
        if frame is None:
            break
        held.append(frame)
    if broken:
        raise broken
