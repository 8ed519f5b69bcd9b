"""How MotionBench's variants are made: only what differs is made again, and each leaves out what it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import distributed

from configs import load_config
from dwpose.skeleton import HANDS, LEFT_HIP, LEFT_KNEE, LEFT_SHOULDER, NOSE, RIGHT_SHOULDER, Skeleton
from dwpose.draw import draw
from finer_scale import rescale
from inference import seed_of
from motionbench.cells import driving_motion, MOTIONS_BY_NAME, person, true_clip
from motionbench.settings import VARIANTS
from motionbench.making import BenchModels, Given, make_clip
from renderers.mimicmotion import MimicMotion, SkeletonAdapter, VideoModels
from run.models import Models
from run.settings import InferenceConfig
from runtime.processes import ALONE
from t2m.project import project

SECONDS = 1.2
ARGUMENTS = ["--config", "configs/demo.yaml", "height=96", "width=64", "fps=5", "device=cpu", "pose.cache=",
             "generator.tiny_vae="]            # a first pass without a second is then the first of two


class StandIns(Models):
    """Sees the true person of the clip everywhere; a video is its poses with some of the picture."""

    def __init__(self, config, clip):
        super().__init__(config)
        self.clip, self.made = clip, []

    def detect(self, frames, fps, source, *seen, **rates):
        skeleton = self.clip.reference_skeleton if len(frames) == 1 else self.clip.skeleton
        keypoints = skeleton.keypoints.copy()
        keypoints[:, NOSE, 0] += frames.mean() * 0.01                            # depends on what is looked at
        return Skeleton(keypoints, skeleton.size, fps)

    def motions(self, segments):
        self.made.append("motion")
        return [driving_motion(person(5, 0), MOTIONS_BY_NAME["bow"], SECONDS)]

    def renderer(self, config):
        return StandInRenderer(self, config)


class StandInRenderer(MimicMotion):
    """Real inputs, so that stages are shared as in truth; a video is its poses with some of the picture."""

    def __init__(self, models, config):
        settings = config.renderer_settings
        super().__init__(settings, VideoModels("cpu", torch.float32))
        self.stages, self.made = {seed_of(config, name): name for name in ("poses", "video", "refined_1")}, models.made
        if self.adapter:
            self.adapter = StandInAdapter(self)

    def __call__(self, scene, generator, *, poses=None, show=None, progress=True):
        self.made.append(self.stages[generator.initial_seed()])
        poses = draw(scene.skeleton, self.settings.style) if poses is None else poses
        return (poses // 2 + scene.image // 4).astype(np.uint8)


class StandInAdapter(SkeletonAdapter):
    def __init__(self, renderer):
        super().__init__(renderer.settings, renderer.models)
        self.renderer = renderer

    def __call__(self, scene, generator, **rest):
        return self.renderer(scene, generator)


@pytest.fixture
def bench(tmp_path):
    """Makes variants of one clip; gives the result and which networks ran for it."""
    who, motion = person(4, 0), MOTIONS_BY_NAME["kick_right"]
    base = load_config(InferenceConfig, ARGUMENTS)
    clip = true_clip(who, motion, SECONDS, base.fps, base.size)
    Image.fromarray(clip.reference).save(tmp_path / "who.png")
    config = replace(base, image=str(tmp_path / "who.png"), prompt=motion.prompt, camera="static")
    models = StandIns(config, clip)
    given = Given(driving_motion(who, motion, SECONDS), clip.skeleton)

    def make(name, **changes):
        models.made.clear()
        made = make_clip(replace(config, **changes), VARIANTS[name], models, given, tmp_path / "stages")
        return made, list(models.made)
    make.config, make.given, make.clip = config, given, clip
    return make


def test_variants_share_every_stage_that_is_the_same(bench):
    full, ran = bench("given_motion")
    assert ran == ["poses", "video", "refined_1"] and len(full.frames) == 6
    first_pass, ran = bench("no_refinement")
    assert ran == [] and not np.array_equal(first_pass.frames, full.frames)      # the pass before the last, from disk
    assert bench("no_rescale")[1] == ["poses", "video", "refined_1"]
    assert bench("no_adapter")[1] == ["video"]                                   # nothing was seen but the plan: one second pass
    again, ran = bench("given_motion")                                                   # nothing of it was overwritten
    assert ran == [] and np.array_equal(again.frames, full.frames)
    assert again.seconds == pytest.approx(full.seconds) and 0 < first_pass.seconds < full.seconds
    assert bench("given_motion", seed=8)[1] == ["poses", "video", "refined_1"]


def test_a_stage_that_was_cut_short_or_has_lost_its_cost_is_made_anew(bench, tmp_path, caplog):
    whole, _ = bench("given_motion")
    video, = (tmp_path / "stages" / "frames").glob("refined_1-*.mkv")
    video.write_bytes(video.read_bytes()[:video.stat().st_size // 2])
    again, ran = bench("given_motion")
    assert ran == ["refined_1"] and np.array_equal(again.frames, whole.frames)
    assert caplog.messages[-1] == f"{video}: is not the file that was written: made anew"
    video.with_name(f"{video.name}.json").unlink()
    assert bench("given_motion")[1] == ["refined_1"] and bench("given_motion")[1] == []


def test_each_alignment_commands_its_own_skeleton(bench):
    config, given, reference = bench.config, bench.given, bench.clip.reference_skeleton
    projected = project(given.motion, config.size, config.fps, "static")
    commanded = {name: bench(name)[0].skeleton for name in ("given_motion", "no_rescale", "affine", "linear", "true_skeleton")}
    np.testing.assert_array_equal(commanded["no_rescale"].keypoints, projected.keypoints)
    full, own = commanded["given_motion"].keypoints, rescale(projected, reference).keypoints
    np.testing.assert_allclose(full[:, NOSE + 1:], own[:, NOSE + 1:], atol=0.05)
    np.testing.assert_array_equal(commanded["true_skeleton"].keypoints, given.skeleton.keypoints)
    errors = {name: np.abs(skeleton.xy - given.skeleton.xy)[:, :17].mean() for name, skeleton in commanded.items()}
    assert errors["true_skeleton"] == 0 < min(errors["given_motion"], errors["affine"], errors["linear"]) and max(
        errors["given_motion"], errors["affine"], errors["linear"]) < errors["no_rescale"]


def test_affine_keeps_the_drivers_proportions_and_takes_the_references_place(bench):
    skeleton = project(bench.given.motion, bench.config.size, bench.config.fps, "static")
    moved = rescale(skeleton, bench.clip.reference_skeleton, limbs=False)

    def thigh_per_shoulders(one):
        xy = one.xy[0]
        return np.linalg.norm(xy[LEFT_KNEE] - xy[LEFT_HIP]) / np.linalg.norm(xy[LEFT_SHOULDER] - xy[RIGHT_SHOULDER])

    assert thigh_per_shoulders(moved) == pytest.approx(thigh_per_shoulders(skeleton), rel=1e-4)
    assert (moved.confidence == skeleton.confidence).all() and not moved.xy[moved.confidence == 0].any()


def test_only_the_prompt_variant_asks_text_to_motion_and_only_its_clip_is_of_its_own_length(bench):
    assert "motion" not in bench("given_motion")[1]
    made, ran = bench("from_text")
    assert ran[0] == "motion" and not made.skeleton.keypoints[:, HANDS].any()
    assert len(made.frames) == 6


def test_models_are_kept_side_by_side_also_from_variant_to_variant():
    config = load_config(InferenceConfig, ARGUMENTS)
    models = BenchModels(config, keep=True)
    full = models.renderer(config)
    other = models.renderer(replace(config, adapter=replace(config.adapter, checkpoint="")))
    assert full.models.keep_loaded and full.adapter and not other.adapter and other.models is full.models
    assert not BenchModels(config, keep=False).renderer(config).models.keep_loaded


def test_of_several_launched_processes_each_makes_its_own_clips(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    config = load_config(InferenceConfig, ARGUMENTS)
    models = BenchModels(config, keep=True)
    assert models.processes is models.renderer(config).models.processes is ALONE and not distributed.is_initialized()
