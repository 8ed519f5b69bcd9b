"""The picture is cut around its person: whole, with room, never beyond the picture without need."""
import logging
import time

import cv2
import numpy as np
import pytest
from PIL import Image

from dwpose import skeleton
from dwpose.skeleton import BODY, LEFT_ANKLE, LEFT_WRIST, NOSE, NUM_KEYPOINTS, Skeleton
from media.images import read_image
from run.framing import around_person, framed, load_boxes, person_window, read_picture, save_boxes, share_inside, Window

SIZE = (1024, 576)


def person_at(size: tuple[int, int], x: float, top: float, bottom: float) -> Skeleton:
    """Somebody upright: the nose at `top`, ankles at `bottom`, wrists beside the hips; pixels."""
    keypoints = np.zeros((1, NUM_KEYPOINTS, 3))
    height = bottom - top
    keypoints[0, BODY] = [(x + 0.1 * height * (-1) ** joint, top + height * joint / LEFT_ANKLE, 1) for joint in range(BODY.stop)]
    keypoints[0, NOSE] = x, top, 1
    keypoints[0, LEFT_WRIST] = x + 0.25 * height, top + 0.5 * height, 1
    keypoints[0, LEFT_ANKLE] = x, bottom, 1
    return Skeleton(keypoints, size, 15.0)


def marked(size: tuple[int, int], person: Skeleton) -> np.ndarray:
    """A grey picture with a bright dot of 9 pixels at every seen point."""
    picture = np.full((*size, 3), 90, np.uint8)
    for x, y in np.round(person.xy[0, person.seen[0]]).astype(int):
        picture[max(y - 4, 0):y + 5, max(x - 4, 0):x + 5] = 255
    return picture


@pytest.mark.parametrize("size, x, top, bottom", [
    ((1200, 1800), 300, 400, 1000), ((1200, 1800), 1500, 300, 1100), ((1920, 1080), 540, 200, 1800), ((700, 700), 350, 60, 660),
    ((3000, 2000), 900, 1200, 1500)])
def test_the_whole_person_is_in_the_frame_where_the_dots_are(size, x, top, bottom):
    person = person_at(size, x, top, bottom)
    image, reference, window = around_person(marked(size, person), person, SIZE, "me.png")
    assert image.shape == (*SIZE, 3) and reference.size == SIZE
    points = reference.xy[0, reference.seen[0]]
    assert ((points >= 0) & (points < SIZE[::-1])).all()
    for column, row in points.round().astype(int):
        assert image[row, column].min() > 150                                   # the dot went with its point
    extent = np.ptp(points[:, 1])
    assert points[:, 1].min() > 0.15 * extent and SIZE[0] - points[:, 1].max() < 0.75 * extent


def test_a_large_picture_is_cut_and_not_extended():
    window = person_window(person_at((3000, 4000), 2000, 1000, 2000), SIZE)
    assert window.left >= 0 and window.top >= 0 and window.left + window.width <= 4000 and window.top + window.height <= 3000
    assert window.width / window.height == pytest.approx(SIZE[1] / SIZE[0], rel=0.01)


def test_beyond_the_edge_no_second_person_appears():
    person = person_at((900, 500), 250, 30, 870)
    image, reference = framed(marked((900, 500), person), Window(0, -150, 500, 1050), person, SIZE)
    first = int(reference.xy[0, NOSE, 1])
    assert image[:first - 20].max() < 150                                       # mirrored, the nose's dot would be there


def test_below_the_feet_no_soles_are_mirrored():
    person = person_at((840, 500), 250, 30, 740)
    lowest = int(person.xy[0, person.seen[0], 1].max())
    picture = marked((840, 500), person)
    picture[lowest + 5:lowest + 25] = 255                                       # shoes reach below the points of the feet
    below = int(0.7 * (840 - lowest))
    image, _ = framed(picture, Window(0, 0, 500, 840 + below), person, (840 + below, 500))
    assert image[lowest + 5:lowest + 25].min() > 250 and image[842:].max() < 150


def test_half_a_body_fills_the_frame_and_its_missing_points_stay_absent():
    person = person_at((800, 600), 300, 200, 2000)
    keypoints = person.keypoints.copy()
    keypoints[0, keypoints[0, :, 1] > 790] = 0
    half = Skeleton(keypoints, (800, 600), 15.0)
    image, reference, _ = around_person(marked((800, 600), half), half, SIZE, "me.png")
    assert (reference.present == half.present).all() and not reference.keypoints[~reference.present].any()


def standing(x: float, metre: float, **elsewhere) -> np.ndarray:
    """(1, 133, 3): an adult of so many pixels a metre, the shoulders about x; names of joints with where else they are, in metres."""
    places = dict(nose=(0, 0.1), left_shoulder=(0.17, 0.3), right_shoulder=(-0.17, 0.3), left_elbow=(0.24, 0.57), right_elbow=(-0.24, 0.57),
                  left_wrist=(0.28, 0.81), right_wrist=(-0.28, 0.81), left_hip=(0.1, 0.8), right_hip=(-0.1, 0.8), left_knee=(0.1, 1.2),
                  right_knee=(-0.1, 1.2), left_ankle=(0.1, 1.6), right_ankle=(-0.1, 1.6)) | elsewhere
    keypoints = np.zeros((1, NUM_KEYPOINTS, 3))
    for name, (across, down) in places.items():
        keypoints[0, getattr(skeleton, name.upper())] = x + metre * across, metre * (0.5 + down), 1
    return keypoints


def test_half_a_body_has_as_much_room_for_its_arms_as_a_whole_one():
    whole = standing(2000, 1000)
    half = np.where(whole[..., 1:2] > 1350, 0, whole)
    windows = [person_window(Skeleton(keypoints, size, 15.0), SIZE) for keypoints, size in ((whole, (3000, 4000)), (half, (1400, 4000)))]
    assert windows[0].width == pytest.approx(2 * 0.47 * 1500, rel=0.15)
    assert windows[1].width > 2 * 0.45 * 1000 and windows[1].top + windows[1].height == 1400       # down to where the picture cuts it off


def test_both_arms_have_the_same_room_wherever_one_of_them_is():
    person = Skeleton(standing(2000, 1000, left_wrist=(0.7, 0.3)), (3000, 4000), 15.0)
    window = person_window(person, SIZE)
    assert window.left + window.width / 2 == pytest.approx(2000, abs=2)
    far = Skeleton(standing(2000, 1000, left_wrist=(1.5, 0.3), left_elbow=(0.8, 0.3)), (3000, 4000), 15.0)
    window = person_window(far, SIZE)
    assert window.left <= 1720 and window.left + window.width >= 3500                       # and yet who reaches far is whole


def test_a_person_wider_than_the_video_is_named(caplog):
    person = person_at((400, 3000), 1500, 100, 380)
    person.keypoints[0, LEFT_WRIST, 0] = 2900
    person.keypoints[0, NOSE, 0] = 60
    with caplog.at_level(logging.WARNING):
        around_person(marked((400, 3000), person), person, SIZE, "me.png")
    assert "does not fit" in caplog.text


def box_of(person: Skeleton) -> list[float]:
    points = person.xy[0, person.seen[0]]
    return [*(points.min(axis=0) - 20), *(points.max(axis=0) + 20), 0.9]


@pytest.mark.parametrize("beside, says", [(430, "the one on the right is left out"), (200, "inside the frame and does not move")])
def test_somebody_beside_the_person_is_left_out_where_possible_and_named(beside, says, caplog):
    size = (1000, 2000)
    person, other = person_at(size, 700, 150, 850), person_at(size, 700 + beside, 150, 850)
    people = np.array([box_of(other), box_of(person)])
    with caplog.at_level(logging.WARNING):
        image, reference, window = around_person(marked(size, person), person, SIZE, "two.png", people)
    assert "2 people" in caplog.text and says in caplog.text
    points = reference.xy[0, reference.seen[0]]
    assert ((points >= 0) & (points < SIZE[::-1])).all()                        # whoever is followed stays whole
    alone = person_window(person, SIZE)
    assert share_inside(people[0], window) < share_inside(people[0], alone)


def test_where_everybody_is_is_kept_exactly(tmp_path):
    boxes = np.array([[1.5, 2.0, 30.0, 40.5, 0.9]], np.float32)
    save_boxes(boxes, tmp_path / "people.json")
    np.testing.assert_array_equal(load_boxes(tmp_path / "people.json"), boxes)
    save_boxes(boxes[:0], tmp_path / "people.json")
    assert load_boxes(tmp_path / "people.json").shape == (0, 5)


def test_a_part_much_larger_than_the_video_is_framed_as_fast_as_a_smaller_one_and_looks_alike():
    person, seconds, framings = person_at((1920, 1080), 540, 60, 1880), {}, {}
    picture = marked((1920, 1080), person)
    for times in (1, 4):
        larger = cv2.resize(picture, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
        grown = person.with_xy((person.xy + 0.5) * times - 0.5, larger.shape[:2])
        start = time.process_time()
        framings[times] = around_person(larger, grown, SIZE, "me.png")
        seconds[times] = time.process_time() - start
    assert seconds[4] < 0.5 + 4 * seconds[1]                                    # 64 times, where it is drawn on beyond the edges as large as it is
    assert np.abs(framings[4][1].xy - framings[1][1].xy).max() < 1.5 and framings[4][2].left == pytest.approx(4 * framings[1][2].left, abs=8)
    assert np.abs(framings[4][0].astype(float) - framings[1][0]).mean() < 2


@pytest.mark.parametrize("name, save", [("me.jpg", {"quality": 92}), ("me.png", {})])
def test_a_huge_picture_is_read_no_finer_than_the_video_needs_upright_and_an_ordinary_one_as_it_is(tmp_path, name, save):
    picture = np.zeros((5000, 9000, 3), np.uint8)
    picture[:, :4500] = 200, 40, 40
    turned = Image.Exif()
    turned[0x0112] = 6                                                          # to be turned by 90 degrees
    Image.fromarray(picture).save(tmp_path / name, exif=turned, **save)
    read = read_picture(tmp_path / name, (1024, 576))
    assert read.shape[1] == 2304 and abs(read.shape[0] - 2304 * 1.8) <= 1
    assert read[:2000, :, 0].min() > 190 and read[2200:, :, 0].max() < 10
    Image.fromarray(picture[:2000, :1500]).save(tmp_path / name, **save)
    assert np.array_equal(read_picture(tmp_path / name, (64, 64)), read_image(tmp_path / name))


def test_a_shape_that_leaves_less_than_half_of_the_person_is_refused():
    person = person_at((1920, 1080), 540, 60, 1880)
    with pytest.raises(ValueError, match=r"me.png: expected a video of a shape that the person fits .found 4096x64, in which \d of \d+ joints are left.: change"):
        around_person(marked((1920, 1080), person), person, (64, 4096), "me.png")


@pytest.mark.parametrize("window, inside", [(Window(0, 0, 40, 30), True), (Window(-1, 0, 40, 30), False), (Window(0, 1, 40, 30), False)])
def test_a_window_knows_whether_it_reaches_beyond_the_picture(window, inside):
    assert window.lies_in(np.zeros((30, 40, 3), np.uint8)) == inside
