"""Train the demo's text-to-motion model on procedural motions: the VQ-VAE, then the text encoder with the GPT.

    python demo/train_t2m.py --work data/t2m --out weights/demo/t2m

Every stage saves to --work and goes on from there when started again.
"""
from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
import torch
from torch import nn, Tensor
from torch.utils.data import Dataset
from transformers import CLIPTokenizer

from configs import run_main
from demo.t2m_data import (caption_corpus, CONTEXT_LENGTH, export, GPT_SIZE, HARD_TO_KEEP, MAX_TOKENS, MotionCache,
                           prepare, save_half, statistics, text_encoder, train_tokenizer, training_prompt, VQVAE_SIZE,
                           window_of)
from t2m.evaluation import round_trip_errors
from t2m.task import gpt_loss, Normalisation, VQVAETask
from t2m.transformer import GPT
from t2m.vqvae import FRAMES_PER_TOKEN, VQVAE
from training.loop import train
from training.task import Batch, Task, TrainConfig

log = logging.getLogger(__name__)

HELD_OUT = 164                  # motions at the end of the cache that no step sees
ENCODED_AT_ONCE = 32            # motions of one length
EDGES = ("encoder.model.0", "decoder.model.6", "tok_emb", "embedding", "trans_head.head", "reader.head")


class Windows(Dataset):
    """Sample p of the endless stream, whatever the index: a window of a random motion, hard ones more often."""

    def __init__(self, cache: MotionCache, window: int, seed: int):
        self.cache, self.window, self.seed = cache, window, seed
        weights = np.array([3.0 if fact["kind"] in HARD_TO_KEEP else 1.0 for fact in cache.facts[:-HELD_OUT]])
        self.up_to = np.cumsum(weights / weights.sum())

    def __len__(self) -> int:
        return len(self.up_to)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        _, position = key
        rng = np.random.default_rng((self.seed, position))
        index = min(int(np.searchsorted(self.up_to, rng.random(), side="right")), len(self) - 1)
        return {"rows": window_of(self.cache.motion(index), self.window, rng), "position": torch.tensor(position)}


class Prompts(Dataset):
    """Sample p of the endless stream, whatever the index: a random motion and a fresh prompt for it."""

    def __init__(self, cache: MotionCache, seed: int):
        self.cache, self.seed, self.lengths = cache, seed, num_tokens(cache)

    def __len__(self) -> int:
        return len(self.cache) - HELD_OUT

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor | str]:
        _, position = key
        rng = np.random.default_rng((self.seed, position))
        index = int(rng.integers(len(self)))
        prompt = training_prompt(self.cache.facts[index], int(self.lengths[index]), rng)
        return {"motion": torch.tensor(index), "prompt": prompt, "position": torch.tensor(position)}


def num_tokens(cache: MotionCache) -> Tensor:
    """Tokens of every motion, (M,)."""
    return torch.from_numpy(np.diff(cache.starts) // FRAMES_PER_TOKEN)


@torch.no_grad()
def token_table(model: VQVAE, norm: Normalisation, cache: MotionCache) -> tuple[Tensor, Tensor]:
    """Tokens of every whole motion (M, 50), zero beyond its length, and the lengths (M,)."""
    codes = torch.zeros(len(cache), MAX_TOKENS, dtype=torch.long)
    lengths = num_tokens(cache)
    for length in lengths.unique().tolist():                                          # no padding: it would be encoded
        for group in (lengths == length).nonzero()[:, 0].split(ENCODED_AT_ONCE):
            rows = torch.stack([cache.motion(index) for index in group.tolist()])     # (G, T, 263)
            codes[group, :length] = model.encode(norm.normalised(rows))
    return codes, lengths


class TextReader(nn.Module):
    """A text encoder, and a head that reads kind and side off its feature; the head is not kept."""

    def __init__(self, cache: MotionCache, tokenizer: CLIPTokenizer):
        super().__init__()
        self.tokenizer = tokenizer
        labels = sorted({(fact["kind"], fact["side"] or "") for fact in cache.facts})
        self.labels = torch.tensor([labels.index((fact["kind"], fact["side"] or "")) for fact in cache.facts])   # (M,)
        self.encoder = text_encoder(len(tokenizer), tokenizer.eos_token_id)
        self.head = nn.Linear(self.encoder.config.projection_dim, len(labels))

    def tokens(self, prompts: list[str]) -> Tensor:
        """(B, L)"""
        return self.tokenizer(prompts, padding=True, truncation=True, max_length=CONTEXT_LENGTH,
                              return_tensors="pt")["input_ids"]

    def forward(self, ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Text features (B, D) of prompts (B, L), and how badly the head reads their labels (B,), (B,)."""
        text = self.encoder(input_ids=ids).text_embeds                                # (B, D)
        badly = nn.functional.cross_entropy(self.head(text).float(), labels, label_smoothing=0.05, reduction="none")
        return text, badly


class ReadingObjective(nn.Module):
    """The text reader by itself: a hundred times cheaper than with the GPT, and prompts are what vary most."""

    def __init__(self, reader: TextReader):
        super().__init__()
        self.reader = reader

    def forward(self, ids: Tensor, labels: Tensor) -> Tensor:
        """Losses (B,)."""
        return self.reader(ids, labels)[1]


class TextTask(Task):
    """Prompt to kind and side. Its clips are `Prompts`."""

    edges = EDGES

    def __init__(self, reader: TextReader):
        self.reader, self.objective = reader, ReadingObjective(reader)

    def inputs(self, batch: Batch) -> tuple:
        device, chosen = batch["motion"].device, batch["motion"].cpu()
        return self.reader.tokens(batch["prompt"]).to(device), self.reader.labels[chosen].to(device)

    def export(self, folder: Path) -> None:
        save_half(self.reader.encoder, folder / "text_encoder.safetensors")


class PromptObjective(nn.Module):
    """The GPT, and the text reader that learns on with it."""

    def __init__(self, reader: TextReader, gpt: GPT):
        super().__init__()
        self.reader, self.gpt = reader, gpt

    def forward(self, ids: Tensor, labels: Tensor, codes: Tensor, lengths: Tensor, seed: int) -> Tensor:
        """The batch's loss, ()."""
        text, badly = self.reader(ids, labels)
        loss = gpt_loss(self.gpt, text, codes, lengths, keep=0.5, smoothing=0.05,
                        generator=torch.Generator().manual_seed(seed))
        return loss + 0.3 * badly.mean()


class PromptTask(TextTask):
    """Prompt to tokens. Its clips are `Prompts`."""

    def __init__(self, reader: TextReader, gpt: GPT, codes: Tensor, lengths: Tensor, seed: int):
        self.reader, self.gpt, self.codes, self.lengths, self.seed = reader, gpt, codes, lengths, seed
        gpt.trans_base.pos_embedding.requires_grad_(False)                            # in every checkpoint, never used
        self.objective = PromptObjective(reader, gpt)

    def inputs(self, batch: Batch) -> tuple:
        device, chosen = batch["motion"].device, batch["motion"].cpu()
        return (*super().inputs(batch), self.codes[chosen].to(device), self.lengths[chosen].to(device),
                self.seed + int(batch["position"][0]))

    def export(self, folder: Path) -> None:
        super().export(folder)
        save_half(self.gpt, folder / "gpt.safetensors")


def stage(folder: Path, steps: int, batch: int, learning_rate: float, seed: int) -> TrainConfig:
    """Muon with a warm-up of 30 steps and a cosine to a fiftieth."""
    return TrainConfig(output=str(folder), max_steps=steps, batch_size=batch, optimizer="muon",
                       learning_rate=learning_rate, adam_learning_rate=1e-3, warmup_steps=30, final_learning_rate=0.02,
                       ema_decay=0.0, mixed_precision="bf16", num_workers=0, checkpoint_every=200,
                       checkpoints_total_limit=1, report_to="none", seed=seed)


def train_stages(cache: MotionCache, mean: np.ndarray, std: np.ndarray,
                 arguments: argparse.Namespace) -> tuple[VQVAE, GPT, TextReader]:
    """The VQ-VAE, the text encoder by itself, and the GPT with it."""
    norm, seed = Normalisation(torch.from_numpy(mean).float(), torch.from_numpy(std).float()), arguments.seed
    torch.manual_seed(seed)
    vqvae = VQVAE(**VQVAE_SIZE)
    train(VQVAETask(vqvae, norm, batch=64, free_steps=min(200, arguments.vqvae_steps - 1), seed=seed, edges=EDGES),
          Windows(cache, 64, seed), stage(arguments.work / "vqvae", arguments.vqvae_steps, 64, 0.02, seed))
    errors = round_trip_errors(vqvae.eval(), norm, cache.held_out(HELD_OUT)[::2])
    log.info("vqvae: held-out mm: %s", "  ".join(f"{name} {1000 * metres:.1f}" for name, metres in errors.items()))
    if not (arguments.work / "tokenizer").exists():
        train_tokenizer(arguments.work / "tokenizer", caption_corpus(40000, seed), vocab_size=1700)
    prompts = Prompts(cache, seed)
    torch.manual_seed(seed)
    reader = TextReader(cache, CLIPTokenizer.from_pretrained(arguments.work / "tokenizer", local_files_only=True))
    train(TextTask(reader), prompts, stage(arguments.work / "text", arguments.text_steps, 256, 0.01, seed))
    torch.manual_seed(seed)
    gpt = GPT(**GPT_SIZE)
    train(PromptTask(reader, gpt, *token_table(vqvae, norm, cache), seed), prompts,
          stage(arguments.work / "gpt", arguments.gpt_steps, 128, 0.01, seed))
    return vqvae, gpt.eval(), reader.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("data/t2m"), help="folder for motions and checkpoints")
    parser.add_argument("--out", type=Path, default=Path("weights/demo/t2m"), help="folder for the weights")
    parser.add_argument("--motions", type=int, default=18000, help="procedural motions to train on")
    parser.add_argument("--vqvae-steps", type=int, default=2400, help="of the VQ-VAE")
    parser.add_argument("--text-steps", type=int, default=6000, help="of the text encoder by itself")
    parser.add_argument("--gpt-steps", type=int, default=3000, help="of the GPT and the text encoder")
    parser.add_argument("--seed", type=int, default=1, help="of motions, weights and samples")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    cache = prepare(arguments.work / "motions", arguments.motions, arguments.seed)
    mean, std = statistics(cache, arguments.work / "motions")
    vqvae, gpt, reader = train_stages(cache, mean, std, arguments)
    export(arguments.out, vqvae, gpt, reader.encoder, arguments.work / "tokenizer", mean, std)


if __name__ == "__main__":
    run_main(main)
