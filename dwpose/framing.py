"""Keep the person of a skeleton inside the canvas, as a camera operator does who moves only when it is needed."""
from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from dwpose.skeleton import (LEFT_ANKLE, LEFT_HIP, LEFT_KNEE, LEFT_SHOULDER, NOSE, RIGHT_ANKLE, RIGHT_HIP, RIGHT_KNEE,
                             RIGHT_SHOULDER, SEEN_CONFIDENCE, Skeleton)

log = logging.getLogger(__name__)

CORE = [NOSE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP, LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE]
MARGIN = 0.05               # of the canvas, each way, that stays free beside the core of the body
EASING = 0.4                # seconds, standard deviation with which the view starts and stops moving


def in_view(skeleton: Skeleton, reference: Skeleton, camera: str = "auto") -> Skeleton:
    """The skeleton shifted, and where it is too large made smaller, in the frames around those that leave the canvas.

    Of head, trunk and legs counts what the reference, the picture's person on the same canvas, shows inside it.
    camera: a static one stays, with a warning; zoom leaves the legs outside on purpose.
    """
    canvas = np.array(skeleton.size[::-1], dtype=np.float64)                            # (width, height)
    shown = reference.keypoints[0, CORE]                                                # (9, 3)
    inside = (shown[:, 2] >= SEEN_CONFIDENCE) & ((shown[:, :2] >= 0) & (shown[:, :2] < canvas)).all(axis=1)
    low, high = box(skeleton.keypoints[:, np.array(CORE)[inside]])                      # (F, 2) each, pixels
    left_out = ((low < 0) | (high > canvas)).any(axis=1)                                # (F,)
    if not left_out.any() or camera == "zoom":
        return skeleton
    first = float(np.argmax(left_out)) / skeleton.fps
    leaves = f"the person leaves the picture in {left_out.sum()} of {len(skeleton)} frames, first after {first:.1f} s"
    if camera == "static":
        log.warning("skeleton: %s: camera=auto keeps them in it", leaves)
        return skeleton
    zoom, centre, shift = view(low, high, MARGIN * canvas, (1 - MARGIN) * canvas, EASING * skeleton.fps)
    log.warning("skeleton: %s: the view follows them, by up to %.0f pixels", leaves, np.abs(shift).max())
    keypoints = skeleton.keypoints.copy()
    moved = centre[:, None] + zoom[:, None] * (keypoints[..., :2] - centre[:, None]) + shift[:, None]
    keypoints[..., :2] = np.where(keypoints[..., 2:] > 0, moved, 0)
    return replace(skeleton, keypoints=keypoints)


def box(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest x, y of the points that are seen, (F, K, 3) -> (F, 2) each; where none is, of all frames."""
    xy = np.where(points[..., 2:] >= SEEN_CONFIDENCE, points[..., :2].astype(np.float64), np.nan)
    known = np.isfinite(xy).any(axis=(1, 2))                                            # (F,)
    if not known.any():
        return np.zeros((len(xy), 2)), np.zeros((len(xy), 2))
    xy[~known] = np.nanmedian(xy[known], axis=(0, 1))
    return np.nanmin(xy, axis=1), np.nanmax(xy, axis=1)


def view(low: np.ndarray, high: np.ndarray, least: np.ndarray, most: np.ndarray,
         easing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Zoom (F, 1) about centre (F, 2), then shift (F, 2) in pixels, that bring boxes (F, 2) between `least` and `most`.

    easing: frames.
    """
    room = np.minimum((most - least) / np.maximum(high - low, 1), 1).min(axis=1)        # (F,)
    zoom = 1 - eased(1 - room[:, None], easing)                                         # (F, 1)
    centre = gaussian_filter1d((low + high) / 2, easing, axis=0, mode="nearest")        # (F, 2)
    low, high = (centre + zoom * (side - centre) for side in (low, high))
    return zoom, centre, eased(np.maximum(least - low, 0), easing) - eased(np.maximum(high - most, 0), easing)


def eased(needed: np.ndarray, easing: float) -> np.ndarray:
    """A smooth track that is at least `needed` (F, D) everywhere: up before it is needed, down after."""
    reach = 2 * round(3 * easing) + 1
    return gaussian_filter1d(maximum_filter1d(needed, reach, axis=0, mode="nearest"), easing, axis=0, mode="nearest",
                             truncate=3.0)
