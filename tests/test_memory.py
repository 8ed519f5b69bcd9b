"""Memory is predicted before loading, the prediction is what a run takes, and what does not fit steps down."""
import gzip
import json
import logging
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder, AutoencoderTiny
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.testing import assert_close

from mimicmotion.latents import decode, decode_window
from mimicmotion.memory import fitting_plan, Footprint, FRAMES, OffloadedPoseToVideo, Plan, plans, Run
from mimicmotion.checkpoint import check_tiny_vae
from runtime.memory import dry_run, keep_idle_on_cpu
from mimicmotion.savings import feed_forward_in_parts
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.networks import PoseUNet
from renderers.mimicmotion import MimicMotion, VideoJob, VideoModels
from renderers import MimicMotionConfig, VideoModelConfig
from runtime.device import CUDA_CONTEXT, free_memory, GIB

FIXTURES = Path(__file__).parent / "fixtures" / "mimicmotion"
FULL_SIZE = {
    "vae": dict(block_out_channels=[128, 256, 512, 512], down_block_types=["DownEncoderBlock2D"] * 4,
                layers_per_block=2),
    "image_encoder": dict(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=16,
                          patch_size=14, image_size=224, projection_dim=1024, hidden_act="gelu")}
SMALL_UNET = dict(
    block_out_channels=(64, 128), num_attention_heads=(1, 2), cross_attention_dim=64, addition_time_embed_dim=32,
    projection_class_embeddings_input_dim=96, layers_per_block=1,
    down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
    up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"))
POSTER = Plan(tile_size=72, max_tile=None, decode_chunk_size=8, dtype=torch.float16)


@pytest.fixture(scope="module")
def official(tmp_path_factory) -> Footprint:
    """SVD-xt-1.1 and MimicMotion at 576x1024 in float16, from configs alone."""
    folder = tmp_path_factory.mktemp("official")
    manifest = json.loads(gzip.decompress((FIXTURES / "manifest_mimicmotion_1-1.json.gz").read_bytes()))
    for name, config in (FULL_SIZE | {"unet": manifest["unet_config"]}).items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config))
    return Footprint.of(folder, None, (576, 1024), torch.float16)


def of_official(official: Footprint, num_frames: int = 151, tiles: str = "balanced", guided: bool = True) -> Run:
    return Run("video", num_frames, 6, tiles, lambda dtype: official, guided)


def profiled_bytes(run) -> int:
    """The most memory torch's allocator held while `run` worked, from its own events."""
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as measured:
        run()
    events = [event for event in measured.profiler.kineto_results.events() if event.name() == "[memory]"]
    return int(np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]).max())


def unet_call(unet: PoseUNet, device: str, branches: int, frames: int):
    made = lambda *shape: torch.zeros(shape, device=device)
    return lambda: unet(made(branches, frames, 8, 16, 24), made(), made(branches, 1, 64), made(branches, 3),
                        made(branches * frames, 64, 16, 24)).sample


def on_meta(module: nn.Module) -> nn.Module:
    return nn.Module.to(module, "meta").eval()


@pytest.mark.parametrize("branches, frames, parts", [(1, 2, 1), (2, 4, 1), (2, 4, 4)])
def test_the_dry_run_of_a_unet_counts_what_the_allocator_hands_out(branches, frames, parts):
    real, dry = PoseUNet(**SMALL_UNET).eval(), on_meta(PoseUNet(**SMALL_UNET))
    with feed_forward_in_parts(real, parts), feed_forward_in_parts(dry, parts):
        measured = profiled_bytes(unet_call(real, "cpu", branches, frames))
        predicted = dry_run(dry, unet_call(dry, "meta", branches, frames)).bytes
    assert measured <= predicted <= 1.02 * measured


def test_the_dry_run_of_a_vae_counts_what_the_allocator_hands_out_and_grows_with_the_chunk():
    config = dict(block_out_channels=(32, 64), down_block_types=("DownEncoderBlock2D",) * 2, layers_per_block=1)
    real, dry = AutoencoderKLTemporalDecoder(**config).eval(), on_meta(AutoencoderKLTemporalDecoder(**config))
    decoding = lambda vae, device, frames: lambda: decode_window(vae, torch.zeros(frames, 4, 16, 24, device=device))
    for frames in (2, 4):
        predicted = dry_run(dry, decoding(dry, "meta", FRAMES)).bytes / FRAMES * frames
        assert predicted == pytest.approx(profiled_bytes(decoding(real, "cpu", frames)), rel=0.02)


def test_the_official_weights_are_counted_to_the_byte(official):
    assert official.weights == {"unet": 3049246164, "pose_net": 411114, "vae": 195485694, "image_encoder": 1264153600}


def test_16_frames_at_576x1024_fit_8_gb_and_72_fit_14_gb(official):
    for tile_size, frames, gigabytes in ((16, 151, 8), (72, 151, 14)):
        limit = int(gigabytes * 1e9) - CUDA_CONTEXT
        run, wanted = of_official(official, frames), replace(POSTER, tile_size=tile_size)
        plan = fitting_plan(wanted, run, limit)
        assert plan.tile_size == tile_size and plan.dtype == torch.float16 and run.need(plan) <= limit
        assert sum(run.needs(wanted)["denoising"]) > sum(run.needs(plan)["denoising"])


def test_settings_that_fit_stay_as_they_are_and_are_said_once(official, caplog):
    told = set()
    with caplog.at_level(logging.INFO):
        assert next(plans(POSTER, of_official(official), 80 * GIB, told)) == POSTER
        assert next(plans(POSTER, of_official(official), 80 * GIB, told)) == POSTER
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "151 frames of 576x1024 in float16, tiles of 72" in caplog.text and "of 80.0 GiB" in caplog.text


def test_what_leaves_the_result_alone_goes_first_and_the_rest_is_said(official, caplog):
    run = of_official(official)
    plan = next(plans(POSTER, run, 24 * GIB, set()))
    assert plan == replace(POSTER, guidance_batch=1) and not any(r.levelname == "WARNING" for r in caplog.records)
    plan = next(plans(POSTER, run, 8 * GIB, set()))
    assert plan.tile_size < 72 and plan.feed_forward_parts > 1 and plan.offload
    assert f"tile_size 72 → {plan.tile_size}" in caplog.text and "the video differs" in caplog.text


def test_a_smaller_device_never_gets_a_larger_plan_and_every_plan_fits(official):
    run, last = of_official(official), POSTER
    for gib in range(30, 5, -1):
        plan = fitting_plan(POSTER, run, gib * GIB)
        assert run.need(plan) <= gib * GIB
        assert plan.tile_size <= last.tile_size and plan.decode_chunk_size <= last.decode_chunk_size
        last = plan
    assert fitting_plan(POSTER, of_official(official, guided=False), 16 * GIB).guidance_batch == 2      # one pass anyway


def test_the_length_of_a_video_costs_a_small_device_little(official):
    plan = fitting_plan(replace(POSTER, tile_size=16), of_official(official, 1500), 8 * GIB)
    assert plan.offload and plan.tile_size == 16
    longer, run = of_official(official, 1600), of_official(official, 1500)
    assert run.need(plan) < longer.need(plan) < run.need(plan) + 100 * official.features_frame / 2


def test_running_out_of_memory_gives_the_next_smaller_plan(official, caplog):
    run = of_official(official)
    attempts = plans(POSTER, run, 24 * GIB, set())
    needs = [run.needs(next(attempts))["denoising"] for _ in range(4)]
    assert all(sum(after) <= before[0] + 0.85 * before[1] for before, after in zip(needs, needs[1:]))
    assert caplog.text.count("ran out of memory: trying again with less") == 3


@pytest.mark.parametrize("gib, words", [(4.5, None), (4.15, "frames or height="), (3.5, "height="),
                                        (1.0, "no size fits: use another device")])
def test_a_device_too_small_for_anything_is_told_what_would_fit(official, gib, words):
    run, limit = of_official(official, 73), int(gib * GIB)
    if words is None:
        assert run.need(fitting_plan(POSTER, run, limit)) <= limit
        return
    with pytest.raises(ValueError, match="video: 73 frames of 576x1024 need 4.* GiB even at their smallest") as caught:
        fitting_plan(POSTER, run, limit)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    if "frames or" in words:                                           # and it would
        frames = int(str(caught.value).split("): ")[1].split()[0])
        assert run.need(fitting_plan(POSTER, replace(run, num_frames=frames), limit)) > 0


def test_the_size_said_to_fit_does_fit(tiny_svd_folder):
    footprints = lambda size: cache(partial(Footprint.of, tiny_svd_folder, None, size))
    of_size = lambda size: Run("video", 8, 2, "balanced", footprints(size), on_cpu=True)
    wanted, run = Plan(8, None, 4, torch.bfloat16), of_size((640, 480))
    with pytest.raises(ValueError, match="height=") as caught:
        fitting_plan(wanted, run, 25 << 20)
    size = tuple(int(word.partition("=")[2]) for word in str(caught.value).split() if "=" in word)
    fitting_plan(wanted, of_size(size), 25 << 20)


def test_a_limit_by_hand_is_kept_and_a_loaded_model_is_not_counted_twice(tiny_svd_folder):
    assert free_memory("cpu", 0.5) == GIB // 2
    model = PoseToVideo.load(tiny_svd_folder)
    weights = sum(Footprint.of(tiny_svd_folder, None, (64, 48), torch.float32).weights.values())
    assert free_memory("cpu", 1e-6, model.networks) == 1073
    assert abs(free_memory("cpu", networks=model.networks) - free_memory("cpu") - weights) < GIB            # others allocate, too


class Moving(nn.Module):
    """A network that can be on the meta device and come back."""

    def __init__(self, all_of_them: list):
        super().__init__()
        self.weight, self.all, self.seen = nn.Parameter(torch.ones(1)), all_of_them, []
        all_of_them.append(self)

    def to(self, device):
        self.weight = nn.Parameter(torch.ones(1, device=device))
        return self

    def forward(self):
        self.seen.append([network for network in self.all if network.weight.is_meta])


def test_only_the_network_at_work_is_on_the_device():
    networks = []
    vae, encoder, unet = (Moving(networks) for _ in range(3))
    keep_idle_on_cpu([vae, encoder, unet], torch.device("meta"))
    for network in (vae, encoder, unet, unet, vae, vae, encoder):
        network()
        assert network.seen[-1] == [network]


def test_parts_and_offloading_leave_the_latents_alone(tiny_svd_folder, tiny_checkpoint):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 64, 48, 3), np.uint8)
    run = lambda model: model.sample(pixels[0], pixels, torch.Generator().manual_seed(0), num_inference_steps=1,
                                     progress=False)
    model = PoseToVideo.load(tiny_svd_folder, tiny_checkpoint)
    wanted = run(model)
    with feed_forward_in_parts(model.unet, 4):
        assert_close(run(model), wanted, atol=1e-4, rtol=0)
    assert torch.equal(run(model), wanted)                             # and the context leaves no trace
    assert_close(run(OffloadedPoseToVideo.load(tiny_svd_folder, tiny_checkpoint, "cpu")), wanted, atol=1e-4, rtol=0)


@pytest.fixture
def settings(tiny_svd_folder, tiny_checkpoint):
    return VideoModelConfig(str(tiny_svd_folder), str(tiny_checkpoint), num_inference_steps=1, tile_size=12,
                            tile_overlap=2, guidance_scale=1.0)


def job_of(settings: VideoModelConfig, num_frames: int) -> VideoJob:
    pixels = np.zeros((num_frames, 64, 48, 3), np.uint8)
    return VideoJob("generator", settings, torch.Generator().manual_seed(0).get_state(), pixels[0], pixels, pixels[0])


def test_a_run_that_runs_out_of_memory_is_made_in_smaller_tiles_with_one_warning(settings, monkeypatch, caplog):
    models, calls, shown, real = VideoModels("cpu", torch.bfloat16), [], [], PoseToVideo.__call__

    def call(self, *args, **keywords):
        calls.append(keywords)
        if keywords["tile_size"] > 8:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(self, *args, **keywords)

    monkeypatch.setattr(PoseToVideo, "__call__", call)
    video = models.video(job_of(settings, 11), shown.append, progress=False)
    assert video.shape == (11, 64, 48, 3) and calls[0]["tile_size"] == 12 and calls[-1]["tile_size"] == 8
    assert "tile_size 12 → 8" in caplog.text and "the video differs" in caplog.text
    assert np.array_equal(np.concatenate(shown), video)


@pytest.fixture
def tiny_vae(tmp_path) -> Path:
    """A tiny autoencoder that shrinks as the tiny SVD's VAE; beside it `deep`, of more channels, and `large`, that shrinks less."""
    torch.manual_seed(0)
    blocks = lambda levels: {f"{kind}_block_out_channels": (4,) * levels for kind in ("encoder", "decoder")} | {
        f"num_{kind}_blocks": (1,) * levels for kind in ("encoder", "decoder")}
    for name, channels, levels in (("tiny", 4, 4), ("deep", 8, 4), ("large", 4, 2)):
        AutoencoderTiny(latent_channels=channels, **blocks(levels)).half().save_pretrained(tmp_path / name)
    return tmp_path / "tiny"


def test_only_what_is_not_the_final_video_is_decoded_by_the_tiny_vae(settings, tiny_vae):
    settings = replace(settings, tiny_vae=str(tiny_vae), share_reference=False)
    renderer = MimicMotion.load(MimicMotionConfig(settings, settings, "published"), "cpu")
    job, models = job_of(settings, 3), renderer.models
    final, draft, usual = (models.video(made, progress=False) for made in (
        job, replace(job, final=False), replace(job, final=False, settings=replace(settings, tiny_vae=""))))
    generator = torch.Generator()
    generator.set_state(job.random_state)
    latents = PoseToVideo.load(settings.svd, settings.checkpoint).sample(
        job.image, job.poses, generator, num_inference_steps=1, guidance_scale=1.0, tile_size=12, tile_overlap=2, progress=False)
    tiny = AutoencoderTiny.from_pretrained(tiny_vae, torch_dtype=torch.float32)
    assert_close(draft, decode(tiny, latents).numpy(), atol=1, rtol=0)
    assert np.array_equal(final, usual)
    assert final.shape == draft.shape == (3, 64, 48, 3) and not np.array_equal(final, draft)
    assert (renderer.final, renderer.draft.final, renderer.draft.draft) == (True, False, None)


def test_a_run_goes_on_where_only_a_decoder_it_does_not_use_has_changed(settings, tiny_vae):
    models, with_tiny = VideoModels("cpu", torch.float32), replace(settings, tiny_vae=str(tiny_vae))
    assert models.inputs(with_tiny, final=True) == models.inputs(settings, final=True) == models.inputs(settings, final=False)
    assert tiny_vae in models.inputs(with_tiny, final=False)


@pytest.mark.parametrize("name, words", [
    ("nowhere", "config.json is missing"), ("deep", "found 8 channels, 8 times"), ("large", "found 4 channels, 2 times")])
def test_a_tiny_vae_of_other_latents_is_refused(settings, tiny_vae, name, words):
    with pytest.raises(ValueError, match=f"adapter.tiny_vae=.*{words}"):
        check_tiny_vae(tiny_vae.parent / name, Path(settings.svd), "adapter")


def test_frames_of_a_second_try_are_not_shown_after_those_of_a_first(settings, monkeypatch):
    models, shown, real = VideoModels("cpu", torch.bfloat16), [], PoseToVideo.__call__

    def call(self, *args, show, **keywords):
        if keywords["tile_size"] > 8:
            if show is not None:
                show(np.zeros((2, 64, 48, 3), np.uint8))
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(self, *args, show=show, **keywords)

    monkeypatch.setattr(PoseToVideo, "__call__", call)
    assert len(models.video(job_of(settings, 11), shown.append, progress=False)) == 11
    assert [len(frames) for frames in shown] == [2]


def test_what_no_plan_fits_is_refused_before_anything_is_loaded(settings, monkeypatch):
    monkeypatch.setattr(PoseToVideo, "load", lambda *args: pytest.fail("loaded"))
    with pytest.raises(ValueError, match="memory: generator: 4 frames of 64x48 need .* even at their smallest"):
        VideoModels("cpu", torch.bfloat16, 0.0001).video(job_of(settings, 3))
    with pytest.raises(ValueError, match="memory: generator: 2 frames"):
        MimicMotion.check(MimicMotionConfig(settings, None, "bold"), (64, 48), 2, free_memory("cpu", 0.0001), device="cpu",
                          dtype=torch.bfloat16)


def test_models_kept_side_by_side_are_loaded_once_each_and_otherwise_one_at_a_time(settings, tiny_checkpoint, tmp_path, monkeypatch):
    other = replace(settings, checkpoint=str(tmp_path / "other.safetensors"))
    Path(other.checkpoint).write_bytes(tiny_checkpoint.read_bytes())
    loaded, load = [], PoseToVideo.load.__func__
    monkeypatch.setattr(PoseToVideo, "load", classmethod(lambda cls, *args: loaded.append(Path(args[1]).stem) or load(cls, *args)))
    for keep, expected in ((True, 2), (False, 4)):
        loaded.clear()
        models = VideoModels("cpu", torch.float32, keep_loaded=keep)
        for one in (settings, other, settings, other):
            models.video(job_of(one, 2), progress=False)
        assert len(loaded) == expected and len(models._loaded) == (2 if keep else 1)


def test_the_plan_of_a_whole_run_is_what_the_allocator_hands_out(tiny_svd_folder, tiny_checkpoint):
    model, size = PoseToVideo.load(tiny_svd_folder, tiny_checkpoint), (128, 96)
    pixels = np.random.default_rng(0).integers(0, 256, (9, *size, 3), np.uint8)
    footprint = Footprint.of(tiny_svd_folder, tiny_checkpoint, size, torch.float32)
    run = Run("video", 9, 2, "balanced", lambda dtype: footprint, on_cpu=True)
    for plan in (Plan(9, None, 4, torch.float32), Plan(5, 5, 4, torch.float32, guidance_batch=1)):
        measured = profiled_bytes(lambda: model.sample(
            pixels[0], pixels, torch.Generator().manual_seed(0), num_inference_steps=1, tile_size=plan.tile_size,
            max_tile=plan.max_tile, tile_overlap=2, tiles="balanced", guidance_batch=plan.guidance_batch, progress=False))
        predicted = max(rest for phase, (_, rest) in run.needs(plan).items() if phase != "decoding")
        assert measured <= predicted <= 1.4 * measured
