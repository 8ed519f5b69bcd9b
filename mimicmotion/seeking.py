"""Some frames of a video without decoding all: the packets say where each lies, decoding starts at a keyframe."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from .video import evenly_spaced, existing_file, frame_stream, stream_rate, upright, video_stream


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


def frames_shown(path: str | Path, stored: list[Stored], wanted: Sequence[int]) -> np.ndarray:
    """Numbers `wanted` of `frame_stream`, (n, H, W, 3) uint8 RGB, upright. stored: what `stored_frames` gave."""
    found = sought(path, [stored[number].pts for number in wanted])
    if found is None:                       # a file that cannot be entered in the middle is read from its beginning
        needed = set(wanted)
        frames = {number: frame for number, frame in enumerate(islice(frame_stream(path), max(wanted) + 1))
                  if number in needed}
        if len(frames) < len(needed):
            raise ValueError(f"{path}: expected {len(stored)} frames (found fewer): make it anew")
        return np.stack([frames[number] for number in wanted])
    return np.stack(found)


def sought(path: str | Path, stamps: list[int]) -> list[np.ndarray] | None:
    """The pictures of these stamps, decoded from the keyframe before them on; None where that does not give all."""
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
