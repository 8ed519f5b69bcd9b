"""How `python app.py` holds up: seconds to the page and to the first preview, many runs in a row, many sessions at once.

    python -m benchmarks.app_load                       one preview at full size, 200 tiny runs, 20 sessions at once
    python -m benchmarks.app_load --runs 0 --sessions 0     the seconds alone

Starts a server of its own with an empty folder of runs, and asks it what a browser asks. Memory and open files are the
server's, as Linux counts them. Needs requirements-app.txt.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import json
import re
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psutil

from configs import run_main, whole_number

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "assets" / "person_large.png"
TINY = {"height": 256, "width": 144, "fps": 4, "puppet.mask": "colour"}
PROMPT = "A person waves for 1 second."
WARM_UP = 40                         # runs after which memory is to stay
IMPORTS = re.compile(r"imports: ([\d.]+) s")


class Visitor:
    """One browser's session: presses buttons, and keeps what the page shows."""

    def __init__(self, url: str):
        import httpx                                           # comes with Gradio

        self.errors = ValueError, httpx.HTTPError              # of a request that did not work
        self.http, self.session = httpx.Client(base_url=url, timeout=300), secrets.token_hex(6)
        config = self.http.get("/config").json()
        self.values = {part["id"]: part["props"].get("value") for part in config["components"]}
        self.ids = {part["props"][key]: part["id"] for part in config["components"] for key in ("label", "elem_id")
                    if part["props"].get(key)}
        self.functions = {tuple(target): function for function in config["dependencies"] if function["backend_fn"]
                          for target in function["targets"]}
        self.tabs = {part["props"]["id"]: part["id"] for part in config["components"] if part["type"] == "tabitem"}
        self.timer, self.end_timer, *_ = (part for part in config["components"] if part["type"] == "timer")
        self.session_id = next(part["id"] for part in config["components"] if part["type"] == "browserstate")

    def upload(self, name: str, path: Path) -> None:
        """Puts a file into a part of the page."""
        (place,) = self.http.post("/gradio_api/upload", files={"files": (path.name, path.read_bytes())}).raise_for_status().json()
        self.values[self.ids[name]] = {"path": place, "meta": {"_type": "gradio.FileData"}}

    def press(self, name: str, event: str = "click", event_data=None) -> None:
        self.ask((self.ids[name], event), event_data)

    def poll(self) -> str:
        """The status card, as HTML."""
        self.ask((self.timer["id"], "tick"))
        return self.values[self.ids["status"]]

    def ask(self, target: tuple[int, str], event_data=None) -> None:
        """Runs a function of the page on what the page shows, and shows its answer. ValueError: what a person would read."""
        function = self.functions[target]
        body = {"data": [self.values[number] for number in function["inputs"]], "fn_index": function["id"],
                "session_hash": self.session, "event_data": event_data}
        answer = self.queued(body) if function["queue"] else self.http.post("/gradio_api/run/predict", json=body).json()
        if "data" not in answer:
            raise ValueError(f"{function['api_name']}: {answer.get('error') or answer}")
        for number, value in zip(function["outputs"], answer["data"]):
            is_update = isinstance(value, dict) and value.get("__type__") == "update"
            if not is_update or "value" in value:
                self.values[number] = value["value"] if is_update else value

    def queued(self, body: dict) -> dict:
        event = self.http.post("/gradio_api/queue/join", json=body).raise_for_status().json()["event_id"]
        with self.http.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.session}) as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else {}
                if message.get("event_id") == event and message["msg"] == "process_completed":
                    return message["output"]
        raise ValueError("the server ended the connection")

    def make(self, button: str, **settings) -> float:
        """From a picture and a prompt to a preview or a render; seconds. ValueError where it did not work."""
        start = time.perf_counter()
        self.upload("picture", PICTURE)
        for name, value in settings.items():
            self.values[self.ids[name]] = value
        self.press(button)
        while "card good" not in (status := self.poll()):
            if "card bad" in status:
                raise ValueError(status)
            time.sleep(self.timer["props"]["value"])
        self.ask((self.end_timer["id"], "tick"))
        return time.perf_counter() - start

    def close(self) -> None:
        self.http.close()


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, psutil.Process, float, float]]:
    """A server's address, its process, the seconds until it answered with a whole page, and those of its imports."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start, url = time.perf_counter(), f"http://127.0.0.1:{port}"
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen([sys.executable, "app.py", "--outputs", str(folder / "runs"), "--port", str(port)],
                                   cwd=ROOT, stdout=log, stderr=log)
    try:
        while not answers(url):
            if process.poll() is not None:
                raise ValueError(f"app.py: ended early: {(folder / 'server.log').read_text().strip().splitlines()[-1:]}")
            time.sleep(0.05)
        seconds = time.perf_counter() - start
        yield url, psutil.Process(process.pid), seconds, float(IMPORTS.search((folder / "server.log").read_text())[1])
    finally:
        process.terminate()
        process.wait(30)


def answers(url: str) -> bool:
    """Whether the page and all that it is built from are there."""
    try:
        return all(urlopen(url + path, timeout=30).status == 200 for path in ("/", "/config"))
    except URLError:
        return False


def tiny_run(url: str) -> str:
    """One visitor's way to a tiny video; what went wrong, or nothing."""
    visitor = Visitor(url)
    try:
        visitor.make("render-button", prompt=PROMPT, **TINY)
    except visitor.errors as error:
        return f"{type(error).__name__}: {error}"
    finally:
        visitor.close()
    return ""


def previews(url: str) -> None:
    """Prints how long previews of the page's own size take, of the page's own prompt and of another."""
    visitor = Visitor(url)
    size = "x".join(str(visitor.values[visitor.ids[side]]) for side in ("height", "width"))
    first, second = visitor.make("preview-button"), visitor.make("preview-button", prompt="A person jumps.")
    print(f"first preview, {size}: {first:.1f} s; a second one: {second:.1f} s")
    visitor.close()


def in_a_row(url: str, server: psutil.Process, runs: int) -> None:
    """Prints failures, seconds a run, memory after the warm-up and at the end, and open files."""
    failures, memory, files, start = [], [], [], time.perf_counter()
    for number in range(1, runs + 1):
        failures += filter(None, [tiny_run(url)])
        memory.append(server.memory_info().rss)
        files.append(server.num_fds())
        if number % 20 == 0:
            print(f"  {number} runs, {time.perf_counter() - start:.0f} s: {len(failures)} failures, "
                  f"{memory[-1] / 2**20:.0f} MiB, {files[-1]} open files", flush=True)
    print(f"{runs} runs in a row: {len(failures)} failures, {(time.perf_counter() - start) / runs:.2f} s each {failures[:3] or ''}")
    if runs >= 2 * WARM_UP:
        warm, last = (statistics.median(part) for part in (memory[WARM_UP:WARM_UP + 20], memory[-20:]))
        print(f"  memory: {warm / 2**20:.0f} MiB after {WARM_UP} runs, {last / 2**20:.0f} MiB at the end, "
              f"{100 * (last / warm - 1):+.1f} %")
        print(f"  open files: {min(files[WARM_UP:])} to {max(files[WARM_UP:])}, {files[WARM_UP]} after {WARM_UP} runs, "
              f"{files[-1]} at the end")


def at_once(url: str, server: psutil.Process, sessions: int) -> None:
    """Prints failures, seconds and open files of so many visitors side by side."""
    before, start = server.num_fds(), time.perf_counter()
    with ThreadPoolExecutor(sessions) as pool:
        failures = list(filter(None, pool.map(lambda _: tiny_run(url), range(sessions))))
    seconds = time.perf_counter() - start
    time.sleep(3)                                              # connections close
    print(f"{sessions} sessions at once: {len(failures)} failures, {seconds:.0f} s for all {failures[:3] or ''}; "
          f"open files {before} before, {server.num_fds()} after; {server.memory_info().rss / 2**20:.0f} MiB")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=whole_number(0), default=200, help="tiny runs in a row (default: 200)")
    parser.add_argument("--sessions", type=whole_number(0), default=20, help="visitors at once (default: 20)")
    arguments = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))      # the server ends, too
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as (url, server, seconds, imports):
        print(f"page: {seconds:.1f} s after the start, of which imports take {imports:.1f} s", flush=True)
        if arguments.sessions:
            at_once(url, server, arguments.sessions)
        if arguments.runs:
            in_a_row(url, server, arguments.runs)
        if not arguments.sessions and not arguments.runs:
            previews(url)
    return 0


if __name__ == "__main__":
    run_main(main)
