"""MusePose's pose align: the published script's numbers where they are right, and something sensible where they are not."""
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import finer_scale
import pose_align
from configs import run_main
from dwpose.draw import draw
from dwpose.musepose import (
    aligned_as_musepose, Alignment, compared, FACE, HIPS, KNUCKLES, LEFT_FINGERS, LEFT_HAND, NECK, painted_size, places,
    pose_frames, RIGHT_FINGERS, RIGHT_HAND, scaled, SCALES, SEGMENTS, without_face,
)
from dwpose.skeleton import BODY, HANDS, LEFT_ELBOW, LEFT_SHOULDER, NOSE, OPENPOSE_FROM_COCO, Skeleton
from media.files import locked
from media.video_reader import read_video
from media.video_writer import write_video

CASES = ("pair0", "pair1", "pair2", "degenerate_inf", "degenerate_nan", "no_hands")
SYSTEM = "pose/musepose_align"
RIGHT_ONES = ("pair0", "pair2", "no_hands")          # where the published script has no missing or coincident points


@pytest.fixture(scope="module")
def numbers(goldens):
    folder = goldens(SYSTEM, "musepose_align.npz", "musepose_align.json")
    return json.loads((folder / "musepose_align.json").read_text()), np.load(folder / "musepose_align.npz")


def published_places(numbers, case, who):
    """Body and the first two hands, x in frame heights, (..., 60, 2)."""
    get = lambda name: numbers[1][f"{case}/{name}"]
    body, hands = get(f"{who}_candidate")[..., :18, :], get(f"{who}_hands")
    points = np.concatenate([body, hands[..., 0, :, :], hands[..., 1, :, :]], axis=-2)
    return points * (get("ref_ratio_video_ratio")[0 if who == "ref" else 1], 1)


def published_scales(driver: np.ndarray, target: np.ndarray) -> dict[str, float]:
    """The published script's scales from one frame (60, 2), defects included: missing points are the place -1."""
    length = lambda body, start, end: np.linalg.norm(body[start] - body[end])
    with np.errstate(divide="ignore", invalid="ignore"):
        found = {name: np.mean([length(target, *ends) / length(driver, *ends) for ends in segments])
                 for name, segments in SEGMENTS.items()}
        trunks = [np.linalg.norm(body[NECK] - body[list(HIPS)].mean(axis=0)) for body in (target, driver)]
        found["body_len"] = trunks[0] / trunks[1]
        hands = [(length(target, *ends), length(driver, *ends)) for hand in (LEFT_FINGERS, RIGHT_FINGERS)
                 for ends in ((hand.start, hand.start + knuckle) for knuckle in KNUCKLES)]
    hand = [wanted / own for wanted, own in hands if own != 0]
    arms = found["arm_upper"] + found["arm_lower"]
    found["hand"] = (np.mean(hand) + arms) / 3 if hand else arms / 2
    return {name: 1.0 if np.isnan(found[name]) else float(found[name]) for name in SCALES}


def published_alignment(driver: np.ndarray, target: np.ndarray, align_frame: int = 0) -> tuple[Alignment, np.ndarray]:
    """The published script to the letter, for comparison: driver (F, 60, 2), target (60, 2), missing points at
    (-1 aspect, -1), to what it draws, (F, 60, 2) in frame heights of the reference."""
    alignment = Alignment(published_scales(driver[align_frame], target), target[NECK] - driver[align_frame, NECK])
    with np.errstate(invalid="ignore"):
        moved = scaled(driver, alignment.scales)
    missing = driver[..., 1] == -1
    moved[missing] = -1
    return alignment, np.nan_to_num(moved, nan=-1.0) + alignment.offset


@pytest.mark.parametrize("case", CASES)
def test_the_published_script_is_reproduced_with_its_defects(numbers, case):
    get = lambda name: numbers[1][f"{case}/{name}"]
    alignment, found = published_alignment(published_places(numbers, case, "driver"), published_places(numbers, case, "ref"))
    np.testing.assert_allclose([alignment.scales[name] for name in SCALES], get("align_args"), rtol=1e-9)
    np.testing.assert_allclose(alignment.offset, get("offset"), atol=1e-12)
    ratio = get("ref_ratio_video_ratio")
    wanted = np.concatenate([get("out_body"), get("out_hands")[:, 0], get("out_hands")[:, 1]], axis=1)
    np.testing.assert_allclose(found / (ratio[0], 1), wanted, atol=1e-12)
    faces = get("driver_faces")[:, :1]
    shifted = (np.where(faces == -1, -1, faces * (ratio[1], 1)) + alignment.offset) / (ratio[0], 1)
    np.testing.assert_allclose(shifted, get("out_faces"), atol=1e-12)


def skeleton_of(body, hands, subset, size):
    """Published arrays as a `Skeleton`; what has -1 is absent."""
    keypoints = np.zeros((len(body), 133, 3))
    for point, joint in enumerate(OPENPOSE_FROM_COCO):
        if joint is not None:
            keypoints[:, joint, :2] = body[:, point] * size[::-1]
            keypoints[:, joint, 2] = np.where(subset[:, 0, point] >= 0, 1, 0.1)
    for number, side in ((0, LEFT_HAND), (1, RIGHT_HAND)):
        keypoints[:, side, :2] = hands[:, number] * size[::-1]
        keypoints[:, side, 2] = (hands[:, number] != -1).all(axis=-1)
    keypoints[keypoints[..., 2] == 0] = 0
    return Skeleton(keypoints, size, 30)


def pair_of(numbers, case):
    """Driver and reference of a case as skeletons, first person."""
    get = lambda name: numbers[1][f"{case}/{name}"]
    height, width, driver_height, driver_width = map(int, get("sizes_refH_refW_drvH_drvW"))
    driver = skeleton_of(get("driver_candidate")[:, :18], get("driver_hands"), get("driver_subset"), (driver_height, driver_width))
    reference = skeleton_of(get("ref_candidate")[None, :18], get("ref_hands")[None], get("ref_subset")[None], (height, width))
    return driver, reference


@pytest.mark.parametrize("case", RIGHT_ONES)
def test_where_the_published_script_is_right_the_result_is_its(numbers, case):
    driver, reference = pair_of(numbers, case)
    get = lambda name: numbers[1][f"{case}/{name}"]
    found = aligned_as_musepose(driver, reference, align_frame=0)
    wanted = skeleton_of(get("out_body"), get("out_hands"), get("out_subset"), reference.size)
    seen = found.confidence > 0
    assert seen[:, BODY].all()
    assert np.abs(found.xy - wanted.xy)[seen].max() < 1e-4 * max(reference.size)


@pytest.mark.parametrize("case", CASES)
def test_every_scale_is_one_that_bodies_can_have_and_every_point_is_finite(numbers, case):
    driver, reference = pair_of(numbers, case)
    for frame in (0, None):
        scales = compared(places(driver), places(reference)[0], frame).scales
        assert all(0.3 < scale < 2 for scale in scales.values()), scales
        found = aligned_as_musepose(driver, reference, frame)
        assert np.isfinite(found.keypoints).all() and np.array_equal(found.confidence > 0, driver.confidence > 0)
        assert not found.xy[found.confidence == 0].any()


def test_proportions_come_from_all_frames_and_one_odd_frame_changes_nothing(numbers):
    driver, reference = pair_of(numbers, "pair0")
    before = compared(places(driver), places(reference)[0]).scales
    keypoints = driver.keypoints.copy()
    keypoints[0, LEFT_ELBOW, :2] = keypoints[0, LEFT_SHOULDER, :2]            # an infinite ratio in the published script
    keypoints[0, NOSE, 2] = 0
    after = compared(places(replace(driver, keypoints=keypoints)), places(reference)[0]).scales
    assert all(abs(after[name] / before[name] - 1) < 0.01 for name in SCALES)


def test_any_movement_can_be_aligned_so_by_its_setting(numbers):
    driver, reference = pair_of(numbers, "pair0")
    found = finer_scale.aligned(driver, reference, "musepose")
    assert np.array_equal(found.keypoints, aligned_as_musepose(driver, reference).keypoints)
    assert not np.allclose(found.xy, finer_scale.aligned(driver, reference, "linear").xy, atol=1)


def test_hands_that_are_missing_in_one_of_the_two_take_the_arms_scale(numbers):
    driver, reference = pair_of(numbers, "pair0")
    scales = compared(places(driver), places(reference.without_hands())[0], 0).scales
    assert scales["hand"] == pytest.approx((scales["arm_upper"] + scales["arm_lower"]) / 2)
    found = aligned_as_musepose(driver, reference.without_hands())
    assert (found.confidence[:, HANDS] > 0).any()


def test_the_neck_of_the_first_frame_is_where_the_references_is(numbers):
    driver, reference = pair_of(numbers, "pair0")
    found = places(aligned_as_musepose(driver, reference))[0, NECK]
    assert np.abs(found - places(reference)[0, NECK]).max() < 1e-6


def test_the_face_follows_the_head_where_the_published_script_leaves_it(numbers):
    driver, reference = pair_of(numbers, "pair0")
    keypoints = driver.keypoints.copy()
    keypoints[:, FACE] = keypoints[:, [NOSE]] + (5, 7, 0)
    found = aligned_as_musepose(replace(driver, keypoints=keypoints), reference)
    offsets = (found.xy[:, FACE] - found.xy[:, [NOSE]]) / reference.size[0] * driver.size[0]
    scale = compared(places(driver), places(reference)[0]).scales["face"]
    assert np.abs(offsets - scale * np.array((5, 7))).max() < 1e-2


def test_the_brush_draws_the_published_bytes(numbers, goldens):
    facts, arrays = numbers
    folder = goldens(SYSTEM, *(f"{case}_frame0.png" for case in CASES))
    for case in CASES:
        get = lambda name: arrays[f"{case}/{name}"]
        size = tuple(facts["cases"][case]["draw_canvas_HW"])
        frame = draw(without_face(skeleton_of(get("out_body")[:1], get("out_hands")[:1], get("out_subset")[:1], size)), "musepose")[0]
        assert np.array_equal(frame, cv2.imread(str(folder / f"{case}_frame0.png"))[..., ::-1]), case


def test_frames_are_painted_768_high_without_a_face(numbers):
    driver, _ = pair_of(numbers, "pair0")
    frames = list(pose_frames(driver[:2]))
    assert frames[0].shape == (*painted_size(driver.size), 3) and painted_size((960, 540)) == (768, 432)
    keypoints = driver.keypoints.copy()
    keypoints[:, FACE] = keypoints[:, [NOSE]] + (40, 40, 0)
    assert all(np.array_equal(one, other) for one, other in zip(frames, pose_frames(replace(driver, keypoints=keypoints)[:2])))


@pytest.mark.parametrize(("change", "words"), [
    (lambda driver, reference: (driver[:0], reference, None), "driving clip: expected frames"),
    (lambda driver, reference: (driver, reference, 99), "align_frame: expected 0 to"),
    (lambda driver, reference: (driver, replace(reference, keypoints=reference.keypoints * 0), None), "reference: expected a person"),
    (lambda driver, reference: (replace(driver, keypoints=driver.keypoints * 0), reference, None), "driving clip: expected a person"),
])
def test_people_that_cannot_be_compared_are_refused(numbers, change, words):
    with pytest.raises(ValueError, match=words):
        aligned_as_musepose(*change(*pair_of(numbers, "pair0")))


def test_two_scales_are_of_two_hands():
    assert LEFT_FINGERS.stop == RIGHT_FINGERS.start and RIGHT_FINGERS.stop == 60


@pytest.fixture
def dance(numbers, tmp_path, monkeypatch):
    """A picture and a video on disk, and a detector that gives the set's people for them."""
    driver, reference = pair_of(numbers, "pair0")
    write_video(tmp_path / "dance.mp4", np.full((len(driver), 96, 54, 3), 90, np.uint8), 24)
    cv2.imwrite(str(tmp_path / "ref.png"), np.zeros((121, 70, 3), np.uint8))

    class Detector:
        detect_everybody = staticmethod(lambda frames: [np.zeros((2, 133, 3))])

        def detect(self, frames, fps=1.0, *, person="largest", source=""):
            count = len(list(frames))
            return reference if source.endswith(".png") else driver[:count]

    monkeypatch.setattr(pose_align, "load_detector", lambda *files: Detector())
    monkeypatch.chdir(tmp_path)
    return len(driver)


def test_the_script_writes_the_published_files(dance, caplog):
    pose_align.main(["--imgfn_refer", "ref.png", "--vidfn", "dance.mp4", "--detect_resolution", "0"])
    poses, fps = read_video("assets/poses/align/img_ref_video_dance.mp4")
    both, _ = read_video("assets/poses/align_demo/img_ref_video_dance.mp4")
    assert len(poses) == len(both) == dance and fps == 24 and poses.shape[1] == both.shape[1] == 768
    assert poses.max() > 200 and "expected one person (found 2)" in caplog.text
    assert both.shape[2] >= 2 * poses.shape[2]


@pytest.mark.parametrize(("more", "words"), [(["--yolox_ckpt", "x.pth", "--dwpose_ckpt", "y.onnx"], "--yolox_ckpt: expected an ONNX file"),
                                             (["--yolox_ckpt", "x.onnx"], "--yolox_ckpt, --dwpose_ckpt: expected both or neither"),
                                             (["--max_frame", "0"], "--max_frame: expected at least 1 (found 0)"),
                                             (["--align_frame", "-1"], "error: --align_frame: expected at least 0 (found -1)"),
                                             (["--detect_resolution", "3"], "error: --detect_resolution: expected 0 (frames as they are) or at least 64"),
                                             (["--detect_resolution", "-1"], "at least 64 pixels, as nobody is found in smaller frames (found -1)"),
                                             (["--align_frame", "200"], "frames of dance.mp4 are read (found 200): lower it\n"),
                                             (["--align_frame", "5", "--max_frame", "3"], "--align_frame: expected less than 3, as that many frames of "
                                              "dance.mp4 are read (found 5): lower it, or raise --max_frame"),
                                             (["--outfn", "dance.mp4"], "--outfn: expected a file of its own (found dance.mp4, which is --vidfn's)"),
                                             (["--outfn", "x.mp4", "--outfn_align_pose_video", "./x.mp4"], "which is --outfn_align_pose_video's"),
                                             (["--outfn", "x.txt"], "--outfn: expected a name ending in .mp4"),
                                             (["--outfn", "."], "--outfn: expected a file (found the folder .)"),
                                             (["--outfn", "/proc/x.mp4"], "/proc: cannot be written to"),
                                             (["--person", "bob"], "--person: expected largest, center, left, right, or a number")])
def test_the_script_refuses_what_cannot_work_in_one_line(dance, capsys, more, words):
    before = Path("dance.mp4").read_bytes()
    with pytest.raises(SystemExit) as ended:
        run_main(lambda: pose_align.main(["--imgfn_refer", "ref.png", "--vidfn", "dance.mp4", *more]))
    said = capsys.readouterr().err
    assert ended.value.code == 2 and words in said and said.count("\n") == 1 and Path("dance.mp4").read_bytes() == before


def test_two_runs_never_write_one_file(dance, capsys):
    with locked(Path("assets/poses/align/img_ref_video_dance.mp4"), beside=True), pytest.raises(SystemExit):
        run_main(lambda: pose_align.main(["--imgfn_refer", "ref.png", "--vidfn", "dance.mp4"]))
    assert "align/img_ref_video_dance.mp4: another run is writing to it" in capsys.readouterr().err
    assert not list(Path("assets").rglob("*.mp4")) and not list(Path("assets").rglob("*.lock"))
