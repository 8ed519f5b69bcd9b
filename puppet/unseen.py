"""What the picture does not show and a movement may: a hand out of a pocket, the back of a head that has hair."""
from __future__ import annotations

import cv2
import numpy as np

from dwpose import skeleton as coco
from dwpose.skeleton import is_seen
from puppet.cutout import capsule, softened, spread
from puppet.points import HEAD, inside, Limb, LIMBS, NECK, PELVIS, unit

HAND = (                            # start, end along the forearm and towards the thumb, and half width, in hand lengths
    ((-0.1, 0.0), (0.35, 0.0), 0.17), ((0.1, 0.0), (0.4, 0.05), 0.19),
    ((0.5, 0.17), (0.88, 0.2), 0.055), ((0.5, 0.06), (0.97, 0.06), 0.058), ((0.5, -0.06), (0.92, -0.07), 0.055),
    ((0.48, -0.16), (0.8, -0.19), 0.048), ((0.2, 0.14), (0.55, 0.34), 0.062))
HAND_SIZE = 0.34                    # of the trunk's length
HAND_SHOWN = 0.12                   # square hand lengths of skin beyond the wrist, where the picture shows a hand
SKIN_RANGE = 30.0                   # difference in Lab from the face's colour, within which a hand's is
LIT = 200.0                         # level of the face's brightest colour, as which colours are compared
FINE = 4                            # times as fine a hand is drawn
FACE_GROWN, BROWS_RAISED = 1.45, 0.6            # about its middle; of its height: with the forehead, what hair covers behind
NOT_SKIN = 16.0                     # difference in Lab from the skin's colour, beyond which a pixel of the head is hair
ONE_HAIR = 14.0                     # difference from the hair's middle colour, within which it is one colour
FRINGE = 0.03                       # of the face's height, over which hair and skin mix
HAIR_SHARE = 0.1                    # of the area to cover that must be hair


def beyond(cover: np.ndarray, wrist: np.ndarray, way: np.ndarray, length: float) -> float:
    """How much of a cover (H, W) lies a hand's length or less beyond the wrist, where fingers would be, in square hand lengths."""
    x, y = np.arange(cover.shape[1])[None] - wrist[0], np.arange(cover.shape[0])[:, None] - wrist[1]
    along, aside = (x * way[0] + y * way[1]) / length, (y * way[0] - x * way[1]) / length
    return float(cover[(along > 0.35) & (along < 1.1) & (abs(aside) < 0.5)].sum()) / length**2


def hidden_hands(image: np.ndarray, keypoints: np.ndarray, points: np.ndarray, person: np.ndarray) -> list[Limb]:
    """The arms whose fingers are unseen and beyond whose wrist the person shows no skin, but a pocket or nothing.

    image: (H, W, 3) uint8; keypoints: (133, 3) and points: (25, 3) of its person, who covers `person` (H, W).
    Without a face nobody knows the skin, and no hand is said to be hidden.
    """
    skin, size = skin_colour(image, keypoints), image.shape[:2]
    if skin is None:
        return []
    length, found = hand_length(points), []
    for limb in LIMBS:
        _, middle, end, tip = limb.points
        if limb.trunk == "chest" and points[[middle, end], 2].all() and inside(points[end], size) and not points[tip, 2]:
            wrist, way = points[end, :2], unit(points[end, :2] - points[middle, :2])
            others = [points[joint, :2] for joint in (coco.LEFT_HIP, coco.RIGHT_HIP, PELVIS)]
            others.append(0.5 * (points[middle, :2] + wrist))                                                  # the sleeve
            low, high = (np.clip(np.add(wrist, reach * length), 0, size[::-1]).astype(int) for reach in (-1.3, 1.3))
            box = slice(low[1], high[1]), slice(low[0], high[0])
            bare = like_skin(image[box], skin, [colour_at(image, place, length / 8) for place in others if inside(place, size)])
            if beyond(bare * person[box], wrist - low, way, length) <= HAND_SHOWN:
                found.append(limb)
    return found


def hand_length(points: np.ndarray) -> float:
    """Pixels, of the person whose points (25, 3) are known."""
    return HAND_SIZE * max(float(np.linalg.norm(points[PELVIS, :2] - points[NECK, :2])), 4.0)


def colour_at(image: np.ndarray, place: np.ndarray, reach: float) -> np.ndarray:
    """RGB (3,): the median within `reach` pixels of a place of the picture."""
    low, high = (np.maximum(np.add(place, sign * max(reach, 1)), 0).astype(int) for sign in (-1, 1))
    return np.median(image[low[1]:high[1] + 1, low[0]:high[0] + 1].reshape(-1, 3), axis=0)


def like_skin(image: np.ndarray, skin: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    """(h, w) bool: where a picture's colour is within SKIN_RANGE of the skin's and nearer to it than to the others', RGB (3,) each.

    Of the others only those count that are not the skin's own. All are compared as if the face was well lit.
    """
    lab = lambda colours: cv2.cvtColor(np.minimum(colours * (LIT / max(skin.max(), 1) / 255), 1).astype(np.float32), cv2.COLOR_RGB2LAB)
    pixels, own = lab(image), lab(skin[None, None])
    away = np.linalg.norm(pixels - own, axis=-1)
    like = away < SKIN_RANGE
    for other in others:
        colour = lab(other[None, None])
        if np.linalg.norm(colour - own) > NOT_SKIN:
            like &= away < np.linalg.norm(pixels - colour, axis=-1)
    return like


def skin_colour(image: np.ndarray, keypoints: np.ndarray) -> np.ndarray | None:
    """RGB (3,) of the cheeks and the nose, None where the face is unseen."""
    face = keypoints[coco.FACE]
    if is_seen(face).all():
        places = [face[list(pair), :2].mean(axis=0) for pair in ((2, 31), (14, 35), (28, 29), (57, 8))]
    elif is_seen(keypoints[[coco.NOSE, coco.LEFT_EYE, coco.RIGHT_EYE]]).all():
        nose, eyes = keypoints[coco.NOSE, :2], keypoints[[coco.LEFT_EYE, coco.RIGHT_EYE], :2]
        places = [nose, *(0.7 * nose + 0.3 * eyes)]
    else:
        return None
    smooth = cv2.GaussianBlur(image, (0, 0), max(image.shape[0] / 300, 0.7))
    return np.median([smooth[int(y), int(x)] for x, y in places if inside((x, y), image.shape[:2])] or [smooth.mean(axis=(0, 1))], axis=0)


def drawn_hand(wrist: np.ndarray, way: np.ndarray, length: float, skin: np.ndarray, thumb: int) -> tuple[np.ndarray, tuple[int, int]]:
    """A relaxed hand (h, w, 4) uint8, colour times coverage, from the wrist (2,) in a way (2,), and its corner x, y."""
    aside = np.array([-way[1], way[0]]) * thumb
    corner = np.floor(wrist - 1.3 * length).astype(int)
    canvas = np.zeros((int(2.6 * length) + 2,) * 2, np.uint8)
    canvas = cv2.resize(canvas, None, fx=FINE, fy=FINE)
    depth = np.zeros(canvas.shape, np.float32)
    for start, end, radius in HAND:
        finger = np.zeros_like(canvas)
        line = [wrist - corner + length * (place[0] * way + place[1] * aside) for place in (start, end)]
        capsule(finger, tuple(line), radius * length, 1, FINE)
        depth = np.maximum(depth, np.sqrt(cv2.distanceTransform(finger, cv2.DIST_L2, 5) / (radius * length * FINE)).clip(0, 1))
        canvas |= finger
    size = (canvas.shape[1] // FINE, canvas.shape[0] // FINE)
    cover = cv2.resize(canvas.astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., None]
    light = cv2.resize(cv2.GaussianBlur(depth, (0, 0), FINE) * canvas, size, interpolation=cv2.INTER_AREA)[..., None]
    colour = skin * (0.78 * cover + 0.26 * light)
    return np.concatenate([np.minimum(colour, 255 * cover), 255 * cover], axis=2).clip(0, 255).round().astype(np.uint8), (int(corner[0]), int(corner[1]))


def back_of_head(front: np.ndarray, corner: tuple[int, int], keypoints: np.ndarray, points: np.ndarray, skin: np.ndarray | None) -> np.ndarray | None:
    """The head from behind, like `front` (h, w, 4) uint8 at a corner x, y: hair where the face was. None where the picture shows no hair.

    skin: RGB of the face, (3,).
    """
    face = keypoints[coco.FACE]
    if skin is None or not is_seen(face).all():
        return None
    xy = face[:, :2] - corner
    up, middle = unit(points[HEAD, :2] - points[NECK, :2]), xy.mean(axis=0)
    outline = np.concatenate([middle + FACE_GROWN * (xy - middle), xy[17:27] + BROWS_RAISED * np.ptp(xy[:, 1]) * up])
    covered = np.zeros(front.shape[:2], np.uint8)
    cv2.fillConvexPoly(covered, cv2.convexHull(outline.round().astype(np.int32)), 1)
    lab = cv2.cvtColor(front[..., :3].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    own = cv2.cvtColor((skin / 255).astype(np.float32)[None, None], cv2.COLOR_RGB2LAB)
    x, y = np.arange(covered.shape[1])[None], np.arange(covered.shape[0])[:, None]
    above = (x - xy[30, 0]) * up[0] + (y - xy[30, 1]) * up[1] > 0                                       # the nose: below may be clothes
    inner = np.zeros_like(covered)                                                                     # eyes and brows are no hair
    cv2.fillConvexPoly(inner, cv2.convexHull(xy.round().astype(np.int32)), 1)
    hair = above & (inner == 0) & (front[..., 3] > 250) & (np.linalg.norm(lab - own, axis=-1) > NOT_SKIN)
    if hair.sum() < HAIR_SHARE * covered.sum():
        return None
    hair[hair] = np.linalg.norm(lab[hair] - np.median(lab[hair], axis=0), axis=-1) < ONE_HAIR
    hair = cv2.erode(hair.astype(np.uint8), np.ones((3, 3), np.uint8), iterations=round(FRINGE * np.ptp(xy[:, 1])))
    if not hair.any():
        return None
    pixels = front.astype(np.float32)
    cover, share = pixels[..., 3:] / 255, softened(covered)[..., None]
    pixels[..., :3] = (1 - share) * pixels[..., :3] + share * cover * spread(pixels[..., :3], hair.astype(np.float32))
    return pixels.round().clip(0, 255).astype(np.uint8)
