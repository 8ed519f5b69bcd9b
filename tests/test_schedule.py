"""Noise levels: the published ones, the ten aligned steps, and where guidance is on."""
import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler

from mimicmotion.diffusion import ALIGN_YOUR_STEPS, aligned_levels, check_schedule, guided_levels, scheduled

SVD = EulerDiscreteScheduler(sigma_min=0.002, sigma_max=700.0, use_karras_sigmas=True, prediction_type="v_prediction",
                             timestep_type="continuous", timestep_spacing="leading")


def test_the_ten_aligned_levels_are_the_papers_and_the_network_is_told_them():
    scheduler = scheduled(SVD, 10, "align_your_steps", torch.device("cpu"))
    papers = [700, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0]
    assert scheduler.sigmas.tolist() == pytest.approx(papers)
    assert scheduler.timesteps.tolist() == pytest.approx(0.25 * np.log(ALIGN_YOUR_STEPS[:-1]), abs=1e-6)
    assert scheduler.init_noise_sigma == pytest.approx(np.hypot(700, 1))


def test_another_number_of_aligned_levels_lies_between_the_papers():
    for num_steps in (1, 4, 19):
        levels = aligned_levels(num_steps)
        assert len(levels) == num_steps + 1 and levels[0] == pytest.approx(700) and levels[-1] == 0
        assert all(high > low for high, low in zip(levels, levels[1:]))
    assert aligned_levels(19)[:-1:2] == pytest.approx(ALIGN_YOUR_STEPS[:-1])
    assert aligned_levels(19)[1] == pytest.approx((700 * 54.5) ** 0.5)


def test_karras_levels_are_untouched_and_the_given_scheduler_is_not_changed():
    before = SVD.timesteps.clone()
    fresh = scheduled(SVD, 25, "karras", torch.device("cpu"))
    assert len(fresh.timesteps) == 25 and fresh.sigmas[0] == 700 and torch.equal(SVD.timesteps, before)


def test_guidance_is_on_above_the_low_and_up_to_the_high_level():
    assert guided_levels(torch.tensor([700, 50, 3, 1, 0.5]), (1.0, 50.0)) == [False, True, True, False, False]
    assert all(guided_levels(torch.tensor([700, 0.002]), (0.0, float("inf"))))


@pytest.mark.parametrize("values, words", [
    ((0, "karras", (0, 9)), "num_inference_steps: expected at least 1"),
    ((9, "linear", (0, 9)), "schedule: expected one of karras, align_your_steps .found 'linear'"),
    ((9, "karras", (9, 9)), "guidance_sigma_min: .*found 9 and 9"),
    ((9, "karras", (-1, 9)), "guidance_sigma_min: .*found -1 and 9"),
])
def test_what_gives_no_schedule_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        check_schedule(*values)
