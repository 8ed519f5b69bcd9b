"""The networks for photographs out of a wheel: what pip is asked, what is refused, and that nothing half arrives."""
import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts import download_weights
from scripts.download_weights import bring, main
from runtime.published_weights import WHEEL_FILES, Terms, Wheel, WheelFile

TERMS = Terms("Apache-2.0", "yes", "https://example.org/licence")
MEMBERS = {"mediapipe/modules/a/first.tflite": b"first network", "mediapipe/modules/b/second.tflite": b"second network"}


def wheel_bytes(folder: Path, members: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(folder / "made.whl", "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return (folder / "made.whl").read_bytes()


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index: `content` is what pip downloads, `says` its errors, `asked` the commands."""
    (tmp_path / "wheel").mkdir()
    index = SimpleNamespace(content=wheel_bytes(tmp_path / "wheel", MEMBERS), says="", asked=[], weights=tmp_path / "weights")
    wheel = Wheel("mediapipe", "0.10.21", ("3.11", "cp311", "manylinux_2_28_x86_64"), len(index.content),
                  hashlib.sha256(index.content).hexdigest())
    index.files = [WheelFile("photograph", wheel, member, "mediapipe", len(content), TERMS, hashlib.sha256(content).hexdigest())
                   for member, content in MEMBERS.items()]

    def pip(command, **options):
        index.asked.append(command)
        if not index.says:
            folder = Path(command[command.index("--dest") + 1])
            (folder / "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl").write_bytes(index.content)
        return subprocess.CompletedProcess(command, int(bool(index.says)), "", index.says)

    monkeypatch.setattr(download_weights.subprocess, "run", pip)
    monkeypatch.setattr(download_weights, "files_of", lambda group: index.files)
    return index


def arrived(index) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in index.weights.rglob("*") if path.is_file() and path.suffix != ".json"}


def test_the_files_arrive_with_their_source_and_pip_is_asked_for_one_wheel_without_dependencies(index, capsys):
    assert bring("photograph", index.weights) == []
    assert arrived(index) == {"first.tflite": b"first network", "second.tflite": b"second network"}
    command, = index.asked
    assert command[:4] == [sys.executable, "-m", "pip", "download"] and command[-1] == "mediapipe==0.10.21"
    assert {"--no-deps", "--only-binary=:all:", "--python-version", "--platform"} <= set(command)
    notes = json.loads((index.weights / "mediapipe" / "SOURCES.json").read_text())
    assert notes["first.tflite"]["licence"] == "Apache-2.0" and "mediapipe==0.10.21" in notes["first.tflite"]["repository"]
    assert capsys.readouterr().out.startswith("licence: Apache-2.0; commercial use: yes")


def test_what_is_there_is_not_fetched_again_and_what_is_damaged_is(index, capsys):
    bring("photograph", index.weights)
    assert bring("photograph", index.weights) == [] and len(index.asked) == 1
    (index.weights / "mediapipe" / "first.tflite").write_bytes(b"damaged")
    assert bring("photograph", index.weights) == [] and len(index.asked) == 2
    assert arrived(index)["first.tflite"] == b"first network"


@pytest.mark.parametrize("says, words", [
    ("WARNING: retrying\nERROR: No matching distribution found for mediapipe==0.10.21\n",
     r"mediapipe==0.10.21: the package index gave no wheel \(ERROR: No matching .*\): check the network and pip's index"),
    ("/usr/bin/python: No module named pip\n", "No module named pip.*ensurepip"),
])
def test_no_network_and_no_pip_are_one_line(index, says, words, capsys):
    index.says = says
    problem, = bring("photograph", index.weights)
    assert re.search(words, problem) and "\n" not in problem and arrived(index) == {}
    assert main(["photograph", "--folder", str(index.weights)]) == 2
    assert "error: mediapipe==0.10.21" in capsys.readouterr().err


def test_another_wheel_another_member_and_another_hash_unpack_nothing(index, tmp_path):
    right = index.content
    index.content = right + b"x"
    assert "expected sha256" in bring("photograph", index.weights)[0]
    for members, words in (({"mediapipe/modules/a/first.tflite": b"first network"}, "expected a wheel with mediapipe/modules/b/second.tflite"),
                           (MEMBERS | {"mediapipe/modules/b/second.tflite": b"other"}, "expected sha256 .* of mediapipe/modules/b/second.tflite")):
        index.content = wheel_bytes(tmp_path / "wheel", members)
        object.__setattr__(index.files[0].wheel, "sha256", hashlib.sha256(index.content).hexdigest())
        problem, = bring("photograph", index.weights)
        assert re.search(words, problem) and problem.endswith("nothing was unpacked") and arrived(index) == {}


def test_every_file_is_pinned_and_listed(capsys):
    assert all(len(file.sha256) == 64 and len(file.wheel.sha256) == 64 for file in WHEEL_FILES)
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    assert all(file.path in printed for file in WHEEL_FILES) and "inside the wheel mediapipe==0.10.21" in printed
