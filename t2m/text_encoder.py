"""CLIP's text tower and tokenizer (Radford et al. 2021): texts become the features that the GPT is conditioned on (§3.2).

Written out because transformers takes four seconds to import. Tensor names are those of its CLIPTextModelWithProjection,
so published files load strictly.
"""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import models, normalizers, pre_tokenizers, processors, Regex, Tokenizer
from torch import nn, Tensor
from torch.nn import functional

from media.files import read_json
from runtime.weights import fill, finite, read_tensors, save_tensors, without_parameters
from t2m.weights import found

TEXT_FILES = ("model.safetensors", "pytorch_model.bin")
END_OF_WORD, START_OF_TEXT, END_OF_TEXT = "</w>", "<|startoftext|>", "<|endoftext|>"
CLIP_WORDS = Regex(r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""")
SIZES = dict(vocab_size=49408, hidden_size=512, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=8,
             max_position_embeddings=77, projection_dim=512, layer_norm_eps=1e-5, hidden_act="quick_gelu")      # where config.json is silent


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's own approximation of GELU."""
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": functional.gelu}


class Layer(nn.Module):
    """Pre-norm transformer layer in which a token sees itself and those before it."""

    def __init__(self, width: int, hidden: int, num_heads: int, epsilon: float, activation: str):
        super().__init__()
        self.num_heads, self.activation = num_heads, ACTIVATIONS[activation]
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        self.self_attn = nn.ModuleDict({f"{name}_proj": nn.Linear(width, width) for name in ("q", "k", "v", "out")})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, C) to (B, L, C)."""
        normed = self.layer_norm1(x)
        heads = [self.self_attn[name](normed).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
                 for name in ("q_proj", "k_proj", "v_proj")]                              # 3 times (B, heads, L, C / heads)
        attended = functional.scaled_dot_product_attention(*heads, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.self_attn["out_proj"](attended)
        return x + self.mlp["fc2"](self.activation(self.mlp["fc1"](self.layer_norm2(x))))


class TextTower(nn.Module):
    """CLIP's text transformer with its projection."""

    def __init__(self, config: dict):
        """config: of transformers' CLIPTextConfig, kept to be written beside the weights again."""
        super().__init__()
        self.config = SIZES | config
        width, epsilon = self.config["hidden_size"], self.config["layer_norm_eps"]
        self.text_model = nn.ModuleDict({
            "embeddings": nn.ModuleDict({"token_embedding": nn.Embedding(self.config["vocab_size"], width),
                                         "position_embedding": nn.Embedding(self.max_tokens, width)}),
            "encoder": nn.ModuleDict({"layers": nn.ModuleList(
                Layer(width, self.config["intermediate_size"], self.config["num_attention_heads"], epsilon, self.config["hidden_act"])
                for _ in range(self.config["num_hidden_layers"]))}),
            "final_layer_norm": nn.LayerNorm(width, epsilon)})
        self.text_projection = nn.Linear(width, self.width, bias=False)

    @property
    def max_tokens(self) -> int:
        return self.config["max_position_embeddings"]

    @property
    def width(self) -> int:
        """Numbers of a feature."""
        return self.config["projection_dim"]

    @classmethod
    def load(cls, folder: Path, dtype: torch.dtype = torch.float32, device: str = "cpu") -> TextTower:
        """From a folder with only the text half or with a whole CLIP. device="meta" compares and reads nothing."""
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"{folder / 'config.json'}: expected CLIP's text encoder there (found none): "
                                    "put openai/clip-vit-base-patch32 in the folder, or download the weights")
        config, path = read_json(folder / "config.json"), found(folder, TEXT_FILES)
        if "text_config" in config:
            config = {key: config[key] for key in ("projection_dim",) if key in config} | config["text_config"]
        try:
            with without_parameters():
                model = cls(config)
        except (TypeError, ValueError, KeyError, RuntimeError) as error:
            raise ValueError(f"{folder / 'config.json'}: expected the config of CLIP's text encoder ({error}): fetch it again") from None
        tensors, expected = read_tensors(path, dtype, device), model.state_dict()
        return fill(model, finite({name: tensor for name, tensor in tensors.items() if name in expected}, path), path)

    def save(self, folder: Path) -> None:
        """What `load` and transformers read: config.json and model.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        dtype = str(self.text_projection.weight.dtype).removeprefix("torch.")
        named = {"architectures": ["CLIPTextModelWithProjection"], "model_type": "clip_text_model", "dtype": dtype}
        (folder / "config.json").write_text(json.dumps(self.config | named, indent=1, sort_keys=True) + "\n")
        save_tensors({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, folder / TEXT_FILES[0], {"format": "pt"})

    def forward(self, ids: Tensor, ends: Tensor) -> Tensor:
        """Tokens (B, L) and the place (B,) of each text's last one to features (B, D), not normalised."""
        embeddings = self.text_model["embeddings"]
        x = embeddings["token_embedding"](ids) + embeddings["position_embedding"].weight[:ids.shape[1]]       # (B, L, C)
        for layer in self.text_model["encoder"]["layers"]:
            x = layer(x)
        x = self.text_model["final_layer_norm"](x)
        return self.text_projection(x[torch.arange(len(x), device=x.device), ends])


def load_tokenizer(folder: Path) -> Tokenizer:
    """CLIP's tokenizer from its two files: byte pairs of lower-case words, between a start and an end token."""
    for name in ("vocab.json", "merges.txt"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name}: expected CLIP's tokenizer there (found none): "
                                    "fetch it with python scripts/download_weights.py t2m")
    try:
        pairs = models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"), unk_token=END_OF_TEXT,
                                     continuing_subword_prefix="", end_of_word_suffix=END_OF_WORD)
        tokenizer = Tokenizer(pairs)
        ends = [(token, tokenizer.token_to_id(token)) for token in (START_OF_TEXT, END_OF_TEXT)]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{START_OF_TEXT} $A {END_OF_TEXT}", special_tokens=ends)
    except Exception as error:      # what the tokenizers library raises has no class of its own
        raise ValueError(f"{folder}: expected CLIP's vocab.json and merges.txt ({error}): fetch them again") from None
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(CLIP_WORDS, behavior="removed", invert=True),
                                                       pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(END_OF_TEXT), pad_token=END_OF_TEXT)
    return tokenizer


@dataclass(frozen=True)
class TextEncoder:
    """CLIP's text tower with its tokenizer. Over-long text is cut at the context length, as clip.tokenize does."""

    model: TextTower
    tokenizer: Tokenizer

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> TextEncoder:
        """From `folder`/text_encoder and `folder`/tokenizer, or from a snapshot of a whole CLIP in `folder`."""
        model_folder, tokenizer_folder = text_folders(Path(folder))
        model, tokenizer = TextTower.load(model_folder, dtype).to(device), load_tokenizer(tokenizer_folder)
        tokenizer.enable_truncation(model.max_tokens)
        return cls(model, tokenizer)

    def __call__(self, texts: list[str]) -> Tensor:
        """(B, D), not normalised."""
        encoded = self.tokenizer.encode_batch(texts)
        ids, ends = [text.ids for text in encoded], [sum(text.attention_mask) - 1 for text in encoded]
        device = self.model.text_projection.weight.device
        return self.model(torch.tensor(ids, device=device), torch.tensor(ends, device=device))


def text_folders(folder: Path) -> tuple[Path, Path]:
    """Where the text encoder and the tokenizer are: in folders of their own, or together."""
    model = folder / "text_encoder" if (folder / "text_encoder").is_dir() else folder
    return model, folder / "tokenizer" if (folder / "tokenizer").is_dir() else model
