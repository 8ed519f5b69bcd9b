"""Layers as CPUs like them: the same sums in portions their cache holds, in fewer passes, and with their faster kernels."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
import torch.nn.functional as F
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import nn, Tensor

PORTION = 2 << 20                # bytes of a feed-forward layer's inner values, or a block's input, worked on at a time


@contextmanager
def with_forwards(forwards: dict[nn.Module, Callable]) -> Iterator[None]:
    """Within the context these layers run by other functions."""
    for layer, forward in forwards.items():
        layer.forward = forward
    try:
        yield
    finally:
        for layer in forwards:
            del layer.forward


@contextmanager
def faster_on_cpu(model: nn.Module, device: torch.device, training: bool = False) -> Iterator[nn.Module]:
    """Within the context, on a CPU, layers run by their `cpu_forward`.

    A UNet in float32 takes a tenth less time, a VAE's decoder a third. Does nothing on other devices, for compiled
    networks, and for layers that already run in parts. training: only what gradients pass through, by `cpu_training_forward`.
    """
    plain = device.type == "cpu" and all(getattr(layer, "_compiled_call_impl", None) is None for layer in model.modules())
    chosen = cpu_training_forward if training else cpu_forward
    forwards = {layer: forward for layer in model.modules()
                if plain and "forward" not in vars(layer) and (forward := chosen(layer))}
    with with_forwards(forwards):
        yield model


def cpu_training_forward(layer: nn.Module) -> Callable[..., Tensor] | None:
    """What a CPU does faster, gradients too, in place of the layer's own forward; None where nothing is."""
    if type(layer) is nn.Conv3d and over_time(layer):
        return partial(conv_over_time, layer)
    if type(layer) is nn.GroupNorm and layer.affine:
        return partial(group_norm_in_float32, layer)
    return None


def cpu_forward(layer: nn.Module) -> Callable[..., Tensor] | None:
    """What a CPU does faster in place of the layer's own forward; None where nothing is."""
    single = next((weight.dtype is torch.float32 for weight in layer.parameters()), False)
    if type(layer) is FeedForward:
        return partial(feed_forward_in_portions, layer)
    if type(layer) is nn.Conv3d and over_time(layer):
        return partial(conv_over_time, layer)
    if type(layer) is ResnetBlock2D and single and is_plain(layer):
        return partial(resnet_in_place, layer)
    if type(layer) is Upsample2D and single and doubles(layer):
        return partial(doubled, layer, phases(layer.conv.weight))
    return None


def over_time(layer: nn.Conv3d) -> bool:
    """Does this convolution look along time only, one step at a time?"""
    return layer.kernel_size[1:] == layer.stride[1:] == (1, 1) and layer.stride[0] == layer.dilation[0] == 1


def group_norm_in_float32(layer: nn.GroupNorm, x: Tensor) -> Tensor:
    """x: (N, C, ...). As autocast on a GPU does; a CPU's gradient in bfloat16 takes four times as long."""
    return F.group_norm(x.float(), layer.num_groups, layer.weight.float(), layer.bias.float(), layer.eps).to(x.dtype)


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


def is_plain(block: ResnetBlock2D) -> bool:
    """Is this norm, SiLU, convolution, twice, beside a shortcut, with a time embedding that is added, if any?"""
    return (block.upsample is block.downsample is None and block.output_scale_factor == 1.0
            and block.time_embedding_norm == "default" and not block.skip_time_act
            and type(block.nonlinearity) is nn.SiLU and not block.training)


def resnet_in_place(block: ResnetBlock2D, input_tensor: Tensor, temb: Tensor | None) -> Tensor:
    """input_tensor: (B, C, h, w). A few pictures at a time, each step overwrites the one before: less memory is passed over."""
    rows = max(1, PORTION // input_tensor[0].nbytes)
    if len(input_tensor) > rows:
        shifts = [None] * len(input_tensor) if temb is None else temb.expand(len(input_tensor), -1).split(rows)
        layout = torch.contiguous_format if input_tensor.is_contiguous() else torch.channels_last
        result = torch.empty((len(input_tensor), block.out_channels, *input_tensor.shape[2:]), dtype=input_tensor.dtype,
                             memory_format=layout)
        for made, given, shift in zip(result.split(rows), input_tensor.split(rows), shifts):
            made.copy_(resnet_in_place(block, given, shift))
        return result
    hidden = block.conv1(F.silu(block.norm1(input_tensor), inplace=True))
    if temb is not None and block.time_emb_proj is not None:
        hidden.add_(block.time_emb_proj(F.silu(temb))[:, :, None, None])
    hidden = block.conv2(F.silu(block.norm2(hidden), inplace=True))
    return hidden.add_(input_tensor if block.conv_shortcut is None else block.conv_shortcut(input_tensor))


def doubles(layer: Upsample2D) -> bool:
    """Does this double the size by nearest neighbours, and then convolve 3 x 3?"""
    conv = layer.conv if layer.use_conv and layer.interpolate and layer.norm is None else None
    return type(conv) is nn.Conv2d and (conv.kernel_size, conv.stride, conv.padding, conv.groups) == ((3, 3), (1, 1), (1, 1), 1)


def phases(weight: Tensor) -> list[Tensor]:
    """Kernels (O, I, 2, 2) for the even and odd rows and columns of what is doubled, from one of (O, I, 3, 3).

    Of three neighbours in a doubled row two are the same pixel: an even place sees w0 of the pixel before and w1 + w2 of
    its own, an odd one w0 + w1 of its own and w2 of the next. 16 products in place of 36, the same sums.
    """
    def halves(w: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        first, second, third = w.unbind(dim)
        return torch.stack([first, second + third], dim), torch.stack([first + second, third], dim)

    return [kernel.contiguous(memory_format=torch.channels_last)
            for rows in halves(weight.detach(), 2) for kernel in halves(rows, 3)]


def doubled(layer: Upsample2D, kernels: list[Tensor], hidden_states: Tensor, output_size: int | None = None) -> Tensor:
    """hidden_states: (B, C, h, w) -> (B, O, 2 h, 2 w), each of the four phases by its own small convolution.

    From here on channels are side by side in memory (channels_last), as a CPU's kernels like wide pictures.
    """
    if output_size is not None:
        return Upsample2D.forward(layer, hidden_states, output_size)
    x = hidden_states.contiguous(memory_format=torch.channels_last)
    batch, _, height, width = x.shape
    result = torch.empty((batch, layer.out_channels, 2 * height, 2 * width), dtype=x.dtype,
                         memory_format=torch.channels_last)
    around = F.pad(x, (1, 1, 1, 1))                                           # (B, C, h + 2, w + 2)
    for (row, column), kernel in zip(((0, 0), (0, 1), (1, 0), (1, 1)), kernels):
        near = around[:, :, row:row + height + 1, column:column + width + 1]
        result[:, :, row::2, column::2] = F.conv2d(near, kernel, layer.conv.bias)
    return result
