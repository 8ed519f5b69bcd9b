"""How well the poses of a video are the wanted ones.

`found` is re-detected in the video, `truth` is the true or the commanded skeleton: the same frames on the same canvas.
Lengths are in torsos, where they must not depend on the person's size: the commanded left shoulder to right hip, median
over the clip.
"""
from __future__ import annotations

from itertools import pairwise

import numpy as np

from dwpose import skeleton as coco
from dwpose.skeleton import BODY, Skeleton
from t2m.evaluation import mean_jerk

SHARE_OF_HEIGHT = 0.05
SHARE_OF_TORSO = 0.1
OKS_SIGMAS = np.array([0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107,
                       0.087, 0.087, 0.089, 0.089])     # COCO's, of the 17 body points, in square roots of the area
AREA_OF_BOX = 0.53              # a person's area per area of the box round their keypoints (a custom of pose tracking)
STANDING_SPEED = 0.25           # torsos per second: a commanded foot slower than this stands
NUM_DIRECTIONS = 8              # of a histogram of movements
TRUNK = (coco.LEFT_SHOULDER, coco.RIGHT_SHOULDER, coco.LEFT_HIP, coco.RIGHT_HIP, coco.NOSE)
BONES = (*(half for limb in (*coco.ARMS, *coco.LEGS) for half in pairwise(limb)),
         (coco.LEFT_SHOULDER, coco.RIGHT_SHOULDER), (coco.LEFT_SHOULDER, coco.LEFT_HIP), (coco.RIGHT_SHOULDER, coco.RIGHT_HIP))
HAND_SHARE = 0.5                # of a hand's 21 points that must be seen for the hand to be there


def seen(skeleton: Skeleton) -> np.ndarray:
    """(F, 133) bool: points confident enough, and inside the canvas."""
    height, width = skeleton.size
    x, y = skeleton.xy[..., 0], skeleton.xy[..., 1]
    return skeleton.seen & (x >= 0) & (x < width) & (y >= 0) & (y < height)


def person_height(skeleton: Skeleton) -> float:
    """Pixels from the highest to the lowest seen point, in the frame where the person is tallest."""
    y, visible = skeleton.xy[..., 1], seen(skeleton)                                        # (F, 133) each
    if not visible.any():
        raise ValueError("skeleton: expected at least one seen point to measure a height (found none)")
    spans = np.where(visible, y, -np.inf).max(axis=1) - np.where(visible, y, np.inf).min(axis=1)    # (F,)
    return float(spans.max())


def torso(skeleton: Skeleton) -> float:
    """Pixels from shoulder to opposite hip, the median over frames of the longer diagonal; NaN if never seen."""
    visible = skeleton.seen                                                                 # (F, 133)
    diagonals = []
    for shoulder, hip in ((coco.LEFT_SHOULDER, coco.RIGHT_HIP), (coco.RIGHT_SHOULDER, coco.LEFT_HIP)):
        length = np.linalg.norm(skeleton.xy[:, shoulder] - skeleton.xy[:, hip], axis=-1)    # (F,)
        diagonals.append(np.where(visible[:, shoulder] & visible[:, hip], length, 0))
    longer = np.max(diagonals, axis=0)                                                      # (F,)
    return float(np.median(longer[longer > 0])) if (longer > 0).any() else float("nan")


def pck(found: Skeleton, truth: Skeleton, joints: slice = BODY, share_of_height: float = SHARE_OF_HEIGHT) -> float:
    """Share of the truly seen `joints` that were found within a share of the person's height; NaN if none is seen.

    A point found with less than 0.3 confidence counts as missed. The height is that of the true person.
    """
    check_pair(found, truth)
    if not seen(truth)[:, joints].any():
        return float("nan")
    return share_within(found, truth, joints, share_of_height * person_height(truth))


def pck_torso(found: Skeleton, truth: Skeleton, joints: slice = BODY) -> float:
    """Share of the wanted points in view that were found within 0.1 torsos; one not found counts as missed.

    NaN if no such point or no torso is seen.
    """
    check_pair(found, truth)
    return share_within(found, truth, joints, SHARE_OF_TORSO * torso(truth))


def share_within(found: Skeleton, truth: Skeleton, joints: slice, pixels: float) -> float:
    """Share of the truly seen `joints` that were found, and found so near; NaN if none is seen."""
    wanted = seen(truth)[:, joints]                                                         # (F, J)
    if not wanted.any() or np.isnan(pixels):
        return float("nan")
    distance = np.linalg.norm(found.xy[:, joints] - truth.xy[:, joints], axis=-1)           # (F, J) pixels
    hit = (distance <= pixels) & found.seen[:, joints]
    return float(hit[wanted].mean())


def oks(found: Skeleton, truth: Skeleton) -> float:
    """Object keypoint similarity of COCO in [0, 1]: mean over truly seen body points of exp(-d² / (2 area (2 sigma)²)).

    A point not found counts 0. The area is 0.53 of the box round the commanded keypoints, per frame.
    """
    check_pair(found, truth)
    wanted = seen(truth)[:, BODY]                                                           # (F, 17)
    xy = truth.xy[:, BODY].astype(np.float64)                                               # (F, 17, 2)
    usable = wanted.sum(axis=1) >= 2
    if not usable.any():
        return float("nan")
    inside = wanted[..., None]
    sides = np.where(inside, xy, -np.inf).max(axis=1) - np.where(inside, xy, np.inf).min(axis=1)    # (F, 2)
    area = AREA_OF_BOX * np.where(usable, sides.prod(axis=1), 1).clip(1)                    # (F,) pixels²
    square = ((found.xy[:, BODY] - xy) ** 2).sum(axis=-1)                                   # (F, 17)
    likeness = np.exp(-square / (2 * area[:, None] * (2 * OKS_SIGMAS) ** 2))
    likeness *= found.seen[:, BODY]
    return float(likeness[wanted & usable[:, None]].mean())


def mean_error(found: Skeleton, truth: Skeleton) -> float:
    """Mean distance of the points that are both commanded and found, torsos; NaN if there is none."""
    return float(mean_distance(found, truth) / torso(truth))


def pixel_error(found: Skeleton, truth: Skeleton) -> float:
    """Mean distance of the points that are both in the true video and found, as a share of the picture's height, percent.

    NaN if there is none. Unlike the pose error it also counts where the person stands and how large they are.
    """
    return float(100 * mean_distance(found, truth) / truth.size[0])


def mean_distance(found: Skeleton, truth: Skeleton) -> np.floating | float:
    """Mean distance of the body points that are both in `truth` and found, pixels; NaN if there is none."""
    check_pair(found, truth)
    both = (seen(truth) & found.seen)[:, BODY]                                              # (F, 17)
    distance = np.linalg.norm(found.xy[:, BODY] - truth.xy[:, BODY], axis=-1)
    return distance[both].mean() if both.any() else float("nan")


def bone_change(found: Skeleton) -> float:
    """Spread of the found lengths of arms', legs' and trunk's bones over the clip, per longest length; mean over bones.

    Bones turn towards the camera in true videos, too: read it beside the figure of the true videos.
    """
    changes = []
    for start, end in BONES:
        both = found.seen[:, [start, end]].all(axis=1)
        lengths = np.linalg.norm(found.xy[both, end] - found.xy[both, start], axis=-1)
        if len(lengths) > 1 and lengths.max() > 0:
            changes.append(lengths.std() / lengths.max())
    return float(np.mean(changes)) if changes else float("nan")


def dynamic_degree(found: Skeleton) -> float:
    """Mean speed of the found body points, torsos/s: how much moves, wanted or not; NaN if none is seen twice in a row."""
    shown = found.seen[:, BODY]
    steps = np.linalg.norm(np.diff(found.xy[:, BODY].astype(np.float64), axis=0), axis=-1)  # (F - 1, 17)
    counted = shown[1:] & shown[:-1]
    return float(steps[counted].mean() * found.fps / torso(found)) if counted.any() else float("nan")


def range_of_motion(found: Skeleton, truth: Skeleton) -> float:
    """How far the found limbs' ends go about their roots, as a share of how far the true ones go; 1 is the same range.

    Measured by the standard deviation over the clip, limbs together; NaN where the truth is still or not seen.
    """
    check_pair(found, truth)
    totals = []
    for skeleton in (found, truth):
        total = 0.0
        for limb in (*coco.ARMS, *coco.LEGS):
            both = (found.seen & truth.seen)[:, [limb[0], limb[-1]]].all(axis=1)
            away = (skeleton.xy[both, limb[-1]] - skeleton.xy[both, limb[0]]).astype(np.float64)
            total += away.var(axis=0).sum() if len(away) > 1 else 0.0
        totals.append(np.sqrt(total) / torso(skeleton))
    return float(totals[0] / totals[1]) if totals[1] > 0 else float("nan")


def movement_histogram(skeleton: Skeleton, order: int) -> np.ndarray:
    """Differences of `order` in time of the body's points by part and direction, each counting its size, (1, D).

    In torsos and seconds; log(1 + x), so that one wild clip is not the whole distance. Parts: each arm, each leg, the trunk.
    All zeros, as of a still person, where nobody or no torso is seen.
    """
    unit, rows = torso(skeleton), []
    unit = np.inf if np.isnan(unit) else unit
    shown = skeleton.seen
    whole = shown[order:]
    for back in range(order):
        whole = whole & shown[back:len(shown) - order + back]
    moves = np.diff(skeleton.xy.astype(np.float64), n=order, axis=0) * skeleton.fps**order / unit   # (F - order, 133, 2)
    for part in (*coco.ARMS, *coco.LEGS, TRUNK):
        counted = whole[:, list(part)]
        vectors = moves[:, list(part)][counted]                                             # (N, 2)
        direction = np.floor((np.arctan2(vectors[:, 1], vectors[:, 0]) / (2 * np.pi) % 1) * NUM_DIRECTIONS).astype(int)
        size = np.linalg.norm(vectors, axis=-1)
        sums = np.bincount(direction.clip(0, NUM_DIRECTIONS - 1), weights=size, minlength=NUM_DIRECTIONS)
        rows.append(np.log1p(sums / max(len(vectors), 1)))
    return np.concatenate(rows)[None]


def jitter(found: Skeleton) -> float:
    """Mean |third difference| of the body points, torsos per s³, over runs of four frames that see them; NaN if none.

    True motion has jerk, too: read it beside the figure of the true videos.
    """
    return mean_jerk(found.xy[:, BODY].astype(np.float64), found.fps, seen(found)[:, BODY]) / torso(found)


def foot_slide(found: Skeleton, truth: Skeleton) -> float:
    """Mean speed of the found ankles beyond the commanded one, while the commanded one stands, torsos/s; NaN if never.

    It stands where it moves slower than 0.25 torsos/s on the canvas, so a camera that follows makes no slide.
    """
    check_pair(found, truth)
    unit = torso(truth)
    if len(truth) < 2 or np.isnan(unit):
        return float("nan")
    step = np.diff(truth.xy[:, coco.ANKLES].astype(np.float64), axis=0)                     # (F - 1, 2, 2) pixels
    slide = np.linalg.norm(np.diff(found.xy[:, coco.ANKLES], axis=0) - step, axis=-1)       # (F - 1, 2)
    known = (seen(found) & seen(truth))[:, coco.ANKLES]
    standing = np.linalg.norm(step, axis=-1) * truth.fps / unit < STANDING_SPEED
    counted = standing & known[1:] & known[:-1]
    return float(slide[counted].mean() * truth.fps / unit) if counted.any() else float("nan")


def hand_presence(found: Skeleton, truth: Skeleton) -> float:
    """Share of the commanded wrists in view at which a hand was found: half of its 21 points. NaN if no wrist is."""
    check_pair(found, truth)
    wanted, points = seen(truth), seen(found)
    hands = ((coco.LEFT_WRIST, coco.LEFT_HAND), (coco.RIGHT_WRIST, coco.RIGHT_HAND))
    there = [points[:, hand].mean(axis=1)[wanted[:, wrist]] >= HAND_SHARE for wrist, hand in hands]
    there = np.concatenate(there)
    return float(there.mean()) if len(there) else float("nan")


def check_pair(found: Skeleton, truth: Skeleton) -> None:
    """Refuse skeletons of different frames or canvases."""
    if found.keypoints.shape != truth.keypoints.shape or found.size != truth.size:
        raise ValueError(f"skeletons to compare: expected the same frames and canvas (found {found.keypoints.shape} "
                         f"on {found.size} and {truth.keypoints.shape} on {truth.size})")
