"""What networks take: the bytes alive while they work and their operations, both counted without doing any work.

Also how many operations a device does in a second, and networks that wait in the CPU's memory for their turn.
"""
from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, cached_property
from typing import NamedTuple

import torch
from accelerate import cpu_offload_with_hook
from torch import nn, Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

from runtime.device import GIB

FRAMES = 2                             # of a dry run; one frame would hide copies of permuted tensors
LATENTS_KEPT = 12                      # float32 latents per frame alive between two calls of the network, at most
RESERVE, FRAGMENTATION = 0.25, 0.05    # GiB of cuBLAS and cuDNN; share of activations lost between allocated blocks
GROUP_NORM = torch.ops.aten.native_group_norm.default
NEEDS_ORDER = (GROUP_NORM, torch.ops.aten.convolution.default,
               torch.ops.aten.native_layer_norm.default)


class Taken(NamedTuple):
    """By a dry run."""
    bytes: int                         # the most of tensors alive at once, besides weights and what is given
    operations: int                    # floating-point; a multiplication with its addition is two


class DryRun(TorchDispatchMode):
    """Within the context, counts operations, and the bytes of tensors made and still alive; `peak` is the most there ever were.

    Kernels' own memory is estimated: norms and convolutions copy an input that is not contiguous, and convolutions
    turn a channels-first input and output over to channels-last in their workspace (cuDNN, oneDNN).
    """

    def __init__(self, given: Iterable[Tensor]):
        super().__init__()
        self.live, self.peak, self.operations = 0, 0, 0
        self.known = {tensor.untyped_storage()._cdata for tensor in given}            # there before: not counted

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = group_norm_shapes(*args) if func is GROUP_NORM else func(*args, **kwargs)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        for tensor in outputs:
            self.count(tensor.untyped_storage())
        self.peak = max(self.peak, self.live + (workspace(func, args[0], outputs[0]) if func in NEEDS_ORDER else 0))
        if counted := flop_registry.get(func.overloadpacket):
            self.operations += counted(*args, **kwargs, out_val=result)
        return result

    def count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.live += size
            weakref.finalize(storage, self.freed, key, size)

    def freed(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.live -= size


def group_norm_shapes(x: Tensor, weight, bias, batch: int, channels: int, cells: int, groups: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """What group normalisation gives on the meta device: torch's own answer takes it milliseconds, of many layers seconds."""
    return x.new_empty(x.shape), x.new_empty(batch, groups), x.new_empty(batch, groups)


def workspace(func, x: Tensor, output: Tensor) -> int:
    """Bytes a kernel is expected to take beside its input and output."""
    last = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
    if x.ndim in (4, 5) and x.is_contiguous(memory_format=last):
        return 0
    ordered = 0 if x.is_contiguous() else x.nbytes
    return ordered + (x.nbytes + output.nbytes if func is torch.ops.aten.convolution.default else 0)


class FusedAttention(TorchFunctionMode):
    """Attention that never holds its table of scores, as on every device but meta; its operations are the dry run's."""

    def __init__(self, dry: DryRun):
        super().__init__()
        self.dry = dry

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is functional.scaled_dot_product_attention:
            query, key, value = (args[place] if place < len(args) else kwargs[name] for place, name in enumerate(("query", "key", "value")))
            self.dry.operations += sdpa_flop_count(query.shape, key.shape, value.shape)
            return torch.empty_like(query)
        return func(*args, **kwargs)


@torch.no_grad()
def dry_run(module: nn.Module, run: Callable[..., object], *given: Tensor) -> Taken:
    """What run(*given) takes while it works with `module`, on the meta device."""
    with DryRun([*module.parameters(), *module.buffers(), *given]) as dry, FusedAttention(dry):
        run(*given)
    return Taken(dry.peak, dry.operations)


class NetworkFootprint:
    """Bytes and operations of the parts of a run at one size, for a dataclass whose fields are the networks, on the meta device.

    What grows with frames is counted for FRAMES of them; the rest is multiplication. A subclass has two methods:
    `denoising(halves)` is what denoising FRAMES frames takes, and is asked often; `decoded(latents)` decodes.
    """
    vae: nn.Module
    size: tuple[int, int]            # height, width the networks work at, pixels
    denoising: Callable[[int], Taken]
    decoded: Callable[[Tensor], Tensor]

    @cached_property
    def weights(self) -> dict[str, int]:
        """Bytes of each network's parameters."""
        return {name: sum(p.nbytes for p in network.parameters())
                for name, network in vars(self).items() if isinstance(network, nn.Module)}

    @cached_property
    def latent_size(self) -> tuple[int, int]:
        shrink = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return self.size[0] // shrink, self.size[1] // shrink

    @cached_property
    def encoding(self) -> int:
        """The VAE's encoder on the picture."""
        return dry_run(self.vae, lambda given: self.vae.encode(given).latent_dist.mean, self.made(1, 3, *self.size)).bytes

    @cached_property
    def decoding(self) -> Taken:
        """Decoding FRAMES frames."""
        latents = self.made(FRAMES, self.vae.config.latent_channels, *self.latent_size, dtype=torch.float32)
        return dry_run(self.vae, self.decoded, latents)

    @property
    def denoised_operations(self) -> float:
        """Floating-point operations of denoising, per frame, step and half of the guidance."""
        return self.denoising(1).operations / FRAMES

    @property
    def decoded_operations(self) -> float:
        """Floating-point operations of decoding a frame."""
        return self.decoding.operations / FRAMES

    def made(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(shape, device="meta", dtype=dtype or self.vae.dtype)


def gib(num_bytes: float) -> str:
    """Bytes as people read them."""
    return f"{max(num_bytes, 0) / GIB:.1f} GiB" if num_bytes >= GIB / 10 else f"{max(num_bytes, 0) / (1 << 20):.1f} MiB"


def keep_idle_on_cpu(networks: list[nn.Module], device: torch.device) -> None:
    """Each network goes to `device` when it is called, and the one called before it goes back to the CPU.

    networks: in the order of their first calls; the first may be called again after the last. Diffusers' VAEs count
    `encode` and `decode` as calls. Costs one copy of each network's weights per video.
    """
    hooks = [cpu_offload_with_hook(network, device)[1] for network in networks]
    for hook, before in zip(hooks, hooks[-1:] + hooks[:-1]):
        hook.hook.prev_module_hook = before


# ------------------------------------------------------------------------------ steps to a plan that takes less, or None
# plan: a dataclass with guidance_batch, decode_chunk_size and offload; run: one with guided and on_cpu.


def two_calls(plan, run):
    """The halves of the guidance one after the other."""
    return replace(plan, guidance_batch=1) if plan.guidance_batch > 1 and run.guided else None


def offloaded(plan, run):
    """Idle networks in the CPU's memory."""
    return None if plan.offload or run.on_cpu else replace(plan, offload=True)


def smaller_chunks(plan, run):
    """Fewer frames decoded at once."""
    return replace(plan, decode_chunk_size=plan.decode_chunk_size // 2) if plan.decode_chunk_size > 1 else None


# ---------------------------------------------------------------------------------------------------------------- time

CHANNELS = 320                          # of the layers that are timed: the widest pictures in Stable Diffusion's U-Nets have so many
CELLS = {"cpu": 32, "cuda": 256}        # side of what they are given: enough that starting them costs little
ROUNDS = 3                              # the quickest counts


@cache
@torch.no_grad()
def operations_per_second(device: str, dtype: torch.dtype) -> float:
    """What a residual block and a transformer's feed-forward reach on the device now; measured in a second on two slow cores."""
    kind, channels = torch.device(device).type, CHANNELS
    side = CELLS[kind]
    block = nn.Sequential(nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
                          nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1))
    tokens = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
    cells = channels * channels * side * side
    counted = 2 * (2 * 9 + 2 * 4) * cells                                               # of two convolutions and two linear layers
    block, tokens = block.to(device, dtype), tokens.to(device, dtype)
    image = torch.zeros(1, channels, side, side, device=device, dtype=dtype)
    words = torch.zeros(1, side * side, channels, device=device, dtype=dtype)

    def seconds() -> float:
        start = time.perf_counter()
        block(image), tokens(words)
        if kind == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    seconds()
    return counted / min(seconds() for _ in range(ROUNDS))
