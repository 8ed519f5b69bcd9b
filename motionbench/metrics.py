"""What a metric is: a name, a unit, a formula, what it needs, and one function of a clip or of a set of clips.

The table of all metrics is `motionbench.measuring.catalogue`. Nothing here raises because of what a clip shows: a score
that cannot be had is NaN with a reason. No clip that failed is left out where a measure compares it with something:
it counts `Metric.failed`, or as a video of black frames.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dwpose.skeleton import NUM_KEYPOINTS, Skeleton

Features = dict[str, np.ndarray]        # of one clip: "video" and, where compared with the truth, "truth"; each (N, D)
BESIDE_A_VIDEO = ("seen", "commanded", "reference", "reference_seen", "making_seconds", "peak_memory")
NEEDED = {"truth": "true video", "skeleton": "true skeleton", "commanded": "commanded skeleton", "seen": "detected skeleton",
          "reference": "reference picture", "reference_seen": "skeleton of the reference picture",
          "making_seconds": "time of making", "peak_memory": "memory of making"}


@dataclass(frozen=True)
class ClipCase:
    """One clip to measure and everything known about it; None where there is no such thing."""

    name: str                               # unique in the run, e.g. "03_wave_right"
    identity: str                           # who is shown
    motion: str                             # the prompted motion: one of the benchmark's labels
    fps: float                              # frames per second
    video: np.ndarray | None                # (F, H, W, 3) uint8 RGB; None: the clip failed, `failure` says why
    truth: np.ndarray | None = None         # (F, H, W, 3) uint8 RGB, the same frames
    skeleton: Skeleton | None = None        # of the true video: F frames on the video's canvas
    seen: Skeleton | None = None            # re-detected in the video; all confidences 0 where nobody is recognised
    reference: np.ndarray | None = None     # (H, W, 3) uint8 RGB: the person's picture, on the video's canvas
    reference_seen: Skeleton | None = None  # detected in `reference`, F = 1
    prompt: str = ""
    tile_borders: tuple[int, ...] = ()      # frames where a tile of the sampler begins
    making_seconds: float | None = None     # wall time the video took
    peak_memory: float | None = None        # bytes while it was made
    failure: str = ""
    commanded: Skeleton | None = None       # what the video model was told to show; F frames on the video's canvas
    followed: Skeleton | None = None        # the true skeleton, where the maker was given its motion

    @property
    def nobody(self) -> bool:
        """A detector has looked and recognised no person in any frame."""
        return self.seen is not None and not self.seen.present.any()

    @property
    def seconds(self) -> float:
        """Of video."""
        return 0.0 if self.video is None else len(self.video) / self.fps


@dataclass(frozen=True)
class Score:
    """A measured number; NaN with a note where it could not be had. A note may also explain a number."""

    value: float
    note: str = ""                          # e.g. "nobody recognised"
    label: str = ""                         # of a judge: the motion it recognised
    again: bool = False                     # it could not be asked for now: the next run asks again

    @property
    def known(self) -> bool:
        """Is there a number?"""
        return math.isfinite(self.value)


@dataclass(frozen=True)
class Metric:
    """One line of the report. Exactly one of `clip` and (`features`, `combined`) is set.

    A set metric is measured in two steps, so that a run of any length fits in memory and features can be kept on disk:
    `features` of every clip, then `combined` of all of them (or of a bootstrap draw).
    """

    name: str                               # key in results.json
    title: str                              # what a reader sees
    unit: str                               # "" for a pure number
    better: str                             # "higher", "lower"; "" where neither is
    range: tuple[float, float]
    formula: str
    source: str                             # paper and implementation
    needs: tuple[str, ...] = ()             # fields of ClipCase beside `video`
    clip: Callable[[ClipCase], float | Score] | None = None
    features: Callable[[ClipCase], Features] | None = None
    combined: Callable[[Sequence[Features]], float | Score] | None = None
    failed: float | None = None             # what a clip without video, or without a person, counts
    black: bool = False                     # a clip without video is measured as black frames; needs the truth
    diagnosis: bool = False                 # a still video does better than a true one: never called best or better
    absent: str = ""                        # why it cannot be measured here at all, with what to do about it
    protocol: str = ""                      # frame count, size, resampling and features, where they matter

    def __post_init__(self):
        if self.better not in ("higher", "lower", ""):
            raise ValueError(f"metric {self.name}: expected better 'higher', 'lower' or '' (found {self.better!r})")
        if not self.absent and (self.clip is None) == (self.features is None or self.combined is None):
            raise ValueError(f"metric {self.name}: expected either clip, or features and combined")

        if self.black and (self.failed is not None or "truth" not in self.needs):
            raise ValueError(f"metric {self.name}: expected a failed value, or black frames beside the truth")

    @property
    def of_a_set(self) -> bool:
        """Is it measured on all clips together?"""
        return self.features is not None

    @property
    def failed_counts(self) -> str:
        """What a failed clip counts, in words."""
        if self.black:
            return "a failed clip counts as black frames"
        return "failed clips have none" if self.failed is None else f"a failed clip counts {self.failed:g}"

    def absence(self, case: ClipCase) -> str:
        """What the run does not have for this clip, so that nobody is to blame; "" when nothing is lacking."""
        if self.absent:
            return self.absent
        made = case.video is not None
        lacking = [name for name in self.needs if getattr(case, name) is None and (made or name not in BESIDE_A_VIDEO)]
        return f"no {NEEDED[lacking[0]]}" if lacking else ""

    def fault(self, case: ClipCase) -> str:
        """What is wrong with the clip itself; "" when it can be measured."""
        if case.video is None:
            return case.failure or "the clip is missing"
        if "truth" in self.needs and case.truth.shape != case.video.shape:
            return f"the video is {shape_text(case.video)}, its truth {shape_text(case.truth)}"
        for name in ("skeleton", "commanded", "seen"):
            skeleton = getattr(case, name)
            if name in self.needs and (len(skeleton), *skeleton.size) != case.video.shape[:3]:
                return (f"the video is {shape_text(case.video)}, its {NEEDED[name]} {len(skeleton)} frames of "
                        f"{skeleton.size[1]}x{skeleton.size[0]}")
        return NOBODY if "seen" in self.needs and case.nobody else ""

    def missing(self, case: ClipCase) -> str:
        """Why this clip has no value; "" when it has one, or counts as black frames."""
        return self.absence(case) or ("" if self.black else self.fault(case))

    def shown(self, case: ClipCase) -> ClipCase:
        """The clip as it is measured: one that failed is black, where that is what it counts as."""
        if not (self.black and self.fault(case)):
            return case
        black = np.zeros_like(case.truth)
        return replace(case, video=black, seen=nobody(len(black), black.shape[1:3], case.fps))

    def of(self, case: ClipCase) -> Score:
        """The score of one clip (metrics with `clip` only)."""
        if reason := self.absence(case):
            return Score(math.nan, reason)
        reason = self.fault(case)
        if reason and not self.black:
            return Score(math.nan if self.failed is None else self.failed, reason)
        score = self.clip(self.shown(case))
        score = score if isinstance(score, Score) else Score(float(score))
        return replace(score, note=f"{reason}: counted as black frames") if reason else score

    def features_of(self, case: ClipCase) -> Features:
        """What the score of a set needs of one clip that is not `missing`."""
        return self.features(self.shown(case))

    def of_set(self, features: Sequence[Features]) -> Score:
        """The score of all clips together, from each one's `features`."""
        if self.absent:
            return Score(math.nan, self.absent)
        score = self.combined(features)
        return score if isinstance(score, Score) else Score(float(score))


NOBODY = "nobody recognised"


def formula(function: Callable) -> str:
    """What a measuring function's docstring says in its first paragraph."""
    return " ".join(function.__doc__.split("\n\n")[0].split())


def shape_text(frames: np.ndarray) -> str:
    """Frames and size of a video (F, H, W, 3), in words."""
    return f"{len(frames)} frames of {frames.shape[2]}x{frames.shape[1]}"


def nobody(num_frames: int, size: tuple[int, int], fps: float) -> Skeleton:
    """What a detector saw that recognised no one: a skeleton whose points are all unseen. size: (height, width)"""
    return Skeleton(np.zeros((num_frames, NUM_KEYPOINTS, 3), np.float32), size, fps)
