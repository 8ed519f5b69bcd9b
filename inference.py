"""Picture of a person + text -> video of that person doing what the text says (Fleximo, arXiv 2411.19459).

    python inference.py --config configs/demo.yaml
    python inference.py --config configs/demo.yaml prompt="A person waves, then jumps twice." image=me.png seed=7 name=mine

Stages, each a file in outputs/<name>/:
  reference   picture -> the person's 133 keypoints              reference.npz
  plan        prompt -> actions with seconds                     plan.json
  motion      actions -> 3D joints, 20 a second                  motion.npz
  skeleton    3D joints -> 2D, in the person's proportions       skeleton.npz
  poses       drawn skeleton without hands -> with hands         poses.mp4
  video       picture + poses -> video                           video.mp4
  seen_N      video -> the keypoints seen in it, aligned         seen_N.npz      refinements= times, with
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

from configs import load_config, run_main
from dwpose.draw import draw
from dwpose.skeleton import BODY, LEFT_HAND, LEFT_WRIST, RIGHT_HAND, RIGHT_WRIST, Skeleton
from finer_scale import rescale
from llm_planner import check_prompt, plan, segments_from_json, segments_to_json
from mimicmotion.video import fit_to_canvas, read_image, read_video
from stages.checks import check_disk, check_folder, check_safetensors, check_size, check_weights, check_whole_person
from stages.folder import Artefact, RunFolder, load_frames, save_frames
from stages.models import Models
from stages.outputs import write_outputs, write_settings
from stages.report import Report
from stages.settings import InferenceConfig, VideoModelConfig
from stages.storyboard import Row
from t2m.joining import join_motions
from t2m.motion import Motion
from t2m.project import project

log = logging.getLogger("inference")

SEEN_TOLERANCE = 0.08                       # of the person's height, for refinement

PLAN = Artefact("plan.json", lambda segments, path: path.write_text(segments_to_json(segments), encoding="utf-8"),
                lambda path: segments_from_json(path.read_text(encoding="utf-8")))
MOTION = Artefact("motion.npz", Motion.save, Motion.load)


def animate(config: InferenceConfig, folder: RunFolder, models: Models) -> tuple[list[Row], list]:
    """The paper's figure, stage by stage. Returns the frames of each for the storyboard, and the plan."""
    def skeleton_stage(name, work, *inputs) -> Skeleton:
        return folder.stage(name, Artefact(f"{name}.npz", Skeleton.save, Skeleton.load), work, *inputs, config.pose, pose_weights)

    def video_stage(name: str, settings: VideoModelConfig, image: np.ndarray, poses: np.ndarray, own_pose: np.ndarray) -> np.ndarray:
        return folder.stage(name, Artefact(f"frames/{name}.mkv", save_frames, load_frames),
                            lambda: models.video(name, settings, image, poses, own_pose), image, poses, own_pose, settings,
                            Path(settings.svd), Path(settings.checkpoint), config.seed, str(models.dtype))

    style, pose_weights = config.pose.style, [Path(config.pose.detector), Path(config.pose.keypoints)]
    image = fit_to_canvas(read_image(config.image), config.size)                                 # (H, W, 3) uint8
    reference = skeleton_stage("reference", lambda: models.detect(image[None], config.fps, config.image), image)
    check_whole_person(reference, config.image, config.pose.allow_cut_off)

    segments = []
    if config.driving_video:
        skeleton = skeleton_stage("skeleton", lambda: rescale(driving_skeleton(config, models), reference),
                                  Path(config.driving_video), config.fps, reference)             # Skeleton: (F, 133, 3) pixels
    else:
        segments = folder.stage("plan", PLAN, lambda: plan(config.prompt, device=models.device, **asdict(config.planner)),
                                config.prompt, config.planner)                                   # list[Segment]
        check_disk(folder.path, config.fps * sum(s.seconds for s in segments), config.size, 3 + config.refinements)
        motion = folder.stage("motion", MOTION, lambda: join_motions(models.motions(segments), config.motion.transition_seconds),
                              segments, config.motion, Path(config.motion.weights), config.seed)  # Motion: (T, 22, 3) metres, 20 fps
        skeleton = skeleton_stage("skeleton", lambda: rescale(project(motion, config.size, config.fps, config.camera), reference),
                                  motion, config.camera, config.size, config.fps, reference)     # Skeleton: (F, 133, 3) pixels
    drawn, own_pose = draw(skeleton, style), draw(reference, style)[0]                           # (F, H, W, 3), (H, W, 3) uint8
    rows = [Row("skeleton", "in the person's proportions", drawn)]

    poses = drawn
    if config.adapter.checkpoint and not config.driving_video:                                   # a detected skeleton has its hands
        poses = video_stage("poses", config.adapter, own_pose, draw(skeleton.without_hands(), style),
                            draw(reference.without_hands(), style)[0])                           # (F, H, W, 3) uint8
        rows.append(Row("poses", "hands by the skeleton adapter", poses))
    video = video_stage("video", config.generator, image, poses, own_pose)                       # (F, H, W, 3) uint8
    rows.append(Row("video", "first pass", video))

    for i in range(1, config.refinements + 1):
        before = video
        seen = skeleton_stage(f"seen_{i}", lambda: rescale(seen_skeleton(models, before, skeleton), reference), before, skeleton, reference)
        video = video_stage(f"refined_{i}", config.generator, image, draw(seen, style), own_pose)
        rows.append(Row("refined", f"pass {i + 1}, on the poses seen in pass {i}", video))
    return rows, segments


def driving_skeleton(config: InferenceConfig, models: Models) -> Skeleton:
    """The person of the driving video, at the run's frame rate."""
    frames, fps = read_video(config.driving_video, fps=config.fps)
    return models.detect(frames, fps, config.driving_video)


def seen_skeleton(models: Models, video: np.ndarray, skeleton: Skeleton) -> Skeleton:
    """The keypoints of the generated person, where they are near those asked for; elsewhere the planned ones.

    A point further off than SEEN_TOLERANCE of the person's height is a mistake of the video or of the detector, and
    drawing it would make the second pass repeat the mistake.
    """
    try:
        seen = models.detect(video, skeleton.fps, "generated video")
    except ValueError as error:
        log.warning("%s: the refinement uses the planned skeleton", error)
        return skeleton
    body = skeleton.xy[:, BODY]                                                                  # (F, 17, 2)
    height = np.median(body[..., 1].max(axis=1) - body[..., 1].min(axis=1))                      # pixels
    planned = skeleton.confidence > 0                                                            # (F, 133)
    astray = np.linalg.norm(seen.xy - skeleton.xy, axis=-1) > SEEN_TOLERANCE * height            # (F, 133)
    keypoints = np.where((planned & (astray | (seen.confidence == 0)))[..., None], skeleton.keypoints, seen.keypoints)
    for wrist, hand in ((LEFT_WRIST, LEFT_HAND), (RIGHT_WRIST, RIGHT_HAND)):
        keypoints[astray[:, wrist], hand] = 0                                                    # a hand without its arm
    return replace(seen, keypoints=keypoints)


def check_inputs(config: InferenceConfig, models: Models) -> None:
    """Finds what is wrong with the inputs before the first slow stage; each is a ValueError of one line."""
    fit_to_canvas(read_image(config.image), config.size)
    if not config.driving_video:
        check_prompt(config.prompt)
        if not Path(config.motion.weights).is_dir():
            raise ValueError(f"motion.weights={config.motion.weights}: no such folder: see weights/README.md")
        check_safetensors(Path(config.motion.weights))
    elif not Path(config.driving_video).is_file():
        raise ValueError(f"driving_video={config.driving_video}: no such file: check the path")
    for key, settings in (("adapter", config.adapter), ("generator", config.generator)):
        if settings.checkpoint or key == "generator":
            check_weights(Path(settings.svd), Path(settings.checkpoint), key)
            check_size(config.size, Path(settings.svd), Path(settings.checkpoint))
    check_folder(config.folder)
    check_disk(config.folder, config.fps, config.size, 3 + config.refinements)


def main(argv: list[str] | None = None) -> int:
    config = load_config(InferenceConfig, argv, __doc__)
    report = Report()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger().addHandler(report.warnings)
    if config.num_threads:
        torch.set_num_threads(config.num_threads)
    try:
        models = Models(config)
        check_inputs(config, models)
        folder = RunFolder(config.folder, config.resume, report)
        write_settings(config, folder.path)
        rows, segments = animate(config, folder, models)
        with report.stage("outputs", "storyboard.png"):
            write_outputs(config, folder.path, rows, segments)
        folder.finish()
    except KeyboardInterrupt:
        print(f"\ninterrupted: finished stages are kept in {config.folder}; the same command with resume=true goes on", file=sys.stderr)
        return 130
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        place = error.filename if error.filename and Path(error.filename).exists() else config.folder      # not a temporary name
        raise ValueError(f"{place}: {error.strerror or error}: make room, or choose another place with outputs=") from error
    finally:
        logging.getLogger().removeHandler(report.warnings)
    print(f"\n{report.table()}\n\n{config.folder / 'video.mp4'}\n{config.folder / 'storyboard.png'}")
    return 0


if __name__ == "__main__":
    run_main(main)
