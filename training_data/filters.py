"""What can be measured about a clip from its poses, and which clips are not worth training on."""
from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from configs import setting
from dwpose.skeleton import BODY, LEFT_EYE, LEFT_HAND, NOSE, RIGHT_EYE, RIGHT_HAND, Skeleton

USUAL_SPEED = 0.3               # person heights per second that count as SVD's middle motion bucket
USUAL_BUCKET = 127              # what SVD is told when nothing is known
BUCKETS_PER_DOUBLING = 40
TALL = 0.5                      # somebody of this share of the main person's height is a second person


def clip_statistics(skeleton: Skeleton, boxes: list[np.ndarray]) -> dict[str, float]:
    """Numbers about one clip, for the manifest. boxes: F times (n, 5), everybody in the frame."""
    seen = skeleton.seen                                                                    # (F, 133)
    with_face = seen[:, NOSE] & (seen[:, LEFT_EYE] | seen[:, RIGHT_EYE])                    # (F,)
    heights = [sorted(found[:, 3] - found[:, 1])[::-1] for found in boxes if len(found)]
    crowded = [len(tall) > 1 and tall[1] >= TALL * tall[0] for tall in heights]
    motion = joint_speed(skeleton)
    left, right = skeleton.confidence[:, LEFT_HAND].mean(), skeleton.confidence[:, RIGHT_HAND].mean()
    numbers = {"person": float(np.median([tall[0] for tall in heights] or [0])) / skeleton.size[0],
               "crowd": sum(crowded) / len(skeleton), "seen": seen[:, BODY].any(axis=1).mean(),
               "face": with_face.mean(), "motion": motion, "motion_bucket": motion_bucket(motion),
               "left_hand": left, "right_hand": right}
    return {name: round(float(value), 4) for name, value in numbers.items()}


def joint_speed(skeleton: Skeleton) -> float:
    """Mean speed of the body's joints, in person heights per second; 0 when too little is seen."""
    keypoints, seen = skeleton.keypoints[:, BODY], skeleton.seen[:, BODY]                   # (F, 17, 3), (F, 17)
    both = seen[1:] & seen[:-1]                                                             # (F - 1, 17)
    if not both.any():
        return 0.0
    steps = np.linalg.norm(np.diff(keypoints[..., :2], axis=0), axis=-1)[both].mean()       # pixels per frame
    rows = np.where(seen, keypoints[..., 1], np.nan)[seen.any(axis=1)]                      # (F', 17)
    height = float(np.median(np.nanmax(rows, axis=1) - np.nanmin(rows, axis=1)))            # pixels
    return float(steps * skeleton.fps / height) if height > 1 else 0.0


def motion_bucket(speed: float) -> float:
    """SVD's motion bucket, 1 to 255, of a joint speed: the middle at USUAL_SPEED, a fixed step for every doubling."""
    return float(np.clip(USUAL_BUCKET + BUCKETS_PER_DOUBLING * np.log2(max(speed, 1e-6) / USUAL_SPEED), 1, 255))


def failed_filter(numbers: dict[str, float], settings: PrepareSettings) -> tuple[str, str] | None:
    """The first filter a clip fails, as (reason, found and wanted), or None."""
    checks = (
        ("several people", numbers["crowd"] > settings.max_crowd,
         f"in {numbers['crowd']:.0%} of the frames, at most {settings.max_crowd:.0%} wanted"),
        ("person lost", numbers["seen"] < settings.min_seen,
         f"found in {numbers['seen']:.0%} of the frames, {settings.min_seen:.0%} wanted"),
        ("person small", numbers["person"] < settings.min_person,
         f"{numbers['person']:.2f} of the frame's height, {settings.min_person:.2f} wanted"),
        ("no face", numbers["face"] < settings.min_face,
         f"seen in {numbers['face']:.0%} of the frames, {settings.min_face:.0%} wanted"),
        ("no motion", numbers["motion"] < settings.min_motion,
         f"{numbers['motion']:.3f} person heights per second, {settings.min_motion:.3f} wanted"),
    )
    return next(((reason, detail) for reason, fails, detail in checks if fails), None)


@dataclass(frozen=True)
class PrepareSettings:
    """Sizes, lengths and filters. Shares are of a clip's frames unless something else is named."""

    short_side: int = setting(576, "pixels; larger videos are shrunk, smaller ones kept")
    fps: float = setting(0.0, "resample to this rate; 0 = keep every video's own")
    picture_fps: float = setting(30.0, "frames per second of a folder of pictures; TikTok's is 30")
    min_seconds: float = setting(1.0, "shorter clips are left out")
    max_seconds: float = setting(10.0, "longer shots become several clips")
    min_side: int = setting(256, "pixels; videos with a smaller shorter side are left out")
    min_person: float = setting(0.25, "median height of the person, of the frame's")
    max_crowd: float = setting(0.1, "with a second person at least half as tall")
    min_seen: float = setting(0.9, "in which the person is found")
    min_face: float = setting(0.5, "in which the nose and an eye are seen")
    min_motion: float = setting(0.02, "mean speed of the joints, person heights per second")

    def __post_init__(self):
        for item in fields(self):
            if not math.isfinite(getattr(self, item.name)):
                raise ValueError(f"{item.name}: expected a finite number (found {getattr(self, item.name)})")
        if self.min_seconds <= 0 or self.max_seconds < 2 * self.min_seconds:
            raise ValueError(f"max_seconds: expected at least twice min_seconds (found {self.max_seconds:g} and "
                             f"{self.min_seconds:g}): a longer shot is cut into pieces that must not be too short")
        if min(self.short_side, self.min_side) < 16:
            raise ValueError("short_side, min_side: expected at least 16 pixels "
                             f"(found {self.short_side}, {self.min_side})")
        if self.min_side > self.short_side:
            raise ValueError(f"min_side: expected at most short_side (found {self.min_side} and {self.short_side}): "
                             "clips are never larger than short_side")
        if self.fps < 0 or self.picture_fps <= 0:
            raise ValueError(f"fps, picture_fps: expected a rate (found {self.fps:g}, {self.picture_fps:g})")
        for name in ("min_person", "max_crowd", "min_seen", "min_face"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1 (found {getattr(self, name):g})")
