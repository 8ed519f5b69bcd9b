"""The picture without the person: the hole is filled from its surroundings, from left and right more than from above.

Walls, floors and horizons go on sideways, so the fill is smooth along rows and keeps what changes from row to row. Grain
as strong as that around the hole keeps the fill from looking painted; what copies patches instead repeats door handles.
"""
from __future__ import annotations

import cv2
import numpy as np

RIM = 3                             # pixels beside the hole that the fill meets
BAND = 0.12                         # of the canvas width: how much beside the hole counts
UNUSABLE = 200.0                    # grey levels of noise where a side shows nothing
ALIKE = 25.0                        # grey levels between sides that are blended
CHANGE = 2.0                        # of a change of colour from row to row, against a noisy side
RIM_REACH = 0.03                    # of the canvas height, over which it goes over into the row's colour
GRAIN = 2.0                         # pixels, standard deviation of the blur that separates grain from shapes


def filled(image: np.ndarray, hole: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image (H, W, 3) uint8 with new pixels where `hole` (H, W) bool; outside of it, unchanged."""
    if not hole.any():
        return image.copy()
    picture, known = image.astype(np.float32), (~hole).astype(np.float32)
    if hole.all():
        return np.full_like(image, picture.mean(axis=(0, 1)).round())
    fill = row_colours(picture, hole)                                                       # (H, W, 3)
    fill = met(fill, picture, hole, RIM_REACH)
    fill += grain(picture, known) * cv2.GaussianBlur(rng.standard_normal(image.shape[:2], np.float32), (0, 0), 0.7)[..., None]
    return np.where(hole[..., None], fill.clip(0, 255).round(), picture).astype(np.uint8)


def met(fill: np.ndarray, picture: np.ndarray, region: np.ndarray, reach: float) -> np.ndarray:
    """The fill (H, W, 3) float32 of a region (H, W) bool changed so that at its rim it meets the picture.

    reach: canvas heights, over which the change fades.
    """
    rim = cv2.dilate(region.astype(np.uint8), np.ones((2 * RIM + 1,) * 2, np.uint8)).astype(bool) & ~region
    away = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 5) / (reach * region.shape[0])
    return fill + np.exp(-away**2)[..., None] * spread(picture - fill, rim.astype(np.float32))


def row_colours(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """What each row shows behind the hole, (H, W, 3) float32: from left to right where both sides are alike, else the side
    that is plainer and changes less from row to row."""
    height, width = hole.shape
    first, last = hole_of_rows(hole)                                                        # (H,) each
    reach = max(round(BAND * width), 2)
    columns = np.arange(width)[None]
    colours, noise = [], []
    for band in ((columns < first[:, None]) & (columns >= first[:, None] - reach),
                 (columns > last[:, None]) & (columns <= last[:, None] + reach)):
        weight = (band & ~hole).astype(np.float32)[..., None]
        count = weight.sum(axis=1)                                                          # (H, 1)
        mean = (picture * weight).sum(axis=1) / np.maximum(count, 1)                        # (H, 3)
        deviation = np.sqrt((((picture - mean[:, None]) ** 2) * weight).sum(axis=(1, 2)) / np.maximum(count[:, 0], 1))
        usable = count[:, 0] >= min(reach, 6)
        mean = spread(mean[:, None], usable.astype(np.float32)[:, None])[:, 0] if usable.any() else mean
        smooth = cv2.medianBlur(mean.round().clip(0, 255).astype(np.uint8)[:, None], 2 * (height // 160) + 1)[:, 0]
        colours.append(smooth.astype(np.float32))
        noise.append(np.where(usable, deviation, UNUSABLE))
    chosen = cheapest_path(np.stack(colours), np.stack(noise))                              # (H,) 0 or 1
    left, right = colours
    alike = np.exp(-((np.linalg.norm(left - right, axis=1) / ALIKE) ** 2)) * (np.max(noise, axis=0) < UNUSABLE)
    share = ((columns - first[:, None]) / np.maximum(last - first, 1)[:, None]).clip(0, 1)  # (H, W) of the right
    share = cv2.blur((alike[:, None] * share + (1 - alike[:, None]) * chosen[:, None]).astype(np.float32), (1, 5))
    return (1 - share[..., None]) * left[:, None] + share[..., None] * right[:, None]


def cheapest_path(colours: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Which of two sides each row takes, (H,) 0 or 1, by dynamic programming; colours: (2, H, 3), noise: (2, H)."""
    height = noise.shape[1]
    total, came = noise[:, 0].copy(), np.zeros((height, 2), int)
    for row in range(1, height):
        step = np.linalg.norm(colours[:, None, row - 1] - colours[None, :, row], axis=-1)   # (from, to)
        options = total[:, None] + CHANGE * step
        came[row] = options.argmin(axis=0)
        total = options.min(axis=0) + noise[:, row]
    path = np.empty(height, int)
    path[-1] = total.argmin()
    for row in range(height - 1, 0, -1):
        path[row - 1] = came[row, path[row]]
    return path


def hole_of_rows(hole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last column (H,) of the hole in each row, of the nearest row that has one."""
    rows = np.flatnonzero(hole.any(axis=1))
    nearest = rows[np.abs(np.arange(len(hole))[:, None] - rows[None]).argmin(axis=1)]
    first, last = hole[nearest].argmax(axis=1), hole.shape[1] - 1 - hole[nearest][:, ::-1].argmax(axis=1)
    return first, last


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
