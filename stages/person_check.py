"""Whether the person in the picture can be animated: the whole body is in it, and large enough."""

import logging

import numpy as np

from dwpose.skeleton import (FEET, LEFT_ANKLE, LEFT_EYE, LEFT_HIP, LEFT_SHOULDER, LEFT_WRIST, NOSE, RIGHT_ANKLE,
                             RIGHT_EYE, RIGHT_HIP, RIGHT_SHOULDER, RIGHT_WRIST, SEEN_CONFIDENCE, Skeleton)

log = logging.getLogger(__name__)

EYES, SHOULDERS, ANKLES = (LEFT_EYE, RIGHT_EYE), (LEFT_SHOULDER, RIGHT_SHOULDER), (LEFT_ANKLE, RIGHT_ANKLE)
NEEDED_PARTS = (                       # one of the points must be seen inside the picture; name, points
    ("head", (NOSE, *EYES)),
    ("shoulders", SHOULDERS),
    ("hips", (LEFT_HIP, RIGHT_HIP)),
    ("feet", ANKLES),
)
WISHED_PARTS = (
    ("left hand", (LEFT_WRIST,)), ("right hand", (RIGHT_WRIST,)),
    ("left foot", (LEFT_ANKLE,)), ("right foot", (RIGHT_ANKLE,)),
)
SHORTEST = 3.6                         # eyes to ankles, in widths of the shoulders; an adult from the front: 4.5
LOWER_EDGE = 0.96                      # of the canvas height
SMALL = 0.45                           # eyes to ankles, of the canvas height: below, a hand is a few pixels


def check_whole_person(reference: Skeleton, picture: str, allow_cut_off: bool) -> None:
    """The person is in the picture from head to feet: ValueError (or a warning, if allowed) when parts are cut off."""
    missing = [part for part, points in NEEDED_PARTS if not inside(reference, points)]
    missing += ["feet"] * ("feet" not in missing and feet_made_up(reference))
    height, width = reference.size
    if missing and not allow_cut_off:
        raise ValueError(f"{picture}: the person is cut off ({' and '.join(missing)} not in the {height}x{width} "
                         "canvas): use a picture of the whole body, or pose.allow_cut_off=true to have the rest "
                         "invented")
    guessed = missing or [part for part, points in WISHED_PARTS if not inside(reference, points)]
    if guessed:
        log.warning("%s: %s not seen: what they look like is invented", picture, " and ".join(guessed))
    elif (share := body_length(reference) / height) < SMALL:
        log.warning("%s: the person is small (eyes to feet %.0f %% of the %dx%d canvas): crop the picture closer for a "
                    "clear face and hands", picture, 100 * share, height, width)


def inside(reference: Skeleton, points: tuple[int, ...]) -> bool:
    """Whether one of the points is seen, and lies on the canvas."""
    keypoints = reference.keypoints[0, list(points)]                                    # (P, 3)
    height, width = reference.size
    on_canvas = (keypoints[:, :2] >= 0).all(axis=1) & (keypoints[:, :2] < (width, height)).all(axis=1)
    return bool(np.any((keypoints[:, 2] >= SEEN_CONFIDENCE) & on_canvas))


def feet_made_up(reference: Skeleton) -> bool:
    """Whether the body is too short for its shoulders and ends at the canvas' lower edge, or is far too short.

    A network that cannot see feet puts them somewhere above that edge, and may be sure of it.
    """
    lowest = reference.xy[0, [*ANKLES, *range(FEET.start, FEET.stop)], 1].max()
    shoulders = np.linalg.norm(np.subtract(*reference.xy[0, list(SHOULDERS)]))
    shortest = SHORTEST if lowest > LOWER_EDGE * reference.size[0] else SHORTEST / 2
    return bool(body_length(reference) < shortest * shoulders)


def body_length(reference: Skeleton) -> float:
    """From between the eyes to between the ankles, pixels."""
    middles = [reference.xy[0, list(points)].mean(axis=0) for points in (EYES, ANKLES)]      # 2 times (2,)
    return float(np.linalg.norm(np.subtract(*middles)))
