"""Tiles of frames: the published ones, and any other length."""
import json
from pathlib import Path

import pytest
import torch

from mimicmotion.tiles import MODES, tile_ranges, tile_weights

FIXTURES = Path(__file__).parent / "fixtures" / "mimicmotion"
LENGTHS = [(frames, size, overlap) for frames in (1, 2, 5, 8, 17, 40, 73) for size in (2, 5, 16, 72)
           for overlap in {1, size // 2, size - 1} if overlap < size]


@pytest.mark.parametrize("run", "abg")
def test_tiles_are_the_published_ones(run):
    golden = json.loads((FIXTURES / f"pipeline_{run}.json").read_text())
    call = golden["call"]
    assert tile_ranges(call["frames"], call["tile_size"], call["tile_overlap"]) == golden["tile_indices"]


@pytest.mark.parametrize("mode", MODES)
def test_every_frame_has_a_weight_and_every_tile_fits(mode):
    for num_frames, size, overlap in LENGTHS:
        total = torch.zeros(num_frames)
        ranges = tile_ranges(num_frames, size, overlap, mode)
        for frames in ranges:
            assert len(frames) <= size and frames[0] == 0 and len(set(frames)) == len(frames)
            total[frames] += tile_weights(len(frames))
        assert total.min() > 0, (num_frames, size, overlap)
        for left, right in zip(ranges, ranges[1:]):
            assert len(set(left) & set(right)) >= overlap, (num_frames, size, overlap)


def test_balanced_tiles_repeat_no_more_frames_than_the_overlap_asks_for():
    for num_frames, size, overlap in LENGTHS:
        ranges = tile_ranges(num_frames, size, overlap, "balanced")
        work = sum(map(len, ranges))
        assert work == num_frames + (len(ranges) - 1) * overlap, (num_frames, size, overlap)
        assert len(ranges) <= len(tile_ranges(num_frames, size, overlap))
    assert [len(frames) for frames in tile_ranges(73, 72, 6, "balanced")] == [40, 39]             # published: 72 + 72


def test_fewer_frames_than_a_tile_are_one_tile():
    for mode in MODES:
        assert tile_ranges(5, 72, 6, mode) == [[0, 1, 2, 3, 4]]


def test_weights_are_the_published_triangle():
    assert tile_weights(6).tolist() == pytest.approx([1 / 6, 3 / 6, 5 / 6, 5 / 6, 3 / 6, 1 / 6])
    assert tile_weights(5).tolist() == pytest.approx([.2, .6, 1, .6, .2])
    assert tile_weights(1).tolist() == [1]


@pytest.mark.parametrize("size, overlap", [(6, 0), (6, 6), (6, 8), (6, -1)])
def test_an_impossible_overlap_is_refused_by_name(size, overlap):
    with pytest.raises(ValueError, match=rf"tile_overlap: expected 1 to .*{size - 1}.*found {overlap}"):
        tile_ranges(12, size, overlap)


def test_a_tile_of_one_frame_and_an_unknown_mode_are_refused():
    with pytest.raises(ValueError, match="tile_size: .*found 1"):
        tile_ranges(12, 1, 1)
    with pytest.raises(ValueError, match="tiles: .*published, balanced.*found 'even'"):
        tile_ranges(12, 6, 2, "even")
