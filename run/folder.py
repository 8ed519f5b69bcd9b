"""The run folder: each stage's result, taken from the last run where its inputs are the same, and report.json beside them."""
import hashlib
import json
import logging
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from media.files import one_line, save_atomically, save_text
from runtime.device import GIB

log = logging.getLogger(__name__)

SAMPLING_SECONDS = 0.05
EDGE_BYTES = 32 << 20     # of files larger than two edges only these first and last bytes are hashed
# What people look at, in the order in which a run makes it; and where in it a stage's own begins. The plan, the motion and the skeleton
# decide all of it; a picture may still be refused, and what it changes is seen in the skeleton and in what the later stages are given.
SHOWN = ("preview.mp4", "motion.bvh"), ("poses.mp4",), ("video.mp4", "animation.gif", "storyboard.png", "run.zip")
SHOWN_FROM = dict.fromkeys(("person", "people", "reference", "preview"), len(SHOWN)) | {"poses": 1, "video": 2, "seen": 2, "refined": 2}
WRITTEN = [name for names in SHOWN for name in names]
STAGE_FILES = "plan.json", "motion.npz", "skeleton.npz", "reference.npz", "person.npz", "people.json", "seen_*.npz", "frames/*.mkv", "report.json"


@dataclass
class StageEntry:
    """One row of the closing table."""
    name: str
    file: str                        # the stage's result, in the run folder
    seconds: float = 0.0             # wall clock
    peak_memory: int = 0             # bytes of the process (resident), highest while the stage ran
    peak_gpu_memory: int = 0         # bytes of torch tensors on the GPU, highest while the stage ran; 0 without one
    reused: bool = False             # taken from the run folder


class WarningList(logging.Handler):
    """Keeps the text of every warning logged during a run."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@dataclass
class Report:
    """Everything report.json says about a run."""
    stages: list[StageEntry] = field(default_factory=list)
    warnings: WarningList = field(default_factory=WarningList)
    facts: dict[str, Any] = field(default_factory=dict)      # what stages found out: by name, what json can hold
    ahead: float = 0.0                                       # seconds of work for the stage that comes next

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Every warning logged inside is kept."""
        logging.getLogger().addHandler(self.warnings)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(self.warnings)

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Times what happens inside as a part of the stage that comes next."""
        start = time.perf_counter()
        yield
        self.ahead += time.perf_counter() - start

    @contextmanager
    def stage(self, name: str, file: str) -> Iterator[StageEntry]:
        """Times what happens inside and watches its memory."""
        entry = StageEntry(name, file)
        self.stages.append(entry)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        with MemoryWatch() as watch:
            start, self.ahead = time.perf_counter() - self.ahead, 0.0
            try:
                yield entry
            finally:
                entry.seconds = round(time.perf_counter() - start, 3)
        entry.peak_memory = watch.peak
        entry.peak_gpu_memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0

    def as_dict(self) -> dict:
        return {"seconds": round(sum(entry.seconds for entry in self.stages), 3),
                "stages": [asdict(entry) for entry in self.stages], "warnings": self.warnings.messages} | self.facts

    def table(self) -> str:
        """The closing table: one line per stage, seconds and GiB."""
        gpu = any(entry.peak_gpu_memory for entry in self.stages)
        lines = [f"{'stage':<14}{'file':<20}{'seconds':>9}{'peak GiB':>10}" + (f"{'GPU GiB':>9}" if gpu else "")]
        for entry in self.stages:
            memory = f"{entry.peak_memory / GIB:>10.2f}" + (f"{entry.peak_gpu_memory / GIB:>9.2f}" if gpu else "")
            lines.append(f"{entry.name:<14}{entry.file:<20}{entry.seconds:>9.1f}{memory}" + ("  reused" if entry.reused else ""))
        peak = max((entry.peak_memory for entry in self.stages), default=0) / GIB
        lines.append(f"{'in all':<34}{sum(entry.seconds for entry in self.stages):>9.1f}{peak:>10.2f}")
        return "\n".join(lines)


class MemoryWatch:
    """Samples this process' resident memory from a thread; `peak` is the highest value seen, bytes."""

    def __enter__(self):
        self.process, self.stop = psutil.Process(), threading.Event()
        self.peak = self.process.memory_info().rss
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.stop.wait(SAMPLING_SECONDS):
            self.peak = max(self.peak, self.process.memory_info().rss)

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.peak = max(self.peak, self.process.memory_info().rss)


@dataclass(frozen=True)
class Artefact:
    """How one kind of stage result lies on disk. save and load are exact: what is loaded equals what was saved."""
    name: str                                 # file name in the run folder
    save: Callable[[Any, Path], None]
    load: Callable[[Path], Any]
    editable: bool = True                     # by hand, between two runs; another file in place of any other is made anew


class RunFolder:
    """`outputs/<name>/`. `stage(...)` does a stage's work, or with resume=True takes its file from the last run.

    A file is taken when the stage's inputs (settings, weights, results of earlier stages) hash to what they were. The
    results themselves are hashed, so plan.json or skeleton.npz may be edited by hand: every later stage follows, and where
    the stage is made anew the edited file is kept beside, as plan.edited.json. After an update of this repository a stage
    whose code changed is made anew, and a warning says so. Videos and pictures that show another result than the folder
    now holds are removed; the frames without loss, from which they are made, stay.

    code: the files (Python modules, or folders of them) that decide each stage's result, by the stage's name up to a
    number at its end; the stages named in none depend on their inputs alone.
    """

    def __init__(self, path: Path, resume: bool, report: Report, code: Mapping[str, Sequence[Path]] | None = None):
        self.path, self.resume, self.report, self.is_new, self.code = path, resume, report, not path.exists(), code or {}
        for name in (*WRITTEN, "report.json", "run.yaml", "frames/video.mkv"):
            check_place(path / name)
        path.mkdir(parents=True, exist_ok=True)
        self.keys = read_report(path, "keys", dict)                           # stage -> hash of its file's inputs
        self.files = read_report(path, "files", dict)                         # file -> hash of its content
        self.written = self.files | read_report(path, "written", dict)        # file -> hash of its content as a run wrote it
        self.made: set[str] = set()                                           # files of this run
        self.shown = len(SHOWN)                                               # from here on nothing in SHOWN is an earlier run's
        self.stale = False                                                    # what SHOWN holds shows another plan, motion or skeleton
        if read_report(path, "stale", bool):                                  # the last run was killed before it removed them
            self._remove_shown(0)
        if not resume and any((path / name).exists() for name in WRITTEN):
            log.info("%s: the run that is there is made anew: name=another keeps it, resume=true goes on from it", path)

    def stage(self, name: str, artefact: Artefact, work: Callable[[], Any], *inputs: Any) -> Any:
        """The stage's result: loaded when unchanged, otherwise worked out, saved, and read back if it may be edited."""
        path, key, before = self.path / artefact.name, content_hash([name, *inputs]), self.keys.get(name)
        check_place(path)
        kind, code = name.rstrip("_0123456789"), f"{name}, code"
        code_key, rank = code_hash(self.code.get(kind, ())), SHOWN_FROM.get(kind, 0)
        if 0 < rank < len(SHOWN):
            self._remove_stale()
        with self.report.stage(name, artefact.name) as entry:
            entry.reused = self.resume and before == key and path.is_file() and not (rank and self.stale)
            if entry.reused and self.keys.get(code) != code_key:
                log.warning("%s: made anew, as the code of this stage has changed since", name)
                entry.reused = False
            if entry.reused and not artefact.editable and self.files.get(artefact.name) != content_hash(path):
                log.warning("%s: is not the file that was written: made anew", path)
                entry.reused = False
            if not entry.reused:
                if rank and before not in (None, key):
                    self._remove_shown(rank)
                self.keys.pop(name, None)
                result = work()
                if rank:
                    self._remove_stale()              # only now: what is new was not refused
                if artefact.editable:
                    self._keep_edited(artefact.name)
                save_atomically(path, lambda partial: self._save(artefact, result, partial))
            if entry.reused or artefact.editable:     # what nobody may edit is frames, which come back bit for bit
                result = self._read(artefact, path)   # also when just saved: going on now equals going on later
        content = content_hash(path)
        if content != self.files.get(artefact.name):
            if rank:
                self._remove_shown(rank + 1)                      # what this stage itself shows is new
            else:
                self.stale = True
        self.keys |= {name: key, code: code_key}
        self.files[artefact.name] = content
        self.made.add(artefact.name)
        self.write_report()
        return result

    def _save(self, artefact: Artefact, result: Any, partial: Path) -> None:
        """Writes a result. That it is a run's is in report.json before it has its name: a run may be killed right after, and nobody edited it."""
        artefact.save(result, partial)
        self.written[artefact.name] = content_hash(partial)
        self.write_report()

    def _read(self, artefact: Artefact, path: Path) -> Any:
        """The result in a file, which a person may have edited."""
        try:
            return artefact.load(path)
        except Exception as error:                          # whatever a reader makes of a file that may hold anything
            said = one_line(error).removeprefix(f"{path}: ").removeprefix(f"{path.name}: ")
            if isinstance(error, ValueError) and re.search(r"expected .*: \S", said):          # one of ours: says already what to do
                raise ValueError(f"{path}: {said.removesuffix(', or delete the file')}, or delete the file, and it is made again") from error
            raise ValueError(f"{path}: expected what this stage wrote ({said}): mend it, or delete it, and it is made again") from error

    def _keep_edited(self, name: str) -> None:
        """Gives a file that is not as a run wrote it another name, before it is written over or removed."""
        path = self.path / name
        if not path.is_file() or content_hash(path) == self.written.get(name):
            return
        names = (path.with_name(f"{path.stem}.edited{number or ''}{path.suffix}") for number in (0, *range(2, 10_000)))
        kept = next(place for place in names if not place.exists())
        path.rename(kept)
        log.warning("%s: was edited, and no longer fits the run: kept as %s", path, kept.name)

    def _remove_stale(self) -> None:
        if self.stale:
            self._remove_shown(0)
            self.stale = False

    def _remove_shown(self, rank: int) -> None:
        """Removes what people look at and an earlier run made, from this place in SHOWN on."""
        files = [self.path / name for names in SHOWN[rank:self.shown] for name in names]
        gone = [file.name for file in files if file.exists()]
        self.shown = min(rank, self.shown)
        for name in gone:
            (self.path / name).unlink()
        if gone:
            log.info("%s: %s removed: made from what has changed since", self.path, ", ".join(gone))

    def write_report(self) -> None:
        """report.json: seconds, memory and warnings so far, and the hashes that resume compares."""
        content = self.report.as_dict() | {"keys": self.keys, "files": self.files, "written": self.written, "stale": self.stale}
        save_text(self.path / "report.json", json.dumps(content, indent=2) + "\n")

    def remove_if_new(self) -> None:
        """Takes back the folder of a run that was refused; one that was there before stays as it is."""
        if self.is_new:
            shutil.rmtree(self.path)

    def finish(self) -> None:
        """Removes files of stages that an overwritten run had and this one did not; a resumed one may come back to them.

        What somebody else removed of this run's meanwhile is told.
        """
        self._remove_stale()
        if gone := sorted(name for name in self.made if not (self.path / name).exists()):
            log.warning("%s: %s removed during the run, by something else: the same command makes them again", self.path, ", ".join(gone))
        if not self.resume:
            for name in self.files.keys() - self.made:
                if (path := self.path / name).resolve().is_relative_to(self.path.resolve()):          # report.json may hold anything
                    self._keep_edited(name)
                    path.unlink(missing_ok=True)
            self.files, self.written = ({name: content for name, content in hashes.items() if name in self.made}
                                        for hashes in (self.files, self.written))
        self.write_report()


def check_place(path: Path) -> None:
    """A file can be written here: no folder has its name, no file that of its folder."""
    if path.is_dir():
        raise ValueError(f"{path}: expected a file (found a folder): move it away, or choose another name=")
    if path.parent.exists() and not path.parent.is_dir():
        raise ValueError(f"{path.parent}: expected a folder (found a file): move it away, or choose another name=")


def check_nobody_elses(folder: Path) -> None:
    """A run is in the folder, or none of the files that a run writes: those would be somebody's own."""
    if holds_run(folder):
        return
    for pattern in (*WRITTEN, *STAGE_FILES):
        for found in sorted(path for path in folder.glob(pattern) if path.is_file()):
            raise ValueError(f"{folder}: expected a folder of a run, or one without its files (found {found.relative_to(folder)}, which no run "
                             "wrote): choose another name=")


def holds_run(folder: Path) -> bool:
    """Whether a run left its run.yaml or report.json in the folder."""
    settings = folder / "run.yaml"
    lines = settings.read_text(encoding="utf-8", errors="replace").splitlines() if settings.is_file() else []
    is_settings = all(any(line.startswith(key) for line in lines) for key in ("image:", "prompt:"))
    return is_settings or bool(read_report(folder, "keys", dict) and read_report(folder, "stages", list))


def read_report(folder: Path, part: str, kind: type[dict] | type[list] | type[bool]) -> dict | list | bool:
    """What an earlier run left in a part of report.json; an empty one where that is of another kind, or cannot be read."""
    try:
        found = json.loads((folder / "report.json").read_bytes())[part]
    except (FileNotFoundError, ValueError, RecursionError, KeyError, TypeError):
        return kind()
    return found if isinstance(found, kind) else kind()


def code_hash(sources: Sequence[Path]) -> str:
    """SHA-256 over Python files and those in folders, whatever their place on the disk."""
    files = [file for source in sources for file in (sorted(source.rglob("*.py")) if source.is_dir() else [source])]
    return content_hash([[file.name, file] for file in files])


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
