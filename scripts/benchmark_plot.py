"""The benchmark as a picture: how many times faster than the published way, a bar per stage on a logarithmic axis."""
from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from stages.storyboard import FAINT, INK, PAPER, RULE, SEGMENT_COLOURS, font

WIDTH, BAR, GAP, MARGIN, LABEL, VALUE = 1040, 26, 16, 32, 340, 90                # pixels
TICKS = (1, 2, 3, 5, 10, 20, 50, 100)
MET, MISSED = SEGMENT_COLOURS[2], SEGMENT_COLOURS[1]


def ratio_plot(bars: list[tuple[str, float, float | None]], footnote: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB. bars: label, ratio to the published way, and the ratio that must be reached, if any."""
    ratios = [value for _, ratio, must in bars for value in (ratio, must or 1)]
    low, high = math.log(min([1, *ratios]) * 0.9), math.log(max([2, *ratios]) * 1.1)
    left, right = MARGIN + LABEL, WIDTH - MARGIN - VALUE
    place = lambda ratio: left + (math.log(ratio) - low) / (high - low) * (right - left)
    top, bottom = MARGIN + 56, MARGIN + 56 + len(bars) * (BAR + GAP)
    sheet = Image.new("RGB", (WIDTH, bottom + 64), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), "times faster than the published way", INK, font(20))
    for tick in TICKS:
        if low <= math.log(tick) <= high:
            pen.line((place(tick), top - 8, place(tick), bottom), INK if tick == 1 else RULE)
            pen.text((place(tick), bottom + 6), f"{tick}x", FAINT, font(13), anchor="mt")
    for number, (label, ratio, must) in enumerate(bars):
        y = top + number * (BAR + GAP)
        ends = sorted((place(1), place(ratio)))
        pen.rectangle((ends[0], y, ends[1], y + BAR), MET if ratio >= (must or 1) else MISSED)
        pen.text((left - 12, y + BAR / 2), label, INK, font(15), anchor="rm")
        pen.text((max(ends[1], place(must or 1)) + 8, y + BAR / 2), f"{ratio:.2f}x", INK, font(15), anchor="lm")
        if must is not None:
            pen.line((place(must), y - 4, place(must), y + BAR + 4), INK, 2)
    pen.text((MARGIN, bottom + 40), f"{footnote}   a black mark: what must be reached", FAINT, font(12))
    return np.asarray(sheet)
