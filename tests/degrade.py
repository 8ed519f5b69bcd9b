"""Damage of chosen strength: what a metric must notice. Strength 0 changes nothing; more is worse."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from dwpose.skeleton import Skeleton
from motionbench.pose import torso


def blurred(video: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of every frame; sigma in pixels. (F, H, W, 3) uint8"""
    if sigma == 0:
        return video
    return np.stack([cv2.GaussianBlur(frame, (0, 0), sigma) for frame in video])


def tinted(video: np.ndarray, levels: float) -> np.ndarray:
    """Redder and less blue by `levels` of 255, everywhere alike."""
    return shifted(video, np.full(len(video), levels))


def drifting(video: np.ndarray, levels: float) -> np.ndarray:
    """As `tinted`, growing evenly from 0 at the first frame to `levels` at the last."""
    return shifted(video, np.linspace(0, levels, len(video)))


def shifted(video: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """levels: (F,) per frame"""
    shift = levels[:, None, None, None] * np.array([1.0, 0.0, -1.0])                        # (F, 1, 1, 3)
    return np.clip(np.round(video + shift), 0, 255).astype(np.uint8)


def shaken(skeleton: Skeleton, torsos: float, rng: np.random.Generator) -> Skeleton:
    """Independent Gaussian noise on every point of every frame; standard deviation in torsos."""
    keypoints = skeleton.keypoints.copy()
    keypoints[..., :2] += torsos * torso(skeleton) * rng.standard_normal(keypoints[..., :2].shape)
    return replace(skeleton, keypoints=keypoints)


def hidden(skeleton: Skeleton, share: float, rng: np.random.Generator) -> Skeleton:
    """The detector overlooks a share of the points, at random; of two shares the larger hides what the smaller hides."""
    keypoints = skeleton.keypoints.copy()
    keypoints[rng.random(keypoints.shape[:2]) < share] = 0
    return replace(skeleton, keypoints=keypoints)


def shuffled_order(num_frames: int, reach: float, rng: np.random.Generator) -> np.ndarray:
    """Frame indices (F,) in an order where frames stray up to about `reach` places; 0 keeps the order."""
    return np.argsort(np.arange(num_frames) + reach * rng.uniform(0, 1, num_frames), kind="stable")


def tiled(video: np.ndarray, borders: tuple[int, ...], levels: float) -> np.ndarray:
    """A step of brightness at every border, up and down by turns: seams."""
    number = np.searchsorted(np.asarray(borders), np.arange(len(video)), side="right")      # (F,) tile of each frame
    return np.clip(np.round(video + (levels * (number % 2))[:, None, None, None]), 0, 255).astype(np.uint8)
