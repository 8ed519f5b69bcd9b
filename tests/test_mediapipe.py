"""The detector for photographs without its weights: every number of a stage against the official one, and the glue.

fixtures/mediapipe/stages.npz holds numbers of mediapipe 0.10.21 itself: raw outputs of its networks on one picture, and
regions and landmarks of eight pictures and a clip of 24 frames.
"""
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from dwpose import choosing
from dwpose.mediapipe import checked, CROWD, MediaPipeDetector, shrunk, tiles
from dwpose.mediapipe_networks import (aligned, anchors, around, around_palm, corner_and_sides, crop, Detection,
                                       detections, FACE_AGREEMENT, FACE_STRIDES, HAND_AGREEMENT, load_network, MODELS,
                                       Networks, Pose, POSE_STRIDES, refined, Region, RIGHT, steadied, turned, UP, whole)
from dwpose.mediapipe_person import (as_keypoints, BODY_OF_POSE, FollowedPerson, FOOT_OF_POSE, hand_regions,
                                     IBUG_OF_MESH, OneEuro, person_mask, region_ahead, region_of_detection, small_toe)
from dwpose.skeleton import (BODY, FACE, FEET, LEFT_HAND, LEFT_SHOULDER, LEFT_WRIST, NOSE, RIGHT_SHOULDER, SEEN_CONFIDENCE,
                             Skeleton)
from runtime.published_weights import files_of

FIXTURE = Path(__file__).parent / "fixtures" / "mediapipe" / "stages.npz"
RECT_TOLERANCE = 5e-4               # of the picture


@pytest.fixture(scope="module")
def official():
    with np.load(FIXTURE) as file:
        return dict(file)


def rect(region: Region, size) -> np.ndarray:
    """A region as the published graph keeps it: in shares of the picture's width and height."""
    height, width = size
    return np.array([region.x / width, region.y / height, region.side / width, region.side / height, region.angle])


def region(values: np.ndarray, size) -> Region:
    height, width = size
    return Region(*(float(value) for value in (values[0] * width, values[1] * height, values[2] * width, values[4])))


def pixels(points: np.ndarray, size) -> np.ndarray:
    """Official points (..., 3 or more) in shares of the picture to pixels, in float64."""
    placed = points.astype(np.float64)
    placed[..., :3] *= (size[1], size[0], size[1])
    return placed


def stills(official):
    for index, size in enumerate(official["sizes"]):
        yield tuple(size), {name.removeprefix("stills/"): values[index] for name, values in official.items()
                            if name.startswith("stills/") and values.ndim > 0}


@pytest.fixture(scope="module")
def recorded(official):
    """Networks that answer with what the official ones did on the picture mp_ref, whatever they are shown."""
    heat = np.full((64, 64, 39), -30, np.float32)
    for point, (x, y) in enumerate(official["pose_rows"][:, :2] / 256):
        rows, columns = np.mgrid[-4:5, -4:5] + np.array([int(y * 64), int(x * 64)])[:, None, None]
        inside = np.isfinite(official["heat_windows"][point])
        heat[rows[inside], columns[inside], point] = official["heat_windows"][point][inside]
    answers = ([official["pose_boxes"], official["pose_logits"][:, None]],
               [official["pose_rows"].ravel(), official["pose_flag"], np.zeros((256, 256, 1)), heat, official["pose_metres"]],
               [official["recrop_raw"]],
               [official["lm_raw"], np.array([0.96]), np.array([0.2]), np.zeros(63)],
               [official["face_boxes"], official["face_logits"][:, None]],
               [official["face_raw"], np.array([9.0])])
    return Networks(*((lambda pixels, answer=answer: answer) for answer in answers))


def test_the_whole_chain_gives_the_official_person(official, recorded):
    index = int(official["stills/ref"])
    size, expected = list(stills(official))[index]
    picture = np.zeros((*size, 3), np.uint8)
    detected = recorded.poses(picture, whole(size))[0]
    np.testing.assert_allclose(detected.score, expected["pose_detection"][0], atol=1e-5)
    np.testing.assert_allclose(rect(region_of_detection(detected.points), size), expected["pose_rect"], atol=2e-5)
    person = FollowedPerson(recorded, region(expected["pose_rect"], size))
    reading = person.read(picture, 1 / 30)
    np.testing.assert_allclose(reading.points, pixels(expected["pose_unfiltered"], size), atol=0.01)
    np.testing.assert_allclose(rect(person.region, size), expected["pose_rect_from_landmarks"], atol=RECT_TOLERANCE)
    for name, key in (("left hand by pose", "left_hand_roi_from_pose"), ("left hand corrected", "left_hand_roi_from_recrop"),
                      ("face by pose", "face_roi_from_pose"), ("face detected", "face_roi_from_detection")):
        np.testing.assert_allclose(rect(reading.regions[name], size), expected[key], atol=RECT_TOLERANCE, err_msg=name)
    for points, key, tolerance in ((reading.hands["left"], "ref/lh", 0.1), (reading.face, "ref/face", 0.1)):
        assert np.abs(points - pixels(official[key], size)).max() < tolerance, key


def test_anchors_are_the_graphs():
    assert len(anchors(224, POSE_STRIDES)) == 2254 and len(anchors(128, FACE_STRIDES)) == 896
    np.testing.assert_allclose(anchors(224, POSE_STRIDES)[[0, 1, 2, 2 * 28 * 28]], [[.5 / 28] * 2, [.5 / 28] * 2, [1.5 / 28, .5 / 28], [.5 / 14] * 2])


def test_overlapping_detections_are_averaged_by_score_and_others_are_kept():
    boxes = np.zeros((896, 16), np.float32)
    logits = np.full(896, -9.0)
    boxes[:, 2:4] = 64
    logits[[0, 2]], logits[-1] = (2.0, 1.0), 0.5                                        # two neighbours, and one far away
    found = detections(boxes, logits, 128, FACE_STRIDES)
    scores = 1 / (1 + np.exp(-np.array([2.0, 1.0])))
    assert [round(one.score, 6) for one in found] == [round(scores[0], 6), round(1 / (1 + np.exp(-0.5)), 6)]
    expected = (scores[0] * 0.5 / 16 + scores[1] * 1.5 / 16) / scores.sum()
    np.testing.assert_allclose(found[0].points[:, 0], expected)
    assert detections(boxes, np.full(896, -9.0), 128, FACE_STRIDES) == []


def test_regions_follow_the_official_ones_on_eight_pictures(official):
    for size, expected in stills(official):
        pose, ahead = (pixels(expected[key], size) for key in ("pose_unfiltered", "aux_unfiltered"))
        keypoints = expected["pose_detection"][5:].reshape(4, 2).astype(np.float64) * size[::-1]
        assert np.abs(rect(region_of_detection(keypoints), size) - expected["pose_rect"]).max() < 1e-6
        assert np.abs(rect(region_ahead(ahead), size) - expected["pose_rect_from_landmarks"]).max() < RECT_TOLERANCE
        face = around(pose[:11], turned(pose[5], pose[2], RIGHT), 3.0)
        assert np.abs(rect(face, size) - expected["face_roi_from_pose"]).max() < 2e-5
        features = expected["face_detection"][5:].reshape(6, 2).astype(np.float64) * size[::-1]
        face = around(features, turned(features[0], features[1], RIGHT), 2.0, -0.1)
        assert np.abs(rect(face, size) - expected["face_roi_from_detection"]).max() < 2e-5


@pytest.mark.parametrize("side", ["left", "right"])
def test_hands_are_looked_for_where_the_graph_does(official, recorded, side):
    for size, expected in stills(official):
        if np.isfinite(expected[f"{side}_hand_roi_from_pose"]).all():
            found = hand_regions(recorded, np.zeros((*size, 3), np.uint8), pixels(expected["pose_unfiltered"], size), side, None)
            assert np.abs(rect(found[" by pose"], size) - expected[f"{side}_hand_roi_from_pose"]).max() < 2e-5


def test_regions_of_the_frame_before_are_kept_exactly_where_the_graph_keeps_them(official):
    size, kept = tuple(official["clip/size"]), {True: 0, False: 0}
    for frame in range(1, 24):
        for side, short in (("left_hand", "lh"), ("right_hand", "rh")):
            before = pixels(official[f"clip/{short}"][frame - 1], size)
            measured = official[f"clip/{side}_roi_from_recrop"][frame]
            if np.isfinite(before).all() and np.isfinite(measured).all():
                now, followed = region(measured, size), around_palm(before, 2.0, -0.1)
                chosen = steadied(now, followed, before, HAND_AGREEMENT)
                kept[chosen is followed] += 1
                assert np.abs(rect(chosen, size) - official[f"clip/{side}_roi"][frame]).max() < RECT_TOLERANCE
    assert kept[True] > 10 and kept[False] > 5
    for frame in range(1, 13):
        before = pixels(official["clip/face"][frame - 1], size)
        now = region(official["clip/face_roi_from_detection"][frame], size)
        followed = around(before, turned(before[33], before[263], RIGHT), 1.5)
        chosen = steadied(now, followed, before, FACE_AGREEMENT)
        assert np.abs(rect(chosen, size) - official["clip/face_roi"][frame]).max() < RECT_TOLERANCE


def test_the_filter_smooths_as_the_official_one(official):
    size, smooth, smooth_ahead = tuple(official["clip/size"]), OneEuro(0.05, 80), OneEuro(0.01, 10)
    for frame, (pose, ahead) in enumerate(zip(official["clip/pose_unfiltered"], official["clip/aux_unfiltered"])):
        pose, ahead = pixels(pose, size), pixels(ahead, size)
        side = aligned(*ahead, UP).side
        if frame + 1 < 24:
            region_next = region_ahead(smooth_ahead(ahead[:, :3], 1 / 30, side))
            assert np.abs(rect(region_next, size) - official["clip/pose_rect"][frame + 1]).max() < RECT_TOLERANCE
        found = smooth(pose[:, :3], 1 / 30, side)
        assert np.abs(found - pixels(official["clip/pose"][frame], size)[:, :3]).max() < 2e-3


def test_the_crop_is_integer_arithmetic_on_a_grid_of_32nds():
    """OpenCV 5 moves points in its warps by pixels: should its remap do so too, this fails."""
    picture = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    for where in (Region(30, 40, 50, 0.4), Region(5, 80, 120, -2.0), whole((90, 70))):
        corner, along, down = corner_and_sides(where)
        for border in ("black", "edge"):
            found = crop(picture, where, 24, border=border)
            for row, column in np.ndindex(24, 24):
                x, y = np.rint((corner + column / 24 * along + row / 24 * down) * 32).astype(int)
                total = np.zeros(3, int)
                for dy, dx in np.ndindex(2, 2):
                    weight = (32 - x % 32, x % 32)[dx] * (32 - y % 32, y % 32)[dy]
                    at = y // 32 + dy, x // 32 + dx
                    inside = 0 <= at[0] < 90 and 0 <= at[1] < 70
                    if inside or border == "edge":
                        total += weight * picture[min(max(at[0], 0), 89), min(max(at[1], 0), 69)].astype(int)
                np.testing.assert_array_equal(found[row, column], (total + 512) >> 10)


def test_to_picture_and_back_is_the_identity():
    points = np.random.default_rng(1).uniform(-1, 2, (20, 2))
    where = Region(33, -4, 120, 2.2)
    np.testing.assert_allclose(where.from_picture(where.to_picture(points)), points)


def test_a_point_moves_to_its_heat_and_stays_without_any():
    heat = np.full((64, 64, 2), -20.0)
    heat[30, 22, 0] = 5.0
    found = refined(np.array([[0.36, 0.47, 7.0], [0.36, 0.47, 7.0]]), heat)
    np.testing.assert_allclose(found, [[22 / 64, 30 / 64, 7], [0.36, 0.47, 7]], atol=1e-6)


def test_index_tables_are_the_recorded_ones(official):
    np.testing.assert_array_equal(IBUG_OF_MESH, official["map/ibug68_from_468"])
    np.testing.assert_array_equal(BODY_OF_POSE, official["map/coco17_from_33"])
    for point, row in zip(range(FEET.start, FEET.stop), official["map/feet6_from_33"]):
        assert FOOT_OF_POSE.get(point, -1) == row


def test_the_small_toe_lies_outside():
    heel, toe, ankle, knee = np.array([[100, 200, 0], [100, 205, -30], [100, 190, 0], [100, 100, 0.0]])       # to the camera
    assert small_toe(toe, heel, ankle, knee, -1)[0] > 105 and small_toe(toe, heel, ankle, knee, 1)[0] < 95


def reading_of(official, recorded):
    index = int(official["stills/ref"])
    own, expected = list(stills(official))[index]
    return FollowedPerson(recorded, region(expected["pose_rect"], own)).read(np.zeros((*own, 3), np.uint8), 1.0), own


def test_keypoints_are_wholebody_and_points_outside_the_picture_are_not_seen(official, recorded):
    reading, size = reading_of(official, recorded)
    keypoints = as_keypoints(reading, size)
    assert (keypoints[BODY, 2] >= SEEN_CONFIDENCE).all() and (keypoints[FACE, 2] > 0.99).all()
    np.testing.assert_allclose(keypoints[LEFT_HAND, :2], reading.hands["left"][:, :2], atol=1e-4)
    np.testing.assert_allclose(keypoints[LEFT_HAND, 2], 0.96)
    assert keypoints[RIGHT_SHOULDER, 0] < keypoints[LEFT_SHOULDER, 0]               # she faces the camera
    cut = int(keypoints[LEFT_WRIST, 0])
    narrow = as_keypoints(reading, (size[0], cut))
    assert not narrow[LEFT_WRIST].any() and not narrow[keypoints[:, 0] >= cut].any()
    left = keypoints[:, 0] < cut
    np.testing.assert_array_equal(narrow[left], keypoints[left])


def test_from_behind_nose_and_eyes_are_not_seen(official, recorded):
    reading, size = reading_of(official, recorded)
    turned_away = reading.pose.points.copy()
    turned_away[[11, 12, 23, 24]] = turned_away[[12, 11, 24, 23]]
    behind = replace(reading, pose=replace(reading.pose, points=turned_away), face=None)
    assert not as_keypoints(behind, size)[NOSE:NOSE + 3].any()
    assert as_keypoints(replace(reading, face=None), size)[NOSE, 2] > 0.9                # facing, the face only missed


def test_the_mask_comes_back_to_the_place_it_was_read_at():
    logits = np.full((256, 256), -9.0)
    logits[64:192, 96:160] = 9
    where = Region(120, 90, 128, 0.5)
    pose = Pose(np.zeros((33, 5)), np.zeros((2, 5)), 1.0, where, logits)
    mask = person_mask(pose, (200, 260))
    inside = where.to_picture(np.array([[0.5, 0.5], [0.4, 0.3], [0.6, 0.7]]))
    outside = where.to_picture(np.array([[0.2, 0.5], [0.5, 0.1], [1.2, 0.5]]))
    assert all(mask[int(y), int(x)] > 0.9 for x, y in inside) and all(mask[int(y), int(x)] < 0.1 for x, y in outside)
    assert abs(mask.sum() - 64 * 32) < 60                                               # area in picture pixels


def test_tiles_cover_the_picture_and_overlap():
    for size in ((1080, 1920), (500, 500), (33, 900)):
        for share in (1.0, 0.5, 0.25):
            seen = np.zeros(size, int)
            for tile in tiles(size, (share,)):
                low, high = (np.array([tile.y, tile.x]) + sign * tile.side / 2 for sign in (-1, 1))
                seen[max(round(low[0]), 0):round(high[0]), max(round(low[1]), 0):round(high[1])] += 1
            assert seen.min() >= 1
    assert len(tiles((1080, 1920), (0.5,))) == 6


# A world of rectangles in which the networks' answers are known: every bright column is a person.

STANDING = np.array([[0.5, 0.09]] + [[0.5, 0.08]] * 10 + [[0.62, 0.25], [0.38, 0.25], [0.66, 0.4], [0.34, 0.4], [0.67, 0.53],
                    [0.33, 0.53]] + [[0.67, 0.57], [0.33, 0.57]] * 3 + [[0.57, 0.52], [0.43, 0.52], [0.57, 0.73], [0.43, 0.73],
                    [0.57, 0.94], [0.43, 0.94], [0.57, 0.97], [0.43, 0.97], [0.58, 0.98], [0.42, 0.98]])
STANDING[1:11, 0] += np.array([.01, .015, .02, -.01, -.015, -.02, .03, -.03, .01, -.01])


class Rectangles:
    """Networks that see a standing person in every bright rectangle that lies in the region they look at."""

    def __init__(self, faces: bool = True, score: float = 0.99):
        self.seen_faces, self.score, self.poses_read = faces, score, 0
        self.picture, self.columns = None, []

    def columns_of(self, picture) -> list[tuple[float, float, float, float]]:
        """x, y, width, height of the bright rectangles, counted once a picture."""
        if picture is not self.picture:
            count, _, stats, _ = cv2.connectedComponentsWithStats((picture[..., 0] > 128).astype(np.uint8))
            self.picture, self.columns = picture, [tuple(map(float, stats[one, :4])) for one in range(1, count)]
        return self.columns

    def poses(self, picture, where):
        found = []
        for x, y, width, height in self.columns_of(picture):
            if 0.3 * where.side < height < 1.05 * where.side and np.abs(where.from_picture(np.array([[x + width / 2, y + height / 2]])) - 0.5).max() < 0.4:
                hips = np.array([x + width / 2, y + height / 2])
                found.append(Detection(0.9, np.zeros((2, 2)), np.stack([hips, hips - (0, height / 2), hips, hips])))
        return found

    def pose(self, picture, where):
        self.poses_read += 1
        near = [(np.hypot(x + w / 2 - where.x, y + h / 2 - where.y), (x, y, w, h)) for x, y, w, h in self.columns_of(picture)]
        if not near or min(near)[0] > where.side / 4:
            return None
        x, y, width, height = min(near)[1]
        points = np.zeros((33, 5))
        points[:, :2] = STANDING * height + (x + width / 2 - height / 2, y)
        points[:, 3:] = 0.99
        points[15:17, 3] = 0.12                                                         # hands are not looked for long
        hips = np.array([x + width / 2, y + height / 2])
        ahead = np.zeros((2, 5))
        ahead[:, :2] = hips, hips - (0, height / 2)
        return Pose(points, ahead, self.score, where, np.full((256, 256), 9.0))

    def hand_circle(self, picture, where):
        return np.array([[where.x, where.y], [where.x, where.y + 5]])

    def hand(self, picture, where):
        return np.zeros((21, 3)), 0.1

    def faces(self, picture, where):
        middle = np.array([where.x, where.y])
        points = middle + where.side / 6 * np.array([[-.3, -.2], [.3, -.2], [0, 0], [0, .3], [-.5, 0], [.5, 0]])
        return [Detection(0.9, np.zeros((2, 2)), points)] if self.seen_faces else []

    def face(self, picture, where):
        return np.zeros((468, 3)) + (where.x, where.y, 0), 0.99


def scene(*people, size=(400, 700)) -> np.ndarray:
    """Rectangles (x, y, height) a quarter as wide as tall, on black."""
    picture = np.zeros((*size, 3), np.uint8)
    for x, y, height in people:
        picture[y:y + height, x:x + max(height // 4, 1)] = 255
    return picture


def neck_x(skeleton: Skeleton) -> np.ndarray:
    return skeleton.xy[:, [LEFT_SHOULDER, RIGHT_SHOULDER], 0].mean(axis=1)


def test_everybody_is_found_once_and_one_is_chosen(caplog):
    detector = MediaPipeDetector(Rectangles())
    picture = scene((60, 100, 120), (300, 40, 330), (560, 120, 200))
    assert [people.shape for people in detector.detect_everybody(picture[None])] == [(3, 133, 3)]
    for person, middle in (("largest", 341), ("center", 341), (0, 75), (1, 341), (2, 585)):
        assert abs(neck_x(detector.detect(picture[None], person=person))[0] - middle) < 1, person
    assert "more than one person in 1 of 1 frames: one is followed (largest)" in caplog.text
    caplog.clear()
    boxes = detector.find_with_boxes(picture[None], tell_others=False)[1]
    assert len(boxes[0]) == 3 and not caplog.text
    with pytest.raises(ValueError, match=r"two.png: person 3 asked for \(3 found\)"):
        detector.detect(picture[None], person=3, source="two.png")


def test_a_picture_larger_than_the_networks_need_is_read_smaller_and_answered_in_its_own_pixels():
    large = cv2.resize(scene((100, 40, 330), size=(400, 280)), None, fx=6, fy=6, interpolation=cv2.INTER_NEAREST)
    assert max(shrunk(large).shape) == 2048
    detector = MediaPipeDetector(Rectangles())
    skeleton = detector.detect(large[None])
    assert skeleton.size == large.shape[:2] and abs(neck_x(skeleton)[0] - 6 * 141) < 6
    mask = detector.mask_of(large, skeleton)
    assert mask.shape == large.shape[:2] and mask.dtype == np.float32


def test_one_person_is_followed_through_a_crossing_and_a_loss(caplog):
    detector = MediaPipeDetector(Rectangles())
    frames = np.stack([scene((40 + 8 * frame, 30, 330), (620 - 8 * frame, 250, 100)) for frame in range(40)])
    frames[[10, 11]] = 0
    skeleton = detector.detect(frames, fps=25, source="walk.mp4", max_gap_seconds=0.2)
    assert "walk.mp4: the person is not found in 2 of 40 frames: 10-11 bridged from both sides" in caplog.text
    x = neck_x(skeleton)
    assert np.abs(x - (81 + 8 * np.arange(40)))[:30].max() < 12 and skeleton.fps == 25      # one filter lags a little
    untouched = detector.find(frames, fps=25)
    assert not untouched.keypoints[10:12].any()


def test_somebody_who_comes_later_is_found_within_a_second():
    frames = [scene()] * 10 + [scene((300, 100, 90))] * 25
    skeleton = MediaPipeDetector(Rectangles()).find(iter(frames), fps=25)
    present = np.flatnonzero(skeleton.confidence.any(axis=1))
    assert present[0] <= 22 and (np.diff(present) == 1).all() and present[-1] == 34


def test_following_costs_one_reading_a_frame():
    networks = Rectangles()
    MediaPipeDetector(networks).find(np.stack([scene((100 + 3 * frame, 30, 330)) for frame in range(20)]), fps=25)
    assert networks.poses_read <= 24


def test_of_a_crowd_the_largest_are_read():
    crowd = scene(*((20 + 42 * (place % 16), 20 + 130 * (place // 16), 90 + place // 2) for place in range(48)))
    people = MediaPipeDetector(Rectangles()).detect_everybody(crowd[None])[0]
    assert len(people) == CROWD


def test_nobody_and_hardly_anybody_are_one_line():
    with pytest.raises(ValueError, match=r"^me.png: no person found \(frames: 1\): use a picture that shows a person at least from head to waist$"):
        MediaPipeDetector(Rectangles()).detect(scene()[None], source="me.png")
    with pytest.raises(ValueError, match=r"^me.mp4: no person found \(frames: 3\): use a clip"):
        MediaPipeDetector(Rectangles()).detect(np.stack([scene()] * 3), source="me.mp4")
    for networks, reason in ((Rectangles(faces=False), "it faces the camera, and no face is seen"),
                             (Rectangles(score=0.6), "a face is seen, but no body that belongs to it")):
        with pytest.raises(ValueError, match=f"the likeliest place: {reason}"):
            MediaPipeDetector(networks).detect(scene((300, 40, 330))[None])


def test_frames_of_another_shape_are_refused():
    picture = scene()
    for frames in ([picture, picture[:-1]], picture, picture[None].astype(np.float32), [], picture[None, :0]):
        with pytest.raises(ValueError, match=r"a.mp4: expected frames \(F, H, W, 3\) uint8 RGB"):
            list(checked(frames, "a.mp4"))


def test_missing_and_damaged_files_and_a_missing_runtime_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="pose_detection.tflite: no such file: python scripts/download_weights.py photograph"):
        MediaPipeDetector.load(tmp_path)
    (tmp_path / "hand_recrop.tflite").write_bytes(b"not a network")
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.delitem(sys.modules, "ai_edge_litert.interpreter", raising=False)
    with pytest.raises(ImportError, match="photographs: .*missing: pip install ai-edge-litert"):
        load_network(tmp_path, "hand_recrop")


def test_a_damaged_file_is_named(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="pip install ai-edge-litert")
    (tmp_path / "hand_recrop.tflite").write_bytes(b"not a network")
    with pytest.raises(ValueError, match="hand_recrop.tflite: expected a .tflite network .*download_weights.py photograph"):
        load_network(tmp_path, "hand_recrop")


def test_the_best_detector_whose_files_are_there_is_chosen(tmp_path, monkeypatch, caplog):
    with pytest.raises(FileNotFoundError, match="expected a detector's files"):
        choosing.chosen_detector(tmp_path)
    monkeypatch.setattr(choosing, "find_spec", lambda name: name)
    for kind in ("demo", "mediapipe", "dwpose"):                                        # each is preferred to the one before
        for file in choosing.FILES[kind]:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_bytes(b"")
        assert choosing.chosen_detector(tmp_path) == kind
    assert choosing.chosen_detector(tmp_path, "demo") == "demo"
    (tmp_path / choosing.FILES["dwpose"][0]).unlink()
    with pytest.raises(FileNotFoundError, match="yolox_l.onnx: no such file: python scripts/download_weights.py dwpose"):
        choosing.chosen_detector(tmp_path, "dwpose")
    monkeypatch.setattr(choosing, "find_spec", lambda name: None)
    assert choosing.chosen_detector(tmp_path) == "demo" and "pip install ai-edge-litert" in caplog.text
    with pytest.raises(ValueError, match="expected auto, dwpose, mediapipe, demo"):
        choosing.chosen_detector(tmp_path, "openpose")


def test_whoever_gets_the_demos_detector_unasked_is_told_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(choosing.PoseDetector, "load", lambda *files, **settings: files)
    for file in choosing.FILES["demo"]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    files = [str(tmp_path / file) for file in choosing.FILES["demo"]]
    choosing.load_detector("demo", weights=tmp_path)
    choosing.load_detector(*files, weights=tmp_path)
    assert not caplog.messages
    choosing.load_detector("auto", weights=tmp_path)
    assert caplog.messages == ["pose detector: the demo's, which knows clay figures only: for people python scripts/download_weights.py photograph (or dwpose)"]


def test_the_download_brings_what_the_detector_opens():
    assert {file.path for file in files_of("photograph")} == {f"mediapipe/{name}.tflite" for name in MODELS}
