"""Skeleton: order, views, round trip, and what it refuses."""
from pathlib import Path

import numpy as np
import pytest

from dwpose import skeleton as joints
from dwpose.skeleton import necks, NUM_KEYPOINTS, openpose18, Skeleton

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
    with pytest.raises(ValueError, match="other.npz"):
        Skeleton.load(path)
