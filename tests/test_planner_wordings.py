"""The planner's rules on wordings beyond plain clauses: what is not done, lists, order, passives, picture words, odd times."""
import re

import pytest

from llm_planner import plan


def done(prompt: str) -> list[str]:
    return [re.sub(r"^(?:a|the) (?:person|man|boxer|knight) (?!in )", "", segment.text) for segment in plan(prompt)]


@pytest.mark.parametrize("prompt, expected, left_out", [
    ("She waves with her left hand, not her right.", ["waves with her left hand"], "not her right"),
    ("He waves with the right hand (not the left).", ["waves with the right hand"], "not the left"),
    ("She kicks with her right leg and not with her left leg, then bows.", ["kicks with her right leg", "bows"], "and not with her left leg"),
    ("She claps, not jumps.", ["claps"], "not jumps"), ("She refuses to jump, then waves.", ["waves"], "she refuses to jump"),
    ("He fails to jump and bows.", ["bows"], "he fails to jump"), ("He forgets to wave. He claps.", ["claps"], "he forgets to wave"),
    ("She thinks about jumping, then bows.", ["bows"], "she thinks about jumping"),
    ("He avoids jumping and waves.", ["waves"], "he avoids jumping"), ("He decides not to jump and sits.", ["sits"], "he decides not to jump"),
    ("She kicks with the right leg, never the left.", ["kicks with the right leg"], "never the left"),
    ("She does not kick with the left leg but with the right.", ["kicks with the right leg"], "not kick with the left leg"),
    ("Don't wave with your left hand but with your right.", ["waves with the right hand"], "not wave with the left hand"),
    ("He kicks not with the left foot but with the right foot, then bows.", ["kicks with the right foot", "bows"], "not with the left foot"),
    ("She doesn't raise the left arm, but the right arm.", ["raises the right arm"], "not raise the left arm"),
    ("Instead of waving she salutes.", ["salutes"], "instead of waving"), ("Rather than running he walks.", ["walks"], "rather than running"),
    ("She walks, no running.", ["walks"], "no running"),
    ("The man neither jumps nor spins, he just bows.", ["just bows"], "the man neither jumps nor spins")])
def test_what_is_not_done_is_left_out_with_a_line(prompt, expected, left_out, caplog):
    assert done(prompt) == expected
    assert [line for line in caplog.messages if f"'{left_out}'" in line and "left out" in line] == caplog.messages


@pytest.mark.parametrize("prompt, expected", [
    ("He not only waves but also claps.", ["waves", "also claps"]),
    ("Not only do they clap, they also cheer.", ["claps", "also cheers"]),
    ("Not only does she jump, but she also spins.", ["jumps", "also spins"]), ("She doesn't just nod but bows.", ["nods", "bows"])])
def test_what_is_not_the_only_action_is_done(prompt, expected, caplog):
    assert done(prompt) == expected and not caplog.messages


def test_what_is_wanted_tried_or_thought_of_alone_is_still_done():
    assert done("She wants to jump, tries to wave and thinks.") == ["jumps", "waves", "thinks"]


@pytest.mark.parametrize("prompt, expected", [
    ("wave/jump/clap", ["waves", "jumps", "claps"]), ("a) wave b) jump c) clap", ["waves", "jumps", "claps"]),
    ("(a) wave (b) jump", ["waves", "jumps"]), ("a. wave b. jump", ["waves", "jumps"]),
    ("clap clap clap jump", ["claps 3 times", "jumps"]), ("wave -> jump => clap", ["waves", "jumps", "claps"]),
    ("wave \u2192 jump \u21d2 clap", ["waves", "jumps", "claps"]), ("wave --> jump", ["waves", "jumps"]),
    ("Wave left, right, left, right.", ["waves left", "waves right", "waves left", "waves right"]),
    ("waves twice with the left hand and once with the right", ["waves twice with the left hand", "waves once with the right hand"]),
    ("waves goodbye and leaves", ["waves goodbye", "walks away"]), ("He bows, then leaves the room.", ["bows", "walks away"]),
    ("She steps left and right", ["steps left and right"]),
    ("squat \u2022 lunge left \u2022 lunge right", ["squats", "lunges left", "lunges right"]),
    ("3x squats, 2x lunges, 4x jumping jacks", ["does 3 squats", "does 2 lunges", "does 4 jumping jacks"]),
    ("body roll, arm wave, spin left, freeze", ["does body roll", "does arm wave", "spins left", "freezes"]),
    ("left hook right hook uppercut", ["throws left hook", "throws right hook", "throws uppercut"]),
    ("The boxer throws a left jab, a right cross and a hook.", ["throws a left jab", "throws a right cross", "throws a hook"]),
    ("He bows, makes three punches and one front kick.", ["bows", "makes three punches", "makes one front kick"]),
    ("3 lunges on the right leg, and finish with a stretch.", ["does 3 lunges on the right leg", "does a stretch"]),
    ("She kicks twice with each leg.", ["kicks twice with the right leg", "kicks twice with the left leg"]),
    ("5 kicks per leg", ["does 5 kicks with the right leg", "does 5 kicks with the left leg"]),
    ("He holds a cup in each hand.", ["holds a cup in each hand"]),
    ("He picks up a box and put it down", ["picks up a box", "puts it down"]),
    ("Hands up, hands down, turn around.", ["moves the hands up", "moves the hands down", "turns around"]),
    ("He stumbles so he falls", ["stumbles", "falls"]), ("Do ten high knees, five on each side.", ["does ten high knees, five on each side"]),
    ("2 rounds: 3 squats, 1 jump", ["does 3 squats", "does 1 jump", "does 3 squats", "does 1 jump"]),
    ("he do 4 push up and 3 sit up and 2 squat", ["does 4 push-ups", "does 3 sit-ups", "does 2 squat"]),
    ("a merchant weighs his gold, nods and checks the door", ["a merchant weighs his gold", "a merchant nods", "a merchant checks the door"]),
    ("He turns around and walking away", ["turns around", "walks forward"]), ("He walks with a limp and waving", ["walks with a limp and waving"])])
def test_several_actions_in_one_are_told_apart(prompt, expected, caplog):
    assert done(prompt) == expected and not caplog.messages


@pytest.mark.parametrize("prompt, expected", [
    ("After clapping and before bowing, he waves.", ["claps", "waves", "bows"]),
    ("Before bowing and after clapping, he waves.", ["claps", "waves", "bows"]),
    ("She waves after clapping and before sitting down.", ["claps", "waves", "sits down"]), ("She bows, but first she waves.", ["waves", "bows"]),
    ("She jumps. She bows. But first she waves.", ["jumps", "waves", "bows"]), ("He waves, having first bowed.", ["bows", "waves"]),
    ("When he has clapped he bows.", ["claps", "bows"]), ("After she jumps she waves.", ["jumps", "waves"]),
    ("After 2 seconds of standing still she walks.", ["stands still", "walks"]),
    ("She makes a turn and after she sits down.", ["makes a turn", "sits down"]), ("And after he jumps, he waves.", ["jumps", "waves"]),
    ("A man walks until he reaches a chair, and sits down.", ["walks until he reaches a chair", "sits down"]),
    ("A knight walked, bowed before the king, and knelt.", ["walks", "bows before the king", "kneels"]),
    ("Having clapped, she bows.", ["claps", "bows"]), ("He waves until he sits down.", ["waves", "sits down"])])
def test_actions_come_in_the_order_in_which_they_happen(prompt, expected, caplog):
    assert done(prompt) == expected and not caplog.messages


@pytest.mark.parametrize("prompt, expected", [
    ("Can you make the person in the photo wave hello?", ["the person in the photo waves hello"]),
    ("please animate her so that she waves and after that she jumps thx", ["waves", "jumps"]),
    ("Animate the photo so that the man waves. Thanks!", ["waves"]),
    ("His left leg is lifted", ["lifts his left leg"]), ("Both arms are being raised", ["raises both arms"]),
    ("Her left hand is raised and her right leg is lifted.", ["raises her left hand", "lifts her right leg"]),
    ("Both hands are put on the hips.", ["puts both hands on the hips"]), ("Her head is shaking.", ["shakes her head"]),
    ("His left arm is up.", ["moves his left arm up"]), ("She is seated.", ["sits"]),
    ("The right arm is raised by the man.", ["raises the right arm"]), ("A kick is performed with the left leg.", ["performs a kick with the left leg"]),
    ("Three squats are done by the man, followed by a jump.", ["does three squats", "does a jump"]),
    ("A phone is picked up with the right hand.", ["picks a phone up with the right hand"]), ("I want that the man nods.", ["nods"]),
    ("He's so happy that he jumps twice.", ["jumps twice"]), ("Out of anger she punches.", ["punches out of anger"]),
    ("She seems to be waving.", ["waves"]), ("Please to raise the left arm and then to put it down.", ["raises the left arm", "puts the left arm down"]),
    ("Hands on hips, hands on head", ["puts the hands on hips", "puts the hands on head"]), ("arms akimbo", ["stands with arms akimbo"]),
    ("Arms crossed, then arms out to the sides", ["stands with arms crossed", "stretches the arms out to the sides"])])
def test_requests_passives_and_limbs_without_a_verb_are_actions(prompt, expected, caplog):
    assert done(prompt) == expected and not caplog.messages


@pytest.mark.parametrize("prompt, expected", [
    ("She raises her left arm, lowers it, and then does the same with her right arm",
     ["raises her left arm", "lowers her left arm", "raises her right arm", "lowers her right arm"]),
    ("Both arms go up, then the left one goes down.", ["moves both arms up", "moves the left arm down"]),
    ("He never raises the left arm, he only raises the right one.", ["only raises the right arm"]),
    ("She raises her hand, waves and lowers it", ["raises her hand", "waves", "lowers her hand"]),
    ("First the left hand is raised, then the right one.", ["raises the left hand", "raises the right hand"]),
    ("She raises her hand, kicks the ball and lowers it", ["raises her hand", "kicks the ball", "lowers it"])])
def test_what_was_named_before_is_put_in(prompt, expected):
    assert done(prompt) == expected


@pytest.mark.parametrize("prompt, expected, left_out", [
    ("Wide shot: a man runs.", ["runs"], ["wide shot"]),
    ("cinematic shot, 4k, ultra detailed, a woman dancing in the rain, bokeh", ["a woman dances in the rain"], ["cinematic shot", "bokeh"]),
    ("Person: waves hand. Camera: pans left. Lighting: warm sunset.", ["waves hand"], ["camera: pans left", "lighting: warm sunset"]),
    ("soft natural lighting, shallow depth of field, a man bows, 35mm", ["bows"],
     ["soft natural lighting", "shallow depth of field", "35mm"]),
    ("Hip hop dance: body roll, then spin left.", ["does body roll", "spins left"], ["hip hop dance"]),
    ("Because he is cold he rubs his hands.", ["rubs his hands"], ["he is cold"]),
    ("TikTok dance: step right, step left", ["steps right", "steps left"], ["tiktok dance"]),
    ("Boxing combo: jab, left hook", ["jabs", "throws left hook"], ["boxing combo"]),
    ("Circuit: 3 squats, 2 lunges", ["does 3 squats", "does 2 lunges"], ["circuit"]),
    ("He waves \U0001f44b and then \U0001f64f", ["waves"], ["\U0001f64f"]), ("He waves \U0001f44b", ["waves"], [])])
def test_what_is_said_of_the_picture_is_left_out_with_a_line(prompt, expected, left_out, caplog):
    assert done(prompt) == expected
    assert {line.split("'")[1] for line in caplog.messages} == set(left_out) and all("left out" in line for line in caplog.messages)


def test_light_and_picture_words_of_an_action_stay():
    assert done("She lights a candle, then shoots a goal.") == ["lights a candle", "shoots a goal"]


@pytest.mark.parametrize("prompt, expected", [
    ("a man waves his rigth hand and kicks with the letf leg", ["waves his right hand", "kicks with the left leg"]),
    ("he squats tree times and than claps", ["squats three times", "claps"]), ("he's punchin' with da left fist", ["punches with the left fist"]),
    ("persn standng up", ["stands up"]), ("The wman is clapin wit her rite hand", ["the woman claps with her right hand"]),
    ("shadow boxing, then a bow", ["shadowboxes", "does a bow"]),
    ("man walkin forward and wavin", ["walks forward", "waves"]), ("yo wave with ur right hand w/ joy lol", ["waves with the right hand with joy"]),
    ("I'm turning around and walking away", ["turns around", "walks forward"]), ("(woman:1.2), (squatting:1.3), gym", ["a woman squats, gym"])])
def test_slang_slips_and_tags_are_read(prompt, expected, caplog):
    assert done(prompt) == expected and not caplog.messages


@pytest.mark.parametrize("prompt, expected", [
    ("Wave for three seconds. Jump for two. Bow for four.", [3, 2, 4]), ("6 secs of jogging, 5 secs of walking", [6, 5]), ("every action lasts 2 seconds: wave, jump", [2, 2]),
    ("march for 5 seconds, arm circles for 4 seconds, toe touches for 3 seconds", [5, 4, 3])])
def test_each_action_of_a_list_has_its_duration(prompt, expected):
    assert [segment.seconds for segment in plan(prompt)] == expected


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
