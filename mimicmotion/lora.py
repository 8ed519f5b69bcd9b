"""Low-rank updates of the UNet's attention (Hu et al. 2021): a hundredth of the numbers to train, save and share."""
from __future__ import annotations

from torch import Tensor, nn

PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")


def add_lora(unet: nn.Module, rank: int) -> None:
    """Give every attention projection an update of `rank`, zero at the start; needs peft."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ValueError(f"lora_rank: expected peft to be installed ({error}): pip install peft") from error
    config = LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(PROJECTIONS))
    inject_adapter_in_model(config, unet)


def is_lora(name: str) -> bool:
    """Does this parameter belong to an update?"""
    return ".lora_" in name


def merged_state(unet: nn.Module) -> dict[str, Tensor]:
    """The UNet's tensors under their usual names, updates added in: what a UNet without LoRA loads."""
    state = {}
    layers = {name: module for name, module in unet.named_modules() if hasattr(module, "get_delta_weight")}
    for name, tensor in unet.state_dict().items():
        if is_lora(name):
            continue
        owner, _, kind = name.rpartition(".base_layer.")
        if owner in layers and kind == "weight":
            tensor = tensor + sum(layers[owner].get_delta_weight(adapter) for adapter in layers[owner].lora_A)
        state[name.replace(".base_layer.", ".")] = tensor
    return state
