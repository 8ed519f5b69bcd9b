"""The synthetic edition's truth: a person's own video of a motion, and the motion as a stranger's body would do it."""

from __future__ import annotations

import zlib

import numpy as np

from motionbench.identities import Person
from motionbench.prompts import BenchMotion
from synthetic.clips import SyntheticClip, following
from synthetic.motions import MotionSample, sample_motion
from synthetic.body import Body
from t2m.motion import Motion
from t2m.project import resampled


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
