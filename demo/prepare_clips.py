"""Render procedural clips, and cache their VAE latents for training.

    python demo/prepare_clips.py data/pictures --clips 3000 --frames 3 --fps 1.2        # many people, few frames
    python demo/prepare_clips.py data/clips --clips 400 --frames 12 --first-seed 500000 # few people, motion
    torchrun --nproc_per_node 2 demo/prepare_clips.py data/pictures --encode weights/demo/svd/vae [--poses]

Interrupt it at will: it goes on where it stopped. Seeds from 1,000,000 on are held out for evaluation.
"""
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from diffusers import AutoencoderKLTemporalDecoder

from media.images import as_tensor
from mimicmotion.latents import image_latents
from runtime.device import chosen_dtype
from synthetic.clips import encode_cache, render_cache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the clip cache to make or complete")
    parser.add_argument("--clips", type=int, default=3000, help="number of clips, one person each")
    parser.add_argument("--frames", type=int, default=3, help="frames per clip beside the reference picture")
    parser.add_argument("--fps", type=float, default=10.0, help="frames per second of the clips")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--size", type=int, nargs=2, default=(320, 192), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--workers", type=int, default=2, help="rendering processes")
    parser.add_argument("--encode", type=Path, help="encode with this VAE instead of rendering")
    parser.add_argument("--poses", action="store_true", help="encode the drawn poses (the adapter's targets), not the frames")
    parser.add_argument("--limit", type=int, help="encode only the first clips")
    arguments = parser.parse_args()
    if arguments.encode is None:
        render_cache(arguments.folder, first_seed=arguments.first_seed, num_clips=arguments.clips,
                     num_frames=arguments.frames, fps=arguments.fps, size=tuple(arguments.size),
                     workers=arguments.workers)
        return
    state = PartialState(cpu=not torch.cuda.is_available())          # else accelerate 1.15 sees one process only
    vae = AutoencoderKLTemporalDecoder.from_pretrained(arguments.encode)
    vae = vae.eval().to(state.device, chosen_dtype("auto", state.device.type))

    @torch.inference_mode()
    def encode(pictures: np.ndarray) -> np.ndarray:
        return image_latents(vae, as_tensor(pictures).to(state.device)).float().cpu().numpy()

    encode_cache(arguments.folder, encode, poses=arguments.poses, limit=arguments.limit,
                 share=slice(state.process_index, None, state.num_processes))


if __name__ == "__main__":
    main()
