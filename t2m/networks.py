"""The two networks of T2M-GPT (Zhang et al. 2023): motion tokens <-> features (VQ-VAE, §3.1), text -> tokens (GPT, §3.2).

Tensor names and shapes are those of the released `net_last.pth` and `net_best_fid.pth` (their top-level keys `net` and
`trans`), so that these files load strictly, dead weights and mask buffers included. We differ from the published code in two
things: codes of shape (B, L) decode to B motions, not to one of B * L tokens; and a key/value cache gives the same tokens as
the published full recomputation.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn, Tensor
from torch.nn import functional

from t2m.features import NUM_FEATURES

# -------------------------------------------------------------------------------------------------------------- VQ-VAE

DOWNSAMPLINGS = 2                          # each halves the frame rate
FRAMES_PER_STEP = 2**DOWNSAMPLINGS        # 4 frames: 0.2 s at 20 fps
DILATION_GROWTH = 3                        # of a residual block's convolution, against the block after it


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

    def __init__(self, width: int, depth: int):
        super().__init__()
        dilations = [DILATION_GROWTH**i for i in reversed(range(depth))]
        self.model = nn.Sequential(*(ResidualBlock(width, dilation) for dilation in dilations))

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Encoder(nn.Module):
    """(B, 263, T) features -> (B, code_dim, T // 4)."""

    def __init__(self, code_dim: int, width: int, depth: int):
        super().__init__()
        layers = [nn.Conv1d(NUM_FEATURES, width, kernel_size=3, padding=1), nn.ReLU()]
        for _ in range(DOWNSAMPLINGS):
            halve = nn.Conv1d(width, width, kernel_size=4, stride=2, padding=1)
            layers.append(nn.Sequential(halve, ResidualStack(width, depth)))
        layers.append(nn.Conv1d(width, code_dim, kernel_size=3, padding=1))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Decoder(nn.Module):
    """(B, code_dim, L) codes -> (B, 263, 4 L) features."""

    def __init__(self, code_dim: int, width: int, depth: int):
        super().__init__()
        layers = [nn.Conv1d(code_dim, width, kernel_size=3, padding=1), nn.ReLU()]
        for _ in range(DOWNSAMPLINGS):
            layers.append(nn.Sequential(
                ResidualStack(width, depth),
                nn.Upsample(scale_factor=2, mode="nearest"),
                nn.Conv1d(width, width, kernel_size=3, padding=1),
            ))
        layers += [nn.Conv1d(width, width, kernel_size=3, padding=1), nn.ReLU()]
        layers.append(nn.Conv1d(width, NUM_FEATURES, kernel_size=3, padding=1))
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Quantizer(nn.Module):
    """Nearest row of a codebook; of further levels, each the nearest to what the levels before left over.

    T2M-GPT has one level; more are a residual quantisation (Lee et al. 2022). The levels' rows stand one level after another.
    How the codebook is learnt is the trainer's matter (t2m/task.py).
    """

    def __init__(self, num_codes: int, code_dim: int, levels: int = 1):
        super().__init__()
        self.levels, self.num_codes = levels, num_codes
        self.register_buffer("codebook", torch.zeros(levels * num_codes, code_dim))

    def level(self, index: int) -> slice:
        """The rows of one level."""
        return slice(index * self.num_codes, (index + 1) * self.num_codes)

    def codes(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Of every level, the row nearest to what is left of the vectors, the first of equals: (N, Q), and what was left, (N, Q, C)."""
        codes, left, rest = [], [], vectors                                           # (N, C)
        for index in range(self.levels):
            rows = self.codebook[self.level(index)]
            size, row_size = rest.square().sum(dim=-1, keepdim=True), rows.square().sum(dim=-1)
            nearest = (size - 2 * rest @ rows.T + row_size).argmin(dim=-1)            # (N,)
            codes.append(nearest + index * self.num_codes)
            left.append(rest)
            rest = rest - rows[nearest]
        return torch.stack(codes, dim=1), torch.stack(left, dim=1)

    def rows(self, codes: Tensor) -> Tensor:
        """Tokens (B, L Q), the levels of a step one after another -> the sums of their rows, (B, L, C)."""
        return functional.embedding(codes.unflatten(-1, (-1, self.levels)), self.codebook).sum(dim=-2)


class VQVAECore(nn.Module):
    """Encoder, codebook and decoder under the names of the release."""

    def __init__(self, num_codes: int, code_dim: int, width: int, depth: int, levels: int):
        super().__init__()
        self.encoder = Encoder(code_dim, width, depth)
        self.decoder = Decoder(code_dim, width, depth)
        self.quantizer = Quantizer(num_codes, code_dim, levels)


@dataclass(frozen=True)
class Reconstruction:
    """What one pass through the bottleneck gives."""

    features: Tensor     # (B, 4 (T // 4), 263) normalised
    latents: Tensor      # (B, T // 4, C) before quantisation
    codes: Tensor        # (B, T // 4 Q) long
    left: Tensor         # (B T // 4, Q, C) what each level chose its code for
    commitment: Tensor   # scalar, mean squared distance of latents to their codebook rows
    perplexity: Tensor   # scalar, exp of the entropy of the first level's use in this batch


class VQVAE(nn.Module):
    """Features <-> tokens; the defaults are the released size (README 4.1 of T2M-GPT, not its argparse defaults).

    levels: codes for every four frames; each level has `num_codes` of its own.
    """

    def __init__(self, num_codes: int = 512, code_dim: int = 512, width: int = 512, depth: int = 3, levels: int = 1):
        super().__init__()
        self.vqvae = VQVAECore(num_codes, code_dim, width, depth, levels)

    @property
    def levels(self) -> int:
        return self.vqvae.quantizer.levels

    @property
    def num_codes(self) -> int:
        """Of all levels."""
        return len(self.vqvae.quantizer.codebook)

    def latents(self, features: Tensor) -> Tensor:
        """Encoder output before quantisation. features: (B, T, 263) normalised -> (B, T // 4, C)"""
        if features.shape[1] < FRAMES_PER_STEP:
            raise ValueError(f"VQVAE: expected at least {FRAMES_PER_STEP} frames (found {features.shape[1]})")
        return self.vqvae.encoder(features.transpose(1, 2)).transpose(1, 2)

    def encode(self, features: Tensor) -> Tensor:
        """Tokens of a motion, the levels of a step one after another. features: (B, T, 263) normalised -> (B, T // 4 Q) long"""
        latents = self.latents(features)                                              # (B, L, C)
        return self.vqvae.quantizer.codes(latents.flatten(0, 1))[0].view(len(latents), -1)

    def decode(self, codes: Tensor) -> Tensor:
        """Features of tokens, each row by itself. codes: (B, L Q) -> (B, 4 L, 263) normalised"""
        return self.decode_latents(self.vqvae.quantizer.rows(codes))

    def decode_latents(self, latents: Tensor) -> Tensor:
        return self.vqvae.decoder(latents.transpose(1, 2)).transpose(1, 2)            # (B, 4 L, 263)

    def forward(self, features: Tensor) -> Reconstruction:
        """Encode, quantise with the straight-through gradient (Eq. 2), decode."""
        latents = self.latents(features)                                              # (B, L, C)
        codes, left = self.vqvae.quantizer.codes(latents.detach().flatten(0, 1))      # (B L, Q), (B L, Q, C)
        codes_in_turn = codes.view(len(latents), -1)                                  # (B, L Q)
        rows = self.vqvae.quantizer.rows(codes_in_turn)                               # (B, L, C)
        share = torch.bincount(codes[:, 0], minlength=self.vqvae.quantizer.num_codes) / len(codes)      # (K,)
        return Reconstruction(
            features=self.decode_latents(latents + (rows - latents).detach()),
            latents=latents,
            codes=codes_in_turn,
            left=left,
            commitment=functional.mse_loss(latents, rows.detach()),
            perplexity=torch.exp(-(share * (share + 1e-7).log()).sum()),
        )


# --------------------------------------------------------------------------------------------------------- transformer

MLP_RATIO = 4       # how much wider the middle of a block is


@dataclass
class KeyValues:
    """Keys and values one attention layer has seen so far; grows by what each call appends."""

    keys: Tensor | None = None     # (B, heads, t, head_dim)
    values: Tensor | None = None   # (B, heads, t, head_dim)

    def appended(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if self.keys is not None:
            keys, values = torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2)
        self.keys, self.values = keys, values
        return keys, values


class CausalAttention(nn.Module):
    def __init__(self, width: int, block_size: int, num_heads: int, dropout: float):
        super().__init__()
        if width % num_heads:
            raise ValueError(f"GPT: expected a width divisible by the number of heads (found {width} and {num_heads})")
        self.key = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)
        self.register_buffer("mask", torch.ones(block_size, block_size).tril()[None, None])   # (1, 1, N, N)
        self.num_heads = num_heads
        self.dropout = dropout

    def heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)                  # (B, heads, t, head_dim)

    def forward(self, x: Tensor, cache: KeyValues | None = None) -> Tensor:
        query, keys, values = self.heads(self.query(x)), self.heads(self.key(x)), self.heads(self.value(x))
        if cache is not None:
            keys, values = cache.appended(keys, values)
        end = keys.shape[2]
        allowed = self.mask[:, :, end - x.shape[1]:end, :end] > 0                     # (1, 1, t, end)
        dropout = self.dropout if self.training else 0.0
        out = functional.scaled_dot_product_attention(query, keys, values, attn_mask=allowed, dropout_p=dropout)
        return functional.dropout(self.proj(out.transpose(1, 2).flatten(2)), self.dropout, self.training)


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, block_size: int, num_heads: int, dropout: float):
        super().__init__()
        self.ln1 = nn.LayerNorm(width)
        self.ln2 = nn.LayerNorm(width)
        self.attn = CausalAttention(width, block_size, num_heads, dropout)
        self.mlp = nn.Sequential(
            nn.Linear(width, MLP_RATIO * width), nn.GELU(), nn.Linear(MLP_RATIO * width, width), nn.Dropout(dropout)
        )

    def forward(self, x: Tensor, cache: KeyValues | None = None) -> Tensor:
        x = x + self.attn(self.ln1(x), cache)
        return x + self.mlp(self.ln2(x))                                              # (B, t, C)


def sinusoids(num_positions: int, width: int) -> Tensor:
    """Fixed position table: even columns sine, odd columns cosine, base 10000. -> (num_positions, width)"""
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))   # (width / 2,)
    angle = torch.arange(num_positions)[:, None] * frequency                          # (N, width / 2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)                 # (N, width)


class PositionTable(nn.Module):
    def __init__(self, block_size: int, width: int):
        super().__init__()
        self.embed = nn.Parameter(sinusoids(block_size, width)[:, None], requires_grad=False)   # (N, 1, C)

    def forward(self, start: int, end: int) -> Tensor:
        return self.embed[start:end, 0]                                               # (end - start, C)


class Base(nn.Module):
    """Embeds the text feature and the tokens, and runs the first half of the blocks."""

    def __init__(self, num_codes: int, width: int, text_dim: int, block_size: int, num_layers: int, num_heads: int,
                 dropout: float):
        super().__init__()
        self.tok_emb = nn.Embedding(num_codes + 2, width)                             # codes, end, pad
        self.cond_emb = nn.Linear(text_dim, width)
        self.pos_embedding = nn.Embedding(block_size, width)                          # in every checkpoint, never used
        self.blocks = nn.ModuleList(Block(width, block_size, num_heads, dropout) for _ in range(num_layers))
        self.pos_embed = PositionTable(block_size, width)


class Head(nn.Module):
    """Runs the second half of the blocks and gives a logit to every code and to the end."""

    def __init__(self, num_codes: int, width: int, block_size: int, num_layers: int, num_heads: int, dropout: float):
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, block_size, num_heads, dropout) for _ in range(num_layers))
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_codes + 1, bias=False)                       # codes, end


def delayed(codes: Tensor, levels: int, nothing: int) -> Tensor:
    """Tokens (B, L Q) as the GPT meets them, (B, L + Q - 1, Q): each level one position after the level it adds to.

    So that a token is drawn knowing the coarser ones of its step (Copet et al. 2023, "delay"). nothing: stands where no token is.
    """
    steps = codes.unflatten(1, (-1, levels))                                          # (B, L, Q)
    placed = codes.new_full((len(codes), steps.shape[1] + levels - 1, levels), nothing)
    for level in range(levels):
        placed[:, level:level + steps.shape[1], level] = steps[..., level]
    return placed


def undelayed(placed: Tensor) -> Tensor:
    """The tokens of all whole steps, (B, P, Q) -> (B, (P - Q + 1) Q)."""
    levels = placed.shape[2]
    num_steps = placed.shape[1] - levels + 1
    return torch.stack([placed[:, level:level + num_steps, level] for level in range(levels)], dim=2).flatten(1)


class GPT(nn.Module):
    """Text feature and previous tokens -> logits of the next token; `num_layers` blocks in each of two halves.

    The defaults are the released size (README 4.2 of T2M-GPT, not its argparse defaults). levels: of the VQ-VAE, whose codes of all
    levels are `num_codes`; at every position there is a token of each level, see `delayed`.
    """

    def __init__(self, num_codes: int = 512, width: int = 1024, text_dim: int = 512, block_size: int = 51,
                 num_layers: int = 9, num_heads: int = 16, dropout: float = 0.1, levels: int = 1):
        super().__init__()
        shared = (block_size, num_layers, num_heads, dropout)
        self.trans_base = Base(num_codes, width, text_dim, *shared)
        self.trans_head = Head(num_codes, width, *shared)
        self.end_token = num_codes
        self.pad_token = num_codes + 1
        self.block_size, self.levels = block_size, levels

    @property
    def max_steps(self) -> int:
        """In the longest motion, of four frames each: one position is the text's, and the last level comes late."""
        return self.block_size - self.levels

    @property
    def codes_per_level(self) -> int:
        return self.end_token // self.levels

    def forward(self, codes: Tensor | None, text: Tensor | None, cache: list[KeyValues] | None = None) -> Tensor:
        """Logits at every given position. codes: (B, P), of several levels (B, P, Q), or None; text: (B, D) or None ->
        (B, [1 +] P, num_codes + 1)

        Without a cache `text` is needed and takes position 0. With one, give `text` in the first call, then only the
        tokens the cache has not seen.
        """
        parts = [] if text is None else [self.trans_base.cond_emb(text)[:, None]]     # (B, 1, C)
        if codes is not None:
            embedded = self.trans_base.tok_emb(codes)
            parts.append(embedded if codes.ndim == 2 else embedded.sum(dim=2))        # (B, P, C)
        x = torch.cat(parts, dim=1)                                                   # (B, t, C)
        start = 0 if cache is None or cache[0].keys is None else cache[0].keys.shape[2]
        if start + x.shape[1] > self.block_size:
            raise ValueError(f"GPT: expected at most {self.block_size - 1} tokens (found {start + x.shape[1] - 1})")
        x = x + self.trans_base.pos_embed(start, start + x.shape[1])
        blocks = [*self.trans_base.blocks, *self.trans_head.blocks]
        for block, layer_cache in zip(blocks, cache or [None] * len(blocks), strict=True):
            x = block(x, layer_cache)
        return self.trans_head.head(self.trans_head.ln_f(x))

    def logits_of(self, level: int, logits: Tensor) -> Tensor:
        """Of (..., num_codes + 1), those of one level's codes; the first level's end with the end's."""
        own = logits[..., level * self.codes_per_level:(level + 1) * self.codes_per_level]
        return own if level else torch.cat([own, logits[..., -1:]], dim=-1)

    def empty_cache(self) -> list[KeyValues]:
        return [KeyValues() for _ in range(len(self.trans_base.blocks) + len(self.trans_head.blocks))]

    @torch.no_grad()
    def sample(self, text: Tensor, *, min_steps: int = 0, max_steps: int | None = None,
               generator: torch.Generator | None = None, temperature: float = 1.0) -> list[Tensor]:
        """Tokens of each row up to its own end, the levels of a step one after another; a row that ends at once is empty.

        text: (B, D) -> B tensors (L_b Q,) long, min_steps <= L_b <= max_steps. The end token is suppressed until
        `min_steps`. Greedy without a generator; with one, drawn from the softmax at `temperature`.
        """
        limit = self.max_steps if max_steps is None else max_steps
        if not 0 <= min_steps <= limit <= self.max_steps:
            raise ValueError(f"GPT: expected 0 <= min_steps <= max_steps <= {self.max_steps} "
                             f"(found {min_steps} and {limit})")
        if limit == 0:
            return list(text.new_zeros((len(text), 0), dtype=torch.long))
        cache, placed, end = self.empty_cache(), [], self.codes_per_level
        lengths, ended = torch.full((len(text),), limit, device=text.device), torch.zeros(len(text), dtype=torch.bool, device=text.device)
        for position in range(limit + self.levels - 1):
            given = (None, text) if position == 0 else (placed[-1][:, None], None)
            logits, tokens = self(*given, cache)[:, -1].float(), []                   # (B, V + 1)
            for level in range(self.levels):
                own, step = self.logits_of(level, logits), position - level
                if not 0 <= step < limit:
                    tokens.append(torch.full_like(lengths, self.pad_token))
                    continue
                if level == 0 and step < min_steps:
                    own[:, end] = -math.inf
                token = next_tokens(own, generator, temperature)                      # (B,)
                if level == 0:
                    lengths[~ended & (token == end)] = step
                    ended |= token == end
                tokens.append(torch.where(step < lengths, token + level * end, self.pad_token))
            placed.append(torch.stack(tokens, dim=1))                                 # (B, Q)
            if ended.all() and position + 1 >= int(lengths.max()) + self.levels - 1:
                break
        tokens = undelayed(torch.stack(placed, dim=1))                                # (B, L Q)
        return [row[:length * self.levels] for row, length in zip(tokens, lengths.tolist(), strict=True)]


def next_tokens(logits: Tensor, generator: torch.Generator | None, temperature: float) -> Tensor:
    """The likeliest token without a generator, otherwise a draw. logits: (B, V + 1) -> (B,)

    The draw happens on the generator's device, so one seed gives one motion on every GPU.
    """
    if generator is None:
        return logits.argmax(dim=-1)
    if logits.isnan().any():                                                            # -inf bars a token
        raise ValueError("GPT: expected numbers (found NaN): its weights are damaged, fetch them again")
    shares = (logits / temperature).softmax(dim=-1).to(generator.device)
    return torch.multinomial(shares, num_samples=1, generator=generator)[:, 0].to(logits.device)
