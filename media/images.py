"""Pictures: files to (H, W, 3) uint8 RGB, fitted to a canvas, and to tensors in [-1, 1] and back."""
from __future__ import annotations

import base64
import io
import logging
import math
import re
import warnings
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps
from torch import Tensor

from media.files import entries, existing_file, one_line

log = logging.getLogger(__name__)

PORTRAIT = 9 / 16                                        # width / height of the published canvases
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
HEIF_SUFFIXES = (".heic", ".heif")                       # of an iPhone
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM", "TGA", "AVIF", "HEIF")        # Pillow's names
PLAIN_MODES = {"P": "RGB", "PA": "RGB", "RGBA": "RGB", "RGBa": "RGB", "RGBX": "RGB", "LA": "L", "La": "L", "1": "L"}   # that profiles fit
JPEG_BEGINS = b"\xff\xd8"
EIGHT_BIT, SIXTEEN_BIT = 255, 65535
PIXELS_PER_LATENT = 8                                    # along a side, of Stable Diffusion's VAE, which all the video models have
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)          # RGB, of CLIP's training pictures in [0, 1]
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def read_image(path: str | Path, max_short_side: int | None = None) -> np.ndarray:
    """A picture, (H, W, 3) uint8 RGB, turned as its EXIF mark asks; transparency becomes white.

    max_short_side: pixels; a larger picture is shrunk, and a JPEG already while it is decoded.
    """
    path = existing_file(path, "picture")
    if path.suffix.lower() in HEIF_SUFFIXES:
        know_heif(path)
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning), Image.open(path) as file:
            if file.format not in FORMATS:                 # before it is decoded: PostScript would be run
                raise ValueError(f"its format is {file.format}")
            if max_short_side and max_short_side < min(file.size):
                file.draft(None, tuple(side * max_short_side // min(file.size) for side in file.size))
            image = ImageOps.exif_transpose(file)
            profile = image.info.get("icc_profile")
            if image.mode[0] in "IF":                                                    # convert() would cut at 255
                image = Image.fromarray(eight_bits(np.asarray(image)))
            alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
            image = in_srgb(image.convert(PLAIN_MODES.get(image.mode, image.mode)), profile, path).convert("RGB")
            if alpha is not None:
                image = Image.composite(image, Image.new("RGB", image.size, "white"), alpha)
            return shrunk(np.asarray(image).copy(), max_short_side)
    except Image.DecompressionBombError as error:
        limit = 2 * Image.MAX_IMAGE_PIXELS / 1e6
        raise ValueError(f"{path}: expected a picture of at most {limit:.4g} megapixels ({error}): make it smaller") from None
    except Exception as error:                          # the decoders' own: OSError, SyntaxError, struct.error, ...
        raise ValueError(f"{path}: expected a whole picture ({one_line(error)}): convert it to PNG or JPEG") from None


def is_damaged_jpeg(path: str | Path) -> bool:
    """Whether a picture is a JPEG in whose middle bytes are wrong or missing: Pillow fills in what it cannot read, FFmpeg can tell."""
    if Path(path).read_bytes()[:2] != JPEG_BEGINS:
        return False
    try:
        with av.open(str(path), format="jpeg_pipe") as container:
            (stream,) = container.streams.video
            stream.codec_context.options = {"err_detect": "explode"}
            return not list(container.decode(stream))
    except av.InvalidDataError:
        return True
    except av.FFmpegError:                              # a kind of JPEG that FFmpeg does not know
        return False


def know_heif(path: Path) -> None:
    """Let Pillow read HEIF, where the optional package for it is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ValueError(f"{path}: expected PNG or JPEG (found HEIC): convert it, or pip install pillow-heif") from None
    register_heif_opener()


def eight_bits(values: np.ndarray) -> np.ndarray:
    """Greys of 16 or 32 bits or of floating numbers as uint8; floating ones up to 1 are shares of white."""
    largest = float(np.nanmax(values, initial=0))
    if np.issubdtype(values.dtype, np.floating):
        white = 1.0 if largest <= 1 else EIGHT_BIT if largest <= EIGHT_BIT else SIXTEEN_BIT if largest <= SIXTEEN_BIT else largest
        return (np.nan_to_num(values).clip(0, white) * (EIGHT_BIT / white)).round().astype(np.uint8)
    shift = 8 if values.dtype.itemsize == 2 or largest > EIGHT_BIT else 0
    shift = 24 if largest > SIXTEEN_BIT else shift
    return (values.astype(np.int64).clip(0) >> shift).clip(0, EIGHT_BIT).astype(np.uint8)


def in_srgb(image: Image.Image, profile: bytes | None, path: Path) -> Image.Image:
    """The picture in sRGB, where it carries another colour profile; one that cannot be used is warned of."""
    if not profile and image.mode != "LAB":
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else ImageCms.createProfile("LAB")
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        log.warning("%s: its colour profile does not fit the picture (%s): colours are taken as they are", path, error)
        return image


def is_picture(name: str) -> bool:
    """Does the file name end like a picture's, and is the file not hidden?"""
    return name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith(".")


def pictures_in(folder: Path) -> list[Path]:
    """A folder's pictures in the order of the numbers in their names."""
    def number(path: Path) -> list:
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]

    return sorted((path for path in entries(folder) if is_picture(path.name)), key=number)


def shrunk(picture: np.ndarray, short_side: int | None) -> np.ndarray:
    """The picture with its shorter side at most `short_side` pixels; None keeps it."""
    factor = (short_side or math.inf) / min(picture.shape[:2])
    if factor >= 1:
        return picture
    height, width = (round(side * factor) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


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


def for_clip(shares: Tensor) -> Tensor:
    """Pictures (N, 3, H, W) in [0, 1], normalised as CLIP's training pictures were."""
    mean, std = (shares.new_tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    return (shares - mean) / std


def as_tensor(frames: np.ndarray, device: str | torch.device = "cpu") -> Tensor:
    """(..., H, W, 3) uint8 RGB to (..., 3, H, W) float32 in [-1, 1], sent to the device as bytes."""
    return torch.from_numpy(np.ascontiguousarray(frames)).to(device).movedim(-1, -3).float().div_(127.5).sub_(1)


def as_frames(pictures: Tensor) -> np.ndarray:
    """(..., 3, H, W) in [-1, 1] to (..., H, W, 3) uint8."""
    return ((pictures.movedim(-3, -1) + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8).numpy()


def check_size(size: tuple[int, int], multiple: int) -> None:
    """Height and width are multiples of what a network needs; ValueError names the nearest sizes that are."""
    if any(side < multiple or side % multiple for side in size):
        near = " or ".join("x".join(str(max(round_to(side / multiple), 1) * multiple) for side in size)
                           for round_to in (math.floor, math.ceil))
        raise ValueError(f"height, width: must be multiples of {multiple} (found {size[0]}x{size[1]}): use {near}")


def check_rgb(image: np.ndarray, poses: np.ndarray) -> None:
    """Refuse all but a picture (H, W, 3) and frames (F, H, W, 3), uint8 RGB."""
    for name, frames, rank in (("image", image, 3), ("poses", poses, 4)):
        if frames.dtype != np.uint8 or frames.ndim != rank or frames.shape[-1] != 3 or len(frames) == 0:
            raise ValueError(f"{name}: expected uint8 RGB {'(F, H, W, 3)' if rank == 4 else '(H, W, 3)'} "
                             f"(found {frames.dtype} {frames.shape})")


def jpeg_link(picture: np.ndarray | Image.Image, quality: int = 82) -> str:
    """A picture, uint8 RGB, as the address of an <img>, which holds the whole JPEG."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(file, format="JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
