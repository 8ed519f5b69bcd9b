"""The measures of MotionBench against oracles: known errors, published figures, constructed people and colours."""
import numpy as np
import pytest

from dwpose import skeleton as coco
from dwpose.skeleton import BODY, HANDS, Skeleton
from finer_scale import rescale
from motionbench.cells import PHRASINGS
from motionbench.picture import ciede2000, delta_e, flicker, psnr, region_masks, REGIONS, ssim
from motionbench.pose import pck, person_height
from demo.measures import contact_sheets, SheetRow
from demo.motion_measures import broken_skeleton, CANVAS, frame_lengths, limb_lengths, puppet
from synthetic.captions import caption
from synthetic.clips import sample_clip
from synthetic.motions import KINDS, sides_of


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def video_of(rng, num_frames=3, size=(48, 40)):
    return rng.integers(0, 200, (num_frames, *size, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def clip():
    return sample_clip(10**6 + 5, kind="wave", num_frames=3)


def test_a_constant_error_of_five_levels_is_34_decibels(rng):
    truth = video_of(rng)
    assert psnr(truth + 5, truth) == pytest.approx(20 * np.log10(255 / 5), abs=1e-4)


def test_psnr_and_ssim_equal_those_of_scikit_image():
    """What scikit-image 0.26.0 gives: peak_signal_noise_ratio(truth, video), and structural_similarity per frame with
    gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=-1, data_range=255."""
    y, x, channel, frame = np.meshgrid(np.arange(48), np.arange(40), np.arange(3), np.arange(2), indexing="ij")
    waves = 70 * np.sin(0.31 * x + channel + frame) * np.cos(0.23 * y - 0.5 * channel) + 30 * np.sin(1.7 * x + 0.9 * y)
    truth = (120 + waves).astype(np.uint8)                                              # (48, 40, 3, 2)
    error = 18 * np.sin(2.1 * x + 1.3 * y * (channel + 1) + frame) - 6 * channel
    video = np.clip(truth.astype(int) + error, 0, 255).astype(np.uint8)
    video, truth = np.moveaxis(video, -1, 0), np.moveaxis(truth, -1, 0)                 # (2, 48, 40, 3)
    assert psnr(video, truth) == pytest.approx(24.577678859763466, abs=1e-5)
    assert ssim(video[:1], truth[:1]) == pytest.approx(0.9051612682675044, abs=1e-9)
    assert ssim(video[1:], truth[1:]) == pytest.approx(0.9051660233971899, abs=1e-9)


def test_a_perfect_video_has_the_best_of_every_score(clip):
    assert psnr(clip.frames, clip.frames) == 100
    assert ssim(clip.frames, clip.frames) == pytest.approx(1)
    assert flicker(clip.frames, clip.frames) == 0
    assert delta_e(clip.frames, clip.frames, clip.skeleton) == dict.fromkeys(REGIONS, 0.0)
    assert pck(clip.skeleton, clip.skeleton) == pck(clip.skeleton, clip.skeleton, HANDS) == 1


def test_flicker_sees_what_changes_between_frames_and_nothing_that_stays(rng):
    truth = video_of(rng, num_frames=4)
    assert flicker(truth + 9, truth) == 0
    blinking = truth.copy()
    blinking[1::2] += 6
    assert flicker(blinking, truth) == 6


def test_videos_that_do_not_belong_together_are_refused(rng):
    truth = video_of(rng)
    with pytest.raises(ValueError, match="expected two of"):
        psnr(truth[:1], truth)
    with pytest.raises(ValueError, match="uint8"):
        ssim(truth.astype(np.float32), truth.astype(np.float32))


@pytest.mark.parametrize("first, second, difference", [            # Sharma, Wu and Dalal (2005), table 1
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425), ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
    ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082), ((50, -1, 2), (50, 0, 0), 2.3669),
    ((50, 2.5, 0), (73, 25, -18), 27.1492), ((50, 2.5, 0), (61, -5, 29), 22.8977), ((50, 2.5, 0), (58, 24, 15), 19.4535),
    ((63.0109, -31.0961, -5.8663), (62.8187, -29.7946, -4.0864), 1.2630),
    ((90.8027, -2.0831, 1.441), (91.1528, -1.6435, 0.0447), 1.4441),
    ((50, 2.49, -0.001), (50, -2.49, 0.001), 7.1792), ((50, -0.001, 2.49), (50, 0.001, -2.49), 4.8045),
    ((50, -40, 4), (50, 40, -4), 52.2118), ((50, -40, 15), (50, 20, -7.5), 41.2688),   # opposite hues, by the paper's equations
])
def test_colour_differences_equal_the_published_ones(first, second, difference):
    assert ciede2000(np.array(first), np.array(second)) == pytest.approx(difference, abs=5e-5)
    assert ciede2000(np.array(second), np.array(first)) == pytest.approx(difference, abs=5e-5)


def test_repainting_a_region_is_found_in_that_region_alone(clip):
    for name in REGIONS:
        repainted = clip.frames.copy()
        for index, frame in enumerate(repainted):
            frame[region_masks(clip.skeleton, index)[name]] = (0, 255, 0)
        found = delta_e(repainted, clip.frames, clip.skeleton)
        assert found.pop(name) > 20
        assert max(found.values()) < 5, f"{name} leaks into {found}"


def test_regions_lie_on_the_person_and_not_on_the_background(clip):
    empty = clip.character.room.picture(clip.size)
    for index, frame in enumerate(clip.frames):
        on_person = np.abs(frame.astype(int) - empty).max(axis=-1) > 8
        for name, mask in region_masks(clip.skeleton, index).items():
            assert mask.any() and on_person[mask].mean() > 0.9, name


def test_pck_counts_points_within_a_share_of_the_height():
    keypoints = np.zeros((1, 133, 3))
    keypoints[0, BODY] = np.column_stack([np.full(17, 50.0), np.linspace(10, 110, 17), np.ones(17)])
    truth = Skeleton(keypoints, (200, 100), fps=10)
    assert person_height(truth) == pytest.approx(100)
    moved = keypoints.copy()
    moved[0, :8, 0] += 4.9                      # inside 5 % of 100 pixels
    moved[0, 8:12, 0] += 5.1                    # outside
    moved[0, 12, 2] = 0.29                      # not sure enough
    assert pck(Skeleton(moved, (200, 100), fps=10), truth) == pytest.approx(12 / 17)


def test_pck_asks_only_for_points_that_are_truly_visible():
    keypoints = np.zeros((2, 133, 3))
    keypoints[:, BODY] = (30, 40, 1)
    keypoints[:, coco.LEFT_ANKLE] = (30, 90, 1)
    keypoints[:, coco.NOSE] = (-3, 5, 1)        # outside the canvas
    truth = Skeleton(keypoints, (100, 100), fps=10)
    found = keypoints.copy()
    found[:, coco.NOSE] = found[:, HANDS] = 0
    assert pck(Skeleton(found, (100, 100), fps=10), truth) == 1
    assert np.isnan(pck(truth, truth, HANDS))


def test_a_video_without_hands_scores_zero_for_hands(clip):
    assert pck(clip.skeleton.without_hands(), clip.skeleton, HANDS) == 0
    assert pck(clip.skeleton.without_hands(), clip.skeleton, BODY) == 1


def test_rescaled_limbs_in_the_image_plane_are_as_long_as_the_references():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        (reference, _), (driver, in_plane) = puppet(1, rng), puppet(12, rng)
        result, wanted = rescale(driver, reference), np.broadcast_to(limb_lengths(reference), in_plane.shape)
        np.testing.assert_allclose(limb_lengths(result)[in_plane], wanted[in_plane], rtol=1e-5)
        assert (limb_lengths(result)[~in_plane] < 0.96 * wanted[~in_plane]).all()
        np.testing.assert_allclose(frame_lengths(result) - frame_lengths(reference), 0, atol=1e-3)


def test_puppets_differ_in_build_so_that_rescaling_has_work_to_do():
    lengths = np.stack([limb_lengths(puppet(1, np.random.default_rng(seed))[0])[0] for seed in range(20)])
    assert (lengths.std(axis=0) / lengths.mean(axis=0) > 0.1).all()
    np.testing.assert_allclose(lengths[:, ::2], lengths[:, 1::2], rtol=1e-5)


def test_broken_skeletons_break_in_every_way_and_never_the_rescaling():
    collapsed = outside = empty = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        driver, reference = broken_skeleton(2, rng), broken_skeleton(1, rng)
        assert np.isfinite(rescale(driver, reference).keypoints).all(), f"seed {seed}"
        body = driver.xy[:, BODY]
        collapsed += bool(np.ptp(body[..., 0]) == 0)
        outside += bool((body > max(CANVAS)).any())
        empty += bool((driver.confidence[1] == 0).all())
    assert min(collapsed, outside, empty) >= 3


def test_phrasings_are_many_distinct_and_ask_for_motions_that_exist():
    assert len(PHRASINGS) >= 48 and sum(phrasing.side is not None for phrasing in PHRASINGS) >= 24
    assert len({phrasing.text.lower() for phrasing in PHRASINGS}) == len(PHRASINGS)
    assert len({kind for phrasing in PHRASINGS for kind in phrasing.kinds}) >= 24
    for phrasing in PHRASINGS:
        assert set(phrasing.kinds) <= set(KINDS), phrasing
        assert phrasing.side is None or all(phrasing.side in sides_of(kind) for kind in phrasing.kinds), phrasing
        words = set(phrasing.text.lower().replace("-", " ").replace(",", "").replace(".", "").split())
        assert phrasing.side is None or phrasing.side in words, phrasing


def test_a_contact_sheet_shows_the_worst_frame(rng):
    truth = video_of(rng, num_frames=5)
    generated = truth.copy()
    generated[3] = 255
    row = SheetRow("clip", truth[0], truth, truth, generated)
    assert row.worst == 3
    assert all((picture == 255).all() == (name == "generated" and index > 3)
               for index, (name, picture) in enumerate(row.cells()))
    sheets = contact_sheets([row] * 7)
    assert len(sheets) == 2 and sheets[0].shape[0] == 6 * sheets[1].shape[0]


def test_no_phrasing_is_a_caption_of_the_templates(rng):
    def bare(text):
        return "".join(letter for letter in text.lower() if letter.isalpha())

    texts = {bare(phrasing.text) for phrasing in PHRASINGS}
    captions = {bare(caption(kind, side, int(rng.integers(1, 4)), rng))
                for kind in KINDS for side in sides_of(kind) or (None,) for _ in range(100)}
    assert len(captions) > 1000 and not texts & captions
