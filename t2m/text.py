"""A prompt -> the text feature that conditions the GPT: CLIP's pooled, projected, un-normalised embedding (§3.2)."""
from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from t2m.weights import load_text_tower

WORDS = re.compile(r"[a-z]+(?:'[a-z]+)?")
SUFFIXES = ("ing", "ed", "es", "s")
SHORTEST_STEM = 3      # letters


@dataclass(frozen=True)
class TextEncoder:
    """CLIP's text tower with its tokenizer; over-long text is cut at the context length, as clip.tokenize does."""

    model: CLIPTextModelWithProjection
    tokenizer: CLIPTokenizer

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu",
             dtype: torch.dtype = torch.float32) -> TextEncoder:
        """From `folder`/text_encoder and `folder`/tokenizer, or from a snapshot of a whole CLIP in `folder`."""
        model_folder, tokenizer_folder = text_folders(Path(folder))
        return cls(load_text_tower(model_folder, dtype).to(device), load_tokenizer(tokenizer_folder))

    def __call__(self, texts: list[str]) -> Tensor:
        """(B, D), not normalised."""
        limit = self.model.config.max_position_embeddings
        ids = self.tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        return self.model(input_ids=ids["input_ids"].to(self.model.device)).text_embeds


def text_folders(folder: Path) -> tuple[Path, Path]:
    """Where the text encoder and the tokenizer are: in folders of their own, or together."""
    model = folder / "text_encoder" if (folder / "text_encoder").is_dir() else folder
    return model, folder / "tokenizer" if (folder / "tokenizer").is_dir() else model


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """CLIP's tokenizer from its two files."""
    for name in ("vocab.json", "merges.txt"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: expected CLIP's tokenizer there (found none): "
                                    "see weights/README.md")
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:      # what the tokenizers library raises has no class of its own
        raise ValueError(f"{folder}: expected CLIP's vocab.json and merges.txt ({error}): fetch them again") from None


def stem(word: str) -> str:
    """A word without its inflection, roughly: waves, waved and waving are one."""
    for suffix in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= SHORTEST_STEM:
            word = word[:-len(suffix)]
            break
    if len(word) > SHORTEST_STEM and word[-1] == word[-2]:
        word = word[:-1]
    return word.removesuffix("e") if len(word) > SHORTEST_STEM else word


def stems(text: str) -> list[str]:
    return [stem(word) for word in WORDS.findall(text.lower())]


@dataclass(frozen=True)
class KnownMotions:
    """What a checkpoint was trained to do: stems of the words that name a motion, and one example phrase per motion."""

    stems: frozenset[str]
    phrases: tuple[str, ...]

    @classmethod
    def of(cls, words: Iterable[str], phrases: Iterable[str]) -> KnownMotions:
        return cls(frozenset(stem(word) for word in words), tuple(phrases))

    def covers(self, text: str) -> bool:
        return not self.stems.isdisjoint(stems(text))

    @torch.no_grad()
    def nearest(self, text: str, encoder: TextEncoder) -> str:
        """The phrase whose text feature points most nearly the same way."""
        features = torch.nn.functional.normalize(encoder([text, *self.phrases]), dim=-1)      # (1 + P, D)
        return self.phrases[int((features[1:] @ features[0]).argmax())]
