"""A prompt made plain: lower case, no symbols, numbers in digits, and without what is said of the camera."""
from __future__ import annotations

import logging
import re
import unicodedata

from planning.lexicon import (FOREIGN_WORDS, FUNCTION_WORDS, GERUND, gerund, MAX_COUNT, MAX_TOTAL_SECONDS, MULTIPLES, NO_THINGS, NOUNS,
                              NUMBERS, PARTS, PAST, ROMAN, SHORTEST_SECONDS, THINGS, third_person, TIMES)
from planning.patterns import (BIG_NUMBER, CAMERA_MOVES, CLOCK, CONTROLS, DELAYED, EMOJI, EMOJI_ALONE, FRACTION, FROM_ZERO, HAVING_DONE,
                               LIMB_OF_A_SIDE, LIST_BEGINS, LIST_NUMBER, NO_COUNT, NOT_BUT, NOT_WHOLE, ONE_OF_TWO_COUNTS, PICTURE_LABEL, PICTURE_WORDS, RANGE,
                               REPEATED_LIST, ROMAN_COUNT, SAID_AGAIN, SETS, SIDES_LISTED, SPELLINGS, TIMED, WITH_SLASHES)
from planning.words import amount, find_count, is_one_of, LARGEST_AMOUNT, meant_verb, verb_form

log = logging.getLogger(__name__)


def require_english(prompt: str) -> None:
    """Raises ValueError when the prompt is not English, the only language the rules read."""
    words = re.findall(r"[^\W\d_]+", prompt.lower())
    foreign = sum(word in FOREIGN_WORDS for word in words)
    known = sum(word in FUNCTION_WORDS or verb_form(word) is not None or meant_verb(word) is not None
                or is_one_of(word, NOUNS) for word in words)
    latin = sum(word.isascii() for word in words)
    english = known or any(is_one_of(word, names) for word in words for names in (NUMBERS, NO_THINGS, THINGS))
    if not words or not english or foreign >= max(known, 1) or latin < len(words) / 2:
        raise ValueError(f"prompt: no English understood in {shown(prompt)}: the offline planner reads English only; "
                         "write it in English, or set planner.backend=openai (or local) to use a language model")


def shown(prompt: str) -> str:
    """The prompt's first words in quotes, for an error message."""
    line = " ".join(prompt.split())
    return f"'{line[:57]}...'" if len(line) > 60 else f"'{line}'"


def plain(prompt: str) -> str:
    """Lower case, without quotes, brackets, contractions and symbols; commas stand alone; '3 sets of 5' is 15."""
    for match in EMOJI_ALONE.finditer(normal(prompt).lower()):
        log.warning("prompt: '%s' is left out: an emoji says no action: write it in words", match["emoji"])
    text = ROMAN_COUNT.sub(lambda match: str(ROMAN[match[0].upper()]), normal(prompt)).lower()
    text = EMOJI.sub(lambda match: f" {', ' * (verb_form(match[1]) is not None)}{match[1]}", text)
    text = WITH_SLASHES.sub(one_by_one, text)
    text = SIDES_LISTED.sub(lambda match: " ; ".join(re.findall("left|right", match[0])), text)
    text = FRACTION.sub(in_decimals, text)
    text = CLOCK.sub(lambda match: f"{match['word']} {60 * int(match['m']) + int(match['s'])} seconds", text)
    text = TIMED.sub(timed, RANGE.sub(r"\1:", text) if FROM_ZERO.search(text) else text)
    text = LIST_NUMBER.sub(" ; ", text) if LIST_BEGINS.match(text) else text
    for pattern, replacement in SPELLINGS:
        text = re.sub(pattern, replacement, text)
    text = re.sub(r"\b([a-z]{2,}?)(?:in|(?<!i)ng)\b'?", with_whole_ending, text)
    text = ONE_OF_TWO_COUNTS.sub(last_count, BIG_NUMBER.sub(in_digits, text))
    text = SAID_AGAIN.sub(counted_once, text)
    text = REPEATED_LIST.sub(written_out, text)
    text = HAVING_DONE.sub(lambda match: f" after {gerund(PAST[match[1]])}" if match[1] in PAST else match[0], text)
    text = NOT_BUT.sub(corrected, text)
    text = DELAYED.sub(r" ; for \g<delay> ; ", text)
    return SETS.sub(lambda match: str(int(amount(match[1]) * amount(match[2]))), text)


def normal(prompt: str) -> str:
    """Full-width letters, ligatures and '½' in plain characters (Unicode's NFKC), without zero-width ones."""
    small = ("<fraction>", "<super>")                                          # '1½' is '1 ½'
    apart = "".join(f" {letter}" if unicodedata.decomposition(letter).startswith(small) else letter for letter in prompt)
    return "".join(letter for letter in unicodedata.normalize("NFKC", apart) if unicodedata.category(letter) != "Cf")


def without_controls(prompt: str) -> str:
    """The prompt without a terminal's control sequences, as text copied from one has them; a control character is a space."""
    return "".join(" " if unicodedata.category(letter) == "Cc" and letter not in "\t\r\n" else letter for letter in CONTROLS.sub("", prompt))


def timed(match: re.Match) -> str:
    """'[0-3s] waves' -> '; from 0 to 3 seconds ; waves'."""
    begin, end = (60 * int(match[f"m{n}"] or 0) + float(match[f"s{n}"]) for n in (1, 2))
    return f" ; from {begin:g} to {end:g} seconds ; "


def in_decimals(match: re.Match) -> str:
    """'1 1/2 seconds' -> '1.5 seconds', '1/2 turn' -> 'half turn'."""
    over, under = int(match["over"]), int(match["under"])
    if match["of"]:
        return f"{int(match['whole'] or 0) + over / under:g}{match['of']}"
    return match[0] if match["whole"] else PARTS.get((over, under), match[0])


def in_digits(match: re.Match) -> str:
    """'half a dozen' -> '6', '1e9' -> '1000000000', 'twenty-five' -> '25'."""
    if match["power"]:
        return f"{min(float(match['power']), LARGEST_AMOUNT):.3f}".removesuffix(".000")
    if match["tens"]:
        return str(NUMBERS[match["tens"]] + NUMBERS[match["ones"]])
    number = {None: 1, "a": 1, "an": 1, "half": 0.5}.get(match["number"]) or amount(match["number"])
    return str(int(number * MULTIPLES[match["multiple"]]))


def counted_once(match: re.Match) -> str:
    """'jump jump jump' -> 'jump 3 times', with a comma before another verb; other words stay."""
    if not verb_form(match[1]):
        return match[0]
    return f"{match[1]} {len(match[0].split())} times{' ,' * (verb_form(match[3]) is not None)}"


def one_by_one(match: re.Match) -> str:
    """'wave/jump/clap' -> 'wave ; jump ; clap'; 'and/or' stays."""
    words = re.findall("[a-z]+", match[0])
    return " ; ".join(words) if all(map(verb_form, words)) else match[0]


def with_whole_ending(match: re.Match) -> str:
    """'wavin'' -> 'waving', 'clapin' -> 'clapping', 'standng' -> 'standing'; words that are no verbs stay."""
    word = f"{match[1]}ing"
    meant = word if word in GERUND else meant_verb(word)
    return meant if meant in GERUND and not verb_form(match[0]) else match[0]


def corrected(match: re.Match) -> str:
    """'does not kick with the left leg but with the right' -> 'kicks with the right leg', with a warning."""
    log.warning("prompt: '%s' is left out: motions are described by what is done", match["undone"].strip(" ,"))
    verb, auxiliary, limb = match["verb"] or "", match["aux"] or "", LIMB_OF_A_SIDE.search(match["undone"])
    verb = third_person(verb) if verb and auxiliary in ("does", "did") else verb
    limb = f" {limb[1]}" if limb and re.search(r"\b(?:left|right)$", match["done"].strip()) else ""
    return f"{auxiliary * auxiliary.startswith(('is', 'are'))} {verb} {match['done'].strip()}{limb} "


def written_out(match: re.Match) -> str:
    """'repeat 3 times: jump, clap' -> the list three times, one after another."""
    return " ; ".join([match["list"]] * repetitions(match))


def repetitions(match: re.Match) -> int:
    """The count that a pattern found as a word ('twice') or a number."""
    count = TIMES[match["word"]] if match["word"] else int(amount(match["number"]))
    check_count(count, match["word"] or f"{match['number']} times")
    check_total(count * SHORTEST_SECONDS)
    return count


def check_count(count: int, words: str) -> None:
    """Raises ValueError for a count beyond MAX_COUNT. words: those that say it."""
    if count > MAX_COUNT:
        raise ValueError(f"prompt: {shown(words)}: expected a count of at most {MAX_COUNT:,} (found more): say a smaller one")


def with_whole_counts(sentence: str) -> str:
    """'jumps umpteen times' -> 'jumps', with a line; ValueError for a count that is not whole."""
    if wrong := NOT_WHOLE.search(sentence):
        raise ValueError(f"prompt: '{wrong[0]}': expected a whole number (found a fraction): write it as in '3 times'")
    for match in NO_COUNT.finditer(sentence):
        log.warning("prompt: '%s' is left out: it is no number that the planner reads: write it as in '3 times'", match[0].strip())
    return NO_COUNT.sub("", sentence)


def last_count(match: re.Match) -> str:
    """'once or twice' -> 'twice', '3-4 times' -> '4 times', with a line; numbers that count no action stay."""
    last = f"{match['count']}{match['counted']}"
    counted = find_count(last)
    if counted is None or match["first"] in TIMES and not counted.is_of_times:             # 'jumps once or two squats'
        return match[0]
    log.warning("prompt: '%s' is read as '%s': an action has one count", match[0].removesuffix(match["counted"]).replace(" ,", ","), match["count"])
    return last


def check_total(seconds: float, source: str = "prompt") -> None:
    """Raises ValueError when the actions of a prompt, or of the file `source`, last longer than one run may."""
    if seconds > MAX_TOTAL_SECONDS:
        raise ValueError(f"{source}: its actions last {seconds:.0f} s, more than the {MAX_TOTAL_SECONDS:g} s of one run: "
                         "make it shorter")


def without_camera(sentence: str) -> str:
    """'the camera zooms in while a man waves' -> 'a man waves', with a warning: the setting `camera` moves the camera.

    Words for an image generator ('bokeh', 'lighting: warm sunset') are left out with a warning as well.
    """
    for pattern in (PICTURE_LABEL, PICTURE_WORDS):
        for match in pattern.finditer(sentence):
            log.warning("prompt: '%s' is left out: it is about the picture, which stays as it is", match["words"].strip(" ,"))
        sentence = pattern.sub("", sentence)
    for match in CAMERA_MOVES.finditer(sentence):
        log.warning("prompt: '%s' is left out: camera=static, follow, orbit or zoom says what the camera does", match["camera"])
    return CAMERA_MOVES.sub("", sentence)
