"""Pose from joints for SMPL, and heads taken from its mesh; a rigged stand-in plays the registered body model."""
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dwpose.skeleton import FACE, LEFT_EYE, NOSE, RIGHT_EYE
from synthetic.body import Body
from synthetic.motions import sample_motion
from t2m.project import body_vertices, HEAD_VERTICES, landmarks, project, smpl_pose, with_mesh_head
from t2m.motion import HEAD, NUM_JOINTS, PARENTS, PELVIS

NUM_VERTICES = 6890


def rest_joints() -> np.ndarray:
    rest, offsets = np.zeros((NUM_JOINTS, 3)), Body().offsets()
    for joint, parent in enumerate(PARENTS[1:], start=1):
        rest[joint] = rest[parent] + offsets[joint]
    return rest


def posed(pose: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World rotations (T, 22, 3, 3) and joints (T, 22, 3) of a chain of local axis-angle rotations (T, 24, 3)."""
    world, joints = np.empty((len(pose), NUM_JOINTS, 3, 3)), np.zeros((len(pose), NUM_JOINTS, 3))
    for joint, parent in enumerate(PARENTS):
        local = Rotation.from_rotvec(pose[:, joint]).as_matrix()
        world[:, joint] = world[:, parent] @ local if parent >= 0 else local
        if parent >= 0:
            joints[:, joint] = joints[:, parent] + world[:, parent] @ (rest[joint] - rest[parent])
    return world, joints


class RiggedBody:
    """What smplx.create gives, with vertices that all ride on the head."""

    def __init__(self):
        rest = rest_joints()
        self.v_template = torch.zeros(NUM_VERTICES, 3)
        self.v_template[:NUM_JOINTS] = torch.from_numpy(rest).float()
        self.J_regressor = torch.eye(NUM_JOINTS, NUM_VERTICES)
        self.on_head = np.random.default_rng(0).normal(0, 0.08, (NUM_VERTICES, 3))

    def __call__(self, global_orient, body_pose):
        pose = torch.cat([global_orient, body_pose], dim=1).reshape(-1, 24, 3).numpy()
        world, joints = posed(pose, rest_joints())
        vertices = joints[:, [HEAD]] + np.einsum("tij,vj->tvi", world[:, HEAD], self.on_head)
        return SimpleNamespace(joints=torch.from_numpy(joints).float(), vertices=torch.from_numpy(vertices).float())


@pytest.mark.parametrize("kind", ["wave", "kick", "bow", "spin"])
def test_the_pose_puts_the_joints_back_where_they_were(kind):
    joints = sample_motion(kind, 2.0, np.random.default_rng(1)).motion.joints.astype(np.float64)
    _, again = posed(smpl_pose(joints, rest_joints()), rest_joints())
    again += joints[:, [PELVIS]]
    assert np.linalg.norm(again - joints, axis=-1).max() < 0.03                          # collars flex between bones


def test_without_smplx_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "smplx", None)
    with pytest.raises(ValueError, match="smplx.*pip install smplx"):
        body_vertices(np.zeros((1, NUM_JOINTS, 3)), "SMPL_NEUTRAL.pkl")


def test_a_missing_model_file_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "smplx", SimpleNamespace(create=lambda *_, **__: RiggedBody()))
    with pytest.raises(FileNotFoundError, match="SMPL_NEUTRAL.pkl"):
        body_vertices(np.zeros((1, NUM_JOINTS, 3)), "SMPL_NEUTRAL.pkl")


def test_the_head_of_the_skeleton_is_the_meshs(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "smplx", SimpleNamespace(create=lambda *_, **__: RiggedBody()))
    (tmp_path / "SMPL_NEUTRAL.pkl").touch()
    motion = sample_motion("nod", 2.0, np.random.default_rng(1)).motion
    with_mesh = project(motion, (320, 192), 10, "static", smpl=tmp_path / "SMPL_NEUTRAL.pkl")
    without = project(motion, (320, 192), 10, "static")
    assert np.abs(with_mesh.xy[:, NOSE] - without.xy[:, NOSE]).max() > 1
    vertices = body_vertices(motion.joints, tmp_path / "SMPL_NEUTRAL.pkl")
    assert np.abs(vertices[:, HEAD_VERTICES[NOSE]] - motion.joints[:, HEAD]).max() < 0.5


def test_the_face_moves_with_the_eyes_and_keeps_its_shape():
    joints = sample_motion("stand", 1.0, np.random.default_rng(1)).motion.joints
    points = landmarks(joints).points
    turn, shift = Rotation.from_rotvec((0.1, 0.4, -0.2)).as_matrix(), np.array((0.05, 0.1, -0.3))
    vertices = np.zeros((len(points), NUM_VERTICES, 3))
    for mark, vertex in HEAD_VERTICES.items():
        vertices[:, vertex] = points[:, mark] @ turn.T + shift
    moved = with_mesh_head(points, vertices)
    np.testing.assert_allclose(moved[:, FACE], points[:, FACE] @ turn.T + shift, atol=1e-4)
    np.testing.assert_allclose(moved[:, [LEFT_EYE, RIGHT_EYE]], points[:, [LEFT_EYE, RIGHT_EYE]] @ turn.T + shift, atol=1e-4)
