"""report.html: what was measured, how sure that is, where it goes wrong; and tables of measures with their targets."""
from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

import cv2
import numpy as np
import yaml
from scipy.stats import rankdata

from media.files import render_page, save_text
from media.images import jpeg_link
from motionbench.metrics import Metric
from motionbench.statistics import Interval
from motionbench.results import (agreement, baseline_of, classes_line, ClipResult, power_line, Results, RowResult, SURE,
                                 taken_for)

TEMPLATE = Path(__file__).with_name("report.html.j2")
HEADLINE = ("pck", "pck_hands", "pck_commanded", "pape", "psnr", "ssim", "delta_e", "frechet_velocity")    # of results.md
FLOORS = ("repeat", "frozen", "shuffled")       # bounds that show no movement
OPEN_MEASURES = 1               # of the sections on single measures, so many are unfolded
MOST_FAILURES, MOST_MISTAKES = 40, 12
MOST_FACTS = 5                  # numbers under a worst clip
EDITIONS = {"synthetic": "procedural people and motions, each with its true video",
            "real": "pictures and prompts, without a truth"}
PALE, DEEP = (236, 242, 247), (22, 84, 124)                 # RGB of the worst and the best cell of a heat map
WHITE, DARK = "#fff", "#1c2733"                             # of numbers on deep and on pale cells
PLOT_WIDTH, STRIP_HEIGHT, LABEL_WIDTH, AXIS_HEIGHT = 900, 26, 230, 22      # pixels
DOTS = 80                                                   # a strip of more clips shows only its box
MAX_JITTER = 7                                              # pixels
COLUMNS = 7                             # moments of a clip
CELL_HEIGHT, GAP = 150, 4               # pixels
PAPER = 250


@dataclass(frozen=True)
class WorstClip:
    """One of the report's worst clips. picture: its moments, (H, W, 3) uint8 RGB; None where there is none to show."""

    result: ClipResult
    picture: np.ndarray | None


def report_page(results: Results, worst: list[WorstClip]) -> str:
    """The whole report as one HTML page."""
    metrics, rows = results.shown_metrics(), results.rows
    compared = [row for row in rows if row.gains and not row.variant.bound]
    edition = results.settings["motionbench"]["edition"]
    return render_page(
        TEMPLATE, {"number": number, "place": "{:.1f}".format, "verdict": verdict, "jpeg_link": jpeg_link,
                   "facts": lambda clip: facts(results, clip)},
        results=results, name=results.settings["motionbench"]["name"], edition=edition, edition_note=EDITIONS[edition],
        rows=rows, metrics=metrics, titles=[row.variant.title for row in rows],
        bound_columns=[index + 1 for index, row in enumerate(rows) if row.variant.bound],
        best={metric.name: best_of(rows, metric) for metric in metrics}, compared_rows=compared,
        compared_metrics=[metric for metric in metrics if any(metric.name in row.gains and math.isfinite(
            row.gains[metric.name].mean) for row in compared)],
        sections=[measure_section(results, metric, index < OPEN_MEASURES)
                  for index, metric in enumerate(metrics) if not metric.of_a_set],
        baseline=baseline_of(rows), power=power_line(results), classes=classes_line(results.motions), mistakes=mistakes(results),
        confusions=confusions(results), not_judged=[(judge.title, row.variant.title, count) for judge in results.judges
                                                    for row in rows if (count := row.not_judged(judge.name))],
        worst=worst, most_failures=MOST_FAILURES,
        agreements=[(row.variant.title, *found) for row in rows for found in agreement(row, results.judges)],
        settings={name: yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
                  for name, values in results.settings.items()})


def best_of(rows: Sequence[RowResult], metric: Metric) -> float:
    """The best mean among the rows that are no bound; NaN with fewer than two, or where neither direction is better, or
    where a floor (a still or shuffled video) is better than the true video: such a measure is a diagnosis."""
    made = [row.figures[metric.name].mean for row in rows if not row.variant.bound]
    known = [mean for mean in made if math.isfinite(mean)]
    if len(made) < 2 or not known or not metric.better or metric.diagnosis or floor_wins(rows, metric):
        return math.nan
    return (max if metric.better == "higher" else min)(known)


def floor_wins(rows: Sequence[RowResult], metric: Metric) -> bool:
    """Does a bound that shows no movement do better than the true video?"""
    means = {row.variant.bound: row.figures[metric.name].mean for row in rows if row.variant.bound}
    sign = 1 if metric.better == "higher" else -1
    ceiling = means.get("truth", math.nan)
    return any(sign * means.get(floor, math.nan) > sign * ceiling for floor in FLOORS)


def verdict(row: RowResult, metric: Metric) -> str:
    """"better" or "worse" than the baseline, where chance is excluded with all comparisons counted; else ""."""
    gain = row.gains[metric.name]
    if not metric.better or metric.diagnosis or not row.adjusted.get(metric.name, 1.0) < SURE:
        return ""
    return "better" if (gain.mean > 0) == (metric.better == "higher") else "worse"


def measure_section(results: Results, metric: Metric, is_open: bool) -> dict:
    """One measure: what it is, its distribution, and where it is good and bad."""
    rows = [row for row in results.rows if math.isfinite(row.figures[metric.name].mean)]
    about = (metric.formula, metric.failed_counts, metric.protocol, metric.source and f"source: {metric.source}")
    shown = {clip.motion for clip in results.rows[0].clips}
    motions = [motion for motion in results.motions if motion in shown]
    maps = [(title, columns, heat_map([row.means_by(attrgetter(key), columns, metric.name) for row in rows], metric.better))
            for title, key, columns in (("By motion", "motion", motions), ("By identity", "identity", results.identities))]
    return {"metric": metric, "is_open": is_open, "about": "; ".join(part.rstrip(".") for part in about if part),
            "names": [row.variant.title for row in rows], "plot": strip_plot(rows, metric.name), "maps": maps}


def heat_map(values: Sequence[Sequence[float]], better: str) -> list[list[dict | None]]:
    """Each number with its colours: the darker the better, between the worst and the best; None where it is unknown."""
    known = [value for row in values for value in row if math.isfinite(value)]

    def cell(value: float) -> dict | None:
        if not math.isfinite(value):
            return None
        share = 0.5 if max(known) == min(known) else (value - min(known)) / (max(known) - min(known))
        share = 1 - share if better == "lower" else share
        return {"value": value, "colour": [round(a + share * (b - a)) for a, b in zip(PALE, DEEP)],
                "ink": WHITE if share > 0.55 else DARK}

    return [[cell(value) for value in row] for row in values]


@dataclass(frozen=True)
class Strip:
    """One row of a strip plot, in pixels: a dot per clip, the box of the middle half, the mean and its interval."""

    name: str
    middle: float                                       # of its height
    box: tuple[float, float] | None = None              # left edge, width
    dots: list[tuple[float, float]] = field(default_factory=list)
    interval: tuple[float, float] | None = None
    mean: float = math.nan


def strip_plot(rows: Sequence[RowResult], metric: str) -> dict | None:
    """Places of everything in a plot with one strip per row; None without a value."""
    values = [[value for value in row.values(metric) if math.isfinite(value)] for row in rows]
    known = [value for row in values for value in row]
    if not known:
        return None
    span = (max(known) - min(known)) or max(abs(min(known)), 1.0)
    low, high = min(known) - 0.03 * span, max(known) + 0.03 * span

    def x(value: float) -> float:
        return LABEL_WIDTH + (value - low) / (high - low) * (PLOT_WIDTH - 12 - LABEL_WIDTH)

    strips = []
    for index, (row, found) in enumerate(zip(rows, values)):
        name, middle, figure = row.variant.title, STRIP_HEIGHT * (index + 0.5), row.figures[metric]
        if not found:
            strips.append(Strip(name, middle))
            continue
        lower, upper = (x(edge) for edge in np.quantile(found, [0.25, 0.75]))
        dots = [(x(value), middle + MAX_JITTER * (2 * ((number * 0.618034) % 1) - 1)) for number, value in enumerate(found)]
        interval = (x(figure.low), x(figure.high)) if math.isfinite(figure.low) else None
        strips.append(Strip(name, middle, (lower, max(upper - lower, 1)), dots if len(found) <= DOTS else [], interval,
                            x(figure.mean)))
    axis = STRIP_HEIGHT * len(rows)
    return {"width": PLOT_WIDTH, "height": axis + AXIS_HEIGHT, "left": LABEL_WIDTH, "axis": axis, "strips": strips,
            "ticks": [(x(tick), number(tick)) for tick in ticks(low, high)]}


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Round numbers between two bounds, about as many as wanted."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step)
    return [round(index * step, 12) for index in range(first, math.floor(high / step) + 1)]


def mistakes(results: Results) -> list[tuple[str, str]]:
    """Which motion each judge took for which in each row, most frequent first."""
    found = []
    for judge in results.judges:
        for row in results.rows:
            wrong = Counter((clip.motion, clip.label(judge.name)) for clip in row.clips
                            if clip.value(judge.name) == 0 and clip.label(judge.name))
            if wrong and not row.variant.bound:
                listed = ", ".join(f"{motion} → {label}" + (f" ({count})" if count > 1 else "")
                                   for (motion, label), count in wrong.most_common(MOST_MISTAKES))
                found.append((f"{judge.title}, {row.variant.title}", listed))
    return found


def confusions(results: Results) -> list[tuple[str, list[str], list[str], list]]:
    """Of every judge, for the first row and for the true videos: a title, the prompted, the recognised, and the map."""
    found = []
    for judge in results.judges:
        for row in (row for row in results.rows if row is results.rows[0] or row.variant.bound == "truth"):
            columns, counts = taken_for(row, judge.name, results.motions)
            shown = [index for index, line in enumerate(counts) if line.any()]
            if shown:
                cells = heat_map(np.where(counts[shown], counts[shown], np.nan), "higher")
                found.append((f"{judge.title}, {row.variant.title}", [results.motions[i] for i in shown], columns, cells))
    return found


def facts(results: Results, clip: ClipResult) -> list[str]:
    """What the judges said of a clip, and its first few numbers; or why it failed."""
    if clip.failure:
        return [f"failed: {clip.failure}"]
    said = [f"{judge.title}: {clip.note(judge.name) or number(clip.value(judge.name))}" for judge in results.judges]
    known = [metric for metric in results.shown_metrics()
             if metric.better and metric not in results.judges and math.isfinite(clip.value(metric.name))]
    return said + [f"{metric.title} {number(clip.value(metric.name))}" for metric in known[:MOST_FACTS]]


def ranked(row: RowResult, metrics: Sequence[Metric]) -> list[ClipResult]:
    """The row's clips, worst first: failed ones, then by the mean of a clip's ranks over all measures of clips."""
    badness = np.zeros(len(row.clips))
    counted = 0
    for metric in metrics:
        values = np.array(row.values(metric.name))
        if metric.of_a_set or not metric.better or not np.isfinite(values).all():
            continue
        badness += rankdata(values if metric.better == "lower" else -values) / len(values)
        counted += 1
    badness = badness / max(counted, 1) + 2 * np.array([bool(clip.failure) for clip in row.clips])
    return [row.clips[index] for index in np.argsort(-badness, kind="stable")]


def moments(reference: np.ndarray, made: np.ndarray, truth: np.ndarray | None) -> np.ndarray:
    """The picture, then moments of the true video above the same moments of the made one, (H, W, 3) uint8 RGB.

    reference: (H, W, 3) uint8 RGB; made, truth: (F, H, W, 3); without a truth there is one line.
    """
    lines = [made] if truth is None else [truth, made]
    shown = [side_by_side([frames[int((i + 0.5) * len(frames) / COLUMNS)] for i in range(COLUMNS)]) for frames in lines]
    strip = np.concatenate([np.pad(line, ((0, GAP), (0, 0), (0, 0)), constant_values=PAPER) for line in shown])
    first = as_cell(reference)
    left = np.full((len(strip), first.shape[1] + 3 * GAP, 3), PAPER, np.uint8)
    left[:first.shape[0], :first.shape[1]] = first
    return np.concatenate([left, strip], axis=1)


def side_by_side(frames: list[np.ndarray]) -> np.ndarray:
    """The frames as cells in a line."""
    gap = ((0, 0), (0, GAP), (0, 0))
    return np.concatenate([np.pad(as_cell(frame), gap, constant_values=PAPER) for frame in frames], axis=1)


def as_cell(picture: np.ndarray) -> np.ndarray:
    """The picture resized to a cell's height."""
    height, width = picture.shape[:2]
    return cv2.resize(picture, (max(round(width * CELL_HEIGHT / height), 1), CELL_HEIGHT), interpolation=cv2.INTER_AREA)


def results_table(results: Results) -> str:
    """results.md: the headline measures of every row, and the paired differences, as Markdown."""
    named = {metric.name: metric for metric in results.shown_metrics()}
    metrics = [*results.judges, *(named[name] for name in HEADLINE if name in named)]
    rows, baseline = results.rows, baseline_of(results.rows)
    lines = ["| row | " + " | ".join(f"{metric.title}{metric.unit and ', ' + metric.unit}" for metric in metrics) + " |",
             "|---" * (len(metrics) + 1) + "|"]
    for row in rows:
        cells = [with_bounds(row.figures[metric.name], "{}", len(row.clips)) for metric in metrics]
        lines.append(f"| {row.variant.title} | {' | '.join(cells)} |")
    compared = [row for row in rows if row.gains and not row.variant.bound]
    if compared:
        lines += ["", f"Mean difference to \"{baseline.variant.title}\", clip by clip; **bold**: sure, with all comparisons counted.", "",
                  lines[0], lines[1]]
    for row in compared:
        cells = [with_bounds(row.gains[metric.name], "**{}**" if row.adjusted.get(metric.name, 1.0) < SURE else "{}",
                             len(row.clips)) if metric.name in row.gains else "-" for metric in metrics]
        lines.append(f"| {row.variant.title} | {' | '.join(cells)} |")
    said = [power_line(results), classes_line(results.motions), *(
        f"{judge.title}, {row.variant.title}: {count} clips unknown" for judge in results.judges for row in rows
        if (count := row.not_judged(judge.name)))]
    return "\n".join([*lines, "", *(f"{line}." for line in said if line)]) + "\n"


def with_bounds(figure: Interval, form: str, clips: int) -> str:
    """A figure with its interval, and on how many clips it rests where some have none."""
    if not math.isfinite(figure.mean):
        return "-"
    bounds = f" [{number(figure.low)}, {number(figure.high)}]" if math.isfinite(figure.low) else ""
    return form.format(number(figure.mean)) + bounds + (f" of {figure.count}" if figure.count < clips else "")


# ---------------------------------------------------------------- measures with targets, as other commands print them

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
