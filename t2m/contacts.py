"""Feet on the floor: find when a foot stands, hold it there, and bend the leg to reach it."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import convolve1d, label, maximum_filter1d, uniform_filter1d

from .features import unit
from .motion import (
    LEFT_ANKLE, LEFT_HIP, LEFT_KNEE, LEFT_TOE, RIGHT_ANKLE, RIGHT_HIP, RIGHT_KNEE, RIGHT_TOE,
)

LEGS = (                               # hip, knee, ankle, toe
    (LEFT_HIP, LEFT_KNEE, LEFT_ANKLE, LEFT_TOE),
    (RIGHT_HIP, RIGHT_KNEE, RIGHT_ANKLE, RIGHT_TOE),
)
LEG_JOINTS = [LEFT_KNEE, LEFT_ANKLE, LEFT_TOE, RIGHT_KNEE, RIGHT_ANKLE, RIGHT_TOE]

STANDING_HEIGHT = 0.05                 # metres the toe may be above its lowest point
STANDING_STEP = 0.010                  # metres per frame at 20 fps; a foot this slow stands
LANDING_STEP = 0.025                   # metres per frame; a foot this slow, next to a standing one, is landing or leaving
LARGEST_SLIP = 0.08                    # metres a standing foot may be moved to hold it
SHORTEST_CONTACT = 3                   # frames
STRAIGHTEST_LEG = 0.999                # of the leg's length
LARGEST_CROUCH = 0.15                  # metres the pelvis may be lowered so that a leg reaches its foot


def contact_spans(toe: np.ndarray) -> list[np.ndarray]:
    """Frame indices of each time a toe stands on the floor. toe: (T, 3) metres"""
    smooth = uniform_filter1d(toe, 3, axis=0, mode="nearest")
    steps = np.linalg.norm(np.diff(smooth, axis=0, append=smooth[-1:])[:, [0, 2]], axis=-1)   # (T,)
    steps[-1] = steps[-2] if len(steps) > 1 else 0.0
    low = toe[:, 1] < np.percentile(toe[:, 1], 2) + STANDING_HEIGHT
    labels, num_spans = label(low & (steps < LANDING_STEP))
    spans = []
    for number in range(1, num_spans + 1):
        span = np.flatnonzero(labels == number)
        standing = span[steps[span] < STANDING_STEP]
        if len(standing) < SHORTEST_CONTACT:
            continue
        slip = np.linalg.norm((toe[span] - toe[standing].mean(axis=0))[:, [0, 2]], axis=-1)
        spans.append(span[slip < LARGEST_SLIP])
    return [span for span in spans if len(span) >= SHORTEST_CONTACT]


def holding_offset(toe: np.ndarray) -> np.ndarray:
    """What to add to a foot so that it holds still on the floor; in the air it goes over from one hold to the next.

    toe: (T, 3) metres -> (T, 3) metres, horizontal
    """
    frames, offsets = [], []
    for span in contact_spans(toe):
        frames.append(span)
        offsets.append(np.median(toe[span], axis=0) - toe[span])
    if not frames:
        return np.zeros_like(toe)
    frames, offsets = np.concatenate(frames), np.concatenate(offsets)
    offset = np.stack([np.interp(np.arange(len(toe)), frames, offsets[:, axis]) for axis in range(3)], axis=-1)
    return offset * (1.0, 0.0, 1.0)


def without_foot_slide(joints: np.ndarray) -> np.ndarray:
    """The motion with every standing foot held where it stands. joints: (T, 22, 3) metres"""
    joints = np.asarray(joints, dtype=np.float64)
    return with_ankles(joints, {
        ankle: joints[:, ankle] + holding_offset(joints[:, toe]) for _, _, ankle, toe in LEGS
    })


def with_ankles(joints: np.ndarray, ankles: dict[int, np.ndarray]) -> np.ndarray:
    """The motion with its ankles at (T, 3) metres: legs bend to reach them, else the pelvis comes down a little."""
    out = np.array(joints, dtype=np.float64)
    upper = [joint for joint in range(joints.shape[1]) if joint not in LEG_JOINTS]
    out[:, upper, 1] -= needed_crouch(out, ankles)[:, None]
    ahead = unit(np.cross(out[:, LEFT_HIP] - out[:, RIGHT_HIP], (0.0, 1.0, 0.0)))     # (T, 3)
    for hip, knee, ankle, toe in LEGS:
        place_leg(out, joints, (hip, knee, ankle), ankles[ankle], ahead)
        out[:, toe] = out[:, ankle] + joints[:, toe] - joints[:, ankle]
    return out


def leg_lengths(joints: np.ndarray, hip: int, knee: int, ankle: int) -> tuple[float, float]:
    """Thigh and shank in metres, medians over the motion."""
    thigh = np.median(np.linalg.norm(joints[:, knee] - joints[:, hip], axis=-1))
    shank = np.median(np.linalg.norm(joints[:, ankle] - joints[:, knee], axis=-1))
    return float(thigh), float(shank)


def needed_crouch(joints: np.ndarray, ankles: dict[int, np.ndarray]) -> np.ndarray:
    """How far the pelvis must come down so that no leg has to stretch, smooth over time. -> (T,) metres"""
    excess = np.zeros(len(joints))
    for hip, knee, ankle, _ in LEGS:
        length = STRAIGHTEST_LEG * sum(leg_lengths(joints, hip, knee, ankle))
        apart = np.linalg.norm((joints[:, hip] - ankles[ankle])[:, [0, 2]], axis=-1)
        highest = ankles[ankle][:, 1] + np.sqrt(np.maximum(length**2 - apart**2, 0))
        excess = np.maximum(excess, joints[:, hip, 1] - highest)
    window = np.hanning(7)[1:-1]
    widened = maximum_filter1d(np.minimum(excess, LARGEST_CROUCH), 5, mode="nearest")
    return convolve1d(widened, window / window.sum(), mode="nearest")


def place_leg(out: np.ndarray, joints: np.ndarray, leg: tuple[int, int, int], target: np.ndarray,
              ahead: np.ndarray) -> None:
    """Put knee and ankle of `out` so that the ankle reaches `target` (T, 3); the knee bends as it did, or ahead."""
    hip, knee, ankle = leg
    thigh, shank = leg_lengths(joints, hip, knee, ankle)
    reach = target - out[:, hip]                                                      # (T, 3)
    asked = np.linalg.norm(reach, axis=-1, keepdims=True)                             # (T, 1)
    along = unit(reach)
    distance = np.clip(asked, abs(thigh - shank) + 1e-3, STRAIGHTEST_LEG * (thigh + shank))
    bend = joints[:, knee] - (joints[:, hip] + joints[:, ankle]) / 2 + 0.01 * ahead   # (T, 3)
    pole = unit(bend - (bend * along).sum(-1, keepdims=True) * along)
    before_knee = (thigh**2 - shank**2 + distance**2) / (2 * distance)                # along hip -> ankle
    aside = np.sqrt(np.maximum(thigh**2 - before_knee**2, 0))
    out[:, knee] = out[:, hip] + before_knee * along + aside * pole
    out[:, ankle] = out[:, hip] + distance * along
