"""The UNet under torch.compile: traced whole, and not again for every video."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from mimicmotion.pipeline import PoseToVideo

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_a_compiled_sampler_has_no_graph_break_and_is_traced_once(tiny_svd_folder, tiny_checkpoint):
    model, graphs = PoseToVideo.load(tiny_svd_folder, tiny_checkpoint), []

    def counted(graph: torch.fx.GraphModule, inputs: list):
        graphs.append(graph)
        return graph.forward

    rng = np.random.default_rng(0)
    image, poses = rng.integers(0, 256, (64, 48, 3), np.uint8), rng.integers(0, 256, (5, 64, 48, 3), np.uint8)
    sample = lambda seed: model.sample(image, poses, torch.Generator().manual_seed(seed), num_inference_steps=3,
                                       guidance_interval=(0.01, 700.0), tile_size=4, tile_overlap=2, feature_cache=2,
                                       progress=False)
    wanted = sample(0)
    model.compile(backend=counted)
    assert_close(sample(0), wanted, atol=5e-4, rtol=0)
    kinds = len(graphs)
    assert 3 <= kinds <= 6                                # whole and outermost, with and without guidance, tile lengths
    sample(1)
    assert len(graphs) == kinds
