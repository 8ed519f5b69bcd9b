"""MusePose's own test_cases, read as they are; the YAML of its two trainings is read by train_musepose.py.

    test_cases:
      "assets/images/ref.png":
        - "assets/poses/align/img_ref_video_dance.mp4"

Pictures and pose videos may be folders. Every case begins from the seed itself, so that its video does not depend on the
cases before it, and a case that fails does not lose the others.
"""
from __future__ import annotations

import argparse
import datetime
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from configs import yaml_mapping
from media.files import entries, locked, one_line
from media.images import check_size, PIXELS_PER_LATENT, read_image
from media.video_reader import frame_stream, probe
from media.video_writer import write_video
from musepose.checkpoint import WeightFiles
from musepose.pipeline import check_windows, MusePose, scheduler
from runtime.device import chosen_device

log = logging.getLogger(__name__)

DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class TestCases:
    """What a test_cases file asks for."""
    files: WeightFiles
    dtype: torch.dtype
    noise_scheduler: dict
    cases: list[tuple[Path, Path]]                 # picture, pose video
    __test__ = False                               # no class of tests


def read_test_cases(path: str | Path) -> TestCases:
    """All cases; a missing picture or video is a ValueError before any has run. Paths are as in the file, from here."""
    path = Path(path)
    content = yaml_mapping(path)
    places = [f"{part.name}_path" for part in fields(WeightFiles)]
    missing = [place for place in places if not isinstance(content.get(place), str)]
    if missing:
        raise ValueError(f"{path}: expected {missing[0]} (found none): take MusePose's configs/test_stage_2.yaml")
    dtype = content.get("weight_dtype", "fp16")
    if dtype not in DTYPES:
        raise ValueError(f"{path}: weight_dtype: expected {' or '.join(DTYPES)} (found {dtype!r})")
    listed = content.get("test_cases")
    if not isinstance(listed, dict) or not all(
            isinstance(videos, list) and all(isinstance(place, str) for place in (picture, *videos)) for picture, videos in listed.items()):
        raise ValueError(f"{path}: expected test_cases: a picture, and under it a list of pose videos (found {listed!r})")
    cases = [(picture, video) for place, videos in listed.items() for picture in files_in(place, (".jpg", ".png", ".jpeg"), path)
             for listed_video in videos for video in files_in(listed_video, (".mp4",), path)]
    if not cases:
        raise ValueError(f"{path}: expected at least one picture with a pose video (found none)")
    settings = Path(content.get("inference_config") or "")
    noise = yaml_mapping(settings).get("noise_scheduler_kwargs", {}) if settings.is_file() else {}
    return TestCases(WeightFiles(*(Path(content[place]) for place in places)), DTYPES[dtype], noise, cases)


def files_in(place: str, suffixes: tuple[str, ...], source: Path) -> list[Path]:
    """The file itself, or those of a folder, in order of their names."""
    found = Path(place)
    if found.is_dir():
        return [file for file in entries(found) if file.suffix.lower() in suffixes]
    if not found.is_file():
        raise ValueError(f"{source}: expected the file {place} (found none): make it with pose_align.py, or correct the path")
    return [found]


def poses_of(video: Path, longest: int, skip: int) -> tuple[np.ndarray, float]:
    """Every (skip + 1)-th of the first `longest` frames, (F, H, W, 3), whole steps only, and their rate."""
    step, taken = skip + 1, list(islice(frame_stream(video, strict=True), longest))
    return np.stack(taken[::step][:max(1, len(taken) // step)]), probe(video).fps / step


def run_cases(path: str | Path, arguments: list[str], load: Callable[..., MusePose] = MusePose.load) -> int:
    """Make the videos of all cases; the exit code: 0, or 2 where a case failed. arguments: `parser`'s."""
    args, wanted = parser().parse_args(arguments), read_test_cases(path)
    check_size((args.H, args.W), PIXELS_PER_LATENT)
    check_windows(args.S, args.O)
    for name, least in (("L", 1), ("skip", 0)):
        if getattr(args, name) < least:
            raise ValueError(f"-{name}: expected at least {least} (found {getattr(args, name)})")
    if not math.isfinite(args.cfg) or args.fps is not None and not 0 < args.fps < math.inf:
        raise ValueError(f"--cfg, --fps: expected a number and, if given, more than 0 (found {args.cfg} and {args.fps})")
    if not 0 <= args.seed < 1 << 63:
        raise ValueError(f"--seed: expected 0 to 2**63 - 1 (found {args.seed})")
    scheduler(args.steps, **wanted.noise_scheduler)
    device = chosen_device(args.device)
    dtype = torch.float32 if device == "cpu" else wanted.dtype
    model, failed = load(wanted.files, device, dtype), []
    names = [wanted.files.pose_guider.name.split(".")[0], wanted.files.motion_module.name.split(".")[0]]
    folder = Path(args.output) / f"{datetime.datetime.now():%H%M}-{args.cfg}-{names[0]}-{names[1]}"
    with locked(folder, "choose another --output"):
        for picture, video in wanted.cases:
            try:
                make_case(model, picture, video, folder, names, args, wanted.noise_scheduler)
            except (ValueError, FileNotFoundError, torch.OutOfMemoryError) as error:
                log.error("%s with %s: %s", picture, video, one_line(error))
                failed.append(video)
    if failed:
        log.error("%d of %d cases failed", len(failed), len(wanted.cases))
    return 2 if failed else 0


def make_case(model: MusePose, picture: Path, video: Path, folder: Path, names: list[str], args: argparse.Namespace,
              noise_scheduler: dict) -> None:
    """One picture with one pose video: the result, and picture | poses | result."""
    image, (poses, fps) = read_image(picture), poses_of(video, args.L, args.skip)
    size = poses.shape[1:3]
    made = model(image, poses, torch.Generator().manual_seed(args.seed), size=(args.H, args.W), output_size=size,
                 num_inference_steps=args.steps, guidance_scale=args.cfg, window=args.S, window_overlap=args.O,
                 noise_scheduler=noise_scheduler)
    stem = f"{picture.stem}_{video.stem.replace('_kps', '')}_{args.cfg}_{args.steps}_{args.skip}"
    fps = args.fps or fps
    write_video(folder / f"{stem}.mp4", made, fps)
    write_video(folder / f"{stem}_{'_'.join(names)}.mp4", beside(image, poses, made), fps)
    log.info("wrote %s", folder / f"{stem}.mp4")


def beside(image: np.ndarray, poses: np.ndarray, made: np.ndarray) -> Iterator[np.ndarray]:
    """Picture, pose and result next to one another, each (H, W, 3)."""
    height, width = made.shape[1:3]
    still = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    for pose, frame in zip(poses, made):
        yield np.concatenate([still, pose, frame], axis=1)


def parser() -> argparse.ArgumentParser:
    """The flags of the published test_stage_2.py."""
    found = argparse.ArgumentParser(prog="inference.py --inference_config", description="MusePose's test_cases")
    for flag, kind, default, words in (
            ("-W", int, 768, "width the networks work at, pixels"), ("-H", int, 768, "height, pixels"),
            ("-L", int, 300, "frames of the pose video that are read"), ("-S", int, 48, "frames denoised together"),
            ("-O", int, 4, "frames they share"), ("--cfg", float, 3.5, "classifier-free guidance"),
            ("--seed", int, 99, "of every case's noise"), ("--steps", int, 20, "DDIM steps"),
            ("--fps", float, None, "of the result; default: the pose video's, divided by skip + 1"),
            ("--skip", int, 1, "frames left out between two that are taken"), ("--device", str, "auto", "auto, cpu, cuda or cuda:N"),
            ("--output", str, f"output/video-{datetime.date.today():%Y%m%d}", "folder of the results")):
        found.add_argument(flag, type=kind, default=default, help=words)
    return found
