"""MusePose's networks and files against the published classes' numbers, and what a wrong file is told."""
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from musepose_tiny import apart, CONFIG, OFFICIAL, published_motion_name, random_filled, tiny_files, TOLERANCE
from safetensors.torch import load_file

from runtime.weights import empty
from musepose.networks import (
    build_denoiser, build_reference_net, Context, is_motion, ReadingAttention, spatial_blocks, TokenAttention,
)
from musepose.checkpoint import (
    WeightFiles, copied_tensors, guider_widths, load_denoiser, load_networks, load_pose_guider, load_reference_net,
    load_saved_networks, motion_name, named_tensors, save_networks,
)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def blocks(goldens):
    """Folder, its facts, and the numbers of single blocks."""
    folder = goldens("musepose", "blocks.safetensors", "meta.json", "ckpt/MusePose/motion_module.pth")
    return folder, json.loads((folder / "meta.json").read_text()), load_file(folder / "blocks.safetensors")


def part_of(folder, name, prefix):
    tensors = named_tensors(folder / "ckpt" / "MusePose" / f"{name}.pth", torch.float32)
    return {rest.removeprefix(f"{prefix}."): tensor for rest, tensor in tensors.items() if rest.startswith(f"{prefix}.")}


@torch.no_grad()
def test_the_pose_guider_gives_the_published_features(blocks):
    folder, facts, numbers = blocks
    guider = load_pose_guider(folder / "ckpt" / "MusePose" / "pose_guider.pth",
                              facts["pose_guider"]["conditioning_embedding_channels"], torch.float32)
    frames = numbers["pose_guider.in"].transpose(1, 2)                        # (B, F, 3, H, W)
    features = guider(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
    assert apart(features.transpose(1, 2), numbers["pose_guider.out"]) < TOLERANCE


@torch.no_grad()
def test_a_motion_module_normalises_frame_by_frame_as_published(blocks):
    folder, facts, numbers = blocks
    network = build_denoiser(facts["base_config"])
    module = network.get_submodule(facts["motion_block"])
    module.load_state_dict(part_of(folder, "motion_module", facts["motion_block"]))
    for name, frames in (("motion", numbers["motion.in"]), ("motion1", numbers["motion.in"][:, :, :1])):
        rows = frames.transpose(1, 2)                                         # (B, F, C, h, w)
        found = module(rows.flatten(0, 1), num_frames=rows.shape[1]).unflatten(0, rows.shape[:2]).transpose(1, 2)
        assert apart(found, numbers[f"{name}.out"]) < TOLERANCE
    joint = torch.nn.GroupNorm(32, module.in_channels, eps=1e-6)
    joint.load_state_dict(module.norm.state_dict())
    module.norm = joint
    rows = numbers["motion.in"].transpose(1, 2)
    assert apart(module(rows.flatten(0, 1), num_frames=rows.shape[1]).unflatten(0, rows.shape[:2]).transpose(1, 2),
                 numbers["motion.out"]) > 1e-2


@torch.no_grad()
def test_positions_are_computed_as_published(blocks):
    _, facts, numbers = blocks
    wanted = numbers["pe.64.32"]                                              # (1, F, C)
    found = [module.pe for module in build_denoiser(facts["base_config"]).modules() if hasattr(module, "pe")]
    of_width = next(positions for positions in found if positions.shape[-1] == wanted.shape[-1])
    assert (of_width[:, :wanted.shape[1]] - wanted).abs().max() < 1e-6


@torch.no_grad()
def test_a_spatial_block_without_a_reference_gives_the_published_output(blocks):
    folder, facts, numbers = blocks
    network = build_denoiser(facts["base_config"], motion=False)
    block = network.get_submodule(facts["attn_block"])
    block.load_state_dict(part_of(folder, "denoising_unet", facts["attn_block"]))
    rows, tokens = numbers["attn.in"].transpose(1, 2), numbers["attn.enc"]    # (B, F, C, h, w), (B, 1, D)
    context = Context(tokens, tuple(range(len(tokens))), {}, (None,) * len(tokens))
    found = block(rows.flatten(0, 1), cross_attention_kwargs={"context": context}, return_dict=False)[0]
    assert apart(found.unflatten(0, rows.shape[:2]).transpose(1, 2), numbers["attn.plain.out"]) < TOLERANCE


@pytest.fixture(scope="module")
def published(goldens):
    """The tiny official folder's networks, and one step's numbers."""
    folder = goldens("musepose", "one_step.safetensors", "ckpt/MusePose/reference_unet.pth")
    return load_networks(WeightFiles.of(folder / "ckpt"), torch.float32), load_file(folder / "one_step.safetensors")


def step(published, case, of="", *, reading=True, timestep=500, frames=None, blocks=None):
    """The denoiser's output for a case of the set, (B, 4, F, h, w); of: the case whose inputs it shares."""
    networks, numbers = published
    of = of or case
    latents, pose = (numbers[f"{of}.{name}"].transpose(1, 2)[:, :frames] for name in ("latents", "pose_fea"))
    tokens = numbers[f"{of}.clip_embeds"]                                     # (B, 1, D)
    features = networks.reference_net(numbers[f"{of}.ref_latents"], tokens)
    if blocks:
        features = {name: found for name, found in features.items() if name.startswith(blocks)}
    guided = len(latents) == 1
    if guided:
        latents, tokens = latents.expand(2, -1, -1, -1, -1), torch.cat([torch.zeros_like(tokens), tokens])
    readers = (None, 0) if guided else tuple(range(len(latents)))
    context = Context(tokens, tuple(range(len(tokens))), features, readers if reading else (None,) * len(readers))
    pose = pose.expand(len(latents), -1, -1, -1, -1).flatten(0, 1)
    return features, networks.denoiser(latents, torch.tensor(timestep), pose, context).transpose(1, 2)


@torch.no_grad()
@pytest.mark.parametrize(("case", "timestep"), [("cfg_full_fp16bank", 500), ("cfg_odd18x14_fp32bank", 40),
                                                ("nocfg_full_fp32bank", 250)])     # no file of a set tells its timesteps
def test_one_step_and_its_reference_features_are_the_published_ones(published, case, timestep):
    features, found = step(published, case, timestep=timestep)
    numbers = published[1]
    assert apart(found, numbers[f"{case}.out"]) < TOLERANCE
    banks = {name.removeprefix(f"{case}.bank."): bank for name, bank in numbers.items() if name.startswith(f"{case}.bank.")}
    assert banks.keys() == features.keys()
    for name, bank in banks.items():
        assert apart(features[name], bank[-len(features[name]):]) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize(("case", "more"), [("cfg_full_fp32bank", {}), ("cfg_full_fp32bank_t999", {"timestep": 999}),
                                            ("cfg_full_fp32bank_f1", {"frames": 1})])
def test_other_timesteps_and_a_single_frame_give_the_published_step(published, case, more):
    assert apart(step(published, case, "cfg_full_fp16bank", **more)[1], published[1][f"{case}.out"]) < TOLERANCE


@torch.no_grad()
def test_without_reference_features_the_step_is_the_published_unconditional_one(published):
    networks, numbers = published
    latents, pose = (numbers[f"cfg_full_fp16bank.{name}"].transpose(1, 2) for name in ("latents", "pose_fea"))
    tokens, wanted = numbers["cfg_full_fp16bank.clip_embeds"], numbers["nohook.out"].transpose(1, 2)
    found = [networks.denoiser(latents, torch.tensor(500), pose.flatten(0, 1), Context(token, (0,), {}, (None,)))
             for token in (tokens, torch.zeros_like(tokens))]
    assert min(apart(one, wanted) for one in found) < TOLERANCE


def test_every_published_name_maps_to_one_of_diffusers(goldens):
    folder = goldens("musepose", "manifest_motion_module.json", "mapping_motion_module_to_UNetMotionModel.json",
                     "manifest_reference_unet.json", "manifest_denoising_unet.json", "manifest_pose_guider.json")
    shapes = lambda name: json.loads((folder / f"manifest_{name}.json").read_text())["tensors"]
    mapping = json.loads((folder / "mapping_motion_module_to_UNetMotionModel.json").read_text())["map"]
    denoiser, reference = (empty(build, OFFICIAL, Path("config.json")) for build in (build_denoiser, build_reference_net))
    expected = {name: list(tensor.shape) for name, tensor in denoiser.state_dict().items()}
    found = {motion_name(name): shape for name, shape in shapes("motion_module").items() if not name.endswith(".pe")}
    assert all(motion_name(name) == wanted for name, wanted in mapping.items() if wanted)
    assert shapes("denoising_unet") | found == expected
    assert shapes("reference_unet") == {name: list(tensor.shape) for name, tensor in reference.state_dict().items()}
    assert guider_widths({name: torch.empty(shape, device="meta") for name, shape in shapes("pose_guider").items()}) == (16, 32, 96, 256)


def test_the_official_config_builds_networks_of_the_official_size():
    denoiser, reference = (empty(build, OFFICIAL, Path("config.json")) for build in (build_denoiser, build_reference_net))
    sizes = {"motion": 0, "still": 0}
    for name, parameter in denoiser.named_parameters():
        sizes["motion" if is_motion(name) else "still"] += parameter.numel()
        if is_motion(name):
            assert motion_name(published_motion_name(name)) == name
    assert sizes == {"motion": 453_209_280, "still": 859_520_964}
    assert sum(parameter.numel() for parameter in reference.parameters()) == 859_508_800


def test_files_are_loaded_whole_and_saved_ones_give_the_same_networks(tmp_path):
    files = tiny_files(tmp_path)
    networks = load_networks(files, torch.float32)
    stored = named_tensors(files.motion_module, torch.float32) | named_tensors(files.denoising_unet, torch.float32)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in networks.denoiser.state_dict().items())
    again = load_saved_networks(save_networks(tmp_path / "saved", networks, CONFIG, torch.float32), torch.float32)
    for part in ("denoiser", "reference_net", "pose_guider"):
        before, after = (getattr(one, part).state_dict() for one in (networks, again))
        assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def test_without_files_of_their_own_the_networks_begin_as_the_base_model(tmp_path):
    files = replace(tiny_files(tmp_path), denoising_unet=None, reference_unet=None, motion_module=None, pose_guider=None)
    networks = load_networks(files, torch.float32)
    base = named_tensors(tmp_path / "base" / "unet" / "diffusion_pytorch_model.bin", torch.float32)
    for network in (networks.denoiser, networks.reference_net):
        assert all(torch.equal(tensor, base[name]) for name, tensor in network.state_dict().items())
    assert not networks.pose_guider(torch.rand(1, 3, 16, 16)).any()


@pytest.mark.parametrize(("place", "other", "words"), [
    ("denoising_unet", "motion_module", "expected a denoiser (found motion modules: motion_module.pth"),
    ("motion_module", "denoising_unet", "expected motion modules (found a denoiser: denoising_unet.pth"),
    ("reference_unet", "denoising_unet", "expected a reference network (found a denoiser: denoising_unet.pth"),
    ("denoising_unet", "reference_unet", "expected a denoiser (found a reference network: reference_unet.pth"),
    ("pose_guider", "reference_unet", "expected a pose guider (found a reference network: reference_unet.pth"),
    ("reference_unet", "pose_guider", "expected a reference network (found a pose guider: pose_guider.pth"),
])
def test_swapped_files_are_named_in_one_line(tmp_path, place, other, words):
    files = tiny_files(tmp_path)
    with pytest.raises(ValueError) as error:
        load_networks(replace(files, **{place: getattr(files, other)}), torch.float32)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_missing_or_strange_tensor_is_never_skipped(tmp_path):
    files = tiny_files(tmp_path)
    tensors = torch.load(files.motion_module, weights_only=True)
    name = next(name for name in tensors if not name.endswith(".pe"))
    for changed, word in (({key: value for key, value in tensors.items() if key != name}, "differ"),
                          (tensors | {name: tensors[name][..., :1]}, "instead of")):
        torch.save(changed, tmp_path / "changed.pth")
        with pytest.raises(ValueError, match=word):
            load_denoiser(replace(files, motion_module=tmp_path / "changed.pth"), torch.float32)
    torch.save(tensors | {key: torch.full((1, 7, 3), torch.nan) for key in tensors if key.endswith(".pe")}, tmp_path / "odd.pth")
    load_denoiser(replace(files, motion_module=tmp_path / "odd.pth"), torch.float32)       # positions of any length
    with pytest.raises(FileNotFoundError, match="nowhere.pth: expected a weights file"):
        load_reference_net(replace(files, reference_unet=tmp_path / "nowhere.pth"), torch.float32)


def test_a_pickle_is_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))
    torch.save({"conv_in.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match="not run"):
        list(copied_tensors(tmp_path / "trap.pth", torch.float32))
    assert not (tmp_path / "sprung").exists()


MEASURE = """
import resource, sys, torch
from pathlib import Path
from musepose.checkpoint import copied_tensors
list(copied_tensors(Path(sys.argv[1]), None)); torch.zeros(1).half()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tensors = dict(copied_tensors(Path(sys.argv[2]), getattr(torch, sys.argv[3])))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / sum(t.nbytes for t in tensors.values()))
"""


def test_views_of_one_flat_buffer_take_the_memory_of_their_content(tmp_path):
    """As the published files are: a few hundred megabytes on disk, half as much content in pieces all over it."""
    flat = torch.zeros(150 << 20, dtype=torch.float16)
    views = {f"part{number}": flat[number * (3 << 19):][:800_000].view(800, 1000) for number in range(100)}
    for number, view in enumerate(views.values()):
        view.fill_(number)
    torch.save(views, tmp_path / "flat.pth")
    torch.save({"small": torch.zeros(4).half()}, tmp_path / "small.pth")
    del flat, views
    said = subprocess.run([sys.executable, "-c", MEASURE, tmp_path / "small.pth", tmp_path / "flat.pth", "float16"], cwd=ROOT,
                          capture_output=True, text=True, timeout=120, check=True).stdout
    (tmp_path / "flat.pth").unlink()
    assert float(said) < 1.2


def test_a_reader_attends_to_its_own_reference_only():
    torch.manual_seed(0)
    network = random_filled(build_denoiser(CONFIG, motion=False))
    name, block = next(spatial_blocks(network))
    hidden, bank = torch.randn(4, 6, block.attn1.query_dim), torch.randn(2, 6, block.attn1.query_dim)    # 2 samples of 2 frames
    context = lambda readers, bank: Context(torch.zeros(2, 1, 1), (0, 1), {name: bank}, readers)
    run = lambda readers, bank=bank: block.attn1(hidden, context=context(readers, bank))
    both, first, none = run((0, 1)), run((0, None)), run((None, None))
    assert torch.equal(first[:2], both[:2]) and torch.equal(first[2:], none[2:]) and not torch.allclose(both[2:], none[2:])
    changed = torch.stack([bank[0], bank[1] + 1])
    assert torch.equal(run((0, 1), changed)[:2], both[:2]) and not torch.allclose(run((0, 1), changed)[2:], both[2:])
    joined = torch.cat([hidden[2:], bank[1:].expand(2, -1, -1)], dim=1)
    plain = type(block.attn1)(query_dim=block.attn1.query_dim, heads=block.attn1.heads, dim_head=block.attn1.query_dim // block.attn1.heads)
    plain.load_state_dict(block.attn1.state_dict())
    assert torch.allclose(plain(hidden[2:], encoder_hidden_states=joined), both[2:], atol=1e-5)
    assert isinstance(block.attn1.processor, ReadingAttention) and isinstance(block.attn2.processor, TokenAttention)
