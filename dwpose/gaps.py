"""Frames without the followed person: short gaps are bridged, long ones stay empty, and all are named."""
from __future__ import annotations

from dataclasses import replace
from logging import getLogger

import numpy as np

from dwpose.skeleton import Skeleton

logger = getLogger(__name__)


def with_short_gaps_filled(skeleton: Skeleton, source: str, max_seconds: float) -> Skeleton:
    """Gaps of up to max_seconds between two frames with the person get points on straight lines between them.

    A point is bridged when it is seen on both sides, with the weaker confidence. The published code reads a "person"
    off the whole picture in such frames. source: what to call the frames in the warning.
    """
    present = np.flatnonzero(skeleton.confidence.any(axis=1))                           # (K,) frames with the person
    missing = np.setdiff1d(np.arange(len(skeleton)), present)
    if not len(missing) or not len(present):
        return skeleton
    keypoints, bridged = skeleton.keypoints.copy(), []
    for before, after in zip(present, present[1:]):
        length = after - before - 1
        if 0 < length <= max_seconds * skeleton.fps + 1e-6:
            keypoints[before + 1:after] = between(keypoints[before], keypoints[after], length)
            bridged += range(before + 1, after)
    empty = np.setdiff1d(missing, bridged)
    parts = [f"{frame_ranges(np.array(frames))} {fate}" for frames, fate in
             ((bridged, "bridged from both sides"), (empty, "stay empty")) if len(frames)]
    logger.warning("%s: the person is not found in %d of %d frames: %s",
                   source, len(missing), len(skeleton), ", ".join(parts))
    return replace(skeleton, keypoints=keypoints)


def between(before: np.ndarray, after: np.ndarray, count: int) -> np.ndarray:
    """`count` evenly spaced steps from keypoints (133, 3) to keypoints (133, 3), without the two: (count, 133, 3)."""
    share = (np.arange(1, count + 1) / (count + 1))[:, None, None]                      # (count, 1, 1)
    steps = before + (after - before) * share                                           # (count, 133, 3)
    steps[..., 2] = np.minimum(before[:, 2], after[:, 2])
    steps[steps[..., 2] == 0] = 0
    return steps


def frame_ranges(frames: np.ndarray) -> str:
    """Sorted frame numbers as people write them: 3-5, 9"""
    runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
