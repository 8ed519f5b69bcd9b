"""PoseToVideo: a picture and one pose per frame → a video of that person in those poses (MimicMotion, §3).

Every public MimicMotion or SVD checkpoint runs unchanged. Where this leaves the published code: PoseNet and the
cross-attentions run once per video, both halves of the guidance share a call, latents stay float32 between steps,
pixels are rounded. Several processes may make one video together (runtime/processes.py).
"""
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder, AutoencoderTiny, EulerDiscreteScheduler
from torch import nn, Tensor
from transformers import CLIPVisionModelWithProjection

from media.images import as_tensor, check_rgb, check_size
from mimicmotion import image_encoder_folder
from mimicmotion.checkpoint import load_image_encoder, load_scheduler, load_vae, load_video_model, refuse_other_width
from mimicmotion.detail import KnownDetail
from mimicmotion.diffusion import ALL_LEVELS, check_schedule, Denoiser, guided_levels, mixed_noise, NO_LEVELS, scheduled, Tile, tile_ranges
from mimicmotion.latents import added_time_ids, decoded_windows, image_embeddings, image_latents, moved_latents
from mimicmotion.networks import PoseNet, PoseUNet, size_multiple
from mimicmotion.savings import cached_cross_attention, FeatureCache, is_zero_initialised, spatial_only
from runtime.cpu_layers import faster_on_cpu
from runtime.processes import ALONE, Processes
from runtime.progress import Steps

POSES_AT_ONCE = 16                                                            # frames per PoseNet call


@dataclass(frozen=True, eq=False, repr=False)
class PoseToVideo:
    """The networks of one video model. The skeleton adapter is the same with other weights."""
    unet: PoseUNet
    pose_net: PoseNet
    vae: AutoencoderKLTemporalDecoder
    image_encoder: CLIPVisionModelWithProjection
    scheduler: EulerDiscreteScheduler

    @classmethod
    def load(cls, svd: str | Path, checkpoint: str | Path | None = None, device: str | torch.device = "cpu",
             dtype: torch.dtype = torch.float32) -> "PoseToVideo":
        """From an SVD folder and a checkpoint: our folder, a .safetensors, MimicMotion's .pth, or None (plain SVD).

        A checkpoint folder may bring its own image encoder. dtype is for weights and arithmetic: float16 on a GPU;
        bfloat16 is the fastest on a CPU that has it.
        """
        svd = Path(svd)
        unet, pose_net = load_video_model(svd, checkpoint, dtype)
        image_encoder = load_image_encoder(image_encoder_folder(svd, checkpoint), dtype)
        refuse_other_width(unet, image_encoder, checkpoint or svd)
        modules = unet, pose_net, load_vae(svd / "vae", dtype), image_encoder
        return cls(*(module.to(device) for module in modules), load_scheduler(svd / "scheduler"))

    def compile(self, **options) -> None:
        """Let torch.compile fuse the UNet, whole: the first steps of a run take minutes, the rest less than before."""
        self.unet.compile(fullgraph=True, **options)

    def __call__(self, image: np.ndarray, poses: np.ndarray, generator: torch.Generator, *,
                 reference_pose: np.ndarray | None = None, decode_chunk_size: int = 8,
                 decode_overlap: int | None = None, tiles: str = "published", progress: bool = True,
                 processes: Processes = ALONE, show: Callable[[np.ndarray], None] | None = None,
                 moved: Tensor | None = None, tiny_vae: AutoencoderTiny | None = None, detail: KnownDetail | None = None,
                 **sampling) -> np.ndarray:
        """The video, (F, H, W, 3) uint8. image: (H, W, 3), poses: (F, H, W, 3), uint8 RGB; `sampling` as in `sample`.

        reference_pose: (H, W, 3), the pose drawn for the picture itself. MimicMotion puts it first, where every tile
        shares it, and does not return its frame. Without it the first pose has that part, and its frame is returned.
        decode_overlap: frames decoded twice and blended where chunks meet; None is 0 for published tiles (as published)
        and a quarter of the chunk otherwise. show: is given finished frames (K, H, W, 3),
        in order, while later ones are decoded. moved: for each pose, the reference's first, as in `sample`. tiny_vae: decodes in the
        VAE's place, many times faster and less exactly. detail: of the moved picture, which then completes the frames.
        """
        if reference_pose is not None:
            poses = np.concatenate([reference_pose[None], poses])
        if decode_overlap is None:
            decode_overlap = 0 if tiles == "published" else decode_chunk_size // 4
        latents = self.sample(image, poses, generator, moved=moved, tiles=tiles, progress=progress, processes=processes, **sampling)
        made, unseen = [], 0 if reference_pose is None else 1                 # leading frames to leave out
        if detail is not None:
            latents, unseen = detail.parts(latents[unseen:]), 0
        for window in decoded_windows(tiny_vae or self.vae, latents, decode_chunk_size, decode_overlap, progress, processes):
            frames, unseen = window[unseen:].numpy(), 0                       # (K, H, W, 3)
            made.append(detail.completed(frames, sum(map(len, made))) if detail else frames)
            if show is not None:
                show(made[-1])
        return np.concatenate(made)

    @torch.no_grad()
    def sample(self, image: np.ndarray, poses: np.ndarray, generator: torch.Generator, *,
               moved: Tensor | None = None,                             # (F, 4, h, w) `moved_latents`; None: the picture, where it stands
               num_inference_steps: int = 25,                           # denoising steps
               schedule: str = "karras",                                # their noise levels: karras, align_your_steps
               guidance_scale: float | tuple[float, float] = 2.0,       # or (first, last frame's); up to 1 is none
               guidance_interval: tuple[float, float] = ALL_LEVELS,     # noise levels it is on at: above, up to
               guidance_batch: int = 2,                                 # its halves in one call, or 1 after the other
               noise_aug_strength: float = 0.0,                         # noise on the picture, of pixels in [-1, 1]
               noise_sharing: float = 0.0,                              # share of the noise common to all frames
               tile_size: int = 72, tile_overlap: int = 6,              # frames
               tiles: str = "published", max_tile: int | None = None,   # see tile_ranges
               feature_cache: int = 1,                                  # steps that share deep features; 1: exact
               fps: int = 7, motion_bucket_id: int = 127,               # what the network is told
               progress: bool = True, processes: Processes = ALONE) -> Tensor:
        """Latents (F, 4, h, w) float32, the same in all processes.

        The generator is drawn from twice: noise for the picture (also when its strength is 0), then for the latents of
        one tile, which all tiles repeat.
        """
        self.check_frames(image, poses)
        self.check_moved(moved, len(poses))
        check_schedule(num_inference_steps, schedule, guidance_interval)
        ranges = tile_ranges(len(poses), tile_size, tile_overlap, tiles, max_tile)
        scheduler = scheduled(self.scheduler, num_inference_steps, schedule, self.device)
        guidance = self.guidance(guidance_scale, len(poses))                  # (F, 1, 1, 1)
        pixels = self.pixels(image[None])                                     # (1, 3, H, W)
        pixels_noise = self.noise(pixels.shape, generator)
        picture = image_latents(self.vae, pixels + noise_aug_strength * pixels_noise)
        embedding = image_embeddings(self.image_encoder, pixels)              # (1, 1, D)
        numbers = added_time_ids(fps, motion_bucket_id, noise_aug_strength).to(self.device)
        pose_features = self.pose_features(poses)                             # (F, C0, h, w)
        noise = self.noise((min(tile_size, len(poses)), *picture.shape[1:]), generator)
        noise = mixed_noise(noise, noise_sharing)                             # (T, 4, h, w)
        repeats = -(-len(poses) // len(noise))
        latents = noise.repeat(repeats, 1, 1, 1)[:len(poses)] * scheduler.init_noise_sigma
        if self.unet.takes_moved_picture:
            moved = picture.expand_as(latents) * self.vae.config.scaling_factor if moved is None else moved.to(picture)
            picture = torch.cat([picture.expand_as(moved), moved], dim=1)     # (F, 8, h, w)
        guided = guided_levels(scheduler.sigmas[:-1], guidance_interval if guidance.max() > 1 else NO_LEVELS)
        with (spatial_only(self.unet, when=is_zero_initialised), faster_on_cpu(self.unet, self.device),
              cached_cross_attention(self.unet, torch.cat([torch.zeros_like(embedding), embedding])) as tokens):
            denoise = Denoiser(self.unet, [Tile.of(frames, self.device) for frames in ranges], picture, tokens, numbers,
                               pose_features, guidance, guidance_batch, FeatureCache(feature_cache), processes)
            for timestep, with_guidance in zip(Steps(scheduler.timesteps, desc="denoising", unit="step",
                                                     dynamic_ncols=True, disable=not progress), guided):
                noisy = scheduler.scale_model_input(latents, timestep)        # (F, 4, h, w)
                v = denoise(noisy, timestep, with_guidance)
                latents = scheduler.step(v, timestep, latents).prev_sample
                if not latents.isfinite().all():
                    raise ValueError(f"latents: expected finite values (found inf or NaN at noise step {timestep:.3f}, "
                                     f"{self.dtype}): try float32; if that fails too the weights are damaged")
        return latents + moved.float() if self.unet.takes_moved_picture else latents

    def guidance(self, scale: float | tuple[float, float], num_frames: int) -> Tensor:
        """Guidance per frame, (F, 1, 1, 1)."""
        first, last = scale if isinstance(scale, (tuple, list)) else (scale, scale)
        return torch.linspace(first, last, num_frames, device=self.device)[:, None, None, None]

    def pose_features(self, poses: np.ndarray) -> Tensor:
        """PoseNet's features of all pose frames, (F, C0, h, w) on `features_device`; a few frames at a time."""
        features = None
        for start in range(0, len(poses), POSES_AT_ONCE):
            some = self.pose_net(self.pixels(poses[start:start + POSES_AT_ONCE]).to(self.dtype))      # (N, C0, h, w)
            if features is None:
                features = torch.empty((len(poses), *some.shape[1:]), dtype=some.dtype, device=self.features_device)
            features[start:start + len(some)] = some
        return features

    def moved_latents(self, image: np.ndarray, moved: np.ndarray, tiny_vae: AutoencoderTiny | None) -> Tensor:
        """What `sample` is told of the picture (H, W, 3) moved into each pose, (F, H, W, 3) uint8 → (F, 4, h, w): `latents.moved_latents`."""
        return moved_latents(self.vae, self.pixels(image[None]), self.pixels(moved), tiny_vae)

    def check_moved(self, moved: Tensor | None, num_frames: int) -> None:
        """Refuse moved pictures for weights that do not take them, and fewer or more than there are poses."""
        wanted = num_frames if self.unet.takes_moved_picture else 0
        if moved is not None and len(moved) != wanted:
            raise ValueError(f"moved: expected {wanted} moved pictures, as these weights take for {num_frames} poses (found {len(moved)})")

    def pixels(self, frames: np.ndarray) -> Tensor:
        """(N, H, W, 3) uint8 → (N, 3, H, W) float32 in [-1, 1] on the device."""
        return as_tensor(frames, self.device)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Standard normal float32 numbers, drawn where the generator lives: a CPU seed means the same on every GPU."""
        return torch.randn(shape, generator=generator, device=generator.device).to(self.device)

    def check_frames(self, image: np.ndarray, poses: np.ndarray) -> None:
        """Refuse frames the networks cannot take, and say which size they can."""
        check_rgb(image, poses)
        height, width = size = poses.shape[1:3]
        if image.shape[:2] != size:
            raise ValueError(f"image: expected the poses' size {height}x{width} "
                             f"(found {image.shape[0]}x{image.shape[1]}): use fit_to_canvas")
        check_size(size, size_multiple(self.vae.config, self.unet.config))

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return self.unet, self.pose_net, self.vae, self.image_encoder

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def features_device(self) -> torch.device:
        """Where pose features are between the steps of their tiles."""
        return self.device

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype
