"""A customised model as a complete diffusers pipeline folder, for other programs.

    python scripts/export_customization.py outputs/motion weights/sks_dance
    python scripts/export_customization.py outputs/motion weights/sks_dance --dtype float32 --base weights/zeroscope

Training goes on from outputs/motion, never from the export: float16 rounds away most of what a few steps change. A Wan
LoRA needs no export: WanPipeline.load_lora_weights reads it as it is.
"""
from __future__ import annotations

import argparse
from pathlib import Path

import torch

from configs import run_main, show_log
from newmove.text_to_video import TextToVideo
from newmove.weights import load_customized


def main(argv: list[str] | None = None) -> None:
    show_log()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="what train_motion_customization.py wrote")
    parser.add_argument("folder", type=Path, help="where the pipeline goes")
    parser.add_argument("--base", help="the pipeline the weights were trained from, if it is no longer where it was")
    parser.add_argument("--dtype", default="float16", choices=("float16", "bfloat16", "float32"))
    chosen = parser.parse_args(argv)
    if chosen.folder.exists() and any(chosen.folder.iterdir()):
        raise ValueError(f"{chosen.folder}: expected a new folder (found files in it): choose another")
    model = load_customized(chosen.weights, chosen.base)
    if not isinstance(model, TextToVideo):
        raise ValueError(f"{chosen.weights}: expected a customised ZeroScope or ModelScope (found a LoRA of Wan): "
                         "WanPipeline.load_lora_weights reads it as it is")
    print(model.save(chosen.folder, getattr(torch, chosen.dtype)))


if __name__ == "__main__":
    run_main(main)
