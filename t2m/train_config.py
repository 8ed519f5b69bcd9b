"""Settings of text-to-motion training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

AT_LEAST_ONE = ("vqvae_steps", "vqvae_batch", "gpt_steps", "gpt_batch", "embedder_steps", "checkpoint_every",
                "log_every")
NOT_NEGATIVE = ("free_steps", "warmup_steps", "vqvae_learning_rate", "gpt_learning_rate", "evaluated", "seed")


def _setting(default, help: str, choices: tuple[str, ...] = ()):
    return field(default=default, metadata={"help": help} | ({"choices": choices} if choices else {}))


@dataclass
class VQVAESize:
    """Sizes of the VQ-VAE; the defaults are the released ones."""
    num_codes: int = _setting(512, "rows of the codebook")
    code_dim: int = _setting(512, "length of a row")
    width: int = _setting(512, "channels")
    depth: int = _setting(3, "residual blocks per level")


@dataclass
class GPTSize:
    """Sizes of the GPT; the defaults are the released ones."""
    width: int = _setting(1024, "channels")
    num_layers: int = _setting(9, "blocks in each of two halves")
    num_heads: int = _setting(16, "attention heads")
    dropout: float = _setting(0.1, "of attention and blocks")


@dataclass
class T2MConfig:
    """Train text-to-motion. The defaults are T2M-GPT's (paper, section 4.1)."""

    data: str = _setting("data/HumanML3D", "HumanML3D's folder, or our cache of motions")
    text_encoder: str = _setting("weights/t2m", "folder with CLIP's text encoder and tokenizer")
    output: str = _setting("outputs/train_t2m", "folder for checkpoints and the weights")
    window: int = _setting(64, "frames the VQ-VAE sees at once, a multiple of 4")
    vqvae_steps: int = _setting(300_000, "the last third at a twentieth of the learning rate, in every stage")
    vqvae_batch: int = _setting(256, "windows per step, shared among the processes")
    vqvae_learning_rate: float = _setting(2e-4, "peak")
    free_steps: int = _setting(0, "first steps without the bottleneck; some hundred keep a codebook from collapsing")
    gpt_steps: int = _setting(300_000, "optimizer steps")
    gpt_batch: int = _setting(128, "captions per step, shared among the processes")
    gpt_learning_rate: float = _setting(1e-4, "peak")
    keep: float = _setting(0.5, "share of tokens that are not replaced by random ones (corruption)")
    smoothing: float = _setting(0.0, "label smoothing")
    embedder_steps: int = _setting(10_000, "of the network the measures stand on")
    evaluated: int = _setting(1024, "motions of the test split that are measured; 0 = none")
    warmup_steps: int = _setting(1000, "linear warm-up of each stage")
    mixed_precision: str = _setting("no", "arithmetic; the weights stay float32", ("no", "bf16", "fp16"))
    checkpoint_every: int = _setting(1000, "steps between checkpoints")
    log_every: int = _setting(100, "steps between log lines")
    seed: int = _setting(0, "seed of weights, samples and draws")
    vqvae: VQVAESize = field(default_factory=VQVAESize)
    gpt: GPTSize = field(default_factory=GPTSize)

    def __post_init__(self):
        if self.window % 4 or self.window < 8:
            raise ValueError(f"window: expected a multiple of 4 frames, at least 8 (found {self.window})")
        sizes = {f"{group}.{item.name}": getattr(getattr(self, group), item.name)
                 for group in ("vqvae", "gpt") for item in fields(getattr(self, group))}
        dropout = sizes.pop("gpt.dropout")
        require(sizes | {name: getattr(self, name) for name in AT_LEAST_ONE}, 1)
        require({name: getattr(self, name) for name in NOT_NEGATIVE}, 0)
        require({"keep": self.keep, "smoothing": self.smoothing, "gpt.dropout": dropout}, 0, 1)
        if self.free_steps >= self.vqvae_steps:
            raise ValueError(f"free_steps: expected fewer than the {self.vqvae_steps} vqvae_steps "
                             f"(found {self.free_steps}): the codebook learns in the steps after them")
        if self.gpt.width % self.gpt.num_heads:
            raise ValueError(f"gpt.width: expected a multiple of gpt.num_heads (found {self.gpt.width} and "
                             f"{self.gpt.num_heads})")
        if not self.output.strip():
            raise ValueError("output: expected a folder (found nothing): name one")


def require(values: dict[str, float], least: float, most: float = math.inf) -> None:
    """A ValueError that names the first setting outside [least, most]."""
    for name, value in values.items():
        if not least <= value <= most:
            wanted = f"at least {least}" if most == math.inf else f"{least} to {most}"
            raise ValueError(f"{name}: expected {wanted} (found {value})")
