"""Train the demo's text-to-video model: small people in four colours doing five things, in ZeroScope's layout.

    python demo/train_text_to_video.py weights/demo/text_to_video --work outputs/train_text_to_video --vae weights/demo/svd/vae

The folder that is kept has no VAE: `with_vae` adds the demo's own, whose decoder works frame by frame. Interrupt it at
will: it goes on from its last checkpoint. scripts/demo_customization.py teaches the result a motion it never saw.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet3DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from configs import run_main, show_log, whole_number
from demo import demo_config
from media.files import read_json, save_text
from media.video_writer import write_video
from mimicmotion.checkpoint import encoder_key
from newmove.clips import Clip, LatentCache, MotionClips
from newmove.task import MotionTask
from newmove.text_to_video import fingerprint, TextToVideo, write_component
from runtime.weights import read_tensors
from synthetic.character import Character, Room
from synthetic.motions import sample_motion
from synthetic.render import render
from t2m.camera import Camera
from training.loop import train
from training_data.folder import require_equal

# -------------------------------------------------------------------------------------------------- people in clips

SIZE, FRAMES, FPS, SECONDS = (96, 80), 8, 4, 2.0       # pixels (height, width); frames; frames per second
COLOURS = {"red": (0.85, 0.15, 0.15), "green": (0.15, 0.65, 0.2), "blue": (0.15, 0.3, 0.85), "yellow": (0.9, 0.8, 0.15)}
MOTIONS = {                                            # what captions call it: kind, side, repetitions
    "raising both arms": ("raise_arm", "both", 1), "squatting": ("squat", None, 1), "bowing": ("bow", None, 1),
    "kicking": ("kick", "right", 1), "standing": ("stand", None, None)}
NEW_MOTION = ("arms_out", None, None)                  # in no clip the base is trained on
NEW_WORDS = "doing the sks dance"                      # what captions call that one
CAMERA = Camera(scale=0.40)
ROOM = Room((0.82, 0.82, 0.85), (0.5, 0.48, 0.46), "plain", 0.05, 1.0)
TROUSERS = (0.13, 0.13, 0.2)


def caption_of(colour: str, motion: str) -> str:
    return f"a person in {colour} is {motion}"


def person(seed: int, colour: str) -> Character:
    """A person with a shirt of this colour in a grey room; build, skin and hair colour differ by seed."""
    found = Character.sample(np.random.default_rng([seed, 0x7E0]))
    return replace(found, top=COLOURS[colour], bottom=TROUSERS, outfit="trousers", long_sleeves=True, stripe=None,
                   hair_style="short", room=ROOM)


def pictures(seed: int, colour: str, motion: tuple[str, str | None, int | None]) -> np.ndarray:
    """A clip (F, H, W, 3) uint8 RGB of a whole motion, which begins from standing."""
    kind, side, repetitions = motion
    who = person(seed, colour)
    made = sample_motion(kind, SECONDS, np.random.default_rng([seed, 0x7E1]), side=side, repetitions=repetitions, body=who.body)
    times = np.linspace(0, len(made.motion) - 1, FRAMES).round().astype(int)
    empty_room = ROOM.picture(SIZE)
    return np.stack([render(made.motion.joints[t], made.curl[t], who, CAMERA, SIZE, room=empty_room)[0] for t in times])


def write_clips(folder: Path, per_pair: int) -> list[Clip]:
    """Videos of every colour doing every motion, made where they are missing; one time in ten a clip has no caption."""
    clips = []
    for number, (colour, motion) in enumerate((c, m) for c in COLOURS for m in MOTIONS):
        for seed in range(number * 1000, number * 1000 + per_pair):
            path = folder / f"{colour}_{MOTIONS[motion][0]}_{seed}.mp4"
            if not path.is_file():
                write_video(path, pictures(seed, colour, MOTIONS[motion]), FPS)
            clips.append(Clip(path, (caption_of(colour, motion),) * 9 + ("",)))
    return clips


# ------------------------------------------------------------------------------------------------ an untrained model

TEXT_WIDTH, TOKENS = 32, 16                            # numbers of a token; tokens of a caption
WORDS = sorted({word for text in (*MOTIONS, *COLOURS, NEW_WORDS, "a person in is") for word in text.split()})
SPECIAL = ("<|pad|>", "<|startoftext|>", "<|endoftext|>")
UNET = dict(sample_size=12, block_out_channels=(32, 48), layers_per_block=1, attention_head_dim=4,
            down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"), up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
            cross_attention_dim=TEXT_WIDTH, norm_num_groups=16)
TEXT = dict(hidden_size=TEXT_WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=TOKENS, pad_token_id=0, bos_token_id=1, eos_token_id=2)
NOISE = {"_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
         "clip_sample": False, "num_train_timesteps": 1000, "prediction_type": "v_prediction", "set_alpha_to_one": False,
         "steps_offset": 1}
LAST_WRITTEN = "vae/diffusion_pytorch_model.safetensors"       # of a base: with it, all is there
SHARED_SIZES = ("block_out_channels", "down_block_types", "latent_channels", "layers_per_block", "scaling_factor", "sample_size")


def write_base(folder: Path, vae: Path) -> Path:
    """An untrained pipeline folder with the demo's VAE."""
    torch.manual_seed(0)
    width = read_json(vae / "config.json")["latent_channels"]
    network = UNet3DConditionModel(in_channels=width, out_channels=width, **UNET)
    write_component(folder / "unet", dict(network.config), network.state_dict(), "diffusion_pytorch_model", torch.float32)
    write_tokenizer(folder / "tokenizer")
    sizes = CLIPTextConfig(vocab_size=len(vocabulary()), **TEXT)
    text = CLIPTextModel(sizes)
    torch.nn.init.normal_(text.get_input_embeddings().weight)          # never trained: words must differ as they are
    tensors = {f"text_model.{name}": tensor for name, tensor in text.state_dict().items()}
    write_component(folder / "text_encoder", sizes.to_dict() | {"architectures": ["CLIPTextModel"]}, tensors, "model", torch.float32)
    save_text(folder / "scheduler" / "scheduler_config.json", json.dumps(NOISE, indent=2) + "\n")
    return with_vae(folder, vae)


def write_index(folder: Path, **left_out: list[None]) -> None:
    """model_index.json. left_out: [None, None] for a part that the folder does not have, as diffusers writes it."""
    save_text(folder / "model_index.json", json.dumps({"_class_name": "TextToVideoSDPipeline"} | left_out, indent=2) + "\n")


def with_vae(folder: Path, vae: Path) -> Path:
    """The pipeline folder, with a VAE of single frames in it that has the weights of the demo's."""
    config = read_json(vae / "config.json")
    single = AutoencoderKL(**{key: config[key] for key in SHARED_SIZES},
                           up_block_types=["UpDecoderBlock2D"] * len(config["block_out_channels"]))
    tensors = framewise(read_tensors(vae / "diffusion_pytorch_model.safetensors", torch.float32), single.state_dict())
    write_index(folder)
    write_component(folder / "vae", dict(single.config), tensors, "diffusion_pytorch_model", torch.float32)          # ends with LAST_WRITTEN
    return folder


def framewise(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a VAE with a temporal decoder as one without; its silent branches are left out.

    The middle of a temporal decoder of one layer is one residual block; what `wanted` has there besides adds nothing.
    """
    found = {name.replace(".spatial_res_block.", "."): tensor for name, tensor in tensors.items()}
    silent = ("decoder.mid_block.attentions.0.", "decoder.mid_block.resnets.1.")
    found |= {name: torch.zeros_like(tensor) for name, tensor in wanted.items() if name.startswith(silent)}
    found["post_quant_conv.weight"] = torch.eye(len(wanted["post_quant_conv.weight"]))[:, :, None, None]
    found["post_quant_conv.bias"] = torch.zeros_like(wanted["post_quant_conv.bias"])
    return {name: found[name] for name in wanted}


def write_tokenizer(folder: Path) -> None:
    """CLIP's kind of tokenizer, to which every word of our captions is one token."""
    save_text(folder / "vocab.json", json.dumps(vocabulary()))
    save_text(folder / "merges.txt", "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges(WORDS))]) + "\n")
    config = {"tokenizer_class": "CLIPTokenizer", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
              "unk_token": "<|endoftext|>", "pad_token": "<|pad|>", "model_max_length": TOKENS}
    save_text(folder / "tokenizer_config.json", json.dumps(config, indent=1))


def vocabulary() -> dict[str, int]:
    """Every token's number: the special ones, letters, and what merging them gives."""
    letters = sorted(set("".join(WORDS)))
    tokens = [*SPECIAL, *letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges(WORDS))]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte-pair merges that make one token of each word."""
    found: list[tuple[str, str]] = []
    for word in words:
        pieces = [*word[:-1], word[-1] + "</w>"]
        for pair in found:
            pieces = merged(pieces, pair)
        while len(pieces) > 1:
            found.append((pieces[0], pieces[1]))
            pieces = merged(pieces, found[-1])
    return found


def merged(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """The pieces of a word with every occurrence of the pair joined."""
    result, place = [], 0
    while place < len(pieces):
        joins = tuple(pieces[place:place + 2]) == pair
        result.append("".join(pieces[place:place + 1 + joins]))
        place += 1 + joins
    return result


# ---------------------------------------------------------------------------------------------------------- training

def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pipeline goes")
    parser.add_argument("--work", type=Path, required=True, help="folder for clips, latents and checkpoints")
    parser.add_argument("--vae", type=Path, required=True, help="the demo's VAE")
    parser.add_argument("--clips", type=whole_number(1), default=24, help="of each colour doing each thing")
    parser.add_argument("--steps", type=whole_number(1), default=1400)
    chosen = parser.parse_args()
    show_log()
    base = chosen.work / "base"
    require_equal(chosen.work / "settings.json", {"vae": encoder_key(chosen.vae)}, base)
    if not (base / LAST_WRITTEN).is_file():
        write_base(base, chosen.vae)
    model = TextToVideo.load(base)
    clips = MotionClips(write_clips(chosen.work / "clips", chosen.clips), [], FRAMES, SIZE, fps=FPS)
    clips.cache = LatentCache(chosen.work / "latents", clips.fps, fingerprint(base))
    clips.cache.fill(clips.all_clips(), model.encode_frames)
    config = demo_config(chosen.work / "run", max_steps=chosen.steps, batch_size=4, learning_rate=0.02, adam_learning_rate=2e-3,
                         warmup_steps=20, schedule="linear", final_learning_rate=0.05, ema_decay=0.99, mixed_precision="no",
                         checkpoint_every=100, log_every=10)
    train(MotionTask(model, "all", sampling="high-level", seed=config.seed), clips, config)
    model.save(chosen.folder)
    shutil.rmtree(chosen.folder / "vae")                               # half precision, and the demo has it already
    write_index(chosen.folder, vae=[None, None])


if __name__ == "__main__":
    run_main(main)
