"""Latents → frames, a chunk at a time. SVD's decoder mixes neighbouring frames: chunk borders show unless blended."""
import logging
from collections.abc import Iterator

import torch
from diffusers.models.resnet import SpatioTemporalResBlock
from einops import rearrange
from torch import Tensor
from tqdm import tqdm

from .parallel import ALONE, Processes
from .spatial import is_silent, spatial_only

logger = logging.getLogger(__name__)


@torch.no_grad()
def mixes_frames(vae) -> bool:
    """Does the decoder look at neighbouring frames? False when its temporal branches are exact zeros."""
    if any(isinstance(block, SpatioTemporalResBlock) and not is_silent(block) for block in vae.decoder.modules()):
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
    pixels = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype), num_frames=len(latents)).sample
    return (pixels.float() / 2 + 0.5).clamp(0, 1)


def blended_windows(vae, latents: Tensor, size: int, overlap: int, processes: Processes = ALONE) -> Iterator[Tensor]:
    """Frames (K, 3, H, W) in order, every frame once; where windows overlap, one fades linearly into the next."""
    runs = windows(len(latents), size, overlap)
    fade = (torch.arange(overlap, device=latents.device) + 1.0)[:, None, None, None] / (overlap + 1)
    tail = None                                                               # the shared frames, as last decoded
    for run, frames in zip(runs, processes.map(lambda run: decode_window(vae, latents[run.start:run.stop]), runs)):
        if tail is not None:
            frames[:overlap] = tail + (frames[:overlap] - tail) * fade
        done = len(frames) - (overlap if run is not runs[-1] else 0)
        tail = frames[done:]
        yield frames[:done]


@torch.no_grad()
def decode(vae, latents: Tensor, chunk_size: int = 8, overlap: int = 0, progress: bool = False,
           processes: Processes = ALONE) -> Tensor:
    """(F, 4, h, w) scaled latents → (F, H, W, 3) uint8 frames on the CPU, rounded (the published code truncates).

    A decoder that does not mix frames needs no overlap. Out of memory is retried with half the chunk.
    """
    overlap = overlap if mixes_frames(vae) else 0
    frames = []
    try:
        with spatial_only(vae.decoder, when=is_silent), tqdm(total=len(latents), desc="decoding", unit="frame",
                                                             dynamic_ncols=True, disable=not progress) as bar:
            for window in blended_windows(vae, latents, chunk_size, overlap, processes):
                frames.append(rearrange((window * 255).round().to("cpu", torch.uint8), "f c h w -> f h w c"))
                bar.update(len(window))
    except torch.OutOfMemoryError:
        if chunk_size == 1:
            raise
    if sum(map(len, frames)) == len(latents):
        return torch.cat(frames)                                              # (F, H, W, 3)
    logger.warning("decoding %d frames at once ran out of memory: trying %d", chunk_size, chunk_size // 2)
    return decode(vae, latents, chunk_size // 2, min(overlap, chunk_size // 2 - 1), progress, processes)
