"""The two ONNX networks of DWPose: YOLOX finds people, the pose network reads 133 keypoints in a box.

An ONNX file is opened on the asked device, its batch axis and contract checked once.
"""
from __future__ import annotations

import logging
import os
from functools import cache, cached_property, lru_cache
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from dwpose.skeleton import NUM_KEYPOINTS

log = logging.getLogger(__name__)

# -------------------------------------------------------------------------------------------------------- an ONNX file

CHANNEL_ORDERS = ("rgb", "bgr")


class OnnxModel:
    """One ONNX network with one image input; runs any number of images, in one call where its batch axis is dynamic."""

    def __init__(self, session: onnxruntime.InferenceSession, path: Path, channel_order: str = "rgb"):
        if channel_order not in CHANNEL_ORDERS:
            raise ValueError(f"channel order: expected rgb or bgr (found {channel_order!r})")
        image = session.get_inputs()[0]
        if len(session.get_inputs()) != 1 or len(image.shape) != 4:
            raise ValueError(f"{path}: expected one image input (N, 3, H, W) (found {image.name} {image.shape})")
        self.session, self.path, self.channel_order = session, path, channel_order
        self.input_name, self.input_shape = image.name, image.shape
        self.dynamic_batch = not isinstance(image.shape[0], int)

    @classmethod
    def load(cls, path: str | os.PathLike, device: str = "cpu", num_threads: int = 0, channel_order: str = "rgb"):
        """device: cpu, cuda or cuda:N. num_threads: CPU threads, 0 = as many as there are cores."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such ONNX file: python scripts/download_weights.py dwpose fetches the published ones")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(os.fspath(path), options, providers=providers(str(device)))
        except Exception as error:      # onnxruntime's own exceptions share no public base class
            raise ValueError(f"{path}: expected an ONNX network ({error}): download it again") from error
        if str(device).startswith("cuda") and "CUDAExecutionProvider" not in session.get_providers():
            warn_once("onnxruntime: CUDA was asked for, poses are detected on the CPU: install onnxruntime-gpu "
                       "(requirements-gpu.txt) in place of onnxruntime, and the CUDA and cuDNN libraries it names")
        return cls(session, path, channel_order)

    def ordered(self, image: np.ndarray, axis: int = -1) -> np.ndarray:
        """A view of an image, RGB along `axis`, in the channel order the network was asked to see."""
        return image if self.channel_order == "rgb" else np.flip(image, axis)

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """images: (N, 3, H, W) float32. Returns the outputs, each with N rows."""
        if self.dynamic_batch or len(images) == 1:
            return self.session.run(None, {self.input_name: images})
        runs = [self.session.run(None, {self.input_name: images[i:i + 1]}) for i in range(len(images))]
        return [np.concatenate(outputs) for outputs in zip(*runs)]


@cache
def warn_once(message: str) -> None:
    """One line in the life of the program, however many networks it holds for."""
    log.warning(message)


def providers(device: str) -> list:
    """ONNX Runtime providers for a torch-like device name. Published code asks for CUDA on every device; we do not."""
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise ValueError(f"device: expected cpu, cuda or cuda:N (found {device!r})")
    if kind == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return ["CPUExecutionProvider"]
    return [("CUDAExecutionProvider", {"device_id": int(index or 0)}), "CPUExecutionProvider"]


# ---------------------------------------------------------------------------------------------------- the two networks

INPUT_SIZE = 640                    # pixels, square
PAD_VALUE = 114                     # grey level right of and below the picture
STRIDES = (8, 16, 32)               # input pixels per cell, in the order of the output rows
CANDIDATE_SCORE = 0.1               # objectness * person score, before suppression
PERSON_SCORE = 0.3                  # and after it
MAX_OVERLAP = 0.45                  # IoU above which the weaker box goes
PERSON_CLASS = 5                    # column of the output: 4 box numbers, objectness, then 80 COCO classes
FRAMES_PER_RUN = 8
CROP_HEIGHT, CROP_WIDTH = 384, 288              # pixels
BOX_PADDING = 1.25                              # crop side per box side
BINS_PER_PIXEL = 2                              # SimCC bins per crop pixel
PIXEL_MEAN = np.array((123.675, 116.28, 103.53), np.float32)     # of ImageNet, RGB
PIXEL_STD = np.array((58.395, 57.12, 57.375), np.float32)
NORMALISED_LEVELS = ((np.arange(256, dtype=np.float32) - PIXEL_MEAN[:, None]) / PIXEL_STD[:, None])  # (3, 256)
CROPS_PER_RUN = 16


class PersonDetector(OnnxModel):
    """frames -> people's boxes. `channel_order` is what the network sees: MimicMotion and Fleximo feed it RGB."""

    def __init__(self, session, path, channel_order="rgb"):
        super().__init__(session, path, channel_order)
        output = session.get_outputs()[0].shape
        if self.input_shape[2:] != [INPUT_SIZE, INPUT_SIZE] or len(output) != 3 or output[-1] != 85:
            raise ValueError(f"{path}: expected YOLOX, (N, 3, 640, 640) to (N, 8400, 85) "
                             f"(found {self.input_shape} to {output}): is this the pose network?")

    def __call__(self, frames: np.ndarray) -> list[np.ndarray]:
        """frames: (F, H, W, 3) uint8 RGB. Per frame (n, 5): x1, y1, x2, y2 in frame pixels and score, best first."""
        people = []
        for start in range(0, len(frames), FRAMES_PER_RUN):
            batch = frames[start:start + FRAMES_PER_RUN]
            images = grey_squares(*batch[0].shape[:2])[:len(batch)]                 # (N, 3, 640, 640)
            for frame, image in zip(batch, images):
                ratio = letterbox(frame, self.ordered(image, axis=0))
            people += [person_boxes(rows, ratio) for rows in self.run(images)[0]]    # (N, 8400, 85)
        return people


@lru_cache(maxsize=1)
def grey_squares(height: int, width: int) -> np.ndarray:
    """The input buffer for frames of one size, used again in every run: allocating 39 MB costs as much as filling it."""
    return np.full((FRAMES_PER_RUN, 3, INPUT_SIZE, INPUT_SIZE), PAD_VALUE, np.float32)


def letterbox(frame: np.ndarray, square: np.ndarray) -> float:
    """Write (H, W, 3) uint8 to the top left of a grey `square` (3, 640, 640); gives input pixels per frame pixel."""
    height, width = frame.shape[:2]
    ratio = min(INPUT_SIZE / height, INPUT_SIZE / width)
    width, height = max(int(width * ratio), 1), max(int(height * ratio), 1)
    square[:, :height, :width] = cv2.split(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR))
    return ratio


@cache
def grid() -> np.ndarray:
    """Column, row and stride of every output row, (8400, 3): stride after stride, each in reading order."""
    cells = []
    for stride in STRIDES:
        side = INPUT_SIZE // stride
        rows, columns = np.divmod(np.arange(side * side), side)
        cells.append(np.stack([columns, rows, np.full(side * side, stride)], axis=1))
    return np.concatenate(cells)


def person_boxes(rows: np.ndarray, ratio: float) -> np.ndarray:
    """One picture's raw output (8400, 85) to people (n, 5), best first. Boxes may leave the frame, as published.

    Suppression is per class in the published code, so looking at people alone gives the same boxes.
    """
    scores = rows[:, 4] * rows[:, PERSON_CLASS]                                     # (8400,)
    kept = scores > CANDIDATE_SCORE
    rows, scores, cells = rows[kept], scores[kept], grid()[kept]
    stride = cells[:, 2:]
    centre = (rows[:, :2] + cells[:, :2]) * stride                                  # (n, 2) input pixels
    extent = np.exp(rows[:, 2:4]) * stride                                          # (n, 2) width, height
    boxes = np.concatenate([centre - extent / 2, centre + extent / 2], axis=1) / ratio
    kept = surviving(boxes, scores)
    kept = kept[scores[kept] > PERSON_SCORE]
    return np.concatenate([boxes[kept], scores[kept, None]], axis=1)                # (n, 5)


def surviving(boxes: np.ndarray, scores: np.ndarray, max_overlap: float = MAX_OVERLAP) -> np.ndarray:
    """Greedy non-maximum suppression: indices of the boxes that stay, best first."""
    order, kept = np.argsort(scores)[::-1], []
    while len(order):
        kept.append(order[0])
        order = order[1:][overlap(boxes[order[0]], boxes[order[1:]]) <= max_overlap]
    return np.array(kept, dtype=np.int64)


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box (4,) with many (n, 4), counting both border pixels as published."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:4], boxes[:, 2:4])
    shared = np.prod(np.maximum(0, high - low + 1), axis=1)                         # (n,)
    area = np.prod(box[2:4] - box[:2] + 1) + np.prod(boxes[:, 2:4] - boxes[:, :2] + 1, axis=1)
    return shared / (area - shared)


class PoseHead(OnnxModel):
    """(frame, box) pairs -> keypoints. `channel_order` is what the network sees; it was trained on RGB."""

    def __init__(self, session, path, channel_order="rgb"):
        super().__init__(session, path, channel_order)
        outputs = [output.shape for output in session.get_outputs()]
        wanted = [[NUM_KEYPOINTS, CROP_WIDTH * BINS_PER_PIXEL], [NUM_KEYPOINTS, CROP_HEIGHT * BINS_PER_PIXEL]]
        if self.input_shape[2:] != [CROP_HEIGHT, CROP_WIDTH] or not _agree([shape[1:] for shape in outputs], wanted):
            raise ValueError(f"{path}: expected a SimCC pose network, (N, 3, 384, 288) to (N, 133, 576) and "
                             f"(N, 133, 768) (found {self.input_shape} to {outputs}): is this the person detector?")

    def __call__(self, frames: np.ndarray, chosen: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Keypoints (N, 133, 3) of the box (x1, y1, x2, y2) in frames[chosen], N at a time.

        frames: (F, H, W, 3) uint8 RGB; chosen: (N,) frame indices; boxes: (N, 4) frame pixels.
        The third number is the raw score: usually in [0, 1], at most 0 where the network sees nothing.
        """
        return self.read([self.crops(frames[frame], box)[0] for frame, box in zip(chosen, boxes)], boxes)

    def crops(self, frame: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
        """What `read` needs of a frame (H, W, 3): one picture (384, 288, 3) uint8 RGB per box (n, 4)."""
        return [crop(frame, centre, extent) for centre, extent in zip(*crop_geometry(boxes))]

    def read(self, crops: list[np.ndarray], boxes: np.ndarray) -> np.ndarray:
        """Keypoints (N, 133, 3) in frame pixels from N crops (384, 288, 3) of boxes (N, 4)."""
        found = np.empty((len(boxes), NUM_KEYPOINTS, 3))
        centres, extents = crop_geometry(boxes)
        for start in range(0, len(boxes), CROPS_PER_RUN):
            part = slice(start, start + CROPS_PER_RUN)
            pictures = [self.ordered(picture) for picture in crops[part]]
            images = normalised(pictures, self._images[:len(pictures)])                         # (N, 3, 384, 288)
            points, scores = decode(*self.run(images))                                          # (N, 133, 2), (N, 133)
            scale = extents[part, None] / (CROP_WIDTH, CROP_HEIGHT)
            found[part, :, :2] = points * scale + centres[part, None] - extents[part, None] / 2
            found[part, :, 2] = scores
        return found

    @cached_property
    def _images(self) -> np.ndarray:
        """The input buffer, used again in every run: allocating 21 MB costs as much as filling it."""
        return np.empty((CROPS_PER_RUN, 3, CROP_HEIGHT, CROP_WIDTH), np.float32)


def crop_geometry(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centres and extents (N, 2) of the crops around boxes (N, 4): padded, the short side enlarged to 3:4."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    centres, extents = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) * BOX_PADDING
    aspect = CROP_WIDTH / CROP_HEIGHT
    width, height = extents.T
    wide = width > height * aspect
    return centres, np.stack([np.where(wide, width, height * aspect), np.where(wide, width / aspect, height)], axis=1)


def crop(frame: np.ndarray, centre: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """The crop (384, 288, 3) uint8 of a frame; outside the frame it is black."""
    size = (CROP_WIDTH, CROP_HEIGHT)
    return cv2.warpAffine(np.ascontiguousarray(frame), warp(centre, extent), size, flags=cv2.INTER_LINEAR)


def warp(centre: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Frame pixels to crop pixels (2, 3), through three float32 points as published: crops agree to the byte."""
    half = np.float32(extent[0] / 2)
    middle, target = np.float32(centre), np.float32((CROP_WIDTH / 2, CROP_HEIGHT / 2))
    up, target_up = np.float32((0, -half)), np.float32((0, -CROP_WIDTH / 2))
    left, target_left = up[::-1], target_up[::-1]
    return cv2.getAffineTransform(np.stack([middle, middle + up, middle + up + left]),
                                  np.stack([target, target + target_up, target + target_up + target_left]))


def normalised(crops: list[np.ndarray], images: np.ndarray | None = None) -> np.ndarray:
    """N times (H, W, 3) uint8 to (N, 3, H, W) float32, `images` if given, with ImageNet's mean and deviation, in order."""
    images = np.empty((len(crops), 3, *crops[0].shape[:2]), np.float32) if images is None else images
    for picture, planes in zip(crops, images):
        for channel, levels, plane in zip(cv2.split(picture), NORMALISED_LEVELS, planes):
            cv2.LUT(channel, levels, dst=plane)                                 # 8 times as fast as arithmetic
    return images


def decode(simcc_x: np.ndarray, simcc_y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heat lines (N, 133, bins) to points (N, 133, 2) in crop pixels and scores (N, 133): the weaker of two maxima."""
    bins = [lines.argmax(-1, keepdims=True) for lines in (simcc_x, simcc_y)]                    # (N, 133, 1) each
    points = np.concatenate(bins, axis=-1).astype(np.float64)
    scores = np.minimum(*(np.take_along_axis(lines, peak, -1)[..., 0] for lines, peak in zip((simcc_x, simcc_y), bins)))
    points[scores <= 0] = -1                                                        # published mark for "nothing"
    return points / BINS_PER_PIXEL, scores


def _agree(found: list, wanted: list) -> bool:
    """Whether the shapes are equal on every axis that the file states as a number."""
    return len(found) == len(wanted) and all(
        len(a) == len(b) and all(not isinstance(x, int) or x == y for x, y in zip(a, b)) for a, b in zip(found, wanted))
