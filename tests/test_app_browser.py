"""The page in Debian's chromium, where that and requirements-app.txt are installed: the whole way, errors, a phone."""

import asyncio
import json
import re
import shutil

import pytest
from PIL import Image

pytest.importorskip("gradio", reason="the page needs requirements-app.txt")
from app_server import ONE_WAVE, ROOT, SCRIPT, serving  # noqa: E402
from media.video_reader import probe  # noqa: E402
from pictures import huge_png  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FREE = "#preview-button:enabled"            # no job of this page is under way


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("outputs")) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    driver = pytest.importorskip("playwright.sync_api", reason="a browser needs requirements-app.txt")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
    asyncio.set_event_loop(None)


@pytest.fixture
def visitor(browser, server):
    """Opens the page as somebody new; `visitor(width)`."""
    contexts = []

    def visit(width=1000):
        contexts.append(browser.new_context(viewport={"width": width, "height": 700}, reduced_motion="reduce"))
        page = contexts[-1].new_page()
        page.set_default_timeout(120_000)
        page.goto(server.url)
        ready(page)
        return page

    yield visit
    for context in contexts:
        context.close()


def ready(page):
    """Waits until the page answers: its first event has come back."""
    page.wait_for_selector("#preview-button")
    page.wait_for_timeout(500)


def put_in(page, picture=ROOT / "assets" / "person_large.png", prompt=ONE_WAVE):
    """A picture, a prompt, and settings that are quick."""
    page.set_input_files("#picture input[type=file]", str(picture))
    page.wait_for_selector("#picture img")
    page.fill("#prompt textarea", prompt)
    page.get_by_text("Settings", exact=True).click()
    for label, value in (("height", 256), ("width", 144), ("fps", 4)):
        page.get_by_label(label, exact=True).fill(str(value))
        page.keyboard.press("Tab")


def done(page, title):
    """Waits for the end of a job, and until what it made is shown."""
    page.wait_for_selector(f"#status .card.good:has-text('{title} done')")
    page.wait_for_selector(FREE)


def toast(page):
    """The newest message over the page, which is then closed."""
    text = page.wait_for_selector("[data-testid=toast-text]").inner_text()
    page.locator("[data-testid=toast-close]").first.click()
    page.wait_for_selector("[data-testid=toast-text]", state="detached")
    return text


def test_from_upload_to_video_through_a_reload_and_an_edited_plan(server, visitor):
    page, other = visitor(), visitor()
    put_in(page)
    page.click("#preview-button")
    page.wait_for_selector("#status .card.busy")
    page.reload()
    done(page, "Preview")
    assert page.input_value("#prompt textarea") == ONE_WAVE
    for part in ("#preview video", "#motion canvas", "#render-button", "#cost .card"):
        page.wait_for_selector(part)
    cell = page.locator("#plan [data-testid=cell-0-1]")
    assert "a person waves" in cell.inner_text()
    assert "waves" not in other.inner_text("#status") and other.locator("#video").count() == 0        # nobody else's page changes

    cell.dblclick()
    page.keyboard.press("Control+A")
    page.keyboard.type("a person does a squat")
    page.keyboard.press("Enter")
    page.click("#render-button")
    done(page, "Render")
    page.wait_for_function("document.querySelector('#video video')?.readyState >= 2")
    run = next(name for name in server.runs() if name != "mine")
    assert json.loads((server.outputs / run / "plan.json").read_text())["segments"][0]["text"] == "a person does a squat"
    assert probe(server.outputs / run / "video.mp4").seconds == pytest.approx(1, abs=0.5)

    shutil.copytree(server.outputs / run, server.outputs / "another")
    other.get_by_role("tab", name="Runs").click()
    other.wait_for_function("document.querySelectorAll('#gallery img').length === 3")
    assert other.evaluate("window.hurt") is None                      # a run's prompt is a script
    other.get_by_text("Compare two", exact=True).click()
    for side, place in (("left", 0), ("right", 1)):
        other.click(f"#compare-{side} input")
        other.locator(f"#compare-{side} [role=option]").nth(place).click()
        other.wait_for_function(f"document.querySelector('#video-{side} video')?.readyState >= 2")
    left, right = (other.locator(f"#video-{side}").bounding_box() for side in ("left", "right"))
    assert left["x"] + left["width"] <= right["x"] and left["y"] == right["y"]

    while (named := other.locator("#gallery .thumbnail-item")).count() > 1:
        left = named.count()
        named.first.click()
        other.wait_for_selector(f"#about:has-text('{run}'), #about:has-text('another')")
        other.click("#delete-button")
        other.click("#yes-button")
        other.wait_for_function(f"document.querySelectorAll('#gallery img').length === {left - 1}")
    assert server.runs() == ["mine"]
    page.reload()                                                     # its run was deleted while shown
    page.wait_for_selector("#status:has-text('Three steps')")


def test_what_cannot_be_used_is_refused_in_one_line_as_it_comes(server, visitor, tmp_path):
    page = visitor()
    (tmp_path / "not.png").write_bytes(SCRIPT.encode())
    huge_png(tmp_path / "huge.png")
    picture = Image.open(ROOT / "assets" / "person_large.png").convert("RGB")
    picture.save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[:len(whole) // 2])
    (tmp_path / "damaged.jpg").write_bytes(whole[:len(whole) // 2] + whole[len(whole) // 2 + 400:])
    with (tmp_path / "long.mp4").open("wb") as sparse:
        sparse.truncate(3 << 30)
    for name, said in (("not.png", "picture: expected a PNG, JPEG or WebP"), ("huge.png", "picture: expected at most 50 megapixels"),
                       ("cut.jpg", "picture: expected a whole picture")):
        page.set_input_files("#picture input[type=file]", str(tmp_path / name))
        text = toast(page)
        assert said in text and "\n" not in text.split("\n", 1)[-1] and str(server.outputs) not in text
        page.wait_for_selector("#picture input[type=file]", state="attached")                           # the refused one did not stay
    page.get_by_text("The movement of a video", exact=False).click()
    page.set_input_files("#driving input[type=file]", str(tmp_path / "long.mp4"))
    assert "maximum" in toast(page)
    page.click("#preview-button")
    assert "picture: is missing" in toast(page)
    page.fill("#prompt textarea", "")
    page.focus("#prompt textarea")
    page.keyboard.insert_text("A person waves. " * 300)                # more than a prompt may have: not cut off
    page.click("#plan-button")
    assert "at most 2,000 characters (found 4,800)" in toast(page)
    page.set_input_files("#picture input[type=file]", str(tmp_path / "damaged.jpg"))
    assert "the file is damaged" in toast(page)
    page.wait_for_selector("#picture img")                             # it can be used
    assert server.runs() == ["mine"]


def test_of_two_at_once_one_waits_in_its_place_and_stop_stops(visitor):
    first, second = visitor(), visitor()
    for page, prompt in ((first, "A person waves for 3 seconds."), (second, ONE_WAVE)):
        put_in(page, prompt=prompt)
    first.click("#preview-button")
    first.wait_for_selector("#status .card.busy")
    second.click("#preview-button")
    second.wait_for_selector("#status:has-text('1 before you'), #status .card.good")
    first.click("#stop-button")
    first.wait_for_selector("#status:has-text('Stopped'), #status .card.good")
    first.wait_for_selector(FREE)
    done(second, "Preview")


def test_on_a_phone_nothing_is_wider_than_the_screen(visitor):
    page = visitor(390)
    for tab in ("Make", "Runs", "Weights", "Measure"):
        page.get_by_role("tab", name=re.compile(tab)).first.click()
        page.wait_for_timeout(500)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab
