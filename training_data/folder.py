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
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dwpose.draw import draw
from dwpose.skeleton import Skeleton
from media.files import is_whole_npz, render_page, save_atomically, save_text
from media.images import jpeg_link
from media.video_reader import frames_at, is_whole_mp4

log = logging.getLogger(__name__)

TEMPLATE = Path(__file__).with_name("summary.html.j2")
ODD_BYTES = "backslashreplace"      # bytes of a file name that are no UTF-8 become \udc.., which JSON reads back
PARTIAL_FILES = (".*.partial", "*/.*.partial", "*/*/.*.partial")      # what a killed run leaves
SKELETON, VIDEO = "npz", "mp4"  # kinds of a clip's files; cached latents are a third
CLIP_KEYS = ("clip", "num_frames", "fps")       # of the manifest, that readers need
SAMPLES, COLUMNS = 24, 6
CELL = 240                      # pixels, the height of a sample frame
GAP, CAPTION_HEIGHT = 6, 34     # pixels
HEADER_HEIGHT = 30              # pixels, and again for each reason
PAPER, INK, FAINT = (250, 249, 246), (32, 34, 38), (122, 126, 134)
SHOWN_SKIPS = 200               # lines of the page's list


class DataFolder:
    """Where the parts of a prepared data folder lie."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.manifest, self.downloads = self.path / "manifest.jsonl", self.path / "downloads"

    def clip(self, name: str) -> Path:
        """A clip's video."""
        return self.path / "clips" / f"{name}.mp4"

    def skeleton(self, name: str) -> Path:
        """A clip's poses."""
        return self.path / "skeletons" / f"{name}.npz"

    def pose_video(self, kind: str, name: str) -> Path:
        """A clip's drawn poses."""
        return self.path / "poses" / kind / f"{name}.mp4"

    def piece(self, name: str) -> Path:
        """A piece's record."""
        return self.path / "pieces" / f"{name}.json"

    def source(self, name: str) -> Path:
        """A video's record."""
        return self.path / "sources" / f"{hashlib.sha256(name.encode(errors=ODD_BYTES)).hexdigest()[:16]}.json"

    def record_of(self, name: str) -> dict | None:
        """What an earlier run recorded of a video, if anything; of a record that is cut short the log says so."""
        path = self.source(name)
        try:
            return read_json(path) if path.is_file() else None
        except ValueError:
            log.warning("%s: the record of %s is cut short: made anew", path, name)
            return None

    def holds(self, name: str) -> bool:
        """Is a finished piece there: its record, and a clip's video and poses, whole as far as their ends say?"""
        try:
            record = read_json(self.piece(name))
        except (FileNotFoundError, ValueError):
            return False
        return "skip" in record or is_whole_npz(self.skeleton(name)) and is_whole_mp4(self.clip(name), record["num_frames"])

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
            if record.get("person"):
                about["person_name"] = record["person"]
            lines += [about | {"skip": skip["reason"], "detail": skip["detail"]} for skip in record["skips"]]
            twins = [owner[name] for name in record["pieces"] if name in owner]
            if twins:
                lines.append(about | {"skip": "seen before", "detail": f"same content as {twins[0]}"})
            for name in record["pieces"]:
                if name not in owner:
                    owner[name] = record["source"]
                    lines.append(about | self._listed(name))
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
        save_text(self.manifest, text, ODD_BYTES)
        return lines

    def _listed(self, name: str) -> dict:
        """What the manifest says of a piece. One that is lost is still so where its video was not there to make it anew."""
        record = read_json(self.piece(name)) if self.piece(name).is_file() else {}
        files = [] if "skip" in record else [self.piece(name), self.skeleton(name), self.clip(name)]
        gone = next((path.relative_to(self.path) for path in files if not path.is_file()), None)
        return {"skip": "lost", "detail": f"{gone} is gone: give its video again"} if gone else record

    def read_manifest(self) -> list[dict]:
        """All lines of the manifest."""
        if not self.manifest.is_file():
            raise FileNotFoundError(f"{self.path}: expected a prepared data folder (found no manifest.jsonl): "
                                    "make it with scripts/prepare_dataset.py")
        return parsed_manifest(self.manifest.read_text(encoding="utf-8"), self.manifest)

    def clips(self) -> list[dict]:
        """The manifest's clips, in the order of their names."""
        return clips_among(self.read_manifest())


def clips_among(lines: Iterable[dict]) -> list[dict]:
    """The lines of a manifest that are clips, in the order of their names."""
    return sorted((line for line in lines if "skip" not in line), key=lambda line: line["clip"])


def parsed_manifest(text: str, source: str | Path) -> list[dict]:
    """The lines of a manifest. source: of messages."""
    lines = []
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else (), start=1):
        try:
            content = json.loads(line)
            lacking = [] if "skip" in content else [key for key in CLIP_KEYS if key not in content]
        except (ValueError, TypeError) as error:
            raise ValueError(f"{source}, line {number}: expected JSON ({error}): "
                             "run scripts/prepare_dataset.py again, which makes it anew") from None
        if lacking or not isinstance(content, dict):
            raise ValueError(f"{source}, line {number}: expected a clip or a skip (found no "
                             f"'{(lacking or CLIP_KEYS)[0]}'): run scripts/prepare_dataset.py again, which makes it anew")
        lines.append(content)
    return lines


def require_equal(path: Path, settings: dict, made: Path | None = None, remedy: str = "another folder") -> None:
    """Write settings where there are none; otherwise they must be the same, and a ValueError says which are not.

    made: what is made with them, which is not to be there without them. remedy: what to use else.
    """
    if made and made.exists() and not path.is_file():
        raise ValueError(f"{made}: expected {path.name} beside it, which says what it was made with (found none): use {remedy}")
    if path.is_file():
        there = read_json(path)
        changed = [f"{key}: {there.get(key)} there, {settings.get(key)} now"
                   for key in sorted(there.keys() | settings.keys()) if there.get(key) != settings.get(key)]
        if changed:
            raise ValueError(f"{path}: made with other settings ({'; '.join(changed)}): use the same ones, or {remedy}")
    else:
        write_json(path, settings)


def read_json(path: Path) -> dict:
    """A record of the folder."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict):
            raise ValueError(f"a {type(record).__name__} in it")
        return record
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON's names and values ({error}): delete it and run what made it again") from None


def write_json(path: Path, content: dict) -> None:
    """Write a record atomically."""
    save_text(path, f"{json.dumps(content, ensure_ascii=False)}\n", ODD_BYTES)


def total_seconds(clips: Iterable[dict]) -> float:
    """How long the clips last together."""
    return sum(clip["num_frames"] / clip["fps"] for clip in clips)


RANGES = (("seconds", lambda clip: clip["num_frames"] / clip["fps"]),
          ("frames per second", lambda clip: clip["fps"]),
          ("motion bucket", lambda clip: clip["motion_bucket"]),
          ("person height, of the frame's", lambda clip: clip["person"]),
          ("left hand confidence", lambda clip: clip["left_hand"]),
          ("right hand confidence", lambda clip: clip["right_hand"]))


def write_summary(folder: DataFolder, lines: list[dict]) -> Path:
    """summary.html and contact_sheet.png from the manifest's lines. Equal lines give equal files."""
    clips, left_out = clips_among(lines), [line for line in lines if "skip" in line]
    reasons = Counter(line["skip"] for line in left_out).most_common()
    spread = np.unique(np.linspace(0, len(clips) - 1, min(SAMPLES, len(clips))).round().astype(int)) if clips else []
    samples = [(clips[index], sample_picture(folder, clips[index])) for index in spread]
    headline = f"{len(clips)} clips, {total_seconds(clips) / 60:.1f} minutes; {len(left_out)} left out"
    sheet = contact_sheet(headline, reasons, samples)
    save_atomically(folder.path / "contact_sheet.png", lambda path: sheet.save(path, format="PNG"))
    numbers = [(name, *(f"{value:.3g}" for value in np.percentile([of(clip) for clip in clips], (0, 50, 100))))
               for name, of in RANGES] if clips else []
    skips = [(line["source"], line.get("start_seconds", ""), line["skip"], line["detail"]) for line in left_out]
    page = render_page(TEMPLATE, {"jpeg_link": jpeg_link}, name=folder.path.name, headline=headline, reasons=reasons,
                       numbers=numbers, samples=samples, skips=skips, shown_skips=SHOWN_SKIPS)
    path = folder.path / "summary.html"
    save_text(path, page, ODD_BYTES)
    return path


def sample_picture(folder: DataFolder, clip: dict) -> Image.Image:
    """A clip's middle frame with its pose drawn over it, CELL pixels high."""
    middle = clip["num_frames"] // 2
    frame = frames_at(folder.clip(clip["clip"]), [middle])[0]
    pose = draw(Skeleton.load(folder.skeleton(clip["clip"]))[middle], "bold")[0]
    over = np.where(pose.any(axis=-1, keepdims=True), cv2.addWeighted(frame, 0.35, pose, 0.65, 0), frame)
    return Image.fromarray(over).resize((max(1, round(CELL * frame.shape[1] / frame.shape[0])), CELL))


def contact_sheet(headline: str, reasons: list[tuple[str, int]],
                  samples: list[tuple[dict, Image.Image]]) -> Image.Image:
    """Counts above, samples below."""
    cell_width = max([CELL // 2, *(picture.width for _, picture in samples)])
    rows = -(-len(samples) // COLUMNS)
    top = HEADER_HEIGHT * 2 + 20 * len(reasons)
    sheet = Image.new("RGB", (GAP + COLUMNS * (cell_width + GAP), top + rows * (CELL + CAPTION_HEIGHT + GAP)), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default
    pen.text((GAP, GAP), headline, INK, font(18))
    for row, (reason, count) in enumerate(reasons):
        pen.text((GAP, HEADER_HEIGHT + 8 + 20 * row), f"{count:>6}  {reason}", FAINT, font(14))
    for number, (clip, picture) in enumerate(samples):
        left = GAP + number % COLUMNS * (cell_width + GAP)
        upper = top + number // COLUMNS * (CELL + CAPTION_HEIGHT + GAP)
        sheet.paste(picture, (left, upper))
        pen.text((left, upper + CELL + 2), clip["clip"], INK, font(10))
        note = f"{clip['num_frames'] / clip['fps']:.1f} s, bucket {clip['motion_bucket']:.0f}"
        pen.text((left, upper + CELL + 15), note, FAINT, font(10))
    return sheet
