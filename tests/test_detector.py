"""Detector and whole-body head: published numbers on two fake networks with the official contracts; who is chosen."""
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from dwpose import networks
from dwpose.detector import chosen_track, frame_ranges, people_tracks, PoseDetector, with_short_gaps_filled
from dwpose.networks import (crop_geometry, decode, grey_squares, letterbox, normalised, person_boxes, PersonDetector,
                             PIXEL_MEAN, PIXEL_STD, PoseHead, surviving, warp)
from dwpose.skeleton import LEFT_WRIST, SEEN_CONFIDENCE, Skeleton

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
    assert [len(found) for found in detector.detect_everybody(picture("other")[None])] == [0]


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
    square = grey_squares(100, 50)[0]                                                   # (3, 640, 640)
    assert letterbox(np.full((100, 50, 3), 7, np.uint8), square) == 6.4
    assert (square[..., :320] == 7).all() and (square[..., 320:] == 114).all()
    sliver = grey_squares(2000, 1)[0]
    letterbox(np.zeros((2000, 1, 3), np.uint8), sliver)
    assert (sliver[..., :1] == 0).all() and (sliver[..., 1:] == 114).all()


def test_a_detector_forgets_the_pictures_before(detector):
    tall, wide = np.full((200, 100, 3), 250, np.uint8), np.asarray(picture("single"))
    expected = detector.people(wide[None])[0]
    detector.people(tall[None])
    np.testing.assert_array_equal(detector.people(wide[None])[0], expected)


def test_normalisation_uses_imagenet_statistics():
    crops = np.random.default_rng(0).integers(0, 256, (2, 384, 288, 3), np.uint8)
    np.testing.assert_array_equal(normalised(crops), ((crops - PIXEL_MEAN) / PIXEL_STD).transpose(0, 3, 1, 2))


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
    boxes = moving_people()
    frames, _ = chosen_track(boxes, (360, 400))
    np.testing.assert_array_equal(frames, np.arange(12))
    np.testing.assert_array_equal(followed(boxes)[:, 0], 20 + 12 * np.arange(12))


def followed(boxes, size=(360, 400), **choice):
    """The boxes (K, 5) of the chosen person."""
    return np.stack([boxes[frame][place] for frame, place in zip(*chosen_track(boxes, size, **choice))])


def test_other_people_can_be_chosen():
    boxes = moving_people(4)
    assert followed(boxes, person=1)[0, 0] == 200
    assert followed(boxes, person=0)[0, 0] == 20
    sizes = [np.array([(0, 100, 90, 300, 0.9), (160, 100, 240, 290, 0.5)])] * 3
    assert followed(sizes, person="center")[0, 0] == 160
    assert followed(sizes, person="largest")[0, 0] == 0
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


def test_other_people_are_named_and_a_passer_by_is_not(caplog):
    chosen_track(moving_people(), (360, 400), source="two.mp4")
    assert "two.mp4: more than one person in 12 of 12 frames: one is followed (largest)" in caplog.text
    caplog.clear()
    chosen_track(moving_people(), (360, 400), tell_others=False)               # whoever calls it tells of them
    boxes = [people[1:] for people in moving_people(20)]
    boxes[3] = moving_people(20)[3]
    chosen_track(boxes, (360, 400))
    assert not caplog.text


def test_a_person_who_comes_back_elsewhere_is_taken_up_again(caplog):
    boxes = [np.array([(0, 100, 90, 300, 0.9)])] * 5 + [np.zeros((0, 5))] * 4 + [np.array([(500, 100, 590, 310, 0.8)])] * 3
    frames, _ = chosen_track(boxes, (400, 700), source="cut.mp4")
    np.testing.assert_array_equal(frames, [0, 1, 2, 3, 4, 9, 10, 11])
    assert "cut.mp4: the person is lost and taken up again elsewhere in the picture in frame 9" in caplog.text
    boxes[9:] = [np.array([(500, 10, 550, 50, 0.8)])] * 3                       # a child, or a dog
    assert len(chosen_track(boxes, (400, 700))[0]) == 5


def test_frames_may_come_one_by_one_and_are_not_kept(detector):
    seen, alive = cv2.resize(picture("single"), (224, 320)), []

    class Frame(np.ndarray):
        def __del__(self):
            alive.remove(1)

    def camera():
        for _ in range(24):
            alive.append(1)
            assert len(alive) <= 17                                             # a batch of 8, and the next
            yield seen.copy().view(Frame)
    streamed = detector.detect(camera(), 5)
    np.testing.assert_array_equal(streamed.keypoints, detector.detect(np.repeat(seen[None], 24, axis=0), 5).keypoints)


def test_frames_of_another_shape_are_refused(detector):
    seen = picture("single")
    for frames in ([seen, seen[:-1]], seen, seen[None].astype(np.float32), [], seen[None, :0]):
        with pytest.raises(ValueError, match=r"a.mp4: expected frames \(F, H, W, 3\) uint8 RGB"):
            detector.detect(frames, source="a.mp4")


def walking(num_frames, fps):
    """A person all of whose points move right by 10 pixels a frame."""
    keypoints = np.full((num_frames, 133, 3), 0.8, np.float32)
    keypoints[..., 0], keypoints[..., 1] = 10 * np.arange(num_frames)[:, None], 50
    return Skeleton(keypoints, (100, 400), fps)


def test_short_gaps_are_bridged_long_ones_stay_empty_and_both_are_named(caplog):
    whole = walking(20, fps=10)
    keypoints = whole.keypoints.copy()
    keypoints[[0, 4, 5, *range(9, 15)]] = 0
    keypoints[6, LEFT_WRIST] = 0
    filled = with_short_gaps_filled(Skeleton(keypoints, whole.size, 10), "walk.mp4", 0.25)
    assert "walk.mp4: the person is not found in 9 of 20 frames: 4-5 bridged from both sides, 0, 9-14 stay empty" in caplog.text
    body = np.arange(133) != LEFT_WRIST
    np.testing.assert_allclose(filled.keypoints[4:6, body], whole.keypoints[4:6, body], atol=1e-4)
    assert not filled.keypoints[4:6, LEFT_WRIST].any()                          # seen on one side only
    assert not filled.keypoints[[0, *range(9, 15)]].any()
    caplog.clear()
    assert with_short_gaps_filled(whole, "walk.mp4", 0.25) is whole and not caplog.text


def test_frames_without_the_person_are_empty_and_named(detector, caplog):
    seen = cv2.resize(picture("single"), (448, 640))
    frames = np.stack([seen, cv2.resize(picture("other"), (448, 640)), seen])
    with caplog.at_level(logging.WARNING):
        skeleton = detector.detect(frames, fps=5, source="walk.mp4")
    assert "walk.mp4" in caplog.text and "1 of 3 frames: 1 stay" in caplog.text
    assert not skeleton.keypoints[1].any()
    np.testing.assert_array_equal(skeleton.keypoints[0], skeleton.keypoints[2])
    assert skeleton.confidence.max() <= 1 and skeleton.confidence.min() >= 0 and skeleton.fps == 5


def test_nobody_at_all_is_refused_with_a_remedy(detector):
    with pytest.raises(ValueError, match="ref.jpg: no person found.*front-facing"):
        detector.detect(picture("other")[None], source="ref.jpg")


def test_too_few_confident_keypoints_are_no_person(detector, monkeypatch):
    monkeypatch.setattr(PoseHead, "read", lambda *_: np.full((1, 133, 3), SEEN_CONFIDENCE - 0.1))
    with pytest.raises(ValueError, match="no person with >= 8 confident body keypoints .best has 0."):
        detector.detect(picture("single")[None], source="ref.jpg")


def warnings_for_cuda(caplog):
    networks.warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        PersonDetector.load(FIXTURES / "fake_yolox_l.onnx", device="cuda:0")
        PoseHead.load(FIXTURES / "fake_dw-ll_ucoco_384.onnx", device="cuda:0")
    return [record.message for record in caplog.records if "CUDA" in record.message]


def test_asking_for_cuda_without_it_warns_once(caplog, monkeypatch):
    monkeypatch.setattr(networks.onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert len(warnings_for_cuda(caplog)) == 1


def test_a_cuda_provider_that_does_not_start_warns_once(caplog, monkeypatch):
    """ONNX Runtime falls back without a word when the CUDA libraries are missing."""
    real = networks.onnxruntime.InferenceSession
    monkeypatch.setattr(networks.onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(networks.onnxruntime, "InferenceSession", lambda path, options, providers: real(path, options, providers=providers[-1:]))
    assert len(warnings_for_cuda(caplog)) == 1


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
