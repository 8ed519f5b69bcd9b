"""From prompts to a folder of generated videos: one per prompt and seed, made where it is missing, with a gallery.

The model is a complete pipeline folder, or trained tensors and the base they belong to. A prompts file has one `seed,prompt`
a line. The folder:

    run.json        the settings all videos were made with, and what each file is
    <prompt>_seed<seed>.mp4
    exemplars/      copies of the clips the motion was learnt from, where they were named
    gallery.html    all of it in a browser, without a server

The same command again makes what is missing. Several processes share the work.
"""
from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from media.files import locked, read_json, render_page, save_text, utf8_text
from media.video_reader import frame_stream, probe, videos_in
from media.video_writer import write_video
from newmove import text_to_video, wan
from newmove.objective import NAME
from newmove.text_to_video import ALIASES, TextToVideo
from newmove.wan import WanTextToVideo
from runtime.processes import ALONE, Processes
from runtime.weights import metadata, read_tensors

log = logging.getLogger(__name__)

# --------------------------------------------------------------------------------------------- the model that -m names

NAMES = (NAME, wan.NAME)                 # of what was trained
SAMPLED_BYTES = 1 << 20                  # of a weights file's beginning and end, for its mark


def weights_path(weights: str | Path) -> Path:
    """What -m names: a pipeline folder, or the file of trained tensors, by itself or in a run's folder."""
    path = Path(ALIASES.get(str(weights), weights))
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected a model's folder or {NAME} (found none): check the path")
    if path.is_file() or (path / "model_index.json").is_file():
        return path
    if found := trained_file(path):
        return found
    raise ValueError(f"{path}: expected model_index.json or {NAME} (found neither): is this the folder of a model?")


def trained_file(path: Path) -> Path | None:
    """The file that train_motion_customization.py wrote, by itself or in a run's folder; None where there is none."""
    places = [path] if path.is_file() else [folder / name for folder in (path, path / "latest") for name in NAMES]
    return next((place for place in places if place.is_file() and place.name in NAMES), None)


def check_weights(weights: str | Path, base: str | Path | None = None) -> Path:
    """Look at a customised model without loading it; the folder of the pipeline it needs."""
    path = weights_path(weights)
    if path.is_dir():
        return check_folder(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{path}: expected {NAME} or a pipeline folder (found '{path.name}'): check -m")
    notes = metadata(path)
    if "fingerprint" not in notes:
        raise ValueError(f"{path}: expected tensors that train_motion_customization.py wrote (found none of its notes): "
                         "is this another model's file?")
    folder = check_folder(Path(base or notes["base"]))
    if module_of(folder).fingerprint(folder) != notes["fingerprint"]:
        raise ValueError(f"{path}: expected the base it was trained from, {notes['base']} (found another model in "
                         f"{folder}): name the right folder with --base")
    return folder


def module_of(folder: Path):
    """The module that knows this kind of pipeline folder."""
    return wan if read_json(folder / "model_index.json").get("_class_name") == "WanPipeline" else text_to_video


def check_folder(folder: Path) -> Path:
    """The folder, when it holds a model that is known here; a ValueError says what else it is."""
    folder = Path(ALIASES.get(str(folder), folder))
    is_wan = (folder / "model_index.json").is_file() and module_of(folder) is wan
    return wan.check_wan(folder) if is_wan else text_to_video.check_base(folder)


def load_customized(weights: str | Path, base: str | Path | None = None, device: str | torch.device = "cpu",
                    dtype: torch.dtype = torch.float32) -> TextToVideo | WanTextToVideo:
    """The model that -m names, ready to sample. base: where the pipeline lies now, if not where it was trained from."""
    path, folder = weights_path(weights), check_weights(weights, base)
    is_wan = module_of(folder) is wan
    model = (WanTextToVideo if is_wan else TextToVideo).load(folder, device, dtype)
    if path.is_file():
        apply = wan.apply_lora if is_wan else apply_trained
        apply(model.network, read_tensors(path, None), path)
    return model


@torch.no_grad()
def apply_trained(unet: torch.nn.Module, trained: dict[str, Tensor], source: Path) -> None:
    """Put trained tensors in their places, all of them."""
    own = dict(unet.named_parameters())
    wrong = next((name for name, tensor in trained.items() if name not in own or own[name].shape != tensor.shape), None)
    if wrong or not trained:
        raise ValueError(f"{source}: expected tensors of this UNet (found '{wrong or 'none'}'): was it trained from "
                         "another base?")
    for name, tensor in trained.items():
        own[name].copy_(tensor)


def mark(weights: str | Path) -> str:
    """16 hex digits by which a run knows its weights again, from size, beginning and end of the file."""
    path = weights_path(weights)
    if path.is_dir():
        kinds = ("unet/*.safetensors", "unet/*.bin", "transformer/*.safetensors")
        path = next(file for kind in kinds for file in sorted(path.glob(kind)))
    size, digest = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        digest.update(str(size).encode() + file.read(SAMPLED_BYTES))
        file.seek(max(0, size - SAMPLED_BYTES))
        digest.update(file.read())
    return digest.hexdigest()[:16]


# ------------------------------------------------------------------------------------------------------- prompts

SEEDS = range(-2**63, 2**64)            # what torch takes; -1 gives the same video as 2**64 - 1
INTEGER = re.compile(r"[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?[0-9][0-9_.eE+-]*")
LINE_END = re.compile(r"\r\n|\n|\r")    # and no others: a prompt may hold a form feed or U+2028
MANY_DIGITS = 25                        # longer numbers are out of range whatever they are


@dataclass(frozen=True)
class Prompt:
    """One video to make."""
    seed: int
    text: str


def read_prompts(path: str | Path, default_seed: int | str) -> list[Prompt]:
    """The prompts of a file, all checked before any model is loaded.

    A line is split once at its first comma, and each seed belongs to its own line (published: to the next one). Empty
    lines and lines that begin with # are left out; a line without a seed takes `default_seed`, which may be "random".
    Quotation marks belong to the prompt. Errors name file and line.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a prompts file (found none): check the path")
    found = []
    for number, line in enumerate(LINE_END.split(utf8_text(path)), start=1):
        line = line.strip()
        if line and not line.startswith("#"):
            found.append(prompt_of(line, default_seed, f"{path}, line {number}"))
    if not found:
        raise ValueError(f"{path}: expected lines of seed,prompt (found no prompts): write one, as in 7,A man waves.")
    return found


def prompt_of(line: str, default_seed: int | str, where: str) -> Prompt:
    """One line as a seed and a prompt."""
    first, comma, rest = (part.strip() for part in line.partition(","))
    if not comma or (first and not NUMBER.fullmatch(first)):
        return Prompt(chosen(default_seed), line)
    if not rest:
        raise ValueError(f"{where}: expected a prompt after the comma (found an empty prompt): write one")
    if not first:
        return Prompt(chosen(default_seed), rest)
    if not INTEGER.fullmatch(first):
        raise ValueError(f"{where}: expected an integer before the comma (found '{first}'; the seed is not an integer): "
                         "write it in plain digits")
    return Prompt(checked_seed(first, where), rest)


def checked_seed(digits: str, where: str) -> int:
    """The number, within what torch's generator takes. Thousands of digits are never converted."""
    sign, significant = digits[0] == "-", digits.lstrip("+-").lstrip("0") or "0"
    seed = None if len(significant) > MANY_DIGITS else int(significant) * (-1 if sign else 1)
    if seed is None or seed not in SEEDS:                  # None would be looked for one by one
        shown = significant if len(significant) <= MANY_DIGITS else f"{significant[:12]}..., {len(significant)} digits"
        raise ValueError(f"{where}: expected a seed from -2**63 to 2**64-1 (found {shown}: seed out of range): "
                         "choose a smaller one")
    return seed


def seed_setting(text: str) -> int | str:
    """The -s option: an integer, or `random` for a new seed per prompt."""
    text = text.strip()
    if text == "random":
        return text
    if not INTEGER.fullmatch(text):
        raise ValueError(f"-s: expected an integer or random (found '{text}'): for example -s 44")
    return checked_seed(text, "-s")


def chosen(seed: int | str) -> int:
    """A given seed, or a new one that the file's name and the gallery then show."""
    return secrets.randbelow(2**31) if seed == "random" else int(seed)


def prompts_from(option: str, default_seed: int | str) -> list[Prompt]:
    """The -p option: a prompts file, or prompts with | between them."""
    if Path(option).suffix.lower() == ".txt" or os.path.isfile(option):      # a prompt too long for a file's name is none
        return read_prompts(option, default_seed)
    texts = [text.strip() for text in option.split("|")]
    if not all(texts):
        raise ValueError("-p: expected a prompt on each side of | (found an empty prompt): remove the | or write one")
    return [Prompt(chosen(default_seed), text) for text in texts]


# -------------------------------------------------------------------------------------------------------- videos

TEMPLATE = Path(__file__).with_name("gallery.html.j2")

FPS = 8                              # of ZeroScope's and ModelScope's videos, as published
MAX_STEM_BYTES = 160                 # of the prompt in a file name; file systems allow 255 for all of it
EXEMPLAR_SIDE, EXEMPLAR_SECONDS = 256, 6      # pixels, seconds: copies in the gallery
NOT_WRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)


@dataclass(frozen=True)
class Video:
    """A video of a run: the file's name in the folder and what it shows."""
    file: str
    prompt: str
    seed: int


@dataclass(frozen=True)
class Exemplar:
    """A clip the motion was learnt from: its file, relative to the gallery's folder, and its caption."""
    file: str
    caption: str


def file_stems(texts: Iterable[str]) -> dict[str, str]:
    """Each text as a file's name, which stays inside its folder and is no other text's, also where case does not count.

    A text that cannot be read back from its name, or shares it, gets eight hex digits of its hash, whatever the order is.
    """
    safe = {text: re.sub(r"[^\w\-.,']+", "_", text).lstrip(".").encode()[:MAX_STEM_BYTES].decode(errors="ignore") for text in texts}
    owners = Counter(map(str.casefold, safe.values()))
    return {text: stem if stem.replace("_", " ") == text and owners[stem.casefold()] == 1 else
            f"{stem}_{hashlib.sha256(text.encode()).hexdigest()[:8]}" for text, stem in safe.items()}


def planned(prompts: Sequence[Prompt]) -> list[Video]:
    """The videos of these prompts, each once."""
    stems = file_stems(prompt.text for prompt in prompts)
    return [Video(f"{stems[prompt.text]}_seed{prompt.seed}.mp4", prompt.text, prompt.seed) for prompt in dict.fromkeys(prompts)]


def claim(folder: Path, settings: dict, videos: Sequence[Video]) -> list[Video]:
    """Note the settings and videos in run.json; all videos the folder is to hold, those of earlier commands too.

    A folder that holds videos made with other settings is refused.
    """
    path = folder / "run.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"settings": settings, "videos": []}
    except OSError as error:
        raise ValueError(f"{folder}: expected a folder that can be written ({error.strerror}): choose another") from None
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON ({error}): choose another folder, or delete it") from None
    there = known["settings"]
    changed = [f"{key}: {there.get(key)} there, {settings.get(key)} now" for key in sorted(there.keys() | settings.keys())
               if there.get(key) != settings.get(key)]
    if changed:
        raise ValueError(f"{folder}: expected an empty folder or one of these settings (found a run with others: "
                         f"{'; '.join(changed)}): choose another with -o")
    everything = {video["file"]: Video(**video) for video in known["videos"]} | {video.file: video for video in videos}
    content = {"settings": settings, "videos": [vars(video) for video in everything.values()]}
    save_text(path, json.dumps(content, indent=1, ensure_ascii=False))
    return list(everything.values())


def generate(make: Callable[[str, int], np.ndarray], prompts: Sequence[Prompt], folder: Path, settings: dict, *,
             fps: float = FPS, exemplars: Path | None = None, processes: Processes = ALONE) -> Path:
    """Make the videos that are missing in `folder`, and the gallery of all; the gallery's path.

    make: (prompt, seed) -> frames (F, H, W, 3) uint8 RGB. exemplars: a folder of clips to show beside them.
    """
    with writing(folder), ExitStack() as stack:
        processes.agreed(lambda: stack.enter_context(locked(folder, "choose another with -o")) if processes.is_main else None)
        videos = planned(prompts)
        everything = processes.shared(processes.agreed(lambda: claim(folder, settings, videos) if processes.is_main else None))
        missing = processes.shared([video for video in videos if not (folder / video.file).is_file()])
        if processes.is_main and len(videos) > len(missing):
            log.info("%d of %d videos are already in %s", len(videos) - len(missing), len(videos), folder)
        shown = processes.agreed(lambda: copies(exemplars, folder) if exemplars and processes.is_main else [])
        processes.agreed(lambda: make_missing(make, missing, everything, shown, folder, fps, processes))
        if processes.is_main:
            gallery(everything, shown, folder)
    return folder / "gallery.html"


def make_missing(make, missing: Sequence[Video], everything: Sequence[Video], shown: Sequence[Exemplar], folder: Path,
                 fps: float, processes: Processes) -> None:
    """This process's share of the videos; the main process keeps the gallery up to date."""
    share = missing[processes.rank::processes.count]
    for video in tqdm(share, desc="videos", unit="video", disable=not processes.is_main):
        with writing(folder):
            write_video(folder / video.file, make(video.prompt, video.seed), fps)
            if processes.is_main:
                gallery(everything, shown, folder)


def gallery(everything: Sequence[Video], shown: Sequence[Exemplar], folder: Path) -> None:
    """Write gallery.html of what is there by now; styles and script are inside."""
    videos = [video for video in everything if (folder / video.file).is_file()]
    save_text(folder / "gallery.html", render_page(TEMPLATE, title=folder.resolve().name, videos=videos, exemplars=shown))


def copies(exemplars: Path, folder: Path) -> list[Exemplar]:
    """Small H.264 copies of the exemplars in folder/exemplars, which any browser plays."""
    found, clips = [], videos_in(exemplars)
    names = file_stems(clips)
    for stem, path in clips.items():
        fps, target = probe(path).fps, folder / "exemplars" / f"{names[stem]}.mp4"
        if not target.is_file():
            frames = islice(frame_stream(path, max_short_side=EXEMPLAR_SIDE), round(EXEMPLAR_SECONDS * fps))
            write_video(target, frames, fps)
        beside = path.with_suffix(".txt")
        caption = utf8_text(beside).strip() if beside.is_file() else stem
        found.append(Exemplar(f"exemplars/{target.name}", caption))
    return found


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Within the context, a disk that fills or cannot be written is one line; what is whole stays."""
    try:
        yield
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        done = len(list(folder.glob("*.mp4")))
        raise ValueError(f"{folder}: {os.strerror(error.errno)} ({done} videos are whole): make room and run the same "
                         "command again, or choose another folder with -o") from error
