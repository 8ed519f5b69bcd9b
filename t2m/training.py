"""What T2M-GPT learns from: the losses of its two stages (Zhang et al. 2023, §3.1 and §3.2) and its moving codebook.

The loops live in the scripts; these are the steps. We add joint errors in metres to the published feature loss: the
features of a wrist are 3 of 263, and a person reads a motion by its hands and feet; a nod is 2 cm of the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .features import POSITIONS, ROOT_HEIGHT, ROOT_VELOCITY, VELOCITIES, YAW_VELOCITY, joints_from_features
from .motion import (
    HEAD, LEFT_ANKLE, LEFT_ELBOW, LEFT_TOE, LEFT_WRIST, NUM_JOINTS, RIGHT_ANKLE, RIGHT_ELBOW, RIGHT_TOE, RIGHT_WRIST,
)
from .transformer import GPT
from .vqvae import VQVAE

JOINT_WEIGHTS = {
    HEAD: 40.0, LEFT_WRIST: 4.0, RIGHT_WRIST: 4.0, LEFT_ELBOW: 2.0, RIGHT_ELBOW: 2.0,
    LEFT_ANKLE: 2.0, RIGHT_ANKLE: 2.0, LEFT_TOE: 2.0, RIGHT_TOE: 2.0,
}
COMMITMENT = 0.05                    # weight of the commitment loss
LEAST_USE = 0.5                      # moving count of latents below which a code restarts
IGNORED = -100                       # cross_entropy skips these targets


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of every feature, as read from mean.npy and std.npy."""

    mean: Tensor     # (263,)
    std: Tensor      # (263,)

    def normalised(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) / self.std

    def denormalised(self, rows: Tensor) -> Tensor:
        return rows * self.std + self.mean


class MovingCodebook:
    """Codebook rows as moving averages of the latents assigned to them; unused rows restart at a latent (§3.1)."""

    def __init__(self, codebook: Tensor, decay: float = 0.99):
        self.codebook = codebook                              # (K, C), updated in place
        self.decay = decay
        self.count = codebook.new_zeros(len(codebook))        # (K,)
        self.total = codebook.clone()                         # (K, C)

    def state_dict(self) -> dict[str, Tensor]:
        return {"count": self.count, "total": self.total}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.count, self.total = (state[name].to(self.codebook.device, copy=True) for name in ("count", "total"))

    @torch.no_grad()
    def start(self, latents: Tensor, generator: torch.Generator) -> None:
        """Every row at one of the latents (N, C)."""
        chosen = torch.randint(len(latents), (len(self.codebook),), generator=generator)
        self.codebook.copy_(latents[chosen.to(latents.device)])
        self.total.copy_(self.codebook)
        self.count.fill_(1)

    @torch.no_grad()
    def update(self, latents: Tensor, codes: Tensor, generator: torch.Generator) -> None:
        """latents: (N, C); codes: (N,)"""
        members = functional.one_hot(codes, len(self.codebook)).to(latents.dtype)     # (N, K)
        self.count.lerp_(members.sum(0), 1 - self.decay)
        self.total.lerp_(members.T @ latents, 1 - self.decay)
        self.codebook.copy_(self.total / self.count.clamp(min=1e-6)[:, None])
        unused = (self.count < LEAST_USE).nonzero()[:, 0]
        if len(unused):
            fresh = latents[torch.randint(len(latents), (len(unused),), generator=generator).to(latents.device)]
            self.codebook[unused], self.total[unused], self.count[unused] = fresh, fresh, 1.0


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
    weights = torch.full((VELOCITIES.stop + 4,), 0.1)
    for block in (YAW_VELOCITY, ROOT_VELOCITY, ROOT_HEIGHT, POSITIONS):
        weights[block] = 1.0
    return weights


def reconstruction_losses(features: Tensor, rows: Tensor, norm: Normalisation) -> dict[str, Tensor]:
    """Weighted loss terms of decoded features. features: (B, T, 263) normalised; rows: (B, T, 263) denormalised"""
    predicted, target = norm.denormalised(features.float()), norm.normalised(rows)    # (B, T, 263)
    local = joint_distances(predicted[..., POSITIONS].unflatten(-1, (-1, 3)),
                            rows[..., POSITIONS].unflatten(-1, (-1, 3)))              # (B, T, 21)
    joints, true_joints = joints_from_features(predicted), joints_from_features(rows) # (B, T, 22, 3)
    steps = joint_distances(joints.diff(dim=1), true_joints.diff(dim=1))              # (B, T - 1, 22)
    weights = joint_weights().to(rows)
    return {
        "features": (functional.smooth_l1_loss(features, target, reduction="none")
                     * feature_weights().to(rows)).mean(),
        "local": 8.0 * (local * weights[1:]).mean(),
        "world": 4.0 * (joint_distances(joints, true_joints) * weights).mean(),
        "steps": 10.0 * (steps * weights).mean(),
    }


def vqvae_losses(model: VQVAE, rows: Tensor, norm: Normalisation) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Weighted loss terms of one batch, and its latents (N, C) and codes (N,). rows: (B, T, 263) denormalised"""
    out = model(norm.normalised(rows))
    losses = reconstruction_losses(out.features, rows, norm) | {"commitment": COMMITMENT * out.commitment}
    return losses, out.latents.detach().flatten(0, 1).float(), out.codes.flatten()


def autoencoder_losses(model: VQVAE, rows: Tensor, norm: Normalisation) -> tuple[dict[str, Tensor], Tensor]:
    """The same without the bottleneck, and the latents: a start from which the codebook does not collapse."""
    latents = model.latents(norm.normalised(rows))                                    # (B, L, C)
    losses = reconstruction_losses(model.decode_latents(latents), rows, norm)
    return losses | {"size": 0.01 * latents.square().mean()}, latents.detach().flatten(0, 1).float()


def with_corruption(codes: Tensor, num_codes: int, keep: float, generator: torch.Generator) -> Tensor:
    """Each token kept with probability `keep`, otherwise a random one (§3.2, "corrupted sequences"). (B, L)"""
    replaced = torch.rand(codes.shape, generator=generator, device=generator.device) > keep
    others = torch.randint(num_codes, codes.shape, generator=generator, device=generator.device)
    return torch.where(replaced.to(codes.device), others.to(codes.device), codes)


def gpt_loss(gpt: GPT, text: Tensor, codes: Tensor, lengths: Tensor, *, keep: float, smoothing: float,
             generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cross-entropy of every token and the end token, and the share predicted right.

    text: (B, D); codes: (B, L), anything beyond each row's length; lengths: (B,) tokens
    """
    position = torch.arange(codes.shape[1] + 1, device=codes.device)                  # (L + 1,)
    padded = functional.pad(codes, (0, 1))                                            # (B, L + 1)
    target = torch.where(position < lengths[:, None], padded, IGNORED)
    target = torch.where(position == lengths[:, None], gpt.end_token, target)
    given = with_corruption(codes, gpt.end_token, keep, generator)                    # ids 0 .. K - 1
    logits = gpt(torch.where(position[:-1] < lengths[:, None], given, gpt.pad_token), text)
    loss = functional.cross_entropy(logits.flatten(0, 1).float(), target.flatten(), ignore_index=IGNORED,
                                    label_smoothing=smoothing)
    right = (logits.argmax(-1) == target)[target != IGNORED].float().mean()
    return loss, right


class VQVAEObjective(nn.Module):
    """The VQ-VAE and its losses as one module, so that DDP sees what it computes."""

    def __init__(self, model: VQVAE, norm: Normalisation):
        super().__init__()
        self.model = model
        self.register_buffer("mean", norm.mean, persistent=False)
        self.register_buffer("std", norm.std, persistent=False)

    def forward(self, rows: Tensor, free: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Loss, latents (N, C) and codes (N,) of (B, T, 263) denormalised rows; `free`: without the bottleneck."""
        norm = Normalisation(self.mean, self.std)
        if free:
            losses, latents = autoencoder_losses(self.model, rows, norm)
            codes = torch.zeros(len(latents), dtype=torch.long, device=latents.device)
        else:
            losses, latents, codes = vqvae_losses(self.model, rows, norm)
        return sum(losses.values()), latents, codes


class GPTObjective(nn.Module):
    """The GPT and its loss as one module."""

    def __init__(self, model: GPT, keep: float, smoothing: float):
        super().__init__()
        self.model, self.keep, self.smoothing = model, keep, smoothing

    def forward(self, text: Tensor, codes: Tensor, lengths: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Loss and the share of tokens predicted right; the corruption is drawn from `seed`."""
        generator = torch.Generator(codes.device).manual_seed(seed)
        return gpt_loss(self.model, text, codes, lengths, keep=self.keep, smoothing=self.smoothing, generator=generator)
