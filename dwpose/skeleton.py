"""`Skeleton`: one person's whole-body keypoints over time, in COCO-WholeBody order, with names for the joints.

The neck is derived (mid-shoulders) and never stored; OpenPose's 18 points are a view, `openpose18`.
"""
from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from media.files import numbers, save_arrays, stored_arrays

NUM_KEYPOINTS = 133
(NOSE, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW,
 LEFT_WRIST, RIGHT_WRIST, LEFT_HIP, RIGHT_HIP, LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE,
 LEFT_BIG_TOE, LEFT_SMALL_TOE, LEFT_HEEL, RIGHT_BIG_TOE, RIGHT_SMALL_TOE, RIGHT_HEEL) = range(23)
EYES, SHOULDERS, HIPS = (LEFT_EYE, RIGHT_EYE), (LEFT_SHOULDER, RIGHT_SHOULDER), (LEFT_HIP, RIGHT_HIP)
ARMS = ((LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST), (RIGHT_SHOULDER, RIGHT_ELBOW, RIGHT_WRIST))
LEGS = ((LEFT_HIP, LEFT_KNEE, LEFT_ANKLE), (RIGHT_HIP, RIGHT_KNEE, RIGHT_ANKLE))
FINGER_BONES = tuple((0 if bone == 0 else 4 * finger + bone, 4 * finger + bone + 1)
                     for finger in range(5) for bone in range(4))             # of a hand: wrist to tip, thumb first
KNEES, ANKLES = (LEFT_KNEE, RIGHT_KNEE), (LEFT_ANKLE, RIGHT_ANKLE)
BODY = slice(0, 17)
FEET = slice(17, 23)
FACE = slice(23, 91)            # 68 iBUG points
LEFT_HAND = slice(91, 112)      # wrist, then four points per finger from the thumb on
RIGHT_HAND = slice(112, 133)
HANDS = slice(91, 133)
SEEN_CONFIDENCE = 0.3           # DWPose: a point below this is not part of the person
HIGHEST_CONFIDENCE = 1.001      # of a file: 1 and what rounding adds
FARTHEST, FASTEST = 1e9, 1e3         # pixels from the corner; frames per second
NECK = 1                        # index in the OpenPose view only
OPENPOSE_FROM_COCO = (NOSE, None, RIGHT_SHOULDER, RIGHT_ELBOW, RIGHT_WRIST, LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST,
                      RIGHT_HIP, RIGHT_KNEE, RIGHT_ANKLE, LEFT_HIP, LEFT_KNEE, LEFT_ANKLE,
                      RIGHT_EYE, LEFT_EYE, RIGHT_EAR, LEFT_EAR)          # None: the neck
HAND_MARGIN = 0.2          # of the box's longer side: skin reaches beyond the joints
HEAD_MARGIN = 0.6          # and hair beyond the face, wherever the head leans


@dataclass(frozen=True)
class Skeleton:
    """One person over time, in COCO-WholeBody order. The neck is derived (mid-shoulders), never stored."""

    keypoints: np.ndarray       # (F, 133, 3) float32: x, y in canvas pixels; confidence in [0, 1], 0 = unseen
    size: tuple[int, int]       # canvas (height, width), pixels
    fps: float                  # frames per second

    def __post_init__(self):
        keypoints = np.asarray(self.keypoints, dtype=np.float32)
        if keypoints.ndim != 3 or keypoints.shape[1:] != (NUM_KEYPOINTS, 3):
            raise ValueError(f"keypoints: expected (F, {NUM_KEYPOINTS}, 3) in COCO-WholeBody order "
                             f"(found {keypoints.shape}): add the frame axis, or convert the joint order")
        if not np.isfinite(keypoints).all():
            raise ValueError("keypoints: expected finite numbers (found NaN or infinity): "
                             "mark a missing point with confidence 0")
        height, width = (int(side) for side in self.size)
        if not (0 < height <= FARTHEST and 0 < width <= FARTHEST):
            raise ValueError(f"skeleton size: expected a height and width of 1 to {FARTHEST:g} pixels (found {self.size})")
        if (far := float(np.abs(keypoints[..., :2]).max(initial=0))) > FARTHEST:
            raise ValueError(f"keypoints: expected pixels (found {far:g}): scale them")
        if not 0 < self.fps <= FASTEST:
            raise ValueError(f"skeleton fps: expected a rate of at most {FASTEST:g} (found {self.fps})")
        object.__setattr__(self, "keypoints", keypoints)
        object.__setattr__(self, "size", (height, width))
        object.__setattr__(self, "fps", float(self.fps))

    def __len__(self) -> int:
        return len(self.keypoints)

    def __getitem__(self, frames: int | slice | np.ndarray) -> Skeleton:
        """The chosen frames as a `Skeleton`: an int keeps the frame axis (F = 1); a step does not change fps."""
        if isinstance(frames, (int, np.integer)):
            frames = [int(frames)]
        return replace(self, keypoints=self.keypoints[frames])

    @property
    def xy(self) -> np.ndarray:
        """(F, 133, 2) canvas pixels."""
        return self.keypoints[..., :2]

    @property
    def confidence(self) -> np.ndarray:
        """(F, 133) in [0, 1]."""
        return self.keypoints[..., 2]

    @property
    def present(self) -> np.ndarray:
        """(F, 133) bool: there is such a point."""
        return is_present(self.keypoints)

    @property
    def seen(self) -> np.ndarray:
        """(F, 133) bool: the point is confident enough to count."""
        return is_seen(self.keypoints)

    def with_xy(self, xy: np.ndarray, size: tuple[int, int] | None = None) -> Skeleton:
        """The points moved to xy (F, 133, 2), on a canvas of another size if one is given; absent ones stay absent, at 0."""
        keypoints = np.concatenate([np.where(self.present[..., None], xy, 0), self.keypoints[..., 2:]], axis=-1)
        return replace(self, keypoints=keypoints, size=size or self.size)

    def without_hands(self) -> Skeleton:
        """The same person with all 42 hand points unseen; the wrists belong to the body and stay."""
        keypoints = self.keypoints.copy()
        keypoints[:, HANDS] = 0
        return replace(self, keypoints=keypoints)

    def save(self, path: str | os.PathLike) -> Path:
        """Write an .npz that appears under its name only when complete."""
        path = Path(path)
        save_arrays(path, keypoints=self.keypoints, size=np.array(self.size, np.int64), fps=np.float64(self.fps))
        return path

    @classmethod
    def load(cls, path: str | os.PathLike) -> Skeleton:
        with stored_arrays(path, "a skeleton file with keypoints, size and fps") as file:
            height, width = numbers(file, "size", (2,)).tolist()
            skeleton = cls(numbers(file, "keypoints"), (height, width), float(numbers(file, "fps", ())))
            for found in (skeleton.confidence.min(initial=0), skeleton.confidence.max(initial=0)):
                if not 0 <= found <= HIGHEST_CONFIDENCE:
                    raise ValueError(f"keypoints: expected a confidence of 0 to 1, found {found:g}: scale it, and mark a missing point with 0")
            return skeleton


def shows_somebody(skeleton: Skeleton) -> np.ndarray:
    """(F,) bool: body points are seen in the frame, and not all in one place."""
    seen, body = skeleton.seen[:, BODY, None], skeleton.xy[:, BODY]                     # (F, 17, 1), (F, 17, 2)
    low, high = body.min(1, initial=np.inf, where=seen), body.max(1, initial=-np.inf, where=seen)       # (F, 2)
    return (high - low > 1).any(axis=1)


def check_somebody(skeleton: Skeleton) -> None:
    """ValueError where no frame shows anybody."""
    if not shows_somebody(skeleton).any():
        raise ValueError(f"keypoints: expected a person in some frame (found {len(skeleton)} frames in which no body points of confidence "
                         f"{SEEN_CONFIDENCE:g} or more lie a pixel apart): take another skeleton")


def is_present(keypoints: np.ndarray) -> np.ndarray:
    """Which of the keypoints (..., 3) there are at all: confidence above 0. (...) bool"""
    return keypoints[..., 2] > 0


def is_seen(keypoints: np.ndarray) -> np.ndarray:
    """Which of the keypoints (..., 3) count: confidence of at least SEEN_CONFIDENCE. (...) bool"""
    return keypoints[..., 2] >= SEEN_CONFIDENCE


def necks(keypoints: np.ndarray) -> np.ndarray:
    """Mid-shoulders (F, 3); confidence 1 when both shoulders are seen, else 0, as in DWPose."""
    left, right = keypoints[..., LEFT_SHOULDER, :], keypoints[..., RIGHT_SHOULDER, :]   # (F, 3) each
    neck = (left + right) / 2                                                           # (F, 3)
    neck[..., 2] = is_seen(left) & is_seen(right)
    return neck


def openpose18(keypoints: np.ndarray) -> np.ndarray:
    """(F, 133, 3) to OpenPose's 18 body points (F, 18, 3): nose, neck, right arm, left arm, legs, eyes, ears."""
    order = [NOSE if joint is None else joint for joint in OPENPOSE_FROM_COCO]
    body = keypoints[..., order, :]                                                     # (F, 18, 3)
    body[..., NECK, :] = necks(keypoints)
    return body


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
    points, confidence, seen = keypoints[..., :2], keypoints[..., 2], is_seen(keypoints)    # (F, K, 2), (F, K) each
    low = np.where(seen[..., None], points, np.inf).min(1)                              # (F, 2)
    high = np.where(seen[..., None], points, -np.inf).max(1)
    some = seen.any(1)
    wider = margin * (high - low).max(1, keepdims=True, initial=0, where=some[:, None])
    boxes[some] = np.concatenate([low - wider, high + wider, confidence.mean(1, keepdims=True)], 1)[some]
    return boxes
