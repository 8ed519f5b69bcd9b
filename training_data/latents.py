"""VAE latents, CLIP embeddings and reference pictures of all clips, made once so that training runs neither network.

Shards are .safetensors files of a few clips each. webdataset's tar files are read from front to back and shuffled in a
buffer, so a run that resumes must replay the stream; a safetensors shard is mapped and any window of any clip is read
alone, so sample number p is the same however one gets there, and nothing is copied that a step does not use.
"""
from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors import safe_open, SafetensorError
from torch import Tensor
from tqdm import tqdm

from dwpose.draw import draw
from dwpose.skeleton import BODY, Skeleton
from media.files import save_atomically
from media.images import as_tensor, cover_geometry, PIXELS_PER_LATENT
from media.video_reader import read_video
from mimicmotion.latents import image_embeddings, image_latents
from runtime.weights import save_tensors
from training_data.folder import DataFolder, read_json, require_equal

log = logging.getLogger(__name__)

CLIPS_PER_SHARD = 32
PICTURES_PER_RUN = 8
TARGETS = ("video", "poses")    # what is encoded: the frames, or the drawn poses (the skeleton adapter's pictures)


def latent_kind(target: str) -> str:
    """What the cached latents of a clip are called among its files."""
    return f"{target}.safetensors"


@dataclass(frozen=True)
class LatentSettings:
    """What the cached numbers depend on."""

    size: list[int]             # canvas height, width, pixels
    target: str                 # video | poses
    style: str                  # the brush of the poses, where they are encoded
    references: int             # pictures per clip that a sample may be conditioned on
    noise_aug_strength: float   # noise on a reference picture before the VAE, as SVD was trained with
    vae: str = ""               # content of the weights
    image_encoder: str = ""

    def __post_init__(self):
        if self.target not in TARGETS:
            raise ValueError(f"target: expected one of {', '.join(TARGETS)} (found {self.target!r}): choose one")
        if min(self.size) < PIXELS_PER_LATENT or any(side % PIXELS_PER_LATENT for side in self.size):
            raise ValueError(f"size: expected multiples of {PIXELS_PER_LATENT}, {PIXELS_PER_LATENT} or more "
                             f"(found {self.size[0]}x{self.size[1]}): round them")
        if self.references < 1:
            raise ValueError(f"references: expected at least 1 (found {self.references})")
        if not (self.noise_aug_strength >= 0 and math.isfinite(self.noise_aug_strength)):
            raise ValueError(f"noise_aug_strength: expected 0 or more (found {self.noise_aug_strength})")


class LatentCache:
    """The shards of one data folder for one target. Tensors of clip c: c.latents (F, 4, h, w), c.reference_latents
    (K, 4, h, w), c.embeddings (K, 1, D), all float16, and c.references (K, H, W, 3) uint8."""

    def __init__(self, folder: DataFolder, target: str):
        self.path = folder.path / "latents" / target

    def settings(self) -> LatentSettings:
        """What the cache was made with."""
        if not (self.path / "settings.json").is_file():
            raise FileNotFoundError(f"{self.path}: expected cached latents (found none): "
                                    "make them with scripts/prepare_dataset.py --cache-latents")
        return LatentSettings(**read_json(self.path / "settings.json"))

    def claim(self, settings: LatentSettings) -> None:
        """Make the folder, or check that it was made with the same settings."""
        self.path.mkdir(parents=True, exist_ok=True)
        require_equal(self.path / "settings.json", asdict(settings))

    def index(self, *, remove_damaged: bool = False) -> dict[str, Path]:
        """The shard of every cached clip, from the shards' own headers: there is no index to disagree with them.

        remove_damaged: for who makes their clips anew; a shard that is cut short is else a ValueError.
        """
        found = {}
        for path in sorted(self.path.glob("shard-*.safetensors")):
            try:
                with safe_open(path, "pt") as shard:
                    found |= {name.removesuffix(".latents"): path for name in shard.keys() if name.endswith(".latents")}
            except SafetensorError as error:
                if not remove_damaged:
                    raise ValueError(f"{path}: expected a whole shard ({error}): run scripts/prepare_dataset.py --cache-latents "
                                     "again, which makes it anew") from None
                log.warning("%s: is cut short: its clips are encoded anew", path)
                path.unlink()
        return found

    def write(self, tensors: dict[str, Tensor]) -> None:
        """A shard named by the clips it holds."""
        name = hashlib.sha256(" ".join(sorted(tensors)).encode()).hexdigest()[:16]
        save_atomically(self.path / f"shard-{name}.safetensors", lambda partial: save_tensors(tensors, partial))


def read_window(shard: Path, clip: str, window: slice, reference: int) -> dict[str, Tensor]:
    """Consecutive latents of a clip and one of its references. window: no step; only what is asked for is read."""
    with safe_open(shard, "pt") as file:
        one = slice(reference, reference + 1)
        rows = {"latents": window, "references": one, "reference_latents": one, "embeddings": one}
        part = {name: file.get_slice(f"{clip}.{name}")[chosen] for name, chosen in rows.items()}
    return {"latents": part["latents"].float(), "reference": part["references"][0],
            "reference_latents": part["reference_latents"][0].float(), "embedding": part["embeddings"][0].float()}


def reference_frames(num_frames: int, references: int) -> np.ndarray:
    """Which frames of a clip may be its reference: evenly spread, at most as many as there are."""
    return np.unique(np.linspace(0, num_frames - 1, min(references, num_frames)).round().astype(int))


def cache_latents(folder: DataFolder, settings: LatentSettings, clips: Iterable[dict], vae, image_encoder,
                  *, shown: bool = True) -> None:
    """Encode clips that are in no shard yet. vae, image_encoder: on the device to encode on."""
    cache, tensors, held = LatentCache(folder, settings.target), {}, 0
    clips = list(clips)
    for number, clip in enumerate(tqdm(clips, desc="encoding", unit="clip", disable=not shown), start=1):
        tensors |= {f"{clip['clip']}.{name}": tensor
                    for name, tensor in encoded(folder, settings, clip["clip"], vae, image_encoder).items()}
        held += 1
        if held == CLIPS_PER_SHARD or number == len(clips):
            cache.write(tensors)
            tensors, held = {}, 0


@torch.inference_mode()
def encoded(folder: DataFolder, settings: LatentSettings, clip: str, vae, image_encoder) -> dict[str, Tensor]:
    """The tensors of one clip. The noise on its references depends on its name alone."""
    skeleton = Skeleton.load(folder.skeleton(clip))
    placement = Placement.of(skeleton, tuple(settings.size))
    if settings.target == "poses":
        pictures = draw(placement.skeleton(skeleton), settings.style)                               # (F, H, W, 3)
    else:
        pictures = placement.pictures(read_video(folder.clip(clip))[0])
    chosen = reference_frames(len(pictures), settings.references)
    references = as_tensor(pictures[chosen])                                                        # (K, 3, H, W)
    generator = torch.Generator().manual_seed(int(hashlib.sha256(clip.encode()).hexdigest()[:12], 16))
    noise = torch.randn(references.shape, generator=generator)

    def encode(images: Tensor) -> Tensor:
        return image_latents(vae, images.to(vae.device)).cpu()

    stored = {"latents": in_parts(lambda part: encode(as_tensor(part)), pictures),
              "reference_latents": in_parts(encode, references + settings.noise_aug_strength * noise),
              "embeddings": in_parts(lambda part: image_embeddings(image_encoder, part.to(image_encoder.device)).cpu(),
                                     references)}
    stored = {name: tensor.half().contiguous() for name, tensor in stored.items()}
    for name, tensor in stored.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{clip}: expected finite {name} (found overflow): encode in float32 or bfloat16")
    return stored | {"references": torch.from_numpy(np.ascontiguousarray(pictures[chosen]))}


def in_parts(encode: Callable, pictures: np.ndarray | Tensor) -> Tensor:
    """What `encode` makes of the pictures, a few at a time."""
    return torch.cat([encode(pictures[start:start + PICTURES_PER_RUN])
                      for start in range(0, len(pictures), PICTURES_PER_RUN)])


@dataclass(frozen=True)
class Placement:
    """From a clip's pixels to the canvas: resize to (height, width), then cut out `size` at (top, left)."""

    source: tuple[int, int]     # the clip's (height, width), pixels
    resized: tuple[int, int]    # (height, width), pixels
    corner: tuple[int, int]     # (top, left) in the resized picture, pixels
    size: tuple[int, int]       # the canvas (height, width), pixels

    @classmethod
    def of(cls, skeleton: Skeleton, size: tuple[int, int]) -> Placement:
        """The crop is centred on the body's middle over the whole clip, as far as the picture reaches."""
        resized, _ = cover_geometry(skeleton.size, size)
        places = skeleton.keypoints[:, BODY][skeleton.seen[:, BODY]]                                # (N, 3)
        low, high = np.percentile(places[:, :2], (5, 95), axis=0)
        middle = ((low + high) / 2)[::-1] / skeleton.size                                           # (y, x), shares
        corner = [int(np.clip(round(share * side - length / 2), 0, side - length))
                  for share, side, length in zip(middle, resized, size)]
        return cls(skeleton.size, resized, tuple(corner), tuple(size))

    def pictures(self, frames: np.ndarray) -> np.ndarray:
        """(n, h, w, 3) uint8 to (n, H, W, 3) uint8."""
        how = cv2.INTER_AREA if self.resized[0] < self.source[0] else cv2.INTER_LINEAR
        (top, left), (height, width) = self.corner, self.size
        return np.stack([cv2.resize(frame, self.resized[::-1], interpolation=how)[top:top + height, left:left + width]
                         for frame in frames])

    def skeleton(self, skeleton: Skeleton) -> Skeleton:
        """The poses in canvas pixels; what leaves the canvas keeps its place outside."""
        scale = np.array(self.resized[::-1]) / self.source[::-1]                                    # (x, y)
        return skeleton.with_xy(skeleton.xy * scale - self.corner[::-1], self.size)
