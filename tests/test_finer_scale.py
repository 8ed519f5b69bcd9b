"""Rescaling: the published script, exact reference lengths, what must not change, and ten thousand odd inputs."""
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dwpose import skeleton as joints
from dwpose.alignment import linearly_aligned
from dwpose.proportions import CHILDREN, distances, full_lengths, PARENTS, with_middles
from dwpose.skeleton import Skeleton
from configs import run_main
from finer_scale import anchor_rescale, main, rescale, rescaled
from media.video_reader import read_video
from motionbench.cells import driving_motion, MOTIONS_BY_NAME, performance, person
from t2m.motion import Motion
from t2m.project import project, resampled

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests/fixtures/pose/rescale.npz"
PIXELS = np.array((576, 1024))                  # of the published script
LEGS = [joints.LEFT_HIP, joints.RIGHT_HIP, joints.LEFT_KNEE, joints.RIGHT_KNEE, joints.LEFT_ANKLE, joints.RIGHT_ANKLE]

STANDING = {                                    # metres to the viewer's right of the navel, and down from the top
    joints.NOSE: (0, 0.15), joints.LEFT_EYE: (0.03, 0.12), joints.RIGHT_EYE: (-0.03, 0.12),
    joints.LEFT_EAR: (0.08, 0.14), joints.RIGHT_EAR: (-0.08, 0.14),
    joints.LEFT_SHOULDER: (0.18, 0.32), joints.LEFT_ELBOW: (0.25, 0.58), joints.LEFT_WRIST: (0.28, 0.82),
    joints.LEFT_HIP: (0.11, 0.85), joints.LEFT_KNEE: (0.12, 1.24), joints.LEFT_ANKLE: (0.13, 1.63),
    joints.LEFT_BIG_TOE: (0.18, 1.70), joints.LEFT_SMALL_TOE: (0.2, 1.69), joints.LEFT_HEEL: (0.12, 1.67)}
MIRRORED = {joints.LEFT_SHOULDER: joints.RIGHT_SHOULDER, joints.LEFT_ELBOW: joints.RIGHT_ELBOW,
            joints.LEFT_WRIST: joints.RIGHT_WRIST, joints.LEFT_HIP: joints.RIGHT_HIP,
            joints.LEFT_KNEE: joints.RIGHT_KNEE, joints.LEFT_ANKLE: joints.RIGHT_ANKLE,
            joints.LEFT_BIG_TOE: joints.RIGHT_BIG_TOE, joints.LEFT_SMALL_TOE: joints.RIGHT_SMALL_TOE,
            joints.LEFT_HEEL: joints.RIGHT_HEEL}


def standing_person(pixels_per_metre=150.0, centre=(96.0, 30.0)):
    """(133, 3): a frontal person with hands and a face."""
    points = np.zeros((133, 3), np.float32)
    for joint, place in STANDING.items():
        points[joint] = *place, 1
        if joint in MIRRORED:
            points[MIRRORED[joint]] = -place[0], place[1], 1
    rng = np.random.default_rng(3)
    for hand, wrist in ((joints.LEFT_HAND, joints.LEFT_WRIST), (joints.RIGHT_HAND, joints.RIGHT_WRIST)):
        points[hand] = points[wrist] + np.pad(rng.uniform(0, 0.12, (21, 2)), ((0, 0), (0, 1)))
        points[hand.start] = points[wrist]
    points[joints.FACE] = points[joints.NOSE] + np.pad(rng.uniform(-0.07, 0.07, (68, 2)), ((0, 0), (0, 1)))
    points[:, :2] = points[:, :2] * pixels_per_metre + centre
    return points


def taller_person():
    """A reference with other proportions: broad, long legs, short arms."""
    points = standing_person(160, (80, 20))
    points[LEGS[2:], 1] += 12
    points[[joints.LEFT_ANKLE, joints.RIGHT_ANKLE, *range(17, 23)], 1] += 14
    for shoulder, elbow, wrist in ((5, 7, 9), (6, 8, 10)):
        points[[shoulder, elbow, wrist], 0] += np.sign(points[shoulder, 0] - 80) * 6
        points[wrist, :2] = points[elbow, :2] + 0.8 * (points[wrist, :2] - points[elbow, :2])
    return Skeleton(points[None], (400, 200), 1)


def waving_clip(num_frames=9):
    """One arm turns in the image plane, the other first points at the viewer, then hangs."""
    frames = np.repeat(standing_person()[None], num_frames, axis=0)
    angle = np.linspace(0, np.pi, num_frames)
    upper, lower = 0.27 * 150, 0.25 * 150
    turn = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    frames[:, joints.LEFT_ELBOW, :2] = frames[:, joints.LEFT_SHOULDER, :2] + upper * turn
    frames[:, joints.LEFT_WRIST, :2] = frames[:, joints.LEFT_ELBOW, :2] + lower * turn
    share = np.linspace(0.1, 1, num_frames)[:, None]
    frames[:, joints.RIGHT_ELBOW, :2] = frames[:, joints.RIGHT_SHOULDER, :2] + share * (0, upper)
    frames[:, joints.RIGHT_WRIST, :2] = frames[:, joints.RIGHT_ELBOW, :2] + share * (0, lower)
    frames[:, joints.LEFT_HAND, :2] += frames[:, [joints.LEFT_WRIST], :2] - frames[:, [joints.LEFT_HAND.start], :2]
    frames[:, joints.RIGHT_HAND, :2] += frames[:, [joints.RIGHT_WRIST], :2] - frames[:, [joints.RIGHT_HAND.start], :2]
    return Skeleton(frames, (320, 192), 10)


def bone_lengths(keypoints):
    return distances(with_middles(keypoints), PARENTS, CHILDREN)


@pytest.mark.parametrize("case", ["main", "main_float32", "body60", "missing_zero", "ref_coincident"])
def test_the_published_script_is_reproduced(case):
    golden = np.load(GOLDEN)
    body, reference = (golden[f"{case}/{name}"] for name in ("body", "ref"))
    ours = anchor_rescale(body * PIXELS.astype(body.dtype), reference * PIXELS.astype(body.dtype))
    np.testing.assert_allclose(ours, golden[f"{case}/out_px"], atol=1e-9 if body.dtype == np.float64 else 2e-3)


def test_where_the_published_script_dies_we_go_on():
    golden = np.load(GOLDEN)
    body = golden["coincident_neck_nose/body"] * PIXELS
    assert np.isnan(golden["coincident_neck_nose/out_px"]).any()
    assert np.isfinite(anchor_rescale(body, golden["coincident_neck_nose/ref"] * PIXELS)).all()


def test_published_mode_moves_only_shoulders_and_head_with_what_hangs_on_them():
    clip, reference = waving_clip(), taller_person()
    moved = np.abs(rescale(clip, reference, published=True).xy - clip.xy).max(axis=(0, 2)) > 1e-3
    assert moved[:11].all() and not moved[11:].any()


def test_limbs_in_the_image_plane_get_exactly_the_references_length():
    after = bone_lengths(rescale(waving_clip(), taller_person()).keypoints)             # (F, 14)
    wanted = bone_lengths(taller_person().keypoints)[0]                                 # (14,)
    in_plane = [row for row, child in enumerate(CHILDREN) if child not in (joints.RIGHT_ELBOW, joints.RIGHT_WRIST)]
    for frame in after:
        np.testing.assert_allclose(frame[in_plane], wanted[in_plane], rtol=1e-4)
    np.testing.assert_allclose(after[-1], wanted, rtol=1e-4)


def test_a_foreshortened_limb_stays_as_foreshortened():
    before, after = (bone_lengths(s.keypoints) for s in (waving_clip(), rescale(waving_clip(), taller_person())))
    for child in (joints.RIGHT_ELBOW, joints.RIGHT_WRIST):
        row = CHILDREN.index(child)
        np.testing.assert_allclose(after[:, row] / after[-1, row], before[:, row] / before[-1, row], rtol=1e-4)


def test_limb_directions_are_the_drivers():
    before, after = waving_clip().xy, rescale(waving_clip(), taller_person()).xy
    for parent, child in ((joints.LEFT_SHOULDER, joints.LEFT_ELBOW), (joints.LEFT_KNEE, joints.LEFT_ANKLE)):
        for old, new in zip(before[:, child] - before[:, parent], after[:, child] - after[:, parent]):
            assert old @ new > (1 - 1e-6) * np.linalg.norm(old) * np.linalg.norm(new)


def test_rescale_is_idempotent():
    once = rescale(waving_clip(), taller_person())
    np.testing.assert_allclose(rescale(once, taller_person()).keypoints, once.keypoints, atol=1e-3)


def test_a_person_rescaled_to_themselves_does_not_move():
    reference = taller_person()
    np.testing.assert_allclose(rescale(reference, reference).keypoints, reference.keypoints, atol=1e-3)


def test_the_drivers_size_and_place_do_not_matter():
    clip, reference = waving_clip(), taller_person()
    keypoints = clip.keypoints.copy()
    keypoints[..., :2] = keypoints[..., :2] * 2.5 + (300, 40)
    elsewhere = Skeleton(keypoints, (1000, 1000), clip.fps)
    np.testing.assert_allclose(rescale(elsewhere, reference).keypoints, rescale(clip, reference).keypoints, atol=2e-2)


def squat_and_jump():
    """Pelvis and everything above sink by 60 px at frame 3 (knees go outwards), the whole body rises 40 px at 6."""
    frames = np.repeat(standing_person()[None], 9, axis=0)
    legs_up = [*range(joints.LEFT_KNEE), *range(joints.FACE.start, 133)]
    frames[3, legs_up, 1] += 60
    frames[3, [joints.LEFT_KNEE, joints.RIGHT_KNEE], 1] += 30
    frames[3, joints.LEFT_KNEE, 0] += 45
    frames[3, joints.RIGHT_KNEE, 0] -= 45
    frames[6, :, 1] -= 40
    return Skeleton(frames, (320, 192), 10)


def test_a_squat_or_a_jump_changes_no_size_and_feet_meet_the_references_floor():
    clip, reference = squat_and_jump(), taller_person()
    after = rescale(clip, reference)
    floor = reference.xy[0, [joints.LEFT_ANKLE, joints.RIGHT_ANKLE], 1].max()
    lowest = after.xy[:, [joints.LEFT_ANKLE, joints.RIGHT_ANKLE], 1].max(axis=1)        # (F,)
    np.testing.assert_allclose(np.delete(lowest, 6), floor, atol=0.05)
    assert 35 < floor - lowest[6] < 60, "the jump stays, at the reference's scale"
    shoulders = np.linalg.norm(after.xy[:, joints.LEFT_SHOULDER] - after.xy[:, joints.RIGHT_SHOULDER], axis=-1)
    np.testing.assert_allclose(shoulders, shoulders[0], rtol=1e-4)
    assert after.xy[3, joints.NOSE, 1] - after.xy[0, joints.NOSE, 1] > 45, "the squat stays"


def mean_error(found, truth):
    seen = truth.confidence[:, joints.BODY] > 0
    return np.linalg.norm(found.xy - truth.xy, axis=-1)[:, joints.BODY][seen].mean()


@pytest.mark.parametrize("name", ["kick_right", "kick_left", "jumping_jack", "throw_left", "bow", "turn_right"])
def test_a_motion_of_another_body_comes_to_lie_where_the_persons_own_would(name):
    """Also while somebody leans on one leg, steps at the camera, lifts the shoulders with the arms, or bows."""
    motion, errors = MOTIONS_BY_NAME[name], []
    for who in (person(number, seed=9) for number in range(4)):
        own = performance(who, motion, 2.4, who.character.body).motion
        truth = project(Motion(resampled(own, 7.0), 7.0), (320, 192), 7.0, who.camera)
        reference = project(Motion(who.pose[0][None], 7.0), (320, 192), 7.0, who.picture_camera)
        driver = project(driving_motion(who, motion, 2.4), (320, 192), 7.0, "static")
        errors.append([mean_error(found, truth) for found in (
            rescale(driver, reference), rescale(driver, reference, limbs=False), linearly_aligned(driver, reference))])
    anchors, affine, linear = np.mean(errors, axis=0)
    assert anchors < 1.3 and anchors < 0.65 * min(affine, linear), (anchors, affine, linear)


def test_somebody_who_leans_and_steps_at_the_camera_stays_where_they_stand():
    """Most of the time the body is 12 px aside and one foot 2 px lower; the rest they stand."""
    clip, reference = Skeleton(np.repeat(standing_person()[None], 10, axis=0), (320, 192), 10), taller_person()
    still = rescale(clip, reference).xy[0]
    feet = [joints.LEFT_ANKLE, *range(joints.LEFT_BIG_TOE, joints.LEFT_HEEL + 1)]
    upper = [joint for joint in range(133) if joint not in (joints.RIGHT_ANKLE, *range(17, 23), *feet)]
    clip.keypoints[3:, upper, 0] += 12
    clip.keypoints[3:, feet, 1] += 2
    clip.keypoints[3:, joints.LEFT_KNEE, 0] += 6
    after = rescale(clip, reference).xy
    np.testing.assert_allclose(after[0], still, atol=0.05)
    np.testing.assert_allclose(after[3:, joints.RIGHT_ANKLE, 0] - still[joints.RIGHT_ANKLE, 0], 0, atol=6)
    assert (after[3:, joints.NOSE, 0] - still[joints.NOSE, 0] > 9).all()


def test_somebody_who_walks_off_and_stands_there_is_not_pushed_out_of_the_picture():
    """The middle of the path stays within a quarter of a metre of the picture's person."""
    clip, reference = Skeleton(np.repeat(standing_person()[None], 30, axis=0), (320, 192), 10), taller_person()
    clip.keypoints[..., 0] += np.minimum(np.arange(30) * 20, 400)[:, None]                  # stands from frame 20 on
    clip.keypoints[:18:2, joints.LEFT_ANKLE, 1] -= 40
    clip.keypoints[1:18:2, joints.RIGHT_ANKLE, 1] -= 40
    shoulders = [joints.LEFT_SHOULDER, joints.RIGHT_SHOULDER]
    middle = np.median(rescale(clip, reference).xy[:, shoulders, 0].mean(axis=1))
    assert abs(middle - reference.xy[0, shoulders, 0].mean()) < 60                          # else 120; a metre has 229 pixels


def test_unseen_joints_stay_unseen():
    clip = waving_clip()
    clip.keypoints[2:4, joints.LEFT_WRIST] = 0
    clip.keypoints[:, joints.RIGHT_HAND] = 0
    after = rescale(clip, taller_person())
    np.testing.assert_array_equal(after.confidence, clip.confidence)
    assert not after.keypoints[2:4, joints.LEFT_WRIST].any() and not after.keypoints[:, joints.RIGHT_HAND].any()


def test_legs_the_reference_does_not_show_keep_the_drivers_proportions():
    clip, half = waving_clip(), taller_person()
    half.keypoints[:, [*LEGS[2:], *range(17, 23)]] = 0
    after = rescale(clip, half)
    before_legs, after_legs = (bone_lengths(s.keypoints)[:, 9:13] for s in (clip, after))
    ratio = after_legs / before_legs
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-4)
    assert 0.8 < ratio[0, 0] < 1.3
    np.testing.assert_allclose(after.xy[0, 5:7].mean(axis=0), half.xy[0, 5:7].mean(axis=0), atol=0.05)


def test_a_limb_the_reference_hides_is_taken_from_the_other_side():
    short = taller_person()
    wrist, elbow = short.keypoints[0, joints.LEFT_WRIST], short.keypoints[0, joints.LEFT_ELBOW]
    wrist[:2] = elbow[:2] + 0.2 * (wrist[:2] - elbow[:2])                               # forearm at the viewer
    rows = [CHILDREN.index(joints.LEFT_WRIST), CHILDREN.index(joints.RIGHT_WRIST)]
    after = full_lengths(bone_lengths(rescale(waving_clip(), short).keypoints))[rows]
    np.testing.assert_allclose(after[0], after[1], rtol=1e-4)


def test_ten_thousand_degenerate_inputs_stay_finite_and_bounded():
    rng = np.random.default_rng(0)
    for _ in range(20):
        driver, reference = degenerate(rng, (500, 3)), degenerate(rng, (500,))
        with np.errstate(all="raise", under="ignore"):
            after = rescaled(driver, reference)
        assert np.isfinite(after).all()
        assert np.abs(after[..., :2]).max() < 1e8
        np.testing.assert_array_equal(after[..., 2], driver[..., 2])
        assert not after[driver[..., 2] == 0].any()


def degenerate(rng, shape):
    """People with missing, coincident, low-confidence and far-out points, down to nobody. (*shape, 133, 3) float32"""
    points = rng.uniform(-500, 1500, (*shape, 133, 3))
    points[..., 2] = rng.uniform(0, 1, points.shape[:-1]) ** rng.uniform(0.1, 3, (*shape, 1))
    points[..., 2] *= rng.random(points.shape[:-1]) > rng.choice((0, 0.3, 0.9, 1), (*shape, 1))
    same = rng.random(points.shape[:-1]) < rng.choice((0, 0.2, 1), (*shape, 1))
    points[..., :2] = np.where(same[..., None], points[..., :1, :2], points[..., :2])
    points[..., :2] *= rng.choice((0, 1e-6, 1, 10), (*shape, 1, 1))
    return points.astype(np.float32)


def test_an_empty_reference_is_refused():
    nobody = replace(taller_person(), keypoints=np.zeros((1, 133, 3), np.float32))
    with pytest.raises(ValueError, match="reference: expected a person"):
        rescale(waving_clip(), nobody)


@pytest.mark.parametrize("scale", [0, 1e-6])
def test_a_reference_without_extent_is_refused(scale, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    waving_clip().save("clip.npz"), taller_person().with_xy(taller_person().xy * np.float32(scale) + 50).save("speck.npz")
    with pytest.raises(ValueError, match="speck.npz: keypoints: expected a person .*no body points of confidence 0.3 or more lie a pixel apart"):
        main(["clip.npz", "speck.npz", "-o", "out.npz"])


def test_of_a_reference_with_many_frames_the_first_with_a_person_counts_and_is_named(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    clip, reference = waving_clip(), taller_person()
    clip.save("clip.npz"), replace(reference, keypoints=np.repeat([[[0]], [[1]]], 2, axis=0) * reference.keypoints).save("reference.npz")
    with caplog.at_level("INFO"):
        main(["clip.npz", "reference.npz", "-o", "out.npz"])
    np.testing.assert_array_equal(Skeleton.load("out.npz").keypoints, rescale(clip, reference).keypoints)
    assert "reference.npz: expected one frame (found 4): the proportions are those of frame 2, the first that shows a person" in caplog.text


def test_the_command_writes_what_the_function_returns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    clip, reference = waving_clip(), taller_person()
    clip.save("clip.npz"), reference.save("reference.npz")
    main(["clip.npz", "reference.npz", "-o", "out.npz", "--preview", "out.mp4"])
    np.testing.assert_array_equal(Skeleton.load("out.npz").keypoints, rescale(clip, reference).keypoints)
    frames, fps = read_video("out.mp4")
    assert frames.shape == (len(clip), *reference.size, 3) and fps == clip.fps and frames.max() > 150


@pytest.mark.parametrize("arguments, says", [
    (["absent.npz", "reference.npz", "-o", "out.npz"], "absent.npz: cannot be used (No such file"),
    (["clip.npz", "reference.npz", "-o", "."], "-o: expected a file (found the folder .)"),
    (["clip.npz", "reference.npz", "-o", "out.txt"], "-o: expected a name ending in .npz (found 'out.txt')"),
    (["clip.npz", "reference.npz", "-o", "clip.npz"], "which is the driving skeleton's): choose another name"),
    (["clip.npz", "no.png", "-o", "out.npz", "--preview", "x.txt"], "--preview: expected a name ending in .mp4"),      # before no.png is read
    (["clip.npz", "no.png", "-o", "out.npz", "--preview", "/proc/a.mp4"], "/proc: cannot be written to"),
    (["clip.npz", "no.png", "-o", "out.npz"], "no.png: expected a picture"),
    (["clip.npz", "reference.npz", "-o", "out.npz", "--detector", "cat"],
     "pose detector: expected auto, dwpose, mediapipe, demo, or an ONNX person detector (found 'cat'): choose one"),
    (["clip.npz", "empty.npz", "-o", "out.npz"], "empty.npz: keypoints: expected a person in some frame (found 0 frames"),
    (["clip.npz", "huge.npz", "-o", "out.npz", "--preview", "x.mp4"], "a canvas of at most 8192 pixels a side (found 1000000x1000000)"),
])
def test_a_mistake_on_the_command_line_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, says):
    monkeypatch.chdir(tmp_path)
    waving_clip().save("clip.npz"), taller_person().save("reference.npz"), taller_person()[:0].save("empty.npz")
    replace(taller_person(), size=(10**6, 10**6)).save("huge.npz")
    files = sorted(tmp_path.iterdir())
    with pytest.raises(SystemExit) as stopped:
        run_main(lambda: main(arguments))
    said = capsys.readouterr().err
    assert stopped.value.code == 2 and said.startswith("error: ") and says in said and said.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == files
