"""Work that outlives the page that asked for it: one job at a time in each lane's own thread, the others wait in order.

A closed or reloaded browser changes nothing; a job is cancelled by its key, and stops before its next step.
"""
from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from media.files import one_line
from runtime.device import trim_memory
from runtime.progress import watched

log = logging.getLogger(__name__)

MAX_WAITING = 24                   # in a lane; more are refused
KEPT = 200                         # finished jobs that a late page can still ask about
WAITING, RUNNING, DONE, STOPPED, FAILED = "waiting", "running", "done", "stopped", "failed"


class Cancelled(Exception):
    """Raised inside a job's work when somebody asked it to stop."""


@dataclass(eq=False)
class Job:
    """One piece of work and how far it is. The key is a secret: who has it may watch and cancel."""
    title: str                                     # for people: preview, render, fetch
    run: str                                       # name of the run folder it writes to, or ""
    work: Callable[[Job], None] | None             # None once it is over: what it held is free
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: str = WAITING
    stage: str = ""                                # of the run, or what is done
    step: tuple[str, int, int] = ("", 0, 0)        # name, done, in all
    message: str = ""                              # one line, where it failed
    frame: np.ndarray | None = None                # (h, w, 3) uint8, the newest frame, small
    started: float = 0.0                           # time.monotonic(), seconds
    ended: float = 0.0
    _first: tuple[float, int] = (0.0, 0)           # time.monotonic() and count of the first step of this name
    _cancel: threading.Event = field(default_factory=threading.Event)

    @property
    def is_over(self) -> bool:
        return self.state in (DONE, STOPPED, FAILED)

    @property
    def seconds(self) -> float:
        """For how long it has worked."""
        return 0.0 if not self.started else (self.ended or time.monotonic()) - self.started

    def cancel(self) -> None:
        self._cancel.set()

    def tell(self, name: str, done: int, total: int) -> None:
        """Called before each step; raises Cancelled where the job is to stop."""
        if self._cancel.is_set():
            raise Cancelled
        if name != self.step[0] or done < self.step[1]:
            self._first = time.monotonic(), done
        self.step = name, done, total

    @property
    def seconds_left(self) -> float | None:
        """Of the steps under way, by the pace of those done; None before a few are."""
        (_, done, total), (since, first) = self.step, self._first
        return (time.monotonic() - since) * (total - done) / (done - first) if done - first >= 2 else None

    def enter(self, stage: str) -> None:
        """A stage begins."""
        self.stage = stage
        self.tell("", 0, 0)

    def do(self) -> None:
        """The work from beginning to end; how it ended is noted, never raised."""
        self.state, self.started = RUNNING, time.monotonic()
        state = DONE
        try:
            with watched(self.tell):
                self.tell("", 0, 0)
                self.work(self)
        except Cancelled:
            state = STOPPED
        except (ValueError, FileNotFoundError) as error:
            state, self.message = FAILED, one_line(error)
        except OSError as error:
            state, self.message = FAILED, f"{error.filename or 'disk'}: {error.strerror or error}: make room, then go on"
        except Exception:
            log.exception("%s of %s failed", self.title, self.run)
            state, self.message = FAILED, "a mistake of the program, not yours: its details are on the terminal of app.py"
        self.ended = time.monotonic()
        self.frame = self.work = None
        trim_memory()                              # a server lives for weeks, and threads keep what each of them freed
        self.state = state                         # last: who sees it may start the next


class Lane:
    """Jobs of one kind, one after the other, in a thread that starts with the first."""

    def __init__(self, name: str):
        self.name, self._waiting, self._current = name, deque(), None
        self._changed, self._thread = threading.Condition(), None

    def submit(self, job: Job) -> Job:
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                raise ValueError(f"{self.name}: {MAX_WAITING} jobs are waiting already: try again in a while")
            self._waiting.append(job)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name=f"{self.name} jobs", daemon=True)
                self._thread.start()
        return job

    def place(self, job: Job) -> int:
        """How many jobs are before this one; 0 for the one that runs, or is over."""
        with self._changed:
            return self._waiting.index(job) + (self._current is not None) if job in self._waiting else 0

    def cancel(self, job: Job) -> None:
        """A waiting job never starts; a running one stops before its next step."""
        with self._changed:
            job.cancel()
            if job in self._waiting:
                self._waiting.remove(job)
                job.state, job.work = STOPPED, None

    def unfinished(self) -> list[Job]:
        with self._changed:
            return [*filter(None, [self._current]), *self._waiting]

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._current = None
                self._changed.wait_for(lambda: self._waiting)
                self._current = self._waiting.popleft()
            self._current.do()


class Jobs:
    """All jobs of a server, by key."""

    def __init__(self, *lanes: str):
        self.lanes = {name: Lane(name) for name in lanes}
        self._jobs: dict[str, tuple[str, Job]] = {}
        self._lock = threading.Lock()

    def submit(self, lane: str, title: str, run: str, work: Callable[[Job], None]) -> Job:
        """A new job at the end of its lane; ValueError where the lane is full, or another job works on the run."""
        with self._lock:
            if run and (other := self.working_on(run)):
                raise ValueError(f"{run}: a {other.title} is under way: stop it, or wait for its end")
            job = self.lanes[lane].submit(Job(title, run, work))
            self._jobs[job.key] = lane, job
            over = [key for key, (_, old) in self._jobs.items() if old.is_over]
            for key in over[:max(len(over) - KEPT, 0)]:
                del self._jobs[key]
        return job

    def find(self, key: object) -> Job | None:
        """The job of this key; None for anything else a page may send."""
        return self._jobs.get(key, (None, None))[1] if isinstance(key, str) else None

    def place(self, job: Job) -> int:
        return self.lanes[self._jobs[job.key][0]].place(job) if job.key in self._jobs else 0

    def cancel(self, key: object) -> Job | None:
        job = self.find(key)
        if job:
            self.lanes[self._jobs[job.key][0]].cancel(job)
        return job

    def working_on(self, run: str) -> Job | None:
        """The unfinished job of a run."""
        return next((job for lane in self.lanes.values() for job in lane.unfinished() if job.run == run and not job.is_over), None)

    def close(self, seconds: float) -> bool:
        """Cancels all jobs, and waits so long for the ends of those that run; whether all have ended."""
        lanes, end = self.lanes.values(), time.monotonic() + seconds
        for lane, job in [(lane, job) for lane in lanes for job in lane.unfinished()]:
            lane.cancel(job)
        while is_busy := any(not job.is_over for lane in lanes for job in lane.unfinished()):
            if time.monotonic() > end:
                break
            time.sleep(0.05)
        return not is_busy
