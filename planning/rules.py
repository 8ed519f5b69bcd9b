"""Prompt -> timed actions without any model: order words, sentences, counts, durations, and a subject carried along.

"A person waves with the right hand, then does two squats and jumps." becomes three actions of "a person".
Two verbs joined by "while" stay one action; joined by "and" or a comma they are played one after the other.
"""

import logging
import math
import re

from planning.lexicon import (ADVERBS, AUXILIARIES, BASE, DETERMINERS, FOREIGN_WORDS, FUNCTION_WORDS, GERUND, LIGHT_VERBS, MANY_PEOPLE,
                              NOT_VERBS, NOUNS, NUMBERS, NUMBER_WORDS, OPENING_WORDS, ORDER_WORDS, PEOPLE, PRONOUNS, SCENE_PREPOSITIONS,
                              SHORTEST_SECONDS, THIRD, TIMES, UNKNOWN_SECONDS, VERBS, third_person)

log = logging.getLogger(__name__)

NUMBER = r"\d+(?:\.\d+)?|" + "|".join(sorted(NUMBERS, key=len, reverse=True))
DURATION = re.compile(rf"\s*,?\s*\b(?:for|during|lasting)\s+(?:about\s+|around\s+|at\s+least\s+)?(?:(half)\s+)?(?:an?\s+(?=(?:few|couple|dozen|second|minute|sec)\b))?"
                      rf"({NUMBER})?(?:\s+of)?\s*(?:more\s+)?(seconds?|secs?|s|minutes?|mins?)\b")
COUNT = re.compile(rf"\b(?:(?P<times>once|twice|thrice)|(?:an?\s+)?(?P<number>{NUMBER})(?:\s+of)?(?P<words>(?:\s+[a-z-]+){{1,4}}))\b")
YOURS = re.compile(r"\b(?:your|my|our)\b")
CLAUSE_BREAK = re.compile(r"\s*,\s*(?:and\s+|but\s+)?|\s+and\s+")
BEFORE_AFTER = re.compile(r"^(?P<first>.*?)[\s,]+(?P<word>before|after)\s+(?P<second>.+)$")
LEADING_BEFORE_AFTER = re.compile(r"^(?P<word>before|after)\s+(?P<inner>[^,]+),\s*(?P<outer>.+)$")


def split_actions(prompt: str, max_seconds: float) -> list[tuple[str, float]]:
    """English prompt -> [(one action in the third person, seconds)], none longer than `max_seconds`."""
    require_english(prompt)
    opens_sentence = [opens for opens, _ in clauses(prompt)]
    pieces = [take_duration_and_count(text) for _, text in clauses(prompt)]
    subjects = [split_subject(text) for text, _, _ in pieces]
    subject = next((named for named, _ in subjects if named), "a person")      # also of what comes before: 'after waving, the man jumps'
    verb, actions = None, []
    for opens, (clause, seconds, count), (named, predicate) in zip(opens_sentence, pieces, subjects):
        subject = named or subject
        words, base = finite(predicate.split(), None if opens else verb)
        if base is None:
            log.warning("prompt: no action found in '%s', which is left out", clause.strip())
            continue
        verb = base
        text = " ".join([subject, *words])
        actions += shorten(text, seconds or default_seconds(base, text, count), count, max_seconds)
    if not actions:
        raise ValueError(f"prompt: no action found in {shown(prompt)}: say what the person does, as in 'A person waves.'")
    return actions


def require_english(prompt: str) -> None:
    """Raises ValueError when the prompt is not English, the only language the rules read."""
    words = re.findall(r"[^\W\d_]+", prompt.lower())
    foreign = sum(word in FOREIGN_WORDS for word in words)
    known = sum(word in FUNCTION_WORDS or any(word in forms for forms in (BASE, THIRD, GERUND)) for word in words)
    latin = sum(word.isascii() for word in words)
    if not words or known == 0 or foreign >= max(known, 1) or latin < len(words) / 2:
        raise ValueError(f"prompt: no English understood in {shown(prompt)}: the offline planner reads English only; "
                         "write it in English, or set planner.backend=openai (or local) to use a language model")


def shown(prompt: str) -> str:
    """The prompt's first words in quotes, for an error message."""
    line = " ".join(prompt.split())
    return f"'{line[:57]}...'" if len(line) > 60 else f"'{line}'"


# ---------------------------------------------------------------- prompt -> clauses in the order they are played

def clauses(prompt: str) -> list[tuple[bool, str]]:
    """Lower-case pieces of the prompt, one action each, in time's order; True for one that opens a sentence by itself."""
    text = YOURS.sub("the", prompt.lower().replace("’", "'").replace("…", "."))
    sentences = re.split(r"[.!?]+(?=\s|$|[\"'”)])|\n+", text)
    pieces = []
    for sentence in sentences:
        opens = True
        for part in ORDER_WORDS.split(sentence):
            part = OPENING_WORDS.sub("", part.strip(" ,;:\"'“”()"))
            for ordered in in_time_order(part):
                for piece in split_verbs(ordered):
                    if re.search(r"[a-z]", piece):
                        pieces.append((opens, piece))
                    opens = False
    return pieces


def in_time_order(part: str) -> list[str]:
    """'waves after jumping' -> ['jumping', 'waves']; 'before he sits' likewise; 'before the mirror' is left alone."""
    if match := LEADING_BEFORE_AFTER.match(part):
        inner, outer = match["inner"], match["outer"]
        if is_action(inner.split()):
            pair = (inner, outer) if match["word"] == "after" else (outer, inner)
            return [piece for each in pair for piece in in_time_order(each)]
    if match := BEFORE_AFTER.match(part):
        if is_action(match["second"].split()):
            first, second = match["first"], match["second"]
            return [first, *in_time_order(second)] if match["word"] == "before" else [*in_time_order(second), first]
    return [part]


def is_action(words: list[str]) -> bool:
    """Whether the words begin an action: a gerund, or somebody and a verb."""
    start = skip_adverbs(words, 0)
    return words[start:start + 1] != [] and begins_verb(words, (THIRD, GERUND))


def split_verbs(part: str) -> list[str]:
    """Splits at each comma or 'and' that is followed by a new verb of the same form ('waves, jumps and sits down')."""
    forms = verb_forms(part.split())
    pieces, start = [], 0
    for match in CLAUSE_BREAK.finditer(part):
        rest = part[match.end():].split()
        if begins_verb(rest, forms) and part[start:match.start()].strip():
            pieces.append(part[start:match.start()])
            start = match.end()
    return [*pieces, part[start:]]


def verb_forms(words: list[str]) -> tuple[dict, ...]:
    """The forms that are verbs in this clause: 'wave and kick' has bare ones, but 'does a wave and a kick' has nouns."""
    start = skip_adverbs(words, 0)
    if words[start:start + 1] and words[start] in PRONOUNS:
        start = skip_adverbs(words, start + 1)
    bare = any(word in MANY_PEOPLE for word in words[:4]) or "will" in words[:6] or words[start:start + 1] and words[start] in BASE
    running = next((word for word in words[:14] if word in THIRD or word in GERUND), None) in GERUND     # 'is walking and waving'
    return (THIRD,) + (BASE,) * bool(bare) + (GERUND,) * running


def skip_adverbs(words: list[str], start: int) -> int:
    while start < len(words) and (words[start] in ADVERBS or re.fullmatch(r"[a-z]{3,}ly", words[start])):
        start += 1
    return start


def begins_verb(words: list[str], forms: tuple[dict, ...] = (THIRD,)) -> bool:
    """Whether the words open with a verb in one of `forms`, alone or after somebody ('she jumps', 'the man jumps')."""
    start = skip_adverbs(words, 0)
    if start == len(words):
        return False
    if words[start] in PRONOUNS:
        return True
    if words[start] in DETERMINERS:
        subject, predicate = split_subject(" ".join(words))
        return bool(subject) and bool(predicate)
    return any(words[start] in form for form in forms)


# ---------------------------------------------------------------- one clause -> subject, verb, count, duration

def split_subject(text: str) -> tuple[str, str]:
    """'the tall man in red waves' -> ('the tall man in red', 'waves'); ('', text) when nobody is named."""
    words = text.replace(",", " ,").split()
    if words and words[0] in (*SCENE_PREPOSITIONS, "next"):                    # 'in a park, a man waves', 'next to a tree he kneels'
        somebody = (i for i, word in enumerate(words) if i and (word in PRONOUNS or word in DETERMINERS and set(words[i:i + 4]) & set(PEOPLE)))
        words = words[next(somebody, 0):]
    text = " ".join(words).replace(" ,", ",")
    if words and words[0] in PRONOUNS:
        return "", " ".join(words[1:])
    opens_with_action = not words or words[skip_adverbs(words, 0):][:1] == [] or any(
        words[skip_adverbs(words, 0)] in forms for forms in (BASE, THIRD, GERUND))
    if opens_with_action:
        return "", text
    end = next((i for i, word in enumerate(words[:14]) if i and (word in THIRD or word in AUXILIARIES)
                and words[i - 1] not in ("who", "that", *DETERMINERS)), None)
    person = next((i for i, word in enumerate(words[:6]) if word in PEOPLE), None)
    if end is None and person is None:
        return "", text
    end = person + 1 if end is None else end                                   # an unknown verb follows the person, or nothing
    while end > 1 and skip_adverbs(words, end - 1) >= end:                     # 'a person slowly | walks'
        end -= 1
    if person is None and end > 1 and words[0] not in DETERMINERS:
        return "", text                                                        # 'two squats', 'quick steps'
    subject = words[:end] if end > 1 or words[0] in PEOPLE else ["a", "person"]      # a name says nothing about a motion
    if any(word in MANY_PEOPLE for word in subject) or (subject[0] in NUMBERS and NUMBERS[subject[0]] > 1):
        log.warning("prompt: '%s': one person is animated, not several", " ".join(subject))
        subject = ["a", "person"]
    return " ".join(subject), " ".join(words[end:]).replace(" ,", ",")


def finite(words: list[str], previous: str | None) -> tuple[list[str], str | None]:
    """Puts the predicate's verb into the third person; one without a verb takes the previous one ('then backward').

    Returns (words, base form of the verb), the base None where there is no action at all.
    """
    start = skip_adverbs(words, 0)
    head, rest = words[:start], words[start:]
    while rest and rest[0] in AUXILIARIES:                                     # 'is walking', 'will walk'
        rest = rest[1 + (rest[1:2] == ["to"]):]
        moved = skip_adverbs(rest, 0)
        head, rest = head + rest[:moved], rest[moved:]
    if not rest:
        return words, None
    first = rest[0].rstrip(",")
    for forms in (THIRD, GERUND, BASE):
        if first in forms:
            base = forms[first]
            return [*head, third_person(base), *rest[1:]], base
    if first.endswith("s") and not first.endswith("ss") and first not in NOT_VERBS and first not in NUMBERS and action_noun(" ".join(rest)) is None:
        return [*head, *rest], first                                           # a verb of no table: 'moonwalks'
    if action_noun(" ".join(rest)) is not None and previous not in LIGHT_VERBS and not rest[0] in SCENE_PREPOSITIONS:
        return [*head, "does", *rest], "do"                                    # 'then two squats'
    return ([*head, third_person(previous) if previous in BASE else previous, *rest], previous) if previous else (words, None)


def action_noun(text: str) -> tuple[float, float] | None:
    """Lengths of the first action named as a noun ('two deep squats', 'a jumping jack')."""
    words = text.split()
    for i in range(len(words)):
        for span in (2, 1):
            name = " ".join(words[i:i + span])
            for candidate in (name, name.removesuffix("s"), name.removesuffix("es")):
                if candidate in NOUNS or (candidate in VERBS and span == 1 and words[i - 1:i] != ["the"]):
                    return NOUNS.get(candidate) or VERBS[candidate]
    return None


def take_duration_and_count(clause: str) -> tuple[str, float | None, int | None]:
    """'jumps twice for 3 s' -> ('jumps twice', 3.0, 2): the duration leaves the text, the count stays in it."""
    seconds = None
    if match := DURATION.search(clause):
        amount = NUMBERS.get(match[2]) or float(match[2]) if match[2] else 1.0
        seconds = amount * (0.5 if match[1] else 1.0) * (60.0 if match[3].startswith("m") else 1.0)
        clause = clause[:match.start()] + clause[match.end():]
    counted = find_count(clause)
    return clause.strip(" ,"), seconds, counted[0] if counted else None


def find_count(text: str) -> tuple[int, int, int, str] | None:
    """(count, start, end, counted words) of how often the action is done: 'two squats' is a count, 'two hands' is not."""
    for match in COUNT.finditer(text):
        if match["times"]:
            return TIMES[match["times"]], match.start(), match.end(), "times"
        words = match["words"].split()
        number = NUMBERS.get(match["number"]) or int(float(match["number"]))
        for n in range(1, len(words) + 1):
            plural = words[n - 1]
            names = {form(name) for name in (plural, " ".join(words[max(n - 2, 0):n])) for form in (str, lambda name: name.removesuffix("s"))}
            if number and (plural.endswith("s") or number == 1) and names & (NOUNS.keys() | VERBS.keys() | {"punche"}):
                end = match.start("words") + re.match(r"(?:\s+[a-z-]+){%d}" % n, match["words"]).end()
                return number, match.start(), end, " ".join(words[:n])
    return None


def default_seconds(base: str, text: str, count: int | None) -> float:
    """Seconds of an action whose duration is not said: a table's length, times the count."""
    lengths = VERBS.get(base)
    counted = find_count(text)
    if counted and counted[3] != "times" and not counted[3].endswith(" times"):             # 'throws three punches'
        lengths = action_noun(counted[3]) or lengths
    elif base in LIGHT_VERBS:                                                               # 'does squats'
        lengths = action_noun(text.partition(third_person(base))[2])
    once, each = lengths or UNKNOWN_SECONDS
    return max(once, 0.6 + each * count) if count else once


def shorten(text: str, seconds: float, count: int | None, max_seconds: float) -> list[tuple[str, float]]:
    """Cuts an action longer than `max_seconds` into equal parts; its repetitions are shared out among them."""
    seconds = max(seconds, SHORTEST_SECONDS)
    most = math.floor(max_seconds / seconds * count + 1e-6) if count else 0                  # repetitions that fit
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
