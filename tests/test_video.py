"""Files ↔ frames, with what phones and cameras put into them."""
import json
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from media.images import canvas_size, cover_geometry, fit_to_canvas, is_damaged_jpeg, read_image
from media.video_reader import frame_stream, probe, read_video
from media.video_writer import write_video
from pictures import grey_frames, LEVELS, levels_of, quadrants
from run.models import once

FIXTURES = Path(__file__).parent / "fixtures" / "mimicmotion"


def test_a_video_comes_back_as_it_was_written(tmp_path):
    frames = np.stack([np.roll(quadrants(), 4 * i, axis=1) for i in range(6)])
    read, fps = read_video(write_video(tmp_path / "a.mp4", frames, 12.5))
    assert read.shape == frames.shape and read.dtype == np.uint8 and fps == 12.5
    assert np.abs(read.astype(int) - frames).mean() < 12                       # chroma is stored at half size
    info = probe(tmp_path / "a.mp4")
    assert info.size == (32, 48) and info.fps == 12.5 and info.seconds == pytest.approx(6 / 12.5, abs=0.02)


def test_the_file_is_h264_yuv420p_which_plays_everywhere(tmp_path):
    write_video(tmp_path / "a.mp4", grey_frames(), 10)
    with av.open(str(tmp_path / "a.mp4")) as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")


def test_odd_sizes_are_filled_up_to_even_with_the_border(tmp_path):
    frames = grey_frames(levels=(180,), size=(33, 47))
    read, _ = read_video(write_video(tmp_path / "a.mp4", frames, 10))
    assert read.shape == (1, 34, 48, 3) and np.abs(read.astype(int) - 180).max() <= 3


def test_frames_can_be_resampled_to_another_rate_and_cut_short(tmp_path):
    path = write_video(tmp_path / "a.mp4", grey_frames(), 10)
    assert levels_of(read_video(path)[0]) == [0, 60, 120, 180, 240]
    assert levels_of(read_video(path, fps=20)[0]) == [0, 0, 60, 60, 120, 120, 180, 180, 240, 240]
    assert levels_of(read_video(path, fps=5)[0]) == [0, 120, 240]
    assert levels_of(read_video(path, max_frames=2)[0]) == [0, 60]
    assert len(read_video(path, fps=0.1)[0]) == 1


def test_uneven_timestamps_become_even_time(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for frame, milliseconds in zip(grey_frames(), (0, 100, 500, 600, 700)):
            packet = av.VideoFrame.from_ndarray(frame, format="rgb24")
            packet.pts, packet.time_base = milliseconds, Fraction(1, 1000)
            container.mux(stream.encode(packet))
        container.mux(stream.encode())
    frames, _ = read_video(tmp_path / "a.mkv", fps=10)
    assert levels_of(frames)[:8] == [0, 60, 60, 60, 60, 120, 180, 240]


def test_every_nth_frame_comes_one_by_one(tmp_path):
    path = write_video(tmp_path / "a.mp4", grey_frames(), 10)
    assert levels_of(list(frame_stream(path, stride=2))) == [0, 120, 240]
    assert levels_of(list(frame_stream(path, stride=9))) == [0]
    assert levels_of(list(frame_stream(path, fps=20, stride=4))) == [0, 120, 240]
    stream = frame_stream(path)
    assert levels_of([next(stream), next(stream)]) == [0, 60]


def test_large_frames_are_shrunk_as_they_come_and_small_ones_are_not(tmp_path):
    path = write_video(tmp_path / "a.mp4", quadrants()[None].repeat(4, axis=1).repeat(4, axis=2), 10)
    (frame,) = frame_stream(path, max_short_side=32)
    assert frame.shape == (32, 48, 3) and np.abs(frame.astype(int) - quadrants()).mean() < 12
    assert next(frame_stream(path, max_short_side=500)).shape == (128, 192, 3)
    turned_quarter_clockwise(path)
    assert next(frame_stream(path, max_short_side=32)).shape == (48, 32, 3)


def sound(container):
    stream = container.add_stream("aac", rate=8000)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
    frame.sample_rate = 8000
    return stream, frame


def test_sound_alone_is_no_video_and_neither_is_a_songs_cover(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream, frame = sound(container)
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        stream, frame = sound(container)
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 32, 48, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(quadrants(), format="rgb24")
        for packet in [*stream.encode(frame), *stream.encode(), *cover.encode(picture), *cover.encode()]:
            container.mux(packet)
    for name in ("sound.mp4", "song.mp4"):
        for read in (probe, read_video):
            with pytest.raises(ValueError, match=f"{name}: expected a video .found no video stream.: is it sound only"):
                read(tmp_path / name)


def test_a_truncated_video_is_refused_or_said_to_be_shorter_than_announced(tmp_path, caplog):
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8)
    path = write_video(tmp_path / "cut.mp4", noise, 10)                        # its table of contents is at the end
    path.write_bytes(path.read_bytes()[:-2000])
    for read in (probe, read_video):
        with pytest.raises(ValueError, match="cut.mp4: expected a "):
            read(path)
    with av.open(str(tmp_path / "streamed.mp4"), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.height, stream.width, stream.pix_fmt = 64, 64, "yuv420p"
        for frame in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    whole = (tmp_path / "streamed.mp4").read_bytes()
    assert len(read_video(tmp_path / "streamed.mp4")[0]) == 40 and not caplog.text
    (tmp_path / "streamed.mp4").write_bytes(whole[:len(whole) // 2])
    assert 10 < len(read_video(tmp_path / "streamed.mp4")[0]) < 30
    assert re.search(r"streamed.mp4: [12]\.. of its 4.0 seconds could be read: is the file whole\?", caplog.text)


def turned_quarter_clockwise(path: Path) -> None:
    """Mark an MP4 "show me turned 90° clockwise", as a phone held upright does: the matrix in its track header."""
    data = bytearray(path.read_bytes())
    number = lambda value: int(value * 65536).to_bytes(4, "big", signed=True)
    upright = number(1) + bytes(12) + number(1) + bytes(12) + (1 << 30).to_bytes(4, "big")
    at = data.index(upright, data.index(b"tkhd"))
    data[at:at + 16] = number(0) + number(1) + bytes(4) + number(-1)
    data[at + 16:at + 20] = number(0)
    path.write_bytes(data)


def test_a_video_filmed_on_its_side_is_turned_upright(tmp_path):
    path = write_video(tmp_path / "phone.mp4", quadrants()[None], 10)
    turned_quarter_clockwise(path)
    frames, _ = read_video(path)
    wanted = np.rot90(quadrants(), -1)
    assert frames.shape[1:] == wanted.shape and np.abs(frames[0].astype(int) - wanted).mean() < 12


def test_a_picture_of_16_bits_keeps_its_greys(tmp_path):
    grey = np.asarray(Image.fromarray(quadrants()).convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png"), np.repeat(grey[..., None], 3, axis=-1))


def test_a_picture_is_turned_as_its_exif_mark_asks(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6                                                           # orientation: turn 90° clockwise
    Image.fromarray(quadrants()).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), np.rot90(quadrants(), -1))


def test_transparency_becomes_white_and_grey_becomes_rgb(tmp_path):
    Image.fromarray(np.dstack([quadrants(), np.zeros((32, 48), np.uint8)])).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == 255).all()
    Image.fromarray(np.full((4, 6), 77, np.uint8)).save(tmp_path / "grey.png")
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.full((4, 6, 3), 77))


@pytest.mark.parametrize("read, kind", [(read_image, "picture"), (read_video, "video"), (probe, "video")])
def test_a_missing_or_foreign_file_is_named(tmp_path, read, kind):
    with pytest.raises(FileNotFoundError, match=f"none.x: expected a {kind} .found no file"):
        read(tmp_path / "none.x")
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.mp4: expected a "):
        read(tmp_path / "text.mp4")


def test_a_picture_too_large_to_be_one_is_refused_with_a_limit(tmp_path, monkeypatch):
    Image.new("L", (300, 200)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 25_000)
    with pytest.raises(ValueError, match=r"huge.png: expected a picture of at most 0.05 megapixels .*make it smaller"):
        read_image(tmp_path / "huge.png")


def test_a_half_picture_is_named(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:3000])
    with pytest.raises(ValueError, match="a.png: expected a whole picture"):
        read_image(tmp_path / "a.png")


def test_a_playlist_is_no_video_and_postscript_no_picture_whatever_their_names_say(tmp_path):
    """The one would show other files, the other be run."""
    write_video(tmp_path / "other.mp4", np.zeros((4, 32, 32, 3), np.uint8), 4.0)
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    with pytest.raises(ValueError, match="list.mp4: expected a video .found a picture, a list"):
        read_video(tmp_path / "list.mp4")
    (tmp_path / "ps.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n%%EOF\n")
    with pytest.raises(ValueError, match="ps.png: expected a whole picture .its format is EPS"):
        read_image(tmp_path / "ps.png")


def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = write_video(tmp_path / "a.mp4", grey_frames(), 10)
    before = path.read_bytes()
    wrong = [grey_frames()[0], np.zeros((16, 16, 3), np.uint8)]
    for frames, words in ((wrong, "expected one size 32x48 .found 16x16"), ([], "expected at least one"),
                          ([np.zeros((4, 4))], "expected uint8 RGB")):
        with pytest.raises(ValueError, match=words):
            write_video(path, frames, 10)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    with pytest.raises(ValueError, match="ending in .mp4"):
        write_video(tmp_path / "a.avi", grey_frames(), 10)


def test_canvas_and_crop_are_mimicmotions():
    for (width, height), target, resized, corner, short_side in json.loads((FIXTURES / "geometry.json").read_text()):
        size = canvas_size((height, width), short_side)
        assert list(size) == target, (width, height)
        assert [list(pair) for pair in cover_geometry((height, width), size)] == [resized, corner], (width, height)
    assert cover_geometry((136, 833), (128, 192)) == ((128, 785), (0, 296))     # 128 / (136 / 833) is a hair above 784


def test_fitting_keeps_the_centre_and_the_proportions():
    ramp = np.repeat(np.linspace(0, 255, 400).astype(np.uint8)[None, :, None], 200, axis=0).repeat(3, axis=2)
    fitted = fit_to_canvas(ramp, (100, 60))
    assert fitted.shape == (100, 60, 3)
    assert fitted[:, 29:31].mean() == pytest.approx(127.5, abs=2)              # the middle stays in the middle
    slope = np.diff(fitted[50, :, 0].astype(float)).mean()
    assert slope == pytest.approx(2 * 255 / 400, rel=0.05)                     # scaled by one half, not squashed


def test_shrinking_does_not_alias():
    stripes = np.zeros((512, 512, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(fit_to_canvas(stripes, (100, 100)).astype(int) - 127).max() < 45


def test_a_repeated_frame_is_the_same_array_and_is_looked_at_once(tmp_path):
    slow = write_video(tmp_path / "slow.mp4", grey_frames(), 2)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, frame in enumerate(grey_frames()):
        Image.fromarray(frame).save(folder / f"{number}.png")
    for path, fps in ((slow, 10.0), (folder, 150.0)):
        times: list[int] = []
        different = list(once(frame_stream(path, fps=fps), times))
        assert levels_of(different) == list(LEVELS) and sum(times) == 25 and min(times) > 1
        assert np.array_equal(np.repeat(different, times, axis=0), list(frame_stream(path, fps=fps)))
    times = []
    assert len(list(once(grey_frames((60, 60, 60)), times))) == 3 and times == [1, 1, 1]          # alike is not repeated


def test_a_jpeg_damaged_in_its_middle_is_told_from_every_kind_of_whole_one(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    path = tmp_path / "a.jpg"
    for mode, kind in (("RGB", {}), ("RGB", {"progressive": True}), ("RGB", {"subsampling": 0, "optimize": True}), ("L", {}), ("CMYK", {}),
                       ("RGB", {"restart_marker_blocks": 4}), ("RGB", {"exif": Image.new("RGB", (1, 1)).getexif().tobytes()})):
        Image.fromarray(pixels).convert(mode).save(path, "JPEG", **kind)
        assert not is_damaged_jpeg(path)
    Image.fromarray(pixels[:239, :157]).save(path, "JPEG")
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(100))                                       # as some cameras put something behind
    assert not is_damaged_jpeg(path)
    before, after = whole[:len(whole) // 2], whole[len(whole) // 2 + 400:]
    for between in (b"", b"\xfe" * 400):                                      # other bytes may be read as other colours, and no decoder can tell
        path.write_bytes(before + between + after)
        assert is_damaged_jpeg(path) and read_image(path).shape == (239, 157, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert not is_damaged_jpeg(tmp_path / "a.png")
