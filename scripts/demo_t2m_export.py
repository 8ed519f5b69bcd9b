"""Sizes of the demo's text-to-motion model, and the folder it is shipped in."""
from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from mimicmotion.checkpoint import save_tensors
from scripts.demo_t2m_data import FORWARD_SMOOTHING
from scripts.demo_t2m_text import CONTEXT_LENGTH, PROMPT
from synthetic.phrases import PHRASES
from t2m.transformer import GPT
from t2m.vqvae import VQVAE

TEXT_DIM = 128
VQVAE_SIZE = dict(num_codes=512, code_dim=64, width=120, depth=3)
GPT_SIZE = dict(num_codes=512, width=128, text_dim=TEXT_DIM, block_size=51, num_layers=2, num_heads=4, dropout=0.1)
STARRED = re.compile(r"\*([a-z]+)")         # a verb in synthetic.phrases
EXAMPLE = dict(side="right", their="their", them="them", they="they", are="are", have="have", them_self="themselves")
TEMPERATURE = 1.0               # of the shipped model's draws


VAGUE = frozenset(              # verbs of the phrases that say nothing about the motion by themselves
    "act be beat boot bring cast come confirm deliver deny display do down draw drive drop edge exercise express face "
    "form get give go have head hide hit hold hook keep land launch look lower make move open pass pause pay perform "
    "pick place plant play pose practice pull put remain rest say set settle shoot show single slide slip split stay "
    "stick stop strike swim take talk taste test thank tie trade train use wait warm work wrap agree answer call eat "
    "flag harden leap lift raise race shake shade swing speed "
    .split())
NAMED = ("arms", "hands", "palms", "applause", "biceps", "muscles", "jack", "phone", "telephone", "ear", "seat", "chair",
         "bench", "toes", "hips", "waist", "akimbo", "boxer", "knee", "knees", "goodbye", "hello", "still", "sideways",
         "surrender", "raise", "lift", "head", "leap", "race", "applaud", "salute")


def text_encoder(vocab_size: int, end_of_text: int) -> CLIPTextModelWithProjection:
    """CLIP's text tower at the demo's size, with fresh weights."""
    return CLIPTextModelWithProjection(CLIPTextConfig(
        vocab_size=vocab_size, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=CONTEXT_LENGTH, projection_dim=TEXT_DIM, attention_dropout=0.1,
        bos_token_id=end_of_text - 1, eos_token_id=end_of_text, pad_token_id=end_of_text))


def save_half(model: nn.Module, path: Path) -> None:
    save_tensors({name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}, path)


def export(folder: Path, vqvae: VQVAE, gpt: GPT, encoder: CLIPTextModelWithProjection, tokenizer: Path,
           mean: np.ndarray, std: np.ndarray) -> None:
    """Write everything TextToMotion.load reads, weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(dict(
        vqvae=VQVAE_SIZE, gpt=GPT_SIZE, prompt=PROMPT, temperature=TEMPERATURE,
        forward_smoothing=FORWARD_SMOOTHING), indent=1) + "\n")
    (folder / "known_motions.json").write_text(json.dumps(known_motions(), indent=1) + "\n")
    save_half(vqvae, folder / "vqvae.safetensors")
    save_half(gpt, folder / "gpt.safetensors")
    np.save(folder / "mean.npy", mean)
    np.save(folder / "std.npy", std)
    encoder.half().save_pretrained(folder / "text_encoder")
    shutil.copytree(tokenizer, folder / "tokenizer", dirs_exist_ok=True)


def known_motions() -> dict[str, list[str]]:
    """Words that name a motion, and one phrase per motion, in the words of the training captions."""
    verbs = {verb for phrases in PHRASES.values() for phrase in phrases for verb in STARRED.findall(phrase)}
    phrases = [" ".join(STARRED.sub(r"\1", listed[0]).format_map(EXAMPLE).split()) for listed in PHRASES.values()]
    return dict(words=sorted({*NAMED, *(verbs - VAGUE)}), phrases=phrases)
