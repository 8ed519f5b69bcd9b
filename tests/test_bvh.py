"""BVH files, read by the plain rules of the format: every joint of the motion is where it was."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from synthetic.motions import sample_motion
from t2m.bvh import save_bvh
from t2m.joining import join_motions
from t2m.motion import JOINT_NAMES, Motion, NUM_JOINTS, PARENTS


def read_bvh(text: str) -> tuple[dict[str, np.ndarray], dict[str, str], float]:
    """Joints in the world by name, (T, 3) each; the joint above each; seconds from frame to frame."""
    words = text.split()
    end = words.index("MOTION")
    num_frames, seconds = int(words[words.index("Frames:") + 1]), float(words[words.index("Time:") + 1])
    values = np.array(words[words.index("Time:") + 2:], np.float64).reshape(num_frames, -1)
    places, turns, above = {}, {}, {}
    open_joints, i, column = [], 1, 0
    while i < end:
        if words[i] in ("ROOT", "JOINT"):
            name = words[i + 1]
            above[name] = open_joints[-1] if open_joints else ""
            open_joints.append(name)
            offset = np.array(words[i + 4:i + 7], np.float64)
            channels = words[i + 9:i + 9 + int(words[i + 8])]
            own = dict(zip(channels, values[:, column:].T))
            column += len(channels)
            turn = Rotation.identity(num_frames)
            for axis in [channel[0] for channel in channels if channel.endswith("rotation")]:
                turn = turn * Rotation.from_euler(axis, own[f"{axis}rotation"][:, None], degrees=True)
            local = offset + np.stack([own.get(f"{axis}position", np.zeros(num_frames)) for axis in "XYZ"], axis=-1)
            parent = above[name]
            places[name] = places[parent] + turns[parent].apply(local) if parent else local
            turns[name] = turns[parent] * turn if parent else turn
            i += 9 + len(channels)
        elif words[i] == "End":
            i += 8                                        # End Site { OFFSET x y z }
        else:
            assert words[i] == "}", words[i]
            open_joints.pop()
            i += 1
    assert not open_joints and column == values.shape[1]
    return places, above, seconds


def joined(*kinds):
    generator = np.random.default_rng(3)
    return join_motions([sample_motion(kind, 2.0, generator).motion for kind in kinds], 0.5, list(kinds))


def restless():
    """Joints anywhere: bones of every direction that change their length."""
    return Motion(np.random.default_rng(0).normal(size=(30, NUM_JOINTS, 3)), fps=30.0)


@pytest.mark.parametrize("motion", [joined("wave", "squat", "jump"), restless(), Motion(np.zeros((1, NUM_JOINTS, 3)), fps=15.0)], ids=["joined", "restless", "all joints at one place"])
def test_a_bvh_file_gives_every_joint_back(tmp_path, motion):
    save_bvh(motion, tmp_path / "motion.bvh")
    places, above, seconds = read_bvh((tmp_path / "motion.bvh").read_text())
    read = np.stack([places[name] for name in JOINT_NAMES], axis=1)
    assert abs(read - motion.joints).max() < 1e-4 and seconds == pytest.approx(1 / motion.fps)
    for joint, parent in enumerate(PARENTS):
        hangs_from = above[JOINT_NAMES[joint]]
        assert (hangs_from == "") if parent < 0 else hangs_from in (JOINT_NAMES[parent], f"{JOINT_NAMES[parent]}_to_{JOINT_NAMES[joint]}")


def test_a_body_of_steady_bones_needs_rotations_alone(tmp_path):
    save_bvh(joined("wave"), tmp_path / "motion.bvh")
    text = (tmp_path / "motion.bvh").read_text()
    assert text.count("CHANNELS 6") == 1 and text.index("CHANNELS 6") < text.index("JOINT")
