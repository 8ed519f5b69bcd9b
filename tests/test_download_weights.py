"""Fetching the published weights from a hub that runs on this machine: what is resumed, refused and explained."""
import hashlib
import json
import re
import shutil
import socket
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts import download_weights
from scripts.download_weights import bring, fetch, main
from runtime.published_weights import ALL, FILES, files_of, GROUPS, HandFile, HubFile, SVD, Terms
from t2m.weights import GPT_FILES, META_FOLDERS, VQVAE_FILES

CONTENT = bytes(range(256)) * 4000
SMALL = b'{"small": true}\n'
SHA256 = hashlib.sha256(CONTENT).hexdigest()
TERMS = Terms("a licence", "no", "https://example.org/licence")
WEIGHTS = HubFile("mimicmotion", "someone/model", "sub/big.pth", "mimicmotion", len(CONTENT), TERMS, SHA256)
CONFIG = HubFile("mimicmotion", "someone/model", "config.json", "mimicmotion", len(SMALL), TERMS)


class Hub(BaseHTTPRequestHandler):
    """Answers as huggingface.co does: names and hashes at /resolve/, the bytes of large files elsewhere, in ranges."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body: bool):
        hub = self.server
        name = self.path.rsplit("/", 1)[-1].split("?")[0]
        hub.seen.append((self.command, self.path, self.headers.get("Range")))
        if hub.refuse:
            status, code = hub.refuse
            self.headers_of(status, {"X-Error-Code": code, "Content-Length": "0"})
        elif name not in hub.files:
            self.headers_of(404, {"X-Error-Code": "EntryNotFound", "Content-Length": "0"})
        elif "/resolve/" in self.path and name.endswith(".pth"):
            self.headers_of(302, {"X-Linked-Etag": f'"{hub.etag or hashlib.sha256(hub.files[name]).hexdigest()}"',
                                  "X-Linked-Size": str(len(hub.files[name])), "X-Repo-Commit": "c0ffee",
                                  "Content-Length": "0",
                                  "Location": f"http://localhost:{hub.server_port}/cdn/{name}"})
        else:
            self.body(hub.files[name], with_body)

    def body(self, content: bytes, with_body: bool):
        etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        sent = self.server.damage(content[start:])
        headers = {"Content-Length": str(len(sent)), "ETag": f'"{etag}"', "X-Repo-Commit": "c0ffee"}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.headers_of(206 if start else 200, headers)
        if with_body:
            self.wfile.write(sent)

    def headers_of(self, status: int, headers: dict):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *words):
        self.server.log.append(words)


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files = {"big.pth": CONTENT, "config.json": SMALL}
    server.seen, server.log, server.refuse, server.etag, server.damage = [], [], None, "", lambda content: content
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def group(monkeypatch):
    """Makes the group `mimicmotion` consist of the given files."""
    return lambda *files: monkeypatch.setattr(download_weights, "files_of", lambda name: list(files))


def ranges(hub) -> list[str | None]:
    return [asked for command, path, asked in hub.seen if command == "GET" and path.startswith("/cdn/")]


def test_a_file_arrives_whole_with_its_source_and_licence_beside_it(hub, tmp_path):
    fetch(WEIGHTS, tmp_path, hub.url)
    assert "fetched" in fetch(CONFIG, tmp_path, hub.url)
    assert (tmp_path / "mimicmotion/sub/big.pth").read_bytes() == CONTENT
    assert (tmp_path / "mimicmotion/config.json").read_bytes() == SMALL
    notes = json.loads((tmp_path / "mimicmotion/SOURCES.json").read_text())
    assert notes["sub/big.pth"]["hash"] == SHA256 and notes["sub/big.pth"]["revision"] == "c0ffee"
    assert {note["licence"] for note in notes.values()} == {"a licence"} and "config.json" in notes
    assert not list(tmp_path.rglob("*.partial"))


def test_what_is_there_and_right_is_not_fetched_again_and_what_is_damaged_is(hub, tmp_path):
    fetch(WEIGHTS, tmp_path, hub.url)
    assert "already there" in fetch(WEIGHTS, tmp_path, hub.url) and len(ranges(hub)) == 1
    (tmp_path / WEIGHTS.path).write_bytes(CONTENT[:-1] + b"!")
    assert "fetched" in fetch(WEIGHTS, tmp_path, hub.url)
    assert (tmp_path / WEIGHTS.path).read_bytes() == CONTENT


def test_an_interrupted_download_goes_on_where_it_stopped(hub, tmp_path, monkeypatch):
    def stopped(url, stream, **options):
        stream.write(CONTENT[:300_000])
        raise KeyboardInterrupt
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(download_weights, "http_get", stopped)
        fetch(WEIGHTS, tmp_path, hub.url)
    assert not (tmp_path / WEIGHTS.path).exists()
    fetch(WEIGHTS, tmp_path, hub.url)
    assert ranges(hub) == ["bytes=300000-"]
    assert (tmp_path / WEIGHTS.path).read_bytes() == CONTENT


def test_a_damaged_download_is_refused_and_leaves_nothing(hub, tmp_path):
    hub.damage = lambda content: content.replace(b"\x07", b"\x08")
    with pytest.raises(ValueError, match=f"big.pth: expected the hash {SHA256} .*run this again"):
        fetch(WEIGHTS, tmp_path, hub.url)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_file_that_was_replaced_on_the_hub_is_not_fetched(hub, tmp_path):
    hub.etag = "0" * 64
    with pytest.raises(ValueError, match="someone/model/sub/big.pth: .*was replaced there"):
        fetch(WEIGHTS, tmp_path, hub.url)
    assert ranges(hub) == []


def test_without_a_known_hash_the_hubs_own_decides(hub, tmp_path):
    unknown = replace(WEIGHTS, sha256="")
    fetch(unknown, tmp_path, hub.url)
    assert json.loads((tmp_path / "mimicmotion/SOURCES.json").read_text())["sub/big.pth"]["hash"] == SHA256
    (tmp_path / unknown.path).unlink()
    hub.etag = "0" * 64
    with pytest.raises(ValueError, match="expected the hash 0000"):
        fetch(unknown, tmp_path, hub.url)


@pytest.mark.parametrize("refuse, terms, words", [
    ((401, "GatedRepo"), SVD, "terms must be accepted first: .*/someone/model and accept.*hf auth login"),
    ((401, "RepoNotFound"), SVD, "terms must be accepted first"),
    ((404, "EntryNotFound"), TERMS, "not on the hub .*example.org/licence.*by hand"),
    ((404, "RepoNotFound"), TERMS, "not on the hub"),
    ((403, ""), TERMS, "the hub answered 403"),
])
def test_a_refusal_is_one_line_with_what_to_do(hub, group, tmp_path, refuse, terms, words):
    hub.refuse = refuse
    group(replace(WEIGHTS, terms=terms), CONFIG)
    problems = bring("mimicmotion", tmp_path, hub.url)
    assert len(problems) == (2 if "EntryNotFound" in refuse else 1)                  # one file is not all files
    assert all(re.search(words, problem) and "\n" not in problem for problem in problems), problems


def test_a_hub_out_of_reach_and_a_full_disk_are_explained(hub, group, tmp_path, monkeypatch):
    group(WEIGHTS, CONFIG, HandFile("mimicmotion", ("x.npy",), 1, TERMS, "ask the author"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        problems = bring("mimicmotion", tmp_path, f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert len(problems) == 2 and "cannot be reached" in problems[0] and problems[1].endswith("ask the author")
    group(WEIGHTS)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 1000))
    problem = bring("mimicmotion", tmp_path, hub.url)[0]
    assert "the disk is full" in problem and "--folder" in problem and ranges(hub) == []


def test_the_licence_is_printed_first_and_problems_end_with_two(hub, group, tmp_path, monkeypatch, capsys):
    group(replace(CONFIG, name="gone.json"), WEIGHTS, HandFile("t2m", ("t2m/x.pth",), 1, TERMS, "ask the author"))
    whole = download_weights.fetch
    monkeypatch.setattr(download_weights, "fetch", lambda file, weights, endpoint: whole(file, weights, hub.url))
    assert main(["mimicmotion", "--folder", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out.startswith("licence: a licence; commercial use: no; https://example.org/licence")
    assert "gone.json: not on the hub" in printed.err and "t2m/x.pth" not in printed.out
    assert (tmp_path / "mimicmotion" / "sub" / "big.pth").is_file()                  # the others arrive all the same
    group(WEIGHTS)
    assert main(["mimicmotion", "--folder", str(tmp_path)]) == 0


def test_files_to_place_by_hand_are_explained_until_they_are_there(group, tmp_path, capsys):
    group(HandFile("t2m", ("t2m/a.pth", "t2m/b/a.pth"), 1, TERMS, "ask the author"))
    assert bring("t2m", tmp_path) == [f"{tmp_path}/t2m/a.pth: to be placed by hand: ask the author"]
    (tmp_path / "t2m/b").mkdir(parents=True)
    (tmp_path / "t2m/b/a.pth").write_bytes(b"")
    assert bring("t2m", tmp_path) == [] and "t2m/b/a.pth: placed by hand" in capsys.readouterr().out


def test_the_list_needs_no_network_and_names_every_file_and_licence(monkeypatch, capsys):
    monkeypatch.setattr(socket.socket, "connect", lambda *address: pytest.fail("connects"))
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    for file in FILES:
        assert file.path in printed and file.terms.licence in printed and file.terms.commercial in printed
    assert "must be accepted" in printed and "drive.google.com" in printed


def test_the_list_is_what_the_configs_and_loaders_look_for():
    paths = {file.path for file in files_of("all")}
    config = (Path(__file__).parent.parent / "configs" / "fleximo.yaml").read_text()
    for wanted in ("mimicmotion/MimicMotion_1-1.pth", "dwpose/yolox_l.onnx", "dwpose/dw-ll_ucoco_384.onnx"):
        assert wanted in paths and wanted in config
    accepted = {f"t2m/{name}" for name in (*VQVAE_FILES, *GPT_FILES)}
    accepted |= {f"t2m/{folder}/{kind}.npy".replace("//", "/") for folder in META_FOLDERS for kind in ("mean", "std")}
    for file in FILES:
        assert isinstance(file, HubFile) or set(file.paths) <= accepted
        assert file.group in GROUPS and len(getattr(file, "sha256", "")) in (0, 64)
    assert set(ALL) < set(GROUPS) and all(files_of(group) for group in GROUPS)
