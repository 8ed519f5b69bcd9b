"""The demo's text-to-video model and what scripts/demo_customization.sh measures: the shipped weights and the judge of motions."""
import filecmp
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder

from demo.train_text_to_video import caption_of, COLOURS, MOTIONS, NEW_MOTION, NEW_WORDS, pictures, WORDS
from newmove.generation import read_prompts
from newmove.task import pieces_of
from newmove.text_to_video import TextToVideo
from runtime.weights import read_tensors
from scripts import demo_customization
from scripts.demo_customization import (ANSWERS, BLUR, EXEMPLARS, measured, NEW_COLOURS, prepare, Recogniser, shirt_colour,
                                        silhouettes, similarity)

ROOT = Path(__file__).resolve().parent.parent
SHIPPED, VAE = ROOT / "weights" / "demo" / "text_to_video", ROOT / "weights" / "demo" / "svd" / "vae"
SOME = ("squatting", "raising both arms", NEW_WORDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the demo starts from: the base with its VAE, exemplars, prior clips and prompts."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        prepare(folder, draws=1)
    return folder


@pytest.fixture(scope="module")
def model(folder):
    return TextToVideo.load(folder / "base")


@pytest.fixture(scope="module")
def recognise():
    return Recogniser({words: np.stack([silhouettes(pictures(100 + i, "red", ANSWERS[words]), BLUR) for i in range(10)]) for words in SOME})


def test_the_shipped_model_is_small_half_precision_and_has_no_vae():
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 2_000_000 and not (SHIPPED / "vae").exists()
    for path in files:
        if path.suffix == ".safetensors":
            assert {tensor.dtype for tensor in read_tensors(path, None).values()} == {torch.float16}


def test_every_word_of_a_caption_is_one_token(model):
    for words in (*MOTIONS, NEW_WORDS):
        caption = caption_of("blue", words)
        assert len(pieces_of(model.tokenizer, caption)) == len(caption.split()), caption
    ids = model.tokenizer(WORDS, add_special_tokens=False).input_ids
    assert len({tuple(one) for one in ids}) == len(WORDS)


def test_a_base_whose_writing_was_interrupted_is_made_whole_by_the_next_run(folder, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    shutil.copytree(folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("base"))
    monkeypatch.chdir(ROOT)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("newmove.text_to_video.save_tensors", interrupted)
        prepare(tmp_path, draws=1)
    prepare(tmp_path, draws=1)
    assert filecmp.cmpfiles(folder, tmp_path, [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()])[1:] == ([], [])


@torch.no_grad()
def test_the_single_frame_vae_decodes_as_the_demos_own_does(model):
    own = AutoencoderKLTemporalDecoder.from_pretrained(VAE, torch_dtype=torch.float32).eval()
    latents = torch.randn(2, own.config.latent_channels, 6, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.vae.decode(latents).sample, own.decode(latents, num_frames=1).sample, rtol=0, atol=1e-5)
    frames = torch.rand(1, 3, 48, 40, generator=torch.Generator().manual_seed(1)) * 2 - 1
    torch.testing.assert_close(model.vae.encode(frames).latent_dist.mean, own.encode(frames).latent_dist.mean, rtol=0, atol=1e-5)


def test_nothing_that_is_asked_for_is_in_the_exemplars(folder):
    captions = [path.read_text() for path in sorted((folder / "exemplars").glob("*.txt"))]
    assert len(captions) == 5 and all("sks" in caption for caption in captions)
    prompts = read_prompts(folder / "prompts.txt", 0)
    new = [prompt.text for prompt in prompts if "sks" in prompt.text]
    assert {text.split()[3] for text in new} == set(NEW_COLOURS) and not set(NEW_COLOURS) & set(EXEMPLARS)
    priors = [path.read_text() for path in (folder / "prior").glob("*.txt")]
    assert len(priors) == len(MOTIONS) * len(COLOURS) and not any("sks" in caption for caption in priors)
    assert len({(prompt.seed, prompt.text) for prompt in prompts}) == len(prompts)


@pytest.mark.parametrize("words", SOME)
def test_a_motion_is_recognised_on_another_person_whatever_the_colour(recognise, words):
    blue, yellow = (pictures(900, colour, ANSWERS[words]) for colour in ("blue", "yellow"))
    assert recognise(blue) == recognise(yellow) == words
    assert recognise.nearest(blue)[1] == pytest.approx(recognise.nearest(yellow)[1], abs=0.02)


def test_what_shows_no_person_in_motion_is_not_recognised(recognise):
    true = pictures(901, "green", NEW_MOTION)
    strict = Recogniser(recognise.examples, limit=1.2 * recognise.nearest(true)[1])
    smear = np.broadcast_to(true.mean((0, 1), keepdims=True).astype(np.uint8), true.shape)
    frozen = np.repeat(true[:1], len(true), axis=0)
    assert strict(true) == NEW_WORDS and strict(smear) is None and strict(frozen) != NEW_WORDS


def test_colour_and_likeness_are_told_apart(recognise):
    exemplars = [pictures(seed, colour, NEW_MOTION) for seed, colour in ((910, "red"), (911, "green"))]
    other = pictures(912, "blue", NEW_MOTION)
    assert [shirt_colour(video) for video in (*exemplars, other)] == ["red", "green", "blue"]
    assert similarity(other, other) == pytest.approx(1) and max(similarity(other, exemplar) for exemplar in exemplars) < 0.95
    wrong = [("blue", NEW_WORDS, exemplars[0]), ("blue", NEW_WORDS, other), ("red", "squatting", other)]
    found = measured(wrong, recognise, exemplars)
    assert found["new"] == 1 and found["known"] == 0 and found["colour"] == 0.5 and found["similarity"] > 0.8


def test_the_shipped_model_draws_what_it_is_asked_for(model, recognise):
    video = model(caption_of("green", "raising both arms"), 1, num_frames=8, size=(96, 80), num_inference_steps=12, guidance_scale=2.0,
                  progress=False)
    assert recognise(video) == "raising both arms" and shirt_colour(video) == "green"


def test_a_quick_run_of_the_script_is_understood(monkeypatch):
    asked, script = [], (ROOT / "scripts" / "demo_customization.sh").read_text()
    for name in ("prepare", "measure"):
        monkeypatch.setattr(demo_customization, name, lambda folder, count: asked.append(count) or "")
    monkeypatch.setattr(demo_customization, "save_text", lambda *_: None)
    for name, option, value in re.findall(r"demo_customization.py (\w+) \S+ \$\(quick (\S+) (\S+)\)", script):
        monkeypatch.setattr(sys, "argv", ["demo_customization.py", name, "out", option, value])
        demo_customization.main()
    assert asked == [0, 1]
