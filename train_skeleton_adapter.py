"""Fine-tune the skeleton adapter: poses without hands in, the same poses with hands out (Fleximo, section 3.4).

    accelerate launch train_skeleton_adapter.py --config configs/train_skeleton_adapter.yaml poses_with_hands=… poses_without_hands=…

The adapter is the pose-to-video model with other weights: its pictures are drawn poses, its reference is the drawn pose
of the reference person.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import sys
from dataclasses import dataclass
from typing import ClassVar

from configs import load_config, run_main, setting, show_log
from configs.published import flags_help, translated
from train_video_generation import PoseToVideoConfig, train_pose_to_video


@dataclass
class SkeletonAdapterConfig(PoseToVideoConfig):
    """Train the skeleton adapter: poses with hands from poses without."""

    adapter: ClassVar[bool] = True
    poses_with_hands: str = setting("data/poses_with_hands", "folder of pose videos: the targets")
    poses_without_hands: str = setting("data/poses_without_hands", "folder of equally named pose videos")

    @property
    def folders(self) -> tuple[str, str]:
        """Targets and poses."""
        return self.poses_with_hands, self.poses_without_hands


def main() -> None:
    show_log()
    config = load_config(SkeletonAdapterConfig, translated(sys.argv[1:]), f"{__doc__.strip()}\n\n{flags_help()}")
    train_pose_to_video(config)


if __name__ == "__main__":
    run_main(main)
