"""How good a text-to-motion model is: the VQ-VAE's round trip in metres, and which known motion a motion is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .features import across_hips, across_shoulders, forward_vector, joints_from_features, unit
from .joining import bone_directions, bone_lengths
from .motion import LEFT_WRIST, MOTION_FPS, PELVIS, RIGHT_WRIST
from .training import Normalisation
from .vqvae import FRAMES_PER_TOKEN, VQVAE

WRISTS = [LEFT_WRIST, RIGHT_WRIST]
COMPARED_EVERY = 2                # frames: motions are compared at 10 fps
VELOCITY_SPAN = 4                 # frames over which velocities are taken
DIRECTION_SPEED = 0.2            # weight of a bone's turning, in seconds: radians per second against radians
ROOT_WEIGHTS = np.array([1.0, 1.0, 0.6, 1.0, 3.0])    # of velocity right, ahead, yaw speed, rise and height


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


def described(joints: np.ndarray) -> np.ndarray:
    """What is compared, the same for every place, heading and body size. joints: (T, 22, 3) at 20 fps -> (F, D)

    Bone directions seen by the person, how fast they change, and the pelvis: velocity, turning and height.
    """
    joints = np.asarray(joints, dtype=np.float64)
    forward = unit(forward_vector(across_hips(joints) + across_shoulders(joints)))    # (T, 3)
    left = np.cross((0.0, 1.0, 0.0), forward)                                         # (T, 3)
    basis = np.stack([left, np.broadcast_to((0.0, 1.0, 0.0), left.shape), forward], axis=1)        # (T, 3, 3)
    directions = np.einsum("tij,tkj->tki", basis, bone_directions(joints)[:, 1:])     # (T, 21, 3)
    body = bone_lengths(joints).sum()
    pelvis = joints[:, PELVIS] / body                                                 # (T, 3) in body lengths
    velocity = np.einsum("tij,tj->ti", basis, speed(pelvis))                          # (T, 3)
    yaw_speed = speed(np.unwrap(np.arctan2(forward[:, 0], forward[:, 2]))[:, None])   # (T, 1)
    root = np.concatenate([10 * velocity[:, [0, 2]], yaw_speed, 10 * velocity[:, [1]],
                           10 * (pelvis[:, [1]] - joints[:, :, 1].min() / body)], axis=1)           # (T, 5)
    poses = directions.reshape(len(joints), -1)                                       # (T, 63)
    rows = np.concatenate([poses, DIRECTION_SPEED * speed(poses), ROOT_WEIGHTS * root], axis=1)
    return rows[::COMPARED_EVERY]


def speed(track: np.ndarray) -> np.ndarray:
    """Change per second over VELOCITY_SPAN frames, centred. (T, D) -> (T, D)"""
    half = VELOCITY_SPAN // 2
    padded = np.concatenate([track[:1].repeat(half, 0), track, track[-1:].repeat(half, 0)])
    return (padded[2 * half:] - padded[:-2 * half]) * MOTION_FPS / (2 * half)


@dataclass(frozen=True)
class MotionBank:
    """Known motions to compare with: every kind and side, several times."""

    rows: np.ndarray                                    # (N, D) all samples' descriptions, one after another
    starts: np.ndarray                                  # (S + 1,) first row of each sample
    labels: tuple[tuple[str, str | None], ...]          # S pairs of kind and side

    @classmethod
    def of(cls, samples: Iterable[tuple[str, str | None, np.ndarray]]) -> MotionBank:
        """From triples of kind, side and joints (T, 22, 3) at 20 fps."""
        samples = list(samples)
        rows = [described(joints) for _, _, joints in samples]
        return cls(np.concatenate(rows), np.cumsum([0, *map(len, rows)]),
                   tuple((kind, side) for kind, side, _ in samples))


def motion_costs(joints: np.ndarray, bank: MotionBank) -> dict[tuple[str, str | None], float]:
    """How badly each kind and side fits: how far this motion's moments are from any moment of theirs, and theirs, in
    the best of their samples, from any of this motion's. Order and tempo do not matter beyond the speeds themselves.
    Distances are squared, so that a few moments which do not fit weigh more than many that nearly fit.
    """
    mine = described(joints)                                                          # (F, D)
    distance = np.maximum(
        (mine**2).sum(1)[:, None] - 2 * mine @ bank.rows.T + (bank.rows**2).sum(1), 0)  # (F, N)
    to_sample = np.minimum.reduceat(distance, bank.starts[:-1], axis=1)               # (F, S)
    covered = np.add.reduceat(distance.min(axis=0), bank.starts[:-1]) / np.diff(bank.starts)        # (S,)
    costs = {}
    for label in dict.fromkeys(bank.labels):
        members = [index for index, other in enumerate(bank.labels) if other == label]
        costs[label] = float(to_sample[:, members].min(axis=1).mean() + covered[members].min())
    return costs


def motion_kind(joints: np.ndarray, bank: MotionBank) -> tuple[str, str | None]:
    """The kind and side that fit a motion best. joints: (T, 22, 3) metres at 20 fps"""
    costs = motion_costs(joints, bank)
    return min(costs, key=costs.get)
