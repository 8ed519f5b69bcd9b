"""Clips of real people to train the demo's text-to-motion model on, from a folder.

The folder has mocap.npz: joints (N, 22, 3) float32 metres at 20 fps, all clips after one another, y up, the person's left is
+x, on the bones of synthetic/body.py; offsets (C + 1,) int. And clips.jsonl, a line per clip: captions, source (the trial it
was cut from), category.
"""
from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline

from synthetic.motions import sides_of
from t2m.motion import JOINT_NAMES, Motion, MOTION_FPS

HELD_OUT_EVERY = 5                      # one trial of so many in a category is held out, the third first
SPEEDS = (0.85, 1.0, 1.18)              # a clip is also seen slower and faster, as people differ
OTHER_SIDE = {"left": "right", "right": "left", "clockwise": "counterclockwise", "counterclockwise": "clockwise"}
SIDE_WORDS = re.compile(r"\b(left|right|clockwise|counterclockwise)(?=(?:wards?)?\b)")
MIRRORED_JOINTS = [JOINT_NAMES.index(name.replace("left", "x").replace("right", "left").replace("x", "right"))
                   for name in JOINT_NAMES]
# The kind of synthetic.KINDS that a category's first caption names, where the clip shows that and no more. Boxing is more than
# a punch, and what the dances show is uncertain.
PLAIN = {"walk": ("walk", "a person walks forward"), "run": ("run", "a person (runs|jogs) forward"),
         "jump": ("jump", "a person (crouches and )?jumps"), "kick": ("kick", "a person steps up and kicks"),
         "sit down": ("sit", "a person sits down"), "drink": ("drink", "a person (opens a bottle and )?drinks")}
ONLY_WITH = {"kick": r"\b(?:foot|soccer)?[ -]?balls?\b|\bfootballers?\b|\bsoccer\b|\bgoals?\b"}       # what the clips of a kind have to do with


@dataclass(frozen=True)
class RealClip:
    """A few seconds of one person."""

    motion: Motion
    captions: tuple[str, ...]
    category: str                   # of the folder: "walk", "sit down"
    trial: str                      # the recording it was cut from
    kind: str | None                # of synthetic.KINDS, where the clip shows that and no more
    side: str | None                # "left" or "right" where the captions name one, "both" where the kind knows that

    def mirrored(self) -> RealClip:
        """Left and right exchanged, in the words too."""
        captions = tuple(SIDE_WORDS.sub(lambda found: OTHER_SIDE[found[1]], caption) for caption in self.captions)
        joints = self.motion.joints[:, MIRRORED_JOINTS] * np.float32([-1, 1, 1])
        return replace(self, motion=Motion(joints, self.motion.fps), captions=captions,
                       side=OTHER_SIDE.get(self.side or "", self.side))

    def at_speed(self, speed: float) -> RealClip:
        """The same way, `speed` times as fast."""
        frames = np.arange(len(self.motion))
        joints = CubicSpline(frames, self.motion.joints)(np.arange(0, frames[-1], speed))
        return replace(self, motion=Motion(joints, self.motion.fps))


def clip_files(folder: str | Path) -> tuple[Path, Path]:
    """A folder's motions and captions."""
    files = Path(folder) / "mocap.npz", Path(folder) / "clips.jsonl"
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file}: expected motions of real people there (found none): "
                                    "leave out --mocap, or name their folder")
    return files


def read_clips(folder: str | Path) -> list[RealClip]:
    """All clips of a folder, in its order."""
    motions, captions = clip_files(folder)
    lines = captions.read_text(encoding="utf-8").splitlines()
    with np.load(motions, allow_pickle=False) as arrays:
        joints, offsets, fps = arrays["joints"], arrays["offsets"], float(arrays["fps"])
    if len(offsets) != len(lines) + 1 or fps != MOTION_FPS:
        raise ValueError(f"{folder}: expected {len(lines)} clips, one a line of clips.jsonl, at {MOTION_FPS:g} fps "
                         f"(found {len(offsets) - 1} at {fps:g}): make both files again")
    return [_clip(json.loads(line), Motion(joints[start:end]))
            for line, start, end in zip(lines, offsets[:-1], offsets[1:], strict=True)]


def _clip(entry: dict, motion: Motion) -> RealClip:
    captions, category = tuple(entry["captions"]), entry["category"]
    kind, pattern = PLAIN.get(category, (None, "$"))
    sides = {word for caption in captions for word in SIDE_WORDS.findall(caption)} & {"left", "right"}
    kind = kind if re.match(pattern, captions[0]) else None
    sided = len(sides) == 1 and (kind is None or sides_of(kind))
    both = "both" if kind and "both" in sides_of(kind) else None
    return RealClip(motion, captions, category, entry["source"], kind, sides.pop() if sided else both)


def split(clips: list[RealClip]) -> tuple[list[RealClip], list[RealClip]]:
    """Clips to train on, and held-out ones: whole trials, some of every category that has three or more."""
    trials, first_category = defaultdict(list), {}
    for clip in clips:
        if first_category.setdefault(clip.trial, clip.category) == clip.category:
            trials[clip.category].append(clip.trial)
    held_out = {trial for names in trials.values() for trial in list(dict.fromkeys(names))[2::HELD_OUT_EVERY]}
    return [c for c in clips if c.trial not in held_out], [c for c in clips if c.trial in held_out]


def augmented(clips: list[RealClip]) -> list[RealClip]:
    """Every clip, its mirror image, and both slower and faster."""
    return [clip.at_speed(speed) for each in clips for clip in (each, each.mirrored()) for speed in SPEEDS]
