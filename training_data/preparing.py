"""From one video to clips on disk: fetch, cut, detect poses, judge, write. What is there is not done again."""
from __future__ import annotations

import errno
import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from dwpose.detector import PoseDetector
from dwpose.draw import draw
from dwpose.skeleton import FACE, LEFT_EAR, RIGHT_EAR, Skeleton
from mimicmotion.video import write_video
from training_data.captions import caption_of
from training_data.downloads import DeadLink, fetched
from training_data.folder import DataFolder, read_json, write_json
from training_data.judging import failing, measured
from training_data.settings import PrepareSettings
from training_data.shots import pieces
from training_data.sources import Source, content_key, frames_of, stamp

logger = logging.getLogger(__name__)

CLIP_CRF = 14                   # H.264 quality of stored clips: they are a second encoding
POSE_KINDS = ("with_hands", "without_hands", "three_point_face")


class Preparation:
    """Cuts videos into the clips of one data folder."""

    def __init__(self, folder: DataFolder, detector: PoseDetector, settings: PrepareSettings, captions: dict[str, str],
                 *, keep_downloads: bool = False):
        self.folder, self.detector, self.settings, self.captions = folder, detector, settings, captions
        self.keep_downloads = keep_downloads

    def __call__(self, source: Source) -> None:
        """Do what is left to do for one video, and record it."""
        path, caption = self.folder.source(source.name), caption_of(source, self.captions)
        record = read_json(path) if path.is_file() else None
        if record and self._holds(record, source):
            if caption and caption != record["caption"]:
                write_json(path, record | {"caption": caption})
            return
        record = {"source": source.name, "caption": caption, "stamp": None, "pieces": [], "skips": []}
        try:
            self._cut(source, record)
        except DeadLink as error:
            record["skips"].append({"reason": "dead link", "detail": str(error)})
        except (ValueError, OSError) as error:          # unreadable, broken or no video at all
            if full_disk(error):
                raise
            record["skips"].append({"reason": "cannot be read", "detail": str(error)})
        write_json(path, record)

    def _holds(self, record: dict, source: Source) -> bool:
        """Is a record of an earlier run still true? Links that were dead are asked again."""
        if source.kind == "link":
            return not any(skip["reason"] == "dead link" for skip in record["skips"])
        return Path(source.name).exists() and record["stamp"] == stamp(Path(source.name))

    def _cut(self, source: Source, record: dict) -> None:
        """Fill the record, piece by piece; what is on disk when an error comes stays in the record."""
        settings = self.settings
        path = fetched(source.name, self.folder.downloads) if source.kind == "link" else Path(source.name)
        key = content_key(path)
        record["stamp"] = stamp(path) if source.kind != "link" else None
        fps, frames = frames_of(path, settings.short_side, settings.fps or None, settings.picture_fps)
        longest, shortest = (max(1, round(seconds * fps)) for seconds in (settings.max_seconds, settings.min_seconds))
        for first, part in pieces(frames, longest, shortest):
            name = f"{key}-{first:06d}"
            if not self.folder.piece(name).is_file():
                write_json(self.folder.piece(name), self._piece(name, part, first, fps, source.name))
            record["pieces"].append(name)
        if source.kind == "link" and not self.keep_downloads:
            path.unlink()

    def _piece(self, name: str, frames: np.ndarray, first: int, fps: float, source: str) -> dict:
        """Judge one piece; when it stays, write its frames and poses. Returns what the manifest says about it."""
        height, width = (side // 2 * 2 for side in frames.shape[1:3])            # H.264 needs even sides
        frames = frames[:, :height, :width]
        about = {"start_seconds": round(first / fps, 3), "num_frames": len(frames), "fps": fps, "size": [height, width]}
        skipped = lambda reason, detail: {"skip": reason, "detail": detail} | about
        if min(height, width) < self.settings.min_side:
            return skipped("small picture", f"{height}x{width} pixels, {self.settings.min_side} wanted")
        if len(frames) < round(self.settings.min_seconds * fps):
            return skipped("too short", f"{len(frames) / fps:.2f} seconds, {self.settings.min_seconds:g} wanted")
        boxes: list[np.ndarray] = []                                            # F times (n, 5)
        detector = replace(self.detector, people=remembering(self.detector.people, boxes))
        try:
            skeleton = detector.find(frames, fps, source=f"{source} at {first / fps:.1f} s")
        except ValueError as error:
            return skipped("nobody", str(error))
        numbers = measured(skeleton, boxes)
        if failure := failing(numbers, self.settings):
            return skipped(*failure) | numbers
        skeleton.save(self.folder.skeleton(name))
        write_video(self.folder.clip(name), frames, fps, crf=CLIP_CRF)
        return {"clip": name} | about | numbers


def remembering(people, boxes: list[np.ndarray]):
    """The person detector, which also puts what it finds into `boxes`: one pass tells the person and the crowd."""
    def detect(frames):
        found = people(frames)
        boxes.extend(found)
        return found
    return detect


def as_kind(skeleton: Skeleton, kind: str) -> Skeleton:
    """The poses with less in them: without hands, or of the face no more than nose and eyes (as Fleximo draws)."""
    if kind not in POSE_KINDS:
        raise ValueError(f"poses: expected one of {', '.join(POSE_KINDS)} (found {kind!r}): choose one")
    if kind == "without_hands":
        return skeleton.without_hands()
    keypoints = skeleton.keypoints.copy()
    if kind == "three_point_face":
        keypoints[:, FACE] = 0
        keypoints[:, [LEFT_EAR, RIGHT_EAR]] = 0
    return replace(skeleton, keypoints=keypoints)


def write_pose_videos(folder: DataFolder, clips: Iterable[dict], style: str) -> None:
    """A video of the drawn poses per clip and kind, named as the clip; what is there is kept."""
    for clip in clips:
        for kind in POSE_KINDS:
            path = folder.pose_video(kind, clip["clip"])
            if not path.is_file():
                skeleton = Skeleton.load(folder.skeleton(clip["clip"]))
                write_video(path, draw(as_kind(skeleton, kind), style), skeleton.fps, crf=CLIP_CRF)


def full_disk(error: BaseException) -> bool:
    """Does an error say that nothing more can be written?"""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error)
