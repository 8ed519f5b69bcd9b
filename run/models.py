"""The learnt parts of a run, each loaded when first needed: pose networks, text-to-motion, and the chosen renderer."""
from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, TYPE_CHECKING

import numpy as np
import torch

import dwpose
import media.video_reader
from dwpose.choosing import load_detector
from dwpose.detector import Detector, with_short_gaps_filled
from dwpose.skeleton import Skeleton
from llm_planner import Segment
from renderers import Renderer, renderer_class
from run.folder import content_hash
from run.settings import InferenceConfig
from runtime.device import chosen_device, chosen_dtype, free_memory, generator_for, keep_freed_memory
from runtime.processes import join_processes, Processes
from runtime.progress import Steps
from t2m.motion import Motion

if TYPE_CHECKING:
    from t2m.generate import TextToMotion

log = logging.getLogger(__name__)

CODE = [*sorted(Path(dwpose.__path__[0]).glob("*.py")), Path(media.video_reader.__file__)]      # whose change makes other poses


class Models:
    """Everything with weights, on one device."""

    def __init__(self, config: InferenceConfig, processes: Processes | None = None, keep_loaded: bool = False,
                 progress: bool = True):
        """processes: who makes each video together; None is all that the launcher started. keep_loaded: text-to-motion
        and the renderer's networks stay in memory side by side. progress: bars on the terminal."""
        self.config, self.keep_loaded, self.progress = config, keep_loaded, progress
        self.device = chosen_device(config.device)
        keep_freed_memory(self.device)
        self.dtype = chosen_dtype(config.dtype, self.device)
        self.processes = processes or join_processes(torch.device(self.device))
        self._renderer: Renderer | None = None
        self._motion: tuple[str, TextToMotion] | None = None        # by the folder it was loaded from

    @cached_property
    def _detector(self) -> Detector:
        pose = self.config.pose
        return load_detector(pose.detector, pose.keypoints, self.device, num_threads=self.config.num_threads,
                             detector_channels=pose.detector_channels, pose_channels=pose.keypoint_channels)

    def detect(self, frames: np.ndarray | Iterable[np.ndarray], fps: float, source: str, *seen: Any,
               max_gap_seconds: float = 0.0, own_fps: float = math.inf, tell_others: bool = True) -> Skeleton:
        """The chosen person in frames (F, H, W, 3) uint8 RGB, or in one frame after the other.

        A frame that is repeated to reach `fps` is looked at once. own_fps: the rate without what is repeated. seen: what decides the frames (a file, a reading rate); with it the answer is looked up in pose.cache.
        """
        pose = self.config.pose

        def find() -> Skeleton:
            times: list[int] = []
            found = self._detector.find(once(frames, times), min(fps, own_fps), person=pose.person, source=source, tell_others=tell_others)
            return replace(found, keypoints=np.repeat(found.keypoints, times, axis=0), fps=fps)

        networks = *pose.networks, pose.detector_channels, pose.keypoint_channels
        found = cached_detection(pose.cache if seen else "", find, *seen, fps, pose.person, *networks)
        return with_short_gaps_filled(found, source, max_gap_seconds)

    def boxes(self, picture: np.ndarray) -> np.ndarray:
        """Everybody in a picture (H, W, 3): (n, 5) left, top, right, bottom in pixels, score."""
        return self._detector.find_with_boxes(picture[None], tell_others=False)[1][0]

    def motions(self, segments: list[Segment]) -> list[Motion]:
        """One 3D motion per segment; a warning names each that the weights were never taught, or that came out as another."""
        t2m = self._text_to_motion()
        sampled = self.config.motion.sampling == "sampled"
        generator = generator_for(self.config.seed, "motion") if sampled else None
        made = [t2m(segment.text, segment.seconds, generator)
                for segment in Steps(segments, desc="motion", unit="segment", disable=not self.progress, dynamic_ncols=True)]
        told = [(segment.text, t2m.unknown_motion(segment.text, motion)) for segment, motion in zip(segments, made)]
        for (text, reason), alike in groupby(enumerate(told, start=1), key=lambda each: each[1]):
            (first, _), *others = alike                           # the parts of a long action are alike
            if reason:
                log.warning("segment%s '%s': %s", f"s {first} to {first + len(others)}" if others else f" {first}", text, reason)
        return made

    def _text_to_motion(self) -> TextToMotion:
        from t2m.generate import TextToMotion       # only where there is a prompt

        weights = self.config.motion.weights
        if self._motion is not None and self._motion[0] == weights:
            return self._motion[1]
        loaded = TextToMotion.load(weights, self.device)
        self._motion = (weights, loaded) if self.keep_loaded else None
        return loaded

    def renderer(self, config: InferenceConfig) -> Renderer:
        """The chosen renderer; where only settings differ from the last call it goes on with the networks it has."""
        kind, settings = renderer_class(config.renderer), config.renderer_settings
        if type(self._renderer) is not kind or self._renderer.settings != settings:
            earlier = self._renderer if type(self._renderer) is kind else None
            self._renderer = kind.load(settings, self.device, dtype=self.dtype, memory_limit_gb=config.memory_limit_gb,
                                       processes=self.processes, keep_loaded=self.keep_loaded, earlier=earlier)
        return self._renderer

    def help(self) -> int:
        """In a process beside the main one: takes part in its videos, silently, until it is done; the exit code."""
        logging.disable(logging.WARNING)
        while (job := self.processes.shared()) is not None:
            self.renderer(self.config).help(job)
        return 0

    def __enter__(self) -> Models:
        return self

    def __exit__(self, kind, error, traceback) -> None:
        """The main process is done with videos. An interruption reaches the other processes by itself."""
        if kind is None or issubclass(kind, Exception):
            self.processes.shared(None)


def check_renderer(config: InferenceConfig, num_frames: int) -> None:
    """A one-line ValueError for what the chosen renderer cannot make on this device, before anything is loaded."""
    config.renderer_settings.check_files()                      # before the renderer's networks are imported: seconds
    ask_renderer(renderer_class(config.renderer).check, config, num_frames)


def render_cost(config: InferenceConfig, num_frames: int) -> tuple[float | None, int | None]:
    """About how many seconds and bytes the chosen renderer takes for a video and its refinements; None: not known."""
    return ask_renderer(renderer_class(config.renderer).cost, config, num_frames, passes=1 + config.refinements)


def ask_renderer(question: Callable, config: InferenceConfig, num_frames: int, **more):
    """What a renderer class's `check` or `cost` answers about a video on this machine."""
    device = chosen_device(config.device)
    return question(config.renderer_settings, config.size, num_frames, free_memory(device, config.memory_limit_gb),
                    device=device, dtype=chosen_dtype(config.dtype, device), **more)


def once(frames: Iterable[np.ndarray], times: list[int]) -> Iterator[np.ndarray]:
    """The frames without those that are the same array as the one before; how often each of them came is put into `times`."""
    last = None
    for frame in frames:
        if frame is last:
            times[-1] += 1
        else:
            last = frame
            times.append(1)
            yield frame


def cached_detection(folder: str, detect: Callable[[], Skeleton], *seen: Any) -> Skeleton:
    """What `detect` found earlier, in this run or another, for content equal to `seen`; otherwise it is called, and its result kept.

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
    path.parent.mkdir(parents=True, exist_ok=True)
    skeleton.save(path)                       # appears whole or not at all
    return skeleton
