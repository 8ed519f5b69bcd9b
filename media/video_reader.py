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

from media.files import existing_file

log = logging.getLogger(__name__)

WHOLE = 0.9                                              # share of its announced length a video must have
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi")


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


def frame_stream(path: str | Path, *, fps: float | None = None, stride: int = 1,
                 max_short_side: int | None = None) -> Iterator[np.ndarray]:
    """The frames (H, W, 3) uint8 RGB of a video one after the other, upright and evenly spaced in time.

    fps: resample to this rate; None keeps the file's mean rate. Uneven timestamps are evened out by repeating and
    leaving out frames. stride: then every stride-th. max_short_side: pixels; larger frames are shrunk as they come, so
    that the memory does not grow with the camera.
    """
    path = existing_file(path, "video")
    read, end = 0, 0.0
    try:
        with av.open(str(path)) as container:
            stream = video_stream(container, path)
            own_rate = stream_rate(stream)
            even = evenly_spaced(readable(container, stream), float(fps or own_rate), own_rate)
            for frame, end in islice(even, 0, None, stride):
                read += 1
                yield upright(frame, max_short_side)
            announced = float(stream.duration * stream.time_base) if stream.duration else 0.0
    except av.FFmpegError as error:
        raise ValueError(f"{path}: expected a whole video ({error.strerror}): convert it to MP4") from None
    if not read:
        raise ValueError(f"{path}: expected a video with frames (found none): convert it to MP4")
    if end < WHOLE * announced - stride / float(fps or own_rate):
        log.warning("%s: %.1f of its %.1f seconds could be read: is the file whole?", path, end, announced)


def readable(container, stream) -> Iterator[av.VideoFrame]:
    """The frames up to the end, or to where the file is damaged; how many that are depends on the decoder's threads."""
    found = 0
    try:
        for found, frame in enumerate(container.decode(stream), start=1):
            yield frame
    except av.InvalidDataError:
        if not found:
            raise


def probe(path: str | Path) -> VideoInfo:
    """Size, rate and duration of a video file, without decoding it."""
    path = existing_file(path, "video")
    try:
        with av.open(str(path)) as container:
            stream = video_stream(container, path)
            seconds = float(container.duration or 0) / av.time_base
            return VideoInfo((stream.height, stream.width), stream_rate(stream), seconds)
    except av.FFmpegError as error:
        raise ValueError(f"{path}: expected a video ({error.strerror}): convert it to MP4") from None


def video_stream(container, path: Path):
    """The first video stream that is not a song's cover picture, decoded on all cores."""
    moving = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not moving:
        raise ValueError(f"{path}: expected a video (found no video stream): is it sound only?")
    moving[0].thread_type = "AUTO"
    return moving[0]


def stream_rate(stream) -> float:
    """Mean frames per second, as far as the file says."""
    return float(stream.average_rate or stream.guessed_rate or 25)


def evenly_spaced(frames: Iterable[av.VideoFrame], fps: float,
                  source_fps: float) -> Iterator[tuple[av.VideoFrame, float]]:
    """Frames at `fps`, each with the seconds up to which it is shown: number k is the last frame shown by time k / fps.

    Timestamps may be off by a quarter of a step. The last frame lasts 1 / source_fps; a video has at least one frame.
    """
    def first_slot(seconds: float) -> int:
        return math.ceil(seconds * fps - 0.25)

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
        yield from [(held, end)] * max(first_slot(end) - slot, int(slot == 0))


def upright(frame: av.VideoFrame, max_short_side: int | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as the container's rotation mark asks (phones store videos lying on the side)."""
    shrinking = min(1, (max_short_side or math.inf) / min(frame.height, frame.width))
    height, width = round(frame.height * shrinking), round(frame.width * shrinking)
    pixels = frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA" if shrinking < 1 else None)
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))


class Stored(NamedTuple):
    """A frame as its packet announces it."""
    pts: int                # in the stream's own units
    time: float             # seconds


def stored_frames(path: str | Path) -> list[Stored]:
    """The stored frame that is shown as number k of `frame_stream`, for every k; nothing is decoded."""
    path = existing_file(path, "video")
    try:
        with av.open(str(path)) as container:
            stream = video_stream(container, path)
            rate, unit = stream_rate(stream), stream.time_base
            packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
            if any(packet.pts is None for packet in packets):
                return [Stored(-1, 0.0) for _ in frame_stream(path)]            # must be counted, as it says no times
            stamps = sorted(packet.pts for packet in packets)
            frames = (Stored(pts, pts * unit.numerator / unit.denominator) for pts in stamps)
            return [frame for frame, _ in evenly_spaced(frames, rate, rate)]
    except av.FFmpegError as error:
        raise ValueError(f"{path}: expected a whole video ({error.strerror}): convert it to MP4") from None


def frames_at(path: str | Path, wanted: Sequence[int], stored: list[Stored] | None = None) -> np.ndarray:
    """Numbers `wanted` of `frame_stream`, (n, H, W, 3) uint8 RGB, upright, decoded from the keyframe before them on.

    stored: what `stored_frames` gave, where it is known already.
    """
    stored = stored_frames(path) if stored is None else stored
    if max(wanted) >= len(stored):
        raise ValueError(f"{path}: expected at least {max(wanted) + 1} frames (found {len(stored)}): make it anew")
    found = decoded_after_seeking(path, [stored[number].pts for number in wanted])
    if found is None:                       # a file that cannot be entered in the middle is read from its beginning
        needed = set(wanted)
        frames = {number: frame for number, frame in enumerate(islice(frame_stream(path), max(wanted) + 1))
                  if number in needed}
        if len(frames) < len(needed):
            raise ValueError(f"{path}: expected {len(stored)} frames (found fewer): make it anew")
        found = [frames[number] for number in wanted]
    return np.stack(found)


def decoded_after_seeking(path: str | Path, stamps: list[int]) -> list[np.ndarray] | None:
    """The pictures with these time stamps, decoded from the keyframe before them on; None where that gives not all."""
    found, needed = {}, set(stamps)
    try:
        with av.open(str(path)) as container:
            stream = video_stream(container, Path(path))
            container.seek(min(needed), stream=stream)
            for frame in container.decode(stream):
                if frame.pts in needed and not frame.is_corrupt:
                    found[frame.pts] = upright(frame)
                if len(found) == len(needed) or (frame.pts or 0) > max(needed):
                    break
    except av.FFmpegError:                  # damaged, or no index to seek by: reading it in order says which
        return None
    return [found[pts] for pts in stamps] if len(found) == len(needed) else None


def videos_in(folder: Path) -> dict[str, Path]:
    """Video files of a folder by stem; a clear error when there are none."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder of videos (found nothing): check the path")
    found = {path.stem: path for path in sorted(folder.iterdir())
             if path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".")}
    if not found:
        raise ValueError(f"{folder}: expected videos {', '.join(VIDEO_SUFFIXES)} (found none): check the path")
    return found


def announced_frames(path: Path) -> int:
    """How many frames a file says it has, without decoding it; 0 = it does not say."""
    try:
        with av.open(str(path)) as container:
            return video_stream(container, path).frames
    except av.FFmpegError as error:
        raise ValueError(f"{path}: expected a video ({error.strerror}): convert it to MP4 or leave it out") from None
