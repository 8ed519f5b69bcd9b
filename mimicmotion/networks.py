"""The two trained networks (MimicMotion, section 3.2): SVD's UNet with pose features, and PoseNet, which makes them."""
from collections.abc import Mapping

import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionOutput
from einops import rearrange
from torch import nn, ones, Tensor

LAYERS = (               # in, out, kernel, stride: three strides of 2 go from pixels to the latent's 1/8
    (3, 3, 3, 1), (3, 16, 4, 2), (16, 16, 3, 1), (16, 32, 4, 2), (32, 32, 3, 1), (32, 64, 4, 2), (64, 64, 3, 1),
    (64, 128, 3, 1))
MOVED_STD = 0.03         # of the first weights that look at a moved picture


class PoseUNet(UNetSpatioTemporalConditionModel):
    """diffusers' SVD UNet: the same blocks and parameter names, with a `forward` that takes poses (MimicMotion §3.2).

    Poses are added once, before conv_in's output is stored as the first skip connection. Without a pose it equals
    diffusers' forward bit for bit.
    """

    @property
    def takes_moved_picture(self) -> bool:
        """Is it told, beside noise and picture, how the picture looks moved into the pose of each frame, and denoises the change to that?"""
        return takes_moved_picture(self.config)

    def with_moved_picture(self) -> "PoseUNet":
        """The same UNet, told of the moved picture too, and of no change to it yet: its output's weights are zero."""
        channels, state = self.config.out_channels, self.state_dict()
        wider = PoseUNet.from_config({**self.config, "in_channels": 3 * channels})
        told = MOVED_STD * torch.randn_like(state["conv_in.weight"][:, :channels])            # (C0, 4, 3, 3)
        state["conv_in.weight"] = torch.cat([state["conv_in.weight"], told], dim=1)
        state |= {name: torch.zeros_like(state[name]) for name in ("conv_out.weight", "conv_out.bias")}
        wider.load_state_dict(state)
        return wider.to(self.device, self.dtype)

    def forward(self, sample: Tensor, timestep: Tensor | float, encoder_hidden_states: Tensor, added_time_ids: Tensor,
                pose_latents: Tensor | None = None, deep: Tensor | None = None, return_dict: bool = True):
        """sample: (B, F, in, h, w); timestep: scalar or (B,), 0.25 ln sigma; encoder_hidden_states: (B, 1, D);
        added_time_ids: (B, 3) fps - 1, motion bucket, noise augmentation; pose_latents: (n*F, C0, h, w) of the last n
        of the batch, or None.

        deep: (B*F, C, h, w), what the last up block took in a call before: all blocks but the outermost are left out.
        With return_dict=False the result is (sample, deep).
        """
        batch_size, num_frames = sample.shape[:2]
        noise_level = torch.as_tensor(timestep, device=sample.device).expand(batch_size)
        level = self.time_proj(noise_level).to(sample.dtype)                                  # (B, C0)
        numbers = self.add_time_proj(added_time_ids.flatten()).to(sample.dtype)               # (B*3, E/3)
        told = self.time_embedding(level) + self.add_embedding(numbers.reshape(batch_size, -1))
        conditions = {"temb": told.repeat_interleave(num_frames, dim=0),                      # (B*F, E)
                      "image_only_indicator": sample.new_zeros(batch_size, num_frames)}
        tokens = {"encoder_hidden_states": encoder_hidden_states.repeat_interleave(num_frames, dim=0)}

        def run(block: nn.Module, x: Tensor, **more):
            return block(x, **conditions, **(tokens if attends(block) else {}), **more)

        x = self.conv_in(sample.flatten(0, 1))                                                # (B*F, C0, h, w)
        if pose_latents is not None:
            x = with_pose(x, pose_latents)
        skips = [x]
        for block in list(self.down_blocks)[:None if deep is None else 1]:
            x, outputs = run(block, x)
            skips += outputs
        *inner, outermost = self.up_blocks
        if deep is None:
            x = run(self.mid_block, x)
            for block in inner:
                skips, taken = skips[:-len(block.resnets)], skips[-len(block.resnets):]
                x = run(block, x, res_hidden_states_tuple=tuple(taken), upsample_size=skips[-1].shape[2:])
            deep = x
        x = run(outermost, deep, res_hidden_states_tuple=tuple(skips[:len(outermost.resnets)]))
        x = self.conv_out(self.conv_act(self.conv_norm_out(x))).unflatten(0, (batch_size, num_frames))
        return UNetSpatioTemporalConditionOutput(x) if return_dict else (x, deep)             # (B, F, 4, h, w)


def takes_moved_picture(config: Mapping) -> bool:
    """Does a UNet of this config take three pictures' latents: noise, the picture, the moved picture?"""
    return config["in_channels"] == 3 * config["out_channels"]


def size_multiple(vae: Mapping, unet: Mapping) -> int:
    """What frames' height and width must be multiples of: how far VAE and UNet of these configs shrink them together, pixels."""
    return 2 ** (len(vae["block_out_channels"]) + len(unet["block_out_channels"]) - 2)


def attends(block: nn.Module) -> bool:
    """Has this block of the UNet attention, and so takes the picture's token?"""
    return getattr(block, "has_cross_attention", False)


def with_pose(features: Tensor, pose: Tensor) -> Tensor:
    """features (B*F, C0, h, w) plus pose (n*F, C0, h, w), of the last n of the batch."""
    rest = len(features) - len(pose)                                                          # the unconditional half
    posed = features[rest:] + pose.to(features.dtype)
    return torch.cat([features[:rest], posed]) if rest else posed


class PoseNet(nn.Module):
    """Eight convolutions with SiLU and a 1x1 projection, times a learnt scale. A new one gives zeros."""

    def __init__(self, out_channels: int):
        super().__init__()
        layers = []
        for n_in, n_out, kernel, stride in LAYERS:
            layers += [nn.Conv2d(n_in, n_out, kernel, stride, padding=1), nn.SiLU()]
        self.conv_layers = nn.Sequential(*layers)
        self.final_proj = nn.Conv2d(LAYERS[-1][1], out_channels, kernel_size=1)
        self.scale = nn.Parameter(ones(1) * 2)
        self.reset_parameters()

    def reset_parameters(self):
        """He initialisation of the convolutions; zeros in the projection, so that training starts from plain SVD."""
        for layer in self.conv_layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.final_proj.weight)
        nn.init.zeros_(self.final_proj.bias)

    def forward(self, poses: Tensor) -> Tensor:
        """poses: (N, 3, H, W) or (B, F, 3, H, W) in [-1, 1] → (N or B*F, out_channels, H/8, W/8)."""
        if poses.ndim == 5:
            poses = rearrange(poses, "b f c h w -> (b f) c h w")
        return self.final_proj(self.conv_layers(poses)) * self.scale
