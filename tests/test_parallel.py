"""One video over two real processes: the latents and frames of one, and one error for all."""
import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny_training import launched

import two_processes
from two_processes import CALLS, frames_of, latents_of, models_of, settings_of, video_of

from runtime.processes import ALONE, join_processes
from mimicmotion.pipeline import PoseToVideo


@pytest.fixture(scope="module")
def pair(tiny_svd_folder, tiny_checkpoint, tmp_path_factory):
    """What two processes made: tensors by name, and what they said."""
    out = tmp_path_factory.mktemp("pair")
    assert launched(2, two_processes.main, str(tiny_svd_folder), str(tiny_checkpoint), str(out)) == [0, 0]
    results = []
    for rank in range(2):
        with safe_open(out / f"{rank}.safetensors", "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            results.append((tensors, file.metadata()["said"].split("\n")))
    return results


@pytest.fixture(scope="module")
def alone(tiny_svd_folder, tiny_checkpoint):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield PoseToVideo.load(tiny_svd_folder, tiny_checkpoint)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", CALLS)
def test_two_processes_make_the_latents_of_one_bit_for_bit(pair, alone, name):
    wanted = latents_of(alone, name)
    for tensors, _ in pair:
        assert torch.equal(tensors[name], wanted)


def test_two_processes_decode_the_frames_of_one(pair, alone):
    for tensors, _ in pair:
        assert torch.equal(tensors["frames"], frames_of(alone))


def test_a_stage_of_a_run_is_made_by_both_also_after_a_mistake(pair, tiny_svd_folder, tiny_checkpoint, alone):
    wanted = video_of(models_of(), settings_of(str(tiny_svd_folder), str(tiny_checkpoint)))
    (main, _), (other, _) = pair
    assert main["video"].numpy().shape == (5, 64, 48, 3) and np.array_equal(main["video"].numpy(), wanted)
    assert len(other["video"]) == 0


def test_a_failure_in_one_process_is_the_same_failure_in_all(pair):
    (_, main), (_, other) = pair
    assert main[:2] == other[:2] == ["ValueError: a bad size", "OutOfMemoryError: no memory"]
    assert main[2] == "RuntimeError: process 1 of 2: KeyError: 'a bug'" and other[2] == "KeyError: 'a bug'"


def test_every_process_gets_what_the_main_one_shares(pair):
    assert all(said[3] == "{'seed': 3}" for _, said in pair)


def test_without_a_launcher_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_processes(torch.device("cpu")) is ALONE and ALONE.is_main
    assert list(ALONE.map(lambda x: x + 1, [1, 2])) == [2, 3] and ALONE.shared("x") == "x"
