"""The motions that train the demo's text-to-motion model: procedural people as HumanML3D features."""
from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from synthetic.motions import KINDS, sample_motion, sides_of
from t2m.features import FEATURE_BLOCKS, NUM_FEATURES, ROOT_HEIGHT, ROOT_VELOCITY, YAW_VELOCITY, features
from t2m.motion import MOTION_FPS
from t2m.vqvae import FRAMES_PER_TOKEN

MIN_TOKENS, MAX_TOKENS = 6, 50                # 1.2 to 10 s
FORWARD_SMOOTHING = 2.0                       # frames: the root turns with the body, also in a pirouette
ROOT_EMPHASIS = 5.0                           # the root's columns count this much more, as in HumanML3D's feat_bias
HARD_TO_KEEP = ("nod", "shake_head", "run", "turn", "dance", "walk", "walk_backwards", "side_step", "spin", "lunge")


@dataclass(frozen=True)
class MotionCache:
    """Training motions as features, and what each one shows."""

    rows: np.ndarray                # (N, 263) float16, all motions one after another, denormalised
    starts: np.ndarray              # (M + 1,) first row of each motion
    facts: list[dict]               # M dicts: kind, side, repetitions, caption

    def motion(self, index: int) -> Tensor:
        """(T, 263) float32, T a multiple of 4."""
        return torch.from_numpy(np.asarray(self.rows[self.starts[index]:self.starts[index + 1]], dtype=np.float32))

    def __len__(self) -> int:
        return len(self.facts)

    def training_indices(self, count: int, held_out: int, rng: np.random.Generator) -> np.ndarray:
        """Motions to learn from; those whose gist is a few centimetres, or that travel or turn, three times as often."""
        weights = np.array([3.0 if fact["kind"] in HARD_TO_KEEP else 1.0 for fact in self.facts[:-held_out]])
        return rng.choice(len(weights), size=count, p=weights / weights.sum())

    def held_out(self, count: int) -> list[Tensor]:
        """The last motions, which no training step sees."""
        return [self.motion(index) for index in range(len(self) - count, len(self))]


def prepare(folder: Path, num_motions: int, seed: int) -> MotionCache:
    """Sample motions once; kinds in turn, those with sides twice as often."""
    if not (folder / "facts.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(seed)
        order = [kind for kind in KINDS for _ in range(2 if sides_of(kind) else 1)]
        facts, rows = [], []
        for index in tqdm(range(num_motions), desc="motions"):
            num_rows = FRAMES_PER_TOKEN * int(rng.integers(MIN_TOKENS, MAX_TOKENS + 1))
            sample = sample_motion(order[index % len(order)], (num_rows + 1) / MOTION_FPS, rng)
            rows.append(features(sample.motion, FORWARD_SMOOTHING).astype(np.float16))
            facts.append(dict(kind=sample.kind, side=sample.side, repetitions=sample.repetitions,
                              caption=sample.caption))
        np.save(folder / "rows.npy", np.concatenate(rows))
        np.save(folder / "starts.npy", np.cumsum([0, *map(len, rows)]))
        (folder / "facts.json").write_text(json.dumps(facts))
    return MotionCache(np.load(folder / "rows.npy", mmap_mode="r"), np.load(folder / "starts.npy"),
                       json.loads((folder / "facts.json").read_text()))


def statistics(cache: MotionCache, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (263,) float64, one deviation per block of features, the root's shrunk by ROOT_EMPHASIS.

    Computed once and kept in `folder`.
    """
    paths = folder / "mean.npy", folder / "std.npy"
    if all(path.exists() for path in paths):
        return tuple(np.load(path) for path in paths)
    rows = np.asarray(cache.rows[::5], dtype=np.float64)
    mean, std = rows.mean(axis=0), rows.std(axis=0)
    for block in FEATURE_BLOCKS:
        std[block] = std[block].mean()
    for block in (YAW_VELOCITY, ROOT_VELOCITY, ROOT_HEIGHT):
        std[block] /= ROOT_EMPHASIS
    assert mean.shape == (NUM_FEATURES,)
    for path, values in zip(paths, (mean, std), strict=True):
        np.save(path, values)
    return mean, std


def window_batch(cache: MotionCache, indices: np.ndarray, num_rows: int, rng: np.random.Generator) -> Tensor:
    """A window of each motion, every fourth from its start, the end held where it is shorter. -> (B, num_rows, 263)

    The first row is unlike all others: the turn to the smoothed heading is there.
    """
    windows = []
    for index in indices:
        rows = cache.motion(index)
        start = int(rng.integers(max(len(rows) - num_rows, 0) + 1)) * (rng.random() > 0.25)
        window = rows[start:start + num_rows]
        windows.append(torch.cat([window, window[-1:].expand(num_rows - len(window), -1)]))
    return torch.stack(windows)
