"""MusePose's two training tasks: the published step, what is trained, and what samples never share."""
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from musepose_tiny import apart, CONFIG, tiny_model
from safetensors.torch import load_file, save_file

from musepose.checkpoint import WeightFiles, load_networks, load_saved_networks, motion_name
from musepose.networks import build_pose_guider, is_motion
from musepose import MusePoseTrainConfig
from musepose.task import DenoisingLoss, MusePoseTask, for_stage, freeze, initialise_from_controlnet


@pytest.mark.parametrize("bank", ["fp16bank", "fp32bank"])
def test_a_training_step_has_the_published_loss_and_gradients(goldens, bank):
    folder = goldens("musepose", "train_step.safetensors", "ckpt/MusePose/reference_unet.pth", "meta.json")
    numbers, facts = load_file(folder / "train_step.safetensors"), json.loads((folder / "meta.json").read_text())["train_step"][bank]
    objective = DenoisingLoss(load_networks(WeightFiles.of(folder / "ckpt"), torch.float32), MusePoseTrainConfig(stage=2))
    freeze(objective, stage=2)
    if bank == "fp16bank":                                                    # as the published code rounds the features
        exact = objective.reference_net.forward
        objective.reference_net.forward = lambda *given: {name: found.half().float() for name, found in exact(*given).items()}
    get = lambda name: numbers[f"train.{name}"]
    losses = objective(get("latents").transpose(1, 2), get("noise_with_offset").transpose(1, 2), get("timesteps"),
                       get("ref_latents"), get("pose").transpose(1, 2), get("clip_embeds"), torch.ones(len(get("timesteps"))))
    losses.mean().backward()
    assert abs(losses.mean().item() / facts["loss"] - 1) < 1e-6
    norms = {name: parameter.grad.norm().item() for name, parameter in objective.denoiser.named_parameters() if parameter.grad is not None}
    wanted = {motion_name(name): norm for name, norm in facts["grad_norms"].items()}
    assert norms.keys() == wanted.keys() and len(norms) == facts["n_with_grad"]
    assert max(abs(norms[name] / wanted[name] - 1) for name in wanted) < 1e-5
    assert abs(sum(norm**2 for norm in norms.values()) ** 0.5 / facts["total"] - 1) < 1e-5
    for name, gradient in numbers.items():
        if name.startswith(f"train.{bank}.grad."):
            found = objective.denoiser.get_parameter(motion_name(name.removeprefix(f"train.{bank}.grad."))).grad
            assert apart(found, gradient) < 1e-5


def task_of(stage, seed=0, **settings):
    model = for_stage(tiny_model(seed), CONFIG, stage)
    return MusePoseTask(model, CONFIG, MusePoseTrainConfig(stage=stage, **settings))


def batch_of(size=2, frames=2, first=5):
    numbers = torch.Generator().manual_seed(first)
    pixels = lambda *shape: torch.rand(*shape, generator=numbers) * 2 - 1
    return {"target": pixels(size, frames, 3, 32, 32), "pose": pixels(size, frames, 3, 32, 32),
            "reference": pixels(size, 3, 32, 32), "position": torch.arange(first, first + size)}


@pytest.fixture(scope="module")
def stage_two():
    return task_of(2)


def test_each_stage_trains_its_own_part_and_every_trained_parameter_gets_a_gradient(stage_two):
    for task, frames in ((task_of(1), 1), (stage_two, 2)):
        task.objective(*task.inputs(batch_of(frames=frames))).sum().backward()
        for name, parameter in task.objective.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name
            if task is stage_two:
                assert parameter.requires_grad == is_motion(name)
        trained = {name.split(".")[0] for name, parameter in task.objective.named_parameters() if parameter.requires_grad}
        assert trained == ({"denoiser"} if task is stage_two else {"denoiser", "reference_net", "pose_guider"})
        task.objective.zero_grad()


@torch.no_grad()
def test_samples_do_not_depend_on_their_neighbours(stage_two):
    inputs = stage_two.inputs(batch_of())
    inputs = *inputs[:-1], torch.tensor([0.0, 1.0])
    alone = torch.cat([stage_two.objective(*(given[[row]] for given in inputs)) for row in (0, 1)])
    assert torch.allclose(stage_two.objective(*inputs), alone, rtol=1e-5)
    swapped = stage_two.objective(*(given[[1, 0]] for given in inputs))
    assert torch.allclose(swapped, alone[[1, 0]], rtol=1e-5)


@torch.no_grad()
def test_a_dropped_picture_leaves_no_trace_and_a_kept_one_does(stage_two):
    latents, noise, timesteps, reference, pose, tokens, _ = stage_two.inputs(batch_of())
    loss = lambda keep, shift: stage_two.objective(latents, noise, timesteps, reference + shift, pose, tokens + shift, torch.tensor(keep))
    kept, dropped = loss([1.0, 0.0], 0), loss([1.0, 0.0], 1)
    assert dropped[1] == kept[1] and dropped[0] != kept[0]


def test_accumulated_batches_have_the_gradient_of_one_batch(stage_two):
    """The published code keeps the last batch's references: its second micro-batch attends to the first one's picture."""
    inputs = stage_two.inputs(batch_of())
    gradient = lambda: torch.cat([p.grad.flatten() for p in stage_two.objective.parameters() if p.requires_grad])
    stage_two.objective.zero_grad()
    stage_two.objective(*inputs).sum().backward()
    whole = gradient()
    stage_two.objective.zero_grad()
    for row in (0, 1):
        stage_two.objective(*(given[[row]] for given in inputs)).sum().backward()
    assert (gradient() - whole).norm() < 1e-4 * whole.norm()


def test_checkpointed_activations_give_the_same_gradients():
    gradients = []
    for checkpointed in (False, True):
        task = task_of(1)
        if checkpointed:
            task.objective.denoiser.enable_gradient_checkpointing()
            task.objective.reference_net.enable_gradient_checkpointing()
        task.objective.train()
        task.objective(*task.inputs(batch_of(frames=1))).sum().backward()
        gradients.append({name: p.grad for name, p in task.objective.named_parameters() if p.requires_grad})
    assert all(torch.allclose(gradients[0][name], gradients[1][name], rtol=1e-4, atol=1e-7) for name in gradients[0])


@torch.no_grad()
def test_inputs_are_a_function_of_seed_and_position(stage_two):
    batch = batch_of(size=3)
    whole = stage_two.inputs(batch)
    parts = [stage_two.inputs({name: values[[row]] for name, values in batch.items()}) for row in (2, 0)]
    for row, part in zip((2, 0), parts):
        assert all(torch.allclose(one, many[[row]], atol=1e-5) for one, many in zip(part, whole))
        assert torch.equal(part[1], whole[1][[row]]) and torch.equal(part[2], whole[2][[row]])
    other = MusePoseTask(stage_two.model, CONFIG, replace(stage_two.config, seed=1)).inputs(batch)
    assert not torch.equal(other[1], whole[1])


def test_pictures_are_left_out_as_often_as_asked_and_the_noise_has_offsets(stage_two):
    task = MusePoseTask(stage_two.model, CONFIG, replace(stage_two.config, uncond_ratio=0.25, noise_offset=0.5))
    noise, timesteps, keep = task.randomness(list(range(2000)), (3, 4, 2, 2))
    assert abs(keep.mean() - 0.75) < 0.03 and timesteps.min() >= 0 and timesteps.max() <= 999 and timesteps.float().std() > 250
    means = noise.mean(dim=(1, 3, 4))                                         # (2000, 4): the offset, and 12 numbers' mean
    assert abs(means.std() - (0.25 + 1 / 12) ** 0.5) < 0.02


def test_what_is_exported_is_what_loading_reads(stage_two, tmp_path):
    stage_two.export(tmp_path)
    networks = load_saved_networks(tmp_path, torch.float32)
    for name, tensor in networks.denoiser.state_dict().items():
        assert torch.equal(tensor, stage_two.model.denoiser.state_dict()[name].half().float()), name


def test_new_motion_modules_change_nothing_until_they_are_trained():
    model = for_stage(tiny_model(), CONFIG, 1)
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
    run = lambda model: model.sample(frames[0], frames[1:], torch.Generator().manual_seed(0), size=(32, 32), pad=False,
                                     num_inference_steps=1, progress=False)
    assert apart(run(for_stage(model, CONFIG, 2)), run(model)) < 1e-5


def test_a_pose_guider_begins_as_controlnets_but_for_its_last_layer(tmp_path):
    source, guider = (build_pose_guider(32, (16, 32, 96, 256)) for _ in range(2))
    tensors = {f"controlnet_cond_embedding.{name}": tensor for name, tensor in source.state_dict().items()}
    save_file(tensors | {"conv_in.weight": torch.zeros(1)}, tmp_path / "controlnet.safetensors")
    initialise_from_controlnet(guider, tmp_path / "controlnet.safetensors")
    for name, tensor in guider.state_dict().items():
        assert not tensor.any() if name.startswith("conv_out.") else torch.equal(tensor, source.state_dict()[name])
    with pytest.raises(ValueError, match="expected ControlNet's openpose weights"):
        initialise_from_controlnet(build_pose_guider(32, (8, 16)), tmp_path / "controlnet.safetensors")


@pytest.mark.parametrize(("settings", "words"), [({"stage": 3}, "stage: expected 1"), ({"uncond_ratio": 2.0}, "uncond_ratio: expected"),
                                                 ({"snr_gamma": -1.0}, "snr_gamma: expected"), ({"enable_zero_snr": False}, "enable_zero_snr")])
def test_settings_that_cannot_work_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        MusePoseTrainConfig(**settings)


def test_a_denoiser_of_the_other_stage_is_refused(stage_two):
    with pytest.raises(ValueError, match="stage 1: expected a denoiser without motion modules"):
        MusePoseTask(stage_two.model, CONFIG, MusePoseTrainConfig(stage=1))


def test_a_validation_sample_is_a_video_of_the_batchs_size(stage_two):
    few = stage_two.sample({name: values[:1] for name, values in batch_of(frames=2).items()})
    assert few.shape == (2, 32, 32, 3) and few.dtype == np.uint8 and few.std() > 0
