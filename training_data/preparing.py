"""From one video to clips on disk: fetch, cut, detect poses, judge, write. What is there is not done again.

Filters say which clips are not worth training on, by what can be measured about a clip from its poses.
"""
from __future__ import annotations

import errno
import logging
import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np

from configs import setting
from dwpose.detector import Detector
from dwpose.draw import draw
from dwpose.skeleton import BODY, FACE, LEFT_EAR, LEFT_EYE, LEFT_HAND, NOSE, RIGHT_EAR, RIGHT_EYE, RIGHT_HAND, Skeleton
from media.files import is_full_disk
from media.video_reader import is_whole_mp4, probe, VIDEO_SUFFIXES
from media.video_writer import write_video
from training_data.folder import DataFolder, write_json
from training_data.sources import caption_of, content_key, DeadLink, fetched, frames_of, said_of, Source, stamp

log = logging.getLogger(__name__)

# ------------------------------------------------------------------------------------------------------------- filters

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


# --------------------------------------------------------------------------------------------------------- preparation

CLIP_CRF = 14                   # H.264 quality of stored clips: they are a second encoding
POSE_KINDS = ("with_hands", "without_hands", "three_point_face")
CUT_DISTANCE = 0.35             # share of the pixels that change their colour bin
CUT_JUMP = 4.0                  # and so many times the usual change of the last frames
THUMBNAIL = 64                  # pixels, square
BINS = 8                        # per colour channel
USUAL_FRAMES = 12               # frames that tell what change is usual
FFMPEG_ERRORS = 4096            # and above are FFmpeg's own error numbers, below the system's


class Preparation:
    """Cuts videos into the clips of one data folder."""

    def __init__(self, folder: DataFolder, detector: Detector, settings: PrepareSettings, captions: dict[str, str],
                 persons: dict[str, str] | None = None, *, keep_downloads: bool = False):
        """captions, persons: what is said of videos, by path, file name or label; the same name is the same person."""
        self.folder, self.detector, self.settings, self.captions = folder, detector, settings, captions
        self.persons, self.keep_downloads = persons or {}, keep_downloads

    def __call__(self, source: Source) -> None:
        """Do what is left to do for one video, and record it."""
        path, record = self.folder.source(source.name), self.folder.record_of(source.name)
        said = {"caption": caption_of(source, self.captions), "person": said_of(source, self.persons)}
        about = {name: text or (record or {}).get(name) for name, text in said.items()}
        if record and self._holds(record, source):
            if record | about != record:
                write_json(path, record | about)
            return
        record = {"source": source.name, "stamp": None, "pieces": [], "skips": []} | about
        try:
            self._cut(source, record)
        except DeadLink as error:
            record["skips"].append({"reason": "dead link", "detail": str(error)})
        except (ValueError, OSError) as error:          # unreadable, broken or no video at all
            if is_full_disk(error):
                raise
            record["skips"].append({"reason": "cannot be read", "detail": str(error)})
            record["again"] = not of_the_file(error)
        write_json(path, record)

    def _holds(self, record: dict, source: Source) -> bool:
        """Is a record of an earlier run still true? What was not the file's fault, and dead links, are tried again."""
        if record.get("again"):
            return False
        if source.kind == "link":
            same = not any(skip["reason"] == "dead link" for skip in record["skips"])
        else:
            same = Path(source.name).exists() and record["stamp"] == stamp(Path(source.name))
        lost = [name for name in record["pieces"] if not self.folder.holds(name)] if same else []
        if lost:
            log.warning("%s: %d of its %d clips are lost or cut short, first %s: made anew", source.name, len(lost), len(record["pieces"]), lost[0])
        return same and not lost

    def _cut(self, source: Source, record: dict) -> None:
        """Fill the record, piece by piece; what is on disk when an error comes stays in the record."""
        settings = self.settings
        path = fetched(source.name, self.folder.downloads) if source.kind == "link" else Path(source.name)
        if path.is_file() and path.suffix.lower() not in VIDEO_SUFFIXES:
            probe(path)                                                         # before all of it is read
        key = content_key(path)
        record["stamp"] = stamp(path) if source.kind != "link" else None
        fps, frames = frames_of(path, settings.short_side, settings.fps or None, settings.picture_fps)
        longest, shortest = (max(1, round(seconds * fps)) for seconds in (settings.max_seconds, settings.min_seconds))
        for first, part in pieces(frames, longest, shortest):
            name = f"{key}-{first:06d}"
            if not self.folder.holds(name):
                write_json(self.folder.piece(name), self._piece(name, part, first, fps, source.name))
            record["pieces"].append(name)
        if source.kind == "link" and not self.keep_downloads:
            path.unlink()

    def _piece(self, name: str, frames: np.ndarray, first: int, fps: float, source: str) -> dict:
        """Judge one piece; when it stays, write its frames and poses. Returns what the manifest says about it."""
        height, width = (side // 2 * 2 for side in frames.shape[1:3])            # H.264 needs even sides
        frames = frames[:, :height, :width]
        about = {"start_seconds": round(first / fps, 3), "num_frames": len(frames), "fps": fps, "size": [height, width]}

        def skipped(reason: str, detail: str) -> dict:
            return {"skip": reason, "detail": detail} | about

        if min(height, width) < self.settings.min_side:
            return skipped("small picture", f"{height}x{width} pixels, {self.settings.min_side} wanted")
        if len(frames) < round(self.settings.min_seconds * fps):
            return skipped("too short", f"{len(frames) / fps:.2f} seconds, {self.settings.min_seconds:g} wanted")
        try:
            skeleton, boxes = self.detector.find_with_boxes(frames, fps, source=f"{source} at {first / fps:.1f} s")
        except ValueError as error:
            return skipped("nobody", str(error))
        numbers = clip_statistics(skeleton, boxes)
        if failure := failed_filter(numbers, self.settings):
            return skipped(*failure) | numbers
        skeleton.save(self.folder.skeleton(name))
        write_video(self.folder.clip(name), frames, fps, crf=CLIP_CRF)
        return {"clip": name} | about | numbers


def as_kind(skeleton: Skeleton, kind: str) -> Skeleton:
    """The poses as one of POSE_KINDS: whole, without hands, or of the face no more than nose and eyes (as Fleximo draws)."""
    if kind == "with_hands":
        return skeleton
    if kind == "without_hands":
        return skeleton.without_hands()
    keypoints = skeleton.keypoints.copy()
    keypoints[:, FACE] = 0
    keypoints[:, [LEFT_EAR, RIGHT_EAR]] = 0
    return replace(skeleton, keypoints=keypoints)


def write_pose_videos(folder: DataFolder, clips: Iterable[dict], style: str) -> None:
    """A video of the drawn poses per clip and kind, named as the clip; what is there is kept where it is whole."""
    for clip in clips:
        for kind in POSE_KINDS:
            path = folder.pose_video(kind, clip["clip"])
            if not is_whole_mp4(path, clip["num_frames"]):
                if path.exists():
                    log.warning("%s: is cut short: made anew", path)
                skeleton = Skeleton.load(folder.skeleton(clip["clip"]))
                write_video(path, draw(as_kind(skeleton, kind), style), skeleton.fps, crf=CLIP_CRF)


def of_the_file(error: BaseException | None) -> bool:
    """Is a video itself at fault? Not where the system could not read or write (a disk, a mount, a permission)."""
    while error is not None:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL) and error.errno < FFMPEG_ERRORS:
            return False
        error = error.__cause__ or error.__context__
    return True


def colour_histogram(frame: np.ndarray) -> np.ndarray:
    """Colour histograms of the four quarters of a picture, (4, BINS ** 3), each adding up to 1."""
    small = cv2.resize(frame, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA) // (256 // BINS)
    codes = (small.astype(np.int32) * (1, BINS, BINS * BINS)).sum(axis=-1)                  # (64, 64)
    half = THUMBNAIL // 2
    quarters = codes.reshape(2, half, 2, half).swapaxes(1, 2).reshape(4, -1)                # (4, 1024)
    return np.stack([np.bincount(quarter, minlength=BINS ** 3) for quarter in quarters]) / half ** 2


class CutFinder:
    """Shown the frames one after the other: does a new shot begin here?"""

    def __init__(self):
        self.last, self.usual = None, deque(maxlen=USUAL_FRAMES)

    def __call__(self, frame: np.ndarray) -> bool:
        histogram, last = colour_histogram(frame), self.last
        self.last = histogram
        if last is None:
            return False
        change = float(np.abs(histogram - last).sum(axis=1).mean() / 2)         # 0 alike .. 1 nothing in common
        cut = change > max(CUT_DISTANCE, CUT_JUMP * float(np.median(self.usual or [0])))
        self.usual.clear() if cut else self.usual.append(change)
        return cut


def pieces(frames: Iterable[np.ndarray], longest: int, shortest: int) -> Iterator[tuple[int, np.ndarray]]:
    """(number of the first frame, frames (n, H, W, 3)) of every piece: no cut inside, n <= longest.

    A long shot gives several pieces, none of them shorter than `shortest` (longest >= 2 * shortest); a short shot is
    given as it is. Where the video breaks off, what was read comes first and the error after it.
    """
    is_cut, first, held, broken = CutFinder(), 0, [], None
    frames = iter(frames)
    while True:
        try:
            frame = next(frames, None)
        except ValueError as error:
            frame, broken = None, error
        ends = frame is None or is_cut(frame) or (held and frame.shape != held[0].shape)
        if held and ends:
            middle = len(held) if len(held) <= longest else len(held) // 2
            yield from ((first + start, np.stack(held[start:end])) for start, end in ((0, middle), (middle, len(held)))
                        if start < end)
            first, held = first + len(held), []
        elif len(held) == longest + shortest:
            yield first, np.stack(held[:longest])
            first, held = first + longest, held[longest:]
        if frame is None:
            break
        held.append(frame)
    if broken:
        raise broken
