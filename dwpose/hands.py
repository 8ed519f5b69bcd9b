"""Where the hands are: a box and a confidence for each, for losses and measures that look at them alone."""
from __future__ import annotations

import numpy as np

from .skeleton import LEFT_HAND, RIGHT_HAND, SEEN_CONFIDENCE

MARGIN = 0.2               # of the box's longer side: skin reaches beyond the joints


def hand_boxes(keypoints: np.ndarray) -> np.ndarray:
    """(F, 133, 3) pixels and confidence -> (F, 2, 5) float32: left, top, right, bottom in pixels, mean confidence.

    The left hand comes first. The box holds the seen points and a margin; a hand with no seen point is all zeros.
    """
    boxes = np.zeros((len(keypoints), 2, 5), np.float32)
    for which, hand in enumerate((LEFT_HAND, RIGHT_HAND)):
        points, confidence = keypoints[:, hand, :2], keypoints[:, hand, 2]              # (F, 21, 2), (F, 21)
        seen = confidence >= SEEN_CONFIDENCE
        low = np.where(seen[..., None], points, np.inf).min(1)                          # (F, 2)
        high = np.where(seen[..., None], points, -np.inf).max(1)
        some = seen.any(1)
        margin = MARGIN * (high - low).max(1, keepdims=True, initial=0, where=some[:, None])
        boxes[some, which] = np.concatenate([low - margin, high + margin, confidence.mean(1, keepdims=True)], 1)[some]
    return boxes
