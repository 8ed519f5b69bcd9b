"""A film is written beside its making: the same file as written afterwards, or none, and no error is lost."""
import numpy as np
import pytest

from media.video_writer import Film, WINDOWS_AHEAD
from media.video_writer import write_video

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (30, 32, 48, 3), np.uint8)


def test_a_film_has_the_bytes_of_a_video_written_at_once(tmp_path):
    film = Film(tmp_path / "film.mp4", 10)
    with film as show:
        for start in range(0, len(FRAMES), 4):
            show(FRAMES[start:start + 4])
    assert film.is_written
    assert film.path.read_bytes() == write_video(tmp_path / "whole.mp4", FRAMES, 10).read_bytes()


def test_an_error_while_frames_are_made_leaves_the_old_file_and_a_film_may_be_begun_again(tmp_path):
    film = Film(tmp_path / "film.mp4", 10)
    film.path.write_bytes(b"old")
    with pytest.raises(MemoryError):
        with film as show:
            show(FRAMES[:8])
            raise MemoryError
    assert not film.is_written and film.path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [film.path]
    with film as show:
        show(FRAMES[:8])
    assert film.path.read_bytes() == write_video(tmp_path / "whole.mp4", FRAMES[:8], 10).read_bytes()


def test_an_error_of_the_writer_is_raised_and_whoever_makes_frames_never_waits_for_it(tmp_path):
    film = Film(tmp_path / "film.mp4", 10)
    with pytest.raises(ValueError, match="frames: expected one size 32x48 .found 16x48"):
        with film as show:
            show(FRAMES[:1])
            for _ in range(3 * WINDOWS_AHEAD):
                show(FRAMES[:1, :16])
    assert not film.is_written and list(tmp_path.iterdir()) == []
