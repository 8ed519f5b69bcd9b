"""Text to video with the five parts of a ModelScope or ZeroScope folder: tokenizer, text encoder, UNet, VAE, scheduler.

The sampler is our own, so that nothing here depends on diffusers' deprecated pipeline. It gives that pipeline's frames,
but for two things: pixels are rounded, not truncated, and prompts go through plain CLIP (the published generate.py uses
a prompt-weighting library).
"""
from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, DDPMScheduler, DPMSolverMultistepScheduler, UNet3DConditionModel
from torch import Tensor, nn
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from media.files import copy_folder, read_json, save_atomically, save_text
from runtime.cpu_layers import faster_on_cpu
from runtime.weights import empty_from, fill, present_vae_name, read_tensors, save_tensors

from newmove.objective import DiffusionNoise, save_trained, train_only

PIPELINES = ("TextToVideoSDPipeline", "VideoToVideoSDPipeline")      # the same five parts
FRAMES_AT_ONCE = 4                                                   # through the VAE
COUNTER = "text_model.embeddings.position_ids"                       # stored by older transformers, not a weight
DEFAULTS = {"size": (384, 384), "num_frames": 16, "guidance_scale": 9.0, "num_inference_steps": 50, "fps": 8}
ALIASES = {"zs": "weights/zeroscope", "ms": "weights/modelscope"}    # short names for -m


@dataclass(frozen=True, eq=False, repr=False)
class TextToVideo:
    """A text-to-video model in memory. `source` is the folder it was read from."""
    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    unet: UNet3DConditionModel
    vae: AutoencoderKL
    scheduler: dict             # the folder's scheduler config
    source: Path

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu",
             dtype: torch.dtype = torch.float32) -> TextToVideo:
        """Read a diffusers folder; .safetensors or .bin, with or without the fp16 variant. No pickle is executed."""
        folder = check_base(folder)
        unet = component(UNet3DConditionModel, folder / "unet", dtype)
        vae = component(AutoencoderKL, folder / "vae", dtype)
        text_encoder = load_text_encoder(folder / "text_encoder", dtype)
        scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
        return cls(load_tokenizer(folder / "tokenizer"), text_encoder.to(device), unet.to(device), vae.to(device),
                   scheduler, folder)

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def network(self) -> UNet3DConditionModel:
        """What is trained."""
        return self.unet

    def training_noise(self, mode: str) -> DiffusionNoise:
        """The noise this model is trained with, its timesteps drawn as `mode` says (objective.MODES)."""
        return DiffusionNoise(DDPMScheduler.from_config(self.scheduler), mode)

    def choose_trained(self, groups) -> list[str]:
        """Let gradients reach what the groups select, and nothing else; the names."""
        return train_only(self.unet, groups)

    def save_trained(self, folder: Path, trained: dict[str, Tensor], word: str) -> None:
        """Write them as they are named in the network."""
        save_trained(folder, trained, self.source, fingerprint(self.source), word)

    @property
    def pixels_per_latent(self) -> int:
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @torch.no_grad()
    def encode_text(self, prompts: list[str]) -> Tensor:
        """Text states (N, L, D): CLIP's last hidden states, padded to its length, without an attention mask."""
        ids = self.tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt",
                             max_length=self.tokenizer.model_max_length).input_ids
        return self.text_encoder(ids.to(self.text_encoder.device)).last_hidden_state

    def text_states(self, prompts: list[str]) -> list[Tensor]:
        """Text states (L, D) of each prompt."""
        return list(self.encode_text(prompts))

    @staticmethod
    def text_batch(states: list[Tensor]) -> Tensor:
        """Text states of several prompts as the network takes them, (N, L, D)."""
        return torch.stack(states)

    @torch.no_grad()
    def encode_frames(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (N, 4, h, w), float32, of the latents of frames (N, 3, H, W) in [-1, 1]; not scaled."""
        with torch.autocast(self.vae.device.type, enabled=False):
            found = [self.vae.encode(few.to(self.vae.device, self.vae.dtype)).latent_dist for few in frames.split(FRAMES_AT_ONCE)]
        return torch.cat([d.mean for d in found]).float(), torch.cat([d.std for d in found]).float()

    def latents_from(self, mean: Tensor, std: Tensor, noise: Tensor) -> Tensor:
        """Scaled latents (..., 4, F, h, w) as the network takes them, of moments and noise (..., F, 4, h, w)."""
        scaled = (mean + std * noise) * self.vae.config.scaling_factor
        return scaled.transpose(-4, -3).contiguous()             # other strides crash oneDNN's convolutions on the way back

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Frames (F, H, W, 3) in [0, 1], float32 on the CPU, of latents (4, F, h, w)."""
        frames = (latents / self.vae.config.scaling_factor).transpose(0, 1)              # (F, 4, h, w)
        with torch.autocast(self.vae.device.type, enabled=False):
            made = [self.vae.decode(few.to(self.vae.device, self.vae.dtype), return_dict=False)[0].float().cpu()
                    for few in frames.split(FRAMES_AT_ONCE)]
        return (torch.cat(made) / 2 + 0.5).clamp(0, 1).movedim(1, -1)                    # (F, H, W, 3)

    def first_noise(self, generator: torch.Generator, num_frames: int, size: tuple[int, int]) -> Tensor:
        """Noise (1, 4, F, h, w) for a video of `size` (height, width); a CPU generator gives the same on every device."""
        side = self.pixels_per_latent
        shape = (1, self.unet.config.in_channels, num_frames, size[0] // side, size[1] // side)
        return torch.randn(shape, generator=generator, device=generator.device).to(self.device)

    @torch.no_grad()
    def sample(self, prompt: str, noise: Tensor, *, negative_prompt: str = "", num_inference_steps: int = 50,
               guidance_scale: float = 9.0, progress: bool = True, seen=None) -> Tensor:
        """Latents (4, F, h, w), float32: DPM-Solver++ with classifier-free guidance.

        noise: (1, 4, F, h, w). guidance_scale: up to 1 is none. seen: called with (step, latents, guided prediction).
        """
        scheduler = DPMSolverMultistepScheduler.from_config(self.scheduler)
        scheduler.set_timesteps(num_inference_steps, device=self.device)
        guided = guidance_scale > 1
        text = self.encode_text([negative_prompt, prompt] if guided else [prompt])       # (2 or 1, L, D)
        text = text.to(self.device, self.unet.dtype)
        latents = noise.float() * scheduler.init_noise_sigma
        steps = tqdm(scheduler.timesteps, desc="denoising", disable=not progress, leave=False)
        for number, t in enumerate(steps):
            net_input = scheduler.scale_model_input(latents, t).to(self.unet.dtype)
            predicted = self.unet(net_input.expand(len(text), -1, -1, -1, -1), t, text,
                                  return_dict=False)[0].float()                          # (2 or 1, 4, F, h, w)
            if guided:
                without, given = predicted.chunk(2)
                predicted = without + guidance_scale * (given - without)
            latents = scheduler.step(predicted, t, latents, return_dict=False)[0]
            if seen is not None:
                seen(number, latents, predicted)
        return latents[0]

    def __call__(self, prompt: str, seed: int, *, num_frames: int = 16, size: tuple[int, int] = (384, 384),
                 **sampling) -> np.ndarray:
        """The video of a prompt, (F, H, W, 3) uint8 RGB; `sampling` as in `sample`."""
        side = self.pixels_per_latent
        if min(size) < side or any(length % side for length in size):
            raise ValueError(f"size: expected multiples of {side} pixels (found {size[0]}x{size[1]}): round them")
        generator = torch.Generator().manual_seed(seed)
        with faster_on_cpu(self.unet, self.device), faster_on_cpu(self.vae, self.device):
            latents = self.sample(prompt, self.first_noise(generator, num_frames, size), **sampling)
            return as_video(self.decode(latents))

    def save(self, folder: str | Path, dtype: torch.dtype = torch.float16) -> Path:
        """Write a complete folder that diffusers' pipeline and `load` read; weights in `dtype`."""
        folder = Path(folder)
        for name, module in (("unet", self.unet), ("vae", self.vae)):
            write_component(folder / name, dict(module.config), module.state_dict(), "diffusion_pytorch_model", dtype)
        tensors = {f"text_model.{name}": tensor for name, tensor in self.text_encoder.state_dict().items()}
        config = self.text_encoder.config.to_dict() | {"architectures": ["CLIPTextModel"]}
        write_component(folder / "text_encoder", config, tensors, "model", dtype)
        copy_folder(self.source / "tokenizer", folder / "tokenizer")
        # as it was read: a key more, such as timestep_spacing, and every sampler built from it changes
        save_text(folder / "scheduler" / "scheduler_config.json", json.dumps(self.scheduler, indent=2) + "\n")
        save_text(folder / "model_index.json", (self.source / "model_index.json").read_text(encoding="utf-8"))
        return folder


def as_video(frames: Tensor) -> np.ndarray:
    """(F, H, W, 3) in [0, 1] as uint8; a ValueError where half precision overflowed on the way, which would look black."""
    if not frames.isfinite().all():
        raise ValueError("frames: expected finite values (found inf or NaN): try --dtype float32 or a smaller -guidance; if that "
                         "fails too the weights are damaged")
    return (frames * 255).round().to(torch.uint8).numpy()


def check_base(folder: str | Path) -> Path:
    """The folder, when it holds a text-to-video model of this kind; a ValueError says what else it is."""
    folder = Path(ALIASES.get(str(folder), folder))
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected the folder of a text-to-video model (found none): "
                                "python scripts/download_weights.py zeroscope")
    index = read_json(folder / "model_index.json")
    kind = index.get("_class_name")
    if kind not in PIPELINES:
        remedy = "set base=wan" if kind == "WanPipeline" else "take ZeroScope v2 or ModelScope text-to-video"
        raise ValueError(f"{folder}: expected {PIPELINES[0]} in model_index.json (found {kind}): {remedy}")
    return folder


def fingerprint(folder: Path) -> str:
    """16 hex digits that differ between models of one size, and not between the precisions of one model."""
    path = weights_file(Path(ALIASES.get(str(folder), folder)) / "unet", "diffusion_pytorch_model", torch.float32)
    first = read_tensors(path, None)["conv_in.weight"].to(torch.float16).contiguous()
    return hashlib.sha256(first.numpy().tobytes()).hexdigest()[:16]


def check_parts(folder: Path) -> str:
    """The folder's networks held against its configs, by names and shapes alone; how many parameters each has.

    A VAE that model_index.json says is left out is not asked for.
    """
    parts = {"unet": component(UNet3DConditionModel, folder / "unet", torch.float16, "meta"),
             "text_encoder": load_text_encoder(folder / "text_encoder", torch.float16, "meta")}
    if read_json(folder / "model_index.json").get("vae") != [None, None]:
        parts["vae"] = component(AutoencoderKL, folder / "vae", torch.float16, "meta")
    load_tokenizer(folder / "tokenizer")
    read_json(folder / "scheduler" / "scheduler_config.json")
    return ", ".join(f"{name} {sum(p.numel() for p in part.parameters()):,}" for name, part in parts.items())


def component(kind: type, folder: Path, dtype: torch.dtype, device: str = "cpu") -> nn.Module:
    """A diffusers network from its component folder, strictly. device="meta": names and shapes only."""
    model = empty_from(folder, kind.from_config)
    path = weights_file(folder, "diffusion_pytorch_model", dtype)
    tensors = read_tensors(path, dtype, device)
    if kind is AutoencoderKL:
        tensors = {present_vae_name(name): tensor for name, tensor in tensors.items()}
    return fill(model, tensors, path).requires_grad_(False)


def load_text_encoder(folder: Path, dtype: torch.dtype, device: str = "cpu") -> CLIPTextModel:
    """CLIP's text tower. Published files prefix every name with `text_model.`, which transformers 5 does not."""
    config = read_json(folder / "config.json")
    with init_empty_weights(include_buffers=False):
        model = CLIPTextModel(CLIPTextConfig.from_dict(config))
    path = weights_file(folder, "model", dtype)
    tensors = {name.removeprefix("text_model."): tensor for name, tensor in read_tensors(path, dtype, device).items()
               if name != COUNTER}
    return fill(model, tensors, path).requires_grad_(False)


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The folder's own tokenizer, with its own padding token."""
    if not (folder / "vocab.json").is_file():
        raise FileNotFoundError(f"{folder}: expected vocab.json and merges.txt (found none): download the weights again")
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def weights_file(folder: Path, stem: str, dtype: torch.dtype) -> Path:
    """The weights of a component: safetensors before .bin, the fp16 variant only where half precision is asked for."""
    old = "pytorch_model" if stem == "model" else stem
    whole = [folder / f"{stem}.safetensors", folder / f"{old}.bin"]
    half = [folder / f"{stem}.fp16.safetensors", folder / f"{old}.fp16.bin"]
    found = [path for path in (whole + half if dtype == torch.float32 else half + whole) if path.is_file()]
    if not found:
        raise FileNotFoundError(f"{folder}: expected {whole[0].name} (found no weights): download them again")
    return found[0]


def write_component(folder: Path, config: dict, tensors: dict[str, Tensor], stem: str, dtype: torch.dtype) -> None:
    """config.json and weights of one part; a weight that is not finite in `dtype` is refused."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = {}
    for name, tensor in tensors.items():
        stored[name] = tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        if not stored[name].isfinite().all():
            raise ValueError(f"{folder}: expected finite weights (found inf or NaN in '{name}' as {dtype}): "
                             "has training diverged? float32 holds larger numbers")
    save_text(folder / "config.json", json.dumps(config, indent=2, default=str) + "\n")
    save_atomically(folder / f"{stem}.safetensors", lambda path: save_tensors(stored, path, {"format": "pt"}))
