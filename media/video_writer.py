"""Frames (F, H, W, 3) uint8 RGB to video files: H.264 to look at, FFV1 without loss, and a stream written meanwhile."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from queue import Queue

import av
import numpy as np

from media.files import save_atomically

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
ANIMATIONS = (".gif", ".webp")
X264 = {"preset": "medium", "x264-params": "cpu-independent=1"}     # the same bytes in every run, on every processor ...
X264_THREADS = 4                                       # ... and however many cores there are
COLOUR = 6, 1, 1, 13        # ITU-T H.273: BT.601's matrix as swscale uses it, limited range, sRGB's primaries and transfer
WINDOWS_AHEAD = 4                                      # that wait for the codec; then their maker waits
ABANDONED = object()                                   # in place of the frames that do not come any more


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float, *, crf: int = 18) -> Path:
    """H.264 (yuv420p, plays everywhere); the file appears whole or not at all, and equal frames give equal bytes.

    A name in .gif or .webp gives a looping animation instead, for pages.

    frames: (H, W, 3) uint8 RGB each.
    crf: 0 (no loss) to 51; 18 looks lossless. The codec needs even sizes: an odd last row or column is doubled.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (*CONTAINERS, *ANIMATIONS):
        raise ValueError(f"{path}: expected a name ending in {', '.join((*CONTAINERS, *ANIMATIONS))} (found '{path.suffix}')")
    if not fps > 0:
        raise ValueError(f"fps: expected more than 0 (found {fps})")
    if suffix in CONTAINERS:
        save_atomically(path, lambda temporary: encode(temporary, CONTAINERS[suffix], frames, fps, crf))
    else:
        save_atomically(path, lambda temporary: animate(temporary, suffix, frames, fps))
    return path


def animate(path: Path, suffix: str, frames: Iterable[np.ndarray], fps: float) -> None:
    """Write all frames to one looping GIF or WebP."""
    from imageio import v3 as imageio

    animation = imageio.imwrite("<bytes>", np.stack(list(frames)), plugin="pillow", extension=suffix, duration=1000 / fps, loop=0)
    path.write_bytes(animation)                        # imageio itself would try a second time where the disk is full


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
                codec = stream.codec_context
                codec.colorspace, codec.color_range, codec.color_primaries, codec.color_trc = COLOUR
                codec.thread_type, codec.thread_count = "FRAME", X264_THREADS
            if even.shape[:2] != (stream.height, stream.width):
                raise ValueError(f"frames: expected one size {stream.height}x{stream.width} "
                                 f"(found {even.shape[0]}x{even.shape[1]} too)")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")))
        if stream is None:
            raise ValueError("frames: expected at least one (found none)")
        container.mux(stream.encode())


class StreamingVideoWriter:
    """Within the context, encodes frames in a thread of its own while others are made: `write(frames)`, in order.

    The file appears whole when the context ends. After an error in the context, or in the encoding, which is raised at
    its end, there is no new file; nor is there one where nothing was written. A writer may be used again.
    """

    def __init__(self, path: Path, fps: float):
        self.path, self.fps = path, fps
        self.num_frames = 0                            # in the finished file; 0: there is none

    def __enter__(self) -> StreamingVideoWriter:
        self._windows: Queue = Queue(WINDOWS_AHEAD)
        self._thread = ThreadPoolExecutor(1)
        self._encoding, self._queued, self.num_frames = None, 0, 0
        return self

    def write(self, frames: np.ndarray) -> None:
        """frames: (K, H, W, 3) uint8 RGB. Waits while too many are on their way to the codec."""
        if self._encoding is None:
            self._encoding = self._thread.submit(self._encode)
        self._windows.put(frames)
        self._queued += len(frames)

    def __exit__(self, kind, error, traceback) -> None:
        if self._encoding is not None:
            self._windows.put(None if kind is None else ABANDONED)
        self._thread.shutdown()
        if kind is None and self._encoding is not None:
            self._encoding.result()
            self.num_frames = self._queued

    def _encode(self) -> None:
        frames = self._frames()
        try:
            write_video(self.path, frames, self.fps)
        finally:
            for _ in frames:                           # after an error: nobody is to wait for room in the queue
                pass

    def _frames(self) -> Iterator[np.ndarray]:
        while (window := self._windows.get()) is not None:
            if window is ABANDONED:
                raise RuntimeError(f"{self.path}: abandoned")
            yield from window


def save_frames(frames: np.ndarray, path: Path) -> None:
    """(F, H, W, 3) uint8 RGB -> FFV1 video, every bit kept; the .mp4 beside it is for people."""
    with av.open(str(path), "w", format="matroska", options={"fflags": "bitexact"}) as container:      # no random id
        stream = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "bgr0"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def load_frames(path: Path) -> np.ndarray:
    """Frames of `save_frames`, bit for bit: (F, H, W, 3) uint8 RGB."""
    try:
        with av.open(str(path)) as container:
            container.streams.video[0].thread_type = "AUTO"
            return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    except (av.FFmpegError, ValueError, IndexError) as error:
        raise ValueError(f"{path}: cannot be read back ({error}): delete it, resume=true makes it again") from error
