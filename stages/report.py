"""Seconds, peak memory and warnings of a run: gathered per stage, printed as a table, written to report.json."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import psutil
import torch

SAMPLING_SECONDS = 0.05
GIB = 1 << 30


@dataclass
class StageEntry:
    """One row of the closing table."""
    name: str
    file: str                        # the stage's result, in the run folder
    seconds: float = 0.0             # wall clock
    peak_memory: int = 0             # bytes of the process (resident), highest while the stage ran
    peak_gpu_memory: int = 0         # bytes of torch tensors on the GPU, highest while the stage ran; 0 without one
    reused: bool = False             # taken from the run folder


class WarningList(logging.Handler):
    """Keeps the text of every warning logged during a run."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@dataclass
class Report:
    """Everything report.json says about a run."""
    stages: list[StageEntry] = field(default_factory=list)
    warnings: WarningList = field(default_factory=WarningList)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Every warning logged inside is kept."""
        logging.getLogger().addHandler(self.warnings)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(self.warnings)

    @contextmanager
    def stage(self, name: str, file: str) -> Iterator[StageEntry]:
        """Times what happens inside and watches its memory."""
        entry = StageEntry(name, file)
        self.stages.append(entry)
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        with MemoryWatch() as watch:
            start = time.perf_counter()
            try:
                yield entry
            finally:
                entry.seconds = round(time.perf_counter() - start, 3)
        entry.peak_memory = watch.peak
        entry.peak_gpu_memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0

    def as_dict(self) -> dict:
        return {"seconds": round(sum(entry.seconds for entry in self.stages), 3),
                "stages": [asdict(entry) for entry in self.stages], "warnings": self.warnings.messages}

    def table(self) -> str:
        """The closing table: one line per stage, seconds and GiB."""
        gpu = any(entry.peak_gpu_memory for entry in self.stages)
        lines = [f"{'stage':<14}{'file':<20}{'seconds':>9}{'peak GiB':>10}" + (f"{'GPU GiB':>9}" if gpu else "")]
        for entry in self.stages:
            memory = f"{entry.peak_memory / GIB:>10.2f}" + (f"{entry.peak_gpu_memory / GIB:>9.2f}" if gpu else "")
            lines.append(f"{entry.name:<14}{entry.file:<20}{entry.seconds:>9.1f}{memory}" + ("  reused" if entry.reused else ""))
        peak = max((entry.peak_memory for entry in self.stages), default=0) / GIB
        lines.append(f"{'in all':<34}{sum(entry.seconds for entry in self.stages):>9.1f}{peak:>10.2f}")
        return "\n".join(lines)


class MemoryWatch:
    """Samples this process' resident memory from a thread; `peak` is the highest value seen, bytes."""

    def __enter__(self):
        self.process, self.stop = psutil.Process(), threading.Event()
        self.peak = self.process.memory_info().rss
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.stop.wait(SAMPLING_SECONDS):
            self.peak = max(self.peak, self.process.memory_info().rss)

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()
        self.peak = max(self.peak, self.process.memory_info().rss)
