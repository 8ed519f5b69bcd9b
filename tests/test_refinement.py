"""What the second pass is drawn from: the plan, and what only the first pass can show."""
import numpy as np
import pytest

from dwpose.skeleton import HANDS, LEFT_ELBOW, LEFT_HAND, LEFT_WRIST, NOSE, NUM_KEYPOINTS, RIGHT_HAND, RIGHT_WRIST, Skeleton
from run.poses import merged

SIZE, HEIGHT = (200, 100), 160.0


@pytest.fixture
def plan() -> Skeleton:
    """Two frames of a person 160 pixels high whose hands are not planned."""
    keypoints = np.ones((2, NUM_KEYPOINTS, 3), np.float32)
    keypoints[..., 0] = 50 + 20 * np.sin(np.arange(NUM_KEYPOINTS))
    keypoints[..., 1] = 20 + np.linspace(0, HEIGHT, 17)[np.arange(NUM_KEYPOINTS) % 17]
    return Skeleton(keypoints, SIZE, 5.0).without_hands()


def seen_in_video(plan: Skeleton, offset: float) -> Skeleton:
    """Everything `offset` pixels to the right of the plan, hands too."""
    keypoints = plan.keypoints.copy()
    for wrist, hand in ((LEFT_WRIST, LEFT_HAND), (RIGHT_WRIST, RIGHT_HAND)):
        keypoints[:, hand] = keypoints[:, wrist, None] + (0, 5, 0)
    keypoints[..., 0] += offset
    return Skeleton(keypoints, SIZE, 5.0)


@pytest.mark.parametrize("trust", [0.0, 0.5, 1.0])
def test_planned_points_move_a_share_of_the_way(plan, trust):
    result = merged(seen_in_video(plan, 4.0), plan, trust)
    planned = plan.confidence > 0
    np.testing.assert_allclose((result.xy - plan.xy)[planned], [[4 * trust, 0]] * planned.sum(), atol=1e-4)


def test_hands_come_from_the_video_and_hang_at_the_wrists(plan):
    result = merged(seen_in_video(plan, 4.0), plan, 0.0)
    assert (result.confidence[:, HANDS] > 0).all()
    for wrist, hand in ((LEFT_WRIST, LEFT_HAND), (RIGHT_WRIST, RIGHT_HAND)):
        np.testing.assert_allclose(result.xy[:, hand] - plan.xy[:, wrist, None], np.broadcast_to((0, 5), (2, 21, 2)), atol=1e-4)


def test_what_is_far_from_the_plan_is_not_believed(plan):
    seen = seen_in_video(plan, 0.0)
    seen.keypoints[0, [NOSE, LEFT_WRIST], 0] += 0.2 * HEIGHT
    result = merged(seen, plan, 1.0)
    np.testing.assert_allclose(result.xy[0, [NOSE, LEFT_WRIST]], plan.xy[0, [NOSE, LEFT_WRIST]])


@pytest.mark.parametrize("damage", ["stretched", "unseen", "with a wrist astray"])
def test_a_hand_that_is_not_credible_is_filled_in_from_the_frames_beside_it(plan, damage):
    plan = Skeleton(np.repeat(plan.keypoints[:1], 9, axis=0), SIZE, 5.0)
    seen = seen_in_video(plan, 0.0)
    if damage == "stretched":
        seen.keypoints[:6, LEFT_HAND.start + 20, 0] += 0.3 * HEIGHT
    elif damage == "unseen":
        seen.keypoints[:6, LEFT_HAND] = 0
    else:
        seen.keypoints[:6, [LEFT_WRIST, *range(LEFT_HAND.start, LEFT_HAND.stop)], 0] += 0.2 * HEIGHT
    result = merged(seen, plan, 0.0)
    assert not result.confidence[:1, LEFT_HAND].any()                       # more than a second from a good one
    assert (result.confidence[1:, LEFT_HAND] > 0).all() and (result.confidence[:, RIGHT_HAND] > 0).all()
    np.testing.assert_allclose(result.xy[4, LEFT_HAND] - plan.xy[4, LEFT_WRIST], np.broadcast_to((0, 5), (21, 2)), atol=1e-4)


def test_a_hand_turns_with_the_forearm(plan):
    seen = seen_in_video(plan, 0.0)
    plan.keypoints[:, LEFT_ELBOW, :2] = plan.keypoints[:, LEFT_WRIST, :2] + (0, -8)       # the forearm hangs ...
    seen.keypoints[:, LEFT_ELBOW, :2] = seen.keypoints[:, LEFT_WRIST, :2] + (-8, 0)       # ... and was seen level,
    seen.keypoints[:, LEFT_HAND, :2] = seen.keypoints[:, LEFT_WRIST, None, :2] + (6, 0)   # the hand along it
    result = merged(seen, plan, 0.0)
    np.testing.assert_allclose(result.xy[:, LEFT_HAND] - plan.xy[:, LEFT_WRIST, None], np.broadcast_to((0, 6), (2, 21, 2)), atol=1e-4)


def test_no_credible_hand_at_all_leaves_none(plan):
    seen = seen_in_video(plan, 0.0)
    seen.keypoints[:, LEFT_HAND.start + 20, 0] += 0.3 * HEIGHT
    result = merged(seen, plan, 0.0)
    assert not result.confidence[:, LEFT_HAND].any() and (result.confidence[:, RIGHT_HAND] > 0).all()


def test_what_the_video_does_not_show_stays_as_planned(plan):
    seen = seen_in_video(plan, 3.0)
    seen.keypoints[:] = 0
    assert np.array_equal(merged(seen, plan, 1.0).keypoints, plan.keypoints)


def test_a_hand_the_plan_hardly_has_is_taken_from_the_video(plan):
    keypoints = plan.keypoints.copy()
    keypoints[:, LEFT_HAND] = keypoints[:, LEFT_WRIST, None] + (30, 0, -0.98)                   # confidence 0.02: a guess
    result = merged(seen_in_video(plan, 0.0), Skeleton(keypoints, SIZE, 5.0), 0.0)
    np.testing.assert_allclose(result.xy[:, LEFT_HAND] - plan.xy[:, LEFT_WRIST, None], np.broadcast_to((0, 5), (2, 21, 2)), atol=1e-4)
    assert (result.confidence[:, LEFT_HAND] >= 0.3).all()
