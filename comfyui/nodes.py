"""The stages of inference.py as ComfyUI nodes: text -> plan -> motion -> skeleton over a picture -> pose images, puppet, MimicMotion.

IMAGE is ComfyUI's: a float32 tensor (B, H, W, 3) in [0, 1]. The other types go from node to node as they are:
FLEXIMO_PLAN is list[Segment], FLEXIMO_MOTION a Motion, FLEXIMO_SCENE a Scene, and a scene's skeleton has the frame rate.
"""
from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

import inference
from configs import load_config
from dwpose.alignment import in_view
from dwpose.draw import draw, STYLES
from dwpose.plausibility import check_plausible
from finer_scale import aligned
from llm_planner import plan, Segment, segments_from_json, segments_to_json
from media.images import fit_to_canvas
from renderers import PuppetConfig, renderer_class, Scene
from run.checks import check_whole_person
from run.framing import around_person
from run.models import check_renderer, Models
from run.preview import over_picture
from run.settings import InferenceConfig
from runtime.device import generator_for
from t2m.joining import join_motions
from t2m.motion import Motion
from t2m.project import body_depth, project

ROOT = Path(inference.__file__).resolve().parent
CATEGORY = "Fleximo"
MAX_SEED = 2**63 - 1
STRAY = 0.5                                                    # beyond 0..1, as sharpening and enlarging leave it
CONFIGS = ("demo", "photo", "fleximo", "mimicmotion")           # of configs/: where the weights are, and how they are used


def frames_of(images: torch.Tensor) -> np.ndarray:
    """IMAGE (B, H, W, 3) or with alpha (B, H, W, 4) in [0, 1] → uint8 RGB (B, H, W, 3); transparency becomes white, as in files."""
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or not images.numel() or images.shape[-1] not in (3, 4):
        found = tuple(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise ValueError(f"IMAGE: expected (B, H, W, 3), at least one picture (found {found}): connect an IMAGE output")
    low, high = (float(edge) for edge in images.aminmax())
    if not images.is_floating_point() or not (-STRAY <= low and high <= 1 + STRAY):
        raise ValueError(f"IMAGE: expected floating-point numbers in 0..1 (found {images.dtype}, {low:g} to {high:g}): "
                         "divide by the value of white")
    images = images.float().clamp(0, 1)
    alpha = images[..., 3:] if images.shape[-1] == 4 else 1
    return ((images[..., :3] * alpha + 1 - alpha) * 255).round().to("cpu", torch.uint8).numpy()


def images_of(frames: np.ndarray) -> torch.Tensor:
    """uint8 RGB (B, H, W, 3) → IMAGE (B, H, W, 3) float32 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).float() / 255


@contextmanager
def at_home():
    """Within the context paths of config files lead where they do for inference.py: into this repository."""
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        yield
    finally:
        os.chdir(before)


def settings(config: str, *changes: str) -> InferenceConfig:
    return load_config(InferenceConfig, ["--config", str(ROOT / "configs" / f"{config}.yaml"), *changes])


class Plan:
    """A prompt as actions with seconds; or a plan written by hand, as plan.json has it."""
    CATEGORY, FUNCTION = CATEGORY, "planned"
    RETURN_TYPES, RETURN_NAMES = ("FLEXIMO_PLAN", "STRING"), ("plan", "plan_json")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"prompt": ("STRING", {"multiline": True, "default": "A person waves, then does a squat."})},
                "optional": {"plan_json": ("STRING", {"multiline": True, "default": "", "tooltip": "a plan.json in place of the prompt's own plan"})}}

    def planned(self, prompt: str, plan_json: str = "") -> tuple[list[Segment], str]:
        segments = segments_from_json(plan_json) if plan_json.strip() else plan(prompt)
        return segments, segments_to_json(segments)


class TextToMotion:
    """A plan as one 3D movement, 20 frames a second."""
    CATEGORY, FUNCTION = CATEGORY, "moved"
    RETURN_TYPES, RETURN_NAMES = ("FLEXIMO_MOTION", "INT"), ("motion", "frames")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"plan": ("FLEXIMO_PLAN",), "config": (list(CONFIGS), {"default": "demo", "tooltip": "whose motion weights"}),
                             "seed": ("INT", {"default": 7, "min": 0, "max": MAX_SEED})}}

    def moved(self, plan: list[Segment], config: str, seed: int) -> tuple[Motion, int]:
        chosen = settings(config, f"seed={seed}")
        with at_home():
            motions = Models(chosen, progress=False).motions(plan)
        motion = join_motions(motions, chosen.motion.transition_seconds, [segment.text for segment in plan])
        return motion, len(motion)


class SkeletonOverPicture:
    """A movement in the proportions and the place of the picture's person; how it looks over the picture, too."""
    CATEGORY, FUNCTION = CATEGORY, "laid"
    RETURN_TYPES, RETURN_NAMES = ("FLEXIMO_SCENE", "IMAGE", "IMAGE"), ("scene", "over_picture", "picture")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        fields = InferenceConfig.__dataclass_fields__
        return {"required": {"image": ("IMAGE",), "motion": ("FLEXIMO_MOTION",),
                             "config": (list(CONFIGS), {"default": "photo", "tooltip": "whose detector"}),
                             "height": ("INT", {"default": 832, "min": 64, "max": 4096, "step": 16}),
                             "width": ("INT", {"default": 480, "min": 64, "max": 4096, "step": 16}),
                             "fps": ("FLOAT", {"default": 16.0, "min": 1.0, "max": 120.0, "tooltip": "16 is Wan's"}),
                             "framing": (list(fields["framing"].metadata["choices"]), {"default": "person"}),
                             "camera": (list(fields["camera"].metadata["choices"]), {"default": "static"}),
                             "alignment": (list(fields["alignment"].metadata["choices"]), {"default": "anchors"})},
                "optional": {"prompt": ("STRING", {"multiline": True, "default": "", "tooltip": "for renderers that read text"})}}

    def laid(self, image: torch.Tensor, motion: Motion, config: str, height: int, width: int, fps: float, framing: str, camera: str,
             alignment: str, prompt: str = "") -> tuple[Scene, torch.Tensor, torch.Tensor]:
        chosen = settings(config, f"height={height}", f"width={width}", f"fps={fps}", "resolution=0", "pose.cache=")
        picture, size = frames_of(image)[0], (height, width)
        models = Models(chosen, progress=False)
        with at_home():
            if framing == "centre":
                picture = fit_to_canvas(picture, size)
            found = models.detect(picture[None], fps, "image")
        if framing == "person":
            picture, found, _ = around_person(picture, found, size, "image")
        check_plausible(found, "image")
        check_whole_person(found, "image", chosen.pose.allow_cut_off)
        skeleton = in_view(aligned(project(motion, size, fps, camera), found, alignment), found, camera, in_place=alignment != "none")
        over = over_picture(draw(skeleton), picture)                                            # (F, H, W, 3)
        return Scene(picture, found, skeleton, prompt, body_depth(motion, size, fps, camera)), images_of(over), images_of(picture[None])


class PoseImages:
    """The skeleton as the pose images a video model was trained on, and the picture's own pose."""
    CATEGORY, FUNCTION = CATEGORY, "drawn"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "IMAGE", "FLOAT"), ("poses", "reference_pose", "fps")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"scene": ("FLEXIMO_SCENE",), "brush": (list(STYLES), {"default": "mimicmotion"})}}

    def drawn(self, scene: Scene, brush: str) -> tuple[torch.Tensor, torch.Tensor, float]:
        return images_of(draw(scene.skeleton, brush)), images_of(draw(scene.reference, brush)), scene.skeleton.fps


class Puppet:
    """The picture's own pixels move, in seconds on a CPU."""
    CATEGORY, FUNCTION = CATEGORY, "rendered"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "FLOAT"), ("video", "fps")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        masks = list(PuppetConfig.__dataclass_fields__["mask"].metadata["choices"])
        return {"required": {"scene": ("FLEXIMO_SCENE",), "mask": (masks, {"default": "auto"}), "shadow": ("BOOLEAN", {"default": True}),
                             "hands": ("BOOLEAN", {"default": True}), "seed": ("INT", {"default": 7, "min": 0, "max": MAX_SEED})}}

    def rendered(self, scene: Scene, mask: str, shadow: bool, hands: bool, seed: int) -> tuple[torch.Tensor, float]:
        with at_home():
            renderer = renderer_class("puppet").load(PuppetConfig(mask, shadow, hands))
        return images_of(renderer(scene, generator_for(seed, "video"), progress=False)), scene.skeleton.fps


class MimicMotion:
    """Poses → video with MimicMotion's weights, hands by the skeleton adapter where the config has one."""
    CATEGORY, FUNCTION = CATEGORY, "rendered"
    RETURN_TYPES, RETURN_NAMES = ("IMAGE", "IMAGE", "FLOAT"), ("video", "poses", "fps")

    @classmethod
    def INPUT_TYPES(cls) -> dict:
        return {"required": {"scene": ("FLEXIMO_SCENE",), "config": (list(CONFIGS), {"default": "fleximo", "tooltip": "whose video weights"}),
                             "steps": ("INT", {"default": 0, "min": 0, "max": 200, "tooltip": "0: the config's"}),
                             "guidance_scale": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 20.0, "tooltip": "0: the config's"}),
                             "use_adapter": ("BOOLEAN", {"default": True}), "seed": ("INT", {"default": 7, "min": 0, "max": MAX_SEED})}}

    def rendered(self, scene: Scene, config: str, steps: int, guidance_scale: float, use_adapter: bool,
                 seed: int) -> tuple[torch.Tensor, torch.Tensor, float]:
        height, width = scene.image.shape[:2]
        changes = [f"height={height}", f"width={width}", "resolution=0", "renderer=mimicmotion", f"seed={seed}"]
        if steps:
            changes.append(f"generator.num_inference_steps={steps}")
        if guidance_scale:
            changes.append(f"generator.guidance_scale={guidance_scale}")
        if not use_adapter:
            changes.append("adapter.checkpoint=")
        chosen = settings(config, *changes)
        with at_home():
            check_renderer(chosen, len(scene.skeleton))
            renderer = Models(chosen, progress=False).renderer(chosen)
            adapter = renderer.adapter
            poses = adapter(scene, generator_for(seed, "poses"), progress=False) if adapter else draw(scene.skeleton, chosen.pose.style)
            video = renderer(scene, generator_for(seed, "video"), poses=poses, progress=False)
        return images_of(video), images_of(poses), scene.skeleton.fps


NODE_CLASS_MAPPINGS = {"FleximoPlan": Plan, "FleximoTextToMotion": TextToMotion, "FleximoSkeletonOverPicture": SkeletonOverPicture,
                       "FleximoPoseImages": PoseImages, "FleximoPuppet": Puppet, "FleximoMimicMotion": MimicMotion}
NODE_DISPLAY_NAME_MAPPINGS = {"FleximoPlan": "Plan (Fleximo)", "FleximoTextToMotion": "Plan to 3D motion (Fleximo)",
                              "FleximoSkeletonOverPicture": "Motion to skeleton over a picture (Fleximo)", "FleximoPoseImages": "Pose images (Fleximo)",
                              "FleximoPuppet": "Puppet (Fleximo)", "FleximoMimicMotion": "MimicMotion (Fleximo)"}
