"""What must be reached, what was, and the table that says so."""
from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from media.files import save_text


@dataclass(frozen=True)
class Target:
    """One line of the table. `must` is owed, `aim` is hoped for; without them the line only informs."""

    measure: str                # which measure gives it: a key of results.json
    name: str                   # key of the measure's values
    text: str                   # what a reader sees
    must: float | None = None
    aim: float | None = None
    unit: str = ""
    at_most: bool = False       # smaller is better

    def reached(self, value: float, bound: float | None) -> bool:
        """Is a bound met? False where there is none."""
        if bound is None or not math.isfinite(value):
            return False
        return value <= bound if self.at_most else value >= bound

    def met(self, value: float) -> str:
        """"aim", "must" or "no"; "" for a line that only informs."""
        if self.must is None:
            return ""
        if self.reached(value, self.aim):
            return "aim"
        return "must" if self.reached(value, self.must) else "no"


def format_table(targets: tuple[Target, ...], values: dict[str, dict[str, float]]) -> str:
    """The lines whose measure is in `values`, as a Markdown table with columns of equal width."""
    rows = [("measure", "value", "must", "aim", "met")]
    for target in targets:
        found = values.get(target.measure, {}).get(target.name)
        if found is None:
            continue
        sign = "≤ " if target.at_most else "≥ "
        bounds = ("" if bound is None else f"{sign}{number(bound)}" for bound in (target.must, target.aim))
        rows.append((target.text, f"{number(found)} {target.unit}".strip(), *bounds, target.met(found)))
    widths = [max(map(len, column)) for column in zip(*rows)]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows)


def number(value: float) -> str:
    """At most three digits that say something: 0.853, 4.2, 37, 0.00012."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value):
        return str(int(value))
    if abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


@dataclass(frozen=True)
class ResultsFile:
    """results.json: per measure its values, and the key of what they were measured on."""

    path: Path

    def read(self) -> dict[str, dict]:
        """All entries; none where there is no file."""
        if not self.path.exists():
            return {}
        try:
            results = json.loads(self.path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{self.path}: expected JSON ({error}): delete it to measure anew") from error
        if not isinstance(results, dict):
            raise ValueError(f"{self.path}: expected measures by name (found a {type(results).__name__}): "
                             "delete it to measure anew")
        return results

    def kept(self, measure: str, key: str) -> dict | None:
        """The measure's entry, if it was made with this key."""
        entry = self.read().get(measure)
        return entry if entry is not None and entry["key"] == key else None

    def write(self, measure: str, entry: dict) -> None:
        """Add or replace one measure's entry; the file appears complete or not at all."""
        results = self.read() | {measure: entry}
        save_text(self.path, json.dumps(results, indent=1) + "\n")
