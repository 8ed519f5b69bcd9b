"""Files that appear whole or not at all, files that must be there, and folders that one run at a time writes to."""
from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout                    # torch itself needs it

PARTIAL = ".partial"                # ends the name of a file that is still being written


def save_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then give it its name: readers see the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_text(path: Path, text: str, errors: str = "strict") -> None:
    """Write UTF-8 text atomically. errors: as in str.encode."""
    save_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8", errors=errors))


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an .npy file atomically."""
    save_atomically(path, lambda temporary: write_numpy(np.save, temporary, array))


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write an .npz file of named arrays atomically."""
    save_atomically(path, lambda temporary: write_numpy(np.savez, temporary, **arrays))


def write_numpy(save: Callable, path: Path, *arrays: np.ndarray, **named: np.ndarray) -> None:
    """Call np.save or np.savez on an open file, whose name NumPy then leaves as it is."""
    with path.open("wb") as file:
        save(file, *arrays, **named)


def read_json(path: Path) -> dict:
    """The names and values of a JSON config file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a config file (found none): is this a complete model folder?")
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON (found {error}): fetch it again") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path}: expected JSON's names and values (found a {type(config).__name__}): fetch it again")
    return config


def existing_file(path: str | Path, kind: str) -> Path:
    """The path, if a file is there. kind: what the error calls it."""
    if not Path(path).is_file():
        found = "a folder" if Path(path).is_dir() else "no file"
        raise FileNotFoundError(f"{str(path) or 'no name'}: expected a {kind} (found {found}): check the path")
    return Path(path)


@contextmanager
def locked(folder: Path, remedy: str = "choose another output", *, beside: bool = False) -> Iterator[None]:
    """Within the context no other process works on this folder; ValueError where one already does.

    The lock is a hidden file in the folder, or beside it, and goes with the process that holds it, however that ends.
    """
    path = folder.parent / f".{folder.name}.lock" if beside else folder / ".lock"
    lock = FileLock(path, timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise ValueError(f"{folder}: another run is writing to it: wait for its end, or {remedy}") from None
    except OSError as error:
        raise ValueError(f"{path.parent}: expected a folder that can be written ({error.strerror}): {remedy}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)            # while it is held: who waits for it makes a new one
        lock.release()
