"""Train the demo's person detector and whole-body pose network on synthetic clips, and export them as ONNX.

    python demo/train_pose.py --clips outputs/demo_clips --out weights/demo/dwpose

`--clips` is a cache of rendered clips (demo/prepare_clips.py, or rendered here when the folder is absent).
About 90 minutes on one CPU core. Interrupted, it goes on from its last checkpoint.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper, TensorProto
from torch import nn, Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from configs import run_main
from demo import demo_config
from demo.pose_samples import PoseSamples
from dwpose.networks import BINS_PER_PIXEL, CROP_HEIGHT, CROP_WIDTH, INPUT_SIZE, STRIDES
from dwpose.skeleton import NUM_KEYPOINTS
from media.files import check_folder, read_json, save_atomically
from runtime.device import cpu_has_bfloat16
from synthetic.clips import open_array, render_cache
from training.loop import train
from training.task import Batch, Task

log = logging.getLogger(__name__)

SIMCC_SIGMA = (6.0, 6.93)           # bins, of the official training
OPSET = 17
POSE_SHRINK = 2                 # crop pixels per pixel the trunk sees
PERSON_SHRINK = 4               # input pixels per pixel the trunk sees
NO_OBJECT_ROWS = sum((INPUT_SIZE // stride) ** 2 for stride in STRIDES[:-1])        # we use the coarsest grid only
NUM_CLASSES = 80


def pose_loss(network: PoseNetwork, batch: dict[str, Tensor]) -> Tensor:
    """Cross entropy to Gaussian lines where a point is inside the crop, and of the confidence everywhere."""
    with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bfloat16()):
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
    with torch.autocast("cpu", torch.bfloat16, enabled=cpu_has_bfloat16()):
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


class Samples(Dataset):
    """Sample p of the endless stream, whatever the index: what `draw`, of `PoseSamples`, gives for one picture."""

    def __init__(self, draw: Callable[[int, np.random.Generator], dict[str, Tensor]], seed: int):
        self.draw, self.seed = draw, seed

    def __len__(self) -> int:
        return 1

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        _, position = key
        drawn = self.draw(1, np.random.default_rng((self.seed, position)))
        return {name: values[0] for name, values in drawn.items()} | {"position": torch.tensor(position)}


class BatchLoss(nn.Module):
    """A network and its loss as one module."""

    def __init__(self, network: nn.Module, loss_of: Callable[[nn.Module, Batch], Tensor]):
        super().__init__()
        self.network, self.loss_of = network, loss_of

    def forward(self, batch: Batch) -> Tensor:
        return self.loss_of(self.network, batch)


class NetworkTask(Task):
    """One of the demo's two networks: its loss on a batch, and how it is written."""

    def __init__(self, network: nn.Module, loss_of: Callable[[nn.Module, Batch], Tensor],
                 write: Callable[[nn.Module, Path], object], settings: dict):
        self.network, self.objective, self.write, self.settings = network, BatchLoss(network, loss_of), write, settings

    def inputs(self, batch: Batch) -> tuple[Batch]:
        return (batch,)

    def export(self, folder: Path) -> None:
        self.write(self.network, folder)
        self.network.train()


def write_detector(network: nn.Module, folder: Path) -> Path:
    return export(network, folder / "detector.onnx", torch.zeros(1, 3, 640, 640), "images", ["output"])


def write_pose(network: nn.Module, folder: Path) -> Path:
    return export(network, folder / "pose.onnx", torch.zeros(1, 3, 384, 288), "input", ["simcc_x", "simcc_y"])


def fit(task: Task, draw: Callable, folder: Path, *, rounds: Sequence[int], batch: int, seed: int,
        checkpoint_every: int = 200) -> None:
    """Muon in rounds of steps, each with its warm-up and linear decay; later rounds start half as high.

    A finished training can be given another round: it goes on from the weights of the one before.
    """
    for number, steps in enumerate(rounds):
        rate = 0.01 if number else 0.02
        train(task, Samples(draw, seed + number * 1_000_003), demo_config(
            folder / f"round_{number + 1}", max_steps=steps, batch_size=batch, learning_rate=rate, adam_learning_rate=rate / 10,
            warmup_steps=30, schedule="linear", final_learning_rate=0.01, max_grad_norm=0.0, ema_decay=0.0, mixed_precision="no",
            checkpoint_every=checkpoint_every, seed=seed))


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
    check_folder(args.out, "name another --out")
    if not (args.clips / "rendered.npy").exists() or not open_array(args.clips, "rendered").all():
        render_cache(args.clips, first_seed=500_000 + args.seed * args.num_clips, num_clips=args.num_clips,
                     num_frames=4, fps=2.5, size=(320, 192), workers=args.threads)
    samples, clips, work = PoseSamples(args.clips), read_json(args.clips / "frames.json"), args.work or args.clips
    for name, network, loss_of, write, draw, rounds in (
            ("person", PersonNetwork(), person_loss, write_detector, samples.pictures, args.person_steps),
            ("pose", PoseNetwork(), pose_loss, write_pose, samples.crops, args.pose_steps)):
        fit(NetworkTask(network, loss_of, write, {"cache": clips}), draw, work / name, rounds=rounds, batch=args.batch, seed=args.seed)
        path = write(network, args.out)
        log.info("wrote %s, %.2f MB", path, path.stat().st_size / 1e6)


def conv(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False),
                         nn.BatchNorm2d(outputs), nn.ReLU())


class PoseNetwork(nn.Module):
    """SimCC (Li et al. 2022): one feature map per keypoint, flattened, becomes a line of bins per axis.

    Unlike the official network the maximum of a line is a trained probability that the keypoint is seen.
    """

    def __init__(self, width: int = 20, hidden: int = 128):
        super().__init__()
        self.conv_in = conv(3, width, 2)
        self.trunk = nn.Sequential(conv(width, width), conv(width, 2 * width, 2), conv(2 * width, 2 * width),
                                   conv(2 * width, 4 * width, 2), conv(4 * width, 4 * width),
                                   conv(4 * width, 6 * width), conv(6 * width, 6 * width, dilation=2))
        self.maps = nn.Conv2d(6 * width, NUM_KEYPOINTS, 3, padding=1)
        cells = (CROP_HEIGHT // POSE_SHRINK // 8) * (CROP_WIDTH // POSE_SHRINK // 8)             # 24 * 18
        self.norm = nn.LayerNorm(cells)
        self.flat = nn.Linear(cells, hidden)
        self.between = nn.Linear(NUM_KEYPOINTS, NUM_KEYPOINTS)
        self.head_x = nn.Linear(hidden, CROP_WIDTH * BINS_PER_PIXEL)
        self.head_y = nn.Linear(hidden, CROP_HEIGHT * BINS_PER_PIXEL)
        self.head_seen = nn.Linear(6 * width + hidden, NUM_KEYPOINTS)

    def lines(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, 192, 144) normalised to logits of x (N, 133, 576), of y (N, 133, 768) and of being seen (N, 133)."""
        features = self.trunk(self.conv_in(pixels))                                 # (N, C, 24, 18)
        maps = self.maps(features).flatten(2)                                       # (N, 133, 432)
        codes = self.flat(self.norm(maps))                                          # (N, 133, hidden)
        codes = codes + F.silu(self.between(codes.transpose(1, 2))).transpose(1, 2)
        pooled = torch.cat([features.mean((2, 3)), codes.mean(1)], dim=1)           # (N, C + hidden)
        seen = self.head_seen(pooled) + maps.amax(2)                                # (N, 133)
        return self.head_x(codes), self.head_y(codes), seen

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """crops: (N, 3, 384, 288) with ImageNet's mean and deviation. Returns simcc_x, simcc_y as `pose_head` reads."""
        x, y, seen = self.lines(F.avg_pool2d(crops, POSE_SHRINK))
        confidence = seen.sigmoid().unsqueeze(-1)                                   # (N, 133, 1)
        return tuple(confidence * (line - line.amax(-1, keepdim=True)).exp() for line in (x, y))


class PersonNetwork(nn.Module):
    """One-scale YOLOX (Ge et al. 2021): every 32-pixel cell says whether a person's centre is there, and their box."""

    def __init__(self, width: int = 16):
        super().__init__()
        self.conv_in = conv(3, width, 2)
        self.trunk = nn.Sequential(conv(width, 2 * width, 2), conv(2 * width, 4 * width, 2), conv(4 * width, 4 * width),
                                   conv(4 * width, 4 * width, dilation=2), conv(4 * width, 4 * width, dilation=4),
                                   conv(4 * width, 4 * width, dilation=2))
        self.head = nn.Conv2d(4 * width, 5, 1)                                      # box numbers, objectness

    def cells(self, pixels: Tensor) -> Tensor:
        """(N, 3, 160, 160) in 0..255 to box numbers and objectness logits (N, 400, 5), rows in reading order."""
        return self.head(self.trunk(self.conv_in(pixels / 128 - 1))).flatten(2).transpose(1, 2)

    def forward(self, images: Tensor) -> Tensor:
        """images: (N, 3, 640, 640) in 0..255. Returns (N, 8400, 85); the two finer grids never hold anything."""
        cells = self.cells(F.avg_pool2d(images, PERSON_SHRINK))                     # (N, 400, 5)
        people = torch.cat([cells[..., :4], cells[..., 4:].sigmoid(), torch.ones_like(cells[..., :1])], dim=-1)
        people = F.pad(people, (0, NUM_CLASSES - 1))                                # (N, 400, 85): person is class 0
        return F.pad(people, (0, 0, NO_OBJECT_ROWS, 0))


def export(network: nn.Module, path: Path, example: Tensor, input_name: str, output_names: list[str]) -> Path:
    """Write an ONNX file with a dynamic batch axis whose weights are stored as float16 and cast when it is opened."""
    save_atomically(path, lambda temporary: write_onnx(network, temporary, example, input_name, output_names))
    return path


def write_onnx(network: nn.Module, temporary: Path, example: Tensor, input_name: str, output_names: list[str]) -> None:
    """Export the network, state the sides of its outputs, and halve its weights."""
    axes = {name: {0: "batch"} for name in (input_name, *output_names)}
    torch.onnx.export(network.eval(), (example,), temporary, input_names=[input_name], output_names=output_names,
                      dynamic_axes=axes, opset_version=OPSET, dynamo=False)
    model = onnx.load(temporary)
    with torch.no_grad():
        results = network(example)
    for output, result in zip(model.graph.output, [results] if isinstance(results, Tensor) else results):
        for axis, side in list(enumerate(result.shape))[1:]:        # the exporter forgets some fixed sides
            output.type.tensor_type.shape.dim[axis].dim_value = side
    halve_weights(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, temporary)


def halve_weights(graph: onnx.GraphProto) -> None:
    """Store float32 initializers as float16, each behind a Cast node that gives it its name and type back."""
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < 16:
            continue
        name, values = tensor.name, numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = casts + list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)


if __name__ == "__main__":
    run_main(main)
