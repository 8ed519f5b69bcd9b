"""The diffusion maths against its own definitions and against the scheduler that samples."""
import pytest
import torch
from diffusers import EulerDiscreteScheduler

from mimicmotion.diffusion import denoised, denoising_loss, expand, mixed_noise, noise_condition, sample_sigmas, scaled_input, velocity

SIGMAS = torch.tensor([0.02, 0.7, 5.0, 700.0])


@pytest.fixture
def clean_and_noise():
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(4, 3, 4, 5, 6, generator=generator, dtype=torch.float64),
            torch.randn(4, 3, 4, 5, 6, generator=generator, dtype=torch.float64))


def test_a_perfect_network_has_zero_loss_at_every_noise_level(clean_and_noise):
    clean, noise = clean_and_noise
    assert denoising_loss(velocity(clean, noise, SIGMAS), clean, noise, SIGMAS).max() < 1e-12


def test_the_true_velocity_denoises_to_the_clean_latents(clean_and_noise):
    clean, noise = clean_and_noise
    noisy = clean + expand(SIGMAS, clean) * noise
    torch.testing.assert_close(denoised(noisy, velocity(clean, noise, SIGMAS), SIGMAS), clean, atol=1e-6, rtol=1e-6)


def test_a_velocity_error_weighs_as_edm_says(clean_and_noise):
    """lambda(sigma) * |D - clean|^2 with lambda = (sigma^2 + 1) / sigma^2 equals the squared error of v."""
    clean, noise = clean_and_noise
    noisy = clean + expand(SIGMAS, clean) * noise
    v = velocity(clean, noise, SIGMAS) + 0.1
    error = ((denoised(noisy, v, SIGMAS) - clean) ** 2).flatten(1).mean(1) * (SIGMAS**2 + 1) / SIGMAS**2
    torch.testing.assert_close(error.float(), denoising_loss(v, clean, noise, SIGMAS).float(), rtol=1e-4, atol=1e-6)


def test_loss_keeps_samples_apart(clean_and_noise):
    clean, noise = clean_and_noise
    v = torch.zeros_like(clean)
    order = [2, 0, 3, 1]
    assert torch.equal(denoising_loss(v, clean, noise, SIGMAS)[order],
                       denoising_loss(v, clean[order], noise[order], SIGMAS[order]))


def test_input_scaling_gives_unit_variance():
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(4, 2, 4, 64, 64, generator=generator)
    clean = torch.randn(4, 2, 4, 64, 64, generator=generator)
    variance = scaled_input(clean + expand(SIGMAS, clean) * noise, SIGMAS).flatten(1).var(1)
    torch.testing.assert_close(variance, torch.ones(4), atol=0.05, rtol=0)


def test_training_and_sampling_agree_on_the_denoiser():
    """One Euler step of SVD's scheduler to sigma = 0 lands where `denoised` says, and gets `noise_condition`'s timestep."""
    scheduler = EulerDiscreteScheduler(prediction_type="v_prediction", use_karras_sigmas=True, sigma_min=0.002,
                                       sigma_max=700.0, timestep_type="continuous", timestep_spacing="leading",
                                       interpolation_type="linear", beta_schedule="scaled_linear")
    scheduler.set_timesteps(1)
    sigma = scheduler.sigmas[:1]
    torch.testing.assert_close(scheduler.timesteps[:1], noise_condition(sigma))
    generator = torch.Generator().manual_seed(2)
    noisy = torch.randn(1, 2, 4, 4, 4, generator=generator) * sigma
    v = torch.randn(1, 2, 4, 4, 4, generator=generator)
    torch.testing.assert_close(scheduler.scale_model_input(noisy, scheduler.timesteps[0]), scaled_input(noisy, sigma),
                               rtol=1e-4, atol=1e-5)
    stepped = scheduler.step(v, scheduler.timesteps[0], noisy).prev_sample
    torch.testing.assert_close(stepped, denoised(noisy, v, sigma), rtol=1e-3, atol=1e-3)


def test_sigmas_follow_their_distribution():
    generator = torch.Generator().manual_seed(3)
    normal, uniform = torch.randn(20_000, generator=generator), torch.rand(20_000, 2, generator=generator)
    logs = sample_sigmas(normal, uniform, mean=0.7, std=1.6, uniform_share=0.0).log()
    assert abs(logs.mean() - 0.7) < 0.05 and abs(logs.std() - 1.6) < 0.05
    spread = sample_sigmas(normal, uniform, mean=0.7, std=0.01, uniform_share=0.25)
    assert abs((spread > 100).float().mean() - 0.25 * 0.1524) < 0.01       # ln(7) / ln(350000) of the uniform share


def test_mixed_noise_stays_normal_and_shares_what_is_asked():
    noise = torch.randn(6, 4, 80, 80, generator=torch.Generator().manual_seed(4))
    mixed = mixed_noise(noise, 0.6)
    covariance = torch.cov(mixed.flatten(1))
    torch.testing.assert_close(covariance.diag(), torch.ones(6), atol=0.03, rtol=0)
    torch.testing.assert_close(covariance[1:, 1:][~torch.eye(5, dtype=bool)], torch.full((20,), 0.6), atol=0.03, rtol=0)
    assert torch.equal(mixed_noise(noise, 0.0), noise)
