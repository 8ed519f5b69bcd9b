"""95 % intervals: how far a figure might move if other clips of the same kind had been made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
NUM_DRAWS = 2000
MIN_VALUES = 3                  # with fewer there is nothing to draw from


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
        return _percentiles(gained[np.isfinite(gained)], np.mean, seed)
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


def _percentiles(values: np.ndarray, figure: Callable, seed: int) -> Interval:
    """Percentile bootstrap: for values of three kinds, whose draws may be constant."""
    rng = np.random.default_rng(seed)
    draws = figure(values[rng.integers(len(values), size=(NUM_DRAWS, len(values)))], axis=1)
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(figure(values)), float(low), float(high), len(values))
