"""MusePose's training as two tasks on the training loop: single pictures first, then motion over frames.

Stage 1 trains the reference network, the denoiser without motion modules and the pose guider on pairs of frames of one
person; stage 2 the motion modules alone. The picture is left out per sample, not per batch, and what a batch attends to
is an argument of its own step, so accumulated batches never see each other's references.
"""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from media.images import as_frames
from musepose import MusePoseTrainConfig
from musepose.networks import build_denoiser, Context, is_motion, spatial_blocks
from musepose.checkpoint import Networks, fill, named_tensors, save_networks
from musepose.pipeline import min_snr_weight, MusePose, scheduler
from runtime.weights import empty
from training.task import Task, VideoBatch

FRAMES_ENCODED_AT_ONCE = 4               # by the VAE
SEED_STEP = 1_000_003                    # between the random numbers of two seeds
CONTROLNET_PART = "controlnet_cond_embedding."


class DenoisingLoss(nn.Module):
    """The three networks as one module whose output is the loss per sample."""

    def __init__(self, networks: Networks, settings: MusePoseTrainConfig):
        super().__init__()
        self.denoiser, self.reference_net, self.pose_guider = networks.denoiser, networks.reference_net, networks.pose_guider
        self.gamma, self.scheduler = settings.snr_gamma, scheduler()

    def forward(self, latents: Tensor, noise: Tensor, timesteps: Tensor, reference_latents: Tensor, pose: Tensor,
                tokens: Tensor, keep: Tensor) -> Tensor:
        """The loss of each sample, (B,).

        latents, noise: (B, F, 4, h, w); timesteps: (B,) long; reference_latents: (B, 4, h, w); pose: (B, F, 3, H, W) in
        [0, 1]; tokens: (B, 1, D) of the image encoder; keep: (B,), 0 leaves the picture out of a sample.
        """
        context = self.context(reference_latents, tokens, keep)
        poses = self.pose_guider(pose.flatten(0, 1))                          # (B*F, C0, h, w)
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        v = self.denoiser(noisy, timesteps, poses, context)                   # (B, F, 4, h, w)
        wanted = self.scheduler.get_velocity(latents, noise, timesteps)       # Salimans & Ho 2022, section 4
        losses = (v.float() - wanted.float()).square().mean(dim=(1, 2, 3, 4))           # (B,)
        if self.gamma:
            losses = losses * min_snr_weight(timesteps, self.scheduler.alphas_cumprod, self.gamma)
        if not any(keep.tolist()):                      # so that processes agree on which parameters have a gradient
            losses = losses + 0 * sum(features.sum() for features in context.features.values())
        return losses

    def context(self, reference_latents: Tensor, tokens: Tensor, keep: Tensor) -> Context:
        """What this batch attends to: as in sampling, a sample without picture has a zero token and no reference."""
        features = self.reference_net(reference_latents, tokens)
        readers = tuple(row if kept else None for row, kept in enumerate(keep.tolist()))
        return Context(tokens * keep[:, None, None].to(tokens), tuple(range(len(tokens))), features, readers)


def freeze(objective: DenoisingLoss, stage: int) -> None:
    """Leave trainable what a stage trains. What no output depends on is never trained: queries to a single token."""
    last_block = f"up_blocks.{len(objective.reference_net.up_blocks) - 1}."              # of the reference network, as published
    idle = [f"{name}.{layer}." for name, _ in spatial_blocks(objective.denoiser) for layer in ("norm2", "attn2.to_q", "attn2.to_k")]
    for network in (objective.denoiser, objective.reference_net, objective.pose_guider):
        for name, parameter in network.named_parameters():
            wanted = not name.startswith(tuple(idle))
            if stage == 2:
                wanted = network is objective.denoiser and is_motion(name)
            elif network is objective.reference_net:
                wanted = wanted and not name.startswith(last_block)
            parameter.requires_grad_(wanted)


class MusePoseTask(Task):
    """One of the two stages: what is trained, what a batch becomes, what is written and shown."""

    def __init__(self, model: MusePose, base: dict, config: MusePoseTrainConfig, settings: dict | None = None):
        """base: the config of the base model's UNet, which is written beside the weights; settings: as `Task`'s."""
        self.model, self.base, self.config, self.settings = model, base, config, settings or {}
        has_motion = any(map(is_motion, model.denoiser.state_dict()))
        if has_motion != (config.stage == 2):
            wanted, found = ("without", "with") if has_motion else ("with", "without")
            raise ValueError(f"stage {config.stage}: expected a denoiser {wanted} motion modules (found one {found}): "
                             "use `for_stage`")
        for frozen in (model.vae, model.image_encoder):
            frozen.requires_grad_(False)
        self.networks = Networks(model.denoiser, model.reference_net, model.pose_guider)
        self.objective = DenoisingLoss(self.networks, config)
        freeze(self.objective, config.stage)
        if config.gradient_checkpointing:
            model.denoiser.enable_gradient_checkpointing()
            model.reference_net.enable_gradient_checkpointing()

    @torch.no_grad()
    def inputs(self, batch: VideoBatch) -> tuple[Tensor, ...]:
        """What the objective takes; noise depends on (seed, position) alone.

        batch: target (B, F, 3, H, W), pose (B, F, 3, H, W) and reference (B, 3, H, W) in [-1, 1], position (B,); cached
        latents (B, F, 4, h, w) and reference_latents (B, 4, h, w), not yet scaled, in place of pictures.
        """
        reference = batch["reference"]
        vae, device = self.model.vae.to(reference.device), reference.device
        self.model.image_encoder.to(device)
        if "latents" in batch:
            latents, of_reference = (batch[name].float() for name in ("latents", "reference_latents"))
        else:
            target = batch["target"]
            latents = torch.cat([encoded(vae, few) for few in target.flatten(0, 1).split(FRAMES_ENCODED_AT_ONCE)])
            latents, of_reference = latents.unflatten(0, target.shape[:2]), encoded(vae, reference)
        latents, of_reference = latents * vae.config.scaling_factor, of_reference * vae.config.scaling_factor
        noise, timesteps, keep = self.randomness(batch["position"].tolist(), latents.shape[1:])
        pictures = as_frames(reference)
        pose = (batch["pose"] + 1) / 2
        return (latents, noise.to(device), timesteps.to(device), of_reference, pose, self.model.tokens(pictures).float(),
                keep.to(device))

    def randomness(self, positions: list[int], shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Noise (B, *shape), timesteps (B,) and keep (B,; 0 = no picture).

        shape: (F, 4, h, w). The noise's mean varies by sample and channel, alike in all frames.
        """
        config, drawn = self.config, []
        num_timesteps = self.objective.scheduler.config.num_train_timesteps
        for position in positions:
            generator = torch.Generator().manual_seed(config.seed * SEED_STEP + position)
            drawn.append((torch.randn(shape, generator=generator), torch.randn(shape[1], generator=generator),
                          torch.randint(num_timesteps, (), generator=generator),
                          torch.rand((), generator=generator)))
        noise, offsets, timesteps, uniform = map(torch.stack, zip(*drawn))
        noise = noise + config.noise_offset * offsets[:, None, :, None, None]
        return noise, timesteps, (uniform >= config.uncond_ratio).float()

    def export(self, folder: Path) -> None:
        """What `load_saved_networks` reads."""
        save_networks(folder, self.networks, self.base, source=f"MusePose, stage {self.config.stage}")

    def sample(self, batch: VideoBatch) -> np.ndarray | None:
        """A video of the batch's first sample, (F, H, W, 3) uint8; a picture in stage 1."""
        image, poses = (as_frames(batch[name][0]) for name in ("reference", "pose"))
        generator = torch.Generator().manual_seed(self.config.seed)
        size = poses.shape[1:3]
        return self.model(image, poses, generator, size=size, window=min(48, len(poses)), window_overlap=0, pad=False,
                          progress=False)


def encoded(vae, frames: Tensor) -> Tensor:
    """The VAE's mean latents of (N, 3, H, W), not scaled, (N, 4, h, w) float32."""
    return vae.encode(frames.to(vae.dtype)).latent_dist.mean.float()


def for_stage(model: MusePose, config: dict, stage: int, motion_module: Path | None = None) -> MusePose:
    """The model with the denoiser a stage trains: its 2-D weights, and in stage 2 motion modules.

    motion_module: AnimateDiff's or MusePose's, for stage 2; None keeps the model's own, or begins new ones, which
    change nothing until they are trained.
    """
    kept, dtype = model.denoiser.state_dict(), model.denoiser.dtype
    still = {name: tensor for name, tensor in kept.items() if not is_motion(name)}
    if stage == 1:
        network = empty(lambda given: build_denoiser(given, motion=False), config, Path("config.json"))
        return replace(model, denoiser=fill(network, still, Path("denoiser"), "a denoiser"))
    if motion_module is not None:
        motion = named_tensors(motion_module, dtype, str(model.device))
    elif len(still) < len(kept):
        motion = {name: tensor for name, tensor in kept.items() if is_motion(name)}
    else:
        motion = new_motion(config, dtype, model.device)
    network = empty(build_denoiser, config, Path("config.json"))
    return replace(model, denoiser=fill(network, still | motion, motion_module or Path("denoiser"), "motion modules"))


def new_motion(config: dict, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """Untrained motion modules: their last layers are zero."""
    tensors = {name: tensor.to(device, dtype) for name, tensor in build_denoiser(config).state_dict().items() if is_motion(name)}
    return {name: torch.zeros_like(tensor) if ".proj_out." in name else tensor for name, tensor in tensors.items()}


def initialise_from_controlnet(guider: nn.Module, path: Path) -> None:
    """Begin a pose guider as ControlNet's embedding of OpenPose pictures; its last layer stays as it is, zero."""
    tensors = {name.removeprefix(CONTROLNET_PART): tensor for name, tensor in named_tensors(path, None).items()
               if name.startswith(CONTROLNET_PART)}
    wanted = {name: parameter for name, parameter in guider.state_dict().items() if not name.startswith("conv_out.")}
    strange = [name for name, parameter in wanted.items() if name not in tensors or tensors[name].shape != parameter.shape]
    if strange:
        raise ValueError(f"{path}: expected ControlNet's openpose weights with '{CONTROLNET_PART}{strange[0]}' "
                         f"{tuple(wanted[strange[0]].shape)} (found none): use control_v11p_sd15_openpose")
    guider.load_state_dict(guider.state_dict() | {name: tensors[name].to(parameter) for name, parameter in wanted.items()})
