"""What is said about a video: a .txt beside it, or a table of captions (.csv, .jsonl, .json)."""
from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from training_data.sources import Source

NAME_COLUMNS = ("file", "video", "path", "url", "source", "name", "file_name", "videoid")
TEXT_COLUMNS = ("caption", "text", "prompt")


def read_table(path: Path) -> dict[str, str]:
    """Captions by what the table calls the video: a path, a link, a file name with or without its ending."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a table of captions (found no file): check the path")
    if path.suffix.lower() not in TABLES:
        raise ValueError(f"{path}: expected a table of captions, {', '.join(TABLES)} (found '{path.suffix}')")
    captions = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(TABLES[path.suffix.lower()](file, path), start=1):
            if not row.keys() & set(NAME_COLUMNS) or not row.keys() & set(TEXT_COLUMNS):
                raise ValueError(f"{path}, row {number}: expected a column {' or '.join(NAME_COLUMNS[:3])} and a "
                                 f"column {' or '.join(TEXT_COLUMNS)} (found {', '.join(map(str, row))})")
            name = next((str(row[column]) for column in NAME_COLUMNS if row.get(column)), None)
            text = next((one_line(str(row[column])) for column in TEXT_COLUMNS if row.get(column)), None)
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
