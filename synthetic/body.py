"""From angle and foot tracks to the 22 SMPL joints: forward kinematics above the hips, two-bone legs below them.

Feet are given where they stand, in the world, so a planted foot cannot slide; the legs bend to reach them.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from t2m import motion as smpl
from t2m.motion import ARMS, bent_leg, LEGS, NUM_JOINTS, out_of_reach, PARENTS, smoothly_widened, STRAIGHTEST_LEG

# Offset of each joint from its parent at rest, metres: x to the person's left, y up, z forward.
OFFSETS = np.array([
    (0, 0, 0), (0.09, -0.07, 0), (-0.09, -0.07, 0), (0, 0.11, -0.01), (0.01, -0.39, 0), (-0.01, -0.39, 0),
    (0, 0.13, 0), (0, -0.41, -0.02), (0, -0.41, -0.02), (0, 0.06, 0), (0.02, -0.06, 0.13), (-0.02, -0.06, 0.13),
    (0, 0.21, -0.01), (0.07, 0.12, 0), (-0.07, 0.12, 0), (0, 0.10, 0.03), (0.11, 0.03, -0.01), (-0.11, 0.03, -0.01),
    (0, -0.27, 0), (0, -0.27, 0), (0, -0.25, 0), (0, -0.25, 0),
])                                                              # (22, 3)
TOE_HEIGHT = 0.03           # metres of the toe joint above the floor on a flat foot
STANDING_BEND = 0.012       # metres the pelvis stays below a straight-legged stance
LOWERED_FRAMES = 7          # that the pelvis stays down at the least where a leg would have to stretch
SHORTEST_LEG = 0.25         # of the leg's length: how near the ankle may come to the hip
STANCE_HALF_WIDTH = 0.10    # metres from the midline to each foot
SIDES = ("left", "right")
SIGN = {"left": 1.0, "right": -1.0}                             # of the x axis
# Angles are radians; `turn`, `look` and `twist` are positive to the person's left, as are `roll`, `tilt`, `side_bend`.
BODY_CHANNELS = ("x", "z", "rise", "air", "turn", "pitch", "roll", "bend", "side_bend", "twist", "nod", "look", "tilt")
ARM_CHANNELS = ("out", "swing", "spin", "elbow", "shrug", "curl")       # swing: forward; spin: forearm outwards
FOOT_CHANNELS = ("foot_x", "foot_z", "lift", "heel", "splay")           # metres in the world; heel: heel above toe
NEUTRAL_ARM = {"out": 0.15, "elbow": 0.18, "curl": 0.3}
LIMBS = {                   # hip, knee, ankle, toe, collar, shoulder, elbow, wrist
    side: (*leg, collar, *arm) for side, leg, collar, arm in zip(SIDES, LEGS, (smpl.LEFT_COLLAR, smpl.RIGHT_COLLAR), ARMS)}


@dataclass(frozen=True)
class Body:
    """Proportions, as factors on the standard 1.7 m skeleton."""

    scale: float = 1.0
    shoulder: float = 1.0
    leg: float = 1.0

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Body:
        return cls(scale=rng.uniform(0.92, 1.06), shoulder=rng.uniform(0.92, 1.15), leg=rng.uniform(0.94, 1.06))

    def offsets(self) -> np.ndarray:
        """(22, 3) metres."""
        offsets = OFFSETS * self.scale
        for _, knee, ankle, _, _, shoulder, _, _ in LIMBS.values():
            offsets[shoulder] *= self.shoulder
            offsets[[knee, ankle]] *= self.leg
        return offsets


def neutral_tracks(num_frames: int) -> dict[str, np.ndarray]:
    """Every channel (T,) of somebody standing at the origin with arms hanging."""
    tracks = {name: np.zeros(num_frames) for name in BODY_CHANNELS}
    for side in SIDES:
        for name in ARM_CHANNELS + FOOT_CHANNELS:
            tracks[f"{side}_{name}"] = np.full(num_frames, NEUTRAL_ARM.get(name, 0.0))
        tracks[f"{side}_foot_x"] += SIGN[side] * STANCE_HALF_WIDTH
        tracks[f"{side}_splay"] += SIGN[side] * 0.12
    return tracks


def joints_from_tracks(tracks: dict[str, np.ndarray], body: Body) -> np.ndarray:
    """Tracks of (T,) channels to joints (T, 22, 3) float32 metres, the lowest planted toe at the floor."""
    offsets = body.offsets()
    num_frames = len(tracks["x"])
    rotations = {smpl.PELVIS: about_y(tracks["turn"]) @ about_x(tracks["pitch"]) @ about_z(-tracks["roll"])}
    spine = about_x(tracks["bend"] / 3) @ about_z(-tracks["side_bend"] / 3) @ about_y(tracks["twist"] / 3)
    local = {smpl.SPINE1: spine, smpl.SPINE2: spine, smpl.SPINE3: spine,
             smpl.NECK: about_y(tracks["look"]) @ about_x(tracks["nod"]) @ about_z(-tracks["tilt"])}
    for side, (_, _, _, _, collar, shoulder, elbow, _) in LIMBS.items():
        sign = SIGN[side]
        arm = {name: tracks[f"{side}_{name}"] for name in ARM_CHANNELS}
        elevation = np.maximum(np.cos(arm["swing"]) * np.sin(np.minimum(arm["out"], np.pi / 2)), 0)
        raised = 0.25 * np.clip(arm["out"] - 1.2, 0, 1.5) * elevation
        local[collar] = about_z(sign * (raised + arm["shrug"]))
        local[shoulder] = about_z(sign * (arm["out"] - raised * 0.5 - arm["shrug"])) @ about_x(-arm["swing"]) @ about_y(
            sign * arm["spin"])
        local[elbow] = about_x(-np.maximum(arm["elbow"], 0.03))

    joints = np.zeros((num_frames, NUM_JOINTS, 3))
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            continue
        joints[:, joint] = joints[:, parent] + rotations[parent] @ offsets[joint]
        rotations[joint] = rotations[parent] @ local[joint] if joint in local else rotations[parent]
    ankles, headings = _foot_targets(tracks, offsets, body)
    joints += _pelvis_path(tracks, joints, ankles, offsets, body)[:, None]
    for side, ankle in ankles.items():
        _place_leg(joints, side, ankle, headings[side], rotations[smpl.PELVIS], offsets, tracks[f"{side}_heel"])
    return joints.astype(np.float32)


def _foot_targets(tracks, offsets, body) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Where each ankle wants to be (T, 3) metres, and which way each foot points (T,) radians."""
    ankles, headings = {}, {}
    for side, (_, _, _, toe, *_) in LIMBS.items():
        flat = np.stack([tracks[f"{side}_foot_x"], tracks[f"{side}_lift"], tracks[f"{side}_foot_z"]], axis=-1)
        flat = flat * body.scale                                                        # (T, 3)
        flat[:, 1] += tracks["air"] * body.scale + TOE_HEIGHT * body.scale - offsets[toe, 1]
        headings[side] = tracks[f"{side}_splay"]
        raised = about_y(headings[side]) @ about_x(np.maximum(tracks[f"{side}_heel"], 0))
        level = about_y(headings[side]) @ offsets[toe]
        ankles[side] = flat + level - raised @ offsets[toe]                             # the heel rises about the toe
    return ankles, headings


def _pelvis_path(tracks, joints, ankles, offsets, body) -> np.ndarray:
    """Pelvis (T, 3) metres: as asked, but never so high that a leg would have to stretch."""
    path = np.stack([tracks["x"], tracks["rise"] + tracks["air"], tracks["z"]], axis=-1) * body.scale
    excess = np.full(len(path), -np.inf)
    for side, (hip, knee, ankle, toe, *_) in LIMBS.items():
        length = (np.linalg.norm(offsets[knee]) + np.linalg.norm(offsets[ankle])) * STRAIGHTEST_LEG
        if side == SIDES[0]:
            standing = length - offsets[hip, 1] - offsets[toe, 1] + (TOE_HEIGHT - STANDING_BEND) * body.scale
            path[:, 1] += standing
        excess = np.maximum(excess, out_of_reach(path + joints[:, hip], ankles[side], length))
    path[:, 1] -= smoothly_widened(np.maximum(excess, 0), LOWERED_FRAMES)
    return path


def _place_leg(joints, side, ankle, heading, pelvis, offsets, heel) -> None:
    """Bend hip, knee and foot of one leg, in place, so that the ankle reaches (T, 3) `ankle`; knees bend forward."""
    hip_index, knee_index, ankle_index, toe_index, *_ = LIMBS[side]
    bones = np.linalg.norm(offsets[knee_index]), np.linalg.norm(offsets[ankle_index])
    toes = np.stack([np.sin(heading), np.zeros_like(heading), np.cos(heading)], axis=-1)
    forward = toes + pelvis[..., 2] + 0.6 * pelvis[..., 1]                              # (T, 3)
    joints[:, knee_index], joints[:, ankle_index] = bent_leg(joints[:, hip_index], ankle, bones, forward,
                                                             shortest=SHORTEST_LEG * sum(bones))
    joints[:, toe_index] = joints[:, ankle_index] + about_y(heading) @ about_x(heel) @ offsets[toe_index]


def _rotation(angles: np.ndarray, axis: int) -> np.ndarray:
    """(T,) radians to rotation matrices (T, 3, 3) about one axis."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrices = np.zeros(angles.shape + (3, 3))
    matrices[..., axis, axis] = 1
    matrices[..., first, first] = matrices[..., second, second] = np.cos(angles)
    matrices[..., second, first] = np.sin(angles)
    matrices[..., first, second] = -matrices[..., second, first]
    return matrices


def about_x(angles: np.ndarray) -> np.ndarray:
    return _rotation(angles, 0)


def about_y(angles: np.ndarray) -> np.ndarray:
    return _rotation(angles, 1)


def about_z(angles: np.ndarray) -> np.ndarray:
    return _rotation(angles, 2)
