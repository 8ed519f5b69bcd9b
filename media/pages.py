"""HTML pages from jinja2 templates, each one file with its pictures inside."""
from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

JPEG_QUALITY = 82


def render_page(template: Path, filters: dict[str, Callable], **values) -> str:
    """The template filled with `values`; texts are escaped, an unknown name is an error, `x is finite` tests a number."""
    environment = Environment(loader=FileSystemLoader(template.parent), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.tests["finite"] = math.isfinite
    environment.filters |= filters
    return environment.get_template(template.name).render(values)


def jpeg_link(picture: np.ndarray | Image.Image, quality: int = JPEG_QUALITY) -> str:
    """A picture, uint8 RGB, as the address of an <img>, which holds the whole JPEG."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(file, format="JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
