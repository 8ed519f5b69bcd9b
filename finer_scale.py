"""Give a driving skeleton the reference person's proportions and place (Fleximo, arXiv 2411.19459, "anchor points").

    python finer_scale.py skeleton.npz reference.png -o rescaled.npz --preview rescaled.mp4

First the clip is scaled and shifted as a whole, then every limb from the neck outward gets the reference's length.
Place, floor, trunk, head and legs are compared in frames where the driver stands as the reference does. A foreshortened
limb stays as foreshortened as it was. Feet that touched the floor touch the reference's floor.
"""
from __future__ import annotations

if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from configs import run_main
from dwpose.alignment import linearly_aligned
from dwpose.choosing import check_detector, load_detector
from dwpose.draw import draw
from dwpose.musepose import aligned_as_musepose
from dwpose.proportions import (bone_factors, BONES, CHILDREN, cluster_factor, CLUSTERS, distances, full_lengths,
                                LEG_ROWS, likeness, lowest_ankle, middle_factor, PARENTS, PELVIS_POINT,
                                pixels_per_metre, seen_quantile, trunk_position, unshortened, with_middles)
from dwpose.skeleton import (ANKLES, BODY, check_somebody, is_present, is_seen, NOSE, NUM_KEYPOINTS, openpose18, OPENPOSE_FROM_COCO,
                             shows_somebody, Skeleton)
from media.files import check_outputs
from media.images import read_image
from media.video_writer import ANIMATIONS, CONTAINERS, write_video

FLOOR_QUANTILE = 0.95               # of the lowest ankle's y over the clip
STANDING_QUANTILE = 0.75            # of the neck's height over the clip: above squats, below jumps
SCALE_RANGE = (0.02, 50.0)          # of the whole body
LENGTHENED = 0.09                   # of a leg bone, by a step at the camera at most; shorter by more is foreshortened
FARTHEST_LEAN = 0.25                # metres from the middle of the path to where the driver stands like the reference
TRUNK_ROWS = [CHILDREN.index(PELVIS_POINT), CHILDREN.index(NOSE)]   # lengths that change with posture, as legs' do
# The published script, in OpenPose's 18 points: anchor, point that moves, points carried along unturned.
PUBLISHED_BONES = ((1, 2, (3, 4)), (1, 5, (6, 7)), (1, 0, (14, 15, 16, 17)))


def aligned(movement: Skeleton, reference: Skeleton, alignment: str) -> Skeleton:
    """The movement in the place and the proportions of the picture's person; alignment: the setting of inference.py."""
    if alignment == "none":
        return movement
    if alignment in ("anchors", "affine"):
        return rescale(movement, reference, limbs=alignment == "anchors")
    if alignment == "musepose":
        return aligned_as_musepose(movement, reference)
    return linearly_aligned(movement, reference, robust=alignment == "linear")


def rescale(skeleton: Skeleton, reference: Skeleton, *, limbs: bool = True, published: bool = False) -> Skeleton:
    """The driving skeleton on the reference's canvas, with the limb lengths, position and floor of its first frame.

    limbs=False: only scale and shift of the clip as a whole. published: only the three limbs of Fleximo's script,
    without scale or shift; meant for parity with it.
    """
    if not len(skeleton) or not len(reference):
        raise ValueError(f"rescale: expected frames (found {len(skeleton)} driving, {len(reference)} reference)")
    if not reference.seen[0, BODY].any():
        raise ValueError("reference: expected a person (found no body keypoint): use a picture of the whole body")
    if published:
        return _rescale_published(skeleton, reference)
    fallback_scale = reference.size[0] / skeleton.size[0]
    keypoints = rescaled(skeleton.keypoints, reference.keypoints[0], fallback_scale, limbs)
    return Skeleton(keypoints, reference.size, skeleton.fps)


def rescaled(driver: np.ndarray, reference: np.ndarray, fallback_scale: float = 1.0, limbs: bool = True) -> np.ndarray:
    """Driving keypoints (..., F, 133, 3) with the proportions of the reference (..., 133, 3), each on its own canvas.

    fallback_scale: the body's scale where the two have no bone in common. Unseen points stay unseen, at 0.
    """
    points, target = with_middles(driver), with_middles(reference)[..., None, :, :]     # (..., F, 135, 3), F = 1
    full, target_full = (full_lengths(distances(body, PARENTS, CHILDREN)) for body in (points, target))     # (..., 14)
    driver_lengths, target_lengths = unshortened(full), unshortened(target_full)
    scale = middle_factor(driver_lengths, target_lengths)                               # (...)
    scale = np.clip(np.where(scale > 0, scale, fallback_scale), *SCALE_RANGE)
    alike = likeness(points, target, driver_lengths, target_lengths)                    # (..., F)
    placed = shifted(points, target, scale, alike, FARTHEST_LEAN * pixels_per_metre(target_lengths))
    if limbs:
        own = (full == driver_lengths) & (target_full == target_lengths)                # (..., 14) no other bone's
        compared = np.where(own, posed_lengths(points, alike, driver_lengths), driver_lengths)
        factors = bone_factors(compared, target_lengths, scale)
        placed = with_limbs(placed, points, target, factors, driver_lengths)
    result = driver.astype(np.float32).copy()
    result[..., :2] = np.where(is_present(driver)[..., None], placed[..., :NUM_KEYPOINTS, :], 0)
    return result


def with_limbs(before: np.ndarray, points: np.ndarray, target: np.ndarray, factors: np.ndarray,
               longest: np.ndarray) -> np.ndarray:
    """The aligned clip with every bone grown by its factor (..., 14); hands, head and feet follow.

    before: (..., F, 135, 2), the clip scaled as a whole; points: (..., F, 135, 3), the driver's; longest: (..., 14).
    """
    placed = before.copy()
    for row, bone in enumerate(BONES):
        _place(placed, points, bone.parent, [bone.child], factors[..., row], longest[..., row])
    for mirrored in CLUSTERS:
        factor = cluster_factor(mirrored, points, target, factors)
        for cluster in mirrored:
            for joint in cluster.joints:
                _place(placed, points, joint, list(cluster.points), factor)
    placed[..., 1] += floor_correction(points, before, placed)[..., None]
    return placed


def posed_lengths(points: np.ndarray, alike: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Full bone lengths (..., 14); those of trunk, head and legs from the frames `alike` (..., F), if there are any."""
    posed, found = full_lengths(distances(points, PARENTS, CHILDREN) * alike[..., None]), lengths.copy()     # (..., 14)
    for rows, least in ((TRUNK_ROWS, 0), (LEG_ROWS, 1 - LENGTHENED)):
        found[..., rows] = np.where(posed > least * lengths, posed, lengths)[..., rows]
    return found


def shifted(points: np.ndarray, target: np.ndarray, scale: np.ndarray, alike: np.ndarray,
            reach: np.ndarray) -> np.ndarray:
    """The clip (..., F, 135, 3) scaled as a whole and moved where the target (..., 1, 135, 3) stands: (..., F, 135, 2).

    Sideways the middle between the ankles meets the target's in the frames `alike` (..., F), as far as the middle of
    the path stays within `reach` (...) target pixels of it; without such frames, the middle of the path does.
    Vertically the lowest ankles meet, or else the necks of both when they stand.
    """
    trunk, known = trunk_position(points)                                               # (..., F, 2), (..., F, 1)
    goal, _ = trunk_position(target)                                                    # (..., 1, 2)
    origin = np.concatenate([seen_quantile(trunk[..., :1], known, 0.5),
                             seen_quantile(trunk[..., 1:], known, 1 - STANDING_QUANTILE)], axis=-1)     # (..., 2)
    goal = goal[..., 0, :].copy()                                                       # (..., 2)
    origin[..., 0] += lean(points, target, origin[..., 0], goal[..., 0], scale, alike, reach)
    floor, grounded = lowest_ankle(points)                                              # (..., F) each
    target_floor, target_grounded = lowest_ankle(target)                                # (..., 1) each
    both = grounded.any(axis=-1) & target_grounded[..., 0]                              # (...)
    standing = grounded & (alike | ~(grounded & alike).any(axis=-1, keepdims=True))     # (..., F)
    floor = seen_quantile(floor[..., None], standing[..., None], FLOOR_QUANTILE)[..., 0]
    origin[..., 1] = np.where(both, floor, origin[..., 1])
    goal[..., 1] = np.where(both, target_floor[..., 0], goal[..., 1])
    origin, goal = origin[..., None, None, :], goal[..., None, None, :]
    return (points[..., :2] - origin) * scale[..., None, None, None] + goal


def lean(points: np.ndarray, target: np.ndarray, origin: np.ndarray, goal: np.ndarray, scale: np.ndarray,
         alike: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Sideways shift (...) of the driver, in its pixels, that brings its feet to the target's; 0 where they are unseen.

    origin: x of the middle of the driver's path; goal: x of the target's trunk; reach: the largest shift, target pixels.
    """
    (feet, seen), (target_feet, target_seen) = (
        (body[..., ANKLES, 0].mean(axis=-1), is_seen(body[..., ANKLES, :]).all(axis=-1))
        for body in (points, target))                                                   # (..., F) and (..., 1)
    seen = seen & alike & target_seen
    middle = seen_quantile(feet[..., None], seen[..., None], 0.5)[..., 0]               # (...)
    away = (middle - origin) * scale - (target_feet[..., 0] - goal)
    return np.where(seen.any(axis=-1), np.clip(away, -reach, reach) / scale, 0)


def _place(placed: np.ndarray, points: np.ndarray, parent: int, children: list[int], factor: np.ndarray,
           longest: np.ndarray | None = None) -> None:
    """Put children (in `placed`) at `factor` (...) times their offset from the parent, where both are known.

    longest: (...) driver pixels; a longer bone is noise and is cut to it, so that no bone exceeds the reference's.
    """
    offset = points[..., children, :2] - points[..., parent, None, :2]                  # (..., F, n, 2)
    factor = factor[..., None, None, None]
    if longest is not None:
        length = np.linalg.norm(offset, axis=-1, keepdims=True)
        limit = np.where(longest > 0, longest, np.inf)[..., None, None, None]
        factor = factor * np.minimum(1, limit / np.maximum(length, 1e-9))
    there = is_present(points)                                                          # (..., F, 135)
    known = there[..., children] & there[..., parent, None]                             # (..., F, n)
    placed[..., children, :] = np.where(known[..., None], placed[..., parent, None, :] + factor * offset, placed[..., children, :])


def floor_correction(points: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Vertical shift per frame (..., F) that brings the lowest ankle back to where it was before the limbs changed.

    points: the driver (..., F, 135, 3), for what is seen; before, after: (..., F, 135, 2). A frame without ankles takes
    the shift of the last frame that had them, or of the next.
    """
    confidence = points[..., 2:]
    (old, seen), (new, _) = (lowest_ankle(np.concatenate([xy, confidence], axis=-1)) for xy in (before, after))
    frames = np.arange(seen.shape[-1])
    last = np.maximum.accumulate(np.where(seen, frames, -1), axis=-1)                   # (..., F)
    following = np.minimum.accumulate(np.where(seen, frames, len(frames))[..., ::-1], axis=-1)[..., ::-1]
    source = np.where(last >= 0, last, np.minimum(following, len(frames) - 1))
    shift = np.where(seen, old - new, 0)
    return np.take_along_axis(shift, source, axis=-1)


def anchor_rescale(body: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Fleximo's script: neck to shoulders and nose at the reference's length, what hangs on them carried along.

    body: (F, 18 or more, 2) and reference: (18, 2), OpenPose order, pixels. A bone of no length stays where it is,
    where the script ends in NaN.
    """
    body = body.copy()
    for anchor, joint, carried in PUBLISHED_BONES:
        bone = body[:, joint] - body[:, anchor]                                         # (F, 2)
        length = np.linalg.norm(bone, axis=-1, keepdims=True)                           # (F, 1)
        wanted = np.linalg.norm(reference[joint] - reference[anchor])
        growth = np.where(length > 0, wanted / np.where(length > 0, length, 1) - 1, 0)  # (F, 1)
        body[:, [joint, *carried]] += (bone * growth)[:, None]
    return body


def _rescale_published(skeleton: Skeleton, reference: Skeleton) -> Skeleton:
    """`anchor_rescale` on the 17 stored body points; feet, face and hands stay where they are, as in the script."""
    view, target = openpose18(skeleton.keypoints), openpose18(reference.keypoints)[0]
    keypoints = skeleton.keypoints.copy()
    for joint, xy in zip(OPENPOSE_FROM_COCO, np.moveaxis(anchor_rescale(view[..., :2], target[:, :2]), 1, 0)):
        if joint is not None:
            keypoints[:, joint, :2] = xy
    return replace(skeleton, keypoints=keypoints)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("skeleton", type=Path, help="driving skeleton, .npz")
    parser.add_argument("reference", type=Path, help="reference person: a picture, or a skeleton .npz")
    parser.add_argument("-o", "--output", type=Path, required=True, help="rescaled skeleton, .npz")
    parser.add_argument("--preview", type=Path, help="also draw it as a video")
    parser.add_argument("--published", action="store_true", help="only the three limbs of Fleximo's script")
    parser.add_argument("--detector", default="auto", help="for a picture as reference: auto (the best whose weights are here), dwpose, "
                                                           "mediapipe, demo, or an ONNX person detector")
    parser.add_argument("--pose", default="", help="ONNX whole-body keypoints, beside an ONNX person detector")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    check_outputs({"-o": (args.output, (".npz",)), "--preview": (args.preview, (*CONTAINERS, *ANIMATIONS))},
                  {"the driving skeleton": args.skeleton, "the reference": args.reference})
    check_detector(args.detector)
    result = rescale(_with_somebody(args.skeleton), _reference(args), published=args.published)
    if args.preview:
        write_video(args.preview, (draw(result[frame])[0] for frame in range(len(result))), result.fps)
    result.save(args.output)
    logging.info("wrote %s", ", ".join(map(str, filter(None, [args.output, args.preview]))))


def _with_somebody(path: Path) -> Skeleton:
    """The skeleton of an .npz, some frame of which shows a person."""
    skeleton = Skeleton.load(path)
    try:
        check_somebody(skeleton)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return skeleton


def _reference(args: argparse.Namespace) -> Skeleton:
    """The reference skeleton: read from an .npz, where the first frame that shows a person counts, or detected in a picture."""
    if args.reference.suffix == ".npz":
        skeleton = _with_somebody(args.reference)
        first = int(shows_somebody(skeleton).argmax())
        if len(skeleton) > 1:
            logging.info("%s: expected one frame (found %d): the proportions are those of frame %d, the first that shows a person; frames count from 0",
                         args.reference, len(skeleton), first)
        return skeleton[first]
    picture = read_image(args.reference)[None]
    return load_detector(args.detector, args.pose).detect(picture, source=str(args.reference))


if __name__ == "__main__":
    run_main(main)
