"""The settings of each renderer, which import none of its networks."""
from dataclasses import dataclass

from configs import setting

SMALLEST = {"num_inference_steps": 1, "tile_size": 1, "decode_chunk_size": 1, "feature_cache": 1, "fps": 1,
            "noise_aug_strength": 0, "motion_bucket_id": 0}
LARGEST = {"num_inference_steps": 1000}          # SVD was trained with as many noise levels


@dataclass
class VideoModelConfig:
    """A pose-to-video model: SVD's parts and a checkpoint with UNet and PoseNet"""
    svd: str = setting("weights/svd", "folder of Stable Video Diffusion in diffusers format (VAE, image encoder, scheduler)")
    checkpoint: str = setting("weights/mimicmotion/MimicMotion_1-1.pth", "UNet + PoseNet: a folder, .safetensors or .pth")
    share_reference: bool = setting(True, "put the picture's own pose before the first frame, as MimicMotion does")
    num_inference_steps: int = setting(25, "denoising steps")
    schedule: str = setting("karras", "their noise levels; karras: as published; align_your_steps: made for 10 steps",
                            ("karras", "align_your_steps"))
    guidance_scale: float = setting(2.0, "classifier-free guidance; 1 or less: off, twice as fast")
    guidance_sigma_min: float = setting(0.0, "guidance only at noise levels above this; 0: to the end")
    guidance_sigma_max: float = setting(700.0, "guidance only at noise levels up to this; 700: from the start")
    noise_aug_strength: float = setting(0.0, "noise on the reference picture, standard deviation in [-1, 1] pixels")
    noise_sharing: float = setting(0.0, "share of the initial noise common to all frames, 0 to 1; more flickers less")
    tile_size: int = setting(72, "frames denoised together (72 for MimicMotion 1.1, 16 for 1.0)")
    tile_overlap: int = setting(6, "frames neighbouring tiles share")
    tiles: str = setting("balanced", "balanced: tiles of equal length; published: as MimicMotion's code", ("balanced", "published"))
    max_tile: int = setting(0, "balanced: a video of up to so many frames is one tile; 0: an eighth above tile_size")
    feature_cache: int = setting(1, "steps that share the UNet's deep features; 1: none, exact; 2: 1.4 times as fast, 3: 1.6 "
                                    "(55 and 49 dB to exact with the demo weights)")
    compile: bool = setting(False, "torch.compile: minutes before the first step, then faster steps")
    decode_chunk_size: int = setting(8, "frames the VAE decodes together")
    fps: int = setting(7, "frame rate the network is told (7 in MimicMotion, whatever the video's is)")
    motion_bucket_id: int = setting(127, "amount of motion the network is told")

    def check(self, key: str) -> None:
        """Refuses numbers out of their range with a ValueError. key: of these settings, for the message."""
        for name, smallest in SMALLEST.items():
            if (found := getattr(self, name)) < smallest:
                raise ValueError(f"{key}.{name}: must be at least {smallest} (found {found})")
        for name, largest in LARGEST.items():
            if (found := getattr(self, name)) > largest:
                raise ValueError(f"{key}.{name}: must be at most {largest} (found {found})")
        if self.feature_cache > self.num_inference_steps:
            raise ValueError(f"{key}.feature_cache: must be at most num_inference_steps, {self.num_inference_steps} (found "
                             f"{self.feature_cache}): 2 or 3 are fast and close")


@dataclass(frozen=True)
class MimicMotionConfig:
    """What the renderer `mimicmotion` is loaded from; in a config file these are separate groups."""
    generator: VideoModelConfig              # poses -> video
    adapter: VideoModelConfig | None         # poses without hands -> with hands; None: the skeleton is drawn as it is
    style: str                               # the brush its weights know


@dataclass
class PuppetConfig:
    """renderer=puppet: the photograph's own limbs, moved"""
    mask: str = setting("auto", "where the person's outline comes from; colour: from the keypoints and the colours around them; mediapipe: the "
                        "detector for photographs; auto: that one where its weights are", ("auto", "mediapipe", "colour"))
    shadow: bool = setting(True, "the shadow at the feet goes with them")
    hands: bool = setting(True, "hands that the picture hides are drawn where an arm takes them out")


@dataclass
class MusePoseConfig:
    """renderer=musepose: MusePose's own networks"""
    weights: str = setting("weights/musepose", "folder laid out as the official pretrained_weights")
    networks: str = setting("", "folder trained here, in place of the four files in weights/MusePose")
    width: int = setting(768, "pixels the networks work at; 0: the picture's")
    height: int = setting(768, "pixels the networks work at; 0: the picture's")
    num_inference_steps: int = setting(20, "DDIM steps")
    guidance_scale: float = setting(3.5, "classifier-free guidance; 1 or less: off, twice as fast")
    window: int = setting(48, "frames denoised together")
    window_overlap: int = setting(4, "frames neighbouring windows share")
    decode_chunk_size: int = setting(8, "frames decoded at once; changes no pixel")
