"""The measures of text-to-motion papers (Guo et al. 2022, section 5), and of what a camera sees: sliding feet, jitter.

The first five compare embeddings of motions and texts. The published numbers stand on one embedder, whose weights are
not in this repository; `Embedder` is of the same kind, trained on one's own data: its numbers compare runs that share
it, and nothing else.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn

from .features import NUM_FEATURES
from .motion import LEFT_ANKLE, LEFT_TOE, MOTION_FPS, RIGHT_ANKLE, RIGHT_TOE

POOL = 32                       # R-precision: a motion's own text against 31 others
TOP = 3
DIVERSITY_PAIRS = 300
FEET = ((LEFT_ANKLE, 0.08), (RIGHT_ANKLE, 0.08), (LEFT_TOE, 0.05), (RIGHT_TOE, 0.05))   # joint, metres up when standing


def frechet_distance(found: np.ndarray, true: np.ndarray) -> float:
    """FID: distance between the Gaussians of two sets of embeddings, (N, D) and (M, D)."""
    if min(len(found), len(true)) < 2:
        raise ValueError(f"FID: expected at least 2 motions on each side (found {len(found)} and {len(true)})")
    means = [rows.mean(0) for rows in (found, true)]
    covariances = [np.cov(rows, rowvar=False) for rows in (found, true)]
    root = sqrtm(covariances[0] @ covariances[1])
    value = ((means[0] - means[1]) ** 2).sum() + np.trace(covariances[0] + covariances[1]) - 2 * np.trace(np.real(root))
    return float(max(value, 0))


def distances(texts: np.ndarray, motions: np.ndarray) -> np.ndarray:
    """Euclidean, (N, D) and (M, D) -> (N, M)."""
    squared = (texts**2).sum(1)[:, None] - 2 * texts @ motions.T + (motions**2).sum(1)
    return np.sqrt(np.maximum(squared, 0))


def r_precision(texts: np.ndarray, motions: np.ndarray, rng: np.random.Generator) -> list[float]:
    """Share of motions whose own text is among the 1, 2, 3 nearest of 32 texts. Row i of both belongs together, (N, D).

    Pools are random and of full size, so the last N mod 32 motions of a shuffle are left out.
    """
    order = rng.permutation(len(texts))
    pools = [order[i:i + POOL] for i in range(0, len(order) - POOL + 1, POOL)]
    if not pools:
        raise ValueError(f"R-precision: expected at least {POOL} motions (found {len(texts)}): evaluate on more")
    hits = np.zeros(TOP)
    for pool in pools:
        apart = distances(motions[pool], texts[pool])                                 # (32 motions, 32 texts)
        rank = (apart < np.diag(apart)[:, None]).sum(1)                               # texts nearer than one's own
        hits += [(rank <= k).mean() for k in range(TOP)]
    return (hits / len(pools)).tolist()


def matching_distance(texts: np.ndarray, motions: np.ndarray) -> float:
    """MM-Dist: mean distance of a motion to its own text."""
    return float(np.linalg.norm(texts - motions, axis=1).mean())


def diversity(motions: np.ndarray, rng: np.random.Generator) -> float:
    """Mean distance between random pairs of motions; near the true motions' value is good."""
    pairs = rng.choice(len(motions), size=(min(DIVERSITY_PAIRS, len(motions)), 2))
    return float(np.linalg.norm(motions[pairs[:, 0]] - motions[pairs[:, 1]], axis=1).mean())


def foot_slide(joints: np.ndarray) -> float:
    """Centimetres per second that ankles and toes move along the floor while they stand on it. joints: (T, 22, 3)"""
    speeds = []
    floor = joints[:, [joint for joint, _ in FEET], 1].min()
    for joint, height in FEET:
        foot = joints[:, joint]
        standing = (foot[:-1, 1] < floor + height) & (foot[1:, 1] < floor + height)
        speeds.append(np.linalg.norm(np.diff(foot[:, [0, 2]], axis=0), axis=1)[standing])
    speeds = np.concatenate(speeds) * MOTION_FPS * 100
    return float(speeds.mean()) if len(speeds) else 0.0


def jitter(joints: np.ndarray) -> float:
    """Mean size of the third derivative of all joints, in 100 m/s^3. joints: (T, 22, 3), T >= 4"""
    if len(joints) < 4:
        raise ValueError(f"jitter: expected at least 4 frames (found {len(joints)})")
    return float(np.linalg.norm(np.diff(joints, n=3, axis=0), axis=-1).mean() * MOTION_FPS**3 / 100)


def measures(texts: np.ndarray, motions: np.ndarray, true: np.ndarray, joints: list[np.ndarray],
             rng: np.random.Generator) -> dict[str, float]:
    """All of them. texts, motions, true: (N, D) embeddings of prompts, made and true motions; joints: the made ones."""
    first, second, third = r_precision(texts, motions, rng)
    return {"fid": frechet_distance(motions, true), "r_precision_1": first, "r_precision_2": second,
            "r_precision_3": third, "mm_dist": matching_distance(texts, motions), "diversity": diversity(motions, rng),
            "diversity_true": diversity(true, rng), "foot_slide_cm_s": float(np.mean(list(map(foot_slide, joints)))),
            "jitter": float(np.mean(list(map(jitter, joints))))}


class Embedder(nn.Module):
    """Motions and texts in one space, trained so that what belongs together is near (Guo et al. 2022, section 4.3)."""

    def __init__(self, text_dim: int, width: int = 256):
        super().__init__()
        self.halve = nn.Conv1d(NUM_FEATURES, width, 4, 2, 1)
        self.halve_again = nn.Conv1d(width, width, 4, 2, 1)
        self.over_time = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.of_motion = nn.Linear(width, width)
        self.of_text = nn.Sequential(nn.Linear(text_dim, width), nn.GELU(), nn.Linear(width, width))
        self.sharpness = nn.Parameter(torch.tensor(2.0))

    def motion(self, rows: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, 263) normalised, each valid up to its length, a multiple of 4 -> (B, width) of length 1."""
        halves = nn.functional.gelu(self.halve(rows.transpose(1, 2)))                 # (B, C, T // 2)
        valid = torch.arange(halves.shape[-1], device=rows.device) < (lengths.to(rows.device) // 2)[:, None]
        steps = self.halve_again(halves * valid[:, None]).transpose(1, 2)             # (B, T // 4, C)
        num_steps = (lengths // 4).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(steps, num_steps, batch_first=True, enforce_sorted=False)
        seen, _ = nn.utils.rnn.pad_packed_sequence(self.over_time(packed)[0], batch_first=True)   # zero beyond
        return nn.functional.normalize(self.of_motion(seen.sum(1) / num_steps[:, None].to(seen)), dim=-1)

    def text(self, feature: Tensor) -> Tensor:
        """(B, D) -> (B, width) of length 1."""
        return nn.functional.normalize(self.of_text(feature), dim=-1)

    def forward(self, rows: Tensor, lengths: Tensor, feature: Tensor) -> Tensor:
        """Contrastive loss of a batch whose rows belong together."""
        similar = self.sharpness.exp() * self.motion(rows, lengths) @ self.text(feature).T     # (B, B)
        target = torch.arange(len(similar), device=similar.device)
        both = nn.functional.cross_entropy(similar, target) + nn.functional.cross_entropy(similar.T, target)
        return both / 2
