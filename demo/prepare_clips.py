"""Render procedural clips, and cache their VAE latents for training.

    python demo/prepare_clips.py data/pictures --clips 3000 --frames 3 --fps 1.2        # many people, few frames
    python demo/prepare_clips.py data/clips --clips 400 --frames 12 --first-seed 500000 # few people, motion
    torchrun --nproc_per_node 2 demo/prepare_clips.py data/pictures --move                  # each picture by the puppet
    torchrun --nproc_per_node 2 demo/prepare_clips.py data/pictures --encode weights/demo/svd/vae [--what poses]
    torchrun --nproc_per_node 2 demo/prepare_clips.py data/pictures --encode weights/demo/svd/vae --tiny weights/demo/svd/tiny_vae --what moved
    torchrun --nproc_per_node 2 demo/prepare_clips.py data/pictures --draw weights/demo/svd weights/demo/video # by the video model

Interrupt it at will: it goes on where it stopped. What everything in the folder was made with is written beside it, and anything else is
refused. Seeds from 1,000,000 on are held out for evaluation.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState

from configs import positive_number, run_main, show_log, whole_number
from dwpose.skeleton import Skeleton
from media.images import as_tensor
from mimicmotion import checkpoint_file, image_encoder_folder
from mimicmotion.checkpoint import encoder_key, load_tiny_vae, load_vae
from mimicmotion.latents import image_latents, moved_latents
from mimicmotion.pipeline import PoseToVideo
from renderers import PuppetConfig, Scene
from renderers.puppet import Puppet
from runtime.cpu_layers import faster_on_cpu
from runtime.device import chosen_dtype
from runtime.processes import end_with_launcher
from runtime.weights import tensors_key, weights_file
from synthetic.clips import draw_cache, encode_cache, LATENT_SHRINK, move_cache, render_cache

MOST_FRAMES, MOST_PIXELS = 1000, 4096           # of a clip, of a side


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the clip cache to make or complete")
    parser.add_argument("--clips", type=whole_number(1), default=3000, help="number of clips, one person each")
    parser.add_argument("--frames", type=whole_number(1, most=MOST_FRAMES), default=3, help="frames per clip beside the reference picture")
    parser.add_argument("--fps", type=positive_number, default=10.0, help="frames per second of the clips")
    parser.add_argument("--first-seed", type=whole_number(0), default=0, help="of the first clip; the next ones have the next")
    parser.add_argument("--size", type=whole_number(64, LATENT_SHRINK, MOST_PIXELS), nargs=2, default=(320, 192), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--workers", type=whole_number(1), default=2, help="rendering processes")
    parser.add_argument("--move", action="store_true", help="move the reference pictures by renderer=puppet instead of rendering")
    parser.add_argument("--encode", type=Path, help="encode with this VAE instead of rendering")
    parser.add_argument("--tiny", type=Path, help="the tiny VAE for the moved pictures, as a run uses it")
    parser.add_argument("--what", choices=("frames", "poses", "moved"), default="frames",
                        help="encode the frames, the drawn poses (the adapter's targets), or the moved pictures")
    parser.add_argument("--draw", type=Path, nargs=2, metavar=("SVD", "CHECKPOINT"), help="cache what this video model draws, in latents")
    parser.add_argument("--limit", type=whole_number(1), help="move, encode or draw only the first clips")
    arguments = parser.parse_args()
    show_log()
    if not (arguments.encode or arguments.draw or arguments.move):
        render_cache(arguments.folder, first_seed=arguments.first_seed, num_clips=arguments.clips,
                     num_frames=arguments.frames, fps=arguments.fps, size=tuple(arguments.size),
                     workers=arguments.workers)
        return
    end_with_launcher()
    state = PartialState(cpu=not torch.cuda.is_available())          # else accelerate 1.15 sees one process only
    some = dict(limit=arguments.limit, share=slice(state.process_index, None, state.num_processes))
    if arguments.move:
        move_cache(arguments.folder, moved_by(Puppet(PuppetConfig(mask="colour"))), **some)
        return
    if arguments.draw:
        draw_cache(arguments.folder, drawn_by(*arguments.draw, state.device), weights_drawn_with(*arguments.draw), **some)
        return
    made_with = {name: encoder_key(folder) for name, folder in (("vae", arguments.encode), ("tiny_vae", arguments.tiny)) if folder}
    encode_cache(arguments.folder, encoder_of(arguments.encode, arguments.tiny, state.device, arguments.what), made_with, what=arguments.what, **some)


def moved_by(puppet: Puppet) -> Callable[[np.ndarray, Skeleton, Skeleton], np.ndarray]:
    """What `move_cache` asks for, by the renderer `puppet`, with the same random numbers for every picture."""
    def move(picture: np.ndarray, reference: Skeleton, skeleton: Skeleton) -> np.ndarray:
        return puppet(Scene(picture, reference, skeleton, "", None), torch.Generator().manual_seed(0), progress=False)

    return move


def weights_drawn_with(svd: Path, checkpoint: Path) -> dict[str, str]:
    """What decides the latents that a video model draws, by name."""
    return {"video": tensors_key(checkpoint_file(checkpoint)), "image_encoder": tensors_key(weights_file(image_encoder_folder(svd, checkpoint), "model", torch.float32))}


def drawn_by(svd: Path, checkpoint: Path, device: torch.device) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    """What `draw_cache` asks for, by a video model in one step, as configs/demo.yaml draws."""
    model = PoseToVideo.load(svd, checkpoint, device, chosen_dtype("auto", device.type))

    def draw_latents(picture: np.ndarray, poses: np.ndarray, moved: np.ndarray) -> np.ndarray:
        latents = model.sample(picture, poses, torch.Generator().manual_seed(0), moved=torch.from_numpy(moved).to(device), num_inference_steps=1,
                               guidance_scale=1.0, noise_sharing=1.0, tile_size=max(len(poses), 2), tile_overlap=1, progress=False)
        return (latents / model.vae.config.scaling_factor).cpu().numpy()

    return draw_latents


def encoder_of(vae_folder: Path, tiny_folder: Path | None, device: torch.device, what: str) -> Callable[[np.ndarray], np.ndarray]:
    """Pictures (n, H, W, 3) uint8 to latents (n, C, h, w) by a VAE; of moved ones, whose first is the picture itself, as a run makes them."""
    dtype = chosen_dtype("auto", device.type)
    vae, tiny = load_vae(vae_folder, dtype).to(device), load_tiny_vae(tiny_folder, dtype).to(device) if tiny_folder else None

    @torch.inference_mode()
    def encode(pictures: np.ndarray) -> np.ndarray:
        pixels = as_tensor(pictures).to(device)                                       # (n, 3, H, W)
        if what == "moved":
            return moved_latents(vae, pixels[:1], pixels, tiny).float().cpu().numpy()
        with faster_on_cpu(vae.encoder, device):
            return image_latents(vae, pixels).float().cpu().numpy()

    return encode


if __name__ == "__main__":
    run_main(main)
