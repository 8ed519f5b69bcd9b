"""Is a detected pose a person's? Every detector answers something to a cat, a cup or a crowd; a run must not animate it.

A bone in a picture can look as short as one likes, because it may point at the camera, but hardly longer than the other
bones allow. So the checks are one-sided: they refuse what no person could look like, not what is unusual.
"""
from __future__ import annotations

import numpy as np

from dwpose.proportions import BONES, CHILDREN, METRES, NECK_POINT, PARENTS, PELVIS_POINT, distances, with_middles
from dwpose.skeleton import (BODY, LEFT_ANKLE, LEFT_EAR, LEFT_ELBOW, LEFT_EYE, LEFT_HIP, LEFT_KNEE, LEFT_SHOULDER,
                             LEFT_WRIST, NOSE, RIGHT_ANKLE, RIGHT_EAR, RIGHT_ELBOW, RIGHT_EYE, RIGHT_HIP, RIGHT_KNEE,
                             RIGHT_SHOULDER, RIGHT_WRIST, SEEN_CONFIDENCE, Skeleton)

MIN_BODY_KEYPOINTS = 8          # seen body points that make a person, as in dwpose/detector.py
MIN_PIXELS = 32                 # extent of the seen body points, longer side
TYPICAL = 0.6                   # quantile of the bones' lengths, each against an adult's, that tells the body's scale
MAX_BONE = 2.5                  # times as long as the body's scale allows: perspective, children, drawn heads
MAX_SIDES = 3.0                 # the seen bones of one side against the same bones of the other
SHORT = 0.15                    # of its full length: a bone that points at the camera
MAX_SHORT = 0.6                 # share of the seen bones that may do so
MIN_MEDIAN_CONFIDENCE = 0.4     # of the seen body points
HEAD_METRES = {(LEFT_EYE, RIGHT_EYE): 0.065, (LEFT_EAR, RIGHT_EAR): 0.16, (NOSE, LEFT_EYE): 0.055,
               (NOSE, RIGHT_EYE): 0.055}
MAX_HEAD = 4.0                  # times as large as the body's scale allows: drawn figures have large heads
MIN_NECK_BEND = np.cos(np.radians(50))      # the head may hang, not lie on the trunk: cosine of neck-nose to neck-pelvis
LONG = 0.6                      # of their full lengths: only bones so long in the picture tell a direction
NAMES = {LEFT_SHOULDER: "left shoulder", RIGHT_SHOULDER: "right shoulder", LEFT_ELBOW: "left upper arm",
         RIGHT_ELBOW: "right upper arm", LEFT_WRIST: "left forearm", RIGHT_WRIST: "right forearm", PELVIS_POINT: "trunk",
         LEFT_HIP: "left hip", RIGHT_HIP: "right hip", LEFT_KNEE: "left thigh", RIGHT_KNEE: "right thigh",
         LEFT_ANKLE: "left shin", RIGHT_ANKLE: "right shin", NOSE: "neck"}
SIDES = [[CHILDREN.index(joint) for joint in side] for side in (
    (LEFT_ELBOW, LEFT_WRIST, LEFT_KNEE, LEFT_ANKLE), (RIGHT_ELBOW, RIGHT_WRIST, RIGHT_KNEE, RIGHT_ANKLE))]


def check_plausible(skeleton: Skeleton, source: str) -> None:
    """ValueError, one line, if the pose of the first frame cannot be a person's. source: the picture, for the message."""
    if reason := implausible(skeleton.keypoints[0]):
        raise ValueError(f"{source}: expected one person whose head and shoulders are seen (found a pose that is hardly "
                         f"a person's: {reason}): use a sharper picture, crop it to the person, or turn it upright")


def implausible(keypoints: np.ndarray) -> str | None:
    """Why keypoints (133, 3) of one person in pixels cannot be right, in words; None where nothing speaks against them."""
    body = keypoints[BODY]
    seen = body[body[:, 2] >= SEEN_CONFIDENCE]
    if len(seen) < MIN_BODY_KEYPOINTS:
        return f"only {len(seen)} of {len(body)} body points are seen"
    if not (body[[LEFT_SHOULDER, RIGHT_SHOULDER], 2] >= SEEN_CONFIDENCE).any():
        return "neither shoulder is seen"
    extent = float(np.ptp(seen[:, :2], axis=0).max())
    if extent < MIN_PIXELS:
        return f"it is only {extent:.0f} pixels large"
    if (middle := float(np.median(seen[:, 2]))) < MIN_MEDIAN_CONFIDENCE:
        return f"its body points are mostly guessed (median confidence {middle:.2f})"
    return wrong_lengths(with_middles(keypoints))


def wrong_lengths(points: np.ndarray) -> str | None:
    """What no body's lengths in a picture can be, of points (135, 3) with neck and pelvis."""
    lengths = distances(points, PARENTS, CHILDREN)                                      # (14,) pixels, 0 unseen
    seen = lengths > 0
    if not seen.any():
        return "no two joints of one limb are seen"
    scale = float(np.quantile((lengths / METRES)[seen], TYPICAL))                       # pixels per metre
    relative = lengths / METRES / scale                                                 # (14,) about 1 in the image plane
    longest = int(relative.argmax())
    if relative[longest] > MAX_BONE:
        return f"the {NAMES[BONES[longest].child]} is {relative[longest]:.1f} times as long as the other bones allow"
    if (relative[seen] < SHORT).mean() > MAX_SHORT:
        return "most of its bones have no length"
    both = seen[SIDES[0]] & seen[SIDES[1]]
    left, right = (float(lengths[side][both].sum()) for side in SIDES)
    if both.sum() >= 2 and max(left, right) > MAX_SIDES * min(left, right):
        return f"one side's limbs are {max(left, right) / max(min(left, right), 1e-6):.1f} times as long as the other's"
    for (start, end), metres in HEAD_METRES.items():
        apart = float(distances(points, [start], [end])[0]) / metres / scale
        if apart > MAX_HEAD:
            return f"the head is {apart:.1f} times as large as the body allows"
    return wrong_order(points, relative)


def wrong_order(points: np.ndarray, relative: np.ndarray) -> str | None:
    """Does the head lie on the trunk? Only where neck and trunk are long in the picture; relative: (14,)."""
    head, trunk = CHILDREN.index(NOSE), CHILDREN.index(PELVIS_POINT)
    if min(relative[head], relative[trunk]) < LONG:
        return None
    up, down = (points[end, :2] - points[NECK_POINT, :2] for end in (NOSE, PELVIS_POINT))
    bend = float(up @ down / (np.linalg.norm(up) * np.linalg.norm(down)))
    return "the head lies on the trunk" if bend > MIN_NECK_BEND else None
