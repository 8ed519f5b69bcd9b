"""Layers as CPUs like them: the same sums in portions their cache holds, and with their faster kernels."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from torch import nn, Tensor

PORTION = 2 << 20                # bytes of a feed-forward layer's inner values worked on at a time


@contextmanager
def faster_on_cpu(model: nn.Module, device: torch.device) -> Iterator[nn.Module]:
    """Within the context, on a CPU: feed-forward layers in portions, convolutions over time in two dimensions.

    A UNet in float32 takes a tenth less time. Does nothing on other devices, for compiled networks, and for layers that
    already run in parts.
    """
    plain = device.type == "cpu" and getattr(model, "_compiled_call_impl", None) is None
    layers = [layer for layer in model.modules() if type(layer) in CPU_FORWARDS and "forward" not in vars(layer)] if plain else []
    layers = [layer for layer in layers if type(layer) is FeedForward or over_time(layer)]
    for layer in layers:
        layer.forward = partial(CPU_FORWARDS[type(layer)], layer)
    try:
        yield model
    finally:
        for layer in layers:
            del layer.forward


def over_time(layer: nn.Conv3d) -> bool:
    """Does this convolution look along time only, one step at a time?"""
    return layer.kernel_size[1:] == layer.stride[1:] == (1, 1) and layer.stride[0] == layer.dilation[0] == 1


def feed_forward_in_portions(layer: FeedForward, hidden: Tensor) -> Tensor:
    """hidden: (N, L, C). Rows a portion do not depend on N, so that a batch in two halves gives the same bits."""
    bytes_per_row = hidden[0].shape[0] * 2 * layer.net[-1].in_features * hidden.element_size()
    rows = max(1, PORTION // bytes_per_row)
    result = torch.empty_like(hidden)
    for given, made in zip(hidden.split(rows), result.split(rows)):
        made.copy_(FeedForward.forward(layer, given))
    return result


def conv_over_time(layer: nn.Conv3d, x: Tensor) -> Tensor:
    """x: (B, C, T, h, w). CPUs have a fast kernel for two dimensions, and a slow one for three."""
    time_and_place = F.conv2d(x.flatten(3), layer.weight[..., 0], layer.bias, padding=layer.padding[:2])
    return time_and_place.unflatten(3, x.shape[3:])


CPU_FORWARDS = {FeedForward: feed_forward_in_portions, nn.Conv3d: conv_over_time}
