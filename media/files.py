"""Files that appear whole or not at all, files that must be there, folders that one run at a time writes to, HTML pages, and lines about them."""
from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC, errorcode
from functools import cache
from pathlib import Path

import numpy as np
import psutil
from filelock import FileLock, Timeout                    # torch itself needs it

log = logging.getLogger(__name__)

PARTIAL = ".partial"                # ends the name of a file that is still being written


def one_line(said: object) -> str:
    """A text, or what an error says, with single spaces; an error without words says its kind."""
    line = " ".join(str(said).split())
    return line or type(said).__name__ if isinstance(said, BaseException) else line


def is_full_disk(error: BaseException) -> bool:
    """Does an error say that nothing more can be written?"""
    return isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT, EFBIG)


def save_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then give it its name: readers see the whole file or none.

    What the system refuses is an OSError that names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in errorcode and (is_full_disk(error) or error.filename is None or str(error.filename) == str(temporary)):
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder's files into another, which may be there. Where some cannot be copied, the OSError is that of the first."""
    try:
        shutil.copytree(source, target, dirs_exist_ok=True)
    except shutil.Error as error:
        _, place, said = error.args[0][0]
        if system := re.match(r"\[Errno (\d+)\]", said):
            raise OSError(int(system[1]), os.strerror(int(system[1])), place) from error
        raise OSError(f"{place}: {said}") from error


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


def utf8_text(path: Path) -> str:
    """A file's text, without a byte order mark."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8 (found the byte {error.object[error.start]:#04x} at {error.start}): save it as UTF-8") from None


def read_json(path: Path) -> dict:
    """The names and values of a JSON config file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a config file (found none): is this a complete model folder?")
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON (found {error}): fetch it again") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path}: expected JSON's names and values (found a {type(config).__name__}): fetch it again")
    return config


@contextmanager
def stored_arrays(path: str | Path, expected: str) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of an .npz. Whatever is wrong with it or, within the context, with what it holds is one ValueError."""
    try:
        if Path(path).exists() and not Path(path).is_file():                    # a pipe would be waited for
            raise ValueError("found no regular file")
        if Path(path).is_file() and not zipfile.is_zipfile(path):
            raise ValueError(f"found no whole .npz archive in its {Path(path).stat().st_size:,} bytes")
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except FileNotFoundError:
        raise
    except Exception as error:                      # of zip, zlib, NumPy and the numbers themselves
        found = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ValueError(f"{path}: expected {expected} ({found}): make it anew") from error


def numbers(arrays: Mapping[str, np.ndarray], name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """The real numbers that an .npz has under a name; a ValueError says what is there instead. shape: theirs, None for any."""
    if name not in arrays:
        raise ValueError(f"found no {name}, but {', '.join(arrays) or 'no arrays'}")
    try:
        array = np.asarray(arrays[name])
    except ValueError:                              # NumPy's, which advises to unpickle it
        raise ValueError(f"{name}: expected real numbers, found Python objects or a damaged array") from None
    if array.dtype.kind not in "iuf" or shape not in (None, array.shape):
        raise ValueError(f"{name}: expected real numbers{f' of shape {shape}' if shape is not None else ''}, "
                         f"found {array.dtype} of shape {array.shape}")
    return array


def is_whole_npz(path: Path) -> bool:
    """Is there an .npz with its list of arrays? That stands at its end, which a file that was cut short has lost; no array is read."""
    try:
        with stored_arrays(path, "arrays"):
            return True
    except (FileNotFoundError, ValueError):
        return False


def existing_file(path: str | Path, kind: str) -> Path:
    """The path, if a file is there. kind: what the error calls it."""
    if not Path(path).is_file():
        found = "a folder" if Path(path).is_dir() else "no file"
        raise FileNotFoundError(f"{str(path) or 'no name'}: expected a {kind} (found {found}): check the path")
    return Path(path)


def entries(folder: Path) -> list[Path]:
    """A folder's files and folders by name, without hidden ones; what else lies there is left out, and the log says so."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if os.path.isfile(path) or os.path.isdir(path):
            found.append(path)
        else:
            say_left_out(path)
    return found


@cache                              # once, however often a folder is listed
def say_left_out(path: Path) -> None:
    """Whoever reads a pipe may wait for ever."""
    log.warning("%s: left out: expected a regular file (found a pipe, a socket, a device, or a link that leads nowhere)", path)


def nearest_existing(path: Path) -> Path:
    """The path itself, or the first of the folders around it that is there; a link that leads nowhere is."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists() or place.is_symlink())


def check_folder(path: Path, remedy: str) -> None:
    """A folder can be made and written to; it is not made yet."""
    try:
        with tempfile.TemporaryFile(dir=nearest_existing(path)):
            pass
    except OSError as error:
        raise ValueError(f"{path}: cannot be written to ({error.strerror}): {remedy}") from error


def check_outputs(outputs: Mapping[str, tuple[str | Path | None, Sequence[str]]], inputs: Mapping[str, str | Path]) -> None:
    """Each output can be written, is none of the inputs and not another output; nothing is made yet.

    outputs: path and suffixes it may have (none: any), by the option's name; a path of None is left out. inputs: paths, by theirs.
    """
    taken = {os.path.realpath(path): name for name, path in inputs.items()}
    for name, (given, suffixes) in outputs.items():
        if given is None:
            continue
        path = Path(given)
        if path.is_dir():
            raise ValueError(f"{name}: expected a file (found the folder {path}): add a file's name")
        if suffixes and path.suffix.lower() not in suffixes:
            raise ValueError(f"{name}: expected a name ending in {', '.join(suffixes)} (found '{path}'): add one of them")
        if other := taken.get(os.path.realpath(path)):
            raise ValueError(f"{name}: expected a file of its own (found {path}, which is {other}'s): choose another name")
        taken[os.path.realpath(path)] = name
        check_folder(path.parent, f"choose another place with {name}")


def remove_half_written(folder: Path) -> None:
    """Removes what `save_atomically` had not finished, in the folder and just below it, where the process that wrote it is gone."""
    for path in [*folder.glob(f".*{PARTIAL}"), *folder.glob(f"*/.*{PARTIAL}")]:
        writer = re.search(rf"\.(\d{{1,7}}){PARTIAL}$", path.name)
        if writer and not psutil.pid_exists(int(writer[1])) and path.is_file():
            path.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, remedy: str = "choose another output", *, beside: bool = False, by: str = "run") -> Iterator[None]:
    """Within the context no other process works on this folder; ValueError where one already does. by: what works there.

    The lock is a hidden file in the folder, or beside it, and goes with the process that holds it, however that ends.
    What a killed process left half written there is removed.
    """
    path = folder.parent / f".{folder.name}.lock" if beside else folder / ".lock"
    lock = FileLock(path, timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()                            # says why it cannot be made, where the lock would only wait
        lock.acquire()
    except Timeout:
        raise ValueError(f"{folder}: another {by} is writing to it: wait for its end, or {remedy}") from None
    except OSError as error:
        raise ValueError(f"{path.parent}: expected a folder that can be written ({error.strerror}): {remedy}") from error
    try:
        remove_half_written(folder)
        yield
    finally:
        path.unlink(missing_ok=True)            # while it is held: who waits for it makes a new one
        lock.release()


def render_page(template: Path, filters: Mapping[str, Callable] | None = None, **values) -> str:
    """The jinja2 template filled with `values`; texts are escaped, an unknown name is an error, `x is finite` tests a number."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined      # a tenth of a second, for who asks

    environment = Environment(loader=FileSystemLoader(template.parent), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    environment.tests["finite"] = math.isfinite
    environment.filters |= filters or {}
    return environment.get_template(template.name).render(values)
