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
from scipy import stats

from motionbench.judges import cohens_kappa
from motionbench.metrics import Features, Metric
from motionbench.settings import FROM_FILES, FULL, Variant

NAN = float("nan")
JUDGED = "motion_score_"                    # how the name of a judge's measure begins
CONFIDENCE = 0.95
NUM_DRAWS = 2000
MIN_VALUES = 3                  # with fewer there is nothing to draw from


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
    gains: dict[str, Interval] = field(default_factory=dict)    # over the first row, clip by clip

    @property
    def failures(self) -> list[ClipResult]:
        return [clip for clip in self.clips if clip.failure]

    def values(self, metric: str) -> list[float]:
        """The clips' numbers, in their order."""
        return clip_values(self.clips, metric)

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
            figures[metric.name] = mean_interval(clip_values(clips, metric.name), seed)
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


def with_gains(rows: Sequence[RowResult], metrics: Sequence[Metric], seed: int) -> tuple[RowResult, ...]:
    """The rows with their difference to the first one, where that is the whole system, clip by clip."""
    first = rows[0]
    if first.variant.name not in (FULL, FROM_FILES):
        return tuple(rows)
    compared = [metric.name for metric in metrics if not metric.of_a_set and not metric.absent]
    return (first, *(replace(row, gains={name: difference_interval(row.values(name), first.values(name), seed)
                                         for name in compared}) for row in rows[1:]))


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
    def interval(figure: Interval) -> dict:
        return {name: value if math.isfinite(value) else None for name, value in asdict(figure).items()}

    shown = ("title", "unit", "better", "formula", "failed_counts", "source", "protocol", "absent")
    rows = {}
    for row in results.rows:
        rows[row.variant.name] = {
            "title": row.variant.title, "note": row.variant.note, "clips": len(row.clips), "failed": len(row.failures),
            "figures": {name: interval(figure) for name, figure in row.figures.items()},
            "unknown_because": {name: note for name, note in row.notes.items()
                                if note and not math.isfinite(row.figures[name].mean)},
            "against_first_row": {name: interval(figure) for name, figure in row.gains.items()},
            "judges_agree": [{"judges": [one, other], "kappa": kappa if math.isfinite(kappa) else None, "clips": both}
                             for one, other, kappa, both in agreement(row, results.judges)]}
    return {"summary": results.failure_line(), "settings": results.settings, "versions": results.versions,
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


@dataclass(frozen=True)
class Interval:
    """A mean and where 95 of 100 such intervals hold the true one; bounds are NaN where too few clips are known."""

    mean: float
    low: float
    high: float
    count: int                  # values it rests on


def mean_interval(values: Sequence[float], seed: int = 0) -> Interval:
    """Of the mean over clips; NaN values do not count.

    Bias-corrected and accelerated bootstrap (Efron 1987; scipy). Shares of clips, all values 0 or 1, have Wilson's
    interval instead: where every clip succeeds each draw is equal, and a bootstrap would claim certainty.
    """
    known = np.asarray([value for value in values if np.isfinite(value)], np.float64)       # (N,)
    mean = float(known.mean()) if len(known) else float("nan")
    if len(known) and np.isin(known, (0, 1)).all():
        share = stats.binomtest(int(known.sum()), len(known)).proportion_ci(CONFIDENCE, method="wilson")
        return Interval(mean, share.low, share.high, len(known))
    if len(known) < MIN_VALUES:
        return Interval(mean, float("nan"), float("nan"), len(known))
    if np.ptp(known) == 0:
        return Interval(mean, mean, mean, len(known))
    found = stats.bootstrap((known,), np.mean, n_resamples=NUM_DRAWS, confidence_level=CONFIDENCE, method="BCa",
                            rng=np.random.default_rng(seed)).confidence_interval
    return Interval(mean, float(found.low), float(found.high), len(known))


def difference_interval(ours: Sequence[float], theirs: Sequence[float], seed: int = 0) -> Interval:
    """Of the mean difference, clip by clip: of the same identity and motion in both, NaN where either is unknown."""
    if len(ours) != len(theirs):
        raise ValueError(f"clips to compare: expected as many on both sides (found {len(ours)} and {len(theirs)})")
    gained = np.subtract(ours, theirs)                                                      # (N,)
    if np.isfinite(gained).any() and np.isin(gained[np.isfinite(gained)], (-1, 0, 1)).all():
        return percentile_interval(gained[np.isfinite(gained)], np.mean, seed)
    return mean_interval(gained, seed)


def set_interval(combined: Callable[[list], float], clips: Sequence, seed: int = 0, num_draws: int = 200) -> Interval:
    """Of a figure that only a set of clips has, e.g. a Fréchet distance: clips are drawn with replacement.

    A Fréchet distance grows when clips repeat, as they do in a draw: the draws are shifted until their mean is the
    whole set's figure. The interval says how far it scatters for this number of clips, not what more clips would give.
    """
    rng, whole = np.random.default_rng(seed), float(combined(list(clips)))
    if len(clips) < MIN_VALUES:
        return Interval(whole, float("nan"), float("nan"), len(clips))
    draws = [float(combined([clips[i] for i in rng.integers(len(clips), size=len(clips))])) for _ in range(num_draws)]
    lower, upper = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    shift = whole - float(np.mean(draws))
    return Interval(whole, max(0.0, lower + shift), upper + shift, len(clips))


def percentile_interval(values: np.ndarray, figure: Callable, seed: int) -> Interval:
    """Percentile bootstrap: for values of three kinds, whose draws may be constant."""
    rng = np.random.default_rng(seed)
    draws = figure(values[rng.integers(len(values), size=(NUM_DRAWS, len(values)))], axis=1)
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(figure(values)), float(low), float(high), len(values))
