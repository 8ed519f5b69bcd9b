"""Training clips from two folders of videos."""
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from media import video_reader as seeking
from training_data.clips import PairedClips
from media.video_reader import frames_at, stored_frames
from media.video_reader import read_video
from media.video_writer import write_video


def moving_square(num_frames: int, shift: int) -> np.ndarray:
    """A white square that moves 4 pixels a frame on grey, (F, 64, 64, 3) uint8."""
    frames = np.full((num_frames, 64, 64, 3), 80, np.uint8)
    for index, frame in enumerate(frames):
        frame[16 + shift:32 + shift, 4 * index:4 * index + 16] = 255
    return frames


@pytest.fixture
def folders(tmp_path):
    for name, shift in (("targets", 0), ("poses", 16)):
        (tmp_path / name).mkdir()
        for clip in ("a", "b"):
            write_video(tmp_path / name / f"{clip}.mp4", moving_square(10, shift), 10)
    return tmp_path / "targets", tmp_path / "poses"


def columns_of_the_square(frames: torch.Tensor) -> list[int]:
    """Left edge of the square in every frame."""
    bright = (frames.mean(1) > 0.3).any(dim=1)                              # (F, W)
    return [int(row.float().argmax()) for row in bright]


def test_target_and_pose_show_the_same_moments(folders):
    item = PairedClips(*folders, num_frames=4, size=(64, 64))[(0, 7)]
    target, pose = columns_of_the_square(item["target"]), columns_of_the_square(item["pose"])
    assert np.abs(np.array(target) - pose).max() <= 1
    assert all(2 <= step <= 6 for step in np.diff(target))                  # consecutive: 4 pixels a frame
    assert item["target"].shape == (4, 3, 64, 64) and item["reference"].shape == (3, 64, 64)


def test_an_item_depends_on_its_position_alone(folders):
    clips = PairedClips(*folders, num_frames=3, size=(64, 64), seed=1)
    assert torch.equal(clips[(1, 5)]["target"], clips[(1, 5)]["target"])
    starts = {columns_of_the_square(clips[(0, position)]["target"])[0] for position in range(12)}
    assert len(starts) > 3


def test_clips_of_unequal_length_are_named(folders):
    write_video(folders[1] / "b.mp4", moving_square(7, 16), 10)
    with pytest.raises(ValueError, match="b.mp4: expected as many frames as its pose video"):
        PairedClips(*folders, num_frames=3, size=(64, 64))[(1, 0)]


def test_too_short_a_clip_is_named(folders):
    with pytest.raises(ValueError, match="a.mp4: expected at least 19 frames"):
        PairedClips(*folders, num_frames=10, size=(64, 64), frame_stride=2)[(0, 0)]


def test_folders_without_pairs_are_refused(tmp_path, folders):
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="expected videos"):
        PairedClips(folders[0], tmp_path / "other", 2, (64, 64))
    write_video(tmp_path / "other" / "z.mp4", moving_square(4, 0), 10)
    with pytest.raises(ValueError, match="expected equal file names"):
        PairedClips(folders[0], tmp_path / "other", 2, (64, 64))


def test_short_videos_are_left_out_and_unequal_ones_refused_before_the_first_step(folders, caplog):
    for folder in folders:
        write_video(folder / "a.mp4", moving_square(5, 0), 10)
    clips = PairedClips(*folders, num_frames=8, size=(64, 64))
    assert [target.stem for target, _ in clips.pairs] == ["b"] and "1 videos shorter than 8 frames" in caplog.text
    write_video(folders[1] / "b.mp4", moving_square(7, 16), 10)
    with pytest.raises(ValueError, match="b.mp4: expected as many frames as its pose video .found 10 and 7."):
        PairedClips(*folders, num_frames=3, size=(64, 64))


def test_a_clip_without_frames_or_latents_is_refused(folders):
    for change, says in ((dict(num_frames=0), "num_frames: expected at least 1"),
                         (dict(frame_stride=0), "frame_stride: expected at least 1"),
                         (dict(size=(64, 60)), "height, width: expected multiples of 8, 8 or more .found 64x60")):
        with pytest.raises(ValueError, match=says):
            PairedClips(*folders, **(dict(num_frames=2, size=(64, 64)) | change))


def long_video(path, codec: str, stamps, options: dict) -> None:
    """30 frames, all different, with a keyframe now and then, at these milliseconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        if path.suffix != ".avi":
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, stamp in enumerate(stamps):
            picture = np.roll(moving_square(12, 0)[index % 12], index, axis=0)
            frame, avi = av.VideoFrame.from_ndarray(picture, format="rgb24"), path.suffix == ".avi"
            frame.pts, frame.time_base = (index, Fraction(1, 25)) if avi else (stamp, Fraction(1, 1000))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("name, codec, stamps, options", [
    ("even.mp4", "libx264", range(0, 1200, 40), {"g": "7"}),
    ("uneven.mkv", "libx264", [40 * i + 15 * (i % 3) + 200 * (i > 20) for i in range(30)], {"g": "9", "bf": "3"}),
    ("one_keyframe.mov", "libx264", range(0, 1200, 40), {}),
    ("open_groups.mp4", "libx264", range(0, 1200, 40), {"g": "6", "x264-params": "open-gop=1"}),
    ("old.avi", "mpeg4", range(30), {"g": "5"}),
])
def test_some_frames_are_those_of_reading_all_and_no_others_are_made(tmp_path, monkeypatch, name, codec, stamps,
                                                                     options):
    long_video(tmp_path / name, codec, stamps, options)
    whole, stored = read_video(tmp_path / name)[0], stored_frames(tmp_path / name)
    assert len(stored) == len(whole) >= 30
    made = []
    monkeypatch.setattr(seeking, "upright", lambda *given, real=seeking.upright: made.append(0) or real(*given))
    for wanted in ([0], [len(whole) - 1], [17, 18, 19], [5, 20, 5]):
        assert np.array_equal(frames_at(tmp_path / name, wanted, stored), whole[wanted])
    assert 0 < len(made) <= 7                                               # a repeated frame is made once


def test_a_file_damaged_in_the_middle_is_named(tmp_path):
    long_video(tmp_path / "a.mkv", "libx264", range(0, 1200, 40), {"g": "5"})
    whole, stored = (tmp_path / "a.mkv").read_bytes(), stored_frames(tmp_path / "a.mkv")
    (tmp_path / "a.mkv").write_bytes(whole[:len(whole) * 4 // 5])
    with pytest.raises(ValueError, match="a.mkv: expected 30 whole frames .found fewer"):
        frames_at(tmp_path / "a.mkv", [28], stored)
