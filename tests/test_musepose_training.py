"""MusePose's two stages on the training loop: a killed run goes on bit by bit as one that never stopped."""
import os
import random
import signal

import pytest
import torch
from diffusers import AutoencoderKL
from musepose_tiny import CONFIG, tiny_files, tiny_model
from safetensors.torch import load_file
from tiny_training import launched
from torch.utils.data import Dataset

from musepose import MusePoseTrainConfig
from musepose.checkpoint import load_saved_networks
from musepose.task import for_stage, MusePoseTask
from train_musepose import MusePoseTraining, task_of
from training.loop import train

STEPS = 4


class Pictures(Dataset):
    """Four clips; asking for sample `killed_at` kills the process, as nothing else would be allowed to notice."""

    def __init__(self, num_frames: int, killed_at: int = -1):
        self.num_frames, self.killed_at = num_frames, killed_at

    def __len__(self):
        return 4

    def __getitem__(self, key):
        index, position = key
        if position == self.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        numbers = torch.Generator().manual_seed(index)
        pixels = lambda *shape: torch.rand(*shape, generator=numbers) * 2 - 1
        return {"target": pixels(self.num_frames, 3, 32, 32), "pose": pixels(self.num_frames, 3, 32, 32),
                "reference": pixels(3, 32, 32), "position": torch.tensor(position)}


def train_tiny(stage: int, output: str, killed_at: int = -1, max_steps: int = STEPS) -> None:
    """A few steps of a stage, with two batches to a step."""
    torch.set_num_threads(1)
    config = MusePoseTrainConfig(output=output, max_steps=max_steps, learning_rate=1e-3, checkpoint_every=1, log_every=1,
                                 num_workers=0, mixed_precision="no", report_to="none", gradient_accumulation=2, stage=stage,
                                 uncond_ratio=0.3, ema_decay=0.5)
    torch.manual_seed(0)
    model = for_stage(tiny_model(), CONFIG, stage)
    train(MusePoseTask(model, CONFIG, config), Pictures(1 if stage == 1 else 2, killed_at), config)


def test_a_new_pose_guider_is_the_seeds(tmp_path):
    files, guiders = tiny_files(tmp_path), []
    eighths = dict(block_out_channels=(32,) * 4, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    AutoencoderKL(**eighths).save_pretrained(files.pretrained_vae)
    for seed in (3, 3, 4):
        config = MusePoseTraining(base_model=str(files.pretrained_base_model), vae=str(files.pretrained_vae), image_encoder=str(files.image_encoder),
                                  train=MusePoseTrainConfig(stage=1, seed=seed))
        guiders.append(torch.cat([p.flatten() for p in task_of(config).model.pose_guider.parameters()]))
        torch.rand(5)                                                           # whatever else a program draws
    assert torch.equal(guiders[0], guiders[1]) and not torch.equal(guiders[0], guiders[2])


@pytest.mark.parametrize(("stage", "kills"), [(2, 1), *(pytest.param(stage, 3, marks=pytest.mark.slow) for stage in (1, 2))])
def test_a_training_killed_at_random_steps_goes_on_as_if_it_had_never_stopped(tmp_path, stage, kills):
    whole, cut = str(tmp_path / "whole"), str(tmp_path / "cut")
    assert launched(1, train_tiny, stage, whole) == [0]
    samples = sorted(random.sample(range(1, 2 * STEPS), kills))                      # two to a step
    for sample in samples:
        assert launched(1, train_tiny, stage, cut, sample) == [-signal.SIGKILL]
        assert not (tmp_path / "cut" / "model.safetensors").exists()
    assert launched(1, train_tiny, stage, cut) == [0]
    wanted, found = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted), f"killed at samples {samples}"
    before = for_stage(tiny_model(), CONFIG, stage).denoiser.state_dict()
    after = load_saved_networks(tmp_path / "whole", torch.float32).denoiser.state_dict()
    moved = {name for name in before if not torch.equal(before[name].half().float(), after[name])}
    assert moved and (stage == 1 or all(".motion_modules." in name for name in moved))


def test_two_processes_train_together_whoever_has_no_picture(tmp_path):
    """Also where a process has no sample with a picture: all parameters have a gradient in all processes."""
    assert launched(2, train_tiny, 1, str(tmp_path / "pair"), -1, 2) == [0, 0]
    assert (tmp_path / "pair" / "model.safetensors").is_file()
