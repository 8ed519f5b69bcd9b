"""The photograph itself moves: the person is cut out limb by limb and each limb follows its bone over a filled background.

Pieces are soft layers with colours freed of the old background. Beside a joint a layer bends smoothly into its neighbour:
each pixel of the frame asks both bones where it came from and takes the blend. Standing as in the picture, the layers
add up to the picture.
"""
from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from dwpose import skeleton as coco
from dwpose.choosing import has_photograph_weights
from dwpose.plausibility import hides_too_much
from dwpose.skeleton import Skeleton
from puppet.cutout import smoothstep
from puppet.layers import Cut, cut_layers, found_person, Joint, Layer, ORDER
from puppet.limbs import in_face, Pose, posed
from puppet.points import BOW, body_points, followed, HEAD, KNEES, last_joint, NECK, PELVIS, unit, whole_reference, with_cut_arms_kept, with_cut_edge_kept
from puppet.shadows import cast
from puppet.unseen import hidden_hands
from renderers import PuppetConfig, Renderer, Scene, Show
from runtime.progress import Steps

log = logging.getLogger(__name__)

GRID = 4                            # pixels between the points of a frame that are asked where they come from
CUT_SECONDS, FRAME_SECONDS = 6.0, 0.06      # per megapixel, on one slow core
BYTES_PER_PIXEL = 250               # while the picture is cut
NEAR = (1.8, 3.2)                   # half widths of a limb from a joint, between which its bend ends
NEAR_BENT = (0.7, 1.2)              # and where it is bent by a right angle: farther off, the limb would stay where it was, too
FOLDED = (-0.75, -0.2)              # cosine of the angle between two bones, below which a joint is a hinge
COMES_OUT = (0.14, 0.22)            # of the forearm's length from where a hand was hidden, between which it appears
TURN_SECONDS = 0.07                 # standard deviation with which a face gives way to the back of the head
STRAYED = (0.3, 0.6)                # of the neck's length: a head so far from its place no longer bends the neck
BRIEF = 0.2                         # seconds that are not worth a word
DEPTH_SMOOTHING = 0.1               # seconds, standard deviation
LAP = {"upper leg": 0.05, "lower leg": 0.06}      # as ORDER, of a leg whose thigh points at the viewer: before the trunk, behind hands on it
KNEE_SWELL = 0.15                   # of a leg's width at the knee that comes towards the viewer
LAP_BEFORE = (0.55, 0.85)           # of pointing at the viewer: from where a thigh is about to come before the trunk, to where it has
LAP_FADE = (-0.1, 0.55)            # half widths from the hip along the thigh or the spine, between which it comes out of the trunk
BENT = (0.2, 0.55)                  # less of the cosine of an elbow than in the picture, from where what sticks out is taken off to all of it
ELBOW_ROUND = (0.7, 0.85)           # half widths from the elbow, between which a bent arm ends
SEAT_ENDS = (0.15, 0.19)            # of the trunk's length from the pelvis, between which it ends where both thighs turn to one side
KNEE_ENDS, HIP_ENDS = (0.85, 1.0), (1.35, 1.6)      # and from the knee or the hip, between which a bent leg does
HIP_BACK = 1.5                      # half widths of a thigh from the hip, to where the cloth across the inseam reaches
KNEE_ROUND = (1.1, 1.22)            # half widths from the knee, between which a shin's upper corners end
SEAT = (0.42, 0.56)                 # of the hips' width below them, between which the seat ends
LAP_SHADE, SEAT_SHADE, SHIN_SHADE = 0.4, 0.5, 0.15      # of the light that is missing: at the hip, between the thighs, below the knee

Mask = Callable[[np.ndarray, Skeleton], np.ndarray | None]      # picture (H, W, 3) uint8, person (F = 1) -> (H, W) in [0, 1]


class Puppet(Renderer):
    """Renders a scene with the pixels of its picture. Needs no weights; a person mask from a network helps it cut."""

    def __init__(self, settings: PuppetConfig, mask: Mask | None = None):
        """mask: finds the person in a picture; without one the person is found by colour, from the keypoints."""
        self.settings, self.mask = settings, mask

    @classmethod
    def check(cls, settings: PuppetConfig, size: tuple[int, int], num_frames: int, memory: int, *, device: str = "cpu",
              dtype: torch.dtype = torch.float32) -> None:
        needed = size[0] * size[1] * (3 * num_frames + BYTES_PER_PIXEL)
        if needed > memory:
            raise ValueError(f"puppet: {num_frames} frames of {size[1]}x{size[0]} need {needed / 2**30:.1f} GiB of memory (found "
                             f"{memory / 2**30:.1f}): make fewer or smaller frames")

    @classmethod
    def load(cls, settings: PuppetConfig, device: str = "cpu", *, mask: Mask | None = None, **machine) -> Puppet:
        """mask: instead of the one that the settings name. machine: what networks would need; the puppet has none."""
        if mask is None and chosen_mask(settings.mask) == "mediapipe":
            from dwpose.mediapipe import MediaPipeDetector      # with its runtime, where it is installed

            mask = MediaPipeDetector.load().mask_of
        return cls(settings, mask)

    @classmethod
    def cost(cls, settings: PuppetConfig, size: tuple[int, int], num_frames: int, memory: int, *, passes: int = 1,
             device: str = "cpu", dtype: torch.dtype = torch.float32) -> tuple[float, int]:
        megapixels = size[0] * size[1] / 1e6
        return passes * megapixels * (CUT_SECONDS + FRAME_SECONDS * num_frames), size[0] * size[1] * (3 * num_frames + BYTES_PER_PIXEL)

    def doubts(self, scene: Scene) -> list[str]:
        """For how long the person would be seen from behind, of which the picture shows nothing, or bent double, or is not seen at all.

        ValueError for a picture whose person cannot be moved.
        """
        checked(scene)
        reference, fps = whole_reference(body_points(scene.reference.keypoints)[0]), scene.skeleton.fps
        pose = posed(followed(scene.skeleton, reference), scene.skeleton, scene.reference, None)
        spine = np.linalg.norm(pose.points[:, NECK] - pose.points[:, PELVIS], axis=-1)          # (F,)
        bent = spine < 1.02 * BOW * np.linalg.norm(reference[NECK, :2] - reference[PELVIS, :2]) * pose.size
        for_how_long = lambda frames: f"for {frames.sum() / fps:.1f} s (from {frames.argmax() / fps:.1f} s)"
        lost = ~coco.is_present(body_points(scene.skeleton.keypoints)[:, [NECK, PELVIS]]).any(axis=1)      # (F,) where `followed` takes another frame
        told = []
        if lost.sum() > BRIEF * fps:
            told.append(f"the puppet holds the nearest pose where the movement shows nobody, {for_how_long(lost)}")
        if pose.mirrored.any():
            told.append(f"the puppet shows its front mirrored, hair for the face where the picture has some, {for_how_long(pose.mirrored)}")
        if bent.sum() > BRIEF * fps:
            told.append(f"the puppet bends forward or back only so far that its head stays above the chest, {for_how_long(bent)}")
        return told

    def hidden_hands(self, scene: Scene) -> list[str]:
        """Left hand, right hand: those whose fingers are unseen and that the picture's person does not show either."""
        points = whole_reference(body_points(scene.reference.keypoints)[0])
        person = found_person(scene.image, points, None if self.mask is None else self.mask(scene.image, scene.reference))
        return [limb.name.replace("arm", "hand") for limb in hidden_hands(scene.image, scene.reference.keypoints[0], points, person)]

    def __call__(self, scene: Scene, generator: torch.Generator, *, poses: np.ndarray | None = None,
                 show: Show | None = None, progress: bool = True) -> np.ndarray:
        checked(scene)
        seed = int(torch.randint(2**31, (1,), generator=generator))
        reference = whole_reference(body_points(scene.reference.keypoints)[0])
        mask = None if self.mask is None else self.mask(scene.image, scene.reference)
        if self.mask is not None and mask is None:
            log.warning("puppet: the detector for photographs finds nobody where the person is: the outline is taken from the colours")
        cut = cut_layers(scene.image, scene.reference.keypoints[0], reference, mask, np.random.default_rng(seed),
                         shadow=self.settings.shadow, hands=self.settings.hands)
        fps, size = scene.skeleton.fps, scene.image.shape[:2]
        points = with_cut_edge_kept(followed(scene.skeleton, reference), reference, size[0], fps)
        points = with_cut_arms_kept(points, reference, size, fps)
        pose = posed(points, scene.skeleton, scene.reference, scene.depth, skirt=cut.skirt)
        ranks = nearness_of(cut, scene.depth, scene.skeleton.fps, pose)
        turned = gaussian_filter1d((pose.mirrored & (pose.behind | face_unseen(scene.skeleton))).astype(float), TURN_SECONDS * scene.skeleton.fps)
        frames = np.empty((len(points), *scene.image.shape), np.uint8)
        for index in Steps(range(len(points)), desc="puppet", unit="frame", disable=not progress, dynamic_ncols=True):
            frames[index] = drawn(cut, pose, reference, index, ranks[index], turned[index])
            if show is not None:
                show(frames[index:index + 1])
        return frames


def chosen_mask(name: str) -> str:
    """mediapipe or colour: what `name` means with the weights that are here."""
    return name if name != "auto" else "mediapipe" if has_photograph_weights() else "colour"


def checked(scene: Scene) -> None:
    """Refuse, in one line, what the puppet cannot draw."""
    size = scene.image.shape[:2]
    for name, skeleton in (("reference", scene.reference), ("skeleton", scene.skeleton)):
        if skeleton.size != size:
            raise ValueError(f"{name}: expected the picture's canvas, {size[1]}x{size[0]} (found {skeleton.size[1]}x{skeleton.size[0]}): "
                             "detect and rescale on the picture itself")
    if len(scene.reference) != 1 or not len(scene.skeleton):
        raise ValueError(f"puppet: expected one reference pose and at least one frame (found {len(scene.reference)} and "
                         f"{len(scene.skeleton)})")
    if reason := hides_too_much(scene.reference.keypoints[0]):
        raise ValueError(f"puppet: expected a picture that shows the person's limbs one by one (found one in which {reason}, or choose "
                         "a renderer that draws anew)")
    if scene.depth is not None and scene.depth.shape != (len(scene.skeleton), coco.BODY.stop):
        raise ValueError(f"depth: expected ({len(scene.skeleton)}, {coco.BODY.stop}) metres (found {scene.depth.shape})")


def nearness_of(cut: Cut, depth: np.ndarray | None, fps: float, pose: Pose) -> np.ndarray:
    """(F, L) metres by which each layer is nearer than the trunk, with the head start of ORDER; drawn from least to most. Thighs stay under a skirt."""
    ranks = np.tile([ORDER[layer.kind] for layer in cut.layers], (len(pose.points), 1))
    if depth is not None:
        ranks = ranks + nearer_than_trunk(cut, depth, fps)
    for index, layer in enumerate(cut.layers):
        if layer.kind in LAP:
            ranks[:, index] += pose.toward[layer.limb.name] * (LAP[layer.kind] - ranks[:, index])
    return ranks


def nearer_than_trunk(cut: Cut, depth: np.ndarray, fps: float) -> np.ndarray:
    """(F, L) metres by which the middle of each layer is nearer than the trunk, from depth (F, 17)."""
    smooth = gaussian_filter1d(depth.astype(np.float64), DEPTH_SMOOTHING * fps, axis=0, mode="nearest")
    trunk = smooth[:, [coco.LEFT_SHOULDER, coco.RIGHT_SHOULDER, coco.LEFT_HIP, coco.RIGHT_HIP]].mean(axis=1)
    nearer = np.zeros((len(depth), len(cut.layers)))
    for index, layer in enumerate(cut.layers):
        if layer.limb is not None and not (cut.skirt and layer.kind == "upper leg"):
            root, middle, end, _ = layer.limb.points
            joint = middle if layer.kind.startswith("upper") else end
            nearer[:, index] = trunk - (0.3 * smooth[:, middle if joint == end else root] + 0.7 * smooth[:, joint])
    return nearer


def shown(layer: Layer, pose: Pose, own: np.ndarray, index: int) -> float:
    """1, or for a hand that the picture hides, how far in [0, 1] it has come out: by the wrist's way from its place."""
    if not layer.hidden:
        return 1.0
    wrist = layer.limb.points[2]
    rest = pose.maps["pelvis"][index] @ np.array([*own[wrist, :2], 1])
    length = np.linalg.norm(own[wrist, :2] - own[layer.limb.points[1], :2]) * pose.size[index]
    return float(smoothstep(*COMES_OUT, np.linalg.norm(pose.points[index, wrist] - rest) / max(length, 1)))


def face_unseen(skeleton: Skeleton) -> np.ndarray:
    """(F,) bool: neither nose nor eyes show."""
    return ~skeleton.seen[:, [coco.NOSE, coco.LEFT_EYE, coco.RIGHT_EYE]].any(axis=1)


def drawn(cut: Cut, pose: Pose, own: np.ndarray, index: int, ranks: np.ndarray, turned: float) -> np.ndarray:
    """Frame `index` (H, W, 3) uint8: shadows and layers over the background.

    own: the reference's points (25, 3); ranks: (L,) the order of the layers, the largest is nearest; turned: 1 where the head is seen
    from behind.
    """
    canvas = cut.background.copy()
    for shadow in cut.shadows:
        cast(canvas, shadow, pose, own, index)
    for number in np.argsort(ranks, kind="stable"):
        layer = cut.layers[number]
        box, share = box_of(layer, pose, index, canvas.shape), shown(layer, pose, own, index)
        if box is None or share <= 0:
            continue
        pixels = layer.pixels if layer.back is None else cv2.addWeighted(layer.pixels, 1 - turned, layer.back, turned, 0)
        pixels = cv2.remap(pixels, *sources_of(layer, pose, index, box), cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        x, y, width, height = box
        if layer.kind != "trunk" or cut.has_seat:
            pixels = at_bends(layer, pixels, pose, own, index, box)
        pixels = in_lap(layer, pixels, pose, index, box)
        pasted(canvas[y:y + height, x:x + width], pixels, share)
    return cv2.convertScaleAbs(canvas)


@dataclass(frozen=True)
class Fold:
    """Where a layer ends round beyond a joint that is bent more than in the picture."""

    place: np.ndarray               # (2,) pixels
    way: np.ndarray                 # (2,) out of the layer
    half: float                     # pixels, the layer's half width there
    weight: float                   # 0 leaves it as it is
    ends: tuple[float, float]       # half widths from the joint, between which it ends
    back: float = 0.0               # half widths back along the layer, to where it is no wider


def at_bends(layer: Layer, pixels: np.ndarray, pose: Pose, own: np.ndarray, index: int, box: tuple[int, int, int, int]) -> np.ndarray:
    """Pixels (h, w, 4) of a layer, in its place of the box, without what would stick out beyond a joint that is bent more than in the picture.

    A wide sleeve would otherwise stand as a ring beside the elbow, and a trouser leg hang in rags below the hip.
    """
    for fold in folds_of(layer, pose, own, index):
        if fold.weight > 0:
            x = np.arange(box[2], dtype=np.float32)[None] + np.float32(box[0] - fold.place[0])
            y = np.arange(box[3], dtype=np.float32)[:, None] + np.float32(box[1] - fold.place[1])
            along, aside = x * fold.way[0] + y * fold.way[1], y * fold.way[0] - x * fold.way[1]
            outside = smoothstep(*fold.ends, np.hypot(np.maximum(along, 0), aside) / fold.half) * smoothstep(-fold.back - 0.5, -fold.back, along / fold.half)
            pixels = cv2.convertScaleAbs(pixels * (1 - fold.weight * outside)[..., None].astype(np.float32))
    return pixels


def folds_of(layer: Layer, pose: Pose, own: np.ndarray, index: int) -> Iterator[Fold]:
    """Where a layer ends round in a frame: at the elbow or knee, a thigh at the hip, and the trunk where both thighs turn to one side.

    own: the reference's points (25, 3).
    """
    points, size = pose.points[index], pose.size[index]

    def bent(*ends: int) -> float:
        straight, now = (unit(xy[ends[1]] - xy[ends[0]]) @ unit(xy[ends[3]] - xy[ends[2]]) for xy in (own[:, :2], points))
        return float(smoothstep(*BENT, straight - now))

    if layer.kind == "trunk":
        aside = 1 - max(values[index] for values in pose.toward.values())
        yield Fold(points[PELVIS], unit(points[PELVIS] - points[NECK]), np.linalg.norm(layer.rest) * size,
                   aside * bent(NECK, PELVIS, PELVIS, KNEES), SEAT_ENDS)
    elif layer.kind in ("upper arm", "lower arm", "upper leg", "lower leg") and last_joint(layer.limb, own) == 2:
        root, middle, end, _ = layer.limb.points
        half, start = layer.joints[0].radius * size, root if layer.kind.startswith("upper") else end
        yield Fold(points[middle], unit(points[middle] - points[start]), half, bent(root, middle, middle, end),
                   KNEE_ENDS if layer.kind.endswith("leg") else ELBOW_ROUND)
        if layer.kind == "upper leg":
            aside = 1 - pose.toward[layer.limb.name][index]
            yield Fold(points[root], unit(points[root] - points[middle]), half, aside * bent(NECK, PELVIS, root, middle), HIP_ENDS, HIP_BACK)


def in_lap(layer: Layer, pixels: np.ndarray, pose: Pose, index: int, box: tuple[int, int, int, int]) -> np.ndarray:
    """Pixels (h, w, 4) of a leg or the trunk, in its place of the box, as they are where a thigh points at the viewer.

    It comes softly out of the trunk, and light does not come to the hip, to the seat between the thighs and below the knee.
    """
    if layer.kind not in ("upper leg", "lower leg", "trunk"):
        return pixels
    toward = min(values[index] for values in pose.toward.values()) if layer.kind == "trunk" else pose.toward[layer.limb.name][index]
    if toward <= 0:
        return pixels
    points = pose.points[index]
    down = unit(points[PELVIS] - points[NECK])
    start, end = (PELVIS, NECK) if layer.kind == "trunk" else layer.limb.points[:2] if layer.kind == "upper leg" else layer.limb.points[1:3]
    x = np.arange(box[2], dtype=np.float32)[None] + np.float32(box[0] - points[start, 0])
    y = np.arange(box[3], dtype=np.float32)[:, None] + np.float32(box[1] - points[start, 1])
    below, aside = x * down[0] + y * down[1], x * down[1] - y * down[0]
    way = unit(points[end] - points[start])
    along = x * way[0] + y * way[1]
    if layer.kind == "trunk":
        hips = max(np.linalg.norm(points[coco.LEFT_HIP] - points[coco.RIGHT_HIP]), 1.0)
        light = 1 - SEAT_SHADE * smoothstep(-0.1, 0.4, below / hips)
        cover = 1 - smoothstep(*SEAT, below / hips + 0.4 * (aside / hips) ** 2)
    else:
        half = layer.joints[0].radius * pose.size[index]
        if layer.kind == "upper leg":
            light = 1 - LAP_SHADE * (1 - smoothstep(0, 2, along / half))
            cover = smoothstep(*LAP_FADE, np.maximum(along, below) / half)
        else:
            light = 1 - SHIN_SHADE * smoothstep(0, 1, along / half) * (1 - smoothstep(1, 4, along / half))
            cover = 1 - smoothstep(*KNEE_ROUND, np.hypot(x, y) / half) * (1 - smoothstep(0, 1, along / half))
    before = smoothstep(*LAP_BEFORE, toward)
    lit = pixels * (1 - before + before * cover)[..., None].astype(np.float32)
    lit[..., :3] *= (1 - toward + toward * light)[..., None]
    return cv2.convertScaleAbs(lit)


def pasted(window: np.ndarray, pixels: np.ndarray, share: float) -> None:
    """Lay pixels (h, w, 4) uint8, colour times coverage and coverage, over a window (h, w, 3) float32, in place."""
    colour, cover = pixels[..., :3].astype(np.float32), pixels[..., 3].astype(np.float32)
    remaining = cv2.merge([1 - cover * np.float32(share / 255)] * 3)
    cv2.multiply(window, remaining, dst=window)
    cv2.scaleAdd(colour, share, window, dst=window)


def box_of(layer: Layer, pose: Pose, index: int, shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """x, y, width, height of the part of the frame a layer may cover; None outside."""
    reached = []
    for piece in (layer.piece, *(joint.piece for joint in layer.joints)):
        matrix = pose.maps[piece][index]
        reached.append(layer.corners @ matrix[:, :2].T + matrix[:, 2])
    reached = np.concatenate(reached)
    low = np.maximum(np.floor(reached.min(axis=0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(reached.max(axis=0)).astype(int) + 3, (shape[1], shape[0]))
    return None if (high <= low).any() else (*low.tolist(), *(high - low).tolist())


def sources_of(layer: Layer, pose: Pose, index: int, box: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of the box comes from in the layer: x and y (h, w) float32 pixels of the layer."""
    x0, y0, width, height = box
    columns, rows = -(-width // GRID) + 2, -(-height // GRID) + 2
    x = (x0 + GRID * (np.arange(columns) - 0.5) - 0.5)[None]
    y = (y0 + GRID * (np.arange(rows) - 0.5) - 0.5)[:, None]
    source = asked(pose.maps[layer.piece][index], x, y)
    for joint in layer.joints:
        bend = bend_of(layer, joint, pose, index)
        if bend.weight <= 0:
            continue
        away_x, away_y = x - bend.place[0], y - bend.place[1]
        radius = joint.radius * pose.size[index]
        beyond = (away_x * bend.way[0] + away_y * bend.way[1]) / max(min(radius, bend.room), 2.0)
        weight = bend.weight * smoothstep(-1, 1, -beyond if joint.before else beyond)
        if joint.near:
            weight = weight * (1 - smoothstep(*bend.near, np.hypot(away_x, away_y) / radius))
        other = asked(pose.maps[joint.piece][index], x, y)
        source = [own + weight * (far - own) for own, far in zip(source, other)]
    if layer.kind == "head":
        source = face_turned(source, pose, index)
    if layer.kind.endswith("leg") and pose.toward[layer.limb.name][index] > 0:
        source = swollen(source, layer, pose, index)
    grids = (cv2.resize((values - start).astype(np.float32), (columns * GRID, rows * GRID), interpolation=cv2.INTER_LINEAR)
             for values, start in zip(source, layer.corner))
    return tuple(np.ascontiguousarray(grid[GRID:GRID + height, GRID:GRID + width]) for grid in grids)


def swollen(source: list[np.ndarray], layer: Layer, pose: Pose, index: int) -> list[np.ndarray]:
    """The source x and y (h, w) of a leg whose knee comes towards the viewer: it is drawn wider there, by perspective."""
    knee = asked(pose.maps[layer.piece][index], *pose.points[index, layer.limb.points[1]])
    way, length = unit(layer.rest), max(np.linalg.norm(layer.rest), 1.0)
    x, y = source[0] - knee[0], source[1] - knee[1]
    along, aside = x * way[0] + y * way[1], y * way[0] - x * way[1]
    wider = 1 + KNEE_SWELL * pose.toward[layer.limb.name][index] * (1 - np.abs(along) / length).clip(0, 1)
    return [source[0] + way[1] * aside * (1 - 1 / wider), source[1] - way[0] * aside * (1 - 1 / wider)]


def face_turned(source: list[np.ndarray], pose: Pose, index: int) -> list[np.ndarray]:
    """The source x and y (h, w) of a head whose face has turned: it moves over the head, whose outline stays."""
    share = in_face(*source, pose.face)
    return [values - share * moved for values, moved in zip(source, pose.face_shift[index])]


def asked(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Points of the picture that a map (2, 3) takes to columns x (1, w) and rows y (h, 1)."""
    inverse = np.linalg.inv(matrix[:, :2])
    x, y = x - matrix[0, 2], y - matrix[1, 2]
    return [inverse[0, 0] * x + inverse[0, 1] * y, inverse[1, 0] * x + inverse[1, 1] * y]


@dataclass(frozen=True)
class Bend:
    """How a layer bends at a joint in one frame."""

    place: np.ndarray               # (2,) pixels
    way: np.ndarray                 # (2,) across the fold, from the trunk outwards
    room: float                     # pixels on either side
    weight: float                   # 1 bends, 0 is a hinge: where the fold is too sharp for cloth
    near: tuple[float, float] = NEAR


def bend_of(layer: Layer, joint: Joint, pose: Pose, index: int) -> Bend:
    """Between two bones the fold halves their angle; sharper than FOLDED the pieces slide over each other."""
    points = pose.points[index]
    place = points[list(joint.at)].mean(axis=0)
    along = lambda piece: unit(pose.maps[piece][index][:, :2] @ layer.rest)
    if layer.kind == "trunk":
        start, end = (NECK, PELVIS) if joint.piece == "pelvis" else (PELVIS, KNEES)
        return Bend(place, unit(points[end] - points[start]), np.inf, 1.0)
    if layer.kind == "head":
        rest = pose.maps["chest"][index][:, :2] @ layer.rest
        strayed = np.linalg.norm(points[HEAD] - place - rest) / max(np.linalg.norm(rest), 1)
        return Bend(place, unit(rest), np.inf, 1 - float(smoothstep(*STRAYED, strayed)))
    root, middle, end, _ = layer.limb.points
    upper, lower = points[middle] - points[root], points[end] - points[middle]
    if joint.piece.endswith("tip"):
        return Bend(place, along(layer.piece), np.linalg.norm(lower) / 2, 1.0)
    if joint.at == (middle,):
        first, second, room = unit(upper), unit(lower), min(np.linalg.norm(upper), np.linalg.norm(lower)) / 2
    else:
        first, second, room = along(joint.piece), along(layer.piece), np.linalg.norm(upper) / 2
    straight = float(np.clip(first @ second, 0, 1))
    near = tuple(bent + straight * (far - bent) for bent, far in zip(NEAR_BENT, NEAR))
    return Bend(place, unit(first + second), room, float(smoothstep(*FOLDED, first @ second)), near)
