"""The camera and the 133 landmarks: geometry that can be checked without any picture."""

import numpy as np
import pytest

from dwpose import skeleton as coco
from t2m import motion as smpl
from t2m.camera import Camera
from t2m.project import FACE_TEMPLATE, landmarks, seen_from

MIRRORED_JOINTS = [smpl.JOINT_NAMES.index(name.replace("left", "#").replace("right", "left").replace("#", "right"))
                   for name in smpl.JOINT_NAMES]
HAND_BONES = [(0, 5), (5, 6), (6, 7), (7, 8), (9, 10), (17, 18), (18, 19), (1, 2), (2, 3)]


@pytest.fixture
def standing() -> np.ndarray:
    """(1, 22, 3) metres: 1.7 m tall, facing +z, left arm a little out."""
    joints = np.zeros((22, 3))
    for name, x, y, z in (
            ("pelvis", 0, 0.95, 0), ("spine1", 0, 1.06, 0), ("spine2", 0, 1.19, 0), ("spine3", 0, 1.25, 0),
            ("neck", 0, 1.46, 0), ("head", 0, 1.56, 0.03), ("hip", 0.09, 0.88, 0), ("knee", 0.1, 0.49, 0),
            ("ankle", 0.1, 0.09, -0.03), ("toe", 0.12, 0.03, 0.1), ("collar", 0.07, 1.37, 0),
            ("shoulder", 0.18, 1.4, 0), ("elbow", 0.25, 1.14, 0), ("wrist", 0.3, 0.9, 0.05)):
        for side, sign in (("left_", 1), ("right_", -1)):
            index = smpl.JOINT_NAMES.index(name if name in smpl.JOINT_NAMES else side + name)
            joints[index] = (sign * x, y, z)
    return joints[None]


def turned(joints: np.ndarray, yaw: float) -> np.ndarray:
    cos, sin = np.cos(yaw), np.sin(yaw)
    return joints @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])


def test_the_left_hand_of_a_facing_person_is_at_image_right(standing):
    pixels = Camera().project(landmarks(standing).points, (320, 192))[0]
    assert pixels[coco.LEFT_WRIST, 0] > 96 > pixels[coco.RIGHT_WRIST, 0]
    assert pixels[coco.NOSE, 1] < pixels[coco.LEFT_HIP, 1] < pixels[coco.LEFT_ANKLE, 1]
    assert pixels[coco.NOSE, 2] > pixels[coco.LEFT_EAR, 2]              # the nose is nearer to the viewer


@pytest.mark.parametrize("size", [(320, 192), (1024, 576), (512, 512), (256, 448)])
def test_a_standing_person_fits_any_canvas(standing, size):
    pixels = Camera().project(landmarks(standing).points[:, :91], size)
    inside = (pixels[..., :2] >= 0) & (pixels[..., :2] < (size[1], size[0]))
    assert inside.all()
    assert 0.5 * size[0] < np.ptp(pixels[..., 1]) < 0.9 * size[0]


def test_nearer_is_larger():
    camera, size = Camera(), (320, 192)
    rods = np.array([[[0, 0.5, z], [0, 1.5, z]] for z in (-1.0, 0.0, 1.0)])
    heights = np.ptp(camera.project(rods, size)[..., 1], axis=1)
    assert heights[0] < heights[1] < heights[2]
    assert heights[1] == pytest.approx(0.39 * 320, rel=1e-5)            # scale is exact in the target plane
    assert camera.pixels_per_metre(rods, size)[:, 0] == pytest.approx(heights, rel=1e-5)


def test_canvases_of_equal_shape_show_the_same_view(standing):
    small, large = (Camera(yaw=0.4, pitch=0.2).project(standing, size) for size in ((320, 192), (960, 576)))
    np.testing.assert_allclose(3 * small[..., :2], large[..., :2], rtol=1e-5)


def test_looking_down_lowers_what_is_near():
    points = np.array([[0, 0, 1.0], [0, 0, -1.0]])
    y = Camera(pitch=0.3, distance=50.0).project(points, (320, 192))[:, 1]
    assert y[0] > y[1]


def test_a_moving_camera_is_one_camera_per_frame():
    points = np.random.default_rng(0).normal(size=(4, 7, 3))
    moving = Camera(yaw=np.linspace(-1, 1, 4), target_x=np.linspace(0, 2, 4), scale=np.linspace(0.2, 0.5, 4))
    together = moving.project(points, (320, 192))
    for index in range(4):
        np.testing.assert_allclose(moving.frame(index).project(points[index], (320, 192)), together[index], rtol=1e-5)


def test_a_camera_without_distance_is_refused():
    with pytest.raises(ValueError, match="camera distance: expected a positive number"):
        Camera(distance=0.0)


def test_turning_the_person_turns_every_landmark(standing):
    curl = np.array([[0.2, 0.9]])
    expected = turned(landmarks(standing, curl=curl).points, 1.1)
    np.testing.assert_allclose(landmarks(turned(standing, 1.1), curl=curl).points, expected, atol=1e-5)


def test_a_mirrored_person_has_mirrored_landmarks(standing):
    standing[0, smpl.LEFT_WRIST] += (0.1, 0.5, 0.2)
    mirrored = standing[:, MIRRORED_JOINTS] * (-1, 1, 1)
    points = landmarks(standing, curl=[[0.1, 0.8]]).points[0] * (-1, 1, 1)
    other = landmarks(mirrored, curl=[[0.8, 0.1]]).points[0]
    np.testing.assert_allclose(other[coco.LEFT_HAND], points[coco.RIGHT_HAND], atol=1e-5)
    np.testing.assert_allclose(other[coco.LEFT_BIG_TOE:coco.LEFT_HEEL + 1],
                               points[coco.RIGHT_BIG_TOE:coco.RIGHT_HEEL + 1], atol=1e-5)
    for point in points[coco.FACE]:                                     # as a set: mirroring renumbers the face
        assert np.linalg.norm(other[coco.FACE] - point, axis=-1).min() < 1e-5


def test_face_points_run_from_image_left_to_image_right():
    jaw = FACE_TEMPLATE[:17]
    assert (np.diff(jaw[:, 0]) > -0.05).all() and jaw[0, 0] < 0 < jaw[-1, 0]
    assert jaw[8, 1] == FACE_TEMPLATE[:, 1].min()                       # iBUG 8 is the chin


def test_a_head_seen_from_behind_shows_no_face_but_a_body(standing):
    marks = landmarks(standing)
    front, back = (seen_from(marks, Camera(yaw=yaw))[0] for yaw in (0.0, np.pi))
    assert front[: coco.FACE.stop].all()
    assert not back[coco.FACE].any() and not back[: coco.RIGHT_EAR + 1].any()
    assert back[coco.LEFT_SHOULDER: coco.FACE.start].all()


def test_a_profile_shows_one_ear_and_half_a_face(standing):
    seen = seen_from(landmarks(standing), Camera(yaw=np.pi / 2))[0]     # turned to their left: the right side shows
    assert seen[coco.RIGHT_EAR] and not seen[coco.LEFT_EAR]
    assert 15 < seen[coco.FACE].sum() < 60


@pytest.mark.parametrize("lean", [-0.05, 0.0, 0.06])
def test_tilting_the_head_never_turns_the_face_round(standing, lean):
    standing[:, smpl.HEAD] = standing[:, smpl.NECK] + (0, 0.1, lean)
    assert landmarks(standing).head.forward[0, 2] > 0.6


def test_turning_the_head_turns_the_face(standing):
    standing[:, smpl.HEAD] = standing[:, smpl.NECK] + (0.025, 0.1, 0.015)       # to their left
    assert landmarks(standing).head.forward[0, 0] > 0.3


def test_finger_bones_keep_their_length_in_every_pose(standing):
    joints = np.repeat(standing, 20, axis=0)
    rng = np.random.default_rng(1)
    joints[:, smpl.LEFT_WRIST] = joints[:, smpl.LEFT_ELBOW] + rng.normal(size=(20, 3))
    hands = landmarks(joints, curl=rng.random((20, 2))).points[:, coco.LEFT_HAND]
    for start, end in HAND_BONES:
        lengths = np.linalg.norm(hands[:, start] - hands[:, end], axis=-1)
        assert np.ptp(lengths) < 1e-5 and 0.015 < lengths[0] < 0.13


def test_hands_are_absent_unless_asked_for(standing):
    assert not landmarks(standing).points[:, coco.HANDS].any()
    assert landmarks(standing, curl=[[0, 0]]).points[:, coco.HANDS].any(axis=-1).all()
