"""The README's commands exist and mean what they say."""

import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from configs import load_config
from dwpose.mediapipe_networks import MODELS
from run.settings import InferenceConfig
from t2m.weights import GPT_FILES, VQVAE_FILES

ROOT = Path(__file__).resolve().parent.parent
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
         for path in (ROOT / "README.md", ROOT / "weights" / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
README = PAGES["README.md"]
BLOCKS = [block for page in PAGES.values() for block in re.findall(r"```(\w*)\n(.*?)```", page, re.DOTALL)]
INLINE = [code for page in PAGES.values() for code in re.findall(r"`((?:bash|python|accelerate) [^`…]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL))]
LINES = [shlex.split(line, comments=True) for line in
         [line for language, block in BLOCKS if language == "bash" for line in block.splitlines()] + INLINE]
COMMANDS = [words[re.fullmatch(r"[A-Z]+=\w+", words[0]) is not None:]          # without QUICK=1 and the like
            for words in LINES if any(word.endswith((".py", ".sh")) for word in words)]
CONFIGS = {"demo.sh": "demo.yaml", "photo.sh": "photo.yaml"}


def script_of(words: list[str]) -> tuple[Path, list[str]]:
    """The script of this repository that a command runs, and its arguments."""
    at = next(i for i, word in enumerate(words) if word.endswith((".py", ".sh")))
    return ROOT / words[at], words[at + 1:]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_runs_a_script_that_exists_with_settings_it_knows(words):
    assert words[0] in ("bash", "python", "accelerate")
    script, arguments = script_of(words)
    assert script.is_file()
    if script.name in CONFIGS:
        load_config(InferenceConfig, ["--config", str(ROOT / "configs" / CONFIGS[script.name]), *arguments])
    elif script.name == "inference.py" and not {"--help", "--help-all", "--inference_config"} & set(arguments):
        load_config(InferenceConfig, [str(ROOT / word) if word.endswith(".yaml") else word for word in arguments])
    for before, word in zip(words, words[1:]):
        if word.endswith(".yaml") and before != "--inference_config":    # whose file is the published repository's
            assert (ROOT / word).is_file()


@pytest.mark.parametrize("name", sorted({script_of(words)[0].relative_to(ROOT).as_posix() for words in COMMANDS if words[0] in ("python", "accelerate")}))
def test_every_script_explains_itself_and_knows_the_options_the_readme_uses(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(ROOT / name), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / name), run_name="__main__")
    shown = capsys.readouterr().out
    assert not ended.value.code and shown
    for words in COMMANDS:
        if words[0] in ("python", "accelerate") and script_of(words)[0] == ROOT / name:
            for option in (word for word in script_of(words)[1] if word.startswith("-")):
                assert option in shown, option


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "scripts").glob("*.sh")))
def test_every_shell_script_parses_and_stops_at_the_first_error(script):
    path = ROOT / "scripts" / script
    assert subprocess.run(["bash", "-n", path]).returncode == 0
    assert script == "venv.sh" or "set -euo pipefail" in path.read_text()


def test_ci_runs_the_test_script():
    assert "scripts/test.sh" in (ROOT / ".ci" / "run").read_text() and (ROOT / ".ci" / "run").stat().st_mode & 0o111


@pytest.mark.parametrize("page", PAGES)
def test_every_link_and_picture_is_there(page):
    for target in re.findall(r"\]\(([^)#]+)\)", PAGES[page]):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), target


def test_every_file_the_stage_table_names_exists():
    table = README.split("## Stages")[1].split("`inference.py` reads")[0]
    for name in re.findall(r"`([\w/]+(?:\.py|/))`", table):
        assert (ROOT / name).exists(), name


def test_python_blocks_compile_and_import_what_exists():
    for language, block in BLOCKS:
        if language == "python":
            compile(block, "README.md", "exec")
            imports = "\n".join(line for line in block.splitlines() if line.startswith(("from ", "import ")))
            assert subprocess.run([sys.executable, "-c", imports], cwd=ROOT).returncode == 0


def test_a_picture_that_is_not_there_is_named_before_anything_is_installed(tmp_path):
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    (tmp_path / "requirements.txt").write_text("nothing\n")
    (tmp_path / "pyproject.toml").write_text("")
    done = subprocess.run(["bash", "scripts/photo.sh", "image=me.jpg", "prompt=She waves."], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: me.jpg: expected a file") and not (tmp_path / ".venv").exists()


def with_talking_python(folder: Path, script: str) -> Path:
    """A copy of a script in `folder`, with a venv that is ready and whose python prints what it is given."""
    (folder / "scripts").mkdir()
    for name in (script, "venv.sh"):
        (folder / "scripts" / name).write_text((ROOT / "scripts" / name).read_text())
    (folder / "requirements.txt").write_text("nothing\n")
    (folder / "pyproject.toml").write_text("")
    binaries = folder / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "activate").write_text(f'PATH="{binaries}:$PATH"\n')
    (binaries / "python").write_text('#!/bin/sh\nfor word in "$@"; do echo "<$word>"; done\n')
    (binaries / "python").chmod(0o755)
    return folder / "scripts" / script


@pytest.mark.parametrize("vqvae, gpt", [*product(VQVAE_FILES, GPT_FILES[:1]), *product(VQVAE_FILES[:1], GPT_FILES)])
def test_the_photo_script_takes_weights_whose_files_are_there_and_no_empty_folder(tmp_path, vqvae, gpt):
    script, weights = with_talking_python(tmp_path, "photo.sh"), tmp_path / "weights"

    def said() -> str:
        return subprocess.run(["bash", script], capture_output=True, text=True, check=True).stdout

    def place(*files: str) -> None:
        for file in files:
            (weights / file).parent.mkdir(parents=True, exist_ok=True)
            (weights / file).touch()

    place(*(f"mediapipe/{name}.tflite" for name in list(MODELS)[:-1]), f"t2m/{vqvae}")
    assert "<scripts/download_weights.py>\n<photograph>\n" in said() and "motion.weights" not in said()
    place(f"mediapipe/{list(MODELS)[-1]}.tflite", f"t2m/{gpt}")
    assert "download" not in said() and said().endswith("<configs/photo.yaml>\n<motion.weights=weights/t2m>\n")
    (weights / "t2m" / vqvae).unlink()
    assert "motion.weights" not in said()


def test_the_demo_script_keeps_an_argument_with_spaces_whole_and_an_empty_one_empty(tmp_path):
    script = with_talking_python(tmp_path, "demo.sh")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "me.png").write_bytes(b"")
    run = lambda: subprocess.run(["bash", script, "prompt=two  words", "image=me.png", "driving_video=", "seed=7"],
                                 capture_output=True, text=True, cwd=elsewhere, check=True).stdout.splitlines()
    expected = ["<inference.py>", "<--config>", "<configs/demo.yaml>", "<prompt=two  words>", f"<image={elsewhere}/me.png>",
                "<driving_video=>", "<seed=7>"]
    first, second = run(), run()
    assert first[-7:] == expected and any("requirements.txt" in line for line in first)
    assert second == expected                                       # the stamp fits: nothing is installed again


def first_runs(folder: Path, count: int) -> tuple[list[str], list[str]]:
    """demo.sh so often at once, with a python3 that makes venvs whose pip takes a while: what they print, and each venv and pip."""
    script, log, binaries = with_talking_python(folder, "demo.sh"), folder / "log", folder / ".venv" / "bin"
    (binaries / "python").replace(folder / "whole")
    (binaries / "python").write_text("#!/bin/sh\nexit 1\n")                       # a venv that was interrupted before it had pip
    (binaries / "python").chmod(0o755)
    (folder / "whole").write_text(f'#!/bin/sh\ncase "$*" in *install*) echo begins >> "{log}"; sleep 0.3; echo ends >> "{log}";; esac\necho "<$1>"\n')
    (folder / "python3").write_text(f'#!/bin/sh\necho "$1 $2 $3" >> "{log}"\ncp -p "{folder}/whole" "$4/bin/python"\n')
    (folder / "python3").chmod(0o755)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    started = [subprocess.Popen(["bash", script], stdout=subprocess.PIPE, text=True, env=environment) for _ in range(count)]
    return [process.communicate(timeout=60)[0].splitlines()[-1] for process in started], log.read_text().splitlines()


def test_a_venv_that_an_interrupted_run_left_without_pip_is_made_anew(tmp_path):
    assert first_runs(tmp_path, 1) == (["<inference.py>"], ["-m venv --clear", "begins", "ends", "begins", "ends"])


@pytest.mark.skipif(shutil.which("flock") is None, reason="the system has no flock")
def test_of_two_first_runs_one_installs_and_the_other_waits_for_it(tmp_path):
    assert first_runs(tmp_path, 2) == (2 * ["<inference.py>"], ["-m venv --clear", "begins", "ends", "begins", "ends"])
