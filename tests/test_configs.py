"""Settings: defaults < file < command line, and a mistake is one line that names the key."""

import ast
import os
import resource
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from configs import help_text, load_config, rows, run_main, yaml_files
from media.files import copy_folder, save_arrays, save_atomically, save_text
from motionbench.settings import MotionBenchConfig
from renderers import renderer_class
from run.settings import InferenceConfig
from runtime.terminal import Terminated
from runtime.weights import save_tensors
from t2m.task import T2MConfig
from train_motion_customization import MotionCustomizationConfig
from train_musepose import MusePoseTraining
from train_skeleton_adapter import SkeletonAdapterConfig
from train_video_generation import VideoGenerationConfig

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Optimizer:
    """how to step"""
    learning_rate: float = field(default=0.1, metadata={"help": "per step"})
    name: str = field(default="adam", metadata={"help": "which", "choices": ("adam", "sgd")})


@dataclass
class Settings:
    """Settings of the test."""
    steps: int = field(default=10, metadata={"help": "how many"})
    text: str = "hello"
    path: str | None = None
    fast: bool = False
    optimizer: Optimizer = field(default_factory=Optimizer)


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text("steps: 20\noptimizer:\n  learning_rate: 0.5\n")
    return path


def test_the_command_line_beats_the_file_and_the_file_beats_the_defaults(file):
    config = load_config(Settings, ["--config", str(file), "steps=30", "optimizer.name=sgd"])
    assert config == Settings(steps=30, optimizer=Optimizer(learning_rate=0.5, name="sgd"))
    assert load_config(Settings, [f"--config={file}"]).steps == 20 and load_config(Settings, []) == Settings()


@pytest.mark.parametrize("text", ["a: b", "[1, 2", "7", "yes", "null", "# not a comment", "${oc.env:HOME}", "{x}", "'quoted", "a=b=c", "", "naïve ☃"])
def test_text_arrives_as_it_was_typed(text, tmp_path):
    assert load_config(Settings, [f"text={text}"]).text == text
    (tmp_path / "text.yaml").write_text(yaml.safe_dump({"text": text}), encoding="utf-8")
    assert load_config(Settings, ["--config", str(tmp_path / "text.yaml")]).text == text


def test_other_types_are_read_as_yaml():
    config = load_config(Settings, ["fast=true", "optimizer.learning_rate=1e-3", "path=null"])
    assert config.fast is True and config.optimizer.learning_rate == 1e-3 and config.path is None
    assert load_config(Settings, ["path=a/b"]).path == "a/b"


def test_a_path_may_begin_at_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("path: ~/a/b\n")
    assert load_config(Settings, ["--config", "~/mine.yaml"]).path == str(tmp_path / "a" / "b")
    assert load_config(Settings, ["path=~/c"]).path == str(tmp_path / "c")
    assert load_config(Settings, ["path=a ~/c"]).path == "a ~/c"


@pytest.mark.parametrize("arguments, says", [
    (["stepps=3"], "unknown key 'stepps': did you mean steps?"), (["optimizer.learning_rte=3"], "did you mean optimizer.learning_rate?"),
    (["learning_rate=3"], "did you mean optimizer.learning_rate?"), (["optimizer.name.x=3"], "unknown key"), (["zzzzzz=1"], "see --help"),
    (["steps=many"], "steps: expected a whole number (found 'many')"), (["steps=1.5"], "steps: "), (["steps="], "steps: expected a value (found nothing after 'steps=')"), (["fast=perhaps"], "fast: expected true or false (found 'perhaps')"), (["optimizer=3"], "optimizer"),
    (["optimizer.name=lion"], "optimizer.name: must be one of adam, sgd (found 'lion')"), (["steps"], "'steps': expected --config"),
    (["--steps=3"], "did you mean steps=...?"), (["--config"], "expected one YAML file"), (["--config", "none.yaml"], "none.yaml: no such config file"),
    (["steps=[1"], "steps=[1"), (["--config", str(Path(__file__).parent)], "tests: expected a YAML file (found a folder): name a file in it"),
])
def test_a_mistake_is_one_line_that_names_the_key(arguments, says):
    with pytest.raises(ValueError) as caught:
        load_config(Settings, arguments)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_zero_byte_is_no_text():
    with pytest.raises(ValueError, match="text: must be text without a zero byte"):
        load_config(Settings, ["text=a\0b"])


@pytest.mark.parametrize("content, says", [
    ("stps: 3\n", "unknown key 'stps': did you mean steps?"), ("optimizer:\n  nme: x\n", "did you mean optimizer.name?"), ("- 1\n- 2\n", "found a list"),
    ("a: [1\n", "line 2"), ("steps: 1\nsteps: 2\n", "line 2: not YAML ('steps' is said twice: leave one out)"),
    ("optimizer:\n  name: adam\n  name: sgd\n", "'name' is said twice"), ("steps: many\n", "steps"), ("steps:\n", "steps: expected a value (found nothing)"), ("\x00", "not YAML"),
    ("optimizer: &o\n  name: *o\n", "hold themselves"), (f"steps: {'[' * 3000}\n", "not YAML"), ("steps: 1:30\n", "steps"), ("steps: 2024-13-45\n", "steps"),
    ("optimizer.name: adam\n", "'optimizer.name': expected a key without dots"), ("text: [wave]\n", "text: expected a text (found ['wave']): write it without brackets"),
    ("text: {a: wave}\n", "text: expected a text (found {'a': 'wave'}): write it without braces"),
])
def test_a_mistake_in_a_file_names_the_file(tmp_path, content, says):
    path = tmp_path / "wrong.yaml"
    path.write_text(content)
    with pytest.raises(ValueError) as caught:
        load_config(Settings, ["--config", str(path)])
    assert says in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def schema_of(path: Path) -> type:
    if path.name.startswith("motionbench"):
        return MotionBenchConfig
    if path.name.startswith("train_motion_customization"):
        return MotionCustomizationConfig
    if path.name.startswith("train_musepose"):
        return MusePoseTraining
    if path.name.startswith("train_t2m"):
        return T2MConfig
    if path.name.startswith("train_video"):
        return VideoGenerationConfig
    if path.name.startswith(("train_skeleton", "train_adapter")):
        return SkeletonAdapterConfig
    return InferenceConfig


@pytest.mark.parametrize("path", yaml_files(), ids=lambda path: path.name)
def test_every_shipped_config_loads(path):
    load_config(schema_of(path), ["--config", str(path)])


def test_demo_and_fleximo_have_the_same_keys_and_every_key_of_the_schema():
    def keys(values: dict, prefix: str = "") -> set[str]:
        return set().union(*(keys(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}"} for key, value in values.items()))
    demo, fleximo = (keys(yaml.safe_load((ROOT / "configs" / name).read_text())) for name in ("demo.yaml", "fleximo.yaml"))
    everything = {name for name, default, _ in rows(InferenceConfig) if not hasattr(default, "__dataclass_fields__")}
    assert demo == fleximo == everything


def test_the_code_never_asks_whether_it_is_the_demo():
    rooms = ("run", "renderers", "mimicmotion", "t2m")
    for path in [ROOT / "inference.py", *(path for room in rooms for path in (ROOT / room).glob("*.py"))]:
        assert "demo.yaml" not in path.read_text().replace("configs/demo.yaml", "") and "weights/demo" not in path.read_text(), path


def test_every_setting_of_a_run_says_what_it_is():
    assert all(help_line for schema in (InferenceConfig, MotionBenchConfig) for _, _, help_line in rows(schema))


def test_every_setting_of_a_run_is_read_somewhere():
    readers = [ROOT / "inference.py", *(ROOT / "run").glob("*.py"), *(ROOT / "renderers").glob("*.py")]
    code = "".join(path.read_text() for path in readers if path != ROOT / "run" / "settings.py")
    for name, default, _ in rows(InferenceConfig):
        if not hasattr(default, "__dataclass_fields__") and not name.startswith("planner."):      # plan() takes the whole group
            assert f".{name.rpartition('.')[2]}" in code or name in ("height", "width", "outputs"), name      # settings.py reads these


def test_help_shows_eight_keys_first_and_help_all_every_key():
    short, long = (help_text(InferenceConfig, "", everything) for everything in (False, True))
    everything = [name for name, default, _ in rows(InferenceConfig) if not hasattr(default, "__dataclass_fields__")]
    listed = [name for name in everything if f"\n  {name} " in short]
    assert listed == ["image", "prompt", "driving_video", "renderer", "name", "seed", "refinements", "resume"]
    assert all(f"\n  {group}. " in short for group in ("planner", "motion", "pose", "adapter", "generator")) and "--help-all" in short
    assert all(f"\n  {name} " in long for name in everything)


def test_a_value_that_is_no_choice_is_told_the_nearest_one():
    with pytest.raises(ValueError, match=r"optimizer.name: must be one of adam, sgd \(found 'adm'\): did you mean adam\?"):
        load_config(Settings, ["optimizer.name=adm"])


def test_a_renderer_is_found_by_name_and_a_wrong_name_is_told_the_nearest_one():
    assert renderer_class("mimicmotion").__name__ == "MimicMotion"
    with pytest.raises(ValueError, match=r"renderer: must be one of .*mimicmotion.* \(found 'mimicmotoin'\): did you mean mimicmotion\?"):
        renderer_class("mimicmotoin")


@pytest.mark.parametrize("renderer, words", [
    ("mimicmotion", "generator.svd=nowhere: vae/config.json is missing"),
    ("musepose", "nowhere/MusePose/denoising_unet.pth: expected a weights file (found none)")])
def test_missing_weights_are_named_before_any_network_is_imported(renderer, words):
    code = ("import sys; from run.models import check_renderer; from run.settings import *\n"
            "adapter, generator = VideoModelConfig(checkpoint=''), VideoModelConfig('nowhere')\n"
            "config = InferenceConfig(renderer=sys.argv[1], adapter=adapter, generator=generator, musepose=MusePoseConfig('nowhere'))\n"
            "try: check_renderer(config, 3)\n"
            "except ValueError as error: print(error)\n"
            "print({'diffusers', 'transformers'} & {*sys.modules})")
    done = subprocess.run([sys.executable, "-c", code, renderer], capture_output=True, text=True, timeout=120, check=True)
    said, imported = done.stdout.splitlines()
    assert words in said and imported == "set()"


@pytest.mark.parametrize("script", ["inference.py", "train_skeleton_adapter.py", "train_video_generation.py"])
def test_help_explains_keys_and_configs(script):
    done = subprocess.run([sys.executable, ROOT / script, "--help"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(ast.get_docstring(ast.parse((ROOT / script).read_text())).splitlines()[0])
    assert all(word in done.stdout for word in ("usage: --config", "keys:", "configs/demo.yaml", "(default: "))
    assert max(map(len, done.stdout.splitlines())) <= 160


def test_help_beside_a_file_shows_the_files_values(capsys):
    with pytest.raises(SystemExit):
        load_config(InferenceConfig, ["--config", "configs/photo.yaml", "--help", "seed=5"])
    words = " ".join(capsys.readouterr().out.split())
    assert "(default: puppet)" in words and "(default: photo)" in words and "(default: 5)" in words


@pytest.mark.parametrize("raised, code", [(ValueError("x: is wrong\n  really"), 2), (FileNotFoundError("y: not there"), 2), (KeyboardInterrupt(), 130), (Terminated(), 143)])
def test_main_turns_a_mistake_into_one_line_and_an_exit_code(raised, code, capsys):
    def main():
        raise raised
    with pytest.raises(SystemExit) as ended:
        run_main(main)
    assert ended.value.code == code and capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name, write", [
    ("a.npz", lambda path: save_arrays(path, values=np.zeros(4096))),
    ("a.txt", lambda path: save_text(path, 8192 * "a")),
    ("a.safetensors", lambda path: save_tensors({"values": torch.zeros(4096)}, path)),
    ("b.safetensors", lambda path: save_atomically(path, lambda partial: save_tensors({"values": torch.zeros(4096)}, partial))),
    ("folder/large", lambda path: copy_folder(path.parents[1] / "source", path.parent)),
])
def test_a_disk_that_takes_no_more_is_one_line_with_the_file_and_what_to_do(tmp_path, capsys, name, write):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "large").write_bytes(bytes(8192))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(SystemExit) as ended:
            run_main(lambda: write(tmp_path / name))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {tmp_path / name}: cannot be written (File too large): make room and run the same command again\n"


def test_our_own_bugs_keep_their_traceback():
    def main():
        raise TypeError("ours")
    with pytest.raises(TypeError):
        run_main(main)


INTERRUPTIBLE = ("inference", "app", "finer_scale", "pose_align", "llm_planner", "generate_customized", "train_t2m", "train_musepose",
                 "train_motion_customization", "train_skeleton_adapter", "train_video_generation", "scripts/eval_motionbench",
                 "scripts/prepare_dataset", "scripts/download_weights")


@pytest.mark.parametrize("number, word", [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
@pytest.mark.parametrize("script", INTERRUPTIBLE)
def test_a_signal_while_a_script_imports_ends_it_in_one_word(tmp_path, script, number, word):
    for module in ("yaml", "numpy", "torch"):                       # the first that is asked for
        (tmp_path / f"{module}.py").write_text(f"import signal; signal.signal({signal.SIGINT}, signal.default_int_handler); signal.raise_signal({number})\n")
    done = subprocess.run([sys.executable, f"{script}.py"], cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", f"{word}\n")


def test_a_second_signal_does_not_end_the_ending():
    code = ("import signal; from runtime.terminal import interruptible; interruptible()\n"
            "try: signal.raise_signal(signal.SIGTERM)\n"
            "finally: signal.raise_signal(signal.SIGTERM); print('done')")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (143, "done\n", "terminated\n")


def test_a_forked_process_ends_by_sigterm_as_ever():
    code = ("import multiprocessing, time; from runtime.terminal import interruptible; interruptible(); "
            "child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,)); child.start(); time.sleep(0.5); child.terminate(); child.join(); print(child.exitcode)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("-15\n", "")
