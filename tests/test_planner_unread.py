"""The planner's account of words: run-on actions are told apart, and what is no part of an action's one movement is named in a line."""
import re

import pytest

from llm_planner import plan


def done(prompt: str) -> list[str]:
    return [re.sub(r"^(?:a|the) (?:person|man|woman|girl) (?!in )", "", segment.text) for segment in plan(prompt)]


@pytest.mark.parametrize("prompt, expected", [
    ("a girl walks forward turns around waves with her left hand and sits down",
     ["walks forward", "turns around", "waves with her left hand", "sits down"]),
    ("she raises both arms lowers them stops claps", ["raises both arms", "lowers both arms", "stops", "claps"]),
    ("jump clap jump clap bow", ["jumps", "claps", "jumps", "claps", "bows"]),
    ("walk forward stop turn around", ["walks forward", "stops", "turns around"]),
    ("arms crossed, nod, bow", ["stands with arms crossed", "nods", "bows"]), ("boxing 3s, rest 2s", ["boxes", "rests"]),
    ("The man to lift the left knee and to clap", ["lifts the left knee", "claps"]), ("She says no", ["says no"])])
def test_actions_without_a_comma_between_them_are_told_apart(prompt, expected, caplog):
    assert done(prompt) == expected and not caplog.messages


@pytest.mark.parametrize("prompt, expected", [
    ("kick left right left", ["kicks left", "kicks right", "kicks left"]),
    ("punch three times left, twice right", ["punches three times left", "punches twice right"]),
    ("Take three steps to the left and two to the right", ["takes three steps to the left", "takes two steps to the right"]),
    ("right arm up then down", ["moves the right arm up", "moves the right arm down"]),
    ("Left arm up, right arm up, both down", ["moves the left arm up", "moves the right arm up", "moves both arms down"]),
    ("He lifts his leg - the right one - and lowers it", ["lifts his right leg", "lowers his right leg"]), ("a pair of jumps", ["does a pair of jumps"]),
    ("two jumps forward and one backwards", ["does two jumps forward", "does one jumps backwards"]), ("a double jump, then a bow", ["does two jumps", "does a bow"]),
    ("squats: 5, then a bow", ["squats 5 times", "does a bow"]), ("wave the left hand, kick with the opposite leg", ["waves the left hand", "kicks with the right leg"]),
    ("arms up, arms in", ["moves the arms up", "moves the arms in"]), ("throws a ball with the left hand catches it", ["throws a ball with the left hand", "catches it"])])
def test_sides_and_numbers_of_a_list_go_with_their_own_action(prompt, expected, caplog):
    assert done(prompt) == expected and not caplog.messages


@pytest.mark.parametrize("prompt, expected", [
    ("make it: jump, bow", ["jumps", "bows"]), ("Ready, set, go: she runs!", ["runs"]), ("gimme two squats, a jump and a bow", ["does two squats", "does a jump", "does a bow"]),
    ("lemme see him first clapping, then bowing", ["first claps", "bows"]), ("She has a quick stretch and has a sip of tea", ["takes a quick stretch", "takes a sip of tea"]),
    ("Make the girl in the green coat bow and wave", ["the girl in the green coat bows", "the girl in the green coat waves"]),
    ("Once the old king had sat down he nodded and clapped.", ["the old king sits down", "the old king nods", "the old king claps"]),
    ("When the bell rings he jumps, turns around and bows.", ["jumps", "turns around", "bows"]), ("Ann was sad. It is late. She waved.", ["waves"]),
    ("Step one: jump. Step two: bow.", ["jumps", "bows"]), ("First: nod. Then: bow.", ["nods", "bows"]), ("He was running when he stopped", ["runs", "stops"]),
    ("After a short pause she jumps", ["jumps"]), ("As she spins to the left she claps", ["claps while she spins to the left"]), ("the girl she jump", ["jumps"]),
    ("She walks like a model then stops", ["walks like a model", "stops"]), ("On the count of three, jump", ["jumps"]), ("I walk forward I stop", ["walks forward", "stops"]),
    ("A girl with a hat and sunglasses bows", ["with a hat and sunglasses bows"]), ("a woman, dressed in white, bows", ["bows"])])
def test_what_frames_an_action_is_taken_off(prompt, expected, caplog):
    assert done(prompt) == expected and not [line for line in caplog.messages if "bell" not in line]


@pytest.mark.parametrize("prompt, left_out", [
    ("claps twice dozen times", "12 times"), ("circle the left arm 3s, both arms 2s", "2 s"),
    ("She almost jumps, then waves", "she almost jumps"), ("wants to wave but instead bows", "wants to wave"),
    ("claps 3 times with a pause of 1 second", "1 second"), ("jumps umpteen times", "umpteen times"), ("claps x number of times", "x number of times")])
def test_a_second_number_an_unreadable_one_and_what_is_not_done_are_left_out_with_a_line(prompt, left_out, caplog):
    assert not any(left_out in text for text in done(prompt))
    assert [line for line in caplog.messages if f"'{left_out}'" in line and "left out" in line] == caplog.messages != []


@pytest.mark.parametrize("prompt, beyond", [
    ("raise the left arm and right leg", "right leg"), ("left hand on hip, right hand waving", "right hand waving")])
def test_words_beyond_one_movement_and_one_side_are_named(prompt, beyond, caplog):
    assert beyond in done(prompt)[0].replace(" ,", ",")
    assert [line for line in caplog.messages if f"'{beyond}' may not be seen" in line] == caplog.messages != []


@pytest.mark.parametrize("prompt, expected, read", [
    ("claps once or twice", "claps twice", "'once or twice' is read as 'twice'"), ("claps 3-4 times", "claps 4 times", "'3-4' is read as '4'"),
    ("he punches, not once but three times", "punches, three times", "'not once but three' is read as 'three'"),
    ("does between two and three deep squats", "does three deep squats", "'between two and three' is read as 'three'")])
def test_of_two_numbers_one_is_read_and_the_text_says_that_one(prompt, expected, read, caplog):
    assert done(prompt) == [expected] and [line for line in caplog.messages if read in line] == caplog.messages != []


@pytest.mark.parametrize("prompt, expected", [
    ("a person walks in a circle twice then claps three times", ["walks in a circle twice", "claps three times"]),
    ("he gets an IV drip", ["gets an iv drip"]), ("he mixes a dozen eggs", ["mixes 12 eggs"]), ("raises one or two arms", ["raises one or two arms"]),
    ("throws a one-two punch", ["throws a one-two punch"]), ("nods at all times", ["nods at all times"]), ("looks at the score", ["looks at the score"]), ("counts from one to ten", ["counts from one to ten"]),
    ("reads the New York Times", ["reads the new york times"]), ("#1 wave #2 jump", ["waves", "jumps"])])
def test_numbers_that_count_no_action_stay_as_they_are(prompt, expected, caplog):
    assert done(prompt) == expected and not caplog.messages


@pytest.mark.parametrize("prompt, expected", [
    ("2s: wave, next 3s: clap", [("waves", 2), ("claps", 3)]), ("0-2s wave, 2-5s jump", [("waves", 2), ("jumps", 3)]),
    ("wave for 2 seconds then clap for another 5", [("waves", 2), ("claps", 5)])])
def test_a_timeline_says_how_long_each_action_lasts(prompt, expected, caplog):
    assert [(segment.text.removeprefix("a person "), segment.seconds) for segment in plan(prompt)] == expected and not caplog.messages


def test_words_of_no_known_verb_are_told_with_how_they_are_read(caplog):
    assert done("He dances then zorbles along") == ["dances", "zorbles along"] and not caplog.messages
    assert done("dance then shut down") == ["dances", "dances shut down"] and "'shut down' is read as 'dances shut down'" in caplog.text


@pytest.mark.parametrize("prompt", [
    "He backs away slowly, step by step", "draw circles in the air with both hands", "deliver a left hook", "steps forward into a left lunge",
    "exercises with left leg lunges", "points left with the right hand", "looks left and right", "claps twice to cheer on his team",
    "bends down to touch the floor", "gives a high five", "stretches to the left and to the right", "does left arm circles", "jumps as high as he can"])
def test_what_belongs_to_one_movement_is_not_told(prompt, caplog):
    plan(prompt)
    assert not caplog.messages
