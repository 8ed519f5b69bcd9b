"""The six networks of MediaPipe 0.10.21 that read one whole person, each from picture and region to picture pixels.

Models: Apache-2.0, from the wheel mediapipe==0.10.21 (scripts/download_weights.py photograph). What each gives and how
it is undone is the behaviour of that wheel's own graph "holistic landmark, CPU, complexity 1".
"""
from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dwpose.mediapipe_geometry import Detection, Region, crop, detections, sigmoid

DEFAULT_FOLDER = Path("weights") / "mediapipe"
DOWNLOAD = "python scripts/download_weights.py photograph"
RUNTIME = "ai_edge_litert.interpreter"
INSTALL = "pip install ai-edge-litert"
PRESENT = 0.5                       # a network's own score that its object is in the crop
NUM_POSE_POINTS = 33                # of 39 rows; the next two tell where to look in the next frame
HEATMAP_REACH = 4                   # cells about a point that refine it: the wheel's Python package uses kernel 9
HAND_DEPTH = 0.4                    # hand z is divided by this


class Model(NamedTuple):
    """What a file must contain: the input's side in pixels and the number of values of each output."""

    side: int
    outputs: tuple[int, ...]
    low: float = 0.0                # grey level 0 becomes this, 255 becomes 1


MODELS = {
    "pose_detection": Model(224, (2254 * 12, 2254), low=-1.0),
    "pose_landmark_full": Model(256, (195, 1, 256 * 256, 64 * 64 * 39, 117)),
    "hand_recrop": Model(256, (4,)),
    "hand_landmark_full": Model(224, (63, 1, 1, 63)),
    "face_detection_short_range": Model(128, (896 * 16, 896), low=-1.0),
    "face_landmark": Model(192, (1404, 1)),
}
POSE_STRIDES = (8, 16, 32, 32, 32)
FACE_STRIDES = (8, 16, 16, 16)


class Network:
    """One .tflite file, for one crop at a time on the CPU."""

    def __init__(self, interpreter, path: Path, model: Model):
        given, wanted = interpreter.get_input_details(), interpreter.get_output_details()
        shape, sizes = [list(map(int, one["shape"])) for one in given], tuple(int(np.prod(one["shape"])) for one in wanted)
        if shape != [[1, model.side, model.side, 3]] or sizes != model.outputs:
            raise ValueError(f"{path}: expected an input of 1x{model.side}x{model.side}x3 and outputs of {model.outputs} "
                             f"values (found {shape} and {sizes}): {DOWNLOAD}")
        self.interpreter, self.model = interpreter, model
        self.input, self.outputs = given[0]["index"], [one["index"] for one in wanted]

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        """(side, side, 3) uint8 to the outputs, each without its batch axis."""
        scale = np.float32((1 - self.model.low) / 255.0)
        self.interpreter.set_tensor(self.input, (pixels.astype(np.float32) * scale + np.float32(self.model.low))[None])
        self.interpreter.invoke()
        return [self.interpreter.get_tensor(index)[0] for index in self.outputs]


def runtime():
    """The module that runs .tflite files."""
    try:
        return import_module(RUNTIME)
    except ImportError as error:
        raise ImportError(f"photographs: the package that runs their detector is missing: {INSTALL}") from error


def load_network(folder: str | os.PathLike, name: str, num_threads: int = 1) -> Network:
    """One of MODELS from `folder`. ImportError without the runtime, FileNotFoundError or ValueError for the file."""
    path = Path(folder) / f"{name}.tflite"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file: {DOWNLOAD}")
    interpreter_of = runtime().Interpreter
    try:
        interpreter = interpreter_of(model_path=os.fspath(path), num_threads=num_threads)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:         # what the runtime raises for a damaged file
        raise ValueError(f"{path}: expected a .tflite network ({error}): {DOWNLOAD}") from error
    return Network(interpreter, path, MODELS[name])


@dataclass(frozen=True)
class Pose:
    """One person's body in picture pixels, as read in one region."""

    points: np.ndarray              # (33, 5) x, y, z in pixels, visibility and presence in [0, 1]; z 0 at the hips
    ahead: np.ndarray               # (2, 5) hip centre and a point on the circle about the body, for the next frame
    metres: np.ndarray              # (33, 3) x right, y down, z away from the camera, from the hips
    score: float                    # of being a person at all
    region: Region
    mask_logits: np.ndarray         # (256, 256) of the region: the person's pixels


@dataclass(frozen=True)
class Networks:
    """What reads a person. Every method takes the picture (H, W, 3) uint8 RGB."""

    pose_detector: Network
    pose_reader: Network
    hand_finder: Network
    hand_reader: Network
    face_detector: Network
    face_reader: Network

    @classmethod
    def load(cls, folder: str | os.PathLike = DEFAULT_FOLDER, num_threads: int = 1) -> Networks:
        return cls(*(load_network(folder, name, num_threads) for name in MODELS))

    def poses(self, picture: np.ndarray, region: Region) -> list[Detection]:
        """People in a region, best first; points: hip centre, a point of the circle about the body, and two more."""
        boxes, logits = self.pose_detector(crop(picture, region, 224, border="black"))
        return [projected(found, region) for found in detections(boxes, logits[:, 0], 224, POSE_STRIDES)]

    def pose(self, picture: np.ndarray, region: Region) -> Pose | None:
        """The body of the person the region is about; None where the network sees none."""
        return placed_pose(self.pose_reader(crop(picture, region, 256, border="edge")), region)

    def hand_circle(self, picture: np.ndarray, region: Region) -> np.ndarray:
        """Two points (2, 2) of a hand near the region's middle: its centre and one on the circle about it."""
        return region.to_picture(self.hand_finder(crop(picture, region, 256, border="edge"))[0].reshape(2, 2) / 256)

    def hand(self, picture: np.ndarray, region: Region) -> tuple[np.ndarray, float]:
        """21 points (21, 3) in pixels and the score in [0, 1] that a hand is there."""
        points, score, *_ = self.hand_reader(crop(picture, region, 224, border="edge"))
        return region.to_picture(points.reshape(21, 3).astype(np.float64) / 224 / (1, 1, HAND_DEPTH)), float(score.item())

    def faces(self, picture: np.ndarray, region: Region) -> list[Detection]:
        """Faces in a region, best first; points: right eye, left eye, nose, mouth, right ear, left ear."""
        boxes, logits = self.face_detector(crop(picture, region, 128, border="black"))
        return [projected(found, region) for found in detections(boxes, logits[:, 0], 128, FACE_STRIDES)]

    def face(self, picture: np.ndarray, region: Region) -> tuple[np.ndarray, float]:
        """468 points of the face mesh (468, 3) in pixels and the score in [0, 1] that a face is there."""
        points, logit = self.face_reader(crop(picture, region, 192, border="edge"))
        return region.to_picture(points.reshape(468, 3).astype(np.float64) / 192), float(sigmoid(logit).item())


def projected(found: Detection, region: Region) -> Detection:
    """The detection of a region in picture pixels; its box stays in the axes of the region."""
    return Detection(found.score, found.box, region.to_picture(found.points))


def placed_pose(outputs: list[np.ndarray], region: Region) -> Pose | None:
    """The pose network's outputs in picture pixels; None where its score is at most 0.5."""
    numbers, score, mask, heatmaps, metres = outputs
    if score.item() <= PRESENT:
        return None
    rows = numbers.reshape(39, 5).astype(np.float64)
    rows[:, :3] /= 256
    rows[:, 3:] = sigmoid(rows[:, 3:])
    placed = region.to_picture(refined(rows, heatmaps.reshape(64, 64, 39)))             # (39, 5)
    cos, sin = np.cos(region.angle), np.sin(region.angle)
    metres = metres.reshape(39, 3)[:NUM_POSE_POINTS] @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    return Pose(placed[:NUM_POSE_POINTS], placed[NUM_POSE_POINTS:NUM_POSE_POINTS + 2], metres, float(score.item()),
                region, mask.reshape(256, 256).copy())


def refined(points: np.ndarray, heatmaps: np.ndarray) -> np.ndarray:
    """Points (N, 2 or more) in [0, 1], each moved to the centre of mass of its heat map (h, w, N) nearby.

    Only where some cell nearby is at least 0.5; the mass is sigmoid(heat), a cell counts at its corner.
    """
    height, width, _ = heatmaps.shape
    refined = points.copy()
    for point, (x, y) in enumerate(points[:, :2]):
        column, row = int(x * width), int(y * height)
        if not (0 <= column < width and 0 <= row < height):
            continue
        rows = np.arange(max(row - HEATMAP_REACH, 0), min(row + HEATMAP_REACH + 1, height))
        columns = np.arange(max(column - HEATMAP_REACH, 0), min(column + HEATMAP_REACH + 1, width))
        mass = sigmoid(heatmaps[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1, point])
        if mass.max() >= PRESENT:
            refined[point, 0] = (mass * columns).sum() / mass.sum() / width
            refined[point, 1] = (mass * rows[:, None]).sum() / mass.sum() / height
    return refined
