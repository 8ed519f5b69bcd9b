"""Timing that stands comparison: variants take turns in one run and medians are compared; arithmetic and memory."""
from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from run.folder import MemoryWatch
from run.storyboard import FAINT, font, INK, PAPER, RULE, SEGMENT_COLOURS
from runtime.device import GIB, keep_freed_memory, return_freed_memory

Variants = dict[str, Callable[[], Any]]
CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu     # torch counts the GPU kinds only
WIDTH, BAR, GAP, MARGIN, LABEL, VALUE = 1040, 26, 16, 32, 340, 90                # pixels
TICKS = (1, 2, 3, 5, 10, 20, 50, 100)
MET, MISSED = SEGMENT_COLOURS[2], SEGMENT_COLOURS[1]


def cpu_attention_flops(query, key, value, *args, out_val=None, **kwargs) -> int:
    """FLOP of attention on a CPU, counted as on a GPU."""
    return sdpa_flop_count(query.shape, key.shape, value.shape)


cpu_attention_flops._get_raw = True


@dataclass(frozen=True)
class Bench:
    """How to measure."""
    device: str
    dtype: torch.dtype
    scale: str                           # a key of benchmarks.stages.SCALES
    repeats: int
    published: bool                      # measure the published way, too
    steps: int = 0                       # denoising steps; 0: the scale's
    svd: str | None = None               # real weights for the full size, as in PoseToVideo.load
    checkpoint: str | None = None

    def chosen(self, variants: Variants) -> Variants:
        """Ours, and the published way where it is wanted, with the handling of memory that it would meet."""
        def prepared(name: str, run: Callable[[], Any]) -> Any:
            return_freed_memory() if name == "published" else keep_freed_memory(self.device)
            return run()
        return {name: partial(prepared, name, run) for name, run in variants.items()
                if self.published or name != "published"}


@dataclass
class Measurement:
    """Per variant: seconds of every repeat, FLOP and peak memory of one run; facts about the results."""
    baseline: str = "published"          # the variant the others are compared with
    seconds: dict[str, list[float]] = field(default_factory=dict)
    tflop: dict[str, float] = field(default_factory=dict)
    peak_gib: dict[str, float] = field(default_factory=dict)
    facts: dict[str, float | str] = field(default_factory=dict)

    def median(self, variant: str) -> float:
        """Median seconds of a variant."""
        return statistics.median(self.seconds[variant])

    @property
    def ratios(self) -> dict[str, float]:
        """How many times faster than the baseline each variant is; nothing without a baseline."""
        others = [name for name in self.seconds if name != self.baseline and self.baseline in self.seconds]
        return {name: self.median(self.baseline) / self.median(name) for name in others}

    def as_dict(self) -> dict:
        """The stage's entry in benchmark.json."""
        return {"baseline": self.baseline, "median_seconds": {name: self.median(name) for name in self.seconds},
                "seconds": self.seconds, "ratios": self.ratios, "tflop": self.tflop, "peak_gib": self.peak_gib,
                "facts": self.facts}


def measure(variants: Variants, bench: Bench, count_flops: bool = True) -> tuple[Measurement, dict[str, Any]]:
    """Each variant once to warm up, with its arithmetic counted, then `repeats` times in turn; and what each gave.

    Peak memory is that of torch's tensors on a GPU, else the process's.
    """
    result, outputs, on_gpu = Measurement(), {}, bench.device != "cpu"
    for name, run in variants.items():
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(bench.device)
        with MemoryWatch() as watch:
            outputs[name], flop = counted(run) if count_flops else (run(), 0)
            finish(bench.device)
        result.peak_gib[name] = (torch.cuda.max_memory_allocated(bench.device) if on_gpu else watch.peak) / GIB
        result.tflop[name] = flop / 1e12
    for _ in range(bench.repeats):
        for name, run in variants.items():
            result.seconds.setdefault(name, []).append(seconds_of(run, bench.device))
    return result, outputs


def counted(run: Callable[[], Any]) -> tuple[Any, int]:
    """run()'s result and the FLOP of its matrix products, convolutions and attentions; a multiply-add is two."""
    with FlopCounterMode(display=False, custom_mapping={CPU_ATTENTION: cpu_attention_flops}) as counter:
        result = run()
    return result, counter.get_total_flops()


def seconds_of(run: Callable[[], Any], device: str) -> float:
    """Wall clock of one run, the device's queue emptied before and after."""
    finish(device)
    start = time.perf_counter()
    run()
    finish(device)
    return time.perf_counter() - start


def finish(device: str) -> None:
    """Wait for the device's queue."""
    if device != "cpu":
        torch.cuda.synchronize(device)


@contextmanager
def num_threads(count: int) -> Iterator[None]:
    """torch's CPU threads within the context; 0 leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def matmul_peak(device: str, dtype: torch.dtype) -> float:
    """TFLOP/s the device sustains on square matrix products: what a share of its peak refers to."""
    side, seconds = (8192, 2.0) if device != "cpu" else (512, 0.2)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))

    def product() -> None:
        for _ in range(8):
            a @ b

    product()
    runs, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds:
        runs.append(seconds_of(product, device))
    return 8 * 2 * side**3 / statistics.median(runs) / 1e12


def ratio_plot(bars: list[tuple[str, float, float | None]], footnote: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB. bars: label, ratio to the published way, and the ratio that must be reached, if any."""
    ratios = [value for _, ratio, must in bars for value in (ratio, must or 1)]
    low, high = math.log(min([1, *ratios]) * 0.9), math.log(max([2, *ratios]) * 1.1)
    left, right = MARGIN + LABEL, WIDTH - MARGIN - VALUE

    def place(ratio: float) -> float:
        return left + (math.log(ratio) - low) / (high - low) * (right - left)

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
