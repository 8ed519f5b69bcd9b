"""The measures of text-to-motion papers (Guo et al. 2022, section 5), and of what a camera sees: sliding feet, jitter.

The first five compare embeddings of motions and texts. The published numbers depend on one embedder, whose weights are
not in this repository. `Embedder` is of the same kind and trained on one's own data, so its numbers only compare runs
that share it.
"""
from __future__ import annotations

import numpy as np
import torch
from torch import nn, Tensor

from t2m.features import joints_from_features, NUM_FEATURES
from t2m.motion import LEFT_ANKLE, LEFT_TOE, LEFT_WRIST, MOTION_FPS, PELVIS, RIGHT_ANKLE, RIGHT_TOE, RIGHT_WRIST
from t2m.networks import FRAMES_PER_STEP, VQVAE
from t2m.task import Normalisation

POOL = 32                       # R-precision: a motion's own text against 31 others
TOP = 3
SAME = 1e-6                     # of the largest number: distances that differ by rounding alone
DIVERSITY_PAIRS = 300
FEET = ((LEFT_ANKLE, 0.08), (RIGHT_ANKLE, 0.08), (LEFT_TOE, 0.05), (RIGHT_TOE, 0.05))   # joint, metres up when standing
WRISTS = [LEFT_WRIST, RIGHT_WRIST]


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½) of the Gaussians fitted to features (N, D) and (M, D).

    With centred rows X and Y, tr (C1 C2)^½ is the nuclear norm of X Yᵀ / ((N - 1)(M - 1))^½: exact, and without the
    square root of a matrix that may be singular. Rows beyond D are folded into D by QR first. NaN for fewer than 2 rows.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(f"features: expected (N, D) and (M, D) (found {first.shape} and {second.shape})")
    if min(len(first), len(second)) < 2:
        return float("nan")
    if broken := int((~np.isfinite(first)).sum() + (~np.isfinite(second)).sum()):
        raise ValueError(f"features: expected finite numbers (found {broken} that are not): leave their rows out")
    apart = ((first.mean(axis=0) - second.mean(axis=0)) ** 2).sum()
    x, y = (_factor(rows) for rows in (first, second))                                # XᵀX and YᵀY are C1 and C2
    shared = np.linalg.svd(x @ y.T, compute_uv=False).sum()
    return float(max(0.0, apart + (x**2).sum() + (y**2).sum() - 2 * shared))


def _factor(rows: np.ndarray) -> np.ndarray:
    """A matrix R of at most D rows with RᵀR the covariance of `rows` (N, D)."""
    centred = (rows - rows.mean(axis=0)) / np.sqrt(len(rows) - 1)
    return centred if len(centred) <= centred.shape[1] else np.linalg.qr(centred, mode="r")


def distances(texts: np.ndarray, motions: np.ndarray) -> np.ndarray:
    """Euclidean, (N, D) and (M, D) -> (N, M)."""
    squared = (texts**2).sum(1)[:, None] - 2 * texts @ motions.T + (motions**2).sum(1)
    return np.sqrt(np.maximum(squared, 0))


def r_precision(texts: np.ndarray, motions: np.ndarray, rng: np.random.Generator) -> list[float]:
    """Share of motions whose own text is among the 1, 2, 3 nearest of 32 texts. Row i of both belongs together, (N, D).

    Pools are random and of full size, so the last N mod 32 motions of a shuffle are left out. Among texts equally near
    each is as likely to be the first, so that embeddings which are all alike score chance.
    """
    order = rng.permutation(len(texts))
    pools = [order[i:i + POOL] for i in range(0, len(order) - POOL + 1, POOL)]
    if not pools:
        raise ValueError(f"R-precision: expected at least {POOL} motions (found {len(texts)}): evaluate on more")
    hits = np.zeros(TOP)
    for pool in pools:
        apart = distances(motions[pool], texts[pool])                                 # (32 motions, 32 texts)
        further = apart - np.diag(apart)[:, None]                                     # than one's own text
        rounding = SAME * max(np.abs(motions[pool]).max(), np.abs(texts[pool]).max())
        nearer, alike = (further < -rounding).sum(1), (np.abs(further) <= rounding).sum(1)      # (32,); its own is alike
        hits += [np.clip((k - nearer) / alike, 0, 1).mean() for k in range(1, TOP + 1)]
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


def mean_jerk(points: np.ndarray, fps: float, known: np.ndarray | None = None) -> float:
    """Mean size of the third derivative of points (T, N, D), per s³; NaN if there is none.

    known: (T, N) bool; a point counts over every run of four frames in which it is known.
    """
    known = np.ones(points.shape[:2], bool) if known is None else known
    runs = known[3:] & known[2:-1] & known[1:-2] & known[:-3]                         # (T - 3, N)
    if not runs.any():
        return float("nan")
    return float(np.linalg.norm(np.diff(points, n=3, axis=0), axis=-1)[runs].mean() * fps**3)


def jitter(joints: np.ndarray) -> float:
    """Mean size of the third derivative of all joints, in 100 m/s³. joints: (T, 22, 3), T >= 4"""
    if len(joints) < 4:
        raise ValueError(f"jitter: expected at least 4 frames (found {len(joints)})")
    return mean_jerk(joints, MOTION_FPS) / 100


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


@torch.no_grad()
def round_trip_errors(model: VQVAE, norm: Normalisation, motions: list[Tensor]) -> dict[str, float]:
    """Mean distances in metres between joints before and after features -> tokens -> features.

    motions: tensors (T, 263) of denormalised features. `joints` and `wrists` are measured in the world, so they hold the
    drift of the path as well; `pose` is measured from the pelvis.
    """
    world, wrists, pose = [], [], []
    for rows in motions:
        rows = rows[:len(rows) // FRAMES_PER_STEP * FRAMES_PER_STEP]
        decoded = norm.denormalised(model.decode(model.encode(norm.normalised(rows)[None]))[0])
        joints, true_joints = joints_from_features(decoded), joints_from_features(rows)            # (T, 22, 3)
        distance = (joints - true_joints).norm(dim=-1)                                          # (T, 22)
        world.append(distance.mean())
        wrists.append(distance[:, WRISTS].mean())
        relative = (joints - joints[:, [PELVIS]]) - (true_joints - true_joints[:, [PELVIS]])
        pose.append(relative.norm(dim=-1).mean())
    return {name: float(torch.stack(values).mean())
            for name, values in (("joints", world), ("wrists", wrists), ("pose", pose))}
