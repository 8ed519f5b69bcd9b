"""Measure what a photograph needs (detector, puppet, the whole run) and print one table.

    python scripts/evaluate_photo.py                          minutes on two cores
    python scripts/evaluate_photo.py --only still synthetic   some of it
    python scripts/evaluate_photo.py --pictures me.jpg you.jpg    still pose and detection on pictures of one's own, too

Measures: run, puppet, still, synthetic, detector, tracking, odd, hidden, honesty. People and motions are procedural, of
held-out seeds; the odd pictures are made of them and of scikit-image's own. Seconds are of the processor, as other programs
may run beside; those of the whole run are by the clock, too.
Needs weights/mediapipe (scripts/download_weights.py photograph). Results go to outputs/evaluate_photo/results.json.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from configs import load_config, run_main, whole_number
from dwpose.choosing import load_detector
from dwpose.mediapipe import MediaPipeDetector
from dwpose.plausibility import hides_too_much, implausible
from dwpose.skeleton import BODY, Skeleton
from media.files import check_folder, existing_file
from media.images import fit_to_canvas, read_image
from media.video_reader import probe
from motionbench.picture import delta_e, psnr, ssim
from motionbench.pose import pck
from motionbench.report import format_table, ResultsFile, Target
from renderers import PuppetConfig, Scene
from renderers.mimicmotion import rebuilt_psnr
from renderers.puppet import Puppet
from run.framing import around_person
from run.settings import InferenceConfig
from synthetic.clips import HELD_OUT_SEED, sample_clip, SyntheticClip
from synthetic.motions import KINDS
from t2m.project import body_depth

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
CONFIG, LARGE = ROOT / "configs" / "photo.yaml", ROOT / "assets" / "person_large.png"
CANVAS = (1024, 576)                # height, width, pixels
VIDEO = (1080, 1920)
WRONG = 0.1                         # of the person's height: a pose off by more on average is nonsense
NOBODY = ("chelsea", "coffee", "rocket", "coins", "text", "page", "moon", "clock", "brick", "grass", "gravel", "checkerboard",
          "colorwheel", "horse", "logo", "hubble_deep_field", "immunohistochemistry", "retina", "motorcycle_left", "cat", "cell")

TARGETS = (
    Target("run", "preview_wall", "photograph to preview.mp4, whole process, by the clock", 10, unit="s", at_most=True),
    Target("run", "preview", "  processor seconds", unit="s"),
    Target("run", "video_wall", "going on to 6 s of 576×1024 at 15 fps, by the clock", 45, unit="s", at_most=True),
    Target("run", "video", "  processor seconds", unit="s"),
    Target("puppet", "frame", "puppet, one frame of 576×1024, one thread", 0.08, unit="s", at_most=True),
    Target("puppet", "cut", "  cutting the picture, once", unit="s"),
    Target("still", "psnr", "standing still: lowest PSNR to the photograph", 40, unit="dB"),
    Target("synthetic", "psnr", "puppet against the true video, synthetic people: PSNR", 28, unit="dB"),
    Target("synthetic", "ssim", "  SSIM", 0.914),
    Target("synthetic", "delta_e", "  colours, mean ΔE (CIEDE2000)", 3, at_most=True),
    Target("synthetic", "pck", "  body keypoints re-detected", 0.93),
    Target("synthetic", "true_pck", "  the same on the true video"),
    Target("detector", "found", "photograph detector on synthetic people: share found"),
    Target("detector", "error", "  mean error of body points, of the person's height"),
    Target("detector", "pck", "  body points within 5 % of the height"),
    Target("detector", "picture_seconds", "  seconds a picture, one core", unit="s"),
    Target("tracking", "frame", "driving video of 1080p: a frame on one core", 0.25, unit="s", at_most=True),
    Target("tracking", "kept", "  frames in which the chosen one of two people is kept", 1.0),
    Target("odd", "pictures", "odd pictures"),
    Target("odd", "nonsense", "  nonsense results", 0, at_most=True),
    Target("odd", "tracebacks", "  tracebacks", 0, at_most=True),
    Target("odd", "answered", "  people found, of pictures with one whole person"),
    Target("hidden", "told", "pictures of people who sit or cross their arms: share told to take another", 1.0),
    Target("hidden", "standing", "  and of people who stand", 0, at_most=True),
    Target("honesty", "own", "the demo's VAE rebuilds synthetic people, lowest PSNR", 33, unit="dB"),
    Target("honesty", "other", "  and scikit-image's photographs, highest PSNR", 33, unit="dB", at_most=True),
)
Values = dict[str, float]


@dataclass(frozen=True)
class Bench:
    """What every measure is given."""

    detector: MediaPipeDetector
    output: Path
    pictures: list[Path]
    num_clips: int
    num_frames: int                 # of the driving video

    def clips(self, num_frames: int, size: tuple[int, int]) -> Iterator[SyntheticClip]:
        """Held-out people, each doing another kind of motion."""
        kinds = np.random.default_rng(0).permutation(KINDS)
        for index in range(self.num_clips):
            yield sample_clip(HELD_OUT_SEED + index, str(kinds[index % len(kinds)]), num_frames=num_frames, fps=10.0, size=size)


def whole_run(bench: Bench) -> Values:
    """The command of scripts/photo.sh in its own process, loading included."""
    values = {}
    for name, extra in (("preview", ["stop_after=skeleton"]), ("video", ["resume=true"])):
        command = [sys.executable, "inference.py", "--config", str(CONFIG), f"image={LARGE}", f"outputs={bench.output.resolve()}",
                   "name=run", "prompt=A person waves with the right hand for 3 s, then does a squat for 3 s.", "pose.cache=", *extra]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "2"}, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        values[f"{name}_wall"] = time.perf_counter() - start
        values[name] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    video = probe(bench.output / "run" / "video.mp4")
    if video.seconds < 5.5:
        raise ValueError(f"{bench.output / 'run'}: expected a video of 6 s (found {video.seconds:.1f})")
    return values


def still_scene(bench: Bench, path: Path, size: tuple[int, int]) -> Scene:
    """The person of a picture, framed."""
    picture = read_image(path)
    image, reference, _ = around_person(picture, bench.detector.find(picture[None], source=str(path)), size, str(path))
    return Scene(image, reference, reference, "", None)


def puppet_seconds(bench: Bench) -> Values:
    """Processor seconds of one frame, and of the cutting before the first."""
    cv2.setNumThreads(1)
    scene, times = still_scene(bench, LARGE, CANVAS), [time.process_time()]
    scene = replace(scene, skeleton=scene.reference[np.zeros(30, int)])
    Puppet(PuppetConfig(), bench.detector.mask_of)(scene, torch.Generator().manual_seed(0), progress=False,
                                                   show=lambda frames: times.append(time.process_time()))
    frame = (times[-1] - times[1]) / (len(times) - 2)
    return {"frame": frame, "cut": times[1] - times[0] - frame}


def still(bench: Bench) -> Values:
    """Nobody moves: the puppet must give back the photograph. The lowest of all pictures and both ways of cutting."""
    found = []
    for path in (LARGE, ROOT / "assets" / "person.png", *bench.pictures):
        scene = still_scene(bench, path, CANVAS if path != ROOT / "assets" / "person.png" else (320, 192))
        for name, mask in (("mediapipe", bench.detector.mask_of), ("colour", None)):
            frames = Puppet(PuppetConfig(), mask)(scene, torch.Generator().manual_seed(0), progress=False)
            found.append(psnr(frames, scene.image[None]))
            log.info("still, %s, mask=%s: %.1f dB", path.name, name, found[-1])
    return {"psnr": min(found)}


def synthetic(bench: Bench) -> Values:
    """The puppet on the true skeletons of procedural people, against the frames that their renderer makes."""
    judge, rows = load_detector("demo"), []
    for clip in bench.clips(16, (320, 192)):
        depth = body_depth(clip.motion, clip.size, clip.skeleton.fps, clip.camera)
        scene = Scene(clip.reference, clip.reference_skeleton, clip.skeleton, "", depth)
        made = Puppet(PuppetConfig(mask="colour"))(scene, torch.Generator().manual_seed(0), progress=False)
        scores = [pck(seen_by(judge, frames, clip.skeleton), clip.skeleton, BODY) for frames in (made, clip.frames)]
        colours = np.mean(list(delta_e(made, clip.frames, clip.skeleton).values()))
        rows.append({"psnr": psnr(made, clip.frames), "ssim": ssim(made, clip.frames), "delta_e": colours,
                     "pck": scores[0], "true_pck": scores[1]})
    return {name: float(np.nanmean([row[name] for row in rows])) for name in rows[0]}


def seen_by(detector, frames: np.ndarray, like: Skeleton) -> Skeleton:
    """What a detector sees; nothing where it finds nobody."""
    try:
        return detector.find(frames, like.fps)
    except ValueError as error:
        log.info("%s", error)
        return replace(like, keypoints=np.zeros_like(like.keypoints))


def errors(found: Skeleton, truth: Skeleton) -> np.ndarray:
    """Distances of the body points that both see, of the true person's height, of one frame."""
    both = found.seen[0, BODY] & truth.seen[0, BODY]
    height = np.ptp(truth.xy[0, BODY][truth.seen[0, BODY]], axis=0).max()
    return np.linalg.norm(found.xy[0, BODY] - truth.xy[0, BODY], axis=-1)[both] / height


def detection(bench: Bench) -> Values:
    """The photograph detector on clay people, which it never saw, against the truth."""
    off, found, start = [], [], time.process_time()
    for clip in bench.clips(2, (640, 384)):
        for frame, truth in ((clip.reference, clip.reference_skeleton), (clip.frames[-1], clip.skeleton[-1])):
            seen = seen_by(bench.detector, frame[None], truth)
            found.append(seen.seen.any())
            off += errors(seen, truth).tolist()
    return {"found": float(np.mean(found)), "error": float(np.mean(off)), "pck": float(np.mean(np.array(off) < 0.05)),
            "picture_seconds": (time.process_time() - start) / len(found)}


def two_people(num_frames: int) -> tuple[np.ndarray, SyntheticClip]:
    """Frames (F, 1080, 1920, 3) of two people side by side, and the clip of the left one, in 1080x960."""
    half = VIDEO[0], VIDEO[1] // 2
    small = half[0] // 2, half[1] // 2
    clips = [sample_clip(HELD_OUT_SEED + 500 + index, kind, num_frames=min(num_frames, 24), fps=10.0, size=small)
             for index, kind in enumerate(("wave", "squat"))]
    there = [np.stack([cv2.resize(frame, half[::-1], interpolation=cv2.INTER_CUBIC) for frame in clip.frames]) for clip in clips]
    frames = np.concatenate(there, axis=2)                                              # (24, 1080, 1920, 3)
    order = np.abs((np.arange(num_frames) + len(frames) - 1) % (2 * len(frames) - 2) - (len(frames) - 1))     # forth and back
    return frames[order], clips[0]


def tracking(bench: Bench) -> Values:
    """A long video of two people of whom the left one is followed."""
    frames, _ = two_people(bench.num_frames)
    start = time.process_time()
    skeleton = bench.detector.find(frames, 10.0, person=0)
    seconds = (time.process_time() - start) / len(frames)
    middle = (skeleton.xy * skeleton.seen[..., None]).sum(axis=1) / np.maximum(skeleton.seen.sum(axis=1), 1)[:, None]
    kept = skeleton.seen[:, BODY].any(axis=1) & (middle[:, 0] < VIDEO[1] / 2)
    return {"frame": seconds, "kept": float(kept.mean())}


def odd_pictures() -> Iterator[tuple[str, np.ndarray, Skeleton | None]]:
    """Pictures nobody asked for: name, pixels, and the truth where there is one person who should be found if anybody is."""
    from skimage import data

    for name in NOBODY:
        try:
            picture = np.asarray(getattr(data, name)())
        except (AttributeError, OSError, ModuleNotFoundError, RuntimeError) as error:   # not in this version, or not on this machine
            log.info("%s: left out: %s", name, type(error).__name__)
            continue
        picture = picture[..., :3] if picture.ndim == 3 else np.repeat(picture[..., None], 3, axis=2)
        yield name, np.ascontiguousarray(picture if picture.dtype == np.uint8 else (255 * (picture > 0)).astype(np.uint8)), None
    noise = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    yield from (("noise", noise, None), ("black", 0 * noise, None), ("a stripe", np.ascontiguousarray(noise[:8]), None))
    for index in range(8):
        clip = sample_clip(HELD_OUT_SEED + 700 + index, num_frames=2, size=(512, 320))
        image, truth = clip.reference, clip.reference_skeleton
        yield f"person {index}", image, truth
        yield f"upside down {index}", np.ascontiguousarray(image[::-1, ::-1]), truth.with_xy(np.array(image.shape[1::-1]) - 1 - truth.xy)
        lying = np.ascontiguousarray(np.rot90(image))
        yield f"lying {index}", lying, truth.with_xy(np.stack([truth.xy[..., 1], image.shape[1] - 1 - truth.xy[..., 0]], -1), lying.shape[:2])
        tiny = cv2.copyMakeBorder(cv2.resize(image, (80, 128), interpolation=cv2.INTER_AREA), 300, 300, 300, 300, cv2.BORDER_REPLICATE)
        yield f"tiny {index}", tiny, truth.with_xy(truth.xy / 4 + 300, tiny.shape[:2])
        yield f"legs {index}", np.ascontiguousarray(image[300:]), None


def odd(bench: Bench) -> Values:
    """Every odd picture: an answer that is right, or one line that says why not."""
    nonsense, tracebacks, answered, whole, count = 0, 0, 0, 0, 0
    for name, picture, truth in odd_pictures():
        count, whole = count + 1, whole + name.startswith("person")
        try:
            found = bench.detector.find(picture[None], source=name)
        except ValueError as error:
            tracebacks += "\n" in str(error)
            continue
        except Exception:
            log.exception("%s", name)
            tracebacks += 1
            continue
        off = np.inf if truth is None or not len(errors(found, truth)) else errors(found, truth).mean()
        wrong = implausible(found.keypoints[0]) is None and off > WRONG and "legs" not in name
        if wrong:
            log.info("%s: nonsense (%s)", name, "nobody is there" if truth is None else f"off by {off:.2f}")
        nonsense, answered = nonsense + wrong, answered + (name.startswith("person") and not wrong)
    return {"pictures": count, "nonsense": nonsense, "tracebacks": tracebacks, "answered": answered / whole}


def hidden(bench: Bench) -> Values:
    """Pictures that hide limbs, and as many that do not: of how many the puppet says so."""
    told = {"sit": [], "cross_arms": [], "stand": []}
    for kind, index in ((kind, index) for kind in told for index in range(min(bench.num_clips, 4))):
        clip = sample_clip(HELD_OUT_SEED + 900 + index, kind, num_frames=20, fps=8.0, size=(512, 320))
        frame = int(clip.motion.joints[:, 0, 1].argmin()) if kind == "sit" else 10          # when the hips are lowest
        picture, keypoints = clip.frame(frame)
        seen = seen_by(bench.detector, picture[None], Skeleton(keypoints[None], clip.size, 8.0))
        told[kind].append(not seen.seen.any() or hides_too_much(seen.keypoints[0]) is not None)
        log.info("%s %d: %s", kind, index, hides_too_much(seen.keypoints[0]) or "no objection")
    return {"told": float(np.mean(told["sit"] + told["cross_arms"])), "standing": float(np.mean(told["stand"]))}


def honesty(bench: Bench) -> Values:
    """How well the demo's VAE gives back what it was trained on, and what it was not."""
    from skimage import data

    svd = Path(load_config(InferenceConfig, ["--config", str(ROOT / "configs" / "demo.yaml")]).generator.svd)
    own = [rebuilt_psnr(clip.reference, ROOT / svd) for clip in bench.clips(1, (320, 192))]
    other = [rebuilt_psnr(fit_to_canvas(picture, (320, 192)), ROOT / svd) for picture in
             (data.astronaut(), data.chelsea(), data.coffee(), *map(read_image, bench.pictures))]
    return {"own": min(own), "other": max(other)}


MEASURES: dict[str, Callable[[Bench], Values]] = {
    "still": still, "synthetic": synthetic, "detector": detection, "honesty": honesty, "odd": odd, "hidden": hidden,
    "tracking": tracking, "puppet": puppet_seconds, "run": whole_run}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", 1)[0], epilog=__doc__.split("\n\n", 1)[1],
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MEASURES, metavar="MEASURE", help="only these measures")
    parser.add_argument("--pictures", nargs="+", type=Path, default=[], metavar="PICTURE", help="of one's own, for still and honesty")
    parser.add_argument("--clips", type=whole_number(1), default=12, help="synthetic people per measure")
    parser.add_argument("--frames", type=whole_number(2), default=288, help="of the driving video")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "evaluate_photo", help="folder for results.json")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    check_folder(arguments.output, "choose another place with --output")
    for picture in arguments.pictures:
        existing_file(picture, "picture")
    bench = Bench(load_detector("mediapipe", weights=ROOT / "weights"), arguments.output, arguments.pictures, arguments.clips, arguments.frames)
    results, names = ResultsFile(arguments.output / "results.json"), arguments.only or list(MEASURES)
    for name in names:
        results.write(name, {"values": {key: float(value) for key, value in MEASURES[name](bench).items()}})
    entries = results.read()
    print(f"\n{format_table(TARGETS, {name: entries[name]['values'] for name in names})}\n\n{results.path}")
    return 0


if __name__ == "__main__":
    run_main(main)
