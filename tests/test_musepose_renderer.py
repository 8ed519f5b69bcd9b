"""MusePose behind the renderers' face, from its own YAML, over two processes, and in the memory there is."""
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import inference
import numpy as np
import pytest
import torch
import yaml
from musepose_tiny import OFFICIAL, tiny_files, tiny_model
from safetensors.torch import load_file, save_file
from tiny_training import launched

from dwpose.skeleton import Skeleton
from media.video_reader import probe, read_video
from media.video_writer import write_video
from musepose import memory
from musepose.checkpoint import load_networks, load_saved_networks, PARTS, WeightFiles
from musepose.memory import fitting_plan, Footprint, Plan, Run
from musepose.pipeline import MusePose
from musepose.published_yaml import read_test_cases, run_cases
from PIL import Image
from renderers import RENDERERS, Scene
from renderers.musepose import MusePoseConfig, MusePoseRenderer, planned
from runtime.processes import join_processes, shut_down
from configs.published import is_musepose
from scripts import benchmark_musepose, check_weights
from scripts.convert_checkpoint import convert
from train_musepose import is_training, MusePoseTraining, own_keys, training_settings


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """A tiny folder in the official layout."""
    folder = tmp_path_factory.mktemp("weights")
    tiny_files(folder, layout=True)
    return folder


def scene_of(frames=3, size=(48, 40)):
    rng = np.random.default_rng(0)
    keypoints = np.concatenate([rng.uniform(8, 32, (frames, 133, 2)), np.ones((frames, 133, 1))], axis=-1)
    skeleton = Skeleton(keypoints, size, 12)
    return Scene(rng.integers(0, 256, (*size, 3), np.uint8), skeleton[0], skeleton, "", None)


def settings_of(folder, **changes):
    return MusePoseConfig(**dict(weights=str(folder), width=32, height=32, num_inference_steps=1, window=4, window_overlap=1) | changes)


def test_a_scene_becomes_a_video_of_the_pictures_size(official):
    module, name = RENDERERS["musepose"].split(":")
    assert (module, name) == (MusePoseRenderer.__module__, MusePoseRenderer.__name__)
    settings, scene, shown = settings_of(official), scene_of(), []
    MusePoseRenderer.check(settings, scene.image.shape[:2], 3, 0)
    renderer = MusePoseRenderer.load(settings)
    video = renderer(scene, torch.Generator().manual_seed(1), show=shown.append, progress=False)
    assert video.shape == (3, 48, 40, 3) and video.dtype == np.uint8 and np.array_equal(np.concatenate(shown), video)
    moved = replace(scene, skeleton=replace(scene.skeleton, keypoints=scene.skeleton.keypoints[::-1].copy()))
    other = renderer(moved, torch.Generator().manual_seed(1), progress=False)
    again = renderer(scene, torch.Generator().manual_seed(1), progress=False)
    assert np.array_equal(video, again) and not np.array_equal(video, other)
    with pytest.raises(ValueError, match="skeleton: expected the picture's canvas"):
        renderer(replace(scene, image=scene.image[:40]), torch.Generator())


@pytest.mark.parametrize(("changes", "words"), [
    ({"width": 500}, "multiples of 8 .found 32x500.: use 32x496 or 32x504"),
    ({"window": 0}, "window: expected 1 to 128"),
])
def test_settings_that_cannot_work_are_refused_before_anything_is_loaded(official, changes, words):
    with pytest.raises(ValueError, match=words):
        MusePoseRenderer.check(settings_of(official, **changes), (48, 40), 3, 0)


def test_a_plan_that_runs_out_of_memory_is_followed_by_a_smaller_one(official, monkeypatch, caplog):
    real, plans = MusePoseRenderer._made, []

    def scarce(self, job, *rest):
        plans.append(job.plan)
        if len(plans) == 1:
            raise torch.OutOfMemoryError("no memory left")
        return real(self, job, *rest)

    monkeypatch.setattr(MusePoseRenderer, "_made", scarce)
    scene = scene_of(4)
    video = MusePoseRenderer.load(settings_of(official))(scene, torch.Generator().manual_seed(0), progress=False)
    assert video.shape == (4, *scene.image.shape) and len(plans) == 2 and plans[0] != plans[1]
    assert "ran out of memory: trying again with less" in caplog.text
    monkeypatch.setattr(MusePoseRenderer, "_made", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError))
    with pytest.raises(ValueError, match="memory: musepose: .* even at their smallest"):
        MusePoseRenderer.load(settings_of(official))(scene, torch.Generator(), progress=False)


def test_idle_networks_on_the_cpu_change_nothing(official):
    rng = np.random.default_rng(2)
    frames = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
    made = [MusePose.load(official, offload=offload)(frames[0], frames[1:], torch.Generator().manual_seed(0), size=(32, 32),
                                                     num_inference_steps=1, pad=False, progress=False)
            for offload in (False, True)]
    assert np.array_equal(*made)


@cache
def footprint_of(size):
    """Of networks of the official size."""
    from diffusers import AutoencoderKL
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from musepose.networks import build_denoiser, build_pose_guider, build_reference_net
    from runtime.weights import empty
    vae = dict(block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
               up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2)
    clip = CLIPVisionConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16,
                            patch_size=14, projection_dim=768)
    build = [build_denoiser, build_reference_net, lambda config: build_pose_guider(320, (16, 32, 96, 256)),
             lambda config: AutoencoderKL(**vae), lambda config: CLIPVisionModelWithProjection(clip)]
    networks = [empty(one, OFFICIAL, Path("config.json")) for one in build]
    return Footprint(*(torch.nn.Module.to(network, "meta", torch.float16).eval() for network in networks), (size, size))


def test_the_official_size_needs_less_than_published_and_fits_smaller_devices_step_by_step():
    run = Run("video", 48, lambda dtype: footprint_of(512))
    whole = Plan(48, torch.float16)
    assert 9 * memory.GIB < run.need(whole) < 16 * memory.GIB                 # published: 16 GB
    half = fitting_plan(whole, run, int(10.8 * memory.GIB))
    assert half == replace(whole, guidance_batch=1)
    tight = fitting_plan(whole, run, int(6.5 * memory.GIB))
    assert tight.offload and tight.window == 48 and run.need(tight) <= 6.5 * memory.GIB
    least = fitting_plan(whole, run, 4 * memory.GIB)
    assert least.window < 48 and run.need(least) <= 4 * memory.GIB
    with pytest.raises(ValueError, match="memory: video: 48 frames of 512x512 need .* GiB even at their smallest"):
        fitting_plan(whole, run, memory.GIB)


def test_the_renderers_check_plans_within_the_memory_it_is_given(official):
    with pytest.raises(ValueError, match="memory: musepose"):
        planned(settings_of(official), (48, 40), 3, 1000, torch.float32)
    assert planned(settings_of(official), (48, 40), 3, 1 << 34, torch.float32)[0].window == 4


@pytest.fixture
def cases(official, tmp_path, monkeypatch):
    """A YAML as MusePose's test_stage_2.yaml, with two pose videos, in the current folder."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (50, 40, 3), np.uint8)).save("ref.png")
    for name, count in (("one", 7), ("two", 4)):
        write_video(Path(f"{name}.mp4"), rng.integers(0, 256, (count, 48, 36, 3), np.uint8), 24)
    content = {f"{place}_path": str(official / where) for place, where in (
        ("pretrained_base_model", "sd-image-variations-diffusers"), ("pretrained_vae", "sd-vae-ft-mse"), ("image_encoder", "image_encoder"),
        *((name, f"MusePose/{name}.pth") for name in ("denoising_unet", "reference_unet", "pose_guider", "motion_module")))}
    content |= {"weight_dtype": "fp16", "inference_config": "./configs/inference_v2.yaml", "test_cases": {"./ref.png": ["./one.mp4", "./two.mp4"]}}
    Path("cases.yaml").write_text(yaml.safe_dump(content))
    return content


FLAGS = ["-W", "32", "-H", "32", "-S", "4", "-O", "1", "--steps", "1", "--output", "out", "--device", "cpu"]


def test_musepose_own_yaml_makes_its_outputs(cases):
    assert is_musepose(Path("cases.yaml")) and run_cases("cases.yaml", FLAGS) == 0
    (folder,) = Path("out").iterdir()
    assert folder.name.endswith("-3.5-pose_guider-motion_module")
    assert sorted(path.name for path in folder.iterdir()) == [
        "ref_one_3.5_1_1.mp4", "ref_one_3.5_1_1_pose_guider_motion_module.mp4", "ref_two_3.5_1_1.mp4",
        "ref_two_3.5_1_1_pose_guider_motion_module.mp4"]
    video, fps = read_video(folder / "ref_one_3.5_1_1.mp4")
    assert video.shape == (3, 48, 36, 3) and fps == 12                        # 7 frames, every second one, whole steps
    assert probe(folder / "ref_one_3.5_1_1_pose_guider_motion_module.mp4").size == (48, 108)


def test_a_published_command_line_without_the_published_repository_names_the_missing_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="^MusePose/configs/test_stage_2.yaml: no such file: .*their own repositories"):
        inference.main(["--inference_config", "MusePose/configs/test_stage_2.yaml", "-W", "512", "-H", "512"])


def test_a_case_that_fails_does_not_lose_the_others_and_each_begins_from_the_seed(cases, official, caplog):
    first = read_test_cases("cases.yaml")
    assert run_cases("cases.yaml", FLAGS) == 0
    before = {path.name: path.read_bytes() for path in Path("out").rglob("ref_two_*.mp4")}
    Path("one.mp4").write_bytes(b"no video")
    assert run_cases("cases.yaml", [*FLAGS[:-3], "again", "--device", "cpu"]) == 2
    after = {path.name: path.read_bytes() for path in Path("again").rglob("*.mp4")}
    assert after == before and "1 of 2 cases failed" in caplog.text and first.dtype == torch.float16


@pytest.mark.parametrize(("change", "words"), [
    (lambda content: content["test_cases"].update({"./ref.png": ["./gone.mp4"]}), "expected the file ./gone.mp4 .found none."),
    (lambda content: content.pop("pose_guider_path"), "expected pose_guider_path"),
    (lambda content: content.update(weight_dtype="fp8"), "weight_dtype: expected fp16 or fp32"),
    (lambda content: content.update(test_cases={}), "expected at least one picture"),
    (lambda content: content.update(test_cases={"./ref.png": [3]}), "expected test_cases: a picture, and under it"),
])
def test_a_yaml_with_a_mistake_is_refused_before_any_case_runs(cases, change, words):
    change(cases)
    Path("cases.yaml").write_text(yaml.safe_dump(cases))
    with pytest.raises(ValueError, match=words):
        run_cases("cases.yaml", FLAGS)
    assert not Path("out").exists()


@pytest.mark.parametrize(("flags", "words"), [
    (["-W", "500"], "found 32x500.: use 32x496 or 32x504"), (["--steps", "2000"], "num_inference_steps: expected 1 to 1000"),
    (["--cfg", "nan"], "--cfg, --fps: expected a number"), (["--fps", "0"], "--cfg, --fps: expected a number"),
    (["--seed", "-1"], "--seed: expected 0"), (["--device", "tpu"], "device: must be auto"),
])
def test_flags_that_cannot_work_are_refused_before_anything_is_loaded(cases, flags, words):
    with pytest.raises(ValueError, match=words):
        run_cases("cases.yaml", [*FLAGS, *flags], lambda *_: pytest.fail("loaded a model"))


def test_musepose_own_training_yaml_is_understood(tmp_path):
    path = tmp_path / "train_stage_2.yaml"
    content = {"data": {"train_bs": 1, "train_width": 768, "train_height": 512, "meta_paths": ["x.json"], "sample_rate": 2, "n_sample_frames": 48},
               "solver": {"gradient_accumulation_steps": 2, "mixed_precision": "fp16", "learning_rate": 1e-5, "lr_scheduler": "constant"},
               "base_model_path": "sd", "mm_path": "mm.ckpt", "stage1_ckpt_dir": "stage1", "uncond_ratio": 0.1,
               "checkpointing_steps": 2000000000000000, "seed": 12580}
    path.write_text(yaml.safe_dump(content))
    assert is_training(path) and not is_musepose(path)
    found = training_settings(path)
    assert {"train.stage=2", "width=768", "height=512", "num_frames=48", "frame_stride=2", "train.gradient_accumulation=2",
            "motion_module=mm.ckpt", "stage1=stage1", "train.seed=12580"} <= set(found)
    assert not any("checkpoint_every" in one for one in found)
    from configs import load_config
    config = load_config(MusePoseTraining, own_keys(["--config", str(path), "dataset=data"]))
    assert config.train.stage == 2 and config.height == 512 and config.dataset == "data"
    path.write_text(yaml.safe_dump(content | {"sead": 1}))
    with pytest.raises(ValueError, match="unknown key 'sead'"):
        training_settings(path)


def test_the_official_folder_is_checked_and_converted_to_one_file(official, tmp_path, capsys):
    assert check_weights.main([str(official)]) == 0
    convert(official, tmp_path / "half", Path("none"), torch.float16)
    assert check_weights.main([str(tmp_path / "half")]) == 0 and "WRONG" not in capsys.readouterr().out
    ours, theirs = load_saved_networks(tmp_path / "half", torch.float16), load_networks(WeightFiles.of(official), torch.float16)
    for part in PARTS:
        found, wanted = (getattr(networks, part).state_dict() for networks in (ours, theirs))
        assert found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)
    swapped = shutil.copytree(official, tmp_path / "swapped")
    shutil.copyfile(swapped / "MusePose" / "reference_unet.pth", swapped / "MusePose" / "denoising_unet.pth")
    assert check_weights.main([str(swapped)]) == 2
    assert "denoising_unet.pth: expected a denoiser (found a reference network" in capsys.readouterr().out


def shared_video(folder: str) -> None:
    """What each process makes, alone or with another, into a file."""
    torch.set_num_threads(1)
    processes = join_processes(torch.device("cpu"))
    frames, model = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), np.uint8), tiny_model()
    make = lambda count, guided: model.sample(
        frames[0], frames[1:count + 1], torch.Generator().manual_seed(1), size=(32, 32), window=5, window_overlap=2,
        num_inference_steps=2, guidance_scale=guided, guidance_batch=1, progress=False, processes=processes)
    made = {"even": make(8, 3.5), "odd": make(5, 3.5), "alone": make(9, 1.0)}
    made["frames"] = torch.from_numpy(np.concatenate(list(model.decoded(made["even"], 3, processes=processes))))
    save_file({name: tensor.contiguous() for name, tensor in made.items()}, f"{folder}/{processes.count}_{processes.rank}.safetensors")
    shut_down()


def test_two_processes_make_the_video_of_one_bit_for_bit(tmp_path):
    threads = torch.get_num_threads()
    shared_video(str(tmp_path))
    torch.set_num_threads(threads)
    assert launched(2, shared_video, str(tmp_path)) == [0, 0]
    alone, *both = (load_file(tmp_path / f"{name}.safetensors") for name in ("1_0", "2_0", "2_1"))
    for one in both:
        assert one.keys() == alone.keys() and all(torch.equal(one[name], alone[name]) for name in alone)


def test_benchmark_compares_equal_work():
    args = benchmark_musepose.parser().parse_args(["--size", "64", "--frames", "2", "--width", "32"])
    found = benchmark_musepose.compared(*benchmark_musepose.measured(args, "published"), *benchmark_musepose.measured(args, "here"))
    assert found["latents apart"] < 1e-3 and found["pixel levels apart"] <= 1
    assert found["times as fast"] > 0
