"""Picture of a person + text -> video of that person doing what the text says (Fleximo, arXiv 2411.19459).

    python inference.py --config configs/demo.yaml
    python inference.py --config configs/demo.yaml prompt="A person waves, then jumps." image=me.png seed=7 name=mine
    python inference.py --config configs/mimicmotion.yaml image=me.png driving_video=dance.mp4   MimicMotion by itself
    python inference.py --inference_config MimicMotion/configs/test.yaml                         its own list of cases
    accelerate launch inference.py --config configs/fleximo.yaml                                 one video on all GPUs

Stages, each a file in outputs/<name>/:
  reference   picture -> the person's 133 keypoints              reference.npz
  plan        prompt -> actions with seconds                     plan.json
  motion      actions -> 3D joints, 20 a second                  motion.npz
  skeleton    3D joints -> 2D, in the person's proportions       skeleton.npz
  poses       drawn skeleton without hands -> with hands         poses.mp4
  video       picture + poses -> video                           video.mp4
  seen_N      video -> the keypoints seen in it, over the plan's seen_N.npz      N = 1 to refinements
  refined_N   picture + their poses -> video                     video.mp4
storyboard.png shows them all, report.json has seconds, memory and warnings, frames/ keeps the frames without loss.
resume=true reuses every stage whose inputs did not change; plan.json and the .npz files may be edited in between.
"""
import logging
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from configs import CONFIG_FOLDER, load_config, run_main
from dwpose.alignment import in_view
from dwpose.draw import draw
from dwpose.skeleton import Skeleton
from finer_scale import aligned
from llm_planner import plan, segments_from_json, segments_to_json
from media.images import fit_to_canvas, read_image
from media.video_writer import load_frames, save_frames
from run.cases import OPTION, read_cases, without_option
from run.checks import check_disk, check_inputs, check_whole_person, with_size
from run.folder import Artefact, Report, RunFolder
from run.models import Models
from run.poses import driving_skeleton, seen_skeleton
from run.settings import InferenceConfig, VideoModelConfig
from run.storyboard import films, Row, write_outputs, write_settings
from t2m.joining import join_motions
from t2m.motion import Motion
from t2m.project import project

log = logging.getLogger(__name__)

MOTION = Artefact("motion.npz", Motion.save, Motion.load)


PLAN = Artefact("plan.json", lambda segments, path: path.write_text(segments_to_json(segments), encoding="utf-8"),
                lambda path: segments_from_json(path.read_text(encoding="utf-8")))


def animate(config: InferenceConfig, folder: RunFolder, models: Models) -> tuple[list[Row], list]:
    """The paper's figure, stage by stage. Returns the frames of each for the storyboard, and the plan."""
    def skeleton_stage(name, work, *inputs) -> Skeleton:
        artefact = Artefact(f"{name}.npz", Skeleton.save, Skeleton.load)
        return folder.stage(name, artefact, work, *inputs, detection, pose_weights)

    def video_stage(name: str, settings: VideoModelConfig, image, poses, own_pose) -> np.ndarray:
        artefact = Artefact(f"frames/{name}.mkv", save_frames, load_frames)
        return folder.stage(name, artefact, lambda: models.video(name, settings, image, poses, own_pose),
                            image, poses, own_pose, settings, Path(settings.svd), Path(settings.checkpoint),
                            config.seed, str(models.dtype))

    style, pose_weights = config.pose.style, [Path(config.pose.detector), Path(config.pose.keypoints)]
    detection = replace(config.pose, cache="")                                      # where poses are kept changes none
    image = fit_to_canvas(read_image(config.image), config.size)                    # (H, W, 3) uint8
    reference = skeleton_stage("reference", lambda: models.detect(image[None], config.fps, config.image, image), image)
    check_whole_person(reference, config.image, config.pose.allow_cut_off)

    segments = []
    if config.driving_video:
        fitted = lambda: aligned(driving_skeleton(config, models), reference, config.alignment)
        inputs = Path(config.driving_video), config.fps, config.sample_stride, config.alignment, reference
    else:
        planned = lambda: plan(config.prompt, device=models.device, **asdict(config.planner))
        segments = folder.stage("plan", PLAN, planned, config.prompt, config.planner)   # list[Segment]
        check_disk(folder.path, config.fps * sum(s.seconds for s in segments), config.size, 3 + config.refinements)
        joined = lambda: join_motions(models.motions(segments), config.motion.transition_seconds,
                                      [segment.text for segment in segments])
        motion = folder.stage("motion", MOTION, joined, segments, config.motion,
                              Path(config.motion.weights), config.seed)             # Motion: (T, 22, 3) metres, 20 fps
        projected = lambda: project(motion, config.size, config.fps, config.camera)
        fitted = lambda: in_view(aligned(projected(), reference, config.alignment), reference, config.camera)
        inputs = motion, config.camera, config.size, config.fps, config.alignment, reference
    skeleton = skeleton_stage("skeleton", fitted, *inputs)                          # Skeleton: (F, 133, 3) pixels
    drawn, own_pose = draw(skeleton, style), draw(reference, style)[0]              # (F, H, W, 3), (H, W, 3) uint8
    rows = [Row("skeleton", "in the person's proportions", drawn)]

    poses = drawn
    if config.adapter.checkpoint and not config.driving_video:                      # a detected skeleton has its hands
        poses = video_stage("poses", config.adapter, own_pose, draw(skeleton.without_hands(), style),
                            draw(reference.without_hands(), style)[0])              # (F, H, W, 3) uint8
        rows.append(Row("poses", "hands by the skeleton adapter", poses))
    video = video_stage("video", config.generator, image, poses, own_pose)          # (F, H, W, 3) uint8
    rows.append(Row("video", "first pass", video))

    for i in range(1, config.refinements + 1):
        before = video
        seen = skeleton_stage(f"seen_{i}", lambda: seen_skeleton(models, before, skeleton, config.refinement_trust),
                              before, skeleton, config.refinement_trust)
        video = video_stage(f"refined_{i}", config.generator, image, draw(seen, style), own_pose)
        rows.append(Row("refined", f"pass {i + 1}, on the poses seen in pass {i}", video))
    return rows, segments


def run(config: InferenceConfig, models: Models, report: Report) -> None:
    """One run folder, from checked settings."""
    models.config, models.films = config, films(config, config.folder)
    try:
        folder = RunFolder(config.folder, config.resume, report)
        write_settings(config, folder.path)
        rows, segments = animate(config, folder, models)
        with report.stage("outputs", "storyboard.png"):
            write_outputs(config, folder.path, rows, segments, models.films)
        folder.finish()
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        place = error.filename if error.filename and Path(error.filename).exists() else config.folder  # not temporary
        raise ValueError(f"{place}: {error.strerror or error}: make room, or choose another place "
                         "with outputs=") from error
    print(f"\n{report.table()}\n\n{config.folder / 'video.mp4'}\n{config.folder / 'storyboard.png'}")


def load_configs(argv: list[str]) -> list[InferenceConfig]:
    """One run's settings, or those of every case in MimicMotion's test.yaml; --config and key=value hold for all."""
    case_file, argv = without_option(argv)
    if case_file is None or {"-h", "--help"} & set(argv):
        return [load_config(InferenceConfig, argv, __doc__)]
    if not any(argument.startswith("--config") for argument in argv):
        argv = ["--config", str(CONFIG_FOLDER / "mimicmotion.yaml"), *argv]
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
    prepared, failed = {}, {}
    reports = {config.name: Report() for config in configs}
    for work in (lambda config, report: prepared.update({config.name: checked(config, models)}),
                 lambda config, report: run(prepared[config.name], models, report)):
        for config in (config for config in configs if config.name not in failed):
            try:
                with reports[config.name].listening():
                    work(config, reports[config.name])
            except (ValueError, FileNotFoundError) as error:
                failed[config.name] = 2
                print(f"error: {config.name}: {' '.join(str(error).split())}", file=sys.stderr)
            except Exception:
                failed[config.name] = 1
                log.exception("%s: failed", config.name)
    print(f"{len(configs) - len(failed)} of {len(configs)} cases done", *map("failed: {}".format, failed), sep="\n")
    return min(failed.values(), default=0)


def checked(config: InferenceConfig, models: Models) -> InferenceConfig:
    """The settings with the size they lead to, after all inputs were looked at."""
    config = with_size(config)
    check_inputs(config, models)
    return config


def main(argv: list[str] | None = None) -> int:
    configs, report = load_configs(sys.argv[1:] if argv is None else argv), Report()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
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
                run(checked(configs[0], models), models, report)
    except KeyboardInterrupt:
        print(f"\ninterrupted: what is finished stays in {models.config.folder}: resume=true goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    run_main(main)
