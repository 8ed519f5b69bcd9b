"""PoseUNet against the published UNet's recorded outputs and diffusers' own class."""
import gzip
import json
from pathlib import Path

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from safetensors.torch import load_file
from torch.testing import assert_close

from mimicmotion.checkpoint import load_unet
from mimicmotion.networks import PoseNet
from mimicmotion.networks import PoseUNet

FIXTURES = Path(__file__).parent / "fixtures" / "mimicmotion"
GOLDEN = load_file(FIXTURES / "unet.safetensors")
INPUTS = ("sample", "timestep", "encoder_hidden_states", "added_time_ids")


@pytest.fixture(scope="module")
def unet(tiny_svd_folder):
    return load_unet(tiny_svd_folder / "unet", torch.float32)


def inputs(batch: str = "in", pose: bool = True) -> dict:
    names = (*INPUTS, "pose_latents") if pose else INPUTS
    return {name: GOLDEN[f"{batch}.{name}"] for name in names}


@torch.no_grad()
@pytest.mark.parametrize("batch", ["", "2"])
def test_unet_equals_the_published_one_with_and_without_pose(unet, batch):
    assert_close(unet(**inputs(f"in{batch}", pose=False)).sample, GOLDEN[f"out{batch}.no_pose"], atol=1e-4, rtol=0)
    assert_close(unet(**inputs(f"in{batch}")).sample, GOLDEN[f"out{batch}.with_pose"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_zero_pose_is_bit_identical_to_diffusers(unet):
    plain = UNetSpatioTemporalConditionModel.from_config(unet.config)
    plain.load_state_dict(unet.state_dict())
    wanted = plain.eval()(**inputs("in2", pose=False)).sample
    given = inputs("in2")
    given["pose_latents"] = torch.zeros_like(given["pose_latents"])
    assert torch.equal(unet(**given).sample, wanted)
    assert torch.equal(unet(**inputs("in2", pose=False)).sample, wanted)


@torch.no_grad()
def test_each_sample_of_a_batch_sees_its_own_pose(unet):
    given = inputs("in2")
    swapped = {name: value if value.ndim == 0 else value.unflatten(0, (2, -1))[[1, 0]].flatten(0, 1)
               for name, value in given.items()}
    assert_close(unet(**swapped).sample, unet(**given).sample[[1, 0]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_the_pose(unet, checkpointing):
    unet.enable_gradient_checkpointing() if checkpointing else unet.disable_gradient_checkpointing()
    given = inputs()
    pose = given["pose_latents"] = given["pose_latents"].clone().requires_grad_()
    unet.train()(**given).sample.square().mean().backward()
    unet.eval().zero_grad()
    per_frame = pose.grad.abs().amax(dim=(1, 2, 3))
    assert pose.grad.isfinite().all() and per_frame.min() > 0


def test_full_size_names_and_shapes_are_the_published_ones():
    manifest = json.loads(gzip.decompress((FIXTURES / "manifest_mimicmotion_1-1.json.gz").read_bytes()))
    with torch.device("meta"):
        unet = PoseUNet.from_config(manifest["unet_config"])
        pose_net = PoseNet(unet.config.block_out_channels[0])
    ours = {f"{part}.{name}": list(tensor.shape) for part, module in (("unet", unet), ("pose_net", pose_net))
            for name, tensor in module.state_dict().items()}
    assert ours == manifest["tensors"]
