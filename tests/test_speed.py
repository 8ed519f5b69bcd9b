"""Predicted seconds: operations are counted exactly, and what is predicted grows as the work does."""
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from configs import load_config
from renderers import renderer_class
from renderers.mimicmotion import MOVING
from renderers.puppet import Puppet
from run.settings import InferenceConfig
from runtime import memory

ROOT = Path(__file__).resolve().parent.parent


def test_operations_of_known_layers_are_counted_exactly():
    with torch.device("meta"):
        layer, convolution, given = nn.Linear(32, 64), nn.Conv2d(4, 8, 3, padding=1), torch.empty(5, 32)
        assert memory.dry_run(layer, layer, given).operations == 2 * 5 * 32 * 64
        assert memory.dry_run(convolution, convolution, torch.empty(2, 4, 10, 6)).operations == 2 * 2 * 60 * 9 * 4 * 8


def test_the_device_does_some_operations_in_a_second():
    assert 1e8 < memory.operations_per_second("cpu", torch.float32) < 1e15


def test_predicted_seconds_of_the_demos_video_grow_with_steps_frames_and_passes(monkeypatch):
    config = load_config(InferenceConfig, ["--config", str(ROOT / "configs" / "demo.yaml")])
    monkeypatch.setattr("renderers.mimicmotion.operations_per_second", lambda *machine: 1e12)
    renderer, settings = renderer_class("mimicmotion"), config.renderer_settings

    def seconds(num_frames: int = 16, passes: int = 1, **generator) -> float:
        changed = replace(settings, adapter=None, generator=replace(settings.generator, **generator))
        return renderer.cost(changed, config.size, num_frames, 1 << 34, passes=passes, device="cpu", dtype=torch.float32)[0]

    one, two, guided = seconds(num_inference_steps=1), seconds(num_inference_steps=2), seconds(num_inference_steps=1, guidance_scale=2.0)
    moving = lambda num_frames: Puppet.cost(MOVING, config.size, num_frames, 1 << 34)[0]          # once a pass
    decoding = 2 * one - two - moving(16)
    assert 0 < decoding < one and guided == pytest.approx(two)
    assert seconds(passes=3, num_inference_steps=1, tiny_vae="") == pytest.approx(3 * one)
    assert seconds(passes=3, num_inference_steps=1) == pytest.approx(3 * one - 2 * decoding)      # drafts are decoded by the tiny VAE
    assert 4 < (seconds(num_frames=64, num_inference_steps=1) - moving(64)) / (one - moving(16)) < 5      # tiles share a frame
