"""A video is encoded while its frames are made: the same file as written afterwards, or none, and no error is lost."""
import subprocess
import sys

import numpy as np
import pytest

from media.video_writer import StreamingVideoWriter, WINDOWS_AHEAD, write_video

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (30, 32, 48, 3), np.uint8)


def test_a_streamed_video_has_the_bytes_of_one_written_at_once(tmp_path):
    writer = StreamingVideoWriter(tmp_path / "video.mp4", 10)
    with writer:
        for start in range(0, len(FRAMES), 4):
            writer.write(FRAMES[start:start + 4])
    assert writer.num_frames == len(FRAMES)
    assert writer.path.read_bytes() == write_video(tmp_path / "whole.mp4", FRAMES, 10).read_bytes()


def test_an_error_while_frames_are_made_leaves_the_old_file_and_a_writer_may_be_used_again(tmp_path):
    writer = StreamingVideoWriter(tmp_path / "video.mp4", 10)
    writer.path.write_bytes(b"old")
    with pytest.raises(MemoryError):
        with writer:
            writer.write(FRAMES[:8])
            raise MemoryError
    assert writer.num_frames == 0 and writer.path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [writer.path]
    with writer:
        writer.write(FRAMES[:8])
    assert writer.path.read_bytes() == write_video(tmp_path / "whole.mp4", FRAMES[:8], 10).read_bytes()


def test_where_nothing_is_written_there_is_no_file(tmp_path):
    with StreamingVideoWriter(tmp_path / "video.mp4", 10) as writer:
        assert writer.num_frames == 0
    assert writer.num_frames == 0 and list(tmp_path.iterdir()) == []


def test_an_error_of_the_writer_is_raised_and_whoever_makes_frames_never_waits_for_it(tmp_path):
    writer = StreamingVideoWriter(tmp_path / "video.mp4", 10)
    with pytest.raises(ValueError, match="frames: expected one size 32x48 .found 16x48"):
        with writer:
            writer.write(FRAMES[:1])
            for _ in range(3 * WINDOWS_AHEAD):
                writer.write(FRAMES[:1, :16])
    assert writer.num_frames == 0 and list(tmp_path.iterdir()) == []


FULL = """
import resource, sys
from pathlib import Path
import subprocess
import sys

import numpy as np
from media.video_writer import write_video
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for name in ("a.mp4", "a.gif", "a.webp"):
    try:
        write_video(Path(sys.argv[1]) / name, np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8), 10)
    except OSError as error:
        print(error.strerror)
"""


def test_where_the_disk_is_full_an_error_says_it_and_nothing_is_left(tmp_path):
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("File too large\n" * 3, "") and list(tmp_path.iterdir()) == []
