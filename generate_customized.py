"""Videos of prompts from a text-to-video model, customised or not, with a gallery to look at them.

    python generate_customized.py -m outputs/motion -o outputs/motion/videos -p data/prompts.txt
    python generate_customized.py -m outputs/motion -o out -p "a robot doing the sks dance | a cat doing it" -s random
    python generate_customized.py -m zs -o out -p "a man waves" -n "blurry" -r 320x576 -d 24 -steps 30
    accelerate launch generate_customized.py -m outputs/motion -o out -p data/prompts.txt        one part per GPU

A prompts file has one `seed,prompt` a line. The same command again makes what is missing.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import math
import re
import sys
from functools import partial
from pathlib import Path

import torch

from configs import run_main, show_log
from newmove.generation import check_weights, generate, load_customized, mark, module_of, prompts_from, seed_setting
from newmove.text_to_video import DEFAULTS
from runtime.device import chosen_device, chosen_dtype
from runtime.processes import join_processes

DTYPES = ("auto", "float16", "bfloat16", "float32")


def options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("-m", metavar="WEIGHTS", required=True, help="what train_motion_customization.py wrote, a pipeline folder, zs or ms")
    add("-o", metavar="OUT", required=True, type=Path, help="folder for the videos and gallery.html")
    add("-p", metavar="PROMPTS", required=True, help="a prompts file, or prompts with | between them")
    add("-s", metavar="SEED", default="44", help="for prompts without one: an integer, or random (44)")
    add("-n", metavar="NEGATIVE", default="", help="negative prompt")
    add("-r", metavar="SIZE", help="side in pixels, or HEIGHTxWIDTH (384; Wan 480x832)")
    add("-d", metavar="FRAMES", type=int, help="frames (16; Wan 81)")
    add("-steps", metavar="STEPS", type=int, help="sampling steps (50)")
    add("-guidance", metavar="SCALE", type=float, help="classifier-free guidance; 1 is none (9; Wan 5)")
    add("--base", metavar="FOLDER", help="the pipeline the weights were trained from, if it is no longer where it was")
    add("--exemplars", metavar="FOLDER", type=Path, help="clips to show beside the videos in the gallery")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--dtype", default="auto", choices=DTYPES)
    return parser.parse_args(argv)


def size_of(option: str, text: str) -> tuple[int, int]:
    """(height, width) in pixels, as an option names it."""
    found = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text.strip())
    if not found:
        raise ValueError(f"{option}: expected a side in pixels or HEIGHTxWIDTH (found '{text}'): for example {option} 384")
    return int(found[1]), int(found[2] or found[1])


def sampling_of(chosen: argparse.Namespace, defaults: dict) -> dict:
    """The sampler's settings: what was asked for, else what the model was made for."""
    for name, value in (("d", chosen.d), ("steps", chosen.steps)):
        if value is not None and value < 1:
            raise ValueError(f"-{name}: expected at least 1 (found {value}): raise it")
    if chosen.guidance is not None and not math.isfinite(chosen.guidance):
        raise ValueError(f"-guidance: expected a number (found {chosen.guidance}): 9 is usual, 1 is none")
    asked = {"size": None if chosen.r is None else size_of("-r", chosen.r), "num_frames": chosen.d, "num_inference_steps": chosen.steps,
             "guidance_scale": chosen.guidance}
    return {name: defaults[name] if value is None else value for name, value in asked.items()} | {"negative_prompt": chosen.n}


def main(argv: list[str] | None = None) -> None:
    show_log()
    chosen = options(sys.argv[1:] if argv is None else argv)
    prompts = prompts_from(chosen.p, seed_setting(chosen.s))
    sampling_of(chosen, DEFAULTS)                                      # mistakes in it come before those of the weights
    defaults = module_of(check_weights(chosen.m, chosen.base)).DEFAULTS
    sampling = sampling_of(chosen, defaults)
    settings = {"weights": mark(chosen.m)} | sampling | {"size": list(sampling["size"])}
    device = chosen_device(chosen.device)
    processes = join_processes(torch.device(device))
    prompts = processes.shared(prompts)                                # -s random is drawn once for all processes
    model = load_customized(chosen.m, chosen.base, device, chosen_dtype(chosen.dtype, device))
    make = partial(model, progress=processes.is_main, **sampling)
    page = generate(make, prompts, chosen.o, settings, fps=defaults["fps"], exemplars=chosen.exemplars, processes=processes)
    if processes.is_main:
        print(page)


if __name__ == "__main__":
    run_main(main)
