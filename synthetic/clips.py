"""`sample_clip`: a reference picture, a caption, and the frames and skeletons of one character doing one motion."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.ndimage import gaussian_filter1d

from dwpose.skeleton import Skeleton
from synthetic.character import Character
from synthetic.gaits import GAITS
from synthetic.motions import KINDS, MotionSample, sample_motion
from synthetic.render import render
from t2m import motion as smpl
from t2m.camera import Camera
from t2m.motion import MOTION_FPS, Motion

HELD_OUT_SEED = 10**6           # seeds from here on are never trained on: other characters, other motions
MOTION_SECONDS = (2.5, 5.0)     # motions last at least so long, and clips are cut out of them
FOLLOW_SECONDS = 0.5            # how lazily the camera follows somebody who walks


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
