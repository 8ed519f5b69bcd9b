"""The report's figures, as HTML and SVG that any browser draws without a script."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np

from motionbench.results import Interval
from motionbench.table import number

PALE, DEEP = (236, 242, 247), (22, 84, 124)                 # RGB of the worst and the best cell of a heat map
STRIP_WIDTH, STRIP_HEIGHT, LABEL_WIDTH, AXIS_HEIGHT = 900, 26, 230, 22     # pixels
DOTS = 80                                                   # a strip of more clips shows only its box
MAX_JITTER = 7                                              # pixels
GAP, TITLE_HEIGHT = 4, 18               # pixels
PAPER, INK = (250, 249, 246), (32, 34, 38)
ROWS_PER_SHEET = 6


def heat_map(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], better: str) -> str:
    """A table of numbers on colours: the darker the better, between the worst and the best of this map."""
    numbers = np.array(values, np.float64)                                              # (R, C)
    known = numbers[np.isfinite(numbers)]
    low, high = (known.min(), known.max()) if known.size else (0.0, 0.0)
    head = "".join(f"<th class='up'><span>{escape(name)}</span></th>" for name in columns)
    lines = []
    for name, row in zip(rows, numbers):
        cells = "".join(_cell(value, low, high, better) for value in row)
        lines.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    return (f"<div class='wide'><table class='heat'><thead><tr><th></th>{head}</tr></thead>"
            f"<tbody>{''.join(lines)}</tbody></table></div>")


def _cell(value: float, low: float, high: float, better: str) -> str:
    if not math.isfinite(value):
        return "<td class='none'>–</td>"
    share = 0.5 if high == low else (value - low) / (high - low)
    share = 1 - share if better == "lower" else share
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(PALE, DEEP))
    ink = "#fff" if share > 0.55 else "#1c2733"
    return f"<td style='background:rgb({red},{green},{blue});color:{ink}'>{number(value)}</td>"


def strips(names: Sequence[str], values: Sequence[Sequence[float]], intervals: Sequence[Interval]) -> str:
    """One line per row: a dot per clip, the box of the middle half, the mean with its 95 % interval."""
    known = np.array([value for row in values for value in row if math.isfinite(value)])
    if not known.size:
        return ""
    low, high = float(known.min()), float(known.max())
    span = (high - low) or max(abs(high), 1.0)
    low, high = low - 0.03 * span, high + 0.03 * span
    left, right = LABEL_WIDTH, STRIP_WIDTH - 12

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    height = STRIP_HEIGHT * len(names) + AXIS_HEIGHT
    parts = [f"<svg viewBox='0 0 {STRIP_WIDTH} {height}' class='strips' role='img'>"]
    for tick in ticks(low, high):
        parts += [line("grid", x(tick), x(tick), 0, height - AXIS_HEIGHT),
                  f"<text class='tick' x='{x(tick):.1f}' y='{height - 6}'>{number(tick)}</text>"]
    for index, (name, row, interval) in enumerate(zip(names, values, intervals)):
        middle = STRIP_HEIGHT * (index + 0.5)
        parts.append(f"<text class='name' x='{left - 10}' y='{middle + 4:.1f}'>{escape(name)}</text>")
        parts += _strip([value for value in row if math.isfinite(value)], interval, middle, x)
    return "".join([*parts, "</svg>"])


def _strip(values: list[float], interval: Interval, middle: float, x) -> list[str]:
    """The marks of one line."""
    if not values:
        return []
    parts, (lower, upper) = [], np.quantile(values, [0.25, 0.75])
    parts.append(f"<rect class='box' x='{x(lower):.1f}' y='{middle - 8:.1f}' height='16' "
                 f"width='{max(x(upper) - x(lower), 1):.1f}'/>")
    if len(values) <= DOTS:
        for index, value in enumerate(values):
            away = MAX_JITTER * (2 * ((index * 0.618034) % 1) - 1)
            parts.append(f"<circle class='dot' cx='{x(value):.1f}' cy='{middle + away:.1f}' r='2'/>")
    if math.isfinite(interval.low):
        parts.append(line("interval", x(interval.low), x(interval.high), middle, middle))
    return [*parts, line("mean", x(interval.mean), x(interval.mean), middle - 9, middle + 9)]


def line(kind: str, x1: float, x2: float, y1: float, y2: float) -> str:
    return f"<line class='{kind}' x1='{x1:.1f}' x2='{x2:.1f}' y1='{y1:.1f}' y2='{y2:.1f}'/>"


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Round numbers between two bounds, about as many as wanted."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step)
    return [round(index * step, 12) for index in range(first, math.floor(high / step) + 1)]


@dataclass(frozen=True)
class SheetRow:
    """One clip. The frame shown is the one where the generated video is worst, so that the sheet does not flatter."""

    title: str
    reference: np.ndarray       # (H, W, 3) uint8 RGB
    skeleton: np.ndarray        # (F, H, W, 3) the drawn poses that were given
    truth: np.ndarray           # (F, H, W, 3)
    generated: np.ndarray       # (F, H, W, 3)

    @property
    def worst(self) -> int:
        errors = [np.abs(a.astype(np.int16) - b).mean() for a, b in zip(self.generated, self.truth)]
        return int(np.argmax(errors))

    def cells(self) -> list[tuple[str, np.ndarray]]:
        """(caption, picture) from left to right: reference, then skeleton, truth, generated at two frames."""
        cells = [("reference", self.reference)]
        for name, frame in (("middle", len(self.truth) // 2), ("worst", self.worst)):
            cells += [(f"skeleton ({name})", self.skeleton[frame]), ("truth", self.truth[frame]),
                      ("generated", self.generated[frame])]
        return cells


def contact_sheets(rows: list[SheetRow]) -> list[np.ndarray]:
    """Sheets (H, W, 3) uint8 RGB of up to six rows each."""
    return [np.concatenate([_row_picture(row) for row in rows[start:start + ROWS_PER_SHEET]])
            for start in range(0, len(rows), ROWS_PER_SHEET)]


def _row_picture(row: SheetRow) -> np.ndarray:
    columns = []
    for index, (caption, picture) in enumerate(row.cells()):
        height, width = picture.shape[:2]
        cell = np.full((TITLE_HEIGHT + height + GAP, width + GAP, 3), PAPER, np.uint8)
        cell[TITLE_HEIGHT:TITLE_HEIGHT + height, :width] = picture
        text = f"{row.title} {caption}" if index == 0 else caption
        cv2.putText(cell, text, (2, TITLE_HEIGHT - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.38, INK, 1, cv2.LINE_AA)
        columns.append(cell)
    return np.concatenate(columns, axis=1)
