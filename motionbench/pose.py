"""How well the poses of a video are the asked ones: the share of keypoints found where they should be (PCK)."""

from __future__ import annotations

import numpy as np

from dwpose.skeleton import BODY, SEEN_CONFIDENCE, Skeleton

SHARE_OF_HEIGHT = 0.05


def seen(skeleton: Skeleton) -> np.ndarray:
    """(F, 133) bool: points confident enough, and inside the canvas."""
    height, width = skeleton.size
    x, y = skeleton.xy[..., 0], skeleton.xy[..., 1]
    return (skeleton.confidence >= SEEN_CONFIDENCE) & (x >= 0) & (x < width) & (y >= 0) & (y < height)


def person_height(skeleton: Skeleton) -> float:
    """Pixels from the highest to the lowest seen point, in the frame where the person is tallest."""
    y, visible = skeleton.xy[..., 1], seen(skeleton)                                        # (F, 133) each
    if not visible.any():
        raise ValueError("skeleton: expected at least one seen point to measure a height (found none)")
    spans = np.where(visible, y, -np.inf).max(axis=1) - np.where(visible, y, np.inf).min(axis=1)    # (F,)
    return float(spans.max())


def pck(found: Skeleton, truth: Skeleton, joints: slice = BODY, share_of_height: float = SHARE_OF_HEIGHT) -> float:
    """Share of the truly seen `joints` that were found within a share of the person's height; NaN if none is seen.

    A point found with less than 0.3 confidence counts as missed. The height is that of the true person.
    """
    if found.keypoints.shape != truth.keypoints.shape or found.size != truth.size:
        raise ValueError(f"skeletons to compare: expected the same frames and canvas (found {found.keypoints.shape} "
                         f"on {found.size} and {truth.keypoints.shape} on {truth.size})")
    wanted = seen(truth)[:, joints]                                                         # (F, J)
    if not wanted.any():
        return float("nan")
    distance = np.linalg.norm(found.xy[:, joints] - truth.xy[:, joints], axis=-1)           # (F, J) pixels
    hit = (distance <= share_of_height * person_height(truth)) & (found.confidence[:, joints] >= SEEN_CONFIDENCE)
    return float(hit[wanted].mean())
