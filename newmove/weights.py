"""A customised model from disk: a complete pipeline folder, or trained tensors and the base they belong to."""
from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from media.files import read_json
from runtime.weights import metadata, read_tensors

from newmove import text_to_video, wan
from newmove.text_to_video import ALIASES, TextToVideo
from newmove.objective import NAME
from newmove.wan import WanTextToVideo

NAMES = (NAME, wan.NAME)                 # of what was trained
SAMPLED_BYTES = 1 << 20                  # of a weights file's beginning and end, for its mark


def weights_path(weights: str | Path) -> Path:
    """What -m names: a pipeline folder, or the file of trained tensors, by itself or in a run's folder."""
    path = Path(ALIASES.get(str(weights), weights))
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected a model's folder or {NAME} (found none): check the path")
    if path.is_file() or (path / "model_index.json").is_file():
        return path
    for found in (folder / name for folder in (path, path / "latest") for name in NAMES):
        if found.is_file():
            return found
    raise ValueError(f"{path}: expected model_index.json or {NAME} (found neither): is this the folder of a model?")


def check_weights(weights: str | Path, base: str | Path | None = None) -> Path:
    """Look at a customised model without loading it; the folder of the pipeline it needs."""
    path = weights_path(weights)
    if path.is_dir():
        return check_folder(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: expected {NAME} or a pipeline folder (found '{path.name}'): check -m")
    notes = metadata(path)
    if "fingerprint" not in notes:
        raise ValueError(f"{path}: expected tensors that train_motion_customization.py wrote (found none of its notes): "
                         "is this another model's file?")
    folder = check_folder(Path(base or notes["base"]))
    if module_of(folder).fingerprint(folder) != notes["fingerprint"]:
        raise ValueError(f"{path}: expected the base it was trained from, {notes['base']} (found another model in "
                         f"{folder}): name the right folder with --base")
    return folder


def module_of(folder: Path):
    """The module that knows this kind of pipeline folder."""
    return wan if read_json(folder / "model_index.json").get("_class_name") == "WanPipeline" else text_to_video


def check_folder(folder: Path) -> Path:
    """The folder, when it holds a model that is known here; a ValueError says what else it is."""
    folder = Path(ALIASES.get(str(folder), folder))
    is_wan = (folder / "model_index.json").is_file() and module_of(folder) is wan
    return wan.check_wan(folder) if is_wan else text_to_video.check_base(folder)


def load_customized(weights: str | Path, base: str | Path | None = None, device: str | torch.device = "cpu",
                    dtype: torch.dtype = torch.float32) -> TextToVideo | WanTextToVideo:
    """The model that -m names, ready to sample. base: where the pipeline lies now, if not where it was trained from."""
    path, folder = weights_path(weights), check_weights(weights, base)
    model = (WanTextToVideo if module_of(folder) is wan else TextToVideo).load(folder, device, dtype)
    if path.is_file():
        tensors = read_tensors(path, None)
        wan.apply_lora(model.transformer, tensors, path) if module_of(folder) is wan else apply_trained(model.unet, tensors, path)
    return model


@torch.no_grad()
def apply_trained(unet: torch.nn.Module, trained: dict[str, Tensor], source: Path) -> None:
    """Put trained tensors in their places, all of them."""
    own = dict(unet.named_parameters())
    wrong = next((name for name, tensor in trained.items() if name not in own or own[name].shape != tensor.shape), None)
    if wrong or not trained:
        raise ValueError(f"{source}: expected tensors of this UNet (found '{wrong or 'none'}'): was it trained from "
                         "another base?")
    for name, tensor in trained.items():
        own[name].copy_(tensor)


def mark(weights: str | Path) -> str:
    """16 hex digits by which a run knows its weights again, from size, beginning and end of the file."""
    path = weights_path(weights)
    if path.is_dir():
        path = next(iter(sorted((path / "unet").glob("*.safetensors")) + sorted((path / "unet").glob("*.bin"))
                         + sorted((path / "transformer").glob("*.safetensors"))))
    size, digest = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        digest.update(str(size).encode() + file.read(SAMPLED_BYTES))
        file.seek(max(0, size - SAMPLED_BYTES))
        digest.update(file.read())
    return digest.hexdigest()[:16]
