"""MusePose's three networks from diffusers' classes, and what they attend to.

Parameter names are diffusers'; `checkpoint.py` maps the published ones. Four things differ from the plain classes:
the motion modules normalise frame by frame, poses are added after conv_in, self-attention reads the reference, and
motion modules always have 32 groups.

Everything a call attends to is an argument of that call, never the state of a layer: features of another picture or of
an earlier batch cannot be left behind. The attention processors go where diffusers keeps them, so no block is copied.
"""
from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from diffusers import UNet2DConditionModel, UNetMotionModel
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from einops import rearrange
import torch
from torch import nn, Tensor
from torch.nn import functional

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
            for block in module.transformer_blocks:
                block.attn1.set_processor(MotionAttention())
                block.attn2.set_processor(MotionAttention())
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


# ----------------------------------------------------------------------------------------------------- attention

PORTION = 16 << 20              # bytes of the queries, keys and values of rows worked on at a time


@dataclass(frozen=True, eq=False)
class Context:
    """What the samples of a call attend to, drawn from what there is in one video or one training batch."""
    tokens: Tensor                                  # (T, 1, D), of the image encoder
    asked: tuple[int, ...]                          # per sample, its row of `tokens`
    features: dict[str, Tensor] = field(default_factory=dict)       # block name -> (R, N, C), of the reference network
    readers: tuple[int | None, ...] = ()            # per sample, its row of `features`; None reads nothing
    known: dict[tuple[str, str], object] = field(default_factory=dict)      # found once, while no gradient is wanted

    def of(self, asked: tuple[int, ...], readers: tuple[int | None, ...]) -> Context:
        """The same for other samples; what was found once is shared."""
        return replace(self, asked=asked, readers=readers)

    def answers(self, name: str, attention: Attention) -> Tensor:
        """The cross-attention's output, (B, 1, C). Attention over one key is that key's value, whatever is asked."""
        return self._once(("token", name), lambda: attention.to_out[0](attention.to_v(self.tokens)))[list(self.asked)]

    def keys_and_values(self, name: str, attention: Attention) -> tuple[Tensor, Tensor]:
        """Of the reference features, (R, N, C) each."""
        features = self.features[name]
        return self._once(("reference", name), lambda: (attention.to_k(features), attention.to_v(features)))

    def _once(self, key: tuple[str, str], find):
        if torch.is_grad_enabled():
            return find()
        if key not in self.known:
            self.known[key] = find()
        return self.known[key]


class ReadingAttention:
    """Self-attention of the denoiser: each frame also attends to its sample's reference features (fusion "full").

    Where we leave the published code: it projects the features for every frame, works out the unconditional half of
    the guidance twice, and keeps the features in float16 also in float32 runs.
    """

    def __init__(self, name: str):
        self.name = name

    def __call__(self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
                 attention_mask: Tensor | None = None, context: Context | None = None) -> Tensor:
        parts = []
        for row, own in zip(context.readers, hidden_states.chunk(len(context.readers))):
            kept = () if row is None else (known[row] for known in context.keys_and_values(self.name, attention))
            parts += self_attention(attention, own, *kept)
        return joined(parts)


class MotionAttention:
    """Self-attention over time of a motion module, its places in portions."""

    def __call__(self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
                 attention_mask: Tensor | None = None) -> Tensor:
        return joined(list(self_attention(attention, hidden_states)))


class WritingAttention:
    """Self-attention of the reference network: puts what it attends to into the call's `written`."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
                 attention_mask: Tensor | None = None, context: Context | None = None,
                 written: dict[str, Tensor] | None = None) -> Tensor:
        written.setdefault(self.name, hidden_states)            # gradient checkpointing comes here a second time
        return joined(list(self_attention(attention, hidden_states)))


class TokenAttention:
    """Cross-attention over the picture's single token, which has one answer per sample and layer."""

    def __init__(self, name: str):
        self.name = name

    def __call__(self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
                 attention_mask: Tensor | None = None, context: Context | None = None,
                 written: dict[str, Tensor] | None = None) -> Tensor:
        answers = context.answers(self.name, attention)                       # (B, 1, C)
        return answers.repeat_interleave(len(hidden_states) // len(answers), dim=0)     # (B*F, 1, C), for all places


class IdleNorm(nn.LayerNorm):
    """A norm that keeps its place in the checkpoint: it would prepare a query of `TokenAttention`, which asks nothing."""

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden


def attended(attention: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Multi-head attention of (B, N, C) queries over (B, M, C) keys, (B, N, C)."""
    heads = [x.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for x in (query, key, value)]     # (B, heads, N, c)
    return functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)


def self_attention(attention: Attention, hidden: Tensor, *kept: Tensor) -> Iterator[Tensor]:
    """Rows (B, N, C) over themselves and, if given, the reference's key and value (N, C); a few rows at a time.

    Rows do not mix, so only those few ever have queries, keys and values in memory.
    """
    for some in hidden.split(max(1, PORTION // (4 * hidden[0].nbytes))):
        query, *own = (layer(some) for layer in (attention.to_q, attention.to_k, attention.to_v))
        if kept:
            own = [torch.cat([seen, known.expand(len(some), -1, -1)], dim=1) for seen, known in zip(own, kept)]   # (b, 2N, C)
        yield attention.to_out[0](attended(attention, query, *own))


def joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def spatial_blocks(network: nn.Module) -> Iterator[tuple[str, BasicTransformerBlock]]:
    """The transformer blocks over places, by name; those over time are left out."""
    for name, block in network.named_modules():
        if isinstance(block, BasicTransformerBlock) and not is_motion(name):
            yield name, block


def prepare(network: nn.Module, reader: type) -> None:
    """Make a new network's spatial blocks attend by the `context` of a call. reader: of the self-attentions."""
    for name, block in spatial_blocks(network):
        block.attn1.set_processor(reader(name))
        block.attn2.set_processor(TokenAttention(name))
        block.norm2 = IdleNorm(block.norm2.normalized_shape)
