"""inference.py: what a run leaves, what a second run reuses, and what each mistake says.

Where a test is about the run around the stages, the models are stand-ins: a detector that sees a standing person, procedural
motions, and a video that mixes its inputs with noise. One test uses the real video model (tiny, random), the last one all of weights/demo.
"""

import errno
import hashlib
import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers import AutoencoderTiny
from PIL import Image

import inference
from configs import load_config
from dwpose.draw import draw
from dwpose.skeleton import FEET, LEFT_ANKLE, LEFT_KNEE, RIGHT_ANKLE, RIGHT_KNEE, RIGHT_WRIST, Skeleton
from media.video_reader import read_video
from media.video_writer import load_frames, write_video
from renderers.mimicmotion import SkeletonAdapter
from media.files import locked
from run.models import Models
from run.settings import InferenceConfig
from runtime.terminal import Terminated
from synthetic.motions import sample_motion
from t2m.camera import Camera
from t2m.project import body_depth, project

ROOT = Path(__file__).resolve().parent.parent
SIZE, FPS = (96, 64), 5.0
KINDS = {"kicks": "kick", "waves": "wave", "squats": "squat", "jumps": "jump", "bows": "bow"}


class StandIns(Models):
    """Models whose detector always sees the person standing, and whose text-to-motion knows four verbs."""
    calls: list[str] = []
    cut_off, real_video = False, False
    interrupt_in: str | None = None

    def detect(self, frames, fps, source, *seen, **rates):
        self.calls.append("detect")
        frames = np.stack(list(frames))
        standing = project(sample_motion("stand", 2.0, np.random.default_rng(0)).motion, SIZE, 1.0, "static")[0]
        keypoints = np.repeat(standing.keypoints, len(frames), axis=0)
        keypoints[:, RIGHT_WRIST, 0] -= frames.astype(float).mean(axis=(1, 2, 3)) * 1e3 % 12           # depends on what is seen
        if self.cut_off:
            keypoints[:, [LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE]] = 0
            keypoints[:, FEET] = 0
        return Skeleton(keypoints, SIZE, fps)

    def motions(self, segments):
        self.calls.append("motions")
        kinds = [next(kind for verb, kind in KINDS.items() if verb in segment.text) for segment in segments]
        return [sample_motion(kind, segment.seconds, np.random.default_rng(0)).motion for kind, segment in zip(kinds, segments)]

    def renderer(self, config):
        return StandInRenderer(super().renderer(config), config, self)


class StandInRenderer:
    """A renderer whose frames mix what it is given with noise; or the real one, where `real_video` says so."""

    def __init__(self, real, config, models):
        self.real, self.config, self.models, self.inputs = real, config, models, real.inputs
        self.doubts = lambda scene: ["a stand-in"]
        self.settings = real.settings.adapter if isinstance(real, SkeletonAdapter) else real.settings.generator
        self.adapter = StandInRenderer(real.adapter, config, models) if real.adapter else None
        self.draft = StandInRenderer(real.draft, config, models) if real.draft else None

    def __call__(self, scene, generator, *, poses=None, show=None, progress=True):
        stages = {inference.seed_of(self.config, name): name for name in ("poses", "video", "refined_1", "refined_2")}
        stage = stages[generator.initial_seed()]                                # every stage has a seed of its own
        self.models.calls.append(stage)
        if stage == self.models.interrupt_in:
            raise KeyboardInterrupt
        if self.models.real_video:
            return self.real(scene, generator, poses=poses, show=show, progress=progress)
        poses = draw(scene.skeleton, self.config.pose.style) if poses is None else poses
        noise = torch.rand(poses.shape, generator=generator).numpy() * 60
        return (0.4 * poses + 0.3 * scene.image + noise + 40 * self.settings.noise_aug_strength).astype(np.uint8)


@pytest.fixture
def picture(tmp_path) -> Path:
    pixels = np.full((120, 70, 3), (90, 140, 180), np.uint8)
    pixels[15:105, 25:45] = 200, 60, 40                   # somebody before a plain wall: the preview's puppet is cut out at once
    Image.fromarray(pixels).save(tmp_path / "person.png")
    return tmp_path / "person.png"


@pytest.fixture
def models(monkeypatch):
    monkeypatch.setattr(inference, "Models", StandIns)
    monkeypatch.setattr(StandIns, "calls", [])
    torch.set_num_threads(1)
    return StandIns


@pytest.fixture
def arguments(tmp_path, picture, tiny_svd_folder, tiny_checkpoint) -> list[str]:
    """A run at 64x96 with the tiny random models: 2.4 s at 5 fps."""
    weights = shutil.copytree(ROOT / "weights" / "demo" / "t2m", tmp_path / "t2m")
    values = dict(image=picture, prompt="A person waves for 1.2 s, then bows for 1.2 s.", outputs=tmp_path / "out", name="run", height=SIZE[0],
                  width=SIZE[1], fps=FPS, refinements=1, device="cpu", dtype="float32", **{
                      "pose.cache": "",
                      "motion.weights": weights, "pose.style": "bold", "adapter.guidance_scale": 1.0, "generator.guidance_scale": 1.0})
    for part in ("adapter", "generator"):
        values |= {f"{part}.svd": tiny_svd_folder, f"{part}.checkpoint": tiny_checkpoint, f"{part}.num_inference_steps": 1,
                   f"{part}.tile_size": 8, f"{part}.tile_overlap": 2, f"{part}.tiny_vae": ""}
    return [f"{key}={value}" for key, value in values.items()]


def reused(folder: Path) -> dict[str, bool]:
    return {entry["name"]: entry["reused"] for entry in json.loads((folder / "report.json").read_text())["stages"]}


def contents(folder: Path) -> dict[str, bytes]:
    """Every result, byte for byte."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("report.json", "run.yaml"))
    return {path.name: path.read_bytes() for path in files}


def test_a_run_leaves_every_artefact_and_each_reads_back(models, arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(StandIns, "real_video", True)
    assert inference.main(arguments) == 0
    folder = tmp_path / "out" / "run"
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(["run.yaml", "plan.json", "motion.npz", "reference.npz", "skeleton.npz", "seen_1.npz", "frames", "poses.mp4",
                            "video.mp4", "preview.mp4", "storyboard.png", "report.json"])
    assert [s["text"] for s in json.loads((folder / "plan.json").read_text())["segments"]] == ["a person waves", "a person bows"]
    frames, fps = read_video(folder / "video.mp4")
    assert frames.shape == (12, *SIZE, 3) and fps == FPS
    assert shows(folder / "video.mp4", folder / "frames" / "refined_1.mkv", tmp_path)
    assert shows(folder / "poses.mp4", folder / "frames" / "poses.mkv", tmp_path)
    assert len(Skeleton.load(folder / "skeleton.npz")) == 12
    table = capsys.readouterr().out
    stages = ["reference", "plan", "motion", "skeleton", "preview", "poses", "video", "seen_1", "refined_1", "outputs"]
    assert list(reused(folder)) == stages and all(stage in table for stage in stages) and "peak GiB" in table
    assert Image.open(folder / "storyboard.png").size[0] > 1000


def shows(film: Path, stage: Path, tmp_path: Path) -> bool:
    """Was the .mp4 written from the stage's frames?"""
    return film.read_bytes() == write_video(tmp_path / "again.mp4", load_frames(stage), FPS).read_bytes()


def test_the_video_is_of_the_last_pass_also_when_that_was_made_earlier(models, arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(StandIns, "real_video", True)
    inference.main(arguments)
    assert inference.main([*arguments, "refinements=0", "resume=true"]) == 0
    folder = tmp_path / "out" / "run"
    assert reused(folder)["video"] and shows(folder / "video.mp4", folder / "frames" / "video.mkv", tmp_path)


def test_run_yaml_is_a_config_that_repeats_the_run(models, arguments, tmp_path):
    inference.main(arguments + ["refinements=0"])
    first = contents(tmp_path / "out" / "run")
    shutil.copy(tmp_path / "out" / "run" / "run.yaml", tmp_path / "again.yaml")
    shutil.rmtree(tmp_path / "out")
    inference.main(["--config", str(tmp_path / "again.yaml")])
    assert contents(tmp_path / "out" / "run") == first


def test_resume_reuses_everything_when_nothing_changed_and_nothing_without_it(models, arguments, tmp_path):
    inference.main(arguments)
    models.calls.clear()
    before = contents(tmp_path / "out" / "run")
    assert inference.main(arguments + ["resume=true"]) == 0
    assert models.calls == [] and contents(tmp_path / "out" / "run") == before
    inference.main(arguments)
    assert models.calls == ["detect", "motions", "poses", "video", "detect", "refined_1"]


@pytest.mark.parametrize("change, again", [
    ("prompt=A person jumps for 2.4 s.", ["motions", "poses", "video", "detect", "refined_1"]),
    ("seed=8", ["motions", "poses", "video", "detect", "refined_1"]),
    ("generator.noise_aug_strength=0.1", ["video", "detect", "refined_1"]),
    ("generator.motion_bucket_id=30", ["video", "refined_1"]),          # the stand-in's video stays equal, and so what is seen in it
    ("refinements=0", []), ("refinements=2", ["detect", "refined_2"]), ("num_threads=1", []),
])
def test_resume_repeats_exactly_what_depends_on_a_change(models, arguments, tmp_path, change, again):
    inference.main(arguments)
    models.calls.clear()
    inference.main([*arguments, "resume=true", change])
    assert models.calls == again


def test_a_draft_is_made_again_where_it_becomes_the_final_video(models, arguments, tmp_path):
    torch.manual_seed(0)
    AutoencoderTiny(latent_channels=4, encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4).save_pretrained(tmp_path / "tiny")
    arguments = [*arguments, f"generator.tiny_vae={tmp_path / 'tiny'}"]
    inference.main(arguments)
    models.calls.clear()
    inference.main([*arguments, "resume=true", "refinements=0"])
    assert models.calls == ["video"]


def test_an_edited_plan_is_followed_on_resume(models, arguments, tmp_path):
    inference.main(arguments + ["refinements=0"])
    models.calls.clear()
    plan = tmp_path / "out" / "run" / "plan.json"
    plan.write_text('{"segments": [{"text": "a person jumps", "seconds": 2.0}]}')
    inference.main(arguments + ["refinements=0", "resume=true"])
    assert models.calls == ["motions", "poses", "video"]
    assert len(read_video(tmp_path / "out" / "run" / "video.mp4")[0]) == 10


def test_results_of_an_earlier_plan_go_and_come_back_with_it_and_a_refused_run_takes_none(models, arguments, tmp_path, monkeypatch, caplog):
    arguments, folder = [*arguments, "refinements=0"], tmp_path / "out" / "run"
    caplog.set_level("INFO")
    inference.main(arguments)
    before, plan, frames = contents(folder), (folder / "plan.json").read_text(), folder / "frames" / "video.mkv"
    (folder / "plan.json").write_text('\ufeff{"segments": [{"text": "a person jumps", "seconds": 2.0}]}', encoding="utf-8")
    inference.main([*arguments, "resume=true", "stop_after=skeleton"])
    assert not {"video.mp4", "poses.mp4", "storyboard.png"} & contents(folder).keys() and len(Skeleton.load(folder / "skeleton.npz")) == 10
    assert sum("video.mp4, storyboard.png removed" in message for message in caplog.messages) == 1
    (folder / "plan.json").write_text(plan)
    frames.write_bytes(frames.read_bytes()[:-frames.stat().st_size // 3])
    models.calls.clear()
    inference.main([*arguments, "resume=true"])
    assert models.calls == ["motions", "video"] and contents(folder) == before                          # the poses' frames were kept
    assert "video.mkv: is not the file that was written: made anew" in caplog.text and "overwritten" not in caplog.text
    settings = (folder / "run.yaml").read_bytes()
    monkeypatch.setattr(StandIns, "cut_off", True)
    with pytest.raises(ValueError, match="the person is cut off"):
        inference.main([*arguments, "seed=8"])
    assert "out/run: the run that is there is made anew: name=another keeps it" in caplog.text
    after = contents(folder)
    assert after.keys() == before.keys() and {name for name in before if after[name] != before[name]} <= {"reference.npz"}
    assert (folder / "run.yaml").read_bytes() == settings


def test_an_edit_that_is_refused_takes_nothing_that_was_made(models, arguments, tmp_path, monkeypatch):
    """Neither where a reader refuses it, nor where no preview can be made of it; put right again the run is as it was."""
    arguments, folder = [*arguments, "refinements=0"], tmp_path / "out" / "run"
    inference.main(arguments)
    before, skeleton = contents(folder), Skeleton.load(folder / "skeleton.npz")

    def refused(scene, settings):
        raise ValueError("no puppet can do that")

    for edited, preview in ((skeleton.keypoints * np.float32([1, 1, 0]), inference.preview), (skeleton.keypoints + np.float32([1, 0, 0]), refused)):
        replace(skeleton, keypoints=edited).save(folder / "skeleton.npz")
        monkeypatch.setattr(inference, "preview", preview)
        with pytest.raises(ValueError, match="expected a person in some frame|no puppet can"):
            inference.main([*arguments, "resume=true"])
        assert contents(folder).keys() == before.keys()
    monkeypatch.undo()
    monkeypatch.setattr(inference, "Models", StandIns)
    skeleton.save(folder / "skeleton.npz")
    inference.main([*arguments, "resume=true"])
    assert contents(folder) == before


def test_an_edited_result_that_cannot_be_is_refused(tmp_path):
    motion = sample_motion("stand", 2.0, np.random.default_rng(0)).motion
    skeleton = project(motion, SIZE, FPS, "static")
    far, sure = skeleton.keypoints + np.float32([1e5, 0, 0]), skeleton.keypoints * np.float32([1, 1, 5])
    still = partial(inference.load_skeleton, fps=None)
    for load, edited, says in (
            (inference.load_motion, replace(motion, fps=0.001), "fps: expected a motion of at most 200 s .found 40 frames at 0.001"),
            (inference.load_motion, replace(motion, joints=motion.joints * 1e6), "joints: expected metres"),
            (partial(inference.load_skeleton, fps=FPS), replace(skeleton, fps=7), "fps: expected 5, the run's .found 7"),
            (inference.load_motion, replace(motion, joints=motion.joints * 0), "a body of 0.3 to 4 .found 0"),
            (inference.load_motion, replace(motion, joints=motion.joints * 5), "a body of 0.3 to 4 .found 7.6"),
            (still, skeleton[:2], "expected one frame .found 2"),
            (still, skeleton[:0], "expected a person in some frame .found 0 frames"),
            (still, replace(skeleton[0], keypoints=skeleton.keypoints[:1] * np.float32([1, 1, 0])), "expected a person in some frame"),
            (still, replace(skeleton[0], keypoints=skeleton.keypoints[:1] * np.float32([0, 0, 1])), "expected a person in some frame"),
            (still, replace(skeleton[0], keypoints=far[:1]), "expected pixels of the 96x64 canvas"),
            (still, replace(skeleton[0], keypoints=sure[:1]), "expected a confidence of 0 to 1, found 5")):
        edited.save(tmp_path / "edited.npz")
        with pytest.raises(ValueError, match=says):
            load(tmp_path / "edited.npz")
    skeleton.save(tmp_path / "edited.npz")
    assert len(inference.load_skeleton(tmp_path / "edited.npz", FPS)) == len(skeleton)


def test_a_plan_with_an_action_too_short_to_be_made_is_refused(tmp_path):
    for seconds, refused in ((0.05, True), (0.15, True), (0.2, False)):
        (tmp_path / "plan.json").write_text(json.dumps({"segments": [{"text": "a person waves", "seconds": seconds}]}))
        with pytest.raises(ValueError, match='segment 1: expected "seconds" of at least 0.2 .found') if refused else nullcontext():
            inference.load_plan(tmp_path / "plan.json", max_seconds=9.8)


def test_a_person_whom_the_renderer_cannot_move_is_refused_before_the_preview_with_the_pictures_name(models, arguments, tmp_path, monkeypatch, caplog):
    def doubts(scene):
        raise ValueError("reference: expected both shoulders or both hips (found neither): use a picture of the person")
    renderer = models.renderer
    monkeypatch.setattr(models, "renderer", lambda self, config: (made := renderer(self, config), setattr(made, "doubts", doubts))[0])
    with pytest.raises(ValueError, match=r"^\S+person.png: expected both shoulders or both hips"):
        inference.main([*arguments, "stop_after=skeleton"])
    assert not (tmp_path / "out" / "run" / "preview.mp4").exists() and "preview" not in caplog.text


@pytest.mark.parametrize("stage", ["poses", "video", "refined_1"])
def test_ctrl_c_keeps_finished_stages_and_resuming_equals_never_stopping(models, arguments, tmp_path, monkeypatch, capsys, stage):
    inference.main(arguments + ["name=whole"])
    monkeypatch.setattr(StandIns, "interrupt_in", stage)
    assert inference.main(arguments) == 130
    assert "resume=true" in capsys.readouterr().err
    folder = tmp_path / "out" / "run"
    assert (folder / "skeleton.npz").is_file() and not list(folder.rglob(".*.partial*")) and not (folder / f"frames/{stage}.mkv").exists()
    monkeypatch.setattr(StandIns, "interrupt_in", None)
    models.calls.clear()
    assert inference.main(arguments + ["resume=true"]) == 0
    assert models.calls[0] == stage
    assert contents(folder) == contents(tmp_path / "out" / "whole")


def test_a_signal_before_there_is_a_folder_promises_nothing_and_a_later_one_what_is_there(models, arguments, tmp_path, monkeypatch, capsys):
    def terminated(*_):
        raise Terminated

    with monkeypatch.context() as patched, pytest.raises(Terminated):
        patched.setattr(inference, "checked", terminated)
        inference.main(arguments)
    assert "stays" not in capsys.readouterr().err and not (tmp_path / "out" / "run").exists()
    monkeypatch.setattr(inference, "animate", terminated)
    assert inference.main(arguments) == 143
    assert f"\nterminated: what is finished stays in {tmp_path / 'out' / 'run'}: resume=true goes on\n" in capsys.readouterr().err


def test_the_seed_decides_the_video(models, arguments, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        inference.main([*arguments, "refinements=0", f"name={name}", f"seed={seed}"])
    a, b, c = (load_frames(tmp_path / "out" / name / "frames" / "video.mkv") for name in "abc")
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_a_run_that_stops_after_the_skeleton_says_what_may_look_wrong_and_is_gone_on_from(models, arguments, tmp_path, capsys):
    assert inference.main([*arguments, "refinements=0", "stop_after=skeleton", "prompt=A person kicks a ball for 2 s."]) == 0
    folder = tmp_path / "out" / "run"
    assert models.calls == ["detect", "motions"] and "preview.mp4" in capsys.readouterr().out
    assert not (folder / "video.mp4").exists() and not (folder / "frames").exists()
    frames, fps = read_video(folder / "preview.mp4")
    assert frames.shape == (10, SIZE[0], 2 * SIZE[1], 3) and fps == FPS
    report = json.loads((folder / "report.json").read_text())
    assert "not drawn, as only the person moves: ball" in report["risks"] and "a stand-in" in report["risks"]
    assert report["predicted"]["bytes"] > 1e6
    assert inference.main([*arguments, "refinements=0", "resume=true", "prompt=A person kicks a ball for 2 s."]) == 0
    assert models.calls == ["detect", "motions", "poses", "video"] and (folder / "video.mp4").is_file()
    assert all(reused(folder)[name] for name in ("reference", "plan", "motion", "skeleton", "preview"))


def test_two_runs_never_write_to_one_folder(models, arguments, tmp_path):
    with locked(tmp_path / "out" / "run", beside=True), pytest.raises(ValueError, match="out/run: another run is writing to it"):
        inference.main(arguments)
    assert inference.main([*arguments, "refinements=0"]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["run"]


def test_without_a_config_the_demos_is_used_and_named(capsys):
    (config,) = inference.load_configs(["prompt=She waves."])
    assert config.prompt == "She waves." and config.generator.svd == "weights/demo/svd"
    assert capsys.readouterr().out == "no --config given: configs/demo.yaml is used\n"


def test_a_renderer_is_told_how_far_the_body_is_from_the_camera():
    motion = sample_motion("stand", 1.0, np.random.default_rng(0)).motion
    skeleton = project(motion, SIZE, FPS, "static")
    depth = body_depth(motion, SIZE, FPS, "static")
    nearer = body_depth(replace(motion, joints=motion.joints + np.float32([0, 0, 0.5])), SIZE, FPS,
                        Camera(distance=5.0)) - body_depth(motion, SIZE, FPS, Camera(distance=5.0))
    assert depth.shape == skeleton.keypoints.shape[:1] + (17,) and (abs(depth - 5.2) < 0.5).all()
    np.testing.assert_allclose(nearer, -0.5, atol=1e-4)                                       # half a metre towards the camera


def test_every_stage_draws_from_a_seed_of_its_own_and_a_driven_video_from_the_seed_itself():
    config = InferenceConfig(seed=7)
    seeds = {name: inference.seed_of(config, name) for name in ("poses", "video", "refined_1", "refined_2")}
    digest = hashlib.sha256(b"7 video").digest()
    assert seeds["video"] == int.from_bytes(digest[:8], "big") >> 1 and len(set(seeds.values())) == 4 and max(seeds.values()) < 2**63
    driven = InferenceConfig(seed=7, driving_video="dance.mp4")
    assert inference.seed_of(driven, "video") == 7 and inference.seed_of(driven, "refined_1") == seeds["refined_1"]


def test_without_an_adapter_the_poses_are_drawn_as_they_are(models, arguments, tmp_path):
    inference.main([*arguments, "adapter.checkpoint=", "refinements=0"])
    assert models.calls == ["detect", "motions", "video"]


def test_a_driving_video_takes_the_place_of_prompt_and_motion(models, arguments, tmp_path):
    from media.video_writer import write_video
    write_video(tmp_path / "drive.mp4", np.zeros((20, 96, 64, 3), np.uint8), 10.0)
    inference.main([*arguments, f"driving_video={tmp_path / 'drive.mp4'}", "refinements=0", "prompt="])
    assert models.calls == ["detect", "detect", "video"]
    assert len(read_video(tmp_path / "out" / "run" / "video.mp4")[0]) == 10            # 2 s at the run's 5 fps


def test_a_run_never_overwrites_what_it_reads_nor_takes_half_a_video(models, arguments, tmp_path, picture):
    folder = tmp_path / "out" / "run"
    video = write_video(folder / "video.mp4", np.zeros((4, 96, 64, 3), np.uint8), 10.0)
    storyboard = shutil.copy(picture, folder / "storyboard.png")
    (tmp_path / "link.mp4").symlink_to(video)
    for change in (f"driving_video={video}", f"driving_video={tmp_path / 'link.mp4'}", f"driving_video={folder}", f"image={storyboard}"):
        with pytest.raises(ValueError, match="(driving_video|image)=.*: is a file this run writes: choose another name="):
            inference.main([*arguments, change])
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64, 3), np.uint8)
    whole = write_video(tmp_path / "whole.mkv", noise, 10).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(ValueError, match="cut.mkv: expected (a whole video|whole frames)"):
        inference.main([*arguments, f"driving_video={tmp_path / 'cut.mkv'}", "name=other"])


def test_warnings_are_in_the_report(models, arguments, tmp_path):
    inference.main([*arguments, "refinements=0", "prompt=Two people wave for 2 s. In a sunny park. A person bows."])
    warnings = json.loads((tmp_path / "out" / "run" / "report.json").read_text())["warnings"]
    assert any("one person is animated" in line for line in warnings) and any("in a sunny park" in line for line in warnings)


# ---------------------------------------------------------------- mistakes

def broken(tmp_path: Path, name: str, content: bytes) -> str:
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def link(tmp_path: Path, target: str) -> Path:
    (tmp_path / "link").symlink_to(tmp_path / target)
    return tmp_path / "link"


@pytest.mark.parametrize("change, says", [
    (lambda t: "image=nobody.png", "nobody.png"),
    (lambda t: f"image={broken(t, 'notes.png', b'not a picture')}", "notes.png"),
    (lambda t: "prompt=", "prompt: is empty"),
    (lambda t: "prompt=" + "A person waves. " * 625, "2,000 characters"),
    (lambda t: "prompt=Una persona salta", "no English"),
    (lambda t: "promt=x", "did you mean prompt"), (lambda t: "renderer=mimicmotoin", "did you mean mimicmotion?"),
    (lambda t: "image=", "image: is empty"), (lambda t: "image=https://example.org/me.png", "download it first"),
    (lambda t: "generator.checkpoint=https://a.org/x.pth", "generator.checkpoint: must be a file on this machine"),
    (lambda t: "refinements=1000", "refinements: must be at most 10"), (lambda t: "num_threads=100000", "num_threads: must be at most"),
    (lambda t: "outputs=", "outputs: is empty"), (lambda t: "generator.checkpoint=", "generator.checkpoint: is empty"),
    (lambda t: "generator.num_inference_steps=100000", "generator.num_inference_steps: must be at most 1000"),
    (lambda t: "prompt=he jumps 1000 times", "more than the 180 s of one run"),
    (lambda t: "pose.keypoints=nowhere.onnx", "download_weights.py dwpose"), (lambda t: "fps=", "fps: expected a value"),
    (lambda t: "resolution=1", "resolution: must be at least 64, or 0 for height and width (found 1)"),
    (lambda t: "resolution=4700", "resolution: must be at most 4608"),
    (lambda t: f"pose.detector={broken(t, 'README.md', b'text')}", "README.md: expected an ONNX network (found another file)"),
    (lambda t: "generator.feature_cache=99", "generator.feature_cache: must be at most num_inference_steps"),
    (lambda t: "seed=seven", "seed"), (lambda t: "seed=-1", "seed"), (lambda t: f"seed={2**63}", "seed: must be 0 or more, and below 2^63"),
    (lambda t: "generator.tiles=wild", "generator.tiles: must be one of balanced, published"),
    (lambda t: "device=tpu", "device"), (lambda t: "device=cuda:9", "device"),
    (lambda t: "name=../elsewhere", "name: must be a plain folder name"), (lambda t: "name=..", "name: must be a plain folder name"),
    (lambda t: "fps=nan", "fps: must be a finite number"), (lambda t: "fps=1e9", "fps: must be at most 240"),
    (lambda t: "generator.fps=0", "generator.fps: must be at least 1"),
    (lambda t: "generator.noise_aug_strength=-0.1", "generator.noise_aug_strength: must be at least 0"),
    (lambda t: "height=100000", "height: must be at most 8192"), (lambda t: "num_threads=-3", "num_threads: must be at least 0"),
    (lambda t: "motion.transition_seconds=-1", "motion.transition_seconds: must be between 0 and 5"),
    (lambda t: "motion.weights=nowhere", "download_weights.py t2m, or train your own"),
    (lambda t: "generator.svd=nowhere", "generator.svd=nowhere: vae/config.json is missing"),
    (lambda t: "adapter.checkpoint=nowhere", "adapter.checkpoint=nowhere"),
    (lambda t: "driving_video=nowhere.mp4", "driving_video=nowhere.mp4"),
    (lambda t: f"outputs={broken(t, 'file', b'')}", "cannot be written to"),
    (lambda t: "outputs=/proc/nowhere", "cannot be written to"),
    (lambda t: f"pose.cache={broken(t, 'file', b'')}", "choose another place with pose.cache="),
    (lambda t: f"outputs={link(t, 'nowhere')}", "link/run: cannot be written to (No such file"),
    (lambda t: f"outputs={link(t, 'link')}", "link/run: cannot be written to (Too many levels"),
    (lambda t: "name= ", "name: must be a plain folder name"), (lambda t: "name=-rf", "begin with neither '.' nor '-'"),
    (lambda t: "name=.poses", "name: must be a plain folder name"),
    (lambda t: "planner.timeout_seconds=0", "planner.timeout_seconds: must be more than 0"),
    (lambda t: "planner.backend=openai", "planner.model is empty"), (lambda t: "planner.backend=local", "planner.model=(empty): no config.json"),
    (lambda t: "height=99", "height, width: must be multiples of 16 (found 99x64): use 96x64 or 112x64"),
    (lambda t: "width=70", "height, width: must be"),
    (lambda t: f"generator.checkpoint={broken(t, 'noise.safetensors', bytes(range(256)) * 9)}", "noise.safetensors"),
])
def test_a_mistake_is_one_line_that_names_it(models, arguments, tmp_path, change, says, monkeypatch):
    monkeypatch.setattr(StandIns, "real_video", True)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        inference.main([*arguments, change(tmp_path)])
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.rglob(".*.partial*")) and not list(tmp_path.rglob("video.mp4"))


def test_a_truncated_checkpoint_names_the_first_tensor_that_is_cut(models, arguments, tmp_path, tiny_checkpoint):
    whole = tiny_checkpoint.read_bytes()
    cut = broken(tmp_path, "cut.safetensors", whole[:len(whole) * 2 // 3])
    with pytest.raises(ValueError, match=r"cut.safetensors: cut off at .* tensor '(unet|pose_net)\.[\w.]+' is not whole"):
        inference.main([*arguments, f"generator.checkpoint={cut}"])
    assert models.calls == []


def test_a_pickle_with_code_is_refused_and_not_run(models, arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(StandIns, "real_video", True)

    class Payload:
        def __reduce__(self):
            return Path.touch, (tmp_path / "executed",)
    torch.save({"unet.x": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="evil.pth"):
        inference.main([*arguments, "adapter.checkpoint=", f"generator.checkpoint={tmp_path / 'evil.pth'}"])
    assert not (tmp_path / "executed").exists()


def test_a_person_cut_off_is_refused_before_anything_slow_unless_allowed(models, arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(StandIns, "cut_off", True)
    with pytest.raises(ValueError, match=r"person.png: the person is cut off \(feet not in"):
        inference.main([*arguments, "refinements=0"])
    assert models.calls == ["detect"] and not (tmp_path / "out" / "run").exists()              # a refused picture leaves no folder
    with pytest.raises(ValueError, match="; the demo's detector knows its clay figures only: for a photograph run scripts/photo.sh$"):
        inference.main([*arguments, "refinements=0", "pose.detector=demo"])
    assert inference.main([*arguments, "refinements=0", "pose.allow_cut_off=true"]) == 0
    with pytest.raises(ValueError, match="the person is cut off"):
        inference.main([*arguments, "refinements=0", "resume=true"])
    assert (tmp_path / "out" / "run" / "video.mp4").is_file()                                  # nor does it take away an earlier run's


def test_a_full_disk_is_seen_before_anything_slow(models, arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 10**12, 10**6))
    with pytest.raises(ValueError, match="0 MiB free on this disk"):
        inference.main(arguments)
    assert models.calls == []


def test_a_disk_that_fills_up_on_the_way_is_one_line_and_leaves_no_half_file(models, arguments, tmp_path, monkeypatch):
    def fills_up(frames, path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))
    monkeypatch.setattr(inference, "save_frames", fills_up)
    with pytest.raises(ValueError, match=r"out/run: No space left on device: make room"):
        inference.main(arguments)
    left = {path.name for path in (tmp_path / "out" / "run").rglob("*") if path.is_file()}
    assert left == {"run.yaml", "report.json", "reference.npz", "plan.json", "motion.npz", "skeleton.npz", "preview.mp4"}


def test_the_program_ends_with_one_line_and_code_2(tmp_path):
    done = subprocess.run([sys.executable, ROOT / "inference.py", "image=none.png"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("error: none.png: ") and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- the shipped weights

@pytest.mark.skipif(not (ROOT / "weights" / "demo" / "video").is_dir(), reason="weights/demo is not in this checkout")
def test_the_demo_turns_picture_and_text_into_a_video_of_that_movement(tmp_path):
    config = load_config(InferenceConfig, ["--config", str(ROOT / "configs" / "demo.yaml")])
    assert inference.main(["--config", str(ROOT / "configs" / "demo.yaml"), f"image={ROOT / config.image}", f"outputs={tmp_path}", "refinements=0",
                           "prompt=A person raises both arms for 2 s."]) == 0
    frames, fps = read_video(tmp_path / "demo" / "video.mp4")
    assert fps == config.fps and frames.shape == (round(2 * config.fps), config.height, config.width, 3)
    skeleton = Skeleton.load(tmp_path / "demo" / "skeleton.npz")
    seen = Models(config).detect(frames, fps, "video")
    both = (seen.confidence > 0.3) & (skeleton.confidence > 0.3)
    distance = np.linalg.norm(seen.xy - skeleton.xy, axis=-1)[both]
    assert np.median(distance) < 0.05 * config.height                           # the video's person follows the skeleton
    assert yaml.safe_load((tmp_path / "demo" / "run.yaml").read_text())["seed"] == config.seed
