"""The table of all metrics: what the report shows, in its order. One whose weights are not here says so."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dwpose.skeleton import BODY, HANDS
from motionbench import picture, pose
from motionbench.judges import Judge, motion_score
from motionbench.metrics import ClipCase, formula, Metric, Score
from motionbench.network_metrics import MetricWeights, network_metrics

INF = float("inf")


def catalogue(judges: Sequence[Judge] = (), weights: MetricWeights | None = None,
              device: str = "cpu") -> tuple[Metric, ...]:
    """Every metric, in the report's order; loads the networks that are there.

    judges: PoseJudge, ClipJudge, VlmJudge; each gives a MotionScore of its own, the first the headline.
    """
    weights = weights or MetricWeights()
    return (*map(motion_score, judges), *POSE, *PICTURE, *network_metrics(weights, device), *LONG_VIDEO, *COST)


def pose_metric(name: str, title: str, unit: str, better: str, range: tuple[float, float], function: Callable,
                source: str, failed: float | None = None, joints: slice | None = None) -> Metric:
    """A function of found and commanded skeleton; its docstring's first paragraph is the formula."""
    options = {} if joints is None else {"joints": joints}

    def score(case: ClipCase) -> Score:
        value = function(case.seen, case.skeleton, **options)
        return Score(value, "" if np.isfinite(value) else "the commanded points are never seen")

    return Metric(name, title, unit, better, range, formula(function), source, ("skeleton", "seen"), score,
                  failed=failed)


def picture_metric(name: str, title: str, unit: str, better: str, range: tuple[float, float], function: Callable,
                   source: str) -> Metric:
    """A function of video and truth."""
    return Metric(name, title, unit, better, range, formula(function), source, ("truth",),
                  lambda case: function(case.video, case.truth), black=True)


def jitter(case: ClipCase) -> Score:
    """pose.jitter, with the reason where there is none."""
    value = pose.jitter(case.seen)
    return Score(value, "" if np.isfinite(value) else "no point is seen in four frames in a row")


def region_colours(case: ClipCase) -> Score:
    """Mean CIEDE2000 between the mean colours of upper body, legs, hair and skin in video and truth, over frames."""
    found = picture.delta_e(case.video, case.truth, case.skeleton)
    if not found:
        return Score(float("nan"), "no region of the body is seen")
    listed = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
    return Score(float(np.mean(list(found.values()))), listed)


def seam(case: ClipCase) -> Score:
    """picture.seam, with the reason where there is none."""
    value = picture.seam(case.video, case.tile_borders)
    return Score(value, "" if np.isfinite(value) else "the clip fits into one tile, or its tiles are unknown")


POSE = (
    pose_metric("pck", "PCK@0.1 torso", "", "higher", (0, 1), pose.pck_torso, "Yang and Ramanan 2013", failed=0.0),
    pose_metric("pck_hands", "PCK@0.1 torso, hands", "", "higher", (0, 1), pose.pck_torso, "Yang and Ramanan 2013",
                failed=0.0, joints=HANDS),
    pose_metric("oks", "OKS", "", "higher", (0, 1), pose.oks, "COCO keypoints", failed=0.0),
    pose_metric("pose_error", "pose error", "torsos", "lower", (0, INF), pose.mean_error, "ours", joints=BODY),
    Metric("jitter", "jitter", "torsos/s³", "lower", (0, INF), formula(pose.jitter), "ours", ("seen",), jitter),
    pose_metric("foot_slide", "foot slide", "torsos/s", "lower", (0, INF), pose.foot_slide, "ours, in the picture"),
    pose_metric("hand_presence", "hands present", "", "higher", (0, 1), pose.hand_presence, "ours", failed=0.0),
)
PICTURE = (
    picture_metric("psnr", "PSNR", "dB", "higher", (0, picture.PERFECT_PSNR), picture.psnr, "in float, not 8 bits"),
    picture_metric("ssim", "SSIM", "", "higher", (-1, 1), picture.ssim, "Wang et al. 2004; scikit-image"),
    picture_metric("l1", "L1", "", "lower", (0, 1), picture.l1, "in float, not 8 bits"),
    picture_metric("flicker", "flicker", "levels", "lower", (0, 255), picture.flicker, "ours"),
    Metric("delta_e", "colour of the regions", "ΔE00", "lower", (0, INF), formula(region_colours),
           "Sharma, Wu and Dalal 2005", ("truth", "skeleton"), region_colours, black=True),
)
LONG_VIDEO = (
    Metric("seam", "seams", "levels", "lower", (-255, 255), formula(picture.seam), "ours", (), seam),
    Metric("colour_drift", "colour drift", "ΔE00", "lower", (-INF, INF), formula(picture.colour_drift), "ours",
           ("reference",), lambda case: picture.colour_drift(case.video, case.reference)),
)
COST = (
    Metric("cost_seconds", "time", "s per s of video", "lower", (0, INF), "wall seconds of making over seconds of video",
           "measured", ("making_seconds",), lambda case: case.making_seconds / case.seconds),
    Metric("cost_memory", "peak memory", "GiB", "lower", (0, INF), "most memory in use while the video was made",
           "measured", ("peak_memory",), lambda case: case.peak_memory / 2**30),
)
