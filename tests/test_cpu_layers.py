"""A UNet as CPUs like it gives what the plain one gives."""
import pytest
import torch
from diffusers.models.attention import FeedForward
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
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
                          "strided": nn.Conv3d(4, 6, (3, 1, 1), (2, 1, 1), (1, 0, 0)),
                          "up": Upsample2D(4, use_conv=True, out_channels=6),
                          "resnet": ResnetBlock2D(in_channels=4, out_channels=6, groups=2, temb_channels=None),
                          "timed": ResnetBlock2D(in_channels=4, groups=2, temb_channels=5)}).requires_grad_(False).eval()


@pytest.mark.parametrize("name, shape", [("wide", (7, 5, 8)), ("time", (2, 4, 5, 3, 2)), ("up", (2, 4, 5, 3)),
                                         ("resnet", (5, 4, 5, 3)), ("timed", (5, 4, 5, 3))])
def test_the_same_numbers(layers, monkeypatch, name, shape):
    monkeypatch.setattr(cpu_layers, "PORTION", 5 * 2 * 32 * 4 * 2)                           # two rows of the wide layer
    x = torch.randn(shape)
    more = {"resnet": (None,), "timed": (torch.randn(1, 5),)}.get(name, ())                  # the time embedding
    given, wanted = x.clone(), layers[name](x, *more)
    with faster_on_cpu(layers, CPU):
        result = layers[name](x, *more)
        torch.testing.assert_close(result, wanted)
        assert "forward" in vars(layers[name]) and torch.equal(x, given)                     # what was given is left alone
        torch.testing.assert_close(layers[name](x[:1], *more), result[:1], rtol=1e-3, atol=5e-7)     # half a batch, to a rounding:
    assert "forward" not in vars(layers[name])              # some CPUs sum a product of other shape in another order


def test_only_what_gains_is_replaced_and_only_on_a_cpu(layers):
    layers["wide"].forward = parts = lambda hidden: hidden                               # runs in parts already
    with faster_on_cpu(layers, CPU):
        assert [name for name in layers if "forward" in vars(layers[name])] == ["wide", "time", "up", "resnet", "timed"]
        assert layers["wide"].forward is parts
    assert "forward" not in vars(layers["time"])
    with faster_on_cpu(layers, GPU):
        assert "forward" not in vars(layers["time"])


def test_what_the_fast_forms_do_not_cover_runs_as_it_was(layers):
    """Another size than the double, another type of numbers, training."""
    x = torch.randn(2, 4, 5, 3)
    wanted = layers["up"](x, output_size=(9, 7))
    with faster_on_cpu(layers, CPU):
        assert torch.equal(layers["up"](x, output_size=(9, 7)), wanted)
    with faster_on_cpu(layers.train().bfloat16(), CPU):
        assert not {"forward"} & {*vars(layers["up"]), *vars(layers["resnet"])}


def test_in_training_convolutions_over_time_change_and_their_gradients_do_not(layers):
    layer, x = layers["time"].train().requires_grad_(True), torch.randn(2, 4, 5, 3, 2, requires_grad=True)
    gradients = lambda: torch.autograd.grad(layer(x).square().sum(), [x, layer.weight, layer.bias])
    wanted = gradients()
    with faster_on_cpu(layers, CPU, training=True):
        assert [name for name in layers if "forward" in vars(layers[name])] == ["time"]
        for found, expected in zip(gradients(), wanted, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_group_normalisation_trains_in_float32_and_answers_in_the_precision_of_its_input(layers):
    layer, x = nn.GroupNorm(2, 4), torch.randn(3, 4, 5, 5)
    wanted = layer(x)
    with faster_on_cpu(layer, CPU, training=True), torch.autocast("cpu", torch.bfloat16):
        found, half = layer(x), layer(x.bfloat16())
    assert torch.equal(found, wanted) and half.dtype is torch.bfloat16
    torch.testing.assert_close(half.float(), wanted, rtol=0.02, atol=0.02)
