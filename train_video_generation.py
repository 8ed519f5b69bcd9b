"""Fine-tune the pose-to-video model on (video, pose) pairs, from SVD or from MimicMotion.

    accelerate launch train_video_generation.py --config configs/train_video_generation.yaml videos=… poses=…
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import logging
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar, TYPE_CHECKING

from configs import load_config, run_main, setting, show_log
from configs.published import flags_help, translated
from mimicmotion import VideoTrainConfig

if TYPE_CHECKING:
    from torch.utils.data import Dataset

log = logging.getLogger(__name__)


@dataclass
class PoseToVideoConfig:
    """What training the video model and training the skeleton adapter have in common."""

    adapter: ClassVar[bool] = False         # the targets are poses drawn with hands, the given ones have none
    svd: str = setting("weights/svd", "folder of Stable Video Diffusion in diffusers format")
    checkpoint: str | None = setting(None, "where the UNet and PoseNet start from; null = SVD's UNet and a fresh PoseNet")
    cache: str | None = setting(None, "a prepared clip cache instead of the two folders of videos")
    dataset: str | None = setting(None, "a data folder of scripts/prepare_dataset.py, or s3://… of its shards, instead of the two folders")
    cached_latents: bool = setting(False, "use the latents cached in the data folder: no step runs the VAE or CLIP")
    style: str = setting("mimicmotion", "the brush for a data folder: mimicmotion, fleximo, musepose, bold")
    num_frames: int = setting(16, "frames per clip; 1 trains on single pictures")
    frame_stride: int = setting(1, "take every n-th frame of a video")
    height: int = setting(1024, "pixels")
    width: int = setting(576, "pixels")
    train: VideoTrainConfig = field(default_factory=VideoTrainConfig)


@dataclass
class VideoGenerationConfig(PoseToVideoConfig):
    """Train the video model: pictures from drawn poses."""

    videos: str = setting("data/videos", "folder of videos: the targets")
    poses: str = setting("data/poses", "folder of equally named pose videos")
    moved_picture: bool = setting(False, "also tell the UNet how the picture looks moved into each pose by the puppet; of a cache made by "
                                  "demo/prepare_clips.py --move")

    @property
    def folders(self) -> tuple[str, str]:
        """Targets and poses."""
        return self.videos, self.poses


def training_clips(config: PoseToVideoConfig) -> Dataset:
    """The clips a config names: a cache, a prepared data folder, or two folders of videos."""
    if config.cache and config.dataset:
        raise ValueError(f"cache, dataset: expected one (found {config.cache} and {config.dataset}): leave one out")
    if config.cached_latents and not config.dataset:
        raise ValueError("cached_latents: expected a dataset (found none): name one, or leave cached_latents out")
    size, seed = (config.height, config.width), config.train.seed
    if config.cache:
        from mimicmotion.checkpoint import encoder_key              # each source brings its own libraries
        from synthetic.clips import CachedClips, require_vae
        clips = CachedClips(config.cache, config.num_frames, adapter=config.adapter, moved=wants_moved(config), seed=seed)
        for name in (clips.name, *["moved_latents"] * wants_moved(config)):
            require_vae(Path(config.cache), name, encoder_key(Path(config.svd) / "vae"))
        return clips
    from training_data.clips import PairedClips, PreparedClips
    if config.dataset:
        return PreparedClips(config.dataset, config.num_frames, size, adapter=config.adapter, style=config.style,
                             frame_stride=config.frame_stride, cached=config.cached_latents, seed=seed)
    return PairedClips(*config.folders, config.num_frames, size, frame_stride=config.frame_stride, seed=seed)


def wants_moved(config: PoseToVideoConfig) -> bool:
    """Is the UNet to be told how the picture looks moved into each pose?"""
    return not config.adapter and config.moved_picture


def check_cached_noise(config: PoseToVideoConfig, cached: float) -> None:
    """What cached latents cannot follow is refused, or warned of. cached: the noise strength they were made with."""
    if config.train.noise_aug_strength != cached:
        raise ValueError(f"train.noise_aug_strength: expected {cached:g}, with which the latents of {config.dataset} were "
                         f"cached (found {config.train.noise_aug_strength:g}): set it so, cache anew, or "
                         "cached_latents=false")
    if config.train.noise_aug_spread:
        log.warning("train.noise_aug_spread: %g is left out: the noise on the references was cached with them, %g",
                    config.train.noise_aug_spread, cached)


def train_pose_to_video(config: PoseToVideoConfig) -> None:
    """Train from the weights and on the clips a config names; checkpoints remember all its settings."""
    if Path(config.train.output).resolve() in [Path(start).resolve() for start in (config.svd, config.checkpoint) if start]:
        raise ValueError(f"train.output={config.train.output}: expected a folder of its own (found the weights it starts from): name another")
    import torch                                                    # ten seconds of imports, for settings that are right

    from mimicmotion.pipeline import PoseToVideo
    from mimicmotion.task import VideoTask
    from training.loop import train

    clips = training_clips(config)
    if config.cached_latents:
        check_cached_noise(config, clips.noise_aug_strength)
    settings = {name: value for name, value in asdict(config).items() if name != "train"}
    torch.manual_seed(config.train.seed)                            # of a new PoseNet
    model = PoseToVideo.load(config.svd, config.checkpoint)
    if wants_moved(config) and not model.unet.takes_moved_picture:
        model = replace(model, unet=model.unet.with_moved_picture())
    train(VideoTask(model, config.train, settings), clips, config.train)


def main() -> None:
    show_log()
    config = load_config(VideoGenerationConfig, translated(sys.argv[1:]), f"{__doc__.strip()}\n\n{flags_help()}")
    train_pose_to_video(config)


if __name__ == "__main__":
    run_main(main)
