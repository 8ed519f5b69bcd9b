"""The person stays in the picture, and where they never leave it nothing is touched."""

import numpy as np
import pytest

from dwpose.alignment import CORE, in_view
from dwpose.skeleton import LEFT_ANKLE, LEFT_HAND, LEFT_HIP, LEFT_KNEE, RIGHT_ANKLE, RIGHT_KNEE, Skeleton
from synthetic.motions import sample_motion
from t2m.motion import Motion
from t2m.project import project

SIZE = (320, 192)


def standing(num_frames: int = 60, fps: float = 10.0) -> Skeleton:
    motion = sample_motion("stand", 1.0, np.random.default_rng(0)).motion
    pose = project(Motion(motion.joints[:1]), SIZE, 20.0, "static").keypoints
    return Skeleton(np.repeat(pose, num_frames, axis=0), SIZE, fps)


def travelling(across: np.ndarray, scale: np.ndarray | float = 1.0) -> Skeleton:
    """A standing person moved by `across` (F,) pixels and scaled about the canvas's middle."""
    skeleton = standing(len(across))
    xy = skeleton.keypoints[..., :2] - (SIZE[1] / 2, SIZE[0] / 2)
    xy = xy * np.reshape(scale, (-1, 1, 1)) + (SIZE[1] / 2, SIZE[0] / 2)
    xy[..., 0] += across[:, None]
    skeleton.keypoints[..., :2] = np.where(skeleton.keypoints[..., 2:] > 0, xy, 0)
    return skeleton


def inside(skeleton: Skeleton) -> np.ndarray:
    xy = skeleton.keypoints[:, CORE, :2]
    return ((xy >= 0) & (xy <= SIZE[::-1])).all(axis=(1, 2))


def test_who_stays_in_the_picture_is_left_alone(caplog):
    skeleton = travelling(20 * np.sin(np.arange(60) / 5))
    assert in_view(skeleton, standing(1)) is skeleton and not caplog.text


@pytest.mark.parametrize("across, scale", [
    (np.linspace(0, 150, 60), 1.0), (np.linspace(60, -200, 60), 1.0), (80 * np.sin(np.arange(90) / 6), 1.0),
    (np.zeros(60), np.linspace(1.0, 1.6, 60)), (np.linspace(0, 120, 60), np.linspace(1.0, 1.4, 60)),
])
def test_who_leaves_the_picture_is_followed_smoothly(across, scale, caplog):
    before = travelling(across, scale)
    after = in_view(before, standing(1))
    assert not inside(before).all() and inside(after).all() and "the view follows them" in caplog.text
    moved = np.diff(after.keypoints[:, CORE, :2], axis=0)
    assert np.abs(moved).max() < 1.5 * np.abs(np.diff(before.keypoints[:, CORE, :2], axis=0)).max() + 1
    np.testing.assert_array_equal(after.keypoints[..., 2], before.keypoints[..., 2])
    assert not after.keypoints[:, LEFT_HAND].any()                                       # unseen stays unseen, at 0


def test_the_way_within_the_picture_is_walked_and_only_the_rest_followed():
    before = travelling(np.linspace(0, 100, 60))
    after = in_view(before, standing(1))
    walked = after.keypoints[-1, CORE[0], 0] - after.keypoints[0, CORE[0], 0]
    assert 30 < walked < 80
    np.testing.assert_allclose(after.keypoints[0], before.keypoints[0], atol=0.5)


def test_a_picture_without_feet_stays_one():
    half = travelling(np.zeros(60), 1.0)
    half.keypoints[..., 1] = np.where(half.keypoints[..., 2] > 0, half.keypoints[..., 1] * 1.5, 0)
    picture = Skeleton(half.keypoints[:1].copy(), SIZE, 10.0)
    assert in_view(half, picture) is half
    picture.keypoints[:, [LEFT_ANKLE, RIGHT_ANKLE, LEFT_KNEE, RIGHT_KNEE]] = 0            # not even seen outside it
    assert in_view(half, picture) is half


def test_a_still_camera_only_warns(caplog):
    skeleton = travelling(np.linspace(0, 150, 60))
    assert in_view(skeleton, standing(1), "static") is skeleton and "camera=auto" in caplog.text
    caplog.clear()
    assert in_view(skeleton, standing(1), "zoom") is skeleton and not caplog.text


def test_the_first_frame_is_the_pictures_place_where_the_way_then_stays_in_it(caplog):
    for way, place in ((np.linspace(40, 0, 60), 0), (np.linspace(-10, -60, 60), 0), (np.linspace(0, 82, 60), -1)):
        skeleton = travelling(way)
        after = in_view(skeleton, standing(1), "static")
        offset = (after.xy[0] - standing(1).xy[0])[list(CORE)].mean(axis=0)
        assert inside(after).all() and np.allclose(np.diff(after.xy[:, CORE[0]], axis=0), np.diff(skeleton.xy[:, CORE[0]], axis=0), atol=1e-3)
        assert abs(offset[0]) < 1 if place == 0 else offset[0] < -5
        assert ("begins" in caplog.text) == (place != 0)


def test_the_edge_that_cuts_the_picture_cuts_the_video_and_is_never_pulled_into_it(caplog):
    half = travelling(np.zeros(60))
    half.keypoints[..., 1] = np.where(half.keypoints[..., 2] > 0, half.keypoints[..., 1] * 1.5, 0)
    picture = Skeleton(half.keypoints[:1].copy(), SIZE, 10.0)
    edge = picture.keypoints[0, LEFT_HIP, 1]
    lower = half.keypoints.copy()
    lower[1:, :, 1] += np.where(lower[1:, :, 2] > 0, 320 - edge + 5, 0)                  # the hip sinks below the edge
    assert in_view(Skeleton(lower, SIZE, 10.0), picture).keypoints[-1, LEFT_HIP, 1] >= 320 and not caplog.text
    wide = half.keypoints.copy()
    wide[30:, :, 0] += np.where(wide[30:, :, 2] > 0, 110, 0)                             # and who goes aside stays below it
    after = in_view(Skeleton(wide, SIZE, 10.0), picture)
    assert "the view follows them" in caplog.text
    hips = picture.keypoints[0, LEFT_HIP, 1]
    assert (after.keypoints[:, LEFT_HIP, 1] >= hips - 0.5).all()
