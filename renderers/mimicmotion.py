"""The renderer `mimicmotion`: SVD with PoseNet (MimicMotion), before it Fleximo's skeleton adapter, in the memory there is.

Each video is planned to fit the device's memory, made again in smaller steps where the plan was too hopeful, and made
by all launched processes together.
"""
from __future__ import annotations

import gc
import json
import logging
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch

from dwpose.draw import draw
from dwpose.skeleton import head_boxes
from media.images import as_tensor, check_size
from mimicmotion.checkpoint import check_tiny_vae, check_video_model, load_tiny_vae, load_vae, size_multiple, takes_moved_picture
from mimicmotion.detail import KnownDetail, MovedPicture
from mimicmotion.diffusion import check_schedule, check_tiling
from mimicmotion.latents import decode, scaled_latents
from mimicmotion.memory import fitting_plan, Footprint, OffloadedPoseToVideo, Plan, plans, Run
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.savings import FeatureCache, feed_forward_in_parts
from renderers import MimicMotionConfig, PuppetConfig, Renderer, Scene, Show, VideoModelConfig
from renderers.puppet import Puppet
from runtime.device import free_memory
from runtime.memory import operations_per_second
from runtime.processes import ALONE, Processes

log = logging.getLogger(__name__)

CACHED_SPEED = (1.0, 1.4, 1.6)              # of a feature cache of 1, 2, 3 and more steps
MOVING = PuppetConfig(mask="colour")        # how the picture is moved for weights that are told so: with or without other weights the same
KNOWN_PICTURES = "known_pictures.json"      # beside a checkpoint: what it draws, and how well its VAE rebuilds such a picture at least


class MimicMotion(Renderer):
    """Draws the skeleton, or takes the adapter's poses, and makes the video with PoseNet and SVD."""

    def __init__(self, settings: MimicMotionConfig, models: VideoModels, final: bool = True):
        self.settings, self.models, self.final = settings, models, final
        self.adapter = SkeletonAdapter(settings, models) if settings.adapter else None
        self.draft = MimicMotion(settings, models, final=False) if final and settings.generator.tiny_vae else None

    @classmethod
    def check(cls, settings: MimicMotionConfig, size: tuple[int, int], num_frames: int, memory: int, *, device: str,
              dtype: torch.dtype) -> None:
        for key, model in settings.models.items():
            try:
                check_tiling(model.tile_size, model.tile_overlap, model.tiles, model.max_tile or None)
                check_schedule(model.num_inference_steps, model.schedule, guidance_interval(model))
                FeatureCache(model.feature_cache)
            except ValueError as error:
                raise ValueError(f"{key}.{error}") from None
            svd, checkpoint = Path(model.svd), Path(model.checkpoint)
            check_video_model(svd, checkpoint, key, model.tile_size)
            if model.tiny_vae:
                check_tiny_vae(Path(model.tiny_vae), svd, key)
            check_size(size, size_multiple(svd, checkpoint))
            wanted, run = wanted_plan(key, model, size, num_frames, device, dtype)
            fitting_plan(wanted, run, memory)

    @classmethod
    def cost(cls, settings: MimicMotionConfig, size: tuple[int, int], num_frames: int, memory: int, *, passes: int = 1,
             device: str, dtype: torch.dtype) -> tuple[float, int]:
        """Seconds of all its models, by what a U-Net's layers reach on this device now; bytes of the larger."""
        seconds, needs = 0.0, []
        for key, model in settings.models.items():
            wanted, run = wanted_plan(key, model, size, num_frames, device, dtype)
            plan = fitting_plan(wanted, run, memory)
            needs.append(run.need(plan))
            spared = CACHED_SPEED[min(model.feature_cache, len(CACHED_SPEED)) - 1]
            denoised, decoded = run.operations(plan, model.num_inference_steps)
            made, final = (passes, 1) if key == "generator" else (1, 0)
            counted = made * denoised / spared + (final if model.tiny_vae else made) * decoded
            seconds += counted / operations_per_second(device, plan.dtype)
            if takes_moved_picture(Path(model.svd), Path(model.checkpoint)):
                seconds += Puppet.cost(MOVING, size, num_frames, memory, passes=made)[0]
        return seconds, max(needs)

    @classmethod
    def load(cls, settings: MimicMotionConfig, device: str, *, dtype: torch.dtype = torch.float32,
             memory_limit_gb: float = 0.0, processes: Processes = ALONE, keep_loaded: bool = False,
             earlier: MimicMotion | None = None) -> MimicMotion:
        models = earlier.models if earlier else VideoModels(device, dtype, memory_limit_gb, processes, keep_loaded)
        return cls(settings, models)

    def doubts(self, scene: Scene) -> list[str]:
        """A picture that is nothing like what the video weights were trained on, where they say what that was."""
        generator = self.settings.generator
        folder = Path(generator.checkpoint)
        known_path = (folder if folder.is_dir() else folder.parent) / KNOWN_PICTURES
        if not known_path.is_file():
            return []
        known, rebuilt = json.loads(known_path.read_text(encoding="utf-8")), rebuilt_psnr(scene.image, Path(generator.svd))
        return [] if rebuilt >= known["rebuilt_psnr"] else [
            f"these weights draw {known['what']}, and this picture is unlike them (their VAE rebuilds it to {rebuilt:.0f} dB, its own kind to "
            f"{known['rebuilt_psnr']:.0f} or more): for a photograph renderer=puppet (bash scripts/photo.sh image=me.jpg), or the published "
            "weights (configs/fleximo.yaml)"]

    def inputs(self, scene: Scene) -> list:
        drawn = scene.image, scene.skeleton, scene.reference, self.settings.style
        moved = [scene.depth] if self.takes_moved_picture else []
        return [*drawn, *moved, *self.models.inputs(self.settings.generator, self.final)]

    def __call__(self, scene: Scene, generator: torch.Generator, *, poses: np.ndarray | None = None,
                 show: Show | None = None, progress: bool = True) -> np.ndarray:
        style = self.settings.style
        poses = draw(scene.skeleton, style) if poses is None else poses                     # (F, H, W, 3) uint8
        own_pose = draw(scene.reference, style)[0]                                          # (H, W, 3) uint8
        state = generator.get_state()
        moved = self.moved(scene, torch.Generator().set_state(state)) if self.takes_moved_picture else None
        heads = head_boxes(scene.skeleton.keypoints)[:, 0] * self.final                     # (F, 5); of a first pass only the pose is looked at
        job = VideoJob("generator", self.settings.generator, state, scene.image, poses, own_pose, self.final, moved, heads)
        return self.models.video(job, show, progress)

    def moved(self, scene: Scene, generator: torch.Generator) -> np.ndarray | None:
        """The picture moved into each pose, (F, H, W, 3) uint8; None where the puppet cannot be cut."""
        try:
            return Puppet(MOVING)(scene, generator, progress=False)
        except ValueError as error:
            log.warning("mimicmotion: the picture is not moved for the network, which draws the person by itself: %s", error)
            return None

    @property
    def takes_moved_picture(self) -> bool:
        """Are the weights told how the picture looks moved into each pose?"""
        return takes_moved_picture(Path(self.settings.generator.svd), Path(self.settings.generator.checkpoint))

    def help(self, job: VideoJob) -> None:
        """In a process beside the main one: takes part in its video."""
        self.models.help(job)


class SkeletonAdapter(Renderer):
    """The drawn skeleton without hands → with hands, by a video model whose picture is the drawn reference (Fleximo)."""

    def __init__(self, settings: MimicMotionConfig, models: VideoModels):
        self.settings, self.models = settings, models

    def inputs(self, scene: Scene) -> list:
        return [scene.skeleton, scene.reference, self.settings.style, *self.models.inputs(self.settings.adapter, final=False)]

    def __call__(self, scene: Scene, generator: torch.Generator, *, poses: np.ndarray | None = None,
                 show: Show | None = None, progress: bool = True) -> np.ndarray:
        handless = [draw(skeleton.without_hands(), self.settings.style) for skeleton in (scene.skeleton, scene.reference)]
        with_hands = draw(scene.reference, self.settings.style)[0]                          # (H, W, 3) uint8
        job = VideoJob("adapter", self.settings.adapter, generator.get_state(), with_hands, handless[0], handless[1][0], final=False)
        return self.models.video(job, show, progress)


def rebuilt_psnr(image: np.ndarray, svd: Path) -> float:
    """How exactly a VAE gives back a picture (H, W, 3) uint8, dB: low for pictures unlike those it was trained on."""
    vae = load_vae(svd / "vae", torch.float32)
    with torch.no_grad():
        latents = scaled_latents(vae, as_tensor(image[None]))                               # (1, 4, h, w)
    rebuilt = decode(vae, latents)[0].numpy()                                               # (H, W, 3) uint8
    return float(10 * np.log10(255**2 / max(np.square(rebuilt.astype(np.float32) - image).mean(), 1e-6)))


def guidance_interval(settings: VideoModelConfig) -> tuple[float, float]:
    return settings.guidance_sigma_min, settings.guidance_sigma_max


footprint_of = cache(Footprint.of)          # by the dry runs of networks of these files: seconds, and asked for before and in every run


def wanted_plan(name: str, settings: VideoModelConfig, size: tuple[int, int], num_frames: int, device: str,
                dtype: torch.dtype) -> tuple[Plan, Run]:
    """How the settings would use memory, and what for. size: height, width of a frame, pixels."""
    run = Run(name, num_frames, settings.tile_overlap, settings.tiles,
              partial(footprint_of, settings.svd, settings.checkpoint, tuple(size)),
              guided=np.max(settings.guidance_scale) > 1, keeps_features=settings.feature_cache > 1,
              on_cpu=device == "cpu")
    return Plan(settings.tile_size, settings.max_tile or None, settings.decode_chunk_size, dtype), run


@dataclass(frozen=True, eq=False)
class VideoJob:
    """A video to be made; the main process decides, and all processes are sent the same."""
    name: str                            # of the model's group of settings, for messages
    settings: VideoModelConfig
    random_state: torch.Tensor           # of the generator that everything at random is drawn from
    image: np.ndarray                    # (H, W, 3) uint8 RGB
    poses: np.ndarray                    # (F, H, W, 3) uint8 RGB
    reference_pose: np.ndarray           # (H, W, 3) uint8 RGB
    final: bool = True                   # decoded by the VAE; else by the tiny one, where there is one
    moved: np.ndarray | None = None      # (F, H, W, 3) uint8 RGB, the picture moved into each pose, for weights that are told so
    heads: np.ndarray | None = None      # (F, 5) boxes in it
    plan: Plan | None = None

    def arguments(self) -> dict:
        """Keywords of `PoseToVideo.__call__`."""
        settings, plan = self.settings, self.plan
        return dict(
            reference_pose=self.reference_pose if settings.share_reference else None,
            num_inference_steps=settings.num_inference_steps, schedule=settings.schedule,
            guidance_scale=settings.guidance_scale, guidance_batch=plan.guidance_batch,
            guidance_interval=guidance_interval(settings),
            noise_aug_strength=settings.noise_aug_strength, noise_sharing=settings.noise_sharing,
            tile_size=plan.tile_size, max_tile=plan.max_tile, tile_overlap=settings.tile_overlap, tiles=settings.tiles,
            feature_cache=settings.feature_cache, decode_chunk_size=plan.decode_chunk_size, fps=settings.fps,
            motion_bucket_id=settings.motion_bucket_id)


class VideoModels:
    """The video models of a run, each loaded when first needed; only one is in memory at a time, unless all are kept."""

    def __init__(self, device: str, dtype: torch.dtype, memory_limit_gb: float = 0.0, processes: Processes = ALONE,
                 keep_loaded: bool = False):
        self.device, self.dtype, self.memory_limit_gb, self.processes = device, dtype, memory_limit_gb, processes
        self.keep_loaded = keep_loaded
        self._loaded: dict[tuple[str, str], tuple[tuple, PoseToVideo]] = {}  # by files: how it was loaded, and the model
        self._tiny_vae = cache(partial(load_tiny_vae, device=device))
        self._told: dict[tuple[str, str], set[Plan]] = defaultdict(set)      # by files, the plans already logged

    def inputs(self, settings: VideoModelConfig, final: bool) -> list:
        """What a video depends on beside the scene: settings, the content of the weights, the number format."""
        svd, checkpoint = Path(settings.svd), Path(settings.checkpoint)
        uses_tiny_vae = settings.tiny_vae and (not final or takes_moved_picture(svd, checkpoint))
        return [replace(settings, tiny_vae=""), svd, checkpoint, *([Path(settings.tiny_vae)] if uses_tiny_vae else []), str(self.dtype)]

    def video(self, job: VideoJob, show: Show | None = None, progress: bool = True) -> np.ndarray:
        """(F, H, W, 3) uint8. Where a plan runs out of memory all the same, a smaller one follows.

        `show` gets frames of one try only: after a failure between them no more are shown.
        """
        shown = []

        def show_once(frames: np.ndarray) -> None:
            shown.append(len(frames))
            show(frames)

        for plan in self._plans(job):
            try:
                planned = self.processes.shared(replace(job, plan=plan))
                return self._made(planned, show_once if show and not shown else None, progress)
            except torch.OutOfMemoryError as error:
                log.info("%s: %s", job.name, str(error).split(". ")[0])
            self._release(job.settings)         # after the except block, whose traceback holds the run's tensors

    def help(self, job: VideoJob) -> None:
        """In a process beside the main one: takes part in a video, silently."""
        try:
            self._made(job, None, progress=False)
        except (ValueError, torch.OutOfMemoryError) as error:
            log.debug("%s: %s: the main process has the same error, and deals with it", job.name, error)

    def _made(self, job: VideoJob, show: Show | None, progress: bool) -> np.ndarray:
        """The video of a job, made by all processes together; all get it, or the same error."""
        model = self.processes.agreed(lambda: self._model(job.settings, job.plan))
        generator = torch.Generator().set_state(job.random_state)
        tiny_vae = self._tiny_vae(job.settings.tiny_vae, job.plan.dtype) if job.settings.tiny_vae else None
        moved = detail = None
        if job.moved is not None:
            own = [job.image[None]] if job.settings.share_reference else []
            moved = model.moved_latents(job.image, np.concatenate([*own, job.moved]), tiny_vae)
            detail = KnownDetail(model.vae, job.image, MovedPicture(job.moved, moved[len(own):], job.heads))
        with feed_forward_in_parts(model.unet, job.plan.feed_forward_parts):
            return model(job.image, job.poses, generator, progress=progress, processes=self.processes, show=show,
                         moved=moved, tiny_vae=None if job.final else tiny_vae, detail=detail, **job.arguments())

    def _plans(self, job: VideoJob) -> Iterator[Plan]:
        """Plans that fit, the largest first."""
        settings = job.settings
        files = settings.svd, settings.checkpoint
        if not self.keep_loaded and self._loaded.keys() - {files}:
            self._release(settings)             # the other model's memory, before this one takes its own
        wanted, run = wanted_plan(job.name, settings, job.poses.shape[1:3], len(job.poses) + settings.share_reference,
                                  self.device, self.dtype)
        networks = self._loaded[files][1].networks if files in self._loaded else ()
        return plans(wanted, run, free_memory(self.device, self.memory_limit_gb, networks), self._told[files])

    def _model(self, settings: VideoModelConfig, plan: Plan) -> PoseToVideo:
        files, wanted = (settings.svd, settings.checkpoint), (plan.dtype, plan.offload, settings.compile)
        if files not in self._loaded or self._loaded[files][0] != wanted:
            if self._loaded:
                self._release(settings)
            kind = OffloadedPoseToVideo if plan.offload else PoseToVideo
            model = kind.load(*files, self.device, plan.dtype)
            if settings.compile and plan.offload:
                log.warning("compile: left out: networks that move between the CPU and the device cannot be compiled")
            elif settings.compile:
                model.compile()
            self._loaded[files] = wanted, model
        return self._loaded[files][1]

    def _release(self, settings: VideoModelConfig) -> None:
        """Gives back the memory of a loaded model; of all, unless they are kept side by side."""
        if self.keep_loaded:
            self._loaded.pop((settings.svd, settings.checkpoint), None)
        else:
            self._loaded.clear()
        gc.collect()
        if self.device != "cpu":
            torch.cuda.empty_cache()
