"""Customising a motion as a task of the training loop: exemplar and prior clips in, trained tensors out.

Everything random in a sample is a function of (seed, position, what it is for): a prior clip more, another batch size or
another number of processes changes nothing else. Trained weights are float32; the frozen rest may be half precision.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.task import VALIDATION_POSITION, Batch, Task

from newmove.clips import ROLES
from newmove.objective import PRIOR_WEIGHT, CustomizationLoss, with_checkpointing, without_dropout
from runtime.device import generator_for

TEXTS_AT_ONCE = 32
VALIDATION_STEPS = 25


class MotionTask(Task):
    """What the loop trains: `objective` on `inputs(batch)`; a batch is what `MotionClips` items collate to.

    model: TextToVideo or WanTextToVideo. groups: what is trained, see objective.py; LoRA for Wan. sampling: one of
    objective.MODES. offset_noise: strength of noise common to a frame's places; 0 = off. frozen_dtype: of all weights
    that are not trained, None to leave them. word: noted in the result. validation_prompts: of the videos made on the
    way, else the held-out captions. settings: what checkpoints are to remember besides.
    """

    def __init__(self, model, groups, *, sampling: str = "high-level", prior_weight: float = PRIOR_WEIGHT,
                 debiasing: float = 0.0, offset_noise: float = 0.0, gradient_checkpointing: bool = False,
                 frozen_dtype: torch.dtype | None = None, seed: int = 0, word: str = "",
                 validation_prompts: Sequence[str] = (), settings: dict | None = None):
        self.model, self.seed, self.offset_noise, self.word = model, seed, offset_noise, word
        self.validation_prompts, self.settings = list(validation_prompts), settings or {}
        self.noise_levels = model.training_noise(sampling)
        torch.manual_seed(seed)                                                          # new weights: LoRA's
        self.trained_names = model.choose_trained(groups)
        network = without_dropout(model.network)
        model.text_encoder.requires_grad_(False)
        if frozen_dtype is not None:
            model.text_encoder.to(frozen_dtype)                                          # the VAE stays float32
        for name, parameter in network.named_parameters():
            parameter.data = parameter.data.to(torch.float32 if parameter.requires_grad else frozen_dtype or parameter.dtype)
        if gradient_checkpointing:
            with_checkpointing(network)
        self.objective = CustomizationLoss(network, prior_weight, debiasing)
        self.texts: dict[str, Tensor] = {}

    def inputs(self, batch: Batch) -> tuple[Tensor, ...]:
        """What `CustomizationLoss` takes, on the model's device."""
        latents = self.latents(batch)                                                    # (B, K, C, F, h, w)
        noise, levels, anchor = self.randomness(batch["position"].tolist(), latents.shape[1:])
        device = latents.device
        noisy, target, timestep = self.noise_levels.noised(latents.flatten(0, 1), noise.to(device).flatten(0, 1),
                                                           levels.to(device).flatten())
        shape = latents.shape[:2]
        return noisy.unflatten(0, shape), target.unflatten(0, shape), timestep.unflatten(0, shape), \
            self.text(batch), anchor

    @torch.no_grad()
    def latents(self, batch: Batch) -> Tensor:
        """Scaled latents (B, K, C, F, h, w), float32, of cached moments or of frames; the posterior is sampled here."""
        device = self.model.device
        if "latent_mean" in batch:
            mean, std = batch["latent_mean"].to(device), batch["latent_std"].to(device)
        else:
            encoded = [self.model.encode_frames(clip.to(device)) for clip in batch["frames"].flatten(0, 1)]
            shape = batch["frames"].shape[:2]
            mean, std = (torch.stack(moments).unflatten(0, shape) for moments in zip(*encoded))
        noise = torch.stack([torch.stack([torch.randn(mean.shape[2:], generator=generator_for(self.seed, p, role, "posterior"))
                                          for role in ROLES[:mean.shape[1]]]) for p in batch["position"].tolist()])
        return self.model.latents_from(mean, std, noise.to(device))

    def randomness(self, positions: list[int], shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Noise (B, K, C, F, h, w), noise levels (B, K) and anchor frames (B,); exemplar and prior independently.

        shape: (K, C, F, h, w)
        """
        noise, levels = [], []
        for position in positions:
            for role in ROLES[:shape[0]]:
                generator = generator_for(self.seed, position, role, "noise")
                noise.append(torch.randn(shape[1:], generator=generator))
                if self.offset_noise:
                    noise[-1] += self.offset_noise * torch.randn((*shape[1:3], 1, 1), generator=generator)
                levels.append(self.noise_levels.draw(generator_for(self.seed, position, role, "level")))
        anchors = [torch.randint(shape[2], (), generator=generator_for(self.seed, position, "anchor")) for position in positions]
        pairs = (len(positions), shape[0])
        return torch.stack(noise).unflatten(0, pairs), torch.stack(levels).unflatten(0, pairs), torch.stack(anchors)

    def text(self, batch: Batch) -> Tensor:
        """Text states (B, K, L, D) of the batch's captions, each encoded once in a run."""
        captions = [batch[f"{role}_caption"] for role in ROLES if f"{role}_caption" in batch]
        flat = [caption for sample in zip(*captions) for caption in sample]              # B*K
        self.remember(flat)
        states = self.model.text_batch([self.texts[caption] for caption in flat])
        return states.to(self.model.device).unflatten(0, (-1, len(captions)))

    def remember(self, captions: Iterable[str]) -> None:
        """Encode captions that were not seen before; after all of them the text encoder may leave the GPU."""
        new = [caption for caption in dict.fromkeys(captions) if caption not in self.texts]
        for start in range(0, len(new), TEXTS_AT_ONCE):
            few = new[start:start + TEXTS_AT_ONCE]
            self.texts |= {caption: states.cpu() for caption, states in zip(few, self.model.text_states(few))}

    def trained(self) -> dict[str, Tensor]:
        """The trained tensors by their names in the network."""
        parameters = dict(self.objective.network.named_parameters())
        return {name: parameters[name] for name in self.trained_names}

    def export(self, folder: Path) -> None:
        """Write the trained tensors alone; `load_customized` reads them."""
        self.model.save_trained(folder, self.trained(), self.word)

    def sample(self, batch: Batch) -> np.ndarray:
        """A video (F, H, W, 3) uint8 RGB of a validation prompt, as large and long as the batch's clip."""
        number, side = int(batch["position"][0]) % VALIDATION_POSITION, self.model.pixels_per_latent
        prompts = self.validation_prompts or batch["exemplar_caption"]
        size = batch["frames"].shape[-2:] if "frames" in batch else [side * n for n in batch["latent_mean"].shape[-2:]]
        return self.model(prompts[number % len(prompts)], number, num_frames=batch["indices"].shape[-1], size=tuple(size),
                          num_inference_steps=VALIDATION_STEPS, progress=False)


def pieces_of(tokenizer, word: str) -> list[str]:
    """What the tokenizer makes of a word; more than one piece is a word it does not know."""
    return [piece.replace("</w>", "").replace("▁", "") for piece in tokenizer.tokenize(word) if piece != "▁"]
