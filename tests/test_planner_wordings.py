"""The planner's rules on wordings beyond plain clauses: what is not done, lists, order, passives, picture words, odd times."""
import pytest

from llm_planner import plan


def done(prompt: str) -> list[str]:
    return [segment.text.removeprefix("a person ") for segment in plan(prompt)]


@pytest.mark.parametrize("prompt, expected, left_out", [
    ("She waves with her left hand, not her right.", ["waves with her left hand"], "not her right"),
    ("He waves with the right hand (not the left).", ["waves with the right hand"], "not the left"),
    ("She kicks with her right leg and not with her left leg, then bows.", ["kicks with her right leg", "bows"], "and not with her left leg"),
    ("She claps, not jumps.", ["claps"], "not jumps"), ("She refuses to jump, then waves.", ["waves"], "she refuses to jump"),
    ("He fails to jump and bows.", ["bows"], "he fails to jump"), ("He forgets to wave. He claps.", ["claps"], "he forgets to wave"),
    ("She thinks about jumping, then bows.", ["bows"], "she thinks about jumping"),
    ("He avoids jumping and waves.", ["waves"], "he avoids jumping")])
def test_what_is_not_done_is_left_out_with_a_line(prompt, expected, left_out, caplog):
    assert done(prompt) == expected
    assert [line for line in caplog.messages if f"'{left_out}'" in line and "left out" in line] == caplog.messages


def test_what_is_wanted_tried_or_thought_of_alone_is_still_done():
    assert done("She wants to jump, tries to wave and thinks.") == ["jumps", "waves", "thinks"]


@pytest.mark.parametrize("prompt, expected", [
    ("wave/jump/clap", ["waves", "jumps", "claps"]), ("a) wave b) jump c) clap", ["waves", "jumps", "claps"]),
    ("(a) wave (b) jump", ["waves", "jumps"]), ("a. wave b. jump", ["waves", "jumps"]),
    ("clap clap clap jump", ["claps 3 times", "jumps"]), ("wave -> jump => clap", ["waves", "jumps", "claps"]),
    ("wave \u2192 jump \u21d2 clap", ["waves", "jumps", "claps"]), ("wave --> jump", ["waves", "jumps"]),
    ("Wave left, right, left, right.", ["waves left", "waves right", "waves left", "waves right"]),
    ("She steps left and right", ["steps left and right"])])
def test_several_actions_in_one_are_told_apart(prompt, expected, caplog):
    assert done(prompt) == expected and not caplog.messages


@pytest.mark.parametrize("prompt, expected, left_out", [
    ("cinematic shot, 4k, ultra detailed, a woman dancing in the rain, bokeh", ["a woman dances in the rain"], ["cinematic shot", "bokeh"]),
    ("Person: waves hand. Camera: pans left. Lighting: warm sunset.", ["waves hand"], ["camera: pans left", "lighting: warm sunset"]),
    ("soft natural lighting, shallow depth of field, a man bows, 35mm", ["a man bows"],
     ["soft natural lighting", "shallow depth of field", "35mm"]),
    ("He waves \U0001f44b and then \U0001f64f", ["waves"], ["\U0001f64f"]), ("He waves \U0001f44b", ["waves"], [])])
def test_what_is_said_of_the_picture_is_left_out_with_a_line(prompt, expected, left_out, caplog):
    assert done(prompt) == expected
    assert {line.split("'")[1] for line in caplog.messages} == set(left_out) and all("left out" in line for line in caplog.messages)


def test_light_and_picture_words_of_an_action_stay():
    assert done("She lights a candle, then shoots a goal.") == ["lights a candle", "shoots a goal"]


def test_a_duration_without_its_unit_or_number_is_read():
    segments = plan("For the first 3 seconds she waves; for the next 2 she claps; for the last second she bows.")
    assert [(segment.text, segment.seconds) for segment in segments] == [("a person waves", 3), ("a person claps", 2), ("a person bows", 1)]


@pytest.mark.parametrize("prompt, says", [
    ("jump for 30 frames", "'for 30 frames': expected seconds (found frames, which are no duration)"), ("a 48-frame wave", "expected seconds"),
    ("wave for 1.5 to 0.5 seconds", "expected the shorter time first"), ("0x10 times jump", "'0x10 times': expected a number"),
    ("Nothing happens.", "no action found in 'Nothing happens.'"), ("high five", "no action found in 'high five'")])
def test_what_cannot_be_read_is_refused_for_what_it_is(prompt, says):
    with pytest.raises(ValueError, match="^prompt: ") as caught:
        plan(prompt)
    assert says in str(caught.value) and "\n" not in str(caught.value)
