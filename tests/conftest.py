"""Tiny models for all tests: an SVD folder with random weights and a video checkpoint that belongs to it."""
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

FIXTURES = Path(__file__).parent / "fixtures"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "goldens"     # beside the repository, where there is one


def pytest_addoption(parser):
    parser.addoption("--goldens", type=Path, metavar="FOLDER",
                     help="numbers of published code to compare with, in place of tests/fixtures/<system>")


@pytest.fixture(scope="session")
def goldens(request):
    """goldens(system, *files): the folder with these files of a system's numbers; without one the test is skipped.

    First the folder of --goldens, or its subfolder of the system's name, then the copies in the repository.
    """
    given = request.config.getoption("--goldens")

    def find(system: str, *files: str) -> Path:
        places = [] if given is None else [given, given / system]
        for folder in (*places, FIXTURES / system, SHARED / system):
            if all((folder / name).exists() for name in files):
                return folder
        pytest.skip(f"{system}: {', '.join(files)} are too large for the repository: give their folder by --goldens")

    return find


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
