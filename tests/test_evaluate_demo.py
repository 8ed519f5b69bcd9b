"""scripts/evaluate_demo.py: the table, what is kept between runs, and the measures against all-knowing oracles."""
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from configs import load_config
from dwpose.skeleton import BODY, head_boxes, Skeleton
from media.video_writer import write_video
from motionbench.cells import Phrasing
from motionbench.report import format_table, number, ResultsFile, Target
from demo import measures as demo_measures, motion_measures
from scripts import evaluate_demo
from demo.measures import Bench, face_share, flat_error, head_psnr, mean_scores, pose_net, pose_to_video, skeleton_adapter
from scripts.evaluate_demo import key_of, Measure, measure_all, MEASURES, TARGETS, weight_arguments
from run.settings import InferenceConfig
from synthetic.clips import HELD_OUT_SEED, sample_clip
from synthetic.motions import sample_motion
from t2m.camera import Camera
from t2m.known_motions import MotionBank

CONFIG = load_config(InferenceConfig, ["--config", str(evaluate_demo.CONFIG)])


class Oracle:
    """Knows the clips: generates the true frames or drawings, and finds the true keypoints in whatever it has drawn."""

    def __init__(self, clips, style):
        self.known, self.made, self.style = {}, {}, style
        for clip in clips:
            drawings = [demo_measures.draw(body, style) for body in (clip.skeleton, clip.skeleton.without_hands())]
            for frames, skeleton in ((clip.frames, clip.skeleton), (drawings[0], clip.skeleton),
                                     (drawings[1], clip.skeleton.without_hands())):
                self.known[frames.tobytes()] = skeleton
            self.made |= {drawings[0].tobytes(): clip.frames, drawings[1].tobytes(): drawings[0]}

    def detect(self, frames, fps, source):
        if frames.tobytes() not in self.known:
            raise ValueError("no person found")
        return self.known[frames.tobytes()]

    def renderer(self, config):
        return self

    def __call__(self, scene, generator, progress):
        return self.made[demo_measures.draw(scene.skeleton, self.style).tobytes()]

    def adapter(self, scene, generator, progress):
        return self.made[demo_measures.draw(scene.skeleton.without_hands(), self.style).tobytes()]


class Repeater(Oracle):
    """Gives back what it was given."""

    def __call__(self, scene, generator, progress):
        return np.broadcast_to(scene.image, (len(scene.skeleton), *scene.image.shape))

    def adapter(self, scene, generator, progress):
        return demo_measures.draw(scene.skeleton.without_hands(), self.style)


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_measures, "CLIP_FRAMES", 3)
    empty = Bench(CONFIG, None, evaluate_demo.ROOT / "weights" / "demo", num_clips=2, seed=0, output=tmp_path)
    return replace(empty, models=Oracle(list(empty.clips("clips")), CONFIG.pose.style))


def test_the_table_says_what_is_met():
    targets = (Target("a", "up", "larger is better", 0.85, 0.95),
               Target("a", "down", "smaller is better", 25, 12, "mm", at_most=True),
               Target("a", "note", "a note"), Target("b", "up", "not measured", 1, 2))
    table = format_table(targets, {"a": {"up": 0.949, "down": 12, "note": 3.14159}})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert rows[2] == ["larger is better", "0.949", "≥ 0.850", "≥ 0.950", "must"]
    assert rows[3] == ["smaller is better", "12 mm", "≤ 25", "≤ 12", "aim"]
    assert rows[4] == ["a note", "3.14", "", "", ""]
    assert len(rows) == 5 and len({len(line) for line in table.splitlines()}) == 1
    assert targets[0].met(0.849) == targets[1].met(25.1) == targets[0].met(float("nan")) == "no"


def test_numbers_keep_the_digits_that_matter():
    assert [number(v) for v in (0.8534, 4.234, 37.44, 0.00012, 0, 120.0, float("nan"))] == [
        "0.853", "4.23", "37.4", "1.2e-04", "0", "120", "nan"]


def test_every_line_of_the_table_belongs_to_a_measure_and_every_measure_owes_something():
    assert {target.measure for target in TARGETS} == set(MEASURES)
    assert {target.measure for target in TARGETS if target.must is not None} == set(MEASURES)
    for target in TARGETS:
        if target.aim is not None and target.must is not None:
            assert target.reached(target.aim, target.must), target


def test_results_are_kept_for_the_same_key_only_and_a_broken_file_is_named(tmp_path):
    results = ResultsFile(tmp_path / "deep" / "results.json")
    results.write("a", {"key": "1", "values": {"x": 1.5}})
    results.write("b", {"key": "2", "values": {"y": 2.5}})
    assert results.kept("a", "1")["values"] == {"x": 1.5} and results.kept("b", "2")["values"] == {"y": 2.5}
    assert results.kept("a", "2") is None and results.kept("c", "1") is None
    results.path.write_text("{")
    with pytest.raises(ValueError, match="results.json.*delete it"):
        results.kept("a", "1")


def test_a_measure_is_made_once_per_weights_and_arguments(bench, tmp_path, monkeypatch):
    weights = tmp_path / "weights"
    for argument in weight_arguments(CONFIG, weights):
        path = Path(argument.split("=", 1)[1])
        path = path if path.suffix else path / "model.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"one")
    config = load_config(InferenceConfig, ["--config", str(evaluate_demo.CONFIG), *weight_arguments(CONFIG, weights)])
    bench, results, calls = replace(bench, config=config, weights=weights), ResultsFile(tmp_path / "results.json"), []

    def counting(name):
        return lambda bench: calls.append(name) or {"x": 1.0}

    monkeypatch.setattr(evaluate_demo, "MEASURES", {
        "motion": Measure(counting("motion"), ("motion",)),
        "video": Measure(counting("video"), ("generator",), by_clip=True)})

    def made(bench, fresh=False):
        calls.clear()
        assert measure_all(["motion", "video"], bench, results, fresh) == {}
        return calls[:]

    assert made(bench) == ["motion", "video"] and made(bench) == []
    (weights / "t2m" / "model.bin").write_bytes(b"two")
    assert made(bench) == ["motion"]
    assert made(replace(bench, num_clips=3)) == ["video"]
    assert made(replace(bench, seed=1)) == made(replace(bench, seed=1), fresh=True) == ["motion", "video"]
    steps = replace(config, generator=replace(config.generator, num_inference_steps=5))
    assert made(replace(bench, seed=1, config=steps)) == ["video"]
    moved = weights.rename(tmp_path / "elsewhere")
    steps = load_config(InferenceConfig, ["--config", str(evaluate_demo.CONFIG), "generator.num_inference_steps=5",
                                          *weight_arguments(CONFIG, moved)])
    assert made(replace(bench, seed=1, weights=moved, config=steps)) == [], "the same weights in another place"


def test_a_measure_that_fails_is_named_and_the_others_go_on(bench, tmp_path, monkeypatch):
    def fails(bench):
        raise ValueError("unet: 2 keys missing")

    results = ResultsFile(tmp_path / "results.json")
    monkeypatch.setattr(evaluate_demo, "MEASURES", {"a": Measure(fails, ()), "b": Measure(lambda bench: {"x": 2.0}, ())})
    assert measure_all(["a", "b"], bench, results, fresh=False) == {"a": "unet: 2 keys missing"}
    assert set(results.read()) == {"b"}
    assert results.kept("b", key_of("b", bench))


def test_missing_weights_are_named_and_the_exit_code_is_2(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluate_demo.py", "--weights", str(tmp_path / "none"), "--only", "round_trip",
                                      "--output", str(tmp_path / "out")])
    with pytest.raises(ValueError, match="--weights: expected a folder laid out as weights/demo"):
        evaluate_demo.main()
    (tmp_path / "none").mkdir()
    assert evaluate_demo.main() == 2
    assert f"round_trip: not measured: {tmp_path / 'none' / 't2m'}" in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_perfect_generator_gets_the_best_of_every_score_and_its_pictures_are_kept(bench):
    scores = pose_to_video(bench)
    assert scores["psnr"] == 100 and scores["ssim"] == pytest.approx(1)
    assert scores["flicker"] == scores["delta_e"] == 0
    assert scores["body"] == scores["hands"] == scores["true_body"] == scores["true_hands"] == 1
    assert scores["psnr_gain"] == pytest.approx(100 - scores["psnr_repeat"])
    assert (bench.output / "video_0.png").stat().st_size > 10_000


def test_repeating_the_picture_gains_nothing_and_a_person_not_found_counts_as_missed(bench):
    repeater = Repeater(list(bench.clips("clips")), CONFIG.pose.style)
    scores = pose_to_video(replace(bench, models=repeater))
    assert scores["psnr_gain"] == 0 and scores["ssim"] == scores["ssim_repeat"] < 0.99
    assert scores["body"] == scores["hands"] == 0 and scores["true_body"] == 1


def test_heads_and_faces_are_measured_where_they_are():
    clip = sample_clip(HELD_OUT_SEED + 3, "squat", num_frames=4, size=(320, 192), camera=Camera(yaw=0.0, distance=5.0, scale=0.4, height=0.9))
    boxes = head_boxes(clip.skeleton.keypoints)[:, 0]
    body, head = clip.frames // 2 + 60, clip.frames // 2 + 60
    truth = body.copy()
    for frame, (left, top, right, bottom, _) in enumerate(boxes.round().astype(int)):
        head[frame, top:bottom, left:right] += 10
    assert np.isclose(head_psnr(head, truth, clip.skeleton), 20 * np.log10(255 / 10), atol=0.01) and head_psnr(body, truth, clip.skeleton) > 99
    size = (boxes[:, 2:4] - boxes[:, :2]).max(axis=1)
    for moved, wanted in ((0.05, 1.0), (0.2, 0.0)):
        found = clip.skeleton.with_xy(clip.skeleton.xy + moved * size[:, None, None] * np.array([1, 0]))
        assert face_share(found, clip.skeleton) == wanted
    nobody = Skeleton(np.zeros_like(clip.skeleton.keypoints), clip.skeleton.size, 10)
    assert face_share(nobody, clip.skeleton) == 0 and np.isnan(head_psnr(body, truth, nobody))


def test_errors_count_as_on_flat_ground_only_where_the_truth_is_flat():
    rng = np.random.default_rng(0)
    truth = np.full((2, 60, 60, 3), 120, np.uint8)
    truth[:, :, 40:] = rng.integers(0, 255, (2, 60, 20, 3))
    video = truth.copy()
    video[:, :, :40] += rng.choice([-4, 4], (2, 60, 40, 3)).astype(np.uint8)
    video[:, :, 48:] = 0
    assert np.isclose(flat_error(video, truth), 4, atol=0.05) and np.isnan(flat_error(video, rng.integers(0, 255, truth.shape, np.uint8)))


def test_the_adapter_is_credited_with_the_hands_it_adds_and_with_nothing_else(bench):
    perfect = skeleton_adapter(bench)
    assert perfect == {"hands": 1, "handless": 0, "true_hands": 1, "body": 1}
    repeater = Repeater(list(bench.clips("clips")), CONFIG.pose.style)
    assert skeleton_adapter(replace(bench, models=repeater)) == {"hands": 0, "handless": 0, "true_hands": 1, "body": 1}


def test_the_pose_networks_score_is_the_share_of_points_it_finds(bench, monkeypatch):
    def without_left_half(frames, fps, source):
        found = bench.models.known[frames.tobytes()].keypoints.copy()
        found[:, BODY.start + 1:BODY.stop:2] = 0
        return Skeleton(found, frames.shape[1:3], fps)

    assert pose_net(bench) == {"body": 1, "hands": 1, "feet": 1, "face": 1}
    expected = np.mean([9 / 17] * 2)
    halved = replace(bench, models=Oracle(list(bench.clips("clips")), CONFIG.pose.style))
    monkeypatch.setattr(halved.models, "detect", without_left_half)
    assert pose_net(halved)["body"] == pytest.approx(expected, abs=0.1)


def test_evaluation_clips_are_held_out_and_each_shows_another_person(bench):
    clips = list(replace(bench, num_clips=4).clips("clips"))
    assert len({clip.kind for clip in clips}) == 4
    assert len({repr(clip.character.body) for clip in clips}) == 4
    assert demo_measures.HELD_OUT_SEED >= 10**6


def test_means_leave_out_what_cannot_be_seen():
    nan = float("nan")
    assert mean_scores([{"a": 1.0, "b": nan, "c": nan}, {"a": 0.0, "b": 0.5, "c": nan}]) == {"a": 0.5, "b": 0.5}


def test_a_motion_is_judged_by_its_kind_and_side():
    rng = np.random.default_rng(5)
    known = (("wave", "left"), ("wave", "right"), ("wave", "both"), ("squat", None))
    samples = [sample_motion(kind, 3, rng, side=side) for kind, side in known for _ in range(3)]
    bank = MotionBank.of((sample.kind, sample.side, sample.motion.joints) for sample in samples)
    motion = sample_motion("wave", 3, rng, side="left").motion.joints
    right = motion_measures.judged(Phrasing("waves", ("wave",), "left"), motion, bank)
    assert right.nearest == "wave left" and right.right_kind and right.right_side
    wrong = motion_measures.judged(Phrasing("waves", ("wave",), "right"), motion, bank)
    assert wrong.right_kind and wrong.right_side is False
    other = motion_measures.judged(Phrasing("squats", ("squat",)), motion, bank)
    assert not other.right_kind and other.right_side is None


def test_rescaling_is_measured_and_would_be_caught_failing(bench, monkeypatch):
    monkeypatch.setattr(motion_measures, "NUM_PUPPETS", 5)
    monkeypatch.setattr(motion_measures, "NUM_BROKEN", 40)
    measured = motion_measures.rescaling(bench)
    assert measured["bone_error"] < 1e-5 and measured["broken"] == 0
    monkeypatch.setattr(motion_measures, "rescale", lambda driver, reference: driver)
    assert motion_measures.rescaling(bench)["bone_error"] > 0.05

    def failing(driver, reference):
        raise ValueError("keypoints: expected finite numbers")

    monkeypatch.setattr(motion_measures, "rescale", failing)
    driver, reference = (motion_measures.broken_skeleton(1, np.random.default_rng(seed)) for seed in (0, 1))
    assert not motion_measures.rescaled_well(driver, reference)

STAND_IN = '''"""Writes what a run of inference.py leaves, from a video prepared beside it."""
import json, os, pathlib, shutil, sys, time
values = dict(argument.split("=", 1) for argument in sys.argv[3:])
folder = pathlib.Path(values["outputs"]) / values["name"]
folder.mkdir(parents=True)
time.sleep(0.3)
shutil.copy(pathlib.Path(__file__).with_name("video.mp4"), folder / "video.mp4")
report = {"seconds": 0.25, "values": values, "threads": os.environ["OMP_NUM_THREADS"]}
(folder / "report.json").write_text(json.dumps(report))
sys.exit(int(pathlib.Path(__file__).with_name("exit").read_text()))
'''


def test_the_demo_run_is_timed_from_outside_on_two_threads_with_the_weights_in_question(bench, tmp_path, monkeypatch):
    (tmp_path / "inference.py").write_text(STAND_IN)
    (tmp_path / "exit").write_text("0")
    write_video(tmp_path / "video.mp4", np.zeros((25, 32, 32, 3), np.uint8), 10.0)
    monkeypatch.setattr(evaluate_demo, "ROOT", tmp_path)
    bench = replace(bench, weights=tmp_path / "mine", output=tmp_path / "out")
    values = evaluate_demo.demo_run(bench)
    report = json.loads((tmp_path / "out" / "demo" / "report.json").read_text())
    assert values["video_seconds"] == pytest.approx(2.5) and values["stages_seconds"] == 0.25
    assert 0.3 <= values["seconds"] < 60
    assert report["threads"] == report["values"]["num_threads"] == "2" and report["values"]["resume"] == "false"
    assert report["values"]["generator.checkpoint"] == str(tmp_path / "mine" / "video")
    (tmp_path / "exit").write_text("2")
    with pytest.raises(subprocess.CalledProcessError):
        evaluate_demo.demo_run(replace(bench, output=tmp_path / "again"))
