"""What a video or a picture says about itself is believed: turns, pixel shapes, colours, times, damage."""
import io
import struct
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageCms

from media.images import read_image
from media.video_reader import frame_stream, frames_at, probe, read_video
from media.video_writer import write_video
from pictures import grey_frames, LEVELS, levels_of, quadrants


def written(path: Path, frames, *, milliseconds=None, options=None, set_up=lambda stream: None) -> Path:
    """A video whose timestamps, options and stream are the test's own."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        set_up(stream)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = (milliseconds or range(0, 10**6, 100))[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Put a display matrix into an MP4's track header: (x, y) is shown at (a x + c y, b x + d y)."""
    data = bytearray(path.read_bytes())
    at = data.index((1 << 16).to_bytes(4, "big") + bytes(12), data.index(b"tkhd"))
    numbers = [int(value * 65536).to_bytes(4, "big", signed=True) for value in (a, b, 0, c, d)]
    data[at:at + 20] = b"".join(numbers)
    path.write_bytes(data)


@pytest.mark.parametrize("matrix, shown", [
    ((1, 0, 0, 1), lambda p: p), ((-1, 0, 0, -1), lambda p: p[::-1, ::-1]),
    ((-1, 0, 0, 1), lambda p: p[:, ::-1]), ((1, 0, 0, -1), lambda p: p[::-1]),
    ((0, 1, -1, 0), lambda p: np.rot90(p, -1)), ((0, -1, 1, 0), lambda p: np.rot90(p)),
    ((0, 1, 1, 0), lambda p: p.swapaxes(0, 1)), ((0, -1, -1, 0), lambda p: np.rot90(p, 2).swapaxes(0, 1)),
])
def test_each_of_the_eight_display_matrices_is_obeyed(tmp_path, matrix, shown):
    path = write_video(tmp_path / "a.mp4", quadrants()[None], 10)
    set_display_matrix(path, *matrix)
    (frame,), _ = read_video(path)
    wanted = shown(quadrants())
    assert frame.shape == wanted.shape and np.abs(frame.astype(int) - wanted).mean() < 12


@pytest.mark.parametrize("aspect, size", [(Fraction(2), (32, 96)), (Fraction(1, 2), (64, 48)), (Fraction(0), (32, 48))])
def test_pixels_become_square_and_nothing_is_lost(tmp_path, aspect, size):
    path = written(tmp_path / "a.mp4", quadrants()[None],
                   set_up=lambda stream: setattr(stream.codec_context, "sample_aspect_ratio", aspect))
    (frame,), _ = read_video(path)
    assert frame.shape[:2] == size
    corners = frame[[4, 4, -5, -5], [4, -5, 4, -5]].astype(int)
    assert np.abs(corners - quadrants()[[4, 4, -5, -5], [4, -5, 4, -5]]).max() < 30


def test_our_videos_say_their_colours_and_are_what_they_say(tmp_path):
    picture = np.full((1024, 576, 3), (0, 200, 0), np.uint8)
    path = write_video(tmp_path / "a.mp4", [picture] * 2, 10)
    with av.open(str(path)) as container:
        codec, frame = container.streams.video[0].codec_context, next(container.decode(video=0))
        assert (codec.colorspace, codec.color_range, codec.color_primaries) == (6, 1, 1)
        assert np.abs(frame.reformat(format="rgb24", src_colorspace="ITU601", dst_colorspace="ITU601")
                      .to_ndarray()[500, 300].astype(int) - (0, 200, 0)).max() <= 2
    assert np.abs(read_video(path)[0][0, 500, 300].astype(int) - (0, 200, 0)).max() <= 2


@pytest.mark.parametrize("size, matrix", [((720, 1280), "ITU709"), ((480, 640), "ITU601")])
def test_an_untagged_video_is_judged_by_its_size(tmp_path, size, matrix):
    picture = np.full((*size, 3), (0, 200, 0), np.uint8)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.height, stream.width, stream.pix_fmt = *size, "yuv420p"
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format="yuv420p", src_colorspace=matrix, dst_colorspace=matrix)
        frame.colorspace = 2
        container.mux([*stream.encode(frame), *stream.encode()])
    assert np.abs(read_video(tmp_path / "a.mp4")[0][0, 300, 300].astype(int) - (0, 200, 0)).max() <= 3


def test_an_hdr_video_is_warned_of_and_another_is_not(tmp_path, caplog):
    def hdr(stream):
        stream.codec_context.color_trc = 18

    read_video(written(tmp_path / "sdr.mp4", grey_frames()))
    assert not caplog.text
    read_video(written(tmp_path / "hdr.mp4", grey_frames(), set_up=hdr))
    assert caplog.text.count("hdr.mp4: is HDR (HLG)") == 1


def test_a_video_that_begins_late_is_no_longer_than_it_is(tmp_path):
    path = written(tmp_path / "late.mkv", grey_frames(), milliseconds=[36_000_000 + 100 * i for i in range(5)])
    assert probe(path).seconds == pytest.approx(0.5, abs=0.11) and levels_of(read_video(path)[0]) == list(LEVELS)


def test_a_change_of_size_names_file_place_and_remedy(tmp_path):
    parts = []
    for number, size in enumerate(((64, 96), (32, 48))):
        part = written(tmp_path / f"{number}.ts", grey_frames(size=size))
        parts.append(part.read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    with pytest.raises(ValueError, match=r"both.ts: expected one picture size .found 96x64, then 48x32 after .* frames.: convert"):
        read_video(tmp_path / "both.ts")


@pytest.mark.parametrize("name", ["one.mp4", "one.mkv"])
def test_a_file_of_one_frame_is_a_video_of_one_frame(tmp_path, name):
    path = written(tmp_path / name, grey_frames((120,)))
    assert levels_of(read_video(path)[0]) == [120] and levels_of(frames_at(path, [0])) == [120]


@pytest.mark.parametrize("suffix", [".avif", ".gif"])
def test_animated_pictures_move(tmp_path, suffix):
    pictures = [Image.fromarray(frame) for frame in grey_frames(size=(64, 96))]
    pictures[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=pictures[1:], duration=100)
    assert levels_of(read_video(tmp_path / f"a{suffix}")[0]) == list(LEVELS)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_an_animation_for_a_page_comes_back_as_it_was_written(tmp_path, suffix):
    path = write_video(tmp_path / f"a{suffix}", grey_frames(size=(64, 96)), 10)
    frames, fps = read_video(path)
    assert levels_of(frames) == list(LEVELS) and fps == 10 and frames.shape == (5, 64, 96, 3)
    assert probe(path).seconds == pytest.approx(0.5) and Image.open(path).info["loop"] == 0


def test_frames_by_stride_are_those_that_were_stored(tmp_path):
    path = written(tmp_path / "jitter.mkv", grey_frames(), milliseconds=[0, 149, 200, 390, 400])
    assert levels_of(list(frame_stream(path, stride=1))) == list(LEVELS)
    assert levels_of(list(frame_stream(path, stride=2))) == [0, 120, 240]


def test_a_timestamp_a_little_late_drops_no_frame_and_doubles_none(tmp_path):
    path = written(tmp_path / "late.mkv", grey_frames(), milliseconds=[0, 140, 200, 340, 400])
    assert levels_of(read_video(path, fps=10)[0]) == list(LEVELS)


def test_resampling_takes_the_nearest_frame(tmp_path):
    ramp = [np.full((32, 48, 3), 8 * index, np.uint8) for index in range(30)]
    path = write_video(tmp_path / "a.mp4", ramp, 30)
    read = [round(frame.mean() / 8) for frame in read_video(path, fps=24)[0]]
    assert len(read) == 24 and max(abs(number - slot * 30 / 24) for slot, number in enumerate(read)) <= 0.5


def test_a_video_cut_short_is_refused_for_training_and_warned_of_elsewhere(tmp_path, caplog):
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8)
    whole = write_video(tmp_path / "whole.mkv", noise, 10).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[:len(whole) // 2])
    assert 10 < len(list(frame_stream(tmp_path / "cut.mkv"))) < 30 and "could be read: is the file whole?" in caplog.text
    with pytest.raises(ValueError, match="cut.mkv: expected (a whole video|whole frames)"):
        list(frame_stream(tmp_path / "cut.mkv", strict=True))
    assert len(list(frame_stream(tmp_path / "whole.mkv", strict=True))) == 40


def test_a_folder_of_numbered_pictures_is_a_video(tmp_path):
    for number, frame in enumerate(grey_frames(), start=8):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")                 # 8, 9, 10: by number, not by letter
    assert levels_of(read_video(tmp_path)[0]) == list(LEVELS)
    assert levels_of(list(frame_stream(tmp_path, stride=2))) == [0, 120, 240]
    assert levels_of(read_video(tmp_path, fps=60)[0])[::2] == list(LEVELS)
    assert probe(tmp_path).size == (32, 48) and probe(tmp_path).fps == 30
    Image.fromarray(grey_frames()[0][:16]).save(tmp_path / "12.png")
    with pytest.raises(ValueError, match=r"12.png: expected one picture size \(found 48x32 before, then 48x16\): make all pictures"):
        read_video(tmp_path)


def test_a_colour_profile_is_honoured(tmp_path):
    swapped = Path(tmp_path / "lab.tif")
    lab = ImageCms.createProfile("LAB", 6500)
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), lab, "RGB", "LAB")
    picture = Image.new("RGB", (8, 8), (200, 40, 60))
    ImageCms.applyTransform(picture, to_lab).save(swapped, icc_profile=ImageCms.ImageCmsProfile(lab).tobytes())
    assert np.abs(read_image(swapped).astype(int) - (200, 40, 60)).max() <= 4
    picture.save(tmp_path / "srgb.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert (read_image(tmp_path / "srgb.png") == (200, 40, 60)).all()


def linear_profile(grey: bool) -> bytes:
    """The profile of sRGB's primaries, or of greys, with values in proportion to light."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    curve = data.index(b"para") + 8
    struct.pack_into(">HH5i", data, curve, 3, 0, *(round(value * 65536) for value in (1, 1, 0, 1, 0)))
    data = data.replace("sRGB".encode("utf-16-be"), "flat".encode("utf-16-be"))
    if grey:
        data[16:20] = b"GRAY"
        data = data.replace(b"rTRC", b"kTRC")
    return bytes(data)


@pytest.mark.parametrize("mode", ["P", "RGBA", "LA", "L", "LAB"])
def test_a_colour_profile_is_honoured_whatever_the_picture_is_stored_as(tmp_path, mode, caplog):
    """A linear profile makes the stored 50 a 122; LAB without a profile is what it says."""
    linear = ImageCms.ImageCmsProfile(io.BytesIO(linear_profile(grey=mode[0] == "L")))
    stored = Image.new("RGB", (8, 8), (50, 50, 50))
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        ImageCms.profileToProfile(stored, ImageCms.createProfile("sRGB"), lab, outputMode="LAB").save(tmp_path / "a.tif")
        assert np.abs(read_image(tmp_path / "a.tif").astype(int) - 50).max() <= 2
        return
    stored.convert(mode).save(tmp_path / "a.png", icc_profile=linear.tobytes())
    assert np.abs(read_image(tmp_path / "a.png").astype(int) - 122).max() <= 2 and not caplog.text


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_title_in_another_encoding_is_no_obstacle(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "QQQQ"
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes().replace(b"QQQQ", b"caf\xe9"))
    assert b"caf\xe9" in path.read_bytes() and len(read_video(path)[0]) == 3
    assert frames_at(path, [2]).shape == (1, 32, 32, 3) and probe(path).size == (32, 32)


@pytest.mark.parametrize("read", [read_video, probe, lambda path: frames_at(path, [0])])
def test_a_codec_that_nobody_knows_is_named(tmp_path, read):
    path = written(tmp_path / "a.mp4", [np.zeros((32, 32, 3), np.uint8)] * 3)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(ValueError, match="a.mp4: expected a video that FFmpeg can decode"):
        read(path)


def test_a_profile_that_cannot_be_used_is_warned_of(tmp_path, caplog):
    Image.new("RGB", (8, 8), (200, 40, 60)).save(tmp_path / "odd.png", icc_profile=b"no profile")
    assert (read_image(tmp_path / "odd.png") == (200, 40, 60)).all() and "odd.png: its colour profile" in caplog.text


@pytest.mark.parametrize("values", [
    np.linspace(0, 1, 6, dtype=np.float32), np.linspace(0, 255, 6, dtype=np.float32),
    np.linspace(0, 65535, 6, dtype=np.float32), np.linspace(0, 65535, 6).astype(np.int32),
    np.linspace(0, 2**31 - 1, 6).astype(np.int32),
])
def test_floating_and_long_greys_keep_their_steps(tmp_path, values):
    Image.fromarray(np.tile(values, (4, 1))).save(tmp_path / "a.tif")
    read = read_image(tmp_path / "a.tif")[0, :, 0].astype(int)
    full = 127 if values.dtype == np.int32 and values.max() > 65535 else 255             # signed: half of the range
    assert np.abs(read - np.linspace(0, full, 6)).max() <= 1


def test_heic_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "photo.HEIC").write_bytes(b"....ftypheic")
    with pytest.raises(ValueError, match="photo.HEIC: expected PNG or JPEG .found HEIC.: .*pip install pillow-heif"):
        read_image(tmp_path / "photo.HEIC")
