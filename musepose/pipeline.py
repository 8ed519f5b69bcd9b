"""MusePose: a picture and one pose per frame -> a video of that person in those poses.

The same latents as the published pipeline at two thirds of its arithmetic. Where this leaves it: predictions are averaged
over windows also without guidance, latents and reference features keep the run's precision, pixels are rounded.
Several processes may make one video together.
Its noise is DDIM's with a zero terminal signal (Lin et al. 2024); windows of frames are denoised together.
"""
from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from einops import rearrange
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import CLIPVisionModelWithProjection

from media.images import check_rgb, check_size, for_clip
from musepose.checkpoint import load_image_encoder, load_networks, load_saved_networks, load_vae, Networks, WeightFiles
from musepose.networks import Context, Denoiser, MAX_WINDOW, PoseGuider, ReferenceNet
from musepose import MIN_SNR_GAMMA
from runtime.cpu_layers import faster_on_cpu
from runtime.memory import keep_idle_on_cpu
from runtime.processes import ALONE, Processes
from runtime.progress import Steps

log = logging.getLogger(__name__)

# --------------------------------------------------------------------------------------------------- noise and windows

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
         "steps_offset": 1, "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
         "timestep_spacing": "trailing"}


def scheduler(num_inference_steps: int | None = None, **changes) -> DDIMScheduler:
    """The published scheduler; changes: of `NOISE`, as in the YAML's noise_scheduler_kwargs."""
    found = DDIMScheduler(**NOISE | changes)
    if found.config.prediction_type != "v_prediction":
        raise ValueError("prediction_type: expected v_prediction, which MusePose was trained for "
                         f"(found {found.config.prediction_type!r}): leave it out")
    if num_inference_steps is not None:
        if not 1 <= num_inference_steps <= found.config.num_train_timesteps:
            raise ValueError(f"num_inference_steps: expected 1 to {found.config.num_train_timesteps} "
                             f"(found {num_inference_steps}): 20 is usual")
        found.set_timesteps(num_inference_steps)
    return found


def min_snr_weight(timesteps: Tensor, alphas_cumprod: Tensor, gamma: float = MIN_SNR_GAMMA) -> Tensor:
    """Weight of each sample's squared v error, (B,): min(SNR + 1, gamma) / (SNR + 1).

    Where it is not that of Hang et al. 2023 (min(SNR, gamma) / (SNR + 1)): so without signal the weight is 1, not 0.
    """
    alpha = alphas_cumprod.to(timesteps.device)[timesteps]
    snr = alpha / (1 - alpha)
    return (snr + 1).clamp(max=gamma) / (snr + 1)


# ---------------------------------------------------------------------- windows (AnimateDiff's uniform contexts)

def check_windows(size: int, overlap: int, stride: int = 1) -> None:
    """Refuse windows that leave frames without a prediction."""
    if not 1 <= size <= MAX_WINDOW:
        raise ValueError(f"window: expected 1 to {MAX_WINDOW} frames, which MusePose's motion modules know "
                         f"(found {size}): 48 is what it was trained on")
    if not 0 <= overlap < size:
        raise ValueError(f"window_overlap: expected 0 to window - 1 = {size - 1} (found {overlap}): 4 is usual")
    if stride < 1:
        raise ValueError(f"window_stride: expected at least 1 (found {stride})")


def frame_windows(num_frames: int, size: int, overlap: int, stride: int = 1) -> list[list[int]]:
    """The frames of each window. The last one goes on at frame 0 where the video ends within it.

    stride k: further windows over every 2nd, 4th, ... frame, k - 1 times as long as the video is so long.
    """
    check_windows(size, overlap, stride)
    if num_frames <= size:
        return [list(range(num_frames))]
    passes = min(stride, math.ceil(math.log2(num_frames / size)) + 1)
    steps = [2 ** number for number in range(passes)]
    return [[frame % num_frames for frame in range(start, start + size * step, step)]
            for step in steps for start in range(0, num_frames - overlap, size * step - overlap)]


def padded_length(num_frames: int, size: int, overlap: int) -> int:
    """Frames that windows cover exactly; the published code fills up to them by repeating the last pose."""
    return overlap + max(0, math.ceil((num_frames - overlap) / (size - overlap))) * (size - overlap)


def averaged(predictions: Sequence[Tensor], windows: Sequence[list[int]], num_frames: int) -> Tensor:
    """The mean of what the windows (T, 4, h, w) say of each frame, (F, 4, h, w), summed in the order of the windows."""
    total = predictions[0].new_zeros(num_frames, *predictions[0].shape[1:])
    count = total.new_zeros(num_frames, 1, 1, 1)
    for prediction, window in zip(predictions, windows):
        frames = torch.tensor(window, device=total.device)
        total.index_add_(0, frames, prediction)
        count.index_add_(0, frames, count.new_ones(len(window), 1, 1, 1))
    return total / count


# ------------------------------------------------------------------------------------------------------------ pipeline

POSES_AT_ONCE = 1                                # frames per call of the pose guider: it works at full resolution
UNCONDITIONAL, CONDITIONAL = (0, None), (1, 0)                 # the halves of guidance: row of the tokens, row of the reference features


@dataclass(frozen=True, eq=False, repr=False)
class MusePose:
    """The networks of one MusePose model."""
    denoiser: Denoiser
    reference_net: ReferenceNet
    pose_guider: PoseGuider
    vae: AutoencoderKL
    image_encoder: CLIPVisionModelWithProjection

    @classmethod
    def load(cls, weights: str | Path | WeightFiles, device: str | torch.device = "cpu",
             dtype: torch.dtype = torch.float32, networks: str | Path | None = None, offload: bool = False) -> MusePose:
        """From the official folder or its files. networks: our folder with denoiser, reference network and pose guider.

        dtype is for weights and arithmetic: float16 on a GPU. offload: networks wait in the CPU's memory until they are
        called; the pose guider, 2 MB, stays on the device and names it.
        """
        files = weights if isinstance(weights, WeightFiles) else WeightFiles.of(weights)
        trained = load_networks(files, dtype) if networks is None else load_saved_networks(networks, dtype)
        model = cls.of(trained, load_vae(files.pretrained_vae, dtype), load_image_encoder(files.image_encoder, dtype),
                       str(files.image_encoder))
        if not offload:
            return model.to(device)
        model.pose_guider.to(device)
        keep_idle_on_cpu([model.image_encoder, model.vae, model.reference_net, model.denoiser], torch.device(device))
        return model

    @classmethod
    def of(cls, networks: Networks, vae: AutoencoderKL, image_encoder: CLIPVisionModelWithProjection,
           source: str = "image_encoder") -> MusePose:
        """From networks in memory. source: where the image encoder is from, for messages."""
        wanted, found = networks.denoiser.config.cross_attention_dim, image_encoder.config.projection_dim
        if wanted != found:
            raise ValueError(f"{source}: expected an image encoder that gives {wanted} numbers, as the denoiser takes "
                             f"(found {found}): use the one of the official folder")
        halvings = len(networks.pose_guider.blocks) // 2
        if halvings != len(vae.config.block_out_channels) - 1:
            raise ValueError(f"pose guider: expected features of the VAE's size, 1/{2 ** (len(vae.config.block_out_channels) - 1)} "
                             f"of the picture's (found 1/{2 ** halvings}): use weights that belong together")
        return cls(networks.denoiser, networks.reference_net, networks.pose_guider, vae, image_encoder)

    def to(self, device: str | torch.device) -> MusePose:
        """The same on a device."""
        return MusePose(*(network.to(device) for network in vars(self).values()))

    def __call__(self, image: np.ndarray, poses: np.ndarray, generator: torch.Generator, *, size: tuple[int, int],
                 output_size: tuple[int, int] | None = None, decode_chunk_size: int = 8, progress: bool = True,
                 processes: Processes = ALONE, show: Callable[[np.ndarray], None] | None = None, **sampling) -> np.ndarray:
        """The video, (F, H, W, 3) uint8. image: (H, W, 3), poses: (F, H, W, 3), uint8 RGB of any size; `sampling` as in
        `sample`.

        size: (height, width) the networks work at; output_size: of the video, None for the same. show: is given
        finished frames (K, H, W, 3) in order.
        """
        latents = self.sample(image, poses, generator, size=size, progress=progress, processes=processes, **sampling)
        made = []
        for chunk in self.decoded(latents, decode_chunk_size, output_size, progress, processes):
            made.append(chunk)
            if show is not None:
                show(chunk)
        return np.concatenate(made)

    @torch.no_grad()
    def sample(self, image: np.ndarray, poses: np.ndarray, generator: torch.Generator, *, size: tuple[int, int],
               num_inference_steps: int = 20,                           # DDIM steps
               guidance_scale: float = 3.5,                             # up to 1 is none
               guidance_batch: int = 2,                                 # its halves in one call, or 1 after the other
               window: int = 48, window_overlap: int = 4,               # frames
               window_stride: int = 1,                                  # see frame_windows
               pad: bool = True,                                        # repeat the last pose until windows fit, as published
               reference_dtype: torch.dtype | None = None,              # None: the run's; published: float16 always
               noise_scheduler: dict | None = None,                     # changes of the scheduler
               progress: bool = True, processes: Processes = ALONE) -> Tensor:
        """Latents (F, 4, h, w) float32, the same in all processes. The generator is drawn from once, for the noise."""
        check_rgb(image, poses)
        check_size(size, self.shrink)
        check_windows(window, window_overlap, window_stride)
        ddim = scheduler(num_inference_steps, **noise_scheduler or {})
        num_frames = padded_length(len(poses), window, window_overlap) if pad else len(poses)
        latents = self.noise(num_frames, size, generator)                     # (F, 4, h, w)
        features = self.pose_features(poses, size, processes)                 # (F, C0, h, w)
        if num_frames > len(poses):
            features = torch.cat([features, features[-1:].expand(num_frames - len(poses), -1, -1, -1)])
        denoise = WindowedDenoiser(self.denoiser, frame_windows(num_frames, window, window_overlap, window_stride),
                                   self.context(image, size, reference_dtype), features,
                                   guidance_scale, guidance_batch, processes)
        with faster_on_cpu(self.denoiser, self.device):
            for timestep in Steps(ddim.timesteps, desc="denoising", unit="step", dynamic_ncols=True, disable=not progress):
                latents = ddim.step(denoise(latents, timestep), timestep, latents).prev_sample
                if not latents.isfinite().all():
                    raise ValueError(f"latents: expected finite values (found inf or NaN at timestep {int(timestep)}, "
                                     f"{self.dtype}): try float32; if that fails too the weights are damaged")
        return latents[:len(poses)]

    def noise(self, num_frames: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Standard normal float32 numbers, (F, 4, h, w), in the order of the published pipeline's draw."""
        shape = (1, self.denoiser.config.in_channels, num_frames, *self.latent_size(size))
        drawn = torch.randn(shape, generator=generator, device=generator.device)
        return rearrange(drawn, "1 c f h w -> f c h w").contiguous().to(self.device)

    @torch.no_grad()
    def context(self, image: np.ndarray, size: tuple[int, int], reference_dtype: torch.dtype | None = None) -> Context:
        """What all frames attend to, of the picture (H, W, 3): no token and its token, and its features."""
        token = self.tokens(image[None])                                      # (1, 1, D)
        features = self.reference_net(self.picture_latents(image[None], size), token)
        if reference_dtype is not None:
            features = {name: found.to(reference_dtype).to(self.dtype) for name, found in features.items()}
        return Context(torch.cat([torch.zeros_like(token), token]), (), features)

    @torch.no_grad()
    def tokens(self, images: np.ndarray) -> Tensor:
        """The image encoder's token of pictures (N, H, W, 3) uint8, (N, 1, D)."""
        pixels = clip_pixels(images, self.image_encoder.config.image_size).to(self.device, self.dtype)
        return self.image_encoder(pixel_values=pixels).image_embeds[:, None]

    @torch.no_grad()
    def picture_latents(self, images: np.ndarray, size: tuple[int, int]) -> Tensor:
        """The VAE's mean latents of pictures (N, H, W, 3) uint8, scaled, (N, 4, h, w)."""
        pixels = picture_pixels(images, size).to(self.device, self.vae.dtype)
        return self.vae.encode(pixels).latent_dist.mean.to(self.dtype) * self.vae.config.scaling_factor

    @torch.no_grad()
    def pose_features(self, poses: np.ndarray, size: tuple[int, int], processes: Processes = ALONE) -> Tensor:
        """The pose guider's features of pose frames (F, H, W, 3) uint8, (F, C0, h, w); a few frames at a time."""
        work = lambda start: self.pose_guider(pose_pixels(poses[start:start + POSES_AT_ONCE], size).to(self.device, self.dtype)).float()
        starts = range(0, len(poses), POSES_AT_ONCE)
        return torch.cat([made.to(self.dtype) for made in processes.gathered(work, starts)])

    @torch.no_grad()
    def decoded(self, latents: Tensor, chunk_size: int = 8, output_size: tuple[int, int] | None = None,
                progress: bool = False, processes: Processes = ALONE) -> Iterator[np.ndarray]:
        """(F, 4, h, w) latents -> uint8 frames (K, H, W, 3), in order; frames do not mix, so chunks leave no borders.

        Where memory runs out it goes on from there with half the chunk.
        """
        with Steps(total=len(latents), desc="decoding", unit="frame", dynamic_ncols=True, disable=not progress) as bar:
            done = 0
            while done < len(latents):
                work = lambda chunk: self.decoded_pixels(chunk, output_size)
                try:
                    for pixels in processes.map(work, latents[done:].split(chunk_size)):
                        yield rearrange((pixels * 255).round().byte(), "f c h w -> f h w c").cpu().numpy()
                        done += len(pixels)
                        bar.update(len(pixels))
                except torch.OutOfMemoryError:
                    if chunk_size == 1:
                        raise
                    chunk_size //= 2
                    log.warning("decoding ran out of memory: going on with %d frames at once", chunk_size)

    def decoded_pixels(self, latents: Tensor, output_size: tuple[int, int] | None = None) -> Tensor:
        """(K, 4, h, w) latents -> (K, 3, H, W) float32 in [0, 1], at output_size (height, width) if given."""
        pixels = self.vae.decode((latents / self.vae.config.scaling_factor).to(self.vae.dtype)).sample
        if not pixels.isfinite().all():
            raise ValueError(f"frames: expected finite values from the VAE (found inf or NaN, {self.vae.dtype}): try float32; if "
                             "that fails too its weights are damaged")
        pixels = (pixels.float() / 2 + 0.5).clamp(0, 1)
        if output_size is None or output_size == tuple(pixels.shape[-2:]):
            return pixels
        return functional.interpolate(pixels, size=output_size, mode="bilinear", align_corners=False)

    @property
    def shrink(self) -> int:
        """Pixels per latent, each way."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    def latent_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the latents of pictures of this size."""
        return size[0] // self.shrink, size[1] // self.shrink

    @property
    def device(self) -> torch.device:
        return self.pose_guider.conv_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.denoiser.dtype


@dataclass(eq=False)
class WindowedDenoiser:
    """What all denoising steps of a video share. A call gives the v of all frames, (F, 4, h, w) float32."""
    denoiser: Denoiser
    windows: list[list[int]]
    context: Context
    pose_features: Tensor                # (F, C0, h, w)
    guidance_scale: float
    guidance_batch: int                  # halves in one call: 2, or 1 for half the activations
    processes: Processes = ALONE

    def __call__(self, noisy: Tensor, timestep: Tensor) -> Tensor:
        """noisy: (F, 4, h, w) float32. Out of memory is retried one half of the guidance at a time."""
        batches = self.batches()
        calls = [(window, halves) for halves in batches for window in self.windows]      # alike side by side: reading takes longer
        try:
            parts = torch.cat(self.processes.gathered(lambda call: self.predict(*call, noisy, timestep), calls))
        except torch.OutOfMemoryError:
            if not self.guided or self.guidance_batch == 1:
                raise
            log.warning("both halves of the guidance in one call ran out of memory: going on with one at a time")
            return replace(self, guidance_batch=1)(noisy, timestep)
        by_call = parts.unflatten(0, (len(batches), len(self.windows), -1))                # (calls, W, halves of a call, T, 4, h, w)
        return self.guide(by_call.transpose(0, 1).flatten(1, 2), len(noisy))

    def guide(self, predictions: Tensor, num_frames: int) -> Tensor:
        """The guided mean of predictions (W, halves, T, 4, h, w), (F, 4, h, w)."""
        means = [averaged(of_half, self.windows, num_frames) for of_half in predictions.unbind(1)]
        return means[0] if len(means) == 1 else means[0] + self.guidance_scale * (means[1] - means[0])

    def batches(self) -> tuple[tuple, ...]:
        """The halves that make up a window, call by call. Processes that would idle share out the halves, too."""
        if not self.guided:
            return ((CONDITIONAL,),)
        even = len(self.windows) % self.processes.count == 0
        return ((UNCONDITIONAL, CONDITIONAL),) if self.guidance_batch == 2 and even else ((UNCONDITIONAL,), (CONDITIONAL,))

    def predict(self, window: list[int], halves: tuple, noisy: Tensor, timestep: Tensor) -> Tensor:
        """The denoiser's v of a window, (len(halves), T, 4, h, w) float32."""
        given = noisy[window].to(self.denoiser.dtype).expand(len(halves), -1, -1, -1, -1)
        context = self.context.of(*zip(*halves))
        in_order = window == list(range(window[0], window[-1] + 1))
        poses = self.pose_features[window[0]:window[-1] + 1] if in_order else self.pose_features[window]
        return self.denoiser(given, timestep.to(noisy.device), poses, context).float()

    @property
    def guided(self) -> bool:
        return self.guidance_scale > 1


# -------------------------------------------------------------- pixels: Pillow resizes, as in the published code

def resized(frames: np.ndarray, size: tuple[int, int], filter: int = Image.Resampling.LANCZOS) -> np.ndarray:
    """Frames (N, H, W, 3) uint8 at `size` (height, width), their aspect not kept."""
    if frames.shape[1:3] == size:
        return frames
    return np.stack([np.asarray(Image.fromarray(frame).resize(size[::-1], filter)) for frame in frames])


def as_shares(frames: np.ndarray) -> Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 1).float() / 255


def picture_pixels(images: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Pictures for the VAE, (N, 3, *size) float32 in [-1, 1]."""
    return as_shares(resized(images, size)) * 2 - 1


def pose_pixels(poses: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Pose frames for the pose guider, (N, 3, *size) float32 in [0, 1]."""
    return as_shares(resized(poses, size))


def clip_pixels(images: np.ndarray, side: int = 224) -> Tensor:
    """Pictures for CLIP's image encoder, (N, 3, side, side): squashed to a square, normalised."""
    return for_clip(as_shares(resized(images, (side, side), Image.Resampling.BICUBIC)))
