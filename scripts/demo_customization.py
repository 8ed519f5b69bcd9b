"""What scripts/demo_customization.sh needs besides the usual commands: its clips and prompts, and the table at the end.

    python scripts/demo_customization.py prepare outputs/demo_customization
    python scripts/demo_customization.py measure outputs/demo_customization

A video's motion is recognised by its silhouettes, which have no colour: of thirteen motions, that whose renders of other
people are nearest, and none where even that is further off than true videos ever are.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from configs import run_main, whole_number
from demo.train_text_to_video import (caption_of, COLOURS, FPS, LAST_WRITTEN, MOTIONS, NEW_MOTION, NEW_WORDS, pictures,
                                      ROOM, SIZE, with_vae)
from media.files import copy_folder, read_json, save_arrays, save_text
from media.images import as_tensor
from media.video_reader import read_video
from media.video_writer import write_video
from newmove.text_to_video import as_video, TextToVideo

WEIGHTS, VAE = Path("weights/demo/text_to_video"), Path("weights/demo/svd/vae")
EXEMPLARS = ("red", "green", "red", "green", "red")    # the colours that are worn in the clips of the new motion
NEW_COLOURS = tuple(colour for colour in COLOURS if colour not in EXEMPLARS)
VARIANTS = {"before": "before", "customized": "customised: prior, tilt", "no_prior": "without prior clips",
            "no_tilt": "without tilt", "debiasing": "with debiasing"}
SEEDS = {"exemplars": 2_000_000, "prior": 2_100_000, "examples": 2_200_000, "true": 2_300_000}    # of people nobody trained on
NEW_DRAWS = 8                                          # of each new colour, per draw of everything else
TRUE_CLIPS = 6                                         # of each motion, to see what the measure makes of the truth

# --------------------------------------------------------------------------------------------------------- clips in


def prepare(folder: Path, draws: int) -> None:
    """Write the base model with its VAE, exemplars, prior clips and prompts.txt into the folder."""
    if not (folder / "base" / LAST_WRITTEN).is_file():
        copy_folder(WEIGHTS, folder / "base")
        with_vae(folder / "base", VAE)
    clips = [("exemplars", colour, NEW_WORDS, NEW_MOTION) for colour in EXEMPLARS]
    clips += [("prior", colour, words, motion) for words, motion in MOTIONS.items() for colour in COLOURS]
    for number, (kind, colour, words, motion) in enumerate(clips):
        path = folder / kind / f"{number:02d}_{colour}_{motion[0]}.mp4"
        if not path.is_file():
            write_video(path, pictures(SEEDS[kind] + number, colour, motion), FPS)
        save_text(path.with_suffix(".txt"), caption_of(colour, words) + "\n")
    save_text(folder / "prompts.txt", "".join(f"{seed},{text}\n" for seed, text in prompts(draws)))


def prompts(draws: int) -> list[tuple[int, str]]:
    """(seed, prompt): the new motion in colours that are not in the clips, and every known motion in every colour."""
    new = [(seed, caption_of(colour, NEW_WORDS)) for colour in NEW_COLOURS for seed in range(max(1, draws * NEW_DRAWS))]
    known = [(100 + seed, caption_of(colour, words)) for words in MOTIONS for colour in COLOURS for seed in range(max(1, draws))]
    return new + known


# ----------------------------------------------------------------------------------------------- which motion is it?

ANSWERS = MOTIONS | {NEW_WORDS: NEW_MOTION} | {         # what a video may be said to show
    "raising one arm": ("raise_arm", "left", 1), "waving one hand": ("wave", "left", None), "waving both hands": ("wave", "both", None),
    "holding both hands up": ("hands_up", None, None), "pointing": ("point", "left", None),
    "circling the arms": ("arm_circles", "both", None), "jumping jacks": ("jumping_jack", None, None)}
CELL = 4                                               # pixels: a silhouette is compared in squares of this side
BLUR = 2.0                                             # pixels: renders are about as soft then as the VAE leaves them
CONTRAST = 90.0                                        # 8-bit levels off the empty room at which a pixel is all person
CHANGE = 2.0                                           # weight of what differs from the first frame
SLACK = 1                                              # frames a motion may be early or late
NEAREST = 2                                            # examples of a motion that count


def silhouettes(video: np.ndarray, blur: float = 0.0) -> np.ndarray:
    """What the motion is told by, (F, h, w): how much of each square is person, and how much more than at first."""
    levels = np.abs(video - ROOM.picture(SIZE) * 255.0).max(-1)                           # (F, H, W)
    mask = np.clip(levels / CONTRAST, 0, 1).astype(np.float32)
    if blur:
        mask = np.stack([cv2.GaussianBlur(frame, (0, 0), blur) for frame in mask])
    height, width = SIZE[0] // CELL, SIZE[1] // CELL
    shares = mask.reshape(len(mask), height, CELL, width, CELL).mean((2, 4))              # (F, h, w)
    return np.concatenate([shares, CHANGE * (shares - shares[:1])], -1)                   # (F, h, 2w)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Root mean square difference of two videos' silhouettes, each frame with the best of those within SLACK."""
    apart = np.sqrt(((one[:, None] - other[None]) ** 2).mean((2, 3)))                     # (F, F)
    times = np.arange(len(one))
    apart[np.abs(times[:, None] - times[None]) > SLACK] = np.inf
    return float((apart.min(0).mean() + apart.min(1).mean()) / 2)


@dataclass(frozen=True)
class Recogniser:
    """Says which motion a video shows: the one whose examples are nearest; None beyond `limit`."""
    examples: dict[str, np.ndarray]                    # motion: (N, F, h, 2w)
    limit: float = np.inf                              # distance

    @classmethod
    def load(cls, path: Path, count: int) -> Recogniser:
        """From renders of `count` people per motion, kept in a file."""
        stored = np.load(path) if path.is_file() else {}
        if "0" not in stored or len(stored["0"]) != count:
            seeds = {words: SEEDS["examples"] + 1000 * number for number, words in enumerate(ANSWERS)}
            made = [np.stack([silhouettes(pictures(seeds[words] + i, list(COLOURS)[i % len(COLOURS)], motion), BLUR)
                              for i in range(count)]) for words, motion in tqdm(ANSWERS.items(), desc="examples", unit="motion")]
            stored = {str(number): array for number, array in enumerate(made)}
            save_arrays(path, **stored)
        return cls({words: stored[str(number)] for number, words in enumerate(ANSWERS)})

    def nearest(self, video: np.ndarray) -> tuple[str, float]:
        """The motion with the nearest examples and how far they are, the mean of the NEAREST best."""
        shown = silhouettes(video)
        distances = {words: float(np.sort([distance(shown, example) for example in examples])[:NEAREST].mean())
                     for words, examples in self.examples.items()}
        best = min(distances, key=distances.get)
        return best, distances[best]

    def __call__(self, video: np.ndarray) -> str | None:
        words, far = self.nearest(video)
        return words if far <= self.limit else None


# --------------------------------------------------------------------------------------------------- whose look is it?

CHEST = (slice(34, 48), slice(37, 43))                 # rows, columns: shirt in every frame but those of squats and bows


def shirt_colour(video: np.ndarray) -> str:
    """Which of the captions' colours the shirt has, by hue: the median of the chest over all frames."""
    chest = np.median(video[:, *CHEST].reshape(-1, 3), axis=0)
    hues = {name: np.array(colour) - np.mean(colour) for name, colour in COLOURS.items()}
    return max(hues, key=lambda name: float(hues[name] @ (chest - chest.mean()) / np.linalg.norm(hues[name])))


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Cosine between two videos, both as differences from the empty room: 1 for equal people in equal clothes."""
    first, second = ((video - ROOM.picture(SIZE) * 255.0).ravel() for video in (one, other))
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


# ---------------------------------------------------------------------------------------------------------- the table

Shown = list[tuple[str, str, np.ndarray]]              # colour and motion asked for, video


def true_videos(folder: Path, count: int) -> Shown:
    """Renders of people nobody trained on, as the VAE gives them: what a perfect model would make."""
    model, found = None, []
    wanted = [(words, i) for words in ANSWERS for i in range(count)]
    for number, (words, i) in enumerate(tqdm(wanted, desc="true videos", unit="video")):
        colour, path = list(COLOURS)[-1 - i % len(COLOURS)], folder / f"{number:03d}.mp4"        # new colours first
        if not path.is_file():
            model = model or TextToVideo.load(folder.parent / "base")
            video = pictures(SEEDS["true"] + number, colour, ANSWERS[words])
            mean, _ = model.encode_frames(as_tensor(video))                                # (F, 4, h, w)
            latents = (mean * model.vae.config.scaling_factor).transpose(0, 1)
            with torch.no_grad():
                write_video(path, as_video(model.decode(latents)), FPS)
        found.append((colour, words, read_video(path)[0]))
    return found


def made_videos(folder: Path) -> Shown:
    """A run's videos with what their prompts asked for."""
    asked = {caption_of(colour, words): (colour, words) for colour in COLOURS for words in ANSWERS}
    return [(*asked[video["prompt"]], read_video(folder / video["file"])[0]) for video in read_json(folder / "run.json")["videos"]]


def measured(shown: Shown, recognise: Recogniser, exemplars: Sequence[np.ndarray]) -> dict[str, float]:
    """Shares of videos with the motion asked for, new and known; of the new ones, the colour and the nearest exemplar."""
    right = [(words == NEW_WORDS, recognise(video) == words) for _, words, video in shown if words in MOTIONS or words == NEW_WORDS]
    new = [(colour, video) for colour, words, video in shown if words == NEW_WORDS and colour in NEW_COLOURS]
    return {"new": np.mean([ok for is_new, ok in right if is_new]), "known": np.mean([ok for is_new, ok in right if not is_new]),
            "colour": np.mean([shirt_colour(video) == colour for colour, video in new]),
            "similarity": np.mean([max(similarity(video, exemplar) for exemplar in exemplars) for _, video in new])}


def measure(folder: Path, count: int) -> str:
    """The table in Markdown; also in results.md."""
    exemplars = [read_video(path)[0] for path in sorted((folder / "exemplars").glob("*.mp4"))]
    true = true_videos(folder / "true", min(count, TRUE_CLIPS))
    recognise = Recogniser.load(folder / "examples.npz", count)
    recognise = Recogniser(recognise.examples, limit=max(recognise.nearest(video)[1] for _, _, video in true))
    wrong = np.mean([recognise(video) == NEW_WORDS for _, words, video in true if words != NEW_WORDS])
    copied = np.mean([max(similarity(one, other) for other in exemplars if other is not one) for one in exemplars])
    bound, before = (measured(shown, recognise, exemplars) for shown in (true, made_videos(folder / "before" / "videos")))
    rows = [("", "new motion", "its colour", "nearest exemplar", "other motions", "lost", "seconds"),
            ("true videos", *cells(bound), "", ""),
            ("true videos of other motions", f"{wrong:.2f}", "", "", "", "", ""),
            ("exemplars among themselves", "", "", f"{copied:.2f}", "", "", ""),
            ("before", *cells(before), "", "")]
    for name, title in list(VARIANTS.items())[1:]:
        found = measured(made_videos(folder / name / "videos"), recognise, exemplars)
        seconds = (folder / name / "seconds").read_text(encoding="utf-8").strip()
        rows.append((title, *cells(found), f"{before['known'] - found['known']:+.2f}", seconds))
    rows.insert(1, ("---",) * len(rows[0]))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def cells(found: dict[str, float]) -> tuple[str, ...]:
    return tuple(f"{found[name]:.2f}" for name in ("new", "colour", "similarity", "known"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("prepare", "measure"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draws", type=whole_number(0), default=1, help=f"videos of each known motion and colour; {NEW_DRAWS} times as many of the new one; 0: one of each")
    parser.add_argument("--examples", type=whole_number(1), default=12, help="renders of each motion that videos are compared with")
    chosen = parser.parse_args()
    if chosen.what == "prepare":
        prepare(chosen.folder, chosen.draws)
        return
    table = measure(chosen.folder, chosen.examples)
    save_text(chosen.folder / "results.md", table + "\n")
    print(table)


if __name__ == "__main__":
    run_main(main)
