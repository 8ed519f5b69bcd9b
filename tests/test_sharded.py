"""The shipped launch files: FSDP2 on two CPU processes equals training without it, goes on exactly and gives a model;
DeepSpeed as far as that can be seen without it."""
import json
import os
from functools import partial
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import AcceleratorState, DistributedType, PartialState
from accelerate.utils import DeepSpeedPlugin
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from safetensors.torch import load_file

from mimicmotion.pipeline import PoseToVideo
from tiny_training import launched, RandomClips, settings, train_video
from training.loop import started

FSDP2, DEEPSPEED = (Path(__file__).parents[1] / "configs" / "accelerate" / f"{name}.yaml"
                    for name in ("fsdp2", "deepspeed_zero2"))


def launch_variables(path: Path) -> dict[str, str]:
    """What `accelerate launch --config_file` tells the processes it starts."""
    words = ["--config_file", str(path), "--main_process_port", "0", "train_video_generation.py"]
    arguments, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    if arguments.use_deepspeed:
        arguments.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
        _, variables = prepare_deepspeed_cmd_env(arguments)
    else:
        variables = prepare_multi_gpu_env(arguments)
    return {name: value for name, value in variables.items() if name.startswith(("FSDP", "ACCELERATE", "DEEPSPEED"))}


def test_deepspeed_is_told_the_runs_own_batch_clipping_and_accumulation(tmp_path, monkeypatch):
    """accelerate reads the file, and what its launcher says of these yields to the run's settings."""
    for name, value in launch_variables(DEEPSPEED).items():
        monkeypatch.setenv(name, value)
    plugin = DeepSpeedPlugin()
    monkeypatch.delenv("ACCELERATE_USE_DEEPSPEED")                      # it is not installed
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "auto")
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.DEEPSPEED)
    monkeypatch.setattr(AcceleratorState, "deepspeed_plugin", plugin)
    config = settings(tmp_path, batch_size=3, gradient_accumulation=2, max_grad_norm=0.5)
    assert started(config).gradient_accumulation_steps == 2
    found = plugin.deepspeed_config
    assert found["zero_optimization"]["stage"] == 2 and found["train_micro_batch_size_per_gpu"] == 3
    assert (found["gradient_clipping"], found["gradient_accumulation_steps"]) == (0.5, 2)


def sharded(folders: tuple, output: Path, **changes) -> None:
    """One of two processes that `accelerate launch --config_file configs/accelerate/fsdp2.yaml` would start."""
    os.environ.update(launch_variables(FSDP2), ACCELERATE_MIXED_PRECISION="no")
    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)    # accelerate shards on GPUs
    PartialState.set_device = lambda state: setattr(state, "device", torch.device("cpu"))   # alone: these pose as some
    torch.distributed.init_process_group("gloo")
    torch.set_num_threads(1)
    train_video(PoseToVideo.load(*folders), RandomClips(), settings(output, validation_clips=2, **changes))


def test_sharded_training_equals_whole_training_resumes_exactly_and_exports(tiny_svd_folder, tiny_checkpoint, tmp_path):
    folders = tiny_svd_folder, tiny_checkpoint
    for name, changes in (("whole", dict(max_steps=2, validate_every=1)),
                          ("halves", dict(max_steps=1, asynchronous_saving=True)), ("halves", dict(max_steps=2))):
        assert launched(2, partial(sharded, **changes), folders, tmp_path / name) == [0, 0]
    whole, halves = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "halves"))
    assert [name for name in whole if not torch.equal(whole[name], halves[name])] == []     # nor does validation matter
    assert (tmp_path / "halves" / "latest" / "sharded" / "__1_0.distcp").is_file()
    PoseToVideo.load(tiny_svd_folder, tmp_path / "halves")
    train_video(PoseToVideo.load(*folders), RandomClips(), settings(tmp_path / "alone", max_steps=2, validation_clips=2,
                                                              batch_size=2))
    alone, start = load_file(tmp_path / "alone" / "model.safetensors"), load_file(tiny_checkpoint)
    distance = lambda one, other: sum((one[name].float() - other[name].float()).square().sum() for name in alone) ** 0.5
    assert distance(alone, start) > 0.1 and distance(alone, whole) < 0.05 * distance(alone, start)
    facts = json.loads((tmp_path / "halves" / "latest" / "state.json").read_text())
    assert facts["position"] == 4 and facts["sharded"] == "DistributedType.FSDP"
    with pytest.raises(ValueError, match="expected the 2 processes that wrote it, with DistributedType.FSDP weights"):
        train_video(PoseToVideo.load(*folders), RandomClips(), settings(tmp_path / "halves", max_steps=4, batch_size=2,
                                                                  validation_clips=2))
