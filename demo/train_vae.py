"""Train the demo's VAE on procedural pictures and drawn poses.

    torchrun --nproc_per_node 2 demo/train_vae.py data/pictures weights/demo/svd/vae --steps 6000
    torchrun --nproc_per_node 2 demo/train_vae.py data/pictures weights/demo/svd/vae --steps 2000 --decoder-only
    torchrun --nproc_per_node 2 demo/train_vae.py data/pictures weights/demo/svd/vae --steps 1500 --tiny weights/demo/svd/tiny_vae

Only the spatial layers are trained; the decoder's temporal branches stay silent, so every frame is decoded by itself.
--decoder-only learns from the latents already in the cache and leaves the encoder, so that all latents stay true; with --drawn-share it
also learns what to make of the latents that the video model draws (demo/prepare_clips.py --draw). --tiny leaves the whole VAE, and makes a small encoder and decoder beside it of the same latents.
Interrupt it at will: it goes on from its last checkpoint.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import copy
import os
import shutil
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLTemporalDecoder, AutoencoderTiny
from torch import nn, Tensor
from torch.utils.data import Dataset

from configs import run_main, show_log, whole_number
from demo import demo_config
from dwpose.draw import draw
from dwpose.skeleton import (hand_boxes, head_boxes, LEFT_ANKLE, LEFT_ELBOW, LEFT_HAND, LEFT_HIP, LEFT_KNEE, LEFT_SHOULDER, LEFT_WRIST,
                             NOSE, RIGHT_ANKLE, RIGHT_ELBOW, RIGHT_HAND, RIGHT_HIP, RIGHT_KNEE, RIGHT_SHOULDER,
                             RIGHT_WRIST, Skeleton)
from media.files import save_atomically
from media.images import as_tensor
from mimicmotion.checkpoint import encoder_key, load_vae
from mimicmotion.savings import is_temporal, spatial_only
from synthetic.clips import LATENT_SHRINK, open_array, require_vae
from training.loop import train
from training.task import Batch, Task

FACES = (NOSE,)                     # where crops are centred, and how often
HAND_CENTRES = (LEFT_WRIST, RIGHT_WRIST, LEFT_HAND.start + 9, RIGHT_HAND.start + 9)
LIMBS = (LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_ELBOW, RIGHT_ELBOW, LEFT_HIP, RIGHT_HIP, LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE,
         RIGHT_ANKLE)
CENTRES = ((0.35, FACES), (0.20, HAND_CENTRES), (0.20, LIMBS))      # the rest of the crops fall anywhere
TINY_VAE = dict(decoder_block_out_channels=(24,) * 4, num_decoder_blocks=(3, 3, 3, 1),
                encoder_block_out_channels=(64,) * 4, num_encoder_blocks=(0, 0, 3, 4))      # 64 hold all 48 numbers of 4x4 pixels


class Crops(Dataset):
    """Square crops, most around faces, hands and limbs, with a loss weight; a share of them from drawn poses, and of the others a
    share with the latents that the video model draws for the frame in place of the frame's own."""

    def __init__(self, folder: Path, side: int, pose_share: float, detail_weight: float, seed: int, encoded: bool,
                 drawn_share: float = 0.0):
        self.frames, self.keypoints = open_array(folder, "frames"), open_array(folder, "keypoints")
        self.clips = np.flatnonzero(open_array(folder, "latents_done" if encoded else "rendered"))
        self.latents = [open_array(folder, name) for name in ("latents", "pose_latents")] if encoded else None
        self.posed = np.flatnonzero(open_array(folder, "pose_latents_done")) if encoded else self.clips
        self.drawn = open_array(folder, "drawn_latents") if drawn_share else None
        self.drawn_clips = np.flatnonzero(open_array(folder, "drawn_latents_done")) if drawn_share else None
        if side > min(self.frames.shape[2:4]):
            raise ValueError(f"--crop {side}: expected at most the pictures' shorter side, {min(self.frames.shape[2:4])}: take less")
        self.side, self.detail_weight, self.seed = side, detail_weight, seed
        self.pose_share, self.drawn_share = pose_share, drawn_share
        self.settings = dict(crop=side, pose_share=pose_share, detail_weight=detail_weight, drawn_share=drawn_share)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        """`picture` (3, S, S), its `weight` (1, S, S) and, where the cache is encoded, `latents` (C, S / 8, S / 8)."""
        index, position = key
        rng = np.random.default_rng((self.seed, position))
        posed = rng.random() < self.pose_share
        clip = rng.choice(self.posed) if posed else self.clips[index]
        frame = rng.integers(self.frames.shape[1])
        drawn = not posed and rng.random() < self.drawn_share
        if drawn:
            clip, frame = rng.choice(self.drawn_clips), rng.integers(1, self.frames.shape[1])
        picture, keypoints = self.frames[clip, frame], self.keypoints[clip, frame]
        height, width = picture.shape[:2]
        if posed:
            picture = draw(Skeleton(keypoints[None], (height, width), fps=1))[0]
        x, y = self._corner(keypoints, (height, width), rng)
        crop = picture[y:y + self.side, x:x + self.side]
        weight = self._weight(keypoints, x, y)
        if self.latents is not None:
            rows, columns = (slice(start // LATENT_SHRINK, (start + self.side) // LATENT_SHRINK) for start in (y, x))
            latents = (self.drawn if drawn else self.latents[posed])[clip, frame][:, rows, columns].astype(np.float32)
            return {"picture": as_tensor(crop), "weight": torch.from_numpy(weight[None]),
                    "latents": torch.from_numpy(latents), "position": torch.tensor(position)}
        if rng.random() < 0.5:
            crop, weight = crop[:, ::-1], weight[:, ::-1]
        return {"picture": as_tensor(crop), "weight": torch.from_numpy(weight[None].copy()),
                "position": torch.tensor(position)}

    def _corner(self, keypoints: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int]:
        """Left and top of a crop, pixels, both multiples of a latent's size."""
        height, width = size
        centre, draw_share = rng.random(2) * (width, height), rng.random()
        for share, joints in CENTRES:
            if 0 <= draw_share < share:
                centre = keypoints[rng.choice(joints), :2] + rng.uniform(-self.side / 4, self.side / 4, 2)
            draw_share -= share
        corner = (centre - self.side / 2).clip(0, (width - self.side, height - self.side))
        left, top = (int(length) // LATENT_SHRINK * LATENT_SHRINK for length in corner)
        return left, top

    def _weight(self, keypoints: np.ndarray, x: int, y: int) -> np.ndarray:
        """(side, side) float32: `detail_weight` over head and hands, 1 elsewhere."""
        weight = np.ones((self.side, self.side), np.float32)
        boxes = np.concatenate([head_boxes(keypoints[None])[0], hand_boxes(keypoints[None])[0]])          # (3, 5)
        for left, top, right, bottom in (boxes[:, :4] - (x, y, x, y)).clip(0, self.side).astype(int):
            weight[top:bottom, left:right] = self.detail_weight
        return weight


def reconstruction_loss(decoded: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """L1, L1 of edges, L1 of 4 x 4 means (colour) and RMSE per crop. (B, 3, H, W), weight (B, 1, H, W), to a scalar."""
    error, weight = decoded - target, weight / weight.mean()
    across, down = error[..., 1:] - error[..., :-1], error[..., 1:, :] - error[..., :-1, :]
    edges = (across.abs() * weight[..., 1:]).mean() + (down.abs() * weight[..., 1:, :]).mean()
    rmse = (error**2 * weight).mean((1, 2, 3)).add(1e-8).sqrt().mean()
    return (error.abs() * weight).mean() + 0.5 * edges + F.avg_pool2d(error, 4).abs().mean() + rmse


class ReconstructionObjective(nn.Module):
    """The VAE and its loss as one module."""

    def __init__(self, vae: AutoencoderKLTemporalDecoder, kl_weight: float, latent_noise: float):
        super().__init__()
        self.vae, self.kl_weight, self.latent_noise = vae, kl_weight, latent_noise

    def forward(self, pictures: Tensor, weight: Tensor, noise: Tensor, strength: Tensor,
                latents: Tensor | None) -> Tensor:
        """The batch's loss, ().

        pictures: (B, 3, S, S); weight: (B, 1, S, S); noise: (B, 2, C, s, s), s = S / 8; strength: (B, 1, 1, 1) in [0, 1];
        latents: (B, C, s, s), encoded here where None.
        """
        kl = 0.0
        if latents is None:
            posterior = self.vae.encode(pictures).latent_dist
            kl = 0.5 * (posterior.mean.float()**2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
            latents = posterior.mean + posterior.std * noise[:, 0]
        spread = self.latent_noise * latents.detach().std()                 # as a diffusion model's latents have
        decoded = self.vae.decode(latents + strength * spread * noise[:, 1], num_frames=1).sample.float()
        return reconstruction_loss(decoded, pictures, weight) + self.kl_weight * kl


class VAETask(Task):
    """Pictures to latents and back, frame by frame. Its clips are `Crops`."""

    def __init__(self, vae: AutoencoderKLTemporalDecoder, crops: Crops, *, decoder_only: bool, kl_weight: float,
                 latent_noise: float, seed: int):
        self.vae, self.crops, self.decoder_only, self.seed = vae, crops, decoder_only, seed
        self.channels = vae.config.latent_channels
        self.settings = dict(decoder_only=decoder_only, kl_weight=kl_weight, latent_noise=latent_noise, **crops.settings)
        for name, parameter in vae.named_parameters():
            learns = name.startswith("decoder.") or not decoder_only
            unused = name.startswith("decoder.mid_block.attentions.")       # one-layer decoders skip their attention
            parameter.requires_grad_(learns and not is_temporal(name) and not unused)
        self.objective = ReconstructionObjective(vae, kl_weight, latent_noise)

    def training_mode(self) -> AbstractContextManager:
        return spatial_only(self.vae)

    def inputs(self, batch: Batch) -> tuple[Tensor | None, ...]:
        """Crops, their weights, and the noise of each by its position."""
        picture, (noise, strength) = batch["picture"], zip(*map(self.noise, batch["position"].tolist()))
        return (picture, batch["weight"], torch.stack(noise).to(picture),
                torch.stack(strength).view(-1, 1, 1, 1).to(picture), batch.get("latents"))

    def noise(self, position: int) -> tuple[Tensor, Tensor]:
        """Normal numbers (2, C, s, s) for the posterior and for the decoder, and the strength of the latter, ()."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + position)
        side = self.crops.side // LATENT_SHRINK
        return torch.randn(2, self.channels, side, side, generator=generator), torch.rand((), generator=generator)

    def export(self, folder: Path) -> None:
        """A diffusers folder in half precision, with the latents' scaling factor."""
        if not self.decoder_only:
            self.vae.register_to_config(scaling_factor=1 / latent_std(self.vae, self.crops))
        self.vae.register_to_config(_name_or_path="")               # no machine's path in the saved config
        copy.deepcopy(self.vae).half().save_pretrained(folder)


class TinyObjective(nn.Module):
    """A tiny encoder and decoder, and their losses, on latents that another VAE made."""

    def __init__(self, tiny: AutoencoderTiny, scaling_factor: float, latent_noise: float):
        super().__init__()
        self.tiny, self.scaling_factor, self.latent_noise = tiny, scaling_factor, latent_noise

    def forward(self, pictures: Tensor, weight: Tensor, noise: Tensor, strength: Tensor, latents: Tensor) -> Tensor:
        """The batch's loss, (). As `ReconstructionObjective`."""
        scaled = self.scaling_factor * latents                                              # (B, C, s, s), of unit variance
        shares = F.avg_pool2d(weight / weight.mean(), LATENT_SHRINK)                        # (B, 1, s, s)
        encoded = (shares * (self.tiny.encode(pictures).latents.float() - scaled).square()).mean()      # by itself: nothing decodes it here
        noisy = scaled + self.latent_noise * strength * noise[:, 1]
        return encoded + reconstruction_loss(self.tiny.decode(noisy).sample.float(), pictures, weight)


class TinyVAETask(VAETask):
    """Pictures to the VAE's latents by a small encoder, and back by a small decoder. Its clips are encoded `Crops`."""

    def __init__(self, tiny: AutoencoderTiny, scaling_factor: float, crops: Crops, *, latent_noise: float, seed: int):
        self.tiny, self.crops, self.seed = tiny, crops, seed
        self.channels = tiny.config.latent_channels
        self.settings = dict(scaling_factor=scaling_factor, latent_noise=latent_noise, **TINY_VAE, **crops.settings)
        self.edges = tuple(f"{name}.layers.{layer}." for name in ("encoder", "decoder")
                           for layer in (0, len(getattr(tiny, name).layers) - 1))
        self.objective = TinyObjective(tiny, scaling_factor, latent_noise)

    def training_mode(self) -> AbstractContextManager:
        return nullcontext()

    def export(self, folder: Path) -> None:
        """A diffusers folder in half precision."""
        copy.deepcopy(self.tiny).half().save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path, help="a folder rendered by demo/prepare_clips.py")
    parser.add_argument("vae", type=Path, help="the VAE to start from and to write")
    parser.add_argument("--steps", type=whole_number(1), default=6000, help="optimizer steps")
    parser.add_argument("--batch-size", type=whole_number(1), default=14, help="crops per process")
    parser.add_argument("--crop", type=whole_number(LATENT_SHRINK, LATENT_SHRINK), default=64, help="pixels")
    parser.add_argument("--learning-rate", type=float, default=0.015, help="Muon's; AdamW takes a twentieth")
    parser.add_argument("--pose-share", type=float, default=0.2, help="share of crops from drawn poses")
    parser.add_argument("--detail-weight", type=float, default=2.5, help="loss weight over heads and hands")
    parser.add_argument("--kl-weight", type=float, default=2e-4,
                        help="of the latents' distance to a normal distribution")
    parser.add_argument("--latent-noise", type=float, default=0.1, help="in standard deviations of the latents")
    parser.add_argument("--decoder-only", action="store_true", help="train on the cache's latents, the encoder rests")
    parser.add_argument("--drawn-share", type=float, default=0.0, help="share of crops decoded from what the video model drew")
    parser.add_argument("--tiny", type=Path, help="folder for a tiny VAE of the same latents, trained in the VAE's place")
    parser.add_argument("--checkpoint-every", type=whole_number(1), default=200, help="steps between checkpoints")
    parser.add_argument("--work", type=Path, help="folder for checkpoints (default: in what is made, deleted at the end)")
    parser.add_argument("--seed", type=int, default=0, help="of crops and noise")
    arguments = parser.parse_args()
    show_log()
    run(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Train from the last checkpoint to `steps`, then put the VAE, or the tiny one, in its folder."""
    vae = load_vae(arguments.vae, torch.float32)
    encoded = arguments.decoder_only or arguments.tiny is not None
    crops = Crops(arguments.cache, arguments.crop, arguments.pose_share, arguments.detail_weight, arguments.seed, encoded, arguments.drawn_share)
    for name in ("latents", "pose_latents") if encoded else ():
        require_vae(arguments.cache, name, encoder_key(arguments.vae))
    learns = dict(latent_noise=arguments.latent_noise, seed=arguments.seed)
    if arguments.tiny:
        torch.manual_seed(arguments.seed)
        task = TinyVAETask(AutoencoderTiny(latent_channels=vae.config.latent_channels, **TINY_VAE), vae.config.scaling_factor, crops, **learns)
    else:
        task = VAETask(vae, crops, decoder_only=arguments.decoder_only, kl_weight=arguments.kl_weight, **learns)
    folder = arguments.tiny or arguments.vae
    made = train(task, crops, demo_config(
        arguments.work or folder / "training", max_steps=arguments.steps, batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate, adam_learning_rate=arguments.learning_rate / 20, warmup_steps=40, final_learning_rate=0.02,
        max_grad_norm=0.0, ema_decay=0.99, checkpoint_every=arguments.checkpoint_every, seed=arguments.seed))
    if int(os.environ.get("RANK", 0)) == 0:
        for file in ("config.json", "diffusion_pytorch_model.safetensors"):
            save_atomically(folder / file, partial(shutil.copy, made / file))
        if not arguments.work:
            shutil.rmtree(made)


@torch.no_grad()
def latent_std(vae: AutoencoderKLTemporalDecoder, crops: Crops) -> float:
    """Standard deviation of the latents of 32 whole pictures: its inverse is the scaling factor."""
    pictures = np.stack([crops.frames[clip, 0] for clip in crops.clips[:32]])
    return float(vae.encode(as_tensor(pictures)).latent_dist.mean.std())


if __name__ == "__main__":
    run_main(main)
