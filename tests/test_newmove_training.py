"""A training step gives the published numbers; what surrounds it changes nothing but what it should."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.utils.data import default_collate

from media.video_writer import write_video
from newmove.clips import clips_in, LatentCache, MotionClips
from newmove.generation import check_weights, load_customized
from newmove.objective import CustomizationLoss, debiased, NAME, PAPER, with_checkpointing, without_dropout
from newmove.task import MotionTask
from newmove.text_to_video import TextToVideo, fingerprint
from newmove_goldens import complete

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def goldens(request, tmp_path_factory):
    return complete(request.config.getoption("--goldens") or FIXTURES / "newmove", tmp_path_factory.mktemp("newmove"))


@pytest.fixture(scope="module")
def facts(goldens):
    return json.loads((goldens / "train_step.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def numbers(goldens):
    return load_file(goldens / "train_step.safetensors")


@pytest.fixture(scope="module")
def given(goldens):
    return load_file(goldens / "inputs.safetensors")


@pytest.fixture
def model(goldens):
    return TextToVideo.load(goldens / "pipeline")


class GivenTask(MotionTask):
    """The task with the golden set's noise and timesteps in the place of drawn ones."""

    def use(self, given: dict, step: int) -> tuple:
        """Inputs of a step: clips through the task's own VAE, text encoder and noising."""
        frames = [given[f"step{step}.{role}_u8"].movedim(-1, 1) / 127.5 - 1 for role in ("exemplar", "prior")]
        mean, std = (torch.stack(moments)[None] for moments in zip(*map(self.model.encode_frames, frames)))
        latents = self.model.latents_from(mean, std, given[f"step{step}.vae_noise"].unflatten(0, (1, 2, -1)))
        noisy, target, timestep = self.noise_levels.noised(latents[0], given[f"step{step}.noise"], given[f"step{step}.timesteps"])
        return latents, noisy[None], target[None], timestep[None]


def stepped(model, facts, given, hyper, steps: int):
    """Train `steps` golden steps; yields (number, task, latents, noisy, clip losses, total, clipped from) before each update."""
    task = GivenTask(model, PAPER, prior_weight=hyper["prior_lambda"])
    parameters = list(task.trained().values())
    optimizer = torch.optim.AdamW(parameters, lr=hyper["lr"], betas=tuple(hyper["betas"]), eps=hyper["eps"],
                                  weight_decay=hyper["weight_decay"])
    for number in range(steps):
        captions = facts["steps"][number]["captions"]
        text = task.text({"exemplar_caption": captions[:1], "prior_caption": captions[1:]})
        latents, noisy, target, timestep = task.use(given, number)
        with torch.no_grad():
            each, predicted = task.objective.clip_losses(noisy, target, timestep, text)
        loss = task.objective(noisy, target, timestep, text, torch.zeros(1, dtype=torch.int64)).mean()
        loss.backward()
        gradients = {name: tensor.grad.clone() for name, tensor in task.trained().items()}
        norm = torch.nn.utils.clip_grad_norm_(parameters, hyper["max_grad_norm"])
        yield number, task, {"latents": latents[0], "noisy": noisy[0], "text": text[0], "pred": predicted, "each": each[0],
                             "loss": float(loss), "gradients": gradients, "norm": float(norm)}
        optimizer.step()
        optimizer.zero_grad()


def test_two_steps_are_those_of_the_published_code(model, facts, numbers, given):
    run = stepped(model, facts, given, facts["hyper"], len(facts["steps"]))
    for number, task, found in run:
        wanted, start = facts["steps"][number], f"step{number}."
        ids = task.model.tokenizer(wanted["captions"], padding="max_length", max_length=77, return_tensors="pt").input_ids
        assert torch.equal(ids, numbers[start + "input_ids"])
        for name, limit in (("text_hidden", 1e-5), ("latents", 1e-4), ("noisy", 1e-4)):
            if start + name in numbers:
                assert (found[{"text_hidden": "text"}.get(name, name)] - numbers[start + name]).abs().max() <= limit, name
        if start + "pred" in numbers:
            assert (found["pred"][0] - numbers[start + "pred"][0]).abs().max() <= 2e-4
        assert abs(float(found["each"][0]) - wanted["loss_exemplar"]) <= 1e-5
        assert abs(float(found["each"][1]) - wanted["loss_prior"]) <= 1e-5
        assert abs(found["loss"] - wanted["loss_total"]) <= 1e-5
        assert found["norm"] == pytest.approx(wanted["grad_norm_total_before_clip"], rel=1e-3)
        for name, statistics in wanted["tensors"].items():
            assert float(found["gradients"][name].norm()) == pytest.approx(statistics["grad_norm"], rel=1e-3), name
        if number == 0:
            compared = [name for name in found["gradients"] if f"grad.{name}" in numbers]
            assert compared
            for name in compared:
                error = found["gradients"][name] - numbers[f"grad.{name}"]
                assert float(error.norm()) <= 1e-3 * float(numbers[f"grad.{name}"].norm()), name
        if number == 1:
            after = {name: tensor.detach() for name, tensor in task.trained().items() if f"after.{name}" in numbers}
            errors = torch.cat([(tensor - numbers[f"after.{name}"]).abs().flatten() for name, tensor in after.items()])
            assert len(after) and float((errors <= 2e-7).double().mean()) >= 0.999 and float(errors.max()) <= 1.1e-5


def test_weight_decay_and_clipping_are_seen_with_larger_numbers(model, facts, numbers, given):
    *_, (_, task, _) = stepped(model, facts, given, facts["big"]["hyper"], len(facts["steps"]))
    before = TextToVideo.load(model.source).unet.state_dict()
    wanted = {name.removeprefix("big.after2."): tensor for name, tensor in numbers.items() if name.startswith("big.after2.")}
    trained = task.trained()
    errors = torch.cat([(trained[name].detach() - tensor).abs().flatten() for name, tensor in wanted.items()])
    assert float((errors <= 1e-5).double().mean()) >= 0.995
    for name, length in facts["big"]["tensors_delta_l2"].items():
        assert float((trained[name].detach() - before[name]).norm()) == pytest.approx(length, rel=2e-2), name


def test_only_the_paper_s_weights_get_gradients(model, goldens):
    task = MotionTask(model, PAPER)
    names = json.loads((goldens / "trainable.json").read_text())["settings"]["cross+temporal+temp_convs"]["tiny_names"]
    assert sorted(n for n, p in model.unet.named_parameters() if p.requires_grad) == sorted(names) == sorted(task.trained())
    assert not any(p.requires_grad for p in model.text_encoder.parameters())


def test_v_prediction_is_followed_where_the_folder_says_so(model, facts, given):
    model.scheduler["prediction_type"] = "v_prediction"
    task = GivenTask(model, PAPER)
    captions = facts["steps"][0]["captions"]
    text = task.text({"exemplar_caption": captions[:1], "prior_caption": captions[1:]})
    _, noisy, target, timestep = task.use(given, 0)
    with torch.no_grad():
        losses, _ = task.objective.clip_losses(noisy, target, timestep, text)
    assert losses[0].tolist() == pytest.approx(facts["steps"][0]["loss_if_target"]["v_prediction"], abs=1e-5)


def batch_for(generator, network_channels=4, batch=2, clips=2, frames=3):
    shape = (batch, clips, network_channels, frames, 4, 4)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator), \
        torch.randint(1000, (batch, clips), generator=generator), torch.randn((batch, clips, 77, 32), generator=generator)


def test_checkpointing_changes_no_bit_and_keeps_less(goldens):
    results = []
    for checkpointed in (False, True):
        network = without_dropout(TextToVideo.load(goldens / "pipeline").unet).requires_grad_(True).train()
        network = with_checkpointing(network) if checkpointed else network
        noisy, target, timestep, text = batch_for(torch.Generator().manual_seed(0))
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
            loss = CustomizationLoss(network)(noisy, target, timestep, text, torch.zeros(2, dtype=torch.int64)).sum()
        loss.backward()
        results.append((loss, {name: p.grad for name, p in network.named_parameters()}, sum(kept)))
    assert torch.equal(results[0][0], results[1][0]) and results[1][2] < results[0][2] / 3
    assert all(torch.equal(gradient, results[1][1][name]) for name, gradient in results[0][1].items())


def test_training_mode_changes_nothing_because_dropout_is_off(model):
    network, inputs = without_dropout(model.unet), batch_for(torch.Generator().manual_seed(1))
    with torch.no_grad():
        losses = [CustomizationLoss(network.train(mode)).clip_losses(*inputs)[0] for mode in (False, True)]
    assert torch.equal(*losses)


def test_samples_of_a_batch_never_mix_and_a_run_without_prior_works(model):
    noisy, target, timestep, text = batch_for(torch.Generator().manual_seed(2))
    anchor = torch.tensor([0, 2])
    loss = CustomizationLoss(model.unet, 0.5, debiasing=0.3)
    with torch.no_grad():
        together = loss(noisy, target, timestep, text, anchor)
        swapped = loss(*(x[[1, 0]] for x in (noisy, target, timestep, text, anchor)))
        alone = loss(*(x[:, :1] for x in (noisy, target, timestep, text)), anchor)
        no_prior = CustomizationLoss(model.unet, 0.0, debiasing=0.3)(noisy, target, timestep, text, anchor)
    assert torch.allclose(swapped, together[[1, 0]], rtol=1e-4) and torch.allclose(alone, no_prior, rtol=1e-4)


def test_debiasing_does_not_see_what_all_frames_share():
    x, still = torch.randn(2, 4, 5, 3, 3), torch.randn(2, 4, 1, 3, 3)
    anchor = torch.tensor([1, 4])
    found = debiased(x + still, anchor) - debiased(x, anchor)
    assert torch.allclose(found, (2 ** 0.5 - 1) * still.expand_as(found), atol=1e-5)
    assert torch.equal(debiased(x, anchor)[1, :, 4], 2 ** 0.5 * x[1, :, 4] - x[1, :, 4])


# ------------------------------------------------------------------------------------------------------------- clips

@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three exemplars with captions and two prior clips, 8 to 12 frames of noise, 24 and 48 fps."""
    exemplars, priors = tmp_path_factory.mktemp("exemplars"), tmp_path_factory.mktemp("priors")
    rng = np.random.default_rng(0)
    for folder, stem, count, fps in ((exemplars, "a", 8, 24), (exemplars, "b", 12, 24), (exemplars, "c", 12, 48),
                                     (priors, "a_man_walks", 9, 24), (priors, "two_people", 10, 24)):
        write_video(folder / f"{stem}.mp4", rng.integers(0, 256, (count, 32, 48, 3), np.uint8), fps)
        if folder == exemplars:
            (folder / f"{stem}.txt").write_text(f"person {stem} doing the sks dance")
    return exemplars, priors


def clips_of(folders, **more):
    exemplars, priors = folders
    return MotionClips(clips_in(exemplars), clips_in(priors, from_name=True), 4, (32, 32), **more)


def test_cached_latents_and_frames_lead_to_the_same_step(model, folders, tmp_path):
    cache = LatentCache(tmp_path, 24, fingerprint(model.source))
    plain = clips_of(folders)
    assert cache.fill(plain.all_clips(), model.encode_frames) == 5 and cache.fill(plain.all_clips(), model.encode_frames) == 0
    task, keys = MotionTask(model, PAPER, seed=3), [(0, 17), (2, 18)]
    batches = [default_collate([clips[key] for key in keys]) for clips in (plain, clips_of(folders, cache=cache))]
    assert "frames" in batches[0] and "frames" not in batches[1]
    for with_frames, with_cache in zip(*map(task.inputs, batches)):
        assert torch.allclose(with_frames, with_cache, atol=1e-5)
    assert torch.allclose(*(task.objective(*task.inputs(batch)) for batch in batches), rtol=1e-5)


def test_a_sample_depends_on_its_position_alone(model, folders):
    task, clips = MotionTask(model, PAPER, seed=3), clips_of(folders)
    alone = task.inputs(default_collate([clips[1, 5]]))
    together = task.inputs(default_collate([clips[0, 4], clips[1, 5]]))
    assert all(torch.allclose(one[0], two[1], atol=1e-5) for one, two in zip(alone, together))
    other = task.inputs(default_collate([clips[1, 6]]))
    assert not torch.equal(alone[2], other[2]) or not torch.equal(alone[0], other[0])


def test_a_prior_clip_more_does_not_change_the_exemplars(model, folders):
    exemplars, priors = folders
    task = MotionTask(model, PAPER, seed=3)
    without = MotionClips(clips_in(exemplars), [], 4, (32, 32))
    pair, single = (task.inputs(default_collate([clips[1, 9]])) for clips in (clips_of(folders), without))
    assert single[0].shape[1] == 1 and all(torch.equal(one[:, 0], two[:, 0]) for one, two in zip(single[:4], pair[:4]))


def test_what_was_trained_is_exported_in_float32_and_read_back(model, goldens, folders, tmp_path):
    task = MotionTask(model, PAPER, word="sks", frozen_dtype=torch.bfloat16)
    assert {p.dtype for n, p in model.unet.named_parameters()} == {torch.float32, torch.bfloat16}
    with torch.no_grad():
        for tensor in task.trained().values():
            tensor += 1e-4
    task.export(tmp_path)
    stored = load_file(tmp_path / NAME)
    assert stored.keys() == task.trained().keys() and all(tensor.dtype == torch.float32 for tensor in stored.values())
    again = load_customized(tmp_path)
    assert all(torch.equal(again.unet.get_parameter(name), tensor) for name, tensor in stored.items())
    fresh = TextToVideo.load(goldens / "pipeline").unet.state_dict()
    assert all(torch.equal(again.unet.state_dict()[name], tensor) for name, tensor in fresh.items() if name not in stored)
    exported = load_customized(again.save(tmp_path / "pipeline", torch.float32))
    assert all(torch.equal(exported.unet.get_parameter(name), tensor) for name, tensor in stored.items())


def test_trained_tensors_go_to_their_own_base_only(model, tmp_path):
    task = MotionTask(model, "cross")
    task.export(tmp_path / "run")
    with torch.no_grad():
        model.unet.conv_in.weight += 0.1
    other = model.save(tmp_path / "other", torch.float32)
    with pytest.raises(ValueError, match="expected the base it was trained from.*found another model.*--base"):
        check_weights(tmp_path / "run", other)
    half = TextToVideo.load(task.model.source).save(tmp_path / "half", torch.float16)
    assert check_weights(tmp_path / "run", half) == half


@pytest.mark.parametrize("frames, words", [(3, "num_frames=16 needs at least 8 frames at about 24 fps .found 3"), (1, "found 1")])
def test_exemplars_that_are_mostly_a_still_are_refused_by_name(tmp_path, frames, words):
    write_video(tmp_path / "short.mp4", np.zeros((frames, 32, 32, 3), np.uint8), 24)
    with pytest.raises(ValueError, match=f"short.mp4.*{words}"):
        MotionClips(clips_in(tmp_path, ["x"]), [], 16, (32, 32))


def test_one_exemplar_is_warned_about_and_short_prior_clips_are_left_out_with_their_number(folders, tmp_path, caplog):
    write_video(tmp_path / "short.mp4", np.zeros((2, 32, 32, 3), np.uint8), 24)
    write_video(tmp_path / "long.mp4", np.zeros((9, 32, 32, 3), np.uint8), 24)
    exemplars = clips_in(folders[0])[:1]
    clips = MotionClips(exemplars, clips_in(tmp_path, from_name=True), 8, (32, 32))
    assert len(clips.priors) == 1 and "1 of 2 prior clips are left out as too short" in caplog.text
    assert "one exemplar only" in caplog.text


def test_shapes_that_cannot_share_a_batch_are_refused(tmp_path):
    for name, size in (("wide", (32, 64)), ("tall", (64, 32))):
        write_video(tmp_path / f"{name}.mp4", np.zeros((8, *size, 3), np.uint8), 24)
    clips = MotionClips(clips_in(tmp_path, ["x"]), [], 4, (48, 48), bucketing=True, multiple=16)
    assert clips.canvas(0) == (48, 32) and clips.canvas(1) == (32, 48)          # sorted: tall, wide
    assert clips[1, 0]["frames"].shape[-2:] == (32, 48)
    clips.require_one_canvas(1)
    with pytest.raises(ValueError, match="train.batch_size: expected exemplars of one shape in a batch .found 32x48 and 48x32"):
        clips.require_one_canvas(2)
