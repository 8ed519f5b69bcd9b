"""What one training step computes: the denoising loss of an exemplar clip, plus a share of that of a prior clip."""
from __future__ import annotations

from functools import partial

import torch
from diffusers.models.resnet import ResnetBlock2D, TemporalConvLayer
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

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
