"""The training loop: learns, never mixes samples, and does not depend on the number of processes."""
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from dwpose.skeleton import FACE, hand_boxes, head_boxes, LEFT_HAND
from media.video_reader import read_video
from mimicmotion import task as video_task, VideoTrainConfig
from mimicmotion.diffusion import denoising_loss
from mimicmotion.latents import image_embeddings
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.task import (box_region_weight, DenoisingLoss, min_snr_weight, pose_region_weight, sample_randomness,
                              time_ids_of, VALIDATION_SIGMAS, VideoTask)
from runtime import device
from tiny_training import batch_of, free_port, launched, RandomClips, settings, train_video
from train_video_generation import check_cached_noise, train_pose_to_video, VideoGenerationConfig
from training import loop as training_loop
from training.batches import SampleStream
from training.learner import Learner, learning_rate_factor
from training.loop import LONGEST_SAVE, started
from training.validation import held_out, split_by_origin, Validation


@pytest.fixture
def model(tiny_svd_folder, tiny_checkpoint):
    return PoseToVideo.load(tiny_svd_folder, tiny_checkpoint)


def weights(folder: Path) -> dict:
    return load_file(folder / "latest" / "model.safetensors")


def loss_of(model, indices: list[int], config: VideoTrainConfig) -> torch.Tensor:
    batch = batch_of(indices)
    noise, sigma, keep = sample_randomness(config, indices, batch["latents"].shape[1:])
    return DenoisingLoss(model, config)(batch["latents"], batch["reference_latents"], batch["reference"], batch["pose"],
                                        noise, sigma, keep)


@torch.no_grad()
def test_conditioning_never_mixes_samples(model, tmp_path):
    """The published training conditions every sample on sample 0 once the batch is larger than one."""
    config = settings(tmp_path, conditioning_dropout=0.3)
    together = loss_of(model, [0, 1, 2], config)
    torch.testing.assert_close(together[[2, 0, 1]], loss_of(model, [2, 0, 1], config), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together[1:2], loss_of(model, [1], config), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_loss_looks_at_reference_and_pose(model, tmp_path):
    config = settings(tmp_path, conditioning_dropout=0.0)
    batch = batch_of([0])
    noise, sigma, keep = sample_randomness(config, [0], batch["latents"].shape[1:])
    loss = lambda **changed: DenoisingLoss(model, config)(
        *[{**batch, **changed}[key] for key in ("latents", "reference_latents", "reference", "pose")], noise, sigma, keep)
    for key in ("reference_latents", "reference", "pose"):
        assert (loss() - loss(**{key: -batch[key]})).abs() > 1e-6, key


def wider(model):
    """The model with a UNet that takes the moved picture."""
    return replace(model, unet=model.unet.with_moved_picture())


@torch.no_grad()
def test_what_is_learnt_is_the_change_to_the_moved_picture_of_each_sample(model, tmp_path):
    config, batch = settings(tmp_path, conditioning_dropout=0.0), batch_of([0, 1])
    noise, sigma, keep = sample_randomness(config, [0, 1], batch["latents"].shape[1:])
    given = batch["latents"], batch["reference_latents"], batch["reference"], batch["pose"], noise, sigma, keep
    loss = DenoisingLoss(wider(model), config)
    for share in (1.0, 0.5):                                               # of the truth that the moved picture has; a new network adds none
        wanted = denoising_loss(torch.zeros_like(noise), (1 - share) * batch["latents"], noise, sigma)
        torch.testing.assert_close(loss(*given, moved_latents=share * batch["latents"]), wanted)
    torch.nn.init.normal_(loss.unet.conv_out.weight, std=0.1)
    moved = torch.randn(batch["latents"].shape, generator=torch.Generator().manual_seed(0))
    changed = (loss(*given, moved_latents=moved * torch.tensor([1.0, 3]).view(2, 1, 1, 1, 1)) - loss(*given, moved_latents=moved)).abs()
    assert changed[0] < 1e-5 < 1e-3 < changed[1]


def test_weights_that_take_the_moved_picture_learn_without_one_and_say_so_once(model, tmp_path, caplog):
    task = VideoTask(wider(model), settings(tmp_path))
    losses = [task.objective(*task.inputs(batch_of([0]))) for _ in range(2)]
    assert torch.equal(*losses) and losses[0].isfinite().all() and caplog.text.count("moved_picture: these clips have no") == 1


def test_a_share_of_the_samples_sees_the_picture_where_it_stands(model, tmp_path):
    task = VideoTask(wider(model), settings(tmp_path, moved_dropout=0.25))
    batch, still = {"position": torch.arange(400), "moved_latents": torch.ones(400, 1, 4, 2, 2)}, torch.zeros(400, 4, 2, 2)
    told = task.moved_latents(batch, still, 0.25).mean((1, 2, 3, 4))
    assert set(told.tolist()) == {0.0, 1.0} and 0.18 < (told == 0).float().mean() < 0.32
    assert (task.moved_latents(batch, still) == 1).all()                   # of held-out clips none


def test_training_lowers_the_loss(model, tmp_path):
    config = settings(tmp_path, max_steps=30, checkpoint_every=30, conditioning_dropout=0.0)
    before = loss_of(model, list(range(8)), config).mean().item()
    train_video(model, RandomClips(), config)
    assert loss_of(model, list(range(8)), config).mean().item() < 0.9 * before


def test_exported_weights_load_strictly_and_are_the_average(tiny_svd_folder, model, tmp_path, caplog):
    output = train_video(model, RandomClips(), settings(tmp_path, ema_decay=0.5))
    assert caplog.text.count("hand_weight: these clips do not say where hands are") == 1
    files = [output / "model.safetensors", output / "latest" / "trained.safetensors", output / "config.json"]
    assert len({file.stat().st_mode for file in files}) == 1           # a colleague may read the weights, too
    exported = PoseToVideo.load(tiny_svd_folder, output)
    trained = load_file(output / "latest" / "trained.safetensors")["unet.conv_out.weight"]
    assert not torch.equal(exported.unet.conv_out.weight, trained)
    latest = PoseToVideo.load(tiny_svd_folder, output / "latest")
    torch.testing.assert_close(latest.unet.conv_out.weight, exported.unet.conv_out.weight, atol=1e-3, rtol=1e-3)   # fp16
    torch.testing.assert_close(exported.unet.conv_out.weight, model.unet.conv_out.weight, atol=2e-3, rtol=2e-3)


def test_training_the_spatial_part_leaves_the_temporal_part_alone(model, tmp_path):
    before = {name: p.detach().clone() for name, p in model.unet.named_parameters()}
    train_video(model, RandomClips(), settings(tmp_path, parts="spatial", ema_decay=0))
    moved = {name for name, p in model.unet.named_parameters() if not torch.equal(p, before[name])}
    assert moved and not any("temporal" in name or "time_" in name and "mixer" in name for name in moved)


def test_pose_weight_looks_harder_at_the_pose():
    pose = torch.full((1, 1, 3, 64, 64), -1.0)
    pose[..., 8:16, 8:16] = 1
    weight = pose_region_weight(pose, (8, 8), 3.0)
    assert weight[0, 0, 0, 1, 1] == pytest.approx(3 * weight[0, 0, 0, 7, 7].item())
    assert weight.mean() == pytest.approx(1)


def test_hands_weigh_ten_where_they_are_clearly_seen_and_only_there():
    hands = torch.zeros(1, 2, 2, 5)
    hands[0, 0, 0] = torch.tensor([9.0, 17.0, 15.0, 31.0, 0.9])        # within column 1, rows 2 and 3
    hands[0, 0, 1] = torch.tensor([40.0, 40.0, 56.0, 56.0, 0.49])      # too uncertain
    hands[0, 1, 1] = torch.tensor([-20.0, 60.0, 1.0, 90.0, 0.5])       # cut off by the left and lower edge
    weight = box_region_weight(hands, (64, 64), (8, 8), 10.0, 0.5)    # (1, 2, 1, 8, 8)
    expected = torch.ones(1, 2, 1, 8, 8)
    expected[0, 0, 0, 2:4, 1] = expected[0, 1, 0, 7, 0] = 10
    assert torch.equal(weight, expected)


def test_hand_boxes_hold_the_seen_points_and_a_margin():
    keypoints = np.zeros((2, 133, 3), np.float32)
    keypoints[0, LEFT_HAND] = [10, 20, 0.9]
    keypoints[0, LEFT_HAND.start + 1, :2] = [20, 25]
    keypoints[0, LEFT_HAND.start + 2] = [500, 500, 0.1]                # not seen
    boxes = hand_boxes(keypoints)
    np.testing.assert_allclose(boxes[0, 0, :4], [8, 18, 22, 27])
    assert boxes[0, 0, 4] == pytest.approx((20 * 0.9 + 0.1) / 21) and not boxes[0, 1].any() and not boxes[1].any()


def test_the_head_is_the_face_and_the_hair_around_it():
    keypoints = np.zeros((2, 133, 3), np.float32)
    keypoints[0, FACE] = [30, 40, 0.8]
    keypoints[0, FACE.stop - 1, :2] = [40, 60]
    boxes = head_boxes(keypoints)                                      # (2, 1, 5)
    np.testing.assert_allclose(boxes[0, 0], [18, 28, 52, 72, 0.8], rtol=1e-6)
    assert not boxes[1].any()


@torch.no_grad()
def test_hands_and_head_weigh_by_themselves(model, tmp_path):
    config = settings(tmp_path, hand_weight=3.0, head_weight=5.0)
    left, right = (torch.tensor([[[[*box, 1.0]]]]) for box in ((0.0, 0.0, 8.0, 8.0), (8.0, 0.0, 16.0, 8.0)))
    weight = DenoisingLoss(model, config).region_weight(torch.zeros(1, 1, 3, 64, 64), left, right, (8, 8))
    assert weight[0, 0, 0, 0, :3].tolist() == [3, 5, 1]


@torch.no_grad()
def test_the_loss_is_larger_by_the_hands_share(model, tmp_path):
    config = settings(tmp_path, conditioning_dropout=0.0)
    loss = lambda batch: DenoisingLoss(model, config)(*VideoTask(model, config).inputs(batch))
    everywhere = torch.tensor([0.0, 0.0, 64.0, 64.0, 1.0]).expand(1, 2, 2, 5)
    torch.testing.assert_close(loss(batch_of([0]) | {"hands": everywhere}), 10 * loss(batch_of([0])))


def test_min_snr_leaves_low_noise_its_share_and_cuts_the_rest():
    sigma = torch.tensor([0.1, 1.0, 10.0])
    expected = torch.tensor([5 / 101, 1 / 2, 0.01 / 1.01])             # SNR 100, 1, 0.01; gamma 5
    torch.testing.assert_close(min_snr_weight(sigma, 5.0), expected)


def test_the_network_is_told_the_clips_own_rate_motion_and_noise(tmp_path):
    config = settings(tmp_path, noise_aug_strength=0.02, noise_aug_spread=0.5)
    batch = batch_of([0, 1]) | {"fps": torch.tensor([25, 30]), "motion_bucket_id": torch.tensor([3, 200])}
    assert time_ids_of(batch, config).tolist() == [[24, 3, 0], [29, 200, 0]]          # nothing was added to cached latents
    pixels = {"position": batch["position"]}
    ids = time_ids_of(pixels, config)
    assert ids[:, :2].tolist() == [[6, 127]] * 2 and ids[0, 2] != ids[1, 2]
    assert 0.002 < ids[:, 2].min() and ids[:, 2].max() < 0.2 and torch.equal(ids, time_ids_of(pixels, config))


def test_a_training_does_not_write_over_the_weights_it_starts_from(tmp_path):
    config = VideoGenerationConfig(checkpoint=str(tmp_path), train=VideoTrainConfig(output=f"{tmp_path}/."))
    with pytest.raises(ValueError, match="train.output=.*the weights it starts from"):
        train_pose_to_video(config)


def test_a_new_pose_net_is_the_seeds(tiny_svd_folder, tmp_path, monkeypatch):
    tasks = []
    monkeypatch.setattr("training.loop.train", lambda task, *_: tasks.append(task))
    monkeypatch.setattr("train_video_generation.training_clips", lambda config: None)
    for seed in (3, 3, 4):
        train_pose_to_video(VideoGenerationConfig(svd=str(tiny_svd_folder), train=VideoTrainConfig(output=str(tmp_path), seed=seed)))
        torch.rand(5)                                                           # whatever else a program draws
    one, same, other = (torch.cat([p.flatten() for p in task.model.pose_net.parameters()]) for task in tasks)
    assert torch.equal(one, same) and not torch.equal(one, other)


@torch.no_grad()
def test_noise_that_cached_latents_cannot_follow_is_refused_or_warned_of(caplog):
    config = VideoGenerationConfig(dataset="data/set", cached_latents=True)
    config.train.noise_aug_spread = 0.5
    check_cached_noise(config, 0.02)
    assert "noise_aug_spread: 0.5 is left out" in caplog.text
    with pytest.raises(ValueError, match="noise_aug_strength: expected 0.1, with which the latents of data/set were cached"):
        check_cached_noise(config, 0.1)


def test_a_cached_embedding_stands_in_for_the_image_encoder(model, tmp_path):
    config = settings(tmp_path)
    batch = batch_of([0, 1])
    here = DenoisingLoss(model, config)(*VideoTask(model, config).inputs(batch))
    batch["embedding"] = image_embeddings(model.image_encoder, batch["reference"])
    model.image_encoder.forward = None                                 # calling it would fail
    torch.testing.assert_close(DenoisingLoss(model, config)(*VideoTask(model, config).inputs(batch)), here)


def test_validation_is_the_same_every_time_and_leaves_the_training_alone(tiny_svd_folder, tiny_checkpoint, tmp_path):
    load = lambda: PoseToVideo.load(tiny_svd_folder, tiny_checkpoint)
    plain = train_video(load(), RandomClips(), settings(tmp_path / "plain", max_steps=2, validation_clips=2))
    seen = train_video(load(), RandomClips(), settings(tmp_path / "seen", max_steps=2, validation_clips=2, validate_every=1,
                                                 validation_sampling_steps=1))
    assert all(torch.equal(a, b) for a, b in zip(weights(plain).values(), weights(seen).values()))
    frames, _ = read_video(seen / "validation" / "step-2" / "clip-0.mp4")
    assert frames.shape == (2, 64, 3 * 64, 3)                          # reference, poses, video
    config = settings(tmp_path / "again", validation_clips=2, validation_videos=0)
    model = load()
    task = VideoTask(model, config)
    learner = Learner(started(config), task, config)
    validation = Validation(task, RandomClips(), held_out(RandomClips(), config).measured, config)
    assert list(validation.indices) == [6, 7]
    first = validation(learner, 1)
    assert first == validation(learner, 2) and len(first) == len(VALIDATION_SIGMAS) + 1
    config.pose_weight, config.hand_weight, config.head_weight, config.min_snr_gamma = 5.0, 7.0, 3.0, 1.0
    assert validation(learner, 3) == first                             # every place and noise level counts the same


def test_lora_without_peft_says_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match="lora_rank: expected peft to be installed.*pip install peft"):
        train_video(model, RandomClips(), settings(tmp_path, lora_rank=2))


def test_lora_trains_its_updates_and_exports_a_plain_model(tiny_svd_folder, model, tmp_path):
    pytest.importorskip("peft")
    before = {name: p.detach().clone() for name, p in model.unet.named_parameters()}
    output = train_video(model, RandomClips(), settings(tmp_path, lora_rank=2, ema_decay=0))
    exported = dict(PoseToVideo.load(tiny_svd_folder, output).unet.named_parameters())
    moved = {name for name, p in exported.items() if not torch.allclose(p, before[name], atol=2e-3)}
    assert moved and all(".to_" in name for name in moved)
    assert set(load_file(output / "latest" / "lora.safetensors")) > {"pose_net.scale"}
    latest = dict(PoseToVideo.load(tiny_svd_folder, output / "latest").unet.named_parameters())
    assert all(torch.equal(latest[name], exported[name]) for name in exported)


@pytest.mark.parametrize("change, says", [
    (dict(optimizer="lion"), "optimizer: expected one of adamw, adamw_8bit, muon"),
    (dict(batch_size=0), "batch_size: expected at least 1"), (dict(ema_decay=1.0), "ema_decay"),
    (dict(lora_rank=4, parts="temporal"), "lora_rank: expected parts=all"),
    (dict(learning_rate=-1e-5), "learning_rate: expected at least 0"), (dict(fps=0), "fps: expected at least 1"),
    (dict(conditioning_dropout=2.0), "conditioning_dropout: expected a share"),
    (dict(seed=-1), "seed: expected at least 0"), (dict(seed=2**63), "seed: expected at most"),
    (dict(num_workers=100_000), "num_workers: expected at most 256"), (dict(batch_size=10**6), "batch_size: expected at most 4096"),
    (dict(lora_rank=100_000), "lora_rank: expected at most 1024"), (dict(learning_rate=1e9), "learning_rate: expected at most 1"), (dict(weight_decay=2), "weight_decay: expected at most 1"),
    (dict(validation_sampling_steps=0), "validation_sampling_steps: expected at least 1"),
])
def test_impossible_settings_are_named(tmp_path, change, says):
    with pytest.raises(ValueError, match=says):
        settings(tmp_path, **change)


@pytest.mark.parametrize("gpu, gpu_bf16, cpu_bf16, precision", [
    (False, False, False, "no"), (False, False, True, "bf16"), (True, True, False, "bf16"), (True, False, True, "fp16")])
def test_a_run_trains_in_what_its_device_has(tmp_path, monkeypatch, gpu, gpu_bf16, cpu_bf16, precision):
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: gpu_bf16)
    monkeypatch.setattr(device, "cpu_has_bfloat16", lambda: cpu_bf16)
    assert settings(tmp_path, mixed_precision="auto").mixed_precision == precision
    assert settings(tmp_path, mixed_precision="fp16").mixed_precision == "fp16"
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert settings(tmp_path, mixed_precision="auto").mixed_precision == ("bf16" if cpu_bf16 else "no")


@pytest.mark.parametrize("change, says", [
    (dict(validation_clips=8), "expected more than the 8 held out"),
    (dict(report_to="wandb"), "report_to: expected wandb to be installed"),
    (dict(optimizer="adamw_8bit"), "adamw_8bit expects bitsandbytes"),
    (dict(attention="xformers"), "attention: expected xformers"),
    (dict(resume_from="checkpoint-7"), "resume_from: expected 'latest' or a folder"),
])
def test_what_cannot_be_had_is_one_line_before_training(model, tmp_path, change, says, monkeypatch):
    for name in ("wandb", "bitsandbytes", "xformers"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(training_loop.importlib.util, "find_spec", lambda name: None if name == "wandb" else name)
    with pytest.raises(ValueError, match=says):
        train_video(model, RandomClips(), settings(tmp_path, **change))


def test_a_validation_without_clips_is_refused_with_the_settings(tmp_path):
    with pytest.raises(ValueError, match="validate_every: expected validation_clips of at least 1 .found 0.: .* or set train.validate_every=0"):
        settings(tmp_path, validate_every=1)


class Broken(RandomClips):
    """Clips of which one cannot be read."""

    def __getitem__(self, key):
        if key[1] == 1:
            raise ValueError("a.mp4: expected a whole video: make it anew")
        return super().__getitem__(key)


def test_data_that_a_worker_cannot_use_is_said_in_its_own_line(model, tmp_path):
    with pytest.raises(ValueError, match=r"^clip \d \(sample \d\): a.mp4: expected a whole video: make it anew$"):
        train_video(model, Broken(), settings(tmp_path, num_workers=1))


class Unreadable(RandomClips):
    """Clips whose sample `position` is on a disk that fails."""

    def __init__(self, position: int):
        self.position = position

    def __getitem__(self, key):
        if key[1] == self.position:
            raise OSError("disk failed")
        return super().__getitem__(key)


def train_on_a_failing_disk(folders: tuple, output: Path) -> None:
    """Write what this process says about sample 3."""
    try:
        train_video(PoseToVideo.load(*folders), Unreadable(3), settings(output, num_workers=1))
    except ValueError as error:
        (output / f"said_{os.environ.get('RANK', 0)}").write_text(str(error))
        if dist.is_initialized():                                           # others may have to wait for a long save
            backend = dist.distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
            assert backend.options._timeout == LONGEST_SAVE
        raise SystemExit(2)


@pytest.mark.parametrize("num_processes, says", [pytest.param(1, "", marks=pytest.mark.slow), (2, "process 1: ")])
def test_what_one_process_cannot_read_ends_all_at_once_with_its_words(tiny_svd_folder, tiny_checkpoint, tmp_path,
                                                                      num_processes, says):
    """A loading process that ignores SIGTERM is not waited for: it would be killed after a minute, with -9."""
    folders = tiny_svd_folder, tiny_checkpoint
    assert launched(num_processes, train_on_a_failing_disk, folders, tmp_path) == [2] * num_processes
    clip = SampleStream(range(8), 1, seed=3).clip_at(3)
    expected = f"{says}clip {clip} (sample 3): expected a readable file (disk failed): mend it or leave it out"
    assert {path.read_text() for path in tmp_path.glob("said_*")} == {expected}


def test_no_video_and_no_known_person_is_in_both_halves(caplog):
    pieces = [(f"{video}-{piece}.mp4", f"{video}.mp4", "") for video in range(12) for piece in range(1 + video % 4)]
    caplog.set_level("INFO")
    for count in (1, 5, 8):
        trained, measured = split_by_origin(pieces, count)
        assert len(measured) == count
        assert not {pieces[index][1] for index in trained} & {pieces[index][1] for index in measured}
    assert "1 clip is held out, by videos, of which no clip is trained on: " in caplog.text
    assert "5 clips are held out, by videos, of which" in caplog.text
    for about, kind in ((("ann", "ann"), "persons"), (("/data/ann/1.mp4", "ann"), "folders")):
        others = [("b.mp4", name.replace("ann", "ben"), group.replace("ann", "ben")) for name, group in [about] * 9]
        split_by_origin([("a.mp4", *about), *others], 1)
        assert f"validation: 1 clip is held out, by {kind}, of which no clip is trained on: ann" in caplog.messages
    persons = [(file, video, f"person {int(video[:-4]) % 5}") for file, video, _ in pieces]
    trained, measured = split_by_origin(persons, 6)
    assert measured and not {persons[index][2] for index in trained} & {persons[index][2] for index in measured}
    one_folder = [(file, video, "videos") for file, video, _ in pieces]
    assert split_by_origin(one_folder, 5) == split_by_origin(pieces, 5)            # a folder of everything says nothing
    with pytest.raises(ValueError, match="expected clips of two videos at least"):
        split_by_origin([("a-1.mp4", "a.mp4", ""), ("a-2.mp4", "a.mp4", "")], 1)


def test_of_one_long_video_only_what_is_asked_for_is_measured():
    pieces = [(f"{index}.mp4", "long.mp4" if index < 20 else "longer.mp4", "") for index in range(50)]
    trained, measured = split_by_origin(pieces, 4)
    assert trained == list(range(20, 50)) and measured == [0, 5, 10, 15]


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_no_two_random_streams_of_a_sample_coincide(seed, tmp_path, monkeypatch):
    """With one seed for both, the picture would carry the noise that is to be found."""
    added = []
    monkeypatch.setattr(video_task, "image_latents", lambda vae, pictures: added.append(pictures) or pictures)
    config = settings(tmp_path, seed=seed, noise_aug_strength=1.0)
    model = SimpleNamespace(vae=SimpleNamespace(config=SimpleNamespace(scaling_factor=1.0), to=lambda device: None))
    batch = {"target": torch.zeros(2, 1, 3, 64, 64), "reference": torch.zeros(2, 3, 64, 64),
             "position": torch.tensor([0, 5])}
    video_task.latents_of(batch, model, config)
    diffusion, *_ = sample_randomness(config, [0, 5], (3, 4, 32, 32))
    streams = torch.cat([added[-1].flatten(1), diffusion.flatten(1)])                 # (4, 12288)
    assert (torch.corrcoef(streams) - torch.eye(4)).abs().max() < 0.05


def test_the_learning_rate_reaches_its_peak_and_its_end(tmp_path):
    for schedule in ("cosine", "linear"):
        config = settings(tmp_path, max_steps=100, warmup_steps=10, schedule=schedule, final_learning_rate=0.1)
        factors = [learning_rate_factor(step, config) for step in range(100)]
        assert factors[0] == 0.1 and factors[9] == max(factors) == 1 and factors[99] == pytest.approx(0.1)
        assert factors[9:] == sorted(factors[9:], reverse=True)


TWO_PROCESSES = """
import sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from mimicmotion.pipeline import PoseToVideo
from tiny_training import RandomClips, settings, train_video
svd, checkpoint, output, batch_size = sys.argv[1:]
train_video(PoseToVideo.load(svd, checkpoint), RandomClips(), settings(Path(output), max_steps=2, batch_size=int(batch_size)))
"""


def test_two_launched_nodes_equal_one_process_with_twice_the_batch(tiny_svd_folder, tiny_checkpoint, tmp_path):
    script = tmp_path / "run.py"
    root = Path(__file__).resolve().parents[1]
    script.write_text(TWO_PROCESSES.format(root=str(root), tests=str(root / "tests")))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    launcher = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1", "--master_addr", "127.0.0.1",
                "--master_port", str(free_port()), "--node_rank"]
    work = [str(script), str(tiny_svd_folder), str(tiny_checkpoint), str(tmp_path / "shared"), "1"]
    nodes = [subprocess.Popen([sys.executable, *launcher, rank, *work], env=environment, stderr=subprocess.PIPE, text=True)
             for rank in "01"]
    said = [node.communicate(timeout=900)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said[0][-2000:] + said[1][-2000:]
    model = PoseToVideo.load(tiny_svd_folder, tiny_checkpoint)
    initial = {name: tensor.clone() for name, tensor in DenoisingLoss(model, settings(tmp_path)).state_dict().items()}
    train_video(model, RandomClips(), settings(tmp_path / "alone", max_steps=2, batch_size=2))
    alone, shared = weights(tmp_path / "alone"), weights(tmp_path / "shared")
    moved = sum((alone[name] - initial[name]).norm() ** 2 for name in alone) ** 0.5
    apart = sum((alone[name] - shared[name]).norm() ** 2 for name in alone) ** 0.5
    assert moved > 0.1 and apart < 0.05 * moved         # Adam's division magnifies rounding where gradients are tiny
