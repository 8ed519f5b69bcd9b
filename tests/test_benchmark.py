"""The benchmark compares like with like: the re-enacted published programs give our results."""
import json
import sys
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from dwpose.draw import draw
from mimicmotion.latents import decode
from benchmarks import published
from scripts import benchmark
from benchmarks.stages import random_frames, random_model, recorded_networks, SCALES, STAGES, waving_person
from benchmarks.timing import Bench, counted, measure
from t2m.networks import GPT

TINY = SCALES["tiny"]
SHORT = ["--scale", "tiny", "--repeats", "1"]


@pytest.fixture(scope="module")
def model():
    return random_model(TINY, "cpu", torch.float32)


def test_the_published_sampler_gives_our_latents_with_more_work(model):
    poses, generator = random_frames(6, TINY.size), lambda: torch.Generator().manual_seed(3)
    call = dict(num_inference_steps=2, tile_size=4, tile_overlap=2)
    posed = []
    hook = model.pose_net.register_forward_hook(lambda module, given, output: posed.append(len(output)))
    ours = model.sample(poses[0], poses, generator(), progress=False, **call)
    assert sum(posed) == 6
    theirs = published.sample(model, poses[0], poses, generator(), **call)
    hook.remove()
    assert sum(posed) == 6 + 2 * 2 * 4                                            # steps x tiles x frames of a tile
    assert_close(theirs, ours, atol=5e-4, rtol=0)            # two orders of summing: each is 1e-4 to 2e-4 from float64
    other = published.sample(model, poses[0], poses[::-1], generator(), **call)
    assert (theirs - other).abs().max() > 1e-3                                     # and the poses have a say


def test_the_published_brush_leaves_the_same_bytes():
    person = waving_person(2, (256, 144))
    assert np.array_equal(published.draw(person), draw(person, "mimicmotion")) and published.draw(person).any()


def test_the_published_decoding_gives_the_same_tokens():
    gpt = GPT(**TINY.gpt).eval()
    text = torch.randn(1, 16, generator=torch.Generator().manual_seed(0))
    ours = gpt.sample(text, min_steps=10, max_steps=10)[0].tolist()
    assert published.gpt_tokens(gpt, text, 10) == ours and len(ours) == 10


def test_the_published_decoder_gives_the_same_frames(model):
    latents = torch.randn(5, 4, 8, 6, generator=torch.Generator().manual_seed(0))
    frames = published.decode(model.vae, latents, 2)
    assert frames.shape == (5, 64, 48, 3) and frames.std() > 0
    assert np.abs(frames.astype(int) - decode(model.vae, latents, 2).numpy()).max() <= 1       # truncated, not rounded


def test_recorded_networks_answer_with_the_person_asked_for():
    person = waving_person(1, (256, 144)).keypoints[0]
    people, head = recorded_networks(person, (256, 144))
    found = published.detect(people, head, random_frames(1, (256, 144)))[0]
    assert found.shape == (134, 3) and found[17, 2] == 1
    low, high = person[:, :2].min(axis=0), person[:, :2].max(axis=0)
    assert (found[:17, :2] > low - 0.5 * (high - low)).all() and (found[:17, :2] < high + 0.5 * (high - low)).all()


def test_variants_take_turns_and_arithmetic_is_counted():
    order, weight = [], torch.ones(8, 8)
    variants = {name: lambda name=name: (order.append(name), weight @ weight)[1] for name in ("ours", "published")}
    result, outputs = measure(variants, Bench("cpu", torch.float32, "tiny", 2, True, 0))
    assert order == ["ours", "published"] * 3 and result.tflop == dict.fromkeys(variants, 2 * 8**3 / 1e12)
    assert set(result.ratios) == {"ours"} and torch.equal(outputs["ours"], weight @ weight)
    query = torch.ones(1, 2, 4, 8)
    attention = counted(lambda: torch.nn.functional.scaled_dot_product_attention(query, query, query))[1]
    assert attention == 2 * 2 * 2 * 4 * 4 * 8                                     # two products, 2 heads; on a CPU, too


def test_a_tiny_run_writes_ratios_a_table_and_a_plot(tmp_path, capsys):
    only = ["draw", "pose", "gpt", "decode", "pipeline", "balanced", "full_size"]
    assert benchmark.main([*SHORT, "--published", "--steps", "1", "--only", *only, "--output", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert list(found["stages"]) == only and found["machine"]["scale"] == "tiny"
    for name, stage in found["stages"].items():
        seconds = stage["median_seconds"]
        assert stage["ratios"]["ours"] == pytest.approx(seconds["published"] / seconds["ours"])
    assert found["stages"]["pipeline"]["facts"]["largest_difference"] < 2e-4
    assert found["stages"]["gpt"]["facts"]["same_tokens"] == "True"
    assert found["stages"]["draw"]["facts"]["largest_difference"] == 0
    assert found["stages"]["full_size"]["facts"]["share_of_peak"] > 0
    assert set(found["stages"]["full_size"]["ratios"]) > {"ours", "balanced", "all_keys"}
    assert found["stages"]["pose"]["facts"]["largest_difference_pixels"] < 0.01
    assert found["stages"]["pipeline"]["tflop"]["published"] > found["stages"]["pipeline"]["tflop"]["ours"] > 0
    printed = capsys.readouterr().out
    assert "sampler, equal latents" in printed and "≥" not in printed              # tiny networks owe nothing
    assert np.asarray(Image.open(tmp_path / "benchmark.png")).std() > 0


def test_an_interrupted_run_keeps_what_is_finished(tmp_path, monkeypatch):
    def interrupt(bench):
        """Never ends."""
        raise KeyboardInterrupt

    monkeypatch.setitem(STAGES, "gpt", type(STAGES["gpt"])(interrupt, "never"))
    assert benchmark.main([*SHORT, "--only", "draw", "gpt", "--output", str(tmp_path)]) == 130
    assert list(json.loads((tmp_path / "benchmark.json").read_text())["stages"]) == ["draw"]


@pytest.mark.parametrize("argument, words", [(["--device", "tpu"], "device: must be"),
                                             (["--output", __file__], "cannot be written to .* choose another place with --output"),
                                             (["--checkpoint", "a.pth"], "--checkpoint: expected --svd")])
def test_bad_arguments_are_one_line(argument, words):
    with pytest.raises(ValueError, match=words):
        benchmark.main(argument)


@pytest.mark.parametrize("script, argument, words", [
    ("benchmark", "--repeats=0", "1 or more (found '0')"), ("benchmark", "--steps=few", "0 or more (found 'few')"),
    ("benchmark_customization", "--size=100", "in multiples of 8, 8 or more (found '100')"), ("benchmark_musepose", "--width=-32", "in multiples of 32"),
    ("customization_memory", "--frames=1.5", "1 or more (found '1.5')"), ("evaluate_photo", "--frames=1", "2 or more (found '1')")])
def test_a_number_that_cannot_work_is_refused_by_its_option(script, argument, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, argument])
    with pytest.raises(SystemExit) as ended:
        import_module(f"scripts.{script}").main()
    said = capsys.readouterr().err
    assert ended.value.code == 2 and f"argument {argument.split('=')[0]}: expected a whole number" in said and words in said


@pytest.mark.parametrize("size, says", [("320x", "a side in pixels or HEIGHTxWIDTH"), ("8x8x8", "a side in pixels or HEIGHTxWIDTH"),
                                        ("321", "multiples of 8"), ("0", "multiples of 8"), ("320x4", "multiples of 8")])
def test_a_size_that_has_no_latents_is_one_line(size, says, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["customization_memory.py", "--size", size])
    with pytest.raises(ValueError, match=f"--size: expected {says}"):
        import_module("scripts.customization_memory").main()
