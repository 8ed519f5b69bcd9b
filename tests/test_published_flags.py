"""The published command lines mean what they say there."""
import shlex
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from configs import load_config
from configs.published import flags_help, translated
from train_skeleton_adapter import SkeletonAdapterConfig
from train_video_generation import VideoGenerationConfig

ACCELERATE = sorted((Path(__file__).parents[1] / "configs" / "accelerate").glob("*.yaml"))
README = """--pretrained_model_name_or_path="/stabilityai/svd" --per_gpu_batch_size=1 --gradient_accumulation_steps=2
    --max_train_steps=100000 --width=576 --height=1024 --checkpointing_steps=5000 --checkpoints_total_limit=1
    --learning_rate=1e-5 --lr_warmup_steps=0 --seed=123 --mixed_precision="fp16"
    --enable_xformers_memory_efficient_attention --validation_steps=0 --gradient_checkpointing"""


@pytest.mark.parametrize("schema", [VideoGenerationConfig, SkeletonAdapterConfig])
@pytest.mark.parametrize("joined", [True, False])
def test_fleximos_command_line_sets_the_same_run(schema, joined):
    words = shlex.split(README)
    if not joined:
        words = [part for word in words for part in word.split("=", 1)]
    config = load_config(schema, translated(words))
    train = config.train
    assert (config.svd, config.width, config.height) == ("/stabilityai/svd", 576, 1024)
    assert (train.batch_size, train.gradient_accumulation, train.max_steps, train.seed) == (1, 2, 100000, 123)
    assert (train.checkpoint_every, train.checkpoints_total_limit, train.validate_every) == (5000, 1, 0)
    assert (train.learning_rate, train.warmup_steps, train.mixed_precision) == (1e-5, 0, "fp16")
    assert (train.attention, train.gradient_checkpointing, train.validation_clips) == ("xformers", True, 0)


def test_flags_and_keys_mix_and_the_last_one_wins():
    words = ["--config", "configs/train_video_generation.yaml", "--seed", "1", "train.seed=2", "--use_8bit_adam"]
    assert translated(words) == [*words[:2], "train.seed=1", "train.seed=2", "train.optimizer=adamw_8bit"]
    assert load_config(VideoGenerationConfig, translated(words)).train.seed == 2
    assert translated(["--validation_steps=500"]) == ["train.validate_every=500", "train.validation_clips=1"]
    assert translated(["--help"]) == ["--help"]


@pytest.mark.parametrize("word, says", [
    ("--max_train_step=3", "did you mean --max_train_steps"), ("--seed", "expected a value"),
    ("--num_train_epochs=3", "no counterpart here: say how long with --max_train_steps"),
    ("--gradient_checkpointing=yes", "takes no value"), ("--zzz", "see --help"),
])
def test_a_flag_that_cannot_be_honoured_is_named(word, says):
    with pytest.raises(ValueError, match=says):
        translated([word])


def test_help_lists_every_flag():
    assert "--per_gpu_batch_size=… (train.batch_size)" in flags_help() and max(map(len, flags_help().splitlines())) <= 120


@pytest.mark.parametrize("path", ACCELERATE, ids=lambda path: path.name)
def test_accelerate_reads_every_shipped_launch_config(path):
    config = load_config_from_file(str(path))
    assert config.num_processes >= 1 and config.distributed_type is not None
