"""What a run found: every clip's scores, figures with their 95 % intervals for every row, what each stage is worth."""
from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np

from motionbench.cells import MOTIONS
from motionbench.judges import cohens_kappa, confusion
from motionbench.metrics import Features, Metric
from motionbench.settings import FROM_FILES, FULL, GIVEN, Variant
from motionbench.statistics import detectable_share, difference_interval, holm, Interval, mean_interval, set_interval

NAN = float("nan")
JUDGED = "motion_score_"                    # how the name of a judge's measure begins
SURE = 0.05                                 # p below which a difference is called one, all comparisons of a run counted


@dataclass(frozen=True)
class ClipResult:
    """One clip of one row."""

    name: str
    identity: str
    motion: str
    failure: str                            # "": it was measured
    scores: dict[str, dict]                 # metric -> value (None: unknown), note, label
    seconds: float = 0.0                    # of video

    def value(self, metric: str) -> float:
        """A measure's number; NaN where it is unknown."""
        value = self.scores.get(metric, {}).get("value")
        return NAN if value is None else float(value)

    def note(self, metric: str) -> str:
        """What the measure says about its number."""
        return self.scores.get(metric, {}).get("note", "")

    def label(self, metric: str) -> str:
        """What a judge recognised."""
        return self.scores.get(metric, {}).get("label", "")


@dataclass(frozen=True)
class RowResult:
    """One variant: its clips in the order of the benchmark's cells, and its figures."""

    variant: Variant
    clips: tuple[ClipResult, ...]
    figures: dict[str, Interval]            # by metric
    notes: dict[str, str]                   # by metric: why it is unknown
    gains: dict[str, Interval] = field(default_factory=dict)    # over the baseline, clip by clip
    adjusted: dict[str, float] = field(default_factory=dict)    # p of the gains, with all comparisons counted (Holm)

    @property
    def failures(self) -> list[ClipResult]:
        return [clip for clip in self.clips if clip.failure]

    def values(self, metric: str) -> list[float]:
        """The clips' numbers, in their order."""
        return clip_values(self.clips, metric)

    def not_judged(self, judge: str) -> int:
        """Clips that were made and of which the judge could not tell: they count neither as right nor as wrong."""
        return sum(not clip.failure and math.isnan(clip.value(judge)) for clip in self.clips)

    def means_by(self, key: Callable[[ClipResult], str], names: Sequence[str], metric: str) -> list[float]:
        """The mean over each identity's or motion's clips; NaN where none is known."""
        values = list(zip(self.clips, self.values(metric)))
        found = {name: [value for clip, value in values if key(clip) == name] for name in names}
        return [float(np.nanmean(values)) if np.isfinite(values).any() else NAN for values in found.values()]


@dataclass(frozen=True)
class Results:
    """A whole run."""

    settings: dict[str, dict]               # MotionBench's, and inference's
    versions: dict[str, str]
    metrics: tuple[Metric, ...]
    motions: tuple[str, ...]
    identities: tuple[str, ...]
    rows: tuple[RowResult, ...]

    @property
    def num_clips(self) -> int:
        """Of all rows."""
        return sum(len(row.clips) for row in self.rows)

    @property
    def failures(self) -> list[tuple[str, ClipResult]]:
        return [(row.variant.name, clip) for row in self.rows for clip in row.failures]

    @cached_property
    def judges(self) -> tuple[Metric, ...]:
        """The measures that are a judge's."""
        return tuple(metric for metric in self.metrics if metric.name.startswith(JUDGED))

    def shown_metrics(self) -> tuple[Metric, ...]:
        """Those that at least one row has a figure for."""
        return tuple(metric for metric in self.metrics
                     if any(math.isfinite(row.figures[metric.name].mean) for row in self.rows))

    def absent_metrics(self) -> dict[str, str]:
        """Why each of the others has none: title -> reason."""
        absent = {}
        for metric in self.metrics:
            if metric not in self.shown_metrics():
                noted = [note for row in self.rows if (note := row.notes.get(metric.name))]
                absent[metric.title] = metric.absent or (noted[0] if noted else "no clip has it")
        return absent

    def failure_line(self) -> str:
        """How many clips failed, and why; reasons that only differ in the clip's name count together."""
        failed = self.failures
        if not failed:
            return f"{self.num_clips} clips measured, none failed"
        reasons = Counter(clip.failure.replace(clip.name, "…").replace(clip.identity, "…") for _, clip in failed)
        listed = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
        return f"{len(failed)} of {self.num_clips} clips failed: {listed}"


def clip_values(clips: Sequence[ClipResult], metric: str) -> list[float]:
    """A measure's value of every clip. Where no clip that was made has one, as when a judge's server was down, those
    that failed have none either: they would be all of the mean."""
    values = [clip.value(metric) for clip in clips]
    made = [value for clip, value in zip(clips, values) if not clip.failure]
    return [NAN] * len(values) if made and not np.isfinite(made).any() else values


def row_result(variant: Variant, clips: Sequence[ClipResult], metrics: Sequence[Metric],
               features: Callable[[ClipResult, Metric], Features | None], set_draws: int, seed: int) -> RowResult:
    """Figures of one row. features: what a set's measure kept of a clip."""
    figures, notes = {}, {}
    for metric in metrics:
        if metric.absent:
            figures[metric.name], notes[metric.name] = Interval(NAN, NAN, NAN, 0), metric.absent
        elif metric.of_a_set:
            kept = [found for clip in clips if (found := features(clip, metric))]
            figures[metric.name], notes[metric.name] = set_figure(metric, kept, set_draws, seed)
        else:
            figures[metric.name] = mean_interval(clip_values(clips, metric.name), groups_of(clips), metric.range)
        if not notes.get(metric.name):
            unknown = (clip.note(metric.name) for clip in clips if math.isnan(clip.value(metric.name)))
            notes[metric.name] = next((note for note in unknown if note), "")
    return RowResult(variant, tuple(clips), figures, notes)


def set_figure(metric: Metric, features: list[Features], num_draws: int, seed: int) -> tuple[Interval, str]:
    """Of a measure that only a set has, and why it is unknown."""
    unknown = Interval(NAN, NAN, NAN, len(features))
    if not features:
        return unknown, ""
    whole = metric.of_set(features)
    if not whole.known or not num_draws:
        return Interval(whole.value, NAN, NAN, len(features)), whole.note
    return set_interval(lambda drawn: metric.of_set(drawn).value, features, seed, num_draws), whole.note


def groups_of(clips: Sequence[ClipResult]) -> list[tuple[str, str]]:
    """Whose clip each is, and of which motion."""
    return [(clip.identity, clip.motion) for clip in clips]


def baseline_of(rows: Sequence[RowResult]) -> RowResult | None:
    """The row that the others are compared with: given the true motion as they are, else the first if it is a whole system."""
    named = {row.variant.name: row for row in rows}
    return named.get(GIVEN) or (rows[0] if rows[0].variant.name in (FULL, FROM_FILES) else None)


def with_gains(rows: Sequence[RowResult], metrics: Sequence[Metric]) -> tuple[RowResult, ...]:
    """The rows with their difference to the baseline, clip by clip; p-values count all comparisons but those of bounds."""
    baseline = baseline_of(rows)
    if baseline is None:
        return tuple(rows)
    compared = [metric.name for metric in metrics if not metric.of_a_set and not metric.absent]
    found = []
    for row in rows:
        gains = {} if row is baseline else {
            name: difference_interval(row.values(name), baseline.values(name), groups_of(row.clips)) for name in compared}
        found.append(replace(row, gains=gains))
    judged = [(row, name) for row in found if not row.variant.bound for name in row.gains]
    adjusted = holm([row.gains[name].p for row, name in judged])
    for (row, name), p in zip(judged, adjusted):
        row.adjusted[name] = p
    return tuple(found)


def power_line(results: Results) -> str:
    """How large a difference must be for so many clips to tell two rows apart."""
    count = len(results.rows[0].clips)
    share = detectable_share(count)
    if not results.judges or math.isnan(share):
        return f"{count} clips a row cannot tell shares of clips apart"
    wanted = next((number for number in (20, 40, 60, 100, 200, 400, 1000) if detectable_share(number) <= 0.1), None)
    return (f"{count} clips a row tell two MotionScores apart (4 times of 5, one comparison) that differ by {share:.2f} or "
            f"more; {wanted} clips are needed for a difference of 0.10")


def classes_line(motions: Sequence[str]) -> str:
    """What a choice of motions does to MotionScore; "" with all of them."""
    if len(motions) == len(MOTIONS):
        return ""
    return (f"only {len(motions)} of {len(MOTIONS)} motions: the judge chooses from other classes than with all, so that "
            "MotionScore compares only with runs of the same motions")


def taken_for(row: RowResult, judge: str, motions: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """What each motion was recognised as: the columns' names, and clips counted (motions, columns)."""
    recognised = [clip.label(judge) for clip in row.clips]
    columns = [*motions, *sorted(set(recognised) - {*motions, ""})]
    return columns, confusion([clip.motion for clip in row.clips], recognised, columns)[:len(motions)]


def agreement(row: RowResult, judges: Sequence[Metric]) -> list[tuple[str, str, float, int]]:
    """Of every two judges on the row's clips: names, Cohen's kappa, clips both judged."""
    found = []
    for index, one in enumerate(judges):
        for other in judges[index + 1:]:
            labels = [[clip.label(judge.name) for clip in row.clips] for judge in (one, other)]
            both = sum(bool(a and b) for a, b in zip(*labels))
            found.append((one.title, other.title, cohens_kappa(*labels), both))
    return found


def as_json(results: Results) -> dict:
    """results.json: everything but the single clips, which results.csv has. Unknown numbers are null."""
    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    def interval(figure: Interval) -> dict:
        return {name: finite(value) for name, value in asdict(figure).items()}

    def recognised(row: RowResult, judge: str) -> dict:
        columns, counts = taken_for(row, judge, results.motions)
        return {motion: {name: int(count) for name, count in zip(columns, line) if count}
                for motion, line in zip(results.motions, counts) if line.any()}

    baseline = baseline_of(results.rows)
    shown = ("title", "unit", "better", "formula", "failed_counts", "source", "protocol", "absent")
    rows = {}
    for row in results.rows:
        rows[row.variant.name] = {
            "title": row.variant.title, "note": row.variant.note, "clips": len(row.clips), "failed": len(row.failures),
            "figures": {name: interval(figure) for name, figure in row.figures.items()},
            "unknown_because": {name: note for name, note in row.notes.items()
                                if note and not math.isfinite(row.figures[name].mean)},
            "not_judged": {judge.name: row.not_judged(judge.name) for judge in results.judges},
            "recognised": {judge.name: recognised(row, judge.name) for judge in results.judges},
            "against_baseline": {name: interval(figure) | {"p_of_all": finite(row.adjusted.get(name, NAN))}
                                 for name, figure in row.gains.items()},
            "judges_agree": [{"judges": [one, other], "kappa": kappa if math.isfinite(kappa) else None, "clips": both}
                             for one, other, kappa, both in agreement(row, results.judges)]}
    return {"summary": results.failure_line(), "classes": classes_line(results.motions), "power": power_line(results),
            "baseline": baseline.variant.name if baseline else None, "settings": results.settings, "versions": results.versions,
            "motions": results.motions, "identities": results.identities,
            "metrics": {metric.name: {name: getattr(metric, name) for name in shown}
                        | {"range": [end if math.isfinite(end) else None for end in metric.range]}
                        for metric in results.metrics},
            "rows": rows, "failures": [{"variant": variant, "clip": clip.name, "reason": clip.failure}
                                       for variant, clip in results.failures]}


def as_csv(results: Results) -> str:
    """results.csv: one line per clip and row."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    single = [metric for metric in results.metrics if not metric.of_a_set and not metric.absent]
    table.writerow(("variant", "clip", "identity", "motion", "failure", "seconds", *(metric.name for metric in single),
                    *(f"{judge.name}_label" for judge in results.judges)))
    for row in results.rows:
        for clip in row.clips:
            numbers = [clip.scores.get(metric.name, {}).get("value") for metric in single]
            table.writerow((row.variant.name, clip.name, clip.identity, clip.motion, clip.failure, f"{clip.seconds:g}",
                            *("" if number is None else f"{number:.6g}" for number in numbers),
                            *(clip.label(judge.name) for judge in results.judges)))
    return text.getvalue()
