"""Detector and whole-body head: published numbers on two fake networks with the official contracts; who is chosen."""
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from dwpose import session
from dwpose.detector import PoseDetector, chosen_track, frame_ranges, people_tracks
from dwpose.pose_head import PoseHead, crop_geometry, decode, normalised, warp
from dwpose.skeleton import SEEN_CONFIDENCE
from dwpose.yolox import PersonDetector, letterbox, person_boxes, surviving

FIXTURES = Path(__file__).parent / "fixtures/pose"
DEMO = Path(__file__).parent.parent / "weights/demo/dwpose"


@pytest.fixture(scope="module")
def detector():
    return PoseDetector.load(FIXTURES / "fake_yolox_l.onnx", FIXTURES / "fake_dw-ll_ucoco_384.onnx", num_threads=1)


@pytest.fixture(scope="module")
def golden():
    return np.load(FIXTURES / "detector.npz")


@pytest.fixture(scope="module")
def steps():
    return np.load(FIXTURES / "preprocess.npz")


def picture(name):
    return cv2.imread(str(FIXTURES / f"{name}.png"))[..., ::-1]


@pytest.mark.parametrize("name", ["single", "multi", "border"])
def test_everybody_equals_the_published_detector(detector, golden, name):
    boxes = detector.people(picture(name)[None])[0]
    np.testing.assert_allclose(boxes[:, :4], golden[f"{name}/boxes"], atol=1e-3)
    people = detector.detect_everybody(picture(name)[None])[0]
    # OpenCV versions crop a little differently: at most one bin (scale_w / 576, about a pixel) for a few points
    apart = np.abs(people[..., :2] - golden[f"{name}/keypoints133"])
    assert apart.max() < 1.2 and (apart < 1e-3).mean() > 0.99
    np.testing.assert_allclose(people[..., 2], golden[f"{name}/scores133"], atol=1e-3)


def test_a_dog_is_not_a_person(detector):
    """The picture has boxes of other classes only; published code would read a person off the whole picture."""
    assert detector.people(picture("other")[None])[0].shape == (0, 5)


def test_channel_orders_are_explicit(golden):
    swapped = PersonDetector.load(FIXTURES / "fake_yolox_l.onnx", channel_order="bgr")
    wrong = swapped(picture("single")[None])[0]
    right = swapped(np.ascontiguousarray(picture("single")[..., ::-1])[None])[0]
    np.testing.assert_allclose(right[:, :4], golden["single/boxes"], atol=1e-3)
    assert wrong.shape != right.shape or np.abs(wrong - right).max() > 0.1
    with pytest.raises(ValueError, match="rgb or bgr"):
        PersonDetector.load(FIXTURES / "fake_yolox_l.onnx", channel_order="gbr")


def test_suppression_keeps_the_published_boxes(steps):
    for threshold in (0.3, 0.45, 0.7):
        kept = surviving(steps["nms/boxes"].astype(np.float64), steps["nms/scores"], threshold)
        np.testing.assert_array_equal(kept, steps[f"nms/keep_{threshold}"])


def test_raw_rows_become_the_published_boxes(steps):
    rows = np.full((8400, 85), 0.02, np.float32)
    rows[:, :4] = 0.5, 0.5, 0, 0
    rows[steps["infer/raw_hot_rows"]] = steps["infer/raw_hot_values"]
    height, width = steps["infer/image_hw"]
    boxes = person_boxes(rows, min(640 / height, 640 / width))
    np.testing.assert_allclose(boxes[:, :4], steps["infer/final_boxes"], rtol=1e-5, atol=1e-3)


def test_crops_have_the_published_geometry(steps):
    centres, extents = crop_geometry(steps["crop/bboxes"])
    np.testing.assert_allclose(centres, steps["crop/center"], atol=1e-9)
    np.testing.assert_allclose(extents, steps["crop/scale"], atol=1e-9)
    for centre, extent, matrix in zip(centres, extents, steps["crop/warp_matrix"]):
        np.testing.assert_allclose(warp(centre, extent), matrix, atol=1e-6)


def test_lines_decode_to_the_published_points(steps):
    points, scores = decode(steps["simcc/x_float16"].astype(np.float32), steps["simcc/y_float16"].astype(np.float32))
    np.testing.assert_array_equal(points, steps["simcc/keypoints"])
    np.testing.assert_array_equal(scores, steps["simcc/scores"])


def test_letterbox_puts_the_picture_at_the_top_left_of_grey():
    image, ratio = letterbox(np.full((100, 50, 3), 7, np.uint8))
    assert ratio == 6.4 and image.shape == (3, 640, 640)
    assert (image[:, :, :320] == 7).all() and (image[:, :, 320:] == 114).all()


def test_normalisation_uses_imagenet_statistics():
    crop = np.broadcast_to(np.array((123.675, 116.28, 103.53)).round().astype(np.uint8), (1, 384, 288, 3))
    assert np.abs(normalised(crop)).max() < 0.01


def test_batching_equals_one_by_one(detector):
    frames = np.stack([cv2.resize(picture(name), (300, 400)) for name in ("single", "multi", "border", "single")])
    frames[3] //= 2
    boxes = np.array([[20, 10, 150, 300], [5, 5, 200, 390], [100, 80, 290, 380], [0, 0, 300, 400.0]])
    together = detector.head(frames, np.arange(4), boxes)
    alone = [detector.head(frames[i:i + 1], np.zeros(1, int), boxes[i:i + 1])[0] for i in range(4)]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)
    apart = [detector.people(frame[None])[0] for frame in frames]
    for found, expected in zip(detector.people(frames), apart):
        np.testing.assert_array_equal(found, expected)


def moving_people(num_frames=12):
    """A large person walks right and crosses a small, more confident one; boxes of a frame come in score order."""
    boxes = []
    for frame in range(num_frames):
        large = (20 + 12 * frame, 30, 120 + 12 * frame, 330, 0.6)
        small = (200, 100, 240, 220, 0.9)
        boxes.append(np.array([small, large]))
    return boxes


def test_the_largest_person_is_followed_through_a_crossing():
    frames, track = chosen_track(moving_people(), (360, 400))
    np.testing.assert_array_equal(frames, np.arange(12))
    np.testing.assert_array_equal(track[:, 0], 20 + 12 * np.arange(12))


def test_other_people_can_be_chosen():
    boxes = moving_people(4)
    assert chosen_track(boxes, (360, 400), person=1)[1][0, 0] == 200
    assert chosen_track(boxes, (360, 400), person=0)[1][0, 0] == 20
    sizes = [np.array([(0, 100, 90, 300, 0.9), (160, 100, 240, 290, 0.5)])] * 3
    assert chosen_track(sizes, (400, 400), person="center")[1][0, 0] == 160
    assert chosen_track(sizes, (400, 400), person="largest")[1][0, 0] == 0
    with pytest.raises(ValueError, match="person 2 asked for .2 found."):
        chosen_track(boxes, (360, 400), person=2)
    with pytest.raises(ValueError, match="largest, center"):
        chosen_track(boxes, (360, 400), person="tallest")


def test_a_person_who_is_lost_for_a_moment_stays_one_person():
    boxes = moving_people()
    boxes[5] = boxes[5][:1]
    boxes[6] = np.zeros((0, 5))
    tracks = people_tracks(boxes)
    assert sorted(len(track) for track in tracks) == [10, 11]


def test_frames_without_the_person_are_empty_and_named(detector, caplog):
    seen = cv2.resize(picture("single"), (448, 640))
    frames = np.stack([seen, cv2.resize(picture("other"), (448, 640)), seen])
    with caplog.at_level(logging.WARNING):
        skeleton = detector.detect(frames, fps=5, source="walk.mp4")
    assert "walk.mp4" in caplog.text and "1 of 3 frames (1)" in caplog.text
    assert not skeleton.keypoints[1].any()
    np.testing.assert_array_equal(skeleton.keypoints[0], skeleton.keypoints[2])
    assert skeleton.confidence.max() <= 1 and skeleton.confidence.min() >= 0 and skeleton.fps == 5


def test_nobody_at_all_is_refused_with_a_remedy(detector):
    with pytest.raises(ValueError, match="ref.jpg: no person found.*front-facing"):
        detector.detect(picture("other")[None], source="ref.jpg")


def test_too_few_confident_keypoints_are_no_person(detector, monkeypatch):
    monkeypatch.setattr(PoseHead, "__call__", lambda *_: np.full((1, 133, 3), SEEN_CONFIDENCE - 0.1))
    with pytest.raises(ValueError, match="no person with >= 8 confident body keypoints .best has 0."):
        detector.detect(picture("single")[None], source="ref.jpg")


def test_asking_for_cuda_without_it_warns_once(caplog, monkeypatch):
    monkeypatch.setattr(session.onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(session, "_warned_about_cuda", set())
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            PersonDetector.load(FIXTURES / "fake_yolox_l.onnx", device="cuda:0")
    assert len([record for record in caplog.records if "CUDA" in record.message]) == 1


def test_swapped_or_missing_files_are_named(tmp_path):
    with pytest.raises(ValueError, match="is this the pose network"):
        PersonDetector.load(FIXTURES / "fake_dw-ll_ucoco_384.onnx")
    with pytest.raises(ValueError, match="is this the person detector"):
        PoseHead.load(FIXTURES / "fake_yolox_l.onnx")
    with pytest.raises(FileNotFoundError, match="absent.onnx"):
        PoseHead.load(tmp_path / "absent.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    with pytest.raises(ValueError, match="broken.onnx"):
        PoseHead.load(tmp_path / "broken.onnx")
    with pytest.raises(ValueError, match="device"):
        PoseHead.load(FIXTURES / "fake_yolox_l.onnx", device="tpu")


def test_frame_ranges_read_as_people_write_them():
    assert frame_ranges(np.array([0, 3, 4, 5, 9])) == "0, 3-5, 9"
