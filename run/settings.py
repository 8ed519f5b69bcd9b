"""Every setting of inference.py. The defaults are the papers'; the YAML files in configs/ hold the values of a kind of run."""
import os
import re
from dataclasses import dataclass, field, fields
from pathlib import Path

from configs import setting
from dwpose.choosing import detector_files
from media.images import PORTRAIT
from renderers import MimicMotionConfig, MusePoseConfig, PuppetConfig, RENDERERS, VideoModelConfig

MAX_FPS = 240.0                     # frames per second
MIN_SIDE, MAX_SIDE = 64, 8192       # pixels
MAX_TRANSITION_SECONDS = 5.0
MAX_REFINEMENTS = 10                # further passes change nothing but the time
MAX_THREADS = 1024                  # of the largest machines; far beyond, the process is ended by the system


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
    detector: str = setting("weights/dwpose/yolox_l.onnx", "ONNX person detector (YOLOX contract); or auto: dwpose where its weights are, else "
                            "mediapipe (for photographs), else demo")
    keypoints: str = setting("weights/dwpose/dw-ll_ucoco_384.onnx", "ONNX whole-body keypoints (DWPose contract)")
    detector_channels: str = setting("rgb", "channel order the detector sees; rgb is what MimicMotion's data was made with", ("rgb", "bgr"))
    keypoint_channels: str = setting("rgb", "the same for the keypoint network", ("rgb", "bgr"))
    style: str = setting("mimicmotion", "the brush the video weights were trained on; fleximo: nose and eyes only, no face points",
                         ("mimicmotion", "fleximo", "musepose", "bold"))
    person: str = setting("largest", "who, when there are several; left, right: in the picture", ("largest", "center", "left", "right"))
    allow_cut_off: bool = setting(False, "go on although the person's feet, hands or head are outside the picture")
    plausible: bool = setting(True, "refuse a picture in which the detector sees a pose that no person can have: a cat, a cup, a crowd")
    cache: str = setting("outputs/.poses", "folder of poses already detected, by the content of video, picture and networks; empty: none")

    @property
    def networks(self) -> list[Path]:
        """The files of the networks that find people and their keypoints."""
        return detector_files(self.detector, self.keypoints)


@dataclass
class InferenceConfig:
    """A run of inference.py."""
    image: str = setting("assets/person.png", "picture of the person, the whole body in view", first=True)
    prompt: str = setting("A person waves with the right hand, then does two squats.", "what the person does", first=True)
    driving_video: str | None = setting(None, "take the movement from this video instead of from the prompt", first=True)
    renderer: str = setting("mimicmotion", "what makes the video; its settings: generator and adapter for mimicmotion, else the group of its name",
                            tuple(RENDERERS), first=True)
    sample_stride: int = setting(0, "driving video: every n-th frame, as MimicMotion (from 48 fps on every 2n-th, from 72 every 3n-th); "
                                "0: resampled to fps")
    alignment: str = setting("anchors", "how a movement is laid over the person; anchors: every limb at the person's length (Fleximo); "
                             "affine: its first half, limbs as they were; linear: one scale and shift; published: the same by MimicMotion's "
                             "formula; musepose: limb by limb by MusePose's; none: as projected, in its own place",
                             ("anchors", "affine", "linear", "published", "musepose", "none"))
    framing: str = setting("centre", "how the picture gets the video's shape; centre: cut around its middle, as MimicMotion; person: around the "
                           "person, with room for the movement", ("centre", "person"))
    name: str = setting("run", "the run's folder is <outputs>/<name>", first=True)
    outputs: str = setting("outputs", "folder of all runs")
    seed: int = setting(0, "seed of everything drawn at random", first=True)
    resolution: int = setting(0, "short side of the video, pixels; about 9:16, upright or lying as the picture (MimicMotion: 576); "
                             "0: height and width")
    height: int = setting(1024, "of the video, pixels")
    width: int = setting(576, "of the video, pixels")
    fps: float = setting(15.0, "of the video, frames per second")
    camera: str = setting("auto", "how the 3D motion is seen; auto: follows the person if the motion leads far away",
                          ("auto", "static", "follow", "orbit", "zoom"))
    refinements: int = setting(1, "times the skeleton is detected on the video, laid over the plan and drawn, and the video made again",
                               first=True)
    refinement_trust: float = setting(1.0, "share of the way planned points move to where the video shows them; 0: only what the plan "
                                      "lacks is taken from the video")
    stop_after: str = setting("video", "skeleton: ends after preview.mp4 and what may look wrong, before the renderer starts; resume=true goes "
                                       "on from there", ("video", "skeleton"))
    resume: bool = setting(False, "reuse every stage in the run folder whose inputs did not change", first=True)
    device: str = setting("auto", "auto, cpu, cuda or cuda:N")
    dtype: str = setting("auto", "auto: float16 on a GPU, bfloat16 on CPUs that have it, else float32",
                         ("auto", "float32", "bfloat16", "float16"))
    memory_limit_gb: float = setting(0.0, "GiB the video models may take on the device; 0: what is free")
    num_threads: int = setting(0, "CPU threads, at most one per core; 0: one per core")
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    motion: MotionConfig = field(default_factory=MotionConfig)
    pose: PoseConfig = field(default_factory=PoseConfig)
    adapter: VideoModelConfig = field(default_factory=lambda: VideoModelConfig(checkpoint="weights/adapter"),
                                      metadata={"help": "handless poses -> poses with hands (skeleton adapter); checkpoint=\"\" leaves it out"})
    generator: VideoModelConfig = field(default_factory=VideoModelConfig, metadata={"help": "poses -> video"})
    puppet: PuppetConfig = field(default_factory=PuppetConfig)
    musepose: MusePoseConfig = field(default_factory=MusePoseConfig)

    def __post_init__(self):
        files = {name: getattr(self, name) for name in ("image", "driving_video", "outputs")}
        files |= {f"{group}.{item.name}": getattr(getattr(self, group), item.name)
                  for group in ("motion", "pose", "adapter", "generator", "puppet", "musepose")
                  for item in fields(getattr(self, group))}
        for name, value in files.items():
            if isinstance(value, str) and re.match(r"\w+://", value):
                raise ValueError(f"{name}: must be a file on this machine (found the address {value}): download it first")
        for name, remedy in (("image", "name a picture of the person, as in image=me.png"),
                             ("outputs", "name the folder of all runs, as in outputs=outputs")):
            if not getattr(self, name).strip():
                raise ValueError(f"{name}: is empty: {remedy}")
        for group, names in (("generator", ("svd", "checkpoint")), ("motion", ("weights",)), ("pose", ("detector", "keypoints"))):
            for name in names:
                if not getattr(getattr(self, group), name).strip():
                    raise ValueError(f"{group}.{name}: is empty: name its weights, or leave the key out for its default")
        for name, smallest in (("height", MIN_SIDE), ("width", MIN_SIDE), ("fps", 1), ("refinements", 0), ("resolution", 0), ("sample_stride", 0),
                               ("memory_limit_gb", 0), ("num_threads", 0)):
            if getattr(self, name) < smallest:
                raise ValueError(f"{name}: must be at least {smallest} (found {getattr(self, name)})")
        if 0 < self.resolution < MIN_SIDE:
            raise ValueError(f"resolution: must be at least {MIN_SIDE}, or 0 for height and width (found {self.resolution})")
        for name, largest in (("fps", MAX_FPS), ("height", MAX_SIDE), ("width", MAX_SIDE), ("resolution", int(PORTRAIT * MAX_SIDE)),
                              ("refinements", MAX_REFINEMENTS), ("num_threads", MAX_THREADS)):
            if getattr(self, name) > largest:
                raise ValueError(f"{name}: must be at most {largest:g} (found {getattr(self, name):g})")
        self.num_threads = min(self.num_threads, os.cpu_count() or 1)
        for key in ("adapter", "generator"):
            getattr(self, key).check(key)
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
        if not self.name.isprintable() or Path(self.name).name != self.name or self.name.strip() != self.name or self.name[:1] in ("", ".", "-"):
            raise ValueError(f"name: must be a plain folder name, and begin with neither '.' nor '-' (found {self.name!r}): use outputs= for "
                             "the place")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the video, pixels."""
        return self.height, self.width

    @property
    def mimicmotion(self) -> MimicMotionConfig:
        """A skeleton detected in a driving video has its hands: it needs no adapter."""
        adapter = self.adapter if self.adapter.checkpoint and not self.driving_video else None
        return MimicMotionConfig(self.generator, adapter, self.pose.style)

    @property
    def renderer_settings(self):
        """The chosen renderer's own settings."""
        return getattr(self, self.renderer)

    @property
    def folder(self) -> Path:
        return Path(self.outputs) / self.name
