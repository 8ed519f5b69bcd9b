"""Prepared clips as shards in object storage or a folder: tar files, of which a sample reads the bytes of its clip alone.

    shard-<content>.tar     files of some clips, as webdataset lays them out: <clip>.npz, .mp4, .video.safetensors
    manifest.jsonl          the data folder's, and of every clip its shard and the place of each of its files in it
    latents-<target>.json   what cached latents were made with, where there are some

Storage is read by fsspec, which has a driver for most (s3://, gs://, az://, hf://, https://, a folder). A tar file read
from front to back must be replayed when a run resumes; a range of bytes is the same however one gets there.
"""
from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs                       # torch itself needs it
from safetensors import safe_open
from safetensors.torch import save
from tqdm import tqdm

from media.files import one_line, save_text
from training_data.folder import clips_among, DataFolder, ODD_BYTES, parsed_manifest, SKELETON, VIDEO
from training_data.latents import latent_kind, LatentCache, LatentSettings, TARGETS

CLIPS_PER_SHARD = 256                       # of some MB each
COPIED_BYTES = 1 << 22                      # at a time


class Shards:
    """The clips of one set of shards. url: a link to their folder, or the folder."""

    def __init__(self, url: str | Path):
        self.url = str(url).rstrip("/")

    def read(self, name: str, start: int | None = None, end: int | None = None) -> bytes:
        """A file of the folder, or the bytes from `start` to `end` of it."""
        return asked(f"{self.url}/{name}", "cat_file", start=start, end=end)

    def clips(self) -> list[dict]:
        """The manifest's clips, in the order of their names."""
        text = self.read("manifest.jsonl").decode()
        found = clips_among(parsed_manifest(text, f"{self.url}/manifest.jsonl"))
        if found and "shard" not in found[0]:
            raise ValueError(f"{self.url}: expected shards (found a data folder): write them there with "
                             "scripts/prepare_dataset.py -o DATASET --shards")
        return found

    def latent_settings(self, target: str) -> LatentSettings:
        """What the cached latents of a target were made with."""
        return LatentSettings(**json.loads(self.read(f"latents-{target}.json")))

    def place(self, clip: dict, kind: str) -> str:
        """Where a clip's file lies, or nothing where the shards have none."""
        return f"{self.url}/{clip['shard']}, {clip['clip']}.{kind}" if kind in clip["files"] else ""

    @contextmanager
    def at_hand(self, clip: dict, kinds: Sequence[str]) -> Iterator[dict[str, Path]]:
        """A clip's files of these kinds on this machine's disk, within the context."""
        with tempfile.TemporaryDirectory(prefix="clip-") as temporary:
            paths = {kind: Path(temporary) / f"{clip['clip']}.{kind}" for kind in kinds}
            for kind, path in paths.items():
                offset, size = clip["files"][kind]
                content = self.read(clip["shard"], offset, offset + size)
                if len(content) != size:
                    raise ValueError(f"{self.place(clip, kind)}: expected {size} bytes (found {len(content)}): "
                                     "write the shards again")
                path.write_bytes(content)
            yield paths


class FolderClips:
    """The clips of a data folder, with the face of Shards."""

    def __init__(self, folder: DataFolder):
        self.folder, self.clips = folder, folder.clips
        self.cached = {target: {} for target in TARGETS}                                # clip -> shard, once asked for

    def latent_settings(self, target: str) -> LatentSettings:
        """What the cached latents of a target were made with."""
        cache = LatentCache(self.folder, target)
        settings, self.cached[target] = cache.settings(), cache.index()
        return settings

    def place(self, clip: dict, kind: str) -> str:
        """Where a clip's file lies, or nothing where there is none."""
        path = self._path(clip["clip"], kind)
        return str(path) if path and path.is_file() else ""

    @contextmanager
    def at_hand(self, clip: dict, kinds: Sequence[str]) -> Iterator[dict[str, Path]]:
        """A clip's files of these kinds."""
        yield {kind: self._path(clip["clip"], kind) for kind in kinds}

    def _path(self, name: str, kind: str) -> Path | None:
        if kind == SKELETON:
            return self.folder.skeleton(name)
        return self.folder.clip(name) if kind == VIDEO else self.cached[kind.partition(".")[0]].get(name)


def clips_behind(path: str | Path) -> FolderClips | Shards:
    """The clips of a prepared data folder, or of its shards in a folder or at a link."""
    if "://" in str(path):
        return Shards(path)
    folder = DataFolder(path)
    return Shards(path) if any("shard" in line for line in folder.read_manifest()) else FolderClips(folder)


def asked(url: str, what: str, *arguments, **named) -> Any:
    """What a method of fsspec's file systems gives for a file; a ValueError with one line where the storage refuses."""
    try:
        files, path = url_to_fs(url)                    # anew: a forked process must not use its parent's connection
        return getattr(files, what)(path, *arguments, **named)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{url}: expected shards of a data folder (found no such file): check the link; "
                                "scripts/prepare_dataset.py -o DATASET --shards writes them") from error
    except ImportError as error:
        raise ValueError(f"{url}: expected the driver of that storage to be installed (found none): {error}") from error
    except Exception as error:                          # the drivers' own kinds have no name in common
        raise ValueError(f"{url}: expected storage that answers ({one_line(error)}): check the link and the credentials") from error


def write_shards(folder: DataFolder, url: str, clips_per_shard: int = CLIPS_PER_SHARD, *, shown: bool = True) -> None:
    """Write a data folder's clips, with the latents that are cached, as shards; the manifest comes last.

    A shard is named by its content: one that is there already is kept, and readers of an earlier manifest lose nothing.
    """
    url, clips, lines = url.rstrip("/"), folder.clips(), []
    caches = [cache for cache in (LatentCache(folder, target) for target in TARGETS) if cache.path.is_dir()]
    latents = {cache.path.name: cache.index() for cache in caches}                          # target -> clip -> its file
    for start in tqdm(range(0, len(clips), clips_per_shard), desc="sharding", unit="shard", disable=not shown):
        part = clips[start:start + clips_per_shard]
        with tempfile.TemporaryDirectory(prefix="shard-") as temporary:
            path = Path(temporary) / "shard.tar"
            places = write_shard(path, folder, [clip["clip"] for clip in part], latents)
            with path.open("rb") as file:
                name = f"shard-{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}.tar"
            if not (asked(f"{url}/{name}", "exists") and asked(f"{url}/{name}", "size") == path.stat().st_size):
                store(url, name, path)
        lines += [clip | {"shard": name, "files": places[clip["clip"]]} for clip in part]
    with tempfile.TemporaryDirectory(prefix="shard-") as temporary:
        path = Path(temporary) / "text"
        for cache in caches:
            path.write_text(json.dumps(asdict(cache.settings())))
            store(url, f"latents-{cache.path.name}.json", path)
        save_text(path, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), ODD_BYTES)
        store(url, "manifest.jsonl", path)


def write_shard(path: Path, folder: DataFolder, names: list[str],
                latents: dict[str, dict[str, Path]]) -> dict[str, dict[str, tuple[int, int]]]:
    """One tar file of some clips; of every clip the (offset, size) of each of its files. Equal clips give equal bytes."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in names:
            for kind, content in contents(folder, name, latents):
                entry = tarfile.TarInfo(f"{name}.{kind}")                                   # of no owner, at time 0
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    places = {name: {} for name in names}
    with tarfile.open(path) as tar:
        for entry in tar:
            name, _, kind = entry.name.partition(".")
            places[name][kind] = entry.offset_data, entry.size
    return places


def contents(folder: DataFolder, name: str, latents: dict[str, dict[str, Path]]) -> Iterator[tuple[str, bytes]]:
    """A clip's files: what they are called, and what they hold."""
    yield SKELETON, folder.skeleton(name).read_bytes()
    yield VIDEO, folder.clip(name).read_bytes()
    for target, cached in latents.items():
        if name in cached:
            with safe_open(cached[name], "pt") as file:
                yield latent_kind(target), save({key: file.get_tensor(key) for key in file.keys()
                                                 if key.partition(".")[0] == name})


def store(url: str, name: str, path: Path) -> None:
    """Put a file into the folder at `url`: readers see the whole file or none."""
    asked(url, "makedirs", exist_ok=True)
    files, target = url_to_fs(f"{url}/{name}")
    try:
        with files.transaction, files.open(target, "wb") as there, path.open("rb") as here:
            shutil.copyfileobj(here, there, COPIED_BYTES)
    except OSError as error:
        raise ValueError(f"{url}/{name}: expected storage that can be written ({error}): check the link and the "
                         "credentials") from error
