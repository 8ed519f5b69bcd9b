"""The flags of the published training scripts (Fleximo's README, SVD_Xtend's train_svd.py) as settings of ours."""
import difflib
import textwrap

FLAGS = {                                    # flag with a value -> key
    "pretrained_model_name_or_path": "svd",
    "pretrain_unet": "checkpoint",
    "output_dir": "train.output",
    "width": "width",
    "height": "height",
    "num_frames": "num_frames",
    "per_gpu_batch_size": "train.batch_size",
    "gradient_accumulation_steps": "train.gradient_accumulation",
    "max_train_steps": "train.max_steps",
    "checkpointing_steps": "train.checkpoint_every",
    "checkpoints_total_limit": "train.checkpoints_total_limit",
    "resume_from_checkpoint": "train.resume_from",
    "learning_rate": "train.learning_rate",
    "lr_warmup_steps": "train.warmup_steps",
    "adam_weight_decay": "train.weight_decay",
    "max_grad_norm": "train.max_grad_norm",
    "conditioning_dropout_prob": "train.conditioning_dropout",
    "mixed_precision": "train.mixed_precision",
    "validation_steps": "train.validate_every",
    "num_validation_images": "train.validation_videos",
    "num_workers": "train.num_workers",
    "report_to": "train.report_to",
    "seed": "train.seed",
}
SWITCHES = {                                 # flag without a value -> assignment
    "enable_xformers_memory_efficient_attention": "train.attention=xformers",
    "gradient_checkpointing": "train.gradient_checkpointing=true",
    "use_8bit_adam": "train.optimizer=adamw_8bit",
    "use_ema": "train.ema_decay=0.9999",
    "allow_tf32": "train.allow_tf32=true",
}
GONE = {                                     # flag -> what to do instead
    "num_train_epochs": "say how long with --max_train_steps",
    "scale_lr": "give the final number with --learning_rate",
    "lr_scheduler": "constant, or a cosine with train.final_learning_rate=0.1",
    "non_ema_revision": "download the weights, then --pretrained_model_name_or_path=FOLDER",
    "revision": "download the weights, then --pretrained_model_name_or_path=FOLDER",
    "hub_token": "nothing is uploaded",
    "push_to_hub": "nothing is uploaded",
    "logging_dir": "logs are in train.output",
}


def translated(argv: list[str]) -> list[str]:
    """Arguments with published flags turned into key=value; --config, --help and key=value pass through."""
    result, arguments = [], iter(argv)
    for argument in arguments:
        flag, has_value, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or flag in ("config", "help", "help-all"):
            result.append(argument)
            if argument == "--config":
                result += [next(arguments)] if argv[-1] != "--config" else []
        elif flag in SWITCHES and not has_value:
            result.append(SWITCHES[flag])
        elif flag in FLAGS:
            value = value if has_value else next(arguments, None)
            if value is None or (not has_value and value.startswith("--")):
                raise ValueError(f"--{flag}: expected a value, as in --{flag}=VALUE")
            result.append(f"{FLAGS[flag]}={value}")
        else:
            raise ValueError(f"--{flag}: {unknown(flag, bool(has_value))}")
    validates = any(word.startswith("train.validate_every=") and word != "train.validate_every=0" for word in result)
    if validates and not any("train.validation_clips=" in word for word in result) and "--config" not in result:
        result.append("train.validation_clips=1")          # the published scripts validate on one clip
    return result


def unknown(flag: str, has_value: bool) -> str:
    """What to do about a flag that is none of ours."""
    if flag in GONE:
        return f"this flag of the published script has no counterpart here: {GONE[flag]}"
    if flag in SWITCHES and has_value:
        return f"takes no value here: --{flag}, or {SWITCHES[flag]}"
    near = difflib.get_close_matches(flag, [*FLAGS, *SWITCHES], n=1, cutoff=0.5)
    return f"no such flag: {f'did you mean --{near[0]}?' if near else 'see --help for all keys and flags'}"


def flags_help() -> str:
    """The table for --help."""
    pairs = [f"--{flag}=… ({key})" for flag, key in FLAGS.items()]
    pairs += [f"--{flag} ({assignment})" for flag, assignment in SWITCHES.items()]
    text = "The published scripts' flags are understood, too: " + ", ".join(pairs)
    return "\n".join(textwrap.wrap(text, 118, break_on_hyphens=False, break_long_words=False))
