"""What is said about a video: a .txt beside it, or a table of captions (.csv, .jsonl)."""
from __future__ import annotations

import csv
import json
from pathlib import Path

from training_data.sources import Source

NAME_COLUMNS = ("file", "video", "path", "url", "source", "name", "file_name", "videoid")
TEXT_COLUMNS = ("caption", "text", "prompt")


def read_table(path: Path) -> dict[str, str]:
    """Captions by what the table calls the video: a path, a link, a file name with or without its ending."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a table of captions (found no file): check the path")
    if path.suffix.lower() not in (".csv", ".jsonl"):
        raise ValueError(f"{path}: expected a .csv or .jsonl table of captions (found '{path.suffix}')")
    captions = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(rows(file, path), start=1):
            name = next((str(row[column]) for column in NAME_COLUMNS if row.get(column)), None)
            text = next((str(row[column]) for column in TEXT_COLUMNS if row.get(column)), None)
            if name is None or text is None:
                raise ValueError(f"{path}, row {number}: expected a column {' or '.join(NAME_COLUMNS[:3])} and a "
                                 f"column {' or '.join(TEXT_COLUMNS)} (found {', '.join(map(str, row))})")
            captions[name] = one_line(text)
    return captions


def rows(file, path: Path):
    """The rows of a .csv, or the objects of a .jsonl, as dicts with lower-case keys."""
    if path.suffix.lower() == ".csv":
        yield from ({str(key).strip().lower(): value for key, value in row.items()} for row in csv.DictReader(file))
        return
    for number, line in enumerate(file, start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: expected one JSON object per line (found {error})") from None
        if isinstance(row, dict):
            yield {key.lower(): value for key, value in row.items()}
        elif row is not None:
            raise ValueError(f"{path}, line {number}: expected one JSON object per line (found a {type(row).__name__})")


def caption_of(source: Source, table: dict[str, str]) -> str | None:
    """The caption of a video, or None."""
    for name in (source.name, Path(source.name).name, source.label):
        if name in table:
            return table[name]
    if source.kind == "link":
        return None
    path = Path(source.name)
    beside = path.parent.with_suffix(".txt") if source.kind == "pictures" and path.name != source.label \
        else path.with_suffix(".txt")
    return one_line(beside.read_text(encoding="utf-8", errors="replace")) or None if beside.is_file() else None


def one_line(text: str) -> str:
    return " ".join(text.split())
