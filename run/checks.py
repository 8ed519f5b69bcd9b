"""What can go wrong is found before the first slow stage: weights, sizes, output folder, disk."""
import json
import logging
import math
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dwpose.skeleton import (FEET, LEFT_ANKLE, LEFT_EYE, LEFT_HIP, LEFT_SHOULDER, LEFT_WRIST, NOSE, RIGHT_ANKLE,
                             RIGHT_EYE, RIGHT_HIP, RIGHT_SHOULDER, RIGHT_WRIST, SEEN_CONFIDENCE, Skeleton)
from llm_planner import check_prompt
from media.images import canvas_size, fit_to_canvas, read_image
from media.video_reader import probe
from mimicmotion.checkpoint import (checkpoint_file, load_image_encoder, load_vae, load_video_model,
                                    refuse_other_width, trained_frames)
from mimicmotion.edm import check_schedule
from mimicmotion.pipeline import load_scheduler
from mimicmotion.sampling import check_tiling
from mimicmotion.savings import FeatureCache
from run.models import Models
from run.poses import driving_frames
from run.settings import InferenceConfig
from t2m.text import load_tokenizer, text_folders
from t2m.transformer import GPT
from t2m.vqvae import VQVAE
from t2m.weights import (found, GPT_FILES, load_strictly, load_text_tower, read_config, read_statistics, VQVAE_FILES,
                         without_memory)

log = logging.getLogger(__name__)

SVD_FILES = ("vae/config.json", "image_encoder/config.json", "scheduler/scheduler_config.json")
SPARE_BYTES = 64 << 20                 # room a run needs beside its frames
COMPRESSED = 0.6                       # bytes per byte of RGB, lossless frames of a video
EYES, SHOULDERS, ANKLES = (LEFT_EYE, RIGHT_EYE), (LEFT_SHOULDER, RIGHT_SHOULDER), (LEFT_ANKLE, RIGHT_ANKLE)
NEEDED_PARTS = (                       # one of the points must be seen inside the picture; name, points
    ("head", (NOSE, *EYES)),
    ("shoulders", SHOULDERS),
    ("hips", (LEFT_HIP, RIGHT_HIP)),
    ("feet", ANKLES),
)
WISHED_PARTS = (
    ("left hand", (LEFT_WRIST,)), ("right hand", (RIGHT_WRIST,)),
    ("left foot", (LEFT_ANKLE,)), ("right foot", (RIGHT_ANKLE,)),
)
SHORTEST = 3.6                         # eyes to ankles, in widths of the shoulders; an adult from the front: 4.5
LOWER_EDGE = 0.96                      # of the canvas height
SMALL = 0.45                           # eyes to ankles, of the canvas height: below, a hand is a few pixels


def check_weights(svd: Path, checkpoint: Path, key: str, tile_size: int | None = None) -> None:
    """A video model's files are there, whole, and that model's; ValueError names the file and the first wrong tensor.

    tile_size: frames; a warning when the published checkpoint was trained on shorter tiles.
    """
    missing = [name for name in SVD_FILES if not (svd / name).is_file()]
    if missing:
        raise ValueError(f"{key}.svd={svd}: {missing[0]} is missing: see weights/README.md for where the weights come "
                         "from")
    if checkpoint.is_dir():
        checkpoint_file(checkpoint)
        missing = [name for name in ("config.json", "model.safetensors") if not (checkpoint / name).is_file()]
        if missing:
            raise ValueError(f"{key}.checkpoint={checkpoint}: {missing[0]} is missing: see weights/README.md")
    elif not checkpoint.is_file():
        raise ValueError(f"{key}.checkpoint={checkpoint}: no such file or folder: see weights/README.md for where the "
                         "weights come from")
    encoder = checkpoint / "image_encoder" if (checkpoint / "image_encoder").is_dir() else svd / "image_encoder"
    for folder in (svd / "vae", encoder, checkpoint):
        check_safetensors(folder)
    unet, _ = load_video_model(svd, checkpoint, torch.float16, device="meta")
    load_vae(svd / "vae", torch.float16, device="meta")
    refuse_other_width(unet, load_image_encoder(encoder, torch.float16, device="meta"), checkpoint)
    load_scheduler(svd / "scheduler")
    frames = trained_frames(checkpoint)
    if frames and tile_size and tile_size > frames:
        log.warning("%s.checkpoint=%s was trained on %d frames, %s.tile_size is %d: faces and clothes may drift; "
                    "set %s.tile_size=%d, or use MimicMotion_1-1.pth", key, checkpoint, frames, key, tile_size, key, frames)


def check_motion_weights(folder: Path) -> None:
    """A text-to-motion folder is complete and of one piece; ValueError or FileNotFoundError names file and tensor."""
    check_safetensors(folder)
    config, vqvae, gpt = read_config(folder), found(folder, VQVAE_FILES), found(folder, GPT_FILES)
    read_statistics(folder, released=vqvae.suffix == ".pth")
    for build, part, path in ((VQVAE, "vqvae", vqvae), (GPT, "gpt", gpt)):
        load_strictly(without_memory(build, config, part, folder), path, device="meta")
    tower, tokenizer = text_folders(folder)
    load_text_tower(tower, device="meta")
    load_tokenizer(tokenizer)


def check_size(size: tuple[int, int], svd: Path, checkpoint: Path) -> None:
    """Height and width are multiples of how far a video model's VAE and UNet shrink a frame."""
    unet = (checkpoint if checkpoint.is_dir() else svd / "unet") / "config.json"
    levels = [len(json.loads(path.read_text())["block_out_channels"]) for path in (svd / "vae" / "config.json", unet)]
    step = 2 ** (sum(levels) - 2)
    if any(side % step for side in size):
        near = " or ".join("x".join(str(max(round_to(side / step), 1) * step) for side in size)
                           for round_to in (math.floor, math.ceil))
        raise ValueError(f"height, width: must be multiples of {step} (found {size[0]}x{size[1]}): use {near}")


def check_safetensors(path: Path) -> None:
    """Every .safetensors under `path` is as long as its header says."""
    for file in sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]:
        if file.suffix != ".safetensors":
            continue
        size = file.stat().st_size
        with file.open("rb") as stream:
            header_size = int.from_bytes(stream.read(8), "little")
            try:
                header = json.loads(stream.read(header_size)) if header_size < size else None
            except ValueError:
                header = None
        if not isinstance(header, dict):
            raise ValueError(f"{file}: not a whole safetensors file ({size:,} bytes): fetch it again")
        ends = {name: 8 + header_size + entry["data_offsets"][1]
                for name, entry in header.items() if name != "__metadata__"}
        cut = [name for name, end in ends.items() if end > size]
        if cut:
            raise ValueError(f"{file}: cut off at {size:,} of {max(ends.values()):,} bytes, tensor "
                             f"'{min(cut, key=ends.get)}' is not whole: fetch it again")


def check_folder(path: Path) -> None:
    """The run folder can be made and written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ValueError(f"{path}: cannot be written to ({error.strerror}): choose another place with "
                         "outputs=") from error


def check_disk(path: Path, num_frames: int, size: tuple[int, int], num_videos: int) -> None:
    """The disk has room for the run's frames; sizes in pixels."""
    needed = SPARE_BYTES + int(num_videos * num_frames * size[0] * size[1] * 3 * COMPRESSED)
    free = shutil.disk_usage(path).free
    if free < needed:
        raise ValueError(f"{path}: {free >> 20:,} MiB free on this disk, about {needed >> 20:,} MiB are needed: "
                         "free some, or choose another place with outputs=")


def with_size(config: InferenceConfig) -> InferenceConfig:
    """The settings with height and width, where `resolution` leaves them to the shape of the picture."""
    if not config.resolution:
        return config
    height, width = canvas_size(read_image(config.image).shape[:2], config.resolution)
    log.info("%dx%d (height x width) from resolution=%d and the shape of %s", height, width, config.resolution,
             config.image)
    return replace(config, height=height, width=width)


def check_inputs(config: InferenceConfig, models: Models) -> None:
    """Picture, text or driving video, weights, memory, folders and disk."""
    fit_to_canvas(read_image(config.image), config.size)
    num_frames = round(config.fps)                                # of a second: the plan, not made yet, says how many
    if config.driving_video:
        if not Path(config.driving_video).exists():
            raise ValueError(f"driving_video={config.driving_video}: no such file: check the path")
        if config.camera != "auto":
            log.warning("camera=%s: left out: it is for a prompt's 3D motion, and a driving video has its own view",
                        config.camera)
        num_frames = math.ceil(driving_frames(config, probe(config.driving_video))) or num_frames
    elif not config.prompt.strip():
        raise ValueError("prompt: is empty, and so is driving_video: say what the person does, as in "
                         'prompt="A person waves.", or whose movement to take, as in driving_video=dance.mp4')
    else:
        check_prompt(config.prompt)
        if not Path(config.motion.weights).is_dir():
            raise ValueError(f"motion.weights={config.motion.weights}: no such folder: see weights/README.md")
        check_motion_weights(Path(config.motion.weights))
    for key, settings in video_models(config).items():
        try:
            check_tiling(settings.tile_size, settings.tile_overlap, settings.tiles, settings.max_tile or None)
            check_schedule(settings.num_inference_steps, settings.schedule,
                           (settings.guidance_sigma_min, settings.guidance_sigma_max))
            FeatureCache(settings.feature_cache)
        except ValueError as error:
            raise ValueError(f"{key}.{error}") from None
        check_weights(Path(settings.svd), Path(settings.checkpoint), key, settings.tile_size)
        check_size(config.size, Path(settings.svd), Path(settings.checkpoint))
        models.check_memory(settings, config.size, num_frames, key)
    check_folder(config.folder)
    if config.pose.cache:
        check_folder(Path(config.pose.cache))
    check_disk(config.folder, num_frames, config.size, 3 + config.refinements)


def video_models(config: InferenceConfig) -> dict:
    """The video models a run uses, by the name of their group of settings."""
    with_adapter = config.adapter.checkpoint and not config.driving_video
    return ({"adapter": config.adapter} if with_adapter else {}) | {"generator": config.generator}


def check_whole_person(reference: Skeleton, picture: str, allow_cut_off: bool) -> None:
    """The person is in the picture from head to feet: ValueError (or a warning, if allowed) when parts are cut off."""
    missing = [part for part, points in NEEDED_PARTS if not inside(reference, points)]
    missing += ["feet"] * ("feet" not in missing and feet_made_up(reference))
    height, width = reference.size
    if missing and not allow_cut_off:
        raise ValueError(f"{picture}: the person is cut off ({' and '.join(missing)} not in the {height}x{width} "
                         "canvas): use a picture of the whole body, or pose.allow_cut_off=true to have the rest "
                         "invented")
    guessed = missing or [part for part, points in WISHED_PARTS if not inside(reference, points)]
    if guessed:
        log.warning("%s: %s not seen: what they look like is invented", picture, " and ".join(guessed))
    elif (share := body_length(reference) / height) < SMALL:
        log.warning("%s: the person is small (eyes to feet %.0f %% of the %dx%d canvas): crop the picture closer for a "
                    "clear face and hands", picture, 100 * share, height, width)


def inside(reference: Skeleton, points: tuple[int, ...]) -> bool:
    """Whether one of the points is seen, and lies on the canvas."""
    keypoints = reference.keypoints[0, list(points)]                                    # (P, 3)
    height, width = reference.size
    on_canvas = (keypoints[:, :2] >= 0).all(axis=1) & (keypoints[:, :2] < (width, height)).all(axis=1)
    return bool(np.any((keypoints[:, 2] >= SEEN_CONFIDENCE) & on_canvas))


def feet_made_up(reference: Skeleton) -> bool:
    """Whether the body is too short for its shoulders and ends at the canvas' lower edge, or is far too short.

    A network that cannot see feet puts them somewhere above that edge, and may be sure of it.
    """
    lowest = reference.xy[0, [*ANKLES, *range(FEET.start, FEET.stop)], 1].max()
    shoulders = np.linalg.norm(np.subtract(*reference.xy[0, list(SHOULDERS)]))
    shortest = SHORTEST if lowest > LOWER_EDGE * reference.size[0] else SHORTEST / 2
    return bool(body_length(reference) < shortest * shoulders)


def body_length(reference: Skeleton) -> float:
    """From between the eyes to between the ankles, pixels."""
    middles = [reference.xy[0, list(points)].mean(axis=0) for points in (EYES, ANKLES)]      # 2 times (2,)
    return float(np.linalg.norm(np.subtract(*middles)))
