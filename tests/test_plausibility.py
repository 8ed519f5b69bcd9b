"""What no person could look like is refused with its reason; whatever a person can do is not."""
from pathlib import Path

import numpy as np
import pytest

from dwpose.detector import PoseDetector
from dwpose.plausibility import check_plausible, implausible
from dwpose.skeleton import (BODY, FACE, LEFT_ANKLE, LEFT_ELBOW, LEFT_EYE, LEFT_HAND, LEFT_KNEE, LEFT_SHOULDER,
                             LEFT_WRIST, NOSE, RIGHT_ANKLE, RIGHT_HAND, RIGHT_KNEE, RIGHT_SHOULDER,
                             Skeleton)
from media.images import read_image
from synthetic.clips import HELD_OUT_SEED, sample_clip
from synthetic.motions import KINDS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def person():
    """The true keypoints (133, 3) of a person who stands and faces the camera."""
    return sample_clip(HELD_OUT_SEED, "stand", num_frames=2, size=(480, 288)).reference_skeleton.keypoints[0]


@pytest.fixture(scope="module")
def demo():
    return PoseDetector.load(*(ROOT / "weights" / "demo" / "dwpose" / f"{name}.onnx" for name in ("detector", "pose")), num_threads=1)


def changed(keypoints: np.ndarray, points, **columns) -> np.ndarray:
    """A copy in which x and y move by, or confidence becomes, what is given for `points`."""
    copy = keypoints.copy()
    copy[points, 0] += columns.get("x", 0)
    copy[points, 1] += columns.get("y", 0)
    if "confidence" in columns:
        copy[points, 2] = columns["confidence"]
    return copy


@pytest.mark.parametrize("kind", KINDS)
def test_every_motion_is_plausible_in_every_direction(kind):
    clip = sample_clip(HELD_OUT_SEED + 7, kind, num_frames=6, size=(160, 96))
    for frame in (1, 4):
        keypoints = clip.frame(frame)[1] * np.array([4, 4, 1], np.float32)
        assert implausible(keypoints) is None
        for turn in ([[0, 1], [-1, 0]], [[-1, 0], [0, -1]], [[-1, 0], [0, 1]]):             # lying, upside down, mirrored
            turned = keypoints.copy()
            turned[:, :2] = keypoints[:, :2] @ np.array(turn)
            assert implausible(turned) is None


def test_half_a_body_an_arm_at_the_camera_and_a_child_are_plausible(person):
    below = [LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE, *range(17, 23)]
    assert implausible(changed(person, below, confidence=0)) is None
    arm = person.copy()
    arm[[LEFT_ELBOW, LEFT_WRIST]] = arm[LEFT_SHOULDER]
    arm[LEFT_HAND, :2] += arm[LEFT_SHOULDER, :2] - person[LEFT_WRIST, :2]
    assert implausible(arm) is None
    child, head = person.copy(), [*range(5), *range(FACE.start, FACE.stop)]
    child[head, :2] = person[NOSE, :2] + 1.6 * (person[head, :2] - person[NOSE, :2])
    assert implausible(child) is None


def test_what_is_impossible_is_named(person):
    height = np.ptp(person[BODY, 1])
    for keypoints, reason in (
            (changed(person, slice(4, 17), confidence=0), "only 4 of 17 body points are seen"),
            (changed(person, [LEFT_SHOULDER, RIGHT_SHOULDER], confidence=0.1), "neither shoulder is seen"),
            (changed(person, [LEFT_WRIST, *range(LEFT_HAND.start, LEFT_HAND.stop)], x=-height), "the left forearm is .* times as long as the other bones allow"),
            (changed(person, LEFT_HAND, x=0.5 * height), "the left hand lies .* m beside its arm"),
            (changed(person, [RIGHT_HAND.start + 8], x=0.6 * height), "the right hand is .* times as large as the body allows"),
            (changed(person, [LEFT_EYE], x=0.3 * height), "the eyes are .* times as far apart as the body allows"),
            (changed(person, [*range(5), *range(FACE.start, FACE.stop)], y=0.32 * height), "the head lies on the trunk"),
            (changed(person, BODY, confidence=0.35), "mostly guessed"),
            (person * np.array([0.05, 0.05, 1]), "it is only .* pixels large")):
        with pytest.raises(ValueError, match=f"^cat.jpg: expected one person.*{reason}.*use another picture"):
            check_plausible(Skeleton(keypoints[None], (480, 288), 1.0), "cat.jpg")


def test_a_person_upside_down_is_refused_as_a_picture_and_is_no_impossible_pose(person):
    turned = person * np.float32([1, -1, 1]) + np.float32([0, 400, 0])
    assert implausible(turned) is None
    with pytest.raises(ValueError, match="it is upside down"):
        check_plausible(Skeleton(turned[None], (480, 288), 1.0), "me.jpg")


@pytest.mark.parametrize("way", [1, -1])
def test_a_picture_turned_on_its_side_is_refused_and_who_bends_over_is_not(person, way):
    lying = person.copy()
    lying[:, :2] = person[:, [1, 0]] * (way, -way) + (400, 400)
    with pytest.raises(ValueError, match="it lies on its side.*turn it upright"):
        check_plausible(Skeleton(lying[None], (480, 480), 1.0), "me.jpg")
    bent = person.copy()
    legs = [LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE, *range(17, 23)]
    hips = person[[11, 12], :2].mean(axis=0)
    bent[:, :2] = (person[:, [1, 0]] - hips[::-1]) * (way, -way) + hips
    bent[legs] = person[legs]
    check_plausible(Skeleton(bent[None], (480, 480), 1.0), "me.jpg")


def test_two_oddities_are_too_many_and_one_is_not(person):
    height = np.ptp(person[BODY, 1])
    odd_hand = changed(person, [LEFT_HAND.start + 8], x=0.22 * height)
    guessed = changed(person, BODY, confidence=0.55)
    both = changed(odd_hand, BODY, confidence=0.55)
    assert implausible(odd_hand) is None and implausible(guessed) is None and implausible(both) is not None


def test_scattered_points_are_hardly_ever_plausible():
    rng = np.random.default_rng(0)
    scattered = np.concatenate([rng.uniform(0, 400, (300, 133, 2)), rng.uniform(0.3, 1, (300, 133, 1))], axis=2)
    assert sum(implausible(keypoints) is None for keypoints in scattered) == 0


def test_the_demo_detector_is_believed_on_its_own_people_and_not_on_patterns(demo):
    check_plausible(demo.detect(read_image(ROOT / "assets" / "person.png")[None]), "person.png")
    rng, believed = np.random.default_rng(3), 0
    for number in range(12):
        boxes = np.zeros((320, 192, 3), np.uint8) + rng.integers(0, 256, 3).astype(np.uint8)
        for _ in range(8):
            y, x = rng.integers(0, 260), rng.integers(0, 150)
            boxes[y:y + rng.integers(20, 160), x:x + rng.integers(8, 60)] = rng.integers(0, 256, 3)
        try:
            check_plausible(demo.detect(boxes[None]), "boxes.png")
            believed += 1
        except ValueError as refusal:
            assert "\n" not in str(refusal)
    assert believed <= 1
