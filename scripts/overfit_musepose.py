"""Does MusePose's training train? Tiny networks, four synthetic clips, stage 1 then stage 2: PSNR over repeating the picture.

    python scripts/overfit_musepose.py --work outputs/overfit_musepose

Pictures go through the demo's VAE, so pixels are compared with what it makes of the true ones. Run again, it goes on.
"""
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.utils.data import Dataset

from configs import run_main, show_log
from dwpose.draw import draw
from dwpose.musepose import without_face
from media.files import read_json
from media.images import as_tensor
from musepose.checkpoint import load_image_encoder, load_saved_networks, Networks
from musepose.networks import build_denoiser, build_pose_guider, build_reference_net
from musepose.pipeline import MusePose
from musepose.task import for_stage, MusePoseTask, MusePoseTrainConfig
from runtime.weights import read_tensors
from synthetic.clips import sample_clip
from training.loop import train

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "weights" / "demo" / "svd"
SIZE, FRAMES, FPS = (96, 64), 8, 4                       # pixels (height, width); frames; frames per second
KINDS = ("squat", "arms_out", "jumping_jack", "kick")
BASE = {"act_fn": "silu", "attention_head_dim": 4, "block_out_channels": (32, 64, 64), "cross_attention_dim": 128,
        "down_block_types": ("CrossAttnDownBlock2D",) * 2 + ("DownBlock2D",), "in_channels": 4, "out_channels": 4,
        "layers_per_block": 1, "norm_num_groups": 8, "norm_eps": 1e-5, "downsample_padding": 1,
        "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 2}
GUIDER = (8, 16, 24, 32)


class FewClips(Dataset):
    """Clips in memory with their latents; stage 1 is given one frame of a clip, by position, stage 2 all."""

    def __init__(self, vae: AutoencoderKL, whole: bool):
        self.whole, self.items = whole, []
        for number, kind in enumerate(KINDS):
            clip = sample_clip(number + 1, kind, num_frames=FRAMES, fps=FPS, size=SIZE)
            frames = np.concatenate([clip.reference[None], clip.frames])
            with torch.no_grad():
                means = torch.cat([vae.encode(few).latent_dist.mean for few in as_tensor(frames).split(3)])   # (1 + F, 4, h, w)
            poses = as_tensor(np.stack(list(draw(without_face(clip.skeleton), "musepose"))))
            self.items.append({"reference": as_tensor(frames[:1])[0], "reference_latents": means[0], "latents": means[1:],
                               "pose": poses})

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        index, position = key
        item = dict(self.items[index])
        if not self.whole:
            frame = int(np.random.default_rng(position).integers(FRAMES))
            item |= {name: item[name][frame:frame + 1] for name in ("latents", "pose")}
        return item | {"position": torch.tensor(position)}


def demo_vae() -> AutoencoderKL:
    """The demo's VAE without its temporal decoder, whose branches over time are silent.

    Its decoder has one residual block in the middle and no attention there; what AutoencoderKL has more adds nothing.
    """
    config = read_json(DEMO / "vae" / "config.json")
    sizes = {name: config[name] for name in ("block_out_channels", "down_block_types", "layers_per_block", "scaling_factor")}
    vae = AutoencoderKL(**sizes, up_block_types=["UpDecoderBlock2D"] * len(config["block_out_channels"]), use_post_quant_conv=False)
    tensors = {name.replace(".spatial_res_block.", "."): tensor for name, tensor in
               read_tensors(DEMO / "vae" / "diffusion_pytorch_model.safetensors", torch.float32).items()}
    extra, own = "decoder.mid_block.resnets.1.", vae.state_dict()
    silent = (f"{extra}conv2.", "decoder.mid_block.attentions.0.to_out.0.")
    tensors |= {name: torch.zeros_like(tensor) if name.startswith(silent) else tensor for name, tensor in own.items()
                if name.startswith((extra, silent[1]))}
    vae.load_state_dict({name: tensors[name] for name in own})
    return vae.eval().requires_grad_(False)


def stage(model: MusePose, clips: FewClips, number: int, work: Path, steps: int, batch_size: int) -> MusePose:
    """The model after a stage."""
    config = MusePoseTrainConfig(output=str(work / f"stage{number}"), stage=number, max_steps=steps, batch_size=batch_size,
                                 optimizer="muon", learning_rate=0.01, adam_learning_rate=1e-3, schedule="linear",
                                 final_learning_rate=0.05, warmup_steps=10, uncond_ratio=0.1, mixed_precision="no",
                                 checkpoint_every=50, log_every=25, num_workers=0, report_to="none")
    torch.manual_seed(0)
    train(MusePoseTask(for_stage(model, BASE, number), BASE, config), clips, config)
    return MusePose.of(load_saved_networks(work / f"stage{number}", torch.float32), model.vae, model.image_encoder)


def gains(model: MusePose, clips: FewClips, num_inference_steps: int) -> list[tuple[float, float]]:
    """PSNR of each clip's video, and of repeating its picture, dB."""
    found = []
    for item in clips.items:
        poses, picture = (((item[name] + 1) * 127.5).round().byte() for name in ("pose", "reference"))
        made = model.sample(picture.movedim(0, -1).numpy(), poses.movedim(1, -1).numpy(), torch.Generator().manual_seed(0), size=SIZE,
                            num_inference_steps=num_inference_steps, guidance_scale=1.0, pad=False, progress=False)
        scale = model.vae.config.scaling_factor
        with torch.no_grad():
            video, wanted, still = (model.decoded_pixels(latents) for latents in (
                made, item["latents"] * scale, item["reference_latents"][None] * scale))
        psnr = lambda other: float(-10 * (other - wanted).square().mean().log10())
        found.append((psnr(video), psnr(still)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("outputs/overfit_musepose"))
    parser.add_argument("--steps", type=int, nargs=2, default=(400, 200), help="of stage 1 and stage 2")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--sampling-steps", type=int, default=10)
    chosen = parser.parse_args()
    show_log()
    torch.manual_seed(0)
    networks = Networks(build_denoiser(BASE, motion=False), build_reference_net(BASE), build_pose_guider(BASE["block_out_channels"][0], GUIDER))
    model = MusePose.of(networks, demo_vae(), load_image_encoder(DEMO / "image_encoder", torch.float32))
    for number, steps in zip((1, 2), chosen.steps):
        clips = FewClips(model.vae, whole=number == 2)
        model = stage(model, clips, number, chosen.work, steps, chosen.batch_size if number == 1 else len(KINDS) // 2)
        pairs = gains(model, clips, chosen.sampling_steps)
        for kind, (video, still) in zip(KINDS, pairs):
            print(f"stage {number}, {kind}: {video:.1f} dB, repeating the picture {still:.1f} dB", flush=True)
        gain = np.mean([video - still for video, still in pairs])
        print(f"stage {number}: {gain:+.1f} dB over repeating the picture", flush=True)


if __name__ == "__main__":
    run_main(main)
