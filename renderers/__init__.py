"""Scene in, frames out: the face every renderer has, one file per renderer, and which there are."""
from __future__ import annotations

import difflib
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TYPE_CHECKING

import numpy as np

from dwpose.skeleton import Skeleton

if TYPE_CHECKING:
    import torch

    from runtime.processes import Processes

RENDERERS = {                          # name in the settings: module and class, imported when chosen
    "mimicmotion": "renderers.mimicmotion:MimicMotion",
    "puppet": "renderers.puppet:Puppet",
    "musepose": "renderers.musepose:MusePoseRenderer",
}


@dataclass(frozen=True, eq=False)
class Scene:
    """What is to be seen: enough for every renderer of the field."""
    image: np.ndarray                  # (H, W, 3) uint8 RGB, the person
    reference: Skeleton                # F = 1, the person of the picture
    skeleton: Skeleton                 # (F, 133, 3), the movement in the person's proportions
    prompt: str                        # what happens, for renderers that read text
    depth: np.ndarray | None           # (F, 17) metres from the camera where the motion is 3D; for who is in front of what


class Renderer(Protocol):
    """Makes the video of a scene. A class that inherits from this one has its defaults.

    `settings` is the renderer's own group of settings. A renderer is loaded once and called often; networks are loaded
    when a call first needs them.
    """
    settings: Any
    adapter: Renderer | None = None    # a stage before the video: its frames, shown as poses.mp4, are what a call follows

    @classmethod
    def multiple(cls, settings) -> int:
        """What the height and the width of a frame must be multiples of, pixels."""
        return 1

    @classmethod
    def check(cls, settings, size: tuple[int, int], num_frames: int, memory: int, *, device: str,
              dtype: torch.dtype) -> None:
        """Refuses in one line, a ValueError, what cannot be made, before anything is loaded.

        size: height, width, pixels; num_frames: about as many; memory: bytes that may be taken on the device.
        """

    @classmethod
    def load(cls, settings, device: str, *, dtype: torch.dtype, memory_limit_gb: float, processes: Processes,
             keep_loaded: bool, earlier: Renderer | None) -> Renderer:
        """memory_limit_gb: GiB, 0 for what is free; processes: who works on each video together; keep_loaded: networks
        stay in memory side by side; earlier: one of the same class with other settings, whose networks may be used on."""

    def help(self, job: Any) -> None:
        """In a process beside the main one: takes part in the work that the main one's renderer shares (`Processes`)."""

    def inputs(self, scene: Scene) -> list:
        """Everything its frames depend on but the seed, for a run that is resumed; a Path is a file's content."""
        return [scene, self.settings]

    def __call__(self, scene: Scene, generator: torch.Generator, *, poses: np.ndarray | None = None,
                 show: Callable[[np.ndarray], None] | None = None, progress: bool = True) -> np.ndarray:
        """The video, (F, H, W, 3) uint8 RGB.

        poses: (F, H, W, 3), the adapter's frames, for renderers that have one; without them the skeleton is drawn.
        show: is given finished frames (K, H, W, 3), in order, each once. progress: bars on the terminal.
        """


def renderer_class(name: str) -> type[Renderer]:
    """The renderer of this name, imported now; ValueError with the nearest name when there is none."""
    if name not in RENDERERS:
        near = difflib.get_close_matches(name, RENDERERS, n=1)
        remedy = f"did you mean {near[0]}?" if near else "see --help"
        raise ValueError(f"renderer: must be one of {', '.join(RENDERERS)} (found '{name}'): {remedy}")
    module, _, class_name = RENDERERS[name].partition(":")
    return getattr(importlib.import_module(module), class_name)


def check_size(size: tuple[int, int], multiple: int) -> None:
    """Height and width are multiples of what a renderer needs; ValueError names the nearest sizes that are."""
    if any(side % multiple for side in size):
        near = " or ".join("x".join(str(max(round_to(side / multiple), 1) * multiple) for side in size)
                           for round_to in (math.floor, math.ceil))
        raise ValueError(f"height, width: must be multiples of {multiple} (found {size[0]}x{size[1]}): use {near}")
