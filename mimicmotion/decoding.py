"""Latents → frames, a chunk at a time. SVD's decoder mixes neighbouring frames: chunk borders show unless blended."""
import logging
from collections.abc import Iterator

import torch
from diffusers.models.resnet import SpatioTemporalResBlock
from einops import rearrange
from torch import Tensor
from tqdm import tqdm

from .on_cpu import suited_to_cpu
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
            logger.warning("decoding %d frames at once ran out of memory: going on with %d", size, size // 2)
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
    with (spatial_only(vae.decoder, when=is_silent), suited_to_cpu(vae.decoder, latents.device),
          tqdm(total=len(latents), desc="decoding", unit="frame", dynamic_ncols=True, disable=not progress) as bar):
        for window in blended_windows(vae, latents, chunk_size, overlap, processes):
            yield rearrange((window * 255).round().byte(), "f c h w -> f h w c").contiguous().cpu()
            bar.update(len(window))


def decode(vae, latents: Tensor, chunk_size: int = 8, overlap: int = 0) -> Tensor:
    """All frames of `decoded_windows`, (F, H, W, 3)."""
    return torch.cat(list(decoded_windows(vae, latents, chunk_size, overlap)))
