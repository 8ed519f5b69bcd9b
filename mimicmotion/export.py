"""The end of a training run: its averaged weights as a model that `PoseToVideo.load` reads."""
from __future__ import annotations

import logging
from pathlib import Path

import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from .checkpoint import save_atomically, save_checkpoint
from .learner import Learner
from .lora import is_lora, merged_state
from .pipeline import PoseToVideo
from .pose_net import PoseNet
from .resume import write_image_encoder
from .unet import PoseUNet

logger = logging.getLogger(__name__)


def export(accelerator: Accelerator, model: PoseToVideo, learner: Learner, output: Path) -> None:
    """Write config.json and model.safetensors to `output`; LoRA's updates are merged in, and beside it by themselves."""
    accelerator.wait_for_everyone()
    learner.use_averaged_weights()
    unet_state = None
    if learner.config.lora_rank:
        unet_state = merged_state(model.unet)
    elif learner.sharded:
        gathered = accelerator.get_state_dict(learner.distributed)                      # whole, on the main process
        unet_state = {name.removeprefix("unet."): t for name, t in gathered.items() if name.startswith("unet.")}
    if accelerator.is_main_process:
        unet, pose_net = model.unet, model.pose_net
        if unet_state is not None:
            unet = PoseUNet.from_config(model.unet.config)
            unet.load_state_dict(unet_state)
        if learner.sharded:
            pose_net = PoseNet(unet.config.block_out_channels[0])
            pose_net.load_state_dict({name.removeprefix("pose_net."): t for name, t in gathered.items()
                                      if name.startswith("pose_net.")})
        if learner.config.lora_rank:
            updates = {name: p.detach().half().cpu().contiguous() for name, p in learner.named if is_lora(name)}
            notes = {"rank": str(learner.config.lora_rank)}
            save_atomically(output / "lora.safetensors", lambda path: save_file(updates, path, metadata=notes))
        save_checkpoint(output, unet, pose_net)
        if learner.config.train_image_encoder:
            write_image_encoder(output / "image_encoder", learner, torch.float16)
        logger.info("wrote %s", output / "model.safetensors")
    accelerator.end_training()
