"""From prompts to a folder of videos and its page: names, resuming, mistakes in one line, and a real browser."""
import errno
import json
import shutil
import subprocess
import time
import urllib.request
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

import generate_customized
from configs import run_main
from media.files import locked
from media.video_reader import read_video
from media.video_writer import write_video
from newmove import generation
from newmove.generation import copies, generate, planned, Prompt, Video
from newmove_goldens import complete
from tiny_training import launched


@pytest.fixture(scope="module")
def pipeline(request, tmp_path_factory):
    goldens = request.config.getoption("--goldens") or Path(__file__).parent / "fixtures" / "newmove"
    return complete(goldens, tmp_path_factory.mktemp("newmove")) / "pipeline"


def frames_of(prompt: str, seed: int) -> np.ndarray:
    """A plain film whose colour tells the seed."""
    return np.full((4, 32, 32, 3), seed % 256, np.uint8)


SETTINGS = {"num_frames": 4}


def test_names_are_the_published_ones_where_the_prompt_allows_it():
    assert planned([Prompt(7, "A robot waves.")]) == [Video("A_robot_waves._seed7.mp4", "A robot waves.", 7)]


def test_names_are_safe_and_never_shared():
    texts = ["../a/b walks", "a $(touch X) man; \"quoted\" `id`", "a man!", "a man?", "a man", "A MAN", "a_man", "..", "CON: x",
             "very " * 120 + "long", "very " * 120 + "longer", "un café, 日本の踊り", "日" * 300, ".hidden", "a\x00b"]
    names = [video.file for video in planned([Prompt(seed, text) for text in texts for seed in (1, 2**64 - 1)])]
    assert len({name.casefold() for name in names}) == 2 * len(texts)
    for name in names:
        assert len(name.encode()) <= 220 and not name.startswith(".") and Path(name).name == name
        assert not set(name) & set("/\\:*?\"<>|$`;\x00")


def test_a_name_does_not_depend_on_the_prompts_around_it_and_a_repeated_line_is_one_video():
    some, more = [Prompt(1, "a man!")], [Prompt(2, "x"), Prompt(1, "a man?"), Prompt(1, "a man!"), Prompt(1, "a man!")]
    assert planned(some)[0] in planned(more) and len(planned(more)) == 3


def test_exemplars_whose_names_differ_in_a_space_alone_keep_a_copy_each(tmp_path):
    for stem, shade in (("a b", 40), ("a_b", 200)):
        write_video(tmp_path / "clips" / f"{stem}.mp4", np.full((2, 32, 32, 3), shade, np.uint8), 8)
    shown = copies(tmp_path / "clips", tmp_path / "out")
    assert [exemplar.caption for exemplar in shown] == ["a b", "a_b"]
    assert [round(read_video(tmp_path / "out" / exemplar.file)[0].mean(), -1) for exemplar in shown] == [40, 200]


def test_an_exemplars_caption_that_is_not_utf8_is_refused_by_name(tmp_path):
    write_video(tmp_path / "clips" / "a.mp4", np.zeros((2, 32, 32, 3), np.uint8), 8)
    (tmp_path / "clips" / "a.txt").write_bytes("she waves".encode("utf-16"))
    with pytest.raises(ValueError, match="a.txt: expected text in UTF-8"):
        copies(tmp_path / "clips", tmp_path / "out")


def test_a_second_run_makes_only_what_is_missing(tmp_path):
    made = []
    make = lambda prompt, seed: made.append(seed) or frames_of(prompt, seed)
    generate(make, [Prompt(1, "a"), Prompt(2, "b")], tmp_path, SETTINGS)
    (tmp_path / "b_seed2.mp4").unlink()
    generate(make, [Prompt(1, "a"), Prompt(2, "b"), Prompt(3, "c")], tmp_path, SETTINGS)
    assert made == [1, 2, 2, 3]
    with av.open(str(tmp_path / "a_seed1.mp4")) as film:
        stream = film.streams.video[0]
        assert stream.codec_context.name == "h264" and float(stream.average_rate) == 8 and stream.frames == 4


def test_a_folder_of_another_run_is_refused_before_anything_is_made(tmp_path):
    generate(frames_of, [Prompt(1, "a")], tmp_path, SETTINGS)
    with pytest.raises(ValueError, match="num_frames: 4 there, 5 now.*choose another with -o"):
        generate(lambda *_: pytest.fail("made a video"), [Prompt(9, "z")], tmp_path, {"num_frames": 5})


def test_two_commands_never_write_into_one_folder(tmp_path):
    with locked(tmp_path), pytest.raises(ValueError, match="another run is writing to it: wait for its end, or choose another with -o"):
        generate(lambda *_: pytest.fail("made a video"), [Prompt(1, "a")], tmp_path, SETTINGS)
    generate(frames_of, [Prompt(1, "a")], tmp_path, SETTINGS)
    assert not list(tmp_path.glob(".*"))


def test_a_disk_that_fills_is_one_line_and_what_is_whole_stays(tmp_path, monkeypatch):
    def write(path, frames, fps):
        if len(list(tmp_path.glob("*.mp4"))) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_video(path, frames, fps)
    monkeypatch.setattr(generation, "write_video", write)
    with pytest.raises(ValueError, match=r"No space left on device .1 videos are whole.*same command again") as error:
        generate(frames_of, [Prompt(1, "a"), Prompt(2, "b")], tmp_path, SETTINGS)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.glob("*.mp4")] == ["a_seed1.mp4"]


def arguments(pipeline, out, prompts, **more):
    return ["-m", str(pipeline), "-o", str(out), "-p", str(prompts), "-r", "32", "-d", "2", "-steps", "2", "--device", "cpu",
            "--dtype", "float32", *more.get("extra", [])]


def test_each_line_of_a_file_gets_its_own_seed(pipeline, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("5,a man waves\n6,a man waves")
    generate_customized.main(arguments(pipeline, tmp_path / "both", prompts))
    generate_customized.main(arguments(pipeline, tmp_path / "one", "a man waves", extra=["-s", "6"]))
    name = "a_man_waves_seed6.mp4"
    assert (tmp_path / "both" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert (tmp_path / "both" / name).read_bytes() != (tmp_path / "both" / "a_man_waves_seed5.mp4").read_bytes()


@pytest.mark.parametrize("change, words", [
    (["-s", "abc"], "-s: expected an integer or random (found 'abc')"), (["-r", "big"], "-r: expected a side"),
    (["-guidance", "nan"], "-guidance: expected a number"), (["-d", "0"], "-d: expected at least 1"), (["-m", "nowhere"], "nowhere: expected a model's folder"),
])
def test_mistakes_are_one_line_before_a_model_is_loaded(pipeline, tmp_path, monkeypatch, change, words):
    monkeypatch.setattr(generate_customized, "load_customized", lambda *_: pytest.fail("loaded a model"))
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        generate_customized.main([*arguments(pipeline, tmp_path / "out", "a"), *change])
    assert words in str(error.value) and "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_two_processes_make_the_videos_of_one(pipeline, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"{seed},a man waves\n" for seed in range(3)))
    assert launched(2, run_main, partial(generate_customized.main, arguments(pipeline, tmp_path / "two", prompts))) == [0, 0]
    generate_customized.main(arguments(pipeline, tmp_path / "one", prompts))
    for name in (f"a_man_waves_seed{seed}.mp4" for seed in range(3)):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "two" / "gallery.html").read_text().count("a_man_waves_seed") == 3


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """Three videos and one exemplar, with words in them that a page must not take for its own."""
    folder = tmp_path_factory.mktemp("out") / "my videos"
    clips = tmp_path_factory.mktemp("clips")
    write_video(clips / "c #1.mkv", np.zeros((5, 40, 60, 3), np.uint8), 5)
    (clips / "c #1.txt").write_text("a <b>bold</b> exemplar")
    prompts = [Prompt(11, "a man & <script>alert(1)</script>"), Prompt(12, "a 100% café #dance"), Prompt(13, "a cat")]
    return generate(frames_of, prompts, folder, SETTINGS, exemplars=clips)


def test_the_page_asks_nobody_for_anything(gallery):
    page = gallery.read_text(encoding="utf-8")
    assert "http:" not in page and "https:" not in page and "//" not in page.replace("<!doctype", "")
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


class Browser:
    """Chromium by the WebDriver protocol, a few words of it."""

    def __init__(self, tmp_path: Path):
        self.port = 9531
        self.driver = subprocess.Popen([shutil.which("chromedriver"), f"--port={self.port}"], stdout=subprocess.DEVNULL)
        switches = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
        for attempt in range(100):
            try:
                answer = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": switches}}}})
                break
            except OSError:
                time.sleep(0.2)
        self.session = f"/session/{answer['sessionId']}"

    def ask(self, method: str, path: str, content: dict | None = None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method,
                                         data=None if content is None else json.dumps(content).encode())
        return json.load(urllib.request.urlopen(request, timeout=60))["value"]

    def run(self, script: str):
        return self.ask("POST", f"{self.session}/execute/sync", {"script": script, "args": []})

    def close(self) -> None:
        self.ask("DELETE", self.session)
        self.driver.terminate()
        self.driver.wait(timeout=20)


@pytest.mark.skipif(not shutil.which("chromedriver"), reason="no chromedriver on this machine")
def test_a_browser_plays_and_filters_the_page_from_the_disk(gallery, tmp_path):
    browser = Browser(tmp_path)
    try:
        browser.ask("POST", f"{browser.session}/url", {"url": gallery.resolve().as_uri()})
        for attempt in range(150):
            state = browser.run("return [...document.querySelectorAll('video')].map(v => [v.readyState, v.error && v.error.code, "
                                "v.paused, v.muted, v.loop, v.videoWidth])")
            if all(ready >= 2 and not paused for ready, _, paused, *_ in state):
                break
            time.sleep(0.2)
        assert len(state) == 4 and all(video[:1] >= [2] and video[1:5] == [None, False, True, True] for video in state), state
        assert state[0][5] == 60                                             # the exemplar keeps its shape
        captions = browser.run("return [...document.querySelectorAll('figcaption')].map(c => c.textContent.trim())")
        assert captions[0] == "a <b>bold</b> exemplar" and captions[1] == "a man & <script>alert(1)</script> seed 11"
        count = ("const box = document.getElementById('filter'); box.value = arguments[0]; box.dispatchEvent(new Event('input'));"
                 "return [[...document.querySelectorAll('.made figure')].filter(f => f.offsetParent).length, "
                 "document.getElementById('count').textContent]")
        for words, shown in (("CAFÉ", 1), ("a", 3), ("13", 1), ("cat dance", 0), ("", 3)):
            found, text = browser.ask("POST", f"{browser.session}/execute/sync", {"script": count, "args": [words]})
            assert found == shown and text == (f"{shown} of 3 videos" if words else "3 videos"), words
    finally:
        browser.close()
