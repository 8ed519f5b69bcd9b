"""Who does what: the benchmark's clips as (identity, motion) pairs, in an order whose every beginning is balanced."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from motionbench.prompts import MOTIONS, MOTIONS_BY_NAME, BenchMotion

SEPARATOR = "__"


@dataclass(frozen=True)
class Cell:
    """One clip of the benchmark; `name` is its file name without the ending."""

    identity: str
    motion: BenchMotion
    other: BenchMotion              # drawn at random, the prompted one included: what chance looks like

    @property
    def name(self) -> str:
        return f"{self.identity}{SEPARATOR}{self.motion.name}"


def chosen_motions(names: str) -> tuple[BenchMotion, ...]:
    """"all", or motions of the benchmark separated by commas."""
    if names.strip() == "all":
        return MOTIONS
    listed = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in listed if name not in MOTIONS_BY_NAME]
    if unknown or not listed:
        raise ValueError(f"motions: expected 'all' or names separated by commas (found '{(unknown or [names])[0]}'): "
                         f"there are {', '.join(MOTIONS_BY_NAME)}")
    return tuple(MOTIONS_BY_NAME[name] for name in dict.fromkeys(listed))


def balanced_cells(identities: Sequence[str], motions: Sequence[BenchMotion], num_clips: int, seed: int) -> list[Cell]:
    """The first `num_clips` pairs (0: all), each once; every beginning has each identity and each motion alike often.

    Of every len(motions) clips one draws its own motion as the random other one, and the rest differ by each step once:
    a system that ignores the prompt scores 1 / len(motions).
    """
    if not identities:
        raise ValueError("identities: expected at least one (found none)")
    total, lap = len(identities) * len(motions), math.lcm(len(identities), len(motions))
    if not 0 <= num_clips <= total:
        raise ValueError(f"num_clips: expected 0 (all) to {total} = {len(identities)} identities x {len(motions)} "
                         f"motions (found {num_clips})")
    rng = np.random.default_rng([seed, 0x0B])
    laps = [rng.permutation(len(motions)) for _ in range(-(-total // len(motions)))]
    cells = []
    for index in range(num_clips or total):
        motion = (index + index // lap) % len(motions)
        away = laps[index // len(motions)][index % len(motions)]
        other = motions[(motion + away) % len(motions)]
        cells.append(Cell(identities[index % len(identities)], motions[motion], other))
    return cells


def prompts_table(cells: Sequence[Cell], pictures: dict[str, str], num_frames: int, fps: float,
                  size: tuple[int, int]) -> str:
    """prompts.csv: what another system is to be given, and what its file must be called. size: (height, width)"""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("file", "identity", "picture", "motion", "prompt", "frames", "fps", "height", "width"))
    for cell in cells:
        table.writerow((f"{cell.name}.mp4", cell.identity, pictures[cell.identity], cell.motion.name,
                        cell.motion.prompt, num_frames, f"{fps:g}", *size))
    return text.getvalue()
