"""The judge that needs no network but the pose detector: which motion does a 2D skeleton show, and does it move so?

A skeleton becomes a track of where hands and feet are and how limbs point, the same for every place, size and tempo but
not for left and right. Dynamic time warping finds the nearest known performance: of the benchmark's motions, of their
opposite sides, or of other motions that people do. Then the track must move, and in this order: see `PoseJudge.verdict`.
"""
from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy.ndimage import gaussian_filter1d

from dwpose import skeleton as coco
from dwpose.skeleton import is_present, necks, Skeleton
from motionbench.judges import Verdict
from motionbench.metrics import ClipCase
from motionbench.pose import torso
from motionbench.cells import BenchMotion
from synthetic.body import Body
from synthetic.clips import following, sample_camera
from synthetic.gaits import GAITS
from synthetic.motions import KINDS, sample_motion, sides_of
from t2m.motion import Motion
from t2m.project import project, resampled

NUM_STEPS = 32                  # a clip of any length is compared at this many moments: tempo does not matter
SMOOTH_SECONDS = 0.12           # of the Gaussian that takes a detector's noise out of a track
LIMBS = (                       # start, end: where a hand or a foot is, which detectors see best
    *((limb[0], limb[-1]) for limb in (*coco.ARMS, *coco.LEGS)),
    (coco.RIGHT_SHOULDER, coco.LEFT_SHOULDER), (coco.RIGHT_HIP, coco.LEFT_HIP),
)
# by elbow or knee, which detectors leave hanging when the limb points at the camera
HALVES = tuple(half for limb in (*coco.ARMS, *coco.LEGS) for half in pairwise(limb))
BONES = LIMBS + HALVES
TRUNK = (coco.LEFT_SHOULDER, coco.RIGHT_SHOULDER, coco.LEFT_HIP, coco.RIGHT_HIP)
HALF_WEIGHT = 0.5               # of half a limb against a whole one
SPEED_WEIGHT = 0.5              # of how a limb turns against where it points, per step of the clip
RISE_WEIGHT = 1.5               # of the hips' height against a limb's direction
TRAVEL, TRAVEL_WEIGHT = 0.5, 1.5                # torsos of sideways travel in a clip beyond which more says no more
GROWTH, GROWTH_WEIGHT = 0.15, 4.0               # the same of coming nearer: change of the logarithm of the size
LONGEST_GAP = 0.4               # seconds in which a joint is overlooked and still known to have been between
MIN_SEEN_SHARE = 0.25           # of a clip's limb directions; with less there is nothing to judge
OWN_PERFORMANCES, OTHER_PERFORMANCES = 18, 10   # of each of the benchmark's motions, and of each other one
PERFORMANCE_SECONDS = (1.2, 5.0)
PERFORMANCE_YAWS = (0.0, 0.2, -0.2, 0.55, -0.55, 1.0, -1.0)     # radians the performers are turned aside, in turns
VIEWS = 3                       # of these for each performance, the last one with smaller movements
SMALLER = 0.75                  # share of a movement that still counts as the whole
PERFORMANCE_SIZE, PERFORMANCE_FPS = (320, 192), 10.0
SHORTLIST = 60                 # performances that are compared exactly; a lower bound of the distance chooses them

PLACES = 2 * (len(BONES) + 2) + 1               # columns of a track that say where limbs and hips are
# Set on people of other seeds than any that is measured (benchmarks/motion_score.py measures):
TIE = 1.1                      # the prompted motion may be farther than the nearest by this
NONE_DISTANCE = 0.11            # beyond it, it is none of the known motions
SPEED_SMOOTHING = 1.5           # steps
MOST_LAG = 2                    # steps that a video may be early or late
REFERENCE_AGREEMENT, REFERENCE_ENERGY = 0.1, (0.4, 4.5)         # least correlation; energies
GIVEN_AGREEMENT, GIVEN_ENERGY = 0.4, (0.5, 4.5)
NUM_ORDERS, MOST_AS_GOOD = 39, 1                # random orders of the frames, and how many may show the motion as well
STEPS_WEIGHT = 0.2              # of squared steps from frame to frame against the distance to a performance
BEGINNING, BACK_WIDTH = 0.2, 0.15               # share of a clip; torsos between the shoulders of a back
NONE, OTHERWISE = "none of these", "moves otherwise"


@dataclass(frozen=True)
class Track:
    """What is compared: values and, where they are known, 1."""

    values: np.ndarray          # (N, D): places, then their speeds
    known: np.ndarray           # (N, D) in [0, 1]


def track(skeleton: Skeleton) -> Track:
    """Limb vectors in torsos, the hips' rise, where the person travels, and how fast all of it changes."""
    unit = torso(skeleton)
    if np.isnan(unit):
        return Track(np.zeros((NUM_STEPS, 1)), np.zeros((NUM_STEPS, 1)))
    values, known = at_steps(*places(skeleton, unit), skeleton.fps)                         # (N, PLACES) each
    speed = SPEED_WEIGHT * NUM_STEPS / 8 * np.gradient(values, axis=0)
    around = np.pad(known, ((1, 1), (0, 0)), mode="edge")                                   # (N + 2, PLACES)
    sure = around[:-2] * known * around[2:]
    travels, told = travel(skeleton, unit)                                                  # (2,) each
    rows = np.ones((NUM_STEPS, 1))
    return Track(np.concatenate([values, rows * travels, speed], axis=1),
                 np.concatenate([known, rows * told, sure], axis=1))


def places(skeleton: Skeleton, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Limb vectors and the hips' rise of every frame, (F, PLACES), and where they are seen. unit: the torso in pixels."""
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
    return (np.concatenate([limbs.reshape(len(limbs), -1), rise[:, None]], axis=1),
            np.concatenate([seen.repeat(2, axis=1), hips_there[:, None]], axis=1))


def travel(skeleton: Skeleton, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """How far the person goes sideways and comes nearer from first to last frame, weighted, and whether it is known.

    unit: the torso in pixels. Both are lines fitted to all frames, so that a detector's noise hardly moves them.
    """
    path, whole = travelled(skeleton, unit)
    rows = np.flatnonzero(whole)                                                            # frames
    if len(rows) < 4 or np.ptp(rows) < len(skeleton) / 2:
        return np.zeros(2), np.zeros(2)
    sideways, nearer = np.polyfit(rows / (len(skeleton) - 1), path[rows], 1)[0]
    return np.array([TRAVEL_WEIGHT * TRAVEL * np.tanh(sideways / TRAVEL),
                     GROWTH_WEIGHT * GROWTH * np.tanh(nearer / GROWTH)]), np.ones(2)


def travelled(skeleton: Skeleton, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the trunk is sideways in torsos and the logarithm of its size in pixels, (F, 2), and where it is seen, (F,)."""
    trunk = skeleton.xy[:, TRUNK].astype(np.float64)                                        # (F, 4, 2)
    centre = trunk.mean(axis=1)
    size = np.sqrt(((trunk - centre[:, None]) ** 2).sum(axis=(1, 2)))                       # (F,)
    return np.stack([centre[:, 0] / unit, np.log(size.clip(1e-3))], axis=-1), skeleton.seen[:, TRUNK].all(axis=1)


def at_steps(values: np.ndarray, known: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows (F, D) smoothed and at NUM_STEPS even moments, and 1 where they are known: short gaps are bridged."""
    moments, sure = np.linspace(0, len(values) - 1, NUM_STEPS), np.ones((NUM_STEPS, values.shape[1]))
    for column in np.flatnonzero(~known.all(axis=0)):
        rows = np.flatnonzero(known[:, column])
        sure[:, column] = 0
        if len(rows):
            before = rows[(np.searchsorted(rows, moments, side="right") - 1).clip(0)]
            after = rows[np.searchsorted(rows, moments).clip(max=len(rows) - 1)]
            inside = (rows[0] <= moments) & (moments <= rows[-1])
            sure[:, column] = inside & (after - before <= max(1, LONGEST_GAP * fps))
    smooth = gaussian_filter1d(bridged(values, known), SMOOTH_SECONDS * fps, axis=0, mode="nearest")
    below = np.floor(moments).astype(int).clip(0, max(len(values) - 2, 0))
    share = (moments - below)[:, None]
    return smooth[below] * (1 - share) + smooth[np.minimum(below + 1, len(values) - 1)] * share, sure


def bridged(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Rows (F, D) with what is not known laid on lines between what is; a column that is never known is 0."""
    frames, filled = np.arange(len(values)), np.where(known.any(axis=0), values, 0.0)
    for column in np.flatnonzero(known.any(axis=0) & ~known.all(axis=0)):
        rows = np.flatnonzero(known[:, column])
        filled[:, column] = np.interp(frames, rows, values[rows, column])
    return filled


@dataclass(frozen=True)
class PoseJudge:
    """Known performances of many motions; the prompted one must be nearest, and the video must move as it does."""

    tracks: np.ndarray                  # (S, N, D) float32 values of the performances; all of their joints are known
    owners: np.ndarray                  # (S,) labels
    labels: tuple[str, ...]             # the benchmark's own
    name: str = "pose"
    needs: tuple[str, ...] = ("seen",)
    formula: str = (
        "share of clips that are recognised and move as commanded. Recognised: by dynamic time warping over limbs and "
        "speeds, no known performance of another motion, of its opposite side or of 47 other motions is clearly nearer "
        "than one of the prompted motion. Moves: its frames in other orders do not show it as well; limb speeds agree with "
        "that performance's, and with the true ones where the maker was given them; neither still nor wild. Seen from "
        "behind: unknown")
    protocol: str = (
        f"nearest by less than {TIE:g} times; distance up to {NONE_DISTANCE:g}; correlation of speeds at least "
        f"{REFERENCE_AGREEMENT:g}, with the given motion {GIVEN_AGREEMENT:g}; energy {REFERENCE_ENERGY[0]:g} to "
        f"{REFERENCE_ENERGY[1]:g}, {GIVEN_ENERGY[0]:g} to {GIVEN_ENERGY[1]:g}; {MOST_AS_GOOD} of {NUM_ORDERS} other orders; "
        f"{OWN_PERFORMANCES} x {VIEWS} performances of a motion, {OTHER_PERFORMANCES} x {VIEWS} of others")
    source: str = "ours; dynamic time warping with the symmetric step of Sakoe and Chiba (1978)"

    @classmethod
    def of(cls, performances: Iterable[tuple[str, Skeleton]], labels: Sequence[str]) -> PoseJudge:
        """From pairs of label and skeleton whose body joints are all seen; `labels` are the benchmark's own."""
        owners, skeletons = zip(*performances)
        tracks = np.stack([track(skeleton).values for skeleton in skeletons]).astype(np.float32)
        return cls(tracks, np.array(owners), tuple(labels))

    @classmethod
    def of_motions(cls, motions: Sequence[BenchMotion]) -> PoseJudge:
        """From procedural performances of these and of all other motions; the same on every machine, some seconds."""
        known = performances(motions, OWN_PERFORMANCES) + performances(distractors(motions), OTHER_PERFORMANCES)
        return cls.of(known, [motion.name for motion in motions])

    def target(self, motion: str) -> str:
        """The label that means this motion is recognised."""
        return motion

    def verdict(self, case: ClipCase) -> Verdict:
        """The prompted motion where it is shown and moves so; else the nearest one, or what is wrong."""
        if from_behind(case.seen):
            if case.followed is not None and not from_behind(case.followed):
                return Verdict(OTHERWISE, "seen from behind, where the given motion is seen from the front")
            return Verdict("", "seen from behind: unknown", unknown=True)
        mine = track(case.seen)
        if mine.known.mean() < MIN_SEEN_SHARE:
            return Verdict("", "too little of the body is seen to tell the motion")
        costs, local = self.distances(mine, case.motion)
        nearest = str(self.owners[costs.argmin()])
        own = np.flatnonzero(self.owners == case.motion)
        best = own[costs[own].argmin()]
        note = f"{nearest} at {costs.min():.3f}, {case.motion} at {costs[best]:.3f}"
        if costs.min() > NONE_DISTANCE:
            return Verdict(NONE, note)
        if costs[best] > TIE * costs.min():
            return Verdict(nearest, note)
        reference = Track(self.tracks[best], np.ones_like(mine.known))
        found = motion_agreement(mine, reference, *warped_path(local[best]))
        if not found.moves(REFERENCE_AGREEMENT, REFERENCE_ENERGY):
            return Verdict(OTHERWISE, f"{note}; {found} with its performance")
        if case.followed is not None:
            found = followed(mine, track(case.followed))
            if not found.moves(GIVEN_AGREEMENT, GIVEN_ENERGY):
                return Verdict(OTHERWISE, f"{note}; {found} with the given motion")
        given = case.followed is not None
        if not in_order(case.seen, track(case.followed).values[None] if given else self.tracks[own[::VIEWS]]):
            return Verdict(OTHERWISE, f"{note}; its frames in another order show it as well")
        return Verdict(case.motion, note)

    def distances(self, mine: Track, motion: str) -> tuple[np.ndarray, np.ndarray]:
        """To every performance: the root of the mean square along the warped path (S,), infinite where a lower bound
        rules it out, and the local costs (S, N, N). Performances of `motion` are always compared."""
        local = self.costs(mine)
        bound = local.min(axis=2).sum(axis=1) + local.min(axis=1).sum(axis=1)               # each row and column is met
        chosen = np.union1d(np.argsort(bound)[:SHORTLIST], np.flatnonzero(self.owners == motion))
        found = np.full(len(local), np.inf)
        found[chosen] = warped_distances(local[chosen]) ** 0.5
        return found, local

    def costs(self, mine: Track) -> np.ndarray:
        """The local costs of a track against all performances, (S, N, N): weighted squares, by the track's known parts."""
        weight = mine.known / mine.known.sum(axis=1, keepdims=True).clip(1)                 # (N, D)
        weight, values = weight.astype(np.float32), mine.values.astype(np.float32)
        flat = self.tracks.reshape(-1, self.tracks.shape[-1])                               # (S N, D)
        costs = (weight * values**2).sum(axis=1) - 2 * flat @ (weight * values).T + flat**2 @ weight.T
        return costs.clip(0).reshape(len(self.tracks), NUM_STEPS, NUM_STEPS).transpose(0, 2, 1)


@dataclass(frozen=True)
class Agreement:
    """How alike two movements are: the correlation of limb speeds, and the first one's speed as a share of the other's."""

    correlation: float          # in [-1, 1]; 0 where one does not move
    energy: float

    def moves(self, least: float, energies: tuple[float, float]) -> bool:
        """Do they agree enough?"""
        return self.correlation >= least and energies[0] <= self.energy <= energies[1]

    def __str__(self) -> str:
        return f"speeds agree by {self.correlation:.2f} at {self.energy:.2f} of the energy"


def motion_agreement(mine: Track, theirs: Track, rows: np.ndarray, columns: np.ndarray) -> Agreement:
    """Of two tracks at paired moments; energies are of the whole tracks."""
    weight = mine.known[:, :PLACES]
    a, b = limb_speeds(mine), limb_speeds(theirs)                                           # (N, PLACES)
    here = weight[rows] * theirs.known[columns, :PLACES]
    both = float((here * a[rows] * b[columns]).sum())
    norm = math.sqrt(float((here * a[rows] ** 2).sum() * (here * b[columns] ** 2).sum()))
    rate = math.sqrt(float((weight * a**2).sum()) / max(float((weight * b**2).sum()), 1e-9))
    return Agreement(both / norm if norm > 1e-6 else 0.0, rate)


def followed(mine: Track, given: Track) -> Agreement:
    """With the motion the maker was given: at the same moments, up to MOST_LAG steps early or late."""
    moments, found = np.arange(NUM_STEPS), []
    for lag in range(-MOST_LAG, MOST_LAG + 1):
        rows = moments[max(lag, 0):NUM_STEPS + min(lag, 0)]
        found.append(motion_agreement(mine, given, rows, rows - lag))
    return max(found, key=lambda agreement: agreement.correlation)


def limb_speeds(one: Track) -> np.ndarray:
    """Per step of the clip, smoothed once more: (N, PLACES)."""
    return np.gradient(gaussian_filter1d(one.values[:, :PLACES], SPEED_SMOOTHING, axis=0, mode="nearest"), axis=0)


def in_order(seen: Skeleton, tracks: np.ndarray) -> bool:
    """Do the frames show the motion of some tracks (S, N, D) better than in nearly all of NUM_ORDERS random orders?

    Better: nearer to one of them by dynamic time warping, and in smaller steps; places and travel alone, not smoothed, and
    what moves more in the tracks counts more.
    """
    unit = torso(seen)
    (values, known), (path, whole) = places(seen, unit), travelled(seen, unit)
    path = (path - path[whole].mean(axis=0)) * (TRAVEL_WEIGHT, GROWTH_WEIGHT) if whole.any() else path
    known = np.concatenate([known, whole[:, None], whole[:, None]], axis=1)                 # (F, PLACES + 2)
    poses = bridged(np.concatenate([values, path], axis=1), known)
    theirs = tracks[:, :, :PLACES + 2].copy()
    theirs[:, :, PLACES:] *= np.linspace(-0.5, 0.5, NUM_STEPS)[:, None]                     # travel, moment by moment
    weight = theirs.std(axis=1).mean(axis=0) * known.any(axis=0)                            # (PLACES + 2,)
    rng = np.random.default_rng(0)
    orders = np.stack([np.arange(len(seen)), *(rng.permutation(len(seen)) for _ in range(NUM_ORDERS))])
    steps = np.zeros(len(orders))
    if len(seen) > 1:
        steps = (weight * np.diff(poses[orders], axis=1) ** 2).sum(axis=2).mean(axis=1)
    local = (weight * (poses[:, None] - theirs[:, None]) ** 2).sum(axis=-1)                 # (S, F, N)
    warped = warped_distances(local[:, orders].reshape(-1, *local.shape[1:])).reshape(len(local), -1)     # (S, orders)
    unlike = warped.min(axis=0) + STEPS_WEIGHT * steps                                      # (orders,)
    return int((unlike[1:] <= unlike[0]).sum()) <= MOST_AS_GOOD


def from_behind(skeleton: Skeleton) -> bool:
    """Does the clip begin with the person's back to us: left shoulder and left hip on the left, in all frames that show them?"""
    unit, first = torso(skeleton), max(3, round(BEGINNING * len(skeleton)))
    shown = skeleton.seen[:first, TRUNK].all(axis=1)
    if not shown.any() or np.isnan(unit):
        return False
    left, right = skeleton.xy[:first, TRUNK[0::2], 0][shown], skeleton.xy[:first, TRUNK[1::2], 0][shown]
    return bool((left < right).all() and np.median(left[:, 0] - right[:, 0]) < -BACK_WIDTH * unit)


def warped_distances(costs: np.ndarray) -> np.ndarray:
    """The cheapest monotone path from corner to corner through each matrix, a diagonal step counting twice.

    costs: (S, N, M) -> (S,), divided by N + M: the mean cost along the path.
    """
    return warped_totals(costs)[:, -1, -1] / (costs.shape[1] + costs.shape[2])


def warped_totals(costs: np.ndarray) -> np.ndarray:
    """The cheapest path's cost to every cell, with a border of infinity: (S, N, M) -> (S, N + 1, M + 1)."""
    num, rows, columns = costs.shape
    total = np.full((num, rows + 1, columns + 1), np.inf)
    total[:, 0, 0] = 0
    for diagonal in range(2, rows + columns + 1):                                           # cells with i + j = diagonal
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        j = diagonal - i
        here = costs[:, i - 1, j - 1]                                                       # (S, cells)
        straight = np.minimum(total[:, i - 1, j], total[:, i, j - 1]) + here
        total[:, i, j] = np.minimum(straight, total[:, i - 1, j - 1] + 2 * here)
    return total


def warped_path(costs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cells (rows, columns) of the cheapest path through one matrix (N, M)."""
    total = warped_totals(costs[None])[0]
    i, j = costs.shape
    path = [(i - 1, j - 1)]
    while (i, j) != (1, 1):
        here = costs[i - 1, j - 1]
        before = {(i - 1, j): total[i - 1, j] + here, (i, j - 1): total[i, j - 1] + here,
                  (i - 1, j - 1): total[i - 1, j - 1] + 2 * here}
        i, j = min(before, key=before.get)
        path.append((i - 1, j - 1))
    rows, columns = zip(*reversed(path))
    return np.array(rows), np.array(columns)


def distractors(motions: Sequence[BenchMotion]) -> list[BenchMotion]:
    """What else people do: the other sides of these motions, and every other kind the procedural people know."""
    taken = {(motion.kind, motion.side) for motion in motions}
    return [BenchMotion(kind if side is None else f"{kind}_{side}", "", kind, side, kind in GAITS)
            for kind in KINDS for side in (sides_of(kind) or (None,)) if (kind, side) not in taken]


def performances(motions: Sequence[BenchMotion], number: int) -> list[tuple[str, Skeleton]]:
    """Each motion done `number` times by bodies of other builds, in tempos from fast to slow, seen by other cameras."""
    found = []
    for motion in motions:
        for index in range(number):
            rng = np.random.default_rng([index, zlib.crc32(motion.name.encode())])
            seconds = np.interp((index + rng.random()) / number, (0, 1), PERFORMANCE_SECONDS)
            sample = sample_motion(motion.kind, seconds, rng, side=motion.side, body=Body.sample(rng))
            moved = Motion(resampled(sample.motion, PERFORMANCE_FPS), PERFORMANCE_FPS)
            camera = sample_camera(rng)
            for view in range(VIEWS):
                yaw = PERFORMANCE_YAWS[(index * VIEWS + view) % len(PERFORMANCE_YAWS)]
                seen_by = replace(camera, yaw=yaw)
                seen_by = following(seen_by, moved) if motion.travels else seen_by
                skeleton = project(moved, PERFORMANCE_SIZE, PERFORMANCE_FPS, seen_by)
                found.append((motion.name, smaller(skeleton, SMALLER) if view == VIEWS - 1 else skeleton))
    return found


def smaller(skeleton: Skeleton, share: float) -> Skeleton:
    """The same movement with every point going only a share of its way from where it was in the first frame."""
    first = skeleton.xy[:1]
    return skeleton.with_xy(first + share * (skeleton.xy - first))
