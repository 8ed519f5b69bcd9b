"""Where the loss looks harder: weight maps at the latents' resolution.

Confidence-aware guidance (MimicMotion, section 3.2) needs nothing here: a pose is drawn in colours multiplied by its
points' confidences, so the network sees how far each can be trusted. Its other half is the hands' weight (section 3.3).
"""
from __future__ import annotations

import torch
from torch import Tensor, nn


def pose_region_weight(pose: Tensor, latent_size: tuple[int, int], amplification: float) -> Tensor | None:
    """(B, F, 1, h, w), mean 1 per sample: `amplification` within about a latent cell of the drawn pose, 1 elsewhere."""
    if amplification == 1:
        return None
    drawn = (pose.amax(2) > -0.9).float()                                               # (B, F, H, W)
    drawn = nn.functional.adaptive_max_pool2d(drawn, tuple(latent_size))                # (B, F, h, w)
    drawn = nn.functional.max_pool2d(drawn, kernel_size=3, stride=1, padding=1)
    weight = 1 + (amplification - 1) * drawn.unsqueeze(2)                               # (B, F, 1, h, w)
    return weight / weight.mean(dim=(1, 2, 3, 4), keepdim=True)


def box_region_weight(boxes: Tensor, canvas_size: tuple[int, int], latent_size: tuple[int, int], amplification: float,
                      confidence: float) -> Tensor:
    """(B, F, 1, h, w): `amplification` in latent cells that touch a clearly seen hand or head, 1 elsewhere.

    boxes: (B, F, N, 5) left, top, right, bottom in canvas pixels, and mean confidence, of each hand or head. One below
    `confidence` counts like the background: amplifying a blurred or misplaced one teaches its blur.
    """
    left, top, right, bottom, seen = boxes.unsqueeze(-1).unbind(-2)                     # (B, F, N, 1) each
    inside = []
    for low, high, length, cells in ((top, bottom, canvas_size[0], latent_size[0]),
                                     (left, right, canvas_size[1], latent_size[1])):
        edges = torch.arange(cells + 1, device=boxes.device) * (length / cells)         # (cells + 1,) pixels
        inside.append((edges[1:] > low) & (edges[:-1] < high))                          # (B, F, N, cells)
    rows, columns = inside
    touched = rows[..., :, None] & columns[..., None, :] & (seen >= confidence)[..., None]      # (B, F, N, h, w)
    return 1 + (amplification - 1) * touched.any(dim=2, keepdim=True).float()


def min_snr_weight(sigma: Tensor, gamma: float) -> Tensor:
    """Weight of each sample's squared v error (Hang et al. 2023, section 3.4): min(SNR, gamma) / (SNR + 1). (B,)"""
    snr = sigma ** -2
    return snr.clamp(max=gamma) / (snr + 1)
