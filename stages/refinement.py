"""What the refinement takes from a finished video: the poses seen in it, laid over the poses asked for."""

import logging
from dataclasses import replace

import numpy as np

from dwpose.skeleton import BODY, LEFT_HAND, LEFT_WRIST, RIGHT_HAND, RIGHT_WRIST, Skeleton
from stages.models import Models

log = logging.getLogger(__name__)

SEEN_TOLERANCE = 0.08                       # of the person's height


def seen_skeleton(models: Models, video: np.ndarray, skeleton: Skeleton, trust: float) -> Skeleton:
    """The plan, completed with what only the video shows, and its points moved `trust` (0 to 1) of the way to the seen.

    The plan has the person's proportions; a detector is right to a few pixels. 0 keeps every planned point and takes
    hands and face where the plan has none, 1 takes every point as seen. A point further off than SEEN_TOLERANCE of the
    person's height is a mistake of the video or of the detector: drawn, the second pass would repeat it.
    """
    try:
        seen = models.detect(video, skeleton.fps, "generated video")
    except ValueError as error:
        log.warning("%s: the refinement uses the planned skeleton", error)
        return skeleton
    return laid_over_plan(seen, skeleton, trust)


def laid_over_plan(seen: Skeleton, plan: Skeleton, trust: float) -> Skeleton:
    """Seen points where the plan has none; a hand hangs at the wrist of the result, or is left out with its arm."""
    body = plan.xy[:, BODY]                                                                      # (F, 17, 2)
    height = np.median(body[..., 1].max(axis=1) - body[..., 1].min(axis=1))                      # pixels
    offset = seen.xy - plan.xy                                                                   # (F, 133, 2)
    astray = np.linalg.norm(offset, axis=-1) > SEEN_TOLERANCE * height                           # (F, 133)
    planned, found = plan.confidence > 0, seen.confidence > 0
    moved = plan.keypoints.copy()                                                                # (F, 133, 3)
    moved[..., :2] += np.where((planned & found & ~astray)[..., None], trust * offset, 0)
    keypoints = np.where(planned[..., None], moved, seen.keypoints)
    for wrist, hand in ((LEFT_WRIST, LEFT_HAND), (RIGHT_WRIST, RIGHT_HAND)):
        new = ~planned[:, hand] & found[:, hand]                                                 # (F, 21)
        shift = np.where(found[:, wrist, None], keypoints[:, wrist, :2] - seen.xy[:, wrist], 0)  # (F, 2)
        keypoints[:, hand, :2] += np.where(new[..., None], shift[:, None], 0)
        keypoints[:, hand] *= ~(new & (planned & astray)[:, wrist, None])[..., None]
    return replace(plan, keypoints=keypoints)
