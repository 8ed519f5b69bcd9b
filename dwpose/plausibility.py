"""Is a detected pose a person's? Every detector answers something to a cat, a cup or a crowd; a run must not animate it.

A bone in a picture can look as short as one likes, because it may point at the camera, but hardly longer than the other
bones allow. So the checks are one-sided: they refuse what no person could look like, not what is unusual. One thing
that is impossible, or two that are odd, make a pose implausible.
"""
from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dwpose.proportions import BONES, CHILDREN, METRES, NECK_POINT, PARENTS, PELVIS_POINT, distances, with_middles
from dwpose.skeleton import (BODY, FACE, FINGER_BONES, LEFT_ANKLE, LEFT_BIG_TOE, LEFT_ELBOW, LEFT_EYE, LEFT_HAND, LEFT_HEEL, LEFT_HIP,
                             LEFT_KNEE, LEFT_SHOULDER, LEFT_WRIST, NOSE, RIGHT_ANKLE, RIGHT_BIG_TOE, RIGHT_ELBOW,
                             RIGHT_EYE, RIGHT_HAND, RIGHT_HEEL, RIGHT_HIP, RIGHT_KNEE, RIGHT_SHOULDER, RIGHT_WRIST,
                             is_present, is_seen, Skeleton)

MIN_BODY_KEYPOINTS = 8          # seen body points that make a person
MIN_PIXELS = 32                 # extent of the seen body points, longer side
TYPICAL = 0.6                   # quantile of the bones' lengths, each against an adult's, that tells the body's scale
SHORT, MAX_SHORT = 0.15, 0.6    # bones below this share of their length point at the camera; so many of them may
LONG = 0.85                     # bones above this share of their length tell a direction
LYING = 1.7                     # times as far across as down: trunk and thighs of a picture turned on its side
MIN_NECK_BEND = np.cos(np.radians(50))      # the head may hang, not lie on the trunk: cosine of neck-nose to neck-pelvis
SITTING, SHORT_LEGS = (0.62, 0.8), 1.4      # of the shin: thighs seen shorter point at the camera, and where the legs are short; of the trunk
SIDEWAYS = 0.25                 # of the trunk's length: shoulders nearer to one another are seen from the side
CROSSED = -0.15                 # shoulder widths from the spine to its own side, below which a wrist is on the other
CROSSED_DOWN = 0.85             # of the way from the neck to the hips, above which it is before the body
FACE_NOSE = FACE.start + 30     # tip of the nose among the face points
NAMES = {LEFT_SHOULDER: "left shoulder", RIGHT_SHOULDER: "right shoulder", LEFT_ELBOW: "left upper arm",
         RIGHT_ELBOW: "right upper arm", LEFT_WRIST: "left forearm", RIGHT_WRIST: "right forearm", PELVIS_POINT: "trunk",
         LEFT_HIP: "left hip", RIGHT_HIP: "right hip", LEFT_KNEE: "left thigh", RIGHT_KNEE: "right thigh",
         LEFT_ANKLE: "left shin", RIGHT_ANKLE: "right shin", NOSE: "neck"}
SIDES = [[CHILDREN.index(joint) for joint in side] for side in (
    (LEFT_ELBOW, LEFT_WRIST, LEFT_KNEE, LEFT_ANKLE), (RIGHT_ELBOW, RIGHT_WRIST, RIGHT_KNEE, RIGHT_ANKLE))]
FEET = ((LEFT_ANKLE, LEFT_BIG_TOE), (LEFT_ANKLE, LEFT_HEEL), (RIGHT_ANKLE, RIGHT_BIG_TOE), (RIGHT_ANKLE, RIGHT_HEEL))


class Measure(NamedTuple):
    """One thing that is measured of a pose, beyond which it is odd or impossible, and how to say so."""

    value: float
    odd: float
    impossible: float
    words: str                  # with a place for the value


def check_plausible(skeleton: Skeleton, source: str) -> None:
    """ValueError, one line, if the pose of the first frame cannot be a person's. source: the picture, for the message."""
    if reason := implausible(skeleton.keypoints[0]) or not_upright(skeleton.keypoints[0]):
        raise ValueError(f"{source}: expected one person, seen at least from head to waist (found a pose that is hardly a "
                         f"person's: {reason}): use another picture, crop it to the person, or turn it upright")


def not_upright(keypoints: np.ndarray) -> str | None:
    """That a person (133, 3) is upside down or lies on the side in the picture: no movement of somebody who stands fits.

    Who bends over has a trunk that lies and legs that do not.
    """
    points = with_middles(keypoints)
    neck, pelvis = points[[NECK_POINT, PELVIS_POINT]]
    if not is_seen(np.stack([neck, pelvis])).all():
        return None
    trunk = pelvis[:2] - neck[:2]
    if -trunk[1] > abs(trunk[0]):
        return "it is upside down"
    legs = [points[knee, :2] - pelvis[:2] for knee in (LEFT_KNEE, RIGHT_KNEE) if is_seen(points[knee])]
    lies = [abs(across) > LYING * abs(down) for across, down in (trunk, *legs)]
    return "it lies on its side" if all(lies) else None


def implausible(keypoints: np.ndarray) -> str | None:
    """Why keypoints (133, 3) of one person in pixels cannot be right, in words; None where nothing speaks against them."""
    body = keypoints[BODY]
    seen = body[is_seen(body)]
    if len(seen) < MIN_BODY_KEYPOINTS:
        return f"only {len(seen)} of {len(body)} body points are seen"
    if not is_seen(body[[LEFT_SHOULDER, RIGHT_SHOULDER]]).any():
        return "neither shoulder is seen"
    if (extent := float(np.ptp(seen[:, :2], axis=0).max())) < MIN_PIXELS:
        return f"it is only {extent:.0f} pixels large"
    points = with_middles(keypoints)                                                    # (135, 3)
    lengths = distances(points, PARENTS, CHILDREN)                                      # (14,) pixels, 0 unseen
    if not (lengths > 0).any():
        return "no two joints of one limb are seen"
    scale = float(np.quantile((lengths / METRES)[lengths > 0], TYPICAL))                # pixels per metre
    if reason := wrong_order(points, lengths / METRES / scale):
        return reason
    odd = [measure for measure in measures(points, lengths, scale) if measure.value > measure.odd]
    worst = max(odd, key=lambda measure: measure.value / measure.impossible, default=None)
    if worst and (worst.value > worst.impossible or len(odd) > 1):
        return worst.words.format(worst.value)
    return None


def wrong_order(points: np.ndarray, relative: np.ndarray) -> str | None:
    """What no body can do, of points (135, 3) with neck and pelvis; relative: bone lengths (14,), 1 in the image plane."""
    if (relative[relative > 0] < SHORT).mean() > MAX_SHORT:
        return "most of its bones have no length"
    if min(relative[CHILDREN.index(NOSE)], relative[CHILDREN.index(PELVIS_POINT)]) < LONG:
        return None
    up, down = (points[end, :2] - points[NECK_POINT, :2] for end in (NOSE, PELVIS_POINT))
    bend = float(up @ down / (np.linalg.norm(up) * np.linalg.norm(down)))
    return "the head lies on the trunk" if bend > MIN_NECK_BEND else None


def measures(points: np.ndarray, lengths: np.ndarray, scale: float) -> Iterator[Measure]:
    """Points (135, 3) with neck and pelvis and their bones (14,) in pixels, at so many pixels per metre of an adult."""
    relative = lengths / METRES / scale
    longest = int(relative.argmax())
    yield Measure(relative[longest], 1.7, 2.5,
                  f"the {NAMES[BONES[longest].child]} is {{:.1f}} times as long as the other bones allow")
    both = (lengths[SIDES[0]] > 0) & (lengths[SIDES[1]] > 0)
    if both.sum() > 1:
        left, right = (float(lengths[side][both].sum()) for side in SIDES)
        yield Measure(max(left, right) / min(left, right), 2.5, 3.5,
                      "the limbs of one side are {:.1f} times as long as the other's")
    seen = points[BODY, 2][is_seen(points[BODY])]
    yield Measure(1 - float(np.median(seen)), 0.4, 0.5, "its body points are mostly guessed (doubt {:.2f})")
    yield Measure(distances(points, [LEFT_EYE], [RIGHT_EYE]).max() / 0.065 / scale, 3.0, 4.0,
                  "the eyes are {:.1f} times as far apart as the body allows")
    yield Measure(distances(points, *map(list, zip(*FEET))).max() / 0.2 / scale, 2.2, 4.0,
                  "a foot is {:.1f} times as long as the body allows")
    face = points[FACE][is_seen(points[FACE]), :2]
    if len(face) > 1:
        yield Measure(float(np.ptp(face, axis=0).max()) / 0.2 / scale, 2.5, 4.0,
                      "the face is {:.1f} times as large as the body allows")
        yield Measure(distances(points, [NOSE], [FACE_NOSE]).max() / scale, 0.08, 0.3,
                      "the face lies {:.2f} m beside the head")
    for name, hand, wrist in (("left", LEFT_HAND, LEFT_WRIST), ("right", RIGHT_HAND, RIGHT_WRIST)):
        starts, ends = ([hand.start + bone[end] for bone in FINGER_BONES] for end in (0, 1))
        yield Measure(distances(points, starts, ends).max() / 0.1 / scale, 3.0, 4.5,
                      f"the {name} hand is {{:.1f}} times as large as the body allows")
        yield Measure(distances(points, [wrist], [hand.start]).max() / scale, 0.1, 0.3,
                      f"the {name} hand lies {{:.2f}} m beside its arm")


def hides_too_much(keypoints: np.ndarray) -> str | None:
    """Why a picture with keypoints (133, 3) shows too little of its person to move their limbs one by one; None where it does not.

    An edge cuts them above the hips or in half, they sit, turn their side to the camera, or hold an arm across the body.
    """
    xy, seen = with_middles(keypoints)[:, :2], is_seen(keypoints[BODY])
    length = lambda a, b: float(np.linalg.norm(xy[a] - xy[b]))
    shoulders, hips, (nose,) = (is_present(keypoints[points]) for points in ([LEFT_SHOULDER, RIGHT_SHOULDER], [LEFT_HIP, RIGHT_HIP], [NOSE]))
    if shoulders.any() and not hips.any():
        return "only head and shoulders are seen: take one that shows them to the hips at least"
    if shoulders.sum() == 1 and not nose:
        return "an edge of the picture cuts them in half: take one that shows both sides"
    legs = [(hip, knee, ankle) for hip, knee, ankle in ((LEFT_HIP, LEFT_KNEE, LEFT_ANKLE), (RIGHT_HIP, RIGHT_KNEE, RIGHT_ANKLE))
            if seen[[hip, knee, ankle]].all()]
    whole = seen[[LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP]].all()
    if legs:
        thigh, shin = (np.mean([length(leg[part], leg[part + 1]) for leg in legs]) for part in (0, 1))
        short = whole and thigh + shin < SHORT_LEGS * length(NECK_POINT, PELVIS_POINT)
        if thigh < SITTING[bool(short)] * shin:
            return "they sit, or their thighs point at the camera: take one in which they stand"
    if not whole:
        return None
    across, down = xy[LEFT_SHOULDER] - xy[RIGHT_SHOULDER], xy[PELVIS_POINT] - xy[NECK_POINT]
    if length(LEFT_SHOULDER, RIGHT_SHOULDER) < SIDEWAYS * np.linalg.norm(down):
        return "they are seen from the side: take one that shows them from the front"
    wrists = xy[[LEFT_WRIST, RIGHT_WRIST]] - xy[NECK_POINT]                             # (2, 2)
    outwards, below = wrists @ across / (across @ across) * (1, -1), wrists @ down / (down @ down)      # from the spine, and down it
    crossed = seen[[LEFT_WRIST, RIGHT_WRIST]] & (outwards < CROSSED) & (below > 0.1) & (below < CROSSED_DOWN)
    return "an arm lies across the body: take one in which the arms hang or are away from the body" if crossed.any() else None
