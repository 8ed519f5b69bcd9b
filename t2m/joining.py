"""Several motions -> one: position and heading carried on, poses blended, and feet that step instead of sliding.

Nothing is cut or added: the joined motion has the frames of its parts, all on the first one's floor. At a seam the later part begins in the earlier
part's last pose; the difference fades away, and the feet step to their new places one after the other. A person who ends
an action turned without having been told to turn (a throw, a punch) turns back over the seam.
"""
from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from scipy.ndimage import label, uniform_filter1d

from t2m.known_motions import asked_turns
from t2m.motion import (bent_leg, bone_directions, bone_lengths, from_directions, heading, LEFT_HIP, leg_lengths, LEGS,
                        Motion, on_body, out_of_reach, PELVIS, quaternion_between, RIGHT_HIP, rotated, smoothly_widened,
                        smoothstep, STRAIGHTEST_LEG, unit, with_bone_lengths, within_half_turn, yaw_rotated)

FLOOR = np.array([1.0, 0.0, 1.0])      # keeps x and z
UP = 1 - FLOOR
STANDING_SHARE = 25                    # percent of frames whose lowest joint is no higher than the floor: toes that push off are lower
STEP_LIFT = 0.06                       # metres a foot rises on a step at a seam
STEP_FROM = 0.02                       # metres; a foot this near its new place does not need to rise
TURN_SPEED = np.pi                     # radians per second of turning back over a seam, at most
QUARTER = np.pi / 2                    # radians
TURNS = re.compile(r"""                # 'turns around', 'walks in a circle'; not 'turns the head' or 'rotates both arms'
    \b (?:turn|rotat|pivot|swivel|revolv|wheel|fac(?=e|ing)) \w* \b
    (?! \s+ (?:(?:the|his|her|their|its|both|one|left|right|upper)\s+)* (?:arm|hand|wrist|head|body|fist|leg|foot|feet)) |
    \b in\s+(?:a\s+)?circles? \b""", re.IGNORECASE | re.VERBOSE)
SO_FAR = re.compile(r"\b(?:degrees?|slightly|a\s+(?:little|bit)|half\s?way|diagonal\w*)\b|°", re.IGNORECASE)
BELOW_HIPS = [joint for leg in LEGS for joint in leg[1:]]
STANDING_HEIGHT = 0.05                 # metres the toe may be above its lowest point
STANDING_STEP = 0.010                  # metres per frame at 20 fps; a foot this slow stands
LANDING_STEP = 0.025                   # metres per frame; a foot this slow, next to a standing one, is landing or leaving
LARGEST_SLIP = 0.08                    # metres a standing foot may be moved to hold it
SHORTEST_CONTACT = 3                   # frames
LARGEST_CROUCH = 0.15                  # metres the pelvis may be lowered so that a leg reaches its foot
CROUCH_FRAMES = 5                      # that it stays there at the least


def join_motions(motions: list[Motion], transition_seconds: float = 0.5, texts: Sequence[str] | None = None) -> Motion:
    """The motions one after another; each blends in over its first `transition_seconds`. Length: sum of the lengths.

    texts: what each motion does, in words; without them every motion goes on wherever the last one faced.
    """
    if not motions:
        raise ValueError("join_motions: expected at least one motion (found none)")
    rates = {motion.fps for motion in motions}
    if len(rates) > 1:
        raise ValueError(f"join_motions: expected one frame rate (found {sorted(rates)})")
    if transition_seconds < 0:
        raise ValueError(f"join_motions: expected transition_seconds >= 0 (found {transition_seconds})")
    if texts is not None and len(texts) != len(motions):
        raise ValueError(f"join_motions: expected one text for each of {len(motions)} motions (found {len(texts)})")
    lengths, fps = bone_lengths(motions[0].joints), motions[0].fps
    num_blended = round(transition_seconds * fps)
    joined = with_bone_lengths(motions[0].joints, lengths)
    facing, floor = heading(joined[0]), floor_height(joined)
    for i, motion in enumerate(motions[1:]):
        ended = heading(joined[-1])
        facing = ended if texts is None else heading_meant(texts[i], facing, ended)
        to_turn = within_half_turn(facing - ended)
        num_turned = max(num_blended, round(abs(to_turn) / TURN_SPEED * fps)) if num_blended else 0
        part = on_body(motion.joints, lengths)
        part = part + (floor - floor_height(part)) * UP
        joined = appended(joined, part, num_turned, to_turn)
    return Motion(without_foot_slide(joined), fps)


def floor_height(joints: np.ndarray) -> float:
    """Where a motion (T, 22, 3) has its floor, metres: weights draw some as standing in the air."""
    return np.percentile(joints[..., 1].min(axis=1), STANDING_SHARE)


def heading_meant(text: str, before: float, ended: float) -> float:
    """Which way, in radians, one should face after an action that began at `before` and ended at `ended`.

    Told to turn, the nearest quarter turn, unless the text says how far; else, or turned all round, as before.
    """
    if not TURNS.search(text) or (asked_turns(text) or 0.5) % 1 == 0:
        return before
    return ended if SO_FAR.search(text) else before + round(within_half_turn(ended - before) / QUARTER) * QUARTER


def turning(joints: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """The motion with each frame turned by its yaw (T,) radians, its path bent accordingly. (T, 22, 3) -> (T, 22, 3)"""
    pelvis = joints[:, PELVIS]
    steps = yaw_rotated(np.diff(pelvis, axis=0), (yaw[1:] + yaw[:-1]) / 2)            # (T - 1, 3)
    start = yaw_rotated(pelvis[:1], yaw[:1])
    path = np.cumsum(np.concatenate([start, steps]), axis=0)                          # (T, 3)
    return path[:, None] + yaw_rotated(joints - pelvis[:, None], yaw[:, None])


def partial_rotations(rotation: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The given shares of rotations about their own axes. (J, 4), (T,) -> (T, J, 4)"""
    half = np.arccos(np.clip(rotation[:, 0], -1, 1))                                  # (J,)
    angle = shares[:, None] * half                                                    # (T, J)
    return np.concatenate([np.cos(angle)[..., None], np.sin(angle)[..., None] * unit(rotation[:, 1:])], axis=-1)


def appended(before: np.ndarray, after: np.ndarray, num_blended: int, to_turn: float = 0.0) -> np.ndarray:
    """`before` followed by `after`, which starts where and as `before` stops. (T1, 22, 3), (T2, 22, 3)

    to_turn: radians by which the person turns over the seam.
    """
    past = 1 - smoothstep((np.arange(len(after)) + 1) / (num_blended + 1))            # (T2,) nearly 1, fading to 0
    after = turning(after, heading(before[-1]) - heading(after[0]) + to_turn * (1 - past))
    after = after + (before[-1, PELVIS] - after[0, PELVIS]) * FLOOR + carried_momentum(before, after, past)[:, None]

    directions = bone_directions(after)                                               # (T2, 22, 3)
    to_past = quaternion_between(directions[0], bone_directions(before[-1:])[0])      # (22, 4)
    directions = rotated(partial_rotations(to_past, past), directions)
    pelvis = after[:, PELVIS].copy()                                                  # (T2, 3)
    pelvis[:, 1] += past * (before[-1, PELVIS, 1] - after[0, PELVIS, 1])
    blended = from_directions(pelvis, directions, bone_lengths(before))
    return np.concatenate([before, with_ankles(blended, stepping_ankles(before, after, num_blended))])


def carried_momentum(before: np.ndarray, after: np.ndarray, past: np.ndarray) -> np.ndarray:
    """How far the body is carried on while its old speed fades into its new one. -> (T2, 3) metres"""
    old = before[-1, PELVIS] - before[-2, PELVIS] if len(before) > 1 else np.zeros(3)
    new = after[1, PELVIS] - after[0, PELVIS] if len(after) > 1 else np.zeros(3)
    return np.cumsum(past[:, None] * (old - new) * FLOOR, axis=0)


def stepping_ankles(before: np.ndarray, after: np.ndarray, num_blended: int) -> dict[int, np.ndarray]:
    """Ankle paths (T2, 3) over a seam: each foot waits where it stands, then steps to where `after` has it.

    The foot with the longer way goes in the first half of the blend, the other in the second.
    """
    away = {ankle: before[-1, ankle] - after[0, ankle] for _, _, ankle, _ in LEGS}    # (3,) each
    order = sorted(away, key=lambda ankle: -np.linalg.norm(away[ankle]))
    half = max(num_blended / 2, 1e-6)
    paths = {}
    for turn, ankle in enumerate(order):
        done = np.clip((np.arange(len(after)) + 1 - turn * half) / half, 0, 1)        # (T2,) of this foot's step
        eased = smoothstep(done)[:, None]
        lift = min(np.linalg.norm(away[ankle]) / STEP_FROM, 1.0) * STEP_LIFT * np.sin(np.pi * done) ** 2
        paths[ankle] = (1 - eased) * before[-1, ankle] + eased * after[:, ankle] + lift[:, None] * UP
    return paths


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
    """What to add to a foot so that it stands still on the floor; in the air it changes from one standing place to the next.

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
    upper = [joint for joint in range(joints.shape[1]) if joint not in BELOW_HIPS]
    excess = np.max([np.zeros(len(out)), *(
        out_of_reach(out[:, hip], ankles[ankle], STRAIGHTEST_LEG * sum(leg_lengths(out, hip, knee, ankle)))
        for hip, knee, ankle, _ in LEGS)], axis=0)                                    # (T,)
    out[:, upper, 1] -= smoothly_widened(np.minimum(excess, LARGEST_CROUCH), CROUCH_FRAMES)[:, None]
    ahead = unit(np.cross(out[:, LEFT_HIP] - out[:, RIGHT_HIP], (0.0, 1.0, 0.0)))     # (T, 3)
    for hip, knee, ankle, toe in LEGS:
        bones = leg_lengths(joints, hip, knee, ankle)
        bend = joints[:, knee] - (joints[:, hip] + joints[:, ankle]) / 2 + 0.01 * ahead      # (T, 3) as it did, or ahead
        out[:, knee], out[:, ankle] = bent_leg(out[:, hip], ankles[ankle], bones, bend,
                                               shortest=abs(bones[0] - bones[1]) + 1e-3)
        out[:, toe] = out[:, ankle] + joints[:, toe] - joints[:, ankle]
    return out
