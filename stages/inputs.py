"""What is wrong with a run's inputs is found before its first slow stage; each is a ValueError of one line."""

import logging
import math
from dataclasses import replace
from pathlib import Path

from llm_planner import check_prompt
from mimicmotion.feature_cache import FeatureCache
from mimicmotion.schedule import check_schedule
from mimicmotion.tiles import check_tiling
from mimicmotion.video import canvas_size, fit_to_canvas, probe, read_image
from stages.checks import check_disk, check_folder, check_motion_weights, check_size, check_weights
from stages.driving import driving_frames
from stages.models import Models
from stages.settings import InferenceConfig

log = logging.getLogger(__name__)


def with_size(config: InferenceConfig) -> InferenceConfig:
    """The settings with height and width, where `resolution` leaves them to the shape of the picture."""
    if not config.resolution:
        return config
    height, width = canvas_size(read_image(config.image).shape[:2], config.resolution)
    log.info("%dx%d (height x width) from resolution=%d and the shape of %s", height, width, config.resolution,
             config.image)
    return replace(config, height=height, width=width)


def check_inputs(config: InferenceConfig, models: Models) -> None:
    """Picture, text or driving video, weights, memory, folders and disk."""
    fit_to_canvas(read_image(config.image), config.size)
    num_frames = round(config.fps)                                # of a second: the plan, not made yet, says how many
    if config.driving_video:
        if not Path(config.driving_video).is_file():
            raise ValueError(f"driving_video={config.driving_video}: no such file: check the path")
        if config.camera != "auto":
            log.warning("camera=%s: left out: it is for a prompt's 3D motion, and a driving video has its own view",
                        config.camera)
        num_frames = math.ceil(driving_frames(config, probe(config.driving_video))) or num_frames
    elif not config.prompt.strip():
        raise ValueError("prompt: is empty, and so is driving_video: say what the person does, as in "
                         'prompt="A person waves.", or whose movement to take, as in driving_video=dance.mp4')
    else:
        check_prompt(config.prompt)
        if not Path(config.motion.weights).is_dir():
            raise ValueError(f"motion.weights={config.motion.weights}: no such folder: see weights/README.md")
        check_motion_weights(Path(config.motion.weights))
    for key, settings in video_models(config).items():
        try:
            check_tiling(settings.tile_size, settings.tile_overlap, settings.tiles, settings.max_tile or None)
            check_schedule(settings.num_inference_steps, settings.schedule,
                           (settings.guidance_sigma_min, settings.guidance_sigma_max))
            FeatureCache(settings.feature_cache)
        except ValueError as error:
            raise ValueError(f"{key}.{error}") from None
        check_weights(Path(settings.svd), Path(settings.checkpoint), key, settings.tile_size)
        check_size(config.size, Path(settings.svd), Path(settings.checkpoint))
        models.check_memory(settings, config.size, num_frames, key)
    check_folder(config.folder)
    if config.pose.cache:
        check_folder(Path(config.pose.cache))
    check_disk(config.folder, num_frames, config.size, 3 + config.refinements)


def video_models(config: InferenceConfig) -> dict:
    """The video models a run uses, by the name of their group of settings."""
    with_adapter = config.adapter.checkpoint and not config.driving_video
    return ({"adapter": config.adapter} if with_adapter else {}) | {"generator": config.generator}
