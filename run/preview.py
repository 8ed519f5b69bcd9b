"""What a run will look like, before its renderer starts: a small video in seconds, and in words what may go wrong.

The video shows the puppet, which is the picture's own pixels on the planned skeleton, beside that skeleton over the
picture. The words come from the skeleton, the picture's person, the prompt, and the renderer itself.
"""
from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from dwpose.draw import draw
from dwpose.plausibility import hides_too_much
from dwpose.proportions import BONES, CHILDREN, distances, full_lengths, PARENTS, unshortened, with_middles
from dwpose.skeleton import (ANKLES, BODY, HIPS, KNEES, LEFT_ANKLE, LEFT_EAR, LEFT_ELBOW, LEFT_EYE, LEFT_HAND, LEFT_WRIST, NOSE,
                             RIGHT_ANKLE, RIGHT_EAR, RIGHT_ELBOW, RIGHT_EYE, RIGHT_HAND, RIGHT_WRIST,
                             SHOULDERS, Skeleton)
from media.video_writer import encode
from planning.words import things_named
from renderers import PuppetConfig, renderer_class, Scene
from runtime.device import GIB

log = logging.getLogger(__name__)

LONGER_SIDE = 448                   # pixels of a preview's frame
FRAMES_PER_SECOND = 8.0             # of a preview, at most
DIMMED = 0.55                       # of the picture's light, below the drawn skeleton
BRIEF = 0.2                         # seconds that are not worth a word
FAST = 0.15                         # of the person's height, from one frame to the next: a lively wave is slower for most of the time
PALM = 0.35                         # of the forearm, from the wrist to the middle of the hand
SLIDING = 0.35                      # heights a second that a foot on the floor moves
ON_THE_FLOOR = 0.02                 # of the height: so near its lowest place a foot stands
SMALL = 0.35                        # of the canvas height: below, a hand is a few pixels
MOVED = 0.12                        # of the height: so far from where it began a hand or foot has moved
OTHER_LENGTH = (0.7, 1.4)           # of a bone against the picture's person
PARTS = {                           # name: points, one of which stands for the part
    "head": (NOSE, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR), "left hand": (LEFT_WRIST,), "right hand": (RIGHT_WRIST,),
    "left foot": (LEFT_ANKLE,), "right foot": (RIGHT_ANKLE,)}
LIMBS = {                           # name: where it begins and ends
    "left hand": (SHOULDERS[0], LEFT_WRIST), "right hand": (SHOULDERS[1], RIGHT_WRIST),
    "left foot": (HIPS[0], LEFT_ANKLE), "right foot": (HIPS[1], RIGHT_ANKLE)}
BONE_NAMES = (                      # in the order of BONES
    "left shoulder", "right shoulder", "left upper arm", "right upper arm", "left forearm", "right forearm", "trunk", "left hip",
    "right hip", "left thigh", "right thigh", "left shin", "right shin", "neck")
LIMB_ROWS = [row for row, name in enumerate(BONE_NAMES) if "arm" in name or "thigh" in name or "shin" in name]


def small(scene: Scene) -> Scene:
    """The scene with frames small and few enough for a preview."""
    size = scene.image.shape[:2]
    shrunk = min(LONGER_SIDE / max(size), 1.0)
    height, width = (max(round(side * shrunk / 2) * 2, 2) for side in size)
    scale = np.array([width / size[1], height / size[0]], np.float32)
    step = max(round(scene.skeleton.fps / FRAMES_PER_SECOND), 1)

    def smaller(skeleton: Skeleton) -> Skeleton:
        return skeleton.with_xy((skeleton.xy + 0.5) * scale - 0.5, (height, width))

    skeleton = replace(smaller(scene.skeleton[::step]), fps=scene.skeleton.fps / step)
    return Scene(cv2.resize(scene.image, (width, height), interpolation=cv2.INTER_AREA), smaller(scene.reference), skeleton,
                 scene.prompt, None if scene.depth is None else scene.depth[::step])


def preview(scene: Scene, settings: PuppetConfig) -> tuple[np.ndarray, float]:
    """Frames (K, h, 2 w, 3) uint8 and how many there are a second. Where the puppet cannot be cut, the skeleton stands alone."""
    scene = small(scene)
    over = over_picture(draw(scene.skeleton, "bold"), scene.image)                       # (K, h, w, 3)
    try:
        puppet = renderer_class("puppet").load(settings)
        moved = puppet(scene, torch.Generator().manual_seed(0), progress=False)
    except ValueError as error:
        log.warning("preview: only the skeleton is shown: %s", error)
        moved = np.repeat(dimmed(scene.image)[None], len(over), axis=0)
    return np.concatenate([moved, over], axis=2), scene.skeleton.fps


def over_picture(drawn: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Drawn skeletons (F, H, W, 3) uint8 over the dimmed picture (H, W, 3) uint8."""
    return np.where(drawn.any(axis=-1, keepdims=True), drawn, dimmed(picture))


def dimmed(picture: np.ndarray) -> np.ndarray:
    return (DIMMED * picture).astype(np.uint8)


def save_preview(made: tuple[np.ndarray, float], path: Path) -> None:
    frames, fps = made
    encode(path, "mp4", frames, fps, crf=23)


def predicted(num_frames: int, seconds: float | None, memory: int | None) -> str:
    """What the renderer will take, in words."""
    time = "time unknown before its first step" if seconds is None else f"about {duration(seconds)} on this device"
    return f"{num_frames} frames, {time}, " + ("memory unknown" if memory is None else f"about {memory / GIB:.1f} GiB")


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.0f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 2 * 60 else f"{seconds:.0f} s"


def risks(scene: Scene, settings: PuppetConfig) -> list[str]:
    """What may look wrong in any renderer's video, each in a few words. settings: of the puppet, which finds the person's outline."""
    plan = Movement.of(scene)
    return [*missing_parts(scene.reference), *hidden_hands(scene, settings), *needed(plan), *leaving(plan), *nobody(plan),
            *turning_away(plan), *too_fast(plan), *overlapping(plan), *sliding(plan), *other_proportions(scene), *things(scene.prompt)]


@dataclass(frozen=True)
class Movement:
    """The planned skeleton with what the checks below need."""

    skeleton: Skeleton
    reference: Skeleton
    height: float                   # pixels: of the picture's person, or of what is seen of it

    @classmethod
    def of(cls, scene: Scene) -> Movement:
        points = scene.reference.xy[0, BODY][scene.reference.seen[0, BODY]]
        lengths = distances(with_middles(scene.reference.keypoints), PARENTS, CHILDREN)[0]                  # (14,)
        scale = np.median((lengths / [bone.metres for bone in BONES])[lengths > 0]) if (lengths > 0).any() else 0
        span = np.ptp(points, axis=0).max() if len(points) else 0
        return cls(scene.skeleton, scene.reference, float(max(span, 1.6 * scale, 1)))

    def seconds(self, frames: np.ndarray) -> float:
        """How long frames (F,) bool last together."""
        return float(frames.sum()) / self.skeleton.fps

    def told(self, frames: np.ndarray, words: str) -> Iterator[str]:
        """The words, with how long and from when, unless it is brief."""
        if self.seconds(frames) > BRIEF:
            yield f"{words} for {self.seconds(frames):.1f} s (from {frames.argmax() / self.skeleton.fps:.1f} s)"


def on_canvas(skeleton: Skeleton, points: tuple[int, ...]) -> np.ndarray:
    """(F,) bool: one of the points is seen and inside the canvas."""
    xy = skeleton.xy[:, list(points)]                                                                       # (F, P, 2)
    within = ((xy >= 0) & (xy < skeleton.size[::-1])).all(axis=-1)
    return (within & skeleton.seen[:, list(points)]).any(axis=1)


def missing_parts(reference: Skeleton) -> Iterator[str]:
    """What the picture does not show of the person, and whether it shows enough."""
    if reason := hides_too_much(reference.keypoints[0]):
        yield f"another picture would be better: {reason}"
    missing = [name for name, points in PARTS.items() if not on_canvas(reference, points)[0]]
    if missing:
        yield f"not in the picture: {', '.join(missing)}"
    points = reference.xy[0, BODY][reference.seen[0, BODY]]
    share = np.ptp(points[:, 1]) / reference.size[0] if len(points) else 0.0
    if not missing and share < SMALL:
        yield f"the person is small, {100 * share:.0f} % of the frame's height"


def hidden_hands(scene: Scene, settings: PuppetConfig) -> Iterator[str]:
    """Hands of which the picture shows the wrist alone, in a pocket or behind something; fingers that are merely not found do not count."""
    hands = {"left hand": LEFT_HAND, "right hand": RIGHT_HAND}
    unseen = [name for name, points in hands.items() if on_canvas(scene.reference, PARTS[name])[0] and not scene.reference.seen[0, points].any()]
    if unseen and any(scene.reference.seen[0, list(pair)].all() for pair in (SHOULDERS, HIPS)):
        hidden = renderer_class("puppet").load(settings).hidden_hands(small(scene))
        if hidden := [name for name in unseen if name in hidden]:
            yield f"{' and '.join(hidden)} not seen: what they look like is invented (a picture that shows them is better, puppet.hands=false draws none)"


def needed(plan: Movement) -> Iterator[str]:
    """Hands and feet that the movement shows moving, and the picture does not show."""
    skeleton, needs = plan.skeleton, []
    for name, (root, end) in LIMBS.items():
        reach = skeleton.xy[:, end] - skeleton.xy[:, root]                                                  # (F, 2)
        moves = np.linalg.norm(reach - reach[0], axis=-1) > MOVED * plan.height
        shown = moves & skeleton.seen[:, [root, end]].all(axis=1) & on_canvas(skeleton, (end,))
        if plan.seconds(shown) > BRIEF and not on_canvas(plan.reference, (end,))[0]:
            needs.append(f"{name} (from {shown.argmax() / skeleton.fps:.1f} s)")
    if needs:
        yield f"the movement needs what the picture does not show: {', '.join(needs)}"


def leaving(plan: Movement) -> Iterator[str]:
    """Parts that leave the frame, of those that the picture shows."""
    skeleton = plan.skeleton
    for name, points in PARTS.items():
        planned = skeleton.seen[:, list(points)].any(axis=1)
        if on_canvas(plan.reference, points)[0]:
            out, x = planned & ~on_canvas(skeleton, points), skeleton.xy[:, list(points), 0]                 # (F,), (F, P)
            beside = (out & ((x < 0) | (x >= skeleton.size[1])).any(axis=1)).any()
            remedy = "; a larger width= leaves room" if beside else ""
            yield from (line + remedy for line in plan.told(out, f"the {name} leaves the frame"))


def nobody(plan: Movement) -> Iterator[str]:
    """Frames in which the movement shows nobody: those of a driving video in which the person is not found."""
    yield from plan.told(~plan.skeleton.seen[:, BODY].any(axis=1), "the movement shows nobody")


def turning_away(plan: Movement) -> Iterator[str]:
    """A face that the picture shows and the movement turns away: no picture has a person's back, too."""
    face = [NOSE, LEFT_EYE, RIGHT_EYE]
    if plan.reference.seen[0, face].any():
        seen = plan.skeleton.seen
        yield from plan.told(seen[:, BODY].any(axis=1) & ~seen[:, face].any(axis=1), "the person turns away, which the picture does not show,")


def too_fast(plan: Movement) -> Iterator[str]:
    """Hands and feet that jump from frame to frame."""
    ends = [LEFT_WRIST, RIGHT_WRIST, *ANKLES]
    steps = np.linalg.norm(np.diff(plan.skeleton.xy[:, ends], axis=0), axis=-1) / plan.height               # (F - 1, 4)
    both = plan.skeleton.seen[1:, ends] & plan.skeleton.seen[:-1, ends]
    steps = np.where(both, steps, 0)
    fast = (steps > FAST).any(axis=1)
    if plan.seconds(fast) > BRIEF:
        yield (f"fast: a limb moves up to {100 * steps.max():.0f} % of the body's height between frames, {fast.sum()} times "
               f"(fps={2 * plan.skeleton.fps:g} shows it smoother)")


def overlapping(plan: Movement) -> Iterator[str]:
    """Hands before the face, and legs that cross."""
    xy, seen = plan.skeleton.xy, plan.skeleton.seen
    for name, elbow, wrist in (("left", LEFT_ELBOW, LEFT_WRIST), ("right", RIGHT_ELBOW, RIGHT_WRIST)):
        palm = xy[:, wrist] + PALM * (xy[:, wrist] - xy[:, elbow])                                          # (F, 2), in line with the forearm
        near = np.minimum(*(np.linalg.norm(place - xy[:, NOSE], axis=-1) for place in (xy[:, wrist], palm))) < 0.08 * plan.height
        yield from plan.told(near & seen[:, [elbow, wrist, NOSE]].all(axis=1), f"the {name} hand is at the face")
    legs, shoulders = list((*ANKLES, *KNEES)), list(SHOULDERS)
    order = np.sign(xy[:, shoulders[0], 0] - xy[:, shoulders[1], 0])                                        # (F,)
    gap = (xy[:, LEFT_ANKLE, 0] - xy[:, RIGHT_ANKLE, 0]) * order
    wide = abs(xy[:, shoulders[0], 0] - xy[:, shoulders[1], 0]) > 0.1 * plan.height
    yield from plan.told((gap < -0.02 * plan.height) & wide & seen[:, legs + shoulders].all(axis=1), "the legs cross")


def sliding(plan: Movement) -> Iterator[str]:
    """Feet that stand and yet move sideways."""
    feet, fps = plan.skeleton.xy[:, list(ANKLES)], plan.skeleton.fps                                        # (F, 2, 2)
    if len(feet) < 3 or not plan.skeleton.seen[:, list(ANKLES)].all():
        return
    floor = feet[..., 1].max(axis=1, keepdims=True)                                                         # (F, 1)
    stands = feet[..., 1] > floor - ON_THE_FLOOR * plan.height
    step = np.diff(feet, axis=0) * fps / plan.height                                                        # (F - 1, 2, 2) heights a second
    slides = (abs(step[..., 0]) > SLIDING) & (abs(step[..., 1]) < SLIDING / 2)
    yield from plan.told((slides | ~(stands[1:] & stands[:-1])).all(axis=1) & slides.any(axis=1), "the feet slide over the floor")


def other_proportions(scene: Scene) -> Iterator[str]:
    """Bones that the movement has longer or shorter than the picture's person, its size apart."""
    lengths, own = (unshortened(full_lengths(distances(with_middles(skeleton.keypoints), PARENTS, CHILDREN)))
                    for skeleton in (scene.skeleton, scene.reference))                                      # (14,) pixels
    both = (lengths > 0) & (own > 0)
    if both.sum() < 3:
        return
    ratios = np.where(both, lengths / np.maximum(own, 1e-6), 0)
    ratios = ratios / np.median(ratios[both])
    rows = [row for row in LIMB_ROWS if both[row] and not OTHER_LENGTH[0] <= ratios[row] <= OTHER_LENGTH[1]]
    if rows:
        worst = max(rows, key=lambda row: abs(np.log(ratios[row])))
        yield f"other proportions: the {BONE_NAMES[worst]} is {ratios[worst]:.1f} times as long as the picture's"


def things(prompt: str) -> Iterator[str]:
    """Things that the prompt names: only the person moves."""
    if named := things_named(prompt):
        yield f"not drawn, as only the person moves: {', '.join(named)}"
