"""One denoising step of all frames: the UNet on every tile, with and without conditions, blended."""
import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from .feature_cache import FeatureCache
from .parallel import ALONE, Processes
from .tiles import Tile, blended
from .unet import PoseUNet

logger = logging.getLogger(__name__)

BLIND, GIVEN = range(0, 1), range(1, 2)  # the halves of classifier-free guidance: nothing known; picture and poses
BOTH = range(0, 2)                       # in one batch


@dataclass(eq=False)
class Denoiser:
    """What all denoising steps of a video share. A call gives the v of all frames, (F, 4, h, w) float32."""
    unet: PoseUNet
    tiles: list[Tile]
    picture: Tensor                      # (1, 4, h, w) VAE latents
    tokens: Tensor                       # (2, 1, 1) no picture, the picture: rows for the cross-attentions
    numbers: Tensor                      # (1, 3) fps - 1, motion bucket, noise augmentation
    pose_features: Tensor                # (F, C0, h, w), on the device or in the CPU's memory
    guidance: Tensor                     # (F, 1, 1, 1)
    guidance_batch: int                  # halves in one call: 2, or 1 for half the activations
    cache: FeatureCache
    processes: Processes = ALONE

    def __call__(self, noisy: Tensor, timestep: Tensor, guided: bool) -> Tensor:
        """noisy: (F, 4, h, w) float32 of unit variance. Out of memory is retried one half of the guidance at a time."""
        calls = [(tile, halves) for tile in range(len(self.tiles)) for halves in self.batches(guided)]
        self.cache.next_step(calls)
        try:
            parts = list(self.processes.map(lambda call: self.predict(*call, noisy, timestep), calls))
        except torch.OutOfMemoryError:
            if not guided or self.guidance_batch == 1:
                raise
            logger.warning("both halves of the guidance in one call ran out of memory: going on with one at a time")
            self.guidance_batch = 1
            return self(noisy, timestep, guided)
        predictions = []
        for number, tile in enumerate(self.tiles):
            halves = torch.cat([part for part, (owner, _) in zip(parts, calls) if owner == number])   # (1 or 2, T, ...)
            if guided:
                without, given = halves
                predictions.append(without + self.guidance[tile.frames] * (given - without))
            else:
                predictions.append(halves[0])
        return blended(predictions, self.tiles, len(noisy))

    def batches(self, guided: bool) -> tuple[range, ...]:
        """The halves that make up a tile, call by call. Processes that would idle share out the halves, too."""
        if not guided:
            return (GIVEN,)
        even = len(self.tiles) % self.processes.count == 0
        return (BOTH,) if self.guidance_batch == 2 and even else (BLIND, GIVEN)

    def predict(self, number: int, halves: range, noisy: Tensor, timestep: Tensor) -> Tensor:
        """The UNet's v of a tile, (len(halves), T, 4, h, w) float32."""
        frames = self.tiles[number].frames
        noise = noisy[frames].to(self.unet.dtype)                             # (T, 4, h, w)
        still = self.picture.expand(len(noise), -1, -1, -1)
        rows = [torch.cat([noise, still if half in GIVEN else torch.zeros_like(still)], dim=1) for half in halves]
        poses = self.posed(frames) if halves[-1] in GIVEN else None           # (T, C0, h, w)
        deep = self.cache.get((number, halves))
        v, fresh = self.unet(torch.stack(rows), timestep, self.tokens[halves.start:halves.stop],
                             self.numbers.expand(len(halves), -1), poses, deep, return_dict=False)
        if deep is None:
            self.cache.put((number, halves), fresh)
        return v.float()

    def posed(self, frames: Tensor) -> Tensor:
        """The pose features of frames (T,), on the device, (T, C0, h, w)."""
        return self.pose_features[frames.to(self.pose_features.device)].to(self.picture.device)
