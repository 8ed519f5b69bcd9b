"""How long a training step waits for its data: python benchmarks/loading.py DATASET --seconds-per-step 1.0

The step itself is a pause of the given length, as on a GPU. More than 5 % of a step is worth another worker, or
scripts/prepare_dataset.py --cache-latents.
"""
from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.training import measured_stall
from configs import run_main
from dwpose.draw import STYLES
from training_data.prepared import PreparedClips


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog=__doc__.split("\n", 2)[2])
    parser.add_argument("dataset", type=Path, help="folder by scripts/prepare_dataset.py")
    parser.add_argument("--seconds-per-step", type=float, required=True, help="what a step takes without its data")
    parser.add_argument("--steps", type=int, default=30, help="timed steps")
    parser.add_argument("--workers", type=int, default=2, help="loading processes")
    parser.add_argument("--batch-size", type=int, default=1, help="clips per step")
    parser.add_argument("--num-frames", type=int, default=16, help="per clip")
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 576), metavar=("HEIGHT", "WIDTH"),
                        help="of the clips, pixels")
    parser.add_argument("--style", choices=sorted(STYLES), default="mimicmotion", help="the brush of the poses")
    parser.add_argument("--cached", action="store_true", help="read cached latents instead of videos")
    arguments = parser.parse_args()
    clips = PreparedClips(arguments.dataset, arguments.num_frames, tuple(arguments.size), style=arguments.style,
                          cached=arguments.cached)
    measured = measured_stall(clips, seconds_per_step=arguments.seconds_per_step, num_steps=arguments.steps,
                              batch_size=arguments.batch_size, num_workers=arguments.workers)
    print(f"{measured['stall']:.1%} of a step is waiting ({measured['waited_seconds']:.3f} s beside "
          f"{arguments.seconds_per_step:g} s); one process makes a sample in {measured['sample_seconds']:.3f} s")


if __name__ == "__main__":
    run_main(main)
