"""How far a set of made videos is from the set of true ones: Fréchet distances of features (Dowson and Landau 1982).

The same checkpoint has been published with FVD 594, 472, 412 and 327, so every part of the protocol is fixed here and
written into the result: which frames, at what size, resampled how, into which features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from motionbench.metrics import ClipCase, Features, Score

FRAMES_PER_CLIP = 16            # of picture features: evenly spaced, the first and the last included
SEGMENT_FRAMES = 16             # of video features: segments one after another, the last filled up with its last frame
FEW_CLIPS = 2                   # with fewer rows there is no covariance


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½) of the Gaussians fitted to features (N, D) and (M, D).

    With centred rows X and Y, tr (C1 C2)^½ is the nuclear norm of X Yᵀ / ((N - 1)(M - 1))^½: exact, and without the
    square root of a matrix that may be singular. Rows beyond D are folded into D by QR first.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"features: expected (N, D) and (M, D) (found {first.shape} and {second.shape})")
    if min(len(first), len(second)) < FEW_CLIPS:
        return float("nan")
    apart = ((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum()
    x, y = (_factor(rows) for rows in (first, second))                                      # XᵀX and YᵀY are C1 and C2
    shared = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(max(0.0, apart + (x**2).sum() + (y**2).sum() - 2 * shared))


def _factor(rows: np.ndarray) -> np.ndarray:
    """A matrix R of at most D rows with RᵀR the covariance of `rows` (N, D)."""
    centred = (rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1)
    return centred if len(centred) <= centred.shape[1] else np.linalg.qr(centred, mode="r")


def frechet_of_clips(clips: Sequence[Features]) -> Score:
    """The distance between all clips' "video" rows and their "truth" rows."""
    if not clips:
        return Score(float("nan"), "no clip could be measured")
    video, truth = (np.concatenate([clip[side] for clip in clips]) for side in ("video", "truth"))
    note = f"{len(clips)} clips, {len(video)} rows of {video.shape[1]} features"
    if len(video) <= video.shape[1]:
        note += ": fewer rows than features, so the distance is too large and only compares with the same number"
    return Score(frechet_distance(video, truth), note)


def features_of_both(network: Callable[[np.ndarray], np.ndarray]) -> Callable[[ClipCase], Features]:
    """A network of frames (F, H, W, 3) to rows (N, D), applied to the video and its truth."""
    return lambda case: {"video": network(case.video), "truth": network(case.truth)}


def spread_frames(video: np.ndarray, number: int = FRAMES_PER_CLIP) -> np.ndarray:
    """`number` evenly spaced frames, or all of a shorter video. (F, H, W, 3)"""
    if len(video) <= number:
        return video
    return video[np.round(np.linspace(0, len(video) - 1, number)).astype(int)]


def segments(video: np.ndarray, length: int = SEGMENT_FRAMES) -> np.ndarray:
    """Consecutive segments (S, length, H, W, 3); the last is filled up by repeating its last frame."""
    missing = -len(video) % length
    filled = np.concatenate([video, np.repeat(video[-1:], missing, axis=0)])
    return filled.reshape(-1, length, *video.shape[1:])


def resized(frames: np.ndarray, side: int) -> np.ndarray:
    """Frames squashed to side x side by Pillow's antialiased bicubic filter. (F, H, W, 3) -> float32 in 0..255

    As in clean-fid (Parmar et al. 2022): resampling without antialiasing, or rounding to 8 bits, changes FID by points.
    """
    def channel(plane: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(plane.astype(np.float32))
        return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)).clip(0, 255)

    return np.stack([np.stack([channel(frame[..., c]) for c in range(3)], axis=-1) for frame in frames])
