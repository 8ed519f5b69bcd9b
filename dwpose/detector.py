"""frames -> `Skeleton`: find the people, follow one of them through the frames, read that person's keypoints.

Where we leave the published code: it takes everybody in a frame in order of confidence and, when nobody is found,
reads a "person" off the whole picture. Here one person is followed, and nobody is nobody.
"""
from __future__ import annotations

import os
from dataclasses import dataclass
from logging import getLogger

import numpy as np

from dwpose.pose_head import PoseHead
from dwpose.skeleton import BODY, NUM_KEYPOINTS, SEEN_CONFIDENCE, Skeleton
from dwpose.yolox import PERSON_SCORE, PersonDetector, overlap

logger = getLogger(__name__)

MIN_BODY_KEYPOINTS = 8          # confident body keypoints that make a person
SAME_PERSON_OVERLAP = 0.3       # IoU between a box and the last box of a track
SAME_PERSON_DISTANCE = 0.6      # or centres this close, in box heights, with heights within a factor of two


@dataclass(frozen=True)
class PoseDetector:
    """Two ONNX networks with the contracts of yolox_l.onnx and dw-ll_ucoco_384.onnx, official or ours."""

    people: PersonDetector
    head: PoseHead

    @classmethod
    def load(cls, detector_onnx: str | os.PathLike, pose_onnx: str | os.PathLike, device: str = "cpu", *,
             num_threads: int = 0, detector_channels: str = "rgb", pose_channels: str = "rgb") -> PoseDetector:
        """num_threads: CPU threads per network, 0 = all. Channel orders default to what MimicMotion trained with."""
        return cls(PersonDetector.load(detector_onnx, device, num_threads, detector_channels),
                   PoseHead.load(pose_onnx, device, num_threads, pose_channels))

    def detect(self, frames: np.ndarray, fps: float = 1.0, *, person: str | int = "largest",
               source: str = "frames") -> Skeleton:
        """One person through all frames.

        frames: (F, H, W, 3) uint8 RGB. person: "largest", "center", or an index counted from the left.
        source: what to call the frames in messages, e.g. their file. Frames without the person have confidence 0.
        """
        frames = np.asarray(frames)
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not len(frames):
            raise ValueError(f"{source}: expected frames (F, H, W, 3) uint8 RGB (found {frames.shape} {frames.dtype})")
        boxes = self.people(frames)                                             # F times (n, 5)
        if not any(map(len, boxes)):
            raise ValueError(f"{source}: no person found (in {len(frames)} frames no box scores above {PERSON_SCORE}): "
                             "use a front-facing picture of the whole body")
        chosen, track = chosen_track(boxes, frames.shape[1:3], person, source)  # (K,), (K, 4)
        keypoints = np.zeros((len(frames), NUM_KEYPOINTS, 3), np.float32)
        keypoints[chosen] = self.head(frames, chosen, track)
        keypoints[..., 2] = keypoints[..., 2].clip(0, 1)                        # raw scores may exceed 1
        keypoints[keypoints[..., 2] == 0] = 0
        best = int((keypoints[:, BODY, 2] >= SEEN_CONFIDENCE).sum(axis=1).max())
        if best < MIN_BODY_KEYPOINTS:
            raise ValueError(f"{source}: no person with >= {MIN_BODY_KEYPOINTS} confident body keypoints "
                             f"(best has {best}): use a front-facing picture of the whole body")
        missing = np.setdiff1d(np.arange(len(frames)), chosen)
        if len(missing):
            logger.warning("%s: the person is not found in %d of %d frames (%s): they stay empty",
                           source, len(missing), len(frames), frame_ranges(missing))
        return Skeleton(keypoints, frames.shape[1:3], fps)

    def detect_everybody(self, frames: np.ndarray) -> list[np.ndarray]:
        """Per frame all people (n, 133, 3), best box first, with raw scores as published; n may be 0."""
        boxes = self.people(frames)
        owner = np.repeat(np.arange(len(frames)), [len(found) for found in boxes])          # (N,) frame of each box
        keypoints = self.head(frames, owner, np.concatenate(boxes)[:, :4])                  # (N, 133, 3)
        return [keypoints[owner == frame] for frame in range(len(frames))]


def chosen_track(boxes: list[np.ndarray], size: tuple[int, int], person: str | int = "largest",
                 source: str = "frames") -> tuple[np.ndarray, np.ndarray]:
    """Frame indices (K,) and boxes (K, 4) of one person. boxes: F times (n, 5); size: (height, width) pixels."""
    tracks = people_tracks(boxes)
    areas = [sum(_area(box) for _, box in track) for track in tracks]
    if person == "largest":
        best = int(np.argmax(areas))
    elif person == "center":
        middle = np.array(size[::-1]) / 2
        near = [sum(_area(box) / (1 + np.linalg.norm((box[:2] + box[2:4]) / 2 - middle) / min(size)) ** 4
                    for _, box in track) for track in tracks]
        best = int(np.argmax(near))
    elif isinstance(person, int) and not isinstance(person, bool):
        if not 0 <= person < len(tracks):
            raise ValueError(f"{source}: person {person} asked for ({len(tracks)} found): "
                             f"choose 0 to {len(tracks) - 1}, counted from the left, or largest or center")
        best = int(np.argsort([np.mean([box[0] + box[2] for _, box in track]) for track in tracks])[person])
    else:
        raise ValueError(f"person: expected largest, center or an index from the left (found {person!r})")
    frames, track = zip(*tracks[best])
    return np.array(frames), np.stack(track)[:, :4]


def people_tracks(boxes: list[np.ndarray]) -> list[list[tuple[int, np.ndarray]]]:
    """Boxes (n, 5) of every frame, joined into one list of (frame, box) per person.

    The most alike pair of track and box is joined first, so that two people who stand close keep their identities.
    """
    tracks: list[list[tuple[int, np.ndarray]]] = []
    for frame, found in enumerate(boxes):
        pairs = sorted(((_likeness(track[-1][1], box), t, b) for t, track in enumerate(tracks)
                        for b, box in enumerate(found)), reverse=True)
        joined_tracks, joined_boxes = set(), set()
        for likeness, t, b in pairs:
            if likeness > 0 and t not in joined_tracks and b not in joined_boxes:
                tracks[t].append((frame, found[b]))
                joined_tracks.add(t)
                joined_boxes.add(b)
        tracks += [[(frame, box)] for b, box in enumerate(found) if b not in joined_boxes]
    return tracks


def _likeness(before: np.ndarray, after: np.ndarray) -> float:
    """0 for boxes that cannot be one person, else larger for more overlap and nearer centres."""
    shared = float(overlap(before, after[None])[0])
    heights = before[3] - before[1], after[3] - after[1]
    centres = (before[:2] + before[2:4]) / 2, (after[:2] + after[2:4]) / 2
    distance = float(np.linalg.norm(centres[1] - centres[0]) / max(*heights, 1e-6))
    near = distance < SAME_PERSON_DISTANCE and max(heights) < 2 * min(heights)
    return max(1e-6, 1 + shared - distance) if shared > SAME_PERSON_OVERLAP or near else 0.0


def _area(box: np.ndarray) -> float:
    return float(np.prod(np.maximum(box[2:4] - box[:2], 0)))


def frame_ranges(frames: np.ndarray) -> str:
    """Sorted frame numbers as people write them: 3-5, 9"""
    runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
