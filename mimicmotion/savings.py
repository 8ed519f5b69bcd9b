"""The same numbers with less work or memory, each a context around a network.

Cached cross-attention outputs, cached deep features, temporal branches that are zero left out, kernels that are fast on a
CPU, feed-forward layers in portions.
"""
from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from einops import rearrange
from torch import nn, Tensor

from runtime.cpu_layers import with_forwards

TEMPORAL_PARAMETERS = ("temporal_res_block", "time_mixer", "temporal_transformer", "time_pos_embed", "time_conv_out")
TEMPORAL_ENDS = ("temporal_res_block.conv2.", "time_pos_embed.linear_2.", ".to_out.0.", ".ff.net.2.", ".ff_in.net.2.")


class CachedCrossAttention:
    """Attention processor with outputs computed before; the context, (rows, 1, 1) long, holds the number of each row's."""

    def __init__(self, outputs: Tensor):
        self.outputs = outputs                                                # (N, 1, C)

    def __call__(self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor,
                 attention_mask: Tensor | None = None) -> Tensor:
        return self.outputs[encoder_hidden_states[:, 0, 0]]                   # (rows, 1, C), for all places alike


@contextmanager
def cached_cross_attention(unet: nn.Module, tokens: Tensor) -> Iterator[Tensor]:
    """Within the context cross-attention to `tokens` (N, 1, D) is a look-up: the softmax over one token is always 1.

    Yields the tokens' numbers, (N, 1, 1) long; rows of it take the tokens' place as encoder_hidden_states.
    """
    blocks = [block for block in unet.modules() if getattr(block, "attn2", None) is not None]
    kept = [(block.norm2, block.attn2.processor) for block in blocks]
    for block in blocks:
        weight = block.attn2.to_v.weight                                      # may wait in the CPU's memory
        outputs = block.attn2.to_out[0](block.attn2.to_v(tokens.to(weight)))  # (N, 1, C)
        block.attn2.set_processor(CachedCrossAttention(outputs.to(tokens.device)))
        block.norm2 = nn.Identity()                                           # of the query, which is not needed
    try:
        yield torch.arange(len(tokens), device=tokens.device)[:, None, None]
    finally:
        for block, (norm, processor) in zip(blocks, kept):
            block.norm2 = norm
            block.attn2.set_processor(processor)


class FeatureCache:
    """Deep features per UNet call of a step. `every`: steps that share them; 1 keeps nothing."""

    def __init__(self, every: int):
        if every < 1:
            raise ValueError(f"feature_cache: expected 1 (no cache) or more steps (found {every})")
        self.every = every
        self.kept: dict[Hashable, Tensor] = {}
        self.age, self.calls = 0, None

    def next_step(self, calls: list[Hashable]) -> None:
        """Begin a step of these calls. All are worked out anew when old enough, or when the calls are not the same."""
        self.age += 1
        if self.age >= self.every or calls != self.calls:
            self.kept.clear()
            self.age, self.calls = 0, calls

    def get(self, call: Hashable) -> Tensor | None:
        """What an earlier step of this run kept for the call, (B*F, C, h, w)."""
        return self.kept.get(call)

    def put(self, call: Hashable, deep: Tensor) -> None:
        """Keep a call's deep features for the steps to come."""
        if self.every > 1:
            self.kept[call] = deep


def ends_temporal_branch(name: str) -> bool:
    """Does this parameter belong to the last layer of a temporal branch?"""
    return is_temporal(name) and any(part in name for part in TEMPORAL_ENDS)


def is_temporal(name: str) -> bool:
    """Does this parameter belong to a temporal branch?"""
    return any(part in name for part in TEMPORAL_PARAMETERS)


def _spatial_resnet(block: SpatioTemporalResBlock, hidden: Tensor, temb: Tensor | None = None,
                     image_only_indicator: Tensor | None = None) -> Tensor:
    return block.spatial_res_block(hidden, temb)


def _spatial_transformer(block: TransformerSpatioTemporalModel, hidden: Tensor,
                          encoder_hidden_states: Tensor | None = None, image_only_indicator: Tensor | None = None,
                          return_dict: bool = True) -> tuple[Tensor]:
    height, width = hidden.shape[-2:]
    x = block.proj_in(rearrange(block.norm(hidden), "b c h w -> b (h w) c"))           # (B, h*w, C)
    for layer in block.transformer_blocks:
        x = layer(x, encoder_hidden_states=encoder_hidden_states)
    x = rearrange(block.proj_out(x), "b (h w) c -> b c h w", h=height, w=width)
    return (x.contiguous() + hidden,)


SPATIAL_FORWARDS = {SpatioTemporalResBlock: _spatial_resnet, TransformerSpatioTemporalModel: _spatial_transformer}


@contextmanager
def spatial_only(model: nn.Module, when=lambda block: True) -> Iterator[nn.Module]:
    """Within the context, spatio-temporal blocks for which `when(block)` holds run their spatial part alone."""
    with with_forwards({block: partial(SPATIAL_FORWARDS[type(block)], block)
                        for block in spatio_temporal_blocks(model) if when(block)}):
        yield model


def spatio_temporal_blocks(model: nn.Module) -> Iterator[nn.Module]:
    """Every block that has a temporal branch beside its spatial part."""
    return (block for block in model.modules() if type(block) in SPATIAL_FORWARDS)


@torch.no_grad()
def zero_temporal_branches(model: nn.Module) -> None:
    """Zero the last layer of every temporal branch: each block becomes its spatial part exactly (the start of training)."""
    for name, parameter in model.named_parameters():
        if ends_temporal_branch(name):
            parameter.zero_()
    mixer = getattr(getattr(model, "decoder", None), "time_conv_out", None)
    if mixer is not None:
        nn.init.dirac_(mixer.weight)
        nn.init.zeros_(mixer.bias)


@torch.no_grad()
def is_zero_initialised(model: nn.Module) -> bool:
    """Does every temporal branch end in exact zeros, so that each block equals its spatial part? Read from weights."""
    return not any(tensor.any() for name, tensor in model.state_dict().items() if ends_temporal_branch(name))


def _in_parts(forward, num_parts: int, hidden: Tensor) -> Tensor:
    result = torch.empty_like(hidden)
    for given, made in zip(hidden.chunk(num_parts), result.chunk(num_parts)):
        made.copy_(forward(given))
    return result


@contextmanager
def feed_forward_in_parts(model: nn.Module, num_parts: int) -> Iterator[nn.Module]:
    """Within the context, feed-forward layers take their tokens in `num_parts` portions: their inner width, eight times
    the outer one, is what a UNet's memory peaks at. Not for training."""
    with with_forwards({layer: partial(_in_parts, layer.forward, num_parts) for layer in model.modules()
                        if num_parts > 1 and isinstance(layer, FeedForward)}):
        yield model
