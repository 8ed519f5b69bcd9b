"""A folder of generated videos: one per prompt and seed, made where it is missing, with a gallery beside them.

    run.json        the settings all videos were made with, and what each file is
    <prompt>_seed<seed>.mp4
    exemplars/      copies of the clips the motion was learnt from, where they were named
    gallery.html    all of it in a browser, without a server

The same command again makes what is missing. Several processes share the work.
"""
from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tqdm import tqdm

from media.files import save_atomically
from media.video_reader import frame_stream, probe, videos_in
from media.video_writer import write_video
from runtime.processes import ALONE, Processes

from newmove.prompts import Prompt

log = logging.getLogger(__name__)

TEMPLATE = "gallery.html.j2"         # beside this file

FPS = 8                              # of ZeroScope's and ModelScope's videos, as published
MAX_STEM_BYTES = 160                 # of the prompt in a file name; file systems allow 255 for all of it
EXEMPLAR_SIDE, EXEMPLAR_SECONDS = 256, 6      # pixels, seconds: copies in the gallery


@dataclass(frozen=True)
class Video:
    """A video of a run: the file's name in the folder and what it shows."""
    file: str
    prompt: str
    seed: int


def stem_of(prompt: str) -> tuple[str, bool]:
    """A prompt as part of a file name, and whether it can be read back from it."""
    safe = re.sub(r"[^\w\-.,']+", "_", prompt).lstrip(".")
    cut = safe.encode()[:MAX_STEM_BYTES].decode(errors="ignore")
    return cut, cut.replace("_", " ") == prompt


def planned(prompts: Sequence[Prompt]) -> list[Video]:
    """The videos of these prompts. Names stay inside the folder and are unique, also where case does not count.

    A prompt that its name does not tell apart from others gets eight hex digits of its hash, whatever the order is.
    """
    prompts = list(dict.fromkeys(prompts))
    owners: dict[str, set[str]] = {}
    for prompt in prompts:
        owners.setdefault(stem_of(prompt.text)[0].casefold(), set()).add(prompt.text)
    videos = []
    for prompt in prompts:
        stem, exact = stem_of(prompt.text)
        if not exact or len(owners[stem.casefold()]) > 1:
            stem = f"{stem}_{hashlib.sha256(prompt.text.encode()).hexdigest()[:8]}"
        videos.append(Video(f"{stem}_seed{prompt.seed}.mp4", prompt.text, prompt.seed))
    return videos


def claim(folder: Path, settings: dict, videos: Sequence[Video]) -> list[Video]:
    """Note the settings and videos in run.json; all videos the folder is to hold, those of earlier commands too.

    A folder that holds videos made with other settings is refused.
    """
    path = folder / "run.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"settings": settings, "videos": []}
    except OSError as error:
        raise ValueError(f"{folder}: expected a folder that can be written ({error.strerror}): choose another") from None
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON ({error}): choose another folder, or delete it") from None
    there = known["settings"]
    changed = [f"{key}: {there.get(key)} there, {settings.get(key)} now" for key in sorted(there.keys() | settings.keys())
               if there.get(key) != settings.get(key)]
    if changed:
        raise ValueError(f"{folder}: expected an empty folder or one of these settings (found a run with others: "
                         f"{'; '.join(changed)}): choose another with -o")
    everything = {video["file"]: Video(**video) for video in known["videos"]} | {video.file: video for video in videos}
    content = {"settings": settings, "videos": [vars(video) for video in everything.values()]}
    save_atomically(path, lambda partial: partial.write_text(json.dumps(content, indent=1, ensure_ascii=False), "utf-8"))
    return list(everything.values())


def generate(make: Callable[[str, int], np.ndarray], prompts: Sequence[Prompt], folder: Path, settings: dict, *,
             fps: float = FPS, exemplars: Path | None = None, processes: Processes = ALONE) -> Path:
    """Make the videos that are missing in `folder`, and the gallery of all; the gallery's path.

    make: (prompt, seed) -> frames (F, H, W, 3) uint8 RGB. exemplars: a folder of clips to show beside them.
    """
    with writing(folder):
        videos = planned(prompts)
        everything = processes.shared(processes.agreed(lambda: claim(folder, settings, videos) if processes.is_main else None))
        missing = processes.shared([video for video in videos if not (folder / video.file).is_file()])
        if processes.is_main and len(videos) > len(missing):
            log.info("%d of %d videos are already in %s", len(videos) - len(missing), len(videos), folder)
        shown = processes.agreed(lambda: copies(exemplars, folder) if exemplars and processes.is_main else [])
        processes.agreed(lambda: make_missing(make, missing, everything, shown, folder, fps, processes))
    if processes.is_main:
        gallery(everything, shown, folder)
    return folder / "gallery.html"


def make_missing(make, missing: Sequence[Video], everything: Sequence[Video], shown: Sequence[Exemplar], folder: Path,
                 fps: float, processes: Processes) -> None:
    """This process's share of the videos; the main process keeps the gallery up to date."""
    share = missing[processes.rank::processes.count]
    for video in tqdm(share, desc="videos", unit="video", disable=not processes.is_main):
        with writing(folder):
            write_video(folder / video.file, make(video.prompt, video.seed), fps)
            if processes.is_main:
                gallery(everything, shown, folder)


def gallery(everything: Sequence[Video], shown: Sequence[Exemplar], folder: Path) -> None:
    """The page of what is there by now."""
    write_gallery(folder, [video for video in everything if (folder / video.file).is_file()], shown)


def copies(exemplars: Path, folder: Path) -> list[Exemplar]:
    """Small H.264 copies of the exemplars in folder/exemplars, which any browser plays."""
    found = []
    for stem, path in videos_in(exemplars).items():
        fps, target = probe(path).fps, folder / "exemplars" / f"{stem_of(stem)[0]}.mp4"
        if not target.is_file():
            frames = islice(frame_stream(path, max_short_side=EXEMPLAR_SIDE), round(EXEMPLAR_SECONDS * fps))
            write_video(target, frames, fps)
        beside = path.with_suffix(".txt")
        caption = beside.read_text(encoding="utf-8-sig", errors="replace").strip() if beside.is_file() else stem
        found.append(Exemplar(f"exemplars/{target.name}", caption))
    return found


class writing:
    """Within the context, a disk that fills or cannot be written is one line; what is whole stays."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> None:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
        if full and not isinstance(error, FileNotFoundError):
            done = len(list(self.folder.glob("*.mp4"))) if self.folder.is_dir() else 0
            raise ValueError(f"{self.folder}: {os.strerror(error.errno)} ({done} videos are whole): make room and run the "
                             "same command again, or choose another folder with -o") from error


@dataclass(frozen=True)
class Exemplar:
    """A clip the motion was learnt from: its file, relative to the gallery's folder, and its caption."""
    file: str
    caption: str


def write_gallery(folder: Path, videos: Sequence, exemplars: Sequence[Exemplar] = ()) -> Path:
    """Write folder/gallery.html. videos: with `file` in that folder, `prompt` and `seed`. Styles and script are inside."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template(TEMPLATE).render(title=folder.resolve().name, videos=videos, exemplars=exemplars)
    path = folder / "gallery.html"
    save_atomically(path, lambda partial: partial.write_text(page, encoding="utf-8"))
    return path
