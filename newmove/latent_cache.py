"""Latents of clips on disk, so that no training step runs the VAE: mean and deviation of every frame that can be taken.

A frame's latents do not depend on its neighbours, so any window of a clip is a slice. The noise of the posterior is drawn
in the step, as without a cache.
"""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from tqdm import tqdm

from media.files import save_atomically
from runtime.processes import ALONE, Processes
from runtime.weights import save_tensors

from newmove.clips import Clip, frame_stride, read_frames

SAMPLED_BYTES = 1 << 20                 # of a video's beginning, for its name in the cache
FRAMES_READ_AT_ONCE = 64


class LatentCache:
    """Call it as (clip, size, indices) for mean and standard deviation, each (F, 4, h, w), not scaled.

    fps: None where every frame may be taken (resampled clips). model: what the latents depend on besides.
    """

    def __init__(self, folder: str | Path, fps: float | None, model: str):
        self.folder, self.fps, self.model = Path(folder), fps, model

    def stride(self, clip: Clip) -> int:
        return 1 if self.fps is None else frame_stride(clip.length, clip.fps, self.fps)

    def path(self, clip: Clip, size: tuple[int, int]) -> Path:
        """Named by the video's content, so that a changed clip is encoded anew."""
        with clip.path.open("rb") as file:
            content = file.read(SAMPLED_BYTES)
        about = f"{clip.path.stat().st_size} {size} {self.stride(clip)} {self.model} ".encode()
        return self.folder / f"{clip.path.stem[:60]}_{hashlib.sha256(about + content).hexdigest()[:16]}.safetensors"

    def __call__(self, clip: Clip, size: tuple[int, int], indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        rows = [index // self.stride(clip) for index in indices]
        first, last = min(rows), max(rows)
        with safe_open(self.path(clip, size), "pt") as file:
            window = [file.get_slice(name)[first:last + 1] for name in ("mean", "std")]
        return tuple(tensor[[row - first for row in rows]] for tensor in window)

    def fill(self, clips: Iterable[tuple[Clip, tuple[int, int]]], encode: Callable[[Tensor], tuple[Tensor, Tensor]],
             processes: Processes = ALONE) -> int:
        """Encode what is missing; the processes share the work. How many clips this process encoded.

        encode: frames (N, 3, H, W) in [-1, 1] -> mean, std.
        """
        share = [pair for pair in clips if not self.path(*pair).is_file()][processes.rank::processes.count]
        for clip, size in tqdm(share, desc="latents", unit="clip", disable=not (processes.is_main and share)):
            stride, means, stds = self.stride(clip), [], []
            wanted = list(range(0, clip.length - clip.length % stride, stride))
            for start in range(0, len(wanted), FRAMES_READ_AT_ONCE):
                frames = read_frames(clip, size, wanted[start:start + FRAMES_READ_AT_ONCE])
                for found, tensor in zip((means, stds), encode(frames)):
                    found.append(tensor.cpu().contiguous())
            tensors = {"mean": torch.cat(means), "std": torch.cat(stds)}
            save_atomically(self.path(clip, size), lambda path: save_tensors(tensors, path))
        return len(share)
