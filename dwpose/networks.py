"""The demo's own person detector and whole-body network: small, with the official input and output contracts.

Used by `scripts/train_demo_pose.py` only; at run time `yolox.py` and `pose_head.py` read the exported ONNX files and
cannot tell them from the official ones.
"""
from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from dwpose.pose_head import BINS_PER_PIXEL, CROP_HEIGHT, CROP_WIDTH
from dwpose.skeleton import NUM_KEYPOINTS
from dwpose.yolox import INPUT_SIZE, STRIDES

OPSET = 17
POSE_SHRINK = 2                 # crop pixels per pixel the trunk sees
PERSON_SHRINK = 4               # input pixels per pixel the trunk sees
NO_OBJECT_ROWS = sum((INPUT_SIZE // stride) ** 2 for stride in STRIDES[:-1])        # we use the coarsest grid only
NUM_CLASSES = 80


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


def export(network: nn.Module, path: str | os.PathLike, example: Tensor, input_name: str,
           output_names: list[str]) -> Path:
    """Write an ONNX file with a dynamic batch axis whose weights are stored as float16 and cast when it is opened."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
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
    os.replace(temporary, path)
    return path


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
