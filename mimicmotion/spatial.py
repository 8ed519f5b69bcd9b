"""Run the spatio-temporal networks of SVD as the picture networks they contain.

When every temporal branch of a block ends in zeros the block equals its spatial part exactly. Then the temporal half of
the arithmetic can be left out: in training on single pictures, and in any network whose temporal branches were never
trained. Swaps are made on instances and undone, so no class and no other model is touched.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from einops import rearrange
from torch import Tensor, nn

TEMPORAL_PARAMETERS = ("temporal_res_block", "time_mixer", "temporal_transformer", "time_pos_embed", "time_conv_out")


def is_temporal(name: str) -> bool:
    """Does this parameter belong to a temporal branch?"""
    return any(part in name for part in TEMPORAL_PARAMETERS)


def _resnet_in_space(block: SpatioTemporalResBlock, hidden: Tensor, temb: Tensor | None = None,
                     image_only_indicator: Tensor | None = None) -> Tensor:
    return block.spatial_res_block(hidden, temb)


def _transformer_in_space(block: TransformerSpatioTemporalModel, hidden: Tensor,
                          encoder_hidden_states: Tensor | None = None, image_only_indicator: Tensor | None = None,
                          return_dict: bool = True) -> tuple[Tensor]:
    height, width = hidden.shape[-2:]
    x = block.proj_in(rearrange(block.norm(hidden), "b c h w -> b (h w) c"))           # (B, h*w, C)
    for layer in block.transformer_blocks:
        x = layer(x, encoder_hidden_states=encoder_hidden_states)
    x = rearrange(block.proj_out(x), "b (h w) c -> b c h w", h=height, w=width)
    return (x.contiguous() + hidden,)


IN_SPACE = {SpatioTemporalResBlock: _resnet_in_space, TransformerSpatioTemporalModel: _transformer_in_space}


@contextmanager
def spatial_only(model: nn.Module, when=lambda block: True) -> Iterator[nn.Module]:
    """Within the context, spatio-temporal blocks for which `when(block)` holds run their spatial part alone."""
    blocks = [block for block in model.modules() if type(block) in IN_SPACE and when(block)]
    for block in blocks:
        block.forward = partial(IN_SPACE[type(block)], block)
    try:
        yield model
    finally:
        for block in blocks:
            del block.forward


@torch.no_grad()
def silence_temporal_branches(model: nn.Module) -> None:
    """Zero the last layer of every temporal branch: each block becomes its spatial part exactly (the start of training)."""
    for block in model.modules():
        if isinstance(block, SpatioTemporalResBlock):
            _zero(block.temporal_res_block.conv2)
        elif isinstance(block, TransformerSpatioTemporalModel):
            _zero(block.time_pos_embed.linear_2)
            for layer in block.temporal_transformer_blocks:
                _zero(layer.attn1.to_out[0], layer.ff.net[-1], layer.ff_in.net[-1])
                if layer.attn2 is not None:
                    _zero(layer.attn2.to_out[0])
    mixer = getattr(getattr(model, "decoder", None), "time_conv_out", None)
    if mixer is not None:
        nn.init.dirac_(mixer.weight)
        nn.init.zeros_(mixer.bias)


def _zero(*layers: nn.Module) -> None:
    for layer in layers:
        nn.init.zeros_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


@torch.no_grad()
def is_silent(block: nn.Module) -> bool:
    """Does every temporal branch of this block end in exact zeros, so that it equals its spatial part? Read from weights."""
    if isinstance(block, SpatioTemporalResBlock):
        return _all_zero(block.temporal_res_block.conv2)
    outputs = [block.time_pos_embed.linear_2]
    for layer in block.temporal_transformer_blocks:
        attentions = [attention for attention in (layer.attn1, layer.attn2) if attention is not None]
        outputs += [layer.ff.net[-1], layer.ff_in.net[-1], *(attention.to_out[0] for attention in attentions)]
    return _all_zero(*outputs)


def _all_zero(*layers: nn.Module) -> bool:
    return not any(parameter.any() for layer in layers for parameter in layer.parameters())
