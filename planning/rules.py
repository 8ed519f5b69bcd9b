"""The offline planner: order words, sentences, counts, durations, and what is carried along: subject, verb, sides.

"A person waves with the right hand, then does two squats and jumps." becomes three actions of "a person".
Two verbs joined by "while" stay one action; joined by "and" or a comma they are played one after the other.
"""

import logging
import re

from planning.clauses import clauses
from planning.counts import default_seconds, shorten, take_duration
from planning.grammar import is_gerund, one_person, predicate_of, split_subject, verb_form
from planning.lexicon import (AUXILIARIES, BASE, FOREIGN_WORDS, FUNCTION_WORDS, GERUND, NOT_VERBS, NUMBERS, PRONOUNS,
                              SCENE_PREPOSITIONS, SPEECH, STATES, THIRD, VERBS, third_person)
from planning.nouns import action_noun, goes_with, is_name
from planning.patterns import AGAIN, HELD, NOT_DONE, OF_SOMEONE_ELSE, ONLY_COUNT
from planning.references import Action, Mentioned, repeated, with_mover

log = logging.getLogger(__name__)

STILL = (["stands", "still"], "stand")


def split_actions(prompt: str, max_seconds: float) -> list[tuple[str, float]]:
    """English prompt -> [(one action in the third person, seconds)], none longer than `max_seconds`."""
    require_english(prompt)
    pieces = [(opens, *take_duration(text)) for opens, text in clauses(prompt)]
    pieces = [(opens, text, seconds, *split_subject(with_mover(text))) for opens, text, seconds in pieces]
    said = Mentioned(next((one_person(subject) for _, _, _, subject, _ in pieces if subject), "a person"))
    actions: list[Action] = []
    for opens, clause, seconds, subject, words in pieces:
        said.subject = named(subject) or said.subject
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
    return [(f"{who} {part}".replace(" ,", ","), lasts)
            for who, text, seconds in actions for part, lasts in shorten(text, seconds, max_seconds)]


def require_english(prompt: str) -> None:
    """Raises ValueError when the prompt is not English, the only language the rules read."""
    words = re.findall(r"[^\W\d_]+", prompt.lower())
    foreign = sum(word in FOREIGN_WORDS for word in words)
    known = sum(word in FUNCTION_WORDS or verb_form(word) is not None for word in words)
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
    adverbs, verb, rest = predicate.adverbs, predicate.verb, predicate.rest
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
            return [*adverbs, *rest], rest[0]                                  # a verb of no table: 'moonwalks'
    if noun is not None and not goes_with(previous, rest):
        return [*adverbs, "does", *rest], "do"
    if previous is None:
        return None
    return [third_person(previous) if previous in BASE else previous, *words], previous


def misspelt_verb(word: str) -> str | None:
    """'jumpes', 'wavs', 'clapps', 'kiks', 'wlaks' -> the verb, with a warning: spelt by ear, or two letters swapped."""
    meant = next((form for form in (*THIRD, *GERUND, *BASE)
                  if squeezed(form) == squeezed(word) or is_swapped(form, word)), None)
    if meant is None or len(word) < 4 or word in NOT_VERBS:
        return None
    log.warning("prompt: '%s' is read as '%s'", word, meant)
    return verb_form(meant)[meant]


def squeezed(word: str) -> str:
    return re.sub(r"(.)\1", r"\1", word.replace("e", "").replace("z", "s").replace("ck", "k"))


def is_swapped(one: str, other: str) -> bool:
    """Whether two neighbouring letters changed places: 'walks' and 'wlaks'."""
    swapped = (f"{other[:i]}{other[i + 1]}{other[i]}{other[i + 2:]}" for i in range(len(other) - 1))
    return one != other and one in swapped
