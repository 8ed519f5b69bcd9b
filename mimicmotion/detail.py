"""Where a video shows the picture as it was moved, the picture itself is known better than a VAE can decode it.

Where nothing moves a frame is the picture, and only a box around the rest of each frame is decoded. At a head, which has the finest detail and
which a VAE gives back softer, what it loses of the moved picture is measured in every frame, and given back.
"""
from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from mimicmotion.latents import Box, decode_window, in_pixels, mixes_frames, moving_boxes

STILL_LEVELS = 2                # 8-bit levels by which a place of the moved picture may differ from the picture and still be it
STILL_REACH = 17                # pixels around it, which the VAE's latents mix, are to be the same
SOFT = 3.0                      # pixels: sigma of the edges between places
ALIKE_LEVELS = 8.0              # 8-bit levels between frame and moved picture at which a third of its detail is given back
BORDER = 2                      # latents around a head's box: what the decoder sees beyond it


@dataclass(frozen=True)
class MovedPicture:
    """The picture moved into each pose, as the UNet is told of it."""

    pixels: np.ndarray          # (F, H, W, 3) uint8 RGB
    latents: Tensor             # (F, 4, h, w) of `moved_latents`
    heads: np.ndarray           # (F, 5) left, top, right, bottom and how surely a head is there, pixels


class KnownDetail:
    """Completes the decoded parts of frames by what is known of a picture (H, W, 3) uint8 that was moved into their poses.

    boxes: of each frame, the latents that are to be decoded; one for all where the decoder mixes frames.
    """

    def __init__(self, vae, picture: np.ndarray, moved: MovedPicture):
        self.vae, self.picture, self.moved = vae, picture, moved
        self.shrink = picture.shape[0] // moved.latents.shape[-2]                                     # pixels of a latent
        moves = [cv2.absdiff(frame, picture).max(axis=-1) > STILL_LEVELS for frame in moved.pixels]                        # F of (H, W)
        if mixes_frames(vae):
            moves = [np.any(moves, axis=0)] * len(moves)
        self.boxes = moving_boxes(moves, self.shrink)
        sides = (moved.heads[:, 2:4] - moved.heads[:, :2]).max(initial=0)
        self.side = int(np.ceil(sides / self.shrink)) + 1 + 2 * BORDER                                # latents of a head's box

    def parts(self, latents: Tensor) -> Tensor:
        """Of latents (F, C, h, w) of all frames their boxes, (F, C, rows, columns)."""
        return torch.stack([frame[(slice(None), *box)] for frame, box in zip(latents, self.boxes, strict=True)])

    @torch.no_grad()
    def completed(self, parts: np.ndarray, first: int) -> np.ndarray:
        """Decoded boxes (K, h, w, 3) uint8 of frames, of which `first` is the number of the first, as whole frames (K, H, W, 3) uint8."""
        decoded = np.repeat(self.picture[None], len(parts), axis=0)
        for frame, part, box in zip(decoded, parts, self.boxes[first:]):
            frame[in_pixels(box, self.shrink)] = part
        made = decoded.astype(np.float32)
        for index, frame in enumerate(made, first):
            frame += self.still(self.moved.pixels[index]) * (self.picture - frame)
        with_head = [index for index in range(first, first + len(parts)) if self.moved.heads[index, 4] > 0]
        if with_head:
            places = [self.place(index) for index in with_head]
            boxes = [self.moved.latents[(index, slice(None), *place)] for index, place in zip(with_head, places)]
            rebuilt = 255 * decode_window(self.vae, torch.stack(boxes)).permute(0, 2, 3, 1).float().cpu().numpy()        # (K, S, S, 3)
            for index, place, head in zip(with_head, places, rebuilt):
                self.give_head_back(made[index - first], decoded[index - first], index, place, head)
        return made.round().clip(0, 255).astype(np.uint8)

    def still(self, moved: np.ndarray) -> np.ndarray:
        """How surely each place (H, W, 1) of a moved picture is the picture's own, 0 to 1."""
        change = cv2.absdiff(moved, self.picture).max(axis=-1)                                        # (H, W)
        change = cv2.dilate(change, np.ones((STILL_REACH, STILL_REACH), np.uint8))
        return cv2.GaussianBlur((change <= STILL_LEVELS).astype(np.float32), (0, 0), SOFT)[..., None]

    def place(self, index: int) -> Box:
        """Rows and columns, in latents, of the box around a frame's head."""
        height, width = self.moved.latents.shape[-2:]
        left, top, right, bottom = self.moved.heads[index, :4]
        starts = (int(np.clip(round((low + high) / 2 / self.shrink - self.side / 2), 0, max(length - self.side, 0)))
                  for low, high, length in ((top, bottom, height), (left, right, width)))
        return tuple(slice(start, start + self.side) for start in starts)

    def give_head_back(self, frame: np.ndarray, decoded: np.ndarray, index: int, place: Box, rebuilt: np.ndarray) -> None:
        """Changes a frame (H, W, 3) float32 inside a head's box, where it, as decoded, is like the moved picture there.

        rebuilt: (S, S, 3) the moved picture's box after the VAE.
        """
        left, top, right, bottom = self.moved.heads[index, :4]
        rows, columns = in_pixels(place, self.shrink)
        apart = cv2.GaussianBlur(np.abs(decoded[rows, columns] - rebuilt).mean(axis=-1), (0, 0), SOFT)
        inside = np.zeros(rebuilt.shape[:2], np.float32)                                              # (S, S)
        inside[max(int(top) - rows.start, 0):int(bottom) + 1 - rows.start, max(int(left) - columns.start, 0):int(right) + 1 - columns.start] = 1
        inside = cv2.GaussianBlur(inside, (0, 0), SOFT)[..., None]
        lost = np.exp(-apart / ALIKE_LEVELS)[..., None] * (self.moved.pixels[index][rows, columns] - rebuilt)
        frame[rows, columns] += inside * (lost + decoded[rows, columns] - frame[rows, columns])
