"""The movement of a driving video: which of its frames are looked at, and the person found in them."""

import logging
from pathlib import Path

from dwpose.skeleton import Skeleton
from mimicmotion.video import VideoInfo, frame_stream, probe
from stages.models import Models
from stages.settings import InferenceConfig

log = logging.getLogger(__name__)

MAX_SHORT_SIDE = 1080                      # pixels; larger frames are shrunk while they are read
MAX_GAP_SECONDS = 0.25                     # without the person, bridged
STRIDE_RATE = 24                           # frames per second: MimicMotion's stride grows with every multiple of it
PACE_TOLERANCE = 0.05                      # of the movement's speed, before it is worth a warning


def frame_step(sample_stride: int, rate: float) -> int:
    """MimicMotion's step between frames taken from a video of `rate` frames per second."""
    return sample_stride * max(1, int(rate / STRIDE_RATE))


def driving_frames(config: InferenceConfig, info: VideoInfo) -> float:
    """About how many frames the run takes from its driving video; 0 when the file does not say how long it is."""
    rate = info.fps / frame_step(config.sample_stride, info.fps) if config.sample_stride else config.fps
    return info.seconds * rate


def driving_skeleton(config: InferenceConfig, models: Models) -> Skeleton:
    """The person of the driving video, at the run's frame rate, in pixels of that video."""
    path, info = config.driving_video, probe(config.driving_video)
    if not config.sample_stride:
        reading = dict(fps=config.fps, stride=1)
    else:
        reading = dict(fps=None, stride=frame_step(config.sample_stride, info.fps))
        pace = config.fps * reading["stride"] / info.fps
        if abs(pace - 1) > PACE_TOLERANCE and round(info.seconds * info.fps) != 1:
            log.warning("%s: every %d. of its %.4g frames a second, shown at %g: the movement is %.2f times as fast; "
                        "sample_stride=0 keeps its pace", path, reading["stride"], info.fps, config.fps, pace)
    frames = frame_stream(path, **reading, max_short_side=MAX_SHORT_SIDE)
    skeleton = models.detect(frames, config.fps, path, Path(path), reading, MAX_SHORT_SIDE,
                             max_gap_seconds=MAX_GAP_SECONDS)
    if len(skeleton) == 1:
        log.warning("%s: one frame only: the result is a still", path)
    return skeleton
