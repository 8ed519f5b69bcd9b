"""PoseNet against the published one's recorded outputs."""
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from mimicmotion.networks import PoseNet

FIXTURES = Path(__file__).parent / "fixtures" / "mimicmotion"
GOLDEN = load_file(FIXTURES / "posenet.safetensors")


def golden_pose_net() -> PoseNet:
    net = PoseNet(out_channels=32)
    net.load_state_dict({name.removeprefix("weights."): tensor.float() for name, tensor in GOLDEN.items()
                         if name.startswith("weights.")})
    return net


@torch.no_grad()
def test_pose_net_equals_the_published_one():
    net = golden_pose_net()
    assert_close(net(GOLDEN["input"]), GOLDEN["output"], atol=2e-5, rtol=0)
    assert_close(net(GOLDEN["input"][None]), GOLDEN["output"], atol=2e-5, rtol=0)               # (1, 2, 3, H, W)


def test_a_new_pose_net_changes_nothing_and_can_learn():
    torch.manual_seed(0)
    net = PoseNet(out_channels=64)
    features = net(torch.randn(2, 3, 32, 48))
    assert features.shape == (2, 64, 4, 6) and not features.any()
    features.sum().backward()
    assert net.final_proj.weight.grad.any()
