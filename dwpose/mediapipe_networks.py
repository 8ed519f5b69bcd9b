"""The six networks of MediaPipe 0.10.21 that read one whole person, each from a picture and a square of it to picture pixels.

Models: Apache-2.0, from the wheel mediapipe==0.10.21 (scripts/download_weights.py photograph). What each gives and how
it is undone is the behaviour of that wheel's own graph "holistic landmark, CPU, complexity 1".

Everything is in picture pixels, x right and y down; angles are radians, clockwise on the screen. The published graph
keeps rectangles in shares of the picture, but every rectangle it crops is a square in pixels once letterboxed.
The crop is that of OpenCV 4 on uint8, which the networks were deployed with; the warps of OpenCV 5 give other values.
"""
from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

DEFAULT_FOLDER = Path("weights") / "mediapipe"
DOWNLOAD = "python scripts/download_weights.py photograph"
RUNTIME = "ai_edge_litert.interpreter"
INSTALL = "pip install ai-edge-litert"
PRESENT = 0.5                       # a network's own score that its object is in the crop
MAX_OVERLAP = 0.3                   # IoU above which two detections are of one object
NUM_POSE_POINTS = 33                # of 39 rows; the next two tell where to look in the next frame
HEATMAP_REACH = 4                   # cells about a point that refine it: the wheel's Python package uses kernel 9
HAND_DEPTH = 0.4                    # hand z is divided by this
STEPS = 32                          # a sampled position lies on a grid of 1/32 pixel
FARTHEST = STEPS * (2**15 - 2)      # positions are counted in 16 bits
BORDERS = {"black": cv2.BORDER_CONSTANT, "edge": cv2.BORDER_REPLICATE}
RIGHT, UP = 0.0, np.pi / 2          # where a direction points once its region stands upright; y counted upwards
DOWN = -np.pi / 2
PALM = (0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18)        # hand points without the outer finger joints


class Region(NamedTuple):
    """A square of the picture."""

    x: float                        # centre, pixels
    y: float
    side: float                     # pixels
    angle: float                    # radians, clockwise

    def moved(self, scale: float, down: float = 0.0) -> Region:
        """The region scaled about a centre that first moves by `down` sides along the region's own y axis."""
        shift = self.side * down
        return Region(self.x - shift * np.sin(self.angle), self.y + shift * np.cos(self.angle), self.side * scale,
                      self.angle)

    def to_picture(self, points: np.ndarray) -> np.ndarray:
        """Points (N, 2 or more) in [0, 1] of the region to picture pixels; a third number is scaled, others stay."""
        u, v = points[:, 0] - 0.5, points[:, 1] - 0.5
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        placed = np.array(points, np.float64)
        placed[:, 0] = (cos * u - sin * v) * self.side + self.x
        placed[:, 1] = (sin * u + cos * v) * self.side + self.y
        placed[:, 2:3] *= self.side
        return placed

    def from_picture(self, points: np.ndarray) -> np.ndarray:
        """Picture pixels (N, 2) to [0, 1] of the region (N, 2)."""
        u, v = (points[:, 0] - self.x) / self.side, (points[:, 1] - self.y) / self.side
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.stack([cos * u + sin * v, cos * v - sin * u], axis=1) + 0.5


def whole(size: tuple[int, int]) -> Region:
    """The square around a picture of (height, width) pixels."""
    height, width = size
    return Region(width / 2, height / 2, float(max(height, width)), 0.0)


def half_turn(angle: float) -> float:
    """The angle in [-pi, pi)."""
    return angle - 2 * np.pi * np.floor((angle + np.pi) / (2 * np.pi))


def turned(start: np.ndarray, end: np.ndarray, target: float) -> float:
    """The angle of a region in which the direction start -> end (x, y) points to `target`."""
    return half_turn(target - np.arctan2(start[1] - end[1], end[0] - start[0]))


def aligned(centre: np.ndarray, rim: np.ndarray, target: float) -> Region:
    """The region about a circle through `rim`, turned so that `rim` lies towards `target` of the centre."""
    side = 2 * np.hypot(*(rim[:2] - centre[:2]))
    return Region(float(centre[0]), float(centre[1]), float(side), float(turned(centre, rim, target)))


def around(points: np.ndarray, angle: float, scale: float, down: float = 0.0) -> Region:
    """The region about the upright box of points (N, 2 or more): its longer side times `scale`.

    The centre moves by `down` box heights along the region's own y axis.
    """
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    return _square((low + high) / 2, high - low, angle, scale, down)


def around_palm(hand: np.ndarray, scale: float, down: float) -> Region:
    """The region of a hand from its own 21 points (21, 2 or more), fingers up; as `around`, in the hand's axes."""
    knuckles = ((hand[5] + hand[13]) / 2 + hand[9]) / 2
    angle = turned(hand[0], knuckles, UP)
    palm = hand[list(PALM), :2]
    middle = (palm.min(axis=0) + palm.max(axis=0)) / 2
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    along = (palm - middle) @ axes                                                      # (12, 2) in the hand's axes
    low, high = along.min(axis=0), along.max(axis=0)
    return _square(middle + axes @ ((low + high) / 2), high - low, angle, scale, down)


def _square(centre: np.ndarray, extent: np.ndarray, angle: float, scale: float, down: float) -> Region:
    """extent: (width, height) of a box in the region's axes."""
    x, y = centre + extent[1] * down * np.array([-np.sin(angle), np.cos(angle)])
    return Region(float(x), float(y), float(extent.max() * scale), float(angle))


class Agreement(NamedTuple):
    """How near a region from the frame before must lie to the one measured in this frame, to be taken instead."""

    degrees: float
    shift: float                    # of the centre, along each axis, in sides
    growth: float                   # of the side, in sides
    inner: float                    # the part of the region, about its centre, that must hold the points


HAND_AGREEMENT = Agreement(40, 0.2, 0.4, 0.9)
FACE_AGREEMENT = Agreement(15, 0.1, 0.3, 0.8)


def steadied(now: Region, before: Region | None, points: np.ndarray | None, within: Agreement) -> Region:
    """The region `before`, which follows the frame before's points (N, 2), where it agrees with `now`; else `now`."""
    if before is None:
        return now
    there = now.from_picture(np.array([[before.x, before.y]]))[0] - 0.5                 # (2,) sides
    inside = np.abs(now.from_picture(points[:, :2]) - 0.5).max() < within.inner / 2
    agrees = (abs(np.degrees(half_turn(before.angle - now.angle))) <= within.degrees
              and np.abs(there).max() <= within.shift and abs(before.side - now.side) <= within.growth * now.side)
    return before if agrees and inside else now


def crop(picture: np.ndarray, region: Region, size: int, *, border: str) -> np.ndarray:
    """(H, W, 3) uint8 to (size, size, 3) uint8. border: what lies outside the picture, "black" or "edge".

    Sample (i, j) lies i/size and j/size along the sides from the region's corner, without a half-pixel offset, rounded
    to 1/32 pixel. With positions in integers `cv2.remap` is exact, which its warps of OpenCV 5 are not.
    """
    top_left, along, down = corner_and_sides(region)
    share = np.arange(size) / size
    x, y = (np.rint((top_left[axis] + share * along[axis] + share[:, None] * down[axis]) * STEPS)
            .clip(-FARTHEST, FARTHEST).astype(np.int32) for axis in (0, 1))             # (size, size) each, 1/32 pixel
    pixels = np.stack([x // STEPS, y // STEPS], axis=2).astype(np.int16)                # (size, size, 2)
    between = (y % STEPS * STEPS + x % STEPS).astype(np.uint16)                         # (size, size)
    return cv2.remap(picture, pixels, between, cv2.INTER_LINEAR, borderMode=BORDERS[border])


def corner_and_sides(region: Region) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Top left corner and the sides to the right and down, (2,) pixels each, rounded as OpenCV's box points are."""
    single = np.float32
    angle = np.radians(np.float64(single(single(region.angle) * single(180) / np.pi)))
    half_cos, half_sin = single(np.cos(angle)) * single(0.5), single(np.sin(angle)) * single(0.5)
    x, y, side = single(region.x), single(region.y), single(region.side)
    bottom_left = np.array([x - half_sin * side - half_cos * side, y + half_cos * side - half_sin * side], single)
    top_left = np.array([x + half_sin * side - half_cos * side, y - half_cos * side - half_sin * side], single)
    top_right = 2 * np.array([x, y], single) - bottom_left
    top_left, top_right, bottom_left = (corner.astype(np.float64) for corner in (top_left, top_right, bottom_left))
    return top_left, top_right - top_left, bottom_left - top_left


@cache
def anchors(size: int, strides: tuple[int, ...]) -> np.ndarray:
    """Anchor centres (N, 2) in [0, 1] of an SSD detector for `size` input pixels: two per layer in every cell.

    Layers of equal stride that follow one another share their cells, which go row by row.
    """
    layers = []
    for stride in dict.fromkeys(strides):
        cells = -(-size // stride)
        rows, columns = np.divmod(np.arange(cells * cells), cells)
        centres = (np.stack([columns, rows], axis=1) + 0.5) / cells                     # (cells^2, 2)
        layers.append(np.repeat(centres, 2 * strides.count(stride), axis=0))
    return np.concatenate(layers)


class Detection(NamedTuple):
    """One object an SSD detector sees; in [0, 1] of its input, or in pixels once projected."""

    score: float
    box: np.ndarray                 # (2, 2) low corner, high corner
    points: np.ndarray              # (K, 2)


def detections(boxes: np.ndarray, logits: np.ndarray, size: int, strides: tuple[int, ...]) -> list[Detection]:
    """Raw boxes (N, 4 + 2K) in input pixels and logits (N,) to objects, best first.

    Suppression is weighted: all that overlap the best are averaged by score, and the score stays the best one's.
    """
    scores = sigmoid(np.clip(logits, -100, 100))
    kept = np.flatnonzero(scores >= PRESENT)
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    centres = anchors(size, strides)[kept, None]                                        # (n, 1, 2)
    numbers = boxes[kept].astype(np.float64).reshape(len(kept), boxes.shape[1] // 2, 2) / size          # (n, 2 + K, 2)
    middle, extent = numbers[:, :1] + centres, numbers[:, 1:2]
    rows = np.concatenate([middle - extent / 2, middle + extent / 2, numbers[:, 2:] + centres], axis=1)
    scores, found = scores[kept], []
    while len(rows):
        alike = overlaps(rows[0, :2], rows[:, :2]) > MAX_OVERLAP
        alike[0] = True                                                                 # also where its box is empty
        mean = np.average(rows[alike], axis=0, weights=scores[alike])                   # (2 + K, 2)
        found.append(Detection(float(scores[0]), mean[:2], mean[2:]))
        rows, scores = rows[~alike], scores[~alike]
    return found


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union (n,) of one box (2, 2), low and high corner, with many (n, 2, 2)."""
    shared = np.prod(np.maximum(np.minimum(box[1], boxes[:, 1]) - np.maximum(box[0], boxes[:, 0]), 0), axis=1)
    areas = np.prod(np.maximum(boxes[:, 1] - boxes[:, 0], 0), axis=1)
    union = areas + np.prod(np.maximum(box[1] - box[0], 0)) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x) in float64."""
    return 1 / (1 + np.exp(-np.clip(np.asarray(logits, np.float64), -700, 700)))


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
    numbers, score, mask, heatmaps, _ = outputs
    if score.item() <= PRESENT:
        return None
    rows = numbers.reshape(39, 5).astype(np.float64)
    rows[:, :3] /= 256
    rows[:, 3:] = sigmoid(rows[:, 3:])
    placed = region.to_picture(refined(rows, heatmaps.reshape(64, 64, 39)))             # (39, 5)
    return Pose(placed[:NUM_POSE_POINTS], placed[NUM_POSE_POINTS:NUM_POSE_POINTS + 2], float(score.item()), region,
                mask.reshape(256, 256).copy())


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
