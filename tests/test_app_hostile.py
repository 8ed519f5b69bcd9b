"""What nobody with good intentions sends: each request below is refused, shows nothing, changes no run, and the server stands."""

import logging
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("gradio", reason="the page needs requirements-app.txt")
import httpx  # noqa: E402

from app_server import ROOT, SCRIPT, serving  # noqa: E402
from benchmarks.app_load import PICTURE, served, TINY, Visitor  # noqa: E402

FILE = "/gradio_api/file="
UPLOADED = {"meta": {"_type": "gradio.FileData"}}
READS = {                           # what somebody tries to read: the address, in which {outputs} is the folder of runs
    "a file of the system": FILE + "/etc/passwd",
    "a file above the program": FILE + "../../../../etc/passwd",
    "dots behind percent signs": FILE + "..%2f..%2f..%2fetc%2fpasswd",
    "dots and slashes behind percent signs": FILE + "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "dots encoded twice": FILE + "..%252f..%252fetc%252fpasswd",
    "the environment of the server": FILE + "/proc/self/environ",
    "the program itself": FILE + str(ROOT / "app.py"),
    "the program itself, by a short name": FILE + "app.py",
    "keys of the user": FILE + "~/.ssh/id_rsa",
    "history of the repository": FILE + ".git/config",
    "a name that ends early": FILE + "/etc/passwd%00.png",
    "another machine's share": FILE + "\\\\host\\share\\x",
    "backslashes": FILE + "..\\..\\..\\etc\\passwd",
    "settings of a run": FILE + "{outputs}/mine/run.yaml",
    "the list of runs": FILE + "{outputs}",
    "the list of what is served": FILE + "{outputs}/.app",
    "out of the served folder by dots": FILE + "{outputs}/.app/../mine/run.yaml",
    "a run through the folder's short name": FILE + "outputs/../app.py",
    "a file as an address": FILE + "file:///etc/passwd",
    "another service of this machine": FILE + "http://127.0.0.1:22/",
    "the cloud's keys": "/gradio_api/proxy=http://169.254.169.254/latest/meta-data/",
    "another site through this one": "/gradio_api/proxy=https://evil.example/",
    "the program as a static file": "/static/../../app.py",
    "a system file as a static file": "/static/%2fetc%2fpasswd",
    "a stream's playlist": "/gradio_api/stream/x/../../../../etc/passwd/playlist.m3u8",
    "the list of all functions": "/openapi.json",
    "the page that tries functions": "/docs",
    "what others do now": "/monitoring",
}
HEADERS = {                         # whose page asks
    "another name for this machine": {"host": "evil.example"},
    "a name that begins like this machine": {"host": "127.0.0.1.evil.example"},
    "no name": {"host": ""},
    "another site's page": {"origin": "http://evil.example"},
    "a page without a site": {"origin": "null"},
    "this machine's other server": {"origin": "http://127.0.0.1:1"},
}
BODIES = {                          # what is sent, to which address
    "a file that is an address": ("/gradio_api/queue/join", b'{"data": [{"path": "http://127.0.0.1:22/x.png"}], "fn_index": 8, "session_hash": "x"}'),
    "an address behind escapes": ("/gradio_api/run/predict", b'{"data": [[{"path": "\\u0068ttp://127.0.0.1:22/"}]], "fn_index": 13, "session_hash": "x"}'),
    "JSON too deep": ("/gradio_api/queue/join", b"[" * 100_000),
    "two megabytes of JSON": ("/gradio_api/queue/join", b'{"data": ["' + b"x" * (2 << 20) + b'"]}'),
    "no JSON": ("/gradio_api/queue/join", b"\x00\xff\xfe"),
    "a function that is not there": ("/gradio_api/queue/join", b'{"data": [], "fn_index": 999, "session_hash": "x"}'),
    "a function by a name": ("/gradio_api/queue/join", b'{"data": [], "fn_index": "delete", "session_hash": "x"}'),
    "a private function as a public one": ("/gradio_api/call/delete", b'{"data": ["mine"]}'),
    "a private function by the older address": ("/gradio_api/run/delete", b'{"data": ["mine"]}'),
    "a component's own function": ("/gradio_api/component_server", b'{"component_id": 10, "fn_name": "__init__", "data": [], "session_hash": "x"}'),
    "an upload without a file": ("/gradio_api/upload", b"x"),
}
SENT = {                            # what a button is pressed with: element, event, values of parts, event data; a preview has a good picture
    "a picture that is a system file": ("preview-button", "click", {"picture": {"path": "/etc/passwd"} | UPLOADED}, None),
    "a picture out of a run": ("preview-button", "click", {"picture": {"path": "{outputs}/mine/run.yaml"} | UPLOADED}, None),
    "a picture that is a number": ("preview-button", "click", {"picture": 7}, None),
    "a picture as data": ("preview-button", "click", {"picture": "data:image/png;base64,AAAA"}, None),
    "a driving video that is a device": ("preview-button", "click", {"driving": {"path": "/dev/zero"} | UPLOADED}, None),
    "a prompt that is a list": ("preview-button", "click", {"prompt": [SCRIPT] * 3}, None),
    "a prompt of 100,000 characters": ("preview-button", "click", {"prompt": "A person waves. " * 6_250}, None),
    "a renderer of one's own": ("preview-button", "click", {"preset": "../../tmp/evil"}, None),
    "a height of a billion": ("preview-button", "click", {"height": 10**9}, None),
    "a width below zero": ("preview-button", "click", {"width": -64}, None),
    "frames a second without end": ("preview-button", "click", {"fps": 1e308}, None),
    "frames a second in words": ("preview-button", "click", {"fps": "__import__('os').system('x')"}, None),
    "a camera that is a file": ("preview-button", "click", {"camera": "/etc/passwd"}, None),
    "a setting that is a table": ("preview-button", "click", {"seed": {"a": [1]}}, None),
    "a plan of a million seconds": ("preview-button", "click", {"plan": {"headers": ["order", "action", "seconds", "taught"], "data": [["1", "a person waves", "1e6", ""]]}}, None),
    "a plan of a thousand actions": ("preview-button", "click", {"plan": {"headers": ["order", "action", "seconds", "taught"], "data": [["1", "a person waves", "1", ""]] * 1000}}, None),
    "a run chosen by no place": ("gallery", "select", {}, {"index": -1, "value": None}),
    "a run chosen by a text": ("gallery", "select", {}, {"index": "../../etc", "value": None}),
    "a run that is a path, opened": ("open-button", "click", {}, None),
    "going on with nothing": ("go-on-button", "click", {}, None),
    "deleting nothing": ("yes-button", "click", {}, None),
    "a comparison with a path": ("compare-left", "input", {"compare-left": "../mine"}, None),
    "a report that is a path": ("report", "input", {"report": "../../mine"}, None),
    "weights that are a command": ("fetch-button", "click", {"Fetch": "all; touch /tmp/x"}, None),
    "packing a run that is a path": ("pack-button", "click", {"session": {"run": "../../etc", "job": [], "pictures": 3}}, None),
}
NAMES = ("../../../../tmp/up.png", "/tmp/up.png", "..\\..\\up.png", "up.png\0.sh", f"{SCRIPT}.png", "$(touch x).png", "; rm -rf ~;.png", "x" * 5000 + ".png", ".", "")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("outputs")) as server:
        yield server


@pytest.fixture(autouse=True)
def stands(request):
    """After each request the server answers, and the runs are as they were."""
    yield
    if "server" in request.fixturenames:
        server = request.getfixturevalue("server")
        assert httpx.get(f"{server.url}/config", timeout=30).status_code == 200 and server.runs() == ["mine"]


def tells_nothing(text: str) -> None:
    for secret in ("root:", "PATH=", "Traceback", str(ROOT), "renderer: ", '"renderer"', "argparse", "[core]", "SSH-"):
        assert secret not in text, text[:300]


def test_there_are_more_than_forty_of_them():
    assert len(READS) + len(HEADERS) + len(BODIES) + len(SENT) + len(NAMES) >= 80
    requests = [*READS.values(), *(str(headers) for headers in HEADERS.values()), *(str(body) for body in BODIES.values()), *(str(sent) for sent in SENT.values()), *NAMES]
    assert len(set(requests)) == len(requests)


@pytest.mark.parametrize("what", READS)
def test_nothing_is_read_but_what_a_page_was_given(server, what):
    answer = httpx.get(server.url + READS[what].format(outputs=server.outputs), timeout=30)
    assert answer.status_code >= 400
    tells_nothing(answer.text.replace(READS[what].removeprefix(FILE), ""))         # the answer may repeat what was asked


def test_what_a_page_was_given_is_read(server):
    given = server.outputs / ".app" / "given" / "seen.txt"
    given.parent.mkdir(parents=True)
    given.write_text("seen")
    assert httpx.get(f"{server.url}{FILE}{given}").text == "seen"


@pytest.mark.parametrize("what", HEADERS)
def test_other_sites_and_other_names_of_this_machine_are_refused(server, what):
    for path in ("/config", "/", "/gradio_api/heartbeat/x"):
        assert httpx.get(server.url + path, headers=HEADERS[what], timeout=30).status_code == 403


@pytest.mark.parametrize("what", BODIES)
def test_a_request_that_is_no_pages_own_is_refused(server, what):
    path, body = BODIES[what]
    answer = httpx.post(server.url + path, content=body, headers={"content-type": "application/json"}, timeout=30)
    assert 400 <= answer.status_code < 600
    tells_nothing(answer.text)


@pytest.mark.parametrize("what", SENT)
def test_a_button_refuses_what_no_page_would_send(server, what):
    element, event, values, event_data = SENT[what]
    visitor = Visitor(server.url)
    if element == "preview-button":
        visitor.upload("picture", PICTURE)
        visitor.values |= {visitor.ids[name]: value for name, value in TINY.items()}
        visitor.values[visitor.session_id] = {"planned": visitor.values[visitor.ids["prompt"]]}            # so that the table counts
    for name, value in values.items():
        value = value | {"path": value["path"].format(outputs=server.outputs)} if isinstance(value, dict) and "path" in value else value
        visitor.values[visitor.ids[name] if name != "session" else visitor.session_id] = value
    with pytest.raises((ValueError, httpx.HTTPStatusError)) as refused:
        visitor.press(element, event, event_data)
    tells_nothing(str(refused.value))


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_an_upload_stays_in_the_served_folder_whatever_its_name(server, name):
    body = (b'--b\r\nContent-Disposition: form-data; name="files"; filename="' + name.replace("\0", "%00").encode() + b'"\r\n'
            b"Content-Type: image/png\r\n\r\nx\r\n--b--\r\n")
    answer = httpx.post(f"{server.url}/gradio_api/upload", content=body, headers={"content-type": "multipart/form-data; boundary=b"}, timeout=30)
    if answer.status_code == 200:
        (place,) = answer.json()
        assert (server.outputs / ".app") in (server.outputs / ".app" / place).resolve().parents
    tells_nothing(answer.text.replace(str(server.outputs), ""))


@pytest.mark.parametrize("length, status", [(3 << 30, b" 413 "), (-5, b" 400 "), (10**30, b" 400 ")])
def test_a_length_that_nobody_needs_is_refused_before_anything_comes(server, length, status):
    request = (f"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: {length}\r\n"
               "Content-Type: multipart/form-data; boundary=x\r\n\r\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(request.encode())
        assert status in connection.recv(200)


def test_a_browser_that_goes_in_the_middle_of_an_upload_is_no_error_on_the_terminal(server):
    told, handler = [], logging.Handler()
    handler.emit = told.append
    logging.getLogger("uvicorn.error").addHandler(handler)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall((f"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 9000\r\n"
                            "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disposition: form-data; "
                            'name="files"; filename="a.png"\r\n\r\n' + "x" * 999).encode())
        deadline = time.monotonic() + 30
        while not list((server.outputs / ".app").glob("tmp*")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    time.sleep(0.5)
    logging.getLogger("uvicorn.error").removeHandler(handler)
    assert told == []


def test_of_many_pages_that_delete_one_run_each_is_answered_and_nothing_else_goes(server):
    server.add_run("twice")
    visitors = [Visitor(server.url) for _ in range(8)]

    def delete(visitor):
        try:
            visitor.press("yes-button")
        except ValueError as error:
            return str(error)
        return "deleted"

    for visitor in visitors:
        visitor.ask((visitor.tabs["runs"], "select"))
        visitor.press("gallery", "select", {"index": 0, "value": None})
    with ThreadPoolExecutor(len(visitors)) as pool:
        answers = list(pool.map(delete, visitors))
    assert answers.count("deleted") == 1 and server.runs() == ["mine"]


def test_behind_a_password_nothing_is_told_without_it(tmp_path):
    with serving(tmp_path / "outputs", "correct horse") as server, httpx.Client(base_url=server.url, timeout=30) as client:
        for path in ("/config", "/gradio_api/info", "/info", f"{FILE}{tmp_path}/outputs/.app/x"):
            assert client.get(path).status_code in (401, 403, 404), path
        for path in ("/gradio_api/queue/join", "/gradio_api/run/predict", "/gradio_api/upload"):
            assert client.post(path, json={"data": [], "fn_index": 0, "session_hash": "x"}).status_code in (401, 422), path
        assert client.post("/login", data={"username": "fleximo", "password": "wrong horse"}).status_code == 400
        assert client.get("/config").status_code == 401
        assert client.post("/login", data={"username": "fleximo", "password": "correct horse"}).status_code == 200
        assert client.get("/config").status_code == 200 and server.runs() == ["mine"]


def test_the_server_calls_nobody(server):
    httpx.get(server.url)
    assert {host for host in server.asked if host not in (None, "", "0.0.0.0", "127.0.0.1", "localhost", "::1")} == set()


def test_a_server_that_is_stopped_in_the_middle_of_a_video_ends_and_keeps_what_is_finished(tmp_path):
    with served(tmp_path) as (url, server, *_):
        visitor = Visitor(url)
        visitor.upload("picture", PICTURE)
        visitor.values |= {visitor.ids[name]: value for name, value in (TINY | {"prompt": "A person waves for 30 seconds.", "fps": 30}).items()}
        visitor.press("render-button")
        while "Making the video" not in (status := visitor.poll()):
            assert "card busy" in status
            time.sleep(0.2)
        visitor.close()
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 130
        said = (tmp_path / "server.log").read_text()
    (settings,) = (tmp_path / "runs").glob("*/run.yaml")
    assert settings.with_name("preview.mp4").is_file() and not settings.with_name("video.mp4").exists()
    assert "interrupted: what is finished stays in" in said and "Traceback" not in said
