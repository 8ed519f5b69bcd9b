"""Pictures to what the UNet is told about them, and latents back to frames."""
import logging
from collections.abc import Iterable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from diffusers.models.resnet import SpatioTemporalResBlock
from einops import rearrange
from torch import Tensor

from media.images import for_clip
from mimicmotion.savings import is_zero_initialised, spatial_only
from runtime.cpu_layers import faster_on_cpu
from runtime.processes import ALONE, Processes
from runtime.progress import Steps

log = logging.getLogger(__name__)

STILL = 2 / 127.5                                 # of pixels in [-1, 1]: two levels of 8 bits
AROUND = 1                                        # latent around what moves

Box = tuple[slice, slice]                         # rows and columns


def gaussian_kernel(num_taps: int, sigma: float) -> Tensor:
    """A normalised Gaussian of `num_taps` (odd) taps."""
    x = torch.arange(num_taps, dtype=torch.float32) - num_taps // 2
    weights = torch.exp(-x**2 / (2 * sigma**2))
    return weights / weights.sum()                                            # (num_taps,)


def blur_and_resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Squash to `size` (height, width) as SVD does: Gaussian low-pass, then bicubic, corners aligned; overshoots."""
    channels = images.shape[1]
    kernels = []
    for length, target in zip(images.shape[-2:], size):
        sigma = max((length / target - 1) / 2, 0.001)
        kernels.append(gaussian_kernel(int(max(4 * sigma, 3)) | 1, sigma).to(images))
    rows, columns = (kernel.expand(channels, 1, -1) for kernel in kernels)    # (3, 1, taps)
    pad_y, pad_x = rows.shape[-1] // 2, columns.shape[-1] // 2
    images = F.pad(images, (pad_x, pad_x, pad_y, pad_y), mode="reflect")
    images = F.conv2d(images, columns[:, :, None], groups=channels)           # (B, 3, H + 2 pad_y, W)
    images = F.conv2d(images, rows[..., None], groups=channels)               # (B, 3, H, W)
    return F.interpolate(images, size=size, mode="bicubic", align_corners=True)


def clip_pixels(images: Tensor, image_size: int) -> Tensor:
    """Pictures as the CLIP image encoder wants them: (B, 3, image_size, image_size), normalised."""
    return for_clip(blur_and_resize(images, (image_size, image_size)) * 0.5 + 0.5)


def image_embeddings(image_encoder, images: Tensor) -> Tensor:
    """CLIP embeddings (B, 1, D) of pictures, at the encoder's own picture size (224 in the official weights)."""
    pixels = clip_pixels(images.float(), image_encoder.config.image_size)     # (B, 3, s, s)
    return image_encoder(pixel_values=pixels.to(image_encoder.dtype)).image_embeds[:, None]


def image_latents(vae, images: Tensor) -> Tensor:
    """VAE mode (B, 4, h, w) of pictures, *not* multiplied by the VAE's scaling factor: SVD conditions on it so.

    Noise augmentation, where wanted, is added to the pixels before (MimicMotion: also before the VAE).
    """
    return vae.encode(images.to(vae.dtype)).latent_dist.mode()


def scaled_latents(vae, images: Tensor) -> Tensor:
    """Latents (B, 4, h, w) of pictures by a VAE or a tiny VAE, multiplied by the VAE's scaling factor: as the UNet denoises them."""
    if isinstance(vae, AutoencoderTiny):
        return vae.encode(images.to(vae.dtype)).latents * vae.config.scaling_factor
    return image_latents(vae, images) * vae.config.scaling_factor


@torch.no_grad()
def moved_latents(vae, picture: Tensor, moved: Tensor, tiny_vae: AutoencoderTiny | None) -> Tensor:
    """Scaled latents (F, 4, h, w) of a picture (1, 3, H, W) moved into poses (F, 3, H, W), by the tiny VAE if there is one.

    A tiny VAE is wrong by a shade of the whole picture: it encodes a box around what a frame moves, and where the picture still stands
    the latents are the VAE's own.
    """
    encoder = tiny_vae or vae
    with faster_on_cpu(encoder.encoder, picture.device), faster_on_cpu(vae.encoder, picture.device):
        if tiny_vae is None:
            return torch.cat([scaled_latents(vae, frame[None]) for frame in moved])
        latents = scaled_latents(vae, picture).repeat(len(moved), 1, 1, 1)                    # (F, 4, h, w)
        side = picture.shape[-1] // latents.shape[-1]                                         # pixels of a latent
        changed = (moved - picture).abs().amax(dim=1, keepdim=True)                           # (F, 1, H, W)
        moves = F.max_pool2d(changed, 3 * side, stride=side, padding=side) > STILL            # (F, 1, h, w): it or a neighbour
        boxes = moving_boxes((frame > STILL for frame in changed[:, 0].cpu().numpy()), side)
        for frame, moves_here, pixels, box in zip(latents, moves, moved, boxes):
            part = scaled_latents(tiny_vae, pixels[None][(..., *in_pixels(box, side))])[0]    # (4, rows, columns)
            frame[(slice(None), *box)] = torch.where(moves_here[(slice(None), *box)], part, frame[(slice(None), *box)])
    return latents


def moving_boxes(moves: Iterable[np.ndarray], side: int) -> list[Box]:
    """For every frame of pixels (H, W) bool a box of latents, `side` pixels each, around those that move and AROUND more at every end.

    All are of one size, and inside the frame; where nothing moves it is any place.
    """
    ends = np.array([[_ends(frame.any(axis=1 - axis), side) for axis in (0, 1)] for frame in moves])      # (F, 2, 3) first, last, most
    sizes = (ends[..., 1] - ends[..., 0]).max(axis=0)                                                     # (2,)
    starts = np.minimum(ends[..., 0], ends[..., 2] - sizes).tolist()                                      # (F, 2)
    return [tuple(slice(start, start + size) for start, size in zip(corner, sizes.tolist())) for corner in starts]


def _ends(moves: np.ndarray, side: int) -> tuple[int, int, int]:
    """Of rows or columns (L,) bool of pixels the first latent that is near to a moving one, the one after the last, and how many there are."""
    moving, most = np.flatnonzero(moves), len(moves) // side
    first, last = (moving[0] // side, moving[-1] // side) if len(moving) else (0, 0)
    return max(first - AROUND, 0), min(last + 1 + AROUND, most), most


def in_pixels(box: Box, side: int) -> Box:
    """A box of latents in pixels."""
    return tuple(slice(each.start * side, each.stop * side) for each in box)


def added_time_ids(fps: int, motion_bucket_id: int, noise_aug_strength: float | Tensor, batch_size: int = 1) -> Tensor:
    """(B, 3) float32 numbers for the UNet: SVD was trained on fps - 1. noise_aug_strength may be one per sample, (B,)."""
    noise_aug = torch.as_tensor(noise_aug_strength, dtype=torch.float32).expand(batch_size)
    fixed = noise_aug.new_tensor([fps - 1, motion_bucket_id]).expand(batch_size, 2)
    return torch.cat([fixed, noise_aug[:, None]], dim=1)                      # (B, 3)


@torch.no_grad()
def mixes_frames(vae) -> bool:
    """Does the decoder look at neighbouring frames? False when its temporal branches are exact zeros, or it has none."""
    if isinstance(vae, AutoencoderTiny):
        return False
    if any(isinstance(block, SpatioTemporalResBlock) and not is_zero_initialised(block) for block in vae.decoder.modules()):
        return True
    kernel = vae.decoder.time_conv_out.weight                                 # (3, 3, taps, 1, 1)
    return bool(kernel[:, :, :kernel.shape[2] // 2].any() or kernel[:, :, kernel.shape[2] // 2 + 1:].any())


def windows(num_frames: int, size: int, overlap: int) -> list[range]:
    """Runs of `size` frames, the last perhaps shorter, each sharing `overlap` frames with the one before."""
    if size < 1 or not 0 <= overlap < size:
        raise ValueError(f"decode_overlap: expected 0 to decode_chunk_size - 1 (found {overlap} of {size}): lower it")
    starts = range(0, max(num_frames - overlap, 1), size - overlap)
    return [range(start, min(start + size, num_frames)) for start in starts]


def decode_window(vae, latents: Tensor) -> Tensor:
    """(K, 4, h, w) scaled latents → (K, 3, H, W) float32 in [0, 1]."""
    together = {} if isinstance(vae, AutoencoderTiny) else {"num_frames": len(latents)}
    pixels = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype), **together).sample
    return (pixels.float() / 2 + 0.5).clamp(0, 1)


def blended_windows(vae, latents: Tensor, size: int, overlap: int, processes: Processes = ALONE) -> Iterator[Tensor]:
    """Frames (K, 3, H, W) in order, every frame once; where windows overlap, one fades linearly into the next.

    Where memory runs out it goes on from there with half the window.
    """
    done, tail = 0, None                                                      # tail: shared frames, as last decoded
    while done < len(latents):
        rest = latents[done:]
        runs = windows(len(rest), size, overlap)
        try:
            for run, frames in zip(runs, processes.map(lambda run: decode_window(vae, rest[run.start:run.stop]), runs)):
                if tail is not None:
                    frames[:len(tail)] = tail + (frames[:len(tail)] - tail) * fade(len(tail), latents.device)
                count = len(frames) - (overlap if run is not runs[-1] else 0)
                tail, done = frames[count:], done + count
                yield frames[:count]
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            log.warning("decoding %d frames at once ran out of memory: going on with %d", size, size // 2)
            size, overlap = size // 2, min(overlap, size // 2 - 1)
            tail = None if tail is None else tail[:overlap]


def fade(num_frames: int, device: torch.device) -> Tensor:
    """Shares of the later window, (num_frames, 1, 1, 1), rising from above 0 to below 1."""
    return (torch.arange(num_frames, device=device) + 1.0)[:, None, None, None] / (num_frames + 1)


@torch.no_grad()
def decoded_windows(vae, latents: Tensor, chunk_size: int = 8, overlap: int = 0, progress: bool = False,
                    processes: Processes = ALONE) -> Iterator[Tensor]:
    """(F, 4, h, w) scaled latents → uint8 frames (K, H, W, 3) on the CPU, in order, as they are done.

    Rounded, where the published code truncates. A decoder that does not mix frames needs no overlap.
    """
    overlap = overlap if mixes_frames(vae) else 0
    with (spatial_only(vae.decoder, when=is_zero_initialised), faster_on_cpu(vae.decoder, latents.device),
          Steps(total=len(latents), desc="decoding", unit="frame", dynamic_ncols=True, disable=not progress) as bar):
        for window in blended_windows(vae, latents, chunk_size, overlap, processes):
            yield rearrange((window * 255).round().byte(), "f c h w -> f h w c").contiguous().cpu()
            bar.update(len(window))


def decode(vae, latents: Tensor, chunk_size: int = 8, overlap: int = 0) -> Tensor:
    """All frames of `decoded_windows`, (F, H, W, 3)."""
    return torch.cat(list(decoded_windows(vae, latents, chunk_size, overlap)))
