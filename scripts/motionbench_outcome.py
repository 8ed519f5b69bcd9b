"""The end of a MotionBench run: every clip's scores gathered from disk, made into figures, and the report written."""
from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version

import torch

from mimicmotion.video import fit_to_canvas, read_image, read_video
from motionbench.catalogue import catalogue
from motionbench.judge_clip import ClipJudge
from motionbench.judge_pose import PoseJudge
from motionbench.judge_vlm import VlmJudge
from motionbench.judges import Judge
from motionbench.metrics import Features, Metric
from motionbench.prompts import BenchMotion
from motionbench.report import report_page
from motionbench.results import ClipResult, Results, as_csv, as_json, row_result, with_gains
from motionbench.settings import JudgeConfig, MotionBenchConfig
from motionbench.worst import WorstClip, ranked, sheet
from scripts.motionbench_clips import Bench, Clip, read_entry
from scripts.motionbench_measuring import features_of
from stages.folder import write_whole
from stages.outputs import PACKAGES


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
        write_whole(bench.folder / name, lambda file, content=text: file.write_text(content, encoding="utf-8"))
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
        clip, jpeg = by_name[result.name], b""
        if not result.failure:
            video, _ = read_video(clip.video_file, fps=clip.bench.inference.fps)
            reference = fit_to_canvas(read_image(clip.bench.pictures[result.identity]), video.shape[1:3])
            jpeg = sheet(reference, video, clip.truth.frames if clip.truth is not None else None)
        found.append(WorstClip(result, jpeg))
    return found
