"""The page as it is served: hostile requests by HTTP, and the whole way in Debian's chromium, where these are installed."""

import asyncio
import json
import os
import re
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="the page needs requirements-app.txt")
import httpx  # noqa: E402

import app  # noqa: E402
from media.video_reader import probe  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCRIPT = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>"
ONE_WAVE = "A person waves for 1 second."
TRAVERSALS = ("/etc/passwd", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:22/",
              str(ROOT / "app.py"), "app.py", "~/.ssh/id_rsa", "/proc/self/environ", "outputs/../app.py", ".git/config", "\\\\host\\share", "/etc/passwd%00.png")
JUNK = (SCRIPT, "../../etc/passwd", -1, 1e308, [], {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}, {"run": "../..", "job": [], "pictures": 3},
        {"path": "http://evil.example/x.png", "url": "http://evil.example/x.png", "meta": {"_type": "gradio.FileData"}})


class Server:
    """A server with one finished-looking run, in this process."""

    def __init__(self, outputs: Path):
        self.outputs, self.asked = outputs, set()
        folder = outputs / "mine"
        folder.mkdir(parents=True)
        (folder / "run.yaml").write_text(json.dumps({"prompt": SCRIPT, "renderer": "puppet"}))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.page = app.launched(outputs, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str, **options) -> httpx.Response:
        return httpx.get(self.url + path, timeout=60, **options)

    def runs(self) -> list[str]:
        return sorted(path.name for path in self.outputs.iterdir() if not path.name.startswith("."))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    before, looked_up, look_up = dict(os.environ), set(), socket.getaddrinfo
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda host, *rest, **named: looked_up.add(host) or look_up(host, *rest, **named))
        patch.chdir(ROOT)
        server = Server(tmp_path_factory.mktemp("outputs"))
        server.asked = looked_up
        yield server
        server.page.close()
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


# hostile requests

def test_only_what_a_page_was_given_is_served(server):
    secret = server.outputs / "mine" / "run.yaml"
    with httpx.Client(base_url=server.url, timeout=120) as client:
        addresses = [address for path in (*TRAVERSALS, str(secret), str(server.outputs))
                     for address in (f"/gradio_api/file={path}", f"/gradio_api/proxy={path}", f"/static/{path}")]
        for address in addresses:
            answer = client.get(address)
            assert "root:" not in answer.text and "renderer" not in answer.text and "Copyright" not in answer.text, address
            assert answer.status_code >= 400 or "text/html" in answer.headers.get("content-type", ""), address
    link = server.outputs / ".app" / "given" / "seen.txt"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.write_text("seen")
    assert server.get(f"/gradio_api/file={link}").text == "seen"


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}, {"host": "127.0.0.1.evil.example"}])
def test_other_sites_and_other_names_of_this_machine_are_refused(server, headers):
    assert server.get("/config", headers=headers).status_code == 403


def test_three_gigabytes_are_refused_before_they_come(server):
    request = (f"POST /gradio_api/upload HTTP/1.1\r\nHost: {server.url[7:]}\r\nContent-Length: {3 << 30}\r\n"
               "Content-Type: multipart/form-data; boundary=x\r\n\r\n")
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":")[-1])), timeout=30) as connection:
        connection.sendall(request.encode())
        assert b" 413 " in connection.recv(200)


def test_no_button_falls_for_what_no_page_would_send(server):
    """Every function of the page, with three kinds of junk for every input: the server stands, and no run is touched."""
    config = server.get("/config").json()

    def press(number_and_junk):
        number, junk = number_and_junk
        function = config["dependencies"][number]
        body = {"data": [junk] * len(function["inputs"]), "fn_index": function["id"], "session_hash": f"s{number}", "event_data": junk}
        answer = httpx.post(f"{server.url}/gradio_api/{'queue/join' if function['queue'] else 'run/predict'}", json=body, timeout=60)
        return answer.status_code, answer.text

    presses = [(number, JUNK[(number + shift) % len(JUNK)]) for number in range(len(config["dependencies"])) for shift in (0, 3, 6)]
    assert len(presses) >= 40
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(press, presses))
    assert server.get("/config").status_code == 200
    assert server.runs() == ["mine"]
    for status, text in answers:
        assert "root:" not in text and "Traceback" not in text and str(ROOT) not in text, text[:300]


def test_the_server_calls_nobody(server):
    server.get("/")
    assert {host for host in server.asked if host not in (None, "", "0.0.0.0", "127.0.0.1", "localhost", "::1")} == set()


# in a browser

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

    def visit(width=1280):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}))
        page = contexts[-1].new_page()
        page.set_default_timeout(120_000)
        page.goto(server.url)
        page.wait_for_selector("#preview-button")
        page.wait_for_timeout(1000)
        return page

    yield visit
    for context in contexts:
        context.close()


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
    page.wait_for_selector(f"#status .card.good:has-text('{title} done')")


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
    cell = page.locator("#plan [data-testid=cell-0-0]")
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

    other.get_by_role("tab", name="Runs").click()
    other.wait_for_selector("#gallery img")
    assert other.evaluate("window.hurt") is None                      # the other run's prompt is a script
    other.locator("#gallery button.thumbnail-item, #gallery .thumbnail-item").first.click()
    other.wait_for_selector(f"#about:has-text('{run}')")
    other.click("#delete-button")
    other.click("#yes-button")
    other.wait_for_function("document.querySelectorAll('#gallery img').length === 1")
    assert server.runs() == ["mine"]
    page.reload()                                                     # its run was deleted while shown
    page.wait_for_selector("#status:has-text('Three steps')")


def test_a_bad_picture_is_refused_in_words_and_stop_stops(server, visitor, tmp_path):
    page = visitor()
    (tmp_path / "not.png").write_bytes(SCRIPT.encode())
    page.set_input_files("#picture input[type=file]", str(tmp_path / "not.png"))
    page.wait_for_timeout(1500)
    page.click("#preview-button")
    toast = page.wait_for_selector("[data-testid=toast-text]").inner_text()
    assert "picture: expected a PNG, JPEG or WebP" in toast and str(server.outputs) not in toast
    page.reload()
    page.wait_for_selector("#preview-button")
    page.wait_for_timeout(1000)
    put_in(page, prompt="A person waves for 9 seconds.")
    page.click("#preview-button")
    page.click("#stop-button")
    page.wait_for_selector("#status:has-text('Stopped'), #status .card.good")
    assert page.is_enabled("#preview-button")


def test_on_a_phone_nothing_is_wider_than_the_screen(visitor):
    page = visitor(390)
    for tab in ("Make", "Runs", "Weights", "Measure"):
        page.get_by_role("tab", name=re.compile(tab)).first.click()
        page.wait_for_timeout(700)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab
