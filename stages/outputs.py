"""What a run leaves for people to look at: run.yaml, poses.mp4, video.mp4 and storyboard.png."""

import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import yaml
from PIL import Image

from mimicmotion.film import Film
from mimicmotion.video import fit_to_canvas, read_image, write_video
from stages.folder import write_whole
from stages.settings import InferenceConfig
from stages.storyboard import Row, storyboard

PACKAGES = ("torch", "diffusers", "transformers", "onnxruntime", "numpy", "opencv-python-headless")


def write_settings(config: InferenceConfig, folder: Path) -> None:
    """run.yaml: a config file with every resolved setting, usable with --config; versions as comments."""
    versions = ", ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)])
    settings = yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True)
    write_whole(folder / "run.yaml", lambda partial: partial.write_text(f"# {versions}\n{settings}", encoding="utf-8"))


def films(config: InferenceConfig, folder: Path) -> dict[str, Film]:
    """By stage, the video in which people see it while the run goes on. Each pass takes the place of the one before."""
    passes = "video", *(f"refined_{i}" for i in range(1, config.refinements + 1))
    videos = {name: Film(folder / "video.mp4", config.fps) for name in passes}
    return {"poses": Film(folder / "poses.mp4", config.fps)} | videos


def write_outputs(config: InferenceConfig, folder: Path, rows: list[Row], segments: list,
                  films: dict[str, Film]) -> None:
    """The videos not yet written, and the sheet with all stages. rows: in the order of the stages, the result last."""
    poses = next((row for row in rows if row.label == "poses"), rows[0])
    for film, row in ((films["poses"], poses), (list(films.values())[-1], rows[-1])):
        if not film.is_written:                                   # its stage was taken from the last run, or only drawn
            write_video(film.path, row.frames, film.fps)
    image = fit_to_canvas(read_image(config.image), config.size)
    text = " ".join(config.prompt.split())
    if config.driving_video:
        text = f"the movement of {Path(config.driving_video).name}"
    footnote = f"{config.width}x{config.height}, {config.fps:g} fps, {len(rows[-1].frames)} frames, seed {config.seed}"
    plan = [(segment.text, segment.seconds) for segment in segments]
    sheet = storyboard(image, text, plan, rows, config.fps, footnote)
    write_whole(folder / "storyboard.png", lambda partial: Image.fromarray(sheet).save(partial))
