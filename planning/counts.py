"""How often and how long: the counts and durations in a clause, and lengths for actions that have none."""

import math
import re

from planning.lexicon import (LIGHT_VERBS, NOUNS, NUMBER_WORDS, NUMBERS, SHORTEST_SECONDS, TIMES, UNKNOWN_SECONDS,
                              VERBS, third_person)
from planning.nouns import action_noun, singulars
from planning.patterns import BARE_DURATION, COUNT, DURATION


def take_duration(clause: str) -> tuple[str, float | None]:
    """'jumps twice for 3 s' -> ('jumps twice', 3.0)."""
    match = DURATION.search(clause) or BARE_DURATION.search(clause)
    if match is None:
        return clause.strip(" ,"), None
    low, high = (NUMBERS.get(word) or float(word) if word else None for word in (match["low"], match["high"]))
    amount = (low + (high or low)) / 2 if low else 1.0                          # '4-5 seconds' are 4.5
    amount = amount * (0.5 if match["half"] else 1.0) + (0.5 if match["and_half"] else 0.0)
    seconds = amount * (60.0 if match["unit"].startswith("m") else 1.0)
    return (clause[:match.start()] + clause[match.end():]).strip(" ,"), seconds


def find_count(text: str) -> tuple[int, int, int, str] | None:
    """(count, start, end, counted words) of how often the action is done; 'two squats' is counted, 'two hands' not."""
    for match in COUNT.finditer(text):
        if match["times"]:
            return TIMES[match["times"]], match.start(), match.end(), "times"
        words = match["words"].split()
        number = NUMBERS.get(match["number"]) or int(float(match["number"]))
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
