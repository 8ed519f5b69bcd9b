"""The run folder: what is reused, what is not, and that nothing is ever left half written."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pytest

from media.files import locked, save_atomically
from media.video_writer import load_frames, save_frames
from run.folder import Artefact, check_nobody_elses, content_hash, EDGE_BYTES, Report, RunFolder, WRITTEN

TEXT = Artefact("text.txt", lambda text, path: path.write_text(text), Path.read_text)


@dataclass(frozen=True)
class Settings:
    steps: int = 4
    name: str = "a"


class Counter:
    """Work that counts how often it is done."""

    def __init__(self, result: str):
        self.result, self.times = result, 0

    def __call__(self) -> str:
        self.times += 1
        return self.result


def run(path: Path, resume: bool, work, *inputs) -> str:
    folder = RunFolder(path, resume, Report())
    result = folder.stage("stage", TEXT, work, *inputs)
    folder.finish()
    return result


def test_a_stage_is_reused_only_on_resume_and_only_with_equal_inputs(tmp_path):
    work = Counter("hello")
    inputs = ("prompt", Settings(), np.arange(5.0))
    assert run(tmp_path, True, work, *inputs) == "hello" and work.times == 1
    assert run(tmp_path, True, work, *inputs) == "hello" and work.times == 1
    run(tmp_path, False, work, *inputs)
    assert work.times == 2
    run(tmp_path, True, work, "prompt", Settings(steps=5), np.arange(5.0))
    assert work.times == 3


def test_a_stage_whose_code_has_changed_is_made_anew_and_that_is_said(tmp_path, caplog):
    source, work = tmp_path / "code" / "stage.py", Counter("hello")
    source.parent.mkdir()

    def go(text: str) -> None:
        source.write_text(text)
        folder = RunFolder(tmp_path / "run", True, Report(), {"stage": [source.parent]})
        folder.stage("stage_2", TEXT, work)
        folder.stage("another", TEXT, Counter("of no code"))

    go("x = 1\n")
    go("x = 1\n")
    assert work.times == 1 and not caplog.messages
    go("x = 2\n")
    assert work.times == 2 and caplog.messages == ["stage_2: made anew, as the code of this stage has changed since"]


def test_a_result_that_cannot_be_read_says_how_to_go_on(tmp_path):
    numbers = Artefact("number.txt", lambda number, path: path.write_text(str(number)), lambda path: int(path.read_text()))
    RunFolder(tmp_path, True, Report()).stage("stage", numbers, lambda: 3)
    (tmp_path / "number.txt").write_text("three")
    with pytest.raises(ValueError, match="number.txt: expected what this stage wrote .*: mend it, or delete it, and it is"):
        RunFolder(tmp_path, True, Report()).stage("stage", numbers, lambda: 3)


@pytest.mark.parametrize("said", ["text.txt: expected JSON (no end): mend it, or delete the file", "text.txt: expected JSON (no end): mend it"])
def test_a_reader_that_says_what_to_do_says_it_once(tmp_path, said):
    run(tmp_path, True, Counter("hello"))

    def fails(path):
        raise ValueError(said)
    with pytest.raises(ValueError) as caught:
        RunFolder(tmp_path, True, Report()).stage("stage", Artefact("text.txt", TEXT.save, fails), Counter("hello"))
    assert str(caught.value) == f"{tmp_path / 'text.txt'}: expected JSON (no end): mend it, or delete the file, and it is made again"


@pytest.mark.parametrize("raised", [BadZipFile("no end"), RecursionError("too deep"), KeyError("x"), TypeError("a\nb"), AssertionError()])
def test_whatever_a_reader_raises_is_one_line_that_names_the_file(tmp_path, raised):
    run(tmp_path, True, Counter("hello"))

    def fails(path):
        raise raised
    with pytest.raises(ValueError, match="text.txt: expected what this stage wrote .*: mend it, or delete it") as caught:
        RunFolder(tmp_path, True, Report()).stage("stage", Artefact("text.txt", TEXT.save, fails), Counter("hello"))
    assert "\n" not in str(caught.value) and "()" not in str(caught.value)


def test_another_file_in_place_of_one_that_nobody_edits_is_made_anew_and_that_is_said(tmp_path, caplog):
    frames, work = Artefact("text.txt", TEXT.save, TEXT.load, editable=False), Counter("hello")
    for content in (None, "hell", "other"):
        if content:
            (tmp_path / "text.txt").write_text(content)
        assert RunFolder(tmp_path, True, Report()).stage("video", frames, work) == "hello"
    assert work.times == 3 and [message.endswith("made anew") for message in caplog.messages] == [True, True]
    RunFolder(tmp_path, True, Report()).stage("video", frames, work)
    assert work.times == 3


def test_files_that_somebody_removes_during_a_run_are_told(tmp_path, caplog):
    folder = RunFolder(tmp_path, False, Report())
    folder.stage("stage", TEXT, Counter("hello"))
    folder.finish()
    assert not caplog.messages
    (tmp_path / "text.txt").unlink()
    folder.finish()
    assert caplog.messages == [f"{tmp_path}: text.txt removed during the run, by something else: the same command makes them again"]


def shown(tmp_path: Path) -> set[str]:
    return {name for name in WRITTEN if (tmp_path / name).exists()}


@pytest.mark.parametrize("stage, left", [
    ("skeleton", set()), ("reference", set(WRITTEN)), ("poses", {"preview.mp4", "motion.bvh"}), ("preview", set(WRITTEN)),
    ("refined_1", {"preview.mp4", "motion.bvh", "poses.mp4"})])
@pytest.mark.parametrize("resume", [True, False])
def test_what_shows_another_result_than_the_folder_holds_is_removed_and_nothing_else(tmp_path, caplog, stage, left, resume):
    def go(result: str, resume: bool) -> None:
        folder = RunFolder(tmp_path, resume, Report())
        folder.stage(stage, TEXT, lambda: result, result)
        folder.finish()

    go("old", False)
    for name in WRITTEN:
        (tmp_path / name).write_bytes(b"shown")
    caplog.set_level("INFO")
    go("old", resume)
    assert shown(tmp_path) == set(WRITTEN) and any("name=another keeps it" in message for message in caplog.messages) != resume
    go("new", resume)
    assert shown(tmp_path) == left
    assert sum("removed" in message for message in caplog.messages) == (left != set(WRITTEN))


def test_an_edited_result_removes_what_was_made_from_it_and_a_failing_stage_removes_nothing(tmp_path):
    def fails():
        raise ValueError("no person")
    run(tmp_path, True, Counter("old"), "before")
    (tmp_path / "video.mp4").write_bytes(b"shown")
    with pytest.raises(ValueError, match="no person"):
        run(tmp_path, False, fails, "after")
    run(tmp_path, True, fails, "before")                                           # neither a video nor its reuse is lost
    assert shown(tmp_path) == {"video.mp4"}
    (tmp_path / "text.txt").write_text("edited")
    run(tmp_path, True, fails, "before")
    assert shown(tmp_path) == set()


def test_what_a_killed_run_had_still_to_remove_goes_when_it_goes_on(tmp_path):
    run(tmp_path, True, Counter("old"), "before")
    (tmp_path / "video.mp4").write_bytes(b"shown")
    RunFolder(tmp_path, True, Report()).stage("stage", TEXT, Counter("new"), "after")             # killed before the next stage
    assert shown(tmp_path) == {"video.mp4"}
    work = Counter("new")
    assert run(tmp_path, True, work, "after") == "new" and work.times == 0 and shown(tmp_path) == set()
    (tmp_path / "video.mp4").write_bytes(b"shown")
    run(tmp_path, True, work, "after")
    assert shown(tmp_path) == {"video.mp4"}


def test_a_result_of_a_run_that_was_killed_when_it_was_written_is_nobodys_edit(tmp_path, caplog):
    def killed(path):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        RunFolder(tmp_path, True, Report()).stage("stage", Artefact("text.txt", TEXT.save, killed), Counter("old"), "before")
    assert (tmp_path / "text.txt").read_text() == "old" and run(tmp_path, True, Counter("new"), "after") == "new"
    assert not caplog.messages and {path.name for path in tmp_path.iterdir()} == {"text.txt", "report.json"}


def test_an_overwritten_runs_further_files_go_and_none_outside_the_folder(tmp_path):
    folder, outside = tmp_path / "run", tmp_path / "outside.txt"
    run(folder, True, Counter("old"))
    RunFolder(folder, True, Report()).stage("plan", Artefact("plan.json", TEXT.save, TEXT.load), Counter("plan"))
    report = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps(report | {"files": report["files"] | {"../outside.txt": "x"}}))
    outside.write_text("mine")
    run(folder, True, Counter("old"))
    assert (folder / "plan.json").exists()
    run(folder, False, Counter("old"))
    assert not (folder / "plan.json").exists() and outside.exists() and (folder / "text.txt").exists()


def test_a_lost_result_is_made_again(tmp_path):
    work = Counter("hello")
    run(tmp_path, True, work)
    (tmp_path / "text.txt").unlink()
    run(tmp_path, True, work)
    assert work.times == 2


def test_an_edited_result_is_what_later_stages_get(tmp_path):
    work = Counter("hello")
    run(tmp_path, True, work)
    (tmp_path / "text.txt").write_text("edited")
    assert run(tmp_path, True, work) == "edited" and work.times == 1


@pytest.mark.parametrize("resume", [True, False])
def test_an_edited_file_is_kept_beside_before_it_is_written_over_and_that_is_said(tmp_path, caplog, resume):
    run(tmp_path, False, Counter("old"), "before")
    for edit in ("edited", "edited again"):
        (tmp_path / "text.txt").write_text(edit)
        run(tmp_path, True, Counter("old"), "before")                              # used as it is, and still an edited one
        assert run(tmp_path, resume, Counter("new"), "after") == "new"
        run(tmp_path, resume, Counter("old"), "before")
    assert (tmp_path / "text.edited.txt").read_text() == "edited" and (tmp_path / "text.edited2.txt").read_text() == "edited again"
    assert [message.endswith(f"kept as {name}") for message, name in zip(caplog.messages, ("text.edited.txt", "text.edited2.txt"))] == [True, True]
    assert len(caplog.messages) == 2 and len(list(tmp_path.glob("*.txt"))) == 3


def test_an_edited_file_that_an_overwriting_run_does_not_make_is_kept_and_one_that_a_failing_stage_would_make_stays(tmp_path):
    def fails():
        raise ValueError("no person")
    run(tmp_path, False, Counter("old"), "before")
    (tmp_path / "text.txt").write_text("edited")
    with pytest.raises(ValueError, match="no person"):
        run(tmp_path, False, fails, "after")
    assert (tmp_path / "text.txt").read_text() == "edited"
    folder = RunFolder(tmp_path, False, Report())
    folder.stage("plan", Artefact("plan.json", TEXT.save, TEXT.load), Counter("plan"))
    folder.finish()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.json", "report.json", "text.edited.txt"]


@pytest.mark.parametrize("name", ["video.mp4", "plan.json", "seen_1.npz", "frames/video.mkv", "report.json"])
def test_a_folder_with_somebody_elses_files_is_refused_and_stays_as_it_is(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    for file in (name, "mine.txt"):
        (tmp_path / file).write_text("{}")
    with pytest.raises(ValueError, match=f"found {name}, which no run wrote.: choose another name="):
        check_nobody_elses(tmp_path)
    (tmp_path / name).unlink()
    check_nobody_elses(tmp_path)
    run(tmp_path, False, Counter("hello"))
    check_nobody_elses(tmp_path)


@pytest.mark.parametrize("report", [b"", b"{", b"[]", b'{"keys": 3}', b"{}", b"\xff\xfe{", b"[" * 100_000])
def test_a_broken_report_means_starting_anew(tmp_path, report):
    work = Counter("hello")
    run(tmp_path, True, work)
    (tmp_path / "run.yaml").write_text("image: a.png\nprompt: She waves.\n")
    (tmp_path / "report.json").write_bytes(report)
    run(tmp_path, True, work)
    assert work.times == 2


def test_a_stage_that_fails_leaves_the_old_file_but_forgets_that_it_fits(tmp_path):
    run(tmp_path, True, Counter("old"), "before")
    folder = RunFolder(tmp_path, True, Report())

    def fails():
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        folder.stage("stage", TEXT, fails, "after")
    work = Counter("new")
    assert run(tmp_path, True, work, "after") == "new" and work.times == 1


def test_writing_that_fails_halfway_leaves_nothing(tmp_path):
    def write(path: Path) -> None:
        path.write_text("half")
        raise OSError("disk full")
    with pytest.raises(OSError):
        save_atomically(tmp_path / "file.txt", write)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file.txt").write_text("old")
    with pytest.raises(OSError):
        save_atomically(tmp_path / "file.txt", write)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_the_report_has_each_stage_with_seconds_and_memory(tmp_path):
    def work() -> str:
        with mmap(-1, 320_000_000) as ballast:          # for a moment, of the system: freed memory may be kept for reuse
            for page in range(0, len(ballast), 4096):
                ballast[page] = 1
        return "x"
    before = RunFolder(tmp_path, False, Report())
    before.stage("light", TEXT, Counter("x"))
    before.stage("heavy", Artefact("heavy.txt", TEXT.save, TEXT.load), work)
    light, heavy = json.loads((tmp_path / "report.json").read_text())["stages"]
    assert heavy["peak_memory"] - light["peak_memory"] > 200e6
    assert heavy["seconds"] > 0 and heavy["file"] == "heavy.txt" and not heavy["reused"]
    assert "heavy" in before.report.table() and "in all" in before.report.table()


def test_work_ahead_of_a_stage_is_counted_in_it():
    report = Report()
    with report.preparing():
        time.sleep(0.2)
    for name in ("person", "plan"):
        with report.stage(name, f"{name}.json"):
            pass
    assert report.stages[0].seconds >= 0.2 and report.stages[1].seconds < 0.2


def test_equal_content_hashes_equally_and_any_change_shows(tmp_path):
    file = tmp_path / "weights.bin"
    file.write_bytes(b"abc")
    value = {"a": [1, 2.5, None, True, "x"], "b": np.zeros((2, 3), np.float32), "c": Settings(), "d": file}
    reference = content_hash(value)
    assert content_hash({key: value[key] for key in reversed(value)}) == reference
    for key, other in [("a", [1, 2.5, None, 1, "x"]), ("a", [1, 2.5, None, True, "x", []]), ("b", np.zeros((3, 2), np.float32)),
                       ("b", np.zeros((2, 3))), ("c", Settings(name="b"))]:
        assert content_hash(value | {key: other}) != reference
    file.write_bytes(b"abd")
    assert content_hash(value) != reference


def test_files_in_a_folder_count_by_name_and_content(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    first = content_hash(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert content_hash(tmp_path) != first


def test_of_a_large_file_the_ends_and_the_length_count(tmp_path):
    file, size = tmp_path / "large", 2 * EDGE_BYTES + 100
    hashes = set()
    for length, changed in [(size, None), (size, 0), (size, size - 1), (size + 1, None)]:
        with file.open("wb") as stream:
            stream.truncate(length)
            if changed is not None:
                stream.seek(changed)
                stream.write(b"x")
        hashes.add(content_hash(file))
    assert len(hashes) == 4


def test_what_cannot_be_hashed_is_refused():
    with pytest.raises(TypeError, match="cannot hash a object"):
        content_hash(object())


@pytest.mark.parametrize("shape", [(3, 64, 48, 3), (1, 320, 192, 3), (2, 33, 35, 3)])
def test_frames_survive_the_disk_bit_for_bit(tmp_path, shape):
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    save_frames(frames, tmp_path / "frames.mkv")
    loaded = load_frames(tmp_path / "frames.mkv")
    assert loaded.dtype == np.uint8 and np.array_equal(loaded, frames)


@pytest.mark.parametrize("name", ["video.mp4", "report.json", "text.txt"])
def test_a_folder_where_a_file_belongs_is_named_before_any_work(tmp_path, name):
    (tmp_path / name).mkdir()
    work = Counter("hello")
    with pytest.raises(ValueError, match=f"{name}: expected a file .found a folder.: move it away"):
        RunFolder(tmp_path, True, Report()).stage("stage", TEXT, work)
    assert work.times == 0


def test_a_file_where_the_folder_of_frames_belongs_is_named(tmp_path):
    (tmp_path / "frames").write_text("")
    with pytest.raises(ValueError, match="frames: expected a folder .found a file"):
        RunFolder(tmp_path, False, Report())


KILLED = """
import os, signal, sys
from pathlib import Path
from media.files import save_atomically
save_atomically(Path(sys.argv[1]), lambda partial: (partial.write_text("half"), os.kill(os.getpid(), signal.SIGKILL)))
"""


def test_what_a_killed_process_left_half_written_goes_and_what_others_write_stays(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "frames" / "video.mkv")], timeout=120)
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "motion.npz")], timeout=120)
    assert len(list(tmp_path.rglob(".*.partial"))) == 2
    others = {tmp_path / f".a.txt.{os.getpid()}.partial", tmp_path / ".weights.pth.123456789012.partial"}      # of this process; of a download that goes on
    for other in others:
        other.touch()
    with locked(tmp_path):
        assert set(tmp_path.rglob(".*.partial")) == others
