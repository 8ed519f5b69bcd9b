"""MotionBench's scores on disk: each clip is looked at once, and a score is kept while what it depends on is the same.

    scores/<variant>/<identity>__<motion>.json            every score, with its note
    scores/<variant>/<identity>__<motion>.seen.npz        the skeleton re-detected in the video
    scores/<variant>/<identity>__<motion>.features.npz    what the measures of whole sets (FID, FVD) need of this clip
"""
from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import torch

from dwpose.skeleton import HANDS, Skeleton
from media.files import is_whole_npz, save_arrays, save_text, stored_arrays
from media.images import fit_to_canvas, read_image
from media.video_reader import read_video
from motionbench import picture, pose
from motionbench.cells import BenchMotion, num_frames_of
from motionbench.judge_pose import PoseJudge
from motionbench.judges import ClipJudge, Judge, motion_score, VlmJudge
from motionbench.making import Bench, Clip, failure_of, read_entry, write_entry
from motionbench.metrics import ClipCase, Features, formula, Metric, NEEDED, nobody, Score
from motionbench.network_metrics import frechet_of_clips, MetricWeights, network_metrics
from motionbench.report import moments, ranked, report_page, results_table, WorstClip
from motionbench.results import as_csv, as_json, ClipResult, Results, row_result, with_gains
from motionbench.settings import JudgeConfig, MotionBenchConfig, SHORTEST_SECONDS
from run.folder import content_hash
from run.storyboard import PACKAGES
from t2m.evaluation import frechet_distance

INF = float("inf")
MOST_STRETCH = 0.02                     # of the shape of another system's video

log = logging.getLogger(__name__)


def measure_clip(clip: Clip, made: dict) -> dict:
    """Every score of the clip, measuring what is not known yet. made: what `clip.made()` gave."""
    entry, key = read_entry(clip.file("scores", ".json")), measuring_key(clip, made)
    if entry.get("key") != key:
        entry = {"scores": {}}
        for ending in (".seen.npz", ".features.npz"):
            clip.file("scores", ending).unlink(missing_ok=True)
    entry["scores"] = without_lost(clip, entry["scores"])
    keys = {metric.name: metric_key(metric, clip.bench.networks_key) for metric in clip.bench.metrics}
    missing = [metric for metric in clip.bench.metrics
               if not metric.absent and entry["scores"].get(metric.name, {}).get("key") != keys[metric.name]]
    if missing:
        case = case_of(clip, made)
        entry = {"key": key, "failure": case.failure, "seconds": case.seconds, "making_seconds": case.making_seconds,
                 "peak_memory": case.peak_memory, "scores": entry["scores"] | scores_of(clip, case, missing)}
        write_entry(clip.file("scores", ".json"), entry)
    return entry


def without_lost(clip: Clip, scores: dict[str, dict]) -> dict[str, dict]:
    """The scores, without those of sets where the features they stand for are lost or cut short."""
    path, sets = clip.file("scores", ".features.npz"), {metric.name for metric in clip.bench.metrics if metric.of_a_set}
    if all(score["note"] for name, score in scores.items() if name in sets) or is_whole_npz(path):
        return scores
    log.warning("%s: is lost or cut short: made anew", path)
    path.unlink(missing_ok=True)
    return {name: score for name, score in scores.items() if name not in sets}


def measuring_key(clip: Clip, made: dict) -> str:
    """All that the scores depend on: the video as it lies there, what it is compared with, and who looks at it."""
    inference = clip.bench.inference
    truth = [clip.bench.seconds, clip.bench.seed] if clip.truth is not None else None
    seen_by = [asdict(replace(inference.pose, cache="")), *inference.pose.networks]
    return content_hash([clip.cell.name, clip.variant.name, made["failure"], clip.video_file,
                         clip.file("clips", ".npz"), truth, seen_by, clip.bench.pictures[clip.cell.identity],
                         list(clip.bench.motions), list(inference.size), inference.fps])


def metric_key(metric: Metric, networks_key: str) -> str:
    """What a measure is; networks_key: of all networks measures may use."""
    return content_hash([metric.name, metric.formula, metric.source, metric.protocol, list(metric.range), metric.failed,
                         metric.black, list(metric.needs), networks_key])[:16]


def scores_of(clip: Clip, case: ClipCase, metrics: Sequence[Metric]) -> dict[str, dict]:
    """A number for each measure of clips; for measures of sets, features that lie beside."""
    found, features = {}, read_arrays(clip.file("scores", ".features.npz"))
    for metric in metrics:
        reason = metric.missing(case)
        if metric.of_a_set:
            score = Score(float("nan"), reason)
            if not reason:
                features |= {f"{metric.name}/{name}": rows for name, rows in metric.features_of(case).items()}
        else:
            score = metric.of(case)
        found[metric.name] = {"value": score.value if score.known else None, "note": score.note, "label": score.label,
                              "key": "" if score.again else metric_key(metric, clip.bench.networks_key)}
    if features:
        save_arrays(clip.file("scores", ".features.npz"), **features)
    return found


def case_of(clip: Clip, made: dict) -> ClipCase:
    """The clip as the measures see it; one that cannot be read or does not fit has no video, and says why."""
    bench, cell = clip.bench, clip.cell
    truth, skeleton = (clip.truth.frames, clip.truth.skeleton) if clip.is_compared else (None, None)
    case = ClipCase(cell.name, cell.identity, cell.motion.name, bench.inference.fps, None, truth, skeleton,
                    followed=skeleton if clip.variant.follows else None,
                    prompt=cell.motion.wordings[clip.variant.wording], tile_borders=tuple(made.get("borders", ())),
                    making_seconds=made.get("seconds"), peak_memory=made.get("peak_memory"), failure=made["failure"])
    if case.failure:
        return case
    try:
        video, _ = read_video(clip.video_file, fps=bench.inference.fps)
        video = at_size_of_truth(clip, video)
        check(clip, video)
    except (ValueError, FileNotFoundError) as error:
        return replace(case, failure=failure_of(error))
    if not clip.is_external and not clip.variant.bound:
        case = replace(case, commanded=Skeleton.load(clip.file("clips", ".npz")))
    reference = fit_to_canvas(read_image(bench.pictures[cell.identity]), video.shape[1:3])
    case = replace(case, video=video, reference=reference, seen=seen(clip, video))
    if any("reference_seen" in metric.needs and not metric.absent for metric in bench.metrics):
        case = replace(case, reference_seen=detected(clip, reference[None]))
    return case


def at_size_of_truth(clip: Clip, video: np.ndarray) -> np.ndarray:
    """Another system's video (F, H, W, 3) resampled to the size of the truth, where its shape is the same; said in the log."""
    height, width = clip.bench.inference.size
    if not (clip.is_external and clip.is_compared) or video.shape[1:3] == (height, width):
        return video
    if abs(video.shape[2] / video.shape[1] * height / width - 1) > MOST_STRETCH:
        return video                                            # another shape: `check` refuses it
    log.warning("%s: %dx%d resampled to the truth's %dx%d", clip.video_file.name, video.shape[2], video.shape[1], width, height)
    way = cv2.INTER_AREA if video.shape[1] > height else cv2.INTER_CUBIC
    return np.stack([cv2.resize(frame, (width, height), interpolation=way) for frame in video])


def check(clip: Clip, video: np.ndarray) -> None:
    """The video has the frames and the size of its truth; without a truth, it lasts at least a second."""
    config = clip.bench.inference
    found = f"{len(video)} frames of {video.shape[2]}x{video.shape[1]} at {config.fps:g} a second"
    if clip.is_compared:
        num_frames = num_frames_of(clip.bench.seconds, config.fps)
        if (len(video), *video.shape[1:3]) != (num_frames, *config.size):
            expected = f"{num_frames} frames of {config.width}x{config.height}"
            raise ValueError(f"{clip.video_file}: expected {expected} (found {found})")
    elif len(video) < SHORTEST_SECONDS * config.fps:
        raise ValueError(f"{clip.video_file}: expected at least {SHORTEST_SECONDS:g} s (found {found})")


def seen(clip: Clip, video: np.ndarray) -> Skeleton:
    """Re-detected keypoints; kept, because looking is slow. All unseen where there is nobody."""
    path = clip.file("scores", ".seen.npz")
    if is_whole_npz(path):
        return Skeleton.load(path)
    if path.is_file():
        log.warning("%s: is cut short: made anew", path)
    return Skeleton.load(detected(clip, video).save(path))


def detected(clip: Clip, frames: np.ndarray) -> Skeleton:
    """The person of the frames (F, H, W, 3); all unseen where the detector finds nobody."""
    fps = clip.bench.inference.fps
    try:
        return clip.bench.models.detect(frames, fps, clip.cell.name)
    except ValueError:
        return nobody(len(frames), frames.shape[1:3], fps)


def features_of(clip_file: Path, metric: Metric) -> Features | None:
    """What a set's measure keeps of one clip; None for a clip that has none."""
    prefix, kept = f"{metric.name}/", read_arrays(clip_file)
    return {name.removeprefix(prefix): rows for name, rows in kept.items() if name.startswith(prefix)} or None


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name; none where there is no file."""
    if not path.is_file():
        return {}
    with stored_arrays(path, "arrays of a clip") as file:
        return dict(file)


def measures(config: MotionBenchConfig, motions: Sequence[BenchMotion], device: str) -> tuple[Metric, ...]:
    """All of the catalogue, with the judges asked for."""
    return catalogue(judges_of(config.judge, motions, device), config.weights, device)


def judges_of(config: JudgeConfig, motions: Sequence[BenchMotion], device: str) -> list[Judge]:
    """By name, the first one the headline."""
    makers = {"pose": lambda: PoseJudge.of_motions(motions),
              "clip": lambda: ClipJudge.load(config.clip, motions, device),
              "vlm": lambda: VlmJudge(config.base_url, config.model, motions, config.api_key_env,
                                      config.timeout_seconds)}
    names = [name.strip() for name in config.names.split(",") if name.strip()]
    if unknown := [name for name in names if name not in makers]:
        raise ValueError(f"judge.names: expected names separated by commas (found '{unknown[0]}'): "
                         f"there are {', '.join(makers)}")
    return [makers[name]() for name in dict.fromkeys(names)]


def write_outcome(config: MotionBenchConfig, bench: Bench, clips: list[list[Clip]]) -> Results:
    """results.json, results.csv, results.md and report.html. clips: of each cell, one for every variant."""
    by_variant = list(zip(*clips))
    results = gathered(config, bench, by_variant)
    texts = {"results.json": json.dumps(as_json(results), indent=1, allow_nan=False) + "\n",
             "results.csv": as_csv(results), "results.md": results_table(results),
             "report.html": report_page(results, worst_clips(results, by_variant[0], config.num_worst))}
    for name, text in texts.items():
        save_text(bench.folder / name, text)
    return results


def gathered(config: MotionBenchConfig, bench: Bench, by_variant: Sequence[Sequence[Clip]]) -> Results:
    """Figures of every row, from the scores of all processes."""
    rows = []
    for clips in by_variant:
        files = {clip.cell.name: clip.file("scores", ".features.npz") for clip in clips}

        def features(result: ClipResult, metric: Metric, files=files) -> Features | None:
            return features_of(files[result.name], metric)

        rows.append(row_result(clips[0].variant, [result_of(clip) for clip in clips], bench.metrics, features,
                               config.set_draws, config.seed))
    settings = {"motionbench": asdict(config), "inference": asdict(bench.inference)}
    identities = tuple(dict.fromkeys(clip.cell.identity for clip in by_variant[0]))
    return Results(settings, versions(bench.models.device), bench.metrics, bench.motions, identities,
                   with_gains(rows, bench.metrics))


def result_of(clip: Clip) -> ClipResult:
    """A clip's scores as they lie on disk."""
    entry = read_entry(clip.file("scores", ".json"))
    if not entry:
        raise ValueError(f"{clip.file('scores', '.json')}: expected this clip's scores (found none): "
                         "run the same command again")
    cell = clip.cell
    return ClipResult(cell.name, cell.identity, cell.motion.name, entry["failure"], entry["scores"], entry["seconds"])


def versions(device: str) -> dict[str, str]:
    """What the numbers may depend on beside the settings."""
    cpu = f"{platform.machine()} CPU, {os.cpu_count()} cores"
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES},
            "system": platform.system(), "device": torch.cuda.get_device_name() if device.startswith("cuda") else cpu}


def worst_clips(results: Results, clips: Sequence[Clip], count: int) -> list[WorstClip]:
    """The first row's worst clips, each with its sheet where its video can be read."""
    by_name, found = {clip.cell.name: clip for clip in clips}, []
    for result in ranked(results.rows[0], results.metrics)[:count]:
        clip, picture = by_name[result.name], None
        if not result.failure:
            video, _ = read_video(clip.video_file, fps=clip.bench.inference.fps)
            reference = fit_to_canvas(read_image(clip.bench.pictures[result.identity]), video.shape[1:3])
            picture = moments(reference, video, clip.truth.frames if clip.truth is not None else None)
        found.append(WorstClip(result, picture))
    return found


# ---------------------------------------------------------------- what is measured, in the report's order

def catalogue(judges: Sequence[Judge] = (), weights: MetricWeights | None = None,
              device: str = "cpu") -> tuple[Metric, ...]:
    """Every metric, in the report's order; loads the networks that are there.

    judges: PoseJudge, ClipJudge, VlmJudge; each gives a MotionScore of its own, the first the headline.
    """
    weights = weights or MetricWeights()
    return (*map(motion_score, judges), *POSE, *MOVEMENT, *PICTURE, *network_metrics(weights, device), *LONG_VIDEO, *COST)


def pose_metric(name: str, title: str, unit: str, better: str, range: tuple[float, float], function: Callable,
                source: str, failed: float | None = None, joints: slice | None = None, against: str = "skeleton",
                diagnosis: bool = False) -> Metric:
    """A function of found and true (or commanded) skeleton; its docstring's first paragraph is the formula."""
    options = {} if joints is None else {"joints": joints}

    def score(case: ClipCase) -> Score:
        return known_or(function(case.seen, getattr(case, against), **options), f"the {NEEDED[against]}'s points are never seen")

    return Metric(name, title, unit, better, range, formula(function), source, (against, "seen"), score,
                  failed=failed, diagnosis=diagnosis)


def picture_metric(name: str, title: str, unit: str, better: str, range: tuple[float, float], function: Callable,
                   source: str) -> Metric:
    """A function of video and truth."""
    return Metric(name, title, unit, better, range, formula(function), source, ("truth",),
                  lambda case: function(case.video, case.truth), black=True)


def known_or(value: float, reason: str) -> Score:
    """A number, or why there is none."""
    return Score(value, "" if np.isfinite(value) else reason)


def movement_features(name: str) -> Callable[[ClipCase], Features]:
    """One row a clip of how the found and the true keypoints move."""
    order = {"velocity": 1, "acceleration": 2}[name]
    return lambda case: {"video": pose.movement_histogram(case.seen, order), "truth": pose.movement_histogram(case.skeleton, order)}


def region_colours(case: ClipCase) -> Score:
    """Mean CIEDE2000 between the mean colours of upper body, legs, hair and skin in video and truth, over frames."""
    found = picture.delta_e(case.video, case.truth, case.skeleton)
    if not found:
        return Score(float("nan"), "no region of the body is seen")
    listed = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
    return Score(float(np.mean(list(found.values()))), listed)


POSE = (
    pose_metric("pck", "PCK@0.1 torso, true person", "", "higher", (0, 1), pose.pck_torso, "Yang and Ramanan 2013",
                failed=0.0),
    pose_metric("pck_hands", "PCK@0.1 torso, true hands", "", "higher", (0, 1), pose.pck_torso, "Yang and Ramanan 2013",
                failed=0.0, joints=HANDS),
    pose_metric("pck_commanded", "PCK@0.1 torso, commanded skeleton", "", "higher", (0, 1), pose.pck_torso,
                "Yang and Ramanan 2013", failed=0.0, against="commanded"),
    pose_metric("oks", "OKS", "", "higher", (0, 1), pose.oks, "COCO keypoints", failed=0.0),
    pose_metric("pose_error", "pose error", "torsos", "lower", (0, INF), pose.mean_error, "ours"),
    pose_metric("pape", "pixel pose error (pAPE)", "% of height", "lower", (0, INF), pose.pixel_error,
                "mean distance of keypoints in the picture", failed=100.0),
    Metric("jitter", "jitter", "torsos/s³", "lower", (0, INF), formula(pose.jitter), "ours", ("seen",),
           lambda case: known_or(pose.jitter(case.seen), "no point is seen in four frames in a row"), diagnosis=True),
    pose_metric("foot_slide", "foot slide", "torsos/s", "lower", (0, INF), pose.foot_slide, "ours, in the picture",
                diagnosis=True),
    pose_metric("hand_presence", "hands present", "", "higher", (0, 1), pose.hand_presence, "ours", failed=0.0,
                diagnosis=True),
)
MOVEMENT = (
    Metric("bone_change", "change of bone lengths", "", "", (0, INF), formula(pose.bone_change), "ours; idea of HumanScore",
           ("seen",), lambda case: known_or(pose.bone_change(case.seen), "no bone is seen in several frames")),
    Metric("dynamic_degree", "dynamic degree", "torsos/s", "", (0, INF), formula(pose.dynamic_degree), "ours; idea of VBench",
           ("seen",), lambda case: known_or(pose.dynamic_degree(case.seen), "no point is seen in two frames in a row")),
    pose_metric("range_of_motion", "range of motion, share of the true one", "", "", (0, INF), pose.range_of_motion,
                "ours; idea of HumanScore", failed=0.0),
    *(Metric(f"frechet_{name}", f"Fréchet distance of keypoint {name}", "", "lower", (0, INF), formula(frechet_distance),
             "idea of FVMD; the detector's keypoints", ("truth", "skeleton", "seen"), features=movement_features(name),
             combined=frechet_of_clips, black=True,
             protocol="per clip a histogram of directions, weighted by size in torsos, of arms, legs and trunk")
      for name in ("velocity", "acceleration")),
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
    Metric("seam", "seams", "levels", "lower", (-255, 255), formula(picture.seam), "ours", (),
           lambda case: known_or(picture.seam(case.video, case.tile_borders), "the clip fits into one tile, or its tiles are unknown")),
    Metric("colour_drift", "colour drift", "ΔE00", "lower", (-INF, INF), formula(picture.colour_drift), "ours",
           ("reference",), lambda case: picture.colour_drift(case.video, case.reference), diagnosis=True),
)
COST = (
    Metric("cost_seconds", "time", "s per s of video", "lower", (0, INF), "wall seconds of making over seconds of video",
           "measured", ("making_seconds",), lambda case: case.making_seconds / case.seconds),
    Metric("cost_memory", "peak memory", "GiB", "lower", (0, INF), "most memory in use while the video was made",
           "measured", ("peak_memory",), lambda case: case.peak_memory / 2**30),
)
