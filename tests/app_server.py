"""The web page, served in this process for a test, and everything that the process looked up meanwhile."""
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>"
ONE_WAVE = "A person waves for 1 second."


class Server:
    """A server with one run that looks finished, whose prompt is a script."""

    def __init__(self, outputs: Path, asked: set, word: str | None = None):
        import app

        self.outputs, self.asked = outputs, asked
        self.add_run("mine")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.page, _ = app.launched(outputs, "127.0.0.1", self.port, word=word)
        self.url = f"http://127.0.0.1:{self.port}"

    def add_run(self, name: str) -> None:
        (self.outputs / name).mkdir(parents=True)
        (self.outputs / name / "run.yaml").write_text(json.dumps({"prompt": SCRIPT, "renderer": "puppet"}))

    def runs(self) -> list[str]:
        return sorted(path.name for path in self.outputs.iterdir() if not path.name.startswith("."))


@contextmanager
def serving(outputs: Path, word: str | None = None) -> Iterator[Server]:
    """Within the context the page of this folder is served, behind a password where there is one."""
    before, looked_up, look_up = dict(os.environ), set(), socket.getaddrinfo
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda host, *rest, **named: looked_up.add(host) or look_up(host, *rest, **named))
        patch.chdir(ROOT)
        server = Server(outputs, looked_up, word)
        yield server
        server.page.close()
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)
