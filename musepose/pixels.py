"""Pictures and poses as MusePose's networks take them; Pillow resizes, as in the published code."""
from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)   # RGB, of CLIP's training pictures in [0, 1]
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def resized(frames: np.ndarray, size: tuple[int, int], filter: int = Image.Resampling.LANCZOS) -> np.ndarray:
    """Frames (N, H, W, 3) uint8 at `size` (height, width), their aspect not kept."""
    if frames.shape[1:3] == size:
        return frames
    return np.stack([np.asarray(Image.fromarray(frame).resize(size[::-1], filter)) for frame in frames])


def as_shares(frames: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 1).float() / 255


def picture_pixels(images: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Pictures for the VAE, (N, 3, *size) float32 in [-1, 1]."""
    return as_shares(resized(images, size)) * 2 - 1


def pose_pixels(poses: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Pose frames for the pose guider, (N, 3, *size) float32 in [0, 1]."""
    return as_shares(resized(poses, size))


def clip_pixels(images: np.ndarray, side: int = 224) -> Tensor:
    """Pictures for CLIP's image encoder, (N, 3, side, side): squashed to a square, normalised."""
    shares = as_shares(resized(images, (side, side), Image.Resampling.BICUBIC))
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    return (shares - mean) / std
