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
NEAR_ENOUGH = 0.02          # of the canvas, each way: so near to the picture's place is that place
NOTICED = 0.03              # of the canvas width: so far from the picture's place is worth a word
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


def linearly_aligned(skeleton: Skeleton, reference: Skeleton, *, robust: bool = True) -> Skeleton:
    """The driving clip on the reference's canvas, scaled and shifted as a whole. robust=False: exactly as published."""
    driver, target = openpose18(skeleton.keypoints), openpose18(reference.keypoints)[0]     # (F, 18, 3), (18, 3)
    reliable = [point for point in MIMICMOTION_POINTS if is_seen(target[point])]
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


def in_view(skeleton: Skeleton, reference: Skeleton, camera: str = "auto", *, in_place: bool = True) -> Skeleton:
    """The skeleton begun where the picture's person, the reference, stands, and kept on the canvas: frames around those that
    leave it are shifted, and made smaller where needed.

    Only those parts of head, trunk and legs count that the reference shows on the same canvas. An edge that cuts the person in
    the picture cuts them in the video, too: nothing leaves there, and nothing is pulled out from behind it.
    camera: with "static" the skeleton is not followed and a warning is logged; "zoom" leaves the legs outside on purpose.
    in_place: False leaves the place as projected.
    """
    if camera == "zoom":
        return skeleton
    canvas = np.array(skeleton.size[::-1], dtype=np.float64)                            # (width, height)
    inside = on_canvas(reference)
    cut = cut_sides(reference)
    if in_place:
        skeleton = begun_in_place(skeleton, reference, np.array(CORE)[inside], still=camera == "static")
    low, high = box(skeleton.keypoints[:, np.array(CORE)[inside]])                      # (F, 2) each, pixels
    low, high = np.where(cut[0], np.maximum(low, MARGIN * canvas), low), np.where(cut[1], np.minimum(high, (1 - MARGIN) * canvas), high)
    left_out = ((low < 0) | (high > canvas)).any(axis=1)                                # (F,)
    if not left_out.any():
        return skeleton
    first = float(np.argmax(left_out)) / skeleton.fps
    leaves = f"the person leaves the picture in {left_out.sum()} of {len(skeleton)} frames, first after {first:.1f} s"
    if camera == "static":
        log.warning("skeleton: %s: camera=auto keeps them in it", leaves)
        return skeleton
    zoom, centre, shift = view(low, high, MARGIN * canvas, (1 - MARGIN) * canvas, EASING * skeleton.fps)
    centre = np.where(cut[0], 0, np.where(cut[1], canvas, centre))                      # what is cut off stays at its edge
    log.warning("skeleton: %s: the view follows them, by up to %.0f pixels", leaves, np.abs(shift).max())
    return skeleton.with_xy(centre[:, None] + zoom[:, None] * (skeleton.xy - centre[:, None]) + shift[:, None])


def on_canvas(reference: Skeleton) -> np.ndarray:
    """(9,) bool: which of CORE the picture shows."""
    place = reference.xy[0, CORE]                                                       # (9, 2)
    return reference.seen[0, CORE] & ((place >= 0) & (place < reference.size[::-1])).all(axis=1)


def cut_sides(reference: Skeleton) -> np.ndarray:
    """((left, top), (right, bottom)) bool: the edges of the picture that cut its person. Missing legs are cut off below,
    a missing head above, a missing shoulder on its side of the other."""
    shown = dict(zip(CORE, on_canvas(reference)))
    place = reference.xy[0]
    cut = np.zeros((2, 2), bool)
    cut[0, 1] = not shown[NOSE] and any(shown[joint] for joint in SHOULDERS)
    cut[1, 1] = not all(shown[joint] for joint in (*HIPS, *KNEES, *ANKLES)) and any(shown[joint] for joint in SHOULDERS)
    for missing, other in (SHOULDERS, SHOULDERS[::-1]):
        if shown[other] and shown[NOSE] and not shown[missing]:
            cut[int(place[other, 0] < place[NOSE, 0]), 0] = True
    return cut


def begun_in_place(skeleton: Skeleton, reference: Skeleton, points: np.ndarray, *, still: bool) -> Skeleton:
    """The skeleton shifted so that its first frame stands where the picture's person does: sideways, and without feet in the
    picture also up or down.

    points: body points that the picture shows; most of them tell the place, as a limb may be raised. still: nothing follows the
    person, who begins elsewhere where the way would else leave the canvas and need not.
    """
    if not len(points) or not len(skeleton):
        return skeleton
    canvas = np.array(skeleton.size[::-1], dtype=np.float64)
    telling = points[skeleton.seen[0, points]]
    if not len(telling):
        return skeleton
    wanted = np.median(reference.xy[0, telling] - skeleton.xy[0, telling], axis=0).astype(np.float64)     # (2,)
    wanted[1] = 0.0 if np.isin(ANKLES, points).all() else wanted[1]
    wanted[np.abs(wanted) < NEAR_ENOUGH * canvas] = 0.0
    low, high = (side[:, 0] for side in box(skeleton.keypoints[:, points]))
    free = -low.min(), canvas[0] - high.max()                                           # shifts that keep the way on the canvas
    shift = wanted[0] if not still else float(np.clip(wanted[0], *free)) if free[0] <= free[1] else 0.0
    if abs(wanted[0] - shift) > NOTICED * canvas[0]:
        log.warning("skeleton: the person begins %.0f pixels to the %s of their place in the picture, so that the way stays in it",
                    abs(wanted[0] - shift), "right" if shift > wanted[0] else "left")
    return skeleton if not shift and not wanted[1] else skeleton.with_xy(skeleton.xy + (shift, wanted[1]))


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
