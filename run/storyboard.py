"""What a run leaves for people to look at: storyboard.png, video.mp4, poses.mp4 and run.yaml."""
import platform
import textwrap
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import yaml
from PIL import Image, ImageDraw, ImageFont

from media.files import one_line, save_atomically, save_text
from media.images import fit_to_canvas
from media.video_writer import StreamingVideoWriter, write_video
from run.framing import read_picture
from run.settings import InferenceConfig

COLUMNS = 8
MARGIN, GAP, LABEL_WIDTH = 28, 6, 118                       # pixels
CELL_WIDTH = 148                                            # pixels; a cell's height follows the video's shape
HEADER_HEIGHT, PLAN_HEIGHT, TIME_HEIGHT = 200, 66, 24       # pixels
PAPER, INK, FAINT, RULE = (250, 249, 246), (32, 34, 38), (122, 126, 134), (222, 220, 214)
SEGMENT_COLOURS = ((58, 110, 165), (196, 98, 45), (72, 132, 92), (134, 84, 150), (168, 130, 40), (60, 132, 140))
PACKAGES = ("torch", "diffusers", "transformers", "onnxruntime", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Row:
    """One stage's frames, evenly spread over the whole clip."""
    label: str
    note: str             # a few words under the label
    frames: np.ndarray    # (F, H, W, 3) uint8 RGB


def storyboard(image: np.ndarray, prompt: str, plan: list[tuple[str, float]], rows: list[Row], fps: float,
               footnote: str = "") -> np.ndarray:
    """The sheet, (H, W, 3) uint8 RGB. image: (h, w, 3) the reference; plan: (text, seconds) in order, or none."""
    num_frames = max(len(row.frames) for row in rows)
    height, width = rows[0].frames.shape[1:3]
    cell = (round(CELL_WIDTH * height / width), CELL_WIDTH)
    plan_height = PLAN_HEIGHT if plan else 0
    across = COLUMNS * (CELL_WIDTH + GAP) - GAP
    sheet_width = 2 * MARGIN + LABEL_WIDTH + across
    sheet_height = 2 * MARGIN + HEADER_HEIGHT + plan_height + TIME_HEIGHT + len(rows) * (cell[0] + GAP) + 20
    sheet = Image.new("RGB", (sheet_width, sheet_height), PAPER)
    pen, left, top = ImageDraw.Draw(sheet), MARGIN + LABEL_WIDTH, MARGIN

    draw_header(sheet, pen, image, "picture + text" if plan else "picture + video", prompt, top)
    top += HEADER_HEIGHT
    if plan:
        draw_plan(pen, plan, num_frames / fps, left, top, across)
        top += plan_height
    shown = [int((i + 0.5) * num_frames / COLUMNS) for i in range(COLUMNS)]         # a column's middle is its time
    for column, frame in enumerate(shown):
        middle = left + column * (CELL_WIDTH + GAP) + CELL_WIDTH / 2
        pen.text((middle, top + 8), f"{frame / fps:.1f} s", FAINT, font(13), anchor="mm")
    top += TIME_HEIGHT
    for row in rows:
        draw_row(sheet, pen, row, [min(frame, len(row.frames) - 1) for frame in shown], left, top, cell)
        top += cell[0] + GAP
    pen.text((sheet_width - MARGIN, top + 14), footnote, FAINT, font(12), anchor="rm")
    return np.asarray(sheet)


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def draw_header(sheet: Image.Image, pen: ImageDraw.ImageDraw, image: np.ndarray, label: str, prompt: str,
                top: int) -> None:
    """The reference picture, and the prompt beside it."""
    height = HEADER_HEIGHT - 24
    width = round(height * image.shape[1] / image.shape[0])
    picture = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    sheet.paste(picture, (MARGIN, top))
    left = max(MARGIN + picture.width + 24, MARGIN + LABEL_WIDTH)
    room = sheet.width - MARGIN - left
    size = next(size for size in (34, 28, 24, 20, 16, 12)
                if size == 12 or len(wrapped(prompt, size, room)) * size * 1.4 < height - 34)
    lines = wrapped(prompt, size, room)
    fits = int((height - 34) / (size * 1.4))
    if len(lines) > fits:
        lines = [*lines[:fits - 1], lines[fits - 1] + " …"]
    pen.text((left, top + 4), label, FAINT, font(14))
    for i, line in enumerate(lines):
        pen.text((left, top + 34 + i * size * 1.4), line, INK, font(size))


def wrapped(text: str, size: int, room: int) -> list[str]:
    """Lines of text no wider than `room` pixels."""
    per_line = max(int(room / (size * 0.5)), 10)
    lines = textwrap.wrap(text, per_line)
    while per_line > 10 and any(font(size).getlength(line) > room for line in lines):
        per_line -= 2
        lines = textwrap.wrap(text, per_line)
    return lines


def draw_plan(pen: ImageDraw.ImageDraw, plan: list[tuple[str, float]], seconds: float, left: int, top: int,
              across: int) -> None:
    """One bar per segment, as long as it lasts, with its text."""
    pen.text((MARGIN, top + 10), "plan", INK, font(16))
    pen.text((MARGIN, top + 31), f"{seconds:.1f} s", FAINT, font(12))
    total, start = sum(length for _, length in plan), 0.0
    for i, (text, length) in enumerate(plan):
        x0, x1 = left + across * start / total, left + across * (start + length) / total - 3
        start += length
        pen.rounded_rectangle((x0, top + 4, x1, top + 52), 6, SEGMENT_COLOURS[i % len(SEGMENT_COLOURS)])
        lines = wrapped(text, 14, max(int(x1 - x0 - 16), 24))[:2]
        for j, line in enumerate(lines):
            while line and font(14).getlength(line) > x1 - x0 - 12:
                line = line[:-1]
            pen.text((x0 + 8, top + 28 + (j - (len(lines) - 1) / 2) * 18), line, (255, 255, 255), font(14), anchor="lm")


def draw_row(sheet: Image.Image, pen: ImageDraw.ImageDraw, row: Row, shown: list[int], left: int, top: int,
             cell: tuple[int, int]) -> None:
    """The stage's name at the left, then its frames."""
    pen.line((MARGIN, top, left - GAP, top), RULE)
    pen.text((MARGIN, top + 10), row.label, INK, font(16))
    for i, line in enumerate(textwrap.wrap(row.note, 17)):
        pen.text((MARGIN, top + 34 + 15 * i), line, FAINT, font(12))
    for column, frame in enumerate(shown):
        picture = Image.fromarray(row.frames[frame]).resize((cell[1], cell[0]), Image.Resampling.LANCZOS)
        sheet.paste(picture, (left + column * (CELL_WIDTH + GAP), top))


def write_settings(config: InferenceConfig, folder: Path) -> None:
    """run.yaml: a config file with every resolved setting, usable with --config; versions as comments."""
    versions = ", ".join([f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)])
    settings = yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True)
    save_text(folder / "run.yaml", f"# {versions}\n{settings}")


def video_writers(config: InferenceConfig, folder: Path) -> dict[str, StreamingVideoWriter]:
    """By stage, the video in which people see it while the run goes on. Each pass takes the place of the one before."""
    passes = "video", *(f"refined_{i}" for i in range(1, config.refinements + 1))
    return {"poses": StreamingVideoWriter(folder / "poses.mp4", config.fps)} | {
        name: StreamingVideoWriter(folder / "video.mp4", config.fps) for name in passes}


def write_outputs(config: InferenceConfig, folder: Path, rows: list[Row], segments: list,
                  writers: dict[str, StreamingVideoWriter]) -> None:
    """The videos not yet written, and the sheet with all stages. rows: in the order of the stages, the result last."""
    poses = next((row for row in rows if row.label == "poses"), rows[0])
    for writer, row in ((writers["poses"], poses), (list(writers.values())[-1], rows[-1])):
        if writer.num_frames != len(row.frames):      # taken from the last run, only drawn, or not shown to its end
            write_video(writer.path, row.frames, writer.fps)
    image = fit_to_canvas(read_picture(config.image, config.size), config.size)
    text = one_line(config.prompt)
    if config.driving_video:
        text = f"the movement of {Path(config.driving_video).name}"
    footnote = f"{config.width}x{config.height}, {config.fps:g} fps, {len(rows[-1].frames)} frames, seed {config.seed}"
    plan = [(segment.text, segment.seconds) for segment in segments]
    sheet = storyboard(image, text, plan, rows, config.fps, footnote)
    save_atomically(folder / "storyboard.png", lambda partial: Image.fromarray(sheet).save(partial, "PNG"))
