"""MimicMotion as a product of its own: configs/mimicmotion.yaml, its sampling and sizes, its test.yaml, and its bad input.

The detector is a pair of fake networks with the official contracts; the video model is tiny and random, or a stand-in.
"""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import inference
from configs import load_config
from dwpose.alignment import linearly_aligned
from dwpose.detector import PoseDetector
from dwpose.draw import draw, STYLES
from dwpose.skeleton import FACE, Skeleton
from finer_scale import rescale
from mimicmotion.pipeline import PoseToVideo
from media.images import fit_to_canvas, read_image
from media.video_reader import probe, read_video
from media.video_writer import write_video
from renderers import Renderer
from run import models as pose_cache
from run.poses import driving_frames, driving_skeleton, frame_step
from media.video_writer import load_frames
from run.checks import with_size
from run.models import Models
from run.settings import InferenceConfig, PoseConfig

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "configs" / "mimicmotion.yaml"
FAKES = Path(__file__).parent / "fixtures" / "pose"
NETWORKS = [f"pose.detector={FAKES / 'fake_yolox_l.onnx'}", f"pose.keypoints={FAKES / 'fake_dw-ll_ucoco_384.onnx'}",
            "pose.plausible=false"]                                           # what they see is nobody's pose
SIZE = (128, 96)                                                              # what resolution=96 gives an upright picture


@pytest.fixture
def person(tmp_path) -> Path:
    """A picture in which the fake detector sees somebody."""
    path = tmp_path / "person.png"
    path.write_bytes((FAKES / "single.png").read_bytes())
    return path


def frames_with_somebody(num_frames: int) -> np.ndarray:
    seen = cv2.resize(cv2.imread(str(FAKES / "single.png"))[..., ::-1], (224, 320))
    return np.stack([np.roll(seen, i, axis=1) for i in range(num_frames)])


@pytest.fixture
def dance(tmp_path) -> Path:
    return write_video(tmp_path / "dance.mp4", frames_with_somebody(6), 30, crf=1)


@pytest.fixture
def arguments(tmp_path, person, tiny_svd_folder, tiny_checkpoint) -> list[str]:
    torch.set_num_threads(1)
    return ["--config", str(CONFIG), f"image={person}", f"outputs={tmp_path / 'out'}", f"pose.cache={tmp_path / 'poses'}", *NETWORKS,
            f"generator.svd={tiny_svd_folder}", f"generator.checkpoint={tiny_checkpoint}", "generator.num_inference_steps=1",
            "generator.tile_size=8", "generator.tile_overlap=2", "resolution=96", "device=cpu", "dtype=float32", "num_threads=1"]


class StandIns(Models):
    """A detector that sees one standing person in every frame, and a video that repeats the picture."""
    looked_at: list[np.ndarray] = []
    forbidden = ""

    def detect(self, frames, fps, source, *seen, **rates):
        frames = np.stack(list(frames))
        self.looked_at.append(frames)
        if "nobody" in source:
            raise ValueError(f"{source}: no person found")
        shape = np.random.default_rng(0).uniform((0.3, 0.1), (0.7, 0.9), (133, 2)) * frames.shape[2:0:-1]
        return Skeleton(np.tile(np.concatenate([shape, np.ones((133, 1))], axis=1), (len(frames), 1, 1)), frames.shape[1:3], fps)

    def renderer(self, config):
        return StandInRenderer(self.forbidden, config)


class StandInRenderer(Renderer):
    """The picture, again and again."""

    def __init__(self, forbidden, config):
        self.forbidden, self.config, self.settings = forbidden, config, config.renderer_settings

    def __call__(self, scene, generator, *, poses=None, show=None, progress=True):
        if self.forbidden and self.forbidden in str(self.config.driving_video):
            raise TypeError("a mistake of ours")
        return np.repeat(scene.image[None], len(scene.skeleton), axis=0)


@pytest.fixture
def models(monkeypatch):
    monkeypatch.setattr(inference, "Models", StandIns)
    monkeypatch.setattr(StandIns, "looked_at", [])
    return StandIns


# ---------------------------------------------------------------- the run

def test_picture_and_driving_video_become_a_video_without_prompt_planner_or_motion_weights(arguments, dance, tmp_path):
    assert inference.main([*arguments, f"driving_video={dance}"]) == 0
    folder = tmp_path / "out" / "mimicmotion"
    frames, fps = read_video(folder / "video.mp4")
    assert frames.shape == (3, *SIZE, 3) and fps == 15                        # every 2nd of 6; the picture's own frame is left out
    assert not (folder / "plan.json").exists() and not (folder / "motion.npz").exists()
    stages = [entry["name"] for entry in json.loads((folder / "report.json").read_text())["stages"]]
    assert stages == ["reference", "skeleton", "preview", "video", "outputs"]
    assert Skeleton.load(folder / "skeleton.npz").size == SIZE
    settings = yaml.safe_load((folder / "run.yaml").read_text())
    assert (settings["height"], settings["width"]) == SIZE


def test_a_seed_is_mimicmotions_seed(arguments, dance, tmp_path, person, tiny_svd_folder, tiny_checkpoint):
    inference.main([*arguments, f"driving_video={dance}", "generator.tiles=published", "seed=5"])
    folder = tmp_path / "out" / "mimicmotion"
    reference, skeleton = (Skeleton.load(folder / f"{name}.npz") for name in ("reference", "skeleton"))
    model = PoseToVideo.load(tiny_svd_folder, tiny_checkpoint)
    published = model(fit_to_canvas(read_image(person), SIZE), draw(skeleton, "mimicmotion"), torch.Generator().manual_seed(5),
                      reference_pose=draw(reference, "mimicmotion")[0], num_inference_steps=1, tile_size=8, tile_overlap=2, progress=False)
    assert np.array_equal(load_frames(folder / "frames" / "video.mkv"), published)


def test_a_camera_beside_a_driving_video_is_left_out_with_a_warning(arguments, dance, caplog):
    assert inference.main([*arguments, f"driving_video={dance}", "camera=orbit"]) == 0
    assert "camera=orbit: left out" in caplog.text


def test_without_a_driving_video_the_line_names_the_key(arguments, models):
    with pytest.raises(ValueError, match="driving_video=dance.mp4"):
        inference.main(arguments)


def test_the_shipped_values_are_mimicmotions():
    """MimicMotion's own configs/test.yaml and run_pipeline."""
    config = load_config(InferenceConfig, ["--config", str(CONFIG)])
    generator = config.generator
    assert (config.resolution, config.sample_stride, config.fps, config.seed, config.refinements) == (576, 2, 15, 42, 0)
    assert (generator.tile_size, generator.tile_overlap, generator.num_inference_steps, generator.guidance_scale) == (72, 6, 25, 2)
    assert (generator.noise_aug_strength, generator.fps, generator.motion_bucket_id, generator.decode_chunk_size) == (0, 7, 127, 8)
    assert generator.share_reference and generator.noise_sharing == 0
    assert config.pose.style == "mimicmotion" and config.pose.detector_channels == config.pose.keypoint_channels == "rgb"


@pytest.mark.parametrize("name", ["mimicmotion.yaml", "fleximo.yaml"])
def test_every_key_of_the_full_size_configs_is_explained(name):
    for line in (ROOT / "configs" / name).read_text().splitlines()[1:]:
        assert not line or re.search(r" # ...", line), line


def test_the_drawing_styles_to_choose_from_are_those_there_are():
    field = next(field for field in PoseConfig.__dataclass_fields__.values() if field.name == "style")
    assert set(field.metadata["choices"]) == set(STYLES)
    assert STYLES["mimicmotion"].face_radius and STYLES["mimicmotion"].short_side == 2160
    assert STYLES["fleximo"].face_radius is None and not STYLES["fleximo"].ears


# ---------------------------------------------------------------- sampling, size, alignment

@pytest.mark.parametrize("rate, step", [(12, 2), (23.976, 2), (24, 2), (30, 2), (47.95, 2), (48, 4), (60, 4), (72, 6), (120, 10)])
def test_the_step_follows_the_rate_as_mimicmotions(rate, step):
    assert frame_step(2, rate) == step


@pytest.mark.parametrize("rate, taken", [(30, [0, 2, 4, 6, 8, 10]), (60, [0, 4, 8])])
def test_every_nth_frame_is_looked_at_and_shown_at_the_runs_rate(tmp_path, rate, taken, caplog):
    levels = np.arange(12) * 20
    path = write_video(tmp_path / "a.mp4", np.stack([np.full((32, 48, 3), level, np.uint8) for level in levels]), rate, crf=1)
    config, models = InferenceConfig(driving_video=str(path), sample_stride=2), StandIns(InferenceConfig(device="cpu"))
    models.looked_at = []
    skeleton = driving_skeleton(config, models)
    assert [round(frame.mean() / 20) for frame in models.looked_at[0]] == taken
    assert skeleton.fps == 15 and driving_frames(config, probe(path)) == pytest.approx(len(taken)) and not caplog.text
    resampled = replace(config, sample_stride=0, fps=10)
    assert len(driving_skeleton(resampled, models)) == round(12 / rate * 10) == driving_frames(resampled, probe(path))


def test_a_changed_pace_is_said(tmp_path, caplog):
    path = write_video(tmp_path / "film.mp4", np.zeros((8, 32, 48, 3), np.uint8), 24)
    driving_skeleton(InferenceConfig(driving_video=str(path), sample_stride=2, fps=15), StandIns(InferenceConfig(device="cpu")))
    assert "film.mp4: every 2. of its 24 frames a second, shown at 15: the movement is 1.25 times as fast" in caplog.text


@pytest.mark.parametrize("shape, size", [((120, 70), (1024, 576)), ((70, 120), (576, 1024)), ((80, 80), (576, 1024)),
                                         ((333, 77), (1024, 576))])
def test_the_size_follows_the_picture_as_mimicmotions(tmp_path, shape, size):
    Image.new("RGB", shape[::-1]).save(tmp_path / "a.png")
    assert with_size(InferenceConfig(image=str(tmp_path / "a.png"), resolution=576)).size == size
    assert with_size(InferenceConfig(image=str(tmp_path / "a.png"), height=320, width=192)).size == (320, 192)


@pytest.mark.parametrize("shape", [(64, 128), (96, 96), (131, 77)], ids=["landscape", "square", "odd"])
def test_pictures_of_every_shape_run_through(arguments, models, tmp_path, shape):
    """The driving video is upright throughout: the movement is laid over the picture's canvas."""
    Image.new("RGB", shape[::-1]).save(tmp_path / "a.png")
    path = write_video(tmp_path / "odd.mp4", np.zeros((4, 99, 57, 3), np.uint8), 30)
    assert inference.main([*arguments, f"image={tmp_path / 'a.png'}", f"driving_video={path}"]) == 0
    frames, _ = read_video(tmp_path / "out" / "mimicmotion" / "video.mp4")
    assert frames.shape[1:3] == (SIZE if shape[0] > shape[1] else SIZE[::-1])


def test_the_alignment_key_chooses_among_five():
    rng = np.random.default_rng(1)
    keypoints = np.concatenate([rng.uniform(20, 80, (4, 133, 2)), np.ones((4, 133, 1))], axis=2)
    keypoints[:, :, 1] += 3 * np.arange(133)                                  # upright
    movement = Skeleton(keypoints, (500, 100), 10)
    reference = Skeleton(keypoints[:1] * (0.5, 0.5, 1) + (9, 9, 0), (300, 90), 10)
    results = [inference.aligned(movement, reference, key).keypoints for key in ("anchors", "linear", "published", "affine")]
    wanted = [rescale(movement, reference), linearly_aligned(movement, reference), linearly_aligned(movement, reference, robust=False),
              rescale(movement, reference, limbs=False)]
    for result, expected in zip(results, wanted):
        assert np.array_equal(result, expected.keypoints)
    assert all(np.abs(results[i] - results[j])[..., :2].max() > 1e-3 for i, j in ((0, 1), (0, 2), (1, 2), (0, 3)))
    assert inference.aligned(movement, reference, "none") is movement
    with pytest.raises(ValueError, match="alignment: 'none' is for a prompt's motion"):
        InferenceConfig(alignment="none", driving_video="dance.mp4")
    growth = [np.ptp(results[1][0, part, 1]) / np.ptp(keypoints[0, part, 1]) for part in (FACE, slice(None))]
    assert growth[0] == pytest.approx(growth[1])                              # the face grows with the body


# ---------------------------------------------------------------- MimicMotion's test.yaml

def case(video="assets/dance.mp4", image="assets/person.png", **changed) -> dict:
    return dict(ref_video_path=str(video), ref_image_path=str(image), num_frames=72, resolution=576, frames_overlap=6, num_inference_steps=25,
                noise_aug_strength=0, guidance_scale=2.0, sample_stride=2, fps=15, seed=42) | changed


def case_file(folder: Path, *cases: dict, **common) -> Path:
    (folder / "configs").mkdir(exist_ok=True)
    path = folder / "configs" / "test.yaml"
    weights = {"base_model_path": "stabilityai/stable-video-diffusion-img2vid-xt-1-1", "ckpt_path": "models/MimicMotion_1-1.pth"}
    path.write_text(yaml.safe_dump({**weights, **common, "test_case": list(cases)}))
    return path


def test_every_key_of_a_case_has_its_meaning(tmp_path, caplog):
    """Distinct values: each must arrive at its own place. Files are found from MimicMotion's folder, one above the list's."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "dance.mp4").write_bytes(b"")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "MimicMotion_1-1.pth").write_bytes(b"")
    path = case_file(tmp_path, case(), case(num_frames=16, resolution=512, frames_overlap=5, num_inference_steps=10, noise_aug_strength=0.02,
                                            guidance_scale=2.5, sample_stride=3, fps=12, seed=7))
    first, second = inference.load_configs(["--inference_config", str(path), "generator.tiles=published"])
    assert first.driving_video == str(tmp_path / "assets/dance.mp4")
    assert first.generator.checkpoint == str(tmp_path / "models/MimicMotion_1-1.pth")
    assert first.image == "assets/person.png" and first.alignment == "linear" and first.generator.tiles == "published"
    generator = second.generator
    assert (generator.tile_size, generator.tile_overlap, generator.num_inference_steps) == (16, 5, 10)
    assert (generator.noise_aug_strength, generator.guidance_scale) == (0.02, 2.5)
    assert (second.resolution, second.sample_stride, second.fps, second.seed) == (512, 3, 12, 7)
    assert [first.name, second.name] == ["dance_person", "dance_person_2"]
    (odd,) = inference.load_configs(["--inference_config", str(case_file(tmp_path, case("a\nb.mp4", ".c.png")))])
    assert odd.name == "a b_.c" and odd.driving_video == "a\nb.mp4"            # the folder's name is ours
    assert first.generator.svd == "weights/svd" and "img2vid-xt-1-1 is not on this machine: weights/svd is used" in caplog.text


def test_a_local_base_model_and_the_command_line_are_respected(tmp_path, tiny_svd_folder):
    path = case_file(tmp_path, case(), base_model_path=str(tiny_svd_folder))
    (config,) = inference.load_configs([f"--inference_config={path}", "seed=3", "outputs=elsewhere"])
    assert config.generator.svd == str(tiny_svd_folder) and config.seed == 3 and config.outputs == "elsewhere"
    assert config.generator.checkpoint == "models/MimicMotion_1-1.pth"        # not there: the run will say so


def without(key: str) -> dict:
    return {name: value for name, value in case().items() if name != key}


@pytest.mark.parametrize("cases, says", [
    ([case(), case(num_frame=3)], "test.yaml, case 2: unknown key num_frame: known are"),
    ([without("ref_video_path")], "case 1: ref_video_path: expected a file"),
    ([case(image="")], "case 1: ref_image_path: expected a file"), ([case(seed=1.5)], "case 1: seed: expected a whole"),
    ([case(num_frames="many")], "case 1: num_frames: expected a whole number (found 'many')"),
    ([case(fps=None)], "case 1: fps: expected a number (found None)"), ([case(fps=0)], "case 1: "),
    ([case(), case(frames_overlap=99, num_frames=16)], "case 2: generator.tile_overlap: must be 1 to tile_size - 1 = 15 (found 99)"), ([], "expected a test_case list"),
])
def test_a_mistake_in_the_list_is_one_line_that_names_the_case(tmp_path, cases, says):
    with pytest.raises(ValueError) as caught:
        inference.load_configs(["--inference_config", str(case_file(tmp_path, *cases))])
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments, says", [([], "expected MimicMotion's test.yaml"), (["none.yaml"], "no such file"),
                                             ([str(CONFIG)], "test_case list"), (["x.yaml", "name=a"], "name: ")])
def test_a_mistake_on_the_command_line_is_one_line(arguments, says):
    with pytest.raises(ValueError, match=says):
        inference.load_configs(["--inference_config", *arguments])


def test_unknown_keys_beside_the_cases_are_named(tmp_path):
    with pytest.raises(ValueError, match="test.yaml: unknown key scheduler"):
        inference.load_configs(["--inference_config", str(case_file(tmp_path, case(), scheduler="ddim"))])


@pytest.fixture
def three_cases(tmp_path, person, arguments) -> list[str]:
    """The second one's video shows nobody."""
    videos = [write_video(tmp_path / f"{name}.mp4", np.zeros((4, 96, 64, 3), np.uint8), 30) for name in ("first", "nobody", "third")]
    small = dict(num_frames=8, frames_overlap=2, num_inference_steps=1, resolution=96)
    weights = {argument.split("=")[0]: argument.split("=")[1] for argument in arguments if "=" in argument}
    path = case_file(tmp_path, *(case(video, person, **small) for video in videos),
                     base_model_path=weights["generator.svd"], ckpt_path=weights["generator.checkpoint"])
    return ["--inference_config", str(path), f"outputs={tmp_path / 'out'}", "pose.cache=", "pose.plausible=false", "pose.detector=demo", "device=cpu", "dtype=float32"]


def test_a_failing_case_does_not_lose_the_others_and_the_exit_code_says_so(models, three_cases, tmp_path, capsys):
    assert inference.main(three_cases) == 2
    said = capsys.readouterr()
    assert "error: nobody_person: " in said.err and "2 of 3 cases done\nfailed: nobody_person" in said.out
    for name in ("first_person", "third_person"):
        assert len(read_video(tmp_path / "out" / name / "video.mp4")[0]) == 2
    assert not (tmp_path / "out" / "nobody_person" / "video.mp4").exists()


def test_a_case_that_cannot_run_is_said_before_the_first_one_starts(models, three_cases, tmp_path, capsys):
    (tmp_path / "third.mp4").write_text("no video")
    assert inference.main(three_cases) == 2
    said = capsys.readouterr()
    assert said.err.index("third_person") < said.err.index("nobody_person") and "1 of 3 cases done" in said.out


def test_a_mistake_of_ours_does_not_lose_the_others_either(models, three_cases, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(StandIns, "forbidden", "first")
    assert inference.main(three_cases) == 1
    assert "first_person: failed" in caplog.text and "a mistake of ours" in caplog.text
    assert (tmp_path / "out" / "third_person" / "video.mp4").is_file()


# ---------------------------------------------------------------- poses detected once

def test_poses_are_not_detected_twice_not_even_by_the_next_run(arguments, dance, tmp_path, monkeypatch, caplog):
    config = load_config(InferenceConfig, [*arguments, f"driving_video={dance}"])
    first = driving_skeleton(config, Models(config))
    assert len(list((tmp_path / "poses").iterdir())) == 1

    def refuse(*_, **__):
        raise AssertionError("the networks were opened")
    loading = PoseDetector.load
    monkeypatch.setattr(PoseDetector, "load", refuse)
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(dance.read_bytes())                                       # the content counts, not the name
    again = driving_skeleton(replace(config, driving_video=str(copy)), Models(config))
    assert np.array_equal(again.keypoints, first.keypoints)
    for other in (replace(config, sample_stride=1), replace(config, fps=14.0)):
        with pytest.raises(AssertionError, match="opened"):
            driving_skeleton(other, Models(other))
    for changed in (dict(cache=""), dict(person="center"), dict(detector_channels="bgr"), dict(detector=config.pose.keypoints)):
        other = replace(config, pose=replace(config.pose, **changed))
        with pytest.raises(AssertionError, match="opened"):
            driving_skeleton(other, Models(other))
    with monkeypatch.context() as patch, pytest.raises(AssertionError, match="opened"):
        patch.setattr(pose_cache, "CODE", ["another version"])
        driving_skeleton(config, Models(config))
    monkeypatch.setattr(PoseDetector, "load", loading)
    (kept,) = (tmp_path / "poses").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(driving_skeleton(config, Models(config)).keypoints, first.keypoints)
    assert "detected again" in caplog.text and Skeleton.load(kept).fps == 15


# ---------------------------------------------------------------- bad driving videos

def nobody(num_frames: int) -> np.ndarray:
    return np.zeros((num_frames, 320, 224, 3), np.uint8)


def seen_in(path: Path, arguments: list[str]) -> Skeleton:
    config = load_config(InferenceConfig, [*arguments, f"driving_video={path}", "sample_stride=1", "fps=30"])
    return driving_skeleton(config, Models(config))


def test_nobody_in_any_frame_is_one_line(arguments, tmp_path):
    with pytest.raises(ValueError, match=r"empty.mp4: no person found \(frames: 3, .*: use a clip with the whole body"):
        seen_in(write_video(tmp_path / "empty.mp4", nobody(3), 30), arguments)


def test_nobody_in_some_frames_is_bridged_when_short_and_named(arguments, tmp_path, caplog):
    frames = np.concatenate([frames_with_somebody(2), nobody(2), frames_with_somebody(2), nobody(12)])
    skeleton = seen_in(write_video(tmp_path / "gaps.mp4", frames, 30, crf=1), arguments)
    assert "gaps.mp4: the person is not found in 14 of 18 frames: 2-3 bridged from both sides, 6-17 stay empty" in caplog.text
    assert skeleton.confidence[2:4].any(axis=1).all() and not skeleton.keypoints[6:].any()


def test_one_frame_is_a_still_and_says_so(arguments, tmp_path, caplog):
    assert len(seen_in(write_video(tmp_path / "one.mp4", frames_with_somebody(1), 30), arguments)) == 1
    assert "one.mp4: one frame only" in caplog.text
