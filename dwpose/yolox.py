"""People as boxes: YOLOX with the contract of DWPose's yolox_l.onnx (raw pixels in, undecoded boxes out)."""
from __future__ import annotations

from functools import cache, lru_cache

import cv2
import numpy as np

from dwpose.session import OnnxModel

INPUT_SIZE = 640                    # pixels, square
PAD_VALUE = 114                     # grey level right of and below the picture
STRIDES = (8, 16, 32)               # input pixels per cell, in the order of the output rows
CANDIDATE_SCORE = 0.1               # objectness * person score, before suppression
PERSON_SCORE = 0.3                  # and after it
MAX_OVERLAP = 0.45                  # IoU above which the weaker box goes
PERSON_CLASS = 5                    # column of the output: 4 box numbers, objectness, then 80 COCO classes
FRAMES_PER_RUN = 8


class PersonDetector(OnnxModel):
    """frames -> people's boxes. `channel_order` is what the network sees: MimicMotion and Fleximo feed it RGB."""

    def __init__(self, session, path, channel_order="rgb"):
        super().__init__(session, path, channel_order)
        output = session.get_outputs()[0].shape
        if self.input_shape[2:] != [INPUT_SIZE, INPUT_SIZE] or len(output) != 3 or output[-1] != 85:
            raise ValueError(f"{path}: expected YOLOX, (N, 3, 640, 640) to (N, 8400, 85) "
                             f"(found {self.input_shape} to {output}): is this the pose network?")

    def __call__(self, frames: np.ndarray, min_score: float = PERSON_SCORE) -> list[np.ndarray]:
        """frames: (F, H, W, 3) uint8 RGB. Per frame (n, 5): x1, y1, x2, y2 in frame pixels and score, best first."""
        people = []
        for start in range(0, len(frames), FRAMES_PER_RUN):
            batch = frames[start:start + FRAMES_PER_RUN]
            images = grey_squares(*batch[0].shape[:2])[:len(batch)]                 # (N, 3, 640, 640)
            for frame, image in zip(batch, images):
                ratio = letterbox(frame, self.ordered(image, axis=0))
            people += [person_boxes(rows, ratio, min_score) for rows in self.run(images)[0]]    # (N, 8400, 85)
        return people


@lru_cache(maxsize=1)
def grey_squares(height: int, width: int) -> np.ndarray:
    """Where frames of one size are letterboxed, run after run: to ask for 39 MB anew costs as much as to fill them."""
    return np.full((FRAMES_PER_RUN, 3, INPUT_SIZE, INPUT_SIZE), PAD_VALUE, np.float32)


def letterbox(frame: np.ndarray, square: np.ndarray) -> float:
    """Write (H, W, 3) uint8 to the top left of a grey `square` (3, 640, 640); gives input pixels per frame pixel."""
    height, width = frame.shape[:2]
    ratio = min(INPUT_SIZE / height, INPUT_SIZE / width)
    width, height = max(int(width * ratio), 1), max(int(height * ratio), 1)
    square[:, :height, :width] = cv2.split(cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR))
    return ratio


@cache
def grid(input_size: int = INPUT_SIZE) -> np.ndarray:
    """Column, row and stride of every output row, (8400, 3): stride after stride, each in reading order."""
    cells = []
    for stride in STRIDES:
        side = input_size // stride
        rows, columns = np.divmod(np.arange(side * side), side)
        cells.append(np.stack([columns, rows, np.full(side * side, stride)], axis=1))
    return np.concatenate(cells)


def person_boxes(rows: np.ndarray, ratio: float, min_score: float = PERSON_SCORE) -> np.ndarray:
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
    kept = kept[scores[kept] > min_score]
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
