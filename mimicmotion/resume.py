"""Training checkpoints: everything a run needs to go on exactly.

checkpoint-<step>/ holds config.json and model.safetensors, the averaged weights, which `PoseToVideo.load` reads;
image_encoder/ where that is trained; for LoRA lora.safetensors instead of them; trained.safetensors, the weights training
goes on from; loop.pt (optimizer, learning rate, scaler, every process's random state); state.json. Weights cut up over
processes (FSDP, DeepSpeed) are in sharded/, and their averages in averaged.safetensors.
"""
from __future__ import annotations

import json
import logging
from dataclasses import asdict, fields
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors.torch import load_file
from torch.distributed.checkpoint import CheckpointException

from .checkpoint import save_checkpoint, save_tensors
from .checkpoint_folder import (
    begin, by_the_main_process, cannot_write, publish, random_state, restore_random_state,
)
from .learner import Learner
from .train_config import TrainConfig

logger = logging.getLogger(__name__)

# settings that may change between two halves of a run without changing what it computes
FREE = {"output", "max_steps", "num_workers", "checkpoint_every", "checkpoints_total_limit", "resume", "resume_from",
        "log_every", "report_to", "validate_every", "validation_videos", "validation_sampling_steps",
        "gradient_checkpointing", "compile", "attention"}
SAME_DATA = {"batch_size", "gradient_accumulation"}      # may change when their product with the processes stays


def save(output: Path, learner: Learner, step: int, position: int) -> None:
    """Write checkpoint-<step>. All processes call it. position: samples taken so far, by all of them."""
    accelerator, config = learner.accelerator, learner.config
    randomness = gather_object([random_state()])
    partial = by_the_main_process(accelerator, lambda: begin(output, step))
    if learner.sharded:
        write_shards(accelerator, output, step)
    averaged = learner.averaged_state() if learner.sharded else {}
    state = {"step": step, "position": position, "num_processes": accelerator.num_processes,
             "sharded": str(accelerator.distributed_type) if learner.sharded else None, "config": asdict(config)}

    def write(folder: Path) -> None:
        if not learner.sharded:
            write_weights(folder, learner)
        if averaged:
            save_tensors(averaged, folder / "averaged.safetensors")
        torch.save({**learner.loop_state(), "randomness": randomness}, folder / "loop.pt")
        (folder / "state.json").write_text(json.dumps(state, indent=1))

    by_the_main_process(accelerator, lambda: publish(partial, output, step, write, config.checkpoints_total_limit))


def write_shards(accelerator: Accelerator, output: Path, step: int) -> None:
    """Every process's part of weights and optimizer; where one cannot write, all end with the reason."""
    final = output / f"checkpoint-{step}"
    try:
        accelerator.save_state(str(output / f".checkpoint-{step}.partial" / "sharded"))
    except CheckpointException as error:
        reason, _ = next(iter(error.failures.values()))
        raise ValueError(cannot_write(final, reason)) from error
    except OSError as error:
        raise ValueError(cannot_write(final, error)) from error


def write_weights(folder: Path, learner: Learner) -> None:
    """The averaged weights in float32, as a model to load or LoRA's updates alone, and beside them the trained ones."""
    if learner.ema is not None:
        save_tensors(learner.trained_state(), folder / "trained.safetensors")
    with learner.averaged_weights():
        if learner.config.lora_rank:
            save_tensors(learner.trained_state(), folder / "lora.safetensors")
            return
        save_checkpoint(folder, learner.objective.unet, learner.objective.pose_net, torch.float32)
        if learner.config.train_image_encoder:
            write_image_encoder(folder / "image_encoder", learner, torch.float32)


def write_image_encoder(folder: Path, learner: Learner, dtype: torch.dtype) -> None:
    """The image encoder as a component folder that `PoseToVideo.load` finds beside the model."""
    folder.mkdir(parents=True, exist_ok=True)
    encoder = learner.objective.image_encoder
    encoder.config.to_json_file(folder / "config.json")
    tensors = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in encoder.state_dict().items()}
    save_tensors(tensors, folder / "model.safetensors", {"format": "pt"})


def read_weights(checkpoint: Path, learner: Learner) -> None:
    """Put a checkpoint's averaged weights into the objective, exactly those it has."""
    if learner.config.lora_rank:
        learner.set_trained(load_file(checkpoint / "lora.safetensors"), checkpoint)
        return
    tensors = load_file(checkpoint / "model.safetensors")
    own = {name: tensor for name, tensor in learner.objective.state_dict().items()
           if learner.config.train_image_encoder or not name.startswith("image_encoder.")}
    if learner.config.train_image_encoder:
        encoder = load_file(checkpoint / "image_encoder" / "model.safetensors")
        tensors |= {f"image_encoder.{name}": tensor for name, tensor in encoder.items()}
    if own.keys() != tensors.keys():
        other = sorted(own.keys() ^ tensors.keys())[0]
        raise ValueError(f"{checkpoint}: expected the tensors of this model (found a difference in '{other}'): "
                         "was it trained from another svd or checkpoint?")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])


def restore(checkpoint: Path, learner: Learner) -> tuple[int, int]:
    """Restore a run from a checkpoint: (step, samples taken so far). Other settings are refused, and named."""
    processes = learner.accelerator.num_processes
    state = json.loads((checkpoint / "state.json").read_text())
    kind = str(learner.accelerator.distributed_type) if learner.sharded else None
    if state["sharded"] != kind or (kind and state["num_processes"] != processes):
        raise ValueError(f"{checkpoint}: expected the {state['num_processes']} processes that wrote it, with "
                         f"{state['sharded'] or 'whole'} weights (found {processes} with {kind or 'whole'} weights): "
                         "cut-up weights go back to the same processes only; start as before, or choose another output")
    refuse_other_settings(checkpoint, state["config"], learner.config, state["num_processes"], processes)
    if learner.sharded:
        learner.accelerator.load_state(str(checkpoint / "sharded"))
        averaged = {} if learner.ema is None else load_file(checkpoint / "averaged.safetensors")
    else:
        read_weights(checkpoint, learner)
        averaged = learner.trained_state()                              # as they were just read
        if learner.ema is not None:
            learner.set_trained(load_file(checkpoint / "trained.safetensors"), checkpoint)
    loop = torch.load(checkpoint / "loop.pt", map_location="cpu", weights_only=True)
    learner.load_loop_state(loop, averaged, checkpoint)
    if processes == state["num_processes"]:
        restore_random_state(loop["randomness"][learner.accelerator.process_index])
    else:
        logger.warning("%s was written by %d processes, now there are %d: the samples go on where they stopped, %d per "
                       "step instead of %d", checkpoint.name, state["num_processes"], processes,
                       processes * learner.config.batch_size, state["num_processes"] * state["config"]["batch_size"])
    logger.info("resuming from %s", checkpoint)
    return state["step"], state["position"]


def refuse_other_settings(path: Path, written: dict, config: TrainConfig, processes_then: int, processes: int) -> None:
    """A ValueError that names every setting which would change the result; new settings had their defaults then."""
    defaults = {item.name: item.default for item in fields(TrainConfig)}
    then = defaults | written
    changed = {key for key, value in asdict(config).items() if key not in FREE and then[key] != value}
    samples_then = then["batch_size"] * then["gradient_accumulation"] * processes_then
    if samples_then == config.batch_size * config.gradient_accumulation * processes:
        changed -= SAME_DATA
    if changed:
        listed = "; ".join(f"{key}: {then[key]} -> {getattr(config, key)}" for key in sorted(changed))
        raise ValueError(f"{path}: written with other settings ({listed}): "
                         "restore them, or choose another output")
    if then["max_steps"] != config.max_steps and config.final_learning_rate != 1:
        logger.warning("max_steps: %d -> %d: the learning rate follows the new cosine from here on", then["max_steps"],
                       config.max_steps)
