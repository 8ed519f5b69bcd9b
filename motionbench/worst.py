"""The clips that went worst, and one sheet for each: what was wanted above what was made."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image
from scipy.stats import rankdata

from motionbench.metrics import Metric
from motionbench.results import ClipResult, RowResult

COLUMNS = 7                             # moments of a clip
CELL_HEIGHT, GAP = 150, 4               # pixels
PAPER = 250
QUALITY = 82                            # of the JPEG


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
