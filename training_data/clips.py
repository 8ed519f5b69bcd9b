"""The clips that video models train on, any sample by number: out of a prepared data folder, or of two folders of videos."""
from __future__ import annotations

import logging
import re
from functools import cached_property
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dwpose.draw import draw, STYLES
from dwpose.skeleton import hand_boxes, head_boxes, Skeleton
from media.images import as_tensor, fit_to_canvas, PIXELS_PER_LATENT
from media.video_reader import announced_frames, frames_at, stored_frames, videos_in
from training_data.folder import SKELETON, VIDEO
from training_data.latents import latent_kind, Placement, read_window, reference_frames
from training_data.preparing import joint_speed, motion_bucket
from training_data.shards import clips_behind
from training_data.sources import is_link

log = logging.getLogger(__name__)

COUNTER = re.compile(r"[-_. ]+\d+$")        # as in dance_003.mp4


def check_window(num_frames: int, frame_stride: int, size: tuple[int, int]) -> None:
    """Refuse clips without frames, and a canvas (height, width) that has no latents."""
    for name, value in (("num_frames", num_frames), ("frame_stride", frame_stride)):
        if value < 1:
            raise ValueError(f"{name}: expected at least 1 (found {value}): raise it")
    if min(size) < PIXELS_PER_LATENT or any(side % PIXELS_PER_LATENT for side in size):
        raise ValueError(f"height, width: expected multiples of {PIXELS_PER_LATENT}, {PIXELS_PER_LATENT} or more (found {size[0]}x{size[1]}): "
                         "round them")


class PreparedClips(Dataset):
    """Windows of `num_frames` frames with their drawn poses, a reference frame of the same clip, and what is known.

    An item, asked for as (index, position), depends on nothing but the seed and the position:
    `pose` (F, 3, H, W) and `reference` (3, H, W) in [-1, 1]; `target` (F, 3, H, W), or with cached latents `latents`
    (F, 4, h, w), `reference_latents` (4, h, w), both not scaled, the reference's `embedding` (1, D) and the
    `noise_aug_strength` it was encoded with; `fps` and `motion_bucket_id` of this window; `hands` (F, 2, 5), the hands'
    boxes in canvas pixels and confidences (dwpose/skeleton.py); and the texts `name` and `caption`.

    folder: a prepared data folder, or shards of one: a folder of them, or a link such as s3://bucket/set.
    adapter: the pictures are poses drawn with hands, and `pose` has none. cached: use the latents of the folder.
    """

    def __init__(self, folder: str | Path, num_frames: int, size: tuple[int, int], *, adapter: bool = False,
                 style: str = "mimicmotion", frame_stride: int = 1, cached: bool = False, seed: int = 0):
        check_window(num_frames, frame_stride, size)
        if style not in STYLES:
            raise ValueError(f"style: expected one of {', '.join(STYLES)} (found {style!r}): choose one")
        self.source, self.size, self.adapter, self.style = clips_behind(folder), tuple(size), adapter, style
        self.num_frames, self.stride, self.seed, self.cached = num_frames, frame_stride, seed, cached
        self.span = (num_frames - 1) * frame_stride + 1
        self.pictures = latent_kind("poses" if adapter else "video") if cached else VIDEO     # the kind of file read
        if cached:
            self._check_latents(folder)
        listed = self.source.clips()
        self.clips = [clip for clip in listed if clip["num_frames"] >= self.span
                      and (not cached or self.source.place(clip, self.pictures))]
        if not self.clips:
            raise ValueError(f"{folder}: expected clips of at least {self.span} frames{', with latents' * cached} "
                             f"(found {len(listed)} clips, none such): lower num_frames or prepare more videos")
        if len(self.clips) < len(listed):
            log.warning("%s: %d of %d clips are left out: shorter than %d frames%s", folder,
                           len(listed) - len(self.clips), len(listed), self.span, " or not cached" * cached)
        for clip in self.clips:
            if not all(self.source.place(clip, kind) for kind in (SKELETON, self.pictures)):
                raise FileNotFoundError(f"{folder}: clip {clip['clip']} of the manifest is missing: "
                                        "run scripts/prepare_dataset.py again")

    def _check_latents(self, folder: str | Path) -> None:
        """The cached latents must have been made for these pictures."""
        settings = self.source.latent_settings("poses" if self.adapter else "video")
        if tuple(settings.size) != self.size or (self.adapter and settings.style != self.style):
            raise ValueError(f"{folder}: latents cached for {settings.size[0]}x{settings.size[1]} pixels, style "
                             f"{settings.style} (asked for {self.size[0]}x{self.size[1]}, {self.style}): "
                             "use the same, or cache anew")
        self.references, self.noise_aug_strength = settings.references, settings.noise_aug_strength

    def __len__(self) -> int:
        return len(self.clips)

    def origin(self, index: int) -> tuple[str, str, str]:
        """Of a clip: its file, its video, and who is in it: the person named in the manifest, else the video's folder.

        Folders count where the videos lie in several of them, below one that holds all.
        """
        clip, source = self.clips[index], source_of(self.clips[index])
        file = self.source.place(clip, self.pictures)
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
        drawn = self.adapter and not self.cached                                            # no pictures are read then
        with self.source.at_hand(clip, (SKELETON,) if drawn else (SKELETON, self.pictures)) as files:
            whole = Skeleton.load(files[SKELETON])
            first = int(rng.integers(len(whole) - self.span + 1))
            window = slice(first, first + self.span, self.stride)
            placement = Placement.of(whole, self.size)
            poses = placement.skeleton(whole)                                               # all frames of the clip
            path = files.get(self.pictures)
            pictures = (self._cached(path, clip, window, rng) if self.cached
                        else self._decoded(path, clip, window, poses, placement, rng))
        chosen = Skeleton(poses.keypoints[window], poses.size, whole.fps / self.stride)
        speed = joint_speed(chosen if self.num_frames > 1 else poses)                       # a picture has none
        return pictures | {
            "pose": as_tensor(draw(chosen.without_hands() if self.adapter else chosen, self.style)),
            "fps": torch.tensor(chosen.fps, dtype=torch.float32),
            "motion_bucket_id": torch.tensor(motion_bucket(speed), dtype=torch.float32),
            "hands": torch.from_numpy(hand_boxes(chosen.keypoints)),
            "head": torch.from_numpy(head_boxes(chosen.keypoints)), "position": torch.tensor(position),
            "name": clip["clip"], "caption": clip["caption"] or ""}

    def _cached(self, path: Path, clip: dict, window: slice, rng: np.random.Generator) -> dict[str, Tensor]:
        """Latents of the window and of a reference, with its embedding."""
        reference = int(rng.integers(len(reference_frames(clip["num_frames"], self.references))))
        part = read_window(path, clip["clip"], slice(window.start, window.stop), reference)
        return part | {"latents": part["latents"][::self.stride], "reference": as_tensor(part["reference"].numpy()),
                       "noise_aug_strength": torch.tensor(self.noise_aug_strength)}

    def _decoded(self, path: Path | None, clip: dict, window: slice, poses: Skeleton, placement: Placement,
                 rng: np.random.Generator) -> dict[str, Tensor]:
        """Pictures of the window and of any frame as the reference, read from the clip, or drawn for the adapter."""
        wanted = [*range(window.start, window.stop, self.stride), int(rng.integers(clip["num_frames"]))]
        if path is None:
            pictures = draw(poses[np.array(wanted)], self.style)
        else:
            pictures = placement.pictures(frames_at(path, wanted))
        return {"target": as_tensor(pictures[:-1]), "reference": as_tensor(pictures[-1])}


def source_of(clip: dict) -> str:
    """The video a clip of the manifest was cut from; where that is not said, each clip counts as one."""
    return clip.get("source", clip["clip"])


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
