"""The offline planner: clauses and their words become timed actions; what a clause leaves out is carried along.

"A person waves with the right hand, then does two squats and jumps." becomes three actions of "a person".
Two verbs joined by "while" stay one action; joined by "and" or a comma they are played one after the other.
"""
import logging
import math
import re
from dataclasses import dataclass
from difflib import get_close_matches

from planning.clauses import check_total, clauses
from planning.lexicon import (AGAIN, AUXILIARIES, BARE_DURATION, BASE, BODY_PARTS, BOTH_ALONE, COUNT, DURATION, EVERYTHING,
                              FOREIGN_WORDS, FUNCTION_WORDS, GERUND, HANDLING_VERBS, HELD, LIGHT_VERBS, LIMB,
                              LIMB_GOES, LIMB_MOVES, LIMB_OF_A_SIDE, MORE, NEGATIVE_COUNT, NO_TIMES, NOBODY, NOT_DONE, NOT_VERBS, NOUNS, NUMBER_WORDS, NUMBERS,
                              OF_SOMEONE_ELSE, ONLY_COUNT, OPPOSITE, PART, PRONOUNS, SCENE_PREPOSITIONS,
                              SHORTEST_SECONDS, SIDE, SIDE_ALONE, SPEECH, STATES, THE_OTHER, THIRD, third_person,
                              TIMES, UNKNOWN_SECONDS, VERBS)
from planning.words import (action_noun, amount, goes_with, is_gerund, is_name, meant_verb, one_person, predicate_of,
                            singulars, split_subject, verb_form)

log = logging.getLogger(__name__)

STILL = (["stands", "still"], "stand")
NEAR_ENOUGH = 0.8                      # likeness of a misspelt body part
Action = tuple[str, str, float]        # subject, what it does, seconds


def split_actions(prompt: str, max_seconds: float) -> list[tuple[str, float]]:
    """English prompt -> [(one action in the third person, seconds)], none longer than `max_seconds`."""
    require_english(prompt)
    if negative := NEGATIVE_COUNT.search(prompt):
        raise ValueError(f"prompt: '{negative[0]}': expected a number above 0: say how often or how long")
    pieces = [(opens, *take_duration(text)) for opens, text in clauses(prompt) if is_done(text)]
    pieces = [(opens, text, seconds, *split_subject(with_mover(text))) for opens, text, seconds in pieces]
    said = Mentioned(next((one_person(subject) for _, _, _, subject, _ in pieces if subject), "a person"))
    actions: list[Action] = []
    for opens, clause, seconds, subject, words in pieces:
        who = named(subject) or said.subject
        if is_another(who, said.subject):
            log.warning("prompt: '%s': one person is animated, who does this as well", subject)
        said.subject = who
        said.verb = None if opens else said.verb
        words = OF_SOMEONE_ELSE.sub("", done_only(words)).split()
        somebody = bool(subject) or clause.partition(" ")[0] in PRONOUNS
        action = finite(words, said.verb, somebody) if words or not seconds else STILL
        text = " ".join(action[0]) if action else ""
        if actions and ONLY_COUNT.fullmatch(clause):                           # 'Squat. Ten times.'
            who, before, _ = actions[-1]
            actions[-1] = who, f"{before} {clause}", default_seconds(said.verb, f"{before} {clause}")
        elif action is None:
            log.warning("prompt: no action found in '%s', which is left out", clause.replace(" ,", ","))
        elif actions and (not words or HELD.fullmatch(text)):                  # 'holds it for a second'
            who, before, lasted = actions[-1]
            actions[-1] = who, before, lasted + (seconds or VERBS["hold"][1])
        elif actions and AGAIN.match(text):
            actions += repeated(actions, text, seconds)
        else:
            said.verb = action[1]
            text = said.put_into(text)
            actions.append((said.subject, text, seconds or default_seconds(said.verb, text)))
    if not actions:
        raise ValueError(f"prompt: no action found in {shown(prompt)}: "
                         "say what the person does, as in 'A person waves.'")
    check_total(sum(seconds for _, _, seconds in actions))
    return [(f"{who} {part}".replace(" ,", ","), lasts)
            for who, text, seconds in actions for part, lasts in shorten(text, seconds, max_seconds)]


def is_done(clause: str) -> bool:
    """Whether a clause is done at all: 'jumps 0 times', 'walks for 0 seconds' and 'nobody moves' are not."""
    why = "it is done no times" if NO_TIMES.search(clause) else "nobody does it" if NOBODY.match(clause) else ""
    if why:
        log.warning("prompt: '%s' is left out: %s", clause, why)
    return not why


def is_another(who: str, before: str) -> bool:
    """Whether a subject is somebody else than the one before: 'the person' after 'a woman' is the same, 'another man' is not."""
    words, earlier = who.split(), before.split()
    if {"another", "other", "second"} & set(words):
        return True
    return words[-1] != earlier[-1] and not {words[-1], earlier[-1]} & {"person", "someone", "somebody", "figure", "character"}


def require_english(prompt: str) -> None:
    """Raises ValueError when the prompt is not English, the only language the rules read."""
    words = re.findall(r"[^\W\d_]+", prompt.lower())
    foreign = sum(word in FOREIGN_WORDS for word in words)
    known = sum(word in FUNCTION_WORDS or verb_form(word) is not None or meant_verb(word) is not None
                or any(name in NOUNS for name in singulars(word)) for word in words)
    latin = sum(word.isascii() for word in words)
    if not words or known == 0 or foreign >= max(known, 1) or latin < len(words) / 2:
        raise ValueError(f"prompt: no English understood in {shown(prompt)}: the offline planner reads English only; "
                         "write it in English, or set planner.backend=openai (or local) to use a language model")


def shown(prompt: str) -> str:
    """The prompt's first words in quotes, for an error message."""
    line = " ".join(prompt.split())
    return f"'{line[:57]}...'" if len(line) > 60 else f"'{line}'"


def named(subject: str) -> str:
    """The subject as one person; empty when the clause names nobody."""
    if subject and one_person(subject) == "a person" and subject not in ("person", "a person"):
        log.warning("prompt: '%s': one person is animated, not several", subject)
    return one_person(subject) if subject else ""


def done_only(words: str) -> str:
    """'kicks without lowering the arms' -> 'kicks': a motion model would see lowered arms."""
    if match := NOT_DONE.search(words):
        log.warning("prompt: '%s' is left out: motions are described by what is done", match[0].strip(" ,"))
        return NOT_DONE.sub("", words)
    return words


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
    noun = None if rest[0] in SCENE_PREPOSITIONS else action_noun(" ".join(rest))
    if noun is None or somebody:
        if verb := misspelt_verb(rest[0]):
            return [*adverbs, third_person(verb), *rest[1:]], verb
        if is_gerund(rest[0]) and (noun is None or words[0] in AUXILIARIES):
            return [*adverbs, "is", *rest], rest[0]                            # 'is juggling'
        if rest[0].endswith("s") and not rest[0].endswith("ss") and rest[0] not in (*NOT_VERBS, *NUMBERS):
            for near in get_close_matches(rest[0], THIRD, 1, NEAR_ENOUGH):
                log.warning("prompt: '%s' is no verb of the planner's: did you mean '%s'?", rest[0], near)
            return [*adverbs, *rest], rest[0]                                  # a verb of no table: 'moonwalks'
    if noun is not None and not goes_with(previous, rest):
        return [*adverbs, "does", *rest], "do"
    if previous is None:
        return None
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
        text = BOTH_ALONE.sub("both feet" if self.part == "foot" else f"both {self.part or 'arm'}s", text)
        if self.side:
            text = THE_OTHER.sub(f"the {OPPOSITE[self.side]}", text)
        if self.part:
            text = SIDE_ALONE.sub(rf"\g<0> {self.part}", text)
        limb = LIMB.match(rest)
        self.limb = limb[1] if limb else ""
        self.side = ([self.side] + SIDE.findall(text))[-1]
        self.part = ([self.part] + re.findall(rf"\b({PART})\b", text))[-1]
        counted = find_count(text)
        self.counted = counted[3] if counted else self.counted
        return text


def with_mover(clause: str) -> str:
    """'her right arm goes up' -> 'moves her right arm up', 'the knees bend' -> 'bends the knees'."""
    if match := LIMB_GOES.fullmatch(clause):
        return f"moves {'' if match['limb'].startswith('both') else 'the '}{match['limb']} {match['way']}"
    match = LIMB_MOVES.fullmatch(clause)
    form = match and verb_form(match["verb"])
    if not form:
        return clause
    verb = {"go": "move", "come": "move", "rise": "raise"}.get(form[match["verb"]], form[match["verb"]])
    return f"{third_person(verb)} {match['limb']}{match['rest']}"


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
    return again * (counted[0] if counted else 1)


def take_duration(clause: str) -> tuple[str, float | None]:
    """'jumps twice for 3 s' -> ('jumps twice', 3.0)."""
    match = DURATION.search(clause) or BARE_DURATION.search(clause)
    if match is None:
        return clause.strip(" ,"), None
    low, high = (amount(word) if word else None for word in (match["low"], match["high"]))
    many = (low + (high or low)) / 2 if low else 1.0                            # '4-5 seconds' are 4.5
    many = many * (0.5 if match["half"] else 1.0) + (0.5 if match["and_half"] else 0.0)
    seconds = many * {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}.get(match["unit"][0], 1.0)
    return (clause[:match.start()] + clause[match.end():]).strip(" ,"), seconds


def find_count(text: str) -> tuple[int, int, int, str] | None:
    """(count, start, end, counted words) of how often the action is done; 'two squats' is counted, 'two hands' not."""
    for match in COUNT.finditer(text):
        if match["times"]:
            return TIMES[match["times"]], match.start(), match.end(), "times"
        words = match["words"].split()
        number = int(amount(match["number"]))
        for n in range(1, len(words) + 1):
            plural = words[n - 1]
            names = {name for counted in (plural, " ".join(words[max(n - 2, 0):n])) for name in singulars(counted)}
            if number and (plural.endswith("s") or number == 1) and names & (NOUNS.keys() | VERBS.keys()):
                end = match.start("words") + re.match(r"(?:\s+[a-z-]+){%d}" % n, match["words"]).end()
                return number, match.start(), end, " ".join(words[:n])
    return None


def default_seconds(verb: str, text: str) -> float:
    """Seconds of an action whose duration is not said: a table's length, times the count."""
    lengths = VERBS.get(verb)
    counted = find_count(text)
    if counted and counted[3] != "times" and not counted[3].endswith(" times"):             # 'throws three punches'
        lengths = action_noun(counted[3]) or lengths
    elif verb in LIGHT_VERBS:                                                               # 'does squats'
        lengths = action_noun(text.partition(third_person(verb))[2])
    once, each = lengths or UNKNOWN_SECONDS
    return max(once, 0.6 + each * counted[0]) if counted else once


def shorten(text: str, seconds: float, max_seconds: float) -> list[tuple[str, float]]:
    """Cuts an action longer than `max_seconds` into equal parts; its repetitions are shared out among them."""
    seconds = max(seconds, SHORTEST_SECONDS)
    counted = find_count(text)
    count = counted[0] if counted else 0
    most = math.floor(max_seconds / seconds * count + 1e-6)                                 # repetitions that fit
    if most == 0 or most >= count:
        parts = math.ceil(round(seconds / max_seconds, 6))
        return [(text, round(seconds / parts, 2))] * parts
    parts = math.ceil(count / most)
    counts = [count // parts + (i < count % parts) for i in range(parts)]
    return [(with_count(text, n), min(round(seconds * n / count, 2), max_seconds)) for n in counts]


def with_count(text: str, count: int) -> str:
    """'jumps ten times' -> 'jumps five times'."""
    _, start, end, counted = find_count(text)
    counted = counted if count > 1 else counted.removesuffix("s")
    return f"{text[:start]}{NUMBER_WORDS.get(count, count)} {counted}{text[end:]}"
