"""The catalogue: known values, libraries' values, damage of rising strength, and clips that cannot be measured."""
from dataclasses import replace

import numpy as np
import pytest

import degrade
from dwpose import skeleton as coco
from dwpose.skeleton import BODY, Skeleton
from benchmarks.motion_score import truth
from motionbench.cells import MOTIONS, person
from motionbench.judge_pose import smaller
from motionbench.measuring import catalogue
from motionbench.picture import colour_drift, l1, psnr, seam, ssim, tile_borders
from motionbench.metrics import ClipCase, Metric, nobody, Score
from motionbench.pose import foot_slide, hand_presence, jitter, mean_error, oks, pck_torso, torso
from synthetic.clips import sample_clip

SIZE, FPS, NUM_FRAMES = (128, 80), 10.0, 20


@pytest.fixture(scope="module")
def metrics() -> dict[str, Metric]:
    return {metric.name: metric for metric in catalogue()}


@pytest.fixture(scope="module")
def case() -> ClipCase:
    """A perfect clip: the true video, in which everything was detected where it is."""
    clip = sample_clip(10**6 + 42, kind="march", num_frames=NUM_FRAMES, fps=FPS, size=SIZE)
    keypoints = clip.skeleton.keypoints.copy()
    keypoints[..., 2] = 1
    skeleton = Skeleton(keypoints, SIZE, FPS)
    return ClipCase("00_march", "00", "march", FPS, clip.frames, clip.frames, skeleton, skeleton, clip.reference, commanded=skeleton,
                    tile_borders=tile_borders(NUM_FRAMES, 8, 3, "balanced"), making_seconds=6.0, peak_memory=2**30)


def figure(keypoints=None, num_frames=1, size=(200, 200)):
    """Somebody upright with a torso diagonal of 50 pixels, all body points seen, hands and face not."""
    points = np.zeros((num_frames, 133, 3))
    points[:, BODY] = (100, 100, 1)
    points[:, coco.LEFT_SHOULDER, :2], points[:, coco.RIGHT_SHOULDER, :2] = (115, 60), (85, 60)
    points[:, coco.LEFT_HIP, :2], points[:, coco.RIGHT_HIP, :2] = (115, 100), (85, 100)
    points[:, coco.LEFT_ANKLE, :2], points[:, coco.RIGHT_ANKLE, :2] = (115, 180), (85, 180)
    points[:, coco.NOSE, :2] = (100, 20)
    return Skeleton(points, size, fps=10)


def moved(skeleton, joints, by):
    keypoints = skeleton.keypoints.copy()
    keypoints[:, joints, :2] += by
    return replace(skeleton, keypoints=keypoints)


# ---------------------------------------------------------------- pose

def test_pck_is_counted_within_a_tenth_of_the_torso():
    truth = figure()
    assert torso(truth) == pytest.approx(50)
    assert pck_torso(moved(truth, [coco.NOSE, coco.LEFT_WRIST], (4.9, 0)), truth) == 1
    assert pck_torso(moved(truth, [coco.NOSE, coco.LEFT_WRIST], (5.1, 0)), truth) == pytest.approx(15 / 17)
    assert np.isnan(pck_torso(truth, truth, coco.HANDS))


def test_oks_of_one_moved_joint_is_its_formula():
    """The box of the commanded points is 30 x 160 pixels; COCO's sigma of the nose is 0.026."""
    truth, area = figure(), 0.53 * 30 * 160
    found = moved(truth, coco.NOSE, (6, 8))
    wanted = (16 + np.exp(-100 / (2 * area * (2 * 0.026) ** 2))) / 17
    assert oks(found, truth) == pytest.approx(wanted, rel=1e-6)
    assert oks(truth, truth) == 1 and oks(nobody(1, (200, 200), 10), truth) == 0


def test_the_mean_error_is_in_torsos_whatever_the_persons_size():
    truth = figure()
    assert mean_error(moved(truth, BODY, (3, 4)), truth) == pytest.approx(0.1)
    double = replace(truth, keypoints=truth.keypoints * (2, 2, 1), size=(400, 400))
    assert mean_error(moved(double, BODY, (6, 8)), double) == pytest.approx(0.1)


def test_jitter_is_the_third_difference_and_even_acceleration_has_none():
    falling, jolted = figure(num_frames=8), figure(num_frames=8)
    falling.keypoints[:, BODY, 1] += 0.5 * np.arange(8)[:, None] ** 2
    assert jitter(falling) == pytest.approx(0, abs=1e-4)
    jolted.keypoints[:, BODY, 0] += (np.arange(8) ** 3 / 6)[:, None]                     # third difference: 1 pixel
    assert jitter(jolted) == pytest.approx(1 / 50 * 10**3, rel=1e-4)


def test_feet_slide_only_where_the_commanded_ones_stand():
    truth = figure(num_frames=5)
    sliding = replace(truth, keypoints=truth.keypoints.copy())
    sliding.keypoints[:, coco.LEFT_ANKLE, 0] += 2 * np.arange(5)                         # 2 pixels a frame, 50 a torso
    assert foot_slide(sliding, truth) == pytest.approx((2 + 0) / 2 / 50 * 10)
    assert foot_slide(sliding, sliding) == 0
    assert np.isnan(foot_slide(sliding, moving_feet(truth)))


def moving_feet(truth):
    keypoints = truth.keypoints.copy()
    keypoints[:, [coco.LEFT_ANKLE, coco.RIGHT_ANKLE], 0] += 2 * np.arange(len(truth))[:, None]
    return replace(truth, keypoints=keypoints)


def test_a_hand_is_present_when_half_of_its_points_are_seen():
    truth = figure(num_frames=2)
    found = replace(truth, keypoints=truth.keypoints.copy())
    found.keypoints[0, coco.LEFT_HAND][:11] = (50, 50, 1)                                # 11 of 21
    found.keypoints[1, coco.RIGHT_HAND][:10] = (50, 50, 1)
    assert hand_presence(found, truth) == pytest.approx(1 / 4)


# ---------------------------------------------------------------- pictures against the libraries

def test_psnr_ssim_and_l1_are_those_of_scikit_image_and_numpy(case):
    library = pytest.importorskip("skimage.metrics")
    truth, video = case.truth[:4], degrade.blurred(case.truth, 1.0)[:4]
    assert psnr(video, truth) == pytest.approx(library.peak_signal_noise_ratio(truth, video), abs=1e-4)
    wanted = [library.structural_similarity(a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
                                            channel_axis=-1, data_range=255) for a, b in zip(truth, video)]
    assert ssim(video, truth) == pytest.approx(np.mean(wanted), abs=1e-6)
    assert l1(video, truth) == pytest.approx(np.abs(video / 255 - truth / 255).mean(), rel=1e-5)


def test_psnr_and_ssim_are_those_of_torchmetrics(case):
    library = pytest.importorskip("torchmetrics.functional.image")
    import torch
    truth, video = case.truth[:4], degrade.tinted(case.truth, 9)[:4]
    a, b = (torch.from_numpy(frames).permute(0, 3, 1, 2).double() for frames in (video, truth))
    assert psnr(video, truth) == pytest.approx(float(library.peak_signal_noise_ratio(a, b, data_range=255.0)), abs=1e-4)
    inner = library.structural_similarity_index_measure(a, b, data_range=255.0)
    assert ssim(video, truth) == pytest.approx(float(inner), abs=2e-3)                   # it also counts padded borders


def test_dark_pixels_do_not_wrap_around():
    """In 8 bits 3 - 5 is 254: the published scripts' PSNR of 30 dB comes from there."""
    truth, video = np.full((1, 16, 16, 3), 5, np.uint8), np.full((1, 16, 16, 3), 3, np.uint8)
    assert l1(video, truth) == pytest.approx(2 / 255) and psnr(video, truth) == pytest.approx(10 * np.log10(255**2 / 4))


# ---------------------------------------------------------------- long videos

def test_borders_are_where_the_sets_of_tiles_change():
    borders = tile_borders(20, 8, 3, "balanced")
    from mimicmotion.diffusion import tile_ranges
    owners = [tuple(i for i, tile in enumerate(tile_ranges(20, 8, 3, "balanced")) if k in tile[1:]) for k in range(20)]
    assert borders == tuple(k for k in range(2, 20) if owners[k] != owners[k - 1]) and len(borders) >= 3
    assert tile_borders(8, 8, 3, "balanced") == ()


def test_a_seam_is_the_excess_change_at_its_border_and_motion_is_none():
    steps = np.zeros((12, 8, 8, 3), np.uint8) + 40
    steps[6:] += 10
    assert seam(steps, (6,)) == pytest.approx(10) and seam(steps, (3,)) == 0
    even = np.arange(12, dtype=np.uint8)[:, None, None, None] * 5 + np.zeros((12, 8, 8, 3), np.uint8)
    assert seam(even, (6,)) == 0 and np.isnan(seam(even, ()))


def test_a_constant_tint_is_no_drift_and_a_growing_one_is(case):
    still = np.repeat(case.reference[None], 8, axis=0)
    assert colour_drift(degrade.tinted(still, 20), case.reference) == pytest.approx(0, abs=1e-6)
    assert colour_drift(degrade.drifting(still, 20), case.reference) > 2
    assert colour_drift(degrade.drifting(still, 20)[::-1], case.reference) < -2


# ---------------------------------------------------------------- monotony

def damaged(case: ClipCase, damage: str, strength: float) -> ClipCase:
    rng = np.random.default_rng(3)                                                       # the same draw, scaled
    pictures = {"blur": degrade.blurred, "tint": degrade.tinted, "drift": degrade.drifting}
    skeletons = {"noise": degrade.shaken, "hide": degrade.hidden}
    if damage in pictures:
        return replace(case, video=pictures[damage](case.video, strength))
    if damage in skeletons:
        return replace(case, seen=skeletons[damage](case.seen, strength, rng))
    if damage == "seams":
        return replace(case, video=degrade.tiled(case.video, case.tile_borders, strength))
    order = degrade.shuffled_order(len(case.video), strength, rng)
    return replace(case, video=case.video[order], seen=case.seen[order])


STRENGTHS = {"blur": (0, 0.6, 1.2, 2.4), "tint": (0, 6, 15, 40), "drift": (0, 10, 25, 50), "noise": (0, 0.02, 0.06, 0.2),
             "hide": (0, 0.1, 0.4, 0.9), "shuffle": (0, 2, 6, 40), "seams": (0, 2, 6, 20)}
NOTICED = {                     # metric -> the damages it must notice, each in order of strength
    "pck": ("noise", "hide", "shuffle"), "pck_hands": ("noise", "hide"), "oks": ("noise", "hide", "shuffle"),
    "pose_error": ("noise", "shuffle"), "pape": ("noise", "shuffle"), "pck_commanded": ("noise", "hide", "shuffle"), "jitter": ("noise", "shuffle"), "foot_slide": ("noise", "shuffle"),
    "hand_presence": ("hide",), "psnr": ("blur", "tint", "shuffle"), "ssim": ("blur", "shuffle"),
    "l1": ("blur", "tint", "shuffle"), "flicker": ("shuffle", "seams"), "delta_e": ("tint", "shuffle"),
    "colour_drift": ("drift",), "seam": ("seams",),
}


@pytest.mark.parametrize("name, damage", [(name, damage) for name, damages in NOTICED.items() for damage in damages])
def test_more_damage_is_a_worse_score(name, damage, case, metrics):
    scores = [metrics[name].of(damaged(case, damage, strength)).value for strength in STRENGTHS[damage]]
    worse = np.diff(scores) * (1 if metrics[name].better == "lower" else -1)
    assert np.isfinite(scores).all() and (worse[1:] > 0).all() and worse[0] >= 0 and worse.sum() > 0, scores


@pytest.mark.parametrize("name, damage, grows", [("bone_change", "noise", True), ("dynamic_degree", "noise", True),
                                                 ("dynamic_degree", "shuffle", True)])
def test_a_diagnosis_goes_one_way_with_damage_and_is_never_called_best(name, damage, grows, case, metrics):
    strengths = STRENGTHS[damage]
    scores = [metrics[name].of(damaged(case, damage, strength)).value for strength in strengths]
    assert np.all(np.diff(scores) > 0) == grows and not metrics[name].better, scores


def test_a_still_person_has_no_movement_and_half_a_movement_has_half_the_range(case, metrics):
    still = replace(case, seen=case.seen[np.zeros(NUM_FRAMES, int)])
    assert metrics["dynamic_degree"].of(still).value == metrics["range_of_motion"].of(still).value == 0
    assert metrics["bone_change"].of(still).value == pytest.approx(0, abs=1e-6)
    half = replace(case, seen=smaller(case.seen, 0.5))
    assert 0.4 < metrics["range_of_motion"].of(half).value < 0.6 and metrics["range_of_motion"].of(case).value == pytest.approx(1)


@pytest.mark.parametrize("order", ["velocity", "acceleration"])
def test_the_frechet_distance_of_movements_grows_with_noise_and_is_large_for_still_people(order, metrics):
    """Ten people's movements, as rows: none where they are the true ones."""
    rng, metric = np.random.default_rng(0), metrics[f"frechet_{order}"]
    truths = [truth(person(number, 903), MOTIONS[number]) for number in range(10)]

    def distance(spoil):
        blank = [np.zeros((len(one), *one.size, 3), np.uint8) for one in truths]
        return metric.of_set([metric.features_of(ClipCase("", "", "", 7.0, video, video, one, spoil(one)))
                              for one, video in zip(truths, blank)]).value

    true, little, much = (distance(lambda one, torsos=torsos: degrade.shaken(one, torsos, rng)) for torsos in (0, 0.03, 0.1))
    assert 0 <= true < 1e-6 < little < much < distance(lambda one: degrade.shaken(one, 0.4, rng))
    assert distance(lambda one: one[np.zeros(len(one), int)]) > 0.1


@pytest.mark.parametrize("damage", ["blur", "tint"])
def test_the_demos_frechet_distance_grows_with_damage(damage, case, metrics):
    """Four clips: stretches of one, each to be told from the others."""
    metric, parts = metrics["fd_demo"], [slice(start, start + 5) for start in range(0, 20, 5)]
    clips = [replace(case, video=case.video[part], truth=case.truth[part]) for part in parts]
    scores = [metric.of_set([metric.features(damaged(clip, damage, strength)) for clip in clips]).value
              for strength in STRENGTHS[damage]]
    assert scores[0] == pytest.approx(0, abs=1e-6) and (np.diff(scores) > 0).all(), scores


def test_every_metric_that_can_be_measured_here_is_tried(metrics):
    here = {name for name, metric in metrics.items() if not metric.absent} - {
        "cost_seconds", "cost_memory", "fd_demo", "bone_change", "dynamic_degree", "range_of_motion", "frechet_velocity",
        "frechet_acceleration"}
    assert here - {"lpips", "fid", "fvd", "fid_vid", "clip_i", "csim"} == set(NOTICED)


# ---------------------------------------------------------------- what cannot be measured

def test_a_perfect_clip_has_the_best_scores(case, metrics):
    best = {"pck": 1, "pck_hands": 1, "oks": 1, "pose_error": 0, "foot_slide": 0, "hand_presence": 1, "psnr": 100, "ssim": 1,
            "l1": 0, "flicker": 0, "delta_e": 0, "cost_seconds": 3, "cost_memory": 1}
    found = {name: metrics[name].of(case).value for name in best}
    assert found == pytest.approx(best, abs=1e-6)


def test_a_clip_that_failed_counts_as_failed_where_a_worst_value_exists(case, metrics):
    failed = replace(case, video=None, seen=None, making_seconds=None, failure="truncated after 3 frames")
    assert metrics["pck"].of(failed) == Score(0.0, "truncated after 3 frames")
    score, black = metrics["psnr"].of(failed), np.zeros_like(case.truth)
    assert score == Score(psnr(black, case.truth), "truncated after 3 frames: counted as black frames")
    assert np.isnan(metrics["jitter"].of(failed).value) and metrics["jitter"].failed_counts == "failed clips have none"


def test_no_measure_that_compares_leaves_a_failed_clip_out_and_damage_is_never_worse_than_failing(case, metrics):
    """Else a system would gain by failing at what it does badly."""
    failed = replace(case, video=None, seen=None, failure="no file")
    compared = [metric for metric in metrics.values() if not metric.absent and not metric.of_a_set and {"truth", "skeleton"} & set(
        metric.needs) and metric.better and metric.name not in ("pose_error", "foot_slide", "flicker")]
    assert {"psnr", "ssim", "l1", "delta_e", "pck", "pck_hands", "oks", "hand_presence"} <= {metric.name for metric in compared}
    for metric in compared:
        worst = metric.of(failed).value
        for damage in NOTICED[metric.name]:
            score = metric.of(damaged(case, damage, STRENGTHS[damage][-1])).value
            assert worst >= score if metric.better == "lower" else worst <= score, (metric.name, damage, worst, score)
    clips = [replace(case, video=case.video[part], truth=case.truth[part]) for part in (slice(0, 10), slice(10, 20))]
    fd, gone = metrics["fd_demo"], replace(clips[1], video=None, failure="no file")
    whole, lacking = (fd.of_set([fd.features_of(clip) for clip in (clips[0], last)]).value for last in (clips[1], gone))
    assert fd.missing(gone) == "" and lacking > whole + 0.1
    moves, empty = metrics["frechet_velocity"], nobody(NUM_FRAMES, SIZE, FPS)
    for lost in (failed, replace(case, seen=empty)):            # nobody is to be seen: as far as a still person is
        assert moves.missing(lost) == "" and not moves.features_of(lost)["video"].any() and moves.features_of(lost)["truth"].any()
    headless = case.seen.keypoints.copy()
    headless[:, [coco.LEFT_SHOULDER, coco.RIGHT_SHOULDER]] = 0
    assert not moves.features_of(replace(case, seen=replace(case.seen, keypoints=headless)))["video"].any()


def test_nobody_in_the_video_is_a_value_with_a_reason(case, metrics):
    empty = replace(case, seen=nobody(NUM_FRAMES, SIZE, FPS))
    assert metrics["pck"].of(empty) == Score(0.0, "nobody recognised")
    assert metrics["hand_presence"].of(empty).value == 0 and np.isnan(metrics["jitter"].of(empty).value)
    assert metrics["psnr"].of(empty).value == 100


def test_what_the_run_does_not_have_is_nobodys_fault(case, metrics):
    without = replace(case, truth=None, skeleton=None, reference=None)
    for name, reason in (("psnr", "no true video"), ("pck", "no true skeleton"), ("colour_drift", "no reference picture")):
        score = metrics[name].of(without)
        assert np.isnan(score.value) and score.note == reason
    assert metrics["psnr"].of(replace(without, video=None, failure="gone")).note == "no true video"


def test_a_wrong_frame_count_or_size_is_named(case, metrics):
    short = replace(case, video=case.video[:-2])
    assert metrics["psnr"].of(short).note.startswith("the video is 18 frames of 80x128, its truth 20 frames of 80x128: counted")
    score = metrics["pck"].of(short)
    assert score.value == 0 and "its true skeleton 20 frames of 80x128" in score.note


def test_an_absent_metric_says_why_with_the_command_and_is_never_zero(case, metrics):
    fid = metrics["fid"]
    if not fid.absent:
        pytest.skip("the weights are here")
    assert "curl -L --create-dirs -o weights/metrics/inception-2015-12-05.pt https://" in fid.absent
    assert np.isnan(fid.of_set([]).value) and fid.missing(case) == fid.absent
    assert "16 evenly spaced frames" in fid.protocol and "299x299" in fid.protocol


def test_every_metric_names_its_formula_source_range_and_direction(metrics):
    for metric in metrics.values():
        assert len(metric.formula) > 20 and metric.source and (metric.better or metric.name in (
            "bone_change", "dynamic_degree", "range_of_motion")) and metric.range[0] < metric.range[1], metric.name
        assert (metric.clip is None) == metric.of_a_set or metric.absent, metric.name
    with pytest.raises(ValueError, match="either clip"):
        Metric("x", "x", "", "lower", (0, 1), "f", "s")
