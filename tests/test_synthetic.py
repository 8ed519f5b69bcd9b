"""Procedural motions, captions and pictures: everything the demo is trained on must be what it says it is."""

import time

import numpy as np
import pytest

from dwpose import skeleton as coco
from synthetic.body import TOE_HEIGHT
from synthetic.captions import caption, gerund, phrases_of, third_person, unsided_phrases
from synthetic.character import Character
from synthetic.clips import reference_pose, sample_clip
from synthetic.motions import KINDS, sample_motion, sides_of
from synthetic.phrases import PHRASES
from synthetic.render import render
from t2m import motion as smpl
from t2m.camera import Camera
from t2m.motion import PARENTS

OFF_THE_FLOOR = ("jump", "jumping_jack", "hop", "run", "jog_in_place")
SIDED_KINDS = [(kind, side) for kind in KINDS for side in sides_of(kind)]
SHOULDER = {"left": smpl.LEFT_SHOULDER, "right": smpl.RIGHT_SHOULDER}
WRIST = {"left": smpl.LEFT_WRIST, "right": smpl.RIGHT_WRIST}
TOE = {"left": smpl.LEFT_TOE, "right": smpl.RIGHT_TOE}
KNEE = {"left": smpl.LEFT_KNEE, "right": smpl.RIGHT_KNEE}
OTHER = {"left": "right", "right": "left"}


def motion_of(kind: str, seed: int = 0, seconds: float = 4.0, **choices) -> np.ndarray:
    return sample_motion(kind, seconds, np.random.default_rng(seed), **choices).motion.joints


def test_there_are_many_kinds_and_each_has_many_phrasings():
    assert len(KINDS) >= 28
    for kind in KINDS:
        for side in sides_of(kind) or (None,):
            phrases = phrases_of(kind, side)
            assert len(set(phrases)) >= 14, (kind, side)
            assert all("*" in phrase for phrase in phrases), kind
    assert {name.split(":")[0] for name in PHRASES} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_bones_keep_their_length_and_feet_meet_the_floor(kind):
    for seed in range(2):
        joints = motion_of(kind, seed)
        lengths = np.linalg.norm(joints[:, 1:] - joints[:, PARENTS[1:]], axis=-1)
        assert np.ptp(lengths, axis=0).max() < 1e-3
        lowest = joints[:, list(TOE.values()), 1].min(axis=1)
        assert lowest.min() > TOE_HEIGHT - 0.01
        if kind not in OFF_THE_FLOOR:
            assert lowest.max() < TOE_HEIGHT + 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_every_motion_starts_from_a_neutral_stance(kind):
    stance = motion_of("stand", seconds=0.5)[0]
    for seed in range(2):
        first = motion_of(kind, seed)[0]
        assert np.linalg.norm(first - stance, axis=-1).max() < 0.22
        assert np.abs(first[smpl.PELVIS, [0, 2]]).max() < 0.05


@pytest.mark.parametrize("kind", ["walk", "walk_backwards", "side_step", "turn", "march", "dance"])
def test_a_planted_foot_does_not_slide(kind):
    for seed in range(4):
        joints = motion_of(kind, seed)
        for toe in TOE.values():
            planted = joints[:, toe, 1] < TOE_HEIGHT + 0.002
            both = planted[1:] & planted[:-1]
            step = np.linalg.norm(np.diff(joints[:, toe][:, [0, 2]], axis=0), axis=-1)
            assert both.sum() > 20
            assert np.quantile(step[both], 0.9) < 0.01                  # metres per frame, at 20 fps
            assert step[both].max() < 0.05


def test_walking_covers_ground_in_the_right_direction():
    travel = {kind: motion_of(kind)[-1, smpl.PELVIS] - motion_of(kind)[0, smpl.PELVIS]
              for kind in ("walk", "walk_backwards", "run", "jog_in_place")}
    assert travel["walk"][2] > 1.2 and travel["run"][2] > 4.0
    assert travel["walk_backwards"][2] < -0.8
    assert abs(travel["jog_in_place"][2]) < 0.05
    for side, sign in (("left", 1), ("right", -1)):
        joints = motion_of("side_step", side=side)
        assert sign * (joints[-1] - joints[0])[smpl.PELVIS, 0] > 0.6


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_named_side_does_the_work(side):
    other = OTHER[side]
    for seed in range(4):
        for kind in ("wave", "raise_arm"):
            joints = motion_of(kind, seed, side=side)
            above = joints[:, list(WRIST.values()), 1] - joints[:, list(SHOULDER.values()), 1]
            raised = dict(zip(WRIST, above.max(axis=0)))
            assert raised[side] > 0.05 and raised[other] < -0.2, kind
        punch = motion_of("punch", seed, side=side)
        reach = {s: (punch[:, WRIST[s], 2] - punch[:, smpl.NECK, 2]).max() for s in WRIST}
        assert reach[side] > reach[other] + 0.1
        for kind, joint, margin in (("kick", TOE, 0.4), ("knee_raise", KNEE, 0.15), ("lunge", TOE, 0.02)):
            height = {s: motion_of(kind, seed, side=side)[:, joint[s], 1].max() for s in WRIST}
            assert height[side] > height[other] + margin, kind
        turn = motion_of("turn", seed, side=side)
        shoulders = turn[:, smpl.LEFT_SHOULDER] - turn[:, smpl.RIGHT_SHOULDER]
        heading = np.unwrap(np.arctan2(-shoulders[:, 2], shoulders[:, 0]))          # positive to their left
        assert (heading[-1] > 2) if side == "left" else (heading[-1] < -2)


@pytest.mark.parametrize("repetitions", [1, 2, 3])
def test_repetitions_are_the_ones_asked_for(repetitions):
    for seed in range(3):
        squat = motion_of("squat", seed, 6.0, repetitions=repetitions)[:, smpl.PELVIS, 1]
        low = squat < (squat.max() + squat.min()) / 2
        assert (np.diff(low.astype(int)) == 1).sum() == repetitions
        jump = motion_of("jump", seed, 5.0, repetitions=repetitions)[:, list(TOE.values()), 1].min(axis=1) > 0.12
        assert (np.diff(jump.astype(int)) == 1).sum() == repetitions
        spin = motion_of("spin", seed, 5.0, side="left", repetitions=repetitions)
        shoulders = spin[:, smpl.LEFT_SHOULDER] - spin[:, smpl.RIGHT_SHOULDER]
        heading = np.unwrap(np.arctan2(-shoulders[:, 2], shoulders[:, 0]))
        assert heading[-1] / (2 * np.pi) == pytest.approx(repetitions, abs=0.1)


def test_elbows_never_bend_backwards():
    for kind in ("wave", "clap", "punch", "dance", "run", "hands_up", "salute"):
        joints = motion_of(kind)
        for side in WRIST:
            elbow = joints[:, smpl.LEFT_ELBOW if side == "left" else smpl.RIGHT_ELBOW]
            upper, fore = elbow - joints[:, SHOULDER[side]], joints[:, WRIST[side]] - elbow
            cosine = (upper * fore).sum(-1) / np.linalg.norm(upper, axis=-1) / np.linalg.norm(fore, axis=-1)
            assert cosine.min() > np.cos(2.75)                          # 158 degrees: as far as an elbow closes


@pytest.mark.parametrize("kind, side", SIDED_KINDS)
def test_captions_name_the_right_side_and_only_that(kind, side):
    rng = np.random.default_rng(7)
    for _ in range(60):
        words = caption(kind, side, None, rng).lower().replace("-", " ").replace(".", "").split()
        assert "{" not in "".join(words)
        if side in OTHER:
            assert side in words and OTHER[side] not in words, " ".join(words)


@pytest.mark.parametrize("kind, side", [pair for pair in SIDED_KINDS if pair[1] in OTHER])
def test_captions_can_leave_the_side_open(kind, side):
    assert len(unsided_phrases(kind, side)) >= 5
    rng = np.random.default_rng(8)
    for _ in range(30):
        text = caption(kind, side, 3, rng, name_side=False).lower()
        assert "left" not in text and "right" not in text and "{" not in text, text


def test_captions_can_say_how_often():
    said = {caption("squat", None, 2, np.random.default_rng(seed)) for seed in range(60)}
    assert any("twice" in text for text in said) and any("two squats" in text for text in said)
    assert not any("three" in text for text in said)


def test_verbs_inflect():
    assert [third_person(v) for v in ("wave", "punch", "do", "carry", "stay")] == [
        "waves", "punches", "does", "carries", "stays"]
    assert [gerund(v) for v in ("wave", "run", "be", "tie", "kick")] == [
        "waving", "running", "being", "tying", "kicking"]


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="motion kind 'levitate': expected one of stand, wave"):
        motion_of("levitate")
    with pytest.raises(ValueError, match="side 'left'.*'squat'"):
        motion_of("squat", side="left")


def test_equal_seeds_give_equal_clips_and_others_differ():
    first, again, other = (sample_clip(seed, num_frames=2) for seed in (3, 3, 4))
    assert np.array_equal(first.frames, again.frames) and first.caption == again.caption
    assert np.array_equal(first.reference, again.reference)
    assert first.character == again.character != other.character
    assert not np.array_equal(first.reference, other.reference)


def test_keypoints_in_sight_lie_on_the_person():
    checked = 0
    for seed in range(16):
        clip = sample_clip(seed, num_frames=1)
        room = (clip.character.room.picture(clip.size) * 255).astype(int)
        for frame, keypoints in zip(clip.frames.astype(int), clip.skeleton.keypoints):
            for joint in (coco.NOSE, coco.LEFT_WRIST, coco.RIGHT_WRIST, coco.LEFT_KNEE, coco.LEFT_HIP):
                x, y, confidence = keypoints[joint]
                if confidence == 1 and 1 < x < clip.size[1] - 2 and 1 < y < clip.size[0] - 2:
                    around = np.s_[int(y) - 1:int(y) + 2, int(x) - 1:int(x) + 2]
                    assert np.abs(frame[around] - room[around]).max() > 8, (seed, joint)
                    checked += 1
    assert checked > 30


def test_confidence_tells_seen_hidden_and_absent_apart():
    rng = np.random.default_rng(2)
    character = Character.sample(rng)
    joints, curl = reference_pose(character, rng)
    front, side, back = (render(joints, curl, character, Camera(yaw=yaw), (320, 192))[1][:, 2]
                         for yaw in (0.0, np.pi / 2, np.pi))
    assert (front[coco.BODY] == 1).all() and (front[coco.FACE] > 0).mean() > 0.9
    assert (back[coco.FACE] == 0).all() and (back[coco.LEFT_SHOULDER:coco.FACE.start] > 0).all()
    assert side[coco.LEFT_WRIST] == pytest.approx(0.4)                  # behind the body
    away = render(joints, curl, character, Camera(target_x=5.0), (320, 192))[1][:, 2]
    assert (away == 0).all()


def test_a_frame_is_drawn_in_milliseconds():
    clip = sample_clip(1, num_frames=12)
    clip.frame(0)
    started = time.process_time()
    clip.frames
    assert (time.process_time() - started) / 12 < 0.045                 # 3 x the 15 ms it is meant to take
