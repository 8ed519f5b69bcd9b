"""The ComfyUI nodes keep the node protocol, and the example workflow runs from picture and text to pose images."""

import inspect
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from comfyui.nodes import frames_of, images_of, NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS, settings
from dwpose.draw import draw, STYLES
from media.images import read_image

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = json.loads((ROOT / "comfyui" / "text_to_poses.json").read_text(encoding="utf-8"))
OWN = {number: node for number, node in WORKFLOW.items() if node["class_type"] in NODE_CLASS_MAPPINGS}
TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "IMAGE", "FLEXIMO_PLAN", "FLEXIMO_MOTION", "FLEXIMO_SCENE"}
SMALL = {"height": 256, "width": 144, "fps": 4.0}


def inputs_of(node) -> dict:
    """All inputs of a node class, required and optional."""
    return {name: options for group in node.INPUT_TYPES().values() for name, options in group.items()}


@pytest.mark.parametrize("name", NODE_CLASS_MAPPINGS)
def test_a_node_declares_what_its_function_takes_and_gives(name):
    node = NODE_CLASS_MAPPINGS[name]
    parameters = list(inspect.signature(getattr(node(), node.FUNCTION)).parameters)
    assert parameters == list(inputs_of(node)) and node.INPUT_TYPES().keys() <= {"required", "optional", "hidden"}
    assert set(node.RETURN_TYPES) <= TYPES and len(node.RETURN_NAMES) == len(node.RETURN_TYPES) and node.CATEGORY == "Fleximo"
    for kind, *options in inputs_of(node).values():
        assert kind in TYPES if isinstance(kind, str) else all(isinstance(choice, str) for choice in kind)
        default = options[0].get("default") if options else None
        assert default is None or (default in kind if isinstance(kind, list) else options[0].get("min", default) <= default <= options[0].get("max", default))
    assert NODE_DISPLAY_NAME_MAPPINGS.keys() == NODE_CLASS_MAPPINGS.keys()


@pytest.mark.parametrize("number", OWN)
def test_the_example_gives_every_input_a_value_of_its_type(number):
    inputs = inputs_of(NODE_CLASS_MAPPINGS[OWN[number]["class_type"]])
    assert OWN[number]["inputs"].keys() == inputs.keys()
    for name, value in OWN[number]["inputs"].items():
        kind = inputs[name][0]
        if isinstance(value, list) and value[0] in OWN:
            assert NODE_CLASS_MAPPINGS[OWN[value[0]]["class_type"]].RETURN_TYPES[value[1]] == kind
        elif isinstance(kind, list):
            assert value in kind


def test_the_examples_other_nodes_are_given_images_and_nothing_but_images():
    """LoadImage gives IMAGE first; SaveAnimatedWEBP takes it."""
    assert {node["class_type"] for number, node in WORKFLOW.items() if number not in OWN} == {"LoadImage", "SaveAnimatedWEBP"}
    for number, node in WORKFLOW.items():
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                source, place = value
                kind = NODE_CLASS_MAPPINGS[OWN[source]["class_type"]].RETURN_TYPES[place] if source in OWN else ("IMAGE", "MASK")[place]
                wanted = inputs_of(NODE_CLASS_MAPPINGS[node["class_type"]])[name][0] if number in OWN else "IMAGE"
                assert kind == wanted, (number, name)


def test_images_go_to_frames_and_back_without_a_change():
    frames = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    images = images_of(frames)
    assert images.dtype == torch.float32 and images.min() >= 0 and images.max() <= 1
    assert np.array_equal(frames_of(images), frames)
    assert np.array_equal(frames_of(torch.cat([images, torch.ones_like(images[..., :1])], dim=-1)), frames)      # LoadImage may give alpha
    clear = frames_of(torch.cat([images, torch.zeros_like(images[..., :1])], dim=-1))
    assert (clear == 255).all()                                                                 # white, as a file's transparency
    for wrong in (images[0], images[:0], [images], None):
        with pytest.raises(ValueError, match=r"IMAGE: expected \(B, H, W, 3\)"):
            frames_of(wrong)
    for wrong in (torch.from_numpy(frames), images * 255, images - 2, torch.full_like(images, float("nan"))):
        with pytest.raises(ValueError, match=r"IMAGE: expected floating-point numbers in 0..1 \(found torch.(uint8|float32), "):
            frames_of(wrong)
    frames_of(images * 1.2 - 0.1)                                                               # as sharpening leaves it


def test_the_example_workflow_runs_from_picture_and_text_to_poses_and_puppet(monkeypatch, tmp_path):
    """ComfyUI's executor in ten lines: nodes in order, links followed, inputs checked by the declared types."""
    monkeypatch.chdir(tmp_path)                                                  # nodes find the weights from anywhere
    results = {"1": (images_of(read_image(ROOT / "assets" / "person_large.png")[None]),)}
    for number, node in OWN.items():
        kind = NODE_CLASS_MAPPINGS[node["class_type"]]
        given = {name: results[value[0]][value[1]] if isinstance(value, list) else SMALL.get(name, value) for name, value in node["inputs"].items()}
        if "prompt" in given and number == "2":
            given["prompt"] = "A person waves for 1 second."
        results[number] = getattr(kind(), kind.FUNCTION)(**given)
        assert len(results[number]) == len(kind.RETURN_TYPES)
    scene, over, picture = results["4"]
    (poses, own_pose, fps), (video, _) = results["5"], results["6"]
    assert fps == 4.0 and len(poses) == len(video) == len(over) == len(scene.skeleton)
    for images in (poses, video, over, picture, own_pose):
        assert images.shape[1:] == (256, 144, 3) and images.dtype == torch.float32 and 0 <= images.min() and images.max() <= 1
    assert np.array_equal(frames_of(poses), draw(scene.skeleton, "mimicmotion"))
    assert (video[0] - picture[0]).abs().mean() < 0.1 and Path(os.getcwd()) == tmp_path
    brush = NODE_CLASS_MAPPINGS["FleximoPoseImages"]()
    drawn = [brush.drawn(scene, style)[0].numpy().tobytes() for style in STYLES]
    assert len(set(drawn)) == len(STYLES)


def test_mimicmotion_renders_the_scene_and_names_weights_that_are_missing(monkeypatch):
    """Two frames with the demo's weights, one step, the skeleton drawn without the adapter."""
    nodes = {name: kind() for name, kind in NODE_CLASS_MAPPINGS.items()}
    segments, _ = nodes["FleximoPlan"].planned("A person waves for 1 second.")
    motion, _ = nodes["FleximoTextToMotion"].moved(segments, "demo", 1)
    picture = images_of(read_image(ROOT / "assets" / "person.png")[None])
    scene, *_ = nodes["FleximoSkeletonOverPicture"].laid(picture, motion, "demo", 320, 192, 2.0, "centre", "static", "anchors")
    video, poses, fps = nodes["FleximoMimicMotion"].rendered(scene, "demo", 1, 0.0, False, 1)
    assert video.shape == poses.shape == (len(scene.skeleton), 320, 192, 3) and fps == 2.0
    assert np.array_equal(frames_of(poses), draw(scene.skeleton, "bold"))
    assert (video[0] - images_of(scene.image[None])[0]).abs().mean() < 0.15                    # the person of the picture, not of the poses
    monkeypatch.setattr("comfyui.nodes.settings", lambda config, *changes: settings(config, *changes, "generator.checkpoint=nowhere"))
    with pytest.raises((ValueError, FileNotFoundError), match="nowhere") as refused:
        nodes["FleximoMimicMotion"].rendered(scene, "demo", 1, 0.0, False, 1)
    assert "\n" not in str(refused.value)
