"""Cross-attention answered once: the same UNet, and nothing left behind."""
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from mimicmotion.checkpoint import load_unet
from mimicmotion.savings import cached_cross_attention

GOLDEN = load_file(Path(__file__).parent / "fixtures" / "mimicmotion" / "unet.safetensors")


@pytest.fixture(scope="module")
def unet(tiny_svd_folder):
    return load_unet(tiny_svd_folder / "unet", torch.float32)


@torch.no_grad()
def test_cached_outputs_are_the_published_ones_without_attention(unet):
    given = {name: GOLDEN[f"in2.{name}"] for name in ("sample", "timestep", "encoder_hidden_states", "added_time_ids",
                                                      "pose_latents")}
    asked = []
    hooks = [module.to_q.register_forward_hook(lambda *_: asked.append(1))
             for name, module in unet.named_modules() if name.endswith("attn2")]
    with cached_cross_attention(unet, given["encoder_hidden_states"][[1, 0]]) as numbers:            # of the batch, turned round
        v = unet(**given | {"encoder_hidden_states": numbers[[1, 0]]}).sample
    assert not asked
    assert_close(v, GOLDEN["out2.with_pose"], atol=1e-4, rtol=0)
    swapped = unet(**given | {"encoder_hidden_states": given["encoder_hidden_states"][[1, 0]]}).sample
    assert len(asked) == len(hooks) and (swapped - v).abs().max() > 1e-3                     # the token matters
    [hook.remove() for hook in hooks]


@torch.no_grad()
def test_an_error_inside_leaves_the_unet_as_it_was(unet):
    before = unet.state_dict().keys(), unet.attn_processors
    with pytest.raises(KeyError), cached_cross_attention(unet, torch.zeros(1, 1, unet.config.cross_attention_dim)):
        raise KeyError
    assert (unet.state_dict().keys(), unet.attn_processors) == before
