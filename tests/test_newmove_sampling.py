"""The sampler around the five parts gives the numbers of the published pipeline."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from safetensors.torch import load_file

from newmove.text_to_video import TextToVideo, check_base, fingerprint
from newmove_goldens import complete

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def goldens(request, tmp_path_factory):
    folder = request.config.getoption("--goldens") or FIXTURES / "newmove"
    return complete(folder, tmp_path_factory.mktemp("newmove"))


@pytest.fixture(scope="module")
def model(goldens):
    return TextToVideo.load(goldens / "pipeline")


@pytest.fixture(scope="module")
def facts(goldens):
    return json.loads((goldens / "sample.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def numbers(goldens):
    return load_file(goldens / "sample.safetensors")


def options(facts):
    return {"num_inference_steps": facts["steps"], "guidance_scale": facts["guidance_scale"], "progress": False}


def relative(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


def test_text_states_are_those_of_the_published_encoder(model, facts, numbers):
    with_text, without = model.encode_text([facts["prompt"], ""])
    assert (with_text - numbers["text_cond"][0]).abs().max() <= 1e-5
    assert (without - numbers["text_uncond"][0]).abs().max() <= 1e-5


def test_latents_and_frames_are_those_of_the_published_sampler(model, facts, numbers):
    seed = int("".join(filter(str.isdigit, facts["generator"])))
    noise = model.first_noise(torch.Generator().manual_seed(seed), facts["frames"], (facts["height"], facts["width"]))
    assert torch.equal(noise, numbers["init_latents"])
    seen = {}
    final = model.sample(facts["prompt"], noise, seen=lambda step, latents, _: seen.update({step: latents}), **options(facts))
    for step in range(facts["steps"]):
        if f"step{step}.latents" in numbers:
            assert relative(seen[step], numbers[f"step{step}.latents"]) <= 1e-3
    frames = model.decode(final)
    if "frames" in numbers:
        assert (frames - numbers["frames"]).abs().max() <= 1e-3
    video = model(facts["prompt"], seed, num_frames=facts["frames"], size=(facts["height"], facts["width"]), **options(facts))
    assert np.abs(video.astype(int) - numbers["frames_u8"].numpy().astype(int)).max() <= 1


def test_a_negative_prompt_takes_the_place_of_the_empty_text(model, facts, numbers):
    final = model.sample(facts["prompt"], numbers["init_latents"], negative_prompt=facts["negative"], **options(facts))
    assert relative(final, numbers[f"neg.step{facts['steps'] - 1}.latents"][0]) <= 1e-3


def test_the_schedule_is_the_one_the_published_folder_leads_to(model, facts):
    scheduler = DPMSolverMultistepScheduler.from_config(model.scheduler)
    for key, wanted in facts["effective_scheduler"].items():
        assert scheduler.config[key] == wanted, key
    for steps, table in facts["tables"].items():
        scheduler.set_timesteps(int(steps))
        assert scheduler.timesteps.tolist() == table["timesteps"]
        assert np.allclose(scheduler.sigmas.tolist(), table["sigmas"], rtol=1e-6)


def test_a_saved_folder_reads_back_equal_also_by_diffusers_names(model, tmp_path):
    again = TextToVideo.load(model.save(tmp_path / "saved", torch.float32))
    for part in ("unet", "vae", "text_encoder"):
        before, after = getattr(model, part).state_dict(), getattr(again, part).state_dict()
        assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert again.scheduler == model.scheduler and fingerprint(again.source) == fingerprint(model.source)
    stored = load_file(tmp_path / "saved" / "text_encoder" / "model.safetensors")
    assert all(name.startswith("text_model.") for name in stored)


def test_old_vae_names_and_torch_files_are_read(model, goldens, tmp_path):
    folder = model.save(tmp_path / "old", torch.float32)
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    old = {name.replace("to_q", "query").replace("to_k", "key").replace("to_v", "value").replace("to_out.0", "proj_attn"): tensor
           for name, tensor in tensors.items()}
    assert old.keys() != tensors.keys()
    torch.save(old, folder / "vae" / "diffusion_pytorch_model.bin")
    path.unlink()
    again = TextToVideo.load(folder).vae.state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize("kind, remedy", [("WanPipeline", "base=wan"), ("StableDiffusionPipeline", "ZeroScope")])
def test_a_folder_of_another_model_is_refused_in_one_line(tmp_path, kind, remedy):
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": kind}))
    with pytest.raises(ValueError, match=f"found {kind}.*{remedy}") as error:
        check_base(tmp_path)
    assert "\n" not in str(error.value)


def test_a_size_the_vae_cannot_make_is_refused(model):
    with pytest.raises(ValueError, match="expected multiples of 2 pixels .found 33x32"):
        model("a", 1, num_frames=2, size=(33, 32), num_inference_steps=1)
