"""Videos whose people are white rectangles, a pose detector that finds them, and what preparing them gives."""
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dwpose.skeleton import Skeleton
from training_data.folder import DataFolder
from training_data.preparing import Preparation, PrepareSettings
from training_data.sources import discover

SETTINGS = PrepareSettings(short_side=64, min_side=48, min_seconds=0.5, max_seconds=2.0, min_motion=0.001)
FPS = 10.0


def bright(frame: np.ndarray) -> np.ndarray:
    """Boxes (n, 5) of the white rectangles on a frame, left to right."""
    columns = np.flatnonzero((frame.min(axis=-1) > 200).sum(axis=0) > 4)
    runs = np.split(columns, np.flatnonzero(np.diff(columns) > 1) + 1) if len(columns) else []
    boxes = []
    for run in runs:
        rows = np.flatnonzero((frame[:, run].min(axis=-1) > 200).sum(axis=1) > 1)
        boxes.append([run[0], rows[0], run[-1] + 1, rows[-1] + 1, 0.9])
    return np.array(boxes, np.float32).reshape(-1, 5)


@dataclass(frozen=True)
class WhiteRectangles:
    """A detector for videos whose people are white rectangles; slow, so that it can be killed at work."""

    people: Any = lambda frames: [bright(frame) for frame in frames]
    seconds: float = 0.0

    def find_with_boxes(self, frames: np.ndarray, fps: float, *, source: str) -> tuple[Skeleton, list[np.ndarray]]:
        time.sleep(self.seconds)
        boxes = self.people(frames)
        if not any(map(len, boxes)):
            raise ValueError(f"{source}: no person found")
        keypoints, places = np.zeros((len(frames), 133, 3), np.float32), np.random.default_rng(0).random((133, 2))
        for frame, found in enumerate(boxes):
            if len(found):
                keypoints[frame, :, :2] = found[0, :2] + places * (found[0, 2:4] - found[0, :2])
                keypoints[frame, :, 2] = 0.9
        return Skeleton(keypoints, frames.shape[1:3], fps), boxes


def person(num_frames: int = 12, *, shade: int = 90, step: int = 2, people: int = 1) -> np.ndarray:
    """White rectangles that walk right on a plain wall, (F, 64, 96, 3) uint8."""
    frames = np.full((num_frames, 64, 96, 3), (shade, 120, 60), np.uint8)
    for index, frame in enumerate(frames):
        for which in range(people):
            left = 6 + 30 * which + step * index % 20
            frame[10:56, left:left + 14] = 255
    return frames


def prepared(folder: Path, arguments: list, **named) -> list[dict]:
    """The manifest's lines after preparing the arguments with the stand-in detector."""
    data = DataFolder(folder)
    data.claim(asdict(SETTINGS))
    work = Preparation(data, named.pop("detector", WhiteRectangles()), SETTINGS, named.pop("captions", {}), **named)
    for source in discover(list(map(str, arguments)), folder):
        work(source)
    return data.write_manifest()


def reasons(lines: list[dict]) -> Counter:
    return Counter(line.get("skip", "kept") for line in lines)
