"""The picture without the person: the hole is filled from its surroundings, from left and right more than from above.

Walls, floors and horizons go on sideways, so the fill is smooth along rows and keeps what changes from row to row. Grain
as strong as that around the hole keeps the fill from looking painted; what copies patches instead repeats door handles.
"""
from __future__ import annotations

import cv2
import numpy as np

RIM = 3                             # pixels beside the hole that the fill meets
NEAR = 0.35                         # of the hole's half width: where a pixel beside it counts a third
RIM_REACH = 0.03                    # of the canvas height, over which it goes over into the row's colour
GRAIN = 2.0                         # pixels, standard deviation of the blur that separates grain from shapes


def filled(image: np.ndarray, hole: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image (H, W, 3) uint8 with new pixels where `hole` (H, W) bool; outside of it, unchanged."""
    if not hole.any():
        return image.copy()
    picture, known = image.astype(np.float32), (~hole).astype(np.float32)
    if hole.all():
        return np.full_like(image, picture.mean(axis=(0, 1)).round())
    fill = np.repeat(row_colours(picture, hole)[:, None], image.shape[1], axis=1)           # (H, W, 3)
    rim = (cv2.dilate(hole.astype(np.uint8), np.ones((2 * RIM + 1,) * 2, np.uint8)) * known).astype(np.float32)
    away = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5) / (RIM_REACH * image.shape[0])
    fill += np.exp(-away**2)[..., None] * spread(picture - fill, rim)
    fill += grain(picture, known) * cv2.GaussianBlur(rng.standard_normal(image.shape[:2], np.float32), (0, 0), 0.7)[..., None]
    return np.where(hole[..., None], fill.clip(0, 255).round(), picture).astype(np.uint8)


def row_colours(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """The commonest colour beside the hole in each row, (H, 3) float32: the median, nearer pixels counting more."""
    height, width = hole.shape
    centre, half = hole_of_rows(hole)
    away = np.maximum(np.abs(np.arange(width)[None] - centre[:, None]) - half[:, None], 0)  # (H, W) pixels from the hole
    weight = np.where(hole, 0, np.exp(-away / (NEAR * half[:, None] + 0.01 * width)))
    enough = weight.sum(axis=1) > 0.01 * width
    colours = np.zeros((height, 3), np.float32)
    for channel in range(3):
        order = picture[..., channel].argsort(axis=1)
        total = np.take_along_axis(weight, order, axis=1).cumsum(axis=1)
        middle = (total >= total[:, -1:] / 2).argmax(axis=1)
        colours[:, channel] = np.take_along_axis(picture[..., channel], np.take_along_axis(order, middle[:, None], 1), 1)[:, 0]
    colours = spread(colours[:, None], enough.astype(np.float32)[:, None])[:, 0] if enough.any() else colours
    smoothed = cv2.medianBlur(colours.round().astype(np.uint8)[:, None], 2 * (height // 80) + 1)[:, 0].astype(np.float32)
    return cv2.GaussianBlur(smoothed, (1, 0), sigmaX=1e-3, sigmaY=max(height / 400, 0.5))


def hole_of_rows(hole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half width (H,) of the hole in each row, of the nearest row that has one."""
    rows = np.flatnonzero(hole.any(axis=1))
    nearest = rows[np.abs(np.arange(len(hole))[:, None] - rows[None]).argmin(axis=1)]
    first, last = hole[nearest].argmax(axis=1), hole.shape[1] - 1 - hole[nearest][:, ::-1].argmax(axis=1)
    return (first + last) / 2, (last - first) / 2


def grain(picture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """How strong the grain is (H, W, 1) float32 grey levels: the median of rows, so that shapes do not count."""
    fine = np.abs(picture - cv2.GaussianBlur(picture, (0, 0), GRAIN)).mean(axis=2)          # (H, W)
    inner = cv2.erode(known, np.ones((9, 9), np.uint8)) > 0
    level = float(np.median(fine[inner])) if inner.any() else 0.0
    return np.full((*known.shape, 1), 2.0 * level, np.float32)


def spread(colours: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Colours (H, W, C) float32 known where `weight` (H, W) is 1, carried smoothly to where it is 0 (pull-push)."""
    height, width = weight.shape
    known = colours * weight[..., None]
    if min(height, width) <= 2:
        total = max(float(weight.sum()), 1e-6)
        return known + (1 - weight)[..., None] * (known.sum(axis=(0, 1)) / total)
    size = ((width + 1) // 2, (height + 1) // 2)
    small, share = cv2.resize(known, size, interpolation=cv2.INTER_AREA), cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    coarse = spread(small.reshape(*share.shape, -1) / np.maximum(share, 1e-6)[..., None], np.minimum(4 * share, 1))
    upward = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(colours.shape)
    return known + (1 - weight)[..., None] * upward
