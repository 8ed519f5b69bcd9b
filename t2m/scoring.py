"""How good a text-to-motion model is: the VQ-VAE's round trip in metres, and which known motion a motion is."""

from __future__ import annotations

import torch
from torch import Tensor

from .features import joints_from_features
from .motion import LEFT_WRIST, PELVIS, RIGHT_WRIST
from .training import Normalisation
from .vqvae import FRAMES_PER_TOKEN, VQVAE

WRISTS = [LEFT_WRIST, RIGHT_WRIST]


@torch.no_grad()
def round_trip_errors(model: VQVAE, norm: Normalisation, motions: list[Tensor]) -> dict[str, float]:
    """Mean distances in metres between joints before and after features -> tokens -> features.

    motions: tensors (T, 263) of denormalised features. `joints` and `wrists` are measured in the world, so they hold the
    drift of the path as well; `pose` is measured from the pelvis.
    """
    world, wrists, pose = [], [], []
    for rows in motions:
        rows = rows[:len(rows) // FRAMES_PER_TOKEN * FRAMES_PER_TOKEN]
        decoded = norm.denormalised(model.decode(model.encode(norm.normalised(rows)[None]))[0])
        joints, true_joints = joints_from_features(decoded), joints_from_features(rows)            # (T, 22, 3)
        distance = (joints - true_joints).norm(dim=-1)                                          # (T, 22)
        world.append(distance.mean())
        wrists.append(distance[:, WRISTS].mean())
        relative = (joints - joints[:, [PELVIS]]) - (true_joints - true_joints[:, [PELVIS]])
        pose.append(relative.norm(dim=-1).mean())
    return {name: float(torch.stack(values).mean())
            for name, values in (("joints", world), ("wrists", wrists), ("pose", pose))}
