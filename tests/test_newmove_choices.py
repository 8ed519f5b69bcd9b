"""Which frames, timesteps and weights a run takes, as the published code takes them; and which prompts a file holds."""
import hashlib
import json
from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import UNet3DConditionModel

from newmove.clips import Clip, bucket, clips_in, frame_indices, frame_stride, nearest_indices, start_choices, warn_about_word
from newmove.generation import prompts_from, read_prompts, seed_setting
from newmove.objective import flow_sigmas, MODES, PAPER, sample_timesteps, tilted, timestep_probabilities, trained_names

FIXTURES = Path(__file__).parent / "fixtures"
ZEROSCOPE = dict(sample_size=32, block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=1024, attention_head_dim=64)


@pytest.fixture(scope="module")
def goldens(request):
    return request.config.getoption("--goldens") or FIXTURES / "newmove"


def facts_of(goldens, name):
    return json.loads((goldens / name).read_text(encoding="utf-8"))


def names_of(**config):
    with init_empty_weights():
        network = UNet3DConditionModel(**config)
    return {name: parameter.numel() for name, parameter in network.named_parameters()}


def test_frames_are_those_of_the_published_code(goldens):
    for case in facts_of(goldens, "frames.json")["cases"]:
        stride = frame_stride(case["length"], case["native_fps"], case["fps"])
        assert stride == case["every"], case
        assert case["length"] // stride == case["effective_length"]
        assert start_choices(case["length"], stride, case["n_frames"]) == case["start_choices"], case
        found = frame_indices(case["length"], stride, case["n_frames"], case["start"])
        assert found == case["padded"] and found[:len(case["indices"])] == case["indices"], case


def test_resampling_keeps_the_speed_of_the_motion():
    assert nearest_indices(100, 60, 24, 5, 0) == [0, 2, 5, 7, 10]            # 2.5 frames apart, not 2
    assert nearest_indices(6, 12, 24, 5, 3) == [3, 3, 4, 4, 5]


def test_buckets_keep_landscape_landscape_and_upright_upright():
    assert bucket((720, 1280), (384, 384), 64) == (256, 384)
    assert bucket((1280, 720), (384, 384), 64) == (384, 256)
    assert bucket((480, 640), (384, 384), 64) in ((256, 384), (320, 384))
    assert bucket((512, 512), (384, 384), 64) == (384, 384)


def test_timestep_tables_are_the_published_ones(goldens):
    facts = facts_of(goldens, "timesteps.json")
    assert set(facts["modes"]) == set(MODES)
    for mode, wanted in facts["modes"].items():
        p = timestep_probabilities(mode, facts["num_train_timesteps"])
        assert (p - torch.tensor(wanted["p"], dtype=torch.float64)).abs().max() <= 1e-12
        t = torch.arange(len(p), dtype=torch.float64)
        assert abs(float((p * t).sum()) - wanted["mean"]) < 1e-6 and abs(float(p[500:].sum()) - wanted["P_ge_500"]) < 1e-9


def test_drawn_timesteps_follow_their_own_table_and_no_other(goldens):
    facts = facts_of(goldens, "timesteps.json")
    draws, limit = facts["chi_square"]["draws"], facts["chi_square"]["reject_above"]
    bins = {mode: torch.tensor(wanted["bins50"], dtype=torch.float64) for mode, wanted in facts["modes"].items()}
    for mode in facts["modes"]:
        p = timestep_probabilities(mode, facts["num_train_timesteps"])
        drawn = sample_timesteps(p, (draws,), torch.Generator().manual_seed(3))
        counts = torch.bincount(drawn // (len(p) // len(bins[mode])), minlength=len(bins[mode])).double()
        statistic = {other: float(((counts - draws * b).square() / (draws * b)).sum()) for other, b in bins.items()}
        assert statistic[mode] < limit
        assert all(statistic[other] > 10 * limit for other in bins if other != mode)


def test_tilted_numbers_for_flow_matching_have_the_stated_density():
    uniform = torch.rand(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noisy = tilted(uniform, "high-level")
    assert abs(float(noisy.mean()) - 0.6013) < 2e-3                          # 1/2 + 1/pi^2
    assert torch.allclose(tilted(uniform, "uniform"), uniform, atol=1e-9)
    edges = torch.linspace(0, 1, 11, dtype=torch.float64)
    mass = edges - 0.5 / torch.pi * torch.sin(torch.pi * edges)
    assert (torch.histogram(noisy, edges).hist / len(noisy) - mass.diff()).abs().max() < 3e-3


def test_flow_matching_is_tilted_once_only():
    uniform = torch.rand(100_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(flow_sigmas(uniform, "high-level", 5.0), flow_sigmas(uniform, "high-level", 1.0))
    assert abs(float(flow_sigmas(uniform, "uniform", 3.0).mean()) - 0.676) < 3e-3
    assert abs(float(flow_sigmas(uniform, "uniform", 5.0).mean()) - 0.747) < 3e-3


def test_an_unknown_way_of_sampling_names_the_three():
    with pytest.raises(ValueError, match="sampling: expected uniform, high-level, low-level .found 'high'"):
        timestep_probabilities("high")


def test_trained_weights_are_the_published_ones_on_the_tiny_and_the_real_model(goldens):
    facts = facts_of(goldens, "trainable.json")
    config = facts_of(goldens, "pipeline/unet/config.json")
    tiny = names_of(**{key: value for key, value in config.items() if not key.startswith("_")})
    real = names_of(**ZEROSCOPE)
    assert [len(tiny), sum(tiny.values())] == facts["tiny_total"] and [len(real), sum(real.values())] == facts["real_total"]
    for setting, wanted in facts["settings"].items():
        groups = setting.split("+")
        names = list(tiny) if wanted["tiny_names"] == "all" else wanted["tiny_names"]
        assert sorted(trained_names(tiny, groups)) == sorted(names), setting
        assert [len(names), sum(tiny[name] for name in names)] == wanted["tiny"], setting
        found = trained_names(real, groups)
        assert [len(found), sum(real[name] for name in found)] == wanted["real"], setting
        assert hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest() == wanted["real_names_sha256"], setting


def test_the_order_of_groups_makes_no_difference_and_a_single_name_is_a_list_of_one():
    names = [f"down_blocks.0.{part}.weight" for part in ("resnets.0.conv", "attentions.0.attn2.to_k", "temp_convs.0.conv1")]
    assert trained_names(names, ["cross", "resnets"]) == trained_names(names, ["resnets", "cross"]) == names[:2]
    assert trained_names(names, "temp_convs") == trained_names(names, ["temp_convs"]) == names[2:]


@pytest.mark.parametrize("groups", ["none", ["cross", "tmep_convs"], [""], []])
def test_a_group_that_selects_nothing_is_an_error(groups):
    with pytest.raises(ValueError, match="trainable_modules: expected"):
        trained_names(["down_blocks.0.attentions.0.attn2.to_k.weight"], groups)
    assert PAPER == ("cross", "temporal", "temp_convs")


DEFAULT = 123456


def cases(goldens):
    return facts_of(goldens, "prompts.json")["cases"]


def test_every_prompts_file_is_read_as_recommended(goldens):
    for case in cases(goldens):
        path, wanted = goldens / case["file"], case["expected"]
        if isinstance(wanted, dict):
            with pytest.raises(ValueError) as error:
                read_prompts(path, DEFAULT)
            for words in wanted["error"].split(": "):
                assert words in str(error.value), (case["file"], str(error.value))
            assert str(path) in str(error.value) and "\n" not in str(error.value)
        else:
            found = [(prompt.seed, prompt.text) for prompt in read_prompts(path, DEFAULT)]
            assert found == [(DEFAULT if seed == "default" else seed, text) for seed, text in wanted], case["file"]


def test_a_seed_of_thousands_of_digits_is_one_short_line(tmp_path):
    path = tmp_path / "prompts.txt"
    for digits in (30, 5000):
        path.write_text(f"1,a\n{'9' * digits},b")
        with pytest.raises(ValueError, match="line 2.*seed out of range") as error:
            read_prompts(path, 1)
        assert len(str(error.value)) < 300
    path.write_text(f"{'0' * 5000}7,b")
    assert read_prompts(path, 1)[0].seed == 7


def test_the_command_line_takes_prompts_between_bars_and_a_seed_or_random(goldens, tmp_path):
    assert [(p.seed, p.text) for p in prompts_from("a man | a dog, running", 5)] == [(5, "a man"), (5, "a dog, running")]
    assert len({p.seed for p in prompts_from("|".join("abcdefgh"), "random")}) > 1
    assert prompts_from("猫" * 200, 5)[0].text == "猫" * 200                   # as a file's name it would be too long
    assert seed_setting(" 12 ") == 12 and seed_setting("random") == "random"
    for wrong in ("abc", "1.5", "1_000", "٣", ""):
        with pytest.raises(ValueError, match="-s: expected an integer or random"):
            seed_setting(wrong)
    with pytest.raises(FileNotFoundError, match="expected a prompts file"):
        prompts_from(str(tmp_path / "absent.txt"), 1)
    with pytest.raises(ValueError, match="empty prompt"):
        prompts_from("a||b", 1)


def films(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_captions_come_from_text_files_then_the_table_then_the_fallback(tmp_path):
    folder = films(tmp_path / "clips", "c.mp4", "a.mp4", "b.MP4")
    (folder / "a.txt").write_text("  a woman\n doing the sks dance ")
    (folder / "text.json").write_text(json.dumps({"b.MP4": ["one", "two "], "a.mp4": "not this"}))
    found = clips_in(folder, ["said of the rest"])
    assert [(clip.path.name, clip.captions) for clip in found] == [
        ("a.mp4", ("a woman doing the sks dance",)), ("b.MP4", ("one", "two")), ("c.mp4", ("said of the rest",))]
    with pytest.raises(ValueError, match="found none for 1 of 3, first c.mp4.*write c.txt"):
        clips_in(folder, [None, ""])
    assert clips_in(films(tmp_path / "prior", "a_man_waves.mp4"), from_name=True)[0].captions == ("a man waves",)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_caption_that_is_not_utf8_is_refused_by_name(tmp_path, encoding):
    folder = films(tmp_path / "clips", "a.mp4")
    (folder / "a.txt").write_bytes("Sie grüßt.".encode(encoding))
    with pytest.raises(ValueError, match="a.txt: expected text in UTF-8 .found the byte 0xf.*: save it as UTF-8"):
        clips_in(folder)


def test_a_word_that_no_caption_has_is_warned_about(caplog):
    clips = [Clip("a.mp4", ("a woman doing the SKS dance",))]
    warn_about_word(clips, "sks")
    assert not caplog.records
    warn_about_word(clips, "xyz")
    assert "'xyz' is in no caption" in caplog.text
