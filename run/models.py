"""The learnt parts of a run, each loaded when first needed; of the large video models only one is in memory at a time."""
import gc
import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import dwpose
import media.video_reader
from dwpose.detector import PoseDetector
from dwpose.skeleton import Skeleton
from dwpose.tracking import with_short_gaps_filled
from llm_planner import Segment
from media.video_writer import Film, UNSEEN
from mimicmotion.footprint import Footprint
from mimicmotion.memory import fitted, free_memory, OffloadedPoseToVideo, Plan, plans, Run
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.savings import feed_forward_in_parts
from run.folder import content_hash
from run.settings import InferenceConfig, VideoModelConfig
from runtime.device import chosen_device, chosen_dtype, keep_freed_memory
from runtime.processes import join_processes, Processes
from t2m.generate import TextToMotion
from t2m.motion import Motion

log = logging.getLogger(__name__)

CODE = [*sorted(Path(dwpose.__path__[0]).glob("*.py")), Path(media.video_reader.__file__)]      # whose change makes other poses


@dataclass(frozen=True, eq=False)
class VideoJob:
    """What the main process decided, for all processes."""
    settings: VideoModelConfig
    plan: Plan
    seed: int                            # of everything drawn at random
    image: np.ndarray                    # (H, W, 3) uint8 RGB
    poses: np.ndarray                    # (F, H, W, 3) uint8 RGB
    reference_pose: np.ndarray           # (H, W, 3) uint8 RGB

    def arguments(self) -> dict:
        """Keywords of `PoseToVideo.__call__`."""
        settings, plan = self.settings, self.plan
        return dict(
            reference_pose=self.reference_pose if settings.share_reference else None,
            num_inference_steps=settings.num_inference_steps, schedule=settings.schedule,
            guidance_scale=settings.guidance_scale, guidance_batch=plan.guidance_batch,
            guidance_interval=(settings.guidance_sigma_min, settings.guidance_sigma_max),
            noise_aug_strength=settings.noise_aug_strength, noise_sharing=settings.noise_sharing,
            tile_size=plan.tile_size, max_tile=plan.max_tile, tile_overlap=settings.tile_overlap, tiles=settings.tiles,
            feature_cache=settings.feature_cache, decode_chunk_size=plan.decode_chunk_size, fps=settings.fps,
            motion_bucket_id=settings.motion_bucket_id)


def remembered(folder: str, detect: Callable[[], Skeleton], *seen: Any) -> Skeleton:
    """What `detect` found earlier, in this run or another, for content equal to `seen`; else it is asked, and kept.

    seen: everything the result depends on; a Path stands for the file's content. An empty folder name keeps nothing.
    """
    if not folder:
        return detect()
    path = Path(folder) / f"{content_hash([*seen, CODE])}.npz"
    if path.is_file():
        try:
            return Skeleton.load(path)
        except ValueError as error:
            log.warning("%s; the poses are detected again", error)
    skeleton = detect()
    skeleton.save(path)                       # appears whole or not at all
    return skeleton


class Models:
    """Everything with weights. Each method's randomness depends on the seed and the stage's name only."""

    def __init__(self, config: InferenceConfig, processes: Processes | None = None):
        """processes: who makes each video together; None is all that the launcher started."""
        self.config = config
        self.device = chosen_device(config.device)
        keep_freed_memory(self.device)
        self.dtype = chosen_dtype(config.dtype, self.device)
        self.processes = processes or join_processes(torch.device(self.device))
        self._loaded: tuple[tuple, PoseToVideo] | None = None
        self._footprint = cache(Footprint.of)
        self._told: dict[tuple[str, str], set[Plan]] = defaultdict(set)      # by model, the plans already printed
        self.films: dict[str, Film] = {}                        # by stage, what is written while its frames are decoded

    @cached_property
    def _detector(self) -> PoseDetector:
        pose = self.config.pose
        return PoseDetector.load(pose.detector, pose.keypoints, self.device, num_threads=self.config.num_threads,
                                 detector_channels=pose.detector_channels, pose_channels=pose.keypoint_channels)

    def detect(self, frames: np.ndarray | Iterable[np.ndarray], fps: float, source: str, *seen: Any,
               max_gap_seconds: float = 0.0) -> Skeleton:
        """The chosen person in frames (F, H, W, 3) uint8 RGB, or in one frame after the other.

        seen: what decides the frames (a file, a reading rate); with it the answer is looked up in pose.cache.
        """
        pose = self.config.pose
        networks = Path(pose.detector), Path(pose.keypoints), pose.detector_channels, pose.keypoint_channels
        find = lambda: self._detector.find(frames, fps, person=pose.person, source=source)
        found = remembered(pose.cache if seen else "", find, *seen, fps, pose.person, *networks)
        return with_short_gaps_filled(found, source, max_gap_seconds)

    def motions(self, segments: list[Segment]) -> list[Motion]:
        """One 3D motion per segment; a warning names each that the weights were never taught."""
        t2m = TextToMotion.load(self.config.motion.weights, self.device)
        for i, segment in enumerate(segments, start=1):
            if reason := t2m.unknown_motion(segment.text):
                log.warning("segment %d '%s': %s: expect another movement", i, segment.text, reason)
        rng = self._generator("motion") if self.config.motion.sampling == "sampled" else None
        return [t2m(segment.text, segment.seconds, rng) for segment in tqdm(segments, desc="motion", unit="segment", dynamic_ncols=True)]

    def video(self, stage: str, settings: VideoModelConfig, image: np.ndarray, poses: np.ndarray, reference_pose: np.ndarray,
              progress: bool = True) -> np.ndarray:
        """(F, H, W, 3) uint8: the person of `image` (H, W, 3) in `poses` (F, H, W, 3).

        Planned to fit the device's memory; where the plan was too hopeful all the same, a smaller one follows.
        """
        for plan in self._plans(stage, settings, poses.shape[1:3], len(poses) + settings.share_reference):
            job = VideoJob(settings, plan, self._seed(stage), image, poses, reference_pose)
            try:
                return self._made(self.processes.shared(job), progress, self.films.get(stage, UNSEEN))
            except torch.OutOfMemoryError as error:
                log.info("%s: %s", stage, str(error).split(". ")[0])
            self._release()                     # after the except block, whose traceback holds the run's tensors

    def _made(self, job: VideoJob, progress: bool, film: AbstractContextManager = UNSEEN) -> np.ndarray:
        """The video of a job, made by all processes together; all get it, or the same error."""
        model = self.processes.agreed(lambda: self._model(job.settings, job.plan))
        with feed_forward_in_parts(model.unet, job.plan.feed_forward_parts):
            return model(job.image, job.poses, torch.Generator().manual_seed(job.seed), progress=progress,
                         processes=self.processes, film=film, **job.arguments())

    def help(self) -> int:
        """In a process beside the main one: takes part in its videos, silently, until it is done; the exit code."""
        logging.disable(logging.WARNING)
        while (job := self.processes.shared()) is not None:
            with suppress(ValueError, torch.OutOfMemoryError):       # the main process has the same error, and deals with it
                self._made(job, progress=False)
        return 0

    def __enter__(self) -> "Models":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        """The main process is done with videos. An interruption reaches the other processes by itself."""
        if kind is None or issubclass(kind, Exception):
            self.processes.shared(None)

    def check_memory(self, settings: VideoModelConfig, size: tuple[int, int], num_frames: int, name: str) -> None:
        """Refuse, before anything is loaded, what no plan can fit. size: (height, width), pixels."""
        wanted, run, limit = self._memory(name, settings, size, num_frames)
        fitted(wanted, run, limit)

    def _plans(self, name: str, settings: VideoModelConfig, size: tuple[int, int], num_frames: int) -> Iterator[Plan]:
        if self._loaded and self._loaded[0][:2] != (settings.svd, settings.checkpoint):
            self._release()                     # the other model's memory, before this one takes its own
        return plans(*self._memory(name, settings, size, num_frames), self._told[settings.svd, settings.checkpoint])

    def _memory(self, name: str, settings: VideoModelConfig, size: tuple[int, int], num_frames: int) -> tuple[Plan, Run, int]:
        """What is asked for, what it is for, and the bytes it may take, those of the model in memory included."""
        footprint = partial(self._footprint, settings.svd, settings.checkpoint, size)
        guided = np.max(settings.guidance_scale) > 1
        run = Run(name, num_frames, settings.tile_overlap, settings.tiles, footprint, guided,
                  keeps_features=settings.feature_cache > 1, on_cpu=self.device == "cpu")
        limit = free_memory(self.device, self.config.memory_limit_gb, self._loaded[1] if self._loaded else None)
        return Plan(settings.tile_size, settings.max_tile or None, settings.decode_chunk_size, self.dtype), run, limit

    def _model(self, settings: VideoModelConfig, plan: Plan) -> PoseToVideo:
        wanted = settings.svd, settings.checkpoint, plan.dtype, plan.offload, settings.compile
        if self._loaded is None or self._loaded[0] != wanted:
            self._release()
            kind = OffloadedPoseToVideo if plan.offload else PoseToVideo
            self._loaded = wanted, kind.load(settings.svd, settings.checkpoint, self.device, plan.dtype)
            if settings.compile and plan.offload:
                log.warning("compile: left out: networks that move between the CPU and the device cannot be compiled")
            elif settings.compile:
                self._loaded[1].compile()
        return self._loaded[1]

    def _release(self) -> None:
        """Give back the memory of the loaded model."""
        self._loaded = None
        gc.collect()
        if self.device != "cpu":
            torch.cuda.empty_cache()

    def _generator(self, stage: str) -> torch.Generator:
        """On the CPU, so that a seed means the same on every device."""
        return torch.Generator().manual_seed(self._seed(stage))

    def _seed(self, stage: str) -> int:
        """Its own for every stage, so that resuming changes nothing; a driven video's is the seed itself, as published."""
        if stage == "video" and self.config.driving_video:
            return self.config.seed
        digest = hashlib.sha256(f"{self.config.seed} {stage}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1
