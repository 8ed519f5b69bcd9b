"""What words say beyond an action's one movement: another verb, a number that counts nothing, the other side, or no action.

An action is drawn as one movement with one count to one side, so that such words would be lost without a line.
"""
from __future__ import annotations

import logging
import re

from planning.lexicon import (ADVERBS, BASE, BEHIND_VERB, DETERMINERS, FUNCTION_WORDS, LIGHT_VERBS, NOT_VERBS, NUMBERS, OPPOSITE,
                              POSSESSIVES, PREPOSITIONS, PRONOUNS, SPEECH, STATES, TAKES_NOTHING, THINGS, THIRD, TIMES, WAYS, WAYS_BEHIND)
from planning.patterns import BOTH_SIDES, DANGLING, DIRECTION, LOOSE_NUMBER, OTHER_LIMB, SUBORDINATED, UNIT
from planning.words import action_noun, find_count, is_gerund, is_limb, is_one_of, makes_noun, predicate_of, verb_form

log = logging.getLogger(__name__)


def without_unread(text: str) -> str:
    """'claps twice 3 times' -> 'claps twice': an action without further numbers, with a line for them, or else for another verb or side in it."""
    main = SUBORDINATED.split(text)[0]
    rest, words = text[len(main):], main.split()
    further = [" ".join(words[i:]) for i in further_verbs(words)[:1]]
    numbers = [] if further else loose_numbers(main)
    for each in further or numbers or other_sides(main):
        log.warning("prompt: '%s' %s: '%s' is one action, with one movement, count and side: write each by itself, with 'then' between",
                    each.replace(" ,", ",").strip(" ,"), "is left out" if numbers else "may not be seen", text.replace(" ,", ","))
    for number in numbers:
        before, _, behind = main.rpartition(number)
        main = DANGLING.sub("", before) + behind
    return main + rest


def further_verbs(words: list[str]) -> list[int]:
    """Where other actions begin in a predicate: at 2 in 'walks forward | stops', at 3 in 'raises both arms | lowers them'."""
    predicate = predicate_of(words)
    start = len(words) - len(predicate.rest)
    if predicate.verb is None or predicate.form not in (THIRD, BASE):
        return []
    return [i for i in range(start, len(words)) if may_act(words[i], "".join(words[i + 1:i + 2])) and is_over(words, start, i, predicate.verb)]


def may_act(word: str, behind: str) -> bool:
    """Whether a word may be a verb with a person as its subject, or is somebody before a verb: 'stops', 'he | stops'."""
    if word in PRONOUNS:
        return word != "it" and verb_form(behind) is not None
    finite = (word in THIRD or word in BASE) and not is_one_of(word, THINGS)
    return finite and word not in (*NOT_VERBS, *WAYS, *WAYS_BEHIND, "slow") and not is_limb(word)


def is_over(words: list[str], start: int, i: int, verb: str) -> bool:
    """Whether the phrase before word i is complete, so that a verb there is done, not named: not in 'does left | kicks'."""
    before, earlier, first, behind = words[i - 1], words[max(i - 2, 0)], words[max(i - 3, 0)], words[i + 1:i + 2]
    if verb in (*LIGHT_VERBS, *["throw"] * (before in OPPOSITE)) and not action_noun(" ".join(words[start:i])):
        return False
    if behind in (["by"], ["after"]) and words[i + 2:i + 3] == [words[i]]:     # 'step by step'
        return False
    if i == start:
        return before not in SPEECH and (words[i] not in THIRD or verb in TAKES_NOTHING)       # not 'draws | circles'
    if before in OPPOSITE:
        return first == "to" or earlier not in DETERMINERS and earlier not in POSSESSIVES      # not 'a left | hook'
    if is_limb(before) or is_one_of(before, THINGS):
        named = words[i] in THIRD and behind[:1] not in [[word] for word in BEHIND_VERB] and first in ("with", "of")
        sided = earlier == "both" or earlier in OPPOSITE and not named         # not 'with left leg | lunges'
        return sided or i == start + 1 and (words[i] not in THIRD or before.endswith("s")) or earlier in POSSESSIVES or earlier in NUMBERS or earlier in DETERMINERS and earlier not in ("a", "an")
    if "".join(behind[:1]) in BEHIND_VERB and before not in ("to", "and", "or", "no") and not makes_noun(before) and before not in POSSESSIVES:
        return True                                                            # 'a deep squat hold | stand up'
    over = before in (",", *WAYS_BEHIND) or (earlier, before) == ("and", "to") or re.fullmatch("[a-z]{3,}ly", before)
    return bool(over or re.fullmatch(UNIT, before) and first not in DETERMINERS)               # not 'with a 2 second | rest'


def loose_numbers(text: str) -> list[str]:
    """Numbers that say how often or how long, behind the one that was read: 'three times' in 'twice left , three times right'."""
    count = find_count(text)
    return [match[0] for match in LOOSE_NUMBER.finditer(text) if not count or match.start() >= count.end or match.end() <= count.start]


def other_sides(text: str) -> list[str]:
    """The side beyond the first in 'punches left right', 'raises the left arm and right leg'; none in 'looks left and right', 'points left with the right hand'."""
    sides = DIRECTION.findall(BOTH_SIDES.sub("", text))
    return [side for side in sides if side != sides[0]][:1] or [match["other"] for match in OTHER_LIMB.finditer(text)]


def goes_on(word: str) -> bool:
    """Whether a word may open what goes on with the verb before: 'then | backward', 'then | to the left', 'then | faster'."""
    known = (*FUNCTION_WORDS, *WAYS, *PREPOSITIONS, *ADVERBS, *DETERMINERS, *NUMBERS, *POSSESSIVES, *TIMES, *WAYS_BEHIND)
    return word in known or is_limb(word) or word.isdigit() or word.endswith(("ly", "er", "wards"))


def is_state(words: list[str]) -> bool:
    """Whether a predicate only says what somebody is, has or sees, so that no action can be lost: 'was bored', 'hears a song'."""
    said = words[:1] and words[0] in (*STATES, "was", "are", "were", "had")
    return bool(said) and not any(verb_form(word) or is_gerund(word) or word in ("not", "never") for word in words[1:])
