"""How MotionBench makes a clip: inference.py's own stages on one picture and prompt, some exchanged for a variant's.

All variants of a clip share one folder in which every stage's file is named after what it was made from. So variants
recompute only what differs: no refinement is the first pass of the full pipeline, and every row has the same motion.
"""
from __future__ import annotations

import json
import logging
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dwpose.skeleton import Skeleton
from inference import animate
from media.files import is_whole_npz, one_line, save_atomically, save_text
from media.video_reader import is_whole_mp4
from media.video_writer import write_video
from motionbench.cells import BenchMotion, Cell, driving_motion, OPPOSITE, Person, true_clip
from motionbench.metrics import Metric
from motionbench.picture import tile_borders
from motionbench.settings import FROM_FILES, Variant
from run.checks import with_size
from run.folder import Artefact, content_hash, Report, RunFolder
from run.models import Models
from run.settings import InferenceConfig
from runtime.processes import ALONE
from synthetic.clips import SyntheticClip
from t2m.motion import Motion

log = logging.getLogger(__name__)

Exchange = tuple[str, Callable[[], Any]]        # what names the work in the stage's key, and the work
CRF = 10                                # of the stored clips: hardly a loss, and the same one for every row
ENDINGS = (".mp4", ".mov", ".mkv", ".webm")         # in capitals, too
IRRELEVANT = ("image", "prompt", "name", "outputs", "resume", "device", "num_threads", "driving_video", "seed",
              "camera", "memory_limit_gb", "stop_after")


@dataclass(frozen=True)
class Given:
    """What the synthetic edition knows about a clip: the motion on a standard body, and the person's own skeleton."""

    motion: Motion
    skeleton: Skeleton              # of the true video


@dataclass(frozen=True)
class Made:
    """A finished clip."""

    frames: np.ndarray              # (F, H, W, 3) uint8 RGB
    skeleton: Skeleton | None       # commanded
    seconds: float                  # wall time of its stages, shared ones included
    peak_memory: int                # bytes: of the GPU where there is one, else of the process
    borders: tuple[int, ...]        # frames where a tile of the sampler begins


class BenchModels(Models):
    """Models that show no bars of their own, and where there is room keep every video model once loaded.

    Of several processes each makes its own clips.
    """

    def __init__(self, config: InferenceConfig, keep: bool):
        super().__init__(config, ALONE, keep_loaded=keep, progress=False)


class ClipStages(RunFolder):
    """A clip's stages for all its variants: a file is named after its inputs, and chosen stages do other work."""

    def __init__(self, path: Path, exchanges: dict[str, Exchange]):
        super().__init__(path, resume=False, report=Report())
        self.exchanges = exchanges              # by the stage's name without its number
        self.results: dict[str, Any] = {}
        self.costs: list[dict] = []

    def stage(self, name: str, artefact: Artefact, work: Callable[[], Any], *inputs: Any) -> Any:
        """As RunFolder's; what the stage cost lies beside its file, also for the variants that take it as it is."""
        if exchange := self.exchanges.get(re.sub(r"_\d+$", "", name)):
            tag, work = exchange
            inputs = (*inputs, tag)
        whole = Path(artefact.name)
        path = self.path / whole.with_stem(f"{whole.stem}-{content_hash([name, *inputs])[:16]}")
        cost = path.with_name(f"{path.name}.json")
        if path.is_file() and read_entry(cost).get("content") != content_hash(path):
            log.warning("%s: is not the file that was written: made anew", path)
            path.unlink()
        if not path.is_file():
            with self.report.stage(name, path.name) as entry:
                result = work()
            spent = {"seconds": entry.seconds, "peak_memory": entry.peak_gpu_memory or entry.peak_memory}

            def write(partial: Path) -> None:
                artefact.save(result, partial)
                write_entry(cost, spent | {"content": content_hash(partial)})

            save_atomically(path, write)
        self.costs.append(read_entry(cost))
        self.results[name] = artefact.load(path)
        return self.results[name]


def make_clip(config: InferenceConfig, variant: Variant, models: Models, given: Given | None, stages: Path) -> Made:
    """The variant's video for the picture and prompt of `config`; ValueError where it cannot be made."""
    if not variant.adapter:
        config = replace(config, adapter=replace(config.adapter, checkpoint=""))
    if not variant.refinement:
        config = replace(config, refinements=0)
    if variant.renderer:
        config = replace(config, renderer=variant.renderer)
    if variant.alignment:
        config = replace(config, alignment=variant.alignment)
    folder = ClipStages(stages, exchanges_of(variant, given))
    rows, _ = animate(replace(config, stop_after="video"), folder, models)
    borders = sampler_borders(config, len(rows[-1].frames))
    return Made(rows[-1].frames, folder.results["skeleton"], sum(cost["seconds"] for cost in folder.costs),
                max(cost["peak_memory"] for cost in folder.costs), borders)


def sampler_borders(config: InferenceConfig, num_frames: int) -> tuple[int, ...]:
    """Where tiles of MimicMotion's sampler begin; other renderers have none that we know."""
    if config.renderer != "mimicmotion":
        return ()
    tiling = config.generator
    before = int(tiling.share_reference)        # the picture's own pose goes first, and its frame is left out
    borders = tile_borders(num_frames + before, tiling.tile_size, tiling.tile_overlap, tiling.tiles)
    return tuple(border - before for border in borders)


def exchanges_of(variant: Variant, given: Given | None) -> dict[str, Exchange]:
    """The stages of `animate` that do other work for this variant: what the synthetic edition knows is handed over."""
    if given is None or not variant.given:
        return {}
    exchanges = {"motion": (content_hash(given.motion), lambda: given.motion)}
    if variant.given == "skeleton":
        exchanges["skeleton"] = (content_hash(given.skeleton), lambda: given.skeleton)
    return exchanges


@dataclass(frozen=True)
class Bench:
    """What all clips share."""

    folder: Path
    inference: InferenceConfig
    seconds: float                      # of every video of the synthetic edition
    seed: int
    pictures: dict[str, Path]           # by identity
    people: dict[str, Person]           # by identity; empty in the real edition
    videos: Path | None                 # folder of another system's videos
    metrics: tuple[Metric, ...]
    motions: tuple[str, ...]            # what judges choose from
    models: Models
    make: Callable[..., Made]           # as make_clip
    networks_key: str = ""              # content of the measures' own networks

    @cached_property
    def making_key(self) -> str:
        """Every setting and weight of inference that a video depends on."""
        config = self.inference
        paths = [config.motion.weights, *config.pose.networks]
        for part in (config.adapter, config.generator):
            paths += [part.svd, part.checkpoint] if part.checkpoint else []
        paths += [config.musepose.weights] if Path(config.musepose.weights).exists() else []
        config = replace(config, pose=replace(config.pose, cache=""))
        settings = {name: value for name, value in asdict(config).items() if name not in IRRELEVANT}
        return content_hash([settings, [Path(path) for path in paths]])

    def clip_config(self, cell: Cell, wording: int = 0) -> InferenceConfig:
        """The settings of one clip: its picture, prompt and noise, and the camera by which its truth is seen."""
        camera = self.inference.camera
        if self.people:
            camera = "follow" if cell.motion.travels else "static"
        noise = int(content_hash([cell.name, self.seed, self.inference.seed])[:8], 16)
        return with_size(replace(self.inference, image=str(self.pictures[cell.identity]),
                                 prompt=cell.motion.wordings[wording], camera=camera, seed=noise))


@dataclass(frozen=True)
class Clip:
    """One cell of one variant: where its files are, and how its video comes to be."""

    bench: Bench
    cell: Cell
    variant: Variant
    truth: SyntheticClip | None         # of the cell, shared by its variants; None in the real edition

    def file(self, kind: str, ending: str) -> Path:
        """A file of this clip, by kind and ending."""
        return self.bench.folder / kind / self.variant.name / f"{self.cell.name}{ending}"

    @property
    def is_external(self) -> bool:
        """Was the video made by another system?"""
        return self.variant.name == FROM_FILES

    @property
    def is_compared(self) -> bool:
        """Whether there is one true video for it."""
        return self.truth is not None and self.variant.compared

    @property
    def video_file(self) -> Path:
        """Where the video is, or is to be."""
        if not self.is_external:
            return self.file("clips", ".mp4")
        named = [self.bench.videos / f"{self.cell.name}{written}" for ending in ENDINGS
                 for written in (ending, ending.upper())]
        return next((path for path in named if path.is_file()), named[0])

    @cached_property
    def key(self) -> str:
        """All that the video depends on."""
        bench, inference = self.bench, self.bench.inference
        parts = [self.cell.name, self.variant.recipe, bench.seconds if bench.people else 0]
        if self.variant.bound:
            return content_hash([*parts, self.cell.other.name, list(inference.size), inference.fps, bench.seed])
        config = bench.clip_config(self.cell, self.variant.wording)
        return content_hash([*parts, bench.making_key, config.seed, config.camera, config.prompt, Path(config.image)])

    def made(self) -> dict:
        """How the clip was made, making it unless it is there; `failure` says why it could not be."""
        if self.is_external:
            return {"failure": ""}
        entry = read_entry(self.file("clips", ".json"))
        if entry.get("key") == self.key and not entry["failure"]:
            if is_whole_mp4(self.video_file) and (self.variant.bound or is_whole_npz(self.file("clips", ".npz"))):
                return entry
            log.warning("%s: it or its skeleton is lost or cut short: made anew", self.video_file)
        entry = {"key": self.key, "failure": "", "seconds": None, "peak_memory": None, "borders": []}
        try:
            made = self.bound() if self.variant.bound else self.generated()
            entry |= {"seconds": made.seconds or None, "peak_memory": made.peak_memory or None,
                      "borders": list(made.borders)}
            write_video(self.video_file, made.frames, self.bench.inference.fps, crf=CRF)
            if made.skeleton is not None:
                made.skeleton.save(self.file("clips", ".npz"))
        except (ValueError, RuntimeError, FileNotFoundError) as error:
            entry["failure"] = failure_of(error)
        except OSError as error:
            raise ValueError(f"{self.bench.folder}: {error.strerror or error}: make room, then go on with the same "
                             "command") from error
        write_entry(self.file("clips", ".json"), entry)
        return entry

    def generated(self) -> Made:
        """By inference.py's stages."""
        bench, config = self.bench, self.bench.clip_config(self.cell, self.variant.wording)
        given = None
        if self.truth is not None:
            motion = driving_motion(bench.people[self.cell.identity], self.cell.motion, bench.seconds)
            given = Given(motion, self.truth.skeleton)
        bench.models.config = config            # its seed; no loaded weights depend on what differs between clips
        return bench.make(config, self.variant, bench.models, given, bench.folder / "stages" / self.cell.name)

    def bound(self) -> Made:
        """Without any model."""
        kind, truth, cell = self.variant.bound, self.truth, self.cell
        if kind == "repeat":
            return Made(np.repeat(truth.reference[None], len(truth), axis=0), None, 0.0, 0, ())
        if kind == "other" or (kind == "opposite" and cell.motion.side not in OPPOSITE):
            return Made(self.true_clip_of(cell.other).frames, None, 0.0, 0, ())
        if kind == "opposite":
            side = OPPOSITE[cell.motion.side]
            motion = replace(cell.motion, name=f"{cell.motion.kind}_{side}", side=side)
            return Made(self.true_clip_of(motion).frames, None, 0.0, 0, ())
        frames = truth.frames[:, :, ::-1] if kind == "mirrored" else truth.frames[order_of(kind, len(truth), cell.name)]
        return Made(np.ascontiguousarray(frames), None, 0.0, 0, ())

    def true_clip_of(self, motion: BenchMotion) -> SyntheticClip:
        """The same person's true video of another motion."""
        bench, config = self.bench, self.bench.inference
        return true_clip(bench.people[self.cell.identity], motion, bench.seconds, config.fps, config.size)


def order_of(kind: str, num_frames: int, name: str) -> np.ndarray:
    """Which true frame a bound shows at each moment, (F,)."""
    moments, middle = np.arange(num_frames), num_frames // 2
    shuffled = np.random.default_rng(zlib.crc32(name.encode())).permutation(num_frames)
    return {"truth": moments, "frozen": np.full(num_frames, middle), "reversed": moments[::-1],
            "half": np.minimum(moments, middle), "shuffled": shuffled}[kind]


def unmatched(videos: Path, cells: Sequence[Cell]) -> list[str]:
    """Files of a folder of videos that belong to no clip of the benchmark."""
    names = {cell.name for cell in cells}
    return sorted(path.name for path in videos.iterdir()
                  if path.is_file() and not path.name.startswith(".")
                  and (path.stem not in names or path.suffix.lower() not in ENDINGS))


def read_entry(path: Path) -> dict:
    """What a clip's JSON says; nothing where there is none, or it is not whole."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return entry if isinstance(entry, dict) else {}


def write_entry(path: Path, entry: dict) -> None:
    """Write a clip's JSON atomically."""
    save_text(path, json.dumps(entry, indent=1) + "\n")


def failure_of(error: Exception) -> str:
    """What an error says, with its kind where it is not the user's."""
    return one_line(error) if isinstance(error, (ValueError, FileNotFoundError)) else f"{type(error).__name__}: {one_line(error)}"
