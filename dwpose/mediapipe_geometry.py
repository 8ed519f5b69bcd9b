"""Square regions of a picture, the crops MediaPipe's networks are given, and the way back from a crop to the picture.

Everything is in picture pixels, x right and y down; angles are radians, clockwise on the screen. The published graph
keeps rectangles in shares of the picture, but every rectangle it crops is a square in pixels once letterboxed.
The crop is that of OpenCV 4 on uint8, which the networks were deployed with; the warps of OpenCV 5 give other values.
"""
from __future__ import annotations

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

STEPS = 32                          # a sampled position lies on a grid of 1/32 pixel
FARTHEST = STEPS * (2**15 - 2)      # positions are counted in 16 bits
BORDERS = {"black": cv2.BORDER_CONSTANT, "edge": cv2.BORDER_REPLICATE}
RIGHT, UP = 0.0, np.pi / 2          # where a direction points once its region stands upright; y counted upwards
DOWN = -np.pi / 2
PALM = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)        # hand points without the outer finger joints


class Region(NamedTuple):
    """A square of the picture."""

    x: float                        # centre, pixels
    y: float
    side: float                     # pixels
    angle: float                    # radians, clockwise

    def moved(self, scale: float, down: float = 0.0) -> Region:
        """The region scaled about a centre that first moves by `down` sides along the region's own y axis."""
        shift = self.side * down
        return Region(self.x - shift * np.sin(self.angle), self.y + shift * np.cos(self.angle), self.side * scale,
                      self.angle)

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 2 or more) in [0, 1] of the region to picture pixels; a third number is scaled, others stay."""
        u, v = points[:, 0] - 0.5, points[:, 1] - 0.5
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        placed = np.array(points, np.float64)
        placed[:, 0] = (cos * u - sin * v) * self.side + self.x
        placed[:, 1] = (sin * u + cos * v) * self.side + self.y
        placed[:, 2:3] *= self.side
        return placed

    def from_picture(self, points: np.ndarray) -> np.ndarray:
        """Picture pixels (N, 2) to [0, 1] of the region (N, 2)."""
        u, v = (points[:, 0] - self.x) / self.side, (points[:, 1] - self.y) / self.side
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.stack([cos * u + sin * v, cos * v - sin * u], axis=1) + 0.5


def whole(size: tuple[int, int]) -> Region:
    """The square around a picture of (height, width) pixels."""
    height, width = size
    return Region(width / 2, height / 2, float(max(height, width)), 0.0)


def half_turn(angle: float) -> float:
    """The angle in [-pi, pi)."""
    return angle - 2 * np.pi * np.floor((angle + np.pi) / (2 * np.pi))


def turned(start: np.ndarray, end: np.ndarray, target: float) -> float:
    """The angle of a region in which the direction start -> end (x, y) points to `target`."""
    return half_turn(target - np.arctan2(start[1] - end[1], end[0] - start[0]))


def aligned(centre: np.ndarray, rim: np.ndarray, target: float) -> Region:
    """The region about a circle through `rim`, turned so that `rim` lies towards `target` of the centre."""
    side = 2 * np.hypot(*(rim[:2] - centre[:2]))
    return Region(float(centre[0]), float(centre[1]), float(side), float(turned(centre, rim, target)))


def around(points: np.ndarray, angle: float, scale: float, down: float = 0.0) -> Region:
    """The region about the upright box of points (N, 2 or more): its longer side times `scale`.

    The centre moves by `down` box heights along the region's own y axis.
    """
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return _square((low + high) / 2, high - low, angle, scale, down)


def around_palm(hand: np.ndarray, scale: float, down: float) -> Region:
    """The region of a hand from its own 21 points (21, 2 or more), fingers up; as `around`, in the hand's axes."""
    knuckles = ((hand[5] + hand[13]) / 2 + hand[9]) / 2
    angle = turned(hand[0], knuckles, UP)
    palm = hand[list(PALM), :2]
    middle = (palm.min(axis=0) + palm.max(axis=0)) / 2
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    along = (palm - middle) @ axes                                                      # (12, 2) in the hand's axes
    low, high = along.min(axis=0), along.max(axis=0)
    return _square(middle + axes @ ((low + high) / 2), high - low, angle, scale, down)


def _square(centre: np.ndarray, extent: np.ndarray, angle: float, scale: float, down: float) -> Region:
    """extent: (width, height) of a box in the region's axes."""
    x, y = centre + extent[1] * down * np.array([-np.sin(angle), np.cos(angle)])
    return Region(float(x), float(y), float(extent.max() * scale), float(angle))


class Agreement(NamedTuple):
    """How near a region from the frame before must lie to the one measured in this frame, to be taken instead."""

    degrees: float
    shift: float                    # of the centre, along each axis, in sides
    growth: float                   # of the side, in sides
    inner: float                    # the part of the region, about its centre, that must hold the points


HAND_AGREEMENT = Agreement(40, 0.2, 0.4, 0.9)
FACE_AGREEMENT = Agreement(15, 0.1, 0.3, 0.8)


def steadied(now: Region, before: Region | None, points: np.ndarray | None, within: Agreement) -> Region:
    """The region `before`, which follows the frame before's points (N, 2), where it agrees with `now`; else `now`."""
    if before is None:
        return now
    there = now.from_picture(np.array([[before.x, before.y]]))[0] - 0.5                 # (2,) sides
    inside = np.abs(now.from_picture(points[:, :2]) - 0.5).max() < within.inner / 2
    agrees = (abs(np.degrees(half_turn(before.angle - now.angle))) <= within.degrees
              and np.abs(there).max() <= within.shift and abs(before.side - now.side) <= within.growth * now.side)
    return before if agrees and inside else now


def crop(picture: np.ndarray, region: Region, size: int, *, border: str) -> np.ndarray:
    """(H, W, 3) uint8 to (size, size, 3) uint8. border: what lies outside the picture, "black" or "edge".

    Sample (i, j) lies i/size and j/size along the sides from the region's corner, without a half-pixel offset, rounded
    to 1/32 pixel. With positions in integers `cv2.remap` is exact, which its warps of OpenCV 5 are not.
    """
    top_left, along, down = corner_and_sides(region)
    share = np.arange(size) / size
    x, y = (np.rint((top_left[axis] + share * along[axis] + share[:, None] * down[axis]) * STEPS)
            .clip(-FARTHEST, FARTHEST).astype(np.int32) for axis in (0, 1))             # (size, size) each, 1/32 pixel
    pixels = np.stack([x // STEPS, y // STEPS], axis=2).astype(np.int16)                # (size, size, 2)
    between = (y % STEPS * STEPS + x % STEPS).astype(np.uint16)                         # (size, size)
    return cv2.remap(picture, pixels, between, cv2.INTER_LINEAR, borderMode=BORDERS[border])


def corner_and_sides(region: Region) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Top left corner and the sides to the right and down, (2,) pixels each, rounded as OpenCV's box points are."""
    single = np.float32
    angle = np.radians(np.float64(single(single(region.angle) * single(180) / np.pi)))
    half_cos, half_sin = single(np.cos(angle)) * single(0.5), single(np.sin(angle)) * single(0.5)
    x, y, side = single(region.x), single(region.y), single(region.side)
    bottom_left = np.array([x - half_sin * side - half_cos * side, y + half_cos * side - half_sin * side], single)
    top_left = np.array([x + half_sin * side - half_cos * side, y - half_cos * side - half_sin * side], single)
    top_right = 2 * np.array([x, y], single) - bottom_left
    top_left, top_right, bottom_left = (corner.astype(np.float64) for corner in (top_left, top_right, bottom_left))
    return top_left, top_right - top_left, bottom_left - top_left


@cache
def anchors(size: int, strides: tuple[int, ...]) -> np.ndarray:
    """Anchor centres (N, 2) in [0, 1] of an SSD detector for `size` input pixels: two per layer in every cell.

    Layers of equal stride that follow one another share their cells, which go row by row.
    """
    layers = []
    for stride in dict.fromkeys(strides):
        cells = -(-size // stride)
        rows, columns = np.divmod(np.arange(cells * cells), cells)
        centres = (np.stack([columns, rows], axis=1) + 0.5) / cells                     # (cells^2, 2)
        layers.append(np.repeat(centres, 2 * strides.count(stride), axis=0))
    return np.concatenate(layers)


class Detection(NamedTuple):
    """One object an SSD detector sees; in [0, 1] of its input, or in pixels once projected."""

    score: float
    box: np.ndarray                 # (2, 2) low corner, high corner
    points: np.ndarray              # (K, 2)


def detections(boxes: np.ndarray, logits: np.ndarray, size: int, strides: tuple[int, ...], *, min_score: float = 0.5,
               max_overlap: float = 0.3) -> list[Detection]:
    """Raw boxes (N, 4 + 2K) in input pixels and logits (N,) to objects, best first.

    Suppression is weighted: all that overlap the best are averaged by score, and the score stays the best one's.
    """
    scores = sigmoid(np.clip(logits, -100, 100))
    kept = np.flatnonzero(scores >= min_score)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    centres = anchors(size, strides)[kept, None]                                        # (n, 1, 2)
    numbers = boxes[kept].astype(np.float64).reshape(len(kept), boxes.shape[1] // 2, 2) / size          # (n, 2 + K, 2)
    middle, extent = numbers[:, :1] + centres, numbers[:, 1:2]
    rows = np.concatenate([middle - extent / 2, middle + extent / 2, numbers[:, 2:] + centres], axis=1)
    scores, found = scores[kept], []
    while len(rows):
        alike = overlaps(rows[0, :2], rows[:, :2]) > max_overlap
        alike[0] = True                                                                 # also where its box is empty
        mean = np.average(rows[alike], axis=0, weights=scores[alike])                   # (2 + K, 2)
        found.append(Detection(float(scores[0]), mean[:2], mean[2:]))
        rows, scores = rows[~alike], scores[~alike]
    return found


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union (n,) of one box (2, 2), low and high corner, with many (n, 2, 2)."""
    shared = np.prod(np.maximum(np.minimum(box[1], boxes[:, 1]) - np.maximum(box[0], boxes[:, 0]), 0), axis=1)
    areas = np.prod(np.maximum(boxes[:, 1] - boxes[:, 0], 0), axis=1)
    union = areas + np.prod(np.maximum(box[1] - box[0], 0)) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x) in float64."""
    return 1 / (1 + np.exp(-np.clip(np.asarray(logits, np.float64), -700, 700)))
