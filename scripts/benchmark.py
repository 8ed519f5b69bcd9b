"""Measure seconds, memory and arithmetic of every costly part, against the published programs' way of doing it.

    python scripts/benchmark.py --published
    python scripts/benchmark.py --published --only draw gpt --repeats 5 --threads 1
    python scripts/benchmark.py --published --device cuda --only full_size --steps 5 --repeats 1

Stages: draw, pose, gpt, decode, pipeline, balanced, processes (CPU, small networks) and full_size (GPU, 151 frames of
576x1024; the default there). Networks have random weights: speed does not depend on them. --published re-enacts the
published programs on the same weights (PoseNet in each step and tile, two passes for guidance, full last tile, no
key/value cache, drawing on a 2160-pixel canvas), in turn with ours, and gives ratios of medians. With --svd and
--checkpoint full_size runs on real weights, and keys that trade quality for speed get their PSNR to the exact video.
Results: benchmark.json and benchmark.png in --output, and a table. Ctrl-C keeps the finished stages.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import json
import logging
import platform
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from benchmarks.stages import SCALES, STAGES
from benchmarks.timing import Bench, num_threads, ratio_plot
from configs import run_main, whole_number
from media.files import check_folder, save_atomically, save_text
from motionbench.report import format_table, Target
from runtime.device import chosen_device

log = logging.getLogger(__name__)

TARGETS = (
    Target("draw", "ratio", "drawing 576x1024, per frame", 10, unit="x"),
    Target("pose", "ratio", "pose layer outside the networks, per frame", 3, unit="x"),
    Target("gpt", "ratio", "GPT, 50 tokens, one thread", 2.5, unit="x"),
    Target("decode", "ratio", "VAE decoding", unit="x"),
    Target("pipeline", "ratio", "sampler, equal latents", 1.2, unit="x"),
    Target("pipeline", "difference", "  largest difference of the latents", 2e-4, at_most=True),
    Target("balanced", "ratio", "sampler, 73 poses, balanced tiles", 2.2, unit="x"),
    Target("processes", "ratio", "two processes against one", 1.7, unit="x"),
    Target("processes", "difference", "  largest difference of the latents", 0, at_most=True),
    Target("full_size", "ratio", "full size, same result", unit="x"),
    Target("full_size", "ratio_all_keys", "full size, all keys that trade quality", 4, unit="x"),
    Target("full_size", "share", "full size, share of the matrix-product peak", 0.5),
    Target("full_size", "seconds", "full size", unit="s"),
    Target("full_size", "gib", "full size, peak memory", unit="GiB"),
    Target("full_size", "predicted", "  what the memory planner said", unit="GiB"),
)
CPU_STAGES = [name for name in STAGES if name != "full_size"]


def values(found: dict) -> dict[str, float]:
    """What the table shows of a stage's entry in benchmark.json."""
    facts = found["facts"]
    shown = {"seconds": found["median_seconds"]["ours"], "gib": found["peak_gib"].get("ours"),
             "difference": facts.get("largest_difference"), "share": facts.get("share_of_peak"),
             "predicted": facts.get("predicted_gib")}
    shown |= {"ratio" if name == "ours" else f"ratio_{name}": ratio for name, ratio in found["ratios"].items()}
    return {name: value for name, value in shown.items() if value is not None}


def table(results: dict[str, dict], targets: tuple[Target, ...]) -> str:
    """Seconds, arithmetic and memory of every variant, then what must be reached."""
    lines = [f"{'stage':<12}{'variant':<20}{'seconds':>12}{'ratio':>9}{'TFLOP':>10}{'TFLOP/s':>10}"
             f"{'peak GiB':>10}"]
    for stage, found in results.items():
        for variant, seconds in found["median_seconds"].items():
            tflop, memory = found["tflop"].get(variant, 0), found["peak_gib"].get(variant)
            ratio = f"{found['ratios'][variant]:.2f}" if variant in found["ratios"] else ""
            lines.append(f"{stage:<12}{variant:<20}{seconds:>12.4f}{ratio:>9}"
                         + (f"{tflop:>10.4f}{tflop / seconds:>10.3f}" if tflop else " " * 20)
                         + (f"{memory:>10.2f}" if memory else ""))
    return "\n".join(lines) + "\n\n" + format_table(targets, {stage: values(found) for stage, found in results.items()})


def save(results: dict[str, dict], machine: dict, targets: tuple[Target, ...], folder: Path) -> None:
    """benchmark.json, and benchmark.png where there are ratios."""
    save_text(folder / "benchmark.json", json.dumps({"machine": machine, "stages": results}, indent=2) + "\n")
    known, bars = {(target.measure, target.name): target for target in targets}, []
    for stage, found in results.items():
        for variant, ratio in found["ratios"].items():
            target = known.get((stage, "ratio" if variant == "ours" else f"ratio_{variant}"))
            label = target.text if target else f"{stage}, {variant}".replace("_", " ")
            bars.append((label, ratio, target and target.must))
    if bars:
        footnote = "{device}, CPU threads: {threads}, {dtype}, {scale} networks".format(**machine)
        sheet = Image.fromarray(ratio_plot(bars, footnote))
        save_atomically(folder / "benchmark.png", lambda path: sheet.save(path, "PNG"))


def machine_facts(bench: Bench) -> dict:
    """What the numbers depend on."""
    on_gpu = bench.device != "cpu"
    name = torch.cuda.get_device_name(bench.device) if on_gpu else platform.processor() or platform.machine()
    return {"device": name, "threads": torch.get_num_threads(), "dtype": str(bench.dtype).removeprefix("torch."),
            "scale": bench.scale, "repeats": bench.repeats, "torch": torch.__version__,
            "python": platform.python_version()}


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", action="store_true", help="measure the published way, too, and give ratios")
    parser.add_argument("--only", nargs="+", choices=STAGES, metavar="STAGE", help=f"of {', '.join(STAGES)}")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"),
                        help="default: float32 on a CPU, float16 on a GPU")
    parser.add_argument("--scale", choices=SCALES, help="default: small on a CPU, full on a GPU")
    parser.add_argument("--threads", type=whole_number(0), default=0, help="CPU threads; 0: as torch has them")
    parser.add_argument("--repeats", type=whole_number(1), default=3, help="timed runs per variant, after one to warm up")
    parser.add_argument("--steps", type=whole_number(0), default=0, help="denoising steps; 0: as the scale says")
    parser.add_argument("--svd", help="full_size: SVD folder of real weights")
    parser.add_argument("--checkpoint", help="full_size: MimicMotion's .pth, a .safetensors or a folder")
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmark"), help="folder for the results")
    given = parser.parse_args(argv)
    if given.checkpoint and not given.svd:
        raise ValueError("--checkpoint: expected --svd with it (found none): name the SVD folder it belongs to")
    check_folder(given.output, "choose another place with --output")
    return given


def main(argv: list[str] | None = None) -> int:
    given = arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = chosen_device(given.device)
    on_gpu = device != "cpu"
    dtype = getattr(torch, given.dtype or ("float16" if on_gpu else "float32"))
    bench = Bench(device, dtype, given.scale or ("full" if on_gpu else "small"), given.repeats, given.published,
                  given.steps, given.svd, given.checkpoint)
    targets = tuple(replace(target, must=None) for target in TARGETS) if bench.scale == "tiny" else TARGETS
    results, interrupted = {}, False
    with num_threads(given.threads):
        machine = machine_facts(bench)
        for name in given.only or (["full_size"] if on_gpu else CPU_STAGES):
            log.info("%s: %s (%s at the default sizes)", name, STAGES[name].run.__doc__, STAGES[name].needs)
            try:
                results[name] = STAGES[name].run(bench).as_dict()
            except KeyboardInterrupt:
                log.warning("interrupted in %s: %d finished stages are kept", name, len(results))
                interrupted = True
                break
            save(results, machine, targets, given.output)
    if results:
        print(f"\n{table(results, targets)}\n\n{given.output / 'benchmark.json'}")
    return 130 if interrupted else 0


if __name__ == "__main__":
    run_main(main)
