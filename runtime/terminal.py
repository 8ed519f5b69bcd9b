"""What a program says on the terminal, and how Ctrl-C and SIGTERM end it. Imports nothing that takes time: it comes first."""
import os
import signal
import sys
from types import FrameType, TracebackType
from typing import TextIO


class Terminated(KeyboardInterrupt):
    """SIGTERM came; what is done at Ctrl-C is done."""


def say(line: str, stream: TextIO | None = None) -> None:
    """A line for the user, on stderr by default, once for all processes a launcher started."""
    if os.environ.get("RANK", "0") == "0":
        print(line, file=stream or sys.stderr)


def ended_by(error: KeyboardInterrupt, consequence: str = "") -> int:
    """Says what ended the program; its exit code."""
    word, number = ("terminated", signal.SIGTERM) if isinstance(error, Terminated) else ("interrupted", signal.SIGINT)
    say(word + consequence)
    return 128 + number


def interruptible() -> None:
    """From here on Ctrl-C and SIGTERM end the program in one line, also while its modules are imported.

    Forked processes end by SIGTERM as ever, and so do several that were launched: one that waits for another would not hear it.
    """
    sys.excepthook = end_where_interrupted
    if os.environ.get("WORLD_SIZE", "1") != "1":
        return
    signal.signal(signal.SIGTERM, terminate)
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def terminate(number: int, frame: FrameType | None) -> None:
    """End the program, once: a second signal would end its ending."""
    signal.signal(number, signal.SIG_IGN)
    raise Terminated


def end_where_interrupted(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """What is done about an exception that nobody caught: one line for a signal, a traceback for every other."""
    if not isinstance(error, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
        return
    sys.exit(ended_by(error))
