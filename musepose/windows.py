"""Windows of frames that are denoised together, and how their predictions become one (AnimateDiff's uniform contexts)."""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from musepose.networks import MAX_WINDOW


def check_windows(size: int, overlap: int, stride: int = 1) -> None:
    """Refuse windows that leave frames without a prediction."""
    if not 1 <= size <= MAX_WINDOW:
        raise ValueError(f"window: expected 1 to {MAX_WINDOW} frames, which MusePose's motion modules know "
                         f"(found {size}): 48 is what it was trained on")
    if not 0 <= overlap < size:
        raise ValueError(f"window_overlap: expected 0 to window - 1 = {size - 1} (found {overlap}): 4 is usual")
    if stride < 1:
        raise ValueError(f"window_stride: expected at least 1 (found {stride})")


def frame_windows(num_frames: int, size: int = 48, overlap: int = 4, stride: int = 1) -> list[list[int]]:
    """The frames of each window. The last one goes on at frame 0 where the video ends within it.

    stride k: further windows over every 2nd, 4th, ... frame, k - 1 times as long as the video is so long.
    """
    check_windows(size, overlap, stride)
    if num_frames <= size:
        return [list(range(num_frames))]
    passes = min(stride, math.ceil(math.log2(num_frames / size)) + 1)
    steps = [2 ** number for number in range(passes)]
    return [[frame % num_frames for frame in range(start, start + size * step, step)]
            for step in steps for start in range(0, num_frames - overlap, size * step - overlap)]


def padded_length(num_frames: int, size: int = 48, overlap: int = 4) -> int:
    """Frames that windows cover exactly; the published code fills up to them by repeating the last pose."""
    return overlap + max(0, math.ceil((num_frames - overlap) / (size - overlap))) * (size - overlap)


def averaged(predictions: Sequence[Tensor], windows: Sequence[list[int]], num_frames: int) -> Tensor:
    """The mean of what the windows (T, 4, h, w) say of each frame, (F, 4, h, w), summed in the order of the windows."""
    total = predictions[0].new_zeros(num_frames, *predictions[0].shape[1:])
    count = total.new_zeros(num_frames, 1, 1, 1)
    for prediction, window in zip(predictions, windows):
        frames = torch.tensor(window, device=total.device)
        total.index_add_(0, frames, prediction)
        count.index_add_(0, frames, count.new_ones(len(window), 1, 1, 1))
    return total / count
