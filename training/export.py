"""The end of a training run: its averaged weights as a model that `PoseToVideo.load` reads."""
from __future__ import annotations

import logging
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors import SafetensorError
from torch import Tensor

from media.files import save_atomically
from mimicmotion.checkpoint import save_checkpoint
from mimicmotion.networks import PoseNet, PoseUNet
from mimicmotion.pipeline import PoseToVideo
from runtime.processes import leave
from runtime.weights import save_tensors
from training.checkpoints import cannot_write, write_image_encoder
from training.learner import is_lora, Learner, merged_state

log = logging.getLogger(__name__)


def export(accelerator: Accelerator, model: PoseToVideo, learner: Learner, output: Path) -> None:
    """Write config.json and model.safetensors to `output`; LoRA's updates are merged in, and beside it by themselves."""
    accelerator.wait_for_everyone()
    learner.use_averaged_weights()
    state = {}                                                                          # where the modules do not have it
    if learner.config.lora_rank:
        state = {f"unet.{name}": tensor for name, tensor in merged_state(model.unet).items()}
    elif learner.sharded:
        state = accelerator.get_state_dict(learner.distributed)                         # whole, on the main process
    if accelerator.is_main_process:
        try:
            write_model(model, learner, state, output)
        except (OSError, SafetensorError) as error:
            raise ValueError(cannot_write(output / "model.safetensors", error)) from error
        log.info("wrote %s", output / "model.safetensors")
    leave(accelerator)


def write_model(model: PoseToVideo, learner: Learner, state: dict[str, Tensor], output: Path) -> None:
    """Everything `output` then holds. state: the networks' tensors, where they are not the modules' own."""
    unet, pose_net = model.unet, model.pose_net
    if state:
        unet = PoseUNet.from_config(model.unet.config)
        unet.load_state_dict(part_of(state, "unet."))
    if learner.sharded:
        pose_net = PoseNet(unet.config.block_out_channels[0])
        pose_net.load_state_dict(part_of(state, "pose_net."))
    if learner.config.lora_rank:
        updates = {name: p.detach().half().cpu().contiguous() for name, p in learner.named if is_lora(name)}
        notes = {"rank": str(learner.config.lora_rank)}
        save_atomically(output / "lora.safetensors", lambda path: save_tensors(updates, path, notes))
    save_checkpoint(output, unet, pose_net)
    if learner.config.train_image_encoder:
        write_image_encoder(output / "image_encoder", learner, torch.float16)


def part_of(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
