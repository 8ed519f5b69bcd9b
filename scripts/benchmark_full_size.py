"""The official size on a GPU: seconds, memory and share of the peak, exact and with keys that trade quality."""
from __future__ import annotations

import numpy as np
import torch

from dwpose.draw import draw
from mimicmotion.conditioning import image_embeddings, image_latents
from mimicmotion.decoding import decode
from mimicmotion.footprint import Footprint
from mimicmotion.memory import GIB, Plan, Run
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.video import fit_to_canvas, read_image
from scripts import benchmark_published as published
from scripts.benchmark_models import ROOT, SCALES, Scale, random_model, seeded, waving_person
from scripts.benchmark_timing import Bench, Measured, counted, matmul_peak, measured

FAST_KEYS = {                    # settings that trade quality for speed; the rest as in "ours"
    "balanced": dict(tiles="balanced"),
    "guidance_interval": dict(guidance_interval=(0.3, 50.0)),
    "feature_cache": dict(feature_cache=3),
    "align_your_steps": dict(schedule="align_your_steps", num_inference_steps=10),
}
FAST_KEYS["all_keys"] = {name: value for keys in FAST_KEYS.values() for name, value in keys.items()}
COMPARED_FRAMES = 8              # decoded, for the PSNR of the keys that trade quality


def full_size(bench: Bench) -> Measured:
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
    sample = lambda **keys: model.sample(image, poses, seeded(), progress=False, **(call | keys))
    in_steps = lambda keys: {name: max(value * steps // 25, 1) if name == "num_inference_steps" else value
                             for name, value in keys.items()}
    variants = {"ours": sample, "published": lambda: published.sample(model, image, poses, seeded(), **call)}
    variants |= {name: lambda keys=keys: sample(**in_steps(keys)) for name, keys in FAST_KEYS.items()}
    one_step = counted(lambda: sample(num_inference_steps=1))[1]
    fixed = counted(lambda: prepared(model, poses))[1]                            # what does not repeat
    peak = matmul_peak(bench.device, bench.dtype)
    result, latents = measured(bench.chosen(variants), bench, count_flops=False)
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
