"""Frames whose every turn, order and level can be told apart, for the tests of video and picture files."""
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

LEVELS = (0, 60, 120, 180, 240)                                                # one grey level per frame


def grey_frames(levels=LEVELS, size=(32, 48)) -> np.ndarray:
    return np.stack([np.full((*size, 3), level, np.uint8) for level in levels])


def levels_of(frames: np.ndarray) -> list[int]:
    """The grey levels of frames, rounded to the nearest one used here."""
    return [min(LEVELS, key=lambda level: abs(level - frame.mean())) for frame in frames]


def quadrants() -> np.ndarray:
    """Red, green / blue, white: every rotation and mirror image looks different."""
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :24], picture[:16, 24:] = (255, 0, 0), (0, 255, 0)
    picture[16:, :24], picture[16:, 24:] = (0, 0, 255), (255, 255, 255)
    return picture


def huge_png(path: Path, side: int = 30_000) -> None:
    """A picture whose header says side x side; hardly anything follows."""
    Image.new("1", (8, 8)).save(path, "PNG")
    data = bytearray(path.read_bytes())
    data[16:24] = side.to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    path.write_bytes(data)
