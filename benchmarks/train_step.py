"""Measure what the training loop promises; each part prints one JSON line.

    python benchmarks/train_step.py step               # published step (VAE and CLIP in it) against cached latents
    python benchmarks/train_step.py stall --dataset data/set --cached     # share of a step waiting for 2 workers
    python benchmarks/train_step.py loading --dataset data/set --seconds-per-step 1.0     # the same for a step of any length
    python benchmarks/train_step.py full --parts temporal --optimizer adamw_8bit      # full-size SVD on a GPU

`step` and `stall` train the demo's video model; `full` builds the network at SVD-xt's size with random weights, which
cost the same. In `loading` the step is a pause, as on a GPU; more than 5 % waiting is worth another worker, or
scripts/prepare_dataset.py --cache-latents. What hands gain from their weight: benchmarks/hand_weight.py.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler
from torch.utils.data import DataLoader, Dataset

from configs import run_main, whole_number
from dwpose.draw import STYLES
from mimicmotion import VideoTrainConfig
from mimicmotion.latents import image_embeddings
from mimicmotion.networks import PoseNet, PoseUNet
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.task import latents_of, VideoTask
from training.batches import SampleStream
from training.learner import Learner
from training_data.clips import PreparedClips

DEMO = Path("weights/demo")
FRAMES, SIZE = 4, (320, 192)
SVD_UNET = dict(sample_size=96, in_channels=8, out_channels=4, num_frames=25, cross_attention_dim=1024,
                block_out_channels=(320, 640, 1280, 1280), num_attention_heads=(5, 10, 20, 20), layers_per_block=2,
                addition_time_embed_dim=256, projection_class_embeddings_input_dim=768)
FIRST_BATCHES = 2               # while the workers start


def random_batch() -> dict:
    """A random video of the demo's size, for timing."""
    generator = torch.Generator().manual_seed(0)
    pictures = lambda *shape: torch.rand(*shape, 3, *SIZE, generator=generator) * 2 - 1
    return {"target": pictures(1, FRAMES), "pose": pictures(1, FRAMES), "reference": pictures(1),
            "position": torch.tensor([0])}


def settings(**changes) -> VideoTrainConfig:
    return VideoTrainConfig(**{**dict(mixed_precision="no", report_to="none", ema_decay=0.0, num_workers=0), **changes})


def take_step(learner: Learner, batch: dict) -> None:
    """One optimizer step, finished when this returns."""
    with learner.accelerator.autocast():
        loss = learner(*learner.task.inputs(batch)).mean()
    learner.accumulate(loss)
    learner.advance()
    if learner.accelerator.device.type == "cuda":
        torch.cuda.synchronize()


def seconds_per_step(learner: Learner, batch: dict, steps: int) -> float:
    """Median of `steps` steps after one to warm up; on a CPU its own seconds, however busy the machine is."""
    taken, clock = [], time.perf_counter if learner.accelerator.device.type == "cuda" else time.process_time
    for _ in range(steps + 1):
        began = clock()
        take_step(learner, batch)
        taken.append(clock() - began)
    return statistics.median(taken[1:])


@torch.no_grad()
def with_cached_latents(batch: dict, model: PoseToVideo, config: VideoTrainConfig) -> dict:
    """The batch as `--cache-latents` would store it."""
    latents, reference_latents = latents_of(batch, model, config)
    return {"latents": latents / model.vae.config.scaling_factor, "reference_latents": reference_latents,
            "embedding": image_embeddings(model.image_encoder, batch["reference"]),
            **{key: batch[key] for key in ("pose", "reference", "position")}}


def step(arguments: argparse.Namespace) -> dict:
    """Encode and embed in every step, as the published scripts do, against reading both; same networks, same batch."""
    model, config = PoseToVideo.load(DEMO / "svd", DEMO / "video"), settings()
    learner = Learner(Accelerator(cpu=True), VideoTask(model, config), config)
    pixels = random_batch()
    published = seconds_per_step(learner, pixels, arguments.steps)
    cached = seconds_per_step(learner, with_cached_latents(pixels, model, config), arguments.steps)
    return {"published_seconds": published, "cached_seconds": cached, "ratio": published / cached}


def stall(arguments: argparse.Namespace) -> dict:
    """How long a step waits for its batch with 2 workers, as a share of the step and its wait."""
    if not arguments.dataset:
        raise ValueError("--dataset: expected a data folder (found none): make one with scripts/prepare_dataset.py")
    clips = PreparedClips(arguments.dataset, FRAMES, tuple(arguments.size), style="bold", cached=arguments.cached)
    model, config = PoseToVideo.load(DEMO / "svd", DEMO / "video"), settings()
    learner = Learner(Accelerator(cpu=True), VideoTask(model, config), config)
    batches = iter(DataLoader(clips, batch_sampler=SampleStream(range(len(clips)), 1, 0), num_workers=2))
    waited, worked = [], []
    for _ in range(FIRST_BATCHES + arguments.steps):
        began = time.perf_counter()
        batch = next(batches)
        came = time.perf_counter()
        take_step(learner, batch)
        waited.append(came - began)
        worked.append(time.perf_counter() - came)
    waited, worked = sum(waited[FIRST_BATCHES:]) / arguments.steps, sum(worked[FIRST_BATCHES:]) / arguments.steps
    return {"waited_seconds": waited, "step_seconds": worked, "stall": waited / (waited + worked)}


def full(arguments: argparse.Namespace) -> dict:
    """Seconds and memory of a step of the full-size network at 576x1024x16 in bf16, latents cached."""
    if not torch.cuda.is_available():
        raise ValueError("full: expected a CUDA GPU (found none)")
    size = (1024, 576)
    with torch.device("cuda"):
        unet = PoseUNet(**SVD_UNET)
        model = PoseToVideo(unet, PoseNet(320), AutoencoderKLTemporalDecoder(), torch.nn.Identity(),
                            EulerDiscreteScheduler())                   # all is cached: the last three take no part
    config = settings(mixed_precision="bf16", parts=arguments.parts, optimizer=arguments.optimizer,
                      gradient_checkpointing=True)
    learner = Learner(Accelerator(mixed_precision="bf16"), VideoTask(model, config), config)
    pictures = lambda *shape: torch.rand(*shape, 3, *size, device="cuda") * 2 - 1
    batch = {"latents": torch.randn(1, 16, 4, 128, 72, device="cuda"), "pose": pictures(1, 16),
             "reference": pictures(1), "reference_latents": torch.randn(1, 4, 128, 72, device="cuda"),
             "embedding": torch.randn(1, 1, 1024, device="cuda"), "position": torch.tensor([0])}
    seconds = seconds_per_step(learner, batch, arguments.steps)
    return {"seconds_per_step": seconds, "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
            "device": torch.cuda.get_device_name()}


def loading_stall(clips: Dataset, *, seconds_per_step: float, num_steps: int, num_workers: int,
                  batch_size: int = 1) -> dict[str, float]:
    """Let a step of `seconds_per_step` (on a GPU: the CPU sleeps) ask for batches as training does.

    Returns seconds waited per step, their share of the whole step, and seconds one worker needs for a sample.
    """
    loader = DataLoader(clips, batch_sampler=SampleStream(range(len(clips)), batch_size, 0), num_workers=num_workers)
    batches, waited = iter(loader), 0.0
    for step in range(FIRST_BATCHES + num_steps):
        began = time.perf_counter()
        next(batches)
        waited += (time.perf_counter() - began) * (step >= FIRST_BATCHES)
        time.sleep(seconds_per_step)
    began = time.perf_counter()
    for position in range(min(8, num_steps)):
        clips[(position % len(clips), position)]
    alone = (time.perf_counter() - began) / min(8, num_steps)
    per_step = waited / num_steps
    return {"waited_seconds": per_step, "stall": per_step / (per_step + seconds_per_step), "sample_seconds": alone}


def loading(arguments: argparse.Namespace) -> dict:
    """Share of a step of --seconds-per-step that waits for the data."""
    if not arguments.dataset or not arguments.seconds_per_step > 0:
        raise ValueError("loading: expected --dataset and --seconds-per-step (found none): say what to read and for how long")
    clips = PreparedClips(arguments.dataset, arguments.num_frames, tuple(arguments.size), style=arguments.style,
                          cached=arguments.cached)
    return loading_stall(clips, seconds_per_step=arguments.seconds_per_step, num_steps=arguments.steps,
                         batch_size=arguments.batch_size, num_workers=arguments.workers)


PARTS = {"step": step, "stall": stall, "loading": loading, "full": full}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS, help="what is measured")
    parser.add_argument("--steps", type=whole_number(1), default=5, help="timed steps")
    parser.add_argument("--dataset", type=Path, help="folder by scripts/prepare_dataset.py, for `stall` and `loading`")
    parser.add_argument("--cached", action="store_true", help="`stall` and `loading` read its cached latents")
    parser.add_argument("--seconds-per-step", type=float, default=0.0, help="what a step of `loading` takes without its data")
    parser.add_argument("--workers", type=whole_number(0), default=2, help="processes of `loading`")
    parser.add_argument("--batch-size", type=whole_number(1), default=1, help="clips per step of `loading`")
    parser.add_argument("--num-frames", type=whole_number(1), default=16, help="frames per clip of `loading`")
    parser.add_argument("--style", choices=sorted(STYLES), default="mimicmotion", help="the brush of the poses of `loading`")
    parser.add_argument("--size", type=int, nargs=2, default=SIZE, metavar=("HEIGHT", "WIDTH"), help="of the clips, pixels")
    parser.add_argument("--parts", default="all", choices=("all", "temporal"), help="what `full` trains")
    parser.add_argument("--optimizer", default="adamw", choices=("adamw", "adamw_8bit"), help="of `full`")
    arguments = parser.parse_args()
    print(json.dumps({arguments.part: PARTS[arguments.part](arguments)}))


if __name__ == "__main__":
    run_main(main)
