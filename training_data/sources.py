"""What can be cut into clips: video files, folders of numbered pictures (TikTok) and lists of links (HumanVid, UBC)."""
from __future__ import annotations

import csv
import hashlib
import http.client
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

import numpy as np

from media.files import entries, one_line, utf8_text
from media.images import is_picture, PICTURE_SUFFIXES, pictures_in, read_image, shrunk
from media.video_reader import frame_stream, probe, VIDEO_SUFFIXES

log = logging.getLogger(__name__)

NO_VIDEOS = (*PICTURE_SUFFIXES, ".txt", ".csv", ".json", ".jsonl", ".srt", ".vtt", ".md", ".html", ".pdf",
             ".npy", ".npz", ".wav", ".mp3", ".zip")                             # what lies beside videos in good order
PICTURE_FOLDERS = ("images", "frames")      # TikTok: 00001/images/0001.png beside 00001/masks and 00001/densepose
HASHED_BYTES = 1 << 20                      # bytes read at a time
NAME_COLUMNS = ("file", "video", "path", "url", "source", "name", "file_name", "videoid")
TEXT_COLUMNS = ("caption", "text", "prompt")
PERSON_COLUMNS = ("person", "identity", "subject")
ATTEMPTS = 3
TIMEOUT_SECONDS = 30
GONE = (400, 401, 403, 404, 405, 410, 451)       # answers that asking again will not change
WHOLE_ALREADY = 416                              # the rest was asked for and there is none


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
    elif path.is_file() and path.suffix.lower() not in NO_VIDEOS:
        yield Source(str(path.resolve()), "file")
    elif path.is_dir():
        yield from searched(path.resolve(), output)
    elif not path.exists():
        raise FileNotFoundError(f"{argument}: expected a folder, a video, a .txt list of links or a link "
                                "(found nothing): check the path")


def searched(root: Path, output: Path) -> Iterator[Source]:
    """Every video and folder of pictures below `root`; a `root` without videos may be one, whatever its name.

    Linked folders are entered, each once, unless `root` lies in them. Files of a kind nobody knows here are tried, so that the manifest names them.
    """
    entered = {output}
    for folder, subfolders, _ in os.walk(root, onerror=refuse, followlinks=True):
        here = Path(folder)
        if here.resolve() in entered or here != root and here.resolve() in root.resolve().parents:
            subfolders.clear()
            continue
        entered.add(here.resolve())
        files = [path.name for path in entries(here) if path.is_file()]
        videos = [file for file in files if Path(file).suffix.lower() in VIDEO_SUFFIXES]
        named = here.name in PICTURE_FOLDERS or (here == root and not videos)           # beside videos: thumbnails
        if named and sum(is_picture(file) for file in files) > 1:
            yield Source(str(here), "pictures")
        yield from (Source(str(here / file), "file") for file in files if Path(file).suffix.lower() not in NO_VIDEOS)


def refuse(error: OSError) -> None:
    """End with the folder that cannot be read."""
    raise ValueError(f"{error.filename}: expected a folder that can be read ({error.strerror}): check its permissions")


def is_link(text: str) -> bool:
    """Does the text begin like an address?"""
    return text.startswith(("http://", "https://"))


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
    return float(fps or probe(path).fps), frame_stream(path, fps=fps, max_short_side=short_side, strict=True)


def read_table(path: Path, columns: tuple[str, ...] = TEXT_COLUMNS) -> dict[str, str]:
    """Captions, or what else `columns` hold, by what the table calls the video: a path, a link, a file name with or
    without its ending."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a table of captions (found no file): check the path")
    if path.suffix.lower() not in TABLES:
        raise ValueError(f"{path}: expected a table of captions, {', '.join(TABLES)} (found '{path.suffix}')")
    captions = {}
    for number, row in enumerate(TABLES[path.suffix.lower()](StringIO(utf8_text(path), newline=""), path), start=1):
        if not row.keys() & set(NAME_COLUMNS) or not row.keys() & {*TEXT_COLUMNS, *PERSON_COLUMNS}:
            raise ValueError(f"{path}, row {number}: expected a column {' or '.join(NAME_COLUMNS[:3])} and a "
                             f"column {' or '.join(TEXT_COLUMNS)} (found {', '.join(map(str, row))})")
        name = next((str(row[column]) for column in NAME_COLUMNS if row.get(column)), None)
        text = next((one_line(str(row[column])) for column in columns if row.get(column)), None)
        if name and text:                               # a video without a caption is none to complain about
            captions[name] = text
    return captions


def rows_of_csv(file, path: Path) -> Iterator[dict]:
    """The rows as dicts with lower-case keys."""
    yield from ({str(key).strip().lower(): value for key, value in row.items()} for row in csv.DictReader(file))


def rows_of_jsonl(file, path: Path) -> Iterator[dict]:
    """The objects, one per line, with lower-case keys."""
    for number, line in enumerate(file, start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: expected one JSON object per line (found {error})") from None
        if isinstance(row, dict):
            yield {key.lower(): value for key, value in row.items()}
        elif row is not None:
            raise ValueError(f"{path}, line {number}: expected one JSON object per line (found a {type(row).__name__})")


def rows_of_json(file, path: Path) -> Iterator[dict]:
    """One object of name: caption, or a list of objects as in a .jsonl."""
    try:
        table = json.load(file)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON (found {error})") from None
    if isinstance(table, dict):
        table = [{NAME_COLUMNS[0]: name, TEXT_COLUMNS[0]: text} for name, text in table.items()]
    if not (isinstance(table, list) and all(isinstance(row, dict) for row in table)):
        raise ValueError(f"{path}: expected an object of name: caption, or a list of objects (found something else)")
    yield from ({key.lower(): value for key, value in row.items()} for row in table)


TABLES = {".csv": rows_of_csv, ".jsonl": rows_of_jsonl, ".json": rows_of_json}


def said_of(source: Source, table: dict[str, str]) -> str | None:
    """What a table says about a video, or None."""
    return next((table[name] for name in (source.name, Path(source.name).name, source.label) if name in table), None)


def caption_of(source: Source, table: dict[str, str]) -> str | None:
    """The caption of a video, or None."""
    if said := said_of(source, table):
        return said
    if source.kind == "link":
        return None
    path = Path(source.name)
    beside = path.parent.with_suffix(".txt") if source.kind == "pictures" and path.name != source.label \
        else path.with_suffix(".txt")
    if not beside.is_file():
        return None
    try:
        return one_line(utf8_text(beside)) or None
    except ValueError as error:
        log.warning("caption left out: %s", error)
        return None


class DeadLink(ValueError):
    """A link that gives no file; the message says why."""


def fetched(url: str, folder: Path, *, pause_seconds: float = 2.0) -> Path:
    """The file behind a link, in `folder` under a name made from the link; DeadLink when there is none.

    The file has its name only when whole. A part of it stays for the next attempt, in this run or a later one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    suffix = Path(urlsplit(url).path).suffix.lower() or ".mp4"
    path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}{suffix}"
    part = path.with_name(f"{path.name}.part")
    if path.is_file():
        return path
    problem = None
    for attempt in range(ATTEMPTS):
        time.sleep(pause_seconds * attempt)
        try:
            receive(url, part)
            os.replace(part, path)
            return path
        except HTTPError as error:
            if error.code == WHOLE_ALREADY:
                part.unlink(missing_ok=True)
            problem = f"HTTP {error.code} {error.reason}"
            if error.code in GONE:
                break
        except (URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            problem = str(getattr(error, "reason", error))
    raise DeadLink(f"{url}: expected a file ({problem})")


def receive(url: str, part: Path) -> None:
    """Append what is missing of a file to `part`, or begin anew where the server cannot go on from the middle."""
    arrived = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "prepare_dataset"} | ({"Range": f"bytes={arrived}-"} if arrived else {})
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS) as answer:
        goes_on = answer.status == 206
        with part.open("ab" if goes_on else "wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
        expected = answer.headers.get("Content-Length")
    size = part.stat().st_size - (arrived if goes_on else 0)
    if expected is not None and size != int(expected):
        raise http.client.IncompleteRead(b"", int(expected) - size)
