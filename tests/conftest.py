"""Tiny models for all tests: an SVD folder with random weights and a video checkpoint that belongs to it."""
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

FIXTURES = Path(__file__).parent / "fixtures"


def pytest_addoption(parser):
    parser.addoption("--goldens", type=Path, default=None, metavar="FOLDER",
                     help="a set of golden numbers of the same structure in the place of tests/fixtures/<system>")


@pytest.fixture(scope="session")
def tiny_svd_folder() -> Path:
    """A folder laid out as SVD-xt-1.1, random weights, pictures of multiples of 16; two UNet levels (32, 64)."""
    return FIXTURES / "mimicmotion" / "svd"


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_svd_folder, tmp_path_factory) -> Path:
    """A video checkpoint as MimicMotion's: unet.* (the folder's UNet) and pose_net.* in one .safetensors, float16."""
    unet = load_file(tiny_svd_folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")      # float8, exact in float16
    pose_net = load_file(FIXTURES / "mimicmotion" / "pose_net.safetensors")
    path = tmp_path_factory.mktemp("checkpoint") / "mimicmotion_tiny.safetensors"
    save_file({f"unet.{name}": tensor.half() for name, tensor in unet.items()} | pose_net, path)
    return path
