"""Draws a `Skeleton` as pose frames, in the styles that the published checkpoints were trained on.

A checkpoint understands one style only, so sizes, colours and shrinking equal the published ones to the byte. We are
faster: the published brush dims a canvas of 2160 pixels after the limbs, we draw the limbs in the dimmed colour.
"""
from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dwpose.skeleton import FACE, FINGER_BONES, is_present, is_seen, LEFT_HAND, openpose18, RIGHT_HAND, Skeleton

# OpenPose's 18: 0 nose, 1 neck, 2-4 right arm, 5-7 left arm, 8-10 right leg, 11-13 left leg, 14 15 eyes, 16 17 ears
LIMBS = ((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
         (1, 0), (0, 14), (14, 16), (0, 15), (15, 17))
EARS = (16, 17)
RAINBOW = ((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0),
           (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255),
           (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85))
FINGER_COLOURS = tuple(np.array(colorsys.hsv_to_rgb(bone / 20, 1, 1)) for bone in range(20))     # in [0, 1]
HAND_JOINT_COLOUR = np.array((0, 0, 255.0))
FACE_COLOUR = np.array((255.0, 255, 255))
LIMB_DIMMING = 0.6
LARGEST_SIDE = 8192             # pixels of a frame, as of a run's
WIDTH_BY_LENGTH = ((5, 1), (10, 2), (20, 3), (40, 4), (80, 5), (160, 6), (320, 7), (np.inf, 8))   # below px, width px


@dataclass(frozen=True)
class Style:
    """How one family of checkpoints expects poses to look. Widths are canvas pixels, or 1/384 of its width."""

    limb_half_width: float | None       # None: grows with the limb's length (WIDTH_BY_LENGTH), as do finger bones
    joint_radius: float
    finger_width: float
    finger_radius: float
    face_radius: float | None           # None: no face points
    short_side: int | None = None       # canvas pixels of the shorter side; None: supersample instead
    supersample: int = 1                # canvas pixels per frame pixel
    relative: bool = False              # widths are in 1/384 of the canvas width
    shrink: int = cv2.INTER_LINEAR      # how the canvas becomes the frame
    ears: bool = True
    by_confidence: bool = True          # colours fade with confidence; hands and face have no threshold
    red_first: bool = True              # neck to right shoulder is red in the RGB frame; else blue, as published


STYLES = {
    # our demo weights: wide enough to survive a VAE that shrinks 8 times
    "bold": Style(limb_half_width=5, joint_radius=4.5, finger_width=2, finger_radius=1.6, face_radius=1.2,
                  supersample=3, relative=True, shrink=cv2.INTER_AREA, by_confidence=False),
    # MimicMotion_1.pth, MimicMotion_1-1.pth
    "mimicmotion": Style(limb_half_width=4, joint_radius=4, finger_width=2, finger_radius=4, face_radius=3,
                         short_side=2160, red_first=False),
    # Fleximo's published inference: at frame size, without ears and face points
    "fleximo": Style(limb_half_width=4, joint_radius=4, finger_width=2, finger_radius=4, face_radius=None,
                     ears=False, red_first=False),
    # MusePose: pose_guider.pth and what surrounds it
    "musepose": Style(limb_half_width=None, joint_radius=4, finger_width=2, finger_radius=3, face_radius=3,
                      by_confidence=False),
}


def draw(skeleton: Skeleton | Sequence[Skeleton], style: str = "bold") -> np.ndarray:
    """The skeleton, or several people of equal length and canvas, as pose frames (F, H, W, 3) uint8 RGB."""
    if style not in STYLES:
        raise ValueError(f"drawing style: expected one of {', '.join(STYLES)} (found {style!r})")
    people = [skeleton] if isinstance(skeleton, Skeleton) else list(skeleton)
    if len({(len(person), person.size) for person in people}) != 1:
        raise ValueError("draw: expected people of equal length and canvas "
                         f"(found {[(len(person), person.size) for person in people]})")
    keypoints = np.stack([person.keypoints for person in people], axis=1).astype(np.float64)  # (F, people, 133, 3)
    look, (height, width) = STYLES[style], people[0].size
    if max(height, width) > LARGEST_SIDE:
        raise ValueError(f"draw: expected a canvas of at most {LARGEST_SIDE} pixels a side (found {height}x{width}): scale the skeleton down, or do not draw it")
    factor = look.supersample if look.short_side is None else look.short_side / min(height, width)
    canvas = np.zeros((int(height * factor), int(width * factor), 3), np.uint8)
    keypoints[..., :2] = keypoints[..., :2] / (width, height) * (canvas.shape[1], canvas.shape[0])
    frames = np.zeros((len(keypoints), height, width, 3), np.uint8)
    for frame, persons in zip(frames, keypoints):
        large, small = _touched(persons, canvas.shape, frame.shape, look)
        _draw_frame(canvas, persons, look)
        shrunk = cv2.resize(canvas[large], frame[small].shape[1::-1], interpolation=look.shrink)
        frame[small] = shrunk if look.red_first else cv2.cvtColor(shrunk, cv2.COLOR_RGB2BGR)
        canvas[large] = 0
    return frames


def _touched(persons: np.ndarray, canvas: tuple, frame: tuple, look: Style) -> tuple[tuple, tuple]:
    """The (rows, columns) slices of the canvas that may be drawn on, and of the frame that they shrink to.

    Both begin and end where canvas and frame pixels line up, so that shrinking the part equals shrinking the whole.
    """
    placed = persons[is_present(persons), :2]                                  # (N, 2)
    widest = max(look.limb_half_width or WIDTH_BY_LENGTH[-1][1], look.joint_radius, look.finger_radius)
    margin = 2 + widest * max(1, canvas[1] / 384 if look.relative else 1)
    large, small = [], []
    for axis in (0, 1):
        sides, period = (canvas[axis], frame[axis]), math.gcd(canvas[axis], frame[axis])
        step = sides[0] // period                                               # canvas pixels between alignments
        values = placed[:, 1 - axis] if len(placed) else np.zeros(1)
        first = int(np.clip((values.min() - margin) // step - 1, 0, period - 1))
        last = int(np.clip((values.max() + margin) // step + 2, first + 1, period))
        large.append(slice(first * step, last * step))
        small.append(slice(first * sides[1] // period, last * sides[1] // period))
    return tuple(large), tuple(small)


def _draw_frame(canvas: np.ndarray, persons: np.ndarray, look: Style) -> None:
    """Everybody on one canvas. persons: (people, 133, 3), canvas pixels and confidence."""
    bodies = openpose18(persons)                                                # (people, 18, 3)
    seen = is_seen(bodies).tolist()                                             # people times 18; a list is quicker to ask
    num_joints = len(RAINBOW) if look.ears else EARS[0]
    limbs = [limb for limb in LIMBS if max(limb) < num_joints]
    for (start, end), colour in zip(limbs, RAINBOW):
        for body, visible in zip(bodies, seen):
            if visible[start] and visible[end]:
                _draw_limb(canvas, body[start], body[end], colour, look)
    radius = _pixels(canvas, look.joint_radius, look)
    for joint in range(num_joints):
        for body, visible in zip(bodies, seen):
            if visible[joint]:
                x, y, confidence = body[joint]
                fade = confidence if look.by_confidence else 1
                cv2.circle(canvas, (int(x), int(y)), radius, [int(c * fade) for c in RAINBOW[joint]], -1)
    for side in (LEFT_HAND, RIGHT_HAND):
        for hand in persons[:, side]:
            _draw_hand(canvas, hand, look)
    if look.face_radius is not None:
        radius = _pixels(canvas, look.face_radius, look)
        for face in persons[:, FACE]:
            _draw_dots(canvas, face, radius, FACE_COLOUR, look)


def _draw_limb(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, colour: tuple, look: Style) -> None:
    """An ellipse between two joints (3,), dimmed so that the joints stand out."""
    middle, (dx, dy) = (start + end) / 2, start[:2] - end[:2]
    length = np.hypot(dx, dy)
    half_width = (_width_by_length(length) if look.limb_half_width is None
                  else _pixels(canvas, look.limb_half_width, look))
    fade = start[2] * end[2] if look.by_confidence else 1
    polygon = cv2.ellipse2Poly((int(middle[0]), int(middle[1])), (int(length / 2), half_width),
                               int(np.degrees(np.arctan2(dy, dx))), 0, 360, 6 if look.relative else 1)
    cv2.fillConvexPoly(canvas, polygon, [int(min(int(c * fade), 255) * LIMB_DIMMING) for c in colour])


def _draw_hand(canvas: np.ndarray, hand: np.ndarray, look: Style) -> None:
    """Twenty finger bones in rainbow colours, then blue joints. hand: (21, 3)"""
    drawable = _drawable(hand, look)                                            # (21,)
    width = _pixels(canvas, look.finger_width, look)
    points = [(int(x), int(y)) for x, y in hand[:, :2]]
    for (start, end), colour in zip(FINGER_BONES, FINGER_COLOURS):
        if drawable[start] and drawable[end]:
            level = int(hand[start, 2] * hand[end, 2] * 255) if look.by_confidence else 255
            if look.limb_half_width is None:
                width = _width_by_length(np.hypot(*np.subtract(points[start], points[end])))
            cv2.line(canvas, points[start], points[end], (colour * level).tolist(), width)
    _draw_dots(canvas, hand, _pixels(canvas, look.finger_radius, look), HAND_JOINT_COLOUR, look)


def _draw_dots(canvas: np.ndarray, points: np.ndarray, radius: int, colour: np.ndarray, look: Style) -> None:
    """points: (N, 3)"""
    for (x, y, confidence), drawable in zip(points, _drawable(points, look)):
        if drawable:
            fade = int(confidence * 255) / 255 if look.by_confidence else 1
            cv2.circle(canvas, (int(x), int(y)), radius, (colour * fade).tolist(), -1)


def _drawable(points: np.ndarray, look: Style) -> np.ndarray:
    """(N,) hand or face points to draw; the published brushes leave out the first row and column, so do we."""
    seen = is_present(points) if look.by_confidence else is_seen(points)
    return seen & (points[:, 0] >= 1) & (points[:, 1] >= 1)


def _pixels(canvas: np.ndarray, width: float, look: Style) -> int:
    return max(1, round(width * canvas.shape[1] / 384)) if look.relative else int(width)


def _width_by_length(length: float) -> int:
    return next(width for below, width in WIDTH_BY_LENGTH if length < below)
