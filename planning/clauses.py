"""A prompt to its clauses: one action each, in the order in which they happen, and what each says about time."""
from __future__ import annotations

import logging
import re
from dataclasses import dataclass

from planning.lexicon import (BASE, BEHIND_VERB, CONJUNCTIONS, DETERMINERS, FORMS, GERUND, HANDLING_VERBS, MEANWHILE, NUMBERS,
                              OPPOSITE, past, PEOPLE, PREPOSITIONS, PRONOUNS, PUNCHES, SCENE_PREPOSITIONS, THIRD,
                              TITLES, WAYS_TO_MOVE)
from planning.patterns import (ADJECTIVE, ADVERBIAL, ADVERBIALS, AT_TIME, BARE_COUNT, BARE_DURATION, BEFORE_AFTER,
                               BEFORE_THAT, CLAUSE_BREAK, CLAUSE_FIRST, COLON, COUNTED_AGAIN, DURATION, ENDS_ADVERBIAL, ENDS_IN_LIMB,
                               FRAMED, FRAMES, INSTEAD, INTERPOSED, LATER_CLAUSE, LIMB_ALONE, LIMB_GOES, LIMB_IS_MOVED,
                               LIMB_MOVES, LIMB_PLACED, LIST_COMMA, MEANTIME, NO_NUMBER, OF_SOMEONE_ELSE,
                               OPENING_WORDS, ORDER_WORDS, REQUESTS, SAME_TIME, SENTENCE_END, SUBORDINATE, SUBORDINATED, TIME_SPAN,
                               UNTIL_TIME, WHILE_DOING)
from planning.plain import check_count, plain, repetitions, with_whole_counts, without_camera
from planning.unread import further_verbs
from planning.words import (amount, find_count, goes_with, is_limb, is_one_of, is_person, is_unknown_verb, makes_noun, meant_verb,
                            predicate_of, skip_adverbs, split_subject, swapped_verb, thing_acts, verb_form)

LONGEST_FRONT = 20        # words before a clause that describe it
LONGEST_NAME = 5          # words of an action that is a noun
log = logging.getLogger(__name__)


def clauses(prompt: str) -> list[tuple[bool, str]]:
    """Lower-case pieces of the prompt, one action each, in time's order; True for one that opens a sentence."""
    pieces = []
    for sentence in SENTENCE_END.split(plain(prompt)):
        sentence, opens = with_whole_counts(without_camera(sentence)), True
        for part in ORDER_WORDS.split(sentence):
            for turn, text in enumerate(BEFORE_THAT.split(part)):              # 'jumps , but before that he crouches'
                found = [piece for item in listed(text) for piece in actions_in(item)]
                place = max(len(pieces) - 1, 0) if turn else len(pieces)
                pieces[place:place] = [(opens and not i, piece) for i, piece in enumerate(found)]
                opens = False
    return pieces


def listed(part: str) -> list[str]:
    """Splits at a colon or dash before actions ('he trains: jumping, kicking'); elsewhere it is a comma."""
    texts = COLON.split(part)
    if all(begins_verb(text.split(), (THIRD, GERUND, BASE)) for text in texts[1:]) and not (len(texts) > 1 and is_title(texts[0])):
        return [each for text in texts for each in items(text)]
    named = items(" , ".join(texts[1:]))
    if len(texts) > 1 and is_title(texts[0]) and (all(map(is_item, named)) or begins_verb(named[0].split(), (BASE,))):
        log.warning("prompt: '%s' is left out: it names what follows", texts[0])
        return named
    return items(" , ".join(texts))


def items(text: str) -> list[str]:
    """'body roll , spin left , freeze' -> each of them, where all are actions by themselves and not all begin with their verb."""
    named = LIST_COMMA.split(text.strip(" ,"))
    forms = [verb_form(each.partition(" ")[0]) for each in named]
    by_verb = all(form and form is forms[0] for form in forms)
    return named if not by_verb and all(map(is_item, named)) else [text]


def is_item(text: str) -> bool:
    """Whether a text names an action without somebody: 'two arm circles for 4 seconds', 'salsa step left', 'jump', not 'a man'."""
    words = text.split()
    end = next((i for i, word in enumerate(words) if word in PREPOSITIONS), len(words))
    name = [word for word in words[:end] if word not in OPPOSITE]
    return bool(name) and name[0] not in (*PRONOUNS, "no") and (LIMB_GOES.fullmatch(text) is not None or
        verb_form(name[0]) in (BASE, GERUND) or len(name) < LONGEST_NAME and goes_with("do", name[-1:] if len(name) == 1 else name[-2:]))


def is_title(text: str) -> bool:
    """Whether words before a colon only name what is done behind it: 'hip hop dance', 'round 1'; not 'the man does'."""
    words = text.split()
    return bool(words) and not any(is_person(word) or word in PRONOUNS or word in THIRD for word in words) and (
        words[-1] in TITLES or not begins_verb(words, FORMS))


def actions_in(part: str) -> list[str]:
    """The clauses of a part that no order word divides."""
    part, before = part.strip(" ,:'"), None
    while part != before:
        before, part = part, REQUESTS.sub("", OPENING_WORDS.sub("", part))
    return [piece for ordered in in_time_order(part) for piece in split_verbs(ordered) if re.search(r"[a-z]", piece)]


def in_time_order(part: str) -> list[str]:
    """'waves after jumping' -> ['jumping', 'waves']; 'before he sits' likewise; 'before the mirror' is left alone."""
    if found := framed(part):
        return found
    if match := INSTEAD.match(part):
        log.warning("prompt: '%s' is left out: motions are described by what is done", match["undone"])
        return in_time_order(match["done"])
    match = INTERPOSED.match(part)
    if match and ADVERBIALS.fullmatch(match["front"]) and begins_verb(match["outer"].split(), FORMS):
        part = f"{match['front']} , {match['who']} {match['outer']}"
    first = CLAUSE_FIRST.match(part)
    first = first if first and split_subject(first["inner"])[1] else None                  # not 'before the king he bows'
    if not first and (found := in_front(part)):
        return with_adverbial(*found)
    if match := first or SUBORDINATE.match(part) or WHILE_DOING.match(part):
        word, inner, outer = match["word"], match["inner"], match["outer"]
        if word in ("while", "as") and is_action(inner.split()):
            return in_time_order(f"{outer} while {inner}")
        if is_action(inner.split()):
            pair = (outer, inner) if word in ("before", "until") else (inner, outer)
            return [piece for each in pair for piece in in_time_order(each)]
        if word not in ("before", "after"):
            log.warning("prompt: '%s %s' is no action of the person and left out", word, inner)
            return in_time_order(outer)
    if match := MEANTIME.match(part):
        inner, outer = match["inner"], match["outer"]
        going_on = re.search(r"\b(?:is|are|was|were)\s+\w+ing\b", outer) is not None               # 'was running when he stopped'
        if (match["word"] == "until" or match["word"] == "when" and going_on) and is_action(inner.split()):
            return [piece for each in (outer, inner) for piece in in_time_order(each)]
        if thing_acts(inner, True):
            log.warning("prompt: '%s %s' is no action of the person and left out", match["word"], inner)
            return in_time_order(outer)
        if thing_acts(outer, False) and is_action(inner.split()):
            log.warning("prompt: '%s' is left out: only the person moves", outer)
            return in_time_order(inner)
    if match := BEFORE_AFTER.match(part):
        if is_action(match["second"].split()):
            first, second = match["first"], match["second"]
            return [first, *in_time_order(second)] if match["word"] == "before" else [*in_time_order(second), first]
    return [part]


def framed(part: str) -> list[str]:
    """'after clapping and before bowing , he waves' -> ['clapping', 'he waves', 'bowing']; empty for other parts."""
    match = next((match for pattern in FRAMED if (match := pattern.match(part))), None)
    if not match or not is_action(match["one"].split()) or not is_action(match["two"].split()):
        return []
    inner = ((match["word"], match["one"]), (match["other"], match["two"]))
    earlier, later = ([each for word, each in inner if word == when] for when in ("after", "before"))
    return [piece for each in (*earlier, match["outer"], *later) for piece in in_time_order(each)]


def in_front(part: str) -> tuple[str, str] | None:
    """'with her left hand she waves' -> ('with her left hand', 'she waves'); None where the clause opens with no adverbial.

    A place is none ('in a park , a man waves'): the picture has its own.
    """
    words = part.strip(" ,").split()
    if not ADVERBIAL.match(" ".join(words)):
        return None
    places = range(1, min(len(words), LONGEST_FRONT))
    begins = next((i for i in places if begins_clause(words, i)), None) or next((i for i in places if ends_in_verb(words[:i + 1])), None)
    front = " ".join(words[:begins or 0]).strip(" ,")
    if not ADVERBIALS.fullmatch(front):
        return None
    kept = " , ".join(each for each in front.split(" , ") if not is_place(each.split()))
    return (kept, " ".join(words[begins:])) if kept or words[begins] in BASE else None          # 'on three , jump'


def ends_in_verb(words: list[str]) -> bool:
    """Whether a whole adverbial and a verb are said: 'on one leg hop'."""
    *front, verb = words
    return (verb in THIRD or verb in BASE) and past(verb) != verb and ENDS_ADVERBIAL.search(" ".join(front)) is not None


def begins_clause(words: list[str], i: int) -> bool:
    """Whether somebody is named at word i who does something, or a verb follows a comma."""
    if words[i - 1] == ",":
        return begins_verb(words[i:], FORMS)
    person = words[i] in PRONOUNS or words[i] in DETERMINERS and set(words[i + 1:i + 5]) & set(PEOPLE)
    return bool(person) and i + 1 < len(words) and not makes_noun(words[i - 1]) and words[i - 1] not in CONJUNCTIONS


def is_place(words: list[str]) -> bool:
    """'in the garden', 'on a stage'; not 'on one leg', 'in circles', 'to the left'."""
    return words[0] in set(SCENE_PREPOSITIONS) - {"with"} and words[1:2] != ["one"] and words[1] in DETERMINERS and not any(
        word in (*OPPOSITE, *WAYS_TO_MOVE, "seconds", "minutes") or is_limb(word) for word in words)


def with_adverbial(front: str, outer: str) -> list[str]:
    """The adverbial behind the first action of the clause; a count before several actions repeats them all."""
    actions = split_at_verbs(LATER_CLAUSE.split(outer)[0])
    whole = OF_SOMEONE_ELSE.search(actions[0]) or not outer.startswith(actions[0])         # 'the man , who limps , waves'
    first = outer if whole else actions[0]
    count = ADVERBIAL.fullmatch(front)
    if len(actions) > 1 and count and (count["word"] or count["number"]):
        return in_time_order(outer) * repetitions(count)
    return in_time_order(f"{first} {front}{outer[len(first):]}")


def is_action(words: list[str]) -> bool:
    """Whether the words begin something a person does: a gerund, or somebody and a verb."""
    if words[:1] and words[0] in DETERMINERS and not set(words[:5]) & set(PEOPLE):
        return False                                                           # 'the music starts'
    return words[:1] != ["it"] and begins_verb(words, (THIRD, GERUND))


def split_verbs(part: str) -> list[str]:
    """Splits at each comma or 'and' that is followed by a new verb of the same form ('waves, jumps and sits down').

    After 'does' and the like, at a new noun ('does a squat and a kick'). 'raises and lowers the arm' stays whole.
    """
    pieces = split_at_verbs(part)
    return [pieces[0], *(ordered for piece in pieces[1:] for ordered in in_time_order(piece))]


def split_at_verbs(part: str) -> list[str]:
    """The pieces of split_verbs as they are written."""
    if SAME_TIME.search(part):
        return [SAME_TIME.sub(" ", part).strip(" ,")]
    forms = verb_forms(part)
    words = split_subject(part)[1].split()
    verb = predicate_of(words).verb or ("do" if words and (begins_noun(words, "do") or names_action(words)) else None)
    pieces, start, clause = [], 0, 0                                           # where the piece, and its clause, begin
    for match in CLAUSE_BREAK.finditer(part):
        begun, rest, behind_and = part[start:match.start()].strip(), part[match.end():], "and" in match[0]
        if match.start() <= clause or not begun or begun.split()[0] in MEANWHILE or lacks_object(begun) or not split_subject(begun)[1]:
            continue
        if start and match["noun"]:                                            # 'bows , makes a punch and | a kick'
            verb = predicate_of(split_subject(begun)[1].split()).verb or verb
        front = adverbial_in_front(rest, behind_and)
        if front or begins_action(rest, forms, verb, begun, behind_and):
            pieces.append(begun)
            start = match.end()
            clause = part.find(front, start) + len(front) if front else start
    return [each for piece in (*pieces, part[start:]) for each in run_on(piece)]


def run_on(piece: str) -> list[str]:
    """'walks forward stops waves' -> each verb with its words, also where no comma stands between them."""
    words, predicate = piece.split(), split_subject(piece)[1]
    main, before = predicate_of(predicate.split()).form, len(words) - len(predicate.split())
    main_clause = SUBORDINATED.split(predicate)[0].split()
    places = [before + i for i in further_verbs(main_clause) if main_clause[i - 1] != "," and (main_clause[i] not in BASE or main is BASE)]
    if not places or main not in (THIRD, BASE):
        return [piece]
    return [" ".join(words[:places[0]]).removesuffix(" and to"), *run_on(" ".join(words[places[0]:]))]


def adverbial_in_front(rest: str, behind_and: bool) -> str:
    """'with her left hand' where that and a clause are the rest of a part, or anything follows 'and'; else empty."""
    rest = rest.lstrip(" ,")
    front = in_front(rest)
    return front[0] if front and (behind_and or " ".join(front) == rest) else ""


def begins_action(rest: str, forms: tuple[dict, ...], verb: str | None, begun: str, behind_and: bool) -> bool:
    """Whether the rest of a part, behind a comma or 'and', begins another action than the one that has `begun` with `verb`."""
    words = rest.split()
    behind = words[0] if words else ""
    if behind_and and not {*MEANWHILE, "with", "without", "by"} & set(begun.split()):
        forms = (*forms, GERUND)                                               # 'turns around and walking away'
    if begins_verb(words, forms) or behind == "repeating" or behind_and and behind in MEANWHILE:
        return True
    if behind_and and behind in BASE and words[1:2] and words[1] in BEHIND_VERB:               # 'picks up a box and put it down'
        return True
    if begins_noun(words, verb) or names_action(words) and goes_with(verb, begun.split()[-2:]):
        return True
    moved = LIMB_MOVES.match(rest)
    if moved and moved["verb"] in THIRD or LIMB_IS_MOVED.match(rest):          # 'left hand waves , right hand points'
        return True
    if COUNTED_AGAIN.match(rest) and find_count(begun) or LIMB_PLACED.match(rest) and LIMB_PLACED.fullmatch(begun):
        return True
    if behind_and:
        return False
    another_limb = ENDS_IN_LIMB.search(begun) and LIMB_ALONE.match(rest)       # 'raises the left arm , the right arm'
    return bool(another_limb or "with" not in begun.split() and LIMB_GOES.match(rest))


def verb_forms(text: str) -> tuple[dict, ...]:
    """The forms that are verbs in this clause: bare ones in 'wave and kick', not in 'does a wave and a kick'."""
    if any(pattern.match(text) for pattern in (LIMB_GOES, LIMB_PLACED)):       # 'hands on hips , nod'
        return THIRD, GERUND, BASE
    predicate = predicate_of(split_subject(text)[1].split())
    form = predicate.form
    if form is None and predicate.rest:
        form = verb_form(meant_verb(predicate.rest[0]) or "")
    if form is None:                                                           # 'wearing a hat , waving'
        form = next((form for word in predicate.rest for form in (THIRD, GERUND) if word in form), None)
    return (THIRD,) if form in (THIRD, None) else (THIRD, form)


def begins_verb(words: list[str], forms: tuple[dict, ...] = (THIRD,)) -> bool:
    """Whether the words open with a verb in one of `forms`, alone or after somebody ('she jumps', 'the man jumps')."""
    start = skip_adverbs(words, 0)
    if start == len(words):
        return False
    if words[start] in PRONOUNS:
        return True
    if words[start] == "back" and words[start + 1:start + 2] not in (["away"], ["up"], ["off"]):
        return False                                                           # 'steps forward and back'
    if words[start] in DETERMINERS:
        subject, predicate = split_subject(" ".join(words))
        apart = "," in words[:len(words) - len(predicate.split())][-2:]        # 'before the king , and bows'
        return bool(subject) and bool(predicate) and not apart and predicate.split()[0] not in PREPOSITIONS        # not 'before a queen on the left'
    while words[start:start + 1] and words[start] in ("not", "is", "was"):
        start = skip_adverbs(words, start + 1)
    opening = words[start:start + 2]
    return bool(opening) and (any(word in form for word in (opening[0], meant_verb(opening[0])) for form in forms)
                              or swapped_verb(opening[0]) is not None or is_unknown_verb(*opening))


def begins_noun(words: list[str], verb: str | None) -> bool:
    """Whether the words open with a counted action of the verb: 'two squats' or 'a deep bow' of 'does'."""
    end = next((i for i, word in enumerate(words) if word in (",", "and", "with")), len(words))
    counted = end > 1 and (words[0] in DETERMINERS or words[0] in NUMBERS or words[0].isdigit())
    return counted and goes_with(verb, words[1:min(end, 5)])


def names_action(words: list[str]) -> bool:
    """Whether the words open with an action named without a number: 'right hook , ...', 'uppercut'."""
    end = next((i for i, word in enumerate(words) if word in (",", "and", "with")), len(words))
    if not words or end > 2:
        return False
    return words[0] in OPPOSITE and goes_with("do", words[1:end]) or end == 1 and is_one_of(words[0], PUNCHES)


def lacks_object(clause: str) -> bool:
    """'raises' in 'raises and lowers the arm': what is raised comes later."""
    predicate = predicate_of(split_subject(clause)[1].split())
    alone = ("wave", "stretch", "circle", "twist", "move", "bend", "flex")
    return predicate.verb in HANDLING_VERBS and not predicate.rest and predicate.verb not in alone and not LIMB_PLACED.fullmatch(clause)


# ---------------------------------------------------------------- what a clause says about time

@dataclass(frozen=True)
class Piece:
    """A clause, and what it says about time, which is taken out of its text."""
    opens: bool                        # it begins a sentence
    written: str                       # the clause with its duration
    text: str
    seconds: float | None = None       # how long its action lasts
    each: bool = False                 # ... or each action of the sentence
    begin: float | None = None         # when it starts, seconds from the start of the video
    end: float | None = None           # when what follows ends; a clause that is all time speaks of what follows

    @classmethod
    def of(cls, opens: bool, written: str) -> Piece:
        """'jumps twice for 3 s' -> text 'jumps twice', 3.0; 'jumps twice for 3 s each' -> 6.0; 'at 5 s she jumps' begins at 5.0."""
        written, begin, end = take_times(written)
        match = DURATION.search(written) or BARE_DURATION.search(written)
        each = match is not None and bool(match["each"] or match["per"])
        seconds = duration(match) if match else None
        text = (written[:match.start()] + written[match.end():] if match else written).strip(" ,")
        bare = BARE_COUNT.fullmatch(text)
        text += " times" if bare and verb_form(bare["verb"]) else ""                                # 'jump 3'
        if wrong := FRAMES.search(text):
            raise ValueError(f"prompt: '{wrong[0]}': expected seconds (found frames, which are no duration): write it as in 'for 1.5 seconds'")
        if wrong := NO_NUMBER.search(text):
            raise ValueError(f"prompt: '{wrong[0]}': expected a number (found none that can be read): "
                             "write it as in '3 times' or 'for 2.5 seconds'")
        if count := find_count(text):
            check_count(count.number, text[count.start:count.end])
        if end is not None and text:
            return cls(opens, written, text, end - begin, False, begin)
        counted = count if each or match and ADJECTIVE.search(match[0]) else None        # 'three 2-second squats'
        return cls(opens, written, text, seconds * counted.number if counted else seconds, each and counted is None, begin, end)


def take_times(clause: str) -> tuple[str, float | None, float | None]:
    """'waves from 2 to 5 seconds' -> ('waves', 2.0, 5.0), 'at 3 seconds she jumps' -> ('she jumps', 3.0, None)."""
    if wrong := UNTIL_TIME.search(clause):
        raise ValueError(f"prompt: '{wrong[0]}': expected how long, or both times (found the end alone): "
                         "say 'for 3 seconds' or 'from 1 to 3 seconds'")
    match = TIME_SPAN.search(clause)
    if match and ("second" in match[0] or match["unit"] or match["end_unit"]):            # not 'counts from 1 to 3'
        unit = match["end_unit"] or match["unit"] or "s"
        begin, end = in_seconds(amount(match["begin"]), match["unit"] or unit), in_seconds(amount(match["end"]), unit)
        if end <= begin:
            raise ValueError(f"prompt: '{match[0].strip(' ,')}': expected an end after the begin: say the earlier time first")
    elif match := AT_TIME.search(clause):
        begin, end = amount(match["second"]) if match["second"] else in_seconds(amount(match["amount"]), match["unit"]), None
    else:
        return clause, None, None
    return f"{clause[:match.start()]} {clause[match.end():]}".strip(" ,"), begin, end


def duration(match: re.Match) -> float:
    """Seconds of what DURATION found."""
    low, high = (amount(word) if word else None for word in (match["low"], match["high"]))
    if high is not None and high < low:
        raise ValueError(f"prompt: '{match[0].strip(' ,')}': expected the shorter time first (found the longer one)")
    many = (low + (high or low)) / 2 if low is not None else 1.0                # '4-5 seconds' are 4.5
    many = many * (0.5 if match["half"] else 1.0) + (0.5 if match["and_half"] or match["half_more"] else 0.0)
    return in_seconds(many, match["unit"]) + (amount(match["rest"]) if match["rest"] else 0.0)


def in_seconds(number: float, unit: str) -> float:
    return number * (0.001 if unit.startswith(("ms", "mil")) else {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}.get(unit[0], 1.0))
