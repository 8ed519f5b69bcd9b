"""MusePose's pose align by itself: a dance video -> pose frames in the proportions and the place of a picture's person.

    python pose_align.py --imgfn_refer ref.png --vidfn dance.mp4
    python pose_align.py --imgfn_refer ref.png --vidfn dance.mp4 --align_frame 12      proportions from one frame only

Writes assets/poses/align/img_ref_video_dance.mp4, which MusePose's test_cases take, and beside it, in align_demo/, the
picture, its pose, the aligned pose, the dance and its own pose side by side.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np

from configs import run_main
from dwpose.choosing import load_detector
from dwpose.detector import CHOICES, Detector
from dwpose.musepose import aligned_as_musepose, painted, pose_frames
from dwpose.skeleton import HANDS, Skeleton
from media.files import check_outputs, locked
from media.images import read_image
from media.video_reader import frame_stream, probe
from media.video_writer import ANIMATIONS, CONTAINERS, write_video

log = logging.getLogger("pose_align")

LEAST_RESOLUTION = 64                       # pixels of a frame's short side; in smaller ones nobody is found
OF_MMPOSE = ("yolox_config", "dwpose_config", "image_resolution")     # of the published script's own detector


def side_by_side(image: np.ndarray, reference: Skeleton, aligned: Skeleton, frames: Iterator[np.ndarray],
                 dancer: Skeleton) -> Iterator[np.ndarray]:
    """Picture, its pose, aligned pose, dance, the dancer's pose; each (768, W, 3)."""
    still = [painted(image), next(pose_frames(reference))]
    for pose, frame, own in zip(pose_frames(aligned), frames, pose_frames(dancer)):
        yield np.concatenate([*still, pose, painted(frame), own], axis=1)


def align(args: argparse.Namespace) -> tuple[Path, Path]:
    """Detect, align and write; the two files."""
    detector = load_detector(args.yolox_ckpt or "auto", args.dwpose_ckpt)
    with ExitStack() as stack:
        paths = output_paths(args)
        for path in paths:
            stack.enter_context(locked(path, "choose other names for its two files", beside=True))
        return written(args, detector, *paths)


def written(args: argparse.Namespace, detector: Detector, align_path: Path, demo_path: Path) -> tuple[Path, Path]:
    """The two files, which no other run is writing."""
    image, fps = read_image(args.imgfn_refer), probe(args.vidfn).fps
    shrunk = args.detect_resolution or None
    first = args.align_frame or 0                                             # frames before it are left out, as published
    frames = lambda: islice(frame_stream(args.vidfn, max_short_side=shrunk, strict=True), first, args.max_frame)
    if next(frames(), None) is None:
        there = sum(1 for _ in islice(frame_stream(args.vidfn, max_short_side=shrunk, strict=True), args.max_frame))
        more = ", or raise --max_frame" if there == args.max_frame else ""
        raise ValueError(f"--align_frame: expected less than {there}, as that many frames of {args.vidfn} are read "
                         f"(found {first}): lower it{more}")
    reference = one_person(detector, image, args)
    dancer = detector.detect(frames(), fps, person=args.person, source=args.vidfn)
    if not dancer.seen[:, HANDS].any():
        log.warning("%s: no hands seen: the poses are drawn without hands", args.vidfn)
    aligned = aligned_as_musepose(dancer, reference, None if args.align_frame is None else 0)
    write_video(align_path, pose_frames(aligned), fps)
    write_video(demo_path, side_by_side(image, reference, aligned, frames(), dancer), fps)
    return align_path, demo_path


def one_person(detector: Detector, image: np.ndarray, args: argparse.Namespace) -> Skeleton:
    """The picture's person; a warning when there are several."""
    people = len(detector.detect_everybody(image[None])[0])
    if people > 1:
        log.warning("%s: expected one person (found %d): taking the one that --person %s names", args.imgfn_refer, people,
                    args.person)
    return detector.detect(image[None], person=args.person, source=args.imgfn_refer)


def output_paths(args: argparse.Namespace) -> tuple[Path, Path]:
    """Where the aligned poses and the comparison go."""
    name = f"img_{Path(args.imgfn_refer).name.split('.')[0]}_video_{Path(args.vidfn).name.split('.')[0]}.mp4"
    return (Path(args.outfn_align_pose_video or Path("assets/poses/align") / name),
            Path(args.outfn or Path("assets/poses/align_demo") / name))


def parser() -> argparse.ArgumentParser:
    """The published flags; its own detector's files are ONNX here."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = found.add_argument
    add("--imgfn_refer", default="assets/images/0.jpg", help="the picture of the person")
    add("--vidfn", default="assets/videos/0.mp4", help="the dance video")
    add("--align_frame", type=int, help="compare this frame's proportions only, and begin there; default: all frames'")
    add("--max_frame", type=int, default=300, help="frames of the dance that are read")
    add("--outfn_align_pose_video", help="the aligned poses; default: assets/poses/align/img_<picture>_video_<dance>.mp4")
    add("--outfn", help="the comparison; default: the same name in assets/poses/align_demo")
    add("--detect_resolution", type=int, default=0, help="shrink frames to this short side, pixels; 0: as they are")
    add("--yolox_ckpt", default="", help="person detector, ONNX; default: the best whose weights are here (DWPose, MediaPipe, the demo's)")
    add("--dwpose_ckpt", default="", help="whole-body keypoints, ONNX, beside --yolox_ckpt")
    add("--person", default="largest", help="who, when there are several: largest, center, left, right, or a number from the left")
    for name in OF_MMPOSE:
        add(f"--{name}", help="of the published script's detector; not needed here")
    return found


def main(arguments: list[str] | None = None) -> None:
    args = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    check(args)
    for path in align(args):
        log.info("wrote %s", path)


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot work, before time is spent."""
    for name in OF_MMPOSE:
        if getattr(args, name) is not None:
            log.info("--%s: not needed: the networks here are ONNX files", name)
    if bool(args.yolox_ckpt) != bool(args.dwpose_ckpt):
        raise ValueError("--yolox_ckpt, --dwpose_ckpt: expected both or neither (found one): they are two networks of one detector")
    for name in ("yolox_ckpt", "dwpose_ckpt"):
        if getattr(args, name) and not getattr(args, name).endswith(".onnx"):
            raise ValueError(f"--{name}: expected an ONNX file (found {getattr(args, name)}): use weights/dwpose/*.onnx, "
                             "which are the same networks")
    for name, value, least in (("max_frame", args.max_frame, 1), ("align_frame", args.align_frame or 0, 0)):
        if value < least:
            raise ValueError(f"--{name}: expected at least {least} (found {value}): raise it")
    if args.detect_resolution != 0 and args.detect_resolution < LEAST_RESOLUTION:
        raise ValueError(f"--detect_resolution: expected 0 (frames as they are) or at least {LEAST_RESOLUTION} pixels, as nobody "
                         f"is found in smaller frames (found {args.detect_resolution}): raise it")
    if args.person.isdecimal() and args.person.isascii() and len(args.person) < 4:
        args.person = int(args.person)
    elif args.person not in CHOICES:
        raise ValueError(f"--person: expected {', '.join(CHOICES)}, or a number from the left, 0 first (found {args.person}): choose one")
    videos, paths = (*CONTAINERS, *ANIMATIONS), output_paths(args)
    check_outputs({"--outfn_align_pose_video": (paths[0], videos), "--outfn": (paths[1], videos)},
                  {"--imgfn_refer": args.imgfn_refer, "--vidfn": args.vidfn})


if __name__ == "__main__":
    run_main(main)
