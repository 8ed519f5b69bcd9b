"""Pictures and videos: files ↔ (F, H, W, 3) uint8 RGB. Codecs, rotation and timestamps are PyAV's and Pillow's work."""
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from av.stream import Disposition
from PIL import Image, ImageOps, UnidentifiedImageError

from .checkpoint import save_atomically

log = logging.getLogger(__name__)

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
PORTRAIT = 9 / 16                                        # width / height of the published canvases
WHOLE = 0.9                                              # share of its announced length a video must have
X264 = {"preset": "medium", "x264-params": "cpu-independent=1"}     # the same bytes in every run, on every processor ...
X264_THREADS = 4                                         # ... and however many cores there are


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about itself, before decoding."""
    size: tuple[int, int]   # (height, width) as stored, before any rotation, pixels
    fps: float              # mean frames per second
    seconds: float          # 0 = the file does not say


def read_image(path: str | Path) -> np.ndarray:
    """A picture, (H, W, 3) uint8 RGB, turned as its EXIF mark asks; transparency becomes white."""
    path = existing_file(path, "picture")
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I;16"):                                            # convert() would cut at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return np.asarray(image.convert("RGB")).copy()
    except Image.DecompressionBombError as error:
        limit = 2 * Image.MAX_IMAGE_PIXELS / 1e6
        raise ValueError(f"{path}: expected a picture of at most {limit:.4g} megapixels ({error}): make it smaller") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path}: expected a whole picture ({error}): convert it to PNG or JPEG") from None


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


def existing_file(path: str | Path, kind: str) -> Path:
    """The path, if a file is there."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{str(path) or 'no name'}: expected a {kind} (found no file): check the path")
    return Path(path)


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
    first_slot = lambda seconds: math.ceil(seconds * fps - 0.25)
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


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float, *, crf: int = 18) -> Path:
    """H.264 (yuv420p, plays everywhere); the file appears whole or not at all, and equal frames give equal bytes.

    frames: (H, W, 3) uint8 RGB each.
    crf: 0 (no loss) to 51; 18 looks lossless. The codec needs even sizes: an odd last row or column is doubled.
    """
    path = Path(path)
    if path.suffix.lower() not in CONTAINERS:
        raise ValueError(f"{path}: expected a name ending in {', '.join(CONTAINERS)} (found '{path.suffix}')")
    if not fps > 0:
        raise ValueError(f"fps: expected more than 0 (found {fps})")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_atomically(path, lambda temporary: encode(temporary, CONTAINERS[path.suffix.lower()], frames, fps, crf))
    return path


def encode(path: Path, container_format: str, frames: Iterable[np.ndarray], fps: float, crf: int) -> None:
    """Write all frames to one file."""
    stream = None
    with av.open(str(path), "w", format=container_format) as container:
        for frame in frames:
            if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3:
                raise ValueError(f"frames: expected uint8 RGB (H, W, 3) each (found {frame.dtype} {frame.shape})")
            even = np.pad(frame, [(0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)], mode="edge")
            if stream is None:
                stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001),
                                              options=X264 | {"crf": str(crf)})
                stream.height, stream.width, stream.pix_fmt = *even.shape[:2], "yuv420p"
                stream.thread_type, stream.codec_context.thread_count = "FRAME", X264_THREADS
            if even.shape[:2] != (stream.height, stream.width):
                raise ValueError(f"frames: expected one size {stream.height}x{stream.width} "
                                 f"(found {even.shape[0]}x{even.shape[1]} too)")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")))
        if stream is None:
            raise ValueError("frames: expected at least one (found none)")
        container.mux(stream.encode())


def canvas_size(image_size: tuple[int, int], short_side: int = 576) -> tuple[int, int]:
    """MimicMotion's canvas (height, width) for a picture: about 9:16, upright when the picture is; 576 → 1024x576."""
    long_side = int(short_side / PORTRAIT // 64) * 64
    return (long_side, short_side) if image_size[0] > image_size[1] else (short_side, long_side)


def cover_geometry(image_size: tuple[int, int], size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Resized (height, width) that just covers `size`, and the centre crop's (top, left), as MimicMotion rounds them."""
    (target_height, target_width), aspect = size, image_size[0] / image_size[1]
    if aspect < target_height / target_width:
        resized = target_height, math.ceil(target_height / aspect)
    else:
        resized = math.ceil(target_width * aspect), target_width
    return resized, tuple(round((length - target) / 2) for length, target in zip(resized, size))


def fit_to_canvas(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture scaled to cover `size` (height, width) and cropped around its centre, (H, W, 3) uint8.

    Shrinking averages areas; the published code shrinks without a low-pass, so that large photographs alias.
    """
    (height, width), (top, left) = cover_geometry(image.shape[:2], size)
    smaller = height < image.shape[0]
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.ascontiguousarray(resized[top:top + size[0], left:left + size[1]])
