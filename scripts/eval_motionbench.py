"""MotionBench: how well a system turns a picture and a prompt into a video of that person doing it, and why.

    bash scripts/eval_motionbench.sh --config configs/motionbench_demo.yaml
    bash scripts/eval_motionbench.sh --config configs/motionbench_demo.yaml num_clips=0 variants=from_text,truth,frozen
    bash scripts/eval_motionbench.sh --config configs/motionbench.yaml identities=pictures
    bash scripts/eval_motionbench.sh --config configs/motionbench.yaml identities=pictures videos=theirs name=theirs
    accelerate launch scripts/eval_motionbench.py --config configs/motionbench_demo.yaml

Editions: synthetic (procedural people and motions; every video has a true one) and real (your pictures and the same 20
prompts). A run writes outputs/motionbench/<name>/: report.html, results.json, results.csv, results.md, clips/,
identities/ and prompts.csv, which lists every clip's picture, prompt, length, size and file name: other systems' videos
are measured with the same ruler when they lie in videos=FOLDER under those names. The same command goes on where a run
stopped; what was made and measured is kept. A clip that fails counts as failed.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import logging
import shlex
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
import yaml
from PIL import Image
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from configs import load_config, run_main
from media.files import save_atomically, save_text
from motionbench.cells import (balanced_cells, Cell, chosen_motions, num_frames_of, person, pictures_in, prompts_table,
                               true_clip)
from motionbench.making import Bench, BenchModels, Clip, Made, make_clip, unmatched
from motionbench.measuring import measure_clip, measures, write_outcome
from motionbench.results import classes_line
from motionbench.settings import chosen_variants, MotionBenchConfig, SYNTHETIC, Variant
from run.checks import check_inputs
from run.folder import content_hash
from run.models import Models
from run.settings import InferenceConfig
from runtime.processes import joined_processes, only_run_in

log = logging.getLogger(__name__)

LONGEST_WAIT = timedelta(days=14)       # of a process that has finished its share for the slowest one


@dataclass(frozen=True)
class Parts:
    """What a run is made of: its models, how they make a clip, and what is measured."""

    models: Callable[[InferenceConfig, bool], Models] = BenchModels
    make: Callable[..., Made] = make_clip
    measures: Callable = measures


def inference_config(config: MotionBenchConfig) -> InferenceConfig:
    """The settings all clips are made with."""
    try:
        keys = shlex.split(config.inference_keys)
    except ValueError as error:
        raise ValueError(f"inference_keys: expected key=value, as on a command line (found {config.inference_keys}: {error}): "
                         "correct its quotes") from None
    inference = load_config(InferenceConfig, ["--config", config.inference, *keys])
    if inference.driving_video:
        raise ValueError(f"inference={config.inference}: has a driving_video: MotionBench starts from prompts")
    resolution = 0 if config.edition == SYNTHETIC else inference.resolution
    return replace(inference, resolution=resolution)


def set_up(config: MotionBenchConfig, parts: Parts) -> tuple[Bench, list[Cell], tuple[Variant, ...]]:
    """Everything that is refused is refused here, before minutes are spent."""
    variants = chosen_variants(config.variants, config.edition, config.videos)
    motions = chosen_motions(config.motions)
    inference = inference_config(config)
    videos = Path(config.videos) if config.videos else None
    if videos and not videos.is_dir():
        raise ValueError(f"videos={videos}: expected a folder of <identity>__<motion>.mp4 (found none): check the path")
    people, pictures = {}, {}
    if config.edition == SYNTHETIC:
        people = {who.name: who for who in (person(number, config.seed) for number in range(config.num_identities))}
        pictures = {name: config.folder / "identities" / f"{name}.png" for name in people}
    else:
        pictures = pictures_in(Path(config.identities))
    cells = balanced_cells(tuple(pictures), motions, config.num_clips, config.seed)
    if videos and (strange := unmatched(videos, cells)):
        log.warning("videos=%s: %d files belong to no clip of this run, first %s: see prompts.csv for the names", videos,
                    len(strange), ", ".join(strange[:3]))
    if changed := classes_line([motion.name for motion in motions]):
        log.warning("motions: %s", changed)
    models = parts.models(inference, config.keep_models)
    networks = [Path(path) for path in (*asdict(config.weights).values(), config.judge.clip)]
    bench = Bench(config.folder, inference, config.seconds, config.seed, pictures, people, videos,
                  parts.measures(config, motions, models.device), tuple(motion.name for motion in motions), models,
                  parts.make, content_hash(networks))
    return bench, cells, variants


def write_givens(config: MotionBenchConfig, bench: Bench, cells: list[Cell]) -> None:
    """The procedural people's pictures, the table for other systems, and the run's settings."""
    inference = bench.inference
    for name, who in bench.people.items():
        picture = true_clip(who, cells[0].motion, bench.seconds, inference.fps, inference.size).reference
        save_atomically(bench.pictures[name], partial(Image.fromarray(picture).save, format="PNG"))
    num_frames = num_frames_of(bench.seconds, inference.fps) if bench.people else None
    pictures = {name: str(path) for name, path in bench.pictures.items()}
    table = prompts_table(cells, pictures, num_frames, inference.fps, inference.size)
    settings = yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True)
    for name, text in (("prompts.csv", table), ("run.yaml", settings)):
        save_text(bench.folder / name, text)


def check_generation(bench: Bench, cells: list[Cell], variants: tuple[Variant, ...]) -> None:
    """Weights, memory and disk of inference.py, where something is to be generated."""
    if bench.videos or all(variant.bound for variant in variants):
        return
    made = [variant for variant in variants if not variant.bound]
    config = replace(bench.clip_config(cells[0]), outputs=str(bench.folder), name="stages")
    for renderer in dict.fromkeys(variant.renderer or config.renderer for variant in made):
        check_inputs(replace(config, renderer=renderer))


def do_clips(bench: Bench, cells: list[Cell], variants: tuple[Variant, ...], keep_stages: bool, quiet: bool) -> None:
    """Make and measure every variant of each cell: side by side, since they share the truth and most stages."""
    with tqdm(total=len(cells) * len(variants), desc="clips", unit="clip", dynamic_ncols=True, disable=quiet) as bar:
        for cell in cells:
            for clip in clips_of(bench, cell, variants):
                bar.set_postfix_str(f"{clip.variant.name} {cell.name}")
                entry = measure_clip(clip, clip.made())
                if entry["failure"]:
                    log.warning("%s %s: failed: %s", clip.variant.name, cell.name, entry["failure"])
                bar.update()
            if not keep_stages:
                shutil.rmtree(bench.folder / "stages" / cell.name, ignore_errors=True)


def clips_of(bench: Bench, cell: Cell, variants: tuple[Variant, ...]) -> list[Clip]:
    """A cell's clips; they share the truth, whose pictures are rendered when first asked for."""
    truth = None
    if bench.people:
        config = bench.inference
        truth = true_clip(bench.people[cell.identity], cell.motion, bench.seconds, config.fps, config.size)
    return [Clip(bench, cell, variant, truth) for variant in variants]


def main(argv: list[str] | None = None, parts: Parts = Parts()) -> int:
    config = load_config(MotionBenchConfig, argv, __doc__)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    bench, cells, variants = set_up(config, parts)
    if bench.inference.num_threads:
        torch.set_num_threads(bench.inference.num_threads)
    with joined_processes(torch.device("cpu"), LONGEST_WAIT) as processes, only_run_in(config.folder, processes):
        if processes.is_main:
            write_givens(config, bench, cells)
        processes.meet()
        check_generation(bench, cells, variants)
        with logging_redirect_tqdm():
            do_clips(bench, processes.share(cells), variants, config.keep_stages, quiet=not processes.is_main)
        processes.meet()
        if not processes.is_main:
            return 0
        if not config.keep_stages:
            shutil.rmtree(config.folder / "stages", ignore_errors=True)
        results = write_outcome(config, bench, [clips_of(bench, cell, variants) for cell in cells])
    files = [str(config.folder / name) for name in ("report.html", "results.md", "results.json", "results.csv")]
    print("\n".join(["", *files, "", results.failure_line()]))
    return 2 if all(clip.failure for clip in results.rows[0].clips) else 0


if __name__ == "__main__":
    run_main(main)
