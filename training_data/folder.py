"""A prepared data folder: its settings, one record per video, one per piece of it, and the manifest made of them.

    dataset.json       the settings it was made with
    sources/*.json     one per video: which pieces it was cut into, or why it could not be
    pieces/*.json      one per piece, named by content: its numbers, or the reason it is left out
    clips/*.mp4        the pieces that stayed
    skeletons/*.npz    their poses, every point with its confidence
    manifest.jsonl     a line per clip and a line per skip, made anew from the records at the end of every run
    summary.html, contact_sheet.png

Every file appears whole or not at all and its name says what it holds, so that a run that was killed is finished by
running it again, and processes on any number of nodes that share the folder need not speak to each other.
"""
from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from mimicmotion.checkpoint import save_atomically

ODD_BYTES = "backslashreplace"      # bytes of a file name that are no UTF-8 become \udc.., which JSON reads back
PARTIAL_FILES = (".*.partial", ".*.npz", "*/.*.partial", "*/.*.npz", "*/*/.*.partial")      # what a killed run leaves


class DataFolder:
    """Where the parts of a prepared data folder lie."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.manifest, self.downloads = self.path / "manifest.jsonl", self.path / "downloads"

    def clip(self, name: str) -> Path:
        return self.path / "clips" / f"{name}.mp4"

    def skeleton(self, name: str) -> Path:
        return self.path / "skeletons" / f"{name}.npz"

    def pose_video(self, kind: str, name: str) -> Path:
        return self.path / "poses" / kind / f"{name}.mp4"

    def piece(self, name: str) -> Path:
        return self.path / "pieces" / f"{name}.json"

    def source(self, name: str) -> Path:
        return self.path / "sources" / f"{hashlib.sha256(name.encode(errors=ODD_BYTES)).hexdigest()[:16]}.json"

    def claim(self, settings: dict) -> None:
        """Make the folder, or check that it was made with the same settings."""
        try:
            for part in ("clips", "skeletons", "pieces", "sources"):
                (self.path / part).mkdir(parents=True, exist_ok=True)
            require_equal(self.path / "dataset.json", settings)
        except OSError as error:
            raise ValueError(f"{self.path}: expected a folder that can be written ({error.strerror}): "
                             "choose another") from None

    def remove_partial_files(self) -> None:
        """Delete what a killed run left half written. To be called while no other process writes."""
        for pattern in PARTIAL_FILES:
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)

    def write_manifest(self) -> list[dict]:
        """Put all records together; a clip whose video came under two names is listed once, with its caption if any."""
        lines, owner = [], {}
        records = [read_json(path) for path in (self.path / "sources").glob("*.json")]
        for record in sorted(records, key=lambda record: (record["caption"] is None, record["source"])):
            about = {"source": record["source"], "caption": record["caption"]}
            lines += [about | {"skip": skip["reason"], "detail": skip["detail"]} for skip in record["skips"]]
            twins = [owner[name] for name in record["pieces"] if name in owner]
            if twins:
                lines.append(about | {"skip": "seen before", "detail": f"same content as {twins[0]}"})
            for name in record["pieces"]:
                if name not in owner:
                    owner[name] = record["source"]
                    lines.append(about | read_json(self.piece(name)))
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
        write_text(self.manifest, text)
        return lines

    def read_manifest(self) -> list[dict]:
        """All lines of the manifest."""
        if not self.manifest.is_file():
            raise FileNotFoundError(f"{self.path}: expected a prepared data folder (found no manifest.jsonl): "
                                    "make it with scripts/prepare_dataset.py")
        return [json.loads(line) for line in self.manifest.read_text(encoding="utf-8").splitlines()]

    def clips(self) -> list[dict]:
        """The manifest's clips, in the order of their names."""
        return sorted((line for line in self.read_manifest() if "skip" not in line), key=lambda line: line["clip"])


def require_equal(path: Path, settings: dict) -> None:
    """Write settings where there are none; otherwise they must be the same, and a ValueError says which are not."""
    if path.is_file():
        there = read_json(path)
        changed = [f"{key}: {there.get(key)} there, {settings.get(key)} now"
                   for key in sorted(there.keys() | settings.keys()) if there.get(key) != settings.get(key)]
        if changed:
            raise ValueError(f"{path}: made with other settings ({'; '.join(changed)}): "
                             "use the same ones, or another folder")
    else:
        write_json(path, settings)


def read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON ({error}): "
                         "delete it and run scripts/prepare_dataset.py again") from None


def write_json(path: Path, content: dict) -> None:
    write_text(path, f"{json.dumps(content, ensure_ascii=False)}\n")


def write_text(path: Path, text: str) -> None:
    save_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8", errors=ODD_BYTES))


def total_seconds(clips: Iterable[dict]) -> float:
    return sum(clip["num_frames"] / clip["fps"] for clip in clips)
