"""Train the demo's text-to-motion model on procedural motions: the VQ-VAE, then the text encoder with the GPT.

    python demo/train_t2m.py --work data/t2m --out weights/demo/t2m

Every stage saves once a minute to --work and goes on from there when started again.
"""
from __future__ import annotations

import argparse
import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn, Tensor
from transformers import CLIPTokenizer

from configs import run_main
from demo.t2m_data import (caption_corpus, CONTEXT_LENGTH, export, GPT_SIZE, MAX_TOKENS, MotionCache, prepare,
                           statistics, text_encoder, train_tokenizer, training_prompt, VQVAE_SIZE, window_batch)
from t2m.evaluation import round_trip_errors
from t2m.task import autoencoder_losses, gpt_loss, MovingCodebook, Normalisation, vqvae_losses
from t2m.transformer import GPT
from t2m.vqvae import FRAMES_PER_TOKEN, VQVAE
from training.learner import Muon

log = logging.getLogger(__name__)

HELD_OUT = 164                  # motions at the end of the cache that no step sees
ENCODED_AT_ONCE = 32            # motions of one length
SAVE_SECONDS = 60.0
EDGES = {"encoder.model.0": "conv_in", "decoder.model.6": "conv_out", "tok_emb": "embedding",
         "trans_head.head": "head", "trans_head.blocks": "later.blocks", "position_embedding": "embedding"}


def train_vqvae(cache: MotionCache, norm: Normalisation, work: Path, *, steps: int, batch: int, window: int,
                free_steps: int, seed: int) -> VQVAE:
    """Features -> tokens -> features; the first `free_steps` without the bottleneck."""
    torch.manual_seed(seed)
    model = VQVAE(**VQVAE_SIZE)
    codebook = MovingCodebook(model.vqvae.quantizer.codebook)
    optimizer = optimizer_for(model, lr=0.02, adam_lr=1e-3)
    progress = Progress(work / "vqvae.pt", steps, optimizer, model=model, codebook=codebook)
    for step in progress:
        rng, generator = np.random.default_rng((seed, step)), torch.Generator().manual_seed(seed + step)
        rows = window_batch(cache, cache.training_indices(batch, HELD_OUT, rng), window, rng)
        with torch.autocast("cpu", torch.bfloat16):
            if step < free_steps:
                losses, latents = autoencoder_losses(model, rows, norm)
            else:
                losses, latents, codes = vqvae_losses(model, rows, norm)
        update(optimizer, sum(losses.values()))
        if step == free_steps - 1:
            codebook.start(latents, generator)
        elif step >= free_steps:
            codebook.update(latents, codes, generator)
        if (step + 1) % 200 == 0:
            log_round_trip("vqvae", progress, losses, model, norm, cache)
    return model.eval()


def log_round_trip(stage: str, progress: Progress, losses: dict[str, Tensor], model: VQVAE, norm: Normalisation,
                   cache: MotionCache) -> None:
    errors = round_trip_errors(model.eval(), norm, cache.held_out(HELD_OUT)[::2])
    model.train()
    log.info("%s %s  loss %.3f  held-out mm: %s", stage, progress, sum(losses.values()).item(),
             "  ".join(f"{name} {1000 * metres:.1f}" for name, metres in errors.items()))


@torch.no_grad()
def token_table(model: VQVAE, norm: Normalisation, cache: MotionCache) -> tuple[Tensor, Tensor]:
    """Tokens of every whole motion (M, 50), zero beyond its length, and the lengths (M,)."""
    codes = torch.zeros(len(cache), MAX_TOKENS, dtype=torch.long)
    lengths = torch.from_numpy(np.diff(cache.starts) // FRAMES_PER_TOKEN)
    for length in lengths.unique().tolist():                                          # no padding: it would be encoded
        for group in (lengths == length).nonzero()[:, 0].split(ENCODED_AT_ONCE):
            rows = torch.stack([cache.motion(index) for index in group.tolist()])     # (G, T, 263)
            codes[group, :length] = model.encode(norm.normalised(rows))
    return codes, lengths


class TextReader(nn.Module):
    """A text encoder, and a head that reads kind and side off its feature; the head is not kept."""

    def __init__(self, cache: MotionCache, tokenizer: CLIPTokenizer):
        super().__init__()
        self.facts, self.tokenizer = cache.facts, tokenizer
        labels = sorted({(fact["kind"], fact["side"] or "") for fact in cache.facts})
        self.labels = torch.tensor([labels.index((fact["kind"], fact["side"] or "")) for fact in cache.facts])   # (M,)
        self.encoder = text_encoder(len(tokenizer), tokenizer.eos_token_id)
        self.head = nn.Linear(self.encoder.config.projection_dim, len(labels))

    def forward(self, chosen: Tensor, num_tokens: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Text features (B, D) of fresh prompts for the chosen motions (B,), and how badly the head reads them."""
        prompts = [training_prompt(self.facts[i], n, rng) for i, n in zip(chosen.tolist(), num_tokens.tolist())]
        ids = self.tokenizer(prompts, padding=True, truncation=True, max_length=CONTEXT_LENGTH, return_tensors="pt")
        text = self.encoder(input_ids=ids["input_ids"]).text_embeds                   # (B, D)
        return text, nn.functional.cross_entropy(self.head(text).float(), self.labels[chosen], label_smoothing=0.05)


def train_text(reader: TextReader, lengths: Tensor, work: Path, *, steps: int, batch: int, seed: int) -> None:
    """Prompt -> kind and side, by itself: a hundred times cheaper than with the GPT, and prompts are what vary most."""
    torch.manual_seed(seed)
    optimizer = optimizer_for(reader, lr=0.01, adam_lr=1e-3)
    progress = Progress(work / "text.pt", steps, optimizer, reader=reader)
    for step in progress:
        rng = np.random.default_rng((seed, step))
        chosen = torch.from_numpy(rng.integers(len(lengths) - HELD_OUT, size=batch))
        with torch.autocast("cpu", torch.bfloat16):
            _, reading = reader(chosen, lengths[chosen], rng)
        update(optimizer, reading)
        if (step + 1) % 200 == 0:
            log.info("text %s  kind and side from text %.3f", progress, reading.item())


def train_gpt(reader: TextReader, codes: Tensor, lengths: Tensor, work: Path, *, steps: int, batch: int,
              seed: int) -> GPT:
    """Prompt -> tokens; the text encoder learns on with it."""
    torch.manual_seed(seed)
    gpt = GPT(**GPT_SIZE)
    optimizer = optimizer_for(reader, gpt, lr=0.01, adam_lr=1e-3)
    progress = Progress(work / "gpt.pt", steps, optimizer, gpt=gpt, reader=reader)
    for step in progress:
        rng, generator = np.random.default_rng((seed, step)), torch.Generator().manual_seed(seed + step)
        chosen = torch.from_numpy(rng.integers(len(lengths) - HELD_OUT, size=batch))
        with torch.autocast("cpu", torch.bfloat16):
            text, reading = reader(chosen, lengths[chosen], rng)
            loss, right = gpt_loss(gpt, text, codes[chosen], lengths[chosen], keep=0.5, smoothing=0.05,
                                   generator=generator)
        update(optimizer, loss + 0.3 * reading)
        if (step + 1) % 100 == 0:
            log.info("gpt %s  loss %.3f  tokens right %.3f  kind and side from text %.3f", progress, loss.item(),
                     right.item(), reading.item())
    return gpt.eval()


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
    norm = Normalisation(torch.from_numpy(mean).float(), torch.from_numpy(std).float())
    vqvae = train_vqvae(cache, norm, arguments.work, steps=arguments.vqvae_steps, batch=64, window=64,
                        free_steps=200, seed=arguments.seed)
    if not (arguments.work / "tokenizer").exists():
        train_tokenizer(arguments.work / "tokenizer", caption_corpus(40000, arguments.seed), vocab_size=1700)
    codes, lengths = token_table(vqvae, norm, cache)
    reader = TextReader(cache, CLIPTokenizer.from_pretrained(arguments.work / "tokenizer", local_files_only=True))
    train_text(reader, lengths, arguments.work, steps=arguments.text_steps, batch=256, seed=arguments.seed)
    gpt = train_gpt(reader, codes, lengths, arguments.work, steps=arguments.gpt_steps, batch=128, seed=arguments.seed)
    export(arguments.out, vqvae, gpt, reader.encoder.eval(), arguments.work / "tokenizer", mean, std)


def optimizer_for(*models: nn.Module, lr: float, adam_lr: float) -> Muon:
    """Muon on hidden matrices, Adam on the first and last layers, which Muon finds by these names."""
    named = []
    for name, parameter in (pair for model in models for pair in model.named_parameters()):
        for ours, edge in EDGES.items():
            name = name.replace(ours, edge)
        named.append((name, parameter))
    return Muon(named, lr, adam_lr=adam_lr)


class Progress:
    """Step, learning rate and what a resumed run needs, saved once a minute."""

    def __init__(self, path: Path, steps: int, optimizer: torch.optim.Optimizer, **parts):
        self.path, self.steps, self.optimizer, self.parts, self.step = path, steps, optimizer, parts, 0
        self.peak = [group["lr"] for group in optimizer.param_groups]
        self.saved = time.monotonic()
        if path.exists():
            state = torch.load(path, weights_only=True)
            self.step = state["step"]
            for name, part in {**parts, "optimizer": optimizer}.items():
                part.load_state_dict(state[name])
            log.info("resumed %s at step %d", path, self.step)
        self.begun = self.saved, self.step

    def __iter__(self):
        """Steps left; warms up over 30 steps, then a cosine to a fiftieth."""
        while self.step < self.steps:
            factor = min((self.step + 1) / 30, 1) * max(0.5 + 0.5 * math.cos(math.pi * self.step / self.steps), 0.02)
            for group, peak in zip(self.optimizer.param_groups, self.peak, strict=True):
                group["lr"] = peak * factor
            yield self.step
            self.step += 1
            if time.monotonic() - self.saved > SAVE_SECONDS or self.step == self.steps:
                self.save()

    def __str__(self) -> str:
        pace = (time.monotonic() - self.begun[0]) / max(self.step + 1 - self.begun[1], 1)
        return f"step {self.step + 1}/{self.steps}  {pace:.2f} s/step"

    def save(self) -> None:
        state = {name: part.state_dict() for name, part in {**self.parts, "optimizer": self.optimizer}.items()}
        torch.save(state | {"step": self.step}, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)
        self.saved = time.monotonic()


def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()


if __name__ == "__main__":
    run_main(main)
