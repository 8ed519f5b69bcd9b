"""One person followed through the frames: boxes joined into tracks, the choice of whom to follow, gaps bridged."""
from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from dwpose.networks import overlap
from dwpose.skeleton import is_present, Skeleton

log = logging.getLogger(__name__)

SAME_PERSON_OVERLAP = 0.3       # IoU between a box and the last box of a track
SAME_PERSON_DISTANCE = 0.6      # or centres this close, in box heights, with heights within a factor of two
CROWDED = 0.1                   # share of the frames with somebody else in them that is worth a warning
CHOICES = "largest", "center", "left", "right"           # who, where there are several; left, right: in the picture


def chosen_track(boxes: list[np.ndarray], size: tuple[int, int], person: str | int = "largest",
                 source: str = "frames") -> tuple[np.ndarray, np.ndarray]:
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
    if crowded > CROWDED * len(boxes):
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
