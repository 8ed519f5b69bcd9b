"""MotionBench's clips on disk: each is made once, and found again by what it depends on.

    clips/<variant>/<identity>__<motion>.mp4      the video that is measured
    clips/<variant>/<identity>__<motion>.npz      the skeleton it was told to follow
    clips/<variant>/<identity>__<motion>.json     how it was made, or why not; written last
"""
from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from mimicmotion.video import write_video
from motionbench.cells import Cell
from motionbench.identities import Person
from motionbench.metrics import Metric
from motionbench.truth import driving_motion, true_clip
from motionbench.variants import FROM_FILES, Variant
from scripts.motionbench_making import Given, Made
from stages.folder import content_hash, write_whole
from stages.inputs import with_size
from stages.models import Models
from stages.settings import InferenceConfig
from synthetic.clips import SyntheticClip

CRF = 10                                # of the stored clips: hardly a loss, and the same one for every row
ENDINGS = (".mp4", ".mov", ".mkv", ".webm")
IRRELEVANT = ("image", "prompt", "name", "outputs", "resume", "device", "num_threads", "driving_video", "seed",
              "camera", "memory_limit_gb")


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
    make: Callable[..., Made]           # as motionbench_making.make_clip
    networks_key: str = ""              # content of the measures' own networks

    @cached_property
    def making_key(self) -> str:
        """Every setting and weight of inference that a video depends on."""
        config = self.inference
        paths = [config.motion.weights, config.pose.detector, config.pose.keypoints]
        for part in (config.adapter, config.generator):
            paths += [part.svd, part.checkpoint] if part.checkpoint else []
        config = replace(config, pose=replace(config.pose, cache=""))
        settings = {name: value for name, value in asdict(config).items() if name not in IRRELEVANT}
        return content_hash([settings, [Path(path) for path in paths]])

    def clip_config(self, cell: Cell) -> InferenceConfig:
        """The settings of one clip: its picture, prompt and noise, and the camera by which its truth is seen."""
        camera = self.inference.camera
        if self.people:
            camera = "follow" if cell.motion.travels else "static"
        noise = int(content_hash([cell.name, self.seed, self.inference.seed])[:8], 16)
        return with_size(replace(self.inference, image=str(self.pictures[cell.identity]), prompt=cell.motion.prompt,
                                 camera=camera, seed=noise))


@dataclass(frozen=True)
class Clip:
    """One cell of one variant: where its files are, and how its video comes to be."""

    bench: Bench
    cell: Cell
    variant: Variant
    truth: SyntheticClip | None         # of the cell, shared by its variants; None in the real edition

    def file(self, kind: str, ending: str) -> Path:
        return self.bench.folder / kind / self.variant.name / f"{self.cell.name}{ending}"

    @property
    def is_external(self) -> bool:
        return self.variant.name == FROM_FILES

    @property
    def is_compared(self) -> bool:
        """Whether there is one true video for it."""
        return self.truth is not None and self.variant.compared

    @property
    def video_file(self) -> Path:
        if not self.is_external:
            return self.file("clips", ".mp4")
        named = [self.bench.videos / f"{self.cell.name}{ending}" for ending in ENDINGS]
        return next((path for path in named if path.is_file()), named[0])

    @cached_property
    def key(self) -> str:
        """All that the video depends on."""
        bench, inference = self.bench, self.bench.inference
        parts = [self.cell.name, self.variant.recipe, bench.seconds if bench.people else 0]
        if self.variant.bound:
            return content_hash([*parts, self.cell.other.name, list(inference.size), inference.fps, bench.seed])
        config = bench.clip_config(self.cell)
        return content_hash([*parts, bench.making_key, config.seed, config.camera, config.prompt, Path(config.image)])

    def made(self) -> dict:
        """How the clip was made, making it unless it is there; `failure` says why it could not be."""
        if self.is_external:
            return {"failure": ""}
        entry = read_entry(self.file("clips", ".json"))
        if entry.get("key") == self.key and not entry["failure"] and self.video_file.is_file():
            return entry
        entry = {"key": self.key, "failure": "", "seconds": None, "peak_memory": None, "borders": []}
        try:
            made = self.bound() if self.variant.bound else self.generated()
            entry |= {"seconds": made.seconds or None, "peak_memory": made.peak_memory or None,
                      "borders": list(made.borders)}
            write_video(self.video_file, made.frames, self.bench.inference.fps, crf=CRF)
            if made.skeleton is not None:
                made.skeleton.save(self.file("clips", ".npz"))
        except (ValueError, RuntimeError, FileNotFoundError) as error:
            entry["failure"] = one_line(error)
        except OSError as error:
            raise ValueError(f"{self.bench.folder}: {error.strerror or error}: make room, then go on with the same "
                             "command") from error
        write_entry(self.file("clips", ".json"), entry)
        return entry

    def generated(self) -> Made:
        """By inference.py's stages."""
        bench, config = self.bench, self.bench.clip_config(self.cell)
        given = None
        if self.truth is not None:
            motion = driving_motion(bench.people[self.cell.identity], self.cell.motion, bench.seconds)
            given = Given(motion, self.truth.skeleton)
        bench.models.config = config            # its seed; no loaded weights depend on what differs between clips
        return bench.make(config, self.variant, bench.models, given, bench.folder / "stages" / self.cell.name)

    def bound(self) -> Made:
        """Without any model."""
        if self.variant.bound == "repeat":
            frames = np.repeat(self.truth.reference[None], len(self.truth), axis=0)
        else:
            frames = (self.truth if self.variant.bound == "truth" else self.other_truth).frames
        return Made(frames, None, 0.0, 0, ())

    @property
    def other_truth(self) -> SyntheticClip:
        if self.cell.other is self.cell.motion:
            return self.truth
        bench, config = self.bench, self.bench.inference
        return true_clip(bench.people[self.cell.identity], self.cell.other, bench.seconds, config.fps, config.size)


def read_entry(path: Path) -> dict:
    """What a clip's JSON says; nothing where there is none, or it is not whole."""
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return entry if isinstance(entry, dict) else {}


def write_entry(path: Path, entry: dict) -> None:
    write_whole(path, lambda partial: partial.write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8"))


def one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if isinstance(error, (ValueError, FileNotFoundError)) else f"{type(error).__name__}: {text}"
