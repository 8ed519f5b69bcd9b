"""What evaluate_demo.py measures of the learnt pose and video models; each function gives one measure's values.

motion_measures.py has those of text to motion. People, motions and cameras are of held-out seeds; every network runs as inference.py runs it with configs/demo.yaml.
"""
from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from dwpose.draw import draw
from dwpose.skeleton import BODY, FACE, FEET, HANDS, head_boxes, NUM_KEYPOINTS, Skeleton
from media.images import as_tensor
from mimicmotion.checkpoint import load_tiny_vae, load_vae
from mimicmotion.latents import decode, scaled_latents
from motionbench.picture import delta_e, flicker, PERFECT_PSNR, psnr, REGIONS, ssim
from motionbench.pose import pck
from renderers import Renderer, Scene
from run.models import Models
from run.settings import InferenceConfig
from runtime.device import seed_for
from synthetic.clips import HELD_OUT_SEED, sample_clip, SyntheticClip
from synthetic.motions import KINDS

log = logging.getLogger(__name__)

CLIP_FRAMES = 18                    # 1.8 s at the demo's 10 frames a second
PARTS = {"body": BODY, "hands": HANDS, "feet": FEET, "face": FACE}
Values = dict[str, float]
FACE_TURNED = 0.8                               # of a face's points are seen where it is turned to us
FLAT_REACH, FLAT_LEVELS = 9, 3                  # pixels around a place, and how much they differ at most where the picture is flat
GAP, TITLE_HEIGHT, ROWS_PER_SHEET = 4, 18, 6     # pixels; of contact sheets
PAPER, INK = (250, 249, 246), (32, 34, 38)


@dataclass(frozen=True)
class Bench:
    """What every measure is given."""

    config: InferenceConfig
    models: Models
    weights: Path                   # folder laid out as weights/demo
    num_clips: int
    seed: int                       # moves to other held-out people; 0 is the published figure
    output: Path                    # where contact sheets go
    mocap: Path | None = None       # folder of real motion, see demo/mocap.py

    def clips(self, description: str) -> Iterator[SyntheticClip]:
        """Held-out clips: each of another person, doing kinds in a shuffled order, none twice before all were done."""
        kinds = np.random.default_rng(self.seed).permutation(KINDS)
        for index in tqdm(range(self.num_clips), desc=description, unit="clip", dynamic_ncols=True):
            yield sample_clip(HELD_OUT_SEED + 1000 * self.seed + index, str(kinds[index % len(kinds)]),
                              num_frames=CLIP_FRAMES, fps=self.config.fps, size=self.config.size)

    @property
    def renderer(self) -> Renderer:
        return self.models.renderer(self.config)

    def scene(self, clip: SyntheticClip) -> Scene:
        """What the clip's video is to show."""
        return Scene(clip.reference, clip.reference_skeleton, clip.skeleton, "", None)

    def generator(self, index: int) -> torch.Generator:
        """What the video of clip `index` is drawn with."""
        return torch.Generator().manual_seed(seed_for(self.config.seed, f"evaluate {index}"))

    def draw(self, skeleton: Skeleton) -> np.ndarray:
        return draw(skeleton, self.config.pose.style)

    def detect(self, frames: np.ndarray, fps: float) -> Skeleton:
        """As inference does; where nobody is recognised every point is missing."""
        try:
            return self.models.detect(frames, fps, "generated frames")
        except ValueError as error:
            log.warning("%s", error)
            return Skeleton(np.zeros((len(frames), NUM_KEYPOINTS, 3)), frames.shape[1:3], fps)

    def save_sheets(self, name: str, rows: list[SheetRow]) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        for index, sheet in enumerate(contact_sheets(rows)):
            Image.fromarray(sheet).save(self.output / f"{name}_{index}.png", optimize=True)


def pose_to_video(bench: Bench) -> Values:
    """True skeletons in, video out, against the render of the same person in the same poses."""
    scores, rows = [], []
    for index, clip in enumerate(bench.clips("pose to video")):
        video = bench.renderer(bench.scene(clip), bench.generator(index), progress=False)
        scores.append(video_scores(bench, clip, video))
        rows.append(SheetRow(clip.kind, clip.reference, bench.draw(clip.skeleton), clip.frames, video))
    bench.save_sheets("video", rows)
    return mean_scores(scores)


def video_scores(bench: Bench, clip: SyntheticClip, video: np.ndarray) -> Values:
    """All scores of one generated clip (F, H, W, 3); `true_*` read the render itself, the best a video could do."""
    truth, still = clip.frames, np.broadcast_to(clip.reference, clip.frames.shape)
    scores = {"psnr": psnr(video, truth), "psnr_repeat": psnr(still, truth), "ssim": ssim(video, truth),
              "ssim_repeat": ssim(still, truth), "flicker": flicker(video, truth)}
    scores["psnr_gain"] = scores["psnr"] - scores["psnr_repeat"]
    scores |= {"head_psnr": head_psnr(video, truth, clip.skeleton), "flat": flat_error(video, truth)}
    for name, frames in (("", video), ("true_", truth)):
        found = bench.detect(frames, bench.config.fps)
        scores |= {f"{name}{part}": pck(found, clip.skeleton, PARTS[part]) for part in ("body", "hands")}
        scores[f"{name}face"] = face_share(found, clip.skeleton)
    colours = delta_e(video, truth, clip.skeleton)
    scores |= {f"delta_e_{region.replace(' ', '_')}": colours.get(region, float("nan")) for region in REGIONS}
    return scores | {"delta_e": float(np.mean(list(colours.values())) if colours else np.nan)}


def autoencoder(bench: Bench) -> Values:
    """True frames through the VAE and back: the best that the video model can do, and by the tiny VAE, where there is one."""
    svd, tiny = Path(bench.config.generator.svd), bench.config.generator.tiny_vae
    networks = {"": load_vae(svd / "vae", torch.float32)} | ({"tiny_": load_tiny_vae(tiny, torch.float32)} if tiny else {})
    scores = []
    for clip in bench.clips("VAE"):
        with torch.inference_mode():
            latents = scaled_latents(networks[""], as_tensor(clip.frames))                     # (F, 4, h, w)
        rebuilt = {name: decode(vae, latents).numpy() for name, vae in networks.items()}
        scores.append({f"{name}{key}": value for name, video in rebuilt.items() for key, value in (
            ("psnr", psnr(video, clip.frames)), ("head_psnr", head_psnr(video, clip.frames, clip.skeleton)),
            ("flat", flat_error(video, clip.frames)))})
    return mean_scores(scores)


def head_psnr(video: np.ndarray, truth: np.ndarray, skeleton: Skeleton) -> float:
    """Peak signal-to-noise ratio inside the boxes of faces and their hair, dB; NaN where no face is seen."""
    errors = []
    for frame, true, (left, top, right, bottom, seen) in zip(video, truth, head_boxes(skeleton.keypoints)[:, 0]):
        rows, columns = (slice(max(round(low), 0), max(round(high), 0)) for low, high in ((top, bottom), (left, right)))
        if seen > 0 and true[rows, columns].size:
            errors.append(np.square(frame[rows, columns].astype(np.float32) - true[rows, columns]).mean())
    return float(min(PERFECT_PSNR, 10 * np.log10(255**2 / max(np.mean(errors), 1e-9)))) if errors else float("nan")


def face_share(found: Skeleton, true: Skeleton) -> float:
    """Of faces turned to us, the share of points found within a tenth of the head's size; NaN where no face is."""
    boxes, seen = head_boxes(true.keypoints)[:, 0], true.seen[:, FACE]                          # (F, 5), (F, 68)
    turned = seen.mean(axis=1) > FACE_TURNED
    size = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])                     # (F,) pixels
    error = np.linalg.norm(found.xy[:, FACE] - true.xy[:, FACE], axis=-1)                       # (F, 68)
    near = (error < 0.1 * size[:, None]) & found.present[:, FACE]
    return float(near[turned][seen[turned]].mean()) if turned.any() else float("nan")


def flat_error(video: np.ndarray, truth: np.ndarray) -> float:
    """Standard deviation of the error where the true picture is flat, 8-bit levels; NaN where it is nowhere."""
    errors = []
    for frame, true in zip(video, truth):
        around = [operation(true, np.ones((FLAT_REACH, FLAT_REACH), np.uint8)).astype(np.int16) for operation in (cv2.dilate, cv2.erode)]
        flat = (around[0] - around[1]).max(axis=-1) <= FLAT_LEVELS                              # (H, W)
        errors.append((frame.astype(np.float32) - true)[flat])
    errors = np.concatenate(errors)
    return float(errors.std()) if errors.size else float("nan")


def skeleton_adapter(bench: Bench) -> Values:
    """Drawn poses without hands in, with hands out; hands are read back from the drawing by the demo's pose network.

    `handless` reads the input itself, `true_hands` the drawing of the truth: what no adapter and a perfect one give.
    """
    scores, rows = [], []
    for index, clip in enumerate(bench.clips("skeleton adapter")):
        own_pose, wanted = bench.draw(clip.reference_skeleton)[0], bench.draw(clip.skeleton)
        given = bench.draw(clip.skeleton.without_hands())
        made = bench.renderer.adapter(bench.scene(clip), bench.generator(index), progress=False)
        read = {name: bench.detect(frames, bench.config.fps)
                for name, frames in (("hands", made), ("handless", given), ("true_hands", wanted))}
        scores.append({name: pck(found, clip.skeleton, HANDS) for name, found in read.items()}
                      | {"body": pck(read["hands"], clip.skeleton, BODY)})
        rows.append(SheetRow(clip.kind, own_pose, given, wanted, made))
    bench.save_sheets("adapter", rows)
    return mean_scores(scores)


def pose_net(bench: Bench) -> Values:
    """Person detector and keypoint network on held-out renders, through the official contracts."""
    scores = []
    for clip in bench.clips("pose network"):
        found = bench.detect(clip.frames, bench.config.fps)
        scores.append({name: pck(found, clip.skeleton, points) for name, points in PARTS.items()})
    return mean_scores(scores)


def mean_scores(scores: list[Values]) -> Values:
    """Mean over clips; a clip in which a thing is not to be seen does not count for it."""
    return {name: float(np.nanmean([score[name] for score in scores]))
            for name in scores[0] if not np.isnan([score[name] for score in scores]).all()}


@dataclass(frozen=True)
class SheetRow:
    """One clip. The frame shown is the one where the generated video is worst, so that the sheet does not flatter."""

    title: str
    reference: np.ndarray       # (H, W, 3) uint8 RGB
    skeleton: np.ndarray        # (F, H, W, 3) the drawn poses that were given
    truth: np.ndarray           # (F, H, W, 3)
    generated: np.ndarray       # (F, H, W, 3)

    @property
    def worst(self) -> int:
        errors = [np.abs(a.astype(np.int16) - b).mean() for a, b in zip(self.generated, self.truth)]
        return int(np.argmax(errors))

    def cells(self) -> list[tuple[str, np.ndarray]]:
        """(caption, picture) from left to right: reference, then skeleton, truth, generated at two frames."""
        cells = [("reference", self.reference)]
        for name, frame in (("middle", len(self.truth) // 2), ("worst", self.worst)):
            cells += [(f"skeleton ({name})", self.skeleton[frame]), ("truth", self.truth[frame]),
                      ("generated", self.generated[frame])]
        return cells


def contact_sheets(rows: list[SheetRow]) -> list[np.ndarray]:
    """Sheets (H, W, 3) uint8 RGB of up to six rows each."""
    return [np.concatenate([row_picture(row) for row in rows[start:start + ROWS_PER_SHEET]])
            for start in range(0, len(rows), ROWS_PER_SHEET)]


def row_picture(row: SheetRow) -> np.ndarray:
    """The row's cells side by side, each below its caption."""
    columns = []
    for index, (caption, picture) in enumerate(row.cells()):
        height, width = picture.shape[:2]
        cell = np.full((TITLE_HEIGHT + height + GAP, width + GAP, 3), PAPER, np.uint8)
        cell[TITLE_HEIGHT:TITLE_HEIGHT + height, :width] = picture
        text = f"{row.title} {caption}" if index == 0 else caption
        cv2.putText(cell, text, (2, TITLE_HEIGHT - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.38, INK, 1, cv2.LINE_AA)
        columns.append(cell)
    return np.concatenate(columns, axis=1)
