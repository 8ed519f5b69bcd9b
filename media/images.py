"""Pictures: files to (H, W, 3) uint8 RGB, fitted to a canvas, and to tensors in [-1, 1] and back."""
from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from media.files import existing_file

PORTRAIT = 9 / 16                                        # width / height of the published canvases


def read_image(path: str | Path) -> np.ndarray:
    """A picture, (H, W, 3) uint8 RGB, turned as its EXIF mark asks; transparency becomes white."""
    path = existing_file(path, "picture")
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I;16"):                                            # convert() would cut at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return np.asarray(image.convert("RGB")).copy()
    except Image.DecompressionBombError as error:
        limit = 2 * Image.MAX_IMAGE_PIXELS / 1e6
        raise ValueError(f"{path}: expected a picture of at most {limit:.4g} megapixels ({error}): make it smaller") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path}: expected a whole picture ({error}): convert it to PNG or JPEG") from None


def canvas_size(image_size: tuple[int, int], short_side: int = 576) -> tuple[int, int]:
    """MimicMotion's canvas (height, width) for a picture: about 9:16, upright when the picture is; 576 → 1024x576."""
    long_side = int(short_side / PORTRAIT // 64) * 64
    return (long_side, short_side) if image_size[0] > image_size[1] else (short_side, long_side)


def cover_geometry(image_size: tuple[int, int], size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Resized (height, width) that just covers `size`, and the centre crop's (top, left), as MimicMotion rounds them."""
    (target_height, target_width), aspect = size, image_size[0] / image_size[1]
    if aspect < target_height / target_width:
        resized = target_height, math.ceil(target_height / aspect)
    else:
        resized = math.ceil(target_width * aspect), target_width
    return resized, tuple(round((length - target) / 2) for length, target in zip(resized, size))


def fit_to_canvas(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The picture scaled to cover `size` (height, width) and cropped around its centre, (H, W, 3) uint8.

    Shrinking averages areas; the published code shrinks without a low-pass, so that large photographs alias.
    """
    (height, width), (top, left) = cover_geometry(image.shape[:2], size)
    smaller = height < image.shape[0]
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return np.ascontiguousarray(resized[top:top + size[0], left:left + size[1]])


def as_tensor(frames: np.ndarray) -> Tensor:
    """(..., H, W, 3) uint8 RGB to (..., 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, -3).float().div_(127.5).sub_(1)


def as_frames(pictures: Tensor) -> np.ndarray:
    """(..., 3, H, W) in [-1, 1] to (..., H, W, 3) uint8."""
    return ((pictures.movedim(-3, -1) + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8).numpy()
