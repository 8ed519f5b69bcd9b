"""Text-to-motion training: HumanML3D's folder in, a loadable model out, stopped anywhere; and the papers' measures."""
import json
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from scripts.prepare_humanml3d import check, mirrored, prepare, split_names, statistics, with_emphasis
from synthetic.motions import sample_motion
from t2m import evaluation, motion_set
from t2m.evaluation import diversity, Embedder, foot_slide, frechet_distance, jitter, matching_distance, r_precision
from t2m.motion import across_hips, across_shoulders, forward_vector, LEFT_WRIST, RIGHT_WRIST
from t2m.features import features, joints_from_features, NUM_FEATURES
from t2m.generate import TextToMotion
from t2m.motion_set import CaptionedMotions, MotionSet, MotionWindows, padded
from t2m.networks import GPT, Quantizer, VQVAE
from t2m.task import (gpt_loss, GPTSize, local_weights, MovingCodebook, Normalisation, reconstruction_losses, T2MConfig, VQVAEObjective,
                      VQVAESize, with_corruption)
from train_t2m import share, Training

DEMO = Path(__file__).parents[1] / "weights" / "demo" / "t2m"
KINDS = ("walk", "wave", "squat", "jump", "kick", "clap")


@pytest.fixture(scope="module")
def joints(tmp_path_factory) -> Path:
    """Twelve motions as joints, one of them broken, one too short."""
    folder, rng = tmp_path_factory.mktemp("joints"), np.random.default_rng(0)
    for number in range(12):
        motion = sample_motion(KINDS[number % len(KINDS)], 3.6, rng).motion
        np.save(folder / f"{number:06}.npy", motion.joints)
    np.save(folder / "000012.npy", np.full((60, 22, 3), np.nan))
    np.save(folder / "000013.npy", np.zeros((2, 22, 3)))
    return folder


@pytest.fixture(scope="module")
def humanml3d(joints, tmp_path_factory) -> Path:
    """The folder that training reads, with captions, one of them of a part."""
    folder = tmp_path_factory.mktemp("HumanML3D")
    names = prepare(joints, folder, None, mirror=True)
    for name, values in zip(("Mean", "Std"), statistics(folder, names)):
        np.save(folder / f"{name}.npy", values)
    split_names(folder, names, seed=0)
    (folder / "texts").mkdir()
    for name in names:
        (folder / "texts" / f"{name}.txt").write_text("a person moves#a/DET person/NOUN move/VERB#0.0#0.0\n"
                                                      "someone does it#someone/NOUN#nan#nan\n")
    with (folder / "texts" / f"{names[0]}.txt").open("a") as file:
        file.write("only the middle#only/ADV#0.5#3.0\n")
    return folder


def test_unusable_motions_are_listed_and_the_rest_is_mirrored(humanml3d):
    assert len(list((humanml3d / "new_joint_vecs").glob("*.npy"))) == 24
    skipped = (humanml3d / "skipped.txt").read_text()
    assert "000012: expected finite numbers" in skipped and "M000013: expected at least 3 frames" in skipped
    plain, mirror = (np.load(humanml3d / "new_joint_vecs" / f"{name}000001.npy") for name in ("", "M"))
    turned = mirrored(joints_from_features(torch.from_numpy(plain)).numpy())
    np.testing.assert_allclose(joints_from_features(torch.from_numpy(mirror)).numpy(), turned, atol=2e-3)


WRONG = {                           # what is done to a good motion, and what is said of it
    "millimetres": (lambda joints: joints * 1000, "expected metres .found legs .* long.: are these millimetres"),
    "inches": (lambda joints: joints / 0.0254, "expected metres .found legs .* long.: are these inches"),
    "feet": (lambda joints: joints / 0.3048, "expected metres .found legs .* long.: are these feet"),
    "gaps": (lambda joints: joints * (np.arange(len(joints)) != 9)[:, None, None], "expected one body .found legs 0 m long in frame 9"),
    "jump": (lambda joints: joints + 40 * (np.arange(len(joints)) > 9)[:, None, None] * np.array((1, 0, 0)),
             "expected a person's speed .found 40 m between frames 9 and 10"),
    "z_up": (lambda joints: joints[..., [0, 2, 1]] * (1, -1, 1), "expected y up .found a body that stands along z"),
    "upside_down": (lambda joints: joints * (1, -1, 1), "expected y up .found a body that stands along -y"),
    "zero": (lambda joints: joints * 0, "expected metres .found legs 0 long"),
    "nan": (lambda joints: np.where(np.arange(len(joints))[:, None, None] == 9, np.nan, joints), "expected finite"),
}


def test_bodies_in_other_units_or_turned_are_named_and_reach_no_statistics(joints, tmp_path):
    source, target = tmp_path / "joints", tmp_path / "made"
    shutil.copytree(joints, source)
    clean = statistics(target, prepare(source, target, None, mirror=False))
    for name, (change, _) in WRONG.items():
        np.save(source / f"{name}.npy", change(np.load(joints / "000000.npy")))
    rows = target / "new_joint_vecs"
    np.save(rows / "zero.npy", np.full((70, 263), 1e6, np.float32))                   # as an earlier run left them
    np.save(rows / "000001.npy", np.full((70, 263), np.nan, np.float32))
    np.save(rows / "000003.npy", np.full_like(np.load(rows / "000003.npy"), 1e6))
    (rows / "000002.npy").write_bytes(b"cut")
    again = statistics(target, prepare(source, target, None, mirror=False))
    for before, after in zip(clean, again):
        np.testing.assert_array_equal(before, after)
    skipped = (target / "skipped.txt").read_text()
    assert all(re.search(f"^{name}: {says}", skipped, re.M) for name, (_, says) in WRONG.items())
    assert not (rows / "zero.npy").exists() and len(list(rows.glob("*.npy"))) == 12


def test_a_mirrored_person_still_faces_forward_and_waves_with_the_other_hand():
    joints = sample_motion("wave", 3.0, np.random.default_rng(1), side="left").motion.joints
    other = mirrored(joints)
    assert joints[:, LEFT_WRIST, 1].max() == other[:, RIGHT_WRIST, 1].max()
    forward = lambda j: forward_vector(across_hips(j) + across_shoulders(j))[0, 2]
    assert forward(joints) > 0 and forward(other) > 0


def test_statistics_are_checked_block_by_block(humanml3d, tmp_path):
    mean, std = (np.load(humanml3d / f"{name}.npy") for name in ("Mean", "Std"))
    check(mean, std, humanml3d / "Mean.npy", humanml3d / "Std.npy")
    with pytest.raises(ValueError, match="in positions.: are these the same motions"):
        moved = mean.copy()
        moved[4:67] += std[4:67]
        check(moved, std, humanml3d / "Mean.npy", humanml3d / "Std.npy")
    np.save(tmp_path / "std.npy", with_emphasis(std))
    with pytest.raises(ValueError, match="compare with --emphasis"):
        check(mean, std, humanml3d / "Mean.npy", tmp_path / "std.npy")


def test_files_that_are_no_joints_are_listed_and_odd_captions_named(joints, humanml3d, tmp_path):
    shutil.copy(joints / "000000.npy", tmp_path)
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "folder.npy").mkdir()
    assert prepare(tmp_path, tmp_path / "made", None, mirror=False) == ["000000"]
    skipped = (tmp_path / "made" / "skipped.txt").read_text().splitlines()
    assert [line.partition(" (")[0] for line in skipped] \
        == [f"{name}: expected a whole .npy file of numbers" for name in ("empty", "text")]
    shutil.copytree(humanml3d, tmp_path / "data")
    name = (tmp_path / "data" / "train.txt").read_text().split()[0]
    (tmp_path / "data" / "texts" / f"{name}.txt").write_text("he writes a # sign#he/PRON#0.0#0.0\n  \n")
    entries = MotionSet.load(tmp_path / "data", "train").entries
    assert [entry.captions for entry in entries if entry.source.stem == name] == [("he writes a # sign",)]
    (tmp_path / "data" / "texts" / f"{name}.txt").write_text("he walks\n")
    with pytest.raises(ValueError, match=rf"{name}.txt: expected lines caption#tagged words#from#to.*found 'he walks'"):
        MotionSet.load(tmp_path / "data", "train")


def test_a_caption_of_a_part_gets_that_part(humanml3d):
    parts = [entry for split in ("train", "val", "test") if (humanml3d / f"{split}.txt").read_text()
             for entry in MotionSet.load(humanml3d, split).entries]
    part = [entry for entry in parts if entry.captions == ("only the middle",)]
    assert len(parts) == 25 and len(part) == 1 and (part[0].first, part[0].rows) == (10, 50)
    whole = [entry for entry in parts if entry.source == part[0].source and entry is not part[0]][0]
    assert whole.captions == ("a person moves", "someone does it")


def small(data: Path, output: Path, **changes) -> T2MConfig:
    return T2MConfig(**{**dict(
        data=str(data), text_encoder=str(DEMO), output=str(output), window=32, vqvae_steps=4, vqvae_batch=4,
        free_steps=2, gpt_steps=3, gpt_batch=4, embedder_steps=2, evaluated=0, warmup_steps=1, checkpoint_every=2,
        log_every=2, vqvae=VQVAESize(num_codes=16, code_dim=8, width=16, depth=1),
        gpt=GPTSize(width=16, num_layers=1, num_heads=2))} | changes)


def test_training_stopped_anywhere_gives_the_same_model_which_loads(humanml3d, tmp_path, monkeypatch):
    def finish(output: Path) -> dict:
        training = Training(small(humanml3d, output))
        vqvae = training.vqvae()
        gpt = training.gpt(vqvae)                                           # dropout: the random state matters
        training.export(vqvae, gpt)
        return vqvae.state_dict() | gpt.state_dict()

    whole = finish(tmp_path / "whole")
    read = MotionWindows.__getitem__

    def read_and_stop(windows: MotionWindows, key: tuple[int, int]) -> dict:
        if key[1] == 4:
            signal.raise_signal(signal.SIGTERM)
        return read(windows, key)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(MotionWindows, "__getitem__", read_and_stop)
        Training(small(humanml3d, tmp_path / "stopped")).vqvae()
    assert ended.value.code == 128 + signal.SIGTERM
    halves = finish(tmp_path / "stopped")
    assert [name for name in whole if not torch.equal(whole[name], halves[name])] == []
    motion = TextToMotion.load(tmp_path / "whole")("a person moves", 1.0, torch.Generator().manual_seed(0))
    assert motion.joints.shape == (20, 22, 3)
    with pytest.raises(ValueError, match="written with other settings .keep: 0.5 -> 0.9"):
        Training(small(humanml3d, tmp_path / "whole", keep=0.9)).vqvae()


def test_the_codebook_moves_in_full_precision_whatever_the_networks_do():
    torch.manual_seed(0)
    vqvae = VQVAE(num_codes=16, code_dim=8, width=16, depth=1)
    objective = VQVAEObjective(vqvae, Normalisation(torch.zeros(263), torch.ones(263)), free_steps=1)
    before = vqvae.vqvae.quantizer.codebook.clone()
    with torch.autocast("cpu", torch.bfloat16):
        objective(torch.randn(2, 32, 263), 1, seed=0).backward()
    assert objective.moving.total.dtype == torch.float32 and objective.moving.total.abs().sum() > 0
    assert not torch.equal(vqvae.vqvae.quantizer.codebook, before)
    moved = vqvae.vqvae.quantizer.codebook.clone()
    with torch.no_grad():
        objective(torch.randn(2, 32, 263), 2, seed=0)                      # a look at the loss moves nothing
    assert torch.equal(vqvae.vqvae.quantizer.codebook, moved)


def test_the_codebook_of_every_level_starts_at_and_moves_towards_what_is_left_for_it():
    torch.manual_seed(0)
    quantizer, latents = Quantizer(8, 2, levels=2), torch.randn(400, 2)
    moving, generator = MovingCodebook(16, 2), torch.Generator().manual_seed(0)
    def error() -> float:
        return float((latents - quantizer.codebook[quantizer.codes(latents)[0]].sum(dim=1)).square().mean())

    moving.start(quantizer, latents, generator)
    left, before = quantizer.codes(latents)[1], error()
    assert all(torch.cdist(row[None], left[:, level]).min() == 0 for level in (0, 1) for row in quantizer.codebook[quantizer.level(level)])
    for _ in range(300):
        codes, left = quantizer.codes(latents)
        moving.update(quantizer, left, codes, generator)
    assert error() < before / 2 < 0.2 and len(quantizer.codes(latents)[0].unique()) == 16


def test_the_nearer_to_the_whole_spin_the_smaller_the_loss():
    rows = torch.from_numpy(features(sample_motion("spin", 3.2, np.random.default_rng(0), side="left").motion, 2.0)).float()[None]
    norm = Normalisation(torch.zeros(NUM_FEATURES), torch.ones(NUM_FEATURES))
    losses = []
    for share_turned in (0.0, 0.25, 0.5, 0.75, 1.0):
        predicted = rows.clone()
        predicted[..., 0] *= share_turned
        losses.append(float(reconstruction_losses(predicted, rows, norm)["turned"]))
    assert losses == sorted(losses, reverse=True) and losses[0] > 1 and losses[-1] == 0


def test_a_joint_that_hardly_moves_must_be_met_more_closely():
    places = torch.zeros(1, 20, 21, 3)
    places[0, :, 1, 0] = torch.linspace(0, 1, 20)
    weights = local_weights(places)[0]
    assert weights[0] > 5 * weights[1] and weights[0] == weights[2]


def test_a_corrupted_token_stays_on_its_level():
    codes = torch.arange(6).repeat(50, 1) % 2 * 8
    spoilt = with_corruption(codes, 16, 0.3, torch.Generator().manual_seed(0), levels=2)
    assert torch.equal(spoilt // 8, codes // 8) and 0.5 < (spoilt != codes).float().mean() < 0.7


@pytest.mark.parametrize("levels", [1, 2])
def test_motions_of_other_lengths_are_learnt_by_heart_with_their_ends(levels):
    torch.manual_seed(0)
    gpt = GPT(num_codes=8 * levels, width=32, text_dim=4, block_size=8 + levels, num_layers=1, num_heads=2, dropout=0.0, levels=levels)
    steps, text = torch.tensor([3, 8, 1]), torch.eye(4)[:3]
    codes = torch.randint(8, (3, 8 * levels)) + torch.arange(8 * levels) % levels * 8
    optimizer = torch.optim.Adam(gpt.parameters(), lr=0.01)
    for step in range(150):
        gpt_loss(gpt, text, codes, steps * levels, keep=0.9, smoothing=0.0, generator=torch.Generator().manual_seed(step)).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert [row.tolist() for row in gpt.sample(text)] == [row[:count * levels].tolist() for row, count in zip(codes, steps.tolist())]


@pytest.mark.parametrize("change, says", [
    (dict(gpt_batch=0), "gpt_batch: expected at least 1 .found 0.: raise it"),
    (dict(smoothing=2.0), "smoothing: expected 0 to 1 .found 2.0.: lower it"),
    (dict(gpt_learning_rate=-1.0), "gpt_learning_rate: expected at least 0"),
    (dict(vqvae=VQVAESize(num_codes=0)), "vqvae.num_codes: expected at least 1"),
    (dict(free_steps=4), "free_steps: expected fewer than the 4 vqvae_steps"),
    (dict(output=" "), "output: expected a folder"),
    (dict(gpt=GPTSize(width=16, num_heads=3)), "gpt.width: expected a multiple of gpt.num_heads .found 16 and 3.: change one"),
])
def test_what_would_fail_in_the_second_stage_is_named_before_the_first(humanml3d, tmp_path, change, says):
    with pytest.raises(ValueError, match=says):
        small(humanml3d, **{"output": tmp_path} | change)
    with pytest.raises(ValueError, match="gpt_batch: expected a batch that 3 processes can share .found 4."):
        share(4, 3, "gpt_batch")


def test_the_measures_of_a_trained_model_are_all_there(humanml3d, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="evaluated: expected at least 32 .* .found [0-9]+ in .* test split, 64 are asked for"):
        Training(small(humanml3d, tmp_path, evaluated=64))
    monkeypatch.setattr(evaluation, "POOL", 4)
    two_levels = VQVAESize(num_codes=16, code_dim=8, width=16, depth=1, levels=2)
    training = Training(small(humanml3d, tmp_path, evaluated=8, vqvae_steps=1, free_steps=0, gpt_steps=1, vqvae=two_levels))
    training.test = training.motions
    vqvae = training.vqvae()
    found = training.measured(vqvae, training.gpt(vqvae), training.embedder())
    assert found.keys() >= {"fid", "r_precision_1", "r_precision_3", "mm_dist", "diversity", "foot_slide_cm_s", "jitter",
                            "round_trip_joints_mm"}
    assert all(np.isfinite(value) and value >= 0 for value in found.values()) and found["r_precision_3"] <= 1


def test_our_cache_is_read_and_its_last_motions_are_held_out(tmp_path):
    rows = [np.full((24 + 4 * i, 263), i, np.float16) for i in range(60)]
    np.save(tmp_path / "rows.npy", np.concatenate(rows))
    np.save(tmp_path / "starts.npy", np.cumsum([0, *map(len, rows)]))
    (tmp_path / "facts.json").write_text(json.dumps([{"caption": f"number {i}"} for i in range(60)]))
    for name in ("mean", "std"):
        np.save(tmp_path / f"{name}.npy", np.ones(263))
    train, test = (MotionSet.load(tmp_path, split) for split in ("train", "test"))
    assert (len(train), len(test)) == (59, 1) and test.entries[0].captions == ("number 59",)
    assert torch.equal(train.rows(7), torch.full((52, 263), 7.0))
    one, other = ([CaptionedMotions(train, seed=1)[(index, position)] for position in (3, 4, 5)] for index in (0, 7))
    assert [item["caption"] for item in one] == [f"number {item['motion']}" for item in one]
    assert one == other and len({item["caption"] for item in one}) > 1                 # whatever the index
    assert MotionWindows(train, 64, seed=0)[(0, 1)]["rows"].shape == (64, 263)


def test_data_that_is_not_there_is_named(tmp_path, humanml3d):
    with pytest.raises(FileNotFoundError, match="expected new_joint_vecs/ .HumanML3D. or rows.npy"):
        MotionSet.load(tmp_path, "train")
    broken = tmp_path / "broken"
    shutil.copytree(humanml3d, broken)
    name = (broken / "train.txt").read_text().split()[0]
    np.save(broken / "new_joint_vecs" / f"{name}.npy", np.zeros((60, 262)))
    with pytest.raises(ValueError, match=rf"{name}.npy: expected \(T, 263\) features \(found \(60, 262\)\)"):
        MotionSet.load(broken, "train")


def test_settings_that_need_no_data_are_checked_before_it(tmp_path):
    for change, says in ((dict(evaluated=8), "evaluated: expected at least 32 motions"), (dict(gpt_batch=-1), "gpt_batch: "),
                         (dict(text_encoder=str(tmp_path / "none")), "none/config.json: "),
                         (dict(output="/proc/none"), "/proc")):
        with pytest.raises((ValueError, OSError), match=says):
            Training(small(tmp_path / "no_data", tmp_path / "run", **change) if "output" not in change
                     else small(tmp_path / "no_data", **change))


def test_numbers_that_cannot_be_learnt_from_are_named_before_any_network_is_made(humanml3d, tmp_path):
    name = (humanml3d / "train.txt").read_text().split()[0]
    rows = np.load(humanml3d / "new_joint_vecs" / f"{name}.npy")
    rows[7:9] = np.nan
    mean, std = (np.load(humanml3d / f"{part}.npy") for part in ("Mean", "Std"))
    for file, wrong, says in ((f"new_joint_vecs/{name}.npy", rows, "expected finite numbers .* in 2 rows, first row 7"),
                              ("Std.npy", 0 * std, "expected positive deviations .found 263 zeros"),
                              ("Std.npy", std * np.where(np.arange(263) == 5, -1, 1), "expected positive deviations .found 1 below 0"),
                              ("Std.npy", std * np.nan, "expected finite numbers .found 263 NaN"),
                              ("Mean.npy", mean + np.inf, "expected finite numbers .found 263 NaN"),
                              ("Mean.npy", mean.astype(str), "expected a whole .npy file of numbers .found <U")):
        data = tmp_path / "data"
        shutil.copytree(humanml3d, data, dirs_exist_ok=True)
        np.save(data / file, wrong)
        with pytest.raises(ValueError, match=f"{file}: {says}"):
            Training(small(data, tmp_path / "run"))


def test_a_motion_that_was_not_looked_at_before_the_training_is_named_when_it_is_read(humanml3d, tmp_path, monkeypatch):
    monkeypatch.setattr(motion_set, "LOOKED_AT", 2)                                   # the first and the last
    data = tmp_path / "data"
    shutil.copytree(humanml3d, data)
    path = data / "new_joint_vecs" / f"{(data / 'train.txt').read_text().split()[1]}.npy"
    rows = np.load(path)
    rows[5] = np.nan
    np.save(path, rows)
    motions = MotionSet.load(data, "train")
    says = f"{path.name}: expected finite numbers .* in 1 rows, first row 5"
    with pytest.raises(ValueError, match=says):
        motions.rows([entry.source for entry in motions.entries].index(path))
    with pytest.raises(ValueError, match=says):
        for position in range(50 * len(motions)):
            MotionWindows(motions, 40, seed=0)[(0, position)]


def test_a_row_of_our_cache_that_is_no_number_is_named(tmp_path):
    rows = np.ones((120, 263), np.float16)
    rows[77, 3] = np.inf
    np.save(tmp_path / "rows.npy", rows)
    np.save(tmp_path / "starts.npy", np.array([0, 60, 120]))
    (tmp_path / "facts.json").write_text(json.dumps([{"caption": "one"}, {"caption": "two"}]))
    for name in ("mean", "std"):
        np.save(tmp_path / f"{name}.npy", np.ones(263))
    assert len(MotionSet.load(tmp_path, "train")) == 1
    with pytest.raises(ValueError, match="rows.npy: expected finite numbers .* in 1 rows, first row 77"):
        MotionSet.load(tmp_path, "test")


def test_listed_motions_without_files_are_counted_and_named(humanml3d, tmp_path, caplog):
    data = tmp_path / "data"
    shutil.copytree(humanml3d, data)
    first, second, *_, last = (data / "train.txt").read_text().split()
    (data / "new_joint_vecs" / f"{second}.npy").unlink()
    (data / "texts" / f"{last}.txt").unlink()
    names = {entry.source.stem for entry in MotionSet.load(data, "train").entries}
    assert first in names and not {second, last} & names
    (line,) = caplog.messages
    count = len((data / "train.txt").read_text().split())
    assert f"new_joint_vecs/{second}.npy: no such file: 2 of {count} motions in train.txt are left out" in line
    shutil.rmtree(data / "texts")
    with pytest.raises(FileNotFoundError, match=rf"texts/{first}.txt: expected this file .found none, as for {count} of {count}"):
        MotionSet.load(data, "train")


def test_frechet_distance_is_the_one_of_the_gaussians():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(20_000, 3)) * (1, 2, 3)
    other = rng.normal(size=(20_000, 3)) * (2, 2, 1) + (1, 0, 0)
    assert frechet_distance(one, one) < 1e-6
    assert frechet_distance(one, other) == pytest.approx(1 + 1 + 4, rel=0.05)          # mean 1; deviations 1, 0, 2 apart


def test_r_precision_and_matching_know_who_belongs_together():
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(64, 8))
    assert r_precision(texts, texts, rng) == [1, 1, 1] and matching_distance(texts, texts) == 0
    first, second, third = r_precision(texts, rng.normal(size=(64, 8)), rng)
    assert first <= second <= third < 0.4
    collapsed = np.ones((64, 8)) + 1e-12 * rng.normal(size=(64, 8))
    assert r_precision(collapsed, collapsed, rng) == [1 / 32, 2 / 32, 3 / 32]
    assert r_precision(np.ones((64, 8)), texts, rng) == [1 / 32, 2 / 32, 3 / 32]
    strangers = lambda: rng.normal(size=(320, 4))
    chance = np.mean([r_precision(strangers(), strangers(), rng) for _ in range(20)], axis=0)
    np.testing.assert_allclose(chance, [1 / 32, 2 / 32, 3 / 32], atol=0.012)
    assert matching_distance(texts, texts + 3 * np.eye(8)[0]) == pytest.approx(3)
    assert diversity(np.array([[0.0], [2.0]]).repeat(50, 0), rng) == pytest.approx(1, abs=0.25)


def test_sliding_feet_and_jitter_have_units():
    standing = sample_motion("wave", 3.0, np.random.default_rng(0)).motion.joints.astype(np.float64)
    still = np.repeat(standing[:1], 40, axis=0)
    assert foot_slide(still) == 0 and jitter(still) == 0
    drifting = still + np.arange(40)[:, None, None] * (0.01, 0, 0)                     # 1 cm a frame at 20 fps
    assert foot_slide(drifting) == pytest.approx(20) and jitter(drifting) < 1e-6
    time = np.arange(40)[:, None, None] / 20
    assert jitter(still + time**3 * (0, 50 / 3, 0)) == pytest.approx(1)                # third derivative 100 m/s^3


def test_the_embedder_learns_who_belongs_together_and_ignores_padding():
    torch.manual_seed(0)
    model, rows, text = Embedder(6, width=16), torch.randn(8, 40, 263), torch.randn(8, 6)
    lengths = torch.tensor([40, 32, 24, 20, 40, 16, 28, 36])
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        losses.append(model(rows, lengths, text))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]
    alone = model.motion(*padded([rows[2, :24]]))
    together = model.motion(*padded([row[:n] for row, n in zip(rows, lengths)]))
    torch.testing.assert_close(alone[0], together[2], atol=1e-5, rtol=1e-4)
