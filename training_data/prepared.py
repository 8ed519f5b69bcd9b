"""Training clips out of a prepared data folder: any sample by number, from videos or from cached latents."""
from __future__ import annotations

import logging
from functools import cached_property
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dwpose.draw import draw, STYLES
from dwpose.skeleton import hand_boxes, head_boxes, Skeleton
from media.images import as_tensor
from media.video_reader import frames_at
from training_data.filters import joint_speed, motion_bucket
from training_data.folder import DataFolder
from training_data.latents import LatentCache, Placement, read_window, reference_frames
from training_data.paired import check_window
from training_data.sources import is_link

log = logging.getLogger(__name__)


class PreparedClips(Dataset):
    """Windows of `num_frames` frames with their drawn poses, a reference frame of the same clip, and what is known.

    An item, asked for as (index, position), depends on nothing but the seed and the position:
    `pose` (F, 3, H, W) and `reference` (3, H, W) in [-1, 1]; `target` (F, 3, H, W), or with cached latents `latents`
    (F, 4, h, w), `reference_latents` (4, h, w), both not scaled, the reference's `embedding` (1, D) and the
    `noise_aug_strength` it was encoded with; `fps` and `motion_bucket_id` of this window; `hands` (F, 2, 5), the hands'
    boxes in canvas pixels and confidences (dwpose/skeleton.py); and the texts `name` and `caption`.

    adapter: the pictures are poses drawn with hands, and `pose` has none. cached: use the latents of the folder.
    """

    def __init__(self, folder: str | Path, num_frames: int, size: tuple[int, int], *, adapter: bool = False,
                 style: str = "mimicmotion", frame_stride: int = 1, cached: bool = False, seed: int = 0):
        check_window(num_frames, frame_stride, size)
        if style not in STYLES:
            raise ValueError(f"style: expected one of {', '.join(STYLES)} (found {style!r}): choose one")
        self.folder, self.size, self.adapter, self.style = DataFolder(folder), tuple(size), adapter, style
        self.num_frames, self.stride, self.seed = num_frames, frame_stride, seed
        self.span = (num_frames - 1) * frame_stride + 1
        self.shards = self._cached_clips() if cached else None
        listed = self.folder.clips()
        self.clips = [clip for clip in listed if clip["num_frames"] >= self.span
                      and (self.shards is None or clip["clip"] in self.shards)]
        if not self.clips:
            raise ValueError(f"{folder}: expected clips of at least {self.span} frames{', with latents' * cached} "
                             f"(found {len(listed)} clips, none such): lower num_frames or prepare more videos")
        if len(self.clips) < len(listed):
            log.warning("%s: %d of %d clips are left out: shorter than %d frames%s", folder,
                           len(listed) - len(self.clips), len(listed), self.span, " or not cached" * cached)
        for clip in self.clips:
            needed = [self.folder.skeleton(clip["clip"])] + [self.folder.clip(clip["clip"])] * (not cached)
            if not all(path.is_file() for path in needed):
                raise FileNotFoundError(f"{folder}: clip {clip['clip']} of the manifest is missing: "
                                        "run scripts/prepare_dataset.py again")

    def _cached_clips(self) -> dict[str, Path]:
        """The shard of every clip, when the cache was made for these pictures."""
        cache = LatentCache(self.folder, "poses" if self.adapter else "video")
        settings = cache.settings()
        if tuple(settings.size) != self.size or (self.adapter and settings.style != self.style):
            raise ValueError(f"{cache.path}: cached for {settings.size[0]}x{settings.size[1]} pixels, style "
                             f"{settings.style} (asked for {self.size[0]}x{self.size[1]}, {self.style}): "
                             "use the same, or cache anew")
        self.references, self.noise_aug_strength = settings.references, settings.noise_aug_strength
        return cache.index()

    def __len__(self) -> int:
        return len(self.clips)

    def origin(self, index: int) -> tuple[str, str, str]:
        """Of a clip: its file, its video, and who is in it: the person named in the manifest, else the video's folder.

        Folders count where the videos lie in several of them, below one that holds all.
        """
        clip, source = self.clips[index], source_of(self.clips[index])
        file = str(self.shards[clip["clip"]] if self.shards is not None else self.folder.clip(clip["clip"]))
        if person := clip.get("person_name"):
            return file, person, person
        below = Path(source).parts[len(self._common_parts):]
        return file, source, below[0] if len(below) > 1 and not is_link(source) else ""

    @cached_property
    def _common_parts(self) -> tuple[str, ...]:
        """Of the paths of all videos, the folders they have in common."""
        folders = [Path(source).parent.parts for source in map(source_of, self.clips) if not is_link(source)]
        return tuple(same[0] for same in takewhile(lambda parts: len(set(parts)) == 1, zip(*folders)))

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor | str]:
        index, position = key
        clip, rng = self.clips[index], np.random.default_rng((self.seed, position))
        whole = Skeleton.load(self.folder.skeleton(clip["clip"]))
        first = int(rng.integers(len(whole) - self.span + 1))
        window = slice(first, first + self.span, self.stride)
        placement = Placement.of(whole, self.size)
        poses = placement.skeleton(whole)                                                   # all frames of the clip
        chosen = Skeleton(poses.keypoints[window], poses.size, whole.fps / self.stride)
        speed = joint_speed(chosen if self.num_frames > 1 else poses)                       # a picture has none
        pictures = self._cached(clip, window, rng) if self.shards is not None \
            else self._decoded(clip, window, poses, placement, rng)
        return pictures | {
            "pose": as_tensor(draw(chosen.without_hands() if self.adapter else chosen, self.style)),
            "fps": torch.tensor(chosen.fps, dtype=torch.float32),
            "motion_bucket_id": torch.tensor(motion_bucket(speed), dtype=torch.float32),
            "hands": torch.from_numpy(hand_boxes(chosen.keypoints)),
            "head": torch.from_numpy(head_boxes(chosen.keypoints)), "position": torch.tensor(position),
            "name": clip["clip"], "caption": clip["caption"] or ""}

    def _cached(self, clip: dict, window: slice, rng: np.random.Generator) -> dict[str, Tensor]:
        """Latents of the window and of a reference, with its embedding."""
        reference = int(rng.integers(len(reference_frames(clip["num_frames"], self.references))))
        part = read_window(self.shards[clip["clip"]], clip["clip"], slice(window.start, window.stop), reference)
        return part | {"latents": part["latents"][::self.stride], "reference": as_tensor(part["reference"].numpy()),
                       "noise_aug_strength": torch.tensor(self.noise_aug_strength)}

    def _decoded(self, clip: dict, window: slice, poses: Skeleton, placement: Placement,
                 rng: np.random.Generator) -> dict[str, Tensor]:
        """Pictures of the window and of any frame as the reference, read from the clip, or drawn for the adapter."""
        wanted = [*range(window.start, window.stop, self.stride), int(rng.integers(clip["num_frames"]))]
        if self.adapter:
            pictures = draw(poses[np.array(wanted)], self.style)
        else:
            pictures = placement.pictures(frames_at(self.folder.clip(clip["clip"]), wanted))
        return {"target": as_tensor(pictures[:-1]), "reference": as_tensor(pictures[-1])}


def source_of(clip: dict) -> str:
    """The video a clip of the manifest was cut from; where that is not said, each clip counts as one."""
    return clip.get("source", clip["clip"])
