"""The detector for photographs with its downloaded networks, on people whose keypoints are known; without them left out."""
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from dwpose.plausibility import check_plausible
from dwpose.skeleton import (BODY, FACE, LEFT_ANKLE, LEFT_HAND, LEFT_SHOULDER, LEFT_WRIST, NOSE, RIGHT_ANKLE, RIGHT_HAND,
                             RIGHT_SHOULDER, SEEN_CONFIDENCE)
from media.images import read_image
from synthetic.clips import HELD_OUT_SEED, sample_camera, sample_clip

ROOT = Path(__file__).resolve().parents[1]
MEAN_ERROR = 0.03               # of the person's height; the networks never saw people of clay
BEHIND_ERROR = 0.05


@pytest.fixture(scope="module")
def picture():
    return read_image(ROOT / "assets" / "person.png")


def clay(seed: int, yaw: float, kind: str | None = None):
    """A rendered person, 480 pixels high, and the true keypoints (133, 3). yaw: radians, pi is from behind."""
    camera = replace(sample_camera(np.random.default_rng(seed)), yaw=yaw)
    clip = sample_clip(HELD_OUT_SEED + seed, kind, num_frames=8, size=(480, 288), camera=camera)
    return clip.frame(5)


def error(found: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance over the joints from the shoulders down that both see, in heights of the person."""
    joints = np.arange(LEFT_SHOULDER, RIGHT_ANKLE + 1)
    joints = joints[(found[joints, 2] >= SEEN_CONFIDENCE) & (truth[joints, 2] >= SEEN_CONFIDENCE)]
    assert len(joints) >= 6
    return float(np.linalg.norm(found[joints, :2] - truth[joints, :2], axis=1).mean() / np.ptp(truth[truth[:, 2] > 0, 1]))


def test_a_person_is_found_with_face_and_mask(photograph_detector, picture):
    seen = photograph_detector.find(picture[None], source="person.png")
    keypoints, mask = seen.keypoints[0], photograph_detector.mask_of(picture, seen)
    assert (keypoints[BODY, 2] >= SEEN_CONFIDENCE).all() and (keypoints[FACE, 2] > 0.9).all()
    assert keypoints[NOSE, 1] < keypoints[LEFT_SHOULDER, 1] < keypoints[LEFT_ANKLE, 1]
    assert keypoints[RIGHT_SHOULDER, 0] < keypoints[LEFT_SHOULDER, 0]                    # the person's own left
    body = keypoints[BODY, :2].astype(int)
    assert (mask[body[:, 1], body[:, 0]] > 0.5).mean() > 0.9 and 0.05 < mask.mean() < 0.3
    check_plausible(seen, "person.png")


@pytest.mark.parametrize("seed", range(3))
def test_joints_lie_where_they_were_rendered(photograph_detector, seed):
    frame, truth = clay(seed, yaw=0.0)
    assert error(photograph_detector.find(frame[None]).keypoints[0], truth) < MEAN_ERROR


def test_from_behind_the_body_is_found_and_the_face_is_not(photograph_detector):
    frame, truth = clay(0, yaw=np.pi, kind="stand")
    found = photograph_detector.find(frame[None]).keypoints[0]
    assert error(found, truth) < BEHIND_ERROR and not found[FACE].any() and not found[NOSE].any()
    assert found[LEFT_SHOULDER, 0] < found[RIGHT_SHOULDER, 0]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_people_who_lie_or_stand_on_their_heads_are_found(photograph_detector, picture, turns):
    upright = photograph_detector.find(picture[None]).keypoints[0, :, :2]
    turned = np.ascontiguousarray(np.rot90(picture, turns))
    found = photograph_detector.find(turned[None]).keypoints[0, :, :2]
    height, width = turned.shape[:2]
    for _ in range(turns):                                                              # back, a quarter turn at a time
        found, height, width = np.stack([height - 1 - found[:, 1], found[:, 0]], axis=1), width, height
    joints = slice(LEFT_SHOULDER, RIGHT_ANKLE + 1)
    assert np.linalg.norm(found[joints] - upright[joints], axis=1).mean() < 0.02 * len(picture)


def test_two_people_side_by_side_are_told_apart(photograph_detector, picture):
    small = cv2.resize(picture, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    both = np.full((picture.shape[0], 2 * picture.shape[1], 3), 60, np.uint8)
    both[:, :picture.shape[1]] = picture
    both[40:40 + small.shape[0], picture.shape[1] + 30:picture.shape[1] + 30 + small.shape[1]] = small
    assert len(photograph_detector.detect_everybody(both[None])[0]) == 2
    large, other = (photograph_detector.find(both[None], person=person).keypoints[0] for person in ("largest", 1))
    assert large[BODY, 0].max() < picture.shape[1] < other[BODY, 0].min()


def test_a_half_body_has_no_legs_and_nothing_outside_the_picture(photograph_detector):
    frame, truth = clay(5, yaw=0.0)
    cut = int(truth[[11, 12], 1].mean()) + 10                                            # just below the hips
    found = photograph_detector.find(np.ascontiguousarray(frame[:cut])[None]).keypoints[0]
    assert (found[[LEFT_ANKLE, RIGHT_ANKLE], 2] < SEEN_CONFIDENCE).all() and (found[LEFT_SHOULDER, 2] > SEEN_CONFIDENCE)
    assert (found[:, 1] < cut).all()


def test_what_is_no_person_is_one_line(photograph_detector, picture):
    rng = np.random.default_rng(0)
    nothing = {"black": np.zeros((240, 320, 3), np.uint8), "noise": rng.integers(0, 256, (200, 300, 3), np.uint8),
               "one pixel": np.full((1, 1, 3), 9, np.uint8), "a line": np.full((3, 900, 3), 200, np.uint8),
               "stripes": np.repeat(np.arange(0, 240, 8, dtype=np.uint8), 8)[None, :, None].repeat(200, 0).repeat(3, 2),
               "legs": np.ascontiguousarray(picture[220:]), "too small": cv2.resize(picture, (12, 20), interpolation=cv2.INTER_AREA)}
    for name, image in nothing.items():
        with pytest.raises(ValueError, match=f"^{name}: no person found .frames: 1.*: use a picture that shows a person") as refusal:
            photograph_detector.find(image[None], source=name)
        assert "\n" not in str(refusal.value)


def test_one_person_is_followed_through_a_clip_and_hands_are_where_the_wrists_are(photograph_detector):
    clip = sample_clip(HELD_OUT_SEED + 4, "wave", num_frames=12, fps=15.0, size=(480, 288))
    skeleton = photograph_detector.detect(iter(clip.frames), 15.0, source="wave.mp4")
    assert skeleton.confidence[:, BODY].max(axis=1).min() > 0.9 and skeleton.fps == 15
    errors = [error(found, truth) for found, truth in zip(skeleton.keypoints, clip.skeleton.keypoints)]
    assert np.mean(errors) < MEAN_ERROR
    for hand, wrist in ((LEFT_HAND, LEFT_WRIST), (RIGHT_HAND, LEFT_WRIST + 1)):
        seen = skeleton.confidence[:, hand.start] >= SEEN_CONFIDENCE
        gap = np.linalg.norm(skeleton.xy[seen, hand.start] - skeleton.xy[seen, wrist], axis=1)
        assert (gap < 0.06 * 480).all()
