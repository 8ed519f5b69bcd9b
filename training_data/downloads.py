"""Links to files, as they fail in practice: dead, slow, cut off halfway. What has arrived is kept and gone on from."""
from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import time
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

ATTEMPTS = 3
TIMEOUT_SECONDS = 30
GONE = (400, 401, 403, 404, 405, 410, 451)       # answers that asking again will not change
WHOLE_ALREADY = 416                              # the rest was asked for and there is none


class DeadLink(ValueError):
    """A link that gives no file; the message says why."""


def fetched(url: str, folder: Path, *, pause_seconds: float = 2.0) -> Path:
    """The file behind a link, in `folder` under a name made from the link; DeadLink when there is none.

    The file has its name only when whole. A part of it stays for the next attempt, in this run or a later one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    suffix = Path(urlsplit(url).path).suffix.lower() or ".mp4"
    path = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}{suffix}"
    part = path.with_name(f"{path.name}.part")
    if path.is_file():
        return path
    problem = None
    for attempt in range(ATTEMPTS):
        time.sleep(pause_seconds * attempt)
        try:
            receive(url, part)
            os.replace(part, path)
            return path
        except HTTPError as error:
            if error.code == WHOLE_ALREADY:
                part.unlink(missing_ok=True)
            problem = f"HTTP {error.code} {error.reason}"
            if error.code in GONE:
                break
        except (URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            problem = str(getattr(error, "reason", error))
    raise DeadLink(f"{url}: expected a file ({problem})")


def receive(url: str, part: Path) -> None:
    """Append what is missing of a file to `part`, or begin anew where the server cannot go on from the middle."""
    arrived = part.stat().st_size if part.is_file() else 0
    headers = {"User-Agent": "prepare_dataset"} | ({"Range": f"bytes={arrived}-"} if arrived else {})
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT_SECONDS) as answer:
        goes_on = answer.status == 206
        with part.open("ab" if goes_on else "wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
        expected = answer.headers.get("Content-Length")
    size = part.stat().st_size - (arrived if goes_on else 0)
    if expected is not None and size != int(expected):
        raise http.client.IncompleteRead(b"", int(expected) - size)
