"""The networks behind the metrics, as functions of frames. Each is loaded from a file that is there, or not at all.

Picture and video networks are TorchScript files, as their authors publish them: no library of theirs is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from dwpose import skeleton as coco
from dwpose.session import OnnxModel
from dwpose.skeleton import SEEN_CONFIDENCE, Skeleton
from mimicmotion.conditioning import clip_pixels
from motionbench.distribution import resized, segments, spread_frames

BATCH = 16                                      # frames at once
INCEPTION_SIDE, I3D_SIDE, RESNET_SIDE = 299, 224, 112           # pixels
RESNET_MEAN = (114.7748, 107.7354, 99.4750)     # RGB, of Kinetics in 0..255
FACE_SIDE = 112
FACE_TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655],
                          [70.7299, 92.2041]], np.float32)      # ArcFace: eyes, nose and corners of the mouth, pixels
IBUG = coco.FACE.start                          # the 68 face points begin here
FACE_POINTS = (range(IBUG + 36, IBUG + 42), range(IBUG + 42, IBUG + 48), (IBUG + 30,), (IBUG + 48,), (IBUG + 54,))
Network = Callable[[np.ndarray], np.ndarray]    # frames (F, H, W, 3) uint8 RGB -> rows (N, D)


def torchscript(path: str | os.PathLike, device: str) -> torch.jit.ScriptModule:
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
        rows = model.run(np.ascontiguousarray(rearrange(pixels, "n h w c -> n c h w")))[0]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)

    return embedding


def face_crop(frame: np.ndarray, keypoints: np.ndarray) -> np.ndarray | None:
    """The face turned upright onto ArcFace's template (112, 112, 3); None where eyes, nose or mouth are not seen."""
    groups = [keypoints[list(points)] for points in FACE_POINTS]
    if any((group[:, 2] < SEEN_CONFIDENCE).any() for group in groups):
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
