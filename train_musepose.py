"""Train MusePose in its two stages: single pictures, then motion.

    accelerate launch train_musepose.py --config configs/train_musepose_stage1.yaml dataset=data/prepared
    accelerate launch train_musepose.py --config configs/train_musepose_stage2.yaml dataset=data/prepared
    accelerate launch train_musepose.py --config MusePose/configs/train_stage_2.yaml dataset=data/prepared    its own YAML

Stage 1 writes denoiser, reference network and pose guider; stage 2 takes them (stage1=) and adds motion modules.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from configs import load_config, run_main, setting, show_log, split_arguments, yaml_mapping
from musepose import MusePoseTrainConfig

if TYPE_CHECKING:
    from musepose.task import MusePoseTask
    from torch.utils.data import Dataset

TRAINING_KEYS = {                                  # MusePose's key -> ours
    "data.train_bs": "train.batch_size", "data.train_width": "width", "data.train_height": "height",
    "data.n_sample_frames": "num_frames", "data.sample_rate": "frame_stride",
    "solver.gradient_accumulation_steps": "train.gradient_accumulation", "solver.mixed_precision": "train.mixed_precision",
    "solver.gradient_checkpointing": "train.gradient_checkpointing", "solver.max_train_steps": "train.max_steps",
    "solver.max_grad_norm": "train.max_grad_norm", "solver.learning_rate": "train.learning_rate",
    "solver.lr_warmup_steps": "train.warmup_steps", "solver.adam_beta2": "train.adam_beta2",
    "solver.adam_weight_decay": "train.weight_decay", "base_model_path": "base_model", "vae_model_path": "vae",
    "image_encoder_path": "image_encoder", "controlnet_openpose_path": "controlnet_openpose", "mm_path": "motion_module",
    "stage1_ckpt_dir": "stage1", "uncond_ratio": "train.uncond_ratio", "noise_offset": "train.noise_offset",
    "snr_gamma": "train.snr_gamma", "enable_zero_snr": "train.enable_zero_snr", "seed": "train.seed",
    "output_dir": "train.output", "checkpointing_steps": "train.checkpoint_every"}
WITHOUT_EFFECT = ("data.meta_paths", "data.sample_margin", "solver.enable_xformers_memory_efficient_attention",
                  "solver.scale_lr", "solver.lr_scheduler", "solver.use_8bit_adam", "solver.adam_beta1",
                  "solver.adam_epsilon", "val", "noise_scheduler_kwargs", "weight_dtype", "pose_guider_pretrain",
                  "resume_from_checkpoint", "save_model_epoch_interval", "exp_name", "load_pth", "denoising_unet_path",
                  "reference_unet_path", "pose_guider_path", "stage1_ckpt_step")
FOREVER = 1 << 40                                  # checkpointing_steps beyond this mean never


@dataclass
class MusePoseTraining:
    """Where MusePose's training starts and what it sees."""

    base_model: str = setting("weights/musepose/sd-image-variations-diffusers", "folder with unet/ of Stable Diffusion 1.5")
    vae: str = setting("weights/musepose/sd-vae-ft-mse", "folder of the autoencoder")
    image_encoder: str = setting("weights/musepose/image_encoder", "folder of CLIP's image encoder")
    controlnet_openpose: str | None = setting(None, "stage 1: ControlNet's openpose weights, the pose guider begins as theirs")
    stage1: str | None = setting(None, "stage 2: folder that stage 1 wrote; or where a training goes on from")
    motion_module: str | None = setting(None, "stage 2: AnimateDiff's mm_sd_v15_v2.ckpt; null begins motion anew")
    dataset: str | None = setting(None, "a data folder of scripts/prepare_dataset.py, or s3://… of its shards, instead of the two folders")
    videos: str = setting("data/videos", "folder of videos: the targets")
    poses: str = setting("data/poses", "folder of equally named pose videos")
    num_frames: int = setting(1, "frames per clip; stage 1 trains on single pictures")
    frame_stride: int = setting(1, "take every n-th frame of a video")
    height: int = setting(768, "pixels")
    width: int = setting(768, "pixels")
    train: MusePoseTrainConfig = field(default_factory=MusePoseTrainConfig)

    def __post_init__(self):
        if self.train.stage == 1 and self.num_frames != 1:
            raise ValueError(f"num_frames: expected 1 in stage 1, which trains on pictures (found {self.num_frames}): "
                             "motion is train.stage=2")
        if self.train.stage == 2 and not self.stage1:
            raise ValueError("stage1: expected the folder that stage 1 wrote (found none): train stage 1 first")


def training_clips(config: MusePoseTraining) -> Dataset:
    """The clips a config names: a prepared data folder, drawn in MusePose's brush, or two folders of videos."""
    from training_data.clips import PairedClips, PreparedClips              # which bring libraries of their own

    size, seed = (config.height, config.width), config.train.seed
    if config.dataset:
        return PreparedClips(config.dataset, config.num_frames, size, style="musepose", frame_stride=config.frame_stride,
                             seed=seed)
    return PairedClips(config.videos, config.poses, config.num_frames, size, frame_stride=config.frame_stride, seed=seed)


def task_of(config: MusePoseTraining) -> MusePoseTask:
    """The task, its networks loaded in float32 from where the config says."""
    import torch                                                               # seconds of imports, for settings that are right

    from musepose.checkpoint import base_config, load_image_encoder, load_networks, load_saved_networks, load_vae, WeightFiles
    from musepose.pipeline import MusePose
    from musepose.task import for_stage, initialise_from_controlnet, MusePoseTask

    torch.manual_seed(config.train.seed)                                       # of a new pose guider and new motion modules
    files = WeightFiles(Path(config.base_model), Path(config.vae), Path(config.image_encoder), None, None, None, None)
    base, _ = base_config(files)
    networks = (load_saved_networks(config.stage1, torch.float32) if config.stage1 else load_networks(files, torch.float32))
    if config.controlnet_openpose and config.train.stage == 1 and not config.stage1:
        initialise_from_controlnet(networks.pose_guider, Path(config.controlnet_openpose))
    model = MusePose.of(networks, load_vae(config.vae, torch.float32), load_image_encoder(config.image_encoder, torch.float32),
                        config.image_encoder)
    model = for_stage(model, base, config.train.stage, Path(config.motion_module) if config.motion_module else None)
    settings = {name: value for name, value in asdict(config).items() if name != "train"}
    return MusePoseTask(model, base, config.train, settings)


def training_settings(path: str | Path) -> list[str]:
    """MusePose's train_stage_1.yaml or train_stage_2.yaml as key=value of train_musepose.py."""
    content, given = yaml_mapping(Path(path)), {}
    for name, value in content.items():
        if name in ("data", "solver") and isinstance(value, dict):
            given |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            given[name] = value
    stage = 2 if "mm_path" in content else 1
    result = [f"train.stage={stage}"] + ["num_frames=1"] * (stage == 1)
    for key, value in given.items():
        if key in WITHOUT_EFFECT:
            continue
        if key not in TRAINING_KEYS:
            raise ValueError(f"{path}: unknown key '{key}': take MusePose's configs/train_stage_1.yaml or train_stage_2.yaml")
        if key == "checkpointing_steps" and value > FOREVER:
            continue
        result.append(f"{TRAINING_KEYS[key]}={value}")
    return result


def is_training(path: str | Path) -> bool:
    """Is this file one of MusePose's two trainings?"""
    return Path(path).is_file() and {"solver", "data"} <= yaml_mapping(Path(path)).keys()


def own_keys(argv: list[str]) -> list[str]:
    """Arguments with MusePose's own training YAML, if that is what --config names, as key=value of ours."""
    if {"-h", "--help"} & set(argv):
        return argv
    path, assignments = split_arguments(argv)
    return argv if path is None or not is_training(path) else [*training_settings(path), *assignments]


def main() -> None:
    show_log()
    config = load_config(MusePoseTraining, own_keys(sys.argv[1:]), __doc__.strip())
    clips = training_clips(config)
    from training.loop import train

    train(task_of(config), clips, config.train)


if __name__ == "__main__":
    run_main(main)
