"""What a person looks at after preparing data: a page with the counts, the skips by reason, and sample frames."""
from __future__ import annotations

import base64
import html
from collections import Counter
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dwpose.draw import draw
from dwpose.skeleton import Skeleton
from mimicmotion.checkpoint import save_atomically
from mimicmotion.clips import frames_at
from training_data.folder import DataFolder, total_seconds, write_text

SAMPLES, COLUMNS = 24, 6
CELL = 240                      # pixels, the height of a sample frame
GAP, CAPTION_HEIGHT = 6, 34     # pixels
HEADER_HEIGHT = 30              # pixels, and again for each reason
PAPER, INK, FAINT = (250, 249, 246), (32, 34, 38), (122, 126, 134)
SHOWN_SKIPS = 200               # lines of the page's list
RANGES = (("seconds", lambda clip: clip["num_frames"] / clip["fps"]),
          ("frames per second", lambda clip: clip["fps"]),
          ("motion bucket", lambda clip: clip["motion_bucket"]),
          ("person height, of the frame's", lambda clip: clip["person"]),
          ("left hand confidence", lambda clip: clip["left_hand"]),
          ("right hand confidence", lambda clip: clip["right_hand"]))


def write_summary(folder: DataFolder, lines: list[dict]) -> Path:
    """summary.html and contact_sheet.png from the manifest's lines. Equal lines give equal files."""
    clips = sorted((line for line in lines if "skip" not in line), key=lambda line: line["clip"])
    reasons = Counter(line["skip"] for line in lines if "skip" in line).most_common()
    spread = np.unique(np.linspace(0, len(clips) - 1, min(SAMPLES, len(clips))).round().astype(int)) if clips else []
    samples = [(clips[index], sample_picture(folder, clips[index])) for index in spread]
    headline = f"{len(clips)} clips, {total_seconds(clips) / 60:.1f} minutes; {sum(n for _, n in reasons)} left out"
    sheet = contact_sheet(headline, reasons, samples)
    save_atomically(folder.path / "contact_sheet.png", lambda path: sheet.save(path, format="PNG"))
    page = summary_page(folder, headline, clips, reasons, samples, [line for line in lines if "skip" in line])
    path = folder.path / "summary.html"
    write_text(path, page)
    return path


def sample_picture(folder: DataFolder, clip: dict) -> Image.Image:
    """A clip's middle frame with its pose drawn over it, CELL pixels high."""
    middle = clip["num_frames"] // 2
    frame = frames_at(folder.clip(clip["clip"]), [middle])[0]
    pose = draw(Skeleton.load(folder.skeleton(clip["clip"]))[middle], "bold")[0]
    over = np.where(pose.any(axis=-1, keepdims=True), cv2.addWeighted(frame, 0.35, pose, 0.65, 0), frame)
    return Image.fromarray(over).resize((max(1, round(CELL * frame.shape[1] / frame.shape[0])), CELL))


def contact_sheet(headline: str, reasons: list[tuple[str, int]],
                  samples: list[tuple[dict, Image.Image]]) -> Image.Image:
    """Counts above, samples below."""
    cell_width = max([CELL // 2, *(picture.width for _, picture in samples)])
    rows = -(-len(samples) // COLUMNS)
    top = HEADER_HEIGHT * 2 + 20 * len(reasons)
    sheet = Image.new("RGB", (GAP + COLUMNS * (cell_width + GAP), top + rows * (CELL + CAPTION_HEIGHT + GAP)), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default
    pen.text((GAP, GAP), headline, INK, font(18))
    for row, (reason, count) in enumerate(reasons):
        pen.text((GAP, HEADER_HEIGHT + 8 + 20 * row), f"{count:>6}  {reason}", FAINT, font(14))
    for number, (clip, picture) in enumerate(samples):
        left = GAP + number % COLUMNS * (cell_width + GAP)
        upper = top + number // COLUMNS * (CELL + CAPTION_HEIGHT + GAP)
        sheet.paste(picture, (left, upper))
        pen.text((left, upper + CELL + 2), clip["clip"], INK, font(10))
        note = f"{clip['num_frames'] / clip['fps']:.1f} s, bucket {clip['motion_bucket']:.0f}"
        pen.text((left, upper + CELL + 15), note, FAINT, font(10))
    return sheet


def summary_page(folder: DataFolder, headline: str, clips: list[dict], reasons: list[tuple[str, int]],
                 samples: list[tuple[dict, Image.Image]], skips: list[dict]) -> str:
    """The page, with its pictures inside: it can be sent as one file."""
    table = lambda head, rows: "<table><tr>" + "".join(f"<th>{text}</th>" for text in head) + "</tr>" + "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(text))}</td>" for text in row) + "</tr>" for row in rows) + "</table>"
    figures = "".join(f"<figure><img src='{as_data_link(picture)}' alt=''><figcaption>{clip['clip']}<br>"
                      f"{html.escape(clip['caption'] or '')}</figcaption></figure>" for clip, picture in samples)
    numbers = [(name, *(f"{value:.3g}" for value in np.percentile([of(clip) for clip in clips], (0, 50, 100))))
               for name, of in RANGES] if clips else []
    listed = table(("video", "from, s", "reason", "detail"), [row(skip) for skip in skips[:SHOWN_SKIPS]])
    rest = f"<p>… and {len(skips) - SHOWN_SKIPS} more in manifest.jsonl</p>" if len(skips) > SHOWN_SKIPS else ""
    return (f"<!doctype html><meta charset='utf-8'><title>{html.escape(folder.path.name)}</title><style>"
            "body{font:15px system-ui;margin:2em;background:#faf9f6;color:#202226}"
            "td,th{text-align:left;padding:2px 14px 2px 0}"
            "figure{display:inline-block;margin:4px}figcaption{font-size:11px;color:#7a7e86;max-width:260px}</style>"
            f"<h1>{html.escape(folder.path.name)}</h1><p>{headline}</p>"
            f"<h2>Left out</h2>{table(('reason', 'number'), reasons)}"
            f"<h2>Clips</h2>{table(('', 'least', 'median', 'most'), numbers)}{figures}"
            f"<h2>What was left out</h2>{listed}{rest}\n")


def row(skip: dict) -> tuple:
    return skip["source"], skip.get("start_seconds", ""), skip["skip"], skip["detail"]


def as_data_link(picture: Image.Image) -> str:
    """A picture as text inside a page."""
    data = BytesIO()
    picture.save(data, format="JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
