"""People in photographs -> `Skeleton`, on a CPU, with MediaPipe's small networks: the same face as dwpose/detector.py.

The published graph looks for one person in the whole picture. Here the picture is also searched in overlapping and in
turned tiles, so that several, small and lying people are found; each is then read, and in a video followed, as the
graph does. Confidences mean what DWPose's do, see `dwpose.skeleton.is_seen`.
"""
from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice

import cv2
import numpy as np

from dwpose.detector import areas, checked, chosen_track, CROWD, Detector
from dwpose.mediapipe_networks import DEFAULT_FOLDER, Networks, Pose, Region, whole
from dwpose.mediapipe_person import (as_keypoints, FollowedPerson, has_sure_face, person_box, person_mask,
                                     Reading, region_of_detection, unsure)
from dwpose.plausibility import implausible
from dwpose.skeleton import BODY, is_seen, NUM_KEYPOINTS, Skeleton

LONGEST_SIDE = 2048             # pixels: larger pictures are read at this size, where crops are still far below it
FOLLOWED = 4                    # and in a video of more than this
TILES_PER_FRAME = 2             # of a video, in turn, while somebody is followed
TILES_OF_SEARCH = 6             # and while nobody is
SMALLEST_TILE = 1 / 3           # of the largest person's region: smaller people beside that one do not count
READ_AGAIN = 2                  # times at most that somebody new is read again
SAME_PERSON = 0.15              # of the body's extent that the same body points may lie apart on average
AROUND_LOST = 2.0               # where somebody was lost, so many sides of the last region are looked at
TILE_SIDES = (1.0, 0.5, 0.25)   # of the picture's longer side, in the order they are searched
OUTER_SIDE = 2.0                # for somebody who does not fit into the picture
TURNS = (np.pi / 2, -np.pi / 2, np.pi)      # radians, for where nobody stands upright
TURNED_SIDES = (1.0, 0.5)
SAME_PLACE = 0.25               # of the smaller side: detections whose centres lie so near are of one person,
SAME_SIZE = 1.6                 # if their sides differ no more than so many times
NEAR = 0.05                     # of a region's side: it need not be read again
SAME_HEAD = 0.08                # of the smaller side: readings whose heads lie so near on average are of one person
HEAD, BODY_CORE = slice(0, 11), slice(0, 29)        # of the pose's points


@dataclass(frozen=True)
class Seen:
    """One person of one frame: what was read, and as keypoints."""

    reading: Reading            # in pixels of the picture that was read, which may be smaller than the frame
    keypoints: np.ndarray       # (133, 3) frame pixels
    doubt: str | None           # what speaks against its being a person

    @property
    def box(self) -> np.ndarray:
        return person_box(self.keypoints)


@dataclass(frozen=True)
class MediaPipeDetector(Detector):
    """MediaPipe's networks. A single frame is read as a picture by itself."""

    networks: Networks

    @classmethod
    def load(cls, folder: str | os.PathLike = DEFAULT_FOLDER, *, num_threads: int = 1) -> MediaPipeDetector:
        """folder: what `scripts/download_weights.py photograph` fills. num_threads: CPU threads per network."""
        return cls(Networks.load(folder, num_threads))

    def find_with_boxes(self, frames: np.ndarray | Iterable[np.ndarray], fps: float = 1.0, *, person: str | int = "largest",
                        source: str = "frames", tell_others: bool = True) -> tuple[Skeleton, list[np.ndarray]]:
        remaining = checked(frames, source)
        first = list(islice(remaining, 2))
        size = first[0].shape[:2]
        following = _Following(self.networks)
        people = ([self._everybody(first[0])] if len(first) == 1 else
                  [following(frame, 1 / fps) for frame in chain(first, remaining)])
        frames_of_person, seen = chosen_person(people, size, person, source, tell_others)
        keypoints = np.zeros((len(people), NUM_KEYPOINTS, 3), np.float32)
        keypoints[frames_of_person] = [one.keypoints for one in seen]
        return Skeleton(keypoints, size, fps), [boxes_of(frame) for frame in people]

    def detect_everybody(self, frames: np.ndarray) -> list[np.ndarray]:
        people = [[seen for seen in self._everybody(frame) if not seen.doubt] for frame in checked(frames, "frames")]
        return [np.array([seen.keypoints for seen in sorted(found, key=lambda seen: -seen.box[4])],
                         np.float32).reshape(-1, NUM_KEYPOINTS, 3) for found in people]

    def mask_of(self, image: np.ndarray, person: Skeleton) -> np.ndarray | None:
        """(H, W) float32 in [0, 1]: how surely each pixel is that person's (F = 1); None where nobody is found there."""
        image, = checked([image], "picture")
        seen = min(self._everybody(image), key=lambda seen: apart(seen.keypoints, person), default=None)
        if seen is None or apart(seen.keypoints, person) > SAME_PERSON:
            return None
        mask = person_mask(seen.reading.pose, shrunk(image).shape[:2])
        return cv2.resize(mask, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    def _everybody(self, frame: np.ndarray) -> list[Seen]:
        """The people of a picture by itself; where nobody is, those with a doubt."""
        sight = _Sight(self.networks, frame)
        sight.search_everywhere()
        return largest([seen for _, seen in sight.people], CROWD) or sight.doubtful


@dataclass
class _Sight:
    """One frame in which people are found and read, each once."""

    networks: Networks
    frame: np.ndarray
    seconds: float = 1.0                # since the frame before
    people: list[tuple[FollowedPerson, Seen]] = field(default_factory=list)
    doubtful: list[Seen] = field(default_factory=list)

    def __post_init__(self):
        self.picture = shrunk(self.frame)
        self.size = self.picture.shape[:2]

    def search_everywhere(self) -> None:
        """From the whole picture to its parts; where nobody is found upright, elsewhere and turned."""
        for share in TILE_SIDES:
            largest_side = max((seen.reading.pose.region.side for _, seen in self.people), default=0)
            if share * max(self.size) >= SMALLEST_TILE * largest_side:
                self.search(tiles(self.size, (share,)))
        for looked_at in last_resorts(self.size):
            if self.people:
                return
            self.search(looked_at)

    def search(self, looked_at: list[Region]) -> None:
        """Read who is detected in these regions and not yet read."""
        for region in found(self.networks, self.picture, looked_at):
            if len(self.people) < CROWD and not any(belongs_to(region, pose) for pose in self._known()):
                self.read_new(region, looked_at[0].angle)

    def read_new(self, region: Region, turned_by: float) -> None:
        """Somebody detected, read again where the pose asks for another region. turned_by: the tile, radians."""
        person = FollowedPerson(self.networks, region)
        reading = person.read(self.picture, self.seconds)
        for _ in range(READ_AGAIN):
            if reading is None or near(person.region, region):
                break
            region = person.region
            person = FollowedPerson(self.networks, region)
            reading = person.read(self.picture, self.seconds)
        self._add(person, reading, turned_by)

    def read_known(self, person: FollowedPerson) -> None:
        """Somebody of the frame before."""
        self._add(person, person.read(self.picture, self.seconds), None)

    def _known(self) -> list[Pose]:
        """The poses read so far, and those that are a face without enough of a body: what lies in them is no one else."""
        faces = [seen.reading.pose for seen in self.doubtful if has_sure_face(seen.reading)]
        return [seen.reading.pose for _, seen in self.people] + faces

    def _add(self, person: FollowedPerson, reading: Reading | None, turned_by: float | None) -> None:
        if reading is None or any(same_head(reading.pose, pose) for pose in self._known()):
            return
        keypoints = as_keypoints(reading, self.size)
        keypoints[:, :2] *= np.divide(self.frame.shape[:2], self.size)[::-1]
        doubt = implausible(keypoints) or (None if turned_by is None else unsure(reading, self.size, turned_by))
        seen = Seen(reading, keypoints, doubt)
        if doubt:
            self.doubtful.append(seen)
        else:
            self.people.append((person, seen))


@dataclass
class _Following:
    """Everybody of a video, frame after frame: those of the frame before, and whom a few tiles at a time show."""

    networks: Networks
    people: list[FollowedPerson] | None = None      # None before the first frame
    num_tiles: int = 0                              # looked at so far

    def __call__(self, frame: np.ndarray, seconds: float) -> list[Seen]:
        """The people of the next frame, `seconds` after the one before; where nobody is, those with a doubt."""
        sight = _Sight(self.networks, frame, seconds)
        if self.people is None:
            sight.search_everywhere()
        else:
            before = [person.region for person in self.people]
            for person in self.people:
                sight.read_known(person)
            sight.search(self._looked_at(sight, before))
        kept = largest([seen for _, seen in sight.people], FOLLOWED)
        self.people = [person for person, seen in sight.people if any(seen is one for one in kept)]
        return kept or sight.doubtful

    def _looked_at(self, sight: _Sight, before: list[Region]) -> list[Region]:
        """Where to look for others: a few tiles in turn; after a loss, or while nobody is there, also everywhere."""
        lost = len(sight.people) < len(before)
        everywhere = tiles(sight.size, TILE_SIDES)
        count = TILES_PER_FRAME if sight.people else TILES_OF_SEARCH
        turn = [everywhere[number % len(everywhere)] for number in range(self.num_tiles, self.num_tiles + count)]
        self.num_tiles += count
        nearby = [Region(region.x, region.y, region.side * AROUND_LOST, 0.0) for region in before if lost]
        return nearby + [whole(sight.size)] * (lost or not sight.people) + turn


def shrunk(frame: np.ndarray) -> np.ndarray:
    """The frame (H, W, 3), made smaller by area where its longer side exceeds LONGEST_SIDE."""
    factor = min(LONGEST_SIDE / max(frame.shape[:2]), 1)
    size = [max(round(side * factor), 1) for side in frame.shape[1::-1]]
    return np.ascontiguousarray(frame) if factor == 1 else cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def apart(keypoints: np.ndarray, person: Skeleton) -> float:
    """Mean distance of the body points that keypoints (133, 3) and the person (F = 1) share, in extents of the person."""
    both = person.seen[0, BODY] & is_seen(keypoints[BODY])
    if not both.any():
        return np.inf
    places = person.xy[0, BODY][both]                                                   # (N, 2)
    extent = max(np.ptp(places, axis=0).max(), 1)
    return float(np.linalg.norm(keypoints[BODY][both, :2] - places, axis=1).mean() / extent)


def largest(people: list[Seen], count: int) -> list[Seen]:
    """The `count` largest by box, in order of size."""
    return sorted(people, key=lambda seen: -areas(seen.box[None]).item())[:count]


def boxes_of(people: list[Seen]) -> np.ndarray:
    """The boxes (n, 5) of those who are surely people."""
    return np.array([seen.box for seen in people if not seen.doubt], np.float32).reshape(-1, 5)


def chosen_person(people: list[list[Seen]], size: tuple[int, int], person: str | int,
                  source: str, tell_others: bool = True) -> tuple[np.ndarray, list[Seen]]:
    """The frames (K,) in which the chosen person is, and what is seen of that person there."""
    sure = [[seen for seen in frame if not seen.doubt] for frame in people]
    if not any(sure):
        doubts = [seen for frame in people for seen in frame]
        why = f"; the likeliest place: {max(doubts, key=lambda seen: seen.reading.pose.score).doubt}" if doubts else ""
        raise ValueError(f"{source}: no person found (frames: {len(people)}{why}): use a "
                         f"{'picture' if len(people) == 1 else 'clip'} that shows a person at least from head to waist")
    frames, places = chosen_track([boxes_of(frame) for frame in people], size, person, source, tell_others)
    return frames, [sure[frame][place] for frame, place in zip(frames, places)]


def tiles(size: tuple[int, int], shares: Iterable[float], angle: float = 0.0) -> list[Region]:
    """Squares that cover a picture of (height, width), each half over its neighbour, from the first share on."""
    around = whole(size)
    return [Region(x, y, around.side * share, angle) for share in shares
            for y in _centres(size[0], around.side * share) for x in _centres(size[1], around.side * share)]


def _centres(extent: int, side: float) -> list[float]:
    """Where along an axis of `extent` pixels tiles lie."""
    if side >= extent:
        return [extent / 2]
    return np.linspace(side / 2, extent - side / 2, int(np.ceil(2 * (extent / side - 1))) + 1).tolist()


def last_resorts(size: tuple[int, int]) -> Iterator[list[Region]]:
    """What to look at where nobody is found upright and within the picture."""
    yield tiles(size, (OUTER_SIDE,))
    for angle in TURNS:
        yield tiles(size, TURNED_SIDES, angle)


def found(networks: Networks, picture: np.ndarray, looked_at: Iterable[Region]) -> list[Region]:
    """Regions in which a person can be read, one per place, the most certain first."""
    people = [person for region in looked_at for person in networks.poses(picture, region)]
    people.sort(key=lambda person: -person.score)
    regions: list[Region] = []
    for person in people:
        region = region_of_detection(person.points)
        if region.side >= 2 and not any(same_place(region, other) for other in regions):
            regions.append(region)
    return regions


def same_place(one: Region, other: Region) -> bool:
    small, large = sorted((one.side, other.side))
    return large <= SAME_SIZE * small and np.hypot(one.x - other.x, one.y - other.y) < SAME_PLACE * small


def near(one: Region, other: Region) -> bool:
    """Do two regions hardly differ in place?"""
    return bool(np.hypot(one.x - other.x, one.y - other.y) < NEAR * other.side)


def belongs_to(region: Region, person: Pose) -> bool:
    """Was a person already read where something is detected, or is it a part of that person?"""
    low, high = person.points[BODY_CORE, :2].min(axis=0), person.points[BODY_CORE, :2].max(axis=0)
    inside = low[0] <= region.x <= high[0] and low[1] <= region.y <= high[1]
    return same_place(region, person.region) or bool(inside and region.side < person.region.side)


def same_head(one: Pose, other: Pose) -> bool:
    """Are two readings of one person? Then their heads lie together."""
    apart = np.linalg.norm(one.points[HEAD, :2] - other.points[HEAD, :2], axis=1).mean()
    return bool(apart < SAME_HEAD * min(one.region.side, other.region.side))
