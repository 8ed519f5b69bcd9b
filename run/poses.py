"""Poses a run takes from videos: of a driving video, and of its own video for the refinement."""
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from dwpose.skeleton import (BODY, is_present, LEFT_ELBOW, LEFT_HAND, LEFT_WRIST, RIGHT_ELBOW, RIGHT_HAND, RIGHT_WRIST,
                             Skeleton)
from media.video_reader import frame_stream, probe, VideoInfo
from run.models import Models
from run.settings import InferenceConfig

log = logging.getLogger(__name__)

MAX_SHORT_SIDE = 1080                      # pixels; larger frames are shrunk while they are read
MAX_GAP_SECONDS = 0.25                     # without the person, bridged
STRIDE_RATE = 24                           # frames per second: MimicMotion's stride grows with every multiple of it
PACE_TOLERANCE = 0.05                      # of the movement's speed, before it is worth a warning
ARMS = (LEFT_ELBOW, LEFT_WRIST, LEFT_HAND), (RIGHT_ELBOW, RIGHT_WRIST, RIGHT_HAND)
SEEN_TOLERANCE = 0.08                       # of the person's height
LONGEST_HAND = 0.14                         # of the person's height, from the wrist
FILLED_CONFIDENCE = 0.5
LONGEST_GAP = 1.0                           # seconds a hand that is not credible is filled in from before and after


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
    if Path(path).is_dir():
        log.info("%s: its pictures count as %g frames a second; sample_stride=1 takes each of them", path, info.fps)
    frames = frame_stream(path, **reading, max_short_side=MAX_SHORT_SIDE, strict=True)
    skeleton = models.detect(frames, config.fps, path, Path(path), reading, MAX_SHORT_SIDE,
                             max_gap_seconds=MAX_GAP_SECONDS, own_fps=info.fps)
    if len(skeleton) == 1:
        log.warning("%s: one frame only: the result is a still", path)
    return skeleton


def seen_skeleton(models: Models, video: np.ndarray, skeleton: Skeleton, trust: float) -> Skeleton:
    """The planned skeleton refined by the poses detected in the generated video: see `refined_plan`.

    The plan has the person's proportions; a detector is right to a few pixels. trust: 0 keeps every planned point and
    takes hands and face where the plan has none, 1 takes every point as seen. A point further off than SEEN_TOLERANCE of
    the person's height is a mistake of the video or of the detector, which the second pass would repeat.
    """
    try:
        seen = models.detect(video, skeleton.fps, "generated video")
    except ValueError as error:
        log.warning("%s: the refinement uses the planned skeleton", error)
        return skeleton
    return refined_plan(skeleton, seen, trust)


def refined_plan(plan: Skeleton, seen: Skeleton, trust: float) -> Skeleton:
    """The plan with its points moved towards the seen ones, which also take the place of those the plan is less sure of.

    A point counts in either as `Skeleton.seen` says. A hand keeps its place and turn to the forearm, or is left out.
    """
    body = plan.xy[:, BODY]                                                                      # (F, 17, 2)
    height = np.median(body[..., 1].max(axis=1) - body[..., 1].min(axis=1))                      # pixels
    offset = seen.xy - plan.xy                                                                   # (F, 133, 2)
    astray = np.linalg.norm(offset, axis=-1) > SEEN_TOLERANCE * height                           # (F, 133)
    planned, found = plan.seen, seen.seen                                                        # (F, 133)
    moved = plan.keypoints.copy()                                                                # (F, 133, 3)
    moved[..., :2] += np.where((planned & found & ~astray)[..., None], trust * offset, 0)
    surer = planned | (plan.confidence >= seen.confidence)                                       # (F, 133)
    keypoints = np.where(surer[..., None], moved, seen.keypoints)
    for elbow, wrist, hand in ARMS:
        if planned[:, hand].any():
            continue
        forearms = [direction(points[:, wrist, :2] - points[:, elbow, :2]) for points in (seen.keypoints, keypoints)]
        reach = turned(seen.xy[:, hand] - seen.xy[:, wrist, None], -forearms[0])                 # (F, 21, 2)
        there = seen.present[:, hand]                                                            # (F, 21)
        too_long = ((np.linalg.norm(reach, axis=-1) > LONGEST_HAND * height) & there).any(axis=1)
        arm = (found & ~(planned & astray))[:, [elbow, wrist]].all(axis=1)
        credible = arm & ~too_long & (found[:, hand].mean(axis=1) >= 0.5)                        # (F,)
        between, near = filled(reach, credible & there.all(axis=1), round(LONGEST_GAP * plan.fps))
        reach = np.where(credible[:, None, None], reach, between)
        confidence = np.where(credible[:, None], seen.confidence[:, hand], FILLED_CONFIDENCE * near[:, None])
        keypoints[:, hand, :2] = keypoints[:, wrist, None, :2] + turned(reach, forearms[1])
        keypoints[:, hand, 2] = confidence * is_present(keypoints[:, wrist])[:, None]
    keypoints[~is_present(keypoints)] = 0
    return replace(plan, keypoints=keypoints)


def direction(vectors: np.ndarray) -> np.ndarray:
    """Angles (F,) of vectors (F, 2), radians."""
    return np.arctan2(vectors[:, 1], vectors[:, 0])


def turned(vectors: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Vectors (F, N, 2) turned by an angle (F,) per frame."""
    cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]                              # (F, 1)
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([cosine * x - sine * y, sine * x + cosine * y], axis=-1)


def filled(values: np.ndarray, known: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Values (F, ...) with unknown frames interpolated; and which frames have a known one within `longest` frames, (F,)."""
    frames, given = np.arange(len(values)), np.flatnonzero(known)
    if not len(given):
        return values, known
    flat = values.reshape(len(values), -1)
    lines = np.stack([np.interp(frames, given, column[given]) for column in flat.T], axis=1)
    near = np.abs(frames[:, None] - given).min(axis=1) <= longest
    return lines.reshape(values.shape).astype(values.dtype), near
