"""frames -> `Skeleton`: find the people, follow one of them through the frames, read that person's keypoints.

Where we leave the published code: it takes everybody in a frame in order of confidence and, when nobody is found,
reads a "person" off the whole picture. Here one person is followed, and nobody is nobody.
"""
from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Protocol

import numpy as np

from dwpose.networks import FRAMES_PER_RUN, overlap, PERSON_SCORE, PersonDetector, PoseHead
from dwpose.plausibility import MIN_BODY_KEYPOINTS
from dwpose.skeleton import BODY, is_present, is_seen, NUM_KEYPOINTS, Skeleton

log = logging.getLogger(__name__)

# -------------------------------------------------------------------------------------------------------- the detector

CROWD = 10                      # of more people than this, the smallest are left out


class Detector(Protocol):
    """Finds people in frames and follows one of them. A class that inherits from this one has `find_with_boxes` and `detect_everybody`."""

    def find_with_boxes(self, frames: np.ndarray | Iterable[np.ndarray], fps: float = 1.0, *, person: str | int = "largest",
                        source: str = "frames", tell_others: bool = True) -> tuple[Skeleton, list[np.ndarray]]:
        """As `find`, and per frame the boxes (n, 5) of everybody: left, top, right, bottom in pixels, score."""

    def detect_everybody(self, frames: np.ndarray) -> list[np.ndarray]:
        """Per frame all people (n, 133, 3), each frame by itself, the surest person first; n may be 0."""

    def find(self, frames: np.ndarray | Iterable[np.ndarray], fps: float = 1.0, *, person: str | int = "largest",
             source: str = "frames", tell_others: bool = True) -> Skeleton:
        """One person through all frames. Frames without the person have confidence 0.

        frames: (F, H, W, 3) uint8 RGB, or one frame after the other, of which only the people are kept. person: "largest",
        "center", "left", "right", or an index counted from the left. source: what to call the frames in messages.
        tell_others: whether a warning says that others are left out.
        """
        return self.find_with_boxes(frames, fps, person=person, source=source, tell_others=tell_others)[0]

    def detect(self, frames: np.ndarray | Iterable[np.ndarray], fps: float = 1.0, *, person: str | int = "largest",
               source: str = "frames", max_gap_seconds: float = 0.0) -> Skeleton:
        """One person through all frames, as `find`; gaps up to max_gap_seconds are filled, and longer ones named."""
        return with_short_gaps_filled(self.find(frames, fps, person=person, source=source), source, max_gap_seconds)


def checked(frames: np.ndarray | Iterable[np.ndarray], source: str) -> Iterator[np.ndarray]:
    """The frames, of which there is at least one, each (H, W, 3) uint8 of the first one's size."""
    size = None
    for frame in frames:
        size = size or frame.shape[:2]
        if frame.ndim != 3 or frame.shape != (*size, 3) or frame.dtype != np.uint8 or 0 in size:
            raise ValueError(f"{source}: expected frames (F, H, W, 3) uint8 RGB (found {frame.shape} {frame.dtype})")
        yield frame
    if size is None:
        raise ValueError(f"{source}: expected frames (F, H, W, 3) uint8 RGB (found none)")


@dataclass(frozen=True)
class PoseDetector(Detector):
    """Two ONNX networks with the contracts of yolox_l.onnx and dw-ll_ucoco_384.onnx, official or ours."""

    people: PersonDetector
    head: PoseHead

    @classmethod
    def load(cls, detector_onnx: str | os.PathLike, pose_onnx: str | os.PathLike, device: str = "cpu", *,
             num_threads: int = 0, detector_channels: str = "rgb", pose_channels: str = "rgb") -> PoseDetector:
        """num_threads: CPU threads per network, 0 = all. Channel orders default to what MimicMotion trained with."""
        return cls(PersonDetector.load(detector_onnx, device, num_threads, detector_channels),
                   PoseHead.load(pose_onnx, device, num_threads, pose_channels))

    def find_with_boxes(self, frames: np.ndarray | Iterable[np.ndarray], fps: float = 1.0, *, person: str | int = "largest",
                        source: str = "frames", tell_others: bool = True) -> tuple[Skeleton, list[np.ndarray]]:
        boxes, crops, size = self._people(frames, source)                       # F times (n, 5), n crops
        remedy = f"use a {'front-facing picture of' if len(boxes) == 1 else 'clip with'} the whole body"
        if not any(map(len, boxes)):
            raise ValueError(f"{source}: no person found (frames: {len(boxes)}, no box scores above {PERSON_SCORE}): {remedy}")
        chosen, places = chosen_track(boxes, size, person, source, tell_others)             # (K,), (K,)
        track = np.stack([boxes[frame][place, :4] for frame, place in zip(chosen, places)])     # (K, 4)
        pictures = [crops[frame][place] for frame, place in zip(chosen, places)]                # K times (384, 288, 3)
        keypoints = np.zeros((len(boxes), NUM_KEYPOINTS, 3), np.float32)
        keypoints[chosen] = self.head.read(pictures, track)
        keypoints[..., 2] = keypoints[..., 2].clip(0, 1)                        # raw scores may exceed 1
        keypoints[~is_present(keypoints)] = 0
        best = int(is_seen(keypoints[:, BODY]).sum(axis=1).max())
        if best < MIN_BODY_KEYPOINTS:
            raise ValueError(f"{source}: no person with >= {MIN_BODY_KEYPOINTS} confident body keypoints "
                             f"(best has {best}): {remedy}")
        return Skeleton(keypoints, size, fps), boxes

    def _people(self, frames: np.ndarray | Iterable[np.ndarray],
                source: str) -> tuple[list[np.ndarray], list[list[np.ndarray]], tuple[int, int]]:
        """Per frame the people's boxes (n, 5) and n crops (384, 288, 3), and the frames' (height, width)."""
        boxes, crops = [], []
        for batch in batches(checked(frames, source), FRAMES_PER_RUN):
            for frame, found in zip(batch, self.people(batch)):
                found = found[np.sort(np.argsort(-areas(found), kind="stable")[:CROWD])]
                boxes.append(found)
                crops.append(self.head.crops(frame, found[:, :4]))
        return boxes, crops, batch[0].shape[:2]

    def detect_everybody(self, frames: np.ndarray) -> list[np.ndarray]:
        """Per frame all people (n, 133, 3), best box first, with raw scores as published; n may be 0."""
        boxes = self.people(frames)
        owner = np.repeat(np.arange(len(frames)), [len(found) for found in boxes])          # (N,) frame of each box
        keypoints = self.head(frames, owner, np.concatenate(boxes)[:, :4])                  # (N, 133, 3)
        return [keypoints[owner == frame] for frame in range(len(frames))]


def batches(frames: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    """The frames in lists of `size`, the last one shorter."""
    remaining = iter(frames)
    while batch := list(islice(remaining, size)):
        yield batch


# --------------------------------------------------------------------------------------- one person through the frames

SAME_PERSON_OVERLAP = 0.3       # IoU between a box and the last box of a track
SAME_PERSON_DISTANCE = 0.6      # or centres this close, in box heights, with heights within a factor of two
CROWDED = 0.1                   # share of the frames with somebody else in them that is worth a warning
CHOICES = "largest", "center", "left", "right"           # who, where there are several; left, right: in the picture


def chosen_track(boxes: list[np.ndarray], size: tuple[int, int], person: str | int = "largest",
                 source: str = "frames", tell_others: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """One person's frames (K,) and rows in boxes[frame] (K,). boxes: F times (n, 5); size: (height, width) pixels."""
    tracks = people_tracks(boxes)
    paths = [np.stack([boxes[frame][place] for frame, place in track]) for track in tracks]         # (K, 5) each
    if person == "largest":
        best = int(np.argmax([areas(path).sum() for path in paths]))
    elif person == "center":
        middle = np.array(size[::-1]) / 2
        away = [np.linalg.norm((path[:, :2] + path[:, 2:4]) / 2 - middle, axis=1) / min(size) for path in paths]
        best = int(np.argmax([(areas(path) / (1 + far) ** 4).sum() for path, far in zip(paths, away)]))
    elif person in ("left", "right"):
        best = int((np.argmin if person == "left" else np.argmax)([(path[:, 0] + path[:, 2]).mean() for path in paths]))
    elif isinstance(person, int) and not isinstance(person, bool):
        if not 0 <= person < len(tracks):
            raise ValueError(f"{source}: person {person} asked for ({len(tracks)} found): "
                             f"choose 0 to {len(tracks) - 1}, counted from the left, or largest, center, left or right")
        best = int(np.argsort([(path[:, 0] + path[:, 2]).mean() for path in paths])[person])
    else:
        raise ValueError(f"person: expected {', '.join(CHOICES)} or an index from the left (found {person!r})")
    track = with_returns(best, tracks, paths, source)
    crowded = sum(len(found) > 1 for found in boxes)
    if tell_others and crowded > CROWDED * len(boxes):
        log.warning("%s: more than one person in %d of %d frames: one is followed (%s), the others are left out",
                    source, crowded, len(boxes), person)
    return tuple(np.array(track).T)


def with_returns(best: int, tracks: list[list[tuple[int, int]]], paths: list[np.ndarray],
                 source: str) -> list[tuple[int, int]]:
    """The chosen track, and those of people as tall who are there only while it is not: somebody who comes back."""
    heights = [float(np.median(path[:, 3] - path[:, 1])) for path in paths]                         # pixels
    joined = list(tracks[best])
    for other in sorted(range(len(tracks)), key=lambda track: -areas(paths[track]).sum()):
        apart = not {frame for frame, _ in joined} & {frame for frame, _ in tracks[other]}
        if apart and max(heights[best], heights[other]) < 2 * min(heights[best], heights[other]):
            joined = sorted(joined + tracks[other])
            log.warning("%s: the person is lost and taken up again elsewhere in the picture in frame %d",
                        source, max(tracks[other][0][0], tracks[best][0][0]))
    return joined


def people_tracks(boxes: list[np.ndarray]) -> list[list[tuple[int, int]]]:
    """Boxes (n, 5) of every frame, joined into one list of (frame, row in boxes[frame]) per person.

    The most alike pair of track and box is joined first, so that two people who stand close keep their identities.
    """
    tracks: list[list[tuple[int, int]]] = []
    for frame, found in enumerate(boxes):
        last = [boxes[track[-1][0]][track[-1][1]] for track in tracks]
        pairs = sorted(((_likeness(before, box), t, b) for t, before in enumerate(last)
                        for b, box in enumerate(found)), reverse=True)
        joined_tracks, joined_boxes = set(), set()
        for likeness, t, b in pairs:
            if likeness > 0 and t not in joined_tracks and b not in joined_boxes:
                tracks[t].append((frame, b))
                joined_tracks.add(t)
                joined_boxes.add(b)
        tracks += [[(frame, b)] for b in range(len(found)) if b not in joined_boxes]
    return tracks


def _likeness(before: np.ndarray, after: np.ndarray) -> float:
    """0 for boxes that cannot be one person, else larger for more overlap and nearer centres."""
    shared = float(overlap(before, after[None])[0])
    heights = before[3] - before[1], after[3] - after[1]
    centres = (before[:2] + before[2:4]) / 2, (after[:2] + after[2:4]) / 2
    distance = float(np.linalg.norm(centres[1] - centres[0]) / max(*heights, 1e-6))
    near = distance < SAME_PERSON_DISTANCE and max(heights) < 2 * min(heights)
    return max(1e-6, 1 + shared - distance) if shared > SAME_PERSON_OVERLAP or near else 0.0


def areas(boxes: np.ndarray) -> np.ndarray:
    """Square pixels of boxes (n, 4 or more), (n,)."""
    return np.prod(np.maximum(boxes[:, 2:4] - boxes[:, :2], 0), axis=1)


def with_short_gaps_filled(skeleton: Skeleton, source: str, max_seconds: float) -> Skeleton:
    """Gaps of up to max_seconds between two frames with the person get points on straight lines between them.

    A point is bridged when it is seen on both sides, with the weaker confidence. The published code reads a "person"
    off the whole picture in such frames. source: what to call the frames in the warning.
    """
    present = np.flatnonzero(skeleton.present.any(axis=1))                              # (K,) frames with the person
    missing = np.setdiff1d(np.arange(len(skeleton)), present)
    if not len(missing) or not len(present):
        return skeleton
    keypoints, bridged = skeleton.keypoints.copy(), []
    for before, after in zip(present, present[1:]):
        length = after - before - 1
        if 0 < length <= max_seconds * skeleton.fps + 1e-6:
            keypoints[before + 1:after] = between(keypoints[before], keypoints[after], length)
            bridged += range(before + 1, after)
    empty = np.setdiff1d(missing, bridged)
    parts = [f"{frame_ranges(np.array(frames))} {fate}" for frames, fate in
             ((bridged, "bridged from both sides"), (empty, "stay empty")) if len(frames)]
    log.warning("%s: the person is not found in %d of %d frames: %s",
                source, len(missing), len(skeleton), ", ".join(parts))
    return replace(skeleton, keypoints=keypoints)


def between(before: np.ndarray, after: np.ndarray, count: int) -> np.ndarray:
    """`count` evenly spaced steps from keypoints (133, 3) to keypoints (133, 3), without the two: (count, 133, 3)."""
    share = (np.arange(1, count + 1) / (count + 1))[:, None, None]                      # (count, 1, 1)
    steps = before + (after - before) * share                                           # (count, 133, 3)
    steps[..., 2] = np.minimum(before[:, 2], after[:, 2])
    steps[~is_present(steps)] = 0
    return steps


def frame_ranges(frames: np.ndarray) -> str:
    """Sorted frame numbers as people write them: 3-5, 9"""
    runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
