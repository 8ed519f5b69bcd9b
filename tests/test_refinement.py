"""What the second pass is drawn from: the plan, and what only the first pass can show."""
import numpy as np
import pytest

from dwpose.skeleton import HANDS, LEFT_ELBOW, LEFT_HAND, LEFT_WRIST, NOSE, NUM_KEYPOINTS, RIGHT_HAND, RIGHT_WRIST, Skeleton
from run.poses import refined_plan

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
    result = refined_plan(plan, seen_in_video(plan, 4.0), trust)
    planned = plan.confidence > 0
    np.testing.assert_allclose((result.xy - plan.xy)[planned], [[4 * trust, 0]] * planned.sum(), atol=1e-4)


def test_hands_come_from_the_video_and_hang_at_the_wrists(plan):
    result = refined_plan(plan, seen_in_video(plan, 4.0), 0.0)
    assert (result.confidence[:, HANDS] > 0).all()
    for wrist, hand in ((LEFT_WRIST, LEFT_HAND), (RIGHT_WRIST, RIGHT_HAND)):
        np.testing.assert_allclose(result.xy[:, hand] - plan.xy[:, wrist, None], np.broadcast_to((0, 5), (2, 21, 2)), atol=1e-4)


def test_what_is_far_from_the_plan_is_not_believed(plan):
    seen = seen_in_video(plan, 0.0)
    seen.keypoints[0, [NOSE, LEFT_WRIST], 0] += 0.2 * HEIGHT
    result = refined_plan(plan, seen, 1.0)
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
    result = refined_plan(plan, seen, 0.0)
    assert not result.confidence[:1, LEFT_HAND].any()                       # more than a second from a good one
    assert (result.confidence[1:, LEFT_HAND] > 0).all() and (result.confidence[:, RIGHT_HAND] > 0).all()
    np.testing.assert_allclose(result.xy[4, LEFT_HAND] - plan.xy[4, LEFT_WRIST], np.broadcast_to((0, 5), (21, 2)), atol=1e-4)


def test_a_hand_turns_with_the_forearm(plan):
    seen = seen_in_video(plan, 0.0)
    plan.keypoints[:, LEFT_ELBOW, :2] = plan.keypoints[:, LEFT_WRIST, :2] + (0, -8)       # the forearm hangs ...
    seen.keypoints[:, LEFT_ELBOW, :2] = seen.keypoints[:, LEFT_WRIST, :2] + (-8, 0)       # ... and was seen level,
    seen.keypoints[:, LEFT_HAND, :2] = seen.keypoints[:, LEFT_WRIST, None, :2] + (6, 0)   # the hand along it
    result = refined_plan(plan, seen, 0.0)
    np.testing.assert_allclose(result.xy[:, LEFT_HAND] - plan.xy[:, LEFT_WRIST, None], np.broadcast_to((0, 6), (2, 21, 2)), atol=1e-4)


def test_no_credible_hand_at_all_leaves_none(plan):
    seen = seen_in_video(plan, 0.0)
    seen.keypoints[:, LEFT_HAND.start + 20, 0] += 0.3 * HEIGHT
    result = refined_plan(plan, seen, 0.0)
    assert not result.confidence[:, LEFT_HAND].any() and (result.confidence[:, RIGHT_HAND] > 0).all()


def test_what_the_video_does_not_show_stays_as_planned(plan):
    seen = seen_in_video(plan, 3.0)
    seen.keypoints[:] = 0
    assert np.array_equal(refined_plan(plan, seen, 1.0).keypoints, plan.keypoints)


@pytest.mark.parametrize("planned, seen", [(0.02, 0.9), (0.2, 0.5), (0.9, 0.4), (0.2, 0.1)])
def test_a_planned_hand_that_does_not_count_gives_way_to_a_surer_one_in_the_video(plan, planned, seen):
    video = seen_in_video(plan, 0.0)
    plan.keypoints[:, LEFT_HAND] = (5, 5, planned)
    video.keypoints[:, LEFT_HAND, 2] = seen
    result = refined_plan(plan, video, 0.0)
    if planned >= 0.3:
        assert (result.keypoints[:, LEFT_HAND] == plan.keypoints[:, LEFT_HAND]).all()
    elif seen >= 0.3:
        assert (result.keypoints[:, LEFT_HAND] == video.keypoints[:, LEFT_HAND]).all()
    else:
        assert not result.present[:, LEFT_HAND].any()                       # neither is worth drawing


def test_points_the_detector_guesses_do_not_pull_the_plan(plan):
    video = seen_in_video(plan, 4.0)
    video.keypoints[:, NOSE, 2] = 0.1
    result = refined_plan(plan, video, 1.0)
    assert (result.xy[:, NOSE] == plan.xy[:, NOSE]).all() and (result.xy[:, LEFT_WRIST] != plan.xy[:, LEFT_WRIST]).any()


def test_an_unplanned_hand_that_the_detector_only_guesses_is_not_credible(plan):
    video = seen_in_video(plan, 0.0)
    video.keypoints[:, LEFT_HAND, 2] = 0.05
    result = refined_plan(plan, video, 0.0)
    assert not result.present[:, LEFT_HAND].any() and result.seen[:, RIGHT_HAND].all()
