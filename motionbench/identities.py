"""Who is shown: procedural people nobody was trained on, or the pictures of a folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from motionbench.cells import SEPARATOR
from synthetic.character import Character
from synthetic.clips import HELD_OUT_SEED, reference_pose, sample_camera
from t2m.camera import Camera

FIRST_SEED = HELD_OUT_SEED + 700_000        # people of no other evaluation
PICTURE_YAW = 0.25                          # radians the person of the picture looks aside, at most
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


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
