"""Takes a picture apart: a soft outline of its person, the part of the body that each pixel belongs to, what lies behind.

A pixel belongs to the part from which it is nearest through the person, where a step costs more across an edge, in a
colour that is another part's, and farther from the bone than the limb is wide.

Walls, floors and horizons go on sideways, so the hole behind the person is filled smoothly along rows and keeps what
changes from row to row. Grain as strong as that around it keeps the fill from looking painted; copied patches repeat door handles.
"""
from __future__ import annotations

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

Line = tuple[np.ndarray, np.ndarray]                # two points (2,), x and y in pixels

SEGMENTED_SIDE = 512                # pixels of the longer side on which parts are told apart
GRABCUT_SIDE = 512                  # and on which the person's outline is found
GRABCUT_ROUNDS = 4
BAND_REACH = 0.014                  # of the canvas height: how far off a network's mask may be
MATTE_REACH = 0.006                 # of the canvas height: half the width of the band in which the outline is soft
FRINGE_REACH = 0.012                # of the canvas height: how far strands may stick out
PLAIN = 8.0                         # grey levels, standard deviation of a background that counts as plain
COLOUR_BINS = 12                    # per channel of a part's histogram
EDGE_COST, COLOUR_COST, WIDTH_COST = 1.2, 6.0, 3.0      # of a step, beside 1 for its length
SEED_ROUNDS = 3                     # in which seeds that look like another part's are dropped
SLIVER = 3                          # pixels of the segmented picture: half the width of a trunk's thinnest strip
BORDER_BLUR = 1.2                   # pixels of the segmented picture: standard deviation that smooths a border between parts
SHARPNESS = 4                       # power of the shares: within one colour a border would else be as wide as the filter
LEAST_SHARE = 0.12                  # of the likelihood of its colour, for a seed of a part: a short sleeve is a small share of an arm
RIM = 3                             # pixels beside the hole that the fill meets
BAND = 0.12                         # of the canvas width: how much beside the hole counts
UNUSABLE = 200.0                    # grey levels of noise where a side shows nothing
ALIKE = 25.0                        # grey levels between sides that are blended
CHANGE = 2.0                        # of a change of colour from row to row, against a noisy side
RIM_REACH = 0.03                    # of the canvas height, over which it goes over into the row's colour
ACROSS, ROW_COST = 4, 6.0           # pixels averaged on either side; of a step to another row, beside 1 along one
GRAIN = 2.0                         # pixels, standard deviation of the blur that separates grain from shapes


def person_mask(image: np.ndarray, bones: list[tuple[Line, float]], head: tuple[np.ndarray, float]) -> np.ndarray:
    """The person (H, W) float32 in [0, 1] from colours alone: GrabCut begun at the bones.

    bones: lines and half widths in pixels; head: centre and radius.
    """
    labels = np.full(image.shape[:2], cv2.GC_BGD, np.uint8)
    centre, radius = head
    for value, grown, head_grown in ((cv2.GC_PR_BGD, 3.2, 2.2), (cv2.GC_PR_FGD, 0.8, 0.95), (cv2.GC_FGD, 0.4, 0.6)):
        for line, width in bones:
            capsule(labels, line, grown * width, value)
        capsule(labels, (centre, centre), head_grown * radius, value)
    return grabbed(image, labels, GRABCUT_SIDE / max(image.shape[:2]))


def refined_mask(image: np.ndarray, probability: np.ndarray, bones: list[tuple[Line, float]]) -> np.ndarray:
    """A network's coarse mask (H, W) moved to the picture's edges: GrabCut in a band about its outline.

    bones: as for `person_mask`; what lies on one and in the mask is the person's, however thin and whatever its colour.
    """
    reach = max(round(BAND_REACH * image.shape[0]), 2)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    inside = (probability > 0.5).astype(np.uint8)
    labels = np.where(inside > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[cv2.erode(inside, kernel) > 0] = cv2.GC_FGD
    labels[cv2.dilate(inside, kernel) == 0] = cv2.GC_BGD
    sure = np.zeros(image.shape[:2], np.uint8)
    for line, width in bones:
        capsule(sure, line, 0.4 * width, 1)
    labels[(sure > 0) & (inside > 0)] = cv2.GC_FGD
    return grabbed(image, labels, min(1.0, GRABCUT_SIDE / max(image.shape[:2])))


def grabbed(image: np.ndarray, labels: np.ndarray, scale: float) -> np.ndarray:
    """The person (H, W) float32 in [0, 1] by GrabCut (Rother et al. 2004), at `scale`, from its labels (H, W) uint8."""
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    sure = [(labels == value).any() for value in (cv2.GC_BGD, cv2.GC_FGD)]
    if all(sure):
        cv2.setRNGSeed(0)
        cv2.grabCut(np.ascontiguousarray(small[..., ::-1]), labels, None, np.zeros((1, 65)), np.zeros((1, 65)), GRABCUT_ROUNDS,
                    cv2.GC_INIT_WITH_MASK)
    inside = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.float32)
    return cv2.resize(inside, image.shape[1::-1], interpolation=cv2.INTER_LINEAR if scale < 1 else cv2.INTER_AREA)


def capsule(canvas: np.ndarray, line: Line, radius: float, value: int, scale: float = 1.0) -> None:
    """Draw a line of a half width in pixels with round ends, in place."""
    (ax, ay), (bx, by) = (np.round(np.asarray(point) * scale * 16).astype(int).tolist() for point in line)
    cv2.line(canvas, (ax, ay), (bx, by), int(value), max(round(2 * radius * scale), 1), cv2.LINE_8, 4)


def largest_piece(inside: np.ndarray) -> np.ndarray:
    """(H, W) uint8: of the connected pieces of `inside`, the largest, without holes of under a thousandth of it."""
    count, pieces, sizes, _ = cv2.connectedComponentsWithStats(inside)
    if count < 2:
        return inside
    best = 1 + int(sizes[1:, cv2.CC_STAT_AREA].argmax())
    person = (pieces == best).astype(np.uint8)
    count, gaps, sizes, _ = cv2.connectedComponentsWithStats(1 - person)
    small = sizes[:, cv2.CC_STAT_AREA] < person.sum() / 1000
    return person | small[gaps].astype(np.uint8)


def matte(image: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Soft coverage (H, W) float32 of the person: 1 inside, 0 outside, between along the picture's own edges."""
    reach = max(round(MATTE_REACH * image.shape[0]), 1)
    inside = largest_piece((probability > 0.5).astype(np.uint8))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1,) * 2)
    core, around = cv2.erode(inside, kernel), cv2.dilate(inside, kernel)
    soft = guided(image, [inside.astype(np.float32)], 2 * reach, 1e-4)[0]
    soft = ((soft - 0.06) / 0.82).clip(0, 1)
    return np.where(core > 0, 1, np.where(around > 0, soft, 0)).astype(np.float32)


def least_cover(picture: np.ndarray, under: np.ndarray) -> np.ndarray:
    """(h, w) in [0, 1]: how much a layer must cover of what is under it to show the picture, whatever its colour."""
    brighter, darker = (picture - under) / np.maximum(255 - under, 1), (under - picture) / np.maximum(under, 1)
    return np.maximum(brighter, darker).max(axis=2).clip(0, 1)


def with_fringe(image: np.ndarray, alpha: np.ndarray, fill: np.ndarray, hole: np.ndarray, hair: np.ndarray,
                body: np.ndarray) -> np.ndarray:
    """The coverage corrected where the background near by is plain: strands of hair that differ from it are the person's,
    and gaps beside an arm that show it are not.

    fill: (H, W, 3) uint8, the background behind the `hole` (H, W) bool that is a little larger than the person; hair: (H, W)
    in [0, 1], where strands can be; body: (H, W) in [0, 1], where limbs of usual width are, whose middle is no gap.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    known = (~hole).astype(np.float32)
    reach = (2 * max(round(0.03 * image.shape[0]), 2) + 1,) * 2
    count = np.maximum(cv2.blur(known, reach), 1e-3)
    beside = (reach[0], 1)                                      # a wall may change from row to row, as the fill does
    level = cv2.blur(grey * known, beside) / np.maximum(cv2.blur(known, beside), 1e-3)
    uneven = np.sqrt(np.maximum(cv2.blur((grey - level) ** 2 * known, reach), 0) / count)
    plain = np.exp(-((uneven / PLAIN) ** 2)) * hole
    near = 1 - cv2.distanceTransform((alpha < 0.02).astype(np.uint8), cv2.DIST_L2, 5) / (FRINGE_REACH * image.shape[0])
    cover = least_cover(image.astype(np.float32), fill.astype(np.float32))
    strands = cover * ((cover - 0.04) / 0.08).clip(0, 1) * (2 * near).clip(0, 1) * plain * hair
    shallow = 1 - cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / (FRINGE_REACH * image.shape[0])
    gap = (1 - cover / 0.05).clip(0, 1) * np.maximum((2 * shallow).clip(0, 1), 1 - body) * plain
    return np.maximum(alpha * (1 - gap), strands)


def guided(image: np.ndarray, maps: list[np.ndarray], radius: int, smoothness: float) -> list[np.ndarray]:
    """Maps (H, W) smoothed where the image is smooth, kept sharp at its edges: the guided filter (He et al. 2010)."""
    window = (2 * radius + 1,) * 2
    mean = lambda values: cv2.blur(values, window)
    guide = image.astype(np.float32) / 255
    centre = mean(guide)                                                            # (H, W, 3)
    rr, rg, rb, gg, gb, bb = (mean(guide[..., i] * guide[..., j]) for i in range(3) for j in range(i, 3))
    r, g, b = np.moveaxis(centre, -1, 0)
    rr, gg, bb = rr - r * r + smoothness, gg - g * g + smoothness, bb - b * b + smoothness
    rg, rb, gb = rg - r * g, rb - r * b, gb - g * b
    c00, c01, c02 = gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb
    c11, c12, c22 = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
    determinant = np.maximum(rr * c00 + rg * c01 + rb * c02, 1e-12)
    results = []
    for values in maps:
        level = mean(values)
        x, y, z = np.moveaxis(mean(guide * values[..., None]) - centre * level[..., None], -1, 0)
        slope = np.stack([c00 * x + c01 * y + c02 * z, c01 * x + c11 * y + c12 * z, c02 * x + c12 * y + c22 * z], -1)
        slope /= determinant[..., None]
        offset = level - (slope * centre).sum(-1)
        results.append((mean(slope) * guide).sum(-1) + mean(offset))
    return results


def part_shares(image: np.ndarray, alpha: np.ndarray, seeds: list[np.ndarray], distances: list[np.ndarray],
          likelihoods_of: list[int]) -> np.ndarray:
    """Which of the P parts each pixel of the person belongs to, (P, H, W) float32 shares that sum to 1.

    seeds: (H, W) bool, one per part; distances: (H, W) from its bones, in its own half widths; likelihoods_of: parts of
    equal number share one colour model (both arms are dressed alike).
    """
    scale = min(1.0, SEGMENTED_SIDE / max(alpha.shape))
    size = (round(alpha.shape[1] * scale), round(alpha.shape[0] * scale))
    small = cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (0, 0), 0.8)
    inside = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA) > 0.3
    seeds = [(cv2.resize(seed.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.4) & inside for seed in seeds]
    for _ in range(SEED_ROUNDS):
        shares = colour_shares(small, seeds, likelihoods_of)                        # (P, h, w)
        kept = [seed & (share > LEAST_SHARE) for seed, share in zip(seeds, shares)]
        seeds = [fewer if fewer.any() else seed for fewer, seed in zip(kept, seeds)]
    nearness = []
    network = Network(small, inside)
    for seed, distance, share in zip(seeds, distances, shares):
        wide = np.maximum(cv2.resize(distance, size, interpolation=cv2.INTER_AREA) - 1, 0)
        nearness.append(network.distances(seed, 1 + COLOUR_COST * (1 - share) + WIDTH_COST * wide))
    nearest = np.argmin(nearness, axis=0)
    reached = np.isfinite(np.min(nearness, axis=0))
    nearest = without_slivers(nearest, reached)
    nearest = nearest[tuple(distance_transform_edt(~reached, return_distances=False, return_indices=True))]
    maps = [cv2.resize(cv2.GaussianBlur((nearest == part).astype(np.float32), (0, 0), BORDER_BLUR), alpha.shape[::-1], interpolation=cv2.INTER_LINEAR)
            for part in range(len(seeds))]
    soft = np.maximum(guided(image, maps, 3, 1e-3), 0) ** SHARPNESS
    return (soft / np.maximum(soft.sum(axis=0), 1e-6)).astype(np.float32)


def without_slivers(nearest: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Parts (h, w) in which thin strips of the trunk beside another part are given to that part.

    The shaded edge of an arm that hangs down is in the colours of the trunk; left there, it would stay when the arm is raised.
    """
    trunk = inside & (nearest == 0)
    if not (inside & ~trunk).any():
        return nearest
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * SLIVER + 1,) * 2)
    thin = trunk & (cv2.morphologyEx(trunk.astype(np.uint8), cv2.MORPH_OPEN, kernel) == 0)
    away, places = distance_transform_edt(~inside | trunk, return_indices=True)
    return np.where(thin & (away <= 2 * SLIVER), nearest[tuple(places)], nearest)


def colour_shares(image: np.ndarray, seeds: list[np.ndarray], models: list[int]) -> np.ndarray:
    """(P, h, w) in [0, 1]: how likely a pixel's colour is in a part against the likeliest one, 1 = nowhere more."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    cell = (lab * (COLOUR_BINS / 256)).astype(int)                                  # (h, w, 3)
    likelihood = {}
    for model in set(models):
        chosen = np.any([seed for seed, own in zip(seeds, models) if own == model], axis=0)
        histogram = np.zeros((COLOUR_BINS,) * 3, np.float32)
        np.add.at(histogram, tuple(cell[chosen].T), 1.0)
        for axis in range(3):
            histogram = (np.roll(histogram, 1, axis) + 2 * histogram + np.roll(histogram, -1, axis)) / 4
        likelihood[model] = histogram[tuple(np.moveaxis(cell, -1, 0))] / max(histogram.sum(), 1) + 1e-4
    best = np.max(list(likelihood.values()), axis=0)
    return np.stack([likelihood[model] / best for model in models])


class Network:
    """The person's pixels as a graph with eight neighbours each."""

    def __init__(self, image: np.ndarray, inside: np.ndarray):
        """image: (h, w, 3) uint8; inside: (h, w) bool, the person."""
        self.inside = inside
        self.number = np.full(inside.shape, -1)
        self.number[inside] = np.arange(inside.sum())
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
        height, width = inside.shape
        starts, ends, lengths = [], [], []
        for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
            here = (slice(0, height - dy), slice(max(-dx, 0), width - max(dx, 0)))
            there = (slice(dy, height), slice(max(dx, 0), width + min(dx, 0)))
            both = inside[here] & inside[there]
            starts.append(self.number[here][both])
            ends.append(self.number[there][both])
            edge = np.linalg.norm(lab[here][both] - lab[there][both], axis=-1)
            lengths.append(np.hypot(dy, dx) * (1 + EDGE_COST * edge / 10))
        self.starts, self.ends, self.lengths = map(np.concatenate, (starts, ends, lengths))

    def distances(self, seed: np.ndarray, price: np.ndarray) -> np.ndarray:
        """(h, w) from the seed (h, w) bool through the person, where a step costs its length times `price` (h, w)."""
        result = np.full(self.inside.shape, np.inf, np.float32)
        sources = self.number[seed & self.inside]
        if not len(sources):
            return result
        price = price[self.inside]
        cost = self.lengths * (price[self.starts] + price[self.ends]) / 2
        graph = coo_matrix((cost, (self.starts, self.ends)), shape=(len(price),) * 2).tocsr()
        result[self.inside] = dijkstra(graph, directed=False, indices=sources, min_only=True)
        return result


def filled(image: np.ndarray, hole: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The image (H, W, 3) uint8 with new pixels where `hole` (H, W) bool; outside of it, unchanged."""
    if not hole.any():
        return image.copy()
    picture, known = image.astype(np.float32), (~hole).astype(np.float32)
    if hole.all():
        return np.full_like(image, picture.mean(axis=(0, 1)).round())
    fill = row_colours(picture, hole)                                                       # (H, W, 3)
    fill = met(fill, picture, hole, RIM_REACH)
    fill += grain(picture, known) * cv2.GaussianBlur(rng.standard_normal(image.shape[:2], np.float32), (0, 0), 0.7)[..., None]
    return np.where(hole[..., None], fill.clip(0, 255).round(), picture).astype(np.uint8)


def met(fill: np.ndarray, picture: np.ndarray, region: np.ndarray, reach: float) -> np.ndarray:
    """The fill (H, W, 3) float32 of a region (H, W) bool changed so that at its rim it meets the picture.

    reach: canvas heights, over which the change fades.
    """
    rim = cv2.dilate(region.astype(np.uint8), np.ones((2 * RIM + 1,) * 2, np.uint8)).astype(bool) & ~region
    away = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 5) / (reach * region.shape[0])
    return fill + np.exp(-away**2)[..., None] * spread(picture - fill, rim.astype(np.float32))


def row_colours(picture: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """What each row shows behind the hole, (H, W, 3) float32: from left to right where both sides are alike, else the side
    that is plainer and changes less from row to row."""
    height, width = hole.shape
    first, last = hole_of_rows(hole)                                                        # (H,) each
    reach = max(round(BAND * width), 2)
    columns = np.arange(width)[None]
    colours, noise = [], []
    for band in ((columns < first[:, None]) & (columns >= first[:, None] - reach),
                 (columns > last[:, None]) & (columns <= last[:, None] + reach)):
        weight = (band & ~hole).astype(np.float32)[..., None]
        count = weight.sum(axis=1)                                                          # (H, 1)
        mean = (picture * weight).sum(axis=1) / np.maximum(count, 1)                        # (H, 3)
        deviation = np.sqrt((((picture - mean[:, None]) ** 2) * weight).sum(axis=(1, 2)) / np.maximum(count[:, 0], 1))
        usable = count[:, 0] >= min(reach, 6)
        mean = spread(mean[:, None], usable.astype(np.float32)[:, None])[:, 0] if usable.any() else mean
        smooth = cv2.medianBlur(mean.round().clip(0, 255).astype(np.uint8)[:, None], 2 * (height // 160) + 1)[:, 0]
        colours.append(smooth.astype(np.float32))
        noise.append(np.where(usable, deviation, UNUSABLE))
    chosen = cheapest_path(np.stack(colours), np.stack(noise))                              # (H,) 0 or 1
    left, right = colours
    alike = np.exp(-((np.linalg.norm(left - right, axis=1) / ALIKE) ** 2)) * (np.max(noise, axis=0) < UNUSABLE)
    share = ((columns - first[:, None]) / np.maximum(last - first, 1)[:, None]).clip(0, 1)  # (H, W) of the right
    share = cv2.blur((alike[:, None] * share + (1 - alike[:, None]) * chosen[:, None]).astype(np.float32), (1, 5))
    return (1 - share[..., None]) * left[:, None] + share[..., None] * right[:, None]


def cheapest_path(colours: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Which of two sides each row takes, (H,) 0 or 1, by dynamic programming; colours: (2, H, 3), noise: (2, H)."""
    height = noise.shape[1]
    total, came = noise[:, 0].copy(), np.zeros((height, 2), int)
    for row in range(1, height):
        step = np.linalg.norm(colours[:, None, row - 1] - colours[None, :, row], axis=-1)   # (from, to)
        options = total[:, None] + CHANGE * step
        came[row] = options.argmin(axis=0)
        total = options.min(axis=0) + noise[:, row]
    path = np.empty(height, int)
    path[-1] = total.argmin()
    for row in range(height - 1, 0, -1):
        path[row - 1] = came[row, path[row]]
    return path


def hole_of_rows(hole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last column (H,) of the hole in each row, of the nearest row that has one."""
    rows = np.flatnonzero(hole.any(axis=1))
    nearest = rows[np.abs(np.arange(len(hole))[:, None] - rows[None]).argmin(axis=1)]
    first, last = hole[nearest].argmax(axis=1), hole.shape[1] - 1 - hole[nearest][:, ::-1].argmax(axis=1)
    return first, last


def grain(picture: np.ndarray, known: np.ndarray) -> np.ndarray:
    """How strong the grain is (H, W, 1) float32 grey levels: the median of rows, so that shapes do not count."""
    fine = np.abs(picture - cv2.GaussianBlur(picture, (0, 0), GRAIN)).mean(axis=2)          # (H, W)
    inner = cv2.erode(known, np.ones((9, 9), np.uint8)) > 0
    level = float(np.median(fine[inner])) if inner.any() else 0.0
    return np.full((*known.shape, 1), 2.0 * level, np.float32)


def spread(colours: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Colours (H, W, C) float32 known where `weight` (H, W) is 1, carried smoothly to where it is 0 (pull-push)."""
    height, width = weight.shape
    known = colours * weight[..., None]
    if min(height, width) <= 2:
        total = max(float(weight.sum()), 1e-6)
        return known + (1 - weight)[..., None] * (known.sum(axis=(0, 1)) / total)
    size = ((width + 1) // 2, (height + 1) // 2)
    small, share = cv2.resize(known, size, interpolation=cv2.INTER_AREA), cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    coarse = spread(small.reshape(*share.shape, -1) / np.maximum(share, 1e-6)[..., None], np.minimum(4 * share, 1))
    upward = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).reshape(colours.shape)
    return known + (1 - weight)[..., None] * upward


def carried_across(colours: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) float32 carried from where they are known, (H, W) of 0 and 1, along the rows: hems go across a trunk."""
    beside = (2 * ACROSS + 1, 1)
    mean = cv2.blur(colours * known[..., None], beside) / np.maximum(cv2.blur(known, beside), 1e-3)[..., None]
    nearest = distance_transform_edt(known == 0, sampling=(ROW_COST, 1), return_distances=False, return_indices=True)
    return cv2.GaussianBlur(mean[tuple(nearest)], (0, 0), 1.0)


def smoothstep(low: float, high: float, values: np.ndarray) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth between."""
    t = ((values - low) / (high - low)).clip(0, 1)
    return t * t * (3 - 2 * t)


def softened(cover: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(cover.astype(np.float32), (0, 0), 1.5)
