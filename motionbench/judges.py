"""MotionScore: the share of clips whose prompted motion a judge recognises among the benchmark's motions.

This is our definition; that of the Fleximo paper is unpublished, and its 0.699 cannot be compared.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from motionbench.metrics import ClipCase, Metric, Score
from motionbench.prompts import MOTIONS_BY_NAME


@dataclass(frozen=True)
class Verdict:
    """What a judge recognised: one of the labels, or "" with the reason why it could not say."""

    label: str
    note: str = ""
    asked: bool = True          # False: the judge could not be asked, so that the clip is not to blame


class Judge(Protocol):
    name: str                   # "pose", "clip", "vlm"
    labels: tuple[str, ...]     # what it chooses from
    needs: tuple[str, ...]      # fields of ClipCase beside `video`
    formula: str
    source: str

    def verdict(self, case: ClipCase) -> Verdict: ...

    def target(self, motion: str) -> str:
        """The label that means this motion is recognised."""


def motion_score(judge: Judge) -> Metric:
    """A judge as a metric: 1 for a clip whose prompted motion it recognises, else 0; also for a clip that failed."""
    def score(case: ClipCase) -> Score:
        verdict = judge.verdict(case)
        if not verdict.asked:
            return Score(float("nan"), verdict.note, again=True)
        return Score(float(verdict.label == judge.target(case.motion)), verdict.note, verdict.label)

    return Metric(f"motion_score_{judge.name}", f"MotionScore ({judge.name})", "", "higher", (0, 1), judge.formula,
                  judge.source, judge.needs, clip=score, failed=0.0)


def cohens_kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Agreement of two judges on the same clips beyond chance (Cohen 1960): 1 always, 0 as by chance.

    Clips on which one of them said nothing ("") do not count. Where one judge only knows coarse labels, both are
    compared by those. NaN without clips, or where both know one answer only.
    """
    if len(first) != len(second):
        raise ValueError(f"judgements to compare: expected as many from each (found {len(first)} and {len(second)})")
    pairs = [(a, b) for a, b in zip(first, second) if a and b]
    if not pairs:
        return float("nan")
    a, b = (np.array(side) for side in zip(*pairs))
    if not all(all(label in MOTIONS_BY_NAME for label in side) for side in (a, b)):
        a, b = (np.array([coarse(str(label)) for label in side]) for side in (a, b))
    by_chance = sum((a == label).mean() * (b == label).mean() for label in np.union1d(a, b))
    return float("nan") if by_chance == 1 else float(((a == b).mean() - by_chance) / (1 - by_chance))


def coarse(label: str) -> str:
    """The kind of motion without its side: wave_right and wave_left are both wave; other words stay as they are."""
    return MOTIONS_BY_NAME[label].kind if label in MOTIONS_BY_NAME else label


def confusion(prompted: Sequence[str], recognised: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """(L, L) clips counted: row prompted, column recognised, in the order of `labels`; "" is left out."""
    place = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), int)
    for row, column in zip(prompted, recognised):
        if row in place and column in place:
            counts[place[row], place[column]] += 1
    return counts
