"""The shadow at each foot: taken out of the picture, and cast again on the floor where the foot goes."""
from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dwpose import skeleton as coco
from puppet.cutout import smoothstep, spread
from puppet.limbs import Pose
from puppet.points import inside, Limb, NECK, PELVIS

SHADOW_SIZE = (0.75, 0.26)          # of the trunk's length: half width and half height of where a foot's shadow can be
DARKEST = 0.6                       # of the light that a shadow at the feet may take
DARKEST_RIM = 0.9                   # and beside a shoe
FADING = 6.0                        # of a shadow, for each trunk length the foot is above the floor
STILL_LIFT = 0.03                   # of the trunk's length: a foot that stands


@dataclass(frozen=True)
class Shadow:
    """The dark patch round one foot."""

    ankle: int                      # the point it goes with
    dark: np.ndarray                # (h, w) float32 in [0, 1], share of the light that is missing
    corner: tuple[int, int]         # x, y of its first pixel in the picture


def shadow_zones(points: np.ndarray, limbs: list[Limb], size: tuple[int, int], trunk: float) -> dict[int, np.ndarray]:
    """By ankle, where its foot's shadow can be: (H, W) float32 from 1 under the foot to 0."""
    x, y = np.arange(size[1], dtype=np.float32)[None], np.arange(size[0], dtype=np.float32)[:, None]
    zones = {}
    for limb in limbs:
        ankle, toe = points[limb.points[2]], points[limb.points[3], :2]
        if limb.trunk == "pelvis" and ankle[2] and inside(ankle, size):
            centre = np.array([(ankle[0] + toe[0]) / 2, max(ankle[1], toe[1])])
            away = np.hypot((x - centre[0]) / SHADOW_SIZE[0], (y - centre[1]) / SHADOW_SIZE[1]) / trunk
            zones[limb.points[2]] = 1 - smoothstep(0.7, 1, away)
    total = np.maximum(sum(zones.values(), np.zeros(size, np.float32)), 1)
    return {ankle: zone / total for ankle, zone in zones.items()}


def shadow_of(image: np.ndarray, fill: np.ndarray, hole: np.ndarray, zone: np.ndarray, ankle: int) -> Shadow | None:
    """What is darker than the floor round it, smoothly, in the zone (H, W) of a foot; None where nothing is."""
    rows, columns = np.flatnonzero((zone > 0).any(axis=1)), np.flatnonzero((zone > 0).any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    seen = (~hole[box]).astype(np.float32)
    if not seen.any():
        return None
    brightness = [picture[box].astype(np.float32).mean(axis=2) for picture in (image, fill)]
    blurred = [cv2.GaussianBlur(values, (0, 0), max(image.shape[0] / 300, 1)) for values in
               (spread((values * seen)[..., None], seen)[..., 0] for values in brightness)]
    dark = (1 - blurred[0] / np.maximum(blurred[1], 1)).clip(0, DARKEST) * zone[box]
    return Shadow(ankle, dark.astype(np.float32), (box[1].start, box[0].start)) if dark.max() > 0.03 else None


def darkened(shadow: Shadow, image: np.ndarray, background: np.ndarray, share: np.ndarray, zone: np.ndarray) -> Shadow:
    """The shadow as dark as the picture is against the background, by a share (H, W) in [0, 1] in the foot's zone (H, W)."""
    (x, y), (height, width) = shadow.corner, shadow.dark.shape
    box = slice(y, y + height), slice(x, x + width)
    light = (image[box].astype(np.float32).mean(axis=2) / np.maximum(background[box].mean(axis=2), 1)).clip(1 - DARKEST_RIM, 1)
    return replace(shadow, dark=shadow.dark + share[box] * (1 - light ** zone[box] - shadow.dark))


def shaded(picture: np.ndarray, shadows: list[Shadow]) -> np.ndarray:
    """(H, W, 3) float32: the picture with the shadows where they are in the photograph."""
    result = picture.astype(np.float32)
    for shadow in shadows:
        (x, y), (height, width) = shadow.corner, shadow.dark.shape
        result[y:y + height, x:x + width] *= (1 - shadow.dark)[..., None]
    return result


def unshaded(picture: np.ndarray, shadows: list[Shadow]) -> np.ndarray:
    """(H, W, 3) float32: the picture as it would be without the shadows."""
    result = picture.astype(np.float32)
    for shadow in shadows:
        (x, y), (height, width) = shadow.corner, shadow.dark.shape
        result[y:y + height, x:x + width] /= (1 - shadow.dark)[..., None]
    return result


def cast(canvas: np.ndarray, shadow: Shadow, pose: Pose, own: np.ndarray, index: int) -> None:
    """Darken the floor under a foot, in place: the shadow stays on the floor and fades as the foot leaves it."""
    size, place = pose.size[index], pose.points[index, shadow.ankle]
    trunk = np.linalg.norm(own[PELVIS, :2] - own[NECK, :2]) * size
    stands = pose.floor[index] - max(own[coco.LEFT_ANKLE, 1], own[coco.RIGHT_ANKLE, 1]) * size + own[shadow.ankle, 1] * size
    lifted = max(stands - place[1], 0) / trunk - STILL_LIFT
    strength = 1 / (1 + FADING * max(lifted, 0))
    y = stands if lifted > 0 else place[1]
    shift = np.array([place[0], y]) - size * own[shadow.ankle, :2]
    low = np.maximum(np.floor(size * np.array(shadow.corner) + shift).astype(int) - 1, 0)
    high = np.minimum(np.ceil(size * (np.array(shadow.corner) + shadow.dark.shape[::-1]) + shift).astype(int) + 1, canvas.shape[1::-1])
    if (high <= low).any():
        return
    matrix = np.array([[size, 0, size * shadow.corner[0] + shift[0] - low[0]], [0, size, size * shadow.corner[1] + shift[1] - low[1]]])
    dark = cv2.warpAffine(shadow.dark, matrix, tuple((high - low).tolist()), flags=cv2.INTER_LINEAR)
    canvas[low[1]:high[1], low[0]:high[0]] *= (1 - strength * dark)[..., None]
