"""One video as a piece of work: all that a process needs to make it, alone or together with others."""

from dataclasses import dataclass

import numpy as np

from mimicmotion.memory import Plan
from stages.settings import VideoModelConfig


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
