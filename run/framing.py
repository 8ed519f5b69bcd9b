"""The picture cut to the video's shape around its person, with room for what the person is going to do."""
from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from dwpose.proportions import CHILDREN, distances, PARENTS, pixels_per_metre, with_middles
from dwpose.skeleton import ANKLES, BODY, FACE, SHOULDERS, Skeleton
from media.images import read_image, shrunk

log = logging.getLogger(__name__)

UPRIGHT = 1.5                           # metres from the nose to the ankles of somebody whose legs the picture does not show
ROOMS = 1.0, 0.6, 0.3, 0.1              # of the room around the person that is kept, to leave somebody else out
CROWN = 0.06                            # above the highest seen point, of the body's extent
SOLES = 0.04                            # below the lowest seen point, of the body's extent
HAIR = 0.8                              # above the brows, of the distance from them to the chin
ABOVE, BELOW, BESIDE = 0.27, 0.06, 0.47     # room for raised hands, for feet that step nearer, for arms held out; of the extent
CARRIED_BLUR, CARRIED_REACH = 0.03, 0.15   # of the picture's width: blur of what is carried on beyond an edge, and where it is reached
SOFT = 2.0                              # times that a picture is enlarged: more is told
NAMED = 3                               # other people who are named one by one
HARDLY_INSIDE = 0.02                    # of another person's box: with less of it in the window they are left out
FINEST, ALWAYS_FINE = 4, 2160           # short sides of the video that a picture's is read at, at most: a small person is cut out; and pixels
FINEST_WINDOW = 2                       # heights of the video that the part to be framed has, at most
OUTSIDE = 0.15                          # how far the window may reach beyond the picture, of the body's extent


def read_picture(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """A picture, (H, W, 3) uint8 RGB, no finer than a video of `size` (height, width) needs it."""
    return read_image(path, max(FINEST * min(size), ALWAYS_FINE))


@dataclass(frozen=True)
class Window:
    """A part of a picture, in its pixels; it may reach beyond the edges."""
    left: int
    top: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height} from ({self.left}, {self.top})"

    def lies_in(self, picture: np.ndarray) -> bool:
        """Does it stay within a picture (H, W, 3)?"""
        height, width = picture.shape[:2]
        return min(self.left, self.top) >= 0 and self.left + self.width <= width and self.top + self.height <= height


def person_window(person: Skeleton, size: tuple[int, int], others: np.ndarray | None = None) -> Window:
    """The window of the shape of `size` (height, width) around the person (F = 1) of a picture.

    It lies inside the picture where the picture is large enough, and otherwise reaches a little beyond its edges. others:
    boxes (n, 4 or more) of people who are left out where the person, with less room around, allows it.
    """
    widest = window_with_room(person, size, 1.0)
    if others is None or not len(others):
        return widest
    across, choices = person.xy[0, person.seen[0], 0], [widest]                         # (N,)
    x0, x1 = float(across.min()), float(across.max())
    for room in ROOMS:
        window = window_with_room(person, size, room)
        free = max(window.width - (x1 - x0), 0)
        lefts = [window.left, round(x0 - 0.05 * free), round(x1 + 0.05 * free) - window.width]
        choices += [replace(window, left=left) for left in lefts if left <= x0 and left + window.width >= x1]
    return min(choices, key=lambda window: sum(share_inside(box, window) for box in others))    # the first of equals


def share_inside(box: np.ndarray, window: Window) -> float:
    """How much of a box (left, top, right, bottom) lies in the window, [0, 1]."""
    low = np.maximum(box[:2], (window.left, window.top))
    high = np.minimum(box[2:4], (window.left + window.width, window.top + window.height))
    area = np.prod(np.maximum(box[2:4] - box[:2], 1e-6))
    return float(np.prod(np.maximum(high - low, 0)) / area)


def window_with_room(person: Skeleton, size: tuple[int, int], room: float) -> Window:
    """`person_window` with a share of the room that it leaves for the movement."""
    points = person.xy[0, person.seen[0]]                                               # (N, 2)
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    extent = max(y1 - y0, x1 - x0)
    cut_off = not person.seen[0, list(ANKLES)].any()
    body = max(extent, UPRIGHT * scale_of(person)) if cut_off else extent              # arms are as long where legs are cut off
    y0 = y0 - CROWN * body
    aspect = size[1] / size[0]
    height = max((y1 - y0) + room * (ABOVE + BELOW) * body, max(2 * room * BESIDE * body, x1 - x0) / aspect)
    most = np.array(person.size) + 2 * OUTSIDE * extent                                 # height, width
    height = min(height, most[0], most[1] / aspect)
    spare = height - (y1 - y0)
    top = y0 - spare * ABOVE / (ABOVE + BELOW)
    shoulders = person.xy[0, list(SHOULDERS), 0]
    centre = shoulders.mean() if person.seen[0, list(SHOULDERS)].all() else (x0 + x1) / 2           # as far as either arm reaches
    left = float(np.clip(centre, min(x1 - height * aspect / 2, (x0 + x1) / 2), max(x0 + height * aspect / 2, (x0 + x1) / 2))) - height * aspect / 2
    top, left = inside(top, height, person.size[0], cut_off), inside(left, height * aspect, person.size[1])
    return Window(round(left), round(top), max(round(height * aspect), 1), max(round(height), 1))


def scale_of(person: Skeleton) -> float:
    """Pixels per metre of the person (F = 1) of a picture; 0 where no bone is seen."""
    return float(pixels_per_metre(distances(with_middles(person.keypoints), PARENTS, CHILDREN)[0]))


def inside(start: float, length: float, limit: float, ends_there: bool = False) -> float:
    """The start moved so that the length lies between 0 and the limit, or in its middle where it does not fit.

    ends_there: nothing may be carried on beyond the limit, as the person is cut off at it.
    """
    if length > limit:
        return limit - length if ends_there else min(max(start, limit - length), 0)
    return min(max(start, 0), limit - length)


def framed(picture: np.ndarray, window: Window, person: Skeleton, size: tuple[int, int]) -> tuple[np.ndarray, Skeleton]:
    """The window of a picture (H, W, 3) uint8 at `size` (height, width), and the person (F = 1) on that canvas.

    Beyond an edge the picture is mirrored; where that would mirror the person, the strip beside the person is, and blurred.
    """
    if window.height > FINEST_WINDOW * size[0]:
        picture, window, person = coarser(picture, window, person, FINEST_WINDOW * size[0] / window.height)
    points = person.xy[0, person.seen[0]]                                               # (N, 2)
    limits = picture.shape[1::-1]
    beyond = [(max(-start, 0), max(start + length - limit, 0)) for start, length, limit in
              zip((window.left, window.top), (window.width, window.height), limits)]    # x, y: before, after
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    free = (x0, limits[0] - x1), (y0 - hair_height(person), limits[1] - y1 - SOLES * (y1 - y0))
    padded = picture
    for axis in (0, 1):
        for side in (0, 1):
            pad = [(0, 0)] * 3
            pad[1 - axis] = (beyond[axis][0], 0) if side == 0 else (0, beyond[axis][1])
            if beyond[axis][side] < 0.8 * free[axis][side]:
                padded = np.pad(padded, pad, "symmetric")
            elif beyond[axis][side]:
                padded = carried_on(padded, 1 - axis, side, beyond[axis][side], max(int(0.5 * free[axis][side]), 1))
    left, top = window.left + beyond[0][0], window.top + beyond[1][0]
    cut = padded[top:top + window.height, left:left + window.width]
    smaller = size[0] < window.height
    image = cv2.resize(cut, size[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    scale = np.array([size[1] / window.width, size[0] / window.height])
    moved = (person.xy - (window.left, window.top) + 0.5) * scale - 0.5
    return image, person.with_xy(moved.astype(np.float32), size)


def coarser(picture: np.ndarray, window: Window, person: Skeleton, scale: float) -> tuple[np.ndarray, Window, Skeleton]:
    """A picture (H, W, 3) uint8 with a window and its person (F = 1), all scaled down: what is drawn beyond its edges takes time."""
    smaller = shrunk(picture, max(round(scale * min(picture.shape[:2])), 1))
    across, down = np.divide(smaller.shape[1::-1], picture.shape[1::-1])
    fitted = Window(round(window.left * across), round(window.top * down), max(round(window.width * across), 1), max(round(window.height * down), 1))
    moved = (person.xy + 0.5) * (across, down) - 0.5
    return smaller, fitted, person.with_xy(moved.astype(np.float32), smaller.shape[:2])


def hair_height(person: Skeleton) -> float:
    """Pixels that hair may reach above the highest seen point: by the face, where it shows."""
    face = person.xy[0, FACE][person.seen[0, FACE], 1]
    points = person.xy[0, person.seen[0], 1]
    return HAIR * np.ptp(face) if len(face) else CROWN * np.ptp(points)


def carried_on(picture: np.ndarray, axis: int, side: int, extent: int, strip: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 with `extent` more rows (axis 0) or columns: the outer `strip` of its own, mirrored over and over, more and
    more blurred outwards. side: 0 before the first, 1 after the last.
    """
    upright = np.swapaxes(picture, 0, axis)[::1 - 2 * side]                             # the rows to carry on come first
    mirrored = np.pad(upright[:strip], ((extent, 0), (0, 0), (0, 0)), "symmetric")[:extent]
    blurred = cv2.GaussianBlur(np.concatenate([mirrored, upright[:strip]]), (0, 0), CARRIED_BLUR * picture.shape[1])[:extent]
    share = ((extent - np.arange(extent)) / (CARRIED_REACH * picture.shape[1])).clip(0, 1)[:, None, None]
    mixed = (mirrored + share * (blurred.astype(np.float32) - mirrored)).round().astype(np.uint8)
    return np.swapaxes(np.concatenate([mixed, upright])[::1 - 2 * side], 0, axis)


def around_person(picture: np.ndarray, person: Skeleton, size: tuple[int, int], source: str,
                  people: np.ndarray | None = None) -> tuple[np.ndarray, Skeleton, Window]:
    """The picture framed around its person: (H, W, 3) uint8 RGB and the Skeleton (F = 1), both on the canvas `size`, and where.

    people: boxes (n, 4 or more) of everybody, of whom the person is one.
    """
    others = other_people(person, people)
    window = person_window(person, size, others)
    log.info("%s: framed around the person, %s of %dx%d%s", source, window, *picture.shape[1::-1],
             "" if window.lies_in(picture) else "; what lies outside is carried on from the edges, blurred")
    if size[0] > SOFT * window.height:
        log.warning("%s: enlarged %.1f times and soft: take a larger picture, or a smaller height and width", source, size[0] / window.height)
    if len(others):
        log.warning("%s: %d people: one is followed; %s (pose.person= chooses)", source, len(others) + 1,
                    told_of(others, person, window))
    image, reference = framed(picture, window, person, size)
    check_fits(person, reference, source)
    points = reference.xy[0, reference.seen[0]]
    if ((points < 0) | (points > size[::-1])).any() and not (person.xy[0, person.seen[0]] < 0).any():
        log.warning("%s: the person does not fit the video's shape whole: change height and width", source)
    return image, replace(reference, fps=person.fps), window


def check_fits(person: Skeleton, framed: Skeleton, source: str) -> None:
    """A video shows at least half of the joints that the picture shows of the person (F = 1); ValueError for another shape."""
    shown, kept = ((((one.xy >= 0) & (one.xy < one.size[::-1])).all(axis=-1) & one.seen)[0, BODY] for one in (person, framed))
    if (shown & kept).sum() < shown.sum() / 2:
        raise ValueError(f"{source}: expected a video of a shape that the person fits (found {framed.size[1]}x{framed.size[0]}, in which "
                         f"{(shown & kept).sum()} of {shown.sum()} joints are left): change height and width")


def other_people(person: Skeleton, people: np.ndarray | None) -> np.ndarray:
    """The boxes (n, 4) of the people without the person's own: the one that holds most of the body's points."""
    if people is None or len(people) < 2:
        return np.zeros((0, 4))
    points = person.xy[0, BODY][person.seen[0, BODY]]                                   # (N, 2)
    held = [((points >= box[:2]) & (points <= box[2:4])).all(axis=1).mean() - 1e-9 * np.prod(box[2:4] - box[:2]) for box in people]
    return np.delete(people[:, :4], int(np.argmax(held)), axis=0)


def told_of(others: np.ndarray, person: Skeleton, window: Window) -> str:
    """What becomes of other people, (n, 4) boxes: one by one where they are few."""
    if len(others) <= NAMED:
        return ", ".join(whereabouts(box, person, window) for box in others)
    within = sum(share_inside(box, window) >= HARDLY_INSIDE for box in others)
    return f"{len(others) - within} others are left out" + (f", {within} are partly inside the frame and do not move" if within else "")


def whereabouts(box: np.ndarray, person: Skeleton, window: Window) -> str:
    """Where another person is, and whether the window shows any of it."""
    side = "left" if box[0] + box[2] < 2 * person.xy[0, person.seen[0], 0].mean() else "right"
    share = share_inside(box, window)
    return f"the one on the {side} " + ("is left out" if share < HARDLY_INSIDE else f"is {100 * share:.0f} % inside the frame and does not move")


def save_boxes(boxes: np.ndarray, path: Path) -> None:
    path.write_text(json.dumps(np.asarray(boxes).astype(float).round(2).tolist()), encoding="utf-8")


def load_boxes(path: Path) -> np.ndarray:
    return np.array(json.loads(path.read_text(encoding="utf-8")), np.float32).reshape(-1, 5)
