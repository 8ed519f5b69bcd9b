"""The committed demo weights find people and their joints on renders of characters that were never trained on."""
from pathlib import Path

import numpy as np
import pytest

from dwpose.detector import PoseDetector
from dwpose.draw import draw
from dwpose.skeleton import BODY, HANDS, SEEN_CONFIDENCE, Skeleton
from dwpose.networks import overlap
from synthetic.clips import HELD_OUT_SEED, sample_clip
from demo.pose_samples import person_box

DEMO = Path(__file__).parent.parent / "weights/demo/dwpose"
CLIPS = 20


@pytest.fixture(scope="module")
def detector():
    return PoseDetector.load(DEMO / "detector.onnx", DEMO / "pose.onnx", num_threads=1)


@pytest.fixture(scope="module")
def held_out():
    """Pictures (N, H, W, 3) and keypoints (N, 133, 3), one frame of each clip."""
    clips = [sample_clip(HELD_OUT_SEED + seed, num_frames=1) for seed in range(CLIPS)]
    return np.concatenate([clip.frames for clip in clips]), np.concatenate([clip.skeleton.keypoints for clip in clips])


def within_a_twentieth(found, wanted, part):
    """Share of the visible points that lie within 5 % of the person's height of the truth."""
    height = np.ptp(wanted[:, BODY, 1], axis=1)[:, None]                                # (N, 1)
    distance = np.linalg.norm(found[..., :2] - wanted[..., :2], axis=-1) / height
    return (distance < 0.05)[:, part][wanted[:, part, 2] > 0.9].mean()


def each_alone(detector, frames):
    return np.concatenate([detector.detect(frame[None]).keypoints for frame in frames])


def test_boxes_fit_held_out_people(detector, held_out):
    frames, keypoints = held_out
    for boxes, truth in zip(detector.people(frames), keypoints):
        assert len(boxes) == 1 and overlap(person_box(truth), boxes[:, :4])[0] > 0.5


def test_an_empty_room_holds_nobody(detector):
    rooms = [sample_clip(HELD_OUT_SEED + seed, num_frames=1).character.room.picture((320, 192)) for seed in range(4)]
    rooms = (np.stack(rooms).clip(0, 1) * 255).astype(np.uint8)
    assert not any(map(len, detector.people(rooms)))


def test_joints_and_hands_of_held_out_people_are_found(detector, held_out):
    frames, truth = held_out
    found = each_alone(detector, frames)
    assert within_a_twentieth(found, truth, BODY) > 0.94
    assert within_a_twentieth(found, truth, HANDS) > 0.85
    assert (found[:, BODY, 2][truth[:, BODY, 2] > 0.9] >= SEEN_CONFIDENCE).mean() > 0.97


def test_hands_missing_from_a_drawn_pose_have_low_confidence(detector, held_out):
    """So the adapter can be judged: it was given a pose without hands and should draw them."""
    skeleton = Skeleton(held_out[1], held_out[0].shape[1:3], 1)
    without, with_hands = (each_alone(detector, draw(person)) for person in (skeleton.without_hands(), skeleton))
    assert (without[:, HANDS, 2] < SEEN_CONFIDENCE).mean() > 0.9
    seen = held_out[1][:, HANDS, 2] > 0.9
    assert (with_hands[:, HANDS, 2][seen] >= SEEN_CONFIDENCE).mean() > 0.8


def test_both_networks_are_small():
    assert sum((DEMO / name).stat().st_size for name in ("detector.onnx", "pose.onnx")) <= 2.4e6
