"""Seconds of a training step with cached latents and texts, against VAE and text encoder in every step.

    python scripts/benchmark_customization.py weights/zeroscope data/motion --size 384 --frames 16 --steps 10

The two are measured in turns, and the median of each is told: other programs on the machine slow both alike.
"""
from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch.utils.data import default_collate

from configs import run_main
from newmove.clips import clips_in, LatentCache, MotionClips
from newmove.task import MotionTask
from newmove.text_to_video import TextToVideo, fingerprint
from newmove.objective import PAPER
from runtime.device import chosen_device
from training.validation import on_device


def step_seconds(task: MotionTask, clips: MotionClips, position: int) -> float:
    """One step without the optimizer's, which is the same in both: read, encode, forward, backward."""
    began = time.perf_counter()
    batch = on_device(default_collate([clips[position % len(clips), position]]), task.model.device)
    task.objective(*task.inputs(batch)).mean().backward()
    task.objective.zero_grad(set_to_none=True)
    if task.model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("clips", help="a folder of clips; they are their own prior")
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--steps", type=int, default=10)
    chosen = parser.parse_args()
    task = MotionTask(TextToVideo.load(chosen.model, chosen_device("auto")), PAPER, gradient_checkpointing=True)
    exemplars, size = clips_in(chosen.clips, from_name=True), (chosen.size, chosen.size)
    with tempfile.TemporaryDirectory() as folder:
        plain = MotionClips(exemplars, exemplars, chosen.frames, size)
        cache = LatentCache(Path(folder), plain.fps, fingerprint(task.model.source))
        cache.fill(plain.all_clips(), task.model.encode_frames)
        cached, seconds = MotionClips(exemplars, exemplars, chosen.frames, size, cache=cache), {"in the step": [], "cached": []}
        for position in range(chosen.steps + 1):
            task.texts.clear()
            seconds["in the step"].append(step_seconds(task, plain, position))
            seconds["cached"].append(step_seconds(task, cached, position))           # the texts are remembered by now
    slow, fast = (statistics.median(values[1:]) for values in seconds.values())
    print(f"latents and texts in the step {slow:.3f} s, cached {fast:.3f} s: {slow / fast:.2f} times as fast")


if __name__ == "__main__":
    run_main(main)
