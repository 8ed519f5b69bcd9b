"""The prompts that train the demo's text-to-motion model, and its tokenizer.

A caption says what somebody does in the words of `synthetic.phrases`. People write more than that: who, where and why.
So most training prompts get strange subjects, clauses and words around the caption, and the text encoder learns to look
for the words that name the motion.
"""
from __future__ import annotations

import json
import re
import sys
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from scripts.demo_t2m_data import MAX_TOKENS, MIN_TOKENS
from synthetic.captions import SUBJECTS, caption
from synthetic.motions import KINDS, sides_of
from synthetic.phrases import PHRASES
from synthetic.strangers import ADJECTIVES, PEOPLE, SCENES
from t2m.generate import SECONDS_PER_TOKEN

END_OF_WORD, START_OF_TEXT, END_OF_TEXT = "</w>", "<|startoftext|>", "<|endoftext|>"
CLIP_WORDS = Regex(r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""")
CONTEXT_LENGTH = 48                           # tokens of a prompt, both ends included
PROMPT = "{text}, {seconds:.0f} seconds"      # what the demo's text encoder reads
SIDED = {"left", "right", "both", "two", "one"}
UNSIDED_SHARE = 0.15                          # of fresh captions: "a person turns around" may be either way
DETERMINERS = ("a", "a", "the", "the", "my", "her", "his", "our", "this", "one", "another")
JOINTS = ("and", "while", "because", "before", "after", "as", "when", "for", "with", "near", "in", "at", "like", "so")
LONGEST_SUBJECT_FIRST = sorted({subject.name for subject in SUBJECTS if subject.name}, key=len, reverse=True)


def training_prompt(fact: dict, num_tokens: int, rng: np.random.Generator) -> str:
    """A fresh caption as inference will phrase it: mostly with the length, and mostly with what people write around it."""
    text = fact["caption"]
    if rng.random() < 0.7:
        text = caption(fact["kind"], fact["side"], fact["repetitions"], rng, name_side=rng.random() > UNSIDED_SHARE)
    if rng.random() < 0.4:
        text = with_stranger(text, rng)
    if rng.random() < 0.3:
        text = with_clause(text, rng)
    if rng.random() < 0.25:
        text = without_words(text, rng)
    if rng.random() < 0.3:
        text = with_strange_words(text, rng)
    if rng.random() < 0.15:
        return text
    return PROMPT.format(text=text, seconds=num_tokens * SECONDS_PER_TOKEN)


def with_stranger(text: str, rng: np.random.Generator) -> str:
    """The caption's subject, where it begins with one, replaced by somebody no caption knows."""
    for name in LONGEST_SUBJECT_FIRST:
        if text.lower().startswith(f"{name} "):
            who = _pick(PEOPLE, rng) if rng.random() < 0.7 else _pick(strange_words(), rng)
            if rng.random() < 0.3:
                who = f"{_pick(ADJECTIVES, rng)} {who}"
            return f"{_pick(DETERMINERS, rng)} {who}{text[len(name):]}"
    return text


def with_clause(text: str, rng: np.random.Generator) -> str:
    """A place, a manner or a few words of any sort before or after the caption."""
    clause = _pick(SCENES, rng)
    if rng.random() < 0.4:
        clause = " ".join([_pick(JOINTS, rng), *(_pick(strange_words(), rng) for _ in range(int(rng.integers(1, 5))))])
    if rng.random() < 0.7:
        return f"{text.rstrip('.')}{',' if rng.random() < 0.2 else ''} {clause}"
    return f"{clause}{',' if rng.random() < 0.6 else ''} {text}"


def without_words(text: str, rng: np.random.Generator) -> str:
    """An eighth of the words left out; never a side."""
    words = text.split()
    if len(words) <= 4:
        return text
    return " ".join(word for word in words if rng.random() > 0.12 or SIDED & set(re.findall(r"[a-z]+", word.lower())))


def with_strange_words(text: str, rng: np.random.Generator) -> str:
    """One to three words that mean nothing here, anywhere."""
    words = text.split()
    for _ in range(int(rng.integers(1, 4))):
        words.insert(int(rng.integers(len(words) + 1)), _pick(strange_words(), rng))
    return " ".join(words)


@cache
def strange_words() -> tuple[str, ...]:
    """Common English words that no phrase of a motion uses."""
    meant = {word for phrases in PHRASES.values() for phrase in phrases for word in re.findall(r"[a-z]+", phrase.lower())}
    stems = {word[:4] for word in meant if len(word) > 3}
    texts = " ".join([*topics.values(), *SCENES, *PEOPLE]).lower()
    found = set(re.findall(r"(?<![\w'.-])[a-z]{3,12}(?![\w'.-])", texts)) - meant - SIDED
    return tuple(sorted(word for word in found if word[:4] not in stems))


def caption_corpus(num_captions: int, seed: int) -> list[str]:
    """Prompts of every kind, and many other English words so that unseen ones split into likely pieces."""
    rng = np.random.default_rng(seed)
    facts = [dict(kind=kind, side=side, repetitions=int(rng.integers(1, 5)), caption="")
             for kind in KINDS for side in (sides_of(kind) or (None,))]
    texts = []
    for index in range(num_captions):
        fact = facts[index % len(facts)]
        texts.append(training_prompt(
            fact | dict(caption=caption(fact["kind"], fact["side"], fact["repetitions"], rng)),
            int(rng.integers(MIN_TOKENS, MAX_TOKENS + 1)), rng))
    return texts + [line for text in topics.values() for line in text.splitlines() if line.isascii()]


def train_tokenizer(folder: Path, corpus: list[str], vocab_size: int) -> None:
    """A byte-pair tokenizer in CLIP's files: vocab.json, merges.txt and tokenizer_config.json."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD, continuing_subword_prefix=""))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(pattern=CLIP_WORDS, behavior="removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocab_size - len(alphabet) - 2, end_of_word_suffix=END_OF_WORD,
                                  initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
    tokens = alphabet + [letter + END_OF_WORD for letter in alphabet]
    tokens += [merged for merged in dict.fromkeys(map("".join, merges)) if merged not in set(tokens)]
    tokens += [START_OF_TEXT, END_OF_TEXT]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *(" ".join(merge) for merge in merges)]) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(
        tokenizer_class="CLIPTokenizer", bos_token=START_OF_TEXT, eos_token=END_OF_TEXT, unk_token=END_OF_TEXT,
        pad_token=END_OF_TEXT, model_max_length=CONTEXT_LENGTH)))


def _pick(options, rng: np.random.Generator):
    return options[rng.integers(len(options))]
