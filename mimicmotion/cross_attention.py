"""The UNet's cross-attention, answered once per video: a context of one token has one answer, whatever is asked.

SVD's picture is a single CLIP token. Attention over one key is that key's value, so a layer's output is
to_out(to_v(token)), the same for every pixel, frame and noise level. The published code works out queries and scores
in every layer of every step (3.7 % of the UNet's arithmetic, more of its time).
"""
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn


class KnownAnswer:
    """Attention processor that looks its output up: the context, (rows, 1, 1) long, says which answer it is."""

    def __init__(self, answers: Tensor):
        self.answers = answers                                                # (N, 1, C)

    def __call__(self, attention: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor,
                 attention_mask: Tensor | None = None) -> Tensor:
        return self.answers[encoder_hidden_states[:, 0, 0]]                   # (rows, 1, C), for all places alike


@contextmanager
def known_answers(unet: nn.Module, tokens: Tensor) -> Iterator[Tensor]:
    """Within the context the UNet takes, as encoder_hidden_states, numbers of `tokens` (N, 1, D) instead of tokens.

    Yields the numbers, (N, 1, 1) long: rows of it, in any order and as often as wanted.
    """
    blocks = [block for block in unet.modules() if getattr(block, "attn2", None) is not None]
    kept = [(block.norm2, block.attn2.processor) for block in blocks]
    for block in blocks:
        weight = block.attn2.to_v.weight                                      # may wait in the CPU's memory
        answers = block.attn2.to_out[0](block.attn2.to_v(tokens.to(weight)))  # (N, 1, C)
        block.attn2.set_processor(KnownAnswer(answers.to(tokens.device)))
        block.norm2 = nn.Identity()                                           # prepares a query nobody reads
    try:
        yield torch.arange(len(tokens), device=tokens.device)[:, None, None]
    finally:
        for block, (norm, processor) in zip(blocks, kept):
            block.norm2 = norm
            block.attn2.set_processor(processor)
