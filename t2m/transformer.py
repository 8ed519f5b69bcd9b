"""Text -> motion tokens: the GPT of T2M-GPT (Zhang et al. 2023, §3.2), decoded with a key/value cache.

Tensor names and shapes are those of the released `net_best_fid.pth` (its top-level key `trans`), so that file loads
strictly, dead weights and mask buffers included. The cache gives the same tokens as the published full recomputation.
"""
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn, Tensor
from torch.nn import functional


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

    def __init__(self, width: int, block_size: int, num_heads: int, dropout: float, mlp_ratio: int):
        super().__init__()
        self.ln1 = nn.LayerNorm(width)
        self.ln2 = nn.LayerNorm(width)
        self.attn = CausalAttention(width, block_size, num_heads, dropout)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_ratio * width), nn.GELU(), nn.Linear(mlp_ratio * width, width), nn.Dropout(dropout)
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
                 dropout: float, mlp_ratio: int):
        super().__init__()
        self.tok_emb = nn.Embedding(num_codes + 2, width)                             # codes, end, pad
        self.cond_emb = nn.Linear(text_dim, width)
        self.pos_embedding = nn.Embedding(block_size, width)                          # in every checkpoint, never used
        self.blocks = nn.ModuleList(
            Block(width, block_size, num_heads, dropout, mlp_ratio) for _ in range(num_layers)
        )
        self.pos_embed = PositionTable(block_size, width)


class Head(nn.Module):
    """Runs the second half of the blocks and gives a logit to every code and to the end."""

    def __init__(self, num_codes: int, width: int, block_size: int, num_layers: int, num_heads: int, dropout: float,
                 mlp_ratio: int):
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width, block_size, num_heads, dropout, mlp_ratio) for _ in range(num_layers)
        )
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_codes + 1, bias=False)                       # codes, end


class GPT(nn.Module):
    """Text feature and previous tokens -> logits of the next token; `num_layers` blocks in each of two halves.

    The defaults are the released size (README 4.2 of T2M-GPT, not its argparse defaults).
    """

    def __init__(self, num_codes: int = 512, width: int = 1024, text_dim: int = 512, block_size: int = 51,
                 num_layers: int = 9, num_heads: int = 16, dropout: float = 0.1, mlp_ratio: int = 4):
        super().__init__()
        shared = (block_size, num_layers, num_heads, dropout, mlp_ratio)
        self.trans_base = Base(num_codes, width, text_dim, *shared)
        self.trans_head = Head(num_codes, width, *shared)
        self.end_token = num_codes
        self.pad_token = num_codes + 1
        self.max_tokens = block_size - 1                                              # one position is the text's

    def forward(self, codes: Tensor | None, text: Tensor | None, cache: list[KeyValues] | None = None) -> Tensor:
        """Logits at every given position. codes: (B, L) or None; text: (B, D) or None -> (B, [1 +] L, num_codes + 1)

        Without a cache `text` is needed and takes position 0. With one, give `text` in the first call, then only the
        tokens the cache has not seen.
        """
        parts = [] if text is None else [self.trans_base.cond_emb(text)[:, None]]     # (B, 1, C)
        if codes is not None:
            parts.append(self.trans_base.tok_emb(codes))                              # (B, L, C)
        x = torch.cat(parts, dim=1)                                                   # (B, t, C)
        start = 0 if cache is None or cache[0].keys is None else cache[0].keys.shape[2]
        if start + x.shape[1] > self.max_tokens + 1:
            raise ValueError(f"GPT: expected at most {self.max_tokens} tokens (found {start + x.shape[1] - 1})")
        x = x + self.trans_base.pos_embed(start, start + x.shape[1])
        blocks = [*self.trans_base.blocks, *self.trans_head.blocks]
        for block, layer_cache in zip(blocks, cache or [None] * len(blocks), strict=True):
            x = block(x, layer_cache)
        return self.trans_head.head(self.trans_head.ln_f(x))

    def empty_cache(self) -> list[KeyValues]:
        return [KeyValues() for _ in range(len(self.trans_base.blocks) + len(self.trans_head.blocks))]

    @torch.no_grad()
    def sample(self, text: Tensor, *, min_tokens: int = 0, max_tokens: int | None = None,
               generator: torch.Generator | None = None, temperature: float = 1.0) -> list[Tensor]:
        """Tokens of each row up to its own end token, which is left out; a row that ends at once is empty.

        text: (B, D) -> B tensors (L_b,) long, min_tokens <= L_b <= max_tokens. The end token is suppressed until
        `min_tokens`. Greedy without a generator; with one, drawn from the softmax at `temperature`.
        """
        limit = self.max_tokens if max_tokens is None else max_tokens
        if not 0 <= min_tokens <= limit <= self.max_tokens:
            raise ValueError(f"GPT: expected 0 <= min_tokens <= max_tokens <= {self.max_tokens} "
                             f"(found {min_tokens} and {limit})")
        cache, codes, ended = self.empty_cache(), [], torch.zeros(len(text), dtype=torch.bool, device=text.device)
        lengths = torch.full((len(text),), limit, device=text.device)
        for position in range(limit):
            given = (None, text) if position == 0 else (codes[-1][:, None], None)
            logits = self(*given, cache)[:, -1].float()                               # (B, V + 1)
            if position < min_tokens:
                logits[:, self.end_token] = -math.inf
            codes.append(next_tokens(logits, generator, temperature))                 # (B,)
            ends_now = ~ended & (codes[-1] == self.end_token)
            lengths[ends_now] = position
            ended |= ends_now
            if ended.all():
                break
        drawn = torch.stack(codes, dim=1) if codes else text.new_zeros((len(text), 0), dtype=torch.long)
        return [row[:length] for row, length in zip(drawn, lengths.tolist(), strict=True)]


def next_tokens(logits: Tensor, generator: torch.Generator | None, temperature: float) -> Tensor:
    """The likeliest token without a generator, otherwise a draw. logits: (B, V + 1) -> (B,)

    The draw happens on the generator's device, so one seed gives one motion on every GPU.
    """
    if generator is None:
        return logits.argmax(dim=-1)
    shares = (logits / temperature).softmax(dim=-1).to(generator.device)
    return torch.multinomial(shares, num_samples=1, generator=generator)[:, 0].to(logits.device)
