"""A clause to its words: who does it, and which verb in which form says what is done."""
import re
from collections.abc import Container
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from planning.lexicon import (ADVERBS, ASKED, ASPECT_VERBS, AUXILIARIES, BASE, BEHIND_VERB, BODY_PARTS, CONJUNCTIONS, DETERMINERS,
                              FOREIGN_WORDS, FORMS, FUNCTION_WORDS, GERUND, LIGHT_VERBS, MANY_PEOPLE, MORE_BODY_PARTS,
                              MOVES_BY_ITSELF, NO_THINGS, NOT_DOING, NOT_GERUNDS, NOT_VERBS, NOUNS, NUMBERS, OBJECT_ACTIONS,
                              OBJECT_PRONOUNS, PAST, PEOPLE, POSSESSIVES, PREPOSITIONS, PRONOUNS, RELATIVES,
                              SCENE_PREPOSITIONS, STATES, TAKES_THINGS, THING_VERBS, THINGS, THIRD, TIMES, VERBS, WAYS)
from planning.patterns import COUNT, UNIT

DOES = ("do", "perform", "execute", "complete", "practice", "practise")
AGENT = re.compile(r"(?:er|or|ist|ian|man|woman|men|women|boy|girl|eer|ess|ina|ete|ast)s?$")     # 'singer', 'artist': nouns of people
PICTURES = ("photo", "picture", "image", "photograph", "pic", "portrait", "video")
LONGEST_SUBJECT = 20      # words
LONGEST_VERB = 20         # letters
LARGEST_AMOUNT = 1e12
A_TURN = 90               # a number of so many degrees, not of actions: '180 turn'


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
    """The table of the form that a verb has: that of 'waves' is THIRD."""
    return next((form for form in FORMS if word in form), None)


def base_form(word: str) -> str | None:
    """'waves', 'waving' -> 'wave'; None for a word that is no verb of the tables."""
    return (verb_form(word) or {}).get(word)


def is_limb(word: str) -> bool:
    """Whether a word is a part of the body: 'hand', 'hands'."""
    return word.removesuffix("s") in BODY_PARTS


@cache
def meant_verb(word: str) -> str | None:
    """'jumpes', 'wavs', 'clapps', 'kiks', 'wlaks' -> the form meant: spelt by ear, or with two letters swapped."""
    if not 4 <= len(word) <= LONGEST_VERB or word in NOT_VERBS or is_limb(word):
        return None
    return spelt_by_ear().get(squeezed(word)) or swapped_verb(word)


def swapped_verb(word: str) -> str | None:
    """'trun', 'wlak' -> the verb form that two swapped letters make of what is none; rarely a word by itself, so that it may begin
    an action where a verb in its base form, as much a noun, may not.
    """
    if not 4 <= len(word) <= LONGEST_VERB or verb_form(word) or word in NOT_VERBS:
        return None
    swapped = (f"{word[:i]}{word[i + 1]}{word[i]}{word[i + 2:]}" for i in range(len(word) - 1))
    return next((other for other in swapped if verb_form(other) and other != word), None)


@cache
def spelt_by_ear() -> dict[str, str]:
    """Every verb form, by how it sounds; of two that sound alike the one of an earlier table."""
    return {squeezed(word): word for form in reversed(FORMS) for word in reversed(form)}


def squeezed(word: str) -> str:
    return re.sub(r"(.)\1", r"\1", word.replace("ce", "s").replace("e", "").replace("z", "s").replace("ck", "k"))


def is_gerund(word: str) -> bool:
    """'waving', and what looks like a gerund of a verb in no table: 'juggling'."""
    return word in GERUND or len(word) > 5 and word.endswith("ing") and word not in NOT_GERUNDS


def predicate_of(words: list[str]) -> Predicate:
    """Looks behind adverbs, auxiliaries and verbs like 'starts' for the verb that says what is done."""
    adverbs, negated, start = [], False, 0
    while True:
        end = skip_adverbs(words, start)
        negated = negated or bool({"neither", "almost", "nearly"} & set(words[start:end]))
        adverbs, start = adverbs + words[start:end], end
        word, behind = (words[start:] + ["", ""])[:2]
        if word in ("not", "never"):
            negated, start = True, start + 1
        elif word in AUXILIARIES or word == "to" or start and word in ASKED:
            start += 1
        elif word in ("do", "does", "did") and behind in ("not", "never"):
            start += 1
        elif undone := undone_verb(words, start):
            negated, start = True, undone
        else:
            form = verb_form(word)
            if form and form[word] in ASPECT_VERBS and words[start + 1:start + 3] == ["not", "to"]:           # 'decides not to jump'
                negated, start = True, start + 3
                continue
            inner = inner_verb(words, start + 1) if form and form[word] in ASPECT_VERBS else None
            if inner is None:
                return Predicate(adverbs, form and form[word], form, words[start + bool(form):], negated)
            start = inner


def undone_verb(words: list[str], start: int) -> int | None:
    """Where the action is that is not done in 'refuses to | jump', 'thinks about | jumping'; else None."""
    if base_form(words[start] if start < len(words) else "") not in NOT_DOING:
        return None
    start += 1
    joined = words[start:start + 1] and words[start] in ("to", "about", "of", "from", "at")
    verb = skip_adverbs(words, start + bool(joined))
    return verb if verb < len(words) and words[verb] in (BASE if words[start] == "to" else GERUND) else None


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
    done = words[skip_adverbs(words, 1):][:1]
    if done and words[0] in OBJECT_PRONOUNS and (done[0] == "to" or done[0] in BASE or is_gerund(done[0])):
        return "", " ".join(words[1:])
    first = words[skip_adverbs(words, 0):][:1]
    if not first or first[0] in ("not", "never") or verb_form(first[0]) or is_gerund(first[0]):
        return "", " ".join(words)
    person = next((i for i, word in enumerate(words[:6]) if is_person(word)), None)
    while person is not None and words[person + 1:person + 2] == ["and"]:              # 'a man and a woman'
        others = [i for i, word in enumerate(words[person + 2:person + 5], start=person + 2) if is_person(word)]
        if not others:
            break
        person = others[0]
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
    if person is None and end > 1 and first[0] not in DETERMINERS:
        return "", " ".join(words)                                             # 'two squats', 'quick steps'
    if words[start:start + 1] and words[start] in PRONOUNS and start + 1 < len(words):         # 'the girl | she raises'
        start += 1
    return " ".join(subject).strip(" ,"), " ".join(words[start:]).lstrip(" ,")           # 'woman , | squatting'


def is_person(word: str) -> bool:
    """'dancer', 'people', 'dancers'; not 'cooks', which is done."""
    return word in PEOPLE or word in MANY_PEOPLE or word.removesuffix("s") in PEOPLE and word not in THIRD


def is_thing(subject: str, predicate: str, known: bool) -> bool:
    """Whether a subject is no person: 'the curtain', 'the music'.

    One of no table is a thing where the person is `known` already, and where it does what things do, without a limb.
    """
    words = subject.split()
    end = next((i for i, word in enumerate(words) if i and (word in PREPOSITIONS or word in RELATIVES or word == ",")), None)
    words = words[:end]
    if not words or any(is_person(word) or is_limb(word) for word in words):
        return False
    if is_one_of(words[-1], THINGS):
        return True
    done = predicate.split()
    return (known and words[0] in DETERMINERS and len(words) > 1 and not AGENT.search(words[-1])
            and predicate_of(done).verb in THING_VERBS and not any(map(is_limb, done)))


def thing_acts(text: str, known: bool) -> bool:
    """Whether a clause says what a thing does: 'the curtain falls', 'his hat falls off', 'the lights go out', 'music plays'."""
    words, (subject, predicate) = text.split(), split_subject(text)
    words = words[skip_adverbs(words, 0):]                                     # 'suddenly the phone rings'
    if words and words[0] in MOVES_BY_ITSELF:
        return len(words) > 1 and verb_form(words[1]) is not None
    if subject and predicate:
        return is_thing(subject, predicate, known)
    if not words or words[0] not in DETERMINERS and words[0] not in POSSESSIVES:
        return False
    noun = next((i for i, word in enumerate(words[:4]) if is_one_of(word, THINGS)), 0)
    if not noun and words[0] in POSSESSIVES:                                   # 'her hair', not 'her left arm'
        noun = next((i - 1 for i, word in enumerate(words[:5]) if i > 1 and word in THIRD), 0)
        if is_limb(words[noun]) or words[noun] in MORE_BODY_PARTS or is_person(words[noun]):
            return False
    behind = words[noun + 1:noun + 2]
    return (noun > 0 and not any(is_person(word) for word in words[:noun])
            and bool(behind) and (verb_form(behind[0]) is not None or behind[0] in AUXILIARIES))


def things_named(text: str) -> list[str]:
    """Things that a text speaks of, which no motion shows: 'the moon', 'a red kite', 'drinks coffee'.

    Not those whose clause it is, nor what somebody is like.
    """
    words, found = re.findall(r"[a-z]+(?:[-'][a-z]+)*|[^\sa-z]", text.lower()), []
    english = sum(word in FOREIGN_WORDS for word in words) <= sum(word in FUNCTION_WORDS for word in words)
    for i, word in enumerate(words):
        before = words[i - 1] if i else ""
        opens_noun = word in DETERMINERS or word in POSSESSIVES or base_form(word) in TAKES_THINGS
        done = base_form(before) in DOES                                       # 'does a plank': an action, whatever it is
        if english and opens_noun and not done and before not in ("like", "as"):
            found += thing_behind(words, i)
        elif is_thing_alone(words, i):
            found.append(word)
    return list(dict.fromkeys(found))


def thing_behind(words: list[str], i: int) -> list[str]:
    """The noun of 'the | moon', 'drinks | coffee' behind word i, where it is a thing that does nothing; else empty."""
    end = next((j for j in range(i + 1, len(words)) if ends_noun(words, i + 1, j)), len(words))
    noun, behind = words[end - 1], words[end] if end < len(words) else ""
    opens_clause = i == 0 or words[i - 1] in (".", ",")
    person = is_person(noun) or noun.endswith(("self", "selves")) or is_person(behind) or is_limb(behind)
    acts = behind in THIRD or behind in AUXILIARIES or opens_clause and is_gerund(behind)
    return [noun] if end > i + 1 and not person and not acts and names_thing(words[end - 2:end], behind) else []


def is_thing_alone(words: list[str], i: int) -> bool:
    """Whether word i is a thing named without an article: 'with | balloons', 'jumps | rope'."""
    before, behind = words[i - 1] if i else "", words[i + 1] if i + 1 < len(words) else ""
    begins_clause = before in (*DETERMINERS, *PRONOUNS, *CONJUNCTIONS, "then", "to") or is_person(before)
    return (is_one_of(words[i], THINGS) and verb_form(words[i]) is None and before.isalpha() and not begins_clause
            and verb_form(behind) is None and behind not in (*DETERMINERS, *POSSESSIVES, "both"))


def ends_noun(words: list[str], start: int, i: int) -> bool:
    """Whether the noun that may begin at `start` is over before word i."""
    word = words[i]
    return (not word[0].isalpha() or word in FUNCTION_WORDS or word in PREPOSITIONS or word in PRONOUNS or word in AUXILIARIES
            or word in RELATIVES or word in CONJUNCTIONS or word in DETERMINERS or word in POSSESSIVES or word in OBJECT_PRONOUNS
            or word in WAYS or skip_adverbs([word], 0) == 1
            or i > start and (word in THIRD or is_gerund(word) or word in PAST or is_person(words[i - 1]) or words[i - 1] == "camera"))


def names_thing(words: list[str], behind: str) -> bool:
    """Whether a noun, the last word, is neither a person, a part of one, a time, an action nor so many of what follows."""
    noun, names = words[-1], singulars(words[-1])
    if is_one_of(noun, THINGS):
        return True
    action = is_gerund(noun) or is_one_of(" ".join(words), NOUNS)
    return (len(noun) > 2 and behind != "of" and not action and not AGENT.search(noun) and noun not in NUMBERS and noun not in STATES
            and not any(name in NO_THINGS or name in BODY_PARTS or re.fullmatch(UNIT, name) or name in NOUNS or verb_form(name) for name in names))


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
    if not finite and person is None and words[0] in DETERMINERS:              # 'a merchant | weighs his gold'
        finite = [i for i in possible[:5] if is_unknown_verb(words[i], "".join(words[i + 1:i + 2]))][:1]
    relative = next((i for i, word in enumerate(words[:8]) if i and word in RELATIVES), None)
    if relative is not None and (not finite or relative < finite[0]):
        main = next((i for i in finite[1:] if words[i] in THIRD and words[i - 1] not in AUXILIARIES), None)
        return main if main is not None else relative + 1
    if finite:
        return finite[0]
    described = person is not None and words[person + 1:person + 2] and words[person + 1] in PREPOSITIONS
    if described:                                                              # 'the person in the red dress | wave'
        end = words.index(",") if "," in words else len(words)
        return next((i for i in possible if person + 2 < i < end and (words[i] in BASE or is_gerund(words[i]))
                     and (i + 1 < end or any(is_one_of(words[i - 1], names) for names in (THINGS, NO_THINGS, PICTURES)))), person + 1)
    return person + 1 if person is not None else None                          # a verb of no table follows, or nothing


def makes_noun(word: str) -> bool:
    """Whether what follows the word is a noun: 'three | steps', 'in | circles'."""
    return word in DETERMINERS or word in PREPOSITIONS or word in NUMBERS or word.isdigit()


def one_person(subject: str) -> str:
    """'two men' -> 'a person', 'person' -> 'a person'."""
    words = subject.split()
    many = words[0] not in ("a", "an") and any(word in MANY_PEOPLE or is_person(word) and word not in PEOPLE for word in words)
    head = next((i for i, word in enumerate(words) if word in (*PREPOSITIONS, "wearing")), len(words))
    many = many or "and" in words[1:head]                                      # 'a man and a woman', not 'a man in a hat and a coat'
    if many or NUMBERS.get(words[0], 1) > 1:
        return "a person"
    return f"a {subject}" if words[0] in PEOPLE and words[0] not in ("someone", "somebody") else subject


def is_unknown_verb(word: str, behind: str = "") -> bool:
    """'adjusts (his tie)': a verb of no table, in the third person and with its object."""
    object_begins = behind in DETERMINERS or behind in ("his", "her", "their", "its", "it", "them", "him", "me", "us")
    object_begins = object_begins or behind in BEHIND_VERB and not is_limb(word)                # 'wakes up', not 'thumbs up'
    return object_begins and word.endswith("s") and not word.endswith("ss") and word not in NOT_VERBS


def amount(number: str) -> float:
    """'three' -> 3, '2.5' -> 2.5."""
    return NUMBERS.get(number) or min(float(number), LARGEST_AMOUNT)


def singulars(name: str) -> tuple[str, ...]:
    """The name itself, and what it may be the plural of: punches -> punches, punche, punch."""
    return name, name.removesuffix("s"), *[name[:-2]] * name.endswith(("ses", "xes", "ches", "shes"))


def is_one_of(name: str, names: Container[str]) -> bool:
    """Whether a name, or what it may be the plural of, is among the names."""
    return any(singular in names for singular in singulars(name))


def is_name(words: list[str]) -> bool:
    """'jumping jacks', 'side steps', 'high knees': the name of an action, in two words."""
    return len(words) > 1 and is_one_of(" ".join(words[:2]), NOUNS)


def goes_with(verb: str | None, words: list[str]) -> bool:
    """Whether the words name what the verb does: any action of 'does', 'a jab' of 'throws', 'two steps' of 'walks'."""
    if verb in LIGHT_VERBS:
        return action_noun(" ".join(words)) is not None
    return any(is_one_of(word, OBJECT_ACTIONS.get(verb, ())) for word in words)


def action_noun(text: str) -> tuple[float, float] | None:
    """Lengths of the first action named as a noun ('two deep squats', 'a jumping jack')."""
    words = text.split()
    for i in range(len(words)):
        for span in (2, 1):
            for name in singulars(" ".join(words[i:i + span])):
                if name != "time" and (name in NOUNS or name in VERBS and span == 1 and words[i - 1:i] != ["the"]):
                    return NOUNS.get(name) or VERBS[name]
    return None


class Count(NamedTuple):
    """How often an action is done, and which words of its text say so."""
    number: int
    start: int          # of the words, in the text
    end: int
    words: str          # what is counted: 'squats' of 'two deep squats', 'times' of 'twice'

    @property
    def is_of_times(self) -> bool:
        """Whether the action itself is counted: 'three times', 'twice'."""
        return self.words == "times" or self.words.endswith(" times")


def find_count(text: str) -> Count | None:
    """How often the action is done; 'two squats' is counted, 'two hands' not."""
    for match in COUNT.finditer(text):
        if match["times"]:
            return Count(TIMES[match["times"]], match.start(), match.end(), "times")
        number, so_far = int(amount(match["number"])), []
        for word in re.finditer(r"[a-z-]+", match["words"]):
            so_far.append(word[0])
            names = {*singulars(word[0]), *singulars(" ".join(so_far[-2:]))}
            if number and (word[0].endswith("s") or number == 1) and names & (NOUNS.keys() | VERBS.keys()):
                return Count(number, match.start(), match.start("words") + word.end(), " ".join(so_far))
        one, end = so_far[0], match.start("words") + 1 + len(so_far[0])
        if number < A_TURN and (one in NOUNS or one in VERBS and not re.match(r"\s+\w+s\b", text[end:])):               # '3 squat'
            return Count(number, match.start(), end, one)
    return None
