"""Poses as MusePose's weights were taught them: on a canvas 1024 pixels wide, shrunk to 768 high, without the face."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from dwpose.draw import draw
from dwpose.skeleton import FACE, Skeleton

PAINT_HEIGHT = 768               # pixels of all frames written
CANVAS_WIDTH = 1024              # pixels poses are drawn at


def painted_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) a frame of this size is written at; even, as video codecs ask."""
    return PAINT_HEIGHT, max(2, int(PAINT_HEIGHT / size[0] * size[1] // 2 * 2))


def painted(frame: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) at its painted size."""
    return cv2.resize(frame, painted_size(frame.shape[:2])[::-1], interpolation=cv2.INTER_AREA)


def pose_frames(skeleton: Skeleton) -> Iterator[np.ndarray]:
    """The skeleton frame by frame, (768, W, 3) uint8 RGB.

    On a canvas of the skeleton's own aspect, where the published script stretches one of the dance's, and limbs with it.
    """
    drawn = resized(without_face(skeleton), CANVAS_WIDTH)
    for frame in range(len(drawn)):
        yield painted(draw(drawn[frame], "musepose")[0])


def resized(skeleton: Skeleton, width: int) -> Skeleton:
    """The skeleton on a canvas of this width, in pixels."""
    factor = width / skeleton.size[1]
    keypoints = skeleton.keypoints.copy()
    keypoints[..., :2] *= factor
    return replace(skeleton, keypoints=keypoints, size=(round(skeleton.size[0] * factor), width))


def without_face(skeleton: Skeleton) -> Skeleton:
    """The same person with all 68 face points absent."""
    keypoints = skeleton.keypoints.copy()
    keypoints[:, FACE] = 0
    return replace(skeleton, keypoints=keypoints)
