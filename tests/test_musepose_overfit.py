"""MusePose's training trains: tiny networks learn four synthetic clips in its two stages, in minutes on a CPU."""
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch import Tensor
from torch.utils.data import Dataset

from dwpose.draw import draw
from dwpose.musepose import without_face
from media.images import as_frames, as_tensor
from mimicmotion.latents import decode_window
from musepose.checkpoint import load_image_encoder, load_saved_networks, Networks
from musepose.networks import build_denoiser, build_pose_guider, build_reference_net
from musepose.pipeline import MusePose
from musepose import MusePoseTrainConfig
from musepose.task import for_stage, MusePoseTask
from synthetic.clips import sample_clip
from training.loop import train

DEMO = Path(__file__).resolve().parent.parent / "weights" / "demo" / "svd"
SIZE, FRAMES, FPS = (96, 64), 8, 4                       # pixels (height, width); frames; frames per second
KINDS = ("squat", "arms_out", "jumping_jack", "kick")
BASE = {"act_fn": "silu", "attention_head_dim": 4, "block_out_channels": (32, 64), "cross_attention_dim": 128,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "in_channels": 16, "out_channels": 16,
        "layers_per_block": 1, "norm_num_groups": 8, "norm_eps": 1e-5, "downsample_padding": 1,
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
GUIDER = (8, 16, 24, 32)                                 # features of an eighth of the picture's size
STEPS, BATCH = (1000, 200), (4, 2)                       # of the stages
GAIN = 4                                                 # dB over repeating the picture


class FourClips(Dataset):
    """Clips in memory with their latents; stage 1 is given one frame of a clip, by position, stage 2 all."""

    def __init__(self, vae: AutoencoderKLTemporalDecoder):
        self.stage, self.items = 1, []
        for number, kind in enumerate(KINDS):
            clip = sample_clip(number + 1, kind, num_frames=FRAMES, fps=FPS, size=SIZE)
            frames = as_tensor(np.concatenate([clip.reference[None], clip.frames]))                       # (1 + F, 3, H, W)
            with torch.no_grad():
                latents = vae.encode(frames).latent_dist.mean
            poses = as_tensor(np.stack(list(draw(without_face(clip.skeleton), "musepose"))))
            self.items.append({"reference": frames[0], "reference_latents": latents[0], "latents": latents[1:], "pose": poses})

    def __len__(self) -> int:
        return len(KINDS)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        index, position = key
        item = self.items[index] | {"position": torch.tensor(position)}
        if self.stage == 1:
            frame = position // len(KINDS) * 5 % FRAMES                                                   # all in turn
            item |= {name: item[name][frame:frame + 1] for name in ("latents", "pose")}
        return item


def trained(model: MusePose, clips: FourClips, stage: int, output: Path) -> MusePose:
    """The model after a stage."""
    clips.stage = stage
    config = MusePoseTrainConfig(output=str(output), stage=stage, max_steps=STEPS[stage - 1], batch_size=BATCH[stage - 1],
                                 optimizer="muon", learning_rate=0.02, adam_learning_rate=2e-3, schedule="linear",
                                 final_learning_rate=0.05, warmup_steps=10, mixed_precision="no", checkpoint_every=1000,
                                 log_every=50, num_workers=0, report_to="none")
    torch.manual_seed(0)
    train(MusePoseTask(for_stage(model, BASE, stage), BASE, config), clips, config)
    return MusePose.of(load_saved_networks(output, torch.float32), model.vae, model.image_encoder)


@torch.no_grad()
def gain(model: MusePose, item: dict[str, Tensor]) -> float:
    """dB by which a clip's video is nearer to the clip than its repeated picture is, all through the VAE."""
    latents = model.sample(as_frames(item["reference"]), as_frames(item["pose"]), torch.Generator().manual_seed(0), size=SIZE,
                           num_inference_steps=10, guidance_scale=1.0, pad=False, progress=False)
    scale = model.vae.config.scaling_factor
    video, wanted, still = (decode_window(model.vae, given) for given in (
        latents, item["latents"] * scale, item["reference_latents"].expand(FRAMES, -1, -1, -1) * scale))
    psnr = lambda made: -10 * (made - wanted).square().mean().log10().item()
    return psnr(video) - psnr(still)


@pytest.mark.slow
def test_both_stages_learn_four_clips(tmp_path):
    torch.manual_seed(0)
    networks = Networks(build_denoiser(BASE, motion=False), build_reference_net(BASE), build_pose_guider(32, GUIDER))
    vae = AutoencoderKLTemporalDecoder.from_pretrained(DEMO / "vae").eval()
    model = MusePose.of(networks, vae, load_image_encoder(DEMO / "image_encoder", torch.float32))
    clips = FourClips(vae)
    for stage in (1, 2):
        model = trained(model, clips, stage, tmp_path / f"stage{stage}")
        gains = {kind: round(gain(model, item), 1) for kind, item in zip(KINDS, clips.items)}
        print(f"stage {stage}: {np.mean(list(gains.values())):+.1f} dB over repeating the picture, {gains}")
        assert np.mean(list(gains.values())) >= GAIN, gains
