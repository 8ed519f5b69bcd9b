"""Draws a posed character in their room, and says exactly where the 133 keypoints are.

Every capsule is an impostor: its depth is computed per pixel from its 2D outline, the nearest one is kept, and its
normal is shaded once at the end.
"""
from __future__ import annotations

import cv2
import numpy as np

from dwpose import skeleton as coco
from synthetic.character import Character, colours, Solid, solids, STRIPE, TOP
from t2m import motion as smpl
from t2m.camera import Camera
from t2m.project import HEAD_POINTS, Landmarks, landmarks, seen_from

SUPERSAMPLING = 2
END_ON = 0.25                   # squared pixels: an axis that covers less is a point
LIGHT = np.array([-0.35, 0.55, 0.75]) / np.linalg.norm([-0.35, 0.55, 0.75])     # towards the light: right, up, viewer
OCCLUDED_CONFIDENCE = 0.4       # a body point behind something: less sure, but still drawn
STRIPE_BAND = (-0.13, -0.05)    # metres below the shoulders, along the chest


def render(joints: np.ndarray, curl: np.ndarray, character: Character, camera: Camera, size: tuple[int, int], *,
           room: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """One frame: joints (22, 3) metres and curl (2,) to a picture (H, W, 3) uint8 RGB and keypoints (133, 3).

    `room` is `character.room.picture(size)`, for callers who draw many frames. Confidence is 1 in sight, 0.4 behind
    something, and 0 outside the frame or on a side of the head turned away.
    """
    marks = landmarks(joints[None], curl=np.asarray(curl)[None], head_size=character.head_size)
    fine = (size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING)
    parts = solids(joints, marks, character)
    starts, ends = _in_pixels([p.start for p in parts], camera, fine), _in_pixels([p.end for p in parts], camera, fine)
    capsules = np.column_stack([                                                        # (N, 8) pixels
        starts[:, :3], ends[:, :3], starts[:, 3] * [p.start_radius for p in parts],
        ends[:, 3] * [p.end_radius for p in parts]]).astype(np.float32)
    capsules = _nearer_end_first(capsules)
    depth, owner = _depth_buffer(capsules, parts, fine)

    picture = (character.room.picture(size) if room is None else room).copy()
    _cast_shadows(picture, joints, camera, size)
    _paste_person(picture, depth, owner, capsules, parts, marks, character, camera)
    keypoints = _keypoints(marks, depth, camera, fine)
    return (picture.clip(0, 1) * 255 + 0.5).astype(np.uint8), keypoints


def _in_pixels(points, camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """World points (N, 3) to (N, 4): x, y and depth in pixels (more is nearer), and pixels per metre."""
    points = np.asarray(points)
    pixels = camera.project(points, size)                                               # (N, 3)
    pixels[:, 2] *= camera.scale * size[0]
    return np.column_stack([pixels, camera.pixels_per_metre(points, size)])


def _nearer_end_first(capsules: np.ndarray) -> np.ndarray:
    """The capsules with ends swapped where the axis points at the viewer, so that its start is what is seen."""
    seen_end_on = ((capsules[:, 0:2] - capsules[:, 3:5]) ** 2).sum(axis=1) < END_ON
    swap = seen_end_on & (capsules[:, 5] + capsules[:, 7] > capsules[:, 2] + capsules[:, 6])
    return np.where(swap[:, None], capsules[:, [3, 4, 5, 0, 1, 2, 7, 6]], capsules)


def _depth_buffer(capsules: np.ndarray, parts: list[Solid], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Nearest depth (H, W) float32 pixels, -inf where empty, and the index (H, W) of the capsule there, -1 for none."""
    height, width = size
    depth = np.full(size, -np.inf, dtype=np.float32)
    owner = np.full(size, -1, dtype=np.int16)
    columns, rows = np.arange(width, dtype=np.float32)[None], np.arange(height, dtype=np.float32)[:, None]
    lows = np.minimum(capsules[:, 0:2] - capsules[:, 6:7], capsules[:, 3:5] - capsules[:, 7:8])     # (N, 2) x, y
    highs = np.maximum(capsules[:, 0:2] + capsules[:, 6:7], capsules[:, 3:5] + capsules[:, 7:8])
    boxes = np.column_stack([np.maximum(lows, 0), np.minimum(highs + 2, (width, height))]).astype(int)
    for index in np.argsort(-(capsules[:, 2] + capsules[:, 5])):                        # nearest first: fewer writes
        left, top, right, bottom = boxes[index].tolist()
        if right <= left or bottom <= top:
            continue
        surface, inside = _surface(columns[:, left:right], rows[top:bottom], capsules[index].tolist(),
                                   parts[index].flat)
        window = depth[top:bottom, left:right]
        inside &= surface > window
        np.copyto(window, surface, where=inside)
        np.copyto(owner[top:bottom, left:right], index, where=inside)
    return depth, owner


def _surface(x: np.ndarray, y: np.ndarray, capsule: list[float], flat: bool) -> tuple[np.ndarray, np.ndarray]:
    """One capsule's near side over columns x (1, w) and rows y (h, 1): depth (h, w), pixels, and where it has one."""
    ax, ay, az, bx, by, bz, start_radius, end_radius = capsule
    dx, dy = bx - ax, by - ay
    x, y = x - ax, y - ay
    position = (x * dx + y * dy) / max(dx * dx + dy * dy, END_ON)                       # (h, w) along the axis
    along = position.clip(0, 1)
    radius = start_radius + along * (end_radius - start_radius)
    squared = radius * radius - (x - along * dx) ** 2 - (y - along * dy) ** 2
    inside = squared > 0
    if flat:
        inside &= position <= 1
    return np.sqrt(np.maximum(squared, 0)) + along * (bz - az) + az, inside


def _paste_person(picture, depth, owner, capsules, parts, marks: Landmarks, character: Character,
                  camera: Camera) -> None:
    """Shade the fine buffers and blend them into the picture, in place, by averaging SUPERSAMPLING^2 pixels."""
    rows, columns = np.flatnonzero((owner >= 0).any(axis=1)), np.flatnonzero((owner >= 0).any(axis=0))
    if not len(rows):
        return
    step = SUPERSAMPLING
    top, left = rows[0] // step * step, columns[0] // step * step
    bottom, right = -(-(rows[-1] + 1) // step) * step, -(-(columns[-1] + 1) // step) * step
    window = owner[top:bottom, left:right]
    y, x = np.nonzero(window >= 0)                                                      # (P,) each
    which = window[y, x]
    x_fine, y_fine = (x + left).astype(np.float32), (y + top).astype(np.float32)
    ax, ay, az, bx, by, bz, start_radius, end_radius = capsules.T[:, which]             # (P,) each
    dx, dy = bx - ax, by - ay
    along = (((x_fine - ax) * dx + (y_fine - ay) * dy) / np.maximum(dx * dx + dy * dy, END_ON)).clip(0, 1)
    radius = start_radius + along * (end_radius - start_radius)
    across_x, across_y = (x_fine - ax - along * dx) / radius, (y_fine - ay - along * dy) / radius
    towards = np.sqrt(np.maximum(1 - across_x**2 - across_y**2, 0))
    lit = across_x * LIGHT[0] - across_y * LIGHT[1] + towards * LIGHT[2]
    shade = (0.58 + 0.42 * lit.clip(0, 1)) * (0.8 + 0.2 * towards)                      # (P,)

    material = np.array([part.material for part in parts])[which]
    if character.stripe is not None:
        material = np.where((material == TOP) & _in_stripe(x_fine, y_fine, depth[y + top, x + left], marks, camera,
                                                           depth.shape), STRIPE, material)
    layer = np.zeros(window.shape + (4,), dtype=np.float32)
    layer[y, x, :3] = colours(character)[material] * shade[:, None]
    layer[y, x, 3] = 1
    small = cv2.resize(layer, (layer.shape[1] // step, layer.shape[0] // step), interpolation=cv2.INTER_AREA)
    target = picture[top // step:bottom // step, left // step:right // step]
    target *= 1 - small[..., 3:]
    target += small[..., :3]


def _in_stripe(x, y, depth, marks: Landmarks, camera: Camera, size: tuple[int, int]) -> np.ndarray:
    """(P,) bool: pixels whose surface lies in the band across the chest, measured along the chest's axis."""
    shoulders = marks.points[0, [coco.LEFT_SHOULDER, coco.RIGHT_SHOULDER]].mean(axis=0)
    centre = _in_pixels(shoulders[None], camera, size)[0]
    right, up, near = camera.directions(marks.chest.up[0])
    height = ((x - centre[0]) * right - (y - centre[1]) * up + (depth - centre[2]) * near) / centre[3]
    return (height > STRIPE_BAND[0]) & (height < STRIPE_BAND[1])


def _cast_shadows(picture: np.ndarray, joints: np.ndarray, camera: Camera, size: tuple[int, int]) -> None:
    """Darken the floor under each foot, less the higher it is, in place."""
    for _, _, ankle, toe in smpl.LEGS:
        foot = (joints[ankle] + joints[toe]) / 2
        lifted = max(0.0, float(foot[1]) - 0.05)                                        # metres
        x, y, _, per_metre = _in_pixels([(foot[0], 0.0, foot[2])], camera, size)[0].tolist()
        radius = 0.2 * per_metre
        left, right = max(0, int(x - radius)), min(size[1], int(x + radius + 1))
        top, bottom = max(0, int(y - 0.4 * radius)), min(size[0], int(y + 0.4 * radius + 1))
        if right <= left or bottom <= top:
            continue
        across = (np.arange(left, right, dtype=np.float32)[None] - x) / radius
        down = (np.arange(top, bottom, dtype=np.float32)[:, None] - y) / (0.35 * radius)
        dark = 0.4 / (1 + 6 * lifted) * (1 - across**2 - down**2).clip(0, 1)
        picture[top:bottom, left:right] *= (1 - dark)[..., None]


def _keypoints(marks: Landmarks, depth: np.ndarray, camera: Camera, fine: tuple[int, int]) -> np.ndarray:
    """(133, 3) float32: canvas pixels and confidence, from the depth buffer of the fine canvas."""
    pixels = _in_pixels(marks.points[0], camera, fine)                                  # (133, 4)
    height, width = fine
    x, y = pixels[:, 0].round().astype(int), pixels[:, 1].round().astype(int)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    tolerance = np.full(coco.NUM_KEYPOINTS, 0.10)                                       # metres below the skin
    tolerance[[coco.LEFT_HIP, coco.RIGHT_HIP]] = 0.16
    tolerance[coco.HANDS] = 0.035
    tolerance[HEAD_POINTS] = 0.05
    tolerance[[coco.LEFT_EAR, coco.RIGHT_EAR]] = 0.10
    surface = depth[y.clip(0, height - 1), x.clip(0, width - 1)]
    in_sight = pixels[:, 2] + tolerance * pixels[:, 3] >= surface
    confidence = np.where(in_sight, 1.0, OCCLUDED_CONFIDENCE) * (inside & seen_from(marks, camera)[0])
    return np.column_stack([pixels[:, :2] / SUPERSAMPLING, confidence]).astype(np.float32)
