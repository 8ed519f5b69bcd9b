"""MotionBench's run: which clips it makes, what it keeps, how it counts what went wrong, and the report it leaves."""

import csv
import os
import re
import subprocess
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench_run import CELLS, FPS, INFERENCE_KEYS, Maker, NUM_FRAMES, SECONDS, SIZE
from configs import load_config
from dwpose.skeleton import Skeleton
from media.video_writer import write_video
from motionbench.cells import balanced_cells, chosen_motions, driving_motion, MOTIONS, person, true_clip
from synthetic.captions import phrases_of, third_person
from motionbench.settings import chosen_variants, MotionBenchConfig
from motionbench.making import Made
from run.settings import InferenceConfig
from runtime.processes import only_run_in, Processes

ROOT = Path(__file__).resolve().parent.parent


def test_every_beginning_of_the_benchmark_is_balanced_and_all_of_it_is_every_pair_once():
    names = tuple(f"p{i}" for i in range(20))
    cells = balanced_cells(names, MOTIONS, 0, seed=0)
    assert len({cell.name for cell in cells}) == 400
    for start in range(0, 400, 20):
        lap = cells[start:start + 20]
        assert len({cell.identity for cell in lap}) == len({cell.motion.name for cell in lap}) == 20
        assert not any(cell.other is cell.motion for cell in lap)                  # another motion is never the own one
    assert len({cell.name for cell in balanced_cells(names[:6], MOTIONS[:4], 0, seed=1)}) == 24


def test_the_truth_is_the_driving_motion_done_by_the_persons_own_body():
    who, motion = person(3, seed=0), chosen_motions("kick_left")[0]
    clip, driving = true_clip(who, motion, 2.0, 20.0, SIZE), driving_motion(who, motion, 2.0)
    assert len(clip) == len(driving) == 40
    own, strangers = clip.motion.joints, driving.joints
    assert not np.allclose(own, strangers, atol=0.01)                           # other bones
    turning = [np.linalg.norm(np.diff(joints - joints[:, :1], axis=0), axis=-1).mean(axis=1)
               for joints in (own, strangers)]
    assert np.corrcoef(*turning)[0, 1] > 0.97                                   # the same moments


def test_a_run_leaves_results_a_table_and_a_report_that_needs_nothing_else(run_motionbench):
    maker, _, results, folder = run_motionbench()
    assert len(maker.made) == 6 and results["summary"] == "12 clips measured, none failed"
    rows = results["rows"]
    assert list(rows) == ["given_motion", "no_adapter", "truth", "repeat"]
    means = {name: row["figures"]["psnr"]["mean"] for name, row in rows.items()}
    assert means["truth"] > 30 > means["repeat"] > means["given_motion"]
    assert rows["given_motion"]["figures"]["motion_score_pose"]["mean"] == pytest.approx(2 / 3)
    assert rows["no_adapter"]["against_baseline"]["psnr"]["count"] == 3
    assert rows["given_motion"]["figures"]["spread"]["count"] == 3
    assert rows["given_motion"]["unknown_because"]["lpips"].startswith("weights/metrics")
    lines = list(csv.DictReader((folder / "results.csv").open()))
    assert len(lines) == 12
    assert {line["motion_score_pose_label"] for line in lines if line["motion"] == "squat"} == {"wave_left"}
    page = (folder / "report.html").read_text()
    assert not re.search(r"<script|src=.(?!data:)|href=|@import|url\(", page)
    assert page.count("data:image/jpeg;base64,") == 3
    assert "alexnet.pth is not here" in page and "squat → wave_left" in page
    assert rows["given_motion"]["recognised"]["motion_score_pose"]["squat"] == {"wave_left": 1}
    assert "only 3 of 20 motions" in page and results["classes"].startswith("only 3 of 20 motions")
    table = (folder / "results.md").read_text().splitlines()
    assert table[2].startswith("| given the true motion | 0.667 [") and "cannot tell" in table[-2] and "only 3 of 20" in table[-1]
    assert len(list(folder.glob("clips/*/*.mp4"))) == 12 and not (folder / "stages").exists()
    assert len((folder / "prompts.csv").read_text().splitlines()) == 4


def test_killed_in_the_middle_a_run_goes_on_and_repeats_nothing(run_motionbench, tmp_path):
    killed = Maker(killed_at=f"given_motion {CELLS[1]}")
    with pytest.raises(KeyboardInterrupt):
        run_motionbench(maker=killed)
    assert killed.made == [f"given_motion {CELLS[0]}", f"no_adapter {CELLS[0]}"]
    assert not (tmp_path / "demo" / "report.html").exists()
    second, models, _, folder = run_motionbench()
    assert second.made == [f"{variant} {cell}" for cell in CELLS[1:] for variant in ("given_motion", "no_adapter")]
    third, models, results, _ = run_motionbench()
    assert third.made == [] and models.looks == 0 and results["summary"].endswith("none failed")
    next(folder.glob("clips/given_motion/*.mp4")).unlink()
    fourth, models, *_ = run_motionbench()
    assert len(fourth.made) == 1


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])], ids=["lost", "cut"])
def test_files_of_a_run_that_were_lost_or_cut_short_are_made_anew_with_a_line(run_motionbench, caplog, damage):
    _, _, whole, folder = run_motionbench()
    figures = {name: row["figures"] for name, row in whole["rows"].items()}
    for file, made in (("clips/given_motion/{}.mp4", 1), ("clips/given_motion/{}.npz", 1), ("clips/truth/{}.mp4", 0),
                       ("scores/truth/{}.features.npz", 0)):
        caplog.clear()
        damage(path := folder / file.format(CELLS[0]))
        maker, _, results, _ = run_motionbench()
        assert len(maker.made) == made and {name: row["figures"]["spread"] for name, row in results["rows"].items()} == {
            name: row["spread"] for name, row in figures.items()}
        assert results["summary"] == whole["summary"] and any(
            str(path.with_suffix("")) in line and line.endswith("made anew") for line in caplog.messages)
    damage(folder / f"scores/truth/{CELLS[0]}.seen.npz")
    (folder / f"scores/truth/{CELLS[0]}.json").write_text("")
    assert run_motionbench()[2]["summary"] == whole["summary"]


def test_a_changed_setting_remakes_only_what_depends_on_it(run_motionbench):
    run_motionbench()
    more_steps = f"{INFERENCE_KEYS} generator.num_inference_steps=3"
    again, models, *_ = run_motionbench(more_steps)
    assert len(again.made) == 6                                                  # bounds need no models
    wider, models, *_ = run_motionbench("variants=given_motion,affine,truth", more_steps)
    assert {name.split()[0] for name in wider.made} == {"affine"} and models.looks == 3


def test_a_failed_clip_counts_as_failed_and_is_tried_again(run_motionbench):
    _, _, results, folder = run_motionbench(maker=Maker(fails=CELLS[1:2]))
    assert results["summary"].startswith("2 of 12 clips failed: 2 x ") and "nobody in the picture" in results["summary"]
    row = results["rows"]["given_motion"]
    assert row["failed"] == 1 and row["figures"]["psnr"]["count"] == 3
    assert row["figures"]["motion_score_pose"]["mean"] == pytest.approx(1 / 3)
    assert "nobody in the picture" in (folder / "report.html").read_text()
    mended, _, results, _ = run_motionbench()
    assert len(mended.made) == 2 and results["summary"].endswith("none failed")


def test_videos_of_another_system_are_measured_under_their_names_and_each_fault_is_named(run_motionbench, tmp_path):
    theirs = tmp_path / "theirs"
    who = [person(number, 0) for number in range(4)]
    cells = balanced_cells([p.name for p in who], chosen_motions("squat"), 0, 0)
    clips = [true_clip(p, cell.motion, SECONDS, FPS, SIZE).frames for p, cell in zip(who, cells)]
    write_video(theirs / f"{cells[0].name}.mp4", clips[0], FPS)
    write_video(theirs / f"{cells[1].name}.mp4", clips[1][:4], FPS)
    write_video(theirs / f"{cells[2].name}.mp4", clips[2][:, ::2], FPS)
    write_video(theirs / f"{cells[3].name}.mp4", clips[3], FPS)
    whole = (theirs / f"{cells[3].name}.mp4").read_bytes()
    (theirs / f"{cells[3].name}.mp4").write_bytes(whole[:len(whole) // 2])
    maker, _, results, _ = run_motionbench("num_identities=5", "motions=squat", "num_clips=0", "variants=truth", f"videos={theirs}")
    assert maker.made == [] and list(results["rows"]) == ["videos", "truth"]
    reasons = {failure["clip"]: failure["reason"] for failure in results["failures"]}
    assert "expected 6 frames of 64x96 (found 4 frames of 64x96" in reasons[cells[1].name]
    assert "found 6 frames of 64x48" in reasons[cells[2].name]                  # another shape
    assert f"{cells[3].name}.mp4: expected" in reasons[cells[3].name]            # cut off: not whole, or too few frames
    assert "found no file" in reasons["person04__squat"] and len(reasons) == 4


def test_videos_of_another_size_are_resampled_and_files_of_no_clip_are_named(run_motionbench, tmp_path, caplog):
    theirs, who = tmp_path / "theirs", person(0, 0)
    clip = true_clip(who, chosen_motions("squat")[0], SECONDS, FPS, SIZE).frames
    write_video(theirs / "person00__squat.mp4", clip.repeat(2, axis=1).repeat(2, axis=2), FPS)
    (theirs / "person00__squat.mp4").rename(theirs / "person00__squat.MP4")
    write_video(theirs / "person00__sqaut.mp4", clip, FPS)
    *_, results, _ = run_motionbench("num_identities=1", "motions=squat", "num_clips=0", "variants=truth", f"videos={theirs}")
    assert results["failures"] == [] and results["rows"]["videos"]["figures"]["psnr"]["mean"] > 25
    assert "1 files belong to no clip of this run, first person00__sqaut.mp4" in caplog.text
    assert "128x192 resampled to the truth's 64x96" in caplog.text


def test_no_bound_is_the_true_video(run_motionbench):
    bounds = ("frozen", "reversed", "shuffled", "half", "mirrored", "opposite", "other", "repeat")
    *_, results, _ = run_motionbench(f"variants=truth,{','.join(bounds)}", "set_draws=0")
    means = {name: row["figures"]["psnr"]["mean"] for name, row in results["rows"].items()}
    assert results["failures"] == [] and means.pop("truth") > 1.1 * max(means.values()), means


def test_the_wordings_of_a_motion_are_no_training_captions():
    for motion in MOTIONS:
        assert len(set(motion.wordings)) == 3
        for phrase in phrases_of(motion.kind, motion.side):
            said = {phrase, " ".join([third_person(phrase.split()[0]), *phrase.split()[1:]])}
            assert not any(words in sentence.lower() for words in said for sentence in motion.wordings[1:]), (motion.name, phrase)


def test_the_real_edition_takes_a_folder_of_pictures_and_has_no_truth(run_motionbench, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("anna", "ben"):
        Image.fromarray(np.full((90, 50, 3), 90, np.uint8)).save(pictures / f"{name}.png")

    class Real(Maker):
        def __call__(self, config, variant, models, given, stages):
            assert given is None and config.image.startswith(str(pictures))
            skeleton = Skeleton(np.ones((NUM_FRAMES, 133, 3), np.float32), SIZE, FPS)
            return super().__call__(config, variant, models, Made(None, skeleton, 0, 0, ()), stages)

    _, _, results, folder = run_motionbench("edition=real", f"identities={pictures}", "num_clips=0", "variants=from_text", maker=Real(),
                                config="motionbench.yaml")
    assert results["summary"] == "6 clips measured, none failed" and results["identities"] == ["anna", "ben"]
    assert results["rows"]["from_text"]["figures"]["psnr"] == {"mean": None, "low": None, "high": None, "count": 0, "p": None,
                                                                "detectable": None}
    assert "no true video" in results["rows"]["from_text"]["unknown_because"]["psnr"]


def test_two_processes_share_the_clips_and_the_main_one_gathers_them(run_motionbench, monkeypatch):
    items = list(range(11))
    assert sorted(sum((Processes(rank, 3).share(items) for rank in range(3)), [])) == items
    monkeypatch.setattr("runtime.processes.dist.barrier", lambda: None)
    makers = [Maker(), Maker()]

    def start_as(rank):
        joined = nullcontext(Processes(rank, 2))
        monkeypatch.setattr("scripts.eval_motionbench.joined_processes", lambda device, patience: joined)

    for rank, error in ((0, ValueError), (1, StopIteration)):   # nobody waits here: the main process finds scores missing
        start_as(rank)
        with pytest.raises(error):
            run_motionbench(maker=makers[rank])
    assert [len(maker.made) for maker in makers] == [4, 2] and not set(makers[0].made) & set(makers[1].made)
    start_as(0)
    maker, models, results, _ = run_motionbench()
    assert maker.made == [] and models.looks == 0 and results["summary"] == "12 clips measured, none failed"


def test_two_runs_cannot_write_into_one_folder(tmp_path):
    with only_run_in(tmp_path, Processes()):
        with pytest.raises(ValueError, match="another run is writing to it: wait"):
            with only_run_in(tmp_path, Processes()):
                raise AssertionError("two runs")
    with only_run_in(tmp_path, Processes()):
        assert (tmp_path / ".lock").exists()


@pytest.mark.parametrize("keys, message", [
    (["variants=from_text,fulll"], "variants: expected .*found 'fulll'.*no_rescale"),
    (["motions=wave"], "motions: expected .*found 'wave'.*wave_right"),
    (["num_clips=10"], r"num_clips: expected 0 .all. to 9 = 3 identities x 3 motions .found 10."),
    (["videos=nowhere"], "videos=nowhere: expected a folder"),
    (["edition=real", "identities=nowhere", "variants=from_text"], "identities=nowhere: expected a folder"),
    (["edition=real", "identities=tests", "variants=truth"], "'truth' needs the truth"),
    (["edition=real", "variants=from_text"], "edition=real needs a folder"),
    (["seconds=0.2"], "seconds: must be at least 1"),
    (['inference_keys="a'], "inference_keys: expected key=value, .*No closing quotation"),
    (["inference_keys=seeed=7"], "unknown key 'seeed'.*did you mean seed"),
    (["inference=configs/none.yaml"], "none.yaml: no such config file"),
])
def test_a_wrong_setting_is_one_line_and_leaves_nothing_behind(run_motionbench, tmp_path, keys, message):
    with pytest.raises(ValueError, match=message):
        run_motionbench(*keys)
    assert not list(tmp_path.iterdir())


def test_every_shipped_config_knows_its_keys_and_variants():
    for name in ("motionbench_demo", "motionbench"):
        config = load_config(MotionBenchConfig, ["--config", f"configs/{name}.yaml"])
        assert chosen_variants(config.variants, config.edition, config.videos)[0].name == "from_text"
        load_config(InferenceConfig, ["--config", config.inference, *config.inference_keys.split()])


def test_the_shell_command_keeps_arguments_whole_and_means_folders_from_where_the_user_stands(tmp_path):
    """eval_motionbench.sh with a venv that is ready and whose python prints what it is given."""
    (tmp_path / "scripts").mkdir()
    for name in ("eval_motionbench.sh", "venv.sh"):
        (tmp_path / "scripts" / name).write_text((ROOT / "scripts" / name).read_text())
    for name in ("requirements.txt", "pyproject.toml"):
        (tmp_path / name).write_text("nothing\n")
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "activate").write_text(f'PATH="{binaries}:$PATH"\n')
    (binaries / "python").write_text('#!/bin/sh\nfor word in "$@"; do echo "<$word>"; done\n')
    (binaries / "python").chmod(0o755)
    (tmp_path / "home" / "people").mkdir(parents=True)

    def run(*words, **environment):
        return subprocess.run(["bash", tmp_path / "scripts" / "eval_motionbench.sh", *words], capture_output=True, text=True,
                              cwd=tmp_path / "home", check=True, env=os.environ | environment).stdout.splitlines()

    words = ["--config", "configs/motionbench.yaml", "identities=people", "videos=", "outputs=here", "inference_keys=a b"]
    expected = ["<--config>", "<configs/motionbench.yaml>", f"<identities={tmp_path}/home/people>", "<videos=>",
                f"<outputs={tmp_path}/home/here>", "<inference_keys=a b>"]
    assert run(*words)[-7:] == ["<scripts/eval_motionbench.py>", *expected]
    assert run(*words, PROCESSES="3")[-12:] == ["<-m>", "<torch.distributed.run>", "<--standalone>", "<--nproc_per_node>", "<3>",
                                                "<scripts/eval_motionbench.py>", *expected]
