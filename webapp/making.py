"""What the page's buttons do: settings from its choices, a preview, a render; by the functions of inference.py, in its run folders."""
from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from configs import CONFIG_FOLDER, load_config
from inference import checked, code_of_stages, run, save_plan, Stages
from llm_planner import plan, Segment, segments_from_json, segments_to_json
from media.files import locked, one_line
from media.images import shrunk
from media.video_writer import StreamingVideoWriter
from renderers import Scene
from run.checks import with_size
from run.folder import Report, RunFolder
from run.models import check_renderer, Models
from run.settings import InferenceConfig
from run.storyboard import video_writers, write_settings
from t2m.generate import KnownMotions
from webapp.jobs import Job
from webapp.runs import PREVIEW
from webapp.safety import check_length, MAX_FRAMES, MAX_SIDE

LIVE_SIDE = 200                     # of the newest frame while a video is made
KEPT_MODELS = 2                     # sets of networks a lane keeps loaded


@dataclass(frozen=True)
class Preset:
    """A choice of the page: a config file of this repository, and the renderer where it is not the file's own."""
    title: str
    file: str
    changes: tuple[str, ...] = ()

    def config(self, *changes: str) -> InferenceConfig:
        return load_config(InferenceConfig, ["--config", str(CONFIG_FOLDER / self.file), *self.changes, *changes])


PRESETS = {
    "puppet": Preset("Puppet: the picture's own pixels", "photo.yaml"),
    "demo": Preset("Demo: this repository's networks", "demo.yaml"),
    "fleximo": Preset("Fleximo: MimicMotion and adapter", "fleximo.yaml"),
    "mimicmotion": Preset("MimicMotion", "fleximo.yaml", ("adapter.checkpoint=",)),
    "musepose": Preset("MusePose", "photo.yaml", ("renderer=musepose",)),
}
SETTINGS = (                        # what a page may change; no key here names a file, a folder or an address
    "seed", "fps", "height", "width", "camera", "framing", "alignment", "refinements", "refinement_trust", "motion.sampling",
    "motion.transition_seconds", "pose.person", "pose.allow_cut_off", "pose.plausible", "generator.num_inference_steps",
    "generator.guidance_scale", "musepose.num_inference_steps", "musepose.guidance_scale", "puppet.mask", "puppet.shadow", "puppet.hands",
)


def setting_rows(config: InferenceConfig) -> list[tuple[str, object, str, tuple]]:
    """(key, value, help, choices) of every setting a page may change."""
    found = []
    for key in SETTINGS:
        group, _, name = key.rpartition(".")
        owner = getattr(config, group) if group else config
        about = owner.__dataclass_fields__[name].metadata
        found.append((key, getattr(owner, name), about["help"], about["choices"]))
    return found


def assignments(preset: Preset, values: dict[str, object]) -> list[str]:
    """key=value for what differs from the preset; a key that no page may change is refused."""
    known = {key: value for key, value, _, _ in setting_rows(preset.config())}
    changes = []
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{str(key)[:40]}: cannot be set from the page")
        if value in ("", None):
            raise ValueError(f"{key}: is empty: give it a value")
        if isinstance(known[key], int) and not isinstance(known[key], bool) and isinstance(value, float) and value.is_integer():
            value = int(value)
        if value != known[key]:
            changes.append(f"{key}={str(value).lower() if isinstance(value, bool) else value}")
    return changes


def limited(config: InferenceConfig) -> InferenceConfig:
    """The settings, where a page may ask for as much."""
    if max(config.size) > MAX_SIDE:
        raise ValueError(f"height, width: at most {MAX_SIDE} from the page (found {config.height}x{config.width}): use the command line")
    return config


def preset_of(config: InferenceConfig) -> str | None:
    """The preset that settings came from, by what they render with; None for another config file's."""
    return next((name for name, look in preset_looks().items() if look == look_of(config)), None)


@lru_cache
def preset_looks() -> dict[str, tuple]:
    return {name: look_of(preset.config()) for name, preset in PRESETS.items()}


def look_of(config: InferenceConfig) -> tuple:
    """Renderer and weights."""
    checkpoints = (config.generator.checkpoint, config.adapter.checkpoint) if config.renderer == "mimicmotion" else ()
    return config.renderer, *checkpoints, config.motion.weights


@lru_cache(maxsize=8)
def known_motions(weights: str) -> KnownMotions | None:
    """What the motion weights of a folder were trained on; None where they have no list."""
    path = Path(weights) / "known_motions.json"
    return KnownMotions.of(**json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


def plan_rows(config: InferenceConfig, segments: list[Segment]) -> list[list[str]]:
    """The plan as rows of the page's table: order, action, seconds, and whether the motion weights were trained on such an action."""
    motions, rows = known_motions(config.motion.weights), []
    for number, segment in enumerate(segments, start=1):
        mark = "?" if motions is None else "yes" if motions.covers(segment.text) else "not taught"
        rows.append([f"{number}", segment.text, f"{segment.seconds:g}", mark])
    return rows


def planned(config: InferenceConfig) -> list[Segment]:
    """The prompt's plan, by the offline rules: it costs no time and no network."""
    return plan(config.prompt, backend="rules", max_seconds=config.planner.max_seconds)


class JobReport(Report):
    """A run's report that tells its job which stage begins, and keeps the warnings of this thread alone."""

    def __init__(self, job: Job):
        super().__init__()
        self.job, own = job, threading.get_ident()
        self.warnings.addFilter(lambda record: record.thread == own)

    def stage(self, name: str, file: str):
        self.job.enter(name)
        return super().stage(name, file)


class LiveWriter(StreamingVideoWriter):
    """A video writer whose newest frame the page shows."""

    def __init__(self, path: Path, fps: float, job: Job):
        super().__init__(path, fps)
        self.job = job

    def write(self, frames: np.ndarray) -> None:
        self.job.frame = shrunk(frames[-1], LIVE_SIDE)
        super().write(frames)


class Workshop:
    """Networks that stay loaded between the jobs of one lane; used by its thread alone."""

    def __init__(self):
        self._models: dict[tuple, Models] = {}

    @contextmanager
    def models(self, config: InferenceConfig) -> Iterator[Models]:
        key = repr(config.pose), config.device, config.dtype, config.memory_limit_gb
        models = self._models.pop(key, None) or Models(config, progress=False)
        models.config = config
        self._models[key] = models                            # the newest last
        while len(self._models) > KEPT_MODELS:
            del self._models[next(iter(self._models))]
        with models:
            yield models

    def preview(self, job: Job, config: InferenceConfig, segments: list[Segment] | None) -> None:
        """Plan, motion, and preview.mp4 with what may look wrong: what a render would do, in seconds.

        segments: the plan as the page's table has it; None: the prompt's own.
        """
        report = JobReport(job)
        with self.models(config) as models, report.listening(), locked(config.folder, beside=True):
            config = limited(with_size(config))
            folder = RunFolder(config.folder, True, report, code_of_stages(config))
            write_settings(config, folder.path)
            stages = Stages(config, folder, models)
            image, reference = stages.reference()
            motion = None if config.driving_video else stages.motion(edited(stages, segments))
            skeleton = stages.skeleton(motion, reference)
            if len(skeleton) > MAX_FRAMES:
                raise ValueError(f"video: {len(skeleton)} frames, expected at most {MAX_FRAMES}: cut it, or lower fps")
            scene = Scene(image, reference, skeleton, config.prompt, stages.depth(motion, skeleton))
            stages.preview(scene, models.renderer(config))
            if not (folder.path / PREVIEW).is_file():
                raise ValueError(f"{folder.path / PREVIEW}: was deleted meanwhile: start anew")

    def render(self, job: Job, config: InferenceConfig, segments: list[Segment] | None = None) -> None:
        """The whole of inference.py; stages that the preview made are taken from it. segments: as in `preview`."""
        report = JobReport(job)
        with self.models(config) as models, report.listening():
            config = limited(checked(replace(config, resume=True)))
            if not config.driving_video:
                with locked(config.folder, beside=True):
                    edited(Stages(config, RunFolder(config.folder, True, Report(), code_of_stages(config)), models), segments)
            run(config, models, report, lambda config, folder: {
                name: LiveWriter(writer.path, writer.fps, job) for name, writer in video_writers(config, folder).items()})


def edited(stages: Stages, segments: list[Segment] | None) -> list[Segment]:
    """The plan, with the page's table in its place where there is one: plan.json, which a resumed run takes as it is."""
    own = stages.plan()
    if segments and segments != own:
        segments_from_json(segments_to_json(segments), stages.config.planner.max_seconds)       # as plan.json is read
        save_plan(segments, stages.folder.path / "plan.json")
        stages.plan()                                         # read back: what was made from the earlier one goes
    check_length(segments or own, stages.config.fps)
    return segments or own


def why_not(config: InferenceConfig, num_frames: int) -> str | None:
    """Why the chosen renderer cannot make this here, in one line, before anything is loaded; None where it can."""
    try:
        check_renderer(config, num_frames)
    except (ValueError, FileNotFoundError) as error:
        return one_line(error)
    return None
