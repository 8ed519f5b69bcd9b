"""Fréchet distances against their closed form, intervals against simulation, agreement against known tables."""
import numpy as np
import pytest
from scipy import linalg

from motionbench.statistics import detectable_share, difference_interval, holm, mean_interval, set_interval
from motionbench.network_metrics import frechet_of_clips, resized, segments, spread_frames
from t2m.evaluation import frechet_distance
from motionbench.judges import cohens_kappa, confusion


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def rows_with(mean, covariance, num_rows, rng):
    """Rows (N, D) whose sample mean and covariance are exactly these."""
    rows = rng.standard_normal((num_rows, len(mean)))
    rows -= rows.mean(axis=0)
    whitened = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T
    return whitened @ np.linalg.cholesky(covariance).T + mean


def test_the_frechet_distance_of_commuting_gaussians_is_the_closed_form(rng):
    turn = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    a, b = rng.uniform(0.2, 3, 5), rng.uniform(0.2, 3, 5)                               # variances along the same axes
    means = rng.standard_normal((2, 5))
    x, y = (rows_with(mean, turn @ np.diag(variances) @ turn.T, 40, rng) for mean, variances in zip(means, (a, b)))
    wanted = ((means[0] - means[1]) ** 2).sum() + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert frechet_distance(x, y) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("num_rows, num_features", [(60, 6), (7, 30), (25, 25)])
def test_the_frechet_distance_is_that_of_the_matrix_square_root(num_rows, num_features, rng):
    """Also with fewer rows than features, where covariances are singular and the square root only just exists."""
    x = rng.standard_normal((num_rows, num_features)) @ rng.standard_normal((num_features, num_features))
    y = 1.5 * rng.standard_normal((num_rows + 3, num_features)) + 0.3
    c1, c2 = np.cov(x.T), np.cov(y.T)
    root = np.trace(np.real(linalg.sqrtm(c1 @ c2 + 1e-12 * np.eye(num_features))))
    wanted = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(c1) + np.trace(c2) - 2 * root
    assert frechet_distance(x, y) == pytest.approx(wanted, rel=1e-3)


def test_a_set_is_at_no_distance_from_itself_in_any_order(rng):
    x = rng.standard_normal((20, 50))
    assert frechet_distance(x, x[::-1]) == pytest.approx(0, abs=1e-9)
    assert np.isnan(frechet_distance(x[:1], x))
    with pytest.raises(ValueError, match="features"):
        frechet_distance(x, x[:, :3])


def test_a_set_without_clips_or_with_few_rows_says_so(rng):
    assert frechet_of_clips([]).note == "no clip could be measured"
    clips = [{"video": rng.standard_normal((3, 8)), "truth": rng.standard_normal((3, 8))} for _ in range(2)]
    assert "fewer rows than features" in frechet_of_clips(clips).note
    assert frechet_of_clips(clips * 3).note == "6 clips, 18 rows of 8 features"
    broken = frechet_of_clips([*clips, {"video": np.full((3, 8), np.nan), "truth": clips[0]["truth"]}])
    assert np.isnan(broken.value) and broken.note.startswith("features of 1 of 3 clips are not finite")
    with pytest.raises(ValueError, match="features: expected finite numbers .found 8 that are not."):
        frechet_distance(np.ones((4, 8)), [[np.inf] * 8] + [[0.0] * 8] * 3)


def test_segments_cover_every_frame_once_and_fill_up_with_the_last():
    video = np.arange(20)[:, None, None, None] * np.ones((1, 2, 2, 3), int)
    assert segments(video)[..., 0, 0, 0].tolist() == [list(range(16)), [*range(16, 20), *[19] * 12]]
    assert spread_frames(video, 5)[:, 0, 0, 0].tolist() == [0, 5, 10, 14, 19]
    assert len(spread_frames(video[:3], 5)) == 3


def test_resampling_keeps_flat_pictures_and_does_not_alias(rng):
    assert np.allclose(resized(np.full((1, 40, 24, 3), 77, np.uint8), 16), 77)
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 200                                                             # finer than the result can show
    assert resized(stripes, 15)[0, 2:-2, 2:-2].std() < 3


def test_the_intervals_hold_the_true_mean_about_95_times_in_100():
    """300 simulated benchmarks each; 95 % +- 2.5 standard errors of the simulation is 91.9 % to 98.1 %."""
    rng = np.random.default_rng(1)
    for draw, true, count in ((lambda n: rng.gamma(4, 5, n), 20, 40), (lambda n: rng.random(n) < 0.7, 0.7, 40)):
        held = [found.low <= true <= found.high for found in (mean_interval(draw(count)) for _ in range(300))]
        assert 0.915 <= np.mean(held) <= 0.985, np.mean(held)


def test_twenty_successes_of_twenty_are_no_certainty():
    found = mean_interval([1.0] * 20)
    assert found.mean == 1 and 0.8 < found.low < 0.9 and found.high == 1
    assert np.isnan(mean_interval([0.25, 0.25, 0.25]).low)                               # equal values show no scatter


def test_unknown_values_do_not_count_and_too_few_have_no_interval():
    found = mean_interval([20.0, np.nan, 22.0])
    assert found.mean == 21 and found.count == 2 and np.isnan(found.low)
    assert mean_interval([np.nan]).count == 0 and np.isnan(mean_interval([]).mean)
    clean, with_gaps = [20.0, 21.0, 25.0, 30.0], [20.0, np.nan, 21.0, 25.0, 30.0]
    assert mean_interval(clean) == mean_interval(with_gaps)


def test_pairing_the_clips_sees_a_small_gain_that_separate_intervals_do_not(rng):
    theirs = rng.normal(25, 5, 60)                                                       # clips differ much
    ours = theirs + rng.normal(0.5, 0.4, 60)                                             # from row to row little
    gain = difference_interval(ours, theirs)
    assert gain.low > 0 and mean_interval(ours).low < mean_interval(theirs).high
    assert difference_interval([1.0, 0.0, 1.0, 1.0] * 5, [1.0, 0.0, 0.0, 1.0] * 5).mean == pytest.approx(0.25)
    with pytest.raises(ValueError, match="as many"):
        difference_interval([1.0], [1.0, 2.0])


def test_crossed_people_and_motions_are_not_independent_clips():
    """4 people × 5 motions, each with an effect of its own: intervals of 20 independent clips hold the mean 6 times of 10."""
    rng, groups = np.random.default_rng(2), [(f"p{i}", f"m{j}") for i in range(4) for j in range(5)]
    held, naive, shares = [], [], []
    for _ in range(150):
        values = (rng.normal(size=(4, 1)) + rng.normal(size=(1, 5)) + rng.normal(size=(4, 5))).ravel()
        for found, kept in ((mean_interval(values, groups), held), (mean_interval(values), naive)):
            kept.append(found.low <= 0 <= found.high)
        share = mean_interval((values > 0).astype(float), groups)
        shares.append(share.low <= 0.5 <= share.high)
    assert np.mean(held) >= 0.9 and np.mean(shares) >= 0.9 and np.mean(naive) < 0.75, (np.mean(held), np.mean(naive))


def test_few_or_equal_pairs_are_never_sure():
    assert np.isnan(difference_interval([1.0], [0.0]).low) and np.isnan(difference_interval([1.0], [0.0]).p)
    assert np.isnan(difference_interval([2.0] * 9, [1.5] * 9).low)
    four = difference_interval([1.0] * 20, [0.0] * 4 + [1.0] * 16)
    assert four.p == pytest.approx(0.125) and four.low < 0 < four.high                   # McNemar, exact
    seven = difference_interval([1.0] * 20, [0.0] * 7 + [1.0] * 13)
    assert seven.p < 0.05 and seven.low > 0
    equal = difference_interval([1.0] * 20, [1.0] * 20)
    assert equal.p == 1 and equal.low < 0 < equal.high


def test_many_comparisons_are_counted():
    assert holm([0.01, np.nan, 0.04, 0.03]) == pytest.approx([0.03, np.nan, 0.06, 0.06], nan_ok=True)


def test_the_stated_power_is_that_of_the_simulation():
    rng, share = np.random.default_rng(0), detectable_share(40)
    found = [difference_interval(rng.random(40) < share, np.zeros(40)).p < 0.05 for _ in range(300)]
    assert 0.75 <= np.mean(found) <= 0.9


def test_a_sets_interval_surrounds_its_figure_and_narrows_with_more_clips(rng):
    def interval(count):
        clips = [{"video": rng.standard_normal((4, 3)) + 1, "truth": rng.standard_normal((4, 3))} for _ in range(count)]
        return set_interval(lambda drawn: frechet_of_clips(drawn).value, clips, num_draws=60)

    few, many = interval(8), interval(120)
    assert few.low < few.mean < few.high and many.low < many.mean < many.high
    assert many.high - many.low < 0.6 * (few.high - few.low)
    assert abs(many.mean - 3) < 0.8


def test_kappa_of_a_known_table_and_of_chance():
    """Cohen's own kind of example: 20 and 15 agreed of 50, by chance half: (0.7 - 0.5) / 0.5."""
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohens_kappa(first, second) == pytest.approx(0.4)
    assert cohens_kappa(first, first) == 1 and np.isnan(cohens_kappa(["yes"], ["yes"]))
    rng = np.random.default_rng(0)
    assert abs(cohens_kappa(*(rng.choice(["a", "b", "c"], 5000).tolist() for _ in range(2)))) < 0.04


def test_a_silent_judge_is_left_out_and_coarse_labels_are_compared_as_such():
    pose = ["wave_right", "wave_left", "squat", "bow", "kick_left"]
    assert cohens_kappa(pose, ["wave", "wave", "squat", "bow", ""]) == 1
    assert cohens_kappa(pose, pose[:4] + [""]) == 1


def test_the_confusion_matrix_counts_who_was_taken_for_whom():
    counts = confusion(["a", "a", "b", "b"], ["a", "b", "b", ""], ["a", "b"])
    assert counts.tolist() == [[1, 1], [0, 1]]
