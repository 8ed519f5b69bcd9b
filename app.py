"""The whole system in a browser: picture and text -> plan, skeleton, puppet preview, video.

    python app.py                               http://127.0.0.1:7860, for this machine alone
    python app.py --port 8000 --outputs runs
    python app.py --host 0.0.0.0                for the network; asks for a password, or takes it from FLEXIMO_PASSWORD
    python app.py --share                       through Gradio's tunnel; the same

Needs requirements-app.txt. Runs are folders below --outputs, as inference.py makes them.
"""
if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import logging
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from getpass import getpass
from pathlib import Path

from configs import run_main, whole_number
from media.files import locked
from runtime.terminal import say

log = logging.getLogger(__name__)

PASSWORD = "FLEXIMO_PASSWORD"      # environment variable
SHORTEST_PASSWORD = 8              # characters
USER = "fleximo"
FONTS = ("system-ui", "Segoe UI", "Roboto", "DejaVu Sans", "sans-serif")       # of the reader's machine: none is fetched
LOCAL = ("127.0.0.1", "localhost")
SESSIONS = 32                      # open pages whose parts the server remembers, half a megabyte each; an older one begins with empty lists again
SERVED = ".app"                    # below the folder of runs: what the page's addresses lead to; emptied at the start
INTERRUPTED = 130                  # exit code
PATIENCE = 10.0                    # seconds that the step under way has to end after Ctrl-C


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="folder of all runs (default: outputs)")
    parser.add_argument("--port", type=whole_number(1, most=65535), default=7860, help="default: 7860")
    parser.add_argument("--host", default=LOCAL[0], help="address to listen at; any but 127.0.0.1 needs a password")
    parser.add_argument("--share", action="store_true", help="a public address by Gradio's tunnel; needs a password")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    is_open = arguments.share or arguments.host not in LOCAL
    word = password() if is_open else None
    with locked(arguments.outputs / SERVED, "choose another --outputs", beside=True, by="app.py"):
        page, jobs = launched(arguments.outputs, arguments.host, arguments.port, arguments.share, word)
        signal.signal(signal.SIGTERM, signal.default_int_handler)      # the same as Ctrl-C
        with suppress(KeyboardInterrupt):                              # Gradio's waiting ends at one by itself, the moment before does not
            say(f"ready: {page.share_url or page.local_url}", sys.stdout)
            page.block_thread()
        have_ended = stopped(page, jobs)
    say(f"interrupted: what is finished stays in {arguments.outputs}")
    if not have_ended:
        sys.stdout.flush()
        os._exit(INTERRUPTED)                                           # the interpreter would wait for the work's threads
    return INTERRUPTED


def stopped(page, jobs) -> bool:
    """Closes the page and stops all jobs; whether they have ended. Another Ctrl-C ends the waiting."""
    try:
        page.close(verbose=False)
        return jobs.close(PATIENCE)
    except KeyboardInterrupt:
        return False


def password() -> str:
    """The password of an open server, from the environment or typed; never from the command line, which others can read."""
    word = os.environ.get(PASSWORD) or (getpass(f"password for user {USER}: ") if sys.stdin.isatty() else "")
    if len(word) < SHORTEST_PASSWORD:
        raise ValueError(f"password: expected at least {SHORTEST_PASSWORD} characters in {PASSWORD} (found {len(word)}): --host and "
                         "--share open this machine to others")
    return word


def launched(outputs: Path, host: str, port: int, share: bool = False, word: str | None = None):
    """The page, served by threads of its own, and its jobs. word: the password that every request needs; None: for this machine alone."""
    served = (outputs / SERVED).absolute()
    shutil.rmtree(served, ignore_errors=True)
    served.mkdir(parents=True)
    start = time.perf_counter()
    log.info("loading: some ten seconds, the first time longer")
    os.environ |= {"GRADIO_TEMP_DIR": str(served), "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_NUM_PORTS": "1"}
    try:
        import gradio
        from starlette.middleware import Middleware
        from starlette.requests import ClientDisconnect
    except ImportError as error:
        raise ValueError(f"{error.name}: expected the packages of the page to be installed (found none): pip install -r requirements-app.txt") from None
    from webapp.desk import Desk
    from webapp.page import build_page, ROOM
    from webapp.runs import remove_deleted
    from webapp.safety import Guard, LOCAL_HOSTS, VIDEO_BYTES

    logging.getLogger("uvicorn.error").addFilter(lambda record: not (record.exc_info and record.exc_info[0] is ClientDisconnect))    # a reader who went
    remove_deleted(outputs)
    log.info("imports: %.1f s", time.perf_counter() - start)
    desk = Desk(outputs.absolute(), served)
    page = build_page(desk)
    page.queue(max_size=32)
    theme = gradio.themes.Default(primary_hue="teal", neutral_hue="slate", font=FONTS, font_mono=("ui-monospace", "monospace"))
    guard = Middleware(Guard, hosts=None if word else LOCAL_HOSTS)
    try:
        page.launch(server_name=host, server_port=port, share=share, auth=(USER, word) if word else None, allowed_paths=[],
                    max_file_size=VIDEO_BYTES, state_session_capacity=SESSIONS, theme=theme, css_paths=[ROOM / "style.css"],
                    show_error=False, enable_monitoring=False, ssr_mode=False, run_history=False, footer_links=[],
                    quiet=True, prevent_thread_lock=True,
                    app_kwargs={"middleware": [guard], "docs_url": None, "redoc_url": None, "openapi_url": None})
    except (OSError, gradio.exceptions.ServerFailedToStartError) as error:
        found = getattr(error, "strerror", None) or "another server has it, or this machine has no such address"     # Gradio names its own settings
        raise ValueError(f"--host {host}, --port {port}: cannot be used ({found.lower()}): take another one") from None
    return page, desk.jobs


if __name__ == "__main__":
    run_main(main)
