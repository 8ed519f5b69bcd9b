"""Seconds of a training step with cached latents and texts, against VAE and text encoder in every step.

    python scripts/benchmark_customization.py                                    ZeroScope's shape at a fifth of its width
    python scripts/benchmark_customization.py weights/zeroscope data/motion --size 384 --frames 16 --steps 10
    python scripts/benchmark_customization.py --own-width --size 128 --frames 4      ZeroScope's own width, 12 GB of memory
    python scripts/benchmark_customization.py --operations --size 384 --frames 16    the same, counted on the meta device

The two are measured in turns, and the median of each is told; on a CPU it is CPU time, which other programs disturb less.
Without a model weights are random, and every part has as many layers as the real one, so each takes its share of a real step.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from diffusers import AutoencoderKL, UNet3DConditionModel
import numpy as np
import torch
from torch.utils.data import default_collate
from transformers import BatchEncoding, CLIPTextConfig, CLIPTextModel

from benchmarks.timing import counted
from configs import run_main, whole_number
from media.images import PIXELS_PER_LATENT
from media.video_writer import write_video
from newmove.clips import Clip, clips_in, LatentCache, MotionClips
from newmove.task import MotionTask
from newmove.text_to_video import TextToVideo
from newmove.objective import PAPER, train_only
from runtime.cpu_layers import faster_on_cpu
from runtime.device import chosen_device
from training.validation import on_device

OWN_WIDTH, A_FIFTH = (320, 64, 128, 32, 1024), (64, 16, 26, 13, 208)      # of UNet, head, VAE, its groups, text
TOKENS = 77                                                  # of a prompt


def step_seconds(task: MotionTask, clips: MotionClips, position: int) -> float:
    """One step without the optimizer's, which is the same in both: read, encode, forward, backward. CPU time on a CPU."""
    on_gpu = task.model.device.type == "cuda"
    clock = time.perf_counter if on_gpu else time.process_time
    began = clock()
    batch = on_device(default_collate([clips[position % len(clips), position]]), task.model.device)
    task.objective(*task.inputs(batch)).mean().backward()
    task.objective.zero_grad(set_to_none=True)
    if on_gpu:
        torch.cuda.synchronize()
    return clock() - began


class Letters:
    """In a tokenizer's place: a token for every letter."""
    model_max_length = TOKENS

    def __call__(self, prompts: list[str], **options) -> BatchEncoding:
        padded = [prompt[:self.model_max_length].ljust(self.model_max_length) for prompt in prompts]
        return BatchEncoding({"input_ids": torch.tensor([[ord(letter) % 128 for letter in prompt] for prompt in padded])})


def networks(width: int, head: int, vae_width: int, groups: int,
             text_width: int) -> tuple[UNet3DConditionModel, AutoencoderKL, CLIPTextModel]:
    """ZeroScope's UNet, VAE and text encoder at these widths. head: width of a head, which `transformer_in` has eight of."""
    unet = UNet3DConditionModel(block_out_channels=tuple(width * n for n in (1, 2, 4, 4)), cross_attention_dim=text_width,
                                attention_head_dim=head)
    vae = AutoencoderKL(block_out_channels=tuple(vae_width * n for n in (1, 2, 4, 4)), norm_num_groups=groups, layers_per_block=2,
                        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    text = CLIPTextModel(CLIPTextConfig(vocab_size=128, hidden_size=text_width, intermediate_size=4 * text_width,
                                        num_hidden_layers=23, num_attention_heads=4, bos_token_id=0, eos_token_id=1,
                                        pad_token_id=1))
    return unet, vae, text


def random_model(shape: tuple[int, ...]) -> TextToVideo:
    """ZeroScope with random weights, its networks of this width."""
    torch.manual_seed(0)
    unet, vae, text = networks(*shape)
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "epsilon"}
    return TextToVideo(Letters(), text.eval(), unet.eval(), vae.eval(), noise, Path("random"))


def random_clips(folder: Path, num_frames: int, size: tuple[int, int]) -> list[Clip]:
    """Two clips of moving patches."""
    rng, clips = np.random.default_rng(0), []
    for number in range(2):
        patches = rng.integers(0, 256, (num_frames, size[0] // 16, size[1] // 16, 3), np.uint8)
        path = write_video(folder / f"{number}.mp4", patches.repeat(16, 1).repeat(16, 2), 24)
        clips.append(Clip(path, (f"a person doing the sks dance, number {number}",)))
    return clips


def compare(task: MotionTask, exemplars: list[Clip], num_frames: int, size: tuple[int, int], steps: int, folder: Path) -> str:
    """Both ways of working, and how they compare."""
    plain = MotionClips(exemplars, exemplars, num_frames, size)
    cache = LatentCache(folder, plain.fps, "measured")
    cache.fill(plain.all_clips(), task.model.encode_frames)
    cached, seconds = MotionClips(exemplars, exemplars, num_frames, size, cache=cache), {"in the step": [], "cached": []}
    with faster_on_cpu(task.objective, torch.device(task.model.device), training=True):
        for position in range(steps + 1):
            task.texts.clear()
            seconds["in the step"].append(step_seconds(task, plain, position))
            seconds["cached"].append(step_seconds(task, cached, position))       # the texts are remembered by now
    slow, fast = (statistics.median(values[1:]) for values in seconds.values())
    return f"latents and texts in the step {slow:.3f} s, cached {fast:.3f} s: {slow / fast:.2f} times as fast"


def operations(num_frames: int, size: tuple[int, int], checkpointing: bool) -> str:
    """Floating-point operations of a step with a prior clip at ZeroScope's size, and what VAE and text encoder add to them."""
    with torch.device("meta"):
        unet, vae, text = networks(*OWN_WIDTH)
        train_only(unet, PAPER)
        noisy = torch.empty(2, 4, num_frames, size[0] // 8, size[1] // 8)
        states = torch.empty(2, TOKENS, text.config.hidden_size)
        made, forward = counted(lambda: unet(noisy, torch.empty(2), states, return_dict=False)[0])
        _, backward = counted(lambda: made.square().mean().backward())
        with torch.no_grad():
            _, frame = counted(lambda: vae.encode(torch.empty(1, 3, *size)))
            _, texts = counted(lambda: text(torch.zeros(2, TOKENS, dtype=torch.long)))
    network, frozen = forward * (1 + checkpointing) + backward, 2 * num_frames * frame + texts
    return (f"VAE and text encoder {frozen / 1e12:.1f}, the network there and back {network / 1e12:.1f} trillion operations: "
            f"cached {1 + frozen / network:.2f} times as fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a pipeline folder; without one: random weights")
    parser.add_argument("clips", nargs="?", help="a folder of clips; they are their own prior")
    parser.add_argument("--size", type=whole_number(PIXELS_PER_LATENT, PIXELS_PER_LATENT), default=256)
    parser.add_argument("--frames", type=whole_number(1), default=8)
    parser.add_argument("--steps", type=whole_number(1), default=5)
    parser.add_argument("--no-checkpointing", action="store_true")
    parser.add_argument("--own-width", action="store_true", help="random weights as wide as ZeroScope's (default: a fifth)")
    parser.add_argument("--operations", action="store_true", help="count those of ZeroScope's own width; nothing is computed")
    chosen = parser.parse_args()
    if (chosen.model is None) != (chosen.clips is None):
        raise ValueError("clips: expected a folder of clips after the model's (found none): name both or neither")
    size = (chosen.size, chosen.size)
    if chosen.operations:
        print(operations(chosen.frames, size, not chosen.no_checkpointing))
        return
    model = TextToVideo.load(chosen.model, chosen_device("auto")) if chosen.model else random_model(OWN_WIDTH if chosen.own_width else A_FIFTH)
    task = MotionTask(model, PAPER, gradient_checkpointing=not chosen.no_checkpointing)
    with tempfile.TemporaryDirectory() as folder:
        exemplars = clips_in(chosen.clips, from_name=True) if chosen.clips else random_clips(Path(folder), chosen.frames, size)
        print(compare(task, exemplars, chosen.frames, size, chosen.steps, Path(folder) / "latents"))


if __name__ == "__main__":
    run_main(main)
