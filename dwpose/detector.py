"""frames -> `Skeleton`: find the people, follow one of them through the frames, read that person's keypoints.

Where we leave the published code: it takes everybody in a frame in order of confidence and, when nobody is found,
reads a "person" off the whole picture. Here one person is followed, and nobody is nobody.
`load_detector` takes the published networks where their weights are, else those for photographs, else the demo's.
"""
from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np

from dwpose.mediapipe_networks import DOWNLOAD, INSTALL, MODELS, RUNTIME
from dwpose.networks import FRAMES_PER_RUN, PERSON_SCORE, PersonDetector, PoseHead
from dwpose.skeleton import BODY, is_present, is_seen, NUM_KEYPOINTS, Skeleton
from dwpose.tracking import areas, chosen_track, with_short_gaps_filled

log = logging.getLogger(__name__)

MIN_BODY_KEYPOINTS = 8          # confident body keypoints that make a person
CROWD = 10                      # of more people than this, the smallest are left out


@dataclass(frozen=True)
class PoseDetector:
    """Two ONNX networks with the contracts of yolox_l.onnx and dw-ll_ucoco_384.onnx, official or ours."""

    people: PersonDetector
    head: PoseHead

    @classmethod
    def load(cls, detector_onnx: str | os.PathLike, pose_onnx: str | os.PathLike, device: str = "cpu", *,
             num_threads: int = 0, detector_channels: str = "rgb", pose_channels: str = "rgb") -> PoseDetector:
        """num_threads: CPU threads per network, 0 = all. Channel orders default to what MimicMotion trained with."""
        return cls(PersonDetector.load(detector_onnx, device, num_threads, detector_channels),
                   PoseHead.load(pose_onnx, device, num_threads, pose_channels))

    def detect(self, frames: np.ndarray | Iterable[np.ndarray], fps: float = 1.0, *, person: str | int = "largest",
               source: str = "frames", max_gap_seconds: float = 0.0) -> Skeleton:
        """One person through all frames, as `find`; gaps up to max_gap_seconds are filled, and longer ones named."""
        return with_short_gaps_filled(self.find(frames, fps, person=person, source=source), source, max_gap_seconds)

    def find(self, frames: np.ndarray | Iterable[np.ndarray], fps: float = 1.0, *, person: str | int = "largest",
             source: str = "frames") -> Skeleton:
        """One person through all frames. Frames without the person have confidence 0.

        frames: (F, H, W, 3) uint8 RGB, or one frame after the other, of which only the people are kept. person:
        "largest", "center", or an index counted from the left. source: what to call the frames in messages.
        """
        return self.find_with_boxes(frames, fps, person=person, source=source)[0]

    def find_with_boxes(self, frames: np.ndarray | Iterable[np.ndarray], fps: float = 1.0, *, person: str | int = "largest",
                        source: str = "frames") -> tuple[Skeleton, list[np.ndarray]]:
        """As `find`, and per frame the boxes (n, 5) of everybody: left, top, right, bottom in pixels, score."""
        boxes, crops, size = self._people(frames, source)                       # F times (n, 5), n crops
        remedy = f"use a {'front-facing picture of' if len(boxes) == 1 else 'clip with'} the whole body"
        if not any(map(len, boxes)):
            raise ValueError(f"{source}: no person found (frames: {len(boxes)}, no box scores above {PERSON_SCORE}): {remedy}")
        chosen, places = chosen_track(boxes, size, person, source)              # (K,), (K,)
        track = np.stack([boxes[frame][place, :4] for frame, place in zip(chosen, places)])     # (K, 4)
        pictures = [crops[frame][place] for frame, place in zip(chosen, places)]                # K times (384, 288, 3)
        keypoints = np.zeros((len(boxes), NUM_KEYPOINTS, 3), np.float32)
        keypoints[chosen] = self.head.read(pictures, track)
        keypoints[..., 2] = keypoints[..., 2].clip(0, 1)                        # raw scores may exceed 1
        keypoints[~is_present(keypoints)] = 0
        best = int(is_seen(keypoints[:, BODY]).sum(axis=1).max())
        if best < MIN_BODY_KEYPOINTS:
            raise ValueError(f"{source}: no person with >= {MIN_BODY_KEYPOINTS} confident body keypoints "
                             f"(best has {best}): {remedy}")
        return Skeleton(keypoints, size, fps), boxes

    def _people(self, frames: np.ndarray | Iterable[np.ndarray],
                source: str) -> tuple[list[np.ndarray], list[list[np.ndarray]], tuple[int, int]]:
        """Per frame the people's boxes (n, 5) and n crops (384, 288, 3), and the frames' (height, width)."""
        boxes, crops, size = [], [], None
        for batch in batches(frames, FRAMES_PER_RUN):
            for frame in batch:
                size = size or frame.shape[:2]
                if frame.ndim != 3 or frame.shape != (*size, 3) or frame.dtype != np.uint8 or 0 in size:
                    raise ValueError(f"{source}: expected frames (F, H, W, 3) uint8 RGB "
                                     f"(found {frame.shape} {frame.dtype})")
            for frame, found in zip(batch, self.people(batch)):
                found = found[np.sort(np.argsort(-areas(found), kind="stable")[:CROWD])]
                boxes.append(found)
                crops.append(self.head.crops(frame, found[:, :4]))
        if not boxes:
            raise ValueError(f"{source}: expected frames (F, H, W, 3) uint8 RGB (found none)")
        return boxes, crops, size

    def detect_everybody(self, frames: np.ndarray) -> list[np.ndarray]:
        """Per frame all people (n, 133, 3), best box first, with raw scores as published; n may be 0."""
        boxes = self.people(frames)
        owner = np.repeat(np.arange(len(frames)), [len(found) for found in boxes])          # (N,) frame of each box
        keypoints = self.head(frames, owner, np.concatenate(boxes)[:, :4])                  # (N, 133, 3)
        return [keypoints[owner == frame] for frame in range(len(frames))]


def batches(frames: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    """The frames in lists of `size`, the last one shorter."""
    remaining = iter(frames)
    while batch := list(islice(remaining, size)):
        yield batch


# ------------------------------------------------------------------------------------------------------ which detector

FILES = {                           # below the weights' folder, in the order they are preferred
    "dwpose": ("dwpose/yolox_l.onnx", "dwpose/dw-ll_ucoco_384.onnx"),
    "mediapipe": tuple(f"mediapipe/{name}.tflite" for name in MODELS),
    "demo": ("demo/dwpose/detector.onnx", "demo/dwpose/pose.onnx"),
}


class Detector(Protocol):
    """What every detector does with frames (F, H, W, 3) uint8 RGB, or one frame after the other: see `PoseDetector`."""

    def find(self, frames: np.ndarray | Iterable[np.ndarray], fps: float = 1.0, *, person: str | int = "largest",
             source: str = "frames") -> Skeleton: ...

    def find_with_boxes(self, frames: np.ndarray | Iterable[np.ndarray], fps: float = 1.0, *, person: str | int = "largest",
                        source: str = "frames") -> tuple[Skeleton, list[np.ndarray]]: ...

    def detect_everybody(self, frames: np.ndarray) -> list[np.ndarray]: ...


def has_photograph_weights(weights: str | os.PathLike = "weights") -> bool:
    """Whether the detector for photographs can be loaded: its networks are below `weights`, and their runtime is installed."""
    if any(not (Path(weights) / file).is_file() for file in FILES["mediapipe"]):
        return False
    if find_spec(RUNTIME.split(".")[0]) is None:
        log.warning("pose detector: the one for photographs is left out, its runtime is missing: %s", INSTALL)
        return False
    return True


def chosen_detector(weights: str | os.PathLike = "weights", name: str = "auto") -> str:
    """dwpose, mediapipe or demo: `name`, or for "auto" the best whose files are below `weights`; loads nothing."""
    if name not in ("auto", *FILES):
        raise ValueError(f"pose detector: expected auto, {', '.join(FILES)} (found {name!r})")
    missing = {kind: [file for file in files if not (Path(weights) / file).is_file()] for kind, files in FILES.items()}
    if name != "auto":
        if missing[name]:
            remedy = {"dwpose": "python scripts/download_weights.py dwpose", "mediapipe": DOWNLOAD}.get(name, "git checkout")
            raise FileNotFoundError(f"{Path(weights) / missing[name][0]}: no such file: {remedy}")
        return name
    for kind in FILES:
        if has_photograph_weights(weights) if kind == "mediapipe" else not missing[kind]:
            return kind
    raise FileNotFoundError(f"{weights}: expected a detector's files (found none, not even {missing['demo'][0]}): {DOWNLOAD}")


def detector_files(detector: str, keypoints: str = "", weights: str | os.PathLike = "weights") -> list[Path]:
    """The files of a detector's networks. detector: auto or a name of FILES; or an ONNX file, whose keypoints are another."""
    if detector in ("auto", *FILES):
        return [Path(weights) / file for file in FILES[chosen_detector(weights, detector)]]
    return [Path(detector), Path(keypoints)]


def load_detector(detector: str = "auto", keypoints: str = "", device: str = "cpu", *, weights: str | os.PathLike = "weights",
                  num_threads: int = 0, detector_channels: str = "rgb", pose_channels: str = "rgb") -> Detector:
    """The detector of these settings, ready to read; `detector_files` tells what they mean.

    num_threads: CPU threads per network, 0 = as many as suit it. Channel orders: as in `PoseDetector.load`.
    """
    files = detector_files(detector, keypoints, weights)
    if files[0].suffix == ".tflite":
        from dwpose.mediapipe import MediaPipeDetector              # with its runtime, which most runs do not need

        return MediaPipeDetector.load(files[0].parent, num_threads=num_threads or 1)
    return PoseDetector.load(*files, device, num_threads=num_threads, detector_channels=detector_channels,
                             pose_channels=pose_channels)
