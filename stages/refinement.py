"""What the refinement takes from a finished video: the poses seen in it, where they are credible."""

import logging
from dataclasses import replace

import numpy as np

from dwpose.skeleton import BODY, LEFT_HAND, LEFT_WRIST, RIGHT_HAND, RIGHT_WRIST, Skeleton
from stages.models import Models

log = logging.getLogger(__name__)

SEEN_TOLERANCE = 0.08                       # of the person's height


def seen_skeleton(models: Models, video: np.ndarray, skeleton: Skeleton) -> Skeleton:
    """The keypoints of the generated person, where they are near those asked for; elsewhere the planned ones.

    A point further off than SEEN_TOLERANCE of the person's height is a mistake of the video or of the detector, and
    drawing it would make the second pass repeat the mistake.
    """
    try:
        seen = models.detect(video, skeleton.fps, "generated video")
    except ValueError as error:
        log.warning("%s: the refinement uses the planned skeleton", error)
        return skeleton
    body = skeleton.xy[:, BODY]                                                                  # (F, 17, 2)
    height = np.median(body[..., 1].max(axis=1) - body[..., 1].min(axis=1))                      # pixels
    planned = skeleton.confidence > 0                                                            # (F, 133)
    astray = np.linalg.norm(seen.xy - skeleton.xy, axis=-1) > SEEN_TOLERANCE * height            # (F, 133)
    keypoints = np.where((planned & (astray | (seen.confidence == 0)))[..., None], skeleton.keypoints, seen.keypoints)
    for wrist, hand in ((LEFT_WRIST, LEFT_HAND), (RIGHT_WRIST, RIGHT_HAND)):
        keypoints[astray[:, wrist], hand] = 0                                                    # a hand without its arm
    return replace(seen, keypoints=keypoints)
