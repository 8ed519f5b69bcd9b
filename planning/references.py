"""What a clause takes from those before it: 'lowers it', 'the other leg', 'then with the left', 'repeats twice'."""

import re
from dataclasses import dataclass
from difflib import get_close_matches

from planning.counts import find_count
from planning.grammar import verb_form
from planning.lexicon import BODY_PARTS, FUNCTION_WORDS, HANDLING_VERBS, OPPOSITE, third_person
from planning.patterns import EVERYTHING, LIMB, LIMB_MOVES, LIMB_OF_A_SIDE, MORE, PART, SIDE, SIDE_ALONE, THE_OTHER

NEAR_ENOUGH = 0.8                      # likeness of a misspelt body part
Action = tuple[str, str, float]        # subject, what it does, seconds


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
            text, rest = re.sub(r"\b(?:it|them)\b", self.limb, text, count=1), self.limb
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
