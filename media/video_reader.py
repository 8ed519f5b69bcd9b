"""Video files to (F, H, W, 3) uint8 RGB: one frame after the other, all at once, or single frames by random access."""
from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.stream import Disposition
from av.video.reformatter import VideoReformatter
from PIL import Image, ImageSequence

from media.files import entries, existing_file
from media.images import PICTURE_SUFFIXES, pictures_in, read_image, shrunk

log = logging.getLogger(__name__)

VIDEO_FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,apng,mpegts,mpeg,mpegvideo,m4v,h264,hevc,flv,asf,ogg,mxf,nut,ivf,dv,rm,wtv,"
                 "yuv4mpegpipe")                              # FFmpeg's names

WHOLE = 0.9                                              # share of its announced length a video must have
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".flv", ".wmv",
                  ".3gp", ".ogv", ".gif")
PICTURE_FPS = 30.0                                       # of a folder of pictures, as TikTok's
EARLY = 0.49                                             # of a stored frame, by which a timestamp may be late
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}                    # of ITU-T H.273
UNSPECIFIED = 2                                          # matrix of ITU-T H.273
SD_LINES, HD_SIDE = 576, 1280                            # pixels; larger untagged video is taken for BT.709


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about itself, before decoding."""
    size: tuple[int, int]   # (height, width) as stored, before any rotation, pixels
    fps: float              # mean frames per second
    seconds: float          # 0 = the file does not say


def read_video(path: str | Path, *, fps: float | None = None, max_frames: int | None = None) -> tuple[np.ndarray, float]:
    """All frames of `frame_stream` at once, (F, H, W, 3) uint8 RGB, and their rate in frames per second.

    fps: resample to this rate; None keeps the file's mean rate. max_frames: stop reading there.
    """
    return np.stack(list(islice(frame_stream(path, fps=fps), max_frames))), float(fps or probe(path).fps)


def frame_stream(path: str | Path, *, fps: float | None = None, stride: int | None = None,
                 max_short_side: int | None = None, strict: bool = False) -> Iterator[np.ndarray]:
    """The frames (H, W, 3) uint8 RGB of a video one after the other, upright, with square pixels, all of one size.

    A folder of numbered pictures is a video of PICTURE_FPS frames a second, and an animated WebP is a video, too.
    fps: resample to this rate; None keeps the file's mean rate. Uneven timestamps are evened out by repeating and
    leaving out frames; a repeated frame is the same array again. stride: every stride-th of these; without fps, every stride-th frame as it was stored.
    max_short_side: pixels; larger frames are shrunk as they come, so that the memory does not grow with the camera.
    strict: a damaged frame, or an end before the announced one, is a ValueError and no warning.
    """
    if holds_pictures(path):
        yield from picture_stream(Path(path), fps, stride, max_short_side)
        return
    last, picture = None, None
    for frame, layout in shown_frames(path, fps, stride, strict):
        if frame is not last:
            last, picture = frame, upright(frame, layout, max_short_side)
        yield picture


def shown_frames(path: str | Path, fps: float | None = None, stride: int | None = None,
                 strict: bool = False) -> Iterator[tuple[av.VideoFrame, Layout]]:
    """The frames of a video file as `frame_stream` chooses them, still as they are stored, and their common layout."""
    path, read, end, size = existing_file(path, "video"), 0, 0.0, None
    try:
        with opened(path) as container:
            stream = video_stream(container, path)
            layout, own_rate = Layout(stream), stream_rate(stream)
            frames = readable(container, stream, path, strict)
            if fps or not stride:
                frames = evenly_spaced(frames, float(fps or own_rate), own_rate)
            else:
                frames = ((frame, (number + 1) / own_rate) for number, frame in enumerate(frames))
            for frame, end in islice(frames, 0, None, stride):
                if (frame.height, frame.width) != (size or (frame.height, frame.width)):
                    raise ValueError(f"{path}: expected one picture size (found {size[1]}x{size[0]}, then {frame.width}x"
                                     f"{frame.height} after {read} frames): convert it to MP4, or cut it there")
                size, read = (frame.height, frame.width), read + 1
                yield frame, layout
            announced = length_of(container, stream)
    except av.FFmpegError as error:
        raise ValueError(f"{path}: expected a whole video ({error.strerror}): copy it again, or convert it to MP4") from None
    if not read:
        raise ValueError(f"{path}: expected a video with frames (found none): convert it to MP4")
    if end < WHOLE * announced - (stride or 1) / float(fps or own_rate):
        found = f"{end:.1f} of its {announced:.1f} seconds could be read"
        if strict:
            raise ValueError(f"{path}: expected a whole video ({found}): copy it again")
        log.warning("%s: %s: is the file whole?", path, found)


def opened(path: str | Path) -> av.container.InputContainer:
    """A video file; titles and the like may be in any encoding. Lists that name other files are no videos, nor are pictures."""
    try:
        return av.open(str(path), metadata_errors="replace", options={"format_whitelist": VIDEO_FORMATS})
    except av.ArgumentError:
        raise ValueError(f"{path}: expected a video (found a picture, a list of files or another format): convert it to MP4") from None


def holds_pictures(path: str | Path) -> bool:
    """Is this a folder or a WebP, which FFmpeg does not read as a video?"""
    return Path(path).is_dir() or Path(path).suffix.lower() == ".webp"


def picture_stream(path: Path, fps: float | None, stride: int | None,
                   max_short_side: int | None) -> Iterator[np.ndarray]:
    """The pictures of a folder or of a WebP as `frame_stream` gives frames."""
    pictures, rate = pictures_of(path)
    step = rate / fps if fps else 1.0
    numbers = [min(round(number * step), len(pictures) - 1) for number in range(max(round(len(pictures) / step), 1))]
    size, last, shown = None, None, None
    for number in numbers[::stride]:
        if number == last:
            yield shown
            continue
        picture = read_image(pictures[number]) if path.is_dir() else pictures[number]
        if picture.shape[:2] != (size or picture.shape[:2]):
            raise ValueError(f"{pictures[number]}: expected one picture size (found {size[1]}x{size[0]} before, then {picture.shape[1]}x"
                             f"{picture.shape[0]}): make all pictures of {path} alike, or leave it out")
        size, last, shown = picture.shape[:2], number, shrunk(picture, max_short_side)
        yield shown


def pictures_of(path: Path) -> tuple[Sequence[Path] | np.ndarray, float]:
    """The picture files of a folder, or the frames (F, H, W, 3) uint8 RGB of a WebP, and how many a second."""
    if not path.is_dir():
        path = existing_file(path, "video")
        try:
            with Image.open(path) as file:
                shown = [(np.asarray(frame.convert("RGB")), frame.info.get("duration", 0))
                         for frame in ImageSequence.Iterator(file)]
            frames, milliseconds = zip(*shown)
            return np.stack(frames), 1000 * len(frames) / sum(milliseconds) if sum(milliseconds) else PICTURE_FPS
        except (OSError, ValueError) as error:
            raise ValueError(f"{path}: expected a whole animated WebP ({error}): convert it to MP4") from None
    pictures = pictures_in(path)
    if not pictures:
        raise ValueError(f"{path}: expected numbered pictures {', '.join(PICTURE_SUFFIXES)} (found none): check the path")
    return pictures, PICTURE_FPS


def readable(container, stream, path: Path, strict: bool) -> Iterator[av.VideoFrame]:
    """The frames up to the end, or to where the file is damaged; how many that are depends on the decoder's threads."""
    number, corrupt = 0, 0
    try:
        for number, frame in enumerate(container.decode(stream), start=1):
            if number == 1 and frame.color_trc in HDR_TRANSFERS:
                log.warning("%s: is HDR (%s): its colours will be flat, and a converted SDR copy looks better", path,
                            HDR_TRANSFERS[frame.color_trc])
            if frame.is_corrupt and strict:
                raise ValueError(f"{path}: expected whole frames (number {number} is damaged): copy it again")
            corrupt += frame.is_corrupt
            yield frame
    except av.InvalidDataError:
        if not number or strict:
            raise
    if corrupt:
        log.warning("%s: %d of %d frames are damaged", path, corrupt, number)


def probe(path: str | Path) -> VideoInfo:
    """Size, rate and duration of a video file or a folder of pictures, without decoding more than a WebP."""
    if holds_pictures(path):
        pictures, rate = pictures_of(Path(path))
        return VideoInfo(next(frame_stream(path)).shape[:2], rate, len(pictures) / rate)
    path = existing_file(path, "video")
    try:
        with opened(path) as container:
            stream = video_stream(container, path)
            seconds = length_of(container, stream) or float(container.duration or 0) / av.time_base
            return VideoInfo((stream.height, stream.width), stream_rate(stream), seconds)
    except av.FFmpegError as error:
        raise ValueError(f"{path}: expected a video ({error.strerror}): copy it again, or convert it to MP4") from None


def length_of(container, stream) -> float:
    """Seconds from the first frame to the end, as far as the file says; 0 = it does not.

    Matroska's duration counts from 0, also where the first frame comes later.
    """
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if "matroska" in container.format.name and container.duration:
        return (container.duration - max(container.start_time or 0, 0)) / av.time_base
    return 0.0


def video_stream(container, path: Path):
    """The first video stream that moves and is not a song's cover picture, decoded on all cores."""
    videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not videos:
        raise ValueError(f"{path}: expected a video (found no video stream): is it sound only?")
    stream = next((stream for stream in videos if stream.frames != 1), videos[0])      # an AVIF has a still beside it
    if stream.codec_context is None:
        raise ValueError(f"{path}: expected a video that FFmpeg can decode (found a codec it does not know): convert it to MP4")
    stream.thread_type = "AUTO"
    return stream


def stream_rate(stream) -> float:
    """Mean frames per second, as far as the file says."""
    return float(stream.average_rate or stream.guessed_rate or 25)


def evenly_spaced(frames: Iterable[av.VideoFrame], fps: float,
                  source_fps: float) -> Iterator[tuple[av.VideoFrame, float]]:
    """Frames at `fps`, each with the seconds up to which it is shown: number k is the one shown at time k / fps.

    A frame counts as shown from almost half a stored frame before its timestamp on, which is the nearest frame where
    the rate is constant. The last frame lasts 1 / source_fps; a video has at least one frame.
    """
    def first_slot(seconds: float) -> int:
        return math.ceil((seconds - EARLY / source_fps) * fps)

    held, slot, origin, time = None, 0, 0.0, 0.0
    for number, frame in enumerate(frames):
        stamp = frame.time if frame.time is not None else number / source_fps
        origin = stamp if held is None else origin
        time = stamp - origin
        if held is not None and first_slot(time) > slot:
            yield from [(held, time)] * (first_slot(time) - slot)
            slot = first_slot(time)
        held = frame
    if held is not None:
        end = time + 1 / source_fps
        yield from [(held, end)] * max(math.ceil(end * fps - 0.25) - slot, int(slot == 0))


class Layout:
    """What all frames of a stream share on their way to pictures: the shape of a pixel, and how the picture is turned.

    The display matrix is read off the first frame only: asking a frame for it keeps the frame until Python's garbage
    collection, and one converter serves all frames.
    """

    def __init__(self, stream):
        self.aspect = float(stream.sample_aspect_ratio or 1) or 1.0            # width over height of a stored pixel
        self.converter = VideoReformatter()
        self._matrix: tuple[int, ...] | None = None

    def matrix(self, frame: av.VideoFrame) -> tuple[int, ...]:
        """(a, b, c, d) of the display matrix: (x, y) is shown at (a x + c y, b x + d y)."""
        if self._matrix is None:
            data = frame.side_data.get("DISPLAYMATRIX")
            a, b, _, c, d = (1, 0, 0, 0, 1) if data is None else np.frombuffer(bytes(data), np.int32)[:5].tolist()
            self._matrix = a, b, c, d
        return self._matrix


def upright(frame: av.VideoFrame, layout: Layout, max_short_side: int | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB with square pixels, turned and mirrored as the container's display matrix asks.

    Pixels that are not square are stretched along their shorter side, so that nothing is lost.
    """
    height, width = frame.height * max(1, 1 / layout.aspect), frame.width * max(1, layout.aspect)
    shrinking = min(1, (max_short_side or math.inf) / min(height, width))
    colours = "ITU709" if is_untagged_hd(frame) else None
    picture = layout.converter.reformat(
        frame, round(width * shrinking), round(height * shrinking), "rgb24", src_colorspace=colours,
        dst_colorspace=colours, interpolation="AREA" if shrinking < 1 else None).to_ndarray()
    a, b, c, d = layout.matrix(frame)
    if abs(a) + abs(d) < abs(b) + abs(c):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return np.ascontiguousarray(picture[::-1 if d < 0 else 1, ::-1 if a < 0 else 1])


def is_untagged_hd(frame: av.VideoFrame) -> bool:
    """Does a YUV frame not say its matrix, and is it of a size at which players take it for BT.709?"""
    is_large = min(frame.height, frame.width) > SD_LINES or max(frame.height, frame.width) >= HD_SIDE
    return frame.colorspace == UNSPECIFIED and not frame.format.is_rgb and is_large


class Stored(NamedTuple):
    """A frame as its packet announces it."""
    pts: int                # in the stream's own units
    time: float             # seconds


def stored_frames(path: str | Path) -> list[Stored]:
    """The stored frame that is shown as number k of `frame_stream`, for every k; nothing is decoded."""
    path = existing_file(path, "video")
    try:
        with opened(path) as container:
            stream = video_stream(container, path)
            rate, unit = stream_rate(stream), stream.time_base
            packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
            if any(packet.pts is None for packet in packets):
                return [Stored(-1, 0.0) for _ in shown_frames(path)]            # must be counted, as it says no times
            stamps = sorted(packet.pts for packet in packets)
            frames = (Stored(pts, pts * unit.numerator / unit.denominator) for pts in stamps)
            return [frame for frame, _ in evenly_spaced(frames, rate, rate)]
    except av.FFmpegError as error:
        raise ValueError(f"{path}: expected a whole video ({error.strerror}): copy it again, or convert it to MP4") from None


def frames_at(path: str | Path, wanted: Sequence[int], stored: list[Stored] | None = None) -> np.ndarray:
    """Numbers `wanted` of `frame_stream`, (n, H, W, 3) uint8 RGB, upright, decoded from the keyframe before them on.

    stored: what `stored_frames` gave, where it is known already.
    """
    stored = stored_frames(path) if stored is None else stored
    if max(wanted) >= len(stored):
        raise ValueError(f"{path}: expected at least {max(wanted) + 1} frames (found {len(stored)}): copy or convert it anew, or leave it out")
    found = decoded_after_seeking(path, [stored[number].pts for number in wanted])
    if found is None:                       # a file that cannot be entered in the middle is read from its beginning
        needed = set(wanted)
        frames = {number: upright(*shown) for number, shown in enumerate(islice(shown_frames(path), max(wanted) + 1))
                  if number in needed}
        if len(frames) < len(needed):
            raise ValueError(f"{path}: expected {len(stored)} whole frames (found fewer): copy or convert it anew, or leave it out")
        found = [frames[number] for number in wanted]
    return np.stack(found)


def decoded_after_seeking(path: str | Path, stamps: list[int]) -> list[np.ndarray] | None:
    """The pictures with these time stamps, decoded from the keyframe before them on; None where that gives not all."""
    found, needed = {}, set(stamps)
    try:
        with opened(path) as container:
            stream = video_stream(container, Path(path))
            layout = Layout(stream)
            container.seek(min(needed), stream=stream)
            for frame in container.decode(stream):
                if frame.pts in needed and not frame.is_corrupt:
                    found[frame.pts] = frame
                if len(found) == len(needed) or (frame.pts or 0) > max(needed):
                    break
    except av.FFmpegError:                  # damaged, or no index to seek by: reading it in order says which
        return None
    if len(found) < len(needed):
        return None
    pictures = {pts: upright(frame, layout) for pts, frame in found.items()}
    return [pictures[pts] for pts in stamps]


def videos_in(folder: Path) -> dict[str, Path]:
    """Video files of a folder by stem; a clear error when there are none."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder of videos (found nothing): check the path")
    found = {path.stem: path for path in entries(folder) if path.suffix.lower() in VIDEO_SUFFIXES}
    if not found:
        raise ValueError(f"{folder}: expected videos {', '.join(VIDEO_SUFFIXES)} (found none): check the path")
    return found


def announced_frames(path: Path) -> int:
    """How many frames a file says it has, without decoding it; 0 = it does not say."""
    try:
        with opened(path) as container:
            return video_stream(container, path).frames
    except av.FFmpegError as error:
        raise ValueError(f"{path}: expected a video ({error.strerror}): convert it to MP4 or leave it out") from None


def is_whole_mp4(path: Path, num_frames: int | None = None) -> bool:
    """Is there an MP4 of ours, of so many frames (None: any)? Nothing is decoded.

    It announces them at its end, which a file that was cut short has lost.
    """
    try:
        return num_frames in (announced_frames(path), None)
    except ValueError:
        return False
