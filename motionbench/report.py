"""report.html: what was measured, how sure that is, where it goes wrong, and what it was measured with."""

from __future__ import annotations

import math
from collections import Counter
from html import escape
from operator import attrgetter

import yaml

from motionbench.bootstrap import Interval
from motionbench.figures import heat_map, strips
from motionbench.metrics import Metric
from motionbench.page import folded, page, picture, table, text_cell, tile
from motionbench.results import ClipResult, Results, RowResult, agreement
from motionbench.table import number
from motionbench.worst import WorstClip

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
