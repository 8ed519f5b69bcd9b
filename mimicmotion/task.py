"""How the pose-to-video model is trained: its task for the training loop, and its denoising loss.

The video model and the skeleton adapter are both this task, with other weights and other clips.
"""
from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import nn, Tensor
from torch.distributed.tensor import DTensor

from media.files import one_line, save_atomically
from media.images import as_frames
from mimicmotion import VideoTrainConfig
from mimicmotion.checkpoint import save_checkpoint
from mimicmotion.diffusion import denoising_loss, expand, mixed_noise, noise_condition, sample_sigmas, scaled_input
from mimicmotion.latents import added_time_ids, image_embeddings, image_latents
from mimicmotion.networks import PoseUNet
from mimicmotion.pipeline import PoseToVideo
from mimicmotion.savings import is_temporal, spatial_only
from runtime.device import seed_for
from runtime.weights import save_tensors
from training.task import Task, VALIDATION_POSITION, VideoBatch

log = logging.getLogger(__name__)

FRAMES_ENCODED_AT_ONCE = 4               # by the VAE, whose activations at 576x1024 are 2 GB per frame
VALIDATION_SIGMAS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)       # noise levels a fine-tuning draws 9 of 10 samples from
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")         # of every attention: what LoRA updates


class VideoTask(Task):
    """Denoise clips of a person, told a picture and the poses: UNet and PoseNet learn, on request the image encoder."""

    def __init__(self, model: PoseToVideo, config: VideoTrainConfig, settings: dict | None = None):
        """settings: what the caller wants checkpoints to remember, such as the data and the starting weights."""
        self.model, self.config, self.settings = model, config, settings or {}
        self.said_no_hands, self.said_not_moved = config.hand_weight == 1, False
        model.vae.requires_grad_(False)
        if config.gradient_checkpointing:
            model.unet.enable_gradient_checkpointing()
        if config.attention == "xformers":
            use_xformers(model.unet)
        if config.lora_rank:
            torch.manual_seed(config.seed)
            add_lora(model.unet, config.lora_rank)
        self.objective = DenoisingLoss(model, config)
        for name, parameter in self.objective.named_parameters():
            parameter.requires_grad_(is_trained(name, config))
        if config.compile:
            model.unet.compile()

    def training_mode(self) -> AbstractContextManager:
        """Spatial layers alone, where only they are trained."""
        if (self.config.lora_rank or self.config.train_image_encoder) and any(
                isinstance(parameter, DTensor) for parameter in self.objective.parameters()):
            raise ValueError("lora_rank, train_image_encoder: expected neither where the weights are cut up over "
                             "processes: start with configs/accelerate/ddp.yaml")
        return spatial_only(self.model.unet) if self.config.parts == "spatial" else nullcontext()

    def inputs(self, batch: VideoBatch) -> tuple[Tensor | None, ...]:
        """Latents, conditions and noise as `DenoisingLoss` takes them."""
        if not self.said_no_hands and "hands" not in batch:
            self.said_no_hands = True
            log.warning("hand_weight: these clips do not say where hands are, so all places count alike; a data "
                        "folder made by scripts/prepare_dataset.py does")
        latents, reference_latents = latents_of(batch, self.model, self.config)
        randomness = sample_randomness(self.config, batch["position"].tolist(), latents.shape[1:])
        return (latents, reference_latents, batch["reference"], batch["pose"],
                *(numbers.to(latents) for numbers in randomness), time_ids_of(batch, self.config).to(latents),
                None if self.config.train_image_encoder else batch.get("embedding"), batch.get("hands"),
                batch.get("head"), self.moved_latents(batch, reference_latents, self.config.moved_dropout))

    def validation_inputs(self, batch: VideoBatch) -> dict[str, tuple]:
        """Every noise level with the same noise, each place counting the same."""
        latents, reference_latents = latents_of(batch, self.model, self.config)
        noise = torch.randn(latents.shape[1:], generator=held_out_generator(batch))
        noise = mixed_noise(noise, self.config.noise_sharing)[None].to(latents)             # (1, F, 4, h, w)
        given = latents, reference_latents, batch["reference"], batch["pose"], noise
        known = time_ids_of(batch, self.config).to(latents), batch.get("embedding"), None, None, self.moved_latents(batch, reference_latents), False
        return {f"sigma_{sigma:g}": (*given, latents.new_full((1,), sigma), latents.new_ones(1), *known)
                for sigma in VALIDATION_SIGMAS}

    def moved_latents(self, batch: VideoBatch, reference_latents: Tensor, dropout: float = 0.0) -> Tensor | None:
        """(B, F, 4, h, w), where the model takes them; for a share `dropout`, and clips without any, the picture where it stands."""
        if not self.model.unet.takes_moved_picture:
            return None
        still = reference_latents[:, None] * self.model.vae.config.scaling_factor           # (B, 1, 4, h, w)
        if "moved_latents" not in batch:
            if not self.said_not_moved:
                self.said_not_moved = True
                log.warning("moved_picture: these clips have no picture moved into each pose, so the weights learn to do without; a cache made "
                            "by demo/prepare_clips.py --move has")
            return still.expand(-1, batch["pose"].shape[1], -1, -1, -1)
        moved = batch["moved_latents"]
        seeds = (seed_for(self.config.seed, "moved picture", position) for position in batch["position"].tolist())
        told = torch.tensor([np.random.default_rng(seed).random() >= dropout for seed in seeds], device=moved.device)
        return torch.where(expand(told, moved), moved, still)

    def sample(self, batch: VideoBatch) -> np.ndarray:
        """Reference, poses, the video made from them and, where the data has it, the true one, side by side."""
        reference, poses = as_frames(batch["reference"][0].cpu()), as_frames(batch["pose"][0].cpu())
        rate, motion, _ = time_ids_of(batch, self.config)[0].round().int().tolist()
        moved = batch.get("moved_latents") if self.model.unet.takes_moved_picture else None
        video = self.model(reference, poses, held_out_generator(batch), tile_size=max(2, len(poses)), tile_overlap=1,
                           moved=None if moved is None else moved[0],
                           num_inference_steps=self.config.validation_sampling_steps,
                           noise_sharing=self.config.noise_sharing, fps=rate + 1, motion_bucket_id=motion,
                           progress=False)                                                  # (F, H, W, 3)
        columns = [np.broadcast_to(reference, video.shape), poses, video]
        if "target" in batch:
            columns.append(as_frames(batch["target"][0].cpu()))
        return np.concatenate(columns, axis=2)

    def export(self, folder: Path) -> None:
        """What `PoseToVideo.load` reads, in half precision; LoRA's updates are merged in, and beside it by themselves."""
        unet = self.model.unet
        if self.config.lora_rank:
            tensors = {name: parameter.detach().half().cpu().contiguous()
                       for name, parameter in self.objective.named_parameters() if parameter.requires_grad}
            notes = {"rank": str(self.config.lora_rank)}
            save_atomically(folder / "lora.safetensors", lambda path: save_tensors(tensors, path, notes))
            unet = PoseUNet.from_config(unet.config)
            unet.load_state_dict(merged_state(self.model.unet))
        save_checkpoint(folder, unet, self.model.pose_net)
        if self.config.train_image_encoder:
            write_image_encoder(folder / "image_encoder", self.model.image_encoder)


def is_trained(name: str, config: VideoTrainConfig) -> bool:
    """Does this parameter of `DenoisingLoss` learn?"""
    temporal = is_temporal(name)
    if name.startswith("image_encoder."):
        return config.train_image_encoder and config.parts != "temporal"
    if config.lora_rank:
        return ".lora_" in name or name.startswith("pose_net.")
    return {"all": True, "spatial": not temporal, "temporal": temporal}[config.parts]


def held_out_generator(batch: VideoBatch) -> torch.Generator:
    """The randomness of a held-out clip, by its number."""
    return torch.Generator().manual_seed(int(batch["position"][0]) - VALIDATION_POSITION)


def write_image_encoder(folder: Path, encoder: nn.Module) -> None:
    """The image encoder in half precision, as a component folder that `PoseToVideo.load` finds beside the model."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder.config.to_json_file(folder / "config.json")
    tensors = {name: tensor.detach().to("cpu", torch.float16).contiguous()
               for name, tensor in encoder.state_dict().items()}
    save_tensors(tensors, folder / "model.safetensors", {"format": "pt"})


def use_xformers(unet: PoseUNet) -> None:
    """Attention by xformers, or one line why not."""
    try:
        unet.enable_xformers_memory_efficient_attention()
    except (ImportError, ValueError) as error:
        raise ValueError(f"attention: expected xformers and an NVIDIA GPU ({one_line(error)}): "
                         "attention=sdpa needs as little memory") from error


def add_lora(unet: nn.Module, rank: int) -> None:
    """Give every attention projection an update of `rank`, zero at the start; needs peft."""
    try:
        from peft import inject_adapter_in_model, LoraConfig
    except ImportError as error:
        raise ValueError(f"lora_rank: expected peft to be installed ({error}): pip install peft") from error
    config = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(PROJECTIONS))
    inject_adapter_in_model(config, unet)


def merged_state(unet: nn.Module) -> dict[str, Tensor]:
    """The UNet's tensors under their usual names, updates added in: what a UNet without LoRA loads."""
    state = {}
    layers = {name: module for name, module in unet.named_modules() if hasattr(module, "get_delta_weight")}
    for name, tensor in unet.state_dict().items():
        if ".lora_" in name:
            continue
        owner, _, kind = name.rpartition(".base_layer.")
        if owner in layers and kind == "weight":
            tensor = tensor + sum(layers[owner].get_delta_weight(adapter) for adapter in layers[owner].lora_A)
        state[name.replace(".base_layer.", ".")] = tensor
    return state


class DenoisingLoss(nn.Module):
    """UNet, PoseNet and image encoder as one module whose output is the loss per sample, so that DDP sees it all."""

    def __init__(self, model: PoseToVideo, config: VideoTrainConfig):
        super().__init__()
        self.unet, self.pose_net, self.image_encoder = model.unet, model.pose_net, model.image_encoder
        self.config = config

    def forward(self, latents: Tensor, reference_latents: Tensor, reference: Tensor, pose: Tensor, noise: Tensor,
                sigma: Tensor, keep: Tensor, time_ids: Tensor | None = None, embedding: Tensor | None = None,
                hands: Tensor | None = None, head: Tensor | None = None, moved_latents: Tensor | None = None,
                weighted: bool = True) -> Tensor:
        """The loss of each sample, (B,).

        latents, noise: (B, F, 4, h, w); reference_latents: (B, 4, h, w); reference: (B, 3, H, W);
        pose: (B, F, 3, H, W); sigma, keep: (B,); time_ids: (B, 3), None for the settings'; embedding: (B, 1, D), None to
        compute it here; hands, head: (B, F, 2, 5), (B, F, 1, 5) as in `box_region_weight`; moved_latents: (B, F, 4, h, w), for a UNet
        that takes them: what is denoised is the change to them; weighted: False counts every place and noise level the same.
        """
        num_frames = latents.shape[1]
        if time_ids is None:
            told = self.config.fps, self.config.motion_bucket_id, self.config.noise_aug_strength
            time_ids = added_time_ids(*told, len(latents)).to(latents)
        picture = reference_latents.unsqueeze(1).expand(-1, num_frames, -1, -1, -1)     # (B, F, 4, h, w)
        if moved_latents is not None:
            latents, picture = latents - moved_latents, torch.cat([picture, moved_latents], dim=2)        # (B, F, 8, h, w)
        noisy = latents + expand(sigma, latents) * noise                                # (B, F, 4, h, w)
        net_input = torch.cat([scaled_input(noisy, sigma), picture * expand(keep, picture)], dim=2)
        if embedding is None:
            embedding = image_embeddings(self.image_encoder, reference)                 # (B, 1, D)
        pose_features = self.pose_net(pose.flatten(0, 1))                               # (B*F, C, h, w)
        pose_features = pose_features * expand(keep.repeat_interleave(num_frames), pose_features)
        v = self.unet(net_input, noise_condition(sigma), embedding * expand(keep, embedding), time_ids,
                      pose_latents=pose_features, return_dict=False)[0]                 # (B, F, 4, h, w)
        if not weighted:
            return denoising_loss(v, latents, noise, sigma)
        loss = denoising_loss(v, latents, noise, sigma, self.region_weight(pose, hands, head, latents.shape[-2:]))
        return loss * min_snr_weight(sigma, self.config.min_snr_gamma) if self.config.min_snr_gamma else loss

    def region_weight(self, pose: Tensor, hands: Tensor | None, head: Tensor | None,
                      latent_size: tuple[int, int]) -> Tensor | None:
        """(B, F, 1, h, w), the product of all regions' weights, or None where every place counts the same."""
        weight = pose_region_weight(pose, latent_size, self.config.pose_weight)
        for boxes, amplification in ((hands, self.config.hand_weight), (head, self.config.head_weight)):
            if boxes is not None and amplification != 1:
                of_boxes = box_region_weight(boxes, pose.shape[-2:], latent_size, amplification, self.config.hand_confidence)
                weight = of_boxes if weight is None else weight * of_boxes
        return weight


def noise_augmentation(batch: VideoBatch, config: VideoTrainConfig) -> Tensor:
    """Noise on each reference's pixels, (B,): what cached latents were made with, or a draw from (seed, position)."""
    positions = batch["position"].tolist()
    if "latents" in batch:
        return batch.get("noise_aug_strength", torch.zeros(len(positions))).float().cpu()
    seeds = (seed_for(config.seed, "noise augmentation", position) for position in positions)
    normal = [torch.randn((), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return config.noise_aug_strength * (config.noise_aug_spread * torch.stack(normal)).exp()


def time_ids_of(batch: VideoBatch, config: VideoTrainConfig) -> Tensor:
    """(B, 3) numbers for the UNet: the clip's own frame rate (- 1, as SVD) and motion, or the settings'."""
    ids = added_time_ids(config.fps, config.motion_bucket_id, noise_augmentation(batch, config), len(batch["position"]))
    if "fps" in batch:
        ids[:, 0] = batch["fps"].float().cpu() - 1
    if "motion_bucket_id" in batch:
        ids[:, 1] = batch["motion_bucket_id"].float().cpu()
    return ids


def sample_randomness(config: VideoTrainConfig, positions: list[int],
                      latent_shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Noise (B, *latent_shape), sigma (B,) and keep (B,; 0 = no conditioning), from (seed, position) alone."""
    noise, normal, uniform = [], [], []
    for position in positions:
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + position)
        noise.append(mixed_noise(torch.randn(latent_shape, generator=generator), config.noise_sharing))
        normal.append(torch.randn((), generator=generator))
        uniform.append(torch.rand(3, generator=generator))
    uniform = torch.stack(uniform)                                                      # (B, 3)
    sigma = sample_sigmas(torch.stack(normal), uniform[:, :2], mean=config.sigma_mean, std=config.sigma_std,
                          uniform_share=config.sigma_uniform_share)
    keep = (uniform[:, 2] >= config.conditioning_dropout).float()                       # (B,)
    return torch.stack(noise), sigma, keep


@torch.no_grad()
def latents_of(batch: VideoBatch, model: PoseToVideo, config: VideoTrainConfig) -> tuple[Tensor, Tensor]:
    """Target (B, F, 4, h, w) and reference (B, 4, h, w) latents: cached ones, or encoded here.

    As in SVD the target is multiplied by the VAE's scaling factor and the reference is not.
    """
    scale = model.vae.config.scaling_factor
    if "latents" in batch:
        return batch["latents"].float() * scale, batch["reference_latents"].float()
    target, reference = batch["target"], batch["reference"]
    model.vae.to(target.device)
    seeds = (seed_for(config.seed, "reference noise", position) for position in batch["position"].tolist())
    noise = torch.stack([torch.randn(reference.shape[1:], generator=torch.Generator().manual_seed(seed))
                         for seed in seeds]).to(reference)                              # (B, 3, H, W)
    reference = reference + expand(noise_augmentation(batch, config).to(reference), reference) * noise
    frames = [image_latents(model.vae, few).float() for few in target.flatten(0, 1).split(FRAMES_ENCODED_AT_ONCE)]
    latents = torch.cat(frames).unflatten(0, target.shape[:2])                          # (B, F, 4, h, w)
    return latents * scale, image_latents(model.vae, reference).float()


def pose_region_weight(pose: Tensor, latent_size: tuple[int, int], amplification: float) -> Tensor | None:
    """(B, F, 1, h, w), mean 1 per sample: `amplification` within about a latent cell of the drawn pose, 1 elsewhere."""
    if amplification == 1:
        return None
    drawn = (pose.amax(2) > -0.9).float()                                               # (B, F, H, W)
    drawn = nn.functional.adaptive_max_pool2d(drawn, tuple(latent_size))                # (B, F, h, w)
    drawn = nn.functional.max_pool2d(drawn, kernel_size=3, stride=1, padding=1)
    weight = 1 + (amplification - 1) * drawn.unsqueeze(2)                               # (B, F, 1, h, w)
    return weight / weight.mean(dim=(1, 2, 3, 4), keepdim=True)


def box_region_weight(boxes: Tensor, canvas_size: tuple[int, int], latent_size: tuple[int, int], amplification: float,
                      confidence: float) -> Tensor:
    """(B, F, 1, h, w): `amplification` in latent cells that touch a clearly seen hand or head, 1 elsewhere.

    boxes: (B, F, N, 5) left, top, right, bottom in canvas pixels, and mean confidence, of each hand or head. One below
    `confidence` counts like the background: amplifying a blurred or misplaced one teaches its blur.
    """
    left, top, right, bottom, seen = boxes.unsqueeze(-1).unbind(-2)                     # (B, F, N, 1) each
    inside = []
    for low, high, length, cells in ((top, bottom, canvas_size[0], latent_size[0]),
                                     (left, right, canvas_size[1], latent_size[1])):
        edges = torch.arange(cells + 1, device=boxes.device) * (length / cells)         # (cells + 1,) pixels
        inside.append((edges[1:] > low) & (edges[:-1] < high))                          # (B, F, N, cells)
    rows, columns = inside
    touched = rows[..., :, None] & columns[..., None, :] & (seen >= confidence)[..., None]      # (B, F, N, h, w)
    return 1 + (amplification - 1) * touched.any(dim=2, keepdim=True).float()


def min_snr_weight(sigma: Tensor, gamma: float) -> Tensor:
    """Weight of each sample's squared v error (Hang et al. 2023, section 3.4): min(SNR, gamma) / (SNR + 1). (B,)"""
    snr = sigma ** -2
    return snr.clamp(max=gamma) / (snr + 1)
