"""The 3D motion that passes from text to camera: 22 SMPL joints over time, in metres; and the geometry of such a body.

Which way it faces, its bones, and legs that reach a place. Vectors are (..., 3): x to the left of a person at rest, y up,
z forward. Quaternions are (..., 4): w, x, y, z.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import convolve1d, maximum_filter1d, uniform_filter1d

from media.files import numbers, save_arrays, stored_arrays

# ---------------------------------------------------------------------------------------------------------- the motion

FASTEST = 1e3      # frames per second
MOTION_FPS = 20.0  # frames per second of HumanML3D, and so of every T2M-GPT checkpoint
JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_toe", "right_toe", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)
NUM_JOINTS = len(JOINT_NAMES)  # 22
(
    PELVIS, LEFT_HIP, RIGHT_HIP, SPINE1, LEFT_KNEE, RIGHT_KNEE, SPINE2, LEFT_ANKLE, RIGHT_ANKLE,
    SPINE3, LEFT_TOE, RIGHT_TOE, NECK, LEFT_COLLAR, RIGHT_COLLAR, HEAD, LEFT_SHOULDER,
    RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST,
) = range(NUM_JOINTS)
# The joint each joint hangs from; the pelvis is the root.
PARENTS = (
    -1, PELVIS, PELVIS, PELVIS, LEFT_HIP, RIGHT_HIP, SPINE1, LEFT_KNEE, RIGHT_KNEE, SPINE2, LEFT_ANKLE, RIGHT_ANKLE,
    SPINE3, SPINE3, SPINE3, NECK, LEFT_COLLAR, RIGHT_COLLAR, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW,
)
LEGS = ((LEFT_HIP, LEFT_KNEE, LEFT_ANKLE, LEFT_TOE), (RIGHT_HIP, RIGHT_KNEE, RIGHT_ANKLE, RIGHT_TOE))
ARMS = ((LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST), (RIGHT_SHOULDER, RIGHT_ELBOW, RIGHT_WRIST))


@dataclass(frozen=True)
class Motion:
    """One person moving: y is up, the floor is y = 0; a person at rest faces +z, and their left is +x."""

    joints: np.ndarray        # (T, 22, 3) float32 metres, in the order of JOINT_NAMES
    fps: float = MOTION_FPS   # frames per second

    def __post_init__(self):
        joints = np.asarray(self.joints, dtype=np.float32)
        if joints.ndim != 3 or joints.shape[1:] != (NUM_JOINTS, 3) or len(joints) == 0:
            raise ValueError(f"Motion.joints: expected (T, {NUM_JOINTS}, 3) with T >= 1 (found {joints.shape})")
        if not np.isfinite(joints).all():
            raise ValueError("Motion.joints: expected finite metres (found NaN or infinity)")
        if not 0 < self.fps <= FASTEST:
            raise ValueError(f"Motion.fps: expected a rate of at most {FASTEST:g} (found {self.fps})")
        object.__setattr__(self, "joints", joints)

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def seconds(self) -> float:
        return len(self.joints) / self.fps

    def save(self, path: str | Path) -> None:
        """Write an .npz that appears under its name only when complete."""
        save_arrays(Path(path), joints=self.joints, fps=np.float64(self.fps))

    @classmethod
    def load(cls, path: str | Path) -> Motion:
        with stored_arrays(path, "a motion file with joints and fps") as arrays:
            return cls(joints=numbers(arrays, "joints"), fps=float(numbers(arrays, "fps", ())))


# ------------------------------------------------------------------------------------------------- geometry of a body

RIGHTWARD, UP = (-1, 0, 0), (0, 1, 0)
STRAIGHTEST_LEG = 0.999                # of the leg's length
SINKING_FRAMES = 5                     # over which what bones of another length sink is averaged
SAME_BONES = 0.02                      # share by which bone lengths may differ on one body


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors scaled to length 1; a zero vector stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def smoothstep(x: np.ndarray) -> np.ndarray:
    """0 at x <= 0 and 1 at x >= 1, with no speed at either."""
    x = np.clip(x, 0, 1)
    return x**2 * (3 - 2 * x)


def quaternion_between(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Shortest rotation from unit `start` to unit `end`; opposite vectors turn half round, where upstream gives NaN."""
    start, end = np.broadcast_arrays(start, end)
    scalar = 1 + (start * end).sum(-1, keepdims=True)                                 # (..., 1)
    vector = np.cross(start, end, axis=-1)                                            # (..., 3)
    across = np.cross(start, np.where(np.abs(start[..., :1]) < 0.9, RIGHTWARD, UP), axis=-1)
    opposite = scalar < 1e-9
    q = np.concatenate([np.where(opposite, 0, scalar), np.where(opposite, across, vector)], axis=-1)
    return unit(q)


def rotated(q: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) turned by unit quaternions (..., 4)."""
    twice = 2 * np.cross(q[..., 1:], vectors, axis=-1)
    return vectors + q[..., :1] * twice + np.cross(q[..., 1:], twice, axis=-1)


def yaw_rotated(vectors: np.ndarray, yaw: float | np.ndarray) -> np.ndarray:
    """Vectors (..., 3) turned to the left by one yaw, or by one for each (...), radians."""
    half, zero = np.asarray(yaw) / 2, np.zeros(np.shape(yaw))
    return rotated(np.stack([np.cos(half), zero, np.sin(half), zero], axis=-1), vectors)


def within_half_turn(yaw: float) -> float:
    """The same direction in [-pi, pi)."""
    return (yaw + np.pi) % (2 * np.pi) - np.pi


def across_hips(joints: np.ndarray) -> np.ndarray:
    return joints[..., RIGHT_HIP, :] - joints[..., LEFT_HIP, :]


def across_shoulders(joints: np.ndarray) -> np.ndarray:
    return joints[..., RIGHT_SHOULDER, :] - joints[..., LEFT_SHOULDER, :]


def forward_vector(across: np.ndarray) -> np.ndarray:
    """Horizontal vector faced by a body whose left-to-right axis is `across`, shorter when it leans. (..., 3)"""
    return np.cross(np.broadcast_to(UP, across.shape), unit(across), axis=-1)


def heading(pose: np.ndarray) -> float:
    """Yaw in radians that hips and shoulders face, 0 = +z, positive to the person's left. pose: (22, 3)"""
    x, _, z = forward_vector(across_hips(pose) + across_shoulders(pose))
    return float(np.arctan2(x, z))


def bone_lengths(joints: np.ndarray) -> np.ndarray:
    """Median length of the bone that ends in each joint, 0 for the pelvis. (T, 22, 3) -> (22,) metres"""
    bones = joints[:, 1:] - joints[:, list(PARENTS[1:])]                              # (T, 21, 3)
    return np.concatenate([[0.0], np.median(np.linalg.norm(bones, axis=-1), axis=0)])


def bone_directions(joints: np.ndarray) -> np.ndarray:
    """Unit vectors parent -> joint, zero for the pelvis. (T, 22, 3) -> (T, 22, 3)"""
    directions = np.zeros(joints.shape)
    directions[:, 1:] = unit(joints[:, 1:] - joints[:, list(PARENTS[1:])])
    return directions


def from_directions(pelvis: np.ndarray, directions: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Joints of a body. pelvis: (T, 3); directions: (T, 22, 3); lengths: (22,) -> (T, 22, 3)"""
    joints = np.empty((len(pelvis), NUM_JOINTS, 3))
    joints[:, PELVIS] = pelvis
    for joint in range(1, NUM_JOINTS):
        joints[:, joint] = joints[:, PARENTS[joint]] + directions[:, joint] * lengths[joint]
    return joints


def with_bone_lengths(joints: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The same bone directions on bones that keep their length, as low as drawn; decoded motions let lengths waver."""
    joints = np.asarray(joints, dtype=np.float64)
    steady = from_directions(joints[:, PELVIS], bone_directions(joints), lengths)
    sunk = joints[..., 1].min(axis=1) - steady[..., 1].min(axis=1)                    # (T,)
    steady[..., 1] += uniform_filter1d(sunk, SINKING_FRAMES, mode="nearest")[:, None]
    return steady


def retargeted(joints: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The motion (T, 22, 3) on a body of these bone lengths (22,), its path scaled by the ratio of the legs."""
    joints, leg = np.asarray(joints, dtype=np.float64), [RIGHT_KNEE, RIGHT_ANKLE]
    own = np.linalg.norm(joints[0, leg] - joints[0, [RIGHT_HIP, RIGHT_KNEE]], axis=-1)
    return from_directions(joints[:, PELVIS] * (lengths[leg].sum() / own.sum()), bone_directions(joints), lengths)


def on_body(joints: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The motion on a body of these bone lengths, its path scaled to its legs where the bodies differ."""
    same = np.abs(bone_lengths(joints) - lengths).max() <= SAME_BONES * lengths.max()
    return (with_bone_lengths if same else retargeted)(joints, lengths)


def leg_lengths(joints: np.ndarray, hip: int, knee: int, ankle: int) -> tuple[float, float]:
    """Thigh and shank in metres, medians over the motion."""
    thigh = np.median(np.linalg.norm(joints[:, knee] - joints[:, hip], axis=-1))
    shank = np.median(np.linalg.norm(joints[:, ankle] - joints[:, knee], axis=-1))
    return float(thigh), float(shank)


def out_of_reach(hip: np.ndarray, ankle: np.ndarray, length: float) -> np.ndarray:
    """How far (T,) the hip (T, 3) must come down for a leg of this length to reach the ankle (T, 3), metres."""
    apart = np.linalg.norm((hip - ankle)[:, [0, 2]], axis=-1)                         # (T,)
    return hip[:, 1] - (ankle[:, 1] + np.sqrt(np.maximum(length**2 - apart**2, 0)))


def smoothly_widened(track: np.ndarray, width: int) -> np.ndarray:
    """The largest of `width` frames around each of a track (T,), with smooth ramps."""
    window = np.hanning(width + 2)[1:-1]
    return convolve1d(maximum_filter1d(track, width, mode="nearest"), window / window.sum(), mode="nearest")


def bent_leg(hip: np.ndarray, target: np.ndarray, bones: tuple[float, float], bend: np.ndarray,
             shortest: float) -> tuple[np.ndarray, np.ndarray]:
    """Knee and ankle (T, 3) of a leg whose ankle reaches for `target` (T, 3); its knee goes where `bend` (T, 3) points.

    bones: lengths of thigh and shank; shortest: least distance of hip and ankle; metres.
    """
    thigh, shank = bones
    reach = target - hip                                                              # (T, 3)
    asked = np.linalg.norm(reach, axis=-1, keepdims=True)                             # (T, 1)
    along = unit(reach)
    distance = np.clip(asked, shortest, STRAIGHTEST_LEG * (thigh + shank))
    pole = unit(bend - (bend * along).sum(-1, keepdims=True) * along)
    before_knee = (thigh**2 - shank**2 + distance**2) / (2 * distance)                # along hip to ankle
    aside = np.sqrt(np.maximum(thigh**2 - before_knee**2, 0))
    return hip + before_knee * along + aside * pole, hip + distance * along
