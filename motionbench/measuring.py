"""MotionBench's scores on disk: each clip is looked at once, and a score is kept while what it depends on is the same.

    scores/<variant>/<identity>__<motion>.json            every score, with its note
    scores/<variant>/<identity>__<motion>.seen.npz        the skeleton re-detected in the video
    scores/<variant>/<identity>__<motion>.features.npz    what the measures of whole sets (FID, FVD) need of this clip
"""
from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from dwpose.skeleton import Skeleton
from media.files import save_arrays, save_text
from media.images import fit_to_canvas, read_image
from media.video_reader import read_video
from motionbench.catalogue import catalogue
from motionbench.cells import num_frames_of
from motionbench.judge_pose import PoseJudge
from motionbench.judges import ClipJudge, Judge, VlmJudge
from motionbench.making import Bench, Clip, one_line, read_entry, write_entry
from motionbench.metrics import ClipCase, Features, Metric, nobody, Score
from motionbench.prompts import BenchMotion
from motionbench.report import moments, ranked, report_page, WorstClip
from motionbench.results import as_csv, as_json, ClipResult, Results, row_result, with_gains
from motionbench.settings import JudgeConfig, MotionBenchConfig
from run.folder import content_hash
from run.storyboard import PACKAGES

SHORTEST_SECONDS = 1.0                  # of a video without a truth


def measure_clip(clip: Clip, made: dict) -> dict:
    """Every score of the clip, measuring what is not known yet. made: what `clip.made()` gave."""
    entry, key = read_entry(clip.file("scores", ".json")), measuring_key(clip, made)
    if entry.get("key") != key:
        entry = {"scores": {}}
        for ending in (".seen.npz", ".features.npz"):
            clip.file("scores", ending).unlink(missing_ok=True)
    keys = {metric.name: metric_key(metric, clip.bench.networks_key) for metric in clip.bench.metrics}
    missing = [metric for metric in clip.bench.metrics
               if not metric.absent and entry["scores"].get(metric.name, {}).get("key") != keys[metric.name]]
    if missing:
        case = case_of(clip, made)
        entry = {"key": key, "failure": case.failure, "seconds": case.seconds, "making_seconds": case.making_seconds,
                 "peak_memory": case.peak_memory, "scores": entry["scores"] | scores_of(clip, case, missing)}
        write_entry(clip.file("scores", ".json"), entry)
    return entry


def measuring_key(clip: Clip, made: dict) -> str:
    """All that the scores depend on: the video as it lies there, what it is compared with, and who looks at it."""
    inference = clip.bench.inference
    truth = [clip.bench.seconds, clip.bench.seed] if clip.truth is not None else None
    pose = inference.pose
    seen_by = [asdict(replace(pose, cache="")), *pose.networks]
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
                    prompt=cell.motion.prompt, tile_borders=tuple(made.get("borders", ())),
                    making_seconds=made.get("seconds"), peak_memory=made.get("peak_memory"), failure=made["failure"])
    if case.failure:
        return case
    try:
        video, _ = read_video(clip.video_file, fps=bench.inference.fps)
        check(clip, video)
    except (ValueError, FileNotFoundError) as error:
        return replace(case, failure=one_line(error))
    if not clip.is_compared and not clip.is_external:
        case = replace(case, skeleton=Skeleton.load(clip.file("clips", ".npz")))
    reference = fit_to_canvas(read_image(bench.pictures[cell.identity]), video.shape[1:3])
    case = replace(case, video=video, reference=reference, seen=seen(clip, video))
    if any("reference_seen" in metric.needs and not metric.absent for metric in bench.metrics):
        case = replace(case, reference_seen=detected(clip, reference[None]))
    return case


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
    return Skeleton.load(path if path.is_file() else detected(clip, video).save(path))


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
    with np.load(path, allow_pickle=False) as file:
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
    """results.json, results.csv and report.html. clips: of each cell, one for every variant."""
    by_variant = list(zip(*clips))
    results = gathered(config, bench, by_variant)
    texts = {"results.json": json.dumps(as_json(results), indent=1, allow_nan=False) + "\n",
             "results.csv": as_csv(results),
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
                   with_gains(rows, bench.metrics, config.seed))


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
