"""Joints <-> the 263 features of HumanML3D (Guo et al. 2022, §3), the language T2M-GPT speaks.

A row describes one frame: yaw velocity, root velocity and height, joints seen from the root, bone rotations, joint
velocities and foot contacts. The yaw velocity is HALF the yaw step, in radians per frame, as in the published data.
"""
from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from t2m.motion import (HEAD, LEFT_ANKLE, LEFT_COLLAR, LEFT_ELBOW, LEFT_HIP, LEFT_KNEE, LEFT_SHOULDER, LEFT_TOE,
                        LEFT_WRIST, Motion, NECK, NUM_JOINTS, PARENTS, PELVIS, RIGHT_ANKLE, RIGHT_COLLAR, RIGHT_ELBOW,
                        RIGHT_HIP, RIGHT_KNEE, RIGHT_SHOULDER, RIGHT_TOE, RIGHT_WRIST, SPINE1, SPINE2, SPINE3)

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
# The joint before each in its kinematic chain; both arm chains start over from the root, not from the chest.
BEFORE = tuple(PELVIS if joint in (LEFT_COLLAR, RIGHT_COLLAR) else parent for joint, parent in enumerate(PARENTS))
LEFTWARD, RIGHTWARD, UP, DOWN, FORWARD = (1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1)
REST_DIRECTIONS = {                  # of the bone that ends in each joint, on HumanML3D's axis-aligned skeleton
    **dict.fromkeys((LEFT_HIP, LEFT_COLLAR), LEFTWARD),
    **dict.fromkeys((RIGHT_HIP, RIGHT_COLLAR), RIGHTWARD),
    **dict.fromkeys((SPINE1, SPINE2, SPINE3, NECK), UP),
    **dict.fromkeys((LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE), DOWN),
    **dict.fromkeys((LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST), DOWN),
    **dict.fromkeys((LEFT_TOE, RIGHT_TOE, HEAD), FORWARD),
}


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors scaled to length 1; a zero vector stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def quaternion_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamilton product of (..., 4) quaternions w, x, y, z: first b, then a."""
    scalar = a[..., :1] * b[..., :1] - (a[..., 1:] * b[..., 1:]).sum(-1, keepdims=True)
    vector = a[..., :1] * b[..., 1:] + b[..., :1] * a[..., 1:] + np.cross(a[..., 1:], b[..., 1:])
    return np.concatenate([scalar, vector], axis=-1)


def inverse_quaternion(q: np.ndarray) -> np.ndarray:
    return q * (1, -1, -1, -1)


def rotated(q: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) turned by unit quaternions (..., 4)."""
    twice = 2 * np.cross(q[..., 1:], vectors, axis=-1)
    return vectors + q[..., :1] * twice + np.cross(q[..., 1:], twice, axis=-1)


def quaternion_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Shortest rotation from unit `start` to unit `end`; opposite vectors turn half round, where upstream gives NaN."""
    start, end = np.broadcast_arrays(start, end)
    scalar = 1 + (start * end).sum(-1, keepdims=True)                                 # (..., 1)
    vector = np.cross(start, end, axis=-1)                                            # (..., 3)
    across = np.cross(start, np.where(np.abs(start[..., :1]) < 0.9, RIGHTWARD, UP), axis=-1)
    opposite = scalar < 1e-9
    q = np.concatenate([np.where(opposite, 0, scalar), np.where(opposite, across, vector)], axis=-1)
    return unit(q)


def columns6d(q: np.ndarray) -> np.ndarray:
    """First two columns of the rotation matrix. (..., 4) -> (..., 6)"""
    return np.concatenate([rotated(q, np.broadcast_to(axis, q[..., 1:].shape)) for axis in (LEFTWARD, UP)], axis=-1)


def across_hips(joints: np.ndarray) -> np.ndarray:
    return joints[..., RIGHT_HIP, :] - joints[..., LEFT_HIP, :]


def across_shoulders(joints: np.ndarray) -> np.ndarray:
    return joints[..., RIGHT_SHOULDER, :] - joints[..., LEFT_SHOULDER, :]


def forward_vector(across: np.ndarray) -> np.ndarray:
    """Horizontal vector faced by a body whose left-to-right axis is `across`, shorter when it leans. (..., 3)"""
    return np.cross(np.broadcast_to(UP, across.shape), unit(across), axis=-1)


def first_heading(joints: np.ndarray) -> np.ndarray:
    """Rotation that turns the first frame's facing, by hips and shoulders, to +z. joints: (T, 22, 3) -> (4,)"""
    forward = forward_vector(across_hips(joints[0]) + across_shoulders(joints[0]))
    return quaternion_between(unit(forward), np.array(FORWARD))


def smooth_headings(joints: np.ndarray, smoothing: float) -> np.ndarray:
    """Rotation world -> facing frame over time, the identity at frame 0. joints: canonical (T, 22, 3) -> (T, 4)

    The published data SUBTRACTS the hips here (its inverse kinematics swaps the hip names); checkpoints depend on it.
    """
    forward = forward_vector(across_shoulders(joints) - across_hips(joints))
    forward = gaussian_filter1d(forward, smoothing, axis=0, mode="nearest")
    headings = quaternion_between(unit(forward), np.array(FORWARD))                   # (T, 4)
    headings[0] = (1, 0, 0, 0)
    return headings


def canonical(joints: np.ndarray) -> np.ndarray:
    """The motion put on the floor, its first frame at the origin and facing +z. joints: (T, 22, 3) metres"""
    joints = np.asarray(joints, dtype=np.float64)
    joints = joints - (joints[0, PELVIS, 0], joints[..., 1].min(), joints[0, PELVIS, 2])
    return rotated(first_heading(joints), joints)


def retargeted(joints: np.ndarray, target_offsets: np.ndarray) -> np.ndarray:
    """The motion on another skeleton: same bone directions, its bone lengths, travel scaled by the leg ratio.

    joints: (T, 22, 3) metres; target_offsets: (22, 3) metres, from each joint's parent.
    """
    joints = np.asarray(joints, dtype=np.float64)
    parents = list(PARENTS[1:])
    bones = joints[:, 1:] - joints[:, parents]                                        # (T, 21, 3)
    lengths = np.linalg.norm(target_offsets, axis=-1)                                 # (22,)
    leg = [RIGHT_KNEE - 1, RIGHT_ANKLE - 1]
    ratio = lengths[[RIGHT_KNEE, RIGHT_ANKLE]].sum() / np.linalg.norm(bones[0, leg], axis=-1).sum()
    out = np.empty_like(joints)
    out[:, PELVIS] = joints[:, PELVIS] * ratio
    for joint, parent in enumerate(parents, start=1):
        out[:, joint] = out[:, parent] + unit(bones[:, joint - 1]) * lengths[joint]
    return out


def bone_rotations(joints: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Rotation of joints 1..21 against the one before in the chain. joints: (T, 22, 3); root: (T, 4) -> (T, 21, 4)"""
    rest = np.array([REST_DIRECTIONS[joint] for joint in range(1, NUM_JOINTS)], dtype=np.float64)
    bones = unit(joints[:, 1:] - joints[:, list(PARENTS[1:])])                        # (T, 21, 3)
    world = np.concatenate([root[:, None], quaternion_between(rest, bones)], axis=1)  # (T, 22, 4)
    return quaternion_product(inverse_quaternion(world[:, list(BEFORE[1:])]), world[:, 1:])


def features(motion: Motion, smoothing: float = FORWARD_SMOOTHING) -> np.ndarray:
    """HumanML3D features of a 20 fps motion, which is first made canonical. -> (T - 1, 263) float32

    smoothing: standard deviation in frames of the facing filter. The published 20 hides a quick turn from the root, so
    that the limbs have to carry it; recovery is exact with any.
    """
    if len(motion) < 2:
        raise ValueError(f"features: expected at least 2 frames (found {len(motion)})")
    joints = canonical(motion.joints)                                                 # (T, 22, 3)
    root = smooth_headings(joints, smoothing)                                         # (T, 4) world -> facing frame
    step = joints[1:] - joints[:-1]                                                   # (T - 1, 22, 3)
    turn = quaternion_product(root[1:], inverse_quaternion(root[:-1]))                # (T - 1, 4)
    turn *= np.where(turn[:, :1] < 0, -1, 1)      # the short way round; upstream turns back once per half turn passed
    local = joints - joints[:, [PELVIS]] * (1, 0, 1)
    local = rotated(root[:, None], local)                                             # (T, 22, 3)
    rows = len(step)
    return np.concatenate([
        np.arcsin(np.clip(turn[:, 2:3], -1, 1)),
        rotated(root[1:], step[:, PELVIS])[:, [0, 2]],
        joints[:-1, PELVIS, 1:2],
        local[:-1, 1:].reshape(rows, -1),
        columns6d(bone_rotations(joints, root))[:-1].reshape(rows, -1),
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
