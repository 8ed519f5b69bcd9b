"""MusePose as a renderer: the skeleton in its own brush, its networks at a size of their own, the picture's size back."""
from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from dwpose.musepose import pose_frames
from media.images import check_size, PIXELS_PER_LATENT
from musepose import WeightFiles
from musepose.memory import fitting_plan, Footprint, Plan, Run
from musepose.pipeline import check_windows, MusePose, padded_length
from renderers import MusePoseConfig, Renderer, Scene, Show
from runtime.device import free_memory
from runtime.memory import operations_per_second
from runtime.processes import ALONE, Processes

log = logging.getLogger(__name__)

RETRY_SHARE = 0.85               # of the activations of a plan that ran out of memory, for the next one


@dataclass(frozen=True, eq=False)
class MusePoseJob:
    """A video to be made; the main process decides, and all processes are sent the same."""
    scene: Scene
    random_state: torch.Tensor           # of the generator that the noise is drawn from
    plan: Plan


class MusePoseRenderer(Renderer):
    """A picture and a skeleton -> a video by MusePose's weights."""

    def __init__(self, settings: MusePoseConfig, device: str, dtype: torch.dtype, memory_limit_gb: float, processes: Processes):
        self.settings, self.device, self.dtype = settings, device, dtype
        self.memory_limit_gb, self.processes = memory_limit_gb, processes
        self._loaded: tuple[tuple, MusePose] | None = None      # how it was loaded, and the model

    @classmethod
    def check(cls, settings: MusePoseConfig, size: tuple[int, int], num_frames: int, memory: int, *, device: str = "cpu",
              dtype: torch.dtype = torch.float32) -> None:
        planned(settings, size, num_frames, memory, dtype, device == "cpu")

    @classmethod
    def cost(cls, settings: MusePoseConfig, size: tuple[int, int], num_frames: int, memory: int, *, passes: int = 1,
             device: str = "cpu", dtype: torch.dtype = torch.float32) -> tuple[float, int]:
        """Seconds by what a U-Net's layers reach on this device now."""
        plan, run = planned(settings, size, num_frames, memory, dtype, device == "cpu")
        counted = passes * run.operations(plan, settings.num_inference_steps)
        return counted / operations_per_second(device, plan.dtype), run.need(plan)

    @classmethod
    def load(cls, settings: MusePoseConfig, device: str = "cpu", *, dtype: torch.dtype = torch.float32,
             memory_limit_gb: float = 0.0, processes: Processes = ALONE, keep_loaded: bool = False,
             earlier: MusePoseRenderer | None = None) -> MusePoseRenderer:
        return cls(settings, device, dtype, memory_limit_gb, processes)

    def inputs(self, scene: Scene) -> list:
        files = WeightFiles.of(self.settings.weights)
        return [scene, self.settings, *vars(files).values(), Path(self.settings.networks), str(self.dtype)]

    def __call__(self, scene: Scene, generator: torch.Generator, *, poses: np.ndarray | None = None,
                 show: Show | None = None, progress: bool = True) -> np.ndarray:
        size = scene.image.shape[:2]
        if scene.skeleton.size != size:
            raise ValueError(f"skeleton: expected the picture's canvas, {size[0]}x{size[1]} (found {scene.skeleton.size[0]}x"
                             f"{scene.skeleton.size[1]}): detect and rescale on the picture itself")
        networks = vars(self._loaded[1]).values() if self._loaded else ()
        memory = free_memory(self.device, self.memory_limit_gb, networks)
        plan, run = planned(self.settings, size, len(scene.skeleton), memory, self.dtype, self.device == "cpu")
        while True:                              # where a plan runs out of memory all the same, a smaller one follows
            try:
                return self._made(self.processes.shared(MusePoseJob(scene, generator.get_state(), plan)), show, progress)
            except torch.OutOfMemoryError:
                log.warning("memory: musepose: ran out of memory: trying again with less")
            self._loaded = None                  # after the except block, whose traceback holds the run's tensors
            weights, rest = max(run.needs(plan).values(), key=sum)
            plan = fitting_plan(plan, run, int(weights + RETRY_SHARE * rest))

    def help(self, job: MusePoseJob) -> None:
        try:
            self._made(job, None, progress=False)
        except (ValueError, torch.OutOfMemoryError) as error:
            log.debug("musepose: %s: the main process has the same error, and deals with it", error)

    def _made(self, job: MusePoseJob, show: Show | None, progress: bool) -> np.ndarray:
        """The video of a job, made by all processes together; all get it, or the same error."""
        settings, plan, size = self.settings, job.plan, job.scene.image.shape[:2]
        model = self.processes.agreed(lambda: self._model(plan))
        generator = torch.Generator().set_state(job.random_state)
        poses = np.stack(list(pose_frames(job.scene.skeleton)))
        return model(job.scene.image, poses, generator, size=network_size(settings, size), output_size=size,
                     num_inference_steps=settings.num_inference_steps, guidance_scale=settings.guidance_scale,
                     window=plan.window, window_overlap=settings.window_overlap, guidance_batch=plan.guidance_batch,
                     decode_chunk_size=plan.decode_chunk_size, show=show, progress=progress, processes=self.processes)

    def _model(self, plan: Plan) -> MusePose:
        wanted = plan.dtype, plan.offload
        if self._loaded is None or self._loaded[0] != wanted:
            self._loaded = None                  # its memory, before the next takes its own
            networks = self.settings.networks or None
            self._loaded = wanted, MusePose.load(self.settings.weights, self.device, plan.dtype, networks=networks, offload=plan.offload)
        return self._loaded[1]


footprint_of = cache(Footprint.of)          # by the dry runs of networks of these files: seconds, and asked for before and in every run


def network_size(settings: MusePoseConfig, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) the networks work at, for a canvas of this size."""
    return settings.height or size[0], settings.width or size[1]


def planned(settings: MusePoseConfig, size: tuple[int, int], num_frames: int, memory: int, dtype: torch.dtype,
            on_cpu: bool = True) -> tuple[Plan, Run]:
    """How a run uses `memory` bytes (0: any number), and what is made; a ValueError where it cannot be. Loads nothing."""
    files = WeightFiles.of(settings.weights)
    own = network_size(settings, size)
    check_size(own, PIXELS_PER_LATENT)
    check_windows(settings.window, settings.window_overlap)
    if num_frames < 1:
        raise ValueError(f"musepose: expected at least one frame (found {num_frames})")
    wanted = Plan(settings.window, dtype, settings.decode_chunk_size)
    frames = padded_length(num_frames, settings.window, settings.window_overlap)
    run = Run("musepose", frames, partial(footprint_of, files, own), settings.guidance_scale > 1, on_cpu, settings.window_overlap)
    return (fitting_plan(wanted, run, memory) if memory else wanted), run
