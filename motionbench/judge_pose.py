"""The judge that needs no network but the pose detector: which known motion does a 2D skeleton follow most closely?

A skeleton becomes a track of where hands and feet are and how limbs point, the same for every place, size and tempo but
not for left and right, and dynamic time warping finds the nearest of several known performances of every motion.
"""
from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from dwpose import skeleton as coco
from dwpose.skeleton import is_present, necks, Skeleton
from motionbench.judges import Verdict
from motionbench.metrics import ClipCase
from motionbench.pose import torso
from motionbench.prompts import BenchMotion
from synthetic.body import Body
from synthetic.clips import following, sample_camera
from synthetic.motions import sample_motion
from t2m.motion import Motion
from t2m.project import project, resampled

NUM_STEPS = 32                  # a clip of any length is compared at this many moments: tempo does not matter
LIMBS = (                       # start, end: where a hand or a foot is, which detectors see best
    *((limb[0], limb[-1]) for limb in (*coco.ARMS, *coco.LEGS)),
    (coco.RIGHT_SHOULDER, coco.LEFT_SHOULDER), (coco.RIGHT_HIP, coco.LEFT_HIP),
)
# by elbow or knee, which detectors leave hanging when the limb points at the camera
HALVES = tuple(half for limb in (*coco.ARMS, *coco.LEGS) for half in pairwise(limb))
BONES = LIMBS + HALVES
HALF_WEIGHT = 0.5               # of half a limb against a whole one
SPEED_WEIGHT = 0.5              # of how a limb turns against where it points, per step of the clip
RISE_WEIGHT = 1.5               # of the hips' height against a limb's direction
LONGEST_GAP = 0.4               # seconds in which a joint is overlooked and still known to have been between
MIN_SEEN_SHARE = 0.25           # of a clip's limb directions; with less there is nothing to judge
NUM_PERFORMANCES = 9            # of each motion, by other bodies, at other tempos, from other cameras
PERFORMANCE_SECONDS = (1.2, 5.0)
PERFORMANCE_YAWS = (0.0, 0.2, -0.2)             # radians the performers are turned aside
PERFORMANCE_SIZE, PERFORMANCE_FPS = (320, 192), 10.0


@dataclass(frozen=True)
class Track:
    """What is compared: values and, where they are known, 1."""

    values: np.ndarray          # (N, D)
    known: np.ndarray           # (N, D) in [0, 1]


def track(skeleton: Skeleton) -> Track:
    """Limb vectors in torsos, their turning, and the hips' rise, at NUM_STEPS moments of the clip."""
    unit = torso(skeleton)
    if np.isnan(unit):
        return Track(np.zeros((NUM_STEPS, 1)), np.zeros((NUM_STEPS, 1)))
    points = skeleton.keypoints.astype(np.float64)                                          # (F, 133, 3)
    there = skeleton.seen                                                                   # (F, 133)
    hips, neck = points[:, [coco.LEFT_HIP, coco.RIGHT_HIP]].mean(axis=1), necks(points)     # (F, 3) each
    hips_there = there[:, coco.LEFT_HIP] & there[:, coco.RIGHT_HIP]
    limbs = [points[:, end, :2] - points[:, start, :2] for start, end in BONES]
    seen = [there[:, start] & there[:, end] for start, end in BONES]
    limbs += [neck[:, :2] - hips[:, :2], points[:, coco.NOSE, :2] - neck[:, :2]]
    seen += [is_present(neck) & hips_there, is_present(neck) & there[:, coco.NOSE]]
    limbs, seen = np.stack(limbs, axis=1) / unit, np.stack(seen, axis=1)                    # (F, B, 2), (F, B)
    limbs[:, len(LIMBS):len(BONES)] *= HALF_WEIGHT
    rise = hips[:, 1] / unit
    rise = RISE_WEIGHT * (rise - (np.median(rise[hips_there]) if hips_there.any() else 0))  # (F,)
    values = np.concatenate([limbs.reshape(len(limbs), -1), rise[:, None]], axis=1)         # (F, 2 B + 1)
    known = np.concatenate([seen.repeat(2, axis=1), hips_there[:, None]], axis=1)
    values, known = at_steps(values, known, LONGEST_GAP * skeleton.fps)                     # (N, 2 B + 1)
    turning = SPEED_WEIGHT * NUM_STEPS / 8 * np.gradient(values, axis=0)
    around = np.pad(known, ((1, 1), (0, 0)), mode="edge")                                   # (N + 2, 2 B + 1)
    sure = around[:-2] * known * around[2:]
    return Track(np.concatenate([values, turning], axis=1), np.concatenate([known, sure], axis=1))


def at_steps(values: np.ndarray, known: np.ndarray, longest_gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows (F, D) at NUM_STEPS even moments, and 1 where they are known: gaps up to `longest_gap` frames are bridged."""
    moments = np.linspace(0, len(values) - 1, NUM_STEPS)
    out, sure = np.zeros((NUM_STEPS, values.shape[1])), np.zeros((NUM_STEPS, values.shape[1]))
    for column in range(values.shape[1]):
        rows = np.flatnonzero(known[:, column])
        if len(rows):
            out[:, column] = np.interp(moments, rows, values[rows, column])
            before = rows[(np.searchsorted(rows, moments, side="right") - 1).clip(0)]
            after = rows[np.searchsorted(rows, moments).clip(max=len(rows) - 1)]
            inside = (rows[0] <= moments) & (moments <= rows[-1])
            sure[:, column] = inside & (after - before <= max(1, longest_gap))
    return out, sure


@dataclass(frozen=True)
class PoseJudge:
    """Known performances of every motion, and the nearest one's label as verdict."""

    tracks: np.ndarray                  # (S, N, D) values of the performances; all of their joints are known
    owners: tuple[str, ...]             # S labels
    name: str = "pose"
    needs: tuple[str, ...] = ("seen",)
    formula: str = ("share of clips whose re-detected 2D skeleton is nearest, by dynamic time warping over the places "
                    "of hands and feet and the directions of limbs, to a known performance of the prompted motion")
    source: str = "ours; dynamic time warping with the symmetric step of Sakoe and Chiba (1978)"

    @classmethod
    def of(cls, performances: Iterable[tuple[str, Skeleton]]) -> PoseJudge:
        """From pairs of label and skeleton whose body joints are all seen."""
        owners, skeletons = zip(*performances)
        return cls(np.stack([track(skeleton).values for skeleton in skeletons]), owners)

    @classmethod
    def of_motions(cls, motions: Sequence[BenchMotion]) -> PoseJudge:
        """From procedural performances, the same on every machine; about a second."""
        return cls.of(performances(motions))

    @property
    def labels(self) -> tuple[str, ...]:
        """The motions it knows, each once."""
        return tuple(dict.fromkeys(self.owners))

    def target(self, motion: str) -> str:
        """The label that means this motion is recognised."""
        return motion

    def verdict(self, case: ClipCase) -> Verdict:
        """The motion of the nearest performance."""
        costs = self.costs(case.seen)
        if not costs:
            return Verdict("", "too little of the body is seen to tell the motion")
        nearest = sorted(costs, key=costs.get)[:2]
        return Verdict(nearest[0], ", ".join(f"{label} at {costs[label]:.3f}" for label in nearest))

    def costs(self, skeleton: Skeleton) -> dict[str, float]:
        """The distance to each label's nearest performance, the root of the mean square along the warped path; empty
        where too little of the body is seen."""
        mine = track(skeleton)
        if mine.known.mean() < MIN_SEEN_SHARE:
            return {}
        weight = mine.known / mine.known.sum(axis=1, keepdims=True).clip(1)                 # (N, D)
        square = (weight * mine.values**2).sum(axis=1)[:, None, None]                       # (N, 1, 1)
        mixed = np.einsum("nd,smd->nsm", weight * mine.values, self.tracks, optimize=True)
        theirs = np.einsum("nd,smd->nsm", weight, self.tracks**2, optimize=True)
        costs = warped_distances((square - 2 * mixed + theirs).clip(0).transpose(1, 0, 2)) ** 0.5       # (S,)
        return {label: float(min(cost for cost, owner in zip(costs, self.owners) if owner == label))
                for label in self.labels}


def warped_distances(costs: np.ndarray) -> np.ndarray:
    """The cheapest monotone path from corner to corner through each matrix, a diagonal step counting twice.

    costs: (S, N, M) -> (S,), divided by N + M: the mean cost along the path.
    """
    num, rows, columns = costs.shape
    total = np.full((num, rows + 1, columns + 1), np.inf)
    total[:, 0, 0] = 0
    for diagonal in range(2, rows + columns + 1):                                           # cells with i + j = diagonal
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        j = diagonal - i
        here = costs[:, i - 1, j - 1]                                                       # (S, cells)
        straight = np.minimum(total[:, i - 1, j], total[:, i, j - 1]) + here
        total[:, i, j] = np.minimum(straight, total[:, i - 1, j - 1] + 2 * here)
    return total[:, rows, columns] / (rows + columns)


def performances(motions: Sequence[BenchMotion], number: int = NUM_PERFORMANCES) -> list[tuple[str, Skeleton]]:
    """Each motion done `number` times by bodies of other builds, in other tempos, seen by other cameras."""
    found = []
    for motion in motions:
        for index in range(number):
            rng = np.random.default_rng([index, zlib.crc32(motion.name.encode())])
            seconds = rng.uniform(*PERFORMANCE_SECONDS)
            sample = sample_motion(motion.kind, seconds, rng, side=motion.side, body=Body.sample(rng))
            moved = Motion(resampled(sample.motion, PERFORMANCE_FPS), PERFORMANCE_FPS)
            camera = replace(sample_camera(rng), yaw=PERFORMANCE_YAWS[index % len(PERFORMANCE_YAWS)])
            camera = following(camera, moved) if motion.travels else camera
            found.append((motion.name, project(moved, PERFORMANCE_SIZE, PERFORMANCE_FPS, camera)))
    return found
