"""Teach a text-to-video model a motion from a few clips (arXiv 2312.04966).

    accelerate launch train_motion_customization.py --config configs/train_motion_customization.yaml exemplars=data/dance
    accelerate launch train_motion_customization.py --config configs/train_motion_customization.yaml exemplars=data/dance
        prior=data/dance_like base=wan model=weights/wan2.1-t2v-1.3b num_frames=17
    accelerate launch train_motion_customization.py --config custom_motion/config.yaml          the published code's own file

exemplars: a folder of clips of one motion, with clip.txt beside each, or one made by scripts/prepare_dataset.py. Captions
name the motion by a rare word ("a woman doing the sks dance"). prior: other clips of people, so that the rest is kept.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import logging
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, parse_flag_from_env

from configs import load_config, run_main, setting, show_log
from configs.published import with_published_yaml
from newmove.clips import Clip, clips_in, LatentCache, MotionClips, warn_about_word
from newmove.generation import prompts_from
from newmove.task import MotionTask, pieces_of
from newmove.text_to_video import TextToVideo, fingerprint
from newmove.objective import MODES, PAPER
from newmove.wan import WanTextToVideo
from runtime.device import chosen_device
from runtime.processes import Processes
from training.loop import train
from training.task import MAX_LORA_RANK, TrainConfig
from training_data.folder import DataFolder

log = logging.getLogger(__name__)
FREE = ("train", "cache", "cached_latents", "gradient_checkpointing", "validation_prompts")     # may change when a run goes on
HALF = {"fp16": torch.float16, "bf16": torch.bfloat16, "no": None}


def paper() -> TrainConfig:
    """The published run; its extra_unet_params had no effect."""
    return TrainConfig(output="outputs/motion", max_steps=3000, learning_rate=5e-6, warmup_steps=0, ema_decay=0.0,
                       mixed_precision="fp16", checkpoint_every=500, seed=64)


@dataclass
class MotionCustomizationConfig:
    """Teach a text-to-video model a motion."""

    base: str = setting("zeroscope", "the kind of model: ZeroScope or ModelScope, or Wan2.1", ("zeroscope", "wan"))
    model: str = setting("weights/zeroscope", "its folder in diffusers format")
    exemplars: str = setting("data/motion", "folder of clips of the motion")
    captions: list[str] = field(default_factory=list, metadata={"help": "for exemplars without a caption of their own"})
    word: str = setting("sks", "the rare word that means the motion in captions and prompts")
    prior: str | None = setting(None, "folder of other clips, one beside each exemplar; null = none")
    prior_captions: list[str] = field(default_factory=list, metadata={"help": "for prior clips without one; else their file names"})
    prior_weight: float = setting(0.5, "weight of the prior clips' loss, the paper's lambda")
    trainable_modules: list[str] = field(default_factory=lambda: list(PAPER), metadata={
        "help": "cross, temporal, temp_convs, self, all, or a part of a weight's name"})
    lora_rank: int = setting(32, "of Wan's updates")
    sampling: str = setting("high-level", "which noise levels are drawn more often", tuple(MODES))
    debiasing: float = setting(0.0, "weight of MotionDirector's loss without appearance; 0 = off")
    offset_noise: float = setting(0.0, "strength of noise common to a frame; 0 = off")
    num_frames: int = setting(16, "frames of a sample; 4k+1 for Wan")
    fps: float = setting(24.0, "every n-th frame is taken for about this rate")
    resample: bool = setting(False, "take frames at exactly this rate, so that no clip plays too fast")
    height: int = setting(384, "pixels")
    width: int = setting(384, "pixels")
    bucketing: bool = setting(True, "keep each exemplar's shape: 2/3, 5/6 or all of the long side")
    cached_latents: bool = setting(True, "encode all clips once, before the first step; not for Wan")
    cache: str | None = setting(None, "folder for the latents; null = latents/ in train.output")
    gradient_checkpointing: bool = setting(True, "less memory, a third more time")
    validation_prompts: str | None = setting(None, "a prompts file, or prompts with | between them")
    train: TrainConfig = field(default_factory=paper)

    def __post_init__(self):
        for name, least in (("prior_weight", 0), ("debiasing", 0), ("offset_noise", 0), ("lora_rank", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least} (found {getattr(self, name)}): raise it")
        if self.lora_rank > MAX_LORA_RANK:
            raise ValueError(f"lora_rank: expected at most {MAX_LORA_RANK} (found {self.lora_rank}): choose a smaller one")


def clips_of(folder: str, captions: list[str], *, from_name: bool = False) -> list[Clip]:
    """The clips of a folder of videos, or of one that scripts/prepare_dataset.py made."""
    if not (Path(folder) / "manifest.jsonl").is_file():
        return clips_in(folder, captions, from_name=from_name)
    prepared = DataFolder(folder)
    clips = [Clip(prepared.clip(line["clip"]), (line["caption"],) if line["caption"] else tuple(captions))
             for line in prepared.clips()]
    silent = [clip.path.name for clip in clips if not clip.captions]
    if silent or not clips:
        raise ValueError(f"{folder}: expected clips with captions (found {len(clips)} clips, {len(silent)} without): prepare "
                         "them with captions, or set captions")
    return clips


def training_clips(config: MotionCustomizationConfig) -> MotionClips:
    """Exemplars and prior clips as the settings have them, checked before a model is loaded."""
    exemplars = clips_of(config.exemplars, config.captions)
    priors = clips_of(config.prior, config.prior_captions, from_name=True) if config.prior else []
    warn_about_word(exemplars, config.word)
    clips = MotionClips(exemplars, priors, config.num_frames, (config.height, config.width), fps=config.fps,
                        bucketing=config.bucketing, multiple=64 if max(config.height, config.width) >= 256 else 8,
                        resample=config.resample, seed=config.train.seed)
    clips.require_one_canvas(config.train.batch_size)
    return clips


def task_of(config: MotionCustomizationConfig, device: str) -> MotionTask:
    """The model and what is trained of it."""
    if config.base == "wan":
        model = WanTextToVideo.load(config.model, device, HALF[config.train.mixed_precision] or torch.float32, config.lora_rank)
        model.check_frames(config.num_frames)
    else:
        model = TextToVideo.load(config.model, device)
    prompts = [prompt.text for prompt in prompts_from(config.validation_prompts, 0)] if config.validation_prompts else []
    pieces = pieces_of(model.tokenizer, config.word)
    if len(pieces) > 1:
        log.warning("word: '%s' is %d pieces to this model's tokenizer (%s), which have meanings of their own: a word "
                       "of one piece is learnt more easily", config.word, len(pieces), " + ".join(pieces))
    return MotionTask(model, config.trainable_modules, sampling=config.sampling, prior_weight=config.prior_weight,
                      debiasing=config.debiasing, offset_noise=config.offset_noise, seed=config.train.seed, word=config.word,
                      gradient_checkpointing=config.gradient_checkpointing,
                      frozen_dtype=HALF[config.train.mixed_precision], validation_prompts=prompts,
                      settings={key: value for key, value in asdict(config).items() if key not in FREE})


def latent_cache(config: MotionCustomizationConfig, clips: MotionClips, task: MotionTask) -> LatentCache:
    """All clips' latents on disk; the processes share the work, and all end with the reason if one cannot."""
    on_cpu = not torch.cuda.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU")     # what the loop will ask for
    state, reason = PartialState(cpu=on_cpu), None
    cache = LatentCache(config.cache or Path(config.train.output) / "latents", None if config.resample else config.fps,
                        fingerprint(task.model.source))
    try:
        cache.fill(clips.all_clips(), task.model.encode_frames, Processes(state.process_index, state.num_processes))
    except OSError as error:
        reason = f"{cache.folder}: {error.strerror or error}: make room, or choose another place with cache="
    except ValueError as error:
        reason = str(error)
    reasons = [text for text in gather_object([reason]) if text]
    if reasons:
        raise ValueError(reasons[0])
    return cache


def customize(config: MotionCustomizationConfig) -> Path:
    """Train; the folder that then holds the trained tensors, which generate_customized.py -m takes."""
    clips = training_clips(config)
    task = task_of(config, chosen_device("auto"))
    side = task.model.pixels_per_latent
    odd = next((size for size in map(clips.canvas, range(len(clips))) if any(length % side for length in size)), None)
    if odd:
        raise ValueError(f"height, width: expected multiples of {side} pixels (found {odd[0]}x{odd[1]}): round them")
    task.remember(clips.captions())
    task.model.text_encoder.to("cpu")                                  # a fifth of the memory, not needed any more
    if config.cached_latents and config.base != "wan":
        clips.cache = latent_cache(config, clips, task)
    return train(task, clips, config.train)


def main() -> None:
    show_log()
    customize(load_config(MotionCustomizationConfig, with_published_yaml(sys.argv[1:]), __doc__))


if __name__ == "__main__":
    run_main(main)
