"""The run folders as the page shows them: which there are, their pictures, files to take home, what they took. Nothing else is stored."""
from __future__ import annotations

import datetime
import logging
import secrets
import shlex
import shutil
import zipfile
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from configs import load_config, PlainYaml
from media.files import locked, one_line, save_atomically
from media.images import shrunk
from media.video_reader import read_video
from media.video_writer import write_video
from run.folder import read_report, StageEntry
from run.settings import InferenceConfig
from t2m.bvh import save_bvh
from t2m.motion import Motion

log = logging.getLogger(__name__)

THUMBNAIL_SIDE, GIF_SIDE = 180, 256                # pixels of the shorter side
GIF_FPS = 10.0
BLANK = np.full((160, 120, 3), 200, np.uint8)      # of a run without a picture
MAX_LISTED = 60
KEPT = MAX_LISTED + 8                              # runs whose settings and thumbnails stay in memory: a list's, and what is being made
PICTURE, DRIVING = "picture.png", "driving.mp4"    # a page's uploads, in the run folder
PREVIEW = "preview.mp4"
RESULTS = ("video.mp4", "poses.mp4", PREVIEW, "storyboard.png", "motion.npz", "skeleton.npz", "plan.json")
DELETED = ".deleted-"                              # begins the name of a run's folder that is being deleted
ON_REQUEST = ("animation.gif", "motion.bvh", "run.zip")


@dataclass(frozen=True)
class Run:
    """One folder of runs with a run.yaml: what people want to know about it at first sight."""
    path: Path
    prompt: str
    renderer: str
    changed: float                                 # seconds since the epoch
    finished: bool

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def label(self) -> str:
        day = datetime.datetime.fromtimestamp(self.changed).strftime("%d %b %H:%M")
        return f"{self.prompt[:60] or self.name} · {self.renderer} · {day}{'' if self.finished else ' · unfinished'}"


def runs_in(outputs: Path) -> list[Run]:
    """The newest first; folders that cannot be read are left out."""
    found = []
    for file in outputs.glob("*/run.yaml") if outputs.is_dir() else ():
        if file.parent.name.startswith(".") or file.parent.is_symlink():
            continue
        try:
            found.append(run_of(file))
        except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
            log.warning("%s: cannot be read (%s): it is not listed", file, one_line(error)[:120])
    return sorted(found, key=lambda run: run.changed, reverse=True)[:MAX_LISTED]


def run_of(file: Path) -> Run:
    """A run by its run.yaml."""
    stat, report = file.stat(), file.parent / "report.json"
    prompt, renderer = headline(file, stat.st_mtime_ns)
    changed = max(stat.st_mtime, report.stat().st_mtime) if report.is_file() else stat.st_mtime
    return Run(file.parent, prompt, renderer, changed, (file.parent / "storyboard.png").is_file())


@lru_cache(maxsize=1024)
def headline(file: Path, changed: int) -> tuple[str, str]:
    """Prompt (or the driving video's name) and renderer of a run.yaml; `changed` is when, so that it is read once."""
    values = yaml.load(file.read_text(encoding="utf-8"), PlainYaml)                # as the run itself is read
    values = values if isinstance(values, dict) else {}
    driving = values.get("driving_video")
    prompt = f"the movement of {Path(str(driving)).name}" if driving else str(values.get("prompt") or "")
    return one_line(prompt), str(values.get("renderer") or "?")


def run_named(outputs: Path, name: object) -> Run | None:
    """The listed run of this name; a name that a page sends is never part of a path."""
    return next((run for run in runs_in(outputs) if run.name == name), None)


def find_run(outputs: Path, name: object) -> Run:
    """As `run_named`; ValueError where there is none."""
    run = run_named(outputs, name)
    if run is None:
        raise ValueError("runs: this run is not there any more: refresh the list")
    return run


def new_name() -> str:
    """A folder name nobody has, with its time."""
    return f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def settings_of(run: Run) -> InferenceConfig:
    """The run's own settings; ValueError where another version wrote them."""
    file = run.path / "run.yaml"
    try:
        stored = stored_settings(file, file.stat().st_mtime_ns)
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{run.name}: its run.yaml does not fit this version ({error}): start it anew") from error
    return replace(stored, outputs=str(run.path.parent), name=run.name, resume=True)


@lru_cache(maxsize=KEPT)
def stored_settings(file: Path, changed: int) -> InferenceConfig:
    """A run.yaml, read once; `changed` is when it was."""
    return load_config(InferenceConfig, ["--config", str(file)])


def delete_run(run: Run) -> None:
    """The folder goes, first out of sight: of two who delete at once one is told that it is gone."""
    with locked(run.path, beside=True):
        gone = run.path.with_name(f"{DELETED}{secrets.token_hex(8)}")
        try:
            run.path.rename(gone)
        except FileNotFoundError:
            raise ValueError(f"{run.name}: is not there any more: refresh the list") from None
    shutil.rmtree(gone)


def remove_deleted(outputs: Path) -> None:
    """What a server that was killed while it deleted a run has left of it."""
    for left in outputs.glob(f"{DELETED}*"):
        shutil.rmtree(left, ignore_errors=True)


def thumbnail(run: Run) -> np.ndarray | None:
    """A small picture of the run, (h, w, 3) uint8 RGB: the middle of its video, else its picture; None without either."""
    for file, small in ((run.path / "video.mp4", small_frame), (run.path / PREVIEW, small_frame), (run.path / PICTURE, small_picture)):
        if file.is_file():
            try:
                return small(file, file.stat().st_mtime_ns)
            except (OSError, ValueError) as error:
                log.warning("%s: no thumbnail (%s)", file, one_line(error)[:120])
    return None


@lru_cache(maxsize=KEPT)
def small_frame(file: Path, changed: int) -> np.ndarray:
    frames, _ = read_video(file, fps=2.0, max_frames=5)
    return shrunk(frames[len(frames) // 2], THUMBNAIL_SIDE)


@lru_cache(maxsize=KEPT)
def small_picture(file: Path, changed: int) -> np.ndarray:
    with Image.open(file) as picture:
        picture.thumbnail((2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))
        return np.asarray(picture.convert("RGB"))


def warnings_of(path: Path) -> list[str]:
    """What the stages warned of, and what the planned movement may make look wrong."""
    return [str(warning) for part in ("warnings", "risks") for warning in read_report(path, part, list)]


@dataclass(frozen=True)
class Cost:
    """What a render is expected to take on this machine."""
    seconds: float
    memory: int                                    # bytes of the process, with what it holds anyway
    runs: int                                      # that this is judged by


def expected_cost(outputs: Path, config: InferenceConfig, num_frames: int) -> Cost | None:
    """From earlier runs with the same renderer, weights, steps and size: their seconds for each frame. None without any."""
    rates, peaks = [], []
    for run in runs_in(outputs):
        stages = [stage for stage in read_report(run.path, "stages", list)
                  if is_entry(stage) and is_rendering(stage["name"]) and not stage["reused"]]
        if stages and pace_of(run) == pace_key(config) and (frames := frames_of(run.path)):
            rates.append(sum(stage["seconds"] for stage in stages) / frames)
            peaks.append(max(max(stage["peak_gpu_memory"], stage["peak_memory"]) for stage in stages))
    return Cost(float(np.median(rates)) * num_frames, int(max(peaks)), len(rates)) if rates else None


def frames_of(folder: Path, fps: float = 0.0) -> int:
    """How many frames the run's skeleton has, or would have at another frame rate; 0 without a skeleton."""
    try:
        with np.load(folder / "skeleton.npz", allow_pickle=False) as arrays:
            num_frames, own = len(arrays["keypoints"]), float(arrays["fps"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return 0
    return round(num_frames * (fps or own) / own)


def is_entry(stage: object) -> bool:
    """Has a stage in report.json all that this version writes?"""
    return isinstance(stage, dict) and stage.keys() >= {entry.name for entry in fields(StageEntry)}


def is_rendering(stage: str) -> bool:
    return stage in ("poses", "video") or stage.startswith(("refined", "seen"))


def pace_of(run: Run) -> tuple | None:
    """What the pace of a run hangs on; None where its settings cannot be read."""
    try:
        return pace_key(settings_of(run))
    except ValueError:
        return None


def pace_key(config: InferenceConfig) -> tuple:
    steps = getattr(config.renderer_settings, "num_inference_steps", config.generator.num_inference_steps)
    return (config.renderer, config.generator.checkpoint if config.renderer == "mimicmotion" else "", steps if config.renderer != "puppet" else 0,
            config.size, config.resolution, config.refinements, config.device)


def downloads(run: Run, everything: bool = False) -> list[Path]:
    """The files to take home. everything: also a looping GIF, the motion as BVH and a zip of the folder, which are made now."""
    if everything:
        make_gif(run)
        if (run.path / "motion.npz").is_file():
            save_bvh(Motion.load(run.path / "motion.npz"), run.path / "motion.bvh")
        make_zip(run)
    files = [run.path / name for name in RESULTS if (run.path / name).is_file()]
    newest = max((file.stat().st_mtime for file in files), default=0.0)
    made = [run.path / name for name in ON_REQUEST if (run.path / name).is_file() and (run.path / name).stat().st_mtime >= newest]
    return files + made                                # those of an earlier video are not offered


def make_gif(run: Run) -> None:
    """animation.gif of the video, small enough to be sent."""
    source = next((run.path / name for name in ("video.mp4", PREVIEW) if (run.path / name).is_file()), None)
    if source is None:
        raise ValueError(f"{run.name}: no video yet: render it first")
    frames, fps = read_video(source, fps=GIF_FPS, max_frames=300)
    write_video(run.path / "animation.gif", [shrunk(frame, GIF_SIDE) for frame in frames], fps)


def make_zip(run: Run) -> None:
    """run.zip of everything in the folder; videos and arrays are compressed already."""
    files = [file for file in sorted(run.path.rglob("*")) if file.is_file() and file.name != "run.zip" and not file.name.startswith(".")]

    def write(partial: Path) -> None:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            for file in files:
                archive.write(file, f"{run.name}/{file.relative_to(run.path)}")

    save_atomically(run.path / "run.zip", write)


def command_line(config_file: str, assignments: list[str]) -> str:
    """The same run on the command line, to copy."""
    return shlex.join(["python", "inference.py", "--config", config_file, *assignments])
