"""Motion -> skeleton: sides, depth, what is seen, framing, and time."""
from pathlib import Path

import numpy as np
import pytest

from dwpose.skeleton import (FACE, HANDS, LEFT_ANKLE, LEFT_EAR, LEFT_EYE, LEFT_SHOULDER, LEFT_WRIST, NOSE, RIGHT_ANKLE, RIGHT_EAR,
                             RIGHT_EYE, RIGHT_SHOULDER, RIGHT_WRIST)
from synthetic.motions import sample_motion
from t2m.camera import Camera, CAMERAS, STANDING_SHARE
from t2m.motion import LEFT_WRIST as SMPL_LEFT_WRIST, Motion, yaw_rotated
from t2m.project import project, resampled

FIXTURES = Path(__file__).parent / "fixtures" / "t2m"
SIZE = (320, 192)
BODY_AND_FACE = slice(0, HANDS.start)


def moving(kind: str, seconds: float = 3.0, seed: int = 0, **options) -> Motion:
    return sample_motion(kind, seconds, np.random.default_rng(seed), **options).motion


def turned_by(motion: Motion, yaw: float) -> Motion:
    return Motion(yaw_rotated(motion.joints.astype(np.float64), yaw), motion.fps)


def test_seen_from_the_front_the_left_side_is_on_the_right_of_the_picture():
    x = project(moving("stand"), SIZE, 10).xy[0, :, 0]
    for left, right in ((LEFT_SHOULDER, RIGHT_SHOULDER), (LEFT_WRIST, RIGHT_WRIST), (LEFT_ANKLE, RIGHT_ANKLE),
                        (LEFT_EYE, RIGHT_EYE), (LEFT_EAR, RIGHT_EAR)):
        assert x[left] > x[right] + 1


def test_seen_from_behind_sides_swap_and_the_face_is_unseen():
    behind = project(turned_by(moving("stand"), np.pi), SIZE, 10)
    assert behind.xy[0, LEFT_SHOULDER, 0] < behind.xy[0, RIGHT_SHOULDER, 0] - 1
    assert (behind.confidence[0, FACE] == 0).all() and (behind.confidence[0, [NOSE, LEFT_EYE, RIGHT_EYE]] == 0).all()
    front = project(moving("stand"), SIZE, 10)
    assert (front.confidence[0, FACE] == 1).all() and front.confidence[0, NOSE] == 1


def test_in_profile_only_the_near_eye_is_seen():
    profile = project(turned_by(moving("stand"), -np.pi / 2), SIZE, 10)                  # facing image left
    assert profile.confidence[0, LEFT_EYE] == 1 and profile.confidence[0, RIGHT_EYE] == 0


def test_walking_towards_the_camera_makes_the_person_larger():
    """The published projection shrinks them (notes/t2m.md §8)."""
    skeleton = project(moving("walk", 5.0), SIZE, 10, "static")
    extent = np.ptp(skeleton.xy[:, BODY_AND_FACE, 1], axis=1)
    assert extent[-1] > 1.05 * extent[0]


def test_a_long_way_to_the_camera_begins_nearly_as_large_as_it_ends_and_on_the_same_floor():
    skeleton = project(moving("run", 6.0), SIZE, 10, "static")
    extent, feet = np.ptp(skeleton.xy[:, BODY_AND_FACE, 1], axis=1), skeleton.xy[:, [LEFT_ANKLE, RIGHT_ANKLE], 1].max(axis=1)
    assert extent[:5].max() > 0.85 * extent.max() and feet.max() - feet[:5].max() < 0.06 * SIZE[0]


def test_projection_equals_the_published_one_seen_with_depth_the_right_way_round():
    golden = np.load(FIXTURES / "projection.npz")
    focal = np.hypot(512, 512)
    camera = Camera(distance=4.0, scale=focal / 4.0 / 512, height=0.0, centre_x=0.5, centre_y=0.5)
    pixels = camera.project(golden["points"] * (1, 1, -1), (512, 512))[..., :2]
    np.testing.assert_allclose(pixels, golden["pixels"], atol=1e-3)


@pytest.mark.parametrize("size", [(320, 192), (192, 320), (1024, 576), (64, 64)])
@pytest.mark.parametrize("kind", ["walk", "side_step", "jump", "arms_out"])
def test_a_static_camera_sees_the_whole_motion_on_any_canvas(size, kind):
    xy = project(moving(kind, 4.0), size, 10, "static").xy[:, BODY_AND_FACE]
    assert (xy >= 0).all() and (xy[..., 0] <= size[1]).all() and (xy[..., 1] <= size[0]).all()


def test_a_canvas_keeps_the_proportions_of_the_body():
    motion = moving("arms_out", 4.0)
    spans = []
    for size in ((400, 400), (800, 400), (400, 800)):
        xy = project(motion, size, 10, "static").xy[:, BODY_AND_FACE]
        spans.append(np.ptp(xy[..., 0]) / np.ptp(xy[..., 1]))
    np.testing.assert_allclose(spans, spans[0], rtol=1e-3)


def test_a_standing_person_fills_four_fifths_of_the_height():
    skeleton = project(moving("stand"), SIZE, 10)
    extent = np.ptp(skeleton.xy[0, BODY_AND_FACE, 1]) / SIZE[0]
    assert STANDING_SHARE - 0.06 < extent <= STANDING_SHARE + 0.02                       # eyebrows to soles: no crown


def test_a_crouching_person_is_not_enlarged():
    standing, crouching = (project(moving(kind, 4.0), SIZE, 10) for kind in ("stand", "crouch"))
    shoulders = [np.linalg.norm(s.xy[0, LEFT_SHOULDER] - s.xy[0, RIGHT_SHOULDER]) for s in (standing, crouching)]
    assert abs(shoulders[0] / shoulders[1] - 1) < 0.1
    assert np.ptp(crouching.xy[20, BODY_AND_FACE, 1]) < 0.9 * np.ptp(standing.xy[20, BODY_AND_FACE, 1])


def test_following_keeps_the_person_in_the_middle_where_a_still_camera_does_not():
    motion = moving("side_step", 5.0, side="left")
    centre = {name: project(motion, SIZE, 10, name).xy[:, BODY_AND_FACE, 0].mean(axis=1) for name in ("follow", "static")}
    assert np.ptp(centre["follow"]) < 0.5 * np.ptp(centre["static"])


def test_orbiting_passes_from_one_side_to_the_other():
    nose = project(moving("stand", 4.0), SIZE, 10, "orbit").xy[:, NOSE, 0]
    shoulders = project(moving("stand", 4.0), SIZE, 10, "orbit").xy[:, [LEFT_SHOULDER, RIGHT_SHOULDER], 0].mean(axis=1)
    assert (nose - shoulders)[0] * (nose - shoulders)[-1] < 0 and abs((nose - shoulders)[0]) > 3


def test_zooming_enlarges_and_keeps_the_head_in_the_picture():
    skeleton = project(moving("stand", 4.0), SIZE, 10, "zoom")
    shoulders = np.linalg.norm(skeleton.xy[:, LEFT_SHOULDER] - skeleton.xy[:, RIGHT_SHOULDER], axis=-1)
    assert shoulders[-1] > 1.4 * shoulders[0]
    assert (skeleton.xy[:, FACE] > 0).all() and (skeleton.xy[:, FACE, 1] < SIZE[0]).all()


def test_time_is_resampled_not_relabelled():
    """30 fps from 20 fps: the same seconds, and every third frame of the result is every second of the motion."""
    motion = moving("wave", 3.0)
    joints = resampled(motion, 30)
    assert len(joints) == 90
    np.testing.assert_allclose(joints[::3], motion.joints[::2], atol=1e-6)
    np.testing.assert_allclose(resampled(motion, 10), motion.joints[::2], atol=1e-6)


def test_resampling_is_exact_on_a_straight_path():
    joints = np.zeros((41, 22, 3), dtype=np.float32)
    joints[:, SMPL_LEFT_WRIST, 0] = np.arange(41) / 20                                   # one metre per second
    path = resampled(Motion(joints), 7)[:, SMPL_LEFT_WRIST, 0]
    np.testing.assert_allclose(path, np.minimum(np.arange(len(path)) / 7, 2.0), atol=1e-6)


def test_hands_are_unseen_and_the_result_says_its_size_and_rate():
    skeleton = project(moving("wave"), SIZE, 12, "follow")
    assert (skeleton.keypoints[:, HANDS] == 0).all()
    assert skeleton.size == SIZE and skeleton.fps == 12 and len(skeleton) == 36


def test_a_camera_object_is_used_as_it_is():
    motion, camera = moving("wave"), Camera(yaw=0.4, scale=0.3)
    still = project(motion, SIZE, 20, camera).xy
    per_frame = Camera(yaw=np.full(len(motion), 0.4), scale=np.full(len(motion), 0.3))
    np.testing.assert_allclose(project(motion, SIZE, 20, per_frame).xy, still, atol=1e-3)
    assert np.abs(project(motion, SIZE, 20, Camera(yaw=-0.4, scale=0.3)).xy - still).max() > 3


def test_an_unknown_camera_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match=f"dolly.*{'.*'.join(CAMERAS)}"):
        project(moving("wave"), SIZE, 10, "dolly")
