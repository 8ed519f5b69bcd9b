"""The 3D motion that passes from text to camera: 22 SMPL joints over time, in metres."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from media.files import save_arrays

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
        if not self.fps > 0:
            raise ValueError(f"Motion.fps: expected a positive rate (found {self.fps})")
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
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(joints=arrays["joints"], fps=float(arrays["fps"]))
        except FileNotFoundError:
            raise
        except Exception as error:                      # of zip, zlib, NumPy and the numbers themselves
            found = (str(error) or type(error).__name__).split(". ")[0]          # without NumPy's advice to unpickle it
            raise ValueError(f"{path}: expected a motion file with joints and fps ({found}): make it anew") from error
