"""MusePose's pose align: a driving clip with the reference person's proportions, limb by limb, and its neck's place.

Nine scales compare the two people, and every limb keeps its direction. Mended here: a scale that cannot be measured is
taken from other frames or from the rest of the body, where the published script gives infinite and NaN points; proportions
come from all frames and not from one that may be turned away; hands are those of the same person; missing points stay
missing instead of being scaled as the place (-1, -1).
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dwpose.draw import draw
from dwpose.skeleton import (
    FACE, HANDS, LEFT_ANKLE, LEFT_BIG_TOE, LEFT_HAND, LEFT_HEEL, LEFT_SMALL_TOE, NECK, NOSE, openpose18,
    OPENPOSE_FROM_COCO, RIGHT_ANKLE, RIGHT_BIG_TOE, RIGHT_HAND, RIGHT_HEEL, RIGHT_SMALL_TOE, Skeleton,
)

BODY_POINTS = 18                                              # OpenPose's, before the hands' 2 x 21 in a `places` array
LEFT_FINGERS, RIGHT_FINGERS = slice(18, 39), slice(39, 60)
EARS, HIPS = (16, 17), (8, 11)
LEFT_WRIST, RIGHT_WRIST = 7, 4                                # of OpenPose's 18
KNUCKLES = (1, 5, 9, 13, 17)                                  # of a hand, first joint of each finger
SCALES = ("neck", "face", "shoulder", "arm_upper", "arm_lower", "hand", "body_len", "leg_upper", "leg_lower")
SEGMENTS = {                                                  # scale -> segments whose mean ratio it is
    "neck": ((1, 0),), "face": (EARS,), "shoulder": ((2, 5),), "arm_upper": ((2, 3), (5, 6)),
    "arm_lower": ((3, 4), (6, 7)), "leg_upper": ((8, 9), (11, 12)), "leg_lower": ((9, 10), (12, 13))}
MOVES = (                                                     # anchor, what hangs on it, scale; parents first
    (1, (0,), "neck"), (0, (14, 15, 16, 17), "face"), (1, (2, 5), "shoulder"), (2, (3,), "arm_upper"),
    (5, (6,), "arm_upper"), (3, (4,), "arm_lower"), (6, (7,), "arm_lower"), (RIGHT_WRIST, RIGHT_FINGERS, "hand"),
    (LEFT_WRIST, LEFT_FINGERS, "hand"), (1, HIPS, "body_len"), (8, (9,), "leg_upper"), (11, (12,), "leg_upper"),
    (9, (10,), "leg_lower"), (12, (13,), "leg_lower"))
CARRIED = (                                                   # of the 133 points, what the published script leaves behind
    (NOSE, FACE, "face"), (LEFT_ANKLE, (LEFT_BIG_TOE, LEFT_SMALL_TOE, LEFT_HEEL), "leg_lower"),
    (RIGHT_ANKLE, (RIGHT_BIG_TOE, RIGHT_SMALL_TOE, RIGHT_HEEL), "leg_lower"))
SHORTEST = 1e-3              # frame heights; a shorter segment tells no ratio
RANGE = (0.2, 5.0)           # of a scale that people's proportions can explain


@dataclass(frozen=True)
class Alignment:
    """How a driver becomes the reference person. Lengths and places are in frame heights, each in its own frame."""
    scales: dict[str, float]
    offset: np.ndarray       # (2,) added to every place


def aligned_as_musepose(skeleton: Skeleton, reference: Skeleton, align_frame: int | None = None) -> Skeleton:
    """The driving clip on the reference's canvas. Absent points stay absent, at 0.

    align_frame: the frame whose proportions and neck are compared, as the published script does; None compares the
    median proportions of all frames, and the neck of the first frame that shows it.
    """
    if not len(skeleton):
        raise ValueError("driving clip: expected frames (found none)")
    if align_frame is not None and not 0 <= align_frame < len(skeleton):
        raise ValueError(f"align_frame: expected 0 to {len(skeleton) - 1} (found {align_frame}): choose a frame of the clip")
    driver, target = places(skeleton), places(reference)[0]                   # (F, 60, 2), (60, 2); NaN: not seen
    alignment = compared(driver, target, align_frame)
    here = places(skeleton, skeleton.present)                                     # what is there moves, however uncertain
    moved = scaled(here, alignment.scales)                                    # (F, 60, 2)
    result = skeleton.keypoints.copy()
    for joint, xy in zip(OPENPOSE_FROM_COCO, np.moveaxis(moved[:, :BODY_POINTS], 1, 0)):
        if joint is not None:
            result[:, joint, :2] = xy
    result[:, LEFT_HAND, :2], result[:, RIGHT_HAND, :2] = moved[:, LEFT_FINGERS], moved[:, RIGHT_FINGERS]
    own = in_heights(skeleton)                                                # (F, 133, 2)
    for anchor, points, scale in CARRIED:
        points = list(points) if isinstance(points, tuple) else points
        result[:, points, :2] = result[:, [anchor], :2] + alignment.scales[scale] * (own[:, points] - own[:, [anchor]])
    result[..., :2] = (result[..., :2] + alignment.offset) * reference.size[0]
    result[~(skeleton.present & np.isfinite(result[..., :2]).all(axis=-1))] = 0
    return Skeleton(result, reference.size, skeleton.fps)


def in_heights(skeleton: Skeleton) -> np.ndarray:
    """(F, 133, 2) places in frame heights."""
    return skeleton.xy.astype(np.float64) / skeleton.size[0]


def places(skeleton: Skeleton, counted: np.ndarray | None = None) -> np.ndarray:
    """Body and hands in frame heights, (F, 60, 2); NaN where a point is not `counted`, (F, 133): by default, not seen.

    The neck is there when both shoulders are.
    """
    keypoints = skeleton.keypoints.astype(np.float64)
    keypoints[~(skeleton.seen if counted is None else counted)] = np.nan
    body = openpose18(keypoints)                                              # (F, 18, 3)
    both = np.concatenate([body, keypoints[:, HANDS]], axis=1)                # (F, 60, 3)
    return both[..., :2] / skeleton.size[0]


def compared(driver: np.ndarray, target: np.ndarray, align_frame: int | None = None) -> Alignment:
    """Scales and offset from places (F, 60, 2) to the reference's (60, 2); NaN: not seen."""
    if not np.isfinite(target[NECK]).all():
        raise ValueError("reference: expected a person whose shoulders are seen (found none): use a picture of the whole body")
    necks = np.isfinite(driver[:, NECK]).all(axis=-1)                         # (F,)
    if not necks.any():
        raise ValueError("driving clip: expected a person whose shoulders are seen (found none): use another clip")
    first = int(np.argmax(necks)) if align_frame is None or not necks[align_frame] else align_frame
    scales = length_ratios(driver, target)                                    # name -> (F,)
    chosen = {name: middle(values, align_frame) for name, values in scales.items()}
    known = [value for name, value in chosen.items() if np.isfinite(value)]
    whole = float(np.median(known)) if known else 1.0                         # of the body, for what cannot be measured
    chosen = {name: value if np.isfinite(value) else whole for name, value in chosen.items()}
    arms = chosen["arm_upper"] + chosen["arm_lower"]
    hand = middle(hand_ratios(driver, target), align_frame)
    chosen["hand"] = (hand + arms) / 3 if np.isfinite(hand) else arms / 2
    return Alignment({name: float(np.clip(chosen[name], *RANGE)) for name in SCALES}, target[NECK] - driver[first, NECK])


def middle(values: np.ndarray, frame: int | None) -> float:
    """Of values (F,), the one of `frame` if it is known, else the median of those that are; NaN if none is."""
    if frame is not None and np.isfinite(values[frame]):
        return float(values[frame])
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else np.nan


def length_ratios(driver: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    """Per scale but the hand's the reference's length over the driver's in each frame, (F,); NaN: not measurable."""
    found = {name: mean_of_known([ratio(driver, target, *ends) for ends in segments])
             for name, segments in SEGMENTS.items()}
    trunks = [np.linalg.norm(body[..., NECK, :] - body[..., HIPS, :].mean(axis=-2), axis=-1) for body in (driver, target)]
    found["body_len"] = quotient(*trunks)
    return found


def hand_ratios(driver: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The mean ratio of wrist-to-knuckle lengths, both hands, (F,)."""
    ratios = [ratio(driver, target, hand.start, hand.start + knuckle)
              for hand in (LEFT_FINGERS, RIGHT_FINGERS) for knuckle in KNUCKLES]
    return mean_of_known(ratios)


def ratio(driver: np.ndarray, target: np.ndarray, start: int, end: int) -> np.ndarray:
    """Length of the reference's segment over the driver's, (F,)."""
    return quotient(*(np.linalg.norm(body[..., start, :] - body[..., end, :], axis=-1) for body in (driver, target)))


def quotient(driver: np.ndarray, target: np.ndarray) -> np.ndarray:
    """target / driver, NaN where either is too short to tell."""
    usable = (driver > SHORTEST) & (target > SHORTEST)
    return np.where(usable, target / np.where(usable, driver, 1), np.nan)


def mean_of_known(values: list[np.ndarray]) -> np.ndarray:
    """The mean over a list of (F,), of what is not NaN."""
    stacked = np.stack(values)
    count = np.isfinite(stacked).sum(axis=0)
    return np.where(count > 0, np.nansum(stacked, axis=0) / np.maximum(count, 1), np.nan)


def scaled(points: np.ndarray, scales: dict[str, float]) -> np.ndarray:
    """Places (F, 60, 2) with every limb at its scale; the neck stays."""
    moved = points.copy()
    for anchor, children, name in MOVES:
        children = list(range(children.start, children.stop)) if isinstance(children, slice) else list(children)
        centre = moved[:, [anchor]].astype(np.float32).astype(np.float64)     # as OpenCV's rotation takes it
        shifted = points[:, children] - points[:, [anchor]] + moved[:, [anchor]]
        moved[:, children] = scales[name] * shifted + (1 - scales[name]) * centre
    return moved


# ---------------------------------------------------- its brush: a canvas 1024 wide, shrunk to 768 high, no face

PAINT_HEIGHT = 768               # pixels of all frames written
CANVAS_WIDTH = 1024              # pixels poses are drawn at


def painted_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) a frame of this size is written at; even, as video codecs ask."""
    return PAINT_HEIGHT, max(2, int(PAINT_HEIGHT / size[0] * size[1] // 2 * 2))


def painted(frame: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) at its painted size."""
    return cv2.resize(frame, painted_size(frame.shape[:2])[::-1], interpolation=cv2.INTER_AREA)


def pose_frames(skeleton: Skeleton) -> Iterator[np.ndarray]:
    """The skeleton frame by frame, (768, W, 3) uint8 RGB.

    On a canvas of the skeleton's own aspect, where the published script stretches one of the dance's, and limbs with it.
    """
    drawn = resized(without_face(skeleton), CANVAS_WIDTH)
    for frame in range(len(drawn)):
        yield painted(draw(drawn[frame], "musepose")[0])


def resized(skeleton: Skeleton, width: int) -> Skeleton:
    """The skeleton on a canvas of this width, in pixels."""
    factor = width / skeleton.size[1]
    keypoints = skeleton.keypoints.copy()
    keypoints[..., :2] *= factor
    return replace(skeleton, keypoints=keypoints, size=(round(skeleton.size[0] * factor), width))


def without_face(skeleton: Skeleton) -> Skeleton:
    """The same person with all 68 face points absent."""
    keypoints = skeleton.keypoints.copy()
    keypoints[:, FACE] = 0
    return replace(skeleton, keypoints=keypoints)
