"""The picture without the person: the hole is filled from its surroundings, from left and right more than from above.

Walls, floors and horizons go on sideways, so the fill is smooth along rows and keeps what changes from row to row. Grain
as strong as that around the hole keeps the fill from looking painted; what copies patches instead repeats door handles.
"""
from __future__ import annotations

import cv2
import numpy as np

ROW_HEIGHT = 2                      # pixels that one row of the fill covers
FLATTENED = 12                      # times that sideways counts as nearer than up and down
RIM = 4                             # pixels beside the hole that the fill meets
GRAIN = 2.0                         # pixels, standard deviation of the blur that separates grain from shapes


def filled(image: np.ndarray, hole: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image (H, W, 3) uint8 with new pixels where `hole` (H, W) bool; outside of it, unchanged."""
    if not hole.any():
        return image.copy()
    picture, known = image.astype(np.float32), (~hole).astype(np.float32)
    if hole.all():
        return np.full_like(image, picture.mean(axis=(0, 1)).round())
    fill = spread_sideways(picture, known)
    rim = (cv2.dilate(hole.astype(np.uint8), np.ones((2 * RIM + 1,) * 2, np.uint8)) * known).astype(np.float32)
    fill = fill + spread(picture - fill, rim)
    fill += grain(picture, known) * cv2.GaussianBlur(rng.standard_normal(image.shape[:2], np.float32), (0, 0), 0.7)[..., None]
    return np.where(hole[..., None], fill.clip(0, 255).round(), picture).astype(np.uint8)


def spread_sideways(picture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) float32, where `known` (H, W) is 0 taken from the nearest pixels, sideways counting as near."""
    height, width = known.shape
    size = (max(width // (ROW_HEIGHT * FLATTENED), 2), max(height // ROW_HEIGHT, 2))
    weight = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    colours = cv2.resize(picture * known[..., None], size, interpolation=cv2.INTER_AREA)
    whole = spread(colours / np.maximum(weight, 1e-3)[..., None], (weight > 0.5).astype(np.float32))
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_CUBIC)


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
