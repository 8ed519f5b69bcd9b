"""The learnt parts of a run, each loaded when first needed; of the large video models only one is in memory at a time."""

import gc
import hashlib
import logging
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from dwpose.detector import PoseDetector
from dwpose.skeleton import Skeleton
from llm_planner import Segment
from mimicmotion.pipeline import PoseToVideo
from stages.settings import InferenceConfig, VideoModelConfig
from t2m.generate import TextToMotion
from t2m.motion import Motion

log = logging.getLogger(__name__)


class Models:
    """Everything with weights. Each method's randomness depends on the seed and the stage's name only."""

    def __init__(self, config: InferenceConfig):
        self.config = config
        self.device = chosen_device(config.device)
        self.dtype = chosen_dtype(config.dtype, self.device)
        self._loaded: tuple[tuple[str, str], PoseToVideo] | None = None

    @cached_property
    def _detector(self) -> PoseDetector:
        pose = self.config.pose
        return PoseDetector.load(pose.detector, pose.keypoints, self.device, num_threads=self.config.num_threads,
                                 detector_channels=pose.detector_channels, pose_channels=pose.keypoint_channels)

    def detect(self, frames: np.ndarray, fps: float, source: str) -> Skeleton:
        """The chosen person in frames (F, H, W, 3) uint8 RGB."""
        return self._detector.detect(frames, fps, person=self.config.pose.person, source=source)

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
        """(F, H, W, 3) uint8: the person of `image` (H, W, 3) in `poses` (F, H, W, 3)."""
        wanted = (settings.svd, settings.checkpoint)
        if self._loaded is None or self._loaded[0] != wanted:
            if self._loaded is not None:
                self._loaded = None
                gc.collect()                    # the other model's memory, before this one takes its own
            self._loaded = wanted, PoseToVideo.load(settings.svd, settings.checkpoint, self.device, self.dtype)
        return self._loaded[1](
            image, poses, self._generator(stage), reference_pose=reference_pose if settings.share_reference else None,
            num_inference_steps=settings.num_inference_steps, guidance_scale=settings.guidance_scale,
            noise_aug_strength=settings.noise_aug_strength, noise_sharing=settings.noise_sharing, tile_size=settings.tile_size,
            tile_overlap=settings.tile_overlap, tiles=settings.tiles, decode_chunk_size=settings.decode_chunk_size, fps=settings.fps,
            motion_bucket_id=settings.motion_bucket_id, progress=progress)

    def _generator(self, stage: str) -> torch.Generator:
        """On the CPU, so that a seed means the same on every device; its own for every stage, so that resuming changes nothing."""
        digest = hashlib.sha256(f"{self.config.seed} {stage}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def chosen_device(name: str) -> str:
    """'auto' is a GPU when torch sees one."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cpu" and not (name == "cuda" or name.startswith("cuda:")):
        raise ValueError(f"device: must be auto, cpu, cuda or cuda:N (found '{name}')")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={name}: torch sees no GPU: install a CUDA build of torch, or use device=cpu")
    return name


def chosen_dtype(name: str, device: str) -> torch.dtype:
    """'auto' is float16 on a GPU, bfloat16 on a CPU with bfloat16 arithmetic, float32 elsewhere."""
    if name != "auto":
        return getattr(torch, name)
    if device != "cpu":
        return torch.float16
    cpuinfo = Path("/proc/cpuinfo")
    fast = cpuinfo.is_file() and any(flag in cpuinfo.read_text() for flag in ("amx_bf16", "avx512_bf16"))
    return torch.bfloat16 if fast else torch.float32
