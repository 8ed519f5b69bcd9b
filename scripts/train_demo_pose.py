"""Train the demo's person detector and whole-body pose network on synthetic clips, and export them as ONNX.

    python scripts/train_demo_pose.py --clips outputs/demo_clips --out weights/demo/dwpose

`--clips` is a cache of rendered clips (scripts/prepare_demo_clips.py, or rendered here when the folder is absent).
About 90 minutes on one CPU core. Interrupted, it goes on from the last checkpoint beside the clips.
"""
from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from configs import run_main
from dwpose.networks import PersonNetwork, PoseNetwork, export
from mimicmotion.optimizer import Muon
from synthetic.cache import render_cache
from synthetic.pose_samples import PoseSamples

logger = logging.getLogger("train_demo_pose")

SIMCC_SIGMA = (6.0, 6.93)           # bins, of the official training


def pose_loss(network: PoseNetwork, batch: dict[str, Tensor]) -> Tensor:
    """Cross entropy to Gaussian lines where a point is inside the crop, and of the confidence everywhere."""
    with torch.autocast("cpu", torch.bfloat16):
        x, y, seen = network.lines(batch["pixels"])
    points, inside = batch["points"], batch["inside"]                               # (N, 133, 3), (N, 133)
    loss = 0
    for axis, logits in enumerate((x, y)):
        bins = torch.arange(logits.shape[-1])
        target = torch.exp(-(bins - points[..., axis, None]) ** 2 / (2 * SIMCC_SIGMA[axis] ** 2))
        share = (target * logits).sum(-1) / target.sum(-1).clamp(min=1e-3)          # (N, 133)
        entropy = logits.float().logsumexp(-1) - share
        loss = loss + (entropy * inside).sum() / inside.sum().clamp(min=1)
    return loss + 4 * F.binary_cross_entropy_with_logits(seen.float(), points[..., 2])


def person_loss(network: PersonNetwork, batch: dict[str, Tensor]) -> Tensor:
    """Objectness in every cell; box numbers, as distances and as overlap, in the cells around a person's centre."""
    with torch.autocast("cpu", torch.bfloat16):
        cells = network.cells(batch["pixels"])                                      # (N, 400, 5)
    cells, owned, boxes = cells.float(), batch["owned"], batch["boxes"]             # ..., (N, 400), (N, 400, 4)
    objectness = F.binary_cross_entropy_with_logits(cells[..., 4], owned, weight=batch["counted"])
    mine = owned > 0
    if not mine.any():
        return objectness
    found, wanted = cells[..., :4][mine], boxes[mine]                               # (M, 4) each
    shared = (torch.minimum(corner(found, 1), corner(wanted, 1))
              - torch.maximum(corner(found, -1), corner(wanted, -1))).clamp(min=0).prod(-1)
    area = found[:, 2:].exp().prod(-1) + wanted[:, 2:].exp().prod(-1) - shared
    return 10 * objectness + F.smooth_l1_loss(found, wanted, beta=0.1) + 2 * (1 - shared / area).mean()


def corner(boxes: Tensor, side: int) -> Tensor:
    """Low (-1) or high (1) corners (M, 2), in cells, of boxes given as centre in cells and log extent."""
    return boxes[:, :2] + side * boxes[:, 2:].exp() / 2


def learning_rate_factor(step: int, rounds: Sequence[int]) -> float:
    """Warm-up and linear decay in every round of steps; later rounds start half as high."""
    start = 0
    for number, steps in enumerate(rounds):
        if step < start + steps:
            done = step - start
            return min(1, (done + 1) / 30) * max(0.01, 1 - done / steps) * (0.5 if number else 1)
        start += steps
    return 0.0


def fit(name: str, network: nn.Module, loss_of: Callable, sample: Callable, *, rounds: Sequence[int], lr: float,
        folder: Path, seed: int) -> nn.Module:
    """Muon in rounds of steps; step i always sees the batch of generator (seed, i), so resuming is exact.

    A finished run can be given another round: it goes on from its checkpoint.
    """
    rounds, steps = list(rounds), sum(rounds)
    optimizer = Muon(network.named_parameters(), lr=lr, adam_lr=lr / 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, rounds))
    checkpoint, first = folder / f"{name}.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        if rounds[:len(saved["rounds"])] == saved["rounds"]:
            network.load_state_dict(saved["network"])
            optimizer.load_state_dict(saved["optimizer"])
            schedule.load_state_dict(saved["schedule"])
            first = saved["step"]
            logger.info("%s: going on at step %d/%d", name, first, steps)
    network.train()
    started, losses = time.perf_counter(), []
    for step in tqdm(range(first, steps), initial=first, total=steps, desc=name, mininterval=10):
        loss = loss_of(network, sample(np.random.default_rng((seed, step))))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % 50 == 0 or step + 1 == steps:
            state = dict(network=network.state_dict(), optimizer=optimizer.state_dict(),
                         schedule=schedule.state_dict(), step=step + 1, rounds=rounds)
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)
            logger.info("%s  step %d/%d  loss %.4f  %.2f s/step", name, step + 1, steps, np.mean(losses[-50:]),
                        (time.perf_counter() - started) / (step + 1 - first))
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=Path, required=True, help="folder of rendered clips; rendered if absent")
    parser.add_argument("--out", type=Path, default=Path("weights/demo/dwpose"), help="folder for the two ONNX files")
    parser.add_argument("--work", type=Path, help="folder for checkpoints (default: the clips')")
    parser.add_argument("--num-clips", type=int, default=800, help="clips to render if --clips is absent, of 5 frames")
    parser.add_argument("--pose-steps", type=int, nargs="+", default=[500, 250, 300, 350, 800, 3000],
                        help="steps of each round, keypoints")
    parser.add_argument("--person-steps", type=int, nargs="+", default=[600], help="steps of each round, detector")
    parser.add_argument("--batch", type=int, default=40, help="pictures per step")
    parser.add_argument("--seed", type=int, default=0, help="of weights and samples")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    if not (args.clips / "frames.npy").exists():
        render_cache(args.clips, first_seed=500_000 + args.seed * args.num_clips, num_clips=args.num_clips,
                     num_frames=4, fps=2.5, size=(320, 192), workers=args.threads)
    samples, work = PoseSamples(args.clips), args.work or args.clips
    work.mkdir(parents=True, exist_ok=True)
    person = fit("person", PersonNetwork(), person_loss, lambda rng: samples.pictures(args.batch, rng),
                 rounds=args.person_steps, lr=0.02, folder=work, seed=args.seed)
    export(person, args.out / "detector.onnx", torch.zeros(1, 3, 640, 640), "images", ["output"])
    pose = fit("pose", PoseNetwork(), pose_loss, lambda rng: samples.crops(args.batch, rng),
               rounds=args.pose_steps, lr=0.02, folder=work, seed=args.seed)
    export(pose, args.out / "pose.onnx", torch.zeros(1, 3, 384, 288), "input", ["simcc_x", "simcc_y"])
    logger.info("wrote %s", ", ".join(f"{path} {path.stat().st_size / 1e6:.2f} MB"
                                      for path in (args.out / "detector.onnx", args.out / "pose.onnx")))


if __name__ == "__main__":
    run_main(main)
