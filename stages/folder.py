"""The run folder: one file per stage, each written whole or not at all, and reused when no input of it changed."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from stages.report import Report

EDGE_BYTES = 32 << 20     # of files larger than two edges only these first and last bytes are hashed


@dataclass(frozen=True)
class Artefact:
    """How one kind of stage result lies on disk. save and load are exact: what is loaded equals what was saved."""
    name: str                                 # file name in the run folder
    save: Callable[[Any, Path], None]
    load: Callable[[Path], Any]


class RunFolder:
    """`outputs/<name>/`. `stage(...)` does a stage's work, or with resume=True takes its file from the last run.

    A file is taken when the stage's inputs (settings, weights, results of earlier stages) hash to what they were. The
    results themselves are hashed, so plan.json or skeleton.npz may be edited by hand: every later stage follows. The
    code is no input: after an update of this repository, a run without resume makes everything anew.
    """

    def __init__(self, path: Path, resume: bool, report: Report):
        self.path, self.report = path, report
        path.mkdir(parents=True, exist_ok=True)
        self.keys: dict[str, str] = read_keys(path) if resume else {}         # stage -> hash of its file's inputs
        self.used: dict[str, str] = {}

    def stage(self, name: str, artefact: Artefact, work: Callable[[], Any], *inputs: Any) -> Any:
        """The stage's result: loaded when unchanged, otherwise worked out, saved, and read back."""
        path, key = self.path / artefact.name, content_hash([name, *inputs])
        with self.report.stage(name, artefact.name) as entry:
            entry.reused = self.keys.get(name) == key and path.is_file()
            if not entry.reused:
                self.keys.pop(name, None)
                result = work()
                write_whole(path, lambda partial: artefact.save(result, partial))
            result = artefact.load(path)          # also when just saved: going on now equals going on later
        self.keys[name] = self.used[name] = key
        self.write_report()
        return result

    def write_report(self) -> None:
        """report.json: seconds, memory and warnings so far, and the keys that resume compares."""
        content = self.report.as_dict() | {"keys": self.keys}
        write_whole(self.path / "report.json", lambda partial: partial.write_text(json.dumps(content, indent=2) + "\n"))

    def finish(self) -> None:
        """Forgets stages of earlier runs that this one did not have."""
        self.keys = dict(self.used)
        self.write_report()


def read_keys(folder: Path) -> dict[str, str]:
    """What an earlier run left; a folder without a readable report starts anew."""
    try:
        keys = json.loads((folder / "report.json").read_text())["keys"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return {}
    return keys if isinstance(keys, dict) else {}


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary file beside `path`, then gives it its name: readers see the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial.{os.getpid()}.{path.name}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def content_hash(value: Any) -> str:
    """SHA-256 over the content of nested settings, arrays, dataclasses and files (a Path stands for its content)."""
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest, value: Any) -> None:
    digest.update(type(value).__name__.encode())
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data if value.size else b"")
    elif is_dataclass(value):
        for field in fields(value):
            _feed(digest, [field.name, getattr(value, field.name)])
    elif isinstance(value, dict):
        _feed(digest, [list(item) for item in sorted(value.items())])
    elif isinstance(value, (list, tuple)):
        digest.update(f"{len(value)}".encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, Path):
        for file in sorted(path for path in ([value] if value.is_file() else value.rglob("*")) if path.is_file()):
            digest.update(str(file.relative_to(value)).encode())
            _feed_file(digest, file)
    elif value is None or isinstance(value, (str, int, float, bool)):
        digest.update(repr(value).encode())
    else:
        raise TypeError(f"cannot hash a {type(value).__name__}")


def _feed_file(digest, path: Path) -> None:
    size = path.stat().st_size
    digest.update(f"{size}".encode())
    with path.open("rb") as file:
        digest.update(file.read(EDGE_BYTES) if size > 2 * EDGE_BYTES else file.read())
        if size > 2 * EDGE_BYTES:
            file.seek(-EDGE_BYTES, os.SEEK_END)
            digest.update(file.read())


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
