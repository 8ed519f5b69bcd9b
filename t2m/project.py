"""3D motion -> 2D skeleton through a camera, at any frame rate and canvas.

We differ from the published projection (HMTV) where it is a defect: nearer is larger, eyes and ears keep their sides, a
face seen from behind is unseen, any canvas keeps the body's proportions, and time is resampled instead of relabelled.

On the way 22 SMPL joints become the 133 points of COCO-WholeBody, still in 3D: a generic head, feet, and hands when asked.
The body axes come from shoulders, neck and spine. The face direction comes from the neck-to-head bone, which in SMPL leans
a few centimetres forward, to where the head is turned.
"""
from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from dwpose import skeleton as coco
from dwpose.skeleton import HANDS, Skeleton
from t2m import motion as smpl
from t2m.camera import Camera, CAMERAS, Framing, standing_height
from t2m.motion import Motion, NUM_JOINTS, PARENTS, PELVIS, quaternion_between, rotated, unit, UP

# ----------------------------------------------------------------------------------------------------------- landmarks

HEAD_RADIUS = 0.105             # metres, times head_size
HIP_WIDENING = 1.2              # a detector marks the hips at the flesh, outside the SMPL hip joints
LEAST_LEAN_METRES = 0.01        # a head tilted up still looks ahead
CHEST_WEIGHT_METRES = 0.015     # how strongly the face follows the chest rather than the (3 cm) lean of the head
SAME_POINT = {                  # COCO joint: the SMPL joint at the same place
    coco.LEFT_SHOULDER: smpl.LEFT_SHOULDER, coco.RIGHT_SHOULDER: smpl.RIGHT_SHOULDER,
    coco.LEFT_ELBOW: smpl.LEFT_ELBOW, coco.RIGHT_ELBOW: smpl.RIGHT_ELBOW,
    coco.LEFT_WRIST: smpl.LEFT_WRIST, coco.RIGHT_WRIST: smpl.RIGHT_WRIST,
    coco.LEFT_KNEE: smpl.LEFT_KNEE, coco.RIGHT_KNEE: smpl.RIGHT_KNEE,
    coco.LEFT_ANKLE: smpl.LEFT_ANKLE, coco.RIGHT_ANKLE: smpl.RIGHT_ANKLE,
}
HEAD_POINTS = np.r_[coco.NOSE:coco.RIGHT_EAR + 1, coco.FACE]
EARS = [coco.LEFT_EAR, coco.RIGHT_EAR]
NOSE_TIP = 30                                                       # iBUG numbers
IBUG_RIGHT_EYE, IBUG_LEFT_EYE = slice(36, 42), slice(42, 48)
FINGER_BASES = (0.038, 0.0125, -0.0125, -0.038)                     # metres towards the thumb: index to little finger
FINGER_SPREAD = (0.24, 0.08, -0.08, -0.24)                          # radians towards the thumb, on an open hand
FINGER_LENGTHS = np.outer((1.0, 1.08, 1.0, 0.82), (0.046, 0.031, 0.026))   # (4, 3) metres, from the palm out
THUMB_LENGTHS = (0.034, 0.036, 0.031, 0.026)                        # metres
PALM_LENGTH = 0.10                                                  # metres, wrist to knuckles
BEND_PER_BONE = (1.2, 1.95, 2.7)                                    # radians from the palm, on a fist


def _mirrored(points):
    """The same points on the other half of the face, in the reverse order."""
    return [(-x, y) for x, y in reversed(points)]


def _face_template() -> np.ndarray:
    """The 68 iBUG points (68, 3) in head radii: subject's left, up, out of the face. Order is image left to right."""
    angles = np.linspace(-0.12, np.pi + 0.12, 17)
    jaw = [(-0.78 * np.cos(a), -0.86 * np.sin(a) - 0.02) for a in angles]
    brow = [(-0.55, 0.36), (-0.45, 0.43), (-0.34, 0.45), (-0.24, 0.43), (-0.14, 0.38)]
    bridge = [(0, 0.2), (0, 0.09), (0, -0.02), (0, -0.12)]
    nostrils = [(-0.14, -0.2), (-0.07, -0.22), (0, -0.23), (0.07, -0.22), (0.14, -0.2)]
    right_eye = [(-0.45, 0.2), (-0.38, 0.26), (-0.28, 0.26), (-0.2, 0.2), (-0.28, 0.15), (-0.38, 0.15)]
    left_eye = [(0.2, 0.2), (0.28, 0.26), (0.38, 0.26), (0.45, 0.2), (0.38, 0.15), (0.28, 0.15)]
    outer_lip = [(-0.27, -0.45), (-0.17, -0.4), (-0.07, -0.37), (0, -0.39), (0.07, -0.37), (0.17, -0.4),
                 (0.27, -0.45), (0.17, -0.53), (0.08, -0.56), (0, -0.57), (-0.08, -0.56), (-0.17, -0.53)]
    inner_lip = [(-0.2, -0.45), (-0.07, -0.43), (0, -0.44), (0.07, -0.43), (0.2, -0.45), (0.07, -0.49), (0, -0.5),
                 (-0.07, -0.49)]
    nose = bridge + nostrils
    flat = np.array(jaw + brow + _mirrored(brow) + nose + right_eye + left_eye + outer_lip + inner_lip)  # (68, 2)
    out = np.sqrt(np.maximum(0.05, 1 - (flat**2).sum(axis=1)))                                           # (68,)
    first_nose = len(jaw) + 2 * len(brow)
    out[first_nose:first_nose + len(nose)] += 0.08
    return np.column_stack([flat, out]) * (0.88, 1.08, 1.0)


FACE_TEMPLATE = _face_template()                                    # (68, 3)


@dataclass(frozen=True)
class Axes:
    """A right-handed frame of unit vectors on the person, each (T, 3): their left, up, and forward."""

    left: np.ndarray
    up: np.ndarray
    forward: np.ndarray


@dataclass(frozen=True)
class Landmarks:
    """The 133 points in metres. Only head points have a normal: the others can be seen from every side."""

    points: np.ndarray      # (T, 133, 3) float32 metres, COCO-WholeBody order; hands are zero unless asked for
    normals: np.ndarray     # (T, 133, 3) float32 unit vectors out of the head; zero elsewhere
    chest: Axes
    head: Axes
    head_centre: np.ndarray # (T, 3) metres


def landmarks(joints: np.ndarray, *, curl: np.ndarray | None = None, head_size: float = 1.2) -> Landmarks:
    """Joints (T, 22, 3) metres to landmarks; `curl` (T, 2) in [0, 1], left and right, 1 = fist, asks for hands."""
    joints = np.asarray(joints, dtype=np.float64)
    points = np.zeros((len(joints), coco.NUM_KEYPOINTS, 3))                             # (T, 133, 3)
    normals = np.zeros_like(points)
    chest = chest_axes(joints)
    head = head_axes(joints, chest)
    radius = HEAD_RADIUS * head_size
    centre = joints[:, smpl.HEAD] + 0.065 * head_size * head.up + 0.01 * head.forward   # (T, 3)

    points[:, list(SAME_POINT)] = joints[:, list(SAME_POINT.values())]
    middle = (joints[:, smpl.LEFT_HIP] + joints[:, smpl.RIGHT_HIP]) / 2
    for hip, joint in ((coco.LEFT_HIP, smpl.LEFT_HIP), (coco.RIGHT_HIP, smpl.RIGHT_HIP)):
        points[:, hip] = middle + HIP_WIDENING * (joints[:, joint] - middle)

    basis = np.stack([head.left, head.up, head.forward], axis=1)                        # (T, 3, 3)
    face = centre[:, None] + radius * np.einsum("ki,tij->tkj", FACE_TEMPLATE, basis)    # (T, 68, 3)
    points[:, coco.FACE] = face
    points[:, coco.NOSE] = face[:, NOSE_TIP]
    points[:, coco.LEFT_EYE] = face[:, IBUG_LEFT_EYE].mean(axis=1)
    points[:, coco.RIGHT_EYE] = face[:, IBUG_RIGHT_EYE].mean(axis=1)
    normals[:, HEAD_POINTS] = unit(points[:, HEAD_POINTS] - centre[:, None])
    for ear, side in ((coco.LEFT_EAR, 1), (coco.RIGHT_EAR, -1)):
        points[:, ear] = centre + 0.93 * radius * side * head.left + 0.02 * head.up
        normals[:, ear] = side * head.left

    feet = _foot_points(joints, smpl.LEFT_ANKLE, smpl.LEFT_TOE, 1) + _foot_points(
        joints, smpl.RIGHT_ANKLE, smpl.RIGHT_TOE, -1)
    points[:, coco.FEET] = np.stack(feet, axis=1)                                       # (T, 6, 3)
    if curl is not None:
        curl = np.broadcast_to(np.asarray(curl, dtype=np.float64), (len(joints), 2))
        points[:, coco.LEFT_HAND] = hand_points(
            joints[:, smpl.LEFT_WRIST], joints[:, smpl.LEFT_ELBOW], chest, curl[:, 0], side=1)
        points[:, coco.RIGHT_HAND] = hand_points(
            joints[:, smpl.RIGHT_WRIST], joints[:, smpl.RIGHT_ELBOW], chest, curl[:, 1], side=-1)
    return Landmarks(points.astype(np.float32), normals.astype(np.float32), chest, head, centre)


def seen_from(marks: Landmarks, camera: Camera) -> np.ndarray:
    """(T, 133) bool: False for head points turned away from the camera; everything else is True.

    Ears show even when they point a little away, but not on a head seen from behind, where no eye could join them.
    """
    facing = camera.directions(marks.normals)[..., 2]                                   # (T, 133)
    seen = np.ones(facing.shape, dtype=bool)
    seen[:, HEAD_POINTS] = facing[:, HEAD_POINTS] > -0.05
    seen[:, EARS] = (facing[:, EARS] > -0.6) & (facing[:, [coco.NOSE]] > -0.3)
    return seen


def chest_axes(joints: np.ndarray) -> Axes:
    """Upper-body frame from the shoulders and the line spine2 to neck."""
    up = unit(joints[:, smpl.NECK] - joints[:, smpl.SPINE2])
    forward = unit(np.cross(joints[:, smpl.LEFT_SHOULDER] - joints[:, smpl.RIGHT_SHOULDER], up))
    return Axes(left=np.cross(up, forward), up=up, forward=forward)


def head_axes(joints: np.ndarray, chest: Axes) -> Axes:
    """Head frame: up between the chest's and the neck bone's, forward from the chest turned by the bone's lean.

    A bone leaning backwards is a head tilted up, not a face turned round, so its lean never counts as less than 1 cm.
    """
    bone = joints[:, smpl.HEAD] - joints[:, smpl.NECK]                                  # (T, 3)
    length = np.linalg.norm(bone, axis=-1, keepdims=True)
    up = unit(0.4 * chest.up + 0.6 * unit(bone - 0.3 * length * chest.forward))
    ahead = np.maximum((bone * chest.forward).sum(-1, keepdims=True), LEAST_LEAN_METRES)
    aside = (bone * chest.left).sum(-1, keepdims=True)
    forward = _across((CHEST_WEIGHT_METRES + ahead) * chest.forward + aside * chest.left, up)
    return Axes(left=np.cross(up, forward), up=up, forward=forward)


def hand_points(wrist: np.ndarray, elbow: np.ndarray, chest: Axes, curl: np.ndarray, *, side: int) -> np.ndarray:
    """The 21 points of one hand (T, 21, 3) metres, in line with the forearm; side: 1 left, -1 right.

    The wrist is turned the way a relaxed arm turns it: thumb forward on a hanging arm, up on an arm held out, inwards
    (palm to the viewer) on a raised one.
    """
    along = unit(wrist - elbow)                                                        # (T, 3)
    raised = np.maximum((along * chest.up).sum(-1, keepdims=True), 0)                   # (T, 1)
    thumb = _across((1 - raised) * chest.forward + 0.5 * chest.up - side * raised * chest.left, along)
    palm = side * np.cross(along, thumb)                                                # out of the palm
    curl = curl[:, None]
    points = [wrist]
    joint, ray = wrist + 0.02 * along + 0.03 * thumb, unit(0.75 * along + (0.25 + 0.75 * (1 - curl)) * thumb)
    for length in THUMB_LENGTHS:
        joint = joint + length * ray
        ray = unit(ray + 0.2 * along + 0.35 * curl * (palm - thumb))
        points.append(joint)
    for base, spread, lengths in zip(FINGER_BASES, FINGER_SPREAD, FINGER_LENGTHS):
        joint = wrist + PALM_LENGTH * along + base * thumb
        straight = unit(along + spread * (1 - curl) * thumb)
        points.append(joint)
        for length, bend in zip(lengths, BEND_PER_BONE):
            joint = joint + length * (np.cos(curl * bend) * straight + np.sin(curl * bend) * palm)
            points.append(joint)
    return np.stack(points, axis=1)


def _foot_points(joints: np.ndarray, ankle: int, toe: int, side: int) -> list[np.ndarray]:
    """Big toe, small toe and heel of one foot, each (T, 3) metres."""
    forward = unit(joints[:, toe] - joints[:, ankle])
    left = np.cross(UP, forward)
    big_toe = joints[:, toe] + 0.07 * forward
    small_toe = joints[:, toe] + 0.05 * forward + 0.03 * side * left
    heel = joints[:, ankle] - 0.03 * forward - 0.04 * np.array(UP)
    return [big_toe, small_toe, heel]


def _across(vectors: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """The direction of the part of `vectors` perpendicular to the unit `axis`."""
    return unit(vectors - (vectors * axis).sum(-1, keepdims=True) * axis)


# ---------------------------------------------------------------------------------------------------------- projection

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


def swung(above: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The rotations `above` (T, 3, 3) turned on as little as brings unit vectors `start` to `end`, (T, 3) each."""
    swing = quaternion_between(start, end)                                            # (T, 4)
    return np.moveaxis(rotated(swing[:, None], np.moveaxis(above, 2, 1)), 1, 2)


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
            world[:, joint] = swung(above, unit(above @ rest_bones[0]), unit(bones[:, 0]))
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
