"""What can go wrong is found before the first slow stage: weights, sizes, output folder, disk."""
import logging
import math
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from dwpose.skeleton import (ANKLES, EYES, FEET, HIPS, LEFT_ANKLE, LEFT_WRIST, NOSE, RIGHT_ANKLE, RIGHT_WRIST,
                             SHOULDERS, Skeleton)
from llm_planner import ChatServer, check_planner, check_prompt, plan
from media.files import check_folder, nearest_existing
from media.images import canvas_size, fit_to_canvas, is_damaged_jpeg
from media.video_reader import probe
from run.folder import check_nobody_elses, WRITTEN
from run.framing import read_picture
from run.models import check_renderer
from run.poses import driving_frames
from run.preview import on_canvas
from run.settings import InferenceConfig

log = logging.getLogger(__name__)

SPARE_BYTES = 64 << 20                 # room a run needs beside its frames
COMPRESSED = 0.6                       # bytes per byte of RGB, lossless frames of a video
NEEDED_PARTS = (                       # one of the points must be seen inside the picture; name, points
    ("head", (NOSE, *EYES)),
    ("shoulders", SHOULDERS),
    ("hips", HIPS),
    ("feet", ANKLES),
)
WISHED_PARTS = (
    ("left hand", (LEFT_WRIST,)), ("right hand", (RIGHT_WRIST,)),
    ("left foot", (LEFT_ANKLE,)), ("right foot", (RIGHT_ANKLE,)),
)
SHORTEST = 3.6                         # eyes to ankles, in widths of the shoulders; an adult from the front: 4.5
LOWER_EDGE = 0.96                      # of the canvas height
SMALL = 0.45                           # eyes to ankles, of the canvas height: below, a hand is a few pixels


def check_plan(config: InferenceConfig) -> None:
    """A prompt or planner that cannot be planned with is refused at once; no language model is asked."""
    check_prompt(config.prompt)
    planner = config.planner
    if planner.backend != "rules":
        server = ChatServer(planner.base_url, planner.model, planner.api_key_env, planner.timeout_seconds)
        check_planner(planner.backend, planner.max_seconds, server, planner.max_new_tokens)
    else:
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)                        # which come when it is planned for the run
        try:
            plan(config.prompt, **asdict(config.planner))
        finally:
            logging.disable(before)


def check_motion_weights(folder: Path) -> None:
    """A text-to-motion folder is complete and of one piece; ValueError or FileNotFoundError names file and tensor."""
    from runtime.weights import check_safetensors       # only where there is a prompt
    from t2m.text_encoder import load_tokenizer, text_folders, TextTower
    from t2m.networks import GPT, VQVAE
    from t2m.weights import found, GPT_FILES, load_strictly, read_config, read_statistics, VQVAE_FILES, without_memory

    check_safetensors(folder)
    config, vqvae, gpt = read_config(folder), found(folder, VQVAE_FILES), found(folder, GPT_FILES)
    read_statistics(folder, released=vqvae.suffix == ".pth")
    for build, part, path in ((VQVAE, "vqvae", vqvae), (GPT, "gpt", gpt)):
        load_strictly(without_memory(build, config, part, folder), path, device="meta")
    tower, tokenizer = text_folders(folder)
    TextTower.load(tower, device="meta")
    load_tokenizer(tokenizer)


def check_not_overwritten(config: InferenceConfig) -> None:
    """Picture and driving video are none of the files that this run writes."""
    folder = Path(os.path.realpath(config.folder))                            # where resolve() fails on a loop of links
    written = {folder, *(folder / file for file in WRITTEN)}
    for name, given in (("image", config.image), ("driving_video", config.driving_video)):
        if not given:
            continue
        place = Path(os.path.realpath(Path(given).parent)) / Path(given).name        # a link in the folder would be replaced, too
        for path in (Path(os.path.realpath(given)), place):
            if path in written or path.parent == folder / "frames":
                raise ValueError(f"{name}={given}: is a file this run writes: choose another name=, or move it out of {config.folder}")


def check_disk(path: Path, num_frames: int, size: tuple[int, int], num_videos: int) -> None:
    """The disk has room for the run's frames; sizes in pixels."""
    needed = SPARE_BYTES + int(num_videos * num_frames * size[0] * size[1] * 3 * COMPRESSED)
    free = shutil.disk_usage(nearest_existing(path)).free
    if free < needed:
        raise ValueError(f"{path}: {free >> 20:,} MiB free on this disk, about {needed >> 20:,} MiB are needed: "
                         "free some, or choose another place with outputs=")


def with_size(config: InferenceConfig) -> InferenceConfig:
    """The settings with height and width, where `resolution` leaves them to the shape of the picture."""
    if not config.resolution:
        return config
    height, width = canvas_size(read_picture(config.image, (config.resolution, config.resolution)).shape[:2], config.resolution)
    log.info("%dx%d (height x width) from resolution=%d and the shape of %s", height, width, config.resolution,
             config.image)
    return replace(config, height=height, width=width)


def check_inputs(config: InferenceConfig) -> None:
    """Picture, text or driving video, weights, memory, folders and disk."""
    check_not_overwritten(config)
    check_folder(config.folder, "choose another place with outputs=")
    check_nobody_elses(config.folder)
    if config.pose.cache:
        check_folder(Path(config.pose.cache), "choose another place with pose.cache=, or none with pose.cache=")
    fit_to_canvas(read_picture(config.image, config.size), config.size)
    if is_damaged_jpeg(config.image):
        log.warning("%s: the file is damaged, and what it shows may be wrong: copy it again", config.image)
    num_frames = round(config.fps)                                # of a second: the plan, not made yet, says how many
    if config.driving_video:
        if not Path(config.driving_video).exists():
            raise ValueError(f"driving_video={config.driving_video}: no such file: check the path")
        if config.camera not in ("auto", "static"):              # which ask for no movement of the camera
            log.warning("camera=%s: left out: it is for a prompt's 3D motion, and a driving video has its own view",
                        config.camera)
        num_frames = math.ceil(driving_frames(config, probe(config.driving_video))) or num_frames
    elif not config.prompt.strip():
        raise ValueError("prompt: is empty, and so is driving_video: say what the person does, as in "
                         'prompt="A person waves.", or whose movement to take, as in driving_video=dance.mp4')
    else:
        check_plan(config)
        if not Path(config.motion.weights).is_dir():
            raise ValueError(f"motion.weights={config.motion.weights}: no such folder: fetch the published weights with "
                             "python scripts/download_weights.py t2m, or train your own with python train_t2m.py")
        check_motion_weights(Path(config.motion.weights))
    for path in config.pose.networks:
        if not path.is_file():
            raise ValueError(f"pose.detector, pose.keypoints: {path}: no such file: fetch the published networks with "
                             "python scripts/download_weights.py dwpose, or take pose.detector=auto")
        if path.suffix not in (".onnx", ".tflite"):
            raise ValueError(f"pose.detector, pose.keypoints: {path}: expected an ONNX network (found another file): name a file that ends in "
                             ".onnx, or take pose.detector=auto")
    check_renderer(config, num_frames)
    check_disk(config.folder, num_frames, config.size, 3 + config.refinements)


def check_whole_person(reference: Skeleton, picture: str, allow_cut_off: bool) -> None:
    """The person is in the picture from head to feet: ValueError (or a warning, if allowed) when parts are cut off."""
    missing = [part for part, points in NEEDED_PARTS if not on_canvas(reference, points)[0]]
    if "feet" not in missing and feet_made_up(reference):
        missing.append("feet")
    height, width = reference.size
    if missing and not allow_cut_off:
        raise ValueError(f"{picture}: the person is cut off ({' and '.join(missing)} not in the {height}x{width} "
                         "canvas): use a picture of the whole body, or pose.allow_cut_off=true to have the rest "
                         "invented")
    guessed = missing or [part for part, points in WISHED_PARTS if not on_canvas(reference, points)[0]]
    if guessed:
        log.warning("%s: %s not seen: what they look like is invented", picture, " and ".join(guessed))
    elif (share := body_length(reference) / height) < SMALL:
        log.warning("%s: the person is small (eyes to feet %.0f %% of the %dx%d canvas): crop the picture closer for a "
                    "clear face and hands", picture, 100 * share, height, width)


def feet_made_up(reference: Skeleton) -> bool:
    """Whether the body is too short for its shoulders and ends at the canvas' lower edge, or is far too short.

    A network that cannot see feet puts them somewhere above that edge, and may be sure of it.
    """
    lowest = reference.xy[0, [*ANKLES, *range(FEET.start, FEET.stop)], 1].max()
    shoulders = np.linalg.norm(np.subtract(*reference.xy[0, list(SHOULDERS)]))
    shortest = SHORTEST if lowest > LOWER_EDGE * reference.size[0] else SHORTEST / 2
    return bool(body_length(reference) < shortest * shoulders)


def body_length(reference: Skeleton) -> float:
    """From between the eyes to between the ankles, pixels."""
    middles = [reference.xy[0, list(points)].mean(axis=0) for points in (EYES, ANKLES)]      # 2 times (2,)
    return float(np.linalg.norm(np.subtract(*middles)))
