"""What to generate: a prompts file, one `seed,prompt` a line, or prompts from the command line."""
from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from pathlib import Path

SEEDS = range(-2**63, 2**64)            # what torch takes; -1 gives the same video as 2**64 - 1
INTEGER = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?[0-9][0-9_.eE+-]*")
LINE_END = re.compile(r"\r\n|\n|\r")    # and no others: a prompt may hold a form feed or U+2028
MANY_DIGITS = 25                        # longer numbers are out of range whatever they are


@dataclass(frozen=True)
class Prompt:
    """One video to make."""
    seed: int
    text: str


def read_prompts(path: str | Path, default_seed: int | str) -> list[Prompt]:
    """The prompts of a file, all checked before any model is loaded.

    A line is split once at its first comma, and each seed belongs to its own line (published: to the next one). Empty
    lines and lines that begin with # are left out; a line without a seed takes `default_seed`, which may be "random".
    Quotation marks belong to the prompt. Errors name file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a prompts file (found none): check the path")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text (found byte {error.start} that is none): save it as UTF-8") from None
    found = []
    for number, line in enumerate(LINE_END.split(text), start=1):
        line = line.strip()
        if line and not line.startswith("#"):
            found.append(prompt_of(line, default_seed, f"{path}, line {number}"))
    if not found:
        raise ValueError(f"{path}: expected lines of seed,prompt (found no prompts): write one, as in 7,A man waves.")
    return found


def prompt_of(line: str, default_seed: int | str, where: str) -> Prompt:
    """One line as a seed and a prompt."""
    first, comma, rest = (part.strip() for part in line.partition(","))
    if not comma or (first and not NUMBER.fullmatch(first)):
        return Prompt(chosen(default_seed), line)
    if not rest:
        raise ValueError(f"{where}: expected a prompt after the comma (found an empty prompt): write one")
    if not first:
        return Prompt(chosen(default_seed), rest)
    if not INTEGER.fullmatch(first):
        raise ValueError(f"{where}: expected an integer before the comma (found '{first}'; the seed is not an integer): "
                         "write it in plain digits")
    return Prompt(checked_seed(first, where), rest)


def checked_seed(digits: str, where: str) -> int:
    """The number, within what torch's generator takes. Thousands of digits are never converted."""
    sign, significant = digits[0] == "-", digits.lstrip("+-").lstrip("0") or "0"
    seed = None if len(significant) > MANY_DIGITS else int(significant) * (-1 if sign else 1)
    if seed is None or seed not in SEEDS:                  # None would be looked for one by one
        shown = significant if len(significant) <= MANY_DIGITS else f"{significant[:12]}..., {len(significant)} digits"
        raise ValueError(f"{where}: expected a seed from -2**63 to 2**64-1 (found {shown}: seed out of range): "
                         "choose a smaller one")
    return seed


def seed_setting(text: str) -> int | str:
    """The -s option: an integer, or `random` for a new seed per prompt."""
    text = text.strip()
    if text == "random":
        return text
    if not INTEGER.fullmatch(text):
        raise ValueError(f"-s: expected an integer or random (found '{text}'): for example -s 44")
    return checked_seed(text, "-s")


def chosen(seed: int | str) -> int:
    """A given seed, or a new one that the file's name and the gallery then show."""
    return secrets.randbelow(2**31) if seed == "random" else int(seed)


def prompts_from(option: str, default_seed: int | str) -> list[Prompt]:
    """The -p option: a prompts file, or prompts with | between them."""
    if Path(option).suffix.lower() == ".txt" or (len(option) < 256 and Path(option).is_file()):
        return read_prompts(option, default_seed)
    texts = [text.strip() for text in option.split("|")]
    if not all(texts):
        raise ValueError("-p: expected a prompt on each side of | (found an empty prompt): remove the | or write one")
    return [Prompt(chosen(default_seed), text) for text in texts]
