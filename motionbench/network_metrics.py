"""The metrics that need a network of somebody's: loaded where its weights lie, else absent with what would get them."""
from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import nn, Tensor

from configs import setting
from dwpose import skeleton as coco
from dwpose.networks import OnnxModel
from dwpose.skeleton import is_seen, Skeleton
from mimicmotion.latents import clip_pixels
from motionbench.metrics import ClipCase, Features, formula, Metric, Score
from t2m.evaluation import frechet_distance

INF = float("inf")
INCEPTION_URL = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt"
I3D_URL = "'https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt?dl=1'"
ALEXNET_URL = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
FACE_URL = "https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip"
CLIP_MODEL = "openai/clip-vit-base-patch32"
FRAMES_PER_CLIP = 16            # of picture features: evenly spaced, the first and the last included
SEGMENT_FRAMES = 16             # of video features: segments one after another, the last filled up with its last frame
BATCH = 16                                      # frames at once
INCEPTION_SIDE, I3D_SIDE, RESNET_SIDE = 299, 224, 112           # pixels
RESNET_MEAN = (114.7748, 107.7354, 99.4750)     # RGB, of Kinetics in 0..255
FACE_SIDE = 112
FACE_TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
                          [70.7299, 92.2041]], np.float32)      # ArcFace: eyes, nose and corners of the mouth, pixels
IBUG = coco.FACE.start                          # the 68 face points begin here
FACE_POINTS = (range(IBUG + 36, IBUG + 42), range(IBUG + 42, IBUG + 48), (IBUG + 30,), (IBUG + 48,), (IBUG + 54,))
Network = Callable[[np.ndarray], np.ndarray]    # frames (F, H, W, 3) uint8 RGB -> rows (N, D)
EVENLY = f"{FRAMES_PER_CLIP} evenly spaced frames of each clip"
IN_SEGMENTS = (f"all consecutive segments of {SEGMENT_FRAMES} frames, the last filled up with its last frame, features "
               "averaged over a clip's segments: one row per clip")


@dataclass
class MetricWeights:
    """Where each metric's network lies; where it does not, its metric is absent, with the command that gets it."""

    image_encoder: str = setting("weights/demo/svd/image_encoder", "FD-demo: folder of a CLIP image encoder")
    inception: str = setting("weights/metrics/inception-2015-12-05.pt", "FID: Inception-V3 of 2015, TorchScript")
    i3d: str = setting("weights/metrics/i3d_torchscript.pt", "FVD: I3D (Kinetics-400), TorchScript")
    resnet3d: str = setting("weights/metrics/resnet3d_torchscript.pt", "FID-VID: 3D ResNet-50 (Kinetics), TorchScript")
    alexnet: str = setting("weights/metrics/alexnet-owt-7be5be79.pth", "LPIPS: torchvision's AlexNet")
    clip: str = setting("weights/metrics/clip-vit-base-patch32", "CLIP-I: folder of a CLIP model of transformers")
    face: str = setting("weights/metrics/w600k_r50.onnx", "CSIM: ArcFace ResNet-50, ONNX")


def network_metrics(weights: MetricWeights, device: str) -> tuple[Metric, ...]:
    """All of them, in the report's order."""
    return (lpips(weights.alexnet, device), *frechet_metrics(weights, device), clip_i(weights.clip, device),
            csim(weights.face, device))


def frechet_metrics(weights: MetricWeights, device: str) -> tuple[Metric, ...]:
    """FID, FID-VID, FVD, and the distance that needs nobody else's weights."""
    return (
        frechet("fid", "FID", inception_features, weights.inception, fetched(weights.inception, INCEPTION_URL),
                device, "Heusel et al. 2017; network and resampling of clean-fid",
                f"{EVENLY}, {INCEPTION_SIDE}x{INCEPTION_SIDE}, Pillow bicubic in float; Inception-V3 (2015), pool"),
        frechet("fid_vid", "FID-VID", resnet3d_features, weights.resnet3d,
                f"export the 3D ResNet-50 (Kinetics) of DisCo's evaluation with torch.jit.trace to {weights.resnet3d}",
                device, "Balaji et al. 2019, as in DisCo's evaluation",
                f"{IN_SEGMENTS}; {RESNET_SIDE}x{RESNET_SIDE}, Pillow bicubic in float; 3D ResNet-50, pool"),
        frechet("fvd", "FVD", i3d_features, weights.i3d, fetched(weights.i3d, I3D_URL),
                device, "Unterthiner et al. 2018; network of StyleGAN-V, segments of DisCo",
                f"{IN_SEGMENTS}; {I3D_SIDE}x{I3D_SIDE}, Pillow bicubic in float; I3D (Kinetics-400), logits"),
        frechet("fd_demo", "FD-demo (not FID)", encoder_embeddings, weights.image_encoder,
                "name the folder of a CLIP image encoder in weights.image_encoder",
                device, "ours: the Fréchet distance of the demo's own image encoder's embeddings",
                f"{EVENLY}, squashed to the encoder's size; embeddings of {weights.image_encoder}"),
    )


def frechet(name: str, title: str, load: Callable[[str, str], Network], path: str, command: str, device: str,
            source: str, protocol: str) -> Metric:
    """A Fréchet distance between features of videos and truths, on one network."""
    absent = absence(path, command)
    network = None if absent else load(path, device)

    def features(case: ClipCase) -> Features:
        return {"video": network(case.video), "truth": network(case.truth)}

    return Metric(name, title, "", "lower", (0, INF), formula(frechet_distance), source, ("truth",), absent=absent,
                  features=None if absent else features, combined=frechet_of_clips, black=True, protocol=protocol)


def lpips(path: str, device: str) -> Metric:
    """LPIPS between video and truth (Zhang et al. 2018)."""
    absent = absence(path, fetched(path, ALEXNET_URL)) or unusable("lpips")
    distance = None if absent else lpips_distance(path, device)
    return Metric("lpips", "LPIPS", "", "lower", (0, INF),
                  "weighted distance of AlexNet's unit features, mean over frames",
                  "Zhang et al. 2018, package lpips, v0.1", ("truth",), absent=absent,
                  clip=lambda case: distance(case.video, case.truth), black=True,
                  protocol="every frame at the video's own size")


def clip_i(folder: str, device: str) -> Metric:
    """Likeness of CLIP's embeddings of video and reference picture."""
    absent = absence(folder, f"hf download {CLIP_MODEL} --local-dir {folder}")
    network = None if absent else encoder_embeddings(folder, device)

    def likeness(case: ClipCase) -> float:
        rows, wanted = network(case.video), network(case.reference[None])                   # (F', D), (1, D)
        return float((unit(rows) @ unit(wanted).T).mean())

    return Metric("clip_i", "CLIP-I", "", "higher", (-1, 1),
                  "cosine of the CLIP embeddings of frames and reference picture, mean over frames",
                  f"Radford et al. 2021, {CLIP_MODEL}", ("reference",), absent=absent, clip=likeness, failed=0.0,
                  protocol=f"{EVENLY}, squashed to the encoder's size; {folder}")


def csim(path: str, device: str) -> Metric:
    """Likeness of ArcFace's embeddings of video and reference picture."""
    absent = absence(path, f"take w600k_r50.onnx (not for commercial use) out of {FACE_URL}")
    embedding = None if absent else face_embedding(path, device)

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
    return "" if is_there(path) else f"no weights at {path}: {command}"


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
    """The command that downloads a file."""
    return f"curl -L --create-dirs -o {path} {url}"


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows (N, D) of length 1."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True).clip(1e-12)


def frechet_of_clips(clips: Sequence[Features]) -> Score:
    """The distance between all clips' "video" rows and their "truth" rows; NaN with a reason where a number is none."""
    if not clips:
        return Score(float("nan"), "no clip could be measured")
    broken = sum(not all(np.isfinite(clip[side]).all() for side in ("video", "truth")) for clip in clips)
    if broken:
        return Score(float("nan"), f"features of {broken} of {len(clips)} clips are not finite: see whether their network overflows")
    video, truth = (np.concatenate([clip[side] for clip in clips]) for side in ("video", "truth"))
    note = f"{len(clips)} clips, {len(video)} rows of {video.shape[1]} features"
    if len(video) <= video.shape[1]:
        note += ": fewer rows than features, so the distance is too large and only compares with the same number"
    return Score(frechet_distance(video, truth), note)


def spread_frames(video: np.ndarray, number: int = FRAMES_PER_CLIP) -> np.ndarray:
    """`number` evenly spaced frames, or all of a shorter video. (F, H, W, 3)"""
    if len(video) <= number:
        return video
    return video[np.round(np.linspace(0, len(video) - 1, number)).astype(int)]


def segments(video: np.ndarray) -> np.ndarray:
    """Consecutive segments (S, SEGMENT_FRAMES, H, W, 3); the last is filled up by repeating its last frame."""
    missing = -len(video) % SEGMENT_FRAMES
    filled = np.concatenate([video, np.repeat(video[-1:], missing, axis=0)])
    return filled.reshape(-1, SEGMENT_FRAMES, *video.shape[1:])


def resized(frames: np.ndarray, side: int) -> np.ndarray:
    """Frames squashed to side x side by Pillow's antialiased bicubic filter. (F, H, W, 3) -> float32 in 0..255

    As in clean-fid (Parmar et al. 2022): resampling without antialiasing, or rounding to 8 bits, changes FID by points.
    """
    def channel(plane: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(plane.astype(np.float32))
        return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)).clip(0, 255)

    return np.stack([np.stack([channel(frame[..., c]) for c in range(3)], axis=-1) for frame in frames])


def torchscript(path: str | os.PathLike, device: str) -> torch.jit.ScriptModule:
    """A TorchScript file on the device."""
    try:
        return torch.jit.load(os.fspath(path), map_location=device).eval()
    except RuntimeError as error:
        raise ValueError(f"{path}: expected a TorchScript network ({str(error).splitlines()[0]}): "
                         "download it again") from error


def inception_features(path: str | os.PathLike, device: str = "cpu") -> Network:
    """FID's 2048 features of single frames, resampled as clean-fid does; of NVIDIA's inception-2015-12-05.pt."""
    layers = torchscript(path, device).layers

    def features(video: np.ndarray) -> np.ndarray:
        pixels = (resized(spread_frames(video), INCEPTION_SIDE) - 128) / 128
        return in_batches(layers, rearrange(torch.from_numpy(pixels), "f h w c -> f c h w"), device)

    return features


def i3d_features(path: str | os.PathLike, device: str = "cpu") -> Network:
    """FVD's 400 logits (I3D on Kinetics-400), the mean over a clip's segments of 16 frames; of i3d_torchscript.pt."""
    network = torchscript(path, device)

    def run(batch: Tensor) -> Tensor:
        return network(batch, rescale=False, resize=False, return_features=True)

    return lambda video: _segment_mean(run, video, I3D_SIDE, lambda pixels: pixels / 127.5 - 1, device)


def resnet3d_features(path: str | os.PathLike, device: str = "cpu") -> Network:
    """FID-VID's features (3D ResNet-50 on Kinetics-400 before its last layer), the mean over segments of 16 frames."""
    network = torchscript(path, device)
    mean = np.array(RESNET_MEAN, np.float32)
    return lambda video: _segment_mean(network, video, RESNET_SIDE, lambda pixels: pixels - mean, device)


def _segment_mean(network, video: np.ndarray, side: int, normalised, device: str) -> np.ndarray:
    """One row (1, D) for a clip, fed as (S, 3, 16, side, side)."""
    pixels = torch.from_numpy(segments(normalised(resized(video, side)).astype(np.float32)))
    rows = in_batches(network, rearrange(pixels, "s f h w c -> s c f h w"), device, batch=1)            # (S, D)
    return rows.mean(axis=0, keepdims=True)


def encoder_embeddings(folder: str | os.PathLike, device: str = "cpu") -> Network:
    """CLIP embeddings (F', D) of evenly spaced frames, squashed to the encoder's size as SVD squashes its picture."""
    from transformers import CLIPVisionModelWithProjection

    with quiet_transformers():
        encoder = CLIPVisionModelWithProjection.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    encoder = encoder.to(device).eval()

    def run(batch: Tensor) -> Tensor:
        return encoder(pixel_values=clip_pixels(batch, encoder.config.image_size)).image_embeds

    def features(video: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(spread_frames(video)).float() / 127.5 - 1
        return in_batches(run, rearrange(pixels, "f h w c -> f c h w"), device)

    return features


def lpips_distance(alexnet: str | os.PathLike, device: str = "cpu") -> Callable[[np.ndarray, np.ndarray], float]:
    """LPIPS 0.1 (AlexNet) of the package lpips; its trunk's weights come from a file, so that nothing is downloaded."""
    import lpips

    model = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).to(device).eval()
    trunk = {name.removeprefix("features."): value
             for name, value in torch.load(alexnet, map_location=device, weights_only=True).items()
             if name.startswith("features.")}
    load_trunk(model.net, trunk)

    def distance(video: np.ndarray, truth: np.ndarray) -> float:
        made, true = (rearrange(torch.from_numpy(frames).float() / 127.5 - 1, "f h w c -> f c h w")
                      for frames in (video, truth))
        both = torch.cat([made, true], dim=1)                                               # (F, 6, H, W)
        return float(in_batches(lambda b: model(b[:, :3], b[:, 3:]).flatten(1), both, device).mean())

    return distance


def load_trunk(net: nn.Module, trunk: dict[str, Tensor]) -> None:
    """AlexNet's features by layer number into the slices of lpips, which keep those numbers; strictly."""
    wanted = {name: name.partition(".")[2] for name in net.state_dict()}                    # slice1.0.weight: 0.weight
    lacking = sorted(set(wanted.values()) ^ set(trunk))
    if lacking:
        raise ValueError(f"LPIPS: expected AlexNet's five convolutions (found other layers: {', '.join(lacking)}): "
                         "download it again")
    net.load_state_dict({name: trunk[layer] for name, layer in wanted.items()})


def face_embedding(path: str | os.PathLike, device: str = "cpu") -> Callable[[np.ndarray, Skeleton], np.ndarray]:
    """ArcFace embeddings of the frames whose face is seen; ONNX with input (N, 3, 112, 112). -> (N, D) of length 1"""
    model = OnnxModel.load(path, device)

    def embedding(video: np.ndarray, skeleton: Skeleton) -> np.ndarray:
        crops = [face_crop(frame, points) for frame, points in zip(video, skeleton.keypoints)]
        crops = [crop for crop in crops if crop is not None]
        if not crops:
            return np.zeros((0, 1), np.float32)
        pixels = (np.stack(crops).astype(np.float32) - 127.5) / 127.5
        return unit(model.run(np.ascontiguousarray(rearrange(pixels, "n h w c -> n c h w")))[0])

    return embedding


def face_crop(frame: np.ndarray, keypoints: np.ndarray) -> np.ndarray | None:
    """The face turned upright onto ArcFace's template (112, 112, 3); None where eyes, nose or mouth are not seen."""
    groups = [keypoints[list(points)] for points in FACE_POINTS]
    if not all(is_seen(group).all() for group in groups):
        return None
    found = np.stack([group[:, :2].mean(axis=0) for group in groups]).astype(np.float32)   # (5, 2)
    moved, _ = cv2.estimateAffinePartial2D(found, FACE_TEMPLATE, method=cv2.LMEDS)
    return None if moved is None else cv2.warpAffine(frame, moved, (FACE_SIDE, FACE_SIDE))


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bar, and no list of a CLIP's other half when one half is loaded."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.enable_progress_bar()


@torch.no_grad()
def in_batches(network, pixels: Tensor, device: str, batch: int = BATCH) -> np.ndarray:
    """Rows (N, D) float32 of a network of (N, ...), a few at once."""
    return torch.cat([network(part.to(device)).flatten(1).float().cpu() for part in pixels.split(batch)]).numpy()


def is_there(path: str | os.PathLike) -> bool:
    """A file, or a folder with a config.json."""
    return Path(path).is_file() or (Path(path) / "config.json").is_file()
