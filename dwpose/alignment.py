"""MimicMotion's global alignment: one scale and one shift that lay a driving clip over the reference person.

The published line is fitted to the heights of all frames together, so a driver who bounces is drawn smaller, and a
reference with one reliable point collapses the figure. `robust` fits the scale within frames and refuses what cannot
work.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dwpose.skeleton import SEEN_CONFIDENCE, Skeleton, openpose18

# OpenPose points that tell size and place: arms move too much. Fleximo leaves out knees and ankles as well.
MIMICMOTION_POINTS = (0, 1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)
FLEXIMO_POINTS = (0, 1, 2, 5, 8, 11, 14, 15, 16, 17)
MIN_POINTS = 2              # reliable points at different heights


@dataclass(frozen=True)
class LinearMap:
    """x' = scale_x x + shift_x and y' = scale_y y + shift_y, from driver to reference, both in [0, 1] of the canvas."""

    scale_x: float
    scale_y: float
    shift_x: float
    shift_y: float

    def __call__(self, places: np.ndarray) -> np.ndarray:
        """(..., 2) canvas shares to (..., 2)."""
        return places * (self.scale_x, self.scale_y) + (self.shift_x, self.shift_y)


def fit(driver: np.ndarray, reference: np.ndarray, aspect: float, weights: np.ndarray | None = None) -> LinearMap:
    """Driver places (F, N, 2) and reference places (N, 2 or all), as canvas shares, to the map between them.

    aspect: (driver height / width) / (reference height / width): a pixel is scaled alike both ways. Without weights
    this is the published fit; weights (F, N) choose points, and the scale is then fitted within each frame.
    """
    target = np.broadcast_to(reference, driver.shape)                                   # (F, N, 2)
    if weights is None:
        scale_y, shift_y = np.polyfit(driver[..., 1].ravel(), target[..., 1].ravel(), 1)
        shift_x = np.mean(target[..., 0] - driver[..., 0] * scale_y / aspect)
        return LinearMap(float(scale_y / aspect), float(scale_y), float(shift_x), float(shift_y))
    counted = weights.sum(axis=1, keepdims=True).clip(min=1e-9)                         # (F, 1)
    within = [values - (weights * values).sum(axis=1, keepdims=True) / counted
              for values in (driver[..., 1], target[..., 1])]                           # (F, N) about the frame's mean
    scale_y = (weights * within[0] * within[1]).sum() / max((weights * within[0] ** 2).sum(), 1e-12)
    scales = np.array((scale_y / aspect, scale_y))
    shift = np.average((target - driver * scales).reshape(-1, 2), axis=0, weights=weights.ravel())
    return LinearMap(*map(float, (*scales, *shift)))


def aligned(skeleton: Skeleton, reference: Skeleton, *, points: tuple[int, ...] = MIMICMOTION_POINTS,
            robust: bool = True) -> Skeleton:
    """The driving clip on the reference's canvas, scaled and shifted as a whole. robust=False: exactly as published."""
    driver, target = openpose18(skeleton.keypoints), openpose18(reference.keypoints)[0]     # (F, 18, 3), (18, 3)
    reliable = [point for point in points if target[point, 2] >= SEEN_CONFIDENCE]
    if len(reliable) < MIN_POINTS:
        raise ValueError(f"reference: expected at least {MIN_POINTS} of the body points used for alignment "
                         f"(found {len(reliable)}): use a picture that shows head, shoulders and hips")
    sizes = [np.array(person.size[::-1], np.float64) for person in (skeleton, reference)]   # (width, height)
    aspect = (sizes[0][1] / sizes[0][0]) / (sizes[1][1] / sizes[1][0])
    places = driver[:, reliable, :2].astype(np.float64) / sizes[0]                          # (F, N, 2)
    goals = np.broadcast_to(target[reliable, :2].astype(np.float64) / sizes[1], places.shape)
    weights = driver[:, reliable, 2] * (driver[:, reliable, 2] >= SEEN_CONFIDENCE) if robust else None      # (F, N)
    counted = weights > 0 if robust else places.any(axis=-1)                                # (F, N); nothing lies at (0, 0)
    if (counted.sum(axis=1) < MIN_POINTS).all():
        raise ValueError("driving clip: expected a person whose visible points the reference shares (found none): "
                         "use a clip that shows the same part of the body")
    mapping = fit(places, goals, aspect, weights) if robust else fit(places[counted], goals[counted], aspect)
    if robust and mapping.scale_y <= 0:
        raise ValueError("driving clip: expected an upright person (found one upside down against the reference): "
                         "turn the clip")
    keypoints = skeleton.keypoints.copy()
    keypoints[..., :2] = np.where(keypoints[..., 2:] > 0, mapping(keypoints[..., :2] / sizes[0]) * sizes[1], 0)
    return Skeleton(keypoints, reference.size, skeleton.fps)
