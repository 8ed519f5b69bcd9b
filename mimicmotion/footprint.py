"""How many bytes a pose-to-video run takes, found out before anything is loaded.

The networks are built from their configs and run on torch's meta device, where tensors have shapes but no memory, while
the bytes of all live tensors are counted: the count follows whatever the networks do, and takes about a second. Needs
grow in proportion to frames, so two frames are run and the rest is multiplication.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import nn, Tensor
from transformers import CLIPVisionModelWithProjection

from media.files import read_json
from mimicmotion.checkpoint import clip_vision
from mimicmotion.latents import decode_window
from mimicmotion.networks import PoseNet, PoseUNet
from mimicmotion.sampling import BOTH, Denoiser, CONDITIONAL, Tile
from mimicmotion.savings import FeatureCache, feed_forward_in_parts, cached_cross_attention
from runtime.memory import FRAMES, LATENTS_KEPT, NetworkFootprint, peak_bytes
from runtime.weights import empty


@dataclass(frozen=True, eq=False)
class Footprint(NetworkFootprint):
    """Bytes of the parts of a run of one video model, in one dtype."""
    unet: PoseUNet
    pose_net: PoseNet
    vae: AutoencoderKLTemporalDecoder
    image_encoder: CLIPVisionModelWithProjection
    size: tuple[int, int]            # height, width of a frame, pixels
    _tiles: dict[tuple[int, int], float] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, svd: str | Path, checkpoint: str | Path | None, size: tuple[int, int], dtype: torch.dtype) -> Footprint:
        """Of what `PoseToVideo.load` would load; reads config.json files only."""
        svd, own = Path(svd), Path(checkpoint or svd)
        unet_folder = own if checkpoint and own.is_dir() else svd / "unet"
        encoder_folder = (own if (own / "image_encoder").is_dir() else svd) / "image_encoder"
        unet = empty(PoseUNet.from_config, read_json(unet_folder / "config.json"), unet_folder)
        pose_net = empty(lambda config: PoseNet(config["block_out_channels"][0]), unet.config, unet_folder)
        vae = empty(AutoencoderKLTemporalDecoder.from_config, read_json(svd / "vae" / "config.json"), svd / "vae")
        clip = empty(clip_vision, read_json(encoder_folder / "config.json"), encoder_folder)
        networks = (nn.Module.to(module, "meta", dtype).eval() for module in (unet, pose_net, vae, clip))
        return cls(*networks, size)

    @cached_property
    def latents_frame(self) -> int:
        """A frame's latents, kept while the video is denoised."""
        return LATENTS_KEPT * self.unet.config.out_channels * 4 * self.latent_size[0] * self.latent_size[1]

    @cached_property
    def features_frame(self) -> int:
        """A frame's pose features."""
        channels = self.unet.config.block_out_channels[0]
        return channels * self.unet.dtype.itemsize * self.latent_size[0] * self.latent_size[1]

    @cached_property
    def deep_frame(self) -> int:
        """A frame's deep features, which a feature cache keeps for every tile it is in and both halves of guidance."""
        channels = self.unet.config.block_out_channels[:2][-1]
        return channels * self.latent_size[0] * self.latent_size[1] * self.unet.dtype.itemsize

    def tile(self, num_frames: int, branches: int, parts: int) -> int:
        """Denoising one tile. branches: halves of the guidance in one call; parts: of each feed-forward layer."""
        if (branches, parts) not in self._tiles:
            with feed_forward_in_parts(self.unet, parts):
                self._tiles[branches, parts] = self.denoised(branches, partial(peak_bytes, self.unet)) / FRAMES
        return int(self._tiles[branches, parts] * num_frames)

    def decoded(self, latents: Tensor) -> Tensor:
        return decode_window(self.vae, latents)

    def denoised(self, branches: int, measure: Callable[..., int]) -> int:
        """measure(run, *given) of denoising FRAMES frames."""
        config, size, made = self.unet.config, self.latent_size, self.made
        kept = made(FRAMES, config.block_out_channels[0], *size)                       # the pose features of all frames
        noisy = made(FRAMES, config.out_channels, *size, dtype=torch.float32)
        picture = made(1, config.out_channels, *size)
        tile = Tile.of(list(range(FRAMES)), torch.device("meta"))
        with cached_cross_attention(self.unet, made(2, 1, config.cross_attention_dim)) as tokens:
            denoiser = Denoiser(self.unet, [tile], picture, tokens, made(1, 3), kept, made(FRAMES, 1, 1, 1), branches,
                                FeatureCache(1))
            halves = BOTH if branches == 2 else CONDITIONAL
            return measure(lambda noisy, *_: denoiser.predict(0, halves, noisy, made()), noisy, kept, picture, tokens)

    @cached_property
    def decoded_frame(self) -> float:
        """Decoding, per frame of a chunk."""
        latents = self.made(FRAMES, self.vae.config.latent_channels, *self.latent_size, dtype=torch.float32)
        return peak_bytes(self.vae, self.decoded, latents) / FRAMES

    @cached_property
    def embedding(self) -> int:
        """The image encoder on the picture, which is first blurred at its own size, in float32."""
        side = self.image_encoder.config.image_size
        pixels = self.made(1, 3, side, side)
        return max(peak_bytes(self.image_encoder, lambda: self.image_encoder(pixel_values=pixels)), 4 * 3 * 4 * self.size[0] * self.size[1])

    @cached_property
    def posed_frame(self) -> float:
        """PoseNet, per frame it is given at once, which also arrives in float32."""
        frames = self.made(FRAMES, 3, *self.size)
        return peak_bytes(self.pose_net, lambda: self.pose_net(frames)) / FRAMES + 3 * 4 * self.size[0] * self.size[1]
