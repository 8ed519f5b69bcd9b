"""One person, read from head to finger tips, and followed from frame to frame as MediaPipe's holistic graph does.

A person's region in a frame comes from the landmarks of the frame before; hands and face are looked for where the pose
says, and keep their own region of the frame before where the two agree. Body points are smoothed by One-Euro filters
(Casiez et al. 2012, Eq. 2-6), hands and face are not.

Its 33 + 2 x 21 + 468 points become the 133 of COCO-WholeBody. Left and right are the person's own in both. The 68 face
points of iBUG are single points of the mesh, or the middle of two; there is no official table (chosen:
github.com/PeizhiYan/Mediapipe_2_Dlib_Landmarks). Small toes are derived.
"""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import map_coordinates

from dwpose.mediapipe_networks import (aligned, around, around_palm, DOWN, FACE_AGREEMENT, HAND_AGREEMENT, Networks, Pose,
                                       PRESENT, Region, RIGHT, sigmoid, steadied, turned, UP)
from dwpose.skeleton import (BODY, FACE, is_seen, LEFT_BIG_TOE, LEFT_EYE, LEFT_HAND, LEFT_HEEL, LEFT_SMALL_TOE, NOSE,
                             NUM_KEYPOINTS, RIGHT_BIG_TOE, RIGHT_EYE, RIGHT_HAND, RIGHT_HEEL, RIGHT_SMALL_TOE)

POSE_LEFT_EYE, POSE_RIGHT_EYE = 2, 5
POSE_FACE = slice(0, 11)
HAND_OF_POSE = {"left": (15, 17, 19), "right": (16, 18, 20)}     # wrist, little and index knuckle in the pose
MESH_EYE_CORNERS = (33, 263)        # outer corners, right and left, in the face mesh
MIN_WRIST_VISIBILITY = 0.1
VISIBILITY = 3                      # column of pose points
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


@dataclass
class OneEuro:
    """Smooths less the faster a value moves; speeds count in units of `scale` per second."""

    min_cutoff: float               # hertz
    beta: float
    value: np.ndarray | None = None
    raw: np.ndarray | None = None
    speed: np.ndarray | None = None

    def __call__(self, raw: np.ndarray, seconds: float, scale: float) -> np.ndarray:
        """The next value, `seconds` after the one before."""
        if self.value is None:
            self.value, self.raw, self.speed = raw, raw, np.zeros_like(raw)
            return raw
        speed = (raw - self.raw) / (seconds * scale)
        self.speed = self.speed + share_of_new(1.0, seconds) * (speed - self.speed)
        new = share_of_new(self.min_cutoff + self.beta * np.abs(self.speed), seconds)
        self.value, self.raw = new * raw + (1 - new) * self.value, raw
        return self.value


def share_of_new(cutoff: float | np.ndarray, seconds: float) -> float | np.ndarray:
    """How much of a new value a low-pass filter takes that lets pass up to `cutoff` hertz."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * seconds))


@dataclass(frozen=True)
class Reading:
    """All that is seen of one person in one frame, in picture pixels."""

    pose: Pose                      # as read, not smoothed
    points: np.ndarray              # (33, 5) as pose.points; smoothed in a video
    hands: dict[str, np.ndarray]    # by side the 21 points (21, 3) of a hand that is seen
    hand_scores: dict[str, float]   # by side the score of every hand that was looked for
    face: np.ndarray | None         # (468, 3) of the face mesh
    face_score: float               # 0 where no face was detected
    regions: dict[str, Region]      # what was looked at; for tests


@dataclass
class FollowedPerson:
    """Who is read frame after frame. `region`: where in the next frame; None: lost, until somebody sets it again."""

    networks: Networks
    region: Region | None
    hands: dict[str, np.ndarray] = field(default_factory=dict)          # of the frame before, as is the face
    face: np.ndarray | None = None
    _points: OneEuro = field(default_factory=lambda: OneEuro(0.05, 80))
    _ahead: OneEuro = field(default_factory=lambda: OneEuro(0.01, 10))
    _visibility: np.ndarray | None = None

    def read(self, picture: np.ndarray, seconds: float) -> Reading | None:
        """The person in the next frame, `seconds` after the one before; None, and lost, where the pose is not seen."""
        pose = self.networks.pose(picture, self.region)
        if pose is None:
            self.region, self.hands, self.face = None, {}, None
            for smooth in (self._points, self._ahead):
                smooth.value = None
            return None
        size = aligned(*pose.ahead, UP).side
        points = pose.points.copy()
        points[:, :3] = self._points(pose.points[:, :3], seconds, size)
        self._visibility = (pose.points[:, 3:] if self._visibility is None else
                            self._visibility + 0.1 * (pose.points[:, 3:] - self._visibility))
        points[:, 3:] = self._visibility
        self.region = region_ahead(self._ahead(pose.ahead[:, :3], seconds, size))
        reading = with_hands_and_face(self.networks, picture, pose, points, self.hands, self.face)
        self.hands, self.face = reading.hands, reading.face
        return reading


def region_of_detection(points: np.ndarray) -> Region:
    """Where a detected person (4, 2) is read: the circle about the body, and a quarter more."""
    return aligned(points[0], points[1], UP).moved(1.25)


region_ahead = region_of_detection  # of the two auxiliary points of a pose


def with_hands_and_face(networks: Networks, picture: np.ndarray, pose: Pose, points: np.ndarray,
                        hands_before: dict[str, np.ndarray], face_before: np.ndarray | None) -> Reading:
    """The pose completed; `points` are the pose's, smoothed or not."""
    hands, scores, regions = {}, {}, {"pose": pose.region}
    for side, (wrist, _, _) in HAND_OF_POSE.items():
        if points[wrist, VISIBILITY] > MIN_WRIST_VISIBILITY:
            looked_at = hand_regions(networks, picture, points, side, hands_before.get(side))
            regions |= {f"{side} hand{name}": region for name, region in looked_at.items()}
            hand, scores[side] = networks.hand(picture, looked_at[""])
            if scores[side] > PRESENT:
                hands[side] = hand
    face, score = None, 0.0
    looked_at = face_regions(networks, picture, points, face_before)
    regions |= {f"face{name}": region for name, region in looked_at.items()}
    if "" in looked_at:
        face, score = networks.face(picture, looked_at[""])
    return Reading(pose, points, hands, scores, face if score > PRESENT else None, score, regions)


def hand_regions(networks: Networks, picture: np.ndarray, points: np.ndarray, side: str,
                 before: np.ndarray | None) -> dict[str, Region]:
    """Where a hand is read (""), and on the way there: by the pose, and by the network that corrects it."""
    wrist, little, index = points[list(HAND_OF_POSE[side]), :2]
    middle = (2 * index + little) / 3
    by_pose = aligned(wrist, middle, UP)._replace(x=float(middle[0]), y=float(middle[1])).moved(2.7, -0.1)
    corrected = aligned(*networks.hand_circle(picture, by_pose), DOWN).moved(1.0, -0.1)
    followed = None if before is None else around_palm(before, 2.0, -0.1)
    return {" by pose": by_pose, " corrected": corrected, "": steadied(corrected, followed, before, HAND_AGREEMENT)}


def face_regions(networks: Networks, picture: np.ndarray, points: np.ndarray,
                 before: np.ndarray | None) -> dict[str, Region]:
    """Where the face is read (""), missing where none is detected, and on the way there."""
    by_pose = around(points[POSE_FACE], turned(points[POSE_RIGHT_EYE], points[POSE_LEFT_EYE], RIGHT), 3.0)
    found = networks.faces(picture, by_pose)
    if not found:
        return {" by pose": by_pose}
    features = found[0].points                                                          # (6, 2)
    detected = around(features, turned(features[0], features[1], RIGHT), 2.0, -0.1)
    followed = None if before is None else around(before, turned(*before[list(MESH_EYE_CORNERS), :2], RIGHT), 1.5)
    return {" by pose": by_pose, " detected": detected, "": steadied(detected, followed, before, FACE_AGREEMENT)}


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
