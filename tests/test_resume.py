"""Going on after any end, kill -9 included, gives bit by bit what never stopping gives; what is saved is never half."""
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import default_collate

from media.files import locked
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.task import VideoTask
from tiny_training import launched, RandomClips, settings, train_video
from training import checkpoints as checkpoint_folder, loop as training
from training.batches import SampleStream
from training.checkpoints import (by_the_main_process, checkpoints, chosen_checkpoint, latest_checkpoint,
                                  refuse_other_settings)
from training.learner import Learner
from training.loop import agreed_checkpoint, started, train, TrainingLog

STEPS = 5


class ClipsThat(RandomClips):
    """Clips whose sample `position` sends this process a signal once `after` is there, or is not finite."""

    def __init__(self, position: int, sends: int = 0, after: Path = Path()):
        self.position, self.sends, self.after = position, sends, after

    def __getitem__(self, key):
        item = super().__getitem__(key)
        if key[1] == self.position:
            if self.sends:
                assert appears(self.after)
                os.kill(os.getpid(), self.sends)
            else:
                item["latents"] = item["latents"] * float("nan")
        return item


def appears(path: Path) -> bool:
    """Whether something is there within a minute."""
    ends = time.monotonic() + 60
    while not path.exists() and time.monotonic() < ends:
        time.sleep(0.01)
    return path.exists()


def run(folders: tuple, output: Path, killed_at: int = -1, **changes) -> Path:
    """Train the tiny model; kill -9 at the sample `killed_at`, once the first checkpoint is there."""
    torch.set_num_threads(1)
    clips = RandomClips() if killed_at < 0 else ClipsThat(killed_at, signal.SIGKILL, output / "latest")
    config = settings(output, max_steps=STEPS, conditioning_dropout=0.3, **changes)
    return train_video(PoseToVideo.load(*folders), clips, config)


def killed_while_saving(folders: tuple, output: Path) -> None:
    """The same, killed between two files of the second checkpoint."""
    export = VideoTask.export

    def export_and_die(task: VideoTask, folder: Path) -> None:
        export(task, folder)
        if checkpoints(output):
            os.kill(os.getpid(), signal.SIGKILL)

    VideoTask.export = export_and_die
    run(folders, output)


def killed_while_a_thread_saves(folders: tuple, output: Path) -> None:
    """The same, asynchronously: each checkpoint is written once the next step is done, or begun for the second one."""
    torch.set_num_threads(1)
    begun, write_files = {position: threading.Event() for position in range(STEPS)}, checkpoint_folder.write_files

    class Watched(RandomClips):
        def __getitem__(self, key):
            begun[key[1]].set()
            return super().__getitem__(key)

    def write_late(folder: Path, tensors: dict, loop: dict, state: dict) -> None:
        second = bool(checkpoints(output))
        assert begun[4 if second else 3].wait(60)
        write_files(folder, tensors, loop, state)
        if second:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint_folder.write_files = write_late
    config = settings(output, max_steps=STEPS, conditioning_dropout=0.3, asynchronous_saving=True)
    train_video(PoseToVideo.load(*folders), Watched(), config)


def gradients(folders: tuple, output: Path) -> None:
    """The first step's gradients, this process's batch being one sample."""
    torch.set_num_threads(1)
    config = settings(output)
    task = VideoTask(PoseToVideo.load(*folders), config)
    learner = Learner(started(config), task, config)
    accelerator = learner.accelerator
    stream = SampleStream(range(8), 2 // accelerator.num_processes, config.seed, num_processes=accelerator.num_processes,
                          process_index=accelerator.process_index)
    batch = default_collate([RandomClips()[key] for key in next(iter(stream))])
    accelerator.backward(learner(*task.inputs(batch)).mean())
    if accelerator.is_main_process:
        torch.save({name: parameter.grad for name, parameter in learner.named}, output.with_suffix(".pt"))


def state(output: Path) -> dict:
    """Everything the newest checkpoint holds, flat."""
    folder = latest_checkpoint(output)
    loop = torch.load(folder / "loop.pt", weights_only=True)
    flat = {f"{name}.{key}": tensor for name in ("model", "trained", "averaged")
            for key, tensor in load_file(folder / f"{name}.safetensors").items()}
    for index, moments in loop["optimizer"]["state"].items():
        flat |= {f"optimizer.{index}.{key}": value for key, value in moments.items()}
    flat |= {f"random.{i}": one["torch"] for i, one in enumerate(loop["randomness"])}
    return flat | {"step": torch.tensor(json.loads((folder / "state.json").read_text())["step"])}


def assert_same(output: Path, other: Path) -> None:
    expected, found = state(output), state(other)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


@pytest.fixture(scope="module")
def folders(tiny_svd_folder, tiny_checkpoint) -> tuple:
    return tiny_svd_folder, tiny_checkpoint


@pytest.fixture(scope="module")
def never_stopped(folders, tmp_path_factory) -> Path:
    """A run of one process from beginning to end."""
    return run(folders, tmp_path_factory.mktemp("runs") / "never_stopped")


@pytest.fixture
def halfway(folders, halfway_once, tmp_path) -> Path:
    """The same, stopped after two steps."""
    return shutil.copytree(halfway_once, tmp_path / "halfway", symlinks=True)


@pytest.fixture(scope="module")
def halfway_once(folders, tmp_path_factory) -> Path:
    return train_video(PoseToVideo.load(*folders), RandomClips(),
                 settings(tmp_path_factory.mktemp("runs") / "halfway", max_steps=2, conditioning_dropout=0.3))


def test_going_on_after_kill_9_at_a_random_step_equals_never_stopping(folders, never_stopped, tmp_path):
    step = random.SystemRandom().randint(3, STEPS)
    assert launched(1, run, folders, tmp_path, step - 1) == [-signal.SIGKILL], step
    assert latest_checkpoint(tmp_path).name == f"checkpoint-{2 * ((step - 1) // 2)}"
    run(folders, tmp_path)
    assert_same(never_stopped, tmp_path)


@pytest.mark.parametrize("work", [killed_while_saving, killed_while_a_thread_saves])
def test_kill_9_while_saving_leaves_the_checkpoint_before_it(folders, never_stopped, tmp_path, work):
    assert launched(1, work, folders, tmp_path) == [-signal.SIGKILL]
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2"]
    assert (tmp_path / "latest").resolve().name == "checkpoint-2"
    run(folders, tmp_path)
    assert_same(never_stopped, tmp_path)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-4", "checkpoint-5"]
    assert not list(tmp_path.glob(".*"))


def test_two_processes_go_on_exactly_after_kill_9_too(folders, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert launched(2, run, folders, whole) == [0, 0]
    assert -signal.SIGKILL in launched(2, partial(run, asynchronous_saving=True), folders, killed, 2 * 3 + random.SystemRandom().randint(0, 1))
    assert latest_checkpoint(killed).name == "checkpoint-2"
    assert launched(2, partial(run, asynchronous_saving=True), folders, killed) == [0, 0]
    assert_same(whole, killed)


def test_gradients_of_two_processes_equal_one_with_twice_the_batch(folders, tmp_path):
    assert launched(2, gradients, folders, tmp_path / "two") == [0, 0]
    gradients(folders, tmp_path / "one")
    two, one = (torch.load(tmp_path / name, weights_only=True) for name in ("two.pt", "one.pt"))
    largest = max(gradient.abs().max() for gradient in one.values())
    assert largest > 1e-2 and max((one[name] - two[name]).abs().max() for name in one) < 1e-5 * largest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_and_going_on_is_exact(folders, never_stopped, tmp_path, number):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended:
        train_video(PoseToVideo.load(*folders), ClipsThat(2, number),
              settings(tmp_path, max_steps=STEPS, conditioning_dropout=0.3))
    assert ended.value.code == 128 + number and latest_checkpoint(tmp_path).name == "checkpoint-3"
    assert not (tmp_path / "model.safetensors").exists()                # nothing pretends to be finished
    run(folders, tmp_path)
    assert_same(never_stopped, tmp_path)
    assert signal.getsignal(number) is before


def test_a_launched_process_saves_and_ends_when_its_launcher_was_killed():
    works = ("import time; from runtime.processes import StopRequest\n"
             "with StopRequest() as stop:\n    print(stop.signal, flush=True)\n"
             "    while not stop.signal: time.sleep(0.05)\n    print(stop.signal, flush=True)")
    launches = f"import os, subprocess, sys; subprocess.run([sys.executable, '-c', {works!r}], env=os.environ | {{'WORLD_SIZE': '2'}})"
    with subprocess.Popen([sys.executable, "-c", launches], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout.readline() == "0\n"
        launcher.kill()
        assert launcher.stdout.read() == f"{signal.SIGTERM:d}\n"


def test_a_launched_process_that_waits_ends_when_its_launcher_was_killed():
    waits = "import time; from runtime.processes import end_with_launcher; end_with_launcher(); print('waits', flush=True); time.sleep(600)"
    launches = f"import os, subprocess, sys; subprocess.run([sys.executable, '-c', {waits!r}], env=os.environ | {{'WORLD_SIZE': '2'}})"
    with subprocess.Popen([sys.executable, "-c", launches], stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout.readline() == "waits\n"
        launcher.kill()
        launcher.communicate(timeout=30)                    # until the other has closed its end, too


def test_a_loss_that_is_no_number_names_the_clip_and_keeps_the_checkpoint(folders, tmp_path):
    clip = SampleStream(range(8), 1, seed=3).clip_at(3)
    with pytest.raises(ValueError, match=rf"step 4: .*nan from clip {clip} \(sample 3\).*look at that clip, .*checkpoint-2 is intact"):
        train_video(PoseToVideo.load(*folders), ClipsThat(3), settings(tmp_path, max_steps=STEPS))
    assert all(tensor.isfinite().all() for name, tensor in state(tmp_path).items() if name.startswith("model"))
    assert latest_checkpoint(tmp_path).name == "checkpoint-2"
    with pytest.raises(ValueError, match="step 1: .*there is no checkpoint in .*begun yet"):
        train_video(PoseToVideo.load(*folders), ClipsThat(0), settings(tmp_path / "begun", max_steps=STEPS))


def test_weights_that_hold_nan_from_the_start_are_named_before_the_clip(folders, tmp_path):
    model = PoseToVideo.load(*folders)
    model.unet.conv_out.bias.data[0] = torch.nan
    with pytest.raises(ValueError, match="step 1: .*nan from clip .*look at the weights, which hold NaN or infinity .those this run began with.., then at that clip, or"):
        train_video(model, RandomClips(), settings(tmp_path, max_steps=1))


def test_the_clips_to_look_at_are_one_or_several(tmp_path):
    accelerator = SimpleNamespace(gather=lambda tensors: tensors, is_main_process=False)
    log = TrainingLog(accelerator, SampleStream(range(8), 2, seed=3), settings(tmp_path), 0)
    for losses, says in (([1.0, torch.nan], "look at that clip,"), ([torch.inf, torch.nan], "look at those clips,")):
        with pytest.raises(ValueError, match=says):
            log.add(torch.tensor(losses), {"position": torch.tensor([0, 1])}, 0, 1)


def test_a_gradient_that_is_no_number_reaches_no_checkpoint_even_without_clipping(folders, tmp_path):
    model, seen = PoseToVideo.load(*folders), []
    model.unet.conv_out.weight.register_hook(
        lambda gradient: seen.append(0) or gradient * (1 if len(seen) < 3 else torch.nan))
    with pytest.raises(ValueError, match="step 3: .*gradient norm: nan.*look at the clips,"):
        train_video(model, RandomClips(), settings(tmp_path, max_steps=STEPS, max_grad_norm=0.0, checkpoint_every=1))
    assert latest_checkpoint(tmp_path).name == "checkpoint-2"
    assert all(tensor.isfinite().all() for name, tensor in state(tmp_path).items() if name.startswith("model"))


def test_fp16_skips_steps_until_no_loss_scale_can_help(tmp_path):
    scaler = SimpleNamespace(get_scale=lambda: scale)
    accelerator = SimpleNamespace(scaler=scaler, is_main_process=False)
    log = TrainingLog(accelerator, None, settings(tmp_path), 0)
    scale = 1.0
    log.add_norm(float("inf"), 7)
    assert log.norms == []
    scale = 2.0**-15
    with pytest.raises(ValueError, match="step 8: expected finite numbers .found gradient norm: inf"):
        log.add_norm(float("inf"), 8)


def test_an_output_that_cannot_hold_checkpoints_is_refused_before_training(folders, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(training, "Learner", lambda *_: pytest.fail("training began"))
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match="expected a folder that can be written"):
            train(None, RandomClips(), settings(output))
    with pytest.raises(ValueError, match="output: expected a folder .found nothing."):
        settings("")


def test_a_full_disk_while_saving_leaves_the_checkpoint_before_it(folders, never_stopped, halfway):
    for file in ("trained.safetensors", "loop.pt"):                       # the write of either may fail
        size = (latest_checkpoint(halfway) / file).stat().st_size
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 4096, before[1]))
        try:
            with pytest.raises(ValueError, match="checkpoint-4: cannot be written .* checkpoint-2 is intact"):
                run(folders, halfway, asynchronous_saving=file == "loop.pt")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert [path.name for path in checkpoints(halfway)] == ["checkpoint-2"]
    run(folders, halfway)
    assert_same(never_stopped, halfway)


def test_where_the_main_process_cannot_save_all_end_with_its_reason(monkeypatch):
    monkeypatch.setattr(checkpoint_folder, "gather_object", lambda own: ["no room", *own])
    with pytest.raises(ValueError, match="no room"):
        by_the_main_process(SimpleNamespace(is_main_process=False), lambda: pytest.fail("another process saved"))


def test_a_full_disk_at_the_end_is_one_line_and_the_same_command_writes_the_model(folders, never_stopped, tmp_path):
    done = shutil.copytree(never_stopped, tmp_path / "done", symlinks=True)
    whole = (done / "model.safetensors").read_bytes()
    (done / "model.safetensors").unlink()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) - 4096, before[1]))
    try:
        with pytest.raises(ValueError, match="model: cannot be written .*same command again; checkpoint-5"):
            run(folders, done)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    run(folders, done)
    assert (done / "model.safetensors").read_bytes() == whole


def test_other_settings_are_refused_and_named_and_new_ones_had_their_defaults(folders, never_stopped, tmp_path):
    with pytest.raises(ValueError, match="learning_rate: 0.001 -> 0.01; sigma_mean: 0.7 -> 1.0"):
        run(folders, never_stopped, learning_rate=0.01, sigma_mean=1.0)
    written = {"seed": 3, "batch_size": 1, "gradient_accumulation": 1, "max_steps": 9}   # when there were fewer settings
    same = settings(tmp_path, learning_rate=1e-5, warmup_steps=500, ema_decay=0.9999, mixed_precision="bf16")
    refuse_other_settings(tmp_path, {"config": written, "num_processes": 1}, same, {}, 1)
    refuse_other_settings(tmp_path, {"config": written, "num_processes": 1}, same, {"moved_picture": False}, 1)
    with pytest.raises(ValueError, match="moved_picture: False -> True"):
        refuse_other_settings(tmp_path, {"config": written, "num_processes": 1}, same, {"moved_picture": True}, 1)


def test_data_and_start_are_settings_too_and_a_difference_is_allowed_by_its_name(folders, tmp_path):
    def run_with(**changes) -> None:
        config = settings(tmp_path, max_steps=1, **changes)
        train(VideoTask(PoseToVideo.load(*folders), config, {"dataset": data, "size": (64, 64)}), RandomClips(), config)

    data = "one"
    run_with()
    run_with()                                                          # as it was: a tuple is still the same
    data = "other"
    with pytest.raises(ValueError, match="dataset: one -> other.*allow_changes=dataset"):
        run_with()
    with pytest.raises(ValueError, match="dataset: one -> other.: restore them, or choose another output$"):
        run_with(allow_changes=None)
    run_with(allow_changes="dataset")


def test_fewer_steps_than_are_done_and_checkpoints_of_earlier_versions_are_refused(folders, halfway):
    with pytest.raises(ValueError, match="max_steps: expected at least 2, where checkpoint-2 stands .found 1."):
        train_video(PoseToVideo.load(*folders), RandomClips(),
                    settings(halfway, max_steps=1, conditioning_dropout=0.3))
    file = halfway / "checkpoint-2" / "state.json"
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != "format"}))
    with pytest.raises(ValueError, match="checkpoint-2: expected a checkpoint of this version"):
        run(folders, halfway)


def torch_bytes(content: object) -> bytes:
    """A torch file of it."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.mark.parametrize("file, content", [
    ("loop.pt", b"a text"), ("loop.pt", b""), ("trained.safetensors", b"x" * 99), ("averaged.safetensors", None),
    ("model.safetensors", b"cut"), ("state.json", b"{"), ("state.json", b'{"format": 2}'), ("state.json", None),
    ("state.json", b"[]"), ("state.json", b'{"format": 2, "step": "4"}'), ("loop.pt", torch_bytes([1])), ("loop.pt", torch_bytes({}))])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_goes_on(never_stopped, tmp_path, file, content, caplog):
    output = shutil.copytree(never_stopped, tmp_path / "run", symlinks=True)
    older, newer = checkpoints(output)
    (newer / file).unlink()
    if content is not None:
        (newer / file).write_bytes(content)
    chosen = agreed_checkpoint(started(settings(output)), settings(output))
    assert chosen == older and f"{newer.name}/{file}: expected " in caplog.text
    assert checkpoints(output) == [older] and (output / "latest").resolve() == older.resolve()
    assert len(list(output.glob(f"damaged-{newer.name}-*"))) == 1


def test_a_file_that_is_damaged_without_a_change_of_its_size_is_named(never_stopped, tmp_path):
    for file in ("loop.pt", "trained.safetensors", "state.json"):
        output = shutil.copytree(never_stopped, tmp_path / file, symlinks=True)
        path = latest_checkpoint(output) / file
        path.write_bytes(b"x" * path.stat().st_size)
        with pytest.raises(ValueError, match=f"{path.name}: expected .*: choose another checkpoint"):
            chosen_checkpoint(output, True, path.parent.name)
        for checkpoint in checkpoints(output):
            (checkpoint / file).write_bytes(b"")
        with pytest.raises(ValueError, match="no checkpoint beside it is whole"):
            chosen_checkpoint(output, True, "latest")


@pytest.mark.parametrize("file", ["loop.pt", "trained.safetensors", "averaged.safetensors"])
def test_one_wrong_byte_among_the_numbers_is_found(never_stopped, tmp_path, file):
    output = shutil.copytree(never_stopped, tmp_path / "run", symlinks=True)
    path = latest_checkpoint(output) / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{file}: expected the bytes that were written .*: choose another checkpoint"):
        chosen_checkpoint(output, True, path.parent.name)


def test_going_on_after_a_damaged_checkpoint_equals_never_stopping(folders, never_stopped, tmp_path):
    output = shutil.copytree(never_stopped, tmp_path / "run", symlinks=True)
    (latest_checkpoint(output) / "loop.pt").write_bytes(b"")
    assert_same(never_stopped, run(folders, output))


def test_a_second_run_into_one_output_is_refused(folders, tmp_path):
    with locked(tmp_path), pytest.raises(ValueError, match="another run is writing to it: wait for its end, or choose"):
        run(folders, tmp_path)


def test_more_clips_than_a_checkpoint_was_trained_on_are_said(folders, halfway):
    class More(RandomClips):
        def __len__(self):
            return 9
    with pytest.raises(ValueError, match="written with other settings .clips: 8 of 8 -> 9 of 9."):
        train_video(PoseToVideo.load(*folders), More(), settings(halfway, max_steps=STEPS, conditioning_dropout=0.3))


def test_another_number_of_processes_goes_on_where_the_samples_stopped(folders, halfway, caplog):
    file = halfway / "checkpoint-2" / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_processes": 4, "position": 8}))
    seen = []

    class Watched(RandomClips):
        def __getitem__(self, key):
            seen.append(key[1])
            return super().__getitem__(key)

    train_video(PoseToVideo.load(*folders), Watched(), settings(halfway, max_steps=3, conditioning_dropout=0.3))
    assert seen[0] == 8 and "written by 4 processes, now there are 1" in caplog.text


def test_a_run_never_overwrites_what_it_was_told_not_to_go_on_from(folders, never_stopped, tmp_path):
    with pytest.raises(ValueError, match="expected no checkpoint, as resume=false .found checkpoint-5"):
        run(folders, never_stopped, resume=False)
    with pytest.raises(ValueError, match="resume_from: checkpoint-4 is older than checkpoint-5 in"):
        run(folders, never_stopped, resume_from="checkpoint-4")
    other = shutil.copytree(never_stopped, tmp_path / "other", symlinks=True)                 # of another run
    with pytest.raises(ValueError, match="checkpoint-4 is older than checkpoint-5 in .*resume_from=latest goes on"):
        run(folders, never_stopped, resume_from=str(other / "checkpoint-4"))


def test_a_checkpoint_loads_as_a_model(folders, never_stopped):
    loaded = PoseToVideo.load(folders[0], never_stopped / "latest")
    assert torch.equal(loaded.unet.conv_out.weight, state(never_stopped)["model.unet.conv_out.weight"].float())
