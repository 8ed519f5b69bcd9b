"""A perspective camera that looks at a standing person and fits them on a canvas of any size."""
from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

NEAREST_METRES = 0.3   # points closer to the lens than this are held there, so that nothing projects to infinity


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
