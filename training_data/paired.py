"""Training clips from two folders of equal-named videos: pictures and the poses drawn for them."""
from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from media.images import as_tensor, fit_to_canvas
from media.video_reader import announced_frames, frames_at, stored_frames, videos_in

log = logging.getLogger(__name__)

PIXELS_PER_LATENT = 8
COUNTER = re.compile(r"[-_. ]+\d+$")        # as in dance_003.mp4


def check_window(num_frames: int, frame_stride: int = 1, size: tuple[int, int] = (PIXELS_PER_LATENT,) * 2) -> None:
    """Refuse clips without frames, and a canvas (height, width) that has no latents."""
    for name, value in (("num_frames", num_frames), ("frame_stride", frame_stride)):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1 (found {value}): raise it")
    if min(size) < PIXELS_PER_LATENT or any(side % PIXELS_PER_LATENT for side in size):
        raise ValueError(f"height, width: expected multiples of {PIXELS_PER_LATENT} (found {size[0]}x{size[1]}): "
                         "round them")


class PairedClips(Dataset):
    """Clips of `num_frames` consecutive frames from `targets`, with the same frames of `poses` and a random reference.

    For the video model the targets are pictures; for the skeleton adapter they are poses with hands and `poses` are the
    same without hands. Items are asked for as (index, position) and depend on nothing else but the seed.
    """

    def __init__(self, targets: str | Path, poses: str | Path, num_frames: int, size: tuple[int, int], *,
                 frame_stride: int = 1, seed: int = 0):
        check_window(num_frames, frame_stride, size)
        targets, poses = videos_in(Path(targets)), videos_in(Path(poses))
        self.pairs = [(targets[name], poses[name]) for name in targets if name in poses]
        if not self.pairs:
            raise ValueError(f"clips: expected equal file names in both folders (found {', '.join(list(targets)[:3])} "
                             f"and {', '.join(list(poses)[:3])}): rename one side")
        unpaired = len(targets) + len(poses) - 2 * len(self.pairs)
        if unpaired:
            log.warning("clips: %d videos have no partner of the same name and are left out", unpaired)
        self.num_frames, self.size, self.frame_stride, self.seed = num_frames, tuple(size), frame_stride, seed
        self.span = (num_frames - 1) * frame_stride + 1
        self._leave_out_short_ones()

    def _leave_out_short_ones(self) -> None:
        """Find what cannot be trained on before training begins; equal announced lengths are believed."""
        long_enough, short = [], []
        for pair in self.pairs:
            lengths = list(map(announced_frames, pair))
            if lengths[0] != lengths[1] or lengths[0] < self.span:                  # uneven timestamps change it
                lengths = [len(stored_frames(path)) for path in pair]
                require_equal_lengths(pair[0], *lengths)
            (short if lengths[0] < self.span else long_enough).append((pair, lengths[0]))
        if not long_enough:
            raise ValueError(f"{short[0][0][0].name}: expected at least {self.span} frames (found {short[0][1]}, "
                             "and no longer video): lower num_frames or add longer videos")
        if short:
            log.warning("clips: %d videos shorter than %d frames are left out, the first is %s",
                           len(short), self.span, short[0][0][0].name)
        self.pairs = [pair for pair, _ in long_enough]

    def __len__(self) -> int:
        return len(self.pairs)

    def origin(self, index: int) -> tuple[str, str, str]:
        """Of a clip: its file, its video, and its name without a number at the end, which pieces of a video share."""
        target, _ = self.pairs[index]
        return str(target), target.name, COUNTER.sub("", target.stem)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor | str]:
        index, position = key
        target_path, pose_path = self.pairs[index]
        target, pose = stored_frames(target_path), stored_frames(pose_path)
        require_equal_lengths(target_path, len(target), len(pose))
        if len(target) < self.span:
            raise ValueError(f"{target_path.name}: expected at least {self.span} frames (found {len(target)}): "
                             "lower num_frames or leave it out")
        rng = np.random.default_rng((self.seed, position))
        first = int(rng.integers(len(target) - self.span + 1))
        chosen = range(first, first + self.span, self.frame_stride)
        reference = [int(rng.integers(len(target)))]
        read = lambda path, stored, wanted: as_tensor(
            np.stack([fit_to_canvas(frame, self.size) for frame in frames_at(path, wanted, stored)]))
        return {"target": read(target_path, target, chosen), "pose": read(pose_path, pose, chosen),
                "reference": read(target_path, target, reference)[0], "position": torch.tensor(position),
                "name": target_path.name}


def require_equal_lengths(target: Path, num_frames: int, num_poses: int) -> None:
    if num_frames != num_poses:
        raise ValueError(f"{target.name}: expected as many frames as its pose video "
                         f"(found {num_frames} and {num_poses}): cut them to one length")
