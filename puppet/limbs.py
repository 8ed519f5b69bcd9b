"""Where each piece of a cut-out body goes: an affine map per piece and frame, from the reference pose to the skeleton's.

A bone turns and grows or shrinks along itself as its two points ask; across, it keeps its width times the size of the
whole person. Chest and pelvis follow shoulders and hips, the head turns without shrinking.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from dwpose import skeleton as coco
from dwpose.skeleton import is_present, is_seen, Skeleton
from puppet.cutout import smoothstep

NECK, PELVIS, HEAD, KNEES, LEFT_TIP, RIGHT_TIP, LEFT_TOE, RIGHT_TOE = range(17, 25)     # points beside the body's 17
NUM_POINTS = 25
HEAD_POINTS = {coco.NOSE: 1.0, coco.LEFT_EYE: 1.0, coco.RIGHT_EYE: 1.0, coco.LEFT_EAR: 20.0, coco.RIGHT_EAR: 20.0}     # a nod or a turn leaves the ears' middle
HANGS_ON = (                        # point, the point it is carried along by while it is unseen, and from where the bone comes it turns with
    (PELVIS, NECK, None), (NECK, PELVIS, None),
    (coco.LEFT_SHOULDER, NECK, None), (coco.RIGHT_SHOULDER, NECK, None), (coco.LEFT_HIP, PELVIS, None), (coco.RIGHT_HIP, PELVIS, None),
    (coco.LEFT_ELBOW, coco.LEFT_SHOULDER, None), (coco.RIGHT_ELBOW, coco.RIGHT_SHOULDER, None),
    (coco.LEFT_WRIST, coco.LEFT_ELBOW, coco.LEFT_SHOULDER), (coco.RIGHT_WRIST, coco.RIGHT_ELBOW, coco.RIGHT_SHOULDER),
    (coco.LEFT_KNEE, coco.LEFT_HIP, None), (coco.RIGHT_KNEE, coco.RIGHT_HIP, None),
    (coco.LEFT_ANKLE, coco.LEFT_KNEE, coco.LEFT_HIP), (coco.RIGHT_ANKLE, coco.RIGHT_KNEE, coco.RIGHT_HIP),
    (LEFT_TOE, coco.LEFT_ANKLE, coco.LEFT_KNEE), (RIGHT_TOE, coco.RIGHT_ANKLE, coco.RIGHT_KNEE),
)
SPINE_LENGTH = {NECK: 1.4, PELVIS: 2.2}     # neck to pelvis in widths of the shoulders, or of the hips, where the other is unseen
HAND_LENGTH, FOOT_LENGTH = 0.62, 0.45       # of the forearm and of the shin, where hand and toes are unseen
THIGH_LENGTH = 0.85                         # of the trunk, where knees are unseen
LOWER_LENGTH = 0.95                         # of the upper arm and of the thigh, where wrist and ankle are unseen
SIZE_RANGE = (0.4, 2.5)             # of the person against the picture
SIZE_QUANTILE = 0.75                # of the bones' ratios: the others are foreshortened
SIZE_SMOOTHING = 0.25               # seconds, standard deviation
LENGTH_RANGE = (0.22, 1.3)          # of a limb's bone along itself: shorter is hidden behind its joint
FOOT_LENGTHS = (0.7, 1.5)           # of a foot: in the picture it may point at the viewer
TRUNK_LENGTHS = (0.35, 1.2)
TRUNK_WIDTHS = (0.62, 1.12)         # a body seen from the side is three fifths as wide
BOW = 0.66                          # of the spine's length, that its picture keeps when it bends towards or away from the viewer
BOW_ASIDE = (0.4, 0.75)             # of it, to the side of the legs' line: from where it is no bow to where it leans aside
BEHIND = 0.5                        # of the shoulders' width: turned so far, the head is seen from behind whatever it does
TURNED = 0.25                       # of the shoulders' width: nearer to the side view, the last side shown stays
SQUARENESS = 0.6                    # how much shoulders and hips are held square to the spine
HEAD_TILT = np.radians(40)          # against the chest, at most
NECK_STRETCH = 1.15
NECK_UP = (0.55, 0.15)              # of the neck's length: how far the head may sink towards the chest, and rise
NECK_ASIDE = 0.25                   # and go to either side
JUMP_SECONDS = 0.8                  # for which a person may be off the floor
STEADY = 0.1                        # of a bone's length: when it points at the viewer, it turns with its parent
LIFTED = 0.35                       # of the shin's length: a foot so far above the floor turns freely
NEARNESS = (0.85, 1.25)             # of a limb's width, by perspective
FORESHORTENED = (0.25, 0.75)        # of a thigh's length: drawn as pointing at the viewer, from wholly to not at all
RAISED_KNEE = (0.1, 0.25)           # of its length, by which a knee may be above the hip, for that
NEARER_KNEE = (0.08, 0.2)           # metres by which its knee is nearer than its hip, from not at all to wholly
THIGH_LENGTHS = (0.5, 1.3)          # a shorter thigh begins beyond the hip, where the trunk is
LIFT, LIFT_SMOOTHING = 0.03, 0.15   # of the canvas height, and seconds, standard deviation
CUT_ARM = 0.1                       # of its length, how far an upper arm that the picture cuts off is raised above its shoulder, or hangs inwards
HANGING = 0.5                       # of its length, that a skirt at least goes on from the spine downwards
SPREAD = 0.2                        # of the thigh's length, by which knees part that both come towards the viewer


@dataclass(frozen=True)
class Limb:
    """An arm or a leg: root, middle, end and tip, and the piece of trunk it hangs on."""

    name: str
    points: tuple[int, int, int, int]
    trunk: str
    width: float                    # half width of an adult's, in trunk lengths


LIMBS = (
    Limb("left leg", (coco.LEFT_HIP, coco.LEFT_KNEE, coco.LEFT_ANKLE, LEFT_TOE), "pelvis", 0.17),
    Limb("right leg", (coco.RIGHT_HIP, coco.RIGHT_KNEE, coco.RIGHT_ANKLE, RIGHT_TOE), "pelvis", 0.17),
    Limb("left arm", (coco.LEFT_SHOULDER, coco.LEFT_ELBOW, coco.LEFT_WRIST, LEFT_TIP), "chest", 0.11),
    Limb("right arm", (coco.RIGHT_SHOULDER, coco.RIGHT_ELBOW, coco.RIGHT_WRIST, RIGHT_TIP), "chest", 0.11),
)


LEGS = (PELVIS, KNEES, *(point for limb in LIMBS if limb.trunk == "pelvis" for point in limb.points))


def last_joint(limb: Limb, points: np.ndarray) -> int:
    """How many bones of a limb the picture shows: 1 or 2."""
    return 2 if points[limb.points[2], 2] else 1


def cut_off(limb: Limb, points: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether the picture's edge cuts a limb between its middle and its end: what it shows beyond the middle is the limb's."""
    return last_joint(limb, points) == 1 and not inside(points[limb.points[2]], size)


def inside(point: np.ndarray, size: tuple[int, int]) -> bool:
    return bool(0 <= point[0] < size[1] and 0 <= point[1] < size[0])


def body_points(keypoints: np.ndarray) -> np.ndarray:
    """(F, 133, 3) to (F, 25, 3): the 17 body points and those derived from them; the third number is 1 where known."""
    points = np.zeros((len(keypoints), NUM_POINTS, 3))
    points[:, coco.BODY] = keypoints[:, coco.BODY]
    points[..., 2] = is_seen(points)
    for middle, sides in ((NECK, (coco.LEFT_SHOULDER, coco.RIGHT_SHOULDER)), (PELVIS, (coco.LEFT_HIP, coco.RIGHT_HIP)),
                          (KNEES, (coco.LEFT_KNEE, coco.RIGHT_KNEE))):
        points[:, middle] = points[:, list(sides)].mean(axis=1)
        points[:, middle, 2] = points[:, list(sides), 2].all(axis=1)
    weights = points[:, list(HEAD_POINTS), 2] * list(HEAD_POINTS.values())                   # (F, 5)
    total = weights.sum(axis=1)
    points[:, HEAD, :2] = (points[:, list(HEAD_POINTS), :2] * weights[..., None]).sum(1) / np.maximum(total, 1)[:, None]
    points[:, HEAD, 2] = total > 0
    for tip, hand in ((LEFT_TIP, coco.LEFT_HAND), (RIGHT_TIP, coco.RIGHT_HAND)):
        fingers = keypoints[:, hand][:, [8, 12, 16]]                                         # (F, 3, 3)
        points[:, tip, :2] = fingers[..., :2].mean(axis=1)
        points[:, tip, 2] = is_seen(fingers).all(axis=1)
    for toe, joint in ((LEFT_TOE, coco.LEFT_BIG_TOE), (RIGHT_TOE, coco.RIGHT_BIG_TOE)):
        points[:, toe] = keypoints[:, joint]
        points[:, toe, 2] = is_seen(keypoints[:, joint])
    return points


def whole_reference(points: np.ndarray) -> np.ndarray:
    """Body points (25, 3) of the reference, those of trunk, legs, hands and feet that are unseen set by proportion, still unseen.

    Of hips or shoulders of which one is seen, the other mirrors it. Forearms and shins go on from the bone above.
    """
    known, points = points, points.copy()
    if not points[[NECK, PELVIS], 2].any():
        raise ValueError("reference: expected both shoulders or both hips (found neither): use a picture of the person "
                         "from the front, at least to the waist")
    middles = {NECK: (coco.LEFT_SHOULDER, coco.RIGHT_SHOULDER), PELVIS: (coco.LEFT_HIP, coco.RIGHT_HIP)}
    for missing, present, down, share in ((PELVIS, NECK, 1, 0.65), (NECK, PELVIS, -1, 1.5)):
        if not points[missing, 2]:
            (left, right), (new_left, new_right) = middles[present], middles[missing]
            across = points[left, :2] - points[right, :2]
            middle = points[present, :2] + (0, down * SPINE_LENGTH[present] * np.linalg.norm(across))
            points[new_left, :2], points[new_right, :2] = middle + share * across / 2, middle - share * across / 2
            points[missing, :2] = middle
            for seen, other in ((new_left, new_right), (new_right, new_left)):
                if known[seen, 2] and not known[other, 2]:
                    points[missing, 1] = known[seen, 1]
                    points[seen, :2] = known[seen, :2]
                    points[other, :2] = 2 * points[missing, :2] - known[seen, :2]
    if not points[HEAD, 2]:
        points[HEAD, :2] = points[NECK, :2] + 0.5 * (points[NECK, :2] - points[PELVIS, :2])
    for limb in LIMBS:
        root, middle, end, tip = limb.points
        if limb.trunk == "pelvis" and not points[middle, 2]:
            points[middle, :2] = points[root, :2] + THIGH_LENGTH * (points[PELVIS, :2] - points[NECK, :2])
        if not points[end, 2] and (limb.trunk == "pelvis" or points[[root, middle], 2].all()):
            points[end, :2] = points[middle, :2] + LOWER_LENGTH * (points[middle, :2] - points[root, :2])
        if not points[tip, 2] and points[middle, 2]:
            length = HAND_LENGTH if limb.trunk == "chest" else FOOT_LENGTH
            points[tip, :2] = points[end, :2] + length * (points[end, :2] - points[middle, :2])
    points[KNEES, :2] = points[[coco.LEFT_KNEE, coco.RIGHT_KNEE], :2].mean(axis=0)
    return points


def followed(skeleton: Skeleton, reference: np.ndarray) -> np.ndarray:
    """The frames' points (F, 25, 2), complete: what is unseen keeps its place on what it hangs on.

    reference: (25, 3) from `body_points`.
    """
    points = body_points(skeleton.keypoints)
    known = is_present(points)                                                            # (F, 25)
    known[:, [LEFT_TOE, RIGHT_TOE]] &= reference[[LEFT_TOE, RIGHT_TOE], 2] > 0            # a foot is turned from its place in the picture
    frames = np.arange(len(points))
    if not known[:, [NECK, PELVIS]].any():
        raise ValueError("skeleton: expected shoulders or hips in at least one frame (found none): "
                         "the puppet has nothing to follow")
    trunk = known[:, NECK] | known[:, PELVIS]
    nearest = frames[trunk][np.abs(frames[:, None] - frames[trunk][None]).argmin(axis=1)]   # (F,) whose trunk is taken
    points, known = np.where(trunk[:, None, None], points, points[nearest]), known | (~trunk[:, None] & known[nearest])
    for point, parent, origin in HANGS_ON:
        offset, both = points[:, point, :2] - points[:, parent, :2], known[:, point] & known[:, parent]
        bone = points[:, parent, :2] - points[:, NECK if origin is None else origin, :2]
        if both.any():
            last = np.maximum.accumulate(np.where(both, frames, -1))
            last = np.where(last >= 0, last, both.argmax())
            offset, earlier = offset[last], bone[last]
        else:
            offset = np.broadcast_to(reference[point, :2] - reference[parent, :2], offset.shape)
            earlier = np.broadcast_to(reference[parent, :2] - reference[NECK if origin is None else origin, :2], bone.shape)
        if origin is not None:
            offset = turned(offset, angle_between(earlier, bone))
        points[:, point, :2] = np.where(known[:, point, None], points[:, point, :2], points[:, parent, :2] + offset)
        known[:, point] = True
    points[:, HEAD, :2] = head_places(skeleton.keypoints, points[..., :2], reference, skeleton.fps)
    points[..., :2] = with_bow_bounded(points[..., :2], reference, person_size(points[..., :2], reference, skeleton.fps))
    points[:, HEAD, :2] = head_places(skeleton.keypoints, points[..., :2], reference, skeleton.fps)
    heads = list(HEAD_POINTS)
    points[:, heads] = np.where(known[:, heads, None], points[:, heads], points[:, HEAD, None])
    points[:, KNEES, :2] = points[:, [coco.LEFT_KNEE, coco.RIGHT_KNEE], :2].mean(axis=1)
    return points[..., :2]


def with_bow_bounded(points: np.ndarray, reference: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The points (F, 25, 2) with neck, head and arms raised where the trunk bends towards or away from the viewer so far that
    its picture is shorter than BOW: a flat trunk cannot fold, and the head would slide over the belly."""
    length = BOW * np.linalg.norm(reference[NECK, :2] - reference[PELVIS, :2]) * size        # (F,)
    up = unit(points[:, PELVIS] - points[:, [coco.LEFT_ANKLE, coco.RIGHT_ANKLE]].mean(axis=1))
    spine = points[:, NECK] - points[:, PELVIS]
    height, aside = (spine * up).sum(-1), np.abs(cross(spine, up))                          # (F,) each
    least = np.sqrt(np.maximum(length**2 - aside**2, 0)) * (1 - smoothstep(*BOW_ASIDE, aside * BOW / length))
    carried = [joint for joint in range(NUM_POINTS) if joint not in LEGS]
    points = points.copy()
    points[:, carried] += (np.maximum(least - np.maximum(height, -length), 0)[:, None] * up)[:, None] * (least > 0)[:, None, None]
    return points


def with_cut_edge_kept(points: np.ndarray, reference: np.ndarray, height: int, fps: float) -> np.ndarray:
    """The points (F, 25, 2) moved down where the pelvis of half a body rises by more than LIFT of the canvas height: the edge
    at which the picture cuts it off stays below the canvas."""
    knees = reference[[coco.LEFT_KNEE, coco.RIGHT_KNEE]]
    if (knees[:, 2] > 0).any() and (knees[:, 1] < height).any():
        return points
    lifted = np.maximum(reference[PELVIS, 1] - LIFT * height - points[:, PELVIS, 1], 0)     # (F,)
    frames = 2 * round(2 * LIFT_SMOOTHING * fps) + 1
    lowered = gaussian_filter1d(maximum_filter1d(lifted, frames, mode="nearest"), LIFT_SMOOTHING * fps, mode="nearest")
    return points + lowered[:, None, None] * (0, 1)


def with_cut_arms_kept(points: np.ndarray, reference: np.ndarray, size: tuple[int, int], fps: float) -> np.ndarray:
    """The points (F, 25, 2) with each arm that the lower edge cuts hanging, its end below the edge, unless it is held out so
    far that its end is beyond the side: else one would see where the picture cuts it off."""
    points, (height, width) = points.copy(), size
    for limb in LIMBS:
        root, middle, end, _ = limb.points
        if limb.trunk != "chest" or not reference[middle, 2] or reference[end, 2] or reference[end, 1] < height:
            continue
        share = (height - reference[middle, 1]) / (reference[end, 1] - reference[middle, 1])
        cut = reference[middle, :2] + share * (reference[end, :2] - reference[middle, :2])
        long = np.linalg.norm(cut - reference[root, :2]) + LIFT * height
        arm, out = points[:, middle] - points[:, root], np.sign(reference[root, 0] - reference[NECK, 0])
        angle = np.arctan2(arm[:, 0] * out, arm[:, 1])                                      # (F,) from hanging, outwards
        hanging = np.arccos(((height - points[:, root, 1]) / long).clip(0, 1))
        beside = points[:, root, 0] if out < 0 else width - points[:, root, 0]
        beyond = np.where(beside < long, np.arcsin((beside / long).clip(0, 1)), np.inf)     # (F,) of which the end is beyond the side
        rest = np.arctan2((reference[middle, 0] - reference[root, 0]) * out, reference[middle, 1] - reference[root, 1])
        kept = np.where(angle >= beyond, angle, np.clip(angle, np.minimum(rest, hanging) - CUT_ARM, hanging))
        kept = gaussian_filter1d(kept, LIFT_SMOOTHING * fps, mode="nearest")
        new = np.linalg.norm(arm, axis=-1)[:, None] * np.stack([np.sin(kept) * out, np.cos(kept)], axis=-1)
        points[:, [middle, end]] += (new - arm)[:, None]
    return points


def head_places(keypoints: np.ndarray, points: np.ndarray, reference: np.ndarray, fps: float) -> np.ndarray:
    """(F, 2) the middle of the head: moved from the reference's as those of its points that both show, and where a neck
    can reach, as a face turned aside moves its points and not the head. Turned away, it stays in line with the spine."""
    heads = list(HEAD_POINTS)
    weights = is_seen(keypoints[:, heads]) * reference[heads, 2] * list(HEAD_POINTS.values())    # (F, 5)
    way = ((keypoints[:, heads, :2] - reference[heads, :2]) * weights[..., None]).sum(1) / np.maximum(weights.sum(1), 1)[:, None]
    own, own_spine = reference[HEAD, :2] - reference[NECK, :2], unit(reference[NECK, :2] - reference[PELVIS, :2])
    length = max(np.linalg.norm(own), 1e-6)
    spine = unit(points[:, NECK] - points[:, PELVIS])                                       # (F, 2) upwards
    offset = reference[HEAD, :2] + way - points[:, NECK]
    rest_up, rest_right = own @ own_spine, own @ right_of(own_spine)
    up = (offset * spine).sum(-1).clip(rest_up - NECK_UP[0] * length, rest_up + NECK_UP[1] * length)
    right = (offset * right_of(spine)).sum(-1).clip(rest_right - NECK_ASIDE * length, rest_right + NECK_ASIDE * length)
    seen = gaussian_filter1d((weights.sum(1) > 0).astype(float), 0.1 * fps, mode="nearest") * (weights.sum(1) > 0)
    up, right = rest_up + seen * (up - rest_up), rest_right + seen * (right - rest_right)
    return points[:, NECK] + up[:, None] * spine + right[:, None] * right_of(spine)


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


def posed(points: np.ndarray, reference: np.ndarray, eyes: np.ndarray, fps: float, depth: np.ndarray | None, *, skirt: bool = False) -> Pose:
    """Maps for frames whose points are (F, 25, 2); reference: (25, 3); eyes: (F,) radians the head is rolled, NaN unknown.

    skirt: the thighs are under one, and need not be drawn as pointing at the viewer.
    """
    own = reference[:, :2]
    size = person_size(points, reference, fps)
    points = with_cut_arms_lowered(points, reference)
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
    maps["head"] = head_map(points, own, eyes, size, maps["chest"], side)
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
    return Pose(points, maps, size, side < 0, turn < -BEHIND * size, floor, toward)


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


def with_knees_apart(points: np.ndarray, own: np.ndarray, size: np.ndarray, toward: dict[str, np.ndarray]) -> np.ndarray:
    """The points (F, 25, 2) with both knees moved outwards where both thighs point at the viewer, as nobody sits with them closed."""
    points, both = points.copy(), np.min(list(toward.values()), axis=0)                     # (F,)
    out = unit(points[:, coco.LEFT_HIP] - points[:, coco.RIGHT_HIP])
    for hip, knee, sign in ((coco.LEFT_HIP, coco.LEFT_KNEE, 1), (coco.RIGHT_HIP, coco.RIGHT_KNEE, -1)):
        length = np.linalg.norm(own[knee] - own[hip]) * size
        wide = ((points[:, knee] - points[:, hip]) * out).sum(-1) * sign / np.maximum(length, 1)    # (F,) already outwards
        points[:, knee] += (sign * both * length * (SPREAD - wide).clip(0, SPREAD))[:, None] * out
    return points


def with_cut_arms_lowered(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The points (F, 25, 2) with arms whose wrist the picture does not show raised no higher than the shoulder: they go out
    of the frame sideways, where raised on they would show the end at which the picture cuts them off."""
    points, up = points.copy(), unit(points[:, NECK] - points[:, PELVIS])                   # (F, 2)
    for limb in LIMBS:
        root, middle, end, _ = limb.points
        if limb.trunk == "chest" and not reference[end, 2]:
            arm = points[:, middle] - points[:, root]
            length, raised = np.linalg.norm(arm, axis=-1), (arm * up).sum(-1)               # (F,)
            out = points[:, root] - points[:, NECK]
            out = unit(out - (out * up).sum(-1)[:, None] * up)
            level = out * np.sqrt(1 - CUT_ARM**2) + CUT_ARM * up
            lowered = points[:, root] + length[:, None] * level
            points[:, [middle, end]] += np.where(raised > CUT_ARM * length, 1.0, 0.0)[:, None, None] * (lowered - points[:, middle])[:, None]
    return points


def with_skirt_hanging(points: np.ndarray, own: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The points (F, 25, 2) with the middle of the knees, to which a skirt goes, moved so that it goes on from the spine by
    HANGING: knees that come up to the hips do not turn it over."""
    points, down = points.copy(), unit(points[:, PELVIS] - points[:, NECK])                 # (F, 2)
    shown = ((points[:, KNEES] - points[:, PELVIS]) * down).sum(-1)                         # (F,)
    least = HANGING * np.linalg.norm(own[KNEES] - own[PELVIS]) * size
    points[:, KNEES] += np.maximum(least - shown, 0)[:, None] * down
    return points


def floor_of(points: np.ndarray, fps: float) -> np.ndarray:
    """(F,) y of the lower ankle when it stands: through a jump, as before and after."""
    lower = points[:, [coco.LEFT_ANKLE, coco.RIGHT_ANKLE], 1].max(axis=1)
    frames = max(round(JUMP_SECONDS * fps), 1)
    return gaussian_filter1d(maximum_filter1d(lower, frames, mode="nearest"), frames / 4, mode="nearest")


def person_size(points: np.ndarray, reference: np.ndarray, fps: float) -> np.ndarray:
    """(F,) how large the person is against the reference: by the bones that are least foreshortened.

    Arms tell where legs do not show: of half a body that turns aside they alone keep their length.
    """
    whole = reference[[coco.LEFT_KNEE, coco.RIGHT_KNEE], 2].any()
    limbs = [pair for limb in LIMBS if limb.trunk == ("pelvis" if whole else "chest") for pair in zip(limb.points[:2], limb.points[1:3])]
    bones = [(NECK, PELVIS), (coco.LEFT_SHOULDER, coco.RIGHT_SHOULDER), (coco.LEFT_EAR, coco.RIGHT_EAR), *limbs]
    bones = [(a, b) for a, b in bones if reference[a, 2] and reference[b, 2]]
    if not bones:
        return np.ones(len(points))
    a, b = np.array(bones).T
    own = np.linalg.norm(reference[a, :2] - reference[b, :2], axis=-1)
    ratios = np.linalg.norm(points[:, a] - points[:, b], axis=-1) / np.maximum(own, 1)      # (F, B)
    size = np.quantile(ratios, SIZE_QUANTILE, axis=1).clip(*SIZE_RANGE)
    return gaussian_filter1d(size, SIZE_SMOOTHING * fps, mode="nearest")


def facing(turn: np.ndarray) -> np.ndarray:
    """(F,) 1 where the shoulders lie on the same sides of the spine as the reference's, else -1. turn: (F,) their width against
    the reference's, negative from behind."""
    side, last = np.empty(len(turn)), 1.0
    for frame, width in enumerate(turn):
        last = np.sign(width) if abs(width) > TURNED else last
        side[frame] = last
    return side


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


def nearness(depth: np.ndarray | None, limb: Limb) -> np.ndarray | float:
    """How much larger a limb is than the trunk, by perspective; 1 without depth."""
    if depth is None:
        return 1.0
    trunk = depth[:, [coco.LEFT_SHOULDER, coco.RIGHT_SHOULDER, coco.LEFT_HIP, coco.RIGHT_HIP]].mean(axis=1)
    return (trunk / depth[:, list(limb.points[1:3])].mean(axis=1)).clip(*NEARNESS)


def about(linear: np.ndarray, origin: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(F, 2, 3): the linear maps (F, 2, 2) that take the origin (2,) to the targets (F, 2)."""
    return np.concatenate([linear, (target - linear @ origin)[..., None]], axis=-1)


def turned(vectors: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Vectors (F, 2) turned by angles (F,) radians."""
    return np.cos(angle)[:, None] * vectors + np.sin(angle)[:, None] * right_of(vectors)


def angle_of(maps: np.ndarray, vector: np.ndarray, side: np.ndarray) -> np.ndarray:
    """(F,) radians by which maps (F, 2, 3) turn a vector (2,), mirrored first where side (F,) is -1."""
    return angle_between(seen_from(vector, side), maps[:, :, :2] @ vector)


def seen_from(vector: np.ndarray, side: np.ndarray) -> np.ndarray:
    """A vector (2,) as (F, 2), its x mirrored where side (F,) is -1."""
    return np.stack([vector[0] * side, np.full(len(side), vector[1])], axis=-1)


def angle_between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.arctan2(cross(before, after), (before * after).sum(axis=-1))


def wrapped(angle: np.ndarray) -> np.ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def right_of(vectors: np.ndarray) -> np.ndarray:
    return np.stack([-vectors[..., 1], vectors[..., 0]], axis=-1)


def outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(F, 2) and (2,) to (F, 2, 2)."""
    return a[..., :, None] * b[None, :]
