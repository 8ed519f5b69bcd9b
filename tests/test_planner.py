"""The planner: what the rules read out of English, and how a language model's answers are checked over real HTTP."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chat_server import ChatServer, completion
from llm_planner import plan, Segment, segments_from_json, segments_to_json
from planning.lexicon import gerund, SHORTEST_SECONDS, third_person, VERBS

ROOT = Path(__file__).resolve().parent.parent


def texts(prompt: str, **options) -> list[str]:
    return [segment.text for segment in plan(prompt, **options)]


@pytest.mark.parametrize("prompt, expected", [
    ("A person waves with the right hand, then does two squats and jumps.",
     ["a person waves with the right hand", "a person does two squats", "a person jumps"]),
    ("A woman in a red coat walks forward. She turns around and then sits down.",
     ["a woman in a red coat walks forward", "a woman in a red coat turns around", "a woman in a red coat sits down"]),
    ("Wave with your left hand, then do five jumping jacks and kick with the right leg.",
     ["a person waves with the left hand", "a person does five jumping jacks", "a person kicks with the right leg"]),
    ("A boy will jump and clap.", ["a boy jumps", "a boy claps"]),
    ("A person is walking forward and waving, then jumping.",
     ["a person walks forward", "a person waves", "a person jumps"]),
    ("First, he stretches; second, he runs in place; finally he bows.",
     ["a person stretches", "a person runs in place", "a person bows"]),
    ("1. wave\n2. jump up\n", ["a person waves", "a person jumps up"]),
    ("someone raises two hands and shakes them", ["someone raises two hands", "someone shakes two hands"]),
    ("wave, clap, jump", ["a person waves", "a person claps", "a person jumps"]),
    ("First wave, second squat, lastly bow.", ["a person waves", "a person squats", "a person bows"]),
    ("1) wave 2) squat twice", ["a person waves", "a person squats twice"]),
    ("He trains: boxing, kicking - and jumping!",
     ["a person trains", "a person boxes", "a person kicks", "a person jumps"]),
    ("A dancer performs a pirouette, 2 leaps and a curtsy.",
     ["a dancer performs a pirouette", "a dancer performs 2 leaps", "a dancer performs a curtsy"]),
    ("A person raises right arm, left arm, both arms.",
     ["a person raises right arm", "a person raises left arm", "a person raises both arms"]),
    ("The old man walked forward, then sat down.", ["the old man walks forward", "the old man sits down"]),
    ("Raise and lower the right arm.", ["a person raises and lowers the right arm"]),
    ("A person jumps and claps at the same time.", ["a person jumps and claps"]),
    ("Star jumps, then two quick punches.", ["a person does star jumps", "a person does two quick punches"]),
    ("A person steps to the left -> squat", ["a person steps to the left", "a person squats"]),
    ("1. wave 2. jump 3. bow", ["a person waves", "a person jumps", "a person bows"]),
    ("Step 1: raise both arms. Step 2: lower them.", ["a person raises both arms", "a person lowers both arms"]),
    ("step to the left / jump", ["a person steps to the left", "a person jumps"]),
    ("Wave!Jump!Bow.Squat!", ["a person waves", "a person jumps", "a person bows", "a person squats"]),
    ("two claps, one jump and three kicks",
     ["a person does two claps", "a person does one jump", "a person does three kicks"]),
    ("A boxer throws a left jab, a right hook, then an uppercut.",
     ["a boxer throws a left jab", "a boxer throws a right hook", "a boxer throws an uppercut"]),
    ("He walks 3 steps forward and 2 steps back", ["a person walks 3 steps forward", "a person walks 2 steps back"]),
    ("A man stops, adjusts his tie and smiles.", ["a man stops", "a man adjusts his tie", "a man smiles"]),
])
def test_order_words_commas_and_sentences_separate_actions_and_keep_the_subject(prompt, expected):
    assert texts(prompt) == expected


@pytest.mark.parametrize("prompt, expected", [
    ("A person jumps before sitting down.", ["a person jumps", "a person sits down"]),
    ("After waving, the man jumps.", ["the man waves", "the man jumps"]),
    ("Before jumping, he waves.", ["a person waves", "a person jumps"]),
    ("After waving, the man jumps before sitting down.", ["the man waves", "the man jumps", "the man sits down"]),
    ("A person bows before the mirror.", ["a person bows before the mirror"]),
    ("A man kneels before a queen on the left knee.", ["a man kneels before a queen on the left knee"]),
    ("A person jumps, but before that they crouch.", ["a person crouches", "a person jumps"]),
    ("When the man is walking, he waves.", ["the man walks", "the man waves"]),
    ("He claps, and while clapping he steps to the left.",
     ["a person claps", "a person steps to the left while clapping"]),
    ("With the left hand on the hip, the man waves.", ["the man waves with the left hand on the hip"]),
])
def test_before_and_after_put_actions_into_the_order_they_happen(prompt, expected):
    assert texts(prompt) == expected


@pytest.mark.parametrize("prompt, expected", [
    ("With her left hand she waves twice, then she jumps.", ["a person waves twice with her left hand", "a person jumps"]),
    ("With his right leg the man kicks and bows.", ["the man kicks with his right leg", "the man bows"]),
    ("Using her left arm she waves", ["a person waves with her left arm"]),
    ("She jumps, and with her left hand she waves.", ["a person jumps", "a person waves with her left hand"]),
    ("He bows, and, with the right hand, he points.", ["a person bows", "a person points with the right hand"]),
    ("With both hands she waves before she sits.", ["a person waves with both hands", "a person sits"]),
    ("With the left hand wave, on the right leg hop twice.", ["a person waves with the left hand", "a person hops twice on the right leg"]),
    ("She, with her left hand, waves.", ["a person waves with her left hand"]),
    ("Three times, she claps.", ["a person claps three times"]), ("Twice she jumps", ["a person jumps twice"]),
    ("Twice, he jumps and claps.", ["a person jumps", "a person claps"] * 2), ("Once she bows, she sits.", ["a person bows", "a person sits"]),
    ("To the left she steps", ["a person steps to the left"]), ("In circles he runs.", ["a person runs in circles"]),
    ("On one leg, she hops three times", ["a person hops three times on one leg"]),
    ("Slowly and carefully, she raises her arm", ["a person raises her arm slowly and carefully"]),
    ("In a sunny park, on one leg, a man hops.", ["a man hops on one leg"]),
])
def test_what_stands_before_its_clause_is_not_lost(prompt, expected):
    assert texts(prompt) == expected


@pytest.mark.parametrize("prompt, expected", [
    ("The curtain falls and she bows.", ["a person bows"]), ("She waves while the music plays.", ["a person waves"]),
    ("A car drives by while she waves.", ["a person waves"]), ("His hat falls off. He bends down.", ["a person bends down"]),
    ("The ball rolls and stops. He kicks it.", ["a person kicks it"]), ("Snow falls. A woman spins.", ["a woman spins"]),
    ("The lights go out, and a man sits down.", ["a man sits down"]), ("The ballerina spins, then she bows.", ["the ballerina spins", "the ballerina bows"]),
    ("The robot waves, then it jumps.", ["the robot waves", "the robot jumps"]), ("The barista waves. The barista bows.", ["the barista waves", "the barista bows"]),
    ("A man jumps. The thief runs away.", ["a man jumps", "the thief runs away"]), ("Her dress spins as she twirls.", ["a person twirls"]),
])
def test_what_a_thing_does_is_left_out_with_a_line(prompt, expected, caplog):
    assert texts(prompt) == expected
    acts = any(word in prompt for word in ("ballerina", "robot", "barista", "thief"))
    assert ("left out" in caplog.text) != acts


def test_a_thing_alone_is_no_prompt():
    with pytest.raises(ValueError, match="no action found in 'The curtain falls.'"):
        plan("The curtain falls.")


def test_what_happens_at_the_same_time_stays_one_action():
    assert texts("A person walks forward while waving the right hand.") == ["a person walks forward while waving the right hand"]


@pytest.mark.parametrize("prompt, expected", [
    ("I'd like a video of a cheerful guy who first waves, and after that he does like three squats.",
     ["a cheerful guy first waves", "a cheerful guy does three squats"]),
    ("Can you make the person do a little dance and bow at the end?",
     ["the person does a little dance", "the person bows"]),
    ("Please make him squat three times, clap twice and salute.",
     ["a person squats three times", "a person claps twice", "a person salutes"]),
    ("I want her to sit down and think.", ["a person sits down", "a person thinks"]),
    ("The person starts to wave, keeps on jumping, tries to kick and ends with a bow.",
     ["the person waves", "the person jumps", "the person kicks", "the person does a bow"]),
    ("The woman is asked to clap. She is about to jump.", ["the woman claps", "the woman jumps"]),
    ("A person who is wearing a blue shirt lifts the right knee.", ["a person lifts the right knee"]),
    ("I'd love it if he jumped twice and then bowed", ["a person jumps twice", "a person bows"]),
    ("Can the person please nod, shake their head, and shrug?",
     ["the person nods", "the person shakes their head", "the person shrugs"]),
    ("a video of him pointing up", ["a person points up"]),
    ("make her do like a little dance", ["a person does a little dance"]),
    ("a clip of this person casting a rod", ["this person is casting a rod"]),
    ("She was happy. Then, spotting a friend, she waved.", ["a person is spotting a friend", "a person waves"]),
    ("His right arm swings, then the left leg goes up.",
     ["a person swings his right arm", "a person moves the left leg up"]),
    ("He welcomes us with a wave.", ["a person welcomes us with a wave"]),
    ("person walking in circles while clapping", ["a person walks in circles while clapping"]),
    ("\"Wave (hello) \U0001f44b,\" $(she) says.", ["a person waves hello"]),
])
def test_what_is_wrapped_around_an_action_is_taken_off(prompt, expected):
    assert texts(prompt) == expected


@pytest.mark.parametrize("prompt, expected", [
    ("Raise the right hand. Put it down. Raise the left hand.",
     ["a person raises the right hand", "a person puts the right hand down", "a person raises the left hand"]),
    ("He kicks the ball with the right foot and raises it.",
     ["a person kicks the ball with the right foot", "a person raises it"]),
    ("Kick with the right leg, then with the left.",
     ["a person kicks with the right leg", "a person kicks with the left leg"]),
    ("He lifts his left leg and then the other leg.", ["a person lifts his left leg", "a person lifts the right leg"]),
    ("He lifts his right knee, lowers it and repeats with the left.",
     ["a person lifts his right knee", "a person lowers his right knee", "a person lifts his left knee",
      "a person lowers his left knee"]),
    ("Bow. Wave. Repeat twice.", ["a person bows"] + ["a person waves"] * 3),
    ("Bow. Wave. Repeat the whole sequence.", ["a person bows", "a person waves"] * 2),
    ("A person squats. Three times.", ["a person squats three times"]),
    ("Do three squats, rest, do two more.",
     ["a person does three squats", "a person rests", "a person does two squats"]),
])
def test_what_was_said_before_is_put_in(prompt, expected):
    assert texts(prompt) == expected


@pytest.mark.parametrize("prompt, expected", [
    ("A person kicks without lowering the arms.", ["a person kicks"]),
    ("He waves but never jumps.", ["a person waves"]),
    ("A man doesn't move at first, then jumps.", ["a man stands still", "a man jumps"]),
    ("A man does not jump. He waves.", ["a man waves"]),
    ("She walks, then stops walking.", ["a person walks", "a person stands still"]),
    ("She never sits but keeps walking.", ["a person walks"]),
    ("he dont move then he jumps", ["a person stands still", "a person jumps"]),
    ("never stop waving", ["a person waves"]), ("She never stops waving.", ["a person waves"]), ("He will never stop jumping.", ["a person jumps"]),
    ("She can't stop clapping.", ["a person claps"]), ("He won't sit. He bows.", ["a person bows"]),
])
def test_what_is_not_done_is_not_asked_for(prompt, expected):
    assert texts(prompt) == expected


def test_holding_and_waiting_lengthen_the_action_before():
    raised, lowered = plan("A person raises both arms, holds them there for two seconds and lowers them.")
    alone, = plan("A person raises both arms.")
    assert raised.text == alone.text and raised.seconds == alone.seconds + 2 and lowered.text == "a person lowers both arms"
    assert plan("She kneels, and after 3 seconds she waves.")[0].seconds == plan("She kneels.")[0].seconds + 3


def test_a_misspelt_verb_is_read_with_a_warning_and_a_strange_one_left_alone(caplog):
    assert texts("A person wavs the right hnd, then jumpes, then wlaks, raizes a leg, then kiks.") == [
        "a person waves the right hand", "a person jumps", "a person walks", "a person raises a leg", "a person kicks"]
    assert all(f"'{word}'" in caplog.text for word in ("wavs", "jumpes", "wlaks", "raizes", "kiks"))
    assert texts("An actor shades the eyes, then tinkers.") == ["an actor shades the eyes", "an actor tinkers"]


def test_a_clause_without_a_verb_takes_the_previous_one():
    assert texts("A person walks forward, then backward.") == ["a person walks forward", "a person walks backward"]
    assert texts("He walks forward. Then backward.") == ["a person walks forward", "a person walks backward"]
    assert texts("Two squats, then a jump.") == ["a person does two squats", "a person does a jump"]


def test_a_sentence_about_the_scene_is_no_action(caplog):
    assert texts("A person waves. In a sunny park. A red ball. She bows.") == ["a person waves", "a person bows"]
    assert "in a sunny park" in caplog.text and "a red ball" in caplog.text


def test_next_to_is_a_place_and_not_the_next_action():
    assert texts("A person stands next to a chair, next sits down.") == ["a person stands next to a chair", "a person sits down"]


def test_an_unknown_verb_is_still_an_action():
    assert texts("A person moonwalks across the floor, then claps.") == ["a person moonwalks across the floor", "a person claps"]


@pytest.mark.parametrize("words, seconds", [
    ("for five seconds", 5.0), ("for 3s", 3.0), ("for 2.5 sec", 2.5), ("for a few seconds", 3.0),
    ("for about 4 seconds", 4.0),
    ("4-5 seconds", 4.5), ("6 secs", 6.0), ("for one and a half seconds", 1.5), ("for two to four seconds", 3.0),
    ("for half a minute", 30.0), ("for a second", 1.0), ("for a couple of seconds", 2.0), ("for a minute", 60.0),
])
def test_a_duration_is_obeyed_and_leaves_the_text(words, seconds):
    segments = plan(f"A person walks {words}, then bows.")
    walking = [segment for segment in segments if segment.text == "a person walks"]
    assert sum(segment.seconds for segment in walking) == pytest.approx(seconds, abs=0.05)
    assert segments[-1].text == "a person bows" and len(segments) == len(walking) + 1


@pytest.mark.parametrize("once, more", [
    ("jumps once", "jumps three times"), ("does two squats", "does four squats"), ("claps twice", "claps 8 times"),
    ("throws 3 punches", "throws 6 punches"), ("does two push-ups", "does four push-ups"),
    ("does one jumping jack", "does five jumping jacks"),
])
def test_more_repetitions_take_longer(once, more):
    (short,), (long,) = plan(f"A person {once}."), plan(f"A person {more}.")
    assert long.seconds > short.seconds and once in short.text and more in long.text


def test_sets_are_multiplied():
    assert texts("The person does 2 sets of 5 jumping jacks.", max_seconds=20) == ["the person does 10 jumping jacks"]


def test_hands_are_not_counted_as_repetitions():
    assert plan("A person raises two hands.")[0].seconds == plan("A person raises the hands.")[0].seconds


def test_long_actions_are_split_and_their_repetitions_shared_out():
    segments = plan("A person does ten squats.", max_seconds=7.0)
    assert [segment.text for segment in segments] == ["a person does four squats", *["a person does three squats"] * 2]
    assert all(segment.seconds <= 7.0 for segment in segments)


@pytest.mark.parametrize("max_seconds", [1.0, 2.3, 5.0, 9.8])
def test_every_segment_lies_within_the_bounds(max_seconds):
    prompt = "A person walks for 23 seconds, waves for 0.1 seconds, jumps 11 times, claps, and then does 40 squats."
    seconds = [segment.seconds for segment in plan(prompt, max_seconds=max_seconds)]
    assert all(min(SHORTEST_SECONDS, max_seconds) * 0.5 <= s <= max_seconds + 1e-6 for s in seconds)
    assert sum(seconds) > 23


def test_the_same_prompt_gives_the_same_plan_whatever_its_case_and_spacing():
    prompt = "A person waves with the left hand, then kicks twice. Finally the person bows."
    assert plan(prompt) == plan("  " + prompt.upper().replace(" ", "  ") + "\n") == plan(prompt)


@pytest.mark.parametrize("base, third, running", [("walk", "walks", "walking"), ("squat", "squats", "squatting"), ("wave", "waves", "waving"),
                                                  ("reach", "reaches", "reaching"), ("carry", "carries", "carrying"), ("lie", "lies", "lying"),
                                                  ("do", "does", "doing"), ("jog", "jogs", "jogging"), ("bow", "bows", "bowing")])
def test_verb_forms_are_english(base, third, running):
    assert third_person(base) == third and gerund(base) == running


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_known_verb_is_read_in_all_its_forms(verb):
    third = third_person(verb)
    expected = ["a person waves", f"a person {third} now"]
    assert texts(f"A person waves, {third} now.") == expected
    assert texts(f"Wave, then {verb} now.") == expected
    assert texts(f"A person waves and then, {gerund(verb)} now.") == expected


@pytest.mark.parametrize("prompt, says", [
    ("", "prompt: is empty"), (" \n\t", "prompt: is empty"),
    ("A person waves. " * 625, "at most 2,000 characters (found 10,000)"),
    ("Une personne marche et saute deux fois", "no English"),
    ("Eine Person springt in die Luft und winkt", "no English"),
    ("Una persona camina y luego salta", "no English"), ("人が手を振る", "no English"), ("Человек машет рукой", "no English"),
    ("a person waves. " + "человек прыгает и машет рукой " * 3, "no English"), ("!!! ??? 123", "no English"),
    ("asdf qwer zxcv", "no English"),
    ("a red car on the road", "no action found"), ("A person walks for 1000 seconds.", "last 1000 s"),
])
def test_a_prompt_that_cannot_be_planned_is_one_clear_line(prompt, says):
    with pytest.raises(ValueError, match="^prompt: ") as caught:
        plan(prompt)
    assert says in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_the_command_line_prints_a_plan_that_reads_back(tmp_path):
    prompt = "A person waves, then jumps twice."
    done = subprocess.run([sys.executable, ROOT / "llm_planner.py", prompt], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0 and segments_from_json(done.stdout) == plan(prompt)
    failed = subprocess.run([sys.executable, ROOT / "llm_planner.py", ""], capture_output=True, text=True, cwd=tmp_path)
    assert failed.returncode == 2 and failed.stderr.count("\n") == 1 and failed.stdout == ""


def test_a_plan_survives_json_and_a_broken_file_says_so():
    segments = [Segment("a person waves", 2.5), Segment("a person — bows", 1 / 3)]
    assert segments_from_json(segments_to_json(segments)) == segments
    for broken in ("", "[]", '{"segments": [{"text": "a"}]}', '{"segments": [3]}', '{"segments": [{"text": "a", "seconds": "soon"}]}',
                   '{"segments": [{"text": "a", "seconds": -1}]}', '{"segments": [{"text": "a", "seconds": Infinity}]}',
                   '{"segments": []}', '{"segments": [{"text": "a", "seconds": 1e9}]}', "[" * 100_000,
                   *(f'{{"segments": [{{"text": {text}, "seconds": {seconds}{more}}}]}}' for text, seconds, more in (
                       ("null", 2, ""), ('["a"]', 2, ""), ('"a"', "true", ""), ('"a"', '"2"', ""), ('"a"', 0.001, ""), ('"a"', "NaN", ""),
                       ('"a"', "1" + "0" * 400, ""), ('"a"', 2, ', "second": 9'), ('"a"', 2, ', "seconds": 9'), ('"\\ud800"', 2, ""),
                       (f'"{"wave " * 1500}"', 2, ""))),
                   '{"segments": [{"text": "a", "seconds": 2}], "fps": 7}'):
        with pytest.raises(ValueError, match="^plan.json: ") as caught:
            segments_from_json(broken)
        str(caught.value).encode()                                                  # can be printed
    with pytest.raises(ValueError, match='segment 1: "seconds" must be a number from 0.05 to 9.8 .found 12'):
        segments_from_json('{"segments": [{"text": "a", "seconds": 12}]}', max_seconds=9.8)
    assert segments_from_json('\ufeff{"segments": [{"text": "a", "seconds": 2}]}') == [Segment("a", 2.0)]     # Windows' Notepad


# ---------------------------------------------------------------- language models, over HTTP

GOOD = json.dumps({"segments": [{"text": "a person waves with the right hand.", "seconds": 3}, {"text": "a person bows", "seconds": 2.5}]})


@pytest.fixture
def ask(monkeypatch):
    monkeypatch.setenv("PLANNER_TEST_KEY", "secret-key")

    def ask(server: ChatServer, **options) -> list[Segment]:
        options = {"timeout_seconds": 5.0, "api_key_env": "PLANNER_TEST_KEY"} | options
        return plan("Il salue puis s'incline", backend="openai", base_url=server.url, model="tiny", **options)
    return ask


def test_a_good_answer_becomes_the_plan_and_the_request_carries_schema_and_key(ask):
    with ChatServer(GOOD) as server:
        assert ask(server) == [Segment("a person waves with the right hand", 3.0), Segment("a person bows", 2.5)]
    (path, key, body), = server.requests
    assert path == "/v1/chat/completions" and key == "Bearer secret-key" and body["model"] == "tiny"
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["segments"]["items"]["required"] == ["text", "seconds"]
    assert body["messages"][-1] == {"role": "user", "content": "Il salue puis s'incline"}


@pytest.mark.parametrize("wrapped", [f"```json\n{GOOD}\n```", f"<think>They wave {{first}}.</think>\n{GOOD}", f"\n  {GOOD}\n"])
def test_fences_and_reasoning_around_the_json_do_not_matter(ask, wrapped):
    with ChatServer(wrapped) as server:
        assert len(ask(server)) == 2


@pytest.mark.parametrize("garbage, quoted", [
    ("Sure! Here is your plan:", "not JSON"), ('{"segments": []}', "empty"), ('{"plan": 3}', "segments"),
    ("[1, 2]", "segment 1"),
    ('{"segments": [{"text": "a person waves", "seconds": 30}]}', "must lie between 1 and 9.8"),
    ('{"segments": [{"text": "a person waves", "seconds": NaN}]}', "must lie between"),
    ('{"segments": [{"text": "a person waves", "seconds": true}]}', "must be a number"),
    ('{"segments": [{"text": "  ", "seconds": 2}]}', "must be a sentence"), ('{"segments": ["wave"]}', "segment 1"),
    ('{"segments": [{"text": "' + "a" * 201 + '", "seconds": 2}]}', "201 characters"), pytest.param("[" * 100_000,
    "not JSON", id="deep"), ("", "not JSON"),
])
def test_garbage_is_sent_back_once_with_what_is_wrong_and_repaired(ask, garbage, quoted):
    with ChatServer(garbage, GOOD) as server:
        assert len(ask(server)) == 2
    repair = server.requests[1][2]["messages"]
    assert repair[-2] == {"role": "assistant", "content": garbage} and quoted in repair[-1]["content"]


@pytest.mark.parametrize("wrapped", [
    f"Sure, here is the plan:\n```json\n{GOOD}\n```\nTell me if you want it longer.", f"\ufeff{GOOD}", f"{GOOD}\n\nNote: he {{waves}} first.",
    f"<|channel|>analysis<|message|>two {{actions}}<|end|><|start|>assistant<|channel|>final<|message|>{GOOD}<|return|>",
    f'Draft: {{"segments": []}}. Better: {GOOD}',
    [{"type": "thinking", "thinking": [{"type": "text", "text": "two"}]}, {"type": "text", "text": GOOD[:20]}, {"type": "text", "text": GOOD[20:]}],
], ids=["prose and fence", "byte order mark", "note behind", "channels", "a draft before", "parts"])
def test_the_plan_is_found_in_what_surrounds_it_without_asking_again(ask, wrapped):
    with ChatServer((200, completion(content=wrapped))) as server:
        assert ask(server) == [Segment("a person waves with the right hand", 3.0), Segment("a person bows", 2.5)]


@pytest.mark.parametrize("answer", [
    '[{"text": "a person waves", "seconds": 2}]', '{"segments": [{"text": "a person waves.", "seconds": "2.0"}]}',
    '<thinking>{"segments": []}</thinking>{"segments": [{"text": "a person\\u0000waves\\ud83d", "seconds": 2}]}',
], ids=["a bare list", "seconds as text", "odd characters"])
def test_a_plan_in_a_loose_form_is_read_without_asking_again(ask, answer):
    with ChatServer(answer) as server:
        assert ask(server) == [Segment("a person waves", 2.0)]


def test_what_a_model_only_thought_is_no_plan(ask):
    with ChatServer(f"<think>{GOOD} or rather", GOOD) as server:
        assert len(ask(server)) == 2 and len(server.requests) == 2


@pytest.mark.parametrize("choice", [{"message": "waves"}, {"message": ["waves"]}, "waves", {}, {"message": {"content": {"a": 1}}}])
def test_an_answer_of_another_build_is_one_line(ask, choice):
    reply = (200, {"id": "1", "object": "chat.completion", "created": 0, "model": "tiny", "choices": [choice]})
    assert "planner: " in fails(ask, ChatServer(reply, reply))


def test_a_key_that_a_server_repeats_is_not_shown(ask):
    assert "(the key)" in fails(ask, ChatServer((403, {"error": {"message": "no access for secret-key"}})))


@pytest.mark.parametrize("status, message", [(400, "This response_format type is unavailable now"), (422, "json_schema: extra fields not permitted")])
def test_a_server_that_refuses_the_schema_is_asked_in_another_way_and_not_for_it_again(ask, status, message):
    refusal = (status, {"error": {"message": message}})
    with ChatServer(refusal, refusal, "no JSON", GOOD) as server:
        assert len(ask(server)) == 2
    formats = [body.get("response_format", {}).get("type") for _, _, body in server.requests]
    assert formats == ["json_schema", "json_object", None, None]


def test_an_answer_cut_off_at_the_limit_is_named_as_such_and_not_asked_for_again(ask):
    cut = completion(content="", reasoning_content="The user wants two actions, so first")
    cut["choices"][0]["finish_reason"] = "length"
    server = ChatServer((200, cut))
    assert "cut off at the token limit" in fails(ask, server) and len(server.requests) == 1


@pytest.mark.parametrize("key, says", [("secret-key\nx", "line break"), ("\u201csecret-key\u201d", "U\\+201C"), ("secret key", "space")])
def test_a_damaged_key_is_named_by_its_variable_and_never_shown(monkeypatch, key, says):
    monkeypatch.setenv("PLANNER_TEST_KEY", key)
    with pytest.raises(ValueError, match=f"PLANNER_TEST_KEY holds no usable key .*{says}") as caught:
        plan("wave", backend="openai", base_url="http://127.0.0.1:9/v1", model="tiny", api_key_env="PLANNER_TEST_KEY")
    assert "secret" not in str(caught.value)


def test_a_line_break_at_the_end_of_a_key_is_no_part_of_it(ask, monkeypatch):
    monkeypatch.setenv("PLANNER_TEST_KEY", "secret-key\n")
    with ChatServer(GOOD) as server:
        assert len(ask(server)) == 2
    assert server.requests[0][1] == "Bearer secret-key"


@pytest.mark.parametrize("base_url, environment", [
    ("http://127.0.0.1:99999/v1", {}), ("http://127.0.0.1:port/v1", {}), ("http://127.0.0.1:9/v1", {"HTTP_PROXY": "socks9://nowhere:1"}),
    ("https://127.0.0.1:9/v1", {"SSL_CERT_FILE": "/nowhere/certificates.pem"}),
], ids=["port too large", "port no number", "proxy", "certificate"])
def test_addresses_proxies_and_certificates_that_cannot_work_end_in_one_line(monkeypatch, base_url, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match="planner: no (client for|server reached at) http") as caught:
        plan("wave", backend="openai", base_url=base_url, model="tiny", api_key_env="", timeout_seconds=2)
    assert "\n" not in str(caught.value)


def fails(ask, server: ChatServer, **options) -> str:
    with server, pytest.raises(ValueError) as caught:
        ask(server, **options)
    assert "\n" not in str(caught.value) and "secret-key" not in str(caught.value)
    return str(caught.value)


def test_garbage_twice_is_an_error_and_no_third_request(ask):
    server = ChatServer("no", "still no", GOOD)
    assert "no usable plan in two attempts (not JSON" in fails(ask, server)
    assert len(server.requests) == 2


def test_a_refusal_is_quoted(ask):
    assert "refused the prompt ('I cannot help" in fails(ask, ChatServer((200, completion(content=None, refusal="I cannot help with that.\nSorry"))))


def test_a_server_that_does_not_answer_in_time_is_left(ask):
    start = time.monotonic()
    assert "did not answer within 0.3 s" in fails(ask, ChatServer(60.0), timeout_seconds=0.3)
    assert time.monotonic() - start < 30


def trickle(handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(400):                     # 20 seconds
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def flood(handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b"x" * (1 << 20))


def half(handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "999")
    handler.end_headers()
    handler.wfile.write(b'{"a')
    handler.close_connection = True


@pytest.mark.parametrize("reply, says, patience", [(trickle, "did not answer within 0.5 s", 0.5), (flood, "more than 4 MiB", 60.0),
                                                   (half, "expected a whole answer", 60.0)])
def test_an_answer_without_an_end_is_left_in_time(ask, reply, says, patience):
    start = time.monotonic()
    assert says in fails(ask, ChatServer(reply), timeout_seconds=patience)
    assert time.monotonic() - start < 15


@pytest.mark.parametrize("changes, says", [
    ({"timeout_seconds": 0}, "planner.timeout_seconds: must be more than 0"), ({"timeout_seconds": float("nan")}, "planner.timeout_seconds"),
    ({"timeout_seconds": 1e30}, "at most 86,400 s"), ({"max_new_tokens": 0}, "planner.max_new_tokens: must be at least 1"),
    ({"backend": "local", "model": "nowhere"}, "planner.model=nowhere: no config.json there")])
def test_settings_that_cannot_be_are_refused_before_anybody_is_asked(changes, says):
    with pytest.raises(ValueError, match=says):
        plan("She waves.", **changes)


@pytest.mark.parametrize("reply, says", [
    ((401, {"error": {"message": "Incorrect API key"}}), "refused the key from PLANNER_TEST_KEY (HTTP 401)"),
    ((500, {"error": {"message": "CUDA out of memory\nTraceback ..."}}), "CUDA out of memory): see the server's log"),
    ((404, {"error": {"message": "model tiny not found"}}), "HTTP 404"),
    ((429, {"error": {"message": "slow down"}}), "slow down): wait"),
    ((200, b"<html>It works!</html>"), "OpenAI-compatible"), ((200, {"choices": []}), "OpenAI-compatible"),
    ((200, {}), "OpenAI-compatible"),
])
def test_http_trouble_is_one_line_with_the_address(ask, reply, says):
    server = ChatServer(reply)
    message = fails(ask, server)
    assert says in message and server.url in message and len(server.requests) == 1


def test_an_unreachable_server_a_missing_key_and_a_missing_model_are_named(ask, monkeypatch):
    with ChatServer() as server:
        url = server.url
    with pytest.raises(ValueError, match=f"no server reached at {url}"):
        plan("wave", backend="openai", base_url=url, model="tiny", api_key_env="", timeout_seconds=2)
    with pytest.raises(ValueError, match="planner.model is empty"):
        plan("wave", backend="openai", base_url=url)
    monkeypatch.delenv("PLANNER_TEST_KEY")
    with pytest.raises(ValueError, match="PLANNER_TEST_KEY holds no key"):
        plan("wave", backend="openai", base_url=url, model="tiny", api_key_env="PLANNER_TEST_KEY")


def test_a_server_without_keys_gets_none_asked_for(ask):
    with ChatServer(GOOD) as server:
        assert len(ask(server, api_key_env="")) == 2


def test_an_unknown_backend_lists_the_known_ones():
    with pytest.raises(ValueError, match="rules, openai, local"):
        plan("A person waves.", backend="gpt")


# ---------------------------------------------------------------- a local transformers model

CHAT_TEMPLATE = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}"


@pytest.fixture(scope="module")
def chat_folder(tmp_path_factory) -> Path:
    """A two-layer Llama with random weights, a byte-level tokenizer and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(["</s>", *alphabet])}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    folder = tmp_path_factory.mktemp("chat")
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>")
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)
    LlamaForCausalLM(LlamaConfig(vocab_size=257, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                                 max_position_embeddings=4096, eos_token_id=0, pad_token_id=0)).save_pretrained(folder)
    return folder


def test_a_local_model_is_asked_with_its_chat_template_and_its_babble_is_refused(chat_folder):
    with pytest.raises(ValueError, match="no usable plan in two attempts"):
        plan("A person waves.", backend="local", model=str(chat_folder), max_new_tokens=8)


def test_what_a_local_model_writes_is_what_is_checked(chat_folder, monkeypatch):
    from transformers import LlamaForCausalLM
    import torch
    seen = []

    def writes(self, input_ids, **_):
        from transformers import AutoTokenizer
        tokenizer = AutoTokenizer.from_pretrained(chat_folder)
        seen.append(tokenizer.decode(input_ids[0]))
        return torch.cat([input_ids, torch.tensor([tokenizer.encode(GOOD)])], dim=1)
    monkeypatch.setattr(LlamaForCausalLM, "generate", writes)
    assert plan("Salue !", backend="local", model=str(chat_folder)) == [Segment("a person waves with the right hand", 3.0),
                                                                         Segment("a person bows", 2.5)]
    assert "<user> Salue !" in seen[0] and seen[0].endswith("<assistant> ")


@pytest.mark.parametrize("broken", ["missing", "config", "weights", "template"])
def test_a_local_folder_that_is_no_chat_model_is_named(chat_folder, tmp_path, broken):
    import shutil
    folder = tmp_path / "model"
    if broken != "missing":
        shutil.copytree(chat_folder, folder)
    if broken == "config":
        (folder / "config.json").write_text("{}")
    elif broken == "weights":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:3000])
    elif broken == "template":
        (folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="planner.model=") as caught:
        plan("A person waves.", backend="local", model=str(folder))
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


# ---------------------------------------------------------------- what people type that is no plain action

@pytest.mark.parametrize("prompt, expected", [
    ("repeat 3 times: jump, clap", ["a person jumps", "a person claps"] * 3),
    ("Wave. Then repeat twice: squat and kick. Bow.", ["a person waves", *["a person squats", "a person kicks"] * 2, "a person bows"]),
    ("Do the following 2 times: jump, bow.", ["a person jumps", "a person bows"] * 2),
    ("They both wave.", ["a person waves"]), ("He raises both.", ["a person raises both arms"]),
    ("She bends the left knee, then lifts both.", ["a person bends the left knee", "a person lifts both knees"]),
    ("<b>A person waves</b>", ["a person waves"]),
    ("A person (waves:1.3) <lora:style:0.8>, masterpiece, best quality, 4k", ["a person waves"]),
    ("#jump #wave", ["a person jumps", "a person waves"]), ("#dance#spin", ["a person dances", "a person spins"]),
    ("3 times: jump, clap", ["a person jumps", "a person claps"] * 3), ("JUMP JUMP JUMP", ["a person jumps 3 times"]),
    ("🙋 waves 🦘 jumps twice!!!", ["a person waves", "a person jumps twice"]), ("burpees", ["a person does burpees"]),
    ("both arms go up, then hands down", ["a person moves both arms up", "a person moves the hands down"]),
    ("Raise both arms, lower them both", ["a person raises both arms", "a person lowers both arms"]),
    ("He wavees and kikcs, then sqaut and jmup, she dansed", ["a person waves", "a person kicks", "a person squats", "a person jumps",
                                                              "a person dances"]),
    ("tracking shot of a woman walking forward", ["a woman walks forward"]), ("close-up of a man nodding", ["a man nods"]),
    ("waves and hands, steps left and rihgt", ["a person waves and hands", "a person steps left and right"]),
    ("She flies.", ["a person flies"]), ("explode", ["a person explodes"]), ("dnace", ["a person dances"]),
])
def test_repeated_lists_both_tags_and_impossible_verbs_are_read_as_meant(prompt, expected):
    assert texts(prompt) == expected


@pytest.mark.parametrize("prompt, expected, warning", [
    ("A person jumps 0 times, then waves.", ["a person waves"], "done no times"),
    ("The camera zooms in while a person waves.", ["a person waves"], "'the camera zooms in' is left out: camera="),
    ("A person waves, and the camera pans to the left.", ["a person waves"], "'the camera pans to the left' is left out"),
    ("Camera orbits around the dancer, who spins.", ["a person spins"], "left out: camera="),
    ("A man waves and a woman jumps.", ["a man waves", "a woman jumps"], "'a woman': one person is animated"),
    ("Two dancers spin, one of them jumps.", ["a person spins", "a person jumps"], "'two dancers': one person is animated"),
    ("She waves with neither hand, then nods", ["a person nods"], "no limb does it"),
    ("A man and a woman dance together.", ["a person dances"], "'a man and a woman': one person is animated"),
    ("Nobody moves. He waves.", ["a person waves"], "'nobody moves' is left out: nobody does it"),
    ("Someone calls him from behind, so he turns around.", ["a person turns around"],
     "'someone calls him from behind' is left out: somebody else does it"),
    ("He walks for 0 seconds, then waves.", ["a person waves"], "done no times"),
    ("Camera: slow zoom. A man dances.", ["a man dances"], "'camera: slow zoom' is left out"),
    ("The camera shakes. He runs.", ["a person runs"], "'the camera shakes' is left out"),
    ("A man walks towards the camera, filmed from behind.", ["a man walks towards the camera"], "'filmed from behind' is left out"),
    ("A person sqats twice.", ["a person sqats twice"], "did you mean 'squats'"),
    ("She waves goodby, trun around and wlak away", ["a person waves goodby", "a person turns around", "a person walks forward"], "'wlak' is read as 'walk'"),
])
def test_what_cannot_be_done_as_written_is_warned_of(prompt, expected, warning, caplog):
    assert texts(prompt) == expected
    assert sum(warning in line for line in caplog.messages) == 1


def test_a_camera_that_is_only_looked_at_stays_in_the_action():
    assert texts("A person waves at the camera and turns around.") == ["a person waves at the camera", "a person turns around"]
    assert texts("She walks towards the camera, moves her arms.") == ["a person walks towards the camera", "a person moves her arms"]


@pytest.mark.parametrize("prompt, says", [
    ("he walks for 99999 hours", "its actions last 359996400 s, more than the 180 s"), ("jump for 2 hours", "7200 s"),
    ("he jumps 100000000 times", "'100000000 times': expected a count of at most 1,000"), ("repeat 1000000 times: jump, clap", "at most 1,000"),
    ("jumps ten thousand times", "'10000 times'"), ("jump 1e9 times", "'1000000000 times'"), ("claps 1,000 times", "601 s"),
    ("jumps, then repeats it 1" + 12 * "0" + " times", "at most 1,000"), ("claps 10000 times in 5 seconds", "at most 1,000"),
    ("claps 3.7 times", "'3.7 times': expected a whole number"), ("one and a quarter times he claps", "'one and a quarter times': expected a whole"),
    ("she jumps once and a half, then bows", "'once and a half': expected a whole"), ("spins two and a half times", "'two and a half times'"),
    ("walks for 2 days", "172800 s"), ("9" * 1900 + " jumps", "9...': expected a count of at most"), ("jumps minus three times", "'minus three times'"),
    ("jump," * 399, "more than the 180 s"), ("a person waves and " * 105, "more than the 180 s"), ("x" * 2000, "no English"),
    ("repeat 2 times: " * 124, "more than the 180 s"), ("waves \udcff", "bytes that are no UTF-8"), ("...!!!???", "no English"), ("🕺💃", "no English"),
    ("jump -3 times", "'-3 times': expected a number above 0"), ("walk for -2 seconds", "'-2 seconds'"), ("jump 0 times", "no action found"),
])
def test_numbers_that_cannot_be_are_refused_in_one_line_at_once(prompt, says):
    start = time.process_time()
    with pytest.raises(ValueError, match=says) as caught:
        plan(prompt)
    assert "\n" not in str(caught.value) and time.process_time() - start < 1


def test_the_command_line_says_which_segments_the_motion_weights_know(monkeypatch, capsys):
    from types import SimpleNamespace

    import llm_planner
    from t2m.generate import TextToMotion
    from t2m.known_motions import KnownMotions
    known = KnownMotions.of(["wave"], ["waves"])
    unknown_motion = lambda text: None if known.covers(text) else "no motion word"
    monkeypatch.setattr(TextToMotion, "load", lambda folder: SimpleNamespace(known=known, unknown_motion=unknown_motion))
    assert llm_planner.main(["A person waves, then flies.", "--weights", "some/folder"]) == 0
    printed = capsys.readouterr()
    assert [segment.text for segment in segments_from_json(printed.out)] == ["a person waves", "a person flies"]
    assert printed.err.splitlines() == ["segment 1 'a person waves': known",
                                        "segment 2 'a person flies': no motion word"]


@pytest.mark.parametrize("prompt, warned", [
    ("A person waves. Finally the person jumps.", False), ("A woman waves, then the woman claps.", False), ("A man waves. The person sits down.", False),
    ("A man waves. A woman jumps.", True), ("A person waves. Another person jumps.", True)])
def test_only_somebody_else_is_warned_of(prompt, warned, caplog):
    plan(prompt)
    assert ("one person is animated" in caplog.text) == warned


@pytest.mark.parametrize("prompt, expected", [
    ("[0-3s] waves [3-5s] jumps", [3, 2]), ("0-2s: waves, 2-6s: jumps", [2, 4]), ("0:00-0:03 wave 0:03-0:05 jump", [3, 2]),
    ("waves (5 seconds), jumps (3s)", [5, 3]), ("he waves for 4-5 seconds", [4.5]), ("jump for 1,5 seconds", [1.5]),
    ("waves for ½ second", [1]), ("waves for 1½ seconds", [1.5]), ("waves for 1 and 1/2 seconds", [1.5]), ("waves for a second and a half", [1.5]),
    ("waves for 1/8 of a minute", [7.5]), ("jumps for 2500 ms", [2.5]), ("jumps for 300 ms", [1]), ("walks for two point five seconds", [2.5]),
    ("waves for 0:03", [3]), ("wave twice for 3 seconds each", [6]), ("She waves, jumps and claps, each for 2 seconds.", [2, 2, 2]),
    ("Squat four times. Each for two seconds.", [8]), ("three 2-second squats", [6]), ("5 seconds of waving, then 3 s of jumping", [5, 3])])
def test_times_are_read_as_people_write_them(prompt, expected):
    assert [segment.seconds for segment in plan(prompt)] == expected


@pytest.mark.parametrize("apart, together", [
    ("A person jumps. Five times.", "A person jumps five times."), ("She claps. Four times for 5 seconds.", "She claps four times for 5 seconds."),
    ("He hops. Twice, then backward.", "He hops twice, then backward.")])
def test_a_count_in_a_sentence_of_its_own_is_of_the_action_before(apart, together):
    assert plan(apart) == plan(together)


def test_somebody_else_is_warned_of_once(caplog):
    plan("A man waves. Another man jumps and kicks.")
    assert [record.getMessage() for record in caplog.records] == ["prompt: 'another man': one person is animated, who does this as well"]


@pytest.mark.parametrize("prompt, expected", [
    ("[0-3s] waves [5-8s] jumps", [("waves", 3), ("stands still", 2), ("jumps", 3)]), ("0s-2s wave, 2s-6s jump", [("waves", 2), ("jumps", 4)]),
    ("[0-4s] waves and claps [4-6s] jumps", [("waves", 2), ("claps", 2), ("jumps", 2)]),
    ("At 3 seconds she jumps", [("stands still", 3), ("jumps", 2)]), ("wave at 0s, jump at 0:03", [("waves", 3), ("jumps", 2)]),
    ("She waves. At the 5 second mark she jumps.", [("waves", 2.5), ("stands still", 2.5), ("jumps", 2)]),
    ("She waves, and at 2 s she jumps.", [("waves", 2), ("jumps", 2)]), ("waves from 2 to 5 seconds", [("stands still", 2), ("waves", 3)]),
    ("From second 1 to second 4 she waves, then bows from 4 to 6 seconds.", [("stands still", 1), ("waves", 3), ("bows", 2)])])
def test_an_action_begins_when_the_prompt_says_so(prompt, expected):
    assert [(segment.text.removeprefix("a person "), segment.seconds) for segment in plan(prompt)] == expected


@pytest.mark.parametrize("prompt, expected", [
    ("jumps half a dozen times", "jumps 6 times"), ("claps a dozen times", "claps 12 times"), ("nods twenty-five times", "nods 25 times"),
    ("jumps thirteen times", "jumps thirteen times"), ("jump*3", "jumps 3 times"), ("jump × 3", "jumps 3 times"), ("3*jump", "jumps 3 times"),
    ("claps #3 times", "claps 3 times"), ("jumps IV times", "jumps 4 times"), ("jumps Ⅻ times", "jumps 12 times"), ("jumps X times", "jumps 10 times"),
    ("claps a score of times", "claps 20 times"), ("claps a baker’s dozen times", "claps 13 times"), ("does a baker's dozen squats", "does 13 squats"),
    ("\x1b[1;31mwaves\x1b[0m twice\x07", "waves twice"), ("\x1b]0;title\x07waves \x9b4mtwice", "waves twice"),
    ("jump ² times", "jumps 2 times"), ("kick 3", "kicks 3 times"), ("w​aves", "waves"), ("w­ave tw‍ice", "waves twice"),
    ("ＷＡＶＥＳ ３ ｔｉｍｅｓ", "waves 3 times")])
def test_numbers_and_letters_of_every_kind_are_read(prompt, expected):
    assert [text.removeprefix("a person ") for text in texts(prompt, max_seconds=40.0)] == [expected]


@pytest.mark.parametrize("prompt, says", [
    ("[3-0s] waves", "expected an end after the begin"), ("[0-3s] waves [2-5s] jumps", "begins at 2 s, and those before it last 3 s"),
    ("She waves for 5 seconds. At 3 seconds she jumps.", "begins at 3 s"), ("waves until 5 seconds", "'until 5 seconds'"),
    ("jumps for NaN seconds", "'for nan seconds'"), ("jumps for infinity seconds", "expected a number"), ("jumps for 1.2.3 seconds", "'for 1.2.3 seconds'"),
    ("jumps for 1e400 seconds", "more than the 180 s"), ("jump ½ times", "'0.5 times'"), ("jump 10² times", "'10 2 times'"), ("waves for hours", "'for hours'")])
def test_a_time_or_number_that_cannot_be_read_is_refused_in_one_line(prompt, says):
    with pytest.raises(ValueError, match="^prompt: ") as caught:
        plan(prompt)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("max_seconds", [0, 1e9, float("nan")])
def test_a_longest_action_that_cannot_be_is_refused(max_seconds):
    with pytest.raises(ValueError, match="planner.max_seconds: must be 1 to 180 s"):
        plan("wave", max_seconds=max_seconds)


@pytest.mark.parametrize("prompt, expected", [
    ("She turns around twice", ["a person turns around to the right"] * 2), ("turns 360 degrees counterclockwise, 2x", ["a person turns around to the left"] * 4),
    ("He slowly makes a full turn", ["a person slowly turns around to the right"] * 2), ("turns left twice", ["a person turns left"] * 2),
    ("He turns around", ["a person turns around"]), ("turns 90 degrees to the left", ["a person turns 90 degrees to the left"]),
    ("spins clockwise twice", ["a person spins to the right twice"]), ("turns her head around twice", ["a person turns her head around twice"])])
def test_whole_turns_are_made_of_half_turns_to_one_side(prompt, expected):
    assert texts(prompt) == expected


@pytest.mark.parametrize("prompt, last", [
    ("She walks to the right, turns around and walks back", "walks forward"), ("She turns around, waves and slowly comes back", "slowly walks forward"),
    ("Walks, turns around and runs back home", "runs forward home"), ("He turns around and returns to the start", "walks forward to the start"),
    ("He turns around and walks backwards", "walks backwards"), ("She turns around and steps back", "steps back"), ("He walks back", "walks back"),
    ("He turns around twice and walks back", "walks back"), ("He turns around, walks away and walks back", "walks back"),
    ("She turns around and walks away", "walks forward"), ("He turns around, waves and slowly runs off", "slowly runs forward"), ("She walks away", "walks away")])
def test_who_has_turned_comes_back_face_first(prompt, last):
    assert texts(prompt)[-1] == f"a person {last}"


@pytest.mark.parametrize("prompt, expected", [
    ("She waves before she finally blows a kiss", ["a person waves", "a person blows a kiss"]), ("The man then jumps", ["the man jumps"]),
    ("She claps, and she later sits.", ["a person claps", "a person sits"])])
def test_an_order_word_may_stand_behind_its_subject(prompt, expected, caplog):
    assert texts(prompt) == expected and not caplog.messages


def test_one_person_does_nothing_to_each_other():
    assert texts("They hug each other, walk side by side and put their hands together") == [
        "a person hugs", "a person walks", "a person puts their hands together"]


@pytest.mark.parametrize("prompt, expected", [
    ("left hook, right hook, uppercut", ["a person throws left hook", "a person throws right hook", "a person throws uppercut"]),
    ("He does a left kick, right kick", ["a person does a left kick", "a person does right kick"]),
    ("the fighter throws left and right punches", ["the fighter throws left and right punches"])])
def test_actions_named_without_a_number_are_done_one_by_one(prompt, expected):
    assert texts(prompt) == expected
