"""Bone lengths of a person over a clip, and how much longer or shorter another person's are.

Functions take any number of leading axes, so that thousands of clips can be measured at once.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dwpose.skeleton import (ANKLES, BODY, FACE, HIPS, is_seen, KNEES, LEFT_ANKLE, LEFT_BIG_TOE, LEFT_EAR, LEFT_ELBOW,
                             LEFT_EYE, LEFT_HAND, LEFT_HEEL, LEFT_HIP, LEFT_KNEE, LEFT_SHOULDER, LEFT_WRIST, NOSE,
                             NUM_KEYPOINTS, RIGHT_ANKLE, RIGHT_BIG_TOE, RIGHT_EAR, RIGHT_ELBOW, RIGHT_EYE, RIGHT_HAND,
                             RIGHT_HEEL, RIGHT_HIP, RIGHT_KNEE, RIGHT_SHOULDER, RIGHT_WRIST, SHOULDERS)

NECK_POINT, PELVIS_POINT = NUM_KEYPOINTS, NUM_KEYPOINTS + 1         # mid-shoulders and mid-hips, appended
MIDDLES = ((NECK_POINT, *SHOULDERS), (PELVIS_POINT, *HIPS))
CHIN, NOSE_BRIDGE = FACE.start + 8, FACE.start + 27
FULL_LENGTH_QUANTILE = 0.95         # of a bone's lengths over the clip: it lay in the image plane then
SHORT_OF_MIRROR = 0.7               # below this share of the other side's length a bone must be foreshortened
SHORT_OF_ADULT = 0.5                # and below this share of an adult's proportions
FACTOR_RANGE = 3.0                  # a bone's factor and the body's differ at most this many times
CLUSTER_RANGE = 1.6                 # a hand's factor and its forearm's differ at most this many times
ALIKE_LEG = 0.35                    # of its length: a leg bone differs at most so much where two people stand alike
ALIKE_SHARE = 0.1                   # of the frames with such legs: those most alike in all bones


@dataclass(frozen=True)
class Bone:
    """A child hangs on its parent; `metres` is an adult's length, `mirror` the child on the other side of the body."""

    parent: int
    child: int
    mirror: int
    metres: float


BONES = (                           # from the neck outward: every parent is placed before its children
    Bone(NECK_POINT, LEFT_SHOULDER, RIGHT_SHOULDER, 0.17), Bone(NECK_POINT, RIGHT_SHOULDER, LEFT_SHOULDER, 0.17),
    Bone(LEFT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW, 0.27), Bone(RIGHT_SHOULDER, RIGHT_ELBOW, LEFT_ELBOW, 0.27),
    Bone(LEFT_ELBOW, LEFT_WRIST, RIGHT_WRIST, 0.25), Bone(RIGHT_ELBOW, RIGHT_WRIST, LEFT_WRIST, 0.25),
    Bone(NECK_POINT, PELVIS_POINT, PELVIS_POINT, 0.50),
    Bone(PELVIS_POINT, LEFT_HIP, RIGHT_HIP, 0.11), Bone(PELVIS_POINT, RIGHT_HIP, LEFT_HIP, 0.11),
    Bone(LEFT_HIP, LEFT_KNEE, RIGHT_KNEE, 0.39), Bone(RIGHT_HIP, RIGHT_KNEE, LEFT_KNEE, 0.39),
    Bone(LEFT_KNEE, LEFT_ANKLE, RIGHT_ANKLE, 0.41), Bone(RIGHT_KNEE, RIGHT_ANKLE, LEFT_ANKLE, 0.41),
    Bone(NECK_POINT, NOSE, NOSE, 0.22),
)
PARENTS, CHILDREN = [bone.parent for bone in BONES], [bone.child for bone in BONES]
MIRRORS = [CHILDREN.index(bone.mirror) for bone in BONES]           # row of the bone on the other side
METRES = np.array([bone.metres for bone in BONES])
LEG_ROWS = [CHILDREN.index(joint) for joint in (*KNEES, *ANKLES)]


@dataclass(frozen=True)
class Cluster:
    """Points that move and grow with the last joint that is seen; the lengths of `spans`, pairs of points, are their size."""

    joints: tuple[int, ...]
    points: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


def _hand(joint: int, hand: slice) -> Cluster:
    wrist, index, middle, little = (hand.start + number for number in (0, 5, 9, 17))      # knuckles
    return Cluster((joint,), tuple(range(hand.start, hand.stop)), ((wrist, index), (wrist, middle), (wrist, little)))


CLUSTERS = (                        # mirrored clusters share one size; seen from behind, ears hang on the neck
    (Cluster((NECK_POINT, NOSE), (LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR, *range(FACE.start, FACE.stop)),
             ((CHIN, NOSE_BRIDGE), (LEFT_EYE, RIGHT_EYE), (LEFT_EAR, RIGHT_EAR))),),
    (_hand(LEFT_WRIST, LEFT_HAND), _hand(RIGHT_WRIST, RIGHT_HAND)),
    (Cluster((LEFT_ANKLE,), tuple(range(LEFT_BIG_TOE, LEFT_HEEL + 1)), ((LEFT_HEEL, LEFT_BIG_TOE),)),
     Cluster((RIGHT_ANKLE,), tuple(range(RIGHT_BIG_TOE, RIGHT_HEEL + 1)), ((RIGHT_HEEL, RIGHT_BIG_TOE),))),
)


def with_middles(keypoints: np.ndarray) -> np.ndarray:
    """(..., 133, 3) to (..., 135, 3) float64 with neck and pelvis, as confident as the weaker of their two joints."""
    points = np.concatenate([keypoints, np.zeros_like(keypoints[..., :len(MIDDLES), :])], axis=-2).astype(np.float64)
    for middle, left, right in MIDDLES:
        points[..., middle, :2] = (points[..., left, :2] + points[..., right, :2]) / 2
        points[..., middle, 2] = np.minimum(points[..., left, 2], points[..., right, 2])
    return points


def distances(points: np.ndarray, starts: list[int], ends: list[int]) -> np.ndarray:
    """Lengths (..., N) in pixels between points (..., P, 3); 0 where an end is unseen."""
    span = np.linalg.norm(points[..., ends, :2] - points[..., starts, :2], axis=-1)
    seen = is_seen(points)                                                              # (..., P)
    return np.where(seen[..., starts] & seen[..., ends], span, 0)


def seen_quantile(values: np.ndarray, seen: np.ndarray, quantile: float) -> np.ndarray:
    """(..., F, N) to (..., N): a quantile over the frames where `seen`, always one of the values; 0 where none is."""
    num_frames = values.shape[-2]
    ordered, count = np.sort(np.where(seen, values, -np.inf), axis=-2), seen.sum(axis=-2)           # unseen first
    rank = num_frames - count + np.ceil(quantile * np.maximum(count - 1, 0)).astype(int)
    chosen = np.take_along_axis(ordered, np.minimum(rank, num_frames - 1)[..., None, :], axis=-2)[..., 0, :]
    return np.where(count > 0, chosen, 0)


def full_lengths(lengths: np.ndarray) -> np.ndarray:
    """Lengths (..., F, N) over a clip to the ones (..., N) in the image plane; 0 was unseen and stays 0."""
    return seen_quantile(lengths, lengths > 0, FULL_LENGTH_QUANTILE)


def unshortened(lengths: np.ndarray) -> np.ndarray:
    """Full bone lengths (..., 14), corrected for bones that point at the camera throughout; 0 stays 0.

    A bone far shorter than its mirror takes the mirror's length; one far below adult proportions takes those.
    """
    mirrored = lengths[..., MIRRORS]
    lengths = np.where((lengths > 0) & (lengths < SHORT_OF_MIRROR * mirrored), mirrored, lengths)
    adult = pixels_per_metre(lengths)[..., None] * METRES
    return np.where((lengths > 0) & (lengths < SHORT_OF_ADULT * adult), adult, lengths)


def pixels_per_metre(lengths: np.ndarray) -> np.ndarray:
    """Scale (...) of a body with full bone lengths (..., 14) if it is an adult's; 0 where no bone is seen."""
    return seen_quantile((lengths / METRES)[..., None], lengths[..., None] > 0, 0.6)[..., 0]


def likeness(points: np.ndarray, target: np.ndarray, lengths: np.ndarray, target_lengths: np.ndarray) -> np.ndarray:
    """Frames (..., F) of `points` (..., F, 135, 3) in which the person stands as in `target` (..., 1, 135, 3).

    Only there can bones be compared: elsewhere a raised arm lifts its shoulder, a leg kicked at the camera looks longer.
    Bones are compared by direction and by share of their full lengths (..., 14), so proportions do not matter. Frames
    qualify where all leg bones are nearly alike; of these the nearest tenth is chosen, or none if there are none.
    """
    (mine, seen), (other, target_seen) = postures(points, lengths), postures(target, target_lengths)
    common = seen & target_seen                                                         # (..., F, 14)
    apart = np.where(common, np.linalg.norm(mine - other, axis=-1), 0)                  # (..., F, 14) shares of a bone
    count = common.sum(axis=-1)                                                         # (..., F)
    usable = (count > 0) & (2 * count >= count.max(axis=-1, keepdims=True, initial=0))
    usable &= (apart[..., LEG_ROWS] <= ALIKE_LEG).all(axis=-1)
    mean = apart.sum(axis=-1) / np.maximum(count, 1)
    return usable & (mean <= seen_quantile(mean[..., None], usable[..., None], ALIKE_SHARE))


def postures(points: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every bone over its full length (..., 14): (..., F, 14, 2), about 1 long at most; and where it is seen (..., F, 14)."""
    bones = points[..., CHILDREN, :2] - points[..., PARENTS, :2]
    seen = distances(points, PARENTS, CHILDREN) > 0
    return bones / np.where(lengths > 0, lengths, 1)[..., None, :, None], seen


def middle_factor(driver: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Median of reference / driver lengths (..., N) to (...,), over the lengths both have; 0 where there is none."""
    both = (driver > 0) & (reference > 0)
    ratio = np.where(both, reference / np.where(both, driver, 1), 0)
    return seen_quantile(ratio[..., None], both[..., None], 0.5)[..., 0]


def bone_factors(driver: np.ndarray, reference: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """How much each bone (..., 14) grows; one unseen in either grows as its mirror does, else as the body, `scale`."""
    both = (driver > 0) & (reference > 0)
    factors = np.where(both, reference / np.where(both, driver, 1), 0)
    factors = np.where(factors > 0, factors, factors[..., MIRRORS])
    scale = scale[..., None]
    return np.where(factors > 0, np.clip(factors, scale / FACTOR_RANGE, scale * FACTOR_RANGE), scale)


def cluster_factor(clusters: tuple[Cluster, ...], points: np.ndarray, target: np.ndarray,
                   factors: np.ndarray) -> np.ndarray:
    """How much the head, the hands or the feet grow (...): by their own size, within reach of the bones they end."""
    bones = factors[..., [CHILDREN.index(cluster.joints[-1]) for cluster in clusters]].mean(axis=-1)
    sizes = []
    for body in (points, target):
        spans = [full_lengths(distances(body, *map(list, zip(*cluster.spans)))) for cluster in clusters]
        sizes.append(np.max(spans, axis=0))                                             # (..., spans)
    own = middle_factor(*sizes)
    return np.where(own > 0, np.clip(own, bones / CLUSTER_RANGE, bones * CLUSTER_RANGE), bones)


def trunk_position(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per frame the neck, or the middle of the seen body (..., F, 2), and whether any of it is seen (..., F, 1)."""
    seen = is_seen(points)[..., BODY, None]                                             # (..., F, 17, 1)
    middle = (points[..., BODY, :2] * seen).sum(axis=-2) / np.maximum(seen.sum(axis=-2), 1)
    neck_seen = is_seen(points[..., NECK_POINT, :])                                     # (..., F)
    return np.where(neck_seen[..., None], points[..., NECK_POINT, :2], middle), seen.any(axis=-2)


def lowest_ankle(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per frame the y of the lowest seen ankle (..., F) and whether one is seen (..., F)."""
    seen = is_seen(points[..., ANKLES, :])                                              # (..., F, 2)
    return np.where(seen, points[..., ANKLES, 1], -np.inf).max(axis=-1, initial=-1e9), seen.any(axis=-1)
