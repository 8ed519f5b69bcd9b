"""MusePose's three networks from diffusers' classes: the reference network, the denoiser and the pose guider.

Parameter names are diffusers'; `checkpoint.py` maps the published ones. Four things differ from the plain classes:
the motion modules normalise frame by frame, poses are added after conv_in, self-attention reads the reference, and
motion modules always have 32 groups.
"""
from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

from diffusers import UNet2DConditionModel, UNetMotionModel
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from einops import rearrange
from torch import Tensor, nn

from musepose.attention import Context, ReadingAttention, WritingAttention, prepare

MOTION_GROUPS = 32               # of the motion modules' norms, whatever the rest of the network has
MAX_WINDOW = 128                 # frames the positions of motion modules are defined for
SHARED_KEYS = ("block_out_channels", "layers_per_block", "downsample_padding", "mid_block_scale_factor", "act_fn",
               "norm_num_groups", "norm_eps", "cross_attention_dim", "in_channels", "out_channels", "sample_size")


class PerFrameNorm(nn.GroupNorm):
    """Group norm of every frame by itself; diffusers' motion modules normalise all frames together."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, F, h, w)"""
        frames = rearrange(x, "b c f h w -> (b f) c h w")
        return rearrange(super().forward(frames), "(b f) c h w -> b c f h w", b=len(x))


class NoMotion(nn.Module):
    """In a motion module's place: single pictures pass unchanged (training stage 1)."""

    def forward(self, hidden: Tensor, *given, **named) -> Tensor:
        return hidden


class Denoiser(UNetMotionModel):
    """Stable Diffusion 1.5 over frames with motion modules, which takes poses and reference features."""

    def forward(self, noisy: Tensor, timestep: Tensor, pose_features: Tensor, context: Context) -> Tensor:
        """The predicted v, (B, F, 4, h, w).

        noisy: (B, F, 4, h, w); timestep: () or (B,); pose_features: (B*F, C0, h, w), or (F, C0, h, w) for all samples
        alike; context: of B samples.
        """
        with added(self.conv_in, pose_features):
            v = super().forward(rearrange(noisy, "b f c h w -> b c f h w"), timestep, None,
                                cross_attention_kwargs={"context": context}, return_dict=False)[0]
        return rearrange(v, "b c f h w -> b f c h w")


class ReferenceNet(UNet2DConditionModel):
    """Stable Diffusion 1.5 on the picture: only what its self-attentions see is used, so it has no output layers."""

    def __init__(self, **config):
        super().__init__(**config)
        self.conv_norm_out = None
        self.conv_out = nn.Identity()

    def forward(self, latents: Tensor, tokens: Tensor) -> dict[str, Tensor]:
        """Features by block, (B, N, C). latents: (B, 4, h, w) of pictures; tokens: (B, 1, D)."""
        written: dict[str, Tensor] = {}
        told = {"context": Context(tokens, tuple(range(len(tokens)))), "written": written}
        super().forward(latents, latents.new_zeros(len(latents)), None, cross_attention_kwargs=told)
        return written


class PoseGuider(ControlNetConditioningEmbedding):
    """Pose frames -> features of the latents' size, (N, 3, H, W) in [0, 1] -> (N, C0, h, w)."""


@contextmanager
def added(layer: nn.Module, features: Tensor) -> Iterator[None]:
    """Within the context, `features` (n, ...) are added to the layer's output (m * n, ...)."""
    def hook(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        return (output.unflatten(0, (-1, len(features))) + features.to(output.dtype)).flatten(0, 1)

    handle = layer.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def build_reference_net(config: dict) -> ReferenceNet:
    """From the config of Stable Diffusion's UNet."""
    names = inspect.signature(UNet2DConditionModel.__init__).parameters
    network = ReferenceNet(**{key: value for key, value in config.items() if key in names})
    prepare(network, WritingAttention)
    return network


def build_denoiser(config: dict, motion: bool = True) -> Denoiser:
    """From the config of Stable Diffusion's UNet. motion=False: for single pictures, without motion modules."""
    in_time = lambda kind: kind.replace("Block2D", "BlockMotion")
    shared = {key: config[key] for key in SHARED_KEYS if key in config}
    network = Denoiser(**shared, down_block_types=[in_time(kind) for kind in config["down_block_types"]],
                       up_block_types=[in_time(kind) for kind in config["up_block_types"]],
                       num_attention_heads=config["attention_head_dim"], motion_max_seq_length=MAX_WINDOW)
    for block in (*network.down_blocks, network.mid_block, *network.up_blocks):
        if not motion:
            block.motion_modules = nn.ModuleList(NoMotion() for _ in block.motion_modules)
    for module in network.modules():
        if isinstance(module, AnimateDiffTransformer3D):
            module.norm = PerFrameNorm(MOTION_GROUPS, module.in_channels, eps=1e-6)
        if isinstance(module, SinusoidalPositionalEmbedding):
            module.register_buffer("pe", module.pe, persistent=False)         # computed, never loaded
    prepare(network, ReadingAttention)
    return network


def build_pose_guider(channels: int, blocks: tuple[int, ...]) -> PoseGuider:
    """channels: of the denoiser's first layer; blocks: (16, 32, 96, 256) as published, one less of them per halving."""
    return PoseGuider(channels, block_out_channels=blocks)


def is_motion(name: str) -> bool:
    """Does this parameter of the denoiser belong to a motion module?"""
    return ".motion_modules." in name
