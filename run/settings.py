"""Every setting of inference.py. The defaults are the papers'; the YAML files in configs/ hold the values of a kind of run."""
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from configs import setting

MAX_FPS = 240.0                     # frames per second
MAX_SIDE = 8192                     # pixels
MAX_TRANSITION_SECONDS = 5.0
SMALLEST = {"num_inference_steps": 1, "tile_size": 1, "decode_chunk_size": 1, "feature_cache": 1, "fps": 1,
            "noise_aug_strength": 0, "motion_bucket_id": 0}         # of the video models


@dataclass
class PlannerConfig:
    """prompt -> plan.json: who cuts the text into actions"""
    backend: str = setting("rules", "rules: offline; openai: a server; local: a model folder", ("rules", "openai", "local"))
    max_seconds: float = setting(9.8, "longest segment, seconds (9.8 is T2M-GPT's longest training clip)")
    base_url: str = setting("https://api.openai.com/v1", "openai: address of any OpenAI-compatible server")
    model: str = setting("", "openai: the served model's name; local: a transformers chat model's folder")
    api_key_env: str = setting("OPENAI_API_KEY", "openai: environment variable that holds the key; empty: no key")
    timeout_seconds: float = setting(60.0, "openai: longest wait for an answer, seconds")
    max_new_tokens: int = setting(1024, "local: longest answer, tokens")


@dataclass
class MotionConfig:
    """plan -> motion.npz: text to 3D motion (T2M-GPT), segment by segment, joined"""
    weights: str = setting("weights/t2m", "folder of the VQ-VAE, the GPT, their statistics and CLIP's text encoder")
    sampling: str = setting("greedy", "greedy: the likeliest motion; sampled: another for each seed", ("greedy", "sampled"))
    transition_seconds: float = setting(0.4, "blend between two segments, seconds")


@dataclass
class PoseConfig:
    """picture -> reference.npz: who is found and how skeletons are drawn"""
    detector: str = setting("weights/dwpose/yolox_l.onnx", "ONNX person detector (YOLOX contract)")
    keypoints: str = setting("weights/dwpose/dw-ll_ucoco_384.onnx", "ONNX whole-body keypoints (DWPose contract)")
    detector_channels: str = setting("rgb", "channel order the detector sees; rgb is what MimicMotion's data was made with", ("rgb", "bgr"))
    keypoint_channels: str = setting("rgb", "the same for the keypoint network", ("rgb", "bgr"))
    style: str = setting("mimicmotion", "the brush the video weights were trained on; fleximo: nose and eyes only, no face points",
                         ("mimicmotion", "fleximo", "musepose", "bold"))
    person: str = setting("largest", "who, when there are several", ("largest", "center"))
    allow_cut_off: bool = setting(False, "go on although the person's feet, hands or head are outside the picture")
    cache: str = setting("outputs/.poses", "folder of poses already detected, by the content of video, picture and networks; empty: none")


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


@dataclass
class InferenceConfig:
    """A run of inference.py."""
    image: str = setting("assets/person.png", "picture of the person, the whole body in view")
    prompt: str = setting("A person waves with the right hand, then does two squats.", "what the person does")
    driving_video: str | None = setting(None, "take the movement from this video instead of from the prompt")
    sample_stride: int = setting(0, "driving video: every n-th frame, as MimicMotion (from 48 fps on every 2n-th, from 72 every 3n-th); "
                                "0: resampled to fps")
    alignment: str = setting("anchors", "how a movement is laid over the person; anchors: every limb at the person's length (Fleximo); "
                             "affine: its first half, limbs as they were; linear: one scale and shift; published: the same by MimicMotion's "
                             "formula; none: as projected, in its own place", ("anchors", "affine", "linear", "published", "none"))
    name: str = setting("run", "the run's folder is <outputs>/<name>")
    outputs: str = setting("outputs", "folder of all runs")
    seed: int = setting(0, "seed of everything drawn at random")
    resolution: int = setting(0, "short side of the video, pixels; about 9:16, upright or lying as the picture (MimicMotion: 576); "
                             "0: height and width")
    height: int = setting(1024, "of the video, pixels")
    width: int = setting(576, "of the video, pixels")
    fps: float = setting(15.0, "of the video, frames per second")
    camera: str = setting("auto", "how the 3D motion is seen; auto: follows the person if the motion leads far away",
                          ("auto", "static", "follow", "orbit", "zoom"))
    refinements: int = setting(1, "times the skeleton is detected on the video, laid over the plan and drawn, and the video made again")
    refinement_trust: float = setting(1.0, "share of the way planned points move to where the video shows them; 0: only what the plan "
                                      "lacks is taken from the video")
    resume: bool = setting(False, "reuse every stage in the run folder whose inputs did not change")
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    dtype: str = setting("auto", "auto: float16 on a GPU, bfloat16 on CPUs that have it, else float32",
                         ("auto", "float32", "bfloat16", "float16"))
    memory_limit_gb: float = setting(0.0, "GiB the video models may take on the device; 0: what is free")
    num_threads: int = setting(0, "CPU threads; 0: one per core")
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    pose: PoseConfig = field(default_factory=PoseConfig)
    adapter: VideoModelConfig = field(default_factory=lambda: VideoModelConfig(checkpoint="weights/adapter"),
                                      metadata={"help": "handless poses -> poses with hands (skeleton adapter); checkpoint=\"\" leaves it out"})
    generator: VideoModelConfig = field(default_factory=VideoModelConfig, metadata={"help": "poses -> video"})

    def __post_init__(self):
        for name, smallest in (("height", 64), ("width", 64), ("fps", 1), ("refinements", 0), ("resolution", 0), ("sample_stride", 0),
                               ("memory_limit_gb", 0), ("num_threads", 0)):
            if getattr(self, name) < smallest:
                raise ValueError(f"{name}: must be at least {smallest} (found {getattr(self, name)})")
        for name, largest in (("fps", MAX_FPS), ("height", MAX_SIDE), ("width", MAX_SIDE), ("resolution", MAX_SIDE)):
            if getattr(self, name) > largest:
                raise ValueError(f"{name}: must be at most {largest:g} (found {getattr(self, name):g})")
        for model, (name, smallest) in product(("adapter", "generator"), SMALLEST.items()):
            if (found := getattr(getattr(self, model), name)) < smallest:
                raise ValueError(f"{model}.{name}: must be at least {smallest} (found {found})")
        if not 0 <= self.motion.transition_seconds <= MAX_TRANSITION_SECONDS:
            raise ValueError(f"motion.transition_seconds: must be between 0 and {MAX_TRANSITION_SECONDS:g} "
                             f"(found {self.motion.transition_seconds:g})")
        if not 0 <= self.refinement_trust <= 1:
            raise ValueError(f"refinement_trust: must be between 0 and 1 (found {self.refinement_trust})")
        if self.alignment == "none" and self.driving_video:
            raise ValueError("alignment: 'none' is for a prompt's motion, which is projected onto the picture's canvas (found a "
                             "driving_video, which has its own): use affine")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed: must be 0 or more, and below 2^63 (found {self.seed})")
        if not self.name.isprintable() or Path(self.name).name != self.name or self.name in ("", ".."):
            raise ValueError(f"name: must be a plain folder name (found '{self.name}'): use outputs= for the place")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the video, pixels."""
        return self.height, self.width

    @property
    def folder(self) -> Path:
        return Path(self.outputs) / self.name
