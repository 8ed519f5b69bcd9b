"""What decides how videos become clips. A data folder is made with one set of these."""
from __future__ import annotations

import math
from dataclasses import dataclass, field, fields


def _setting(default, help: str):
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class PrepareSettings:
    """Sizes, lengths and filters. Shares are of a clip's frames unless something else is named."""

    short_side: int = _setting(576, "pixels; larger videos are shrunk, smaller ones kept")
    fps: float = _setting(0.0, "resample to this rate; 0 = keep every video's own")
    picture_fps: float = _setting(30.0, "frames per second of a folder of pictures; TikTok's is 30")
    min_seconds: float = _setting(1.0, "shorter clips are left out")
    max_seconds: float = _setting(10.0, "longer shots become several clips")
    min_side: int = _setting(256, "pixels; videos with a smaller shorter side are left out")
    min_person: float = _setting(0.25, "median height of the person, of the frame's")
    max_crowd: float = _setting(0.1, "with a second person at least half as tall")
    min_seen: float = _setting(0.9, "in which the person is found")
    min_face: float = _setting(0.5, "in which the nose and an eye are seen")
    min_motion: float = _setting(0.02, "mean speed of the joints, person heights per second")

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
