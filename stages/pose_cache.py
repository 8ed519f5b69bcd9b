"""Skeletons that need not be detected twice: one .npz per content of video or picture, networks, settings and code."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dwpose
import mimicmotion.video
from dwpose.skeleton import Skeleton
from stages.folder import content_hash

log = logging.getLogger(__name__)

CODE = [*sorted(Path(dwpose.__path__[0]).glob("*.py")), Path(mimicmotion.video.__file__)]      # whose change makes other poses


def remembered(folder: str, detect: Callable[[], Skeleton], *seen: Any) -> Skeleton:
    """What `detect` found earlier, in this run or another, for content equal to `seen`; else it is asked, and kept.

    seen: everything the result depends on; a Path stands for the file's content. An empty folder name keeps nothing.
    """
    if not folder:
        return detect()
    path = Path(folder) / f"{content_hash([*seen, CODE])}.npz"
    if path.is_file():
        try:
            return Skeleton.load(path)
        except ValueError as error:
            log.warning("%s; the poses are detected again", error)
    skeleton = detect()
    skeleton.save(path)                       # appears whole or not at all
    return skeleton
