"""Motions, captions and a tokenizer for training the demo's text-to-motion model on procedural people."""
from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from tqdm import tqdm

from synthetic.captions import caption
from synthetic.motions import KINDS, sample_motion, sides_of
from t2m.features import FEATURE_BLOCKS, NUM_FEATURES, ROOT_HEIGHT, ROOT_VELOCITY, YAW_VELOCITY, features
from t2m.generate import SECONDS_PER_TOKEN
from t2m.motion import MOTION_FPS
from t2m.vqvae import FRAMES_PER_TOKEN

MIN_TOKENS, MAX_TOKENS = 6, 50                # 1.2 to 10 s
SIDES = (None, "left", "right", "both")
FORWARD_SMOOTHING = 2.0                       # frames: the root turns with the body, also in a pirouette
ROOT_EMPHASIS = 5.0                           # the root's columns count this much more, as in HumanML3D's feat_bias
HARD_TO_KEEP = ("nod", "shake_head", "run", "turn", "dance", "walk", "walk_backwards", "side_step", "spin", "lunge")
END_OF_WORD, START_OF_TEXT, END_OF_TEXT = "</w>", "<|startoftext|>", "<|endoftext|>"
CLIP_WORDS = Regex(r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""")
CONTEXT_LENGTH = 32                           # tokens of a prompt, both ends included
PROMPT = "{text}, {seconds:.0f} seconds"      # what the demo's text encoder reads

SCENES = (
    "in the park", "on the beach", "at home", "in the kitchen", "on the street", "at the gym", "on stage",
    "in the garden", "in the office", "under a tree", "near the window", "in the rain", "at night", "in the morning",
    "wearing a red shirt", "wearing a hat", "in a blue dress", "with long hair", "in jeans", "with glasses",
    "in front of a wall", "in front of the camera", "in a studio", "in slow motion", "very slowly", "gently",
    "quickly", "with enthusiasm", "proudly", "nervously", "sadly", "angrily", "politely", "confidently", "carefully",
    "a little", "a bit", "several times", "over and over", "again and again", "for some seconds", "for the audience",
    "as if tired", "like a robot", "while smiling", "while looking ahead", "and smiles", "and then relaxes", "please",
)


@dataclass(frozen=True)
class MotionCache:
    """Training motions as features, and what each one shows."""

    rows: np.ndarray                # (N, 263) float16, all motions one after another, denormalised
    starts: np.ndarray              # (M + 1,) first row of each motion
    facts: list[dict]               # M dicts: kind, side, repetitions, caption

    def motion(self, index: int) -> Tensor:
        """(T, 263) float32, T a multiple of 4."""
        return torch.from_numpy(np.asarray(self.rows[self.starts[index]:self.starts[index + 1]], dtype=np.float32))

    def __len__(self) -> int:
        return len(self.facts)

    def training_indices(self, count: int, held_out: int, rng: np.random.Generator) -> np.ndarray:
        """Motions to learn from; those whose gist is a few centimetres, or that travel or turn, three times as often."""
        weights = np.array([3.0 if fact["kind"] in HARD_TO_KEEP else 1.0 for fact in self.facts[:-held_out]])
        return rng.choice(len(weights), size=count, p=weights / weights.sum())

    def held_out(self, count: int) -> list[Tensor]:
        """The last motions, which no training step sees."""
        return [self.motion(index) for index in range(len(self) - count, len(self))]


def prepare(folder: Path, num_motions: int, seed: int) -> MotionCache:
    """Sample motions once; kinds in turn, those with sides twice as often."""
    if not (folder / "facts.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        order = [kind for kind in KINDS for _ in range(2 if sides_of(kind) else 1)]
        facts, rows = [], []
        for index in tqdm(range(num_motions), desc="motions"):
            num_rows = FRAMES_PER_TOKEN * int(rng.integers(MIN_TOKENS, MAX_TOKENS + 1))
            sample = sample_motion(order[index % len(order)], (num_rows + 1) / MOTION_FPS, rng)
            rows.append(features(sample.motion, FORWARD_SMOOTHING).astype(np.float16))
            facts.append(dict(kind=sample.kind, side=sample.side, repetitions=sample.repetitions,
                              caption=sample.caption))
        np.save(folder / "rows.npy", np.concatenate(rows))
        np.save(folder / "starts.npy", np.cumsum([0, *map(len, rows)]))
        (folder / "facts.json").write_text(json.dumps(facts))
    return MotionCache(np.load(folder / "rows.npy", mmap_mode="r"), np.load(folder / "starts.npy"),
                       json.loads((folder / "facts.json").read_text()))


def statistics(cache: MotionCache, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (263,) float64, one deviation per block of features, the root's shrunk by ROOT_EMPHASIS.

    Computed once and kept in `folder`.
    """
    paths = folder / "mean.npy", folder / "std.npy"
    if all(path.exists() for path in paths):
        return tuple(np.load(path) for path in paths)
    rows = np.asarray(cache.rows[::5], dtype=np.float64)
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    for block in FEATURE_BLOCKS:
        std[block] = std[block].mean()
    for block in (YAW_VELOCITY, ROOT_VELOCITY, ROOT_HEIGHT):
        std[block] /= ROOT_EMPHASIS
    assert mean.shape == (NUM_FEATURES,)
    for path, values in zip(paths, (mean, std), strict=True):
        np.save(path, values)
    return mean, std


def window_batch(cache: MotionCache, indices: np.ndarray, num_rows: int, rng: np.random.Generator) -> Tensor:
    """A window of each motion, every fourth from its start, the end held where it is shorter. -> (B, num_rows, 263)

    The first row is unlike all others: the turn to the smoothed heading is there.
    """
    windows = []
    for index in indices:
        rows = cache.motion(index)
        start = int(rng.integers(max(len(rows) - num_rows, 0) + 1)) * (rng.random() > 0.25)
        window = rows[start:start + num_rows]
        windows.append(torch.cat([window, window[-1:].expand(num_rows - len(window), -1)]))
    return torch.stack(windows)


def training_prompt(fact: dict, num_tokens: int, rng: np.random.Generator) -> str:
    """A fresh caption as inference will phrase it: mostly with the length, sometimes with a scene or a gap."""
    text = fact["caption"]
    if rng.random() < 0.7:
        text = caption(fact["kind"], fact["side"], fact["repetitions"], rng)
    if rng.random() < 0.25:
        text = f"{text.rstrip('.')} {SCENES[rng.integers(len(SCENES))]}"
    words = text.split()
    if rng.random() < 0.25 and len(words) > 4:
        sided = {"left", "right", "both"}
        words = [word for word in words if rng.random() > 0.12 or sided & set(word.lower().strip(".,").split("-"))]
    text = " ".join(words)
    if rng.random() < 0.15:
        return text
    return PROMPT.format(text=text, seconds=num_tokens * SECONDS_PER_TOKEN)


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
