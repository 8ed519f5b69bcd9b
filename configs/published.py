"""What the published programs are told, as settings of ours: the flags of training scripts (Fleximo's README, SVD_Xtend's
train_svd.py), the config.yaml of motion customisation, and MimicMotion's test.yaml, a list of cases, each one run:

    base_model_path: stabilityai/stable-video-diffusion-img2vid-xt-1-1
    ckpt_path: models/MimicMotion_1-1.pth
    test_case:
      - ref_video_path: ...
        ref_image_path: ...
        num_frames: 72          # frames of a tile, not of the video
"""
from __future__ import annotations

import difflib
import json
import logging
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from configs import yaml_mapping

log = logging.getLogger(__name__)

# ------------------------------------------------------------------------------------------- flags of training scripts

FLAGS = {                                    # flag with a value -> key
    "pretrained_model_name_or_path": "svd",
    "pretrain_unet": "checkpoint",
    "output_dir": "train.output",
    "width": "width",
    "height": "height",
    "num_frames": "num_frames",
    "per_gpu_batch_size": "train.batch_size",
    "gradient_accumulation_steps": "train.gradient_accumulation",
    "max_train_steps": "train.max_steps",
    "checkpointing_steps": "train.checkpoint_every",
    "checkpoints_total_limit": "train.checkpoints_total_limit",
    "resume_from_checkpoint": "train.resume_from",
    "learning_rate": "train.learning_rate",
    "lr_warmup_steps": "train.warmup_steps",
    "adam_weight_decay": "train.weight_decay",
    "max_grad_norm": "train.max_grad_norm",
    "conditioning_dropout_prob": "train.conditioning_dropout",
    "mixed_precision": "train.mixed_precision",
    "validation_steps": "train.validate_every",
    "num_validation_images": "train.validation_videos",
    "num_workers": "train.num_workers",
    "report_to": "train.report_to",
    "seed": "train.seed",
}
SWITCHES = {                                 # flag without a value -> assignment
    "enable_xformers_memory_efficient_attention": "train.attention=xformers",
    "gradient_checkpointing": "train.gradient_checkpointing=true",
    "use_8bit_adam": "train.optimizer=adamw_8bit",
    "use_ema": "train.ema_decay=0.9999",
    "allow_tf32": "train.allow_tf32=true",
}
GONE = {                                     # flag -> what to do instead
    "num_train_epochs": "say how long with --max_train_steps",
    "scale_lr": "give the final number with --learning_rate",
    "lr_scheduler": "constant, or a cosine with train.final_learning_rate=0.1",
    "non_ema_revision": "download the weights, then --pretrained_model_name_or_path=FOLDER",
    "revision": "download the weights, then --pretrained_model_name_or_path=FOLDER",
    "hub_token": "nothing is uploaded",
    "push_to_hub": "nothing is uploaded",
    "logging_dir": "logs are in train.output",
}


def translated(argv: list[str]) -> list[str]:
    """Arguments with published flags turned into key=value; --config, --help and key=value pass through."""
    result, arguments = [], iter(argv)
    for argument in arguments:
        flag, has_value, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or flag in ("config", "help", "help-all"):
            result.append(argument)
            if argument == "--config":
                result += islice(arguments, 1)                   # its file
        elif flag in SWITCHES and not has_value:
            result.append(SWITCHES[flag])
        elif flag in FLAGS:
            value = value if has_value else next(arguments, None)
            if value is None or (not has_value and value.startswith("--")):
                raise ValueError(f"--{flag}: expected a value, as in --{flag}=VALUE")
            result.append(f"{FLAGS[flag]}={value}")
        else:
            raise ValueError(f"--{flag}: {unknown(flag, bool(has_value))}")
    validates = any(word.startswith("train.validate_every=") and word != "train.validate_every=0" for word in result)
    if validates and not any("train.validation_clips=" in word for word in result) and "--config" not in result:
        result.append("train.validation_clips=1")          # the published scripts validate on one clip
    return result


def unknown(flag: str, has_value: bool) -> str:
    """What to do about a flag that is none of ours."""
    if flag in GONE:
        return f"this flag of the published script has no counterpart here: {GONE[flag]}"
    if flag in SWITCHES and has_value:
        return f"takes no value here: --{flag}, or {SWITCHES[flag]}"
    near = difflib.get_close_matches(flag, [*FLAGS, *SWITCHES], n=1, cutoff=0.5)
    return f"no such flag: {f'did you mean --{near[0]}?' if near else 'see --help for all keys and flags'}"


def flags_help() -> str:
    """The table for --help."""
    pairs = [f"--{flag}=… ({key})" for flag, key in FLAGS.items()]
    pairs += [f"--{flag} ({assignment})" for flag, assignment in SWITCHES.items()]
    text = "The published scripts' flags are understood, too: " + ", ".join(pairs)
    return "\n".join(textwrap.wrap(text, 118, break_on_hyphens=False, break_long_words=False))


# ---------------------------------------------------------------------------- motion customisation's config.yaml

KEYS = {                                     # key -> key; train_data's and validation_data's with their group
    "pretrained_model_path": "model",
    "output_dir": "train.output",
    "prior_lambda": "prior_weight",
    "trainable_modules": "trainable_modules",
    "max_train_steps": "train.max_steps",
    "learning_rate": "train.learning_rate",
    "placeholder_token": "word",
    "train_batch_size": "train.batch_size",
    "lr_warmup_steps": "train.warmup_steps",
    "adam_weight_decay": "train.weight_decay",
    "max_grad_norm": "train.max_grad_norm",
    "gradient_accumulation_steps": "train.gradient_accumulation",
    "mixed_precision": "train.mixed_precision",
    "gradient_checkpointing": "gradient_checkpointing",
    "cache_latents": "cached_latents",
    "cached_latent_dir": "cache",
    "seed": "train.seed",
    "train_data.width": "width",
    "train_data.height": "height",
    "train_data.use_bucketing": "bucketing",
    "train_data.fps": "fps",
    "train_data.n_sample_frames": "num_frames",
    "train_data.path": "exemplars",
    "train_data.class_path": "prior",
    "train_data.sampling": "sampling",
    "validation_data.prompt": "validation_prompts",
}
FIXED = {                                    # key -> the values under which nothing has to be done
    "lr_scheduler": ("constant", "constant_with_warmup"), "adam_beta1": (0.9,), "adam_beta2": (0.999,), "adam_epsilon": (1e-8,),
    "train_text_encoder": (False,), "scale_lr": (False,), "dataset_types": (["folder"],), "train_data.add_token": (False,),
}
UNUSED = {                                   # read by nothing in the published code, or not needed here
    "initializer_token", "subject", "extra_unet_params", "kwargs", "enable_torch_2_attn", "enable_xformers_memory_efficient_attention",
    "text_encoder_gradient_checkpointing",
    "train_data.sample_start_idx", "train_data.frame_step", "train_data.train_weights", "validation_data",
}
HANDLED = {"prior_preservation", "checkpointing_steps", "validation_steps", "train_data.fallback_prompt", "train_data.class_prompt",
           "use_8bit_adam", "use_offset_noise", "offset_noise_strength", "resume_from_checkpoint"}


def published(path: Path) -> dict | None:
    """The content of a config.yaml of the published code, None for any other file."""
    try:
        values = yaml_mapping(path)
    except ValueError:
        return None                                          # load_config says what is wrong with it
    return values if "pretrained_model_path" in values else None


def with_published_yaml(argv: list[str]) -> list[str]:
    """Arguments with `--config config.yaml` of motion customisation's published code turned into key=value."""
    result = list(argv)
    for number, argument in enumerate(argv[:-1]):
        values = published(Path(argv[number + 1])) if argument == "--config" else None
        if values is not None:
            result[number:number + 2] = assignments(values, argv[number + 1])
    return result


def assignments(values: dict, source: str) -> list[str]:
    """A published config as key=value; a key that is not known is refused."""
    flat = {}
    for key, value in values.items():
        grouped = key in ("train_data", "validation_data") and isinstance(value, dict)
        flat |= {f"{key}.{name}": inner for name, inner in value.items()} if grouped else {key: value}
    ours = {}
    for key, value in flat.items():
        if key in KEYS and value is not None:
            ours[KEYS[key]] = value
        elif key in FIXED and value not in FIXED[key]:
            raise ValueError(f"{source}: expected {key} to be {' or '.join(map(str, FIXED[key]))} (found {value!r}): other "
                             "values are not supported here")
        elif not (key in KEYS or key in FIXED or key in HANDLED or key in UNUSED or key.partition(".")[0] in UNUSED):
            raise ValueError(f"{source}: unknown key '{key}': remove it")
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in (ours | handled(flat)).items()]


def handled(flat: dict) -> dict:
    """Keys whose values take another form here."""
    ours = {}
    for steps, every in (("checkpointing_steps", "train.checkpoint_every"), ("validation_steps", "train.validate_every")):
        given = flat.get(steps)
        gaps = [given] if isinstance(given, int) else sorted({*(given or [])})
        if gaps:                                             # 1000, 1500, 2000: every 500
            ours[every] = min([later - earlier for earlier, later in zip(gaps, gaps[1:])] or gaps)
    if not flat.get("prior_preservation", True):
        ours["prior"] = None
    for published_key, key in (("train_data.fallback_prompt", "captions"), ("train_data.class_prompt", "prior_captions")):
        texts = flat.get(published_key) or []
        texts = [text for text in ([texts] if isinstance(texts, str) else texts) if text]
        if texts:
            ours[key] = texts
    if flat.get("use_8bit_adam"):
        ours["train.optimizer"] = "adamw_8bit"
    if flat.get("use_offset_noise"):
        ours["offset_noise"] = flat.get("offset_noise_strength", 0.1)
    if flat.get("resume_from_checkpoint"):
        ours["train.resume_from"] = flat["resume_from_checkpoint"]
    return ours


# --------------------------------------------------------------------------------------------- MimicMotion's test.yaml

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
    """Is this MusePose's list of test_cases, and not MimicMotion's test_case? A file that is missing is a ValueError."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file: MimicMotion's and MusePose's YAML come with their own repositories: clone "
                         "the one you need here, or correct the path")
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
        own = case_assignments(case, path, where)
        names.add(name := free_name(case, names))
        result.append(Case(where, [*common, *own, f"name={name}"]))
    return result


def free_name(case: dict, taken: set[str]) -> str:
    """What the run of a case is called: after its video and its picture, with a number where that is taken."""
    stems = f"{Path(case['ref_video_path']).stem}_{Path(case['ref_image_path']).stem}"
    name = "".join(letter if letter.isprintable() else " " for letter in stems).strip().lstrip(".-") or "case"
    numbered = (f"{name}_{number}" for number in count(2))
    return next(free for free in chain([name], numbered) if free not in taken)


def case_assignments(case: dict, path: Path, where: str) -> list[str]:
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
