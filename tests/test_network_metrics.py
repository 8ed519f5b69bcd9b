"""Metrics with networks: what the networks are fed, with stand-ins for their weights; and what is said without weights."""
import importlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import degrade
from dwpose.skeleton import Skeleton
from motionbench.network_metrics import MetricWeights, network_metrics, resized, unusable
from motionbench.metrics import ClipCase, Score
from motionbench.network_metrics import (face_crop, FACE_POINTS, FACE_TEMPLATE, i3d_features, inception_features, load_trunk,
                                         resnet3d_features, RESNET_MEAN)

ROOT = Path(__file__).resolve().parent.parent
ENCODER = str(ROOT / "weights" / "demo" / "svd" / "image_encoder")
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
NOWHERE = MetricWeights(*["/nowhere/x"] * 7)


class Means(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=[-1, -2])


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = Means()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class I3D(nn.Module):
    def forward(self, x: torch.Tensor, rescale: bool, resize: bool, return_features: bool) -> torch.Tensor:
        assert not rescale and not resize and return_features
        return x[:, :, 0].mean(dim=[-1, -2])                                # of each segment's first frame


class ResNet(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=[-1, -2]).mean(dim=-1)


def saved(module: nn.Module, folder: Path) -> Path:
    path = folder / f"{type(module).__name__}.pt"
    torch.jit.script(module).save(str(path))
    return path


@pytest.fixture
def video():
    """Twenty flat frames of rising brightness: their features are known without a network."""
    return (np.arange(20, dtype=np.uint8) * 10)[:, None, None, None] * np.ones((1, 32, 24, 3), np.uint8)


def test_fid_sees_sixteen_frames_normalised_as_published(video, tmp_path):
    rows = inception_features(saved(Inception(), tmp_path))(video)
    picked = np.round(np.linspace(0, 19, 16)) * 10
    assert np.allclose(rows, ((picked - 128) / 128)[:, None], atol=1e-5) and rows.shape == (16, 3)


def test_fvd_averages_segments_of_sixteen_between_minus_one_and_one(video, tmp_path):
    rows = i3d_features(saved(I3D(), tmp_path))(video)
    assert np.allclose(rows, np.mean([0, 160]) / 127.5 - 1, atol=1e-5) and rows.shape == (1, 3)


def test_fid_vid_takes_kinetics_mean_off_and_repeats_the_last_frame(video, tmp_path):
    rows = resnet3d_features(saved(ResNet(), tmp_path))(video)
    filled = np.concatenate([np.arange(20) * 10, [190] * 12]).mean()
    assert np.allclose(rows, filled - np.array(RESNET_MEAN), atol=1e-4)


def test_a_file_that_is_no_network_is_refused_in_one_line(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="x.pt: expected a TorchScript network .*: download it again") as error:
        inception_features(tmp_path / "x.pt")
    assert "\n" not in str(error.value)


def test_fid_features_are_those_of_clean_fid():
    """Where both the package and the weights are at hand."""
    path = ROOT / MetricWeights().inception
    reference = pytest.importorskip("cleanfid.inception_torchscript")
    if not path.is_file():
        pytest.skip("no Inception weights here")
    frames = np.random.default_rng(0).integers(0, 255, (2, 64, 48, 3)).astype(np.uint8)
    network = reference.InceptionV3W(str(path.parent), download=False, resize_inside=False)
    wanted = network(torch.from_numpy(resized(frames, 299)).permute(0, 3, 1, 2)).detach().numpy()
    np.testing.assert_allclose(inception_features(path)(frames), wanted, atol=1e-4)


def test_without_weights_every_metric_is_absent_and_says_what_gets_them():
    metrics = {metric.name: metric for metric in network_metrics(NOWHERE, "cpu")}
    assert set(metrics) == {"lpips", "fid", "fid_vid", "fvd", "fd_demo", "clip_i", "csim"}
    assert all("no weights at /nowhere/x: " in metric.absent for metric in metrics.values())
    assert "hf download openai/clip-vit-base-patch32 --local-dir /nowhere/x" in metrics["clip_i"].absent


def test_a_package_that_is_missing_or_broken_is_a_reason(tmp_path, monkeypatch):
    (tmp_path / "lpips.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    (tmp_path / "x.pth").write_bytes(b"x")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lpips", raising=False)
    metric = network_metrics(replace_weights(alexnet=str(tmp_path / "x.pth")), "cpu")[0]
    assert metric.name == "lpips" and "torchvision::nms does not exist" in metric.absent
    assert unusable("no_such_package") == "the package no_such_package is not installed: pip install -r requirements-eval.txt"


def test_likeness_to_the_reference_falls_with_damage():
    rng = np.random.default_rng(0)
    picture = np.kron(rng.integers(0, 255, (8, 6, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    case = ClipCase("a", "a", "squat", 10.0, np.repeat(picture[None], 3, axis=0), reference=picture)
    metric = next(m for m in network_metrics(replace_weights(clip=ENCODER), "cpu") if m.name == "clip_i")
    scores = [metric.of(replace(case, video=degrade.tinted(case.video, levels))).value for levels in (0, 30, 90)]
    assert scores[0] == pytest.approx(1, abs=1e-5) and scores[0] > scores[1] > scores[2], scores


def replace_weights(**paths: str) -> MetricWeights:
    return replace(NOWHERE, **paths)


# ---------------------------------------------------------------- LPIPS

def test_alexnets_layers_go_into_the_slices_by_their_number():
    target = nn.ModuleDict({"slice1": nn.ModuleDict({"0": nn.Linear(2, 2)}), "slice2": nn.ModuleDict({"3": nn.Linear(2, 2)})})
    trunk = {f"{layer}.{kind}": torch.rand_like(target[part][layer].get_parameter(kind))
             for part, layer in (("slice1", "0"), ("slice2", "3")) for kind in ("weight", "bias")}
    load_trunk(target, trunk)
    assert torch.equal(target["slice2"]["3"].weight, trunk["3.weight"])
    with pytest.raises(ValueError, match="3.bias.*download it again"):
        load_trunk(target, {name: value for name, value in trunk.items() if name != "3.bias"})


def test_the_package_lpips_has_alexnets_layers_where_we_look_for_them():
    if reason := unusable("lpips"):
        pytest.skip(reason)
    package, torchvision = importlib.import_module("lpips"), importlib.import_module("torchvision")
    features = torchvision.models.alexnet(weights=None).features.state_dict()
    load_trunk(package.LPIPS(net="alex", pnet_rand=True, verbose=False).net, features)


# ---------------------------------------------------------------- faces

def face_skeleton(offset=(0.0, 0.0), scale=1.0, confidence=1.0) -> Skeleton:
    """One frame whose face lies where ArcFace's template has it, scaled and moved."""
    keypoints = np.zeros((1, 133, 3))
    for points, place in zip(FACE_POINTS, FACE_TEMPLATE):
        keypoints[0, list(points)] = (*(scale * place + offset), confidence)
    return Skeleton(keypoints, (200, 200), fps=10)


def test_a_face_anywhere_is_turned_onto_the_template():
    picture = np.random.default_rng(0).integers(0, 255, (28, 28, 3)).astype(np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    frame = np.zeros((200, 200, 3), np.uint8)
    frame[30:142, 50:162] = picture
    crop = face_crop(frame, face_skeleton((50, 30)).keypoints[0])
    assert np.abs(crop.astype(int) - picture).mean() < 2
    assert face_crop(frame, face_skeleton(confidence=0.1).keypoints[0]) is None


def test_csim_compares_faces_and_a_hidden_face_counts_nothing(tmp_path):
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])]
    graph = helper.make_graph(nodes, "face", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 112, 112])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])])
    path = tmp_path / "face.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    metric = next(m for m in network_metrics(replace_weights(face=str(path)), "cpu") if m.name == "csim")
    red, blue = (np.full((1, 200, 200, 3), colour, np.uint8) for colour in ((250, 10, 10), (10, 10, 250)))
    skeleton = face_skeleton((40, 40))
    case = ClipCase("a", "a", "squat", 10.0, red, reference=red[0], seen=skeleton, reference_seen=skeleton)
    assert metric.of(case).value == pytest.approx(1) and metric.of(replace(case, video=blue)).value < 0
    hidden = metric.of(replace(case, seen=face_skeleton(confidence=0.1)))
    assert hidden == Score(0.0, "no face is seen in the video")                  # hiding the face is no way out
    assert metric.of(replace(case, video=None, failure="no file")) == Score(0.0, "no file")
    faceless = metric.of(replace(case, reference_seen=face_skeleton(confidence=0.1)))
    assert np.isnan(faceless.value) and faceless.note == "no face is seen in the reference picture"
    assert metric.of(replace(case, reference_seen=None)).note == "no skeleton of the reference picture"
