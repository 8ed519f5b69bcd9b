"""How MotionBench makes a clip: inference.py's own stages on one picture and prompt, some exchanged for a variant's.

All variants of a clip share one folder in which every stage's file is named after what it was made from. So variants
recompute only what differs: no refinement is the first pass of the full pipeline, and every row has the same motion.
"""
from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dwpose.skeleton import Skeleton
from inference import animate
from mimicmotion.parallel import ALONE
from motionbench.long_video import tile_borders
from motionbench.variants import Variant
from stages.folder import Artefact, RunFolder, content_hash, write_whole
from stages.models import Models
from stages.report import Report
from stages.settings import InferenceConfig, VideoModelConfig
from t2m.motion import Motion

Exchange = tuple[str, Callable[[], Any]]        # what names the work in the stage's key, and the work


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
        super().__init__(config, ALONE)
        self.keep = keep
        self.kept: dict[tuple[str, str], Models] = {}

    def video(self, stage: str, settings: VideoModelConfig, image: np.ndarray, poses: np.ndarray,
              reference_pose: np.ndarray, progress: bool = False) -> np.ndarray:
        if not self.keep:
            return super().video(stage, settings, image, poses, reference_pose, progress)
        keeper = self.kept.setdefault((settings.svd, settings.checkpoint), Models(self.config, ALONE))
        keeper.config = self.config
        return keeper.video(stage, settings, image, poses, reference_pose, progress)


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
        if not path.is_file():
            with self.report.stage(name, path.name) as entry:
                result = work()
            spent = {"seconds": entry.seconds, "peak_memory": entry.peak_gpu_memory or entry.peak_memory}
            write_whole(cost, lambda partial_file: partial_file.write_text(json.dumps(spent)))
            write_whole(path, lambda partial_file: artefact.save(result, partial_file))
        self.costs.append(json.loads(cost.read_text()))
        self.results[name] = artefact.load(path)
        return self.results[name]


def make_clip(config: InferenceConfig, variant: Variant, models: Models, given: Given | None, stages: Path) -> Made:
    """The variant's video for the picture and prompt of `config`; ValueError where it cannot be made."""
    if not variant.adapter:
        config = replace(config, adapter=replace(config.adapter, checkpoint=""))
    if not variant.refinement:
        config = replace(config, refinements=0)
    if variant.alignment:
        config = replace(config, alignment=variant.alignment)
    folder = ClipStages(stages, exchanges_of(variant, given))
    rows, _ = animate(config, folder, models)
    tiling, num_frames = config.generator, len(rows[-1].frames)
    before = int(tiling.share_reference)        # the picture's own pose goes first, and its frame is left out
    borders = tile_borders(num_frames + before, tiling.tile_size, tiling.tile_overlap, tiling.tiles)
    return Made(rows[-1].frames, folder.results["skeleton"], sum(cost["seconds"] for cost in folder.costs),
                max(cost["peak_memory"] for cost in folder.costs), tuple(border - before for border in borders))


def exchanges_of(variant: Variant, given: Given | None) -> dict[str, Exchange]:
    """The stages of `animate` that do other work for this variant: what the synthetic edition knows is handed over."""
    if given is None or not variant.given:
        return {}
    exchanges = {"motion": (content_hash(given.motion), lambda: given.motion)}
    if variant.given == "skeleton":
        exchanges["skeleton"] = (content_hash(given.skeleton), lambda: given.skeleton)
    return exchanges
