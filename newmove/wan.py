"""The same customisation on Wan2.1 text-to-video: low-rank updates (LoRA) and flow matching.

Wan has no layers over time alone: attn1 attends over space and time together, attn2 to the text. So the paper's layers
become attn1's projections and attn2's keys and values. The result is a LoRA file that any WanPipeline of diffusers loads.
"""
from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from torch import Tensor, nn
from tqdm import tqdm
from transformers import AutoTokenizer, UMT5EncoderModel

from media.files import read_json
from runtime.weights import read_tensors

from newmove.objective import as_list, FlowNoise, save_trained
from newmove.text_to_video import as_video

NAME = "pytorch_lora_weights.safetensors"            # what diffusers looks for
WORDS = 512                                          # text tokens; the rest are zeros, which the network was trained with
PATCH = 2                                            # latents per token, in height and width
DEFAULTS = {"size": (480, 832), "num_frames": 81, "guidance_scale": 5.0, "num_inference_steps": 50, "fps": 16}
PROJECTIONS = {                                      # the paper's groups -> Wan's layers
    "temporal": r"attn1\.to_(q|k|v|out\.0)", "temp_convs": r"attn1\.to_(q|k|v|out\.0)", "self": r"attn1\.to_(k|v)",
    "cross": r"attn2\.to_(k|v)", "all": r"attn[12]\.to_(q|k|v|out\.0)"}


@dataclass(frozen=True, eq=False, repr=False)
class WanTextToVideo:
    """A Wan model in memory, with the face of `TextToVideo`. rank: of the updates when it is trained."""
    tokenizer: object
    text_encoder: UMT5EncoderModel
    transformer: WanTransformer3DModel
    vae: AutoencoderKLWan
    scheduler: dict
    source: Path
    rank: int = 32

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32,
             rank: int = 32) -> WanTextToVideo:
        """Read a diffusers folder of Wan2.1 text-to-video; the VAE stays float32, as published."""
        folder = check_wan(folder)
        parts = [part(kind, folder / name, wanted).to(device) for kind, name, wanted in (
            (UMT5EncoderModel, "text_encoder", dtype), (WanTransformer3DModel, "transformer", dtype),
            (AutoencoderKLWan, "vae", torch.float32))]
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
        return cls(tokenizer, *parts, read_json(folder / "scheduler" / "scheduler_config.json"), folder, rank)

    @property
    def device(self) -> torch.device:
        return self.transformer.device

    @property
    def network(self) -> WanTransformer3DModel:
        return self.transformer

    @property
    def pixels_per_latent(self) -> int:
        return 2 ** sum(1 for _ in self.vae.config.temperal_downsample)

    @property
    def frames_per_latent(self) -> int:
        return 2 ** sum(self.vae.config.temperal_downsample)

    def training_noise(self, mode: str) -> FlowNoise:
        """Flow matching; the tilt takes the place of the model's own shift, which is one already."""
        return FlowNoise(self.scheduler.get("num_train_timesteps", 1000), mode, self.scheduler.get("flow_shift", 1.0))

    def choose_trained(self, groups) -> list[str]:
        """Give the layers of the groups an update of `rank`, zero at the start; the names of what is trained."""
        from peft import LoraConfig

        unknown = next((group for group in as_list(groups) if group not in PROJECTIONS), None)
        if unknown or not groups:
            raise ValueError(f"trainable_modules: expected {', '.join(PROJECTIONS)} for Wan (found {unknown!r}): choose among "
                             "them")
        layers = "|".join(PROJECTIONS[group] for group in as_list(groups))
        self.transformer.requires_grad_(False)
        self.transformer.add_adapter(LoraConfig(r=self.rank, lora_alpha=self.rank, init_lora_weights="gaussian",
                                                target_modules=rf".*blocks\.\d+\.({layers})"))
        return [name for name, parameter in self.transformer.named_parameters() if parameter.requires_grad]

    def save_trained(self, folder: Path, trained: dict[str, Tensor], word: str) -> None:
        """Write the updates under the names diffusers reads."""
        tensors = {f"transformer.{name.replace('.default.weight', '.weight')}": tensor for name, tensor in trained.items()}
        save_trained(folder, tensors, self.source, fingerprint(self.source), word, NAME)

    @torch.no_grad()
    def text_states(self, prompts: list[str]) -> list[Tensor]:
        """Text states (L, D) of each prompt, without padding."""
        tokens = self.tokenizer([prompt_clean(prompt) for prompt in prompts], padding="max_length", max_length=WORDS,
                                truncation=True, return_attention_mask=True, return_tensors="pt").to(self.text_encoder.device)
        states = self.text_encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        return [row[:int(mask.sum())] for row, mask in zip(states, tokens.attention_mask)]

    @staticmethod
    def text_batch(states: list[Tensor]) -> Tensor:
        """Text states of several prompts as the network takes them, (N, WORDS, D), the rest zeros."""
        return torch.stack([torch.cat([rows, rows.new_zeros(WORDS - len(rows), rows.shape[1])]) for rows in states])

    @torch.no_grad()
    def encode_frames(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (F', C, h, w) of the latents of one clip (F, 3, H, W) in [-1, 1]; F = 4 F' - 3."""
        self.check_frames(len(frames))
        with torch.autocast(self.vae.device.type, enabled=False):
            found = self.vae.encode(frames.to(self.vae.device, self.vae.dtype).transpose(0, 1)[None]).latent_dist
        return found.mean[0].transpose(0, 1).float(), found.std[0].transpose(0, 1).float()

    def latents_from(self, mean: Tensor, std: Tensor, noise: Tensor) -> Tensor:
        """Normalised latents (..., C, F', h, w), of moments and noise (..., F', C, h, w)."""
        shift, scale = self.normalisation(mean)
        return ((mean + std * noise - shift) / scale).transpose(-4, -3).contiguous()

    def normalisation(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the latents' channels, (C, 1, 1)."""
        return tuple(torch.tensor(values).to(like)[:, None, None]
                     for values in (self.vae.config.latents_mean, self.vae.config.latents_std))

    def check_frames(self, num_frames: int) -> None:
        if (num_frames - 1) % self.frames_per_latent:
            step, fewer = self.frames_per_latent, (num_frames - 1) // self.frames_per_latent * self.frames_per_latent + 1
            raise ValueError(f"num_frames: expected {step}k+1 for Wan (found {num_frames}): take {fewer} or {fewer + step}")

    @torch.no_grad()
    def sample(self, prompt: str, noise: Tensor, *, negative_prompt: str = "", num_inference_steps: int = 50,
               guidance_scale: float = 5.0, progress: bool = True) -> Tensor:
        """Normalised latents (C, F', h, w), float32. noise: (1, C, F', h, w)."""
        scheduler = UniPCMultistepScheduler.from_config(self.scheduler)
        scheduler.set_timesteps(num_inference_steps, device=self.device)
        prompts = [negative_prompt, prompt] if guidance_scale > 1 else [prompt]
        texts = self.text_batch(self.text_states(prompts)).to(self.device, self.transformer.dtype).split(1)
        latents = noise.float()
        for t in tqdm(scheduler.timesteps, desc="denoising", disable=not progress, leave=False):
            net_input = latents.to(self.transformer.dtype)
            predicted = [self.transformer(net_input, t.expand(1), text, return_dict=False)[0].float() for text in texts]
            guided = predicted[0] + guidance_scale * (predicted[1] - predicted[0]) if len(predicted) > 1 else predicted[0]
            latents = scheduler.step(guided, t, latents, return_dict=False)[0]
        return latents[0]

    def __call__(self, prompt: str, seed: int, *, num_frames: int = 81, size: tuple[int, int] = (480, 832),
                 **sampling) -> np.ndarray:
        """The video of a prompt, (F, H, W, 3) uint8 RGB; `sampling` as in `sample`."""
        self.check_frames(num_frames)
        side = self.pixels_per_latent * PATCH
        if min(size) < side or any(length % side for length in size):
            raise ValueError(f"size: expected multiples of {side} pixels for Wan (found {size[0]}x{size[1]}): round them")
        shape = (1, self.transformer.config.in_channels, (num_frames - 1) // self.frames_per_latent + 1,
                 size[0] // self.pixels_per_latent, size[1] // self.pixels_per_latent)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self.device)
        return as_video(self.decode(self.sample(prompt, noise, **sampling)))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Frames (F, H, W, 3) in [0, 1] on the CPU, of normalised latents (C, F', h, w)."""
        shift, scale = (values[:, None] for values in self.normalisation(latents))               # (C, 1, 1, 1)
        latents = (latents * scale + shift).to(self.vae.device, self.vae.dtype)
        with torch.autocast(self.vae.device.type, enabled=False):
            pixels = self.vae.decode(latents[None], return_dict=False)[0][0]                     # (3, F, H, W)
        return (pixels.float().cpu() / 2 + 0.5).clamp(0, 1).movedim(0, -1)                       # (F, H, W, 3)


def check_wan(folder: str | Path) -> Path:
    """The folder, when it holds a Wan text-to-video model with one transformer."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected the folder of Wan2.1-T2V in diffusers format (found none): check the path")
    index = read_json(folder / "model_index.json")
    if index.get("_class_name") != "WanPipeline":
        raise ValueError(f"{folder}: expected WanPipeline in model_index.json (found {index.get('_class_name')}): set "
                         "base=zeroscope, or take Wan2.1-T2V-1.3B-Diffusers")
    if (index.get("transformer_2") or [None])[0]:
        raise ValueError(f"{folder}: expected one transformer (found two: Wan2.2): take Wan2.1-T2V-1.3B-Diffusers")
    return folder


def part(kind: type, folder: Path, dtype: torch.dtype) -> nn.Module:
    """One network of the folder, from safetensors alone; a tensor that is missing or too many is an error."""
    wanted = {"dtype": dtype} if kind is UMT5EncoderModel else {"torch_dtype": dtype}
    model, report = kind.from_pretrained(folder, local_files_only=True, use_safetensors=True, output_loading_info=True, **wanted)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report.get(problem):
            raise ValueError(f"{folder}: expected a {kind.__name__} (found {problem.replace('_', ' ')}, first "
                             f"'{sorted(map(str, report[problem]))[0]}'): download the weights again")
    return model.requires_grad_(False).eval()


def fingerprint(folder: Path) -> str:
    """16 hex digits that differ between models of one size, and not between the precisions of one model."""
    for path in sorted((folder / "transformer").glob("*.safetensors")):
        first = read_tensors(path, None).get("patch_embedding.weight")
        if first is not None:
            return hashlib.sha256(first.to(torch.float16).contiguous().numpy().tobytes()).hexdigest()[:16]
    raise ValueError(f"{folder}/transformer: expected safetensors with patch_embedding.weight (found none): download again")


def apply_lora(transformer: WanTransformer3DModel, tensors: dict[str, Tensor], source: Path) -> None:
    """Add the updates of a LoRA file to the transformer's weights, for sampling."""
    transformer.load_lora_adapter(tensors, prefix="transformer")
    if not any("lora_" in name for name, _ in transformer.named_parameters()):
        raise ValueError(f"{source}: expected a LoRA of this transformer (found none of its layers): which model is it for?")
    transformer.fuse_lora()
    transformer.unload_lora()
