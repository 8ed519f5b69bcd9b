"""Training clips from two folders of equal-named videos: pictures and the poses drawn for them."""
from __future__ import annotations

import logging
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .seeking import frames_shown, stored_frames
from .video import existing_file, fit_to_canvas, video_stream

logger = logging.getLogger(__name__)

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")
PIXELS_PER_LATENT = 8


def check_window(num_frames: int, frame_stride: int = 1, size: tuple[int, int] = (PIXELS_PER_LATENT,) * 2) -> None:
    """Refuse clips without frames, and a canvas (height, width) that has no latents."""
    for name, value in (("num_frames", num_frames), ("frame_stride", frame_stride)):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1 (found {value}): raise it")
    if min(size) < PIXELS_PER_LATENT or any(side % PIXELS_PER_LATENT for side in size):
        raise ValueError(f"height, width: expected multiples of {PIXELS_PER_LATENT} (found {size[0]}x{size[1]}): "
                         "round them")


def as_tensor(frames: np.ndarray) -> Tensor:
    """(..., H, W, 3) uint8 RGB to (..., 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, -3).float().div_(127.5).sub_(1)


def videos_in(folder: Path) -> dict[str, Path]:
    """Video files of a folder by stem; a clear error when there are none."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder of videos (found nothing): check the path")
    found = {path.stem: path for path in sorted(folder.iterdir())
             if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")}
    if not found:
        raise ValueError(f"{folder}: expected videos {', '.join(VIDEO_SUFFIXES)} (found none): check the path")
    return found


def frames_at(path: str | Path, wanted: list[int]) -> np.ndarray:
    """The wanted frames of a video of constant rate, (n, H, W, 3) uint8 RGB; the others do not become pictures."""
    path, needed, found, number = existing_file(path, "video"), set(wanted), {}, -1
    try:
        with av.open(str(path)) as container:
            for number, frame in enumerate(container.decode(video_stream(container, path))):
                if number in needed:
                    found[number] = frame.to_ndarray(format="rgb24")
                if len(found) == len(needed):
                    break
    except av.FFmpegError as error:
        raise ValueError(f"{path}: expected a whole video ({error.strerror}): make it anew") from None
    if len(found) < len(needed):
        raise ValueError(f"{path}: expected at least {max(needed) + 1} frames (found {number + 1}): make it anew")
    return np.stack([found[number] for number in wanted])


def frames_announced(path: Path) -> int:
    """How many frames a file says it has, without decoding it; 0 = it does not say."""
    try:
        with av.open(str(path)) as container:
            return video_stream(container, path).frames
    except av.FFmpegError as error:
        raise ValueError(f"{path}: expected a video ({error.strerror}): convert it to MP4 or leave it out") from None


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
            logger.warning("clips: %d videos have no partner of the same name and are left out", unpaired)
        self.num_frames, self.size, self.frame_stride, self.seed = num_frames, tuple(size), frame_stride, seed
        self.span = (num_frames - 1) * frame_stride + 1
        self._leave_out_short_ones()

    def _leave_out_short_ones(self) -> None:
        """Find what cannot be trained on before training begins; equal announced lengths are believed."""
        long_enough, short = [], []
        for pair in self.pairs:
            lengths = list(map(frames_announced, pair))
            if lengths[0] != lengths[1] or lengths[0] < self.span:                  # uneven timestamps change it
                lengths = [len(stored_frames(path)) for path in pair]
                require_equal_lengths(pair[0], *lengths)
            (short if lengths[0] < self.span else long_enough).append((pair, lengths[0]))
        if not long_enough:
            raise ValueError(f"{short[0][0][0].name}: expected at least {self.span} frames (found {short[0][1]}, "
                             "and no longer video): lower num_frames or add longer videos")
        if short:
            logger.warning("clips: %d videos shorter than %d frames are left out, the first is %s",
                           len(short), self.span, short[0][0][0].name)
        self.pairs = [pair for pair, _ in long_enough]

    def __len__(self) -> int:
        return len(self.pairs)

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
            np.stack([fit_to_canvas(frame, self.size) for frame in frames_shown(path, stored, wanted)]))
        return {"target": read(target_path, target, chosen), "pose": read(pose_path, pose, chosen),
                "reference": read(target_path, target, reference)[0], "position": torch.tensor(position),
                "name": target_path.name}


def require_equal_lengths(target: Path, num_frames: int, num_poses: int) -> None:
    if num_frames != num_poses:
        raise ValueError(f"{target.name}: expected as many frames as its pose video "
                         f"(found {num_frames} and {num_poses}): cut them to one length")
