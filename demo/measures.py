"""What evaluate_demo.py measures of the learnt pose and video models; each function gives one measure's values.

People, motions and cameras are of held-out seeds; every network runs as inference.py runs it with configs/demo.yaml.
"""
from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from demo.t2m_data import read_clips, split
from dwpose import skeleton as coco
from dwpose.draw import draw
from dwpose.proportions import BONES
from dwpose.skeleton import BODY, FACE, FEET, HANDS, head_boxes, necks, NUM_KEYPOINTS, Skeleton
from finer_scale import rescale
from llm_planner import Segment
from media.images import as_tensor
from mimicmotion.checkpoint import load_tiny_vae, load_vae
from mimicmotion.latents import decode, scaled_latents
from motionbench.picture import delta_e, flicker, PERFECT_PSNR, psnr, REGIONS, ssim
from motionbench.pose import pck
from motionbench.cells import Phrasing, PHRASINGS
from renderers import Renderer, Scene
from run.models import Models
from run.settings import InferenceConfig
from runtime.device import seed_for
from synthetic.clips import HELD_OUT_SEED, sample_clip, SyntheticClip
from synthetic.motions import KINDS, MotionSample, sample_motion, sides_of
from t2m.evaluation import frechet_distance, round_trip_errors
from t2m.features import features
from t2m.generate import TextToMotion
from t2m.known_motions import motion_costs, MotionBank, pose_descriptors
from t2m.task import Normalisation

log = logging.getLogger(__name__)

CLIP_FRAMES = 18                    # 1.8 s at the demo's 10 frames a second
PARTS = {"body": BODY, "hands": HANDS, "feet": FEET, "face": FACE}
Values = dict[str, float]
PHRASING_SECONDS = 4.0              # of the motion asked for
EXAMPLES = 8                        # of each kind and side, to compare a motion with
TRUE_MOTIONS = 2                    # of each kind and side, to see how far the comparison itself can be trusted
ROUND_TRIP_SECONDS = 3.2            # T2M-GPT's training window: 64 frames at 20 a second
ROUND_TRIPS_PER_KIND = 4
REAL_PROMPTS = {            # what is asked for, to be compared with the clips of a category
    "walk": ("A person walks forward.", "a man is walking straight ahead", "the woman walks"),
    "run": ("A person runs forward.", "a man is running", "the woman runs ahead"),
    "jump": ("A person jumps.", "a man jumps up high", "the woman leaps into the air"),
    "kick": ("A person kicks with the right leg.", "a man kicks a ball with the right foot", "the woman does a kick with her right foot"),
    "sit down": ("A person sits down.", "a man sits down on a chair", "the woman takes a seat")}
REAL_DRAWS = 4              # of each
NUM_PUPPETS, PUPPET_FRAMES = 200, 16
NUM_BROKEN, BROKEN_FRAMES = 10_000, 4
CANVAS = (320, 192)         # height, width, pixels
PIXELS_PER_METRE = 120
TRUNK_METRES, SHOULDER_METRES, HIP_METRES = 0.50, 0.17, 0.11
LIMBS = tuple(                  # parent, child, metres
    (bone.parent, bone.child, bone.metres) for bone in BONES if bone.parent < NUM_KEYPOINTS)      # not neck or pelvis
PAIRS = (0, 0, 1, 1, 2, 2, 3, 3)                # both halves of a body are equally long: row of `lengths` of each limb
IN_PLANE_SHARE = 0.6
FACE_TURNED = 0.8                               # of a face's points are seen where it is turned to us
FLAT_REACH, FLAT_LEVELS = 9, 3                  # pixels around a place, and how much they differ at most where the picture is flat
MIN_FORESHORTENING = 0.3
GAP, TITLE_HEIGHT, ROWS_PER_SHEET = 4, 18, 6     # pixels; of contact sheets
PAPER, INK = (250, 249, 246), (32, 34, 38)


@dataclass(frozen=True)
class Bench:
    """What every measure is given."""

    config: InferenceConfig
    models: Models
    weights: Path                   # folder laid out as weights/demo
    num_clips: int
    seed: int                       # moves to other held-out people; 0 is the published figure
    output: Path                    # where contact sheets go
    mocap: Path | None = None       # folder of real motion, see demo/t2m_data.py

    def clips(self, description: str) -> Iterator[SyntheticClip]:
        """Held-out clips: each of another person, doing kinds in a shuffled order, none twice before all were done."""
        kinds = np.random.default_rng(self.seed).permutation(KINDS)
        for index in tqdm(range(self.num_clips), desc=description, unit="clip", dynamic_ncols=True):
            yield sample_clip(HELD_OUT_SEED + 1000 * self.seed + index, str(kinds[index % len(kinds)]),
                              num_frames=CLIP_FRAMES, fps=self.config.fps, size=self.config.size)

    @property
    def renderer(self) -> Renderer:
        return self.models.renderer(self.config)

    def scene(self, clip: SyntheticClip) -> Scene:
        """What the clip's video is to show."""
        return Scene(clip.reference, clip.reference_skeleton, clip.skeleton, "", None)

    def generator(self, index: int) -> torch.Generator:
        """What the video of clip `index` is drawn with."""
        return torch.Generator().manual_seed(seed_for(self.config.seed, f"evaluate {index}"))

    def draw(self, skeleton: Skeleton) -> np.ndarray:
        return draw(skeleton, self.config.pose.style)

    def detect(self, frames: np.ndarray, fps: float) -> Skeleton:
        """As inference does; where nobody is recognised every point is missing."""
        try:
            return self.models.detect(frames, fps, "generated frames")
        except ValueError as error:
            log.warning("%s", error)
            return Skeleton(np.zeros((len(frames), NUM_KEYPOINTS, 3)), frames.shape[1:3], fps)

    def save_sheets(self, name: str, rows: list[SheetRow]) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        for index, sheet in enumerate(contact_sheets(rows)):
            Image.fromarray(sheet).save(self.output / f"{name}_{index}.png", optimize=True)


def pose_to_video(bench: Bench) -> Values:
    """True skeletons in, video out, against the render of the same person in the same poses."""
    scores, rows = [], []
    for index, clip in enumerate(bench.clips("pose to video")):
        video = bench.renderer(bench.scene(clip), bench.generator(index), progress=False)
        scores.append(video_scores(bench, clip, video))
        rows.append(SheetRow(clip.kind, clip.reference, bench.draw(clip.skeleton), clip.frames, video))
    bench.save_sheets("video", rows)
    return mean_scores(scores)


def video_scores(bench: Bench, clip: SyntheticClip, video: np.ndarray) -> Values:
    """All scores of one generated clip (F, H, W, 3); `true_*` read the render itself, the best a video could do."""
    truth, still = clip.frames, np.broadcast_to(clip.reference, clip.frames.shape)
    scores = {"psnr": psnr(video, truth), "psnr_repeat": psnr(still, truth), "ssim": ssim(video, truth),
              "ssim_repeat": ssim(still, truth), "flicker": flicker(video, truth)}
    scores["psnr_gain"] = scores["psnr"] - scores["psnr_repeat"]
    scores |= {"head_psnr": head_psnr(video, truth, clip.skeleton), "flat": flat_error(video, truth)}
    for name, frames in (("", video), ("true_", truth)):
        found = bench.detect(frames, bench.config.fps)
        scores |= {f"{name}{part}": pck(found, clip.skeleton, PARTS[part]) for part in ("body", "hands")}
        scores[f"{name}face"] = face_share(found, clip.skeleton)
    colours = delta_e(video, truth, clip.skeleton)
    scores |= {f"delta_e_{region.replace(' ', '_')}": colours.get(region, float("nan")) for region in REGIONS}
    return scores | {"delta_e": float(np.mean(list(colours.values())) if colours else np.nan)}


def autoencoder(bench: Bench) -> Values:
    """True frames through the VAE and back: the best that the video model can do, and by the tiny VAE, where there is one."""
    svd, tiny = Path(bench.config.generator.svd), bench.config.generator.tiny_vae
    networks = {"": load_vae(svd / "vae", torch.float32)} | ({"tiny_": load_tiny_vae(tiny, torch.float32)} if tiny else {})
    scores = []
    for clip in bench.clips("VAE"):
        with torch.inference_mode():
            latents = scaled_latents(networks[""], as_tensor(clip.frames))                     # (F, 4, h, w)
        rebuilt = {name: decode(vae, latents).numpy() for name, vae in networks.items()}
        scores.append({f"{name}{key}": value for name, video in rebuilt.items() for key, value in (
            ("psnr", psnr(video, clip.frames)), ("head_psnr", head_psnr(video, clip.frames, clip.skeleton)),
            ("flat", flat_error(video, clip.frames)))})
    return mean_scores(scores)


def head_psnr(video: np.ndarray, truth: np.ndarray, skeleton: Skeleton) -> float:
    """Peak signal-to-noise ratio inside the boxes of faces and their hair, dB; NaN where no face is seen."""
    errors = []
    for frame, true, (left, top, right, bottom, seen) in zip(video, truth, head_boxes(skeleton.keypoints)[:, 0]):
        rows, columns = (slice(max(round(low), 0), max(round(high), 0)) for low, high in ((top, bottom), (left, right)))
        if seen > 0 and true[rows, columns].size:
            errors.append(np.square(frame[rows, columns].astype(np.float32) - true[rows, columns]).mean())
    return float(min(PERFECT_PSNR, 10 * np.log10(255**2 / max(np.mean(errors), 1e-9)))) if errors else float("nan")


def face_share(found: Skeleton, true: Skeleton) -> float:
    """Of faces turned to us, the share of points found within a tenth of the head's size; NaN where no face is."""
    boxes, seen = head_boxes(true.keypoints)[:, 0], true.seen[:, FACE]                          # (F, 5), (F, 68)
    turned = seen.mean(axis=1) > FACE_TURNED
    size = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])                     # (F,) pixels
    error = np.linalg.norm(found.xy[:, FACE] - true.xy[:, FACE], axis=-1)                       # (F, 68)
    near = (error < 0.1 * size[:, None]) & found.present[:, FACE]
    return float(near[turned][seen[turned]].mean()) if turned.any() else float("nan")


def flat_error(video: np.ndarray, truth: np.ndarray) -> float:
    """Standard deviation of the error where the true picture is flat, 8-bit levels; NaN where it is nowhere."""
    errors = []
    for frame, true in zip(video, truth):
        around = [operation(true, np.ones((FLAT_REACH, FLAT_REACH), np.uint8)).astype(np.int16) for operation in (cv2.dilate, cv2.erode)]
        flat = (around[0] - around[1]).max(axis=-1) <= FLAT_LEVELS                              # (H, W)
        errors.append((frame.astype(np.float32) - true)[flat])
    errors = np.concatenate(errors)
    return float(errors.std()) if errors.size else float("nan")


def skeleton_adapter(bench: Bench) -> Values:
    """Drawn poses without hands in, with hands out; hands are read back from the drawing by the demo's pose network.

    `handless` reads the input itself, `true_hands` the drawing of the truth: what no adapter and a perfect one give.
    """
    scores, rows = [], []
    for index, clip in enumerate(bench.clips("skeleton adapter")):
        own_pose, wanted = bench.draw(clip.reference_skeleton)[0], bench.draw(clip.skeleton)
        given = bench.draw(clip.skeleton.without_hands())
        made = bench.renderer.adapter(bench.scene(clip), bench.generator(index), progress=False)
        read = {name: bench.detect(frames, bench.config.fps)
                for name, frames in (("hands", made), ("handless", given), ("true_hands", wanted))}
        scores.append({name: pck(found, clip.skeleton, HANDS) for name, found in read.items()}
                      | {"body": pck(read["hands"], clip.skeleton, BODY)})
        rows.append(SheetRow(clip.kind, own_pose, given, wanted, made))
    bench.save_sheets("adapter", rows)
    return mean_scores(scores)


def pose_net(bench: Bench) -> Values:
    """Person detector and keypoint network on held-out renders, through the official contracts."""
    scores = []
    for clip in bench.clips("pose network"):
        found = bench.detect(clip.frames, bench.config.fps)
        scores.append({name: pck(found, clip.skeleton, points) for name, points in PARTS.items()})
    return mean_scores(scores)


def mean_scores(scores: list[Values]) -> Values:
    """Mean over clips; a clip in which a thing is not to be seen does not count for it."""
    return {name: float(np.nanmean([score[name] for score in scores]))
            for name in scores[0] if not np.isnan([score[name] for score in scores]).all()}


def phrasings(bench: Bench) -> Values:
    """Share of PHRASINGS whose motion is nearest, by joint angles, to an intended kind; and of those with a side, whose
    motion is nearer to that side of the intended kind than to its other sides.

    `true_*` give the same figures for true motions instead of generated ones: what the comparison allows at best.
    """
    rng = np.random.default_rng((HELD_OUT_SEED, bench.seed))
    bank = MotionBank.of((sample.kind, sample.side, sample.motion.joints)
                         for sample in true_motions(EXAMPLES, rng, "example motions"))
    made = bench.models.motions([Segment(phrasing.text, PHRASING_SECONDS) for phrasing in PHRASINGS])
    model = TextToMotion.load(bench.config.motion.weights)
    warned = [model.unknown_motion(phrasing.text, motion) is not None for phrasing, motion in zip(PHRASINGS, made)]
    verdicts = [judged(phrasing, motion.joints, bank) for phrasing, motion in zip(PHRASINGS, made)]
    bench.output.mkdir(parents=True, exist_ok=True)
    answers = [asdict(phrasing) | asdict(verdict) | {"warned": told}
               for phrasing, verdict, told in zip(PHRASINGS, verdicts, warned)]
    (bench.output / "phrasings.json").write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    controls = []
    for sample in true_motions(TRUE_MOTIONS, rng, "true motions"):
        asked = Phrasing(sample.caption, (sample.kind,), sample.side if sample.side in ("left", "right") else None)
        controls.append(judged(asked, sample.motion.joints, bank))
    right = [verdict.right_kind for verdict in verdicts]
    warnings = {"warned": share([w for w, r in zip(warned, right) if not r] or [True]),
                "false_alarms": share([w for w, r in zip(warned, right) if r])}
    return warnings | {f"{prefix}{question}": share([getattr(verdict, f"right_{question}") for verdict in group])
            for prefix, group in (("", verdicts), ("true_", controls)) for question in ("kind", "side")}


@dataclass(frozen=True)
class Verdict:
    """What a motion was taken for."""

    nearest: str                # kind and side
    right_kind: bool
    right_side: bool | None     # None where no side was asked for


def judged(phrasing: Phrasing, joints: np.ndarray, bank: MotionBank) -> Verdict:
    """Compares a motion (T, 22, 3) with all kinds, and with the sides of the intended ones."""
    costs = motion_costs(joints, bank)
    nearest, right_side = min(costs, key=costs.get), None
    if phrasing.side is not None:
        sides = {label: cost for label, cost in costs.items() if label[0] in phrasing.kinds and label[1] is not None}
        right_side = min(sides, key=sides.get)[1] == phrasing.side
    return Verdict(" ".join(filter(None, nearest)), nearest[0] in phrasing.kinds, right_side)


def share(answers: list[bool | None]) -> float:
    return float(np.mean([answer for answer in answers if answer is not None]))


def true_motions(number: int, rng: np.random.Generator, description: str) -> Iterator[MotionSample]:
    """`number` held-out motions of each kind and side, 3 to 6 seconds long."""
    wanted = [(kind, side) for kind in KINDS for side in sides_of(kind) or (None,)] * number
    for kind, side in tqdm(wanted, desc=description, unit="motion", dynamic_ncols=True):
        yield sample_motion(kind, rng.uniform(3, 6), rng, side=side)


def round_trip(bench: Bench) -> Values:
    """Held-out motions of every kind through features, tokens and back: millimetres from where the joints were.

    `joints` and `wrists` are in the world, the drift of the path included; `pose` is from the pelvis.
    """
    model = TextToMotion.load(bench.config.motion.weights)
    norm = Normalisation(model.mean.float(), model.std.float())
    rng = np.random.default_rng((HELD_OUT_SEED, bench.seed))
    motions = [sample_motion(kind, ROUND_TRIP_SECONDS + 0.05, rng).motion
               for kind in tqdm(KINDS, desc="round trip", unit="kind") for _ in range(ROUND_TRIPS_PER_KIND)]
    errors = round_trip_errors(model.vqvae, norm, [
        torch.from_numpy(features(motion, model.forward_smoothing)) for motion in motions])
    return {name: 1000 * metres for name, metres in errors.items()}


def real_motion(bench: Bench) -> Values:
    """How like real people: `pose` and `joints` in millimetres of held-out clips through tokens and back, and for each of
    REAL_PROMPTS the Fréchet distance of generated motions to all real ones, over their moments' descriptors.
    """
    if bench.mocap is None:
        raise ValueError("real_motion: expected a folder of real motion (found none): name one with --mocap")
    clips, model = read_clips(bench.mocap), TextToMotion.load(bench.config.motion.weights)
    errors = round_trip_errors(model.vqvae, Normalisation(model.mean.float(), model.std.float()), [
        torch.from_numpy(features(clip.motion, model.forward_smoothing)) for clip in split(clips)[1]])
    values = {name: 1000 * metres for name, metres in errors.items()}
    for category, texts in REAL_PROMPTS.items():
        made = [model(text, PHRASING_SECONDS, torch.Generator().manual_seed(seed_for(bench.seed, f"{text} {draw}")))
                for text in texts for draw in range(REAL_DRAWS)]
        real = [clip.motion for clip in clips if clip.category == category and (clip.kind or category == "run")]
        first, second = (np.concatenate([pose_descriptors(motion.joints) for motion in group]) for group in (made, real))
        values[f"frechet_{category.split()[0]}"] = frechet_distance(first, second)
    return values


def rescaling(bench: Bench) -> Values:
    """Largest relative error of puppets' bones in the image plane, and how many broken inputs give a broken output."""
    worst = 0.0
    for index in tqdm(range(NUM_PUPPETS), desc="rescale, puppets", unit="puppet"):
        rng = np.random.default_rng((HELD_OUT_SEED, bench.seed, index))
        (reference, _), (driver, in_plane) = puppet(1, rng), puppet(PUPPET_FRAMES, rng)
        result = rescale(driver, reference)
        limbs = np.abs(limb_lengths(result) / limb_lengths(reference) - 1)[in_plane]
        frame = np.abs(frame_lengths(result) / frame_lengths(reference) - 1)
        worst = max(worst, float(limbs.max()), float(frame.max()))
    broken = 0
    for index in tqdm(range(NUM_BROKEN), desc="rescale, broken input", unit="input"):
        rng = np.random.default_rng((HELD_OUT_SEED, bench.seed, index))
        driver, reference = broken_skeleton(int(rng.integers(1, BROKEN_FRAMES + 1)), rng), broken_skeleton(1, rng)
        broken += not rescaled_well(driver, reference)
    return {"bone_error": worst, "broken": broken, "inputs": NUM_BROKEN}


def rescaled_well(driver, reference) -> bool:
    """Whether rescaling gives finite keypoints; Skeleton itself refuses others with a ValueError."""
    try:
        return bool(np.isfinite(rescale(driver, reference).keypoints).all())
    except (ValueError, ArithmeticError, IndexError):
        return False


def puppet(num_frames: int, rng: np.random.Generator) -> tuple[Skeleton, np.ndarray]:
    """Somebody of random build whose limbs point anywhere; and which limbs (F, 8) lie in the image plane.

    The others are foreshortened. Trunk, shoulders and hips always lie in the plane.
    """
    metres = np.array([metres for *_, metres in LIMBS[::2]]) * rng.uniform(0.75, 1.3, len(LIMBS) // 2)
    lengths = (metres * PIXELS_PER_METRE * rng.uniform(0.6, 1.4))[list(PAIRS)]              # (8,) pixels
    unit = lengths[-1] / LIMBS[-1][2]                                                       # pixels per metre
    trunk, shoulder, hip = (unit * m * rng.uniform(0.85, 1.15) for m in (TRUNK_METRES, SHOULDER_METRES, HIP_METRES))
    in_plane = rng.random((num_frames, len(LIMBS))) < IN_PLANE_SHARE
    in_plane[0] = True                          # a reference is its first frame
    keypoints = np.zeros((num_frames, NUM_KEYPOINTS, 3), np.float64)
    keypoints[:, :coco.BODY.stop, 2] = 1
    xy = keypoints[..., :2]
    neck = rng.uniform(0.4, 0.6, (num_frames, 2)) * CANVAS[::-1]
    down = _direction(rng.normal(0, 0.2, num_frames))                                       # (F, 2)
    across = np.stack([down[:, 1], -down[:, 0]], axis=-1)
    for joint, start, side in ((coco.LEFT_SHOULDER, neck, shoulder), (coco.RIGHT_SHOULDER, neck, -shoulder),
                               (coco.LEFT_HIP, neck + trunk * down, hip), (coco.RIGHT_HIP, neck + trunk * down, -hip)):
        xy[:, joint] = start + side * across
    head = unit * 0.22 * rng.uniform(0.85, 1.15)
    xy[:, coco.NOSE] = neck - head * down
    for joint, side in ((coco.LEFT_EYE, 0.3), (coco.RIGHT_EYE, -0.3), (coco.LEFT_EAR, 0.6), (coco.RIGHT_EAR, -0.6)):
        xy[:, joint] = xy[:, coco.NOSE] + head * 0.4 * (side * across - 0.3 * down)
    for row, (parent, child, _) in enumerate(LIMBS):
        shown = np.where(in_plane[:, row], 1, rng.uniform(MIN_FORESHORTENING, 0.95, num_frames))
        aim = _direction(rng.uniform(-np.pi, np.pi, num_frames))
        xy[:, child] = xy[:, parent] + (lengths[row] * shown)[:, None] * aim
    return Skeleton(keypoints, CANVAS, fps=10), in_plane


def _direction(angles: np.ndarray) -> np.ndarray:
    """Unit vectors (F, 2) at radians from straight down."""
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1)


def limb_lengths(skeleton: Skeleton) -> np.ndarray:
    """(F, 8) pixels, in the order of LIMBS."""
    starts, ends = ([limb[end] for limb in LIMBS] for end in (0, 1))
    return np.linalg.norm(skeleton.xy[:, ends] - skeleton.xy[:, starts], axis=-1)


def frame_lengths(skeleton: Skeleton) -> np.ndarray:
    """(F, 3) pixels: the trunk, and the widths of shoulders and hips."""
    xy, neck = skeleton.xy, necks(skeleton.keypoints)[..., :2]
    hips = (xy[:, coco.LEFT_HIP] + xy[:, coco.RIGHT_HIP]) / 2
    return np.stack([np.linalg.norm(hips - neck, axis=-1),
                     np.linalg.norm(xy[:, coco.LEFT_SHOULDER] - xy[:, coco.RIGHT_SHOULDER], axis=-1),
                     np.linalg.norm(xy[:, coco.LEFT_HIP] - xy[:, coco.RIGHT_HIP], axis=-1)], axis=-1)


def broken_skeleton(num_frames: int, rng: np.random.Generator) -> Skeleton:
    """A skeleton as no person is: joints missing, coincident, far away, collapsed to a point or line, huge, tiny.

    At least one body joint of the first frame is seen, so that there is a person at all.
    """
    keypoints = np.zeros((num_frames, NUM_KEYPOINTS, 3), np.float64)
    keypoints[..., :2] = rng.uniform(0, CANVAS[::-1], (num_frames, NUM_KEYPOINTS, 2))
    keypoints[..., 2] = rng.random((num_frames, NUM_KEYPOINTS))
    if rng.random() < 0.3:
        keypoints[..., :2] = puppet(num_frames, rng)[0].xy
    if rng.random() < 0.3:                                  # collapsed
        axes = [0, 1] if rng.random() < 0.5 else [int(rng.integers(2))]
        keypoints[..., axes] = keypoints[:, :1, axes]
    if rng.random() < 0.3:                                  # coincident
        joints = rng.choice(coco.BODY.stop, size=rng.integers(2, coco.BODY.stop), replace=False)
        keypoints[:, joints, :2] = keypoints[:, joints[:1], :2]
    keypoints[..., :2] *= 10.0 ** rng.choice([-6, -2, 0, 0, 0, 2, 4])
    keypoints[..., :2] += rng.choice([0.0, -500.0, 1e5])
    missing = rng.random((num_frames, NUM_KEYPOINTS)) < rng.choice([0.0, 0.3, 0.7, 0.97, 1.0])
    keypoints[missing] = 0
    if rng.random() < 0.2:                                  # a half body
        keypoints[:, coco.LEFT_HIP:coco.RIGHT_ANKLE + 1] = 0
    keypoints[0, rng.integers(coco.BODY.stop), 2] = 1
    return Skeleton(keypoints, CANVAS, fps=10)


@dataclass(frozen=True)
class SheetRow:
    """One clip. The frame shown is the one where the generated video is worst, so that the sheet does not flatter."""

    title: str
    reference: np.ndarray       # (H, W, 3) uint8 RGB
    skeleton: np.ndarray        # (F, H, W, 3) the drawn poses that were given
    truth: np.ndarray           # (F, H, W, 3)
    generated: np.ndarray       # (F, H, W, 3)

    @property
    def worst(self) -> int:
        errors = [np.abs(a.astype(np.int16) - b).mean() for a, b in zip(self.generated, self.truth)]
        return int(np.argmax(errors))

    def cells(self) -> list[tuple[str, np.ndarray]]:
        """(caption, picture) from left to right: reference, then skeleton, truth, generated at two frames."""
        cells = [("reference", self.reference)]
        for name, frame in (("middle", len(self.truth) // 2), ("worst", self.worst)):
            cells += [(f"skeleton ({name})", self.skeleton[frame]), ("truth", self.truth[frame]),
                      ("generated", self.generated[frame])]
        return cells


def contact_sheets(rows: list[SheetRow]) -> list[np.ndarray]:
    """Sheets (H, W, 3) uint8 RGB of up to six rows each."""
    return [np.concatenate([row_picture(row) for row in rows[start:start + ROWS_PER_SHEET]])
            for start in range(0, len(rows), ROWS_PER_SHEET)]


def row_picture(row: SheetRow) -> np.ndarray:
    """The row's cells side by side, each below its caption."""
    columns = []
    for index, (caption, picture) in enumerate(row.cells()):
        height, width = picture.shape[:2]
        cell = np.full((TITLE_HEIGHT + height + GAP, width + GAP, 3), PAPER, np.uint8)
        cell[TITLE_HEIGHT:TITLE_HEIGHT + height, :width] = picture
        text = f"{row.title} {caption}" if index == 0 else caption
        cv2.putText(cell, text, (2, TITLE_HEIGHT - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.38, INK, 1, cv2.LINE_AA)
        columns.append(cell)
    return np.concatenate(columns, axis=1)
