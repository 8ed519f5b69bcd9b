"""Train the demo's text-to-motion model on procedural motions, and on real ones where a folder of them is given.

    python demo/train_t2m.py --work data/t2m --out weights/demo/t2m [--mocap FOLDER] [--start-from weights/demo/t2m]

First the VQ-VAE, then the text encoder by itself, then the GPT with it. Every stage saves to --work and goes on from there
when started again. demo/mocap.py says what the folder holds.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import hashlib
import logging
import os
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch import nn, Tensor
from torch.utils.data import Dataset
from transformers import CLIPTokenizer

from configs import run_main, whole_number
from demo import demo_config
from demo.mocap import clip_files, read_clips, split
from demo.t2m_data import (caption_corpus, CONTEXT_LENGTH, export, HARD_TO_KEEP, MAX_STEPS, MotionCache, prepare, save_half,
                           statistics, text_encoder, tokens_for, train_tokenizer, training_prompt, varied, window_of)
from media.files import check_folder, copy_folder
from runtime.weights import tensors_key
from t2m.evaluation import round_trip_errors
from t2m.generate import TextToMotion
from t2m.task import gpt_loss, Normalisation, VQVAETask
from t2m.networks import FRAMES_PER_STEP, GPT, VQVAE
from training.loop import train
from training.task import Batch, MAX_SEED, Task, TrainConfig
from training_data.folder import require_equal
from training_data.sources import content_key

log = logging.getLogger(__name__)

HELD_OUT = 164                  # motions at the end of the cache that no step sees
REAL_WINDOWS, REAL_PROMPTS = 0.5, 0.2       # shares of what the VQ-VAE and the GPT see that are real, where there are any
PLAIN_WEIGHT = 200.0            # in prompts, of all real clips of one kind that show that and no more; any other real clip: 1
VQVAE_BATCH = 64                # windows
ENCODED_AT_ONCE = 32            # motions of one length
CODE_LAYERS = ("trans_base.tok_emb.", "trans_head.head.")
EDGES = ("encoder.model.0", "decoder.model.6", "tok_emb", "embedding", "trans_head.head", "reader.head")


def cumulative_chances(facts: list[dict], weights: list[float], real_share: float) -> np.ndarray:
    """(M,) of each motion, the chance that it or one before it is drawn; real ones together have `real_share` of it."""
    real, weights = np.array(["captions" in fact for fact in facts]), np.array(weights)
    if real.any():
        weights = np.where(real, real_share * weights / weights[real].sum(),
                           (1 - real_share) * weights / weights[~real].sum())
    return np.cumsum(weights / weights.sum())


def drawn(chances: np.ndarray, rng: np.random.Generator) -> int:
    """The number of a random motion; chances: as cumulative_chances gives them."""
    return min(int(np.searchsorted(chances, rng.random(), side="right")), len(chances) - 1)


class Windows(Dataset):
    """Sample p of the endless stream, whatever the index: a window of a random motion, hard ones more often, real ones varied."""

    def __init__(self, cache: MotionCache, window: int, seed: int):
        self.cache, self.window, self.seed = cache, window, seed
        facts = cache.facts[:-HELD_OUT]
        lengths = num_steps(cache).tolist()
        weights = [float(length) if "captions" in fact else HARD_TO_KEEP.get(fact["kind"], 1)
                   for fact, length in zip(facts, lengths)]
        self.chances = cumulative_chances(facts, weights, REAL_WINDOWS)

    def __len__(self) -> int:
        return len(self.chances)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        _, position = key
        rng = np.random.default_rng((self.seed, position))
        index = drawn(self.chances, rng)
        rows = self.window_of(index, rng)
        if "captions" in self.cache.facts[index]:
            rows = varied(rows, self.window_of(drawn(self.chances, rng), rng), rng)
        return {"rows": rows, "position": torch.tensor(position)}

    def window_of(self, index: int, rng: np.random.Generator) -> Tensor:
        """(window, 263)"""
        return window_of(self.cache.motion(index), self.window, rng)


class Prompts(Dataset):
    """Sample p of the endless stream, whatever the index: a random motion and a fresh prompt for it."""

    def __init__(self, cache: MotionCache, seed: int):
        self.cache, self.seed, self.lengths = cache, seed, num_steps(cache)
        facts = cache.facts[:-HELD_OUT]
        plain = Counter(fact["kind"] for fact in facts if fact.get("plain"))
        weights = [PLAIN_WEIGHT / plain[fact["kind"]] if fact.get("plain") else 1.0 for fact in facts]
        self.chances = cumulative_chances(facts, weights, REAL_PROMPTS)

    def __len__(self) -> int:
        return len(self.chances)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor | str]:
        _, position = key
        rng = np.random.default_rng((self.seed, position))
        index = drawn(self.chances, rng)
        prompt = training_prompt(self.cache.facts[index], int(self.lengths[index]), rng)
        return {"motion": torch.tensor(index), "prompt": prompt, "position": torch.tensor(position)}


def num_steps(cache: MotionCache) -> Tensor:
    """Tokens of every motion, (M,)."""
    return torch.from_numpy(np.diff(cache.starts) // FRAMES_PER_STEP)


@torch.no_grad()
def token_table(model: VQVAE, norm: Normalisation, cache: MotionCache) -> tuple[Tensor, Tensor]:
    """Tokens of every whole motion (M, 50 Q), zero beyond its length, and the lengths (M,)."""
    codes = torch.zeros(len(cache), model.levels * MAX_STEPS, dtype=torch.long)
    lengths = model.levels * num_steps(cache)
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
        self.settings = {"codes": hashlib.sha256(codes.numpy().tobytes()).hexdigest()[:16]}       # those of another VQ-VAE mean other poses
        gpt.trans_base.pos_embedding.requires_grad_(False)                            # in every checkpoint, never used
        self.objective = PromptObjective(reader, gpt)

    def inputs(self, batch: Batch) -> tuple:
        device, chosen = batch["motion"].device, batch["motion"].cpu()
        return (*super().inputs(batch), self.codes[chosen].to(device), self.lengths[chosen].to(device),
                self.seed + int(batch["position"][0]))

    def export(self, folder: Path) -> None:
        super().export(folder)
        save_half(self.gpt, folder / "gpt.safetensors")


def stage(name: str, steps: int, batch: int, learning_rate: float, arguments: argparse.Namespace) -> TrainConfig:
    """Muon with a warm-up of 30 steps and a cosine to a fiftieth."""
    return demo_config(arguments.work / name, max_steps=steps, batch_size=batch, learning_rate=learning_rate, adam_learning_rate=1e-3,
                       warmup_steps=30, final_learning_rate=0.02, ema_decay=0.0, mixed_precision=arguments.mixed_precision,
                       checkpoint_every=200, seed=arguments.seed)


def vqvae_to_train(arguments: argparse.Namespace) -> VQVAE:
    """Fresh, or the encoder and decoder of --start-from; the codebook starts at latents in any case."""
    torch.manual_seed(arguments.seed)
    vqvae = VQVAE(**tokens_for(arguments.mocap).vqvae)
    if arguments.start_from:
        trained = TextToMotion.load(arguments.start_from).vqvae.vqvae
        vqvae.vqvae.encoder.load_state_dict(trained.encoder.state_dict())
        vqvae.vqvae.decoder.load_state_dict(trained.decoder.state_dict())
    return vqvae


def reader_to_train(cache: MotionCache, arguments: argparse.Namespace) -> TextReader:
    """Fresh, with a tokenizer made for the captions, or the encoder and tokenizer of --start-from."""
    tokenizer, partial = arguments.work / "tokenizer", arguments.work / "tokenizer.partial"
    if not tokenizer.exists():
        if arguments.start_from:
            copy_folder(arguments.start_from / "tokenizer", partial)
        else:
            train_tokenizer(partial, caption_corpus(40000, arguments.seed), vocab_size=1700)
        os.replace(partial, tokenizer)
    torch.manual_seed(arguments.seed)
    reader = TextReader(cache, CLIPTokenizer.from_pretrained(tokenizer, local_files_only=True))
    if arguments.start_from:
        reader.encoder.load_state_dict(TextToMotion.load(arguments.start_from).encoder.model.state_dict())
    return reader


def gpt_to_train(arguments: argparse.Namespace) -> GPT:
    """Fresh, or all but what reads and writes codes from --start-from: its codes meant other poses."""
    torch.manual_seed(arguments.seed)
    gpt = GPT(**tokens_for(arguments.mocap).gpt)
    if arguments.start_from:
        trained, fresh = TextToMotion.load(arguments.start_from).gpt.state_dict(), gpt.state_dict()
        kept = {name: tensor for name, tensor in trained.items() if not name.startswith(CODE_LAYERS)}
        gpt.load_state_dict(fresh | kept)
    return gpt


def train_vqvae(cache: MotionCache, norm: Normalisation, arguments: argparse.Namespace) -> VQVAE:
    """Features to tokens and back; logs its errors on motions no step saw."""
    vqvae, seed = vqvae_to_train(arguments), arguments.seed
    train(VQVAETask(vqvae, norm, batch=VQVAE_BATCH, free_steps=min(200, arguments.vqvae_steps - 1), seed=seed, edges=EDGES),
          Windows(cache, 64, seed), stage("vqvae", arguments.vqvae_steps, VQVAE_BATCH, 0.02, arguments))
    held_out = {"procedural": cache.held_out(HELD_OUT)[::2]}
    if arguments.mocap:
        held_out["real"] = [torch.from_numpy(tokens_for(arguments.mocap).features(clip.motion))
                            for clip in split(read_clips(arguments.mocap))[1]]
    for name, motions in held_out.items():
        errors = round_trip_errors(vqvae.eval(), norm, motions)
        log.info("vqvae: held-out %s mm: %s", name, "  ".join(f"{joint} {1000 * m:.1f}" for joint, m in errors.items()))
    return vqvae


def train_stages(cache: MotionCache, mean: np.ndarray, std: np.ndarray,
                 arguments: argparse.Namespace) -> tuple[VQVAE, GPT, TextReader]:
    """The VQ-VAE, the text encoder by itself, and the GPT with it."""
    norm, seed = Normalisation(torch.from_numpy(mean).float(), torch.from_numpy(std).float()), arguments.seed
    vqvae = train_vqvae(cache, norm, arguments)
    prompts, reader = Prompts(cache, seed), reader_to_train(cache, arguments)
    train(TextTask(reader), prompts, stage("text", arguments.text_steps, 256, 0.01, arguments))
    gpt = gpt_to_train(arguments)
    train(PromptTask(reader, gpt, *token_table(vqvae, norm, cache), seed), prompts,
          stage("gpt", arguments.gpt_steps, 128, 0.01, arguments))
    return vqvae, gpt.eval(), reader.eval()


def made_with(arguments: argparse.Namespace) -> dict:
    """What decides the motions and the weights that are started from; the steps' own settings are in the checkpoints."""
    start, mocap = arguments.start_from, arguments.mocap
    return {"motions": arguments.motions, "seed": arguments.seed, "mocap": [content_key(file) for file in clip_files(mocap)] if mocap else None,
            "start_from": [tensors_key(file) for file in sorted(start.rglob("*.safetensors"))] if start else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("data/t2m"), help="folder for motions and checkpoints")
    parser.add_argument("--out", type=Path, default=Path("weights/demo/t2m"), help="folder for the weights")
    parser.add_argument("--mocap", type=Path, help="folder of real motions with captions to train on as well")
    parser.add_argument("--start-from", type=Path, help="weights whose VQ-VAE and feature statistics to start from")
    parser.add_argument("--mixed-precision", choices=("auto", "no", "bf16"), default="auto", help="auto: bf16 on CPUs that have it")
    parser.add_argument("--motions", type=whole_number(HELD_OUT + VQVAE_BATCH), default=18000, help="procedural motions to train on")
    parser.add_argument("--vqvae-steps", type=whole_number(1), default=9000, help="of the VQ-VAE")
    parser.add_argument("--text-steps", type=whole_number(1), default=6000, help="of the text encoder by itself")
    parser.add_argument("--gpt-steps", type=whole_number(1), default=3000, help="of the GPT and the text encoder")
    parser.add_argument("--seed", type=whole_number(0, most=MAX_SEED), default=1, help="of motions, weights and samples")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")

    check_folder(arguments.out, "name another --out")
    require_equal(arguments.work / "settings.json", made_with(arguments), arguments.work / "motions")
    cache = prepare(arguments.work / "motions", arguments.motions, arguments.seed, arguments.mocap)
    mean, std = statistics(cache, arguments.start_from or arguments.work / "motions")
    vqvae, gpt, reader = train_stages(cache, mean, std, arguments)
    export(arguments.out, vqvae, gpt, reader.encoder, arguments.work / "tokenizer", mean, std, arguments.mocap)


if __name__ == "__main__":
    run_main(main)
