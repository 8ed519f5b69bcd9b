"""Make the README's pictures with our own code: four runs of inference.py, their storyboards and the strip on top.

    python demo/readme_pictures.py            # runs go to outputs/readme_1 ... 4, pictures to assets/

Runs that are there already are reused stage by stage.
"""
from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import inference
from configs import run_main
from media.images import read_image
from media.video_reader import read_video
from run.storyboard import FAINT, font, INK, PAPER, wrapped

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "assets"
PROMPTS = (
    "A person waves with the right hand, then does two squats and jumps. Finally the person bows.",
    "The person does three jumping jacks. Then they kick with the left leg.",
    "Someone raises both arms, then claps. After that they turn around.",
    "A person throws a ball with the left hand and then walks forward.",
)
STRIP_COLUMNS = 5
CELL_HEIGHT, GAP, MARGIN = 260, 6, 20               # pixels


def strip(image: np.ndarray, prompt: str, poses: np.ndarray, video: np.ndarray) -> Image.Image:
    """Picture and text at the left, then poses above the video, at the same moments."""
    cell = (round(CELL_HEIGHT * image.shape[1] / image.shape[0]), CELL_HEIGHT)
    left = MARGIN + cell[0] + 30
    sheet = Image.new("RGB", (left + STRIP_COLUMNS * (cell[0] + GAP) + MARGIN, 2 * (cell[1] + GAP) + 2 * MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    sheet.paste(Image.fromarray(image).resize(cell, Image.Resampling.LANCZOS), (MARGIN, MARGIN))
    pen.text((MARGIN, MARGIN + cell[1] + 12), "picture + text", FAINT, font(13))
    for i, line in enumerate(wrapped(prompt, 16, cell[0] + 20)):
        pen.text((MARGIN, MARGIN + cell[1] + 36 + 22 * i), line, INK, font(16))
    for column in range(STRIP_COLUMNS):
        moment = round((column + 0.5) * len(video) / STRIP_COLUMNS)
        for row, frames in enumerate((poses, video)):
            picture = Image.fromarray(frames[min(moment, len(frames) - 1)]).resize(cell, Image.Resampling.LANCZOS)
            sheet.paste(picture, (left + column * (cell[0] + GAP), MARGIN + row * (cell[1] + GAP)))
    return sheet


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for number, prompt in enumerate(PROMPTS, start=1):
        name = f"readme_{number}"
        arguments = ["--config", str(ROOT / "configs" / "demo.yaml"), f"prompt={prompt}", f"name={name}", "resume=true"]
        if inference.main(arguments):
            raise SystemExit(f"{name}: inference.py did not finish")
        run = Path("outputs") / name
        storyboard = Image.open(run / "storyboard.png").convert("RGB")
        storyboard.save(ASSETS / f"storyboard_{number}.jpg", quality=88, optimize=True)
        if number == 1:
            poses, video = read_video(run / "poses.mp4")[0], read_video(run / "video.mp4")[0]
            strip(read_image(ASSETS / "person.png"), prompt, poses, video).save(ASSETS / "strip.png", optimize=True)


if __name__ == "__main__":
    run_main(main)
