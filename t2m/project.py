"""3D motion -> 2D skeleton through a camera, at any frame rate and canvas.

We differ from the published projection (HMTV) where it is a defect: nearer is larger, eyes and ears keep their sides, a
face seen from behind is unseen, any canvas keeps the body's proportions, and time is resampled instead of relabelled.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from dwpose import skeleton as coco
from dwpose.skeleton import HANDS, Skeleton
from t2m.camera import Camera
from t2m.features import quaternion_between, rotated, unit
from t2m.joining import bone_lengths
from t2m.landmarks import Landmarks, landmarks, seen_from
from t2m.motion import (HEAD, LEFT_ANKLE, LEFT_HIP, LEFT_KNEE, Motion, NECK, NUM_JOINTS, PARENTS, PELVIS, SPINE1,
                        SPINE2, SPINE3)

STANDING_SHARE = 0.8          # of the canvas height that a standing person fills, when the motion leaves room
LARGEST_SHARE = 0.92          # of the canvas, each way, that the whole motion may fill
SMALLEST_SHARE = 0.5          # of the canvas height: with less, "auto" follows the person
HEAD_TOP = 0.22               # metres from the head joint to the crown
ANKLE_HEIGHT = 0.08           # metres
NEAREST_DISTANCE = 5.2        # metres from lens to person at the least
FOLLOW_SMOOTHING = 0.5        # seconds, standard deviation of the filter on the followed path
ORBIT_YAW = (-0.7, 0.7)       # radians, start and end
ZOOM = 1.6                    # how much larger the end of a zoom is
ZOOM_HEIGHT = 0.78            # of the standing height: what a zoom ends on
CHILDREN = tuple([child for child, parent in enumerate(PARENTS) if parent == joint] for joint in range(NUM_JOINTS))
HEAD_VERTICES = {coco.NOSE: 331, coco.LEFT_EYE: 2802, coco.RIGHT_EYE: 6262, coco.LEFT_EAR: 3489, coco.RIGHT_EAR: 3990}
NUM_SMPL_ROTATIONS = 24           # 22 joints and the two hands


@dataclass(frozen=True)
class Fit:
    """What a camera must show: the landmarks of every frame, and the room a standing person takes."""

    points: np.ndarray        # (F, K, 3) metres
    pelvis: np.ndarray        # (F, 3) metres
    standing: float           # metres from floor to crown
    size: tuple[int, int]     # canvas (height, width)
    fps: float


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
        camera = CAMERAS[camera](framing(joints, marks.points, size, fps))
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


def standing_height(joints: np.ndarray) -> float:
    """Floor to crown in metres if the person stood upright, from bone lengths. joints: (F, 22, 3)"""
    lengths = bone_lengths(joints)
    upright = [SPINE1, SPINE2, SPINE3, NECK, HEAD, LEFT_HIP, LEFT_KNEE, LEFT_ANKLE]
    sideways_hip = 0.35 * lengths[LEFT_HIP]                                           # the hip bone points outwards
    return float(lengths[upright].sum() - sideways_hip + HEAD_TOP + ANKLE_HEIGHT)


def framing(joints: np.ndarray, points: np.ndarray, size: tuple[int, int], fps: float) -> Fit:
    body = points[:, :HANDS.start]                                                    # (F, 91, 3)
    return Fit(body, joints[:, PELVIS], standing_height(joints), size, fps)


def fitted(fit: Fit, **fields: float | np.ndarray) -> Camera:
    """The camera with these fields whose scale and centre show everything: a standing person at STANDING_SHARE of the
    canvas height, or as large as the motion allows."""
    height, width = fit.size
    path = fit.pelvis[:, None] * (1.0, 0.0, 1.0)                                      # (F, 1, 3)
    standing = path + np.array([(0.0, 0.0, 0.0), (0.0, fit.standing, 0.0)])           # (F, 2, 3) floor and crown
    points = np.concatenate([fit.points, standing], axis=1)
    unit_camera = Camera(scale=1.0, centre_x=0.0, centre_y=0.0, **fields)
    metres = unit_camera.project(points, (1, 1))[..., :2]                             # (F, K, 2) at the target's depth
    low, high = metres.min(axis=(0, 1)), metres.max(axis=(0, 1))                      # (2,) right and down
    room = LARGEST_SHARE * np.array([width / height, 1.0])                            # in canvas heights
    scale = min(STANDING_SHARE / fit.standing, *(room / (high - low)))
    middle = (low + high) / 2 * scale                                                 # in canvas heights
    return Camera(scale=float(scale), centre_x=float(0.5 - middle[0] * height / width),
                  centre_y=float(0.5 - middle[1]), **fields)


def static(fit: Fit) -> Camera:
    """One still camera that sees the whole motion."""
    low, high = fit.pelvis.min(axis=0), fit.pelvis.max(axis=0)
    x, _, z = (low + high) / 2
    distance = max(NEAREST_DISTANCE, 1.5 * float(high[2] - low[2]) + 3.0)
    return fitted(fit, target_x=float(x), target_z=float(z), height=fit.standing / 2, distance=distance)


def followed_path(fit: Fit) -> dict[str, np.ndarray]:
    path = gaussian_filter1d(fit.pelvis, FOLLOW_SMOOTHING * fit.fps, axis=0, mode="nearest")   # (F, 3)
    return dict(target_x=path[:, 0], target_z=path[:, 2])


def follow(fit: Fit) -> Camera:
    """The camera walks along with the person."""
    return fitted(fit, height=fit.standing / 2, distance=NEAREST_DISTANCE, **followed_path(fit))


def orbit(fit: Fit) -> Camera:
    """The camera follows and swings round the person."""
    yaw = np.linspace(*ORBIT_YAW, len(fit.points))
    return fitted(fit, yaw=yaw, height=fit.standing / 2, distance=NEAREST_DISTANCE, **followed_path(fit))


def zoom(fit: Fit) -> Camera:
    """The camera follows and comes closer, from the whole body to the head and shoulders."""
    start = follow(fit)
    done = np.linspace(0, 1, len(fit.points))
    eased = done**2 * (3 - 2 * done)
    height = fit.standing * (0.5 + (ZOOM_HEIGHT - 0.5) * eased)
    return Camera(scale=start.scale * (1 + (ZOOM - 1) * eased), centre_x=start.centre_x, centre_y=start.centre_y,
                  height=height, distance=NEAREST_DISTANCE, **followed_path(fit))


def auto(fit: Fit) -> Camera:
    """A still camera unless the person would get small."""
    still = static(fit)
    return still if still.scale * fit.standing >= SMALLEST_SHARE else follow(fit)


CAMERAS: dict[str, Callable[[Fit], Camera]] = dict(auto=auto, static=static, follow=follow, orbit=orbit, zoom=zoom)


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
