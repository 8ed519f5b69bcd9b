"""MimicMotion's own test.yaml, read as it is: a list of cases, each the settings of one run.

    base_model_path: stabilityai/stable-video-diffusion-img2vid-xt-1-1
    ckpt_path: models/MimicMotion_1-1.pth
    test_case:
      - ref_video_path: ...
        ref_image_path: ...
        num_frames: 72          # frames of a tile, not of the video
"""
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from configs import yaml_mapping

log = logging.getLogger(__name__)

OPTION = "--inference_config"
FOR_ALL = {"base_model_path": "generator.svd", "ckpt_path": "generator.checkpoint"}         # their key: ours
FILES = {"ref_video_path": "driving_video", "ref_image_path": "image"}
NUMBERS = {                                                                                 # their key: ours, type
    "num_frames": ("generator.tile_size", int), "frames_overlap": ("generator.tile_overlap", int),
    "num_inference_steps": ("generator.num_inference_steps", int),
    "noise_aug_strength": ("generator.noise_aug_strength", float), "guidance_scale": ("generator.guidance_scale", float),
    "resolution": ("resolution", int), "sample_stride": ("sample_stride", int),
    "fps": ("fps", float), "seed": ("seed", int),
}


@dataclass(frozen=True)
class Case:
    """One run, as key=value assignments for inference.py."""
    where: str                     # file and number, for messages
    assignments: list[str]


def without_option(argv: list[str]) -> tuple[Path | None, list[str]]:
    """The path after --inference_config, if it is there, and all other arguments."""
    rest = list(argv)
    for i, argument in enumerate(argv):
        option, equals, value = argument.partition("=")
        if option == OPTION:
            value = value if equals else "".join(argv[i + 1:i + 2])
            if not value or value.startswith("-"):
                raise ValueError(f"{OPTION}: expected MimicMotion's test.yaml, as in {OPTION} "
                                 "MimicMotion/configs/test.yaml")
            del rest[i:i + (1 if equals else 2)]
            return Path(value), rest
    return None, rest


def is_musepose(path: Path) -> bool:
    """Is this MusePose's list of test_cases, and not MimicMotion's test_case?"""
    try:
        return "test_cases" in yaml_mapping(path)
    except ValueError:                                       # `read_cases` says what is wrong with it
        return False


def read_cases(path: Path, svd: str, checkpoint: str) -> list[Case]:
    """Every case of the file; a mistake in one of them is a ValueError before any has run.

    svd, checkpoint: our own places, taken for weights that the file names otherwise and that are not there.
    """
    content = yaml_mapping(path)
    cases = content.get("test_case")
    if not isinstance(cases, list) or not cases or not all(isinstance(case, dict) for case in cases):
        raise ValueError(f"{path}: expected a test_case list of cases with ref_video_path and ref_image_path "
                         "(found none)")
    check_known(content, {*FOR_ALL, "test_case"}, str(path))
    common = []
    for key, place_of, ours in (("base_model_path", base_model, svd), ("ckpt_path", checkpoint_file, checkpoint)):
        if key in content:
            common.append(f"{FOR_ALL[key]}={place_of(text(content, key, str(path)), path, ours)}")
    result, names = [], set()
    for number, case in enumerate(cases, start=1):
        where = f"{path}, case {number}"
        own = assignments(case, path, where)
        name = "".join(letter if letter.isprintable() else " " for letter in
                       f"{Path(case['ref_video_path']).stem}_{Path(case['ref_image_path']).stem}").strip().lstrip(".-") or "case"
        name = next(free for free in (name, *(f"{name}_{i}" for i in range(2, len(cases) + 1))) if free not in names)
        names.add(name)
        result.append(Case(where, [*common, *own, f"name={name}"]))
    return result


def assignments(case: dict, path: Path, where: str) -> list[str]:
    """key=value for one case; what it does not say is left to the config."""
    check_known(case, {*FILES, *NUMBERS}, where)
    result = []
    for key, ours in FILES.items():
        name = text(case, key, where)
        result.append(f"{ours}={beside(name, path) or name}")
    for key, (ours, kind) in NUMBERS.items():
        value = case.get(key)
        if key in case and (isinstance(value, bool) or not isinstance(value, (int, kind))):
            raise ValueError(f"{where}: {key}: expected a {'whole ' if kind is int else ''}number (found {value!r})")
        result += [f"{ours}={value}"] if key in case else []
    return result


def text(values: dict, key: str, where: str) -> str:
    """A value that must be there and be a name."""
    if not isinstance(values.get(key), str) or not values[key]:
        raise ValueError(f"{where}: {key}: expected a file or folder (found {values.get(key)!r})")
    return values[key]


def check_known(values: dict, known: set[str], where: str) -> None:
    unknown = [str(key) for key in values if key not in known]
    if unknown:
        raise ValueError(f"{where}: unknown key {', '.join(unknown)}: known are {', '.join(sorted(known))}")


def beside(name: str, path: Path, exists: Callable[[Path], bool] = Path.is_file) -> Path | None:
    """The file a case names: from here, or from the folders its test.yaml lies in (MimicMotion runs from one above)."""
    return next((place for place in (Path(name), path.parent / name, path.parent.parent / name) if exists(place)), None)


def base_model(name: str, path: Path, ours: str) -> str:
    """Where Stable Video Diffusion lies: the folder named, the Hugging Face cache of the repository named, or ours."""
    if place := beside(name, path, Path.is_dir):
        return str(place)
    cached = try_to_load_from_cache(name, "vae/config.json") if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) else None
    if isinstance(cached, str):
        return str(Path(cached).parent.parent)
    log.warning("%s: base_model_path %s is not on this machine: %s is used", path, name, ours)
    return ours


def checkpoint_file(name: str, path: Path, ours: str) -> str:
    """Where MimicMotion's checkpoint lies: the file named, or one of that name beside ours."""
    same_name = Path(ours).parent / Path(name).name
    return str(beside(name, path) or (same_name if same_name.is_file() else name))
