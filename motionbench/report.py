"""report.html: what was measured, how sure that is, where it goes wrong, and what it was measured with."""
from __future__ import annotations

import base64
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from operator import attrgetter

import cv2
import numpy as np
import yaml
from PIL import Image
from scipy.stats import rankdata

from motionbench.figures import heat_map, strips
from motionbench.metrics import Metric
from motionbench.results import agreement, ClipResult, Interval, Results, RowResult
from motionbench.table import number

OPEN_MEASURES = 1               # of the sections on single measures, so many are unfolded
MOST_FAILURES, MOST_MISTAKES = 40, 12
ARROWS = {"higher": "↑", "lower": "↓", "": ""}
EDITIONS = {"synthetic": "procedural people and motions, each with its true video",
            "real": "pictures and prompts, without a truth"}
PAPER_SCORE = ("The Fleximo paper states a MotionScore of 0.699; how it was measured is unpublished, so it cannot be "
               "compared with the ones here.")
MEASURES_NOTE = ("Each dot is a clip, the box holds the middle half of them, and the orange bar is the mean with its "
                 "95 % interval. In the maps darker is better.")
TABLE_NOTE = ("Below each mean its 95 % interval over clips, and on how many clips it rests where some have no value. "
              "↑ more is better, ↓ less is.")
WORST_NOTE = ("Ranked by the mean of a clip's ranks over all measures. Left the given picture; where there is a true "
              "video, it is the upper line.")
MOST_FACTS = 5                  # numbers under a worst clip
STYLE = """
:root { --ink: #1c2733; --faint: #66727f; --rule: #dde3e9; --paper: #fbfcfd; --accent: #16547c;
  --good: #1d7a4f; --bad: #b3392b; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 40px 28px 80px; }
h1 { font-size: 30px; margin: 0 0 4px; letter-spacing: -0.01em; }
h2 { font-size: 20px; margin: 48px 0 10px; padding-top: 14px; border-top: 1px solid var(--rule); }
h3 { font-size: 16px; margin: 22px 0 6px; }
p { margin: 6px 0; max-width: 80ch; }
.faint, figcaption, small { color: var(--faint); }
.tiles { display: flex; flex-wrap: wrap; gap: 14px; margin: 22px 0 8px; }
.tile { background: #fff; border: 1px solid var(--rule); border-radius: 10px; padding: 12px 18px; min-width: 150px; }
.tile b { display: block; font-size: 26px; line-height: 1.2; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; background: #fff; }
th, td { padding: 6px 10px; border-bottom: 1px solid var(--rule); text-align: right; vertical-align: top;
  white-space: nowrap; }
td.text { text-align: left; white-space: normal; }
th { font-weight: 600; } thead th { vertical-align: bottom; white-space: normal; max-width: 130px; }
th:first-child { text-align: left; position: sticky; left: 0; background: #fff; }
tbody th { font-weight: 500; }
td small { display: block; font-size: 11.5px; }
td.best { font-weight: 700; color: var(--accent); } td.better { color: var(--good); } td.worse { color: var(--bad); }
th.bound, td.bound { background: #f4f6f8; } td.none { color: #b6bfc8; text-align: center; }
.heat th, .heat td { padding: 3px 5px; font-size: 11.5px; border: 1px solid #fff; text-align: center; }
.heat th:first-child { text-align: left; padding-right: 12px; }
.heat th.up { height: 108px; vertical-align: bottom; padding: 0; }
.heat th.up span { writing-mode: vertical-rl; transform: rotate(180deg); }
.strips { width: 100%; max-width: 900px; height: auto; display: block; margin: 10px 0; }
.strips text { font-size: 12px; fill: var(--ink); } .strips .name { text-anchor: end; }
.strips .tick { text-anchor: middle; fill: var(--faint); }
.grid { stroke: #edf1f4; } .box { fill: #dbe6ee; } .dot { fill: var(--accent); opacity: 0.45; }
.interval { stroke: #e08a2e; stroke-width: 4; } .mean { stroke: #b35c00; stroke-width: 2.5; }
details { border: 1px solid var(--rule); border-radius: 8px; background: #fff; margin: 10px 0; padding: 10px 16px; }
summary { cursor: pointer; font-weight: 600; }
figure { margin: 18px 0; } figure img { max-width: 100%; border: 1px solid var(--rule); border-radius: 6px; }
figcaption { margin-bottom: 6px; } figcaption b { color: var(--ink); }
pre { background: #f4f6f8; padding: 12px 14px; border-radius: 8px; overflow-x: auto; font-size: 12.5px;
  line-height: 1.45; }
.alarm { border-left: 4px solid var(--bad); padding: 6px 14px; background: #fdf3f1; }
"""
COLUMNS = 7                             # moments of a clip
CELL_HEIGHT, GAP = 150, 4               # pixels
PAPER = 250
QUALITY = 82                            # of the JPEG


def report_page(results: Results, worst: list[WorstClip]) -> str:
    """The whole report."""
    metrics = results.shown_metrics()
    name = results.settings["motionbench"]["name"]
    body = [*heading(results, name), "<h2>All measures</h2>", main_table(results, metrics)]
    if any(row.gains for row in results.rows):
        body += ["<h2>What each stage is worth</h2>", gains_table(results, metrics)]
    body += ["<h2>Measure by measure</h2>", f"<p class='faint'>{MEASURES_NOTE}</p>"]
    body += [measure_section(results, metric, index < OPEN_MEASURES)
             for index, metric in enumerate(metrics) if not metric.of_a_set]
    body += [*mistakes(results), *judges_section(results), *worst_section(results, worst), *failures_section(results)]
    body += [*absent_section(results), *settings_section(results)]
    return page(f"MotionBench: {name}", body)


def heading(results: Results, name: str) -> list[str]:
    """What was run, and the figures to read first."""
    first, edition = results.rows[0], results.settings["motionbench"]["edition"]
    judged = [(judge, first.figures[judge.name]) for judge in results.judges]
    tiles = [tile(f"{number(figure.mean)}<small class='faint'> {bounds(figure)}</small>",
                  f"{judge.title}, {first.variant.title}") for judge, figure in judged if math.isfinite(figure.mean)]
    tiles += [tile(f"{len(first.clips)}", f"clips in each of {len(results.rows)} rows"),
              tile(f"{len(results.identities)} × {len(results.motions)}", "identities × motions"),
              tile(f"{len(results.failures)}", "clips failed")]
    lines = [f"<h1>MotionBench: {escape(name)}</h1>",
             f"<p class='faint'>{escape(edition)} edition: {EDITIONS[edition]}</p>",
             f"<div class='tiles'>{''.join(tiles)}</div>"]
    if results.failures:
        lines.append(f"<p class='alarm'>{escape(results.failure_line())}. They count as failed: nothing is "
                     "recognised in them, and beside the true video they are black. Measures that only videos have, such "
                     "as jitter, say on how many clips they rest.</p>")
    return [*lines, f"<p class='faint'>{PAPER_SCORE}</p>"]


def main_table(results: Results, metrics: tuple[Metric, ...]) -> str:
    """Measures down, rows of the benchmark across; the best of what is no bound is marked."""
    head = ["", *(escape(row.variant.title) for row in results.rows)]
    lines = [["clips measured", *(f"{len(row.clips) - len(row.failures)}<small>of {len(row.clips)}</small>"
                                  for row in results.rows)]]
    for metric in metrics:
        figures = [row.figures[metric.name] for row in results.rows]
        made = [figure.mean for row, figure in zip(results.rows, figures) if not row.variant.bound]
        best = best_of(made, metric.better) if len(made) > 1 else math.nan
        lines.append([named(metric), *(figure_cell(figure, row, not row.variant.bound and figure.mean == best)
                                       for row, figure in zip(results.rows, figures))])
    notes = [f"<li><b>{escape(row.variant.title)}</b>: {escape(row.variant.note)}</li>"
             for row in results.rows if row.variant.note]
    return (table(head, lines, {index + 1 for index, row in enumerate(results.rows) if row.variant.bound})
            + f"<p class='faint'>{TABLE_NOTE}</p><ul class='faint'>{''.join(notes)}</ul>")


def figure_cell(figure: Interval, row: RowResult, is_best: bool) -> str:
    kind = " ".join((["bound"] if row.variant.bound else []) + (["best"] if is_best else []))
    if not math.isfinite(figure.mean):
        return f"<td class='none {kind}'>–</td>"
    counted = f"<small>of {figure.count}</small>" if figure.count < len(row.clips) else ""
    return f"<td class='{kind}'>{number(figure.mean)}<small>{bounds(figure)}</small>{counted}</td>"


def gains_table(results: Results, metrics: tuple[Metric, ...]) -> str:
    """How much every row differs from the first, clip by clip, and whether that is more than chance."""
    rows = [row for row in results.rows if row.gains and not row.variant.bound]
    shown = [metric for metric in metrics
             if any(math.isfinite(row.gains[metric.name].mean) for row in rows if metric.name in row.gains)]
    if not rows or not shown:
        return "<p class='faint'>No other row to compare with.</p>"
    lines = [[named(metric), *(gain_cell(row.gains[metric.name], metric.better) for row in rows)] for metric in shown]
    first = escape(results.rows[0].variant.title)
    return (table(["", *(escape(row.variant.title) for row in rows)], lines)
            + f"<p class='faint'>Mean difference to “{first}” on the same clips, with its 95 % interval. Red: worse, so "
            "what was taken out helps. Green: better, so it harms. Black: no difference beyond chance.</p>")


def gain_cell(gain: Interval, better: str) -> str:
    if not math.isfinite(gain.mean):
        return "<td class='none'>–</td>"
    sure = math.isfinite(gain.low) and (gain.low > 0 or gain.high < 0)
    kind = ("better" if (gain.mean > 0) == (better == "higher") else "worse") if sure and better else ""
    return f"<td class='{kind}'>{gain.mean:+.3g}<small>{bounds(gain)}</small></td>"


def measure_section(results: Results, metric: Metric, is_open: bool) -> str:
    """One measure: what it is, its distribution, and where it is good and bad."""
    rows = [row for row in results.rows if math.isfinite(row.figures[metric.name].mean)]
    names, values = [row.variant.title for row in rows], [row.values(metric.name) for row in rows]
    about = (metric.formula, metric.failed_counts, metric.protocol, metric.source and f"source: {metric.source}")
    parts = [f"<p class='faint'>{escape('; '.join(part.rstrip('.') for part in about if part))}</p>",
             strips(names, values, [row.figures[metric.name] for row in rows])]
    shown = {clip.motion for clip in results.rows[0].clips}
    motions = [motion for motion in results.motions if motion in shown]
    for title, key, columns in (("By motion", attrgetter("motion"), motions),
                                ("By identity", attrgetter("identity"), results.identities)):
        means = [row.means_by(key, columns, metric.name) for row in rows]
        parts += [f"<h3>{title}</h3>", heat_map(names, columns, means, metric.better)]
    return folded(named(metric), "".join(parts), is_open)


def mistakes(results: Results) -> list[str]:
    """Which motion was taken for which, most frequent first."""
    lines = []
    for judge in results.judges:
        for row in results.rows:
            wrong = Counter((clip.motion, clip.label(judge.name)) for clip in row.clips
                            if clip.value(judge.name) == 0 and clip.label(judge.name))
            if wrong and not row.variant.bound:
                listed = ", ".join(f"{motion} → {label}" + (f" ({count})" if count > 1 else "")
                                   for (motion, label), count in wrong.most_common(MOST_MISTAKES))
                lines.append([f"{escape(judge.title)}, {escape(row.variant.title)}", text_cell(listed)])
    return ["<h2>What was taken for what</h2>", table(["", "prompted → recognised"], lines)] if lines else []


def judges_section(results: Results) -> list[str]:
    """How far the judges agree."""
    lines = [[escape(row.variant.title), f"{escape(one)} and {escape(other)}", number(kappa), str(both)]
             for row in results.rows for one, other, kappa, both in agreement(row, results.judges)]
    return ["<h2>Do the judges agree?</h2>", table(["", "judges", "Cohen's κ", "clips"], lines)] if lines else []


def worst_section(results: Results, worst: list[WorstClip]) -> list[str]:
    """The worst clips of the first row, beside their truth."""
    if not worst:
        return []
    lines = [f"<h2>The {len(worst)} worst clips of “{escape(results.rows[0].variant.title)}”</h2>",
             f"<p class='faint'>{WORST_NOTE}</p>"]
    for clip in worst:
        result = clip.result
        facts = [f"failed: {result.failure}"] if result.failure else worst_facts(results, result)
        caption = f"<b>{escape(result.name)}</b> · {escape(' · '.join(facts))}"
        shown = picture(clip.jpeg, result.name) if clip.jpeg else ""
        lines.append(f"<figure><figcaption>{caption}</figcaption>{shown}</figure>")
    return lines


def worst_facts(results: Results, clip: ClipResult) -> list[str]:
    """What the judges said, and the first few numbers."""
    said = [f"{judge.title}: {clip.note(judge.name) or number(clip.value(judge.name))}" for judge in results.judges]
    known = [metric for metric in results.shown_metrics()
             if metric.better and metric not in results.judges and math.isfinite(clip.value(metric.name))]
    return said + [f"{metric.title} {number(clip.value(metric.name))}" for metric in known[:MOST_FACTS]]


def failures_section(results: Results) -> list[str]:
    lines = [[escape(variant), text_cell(clip.name), text_cell(clip.failure)]
             for variant, clip in results.failures[:MOST_FAILURES]]
    if not lines:
        return []
    more = len(results.failures) - len(lines)
    return ["<h2>Failed clips</h2>", table(["row", "clip", "why"], lines),
            *([f"<p class='faint'>and {more} more, in results.json</p>"] if more > 0 else [])]


def absent_section(results: Results) -> list[str]:
    """Measures the table lacks, each with what it would take."""
    lines = [[escape(title), text_cell(reason)] for title, reason in results.absent_metrics().items()]
    return ["<h2>Not measured</h2>", table(["measure", "why"], lines)] if lines else []


def settings_section(results: Results) -> list[str]:
    """Everything needed to make the same numbers again."""
    versions = ", ".join(f"{name} {value}" for name, value in results.versions.items())
    texts = {name: yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
             for name, values in results.settings.items()}
    return ["<h2>Settings and versions</h2>", f"<p>{escape(versions)}</p>",
            *(folded(name, f"<pre>{escape(text)}</pre>") for name, text in texts.items())]


def best_of(means: list[float], better: str) -> float:
    """The best of what is known, NaN where nothing is, or neither direction is better."""
    known = [mean for mean in means if math.isfinite(mean)]
    return math.nan if not known or not better else (max if better == "higher" else min)(known)


def bounds(figure: Interval) -> str:
    return f"{number(figure.low)} – {number(figure.high)}" if math.isfinite(figure.low) else ""


def named(metric: Metric) -> str:
    """Title, unit, and which way is better."""
    return f"{escape(metric.title)}{f', {escape(metric.unit)}' if metric.unit else ''} {ARROWS[metric.better]}"


def page(title: str, body: list[str]) -> str:
    """A whole HTML document."""
    head = ("<meta charset='utf-8'>\n<meta name='viewport' content='width=device-width'>\n"
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>")
    return "\n".join(["<!doctype html>", "<html lang='en'>", f"<head>\n{head}\n</head>", "<body>\n<main>", *body,
                      "</main>\n</body>", "</html>", ""])


def table(head: list[str], rows: list[list[str]], bounds: set[int] = frozenset()) -> str:
    """Cells are HTML: "<td>…</td>" as they are, other text in a cell of its own. bounds: columns set apart."""
    top = "".join(f"<th{' class=bound' if index in bounds else ''}>{cell}</th>" for index, cell in enumerate(head))
    lines = []
    for first, *rest in rows:
        cells = "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in rest)
        lines.append(f"<tr><th>{first}</th>{cells}</tr>")
    return f"<div class='wide'><table><thead><tr>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"


def text_cell(text: str) -> str:
    """A cell of words instead of numbers."""
    return f"<td class='text'>{escape(text)}</td>"


def tile(value: str, text: str) -> str:
    return f"<div class='tile'><b>{value}</b><span class='faint'>{escape(text)}</span></div>"


def folded(title: str, content: str, is_open: bool = False) -> str:
    return f"<details{' open' if is_open else ''}><summary>{title}</summary>{content}</details>"


def picture(jpeg: bytes, alt: str) -> str:
    return f"<img alt='{escape(alt, quote=True)}' src='data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}'>"


@dataclass(frozen=True)
class WorstClip:
    """One of the report's worst clips. jpeg: empty where there is no picture to show."""

    result: ClipResult
    jpeg: bytes


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


def sheet(reference: np.ndarray, made: np.ndarray, truth: np.ndarray | None) -> bytes:
    """The picture, then moments of the true video above the same moments of the made one, as a JPEG.

    reference: (H, W, 3) uint8 RGB; made, truth: (F, H, W, 3); without a truth there is one line.
    """
    lines = [made] if truth is None else [truth, made]
    shown = [_line([frames[int((i + 0.5) * len(frames) / COLUMNS)] for i in range(COLUMNS)]) for frames in lines]
    strip = np.concatenate([np.pad(line, ((0, GAP), (0, 0), (0, 0)), constant_values=PAPER) for line in shown])
    first = _fitted(reference)
    left = np.full((len(strip), first.shape[1] + 3 * GAP, 3), PAPER, np.uint8)
    left[:first.shape[0], :first.shape[1]] = first
    file = io.BytesIO()
    Image.fromarray(np.concatenate([left, strip], axis=1)).save(file, format="JPEG", quality=QUALITY)
    return file.getvalue()


def _line(frames: list[np.ndarray]) -> np.ndarray:
    gap = ((0, 0), (0, GAP), (0, 0))
    return np.concatenate([np.pad(_fitted(frame), gap, constant_values=PAPER) for frame in frames], axis=1)


def _fitted(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    return cv2.resize(picture, (max(round(width * CELL_HEIGHT / height), 1), CELL_HEIGHT), interpolation=cv2.INTER_AREA)
