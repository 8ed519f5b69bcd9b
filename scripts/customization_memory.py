"""GPU memory of a training step of ZeroScope or ModelScope, by arithmetic: no weights, no GPU.

    python scripts/customization_memory.py
    python scripts/customization_memory.py --size 320x576 --frames 24 --optimizer adamw
"""
from __future__ import annotations

import argparse

import torch
from diffusers import UNet3DConditionModel
from torch import nn

from newmove.memory import ADAM_BYTES, training_memory
from newmove.trainable import PAPER

ZEROSCOPE = dict(sample_size=32, block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=1024, attention_head_dim=64)
CLIPS, WORDS = 2, 77                        # exemplar and prior; CLIP's length


def estimate(size: tuple[int, int], num_frames: int, optimizer: str, checkpointing: bool) -> dict[str, float]:
    """Bytes of one step at `size` (height, width) pixels."""
    with torch.device("meta"):
        network = nn.Module.to(UNet3DConditionModel(**ZEROSCOPE), torch.half)
        inputs = (torch.empty(CLIPS, 4, num_frames, size[0] // 8, size[1] // 8, dtype=torch.half),
                  torch.empty(CLIPS, dtype=torch.int64), torch.empty(CLIPS, WORDS, 1024, dtype=torch.half))
    return training_memory(network, PAPER, inputs, optimizer=optimizer, checkpointing=checkpointing)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="384x384", help="HEIGHTxWIDTH in pixels")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--optimizer", choices=ADAM_BYTES, default="adamw_8bit")
    parser.add_argument("--no-checkpointing", action="store_true")
    chosen = parser.parse_args()
    size = tuple(map(int, chosen.size.split("x")))
    found = estimate(size, chosen.frames, chosen.optimizer, not chosen.no_checkpointing)
    print(f"{chosen.size}, {chosen.frames} frames, exemplar and prior, {chosen.optimizer}: GB")
    for name, size_in_bytes in found.items():
        print(f"{name:36} {size_in_bytes / 1e9:7.2f}")


if __name__ == "__main__":
    main()
