"""Where in a picture people are: MediaPipe's pose detector on the whole of it, on overlapping tiles, and on turned ones.

The network sees people who fill a third of its tile or more, standing or nearly so.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from dwpose.mediapipe_geometry import Region, whole
from dwpose.mediapipe_networks import Networks, Pose
from dwpose.mediapipe_person import region_of_detection

TILE_SIDES = (1.0, 0.5, 0.25)   # of the picture's longer side, in the order they are searched
OUTER_SIDE = 2.0                # for somebody who does not fit into the picture
TURNS = (np.pi / 2, -np.pi / 2, np.pi)      # radians, for where nobody stands upright
TURNED_SIDES = (1.0, 0.5)
SAME_PLACE = 0.25               # of the smaller side: detections whose centres lie so near are of one person,
SAME_SIZE = 1.6                 # if their sides differ no more than so many times
NEAR = 0.05                     # of a region's side: it need not be read again
SAME_HEAD = 0.08                # of the smaller side: readings whose heads lie so near on average are of one person
HEAD, BODY_CORE = slice(0, 11), slice(0, 29)        # of the pose's points


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
