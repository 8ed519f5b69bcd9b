"""The metrics that need a network of somebody's: loaded where its weights lie, else absent with what would get them."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from motionbench import networks
from motionbench.distribution import (
    FRAMES_PER_CLIP, SEGMENT_FRAMES, features_of_both, frechet_distance, frechet_of_clips)
from motionbench.metrics import ClipCase, Metric, Score, formula
from motionbench.networks import FACE_SIDE, I3D_SIDE, INCEPTION_SIDE, RESNET_SIDE, Network

INF = float("inf")
EVENLY = f"{FRAMES_PER_CLIP} evenly spaced frames of each clip"
IN_SEGMENTS = (f"all consecutive segments of {SEGMENT_FRAMES} frames, the last filled up with its last frame, features "
               "averaged over a clip's segments: one row per clip")
INCEPTION_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
I3D_URL = "'https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1'"
ALEXNET_URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
FACE_URL = "https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip"
CLIP_MODEL = "openai/clip-vit-base-patch32"


def _path(default: str, help: str):
    return field(default=default, metadata={"help": help})


@dataclass
class MetricWeights:
    """Where each metric's network lies; where it does not, its metric is absent, with the command that gets it."""

    image_encoder: str = _path("weights/demo/svd/image_encoder", "FD-demo: folder of a CLIP image encoder")
    inception: str = _path("weights/metrics/inception-2015-12-05.pt", "FID: Inception-V3 of 2015, TorchScript")
    i3d: str = _path("weights/metrics/i3d_torchscript.pt", "FVD: I3D (Kinetics-400), TorchScript")
    resnet3d: str = _path("weights/metrics/resnet3d_torchscript.pt", "FID-VID: 3D ResNet-50 (Kinetics), TorchScript")
    alexnet: str = _path("weights/metrics/alexnet-owt-7be5be79.pth", "LPIPS: torchvision's AlexNet")
    clip: str = _path("weights/metrics/clip-vit-base-patch32", "CLIP-I: folder of a CLIP model of transformers")
    face: str = _path("weights/metrics/w600k_r50.onnx", "CSIM: ArcFace ResNet-50, ONNX")


def network_metrics(weights: MetricWeights, device: str) -> tuple[Metric, ...]:
    return (lpips(weights.alexnet, device), *frechet_metrics(weights, device), clip_i(weights.clip, device),
            csim(weights.face, device))


def frechet_metrics(weights: MetricWeights, device: str) -> tuple[Metric, ...]:
    """FID, FID-VID, FVD, and the distance that needs nobody else's weights."""
    return (
        frechet("fid", "FID", networks.inception_features, weights.inception, fetched(weights.inception, INCEPTION_URL),
                device, "Heusel et al. 2017; network and resampling of clean-fid",
                f"{EVENLY}, {INCEPTION_SIDE}x{INCEPTION_SIDE}, Pillow bicubic in float; Inception-V3 (2015), pool"),
        frechet("fid_vid", "FID-VID", networks.resnet3d_features, weights.resnet3d,
                f"export the 3D ResNet-50 (Kinetics) of DisCo's evaluation with torch.jit.trace to {weights.resnet3d}",
                device, "Balaji et al. 2019, as in DisCo's evaluation",
                f"{IN_SEGMENTS}; {RESNET_SIDE}x{RESNET_SIDE}, Pillow bicubic in float; 3D ResNet-50, pool"),
        frechet("fvd", "FVD", networks.i3d_features, weights.i3d, fetched(weights.i3d, I3D_URL),
                device, "Unterthiner et al. 2018; network of StyleGAN-V, segments of DisCo",
                f"{IN_SEGMENTS}; {I3D_SIDE}x{I3D_SIDE}, Pillow bicubic in float; I3D (Kinetics-400), logits"),
        frechet("fd_demo", "FD-demo (not FID)", networks.encoder_embeddings, weights.image_encoder,
                "name the folder of a CLIP image encoder in weights.image_encoder",
                device, "ours: the Fréchet distance of the demo's own image encoder's embeddings",
                f"{EVENLY}, squashed to the encoder's size; embeddings of {weights.image_encoder}"),
    )


def frechet(name: str, title: str, load: Callable[[str, str], Network], path: str, command: str, device: str,
            source: str, protocol: str) -> Metric:
    absent = absence(path, command)
    return Metric(name, title, "", "lower", (0, INF), formula(frechet_distance), source, ("truth",), absent=absent,
                  features=None if absent else features_of_both(load(path, device)), combined=frechet_of_clips,
                  black=True, protocol=protocol)


def lpips(path: str, device: str) -> Metric:
    absent = absence(path, fetched(path, ALEXNET_URL)) or unusable("lpips")
    distance = None if absent else networks.lpips_distance(path, device)
    return Metric("lpips", "LPIPS", "", "lower", (0, INF),
                  "weighted distance of AlexNet's unit features, mean over frames",
                  "Zhang et al. 2018, package lpips, v0.1", ("truth",), absent=absent,
                  clip=lambda case: distance(case.video, case.truth), black=True,
                  protocol="every frame at the video's own size")


def clip_i(folder: str, device: str) -> Metric:
    absent = absence(folder, f"hf download {CLIP_MODEL} --local-dir {folder}")
    network = None if absent else networks.encoder_embeddings(folder, device)

    def likeness(case: ClipCase) -> float:
        rows, wanted = network(case.video), network(case.reference[None])                   # (F', D), (1, D)
        return float((unit(rows) @ unit(wanted).T).mean())

    return Metric("clip_i", "CLIP-I", "", "higher", (-1, 1),
                  "cosine of the CLIP embeddings of frames and reference picture, mean over frames",
                  f"Radford et al. 2021, {CLIP_MODEL}", ("reference",), absent=absent, clip=likeness, failed=0.0,
                  protocol=f"{EVENLY}, squashed to the encoder's size; {folder}")


def csim(path: str, device: str) -> Metric:
    absent = absence(path, f"take w600k_r50.onnx (not for commercial use) out of {FACE_URL}")
    embedding = None if absent else networks.face_embedding(path, device)

    def likeness(case: ClipCase) -> Score:
        rows = embedding(case.video, case.seen)                                             # (N, D)
        wanted = embedding(case.reference[None], case.reference_seen)                       # (1, D)
        if not len(wanted):
            return Score(float("nan"), "no face is seen in the reference picture")
        if not len(rows):
            return Score(0.0, "no face is seen in the video")
        return Score(float((rows @ wanted.T).mean()), f"a face is seen in {len(rows)} of {len(case.video)} frames")

    return Metric("csim", "CSIM", "", "higher", (-1, 1),
                  "cosine of the face embeddings of reference picture and frames, mean over frames that show a face; 0 "
                  "where none does",
                  "Deng et al. 2019 (ArcFace)", ("reference", "reference_seen", "seen"), absent=absent, clip=likeness,
                  failed=0.0, protocol=f"faces turned onto ArcFace's template, {FACE_SIDE}x{FACE_SIDE}; {path}")


def absence(path: str, command: str) -> str:
    """"" where the weights are there, else that they are not and what gets them."""
    return "" if networks.is_there(path) else f"no weights at {path}: {command}"


def unusable(package: str) -> str:
    """"" where an optional package can be imported, else why not and what to do."""
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        return f"the package {error.name} is not installed: pip install -r requirements-eval.txt"
    except (ImportError, RuntimeError, OSError) as error:       # as torchvision does beside a torch of another build
        return (f"the package {package} cannot be imported ({str(error).splitlines()[0]}): "
                "install the torchvision that belongs to this torch")
    return ""


def fetched(path: str, url: str) -> str:
    return f"curl -L --create-dirs -o {path} {url}"


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True).clip(1e-12)
