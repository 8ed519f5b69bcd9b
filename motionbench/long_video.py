"""What goes wrong in long videos: visible seams where two tiles of the sampler meet, and colours that drift away."""

from __future__ import annotations

import cv2
import numpy as np

from mimicmotion.tiles import tile_ranges
from motionbench.picture import ciede2000

DRIFT_SHARE = 0.25              # of the clip: its end is compared with its beginning
SEAM_REACH = 3                  # changes on either side of a border that show how much the clip moves there


def tile_borders(num_frames: int, tile_size: int, tile_overlap: int, mode: str) -> tuple[int, ...]:
    """The frames k whose set of tiles differs from that of frame k - 1: where a seam could be seen. Frame 0, which all
    tiles share, makes none."""
    tiles = tile_ranges(num_frames, tile_size, tile_overlap, mode)
    edges = {edge for tile in tiles for edge in (tile[1:2] + [tile[-1] + 1])}
    return tuple(sorted(edge for edge in edges if 1 < edge < num_frames))


def changes(video: np.ndarray) -> np.ndarray:
    """Mean |change| from each frame to the next, 8-bit levels. (F, H, W, 3) -> (F - 1,)"""
    return np.array([np.abs(b.astype(np.float32) - a).mean() for a, b in zip(video, video[1:])])


def seam(video: np.ndarray, borders: tuple[int, ...]) -> float:
    """How much more the picture changes across a tile border than just before and after it, 8-bit levels.

    Mean over borders of the change into the border's frame, less the median of up to three changes on either side; NaN
    without borders, or where every change crosses one.
    """
    steps = changes(video)                                                                  # (F - 1,)
    across = {border - 1 for border in borders if 0 < border < len(video)}
    excess = []
    for step in sorted(across):
        near = [k for k in range(step - SEAM_REACH, step + SEAM_REACH + 1) if 0 <= k < len(steps) and k not in across]
        if near:
            excess.append(steps[step] - np.median(steps[near]))
    return float(np.mean(excess)) if excess else float("nan")


def colour_distance(video: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """CIEDE2000 between each frame's mean colour and the reference picture's. (F, H, W, 3), (H, W, 3) -> (F,)"""
    wanted = mean_colour(reference)
    return np.array([ciede2000(mean_colour(frame), wanted) for frame in video])


def colour_drift(video: np.ndarray, reference: np.ndarray) -> float:
    """How much further the colours of the clip's last quarter are from the reference than those of its first, CIEDE2000.

    Negative: they come nearer. A clip of one frame has none.
    """
    distance = colour_distance(video, reference)                                            # (F,)
    part = max(1, round(DRIFT_SHARE * len(distance)))
    return float(distance[-part:].mean() - distance[:part].mean())


def mean_colour(picture: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (3,) of a picture (H, W, 3) uint8 RGB, averaged over pixels."""
    return cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2Lab).reshape(-1, 3).mean(axis=0)
