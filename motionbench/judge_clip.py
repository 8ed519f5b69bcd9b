"""The judge that reads pictures and words: which motion's prompt fits the video best, by a video-text model (X-CLIP)?

Contrastive models tell actions apart, but hardly left from right: read its score beside the pose judge's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from motionbench.distribution import spread_frames
from motionbench.judges import Verdict
from motionbench.metrics import ClipCase
from motionbench.networks import is_there, quiet_transformers
from motionbench.prompts import BenchMotion

MODEL = "microsoft/xclip-base-patch32"
PAPER_GREY = 124                                # round the picture, where it is not square
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)        # RGB, of X-CLIP's training pictures in [0, 1]


@dataclass(frozen=True)
class ClipJudge:
    """X-CLIP and the embedded prompts of the benchmark's motions."""

    model: torch.nn.Module
    tokens: dict[str, Tensor]           # of the prompts, (L, tokens)
    labels: tuple[str, ...]
    device: str = "cpu"
    name: str = "clip"
    needs: tuple[str, ...] = ()
    formula: str = "share of clips whose evenly spaced frames fit the prompted motion's prompt best of all prompts"
    source: str = f"X-CLIP (Ni et al. 2022), transformers, {MODEL}"

    @classmethod
    def load(cls, folder: str | os.PathLike, motions: Sequence[BenchMotion], device: str = "cpu") -> ClipJudge:
        """From a folder of transformers; nothing is downloaded."""
        from transformers import AutoTokenizer, XCLIPModel

        if not is_there(folder):
            raise ValueError(f"judge clip: expected X-CLIP in {folder} (found none): "
                             f"run: hf download {MODEL} --local-dir {folder}")
        try:
            with quiet_transformers():
                model = XCLIPModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
            model = model.to(device).eval()
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ValueError(f"judge clip: expected X-CLIP and its tokenizer in {folder} "
                             f"({str(error).splitlines()[0]}): run: hf download {MODEL} --local-dir {folder}") from error
        tokens = tokenizer([motion.prompt for motion in motions], padding=True, return_tensors="pt").to(device)
        kept = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        return cls(model, kept, tuple(motion.name for motion in motions), device)

    def target(self, motion: str) -> str:
        return motion

    @torch.no_grad()
    def verdict(self, case: ClipCase) -> Verdict:
        vision = self.model.config.vision_config
        pixels = frame_pixels(case.video, vision.num_frames, vision.image_size).to(self.device)
        logits = self.model(pixel_values=pixels[None], **self.tokens).logits_per_video[0]   # (L,)
        share = logits.softmax(dim=0)
        best = int(share.argmax())
        return Verdict(self.labels[best], f"{self.labels[best]} with {share[best]:.0%}")


def frame_pixels(video: np.ndarray, number: int, side: int) -> Tensor:
    """`number` evenly spaced frames, each whole on a grey square, normalised. (F, H, W, 3) -> (number, 3, side, side)

    X-CLIP's own preparation crops the middle, which cuts head and feet off a standing person.
    """
    frames = spread_frames(video, number)
    frames = np.concatenate([frames, np.repeat(frames[-1:], number - len(frames), axis=0)])
    height, width = frames.shape[1:3]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = np.full((number, side, side, 3), PAPER_GREY, np.uint8)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    for square, frame in zip(canvas, frames):
        picture = Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)
        square[top:top + size[1], left:left + size[0]] = picture
    pixels = (torch.from_numpy(canvas).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    return pixels.movedim(-1, 1)                                                            # (number, 3, side, side)
