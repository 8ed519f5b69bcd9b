"""Train text-to-motion (T2M-GPT): the VQ-VAE, then the GPT, then measure both as the papers do.

    accelerate launch train_t2m.py data=data/HumanML3D text_encoder=weights/t2m/text_encoder

`data` is laid out as HumanML3D (scripts/prepare_humanml3d.py makes it) or is our cache of procedural motions. `output`
is what `TextToMotion.load` reads; every stage goes on exactly where it was stopped.
"""
from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from configs import load_config, run_main, show_log
from media.files import save_atomically
from runtime.device import keep_freed_memory
from runtime.processes import leave
from runtime.weights import save_tensors
from t2m import evaluation
from t2m.evaluation import Embedder, measures, round_trip_errors
from t2m.features import joints_from_features
from t2m.motion_set import MotionSet, padded
from t2m.task import GPTObjective, MovingCodebook, Normalisation, T2MConfig, VQVAEObjective
from t2m.text import TextEncoder
from t2m.transformer import GPT
from t2m.vqvae import VQVAE
from training.checkpoints import require_writable
from training.stage import share, Stage

log = logging.getLogger(__name__)

EVALUATED_AT_ONCE = 32
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")


class Training:
    """The stages in order, with what they share."""

    def __init__(self, config: T2MConfig):
        self.config, self.output = config, Path(config.output)
        self.motions, self.test = MotionSet.load(config.data, "train"), MotionSet.load(config.data, "test")
        if config.evaluated and min(config.evaluated, len(self.test)) < evaluation.POOL:
            raise ValueError(f"evaluated: expected at least {evaluation.POOL} motions to measure on (found "
                             f"{config.evaluated} of {len(self.test)}): set evaluated=0 to leave the measures out")
        require_writable(self.output)
        self.accelerator = Accelerator(mixed_precision=config.mixed_precision)
        for name in ("vqvae_batch", "gpt_batch"):
            share(getattr(config, name), self.accelerator.num_processes, name)
        self.device = self.accelerator.device
        keep_freed_memory(self.device)
        self.norm = Normalisation(self.motions.mean.to(self.device), self.motions.std.to(self.device))
        self.text = TextEncoder.load(config.text_encoder, self.device)
        self.text.model.requires_grad_(False)
        self.text_dim = self.text.model.config.projection_dim

    def stage(self, name: str, objective: torch.nn.Module, steps: int, batch: int, rate: float, **parts) -> Stage:
        return Stage(self.accelerator, self.output / name, objective, steps=steps, batch=batch, learning_rate=rate,
                     warmup_steps=self.config.warmup_steps, checkpoint_every=self.config.checkpoint_every,
                     log_every=self.config.log_every, settings=asdict(self.config), parts=parts)

    def vqvae(self) -> VQVAE:
        """Features <-> tokens."""
        config = self.config
        torch.manual_seed(config.seed)
        model = VQVAE(**asdict(config.vqvae)).to(self.device)
        codebook = MovingCodebook(model.vqvae.quantizer.codebook)
        stage = self.stage("vqvae", VQVAEObjective(model, self.norm), config.vqvae_steps, config.vqvae_batch,
                           config.vqvae_learning_rate, codebook=codebook)
        for step, positions in stage:
            generator = torch.Generator().manual_seed(config.seed + step)
            rows = self.motions.windows(positions, config.window, config.seed).to(self.device)
            if step == config.free_steps:                                             # the rows start at latents
                latents = model.latents(self.norm.normalised(rows)).detach().flatten(0, 1)
                codebook.start(self.accelerator.gather(latents), generator)
            loss, latents, codes = stage.learn(rows, step < config.free_steps)
            if step >= config.free_steps:                                             # of all processes: one codebook
                codebook.update(*self.accelerator.gather((latents, codes)), generator)
        return model.eval()

    @torch.no_grad()
    def tokens(self, model: VQVAE) -> tuple[Tensor, Tensor]:
        """Tokens of every training motion (M, L), zero beyond its length, and the lengths (M,)."""
        codes = [model.encode(self.norm.normalised(self.motions.rows(i).to(self.device))[None])[0]
                 for i in range(len(self.motions))]
        return torch.nn.utils.rnn.pad_sequence(codes, batch_first=True), torch.tensor([len(row) for row in codes],
                                                                                      device=self.device)

    def gpt(self, vqvae: VQVAE) -> GPT:
        """Text -> tokens."""
        config = self.config
        torch.manual_seed(config.seed)
        model = GPT(num_codes=config.vqvae.num_codes, text_dim=self.text_dim, **asdict(config.gpt)).to(self.device)
        model.trans_base.pos_embedding.requires_grad_(False)                          # in every checkpoint, never used
        stage = self.stage("gpt", GPTObjective(model, config.keep, config.smoothing), config.gpt_steps,
                           config.gpt_batch, config.gpt_learning_rate)
        codes, lengths = self.tokens(vqvae) if stage.step < stage.steps else (None, None)
        for step, positions in stage:
            indices, captions = self.motions.captioned(positions, config.seed)
            stage.learn(self.text(captions), codes[indices], lengths[indices], config.seed + positions[0])
        return model.eval()

    def embedder(self) -> Embedder:
        """What the measures stand on."""
        torch.manual_seed(self.config.seed)
        model = Embedder(self.text_dim).to(self.device)
        stage = self.stage("embedder", model, self.config.embedder_steps, self.config.gpt_batch, 1e-3)
        for _, positions in stage:
            indices, captions = self.motions.captioned(positions, self.config.seed)
            rows, lengths = padded([self.norm.normalised(self.motions.rows(i).to(self.device)) for i in indices])
            stage.learn(rows, lengths, self.text(captions))
        return model.eval()

    @torch.no_grad()
    def measured(self, vqvae: VQVAE, gpt: GPT, embedder: Embedder) -> dict[str, float]:
        """The VQ-VAE's round trip and the papers' measures, on test motions no stage saw."""
        indices, captions = self.test.each_once(self.config.evaluated, self.config.seed)
        texts, motions, true, joints = [], [], [], []
        for begin in range(0, len(indices), EVALUATED_AT_ONCE):
            some = slice(begin, begin + EVALUATED_AT_ONCE)
            feature, real = self.text(captions[some]), [self.test.rows(i).to(self.device) for i in indices[some]]
            generator = torch.Generator().manual_seed(self.config.seed + begin)
            drawn = gpt.sample(feature, min_tokens=1, generator=generator)
            made = [vqvae.decode(row[None])[0] for row in drawn]                      # normalised
            for found, kept in ((made, motions), ([self.norm.normalised(rows) for rows in real], true)):
                kept.append(embedder.motion(*padded(found)).cpu())
            texts.append(embedder.text(feature).cpu())
            joints += [joints_from_features(self.norm.denormalised(rows)).cpu().numpy() for rows in made]
        errors = round_trip_errors(vqvae, self.norm, [self.test.rows(i).to(self.device) for i in indices])
        stacked = (torch.cat(rows).numpy().astype(np.float64) for rows in (texts, motions, true))
        return ({f"round_trip_{name}_mm": 1000 * metres for name, metres in errors.items()}
                | measures(*stacked, joints, np.random.default_rng(self.config.seed)))

    def export(self, vqvae: VQVAE, gpt: GPT) -> None:
        """Write what `TextToMotion.load` reads."""
        shared = dict(num_codes=self.config.vqvae.num_codes, text_dim=self.text_dim)
        sizes = dict(vqvae=asdict(self.config.vqvae), gpt=shared | asdict(self.config.gpt))
        (self.output / "config.json").write_text(json.dumps(sizes, indent=1) + "\n")
        for name, model in (("vqvae", vqvae), ("gpt", gpt)):
            tensors = {key: tensor.cpu().contiguous() for key, tensor in model.state_dict().items()}
            save_atomically(self.output / f"{name}.safetensors",
                            lambda path, tensors=tensors: save_tensors(tensors, path))
        np.save(self.output / "mean.npy", self.motions.mean.numpy())
        np.save(self.output / "std.npy", self.motions.std.numpy())
        self.text.model.save_pretrained(self.output / "text_encoder")
        (self.output / "tokenizer").mkdir(exist_ok=True)
        source = tokenizer_folder(Path(self.config.text_encoder))
        for file in (source / name for name in TOKENIZER_FILES if (source / name).exists()):
            shutil.copy(file, self.output / "tokenizer")


def tokenizer_folder(text_encoder: Path) -> Path:
    """Where `TextEncoder.load` found the tokenizer's files."""
    return next(folder for folder in (text_encoder / "tokenizer", text_encoder / "text_encoder", text_encoder)
                if (folder / "vocab.json").exists())


def main() -> None:
    show_log()
    config = load_config(T2MConfig, description=__doc__)
    training = Training(config)
    vqvae = training.vqvae()
    gpt = training.gpt(vqvae)
    if training.accelerator.is_main_process:
        training.export(vqvae, gpt)
    if config.evaluated:
        embedder = training.embedder()
        if training.accelerator.is_main_process:
            found = training.measured(vqvae, gpt, embedder)
            (training.output / "measured.json").write_text(json.dumps(found, indent=1) + "\n")
            log.info("\n".join(f"{name:22} {value:.4f}" for name, value in found.items()))
    leave(training.accelerator)


if __name__ == "__main__":
    run_main(main)
