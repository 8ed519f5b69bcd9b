"""The picture cut to the video's shape around its person, with room for what the person is going to do."""
from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dwpose.skeleton import Skeleton

log = logging.getLogger(__name__)

CROWN = 0.06                            # above the highest seen point, of the body's extent
ABOVE, BELOW, BESIDE = 0.27, 0.06, 0.47     # room for raised hands, for feet that step nearer, for arms held out; of the extent
OUTSIDE = 0.15                          # how far the window may reach beyond the picture, of the body's extent


@dataclass(frozen=True)
class Window:
    """A part of a picture, in its pixels; it may reach beyond the edges."""
    left: int
    top: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height} from ({self.left}, {self.top})"


def person_window(person: Skeleton, size: tuple[int, int]) -> Window:
    """The window of the shape of `size` (height, width) around the person (F = 1) of a picture.

    It lies inside the picture where the picture is large enough, and otherwise reaches a little beyond its edges.
    """
    points = person.xy[0, person.seen[0]]                                               # (N, 2)
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    extent = max(y1 - y0, x1 - x0)
    y0 = y0 - CROWN * extent
    aspect = size[1] / size[0]
    height = max((y1 - y0) + (ABOVE + BELOW) * extent, max(2 * BESIDE * extent, x1 - x0) / aspect)
    most = np.array(person.size) + 2 * OUTSIDE * extent                                 # height, width
    height = min(height, most[0], most[1] / aspect)
    spare = height - (y1 - y0)
    top = y0 - spare * ABOVE / (ABOVE + BELOW)
    left = (x0 + x1) / 2 - height * aspect / 2
    top, left = (inside(start, length, limit) for start, length, limit in
                 ((top, height, person.size[0]), (left, height * aspect, person.size[1])))
    return Window(round(left), round(top), max(round(height * aspect), 1), max(round(height), 1))


def inside(start: float, length: float, limit: float) -> float:
    """The start moved so that the length lies between 0 and the limit, or in its middle where it does not fit."""
    return min(max(start, 0), limit - length) if length <= limit else min(max(start, limit - length), 0)


def framed(picture: np.ndarray, window: Window, person: Skeleton, size: tuple[int, int]) -> tuple[np.ndarray, Skeleton]:
    """The window of a picture (H, W, 3) uint8 at `size` (height, width), and the person (F = 1) on that canvas.

    Beyond an edge the picture is mirrored, or where that would mirror the person, its last row or column is repeated.
    """
    points = person.xy[0, person.seen[0]]                                               # (N, 2)
    limits = picture.shape[1::-1]
    beyond = [(max(-start, 0), max(start + length - limit, 0)) for start, length, limit in
              zip((window.left, window.top), (window.width, window.height), limits)]    # x, y: before, after
    free = [(points[:, axis].min(), limits[axis] - points[:, axis].max()) for axis in (0, 1)]
    padded = picture
    for axis in (0, 1):
        for side in (0, 1):
            pad = [(0, 0)] * 3
            pad[1 - axis] = (beyond[axis][0], 0) if side == 0 else (0, beyond[axis][1])
            padded = np.pad(padded, pad, "symmetric" if beyond[axis][side] < 0.8 * free[axis][side] else "edge")
    left, top = window.left + beyond[0][0], window.top + beyond[1][0]
    cut = padded[top:top + window.height, left:left + window.width]
    smaller = size[0] < window.height
    image = cv2.resize(cut, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    scale = np.array([size[1] / window.width, size[0] / window.height])
    moved = (person.xy - (window.left, window.top) + 0.5) * scale - 0.5
    return image, person.with_xy(moved.astype(np.float32), size)


def around_person(picture: np.ndarray, person: Skeleton, size: tuple[int, int], source: str) -> tuple[np.ndarray, Skeleton]:
    """The picture framed around its person: (H, W, 3) uint8 RGB and the Skeleton (F = 1), both on the canvas `size`."""
    window = person_window(person, size)
    log.info("%s: framed around the person, %s of %dx%d", source, window, *picture.shape[1::-1])
    image, reference = framed(picture, window, person, size)
    points = reference.xy[0, reference.seen[0]]
    if ((points < 0) | (points > size[::-1])).any() and not ((person.xy[0, person.seen[0]] < 0).any()):
        log.warning("%s: the person does not fit the video's shape whole: change height and width", source)
    return image, replace(reference, fps=person.fps)
