"""Deep features kept between steps: fewer blocks run, and exactly the same when nothing is kept."""
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from mimicmotion.checkpoint import load_unet
from mimicmotion.savings import FeatureCache

GOLDEN = load_file(Path(__file__).parent / "fixtures" / "mimicmotion" / "unet.safetensors")


def worked_out(cache: FeatureCache, calls: list) -> bool:
    """Take a step; did it work deep features out anew?"""
    cache.next_step(calls)
    anew = cache.get(calls[0]) is None
    if anew:
        cache.put(calls[0], torch.zeros(1))
    return anew


def test_deep_features_serve_as_many_steps_as_asked_and_no_other_calls():
    cache = FeatureCache(3)
    assert [worked_out(cache, ["guided"]) for _ in range(7)] == [True, False, False, True, False, False, True]
    assert [worked_out(cache, [calls]) for calls in ("alone", "alone", "guided")] == [True, False, True]
    assert all(worked_out(never, ["x"]) for never in [FeatureCache(1)] for _ in range(3))
    with pytest.raises(ValueError, match="feature_cache: expected 1 .*found 0"):
        FeatureCache(0)


@torch.no_grad()
def test_the_outermost_blocks_go_on_from_deep_features(tiny_svd_folder):
    unet = load_unet(tiny_svd_folder / "unet", torch.float32)
    given = {name: GOLDEN[f"in.{name}"] for name in ("sample", "timestep", "encoder_hidden_states", "added_time_ids",
                                                     "pose_latents")}
    wanted, deep = unet(**given, return_dict=False)
    ran, blocks = [], ("mid_block", "down_blocks.0", "down_blocks.1", "up_blocks.0", "up_blocks.1")
    hooks = [unet.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name)) for name in blocks]
    assert_close(unet(**given, deep=deep, return_dict=False)[0], wanted, atol=1e-5, rtol=0)
    assert ran == ["down_blocks.0", "up_blocks.1"]
    assert (unet(**given, deep=deep * 1.5).sample - wanted).abs().max() > 1e-2          # they are looked at
    [hook.remove() for hook in hooks]
