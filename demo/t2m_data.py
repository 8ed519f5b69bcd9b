"""What trains the demo's text-to-motion model: motions of procedural people and, from a folder, of real ones, as HumanML3D
features, with fresh prompts; and the folder of weights that training gives."""
from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
from tokenizers import models, normalizers, pre_tokenizers, Tokenizer, trainers
from torch import nn, Tensor
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from demo.mocap import augmented, ONLY_WITH, read_clips, RealClip, split
from media.files import copy_folder, save_array, save_text
from runtime.weights import save_tensors
from synthetic.captions import ADJECTIVES, caption, PEOPLE, pick, SCENES, SUBJECTS
from synthetic.motions import KINDS, sample_motion, sides_of
from synthetic.phrases import PHRASES
from t2m.features import FEATURE_BLOCKS, features, joints_from_features, NUM_FEATURES, POSITIONS, ROOT_HEIGHT, ROOT_VELOCITY, ROTATIONS, VELOCITIES, YAW_VELOCITY
from t2m.generate import SECONDS_PER_STEP
from t2m.known_motions import Example
from t2m.motion import JOINT_NAMES, Motion, MOTION_FPS
from t2m.networks import FRAMES_PER_STEP, GPT, VQVAE
from t2m.text_encoder import CLIP_WORDS, END_OF_TEXT, END_OF_WORD, START_OF_TEXT
from t2m.weights import write_examples

MIN_STEPS, MAX_STEPS = 6, 50                  # of four frames: 1.2 to 10 s
ROOT_EMPHASIS = 5.0                           # the root's columns count this much more, as in HumanML3D's feat_bias
HARD_TO_KEEP = {        # their gist is a few centimetres, or they travel or turn: they come so much more often
    "shake_head": 9, "dance": 6, "phone": 6, "nod": 5, "salute": 5, "spin": 5, "wave": 5, "raise_arm": 4, "hands_on_hips": 3, "run": 3,
    "turn": 3, "walk": 3, "walk_backwards": 3, "side_step": 3, "lunge": 3, "flex": 2, "drink": 2, "hands_up": 2}
HARD_TO_SAY = {         # as often as others, their counts, ends or few centimetres were not learnt: so many more motions of them
    "jump": 5, "squat": 4, "dance": 3, "stand": 2, "walk": 2, "run": 2, "sit": 2, "clap": 2, "jumping_jack": 2, "bow": 2,
    "touch_toes": 2, "nod": 2, "shake_head": 2, "spin": 2, "kick": 2}
SHORT = 1.6             # exponent: lengths lean to short ones, which plans ask for most
VARIED, EXCHANGED = 0.3, 0.15                # shares of windows of real motion
CURVE, STRIDES = 0.006, (0.75, 1.25)          # half the turn, rad a frame; of the root's velocity
ABOVE_HIPS = [JOINT_NAMES.index(name) for name in JOINT_NAMES[1:] if not name.endswith(("hip", "knee", "ankle", "foot", "toe"))]
UPPER_BODY = [block.start + size * (joint - first) + column for block, size, first in
              ((POSITIONS, 3, 1), (ROTATIONS, 6, 1), (VELOCITIES, 3, 0)) for joint in ABOVE_HIPS for column in range(size)]
CONTEXT_LENGTH = 48                           # tokens of a prompt, both ends included
PROMPT = "{text}, {seconds:.0f} seconds"      # what the demo's text encoder reads
SIDED = {"left", "right", "both", "two", "one"}
UNSIDED_SHARE = 0.15                          # of fresh captions: "a person turns around" may be either way
DETERMINERS = ("a", "a", "the", "the", "my", "her", "his", "our", "this", "one", "another")
JOINTS = ("and", "while", "because", "before", "after", "as", "when", "for", "with", "near", "in", "at", "like", "so")
LONGEST_SUBJECT_FIRST = sorted({subject.name for subject in SUBJECTS if subject.name}, key=len, reverse=True)
TEXT_DIM = 128
STARRED = re.compile(r"\*([a-z]+)")         # a verb in synthetic.phrases
EXAMPLE = dict(side="right", their="their", them="them", they="they", are="are", have="have", them_self="themselves")
NOBODY = dict.fromkeys(EXAMPLE, "")         # a phrase without its side and its pronouns
TEMPERATURE, DRAWS = 1.0, 32     # of the shipped model; of so many motions the one nearest to what was asked for is taken
EXAMPLES, REAL_EXAMPLES = 12, 8               # of a kind and side
TIMES_AS_MANY = {"dance": 4}                  # so many times the examples
SPREAD = {"dance": 2.0, "run": 1.5, "jump": 1.5}        # how far apart motions of a kind are, where others are 1
EXAMPLE_FRAMES, EXAMPLE_SEED = 80, 7          # at most: four seconds
BEYOND = (                      # known words in a sense, or so often, as no training motion has it
    r"\b(walk|run|jog|march|strid|stroll)\w*\b.{0,20}\b(circles?|square|figure of eight)\b", r"\b(sit|push|pull|press|chin)[- ]?ups?\b",
    r"\b(cart|hand)(wheel|stand|spring)\w*|\bsomersault\w*|\b(back)?flips?\b")
SENSES = (                      # what words mean together, before each by itself
    (r"\b(bend|lean|tilt|inclin)\w*\b(?!.{0,30}\b(arm|leg|knee|head)s?\b).{0,30}\b(left|right|sideways|sides?)\b", ("stretch",)),
    (r"\b(spin|twirl|whirl|pirouett)\w*\b(?!.{0,20}\barms?\b)", ("spin",)))
VAGUE = frozenset(              # verbs of the phrases that say nothing about the motion by themselves
    "act be beat boot bring cast come confirm deliver deny display do down draw drive drop edge exercise express face "
    "form get give go have head hide hit hold hook keep land launch look lower make move open pass pay perform "
    "pick place plant play pose practice pull put remain rest say set settle shoot show single slide slip split stay "
    "stick strike swim take talk taste test thank tie trade train use warm work wrap agree answer call eat "
    "flag harden leap lift raise race shake shade swing speed "
    .split())
NAMED = ("arms", "hands", "palms", "applause", "biceps", "muscles", "jack", "phone", "telephone", "ear", "seat", "chair",
         "bench", "toes", "hips", "waist", "akimbo", "boxer", "knee", "knees", "goodbye", "hello", "still", "sideways",
         "surrender", "raise", "lift", "head", "leap", "race", "applaud", "salute")


@dataclass(frozen=True)
class Tokens:
    """How motions become features, and features tokens."""

    heading: str                    # as `features` takes it
    smoothing: float                # frames, of the heading: the root turns with the body, also in a pirouette
    width: int                      # of the VQ-VAE
    levels: int                     # codes for every four frames

    def features(self, motion: Motion) -> np.ndarray:
        """(T - 1, 263)"""
        return features(motion, self.smoothing, self.heading)

    @property
    def vqvae(self) -> dict:
        """The VQ-VAE's sizes."""
        return dict(num_codes=512, code_dim=64, width=self.width, depth=3, levels=self.levels)

    @property
    def gpt(self) -> dict:
        """The GPT's sizes."""
        return dict(num_codes=512 * self.levels, width=128, text_dim=TEXT_DIM, block_size=MAX_STEPS + self.levels, num_layers=2, num_heads=4,
                    dropout=0.1, levels=self.levels)


def tokens_for(mocap: Path | None) -> Tokens:
    """Real people twist and sway: one code is too little for them, and the published heading turns too much."""
    return Tokens("body", 4.0, width=160, levels=3) if mocap else Tokens("published", 2.0, width=120, levels=1)


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

    def held_out(self, count: int) -> list[Tensor]:
        """The last motions, which no training step sees."""
        return [self.motion(index) for index in range(len(self) - count, len(self))]


def prepare(folder: Path, num_motions: int, seed: int, mocap: Path | None = None) -> MotionCache:
    """Sample motions once; kinds in turn, those with sides twice as often, those of HARD_TO_SAY more so. Real ones, where a folder is given, come first."""
    if not (folder / "facts.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        tokens = tokens_for(mocap)
        facts, rows = real_motions(mocap) if mocap else ([], [])
        rng = np.random.default_rng(seed)
        order = [kind for kind in KINDS for _ in range((2 if sides_of(kind) else 1) * HARD_TO_SAY.get(kind, 1))]
        for index in tqdm(range(num_motions), desc="motions"):
            num_rows = FRAMES_PER_STEP * (MIN_STEPS + int((MAX_STEPS + 1 - MIN_STEPS) * rng.random() ** SHORT))
            sample = sample_motion(order[index % len(order)], (num_rows + 1) / MOTION_FPS, rng)
            rows.append(tokens.features(sample.motion).astype(np.float16))
            facts.append(dict(kind=sample.kind, side=sample.side, repetitions=sample.repetitions,
                              caption=sample.caption))
        np.save(folder / "rows.npy", np.concatenate(rows))
        np.save(folder / "starts.npy", np.cumsum([0, *map(len, rows)]))
        save_text(folder / "facts.json", json.dumps(facts))
    return MotionCache(np.load(folder / "rows.npy", mmap_mode="r"), np.load(folder / "starts.npy"),
                       json.loads((folder / "facts.json").read_text()))


def real_motions(mocap: Path) -> tuple[list[dict], list[np.ndarray]]:
    """What the training clips of a folder of real motion show, and their features (T, 263) float16."""
    tokens, facts, rows = tokens_for(mocap), [], []
    for clip in tqdm(augmented(split(read_clips(mocap))[0]), desc="real motions"):
        num_rows = min(len(clip.motion) - 1, FRAMES_PER_STEP * MAX_STEPS) // FRAMES_PER_STEP * FRAMES_PER_STEP
        rows.append(tokens.features(clip.motion)[:num_rows].astype(np.float16))
        facts.append(dict(kind=clip.kind or clip.category, side=clip.side, repetitions=None, caption=clip.captions[0],
                          captions=clip.captions, plain=clip.kind is not None))
    return facts, rows


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
        save_array(path, values)
    return mean, std


def window_of(rows: Tensor, num_rows: int, rng: np.random.Generator) -> Tensor:
    """A window of a motion (T, 263), every fourth from its start, the end held where it is shorter. (num_rows, 263)

    The first row is unlike all others: the turn to the smoothed heading is there.
    """
    start = int(rng.integers(max(len(rows) - num_rows, 0) + 1)) * (rng.random() > 0.25)
    window = rows[start:start + num_rows]
    return torch.cat([window, window[-1:].expand(num_rows - len(window), -1)])


def varied(rows: Tensor, other: Tensor, rng: np.random.Generator) -> Tensor:
    """A window of a real motion (T, 263) as somebody else might have moved: at times on a curve, in other strides, with the
    arms and trunk of another window. There are minutes of real motion, where the published networks had hours."""
    rows = rows.clone()
    if rng.random() < VARIED:
        rows[:, YAW_VELOCITY] += rng.normal(0, CURVE)
        rows[:, ROOT_VELOCITY] *= rng.uniform(*STRIDES)
    if rng.random() < EXCHANGED:
        rows[:, UPPER_BODY] = other[:, UPPER_BODY]
    return rows


def training_prompt(fact: dict, num_steps: int, rng: np.random.Generator) -> str:
    """A fresh caption as inference will phrase it: mostly with the length, and mostly with what people write around it."""
    text = pick(fact["captions"], rng) if "captions" in fact else fact["caption"]
    if rng.random() < (0.7 if "captions" not in fact else 0.5 * fact["plain"]):
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
    return PROMPT.format(text=text, seconds=num_steps * SECONDS_PER_STEP)


def with_stranger(text: str, rng: np.random.Generator) -> str:
    """The caption's subject, where it begins with one, replaced by somebody no caption knows."""
    for name in LONGEST_SUBJECT_FIRST:
        if text.lower().startswith(f"{name} "):
            who = pick(PEOPLE, rng) if rng.random() < 0.7 else pick(strange_words(), rng)
            if rng.random() < 0.3:
                who = f"{pick(ADJECTIVES, rng)} {who}"
            return f"{pick(DETERMINERS, rng)} {who}{text[len(name):]}"
    return text


def with_clause(text: str, rng: np.random.Generator) -> str:
    """A place, a manner or a few words of any sort before or after the caption."""
    clause = pick(SCENES, rng)
    if rng.random() < 0.4:
        clause = " ".join([pick(JOINTS, rng), *(pick(strange_words(), rng) for _ in range(int(rng.integers(1, 5))))])
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
        words.insert(int(rng.integers(len(words) + 1)), pick(strange_words(), rng))
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
            int(rng.integers(MIN_STEPS, MAX_STEPS + 1)), rng))
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


def text_encoder(vocab_size: int, end_of_text: int) -> CLIPTextModelWithProjection:
    """CLIP's text tower at the demo's size, with fresh weights."""
    return CLIPTextModelWithProjection(CLIPTextConfig(
        vocab_size=vocab_size, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=CONTEXT_LENGTH, projection_dim=TEXT_DIM, attention_dropout=0.1,
        bos_token_id=end_of_text - 1, eos_token_id=end_of_text, pad_token_id=end_of_text))


def save_half(model: nn.Module, path: Path) -> None:
    save_tensors({name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}, path)


@torch.no_grad()
def export(folder: Path, vqvae: VQVAE, gpt: GPT, encoder: CLIPTextModelWithProjection, tokenizer: Path,
           mean: np.ndarray, std: np.ndarray, mocap: Path | None = None) -> None:
    """Write everything TextToMotion.load reads, weights in half precision. mocap: real motion that was trained on, too."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = tokens_for(mocap)
    (folder / "config.json").write_text(json.dumps(dict(
        vqvae=tokens.vqvae, gpt=tokens.gpt, prompt=PROMPT, temperature=TEMPERATURE, draws=DRAWS,
        heading=tokens.heading, forward_smoothing=tokens.smoothing), indent=1) + "\n")
    real = split(read_clips(mocap))[0] if mocap else []
    real += [clip.mirrored() for clip in real]

    def redrawn(motion: Motion) -> np.ndarray:
        num_rows = min(len(motion) - 1, EXAMPLE_FRAMES) // FRAMES_PER_STEP * FRAMES_PER_STEP
        rows = torch.from_numpy((tokens.features(motion)[:num_rows] - mean) / std).float()
        return joints_from_features((vqvae.decode(vqvae.encode(rows[None])) * std + mean).float())[0].numpy()

    write_known_motions(folder / "known_motions.json")
    write_examples(folder, examples(redrawn, real))
    save_half(vqvae, folder / "vqvae.safetensors")
    save_half(gpt, folder / "gpt.safetensors")
    np.save(folder / "mean.npy", mean)
    np.save(folder / "std.npy", std)
    encoder.half().save_pretrained(folder / "text_encoder")
    copy_folder(tokenizer, folder / "tokenizer")


def write_known_motions(path: Path) -> None:
    """What KnownMotions.of reads: words and phrases of the training captions."""
    listed = known_words() | {"beyond": BEYOND, "senses": SENSES, "only_with": ONLY_WITH, "spread": SPREAD}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in listed.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def known_words() -> dict:
    """Words that name a motion, one phrase per motion, which kinds verbs and nouns may mean, and what each kind is called."""
    verbs, vague, nouns = defaultdict(set), defaultdict(set), defaultdict(set)
    for listed, phrases in PHRASES.items():
        kind = listed.split(":")[0]
        for phrase in phrases:
            for verb in STARRED.findall(phrase):
                (vague if verb in VAGUE else verbs)[verb].add(kind)
            for noun in set(re.findall("[a-z]+", phrase)) & set(NAMED):
                nouns[noun].add(kind)
    phrases = [plain(listed[0], EXAMPLE) for listed in PHRASES.values()]
    wordings = defaultdict(list)
    for listed, said in PHRASES.items():
        wordings[listed.split(":")[0]] += [plain(phrase, NOBODY) for phrase in said]
    kinds = {name: {word: sorted(listed[word]) for word in sorted(listed)}
             for name, listed in (("verbs", verbs), ("vague", vague), ("nouns", nouns))}
    return dict(words=sorted({*NAMED, *verbs}), phrases=phrases) | kinds | {"wordings": wordings}


def plain(phrase: str, filled_in: Mapping[str, str]) -> str:
    """A phrase without the stars of its verbs."""
    return " ".join(STARRED.sub(r"\1", phrase).format_map(filled_in).split())


def examples(redrawn: Callable[[Motion], np.ndarray], real: list[RealClip]) -> list[Example]:
    """A few motions of every kind and side, always the same ones, and those of real people, `redrawn` by the VQ-VAE: the data is
    not given on."""
    rng, found = np.random.default_rng(EXAMPLE_SEED), []
    for kind in KINDS:
        for side in sides_of(kind) or (None,):
            made = [sample_motion(kind, EXAMPLE_FRAMES / MOTION_FPS, rng, side=side).motion for _ in range(EXAMPLES * TIMES_AS_MANY.get(kind, 1))]
            seen = sorted((clip.motion for clip in real if (clip.kind, clip.side) == (kind, side)), key=len, reverse=True)
            found += [Example(kind, side, motion.joints, real=False) for motion in made]
            found += [Example(kind, side, redrawn(motion), real=True) for motion in seen[:REAL_EXAMPLES]]
    return found
