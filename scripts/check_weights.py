"""Which weights in a folder are whole, and which tensor of the others differs. Names and shapes only, so in seconds.

    python scripts/check_weights.py weights                    or one folder or file in it, ours or published
    python scripts/check_weights.py weights --hash             also reads every byte, for the hash its source gives

Every file is held against the model it is for, built without memory. Nothing in a file is executed. 2 if one is wrong.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import onnx
import torch
from google.protobuf.message import DecodeError

from configs import run_main
from dwpose.networks import PersonDetector, PoseHead
from media.files import entries, one_line, read_json
from mimicmotion import SVD_FILES
from mimicmotion.checkpoint import (load_image_encoder, load_scheduler, load_tiny_vae, load_unet, load_vae,
                                    load_video_model, split_parts)
from mimicmotion.networks import PoseNet, PoseUNet
from musepose import checkpoint as musepose
from newmove.text_to_video import PIPELINES, check_parts
from run.checks import check_motion_weights
from runtime.published_weights import digest, FILES, RECORD
from runtime.weights import check_safetensors, empty, fill, read_tensors
from t2m.weights import GPT_FILES, VQVAE_FILES

Check = tuple[Path, str, Callable[[], str]]      # what, its kind, and a check that describes it or raises
TENSORS = (".safetensors", ".pth", ".pt", ".bin")
COMPONENTS = {                                   # class or model type in config.json -> kind, loader, stem of its files
    "AutoencoderKLTemporalDecoder": ("VAE", load_vae, "diffusion_pytorch_model"),
    "AutoencoderTiny": ("tiny VAE", load_tiny_vae, "diffusion_pytorch_model"),
    "UNetSpatioTemporalConditionModel": ("SVD UNet", load_unet, "diffusion_pytorch_model"),
    "clip_vision_model": ("image encoder", load_image_encoder, "model"),
}


def checks(path: Path) -> Iterator[Check]:
    """What there is to check at or below `path`, folder by folder."""
    if path.is_file():
        yield from file_checks(path)
        return
    if any((path / name).is_file() for name in (*VQVAE_FILES, *GPT_FILES)):
        yield path, "text to motion", partial(motion, path)
        return
    if (path / "MusePose").is_dir():
        yield from musepose_checks(musepose.WeightFiles.of(path))
        return
    if pipeline_class(path / "model_index.json") in PIPELINES:
        yield path, "text to video", partial(check_parts, path)
        return
    if (path / "model_index.json").is_file() or (path / "vae").is_dir():
        yield path, "SVD folder", partial(complete, path)
    claimed, config = set(), path / "config.json"
    if config.is_file():
        try:
            values = read_json(config)
        except ValueError:
            yield from file_checks(config)                                           # says what is wrong with it
            return
        found = list(folder_checks(path, values))
        claimed = {config, *(check[0] for check in found)} if found else set()
        yield from found
    for entry in entries(path):
        if entry not in claimed:
            yield from checks(entry)


def pipeline_class(index: Path) -> str | None:
    """Which pipeline a model_index.json is of; None where it is missing or damaged, which the check of that file says."""
    try:
        return read_json(index).get("_class_name") if index.is_file() else None
    except ValueError:
        return None


def folder_checks(folder: Path, config: dict) -> Iterator[Check]:
    """One component of SVD, or one of our video models: a config.json and the files it describes."""
    kind, load, stem = COMPONENTS.get(str(config.get("_class_name") or config.get("model_type")), (None, None, None))
    if load:
        for variant, dtype in ((".fp16", torch.float16), ("", torch.float32)):
            path, compare = folder / f"{stem}{variant}.safetensors", partial(load, folder, dtype, device="meta")
            if path.is_file():
                yield path, kind, partial(tensors, path, compare)
    elif "block_out_channels" in config and (folder / "model.safetensors").is_file():
        path = folder / "model.safetensors"
        if is_musepose(path):
            yield path, "MusePose", partial(tensors, path, partial(musepose.load_saved_networks, folder, torch.float16, "meta"))
        else:
            yield path, "video model", partial(tensors, path, partial(load_video_model, folder, folder, torch.float16, device="meta"))


def is_musepose(path: Path) -> bool:
    """Are the tensors of a file MusePose's? A damaged file says nothing here: its check tells what is wrong with it."""
    try:
        return any(name.startswith("denoiser.") for name in read_tensors(path, None, "meta"))
    except ValueError:
        return False


def musepose_checks(files: musepose.WeightFiles) -> Iterator[Check]:
    """The official folder `pretrained_weights`: each file in its own place."""
    half = torch.float16, "meta"

    def pose_guider() -> torch.nn.Module:
        channels = musepose.base_config(files)[0]["block_out_channels"][0]
        return musepose.load_pose_guider(files.pose_guider, channels, *half)

    denoiser, reference_net = partial(musepose.load_denoiser, files, *half), partial(musepose.load_reference_net, files, *half)
    for path, kind, compare in ((files.denoising_unet, "denoiser", denoiser), (files.motion_module, "motion modules", denoiser),
                                (files.reference_unet, "reference network", reference_net), (files.pose_guider, "pose guider", pose_guider)):
        yield path, f"MusePose's {kind}", partial(tensors, path, compare)
    for folder, kind, load in ((files.pretrained_vae, "VAE", musepose.load_vae),
                               (files.image_encoder, "image encoder", musepose.load_image_encoder)):
        yield folder, kind, partial(component, folder, partial(load, folder, *half))


def component(folder: Path, compare: Callable[[], object]) -> str:
    """The weights file of a component folder."""
    return tensors(musepose.component_file(folder), compare)


def file_checks(path: Path) -> Iterator[Check]:
    """A file that needs no folder around it."""
    if path.suffix == ".onnx":
        yield path, "ONNX", partial(network, path)
    elif path.suffix == ".json" and path.name != RECORD:
        yield path, "settings", lambda: f"{len(read_json(path))} keys"
    elif path.suffix in TENSORS:
        yield path, "video model", partial(tensors, path, partial(video_model, path))


def tensors(path: Path, compare: Callable[[], object]) -> str:
    """How many tensors of which type; `compare` raises if they are not the model's."""
    check_safetensors(path)
    compare()
    types = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in read_tensors(path, None, "meta").values())
    return f"{sum(types.values()):,} tensors, {' and '.join(types)}"


def video_model(path: Path) -> None:
    """A checkpoint in one file, of the size beside it (../svd, svd) or else of SVD's."""
    configs = [folder / "unet" / "config.json" for folder in (path.parent.parent / "svd", path.parent / "svd")]
    config = next((read_json(config) for config in configs if config.is_file()), {})
    parts = split_parts(read_tensors(path, None, "meta"), path)
    unet = fill(empty(PoseUNet.from_config, config, path), parts["unet"], path, "unet.")
    fill(empty(PoseNet, unet.config.block_out_channels[0], path), parts["pose_net"], path, "pose_net.")


def motion(folder: Path) -> str:
    """A text-to-motion folder; raises where a part is missing or does not fit."""
    check_motion_weights(folder)
    return "VQ-VAE, GPT, mean, std, text encoder and tokenizer"


def complete(folder: Path) -> str:
    """The parts of an SVD folder beside its networks; raises where one is missing."""
    missing = [name for name in SVD_FILES if not (folder / name).exists()]
    for part in ("vae", "image_encoder"):
        if not any((folder / part).glob("*.safetensors")):
            missing.append(f"{part}/*.safetensors")
    if missing:
        raise FileNotFoundError(f"{folder}: expected a whole SVD folder (missing {', '.join(missing)}): "
                                "run scripts/download_weights.py svd")
    load_scheduler(folder / "scheduler")
    return "VAE, image encoder, scheduler"


class Graph:
    """Inputs and outputs of an ONNX file, as a session would name them, without running it."""

    def __init__(self, path: Path):
        try:
            self.graph = onnx.load(path, load_external_data=False).graph
        except DecodeError as error:
            raise ValueError(f"{path}: expected a whole ONNX file ({error}): fetch it again") from None

    def get_inputs(self) -> list[SimpleNamespace]:
        constants = {tensor.name for tensor in self.graph.initializer}
        return [tensor_spec(value) for value in self.graph.input if value.name not in constants]

    def get_outputs(self) -> list[SimpleNamespace]:
        return [tensor_spec(value) for value in self.graph.output]


def tensor_spec(value: onnx.ValueInfoProto) -> SimpleNamespace:
    """Name and shape of an ONNX input or output."""
    sides = value.type.tensor_type.shape.dim
    shape = [side.dim_value if side.HasField("dim_value") else side.dim_param for side in sides]
    return SimpleNamespace(name=value.name, shape=shape)


def network(path: Path) -> str:
    """An ONNX file held against the contract of the detector or the pose network."""
    graph = Graph(path)
    if not graph.get_inputs() or not graph.get_outputs():
        raise ValueError(f"{path}: expected a network with inputs and outputs (found none): fetch it again")
    is_detector = "yolo" in path.name or "det" in path.name or len(graph.get_outputs()) == 1
    (PersonDetector if is_detector else PoseHead)(graph, path)
    shapes = " and ".join(str(tuple(output.shape)) for output in graph.get_outputs())
    return f"{'people' if is_detector else 'keypoints'}, {tuple(graph.get_inputs()[0].shape)} to {shapes}"


def hash_checks(path: Path) -> Iterator[Check]:
    """Every file at or below `path` with a recorded or published hash; its record may lie in a folder above."""
    path = path.absolute()
    above = [folder / RECORD for folder in path.parents if (folder / RECORD).is_file()][:1]
    for record in (*above, *sorted(path.rglob(RECORD) if path.is_dir() else ())):
        for name, note in read_json(record).items():
            if not isinstance(note, dict) or not isinstance(note.get("hash"), str):
                raise ValueError(f"{record}: expected the hash of {name} (found {note!r}): fetch the files again")
            if (record.parent / name).is_relative_to(path):
                yield record.parent / name, "hash", partial(same_hash, record.parent / name, note["hash"])
    for file in FILES:
        if getattr(file, "sha256", ""):
            for found in path.rglob(Path(file.path).name) if path.is_dir() else (path,):
                if found.as_posix().endswith(f"/{file.path}"):
                    yield found, "hash", partial(same_hash, found, file.sha256)


def same_hash(path: Path, wanted: str) -> str:
    """Compare a file with the hash its source gives."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file that was fetched once (found none): fetch it again")
    if (found := digest(path, wanted)) != wanted:
        raise ValueError(f"{path}: expected the hash {wanted} (found {found}): fetch it again")
    return wanted[:12]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of weights, or one file")
    parser.add_argument("--hash", action="store_true", help="also compare hashes: reads every byte")
    arguments = parser.parse_args(argv)
    if not arguments.folder.exists():
        parser.error(f"{arguments.folder}: no such file or folder")
    found = {(path, kind): check for path, kind, check in checks(arguments.folder)}
    if arguments.hash:
        found |= {(path, kind): check for path, kind, check in hash_checks(arguments.folder)}
    wrong = 0
    for (path, kind), check in found.items():
        try:
            print(f"whole  {os.path.relpath(path)}: {kind}, {check()}", flush=True)
        except (ValueError, OSError) as error:
            wrong += 1
            print(f"WRONG  {one_line(error)}", flush=True)
    print(f"\n{len(found) - wrong} whole, {wrong} wrong" if found else f"{arguments.folder}: no weights found")
    return 2 if wrong or not found else 0


if __name__ == "__main__":
    run_main(main)
