"""The training loop: learns, never mixes samples, resumes exactly, and does not depend on the number of processes."""
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from mimicmotion.objective import DenoisingLoss, pose_region_weight, sample_randomness
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.train_config import TrainConfig
from mimicmotion.training import train


class RandomClips(Dataset):
    """Eight clips of cached latents that depend on their index alone."""

    def __len__(self):
        return 8

    def __getitem__(self, key):
        index, position = key
        generator = torch.Generator().manual_seed(index)
        return {"latents": torch.randn(2, 4, 8, 8, generator=generator),
                "reference_latents": torch.randn(4, 8, 8, generator=generator),
                "reference": torch.rand(3, 64, 64, generator=generator) * 2 - 1,
                "pose": torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1,
                "position": torch.tensor(position)}


def settings(output: Path, **changes) -> TrainConfig:
    return TrainConfig(**{**dict(output=str(output), max_steps=4, learning_rate=1e-3, warmup_steps=1, ema_decay=0.5,
                                 checkpoint_every=2, log_every=1, num_workers=0, mixed_precision="no", seed=3), **changes})


@pytest.fixture
def model(tiny_svd_folder, tiny_checkpoint):
    return PoseToVideo.load(tiny_svd_folder, tiny_checkpoint)


def weights(folder: Path) -> dict:
    return torch.load(sorted(folder.glob("checkpoint-*.pt"))[-1], weights_only=True)["model"]


def batch_of(indices: list[int]) -> dict:
    items = [RandomClips()[(index, index)] for index in indices]
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


def loss_of(model, indices: list[int], config: TrainConfig) -> torch.Tensor:
    batch = batch_of(indices)
    noise, sigma, keep = sample_randomness(config, indices, batch["latents"].shape[1:])
    return DenoisingLoss(model, config)(batch["latents"], batch["reference_latents"], batch["reference"], batch["pose"],
                                        noise, sigma, keep)


@torch.no_grad()
def test_conditioning_never_mixes_samples(model, tmp_path):
    """The published training conditions every sample on sample 0 once the batch is larger than one."""
    config = settings(tmp_path, conditioning_dropout=0.3)
    together = loss_of(model, [0, 1, 2], config)
    torch.testing.assert_close(together[[2, 0, 1]], loss_of(model, [2, 0, 1], config), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1:2], loss_of(model, [1], config), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_loss_looks_at_reference_and_pose(model, tmp_path):
    config = settings(tmp_path, conditioning_dropout=0.0)
    batch = batch_of([0])
    noise, sigma, keep = sample_randomness(config, [0], batch["latents"].shape[1:])
    loss = lambda **changed: DenoisingLoss(model, config)(
        *[{**batch, **changed}[key] for key in ("latents", "reference_latents", "reference", "pose")], noise, sigma, keep)
    for key in ("reference_latents", "reference", "pose"):
        assert (loss() - loss(**{key: -batch[key]})).abs() > 1e-6, key


def test_training_lowers_the_loss(model, tmp_path):
    config = settings(tmp_path, max_steps=30, checkpoint_every=30, conditioning_dropout=0.0)
    before = loss_of(model, list(range(8)), config).mean().item()
    train(model, RandomClips(), config)
    assert loss_of(model, list(range(8)), config).mean().item() < 0.9 * before


def test_resuming_equals_never_stopping(tiny_svd_folder, tiny_checkpoint, tmp_path):
    load = lambda: PoseToVideo.load(tiny_svd_folder, tiny_checkpoint)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train(load(), RandomClips(), settings(whole))
    train(load(), RandomClips(), settings(halves, max_steps=2))
    train(load(), RandomClips(), settings(halves, max_steps=4))
    expected, found = weights(whole), weights(halves)
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)


def test_resuming_with_other_settings_is_refused(model, tmp_path):
    train(model, RandomClips(), settings(tmp_path, max_steps=1, checkpoint_every=1))
    with pytest.raises(ValueError, match="learning_rate: 0.001 -> 0.01"):
        train(model, RandomClips(), settings(tmp_path, learning_rate=0.01))


def test_exported_weights_load_strictly_and_are_the_average(tiny_svd_folder, model, tmp_path):
    output = train(model, RandomClips(), settings(tmp_path, ema_decay=0.5))
    exported = PoseToVideo.load(tiny_svd_folder, output)
    trained = weights(tmp_path)["unet.conv_out.weight"]
    assert not torch.equal(exported.unet.conv_out.weight, trained)
    torch.testing.assert_close(exported.unet.conv_out.weight, model.unet.conv_out.weight, atol=2e-3, rtol=2e-3)


def test_training_the_spatial_part_leaves_the_temporal_part_alone(model, tmp_path):
    before = {name: p.detach().clone() for name, p in model.unet.named_parameters()}
    train(model, RandomClips(), settings(tmp_path, parts="spatial", ema_decay=0))
    moved = {name for name, p in model.unet.named_parameters() if not torch.equal(p, before[name])}
    assert moved and not any("temporal" in name or "time_" in name and "mixer" in name for name in moved)


def test_pose_weight_looks_harder_at_the_pose():
    pose = torch.full((1, 1, 3, 64, 64), -1.0)
    pose[..., 8:16, 8:16] = 1
    weight = pose_region_weight(pose, (8, 8), 3.0)
    assert weight[0, 0, 0, 1, 1] == pytest.approx(3 * weight[0, 0, 0, 7, 7].item())
    assert weight.mean() == pytest.approx(1)


TWO_PROCESSES = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from test_training import RandomClips, settings
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.training import train
svd, checkpoint, output, batch_size = sys.argv[1:]
train(PoseToVideo.load(svd, checkpoint), RandomClips(), settings(Path(output), max_steps=2, batch_size=int(batch_size)))
"""


def test_two_processes_equal_one_with_twice_the_batch(tiny_svd_folder, tiny_checkpoint, tmp_path):
    script = tmp_path / "run.py"
    root = Path(__file__).resolve().parents[1]
    script.write_text(TWO_PROCESSES.format(root=str(root), tests=str(root / "tests")))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}

    def run(num_processes: int, batch_size: int) -> dict:
        output = tmp_path / f"processes{num_processes}"
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(num_processes)]
        done = subprocess.run([sys.executable, *launcher, str(script), str(tiny_svd_folder), str(tiny_checkpoint),
                               str(output), str(batch_size)], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        return weights(output)

    initial = DenoisingLoss(PoseToVideo.load(tiny_svd_folder, tiny_checkpoint), settings(tmp_path)).state_dict()
    alone, shared = run(1, 2), run(2, 1)
    moved = sum((alone[name] - initial[name]).norm() ** 2 for name in initial) ** 0.5
    apart = sum((alone[name] - shared[name]).norm() ** 2 for name in initial) ** 0.5
    assert moved > 0.1 and apart < 0.05 * moved         # Adam's division magnifies rounding where gradients are tiny
