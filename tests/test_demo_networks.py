"""The demo's own networks and their training: official contracts, lossless export, targets that can be read back."""
import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from demo.pose_samples import cell_targets, person_box, PoseSamples, unusual
from demo.train_pose import export, fit, NetworkTask, PersonNetwork, pose_loss, PoseNetwork
from dwpose.networks import decode, person_boxes, PersonDetector, PoseHead
from dwpose.skeleton import HANDS


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """A cache of two clips whose pictures are noise and whose people are a line of points."""
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(0)
    keypoints = np.ones((2, 3, 133, 3), np.float32)
    keypoints[..., 0] = 90 + 20 * np.sin(np.arange(133))
    keypoints[..., 1] = np.linspace(40, 280, 133)
    np.save(folder / "frames.npy", rng.integers(0, 256, (2, 3, 320, 192, 3)).astype(np.uint8))
    np.save(folder / "keypoints.npy", keypoints)
    np.save(folder / "rendered.npy", np.array([True, True]))
    return PoseSamples(folder)


@pytest.mark.parametrize("network, shape, names, loader", [
    (PersonNetwork, (3, 640, 640), ["output"], PersonDetector),
    (PoseNetwork, (3, 384, 288), ["simcc_x", "simcc_y"], PoseHead)])
def test_an_exported_network_has_the_official_contract_and_equals_torch(tmp_path, network, shape, names, loader):
    torch.manual_seed(0)
    model = network(8).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())       # the file stores halves
    path = export(model, tmp_path / "net.onnx", torch.zeros(1, *shape), "input", names)
    session = onnxruntime.InferenceSession(path)
    images = torch.randn(2, *shape)
    with torch.no_grad():
        wanted = model(images)
    for found, expected in zip(session.run(None, {"input": images.numpy()}), wanted if len(names) > 1 else [wanted]):
        np.testing.assert_allclose(found, expected, atol=2e-3)          # batch norms are folded before halving
    assert loader.load(path).dynamic_batch
    assert path.stat().st_size < 2.5 * sum(p.numel() for p in model.parameters()) + 40_000


def test_confidence_is_the_maximum_of_both_lines():
    model = PoseNetwork(8).eval()
    crops = torch.randn(2, 3, 384, 288)
    with torch.no_grad():
        x, y = model(crops)
        _, _, seen = model.lines(nn.functional.avg_pool2d(crops, 2))
    np.testing.assert_allclose(decode(x.numpy(), y.numpy())[1], seen.sigmoid(), rtol=1e-5)


def test_cells_decode_to_the_boxes_they_were_made_from():
    boxes = np.array([[10, 20, 60, 140], [90, 30, 120, 100.0]])         # of 160 x 160
    owned, counted, numbers = cell_targets(boxes)
    rows = np.zeros((8400, 85), np.float32)
    rows[-400:, :4], rows[-400:, 4], rows[:, 5] = numbers, owned * (0.5 + 0.01 * numbers[:, 3]), 1
    found = person_boxes(rows, ratio=4)                                 # 160 * 4 = 640
    np.testing.assert_allclose(found[np.argsort(found[:, 0]), :4], boxes, atol=1e-3)
    assert (counted[owned > 0] > 1).all()


def test_a_network_that_knows_the_answer_has_no_pose_loss(samples):
    batch = samples.crops(8, np.random.default_rng(1))

    class Oracle(nn.Module):
        def lines(self, pixels):
            axes = [-(torch.arange(n) - batch["points"][..., axis, None]) ** 2 / (2 * sigma**2)
                    for axis, n, sigma in ((0, 576, 6.0), (1, 768, 6.93))]
            return *axes, torch.logit(batch["points"][..., 2], eps=1e-6)

    class Shifted(Oracle):
        def lines(self, pixels):
            x, y, seen = super().lines(pixels)
            return x.roll(20, dims=-1), y, seen

    gaussian_entropy = sum(0.5 * np.log(2 * np.pi * np.e * sigma**2) for sigma in (6.0, 6.93))
    assert float(pose_loss(Oracle(), batch)) == pytest.approx(gaussian_entropy, rel=0.02)
    assert float(pose_loss(Shifted(), batch)) > gaussian_entropy + 3


def test_hands_that_are_not_drawn_are_unseen_and_not_guessed(samples):
    tries = [samples.picture(np.random.default_rng(seed), drawn=True) for seed in range(20)]
    handless = [keypoints[HANDS, 2].max() == 0 for _, keypoints, _ in tries]
    assert 3 < sum(handless) < 17
    for (_, _, known), bare in zip(tries, handless):
        assert bool(known[HANDS].any()) != bare


def test_people_fit_in_their_boxes(samples):
    box = person_box(samples.keypoints[0, 0])
    places = samples.keypoints[0, 0, :, :2]
    assert (places >= box[:2]).all() and (places <= box[2:]).all()


def test_people_turned_away_or_with_raised_arms_are_unusual():
    facing = np.zeros((133, 3), np.float32)
    facing[[5, 6], :2], facing[[11, 12], :2], facing[[9, 10], :2] = [(60, 50), (40, 50)], [(55, 90), (45, 90)], [(65, 90), (35, 90)]
    away, raised = facing.copy(), facing.copy()
    away[[5, 6]] = facing[[6, 5]]
    raised[10, 1] = 30
    assert np.isclose(unusual(facing), -0.5) and np.isclose(unusual(away), 0.5) and np.isclose(unusual(raised), 0.0)


def test_resume_equals_never_stopping(tmp_path):
    def train(folder, stop_at=None):
        calls = []

        def draw(count, rng):
            if stop_at is not None and len(calls) == stop_at:
                raise KeyboardInterrupt
            calls.append(1)
            return {"pixels": torch.from_numpy(rng.normal(size=(count, 20)).astype(np.float32))}

        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(20, 20), nn.BatchNorm1d(20), nn.Linear(20, 20))
        loss_of = lambda net, batch: (net(batch["pixels"]) - batch["pixels"].roll(1, 0)).square().mean()
        write = lambda net, into: torch.save(net.state_dict(), into / "net.pt")
        fit(NetworkTask(network, loss_of, write, {}), draw, folder, rounds=[12, 5], batch=8, seed=0, checkpoint_every=5)
        return network

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", stop_at=8 * 14 + 3)
    resumed = train(tmp_path / "parts")
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values()):
        assert torch.equal(a, b), name
