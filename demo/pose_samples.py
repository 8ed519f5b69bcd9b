"""Training batches for the demo's person detector and whole-body network, cut from a cache of rendered clips.

Pictures are degraded the way generated videos are (soft, noisy, off in colour), and a share of them are drawn poses, so
that the networks also read a skeleton off the adapter's output.
"""
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from dwpose.draw import draw
from dwpose.networks import BINS_PER_PIXEL, crop_geometry, CROP_HEIGHT, CROP_WIDTH, normalised, warp
from dwpose.skeleton import (FACE, HANDS, LEFT_HAND, LEFT_HIP, LEFT_SHOULDER, LEFT_WRIST, NUM_KEYPOINTS, RIGHT_HAND,
                             RIGHT_HIP, RIGHT_SHOULDER, RIGHT_WRIST, Skeleton)

POSE_PIXELS = (144, 192)            # width, height of what the pose network's trunk sees: half a crop
PERSON_PIXELS = 160                 # side of what the person network's trunk sees: a quarter of its input
PERSON_CELLS = 20                   # cells per side there
PAD_VALUE = 114
DRAWN_SHARE = 0.15                  # drawn poses among the pictures
REFERENCE_SHARE = 0.1               # pictures that are a clip's first: a reference, always standing
HANDLESS_SHARE = 0.5                # of them without hands
UNUSUAL_SHARE = 0.5                 # pictures chosen as the most unusual of three
EMPTY_SHARE = 0.08                  # pictures without a person
COVERED_HAND_SHARE = 0.12           # pictures with something in front of a hand


class PoseSamples:
    """Random crops and scenes of a clip cache: frames (C, T, H, W, 3) uint8 and keypoints (C, T, 133, 3)."""

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        self.frames = np.load(folder / "frames.npy", mmap_mode="r")
        self.keypoints = np.load(folder / "keypoints.npy", mmap_mode="r")
        self.clips = np.flatnonzero(np.load(folder / "rendered.npy", mmap_mode="r"))
        if not len(self.clips):
            raise ValueError(f"{folder}: expected rendered clips (found none): run demo/prepare_clips.py")

    def crops(self, count: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """pixels (N, 3, 192, 144) normalised; points (N, 133, 3): bins, confidence; inside (N, 133): their weight."""
        pixels, points, inside = zip(*(self._crop(rng) for _ in range(count)))
        return {"pixels": torch.from_numpy(normalised(np.stack(pixels))),
                "points": torch.from_numpy(np.stack(points)), "inside": torch.from_numpy(np.stack(inside))}

    def pictures(self, count: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """pixels (N, 3, 160, 160) in 0..255; per cell (N, 400) owned 0/1 and its weight; boxes (N, 400, 4) in cells."""
        pixels, cells = zip(*(self._scene(rng) for _ in range(count)))
        owned, counted, boxes = (torch.from_numpy(np.stack(part)) for part in zip(*cells))
        images = np.stack(pixels).transpose(0, 3, 1, 2).astype(np.float32)
        return {"pixels": torch.from_numpy(images), "owned": owned, "counted": counted, "boxes": boxes}

    def picture(self, rng: np.random.Generator, drawn: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One frame (H, W, 3), or the pose drawn for it; keypoints (133, 3); which have a known place (133,)."""
        clip, frame = self._somebody(rng)
        if rng.random() < UNUSUAL_SHARE:
            others = [self._somebody(rng) for _ in range(3)]
            clip, frame = max(others, key=lambda place: unusual(self.keypoints[place]))
        picture, keypoints = np.array(self.frames[clip, frame]), np.array(self.keypoints[clip, frame])
        known = np.ones(NUM_KEYPOINTS, np.float32)
        if drawn:
            if rng.random() < HANDLESS_SHARE:
                keypoints[HANDS, 2] = known[HANDS] = 0
            picture = draw(Skeleton(keypoints[None], picture.shape[:2], fps=1), "bold")[0]
        elif rng.random() < COVERED_HAND_SHARE:
            cover_hand(picture, keypoints, rng)
        return picture, keypoints, known

    def _somebody(self, rng: np.random.Generator) -> tuple[int, int]:
        """A clip and one of its frames."""
        frames = self.frames.shape[1]
        frame = 0 if rng.random() < REFERENCE_SHARE else int(rng.integers(min(1, frames - 1), frames))
        return int(rng.choice(self.clips)), frame

    def _crop(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if rng.random() < EMPTY_SHARE:
            zeros = np.zeros((NUM_KEYPOINTS, 3), np.float32)
            return degraded(self._empty(rng, POSE_PIXELS), rng), zeros, zeros[:, 2]
        picture, keypoints, known = self.picture(rng, rng.random() < DRAWN_SHARE)
        box = person_box(keypoints)
        box = box + np.tile(box[2:] - box[:2], 2) * rng.normal(0, 0.04, 4)
        centre, extent = (part[0] for part in crop_geometry(box))
        extent = extent * rng.uniform(0.9, 1.3)
        turn = cv2.getRotationMatrix2D((CROP_WIDTH / 2, CROP_HEIGHT / 2), rng.normal(0, 6), 1)      # degrees
        transform = turn[:, :2] @ warp(centre, extent) + (0, 0, 1) * turn[:, 2:]                    # (2, 3)
        crop = cv2.warpAffine(picture, transform, (CROP_WIDTH, CROP_HEIGHT))
        xy = keypoints[:, :2] @ transform[:, :2].T + transform[:, 2]                                # (133, 2)
        inside = ((xy >= 0) & (xy < (CROP_WIDTH, CROP_HEIGHT))).all(axis=1)
        confidence = keypoints[:, 2] * inside
        points = np.column_stack([xy * BINS_PER_PIXEL, confidence]).astype(np.float32)
        weight = (inside * known * (0.2 + 0.8 * confidence)).astype(np.float32)
        return degraded(cv2.resize(crop, POSE_PIXELS, interpolation=cv2.INTER_AREA), rng), points, weight

    def _scene(self, rng: np.random.Generator) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """A letterboxed picture (160, 160, 3) with up to three people side by side, and its cells."""
        if rng.random() < EMPTY_SHARE * 1.5:
            short = int(rng.integers(80, PERSON_PIXELS + 1))
            size = (short, PERSON_PIXELS) if rng.random() < 0.5 else (PERSON_PIXELS, short)
            return letterboxed(degraded(self._empty(rng, size), rng)), cell_targets(np.zeros((0, 4)))
        people = int(rng.choice((1, 2, 3), p=(0.75, 0.15, 0.1)))
        drawn = rng.random() < DRAWN_SHARE
        aspect = rng.uniform(0.5, 0.8) if people == 1 and rng.random() < 0.6 else rng.uniform(0.8, 1.8)
        width, height = (int(PERSON_PIXELS * side) for side in (min(1, aspect), min(1, 1 / aspect)))
        scene = np.zeros((height, width, 3), np.uint8) if drawn else self._empty(rng, (width, height))
        boxes, column = [], width / people
        for person in range(people):
            picture, keypoints, _ = self.picture(rng, drawn)
            picture, box = zoomed(picture, person_box(keypoints), rng)
            fit = min(column / picture.shape[1], height / picture.shape[0])
            fit *= 1 if rng.random() < 0.5 else rng.uniform(0.5, 1)
            small = cv2.resize(picture, None, fx=fit, fy=fit, interpolation=cv2.INTER_AREA)[:height, :int(column)]
            top = int(rng.integers(0, height - small.shape[0] + 1))
            left = int(person * column + rng.uniform(0, max(0, column - small.shape[1])))
            small = small[:, :width - left]
            scene[top:top + small.shape[0], left:left + small.shape[1]] = small
            boxes.append(box * fit + np.array((left, top, left, top)))
        limits = np.array((width, height, width, height))
        return letterboxed(degraded(scene, rng)), cell_targets(np.clip(boxes, 0, limits))

    def _empty(self, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        """A picture of (width, height) without a person: a strip beside one, stretched, or plain colours."""
        picture, keypoints, _ = self.picture(rng)
        x0, _, x1, _ = person_box(keypoints)
        sides = picture[:, :max(0, int(x0) - 4)], picture[:, int(x1) + 4:]
        strips = [strip for strip in sides if strip.shape[1] > 12]
        if strips and rng.random() < 0.8:
            return cv2.resize(strips[rng.integers(len(strips))], size, interpolation=cv2.INTER_LINEAR)
        most = 6 if rng.random() < 0.6 else 100                 # colour patches, or noise
        corners = rng.integers(0, 256, (rng.integers(1, most), rng.integers(1, most), 3)).astype(np.uint8)
        smoothness = cv2.INTER_NEAREST if rng.random() < 0.5 else cv2.INTER_LINEAR
        return cv2.resize(corners, size, interpolation=smoothness)


def unusual(keypoints: np.ndarray) -> float:
    """How far a person (133, 3) is turned from the camera and how high the arms are, in lengths of the trunk."""
    right, left = keypoints[RIGHT_SHOULDER, :2], keypoints[LEFT_SHOULDER, :2]
    shoulders, hips = (right + left) / 2, keypoints[[RIGHT_HIP, LEFT_HIP], :2].mean(axis=0)
    trunk = max(float(np.linalg.norm(hips - shoulders)), 1.0)                                   # pixels
    raised = max(0.0, float(shoulders[1] - keypoints[[RIGHT_WRIST, LEFT_WRIST], 1].min()))
    return (raised - float(left[0] - right[0])) / trunk


def person_box(keypoints: np.ndarray) -> np.ndarray:
    """The box (4,) around a person's points (133, 3), with room for the top of the head, which has no point."""
    placed = keypoints[(keypoints[:, :2] != 0).any(axis=1), :2]
    low, high = placed.min(axis=0), placed.max(axis=0)
    face = keypoints[FACE, 1]
    low[1] = min(low[1], face.min() - 0.45 * (face.max() - face.min()))
    margin = 0.02 * (high[1] - low[1])
    return np.concatenate([low - margin, high + margin]).astype(np.float64)


def cover_hand(picture: np.ndarray, keypoints: np.ndarray, rng: np.random.Generator) -> None:
    """Hide one hand behind a flat patch, in place: its points are then unseen."""
    hand = (LEFT_HAND, RIGHT_HAND)[rng.integers(2)]
    low, high = keypoints[hand, :2].min(axis=0) - 3, keypoints[hand, :2].max(axis=0) + 3
    x0, y0, x1, y1 = np.concatenate([low, high]).astype(int).clip(0).tolist()
    source = picture[rng.integers(picture.shape[0]), rng.integers(picture.shape[1])]
    picture[y0:y1, x0:x1] = source
    covered = (keypoints[:, :2] >= low).all(axis=1) & (keypoints[:, :2] <= high).all(axis=1)
    covered[:FACE.start] = False            # body joints are guessed from the limb even when covered
    keypoints[covered, 2] = 0


def zoomed(picture: np.ndarray, box: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Half the pictures cut closer to the person, sometimes into them: the picture and the box in it."""
    if rng.random() < 0.5:
        return picture, box
    height, width = picture.shape[:2]
    inset = 0.15 * (box[2:] - box[:2])
    x0, y0 = (rng.uniform(np.zeros(2), np.maximum(box[:2] + inset, 1))).astype(int)
    x1, y1 = (rng.uniform(np.minimum(box[2:] - inset, (width - 1, height - 1)), (width, height))).astype(int)
    return picture[y0:max(y1, y0 + 8), x0:max(x1, x0 + 8)], box - np.array((x0, y0, x0, y0))


def degraded(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Colour shift, softness, noise and JPEG blocks, each sometimes."""
    height, width = picture.shape[:2]
    if rng.random() < 0.7:
        gain, offset = rng.normal(1, 0.12, 3) * rng.normal(1, 0.12), rng.normal(0, 8, 3)
        table = (np.arange(256)[:, None] * gain + offset).clip(0, 255).astype(np.uint8)             # (256, 3)
        picture = cv2.LUT(picture, table[None])
    if rng.random() < 0.6:
        factor = rng.uniform(0.35, 1)
        small = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        picture = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.4:
        noise = rng.normal(0, rng.uniform(1, 9), (height, width, 1 if rng.random() < 0.5 else 3))
        picture = (picture + noise).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        _, encoded = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))))
        picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    return picture[..., ::-1] if rng.random() < 0.08 else picture


def letterboxed(scene: np.ndarray) -> np.ndarray:
    """A scene of at most 160 x 160 at the top left of a grey square, as `yolox.letterbox` pads."""
    square = np.full((PERSON_PIXELS, PERSON_PIXELS, 3), PAD_VALUE, np.uint8)
    square[:scene.shape[0], :scene.shape[1]] = scene
    return square


def cell_targets(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """People (n, 4) in scene pixels to per-cell owned (400,), its weight (400,) and box numbers (400, 4), in cells.

    The cells around a person's centre own the person; those a little farther out count less, either way.
    """
    rows, columns = np.divmod(np.arange(PERSON_CELLS**2), PERSON_CELLS)
    corner = np.stack([columns, rows], axis=1).astype(np.float32)                       # (400, 2)
    owned, counted = np.zeros(len(corner), np.float32), np.ones(len(corner), np.float32)
    numbers = np.zeros((len(corner), 4), np.float32)
    for box in boxes * (PERSON_CELLS / PERSON_PIXELS):
        centre, extent = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], 0.25)
        distance = np.abs(corner + 0.5 - centre).max(axis=1)                            # (400,)
        counted[(distance < 2) & (owned == 0)] = 0.2
        mine = distance <= 0.8
        owned[mine], counted[mine] = 1, 5
        numbers[mine] = np.concatenate([centre - corner[mine], np.broadcast_to(np.log(extent), corner[mine].shape)], 1)
    return owned, counted, numbers
