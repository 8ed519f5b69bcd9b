"""The Stable Video Diffusion UNet with one more input: pose features, added to what its first convolution gives."""
import functools

import torch
from diffusers import UNetSpatioTemporalConditionModel
from einops import rearrange
from torch import Tensor, nn


class PosedConv2d(nn.Conv2d):
    """The UNet's first convolution. Channels beyond `in_channels` are pose features, added to its output.

    The features travel as extra channels of the input, so nothing is stored on the module between calls: safe under
    gradient checkpointing, under torch.compile(fullgraph=True) and when one module serves several threads.
    """

    def forward(self, x: Tensor) -> Tensor:
        features = super().forward(x[:, :self.in_channels])                   # (B*F, C0, h, w)
        if x.shape[1] == self.in_channels:
            return features
        return features + x[:, self.in_channels:].to(features.dtype)


class PoseUNet(UNetSpatioTemporalConditionModel):
    """diffusers' SVD UNet, same parameter names, with `pose_latents` added after `conv_in` (MimicMotion §3.2).

    They are added once, before conv_in's output is stored as the first skip connection. No pose is the plain SVD UNet.
    """

    @functools.wraps(UNetSpatioTemporalConditionModel.__init__)               # load_config reads the signature
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        plain = self.conv_in
        self.conv_in = PosedConv2d(plain.in_channels, plain.out_channels, plain.kernel_size, padding=plain.padding)
        self.conv_in.weight, self.conv_in.bias = plain.weight, plain.bias

    def forward(self, sample: Tensor, timestep: Tensor | float, encoder_hidden_states: Tensor, added_time_ids: Tensor,
                pose_latents: Tensor | None = None, return_dict: bool = True):
        """sample: (B, F, in, h, w); timestep: scalar or (B,), 0.25 ln sigma; encoder_hidden_states: (B, 1, D);
        added_time_ids: (B, 3) fps - 1, motion bucket, noise augmentation; pose_latents: (B*F, C0, h, w) or None."""
        if pose_latents is not None:
            pose = rearrange(pose_latents, "(b f) c h w -> b f c h w", b=len(sample))
            sample = torch.cat([sample, pose.to(sample.dtype)], dim=2)        # (B, F, in + C0, h, w)
        return super().forward(sample, timestep, encoder_hidden_states, added_time_ids, return_dict=return_dict)
