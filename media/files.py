"""Files that appear whole or not at all, and files that must be there."""
import json
import os
from collections.abc import Callable
from pathlib import Path


def read_json(path: Path) -> dict:
    """A config file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a config file (found none): is this a complete model folder?")
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON (found {error}): fetch it again") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path}: expected JSON's names and values (found a {type(config).__name__}): fetch it again")
    return config


def save_atomically(path: Path, write) -> None:
    """Let `write` fill a temporary file beside `path`, then give it its name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def existing_file(path: str | Path, kind: str) -> Path:
    """The path, if a file is there."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{str(path) or 'no name'}: expected a {kind} (found no file): check the path")
    return Path(path)


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary file beside `path`, then gives it its name: readers see the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial.{os.getpid()}.{path.name}")
    try:
        write(partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
