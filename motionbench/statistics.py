"""How sure a benchmark's figures are: intervals of means and differences, tests, and what so many clips can tell.

Clips are people × motions, so that clips of one person, and of one motion, are not independent. Where people or motions
repeat, the standard error is that of the two-way (pigeonhole) bootstrap: people and motions are drawn apart from one
another, and a clip counts as often as its person times its motion (Owen 2007).
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
POWER = 0.8                     # chance with which a detectable difference is found
NUM_DRAWS = 2000
MIN_VALUES = 3                  # with fewer there is no interval and no test
NAN = float("nan")
Groups = Sequence[tuple[str, str]]              # (person, motion) of each value


@dataclass(frozen=True)
class Interval:
    """A mean and where 95 of 100 such intervals hold the true one; bounds are NaN where too few clips are known."""

    mean: float
    low: float
    high: float
    count: int                  # values it rests on
    p: float = NAN              # of a difference: how often chance alone gives one as large; NaN elsewhere
    detectable: float = NAN     # of a difference: the smallest true one that is found 4 of 5 times


def mean_interval(values: Sequence[float], groups: Groups = (), limits: tuple[float, float] = (-math.inf, math.inf)
                  ) -> Interval:
    """Of the mean over clips; NaN values do not count. limits: what the mean cannot leave.

    Student's t with the standard error of the clips, or of the two-way bootstrap where `groups` repeat. Shares of clips,
    all values 0 or 1, have Wilson's interval for as many clips as would give that standard error.
    """
    known, groups = without_unknown(values, groups)                                         # (N,)
    mean = float(known.mean()) if len(known) else NAN
    if len(known) < MIN_VALUES:
        return Interval(mean, NAN, NAN, len(known))
    error, freedom = standard_error(known, groups)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, freedom)
    if np.isin(known, (0, 1)).all():
        independent = freedom + 1 if error == 0 else min(mean * (1 - mean) / error**2, len(known))
        low, high = wilson(mean, independent, quantile)
        return Interval(mean, low, high, len(known))
    if error == 0:                                              # equal values say nothing of how they scatter
        return Interval(mean, NAN, NAN, len(known))
    reach = quantile * error
    return Interval(mean, float(max(mean - reach, limits[0])), float(min(mean + reach, limits[1])), len(known))


def difference_interval(ours: Sequence[float], theirs: Sequence[float], groups: Groups = ()) -> Interval:
    """Of the mean difference, clip by clip: of the same identity and motion in both, NaN where either is unknown.

    Shares of clips: McNemar's exact test, and the interval that belongs to it (Clopper and Pearson 1934, of the clips in
    which the two differ); where people or motions repeat, the wider of that and Student's t. Else Student's t.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"clips to compare: expected as many on both sides (found {len(ours)} and {len(theirs)})")
    gained, groups = without_unknown(np.subtract(ours, theirs), groups)                     # (N,)
    count, mean = len(gained), float(np.mean(gained)) if len(gained) else NAN
    if count < MIN_VALUES:
        return Interval(mean, NAN, NAN, count)
    error, freedom = standard_error(gained, groups)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, freedom)
    reach = quantile * error
    if np.isin(gained, (-1, 0, 1)).all():
        low, high, p = mcnemar(int((gained > 0).sum()), int((gained < 0).sum()), count)
        if repeats(groups) and error > 0:
            low, high, p = min(low, mean - reach), max(high, mean + reach), max(p, t_test(mean, error, freedom))
        return Interval(mean, max(low, -1.0), min(high, 1.0), count, p, detectable_share(count))
    if error == 0:
        return Interval(mean, NAN, NAN, count)
    found = (quantile + stats.t.ppf(POWER, freedom)) * error
    return Interval(mean, mean - reach, mean + reach, count, t_test(mean, error, freedom), float(found))


def without_unknown(values: Sequence[float], groups: Groups) -> tuple[np.ndarray, Groups]:
    """The finite values (N,) and their groups."""
    values = np.asarray(values, np.float64)
    if len(groups) not in (0, len(values)):
        raise ValueError(f"groups: expected one of each value (found {len(groups)} for {len(values)})")
    known = np.isfinite(values)
    return values[known], [group for group, there in zip(groups, known) if there]


def repeats(groups: Groups) -> bool:
    """Does any person or motion have several clips?"""
    return any(len(set(way)) < len(way) for way in zip(*groups))


def standard_error(values: np.ndarray, groups: Groups) -> tuple[float, int]:
    """Of the mean of values (N,), and its degrees of freedom: groups less one, of both ways."""
    if not repeats(groups):
        return float(values.std(ddof=1) / math.sqrt(len(values))), len(values) - 1
    rng, weights, counts = np.random.default_rng(0), np.ones((NUM_DRAWS, len(values))), []
    for way in zip(*groups):
        names, index = np.unique(way, return_inverse=True)
        if len(names) > 1:
            drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=NUM_DRAWS)
            weights *= drawn[:, index]                                                      # (draws, N)
            counts.append(len(names))
    if not counts:                                              # one person, one motion: clips are all there is
        return float(values.std(ddof=1) / math.sqrt(len(values))), len(values) - 1
    weights = weights[weights.sum(axis=1) > 0]
    means = weights @ values / weights.sum(axis=1)
    return float(means.std()), sum(counts) - len(counts)


def wilson(share: float, count: float, quantile: float) -> tuple[float, float]:
    """Wilson's interval (1927) of a share of `count` clips, which need not be whole."""
    square = quantile**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    reach = quantile * math.sqrt(share * (1 - share) / count + square / (4 * count**2)) / (1 + square / count)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def mcnemar(better: int, worse: int, count: int) -> tuple[float, float, float]:
    """Bounds of the difference of two shares of the same `count` clips, and the exact p; scipy's binomial test."""
    differing = better + worse
    if not differing:
        most = 1 - ((1 - CONFIDENCE) / 2) ** (1 / count)        # so many clips could differ and none have been met
        return -most, most, 1.0
    test = stats.binomtest(better, differing, 0.5)
    bounds = test.proportion_ci(CONFIDENCE, method="exact")
    share = differing / count
    return share * (2 * bounds.low - 1), share * (2 * bounds.high - 1), float(test.pvalue)


def t_test(mean: float, error: float, freedom: int) -> float:
    """Two-sided p of Student's t."""
    return float(2 * stats.t.sf(abs(mean) / error, freedom))


def detectable_share(count: int) -> float:
    """The smallest one-sided difference of shares that McNemar's exact test finds 4 of 5 times; NaN if none is."""
    needed = next(number for number in range(1, 60) if 2 * 0.5**number <= 1 - CONFIDENCE)   # 6, all on one side
    shares = np.arange(1, 101) / 100
    found = shares[stats.binom.sf(needed - 1, count, shares) >= POWER]
    return float(found[0]) if len(found) else NAN


def holm(p_values: Sequence[float]) -> list[float]:
    """p of many comparisons made at once (Holm 1979); NaN stays and does not count as one."""
    adjusted, known = np.full(len(p_values), NAN), [i for i, p in enumerate(p_values) if math.isfinite(p)]
    largest = 0.0
    for rank, index in enumerate(sorted(known, key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[index] * (len(known) - rank)))
        adjusted[index] = largest
    return adjusted.tolist()


def set_interval(combined: Callable[[list], float], clips: Sequence, seed: int = 0, num_draws: int = 200) -> Interval:
    """Of a figure that only a set of clips has, e.g. a Fréchet distance: clips are drawn with replacement.

    A Fréchet distance grows when clips repeat, as they do in a draw: the draws are shifted until their mean is the
    whole set's figure. The interval says how far it scatters for this number of clips, not what more clips would give.
    """
    rng, whole = np.random.default_rng(seed), float(combined(list(clips)))
    if len(clips) < MIN_VALUES:
        return Interval(whole, NAN, NAN, len(clips))
    draws = [float(combined([clips[i] for i in rng.integers(len(clips), size=len(clips))])) for _ in range(num_draws)]
    lower, upper = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    shift = whole - float(np.mean(draws))
    return Interval(whole, max(0.0, lower + shift), upper + shift, len(clips))
