"""What comes from outside is checked before anything works on it: uploads, texts, numbers, names, and who asks.

A page's request is never a path: runs are chosen from the list of those that are there, uploads get names of ours.
"""
from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from llm_planner import check_prompt, Segment
from media.video_reader import probe

PICTURE_BYTES, VIDEO_BYTES = 25 << 20, 200 << 20
REQUEST_BYTES = VIDEO_BYTES + (1 << 20)            # an upload with its frame; anything longer is refused unread
JSON_BYTES = 1 << 20                               # every other request
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000                            # of a picture
MAX_VIDEO_SIDE, MAX_VIDEO_SECONDS = 4096, 60.0     # pixels; of a driving video
MAX_SEGMENTS, MAX_SEGMENT_CHARACTERS = 20, 300
MAX_FRAMES = 900                                   # of a result
MAX_SIDE = 1280                                    # pixels, of a result
MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")


def bytes_of(path: str | Path, name: str) -> int:
    """How large an uploaded file is; ValueError where it is gone."""
    if not Path(path).is_file():
        raise ValueError(f"{name}: expected a file (found none any more, as when the server was started anew): drop it again")
    return Path(path).stat().st_size


def checked_picture(path: str | Path) -> Path:
    """An uploaded picture by its first bytes, before it is decoded: format, file size, pixels. ValueError in one line."""
    if (size := bytes_of(path, "picture")) > PICTURE_BYTES:
        raise ValueError(f"picture: expected at most {PICTURE_BYTES >> 20} MiB (found {size >> 20}): make it smaller")
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as file:
            width, height = file.size
    except Image.DecompressionBombError:
        raise ValueError(f"picture: expected at most {MAX_PIXELS / 1e6:.0f} megapixels (found far more): make it smaller") from None
    except (OSError, SyntaxError, ValueError):                    # of Pillow's decoders
        raise ValueError("picture: expected a PNG, JPEG or WebP file (found something else, or a part of one): convert it") from None
    if width * height > MAX_PIXELS:
        raise ValueError(f"picture: expected at most {MAX_PIXELS / 1e6:.0f} megapixels (found {width}x{height}, "
                         f"{width * height / 1e6:.0f}): make it smaller")
    return Path(path)


def checked_video(path: str | Path) -> Path:
    """An uploaded driving video: its container by its first bytes, then size and length as it states them.

    Playlists, which could name other files of this machine, are no containers here.
    """
    if (size := bytes_of(path, "driving video")) > VIDEO_BYTES:
        raise ValueError(f"driving video: expected at most {VIDEO_BYTES >> 20} MiB (found {size >> 20}): make it shorter")
    with Path(path).open("rb") as file:
        start = file.read(12)
    if not (start[4:8] in MP4_BOXES or start[:4] == b"\x1aE\xdf\xa3" or (start[:4] == b"RIFF" and start[8:12] == b"AVI ")):
        raise ValueError("driving video: expected an MP4, MOV, WebM, MKV or AVI file (found something else): convert it to MP4")
    info = probe(path)
    if max(info.size) > MAX_VIDEO_SIDE or info.seconds > MAX_VIDEO_SECONDS:
        raise ValueError(f"driving video: expected at most {MAX_VIDEO_SIDE} pixels a side and {MAX_VIDEO_SECONDS:.0f} s (found "
                         f"{info.size[1]}x{info.size[0]}, {info.seconds:.0f} s): cut it")
    return Path(path)


def checked_plan(rows: Iterable) -> list[Segment]:
    """The plan's table, as a page sends it (order, action, seconds, ...), as segments in their order; empty rows are left out.

    A row without an order stays after the one above it. ValueError names the row.
    """
    placed, order = [], 0.0
    for number, row in enumerate(rows, start=1):
        cells = [str(cell).strip() for cell in list(row)[:3]] if isinstance(row, (list, tuple)) else []
        if not any(cells[1:]):
            continue
        if len(cells) < 3:
            raise ValueError(f"plan, row {number}: expected order, action and seconds (found {len(cells)} cells)")
        order = number_in(cells[0], f"plan, row {number}: expected an order") if cells[0] else order
        seconds = number_in(cells[2], f"plan, row {number}: expected seconds")
        if not seconds > 0:
            raise ValueError(f"plan, row {number}: must last longer than 0 s (found {cells[2][:20]})")
        if not 0 < len(cells[1]) <= MAX_SEGMENT_CHARACTERS:
            raise ValueError(f"plan, row {number}: expected 1 to {MAX_SEGMENT_CHARACTERS} characters (found {len(cells[1])})")
        placed.append((order, Segment(cells[1], seconds)))
    if len(placed) > MAX_SEGMENTS:
        raise ValueError(f"plan: expected at most {MAX_SEGMENTS} actions (found {len(placed)}): make two videos")
    return [segment for _, segment in sorted(placed, key=lambda place: place[0])]       # equal ones keep their places


def number_in(cell: str, expected: str) -> float:
    """A number that somebody typed, with a point or a comma; ValueError begins with what was expected."""
    try:
        number = float(cell.replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{expected}, as in 2.5 (found {cell[:20]!r})")
    return number


def checked_prompt(prompt: object) -> str:
    """The prompt as text; ValueError in one line."""
    if not isinstance(prompt, str):
        raise ValueError(f"prompt: expected a text (found a {type(prompt).__name__})")
    check_prompt(prompt)
    return prompt


def check_length(segments: list[Segment], fps: float) -> None:
    """The plan makes no more frames than a page may ask for."""
    frames = fps * sum(segment.seconds for segment in segments)
    if frames > MAX_FRAMES:
        raise ValueError(f"plan: {frames:.4g} frames at {fps:g} a second, expected at most {MAX_FRAMES}: shorten it, or lower fps")


class Guard:
    """ASGI middleware before everything else: whose page asks, and how much it sends.

    On a local server a foreign Host (DNS rebinding) and a foreign Origin (another site's page) are refused. `hosts` None:
    the server is open to a network, behind its password; only the Origin must then be the Host.
    """

    def __init__(self, app, hosts: tuple[str, ...] | None = LOCAL_HOSTS):
        self.app, self.hosts = app, hosts

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if refusal := self.refusal(scope["path"], headers):
            return await refuse(scope, send, *refusal)
        receive = limited(receive, limit_of(scope["path"]))
        if scope.get("method") == "POST" and not is_upload(scope["path"]):
            body = await whole(receive)
            if body is None or names_an_address(body):
                return await refuse(scope, send, 400, "expected JSON without addresses")
            receive = given(body, receive)
        await self.app(scope, receive, with_headers(send))

    def refusal(self, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        """Status and reason, or None for a request that may pass."""
        host = headers.get("host", "")
        if self.hosts is not None and host_name(host) not in self.hosts:
            return 403, "this server is for its own machine"
        origin = headers.get("origin")
        if origin and urlsplit(origin).netloc != headers.get("x-forwarded-host", host):
            return 403, "another site's page asked"
        if "proxy=" in path or "://" in path or ":/" in path:
            return 403, "this server fetches nothing from others"
        if "/gradio_api/call/" in path:
            return 403, "functions are for this server's page"
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            return 400, "content-length is no number"
        if int(length) > limit_of(path):
            return 413, f"at most {limit_of(path) >> 20} MiB"
        return None


async def refuse(scope, send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        return await send({"type": "websocket.close", "code": 1008})
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text.encode()})


async def whole(receive) -> bytes | None:
    """The body of a request; None where the connection ended before it did."""
    parts = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
    return None


def given(body: bytes, receive):
    """The ASGI channel of a request whose body was read already."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again():
        return waiting.pop() if waiting else await receive()

    return again


def names_an_address(body: bytes) -> bool:
    """Whether a file of a JSON request is an address, which Gradio would fetch; also where the JSON is too deep to be read.

    What is no JSON, such as the form of a login, holds no files.
    """
    try:
        left = [json.loads(body)] if body[:1] in b"{[" else []
    except RecursionError:
        return True
    except ValueError:
        return False
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if "://" in str(value.get("path", "")):
                return True
            left += value.values()
        elif isinstance(value, list):
            left += value
    return False


def is_upload(path: str) -> bool:
    return path.rstrip("/").endswith("/upload")


def host_name(host: str) -> str:
    """A Host header without its port."""
    return host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host


def limit_of(path: str) -> int:
    """Bytes that a request to this path may send."""
    return REQUEST_BYTES if is_upload(path) else JSON_BYTES


def limited(receive, limit: int):
    """The ASGI channel that ends the connection where a request without an honest length sends more."""
    got = 0

    async def counted():
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        return {"type": "http.disconnect"} if got > limit else message

    return counted


def with_headers(send):
    """Answers say that a browser must not guess types, nor show the page in another site's frame."""
    async def safer(message):
        if message["type"] == "http.response.start":
            message = message | {"headers": [*message.get("headers", []), (b"x-content-type-options", b"nosniff"),
                                             (b"content-security-policy", b"frame-ancestors 'self'"), (b"referrer-policy", b"same-origin")]}
        await send(message)

    return safer
