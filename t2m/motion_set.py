"""Motions with captions to train on: a folder laid out as HumanML3D, or the cache of our procedural motions.

HumanML3D: new_joint_vecs/NAME.npy (T, 263), texts/NAME.txt (caption#tagged words#from#to, seconds), train.txt, val.txt,
test.txt, Mean.npy, Std.npy. Ours: rows.npy, starts.npy, facts.json, mean.npy, std.npy, the last motions held out.
"""
from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from t2m.features import NUM_FEATURES
from t2m.motion import MOTION_FPS
from t2m.networks import FRAMES_PER_STEP

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
SHORTEST, LONGEST = 40, 196             # rows, of the published training; longer ones are cut
HELD_OUT_SHARE = 50                     # of our cache, one motion in so many
STATISTICS_REMEDY = "make it with scripts/prepare_humanml3d.py"
LOOKED_AT = 256                         # motions whose numbers are looked at before a training; the others when they are first read


@dataclass(frozen=True)
class Entry:
    """One motion, or the part of one that its captions are about."""

    source: Path | slice                # file with (T, 263) rows, or rows of the cache
    first: int                          # row
    rows: int                           # how many
    captions: tuple[str, ...]


@dataclass(frozen=True)
class MotionSet:
    """Entries to sample from; rows are read when asked for."""

    entries: tuple[Entry, ...]
    mean: Tensor                        # (263,)
    std: Tensor                         # (263,)
    cache: np.ndarray | None = None     # (N, 263), where the rows are in one array

    @classmethod
    def load(cls, folder: str | Path, split: str) -> MotionSet:
        """The motions of a split, from either layout."""
        folder = Path(folder)
        if split not in SPLITS:
            raise ValueError(f"split: expected one of {', '.join(SPLITS)} (found {split!r})")
        if (folder / "rows.npy").exists():
            return cls._from_cache(folder, split)
        if not (folder / "new_joint_vecs").is_dir():
            raise FileNotFoundError(f"{folder}: expected new_joint_vecs/ (HumanML3D) or rows.npy (ours) (found neither)"
                                    ": run scripts/prepare_humanml3d.py, or check the path; on a CPU python "
                                    "demo/train_t2m.py makes small ones in data/t2m/motions")
        mean, std = (statistics_file(folder / f"{name}.npy", positive=name == "Std") for name in ("Mean", "Std"))
        entries = [entry for name in names_with_files(folder, split) for entry in entries_of(folder, name)]
        if not entries:
            raise ValueError(f"{folder}: expected motions of {SHORTEST} rows or more in {split}.txt (found none): "
                             "list longer ones there")
        return cls(tuple(entries), mean, std)._looked_at()

    @classmethod
    def _from_cache(cls, folder: Path, split: str) -> MotionSet:
        starts, facts = read_array(folder / "starts.npy"), json.loads((folder / "facts.json").read_text())
        held_out = max(1, len(facts) // HELD_OUT_SHARE)
        chosen = range(len(facts) - held_out) if split == "train" else range(len(facts) - held_out, len(facts))
        entries = tuple(Entry(slice(int(starts[i]), int(starts[i + 1])), 0, int(starts[i + 1] - starts[i]),
                              (facts[i]["caption"],)) for i in chosen)
        if not entries:
            raise ValueError(f"{folder / 'facts.json'}: expected two motions or more, as the last is held out (found "
                             f"{len(facts)}): make more with python demo/train_t2m.py")
        mean, std = (statistics_file(folder / f"{name}.npy", positive=name == "std") for name in ("mean", "std"))
        return cls(entries, mean, std, read_array(folder / "rows.npy", mmap_mode="r"))._looked_at()

    def _looked_at(self) -> MotionSet:
        """Itself, when the numbers of motions spread evenly over it are fit to be learnt from; `rows` looks at all that it reads."""
        for index in np.linspace(0, len(self) - 1, min(len(self), LOOKED_AT)).astype(int):
            self.rows(index, longest=self.entries[index].rows)
        return self

    def __len__(self) -> int:
        return len(self.entries)

    def rows(self, index: int, longest: int = LONGEST) -> Tensor:
        """(T, 263) float32, denormalised, T a multiple of 4; a ValueError names the file whose rows are not all finite."""
        entry = self.entries[index]
        whole = self.cache[entry.source] if self.cache is not None else read_array(entry.source, mmap_mode="r")
        count = min(entry.rows, longest) // FRAMES_PER_STEP * FRAMES_PER_STEP
        found = np.array(whole[entry.first:entry.first + count], dtype=np.float32)
        broken = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(broken):
            path, first = (entry.source, entry.first) if self.cache is None else (self.cache.filename, entry.source.start)
            raise ValueError(f"{path}: expected finite numbers (found NaN or infinite ones in {len(broken)} rows, first row "
                             f"{first + broken[0]}): make the file anew, or leave the motion out")
        return torch.from_numpy(found)

    def each_once(self, count: int, seed: int) -> tuple[list[int], list[str]]:
        """At most `count` motions in random order, none twice, and one caption each."""
        rng = np.random.default_rng(seed)
        indices = rng.permutation(len(self.entries))[:count].tolist()
        return indices, [str(rng.choice(self.entries[index].captions)) for index in indices]


class MotionWindows(Dataset):
    """Sample p of the endless stream, whatever the index: a random window of a motion that is long enough.

    An item: `rows` (window, 263) denormalised, `position`.
    """

    def __init__(self, motions: MotionSet, window: int, seed: int):
        self.motions, self.window, self.seed = motions, window, seed
        self.long_enough = [index for index, entry in enumerate(motions.entries) if entry.rows >= window]
        if not self.long_enough:
            raise ValueError(f"window: expected motions of {window} rows (found at most "
                             f"{max(entry.rows for entry in motions.entries)}): lower window")

    def __len__(self) -> int:
        return len(self.long_enough)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        _, position = key
        rng = np.random.default_rng((self.seed, position))
        rows = self.motions.rows(self.long_enough[int(rng.integers(len(self)))], longest=10**9)
        first = int(rng.integers(len(rows) - self.window + 1))
        return {"rows": rows[first:first + self.window], "position": torch.tensor(position)}


class CaptionedMotions(Dataset):
    """Sample p of the endless stream, whatever the index: a random motion and one of its captions.

    An item: `motion` (its number), `caption`, `position`.
    """

    def __init__(self, motions: MotionSet, seed: int):
        self.motions, self.seed = motions, seed

    def __len__(self) -> int:
        return len(self.motions)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor | str]:
        _, position = key
        rng = np.random.default_rng((self.seed, position))
        index = int(rng.integers(len(self)))
        caption = str(rng.choice(self.motions.entries[index].captions))
        return {"motion": torch.tensor(index), "caption": caption, "position": torch.tensor(position)}


def padded(motions: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Motions (T_i, 263) as (B, T, 263), zero beyond each length, and the lengths (B,)."""
    lengths = torch.tensor([len(rows) for rows in motions])
    return torch.nn.utils.rnn.pad_sequence(motions, batch_first=True), lengths


def files_of(folder: Path, name: str) -> tuple[Path, Path]:
    """Where a motion's rows and its captions are."""
    return folder / "new_joint_vecs" / f"{name}.npy", folder / "texts" / f"{name}.txt"


def names_with_files(folder: Path, split: str) -> list[str]:
    """The motions of a split that have both files; HumanML3D's lists also name motions that were filtered out."""
    names = (folder / f"{split}.txt").read_text().split()
    missing = {name: file for name in names for file in files_of(folder, name) if not file.is_file()}
    if missing:
        first, says = next(iter(missing.values())), f"{len(missing)} of {len(names)} motions in {split}.txt"
        if len(missing) == len(names):
            raise FileNotFoundError(f"{first}: expected this file (found none, as for {says}): bring new_joint_vecs/ "
                                    "and texts/ there, or run scripts/prepare_humanml3d.py")
        log.warning("%s: no such file: %s are left out, this is the first", first, says)
    return [name for name in names if name not in missing]


def entries_of(folder: Path, name: str) -> list[Entry]:
    """What a motion's file and captions give: the whole motion, and each part that a caption is about."""
    path, texts = files_of(folder, name)
    shape = read_array(path, mmap_mode="r").shape
    if len(shape) != 2 or shape[1] != NUM_FEATURES:
        raise ValueError(f"{path}: expected (T, {NUM_FEATURES}) features (found {shape}): make them with "
                         "scripts/prepare_humanml3d.py")
    whole, entries = [], []
    for line in filter(str.strip, texts.read_text(encoding="utf-8").splitlines()):
        try:
            caption, _, start, end = line.strip().rsplit("#", 3)
            first, last = (int(0 if value == "nan" else float(value) * MOTION_FPS) for value in (start, end))
        except ValueError:
            raise ValueError(f"{texts}: expected lines caption#tagged words#from#to, seconds (found '{line}')") from None
        if first == last == 0:
            whole.append(caption)
        elif last - first >= SHORTEST:
            entries.append(Entry(path, first, min(last, shape[0]) - first, (caption,)))
    if whole:
        entries.append(Entry(path, 0, shape[0], tuple(whole)))
    return [entry for entry in entries if entry.rows >= SHORTEST]


def read_array(path: Path, mmap_mode: str | None = None) -> np.ndarray:
    """An .npy file of numbers; a ValueError names one that is none, or damaged."""
    try:
        array = np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path}: expected a whole .npy file of numbers ({str(error).split('. ')[0]}): "
                         "make it anew") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}: expected a whole .npy file of numbers (found an archive): make it anew")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{path}: expected a whole .npy file of numbers (found {array.dtype}): make it anew")
    return array


def statistics_file(path: Path, *, positive: bool) -> Tensor:
    """(263,) float32 from Mean.npy or, positive=True, Std.npy."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the features' mean or deviation (found none): "
                                "run scripts/prepare_humanml3d.py")
    values = torch.from_numpy(read_array(path)).float()
    if values.shape != (NUM_FEATURES,):
        raise ValueError(f"{path}: expected {NUM_FEATURES} numbers (found shape {tuple(values.shape)}): {STATISTICS_REMEDY}")
    if broken := int((~values.isfinite()).sum()):
        raise ValueError(f"{path}: expected finite numbers (found {broken} NaN or infinite ones): {STATISTICS_REMEDY}")
    if positive and (values <= 0).any():
        negative = int((values < 0).sum())
        found = f"{negative} below 0" if negative else f"{int((values == 0).sum())} zeros"
        raise ValueError(f"{path}: expected positive deviations (found {found}): {STATISTICS_REMEDY}")
    return values
