"""3D motion -> 2D skeleton through a camera, at any frame rate and canvas.

We differ from the published projection (HMTV) where it is a defect: nearer is larger, eyes and ears keep their sides, a
face seen from behind is unseen, any canvas keeps the body's proportions, and time is resampled instead of relabelled.
"""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from dwpose import skeleton as coco
from dwpose.skeleton import HANDS, Skeleton
from t2m.body import quaternion_between, rotated, unit
from t2m.camera import Camera, CAMERAS, Framing, standing_height
from t2m.landmarks import Landmarks, landmarks, seen_from
from t2m.motion import Motion, NUM_JOINTS, PARENTS, PELVIS

CHILDREN = tuple([child for child, parent in enumerate(PARENTS) if parent == joint] for joint in range(NUM_JOINTS))
HEAD_VERTICES = {coco.NOSE: 331, coco.LEFT_EYE: 2802, coco.RIGHT_EYE: 6262, coco.LEFT_EAR: 3489, coco.RIGHT_EAR: 3990}
NUM_SMPL_ROTATIONS = 24           # 22 joints and the two hands


def project(motion: Motion, size: tuple[int, int], fps: float, camera: str | Camera = "auto",
            smpl: str | Path | None = None) -> Skeleton:
    """The motion as a detector would see it, hands unseen. size: (height, width) pixels; fps: of the result.

    camera: one of CAMERAS, or a Camera whose fields are floats or one value per frame of the result. smpl: an SMPL model
    file, from whose mesh the head is taken; without one a head is built on the joints.
    """
    marks, camera = viewed(motion, size, fps, camera, smpl)
    seen = seen_from(marks, camera)                                                   # (F, 133)
    keypoints = camera.project(marks.points, size)                                    # (F, 133, 3) x, y, depth
    keypoints[..., 2] = seen
    keypoints[:, HANDS] = 0
    return Skeleton(keypoints, size=size, fps=fps)


def body_depth(motion: Motion, size: tuple[int, int], fps: float, camera: str | Camera = "auto") -> np.ndarray:
    """How far the 17 body points that `project` gives are from the camera, along its axis: (F, 17) metres."""
    marks, camera = viewed(motion, size, fps, camera)
    nearer = camera.project(marks.points[:, coco.BODY], size)[..., 2]                 # (F, 17) metres, 0 at the target
    return np.broadcast_to(camera.distance, len(nearer))[:, None] - nearer


def viewed(motion: Motion, size: tuple[int, int], fps: float, camera: str | Camera,
           smpl: str | Path | None = None) -> tuple[Landmarks, Camera]:
    """The motion's landmarks at `fps`, and the camera that sees them."""
    joints = resampled(motion, fps)                                                   # (F, 22, 3)
    marks = landmarks(joints)
    if smpl:
        marks = replace(marks, points=with_mesh_head(marks.points, body_vertices(joints, smpl)))
    if isinstance(camera, str):
        if camera not in CAMERAS:
            raise ValueError(f"camera {camera!r}: expected one of {', '.join(CAMERAS)}")
        body = marks.points[:, :HANDS.start]                                          # (F, 91, 3)
        camera = CAMERAS[camera](Framing(body, joints[:, PELVIS], standing_height(joints), size, fps))
    return marks, camera


def resampled(motion: Motion, fps: float) -> np.ndarray:
    """Joints at `fps`, linear in time; frame k is what happens at k / fps seconds. -> (F, 22, 3)"""
    if not fps > 0:
        raise ValueError(f"project: expected a positive frame rate (found {fps})")
    num_frames = max(round(motion.seconds * fps), 1)
    position = np.minimum(np.arange(num_frames) / fps * motion.fps, len(motion) - 1)  # (F,) in frames of the motion
    before = np.floor(position).astype(int)
    after = np.minimum(before + 1, len(motion) - 1)
    share = (position - before)[:, None, None]
    return (1 - share) * motion.joints[before] + share * motion.joints[after]


def rigid_rotation(rest: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Rotations that turn several rest vectors onto the seen ones best (Kabsch). (K, 3), (T, K, 3) -> (T, 3, 3)"""
    u, _, vt = np.linalg.svd(np.einsum("tki,kj->tij", seen, rest))
    u[..., -1] *= np.linalg.det(u @ vt)[:, None]
    return u @ vt


def smpl_pose(joints: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Axis-angle rotations against the parent, by bone directions. joints: (T, 22, 3); rest: (22, 3) -> (T, 24, 3)"""
    world = np.empty((len(joints), NUM_JOINTS, 3, 3))
    pose = np.zeros((len(joints), NUM_SMPL_ROTATIONS, 3))
    for joint, (parent, children) in enumerate(zip(PARENTS, CHILDREN, strict=True)):
        above = world[:, parent] if parent >= 0 else np.broadcast_to(np.eye(3), (len(joints), 3, 3))
        rest_bones, bones = rest[children] - rest[joint], joints[:, children] - joints[:, [joint]]
        if len(children) > 1:
            world[:, joint] = rigid_rotation(unit(rest_bones), unit(bones))
        elif children:
            swing = quaternion_between(unit(above @ rest_bones[0]), unit(bones[:, 0]))          # (T, 4)
            world[:, joint] = np.moveaxis(rotated(swing[:, None], np.moveaxis(above, 2, 1)), 1, 2)
        else:
            world[:, joint] = above
        pose[:, joint] = Rotation.from_matrix(np.swapaxes(above, 1, 2) @ world[:, joint]).as_rotvec()
    return pose


@torch.no_grad()
def body_vertices(joints: np.ndarray, model_file: str | Path) -> np.ndarray:
    """SMPL's mean body in the pose of each frame, its pelvis at the motion's. (T, 22, 3) metres -> (T, 6890, 3)"""
    try:
        import smplx
    except ImportError as error:
        raise ValueError("smpl: the SMPL mesh needs the package smplx (not installed): pip install smplx, or leave smpl "
                         "empty to project joints") from error
    if not Path(model_file).exists():
        raise FileNotFoundError(f"{model_file}: expected an SMPL model (found none): register at smpl.is.tue.mpg.de, or "
                                "leave smpl empty to project joints")
    body = smplx.create(str(model_file), model_type="smpl", batch_size=len(joints))
    rest = (body.J_regressor @ body.v_template).numpy().astype(np.float64)[:NUM_JOINTS]         # (22, 3)
    pose = torch.from_numpy(smpl_pose(np.asarray(joints, np.float64), rest)).float().flatten(1)  # (T, 72)
    out = body(global_orient=pose[:, :3], body_pose=pose[:, 3:])
    shift = torch.as_tensor(joints[:, [PELVIS]]) - out.joints[:, [PELVIS]]
    return (out.vertices + shift).numpy()


def with_mesh_head(points: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Landmarks whose nose, eyes and ears are the mesh's, the 68 face points moved with them as one piece.

    points: (T, 133, 3) metres; vertices: (T, 6890, 3) metres
    """
    marks, mesh = list(HEAD_VERTICES), vertices[:, list(HEAD_VERTICES.values())]                # (T, 5, 3)
    out, ours = points.copy(), points[:, marks]
    centre, mesh_centre = ours.mean(axis=1, keepdims=True), mesh.mean(axis=1, keepdims=True)
    for t in range(len(points)):
        turn = rigid_rotation(ours[t] - centre[t], (mesh[t] - mesh_centre[t])[None])[0]         # (3, 3)
        out[t, coco.FACE] = (points[t, coco.FACE] - centre[t]) @ turn.T + mesh_centre[t]
    out[:, marks] = mesh
    return out
