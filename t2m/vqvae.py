"""Motion tokens <-> HumanML3D features: the VQ-VAE of T2M-GPT (Zhang et al. 2023, §3.1).

Tensor names and shapes are those of the released `net_last.pth` (its top-level key `net`), so that file loads strictly.
We differ from the published code in one thing: codes of shape (B, L) decode to B motions, not to one of B * L tokens.
"""
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn, Tensor
from torch.nn import functional

from t2m.features import NUM_FEATURES

DOWNSAMPLINGS = 2                          # each halves the frame rate
FRAMES_PER_TOKEN = 2**DOWNSAMPLINGS        # 4 frames: 0.2 s at 20 fps


class ResidualBlock(nn.Module):
    """x + conv1x1(relu(conv3(relu(x)))), the 3-tap convolution dilated."""

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.conv1 = nn.Conv1d(width, width, kernel_size=3, padding=dilation, dilation=dilation)
        self.conv2 = nn.Conv1d(width, width, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(functional.relu(self.conv1(functional.relu(x))))        # (B, C, T)


class ResidualStack(nn.Module):
    """Residual blocks whose dilation falls: 9, 3, 1. The release reverses them in the encoder and decoder alike."""

    def __init__(self, width: int, depth: int, dilation_growth_rate: int):
        super().__init__()
        dilations = [dilation_growth_rate**i for i in reversed(range(depth))]
        self.model = nn.Sequential(*(ResidualBlock(width, dilation) for dilation in dilations))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Encoder(nn.Module):
    """(B, 263, T) features -> (B, code_dim, T // 4)."""

    def __init__(self, code_dim: int, width: int, depth: int, dilation_growth_rate: int):
        super().__init__()
        layers = [nn.Conv1d(NUM_FEATURES, width, kernel_size=3, padding=1), nn.ReLU()]
        for _ in range(DOWNSAMPLINGS):
            halve = nn.Conv1d(width, width, kernel_size=4, stride=2, padding=1)
            layers.append(nn.Sequential(halve, ResidualStack(width, depth, dilation_growth_rate)))
        layers.append(nn.Conv1d(width, code_dim, kernel_size=3, padding=1))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Decoder(nn.Module):
    """(B, code_dim, L) codes -> (B, 263, 4 L) features."""

    def __init__(self, code_dim: int, width: int, depth: int, dilation_growth_rate: int):
        super().__init__()
        layers = [nn.Conv1d(code_dim, width, kernel_size=3, padding=1), nn.ReLU()]
        for _ in range(DOWNSAMPLINGS):
            layers.append(nn.Sequential(
                ResidualStack(width, depth, dilation_growth_rate),
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.Conv1d(width, width, kernel_size=3, padding=1),
            ))
        layers += [nn.Conv1d(width, width, kernel_size=3, padding=1), nn.ReLU()]
        layers.append(nn.Conv1d(width, NUM_FEATURES, kernel_size=3, padding=1))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Quantizer(nn.Module):
    """Nearest row of a codebook. How the codebook is learnt is the trainer's matter (t2m/task.py)."""

    def __init__(self, num_codes: int, code_dim: int):
        super().__init__()
        self.register_buffer("codebook", torch.zeros(num_codes, code_dim))

    def codes(self, vectors: Tensor) -> Tensor:
        """Index of the nearest codebook row, the first of equals. vectors: (N, C) -> (N,)"""
        size, row_size = vectors.square().sum(dim=-1, keepdim=True), self.codebook.square().sum(dim=-1)
        return (size - 2 * vectors @ self.codebook.T + row_size).argmin(dim=-1)       # (N,)

    def rows(self, codes: Tensor) -> Tensor:
        return functional.embedding(codes, self.codebook)                             # (..., C)


class VQVAECore(nn.Module):
    """Encoder, codebook and decoder under the names of the release."""

    def __init__(self, num_codes: int, code_dim: int, width: int, depth: int, dilation_growth_rate: int):
        super().__init__()
        self.encoder = Encoder(code_dim, width, depth, dilation_growth_rate)
        self.decoder = Decoder(code_dim, width, depth, dilation_growth_rate)
        self.quantizer = Quantizer(num_codes, code_dim)


@dataclass(frozen=True)
class Reconstruction:
    """What one pass through the bottleneck gives."""

    features: Tensor     # (B, 4 (T // 4), 263) normalised
    latents: Tensor      # (B, T // 4, C) before quantisation
    codes: Tensor        # (B, T // 4) long
    commitment: Tensor   # scalar, mean squared distance of latents to their codebook rows
    perplexity: Tensor   # scalar, exp of the entropy of code use in this batch


class VQVAE(nn.Module):
    """Features <-> tokens; the defaults are the released size (README 4.1 of T2M-GPT, not its argparse defaults)."""

    def __init__(self, num_codes: int = 512, code_dim: int = 512, width: int = 512, depth: int = 3,
                 dilation_growth_rate: int = 3):
        super().__init__()
        self.vqvae = VQVAECore(num_codes, code_dim, width, depth, dilation_growth_rate)

    @property
    def num_codes(self) -> int:
        return len(self.vqvae.quantizer.codebook)

    def latents(self, features: Tensor) -> Tensor:
        """Encoder output before quantisation. features: (B, T, 263) normalised -> (B, T // 4, C)"""
        if features.shape[1] < FRAMES_PER_TOKEN:
            raise ValueError(f"VQVAE: expected at least {FRAMES_PER_TOKEN} frames (found {features.shape[1]})")
        return self.vqvae.encoder(features.transpose(1, 2)).transpose(1, 2)

    def encode(self, features: Tensor) -> Tensor:
        """Tokens of a motion. features: (B, T, 263) normalised -> (B, T // 4) long"""
        latents = self.latents(features)                                              # (B, L, C)
        return self.vqvae.quantizer.codes(latents.flatten(0, 1)).view(latents.shape[:2])

    def decode(self, codes: Tensor) -> Tensor:
        """Features of tokens, each row by itself. codes: (B, L) -> (B, 4 L, 263) normalised"""
        return self.decode_latents(self.vqvae.quantizer.rows(codes))

    def decode_latents(self, latents: Tensor) -> Tensor:
        return self.vqvae.decoder(latents.transpose(1, 2)).transpose(1, 2)            # (B, 4 L, 263)

    def forward(self, features: Tensor) -> Reconstruction:
        """Encode, quantise with the straight-through gradient (Eq. 2), decode."""
        latents = self.latents(features)                                              # (B, L, C)
        codes = self.vqvae.quantizer.codes(latents.detach().flatten(0, 1)).view(latents.shape[:2])
        rows = self.vqvae.quantizer.rows(codes)                                       # (B, L, C)
        share = torch.bincount(codes.flatten(), minlength=self.num_codes) / codes.numel()      # (K,)
        return Reconstruction(
            features=self.decode_latents(latents + (rows - latents).detach()),
            latents=latents,
            codes=codes,
            commitment=functional.mse_loss(latents, rows.detach()),
            perplexity=torch.exp(-(share * (share + 1e-7).log()).sum()),
        )
