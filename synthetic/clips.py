"""`sample_clip`: a reference picture, a caption, and the frames and skeletons of one character doing one motion."""
from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from dwpose.draw import draw
from dwpose.skeleton import BODY, FACE, hand_boxes, HANDS, head_boxes, is_present, LEFT_HAND, RIGHT_HAND, Skeleton
from media.files import one_line
from media.images import as_tensor
from runtime.processes import end_with_parent
from synthetic.character import Character
from synthetic.gaits import GAITS
from synthetic.motions import KINDS, MotionSample, sample_motion
from synthetic.render import render
from t2m import motion as smpl
from t2m.camera import Camera
from t2m.motion import Motion, MOTION_FPS
from training_data.folder import read_json, require_equal

log = logging.getLogger(__name__)

HELD_OUT_SEED = 10**6           # seeds from here on are never trained on: other characters, other motions
MOTION_SECONDS = (2.5, 5.0)     # motions last at least so long, and clips are cut out of them
LONGEST_SECONDS = 600           # of a clip
FOLLOW_SECONDS = 0.5            # how lazily the camera follows somebody who walks
LATENT_SHRINK = 8                   # pixels per latent, each way
NEAR = 0.05                         # of the person's height; frames nearer to the reference than this count alike


@dataclass(frozen=True)
class SyntheticClip:
    """One character, one motion, one camera; pictures are rendered when first asked for."""

    character: Character
    camera: Camera                  # fields are floats or (F,)
    reference_camera: Camera
    reference_pose: tuple[np.ndarray, np.ndarray]       # joints (22, 3) metres, curl (2,)
    motion: Motion                  # (F, 22, 3) at the clip's fps
    curl: np.ndarray                # (F, 2)
    caption: str
    kind: str
    side: str | None
    repetitions: int | None
    size: tuple[int, int]           # canvas (height, width), pixels

    def __len__(self) -> int:
        return len(self.motion)

    @property
    def reference(self) -> np.ndarray:
        """The reference picture (H, W, 3) uint8 RGB."""
        return self._reference[0]

    @property
    def reference_skeleton(self) -> Skeleton:
        """The reference picture's keypoints, F = 1."""
        return Skeleton(self._reference[1][None], self.size, self.motion.fps)

    @property
    def frames(self) -> np.ndarray:
        """(F, H, W, 3) uint8 RGB."""
        return self._rendered[0]

    @property
    def skeleton(self) -> Skeleton:
        """The frames' keypoints, F = len(self)."""
        return Skeleton(self._rendered[1], self.size, self.motion.fps)

    def frame(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One frame alone: picture (H, W, 3) uint8 RGB and keypoints (133, 3)."""
        return render(self.motion.joints[index], self.curl[index], self.character, self.camera.frame(index), self.size,
                      room=self._room)

    @cached_property
    def _room(self) -> np.ndarray:
        return self.character.room.picture(self.size)

    @cached_property
    def _reference(self) -> tuple[np.ndarray, np.ndarray]:
        return render(*self.reference_pose, self.character, self.reference_camera, self.size, room=self._room)

    @cached_property
    def _rendered(self) -> tuple[np.ndarray, np.ndarray]:
        pictures, keypoints = zip(*(self.frame(index) for index in range(len(self))))
        return np.stack(pictures), np.stack(keypoints)


def sample_clip(seed: int, kind: str | None = None, *, num_frames: int = 16, fps: float = 10.0,
                size: tuple[int, int] = (320, 192), character: Character | None = None,
                camera: Camera | None = None) -> SyntheticClip:
    """The clip of a seed; seeds from HELD_OUT_SEED on are for evaluation. Equal arguments give equal clips."""
    rng = np.random.default_rng([seed, 0xF1E8])
    character = character or Character.sample(rng)
    kind = kind or str(rng.choice(KINDS))
    sample = sample_motion(kind, max(num_frames / fps, rng.uniform(*MOTION_SECONDS)), rng, body=character.body)
    motion, curl = _cut(sample, num_frames, fps, rng)
    camera = camera or sample_camera(rng)
    reference_camera = replace(camera, yaw=rng.uniform(-0.25, 0.25))
    if kind in GAITS:
        camera = following(camera, motion)
    return SyntheticClip(character, camera, reference_camera, reference_pose(character, rng), motion, curl,
                         sample.caption, kind, sample.side, sample.repetitions, size)


def reference_pose(character: Character, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A relaxed standing pose: joints (22, 3) metres and hand curl (2,)."""
    stand = sample_motion("stand", 1.0, rng, body=character.body)
    return stand.motion.joints[0], stand.curl[0]


def sample_camera(rng: np.random.Generator) -> Camera:
    """A view that holds a standing person, mostly from the front or half aside, now and then from further or behind."""
    yaw = rng.uniform(-0.45, 0.45) if rng.random() < 0.87 else rng.uniform(-np.pi, np.pi)
    scale = rng.uniform(0.37, 0.415) if rng.random() < 0.8 else rng.uniform(0.30, 0.37)
    return Camera(yaw=yaw, distance=rng.uniform(4.5, 6.0), scale=scale,
                  height=rng.uniform(0.8, 1.05), centre_x=0.5 + rng.uniform(-0.04, 0.04),
                  centre_y=0.53 + rng.uniform(-0.01, 0.03))


def following(camera: Camera, motion: Motion) -> Camera:
    """The same camera, keeping the walking person in view with a little delay."""
    root = motion.joints[:, smpl.PELVIS]                                                # (F, 3)
    smooth = gaussian_filter1d(root, FOLLOW_SECONDS * motion.fps, axis=0, mode="nearest")
    return replace(camera, target_x=smooth[:, 0], target_z=smooth[:, 2])


def _cut(sample: MotionSample, num_frames: int, fps: float, rng: np.random.Generator) -> tuple[Motion, np.ndarray]:
    """A window of `num_frames` at `fps`, taken by nearest frame from the motion's own rate."""
    step = MOTION_FPS / fps
    slack = len(sample.motion) - 1 - step * (num_frames - 1)
    first = rng.uniform(0, slack) if slack > 0 else 0.0
    picked = np.round(first + step * np.arange(num_frames)).astype(int).clip(0, len(sample.motion) - 1)
    return Motion(sample.motion.joints[picked], fps), sample.curl[picked]


def open_array(folder: Path, name: str, shape: tuple[int, ...] | None = None, dtype=None, *,
           writable: bool = False) -> np.ndarray:
    """The named array of a cache, opened in place; created with zeros when a shape is given and it does not exist."""
    path = folder / f"{name}.npy"
    if not path.exists():
        if shape is None:
            raise FileNotFoundError(f"{path}: expected a prepared clip cache (found none): "
                                    "run demo/prepare_clips.py first")
        folder.mkdir(parents=True, exist_ok=True)
        empty = folder / f".{name}.{os.getpid()}"           # of several processes the first one's array stays
        try:
            np.lib.format.open_memmap(empty, mode="w+", dtype=dtype, shape=shape).flush()
            if hasattr(os, "posix_fallocate"):              # else a full disk is noticed when a page is written: by a bus error
                with empty.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, empty.stat().st_size)
            with suppress(FileExistsError):
                os.link(empty, path)
        except OSError as error:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        finally:
            empty.unlink(missing_ok=True)
    try:
        array = np.load(path, mmap_mode="r")                # to write to it, NumPy would fill up one that was cut short
        array = np.load(path, mmap_mode="r+") if shape or writable else array
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: expected a whole array (found {one_line(error)}): prepare the clips in another folder") from None
    if shape and array.shape != shape:
        raise ValueError(f"{path}: expected shape {shape} (found {array.shape}): use another folder for other settings")
    return array


def claim(folder: Path, name: str, **made_with) -> None:
    """Record what an array of the cache is made with; what was made with something else is refused, and the difference named."""
    remedy = "another folder" if name == "frames" else f"another folder, or delete {name}* there, which are then made anew"
    require_equal(folder / f"{name}.json", made_with, folder / f"{name}.npy", remedy)


def require_whole(folder: Path, done: str, *arrays: str) -> None:
    """Arrays are there where some of their clips are marked as `done`: lost ones would be made anew as zeros, and pass for finished."""
    mark = folder / f"{done}.npy"
    for path in (folder / f"{name}.npy" for name in arrays):
        if mark.exists() and not path.exists() and open_array(folder, done).any():
            raise FileNotFoundError(f"{path}: expected the array of the clips that {mark.name} calls done (found none): bring it back, or delete {mark.name}, and they are made anew")


def require_vae(folder: Path, name: str, vae: str) -> None:
    """Latents of a cache are to be those of this VAE (its `encoder_key`), as what is trained on them takes them for its own."""
    record = folder / f"{name}.json"
    made_with = read_json(record) if record.is_file() else {}
    if made_with.get("vae") != vae:
        raise ValueError(f"{record}: expected latents of this training's VAE, {vae} (found {made_with.get('vae', 'no record')}): "
                         f"delete {name}* there and encode again, or use another folder")


def clips_to_do(folder: Path, done: np.ndarray, share: slice, limit: int | None, *ready: str) -> np.ndarray:
    """Numbers of a share of the first `limit` clips, those that are `ready` and not `done`; how many are not ready is told.

    done: (C,) bool; ready: names of such arrays.
    """
    able = np.logical_and.reduce([open_array(folder, name) for name in ready])[:limit]
    if not able.all():
        log.warning("%s: %d of %d clips are left out: not yet %s", folder, (~able).sum(), len(able), " and ".join(ready))
    return np.arange(len(able))[share][able[share] & ~done[:limit][share]]


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
    if first_seed < HELD_OUT_SEED < first_seed + num_clips:
        raise ValueError(f"first seed {first_seed}, {num_clips} clips: expected seeds below {HELD_OUT_SEED} or from there on, which are held out "
                         "(found both): take fewer clips, or other seeds")
    height, width = size
    if num_frames / fps > LONGEST_SECONDS:
        raise ValueError(f"{num_frames} frames at {fps:g} fps: expected a clip of at most {LONGEST_SECONDS} s (found {num_frames / fps:.3g}): "
                         "take fewer frames, or more a second")
    claim(folder, "frames", first_seed=first_seed, num_clips=num_clips, num_frames=num_frames, fps=fps, size=list(size))
    require_whole(folder, "rendered", "frames", "keypoints")
    open_array(folder, "frames", (num_clips, 1 + num_frames, height, width, 3), np.uint8)
    open_array(folder, "keypoints", (num_clips, 1 + num_frames, 133, 3), np.float32)
    rendered = open_array(folder, "rendered", (num_clips,), np.bool_)
    jobs = [(folder, index, first_seed + index, num_frames, fps, size) for index in np.flatnonzero(~rendered).tolist()]
    with ProcessPoolExecutor(workers, initializer=end_with_parent) as pool:
        for _ in tqdm(pool.map(_render_one, jobs, chunksize=4), total=len(jobs), desc="rendering", unit="clip"):
            pass


def move_cache(folder: Path, move: Callable[[np.ndarray, Skeleton, Skeleton], np.ndarray], *, share: slice = slice(None),
               limit: int | None = None) -> None:
    """Cache what `move` makes of each reference picture: (H, W, 3) uint8, its pose (F = 1), a movement to (F, H, W, 3) uint8.

    share, limit: as `encode_cache`.
    """
    frames, keypoints = (open_array(folder, name) for name in ("frames", "keypoints"))
    size = frames.shape[2:4]
    require_whole(folder, "moved_done", "moved")
    moved, done = open_array(folder, "moved", frames.shape, np.uint8), open_array(folder, "moved_done", (len(frames),), np.bool_)
    for index in tqdm(clips_to_do(folder, done, share, limit, "rendered"), desc="moving the pictures", unit="clip"):
        reference, skeleton = (Skeleton(np.array(points), size, fps=1) for points in (keypoints[index, :1], keypoints[index, 1:]))
        moved[index, 0] = frames[index, 0]
        moved[index, 1:] = move(np.array(frames[index, 0]), reference, skeleton)
        done[index] = True


def encode_cache(folder: Path, encode: Callable[[np.ndarray], np.ndarray], made_with: dict[str, str], *, what: str = "frames",
                 share: slice = slice(None), limit: int | None = None) -> None:
    """Cache what `encode` ((n, H, W, 3) uint8 to (n, C, h, w)) makes of the frames, of the poses drawn for them, or of the moved pictures.

    made_with: the weights of `encode`, by name; what: frames, poses or moved; share: of the clips, this process's, e.g. slice(rank, None,
    world size); limit: only the first clips.
    """
    frames, keypoints = (open_array(folder, name) for name in ("frames", "keypoints"))
    num_clips, _, height, width, _ = frames.shape
    pictures = open_array(folder, "moved") if what == "moved" else frames
    name = {"frames": "latents", "poses": "pose_latents", "moved": "moved_latents"}[what]
    claim(folder, name, **made_with)
    require_whole(folder, f"{name}_done", name)
    done = open_array(folder, f"{name}_done", (num_clips,), np.bool_)
    for index in tqdm(clips_to_do(folder, done, share, limit, "moved_done" if what == "moved" else "rendered"), desc=f"encoding {name}", unit="clip"):
        drawn = draw(Skeleton(keypoints[index], (height, width), fps=1)) if what == "poses" else np.array(pictures[index])
        encoded = encode(drawn)                                                         # (F, C, h, w)
        open_array(folder, name, (num_clips, *encoded.shape), np.float16)[index] = encoded
        done[index] = True


def draw_cache(folder: Path, draw_latents: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray], made_with: dict[str, str], *,
               share: slice = slice(None), limit: int | None = None) -> None:
    """Cache the latents that `draw_latents` makes of each reference picture (H, W, 3) uint8, drawn poses (F, H, W, 3) uint8 and the moved
    pictures' latents (F, C, h, w); the reference picture's own come first, as they are. made_with, share, limit: as `encode_cache`.
    """
    frames, keypoints, latents, moved = (open_array(folder, name) for name in ("frames", "keypoints", "latents", "moved_latents"))
    claim(folder, "drawn_latents", **made_with, **{name: read_json(folder / f"{name}.json") for name in ("latents", "moved_latents")})
    require_whole(folder, "drawn_latents_done", "drawn_latents")
    drawn = open_array(folder, "drawn_latents", latents.shape, np.float16)
    done = open_array(folder, "drawn_latents_done", (len(frames),), np.bool_)
    for index in tqdm(clips_to_do(folder, done, share, limit, "latents_done", "moved_latents_done"), desc="drawing latents", unit="clip"):
        poses = draw(Skeleton(keypoints[index, 1:], frames.shape[2:4], fps=1))
        drawn[index, 0] = latents[index, 0]
        drawn[index, 1:] = draw_latents(np.array(frames[index, 0]), poses, moved[index, 1:].astype(np.float32))
        done[index] = True


class CachedClips(Dataset):
    """Training clips of a cache: frames for the video model, or drawn poses (with hands from without) for the adapter.

    num_frames = 1 takes any frame and any other as the reference; more takes consecutive frames and the reference picture.
    Single pictures far from the reference are hardest to learn and come more often: half the time the asked clip has to
    move further than another one, or that is taken; and of a clip the frames far from its reference are preferred.
    Items say where the head is, and the hands that are drawn, or for the adapter asked for. moved: they have the latents of
    the reference picture moved into each pose, too, and no other reference.
    """

    def __init__(self, folder: str | Path, num_frames: int, *, adapter: bool = False, moved: bool = False, seed: int = 0):
        folder, self.name = Path(folder), "pose_latents" if adapter else "latents"
        self.frames, self.keypoints = open_array(folder, "frames"), open_array(folder, "keypoints")
        self.latents, done = open_array(folder, self.name), open_array(folder, f"{self.name}_done")
        self.moved = open_array(folder, "moved_latents") if moved else None
        if moved:
            done = done & open_array(folder, "moved_latents_done")
        self.clips = np.flatnonzero(done)
        if not len(self.clips):
            raise ValueError(f"{folder}: expected encoded clips (found none): run demo/prepare_clips.py")
        available = self.latents.shape[1] - 1
        if not 1 <= num_frames <= available:
            raise ValueError(f"num_frames: expected 1 to {available}, the frames of a clip in {folder} (found {num_frames})")
        self.num_frames, self.adapter, self.seed = num_frames, adapter, seed
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
        keypoints = true.copy()
        if self.adapter:
            keypoints[:, HANDS] = 0                     # as text-to-motion gives them
        else:
            spoil_as_detected(keypoints, rng)
        hands = hand_boxes(true if self.adapter else keypoints)                         # (F, 2, 5)
        picture = self._draw(self.keypoints[clip, reference][None])[0] if self.adapter else self.frames[clip, reference]
        moved = {} if self.moved is None else {"moved_latents": torch.from_numpy(self.moved[clip, chosen].astype(np.float32))}
        return {"latents": torch.from_numpy(self.latents[clip, chosen].astype(np.float32)), **moved,
                "reference_latents": torch.from_numpy(self.latents[clip, reference].astype(np.float32)),
                "reference": as_tensor(np.array(picture)), "pose": as_tensor(self._draw(keypoints)),
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
        return [target], 0 if self.moved is not None or target and rng.random() < 0.6 else other

    def _draw(self, keypoints: np.ndarray) -> np.ndarray:
        return draw(Skeleton(keypoints, self.frames.shape[2:4], fps=1))


def reach(keypoints: np.ndarray) -> np.ndarray:
    """(F,) mean distance of each frame's body points from frame 0's, in heights of the first frame's body."""
    body, seen = keypoints[:, BODY, :2], is_present(keypoints[:, BODY])                 # (F, 17, 2), (F, 17)
    both = seen & seen[0]
    height = np.ptp(body[0][seen[0], 1])
    return (np.linalg.norm(body - body[0], axis=-1) * both).sum(axis=1) / both.sum(axis=1).clip(min=1) / height


def spoil_as_detected(keypoints: np.ndarray, rng: np.random.Generator) -> None:
    """Leave out or misplace, in place, what a detector or the adapter may: hands, the face, a pixel here and there. (F, 133, 3)"""
    for hand in (LEFT_HAND, RIGHT_HAND):
        if rng.random() < 0.1:
            keypoints[:, hand] = 0
    if rng.random() < 0.05:
        keypoints[:, FACE] = 0
    jitter = rng.normal(0, 0.7 * (rng.random() < 0.5), keypoints[..., :2].shape)        # pixels
    keypoints[..., :2] += jitter.astype(np.float32)
