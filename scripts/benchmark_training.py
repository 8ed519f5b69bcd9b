"""Measure what the training loop promises; each part prints one JSON line.

    python scripts/benchmark_training.py step               # published step (VAE and CLIP in it) against cached latents
    python scripts/benchmark_training.py stall              # share of a step spent waiting for 2 data workers
    python scripts/benchmark_training.py hands --cache data/demo/pictures --steps 400      # hand PCK with and without
    python scripts/benchmark_training.py full --parts temporal --optimizer adamw_8bit      # full-size SVD on a GPU

`step`, `stall` and `hands` use the demo weights; `full` builds the network at SVD-xt's size with random weights, which
cost the same.
"""
from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler
from torch.utils.data import DataLoader, Dataset, default_collate

from configs import run_main
from dwpose.detector import PoseDetector
from dwpose.draw import draw
from dwpose.hands import hand_boxes
from dwpose.skeleton import HANDS, NUM_KEYPOINTS, Skeleton
from mimicmotion.conditioning import image_embeddings
from mimicmotion.learner import Learner
from mimicmotion.objective import latents_of, loss_inputs
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.pose_net import PoseNet
from mimicmotion.stream import SampleStream
from mimicmotion.train_config import TrainConfig
from mimicmotion.training import train
from mimicmotion.unet import PoseUNet
from motionbench.pose import pck
from synthetic.cache import CachedClips
from synthetic.clips import HELD_OUT_SEED, sample_clip

DEMO = Path("weights/demo")
FRAMES, SIZE = 4, (320, 192)
SVD_UNET = dict(sample_size=96, in_channels=8, out_channels=4, num_frames=25, cross_attention_dim=1024,
                block_out_channels=(320, 640, 1280, 1280), num_attention_heads=(5, 10, 20, 20), layers_per_block=2,
                addition_time_embed_dim=256, projection_class_embeddings_input_dim=768)


class HandClips(CachedClips):
    """Cached clips that also say where the hands are."""

    def __getitem__(self, key):
        frames, _ = self._choose(np.random.default_rng((self.seed, key[1])))
        boxes = hand_boxes(self.keypoints[self.clips[key[0]], frames])
        return super().__getitem__(key) | {"hands": torch.from_numpy(boxes)}


class PixelClips(Dataset):
    """Random videos of the demo's size, for timing."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, key):
        generator = torch.Generator().manual_seed(key[0])
        pictures = lambda *shape: torch.rand(*shape, 3, *SIZE, generator=generator) * 2 - 1
        return {"target": pictures(FRAMES), "pose": pictures(FRAMES), "reference": pictures(),
                "position": torch.tensor(key[1])}


def settings(**changes) -> TrainConfig:
    return TrainConfig(**{**dict(mixed_precision="no", report_to="none", ema_decay=0.0, num_workers=0), **changes})


def seconds_per_step(learner: Learner, model: PoseToVideo, batch: dict, config: TrainConfig, steps: int) -> float:
    """Median of `steps` whole steps after one to warm up; on a CPU its own seconds, however busy the machine is."""
    taken, clock = [], time.perf_counter if learner.accelerator.device.type == "cuda" else time.process_time
    for _ in range(steps + 1):
        began = clock()
        with learner.accelerator.autocast():
            loss = learner(*loss_inputs(batch, model, config)).mean()
        learner.accumulate(loss)
        learner.advance()
        if learner.accelerator.device.type == "cuda":
            torch.cuda.synchronize()
        taken.append(clock() - began)
    return statistics.median(taken[1:])


@torch.no_grad()
def with_cached_latents(batch: dict, model: PoseToVideo, config: TrainConfig) -> dict:
    """The batch as `--cache-latents` would store it."""
    latents, reference_latents = latents_of(batch, model, config)
    return {"latents": latents / model.vae.config.scaling_factor, "reference_latents": reference_latents,
            "embedding": image_embeddings(model.image_encoder, batch["reference"]),
            **{key: batch[key] for key in ("pose", "reference", "position")}}


def step(arguments: argparse.Namespace) -> dict:
    """Encode and embed in every step, as the published scripts do, against reading both; same networks, same batch."""
    model, config = PoseToVideo.load(DEMO / "svd", DEMO / "video"), settings()
    model.vae.requires_grad_(False)
    learner = Learner(Accelerator(cpu=True), model, config)
    pixels = default_collate([PixelClips()[(0, 0)]])
    published = seconds_per_step(learner, model, pixels, config, arguments.steps)
    cached = seconds_per_step(learner, model, with_cached_latents(pixels, model, config), config, arguments.steps)
    return {"published_seconds": published, "cached_seconds": cached, "ratio": published / cached}


def stall(arguments: argparse.Namespace) -> dict:
    """How long a step waits for its batch with 2 workers, as a share of the step."""
    model, config = PoseToVideo.load(DEMO / "svd", DEMO / "video"), settings()
    learner = Learner(Accelerator(cpu=True), model, config)
    clips = CachedClips(arguments.cache, FRAMES) if arguments.cache else PixelClips()
    batches = iter(DataLoader(clips, batch_sampler=SampleStream(len(clips), 1, 0), num_workers=2))
    cached = with_cached_latents(next(batches), model, config) if not arguments.cache else None
    waited, worked = [], []
    for _ in range(arguments.steps + 2):
        began = time.perf_counter()
        batch = next(batches)
        waited.append(time.perf_counter() - began)
        began = time.perf_counter()
        seconds_per_step(learner, model, cached or batch, config, 1)
        worked.append((time.perf_counter() - began) / 2)                # it takes two steps: one warms up
    return {"waiting_share": sum(waited[2:]) / sum(waited[2:] + worked[2:])}


def hand_pck(model: PoseToVideo, detector: PoseDetector, clips: int) -> float:
    """Hand keypoints re-detected within 5 % of the height, on people and motions no training saw."""
    scores = []
    for index in range(clips):
        clip = sample_clip(HELD_OUT_SEED + index, num_frames=4, fps=1.5, size=SIZE)
        video = model(clip.reference, draw(clip.skeleton), torch.Generator().manual_seed(0), num_inference_steps=4,
                      guidance_scale=1.0, tile_size=16, tile_overlap=4, noise_sharing=1.0, progress=False)
        try:
            found = detector.detect(video, clip.skeleton.fps)
        except ValueError:                                              # nobody recognised: every hand is missed
            found = Skeleton(np.zeros((len(video), NUM_KEYPOINTS, 3)), SIZE, clip.skeleton.fps)
        scores.append(pck(found, clip.skeleton, HANDS))
    return float(np.nanmean(scores))


def hands(arguments: argparse.Namespace) -> dict:
    """The demo's video model trained on with and without the hands' weight: same start, same samples, same noise."""
    if not arguments.cache:
        raise ValueError("--cache: expected a cache of rendered clips: make one with scripts/prepare_demo_clips.py")
    detector = PoseDetector.load(DEMO / "dwpose" / "detector.onnx", DEMO / "dwpose" / "pose.onnx")
    found = {"before": hand_pck(PoseToVideo.load(DEMO / "svd", DEMO / "video"), detector, arguments.clips)}
    for weight in (1.0, 10.0):
        model = PoseToVideo.load(DEMO / "svd", DEMO / "video")
        with tempfile.TemporaryDirectory() as output:
            config = settings(output=output, max_steps=arguments.steps, batch_size=8, parts="spatial",
                              hand_weight=weight, learning_rate=1e-4, warmup_steps=20, final_learning_rate=0.05,
                              ema_decay=0.98, sigma_mean=0.9, sigma_std=1.7, sigma_uniform_share=0.12, conditioning_dropout=0.02,
                              checkpoint_every=arguments.steps, checkpoints_total_limit=1, mixed_precision="bf16")
            train(model, HandClips(arguments.cache, 1), config)
        found[f"weight_{weight:g}"] = hand_pck(model, detector, arguments.clips)
    return found


def full(arguments: argparse.Namespace) -> dict:
    """Seconds and memory of a step of the full-size network at 576x1024x16 in bf16, latents cached."""
    if not torch.cuda.is_available():
        raise ValueError("full: expected a CUDA GPU (found none)")
    size = (1024, 576)
    with torch.device("cuda"):
        unet = PoseUNet(**SVD_UNET)
        model = PoseToVideo(unet, PoseNet(320), AutoencoderKLTemporalDecoder(), torch.nn.Identity(),
                            EulerDiscreteScheduler())                   # all is cached: the last three take no part
    config = settings(mixed_precision="bf16", parts=arguments.parts, optimizer=arguments.optimizer, ema_decay=0.0)
    model.unet.enable_gradient_checkpointing()
    learner = Learner(Accelerator(mixed_precision="bf16"), model, config)
    pictures = lambda *shape: torch.rand(*shape, 3, *size, device="cuda") * 2 - 1
    batch = {"latents": torch.randn(1, 16, 4, 128, 72, device="cuda"), "pose": pictures(1, 16),
             "reference": pictures(1), "reference_latents": torch.randn(1, 4, 128, 72, device="cuda"),
             "embedding": torch.randn(1, 1, 1024, device="cuda"), "position": torch.tensor([0])}
    seconds = seconds_per_step(learner, model, batch, config, arguments.steps)
    return {"seconds_per_step": seconds, "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
            "device": torch.cuda.get_device_name()}


PARTS = {"step": step, "stall": stall, "hands": hands, "full": full}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--steps", type=int, default=5, help="timed steps, or training steps of `hands`")
    parser.add_argument("--clips", type=int, default=12, help="held-out clips of `hands`")
    parser.add_argument("--cache", type=Path, help="folder by scripts/prepare_demo_clips.py, encoded")
    parser.add_argument("--parts", default="all", choices=("all", "temporal"), help="what `full` trains")
    parser.add_argument("--optimizer", default="adamw", choices=("adamw", "adamw_8bit"), help="of `full`")
    arguments = parser.parse_args()
    print(json.dumps({arguments.part: PARTS[arguments.part](arguments)}))


if __name__ == "__main__":
    run_main(main)
