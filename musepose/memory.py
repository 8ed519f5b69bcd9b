"""The largest way to make a MusePose video that fits the device's memory, found out before anything is loaded.

The networks are built from their configs and run on torch's meta device, where tensors have shapes but no memory. What
leaves the result as it is goes first (guidance in two calls, smaller decoding chunks, idle networks on the CPU); smaller
windows change it, and are in a warning.
"""
from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from diffusers import AutoencoderKL
from torch import nn, Tensor
from transformers import CLIPVisionModelWithProjection

from runtime.weights import empty, empty_from
from runtime.device import GIB
from runtime.memory import (dry_run, FRAGMENTATION, FRAMES, gib, LATENTS_KEPT, NetworkFootprint, offloaded, RESERVE,
                            smaller_chunks, Taken, two_calls)
from musepose.networks import (
    build_denoiser, build_pose_guider, build_reference_net, Context, Denoiser, PoseGuider, ReferenceNet,
)
from musepose.checkpoint import WeightFiles, base_config, clip_vision, guider_widths, named_tensors
from musepose.pipeline import CONDITIONAL, frame_windows, POSES_AT_ONCE, UNCONDITIONAL

log = logging.getLogger(__name__)

WINDOWS = (48, 32, 24, 16, 12)   # steps, so that a little more or less free memory leaves the result alone


@dataclass(frozen=True)
class Plan:
    """How a run uses memory."""
    window: int                        # frames denoised together: this and dtype change the result
    dtype: torch.dtype
    decode_chunk_size: int = 8         # frames decoded together
    guidance_batch: int = 2            # halves of the guidance in one call, or 1 after the other
    offload: bool = False              # idle networks wait in the CPU's memory


@dataclass(frozen=True, eq=False)
class Footprint(NetworkFootprint):
    """Bytes of the parts of a run of MusePose, in one dtype."""
    denoiser: Denoiser
    reference_net: ReferenceNet
    pose_guider: PoseGuider
    vae: AutoencoderKL
    image_encoder: CLIPVisionModelWithProjection
    size: tuple[int, int]              # height, width the networks work at, pixels
    _windows: dict[int, Taken] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, files: WeightFiles, size: tuple[int, int], dtype: torch.dtype) -> Footprint:
        """Of what `MusePose.load` would load; reads configs, and the pose guider's names and shapes."""
        config, path = base_config(files)
        widths = guider_widths(named_tensors(files.pose_guider, None, "meta"))
        networks = (empty(build_denoiser, config, path), empty(build_reference_net, config, path),
                    empty(lambda given: build_pose_guider(given["block_out_channels"][0], widths), config, path),
                    empty_from(files.pretrained_vae, AutoencoderKL.from_config), empty_from(files.image_encoder, clip_vision))
        return cls(*(nn.Module.to(network, "meta", dtype).eval() for network in networks), size)

    @cached_property
    def kept_frame(self) -> int:
        """Latents and pose features of a frame, kept while the video is denoised."""
        cells = self.latent_size[0] * self.latent_size[1]
        features = self.denoiser.config.block_out_channels[0] * self.denoiser.dtype.itemsize
        return cells * (LATENTS_KEPT * self.denoiser.config.in_channels * 4 + features)

    def window(self, num_frames: int, halves: int) -> int:
        """Denoising one window, reference features and what is projected of them included; halves: in one call."""
        per_frame = max(self.denoising(halves).bytes - 2 * self.features, 0) / FRAMES          # without what is kept for the whole video
        return int(per_frame * num_frames) + 3 * self.features

    def denoising(self, halves: int) -> Taken:
        if halves not in self._windows:
            self._windows[halves] = self._denoising(halves)
        return self._windows[halves]

    def _denoising(self, halves: int) -> Taken:
        rows, config = (UNCONDITIONAL, CONDITIONAL)[-halves:], self.denoiser.config
        context = self._context(rows)
        noisy = self.made(halves, FRAMES, config.in_channels, *self.latent_size)
        poses = self.made(FRAMES, config.block_out_channels[0], *self.latent_size)
        run = lambda noisy, poses, *_: self.denoiser(noisy, torch.zeros((), device="meta", dtype=torch.long), poses, context)
        return dry_run(self.denoiser, run, noisy, poses, *context.features.values())

    def decoded(self, latents: Tensor) -> Tensor:
        return self.vae.decode(latents.to(self.vae.dtype)).sample

    def _context(self, rows: tuple) -> Context:
        tokens = self.made(2, 1, self.denoiser.config.cross_attention_dim)
        with torch.no_grad():
            features = self.reference_net(self.made(1, self.denoiser.config.in_channels, *self.latent_size), tokens[:1])
        asked, readers = zip(*rows)
        return Context(tokens, asked, features, readers)

    @cached_property
    def features(self) -> int:
        """The reference features of all blocks."""
        return sum(features.nbytes for features in self._context((CONDITIONAL,)).features.values())

    @cached_property
    def referring(self) -> int:
        """The reference network on the picture."""
        latents = self.made(1, self.denoiser.config.in_channels, *self.latent_size)
        tokens = self.made(1, 1, self.denoiser.config.cross_attention_dim)
        return dry_run(self.reference_net, lambda *given: self.reference_net(*given), latents, tokens).bytes

    @cached_property
    def posed_frame(self) -> float:
        """The pose guider, per frame it is given at once."""
        frames = self.made(FRAMES, 3, *self.size)
        return dry_run(self.pose_guider, lambda given: self.pose_guider(given), frames).bytes / FRAMES + 3 * 4 * self.size[0] * self.size[1]

    @property
    def decoded_frame(self) -> float:
        """Decoding, per frame of a chunk, with its float32 pixels."""
        return self.decoding.bytes / FRAMES + 3 * 3 * 4 * self.size[0] * self.size[1]


@dataclass(frozen=True)
class Run:
    """What is to be made."""
    name: str                                          # for messages
    num_frames: int                                    # frames denoised, repeated ones included
    footprint: Callable[[torch.dtype], Footprint]      # cached: it is asked often
    guided: bool = True
    on_cpu: bool = False                               # nowhere to move idle networks to
    window_overlap: int = 0                            # frames neighbouring windows share

    def needs(self, plan: Plan) -> dict[str, tuple[int, int]]:
        """Per phase: bytes of the weights on the device, and of everything else."""
        footprint, reserve = self.footprint(plan.dtype), 0 if self.on_cpu else RESERVE * GIB
        halves = min(plan.guidance_batch, 2 if self.guided else 1)
        kept = self.num_frames * footprint.kept_frame
        chunk, posed = min(plan.decode_chunk_size, self.num_frames), min(POSES_AT_ONCE, self.num_frames)
        phases = {"encoding": ("vae", footprint.encoding), "referring": ("reference_net", footprint.referring),
                  "posing": ("pose_guider", kept + posed * footprint.posed_frame),
                  "denoising": ("denoiser", kept + footprint.window(min(plan.window, self.num_frames), halves)),
                  "decoding": ("vae", footprint.decoded_frame * chunk)}
        weights, everything = footprint.weights, sum(footprint.weights.values())
        return {phase: (weights[network] + weights["pose_guider"] if plan.offload else everything,
                        int(activations * (1 + FRAGMENTATION) + reserve))
                for phase, (network, activations) in phases.items()}

    def operations(self, plan: Plan, num_steps: int) -> float:
        """Floating-point operations of denoising and decoding; num_frames must be what windows cover."""
        footprint, halves = self.footprint(plan.dtype), 2 if self.guided else 1
        denoised = sum(map(len, frame_windows(self.num_frames, plan.window, self.window_overlap)))
        return num_steps * halves * denoised * footprint.denoised_operations + self.num_frames * footprint.decoded_operations

    def need(self, plan: Plan) -> int:
        """The most bytes at once."""
        return max(map(sum, self.needs(plan).values()))


def fitting_plan(wanted: Plan, run: Run, limit: int) -> Plan:
    """The plan that fits `limit` bytes, or a ValueError that says how much the smallest needs."""
    plan = wanted
    while run.need(plan) > limit:
        needs = {phase: sum(need) for phase, need in run.needs(plan).items()}
        smaller = next(filter(None, (step(plan, run) for step in STEPS[max(needs, key=needs.get)])), None)
        if smaller is None:
            height, width = run.footprint(plan.dtype).size
            weights, rest = max(run.needs(plan).values(), key=sum)
            share = math.sqrt(max(limit - weights, 0) / max(rest, 1))
            sides = [int(side * share // 64) * 64 for side in (height, width)]
            remedy = f"-H {sides[0]} -W {sides[1]} would fit" if min(sides) else "no size fits: use another device"
            raise ValueError(f"memory: {run.name}: {run.num_frames} frames of {height}x{width} need {gib(run.need(plan))} "
                             f"even at their smallest (found {gib(limit)}): {remedy}")
        plan = smaller
    if plan.window != wanted.window:
        log.warning("memory: %s: window %d -> %d, as %s are free and the settings need %s: the video differs from one "
                       "made with them", run.name, wanted.window, plan.window, gib(limit), gib(run.need(wanted)))
    return plan


def smaller_window(plan: Plan, run: Run) -> Plan | None:
    left = [size for size in WINDOWS if size < min(plan.window, run.num_frames)]
    return replace(plan, window=left[0]) if left else None


STEPS = {                              # per phase what makes it smaller, in this order
    "encoding": (offloaded,), "referring": (offloaded,), "posing": (offloaded,),
    "denoising": (two_calls, offloaded, smaller_window), "decoding": (smaller_chunks, offloaded)}
