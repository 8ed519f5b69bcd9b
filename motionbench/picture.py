"""How close a generated video is to the true one, pixel by pixel and colour by colour.

Videos are (F, H, W, 3) uint8 RGB throughout; both of a pair show the same frames.
"""
from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from skimage.color import deltaE_ciede2000
from skimage.metrics import structural_similarity

from dwpose import skeleton as coco
from dwpose.skeleton import necks, Skeleton
from mimicmotion.diffusion import tile_ranges
from motionbench.pose import seen

WINDOW_SIGMA = 1.5                              # pixels: SSIM's Gaussian, 11 wide (Wang et al. 2004, section III.B)
PERFECT_PSNR = 100.0                            # dB given to equal videos, so that means stay finite
MIN_REGION_PIXELS = 12                          # a region smaller than this in a frame has no colour there
# Body regions as capsules between keypoints; the half-width is a share of the shoulder-to-hip length.
LEGS = tuple(half for leg in coco.LEGS for half in pairwise(leg))
LEG_WIDTH, HAND_WIDTH = 0.09, 0.045
JAW = slice(coco.FACE.start, coco.FACE.start + 17)
BROWS = slice(coco.FACE.start + 17, coco.FACE.start + 27)
REGIONS = ("upper body", "legs", "hair", "skin")
DRIFT_SHARE = 0.25              # of the clip: its end is compared with its beginning
OPPOSITE_HUES = 1e-12           # radians from 180 degrees within which hues are opposite
SEAM_REACH = 3                  # changes on either side of a border that show how much the clip moves there


def psnr(video: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio of a whole clip, dB: the error is averaged over frames before the logarithm."""
    check_pair(video, truth)
    error = np.mean([np.mean((a.astype(np.float32) - b) ** 2) for a, b in zip(video, truth)])
    return PERFECT_PSNR if error == 0 else min(PERFECT_PSNR, float(10 * np.log10(255**2 / error)))


def l1(video: np.ndarray, truth: np.ndarray) -> float:
    """Mean |difference| as a share of the 8-bit range, in [0, 1]; subtracted in float, where 3 - 5 is not 254."""
    check_pair(video, truth)
    return float(np.mean([np.abs(a.astype(np.float32) - b).mean() for a, b in zip(video, truth)]) / 255)


def ssim(video: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity, mean over frames, channels and all places where the window fits (Wang et al. 2004)."""
    check_pair(video, truth)
    return float(np.mean([structural_similarity(a, b, channel_axis=-1, data_range=255, gaussian_weights=True,
                                                sigma=WINDOW_SIGMA, use_sample_covariance=False)
                          for a, b in zip(video, truth)]))


def flicker(video: np.ndarray, truth: np.ndarray) -> float:
    """Mean |change from frame to frame, less the true change|, 8-bit levels. A video of one frame has none."""
    check_pair(video, truth)
    if len(video) < 2:
        return 0.0
    changes = [np.abs((a1.astype(np.int16) - a0) - (b1.astype(np.int16) - b0)).mean()
               for a0, a1, b0, b1 in zip(video, video[1:], truth, truth[1:])]
    return float(np.mean(changes))


def delta_e(video: np.ndarray, truth: np.ndarray, skeleton: Skeleton) -> dict[str, float]:
    """Colour difference (CIEDE2000) of each body region's mean colour, mean over frames.

    Regions are found from the true `skeleton` in both videos; one that is never seen is left out.
    """
    check_pair(video, truth)
    found: dict[str, list[float]] = {}
    for index, (made, true) in enumerate(zip(video, truth)):
        colours = [cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2Lab) for frame in (made, true)]
        for name, mask in region_masks(skeleton, index).items():
            if mask.sum() >= MIN_REGION_PIXELS:
                found.setdefault(name, []).append(ciede2000(*(colour[mask].mean(axis=0) for colour in colours)))
    return {name: float(np.mean(found[name])) for name in REGIONS if name in found}


def region_masks(skeleton: Skeleton, frame: int) -> dict[str, np.ndarray]:
    """(H, W) bool for each of REGIONS in one frame, kept inside the outline so that no background is averaged in."""
    keypoints, visible = skeleton.keypoints[frame], seen(skeleton)[frame]                   # (133, 3), (133,)
    xy = keypoints[:, :2]
    masks = {name: np.zeros(skeleton.size, np.uint8) for name in REGIONS}
    torso = [coco.LEFT_SHOULDER, coco.RIGHT_SHOULDER, coco.RIGHT_HIP, coco.LEFT_HIP]
    hips = xy[[coco.LEFT_HIP, coco.RIGHT_HIP]].mean(axis=0)
    unit = float(np.linalg.norm(hips - necks(keypoints[None])[0, :2]))                      # pixels
    if visible[torso].all():
        centre = xy[torso].mean(axis=0)
        cv2.fillConvexPoly(masks["upper body"], np.int32(np.round(centre + 0.75 * (xy[torso] - centre))), 1)
    for start, end in LEGS:
        if visible[[start, end]].all():
            draw_capsule(masks["legs"], xy[start] + 0.15 * (xy[end] - xy[start]), xy[end], LEG_WIDTH * unit)
    for hand in (coco.LEFT_HAND, coco.RIGHT_HAND):
        palm = xy[hand][[0, 5, 9, 13, 17]]                                                  # wrist and knuckles
        if visible[hand].all():
            draw_capsule(masks["skin"], palm[0], palm[1:].mean(axis=0), HAND_WIDTH * unit)
    if visible[coco.FACE].all():
        face = np.concatenate([xy[JAW], xy[BROWS][::-1]])
        cv2.fillPoly(masks["skin"], [np.int32(np.round(face.mean(axis=0) + 0.85 * (face - face.mean(axis=0))))], 1)
        brow, chin = xy[BROWS].mean(axis=0), xy[JAW][8]
        width = float(np.linalg.norm(xy[JAW][0] - xy[JAW][-1]))
        crown = brow + 0.38 * (brow - chin)
        draw_capsule(masks["hair"], crown, crown, 0.2 * width)
    masks["upper body"][masks["skin"] == 1] = 0                                             # a hand before the chest
    return {name: mask.astype(bool) for name, mask in masks.items()}


def draw_capsule(mask: np.ndarray, start: np.ndarray, end: np.ndarray, half_width: float) -> None:
    """Fill a thick line between two points (x, y)."""
    ends = [tuple(int(v) for v in np.round(point)) for point in (start, end)]
    cv2.line(mask, *ends, 1, max(1, round(2 * half_width)))


def ciede2000(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Difference of CIE L*a*b* colours (..., 3) as seen (Sharma, Wu and Dalal 2005); about 1 is just noticeable.

    Hues exactly opposite are turned to just under 180 degrees: there the mean hue jumps, and scikit-image's rounding may
    take the wrong side.
    """
    first, second = np.broadcast_arrays(np.float64(first), np.float64(second))
    (a1, b1), (a2, b2) = np.moveaxis(first, -1, 0)[1:], np.moveaxis(second, -1, 0)[1:]
    along, across = a1 * a2 + b1 * b2, a1 * b2 - a2 * b1
    opposite = (along < 0) & (np.abs(across) <= OPPOSITE_HUES * np.abs(along))
    larger = (b2 < 0) | ((b2 == 0) & (a2 < 0))                  # of the two hues in [0, 360) degrees, the second's
    turn = opposite * np.where(larger, -10, 10) * OPPOSITE_HUES                             # radians
    return deltaE_ciede2000(first, np.stack([second[..., 0], a2 - turn * b2, b2 + turn * a2], axis=-1))


def check_pair(video: np.ndarray, truth: np.ndarray) -> None:
    """Refuse videos that cannot be compared pixel by pixel."""
    if video.shape != truth.shape or video.ndim != 4 or video.shape[-1] != 3 or not len(video):
        raise ValueError(f"videos to compare: expected two of (F, H, W, 3) (found {video.shape} and {truth.shape})")
    if video.dtype != np.uint8 or truth.dtype != np.uint8:
        raise ValueError(f"videos to compare: expected uint8 (found {video.dtype} and {truth.dtype})")


def tile_borders(num_frames: int, tile_size: int, tile_overlap: int, mode: str) -> tuple[int, ...]:
    """The frames k whose set of tiles differs from that of frame k - 1: where a seam could be seen. Frame 0, which all
    tiles share, makes none."""
    tiles = tile_ranges(num_frames, tile_size, tile_overlap, mode)
    edges = {edge for tile in tiles for edge in (tile[1:2] + [tile[-1] + 1])}
    return tuple(sorted(edge for edge in edges if 1 < edge < num_frames))


def changes(video: np.ndarray) -> np.ndarray:
    """Mean |change| from each frame to the next, 8-bit levels. (F, H, W, 3) -> (F - 1,)"""
    return np.array([np.abs(b.astype(np.float32) - a).mean() for a, b in zip(video, video[1:])])


def seam(video: np.ndarray, borders: tuple[int, ...]) -> float:
    """How much more the picture changes across a tile border than just before and after it, 8-bit levels.

    Mean over borders of the change into the border's frame, less the median of up to three changes on either side; NaN
    without borders, or where every change crosses one.
    """
    steps = changes(video)                                                                  # (F - 1,)
    across = {border - 1 for border in borders if 0 < border < len(video)}
    excess = []
    for step in sorted(across):
        near = [k for k in range(step - SEAM_REACH, step + SEAM_REACH + 1) if 0 <= k < len(steps) and k not in across]
        if near:
            excess.append(steps[step] - np.median(steps[near]))
    return float(np.mean(excess)) if excess else float("nan")


def colour_drift(video: np.ndarray, reference: np.ndarray) -> float:
    """How much further the colours of the clip's last quarter are from the reference than those of its first, CIEDE2000.

    Negative: they come nearer. A clip of one frame has none.
    """
    distance = ciede2000([mean_colour(frame) for frame in video], mean_colour(reference))   # (F,)
    part = max(1, round(DRIFT_SHARE * len(distance)))
    return float(distance[-part:].mean() - distance[:part].mean())


def mean_colour(picture: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (3,) of a picture (H, W, 3) uint8 RGB, averaged over pixels."""
    return cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2Lab).reshape(-1, 3).mean(axis=0)
