"""What can go wrong is found before the first slow stage: weights, output folder, disk, and the person in the picture."""

import json
import logging
import math
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from dwpose.skeleton import (LEFT_ANKLE, LEFT_EYE, LEFT_HIP, LEFT_SHOULDER, LEFT_WRIST, NOSE, RIGHT_ANKLE, RIGHT_EYE, RIGHT_HIP,
                             RIGHT_SHOULDER, RIGHT_WRIST, SEEN_CONFIDENCE, Skeleton)
from mimicmotion.checkpoint import checkpoint_file, load_image_encoder, load_vae, load_video_model, trained_frames
from t2m.text import text_folders
from t2m.transformer import GPT
from t2m.vqvae import VQVAE
from t2m.weights import GPT_FILES, VQVAE_FILES, found, load_strictly, load_text_tower, read_config, read_statistics

log = logging.getLogger(__name__)

NEEDED_PARTS = (                       # one of the points must be seen inside the picture; name, points
    ("head", (NOSE, LEFT_EYE, RIGHT_EYE)),
    ("shoulders", (LEFT_SHOULDER, RIGHT_SHOULDER)),
    ("hips", (LEFT_HIP, RIGHT_HIP)),
    ("feet", (LEFT_ANKLE, RIGHT_ANKLE)),
)
WISHED_PARTS = (("left hand", (LEFT_WRIST,)), ("right hand", (RIGHT_WRIST,)), ("left foot", (LEFT_ANKLE,)), ("right foot", (RIGHT_ANKLE,)))
SVD_FILES = ("vae/config.json", "image_encoder/config.json", "scheduler/scheduler_config.json")
SPARE_BYTES = 64 << 20                 # room a run needs beside its frames
COMPRESSED = 0.6                       # bytes per byte of RGB, lossless frames of a video


def check_weights(svd: Path, checkpoint: Path, key: str, tile_size: int | None = None) -> None:
    """A video model's files are there, whole, and that model's; ValueError names the file and the first tensor that is not.

    tile_size: frames; a warning when the published checkpoint was trained on shorter tiles.
    """
    missing = [name for name in SVD_FILES if not (svd / name).is_file()]
    if missing:
        raise ValueError(f"{key}.svd={svd}: {missing[0]} is missing: see weights/README.md for where the weights come from")
    if checkpoint.is_dir():
        checkpoint_file(checkpoint)
        missing = [name for name in ("config.json", "model.safetensors") if not (checkpoint / name).is_file()]
        if missing:
            raise ValueError(f"{key}.checkpoint={checkpoint}: {missing[0]} is missing: see weights/README.md")
    elif not checkpoint.is_file():
        raise ValueError(f"{key}.checkpoint={checkpoint}: no such file or folder: see weights/README.md for where the weights come from")
    encoder = checkpoint / "image_encoder" if (checkpoint / "image_encoder").is_dir() else svd / "image_encoder"
    for folder in (svd / "vae", encoder, checkpoint):
        check_safetensors(folder)
    load_video_model(svd, checkpoint, torch.float16, device="meta")
    load_vae(svd / "vae", torch.float16, device="meta")
    load_image_encoder(encoder, torch.float16, device="meta")
    frames = trained_frames(checkpoint)
    if frames and tile_size and tile_size > frames:
        log.warning("%s.checkpoint=%s was trained on %d frames, %s.tile_size is %d: faces and clothes may drift; "
                    "set %s.tile_size=%d, or use MimicMotion_1-1.pth", key, checkpoint, frames, key, tile_size, key, frames)


def check_motion_weights(folder: Path) -> None:
    """A text-to-motion folder is complete and of one piece; ValueError or FileNotFoundError names file and tensor."""
    check_safetensors(folder)
    config, vqvae, gpt = read_config(folder), found(folder, VQVAE_FILES), found(folder, GPT_FILES)
    read_statistics(folder, released=vqvae.suffix == ".pth")
    with torch.device("meta"):
        models = VQVAE(**config.get("vqvae", {})), GPT(**config.get("gpt", {}))
    for model, path in zip(models, (vqvae, gpt)):
        load_strictly(model, path, device="meta")
    tower, tokenizer = text_folders(folder)
    load_text_tower(tower, device="meta")
    for name in ("vocab.json", "merges.txt"):
        if not (tokenizer / name).is_file():
            raise FileNotFoundError(f"{tokenizer / name}: expected CLIP's tokenizer there (found none): "
                                    "see weights/README.md")


def check_size(size: tuple[int, int], svd: Path, checkpoint: Path) -> None:
    """Height and width are multiples of how far a video model's VAE and UNet shrink a frame."""
    unet = (checkpoint if checkpoint.is_dir() else svd / "unet") / "config.json"
    levels = [len(json.loads(path.read_text())["block_out_channels"]) for path in (svd / "vae" / "config.json", unet)]
    step = 2 ** (sum(levels) - 2)
    if any(side % step for side in size):
        near = " or ".join("x".join(str(max(round_to(side / step), 1) * step) for side in size) for round_to in (math.floor, math.ceil))
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
        ends = {name: 8 + header_size + entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"}
        cut = [name for name, end in ends.items() if end > size]
        if cut:
            raise ValueError(f"{file}: cut off at {size:,} of {max(ends.values()):,} bytes, tensor '{min(cut, key=ends.get)}' "
                             "is not whole: fetch it again")


def check_folder(path: Path) -> None:
    """The run folder can be made and written to."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ValueError(f"{path}: cannot be written to ({error.strerror}): choose another place with outputs=") from error


def check_disk(path: Path, num_frames: int, size: tuple[int, int], num_videos: int) -> None:
    """The disk has room for the run's frames; sizes in pixels."""
    needed = SPARE_BYTES + int(num_videos * num_frames * size[0] * size[1] * 3 * COMPRESSED)
    free = shutil.disk_usage(path).free
    if free < needed:
        raise ValueError(f"{path}: {free >> 20:,} MiB free on this disk, about {needed >> 20:,} MiB are needed: "
                         "free some, or choose another place with outputs=")


def check_whole_person(reference: Skeleton, picture: str, allow_cut_off: bool) -> None:
    """The person is in the picture from head to feet: ValueError (or a warning, if allowed) when parts are cut off."""
    missing = [part for part, points in NEEDED_PARTS if not inside(reference, points)]
    if missing and not allow_cut_off:
        raise ValueError(f"{picture}: the person is cut off ({' and '.join(missing)} not in the {reference.size[0]}x{reference.size[1]} "
                         "canvas): use a picture of the whole body, or pose.allow_cut_off=true to have the rest invented")
    guessed = missing or [part for part, points in WISHED_PARTS if not inside(reference, points)]
    if guessed:
        log.warning("%s: %s not seen: what they look like is invented", picture, " and ".join(guessed))


def inside(skeleton: Skeleton, points: tuple[int, ...]) -> bool:
    """Whether one of the points is seen, and lies on the canvas, in the first frame."""
    keypoints = skeleton.keypoints[0, list(points)]                                    # (P, 3)
    height, width = skeleton.size
    on_canvas = (keypoints[:, :2] >= 0).all(axis=1) & (keypoints[:, :2] < (width, height)).all(axis=1)
    return bool(np.any((keypoints[:, 2] >= SEEN_CONFIDENCE) & on_canvas))
