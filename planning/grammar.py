"""A prompt to its clauses, and a clause to its words: who does it, which verb, in which form."""
import logging
import re
from dataclasses import dataclass

from planning.lexicon import (ADVERBS, ASKED, ASPECT_VERBS, AUXILIARIES, BASE, BEFORE_AFTER, BEFORE_THAT, CLAUSE_BREAK,
                              COLON, DELAYED, DETERMINERS, ENDS_IN_LIMB, FORMS, GERUND, HANDLING_VERBS, LIGHT_VERBS,
                              LIMB_ALONE, LIST_BEGINS, LIST_NUMBER, MANY_PEOPLE, MEANWHILE, NOT_GERUNDS, NOT_VERBS,
                              NOUNS, NUMBERS, OBJECT_ACTIONS, OBJECT_PRONOUNS, OPENING_WORDS, ORDER_WORDS, PAST,
                              PEOPLE, PREPOSITIONS, PRONOUNS, RELATIVES, REQUESTS, SAME_TIME, SCENE_PREPOSITIONS,
                              SENTENCE_END, SETS, SPELLINGS, SUBORDINATE, THIRD, VERBS, WHILE_DOING)

log = logging.getLogger(__name__)

LONGEST_SUBJECT = 20      # words


@dataclass(frozen=True)
class Predicate:
    """'is slowly starting to walk forward' -> adverbs ['slowly'], verb 'walk', its form BASE, the rest ['forward']."""
    adverbs: list[str]
    verb: str | None                  # base form; None: the first word of `rest` is no verb of the tables
    form: dict[str, str] | None       # the table it was found in
    rest: list[str]                   # words behind the verb, or all of them
    negated: bool = False


def skip_adverbs(words: list[str], start: int) -> int:
    """The index of the first word from `start` that is no adverb."""
    while start < len(words) and (words[start] in ADVERBS or re.fullmatch(r"[a-z]{3,}ly", words[start])):
        start += 1
    return start


def verb_form(word: str) -> dict[str, str] | None:
    return next((form for form in FORMS if word in form), None)


def is_gerund(word: str) -> bool:
    """'waving', and what looks like a gerund of a verb in no table: 'juggling'."""
    return word in GERUND or len(word) > 5 and word.endswith("ing") and word not in NOT_GERUNDS


def predicate_of(words: list[str]) -> Predicate:
    """Looks behind adverbs, auxiliaries and verbs like 'starts' for the verb that says what is done."""
    adverbs, negated, start = [], False, 0
    while True:
        end = skip_adverbs(words, start)
        adverbs, start = adverbs + words[start:end], end
        word, behind = (words[start:] + ["", ""])[:2]
        if word in ("not", "never"):
            negated, start = True, start + 1
        elif word in AUXILIARIES or word == "to" or start and word in ASKED:
            start += 1
        elif word in ("do", "does", "did") and behind in ("not", "never"):
            start += 1
        else:
            form = verb_form(word)
            inner = inner_verb(words, start + 1) if form and form[word] in ASPECT_VERBS else None
            if inner is None:
                return Predicate(adverbs, form and form[word], form, words[start + bool(form):], negated)
            start = inner


def inner_verb(words: list[str], start: int) -> int | None:
    """Where the action is in '(starts) off by | walking', '(tries) to | walk', '(ends) with | a bow'; else None."""
    start = skip_adverbs(words, start)
    if words[start:start + 1] and words[start] in ("on", "off", "out", "up"):
        start += 1
    if words[start:start + 2] and words[start] in ("by", "with"):
        start += 1
        return start if words[start] in GERUND or action_noun(" ".join(words[start:start + 4])) else None
    verb = skip_adverbs(words, start + (words[start:start + 1] == ["to"]))
    if verb < len(words) and words[verb] in (BASE if words[start] == "to" else GERUND):
        return verb
    return None


def split_subject(text: str) -> tuple[str, str]:
    """'the tall man in red waves' -> ('the tall man in red', 'waves'); ('', text) when nobody is named."""
    words = without_place(text.split())
    if words and words[0] in PRONOUNS:
        return "", " ".join(words[1:])
    if words[1:] and words[0] in OBJECT_PRONOUNS and (words[1] == "to" or words[1] in BASE or is_gerund(words[1])):
        return "", " ".join(words[1:])
    first = words[skip_adverbs(words, 0):][:1]
    if not first or verb_form(first[0]) or is_gerund(first[0]):
        return "", " ".join(words)
    person = next((i for i, word in enumerate(words[:6]) if word in PEOPLE), None)
    if person is None and (words[0] in NUMBERS or words[0].isdigit()) or is_name(words):
        return "", " ".join(words)                                             # 'two quick punches', 'star jumps'
    end = end_of_subject(words, person)
    if end is None:
        return "", " ".join(words)
    start = end
    while end > 1 and skip_adverbs(words, end - 1) >= end:                     # 'a person slowly | walks'
        end = start = end - 1
    relative = next((i for i, word in enumerate(words[:end]) if i and word in RELATIVES), end)
    subject = words[:relative] if relative > 1 or words[0] in PEOPLE else ["a", "person"]      # a name moves nothing
    if person is None and end > 1 and words[0] not in DETERMINERS:
        return "", " ".join(words)                                             # 'two squats', 'quick steps'
    return " ".join(subject).strip(" ,"), " ".join(words[start:])


def without_place(words: list[str]) -> list[str]:
    """'in a park , a man waves' -> 'a man waves', 'next to a tree he kneels' -> 'he kneels'."""
    if not words or words[0] not in (*SCENE_PREPOSITIONS, "next"):
        return words
    for i, word in enumerate(words):
        if word in PRONOUNS or word in DETERMINERS and i and set(words[i:i + 4]) & set(PEOPLE):
            return words[i:]
    return words


def end_of_subject(words: list[str], person: int | None) -> int | None:
    """Where the predicate begins: at the first finite verb, or behind the person; in 'a man who waves' at 'waves'."""
    possible = [i for i in range(1, len(words[:LONGEST_SUBJECT])) if not makes_noun(words[i - 1])]
    finite = [i for i in possible if words[i] in THIRD or words[i] in AUXILIARIES]
    finite = finite or [i for i in possible if words[i] in PAST][:1]
    relative = next((i for i, word in enumerate(words[:8]) if i and word in RELATIVES), None)
    if relative is not None and (not finite or relative < finite[0]):
        main = next((i for i in finite[1:] if words[i] in THIRD and words[i - 1] not in AUXILIARIES), None)
        return main if main is not None else relative + 1
    if finite:
        return finite[0]
    return person + 1 if person is not None else None                          # a verb of no table follows, or nothing


def makes_noun(word: str) -> bool:
    """Whether what follows the word is a noun: 'three | steps', 'in | circles'."""
    return word in DETERMINERS or word in PREPOSITIONS or word in NUMBERS or word.isdigit()


def one_person(subject: str) -> str:
    """'two men' -> 'a person', 'person' -> 'a person'."""
    words = subject.split()
    many = words[0] not in ("a", "an") and any(word in MANY_PEOPLE for word in words)
    if many or NUMBERS.get(words[0], 1) > 1:
        return "a person"
    return f"a {subject}" if words[0] in PEOPLE and words[0] not in ("someone", "somebody") else subject


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
        return bool(subject) and bool(predicate)
    while words[start:start + 1] and words[start] in ("not", "is", "was"):
        start = skip_adverbs(words, start + 1)
    opening = words[start:start + 2]
    return bool(opening) and (any(opening[0] in form for form in forms) or is_unknown_verb(*opening))


def is_unknown_verb(word: str, behind: str = "") -> bool:
    """'adjusts (his tie)': a verb of no table, in the third person and with its object."""
    object_begins = behind in DETERMINERS or behind in ("his", "her", "their", "its")
    return object_begins and word.endswith("s") and not word.endswith("ss") and word not in NOT_VERBS


def is_action(words: list[str]) -> bool:
    """Whether the words begin something a person does: a gerund, or somebody and a verb."""
    if words[:1] and words[0] in DETERMINERS and not set(words[:5]) & set(PEOPLE):
        return False                                                           # 'the music starts'
    return words[:1] != ["it"] and begins_verb(words, (THIRD, GERUND))


def verb_forms(text: str) -> tuple[dict, ...]:
    """The forms that are verbs in this clause: bare ones in 'wave and kick', not in 'does a wave and a kick'."""
    predicate = predicate_of(split_subject(text)[1].split())
    form = predicate.form
    if form is None:                                                           # 'wearing a hat , waving'
        form = next((form for word in predicate.rest for form in (THIRD, GERUND) if word in form), None)
    return (THIRD,) if form in (THIRD, None) else (THIRD, form)


def singulars(name: str) -> tuple[str, ...]:
    """The name itself, and what it may be the plural of: punches -> punches, punche, punch."""
    return name, name.removesuffix("s"), *[name[:-2]] * name.endswith(("ses", "xes", "ches", "shes"))


def is_name(words: list[str]) -> bool:
    """'jumping jacks', 'side steps', 'high knees': the name of an action, in two words."""
    return len(words) > 1 and any(name in NOUNS for name in singulars(" ".join(words[:2])))


def goes_with(verb: str | None, words: list[str]) -> bool:
    """Whether the words name what the verb does: any action of 'does', 'a jab' of 'throws', 'two steps' of 'walks'."""
    if verb in LIGHT_VERBS:
        return action_noun(" ".join(words)) is not None
    return any(name in OBJECT_ACTIONS.get(verb, ()) for word in words for name in singulars(word))


def action_noun(text: str) -> tuple[float, float] | None:
    """Lengths of the first action named as a noun ('two deep squats', 'a jumping jack')."""
    words = text.split()
    for i in range(len(words)):
        for span in (2, 1):
            for name in singulars(" ".join(words[i:i + span])):
                if name != "time" and (name in NOUNS or name in VERBS and span == 1 and words[i - 1:i] != ["the"]):
                    return NOUNS.get(name) or VERBS[name]
    return None


def clauses(prompt: str) -> list[tuple[bool, str]]:
    """Lower-case pieces of the prompt, one action each, in time's order; True for one that opens a sentence."""
    pieces = []
    for sentence in SENTENCE_END.split(plain(prompt)):
        opens = True
        for part in ORDER_WORDS.split(sentence):
            for turn, text in enumerate(BEFORE_THAT.split(part)):              # 'jumps , but before that he crouches'
                found = [piece for item in listed(text) for piece in actions_in(item)]
                place = max(len(pieces) - 1, 0) if turn else len(pieces)
                pieces[place:place] = [(opens and not i, piece) for i, piece in enumerate(found)]
                opens = False
    return pieces


def plain(prompt: str) -> str:
    """Lower case, without quotes, brackets, contractions and symbols; commas stand alone; '3 sets of 5' is 15."""
    text = prompt.lower()
    text = LIST_NUMBER.sub(" ; ", text) if LIST_BEGINS.match(text) else text
    for pattern, replacement in SPELLINGS:
        text = re.sub(pattern, replacement, text)
    text = DELAYED.sub(r" ; for \g<delay> ; ", text)
    number = lambda word: NUMBERS.get(word) or float(word)
    return SETS.sub(lambda match: str(int(number(match[1]) * number(match[2]))), text)


def listed(part: str) -> list[str]:
    """Splits at a colon or dash before actions ('he trains: jumping, kicking'); elsewhere it is a comma."""
    texts = COLON.split(part)
    if all(begins_verb(text.split(), (THIRD, GERUND, BASE)) for text in texts[1:]):
        return texts
    return [" , ".join(texts)]


def actions_in(part: str) -> list[str]:
    """The clauses of a part that no order word divides."""
    part, before = part.strip(" ,:'"), None
    while part != before:
        before, part = part, REQUESTS.sub("", OPENING_WORDS.sub("", part))
    return [piece for ordered in in_time_order(part) for piece in split_verbs(ordered) if re.search(r"[a-z]", piece)]


def in_time_order(part: str) -> list[str]:
    """'waves after jumping' -> ['jumping', 'waves']; 'before he sits' likewise; 'before the mirror' is left alone."""
    if match := SUBORDINATE.match(part) or WHILE_DOING.match(part):
        word, inner, outer = match["word"], match["inner"], match["outer"]
        if word == "with" or word in ("while", "as") and is_action(inner.split()):
            return in_time_order(f"{outer} {word.replace('as', 'while')} {inner}")
        if is_action(inner.split()):
            pair = (outer, inner) if word in ("before", "until") else (inner, outer)
            return [piece for each in pair for piece in in_time_order(each)]
        if word not in ("before", "after"):
            log.warning("prompt: '%s %s' is no action of the person and left out", word, inner)
            return in_time_order(outer)
    if match := BEFORE_AFTER.match(part):
        if is_action(match["second"].split()):
            first, second = match["first"], match["second"]
            return [first, *in_time_order(second)] if match["word"] == "before" else [*in_time_order(second), first]
    return [part]


def split_verbs(part: str) -> list[str]:
    """Splits at each comma or 'and' that is followed by a new verb of the same form ('waves, jumps and sits down').

    After 'does' and the like, at a new noun ('does a squat and a kick'). 'raises and lowers the arm' stays whole.
    """
    if SAME_TIME.search(part):
        return [SAME_TIME.sub(" ", part).strip(" ,")]
    forms = verb_forms(part)
    words = split_subject(part)[1].split()
    verb = predicate_of(words).verb or ("do" if words and begins_noun(words, "do") else None)
    pieces, start = [], 0
    for match in CLAUSE_BREAK.finditer(part):
        rest, begun = part[match.end():].split(), part[start:match.start()].strip()
        if not begun or begun.split()[0] in MEANWHILE or lacks_object(begun):
            continue
        behind = rest[0] if rest else ""
        while_doing = "and" in match[0] and behind in MEANWHILE
        next_limb = "and" not in match[0] and ENDS_IN_LIMB.search(begun) and LIMB_ALONE.match(part, match.end())
        next_noun = begins_noun(rest, verb)
        if begins_verb(rest, forms) or behind == "repeating" or while_doing or next_limb or next_noun:
            pieces.append(begun)
            start = match.end()
    pieces.append(part[start:])
    return [pieces[0], *(ordered for piece in pieces[1:] for ordered in in_time_order(piece))]


def begins_noun(words: list[str], verb: str | None) -> bool:
    """Whether the words open with a counted action of the verb: 'two squats' or 'a deep bow' of 'does'."""
    end = next((i for i, word in enumerate(words) if word in (",", "and", "with")), len(words))
    counted = words[0] in DETERMINERS or words[0] in NUMBERS or words[0].isdigit()
    return end > 1 and counted and goes_with(verb, words[1:min(end, 5)])


def lacks_object(clause: str) -> bool:
    """'raises' in 'raises and lowers the arm': what is raised comes later."""
    predicate = predicate_of(split_subject(clause)[1].split())
    alone = ("wave", "stretch", "circle", "twist", "move", "bend", "flex")
    return predicate.verb in HANDLING_VERBS and not predicate.rest and predicate.verb not in alone
