"""Checking folders of weights without reading them, and converting published files."""
import gzip
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mimicmotion.checkpoint import check_video_model, load_video_model, split_parts, trained_frames
from runtime.weights import check_safetensors, empty, fill
from mimicmotion.networks import PoseNet
from mimicmotion.networks import PoseUNet
from scripts import check_weights, convert_checkpoint
from scripts.convert_checkpoint import convert
from run.checks import check_motion_weights
from t2m.generate import TextToMotion
from t2m.networks import GPT, next_tokens, VQVAE
from t2m.text_encoder import TextEncoder
from t2m.weights import load_strictly

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
META = np.load(FIXTURES / "t2m" / "meta_stats.npz")


@pytest.fixture(scope="module")
def published(tiny_svd_folder, tiny_checkpoint, tmp_path_factory) -> Path:
    """A folder laid out as the published files are, with tiny models in them."""
    folder = tmp_path_factory.mktemp("published")
    shutil.copytree(tiny_svd_folder, folder / "svd")
    (folder / "mimicmotion").mkdir()
    torch.save(load_file(tiny_checkpoint), folder / "mimicmotion" / "MimicMotion_1-1.pth")
    (folder / "dwpose").mkdir()
    for name in ("yolox_l.onnx", "dw-ll_ucoco_384.onnx"):
        shutil.copyfile(FIXTURES / "pose" / f"fake_{name}", folder / "dwpose" / name)
    ours, t2m = ROOT / "weights" / "demo" / "t2m", folder / "t2m"
    t2m.mkdir()
    sizes = json.loads((ours / "config.json").read_text())
    (t2m / "config.json").write_text(json.dumps({part: sizes[part] for part in ("vqvae", "gpt")}))
    for theirs, name, key in (("net_last.pth", "vqvae", "net"), ("net_best_fid.pth", "gpt", "trans")):
        torch.save({key: {n: t.float() for n, t in load_file(ours / f"{name}.safetensors").items()}}, t2m / theirs)
    for kind in ("mean", "std"):
        np.save(t2m / f"{kind}.npy", META[f"meta_{kind}"])
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(ours / part, t2m / part)
    return folder


@pytest.fixture
def copy(published, tmp_path) -> Path:
    return shutil.copytree(published, tmp_path / "weights")


def test_published_folders_and_ours_are_whole(published, capsys):
    assert check_weights.main([str(published)]) == 0
    printed = capsys.readouterr().out
    for words in ("MimicMotion_1-1.pth: video model, 443 tensors, float16", "svd: SVD folder", "VAE, ", "SVD UNet, ",
                  "yolox_l.onnx: ONNX, people, (1, 3, 640, 640) to (1, 8400, 85)", "keypoints", "t2m: text to motion"):
        assert words in printed
    assert check_weights.main([str(ROOT / "weights" / "demo")]) == 0
    assert "WRONG" not in capsys.readouterr().out


def rewrite(path: Path, change) -> None:
    """Store what `change` makes of a file's tensors."""
    if path.suffix == ".safetensors":
        save_file(change(load_file(path)), path)
    else:
        torch.save(change(torch.load(path, weights_only=True)), path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:path.stat().st_size * 2 // 3])


def changed(**news):
    """Damage: tensors put into a file, a "__" for every dot in their names; None takes one out."""
    def damage(path: Path) -> None:
        def change(tensors):
            inner = next(iter(tensors.values()))
            target = inner if isinstance(inner, dict) else tensors
            for name, tensor in news.items():
                name = name.replace("__", ".")
                target.pop(name) if tensor is None else target.update({name: tensor})
            return tensors
        rewrite(path, change)
    return damage


def keep(prefix: str, strip: int = 0):
    """Damage: only the tensors of one part stay, their names without the first `strip` letters."""
    kept = lambda tensors: {name[strip:]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return lambda path: rewrite(path, kept)


def copied(name: str):
    return lambda path: shutil.copyfile(path.parent / name, path)


MIMICMOTION, VQVAE_FILE, GPT_FILE = "mimicmotion/MimicMotion_1-1.pth", "t2m/net_last.pth", "t2m/net_best_fid.pth"
VAE, ENCODER = "svd/vae/diffusion_pytorch_model.fp16.safetensors", "svd/image_encoder/model.fp16.safetensors"
TEXT = "t2m/text_encoder/model.safetensors"


@pytest.mark.parametrize("file, damage, words", [
    (MIMICMOTION, cut, "MimicMotion_1-1.pth: expected a whole torch file"),
    (MIMICMOTION, changed(pose_net__scale=None), "1 tensors missing, first 'pose_net.scale'"),
    (MIMICMOTION, changed(unet__new=torch.ones(1)), "1 unexpected tensors, first 'unet.new'"),
    (MIMICMOTION, changed(unet__conv_in__bias=torch.ones(3)), "'unet.conv_in.bias' (3,) instead of (32,)"),
    (MIMICMOTION, changed(unet__conv_in__bias=torch.ones(32, dtype=torch.int8)), "is torch.int8 instead of"),
    (MIMICMOTION, keep("unet.", strip=5), "plain SVD UNet, which has no PoseNet"),
    (MIMICMOTION, keep("unet."), "'unet.*' only: plain SVD"),
    (MIMICMOTION, keep("pose_net."), "'pose_net.*' only"),
    (MIMICMOTION, lambda p: torch.save({"trans": {}}, p), "with the keys 'trans'"),
    (VAE, cut, "is not whole: fetch it again"),
    (VAE, Path.unlink, "missing vae/*.safetensors"),
    (VAE, copied("../image_encoder/model.fp16.safetensors"), "found CLIP's image encoder"),
    (ENCODER, changed(visual_projection__weight=None), "first 'visual_projection.weight'"),
    (ENCODER, lambda p: (p.parent / "config.json").write_text("{"), "config.json: expected JSON"),
    (ENCODER, lambda p: (p.parent / "config.json").write_text("[1]"), "config.json: expected JSON's names and values"),
    ("svd/scheduler/scheduler_config.json", lambda p: p.write_text("{}"), "expected prediction_type 'v_prediction'"),
    ("svd/scheduler/scheduler_config.json", lambda p: p.write_text(p.read_text().replace("scaled_linear", "steep")),
     "scheduler_config.json: expected a config this version can build"),
    ("dwpose/yolox_l.onnx", cut, "expected a whole ONNX file"),
    ("dwpose/yolox_l.onnx", copied("dw-ll_ucoco_384.onnx"), "is this the pose network?"),
    ("dwpose/dw-ll_ucoco_384.onnx", lambda p: p.write_bytes(b""), "inputs and outputs (found none)"),
    (VQVAE_FILE, cut, "net_last.pth: expected a whole torch file"),
    (VQVAE_FILE, copied("net_best_fid.pth"), "a VQVAE (found T2M-GPT's GPT, net_best_fid.pth): is this the right file?"),
    (GPT_FILE, changed(trans_head__ln_f__bias=None), "first 'trans_head.ln_f.bias'"),
    (GPT_FILE, Path.unlink, "expected one of gpt.safetensors, net_best_fid.pth"),
    ("t2m/std.npy", lambda p: np.save(p, META["h3d_std"]), "25 times too much"),
    (TEXT, changed(text_projection__weight=None), "'text_projection.weight'"),
    ("t2m/tokenizer/merges.txt", Path.unlink, "merges.txt: expected CLIP's tokenizer"),
    ("t2m/config.json", lambda p: p.write_text("{"), "config.json: expected JSON"),
    ("t2m/config.json", lambda p: p.write_text('{"vqvae": {"widht": 3}}'), "expected the sizes of a VQVAE in 'vqvae'"),
    ("t2m/config.json", lambda p: p.write_text('{"draws": 0}'), "config.json: draws: expected a whole number from 1 to 1000 (found 0): correct"),
    ("t2m/std.npy", lambda p: p.write_text("<html>"), "std.npy: expected an .npy file of numbers"),
    ("t2m/mean.npy", lambda p: p.write_bytes(b""), "mean.npy: expected an .npy file of numbers"),
    ("t2m/tokenizer/merges.txt", lambda p: p.write_text("<html>"), "expected CLIP's vocab.json and merges.txt"),
    ("t2m/text_encoder/config.json", lambda p: p.write_text("[]"), "expected JSON's names and values"),
    ("svd/model_index.json", lambda p: p.write_text("{"), "model_index.json: expected JSON"),
])
def test_what_is_wrong_is_named_and_ends_with_two(copy, capsys, file, damage, words):
    damage(copy / file)
    assert check_weights.main([str(copy / file.split("/")[0])]) == 2
    wrong = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WRONG")]
    assert any(words in line for line in wrong), wrong


def test_a_trained_model_that_was_cut_off_is_not_whole(tmp_path, capsys):
    ours = ROOT / "weights" / "demo" / "video"
    shutil.copy(ours / "config.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes((ours / "model.safetensors").read_bytes()[:10**6])
    assert check_weights.main([str(tmp_path)]) == 2
    assert "model.safetensors: cut off at 1,000,000" in capsys.readouterr().out


def test_hashes_are_compared_on_request_and_an_empty_folder_is_no_success(published, tmp_path, capsys):
    path = Path(shutil.copyfile(published / "dwpose" / "yolox_l.onnx", tmp_path / "detector.onnx"))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "SOURCES.json").write_text(json.dumps({path.name: {"hash": sha256}}))
    assert check_weights.main([str(tmp_path), "--hash"]) == 0
    path.write_bytes(path.read_bytes().replace(b"images", b"imagez"))
    assert check_weights.main([str(path)]) == 0 and check_weights.main([str(tmp_path), "--hash"]) == 2
    assert check_weights.main([str(path), "--hash"]) == 2                             # one file, by the record beside it
    assert "detector.onnx: expected the hash" in capsys.readouterr().out
    assert check_weights.main([str(published / "dwpose"), "--hash"]) == 2            # not the files of that name
    (tmp_path / "none").mkdir()
    assert check_weights.main([str(tmp_path / "none")]) == 2
    (tmp_path / "SOURCES.json").write_text(json.dumps({path.name: 3}))
    with pytest.raises(ValueError, match="SOURCES.json: expected the hash of detector.onnx"):
        check_weights.main([str(tmp_path), "--hash"])


def test_a_checkpoint_of_the_published_size_is_taken_tensor_by_tensor():
    """Every name and shape of MimicMotion's file and of T2M-GPT's two, through the functions that load them."""
    manifest = json.loads(gzip.decompress((FIXTURES / "mimicmotion" / "manifest_mimicmotion_1-1.json.gz").read_bytes()))
    with torch.device("meta"):
        tensors = {name: torch.empty(shape, dtype=torch.float16) for name, shape in manifest["tensors"].items()}
    parts = split_parts(tensors, Path("MimicMotion_1-1.pth"))
    unet = fill(empty(PoseUNet.from_config, manifest["unet_config"], Path()), parts["unet"], "file", "unet.")
    pose_net = fill(empty(PoseNet, 320, Path()), parts["pose_net"], "file", "pose_net.")
    assert sum(p.numel() for module in (unet, pose_net) for p in module.parameters()) == 1_524_828_639
    assert {p.dtype for p in unet.parameters()} == {torch.float16}


@pytest.mark.parametrize("build, name, key", [(VQVAE, "vqvae", "net"), (GPT, "gpt", "trans")])
def test_t2m_gpts_files_of_the_published_size_load_strictly(build, name, key, tmp_path):
    shapes = json.loads((FIXTURES / "t2m" / f"manifest_{name}.json").read_text())
    one = torch.zeros(1)
    torch.save({key: {name: one.expand(shape) for name, shape in shapes.items()}}, tmp_path / "file.pth")
    with torch.device("meta"):
        model = build()
    assert load_strictly(model, tmp_path / "file.pth", device="meta") is model
    shapes.popitem()
    torch.save({key: {name: one.expand(shape) for name, shape in shapes.items()}}, tmp_path / "file.pth")
    with pytest.raises(ValueError, match="file.pth: 1 tensors missing"):
        load_strictly(model, tmp_path / "file.pth", device="meta")


def test_a_whole_clip_in_its_old_format_gives_the_text_encoder(published, tmp_path, capfd):
    """openai/clip-vit-base-patch32 is one pytorch_model.bin with the half for pictures and counters in it."""
    folder = shutil.copytree(published / "t2m", tmp_path / "t2m")
    path = folder / "text_encoder" / "model.safetensors"
    others = {"vision_model.x": torch.ones(1), "text_model.embeddings.position_ids": torch.arange(3)[None]}
    torch.save(load_file(path) | others, path.with_name("pytorch_model.bin"))
    path.unlink()
    config = json.loads((path.parent / "config.json").read_text())
    whole = dict(model_type="clip", text_config=config, projection_dim=config["projection_dim"])
    (path.parent / "config.json").write_text(json.dumps(whole))
    ours, theirs = (TextEncoder.load(where)(["a person waves"]) for where in (published / "t2m", folder))
    assert torch.equal(ours, theirs) and "UNEXPECTED" not in capfd.readouterr().err


def test_a_converted_video_model_is_equal_and_remembers_what_it_was(published, tmp_path):
    source = published / MIMICMOTION
    folder = convert(source, tmp_path / "half", published / "svd", torch.float16)
    for ours, theirs in zip(*(load_video_model(published / "svd", path, torch.float32) for path in (folder, source))):
        assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values()))
    assert trained_frames(folder) == trained_frames(source) == 72
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half"]


def test_a_converted_motion_model_makes_the_same_motion(published, tmp_path):
    folder = convert(published / "t2m", tmp_path / "half", published / "svd", torch.float16)
    motions = [TextToMotion.load(path)("waves", 2.0).joints for path in (folder, published / "t2m")]
    assert np.array_equal(*motions)                                     # the demo's weights are float16 already
    assert (folder / "gpt.safetensors").stat().st_size < 0.6 * (published / GPT_FILE).stat().st_size
    check_motion_weights(folder)


def test_a_conversion_replaces_nothing_unasked_and_leaves_nothing_half_done(published, tmp_path, monkeypatch):
    source, target = published / MIMICMOTION, tmp_path / "half"
    make = lambda **options: convert(source, target, published / "svd", torch.float16, **options)
    make()
    before = (target / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="half: already there.*--overwrite"):
        make()
    with pytest.raises(ValueError, match="svd: expected a converted folder to replace"):
        other = shutil.copytree(published / "svd", tmp_path / "svd")
        convert(source, other, published / "svd", torch.float16, overwrite=True)

    def fail(*anything, **options):
        raise OSError("No space left on device")
    with monkeypatch.context() as patched, pytest.raises(ValueError, match="half: cannot be written .No space"):
        patched.setattr(convert_checkpoint, "save_checkpoint", fail)
        make(overwrite=True)
    with monkeypatch.context() as patched, pytest.raises(ValueError, match="is not what was written"):
        patched.setattr(torch, "equal", lambda a, b: False)
        make(overwrite=True)
    assert (target / "model.safetensors").read_bytes() == before
    make(overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half", "svd"]


def test_long_tiles_with_the_first_checkpoint_are_warned_of(published, tmp_path, caplog):
    first = shutil.copyfile(published / MIMICMOTION, tmp_path / "MimicMotion_1.pth")
    check_video_model(published / "svd", first, "generator", tile_size=72)
    assert "was trained on 16 frames, generator.tile_size is 72" in caplog.text
    converted = convert(first, tmp_path / "mine", published / "svd", torch.float16)
    for checkpoint, tile_size, warned in ((converted, 72, 1), (first, 16, 0), (published / MIMICMOTION, 72, 0)):
        caplog.clear()
        check_video_model(published / "svd", checkpoint, "generator", tile_size)
        assert len(caplog.records) == warned


@pytest.mark.parametrize("name", ["svd", "svd/unet", "svd/unet/diffusion_pytorch_model.fp16.safetensors"])
def test_svd_in_place_of_a_video_model_is_said_before_anything_slow(published, name):
    with pytest.raises(ValueError, match=r"PoseNet|plain SVD.*MimicMotion_1-1\.pth"):
        check_video_model(published / "svd", published / name, "generator")


@pytest.mark.parametrize("header", ['{"a":3}', '{"a":null}', '{"a":{}}', '{"a":{"data_offsets":[0]}}', '{"a":{"data_offsets":"no"}}', "[" * 100_000, "[]", "{}"])
def test_a_damaged_header_is_one_line(tmp_path, header):
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header.encode() + bytes(64))
    with pytest.raises(ValueError, match="model.safetensors: not a whole safetensors file"):
        check_safetensors(file)


def test_a_config_of_negative_sizes_is_one_line():
    with pytest.raises(ValueError, match="config.json: expected a config this version can build"):
        empty(lambda config: torch.nn.Linear(config["size"], 4), {"size": -3}, Path("config.json"))


def test_weights_that_are_not_numbers_stop_the_draw_in_words():
    with pytest.raises(ValueError, match="GPT: expected numbers"):
        next_tokens(torch.tensor([[0.0, float("nan")]]), torch.Generator(), 1.0)
