"""GPU memory of a training step of ZeroScope or ModelScope, by arithmetic: no weights, no GPU.

    python scripts/customization_memory.py
    python scripts/customization_memory.py --size 320x576 --frames 24 --optimizer adamw
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from diffusers import UNet3DConditionModel
import torch
from torch import nn, Tensor
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from configs import run_main, whole_number
from generate_customized import size_of
from media.images import PIXELS_PER_LATENT
from newmove.objective import checkpointed_layers, PAPER, train_only
from runtime.cpu_layers import with_forwards

ADAM_BYTES = {"adamw": 8.0, "adamw_8bit": 2.0 + 8 / 256}     # both moments of a number; 8 bit: a scale per 256 numbers
IN_HALF = (F.linear, F.conv2d, F.conv3d)                      # by autocast; other functions follow their inputs
IN_FLOAT = (F.group_norm, F.layer_norm)
CONTEXT_BYTES = 0.6e9                                        # CUDA's own, and the allocator's rounding; an allowance


def training_memory(network: nn.Module, groups, inputs: Sequence[Tensor], *, checkpointing: bool,
                    optimizer: str = "adamw_8bit") -> dict[str, float]:
    """Bytes by what they are for, and their sum, of one step of UNet3DConditionModel on the meta device.

    Network and inputs (noisy, timestep, text) are in half precision, as autocast's copies of them are. Latents and texts
    are cached: VAE and text encoder do not count.
    """
    trained = set(train_only(network, groups))
    counts = {True: 0, False: 0}
    for name, parameter in network.named_parameters():
        counts[name in trained] += parameter.numel()
    kept, peak = activations(network, inputs, checkpointing)
    found = {"trained weights, float32": 4.0 * counts[True], "their gradients, float32": 4.0 * counts[True],
             f"{optimizer}'s moments": ADAM_BYTES[optimizer] * counts[True],
             "their copies under autocast, half": 2.0 * counts[True], "frozen weights": 2.0 * counts[False],
             "activations kept": float(kept), "activations of the layer at work": float(peak), "CUDA": CONTEXT_BYTES}
    return found | {"sum": sum(found.values())}


def activations(network: nn.Module, inputs: Sequence[Tensor], checkpointing: bool) -> tuple[int, int]:
    """Bytes kept from the way there, and the most that one layer adds while it is worked on again."""
    parameters = {id(parameter) for parameter in network.parameters()}
    kept, per_layer = Count(parameters), []
    with recorded(checkpointed_layers(network) if checkpointing else [], kept, per_layer, parameters):
        with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor), HalfPrecision():
            noisy, timestep, text = inputs
            network(noisy, timestep, encoder_hidden_states=text, return_dict=False)
    return kept.bytes, max(per_layer, default=0)


class HalfPrecision(TorchFunctionMode):
    """What autocast and fused attention do on a GPU, in shapes and precisions, for the meta device, which has neither."""

    def __torch_function__(self, function, types, arguments=(), named=None):
        named = named or {}
        if function is F.scaled_dot_product_attention:
            return KeptByFusedAttention.apply(*(tensor.half() for tensor in arguments[:3]))
        dtype = torch.half if function in IN_HALF else torch.float if function in IN_FLOAT else None
        if dtype is None:
            return function(*arguments, **named)
        cast = lambda value: value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
        return function(*map(cast, arguments), **{name: cast(value) for name, value in named.items()})


class KeptByFusedAttention(torch.autograd.Function):
    """The shape of attention's result, and what its fused kernels save: inputs, output and a number per row. Not for gradients."""

    @staticmethod
    def forward(context, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        result = query.new_empty(*query.shape[:-1], value.shape[-1])
        context.save_for_backward(query, key, value, result, query.new_empty(query.shape[:-1], dtype=torch.float32))
        return result


class Count:
    """Adds up the bytes of tensors it is shown, each storage once, parameters never."""

    def __init__(self, parameters: set[int]):
        self.bytes, self.held, self.parameters = 0, {}, parameters

    def __call__(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        base = tensor if tensor._base is None else tensor._base
        if id(base) not in self.parameters and storage._cdata not in self.held:
            self.held[storage._cdata] = storage                      # held, so that its number is not used again
            self.bytes += storage.nbytes()
        return tensor


@contextmanager
def recorded(layers: Sequence[nn.Module], kept: Count, per_layer: list[int], parameters: set[int]) -> Iterator[None]:
    """Within the context each layer counts its inputs as kept, and what it saves for itself as its own."""
    def counting(forward: Callable) -> Callable:
        def call(*arguments, **named):
            for value in (*arguments, *named.values()):
                if isinstance(value, Tensor):
                    kept(value)
            own = Count(parameters)
            with torch.autograd.graph.saved_tensors_hooks(own, lambda tensor: tensor):
                result = forward(*arguments, **named)
            per_layer.append(own.bytes)
            return result
        return call

    with with_forwards({layer: counting(layer.forward) for layer in layers}):
        yield


ZEROSCOPE = dict(sample_size=32, block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=1024, attention_head_dim=64)
CLIPS, WORDS = 2, 77                        # exemplar and prior; CLIP's length


def estimate(size: tuple[int, int], num_frames: int, optimizer: str, checkpointing: bool) -> dict[str, float]:
    """Bytes of one step at `size` (height, width) pixels."""
    with torch.device("meta"):
        network = nn.Module.to(UNet3DConditionModel(**ZEROSCOPE), torch.half)
        inputs = (torch.empty(CLIPS, 4, num_frames, *(side // PIXELS_PER_LATENT for side in size), dtype=torch.half),
                  torch.empty(CLIPS, dtype=torch.int64), torch.empty(CLIPS, WORDS, 1024, dtype=torch.half))
    return training_memory(network, PAPER, inputs, optimizer=optimizer, checkpointing=checkpointing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="384", help="side in pixels, or HEIGHTxWIDTH (384)")
    parser.add_argument("--frames", type=whole_number(1), default=16)
    parser.add_argument("--optimizer", choices=ADAM_BYTES, default="adamw_8bit")
    parser.add_argument("--no-checkpointing", action="store_true")
    chosen = parser.parse_args()
    height, width = size = size_of("--size", chosen.size)
    if min(size) < PIXELS_PER_LATENT or any(side % PIXELS_PER_LATENT for side in size):
        raise ValueError(f"--size: expected multiples of {PIXELS_PER_LATENT} pixels (found {height}x{width}): round them")
    found = estimate(size, chosen.frames, chosen.optimizer, not chosen.no_checkpointing)
    print(f"{height}x{width}, {chosen.frames} frames, exemplar and prior, {chosen.optimizer}: GB")
    for name, size_in_bytes in found.items():
        print(f"{name:36} {size_in_bytes / 1e9:7.2f}")


if __name__ == "__main__":
    run_main(main)
