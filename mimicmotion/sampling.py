"""One denoising step of all frames: overlapping tiles, guidance, how tiles are blended (MimicMotion, section 3.4)."""
from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mimicmotion.networks import PoseUNet
from mimicmotion.savings import FeatureCache
from runtime.processes import ALONE, Processes

log = logging.getLogger(__name__)

MODES = ("published", "balanced")
UNCONDITIONAL, CONDITIONAL, BOTH = range(0, 1), range(1, 2), range(0, 2)    # halves of classifier-free guidance, as rows


def check_tiling(tile_size: int, tile_overlap: int, mode: str, max_tile: int | None = None) -> None:
    """Refuse tilings that would leave frames without a prediction."""
    if mode not in MODES:
        raise ValueError(f"tiles: expected one of {', '.join(MODES)} (found {mode!r})")
    if tile_size < 2:
        raise ValueError(f"tile_size: expected at least 2 frames (found {tile_size}): frame 0 is part of every tile")
    if not 1 <= tile_overlap < tile_size:
        raise ValueError(f"tile_overlap: expected 1 to tile_size - 1 = {tile_size - 1} (found {tile_overlap}): "
                         "frame 0 is shared by all tiles and counts as one")
    if max_tile is not None and max_tile < tile_size:
        raise ValueError(f"max_tile: expected at least tile_size = {tile_size} (found {max_tile}): lower tile_size too")


def tile_ranges(num_frames: int, tile_size: int, tile_overlap: int, mode: str = "published",
                max_tile: int | None = None) -> list[list[int]]:
    """The frames of each tile; consecutive tiles share frame 0 and at least tile_overlap - 1 others.

    "published": full tiles of `tile_size`; where the end is not met, one more full tile ends there, repeating frames.
    "balanced": the fewest tiles, of equal length up to one frame, with exactly the overlap asked for. A video of up to
    `max_tile` frames (None: an eighth above `tile_size`) is one tile: 73 frames cost 73, not 72 + 72.
    Fewer frames than a tile are one tile of all frames, in both.
    """
    check_tiling(tile_size, tile_overlap, mode, max_tile)
    longest = tile_size
    if mode == "balanced":
        longest = tile_size + tile_size // 8 if max_tile is None else max_tile
    if num_frames <= longest:
        return [list(range(num_frames))]
    if mode == "balanced":
        return balanced_ranges(num_frames, tile_size, tile_overlap)
    run = tile_size - 1                                                       # frames of a tile beside frame 0
    starts = list(range(1, num_frames - run + 1, tile_size - tile_overlap))
    if starts[-1] != num_frames - run:
        starts.append(num_frames - run)
    return [[0, *range(start, start + run)] for start in starts]


def balanced_ranges(num_frames: int, tile_size: int, tile_overlap: int) -> list[list[int]]:
    """The fewest tiles of at most `tile_size` frames that cover all frames, as equal as whole frames allow."""
    shared = tile_overlap - 1                                                 # by two neighbours, beside frame 0
    num_tiles = -(-(num_frames - tile_overlap) // (tile_size - tile_overlap))
    advance = (num_frames - tile_overlap) / num_tiles                         # new frames per tile
    edges = [round(i * advance) for i in range(num_tiles + 1)]
    return [[0, *range(1 + start, 1 + end + shared)] for start, end in zip(edges, edges[1:])]


@dataclass(frozen=True, eq=False)
class Tile:
    """A tile where the latents are."""
    frames: Tensor   # (T,) long
    weight: Tensor   # (T, 1, 1, 1) float32

    @classmethod
    def of(cls, frames: list[int], device: torch.device) -> Tile:
        weight = tile_weights(len(frames))[:, None, None, None]
        return cls(torch.tensor(frames, device=device), weight.to(device))


def blended(predictions: Sequence[Tensor], tiles: Sequence[Tile], num_frames: int) -> Tensor:
    """The weighted mean of what the tiles say of each frame, (F, 4, h, w), summed in the order of the tiles."""
    total = predictions[0].new_zeros(num_frames, *predictions[0].shape[1:])
    weight = total.new_zeros(num_frames, 1, 1, 1)
    for prediction, tile in zip(predictions, tiles):
        total[tile.frames] += tile.weight * prediction
        weight[tile.frames] += tile.weight
    return total / weight


def tile_weights(num_frames: int) -> Tensor:
    """Triangle over a tile's frames, (num_frames,): 1/T at both ends, largest in the middle, never zero."""
    position = (torch.arange(num_frames) + 0.5) * 2 / num_frames
    return torch.minimum(position, 2 - position)


@dataclass(eq=False)
class Denoiser:
    """What all denoising steps of a video share. A call gives the v of all frames, (F, 4, h, w) float32."""
    unet: PoseUNet
    tiles: list[Tile]
    picture: Tensor                      # (1, 4, h, w) VAE latents
    tokens: Tensor                       # (2, 1, 1) no picture, the picture: rows for the cross-attentions
    numbers: Tensor                      # (1, 3) fps - 1, motion bucket, noise augmentation
    pose_features: Tensor                # (F, C0, h, w), on the device or in the CPU's memory
    guidance: Tensor                     # (F, 1, 1, 1)
    guidance_batch: int                  # halves in one call: 2, or 1 for half the activations
    cache: FeatureCache
    processes: Processes = ALONE

    def __call__(self, noisy: Tensor, timestep: Tensor, guided: bool) -> Tensor:
        """noisy: (F, 4, h, w) float32 of unit variance. Out of memory is retried one half of the guidance at a time."""
        calls = [(tile, halves) for tile in range(len(self.tiles)) for halves in self.batches(guided)]
        self.cache.next_step(calls)
        try:
            parts = list(self.processes.map(lambda call: self.predict(*call, noisy, timestep), calls))
        except torch.OutOfMemoryError:
            if not guided or self.guidance_batch == 1:
                raise
            log.warning("both halves of the guidance in one call ran out of memory: going on with one at a time")
            self.guidance_batch = 1
            return self(noisy, timestep, guided)
        predictions = []
        for number, tile in enumerate(self.tiles):
            halves = torch.cat([part for part, (owner, _) in zip(parts, calls) if owner == number])   # (1 or 2, T, ...)
            if guided:
                without, given = halves
                predictions.append(without + self.guidance[tile.frames] * (given - without))
            else:
                predictions.append(halves[0])
        return blended(predictions, self.tiles, len(noisy))

    def batches(self, guided: bool) -> tuple[range, ...]:
        """The halves that make up a tile, call by call. Processes that would idle share out the halves, too."""
        if not guided:
            return (CONDITIONAL,)
        even = len(self.tiles) % self.processes.count == 0
        return (BOTH,) if self.guidance_batch == 2 and even else (UNCONDITIONAL, CONDITIONAL)

    def predict(self, number: int, halves: range, noisy: Tensor, timestep: Tensor) -> Tensor:
        """The UNet's v of a tile, (len(halves), T, 4, h, w) float32."""
        frames = self.tiles[number].frames
        noise = noisy[frames].to(self.unet.dtype)                             # (T, 4, h, w)
        still = self.picture.expand(len(noise), -1, -1, -1)
        rows = [torch.cat([noise, still if half in CONDITIONAL else torch.zeros_like(still)], dim=1) for half in halves]
        poses = self.posed(frames) if halves[-1] in CONDITIONAL else None           # (T, C0, h, w)
        deep = self.cache.get((number, halves))
        v, fresh = self.unet(torch.stack(rows), timestep, self.tokens[halves.start:halves.stop],
                             self.numbers.expand(len(halves), -1), poses, deep, return_dict=False)
        if deep is None:
            self.cache.put((number, halves), fresh)
        return v.float()

    def posed(self, frames: Tensor) -> Tensor:
        """The pose features of frames (T,), on the device, (T, C0, h, w)."""
        return self.pose_features[frames.to(self.pose_features.device)].to(self.picture.device)
