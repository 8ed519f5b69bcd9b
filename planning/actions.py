"""The offline planner: clauses and their words become timed actions; what a clause leaves out is carried along.

"A person waves with the right hand, then does two squats and jumps." becomes three actions of "a person".
Two verbs joined by "while" stay one action; joined by "and" or a comma they are played one after the other.
"""
from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

from planning.clauses import clauses, Piece
from planning.lexicon import (AUXILIARIES, BASE, BODY_PARTS, DETERMINERS, FUNCTION_WORDS, GERUND, HANDLING_VERBS, LIGHT_VERBS, NOT_VERBS,
                              NUMBER_WORDS, NUMBERS, OPPOSITE, PARTICIPLES, PAST, past, POSSESSIVES, PRONOUNS, PUNCHES, SCENE_PREPOSITIONS,
                              SHORTEST_SECONDS, SPEECH, STATES, THIRD, third_person, UNKNOWN_SECONDS, VERBS)
from planning.patterns import (AGAIN, APPOSED, BOTH_ALONE, BY_NO_LIMB, BY_SOMEBODY, CLOCKWISE, DEGREES, EACH_LIMB, EVERYTHING, GOES, GOES_AWAY, GOES_BACK,
                               HALF_TURNS, HELD, IS_DONE, LIMB, LIMB_GOES, LIMB_IS_MOVED, LIMB_MOVES, LIMB_OF_A_SIDE, LIMB_PLACED,
                               MORE, NEGATIVE_COUNT, NO_TIMES, NOBODY, NOT_DONE, OF_SOMEONE_ELSE, ONE_OF_A_SIDE, ONLY_COUNT, PART, PASSIVE, SIDE, SIDE_ALONE,
                               SOMEBODY_TO_THEM, THE_OTHER, THE_SAME, TO_EACH_OTHER, TOGETHER, TURNS, WITH_IT, WITH_LIMB)
from planning.plain import check_total, normal, require_english, shown
from planning.unread import goes_on, is_state, without_unread
from planning.words import (action_noun, base_form, find_count, goes_with, is_gerund, is_limb, is_name, is_one_of, is_person,
                            meant_verb, one_person, predicate_of, split_subject, thing_acts, verb_form)

log = logging.getLogger(__name__)

STILL = (["stands", "still"], "stand")
NEAR_ENOUGH = 0.8                      # likeness of a misspelt body part
Action = tuple[str, str, float]        # subject, what it does, seconds


def split_actions(prompt: str, max_seconds: float) -> list[tuple[str, float]]:
    """English prompt -> [(one action in the third person, seconds)], none longer than `max_seconds`."""
    prompt = normal(prompt)
    require_english(prompt)
    if negative := NEGATIVE_COUNT.search(prompt):
        raise ValueError(f"prompt: '{negative[0]}': expected a number above 0: say how often or how long")
    pieces = [Piece.of(opens, text) for opens, text in clauses(prompt)]
    pieces = [(piece, *split_subject(piece.text)) for piece in with_movers(pieces) if is_done(piece.written)]
    actions = timed_actions(list(of_the_person(pieces)))
    if not actions:
        raise ValueError(f"prompt: no action found in {shown(prompt)}: "
                         "say what the person does, as in 'A person waves.'")
    check_total(sum(seconds for _, _, seconds in actions))
    parts = []
    read = {text: without_unread(text) for text in dict.fromkeys(text for _, text, _ in actions)}
    for who, text, seconds in actions:
        turn, halves = half_turns(read[text])
        shortened = shorten(turn, seconds / halves, max_seconds)
        parts += [(f"{who} {part}".replace(" ,", ","), lasts) for part, lasts in shortened] * halves
    return parts


def timed_actions(pieces: list[tuple[Piece, str, str]]) -> list[Action]:
    """What the person does, clause by clause; a clause may also count, hold or repeat what was done before it.

    pieces: each with its subject and its predicate.
    """
    said = Mentioned(next((one_person(subject) for _, subject, _ in pieces if subject), "a person"))
    actions: list[Action] = []
    times = Schedule()
    for (piece, subject, words), following in zip(pieces, [*pieces[1:], None]):
        clause, seconds = piece.text, piece.seconds
        times.note(piece, actions)
        if not clause and (piece.begin is not None or piece.each):
            continue
        if actions and ONLY_COUNT.fullmatch(clause):                           # 'Squat. Ten times.'
            who, before, _ = actions[-1]
            text = f"{before} {clause}"
            actions[-1] = who, text, seconds or default_seconds(said.verb, text)
            continue
        if subject:
            before, said.subject = said.subject, named(subject)
            if is_another(said.subject, before):
                log.warning("prompt: '%s': one person is animated, who does this as well", subject)
        said.verb = None if piece.opens else said.verb
        words = by_one(without_others(done_only(words))).split()
        somebody = bool(subject) or clause.partition(" ")[0] in PRONOUNS
        action = finite(words, said.verb, somebody) if words or not seconds else STILL
        text = " ".join(action[0]) if action else ""
        if action is None:
            alone = piece.opens and (following is None or following[0].opens)              # a sentence of its own: 'Tom was bored.'
            only_named = piece.opens and is_person(subject.split(" ")[-1]) and (not words or words[0].endswith("ed"))      # 'a woman, dressed in white, ...'
            log.log(logging.INFO if only_named or alone and is_state(words) else logging.WARNING, "prompt: no action found in '%s', which is left out", clause.replace(" ,", ","))
        elif actions and (not words or HELD.fullmatch(text)):                  # 'holds it for a second'
            who, before, lasted = actions[-1]
            actions[-1] = who, before, lasted + (seconds or VERBS["hold"][1])
        elif actions and AGAIN.match(text):
            actions += repeated(actions, text, seconds)
        else:
            said.verb = action[1]
            text = onward(said.put_into(text), actions)
            for side in (sides := on_each_side(text)):
                if seconds:
                    times.said.add(len(actions))
                actions.append((said.subject, side, seconds / len(sides) if seconds else default_seconds(said.verb, side)))
    return times.applied(actions)


def is_done(clause: str) -> bool:
    """Whether a clause is done at all: 'jumps 0 times', 'walks for 0 seconds' and 'nobody moves' are not."""
    why = "it is done no times" if NO_TIMES.search(clause) else "nobody does it" if NOBODY.match(clause) else ""
    why = why or ("no limb does it" if BY_NO_LIMB.search(clause) else "")
    if why:
        log.warning("prompt: '%s' is left out: %s", clause, why)
    return not why


def of_the_person(pieces: list[tuple[Piece, str, str]]) -> Iterator[tuple[Piece, str, str]]:
    """The pieces, with subject and predicate, that the person does: not a thing ('music plays'), nor another ('someone calls him, so he turns')."""
    known, thing, heads = any(is_person(word) for _, subject, _ in pieces for word in subject.split()[1:]), False, set()
    for (piece, subject, words), following in zip(pieces, [*pieces[1:], None]):
        first = (piece.text.split() or [""])[0]
        if first != "it" and (subject or piece.opens or first in PRONOUNS or first in POSSESSIVES):
            thing = subject not in heads and thing_acts(piece.text, known)
        by_another = following and SOMEBODY_TO_THEM.match(piece.text) and following[0].text.partition(" ")[0] in PRONOUNS
        if by_another or thing and piece.text:
            log.warning("prompt: '%s' is left out: %s", piece.text.replace(" ,", ","), "somebody else does it" if by_another else "only the person moves")
            continue
        known = known or bool(subject) or first in PRONOUNS
        heads.add(subject)
        yield piece, subject, words


def is_another(who: str, before: str) -> bool:
    """Whether a subject is somebody else than the one before: 'the person' after 'a woman' is the same, 'another man' is not."""
    words, earlier = who.split(), before.split()
    if {"another", "other", "second"} & set(words):
        return True
    return words[-1] != earlier[-1] and not {words[-1], earlier[-1]} & {"person", "someone", "somebody", "figure", "character"}


def named(subject: str) -> str:
    """The subject as one person."""
    who = one_person(subject)
    if who == "a person" and subject not in ("person", "a person"):
        log.warning("prompt: '%s': one person is animated, not several", subject)
    return who


def done_only(words: str) -> str:
    """'kicks without lowering the arms' -> 'kicks': a motion model would see lowered arms."""
    if match := NOT_DONE.search(words):
        log.warning("prompt: '%s' is left out: motions are described by what is done", match[0].strip(" ,"))
        return NOT_DONE.sub("", words)
    return words


def without_others(words: str) -> str:
    """'waves at a friend , who waves back' -> 'waves at a friend': what is said of somebody else, with a line where it is an action."""
    match = OF_SOMEONE_ELSE.search(words)
    if match and any(word in form for word in match[0].split() for form in (THIRD, BASE, GERUND)):
        log.warning("prompt: '%s' is left out: it says of somebody what he does", match[0].strip(" ,"))
    return OF_SOMEONE_ELSE.sub("", words)


def by_one(words: str) -> str:
    """'hug each other' -> 'hug', 'dance together' -> 'dance', where one person is left; 'puts the hands together' stays."""
    limbs = any(map(is_limb, words.split()))
    return TO_EACH_OTHER.sub("", words) if limbs else TOGETHER.sub("", TO_EACH_OTHER.sub("", words))


# ---------------------------------------------------------------- the verb in the third person

def finite(words: list[str], previous: str | None, somebody: bool) -> tuple[list[str], str] | None:
    """Predicate -> (words with the verb in the third person, its base form); None where nothing is done.

    One without a verb takes the previous one ('then backward'), or is an action's name ('then two squats').
    """
    predicate = predicate_of(words)
    adverbs = [adverb for adverb in predicate.adverbs if adverb != "both"]     # 'they both wave'
    verb, rest = predicate.verb, predicate.rest
    if predicate.negated:
        return STILL if verb == "move" else None
    if verb == "stop" and rest[:1] and rest[0] in GERUND:
        return STILL
    if verb == "look" and rest[:1] == ["like"]:
        return None
    if verb is not None and rest[:1] == ["and"] and rest[1:] and rest[1] in predicate.form:   # 'raise and lower it'
        rest = ["and", third_person(predicate.form[rest[1]]), *rest[2:]]
    if verb is not None and not is_name(words[len(words) - len(rest) - 1:]):
        return [*adverbs, third_person(verb), *rest], verb
    rest = rest if verb is None else words[len(words) - len(rest) - 1:]
    if not rest or rest[0] in STATES or rest[0] in SPEECH and len(rest) == 1:
        return None
    noun = None if rest[0] in (*SCENE_PREPOSITIONS, "after", "before") else action_noun(" ".join(rest))
    if noun is None or somebody or meant_verb(rest[0]) in THIRD:
        if verb := misspelt_verb(rest[0]):
            return [*adverbs, third_person(verb), *rest[1:]], verb
        if is_gerund(rest[0]) and (noun is None or words[0] in AUXILIARIES):
            return [*adverbs, "is", *rest], rest[0]                            # 'is juggling'
        if rest[0].endswith("s") and not rest[0].endswith("ss") and rest[0] not in (*NOT_VERBS, *NUMBERS):
            for near in get_close_matches(rest[0], THIRD, 1, NEAR_ENOUGH) if rest[0] not in SPEECH else ():          # 'says no'
                log.warning("prompt: '%s' is no verb of the planner's: did you mean '%s'?", rest[0], near)
            return [*adverbs, *rest], rest[0]                                  # a verb of no table: 'moonwalks'
    if noun is not None and not goes_with(previous, rest):
        verb = "throw" if any(is_one_of(word, PUNCHES) for word in rest) else "do"
        return [*adverbs, third_person(verb), *rest], verb
    if previous is None or words[0] in AUXILIARIES:
        return None
    if noun is None and not goes_on(rest[0]):
        log.warning("prompt: '%s' is read as '%s': no verb that the planner knows is in it", " ".join(words), " ".join([third_person(previous), *words]))
    return [third_person(previous) if previous in BASE else previous, *words], previous


def misspelt_verb(word: str) -> str | None:
    """The verb meant by a misspelt one, with a warning."""
    meant = meant_verb(word)
    if meant is None:
        return None
    log.warning("prompt: '%s' is read as '%s'", word, meant)
    return verb_form(meant)[meant]


@dataclass
class Mentioned:
    """What a later clause may leave out."""
    subject: str
    verb: str | None = None
    limb: str = ""                     # 'the right hand', moved by the action before
    side: str = ""
    part: str = ""
    counted: str = ""                  # 'squats' of 'two squats'

    def put_into(self, text: str) -> str:
        """'lowers it' -> 'lowers the right hand'; then remembers what this action mentions."""
        text = well_spelt(text)
        if self.counted:
            text = MORE.sub(rf"\1 {self.counted}", text)
        handled = self.verb in HANDLING_VERBS
        rest = text.partition(third_person(self.verb))[2].strip() if handled else ""
        if self.limb and re.match(r"(?:it|them)\b", rest):
            text, rest = re.sub(r"\b(?:it|them)(?:\s+both)?\b", self.limb, text, count=1), self.limb
        if self.limb and rest in ("up", "down", "out", "forward"):               # 'left arm up , then | down'
            text, rest = f"moves {self.limb} {rest}", self.limb
        text = WITH_IT.sub(f"with {self.limb}", text) if self.limb else text
        text = BOTH_ALONE.sub("both feet" if self.part == "foot" else f"both {self.part or 'arm'}s", text)
        if self.side:
            text = THE_SAME.sub(f"the {self.side}", THE_OTHER.sub(f"the {OPPOSITE[self.side]}", text))
        limb = LIMB.match(rest)
        names_more = any(word in DETERMINERS or word in POSSESSIVES for word in text.split())
        self.limb = limb[1] if limb else "" if names_more else self.limb           # 'raises her hand, waves and lowers it'
        self.side = ([self.side] + SIDE.findall(text))[-1]
        self.part = ([self.part] + re.findall(rf"\b({PART})\b", text))[-1]
        counted = find_count(text)
        self.counted = counted.words if counted else self.counted
        return text


def on_each_side(text: str) -> list[str]:
    """'kicks with each leg' -> 'kicks with the right leg', 'kicks with the left leg'; others once."""
    each = EACH_LIMB.search(text)
    if not each or "," in text[:each.start()]:                                 # 'ten high knees , five on each side'
        return [text]
    opens = re.search(r"\b(?:with|on|to|for|using|by|of|from|in)\s+$", text[:each.start()]) or find_count(text) is None
    on = "" if opens else "with "
    return [f"{text[:each.start()]}{on}the {side} {each['part']}{text[each.end():]}" for side in ("right", "left")]


def with_movers(pieces: list[Piece]) -> Iterator[Piece]:
    """The pieces with the limb that 'the left one' or 'with the left' means, and as what a person does: with_mover."""
    part = ""
    for piece in pieces:
        text = SIDE_ALONE.sub(rf"\g<0> {part}", ONE_OF_A_SIDE.sub(rf"\1 \2 {part}", piece.text)) if part else piece.text
        text = APPOSED.sub(lambda match: f"{match['whose'] or 'the'} {match['side']} {match['part']}", text)
        part = ([part] + re.findall(rf"\b({PART})s?\b", text))[-1]
        yield replace(piece, text=with_mover(text))


def by_somebody(clause: str) -> str:
    """'three squats are done by the man' -> 'the man does three squats'; others as they are."""
    if not IS_DONE.search(clause):
        return clause
    agent, alone = BY_SOMEBODY.search(clause), BY_SOMEBODY.sub("", clause)
    limb, passive = LIMB_IS_MOVED.fullmatch(alone), PASSIVE.fullmatch(alone)
    if limb:
        return f"{agent['who']} {with_mover(alone)}" if agent else clause
    base = passive and PARTICIPLES.get(passive["verb"])
    if not base or any(map(is_person, passive["what"].split())):
        return clause
    if agent or WITH_LIMB.search(passive["rest"]) or goes_with("do", passive["what"].split()):
        return f"{agent['who'] if agent else ''} {third_person(base)} {passive['what']}{passive['rest']}".strip()
    return clause


def with_mover(clause: str) -> str:
    """'her right arm goes up' -> 'moves her right arm up', 'the knees bend' -> 'bends the knees', 'hands on hips' -> 'puts the ...'."""
    if (active := by_somebody(clause)) != clause:
        return active
    if match := LIMB_GOES.fullmatch(clause):
        return f"moves {'' if match['limb'].startswith('both') else 'the '}{match['limb']} {match['way']}"
    if match := LIMB_PLACED.fullmatch(clause):
        if match["held"]:
            return f"stands with {clause}"
        both = "" if match["limb"].startswith("both") else "the "
        return f"{'stretches' if match['out'] else 'puts'} {both}{match['limb']} {match['out'] or match['place']}"
    match = LIMB_IS_MOVED.fullmatch(clause)
    if match and match["verb"] in ("up", "down", "out"):
        return f"moves {match['limb']} {match['verb']}{match['rest']}"
    base = match and (PAST.get(match["verb"]) or GERUND.get(match["verb"])
                      or (match["verb"] if past(match["verb"]) == BASE.get(match["verb"]) else None))          # 'are put'
    if not base:
        match = LIMB_MOVES.fullmatch(clause)
        base = match and base_form(match["verb"])
    if not base:
        return clause
    verb = {"go": "move", "come": "move", "rise": "raise"}.get(base, base)
    the = "the " if match["limb"].startswith(("left", "right")) else ""
    return f"{third_person(verb)} {the}{match['limb']}{match['rest']}"


def well_spelt(text: str) -> str:
    """'the right hnd' -> 'the right hand'."""
    for word in LIMB_OF_A_SIDE.findall(text):
        if word not in FUNCTION_WORDS and word.removesuffix("s") not in BODY_PARTS:
            near = get_close_matches(word, BODY_PARTS, 1, NEAR_ENOUGH)
            text = text.replace(word, near[0]) if near else text
    return text


def repeated(actions: list[Action], text: str, seconds: float | None) -> list[Action]:
    """'repeats twice': the last action; 'repeats all': all; 'repeats with the left': what was done on the right."""
    again = actions[-1:]
    side, old = re.search(r"\b(?:left|right|other)\b", text), (SIDE.findall(actions[-1][1]) or [""])[-1]
    if side and old and side[0] != old:
        first = next((i for i in range(len(actions), 0, -1) if old not in actions[i - 1][1]), 0)
        again = [(who, re.sub(rf"\b{old}\b", OPPOSITE[old], what), lasted) for who, what, lasted in actions[first:]]
    elif EVERYTHING.search(text):
        again = actions[:]
    counted = find_count(text)
    again = [(who, what, seconds / len(again) if seconds else lasted) for who, what, lasted in again]
    return again * (counted.number if counted else 1)


@dataclass
class Schedule:
    """When actions begin and end, where the prompt says so; indices are those of the actions."""
    starts: list[tuple[int, float, float | None]] = field(default_factory=list)      # first action, begin, end of all to the next
    said: set[int] = field(default_factory=set)                                      # actions whose length was said
    sentence: int = 0                                                                # the first action of this sentence

    def note(self, piece: Piece, actions: list[Action]) -> None:
        """Notes what a piece says, before its action joins the others."""
        self.sentence = len(actions) if piece.opens and piece.text else self.sentence
        if piece.begin is not None:
            self.starts.append((len(actions), piece.begin, piece.end))
        if piece.seconds and piece.seconds < SHORTEST_SECONDS:
            log.warning("prompt: '%s': %g s is made %g s, the shortest action", piece.written, piece.seconds, SHORTEST_SECONDS)
        for i in set(range(self.sentence, len(actions) if piece.each else 0)) - self.said:     # 'waves and jumps for 2 seconds each'
            who, what, _ = actions[i]
            counted = find_count(what)
            actions[i] = who, what, piece.seconds * (1 if piece.text or not counted else counted.number)
            self.said.add(i)

    def applied(self, actions: list[Action]) -> list[Action]:
        """The actions with these times; the person stands still until one that begins later."""
        made = actions[:self.starts[0][0]] if self.starts else actions
        since, free = 0, not set(range(len(made))) & self.said
        for (first, begin, end), (last, _, _) in zip(self.starts, [*self.starts[1:], (len(actions), 0, None)]):
            made = waiting(made, since, begin, free)
            group = actions[first:last]
            since, free = len(made), end is None and not set(range(first, last)) & self.said
            stretch = (end - begin) / sum(lasts for _, _, lasts in group) if end is not None and group else 1.0
            made += [(who, what, lasts * stretch) for who, what, lasts in group]
        return made


def waiting(actions: list[Action], since: int, begin: float, free: bool) -> list[Action]:
    """The actions until the time `begin`: then the person stands still, or those from `since` on are shortened where `free`."""
    lasted = sum(lasts for _, _, lasts in actions)
    gap = begin - lasted
    if gap >= SHORTEST_SECONDS:
        return [*actions, (actions[-1][0] if actions else "a person", " ".join(STILL[0]), gap)]
    if not actions or abs(gap) < 0.01:
        return actions
    own = sum(lasts for _, _, lasts in actions[since:])
    stretch = (own + gap) / own if own else 0.0
    if gap < 0 and not (free and stretch > 0 and (own + gap) / len(actions[since:]) >= SHORTEST_SECONDS):
        raise ValueError(f"prompt: an action begins at {begin:g} s, and those before it last {lasted:g} s: say a later time, or shorten them")
    return actions[:since] + [(who, what, lasts * stretch) for who, what, lasts in actions[since:]]


def half_turns(text: str) -> tuple[str, int]:
    """'turns 360 degrees clockwise , 2 times' -> ('turns around to the right', 4): whole turns are made of half ones, which end where
    they are to. Other texts once.
    """
    turn = TURNS.match(text)
    if turn is None:
        return text, 1
    text = CLOCKWISE.sub(lambda found: f"to the {'left' if found[1] else 'right'}", text)
    degrees, often, sides = DEGREES.search(text), find_count(text), SIDE.findall(text)
    halves = int(degrees[1]) / 180 if degrees else next((halves for words, halves in HALF_TURNS if words.search(text)), None)
    number = (1 if halves is None else halves) * (often.number if often else 1)
    if number < 2 or number % 1 or turn["spins"] and not degrees:
        return text, 1
    if halves is None and sides:                                               # 'turns left twice'
        return f"{text[:often.start]}{text[often.end:]}".strip(" ,"), int(number)
    manner = [word for word in text.split() if word.endswith("ly") and word not in ("fully", "completely")]
    return " ".join([*manner, "turns around to the", sides[0] if sides else "right"]), int(number)


def onward(text: str, before: list[Action]) -> str:
    """'walks back' and 'walks away' after a turn -> 'walks forward': whoever has turned goes on face first."""
    back, away = GOES_BACK.match(text), GOES_AWAY.match(text)
    goes = back or away
    for _, what, _ in reversed(before if goes else []):
        if TURNS.match(what) and half_turns(what)[1] % 2:
            return f"{goes['manner']}{goes['gait'] or 'walks'} forward{text[goes.end():]}"
        if back and GOES.match(what):
            return text
    return text


def default_seconds(verb: str, text: str) -> float:
    """Seconds of an action whose duration is not said: a table's length, times the count."""
    lengths, halves = VERBS.get(verb), half_turns(text)[1]
    if halves > 1:
        return 0.6 + VERBS["turn"][1] * halves
    counted = find_count(text)
    if counted and not counted.is_of_times:                                                 # 'throws three punches'
        lengths = action_noun(counted.words) or lengths
    elif verb in LIGHT_VERBS:                                                               # 'does squats'
        lengths = action_noun(text.partition(third_person(verb))[2])
    once, each = lengths or UNKNOWN_SECONDS
    return max(once, 0.6 + each * counted.number) if counted else once


def shorten(text: str, seconds: float, max_seconds: float) -> list[tuple[str, float]]:
    """Cuts an action longer than `max_seconds` into equal parts; its repetitions are shared out among them."""
    seconds = max(seconds, SHORTEST_SECONDS)
    counted = find_count(text)
    count = counted.number if counted else 0
    most = math.floor(max_seconds / seconds * count + 1e-6)                                 # repetitions that fit
    if most == 0 or most >= count:
        parts = math.ceil(round(seconds / max_seconds, 6))
        return [(text, round(seconds / parts, 2))] * parts
    parts = math.ceil(count / most)
    counts = [count // parts + (i < count % parts) for i in range(parts)]
    return [(with_count(text, n), min(round(seconds * n / count, 2), max_seconds)) for n in counts]


def with_count(text: str, count: int) -> str:
    """'jumps ten times' -> 'jumps five times'."""
    old = find_count(text)
    counted = old.words if count > 1 else old.words.removesuffix("s")
    return f"{text[:old.start]}{NUMBER_WORDS.get(count, count)} {counted}{text[old.end:]}"
