"""What evaluate_demo.py measures of motions: text to motion by the words asked for, tokens and back, and rescaling.

Motions are of held-out seeds; each function gives one measure's values.
"""
from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from demo.measures import Bench, Values
from demo.mocap import read_clips, split
from demo.t2m_data import TIMES_AS_MANY
from dwpose import skeleton as coco
from dwpose.proportions import BONES
from dwpose.skeleton import necks, NUM_KEYPOINTS, Skeleton
from finer_scale import rescale
from llm_planner import Segment
from motionbench.cells import Phrasing, PHRASINGS
from runtime.device import seed_for
from synthetic.clips import HELD_OUT_SEED
from synthetic.motions import KINDS, MotionSample, sample_motion, sides_of
from t2m.evaluation import frechet_distance, round_trip_errors
from t2m.generate import TextToMotion
from t2m.known_motions import motion_costs, MotionBank, pose_descriptors
from t2m.task import Normalisation

PHRASING_SECONDS = 4.0              # of the motion asked for
PHRASING_DRAWS = 4                  # of each: one of the 63 is 0.016, and several come out otherwise from draw to draw
EXAMPLES = 8                        # of each kind and side, to compare a motion with; of a kind of TIMES_AS_MANY more
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
MIN_FORESHORTENING = 0.3


def phrasings(bench: Bench) -> Values:
    """`kind`: the share of PHRASINGS, each drawn PHRASING_DRAWS times, whose motion is nearest, by joint angles, to an intended kind.
    Held-out real people are among the examples where their folder is given.

    `side`: of those with a side, the share whose motion is nearer to that side of the intended kind than to its others.
    `true_*` give the same figures for true motions instead of generated ones: what the comparison allows at best.
    `warned` and `false_alarms`: the share of wrong and of right motions that unknown_motion warns of.
    """
    rng = np.random.default_rng((HELD_OUT_SEED, bench.seed))
    examples = [(sample.kind, sample.side, sample.motion.joints) for sample in true_motions(EXAMPLES, rng, "example motions", TIMES_AS_MANY)]
    bank = MotionBank.of(examples + (real_examples(bench.mocap) if bench.mocap else []))
    asked = PHRASINGS * PHRASING_DRAWS
    made = bench.models.motions([Segment(phrasing.text, PHRASING_SECONDS) for phrasing in asked])
    model = TextToMotion.load(bench.config.motion.weights)
    warned = [model.unknown_motion(phrasing.text, motion) is not None for phrasing, motion in zip(asked, made)]
    verdicts = [judged(phrasing, motion.joints, bank) for phrasing, motion in zip(asked, made)]
    bench.output.mkdir(parents=True, exist_ok=True)
    answers = [asdict(phrasing) | asdict(verdict) | {"warned": told}
               for phrasing, verdict, told in zip(asked, verdicts, warned)]
    (bench.output / "phrasings.json").write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    controls = []
    for sample in true_motions(TRUE_MOTIONS, rng, "true motions"):
        true = Phrasing(sample.caption, (sample.kind,), sample.side if sample.side in ("left", "right") else None)
        controls.append(judged(true, sample.motion.joints, bank))
    warned_of = {right: [told for told, verdict in zip(warned, verdicts) if verdict.right_kind == right] for right in (True, False)}
    return {"warned": share(warned_of[False] or [True]), "false_alarms": share(warned_of[True]),
            "kind": share([verdict.right_kind for verdict in verdicts]),
            "side": share([verdict.right_side for verdict in verdicts]),
            "true_kind": share([verdict.right_kind for verdict in controls]),
            "true_side": share([verdict.right_side for verdict in controls])}


def real_examples(mocap: Path) -> list[tuple[str, str | None, np.ndarray]]:
    """Kind, side and joints (T, 22, 3) of the held-out real clips that show one kind and no more, and of their mirror images."""
    clips = [clip for clip in split(read_clips(mocap))[1] if clip.kind]
    return [(clip.kind, clip.side, clip.motion.joints) for each in clips for clip in (each, each.mirrored())]


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
    """Of the answers that are not None, how many are True."""
    return float(np.mean([answer for answer in answers if answer is not None]))


def true_motions(number: int, rng: np.random.Generator, description: str, more: Mapping[str, int] | None = None) -> Iterator[MotionSample]:
    """`number` held-out motions of each kind and side, 3 to 6 seconds long; of the kinds of `more` so many times as many."""
    wanted = [(kind, side) for kind in KINDS for side in sides_of(kind) or (None,) for _ in range(number * (more or {}).get(kind, 1))]
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
    errors = round_trip_errors(model.vqvae, norm, [model.features(motion) for motion in motions])
    return {name: 1000 * metres for name, metres in errors.items()}


def real_motion(bench: Bench) -> Values:
    """How like real people motions are: held-out clips through tokens and back, millimetres, as in `round_trip`.

    `frechet_*`, for each of REAL_PROMPTS: distance of generated motions to all real ones, over their moments' descriptors.
    """
    if bench.mocap is None:
        raise ValueError("real_motion: expected a folder of real motion (found none): name one with --mocap")
    clips, model = read_clips(bench.mocap), TextToMotion.load(bench.config.motion.weights)
    errors = round_trip_errors(model.vqvae, Normalisation(model.mean.float(), model.std.float()), [
        model.features(clip.motion) for clip in split(clips)[1]])
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


def rescaled_well(driver: Skeleton, reference: Skeleton) -> bool:
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
