"""What is behind the web page, without Gradio: jobs, runs, the checks of everything from outside, and the way to a video."""

import asyncio
import errno
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import app
from inference import load_configs
from llm_planner import Segment
from media.files import locked
from media.images import read_image
from media.video_reader import read_video
from media.video_writer import write_video
from pictures import huge_png
from run.folder import RunFolder
from runtime.published_weights import files_of
from webapp import runs
from webapp.desk import card, Desk, doubt_about, report_frame, warnings_card, Wish
from webapp.jobs import DONE, FAILED, Job, Jobs, MAX_WAITING, RUNNING, STOPPED
from webapp.making import assignments, PRESETS, setting_rows
from webapp.safety import checked_picture, checked_plan, checked_prompt, checked_video, Guard, JSON_BYTES, MAX_SEGMENTS, names_an_address, REQUEST_BYTES
from webapp.weights import bytes_here, fetch_weights, weights_table

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>"
TINY = {"height": 256, "width": 144, "fps": 4.0}
ONE_WAVE = "A person waves for 1 second."


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def ended(desk, session, seconds=300.0):
    job = desk.jobs.find(session["job"])
    wait_for(lambda: job.is_over, seconds)
    return job


# jobs

def stepping(steps, seconds=0.01, started=None):
    """Work of so many steps, each of which may be stopped."""
    def work(job):
        for done in range(steps):
            if started is not None:
                started.set()
            job.tell("step", done, steps)
            time.sleep(seconds)
    return work


def test_a_job_that_is_over_holds_nothing_of_its_work():
    """Hundreds of them are remembered."""
    jobs, gate, held = Jobs("render"), threading.Event(), [np.zeros(1), np.zeros(1)]
    run, waiting = (jobs.submit("render", "render", str(number), lambda job, array=array: gate.wait(30))
                    for number, array in enumerate(held))
    left = [weakref.ref(array) for array in held]
    held.clear()
    jobs.cancel(waiting.key)
    gate.set()
    wait_for(lambda: run.is_over and waiting.is_over)
    wait_for(lambda: not any(reference() is not None for reference in left), 5)


def test_one_job_runs_at_a_time_and_the_others_see_their_place():
    jobs, order, gate = Jobs("render"), [], threading.Event()
    first = jobs.submit("render", "render", "a", lambda job: (gate.wait(30), order.append("a")))
    others = [jobs.submit("render", "render", name, lambda job, name=name: order.append(name)) for name in "bc"]
    wait_for(lambda: first.state == RUNNING)
    assert [jobs.place(job) for job in (first, *others)] == [0, 1, 2]
    gate.set()
    wait_for(lambda: others[-1].is_over)
    assert order == ["a", "b", "c"] and {job.state for job in (first, *others)} == {DONE}


def test_a_cancelled_job_stops_before_its_next_step_and_a_waiting_one_never_starts():
    jobs, started, ran = Jobs("render"), threading.Event(), []
    running = jobs.submit("render", "render", "a", stepping(10_000, started=started))
    waiting = jobs.submit("render", "render", "b", lambda job: ran.append("b"))
    started.wait(30)
    jobs.cancel(waiting.key)
    jobs.cancel(running.key)
    wait_for(lambda: running.is_over)
    after = jobs.submit("render", "render", "a", lambda job: ran.append("a"))
    wait_for(lambda: after.is_over)
    assert running.state == waiting.state == STOPPED and running.step[1] < 9_999 and ran == ["a"]


def test_a_full_lane_and_a_second_job_on_the_same_run_are_refused_in_one_line():
    jobs, gate = Jobs("render"), threading.Event()
    first = jobs.submit("render", "render", "first", lambda job: gate.wait(30))
    wait_for(lambda: first.state == RUNNING)
    with pytest.raises(ValueError, match="first: a render is under way"):
        jobs.submit("render", "preview", "first", print)
    for number in range(MAX_WAITING):
        jobs.submit("render", "render", f"{number}", lambda job: None)
    with pytest.raises(ValueError, match="jobs are waiting already"):
        jobs.submit("render", "render", "more", print)
    gate.set()


@pytest.mark.parametrize("error, said", [
    (ValueError("image:\n no person: use another"), "image: no person: use another"),
    (OSError(28, "No space left on device", "/disk/video.mp4"), "/disk/video.mp4: No space left on device: make room, then go on"),
    (KeyError("secret/path"), "a mistake of the program")])
def test_a_failed_job_says_one_line_and_the_next_one_runs(error, said):
    def fail(job):
        raise error

    jobs = Jobs("render")
    failed, after = jobs.submit("render", "render", "a", fail), jobs.submit("render", "render", "b", lambda job: None)
    wait_for(lambda: after.is_over)
    assert failed.state == FAILED and said in failed.message and "\n" not in failed.message and "secret" not in failed.message
    assert after.state == DONE


def test_jobs_that_are_closed_stop_and_one_that_takes_no_step_is_not_waited_for():
    jobs, started, gate = Jobs("preview", "render"), threading.Event(), threading.Event()
    running = jobs.submit("preview", "preview", "a", stepping(10_000, started=started))
    waiting = jobs.submit("preview", "preview", "b", stepping(10_000))
    assert started.wait(30) and jobs.close(30) and running.state == waiting.state == STOPPED
    begun = threading.Event()
    jobs.submit("render", "render", "c", lambda job: (begun.set(), gate.wait(30)))
    assert begun.wait(30) and not jobs.close(0.1)
    gate.set()
    assert jobs.close(30)


def test_only_a_keys_holder_finds_a_job():
    jobs = Jobs("render")
    job = jobs.submit("render", "render", "a", lambda job: None)
    assert jobs.find(job.key) is job and len(job.key) > 20
    for other in ("", None, 0, ["x"], {"a": 1}, job.key[:-1]):
        assert jobs.find(other) is None and jobs.cancel(other) is None


# what comes from outside

@pytest.mark.parametrize("name, content, said", [
    ("text.png", b"not a picture", "expected a PNG, JPEG or WebP"),
    ("page.png", SCRIPT.encode(), "expected a PNG, JPEG or WebP"),
    ("movie.gif", b"GIF89a" + bytes(50), "expected a PNG, JPEG or WebP"),
    ("print.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "expected a PNG, JPEG or WebP"),
    ("empty.jpg", b"", "expected a PNG, JPEG or WebP"),
    ("huge.png", 30_000, "megapixels"),
    ("large.png", 7_500, "50 megapixels (found 7500x7500, 56)"),
    ("long.png", bytes((25 << 20) + 1), "at most 25 MiB")])
def test_a_picture_is_judged_before_it_is_decoded(tmp_path, name, content, said):
    path = tmp_path / name
    huge_png(path, content) if isinstance(content, int) else path.write_bytes(content)
    start = time.thread_time()
    with pytest.raises(ValueError, match="picture: .*") as refused:
        checked_picture(path)
    assert said in str(refused.value) and "\n" not in str(refused.value) and str(tmp_path) not in str(refused.value)
    assert time.thread_time() - start < 2


def test_a_picture_of_which_a_part_is_missing_is_refused_and_leaves_no_folder_and_a_damaged_one_is_warned_of(tmp_path):
    picture, desk = tmp_path / "a.jpg", Desk(tmp_path / "outputs", tmp_path / "outputs" / ".app")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (160, 120, 3), np.uint8)).save(picture)
    whole = picture.read_bytes()
    assert doubt_about(picture) is None
    picture.write_bytes(whole[:len(whole) // 2] + whole[len(whole) // 2 + 400:])
    assert "the file is damaged" in doubt_about(picture)
    picture.write_bytes(whole[:len(whole) // 2])
    for work in (lambda: doubt_about(picture), lambda: desk.begin("preview", Wish(str(picture), ONE_WAVE, values=TINY), {})):
        with pytest.raises(ValueError, match="^picture: expected a whole picture") as refused:
            work()
        assert str(tmp_path) not in str(refused.value) and runs.runs_in(desk.outputs) == [] and not desk.outputs.exists()


@pytest.mark.parametrize("check", [checked_picture, checked_video])
def test_an_upload_that_an_earlier_server_had_is_asked_for_again(tmp_path, check):
    with pytest.raises(ValueError, match=": expected a file .found none any more.*drop it again") as refused:
        check(tmp_path / "gone")
    assert str(tmp_path) not in str(refused.value)


@pytest.mark.parametrize("content", [b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n", b"", b"MZ" + bytes(100), SCRIPT.encode()])
def test_a_playlist_is_no_driving_video(tmp_path, content):
    (tmp_path / "dance.mp4").write_bytes(content)
    with pytest.raises(ValueError, match="driving video: expected an MP4"):
        checked_video(tmp_path / "dance.mp4")


@pytest.mark.parametrize("rows, said", [
    ([["1", "waves", "abc", ""]], "row 1: expected seconds"), ([["1", "waves", "nan"]], "row 1: expected seconds"), ([["1", "waves", "-1"]], "row 1: must last"),
    ([["1", "waves", "inf"]], "row 1: expected seconds"), ([["1", "", "2"]], "row 1: expected 1 to"), ([["1", "x" * 301, "2"]], "found 301"),
    ([["1", "waves"]], "found 2 cells"), ([["1", "waves", "1"], ["first", "squats", "1"]], "row 2: expected an order"), ([["inf", "waves", "1"]], "row 1: expected an order"),
    ([["1", "waves", "1"]] * (MAX_SEGMENTS + 1), f"at most {MAX_SEGMENTS} actions")])
def test_a_plan_from_the_page_is_refused_by_its_row(rows, said):
    with pytest.raises(ValueError, match="plan") as refused:
        checked_plan(rows)
    assert said in str(refused.value)


def test_a_plan_from_the_page_is_read_as_typed_and_in_its_order():
    assert checked_plan([["1", "waves", "2,5", "yes"], ["", "", "", ""], ["2", " squats ", " 3 "], "ab", None]) == [Segment("waves", 2.5), Segment("squats", 3.0)]
    rows = [["2", "squats", "1"], ["", "jumps", "1"], ["1,5", "waves", "1"], ["1", "walks", "1"], ["2", "kicks", "1"]]
    assert [segment.text for segment in checked_plan(rows)] == ["walks", "waves", "squats", "jumps", "kicks"]      # no order: after the row above


@pytest.mark.parametrize("prompt", [None, 7, ["a"], {"text": "a"}, "", " \n", "x" * 2001])
def test_a_prompt_is_a_text_of_some_length(prompt):
    with pytest.raises(ValueError, match="prompt: "):
        checked_prompt(prompt)


def test_no_setting_of_the_page_is_a_text_of_ones_own():
    for key, value, help_text, choices in setting_rows(PRESETS["puppet"].config()):
        assert choices or isinstance(value, (bool, int, float)), key
        assert help_text


@pytest.mark.parametrize("key", ["outputs", "image", "name", "driving_video", "planner.base_url", "planner.api_key_env", "planner.backend", "generator.checkpoint",
                                 "motion.weights", "pose.cache", "pose.detector", "device", "x", ""])
def test_files_addresses_and_keys_cannot_be_set_from_the_page(key):
    with pytest.raises(ValueError, match="cannot be set from the page"):
        assignments(PRESETS["demo"], {key: "/etc"})


def test_settings_that_equal_the_preset_are_left_out_and_others_are_checked_as_on_the_command_line():
    preset = PRESETS["demo"]
    values = {key: value for key, value, *_ in setting_rows(preset.config())}
    assert assignments(preset, values) == []
    changes = assignments(preset, values | {"seed": 3.0, "pose.plausible": False, "camera": "orbit"})
    assert preset.config(*changes).seed == 3 and changes == ["seed=3", "camera=orbit", "pose.plausible=false"]
    with pytest.raises(ValueError, match="camera: must be one of"):
        preset.config(*assignments(preset, {"camera": "/etc"}))
    with pytest.raises(ValueError, match="seed: is empty"):
        assignments(preset, {"seed": None})


def asked(guard, path="/", body=b"", method="GET", **headers):
    """Status of a request to a guarded server that answers 200 after the whole body."""
    sent, parts = [], [body[i:i + 65536] for i in range(0, len(body), 65536)] or [b""]

    async def server(scope, receive, send):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": path, "method": method, "headers": [(key.replace("_", "-").encode(), value.encode()) for key, value in headers.items()]}
    asyncio.run(Guard(server, **guard)(scope, receive, send))
    return next((message["status"] for message in sent if message["type"] == "http.response.start"), None)


@pytest.mark.parametrize("headers, status", [
    (dict(host="127.0.0.1:7860"), 200), (dict(host="localhost"), 200), (dict(host="127.0.0.1:7860", origin="http://127.0.0.1:7860"), 200),
    (dict(host="evil.example"), 403), (dict(host="127.0.0.1.evil.example:7860"), 403), (dict(), 403),
    (dict(host="127.0.0.1:7860", origin="http://evil.example"), 403), (dict(host="127.0.0.1:7860", origin="null"), 403),
    (dict(host="localhost", content_length="3221225472"), 413), (dict(host="localhost", content_length=str(JSON_BYTES + 1)), 413),
    (dict(host="localhost", content_length="-5"), 400), (dict(host="localhost", content_length="1e9"), 400)])
def test_who_asks_and_how_much_is_judged_before_anything_is_read(headers, status):
    assert asked({}, **headers) == status


@pytest.mark.parametrize("path", ["/gradio_api/file=http://127.0.0.1:22/", "/gradio_api/proxy=https://evil.example/", "/gradio_api/file=file:/etc/passwd"])
def test_an_address_in_a_path_is_refused(path):
    assert asked({}, path, host="localhost") == 403


@pytest.mark.parametrize("body, is_refused", [
    ('{"data": [{"path": "http://evil.example/x.png"}]}', True), ('[[[{"path": "\\u0068ttps://evil.example"}]]]', True), ("[" * 100_000, True),
    ('{"data": [{"path": "/cache/x.png", "url": "http://127.0.0.1/x.png"}, "see http://x.example"]}', False), ("username=a&password=b", False), ("", False)])
def test_a_file_that_is_an_address_never_reaches_gradio(body, is_refused):
    assert names_an_address(body.encode()) == is_refused
    assert asked({}, body=body.encode(), method="POST", host="localhost") == (400 if is_refused else 200)


def test_a_body_longer_than_it_says_is_cut_off_and_an_open_server_takes_other_hosts():
    assert asked({}, body=bytes(JSON_BYTES + 1), host="localhost") is None
    assert asked({}, "/gradio_api/upload", body=bytes(JSON_BYTES + 1), host="localhost") == 200
    assert asked({}, "/gradio_api/upload", host="localhost", content_length=str(REQUEST_BYTES + 1)) == 413
    assert asked(dict(hosts=None), host="studio.example") == 200
    assert asked(dict(hosts=None), host="studio.example", origin="http://evil.example") == 403


def test_texts_of_people_are_never_markup():
    job = Job(SCRIPT, SCRIPT, print, state=FAILED, message=SCRIPT)
    desk = Desk(Path("nowhere"), Path("nowhere"))
    for html in (desk.status(job), card("bad", SCRIPT, SCRIPT), warnings_card([SCRIPT]), report_frame(Path("nowhere"), SCRIPT)):
        assert "<script" not in html and "<img" not in html
    assert "download_weights.py mimicmotion" in weights_table()


# run folders

def made_run(outputs, name, prompt="A person waves.", **files):
    folder = outputs / name
    folder.mkdir(parents=True)
    (folder / "run.yaml").write_text(json.dumps({"prompt": prompt, "renderer": "puppet"}))
    for file, content in files.items():
        (folder / file.replace("__", ".")).write_text(content)
    return folder


def test_the_list_shows_what_can_be_read_and_names_choose_only_from_it(tmp_path, caplog):
    outputs, other = tmp_path / "outputs", tmp_path / "other"
    made_run(outputs, "good", SCRIPT)
    made_run(outputs, ".deleted-1")
    made_run(outputs, "broken")
    (outputs / "broken" / "run.yaml").write_text("a: [")
    (outputs / "broken2").mkdir()
    (outputs / "broken2" / "run.yaml").write_text("just a text")
    made_run(outputs, "deep")
    (outputs / "deep" / "run.yaml").write_text("[" * 5000)
    made_run(outputs, "by hand")
    (outputs / "by hand" / "run.yaml").write_text("prompt: 2024-13-45\nrenderer: puppet\n")
    made_run(other, "outside")
    (outputs / "link").symlink_to(other / "outside")
    assert {run.name for run in runs.runs_in(outputs)} == {"good", "broken2", "by hand"}
    assert runs.find_run(outputs, "by hand").prompt == "2024-13-45"
    for name in ("../other/outside", "link", str(other / "outside"), "good/../good", ".", "", None, 3, ["good"], "good\0"):
        with pytest.raises(ValueError, match="not there any more"):
            runs.find_run(outputs, name)
    assert runs.runs_in(tmp_path / "none") == []


def test_of_many_who_delete_one_run_each_is_answered_and_nothing_else_goes(tmp_path):
    made_run(tmp_path, "a")
    kept = made_run(tmp_path, "b", notes__txt="mine")
    desk = Desk(tmp_path, tmp_path / ".app")

    def delete(_):
        try:
            desk.delete("a")
            return "deleted"
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(delete, range(8)))
    assert answers.count("deleted") == 1
    assert all("not there any more" in answer or "another run is writing" in answer for answer in answers if answer != "deleted")
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["b"] and (kept / "notes.txt").read_text() == "mine"
    assert not list(tmp_path.glob(".deleted*"))


def test_a_run_under_way_is_not_deleted(tmp_path):
    made_run(tmp_path, "a")
    desk, gate = Desk(tmp_path, tmp_path / ".app"), threading.Event()
    desk.jobs.submit("render", "render", "a", lambda job: gate.wait(30))
    with pytest.raises(ValueError, match="a render is under way"):
        desk.delete("a")
    gate.set()


@pytest.mark.parametrize("settings, files, said", [
    ("prompt: A person waves.\nrenderer: puppet\nsamplerr: 3\n", {"report.json": "[1]", "plan.json": "{}"}, "samplerr"),
    ("prompt: A person waves.\nrenderer: oracle\n", {"report.json": '{"stages": ["video", {"name": "video"}], "warnings": 3}'}, "oracle"),
    ("prompt: A person waves.\nrenderer: puppet\n", {"plan.json": '{"actions": []}'}, "plan"),
    ("prompt: A person waves.\nrenderer: puppet\n", {"motion.npz": "no arrays"}, "motion"),
    ("prompt: [1]\nrenderer: {}\n", {}, "prompt")])
def test_a_run_of_another_version_is_listed_and_shown_with_the_reason(tmp_path, settings, files, said):
    made_run(tmp_path, "old", **{name.replace(".", "__"): text for name, text in files.items()})
    (tmp_path / "old" / "run.yaml").write_text(settings)
    desk = Desk(tmp_path, tmp_path / ".app")
    view = desk.shown("old")
    assert "An older run" in view["cost"] and said in view["cost"] and "\n" not in view["cost"]
    assert runs.expected_cost(tmp_path, PRESETS["puppet"].config(), 10) is None
    assert [run.name for run in runs.runs_in(tmp_path)] == ["old"]


def test_a_run_with_a_picture_that_the_page_does_not_take_is_shown_without_it(tmp_path):
    folder = made_run(tmp_path, "a", **{"video__mp4": "one"})
    Image.new("RGB", (8, 8)).save(folder / "me.bmp")
    (folder / "run.yaml").write_text(f"prompt: A person waves.\nrenderer: puppet\nimage: {folder / 'me.bmp'}\n")
    session, view = Desk(tmp_path, tmp_path / ".app").opened("a")
    assert view["picture"] is None and view["video"] and session["run"] == "a" and session["pictures"] == []


def test_a_run_whose_settings_do_not_fit_cannot_go_on(tmp_path):
    made_run(tmp_path, "old")
    (tmp_path / "old" / "run.yaml").write_text("prompt: A person waves.\nsamplerr: 3\n")
    with pytest.raises(ValueError, match="samplerr.*start it anew"):
        Desk(tmp_path, tmp_path / ".app").go_on("old")


def test_what_is_served_is_a_link_in_the_served_folder_that_follows_the_file(tmp_path):
    folder, desk = made_run(tmp_path, "a", **{"video__mp4": "one"}), Desk(tmp_path, tmp_path / ".app")
    first = desk.serve(folder / "video.mp4")
    assert first == desk.serve(folder / "video.mp4") and Path(first).is_relative_to(tmp_path / ".app") and Path(first).stat().st_nlink == 2
    (folder / "new").write_text("another")
    (folder / "new").replace(folder / "video.mp4")
    assert Path(desk.serve(folder / "video.mp4")).read_text() == "another" and Path(first).read_text() == "one"
    assert desk.serve(folder / "missing.mp4") is None


def test_the_command_line_that_is_shown_makes_the_same_run(tmp_path):
    prompt = "A person says \"it's ${HOME}\"; then $(touch x) waves & jumps"
    config = PRESETS["demo"].config(f"prompt={prompt}", f"outputs={tmp_path}", "name=a b")
    words = shlex.split(runs.command_line("configs/demo.yaml", [f"prompt={prompt}", f"outputs={tmp_path}", "name=a b"]))
    assert words[:2] == ["python", "inference.py"]
    assert load_configs([*words[2:3], str(ROOT / words[3]), *words[4:]]) == [config]


def test_the_price_counts_the_refinements(tmp_path):
    desk = Desk(tmp_path, tmp_path / ".app")
    once, thrice = (re.search(r"about (\d+) s", desk.cost(PRESETS["puppet"].config(f"refinements={passes}", "height=512", "width=288"), 100))
                    for passes in (0, 2))
    assert int(thrice[1]) == pytest.approx(3 * int(once[1]), abs=2)


# the way to a video

def test_from_picture_and_text_to_a_video_with_an_edited_plan_and_only_what_changed_made_again(tmp_path, monkeypatch):
    desk = Desk(tmp_path, tmp_path / ".app")
    wish = dict(picture=str(ROOT / "assets" / "person_large.png"), prompt=ONE_WAVE, values=TINY)
    session = desk.begin("preview", Wish(**wish), {})
    assert ended(desk, session).state == DONE, desk.jobs.find(session["job"]).message
    status, again = desk.poll(session)
    view = desk.ended(session)
    assert not again and view["status"] == status and "Preview done" in status
    assert all(view[part] for part in ("preview", "motion", "plan", "command", "cost")) and view["video"] is None
    assert view["plan"] == [["1", "a person waves", "1", "yes"]] and "renderer&#x27;s own measure" in view["cost"]

    folder = tmp_path / session["run"]
    reference = (folder / "reference.npz").stat().st_mtime_ns
    rows = [["2", "a person does a squat", "1", ""], ["1", "a person waves", "1", "yes"]]
    told, tell = set(), Job.tell
    monkeypatch.setattr(Job, "tell", lambda job, *step: (tell(job, *step), told.add(desk.status(job))))        # what a page would see, at every step
    session = desk.begin("render", Wish(**wish, rows=rows), session)
    assert ended(desk, session).state == DONE, desk.jobs.find(session["job"]).message
    assert any("puppet: 4 of" in status and "data:image/jpeg" in status for status in told)           # a frame is seen while later ones are made
    assert session["run"] == folder.name and (folder / "reference.npz").stat().st_mtime_ns == reference
    stages = {stage["name"]: stage for stage in json.loads((folder / "report.json").read_text())["stages"]}
    assert stages["reference"]["reused"] and not stages["motion"]["reused"]
    frames, fps = read_video(folder / "video.mp4")
    assert frames.shape[1:] == (256, 144, 3) and len(frames) == pytest.approx(8, abs=2) and fps == 4
    view = desk.ended(session)
    assert [row[:2] for row in view["plan"]] == [["1", "a person waves"], ["2", "a person does a squat"]] and view["video"] and "by 1 like it" in view["cost"]
    assert "weights/svd" in desk.price(session, "mimicmotion", TINY) and "8 frames" in desk.price(session, "puppet", TINY) and desk.price({}, "puppet", TINY) is None

    found = runs.find_run(tmp_path, folder.name)
    names = {path.name for path in runs.downloads(found, everything=True)}
    assert {"video.mp4", "poses.mp4", "animation.gif", "motion.bvh", "run.zip", "storyboard.png", "skeleton.npz"} <= names
    os.utime(folder / "video.mp4", (time.time() + 5,) * 2)
    assert not {"animation.gif", "motion.bvh", "run.zip"} & {path.name for path in runs.downloads(found)}           # of an earlier video
    with zipfile.ZipFile(folder / "run.zip") as archive:
        assert f"{folder.name}/plan.json" in archive.namelist() and archive.testzip() is None
    other, view = desk.opened(folder.name)
    assert other["run"] == folder.name and view["prompt"] == ONE_WAVE and Path(view["picture"]).is_file()
    assert view["preset"] == "puppet" and {key: view["values"][key] for key in TINY} == TINY
    assert ended(desk, desk.go_on(folder.name)).state == DONE
    assert all(stage["reused"] for stage in json.loads((folder / "report.json").read_text())["stages"] if stage["name"] != "outputs")


def test_a_render_with_an_edited_plan_but_no_preview_follows_the_table(tmp_path):
    """The table is what the person saw: a render must not fall back to the prompt's own plan."""
    desk = Desk(tmp_path, tmp_path / ".app")
    rows = [["1", "a person does a squat", "1", "yes"]]
    wish = Wish(str(ROOT / "assets" / "person_large.png"), ONE_WAVE, rows=rows, values=TINY)
    session = desk.begin("render", wish, {"planned": ONE_WAVE})
    job = ended(desk, session)
    assert job.state == DONE, job.message
    assert json.loads((tmp_path / session["run"] / "plan.json").read_text())["segments"] == [{"text": "a person does a squat", "seconds": 1.0}]


@pytest.mark.parametrize("title", ["preview", "render"])
def test_a_picture_with_nobody_says_so_and_leaves_no_folder(tmp_path, title):
    Image.fromarray(np.full((256, 144, 3), 128, np.uint8)).save(tmp_path / "grey.png")
    desk = Desk(tmp_path / "outputs", tmp_path / "outputs" / ".app")
    session = desk.begin(title, Wish(str(tmp_path / "grey.png"), ONE_WAVE, values=TINY), {})
    job = ended(desk, session)
    assert job.state == FAILED and "person" in job.message and "\n" not in job.message
    assert [path.name for path in (tmp_path / "outputs").iterdir() if not path.name.startswith(".")] == []


def test_a_job_of_an_earlier_server_ends_the_waiting_and_says_what_to_do(tmp_path):
    desk = Desk(tmp_path, tmp_path / ".app")
    assert desk.poll({"job": "from before"}) == (None, False)
    assert "started anew" in desk.ended({"job": "from before", "run": "gone"})["status"]


def test_a_cancelled_render_keeps_what_is_finished_and_goes_on_from_there(tmp_path, monkeypatch):
    desk, stages = Desk(tmp_path, tmp_path / ".app"), []
    entered = Job.enter

    def enter(job, stage):
        stages.append(stage)
        if stage == "video" and stages.count("video") == 1:
            job.cancel()
        entered(job, stage)

    monkeypatch.setattr(Job, "enter", enter)
    session = desk.begin("render", Wish(str(ROOT / "assets" / "person_large.png"), ONE_WAVE, values=TINY), {})
    assert ended(desk, session).state == STOPPED
    kept = RunFolder(tmp_path / session["run"], True, None).keys
    assert "skeleton" in kept and "video" not in kept
    before = (tmp_path / session["run"] / "motion.npz").stat().st_mtime_ns
    assert ended(desk, desk.go_on(session["run"])).state == DONE
    assert (tmp_path / session["run"] / "motion.npz").stat().st_mtime_ns == before


def test_a_video_moves_the_person_in_place_of_a_text(tmp_path):
    """The demo's own picture, still for a second, as the driving video: no prompt, no plan, no 3D motion."""
    picture, desk = ROOT / "assets" / "person.png", Desk(tmp_path, tmp_path / ".app")
    write_video(tmp_path / "dance.mp4", [read_image(picture)] * 4, 4.0)
    session = desk.begin("render", Wish(str(picture), "", str(tmp_path / "dance.mp4"), rows=[["1", "a person jumps", "3"]], values=TINY), {"planned": ""})
    job = ended(desk, session)
    assert job.state == DONE, job.message
    view = desk.ended(session)
    assert view["video"] and view["plan"] is None and view["motion"] is None and not (tmp_path / session["run"] / "plan.json").is_file()
    assert len(read_video(view["video"])[0]) == 4
    assert runs.find_run(tmp_path, session["run"]).label.startswith("the movement of driving.mp4")


KILLED = """
import os, signal, sys, time
from pathlib import Path
from webapp.desk import Desk, Wish
from webapp.jobs import Job
entered = Job.tell
def tell(job, name, done, total):
    entered(job, name, done, total)
    if job.stage == "video" and done == 2:
        os.kill(os.getpid(), signal.SIGKILL)
Job.tell = tell
outputs = Path(sys.argv[1])
desk = Desk(outputs, outputs / ".app")
session = desk.begin("render", Wish(sys.argv[2], "A person waves for 1 second.", values={"height": 256, "width": 144, "fps": 4.0}), {})
while not desk.jobs.find(session["job"]).is_over:
    time.sleep(0.1)
"""


def test_a_server_killed_in_the_middle_keeps_every_finished_stage_and_goes_on(tmp_path):
    picture = str(ROOT / "assets" / "person_large.png")
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), picture], cwd=ROOT, timeout=300, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr[-2000:]
    (run,) = runs.runs_in(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in run.path.iterdir()}
    assert not run.finished and {"reference.npz", "plan.json", "motion.npz", "skeleton.npz", "preview.mp4"} <= before.keys()
    desk = Desk(tmp_path, tmp_path / ".app")
    session, view = desk.opened(run.name)
    assert view["preview"] and view["video"] is None
    assert ended(desk, desk.go_on(run.name)).state == DONE
    stages = {stage["name"]: stage["reused"] for stage in json.loads((run.path / "report.json").read_text())["stages"]}
    assert [name for name, reused in stages.items() if not reused] == ["video", "outputs"]
    assert all((run.path / name).stat().st_mtime_ns == before[name] for name in ("reference.npz", "plan.json", "motion.npz", "skeleton.npz"))


def test_uploads_that_were_aborted_an_hour_ago_go_with_the_next_wish(tmp_path):
    desk = Desk(tmp_path, tmp_path / ".app")
    desk.served.mkdir()
    for name, seconds in (("tmp1", 3700), ("tmp2", 3500), ("0123abc", 3700)):
        (desk.served / name).touch()
        os.utime(desk.served / name, (0, time.time() - seconds))
    desk.jobs.cancel(desk.begin("render", Wish(str(ROOT / "assets" / "person_large.png"), ONE_WAVE, values=TINY), {})["job"])
    assert {"tmp2", "0123abc"} == {path.name for path in desk.served.iterdir()}


def test_a_wish_that_is_refused_leaves_no_run(tmp_path):
    desk, gate = Desk(tmp_path, tmp_path / ".app"), threading.Event()
    wish = Wish(str(ROOT / "assets" / "person_large.png"), ONE_WAVE, values=TINY)
    first = desk.jobs.submit("render", "render", "first", lambda job: gate.wait(30))
    wait_for(lambda: first.state == RUNNING)
    for number in range(MAX_WAITING):
        desk.jobs.submit("render", "render", f"{number}", lambda job: None)
    with pytest.raises(ValueError, match="jobs are waiting already"):
        desk.begin("render", wish, {})
    assert not [path for path in tmp_path.iterdir() if path.name != ".app"]
    gate.set()


def test_a_disk_that_fills_up_is_told_in_one_line_and_the_run_goes_on_when_there_is_room(tmp_path, monkeypatch):
    desk = Desk(tmp_path, tmp_path / ".app")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("inference.save_frames", full)
        session = desk.begin("render", Wish(str(ROOT / "assets" / "person_large.png"), ONE_WAVE, values=TINY), {})
        job = ended(desk, session)
    assert job.state == FAILED and "No space left on device" in job.message and "make room" in job.message and "\n" not in job.message
    assert "No space left" in desk.poll(session)[0]
    assert ended(desk, desk.go_on(session["run"])).state == DONE


def test_weights_are_fetched_with_progress_and_the_fetching_stops_at_once(tmp_path):
    file = next(file for file in files_of("photograph"))
    partial = tmp_path / file.folder / f".{Path(file.path).name}.abc.partial"
    command = [sys.executable, "-c", "import sys, time; from pathlib import Path; p = Path(sys.argv[1]); p.parent.mkdir(parents=True); "
               "p.write_bytes(bytes(3_000_000)); time.sleep(60)", str(partial)]
    jobs = Jobs("fetch")
    job = jobs.submit("fetch", "fetching photograph", "", lambda job: fetch_weights(job, "photograph", tmp_path, command))
    wait_for(lambda: job.step[1] == 3)
    assert job.step[0] == "megabytes" and job.step[2] > 3 and bytes_here("photograph", tmp_path) == 3_000_000
    jobs.cancel(job.key)
    wait_for(lambda: job.is_over, 5)
    assert job.state == STOPPED
    told = "print('bar'); print('error: the hub cannot be reached'); raise SystemExit(2)"
    failed = jobs.submit("fetch", "fetching photograph", "", lambda job: fetch_weights(job, "photograph", tmp_path, [sys.executable, "-c", told]))
    wait_for(lambda: failed.is_over)
    assert failed.state == FAILED and failed.message == "the hub cannot be reached"


def test_a_second_server_for_the_same_runs_is_refused_and_takes_nothing_from_the_first(tmp_path):
    shown = tmp_path / ".app" / "a" / "video.mp4"
    shown.parent.mkdir(parents=True)
    shown.write_text("shown")
    with locked(tmp_path / ".app", beside=True), pytest.raises(ValueError, match="another app.py is writing to it: .*choose another --outputs"):
        app.main(["--outputs", str(tmp_path)])
    assert shown.read_text() == "shown"


LONG_STEP = """
import sys, threading, time
from pathlib import Path
import numpy as np
import app
from media.video_writer import StreamingVideoWriter
from webapp.jobs import Jobs

class Page:
    share_url, local_url = None, "http://127.0.0.1:1"

    def block_thread(self):
        try:
            while True:
                time.sleep(0.1)
        except KeyboardInterrupt:                              # as Gradio's does
            pass

    def close(self, verbose):
        pass

def work(job):
    with StreamingVideoWriter(Path(sys.argv[1]) / "video.mp4", 10) as writer:
        writer.write(np.zeros((2, 32, 32, 3), np.uint8))
        begun.set()
        time.sleep(600)                                        # one long step

def launched(*_):
    jobs = Jobs("render")
    jobs.submit("render", "render", "a", work)
    begun.wait()
    return Page(), jobs

begun, app.launched, app.PATIENCE = threading.Event(), launched, 0.5
sys.exit(app.main(["--outputs", sys.argv[1]]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_is_stopped_ends_though_a_step_is_long(tmp_path, number):
    signal.signal(signal.SIGINT, signal.default_int_handler)    # a shell's background job ignores it, and so would what it starts
    command = [sys.executable, "-c", LONG_STEP, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout.readline().startswith("ready: ")
            server.send_signal(number)
            said = server.communicate(timeout=60)[1]
        finally:
            server.kill()
    assert server.returncode == 130 and said == f"interrupted: what is finished stays in {tmp_path}\n"


def test_what_a_killed_deletion_left_goes(tmp_path):
    made_run(tmp_path, ".deleted-1")
    made_run(tmp_path, "a")
    runs.remove_deleted(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_importing_app_is_quick_and_brings_neither_gradio_nor_torch():
    code = "import sys, app; print({'gradio', 'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120, check=True)
    assert done.stdout.strip() == "set()"


def test_a_port_that_another_server_has_is_named_in_our_words(tmp_path):
    pytest.importorskip("gradio")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ValueError, match=rf"^--host 127.0.0.1, --port {port}: cannot be used .another server has it, or .*: take another one$"):
            app.main(["--outputs", str(tmp_path / "runs"), f"--port={port}"])


@pytest.mark.parametrize("port", ["99999", "0", "-1", "x"])
def test_a_port_that_there_is_not_is_refused_before_anything_is_loaded(port, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        app.main(["--outputs", str(tmp_path / "runs"), f"--port={port}"])
    assert f"--port: expected a whole number from 1 to 65535 (found '{port}')" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("word", ["", "short"])
def test_an_open_server_without_a_good_password_is_refused(word):
    done = subprocess.run([sys.executable, "app.py", "--host", "0.0.0.0"], capture_output=True, text=True, cwd=ROOT, timeout=120, stdin=subprocess.DEVNULL,
                          env=os.environ | {"FLEXIMO_PASSWORD": word})
    assert done.returncode == 2 and "password: expected at least 8 characters" in done.stderr and len(done.stderr.splitlines()) == 1
