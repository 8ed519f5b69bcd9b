"""MusePose as a renderer: the skeleton in its own brush, its networks at a size of their own, the picture's size back."""
from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from dwpose.musepose_brush import pose_frames
from musepose.checkpoint import WeightFiles
from musepose.memory import Footprint, Plan, Run, fitted
from musepose.pipeline import check_size, MusePose
from musepose.windows import check_windows, padded_length
from renderers import Scene

PIXELS_PER_LATENT = 8            # of the published VAE


def setting(default, help: str):
    return field(default=default, metadata={"help": help})


@dataclass
class MusePoseConfig:
    """The MusePose renderer (renderer=musepose)"""
    weights: str = setting("weights/musepose", "folder laid out as the official pretrained_weights")
    networks: str = setting("", "folder trained here, in place of the four files in weights/MusePose")
    width: int = setting(768, "pixels the networks work at; 0: the picture's")
    height: int = setting(768, "pixels the networks work at; 0: the picture's")
    num_inference_steps: int = setting(20, "DDIM steps")
    guidance_scale: float = setting(3.5, "classifier-free guidance; 1 or less: off, twice as fast")
    window: int = setting(48, "frames denoised together")
    window_overlap: int = setting(4, "frames neighbouring windows share")
    decode_chunk_size: int = setting(8, "frames decoded at once; changes no pixel")


@dataclass(frozen=True, eq=False)
class MusePoseRenderer:
    """A picture and a skeleton -> a video by MusePose's weights."""
    model: MusePose
    settings: MusePoseConfig
    plan: Plan

    @classmethod
    def multiple(cls, settings: MusePoseConfig) -> int:
        """Canvas sides must be divisible by this: the networks have their own size, and codecs ask for even sides."""
        return 2 if settings.width and settings.height else PIXELS_PER_LATENT

    @classmethod
    def check(cls, settings: MusePoseConfig, size: tuple[int, int], num_frames: int, memory: int) -> None:
        """Refuse sizes, windows and files that cannot work, and what no plan fits into `memory` bytes (0: any)."""
        planned(settings, size, num_frames, memory, torch.float32)

    @classmethod
    def load(cls, settings: MusePoseConfig, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32,
             plan: Plan | None = None) -> MusePoseRenderer:
        """plan: how memory is used, of `planned`; None takes the settings as they are."""
        plan = plan or Plan(settings.window, dtype, settings.decode_chunk_size)
        model = MusePose.load(settings.weights, device, plan.dtype, networks=settings.networks or None, offload=plan.offload)
        return cls(model, settings, plan)

    def __call__(self, scene: Scene, generator: torch.Generator, *, show=None, progress: bool = True, **more) -> np.ndarray:
        """(F, H, W, 3) uint8 RGB at the picture's size. show: is given finished frames in order; more: as `MusePose`."""
        size = scene.image.shape[:2]
        if scene.skeleton.size != size:
            raise ValueError(f"skeleton: expected the picture's canvas, {size[0]}x{size[1]} (found {scene.skeleton.size[0]}x"
                             f"{scene.skeleton.size[1]}): detect and rescale on the picture itself")
        settings, plan = self.settings, self.plan
        poses = np.stack(list(pose_frames(scene.skeleton)))
        return self.model(scene.image, poses, generator, size=network_size(settings, size), output_size=size,
                          num_inference_steps=settings.num_inference_steps, guidance_scale=settings.guidance_scale,
                          window=plan.window, window_overlap=settings.window_overlap, guidance_batch=plan.guidance_batch,
                          decode_chunk_size=plan.decode_chunk_size, show=show, progress=progress, **more)


def network_size(settings: MusePoseConfig, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) the networks work at, for a canvas of this size."""
    return settings.height or size[0], settings.width or size[1]


def planned(settings: MusePoseConfig, size: tuple[int, int], num_frames: int, memory: int, dtype: torch.dtype,
            on_cpu: bool = True) -> Plan:
    """How a run uses `memory` bytes (0: any number); a ValueError where it cannot be. Loads nothing."""
    own = network_size(settings, size)
    check_size(own, PIXELS_PER_LATENT)
    check_windows(settings.window, settings.window_overlap)
    if num_frames < 1:
        raise ValueError(f"musepose: expected at least one frame (found {num_frames})")
    files = WeightFiles.of(settings.weights)
    names = ("denoising_unet", "reference_unet", "pose_guider", "motion_module")
    needed = [getattr(files, name) for name in names] if not settings.networks else [Path(settings.networks) / "model.safetensors"]
    missing = [path for path in needed if not path.is_file()]
    if missing:
        raise ValueError(f"{missing[0]}: expected a weights file (found none): download MusePose's weights, or choose "
                         "musepose.weights")
    wanted = Plan(settings.window, dtype, settings.decode_chunk_size)
    if not memory:
        return wanted
    frames = padded_length(num_frames, settings.window, settings.window_overlap)
    footprint = cache(partial(Footprint.of, files, own))
    return fitted(wanted, Run("musepose", frames, footprint, settings.guidance_scale > 1, on_cpu), memory)
