"""Training the demo's VAE: where crops come from, and what --decoder-only leaves alone."""
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import AutoencoderKLTemporalDecoder
from safetensors.torch import load_file
from torch.utils.data import default_collate

from demo import train_vae as train_demo_vae
from demo.train_vae import Crops, VAETask
from mimicmotion.checkpoint import encoder_key, load_tiny_vae
from synthetic.clips import draw_cache, open_array, render_cache

SIDE = 32


@pytest.mark.parametrize("decoder_only", [True, False])
def test_every_trained_weight_gets_a_gradient_and_noise_depends_on_the_position(cache, decoder_only):
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=1,
        latent_channels=4, sample_size=64)
    crops = Crops(cache, SIDE, 0.0, 2.0, seed=0, encoded=decoder_only)
    task = VAETask(vae, crops, decoder_only=decoder_only, kl_weight=1e-4, latent_noise=0.1, seed=1)
    batch = default_collate([crops[(0, 3)], crops[(1, 4)]])
    with task.training_mode():
        task.objective(*task.inputs(batch)).backward()
    without = [name for name, p in vae.named_parameters() if p.requires_grad == (p.grad is None)]
    assert without == []
    alone = task.inputs(default_collate([crops[(1, 4)]]))
    assert torch.equal(task.inputs(batch)[2][1:], alone[2]) and torch.equal(task.inputs(batch)[3][1:], alone[3])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Two clips whose "latents" are the rows and columns they stand at."""
    folder = tmp_path_factory.mktemp("cache")
    render_cache(folder, first_seed=60, num_clips=2, num_frames=1, fps=2, size=(96, 64), workers=1)
    rows, columns = np.mgrid[:12, :8]
    for name in ("latents", "pose_latents"):
        latents = open_array(folder, name, (2, 2, 4, 12, 8), np.float16)
        latents[:] = np.stack([rows, columns, rows * 0, rows * 0])
        open_array(folder, f"{name}_done", (2,), np.bool_)[:] = True
        (folder / f"{name}.json").write_text('{"vae": "rows"}')
    return folder


def test_latents_are_cut_where_the_picture_is(cache):
    crops = Crops(cache, SIDE, pose_share=0.0, detail_weight=2.0, seed=0, encoded=True)
    frames = open_array(cache, "frames")
    places = set()
    for position in range(20):
        picture, weight, latents = (crops[(position % 2, position)][name] for name in ("picture", "weight", "latents"))
        top, left = (8 * int(latents[axis, 0, 0]) for axis in (0, 1))
        crop = ((picture.movedim(0, -1) + 1) * 127.5).round().to(torch.uint8).numpy()
        assert any((crop == frames[position % 2, frame, top:top + SIDE, left:left + SIDE]).all() for frame in (0, 1))
        assert weight.shape == (1, SIDE, SIDE) and set(weight.unique().tolist()) <= {1.0, 2.0}
        places.add((top, left))
    assert len(places) > 3


def test_a_share_of_the_crops_are_drawn_poses(cache):
    dark = [float(Crops(cache, SIDE, share, 2.0, seed=0, encoded=False)[(0, 5)]["picture"].median()) for share in (0.0, 1.0)]
    assert dark[0] > -1 and dark[1] == -1


def test_a_share_of_the_crops_has_the_latents_the_video_model_drew(cache):
    def draw_latents(picture: np.ndarray, poses: np.ndarray, moved: np.ndarray) -> np.ndarray:
        assert picture.shape == poses.shape[1:] and len(poses) == len(moved) == 1
        return np.full((1, 4, 12, 8), 7.0)

    open_array(cache, "moved_latents", (2, 2, 4, 12, 8), np.float16)
    open_array(cache, "moved_latents_done", (2,), np.bool_)[:] = True
    (cache / "moved_latents.json").write_text('{"vae": "rows"}')
    draw_cache(cache, draw_latents, {"video": "7"})
    (cache / "latents.json").write_text('{"vae": "anew"}')
    with pytest.raises(ValueError, match="drawn_latents.json: made with other settings .latents: .*delete drawn_latents"):
        draw_cache(cache, draw_latents, {"video": "7"})
    drawn = [[bool((Crops(cache, SIDE, 0.0, 2.0, seed=0, encoded=True, drawn_share=share)[(0, position)]["latents"] == 7).all())
              for position in range(6)] for share in (0.0, 1.0)]
    assert drawn == [[False] * 6, [True] * 6]


def saved_vae(folder: Path, scaling_factor: float, cache: Path) -> Path:
    """A small VAE in half precision, which the cache says its latents are of; its weights file."""
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=1,
        latent_channels=4, sample_size=64, scaling_factor=scaling_factor)
    vae.half().save_pretrained(folder)
    for name in ("latents", "pose_latents"):
        (cache / f"{name}.json").write_text(json.dumps({"vae": encoder_key(folder)}))
    return folder / "diffusion_pytorch_model.safetensors"


@pytest.fixture
def trained(cache, tmp_path, monkeypatch):
    """Trains what is in tmp_path / "vae" with these arguments."""
    def run(*arguments) -> None:
        monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
        monkeypatch.setattr(sys, "argv", ["train_demo_vae.py", str(cache), str(tmp_path / "vae"), "--batch-size", "2", "--crop", "32",
                                          *map(str, arguments)])
        AcceleratorState._reset_state(reset_partial_state=True)             # other tests train in other precisions
        try:
            train_demo_vae.main()
        finally:
            AcceleratorState._reset_state(reset_partial_state=True)

    return run


def test_a_tiny_vae_learns_both_ways_from_the_latents_and_leaves_the_vae_alone(cache, trained, tmp_path):
    weights = saved_vae(tmp_path / "vae", 0.1, cache)
    before, made = weights.read_bytes(), {}
    for steps in (1, 60):
        trained("--steps", steps, "--tiny", tmp_path / f"tiny_{steps}")
        made[steps] = load_tiny_vae(tmp_path / f"tiny_{steps}", torch.float32)
    batch = default_collate([Crops(cache, SIDE, 0.0, 2.0, seed=9, encoded=True)[(i % 2, i)] for i in range(8)])
    latents = 0.1 * batch["latents"]
    with torch.no_grad():
        decoding = {steps: float((tiny.decode(latents).sample - batch["picture"]).abs().mean()) for steps, tiny in made.items()}
        encoding = {steps: float((tiny.encode(batch["picture"]).latents - latents).square().mean()) for steps, tiny in made.items()}
    assert decoding[60] < 0.8 * decoding[1] and encoding[60] < 0.8 * encoding[1]
    assert weights.read_bytes() == before and not (tmp_path / "tiny_60" / "training").exists()


def test_decoder_only_trains_the_decoder_and_nothing_else(cache, trained, tmp_path):
    weights = saved_vae(tmp_path / "vae", 0.5, cache)
    before = load_file(weights)
    trained("--steps", 2, "--decoder-only")
    changed = {name for name, tensor in load_file(weights).items() if not torch.equal(tensor, before[name])}
    assert changed and all(name.startswith("decoder.") for name in changed)
    assert AutoencoderKLTemporalDecoder.load_config(tmp_path / "vae")["scaling_factor"] == 0.5
    assert not (tmp_path / "vae" / "training").exists()


def test_the_latents_of_another_vae_are_refused_and_a_decoder_that_learnt_on_keeps_them(cache, trained, tmp_path):
    saved_vae(tmp_path / "vae", 0.5, cache)
    for _ in range(2):
        trained("--steps", 1, "--decoder-only")
    (cache / "latents.json").write_text(json.dumps({"vae": "0123"}))
    with pytest.raises(ValueError, match="latents.json: expected latents of this training's VAE, .*found 0123.: delete latents"):
        trained("--steps", 1, "--decoder-only")


@pytest.mark.parametrize("option", ["--crop 40", "--pose-share 0.5", "--detail-weight 1", "--kl-weight 0.5"])
def test_going_on_with_other_crops_is_refused_and_nothing_is_advised_that_the_script_lacks(cache, trained, tmp_path, option):
    saved_vae(tmp_path / "vae", 0.5, cache)
    trained("--steps", 1, "--work", tmp_path / "work")
    name = option.split()[0].removeprefix("--").replace("-", "_")
    with pytest.raises(ValueError, match=f"written with other settings .{name}: .*: restore them, or choose another output$"):
        trained("--steps", 2, "--work", tmp_path / "work", *option.split())


def test_a_vae_that_is_not_there_is_named_and_nothing_is_fetched(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/vae"):
        trained("--steps", 1)


def test_a_crop_larger_than_the_pictures_is_refused(cache):
    with pytest.raises(ValueError, match="--crop 72: expected at most the pictures' shorter side, 64"):
        Crops(cache, 72, 0.0, 2.0, seed=0, encoded=False)
