"""What each process of test_parallel.py does, and what one alone does to compare."""
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from dwpose.skeleton import Skeleton
from mimicmotion.latents import decoded_windows
from mimicmotion.pipeline import PoseToVideo
from renderers import Scene, VideoModelConfig
from run.models import Models
from run.settings import InferenceConfig
from runtime.processes import ALONE, join_processes, Processes

CALLS = {                                # number of frames, and settings
    "two tiles": (6, {"feature_cache": 2}),
    "three tiles, halves shared": (7, {"guidance_batch": 1}),
    "one tile, halves shared": (3, {"guidance_batch": 1, "schedule": "align_your_steps"}),
    "three tiles, no guidance": (7, {"guidance_scale": 1.0}),
}


def latents_of(model: PoseToVideo, name: str, processes: Processes = ALONE) -> torch.Tensor:
    num_frames, settings = CALLS[name]
    rng = np.random.default_rng(0)
    image, poses = rng.integers(0, 256, (64, 48, 3), np.uint8), rng.integers(0, 256, (num_frames, 64, 48, 3), np.uint8)
    return model.sample(image, poses, torch.Generator().manual_seed(1), num_inference_steps=2, tile_size=4,
                        tile_overlap=2, progress=False, processes=processes, **settings)


def frames_of(model: PoseToVideo, processes: Processes = ALONE) -> torch.Tensor:
    latents = torch.randn(7, 4, 8, 6, generator=torch.Generator().manual_seed(2))
    return torch.cat(list(decoded_windows(model.vae, latents, 3, 1, processes=processes)))


def words_of(processes: Processes, error: Exception, rank: int) -> str:
    """What this process says when that one fails."""
    def work():
        if processes.rank == rank:
            raise error
    try:
        processes.agreed(work)
    except Exception as caught:
        return f"{type(caught).__name__}: {caught}"
    return "nothing"


def settings_of(svd: str, checkpoint: str) -> VideoModelConfig:
    return VideoModelConfig(svd, checkpoint, num_inference_steps=1, tile_size=4, tile_overlap=2, decode_chunk_size=3)


def video_of(models: Models, settings: VideoModelConfig) -> np.ndarray:
    """What a stage of inference.py asks for."""
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    keypoints = np.random.default_rng(1).uniform(4, 44, (6, 133, 3)).astype(np.float32)
    keypoints[..., 2] = 1
    skeleton = Skeleton(keypoints, (64, 48), 5.0)
    scene = Scene(image, skeleton[:1], skeleton[1:], "", None)
    renderer = models.renderer(replace(models.config, generator=settings))
    return renderer(scene, torch.Generator().manual_seed(4), progress=False)


def models_of() -> Models:
    return Models(InferenceConfig(device="cpu", dtype="float32", seed=4, adapter=VideoModelConfig(checkpoint="")))


def made_after_a_mistake(settings: VideoModelConfig) -> torch.Tensor:
    """The main process's video, after a call that was refused; nothing in the process that helps."""
    models = models_of()
    if not models.processes.is_main:
        models.help()
        return torch.zeros(0)
    with models:
        try:
            video_of(models, replace(settings, noise_sharing=2.0))
        except ValueError:
            return torch.from_numpy(video_of(models, settings))


def main(svd: str, checkpoint: str, out: str) -> None:
    """out: folder for the results."""
    torch.set_num_threads(1)
    processes = join_processes(torch.device("cpu"))
    model = PoseToVideo.load(svd, checkpoint)
    results = {name: latents_of(model, name, processes) for name in CALLS} | {"frames": frames_of(model, processes)}
    said = [words_of(processes, error, rank=1) for error in
            (ValueError("a bad size"), torch.OutOfMemoryError("no memory"), KeyError("a bug"))]
    said.append(str(processes.shared({"seed": 3} if processes.is_main else None)))
    results["video"] = made_after_a_mistake(settings_of(svd, checkpoint))
    save_file(results, Path(out) / f"{processes.rank}.safetensors", metadata={"said": "\n".join(said)})
