"""MusePose's sampling: windows, noise and whole videos against the published pipeline, and the same at less work."""
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from musepose_tiny import apart, tiny_model, TOLERANCE
from safetensors.torch import load_file

from musepose.checkpoint import WeightFiles, load_pose_guider, load_vae
from musepose.pipeline import (averaged, clip_pixels, frame_windows, min_snr_weight, MusePose, padded_length,
                               picture_pixels, pose_pixels, scheduler, WindowedDenoiser)
from scripts.benchmark_musepose import published_way


@pytest.fixture(scope="module")
def schedules(goldens):
    return json.loads((goldens("musepose", "schedules.json") / "schedules.json").read_text())


@pytest.fixture(scope="module")
def noise_numbers(goldens):
    folder = goldens("musepose", "scheduler.safetensors", "meta.json")
    return json.loads((folder / "meta.json").read_text())["scheduler"], load_file(folder / "scheduler.safetensors")


def test_windows_are_the_published_ones(schedules):
    for case in schedules["context"]:
        if case["step"]:                                                      # the pipeline's is always 0
            continue
        found = frame_windows(case["num_frames"], case["context_size"], case["overlap"], case["stride"])
        assert found == case["windows"], case


def test_clips_are_filled_up_to_the_published_length(schedules):
    for case in schedules["length_padding"]:
        assert padded_length(case["L"], case["S"], case["O"]) == case["video_length"], case


def test_every_frame_is_in_a_window_and_the_mean_counts_each_window_once():
    for num_frames in range(1, 40):
        for size, overlap, stride in ((5, 2, 1), (6, 0, 1), (6, 2, 3), (1, 0, 1)):
            windows = frame_windows(num_frames, size, overlap, stride)
            assert set(range(num_frames)) == {frame for window in windows for frame in window}
            ones = [torch.ones(len(window), 4, 2, 2) for window in windows]
            assert torch.equal(averaged(ones, windows, num_frames), torch.ones(num_frames, 4, 2, 2))


def test_steps_and_noise_levels_are_the_published_ones(schedules, noise_numbers):
    settings, numbers = noise_numbers
    for steps, wanted in schedules["timesteps"].items():
        assert scheduler(int(steps), **settings).timesteps.tolist() == wanted
    ddim = scheduler(len(numbers["ddim.v"]), **settings)
    assert apart(ddim.alphas_cumprod, numbers["alphas_cumprod"]) < 1e-6
    x = numbers["ddim.x"]
    for number, timestep in enumerate(ddim.timesteps):
        x = ddim.step(numbers["ddim.v"][number], timestep, x).prev_sample
        assert apart(x, numbers[f"ddim.x{number + 1}"]) < 1e-6


def test_training_noise_targets_and_weights_are_the_published_ones(noise_numbers):
    settings, numbers = noise_numbers
    ddim, timesteps = scheduler(**settings), numbers["snr.timesteps"]
    latents, noise = numbers["train.latents"], numbers["train.noise"]
    assert apart(ddim.add_noise(latents, noise, timesteps), numbers["train.noisy"]) < 1e-6
    assert apart(ddim.get_velocity(latents, noise, timesteps), numbers["train.velocity"]) < 1e-6
    assert apart(min_snr_weight(timesteps, ddim.alphas_cumprod), numbers["snr.min_snr_weight_gamma5"]) < 1e-5


def test_a_seed_draws_the_published_noise(noise_numbers):
    _, numbers = noise_numbers
    for name in ("seed99", "seed42"):
        wanted = numbers[f"randn.{name}.fp32"]                                # (1, 4, F, h, w)
        model = replace(tiny_model(), reference_net=None)
        size = tuple(side * model.shrink for side in wanted.shape[-2:])
        found = model.noise(wanted.shape[2], size, torch.Generator().manual_seed(int(name.removeprefix("seed"))))
        assert torch.equal(found, wanted[0].transpose(0, 1))


@pytest.fixture(scope="module")
def published(goldens):
    """The set's runs, its numbers, and the model by VAE factor."""
    folder = goldens("musepose", "pipeline.safetensors", "ckpt/MusePose/reference_unet.pth", "meta.json")
    eight, weights = MusePose.load(folder / "ckpt"), folder / "ckpt"
    channels = eight.denoiser.config.block_out_channels[0]
    four = replace(eight, vae=load_vae(weights / "sd-vae-f4", torch.float32),
                   pose_guider=load_pose_guider(weights / "MusePose" / "pose_guider_f4.pth", channels, torch.float32))
    runs = {run["tag"]: run for run in json.loads((folder / "meta.json").read_text())["runs"]}
    return runs, load_file(folder / "pipeline.safetensors"), {8: eight, 4: four}


def given(published, tag):
    """Model, picture, poses and settings of a run."""
    runs, numbers, models = published
    run = runs[tag]
    image, poses = numbers["ref_image_uint8"].numpy(), numbers["pose_images_uint8"].numpy()[:run["L"]]
    settings = dict(size=(run["height"], run["width"]), num_inference_steps=run["steps"], guidance_scale=run["cfg"],
                    window=run["context_frames"], window_overlap=run["context_overlap"],
                    window_stride=run["context_stride"], pad=False, progress=False,
                    reference_dtype=torch.float16 if run["bank"].startswith("fp16") else None)
    return models[run["vae_factor"]], image, poses, torch.Generator().manual_seed(run["seed"]), settings


def test_pictures_and_poses_become_the_published_pixels_tokens_and_features(published):
    model, image, poses, _, settings = given(published, "main")
    numbers, size = published[1], settings["size"]
    assert apart(clip_pixels(image[None]), numbers["main.clip_pixel"]) < 1e-6
    assert apart(picture_pixels(image[None], size), numbers["main.ref_pixel"]) < 1e-6
    assert apart(pose_pixels(poses, size), numbers["main.pose_pixel"][0].transpose(0, 1)) < 1e-6
    assert apart(model.tokens(image[None])[0], numbers["main.clip_embeds"]) < TOLERANCE
    assert apart(model.picture_latents(image[None], size), numbers["main.ref_latents"]) < TOLERANCE
    assert apart(model.pose_features(poses, size), numbers["main.pose_fea"][0].transpose(0, 1)) < TOLERANCE


@pytest.mark.parametrize("tag", ["main", "main_fp32bank", "f8_128", "wrap18", "short", "stride2"])
def test_a_run_gives_the_published_latents_and_video(published, tag):
    model, image, poses, generator, settings = given(published, tag)
    latents, numbers = model.sample(image, poses, generator, **settings), published[1]
    assert apart(latents, numbers[f"{tag}.latents_final"][0].transpose(0, 1)) < TOLERANCE
    if f"{tag}.video" in numbers:
        with torch.no_grad():
            assert apart(model.decoded_pixels(latents), numbers[f"{tag}.video"][0].transpose(0, 1)) < TOLERANCE


def test_without_guidance_overlapping_windows_are_averaged_where_the_published_code_adds_them(published):
    model, image, poses, generator, settings = given(published, "nocfg")
    numbers, run = published[1], published[0]["nocfg"]
    context = model.context(image, settings["size"])
    windows = frame_windows(len(poses), settings["window"], settings["window_overlap"])
    denoise = WindowedDenoiser(model.denoiser, windows, context, model.pose_features(poses, settings["size"]), 1.0, 2)
    with torch.no_grad():
        mean = denoise(model.noise(len(poses), settings["size"], generator), torch.tensor(run["timesteps"][0]))
    count = torch.tensor([sum(frame in window for window in windows) for frame in range(len(poses))])
    assert count.max() > 1
    wanted = numbers["nocfg.step0.guided_pred"][0].transpose(0, 1)
    assert apart(mean * count[:, None, None, None], wanted) < TOLERANCE


@pytest.fixture(scope="module")
def tiny():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (10, 40, 32, 3), np.uint8)
    return tiny_model(), frames[0], frames[1:]


def sampled(tiny, **changes):
    model, image, poses = tiny
    settings = dict(size=(32, 32), num_inference_steps=2, window=6, window_overlap=2, progress=False) | changes
    return model.sample(image, poses, torch.Generator().manual_seed(3), **settings)


def test_less_work_gives_the_latents_of_the_published_way(tiny):
    for changes in ({}, {"guidance_scale": 1.0}, {"window_stride": 2}):
        with published_way(tiny[0]):
            wanted = sampled(tiny, **changes)
        assert apart(sampled(tiny, **changes), wanted) < 1e-5


def test_the_picture_the_poses_and_the_guidance_all_matter(tiny):
    model, image, poses = tiny
    plain = sampled(tiny)
    for other in ((model, 255 - image, poses), (model, image, poses[::-1])):
        assert apart(sampled(other), plain) > 1e-2
    assert apart(sampled(tiny, guidance_scale=2.0), plain) > 1e-2


def test_halves_one_after_the_other_and_no_padding_are_choices(tiny):
    plain = sampled(tiny)
    assert apart(sampled(tiny, guidance_batch=1), plain) < 1e-5
    model, image, poses = tiny
    filled = np.concatenate([poses, poses[-1:]])                              # 9 frames: windows of 6 and 2 fit 10
    assert padded_length(len(poses), 6, 2) == len(filled)
    assert apart(sampled((model, image, filled), pad=False)[:len(poses)], plain) < 1e-4


def test_running_out_of_memory_goes_on_with_one_half_at_a_time_and_smaller_chunks(tiny, monkeypatch, caplog):
    model, plain = tiny[0], sampled(tiny)
    predict, decode = WindowedDenoiser.predict, MusePose.decoded_pixels

    def crowded(self, window, halves, *rest):
        if len(halves) > 1:
            raise torch.OutOfMemoryError("no room")
        return predict(self, window, halves, *rest)

    def small(self, latents, *rest):
        if len(latents) > 2:
            raise torch.OutOfMemoryError("no room")
        return decode(self, latents, *rest)

    whole = np.concatenate(list(model.decoded(plain, 8)))
    monkeypatch.setattr(WindowedDenoiser, "predict", crowded)
    monkeypatch.setattr(MusePose, "decoded_pixels", small)
    assert apart(sampled(tiny), plain) < 1e-5
    assert np.abs(np.concatenate(list(model.decoded(plain, 8))).astype(int) - whole).max() <= 1
    assert "one at a time" in caplog.text and "2 frames at once" in caplog.text


def test_a_video_has_the_asked_size_and_is_shown_as_it_is_decoded(tiny):
    model, image, poses = tiny
    shown = []
    video = model(image, poses, torch.Generator().manual_seed(3), size=(32, 32), output_size=(40, 26), num_inference_steps=1,
                  window=6, window_overlap=2, decode_chunk_size=4, progress=False, show=shown.append)
    assert video.shape == (9, 40, 26, 3) and video.dtype == np.uint8
    assert [len(chunk) for chunk in shown] == [4, 4, 1] and np.array_equal(np.concatenate(shown), video)


@pytest.mark.parametrize(("changes", "words"), [
    ({"size": (32, 30)}, "multiples of 4 (found 32x30): use 32x28 or 32x32"),
    ({"window": 200}, "window: expected 1 to 128 frames"),
    ({"window_overlap": 6}, "window_overlap: expected 0 to window - 1 = 5 (found 6)"),
    ({"num_inference_steps": 0}, "num_inference_steps: expected 1 to 1000 (found 0)"),
    ({"noise_scheduler": {"prediction_type": "epsilon"}}, "prediction_type: expected v_prediction"),
])
def test_settings_that_cannot_work_are_refused_in_one_line(tiny, changes, words):
    with pytest.raises(ValueError) as error:
        sampled(tiny, **changes)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_overflow_in_half_precision_is_found_at_its_step(tiny):
    model, image, poses = tiny
    broken = replace(model, denoiser=tiny_model(1).denoiser)
    broken.denoiser.conv_out.weight.data *= 1e38
    with pytest.raises(ValueError, match="latents: expected finite values .* at timestep 999.*: try float32"):
        sampled((broken, image, poses))


def test_a_vae_and_a_pose_guider_of_other_factors_are_refused():
    from musepose.checkpoint import Networks
    from musepose.networks import build_pose_guider
    model = tiny_model()
    guider = build_pose_guider(32, (8, 16, 24, 32))
    with pytest.raises(ValueError, match="pose guider: expected features of the VAE's size, 1/4"):
        MusePose.of(Networks(model.denoiser, model.reference_net, guider), model.vae, model.image_encoder)


def test_the_official_layout_is_where_files_are_looked_for(tmp_path):
    files = WeightFiles.of(tmp_path)
    assert files.motion_module == tmp_path / "MusePose" / "motion_module.pth"
    assert files.pretrained_base_model == tmp_path / "sd-image-variations-diffusers"
