"""Fine-tune the pose-to-video model on (video, pose) pairs, from SVD or from MimicMotion.

    accelerate launch train_video_generation.py --config configs/train_video_generation.yaml videos=… poses=…
"""
from __future__ import annotations

import sys
from dataclasses import dataclass, field

from torch.utils.data import Dataset

from configs import load_config, run_main, show_log
from configs.published_flags import flags_help, translated
from mimicmotion.pipeline import PoseToVideo
from synthetic.clips import CachedClips
from training.config import TrainConfig
from training.loop import train
from training_data.paired import PairedClips
from training_data.prepared import PreparedClips


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
    dataset: str | None = _setting(None, "a data folder made by scripts/prepare_dataset.py, instead of the two folders")
    cached_latents: bool = _setting(False, "use the latents cached in the data folder: no step runs the VAE or CLIP")
    style: str = _setting("mimicmotion", "the brush for a data folder: mimicmotion, fleximo, musepose, bold")
    num_frames: int = _setting(16, "frames per clip; 1 trains on single pictures")
    frame_stride: int = _setting(1, "take every n-th frame of a video")
    height: int = _setting(1024, "pixels")
    width: int = _setting(576, "pixels")
    train: TrainConfig = field(default_factory=TrainConfig)


def training_clips(config: VideoGenerationConfig) -> Dataset:
    """The clips a config names: a cache, a prepared data folder, or two folders of videos."""
    if config.cache and config.dataset:
        raise ValueError(f"cache, dataset: expected one (found {config.cache} and {config.dataset}): leave one out")
    if config.cached_latents and not config.dataset:
        raise ValueError("cached_latents: expected a dataset (found none): name one, or leave cached_latents out")
    if config.cache:
        return CachedClips(config.cache, config.num_frames, seed=config.train.seed)
    if config.dataset:
        return PreparedClips(config.dataset, config.num_frames, (config.height, config.width),
                             style=config.style, frame_stride=config.frame_stride, cached=config.cached_latents,
                             seed=config.train.seed)
    return PairedClips(config.videos, config.poses, config.num_frames, (config.height, config.width),
                       frame_stride=config.frame_stride, seed=config.train.seed)


def main() -> None:
    show_log()
    config = load_config(VideoGenerationConfig, translated(sys.argv[1:]), f"{__doc__.strip()}\n\n{flags_help()}")
    clips = training_clips(config)
    model = PoseToVideo.load(config.svd, config.checkpoint)
    train(model, clips, config.train)


if __name__ == "__main__":
    run_main(main)
