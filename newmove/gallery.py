"""The page that shows a folder of generated videos beside their exemplars; it opens from the disk, without a server."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from media.files import save_atomically

TEMPLATE = "gallery.html.jinja"


@dataclass(frozen=True)
class Exemplar:
    """A clip the motion was learnt from: its file, relative to the gallery's folder, and its caption."""
    file: str
    caption: str


def write_gallery(folder: Path, videos: Sequence, exemplars: Sequence[Exemplar] = ()) -> Path:
    """Write folder/gallery.html. videos: with `file` in that folder, `prompt` and `seed`. Styles and script are inside."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template(TEMPLATE).render(title=folder.resolve().name, videos=videos, exemplars=exemplars)
    path = folder / "gallery.html"
    save_atomically(path, lambda partial: partial.write_text(page, encoding="utf-8"))
    return path
