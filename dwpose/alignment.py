"""Places a whole movement on the canvas: MimicMotion's alignment of clip and picture, and a view that follows the person."""
from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from dwpose.skeleton import ANKLES, HIPS, is_seen, KNEES, NOSE, openpose18, SHOULDERS, Skeleton

log = logging.getLogger(__name__)

# OpenPose points that tell size and place: arms move too much.
MIMICMOTION_POINTS = (0, 1, 2, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17)
MIN_POINTS = 2              # reliable points at different heights
CORE = [NOSE, *SHOULDERS, *HIPS, *KNEES, *ANKLES]
MARGIN = 0.05               # of the canvas, each way, that stays free beside the core of the body
EASING = 0.4                # seconds, standard deviation with which the view starts and stops moving


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


def linearly_aligned(skeleton: Skeleton, reference: Skeleton, *, points: tuple[int, ...] = MIMICMOTION_POINTS,
                     robust: bool = True) -> Skeleton:
    """The driving clip on the reference's canvas, scaled and shifted as a whole. robust=False: exactly as published."""
    driver, target = openpose18(skeleton.keypoints), openpose18(reference.keypoints)[0]     # (F, 18, 3), (18, 3)
    reliable = [point for point in points if is_seen(target[point])]
    if len(reliable) < MIN_POINTS:
        raise ValueError(f"reference: expected at least {MIN_POINTS} of the body points used for alignment "
                         f"(found {len(reliable)}): use a picture that shows head, shoulders and hips")
    sizes = [np.array(person.size[::-1], np.float64) for person in (skeleton, reference)]   # (width, height)
    aspect = (sizes[0][1] / sizes[0][0]) / (sizes[1][1] / sizes[1][0])
    places = driver[:, reliable, :2].astype(np.float64) / sizes[0]                          # (F, N, 2)
    goals = np.broadcast_to(target[reliable, :2].astype(np.float64) / sizes[1], places.shape)
    weights = driver[:, reliable, 2] * is_seen(driver[:, reliable]) if robust else None     # (F, N)
    counted = weights > 0 if robust else places.any(axis=-1)                                # (F, N); nothing lies at (0, 0)
    if (counted.sum(axis=1) < MIN_POINTS).all():
        raise ValueError("driving clip: expected a person whose visible points the reference shares (found none): "
                         "use a clip that shows the same part of the body")
    mapping = fit(places, goals, aspect, weights) if robust else fit(places[counted], goals[counted], aspect)
    if robust and mapping.scale_y <= 0:
        raise ValueError("driving clip: expected an upright person (found one upside down against the reference): "
                         "turn the clip")
    return skeleton.with_xy(mapping(skeleton.xy / sizes[0]) * sizes[1], reference.size)


def in_view(skeleton: Skeleton, reference: Skeleton, camera: str = "auto") -> Skeleton:
    """The skeleton kept on the canvas: frames around those that leave it are shifted, and made smaller where needed.

    Only those parts of head, trunk and legs count that the reference, the picture's person, shows on the same canvas.
    camera: with "static" the skeleton stays and a warning is logged; "zoom" leaves the legs outside on purpose.
    """
    canvas = np.array(skeleton.size[::-1], dtype=np.float64)                            # (width, height)
    place = reference.xy[0, CORE]                                                       # (9, 2)
    inside = reference.seen[0, CORE] & ((place >= 0) & (place < canvas)).all(axis=1)
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
    return skeleton.with_xy(centre[:, None] + zoom[:, None] * (skeleton.xy - centre[:, None]) + shift[:, None])


def box(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest x, y of the seen points (F, K, 3): (F, 2) each. Frames without any take those of all frames."""
    xy = np.where(is_seen(points)[..., None], points[..., :2].astype(np.float64), np.nan)
    known = np.isfinite(xy).any(axis=(1, 2))                                            # (F,)
    if not known.any():
        return np.zeros((len(xy), 2)), np.zeros((len(xy), 2))
    xy[~known] = np.nanmedian(xy[known], axis=(0, 1))
    return np.nanmin(xy, axis=1), np.nanmax(xy, axis=1)


def view(low: np.ndarray, high: np.ndarray, least: np.ndarray, most: np.ndarray,
         easing: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Zoom (F, 1) about a centre (F, 2), then shift (F, 2) in pixels, that keep boxes between `least` and `most`.

    low, high: (F, 2) corners of the boxes; least, most: (2,) pixels; easing: frames.
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
