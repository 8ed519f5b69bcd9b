"""Exemplars of one motion and prior clips beside them: which files, which frames, which size, which words.

Everything random is a function of (seed, position in the sample stream), and folders are read in sorted order, so that
a run can be repeated anywhere.
"""
from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from media.files import one_line, save_atomically, utf8_text
from media.images import as_tensor, fit_to_canvas
from media.video_reader import frames_at, probe, stored_frames, videos_in
from runtime.device import generator_for
from runtime.processes import ALONE, Processes
from runtime.weights import save_tensors

log = logging.getLogger(__name__)

SHORT_SIDES = (2 / 3, 5 / 6, 1.0)          # of the long side; the published buckets are 256 and 320 beside 384
ROLES = ("exemplar", "prior")
LEAST_SHARE = 0.5                          # of num_frames that a clip must have; the rest repeats its last frame


@dataclass(frozen=True)
class Clip:
    """A video file and what may be said about it; one of the captions is picked each time."""
    path: Path
    captions: tuple[str, ...]
    length: int = 0                        # frames
    fps: float = 0.0                       # frames per second
    size: tuple[int, int] = (0, 0)         # (height, width), pixels


# ---------------------------------------------------------------------------------------------------------- frames

def frame_stride(length: int, native_fps: float, fps: float) -> int:
    """Every how-manieth frame is taken for about `fps`; Python rounds halves to even, as the published code does."""
    return min(length, max(1, round(native_fps / fps)))


def start_choices(length: int, stride: int, num_frames: int) -> int:
    """How many first frames there are to choose from, among every stride-th; a last partial stride is not used."""
    effective = length // stride
    return effective - min(num_frames, effective) + 1


def frame_indices(length: int, stride: int, num_frames: int, start: int) -> list[int]:
    """The frames of a clip; a short one repeats its last sampled frame up to `num_frames`."""
    count = min(num_frames, length // stride)
    indices = [stride * number for number in range(start, start + count)]
    return indices + indices[-1:] * (num_frames - count)


def nearest_indices(length: int, native_fps: float, fps: float, num_frames: int, start: int) -> list[int]:
    """Frames at exactly `fps` from frame `start` on, by time: index floor(i * native / fps); the end repeats."""
    return [min(length - 1, start + int(i * native_fps / fps)) for i in range(num_frames)]


def bucket(clip_size: tuple[int, int], size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """The canvas (height, width) for a clip: landscape stays landscape, upright stays upright.

    The long side is that of `size`, the short one the nearest of SHORT_SIDES in proportion, in multiples of `multiple`.
    The published code hands a landscape clip's height to the width.
    """
    long = max(size)
    shape = lambda short: (short, long) if clip_size[0] <= clip_size[1] else (long, short)
    canvases = [shape(max(multiple, round(share * long / multiple) * multiple)) for share in SHORT_SIDES]
    return min(canvases, key=lambda canvas: abs(np.log(canvas[0] / canvas[1] * clip_size[1] / clip_size[0])))


# -------------------------------------------------------------------------------------------------------- captions

def clips_in(folder: str | Path, fallback: Sequence[str] = (), *, from_name: bool = False) -> list[Clip]:
    """The videos of a folder in sorted order, each with its captions: those of clip.txt, of text.json, or `fallback`.

    text.json: {file name: caption or list of captions}. from_name: as a last resort the file's name says what is in it,
    as the published code has it for prior clips.
    """
    folder = Path(folder)
    table, clips, silent = caption_table(folder / "text.json"), [], []
    fallback = tuple(text for text in (one_line(text or "") for text in fallback) if text)
    for stem, path in videos_in(folder).items():
        beside = path.with_suffix(".txt")
        own = one_line(utf8_text(beside)) if beside.is_file() else ""
        captions = (own,) if own else table.get(path.name) or table.get(stem) or fallback
        if not captions and from_name:
            captions = (one_line(stem.replace("_", " ")),)
        if not captions:
            silent.append(path.name)
        clips.append(Clip(path, captions))
    if silent:
        raise ValueError(f"{folder}: expected a caption for every clip (found none for {len(silent)} of {len(clips)}, "
                         f"first {silent[0]}): write {Path(silent[0]).stem}.txt beside it, or set captions")
    return clips


def caption_table(path: Path) -> dict[str, tuple[str, ...]]:
    """The captions of a text.json, none where there is no such file."""
    if not path.is_file():
        return {}
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON (found {error}): correct it") from None
    if not isinstance(table, dict):
        raise ValueError(f"{path}: expected {{file name: captions}} (found a {type(table).__name__}): correct it")
    found = {}
    for name, texts in table.items():
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{path}: expected a caption or a list of captions for '{name}' (found {texts!r}): correct it")
        found[name] = tuple(one_line(text) for text in texts if text.strip())
    return found


def warn_about_word(clips: Sequence[Clip], word: str) -> None:
    """Say when the word that is to mean the motion is in no exemplar's caption."""
    if word and not any(word.lower() in caption.lower() for clip in clips for caption in clip.captions):
        log.warning("word: '%s' is in no caption of the exemplars (the first is '%s'): prompts will not "
                       "find the motion by it", word, clips[0].captions[0])


def with_lengths(clips: Sequence[Clip], fps: float, num_frames: int, *, keep_short: bool) -> list[Clip]:
    """The clips with their lengths, rates and sizes; nothing is decoded.

    A clip with less than half of `num_frames` frames would teach standing still. keep_short=False leaves such ones out
    and says how many; an exemplar (True) is refused by name, because there are few and each was chosen.
    """
    found, short, least = [], [], math.ceil(LEAST_SHARE * num_frames)
    for clip in clips:
        about, length = probe(clip.path), len(stored_frames(clip.path))
        if not length:
            raise ValueError(f"{clip.path}: expected a video with frames (found none): leave it out")
        usable = length // frame_stride(length, about.fps, fps)
        if usable < least:
            if keep_short:
                raise ValueError(f"{clip.path}: num_frames={num_frames} needs at least {least} frames at about {fps:g} fps "
                                 f"(found {usable}): use a longer clip, or lower num_frames")
            short.append(clip)
            continue
        found.append(Clip(clip.path, clip.captions, length, about.fps, about.size))
    if short:
        log.warning("%d of %d prior clips are left out as too short, the first is %s", len(short), len(clips),
                       short[0].path.name)
    if not found:
        raise ValueError(f"{clips[0].path.parent}: num_frames={num_frames} needs clips of at least {least} frames at about "
                         f"{fps:g} fps (found only shorter ones): add longer ones, or lower num_frames")
    return found


# --------------------------------------------------------------------------------------------------------- dataset

class MotionClips(Dataset):
    """Exemplars, each with a prior clip where there are any. Asked for as (index, position), like all our clips.

    An item is a dict: `position`; `frames` (K, F, 3, H, W) in [-1, 1], K = 2 with a prior clip and 1 without, exemplar
    first; `name`; `indices` (K, F), which frames they are; the texts `exemplar_caption` and `prior_caption`. With
    `cache`, a function (clip, size, indices) -> (mean, std), each (F, 4, h, w), there are `latent_mean` and `latent_std`
    (K, F, 4, h, w) instead of the frames. An epoch is as long as the longer of both lists; the shorter is repeated.
    """

    def __init__(self, exemplars: Sequence[Clip], priors: Sequence[Clip], num_frames: int, size: tuple[int, int], *,
                 fps: float = 24, bucketing: bool = False, multiple: int = 64, resample: bool = False,
                 seed: int = 0, cache=None):
        for name, value in (("num_frames", num_frames), ("fps", fps)):
            if not value > 0:
                raise ValueError(f"{name}: expected more than 0 (found {value}): raise it")
        self.exemplars = with_lengths(exemplars, fps, num_frames, keep_short=True)
        self.priors = with_lengths(priors, fps, num_frames, keep_short=False) if priors else []
        if len(self.exemplars) == 1:
            log.warning("one exemplar only: the model cannot tell the motion from this one person and place; five to "
                           "ten clips of different ones can")
        self.num_frames, self.size, self.fps = num_frames, tuple(size), fps
        self.bucketing, self.multiple, self.resample = bucketing, multiple, resample
        self.seed, self.cache = seed, cache

    def __len__(self) -> int:
        return max(len(self.exemplars), len(self.priors))

    def canvas(self, index: int) -> tuple[int, int]:
        """The size (height, width) of sample `index`: its exemplar's bucket, which the prior clip is fitted to."""
        clip = self.exemplars[index % len(self.exemplars)]
        return bucket(clip.size, self.size, self.multiple) if self.bucketing else self.size

    def require_one_canvas(self, batch_size: int) -> None:
        """Clips of several shapes cannot be in one batch."""
        found = sorted({"x".join(map(str, self.canvas(index))) for index in range(len(self.exemplars))})
        if batch_size > 1 and len(found) > 1:
            raise ValueError(f"train.batch_size: expected exemplars of one shape in a batch (found {' and '.join(found)}): "
                             "set bucketing=false, or train.batch_size=1 with gradient accumulation")

    def all_clips(self) -> list[tuple[Clip, tuple[int, int]]]:
        """Every (clip, canvas) that samples are made of, each once."""
        pairs = [(clip, self.canvas(i)) for i in range(len(self)) for clip in self.pair(i)]
        return list(dict.fromkeys(pairs))

    def captions(self) -> list[str]:
        """Every text that samples may come with, each once."""
        return list(dict.fromkeys(caption for clip in (*self.exemplars, *self.priors) for caption in clip.captions))

    def pair(self, index: int) -> list[Clip]:
        """The exemplar and, where there are prior clips, the one beside it."""
        chosen = [self.exemplars[index % len(self.exemplars)]]
        return chosen + ([self.priors[index % len(self.priors)]] if self.priors else [])

    def indices_of(self, clip: Clip, rng: np.random.Generator) -> list[int]:
        """Which frames a sample takes: a random start."""
        if self.resample:
            span = int((self.num_frames - 1) * clip.fps / self.fps)
            start = int(rng.integers(max(1, clip.length - span)))
            return nearest_indices(clip.length, clip.fps, self.fps, self.num_frames, start)
        stride = frame_stride(clip.length, clip.fps, self.fps)
        start = int(rng.integers(start_choices(clip.length, stride, self.num_frames)))
        return frame_indices(clip.length, stride, self.num_frames, start)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, object]:
        index, position = key
        clips, size = self.pair(index), self.canvas(index)
        rngs = [np.random.default_rng(generator_for(self.seed, position, kind).initial_seed())
                for kind in ROLES[:len(clips)]]                                     # a prior more shifts nothing
        indices = [self.indices_of(clip, rng) for clip, rng in zip(clips, rngs)]
        item = {"position": torch.tensor(position), "name": clips[0].path.name, "indices": torch.tensor(indices)}
        for role, clip, rng in zip(ROLES, clips, rngs):
            item[f"{role}_caption"] = clip.captions[int(rng.integers(len(clip.captions)))]
        if self.cache is None:
            return item | {"frames": torch.stack([read_frames(c, size, i) for c, i in zip(clips, indices)])}
        moments = [self.cache(clip, size, chosen) for clip, chosen in zip(clips, indices)]
        return item | {"latent_mean": torch.stack([mean for mean, _ in moments]),
                       "latent_std": torch.stack([std for _, std in moments])}


def read_frames(clip: Clip, size: tuple[int, int], indices: Sequence[int]) -> Tensor:
    """The wanted frames of a clip on the canvas, (F, 3, H, W) in [-1, 1]."""
    needed = sorted(set(indices))
    pictures = dict(zip(needed, frames_at(clip.path, needed)))
    return as_tensor(np.stack([fit_to_canvas(pictures[number], size) for number in indices]))


# ----------------------------------------------------------------------------------------------- latents on disk

SAMPLED_BYTES = 1 << 20                 # of a video's beginning, for its name in the cache
FRAMES_READ_AT_ONCE = 64


class LatentCache:
    """Latents of clips on disk, so that no training step runs the VAE: mean and deviation of every frame that can be taken.

    A frame's latents do not depend on its neighbours, so any window of a clip is a slice; the noise of the posterior is
    drawn in the step. Call it as (clip, size, indices) for mean and standard deviation, each (F, 4, h, w), not scaled.

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
