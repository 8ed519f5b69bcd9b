"""The Stable Video Diffusion UNet with one more input: pose features, added to what its first convolution gives."""
import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionOutput
from torch import Tensor, nn


class PoseUNet(UNetSpatioTemporalConditionModel):
    """diffusers' SVD UNet: the same blocks and parameter names, with a `forward` that takes poses (MimicMotion §3.2).

    Poses are added once, before conv_in's output is stored as the first skip connection. Without a pose it equals
    diffusers' forward bit for bit.
    """

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
        run = lambda block, x, **more: block(x, **conditions, **(tokens if attends(block) else {}), **more)

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


def attends(block: nn.Module) -> bool:
    """Has this block of the UNet attention, and so takes the picture's token?"""
    return getattr(block, "has_cross_attention", False)


def with_pose(features: Tensor, pose: Tensor) -> Tensor:
    """features (B*F, C0, h, w) plus pose (n*F, C0, h, w), of the last n of the batch."""
    blind = len(features) - len(pose)
    posed = features[blind:] + pose.to(features.dtype)
    return torch.cat([features[:blind], posed]) if blind else posed
