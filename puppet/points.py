"""Where the points of a cut-out body go: the body's 17 and eight derived from them, complete and within what a flat picture can show."""
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
BOW = 0.66                          # of the spine's length, that its picture keeps when it bends towards or away from the viewer
BOW_ASIDE = (0.4, 0.75)             # of it, to the side of the legs' line: from where it is no bow to where it leans aside
NECK_UP = (0.55, 0.15)              # of the neck's length: how far the head may sink towards the chest, and rise
NECK_ASIDE = 0.25                   # and go to either side
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


def with_knees_apart(points: np.ndarray, own: np.ndarray, size: np.ndarray, toward: dict[str, np.ndarray]) -> np.ndarray:
    """The points (F, 25, 2) with both knees moved outwards where both thighs point at the viewer, as nobody sits with them closed."""
    points, both = points.copy(), np.min(list(toward.values()), axis=0)                     # (F,)
    out = unit(points[:, coco.LEFT_HIP] - points[:, coco.RIGHT_HIP])
    for hip, knee, sign in ((coco.LEFT_HIP, coco.LEFT_KNEE, 1), (coco.RIGHT_HIP, coco.RIGHT_KNEE, -1)):
        length = np.linalg.norm(own[knee] - own[hip]) * size
        wide = ((points[:, knee] - points[:, hip]) * out).sum(-1) * sign / np.maximum(length, 1)    # (F,) already outwards
        points[:, knee] += (sign * both * length * (SPREAD - wide).clip(0, SPREAD))[:, None] * out
    return points


def with_skirt_hanging(points: np.ndarray, own: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The points (F, 25, 2) with the middle of the knees, to which a skirt goes, moved so that it goes on from the spine by
    HANGING: knees that come up to the hips do not turn it over."""
    points, down = points.copy(), unit(points[:, PELVIS] - points[:, NECK])                 # (F, 2)
    shown = ((points[:, KNEES] - points[:, PELVIS]) * down).sum(-1)                         # (F,)
    least = HANGING * np.linalg.norm(own[KNEES] - own[PELVIS]) * size
    points[:, KNEES] += np.maximum(least - shown, 0)[:, None] * down
    return points


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


def turned(vectors: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Vectors (F, 2) turned by angles (F,) radians."""
    return np.cos(angle)[:, None] * vectors + np.sin(angle)[:, None] * right_of(vectors)


def angle_between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.arctan2(cross(before, after), (before * after).sum(axis=-1))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def right_of(vectors: np.ndarray) -> np.ndarray:
    return np.stack([-vectors[..., 1], vectors[..., 0]], axis=-1)
