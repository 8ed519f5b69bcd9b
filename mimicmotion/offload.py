"""Two ways to the same video in less memory: feed-forward layers in parts, and what is idle in the CPU's memory."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import cpu_offload_with_hook
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

from .pipeline import PoseToVideo


def _in_parts(forward, num_parts: int, hidden: Tensor) -> Tensor:
    result = torch.empty_like(hidden)
    for given, made in zip(hidden.chunk(num_parts), result.chunk(num_parts)):
        made.copy_(forward(given))
    return result


@contextmanager
def feed_forward_in_parts(model: nn.Module, num_parts: int) -> Iterator[nn.Module]:
    """Within the context, feed-forward layers take their tokens in `num_parts` portions: their inner width, eight times
    the outer one, is what a UNet's memory peaks at. Not for training."""
    layers = [layer for layer in model.modules() if isinstance(layer, FeedForward)] if num_parts > 1 else []
    for layer in layers:
        layer.forward = partial(_in_parts, layer.forward, num_parts)
    try:
        yield model
    finally:
        for layer in layers:
            del layer.forward


def keep_idle_on_cpu(networks: list[nn.Module], device: torch.device) -> None:
    """Each network goes to `device` when it is called, and the one called before it goes back to the CPU.

    networks: in the order of their first calls; the first may be called again after the last. Diffusers' VAEs count
    `encode` and `decode` as calls. Costs one copy of each network's weights per video.
    """
    hooks = [cpu_offload_with_hook(network, device)[1] for network in networks]
    for hook, before in zip(hooks, hooks[-1:] + hooks[:-1]):
        hook.hook.prev_module_hook = before


@dataclass(frozen=True, eq=False, repr=False)
class OffloadedPoseToVideo(PoseToVideo):
    """The same, its idle networks and the pose features, 6 MB a frame at 576x1024, in the CPU's memory.

    PoseNet, half a megabyte, stays on the device and names it.
    """

    @classmethod
    def load(cls, svd: str | Path, checkpoint: str | Path | None = None, device: str | torch.device = "cuda",
             dtype: torch.dtype = torch.float32) -> OffloadedPoseToVideo:
        model = super().load(svd, checkpoint, "cpu", dtype)
        model.pose_net.to(device)
        keep_idle_on_cpu([model.vae, model.image_encoder, model.unet], torch.device(device))
        return model

    @property
    def device(self) -> torch.device:
        return self.pose_net.scale.device

    @property
    def features_device(self) -> torch.device:
        return torch.device("cpu")
