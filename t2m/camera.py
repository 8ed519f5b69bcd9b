"""A perspective camera, and the five ways in which it frames a moving person on a canvas of any size."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from t2m.motion import bone_lengths, HEAD, LEFT_ANKLE, LEFT_HIP, LEFT_KNEE, NECK, smoothstep, SPINE1, SPINE2, SPINE3

NEAREST_METRES = 0.3          # points closer to the lens than this are held there, so that nothing projects to infinity
STANDING_SHARE = 0.8          # of the canvas height that a standing person fills, when the motion leaves room
LARGEST_SHARE = 0.92          # of the canvas, each way, that the whole motion may fill
SMALLEST_SHARE = 0.5          # of the canvas height: with less, "auto" follows the person
HEAD_TOP = 0.22               # metres from the head joint to the crown
ANKLE_HEIGHT = 0.08           # metres
NEAREST_DISTANCE = 5.2        # metres from lens to person at the least
APPROACH = 0.45               # metres that somebody may come nearer to a still camera, a tenth larger; or go sideways on a narrow canvas
REACH = 1.0                   # metres across somebody whose arms are half out
FOLLOW_SMOOTHING = 0.5        # seconds, standard deviation of the filter on the followed path
ORBIT_YAW = (-0.7, 0.7)       # radians, start and end
ZOOM = 1.6                    # how much larger the end of a zoom is
ZOOM_HEIGHT = 0.78            # of the standing height: what a zoom ends on


@dataclass(frozen=True)
class Camera:
    """World: y up, a person at rest faces +z with their left at +x. Every field is a float, or (T,): one per frame.

    The axis passes through `target` at eye level `height`; that point lands on `centre`. One metre at the target is
    `scale` canvas heights, so a 1.7 m person fills 0.39 * 1.7 = 2/3 of the canvas at rest.
    """

    yaw: float | np.ndarray = 0.0       # radians the person appears turned to their left, about the vertical
    pitch: float | np.ndarray = 0.0     # radians the camera looks down from above
    distance: float | np.ndarray = 5.2  # metres from lens to target
    scale: float | np.ndarray = 0.39    # canvas heights per metre at the target: the focal length over the distance
    target_x: float | np.ndarray = 0.0  # metres
    target_z: float | np.ndarray = 0.0  # metres
    height: float | np.ndarray = 0.92   # metres above the floor of the point on the optical axis
    centre_x: float | np.ndarray = 0.5  # where that point lands, in canvas widths from the left
    centre_y: float | np.ndarray = 0.53 # ... in canvas heights from the top

    def __post_init__(self):
        for name in ("distance", "scale"):
            if not np.all(np.asarray(getattr(self, name)) > 0):
                raise ValueError(f"camera {name}: expected a positive number (found {getattr(self, name)})")

    def frame(self, index: int) -> Camera:
        """The camera of one frame: every per-frame field reduced to its float."""
        still = {f.name: float(np.asarray(getattr(self, f.name))[index])
                 for f in fields(self) if np.ndim(getattr(self, f.name)) == 1}
        return replace(self, **still)

    def directions(self, vectors: np.ndarray) -> np.ndarray:
        """World vectors (..., 3) in camera axes: image right, image up, towards the viewer."""
        yaw, pitch = (_per_frame(angle, vectors.ndim - 1) for angle in (self.yaw, self.pitch))
        x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
        right = np.cos(yaw) * x + np.sin(yaw) * z
        ahead = np.cos(yaw) * z - np.sin(yaw) * x
        up = np.cos(pitch) * y - np.sin(pitch) * ahead
        near = np.sin(pitch) * y + np.cos(pitch) * ahead
        return np.stack([right, up, near], axis=-1)

    def project(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """World points (..., 3) metres to (..., 3): x and y in pixels of a (height, width) canvas, depth in metres.

        Depth is 0 at the target and grows towards the viewer. Per-frame fields match the first axis of `points`.
        """
        points = np.asarray(points)
        view, magnification = self._view(points, size)
        height, width = size
        x = width * _per_frame(self.centre_x, points.ndim - 1) + view[..., 0] * magnification
        y = height * _per_frame(self.centre_y, points.ndim - 1) - view[..., 1] * magnification
        return np.stack([x, y, view[..., 2]], axis=-1).astype(np.float32)

    def pixels_per_metre(self, points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """(...) how many canvas pixels a metre covers at each point: nearer is larger."""
        return self._view(np.asarray(points), size)[1].astype(np.float32)

    def _view(self, points: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Points in camera axes about the target (..., 3) metres, and pixels per metre there (...)."""
        rank = points.ndim - 1
        target = np.stack(np.broadcast_arrays(self.target_x, self.height, self.target_z), axis=-1)  # (3,) or (T, 3)
        if target.ndim == 2:
            target = target.reshape((-1,) + (1,) * (rank - 1) + (3,))                               # (T, 1..., 3)
        view = self.directions(points - target)
        distance = _per_frame(self.distance, rank)
        depth = np.maximum(distance - view[..., 2], NEAREST_METRES)
        return view, _per_frame(self.scale, rank) * size[0] * distance / depth


def _per_frame(value: float | np.ndarray, rank: int) -> np.ndarray:
    """A float as it is; (T,) as (T, 1, ...) with `rank` axes, to meet (T, ...) arrays of scalars."""
    value = np.asarray(value, dtype=np.float64)
    if value.ndim == 0:
        return value
    return value.reshape((-1,) + (1,) * (rank - 1))


@dataclass(frozen=True)
class Framing:
    """What a camera must show: the landmarks of every frame, and the room a standing person takes."""

    points: np.ndarray        # (F, K, 3) metres
    pelvis: np.ndarray        # (F, 3) metres
    standing: float           # metres from floor to crown
    size: tuple[int, int]     # canvas (height, width)
    fps: float

    def path(self) -> dict[str, np.ndarray]:
        """The target of a camera that follows the person, smooth over time."""
        path = gaussian_filter1d(self.pelvis, FOLLOW_SMOOTHING * self.fps, axis=0, mode="nearest")      # (F, 3)
        return dict(target_x=path[:, 0], target_z=path[:, 2])


def standing_height(joints: np.ndarray) -> float:
    """Floor to crown in metres if the person stood upright, from bone lengths. joints: (F, 22, 3)"""
    lengths = bone_lengths(joints)
    upright = [SPINE1, SPINE2, SPINE3, NECK, HEAD, LEFT_HIP, LEFT_KNEE, LEFT_ANKLE]
    sideways_hip = 0.35 * lengths[LEFT_HIP]                                           # the hip bone points outwards
    return float(lengths[upright].sum() - sideways_hip + HEAD_TOP + ANKLE_HEIGHT)


def whole_in_view(framing: Framing, **fields: float | np.ndarray) -> Camera:
    """The camera with these fields whose scale and centre show everything.

    A standing person fills STANDING_SHARE of the canvas height, or as much as the motion allows.
    """
    height, width = framing.size
    path = framing.pelvis[:, None] * (1.0, 0.0, 1.0)                                  # (F, 1, 3)
    standing = path + np.array([(0.0, 0.0, 0.0), (0.0, framing.standing, 0.0)])       # (F, 2, 3) floor and crown
    points = np.concatenate([framing.points, standing], axis=1)
    unit_camera = Camera(scale=1.0, centre_x=0.0, centre_y=0.0, **fields)
    metres = unit_camera.project(points, (1, 1))[..., :2]                             # (F, K, 2) at the target's depth
    low, high = metres.min(axis=(0, 1)), metres.max(axis=(0, 1))                      # (2,) right and down
    room = LARGEST_SHARE * np.array([width / height, 1.0])                            # in canvas heights
    scale = min(STANDING_SHARE / framing.standing, *(room / (high - low)))
    middle = (low + high) / 2 * scale                                                 # in canvas heights
    return Camera(scale=float(scale), centre_x=float(0.5 - middle[0] * height / width),
                  centre_y=float(0.5 - middle[1]), **fields)


def static(framing: Framing) -> Camera:
    """A camera that sees the whole motion and stays where it is; but who comes much nearer pushes it back, and who goes far
    sideways takes it along, as on a treadmill: the picture's person is as large as the picture shows them, so that the way to the
    camera would begin far behind where they stand, and the way to the side would lead out of the picture."""
    width = LARGEST_SHARE * framing.size[1] / framing.size[0] / (STANDING_SHARE / framing.standing)      # metres beside a standing person
    ahead = np.maximum(framing.pelvis[:, 2] - framing.pelvis[0, 2], 0)                # (F,) metres nearer than at first
    aside = framing.pelvis[:, 0] - framing.pelvis[0, 0]                               # (F,) metres to the side
    moved = np.stack([beyond(aside, max(APPROACH, (width - REACH) / 2)), np.zeros_like(ahead), beyond(ahead, APPROACH)], axis=-1)       # (F, 3)
    seen = framing.pelvis - moved
    low, high = seen.min(axis=0), seen.max(axis=0)
    x, _, z = (low + high) / 2
    distance = max(NEAREST_DISTANCE, 1.5 * float(high[2] - low[2]) + 3.0)
    return whole_in_view(framing, target_x=x + moved[:, 0], target_z=z + moved[:, 2], height=framing.standing / 2, distance=distance)


def beyond(way: np.ndarray, most: float) -> np.ndarray:
    """(F,) metres of a way that are left over where it is shortened to `most` metres as a whole."""
    return way * (1 - most / max(np.abs(way).max(), most))


def follow(framing: Framing) -> Camera:
    """The camera walks along with the person."""
    return whole_in_view(framing, height=framing.standing / 2, distance=NEAREST_DISTANCE, **framing.path())


def orbit(framing: Framing) -> Camera:
    """The camera follows and swings round the person."""
    yaw = np.linspace(*ORBIT_YAW, len(framing.points))
    return whole_in_view(framing, yaw=yaw, height=framing.standing / 2, distance=NEAREST_DISTANCE, **framing.path())


def zoom(framing: Framing) -> Camera:
    """The camera follows and comes closer, from the whole body to the head and shoulders."""
    start = follow(framing)
    done = smoothstep(np.linspace(0, 1, len(framing.points)))
    height = framing.standing * (0.5 + (ZOOM_HEIGHT - 0.5) * done)
    return Camera(scale=start.scale * (1 + (ZOOM - 1) * done), centre_x=start.centre_x, centre_y=start.centre_y,
                  height=height, distance=NEAREST_DISTANCE, **framing.path())


def auto(framing: Framing) -> Camera:
    """A still camera unless the person would get small."""
    still = static(framing)
    return still if still.scale * framing.standing >= SMALLEST_SHARE else follow(framing)


CAMERAS: dict[str, Callable[[Framing], Camera]] = dict(auto=auto, static=static, follow=follow, orbit=orbit, zoom=zoom)
