"""From a picture and its keypoints to soft layers of a cut-out person, and the background behind them.

A layer covers what belongs to its part and, hidden below its neighbours, what a moving neighbour uncovers: the trunk under
an arm, the thigh under the trunk. What is hidden is filled with the part's own colours.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from dwpose import skeleton as coco
from puppet.cutout import (capsule, carried_across, filled, least_cover, matte, met, person_mask, refined_mask, smoothstep, softened, spread,
                           with_fringe)
from puppet.parts import bones, distance_to, drawable, head_disc, joined, limb_width, shares_of, wears_skirt, with_pelvis, with_sleeves
from puppet.points import HEAD, inside, last_joint, Limb, LIMBS, NECK, PELVIS, unit
from puppet.shadows import darkened, Shadow, shaded, shadow_of, shadow_zones, unshaded
from puppet.unseen import back_of_head, beyond, drawn_hand, hand_length, HAND_SHOWN, hidden_hands, skin_colour

HAIR_REACH = (1.6, 2.4)             # radii of the head from its centre, between which strands of hair end
SHOULDER_INSET = -0.3               # of an arm's half width from its joint outwards: the trunk's edge below the arm
GUSSET, GUSSET_WIDTH = (0.2, 0.45), 0.6     # of the thigh's length, from where the cloth across the inseam narrows to its end; of its half width
FAINT = 0.004                       # coverage of which nothing is seen
EDGE_REACH = 0.015                  # of the canvas height, over which the fill goes over into the picture at the outline
GLOW = (14.0, 30.0)                 # grey levels beside the outline that are the person's, from wholly to not at all
GLOW_REACH = 0.009                  # of the canvas height, within which they are
GAP = 0.03                          # of the canvas height: half the width of a gap between limbs, in which nothing glows
SOOT = (4.0, 10.0)                  # grey levels by which what is beside a shoe is darker than the floor, for its shadow
BELOW_EDGE = 0.12                   # of the canvas height, by which half a body goes on below the picture
HOLE_REACH = 0.012                  # of the canvas height: what is filled beside the person
OWN = 0.6                           # share of a pixel from which its colour is the part's
ORDER = {"upper leg": -0.25, "lower leg": -0.22, "trunk": 0.0, "upper arm": 0.1, "head": 0.13, "hand": 0.249,
         "lower arm": 0.25}
                                    # metres by which a layer counts as nearer: how a body that stands still overlaps


@dataclass(frozen=True)
class Joint:
    """Where a layer bends into another piece."""

    piece: str
    at: tuple[int, ...]             # points whose middle it is
    before: bool                    # the other piece lies on the side of the trunk
    radius: float                   # pixels of the picture over which it bends
    near: bool = True               # only beside the joint, not beyond it


@dataclass(frozen=True)
class Layer:
    """Some pixels of the person and the piece they move with."""

    kind: str                       # of ORDER
    piece: str                      # the map it follows
    limb: Limb | None
    rest: np.ndarray                # (2,) its bone in the picture
    joints: tuple[Joint, ...]
    pixels: np.ndarray              # (h, w, 4) uint8, colour times coverage and coverage
    corner: tuple[int, int]         # x, y of its first pixel in the picture
    corners: np.ndarray             # (n, 2) of its convex hull
    back: np.ndarray | None = None  # (h, w, 4) uint8: the head's pixels from behind
    hidden: bool = False            # not in the picture: shown only where the piece has left its place there


@dataclass(frozen=True)
class Cut:
    """A picture taken apart."""

    background: np.ndarray          # (H, W, 3) float32, without the shadows
    layers: list[Layer]             # from the back to the front
    shadows: list[Shadow]
    skirt: bool

    @property
    def has_seat(self) -> bool:
        """Whether the trunk ends at the hips: both thighs are layers of their own, and no skirt hangs over them."""
        return not self.skirt and sum(layer.kind == "upper leg" for layer in self.layers) == 2


@dataclass
class Sheet:
    """A layer in the making, on the whole canvas."""

    kind: str
    piece: str
    limb: Limb | None
    rest: np.ndarray
    joints: tuple[Joint, ...]
    share: np.ndarray               # (H, W) of each pixel that is this layer's
    extension: np.ndarray           # (H, W) covered although another's
    borrowed: np.ndarray | float = 0.0      # (H, W) of the extension, where the picture's own colours are right


def cut_layers(image: np.ndarray, keypoints: np.ndarray, points: np.ndarray, mask: np.ndarray | None,
               rng: np.random.Generator, *, shadow: bool = True, hands: bool = True) -> Cut:
    """The picture (H, W, 3) uint8 taken apart.

    keypoints: (133, 3) and points: (25, 3) of its person; mask: (H, W) in [0, 1], or None to find the person by colour.
    shadow: take the shadows at the feet apart, too; hands: draw those that the picture hides.
    """
    size = image.shape[:2]
    limbs, widths, trunk = sized_limbs(points, size)
    mask = found_person(image, points, mask)
    if not (mask > 0.5).any():
        raise ValueError("puppet: expected a person in the picture's mask (found an empty mask): choose a picture in which "
                         "the person stands out from the background")
    alpha = matte(image, joined(mask, bones(points, limbs, widths, trunk, size)))
    hole = cv2.dilate((alpha > 0.02).astype(np.uint8), np.ones((2 * max(round(HOLE_REACH * size[0]), 2) + 1,) * 2, np.uint8)) > 0
    zones = shadow_zones(points, limbs, size, trunk) if shadow else {}
    fill = filled(image, hole | (sum(zones.values(), np.zeros(size, np.float32)) > 0.02), rng)
    beneath = cv2.dilate((alpha > 0.02).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    shadows = [shadow for shadow in (shadow_of(image, fill, beneath, zone, name) for name, zone in zones.items()) if shadow is not None]
    lit = unshaded(image, shadows)
    centre, radius = head_disc(points)
    hair = 1 - smoothstep(*HAIR_REACH, distance_to((centre, centre), size) / radius)
    body = np.zeros(size, np.uint8)
    for line, width in [*bones(points, limbs, widths, trunk, size), ((centre, centre), 1.2 * radius)]:
        capsule(body, line, 0.6 * width, 1)
    alpha = with_fringe(lit.clip(0, 255).astype(np.uint8), alpha, fill, hole, hair, softened(body))
    widths = {limb.name: limb_width(alpha, limb, points, widths[limb.name]) for limb in limbs}
    background, shadows, glow = background_of(image, fill, lit, alpha, hole, zones, shadows)
    skirt = wears_skirt(image, alpha, points, limbs, widths)
    hidden = hidden_hands(image, keypoints, points, alpha)
    cloth = shares_of(image, alpha, points, limbs, widths, trunk, skirt, hidden)
    cloth = with_sleeves(cloth, points, limbs, widths)
    shares = with_pelvis(cloth, points, limbs, widths)
    sheets = sheets_of(alpha, points, limbs, widths, shares, cloth, trunk, skirt)
    layers, skin = painted(image, np.maximum(alpha, glow), shaded(background, shadows), sheets), skin_colour(image, keypoints)
    layers = [below_edge(layer, size[0]) if is_cut_below(layer, points, size) else layer for layer in layers]
    layers = [replace(layer, back=back_of_head(layer.pixels, layer.corner, keypoints, points, skin)) if layer.kind == "head" else layer for layer in layers]
    if hands:
        layers += hand_layers(alpha, points, limbs, shares, skin, hidden)
    return Cut(background, layers, shadows, skirt)


def sized_limbs(points: np.ndarray, size: tuple[int, int]) -> tuple[list[Limb], dict[str, float], float]:
    """The limbs that a picture of `size` shows of a person's points (25, 3), their expected half widths, and the trunk's length, in pixels."""
    limbs = [limb for limb in LIMBS if drawable(limb, points, size)]
    trunk = max(np.linalg.norm(points[PELVIS, :2] - points[NECK, :2]), 4.0)
    return limbs, {limb.name: limb.width * trunk for limb in limbs}, trunk


def found_person(image: np.ndarray, points: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """What a person with points (25, 3) covers of a picture, (H, W) in [0, 1]: a network's mask made exact, or by colour without one."""
    limbs, widths, trunk = sized_limbs(points, image.shape[:2])
    lines = bones(points, limbs, widths, trunk, image.shape[:2])
    return person_mask(image, lines, head_disc(points)) if mask is None else refined_mask(image, mask, lines)


def background_of(image: np.ndarray, fill: np.ndarray, lit: np.ndarray, alpha: np.ndarray, hole: np.ndarray, zones: dict[int, np.ndarray],
                  shadows: list[Shadow]) -> tuple[np.ndarray, list[Shadow], np.ndarray]:
    """What is behind the person (H, W, 3) float32, the shadows on it, and how much of what surrounds the person (H, W) goes with them.

    fill and lit: (H, W, 3), the background without the person, and the picture without its shadows; alpha: (H, W) coverage of the
    person in a larger `hole` (H, W) bool; zones: (H, W) where shadows of feet can be. A faint glow about an outline is the person's,
    and what is dark beside a shoe its shadow's: left behind, they would be a ghost on the wall and soot on the floor.
    """
    fill, person = fill.astype(np.float32), alpha > FAINT
    ring = hole & ~person
    away = cv2.distanceTransform((~person).astype(np.uint8), cv2.DIST_L2, 5) / len(alpha)
    own = (1 - smoothstep(*GLOW, cv2.blur(np.abs(lit - fill).max(axis=2), (3, 3)))) * (1 - smoothstep(0.5, 1, away / GLOW_REACH))
    own *= cv2.distanceTransform((away <= GAP).astype(np.uint8), cv2.DIST_L2, 5) <= GAP * len(alpha)        # and not in a gap between two limbs
    darker = smoothstep(*SOOT, cv2.blur((fill - lit).mean(axis=2), (3, 3)))
    darker *= np.minimum(2 * sum(zones.values(), np.zeros(alpha.shape, np.float32)), 1) * ring
    own = np.maximum(own * ring, darker)
    base = lit + own[..., None] * (fill - lit)
    background = np.where(person[..., None], met(fill, base, person, EDGE_REACH), base).clip(0, 255).astype(np.float32)
    shadows = [darkened(shadow, image, background, darker, zones[shadow.ankle]) for shadow in shadows]
    return background, shadows, np.where(own > 0, least_cover(image.astype(np.float32), shaded(background, shadows)), 0).astype(np.float32)


def is_cut_below(layer: Layer, points: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether the picture's lower edge cuts a layer: it ends there, and what it hangs together with is not in the picture."""
    next_points = [layer.limb.points[2]] if layer.limb is not None else [coco.LEFT_KNEE, coco.RIGHT_KNEE]
    ends = layer.corner[1] + len(layer.pixels) == size[0] and layer.kind != "head"
    return ends and not all(points[point, 2] and inside(points[point], size) for point in next_points)


def below_edge(layer: Layer, height: int) -> Layer:
    """A layer that the picture's lower edge cuts, carried on straight below it: it is not seen to end where it is lifted a little."""
    pixels = cv2.copyMakeBorder(layer.pixels, 0, round(BELOW_EDGE * height), 0, 0, cv2.BORDER_REPLICATE)
    return replace(layer, pixels=pixels, corners=outline(pixels[..., 3], layer.corner))


def sheets_of(alpha, points, limbs, widths, shares, cloth, trunk, skirt) -> list[Sheet]:
    """All layers with what they cover, from the back to the front."""
    xy, size = points[:, :2], shares["trunk"].shape
    x, y = np.arange(size[1], dtype=np.float32)[None], np.arange(size[0], dtype=np.float32)[:, None]
    none = np.zeros(size, np.float32)
    sheets = []
    for limb in limbs:
        root, middle, end, _ = limb.points
        width, kind = widths[limb.name], "arm" if limb.trunk == "chest" else "leg"
        bone = xy[middle] - xy[root]
        joints = [Joint(limb.trunk, (root,), True, width)]
        cover, hip = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        if kind == "arm":
            capsule(cover, (xy[root], 0.8 * xy[root] + 0.2 * xy[middle]), 0.9 * width, 1)
        else:
            capsule(cover, (xy[root], xy[middle]), width, 1)
            capsule(hip, (xy[root], xy[middle]), 1.3 * width, 1)
        lent = (cloth[limb.name] - shares[limb.name]) * softened(hip)               # of the pelvis, what is the leg's cloth
        if kind == "leg" and not skirt:
            lent = np.maximum(lent, gusset(limb, points, width, size) * sum((shares[leg.name] for leg in limbs if leg.trunk == "pelvis"), shares["trunk"]))
        if last_joint(limb, points) == 1:
            sheets.append(Sheet(f"upper {kind}", f"{limb.name} upper", limb, bone, tuple(joints), shares[limb.name], softened(cover)))
            continue
        way = unit(unit(xy[middle] - xy[root]) + unit(xy[end] - xy[middle]))
        beyond = ((x - xy[middle][0]) * way[0] + (y - xy[middle][1]) * way[1]) / width
        cap = 1 - smoothstep(0.9, 1.1, np.hypot(x - xy[middle][0], y - xy[middle][1]) / width)
        upper, lower = np.maximum(1 - smoothstep(-0.1, 0.1, beyond), cap), np.maximum(smoothstep(-0.1, 0.1, beyond), cap)
        bend = lambda piece, before: Joint(f"{limb.name} {piece}", (middle,), before, width)
        sheets.append(Sheet(f"upper {kind}", f"{limb.name} upper", limb, bone, (*joints, bend("lower", False)),
                            shares[limb.name] * upper, np.maximum(softened(cover), lent) * upper, lent))
        below = np.zeros(size, np.uint8)
        capsule(below, (xy[middle], xy[end]), 0.8 * width, 1)
        sheets.append(Sheet(f"lower {kind}", f"{limb.name} lower", limb, xy[end] - xy[middle],
                            (bend("upper", True), Joint(f"{limb.name} tip", (end,), False, 0.5 * width, near=False)),
                            shares[limb.name] * lower, softened(below) * lower if kind == "leg" else none))
    under = sum((shares[limb.name] for limb in limbs if limb.trunk == "chest"), none) + shares["head"]
    centre, radius = head_disc(points)
    body = trunk_outline(points, limbs, widths, shares["trunk"] * alpha, alpha)
    neck = np.zeros(size, np.uint8)
    capsule(neck, (xy[NECK], 0.5 * xy[NECK] + 0.5 * xy[HEAD]), 0.35 * radius, 1)
    joints = [Joint("pelvis", (NECK, PELVIS), False, 0.35 * trunk, near=False)]
    if skirt:
        joints.append(Joint("skirt", (PELVIS,), False, 0.2 * trunk, near=False))
    sheets.append(Sheet("trunk", "chest", None, xy[PELVIS] - xy[NECK], tuple(joints), shares["trunk"], softened(np.maximum(body, neck)) * (under > 0.05),
                        softened(neck) * shares["head"]))
    skull = np.zeros(size, np.uint8)
    capsule(skull, (centre, centre), 0.85 * radius, 1)
    sheets.append(Sheet("head", "head", None, xy[HEAD] - xy[NECK], (Joint("chest", (NECK, NECK, HEAD), True, 0.3 * np.linalg.norm(xy[HEAD] - xy[NECK]), near=False),),
                        shares["head"], softened(skull) * (under > 0.05)))
    return sorted(sheets, key=lambda sheet: ORDER[sheet.kind])


def gusset(limb: Limb, points: np.ndarray, width: float, size: tuple[int, int]) -> np.ndarray:
    """(H, W) in [0, 1]: the cloth from a thigh across the inseam, which closes the crotch where the legs part."""
    hip, knee = points[limb.points[0], :2], points[limb.points[1], :2]
    middle, down = points[PELVIS, :2], knee - hip
    across = unit(middle - hip) * GUSSET_WIDTH * width
    zone = np.zeros(size, np.uint8)
    corners = np.array([hip, middle + across, middle + GUSSET[0] * down + across, middle + GUSSET[1] * down, knee])
    cv2.fillConvexPoly(zone, cv2.convexHull(corners.round().astype(np.int32)), 1)
    return softened(zone)


def trunk_outline(points: np.ndarray, limbs: list[Limb], widths: dict[str, float], trunk: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(H, W) uint8: the trunk as it must be below hanging arms: from shoulder to shoulder and hip to hip, and where its edge
    shows between them, along that. trunk: (H, W) what is seen of it; alpha: of the whole person."""
    corners = [coco.LEFT_SHOULDER, coco.RIGHT_SHOULDER, coco.RIGHT_HIP, coco.LEFT_HIP]
    xy, out = points[corners, :2].copy(), np.zeros((4, 2))
    for row, (side, other) in enumerate(((0, 1), (1, 0), (2, 3), (3, 2))):
        name = next((limb.name for limb in limbs if limb.points[0] == corners[side]), None)
        share = SHOULDER_INSET if row < 2 else 0.75
        out[row] = xy[side] + share * widths.get(name, 0.0) * unit(xy[side] - xy[other])
    body, centre = np.zeros(alpha.shape, np.uint8), out.mean(axis=0)
    left, right = ([*seen_edge(trunk, alpha, shoulder, hip, centre[0])] for shoulder, hip in ((out[0], out[3]), (out[1], out[2])))
    cv2.fillPoly(body, [np.array([out[0], *left, out[3], out[2], *right[::-1], out[1]]).round().astype(np.int32)], 1)
    return body


def seen_edge(trunk: np.ndarray, alpha: np.ndarray, shoulder: np.ndarray, hip: np.ndarray, middle: float) -> Iterator[tuple[float, float]]:
    """Points x, y from the shoulder (2,) down to the hip (2,) where a gap shows between the trunk and an arm."""
    outwards = 1 if shoulder[0] + hip[0] > 2 * middle else -1
    for y in range(max(int(shoulder[1]) + 1, 0), min(int(hip[1]), len(alpha)), 2):
        line = slice(int(np.clip(middle, 0, alpha.shape[1] - 1)), None, outwards)
        edge = int((trunk[y, line] < 0.5).argmax())
        gap = alpha[y, line][edge:] < 0.5
        if edge and gap[:4].any() and not gap[gap.argmax():].all():                       # and beyond it hangs the arm
            yield middle + outwards * edge, float(y)


def painted(image: np.ndarray, alpha: np.ndarray, background: np.ndarray, sheets: list[Sheet]) -> list[Layer]:
    """Give the sheets their pixels, so that all of them over the background show the picture where nothing has moved."""
    picture, under = image.astype(np.float32), background.astype(np.float32)
    covers = [alpha * np.maximum(sheet.share, sheet.extension) for sheet in sheets]
    most = np.max(covers, axis=0)
    layers, behind = [], np.zeros_like(alpha)
    for index, (sheet, cover) in enumerate(zip(sheets, covers)):
        open_to_view = np.prod([1 - above for above in covers[index + 1:]], axis=0) if index + 1 < len(covers) else np.ones_like(alpha)
        behind = behind + sheet.share
        rows, columns = np.flatnonzero((cover > FAINT).any(axis=1)), np.flatnonzero((cover > FAINT).any(axis=0))
        if not len(rows):
            continue
        box = (slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2))
        own = ((sheet.share[box] > OWN) & (alpha[box] > 0.95)).astype(np.float32)
        own = cv2.erode(own, np.ones((3, 3), np.uint8)) if own.sum() > 200 else own
        carried = carried_across if sheet.kind == "trunk" else spread
        hidden = carried(picture[box], own) if own.any() else picture[box]
        lent = sheet.borrowed[box] if isinstance(sheet.borrowed, np.ndarray) else 0.0
        known = ((behind[box] if "arm" in sheet.kind else sheet.share[box] + lent) * smoothstep(0.5, 1, alpha[box]))[..., None].clip(0, 1)
        colour = cover[box][..., None] * (known * picture[box] + (1 - known) * hidden)
        seen = (open_to_view[box] > 0.5) & (cover[box] > FAINT) & (cover[box] > 0.3 * most[box])
        whole = np.where(seen, np.maximum(cover[box], least_cover(picture[box], under[box])), cover[box])[..., None]
        colour = np.where(seen[..., None], picture[box] - (1 - whole) * under[box], colour)
        under[box] = colour + (1 - whole) * under[box]
        pixels = np.concatenate([colour, 255 * whole], axis=2).clip(0, 255).round().astype(np.uint8)
        corner = (box[1].start, box[0].start)
        layers.append(Layer(sheet.kind, sheet.piece, sheet.limb, sheet.rest, sheet.joints, pixels, corner, outline(pixels[..., 3], corner)))
    return layers


def hand_layers(alpha, points, limbs, shares, skin, hidden) -> list[Layer]:
    """A drawn hand, in the colour of the face, for each arm that ends in a pocket (`hidden`) or behind something."""
    if skin is None:
        return []
    layers, length = [], hand_length(points)
    for limb in limbs:
        if limb.trunk == "pelvis" or last_joint(limb, points) < 2:
            continue
        _, middle, end, tip = limb.points
        way = unit(points[end, :2] - points[middle, :2])
        behind = not points[tip, 2] and beyond(alpha * shares[limb.name], points[end, :2], way, length) <= HAND_SHOWN
        if not inside(points[end], alpha.shape) or not (limb in hidden or behind):
            continue
        left_side = limb.points[0] == coco.LEFT_SHOULDER
        pixels, corner = drawn_hand(points[end, :2], way, length, skin, thumb=1 if left_side else -1)
        layers.append(Layer("hand", f"{limb.name} tip", limb, way, (), pixels, corner, outline(pixels[..., 3], corner), hidden=True))
    return layers


def outline(cover: np.ndarray, corner: tuple[int, int]) -> np.ndarray:
    """(n, 2) corners in the picture of a layer's convex hull."""
    contours, _ = cv2.findContours((cover > 2).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return cv2.convexHull(np.concatenate(contours))[:, 0].astype(np.float64) + corner
