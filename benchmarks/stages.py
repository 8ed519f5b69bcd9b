"""The stages of scripts/benchmark.py: one costly part each, ours beside the published way; the last is the full size on a GPU.

They run on the real networks with random weights, in three sizes: speed and memory do not depend on the weights. "small" is
wide enough to be bound by arithmetic on a CPU; "full" is SVD-xt-1.1 with MimicMotion's PoseNet and wants a GPU; "tiny" is
for tests.
"""
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from benchmarks import published
from benchmarks.timing import Bench, counted, matmul_peak, measure, Measurement, num_threads, seconds_of
from dwpose.detector import PoseDetector
from dwpose.draw import draw
from dwpose.networks import PersonDetector, PoseHead
from dwpose.skeleton import FACE, LEFT_HAND, NUM_KEYPOINTS, RIGHT_HAND, Skeleton
from media.images import fit_to_canvas, read_image
from mimicmotion.latents import decode, image_embeddings, image_latents
from mimicmotion.memory import Footprint, Plan, Run
from mimicmotion.networks import PoseNet, PoseUNet
from mimicmotion.pipeline import PoseToVideo
from runtime.device import GIB, keep_freed_memory
from runtime.processes import join_processes
from t2m.networks import GPT

# ------------------------------------------------------------------------------------------------- networks and inputs

ROOT = Path(__file__).resolve().parents[1]
SCHEDULER = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
                 use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0, timestep_spacing="leading",
                 timestep_type="continuous", steps_offset=1)                        # SVD's
BODY_PLACES = ((.5, .12), (.53, .1), (.47, .1), (.56, .11), (.44, .11), (.62, .25), (.38, .25), (.68, .4), (.32, .4),
               (.7, .52), (.3, .52), (.57, .55), (.43, .55), (.58, .74), (.42, .74), (.58, .93), (.42, .93),
               (.6, .96), (.62, .96), (.57, .96), (.4, .96), (.38, .96), (.43, .96))    # x, y of the frame: body, feet


@dataclass(frozen=True)
class Scale:
    """A size of everything."""
    channels: tuple[int, ...]            # of the UNet's levels
    heads: tuple[int, ...]
    token: int                           # width of the picture's CLIP token
    vae_channels: tuple[int, ...]        # four levels: PoseNet shrinks by 8, too
    layers: int                          # per UNet and VAE level
    clip: dict
    size: tuple[int, int]                # height, width of a frame, pixels
    frames: int                          # of the videos sampled
    tile: int                            # frames
    overlap: int                         # frames
    steps: int
    gpt: dict                            # arguments of t2m's GPT
    canvas: tuple[int, int]              # height, width of what is drawn and detected, pixels
    drawn: int                           # frames drawn or detected

    @property
    def unet(self) -> dict:
        deep = len(self.channels) - 1
        return dict(
            block_out_channels=self.channels, num_attention_heads=self.heads, cross_attention_dim=self.token,
            layers_per_block=self.layers, addition_time_embed_dim=self.channels[0] * 4 // 5 // 2 * 2,
            projection_class_embeddings_input_dim=self.channels[0] * 4 // 5 // 2 * 2 * 3,
            down_block_types=("CrossAttnDownBlockSpatioTemporal",) * deep + ("DownBlockSpatioTemporal",),
            up_block_types=("UpBlockSpatioTemporal",) + ("CrossAttnUpBlockSpatioTemporal",) * deep)

    @property
    def vae(self) -> dict:
        return dict(block_out_channels=self.vae_channels, down_block_types=("DownEncoderBlock2D",) * 4,
                    layers_per_block=self.layers)


SCALES = {
    "tiny": Scale((32, 64), (1, 2), 32, (32, 32, 32, 32), 1,
                  dict(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, patch_size=14,
                       image_size=28, projection_dim=32), (64, 48), 6, 5, 2, 2,
                  dict(num_codes=16, width=32, text_dim=16, block_size=11, num_layers=1, num_heads=2), (128, 96), 2),
    "small": Scale((64, 128, 256, 256), (1, 2, 4, 4), 256, (32, 64, 128, 128), 2,
                   dict(hidden_size=256, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=4,
                        patch_size=14, image_size=224, projection_dim=256), (256, 192), 26, 16, 6, 3, {},
                   (576, 1024), 16),
    "full": Scale((320, 640, 1280, 1280), (5, 10, 20, 20), 1024, (128, 256, 512, 512), 2,
                  dict(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16,
                       patch_size=14, image_size=224, projection_dim=1024, hidden_act="gelu"), (576, 1024), 151, 72, 6,
                  25, {}, (576, 1024), 16),
}


def random_model(scale: Scale, device: str, dtype: torch.dtype) -> PoseToVideo:
    """A video model with random weights, made on the device it runs on."""
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []), torch.device(device):
        torch.manual_seed(0)
        unet, pose_net = PoseUNet(**scale.unet), PoseNet(scale.channels[0])
        nn.init.normal_(pose_net.final_proj.weight, std=0.1)                        # a new one would say nothing
        vae = AutoencoderKLTemporalDecoder(**scale.vae)
        clip = CLIPVisionModelWithProjection(CLIPVisionConfig(**scale.clip))
    networks = [nn.Module.to(network, device, dtype).eval() for network in (unet, pose_net, vae, clip)]
    return PoseToVideo(*networks, EulerDiscreteScheduler(**SCHEDULER))


def seeded() -> torch.Generator:
    """The same noise for all."""
    return torch.Generator().manual_seed(0)


def random_frames(num_frames: int, size: tuple[int, int]) -> np.ndarray:
    """Noise, (F, H, W, 3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (num_frames, *size, 3), np.uint8)


def waving_person(num_frames: int, size: tuple[int, int]) -> Skeleton:
    """A whole person who moves a little from frame to frame, every point seen."""
    rng = np.random.default_rng(0)
    places = np.zeros((num_frames, NUM_KEYPOINTS, 2))
    places[:, :len(BODY_PLACES)] = BODY_PLACES
    for part, centre, spread in ((FACE, (.5, .11), .02), (LEFT_HAND, (.71, .55), .03), (RIGHT_HAND, (.29, .55), .03)):
        places[:, part] = centre + spread * rng.uniform(-1, 1, places[0, part].shape)
    places += 0.004 * rng.standard_normal(places.shape) + 0.02 * np.sin(np.arange(num_frames))[:, None, None]
    height, width = size
    side = min(width, height * 0.6)                                                # a person is not as wide as a screen
    x, y = (width - side) / 2 + places[..., 0] * side, places[..., 1] * height
    return Skeleton(np.stack([x, y, rng.uniform(.5, 1, x.shape)], axis=-1), size, 15)


# -------------------------------------------------------------------------------------------------------------- stages

COMPARED_FRAMES = 8              # decoded, for the PSNR of the keys that trade quality
NUM_PROCESSES = 2
FAST_KEYS = {                    # settings that trade quality for speed; the rest as in "ours"
    "balanced": dict(tiles="balanced"),
    "guidance_interval": dict(guidance_interval=(0.3, 50.0)),
    "feature_cache": dict(feature_cache=3),
    "align_your_steps": dict(schedule="align_your_steps", num_inference_steps=10),
}
FAST_KEYS["all_keys"] = {name: value for keys in FAST_KEYS.values() for name, value in keys.items()}


@dataclass(frozen=True)
class Stage:
    """One line of the benchmark."""
    run: Callable[[Bench], Measurement]
    needs: str                   # how long at the default sizes


def drawing(bench: Bench) -> Measurement:
    """A pose drawn as MimicMotion's PoseNet knows it."""
    scale = SCALES[bench.scale]
    person = waving_person(scale.drawn, scale.canvas)
    variants = {"ours": lambda: draw(person, "mimicmotion"), "published": lambda: published.draw(person)}
    result, frames = measure(bench.chosen(variants), bench, count_flops=False)
    if bench.published:
        result.facts["largest_difference"] = int(np.abs(frames["ours"].astype(int) - frames["published"]).max())
    return per_frame(result, scale.drawn)


def pose_layer(bench: Bench) -> Measurement:
    """Boxes and keypoints from frames, outside the two networks, which answer at once from a recording."""
    scale = SCALES[bench.scale]
    frames, person = random_frames(scale.drawn, scale.canvas), waving_person(1, scale.canvas)
    people, head = recorded_networks(person.keypoints[0], scale.canvas)
    detector = PoseDetector(PersonDetector(people, Path("recorded.onnx")), PoseHead(head, Path("recorded.onnx")))
    variants = {"ours": lambda: detector.find(frames), "published": lambda: published.detect(people, head, frames)}
    result, found = measure(bench.chosen(variants), bench, count_flops=False)
    if bench.published:
        apart = np.abs(found["ours"].keypoints[:, :17] - found["published"][:, :17])
        result.facts["largest_difference_pixels"] = float(apart[..., :2].max())
    return per_frame(result, scale.drawn)


def per_frame(result: Measurement, num_frames: int) -> Measurement:
    """The same, in seconds per frame."""
    return replace(result, seconds={name: [s / num_frames for s in found] for name, found in result.seconds.items()})


def recorded_networks(keypoints: np.ndarray, size: tuple[int, int]) -> tuple[SimpleNamespace, SimpleNamespace]:
    """Sessions that answer every picture with one person, seen by eight neighbouring cells, and their keypoints' bins.

    keypoints: (133, 3), pixels; size: (height, width) of the frames.
    """
    rng, ratio = np.random.default_rng(0), min(640 / side for side in size)
    raw = rng.uniform(0, 0.01, (8400, 85)).astype(np.float32)
    low, high = keypoints[:, :2].min(axis=0) * ratio, keypoints[:, :2].max(axis=0) * ratio
    rows = np.arange(8) + 8000 + 10 * 20                                                  # of the coarsest grid
    cells = np.stack([np.arange(8), np.full(8, 10)], axis=1)
    raw[rows, :2], raw[rows, 2:4] = (low + high) / 2 / 32 - cells, np.log((high - low) / 32)
    raw[rows, 4], raw[rows, 5] = np.linspace(0.95, 0.8, 8), 0.95
    lines = [rng.uniform(0, 0.05, (133, bins)).astype(np.float32) for bins in (576, 768)]
    for line in lines:
        line[np.arange(133), rng.integers(100, 476, 133)] = keypoints[:, 2]
    return (recorded("images", [640, 640], [raw]), recorded("input", [384, 288], lines))


def recorded(name: str, size: list[int], outputs: list[np.ndarray]) -> SimpleNamespace:
    """An onnxruntime session of a network that gives `outputs` for any picture, at once."""
    shaped = [SimpleNamespace(name=f"out{i}", shape=["N", *output.shape]) for i, output in enumerate(outputs)]

    def answer(_, feed: dict) -> list[np.ndarray]:
        return [np.broadcast_to(output, (len(feed[name]), *output.shape)) for output in outputs]

    return SimpleNamespace(get_inputs=lambda: [SimpleNamespace(name=name, shape=["N", 3, *size])],
                           get_outputs=lambda: shaped, run=answer)


def gpt(bench: Bench) -> Measurement:
    """Motion tokens from a text feature, on one CPU thread: all the released size can hold, ten seconds of motion."""
    network = GPT(**SCALES[bench.scale].gpt).eval()
    feature = torch.randn(1, network.trans_base.cond_emb.in_features, generator=seeded())
    count = network.max_steps
    variants = {"ours": lambda: network.sample(feature, min_steps=count, max_steps=count)[0].tolist(),
                "published": lambda: published.gpt_tokens(network, feature, count)}
    with num_threads(1):
        result, tokens = measure(bench.chosen(variants), replace(bench, device="cpu"))
    if bench.published:
        result.facts["same_tokens"] = str(tokens["ours"] == tokens["published"])
    return result


def sampling(bench: Bench, num_frames: int, tile: int, **settings) -> Measurement:
    """The sampler on random poses; published where that is wanted."""
    scale = SCALES[bench.scale]
    model, poses = random_model(scale, bench.device, bench.dtype), random_frames(num_frames, scale.size)
    call = dict(num_inference_steps=bench.steps or scale.steps, tile_size=tile, tile_overlap=scale.overlap)
    variants = {"ours": lambda: model.sample(poses[0], poses, seeded(), progress=False, **call, **settings),
                "published": lambda: published.sample(model, poses[0], poses, seeded(), **call)}
    result, latents = measure(bench.chosen(variants), bench)
    if bench.published and not settings:
        result.facts["largest_difference"] = (latents["ours"] - latents["published"]).abs().max().item()
    return result


def pipeline(bench: Bench) -> Measurement:
    """Denoising with the published tiles: the same latents, worked out with less."""
    scale = SCALES[bench.scale]
    return sampling(bench, scale.frames, scale.tile)


def balanced(bench: Bench) -> Measurement:
    """Denoising a clip one frame longer than a tile, as 73 poses are, with balanced tiles."""
    tile = SCALES[bench.scale].tile if bench.scale == "tiny" else 72
    return sampling(replace(bench, steps=bench.steps or 1 + (bench.device != "cpu")), tile + 1, tile, tiles="balanced")


def decoding(bench: Bench) -> Measurement:
    """Latents to frames, in chunks of 8 without overlap as published."""
    scale = SCALES[bench.scale]
    model = random_model(scale, bench.device, bench.dtype)
    latents = torch.randn(16, 4, *(side // 8 for side in scale.size), generator=seeded()).to(bench.device)
    variants = {"ours": lambda: decode(model.vae, latents, 8).numpy(),
                "published": lambda: published.decode(model.vae, latents)}
    result, frames = measure(bench.chosen(variants), bench)
    if bench.published:
        result.facts["largest_difference"] = int(np.abs(frames["ours"].astype(int) - frames["published"]).max())
    return result


def processes(bench: Bench) -> Measurement:
    """One video in one process and in two, with one thread or one GPU each: the same latents."""
    result, latents = Measurement(baseline="one process"), {}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(bench.repeats):
            for name, count in ((result.baseline, 1), ("ours", NUM_PROCESSES)):
                seconds, latents[name] = launched(bench, count, Path(folder) / f"{name}.pt")
                result.seconds.setdefault(name, []).append(seconds)
    result.facts["largest_difference"] = (latents["ours"] - latents[result.baseline]).abs().max().item()
    return result


def launched(bench: Bench, count: int, path: Path) -> tuple[float, torch.Tensor]:
    """Seconds of the sampler in `count` processes, start-up and warm-up left out, and its latents."""
    worker = ["--module", "benchmarks.stages", bench.scale, bench.device, bench.dtype, bench.steps, path]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
    done = subprocess.run([*command, *map(str, worker)], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise RuntimeError(f"benchmarks.stages ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    found = torch.load(path, weights_only=True)
    return found["seconds"], found["latents"]


def sample_in_a_process(scale_name: str, device: str, dtype: str, steps: str, path: str) -> None:
    """What each process of the stage `processes` does; the main one writes seconds and latents to `path`."""
    scale, device = SCALES[scale_name], torch.device(device)
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    group = join_processes(device)
    torch.set_num_threads(1)
    keep_freed_memory(device)
    model = random_model(scale, str(device), getattr(torch, dtype.removeprefix("torch.")))
    poses, found = random_frames(scale.frames, scale.size), {}

    def sample(num_steps: int) -> None:
        found["latents"] = model.sample(poses[0], poses, seeded(), num_inference_steps=num_steps, tile_size=scale.tile,
                                        tile_overlap=scale.overlap, progress=False, processes=group)

    sample(1)                                                                             # warm-up
    found["seconds"] = seconds_of(lambda: sample(int(steps) or scale.steps), str(device))
    if group.is_main:
        torch.save(found | {"latents": found["latents"].cpu()}, path)


def full_size(bench: Bench) -> Measurement:
    """151 frames of 576x1024: seconds, memory, and the share of the device's matrix-product peak."""
    scale = SCALES[bench.scale]
    steps = bench.steps or scale.steps
    if bench.svd:
        model = PoseToVideo.load(bench.svd, bench.checkpoint, bench.device, bench.dtype)
    else:
        model = random_model(scale, bench.device, bench.dtype)
    image = fit_to_canvas(read_image(ROOT / "assets" / "person.png"), scale.size)
    poses = draw(waving_person(scale.frames, scale.size), "mimicmotion")
    call = dict(num_inference_steps=steps, tile_size=scale.tile, tile_overlap=scale.overlap)

    def sample(**keys) -> torch.Tensor:
        return model.sample(image, poses, seeded(), progress=False, **(call | keys))

    def in_steps(keys: dict) -> dict:                                             # of the 25 they are meant for
        return {name: max(value * steps // 25, 1) if name == "num_inference_steps" else value for name, value in keys.items()}

    variants = {"ours": sample, "published": lambda: published.sample(model, image, poses, seeded(), **call)}
    variants |= {name: lambda keys=keys: sample(**in_steps(keys)) for name, keys in FAST_KEYS.items()}
    one_step = counted(lambda: sample(num_inference_steps=1))[1]
    fixed = counted(lambda: prepared(model, poses))[1]                            # what does not repeat
    peak = matmul_peak(bench.device, bench.dtype)
    result, latents = measure(bench.chosen(variants), bench, count_flops=False)
    result.tflop = {"ours": (one_step * steps - fixed * (steps - 1)) / 1e12}
    result.facts |= {"steps": steps, "matmul_peak_tflops": peak,
                     "share_of_peak": result.tflop["ours"] / result.median("ours") / peak}
    result.facts["predicted_gib"] = predicted_bytes(scale, bench.dtype) / GIB
    if bench.svd:                                                                 # random weights make no pictures
        exact = decode(model.vae, latents["ours"][:COMPARED_FRAMES], 8).float()
        for name in FAST_KEYS:
            error = (decode(model.vae, latents[name][:COMPARED_FRAMES], 8).float() - exact).square().mean().item()
            result.facts[f"psnr_{name}"] = 10 * float(np.log10(255**2 / max(error, 1e-9)))
    return result


@torch.no_grad()
def prepared(model: PoseToVideo, poses: np.ndarray) -> None:
    """The parts of sampling that run once per video."""
    pixels = model.pixels(poses[:1])
    image_latents(model.vae, pixels)
    image_embeddings(model.image_encoder, pixels)
    model.pose_features(poses)


def predicted_bytes(scale: Scale, dtype: torch.dtype) -> int:
    """What the memory planner says of the sampler, to be held against what was measured."""
    networks = random_model(scale, "meta", dtype)
    footprint = Footprint(networks.unet, networks.pose_net, networks.vae, networks.image_encoder, scale.size)
    run = Run("full size", scale.frames, scale.overlap, "published", lambda dtype: footprint)
    return sum(run.needs(Plan(scale.tile, None, 8, dtype))["denoising"])


STAGES = {
    "draw": Stage(drawing, "15 s"), "pose": Stage(pose_layer, "10 s"), "gpt": Stage(gpt, "1 min"),
    "decode": Stage(decoding, "1 min"), "pipeline": Stage(pipeline, "3 min"), "balanced": Stage(balanced, "5 min"),
    "processes": Stage(processes, "3 min"),
    "full_size": Stage(full_size, "a GPU; half an hour or more with --published; --steps 5 gives the ratios"),
}


if __name__ == "__main__":
    sample_in_a_process(*sys.argv[1:])
