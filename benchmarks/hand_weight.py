"""Does looking harder at hands make better hands? The demo's video model trained with and without the hands' weight.

    python benchmarks/hand_weight.py --cache data/demo/pictures --work outputs/hand_weight

Both halves start from the same fresh weights and take the same samples in the same order with the same noise; only
`hand_weight` differs (10 as in MimicMotion, section 3.3, against 1). Both then make the same held-out clips from the same
noise, in bfloat16 as the demo; the demo's detector reads their hands, and the difference is taken clip by clip.
Stopped anywhere, the same command goes on. About two hours of one core; `--train 1` and `--train 10` beside each other
train one half each, before the same command without them compares.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from configs import run_main, whole_number
from demo.init_models import save_fresh, VIDEO_UNET
from dwpose.detector import PoseDetector
from dwpose.draw import draw
from dwpose.skeleton import BODY, hand_boxes, HANDS, NUM_KEYPOINTS, Skeleton
from mimicmotion import VideoTrainConfig
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.task import VideoTask
from motionbench.pose import pck
from motionbench.results import difference_interval
from synthetic.clips import CachedClips, HELD_OUT_SEED, sample_clip, SyntheticClip
from training.loop import train

DEMO = Path("weights/demo")
WEIGHTS = (1.0, 10.0)               # `hand_weight` of the two halves
FRAMES, FPS = 4, 1.5                # few frames, far apart: a clip's hands are as different as they get
SAMPLING = dict(num_inference_steps=3, guidance_scale=1.0, noise_sharing=1.0, tile_size=16, tile_overlap=4)   # demo.yaml
NARROW = 0.025                      # of the person's height: half the usual threshold, a third of a hand
Values = dict[str, float]


def held_out(count: int) -> Iterator[SyntheticClip]:
    """People, motions and cameras no training saw."""
    for index in tqdm(range(count), desc="held-out clips", unit="clip", dynamic_ncols=True):
        yield sample_clip(HELD_OUT_SEED + index, num_frames=FRAMES, fps=FPS)


def hand_psnr(video: np.ndarray, truth: np.ndarray, skeleton: Skeleton) -> float:
    """Peak signal-to-noise ratio within the true hands' boxes, dB; NaN where no hand is seen."""
    inside = np.zeros(truth.shape[:3], bool)                                            # (F, H, W)
    for frame, boxes in enumerate(hand_boxes(skeleton.keypoints)):
        for left, top, right, bottom, confidence in boxes:
            if confidence > 0:
                rows, columns = (slice(max(0, int(low)), max(0, int(np.ceil(high))))
                                 for low, high in ((top, bottom), (left, right)))
                inside[frame, rows, columns] = True
    if not inside.any():
        return float("nan")
    error = (video[inside].astype(np.float64) - truth[inside]) ** 2                     # (N, 3)
    return float(10 * np.log10(255**2 / max(error.mean(), 1e-9)))


def scores(model: PoseToVideo, detector: PoseDetector, count: int) -> list[Values]:
    """What the model makes of true skeletons of held-out people, clip by clip."""
    found = []
    for clip in held_out(count):
        video = model(clip.reference, draw(clip.skeleton), torch.Generator().manual_seed(0), progress=False, **SAMPLING)
        try:
            seen = detector.detect(video, FPS)
        except ValueError:                                              # nobody recognised: every point is missed
            seen = Skeleton(np.zeros((FRAMES, NUM_KEYPOINTS, 3), np.float32), clip.size, FPS)
        found.append({"hand_pck": pck(seen, clip.skeleton, HANDS), "body_pck": pck(seen, clip.skeleton, BODY),
                      "hand_pck_narrow": pck(seen, clip.skeleton, HANDS, NARROW),
                      "hand_psnr": hand_psnr(video, clip.frames, clip.skeleton)})
    return found


def loaded(checkpoint: Path) -> PoseToVideo:
    return PoseToVideo.load(DEMO / "svd", checkpoint, dtype=torch.bfloat16)


def trained(weight: float, arguments: argparse.Namespace) -> Path:
    """A video model of the demo's size after `steps` on single pictures, as configs/train_video_demo.yaml trains it."""
    output = arguments.work / f"weight_{weight:g}"
    config = VideoTrainConfig(
        output=str(output), max_steps=arguments.steps, batch_size=8, parts="spatial", optimizer="muon",
        learning_rate=0.015, adam_learning_rate=1e-3, warmup_steps=40, final_learning_rate=0.02, ema_decay=0.99,
        sigma_mean=0.9, sigma_std=1.7, sigma_uniform_share=0.12, conditioning_dropout=0.03, noise_aug_strength=0.0,
        hand_weight=weight, num_workers=0, checkpoint_every=50, checkpoints_total_limit=1, report_to="none",
        seed=arguments.seed)
    torch.manual_seed(arguments.seed)
    save_fresh(output / "fresh", VIDEO_UNET)
    clips = CachedClips(arguments.cache, 1, seed=arguments.seed)
    return train(VideoTask(PoseToVideo.load(DEMO / "svd", output / "fresh"), config), clips, config)


def compared(found: dict[str, list[Values]]) -> dict:
    """Means of every model, and what the weight gains: mean difference and 95 % interval over clips."""
    means = {model: {name: round(float(np.nanmean([clip[name] for clip in clips])), 4) for name in clips[0]}
             for model, clips in found.items()}
    without, with_weight = (found[f"weight_{weight:g}"] for weight in WEIGHTS)
    gains = {}
    for name in without[0]:
        gain = difference_interval([clip[name] for clip in with_weight], [clip[name] for clip in without])
        gains[name] = [round(value, 4) for value in (gain.mean, gain.low, gain.high)]
    return means | {"gain": gains, "clips": len(without)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="folder by demo/prepare_clips.py, encoded")
    parser.add_argument("--work", type=Path, required=True, help="folder for checkpoints and result.json")
    parser.add_argument("--steps", type=whole_number(1), default=2000, help="of each half, 8 pictures each")
    parser.add_argument("--clips", type=whole_number(1), default=160, help="held-out clips")
    parser.add_argument("--train", type=float, choices=WEIGHTS, metavar="WEIGHT", help="train this half and stop")
    parser.add_argument("--seed", type=whole_number(0), default=0, help="of samples and noise, the same for both halves")
    arguments = parser.parse_args()
    if arguments.train:
        trained(arguments.train, arguments)
        return
    detector = PoseDetector.load(DEMO / "dwpose" / "detector.onnx", DEMO / "dwpose" / "pose.onnx")
    checkpoints = {f"weight_{weight:g}": trained(weight, arguments) for weight in WEIGHTS}
    found = {name: scores(loaded(path), detector, arguments.clips) for name, path in checkpoints.items()}
    result = compared(found) | {"steps": arguments.steps, "seed": arguments.seed}
    (arguments.work / "result.json").write_text(json.dumps(result | {"per_clip": found}, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    run_main(main)
