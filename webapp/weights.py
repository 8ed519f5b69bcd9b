"""The tab of weights: what is here, how large, on which terms, and how the rest is fetched."""
from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from tempfile import TemporaryFile

from configs import CONFIG_FOLDER
from runtime.published_weights import files_of, GROUPS, HandFile
from webapp.jobs import Cancelled, Job

ROOT = CONFIG_FOLDER.parent
WEIGHTS = ROOT / "weights"
LOOK_SECONDS = 0.5                  # between two looks at how much is here, and at whether to stop
MEGABYTE = 10**6


def weights_table(weights: Path = WEIGHTS) -> str:
    """Which weights are here, how large they are, on which terms, and the command for the rest, as HTML."""
    lines = []
    for group, purpose in GROUPS.items():
        files = files_of(group)
        there = sum(any((weights / path).is_file() for path in paths_of(file)) for file in files)
        state = "<b class='yes'>here</b>" if there == len(files) else f"{there} of {len(files)} files"
        terms = "<br>".join(f"{escape(t.licence)} · commercial use: {escape(t.commercial)}" for t in dict.fromkeys(file.terms for file in files))
        lines.append(f"<tr><td><b>{escape(group)}</b><br>{escape(purpose)}</td><td>{state}</td><td>{sum(f.size for f in files) / 1e9:.2f} GB</td>"
                     f"<td>{terms}</td><td><code>python scripts/download_weights.py {escape(group)}</code></td></tr>")
    return ("<div class='scroll'><table class='weights'><tr><th>weights</th><th>state</th><th>size</th><th>licence</th><th>command</th></tr>"
            + "".join(lines) + "</table></div>")


def paths_of(file) -> tuple[str, ...]:
    """Where below weights/ a file may be."""
    return file.paths if isinstance(file, HandFile) else (file.path,)


def bytes_here(group: str, weights: Path) -> int:
    """How much of a group is on the disk, with files that have begun to come."""
    paths = [weights / name for file in files_of(group) for name in paths_of(file)]
    return sum(size_of(path) or sum(map(size_of, path.parent.glob(f".{path.name}.*.partial"))) for path in paths)


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none (any more)."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def fetch_weights(job: Job, group: str, weights: Path = WEIGHTS, command: Sequence[str] = ()) -> None:
    """Fetches a group in a process of its own, and tells the job how many megabytes are here.

    command: another one than scripts/download_weights.py's. ValueError: what could not be fetched and why, in one line.
    """
    total = sum(file.size for file in files_of(group)) // MEGABYTE
    command = command or [sys.executable, str(ROOT / "scripts" / "download_weights.py"), group]
    with TemporaryFile("w+", encoding="utf-8", errors="replace") as said, subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT) as process:
        try:
            while is_running(process):
                job.tell("megabytes", min(bytes_here(group, weights) // MEGABYTE, total), total)
        except Cancelled:
            process.terminate()
            raise
        said.seek(0)
        lines = [line.strip() for line in said if line.strip()]
    if process.returncode:
        problems = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        raise ValueError("; ".join(problems[:3]) or (lines or ["the download ended early"])[-1])


def is_running(process: subprocess.Popen) -> bool:
    """Whether a process still runs after a moment."""
    try:
        process.wait(LOOK_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False
