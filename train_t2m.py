"""Train text-to-motion (T2M-GPT): the VQ-VAE, then the GPT, then measure both as the papers do.

    accelerate launch train_t2m.py data=data/HumanML3D text_encoder=weights/t2m/text_encoder

`data` is laid out as HumanML3D (scripts/prepare_humanml3d.py makes it) or is our cache of procedural motions. `output`
is what `TextToMotion.load` reads; every stage goes on exactly where it was stopped.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import json
import logging
import os
import shutil
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch

from configs import load_config, run_main, show_log
from runtime.device import launched_count
from t2m import evaluation
from t2m.evaluation import Embedder, measures, round_trip_errors
from t2m.features import joints_from_features
from t2m.motion_set import CaptionedMotions, MotionSet, MotionWindows, padded
from t2m.networks import GPT, VQVAE
from t2m.task import GPTTask, Normalisation, save_model, T2MConfig, VQVAETask
from t2m.text_encoder import text_folders, TextEncoder
from training.checkpoints import require_writable
from training.loop import train
from training.task import Batch, Task, TrainConfig

log = logging.getLogger(__name__)

EVALUATED_AT_ONCE = 32
LONGEST_STEPS = 50              # of four frames each, in a motion of the GPT: 10 s, as released
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")


class EmbedderTask(Task):
    """Motions and texts near each other, for the measures alone. Its clips are `CaptionedMotions`."""

    def __init__(self, model: Embedder, motions: MotionSet, text: TextEncoder, settings: dict):
        self.objective, self.motions, self.text, self.settings = model, motions, text, settings

    def inputs(self, batch: Batch) -> tuple:
        """Normalised motions with their lengths, and text features."""
        device = batch["position"].device
        norm = Normalisation(self.motions.mean, self.motions.std).to(device)
        rows, lengths = padded([norm.normalised(self.motions.rows(index).to(device)) for index in batch["motion"].tolist()])
        self.text.model.to(device)
        return rows, lengths, self.text(batch["caption"])

    def export(self, folder: Path) -> None:
        """embedder.safetensors, which compares runs that share it."""
        save_model(self.objective, folder / "embedder.safetensors")


class Training:
    """The stages in order, with what they share."""

    def __init__(self, config: T2MConfig):
        self.config, self.output = config, Path(config.output)
        if 0 < config.evaluated < evaluation.POOL:
            raise ValueError(f"evaluated: expected at least {evaluation.POOL} motions to measure on (found "
                             f"{config.evaluated}): raise it, or set evaluated=0 to leave the measures out")
        require_writable(self.output)
        for name in ("vqvae_batch", "gpt_batch"):
            share(getattr(config, name), launched_count(), name)
        self.text = TextEncoder.load(config.text_encoder)
        self.text.model.requires_grad_(False)
        self.text_dim = self.text.model.width
        self.motions, self.test = MotionSet.load(config.data, "train"), MotionSet.load(config.data, "test")
        if config.evaluated and len(self.test) < evaluation.POOL:
            raise ValueError(f"evaluated: expected at least {evaluation.POOL} motions to measure on (found {len(self.test)} in "
                             f"{config.data}'s test split, {config.evaluated} are asked for): set evaluated=0 to leave the "
                             "measures out")
        self.windows = MotionWindows(self.motions, config.window, config.seed)
        self.settings = {item.name: value for item, value in zip(fields(config), asdict(config).values())
                         if not item.metadata.get("free")}

    def stage(self, name: str, steps: int, batch: int, learning_rate: float) -> TrainConfig:
        """Settings of one stage; the learning rate falls to a twentieth for the last third (T2M-GPT, section 4.1)."""
        config = self.config
        return TrainConfig(output=str(self.output / name), max_steps=steps,
                           batch_size=share(batch, launched_count(), f"{name}_batch"), learning_rate=learning_rate,
                           adam_beta2=0.99, weight_decay=1e-6, warmup_steps=config.warmup_steps, schedule="step",
                           final_learning_rate=0.05, ema_decay=0.0, mixed_precision=config.mixed_precision,
                           num_workers=config.num_workers, checkpoint_every=config.checkpoint_every,
                           allow_changes=config.allow_changes, report_to="none", log_every=config.log_every,
                           seed=config.seed)

    def vqvae(self) -> VQVAE:
        """Features <-> tokens."""
        config = self.config
        torch.manual_seed(config.seed)
        model = VQVAE(**asdict(config.vqvae))
        task = VQVAETask(model, Normalisation(self.motions.mean, self.motions.std), batch=config.vqvae_batch,
                         free_steps=config.free_steps, seed=config.seed, settings=self.settings)
        train(task, self.windows,
              self.stage("vqvae", config.vqvae_steps, config.vqvae_batch, config.vqvae_learning_rate))
        return model.eval()

    @property
    def gpt_sizes(self) -> dict:
        """Of the GPT that writes the tokens of all levels."""
        levels, num_codes = self.config.vqvae.levels, self.config.vqvae.num_codes
        return dict(num_codes=levels * num_codes, text_dim=self.text_dim, block_size=LONGEST_STEPS + levels, levels=levels) | asdict(self.config.gpt)

    def gpt(self, vqvae: VQVAE) -> GPT:
        """Text -> tokens."""
        config = self.config
        torch.manual_seed(config.seed)
        model = GPT(**self.gpt_sizes)
        task = GPTTask(model, vqvae, self.motions, self.text, keep=config.keep, smoothing=config.smoothing,
                       seed=config.seed, settings=self.settings)
        train(task, CaptionedMotions(self.motions, config.seed),
              self.stage("gpt", config.gpt_steps, config.gpt_batch, config.gpt_learning_rate))
        return model.eval()

    def embedder(self) -> Embedder:
        """What the measures stand on."""
        torch.manual_seed(self.config.seed)
        model = Embedder(self.text_dim)
        train(EmbedderTask(model, self.motions, self.text, self.settings),
              CaptionedMotions(self.motions, self.config.seed),
              self.stage("embedder", self.config.embedder_steps, self.config.gpt_batch, 1e-3))
        return model.eval()

    @torch.no_grad()
    def measured(self, vqvae: VQVAE, gpt: GPT, embedder: Embedder) -> dict[str, float]:
        """The VQ-VAE's round trip and the papers' measures, on test motions no stage saw."""
        device = vqvae.vqvae.quantizer.codebook.device
        norm = Normalisation(self.motions.mean, self.motions.std).to(device)
        self.text.model.to(device)
        indices, captions = self.test.each_once(self.config.evaluated, self.config.seed)
        texts, motions, true, joints = [], [], [], []
        for begin in range(0, len(indices), EVALUATED_AT_ONCE):
            some = slice(begin, begin + EVALUATED_AT_ONCE)
            feature, real = self.text(captions[some]), [self.test.rows(i).to(device) for i in indices[some]]
            generator = torch.Generator().manual_seed(self.config.seed + begin)
            drawn = gpt.sample(feature, min_steps=1, generator=generator)
            made = [vqvae.decode(row[None])[0] for row in drawn]                      # normalised
            for found, kept in ((made, motions), ([norm.normalised(rows) for rows in real], true)):
                kept.append(embedder.motion(*padded(found)).cpu())
            texts.append(embedder.text(feature).cpu())
            joints += [joints_from_features(norm.denormalised(rows)).cpu().numpy() for rows in made]
        errors = round_trip_errors(vqvae, norm, [self.test.rows(i).to(device) for i in indices])
        stacked = (torch.cat(rows).numpy().astype(np.float64) for rows in (texts, motions, true))
        return ({f"round_trip_{name}_mm": 1000 * metres for name, metres in errors.items()}
                | measures(*stacked, joints, np.random.default_rng(self.config.seed)))

    def export(self, vqvae: VQVAE, gpt: GPT) -> None:
        """Write what `TextToMotion.load` reads."""
        sizes = dict(vqvae=asdict(self.config.vqvae), gpt=self.gpt_sizes)
        (self.output / "config.json").write_text(json.dumps(sizes, indent=1) + "\n")
        save_model(vqvae, self.output / "vqvae.safetensors")
        save_model(gpt, self.output / "gpt.safetensors")
        np.save(self.output / "mean.npy", self.motions.mean.numpy())
        np.save(self.output / "std.npy", self.motions.std.numpy())
        self.text.model.save(self.output / "text_encoder")
        (self.output / "tokenizer").mkdir(exist_ok=True)
        _, source = text_folders(Path(self.config.text_encoder))
        for file in (source / name for name in TOKENIZER_FILES if (source / name).exists()):
            shutil.copy(file, self.output / "tokenizer")


def share(batch: int, num_processes: int, name: str) -> int:
    """Of a batch, what each process takes."""
    each, rest = divmod(batch, num_processes)
    if rest or each < 1:
        raise ValueError(f"{name}: expected a batch that {num_processes} processes can share (found {batch}): "
                         "choose a multiple")
    return each


def main() -> None:
    show_log()
    config = load_config(T2MConfig, description=__doc__)
    training = Training(config)
    vqvae = training.vqvae()
    gpt = training.gpt(vqvae)
    is_main = int(os.environ.get("RANK", 0)) == 0
    if is_main:
        training.export(vqvae, gpt)
    if config.evaluated:
        embedder = training.embedder()
        if is_main:
            found = training.measured(vqvae, gpt, embedder)
            (training.output / "measured.json").write_text(json.dumps(found, indent=1) + "\n")
            log.info("\n".join(f"{name:22} {value:.4f}" for name, value in found.items()))


if __name__ == "__main__":
    run_main(main)
