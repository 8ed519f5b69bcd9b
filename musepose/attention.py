"""What the networks attend to: the reference picture's features beside their own, and one token of the image encoder.

Everything a call attends to is an argument of that call, never the state of a layer: features of another picture or of
an earlier batch cannot be left behind. The processors go where diffusers keeps them, so no block is copied.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional

KEPT_BYTES = 32 << 20            # of the keys and values of reading frames worked on at a time


@dataclass(frozen=True, eq=False)
class Context:
    """What the samples of a call attend to, drawn from what there is in one video or one training batch."""
    tokens: Tensor                                  # (T, 1, D), of the image encoder
    asked: tuple[int, ...]                          # per sample, its row of `tokens`
    features: dict[str, Tensor] = field(default_factory=dict)       # block name -> (R, N, C), of the reference network
    readers: tuple[int | None, ...] = ()            # per sample, its row of `features`; None reads nothing
    known: dict[tuple[str, str], object] = field(default_factory=dict)      # found once, while no gradient is wanted

    def of(self, asked: tuple[int, ...], readers: tuple[int | None, ...]) -> Context:
        """The same for other samples; what was found once is shared."""
        return replace(self, asked=asked, readers=readers)

    def answers(self, name: str, attention: Attention) -> Tensor:
        """The cross-attention's output, (B, 1, C). Attention over one key is that key's value, whatever is asked."""
        return self._once(("token", name), lambda: attention.to_out[0](attention.to_v(self.tokens)))[list(self.asked)]

    def keys_and_values(self, name: str, attention: Attention) -> tuple[Tensor, Tensor]:
        """Of the reference features, (R, N, C) each."""
        features = self.features[name]
        return self._once(("reference", name), lambda: (attention.to_k(features), attention.to_v(features)))

    def _once(self, key: tuple[str, str], find):
        if torch.is_grad_enabled():
            return find()
        if key not in self.known:
            self.known[key] = find()
        return self.known[key]


class ReadingAttention:
    """Self-attention of the denoiser: each frame also attends to its sample's reference features (fusion "full").

    Where we leave the published code: it projects the features for every frame, works out the unconditional half of
    the guidance twice, and keeps the features in float16 also in float32 runs.
    """

    def __init__(self, name: str):
        self.name = name

    def __call__(self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
                 attention_mask: Tensor | None = None, context: Context | None = None) -> Tensor:
        query, key, value = (layer(hidden_states) for layer in (attention.to_q, attention.to_k, attention.to_v))
        if not any(row is not None for row in context.readers):
            return attention.to_out[0](attended(attention, query, key, value))
        frames = len(hidden_states) // len(context.readers)
        bank = context.keys_and_values(self.name, attention)
        parts = []
        for row, *own in zip(context.readers, query.split(frames), key.split(frames), value.split(frames)):
            parts.append(attended(attention, *own) if row is None else
                         reading(attention, *own, *(kept[row] for kept in bank)))
        return attention.to_out[0](torch.cat(parts))


class WritingAttention:
    """Self-attention of the reference network: puts what it attends to into the call's `written`."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
                 attention_mask: Tensor | None = None, context: Context | None = None,
                 written: dict[str, Tensor] | None = None) -> Tensor:
        written.setdefault(self.name, hidden_states)            # gradient checkpointing comes here a second time
        query, key, value = (layer(hidden_states) for layer in (attention.to_q, attention.to_k, attention.to_v))
        return attention.to_out[0](attended(attention, query, key, value))


class TokenAttention:
    """Cross-attention over the picture's single token, which has one answer per sample and layer."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
                 attention_mask: Tensor | None = None, context: Context | None = None,
                 written: dict[str, Tensor] | None = None) -> Tensor:
        answers = context.answers(self.name, attention)                       # (B, 1, C)
        return answers.repeat_interleave(len(hidden_states) // len(answers), dim=0)     # (B*F, 1, C), for all places


class IdleNorm(nn.LayerNorm):
    """A norm that keeps its place in the checkpoint: it would prepare a query of `TokenAttention`, which asks nothing."""

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden


def attended(attention: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Multi-head attention of (B, N, C) queries over (B, M, C) keys, (B, N, C)."""
    heads = [x.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for x in (query, key, value)]     # (B, heads, N, c)
    return functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)


def reading(attention: Attention, query: Tensor, key: Tensor, value: Tensor, kept_key: Tensor,
            kept_value: Tensor) -> Tensor:
    """A sample's frames (F, N, C) over themselves and the reference (N, C); a few frames at a time.

    Only those frames' keys and values are ever beside the reference's in memory.
    """
    at_once = max(1, KEPT_BYTES // (4 * key[0].nbytes))
    join = lambda own, kept: torch.cat([own, kept.expand(len(own), -1, -1)], dim=1)      # (f, 2N, C)
    parts = [attended(attention, some, join(key_, kept_key), join(value_, kept_value))
             for some, key_, value_ in zip(query.split(at_once), key.split(at_once), value.split(at_once))]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def spatial_blocks(network: nn.Module) -> Iterator[tuple[str, BasicTransformerBlock]]:
    """The transformer blocks over places, by name; those over time are left out."""
    for name, block in network.named_modules():
        if isinstance(block, BasicTransformerBlock) and ".motion_modules." not in name:
            yield name, block


def prepare(network: nn.Module, reader: type) -> None:
    """Make a new network's spatial blocks attend by the `context` of a call. reader: of the self-attentions."""
    for name, block in spatial_blocks(network):
        block.attn1.set_processor(reader(name))
        block.attn2.set_processor(TokenAttention(name))
        block.norm2 = IdleNorm(block.norm2.normalized_shape)
