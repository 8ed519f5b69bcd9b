"""MusePose's sampler here against the published way of working: CPU seconds, peak memory, and how far the latents are apart.

    python scripts/benchmark_musepose.py                          re-enacted, random weights of a compute-bound width
    python scripts/benchmark_musepose.py --size 256 --frames 8 --width 64 --steps 3 --repeats 3
    python scripts/benchmark_musepose.py --size 256 --window 8 --overlap 0 --processes 2       one video by two processes

Each way runs in a process of its own. The published way, re-enacted on the same networks: reference features beside every
frame's own in both halves of the guidance, the unconditional half once more by itself, projections anew for every frame,
window and step, the reference network for both halves, cross-attention over one token in full, the pose guider on the whole
clip, frames decoded one by one.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

import musepose.pipeline
from configs import run_main, whole_number
from media.images import PIXELS_PER_LATENT
from runtime.device import keep_freed_memory
from runtime.processes import ALONE, join_processes, Processes, shut_down
from musepose.networks import attended, build_denoiser, build_pose_guider, build_reference_net, Context, is_motion
from musepose.pipeline import check_windows, MusePose

ROOT = Path(__file__).resolve().parent.parent
WAYS = ("published", "here")


class PublishedReading:
    """Every row of the batch attends to the reference; rows without one are then worked out again by themselves."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
                 attention_mask: Tensor | None = None, context: Context | None = None) -> Tensor:
        plain = lambda hidden, seen: attention.to_out[0](
            attended(attention, attention.to_q(hidden), attention.to_k(seen), attention.to_v(seen)))
        frames = len(hidden_states) // len(context.readers)
        rows = [row or 0 for row in context.readers]
        bank = context.features[self.name][rows].repeat_interleave(frames, dim=0)       # (B*F, N, C)
        result = plain(hidden_states, torch.cat([hidden_states, bank], dim=1))
        blind = [place * frames + frame for place, row in enumerate(context.readers) if row is None for frame in range(frames)]
        if blind:
            result[blind] = plain(hidden_states[blind], hidden_states[blind])
        return result


class PublishedTokens:
    """Cross-attention in full, of every place to the one token there is."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
                 attention_mask: Tensor | None = None, context: Context | None = None) -> Tensor:
        tokens = context.tokens[list(context.asked)].repeat_interleave(len(hidden_states) // len(context.asked), dim=0)
        made = attended(attention, attention.to_q(hidden_states), attention.to_k(tokens), attention.to_v(tokens))
        return attention.to_out[0](made)


@contextmanager
def published_way(model: MusePose) -> Iterator[MusePose]:
    """Within the context the model works as the published code does."""
    network, kept = model.denoiser, []
    for name, block in network.named_modules():
        if not isinstance(block, BasicTransformerBlock):
            continue
        kept.append((block, block.norm2, block.attn1.processor, block.attn2.processor))
        if is_motion(f".{name}."):
            block.attn1.set_processor(AttnProcessor2_0())
            block.attn2.set_processor(AttnProcessor2_0())
            continue
        norm = nn.LayerNorm(block.norm2.normalized_shape)
        norm.load_state_dict(block.norm2.state_dict())
        block.norm2 = norm
        block.attn1.set_processor(PublishedReading(name))
        block.attn2.set_processor(PublishedTokens(name))
    single = model.reference_net.forward
    both = lambda latents, tokens: {name: features[len(latents):] for name, features in single(
        latents.repeat(2, 1, 1, 1), torch.cat([torch.zeros_like(tokens), tokens])).items()}
    try:
        with (mock.patch.object(musepose.pipeline, "POSES_AT_ONCE", sys.maxsize),
              mock.patch.object(musepose.pipeline, "faster_on_cpu", lambda *_: nullcontext()),
              mock.patch.object(model.reference_net, "forward", both)):
            yield model
    finally:
        for block, norm, reader, tokens in kept:
            block.norm2 = norm
            block.attn1.set_processor(reader)
            block.attn2.set_processor(tokens)


def random_model(width: int) -> MusePose:
    """Networks of the official shape, their channels 320 -> width, with random weights."""
    torch.manual_seed(0)
    channels = (width, 2 * width, 4 * width, 4 * width)
    config = {"act_fn": "silu", "attention_head_dim": 8, "block_out_channels": channels, "cross_attention_dim": 64,
              "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",), "in_channels": 4, "out_channels": 4,
              "layers_per_block": 2, "norm_num_groups": 32, "norm_eps": 1e-5, "downsample_padding": 1,
              "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3}
    networks = [build_denoiser(config), build_reference_net(config), build_pose_guider(width, (16, 32, 48, 64))]
    vae = AutoencoderKL(block_out_channels=(16, 16, 32, 32), down_block_types=("DownEncoderBlock2D",) * 4,
                        up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=8)
    encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                                                             num_attention_heads=4, projection_dim=64))
    for network in networks:                                                  # nothing is zero, as in trained weights
        for parameter in network.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return MusePose(*(network.eval() for network in (*networks, vae, encoder)))


def arguments_of(args: argparse.Namespace) -> dict:
    """What both ways are given."""
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (args.frames + 1, args.size, args.size, 3), np.uint8)
    return dict(image=frames[0], poses=frames[1:], size=(args.size, args.size), num_inference_steps=args.steps,
                window=args.window, window_overlap=args.overlap, pad=False, progress=False)


def measured(args: argparse.Namespace, way: str, processes: Processes = ALONE) -> tuple[dict, dict[str, Tensor]]:
    """One way in this process: CPU seconds and bytes, and its latents and frames."""
    model, given = random_model(args.width), arguments_of(args)
    if way == "here":
        keep_freed_memory()                                                   # as inference.py does on a CPU
    before, seconds, walls = resident(), [], []
    for _ in range(args.repeats):
        began, wall = time.process_time(), time.perf_counter()                # of this process, however busy the machine
        generator = torch.Generator().manual_seed(1)
        with published_way(model) if way == "published" else nullcontext():
            latents = model.sample(**given, generator=generator, guidance_batch=2 if way == "published" else 1, processes=processes)
        frames = np.concatenate(list(model.decoded(latents, 1, processes=processes)))
        seconds.append(time.process_time() - began)
        walls.append(time.perf_counter() - wall)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return ({"seconds": min(seconds), "median": statistics.median(seconds), "wall": min(walls), "peak": peak, "loaded": before},
            {"latents": latents.contiguous(), "frames": torch.from_numpy(frames).contiguous()})


def run_one(args: argparse.Namespace) -> None:
    """One way in this process: what was made and its numbers into files."""
    torch.set_num_threads(args.threads)
    processes = join_processes(torch.device("cpu"))
    numbers, made = measured(args, args.way, processes)
    save_file(made, f"{args.out}.{processes.rank}")
    Path(f"{args.out}.{processes.rank}.json").write_text(json.dumps(numbers))
    shut_down()


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def started(way: str, out: Path, num_processes: int = 1) -> list[tuple[dict, dict[str, Tensor]]]:
    """What each of the processes that make one video together measured and made."""
    launcher = [] if num_processes == 1 else ["torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes), "-m"]
    command = [sys.executable, "-m", *launcher, "scripts.benchmark_musepose", *sys.argv[1:], "--way", way, "--out", str(out)]
    subprocess.run(command, cwd=ROOT, check=True)
    return [(json.loads(Path(f"{out}.{rank}.json").read_text()), load_file(f"{out}.{rank}")) for rank in range(num_processes)]


def compare(folder: Path) -> dict:
    """Both ways, and how they compare."""
    ((old, theirs),), ((new, ours),) = (started(way, folder / way) for way in WAYS)
    return compared(old, theirs, new, ours) | {"published": old, "here": new}


def compared(old: dict, theirs: dict[str, Tensor], new: dict, ours: dict[str, Tensor]) -> dict:
    """Ratios of what both ways took, and how far apart the results are."""
    apart = (theirs["latents"] - ours["latents"]).abs().max() / theirs["latents"].abs().max()
    levels = (theirs["frames"].int() - ours["frames"].int()).abs().max()
    return {"times as fast": round(old["seconds"] / new["seconds"], 2),
            "of its peak memory": round(new["peak"] / old["peak"], 2),
            "of its memory beside the weights": round((new["peak"] - new["loaded"]) / (old["peak"] - old["loaded"]), 2),
            "latents apart": float(f"{apart:.1e}"), "pixel levels apart": int(levels)}


def compare_processes(args: argparse.Namespace, folder: Path) -> dict:
    """One video by one process and by several: seconds by the clock and of CPU, and whether the bits are equal."""
    (alone, wanted), = started("here", folder / "alone")
    several = started("here", folder / "several", args.processes)
    busiest, longest = (max(numbers[name] for numbers, _ in several) for name in ("seconds", "wall"))
    return {f"times as fast with {args.processes} processes": round(alone["wall"] / longest, 2),
            "times less CPU time of the busiest": round(alone["seconds"] / busiest, 2),
            "equal": all(torch.equal(made[name], wanted[name]) for _, made in several for name in wanted),
            "alone": alone["seconds"], "each": [numbers["seconds"] for numbers, _ in several]}


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    one = whole_number(1)
    for name, kind, default, words in (
            ("size", whole_number(PIXELS_PER_LATENT, PIXELS_PER_LATENT), 512, "pixels of a side"), ("frames", one, 16, "of the video"),
            ("steps", one, 1, "of DDIM"), ("width", whole_number(32, 32), 64, "channels of the first level"),
            ("window", one, 48, "frames denoised together"), ("overlap", whole_number(0), 4, "frames windows share"),
            ("repeats", one, 1, "runs, the fastest counts"), ("threads", one, 1, "CPU threads"),
            ("processes", one, 1, "that share the video; with several they are compared with one")):
        found.add_argument(f"--{name}", type=kind, default=default, help=f"{words} ({default})")
    found.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    found.add_argument("--out", help=argparse.SUPPRESS)
    return found


def main() -> None:
    args = parser().parse_args()
    check_windows(args.window, args.overlap)
    if args.way:
        return run_one(args)
    with TemporaryDirectory() as folder:
        found = compare(Path(folder)) if args.processes == 1 else compare_processes(args, Path(folder))
        for name, value in found.items():
            print(f"{name}: {value}")


if __name__ == "__main__":
    run_main(main)
