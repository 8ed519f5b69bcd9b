"""Flat puppets with known bone lengths, and broken skeletons: what a rescaling is tried on."""

from __future__ import annotations

import numpy as np

from dwpose import skeleton as coco
from dwpose.skeleton import NUM_KEYPOINTS, Skeleton, necks

CANVAS = (320, 192)         # height, width, pixels
PIXELS_PER_METRE = 120
TRUNK_METRES, SHOULDER_METRES, HIP_METRES = 0.50, 0.17, 0.11
LIMBS = (                       # parent, child, metres
    (coco.LEFT_SHOULDER, coco.LEFT_ELBOW, 0.27), (coco.RIGHT_SHOULDER, coco.RIGHT_ELBOW, 0.27),
    (coco.LEFT_ELBOW, coco.LEFT_WRIST, 0.25), (coco.RIGHT_ELBOW, coco.RIGHT_WRIST, 0.25),
    (coco.LEFT_HIP, coco.LEFT_KNEE, 0.39), (coco.RIGHT_HIP, coco.RIGHT_KNEE, 0.39),
    (coco.LEFT_KNEE, coco.LEFT_ANKLE, 0.41), (coco.RIGHT_KNEE, coco.RIGHT_ANKLE, 0.41),
)
PAIRS = (0, 0, 1, 1, 2, 2, 3, 3)                # both halves of a body are equally long: row of `lengths` of each limb
IN_PLANE_SHARE = 0.6
MIN_FORESHORTENING = 0.3


def puppet(num_frames: int, rng: np.random.Generator) -> tuple[Skeleton, np.ndarray]:
    """Somebody of random build whose limbs point anywhere; and which limbs (F, 8) lie in the image plane.

    The others are foreshortened. Trunk, shoulders and hips always lie in the plane.
    """
    metres = np.array([metres for *_, metres in LIMBS[::2]]) * rng.uniform(0.75, 1.3, len(LIMBS) // 2)
    lengths = (metres * PIXELS_PER_METRE * rng.uniform(0.6, 1.4))[list(PAIRS)]              # (8,) pixels
    unit = lengths[-1] / LIMBS[-1][2]                                                       # pixels per metre
    trunk, shoulder, hip = (unit * m * rng.uniform(0.85, 1.15) for m in (TRUNK_METRES, SHOULDER_METRES, HIP_METRES))
    in_plane = rng.random((num_frames, len(LIMBS))) < IN_PLANE_SHARE
    in_plane[0] = True                          # a reference is its first frame
    keypoints = np.zeros((num_frames, NUM_KEYPOINTS, 3), np.float64)
    keypoints[:, :coco.BODY.stop, 2] = 1
    xy = keypoints[..., :2]
    neck = rng.uniform(0.4, 0.6, (num_frames, 2)) * CANVAS[::-1]
    down = _direction(rng.normal(0, 0.2, num_frames))                                       # (F, 2)
    across = np.stack([down[:, 1], -down[:, 0]], axis=-1)
    for joint, start, side in ((coco.LEFT_SHOULDER, neck, shoulder), (coco.RIGHT_SHOULDER, neck, -shoulder),
                               (coco.LEFT_HIP, neck + trunk * down, hip), (coco.RIGHT_HIP, neck + trunk * down, -hip)):
        xy[:, joint] = start + side * across
    head = unit * 0.22 * rng.uniform(0.85, 1.15)
    xy[:, coco.NOSE] = neck - head * down
    for joint, side in ((coco.LEFT_EYE, 0.3), (coco.RIGHT_EYE, -0.3), (coco.LEFT_EAR, 0.6), (coco.RIGHT_EAR, -0.6)):
        xy[:, joint] = xy[:, coco.NOSE] + head * 0.4 * (side * across - 0.3 * down)
    for row, (parent, child, _) in enumerate(LIMBS):
        shown = np.where(in_plane[:, row], 1, rng.uniform(MIN_FORESHORTENING, 0.95, num_frames))
        aim = _direction(rng.uniform(-np.pi, np.pi, num_frames))
        xy[:, child] = xy[:, parent] + (lengths[row] * shown)[:, None] * aim
    return Skeleton(keypoints, CANVAS, fps=10), in_plane


def _direction(angles: np.ndarray) -> np.ndarray:
    """Unit vectors (F, 2) at radians from straight down."""
    return np.stack([np.sin(angles), np.cos(angles)], axis=-1)


def limb_lengths(skeleton: Skeleton) -> np.ndarray:
    """(F, 8) pixels, in the order of LIMBS."""
    starts, ends = ([limb[end] for limb in LIMBS] for end in (0, 1))
    return np.linalg.norm(skeleton.xy[:, ends] - skeleton.xy[:, starts], axis=-1)


def frame_lengths(skeleton: Skeleton) -> np.ndarray:
    """(F, 3) pixels: the trunk, and the widths of shoulders and hips."""
    xy, neck = skeleton.xy, necks(skeleton.keypoints)[..., :2]
    hips = (xy[:, coco.LEFT_HIP] + xy[:, coco.RIGHT_HIP]) / 2
    return np.stack([np.linalg.norm(hips - neck, axis=-1),
                     np.linalg.norm(xy[:, coco.LEFT_SHOULDER] - xy[:, coco.RIGHT_SHOULDER], axis=-1),
                     np.linalg.norm(xy[:, coco.LEFT_HIP] - xy[:, coco.RIGHT_HIP], axis=-1)], axis=-1)


def broken_skeleton(num_frames: int, rng: np.random.Generator) -> Skeleton:
    """A skeleton as no person is: joints missing, coincident, far away, collapsed to a point or line, huge, tiny.

    At least one body joint of the first frame is seen, so that there is a person at all.
    """
    keypoints = np.zeros((num_frames, NUM_KEYPOINTS, 3), np.float64)
    keypoints[..., :2] = rng.uniform(0, CANVAS[::-1], (num_frames, NUM_KEYPOINTS, 2))
    keypoints[..., 2] = rng.random((num_frames, NUM_KEYPOINTS))
    if rng.random() < 0.3:
        keypoints[..., :2] = puppet(num_frames, rng)[0].xy
    if rng.random() < 0.3:                                  # collapsed
        axes = [0, 1] if rng.random() < 0.5 else [int(rng.integers(2))]
        keypoints[..., axes] = keypoints[:, :1, axes]
    if rng.random() < 0.3:                                  # coincident
        joints = rng.choice(coco.BODY.stop, size=rng.integers(2, coco.BODY.stop), replace=False)
        keypoints[:, joints, :2] = keypoints[:, joints[:1], :2]
    keypoints[..., :2] *= 10.0 ** rng.choice([-6, -2, 0, 0, 0, 2, 4])
    keypoints[..., :2] += rng.choice([0.0, -500.0, 1e5])
    missing = rng.random((num_frames, NUM_KEYPOINTS)) < rng.choice([0.0, 0.3, 0.7, 0.97, 1.0])
    keypoints[missing] = 0
    if rng.random() < 0.2:                                  # a half body
        keypoints[:, coco.LEFT_HIP:coco.RIGHT_ANKLE + 1] = 0
    keypoints[0, rng.integers(coco.BODY.stop), 2] = 1
    return Skeleton(keypoints, CANVAS, fps=10)
