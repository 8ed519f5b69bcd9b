"""What a run will show is told before it starts: a small video, and in words what may go wrong."""
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dwpose.skeleton import EYES, LEFT_ANKLE, LEFT_ELBOW, LEFT_HAND, LEFT_WRIST, NOSE, NUM_KEYPOINTS, RIGHT_ANKLE, RIGHT_HAND, RIGHT_WRIST, Skeleton
from media.images import fit_to_canvas, read_image
from renderers import MimicMotionConfig, PuppetConfig, Scene, VideoModelConfig
from renderers.mimicmotion import MimicMotion
from run.preview import predicted, preview, risks, things
from synthetic.clips import sample_clip
from synthetic.motions import sample_motion
from t2m.project import project

ROOT = Path(__file__).resolve().parent.parent
SIZE, FPS = (320, 192), 10.0
COLOUR = PuppetConfig(mask="colour")


@pytest.fixture(scope="module")
def standing() -> Skeleton:
    """Two seconds of somebody who stands, with hands."""
    skeleton = project(sample_motion("stand", 2.0, np.random.default_rng(0)).motion, SIZE, FPS, "static")
    keypoints = skeleton.keypoints.copy()
    for hand, wrist in ((LEFT_HAND, LEFT_WRIST), (RIGHT_HAND, RIGHT_WRIST)):
        keypoints[:, hand] = keypoints[:, [wrist]]
    return replace(skeleton, keypoints=keypoints)


def told(skeleton: Skeleton, reference: Skeleton | None = None, prompt: str = "") -> list[str]:
    return risks(Scene(np.zeros((*SIZE, 3), np.uint8), reference or skeleton[0], skeleton, prompt, None), COLOUR)


def changed(skeleton: Skeleton, joints: list[int], frames: slice, change) -> Skeleton:
    keypoints = skeleton.keypoints.copy()
    keypoints[frames, joints] = change(keypoints[frames, joints])
    return replace(skeleton, keypoints=keypoints)


def test_somebody_who_stands_gives_no_cause_for_words(standing):
    assert told(standing) == []


def test_a_limb_that_leaves_the_frame_is_named_with_its_seconds(standing):
    away = changed(standing, [LEFT_WRIST], slice(5, 15), lambda points: points + (150, 0, 0))
    (words,) = [words for words in told(away) if "leaves" in words]
    assert words == "the left hand leaves the frame for 1.0 s (from 0.5 s); a larger width= leaves room"
    above = changed(standing, [LEFT_WRIST], slice(5, 15), lambda points: points * (1, 0, 1) - (0, 150, 0))
    assert "the left hand leaves the frame for 1.0 s (from 0.5 s)" in told(above)


def test_a_palm_before_the_face_is_told_though_the_wrist_is_beside_it(standing):
    keypoints, height = standing.keypoints.copy(), np.ptp(standing.keypoints[0, [NOSE, LEFT_ANKLE], 1])
    nose = keypoints[:, NOSE, :2]
    keypoints[:, LEFT_WRIST, :2] = nose + (0.1 * height, 0)                     # as one who talks on the phone
    keypoints[:, LEFT_ELBOW, :2] = keypoints[:, LEFT_WRIST, :2] + (0.2 * height, 0)
    assert "the left hand is at the face for 2.0 s (from 0.0 s)" in told(replace(standing, keypoints=keypoints))
    keypoints[:, LEFT_ELBOW, :2] = keypoints[:, LEFT_WRIST, :2] - (0.2 * height, 0)         # pointing away from it
    assert not any("at the face" in words for words in told(replace(standing, keypoints=keypoints)))


def test_a_back_is_announced_only_where_the_picture_shows_a_face(standing):
    turned = changed(standing, [NOSE, *EYES], slice(10, None), lambda points: 0 * points)
    assert any(words.startswith("the person turns away") and "1.0 s" in words for words in told(turned, standing[0]))
    assert not any("turns away" in words for words in told(turned, turned[19]))


def test_frames_without_anybody_are_no_turning_away_and_it_is_said_that_nobody_is_there(standing):
    empty = changed(standing, list(range(NUM_KEYPOINTS)), slice(5, 15), lambda points: 0 * points)
    assert [words for words in told(empty, standing[0]) if "nobody" in words or "turns" in words] == ["the movement shows nobody for 1.0 s (from 0.5 s)"]


def test_jumps_between_frames_are_fast_and_the_remedy_is_named(standing):
    keypoints = standing.keypoints.copy()
    keypoints[::2, LEFT_WRIST, 1] -= 60
    assert any(words.startswith("fast: ") and "fps=20" in words for words in told(replace(standing, keypoints=keypoints)))


def test_feet_that_stand_and_move_slide_and_steps_do_not(standing):
    keypoints = standing.keypoints.copy()
    keypoints[:, [LEFT_ANKLE, RIGHT_ANKLE], 0] += 12 * np.arange(len(standing))[:, None] % 100
    assert any("slide" in words for words in told(replace(standing, keypoints=keypoints)))
    walking = project(sample_motion("march", 3.0, np.random.default_rng(0)).motion, SIZE, FPS, "static")
    assert not any("slide" in words for words in told(walking))


def test_another_persons_arm_is_found_by_its_length(standing):
    longer = changed(standing, [LEFT_WRIST], slice(None), lambda points: points + (0, 45, 0))
    assert any("left forearm is" in words for words in told(longer, standing[0]))


def test_what_the_picture_does_not_show_and_what_cannot_be_drawn_are_named(standing):
    half = changed(standing[0], [LEFT_ANKLE, RIGHT_ANKLE, RIGHT_WRIST, *range(LEFT_HAND.start, LEFT_HAND.stop)], slice(None), lambda points: 0 * points)
    words = told(standing, half, "A person kicks a Ball and sits on a chair.")
    assert "not in the picture: right hand, left foot, right foot" in words
    assert "not drawn, as only the person moves: ball, chair" in words and not any("needs" in line for line in words)
    lifted = lambda wrist: changed(standing, [wrist], slice(10, None), lambda points: points - (0, 60, 0))
    assert "the movement needs what the picture does not show: right hand (from 1.0 s)" in told(lifted(RIGHT_WRIST), half)
    assert not any("needs" in line for line in told(lifted(LEFT_WRIST), half))


@pytest.mark.parametrize("pockets", [False, True])
def test_a_hand_in_a_pocket_is_told_and_one_whose_fingers_are_merely_not_found_is_not(pockets):
    clip = sample_clip(3, "stand", num_frames=1, size=(640, 384))
    keypoints, picture = clip.reference_skeleton.keypoints.copy(), clip.reference.copy()
    for hand, wrist in ((LEFT_HAND, LEFT_WRIST), (RIGHT_HAND, RIGHT_WRIST)):
        if pockets:
            x, y = keypoints[0, wrist, :2].astype(int)
            picture[y + 4:y + 44, x - 20:x + 20] = (20, 40, 120)
        keypoints[:, hand] = 0
    reference = replace(clip.reference_skeleton, keypoints=keypoints)
    words = risks(Scene(picture, reference, reference, "", None), COLOUR)
    assert any(word.startswith("left hand and right hand not seen: what they look like is invented (a picture") for word in words) == pockets
    assert pockets or not any("hand" in line or "finger" in line for line in words)


@pytest.mark.parametrize("prompt, named", [
    ("sits on a chair and drinks coffee", ["chair", "coffee"]), ("She flies to the moon like superman", ["moon"]), ("plays guitar", ["guitar"]),
    ("he throws the keys to his friend and eats an apple", ["keys", "apple"]), ("She reads a red book on the park bench.", ["book", "bench"]),
    ("the old man waves at the camera with his left hand for a few seconds", []), ("does two quick punches, a deep bow and one jumping jack", []),
    ("puts her hands on the hips, steps to the right side and holds it there", []), ("a woman in a red coat turns to the front in a slow motion", []),
    ("does a plank for a sec and a half, holds the plank and performs a moonwalk", []), ("Il boit un café sur la terrasse", [])])
def test_a_preview_names_the_things_of_a_prompt_and_nothing_else(prompt, named):
    assert list(things(prompt)) == ([f"not drawn, as only the person moves: {', '.join(named)}"] if named else [])


def test_the_preview_shows_the_moved_picture_beside_the_skeleton_small_and_slow():
    clip = sample_clip(5, "wave", num_frames=12, fps=24.0, size=(640, 384))
    scene = Scene(clip.reference, clip.reference_skeleton, clip.skeleton, "", None)
    frames, fps = preview(scene, PuppetConfig(mask="colour"))
    assert frames.shape == (4, 448, 2 * 268, 3) and fps == 8
    moved, drawn = frames[:, :, :268].astype(int), frames[:, :, 268:]
    assert np.abs(moved[0] - moved[-1]).max() > 60                                             # the picture's own pixels move
    assert (drawn.max(axis=-1) > 150).mean() > (drawn[..., 1] > 250).mean() > 0                # colours over a dim picture


def test_a_picture_the_puppet_cannot_cut_still_has_a_preview(caplog):
    clip = sample_clip(5, "wave", num_frames=2, size=SIZE)
    nobody = replace(clip.reference_skeleton, keypoints=np.zeros_like(clip.reference_skeleton.keypoints))
    frames, _ = preview(Scene(clip.reference, nobody, clip.skeleton, "", None), PuppetConfig(mask="colour"))
    assert len(frames) == 2 and "only the skeleton is shown" in caplog.text


def test_unknown_costs_are_not_made_up():
    assert predicted(30, None, None) == "30 frames, time unknown before its first step, memory unknown"
    assert predicted(30, 12.2, 2**30) == "30 frames, about 12 s on this device, about 1.0 GiB"


def test_weights_that_say_what_they_draw_doubt_a_photograph_and_not_their_own_kind(monkeypatch):
    from skimage.data import astronaut

    monkeypatch.chdir(ROOT)
    renderer = MimicMotion.load(MimicMotionConfig(VideoModelConfig("weights/demo/svd", "weights/demo/video"), None, "bold"), "cpu")
    scene = lambda image: Scene(fit_to_canvas(image, SIZE), None, None, "", None)
    (words,) = renderer.doubts(scene(astronaut()))
    assert "draw clay figures" in words and "renderer=puppet" in words and "published" in words and "\n" not in words
    assert renderer.doubts(scene(read_image("assets/person.png"))) == []
