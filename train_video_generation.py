"""Fine-tune the pose-to-video model on (video, pose) pairs, from SVD or from MimicMotion.

    accelerate launch train_video_generation.py --config configs/train_video_generation.yaml videos=… poses=…
"""
from __future__ import annotations

import logging
from dataclasses import dataclass, field

from torch.utils.data import Dataset

from configs import load_config, run_main
from mimicmotion.clips import PairedClips
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.train_config import TrainConfig
from mimicmotion.training import train
from synthetic.cache import CachedClips


def _setting(default, help: str):
    return field(default=default, metadata={"help": help})


@dataclass
class VideoGenerationConfig:
    """Train the video model: pictures from drawn poses."""

    svd: str = _setting("weights/svd", "folder of Stable Video Diffusion in diffusers format")
    checkpoint: str | None = _setting(None, "where the UNet and PoseNet start from; null = SVD's UNet and a fresh PoseNet")
    videos: str = _setting("data/videos", "folder of videos: the targets")
    poses: str = _setting("data/poses", "folder of equally named pose videos")
    cache: str | None = _setting(None, "a prepared clip cache instead of videos and poses")
    num_frames: int = _setting(16, "frames per clip; 1 trains on single pictures")
    frame_stride: int = _setting(1, "take every n-th frame of a video")
    height: int = _setting(1024, "pixels")
    width: int = _setting(576, "pixels")
    train: TrainConfig = field(default_factory=TrainConfig)


def training_clips(config: VideoGenerationConfig) -> Dataset:
    """The clips a config names: a cache, or two folders of videos."""
    if config.cache:
        return CachedClips(config.cache, config.num_frames, seed=config.train.seed)
    return PairedClips(config.videos, config.poses, config.num_frames, (config.height, config.width),
                       frame_stride=config.frame_stride, seed=config.train.seed)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = load_config(VideoGenerationConfig)
    clips = training_clips(config)
    model = PoseToVideo.load(config.svd, config.checkpoint)
    train(model, clips, config.train)


if __name__ == "__main__":
    run_main(main)
