"""Where the hands and the head are: a box and a confidence for each, for losses and measures that look at them alone."""
from __future__ import annotations

import numpy as np

from .skeleton import FACE, LEFT_HAND, RIGHT_HAND, SEEN_CONFIDENCE

HAND_MARGIN = 0.2          # of the box's longer side: skin reaches beyond the joints
HEAD_MARGIN = 0.6          # and hair beyond the face, wherever the head leans


def hand_boxes(keypoints: np.ndarray) -> np.ndarray:
    """(F, 133, 3) pixels and confidence -> (F, 2, 5) float32: left, top, right, bottom in pixels, mean confidence.

    The left hand comes first. The box holds the seen points and a margin; a hand with no seen point is all zeros.
    """
    return np.stack([boxes_around(keypoints[:, hand], HAND_MARGIN) for hand in (LEFT_HAND, RIGHT_HAND)], axis=1)


def head_boxes(keypoints: np.ndarray) -> np.ndarray:
    """(F, 133, 3) -> (F, 1, 5) as `hand_boxes`: the face and the hair around it; all zeros where no face is seen."""
    return boxes_around(keypoints[:, FACE], HEAD_MARGIN)[:, None]


def boxes_around(keypoints: np.ndarray, margin: float) -> np.ndarray:
    """(F, K, 3) -> (F, 5): the box of the seen points, `margin` of its longer side wider, and their mean confidence."""
    boxes = np.zeros((len(keypoints), 5), np.float32)
    points, confidence = keypoints[..., :2], keypoints[..., 2]                          # (F, K, 2), (F, K)
    seen = confidence >= SEEN_CONFIDENCE
    low = np.where(seen[..., None], points, np.inf).min(1)                              # (F, 2)
    high = np.where(seen[..., None], points, -np.inf).max(1)
    some = seen.any(1)
    wider = margin * (high - low).max(1, keepdims=True, initial=0, where=some[:, None])
    boxes[some] = np.concatenate([low - wider, high + wider, confidence.mean(1, keepdims=True)], 1)[some]
    return boxes
