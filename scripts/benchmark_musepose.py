"""MusePose's sampler here against the published way of working: CPU seconds, peak memory, and how far the latents are apart.

    python scripts/benchmark_musepose.py                          re-enacted, random weights of a compute-bound width
    python scripts/benchmark_musepose.py --size 512 --frames 8 --width 64 --steps 1 --repeats 3

Each way runs in a process of its own. The published way, re-enacted on the same networks: reference features beside every
frame's own in both halves of the guidance, the unconditional half once more by itself, projections anew for every frame,
window and step, the reference network for both halves, cross-attention over one token in full, the pose guider on the whole clip, frames decoded one by one.
"""
from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

import musepose.pipeline
from runtime.device import keep_freed_memory
from musepose.attention import Context, attended, spatial_blocks
from musepose.networks import build_denoiser, build_pose_guider, build_reference_net
from musepose.pipeline import MusePose

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
    for name, block in spatial_blocks(network):
        kept.append((block, block.norm2, block.attn1.processor, block.attn2.processor))
        norm = nn.LayerNorm(block.norm2.normalized_shape)
        norm.load_state_dict(block.norm2.state_dict())
        block.norm2 = norm
        block.attn1.set_processor(PublishedReading(name))
        block.attn2.set_processor(PublishedTokens(name))
    layers = [layer for layer in network.modules() if type(layer) is FeedForward]
    for layer in layers:                                                      # its own way, which is left alone
        layer.forward = partial(FeedForward.forward, layer)
    single = model.reference_net.forward
    both = lambda latents, tokens: {name: features[len(latents):] for name, features in single(
        latents.repeat(2, 1, 1, 1), torch.cat([torch.zeros_like(tokens), tokens])).items()}
    try:
        with (mock.patch.object(musepose.pipeline, "POSES_AT_ONCE", sys.maxsize),
              mock.patch.object(model.reference_net, "forward", both)):
            yield model
    finally:
        for block, norm, reader, tokens in kept:
            block.norm2 = norm
            block.attn1.set_processor(reader)
            block.attn2.set_processor(tokens)
        for layer in layers:
            del layer.forward


def random_model(width: int, seed: int = 0) -> MusePose:
    """Networks of the official shape, their channels 320 -> width, with random weights."""
    torch.manual_seed(seed)
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


def run_one(args: argparse.Namespace) -> None:
    """One way in this process: its latents into a file, and its numbers as the last line."""
    torch.set_num_threads(args.threads)
    model, given = random_model(args.width), arguments_of(args)
    if args.way == "here":
        keep_freed_memory()                                                   # as inference.py does on a CPU
    before, seconds = resident(), []
    for _ in range(args.repeats):
        began = time.process_time()                                           # of this process, however busy the machine
        generator = torch.Generator().manual_seed(1)
        if args.way == "published":
            with published_way(model):
                latents = model.sample(**given, generator=generator)
            frames = [chunk for chunk in model.decoded(latents, 1)]
        else:
            latents = model.sample(**given, generator=generator, guidance_batch=1)
            frames = [chunk for chunk in model.decoded(latents, 1)]
        seconds.append(time.process_time() - began)
    save_file({"latents": latents.contiguous(), "frames": torch.from_numpy(np.ascontiguousarray(np.concatenate(frames)))}, args.out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": min(seconds), "median": statistics.median(seconds), "peak": peak, "loaded": before}))


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def compare(args: argparse.Namespace, folder: Path) -> dict:
    """Both ways, and how they compare."""
    results = {}
    for way in WAYS:
        command = [sys.executable, "-m", "scripts.benchmark_musepose", *sys.argv[1:], "--way", way, "--out", str(folder / way)]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        results[way] = json.loads(done.stdout.splitlines()[-1])
    made = [load_file(folder / way) for way in WAYS]
    apart = (made[0]["latents"] - made[1]["latents"]).abs().max() / made[0]["latents"].abs().max()
    levels = (made[0]["frames"].int() - made[1]["frames"].int()).abs().max()
    old, new = (results[way] for way in WAYS)
    return {"times as fast": round(old["seconds"] / new["seconds"], 2),
            "of its peak memory": round(new["peak"] / old["peak"], 2),
            "of its memory beside the weights": round((new["peak"] - new["loaded"]) / (old["peak"] - old["loaded"]), 2),
            "latents apart": float(f"{apart:.1e}"), "pixel levels apart": int(levels), **results}


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, words in (("size", 512, "pixels of a side"), ("frames", 4, "of the video"), ("steps", 1, "of DDIM"),
                                 ("width", 64, "channels of the first level"), ("window", 48, "frames denoised together"),
                                 ("overlap", 4, "frames windows share"), ("repeats", 1, "runs, the fastest counts"),
                                 ("threads", 1, "CPU threads")):
        found.add_argument(f"--{name}", type=int, default=default, help=f"{words} ({default})")
    found.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    found.add_argument("--out", help=argparse.SUPPRESS)
    return found


def main() -> None:
    args = parser().parse_args()
    if args.way:
        return run_one(args)
    with TemporaryDirectory() as folder:
        for name, value in compare(args, Path(folder)).items():
            print(f"{name}: {value}")


if __name__ == "__main__":
    main()
