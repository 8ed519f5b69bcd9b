"""Tiny models for all tests: an SVD folder with random weights and a video checkpoint that belongs to it."""
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

FIXTURES = Path(__file__).parent / "fixtures"
PHOTOGRAPH_WEIGHTS = Path(__file__).parent.parent / "weights" / "mediapipe"


def pytest_addoption(parser):
    parser.addoption("--goldens", type=Path, help="a folder with official results too large for this repository")


@pytest.fixture(scope="session")
def goldens(request) -> Path:
    """The folder given by --goldens; without it the test is left out."""
    folder = request.config.getoption("--goldens")
    if folder is None:
        pytest.skip("compares with recorded official results: --goldens=FOLDER")
    return folder


@pytest.fixture(scope="session")
def photograph_detector():
    """MediaPipeDetector with the downloaded networks; without them the test is left out."""
    from dwpose.mediapipe import MediaPipeDetector
    try:
        return MediaPipeDetector.load(PHOTOGRAPH_WEIGHTS)
    except (FileNotFoundError, ImportError) as error:
        pytest.skip(str(error))


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
