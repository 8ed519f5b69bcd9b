"""Lists of links: dead ones are named and asked again later, halves are completed, nothing is fetched twice."""
import threading
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from media.video_writer import write_video
from rectangles import FPS, SETTINGS, WhiteRectangles, person, prepared, reasons
from training_data import sources as downloads
from training_data.sources import DeadLink, fetched
from training_data.folder import DataFolder
from training_data.preparing import Preparation
from training_data.sources import discover


@pytest.fixture
def server(monkeypatch):
    """A server of `files` (path -> bytes) that breaks off every first answer for paths in `breaking`."""
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content, start = service.files.get(self.path), 0
            service.asked.append((self.path, self.headers.get("Range")))
            if content is None:
                return self.send_error(404)
            if self.headers.get("Range"):
                start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            half = self.path in service.breaking
            service.breaking.discard(self.path)
            self.wfile.write(content[start:len(content) // 2] if half else content[start:])

        def log_message(self, *rest):
            return None

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    service = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.files, service.breaking, service.asked = {}, set(), []
    service.link = f"http://127.0.0.1:{service.server_address[1]}"
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield service
    service.shutdown()
    service.server_close()


def test_a_download_that_breaks_off_goes_on_from_where_it_was(server, tmp_path):
    server.files["/a.mp4"], server.breaking = bytes(range(256)) * 40, {"/a.mp4"}
    path = fetched(f"{server.link}/a.mp4", tmp_path, pause_seconds=0)
    assert path.read_bytes() == server.files["/a.mp4"] and path.suffix == ".mp4"
    assert server.asked == [("/a.mp4", None), ("/a.mp4", "bytes=5120-")]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]                # no .part is left
    assert fetched(f"{server.link}/a.mp4", tmp_path) == path and len(server.asked) == 2


def test_a_dead_link_says_so_after_one_question(server, tmp_path):
    with pytest.raises(DeadLink, match=r"gone.mp4: expected a file \(HTTP 404"):
        fetched(f"{server.link}/gone.mp4", tmp_path)
    assert len(server.asked) == 1


def test_a_list_of_links_is_prepared_like_a_folder_and_dead_links_may_come_back(server, tmp_path):
    video = write_video(tmp_path / "a.mp4", person(), FPS).read_bytes()
    other = write_video(tmp_path / "b.mp4", person(shade=180), FPS).read_bytes()
    server.files["/a.mp4"] = video
    (tmp_path / "pexels.txt").write_text(f"{server.link}/a.mp4\n\n{server.link}/b.mp4\n# a remark\n")
    first = prepared(tmp_path / "data", [tmp_path / "pexels.txt"])
    assert reasons(first) == {"kept": 1, "dead link": 1}
    assert not list((tmp_path / "data" / "downloads").iterdir())                    # the whole video is not kept
    server.files["/b.mp4"], server.asked = other, []
    second = prepared(tmp_path / "data", [tmp_path / "pexels.txt"])
    assert reasons(second) == {"kept": 2} and [path for path, _ in server.asked] == ["/b.mp4"]


def test_without_a_network_every_link_is_dead_and_nothing_breaks(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    data = DataFolder(tmp_path / "data")
    data.claim(asdict(SETTINGS))
    (tmp_path / "list.txt").write_text("http://127.0.0.1:9/a.mp4\n")
    for source in discover([str(tmp_path / "list.txt")], data.path):
        Preparation(data, WhiteRectangles(), SETTINGS, {})(source)
    line, = data.write_manifest()
    assert line["skip"] == "dead link" and "refused" in line["detail"]
