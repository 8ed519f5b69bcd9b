"""A clip on the training canvas: scaled to cover it, cropped around where the person is, all its frames alike."""
from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from dwpose.skeleton import BODY, SEEN_CONFIDENCE, Skeleton
from mimicmotion.video import cover_geometry


@dataclass(frozen=True)
class Placement:
    """From a clip's pixels to the canvas: resize to (height, width), then cut out `size` at (top, left)."""

    source: tuple[int, int]     # the clip's (height, width), pixels
    resized: tuple[int, int]    # (height, width), pixels
    corner: tuple[int, int]     # (top, left) in the resized picture, pixels
    size: tuple[int, int]       # the canvas (height, width), pixels

    @classmethod
    def of(cls, skeleton: Skeleton, size: tuple[int, int]) -> Placement:
        """The crop is centred on the body's middle over the whole clip, as far as the picture reaches."""
        resized, _ = cover_geometry(skeleton.size, size)
        places = skeleton.keypoints[:, BODY][skeleton.confidence[:, BODY] >= SEEN_CONFIDENCE]       # (N, 3)
        low, high = np.percentile(places[:, :2], (5, 95), axis=0)
        middle = ((low + high) / 2)[::-1] / skeleton.size                                           # (y, x), shares
        corner = [int(np.clip(round(share * side - length / 2), 0, side - length))
                  for share, side, length in zip(middle, resized, size)]
        return cls(skeleton.size, resized, tuple(corner), tuple(size))

    def pictures(self, frames: np.ndarray) -> np.ndarray:
        """(n, h, w, 3) uint8 to (n, H, W, 3) uint8."""
        how = cv2.INTER_AREA if self.resized[0] < self.source[0] else cv2.INTER_LINEAR
        (top, left), (height, width) = self.corner, self.size
        return np.stack([cv2.resize(frame, self.resized[::-1], interpolation=how)[top:top + height, left:left + width]
                         for frame in frames])

    def skeleton(self, skeleton: Skeleton) -> Skeleton:
        """The poses in canvas pixels; what leaves the canvas keeps its place outside."""
        keypoints = skeleton.keypoints.copy()
        scale = np.array(self.resized[::-1]) / self.source[::-1]                                    # (x, y)
        keypoints[..., :2] = np.where(keypoints[..., 2:] > 0, keypoints[..., :2] * scale - self.corner[::-1], 0)
        return replace(skeleton, keypoints=keypoints, size=self.size)
