"""Every way to make a video of a scene, behind one face: a class that is loaded once and called with a `Scene`.

A renderer has the class methods `multiple(settings)`: canvas sides must be divisible by it; `check(settings, size,
num_frames, memory)`: a one-line ValueError before anything is loaded; `load(settings, device, ...)`; and it is called
with (scene, generator, *, show=None, progress=True) for frames (F, H, W, 3) uint8 RGB.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dwpose.skeleton import Skeleton


@dataclass(frozen=True)
class Scene:
    """What is to be seen: enough for every renderer of the field."""

    image: np.ndarray           # (H, W, 3) uint8 RGB, the person
    reference: Skeleton         # F = 1, the person of the picture
    skeleton: Skeleton          # (F, 133, 3), the movement in the person's proportions
    prompt: str                 # what happens, for renderers that read text
    depth: np.ndarray | None    # (F, 17) metres from the camera where the motion is 3D; for who is in front of what


RENDERERS = {"musepose": "renderers.musepose:MusePoseRenderer"}      # name in the settings: module and class, imported when chosen
