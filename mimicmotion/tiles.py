"""Overlapping tiles of frames, and the weights that blend them (MimicMotion §3.4, progressive latent fusion).

A tile is frame 0 plus a run of consecutive frames: the first frame anchors every tile to the same appearance.
A frame's temporal position, for the UNet, is its position in the tile.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

MODES = ("published", "balanced")


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
