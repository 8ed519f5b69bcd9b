"""How far MotionScore can be trusted: what it says of true movements, of spoilt ones, and of other people's motions.

    python -m benchmarks.motion_score
    python -m benchmarks.motion_score people=2 seed=1201

Skeletons of procedural people whom no published figure and no threshold has seen, as a perfect detector sees them at 7
frames a second. "given": the maker had the true motion, so that the video must follow it; "text": it had the prompt.
"""
from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dwpose import skeleton as coco
from dwpose.skeleton import Skeleton
from motionbench.cells import BenchMotion, MOTIONS, OPPOSITE, performance, Person, person
from motionbench.judge_pose import distractors, PoseJudge, smaller, track
from motionbench.judges import confusion, motion_score
from motionbench.metrics import ClipCase
from motionbench.pose import torso
from synthetic.clips import following
from t2m.motion import Motion
from t2m.project import project, resampled

SIZE, FPS, SECONDS = (320, 192), 7.0, 2.0
DIRECTED = ("walk", "side_step_left", "turn_right")             # played backwards they are another motion
MIRROR = np.arange(133)
for _joint in ("EYE", "EAR", "SHOULDER", "ELBOW", "WRIST", "HIP", "KNEE", "ANKLE"):
    _left, _right = getattr(coco, f"LEFT_{_joint}"), getattr(coco, f"RIGHT_{_joint}")
    MIRROR[[_left, _right]] = _right, _left


def truth(who: Person, motion: BenchMotion, fps: float = FPS, yaw: float = 0.0) -> Skeleton:
    """The person's own true movement, seen by a camera turned aside by `yaw` radians."""
    moved = performance(who, motion, SECONDS, who.character.body).motion
    moved = Motion(resampled(moved, fps), fps)
    camera = replace(who.camera, yaw=yaw)
    return project(moved, SIZE, fps, following(camera, moved) if motion.travels else camera)


def mirrored(skeleton: Skeleton) -> Skeleton:
    """The mirror image, in which left joints are right joints."""
    keypoints = skeleton.keypoints.copy()
    keypoints[..., 0] = skeleton.size[1] - 1 - keypoints[..., 0]
    return replace(skeleton, keypoints=keypoints[:, MIRROR])


def noisy(skeleton: Skeleton, torsos: float, rng: np.random.Generator) -> Skeleton:
    """Independent Gaussian noise on every point of every frame."""
    return skeleton.with_xy(skeleton.xy + torsos * torso(skeleton) * rng.standard_normal(skeleton.xy.shape))


def shown(who: Person, motion: BenchMotion, rng: np.random.Generator) -> Iterator[tuple[str, Skeleton]]:
    """What is shown for one prompt: the condition, and the skeleton seen."""
    own = truth(who, motion)
    last = len(own) - 1
    still, side = np.full(len(own), len(own) // 2), int(rng.choice([-1, 1]))
    yield "true", own
    yield "frozen", own[still]
    yield "reversed", own[np.arange(last, -1, -1)]
    if motion.name in DIRECTED:
        yield "reversed, with a direction", own[np.arange(last, -1, -1)]
    yield "shuffled", own[rng.permutation(len(own))]
    yield "half, then frozen", own[np.minimum(np.arange(len(own)), len(own) // 2)]
    if motion.side in OPPOSITE:
        yield "sided, mirrored", mirrored(own)
        yield "opposite side", truth(who, replace(motion, side=OPPOSITE[motion.side], name=f"{motion.name} opposite"))
    others = [other for other in MOTIONS if other is not motion]
    yield "other motion", truth(who, others[rng.integers(len(others))])
    yield "noise 0.1 torsos", noisy(own, 0.1, rng)
    yield "amplitude x0.75", smaller(own, 0.75)
    for tempo in (0.7, 1.4):
        yield f"tempo x{tempo}", replace(truth(who, motion, FPS / tempo), fps=FPS)
    for degrees in (30, 60, 180):
        yield f"seen from {degrees} degrees", truth(who, motion, yaw=side * np.radians(degrees))


def measured(judge: PoseJudge, people: list[Person], spoilt: int) -> dict[tuple[str, str], list[tuple[str, float, str]]]:
    """(prompted, score, label) by condition and by what the maker was given; all conditions for `spoilt` people only."""
    metric, rng = motion_score(judge), np.random.default_rng(0)
    found: dict[tuple[str, str], list[tuple[str, float, str]]] = {}

    def score(condition: str, prompted: str, seen: Skeleton, given: Skeleton | None, shows: str = "") -> None:
        video = np.zeros((len(seen), *seen.size, 3), np.uint8)
        case = ClipCase("", "", prompted, FPS, video, seen=seen, followed=given)
        result = metric.of(case)
        if given is not None:
            found.setdefault((condition, "given"), []).append((prompted, result.value, result.label))
            if result.value == 0:                               # what passes with the motion given passes without it
                result = metric.of(replace(case, followed=None))
        found.setdefault((condition, "text"), []).append((shows or prompted, result.value, result.label))

    for number, who in enumerate(people):
        for motion in MOTIONS:
            own = truth(who, motion)
            for condition, seen in shown(who, motion, rng):
                score(condition, motion.name, seen, None if condition.startswith("seen from") else own)
                if number >= spoilt:
                    break                                       # the true movement comes first
        for motion in distractors(MOTIONS) if number < spoilt else ():
            seen = truth(who, motion)
            costs, _ = judge.distances(track(seen), "")
            nearest = min(judge.labels, key=lambda label: costs[judge.owners == label].min())
            score("foreign motion, asked for as the nearest of the 20", nearest, seen, None, motion.name)
    return found


def confusion_table(judged: list[tuple[str, float, str]]) -> str:
    """What true movements were recognised as: a line of counts for each prompted motion, in the order of the lines, as Markdown."""
    names = [motion.name for motion in MOTIONS]
    others = sorted({label for _, _, label in judged} - set(names))
    counts = confusion([prompted for prompted, _, _ in judged], [label for _, _, label in judged], [*names, *others])
    lines = [f"| prompted | {' | '.join(str(number) for number in range(1, len(names) + 1))} | another |", "|---" * (len(names) + 2) + "|"]
    for number, (name, line) in enumerate(zip(names, counts), 1):
        another = ", ".join(f"{label} {count}" for label, count in zip(others, line[len(names):]) if count)
        lines.append(f"| {number} {name} | {' | '.join(str(count or '·') for count in line[:len(names)])} | {another} |")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    unknown = [argument for argument in arguments if argument.partition("=")[0] not in ("people", "spoilt", "seed")]
    if unknown:
        raise SystemExit(f"motion_score: expected people=N, spoilt=N or seed=N (found {unknown[0]!r})")
    options = {"people": 10, "spoilt": 3, "seed": 1201} | {
        name: int(value) for name, _, value in (argument.partition("=") for argument in arguments)}
    start = time.perf_counter()
    judge = PoseJudge.of_motions(MOTIONS)
    print(f"{len(judge.tracks)} performances of {len(set(judge.owners))} motions in {time.perf_counter() - start:.0f} s")
    people = [person(number, options["seed"]) for number in range(options["people"])]
    found = measured(judge, people, options["spoilt"])
    print("\n| shown | clips | given the motion | from text | unknown |\n|---|---|---|---|---|")
    for condition in dict.fromkeys(name for name, _ in found):
        texts = [values for given in ("given", "text") if (values := found.get((condition, given)))]
        shares = [f"{np.nanmean([value for _, value, _ in values]):.3f}" if any(
            np.isfinite(value) for _, value, _ in values) else "-" for values in texts]
        unknown = sum(np.isnan(value) for _, value, _ in texts[0])
        print(f"| {condition} | {len(texts[0])} | {' | '.join(shares if len(shares) == 2 else ['-', *shares])} | {unknown} |")
    print("\n" + confusion_table(found["true", "text"]))
    print("\nwhere it errs:")
    for condition in ("true", "noise 0.1 torsos", "amplitude x0.75", "shuffled", "foreign motion, asked for as the nearest of the 20"):
        wrong = Counter((prompted, label) for prompted, value, label in found.get((condition, "text"), ())
                        if value == float(condition in ("shuffled", "foreign motion, asked for as the nearest of the 20")))
        print(f"  {condition}: " + (", ".join(f"{a} -> {b} ({n})" for (a, b), n in wrong.most_common()) or "none"))
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
