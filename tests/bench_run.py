"""A run of MotionBench with stand-ins for models, makers and measures, for the tests of test_motionbench*.py."""

import json
from pathlib import Path

import numpy as np

from dwpose.skeleton import Skeleton
from motionbench.cells import balanced_cells, chosen_motions
from motionbench.making import Made
from motionbench.metrics import Metric, Score
from motionbench.picture import psnr
from scripts.eval_motionbench import main, Parts

SIZE, FPS, SECONDS = (96, 64), 5.0, 1.2
NUM_FRAMES = 6
INFERENCE_KEYS = f"inference_keys=height={SIZE[0]} width={SIZE[1]} fps={FPS} device=cpu pose.cache="
KEYS = ["num_identities=3", "motions=squat,wave_left,kick_right", "num_clips=3", f"seconds={SECONDS}",
        "variants=given_motion,no_adapter,truth,repeat", INFERENCE_KEYS]
CELLS = [cell.name for cell in balanced_cells(("person00", "person01", "person02"),
                                              chosen_motions("squat,wave_left,kick_right"), 3, seed=0)]


class Looker:
    """Stands in for the models: sees the same person everywhere, but nobody in a black video."""
    device = "cpu"

    def __init__(self, config, keep):
        self.config, self.looks = config, 0

    def detect(self, frames, fps, source):
        self.looks += 1
        if not frames.any():
            raise ValueError("nobody")
        keypoints = np.ones((len(frames), 133, 3), np.float32) * 20
        keypoints[..., 2] = 1
        return Skeleton(keypoints, frames.shape[1:3], fps)


class Maker:
    """Makes the truth with noise, and remembers what it was asked for; may fail or be killed at a clip."""

    def __init__(self, fails=(), killed_at=None):
        self.made, self.fails, self.killed_at = [], fails, killed_at

    def __call__(self, config, variant, models, given, stages):
        name = f"{variant.name} {stages.name}"
        if name == self.killed_at:
            raise KeyboardInterrupt
        self.made.append(name)
        if stages.name in self.fails:
            raise ValueError(f"{config.image}: nobody in the picture")
        noise = np.random.default_rng(config.seed).integers(0, 120, (NUM_FRAMES, *SIZE, 3), dtype=np.uint8)
        return Made(noise if variant.adapter else noise // 2, given.skeleton, 1.0, 1 << 20, (2,))


def takes_squats_for_waves(case):
    label = "wave_left" if case.motion == "squat" else case.motion
    return Score(float(label == case.motion), "looked", label)


def few_measures(config, motions, device):
    return (Metric("motion_score_pose", "MotionScore (pose)", "", "higher", (0, 1), "share", "ours", ("seen",),
                   takes_squats_for_waves, failed=0.0),
            Metric("psnr", "PSNR", "dB", "higher", (0, 100), "mean", "ours", ("truth",),
                   lambda case: psnr(case.video, case.truth), failed=0.0),
            Metric("spread", "Spread", "", "lower", (0, 1), "distance", "ours",
                   features=lambda case: {"video": case.video.mean(axis=(1, 2))},
                   combined=lambda clips: float(np.concatenate([clip["video"] for clip in clips]).std())),
            Metric("lpips", "LPIPS", "", "lower", (0, 1), "", "", absent="weights/metrics/alexnet.pth is not here"))


def run_in(folder: Path, *keys, maker=None, config="motionbench_demo.yaml", measures=few_measures):
    """Runs MotionBench in the folder; gives the maker, the models, results.json and the run's own folder."""
    maker, models = maker or Maker(), []
    parts = Parts(lambda *args: models.append(Looker(*args)) or models[0], maker, measures)
    main(["--config", f"configs/{config}", f"outputs={folder}", *KEYS, *keys], parts)
    folder = next(path for path in folder.iterdir() if (path / "results.json").is_file())
    return maker, models[0], json.loads((folder / "results.json").read_text()), folder
