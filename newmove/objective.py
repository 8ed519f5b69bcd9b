"""What a training step is about: which weights are trained, how noisy its samples are, and the loss.

The paper trains the layers over time and text; the noisier a sample, the more of its loss is about motion and layout; and
the loss of an exemplar clip goes with a share of that of a prior clip.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from diffusers import DDPMScheduler
from diffusers.models.resnet import ResnetBlock2D, TemporalConvLayer
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
import torch
from torch import nn, Tensor
from torch.utils.checkpoint import checkpoint

from media.files import save_atomically
from runtime.weights import save_tensors

# ----------------------------------------------------------------------------------------------- trained weights

NAME = "customization.safetensors"
OVER_TIME = ("temp_attentions", "transformer_in")
GROUPS = {                                                      # name -> does it hold a parameter of this name?
    "all": lambda name: True,
    "cross": lambda name: "attn2" in name and keys_or_values(name),
    "self": lambda name: "attn1" in name and keys_or_values(name),
    "temporal": lambda name: any(part in name for part in OVER_TIME),
}
PAPER = ("cross", "temporal", "temp_convs")                     # 826 tensors, 570,882,176 numbers of ZeroScope


def keys_or_values(name: str) -> bool:
    """Is this a key or value projection of an attention over space? Those over time have other groups."""
    return ("to_k" in name or "to_v" in name) and not any(part in name for part in OVER_TIME)


def as_list(groups: str | Sequence[str]) -> list[str]:
    """A setting as a list of group names and substrings; one may be given by itself."""
    return [groups] if isinstance(groups, str) else list(groups)


def trained_names(names: Iterable[str], groups: str | Sequence[str]) -> list[str]:
    """The names that the groups and substrings select, in the order of `names`; ValueError for one that selects none."""
    names, groups = list(names), as_list(groups)
    if not groups:
        raise ValueError(f"trainable_modules: expected at least one of {', '.join(GROUPS)}, temp_convs (found none): "
                         "name what is trained")
    chosen = set()
    for group in groups:
        matches = GROUPS.get(group, lambda name: group and group in name)
        found = {name for name in names if matches(name)}
        if not found:
            raise ValueError(f"trainable_modules: expected {', '.join(GROUPS)}, temp_convs or a part of a weight's name "
                             f"(found {group!r}, which is in none): nothing would be trained")
        chosen |= found
    return [name for name in names if name in chosen]


def train_only(network: nn.Module, groups: str | Sequence[str]) -> list[str]:
    """Let gradients reach the chosen parameters and no others; their names."""
    chosen = trained_names((name for name, _ in network.named_parameters()), groups)
    wanted = set(chosen)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in wanted)
    return chosen


def save_trained(folder: Path, trained: dict[str, Tensor], base: Path, fingerprint: str, word: str, name: str = NAME) -> None:
    """Write the trained tensors, and the base they belong to; float32, as float16 rounds away most of what few steps change.

    fingerprint: of the base. word: what means the motion in prompts. name: of the file.
    """
    tensors = {key: tensor.detach().to("cpu", torch.float32).contiguous() for key, tensor in trained.items()}
    broken = next((key for key, tensor in tensors.items() if not tensor.isfinite().all()), None)
    if broken:
        raise ValueError(f"{folder}: expected finite weights (found inf or NaN in '{broken}'): has training diverged? "
                         "lower learning_rate")
    notes = {"format": "pt", "base": str(base), "fingerprint": fingerprint, "word": word}
    save_atomically(folder / name, lambda path: save_tensors(tensors, path, notes))


# -------------------------------------------------------------------------------------------------- noise levels

MODES = {"uniform": 0.0, "high-level": -1.0, "low-level": 1.0}      # s
AMPLITUDE = 0.5
BISECTIONS = 50                                                     # of [0, 1]: exact in float64


def tilt(mode: str) -> float:
    """The factor s of a mode, times the amplitude."""
    if mode not in MODES:
        raise ValueError(f"sampling: expected {', '.join(MODES)} (found {mode!r}): choose one")
    return AMPLITUDE * MODES[mode]


def timestep_probabilities(mode: str, num_timesteps: int = 1000) -> Tensor:
    """p(t) ~ 1 + s/2 cos(pi t / T), (T,) float64: s = -1 for high-level, noisy steps three times as likely as clean ones.

    The published code has T = 1000 in the cosine whatever the model's; here it is the model's own.
    """
    t = torch.arange(num_timesteps, dtype=torch.float64)
    weight = 1 + tilt(mode) * torch.cos(math.pi * t / num_timesteps)
    return weight / weight.sum()


def sample_timesteps(probabilities: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Timesteps of `shape`, int64, drawn from (T,) probabilities."""
    cumulative = probabilities.cumsum(0)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64) * cumulative[-1]
    return torch.searchsorted(cumulative, uniform, right=True).clamp_(max=len(probabilities) - 1)


def tilted(uniform: Tensor, mode: str) -> Tensor:
    """Numbers in [0, 1] with density 1 + s/2 cos(pi u), of uniform ones: its cumulative sum, turned round.

    For flow matching, whose noise levels are continuous.
    """
    s = tilt(mode)
    low, high = torch.zeros_like(uniform, dtype=torch.float64), torch.ones_like(uniform, dtype=torch.float64)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = middle + s / math.pi * torch.sin(math.pi * middle) < uniform
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def flow_sigmas(uniform: Tensor, mode: str, shift: float) -> Tensor:
    """Noise levels in [0, 1] for flow matching: the tilt once, or the model's own shift, never both.

    A shift of 3 or 5 is a tilt already (mean 0.68 or 0.75 against NewMove's 0.60), so `shift` counts in uniform mode only.
    """
    if mode != "uniform":
        return tilted(uniform, mode)
    return shift * uniform / (1 + (shift - 1) * uniform)


class DiffusionNoise:
    """Noise as a diffusion model is trained with: discrete timesteps; the target is what its scheduler config says."""

    def __init__(self, scheduler: DDPMScheduler, mode: str):
        self.scheduler = scheduler
        self.probabilities = timestep_probabilities(mode, scheduler.config.num_train_timesteps)
        if scheduler.config.prediction_type not in ("epsilon", "v_prediction"):
            raise ValueError("scheduler_config.json: expected prediction_type epsilon or v_prediction (found "
                             f"{scheduler.config.prediction_type}): take ZeroScope v2 or ModelScope text-to-video")

    def draw(self, generator: torch.Generator) -> Tensor:
        """A timestep, a scalar int64."""
        return sample_timesteps(self.probabilities, (), generator)

    def noised(self, latents: Tensor, noise: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy latents, target and the timestep the network is told. latents, noise: (N, ...); timestep: (N,)."""
        if self.scheduler.config.prediction_type == "v_prediction":
            target = self.scheduler.get_velocity(latents, noise, timestep)
        else:
            target = noise
        return self.scheduler.add_noise(latents, noise, timestep), target, timestep


class FlowNoise:
    """Noise as a flow-matching model is trained with: latents and noise mixed in a straight line; target noise - latents."""

    def __init__(self, num_train_timesteps: int, mode: str, shift: float):
        self.num_train_timesteps, self.mode, self.shift = num_train_timesteps, mode, shift
        tilt(mode)

    def draw(self, generator: torch.Generator) -> Tensor:
        """A noise level in [0, 1], a scalar float64."""
        return flow_sigmas(torch.rand((), generator=generator, dtype=torch.float64), self.mode, self.shift)

    def noised(self, latents: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noisy latents, target and the timestep the network is told. latents, noise: (N, ...); sigma: (N,)."""
        s = sigma.to(latents).view(-1, *[1] * (latents.ndim - 1))                        # (N, 1, ...)
        return (1 - s) * latents + s * noise, noise - latents, sigma.to(latents) * self.num_train_timesteps


# ---------------------------------------------------------------------------------------------------------- loss

PRIOR_WEIGHT = 0.5              # the paper's lambda
LAYERS = (ResnetBlock2D, TemporalConvLayer, Transformer2DModel, TransformerTemporalModel)


class CustomizationLoss(nn.Module):
    """A video network whose output is the loss per sample, so that distributed training sees all of it.

    network: UNet3DConditionModel or WanTransformer3DModel; both take (noisy, timestep, encoder_hidden_states).
    debiasing: weight of MotionDirector's anchor-frame loss (arXiv 2310.08465, section 4.2) on the exemplar; 0 = off.
    """

    def __init__(self, network: nn.Module, prior_weight: float = PRIOR_WEIGHT, debiasing: float = 0.0):
        super().__init__()
        self.network, self.prior_weight, self.debiasing = network, prior_weight, debiasing

    def forward(self, noisy: Tensor, target: Tensor, timestep: Tensor, text: Tensor, anchor: Tensor) -> Tensor:
        """The loss of each sample, (B,): the mean over the exemplar + prior_weight times the mean over the prior.

        noisy, target: (B, K, C, F, h, w), the exemplar and, where K = 2, its prior; timestep: (B, K);
        text: (B, K, L, D); anchor: (B,), the frame that debiasing takes away.
        """
        losses, exemplar = self.clip_losses(noisy, target, timestep, text)               # (B, K), (B, C, F, h, w)
        loss = losses[:, 0] + (self.prior_weight * losses[:, 1] if losses.shape[1] > 1 else 0)
        if self.debiasing:
            error = debiased(exemplar.float(), anchor) - debiased(target[:, 0].float(), anchor)
            loss = loss + self.debiasing * error.square().flatten(1).mean(1)
        return loss

    def clip_losses(self, noisy: Tensor, target: Tensor, timestep: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """The mean squared error of each clip, (B, K), and what was predicted for the exemplars (B, C, F, h, w)."""
        batch, clips = noisy.shape[:2]
        stacked = [x.transpose(0, 1).flatten(0, 1) for x in (noisy, timestep, text)]     # exemplars first: (K*B, ...)
        predicted = self.network(stacked[0], stacked[1], encoder_hidden_states=stacked[2], return_dict=False)[0]
        predicted = predicted.unflatten(0, (clips, batch)).transpose(0, 1)               # (B, K, C, F, h, w)
        return (predicted.float() - target.float()).square().flatten(2).mean(2), predicted[:, 0]


def debiased(x: Tensor, anchor: Tensor) -> Tensor:
    """sqrt(2) x - x[anchor frame]: what is common to all frames, appearance, counts less. x: (B, C, F, h, w)."""
    still = torch.stack([clip[:, frame] for clip, frame in zip(x, anchor.tolist())]).unsqueeze(2)    # (B, C, 1, h, w)
    return 2 ** 0.5 * x - still


def without_dropout(network: nn.Module) -> nn.Module:
    """The network with every dropout at 0: UNet3DConditionModel has 0.1 in its convolutions over time, NewMove none."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


def with_checkpointing(network: nn.Module) -> nn.Module:
    """The network with activations of its layers computed again on the way back: the same numbers from less memory.

    UNet3DConditionModel refuses diffusers' own switch, so its layers are wrapped here, one by one as the published code
    has it: a whole block's activations at 384x384x16 would take as much memory as all weights.
    """
    if getattr(network, "_supports_gradient_checkpointing", False):
        network.enable_gradient_checkpointing()
        return network
    for layer in checkpointed_layers(network):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    return network


def checkpointed_layers(network: nn.Module) -> list[nn.Module]:
    """The layers of UNet3DConditionModel whose inputs alone are kept."""
    return [module for module in network.modules() if isinstance(module, LAYERS)]
