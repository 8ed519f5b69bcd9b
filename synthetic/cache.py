"""A folder of rendered clips with cached VAE latents, and the training clips read from it.

Rendering is cheap and encoding is not, so both are done once. Arrays are .npy files opened in place; a flag per clip
says what is done, so an interrupted preparation goes on where it stopped.
"""
from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from dwpose.draw import draw
from dwpose.hands import hand_boxes, head_boxes
from dwpose.skeleton import BODY, FACE, HANDS, LEFT_HAND, RIGHT_HAND, Skeleton
from synthetic.clips import sample_clip

LATENT_SHRINK = 8                   # pixels per latent, each way
NEAR = 0.05                         # of the person's height; frames nearer to the reference than this count alike


def open_array(folder: Path, name: str, shape: tuple[int, ...] | None = None, dtype=None, *,
           writable: bool = False) -> np.ndarray:
    """The named array of a cache, opened in place; created with zeros when a shape is given and it does not exist."""
    path = folder / f"{name}.npy"
    if not path.exists():
        if shape is None:
            raise FileNotFoundError(f"{path}: expected a prepared clip cache (found none): "
                                    "run scripts/prepare_demo_clips.py first")
        folder.mkdir(parents=True, exist_ok=True)
        np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape).flush()
    array = np.load(path, mmap_mode="r+" if shape or writable else "r")
    if shape and array.shape != shape:
        raise ValueError(f"{path}: expected shape {shape} (found {array.shape}): use another folder for other settings")
    return array


def _render_one(job: tuple) -> int:
    folder, index, seed, num_frames, fps, size = job
    clip = sample_clip(seed, num_frames=num_frames, fps=fps, size=size)
    frames, keypoints, done = (open_array(folder, name, writable=True) for name in ("frames", "keypoints", "rendered"))
    frames[index, 0], frames[index, 1:] = clip.reference, clip.frames
    keypoints[index, 0], keypoints[index, 1:] = clip.reference_skeleton.keypoints[0], clip.skeleton.keypoints
    done[index] = True
    return index


def render_cache(folder: Path, *, first_seed: int, num_clips: int, num_frames: int, fps: float,
                 size: tuple[int, int], workers: int = 2) -> None:
    """Render clips of seeds first_seed ... into `folder`: per clip the reference picture, then `num_frames` frames."""
    height, width = size
    open_array(folder, "frames", (num_clips, 1 + num_frames, height, width, 3), np.uint8)
    open_array(folder, "keypoints", (num_clips, 1 + num_frames, 133, 3), np.float32)
    rendered = open_array(folder, "rendered", (num_clips,), np.bool_)
    jobs = [(folder, index, first_seed + index, num_frames, fps, size) for index in np.flatnonzero(~rendered).tolist()]
    with ProcessPoolExecutor(workers) as pool:
        for _ in tqdm(pool.map(_render_one, jobs, chunksize=4), total=len(jobs), desc="rendering", unit="clip"):
            pass


def encode_cache(folder: Path, encode: Callable[[np.ndarray], np.ndarray], *, poses: bool, style: str = "bold",
                 share: slice = slice(None), limit: int | None = None) -> None:
    """Cache what `encode` ((n, H, W, 3) uint8 to (n, 4, h, w)) makes of the frames, or of the poses drawn for them.

    share: the clips this process takes, e.g. slice(rank, None, world size); limit: only the first clips.
    """
    frames, keypoints, rendered = (open_array(folder, name) for name in ("frames", "keypoints", "rendered"))
    num_clips, num_frames, height, width, _ = frames.shape
    shape = (num_clips, num_frames, 4, height // LATENT_SHRINK, width // LATENT_SHRINK)
    name = "pose_latents" if poses else "latents"
    latents, done = open_array(folder, name, shape, np.float16), open_array(folder, f"{name}_done", (num_clips,), np.bool_)
    todo = [index for index in range(num_clips)[:limit][share] if rendered[index] and not done[index]]
    for index in tqdm(todo, desc=f"encoding {name}", unit="clip"):
        pictures = frames[index]
        if poses:
            pictures = draw(Skeleton(keypoints[index], (height, width), fps=1), style)
        latents[index] = encode(np.ascontiguousarray(pictures))
        done[index] = True


def as_tensor(pictures: np.ndarray) -> Tensor:
    """(..., H, W, 3) uint8 RGB to (..., 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.array(pictures)).movedim(-1, -3).float() / 127.5 - 1


class CachedClips(Dataset):
    """Training clips of a cache: frames for the video model, or drawn poses (with hands from without) for the adapter.

    num_frames = 1 takes any frame and any other as the reference; more takes consecutive frames and the reference picture.
    Single pictures far from the reference are hardest to learn and come more often: half the time the asked clip has to
    move further than another one, or that is taken; and of a clip the frames far from its reference are preferred.
    Items say where the head is, and the hands that are drawn, or for the adapter asked for.
    """

    def __init__(self, folder: str | Path, num_frames: int, *, adapter: bool = False, style: str = "bold", seed: int = 0):
        folder, name = Path(folder), "pose_latents" if adapter else "latents"
        self.frames, self.keypoints = open_array(folder, "frames"), open_array(folder, "keypoints")
        self.latents, done = open_array(folder, name), open_array(folder, f"{name}_done")
        self.clips = np.flatnonzero(done)
        if not len(self.clips):
            raise ValueError(f"{folder}: expected encoded clips (found none): run scripts/prepare_demo_clips.py")
        available = self.latents.shape[1] - 1
        if not 1 <= num_frames <= available:
            raise ValueError(f"num_frames: expected 1 to {available}, the frames of a clip in {folder} (found {num_frames})")
        self.num_frames, self.adapter, self.style, self.seed = num_frames, adapter, style, seed
        self.reach = np.stack([reach(self.keypoints[clip]) for clip in self.clips])     # (N, 1 + F)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        index, position = key
        rng = np.random.default_rng((self.seed, position))
        if self.num_frames == 1 and rng.random() < 0.5:
            index = max(index, int(rng.integers(len(self))), key=lambda i: self.reach[i].mean())
        clip = self.clips[index]
        chosen, reference = self._choose(self.reach[index], rng)
        true = self.keypoints[clip, chosen]                                             # (F, 133, 3)
        keypoints = without_hands(true.copy()) if self.adapter else as_detected(true.copy(), rng)
        hands = hand_boxes(true if self.adapter else keypoints)                         # (F, 2, 5)
        picture = self._draw(self.keypoints[clip, reference][None])[0] if self.adapter else self.frames[clip, reference]
        return {"latents": torch.from_numpy(self.latents[clip, chosen].astype(np.float32)),
                "reference_latents": torch.from_numpy(self.latents[clip, reference].astype(np.float32)),
                "reference": as_tensor(picture), "pose": as_tensor(self._draw(keypoints)),
                "hands": torch.from_numpy(hands), "head": torch.from_numpy(head_boxes(true)),       # (F, 1, 5)
                "position": torch.tensor(position)}

    def _choose(self, distance: np.ndarray, rng: np.random.Generator) -> tuple[list[int], int]:
        """Which frames are the target, and which is the reference (0 is the reference picture)."""
        total = self.latents.shape[1]
        if self.num_frames > 1:
            first = int(rng.integers(1, total - self.num_frames + 1))
            return list(range(first, first + self.num_frames)), 0
        target = int(rng.choice(total, p=(distance + NEAR) / (distance + NEAR).sum()))
        other = int(rng.choice(np.delete(np.arange(total), target)))
        return [target], 0 if target and rng.random() < 0.6 else other

    def _draw(self, keypoints: np.ndarray) -> np.ndarray:
        return draw(Skeleton(keypoints, self.frames.shape[2:4], fps=1), self.style)


def reach(keypoints: np.ndarray) -> np.ndarray:
    """(F,) mean distance of each frame's body points from frame 0's, in heights of the first frame's body."""
    body, seen = keypoints[:, BODY, :2], keypoints[:, BODY, 2] > 0                      # (F, 17, 2), (F, 17)
    both = seen & seen[0]
    height = np.ptp(body[0][seen[0], 1])
    return (np.linalg.norm(body - body[0], axis=-1) * both).sum(axis=1) / both.sum(axis=1).clip(min=1) / height


def without_hands(keypoints: np.ndarray) -> np.ndarray:
    """(F, 133, 3) with no hand point seen: what text-to-motion can give."""
    keypoints[:, HANDS] = 0
    return keypoints


def as_detected(keypoints: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(F, 133, 3) with what a detector or the adapter may leave out or misplace: hands, the face, a pixel here and there."""
    for hand in (LEFT_HAND, RIGHT_HAND):
        if rng.random() < 0.1:
            keypoints[:, hand] = 0
    if rng.random() < 0.05:
        keypoints[:, FACE] = 0
    jitter = rng.normal(0, 0.7 * (rng.random() < 0.5), keypoints[..., :2].shape)        # pixels
    keypoints[..., :2] += jitter.astype(np.float32)
    return keypoints
