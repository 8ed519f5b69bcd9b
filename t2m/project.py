"""3D motion -> 2D skeleton through a camera, at any frame rate and canvas.

We differ from the published projection (HMTV) where it is a defect: nearer is larger, eyes and ears keep their sides, a
face seen from behind is unseen, any canvas keeps the body's proportions, and time is resampled instead of relabelled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from dwpose.skeleton import HANDS, Skeleton

from .camera import Camera
from .joining import bone_lengths
from .landmarks import landmarks, seen_from
from .mesh import body_vertices, with_mesh_head
from .motion import HEAD, LEFT_ANKLE, LEFT_HIP, LEFT_KNEE, NECK, PELVIS, SPINE1, SPINE2, SPINE3, Motion

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
    joints = resampled(motion, fps)                                                   # (F, 22, 3)
    marks = landmarks(joints)
    if smpl:
        marks = replace(marks, points=with_mesh_head(marks.points, body_vertices(joints, smpl)))
    if isinstance(camera, str):
        if camera not in CAMERAS:
            raise ValueError(f"camera {camera!r}: expected one of {', '.join(CAMERAS)}")
        camera = CAMERAS[camera](framing(joints, marks.points, size, fps))
    seen = seen_from(marks, camera)                                                   # (F, 133)
    keypoints = camera.project(marks.points, size)                                    # (F, 133, 3) x, y, depth
    keypoints[..., 2] = seen
    keypoints[:, HANDS] = 0
    return Skeleton(keypoints, size=size, fps=fps)


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
