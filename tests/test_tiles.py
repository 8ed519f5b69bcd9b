"""Tiles of frames: the published ones, and any other length."""
import json
from pathlib import Path

import pytest
import torch

from mimicmotion.diffusion import blended, MODES, Tile, tile_ranges, tile_weights

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
        longest = size if len(ranges) > 1 or mode == "published" else size + size // 8
        for frames in ranges:
            assert len(frames) <= longest and frames[0] == 0 and len(set(frames)) == len(frames)
            total[frames] += tile_weights(len(frames))
        assert total.min() > 0, (num_frames, size, overlap)
        for left, right in zip(ranges, ranges[1:]):
            assert len(set(left) & set(right)) >= overlap, (num_frames, size, overlap)


def test_balanced_tiles_repeat_no_more_frames_than_the_overlap_asks_for():
    for num_frames, size, overlap in LENGTHS:
        ranges = tile_ranges(num_frames, size, overlap, "balanced", max_tile=size)
        work = sum(map(len, ranges))
        assert work == num_frames + (len(ranges) - 1) * overlap, (num_frames, size, overlap)
        assert len(ranges) <= len(tile_ranges(num_frames, size, overlap))
    assert [len(frames) for frames in tile_ranges(73, 72, 6, "balanced", 72)] == [40, 39]         # published: 72 + 72


def test_a_video_a_little_longer_than_a_tile_is_one_tile_where_that_is_allowed():
    lengths = lambda frames, *more: [len(tile) for tile in tile_ranges(frames, 72, 6, *more)]
    assert lengths(73, "balanced") == lengths(73, "balanced", 73) == [73] and lengths(81, "balanced") == [81]
    assert lengths(82, "balanced") == lengths(82, "balanced", 72) == [44, 44] and lengths(151, "balanced", 160) == [151]
    assert lengths(73, "published", 160) == [72, 72]
    with pytest.raises(ValueError, match="max_tile: expected at least tile_size = 72 .found 60"):
        lengths(73, "balanced", 60)


def test_tiles_blend_to_what_they_agree_on_and_to_the_weighted_mean_elsewhere():
    tiles = [Tile.of(frames, torch.device("cpu")) for frames in ([0, 1, 2], [0, 2, 3])]
    agreed = torch.arange(4.0)[:, None, None, None]
    same = [agreed[tile.frames] for tile in tiles]
    assert torch.equal(blended(same, tiles, 4), agreed)
    same[1] = same[1] + 3
    _, high, low = tile_weights(3).tolist()                                   # frame 2 is last in a tile, middle in one
    assert blended(same, tiles, 4).flatten().tolist() == pytest.approx([1.5, 1, 2 + 3 * high / (low + high), 6])


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
