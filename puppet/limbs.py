"""Where each piece of a cut-out body goes: an affine map per piece and frame, from the reference pose to the skeleton's.

A bone turns and grows or shrinks along itself as its two points ask; across, it keeps its width times the size of the
whole person. Chest and pelvis follow shoulders and hips, the head turns without shrinking.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from dwpose import skeleton as coco
from dwpose.skeleton import is_seen, Skeleton
from puppet.cutout import smoothstep
from puppet.points import (angle_between, body_points, cross, HEAD, KNEES, Limb, LIMBS, NECK, PELVIS, person_size, right_of, unit,
                           whole_reference, with_cut_arms_lowered, with_knees_apart, with_skirt_hanging)

LENGTH_RANGE = (0.22, 1.3)          # of a limb's bone along itself: shorter is hidden behind its joint
FOOT_LENGTHS = (0.7, 1.5)           # of a foot: in the picture it may point at the viewer
TRUNK_LENGTHS = (0.35, 1.2)
TRUNK_WIDTHS = (0.62, 1.12)         # a body seen from the side is three fifths as wide
BEHIND = 0.5                        # of the shoulders' width: turned so far, the head is seen from behind whatever it does
TURNED = 0.25                       # of the shoulders' width: nearer to the side view, the last side shown stays
SQUARENESS = 0.6                    # how much shoulders and hips are held square to the spine
FACE_AXES = (1.0, 1.3)              # of half the ears' distance: from the middle of the face to where nothing turns with it
HALF_HEAD = 0.29                    # of the neck's length, where an ear is unseen
FACE_AT_REST = 0.2                  # seconds at the beginning, in which it looks ahead
FACE_SHIFT = (0.28, 0.07)           # of them, at most: a face turned farther would be bent out of shape
FACE_SMOOTHING = 0.05               # seconds, standard deviation
HEAD_TILT = np.radians(40)          # against the chest, at most
NECK_STRETCH = 1.15
JUMP_SECONDS = 0.8                  # for which a person may be off the floor
STEADY = 0.1                        # of a bone's length: when it points at the viewer, it turns with its parent
LIFTED = 0.35                       # of the shin's length: a foot so far above the floor turns freely
NEARNESS = (0.85, 1.25)             # of a limb's width, by perspective
FORESHORTENED = (0.25, 0.75)        # of a thigh's length: drawn as pointing at the viewer, from wholly to not at all
RAISED_KNEE = (0.1, 0.25)           # of its length, by which a knee may be above the hip, for that
NEARER_KNEE = (0.08, 0.2)           # metres by which its knee is nearer than its hip, from not at all to wholly
THIGH_LENGTHS = (0.5, 1.3)          # a shorter thigh begins beyond the hip, where the trunk is


@dataclass(frozen=True)
class Pose:
    """All that is needed to draw the pieces: maps from picture to frame, and the points they meet at."""

    points: np.ndarray              # (F, 25, 2) pixels
    maps: dict[str, np.ndarray]     # (F, 2, 3) by piece: chest, pelvis, skirt, head, and each limb's upper, lower, tip
    size: np.ndarray                # (F,) of the person against the picture
    mirrored: np.ndarray            # (F,) bool: the person has turned round, the front is shown mirrored
    behind: np.ndarray              # (F,) bool: so far that no face is seen
    floor: np.ndarray               # (F,) y of the lower ankle when it stands
    toward: dict[str, np.ndarray]   # (F,) by leg: how much in [0, 1] its thigh points at the viewer
    face: tuple[np.ndarray, np.ndarray]     # centre and half axes, in the picture
    face_shift: np.ndarray          # (F, 2) pixels of the picture by which the face has left its place in the head


def posed(points: np.ndarray, skeleton: Skeleton, reference: Skeleton, depth: np.ndarray | None, *, skirt: bool = False) -> Pose:
    """Maps for the frames of a skeleton whose points (F, 25, 2) `followed` has made complete.

    skirt: the thighs are under one, and need not be drawn as pointing at the viewer.
    """
    whole, fps = whole_reference(body_points(reference.keypoints)[0]), skeleton.fps          # (25, 3)
    own, size = whole[:, :2], person_size(points, whole, fps)
    points = with_cut_arms_lowered(points, whole)
    toward = {name: 0 * found if skirt else found for name, found in towards_viewer(points, own, size, depth).items()}
    points = with_skirt_hanging(with_knees_apart(points, own, size, toward), own, size)
    across, spine = points[:, coco.LEFT_SHOULDER] - points[:, coco.RIGHT_SHOULDER], points[:, PELVIS] - points[:, NECK]
    own_across, own_spine = own[coco.LEFT_SHOULDER] - own[coco.RIGHT_SHOULDER], own[PELVIS] - own[NECK]
    turn = cross(unit(spine), across) / (cross(unit(own_spine), own_across) or 1.0)         # (F,) shoulders' width
    side = facing(turn)                                                                     # (F,) 1 or -1
    hips, own_hips = points[:, coco.LEFT_HIP] - points[:, coco.RIGHT_HIP], own[coco.LEFT_HIP] - own[coco.RIGHT_HIP]
    along = (np.linalg.norm(spine, axis=-1) / max(np.linalg.norm(own_spine), 1)).clip(*(np.outer(TRUNK_LENGTHS, size)))
    maps = {"chest": trunk_map(own[NECK], points[:, NECK], own_spine, spine, own_across, across, along, size, side),
            "pelvis": trunk_map(own[PELVIS], points[:, PELVIS], own_spine, spine, own_hips, hips, size, size, side)}
    maps["head"] = head_map(points, own, eye_roll(skeleton, reference), size, maps["chest"], side)
    maps["skirt"] = bone_map(own[PELVIS], own[KNEES], points[:, PELVIS], points[:, KNEES], size, side, maps["pelvis"],
                             (0.55, 1.1))
    floor = floor_of(points, fps)
    for limb in LIMBS:
        root, middle, end, tip = limb.points
        width = size * nearness(depth, limb)
        lengths = THIGH_LENGTHS if limb.trunk == "pelvis" else LENGTH_RANGE
        upper = bone_map(own[root], own[middle], points[:, root], points[:, middle], width, side, maps[limb.trunk], lengths)
        if limb.trunk == "pelvis":
            beyond = points[:, middle] - (upper[:, :, :2] @ own[middle] + upper[:, :, 2])
            upper[:, :, 2] += toward[limb.name][:, None] * beyond                           # pointing at the viewer, it ends at the knee
        lower = bone_map(own[middle], own[end], points[:, middle], points[:, end], width, side, upper)
        if limb.trunk == "pelvis":
            shin = max(np.linalg.norm(own[end] - own[middle]), 1.0)
            lifted = ((floor - points[:, end, 1]) / (LIFTED * shin * size)).clip(0, 1)
            flat = seen_from(own[tip] - own[end], side) * size[:, None]
            toe = points[:, end] + flat + lifted[:, None] * (points[:, tip] - points[:, end] - flat)
            last = bone_map(own[end], own[tip], points[:, end], toe, width, side, lower, FOOT_LENGTHS)
        else:
            last = turned_map(own[end], points[:, end], angle_of(lower, own[end] - own[middle], side), width, side)
        maps |= {f"{limb.name} upper": upper, f"{limb.name} lower": lower, f"{limb.name} tip": last}
    face = face_of(whole)
    return Pose(points, maps, size, side < 0, turn < -BEHIND * size, floor, toward,
                face, shift_of_face(skeleton, reference, maps["head"], face))


def towards_viewer(points: np.ndarray, own: np.ndarray, size: np.ndarray, depth: np.ndarray | None) -> dict[str, np.ndarray]:
    """By leg, (F,) how much in [0, 1] its thigh points at the viewer: it is short, and its knee is nearer, where depth tells."""
    toward = {}
    for limb in LIMBS:
        if limb.trunk == "pelvis":
            root, middle = limb.points[:2]
            length = np.maximum(np.linalg.norm(own[middle] - own[root]) * size, 1)
            thigh = points[:, middle] - points[:, root]
            raised = (thigh * unit(points[:, NECK] - points[:, PELVIS])).sum(-1) / length
            toward[limb.name] = (1 - smoothstep(*FORESHORTENED, np.linalg.norm(thigh, axis=-1) / length)) * (1 - smoothstep(*RAISED_KNEE, raised))
            if depth is not None:
                toward[limb.name] = toward[limb.name] * smoothstep(*NEARER_KNEE, depth[:, root] - depth[:, middle])
    return toward


def floor_of(points: np.ndarray, fps: float) -> np.ndarray:
    """(F,) y of the lower ankle when it stands: through a jump, as before and after."""
    lower = points[:, [coco.LEFT_ANKLE, coco.RIGHT_ANKLE], 1].max(axis=1)
    frames = max(round(JUMP_SECONDS * fps), 1)
    return gaussian_filter1d(maximum_filter1d(lower, frames, mode="nearest"), frames / 4, mode="nearest")


def facing(turn: np.ndarray) -> np.ndarray:
    """(F,) 1 where the shoulders lie on the same sides of the spine as the reference's, else -1. turn: (F,) their width against
    the reference's, negative from behind."""
    side, last = np.empty(len(turn)), 1.0
    for frame, width in enumerate(turn):
        last = np.sign(width) if abs(width) > TURNED else last
        side[frame] = last
    return side


def nearness(depth: np.ndarray | None, limb: Limb) -> np.ndarray | float:
    """How much larger a limb is than the trunk, by perspective; 1 without depth."""
    if depth is None:
        return 1.0
    trunk = depth[:, [coco.LEFT_SHOULDER, coco.RIGHT_SHOULDER, coco.LEFT_HIP, coco.RIGHT_HIP]].mean(axis=1)
    return (trunk / depth[:, list(limb.points[1:3])].mean(axis=1)).clip(*NEARNESS)


def trunk_map(origin, target, own_spine, spine, own_across, across, along, size, side) -> np.ndarray:
    """(F, 2, 3): `along` (F,) times as long, the spine's way and the shoulders' (or hips') way, held apart by SQUARENESS and in bounds."""
    square = SQUARENESS * np.linalg.norm(own_across)
    hand = np.sign(cross(own_spine, own_across)) or 1.0
    own_way = unit(own_across + hand * square * right_of(unit(own_spine)))
    way = unit(across + (hand * side * square * size)[:, None] * right_of(unit(spine)))     # (F, 2)
    wide = (np.linalg.norm(across, axis=-1) / max(np.linalg.norm(own_across), 1)).clip(*(np.outer(TRUNK_WIDTHS, size)))
    basis = np.stack([unit(own_spine), own_way], axis=-1)                                   # (2, 2)
    columns = np.stack([unit(spine) * along[:, None], way * wide[:, None]], axis=-1)        # (F, 2, 2)
    return about(columns @ np.linalg.inv(basis), origin, target)


def bone_map(start, end, new_start, new_end, width, side, parent, lengths=LENGTH_RANGE) -> np.ndarray:
    """(F, 2, 3): a bone from start to end (2,) laid on new_start to new_end (F, 2), `width` (F,) times as wide."""
    bone, new = end - start, new_end - new_start
    length = max(np.linalg.norm(bone), 1e-6)
    along = (np.linalg.norm(new, axis=-1) / length).clip(*np.outer(lengths, width))
    way = unit(new + STEADY * (parent[:, :, :2] @ bone))                                    # (F, 2)
    linear = along[:, None, None] * outer(way, bone / length) + \
        (width * side)[:, None, None] * outer(right_of(way), right_of(bone / length))
    return about(linear, start, new_start)


def turned_map(origin, target, angle, width, side) -> np.ndarray:
    """(F, 2, 3): turned by `angle` (F,) radians about the origin, `width` times as large, mirrored where side is -1."""
    cos, sin = np.cos(angle) * width, np.sin(angle) * width
    return about(np.stack([np.stack([cos * side, -sin], -1), np.stack([sin * side, cos], -1)], axis=1), origin, target)


def head_map(points, own, eyes, size, chest, side) -> np.ndarray:
    """(F, 2, 3): the head rolled as the eyes (F,) radians say, or else as the neck leans, without growing thinner."""
    neck, own_neck = points[:, HEAD] - points[:, NECK], own[HEAD] - own[NECK]
    upright = angle_of(chest, own_neck, side)                                               # (F,)
    leaning = angle_between(seen_from(own_neck, side), neck)
    told = np.isfinite(eyes) & (side > 0)
    roll = np.where(told, np.nan_to_num(eyes), upright + 0.5 * wrapped(leaning - upright))
    roll = upright + wrapped(roll - upright).clip(-HEAD_TILT, HEAD_TILT)
    longest = NECK_STRETCH * size * np.linalg.norm(own_neck)
    reach = np.minimum(1, longest / np.maximum(np.linalg.norm(neck, axis=-1), 1e-6))
    return turned_map(own[HEAD], points[:, NECK] + reach[:, None] * neck, roll, size, side)


def eye_roll(skeleton: Skeleton, reference: Skeleton) -> np.ndarray:
    """(F,) radians by which the line of the eyes has turned; NaN where it cannot be told."""
    def line(keypoints):
        ends = keypoints[:, [coco.RIGHT_EYE, coco.LEFT_EYE]]
        return ends[:, 1, :2] - ends[:, 0, :2], is_seen(ends).all(axis=1)
    (way, seen), (own, own_seen) = line(skeleton.keypoints), line(reference.keypoints)
    wide = np.linalg.norm(way, axis=-1) > 0.5 * np.linalg.norm(own, axis=-1)
    angle = angle_between(np.broadcast_to(own, way.shape), way)
    return np.where(seen & own_seen & wide, angle, np.nan)


def face_of(reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre (2,) and half axes (2,) in pixels of the part of the head that turns with the face; reference: (25, 3)."""
    ears = reference[[coco.LEFT_EAR, coco.RIGHT_EAR]]
    half = np.linalg.norm(ears[0, :2] - ears[1, :2]) / 2 if ears[:, 2].all() else HALF_HEAD * np.linalg.norm(reference[HEAD, :2] - reference[NECK, :2])
    return reference[HEAD, :2], half * np.array(FACE_AXES)


def in_face(x: np.ndarray, y: np.ndarray, face: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """How much in [0, 1] of the face's turn places of the picture take part: 1 in its middle, nothing at its outline."""
    (middle_x, middle_y), (wide, high) = face
    return np.maximum(1 - (((x - middle_x) / wide) ** 2 + ((y - middle_y) / high) ** 2) ** 2, 0) ** 2


def shift_of_face(skeleton: Skeleton, reference: Skeleton, head: np.ndarray, face: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(F, 2) pixels of the picture by which the middle of the face has left its place in the head, whose maps are (F, 2, 3).

    It is told by nose and eyes, and 0 where they are unseen. Up and down it is told from how the movement begins, as a face that is
    drawn for a movement is not this one.
    """
    parts = [coco.NOSE, coco.LEFT_EYE, coco.RIGHT_EYE]
    own, frames = reference.keypoints[0, parts, :2], skeleton.keypoints[:, parts]
    share = in_face(own[:, 0], own[:, 1], face) * (reference.seen[0, parts] & skeleton.seen[:, parts])     # (F, 3)
    away = np.einsum("fij,fkj->fki", np.linalg.inv(head[:, :, :2]), frames[..., :2] - head[:, None, :, 2]) - own
    told = share.any(axis=1)                                                                # (F,)
    shift = (away * share[..., None]).sum(axis=1) / np.maximum((share**2).sum(axis=1), 1e-6)[:, None]
    if told.any():
        shift[told, 1] -= np.median(shift[told, 1][:max(1, round(FACE_AT_REST * skeleton.fps))])
    shift /= np.maximum(np.linalg.norm(shift / (face[1] * FACE_SHIFT), axis=-1, keepdims=True), 1)
    return gaussian_filter1d(shift, FACE_SMOOTHING * skeleton.fps, axis=0, mode="nearest")


def about(linear: np.ndarray, origin: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(F, 2, 3): the linear maps (F, 2, 2) that take the origin (2,) to the targets (F, 2)."""
    return np.concatenate([linear, (target - linear @ origin)[..., None]], axis=-1)


def angle_of(maps: np.ndarray, vector: np.ndarray, side: np.ndarray) -> np.ndarray:
    """(F,) radians by which maps (F, 2, 3) turn a vector (2,), mirrored first where side (F,) is -1."""
    return angle_between(seen_from(vector, side), maps[:, :, :2] @ vector)


def seen_from(vector: np.ndarray, side: np.ndarray) -> np.ndarray:
    """A vector (2,) as (F, 2), its x mirrored where side (F,) is -1."""
    return np.stack([vector[0] * side, np.full(len(side), vector[1])], axis=-1)


def wrapped(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(F, 2) and (2,) to (F, 2, 2)."""
    return a[..., :, None] * b[None, :]
