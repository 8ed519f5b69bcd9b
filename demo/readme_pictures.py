"""Make the README's pictures with our own code: the large figure, the loop on top, and storyboards of the demo weights.

    python demo/readme_pictures.py                  # everything: runs go to outputs/readme_*, pictures to assets/
    python demo/readme_pictures.py loop             # one part: figure, loop or storyboards

Runs that are there already are reused stage by stage. The figure and the loop need no weights of others.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import inference
from configs import run_main
from dwpose.draw import draw
from dwpose.skeleton import Skeleton
from media.images import read_image
from media.video_writer import load_frames
from run.framing import around_person
from run.storyboard import font, INK, PAPER, wrapped
from synthetic.character import Character, Room
from synthetic.clips import HELD_OUT_SEED, sample_clip
from t2m.camera import Camera

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "assets"
PROMPTS = (
    "A person waves with the right hand, then does two squats and jumps. Finally the person bows.",
    "The person does three jumping jacks. Then they kick with the left leg.",
    "Someone raises both arms, then claps. After that they turn around.",
    "A person throws a ball with the left hand and then walks forward.",
)
LOOP_PROMPT = "She waves with the right hand, does a jumping jack, then kicks with the left leg."
LOOP_FPS, LOOP_HEIGHT, LOOP_QUALITY = 10.0, 384, 70       # frames a second, pixels, of WebP
THUMB_HEIGHT = 96                                   # pixels
GAP, MARGIN = 6, 20                                 # pixels
ROOM = Room((0.86, 0.88, 0.84), (0.55, 0.47, 0.40), "plain", 0.05, 1.0)
LOOKS = dict(hair_style="bob", hair=(0.16, 0.11, 0.09), top=(0.15, 0.37, 0.43), bottom=(0.24, 0.23, 0.26), outfit="trousers",
             skin=(0.78, 0.53, 0.37), shoes=(0.92, 0.92, 0.91), stripe=None, sunglasses=False, beard=False, long_sleeves=True,
             girth=0.95, head_size=1.15, room=ROOM)


def figure() -> None:
    """assets/person_large.png: one of our procedural people at 576x1024, whom every photograph's command can move."""
    character = replace(Character.sample(np.random.default_rng(3)), **LOOKS)
    camera = Camera(yaw=0.0, distance=5.0, scale=0.37, height=0.95, centre_x=0.5, centre_y=0.56)
    clip = sample_clip(HELD_OUT_SEED, "stand", num_frames=1, size=(1024, 576), character=character, camera=camera)
    Image.fromarray(clip.reference).save(ASSETS / "person_large.png", optimize=True)


def loop() -> None:
    """assets/loop.webp: picture and text, the skeleton and the video beside each other, over and over."""
    run = finished_run("photo.yaml", "readme_loop", LOOP_PROMPT, f"fps={LOOP_FPS}", "puppet.mask=colour", "pose.detector=demo")
    video = load_frames(run / "frames" / "video.mkv")                                   # (F, 1024, 576, 3)
    poses = draw(Skeleton.load(run / "skeleton.npz"), "bold")
    still = np.broadcast_to(framed_picture(run), video.shape)
    frames = [loop_frame(*moment) for moment in zip(still, poses, video)]
    frames[0].save(ASSETS / "loop.webp", save_all=True, append_images=frames[1:], duration=round(1000 / LOOP_FPS), loop=0,
                   quality=LOOP_QUALITY, method=6)
    for name, frame in (("thumb_photo", video[len(video) // 5]), ("thumb_poses", poses[len(poses) // 2])):
        save_thumb(frame, name)


def framed_picture(run: Path) -> np.ndarray:
    """The picture as the run framed it, (H, W, 3) uint8."""
    person = Skeleton.load(run / "person.npz")
    return around_person(read_image(ASSETS / "person_large.png"), person, (1024, 576), "person_large.png")[0]


def loop_frame(image: np.ndarray, pose: np.ndarray, frame: np.ndarray) -> Image.Image:
    """One frame of the loop: the picture with the words under it, the skeleton, the video."""
    cell = (round(LOOP_HEIGHT * image.shape[1] / image.shape[0]), LOOP_HEIGHT)
    lines = wrapped(f"“{LOOP_PROMPT}”", 18, 3 * cell[0])
    sheet = Image.new("RGB", (3 * cell[0] + 2 * GAP + 2 * MARGIN, cell[1] + 2 * MARGIN + 26 * len(lines) + 8), PAPER)
    for column, picture in enumerate((image, pose, frame)):
        sheet.paste(Image.fromarray(picture).resize(cell, Image.Resampling.LANCZOS), (MARGIN + column * (cell[0] + GAP), MARGIN))
    for i, line in enumerate(lines):
        ImageDraw.Draw(sheet).text((MARGIN, MARGIN + cell[1] + 12 + 26 * i), line, INK, font(18))
    return sheet


def storyboards() -> None:
    """assets/storyboard_1.jpg ... of runs with the demo weights."""
    for number, prompt in enumerate(PROMPTS, start=1):
        run = finished_run("demo.yaml", f"readme_{number}", prompt)
        Image.open(run / "storyboard.png").convert("RGB").save(ASSETS / f"storyboard_{number}.jpg", quality=88, optimize=True)
        if number == 1:
            video = load_frames(run / "frames" / "refined_1.mkv")
            save_thumb(video[len(video) // 2], "thumb_demo")


def finished_run(config: str, name: str, prompt: str, *settings: str) -> Path:
    """The folder of a run of inference.py."""
    arguments = ["--config", str(ROOT / "configs" / config), f"prompt={prompt}", f"name={name}", "resume=true", *settings]
    if inference.main(arguments):
        raise SystemExit(f"{name}: inference.py did not finish")
    return Path("outputs") / name


def save_thumb(frame: np.ndarray, name: str) -> None:
    """assets/<name>.jpg, a small frame (H, W, 3) for the README's table."""
    width = round(THUMB_HEIGHT * frame.shape[1] / frame.shape[0])
    Image.fromarray(frame).resize((width, THUMB_HEIGHT), Image.Resampling.LANCZOS).save(ASSETS / f"{name}.jpg", quality=85)


PARTS = {"figure": figure, "loop": loop, "storyboards": storyboards}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to make; all when left out")
    for name in parser.parse_args().parts or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    run_main(main)
