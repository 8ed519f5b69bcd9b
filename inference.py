"""Picture of a person + text -> video of that person doing what the text says (Fleximo, arXiv 2411.19459).

    python inference.py prompt="A person waves, then jumps."                  with configs/demo.yaml, as no other is named
    python inference.py --config configs/demo.yaml image=me.png seed=7 name=mine
    python inference.py --config configs/mimicmotion.yaml image=me.png driving_video=dance.mp4   MimicMotion by itself
    python inference.py --inference_config MimicMotion/configs/test.yaml                         its own list of cases
    python inference.py --inference_config MusePose/configs/test_stage_2.yaml -W 512 -H 512      and MusePose's
    accelerate launch inference.py --config configs/fleximo.yaml                                 one video on all GPUs

Stages, each a file in outputs/<name>/:
  reference   picture -> the person's 133 keypoints              reference.npz
  plan        prompt -> actions with seconds                     plan.json
  motion      actions -> 3D joints, 20 a second                  motion.npz
  skeleton    3D joints -> 2D, in the person's proportions       skeleton.npz
  preview     puppet beside the skeleton, and what may go wrong  preview.mp4, before the renderer starts
  poses       drawn skeleton without hands -> with hands         poses.mp4
  video       picture + poses -> video                           video.mp4
  seen_N      video -> the keypoints seen in it, over the plan's seen_N.npz      N = 1 to refinements
  refined_N   picture + their poses -> video                     video.mp4
storyboard.png shows them all, report.json has seconds, memory and warnings, frames/ keeps the frames without loss.
stop_after=skeleton ends before the renderer starts. resume=true reuses every stage in the folder whose inputs did not
change; plan.json and the .npz files may be edited in between.
"""
if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import logging
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from configs import CONFIG_FOLDER, HELP, load_config, run_main
from configs.published import is_musepose, OPTION, read_cases, without_option
from dwpose.alignment import in_view
from dwpose.draw import draw
from dwpose.choosing import detector_files
from dwpose.plausibility import check_plausible
from dwpose.skeleton import check_somebody, Skeleton
from finer_scale import aligned
from llm_planner import plan, Segment, segments_from_json, segments_to_json
from media.files import locked, one_line
from media.images import fit_to_canvas
from media.video_writer import load_frames, save_frames, StreamingVideoWriter
from renderers import Renderer, Scene
from run.checks import check_disk, check_inputs, check_whole_person, with_size
from run.folder import Artefact, Report, RunFolder
from run.framing import around_person, load_boxes, read_picture, save_boxes
from run.models import Models, render_cost
from run.poses import driving_skeleton, seen_skeleton
from run.preview import predicted, preview, risks, save_preview
from run.settings import InferenceConfig
from run.storyboard import Row, video_writers, write_outputs, write_settings
from runtime.device import seed_for
from runtime.terminal import ended_by, say
from t2m.joining import join_motions
from t2m.motion import Motion
from t2m.project import body_depth, project

log = logging.getLogger(__name__)

CODE = Path(__file__).parent
SHORTEST = 0.2                      # seconds of an action: text-to-motion's smallest piece, four frames
LONGEST = 200.0                     # seconds of a motion: a plan's 180, each of its actions rounded to whole frames
FARTHEST = 1000.0                   # metres that a motion may lead from its origin: a run of three minutes, and more
BODY_METRES = 0.3, 4.0              # of its largest side, in most frames: a child that lies curled up, a giant that reaches up
FARTHEST_CANVASES = 100             # that a keypoint may lie from the corner: a movement may leave the picture far behind
DEFAULT_CONFIG, CASES_CONFIG = "configs/demo.yaml", "configs/mimicmotion.yaml"      # where none is named


def animate(config: InferenceConfig, folder: RunFolder, models: Models,
            writers: Mapping[str, StreamingVideoWriter] | None = None) -> tuple[list[Row], list[Segment]]:
    """The paper's figure, stage by stage. Returns the frames of each for the storyboard, and the plan.

    writers: by stage, who writes the video that people see while the run goes on.
    """
    stages = Stages(config, folder, models, writers or {})
    image, reference = stages.reference()                                           # (H, W, 3) uint8, Skeleton: (1, 133, 3)
    if writers:                                                                     # the picture was not refused
        write_settings(config, folder.path)
    segments, motion = [], None
    if not config.driving_video:
        segments = stages.plan()                                                    # list[Segment]
        motion = stages.motion(segments)                                            # Motion: (T, 22, 3) metres, 20 fps
    skeleton = stages.skeleton(motion, reference)                                   # Skeleton: (F, 133, 3) pixels

    scene = Scene(image, reference, skeleton, config.prompt, stages.depth(motion, skeleton))
    renderer, poses = models.renderer(config), None
    if writers:                                                                     # somebody watches the run
        stages.preview(scene, renderer)                                             # preview.mp4; risks, for report.json
    if config.stop_after == "skeleton":
        return [], segments
    rows = [Row("skeleton", "in the person's proportions", draw(skeleton, config.pose.style))]
    if renderer.adapter:
        poses = stages.frames("poses", renderer.adapter, scene)                     # (F, H, W, 3) uint8
        rows.append(Row("poses", "hands by the skeleton adapter", poses))
    first = renderer.draft if config.refinements and renderer.draft else renderer
    video = stages.frames("video", first, scene, poses)                             # (F, H, W, 3) uint8
    if first is renderer:                                                           # a draft is not for people to look at
        rows.append(Row("video", "first pass", video))

    for i in range(1, config.refinements + 1):
        seen = stages.seen(i, video, skeleton)                                      # Skeleton: (F, 133, 3) pixels
        video = stages.frames(f"refined_{i}", renderer, replace(scene, skeleton=seen))
        rows.append(Row("refined", f"pass {i + 1}, on the poses seen in pass {i}", video))
    return rows, segments


@dataclass(frozen=True, eq=False)
class Stages:
    """The stages of one run: each result is a file in the run folder, made again when what it depends on has changed."""
    config: InferenceConfig
    folder: RunFolder
    models: Models
    writers: Mapping[str, StreamingVideoWriter] = field(default_factory=dict)

    def reference(self) -> tuple[np.ndarray, Skeleton]:
        """The picture (H, W, 3) uint8 RGB on the video's canvas, and its person."""
        config, preparing = self.config, self.folder.report.preparing
        with preparing():
            picture = read_picture(config.image, config.size)
        try:
            if config.framing == "centre":
                image = fit_to_canvas(picture, config.size)
                found = self._skeleton("reference", lambda: self._found(image), image)
            else:
                person = self._skeleton("person", lambda: self._found(picture), picture)
                people = self.folder.stage("people", Artefact("people.json", save_boxes, load_boxes),
                                           lambda: self.models.boxes(picture), picture, config.pose.networks)
                with preparing():
                    image, found, window = around_person(picture, person, config.size, config.image, people)
                self.folder.report.facts["crop"] = asdict(window) | {"of": picture.shape[1::-1]}
                found = self._skeleton("reference", lambda: found, found)
            check_whole_person(found, config.image, config.pose.allow_cut_off)
        except (ValueError, FileNotFoundError) as error:
            self.folder.remove_if_new()
            if isinstance(error, ValueError) and detector_files(config.pose.detector, config.pose.keypoints) == detector_files("demo"):
                raise ValueError(f"{error}; the demo's detector knows its clay figures only: for a photograph run scripts/photo.sh") from None
            raise
        return image, found

    def _found(self, picture: np.ndarray) -> Skeleton:
        """The person of a picture (H, W, 3); a pose that no person can have is refused."""
        found = self.models.detect(picture[None], self.config.fps, self.config.image, picture,
                                   tell_others=self.config.framing == "centre")        # around_person tells of them
        if self.config.pose.plausible:
            check_plausible(found, self.config.image)
        return found

    def plan(self) -> list[Segment]:
        """The prompt as actions with seconds."""
        config, planned = self.config, partial(plan, self.config.prompt, device=self.models.device, **asdict(self.config.planner))
        artefact = Artefact("plan.json", save_plan, partial(load_plan, max_seconds=config.planner.max_seconds))
        segments = self.folder.stage("plan", artefact, planned, config.prompt, config.planner)
        check_disk(self.folder.path, config.fps * sum(s.seconds for s in segments), config.size, 3 + config.refinements)
        return segments

    def motion(self, segments: list[Segment]) -> Motion:
        """The actions as one movement in 3D."""
        config = self.config

        def joined() -> Motion:
            texts = [segment.text for segment in segments]
            return join_motions(self.models.motions(segments), config.motion.transition_seconds, texts)

        artefact = Artefact("motion.npz", Motion.save, load_motion)
        return self.folder.stage("motion", artefact, joined, segments, config.motion, Path(config.motion.weights), config.seed)

    def skeleton(self, motion: Motion | None, reference: Skeleton) -> Skeleton:
        """The movement in 2D, in the person's proportions and place: the 3D motion's, or without one the driving video's."""
        config = self.config
        if motion is None:
            inputs = Path(config.driving_video), config.fps, config.sample_stride, config.alignment, reference
            return self._skeleton("skeleton", lambda: aligned(driving_skeleton(config, self.models), reference, config.alignment),
                                  *inputs)

        def projected() -> Skeleton:
            on_person = aligned(project(motion, config.size, config.fps, config.camera), reference, config.alignment)
            return in_view(on_person, reference, config.camera, in_place=config.alignment != "none")

        return self._skeleton("skeleton", projected, motion, config.camera, config.size, config.fps, config.alignment, reference)

    def depth(self, motion: Motion | None, skeleton: Skeleton) -> np.ndarray | None:
        """Metres from the camera, (F, 17); None without a 3D motion, and for a skeleton edited to another length."""
        if motion is None:
            return None
        depth = body_depth(motion, self.config.size, self.config.fps, self.config.camera)
        return depth if len(depth) == len(skeleton) else None

    def preview(self, scene: Scene, renderer: Renderer) -> None:
        """preview.mp4, and in report.json and a line on screen what may look wrong."""
        config, report = self.config, self.folder.report
        try:
            doubts = renderer.doubts(scene)
        except ValueError as error:                                                     # a person that it cannot move
            raise ValueError(re.sub("^reference: ", f"{config.image}: ", str(error))) from error
        artefact = Artefact("preview.mp4", save_preview, lambda path: None, editable=False)     # for people: no stage reads it
        self.folder.stage("preview", artefact, lambda: preview(scene, config.puppet), scene, config.puppet)
        seconds, memory = render_cost(config, len(scene.skeleton))
        for doubt in doubts:
            log.warning("%s: %s", config.renderer, doubt)
        found, nothing = risks(scene, config.puppet), "nothing else found" if doubts else "nothing found"
        report.facts |= {"risks": [*found, *doubts], "predicted": {"seconds": seconds, "bytes": memory}}
        self.folder.write_report()
        log.info("%s: what may look wrong: %s", self.folder.path / "preview.mp4", "; ".join(found) or nothing)
        log.info("%s: %s", config.renderer, predicted(len(scene.skeleton), seconds, memory))

    def frames(self, name: str, renderer: Renderer, scene: Scene, poses: np.ndarray | None = None) -> np.ndarray:
        """A renderer's frames of a scene, (F, H, W, 3) uint8. poses: the adapter's frames, where there are any."""
        artefact = Artefact(f"frames/{name}.mkv", save_frames, load_frames, editable=False)
        return self.folder.stage(name, artefact, lambda: self._rendered(name, renderer, scene, poses),
                                 *renderer.inputs(scene), poses, self.config.seed)

    def seen(self, number: int, video: np.ndarray, skeleton: Skeleton) -> Skeleton:
        """The plan's skeleton, completed and moved by what is seen in the video (F, H, W, 3)."""
        trust = self.config.refinement_trust
        return self._skeleton(f"seen_{number}", lambda: seen_skeleton(self.models, video, skeleton, trust), video, skeleton, trust)

    def _skeleton(self, name: str, work, *inputs) -> Skeleton:
        pose, still = self.config.pose, name in ("person", "reference")
        deciding = replace(pose, cache="", style="")                 # not where poses are kept, nor how they are drawn
        artefact = Artefact(f"{name}.npz", Skeleton.save, partial(load_skeleton, fps=None if still else self.config.fps))
        return self.folder.stage(name, artefact, work, *inputs, deciding, pose.networks)

    def _rendered(self, name: str, renderer: Renderer, scene: Scene, poses: np.ndarray | None) -> np.ndarray:
        generator, writer = torch.Generator().manual_seed(seed_of(self.config, name)), self.writers.get(name)
        with writer or nullcontext():
            return renderer(scene, generator, poses=poses, show=writer and writer.write, progress=self.models.progress)


def seed_of(config: InferenceConfig, stage: str) -> int:
    """Every stage has its own, so that resuming changes nothing; a driven video's is the seed itself, as published."""
    return config.seed if stage == "video" and config.driving_video else seed_for(config.seed, stage)


def code_of_stages(config: InferenceConfig) -> dict[str, list[Path]]:
    """The files whose change makes another result, by stage."""
    seen = [CODE / "dwpose", CODE / "media", CODE / "run" / "poses.py"]
    moved = [CODE / "t2m", CODE / "dwpose", CODE / "finer_scale.py", CODE / "run" / "poses.py"]
    rendered = [CODE / room for room in ("renderers", "puppet", "dwpose", "media", config.renderer) if (CODE / room).is_dir()]
    return {"person": seen, "reference": [*seen, CODE / "run" / "framing.py"], "seen": seen, "skeleton": moved,
            "plan": [CODE / "llm_planner.py", CODE / "planning"], "motion": [CODE / "t2m"],
            "poses": rendered, "video": rendered, "refined": rendered}


def save_plan(segments: list[Segment], path: Path) -> None:
    path.write_text(segments_to_json(segments), encoding="utf-8")


def load_plan(path: Path, max_seconds: float) -> list[Segment]:
    """The plan of a run, also after a person edited it; ValueError for an action too short to be one."""
    segments = segments_from_json(path.read_text(encoding="utf-8"), max_seconds)
    for number, segment in enumerate(segments, start=1):
        if segment.seconds < SHORTEST:
            raise ValueError(f'segment {number}: expected "seconds" of at least {SHORTEST:g} (found {segment.seconds:g}): make it longer, or leave it out')
    return segments


def load_motion(path: Path) -> Motion:
    """The 3D motion of a run, also after a person edited it; ValueError for what no plan's movement can be."""
    motion = Motion.load(path)
    if motion.seconds > LONGEST:
        raise ValueError(f"fps: expected a motion of at most {LONGEST:g} s (found {len(motion)} frames at {motion.fps:g}, {motion.seconds:,.0f} s): "
                         "correct its rate, or cut it")
    if (far := float(np.abs(motion.joints).max())) > FARTHEST:
        raise ValueError(f"joints: expected metres, within {FARTHEST:g} of the origin (found {far:g}): divide them")
    if not BODY_METRES[0] <= (body := float(np.median(np.ptp(motion.joints, axis=1).max(axis=1)))) <= BODY_METRES[1]:
        raise ValueError(f"joints: expected metres, a body of {BODY_METRES[0]:g} to {BODY_METRES[1]:g} (found {body:g}): scale them")
    return motion


def load_skeleton(path: Path, fps: float | None) -> Skeleton:
    """A skeleton of a run, also after a person edited it. fps: the run's, for a movement; None for a picture's, of one frame."""
    skeleton = Skeleton.load(path)
    check_somebody(skeleton)
    if fps is None and len(skeleton) != 1:
        raise ValueError(f"keypoints: expected one frame (found {len(skeleton)}): cut it")
    if fps is not None and skeleton.fps != fps:
        raise ValueError(f"fps: expected {fps:g}, the run's (found {skeleton.fps:g}): resample it, or set fps={skeleton.fps:g}")
    if (far := float(np.abs(skeleton.xy[skeleton.present]).max(initial=0))) > FARTHEST_CANVASES * max(skeleton.size):
        raise ValueError(f"keypoints: expected pixels of the {skeleton.size[0]}x{skeleton.size[1]} canvas (found {far:g}): scale them")
    return skeleton


def run(config: InferenceConfig, models: Models, report: Report, writers_of=video_writers) -> None:
    """One run folder, from checked settings. writers_of(config, folder): who writes the videos, by stage."""
    models.config, writers = config, writers_of(config, config.folder)
    try:
        with locked(config.folder, "choose another name=", beside=True):
            folder = RunFolder(config.folder, config.resume, report, code_of_stages(config))
            rows, segments = animate(config, folder, models, writers)
            if config.stop_after != "skeleton":
                with report.stage("outputs", "storyboard.png"):
                    write_outputs(config, folder.path, rows, segments, writers)
                folder.finish()
    except FileNotFoundError:
        raise
    except OSError as error:
        place = error.filename if error.filename and Path(error.filename).exists() else config.folder  # not temporary
        raise ValueError(f"{place}: {error.strerror or error}: make room, or choose another place "
                         "with outputs=") from error
    made = ("preview.mp4", "report.json") if config.stop_after == "skeleton" else ("video.mp4", "storyboard.png")
    print(f"\n{report.table()}\n", *(config.folder / name for name in made), sep="\n")
    if config.stop_after == "skeleton":
        print("\nthe same command with resume=true stop_after=video goes on from here")


def load_configs(argv: list[str]) -> list[InferenceConfig]:
    """One run's settings, or those of every case in MimicMotion's test.yaml; --config and key=value hold for all."""
    (case_file, argv), wants_help = without_option(argv), bool(set(HELP) & set(argv))
    if not any(argument.startswith("--config") for argument in argv):
        name = DEFAULT_CONFIG if case_file is None else CASES_CONFIG
        argv = ["--config", str(CONFIG_FOLDER.parent / name), *argv]
        if case_file is None and not wants_help:
            say(f"no --config given: {name} is used", sys.stdout)
    if case_file is None or wants_help:
        return [load_config(InferenceConfig, argv, __doc__)]
    assigned = [argument for argument in argv if "=" in argument and not argument.startswith("-")]
    if any(argument.startswith("name=") for argument in assigned):
        raise ValueError(f"name: every case of {OPTION} has its own: use outputs= for the place")
    base, rest, configs = load_config(InferenceConfig, argv), [word for word in argv if word not in assigned], []
    for case in read_cases(case_file, base.generator.svd, base.generator.checkpoint):
        try:
            configs.append(load_config(InferenceConfig, [*rest, *case.assignments, *assigned]))
        except ValueError as error:
            raise ValueError(f"{case.where}: {error}") from error
    return configs


def run_all(configs: list[InferenceConfig], models: Models) -> int:
    """Every case that can be run; first all are checked. 0 when all ended well, 2 after users' mistakes, 1 ours."""
    failed: dict[str, int] = {}
    cases = [(config, Report()) for config in configs]
    ready = [(attempted(partial(checked, config), config, report, failed), report) for config, report in cases]
    for config, report in ready:
        if config is not None:
            attempted(partial(run, config, models, report), config, report, failed)
    print(f"{len(configs) - len(failed)} of {len(configs)} cases done", *(f"failed: {name}" for name in failed), sep="\n")
    return min(failed.values(), default=0)


def attempted(work: Callable, config: InferenceConfig, report: Report, failed: dict[str, int]):
    """What work() gives; None after a failure, which is printed and noted in `failed`."""
    try:
        with report.listening():
            return work()
    except (ValueError, FileNotFoundError) as error:
        failed[config.name] = 2
        print(f"error: {config.name}: {one_line(error)}", file=sys.stderr)
    except Exception:
        failed[config.name] = 1
        log.exception("%s: failed", config.name)


def checked(config: InferenceConfig) -> InferenceConfig:
    """The settings with the size they lead to, after all inputs were looked at."""
    config = with_size(config)
    check_inputs(config)
    return config


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    case_file, rest = without_option(argv)
    if case_file is not None and is_musepose(case_file):
        from musepose.published_yaml import run_cases       # MusePose's networks, which no other run needs

        return run_cases(case_file, rest)
    configs, report = load_configs(argv), Report()
    if configs[0].num_threads:
        torch.set_num_threads(configs[0].num_threads)
    models = Models(configs[0])
    if not models.processes.is_main:
        return models.help()
    try:
        with models:
            if len(configs) > 1:
                return run_all(configs, models)
            with report.listening():
                run(checked(configs[0]), models, report)
    except KeyboardInterrupt as error:
        if not models.config.folder.is_dir():
            raise
        print(file=sys.stderr)                                  # below the bar
        return ended_by(error, f": what is finished stays in {models.config.folder}: resume=true goes on")
    return 0


if __name__ == "__main__":
    run_main(main)
