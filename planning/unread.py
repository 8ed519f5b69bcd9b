"""What an action's words say beyond its one movement: another verb, a number that counts nothing, the other side.

An action is drawn as one movement with one count to one side, so that such words would be lost without a line.
"""
from __future__ import annotations

import logging
import re

from planning.lexicon import BASE, DETERMINERS, LIGHT_VERBS, NOT_VERBS, NUMBERS, OPPOSITE, POSSESSIVES, SPEECH, TAKES_NOTHING, THINGS, THIRD, WAYS_BEHIND
from planning.patterns import BOTH_SIDES, DIRECTION, LOOSE_NUMBER, SUBORDINATED
from planning.words import action_noun, find_count, is_limb, is_one_of, predicate_of

log = logging.getLogger(__name__)


def tell_unread(text: str) -> None:
    """Warns of the words of an action, 'walks forward stops', that are no part of its movement, count or side."""
    main = SUBORDINATED.split(text)[0]
    words = main.split()
    found = [" ".join(words[i:]) for i in further_verbs(words)[:1]] or loose_numbers(main) or other_sides(main)
    for each in found:
        log.warning("prompt: '%s' is left out: '%s' is one action, with one movement, count and side: write each by itself, with 'then' between",
                    each.replace(" ,", ",").strip(" ,"), text.replace(" ,", ","))


def further_verbs(words: list[str]) -> list[int]:
    """Where other actions begin in a predicate: at 2 in 'walks forward | stops', at 3 in 'raises both arms | lowers them'."""
    predicate = predicate_of(words)
    start = len(words) - len(predicate.rest)
    if predicate.verb is None or predicate.form not in (THIRD, BASE):
        return []
    return [i for i in range(start, len(words)) if (words[i] in THIRD or words[i] in BASE) and words[i] not in (*NOT_VERBS, *WAYS_BEHIND)
            and not is_limb(words[i]) and is_over(words, start, i, predicate.verb)]


def is_over(words: list[str], start: int, i: int, verb: str) -> bool:
    """Whether the phrase before word i is complete, so that a verb there is done, not named: not in 'does left | kicks'."""
    before, earlier, first = words[i - 1], words[max(i - 2, 0)], words[max(i - 3, 0)]
    if verb in (*LIGHT_VERBS, "throw", "repeat") and not action_noun(" ".join(words[start:i])):
        return False
    if words[i + 1:i + 2] in (["by"], ["after"]) and words[i + 2:i + 3] == [words[i]]:         # 'step by step'
        return False
    if i == start:
        return before not in SPEECH and (words[i] in BASE or verb in TAKES_NOTHING)            # not 'draws | circles'
    if before in OPPOSITE:
        return first == "to" or earlier not in DETERMINERS and earlier not in POSSESSIVES      # not 'a left | hook'
    if is_limb(before) or is_one_of(before, THINGS):
        sided = earlier == "both" or earlier in OPPOSITE and first not in ("with", "of")         # not 'with left leg | lunges'
        return sided or earlier in POSSESSIVES or earlier in NUMBERS or earlier in DETERMINERS and earlier not in ("a", "an")
    return before in (",", *WAYS_BEHIND) or (earlier, before) == ("and", "to") or re.fullmatch("[a-z]{3,}ly", before) is not None


def loose_numbers(text: str) -> list[str]:
    """Numbers that say how often or how long, behind the one that was read: 'three times' in 'twice left , three times right'."""
    count = find_count(text)
    return [match[0] for match in LOOSE_NUMBER.finditer(text) if not count or match.start() >= count.end or match.end() <= count.start]


def other_sides(text: str) -> list[str]:
    """The side beyond the first in 'punches left right'; none in 'looks left and right', 'points left with the right hand'."""
    sides = DIRECTION.findall(BOTH_SIDES.sub("", text))
    return [side for side in sides if side != sides[0]][:1]
