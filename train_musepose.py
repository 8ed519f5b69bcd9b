"""Train MusePose in its two stages: single pictures, then motion.

    accelerate launch train_musepose.py --config configs/train_musepose_stage1.yaml dataset=data/prepared
    accelerate launch train_musepose.py --config configs/train_musepose_stage2.yaml dataset=data/prepared
    accelerate launch train_musepose.py --config MusePose/configs/train_stage_2.yaml dataset=data/prepared    its own YAML

Stage 1 writes denoiser, reference network and pose guider; stage 2 takes them (stage1=) and adds motion modules.
"""
from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch.utils.data import Dataset

from configs import load_config, run_main, setting, show_log, split_arguments
from musepose.checkpoint import base_config, load_image_encoder, load_networks, load_saved_networks, load_vae, WeightFiles
from musepose.pipeline import MusePose
from musepose.published_yaml import is_training, training_settings
from musepose.task import for_stage, initialise_from_controlnet, MusePoseTask, MusePoseTrainConfig
from training.loop import train



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
    files = WeightFiles(Path(config.base_model), Path(config.vae), Path(config.image_encoder), None, None, None, None)
    base, _ = base_config(files)
    networks = (load_saved_networks(config.stage1, torch.float32) if config.stage1 else load_networks(files, torch.float32))
    if config.controlnet_openpose and config.train.stage == 1 and not config.stage1:
        initialise_from_controlnet(networks.pose_guider, Path(config.controlnet_openpose))
    model = MusePose.of(networks, load_vae(config.vae, torch.float32), load_image_encoder(config.image_encoder, torch.float32),
                        config.image_encoder)
    torch.manual_seed(config.train.seed)                                       # new motion modules
    model = for_stage(model, base, config.train.stage, Path(config.motion_module) if config.motion_module else None)
    settings = {name: value for name, value in asdict(config).items() if name != "train"}
    return MusePoseTask(model, base, config.train, settings)


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
    train(task_of(config), clips, config.train)


if __name__ == "__main__":
    run_main(main)
