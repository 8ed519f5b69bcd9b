"""The whole sampler against the published one's recorded runs, and what it promises beyond them."""
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny, StableVideoDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file
from torch.testing import assert_close

from media.images import as_tensor
from mimicmotion.detail import KnownDetail, MovedPicture
from mimicmotion.latents import added_time_ids, clip_pixels, image_embeddings, image_latents, scaled_latents
from mimicmotion.latents import blended_windows, decode, decode_window, mixes_frames, moving_boxes, windows
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.savings import zero_temporal_branches

FIXTURES = Path(__file__).parent / "fixtures" / "mimicmotion"
ROUNDING = 5e-4                       # two float32 steps of latents at the first noise level, 4 sigma of 700
FAST = {"num_inference_steps": 2, "tile_size": 4, "tile_overlap": 2, "progress": False}


@pytest.fixture(scope="module")
def model(tiny_svd_folder, tiny_checkpoint):
    return PoseToVideo.load(tiny_svd_folder, tiny_checkpoint)


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def frames_of(tensor: torch.Tensor) -> np.ndarray:
    return tensor.movedim(-3, -1).numpy()


def golden(run: str) -> tuple[dict, dict]:
    facts = json.loads((FIXTURES / f"pipeline_{run}.json").read_text())
    return facts, load_file(FIXTURES / f"pipeline_{run}.safetensors")


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return frames_of(golden("a")[1]["in.image_u8"])


@pytest.fixture(scope="module")
def poses() -> np.ndarray:
    return frames_of(golden("b")[1]["in.pose_u8"])


def call_of(facts: dict, run: str) -> dict:
    call = facts["call"]
    return {"num_inference_steps": call["num_inference_steps"], "tile_size": call["tile_size"],
            "tile_overlap": call["tile_overlap"], "noise_aug_strength": facts["noise_aug_strength"][run],
            "guidance_scale": (call["min_guidance_scale"], call["max_guidance_scale"]), "progress": False}


@pytest.mark.parametrize("which, run", [("a", "aug002"), ("a", "aug0"), ("b", "aug002"), ("b", "aug0"), ("g", "aug002")])
def test_latents_equal_the_published_pipeline(model, which, run):
    facts, tensors = golden(which)
    latents = model.sample(frames_of(tensors["in.image_u8"]), frames_of(tensors["in.pose_u8"]),
                           seed(facts["call"]["seed"]), **call_of(facts, run))
    assert_close(latents, tensors[f"{run}.out.latents"][0], atol=facts["tolerance"]["latents_max_abs"], rtol=0)


@pytest.mark.parametrize("which", "ab")
def test_frames_equal_the_published_pipeline(model, which):
    facts, tensors = golden(which)
    wanted = tensors["aug002.out.last_frame"][0]                                          # (3, H, W) in [0, 1]
    latents, chunk = tensors["aug002.out.latents"][0], facts["call"]["decode_chunk_size"]
    with torch.no_grad():
        assert_close(list(blended_windows(model.vae, latents, chunk, 0))[-1][-1], wanted, atol=1e-4, rtol=0)
    rounded = decode(model.vae, latents, chunk)[-1]
    assert np.abs(rounded.numpy() - frames_of(wanted * 255)).max() <= 0.5 + 1e-2


def test_half_precision_stays_near_full_precision_and_near_the_published_run(model, tiny_svd_folder, tiny_checkpoint):
    half = PoseToVideo.load(tiny_svd_folder, tiny_checkpoint, dtype=torch.float16)
    facts, tensors = golden("a")
    published = load_file(FIXTURES / "pipeline_fp16.safetensors")
    image, poses = frames_of(published["mid.image_u8_seen_by_pipeline"]), frames_of(tensors["in.pose_u8"])
    latents, wanted = (network.sample(image, poses, seed(facts["call"]["seed"]), **call_of(facts, "aug002"))
                       for network in (half, model))
    assert_close(latents, published["out.latents"][0].float(), atol=0.1, rtol=0)
    frames, exact = (decode(model.vae, video, 5).float() for video in (latents, wanted))
    assert 10 * (255**2 / (frames - exact).square().mean()).log10() > 45                  # PSNR, dB


def test_conditioning_equals_the_published_one(model, image):
    tensors = golden("a")[1]
    pixels = as_tensor(image[None])
    assert_close(clip_pixels(pixels, 224)[:, :, ::16, ::16], tensors["mid.clip_pixel_values_every16"], atol=1e-5, rtol=0)
    with torch.no_grad():
        embedding = image_embeddings(model.image_encoder, pixels)
    assert_close(embedding, tensors["mid.image_embeddings"][1:], atol=1e-5, rtol=0)       # row 0: unconditional
    assert_close(added_time_ids(7, 127, 0.02), tensors["aug002.added_time_ids"][1:])


@torch.no_grad()
def test_conditioning_never_mixes_samples(model, poses):
    pixels = as_tensor(poses[[0, 5, 9]])
    for of in (lambda x: image_embeddings(model.image_encoder, x), lambda x: image_latents(model.vae, x)):
        together = of(pixels)
        assert_close(together, torch.cat([of(pixels[i:i + 1]) for i in range(3)]), atol=1e-5, rtol=0)
        assert (together[0] - together[1]).abs().max() > 1e-3
    assert added_time_ids(10, 127, torch.tensor([0., 0.5]), batch_size=2).tolist() == [[9, 127, 0], [9, 127, 0.5]]


def test_one_tile_without_pose_equals_diffusers_svd_pipeline(tiny_svd_folder, image):
    model = PoseToVideo.load(tiny_svd_folder)                                             # a new PoseNet says nothing
    published = StableVideoDiffusionPipeline(
        vae=model.vae, image_encoder=model.image_encoder, unet=model.unet, scheduler=model.scheduler,
        feature_extractor=lambda images, **_: type("Pixels", (), {"pixel_values": clip_normalised(images)}))
    published.set_progress_bar_config(disable=True)
    wanted = published(Image.fromarray(image), height=64, width=48, num_frames=5, num_inference_steps=2, fps=7,
                       noise_aug_strength=0.02, min_guidance_scale=1.0, max_guidance_scale=3.0, generator=seed(3),
                       output_type="latent").frames[0]
    ours = model.sample(image, np.zeros((5, 64, 48, 3), np.uint8), seed(3), num_inference_steps=2,
                        guidance_scale=(1.0, 3.0), noise_aug_strength=0.02, progress=False)
    assert_close(ours, wanted, atol=ROUNDING, rtol=0)


def clip_normalised(images: torch.Tensor) -> torch.Tensor:
    """What CLIPImageProcessor does to pictures in [0, 1] when asked to normalise only."""
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    return (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def test_any_number_of_poses_gives_as_many_finite_frames(model, image, poses):
    for num_frames in (1, 3, 4, 5, 11):
        for tiles in ("published", "balanced"):
            latents = model.sample(image, poses[:num_frames], seed(), tiles=tiles, guidance_scale=1.0, **FAST)
            assert len(latents) == num_frames and latents.isfinite().all()


def test_the_reference_pose_comes_first_and_its_frame_is_not_returned(model, image, poses):
    whole = model(image, poses[:5], seed(), **FAST)
    shown = []
    rest = model(image, poses[1:5], seed(), reference_pose=poses[0], show=shown.append, **FAST)
    assert whole.dtype == np.uint8 and whole.shape == (5, 64, 48, 3)
    assert np.array_equal(rest, whole[1:]) and np.array_equal(np.concatenate(shown), rest)
    assert rest.flags.c_contiguous and all(frames.flags.c_contiguous for frames in shown)


@pytest.fixture
def guided(tiny_svd_folder, tiny_checkpoint):
    """A model that takes the moved picture, and looks at each frame by itself."""
    model = PoseToVideo.load(tiny_svd_folder, tiny_checkpoint)
    unet = model.unet.with_moved_picture()
    zero_temporal_branches(unet)
    return replace(model, unet=unet)


def test_a_new_network_leaves_the_moved_picture_as_it_is(guided, image, poses):
    moved = guided.moved_latents(image, np.broadcast_to(image, poses.shape), None)                # (F, 4, h, w)
    assert_close(moved[:1], image_latents(guided.vae, as_tensor(image[None])) * guided.vae.config.scaling_factor)
    assert_close(guided.sample(image, poses, seed(), moved=moved, **FAST), moved, rtol=0, atol=0.02)      # noise of 1/700
    assert_close(guided.sample(image, poses, seed(), **FAST), guided.sample(image, poses, seed(), moved=moved, **FAST), rtol=0, atol=1e-4)


@torch.no_grad()
def test_where_the_moved_picture_stands_still_its_latents_are_the_vaes(guided, image):
    torch.manual_seed(0)
    tiny = AutoencoderTiny(latent_channels=4, encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4).eval()
    moved = np.stack([image, image])
    moved[1, 8:16, 16:24] ^= 128                                                            # one latent's pixels, row 1, column 2
    latents = guided.moved_latents(image, moved, tiny)                                      # (2, 4, 8, 6)
    by_vae, by_tiny = guided.moved_latents(image, moved, None), scaled_latents(tiny, as_tensor(moved))
    near = torch.zeros(8, 6, dtype=torch.bool)
    near[:3, 1:4] = True                                                                    # it and its neighbours
    assert_close(latents[0], by_vae[0], rtol=0, atol=1e-4)
    assert_close(latents[1][:, ~near], by_vae[0][:, ~near], rtol=0, atol=1e-4)
    off, apart = ((each - by_tiny[1])[:, near].abs().mean() for each in (latents[1], by_vae[1]))
    assert off < 0.3 * apart                                                                # of a box, whose edge is near
    assert (by_vae - by_tiny).abs().min(dim=1).values.max() > 0.1                           # the two are not alike


def test_every_frame_is_told_of_its_own_moved_picture_in_every_tile(guided, image, poses):
    torch.nn.init.normal_(guided.unet.conv_out.weight, std=0.1, generator=seed())
    moved = guided.moved_latents(image, np.broadcast_to(image, poses.shape), None)
    other = moved.clone()
    other[-1] += 3
    before, after = (guided.sample(image, poses, seed(), moved=latents, **FAST) - latents for latents in (moved, other))
    changed = (after - before).abs().amax(dim=(1, 2, 3))
    assert len(poses) > FAST["tile_size"] and changed[:-1].max() < 1e-5 and changed[-1] > 1e-3


def test_only_what_moves_is_decoded_and_the_rest_is_the_picture(guided, image):
    moved = np.stack([image] * 3)
    moved[1:, 8:44, 8:44] ^= 128                                                            # something moves here, a head in the last frame
    latents = guided.moved_latents(image, moved, None)
    heads = np.float32([[0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [8, 8, 23, 23, 1]])
    known = KnownDetail(guided.vae, image, MovedPicture(moved, latents, heads))
    assert known.boxes == [(slice(0, 7), slice(0, 6))] * 3                                  # 1 latent around, in 8 x 6
    parts = np.concatenate([decode(guided.vae, each[None]).numpy() for each in known.parts(latents)])       # this VAE mixes frames
    whole = known.completed(parts, 0)
    assert np.array_equal(whole, np.concatenate([known.completed(parts[part], part.start) for part in (slice(0, 1), slice(1, 3))]))
    assert np.array_equal(whole[0], image) and np.array_equal(whole[1, 61:], image[61:]) and np.abs(parts[0].astype(int) - image[:56]).mean() > 20
    moving = np.s_[12:20, 12:20]
    assert np.abs(whole[1][moving].astype(int) - parts[1][moving]).max() <= 3
    given, decoded = (np.abs(frame[moving].astype(int) - moved[2][moving]).mean() for frame in (whole[2], parts[2]))
    assert given < 0.3 * decoded


def test_a_box_follows_what_moves_and_all_are_of_the_largest_ones_size():
    moves = np.zeros((3, 128, 96), bool)
    moves[0, 40:56, 40:48], moves[1, 127, 8] = True, True
    boxes = moving_boxes(moves, 8)                                                          # in 16 x 12 latents
    assert boxes[0] == (slice(4, 8), slice(4, 7))
    assert boxes[1] == (slice(12, 16), slice(0, 3))                                         # of the largest one's size, inside the frame
    assert [part.stop - part.start for part in boxes[2]] == [4, 3] and boxes[2][0].start >= 0         # where nothing moves


def test_a_decoder_that_mixes_frames_gets_one_box_for_all(guided, image, monkeypatch):
    moved = np.stack([image] * 2)
    moved[0, :8, :8] ^= 128
    moved[1, 56:, 40:] ^= 128                                                               # in the other corner
    picture = MovedPicture(moved, torch.zeros(2, 4, 8, 6), np.zeros((2, 5), np.float32))
    assert len(set(map(str, KnownDetail(guided.vae, image, picture).boxes))) == 1
    monkeypatch.setattr("mimicmotion.detail.mixes_frames", lambda vae: False)
    assert len(set(map(str, KnownDetail(guided.vae, image, picture).boxes))) == 2


@pytest.mark.parametrize("takes, given", [(True, 1), (False, 5)])
def test_moved_pictures_are_for_weights_that_take_them(model, guided, image, poses, takes, given):
    moved = torch.zeros(given, 4, image.shape[0] // 8, image.shape[1] // 8)
    with pytest.raises(ValueError, match="moved: expected .* moved pictures"):
        (guided if takes else model).sample(image, poses, seed(), moved=moved, **FAST)


def test_the_same_seed_gives_the_same_video_and_another_seed_another(model, image, poses):
    video = lambda number: model(image, poses[:3], seed(number), **FAST)
    assert np.array_equal(video(5), video(5)) and not np.array_equal(video(5), video(6))


def test_pose_net_runs_once_per_video_and_guidance_up_to_1_costs_no_second_branch(model, image, poses):
    frames, rows = [], []
    hooks = [model.pose_net.register_forward_hook(lambda module, args, output: frames.append(len(output))),
             model.unet.register_forward_hook(lambda module, args, output: rows.append(len(output[0])))]
    try:
        model.sample(image, poses[:7], seed(), guidance_scale=1.0, **FAST)
        assert sum(frames) == 7 and set(rows) == {1}
        rows.clear()
        model.sample(image, poses[:7], seed(), guidance_scale=1.5, **FAST)
        assert set(rows) == {2} and len(rows) == 2 * 3                                    # steps x tiles
    finally:
        [hook.remove() for hook in hooks]


def test_guidance_one_after_the_other_gives_the_same_latents_from_calls_of_half_the_size(model, image, poses):
    wanted = model.sample(image, poses[:6], seed(), **FAST)
    rows = []
    hook = model.unet.register_forward_hook(lambda module, args, output: rows.append(len(output[0])))
    latents = model.sample(image, poses[:6], seed(), guidance_batch=1, **FAST)
    hook.remove()
    assert_close(latents, wanted, atol=ROUNDING, rtol=0)
    assert set(rows) == {1}


def test_guidance_out_of_memory_goes_on_with_one_half_at_a_time(model, image, poses, monkeypatch, caplog):
    wanted, whole = model.sample(image, poses[:3], seed(), guidance_batch=1, **FAST), model.unet.forward

    def small(sample, *rest, **named):
        if len(sample) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(sample, *rest, **named)

    monkeypatch.setattr(model.unet, "forward", small)
    assert torch.equal(model.sample(image, poses[:3], seed(), **FAST), wanted)
    assert caplog.text.count("going on with one at a time") == 1


def test_skipping_zero_temporal_branches_changes_nothing_but_time(tiny_svd_folder, tiny_checkpoint, image, poses,
                                                                   monkeypatch):
    model = PoseToVideo.load(tiny_svd_folder, tiny_checkpoint)
    zero_temporal_branches(model.unet)
    zero_temporal_branches(model.vae)
    assert not mixes_frames(model.vae)
    latents = model.sample(image, poses[:6], seed(), **FAST)
    frames = decode(model.vae, latents, 2)
    for module in ("pipeline", "latents"):
        monkeypatch.setattr(f"mimicmotion.{module}.is_zero_initialised", lambda block: False)
    assert_close(latents, model.sample(image, poses[:6], seed(), **FAST), atol=ROUNDING, rtol=0)
    assert (frames.int() - decode(model.vae, latents, 2).int()).abs().max() <= 1


def test_a_trained_decoder_is_never_taken_for_a_zero_initialised_one(model):
    assert mixes_frames(model.vae)


@torch.no_grad()
def test_blending_removes_the_seam_between_decoded_chunks(model):
    still = torch.randn(1, 4, 8, 6, generator=seed()).expand(16, -1, -1, -1) * 0.3       # nothing moves
    step = lambda overlap: max_step(torch.cat(list(blended_windows(model.vae, still, 8, overlap))))
    assert step(0) > 4 * max_step(decode_window(model.vae, still))                        # the seam is there
    assert step(2) < step(0) / 2 and step(4) < step(0) / 4


def max_step(video: torch.Tensor) -> float:
    """The largest mean change from one frame to the next; the ends, padded in any decoding, left out."""
    return (video[1:] - video[:-1]).abs().mean(dim=(1, 2, 3))[3:-3].max().item()


def test_windows_cover_every_frame_and_share_the_overlap():
    for num_frames in range(1, 30):
        for size, overlap in ((1, 0), (8, 0), (8, 2), (8, 7), (40, 3)):
            runs = windows(num_frames, size, overlap)
            assert set().union(*runs) == set(range(num_frames)) and max(map(len, runs)) <= size
            assert all(left.stop - right.start == overlap for left, right in zip(runs, runs[1:]))
    with pytest.raises(ValueError, match="decode_overlap: .*found 8 of 8"):
        windows(20, 8, 8)


class SmallMemory:
    """The VAE on a device with room for three frames."""

    def __init__(self, vae, calls_before: int = 0):
        self.vae, self.config, self.dtype, self.decoder = vae, vae.config, vae.dtype, vae.decoder
        self.calls_before = calls_before                                      # with room for more

    def decode(self, latents, num_frames):
        self.calls_before -= 1
        if num_frames > 3 and self.calls_before < 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.vae.decode(latents, num_frames=num_frames)


def test_decoding_out_of_memory_goes_on_with_smaller_chunks_from_where_it_was(model):
    latents = torch.randn(9, 4, 8, 6, generator=seed())
    assert torch.equal(decode(SmallMemory(model.vae), latents, 8, 2), decode(model.vae, latents, 2, 1))
    half_done = decode(SmallMemory(model.vae, 1), latents, 4, 2)
    assert torch.equal(half_done[:2], decode(model.vae, latents[:4], 4)[:2])
    assert torch.equal(half_done[3:], decode(model.vae, latents[2:], 2, 1)[1:])          # frame 2 is blended


@pytest.mark.parametrize("change, words", [
    (dict(image=np.zeros((60, 48, 3), np.uint8)), "image: expected the poses' size 64x48 .found 60x48"),
    (dict(image=np.zeros((64, 48, 3), np.float32)), r"image: expected uint8 RGB \(H, W, 3\) .found float32"),
    (dict(poses=np.zeros((0, 64, 48, 3), np.uint8)), r"poses: expected uint8 RGB \(F, H, W, 3\)"),
    (dict(image=np.zeros((70, 41, 3), np.uint8), poses=np.zeros((2, 70, 41, 3), np.uint8)),
     "height, width: must be multiples of 16 .found 70x41.: use 64x32 or 80x48"),
    (dict(num_inference_steps=0), "num_inference_steps: expected at least 1"),
    (dict(tile_overlap=0), "tile_overlap: expected 1 to .*found 0"),
])
def test_what_cannot_work_is_refused_before_any_work(model, image, poses, change, words):
    call = {"image": image, "poses": poses[:4], "generator": seed(), "progress": False, **change}
    with pytest.raises(ValueError, match=words):
        model(**call)


def test_damaged_weights_end_in_words_not_in_black_frames(tiny_svd_folder, tiny_checkpoint, image, poses):
    model = PoseToVideo.load(tiny_svd_folder, tiny_checkpoint)
    with torch.no_grad():
        model.unet.conv_out.bias[0] = torch.nan
    with pytest.raises(ValueError, match="latents: expected finite values .*float32"):
        model.sample(image, poses[:3], seed(), **FAST)
