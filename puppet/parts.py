"""Which pixel of the person belongs to which part: trunk, head, arms and legs, by keypoints and colours."""
from __future__ import annotations

import cv2
import numpy as np

from dwpose import skeleton as coco
from puppet.cutout import capsule, part_shares, softened
from puppet.points import cut_off, HEAD, inside, last_joint, Limb, NECK, PELVIS, right_of, unit

HEAD_RADIUS = 0.5                   # of the way from the neck to the middle of the head
WIDTH_RANGE = (0.6, 1.7)            # of a limb against an adult's
SLEEVE = 0.6                        # of an arm's half width below its shoulder, from where its outer side is its own
IN_POCKET = 0.2                     # of the forearm's length above the wrist, from where the cloth about a hidden hand may be a pocket's
CROTCH = 0.3                        # of the thigh's length below the hips


def drawable(limb: Limb, points: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether the picture shows enough of a limb to move it: its root and its middle."""
    root, middle = points[limb.points[0]], points[limb.points[1]]
    return bool(root[2] and middle[2] and inside(root, size) and inside(middle, size))


def bones(points: np.ndarray, limbs: list[Limb], widths: dict[str, float], trunk: float, size: tuple[int, int]) -> list:
    """Lines and half widths in pixels that cover the person's body without the head."""
    xy, lines = points[:, :2], []
    for limb in limbs:
        whole = last_joint(limb, points) == 2
        shown = limb.points[:3] if whole or cut_off(limb, points, size) else limb.points[:2]
        lines += [((xy[a], xy[b]), widths[limb.name]) for a, b in zip(shown, shown[1:])]
        if whole:
            lines.append(((xy[limb.points[2]], xy[limb.points[3]]), 0.7 * widths[limb.name]))
    for shoulder, hip in ((coco.LEFT_SHOULDER, coco.LEFT_HIP), (coco.RIGHT_SHOULDER, coco.RIGHT_HIP)):
        lines.append(((0.55 * xy[shoulder] + 0.45 * xy[NECK], 0.55 * xy[hip] + 0.45 * xy[PELVIS]), 0.16 * trunk))
    lines.append(((xy[NECK], xy[HEAD]), 0.1 * trunk))
    return lines


def joined(mask: np.ndarray, lines: list) -> np.ndarray:
    """The person's mask (H, W) with gaps along bones closed: a bone whose two ends lie in it is the person's.

    A thin shin or a buckle in the background's colours would otherwise cut off the foot.
    """
    closed = mask.copy()
    for line, width in lines:
        ends = []
        for end in line:
            place = np.zeros(mask.shape, np.uint8)
            capsule(place, (end, end), max(0.6 * width, 2), 1)
            ends.append(bool((mask[place > 0] > 0.5).any()))
        if all(ends):
            bone = np.zeros(mask.shape, np.uint8)
            capsule(bone, line, max(0.25 * width, 1), 1)
            closed = np.maximum(closed, bone)
    return closed


def head_disc(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (2,) and radius in pixels of the head."""
    neck, head = points[NECK, :2], points[HEAD, :2]
    return head + 0.25 * (head - neck), HEAD_RADIUS * 1.15 * float(np.linalg.norm(head - neck))


def limb_width(alpha: np.ndarray, limb: Limb, points: np.ndarray, expected: float) -> float:
    """Half width in pixels: from the bone to the nearer side of the outline, where one side is free."""
    found = []
    shown = limb.points[:1 + last_joint(limb, points)]
    for a, b in zip(shown, shown[1:]):
        start, end = points[a, :2], points[b, :2]
        normal = np.array([start[1] - end[1], end[0] - start[0]]) / max(np.linalg.norm(end - start), 1e-6)
        for t in np.linspace(0.35, 0.95, 7):
            foot = start + t * (end - start)
            reach = np.arange(1, 2.5 * expected)
            sides = []
            for sign in (-1, 1):
                x, y = (foot[:, None] + sign * normal[:, None] * reach).round().astype(int)
                outside = alpha[y.clip(0, alpha.shape[0] - 1), x.clip(0, alpha.shape[1] - 1)] < 0.5
                sides.append(reach[outside.argmax()] if outside.any() else np.inf)
            found.append(min(sides))
    found = [width for width in found if np.isfinite(width)]
    return float(np.clip(np.median(found) if found else expected, WIDTH_RANGE[0] * expected, WIDTH_RANGE[1] * expected))


def wears_skirt(image: np.ndarray, alpha: np.ndarray, points: np.ndarray, limbs: list[Limb], widths: dict[str, float]) -> bool:
    """Whether cloth fills the room between the thighs and ends above the ankles."""
    legs = [limb for limb in limbs if limb.trunk == "pelvis"]
    if len(legs) < 2 or any(last_joint(leg, points) < 2 for leg in legs):
        return False
    lab = cv2.cvtColor(cv2.GaussianBlur(image, (0, 0), 2), cv2.COLOR_RGB2LAB).astype(np.float32)
    at = lambda place: (int(place[1].clip(0, alpha.shape[0] - 1)), int(place[0].clip(0, alpha.shape[1] - 1)))
    thighs = [points[leg.points[0], :2] * 0.4 + points[leg.points[1], :2] * 0.6 for leg in legs]
    shins = [points[leg.points[1], :2] * 0.35 + points[leg.points[2], :2] * 0.65 for leg in legs]
    apart = np.linalg.norm(thighs[0] - thighs[1]) - widths[legs[0].name] - widths[legs[1].name]
    between = [thighs[0] + t * (thighs[1] - thighs[0]) for t in (0.4, 0.5, 0.6)]
    full = all(alpha[at(place)] > 0.5 for place in between)
    differ = [np.linalg.norm(lab[at(thigh)] - lab[at(shin)]) for thigh, shin in zip(thighs, shins)]      # bare or other cloth below
    return bool(full and min(differ) > 15 and np.mean(differ) > 25 and apart > -0.6 * widths[legs[0].name])


def distance_to(line, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 pixels from a line between two points."""
    start, end = (np.asarray(point, np.float32) for point in line)
    x, y = np.arange(size[1], dtype=np.float32)[None] - start[0], np.arange(size[0], dtype=np.float32)[:, None] - start[1]
    dx, dy = end - start
    along = ((x * dx + y * dy) / max(float(dx * dx + dy * dy), 1e-6)).clip(0, 1)
    return np.hypot(x - along * dx, y - along * dy)


def shares_of(image, alpha, points, limbs, widths, trunk, skirt, hidden=()) -> dict[str, np.ndarray]:
    """By part (trunk, head, each limb's name), the share (H, W) of every pixel that belongs to it.

    hidden: arms that end at the wrist, in a pocket.
    """
    size, xy = alpha.shape, points[:, :2]
    canvas = lambda: np.zeros(size, np.uint8)
    arms = canvas()
    names, seeds, distances, models = ["trunk", "head"], [], [], [0, 1]
    for limb in limbs:
        root, middle, end, tip = limb.points
        width, seed = widths[limb.name], canvas()
        lines = [(0.7 * xy[root] + 0.3 * xy[middle], xy[middle])]
        far = distance_to((xy[root], xy[middle]), size)
        if last_joint(limb, points) == 2:
            last = xy[end] if limb not in hidden else xy[end] + IN_POCKET * (xy[middle] - xy[end])
            lines.append((xy[middle], last))
            far = np.minimum(far, distance_to((xy[middle], xy[end]), size))
            if limb not in hidden:
                far = np.minimum(far, distance_to((xy[end], xy[tip]), size))
            if limb.trunk == "pelvis" or points[tip, 2]:
                lines.append((xy[end], 0.2 * xy[end] + 0.8 * xy[tip]))
        elif cut_off(limb, points, size):
            lines.append((xy[middle], xy[end]))
            far = np.minimum(far, distance_to((xy[middle], xy[end]), size))
        for line in lines:
            capsule(seed, line, 0.45 * width, 1)
            if limb.trunk == "chest":
                capsule(arms, line, 0.8 * width, 1)
        names.append(limb.name)
        seeds.append(seed > 0)
        distances.append((far / width).astype(np.float32))
        models.append(2 if limb.trunk == "chest" else 3)
    corners = [coco.LEFT_SHOULDER, coco.RIGHT_SHOULDER, coco.RIGHT_HIP, coco.LEFT_HIP]
    body = canvas()
    cv2.fillConvexPoly(body, cv2.convexHull(xy[corners].round().astype(np.int32)), 1)
    chest = canvas()
    middle = xy[corners].mean(axis=0)
    cv2.fillConvexPoly(chest, cv2.convexHull((middle + 0.85 * (xy[corners] - middle)).round().astype(np.int32)), 1)
    trunk_seed = (chest > 0) & (arms == 0)
    away = cv2.distanceTransform(1 - body, cv2.DIST_L2, 5) / (0.2 * trunk)
    if skirt:
        cloth = skirt_region(points, limbs, widths, size)
        trunk_seed |= cloth
        for index, limb in enumerate(limbs):
            if limb.trunk == "pelvis":
                seeds[index] &= distance_to((xy[limb.points[0]], xy[limb.points[1]]), size) > widths[limb.name]
        away = np.minimum(away, cv2.distanceTransform((~cloth).astype(np.uint8), cv2.DIST_L2, 5) / (0.8 * trunk))
    head = canvas()
    centre, radius = head_disc(points)
    capsule(head, (centre, centre), 0.8 * radius, 1)
    shares = part_shares(image, alpha, [trunk_seed, (head > 0) & (arms == 0), *seeds],
                   [away, (distance_to((centre, centre), size) / (3.0 * radius)).astype(np.float32), *distances], models)
    return dict(zip(names, shares))


def with_sleeves(shares: dict[str, np.ndarray], points: np.ndarray, limbs: list[Limb], widths: dict[str, float]) -> dict[str, np.ndarray]:
    """The shares with the outer side of an arm, below its shoulder, given to it: raised, it leaves no corner of a sleeve there."""
    shares = dict(shares)
    for limb in limbs:
        if limb.trunk == "chest":
            root, middle = (points[joint, :2] for joint in limb.points[:2])
            sleeve, width, bone = np.zeros(shares["trunk"].shape, np.uint8), widths[limb.name], middle - root
            start = root + min(SLEEVE * width / max(np.linalg.norm(bone), 1), 1) * bone
            out = right_of(unit(bone)) * (np.sign(right_of(bone) @ (root - points[NECK, :2])) or 1)
            side = [start, middle, middle + 2 * width * out, start + 2 * width * out]
            cv2.fillConvexPoly(sleeve, np.array(side).round().astype(np.int32), 1)
            zone = softened(sleeve)
            shares[limb.name] = shares[limb.name] + zone * shares["trunk"]
            shares["trunk"] = (1 - zone) * shares["trunk"]
    return shares


def with_pelvis(shares: dict[str, np.ndarray], points: np.ndarray, limbs: list[Limb], widths: dict[str, float]) -> dict[str, np.ndarray]:
    """The shares with hips and crotch given to the trunk, so that legs that move apart leave no gap there."""
    legs = [limb for limb in limbs if limb.trunk == "pelvis"]
    if len(legs) < 2:
        return shares
    hips, knees = (np.array([points[leg.points[i], :2] for leg in legs]) for i in (0, 1))
    down = knees.mean(axis=0) - hips.mean(axis=0)
    across = unit(hips[0] - hips[1])
    outer = [hips[0] + 1.3 * widths[legs[0].name] * across, hips[1] - 1.3 * widths[legs[1].name] * across]
    corners = np.array([*(outer - 1.5 * down), *outer, hips.mean(axis=0) + CROTCH * down])
    zone = np.zeros(shares["trunk"].shape, np.uint8)
    cv2.fillConvexPoly(zone, cv2.convexHull(corners.round().astype(np.int32)), 1)
    zone = softened(zone)
    shares = dict(shares)
    for leg in legs:
        shares["trunk"] = shares["trunk"] + zone * shares[leg.name]
        shares[leg.name] = (1 - zone) * shares[leg.name]
    return shares


def skirt_region(points: np.ndarray, limbs: list[Limb], widths: dict[str, float], size: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: from the hips down to where the cloth between the thighs is sure."""
    legs = [limb for limb in limbs if limb.trunk == "pelvis"]
    hips, knees = (np.array([points[leg.points[i], :2] for leg in legs]) for i in (0, 1))
    zone = np.zeros(size, np.uint8)
    cv2.fillConvexPoly(zone, cv2.convexHull(np.concatenate([hips, 0.5 * hips + 0.5 * knees]).round().astype(np.int32)), 1)
    return zone > 0
