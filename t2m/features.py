"""Joints <-> the 263 features of HumanML3D (Guo et al. 2022, §3), which T2M-GPT reads and writes.

A row describes one frame: yaw velocity, root velocity and height, joints seen from the root, bone rotations, joint
velocities and foot contacts. The yaw velocity is HALF the yaw step, in radians per frame, as in the published data.
"""
from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation
from torch import Tensor

from t2m.motion import (across_hips, across_shoulders, forward_vector, HEAD, LEFT_ANKLE, LEFT_COLLAR, LEFT_ELBOW,
                        LEFT_HIP, LEFT_KNEE, LEFT_SHOULDER, LEFT_TOE, LEFT_WRIST, Motion, NECK, NUM_JOINTS, PARENTS,
                        PELVIS, quaternion_between, RIGHT_ANKLE, RIGHT_COLLAR, RIGHT_ELBOW, RIGHT_HIP, RIGHT_KNEE,
                        RIGHT_SHOULDER, RIGHT_TOE, RIGHT_WRIST, RIGHTWARD, rotated, SPINE1, SPINE2, SPINE3, unit, UP)

YAW_VELOCITY = slice(0, 1)           # half the yaw step, rad/frame
ROOT_VELOCITY = slice(1, 3)          # x, z in the facing frame of t + 1, m/frame
ROOT_HEIGHT = slice(3, 4)            # m
POSITIONS = slice(4, 67)             # joints 1..21 in the facing frame, x and z from the root, m
ROTATIONS = slice(67, 193)           # joints 1..21, first two columns of the rotation matrix
VELOCITIES = slice(193, 259)         # joints 0..21 in the facing frame of t, m/frame
CONTACTS = slice(259, 263)           # of FEET, 0 or 1
NUM_FEATURES = 263
FEATURE_BLOCKS = (YAW_VELOCITY, ROOT_VELOCITY, ROOT_HEIGHT, POSITIONS, ROTATIONS, VELOCITIES, CONTACTS)
FEET = (LEFT_ANKLE, LEFT_TOE, RIGHT_ANKLE, RIGHT_TOE)
CONTACT_SPEED2 = 0.002               # a foot moving slower than this, in m^2/frame^2, is in contact
FORWARD_SMOOTHING = 20.0             # standard deviation of the facing filter, frames
# What the hips weigh beside the shoulders in a body's facing. The published data SUBTRACTS them (its inverse kinematics swaps the
# hip names), and its checkpoints depend on it; the little that is left of a twisting body then turns three times as much.
HEADINGS = {"published": -1, "body": 1}
# The joint before each in its kinematic chain; both arm chains start over from the root, not from the chest.
BEFORE = tuple(PELVIS if joint in (LEFT_COLLAR, RIGHT_COLLAR) else parent for joint, parent in enumerate(PARENTS))
LEFTWARD, DOWN, FORWARD = (1, 0, 0), (0, -1, 0), (0, 0, 1)
REST_DIRECTIONS = {                  # of the bone that ends in each joint, on HumanML3D's axis-aligned skeleton
    **dict.fromkeys((LEFT_HIP, LEFT_COLLAR), LEFTWARD),
    **dict.fromkeys((RIGHT_HIP, RIGHT_COLLAR), RIGHTWARD),
    **dict.fromkeys((SPINE1, SPINE2, SPINE3, NECK), UP),
    **dict.fromkeys((LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE), DOWN),
    **dict.fromkeys((LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST), DOWN),
    **dict.fromkeys((LEFT_TOE, RIGHT_TOE, HEAD), FORWARD),
}


def first_heading(joints: np.ndarray) -> np.ndarray:
    """Rotation that turns the first frame's facing, by hips and shoulders, to +z. joints: (T, 22, 3) -> (4,)"""
    forward = forward_vector(across_hips(joints[0]) + across_shoulders(joints[0]))
    return quaternion_between(unit(forward), np.array(FORWARD))


def smooth_headings(joints: np.ndarray, smoothing: float, heading: str) -> np.ndarray:
    """Rotation world -> facing frame over time, the identity at frame 0. joints: canonical (T, 22, 3) -> (T, 4)

    heading: see HEADINGS.
    """
    forward = forward_vector(across_shoulders(joints) + HEADINGS[heading] * across_hips(joints))
    forward = gaussian_filter1d(forward, smoothing, axis=0, mode="nearest")
    headings = quaternion_between(unit(forward), np.array(FORWARD))                   # (T, 4)
    headings[0] = (1, 0, 0, 0)
    return headings


def canonical(joints: np.ndarray) -> np.ndarray:
    """The motion put on the floor, its first frame at the origin and facing +z. joints: (T, 22, 3) metres"""
    joints = np.asarray(joints, dtype=np.float64)
    joints = joints - (joints[0, PELVIS, 0], joints[..., 1].min(), joints[0, PELVIS, 2])
    return rotated(first_heading(joints), joints)


def bone_rotations(joints: np.ndarray, root: np.ndarray) -> np.ndarray:
    """First two columns of each joint's rotation against the one before in its chain, joints 1..21 side by side.

    joints: (T, 22, 3); root: (T, 4) -> (T, 126)
    """
    rest = np.array([REST_DIRECTIONS[joint] for joint in range(1, NUM_JOINTS)], dtype=np.float64)
    bones = unit(joints[:, 1:] - joints[:, list(PARENTS[1:])])                        # (T, 21, 3)
    world = np.concatenate([root[:, None], quaternion_between(rest, bones)], axis=1)  # (T, 22, 4)
    before, own = (Rotation.from_quat(q.reshape(-1, 4), scalar_first=True)            # T * 21 rotations each
                   for q in (world[:, list(BEFORE[1:])], world[:, 1:]))
    return (before.inv() * own).as_matrix()[..., :2].swapaxes(1, 2).reshape(len(joints), -1)


def features(motion: Motion, smoothing: float = FORWARD_SMOOTHING, heading: str = "published") -> np.ndarray:
    """HumanML3D features of a 20 fps motion, which is first made canonical. -> (T - 1, 263) float32

    smoothing: standard deviation in frames of the facing filter. The published 20 hides a quick turn from the root, so
    that the limbs have to carry it; heading: see HEADINGS. Recovery is exact with any.
    """
    if len(motion) < 2:
        raise ValueError(f"features: expected at least 2 frames (found {len(motion)})")
    joints = canonical(motion.joints)                                                 # (T, 22, 3)
    root = smooth_headings(joints, smoothing, heading)                                    # (T, 4) world -> facing frame
    step = joints[1:] - joints[:-1]                                                   # (T - 1, 22, 3)
    headings = Rotation.from_quat(root, scalar_first=True)
    turn = (headings[1:] * headings[:-1].inv()).as_quat(canonical=True, scalar_first=True)      # (T - 1, 4)
    local = joints - joints[:, [PELVIS]] * (1, 0, 1)
    local = rotated(root[:, None], local)                                             # (T, 22, 3)
    rows = len(step)
    return np.concatenate([
        np.arcsin(np.clip(turn[:, 2:3], -1, 1)),      # the short way; upstream turns back once per half turn passed
        rotated(root[1:], step[:, PELVIS])[:, [0, 2]],
        joints[:-1, PELVIS, 1:2],
        local[:-1, 1:].reshape(rows, -1),
        bone_rotations(joints, root)[:-1],
        rotated(root[:-1, None], step).reshape(rows, -1),
        np.square(step[:, FEET]).sum(-1) < CONTACT_SPEED2,
    ], axis=1).astype(np.float32)


def joints_from_features(rows: Tensor) -> Tensor:
    """Joints in metres from denormalised features, differentiably. rows: (..., T, 263) -> (..., T, 22, 3)

    Uses the root columns and the joint positions, as the published recovery does; the other columns are redundant.
    """
    half_yaw = exclusive_sum(rows[..., 0])                                            # (..., T)
    cos, sin = (2 * half_yaw).cos(), (2 * half_yaw).sin()
    velocity = torch.roll(rows[..., ROOT_VELOCITY], 1, dims=-2)                       # (..., T, 2)
    velocity = torch.cat([torch.zeros_like(velocity[..., :1, :]), velocity[..., 1:, :]], dim=-2)
    x, z = turned(cos, sin, velocity[..., 0], velocity[..., 1])
    root = torch.stack([x.cumsum(-1), rows[..., 3], z.cumsum(-1)], dim=-1)            # (..., T, 3)
    local = rows[..., POSITIONS].unflatten(-1, (NUM_JOINTS - 1, 3))                   # (..., T, 21, 3)
    x, z = turned(cos[..., None], sin[..., None], local[..., 0], local[..., 2])
    others = torch.stack([x + root[..., None, 0], local[..., 1], z + root[..., None, 2]], dim=-1)
    return torch.cat([root[..., None, :], others], dim=-2)


def exclusive_sum(x: Tensor) -> Tensor:
    """Sum of all earlier elements along the last axis."""
    return torch.cat([torch.zeros_like(x[..., :1]), x[..., :-1].cumsum(-1)], dim=-1)


def turned(cos: Tensor, sin: Tensor, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Facing frame -> world: the inverse of a yaw given by its cosine and sine."""
    return cos * x - sin * z, sin * x + cos * z
