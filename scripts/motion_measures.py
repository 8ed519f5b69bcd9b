"""What evaluate_demo.py measures of motions and skeletons: text to motion, the VQ-VAE's round trip, the rescaling."""
from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from tqdm import tqdm

from finer_scale import rescale
from llm_planner import Segment
from motionbench.phrasings import PHRASINGS, Phrasing
from motionbench.puppets import broken_skeleton, frame_lengths, limb_lengths, puppet
from scripts.demo_measures import Bench, Values
from synthetic.clips import HELD_OUT_SEED
from synthetic.motions import KINDS, MotionSample, sample_motion, sides_of
from t2m.features import features
from t2m.generate import TextToMotion
from t2m.scoring import MotionBank, motion_costs, round_trip_errors
from t2m.training import Normalisation

PHRASING_SECONDS = 4.0              # of the motion asked for
EXAMPLES = 8                        # of each kind and side, to compare a motion with
TRUE_MOTIONS = 2                    # of each kind and side, to see how far the comparison itself can be trusted
ROUND_TRIP_SECONDS = 3.2            # T2M-GPT's training window: 64 frames at 20 a second
ROUND_TRIPS_PER_KIND = 4
NUM_PUPPETS, PUPPET_FRAMES = 200, 16
NUM_BROKEN, BROKEN_FRAMES = 10_000, 4


def phrasings(bench: Bench) -> Values:
    """Share of PHRASINGS whose motion is nearest, by joint angles, to an intended kind; and of those with a side, whose
    motion is nearer to that side of the intended kind than to its other sides.

    `true_*` give the same figures for true motions instead of generated ones: what the comparison allows at best.
    """
    rng = np.random.default_rng((HELD_OUT_SEED, bench.seed))
    bank = MotionBank.of((sample.kind, sample.side, sample.motion.joints)
                         for sample in true_motions(EXAMPLES, rng, "example motions"))
    made = bench.models.motions([Segment(phrasing.text, PHRASING_SECONDS) for phrasing in PHRASINGS])
    verdicts = [judged(phrasing, motion.joints, bank) for phrasing, motion in zip(PHRASINGS, made)]
    bench.output.mkdir(parents=True, exist_ok=True)
    answers = [asdict(phrasing) | asdict(verdict) for phrasing, verdict in zip(PHRASINGS, verdicts)]
    (bench.output / "phrasings.json").write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")
    controls = []
    for sample in true_motions(TRUE_MOTIONS, rng, "true motions"):
        asked = Phrasing(sample.caption, (sample.kind,), sample.side if sample.side in ("left", "right") else None)
        controls.append(judged(asked, sample.motion.joints, bank))
    return {f"{prefix}{question}": share([getattr(verdict, f"right_{question}") for verdict in group])
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
