"""Picture + pose frames → video: MimicMotion (arXiv 2406.19680) on Stable Video Diffusion. Frames, never joints.

Here are the settings of its training, which a script reads before it imports any network.
"""
from __future__ import annotations

from dataclasses import dataclass

from configs import setting
from training.task import MAX_LORA_RANK, TrainConfig

PARTS = ("all", "spatial", "temporal")


@dataclass
class VideoTrainConfig(TrainConfig):
    """Settings of one training run. The defaults are MimicMotion's fine-tuning (paper, section 4.1)."""

    parts: str = setting("all", "what is trained; spatial is for single pictures", PARTS)
    lora_rank: int = setting(0, "train low-rank updates of the UNet's attention, and PoseNet; 0 = all weights")
    train_image_encoder: bool = setting(False, "also train the CLIP image encoder")
    sigma_mean: float = setting(0.7, "mean of ln(sigma)")
    sigma_std: float = setting(1.6, "standard deviation of ln(sigma)")
    sigma_uniform_share: float = setting(0.0, "share of samples whose sigma is log-uniform")
    min_snr_gamma: float = setting(0.0, "min-SNR weighting (Hang et al. 2023, who use 5); 0 = off")
    conditioning_dropout: float = setting(0.1, "share of samples without picture and pose, for guidance")
    moved_dropout: float = setting(0.1, "share of samples that are not told of the moved picture, for weights that take it")
    noise_aug_strength: float = setting(0.02, "noise on the reference picture; the median where it is drawn")
    noise_aug_spread: float = setting(0.0, "standard deviation of its logarithm per sample; 0 = not drawn")
    noise_sharing: float = setting(0.0, "share of the noise's variance common to a clip's frames; 0 as SVD")
    pose_weight: float = setting(1.0, "loss weight where the pose is drawn, against 1 elsewhere")
    hand_weight: float = setting(10.0, "loss weight around clearly seen hands, where the data says where they are")
    head_weight: float = setting(1.0, "loss weight around a clearly seen face and its hair, where the data says where")
    hand_confidence: float = setting(0.5, "mean confidence from which a hand or a face is clearly seen")
    fps: int = setting(7, "frame rate the network is told where the data does not say")
    motion_bucket_id: int = setting(127, "amount of motion the network is told where the data does not say")
    gradient_checkpointing: bool = setting(False, "less memory, a third more time", free=True)
    attention: str = setting("sdpa", "PyTorch's attention, or xformers'", ("sdpa", "xformers"), free=True)
    compile: bool = setting(False, "torch.compile the UNet: minutes at the start, then faster steps", free=True)
    validation_sampling_steps: int = setting(25, "sampling steps of the validation videos", free=True)

    def __post_init__(self):
        super().__post_init__()
        self.require_at_least(1, "fps", "validation_sampling_steps")
        self.require_at_least(0, "lora_rank", "min_snr_gamma", "noise_aug_strength", "noise_aug_spread", "sigma_std",
                              "pose_weight", "hand_weight", "head_weight", "motion_bucket_id")
        self.require_at_most(MAX_LORA_RANK, "lora_rank")
        self.require_shares("sigma_uniform_share", "conditioning_dropout", "moved_dropout", "noise_sharing", "hand_confidence")
        if self.lora_rank and self.parts != "all":
            raise ValueError(f"lora_rank: expected parts=all (found parts={self.parts}): LoRA chooses its own layers")
        if self.lora_rank and self.train_image_encoder:
            raise ValueError("lora_rank: expected train_image_encoder=false (found true): choose one of them")
