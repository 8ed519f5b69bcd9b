"""What can be cut into clips: video files, folders of numbered pictures (TikTok) and lists of links (HumanVid, UBC)."""
from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np

from mimicmotion.clips import VIDEO_SUFFIXES
from mimicmotion.video import frame_stream, probe, read_image

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
PICTURE_FOLDERS = ("images", "frames")      # TikTok: 00001/images/0001.png beside 00001/masks and 00001/densepose
HASHED_BYTES = 1 << 20                      # bytes read at a time


@dataclass(frozen=True)
class Source:
    """One video: `name` is an absolute path or a link, `kind` one of file, pictures, link."""

    name: str
    kind: str

    @property
    def label(self) -> str:
        """What captions call it: the file's name without its ending; for 00001/images it is 00001."""
        path = Path(unquote(urlsplit(self.name).path)) if self.kind == "link" else Path(self.name)
        if self.kind == "pictures":
            return path.parent.name if path.name in PICTURE_FOLDERS else path.name
        return path.stem


def discover(arguments: list[str], output: Path) -> list[Source]:
    """All videos the arguments stand for, in the order of their names; what lies in `output` is no source."""
    found: dict[str, Source] = {}
    for argument in arguments:
        sources = list(sources_of(argument, output.resolve()))
        if not sources:
            raise ValueError(f"{argument}: expected videos ({', '.join(VIDEO_SUFFIXES)}), folders of pictures named "
                             f"{' or '.join(PICTURE_FOLDERS)}, or a .txt list of links (found none): check the path")
        found |= {source.name: source for source in sources}
    return [found[name] for name in sorted(found)]


def sources_of(argument: str, output: Path) -> Iterator[Source]:
    """A link, a list of links, a video, a folder of pictures, or a folder to search."""
    path = Path(argument)
    if is_link(argument):
        yield Source(argument, "link")
    elif path.is_file() and path.suffix.lower() == ".txt":
        lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
        yield from (Source(line, "link") for line in lines if is_link(line))
    elif path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES:
        yield Source(str(path.resolve()), "file")
    elif path.is_dir():
        yield from searched(path.resolve(), output)
    elif not path.exists():
        raise FileNotFoundError(f"{argument}: expected a folder, a video, a .txt list of links or a link "
                                "(found nothing): check the path")


def searched(root: Path, output: Path) -> Iterator[Source]:
    """Every video and folder of pictures below `root`; a `root` without videos may be one, whatever its name."""
    for folder, subfolders, files in os.walk(root, onerror=_refuse):
        here = Path(folder)
        if here == output:
            subfolders.clear()
            continue
        videos = [file for file in files if Path(file).suffix.lower() in VIDEO_SUFFIXES and not file.startswith(".")]
        named = here.name in PICTURE_FOLDERS or (here == root and not videos)           # beside videos: thumbnails
        if named and sum(is_picture(file) for file in files) > 1:
            yield Source(str(here), "pictures")
        yield from (Source(str(here / file), "file") for file in videos)


def _refuse(error: OSError) -> None:
    raise ValueError(f"{error.filename}: expected a folder that can be read ({error.strerror}): check its permissions")


def is_link(text: str) -> bool:
    return text.startswith(("http://", "https://"))


def is_picture(name: str) -> bool:
    return name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(".")


def pictures_in(folder: Path) -> list[Path]:
    """A folder's pictures in the order of the numbers in their names."""
    number = lambda path: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]
    return sorted((path for path in folder.iterdir() if is_picture(path.name)), key=number)


def stamp(path: Path) -> list[int]:
    """[bytes, newest change in ns, number of files]: an unchanged stamp means unchanged content."""
    files = [file.stat() for file in (pictures_in(path) if path.is_dir() else [path])]
    return [sum(file.st_size for file in files), max((file.st_mtime_ns for file in files), default=0), len(files)]


def content_key(path: Path) -> str:
    """Sixteen hex digits of SHA-256 over a file's bytes, or over all pictures of a folder."""
    digest = hashlib.sha256()
    for file in pictures_in(path) if path.is_dir() else [path]:
        with file.open("rb") as stream:
            while block := stream.read(HASHED_BYTES):
                digest.update(block)
    return digest.hexdigest()[:16]


def frames_of(path: Path, short_side: int, fps: float | None, picture_fps: float) -> tuple[float, Iterator[np.ndarray]]:
    """Frames per second, and the frames (H, W, 3) uint8 RGB one after the other, shrunk to `short_side` if larger.

    fps: resample a video to this rate, None keeps its own; picture_fps: the rate of a folder of pictures.
    """
    if path.is_dir():
        return picture_fps, (shrunk(read_image(picture), short_side) for picture in pictures_in(path))
    return float(fps or probe(path).fps), frame_stream(path, fps=fps, max_short_side=short_side)


def shrunk(frame: np.ndarray, short_side: int) -> np.ndarray:
    """The frame with its shorter side at most `short_side` pixels."""
    factor = short_side / min(frame.shape[:2])
    if factor >= 1:
        return frame
    height, width = (round(side * factor) for side in frame.shape[:2])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
