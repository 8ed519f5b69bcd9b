"""Turn published checkpoints into one half-precision safetensors file each, in a folder our loaders take.

    python scripts/convert_checkpoint.py weights/mimicmotion/MimicMotion_1-1.pth weights/mimicmotion-1-1
    python scripts/convert_checkpoint.py weights/t2m weights/t2m-half           T2M-GPT's pair and CLIP's text encoder
    python scripts/convert_checkpoint.py outputs/motion weights/sks_dance       a customised model as a diffusers pipeline
    python scripts/convert_checkpoint.py weights/musepose weights/musepose-half MusePose's four files: 4.4 GB of their 11.2

The new folder appears whole, after it was read back and found equal, or not at all. float16 is exact for MimicMotion;
T2M-GPT was published in float32 (--dtype float32 keeps it): rounded, a near tie of two tokens may fall differently.
A customised model is trained further from outputs/motion, never from its pipeline: float16 rounds away most of what a few
steps change. A LoRA of Wan needs no conversion: WanPipeline.load_lora_weights reads it as it is.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import inspect
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from configs import run_main
from mimicmotion.checkpoint import load_video_model, save_checkpoint
from musepose.checkpoint import base_config, load_networks, load_saved_networks, PARTS, save_networks, WeightFiles
from newmove.generation import load_customized, trained_file
from newmove.text_to_video import TextToVideo
from run.checks import check_motion_weights
from runtime.weights import read_tensors, save_tensors
from t2m.networks import GPT, VQVAE
from t2m.text_encoder import text_folders, TextTower
from t2m.weights import found, GPT_FILES, load_strictly, read_config, read_statistics, VQVAE_FILES

ROOT = Path(__file__).resolve().parents[1]
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
TOKENIZER = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "tokenizer.json")


def convert(source: Path, target: Path, svd: Path, dtype: torch.dtype, overwrite: bool = False,
            base: Path | None = None) -> Path:
    """`source`, a video checkpoint, a text-to-motion folder or MusePose's, as the folder `target`, whole or not at all.

    A customised model becomes a pipeline folder; base: of the model it was trained from, if it is no longer there.
    """
    if target.exists() and not overwrite:
        raise ValueError(f"{target}: already there: choose another folder, or give --overwrite")
    holds_source = source.resolve().is_relative_to(target.resolve())
    if target.exists() and (holds_source or not any((target / name).is_file() for name in ("config.json", "model_index.json"))):
        raise ValueError(f"{target}: expected a converted folder to replace (found something else): choose another")
    new, old = (target.with_name(f".{target.name}.{os.getpid()}.{word}") for word in ("partial", "old"))
    try:
        if (source / "MusePose").is_dir():
            convert_musepose(source, new, dtype)
        elif trained_file(source):
            export_customized(source, new, dtype, base)
        elif source.is_dir():
            convert_motion_model(source, new, dtype)
        else:
            convert_video_model(source, new, svd, dtype)
        if target.exists():
            os.replace(target, old)
        os.replace(new, target)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{target}: cannot be written ({error}): make room, or choose another place") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return target


def convert_video_model(checkpoint: Path, target: Path, svd: Path, dtype: torch.dtype) -> None:
    """MimicMotion's .pth, sized by svd/unet/config.json, as {config.json, model.safetensors}."""
    published = load_video_model(svd, checkpoint, dtype)
    save_checkpoint(target, *published, dtype=dtype, source=checkpoint.name)
    for theirs, ours in zip(published, load_video_model(svd, target, dtype)):
        check_equal(theirs, ours.state_dict(), target / "model.safetensors", dtype)


def convert_musepose(folder: Path, target: Path, dtype: torch.dtype) -> None:
    """MusePose's denoiser, reference network and pose guider in one file, the base UNet's config beside it."""
    files = WeightFiles.of(folder)
    published = load_networks(files, dtype)
    save_networks(target, published, base_config(files)[0], dtype, source="MusePose")
    saved = load_saved_networks(target, dtype)
    for part in PARTS:
        check_equal(getattr(published, part), getattr(saved, part).state_dict(), target / "model.safetensors", dtype)


def export_customized(source: Path, target: Path, dtype: torch.dtype, base: Path | None) -> None:
    """The base model with what was trained put in its place, as a complete diffusers folder."""
    model = load_customized(source, base)
    if not isinstance(model, TextToVideo):
        raise ValueError(f"{source}: expected a customised ZeroScope or ModelScope (found a LoRA of Wan): "
                         "WanPipeline.load_lora_weights reads it as it is")
    model.save(target, dtype)


def convert_motion_model(folder: Path, target: Path, dtype: torch.dtype) -> None:
    """T2M-GPT's pair with its statistics and CLIP's text encoder, as a text-to-motion folder of ours."""
    check_motion_weights(folder)
    config, vqvae_file = read_config(folder), found(folder, VQVAE_FILES)
    target.mkdir(parents=True)
    for name, build, path in (("vqvae", VQVAE, vqvae_file), ("gpt", GPT, found(folder, GPT_FILES))):
        config[name] = released_sizes(build) | config.get(name, {})
        with torch.device("meta"):
            model = build(**config[name])
        save(load_strictly(model, path), target / f"{name}.safetensors", dtype, source=path.name)
    (target / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    for name, values in zip(("mean", "std"), read_statistics(folder, released=vqvae_file.suffix == ".pth")):
        np.save(target / f"{name}.npy", values)
    tower, tokenizer = text_folders(folder)
    TextTower.load(tower, dtype).save(target / "text_encoder")
    (target / "tokenizer").mkdir()
    for name in TOKENIZER:
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, target / "tokenizer" / name)
    check_motion_weights(target)


def released_sizes(build: Callable[..., nn.Module]) -> dict:
    """A class's defaults."""
    return {name: parameter.default for name, parameter in inspect.signature(build).parameters.items()}


def save(model: nn.Module, path: Path, dtype: torch.dtype, source: str) -> None:
    """Write a model's tensors in `dtype`, and read them back."""
    tensors = {name: tensor.detach().to(dtype).contiguous() for name, tensor in model.state_dict().items()}
    save_tensors(tensors, path, {"format": "pt", "source": source})
    check_equal(model, read_tensors(path, None), path, dtype)


def check_equal(model: nn.Module, stored: dict[str, torch.Tensor], path: Path, dtype: torch.dtype) -> None:
    """The tensors read back are the model's, rounded to `dtype`, and finite."""
    for name, tensor in model.state_dict().items():
        if not torch.equal(tensor.to(dtype), stored[name]) or not stored[name].isfinite().all():
            raise ValueError(f"{path}: '{name}' is not what was written, or too large for {dtype}: try --dtype float32")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="MimicMotion's .pth, a folder with T2M-GPT's files or MusePose's, "
                        "or what train_motion_customization.py wrote")
    parser.add_argument("target", type=Path, help="the folder to make")
    parser.add_argument("--svd", type=Path, default=ROOT / "weights" / "svd", help="its unet/config.json has the sizes")
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="number format to write (default: float16)")
    parser.add_argument("--base", type=Path, help="the pipeline a customised model was trained from, if it was moved")
    parser.add_argument("--overwrite", action="store_true", help="replace a folder made before")
    arguments = parser.parse_args(argv)
    target = convert(arguments.source, arguments.target, arguments.svd, DTYPES[arguments.dtype], arguments.overwrite,
                     arguments.base)
    print(f"{target}: written and read back equal")


if __name__ == "__main__":
    run_main(main)
