"""Training clips from two folders of equal-named videos: pictures and the poses drawn for them."""
from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .video import fit_to_canvas, read_video

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")


def as_tensor(frames: np.ndarray) -> Tensor:
    """(..., H, W, 3) uint8 RGB to (..., 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, -3).float() / 127.5 - 1


def videos_in(folder: Path) -> dict[str, Path]:
    """Video files of a folder by stem; a clear error when there are none."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder of videos (found nothing): check the path")
    found = {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES}
    if not found:
        raise ValueError(f"{folder}: expected videos {', '.join(VIDEO_SUFFIXES)} (found none): check the path")
    return found


class PairedClips(Dataset):
    """Clips of `num_frames` consecutive frames from `targets`, with the same frames of `poses` and a random reference.

    For the video model the targets are pictures; for the skeleton adapter they are poses with hands and `poses` are the
    same without hands. Items are asked for as (index, position) and depend on nothing else but the seed.
    """

    def __init__(self, targets: str | Path, poses: str | Path, num_frames: int, size: tuple[int, int], *,
                 frame_stride: int = 1, seed: int = 0):
        targets, poses = videos_in(Path(targets)), videos_in(Path(poses))
        self.pairs = [(targets[name], poses[name]) for name in targets if name in poses]
        if not self.pairs:
            raise ValueError(f"clips: expected equal file names in both folders (found {', '.join(list(targets)[:3])} "
                             f"and {', '.join(list(poses)[:3])}): rename one side")
        unpaired = len(targets) + len(poses) - 2 * len(self.pairs)
        if unpaired:
            logger.warning("clips: %d videos have no partner of the same name and are left out", unpaired)
        self.num_frames, self.size, self.frame_stride, self.seed = num_frames, tuple(size), frame_stride, seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        index, position = key
        target_path, pose_path = self.pairs[index]
        (target, _), (pose, _) = read_video(target_path), read_video(pose_path)
        if len(target) != len(pose):
            raise ValueError(f"{target_path.name}: expected as many frames as its pose video "
                             f"(found {len(target)} and {len(pose)}): cut them to one length")
        span = (self.num_frames - 1) * self.frame_stride + 1
        if len(target) < span:
            raise ValueError(f"{target_path.name}: expected at least {span} frames (found {len(target)}): "
                             "lower num_frames or leave it out")
        rng = np.random.default_rng((self.seed, position))
        first = int(rng.integers(len(target) - span + 1))
        chosen = slice(first, first + span, self.frame_stride)
        reference = target[int(rng.integers(len(target)))]
        fit = lambda frames: as_tensor(np.stack([fit_to_canvas(frame, self.size) for frame in frames]))
        return {"target": fit(target[chosen]), "pose": fit(pose[chosen]), "reference": fit(reference[None])[0],
                "position": torch.tensor(position)}
