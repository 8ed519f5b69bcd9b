"""One person, read from head to finger tips, and followed from frame to frame as MediaPipe's holistic graph does.

A person's region in a frame comes from the landmarks of the frame before; hands and face are looked for where the pose
says, and keep their own region of the frame before where the two agree. Body points are smoothed by One-Euro filters
(Casiez et al. 2012, Eq. 2-6), hands and face are not.
"""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dwpose.mediapipe_geometry import (DOWN, FACE_AGREEMENT, HAND_AGREEMENT, RIGHT, UP, Region, aligned, around,
                                       around_palm, steadied, turned)
from dwpose.mediapipe_networks import PRESENT, Networks, Pose

POSE_LEFT_EYE, POSE_RIGHT_EYE = 2, 5
POSE_FACE = slice(0, 11)
HAND_OF_POSE = {"left": (15, 17, 19), "right": (16, 18, 20)}     # wrist, little and index knuckle in the pose
MESH_EYE_CORNERS = (33, 263)        # outer corners, right and left, in the face mesh
MIN_WRIST_VISIBILITY = 0.1
VISIBILITY = 3                      # column of pose points


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
    metres: np.ndarray              # (33, 3) as pose.metres
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
    _metres: OneEuro = field(default_factory=lambda: OneEuro(0.1, 40))
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
        metres = self._metres(pose.metres, seconds, 1.0)
        self.region = region_ahead(self._ahead(pose.ahead[:, :3], seconds, size))
        reading = with_hands_and_face(self.networks, picture, pose, points, metres, self.hands, self.face)
        self.hands, self.face = reading.hands, reading.face
        return reading


def region_of_detection(points: np.ndarray) -> Region:
    """Where a detected person (4, 2) is read: the circle about the body, and a quarter more."""
    return aligned(points[0], points[1], UP).moved(1.25)


region_ahead = region_of_detection  # of the two auxiliary points of a pose


def with_hands_and_face(networks: Networks, picture: np.ndarray, pose: Pose, points: np.ndarray, metres: np.ndarray,
                        hands_before: dict[str, np.ndarray], face_before: np.ndarray | None) -> Reading:
    """The pose completed; `points` and `metres` are the pose's, smoothed or not."""
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
    return Reading(pose, points, metres, hands, scores, face if score > PRESENT else None, score, regions)


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
