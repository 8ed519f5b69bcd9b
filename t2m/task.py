"""How T2M-GPT is trained: its settings, the tasks of its two stages and their losses (Zhang et al. 2023, §3.1 and §3.2).

We add joint errors in metres, and how far a person has turned, to the published feature loss: the features of a wrist are
3 of 263, and a person reads a motion by its hands and feet; a nod is 2 cm of the head.
"""
from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

import torch
from accelerate.utils import gather
from torch import nn, Tensor
from torch.nn import functional

from configs import setting
from media.files import save_atomically
from runtime.weights import save_tensors
from t2m.features import joints_from_features, NUM_FEATURES, POSITIONS, ROOT_HEIGHT, ROOT_VELOCITY, YAW_VELOCITY
from t2m.motion import (HEAD, LEFT_ANKLE, LEFT_ELBOW, LEFT_TOE, LEFT_WRIST, NUM_JOINTS, RIGHT_ANKLE, RIGHT_ELBOW,
                        RIGHT_TOE, RIGHT_WRIST)
from t2m.motion_set import MotionSet
from t2m.networks import delayed, GPT, Quantizer, VQVAE
from t2m.text_encoder import TextEncoder
from training.task import Batch, EDGES, Task

JOINT_WEIGHTS = {
    HEAD: 40.0, LEFT_WRIST: 4.0, RIGHT_WRIST: 4.0, LEFT_ELBOW: 2.0, RIGHT_ELBOW: 2.0,
    LEFT_ANKLE: 2.0, RIGHT_ANKLE: 2.0, LEFT_TOE: 2.0, RIGHT_TOE: 2.0,
}
LOCAL_ERROR, STILL = 0.07, 0.03      # metres: an error weighs LOCAL_ERROR / (how far the joint moves in the window + STILL)
COMMITMENT = 0.05                    # weight of the commitment loss
CODEBOOK_DECAY = 0.99                # of the moving averages, per step
LEAST_USE, LEAST_SHARE = 0.5, 0.25   # a code restarts below this moving count of latents, and this share of the mean
IGNORED = -100                       # cross_entropy skips these targets
AT_LEAST_ONE = ("vqvae_steps", "vqvae_batch", "gpt_steps", "gpt_batch", "embedder_steps", "checkpoint_every",
                "log_every")
NOT_NEGATIVE = ("free_steps", "num_workers", "warmup_steps", "vqvae_learning_rate", "gpt_learning_rate", "evaluated", "seed")


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of every feature, as read from mean.npy and std.npy."""

    mean: Tensor     # (263,)
    std: Tensor      # (263,)

    def to(self, device: torch.device | str) -> Normalisation:
        """The same on a device."""
        return Normalisation(self.mean.to(device), self.std.to(device))

    def normalised(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.std

    def denormalised(self, rows: Tensor) -> Tensor:
        return rows * self.std + self.mean


class MovingCodebook(nn.Module):
    """Moving averages of what is assigned to each row of a codebook; unused rows restart at some of it (§3.1)."""

    def __init__(self, num_codes: int, code_dim: int):
        super().__init__()
        self.register_buffer("count", torch.zeros(num_codes))
        self.register_buffer("total", torch.zeros(num_codes, code_dim))

    @torch.no_grad()
    def start(self, quantizer: Quantizer, latents: Tensor, generator: torch.Generator) -> None:
        """Put every row of the codebook at one of the latents (N, C), or of what the levels before leave of them."""
        for index in range(quantizer.levels):
            left = quantizer.codes(latents)[1][:, index]                              # (N, C)
            chosen = torch.randint(len(latents), (quantizer.num_codes,), generator=generator)
            quantizer.codebook[quantizer.level(index)] = left[chosen.to(latents.device)]
        self.total.copy_(quantizer.codebook)
        self.count.fill_(1)

    @torch.no_grad()
    def update(self, quantizer: Quantizer, left: Tensor, codes: Tensor, generator: torch.Generator) -> None:
        """Move the codebook towards what each level chose its codes for: (N, Q, C) and (N, Q)."""
        codebook = quantizer.codebook                                                 # (Q K, C)
        members = functional.one_hot(codes.flatten(), len(codebook)).to(left.dtype)   # (N Q, Q K)
        self.count.lerp_(members.sum(0), 1 - CODEBOOK_DECAY)
        self.total.lerp_(members.T @ left.flatten(0, 1), 1 - CODEBOOK_DECAY)
        codebook.copy_(self.total / self.count.clamp(min=1e-6)[:, None])
        least = min(LEAST_USE, LEAST_SHARE * len(codes) / quantizer.num_codes)
        for index in range(quantizer.levels):
            unused = (self.count[quantizer.level(index)] < least).nonzero()[:, 0] + index * quantizer.num_codes
            if len(unused):
                fresh = left[torch.randint(len(left), (len(unused),), generator=generator).to(left.device), index]
                codebook[unused], self.total[unused], self.count[unused] = fresh, fresh, 1.0


def joint_weights() -> Tensor:
    """(22,) of mean 1."""
    weights = torch.ones(NUM_JOINTS)
    for joint, weight in JOINT_WEIGHTS.items():
        weights[joint] = weight
    return weights / weights.mean()


def joint_distances(predicted: Tensor, target: Tensor) -> Tensor:
    """Metres between joints, smooth at zero. (..., 3) -> (...)"""
    return ((predicted - target).square().sum(-1) + 1e-6).sqrt()


def feature_weights() -> Tensor:
    """(263,) what recovery reads weighs 1, the redundant columns a tenth."""
    weights = torch.full((NUM_FEATURES,), 0.1)
    for block in (YAW_VELOCITY, ROOT_VELOCITY, ROOT_HEIGHT, POSITIONS):
        weights[block] = 1.0
    return weights


def local_weights(places: Tensor) -> Tensor:
    """Joints that hardly move must be met more closely: a nod is told from standing by 2 cm. (B, T, 21, 3) metres -> (B, 21)"""
    return LOCAL_ERROR / (places.std(dim=1).norm(dim=-1) + STILL)


def reconstruction_losses(features: Tensor, rows: Tensor, norm: Normalisation) -> dict[str, Tensor]:
    """Weighted loss terms of decoded features. features: (B, T, 263) normalised; rows: (B, T, 263) denormalised

    "turned" compares how far the person has turned since the first frame: joints alone cannot teach a spin, since those
    of a spin half a turn late are as far off as if it stood still.
    """
    predicted, target = norm.denormalised(features.float()), norm.normalised(rows)    # (B, T, 263)
    places, true_places = (each[..., POSITIONS].unflatten(-1, (-1, 3)) for each in (predicted, rows))    # (B, T, 21, 3)
    local = joint_distances(places, true_places) * local_weights(true_places)[:, None]                   # (B, T, 21)
    turned = 2 * (predicted - rows)[..., YAW_VELOCITY].cumsum(dim=1)                  # (B, T, 1) rad; the feature is half the turn
    joints, true_joints = joints_from_features(predicted), joints_from_features(rows) # (B, T, 22, 3)
    steps = joint_distances(joints.diff(dim=1), true_joints.diff(dim=1))              # (B, T - 1, 22)
    weights = joint_weights().to(rows)
    return {
        "features": (functional.smooth_l1_loss(features, target, reduction="none")
                     * feature_weights().to(rows)).mean(),
        "local": 8.0 * (local * weights[1:]).mean(),
        "world": 4.0 * (joint_distances(joints, true_joints) * weights).mean(),
        "steps": 10.0 * (steps * weights).mean(),
        "turned": functional.smooth_l1_loss(turned, torch.zeros_like(turned), beta=0.1),
    }


def vqvae_losses(model: VQVAE, rows: Tensor, norm: Normalisation) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Weighted loss terms of one batch, and per level what its codes were chosen for (N, Q, C), and the codes (N, Q).

    rows: (B, T, 263) denormalised
    """
    out = model(norm.normalised(rows))
    losses = reconstruction_losses(out.features, rows, norm) | {"commitment": COMMITMENT * out.commitment}
    return losses, out.left.float(), out.codes.view(out.left.shape[:2])


def autoencoder_losses(model: VQVAE, rows: Tensor, norm: Normalisation) -> dict[str, Tensor]:
    """The same without the bottleneck: a start from which the codebook does not collapse."""
    latents = model.latents(norm.normalised(rows))                                    # (B, L, C)
    losses = reconstruction_losses(model.decode_latents(latents), rows, norm)
    return losses | {"size": 0.01 * latents.square().mean()}


def with_corruption(codes: Tensor, num_codes: int, keep: float, generator: torch.Generator, levels: int = 1) -> Tensor:
    """Each token kept with probability `keep`, otherwise a random one of its level (§3.2, "corrupted sequences"). (B, L)"""
    replaced = torch.rand(codes.shape, generator=generator, device=generator.device) > keep
    others = torch.randint(num_codes // levels, codes.shape, generator=generator, device=generator.device)
    others += torch.arange(codes.shape[1], device=generator.device) % levels * (num_codes // levels)
    return torch.where(replaced.to(codes.device), others.to(codes.device), codes)


def gpt_loss(gpt: GPT, text: Tensor, codes: Tensor, lengths: Tensor, *, keep: float, smoothing: float,
             generator: torch.Generator) -> Tensor:
    """Cross-entropy of every token and the end token, the mean of the levels.

    text: (B, D); codes: (B, L Q), anything beyond each row's length; lengths: (B,) tokens
    """
    valid = torch.arange(codes.shape[1], device=codes.device) < lengths[:, None]      # (B, L Q)
    given = with_corruption(codes, gpt.end_token, keep, generator, gpt.levels)        # ids 0 .. K - 1
    logits = gpt(delayed(torch.where(valid, given, gpt.pad_token), gpt.levels, gpt.pad_token), text)     # (B, L + Q, V + 1)
    target = delayed(torch.where(valid, codes, IGNORED), gpt.levels, IGNORED)         # (B, L + Q - 1, Q)
    target = functional.pad(target, (0, 0, 0, 1), value=IGNORED)                      # (B, L + Q, Q)
    losses = []
    for level, wanted in enumerate(target.unbind(dim=2)):
        wanted = torch.where(wanted == IGNORED, IGNORED, wanted - level * gpt.codes_per_level)
        if level == 0:
            wanted[torch.arange(len(wanted), device=wanted.device), lengths // gpt.levels] = gpt.codes_per_level     # the end
        losses.append(functional.cross_entropy(gpt.logits_of(level, logits).flatten(0, 1).float(), wanted.flatten(),
                                               ignore_index=IGNORED, label_smoothing=smoothing))
    return torch.stack(losses).mean()


class VQVAEObjective(nn.Module):
    """The VQ-VAE with its losses and its moving codebook."""

    def __init__(self, model: VQVAE, norm: Normalisation, free_steps: int):
        super().__init__()
        self.model, self.free_steps = model, free_steps
        self.moving = MovingCodebook(*model.vqvae.quantizer.codebook.shape)
        self.register_buffer("mean", norm.mean, persistent=False)
        self.register_buffer("std", norm.std, persistent=False)

    def forward(self, rows: Tensor, step: int, seed: int) -> Tensor:
        """The batch's loss, (), of (B, T, 263) denormalised rows. While gradients are taken the codebook moves on, by
        the latents of all processes."""
        norm, quantizer = Normalisation(self.mean, self.std), self.model.vqvae.quantizer
        generator, full = torch.Generator().manual_seed(seed), torch.autocast(rows.device.type, enabled=False)
        if step < self.free_steps:
            return sum(autoencoder_losses(self.model, rows, norm).values())
        if step == self.free_steps:                                                   # the rows start at latents
            with torch.no_grad(), full:
                self.moving.start(quantizer, gather(self.model.latents(norm.normalised(rows)).flatten(0, 1)), generator)
        losses, left, codes = vqvae_losses(self.model, rows, norm)
        if torch.is_grad_enabled():
            with full:
                self.moving.update(quantizer, gather(left), gather(codes), generator)
        return sum(losses.values())


class VQVAETask(Task):
    """Features to tokens and back. Its clips are `MotionWindows`."""

    def __init__(self, model: VQVAE, norm: Normalisation, *, batch: int, free_steps: int, seed: int,
                 settings: dict | None = None, edges: tuple[str, ...] = EDGES):
        """batch: windows per step of all processes; free_steps: first steps without the bottleneck."""
        self.model, self.batch, self.seed, self.settings, self.edges = model, batch, seed, settings or {}, edges
        self.objective = VQVAEObjective(model, norm, free_steps)

    def inputs(self, batch: Batch) -> tuple:
        """Rows, the step they belong to, and the seed of what the codebook draws in it."""
        step = int(batch["position"][0]) // self.batch
        return batch["rows"], step, self.seed + step

    def export(self, folder: Path) -> None:
        """vqvae.safetensors, for `TextToMotion.load`."""
        save_model(self.model, folder / "vqvae.safetensors")


class GPTObjective(nn.Module):
    """The GPT and its loss as one module."""

    def __init__(self, model: GPT, keep: float, smoothing: float):
        super().__init__()
        self.model, self.keep, self.smoothing = model, keep, smoothing

    def forward(self, text: Tensor, codes: Tensor, lengths: Tensor, seed: int) -> Tensor:
        """The batch's loss, (), each token counting the same; the corruption is drawn from `seed`."""
        generator = torch.Generator(codes.device).manual_seed(seed)
        return gpt_loss(self.model, text, codes, lengths, keep=self.keep, smoothing=self.smoothing, generator=generator)


class GPTTask(Task):
    """Text to tokens, with a frozen text encoder and VQ-VAE. Its clips are `CaptionedMotions`."""

    def __init__(self, model: GPT, vqvae: VQVAE, motions: MotionSet, text: TextEncoder, *, keep: float,
                 smoothing: float, seed: int, settings: dict | None = None):
        self.model, self.vqvae, self.motions, self.text, self.seed = model, vqvae, motions, text, seed
        self.settings = settings or {}
        model.trans_base.pos_embedding.requires_grad_(False)                          # in every checkpoint, never used
        self.objective = GPTObjective(model, keep, smoothing)

    @cached_property
    def tokens(self) -> tuple[Tensor, Tensor]:
        """Tokens of every training motion (M, L), zero beyond its length, and the lengths (M,)."""
        device = self.vqvae.vqvae.quantizer.codebook.device
        norm = Normalisation(self.motions.mean, self.motions.std).to(device)
        with torch.no_grad():
            codes = [self.vqvae.encode(norm.normalised(self.motions.rows(index).to(device))[None])[0]
                     for index in range(len(self.motions))]
        return (nn.utils.rnn.pad_sequence(codes, batch_first=True),
                torch.tensor([len(row) for row in codes], device=device))

    def inputs(self, batch: Batch) -> tuple:
        """Text features, tokens and their number, and the seed of the corruption."""
        codes, lengths = self.tokens
        self.text.model.to(codes.device)
        return (self.text(batch["caption"]), codes[batch["motion"]], lengths[batch["motion"]],
                self.seed + int(batch["position"][0]))

    def export(self, folder: Path) -> None:
        """gpt.safetensors, for `TextToMotion.load`."""
        save_model(self.model, folder / "gpt.safetensors")


def save_model(model: nn.Module, path: Path) -> None:
    """All tensors of a model in float32, whole or not at all."""
    tensors = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in model.state_dict().items()}
    save_atomically(path, lambda partial: save_tensors(tensors, partial))


@dataclass
class VQVAESize:
    """Sizes of the VQ-VAE; the defaults are the released ones."""
    num_codes: int = setting(512, "rows of the codebook")
    code_dim: int = setting(512, "length of a row")
    width: int = setting(512, "channels")
    depth: int = setting(3, "residual blocks per halving of the frame rate")
    levels: int = setting(1, "codes for every four frames, each from a codebook of its own; 1: as published")


@dataclass
class GPTSize:
    """Sizes of the GPT; the defaults are the released ones."""
    width: int = setting(1024, "channels")
    num_layers: int = setting(9, "blocks in each of two halves")
    num_heads: int = setting(16, "attention heads")
    dropout: float = setting(0.1, "of attention and blocks")


@dataclass
class T2MConfig:
    """Train text-to-motion. The defaults are T2M-GPT's (paper, section 4.1)."""

    data: str = setting("data/HumanML3D", "HumanML3D's folder, or our cache of motions", free=True)
    text_encoder: str = setting("weights/t2m", "folder with CLIP's text encoder and tokenizer", free=True)
    output: str = setting("outputs/train_t2m", "folder for checkpoints and the weights", free=True)
    window: int = setting(64, "frames the VQ-VAE sees at once, a multiple of 4")
    vqvae_steps: int = setting(300_000, "the last third at a twentieth of the learning rate, in every stage")
    vqvae_batch: int = setting(256, "windows per step, shared among the processes")
    vqvae_learning_rate: float = setting(2e-4, "peak")
    free_steps: int = setting(0, "first steps without the bottleneck; some hundred keep a codebook from collapsing")
    gpt_steps: int = setting(300_000, "optimizer steps")
    gpt_batch: int = setting(128, "captions per step, shared among the processes")
    gpt_learning_rate: float = setting(1e-4, "peak")
    keep: float = setting(0.5, "share of tokens that are not replaced by random ones (corruption)")
    smoothing: float = setting(0.0, "label smoothing")
    embedder_steps: int = setting(10_000, "of the network the measures stand on")
    evaluated: int = setting(1024, "motions of the test split that are measured; 0 = none", free=True)
    warmup_steps: int = setting(1000, "linear warm-up of each stage")
    mixed_precision: str = setting("no", "arithmetic; the weights stay float32", ("auto", "no", "bf16", "fp16"))
    checkpoint_every: int = setting(1000, "steps between checkpoints", free=True)
    log_every: int = setting(100, "steps between log lines", free=True)
    num_workers: int = setting(0, "data-loading processes", free=True)
    allow_changes: str = setting("", "settings (comma-separated) that may differ from the checkpoint's", free=True)
    seed: int = setting(0, "seed of weights, samples and draws")
    vqvae: VQVAESize = field(default_factory=VQVAESize)
    gpt: GPTSize = field(default_factory=GPTSize)

    def __post_init__(self):
        if self.window % 4 or self.window < 8:
            raise ValueError(f"window: expected a multiple of 4 frames, at least 8 (found {self.window}): choose one, as 64")
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
                             f"{self.gpt.num_heads}): change one of them")
        if not self.output.strip():
            raise ValueError("output: expected a folder (found nothing): name one")


def require(values: dict[str, float], least: float, most: float = math.inf) -> None:
    """A ValueError that names the first setting outside [least, most]."""
    for name, value in values.items():
        if not least <= value <= most:
            wanted = f"at least {least}" if most == math.inf else f"{least} to {most}"
            remedy = "raise it" if value < least else "lower it" if value > most else "choose a number"
            raise ValueError(f"{name}: expected {wanted} (found {value}): {remedy}")
