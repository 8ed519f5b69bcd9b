"""MediaPipe's 33 + 2 x 21 + 468 points of one person as the 133 of COCO-WholeBody, and the person's mask and depth.

Left and right are the person's own in both. The 68 face points of iBUG are single points of the mesh, or the middle of
two; there is no official table (chosen: github.com/PeizhiYan/Mediapipe_2_Dlib_Landmarks). Small toes are derived.
"""
from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from dwpose.mediapipe_geometry import sigmoid
from dwpose.mediapipe_networks import Pose
from dwpose.mediapipe_person import Reading
from dwpose.skeleton import (BODY, FACE, LEFT_BIG_TOE, LEFT_EYE, LEFT_HAND, LEFT_HEEL, LEFT_SMALL_TOE, NOSE,
                             NUM_KEYPOINTS, RIGHT_BIG_TOE, RIGHT_EYE, RIGHT_HAND, RIGHT_HEEL, RIGHT_SMALL_TOE,
                             is_seen)

BODY_OF_POSE = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
FOOT_OF_POSE = {LEFT_BIG_TOE: 31, LEFT_HEEL: 29, RIGHT_BIG_TOE: 32, RIGHT_HEEL: 30}
SMALL_TOES = (                      # point, its toe, heel, ankle and knee in the pose, and the sign of its side
    (LEFT_SMALL_TOE, 31, 29, 27, 25, -1), (RIGHT_SMALL_TOE, 32, 30, 28, 26, 1))
TOE_OUTWARD, TOE_BACK = 0.15, 0.2   # the small toe lies beside the big one, of the shin, and behind it, of the foot
IBUG_OF_MESH = np.array((           # 68 pairs of mesh points, to be averaged
    (127, 127), (234, 234), (93, 93), (132, 58), (58, 172), (136, 136), (150, 150), (176, 176), (152, 152), (400, 400),
    (379, 379), (365, 365), (397, 288), (361, 288), (323, 323), (454, 454), (356, 356),                         # jaw
    *((brow, brow) for brow in (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)),
    (168, 6), (197, 195), *((nose, nose) for nose in (5, 4, 98, 97, 2, 326, 327)),
    *((eye, eye) for eye in (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)),
    *((lip, lip) for lip in (61, 39, 37, 0, 267, 269, 291, 321, 314, 17, 84, 91, 78, 82, 13, 312, 308, 317, 14, 87)),
))
PROFILE = 0.15                  # of the trunk's length: shoulders wider apart are seen from the front or from behind
SURE_FACE = 0.9                 # score of a face that makes a person by itself
SURE_POSE, SURE_MASK = 0.95, 0.85           # what a person without a face needs: the pose's score, points on the mask
MAX_LEAN = np.pi / 3            # how far such a person may lean, radians,
MIN_FACELESS = 0.45             # and the least side of the region, of the picture's longer side
MIN_POSE, MIN_MASK = 0.9, 0.6   # what a person with a face needs: the pose's score, points on the mask
HAND_KEYPOINTS = {"left": LEFT_HAND, "right": RIGHT_HAND}


def as_keypoints(reading: Reading, size: tuple[int, int]) -> np.ndarray:
    """(133, 3) float32 picture pixels and confidence; points outside the picture of (height, width) are not seen.

    A body point is as sure as it is both in the picture (presence) and not hidden (visibility): their geometric mean.
    """
    keypoints = np.zeros((NUM_KEYPOINTS, 3), np.float32)
    sure = np.sqrt(reading.pose.points[:, 3] * reading.pose.points[:, 4])               # (33,), never smoothed
    pose = np.concatenate([reading.points[:, :2], sure[:, None]], axis=1)               # (33, 3)
    keypoints[BODY] = pose[list(BODY_OF_POSE)]
    for point, row in FOOT_OF_POSE.items():
        keypoints[point] = pose[row]
    for point, toe, heel, ankle, knee, side in SMALL_TOES:
        keypoints[point, :2] = small_toe(*reading.points[[toe, heel, ankle, knee], :3], side)
        keypoints[point, 2] = sure[[toe, heel]].min()
    if reading.face is not None:
        keypoints[FACE, :2] = reading.face[IBUG_OF_MESH, :2].mean(axis=1)
        keypoints[FACE, 2] = reading.face_score
    elif facing_of(reading.pose) < -PROFILE:
        keypoints[[NOSE, LEFT_EYE, RIGHT_EYE]] = 0
    for side, points in reading.hands.items():
        keypoints[HAND_KEYPOINTS[side], :2] = points[:, :2]
        keypoints[HAND_KEYPOINTS[side], 2] = reading.hand_scores[side]
    inside = ((keypoints[:, :2] >= 0) & (keypoints[:, :2] < size[::-1])).all(axis=1)
    keypoints[~inside] = 0
    return keypoints


def small_toe(toe: np.ndarray, heel: np.ndarray, ankle: np.ndarray, knee: np.ndarray, side: int) -> np.ndarray:
    """(2,) pixels, from four points (x, y, z): square to foot and shin, on the outer side. side: -1 left, 1 right."""
    foot, shin = toe - heel, knee - ankle
    outward = side * np.cross(foot, shin)                                               # (3,)
    outward *= np.linalg.norm(shin[:2]) / max(float(np.linalg.norm(outward)), 1e-9)     # depth is too rough for lengths
    return toe[:2] - TOE_BACK * foot[:2] + TOE_OUTWARD * outward[:2]


def facing_of(pose: Pose) -> float:
    """How wide the shoulders lie, in trunk lengths: positive facing the camera, negative from behind, 0 in profile."""
    left, right, left_hip, right_hip = pose.points[[11, 12, 23, 24], :2]
    across, down = left - right, (left_hip + right_hip - left - right) / 2
    return float((across[0] * down[1] - across[1] * down[0]) / max(float(down @ down), 1e-9))


def has_sure_face(reading: Reading) -> bool:
    return reading.face is not None and reading.face_score >= SURE_FACE


def unsure(reading: Reading, size: tuple[int, int], turned_by: float) -> str | None:
    """What speaks against somebody new in a picture of `size`, found in a tile turned by so many radians; or None.

    A face makes a person. People seen from behind or from the side may show none: then all else must be sure.
    """
    pose, on_mask = reading.pose, share_on_mask(reading.pose)
    if has_sure_face(reading):
        return None if pose.score >= MIN_POSE and on_mask >= MIN_MASK else "a face is seen, but no body that belongs to it"
    if turned_by or abs(pose.region.angle) > MAX_LEAN:
        return "it does not stand upright, and no face is seen"
    if facing_of(pose) > PROFILE:
        return "it faces the camera, and no face is seen"
    if pose.region.side < MIN_FACELESS * max(size):
        return "it is small, and no face is seen"
    if pose.score < SURE_POSE or on_mask < SURE_MASK:
        return "no face is seen, and the body is not sure"
    return None


def share_on_mask(pose: Pose) -> float:
    """How many of the body points that are sure lie on the person's own mask; in [0, 1]."""
    rows = pose.points[list(BODY_OF_POSE)]
    sure = is_seen(np.column_stack([rows[:, :2], np.sqrt(rows[:, 3] * rows[:, 4])]))    # (17,)
    places = pose.region.from_picture(rows[sure, :2])
    cells = (places * len(pose.mask_logits)).astype(int).clip(0, len(pose.mask_logits) - 1)
    return float((pose.mask_logits[cells[:, 1], cells[:, 0]] > 0).mean()) if len(cells) else 0.0


def body_depth(reading: Reading) -> np.ndarray:
    """(17,) metres that each body point lies behind the hips, negative before them."""
    return reading.metres[list(BODY_OF_POSE), 2]


def person_mask(pose: Pose, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 in [0, 1]: how surely each pixel is the person's; 0 outside the region the pose was read in."""
    height, width = size
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    places = pose.region.from_picture(np.stack([columns.ravel(), rows.ravel()], axis=1))        # (H W, 2) in [0, 1]
    share = sigmoid(pose.mask_logits).astype(np.float32)                                # (256, 256)
    mask = map_coordinates(share, places.T[::-1] * len(share), order=1, mode="constant")
    return mask.reshape(height, width)


def person_box(keypoints: np.ndarray) -> np.ndarray:
    """(5,) x1, y1, x2, y2 of the seen points (133, 3), and their mean confidence."""
    seen = keypoints[is_seen(keypoints)]
    return np.concatenate([seen[:, :2].min(axis=0), seen[:, :2].max(axis=0), [seen[:, 2].mean()]])
