"""Skeleton: order, views, round trip, and what it refuses."""
import os
import re
from pathlib import Path

import numpy as np
import pytest

from dwpose import skeleton as joints
from dwpose.skeleton import necks, NUM_KEYPOINTS, openpose18, SEEN_CONFIDENCE, Skeleton

ORDER = Path(__file__).parent / "fixtures/pose/order.npz"


def some_skeleton(num_frames=3):
    keypoints = np.random.default_rng(0).uniform(0, 1, (num_frames, NUM_KEYPOINTS, 3)).astype(np.float32)
    return Skeleton(keypoints, (320, 192), 10)


@pytest.mark.parametrize("case", ["random1", "random3"])
def test_openpose_view_equals_the_published_reordering(case):
    golden = np.load(ORDER)
    keypoints = np.concatenate([golden[f"{case}/in_keypoints133"], golden[f"{case}/in_scores133"][..., None]], axis=-1)
    view = openpose18(keypoints)
    np.testing.assert_allclose(view[..., :2], golden[f"{case}/keypoints134"][:, :18], atol=1e-12)
    np.testing.assert_allclose(view[..., 2], golden[f"{case}/scores134"][:, :18], atol=1e-12)


def test_neck_is_seen_only_with_both_shoulders_and_float32_threshold_passes():
    golden = np.load(ORDER)
    scores = golden["threshold_float32/in_scores133"]
    keypoints = np.concatenate([golden["threshold_float32/in_keypoints133"].astype(np.float32), scores[..., None]], -1)
    neck = necks(keypoints)
    np.testing.assert_array_equal(neck[:, 2], golden["threshold_float32/scores134"][:, 1])
    np.testing.assert_allclose(neck[:, :2], golden["threshold_float32/keypoints134_neck"], rtol=1e-5)


def test_names_cover_the_133_points_once():
    ranges = [joints.BODY, joints.FEET, joints.FACE, joints.LEFT_HAND, joints.RIGHT_HAND]
    assert [i for part in ranges for i in range(part.start, part.stop)] == list(range(NUM_KEYPOINTS))
    assert joints.RIGHT_ANKLE == joints.BODY.stop - 1 and joints.RIGHT_HEEL == joints.FEET.stop - 1


def test_save_and_load_give_the_same_skeleton(tmp_path):
    before = some_skeleton()
    after = Skeleton.load(before.save(tmp_path / "new" / "s.npz"))
    np.testing.assert_array_equal(after.keypoints, before.keypoints)
    assert (after.size, after.fps) == (before.size, before.fps)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["s.npz"]     # no temporary left


def test_without_hands_keeps_the_wrists_and_the_original():
    before = some_skeleton()
    after = before.without_hands()
    assert not after.keypoints[:, joints.HANDS].any() and before.keypoints[:, joints.HANDS].all()
    np.testing.assert_array_equal(after.keypoints[:, :joints.HANDS.start], before.keypoints[:, :joints.HANDS.start])


def test_one_frame_stays_a_skeleton():
    whole = some_skeleton()
    np.testing.assert_array_equal(whole[1].keypoints, whole.keypoints[1:2])
    assert len(whole[1:]) == 2 and len(whole[-1]) == 1


@pytest.mark.parametrize("keypoints, size, fps, said", [
    (np.zeros((133, 3)), (4, 4), 1, "frame axis"),
    (np.full((1, 133, 3), np.nan), (4, 4), 1, "confidence 0"),
    (np.zeros((1, 133, 3)), (0, 4), 1, "size"),
    (np.zeros((1, 133, 3)), (4, 4), 0, "fps"),
])
def test_a_malformed_skeleton_is_refused_with_a_remedy(keypoints, size, fps, said):
    with pytest.raises(ValueError, match=said):
        Skeleton(keypoints, size, fps)


def test_a_foreign_file_is_named(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, joints=np.zeros(3))
    with pytest.raises(ValueError, match="other.npz"):
        Skeleton.load(path)
    path.write_text("not a zip")
    with pytest.raises(ValueError, match="other.npz.*found no whole .npz archive in its 9 bytes"):
        Skeleton.load(path)


@pytest.mark.parametrize("changed, said", [
    (dict(keypoints=np.ones((1, 133, 3)) + 1j), "keypoints: expected real numbers, found complex128"),
    (dict(keypoints=np.full((1, 133, 3), None)), "keypoints: expected real numbers, found Python objects"),
    (dict(keypoints=np.full((1, 133, 3), 7.0)), "a confidence of 0 to 1, found 7"), (dict(keypoints=np.full((1, 133, 3), -1.0)), "0 to 1, found -1"),
    (dict(size=np.array([4, 4, 3])), "size: expected real numbers of shape .2,., found int64 of shape .3,."),
    (dict(size=np.array([1e30, 4])), "height and width of 1 to 1e.09 pixels"), (dict(fps=np.array("10")), "fps: expected real numbers"),
    (dict(fps=None), "found no fps, but keypoints, size")])
def test_what_is_wrong_in_a_file_is_named(tmp_path, changed, said):
    arrays = dict(keypoints=np.ones((1, 133, 3)), size=np.array([4, 4]), fps=np.array(10.0)) | changed
    np.savez(tmp_path / "odd.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=f"odd.npz: .*{said}"):
        Skeleton.load(tmp_path / "odd.npz")


def test_the_skeleton_says_which_points_there_are_and_which_count():
    keypoints = np.ones((1, NUM_KEYPOINTS, 3), np.float32)
    keypoints[0, :4, 2] = (0, 0.02, np.nextafter(np.float32(SEEN_CONFIDENCE), np.float32(0)), SEEN_CONFIDENCE)
    skeleton = Skeleton(keypoints, (10, 10), 1)
    assert skeleton.present[0, :5].tolist() == [False, True, True, True, True]
    assert skeleton.seen[0, :5].tolist() == [False, False, False, True, True]


def test_points_move_with_their_confidence_and_absent_ones_stay_at_zero():
    keypoints = np.random.default_rng(0).random((2, NUM_KEYPOINTS, 3)).astype(np.float32)
    keypoints[:, 7] = 0
    skeleton = Skeleton(keypoints, (10, 20), 5)
    moved = skeleton.with_xy(skeleton.xy + 3.0, size=(40, 30))
    assert (moved.size, moved.fps) == ((40, 30), 5) and skeleton.with_xy(skeleton.xy).size == (10, 20)
    np.testing.assert_array_equal(moved.confidence, skeleton.confidence)
    np.testing.assert_array_equal(moved.xy[skeleton.present], skeleton.xy[skeleton.present] + np.float32(3))
    assert not moved.keypoints[:, 7].any() and (skeleton.keypoints == keypoints).all()


def test_confidence_is_compared_in_one_file_only():
    root = Path(__file__).resolve().parents[1]
    compared = re.compile(r"SEEN_CONFIDENCE|(?:confidence|keypoints|points)(?:\[[^\]]*\])? *(?:>|==) *0\b(?!\.)")
    places = [f"{path.relative_to(root)}:{number}" for path in product_files(root)
              for number, line in enumerate(path.read_text().splitlines(), start=1) if compared.search(line)]
    assert not places, "ask Skeleton.present, .seen, is_present or is_seen"


def product_files(root: Path) -> list[Path]:
    """The repo's own code, without the copies of published code that benchmarks time against."""
    skipped = ("tests", "benchmarks", "outputs")
    files = [path for path in root.rglob("*.py") if not any(part.startswith(".") or part in skipped
                                                            for part in path.relative_to(root).parts)]
    return [path for path in files if path != root / "dwpose" / "skeleton.py"]


def test_a_pipe_is_no_skeleton_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(ValueError, match="pipe.npz: expected a skeleton file .*found no regular file"):
        Skeleton.load(tmp_path / "pipe.npz")
