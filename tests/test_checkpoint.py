"""Weights files: what is read, what is refused, and with which words."""
import pickle
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mimicmotion.checkpoint import load_image_encoder, load_unet, load_vae, load_video_model, save_checkpoint
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.savings import is_temporal, is_zero_initialised, spatio_temporal_blocks, zero_temporal_branches
from runtime.weights import read_tensors
from t2m.networks import VQVAE
from t2m.weights import load_strictly

ADAPTER = Path(__file__).parents[1] / "weights" / "demo" / "adapter"


@pytest.fixture(scope="module")
def tensors(tiny_checkpoint):
    return load_file(tiny_checkpoint)


@pytest.fixture(scope="module")
def model(tiny_svd_folder, tiny_checkpoint):
    return load_video_model(tiny_svd_folder, tiny_checkpoint, torch.float32)


def same(left, right) -> bool:
    a, b = left.state_dict(), right.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def load(svd, path):
    return load_video_model(svd, path, torch.float32)


def test_a_saved_checkpoint_loads_back_equal(model, tiny_svd_folder, tmp_path):
    folder = save_checkpoint(tmp_path / "video", *model, dtype=torch.float32)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert all(same(ours, theirs) for ours, theirs in zip(model, load(tiny_svd_folder, folder)))


def test_a_folder_checkpoint_needs_no_unet_in_the_svd_folder(model, tmp_path):
    folder = save_checkpoint(tmp_path / "video", *model)
    assert same(load(tmp_path / "no svd", folder)[0], model[0])   # exact in float16


def test_temporal_branches_that_change_nothing_are_not_stored_and_come_back_silent(model, tiny_svd_folder, tmp_path):
    whole = save_checkpoint(tmp_path / "whole", *model)
    unet, pose_net = load(tiny_svd_folder, whole)
    zero_temporal_branches(unet)
    folder = save_checkpoint(tmp_path / "video", unet, pose_net)
    assert not any(map(is_temporal, load_file(folder / "model.safetensors"))) and any(map(is_temporal, load_file(whole / "model.safetensors")))
    (first, _), (second, _) = load(tiny_svd_folder, folder), load(tiny_svd_folder, folder)
    assert same(first, second) and all(map(is_zero_initialised, spatio_temporal_blocks(first)))
    assert all(torch.equal(tensor, first.state_dict()[name]) for name, tensor in unet.state_dict().items() if not is_temporal(name))
    assert load_video_model(tiny_svd_folder, folder, torch.float16, device="meta")[0].dtype is torch.float16


def test_a_published_pth_loads_equal(model, tensors, tiny_svd_folder, tmp_path):
    torch.save(tensors, tmp_path / "MimicMotion.pth")
    torch.save(tensors, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    for name in ("MimicMotion.pth", "legacy.pth"):
        assert all(same(ours, theirs) for ours, theirs in zip(model, load(tiny_svd_folder, tmp_path / name)))


def test_no_checkpoint_is_the_svd_unet_with_a_pose_net_that_says_nothing(model, tiny_svd_folder):
    unet, pose_net = load(tiny_svd_folder, None)
    assert same(unet, model[0]) and not pose_net(torch.randn(1, 3, 16, 16)).any()


def test_loading_leaves_no_parameter_without_memory_and_all_in_the_dtype_asked_for(tiny_svd_folder, tiny_checkpoint):
    modules = [*load_video_model(tiny_svd_folder, tiny_checkpoint, torch.bfloat16),
               load_vae(tiny_svd_folder / "vae", torch.bfloat16),
               load_image_encoder(tiny_svd_folder / "image_encoder", torch.bfloat16)]
    for module in modules:
        assert {p.dtype for p in module.parameters()} == {torch.bfloat16}
        assert {t.device.type for t in (*module.parameters(), *module.buffers())} == {"cpu"}


def test_half_precision_prefers_the_fp16_variant_and_full_precision_the_full_file(tiny_svd_folder, tmp_path):
    folder = tmp_path / "unet"
    folder.mkdir()
    (folder / "config.json").write_bytes((tiny_svd_folder / "unet" / "config.json").read_bytes())
    weights = load_file(tiny_svd_folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    weights = {name: tensor.float() for name, tensor in weights.items()}
    save_file(weights, folder / "diffusion_pytorch_model.safetensors")
    other = {name: tensor.half() + 1 for name, tensor in weights.items()}
    save_file(other, folder / "diffusion_pytorch_model.fp16.safetensors")
    bias = weights["conv_in.bias"]
    assert torch.equal(load_unet(folder, torch.float32).conv_in.bias, bias)
    assert torch.equal(load_unet(folder, torch.float16).conv_in.bias, bias.half() + 1)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".legacy.pth"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_every_format_reads_equal_in_every_dtype(tensors, tmp_path, suffix, dtype):
    path, tensors = tmp_path / f"model{suffix}", tensors | {"counter": torch.arange(3)}
    if suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=suffix == ".pth")
    read, named = read_tensors(path, dtype), read_tensors(path, None, "meta")
    assert read.keys() == named.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor.to(dtype) if tensor.is_floating_point() else tensor)
        assert named[name].is_meta and named[name].shape == tensor.shape and named[name].dtype == tensor.dtype


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_training_on_mapped_weights_leaves_their_file_alone(tensors, tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    before, read = path.read_bytes(), read_tensors(path, torch.float16)
    for tensor in read.values():
        tensor.add_(1)
    assert torch.equal(read["pose_net.scale"], tensors["pose_net.scale"] + 1) and path.read_bytes() == before


class Payload:
    """Creates a file when unpickled by a careless reader."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("form", ["zip", "plain pickle"])
def test_a_pickled_payload_is_refused_and_not_run(tiny_svd_folder, tmp_path, form):
    proof, file = tmp_path / "executed", tmp_path / "evil.pth"
    state = {"unet.conv_in.bias": Payload(proof)}
    torch.save(state, file) if form == "zip" else file.write_bytes(pickle.dumps(state, protocol=2))
    with pytest.raises(ValueError, match="evil.pth: expected tensors only .*not run"):
        load(tiny_svd_folder, file)
    with pytest.raises(ValueError, match="evil.pth: expected tensors only .*not run"):
        load_strictly(VQVAE(), file)
    assert not proof.exists()
    torch.load(file, weights_only=False) if form == "zip" else pickle.loads(file.read_bytes())
    assert proof.exists()                                                                        # the payload was live


@pytest.mark.parametrize("text", ["<!DOCTYPE html>\n<title>Quota exceeded</title>",
                                  "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "hello", "hi there\nQ}K."])
def test_text_under_a_weights_files_name_is_said_to_be_text(tiny_svd_folder, tmp_path, text):
    (tmp_path / "page.pth").write_text(text)
    for read in (lambda path: load(tiny_svd_folder, path), partial(load_strictly, VQVAE())):
        with pytest.raises(ValueError, match="page.pth: expected a torch file .found .*Git LFS.*fetch the file itself"):
            read(tmp_path / "page.pth")


@pytest.mark.parametrize("read", [lambda svd, path: load(svd, path), lambda svd, path: load_strictly(VQVAE(), path)])
def test_a_pickle_of_another_version_is_refused_without_a_second_line(tiny_svd_folder, tmp_path, read, recwarn):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Payload(tmp_path / "executed"), protocol=4))
    with pytest.raises(ValueError, match="evil.pth: expected tensors only .*not run"):
        read(tiny_svd_folder, tmp_path / "evil.pth")
    assert not recwarn.list and not (tmp_path / "executed").exists()


def without(tensors, name):
    return {key: value for key, value in tensors.items() if key != name}


@pytest.mark.parametrize("change, words", [
    (lambda t: without(t, "pose_net.scale"), r"1 tensors missing, first 'pose_net\.scale'"),
    (lambda t: t | {"unet.extra.weight": torch.zeros(1)}, r"1 unexpected tensors, first 'unet\.extra\.weight'"),
    (lambda t: t | {"unet.conv_in.bias": torch.zeros(7)}, r"first 'unet\.conv_in\.bias' \(7,\) instead of \(32,\)"),
    (lambda t: t | {"vae.conv.weight": torch.zeros(1)}, r"found 'vae\.conv\.weight'"),
    (lambda t: {name[5:]: tensor for name, tensor in t.items() if name.startswith("unet.")}, "plain SVD.*no PoseNet"),
    (lambda t: {"model.diffusion_model." + name: tensor for name, tensor in t.items()}, "in one file, .*no PoseNet"),
    (lambda t: {"conv.weight": torch.zeros(1)}, "none of the models used here"),
])
def test_a_wrong_checkpoint_names_file_and_tensor(tensors, tiny_svd_folder, tmp_path, change, words):
    save_file(change(tensors), tmp_path / "wrong.safetensors")
    with pytest.raises(ValueError, match=rf"wrong\.safetensors: .*{words}"):
        load(tiny_svd_folder, tmp_path / "wrong.safetensors")


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kept", [0, 6, 100_000])
def test_a_truncated_file_is_named(tensors, tiny_svd_folder, tmp_path, suffix, kept):
    file = tmp_path / f"half{suffix}"
    save_file(tensors, file) if suffix == ".safetensors" else torch.save(tensors, file)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=rf"half\{suffix}: expected "):
        load(tiny_svd_folder, file)


def test_a_missing_file_folder_or_variant_is_named(tiny_svd_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.pth: expected a weights file"):
        load(tiny_svd_folder, tmp_path / "nothing.pth")
    with pytest.raises(FileNotFoundError, match="config.json: expected a config file"):
        load_vae(tmp_path / "vae", torch.float32)
    (tmp_path / "config.json").write_bytes((tiny_svd_folder / "vae" / "config.json").read_bytes())
    with pytest.raises(FileNotFoundError, match="diffusion_pytorch_model.fp16.safetensors .found neither"):
        load_vae(tmp_path, torch.float32)


def test_a_picture_token_of_another_width_is_refused_before_any_step(tiny_svd_folder):
    with pytest.raises(ValueError, match="adapter: expected an image encoder that gives 128 numbers, .*found 32"):
        PoseToVideo.load(tiny_svd_folder, ADAPTER)


def test_diverged_weights_are_not_saved_over_good_ones(model, tiny_svd_folder, tmp_path):
    folder = save_checkpoint(tmp_path / "video", *model)
    before = (folder / "model.safetensors").read_bytes()
    unet, pose_net = load(tiny_svd_folder, folder)
    with torch.no_grad():
        unet.conv_out.bias[0] = 1e6                                                              # beyond float16
    with pytest.raises(ValueError, match="'unet.conv_out.bias'"):
        save_checkpoint(folder, unet, pose_net)
    assert (folder / "model.safetensors").read_bytes() == before


def test_an_interrupted_save_leaves_the_old_checkpoint(model, tmp_path, monkeypatch):
    folder = save_checkpoint(tmp_path / "video", *model)
    before = (folder / "model.safetensors").read_bytes()

    def fail(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("runtime.weights.save_file", fail)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(folder, *model)
    assert (folder / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
