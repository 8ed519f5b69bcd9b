"""The largest way to make a video that fits the device's memory: the settings as given where they fit, else smaller.

What leaves the result as it is goes first; what changes it (fewer frames at once, half precision) is in a warning.
Nothing is loaded: the networks are built from their configs and run on torch's meta device, where tensors have shapes but
no memory, while the bytes of all live tensors are counted: the count follows whatever the networks do, and takes about a
second. Needs grow in proportion to frames, so two frames are run and the rest is multiplication.
"""
from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import nn, Tensor
from transformers import CLIPVisionModelWithProjection

from mimicmotion import image_encoder_folder, unet_folder
from mimicmotion.checkpoint import clip_vision
from mimicmotion.diffusion import BOTH, CONDITIONAL, Denoiser, Tile, tile_ranges
from mimicmotion.latents import decode_window
from mimicmotion.networks import PoseNet, PoseUNet, size_multiple
from mimicmotion.pipeline import POSES_AT_ONCE, PoseToVideo
from mimicmotion.savings import cached_cross_attention, FeatureCache, feed_forward_in_parts
from runtime.device import GIB
from runtime.memory import (dry_run, FRAGMENTATION, FRAMES, gib, keep_idle_on_cpu, LATENTS_KEPT, NetworkFootprint, offloaded, RESERVE,
                            smaller_chunks, Taken, two_calls)
from runtime.weights import empty, empty_from

log = logging.getLogger(__name__)

# ---------------------------------------------------------------------------------------------------- what a run takes

@dataclass(frozen=True, eq=False)
class Footprint(NetworkFootprint):
    """Bytes of the parts of a run of one video model, in one dtype."""
    unet: PoseUNet
    pose_net: PoseNet
    vae: AutoencoderKLTemporalDecoder
    image_encoder: CLIPVisionModelWithProjection
    size: tuple[int, int]            # height, width of a frame, pixels
    _tiles: dict[tuple[int, int], Taken] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, svd: str | Path, checkpoint: str | Path | None, size: tuple[int, int], dtype: torch.dtype) -> Footprint:
        """Of what `PoseToVideo.load` would load; reads config.json files only."""
        folder = unet_folder(svd, checkpoint)
        unet = empty_from(folder, PoseUNet.from_config)
        networks = (unet, empty(PoseNet, unet.config.block_out_channels[0], folder), empty_from(Path(svd) / "vae", AutoencoderKLTemporalDecoder.from_config),
                    empty_from(image_encoder_folder(svd, checkpoint), clip_vision))
        return cls(*(nn.Module.to(network, "meta", dtype).eval() for network in networks), size)

    @cached_property
    def latents_frame(self) -> int:
        """A frame's latents, kept while the video is denoised, and those it is told of where every frame has its own."""
        told = self.unet.config.in_channels - self.unet.config.out_channels if self.unet.takes_moved_picture else 0
        channels = LATENTS_KEPT * self.unet.config.out_channels + told
        return channels * 4 * self.latent_size[0] * self.latent_size[1]

    @cached_property
    def features_frame(self) -> int:
        """A frame's pose features."""
        channels = self.unet.config.block_out_channels[0]
        return channels * self.unet.dtype.itemsize * self.latent_size[0] * self.latent_size[1]

    @cached_property
    def deep_frame(self) -> int:
        """A frame's deep features, which a feature cache keeps for every tile it is in and both halves of guidance."""
        channels = self.unet.config.block_out_channels[:2][-1]
        return channels * self.latent_size[0] * self.latent_size[1] * self.unet.dtype.itemsize

    def tile(self, num_frames: int, branches: int, parts: int) -> int:
        """Denoising one tile. branches: halves of the guidance in one call; parts: of each feed-forward layer."""
        return int(self.denoising(branches, parts).bytes / FRAMES * num_frames)

    def denoising(self, branches: int, parts: int = 1) -> Taken:
        if (branches, parts) not in self._tiles:
            with feed_forward_in_parts(self.unet, parts):
                self._tiles[branches, parts] = self._denoising(branches)
        return self._tiles[branches, parts]

    def _denoising(self, branches: int) -> Taken:
        config, size, made = self.unet.config, self.latent_size, self.made
        kept = made(FRAMES, config.block_out_channels[0], *size)                       # the pose features of all frames
        noisy = made(FRAMES, config.out_channels, *size, dtype=torch.float32)
        picture = made(FRAMES if self.unet.takes_moved_picture else 1, config.in_channels - config.out_channels, *size)
        tile = Tile.of(list(range(FRAMES)), torch.device("meta"))
        with cached_cross_attention(self.unet, made(2, 1, config.cross_attention_dim)) as tokens:
            denoiser = Denoiser(self.unet, [tile], picture, tokens, made(1, 3), kept, made(FRAMES, 1, 1, 1), branches,
                                FeatureCache(1))
            halves = BOTH if branches == 2 else CONDITIONAL
            return dry_run(self.unet, lambda noisy, *_: denoiser.predict(0, halves, noisy, made()), noisy, kept, picture, tokens)

    def decoded(self, latents: Tensor) -> Tensor:
        return decode_window(self.vae, latents)

    @property
    def decoded_frame(self) -> float:
        """Decoding, per frame of a chunk."""
        return self.decoding.bytes / FRAMES

    @cached_property
    def embedding(self) -> int:
        """The image encoder on the picture, which is first blurred at its own size, in float32."""
        side = self.image_encoder.config.image_size
        pixels = self.made(1, 3, side, side)
        return max(dry_run(self.image_encoder, lambda: self.image_encoder(pixel_values=pixels)).bytes, 4 * 3 * 4 * self.size[0] * self.size[1])

    @cached_property
    def posed_frame(self) -> float:
        """PoseNet, per frame it is given at once, which also arrives in float32."""
        frames = self.made(FRAMES, 3, *self.size)
        return dry_run(self.pose_net, lambda: self.pose_net(frames)).bytes / FRAMES + 3 * 4 * self.size[0] * self.size[1]


# -------------------------------------------------------------------------------------------------- the plan that fits

RETRY_SHARE = 0.85                     # of the activations of a plan that ran out of memory, for the next one
PARTS = 4                              # of a feed-forward layer; beyond, other layers are the peak
TILE_SIZES = (48, 32, 24, 16, 12, 8)   # steps, so that a little more or less free memory leaves the result alone


@dataclass(frozen=True)
class Plan:
    """How a run uses memory."""
    tile_size: int                     # frames denoised together
    max_tile: int | None               # of balanced tiles, as in diffusion.tile_ranges
    decode_chunk_size: int             # frames decoded together
    dtype: torch.dtype                 # of weights and arithmetic; this and those above change the result
    guidance_batch: int = 2            # halves of the guidance in one call of the UNet, or 1 after the other
    feed_forward_parts: int = 1        # portions of a feed-forward layer's tokens
    offload: bool = False              # idle networks and pose features are in the CPU's memory


@dataclass(frozen=True)
class Run:
    """What is to be made."""
    name: str                                          # for messages
    num_frames: int                                    # frames denoised, the reference's own included
    tile_overlap: int
    tiles: str                                         # as in diffusion.tile_ranges
    footprint: Callable[[torch.dtype], Footprint]      # cached: it is asked often
    guided: bool = True                                # with guidance, which is two passes of the UNet
    keeps_features: bool = False                       # with a feature cache
    on_cpu: bool = False                               # nowhere to move idle networks to

    def needs(self, plan: Plan) -> dict[str, tuple[int, int]]:
        """Per phase: bytes of the weights on the device, and of everything else."""
        footprint, reserve = self.footprint(plan.dtype), 0 if self.on_cpu else RESERVE * GIB
        ranges = tile_ranges(self.num_frames, plan.tile_size, self.tile_overlap, self.tiles, plan.max_tile)
        frames, halves = max(map(len, ranges)), 2 if self.guided else 1
        kept = self.num_frames * self.kept_frame(plan)
        deep = sum(map(len, ranges)) * halves * footprint.deep_frame if self.keeps_features else 0
        tile = footprint.tile(frames, min(plan.guidance_batch, halves), plan.feed_forward_parts)
        chunk, posed = min(plan.decode_chunk_size, self.num_frames), min(POSES_AT_ONCE, self.num_frames)
        phases = {"encoding": ("vae", footprint.encoding), "embedding": ("image_encoder", footprint.embedding),
                  "posing": ("pose_net", kept + posed * footprint.posed_frame),
                  "denoising": ("unet", kept + deep + tile),
                  "decoding": ("vae", footprint.decoded_frame * chunk)}
        weights, everything = footprint.weights, sum(footprint.weights.values())
        return {phase: (weights[network] + weights["pose_net"] if plan.offload else everything,
                        int(activations * (1 + FRAGMENTATION) + reserve))
                for phase, (network, activations) in phases.items()}

    def kept_frame(self, plan: Plan) -> int:
        """Bytes kept on the device for every frame of the video while it is denoised."""
        footprint = self.footprint(plan.dtype)
        return footprint.latents_frame + (0 if plan.offload else footprint.features_frame)

    def operations(self, plan: Plan, num_steps: int) -> tuple[float, float]:
        """Floating-point operations of denoising, with guidance at every step where there is any, and of decoding."""
        footprint, halves = self.footprint(plan.dtype), 2 if self.guided else 1
        ranges = tile_ranges(self.num_frames, plan.tile_size, self.tile_overlap, self.tiles, plan.max_tile)
        return (num_steps * halves * sum(map(len, ranges)) * footprint.denoised_operations,
                self.num_frames * footprint.decoded_operations)

    def need(self, plan: Plan) -> int:
        """Bytes of the phase that needs most."""
        return max(map(sum, self.needs(plan).values()))


def in_parts(plan: Plan, run: Run) -> Plan | None:
    return replace(plan, feed_forward_parts=PARTS) if plan.feed_forward_parts == 1 else None


def half_precision(plan: Plan, run: Run) -> Plan | None:
    half = torch.bfloat16 if run.on_cpu else torch.float16
    return replace(plan, dtype=half) if plan.dtype == torch.float32 else None


def smaller_tiles(plan: Plan, run: Run) -> Plan | None:
    longest = max(map(len, tile_ranges(run.num_frames, plan.tile_size, run.tile_overlap, run.tiles, plan.max_tile)))
    if longest > plan.tile_size:                       # balanced tiles may be a little longer
        return replace(plan, max_tile=plan.tile_size)
    sizes = [size for size in TILE_SIZES if run.tile_overlap < size < longest]
    return replace(plan, tile_size=sizes[0], max_tile=sizes[0]) if sizes else None


STEPS = {                              # what lowers a phase's need, in the order tried
    "encoding": (offloaded, half_precision),
    "embedding": (offloaded, half_precision),
    "posing": (offloaded, half_precision),
    "denoising": (two_calls, in_parts, offloaded, half_precision, smaller_tiles),
    "decoding": (offloaded, smaller_chunks, half_precision),
}


def fitting_plan(wanted: Plan, run: Run, limit: int, denoising_limit: float = math.inf) -> Plan:
    """`wanted`, or the nearest plan that needs at most `limit` bytes; ValueError says what would fit if none does."""
    plan = wanted
    while True:
        needs, limits = run.needs(plan), dict.fromkeys(STEPS, limit) | {"denoising": min(limit, denoising_limit)}
        phase = max(needs, key=lambda name: sum(needs[name]) - limits[name])          # the furthest above its limit
        if sum(needs[phase]) <= limits[phase]:
            return plan
        smaller = next(filter(None, (step(plan, run) for step in STEPS[phase])), None)
        if smaller is None:
            raise ValueError(too_small(plan, run, limits[phase]))
        plan = smaller


def too_small(plan: Plan, run: Run, limit: int) -> str:
    """What to say when the smallest plan does not fit: fewer frames, a smaller picture, or neither would."""
    needs, footprint = run.needs(plan), run.footprint(plan.dtype)
    height, width = footprint.size
    found = (f"memory: {run.name}: {run.num_frames} frames of {height}x{width} need {gib(run.need(plan))} even at "
             f"their smallest (found {gib(limit)})")
    frame = run.kept_frame(plan) * (1 + FRAGMENTATION)
    frames = run.num_frames - math.ceil((sum(needs["denoising"]) - limit) / frame)
    others_fit = all(sum(need) <= limit for phase, need in needs.items() if phase not in ("posing", "denoising"))
    share = min((limit - weights) / rest for weights, rest in needs.values())     # of the area
    step = size_multiple(footprint.vae.config, footprint.unet.config)
    sides = [int(side * math.sqrt(max(share, 0)) // step) * step for side in (height, width)]
    fits = [f"{frames} frames"] if frames >= max(plan.tile_size, 2) and others_fit else []
    fits += [f"height={sides[0]} width={sides[1]}"] if min(sides) else []
    if not fits:
        remedy = "raise memory_limit_gb" if run.on_cpu else "use another device, or device=cpu"
        return f"{found}: no size fits: {remedy}"
    return f"{found}: {' or '.join(fits)} would fit"


def plans(wanted: Plan, run: Run, limit: int, logged: set[Plan]) -> Iterator[Plan]:
    """The plan that fits; whoever runs out of memory with it all the same comes back for the next smaller one.

    Decoding goes on with smaller chunks by itself, so it is denoising that has to become smaller. logged: plans that
    were logged before, which are not logged again.
    """
    denoising_limit = math.inf
    while True:
        plan = fitting_plan(wanted, run, limit, denoising_limit)
        if plan not in logged:
            log.info("memory: %s: about %s of %s: %s", run.name, gib(run.need(plan)), gib(limit),
                     plan_text(plan, run))
            logged.add(plan)
        if changes := changes_of_result(wanted, plan):
            log.warning("memory: %s: %s, as %s are free and the settings need %s: the video differs from one made "
                           "with them", run.name, ", ".join(changes), gib(min(limit, denoising_limit)),
                           gib(run.need(wanted)))
        yield plan
        weights, rest = run.needs(plan)["denoising"]
        denoising_limit = weights + RETRY_SHARE * rest
        log.warning("memory: %s: ran out of memory: trying again with less", run.name)


def plan_text(plan: Plan, run: Run) -> str:
    """A plan in words."""
    height, width = run.footprint(plan.dtype).size
    return ", ".join([f"{run.num_frames} frames of {height}x{width} in {str(plan.dtype).removeprefix('torch.')}",
                      f"tiles of {plan.tile_size}", f"decoding {plan.decode_chunk_size} at once",
                      *(["guidance in two calls"] if plan.guidance_batch == 1 else []),
                      *(["feed-forward in parts"] if plan.feed_forward_parts > 1 else []),
                      *(["idle networks on the CPU"] if plan.offload else [])])


def changes_of_result(wanted: Plan, plan: Plan) -> list[str]:
    """What of `plan` makes another video than `wanted`."""
    tiles = "tile_size" if wanted.tile_size != plan.tile_size else "max_tile"
    names = (tiles, "decode_chunk_size", "dtype")
    return [f"{name} {getattr(wanted, name)} → {getattr(plan, name)}".replace("torch.", "") for name in names
            if getattr(wanted, name) != getattr(plan, name)]


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
