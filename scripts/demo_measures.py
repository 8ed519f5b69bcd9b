"""What evaluate_demo.py measures of the learnt pose and video models; each function gives one measure's values.

People, motions and cameras are of held-out seeds; every network runs as inference.py runs it with configs/demo.yaml.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from dwpose.draw import draw
from dwpose.skeleton import BODY, FACE, FEET, HANDS, NUM_KEYPOINTS, Skeleton
from motionbench.picture import REGIONS, delta_e, flicker, psnr, ssim
from motionbench.pose import pck
from motionbench.sheets import SheetRow, contact_sheets
from stages.models import Models
from stages.settings import InferenceConfig
from synthetic.clips import HELD_OUT_SEED, SyntheticClip, sample_clip
from synthetic.motions import KINDS

log = getLogger(__name__)

CLIP_FRAMES = 18                    # 1.8 s at the demo's 10 frames a second
PARTS = {"body": BODY, "hands": HANDS, "feet": FEET, "face": FACE}
Values = dict[str, float]


@dataclass(frozen=True)
class Bench:
    """What every measure is given."""

    config: InferenceConfig
    models: Models
    weights: Path                   # folder laid out as weights/demo
    num_clips: int
    seed: int                       # moves to other held-out people; 0 is the published figure
    output: Path                    # where contact sheets go

    def clips(self, description: str) -> Iterator[SyntheticClip]:
        """Held-out clips: each of another person, doing kinds in a shuffled order, none twice before all were done."""
        kinds = np.random.default_rng(self.seed).permutation(KINDS)
        for index in tqdm(range(self.num_clips), desc=description, unit="clip", dynamic_ncols=True):
            yield sample_clip(HELD_OUT_SEED + 1000 * self.seed + index, str(kinds[index % len(kinds)]),
                              num_frames=CLIP_FRAMES, fps=self.config.fps, size=self.config.size)

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
        poses, own_pose = bench.draw(clip.skeleton), bench.draw(clip.reference_skeleton)[0]
        video = bench.models.video(f"evaluate {index}", bench.config.generator, clip.reference, poses, own_pose,
                                   progress=False)
        scores.append(video_scores(bench, clip, video))
        rows.append(SheetRow(clip.kind, clip.reference, poses, clip.frames, video))
    bench.save_sheets("video", rows)
    return mean_scores(scores)


def video_scores(bench: Bench, clip: SyntheticClip, video: np.ndarray) -> Values:
    """All scores of one generated clip (F, H, W, 3); `true_*` read the render itself, the best a video could do."""
    truth, still = clip.frames, np.broadcast_to(clip.reference, clip.frames.shape)
    scores = {"psnr": psnr(video, truth), "psnr_repeat": psnr(still, truth), "ssim": ssim(video, truth),
              "ssim_repeat": ssim(still, truth), "flicker": flicker(video, truth)}
    scores["psnr_gain"] = scores["psnr"] - scores["psnr_repeat"]
    for name, frames in (("", video), ("true_", truth)):
        found = bench.detect(frames, bench.config.fps)
        scores |= {f"{name}{part}": pck(found, clip.skeleton, PARTS[part]) for part in ("body", "hands")}
    colours = delta_e(video, truth, clip.skeleton)
    scores |= {f"delta_e_{region.replace(' ', '_')}": colours.get(region, float("nan")) for region in REGIONS}
    return scores | {"delta_e": float(np.mean(list(colours.values())) if colours else np.nan)}


def skeleton_adapter(bench: Bench) -> Values:
    """Drawn poses without hands in, with hands out; hands are read back from the drawing by the demo's pose network.

    `handless` reads the input itself, `true_hands` the drawing of the truth: what no adapter and a perfect one give.
    """
    scores, rows = [], []
    for index, clip in enumerate(bench.clips("skeleton adapter")):
        reference, handless = clip.reference_skeleton, clip.skeleton.without_hands()
        own_pose, given, wanted = bench.draw(reference)[0], bench.draw(handless), bench.draw(clip.skeleton)
        made = bench.models.video(f"evaluate {index}", bench.config.adapter, own_pose, given,
                                  bench.draw(reference.without_hands())[0], progress=False)
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
