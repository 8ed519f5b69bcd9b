"""A UNet as CPUs like it gives what the plain one gives."""
import pytest
import torch
from diffusers.models.attention import FeedForward
from torch import nn

from runtime import cpu_layers
from runtime.cpu_layers import faster_on_cpu

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return nn.ModuleDict({"wide": FeedForward(8, activation_fn="geglu"),
                          "time": nn.Conv3d(4, 6, (3, 1, 1), padding=(1, 0, 0)),
                          "space": nn.Conv3d(4, 6, (1, 3, 3), padding=(0, 1, 1)),
                          "strided": nn.Conv3d(4, 6, (3, 1, 1), (2, 1, 1), (1, 0, 0))}).requires_grad_(False)


@pytest.mark.parametrize("name, shape", [("wide", (7, 5, 8)), ("time", (2, 4, 5, 3, 2))])
def test_the_same_numbers(layers, monkeypatch, name, shape):
    monkeypatch.setattr(cpu_layers, "PORTION", 5 * 2 * 32 * 4 * 2)                           # two rows of the wide layer
    x = torch.randn(shape)
    wanted = layers[name](x)
    with faster_on_cpu(layers, CPU):
        result = layers[name](x)
        torch.testing.assert_close(result, wanted)
        torch.testing.assert_close(layers[name](x[:1]), result[:1], rtol=1e-3, atol=5e-7)     # half a batch, to a rounding:
    assert "forward" not in vars(layers[name])              # some CPUs sum a product of other shape in another order


def test_only_what_gains_is_replaced_and_only_on_a_cpu(layers):
    layers["wide"].forward = parts = lambda hidden: hidden                               # runs in parts already
    with faster_on_cpu(layers, CPU):
        assert [name for name in layers if "forward" in vars(layers[name])] == ["wide", "time"]
        assert layers["wide"].forward is parts
    assert "forward" not in vars(layers["time"])
    with faster_on_cpu(layers, GPU):
        assert "forward" not in vars(layers["time"])
