"""A 3D motion as a BVH file, which Blender and game engines open: joints that hang from one another, and their rotations.

Metres, y up; angles in degrees, applied Z, then X, then Y. The 22 joints keep their names. Where several bones leave a
joint, each first passes a joint of its own at the same place, named as in pelvis_to_left_hip: decoded motions let hips and
collars move against one another, which one rotation cannot say. So every joint is where it was, not only nearly.
"""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from media.files import save_text
from t2m.motion import (bone_directions, bone_lengths, HEAD, JOINT_NAMES, LEFT_ANKLE, LEFT_COLLAR, LEFT_ELBOW, LEFT_HIP,
                        LEFT_KNEE, LEFT_SHOULDER, LEFT_TOE, LEFT_WRIST, Motion, NECK, NUM_JOINTS, PARENTS, PELVIS,
                        RIGHT_ANKLE, RIGHT_COLLAR, RIGHT_ELBOW, RIGHT_HIP, RIGHT_KNEE, RIGHT_SHOULDER, RIGHT_TOE,
                        RIGHT_WRIST, SPINE1, SPINE2, SPINE3, unit)
from t2m.project import CHILDREN, rigid_rotation, swung

STEADY = 1e-4                        # metres by which a bone's length may differ over time and still be one offset
TIP = 0.08                           # metres: of what is drawn beyond a last joint
POSITION, ROTATION = "Xposition Yposition Zposition", "Zrotation Xrotation Yrotation"
T_POSE = {                           # where the bone that ends in each joint points while all angles are 0
    PELVIS: (0, 0, 0),
    **dict.fromkeys((SPINE1, SPINE2, SPINE3, NECK, HEAD), (0, 1, 0)),
    **dict.fromkeys((LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE), (0, -1, 0)),
    **dict.fromkeys((LEFT_TOE, RIGHT_TOE), (0, -1, 2)),
    LEFT_HIP: (1, -1, 0), RIGHT_HIP: (-1, -1, 0), LEFT_COLLAR: (1, 1, 0), RIGHT_COLLAR: (-1, 1, 0),
    **dict.fromkeys((LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST), (1, 0, 0)),
    **dict.fromkeys((RIGHT_SHOULDER, RIGHT_ELBOW, RIGHT_WRIST), (-1, 0, 0)),
}
REST = unit(np.array([T_POSE[joint] for joint in range(NUM_JOINTS)], np.float64))       # (22, 3)


def save_bvh(motion: Motion, path: str | Path) -> None:
    """Write the motion as a BVH file, which appears under its name only when complete."""
    hierarchy = Hierarchy(motion.joints.astype(np.float64))
    hierarchy.add_joint(PELVIS, np.broadcast_to(np.eye(3), (len(motion), 3, 3)), "")
    values = np.concatenate(hierarchy.columns, axis=1)                                # (T, C)
    rows = [" ".join(f"{value:.6f}" for value in row) for row in values]
    header = ["MOTION", f"Frames: {len(motion)}", f"Frame Time: {1 / motion.fps:.9f}"]
    save_text(Path(path), "\n".join(["HIERARCHY", *hierarchy.lines, *header, *rows, ""]))


@dataclass
class Hierarchy:
    """The lines of the file's first part, and the values over time of the channels that they declare."""

    joints: np.ndarray                                                                # (T, 22, 3) metres
    lines: list[str] = field(default_factory=list)
    columns: list[np.ndarray] = field(default_factory=list)                           # (T, 3) each

    def __post_init__(self):
        self.lengths, self.directions = bone_lengths(self.joints), bone_directions(self.joints)

    def add_joint(self, joint: int, above: np.ndarray, indent: str) -> None:
        """The joint and all that hangs from it. above: rotation (T, 3, 3) in the world of the bone that ends in it."""
        children, rotation = CHILDREN[joint], above
        if len(children) == 1:
            rotation = self.swung(above, children[0])
        elif children:
            rotation = rigid_rotation(REST[children], self.directions[:, children])
        offset, position = REST[joint] * self.lengths[joint], self.position(joint, above)
        self.begin(JOINT_NAMES[joint], offset, above, rotation, indent, position)
        for child in children:
            if len(children) == 1:
                self.add_joint(child, rotation, indent + "  ")
            else:
                own = self.swung(rotation, child)
                self.begin(f"{JOINT_NAMES[joint]}_to_{JOINT_NAMES[child]}", np.zeros(3), rotation, own, indent + "  ")
                self.add_joint(child, own, indent + "    ")
                self.lines.append(f"{indent}  }}")
        if not children:
            self.lines += [f"{indent}  End Site", f"{indent}  {{", f"{indent}    OFFSET {numbers(TIP * REST[joint])}", f"{indent}  }}"]
        self.lines.append(f"{indent}}}")

    def begin(self, name: str, offset: np.ndarray, above: np.ndarray, rotation: np.ndarray, indent: str,
              position: np.ndarray | None = None) -> None:
        """A joint's head and channels. position: (T, 3) against the joint above, which then takes the offset's place."""
        channels = f"CHANNELS 3 {ROTATION}" if position is None else f"CHANNELS 6 {POSITION} {ROTATION}"
        offset = offset if position is None else np.zeros(3)
        self.lines += [f"{indent}{'JOINT' if indent else 'ROOT'} {name}", f"{indent}{{", f"{indent}  OFFSET {numbers(offset)}", f"{indent}  {channels}"]
        turn = Rotation.from_matrix(np.swapaxes(above, 1, 2) @ rotation).as_euler("ZXY", degrees=True)
        self.columns += [turn] if position is None else [position, turn]

    def position(self, joint: int, above: np.ndarray) -> np.ndarray | None:
        """Where the joint is against the one above, (T, 3), for the root and for bones that change their length."""
        if joint == PELVIS:
            return self.joints[:, PELVIS]
        bone = self.joints[:, joint] - self.joints[:, PARENTS[joint]]                 # (T, 3)
        is_steady = np.ptp(np.linalg.norm(bone, axis=-1)) < STEADY
        return None if is_steady else np.einsum("tji,tj->ti", above, bone)

    def swung(self, above: np.ndarray, joint: int) -> np.ndarray:
        """The rotation (T, 3, 3) nearest to `above` that turns the bone to this joint where it points."""
        return swung(above, above @ REST[joint], self.directions[:, joint])


def numbers(vector: np.ndarray) -> str:
    return " ".join(f"{value:.6f}" for value in vector)
