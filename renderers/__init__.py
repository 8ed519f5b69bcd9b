"""Scene in, frames out: the face every renderer has, its settings, one file per renderer, and which there are."""
from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TYPE_CHECKING

import numpy as np

from configs import setting
from dwpose.choosing import chosen_detector
from dwpose.skeleton import Skeleton
from mimicmotion import check_model_files
from musepose import check_weight_files

if TYPE_CHECKING:
    import torch

    from runtime.processes import Processes

RENDERERS = {                          # name in the settings: module and class, imported when chosen
    "mimicmotion": "renderers.mimicmotion:MimicMotion",
    "puppet": "renderers.puppet:Puppet",
    "musepose": "renderers.musepose:MusePoseRenderer",
}
SMALLEST = {"num_inference_steps": 1, "tile_size": 1, "decode_chunk_size": 1, "feature_cache": 1, "fps": 1,
            "noise_aug_strength": 0, "motion_bucket_id": 0}
LARGEST = {"num_inference_steps": 1000}          # SVD was trained with as many noise levels
Show = Callable[[np.ndarray], None]              # is given finished frames (K, H, W, 3)


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

    `settings` is the renderer's own group of settings; its `check_files` refuses weights that are not there, before a
    renderer and its networks are imported. A renderer is loaded once and called often; networks are loaded when a call
    first needs them.
    """
    settings: Any
    adapter: Renderer | None = None    # a stage before the video: its frames, shown as poses.mp4, are what a call follows
    draft: Renderer | None = None      # a quicker one, for a video of which another pass takes only the poses

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

    @classmethod
    def cost(cls, settings, size: tuple[int, int], num_frames: int, memory: int, *, passes: int = 1, device: str,
             dtype: torch.dtype) -> tuple[float | None, int | None]:
        """About how many seconds and bytes on the device a video takes; None where this cannot be told. As `check`.

        passes: how often the video is made, its refinements included.
        """
        return None, None

    def doubts(self, scene: Scene) -> list[str]:
        """What these settings and weights cannot show of a scene, each in a few words; asked before the video is made."""
        return []

    def help(self, job: Any) -> None:
        """In a process beside the main one: takes part in the work that the main one's renderer shares (`Processes`)."""

    def inputs(self, scene: Scene) -> list:
        """Everything its frames depend on but the seed, for a run that is resumed; a Path is a file's content."""
        return [scene, self.settings]

    def __call__(self, scene: Scene, generator: torch.Generator, *, poses: np.ndarray | None = None,
                 show: Show | None = None, progress: bool = True) -> np.ndarray:
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


@dataclass
class VideoModelConfig:
    """A pose-to-video model: SVD's parts and a checkpoint with UNet and PoseNet"""
    svd: str = setting("weights/svd", "folder of Stable Video Diffusion in diffusers format (VAE, image encoder, scheduler)")
    checkpoint: str = setting("weights/mimicmotion/MimicMotion_1-1.pth", "UNet + PoseNet: a folder, .safetensors or .pth")
    tiny_vae: str = setting("", "folder of a small VAE of the same latents (diffusers' AutoencoderTiny, as TAESD). It decodes what is not the final "
                            "video (the adapter's poses, a pass that is refined), and encodes the moved picture; empty: the VAE does")
    share_reference: bool = setting(True, "put the picture's own pose before the first frame, as MimicMotion does")
    num_inference_steps: int = setting(25, "denoising steps")
    schedule: str = setting("karras", "their noise levels; karras: as published; align_your_steps: made for 10 steps",
                            ("karras", "align_your_steps"))
    guidance_scale: float = setting(2.0, "classifier-free guidance; 1 or less: off, twice as fast")
    guidance_sigma_min: float = setting(0.0, "guidance only at noise levels above this; 0: to the end")
    guidance_sigma_max: float = setting(700.0, "guidance only at noise levels up to this; 700: from the start")
    noise_aug_strength: float = setting(0.0, "noise on the reference picture, standard deviation in [-1, 1] pixels")
    noise_sharing: float = setting(0.0, "share of the initial noise common to all frames, 0 to 1; more flickers less")
    tile_size: int = setting(72, "frames denoised together (72 for MimicMotion 1.1, 16 for 1.0)")
    tile_overlap: int = setting(6, "frames neighbouring tiles share")
    tiles: str = setting("balanced", "balanced: tiles of equal length; published: as MimicMotion's code", ("balanced", "published"))
    max_tile: int = setting(0, "balanced: a video of up to so many frames is one tile; 0: an eighth above tile_size")
    feature_cache: int = setting(1, "steps that share the UNet's deep features; 1: none, exact; 2: 1.4 times as fast, 3: 1.6 "
                                    "(55 and 49 dB to exact with the demo weights)")
    compile: bool = setting(False, "torch.compile: minutes before the first step, then faster steps")
    decode_chunk_size: int = setting(8, "frames the VAE decodes together")
    fps: int = setting(7, "frame rate the network is told (7 in MimicMotion, whatever the video's is)")
    motion_bucket_id: int = setting(127, "amount of motion the network is told")

    def check(self, key: str) -> None:
        """Refuses numbers out of their range with a ValueError. key: of these settings, for the message."""
        for name, smallest in SMALLEST.items():
            if (found := getattr(self, name)) < smallest:
                raise ValueError(f"{key}.{name}: must be at least {smallest} (found {found})")
        for name, largest in LARGEST.items():
            if (found := getattr(self, name)) > largest:
                raise ValueError(f"{key}.{name}: must be at most {largest} (found {found})")
        if not 1 <= self.tile_overlap < max(self.tile_size, 2):
            raise ValueError(f"{key}.tile_overlap: must be 1 to tile_size - 1 = {self.tile_size - 1} (found {self.tile_overlap}): neighbouring "
                             "tiles share frame 0 at least")
        if self.feature_cache > self.num_inference_steps:
            raise ValueError(f"{key}.feature_cache: must be at most num_inference_steps, {self.num_inference_steps} (found "
                             f"{self.feature_cache}): 2 or 3 are fast and close")


@dataclass(frozen=True)
class MimicMotionConfig:
    """What the renderer `mimicmotion` is loaded from; in a config file these are separate groups."""
    generator: VideoModelConfig              # poses -> video
    adapter: VideoModelConfig | None         # poses without hands -> with hands; None: the skeleton is drawn as it is
    style: str                               # the brush its weights know

    @property
    def models(self) -> dict[str, VideoModelConfig]:
        """The video models a run uses, by the name of their group."""
        return ({"adapter": self.adapter} if self.adapter else {}) | {"generator": self.generator}

    def check_files(self) -> None:
        for key, model in self.models.items():
            check_model_files(Path(model.svd), Path(model.checkpoint), key)


@dataclass
class PuppetConfig:
    """renderer=puppet: the photograph's own limbs, moved"""
    mask: str = setting("auto", "where the person's outline comes from; colour: from the keypoints and the colours around them; mediapipe: the "
                        "detector for photographs; auto: that one where its weights are", ("auto", "mediapipe", "colour"))
    shadow: bool = setting(True, "the shadow at the feet goes with them")
    hands: bool = setting(True, "hands that the picture hides are drawn where an arm takes them out")

    def check_files(self) -> None:
        if self.mask == "mediapipe":
            chosen_detector(name="mediapipe")


@dataclass
class MusePoseConfig:
    """renderer=musepose: MusePose's own networks"""
    weights: str = setting("weights/musepose", "folder laid out as the official pretrained_weights")
    networks: str = setting("", "folder trained here, in place of the four files in weights/MusePose")
    width: int = setting(768, "pixels the networks work at; 0: the picture's")
    height: int = setting(768, "pixels the networks work at; 0: the picture's")
    num_inference_steps: int = setting(20, "DDIM steps")
    guidance_scale: float = setting(3.5, "classifier-free guidance; 1 or less: off, twice as fast")
    window: int = setting(48, "frames denoised together")
    window_overlap: int = setting(4, "frames neighbouring windows share")
    decode_chunk_size: int = setting(8, "frames decoded at once; changes no pixel")

    def check_files(self) -> None:
        check_weight_files(self.weights, self.networks)
