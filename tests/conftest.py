"""What several test files share: tiny models, a small cache of rendered clips, a run of MotionBench with stand-ins."""
import os
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")     # read by what follows: the threads of tiny networks only wait for one another

import numpy as np                                # noqa: E402
import pytest                                     # noqa: E402
from safetensors.torch import load_file, save_file      # noqa: E402

FIXTURES = Path(__file__).parent / "fixtures"
PHOTOGRAPH_WEIGHTS = Path(__file__).parent.parent / "weights" / "mediapipe"
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


def mean_colour(pictures: np.ndarray) -> np.ndarray:
    """A stand-in encoder whose four channels tell which picture they came from: (n, 4, 8, 8)."""
    means = pictures.reshape(len(pictures), -1, 3).mean(axis=1) / 255                    # (n, 3)
    return np.concatenate([means, means[:, :1]], axis=1)[:, :, None, None] * np.ones((1, 1, 8, 8))


@pytest.fixture(scope="module")
def clip_cache(tmp_path_factory) -> Path:
    """Three clips of four frames of 64x64, rendered and moved (made darker), all of it encoded by `mean_colour`."""
    from synthetic.clips import encode_cache, move_cache, render_cache

    folder = tmp_path_factory.mktemp("cache")
    render_cache(folder, first_seed=40, num_clips=3, num_frames=4, fps=5, size=(64, 64), workers=1)
    move_cache(folder, lambda picture, reference, skeleton: np.stack([picture // (2 + frame) for frame in range(len(skeleton))]))
    for what in ("frames", "poses", "moved"):
        encode_cache(folder, mean_colour, {"vae": "mean"}, what=what)
    return folder


@pytest.fixture
def run_motionbench(tmp_path, monkeypatch):
    """bench_run.run_in for this test's folder, without the checks of weights nobody needs here."""
    from bench_run import run_in

    monkeypatch.setattr("scripts.eval_motionbench.check_inputs", lambda config: None)
    return partial(run_in, tmp_path)
