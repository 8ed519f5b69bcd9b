"""The shipped text-to-motion weights do what they are told."""
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from unseen_prompts import unseen_prompts
from llm_planner import plan, Segment
from run.models import Models
from run.settings import InferenceConfig, MotionConfig
from synthetic.captions import gerund, phrases_of, third_person
from synthetic.motions import KINDS, sample_motion, sides_of
from t2m.generate import TextToMotion
from t2m.joining import join_motions
from t2m.motion import LEFT_ANKLE, LEFT_KNEE, LEFT_SHOULDER, LEFT_WRIST, PELVIS, RIGHT_ANKLE, RIGHT_KNEE, RIGHT_SHOULDER, RIGHT_WRIST
from t2m.evaluation import round_trip_errors
from t2m.known_motions import motion_costs, MotionBank, times_done, turns_done, unrest
from t2m.task import Normalisation

WEIGHTS = Path(__file__).parents[1] / "weights" / "demo" / "t2m"
LARGEST_BYTES = 12.5e6                       # three codes for real motion where one did for the procedural; a third is motions to compare with


@pytest.fixture(scope="module")
def t2m() -> TextToMotion:
    return TextToMotion.load(WEIGHTS)


def made(t2m: TextToMotion, text: str, seconds: float = 4.0, seed: int = 0) -> np.ndarray:
    return join_motions([t2m(text, seconds, torch.Generator().manual_seed(seed))]).joints


def motion_kind(joints: np.ndarray, bank: MotionBank) -> tuple[str, str | None]:
    """The kind and side that fit a motion best. joints: (T, 22, 3) metres at 20 fps"""
    costs = motion_costs(joints, bank)
    return min(costs, key=costs.get)


def bank(seed: int, samples: int) -> MotionBank:
    rng = np.random.default_rng(seed)
    return MotionBank.of((kind, side, sample_motion(kind, 4.0, rng, side=side).motion.joints)
                         for kind in KINDS for side in sides_of(kind) or (None,) for _ in range(samples))


@pytest.mark.parametrize("side, wrist, other, shoulder", [
    ("right", RIGHT_WRIST, LEFT_WRIST, RIGHT_SHOULDER), ("left", LEFT_WRIST, RIGHT_WRIST, LEFT_SHOULDER)])
def test_waving_a_hand_raises_that_hand_only(t2m, side, wrist, other, shoulder):
    for seed in range(3):
        joints = made(t2m, f"a person waves the {side} hand", seed=seed)
        assert (joints[:, wrist, 1] - joints[:, shoulder, 1]).max() > 0.0
        assert (joints[:, other, 1] - joints[:, shoulder, 1]).max() < -0.15


def test_walking_moves_forward_and_standing_does_not(t2m):
    walked, stood = (made(t2m, text)[:, PELVIS] for text in ("a man walks forward", "a man stands still"))
    assert walked[-1, 2] - walked[0, 2] > 1.0 and np.abs(stood[-1] - stood[0]).max() < 0.1


@pytest.mark.parametrize("side, knee, other", [("right", RIGHT_KNEE, LEFT_KNEE), ("left", LEFT_KNEE, RIGHT_KNEE)])
def test_kicking_lifts_the_named_leg(t2m, side, knee, other):
    joints = made(t2m, f"someone kicks with the {side} leg", 3.0)
    assert np.ptp(joints[:, knee, 1]) > 2 * np.ptp(joints[:, other, 1])


@pytest.mark.parametrize("side, ankle, other", [("right", RIGHT_ANKLE, LEFT_ANKLE), ("left", LEFT_ANKLE, RIGHT_ANKLE)])
def test_a_ball_is_kicked_from_a_step_as_people_do(t2m, side, ankle, other):
    for seed in range(3):
        joints = made(t2m, f"someone kicks a ball with the {side} foot", seed=seed)
        assert np.linalg.norm(joints[:, PELVIS] - joints[0, PELVIS], axis=-1).max() > 0.5
        assert np.ptp(joints[:, ankle, 1]) > 1.5 * np.ptp(joints[:, other, 1])


def test_unseen_words_give_the_intended_motion(t2m):
    """One prompt per kind and side, none of them a training phrase: at least 7 of 10 right, and 8.5 of 10 sides."""
    prompts = list({(kind, side): (kind, side, text) for kind, side, text in unseen_prompts()}.values())[::2]
    known = bank(0, 3)
    found = [motion_kind(made(t2m, text), known) for _, _, text in prompts]
    kinds = np.mean([kind == wanted for (wanted, _, _), (kind, _) in zip(prompts, found, strict=True)])
    sides = np.mean([side == wanted for (_, wanted, _), (_, side) in zip(prompts, found, strict=True) if wanted])
    assert kinds >= 0.7 and sides >= 0.85, (kinds, sides)


def test_no_unseen_prompt_is_a_training_phrase():
    """Neither whole, nor with another subject in front where the phrase is more than three words."""
    words = dict(them="them", they="they", are="are", have="have", them_self="themselves")
    for kind, side, text in unseen_prompts():
        for phrase, inflect, their in product(phrases_of(kind, side), (str, third_person, gerund), ("their", "his", "her")):
            said = re.sub(r"\*([\w-]+)", lambda verb: inflect(verb[1]), phrase).format(side=side, their=their, **words)
            assert text != said and not (len(said.split()) > 3 and text.endswith(said))


def test_the_round_trip_through_tokens_is_close(t2m):
    rng = np.random.default_rng(123)
    norm = Normalisation(t2m.mean.float(), t2m.std.float())
    rows = [t2m.features(sample_motion(kind, 5.0, rng).motion) for kind in KINDS[::3]]
    errors = round_trip_errors(t2m.vqvae, norm, rows)
    assert errors["joints"] < 0.035 and errors["wrists"] < 0.05 and errors["pose"] < 0.02, errors


def test_the_score_knows_true_motions():
    known, rng = bank(0, 3), np.random.default_rng(9)
    truths = [(kind, side) for kind in KINDS for side in sides_of(kind) or (None,)]
    found = [motion_kind(sample_motion(kind, 5.0, rng, side=side).motion.joints, known) for kind, side in truths]
    assert np.mean([a == b for a, b in zip(truths, found, strict=True)]) >= 0.94


@pytest.mark.parametrize("seconds", [1.0, 3.3, 9.8, 10.0])
def test_the_length_asked_for_is_made(t2m, seconds):
    assert len(t2m("a woman dances", seconds)) == round(seconds * 20)


def test_what_was_never_trained_is_called_unknown(t2m):
    for text in ("plays the violin", "a man cooks dinner", "a woman drives a car", "someone rides a bicycle"):
        assert "docs/planner.md" in t2m.unknown_motion(text) and "looks like" not in t2m.unknown_motion(text)
    assert [text for _, _, text in unseen_prompts() if t2m.unknown_motion(text)] == []


@pytest.mark.parametrize("text, count", [("a person does a squat", 1), ("she squats twice", 2), ("he bows once", 1), ("throws three punches", 3),
                                         ("she claps twice", 2), ("he hops four times on the left leg", 4), ("a person kicks twice", 2)])
def test_as_many_are_done_as_asked_for_and_the_end_is_at_rest(t2m, text, count):
    joints = t2m(text, plan(text)[0].seconds, torch.Generator().manual_seed(0)).joints
    kind, _ = motion_kind(joints, t2m.examples)
    assert times_done(kind, joints) == count and unrest(kind, joints) < 1.0


@pytest.mark.parametrize("text, named", [
    ("a person turns her head to the left", "turns her head"), ("a person tilts his head to the right", "tilts his head"),
    ("a person puts her left hand on her left hip", "left hand on her left hip"), ("a person puts his hand on his heart", "hand on his heart"),
    ("a person crosses her legs", "crosses her legs"), ("a person uncrosses her arms", "uncrosses"),
    ("a person touches her nose", "touches her nose"),
    ("a person stands on one leg", "stands on one leg"), ("a person walks on his hands", "walks on his hands"),
    ("a person kicks with his left hand", "with his left hand"), ("a person waves his left foot", "waves his left foot")])
def test_a_known_word_of_another_part_of_the_body_is_called_unknown(t2m, text, named):
    assert t2m.unknown_motion(text) == f"'{named}' is not among the motions this checkpoint was trained on (docs/planner.md lists the demo's)"


@pytest.mark.parametrize("text, kind", [
    ("a person moves the hands up", "hands_up"), ("a person does high knees", "march"), ("a person does high knees", "knee_raise"),
    ("a person turns her head from side to side", "shake_head"), ("a person puts both hands on her hips", "hands_on_hips"),
    ("a person stands on both legs", "stand"), ("a person kicks with his left foot twice", "kick"), ("a person touches her left ear", "phone")])
def test_a_motion_that_the_words_mean_as_well_is_no_other(t2m, text, kind):
    assert t2m.known.beyond_training(text) is None and kind in t2m.known.meant(text)


@pytest.mark.parametrize("text", [
    "a person walks in a circle", "a ballerina does a pirouette", "he does sit-ups", "spin around three times",
    "a person bends to the left and then to the right"])
def test_what_the_model_cannot_do_is_done_or_warned_of(t2m, text):
    motion = t2m(text, 4.0, torch.Generator().manual_seed(0))
    kind, _ = motion_kind(motion.joints, bank(0, 2))
    right = kind == "stretch" and "bends" in text or kind == "spin" and ("pirouette" in text or "spin" in text)
    assert t2m.unknown_motion(text, motion) or right


def test_a_motion_drawn_for_other_words_is_called_another(t2m):
    squat = sample_motion("squat", 4.0, np.random.default_rng(1)).motion
    assert t2m.unknown_motion("a person squats", squat) is None
    assert "looks like another: squat" in t2m.unknown_motion("a person waves the right hand", squat)


@pytest.mark.parametrize("text", ["a person plays the guitar", "a person flies to the moon", "a person cries"])
def test_the_warning_of_an_unknown_motion_names_the_one_that_was_drawn(t2m, text):
    motion = t2m(text, 4.0, torch.Generator().manual_seed(0))
    kind, _ = t2m.looks_like(*t2m.costs(text, motion), t2m.known.meant(text))
    assert t2m.unknown_motion(text, motion).endswith(f"looks like: {kind.replace('_', ' ')}")


@pytest.mark.parametrize("text, drawn, unseen", [
    ("a girl claps while she kicks with her left leg", "kick", "'claps'"), ("a girl claps while she kicks with her left leg", "clap", "'kicks'"),
    ("a person walks while juggling", "walk", "'juggling'"), ("a man jumps and nods", "jump", "'nods'"),
    ("a person walks forward while waving the right hand", None, "'walks' and 'waving' at once"),
    ("a person stands still while waving", None, None), ("a person bends down and touches the toes", None, None),
    ("a person raises and lowers the right arm", None, None), ("he dances as he moves", None, None), ("she runs as fast as she can", None, None),
    ("she goes down with bent knees and comes back up", None, None)])
def test_of_two_movements_at_once_the_one_that_is_not_drawn_is_named(t2m, text, drawn, unseen):
    motion = drawn and sample_motion(drawn, 4.0, np.random.default_rng(1)).motion
    reason = t2m.unknown_motion(text, motion)
    assert reason is None if unseen is None else reason.startswith(unseen) and "one movement at a time" in reason


@pytest.mark.parametrize("text, told", [
    ("a person punches with the right fist while looking angry", "'looking angry' will not be seen: only the body moves, and the face stays as it is"),
    ("a person does a cartwheel", "'cartwheel' is not among the motions this checkpoint was trained on (docs/planner.md lists the demo's); the motion drawn for it looks like: punch"),
    ("a person punches while looking around", "'looking' will not be seen: these weights make one movement at a time; the motion drawn for it looks like: punch")])
def test_looks_and_feats_that_are_not_drawn_are_told_in_one_line(t2m, text, told):
    assert t2m.unknown_motion(text, sample_motion("punch", 4.0, np.random.default_rng(1), side="right").motion) == told


@pytest.mark.parametrize("text, together", [
    ("a person jumps up and down clapping", True), ("a person walks backwards waving the right hand", True), ("a person claps as you walk", True),
    ("a person squats with the arms crossed", True), ("a person says hello by waving the right hand", False), ("a person keeps running", False)])
def test_a_movement_joined_by_its_gerund_is_wanted_at_the_same_time(t2m, text, together):
    assert ("at once" in (t2m.unknown_motion(text) or "")) == together


def test_the_parts_of_a_long_action_are_warned_of_once(caplog):
    Models(InferenceConfig(motion=MotionConfig(weights=str(WEIGHTS))), progress=False).motions([Segment("a person does a cartwheel", 1.0)] * 3)
    assert [line.partition(":")[0] for line in caplog.messages] == ["segments 1 to 3 'a person does a cartwheel'"]


def test_the_planners_page_lists_what_the_weights_were_taught(t2m):
    page = (WEIGHTS.parents[2] / "docs/planner.md").read_text(encoding="utf-8")
    assert ", ".join(t2m.known.phrases) + "." in " ".join(page.split())


def test_the_weights_stay_small():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= LARGEST_BYTES


def test_a_motion_that_two_kinds_fit_alike_is_told_of(t2m):
    meant = frozenset({"dance"})
    assert t2m.hardly_told_from({("dance", None): 4.0, ("clap", None): 4.2}, {}, meant) == "clap"
    assert t2m.hardly_told_from({("dance", None): 4.0, ("clap", None): 5.0}, {}, meant) is None
    assert t2m.hardly_told_from({("walk", None): 4.0, ("run", None): 4.1}, {("walk", None): 0.5}, frozenset({"walk"})) is None     # as real people walk


def test_who_is_to_sit_keeps_facing_us_and_who_is_to_turn_does_not(t2m):
    sits = [t2m("She sits down", 3.0, torch.Generator().manual_seed(seed)) for seed in (1, 5)]          # real people turn round to their chairs
    assert max(turns_done(motion.joints) for motion in sits) < 0.2
    assert turns_done(made(t2m, "A person turns around")) > 0.4


@pytest.mark.parametrize("text", ["She waves with one hand", "She salutes"])
def test_hands_come_down_at_the_end(t2m, text):
    for seed in range(3):
        joints = made(t2m, text, 2.5, seed)
        hands = joints[:, [LEFT_WRIST, RIGHT_WRIST]] - joints[:, [PELVIS]]
        assert np.linalg.norm(hands - hands[0], axis=-1).max() > 0.4 and np.linalg.norm(hands[-1] - hands[0], axis=-1).max() < 0.1
