"""Who does what: the benchmark's clips as (identity, motion) pairs, in an order whose every beginning is balanced."""
from __future__ import annotations

import csv
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from motionbench.prompts import BenchMotion, MOTIONS, MOTIONS_BY_NAME
from synthetic.body import Body
from synthetic.character import Character
from synthetic.clips import following, HELD_OUT_SEED, reference_pose, sample_camera, SyntheticClip
from synthetic.motions import MotionSample, sample_motion
from t2m.camera import Camera
from t2m.motion import Motion
from t2m.project import resampled

SEPARATOR = "__"
FIRST_SEED = HELD_OUT_SEED + 700_000        # people of no other evaluation
PICTURE_YAW = 0.25                          # radians the person of the picture looks aside, at most
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class Cell:
    """One clip of the benchmark; `name` is its file name without the ending."""

    identity: str
    motion: BenchMotion
    other: BenchMotion              # drawn at random, never the prompted one

    @property
    def name(self) -> str:
        return f"{self.identity}{SEPARATOR}{self.motion.name}"


def chosen_motions(names: str) -> tuple[BenchMotion, ...]:
    """"all", or motions of the benchmark separated by commas."""
    if names.strip() == "all":
        return MOTIONS
    listed = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in listed if name not in MOTIONS_BY_NAME]
    if unknown or not listed:
        raise ValueError(f"motions: expected 'all' or names separated by commas (found '{(unknown or [names])[0]}'): "
                         f"there are {', '.join(MOTIONS_BY_NAME)}")
    return tuple(MOTIONS_BY_NAME[name] for name in dict.fromkeys(listed))


def balanced_cells(identities: Sequence[str], motions: Sequence[BenchMotion], num_clips: int, seed: int) -> list[Cell]:
    """The first `num_clips` pairs (0: all), each once; every beginning has each identity and each motion alike often.

    The other motion is never a clip's own; where only one is measured, it is drawn from the whole benchmark.
    """
    if not identities:
        raise ValueError("identities: expected at least one (found none)")
    total, lap = len(identities) * len(motions), math.lcm(len(identities), len(motions))
    if not 0 <= num_clips <= total:
        raise ValueError(f"num_clips: expected 0 (all) to {total} = {len(identities)} identities x {len(motions)} "
                         f"motions (found {num_clips})")
    rng = np.random.default_rng([seed, 0x0B])
    foreign = motions if len(motions) > 1 else [motion for motion in MOTIONS if motion not in motions]
    cells = []
    for index in range(num_clips or total):
        motion = (index + index // lap) % len(motions)
        others = [other for other in foreign if other is not motions[motion]]
        cells.append(Cell(identities[index % len(identities)], motions[motion], others[rng.integers(len(others))]))
    return cells


def prompts_table(cells: Sequence[Cell], pictures: dict[str, str], num_frames: int, fps: float,
                  size: tuple[int, int]) -> str:
    """prompts.csv: what another system is to be given, and what its file must be called. size: (height, width)"""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("file", "identity", "picture", "motion", "prompt", "frames", "fps", "height", "width"))
    for cell in cells:
        table.writerow((f"{cell.name}.mp4", cell.identity, pictures[cell.identity], cell.motion.name,
                        cell.motion.prompt, num_frames, f"{fps:g}", *size))
    return text.getvalue()


@dataclass(frozen=True)
class Person:
    """A procedural identity: looks, how they stand in their picture, and the cameras of picture and videos."""

    name: str
    seed: int
    character: Character
    pose: tuple[np.ndarray, np.ndarray]     # joints (22, 3) metres, hand curl (2,)
    picture_camera: Camera
    camera: Camera                          # of the true videos: from the front, as a projected motion is seen


def person(number: int, seed: int) -> Person:
    """The identity of a number; `seed` moves to other people, 0 is the published benchmark."""
    own_seed = FIRST_SEED + 1000 * seed + number
    rng = np.random.default_rng([own_seed, 0xF1E8])
    character = Character.sample(rng)
    camera = replace(sample_camera(rng), yaw=0.0)
    picture_camera = replace(camera, yaw=rng.uniform(-PICTURE_YAW, PICTURE_YAW))
    return Person(f"person{number:02d}", own_seed, character, reference_pose(character, rng), picture_camera, camera)


def pictures_in(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by identity, which is the file's name without its ending."""
    if not folder.is_dir():
        raise ValueError(f"identities={folder}: expected a folder of pictures (found none): check the path")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in PICTURES or path.name.startswith("."):
            continue
        if path.stem in found:
            raise ValueError(f"{path}: expected one picture for each name (found {found[path.stem].name} too): "
                             "rename one")
        if SEPARATOR in path.stem:
            raise ValueError(f"{path}: expected a name without '{SEPARATOR}', which parts identity and motion: "
                             "rename it")
        found[path.stem] = path
    if not found:
        raise ValueError(f"identities={folder}: expected pictures ({', '.join(PICTURES)}) (found none)")
    return found


def performance(person: Person, motion: BenchMotion, seconds: float, body: Body) -> MotionSample:
    """The motion as this person does it, in their tempo and size, but with the bones of `body`."""
    rng = np.random.default_rng([person.seed, zlib.crc32(motion.name.encode())])
    return sample_motion(motion.kind, seconds, rng, side=motion.side, body=body)


def driving_motion(person: Person, motion: BenchMotion, seconds: float) -> Motion:
    """What a perfect text-to-motion model would give: the true motion on the standard body, (T, 22, 3) at 20 fps."""
    return performance(person, motion, seconds, Body()).motion


def true_clip(person: Person, motion: BenchMotion, seconds: float, fps: float, size: tuple[int, int]) -> SyntheticClip:
    """The person's own video, skeleton and picture; round(seconds * fps) frames, rendered when first asked for."""
    sample = performance(person, motion, seconds, person.character.body)
    clip_motion = Motion(resampled(sample.motion, fps), fps)
    picked = np.round(np.arange(len(clip_motion)) * sample.motion.fps / fps).astype(int).clip(0, len(sample.curl) - 1)
    camera = following(person.camera, clip_motion) if motion.travels else person.camera
    return SyntheticClip(person.character, camera, person.picture_camera, person.pose, clip_motion, sample.curl[picked],
                         motion.prompt, motion.kind, motion.side, sample.repetitions, size)


def num_frames_of(seconds: float, fps: float) -> int:
    """Frames of a clip, as projection counts them."""
    return max(round(seconds * fps), 1)
