"""One of the processes of the benchmark's `processes` stage; started by torch.distributed.run, once per process.

    benchmark_worker.py SCALE DEVICE DTYPE STEPS RESULT.pt
"""
from __future__ import annotations

import os
import sys

import torch

from benchmarks.models import random_frames, random_model, SCALES, seeded
from benchmarks.timing import seconds_of
from runtime.device import keep_freed_memory
from runtime.processes import join_processes


def main(scale_name: str, device: str, dtype: str, steps: str, path: str) -> None:
    scale, device = SCALES[scale_name], torch.device(device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    processes = join_processes(device)
    torch.set_num_threads(1)
    keep_freed_memory(device)
    model = random_model(scale, str(device), getattr(torch, dtype.removeprefix("torch.")))
    poses = random_frames(scale.frames, scale.size)
    sample = lambda steps: model.sample(
        poses[0], poses, seeded(), num_inference_steps=steps, tile_size=scale.tile,
        tile_overlap=scale.overlap, progress=False, processes=processes)
    sample(1)                                                                             # warm-up
    found = {}
    found["seconds"] = seconds_of(lambda: found.update(latents=sample(int(steps) or scale.steps)), str(device))
    if processes.is_main:
        torch.save(found | {"latents": found["latents"].cpu()}, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
