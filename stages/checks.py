"""What can go wrong is found before the first slow stage: weights, sizes, output folder, disk."""

import json
import logging
import math
import shutil
import tempfile
from pathlib import Path

import torch

from mimicmotion.checkpoint import (checkpoint_file, load_image_encoder, load_vae, load_video_model,
                                    refuse_other_width, trained_frames)
from mimicmotion.pipeline import load_scheduler
from t2m.text import load_tokenizer, text_folders
from t2m.transformer import GPT
from t2m.vqvae import VQVAE
from t2m.weights import (GPT_FILES, VQVAE_FILES, found, load_strictly, load_text_tower, read_config, read_statistics,
                         without_memory)

log = logging.getLogger(__name__)

SVD_FILES = ("vae/config.json", "image_encoder/config.json", "scheduler/scheduler_config.json")
SPARE_BYTES = 64 << 20                 # room a run needs beside its frames
COMPRESSED = 0.6                       # bytes per byte of RGB, lossless frames of a video


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
