"""Measure the demo weights and print one table: what must be reached, what is hoped for, what was reached.

    python scripts/evaluate_demo.py
    python scripts/evaluate_demo.py --only round_trip rescaling --clips 4

Measures: phrasings, round_trip, real_motion (with --mocap), autoencoder, pose_to_video, skeleton_adapter, pose_net,
rescaling, demo_run. People, motions and phrasings were never trained on. Results go to outputs/evaluate_demo/results.json,
pictures beside it. A measure that was made with the same weights and arguments is not made again; --fresh makes it again.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path

import torch

from configs import load_config, run_main, whole_number
from demo.measures import autoencoder, Bench, pose_net, pose_to_video, skeleton_adapter, Values
from demo.motion_measures import phrasings, real_motion, rescaling, round_trip
from media.files import check_folder, one_line
from media.video_reader import read_video
from motionbench.report import format_table, ResultsFile, Target
from run.folder import content_hash
from run.models import Models
from run.settings import InferenceConfig

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = Path("weights/demo")
CONFIG = ROOT / "configs" / "demo.yaml"
DEMO_THREADS = 2


TARGETS = (
    Target("autoencoder", "head_psnr", "VAE round trip: PSNR of heads", 28, 31, "dB"),
    Target("autoencoder", "psnr", "  PSNR", unit="dB"),
    Target("autoencoder", "flat", "  error on flat walls and floors", unit="levels"),
    Target("autoencoder", "tiny_head_psnr", "  PSNR of heads, tiny VAE", unit="dB"),
    Target("autoencoder", "tiny_psnr", "  PSNR, tiny VAE", unit="dB"),
    Target("phrasings", "kind", "phrasings → intended motion", 0.85, 0.95),
    Target("phrasings", "side", "phrasings → intended side", 0.90, 0.98),
    Target("phrasings", "warned", "  the others: warned of", 0.80, 0.95),
    Target("phrasings", "false_alarms", "  the intended ones: warned of all the same"),
    Target("phrasings", "true_kind", "  the same judge on true motions: kind"),
    Target("phrasings", "true_side", "  the same judge on true motions: side"),
    Target("round_trip", "joints", "VQ-VAE round trip, all joints", 25, 12, "mm", at_most=True),
    Target("round_trip", "wrists", "VQ-VAE round trip, wrists", 40, 20, "mm", at_most=True),
    Target("round_trip", "pose", "  the same from the pelvis, all joints", unit="mm"),
    Target("real_motion", "pose", "real people through the VQ-VAE: pose from the pelvis", 50, 35, "mm", at_most=True),
    Target("real_motion", "joints", "real people through the VQ-VAE: all joints", 150, 90, "mm", at_most=True),
    *(Target("real_motion", f"frechet_{name}", f"  Fréchet distance of {what} to real ones")
      for name, what in (("walk", "walks"), ("run", "runs"), ("jump", "jumps"), ("kick", "kicks"), ("sit", "sits"))),
    Target("pose_to_video", "psnr_gain", "pose to video: PSNR over repeating the picture", 5, 8, "dB"),
    Target("pose_to_video", "psnr", "  PSNR", unit="dB"),
    Target("pose_to_video", "ssim", "pose to video: SSIM", 0.90, 0.94),
    Target("pose_to_video", "ssim_repeat", "  SSIM of repeating the picture"),
    Target("pose_to_video", "body", "pose to video: body keypoints re-detected", 0.90, 0.96),
    Target("pose_to_video", "true_body", "  the same on the true video"),
    Target("pose_to_video", "hands", "pose to video: hand keypoints re-detected", 0.75, 0.88),
    Target("pose_to_video", "true_hands", "  the same on the true video"),
    Target("pose_to_video", "delta_e", "pose to video: colours, mean ΔE (CIEDE2000)", 12, 6, at_most=True),
    Target("pose_to_video", "delta_e_upper_body", "  upper body"),
    Target("pose_to_video", "delta_e_legs", "  legs"),
    Target("pose_to_video", "delta_e_hair", "  hair"),
    Target("pose_to_video", "delta_e_skin", "  skin"),
    Target("pose_to_video", "head_psnr", "  PSNR of heads", unit="dB"),
    Target("pose_to_video", "face", "pose to video: face points re-detected, faces turned to us", 0.8, 0.9),
    Target("pose_to_video", "true_face", "  the same on the true video"),
    Target("pose_to_video", "flat", "pose to video: error on flat walls and floors", 1.5, 1, "levels", at_most=True),
    Target("pose_to_video", "flicker", "pose to video: flicker", 4, 2, "levels", at_most=True),
    Target("skeleton_adapter", "hands", "adapter: hand keypoints", 0.60, 0.85),
    Target("skeleton_adapter", "handless", "  the same read from its handless input"),
    Target("skeleton_adapter", "true_hands", "  the same read from the true drawing"),
    Target("skeleton_adapter", "body", "  body keypoints after the adapter"),
    Target("pose_net", "body", "pose network, held-out renders: body", 0.96, 0.99),
    Target("pose_net", "hands", "pose network, held-out renders: hands", 0.90, 0.96),
    Target("pose_net", "feet", "  feet"),
    Target("pose_net", "face", "  face"),
    Target("rescaling", "bone_error", "rescale: bones in the image plane, worst relative error", 1e-5, at_most=True),
    Target("rescaling", "broken", "rescale: 10,000 broken inputs that end in NaN or an error", 0, at_most=True),
    Target("demo_run", "seconds", "demo run, 2 threads, wall clock", 120, 60, "s", at_most=True),
    Target("demo_run", "video_seconds", "  seconds of video it made", 6, unit="s"),
)


@dataclass(frozen=True)
class Measure:
    """How values are made, and what they depend on."""

    work: Callable[[Bench], Values]
    parts: tuple[str, ...]          # keys of the config, with the weights they name
    by_clip: bool = False           # whether --clips matters
    real: bool = False              # whether it compares with --mocap


def demo_run(bench: Bench) -> Values:
    """The command of scripts/demo.sh in its own process on two threads, loading included."""
    command = [sys.executable, "inference.py", "--config", str(CONFIG), "name=demo", "resume=false",
               f"outputs={bench.output.resolve()}", f"num_threads={DEMO_THREADS}",
               *weight_arguments(load_config(InferenceConfig, ["--config", str(CONFIG)]), bench.weights)]
    environment = os.environ | {"OMP_NUM_THREADS": str(DEMO_THREADS)}
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    seconds = time.perf_counter() - start
    folder = bench.output / "demo"
    report, (frames, fps) = json.loads((folder / "report.json").read_text()), read_video(folder / "video.mp4")
    return {"seconds": seconds, "stages_seconds": report["seconds"], "video_seconds": len(frames) / fps}


MEASURES = {
    "phrasings": Measure(phrasings, ("motion",)),
    "round_trip": Measure(round_trip, ("motion",)),
    "real_motion": Measure(real_motion, ("motion",), real=True),
    "autoencoder": Measure(autoencoder, ("generator",), by_clip=True),
    "pose_to_video": Measure(pose_to_video, ("generator", "pose"), by_clip=True),
    "skeleton_adapter": Measure(skeleton_adapter, ("adapter", "pose"), by_clip=True),
    "pose_net": Measure(pose_net, ("pose",), by_clip=True),
    "rescaling": Measure(rescaling, ()),
    "demo_run": Measure(demo_run, ("image", "prompt", "planner", "motion", "camera", "pose", "adapter", "generator",
                                   "refinements")),
}


def weight_arguments(config: InferenceConfig, weights: Path, prefix: str = "") -> list[str]:
    """key=value for every setting of the demo that names something under weights/demo, there moved to `weights`."""
    arguments = []
    for field in fields(config):
        value, key = getattr(config, field.name), f"{prefix}{field.name}"
        if is_dataclass(value):
            arguments += weight_arguments(value, weights, f"{key}.")
        elif isinstance(value, str) and Path(value).is_relative_to(SHIPPED):
            arguments.append(f"{key}={weights.resolve() / Path(value).relative_to(SHIPPED)}")
    return arguments


def key_of(name: str, bench: Bench) -> str:
    """A hash of all a measure depends on: settings, the content of the weights they name, people, and the arguments."""
    measure, config, parts = MEASURES[name], bench.config, []
    for part in measure.parts:
        value = getattr(config, part)
        parts.append(asdict(value) if is_dataclass(value) else {part: value})
    files = [Path(value) for part in parts for value in part.values()
             if isinstance(value, str) and Path(value).is_relative_to(bench.weights.resolve())]
    if measure.real and bench.mocap:
        files += [bench.mocap / "mocap.npz", bench.mocap / "clips.jsonl"]
    settings = [{key: value for key, value in part.items() if Path(str(value)) not in files} for part in parts]
    return content_hash([name, settings, files, bench.seed, bench.num_clips if measure.by_clip else 0,
                         config.size, config.fps])


def measure_all(names: list[str], bench: Bench, results: ResultsFile, fresh: bool) -> dict[str, str]:
    """Makes the named measures that results.json lacks; returns why for each that could not be made."""
    failures = {}
    for name in names:
        key = key_of(name, bench)
        if not fresh and results.kept(name, key):
            log.info("%s: kept from %s", name, results.path)
            continue
        start = time.perf_counter()
        try:
            values = MEASURES[name].work(bench)
        except (ValueError, OSError, subprocess.CalledProcessError) as error:
            failures[name] = one_line(error)
            continue
        results.write(name, {"values": values, "key": key, "seconds": round(time.perf_counter() - start, 1),
                             "clips": bench.num_clips if MEASURES[name].by_clip else None, "seed": bench.seed})
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0], epilog=__doc__.split("\n\n", 1)[1],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=ROOT / SHIPPED, help="folder laid out as weights/demo")
    parser.add_argument("--clips", type=whole_number(1), default=24, help="held-out clips per measure")
    parser.add_argument("--only", nargs="+", choices=MEASURES, metavar="MEASURE", help="only these measures")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="other held-out people; 0 is the published figure")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "evaluate_demo",
                        help="folder for results.json and the contact sheets")
    parser.add_argument("--mocap", type=Path, help="folder of real motion, for real_motion (see demo/mocap.py)")
    parser.add_argument("--fresh", action="store_true", help="make again what results.json already has")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if not arguments.weights.is_dir():
        raise ValueError(f"--weights: expected a folder laid out as {SHIPPED} (found no folder {arguments.weights}): check the path")
    check_folder(arguments.output, "choose another place with --output")

    shipped = load_config(InferenceConfig, ["--config", str(CONFIG)])
    config = load_config(InferenceConfig, ["--config", str(CONFIG), *weight_arguments(shipped, arguments.weights)])
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    bench = Bench(config, Models(config), arguments.weights, arguments.clips, arguments.seed, arguments.output,
                  arguments.mocap)
    results, names = ResultsFile(arguments.output / "results.json"), arguments.only or [
        name for name, measure in MEASURES.items() if arguments.mocap or not measure.real]
    failures = measure_all(names, bench, results, arguments.fresh)

    current = {name: entry for name in names if (entry := results.kept(name, key_of(name, bench)))}
    print(f"\n{format_table(TARGETS, {name: entry['values'] for name, entry in current.items()})}\n\n{results.path}")
    for name, reason in failures.items():
        print(f"{name}: not measured: {reason}", file=sys.stderr)
    return 2 if failures else 0


if __name__ == "__main__":
    run_main(main)
