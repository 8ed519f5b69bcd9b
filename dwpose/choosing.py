"""Which detector reads people: the published one where its weights are, else the one for photographs, else the demo's."""
from __future__ import annotations

import logging
import os
from importlib.util import find_spec
from pathlib import Path

from dwpose.detector import Detector, PoseDetector
from dwpose.mediapipe_networks import DOWNLOAD, INSTALL, MODELS, RUNTIME

log = logging.getLogger(__name__)

FILES = {                           # below the weights' folder, in the order they are preferred
    "dwpose": ("dwpose/yolox_l.onnx", "dwpose/dw-ll_ucoco_384.onnx"),
    "mediapipe": tuple(f"mediapipe/{name}.tflite" for name in MODELS),
    "demo": ("demo/dwpose/detector.onnx", "demo/dwpose/pose.onnx"),
}


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
        raise ValueError(f"pose detector: expected auto, {', '.join(FILES)} (found {name!r}): choose one")
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


def check_detector(detector: str) -> None:
    """A ValueError for what is neither auto, a name of FILES nor an ONNX file."""
    if detector not in ("auto", *FILES) and Path(detector).suffix != ".onnx":
        raise ValueError(f"pose detector: expected auto, {', '.join(FILES)}, or an ONNX person detector (found {detector!r}): "
                         "choose one")


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
    check_detector(detector)
    files = detector_files(detector, keypoints, weights)
    if detector == "auto" and files == detector_files("demo", weights=weights):
        log.warning("pose detector: the demo's, which knows clay figures only: for people %s (or dwpose)", DOWNLOAD)
    if files[0].suffix == ".tflite":
        from dwpose.mediapipe import MediaPipeDetector              # with its runtime, which most runs do not need

        return MediaPipeDetector.load(files[0].parent, num_threads=num_threads or 1)
    return PoseDetector.load(*files, device, num_threads=num_threads, detector_channels=detector_channels,
                             pose_channels=pose_channels)
