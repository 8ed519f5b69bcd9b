"""train_motion_customization.py: settings, the published config, a run's result, and going on after kill -9 bit by bit."""
import json
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import generate_customized
import train_motion_customization as launcher
from configs import CONFIG_FOLDER, load_config
from configs.published import with_published_yaml
from media.video_writer import write_video
from newmove.clips import MotionClips
from newmove.objective import NAME
from newmove.task import pieces_of
from newmove.text_to_video import TextToVideo
from newmove_goldens import complete
from scripts import convert_checkpoint, customization_memory
from tiny_training import launched
from training.checkpoints import latest_checkpoint

STEPS = 6
PUBLISHED = """
pretrained_model_path: weights/zs
output_dir: results
prior_preservation: true
prior_lambda: .25
trainable_modules: [cross, temporal]
max_train_steps: 300
learning_rate: 5.0e-06
checkpointing_steps: [100, 150, 200]
placeholder_token: sks
initializer_token: pll
subject: best
train_data: {width: 256, height: 320, use_bucketing: true, sample_start_idx: 1, fps: 8, frame_step: 1, n_sample_frames: 12,
             fallback_prompt: [null], path: clips, train_weights: all, add_token: false, class_path: others, class_prompt: null,
             sampling: low-level}
validation_data: {prompt: prompts.txt, sample_preview: true, num_frames: 16, guidance_scale: 9}
dataset_types: [folder]
extra_unet_params: {learning_rate: 1.0e-05}
train_batch_size: 1
lr_scheduler: constant
adam_beta1: 0.9
resume_from_checkpoint: null
mixed_precision: fp16
use_8bit_adam: true
use_offset_noise: true
offset_noise_strength: 0.1
kwargs:
"""


@pytest.fixture(scope="module")
def pipeline(request, tmp_path_factory):
    goldens = request.config.getoption("--goldens") or Path(__file__).parent / "fixtures" / "newmove"
    return complete(goldens, tmp_path_factory.mktemp("newmove")) / "pipeline"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three exemplars with captions, four prior clips named by what is in them."""
    exemplars, priors = tmp_path_factory.mktemp("exemplars"), tmp_path_factory.mktemp("priors")
    rng = np.random.default_rng(0)
    for folder, stems in ((exemplars, "abc"), (priors, ("a_man_walks", "two_people", "a_cat", "a_dog"))):
        for stem in stems:
            write_video(folder / f"{stem}.mp4", rng.integers(0, 256, (9, 32, 32, 3), np.uint8), 24)
    for stem in "abc":
        (exemplars / f"{stem}.txt").write_text(f"person {stem} doing the sks dance")
    return str(exemplars), str(priors)


def arguments(pipeline, folders, output, *more):
    exemplars, priors = folders
    return [f"model={pipeline}", f"exemplars={exemplars}", f"prior={priors}", f"train.output={output}", "num_frames=4", "height=32",
            "width=32", "bucketing=false", f"train.max_steps={STEPS}", "train.checkpoint_every=2", "train.learning_rate=1e-3",
            "train.mixed_precision=no", "train.num_workers=0", "train.report_to=none", "train.log_every=1", *more]


def run(pipeline, folders, output, killed_at: int, *more) -> None:
    """Train the tiny model; kill -9 at the sample `killed_at`."""
    torch.set_num_threads(1)
    item = MotionClips.__getitem__

    def item_or_die(clips, key):
        if key[1] == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return item(clips, key)

    MotionClips.__getitem__ = item_or_die
    try:
        launcher.customize(load_config(launcher.MotionCustomizationConfig, arguments(pipeline, folders, output, *more)))
    finally:
        MotionClips.__getitem__ = item


@pytest.fixture(scope="module")
def never_stopped(pipeline, folders, tmp_path_factory):
    output = tmp_path_factory.mktemp("never")
    run(pipeline, folders, output, -1)
    return output


def assert_equal(one: Path, other: Path) -> None:
    """The trained tensors, and everything the newest checkpoint goes on from, are the same bit by bit."""
    for paths in ((one / NAME, other / NAME), [latest_checkpoint(folder) / "trained.safetensors" for folder in (one, other)]):
        first, second = map(load_file, paths)
        assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_leaves_what_was_trained_and_nothing_else(never_stopped, pipeline):
    stored, start = load_file(never_stopped / NAME), TextToVideo.load(pipeline).unet.state_dict()
    wanted = json.loads((pipeline.parent / "trainable.json").read_text())["settings"]["cross+temporal+temp_convs"]["tiny"]
    assert [len(stored), sum(tensor.numel() for tensor in stored.values())] == wanted
    moved = [name for name, tensor in stored.items() if not torch.equal(tensor, start[name])]
    assert len(moved) == len(stored) and (latest_checkpoint(never_stopped) / NAME).is_file()
    assert (never_stopped / NAME).stat().st_size < 1.3 * 4 * wanted[1]


def test_going_on_after_kill_9_at_a_random_step_equals_never_stopping(pipeline, folders, never_stopped, tmp_path):
    step = random.SystemRandom().randint(3, STEPS)
    assert launched(1, run, pipeline, folders, tmp_path, step - 1) == [-signal.SIGKILL], step
    assert latest_checkpoint(tmp_path).name == f"checkpoint-{2 * ((step - 1) // 2)}"
    run(pipeline, folders, tmp_path, -1)
    assert_equal(tmp_path, never_stopped)


@pytest.mark.slow
def test_two_processes_go_on_exactly_after_kill_9_too(pipeline, folders, tmp_path):
    position = random.SystemRandom().randint(4, 2 * STEPS - 1)
    assert launched(2, run, pipeline, folders, tmp_path / "never", -1) == [0, 0]
    assert -signal.SIGKILL in launched(2, run, pipeline, folders, tmp_path / "killed", position), position
    assert launched(2, run, pipeline, folders, tmp_path / "killed", -1) == [0, 0]
    assert_equal(tmp_path / "killed", tmp_path / "never")


def test_other_settings_are_refused_when_a_run_goes_on(pipeline, folders, never_stopped):
    with pytest.raises(ValueError, match="prior_weight"):
        run(pipeline, folders, never_stopped, -1, "prior_weight=1.0", f"train.max_steps={STEPS + 2}")


@pytest.mark.parametrize("more", [("prior=null",), ("train.batch_size=2",), ("debiasing=0.5", "cached_latents=false"),
                                  ("gradient_checkpointing=false", "trainable_modules=[temporal]", "sampling=uniform")])
def test_without_prior_with_more_samples_and_with_debiasing_it_trains(pipeline, folders, tmp_path, more):
    run(pipeline, folders, tmp_path, -1, *more, "train.max_steps=1")
    stored, start = load_file(tmp_path / NAME), TextToVideo.load(pipeline).unet.state_dict()
    assert any(not torch.equal(tensor, start[name]) for name, tensor in stored.items())


def test_the_result_generates_and_exports(never_stopped, pipeline, tmp_path):
    generate = lambda weights, out: generate_customized.main(
        ["-m", str(weights), "-o", str(tmp_path / out), "-p", "3,a man doing the sks dance"[2:], "-s", "3", "-r", "32", "-d", "2",
         "-steps", "2", "--device", "cpu", "--dtype", "float32"])
    generate(never_stopped, "customised")
    convert_checkpoint.main([str(never_stopped), str(tmp_path / "pipeline"), "--dtype", "float32"])
    generate(tmp_path / "pipeline", "exported")
    generate(pipeline, "base")
    films = [next((tmp_path / out).glob("*.mp4")).read_bytes() for out in ("customised", "exported", "base")]
    assert films[0] == films[1] and films[0] != films[2]
    with pytest.raises(ValueError, match="already there: choose another"):
        convert_checkpoint.main([str(never_stopped), str(tmp_path / "pipeline")])


def test_a_mistake_is_found_before_a_model_is_loaded(pipeline, folders, tmp_path, monkeypatch):
    monkeypatch.setattr(launcher, "task_of", lambda *_: pytest.fail("loaded a model"))
    for more, words in ((("exemplars=nowhere",), "nowhere: expected a folder of videos"), (("num_frames=40",), "num_frames=40 needs at least 20"),
                        (("debiasing=-1",), "debiasing: expected at least 0"),
                        ((f"exemplars={folders[1]}",), "expected a caption for every clip .found none for 4 of 4")):
        with pytest.raises((ValueError, FileNotFoundError), match=words) as error:
            run(pipeline, folders, tmp_path, -1, *more)
        assert "\n" not in str(error.value)


def test_a_size_without_latents_is_refused(pipeline, folders, tmp_path):
    with pytest.raises(ValueError, match="height, width: expected multiples of . pixels .found 33x32"):
        run(pipeline, folders, tmp_path, -1, "height=33")


def test_a_wan_folder_is_not_mistaken(pipeline, folders, tmp_path):
    with pytest.raises(ValueError, match="found TextToVideoSDPipeline.*base=zeroscope"):
        run(pipeline, folders, tmp_path, -1, "base=wan", "num_frames=5")


def test_a_disk_that_fills_while_latents_are_cached_is_one_line(pipeline, folders, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr("newmove.clips.save_tensors", full)
    with pytest.raises(ValueError, match="latents: No space left on device: make room.*cache="):
        run(pipeline, folders, tmp_path, -1)


def test_the_published_config_is_understood(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(PUBLISHED)
    config = load_config(launcher.MotionCustomizationConfig, with_published_yaml(["--config", str(path), "train.seed=5"]))
    assert (config.model, config.exemplars, config.prior, config.word) == ("weights/zs", "clips", "others", "sks")
    assert (config.width, config.height, config.num_frames, config.fps, config.sampling) == (256, 320, 12, 8, "low-level")
    assert (config.prior_weight, config.trainable_modules, config.captions) == (0.25, ["cross", "temporal"], [])
    assert (config.offset_noise, config.validation_prompts) == (0.1, "prompts.txt")
    train = config.train
    assert (train.output, train.max_steps, train.checkpoint_every, train.optimizer, train.seed) == ("results", 300, 50, "adamw_8bit", 5)
    assert train.learning_rate == 5e-6 and train.warmup_steps == 0 and train.ema_decay == 0
    values = yaml.safe_load(PUBLISHED)
    for change, words in (({"prior_preservation": False}, None), ({"lr_scheduler": "cosine"}, "expected lr_scheduler to be constant"),
                          ({"lerning_rate": 1}, "unknown key 'lerning_rate'")):
        path.write_text(yaml.safe_dump(values | change))
        if words is None:
            assert load_config(launcher.MotionCustomizationConfig, with_published_yaml(["--config", str(path)])).prior is None
        else:
            with pytest.raises(ValueError, match=words):
                with_published_yaml(["--config", str(path)])


def test_our_own_yaml_is_the_default(tmp_path):
    path = CONFIG_FOLDER / "train_motion_customization.yaml"
    assert with_published_yaml(["--config", str(path)]) == ["--config", str(path)]
    assert load_config(launcher.MotionCustomizationConfig, ["--config", str(path)]) == launcher.MotionCustomizationConfig()


def test_a_word_of_several_pieces_is_seen(pipeline):
    tokenizer = TextToVideo.load(pipeline).tokenizer
    assert pieces_of(tokenizer, "sks") == ["sks"] and len(pieces_of(tokenizer, "xqzvv")) > 1
    assert "".join(pieces_of(tokenizer, "xqzvv")) == "xqzvv"


def test_real_size_fits_16_gb_with_8_bit_adam_and_checkpointing_and_not_without():
    found = customization_memory.estimate((384, 384), 16, "adamw_8bit", True)
    assert found["trained weights, float32"] == 4 * 570_882_176
    assert found["frozen weights"] == 2 * (1_411_233_860 - 570_882_176)
    assert found["sum"] <= 16e9
    assert customization_memory.estimate((384, 384), 16, "adamw_8bit", False)["sum"] > 32e9


def test_counted_activations_are_those_that_are_really_kept():
    """On a layer of known arithmetic: a linear layer keeps its input, and a SiLU its own."""
    with torch.device("meta"):
        class Net(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.temp_convs = torch.nn.Linear(8, 8, dtype=torch.half)
            def forward(self, x, timestep, *, encoder_hidden_states, return_dict):
                return torch.nn.functional.silu(self.temp_convs(x))
        found = customization_memory.training_memory(Net(), ["temp_convs"], (torch.empty(10, 8, dtype=torch.half), None, None), checkpointing=False)
    assert found["activations kept"] == 2 * 10 * 8 * 2 and found["trained weights, float32"] == 4 * 72
