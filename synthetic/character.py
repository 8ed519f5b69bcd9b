"""A clay-like person and the room they stand in, drawn at random."""
from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dwpose import skeleton as coco
from synthetic.body import Body
from t2m import motion as smpl
from t2m.motion import ARMS, LEGS
from t2m.project import HEAD_RADIUS, IBUG_LEFT_EYE, IBUG_RIGHT_EYE, Landmarks

Colour = tuple[float, float, float]             # RGB in [0, 1]
SKIN_TONES = ((255, 224, 196), (245, 205, 170), (226, 172, 130), (198, 134, 94), (150, 96, 64), (104, 66, 46))
HAIR_COLOURS = ((30, 25, 25), (70, 45, 30), (120, 75, 40), (205, 165, 85), (165, 70, 35), (190, 190, 195),
                (60, 60, 120), (150, 60, 110), (40, 110, 95), (235, 232, 225))
HAIR_STYLES = ("short", "long", "bun", "pony", "bald", "curly", "bob", "mohawk", "cap")
HAIR_WEIGHTS = (0.2, 0.17, 0.11, 0.11, 0.08, 0.12, 0.09, 0.04, 0.08)
OUTFITS = ("trousers", "shorts", "skirt", "dress")
OUTFIT_WEIGHTS = (0.52, 0.2, 0.16, 0.12)
PATTERNS = ("plain", "columns", "rows", "tiles", "picture")
HORIZON = 0.78                                  # of the canvas height: where wall and floor meet
MATERIALS = ("skin", "hair", "top", "bottom", "shoes", "pupil", "lips", "eye_white", "stripe")
(SKIN, HAIR, TOP, BOTTOM, SHOES, PUPIL, LIPS, EYE_WHITE, STRIPE) = range(len(MATERIALS))
FINGER_STARTS = (5, 9, 13, 17)              # knuckle of index, middle, ring and little finger in a 21-point hand
BROWS = ((17, 21), (22, 26))                # iBUG points, as are those below
NOSE_BRIDGE, NOSE_TIP, MOUTH_RIGHT, MOUTH_LEFT, MOUTH_LOW = 28, 30, 48, 54, 57
JAW = (2, 5, 8, 11, 14)


@dataclass(frozen=True)
class Room:
    """A wall with a pattern, and a floor."""

    wall: Colour
    floor: Colour
    pattern: str
    contrast: float                             # of the pattern
    frequency: float                            # factor on the pattern's stripes per canvas

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Room:
        wall = _hsv(rng.random(), rng.uniform(0.05, 0.35), rng.uniform(0.55, 0.95))
        floor = _hsv(rng.random(), rng.uniform(0.05, 0.35), rng.uniform(0.4, 0.8))
        return cls(wall, floor, str(rng.choice(PATTERNS)), rng.uniform(0.04, 0.1), rng.uniform(0.6, 1.4))

    def picture(self, size: tuple[int, int]) -> np.ndarray:
        """The empty room (H, W, 3) float32 in [0, 1]."""
        height, width = size
        y = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
        x = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
        waves_x, waves_y = (np.sin(axis * 2 * np.pi * n * self.frequency) > 0 for axis, n in ((x, 5), (y, 8)))
        marked = {
            "plain": np.zeros((1, 1, 1), bool), "columns": waves_x, "rows": waves_y, "tiles": waves_x ^ waves_y,
            "picture": (abs(x - 0.5 - 0.2 * (self.frequency - 1)) < 0.28) & (y > 0.12) & (y < 0.5),
        }[self.pattern]
        contrast = self.contrast * (1.5 if self.pattern == "picture" else 1)
        wall = np.array(self.wall) * (1.04 - 0.16 * y) * (1 - contrast * marked) * np.ones_like(x)
        floor = np.array(self.floor) * (0.8 + 0.35 * (y - HORIZON) / (1 - HORIZON)) * np.ones_like(x)
        room = np.where(y < HORIZON, wall, floor)
        room = np.where((y >= HORIZON - 0.008) & (y < HORIZON), room * 0.8, room)       # skirting board
        return room.clip(0, 1).astype(np.float32)


@dataclass(frozen=True)
class Character:
    """What a person looks like. Two characters of equal fields render to equal pixels."""

    skin: Colour
    hair: Colour
    top: Colour
    bottom: Colour
    shoes: Colour
    hair_style: str
    outfit: str
    long_sleeves: bool
    stripe: Colour | None           # across the chest
    sunglasses: bool
    beard: bool
    girth: float                    # factor on the thickness of limbs and torso
    head_size: float
    body: Body
    room: Room

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Character:
        """A random person whose top and bottom can be told apart; a dress is one colour."""
        outfit = str(rng.choice(OUTFITS, p=OUTFIT_WEIGHTS))
        top = _cloth(rng)
        bottom = top if outfit == "dress" else _contrasting_cloth(top, rng)
        skin = SKIN_TONES[rng.integers(len(SKIN_TONES))]
        hair = HAIR_COLOURS[rng.integers(len(HAIR_COLOURS))]
        return cls(
            skin=_shade(skin, rng.uniform(0.93, 1.05)), hair=_shade(hair, rng.uniform(0.85, 1.15)), top=top,
            bottom=bottom, shoes=_shoe_colour(rng), hair_style=str(rng.choice(HAIR_STYLES, p=HAIR_WEIGHTS)),
            outfit=outfit, long_sleeves=bool(rng.random() < 0.5),
            stripe=_contrasting_cloth(top, rng) if rng.random() < 0.2 else None,
            sunglasses=bool(rng.random() < 0.06), beard=bool(outfit in ("trousers", "shorts") and rng.random() < 0.15),
            girth=rng.uniform(0.9, 1.15), head_size=rng.uniform(1.12, 1.3), body=Body.sample(rng),
            room=Room.sample(rng))


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    return colorsys.hsv_to_rgb(hue % 1, saturation, value)


def _shade(rgb: tuple[int, int, int], factor: float) -> Colour:
    return tuple(min(1.0, channel / 255 * factor) for channel in rgb)


def _grey(value: float) -> Colour:
    return (value, value, value)


def _cloth(rng: np.random.Generator) -> Colour:
    kind = rng.random()
    if kind < 0.12:
        return _grey(rng.uniform(0.85, 0.95))
    if kind < 0.22:
        return _grey(rng.uniform(0.12, 0.25))
    return _hsv(rng.random(), rng.uniform(0.45, 0.85), rng.uniform(0.45, 0.95))


def _contrasting_cloth(other: Colour, rng: np.random.Generator) -> Colour:
    candidates = [_cloth(rng) for _ in range(6)]
    far = [c for c in candidates if sum(abs(a - b) for a, b in zip(c, other)) > 0.5]
    return (far or candidates)[0]


def _shoe_colour(rng: np.random.Generator) -> Colour:
    kind = rng.random()
    if kind < 0.18:
        return _grey(rng.uniform(0.85, 0.95))
    if kind < 0.6:
        return _grey(rng.uniform(0.1, 0.25))
    return _hsv(rng.random(), rng.uniform(0.5, 0.8), rng.uniform(0.4, 0.9))


class Solid(NamedTuple):
    """A capsule whose radius goes from one end's to the other's; `flat` cuts off the round ends, as a hem does."""

    start: np.ndarray       # (3,) metres
    end: np.ndarray         # (3,) metres
    start_radius: float     # metres
    end_radius: float       # metres
    material: int
    flat: bool = False


def colours(character: Character) -> np.ndarray:
    """(9, 3) float32 RGB in [0, 1], in the order of MATERIALS."""
    lips = np.array(character.skin) * (0.8, 0.42, 0.42)
    stripe = character.stripe or character.top
    return np.array([character.skin, character.hair, character.top, character.bottom, character.shoes, (0.08,) * 3,
                     lips, (0.96,) * 3, stripe], dtype=np.float32)


def solids(joints: np.ndarray, marks: Landmarks, character: Character) -> list[Solid]:
    """The capsules of one frame: joints (22, 3) metres and its landmarks (T = 1)."""
    frame = _Frame(joints.astype(np.float64), marks, character)
    return [*_legs(frame), *_torso(frame), *_arms(frame), *_hands(frame), *_face(frame), *_hair(frame)]


class _Frame:
    """The points and axes of one frame that several body parts share."""

    def __init__(self, joints: np.ndarray, marks: Landmarks, character: Character):
        self.joints, self.character = joints, character
        self.points = marks.points[0].astype(np.float64)
        self.up, self.forward = marks.chest.up[0], marks.chest.forward[0]
        self.head_left, self.head_up, self.head_forward = marks.head.left[0], marks.head.up[0], marks.head.forward[0]
        self.head = marks.head_centre[0]
        self.head_radius = HEAD_RADIUS * character.head_size
        self.chest = (joints[smpl.LEFT_SHOULDER] + joints[smpl.RIGHT_SHOULDER]) / 2

    def on_head(self, left: float, up: float, forward: float) -> np.ndarray:
        """A point relative to the head's centre, metres in its axes."""
        return self.head + left * self.head_left + up * self.head_up + forward * self.head_forward


def _legs(frame: _Frame) -> list[Solid]:
    joints, look = frame.joints, frame.character
    girth = look.girth
    bare = BOTTOM if look.outfit == "trousers" else SKIN
    parts = []
    for hip, knee, ankle, toe in LEGS:
        thigh = joints[knee] - joints[hip]
        parts.append(Solid(joints[hip], joints[knee], 0.092 * girth, 0.066 * girth, bare))
        parts.append(Solid(joints[knee], joints[ankle], 0.064 * girth, 0.048 * girth, bare))
        if look.outfit == "shorts":
            parts.append(Solid(joints[hip], joints[hip] + 0.55 * thigh, 0.098 * girth, 0.09 * girth, BOTTOM, True))
        foot = _unit(joints[toe] - joints[ankle])
        parts.append(Solid(joints[ankle] - 0.02 * foot - (0, 0.01, 0), joints[toe] + 0.035 * foot, 0.052, 0.047, SHOES))
    if look.outfit in ("skirt", "dress"):
        parts += _skirt(frame)
    hips = joints[smpl.LEFT_HIP] - joints[smpl.RIGHT_HIP]
    parts.append(Solid(joints[smpl.LEFT_HIP] - 0.05 * hips, joints[smpl.RIGHT_HIP] + 0.05 * hips, 0.1 * girth,
                       0.1 * girth, BOTTOM))
    return parts


def _skirt(frame: _Frame) -> list[Solid]:
    """An A-line: a cone about each thigh and one between them, as wide as the legs are apart."""
    joints, girth = frame.joints, frame.character.girth
    hems = [0.28 * joints[hip] + 0.72 * joints[knee] for hip, knee, *_ in LEGS]
    parts = [Solid(joints[hip], hem, 0.093 * girth, 0.112 * girth, BOTTOM, True) for (hip, *_), hem in zip(LEGS, hems)]
    between = 0.5 * np.linalg.norm(hems[0] - hems[1])
    parts.append(Solid(joints[smpl.PELVIS] + 0.04 * frame.up, (hems[0] + hems[1]) / 2, 0.125 * girth,
                       min(between + 0.1, 0.24) * girth, BOTTOM, True))
    return parts


def _torso(frame: _Frame) -> list[Solid]:
    joints, girth = frame.joints, frame.character.girth
    across = _unit(joints[smpl.LEFT_HIP] - joints[smpl.RIGHT_HIP])
    waist = (joints[smpl.PELVIS] + joints[smpl.SPINE1]) / 2
    parts = [Solid(waist, joints[smpl.SPINE3], 0.115 * girth, 0.12 * girth, TOP)]
    for side, (shoulder, *_) in zip((1, -1), ARMS):
        flank = 0.55 * joints[shoulder] + 0.45 * frame.chest - 0.07 * frame.up
        parts.append(Solid(joints[smpl.SPINE1] + 0.045 * side * across, flank, 0.10 * girth, 0.105 * girth, TOP))
        parts.append(Solid(joints[shoulder], frame.chest, 0.062 * girth, 0.075 * girth, TOP))
    neck = Solid(joints[smpl.NECK] - 0.03 * frame.up, joints[smpl.HEAD] + 0.01 * frame.head_up, 0.05, 0.048, SKIN)
    return [*parts, neck]


def _arms(frame: _Frame) -> list[Solid]:
    joints, look = frame.joints, frame.character
    girth = look.girth
    parts = []
    for shoulder, elbow, wrist in ARMS:
        sleeve = TOP if look.long_sleeves else SKIN
        parts.append(Solid(joints[shoulder], joints[elbow], 0.056 * girth, 0.045 * girth, sleeve))
        parts.append(Solid(joints[elbow], joints[wrist], 0.044 * girth, 0.033 * girth, sleeve))
        if look.long_sleeves:
            parts.append(Solid(0.03 * joints[elbow] + 0.97 * joints[wrist], joints[wrist], 0.036, 0.034, SKIN))
        else:
            hem = 0.45 * joints[shoulder] + 0.55 * joints[elbow]
            parts.append(Solid(joints[shoulder], hem, 0.062 * girth, 0.058 * girth, TOP, True))
    return parts


def _hands(frame: _Frame) -> list[Solid]:
    parts = []
    for hand in (frame.points[coco.LEFT_HAND], frame.points[coco.RIGHT_HAND]):
        wrist, first, middle, last = hand[0], hand[5], hand[9], hand[17]
        parts += [
            Solid(0.75 * wrist + 0.25 * middle, 0.15 * wrist + 0.85 * middle, 0.026, 0.026, SKIN),
            Solid(0.6 * wrist + 0.4 * first, first, 0.02, 0.016, SKIN),
            Solid(0.6 * wrist + 0.4 * last, last, 0.02, 0.014, SKIN),
            Solid(hand[1], hand[3], 0.017, 0.0135, SKIN), Solid(hand[3], hand[4], 0.0135, 0.012, SKIN)]
        for knuckle in FINGER_STARTS:
            parts.append(Solid(hand[knuckle], hand[knuckle + 1], 0.0145, 0.0135, SKIN))
            parts.append(Solid(hand[knuckle + 1], hand[knuckle + 3], 0.0135, 0.0115, SKIN))
    return parts


def _face(frame: _Frame) -> list[Solid]:
    radius, up, forward = frame.head_radius, frame.head_up, frame.head_forward
    face = frame.points[coco.FACE]
    skull = Solid(frame.on_head(0, 0.025, 0), frame.on_head(0, -0.03, 0.01), 0.93 * radius, 0.86 * radius, SKIN)
    parts = [skull]
    for side in (1, -1):
        parts.append(Solid(frame.on_head(side * 0.9 * radius, 0, 0), frame.on_head(side * 0.92 * radius, 0, 0), 0.024,
                           0.024, SKIN))
    eyes = [face[points].mean(axis=0) for points in (IBUG_LEFT_EYE, IBUG_RIGHT_EYE)]
    for eye in eyes:
        parts.append(_ball(eye - 0.012 * forward, 0.021, EYE_WHITE))
        parts.append(_ball(eye - 0.002 * forward, 0.0145, PUPIL))
    if frame.character.sunglasses:
        parts += [_ball(eye, 0.034, PUPIL) for eye in eyes]
        parts.append(Solid(eyes[0] + 0.015 * forward, eyes[1] + 0.015 * forward, 0.008, 0.008, PUPIL))
    if frame.character.beard:
        line = [face[point] + 0.004 * forward + 0.012 * up for point in JAW]
        parts += [Solid(a, b, 0.03, 0.03, HAIR) for a, b in zip(line, line[1:])]
    for start, end in BROWS:
        parts.append(Solid(face[start] - 0.004 * forward, face[end] - 0.004 * forward, 0.008, 0.009, HAIR))
    low_lip = face[MOUTH_LOW] + 0.006 * up
    parts += [
        Solid(face[NOSE_BRIDGE] - 0.01 * forward, face[NOSE_TIP], 0.012, 0.018, SKIN),
        Solid(face[MOUTH_RIGHT] - 0.002 * forward, low_lip, 0.009, 0.012, LIPS),
        Solid(low_lip, face[MOUTH_LEFT] - 0.002 * forward, 0.012, 0.009, LIPS)]
    return parts


def _hair(frame: _Frame) -> list[Solid]:
    style, radius, at = frame.character.hair_style, frame.head_radius, frame.on_head
    if style == "bald":
        return []
    if style == "mohawk":
        crest = [at(0, radius * np.cos(a), -radius * np.sin(a)) for a in np.linspace(-0.7, 1.9, 6)]
        return [Solid(a, b, 0.034, 0.034, HAIR) for a, b in zip(crest, crest[1:])]
    if style == "cap":
        crown = Solid(at(0, 0.055, -0.025), at(0, 0.05, -0.03), radius * 0.97, radius * 0.95, STRIPE)
        return [crown, Solid(at(0.03, 0.075, 0.1), at(-0.03, 0.075, 0.1), 0.05, 0.05, STRIPE)]
    parts = [Solid(at(0, 0.05, -0.03), at(0, 0.02, -0.045), radius * 0.97, radius * 0.9, HAIR),
             Solid(at(0.03, 0.085, 0), at(-0.03, 0.085, 0.005), radius * 0.55, radius * 0.55, HAIR)]
    if style == "long":
        nape = frame.joints[smpl.SPINE3] - 0.13 * frame.forward + 0.02 * frame.up
        parts.append(Solid(at(0, 0, -0.05), nape, radius * 0.85, 0.09, HAIR))
        for side, (shoulder, *_) in zip((1, -1), ARMS):
            tip = 0.4 * frame.joints[shoulder] + 0.6 * frame.chest + 0.03 * frame.up - 0.02 * frame.forward
            parts.append(Solid(at(side * 0.8 * radius, 0, -0.02), tip, 0.04, 0.035, HAIR))
    elif style == "bob":
        parts.append(Solid(at(0, 0, -0.05), at(0, -0.07, -0.055), radius * 0.88, radius * 0.8, HAIR))
        for side in (1, -1):
            parts.append(Solid(at(side * 0.85 * radius, 0.03, -0.01), at(side * 0.88 * radius, -0.09, 0), 0.042, 0.045,
                               HAIR))
    elif style == "bun":
        parts.append(_ball(at(0, radius + 0.047, -0.02), 0.055, HAIR))
    elif style == "pony":
        parts.append(Solid(at(0, 0.05, -radius - 0.02), at(0.03, -0.12, -radius - 0.07), 0.05, 0.03, HAIR))
        parts.append(Solid(at(0.75 * radius, 0.06, -0.03), at(radius + 0.03, -0.1, -0.03), 0.036, 0.026, HAIR))
    elif style == "curly":
        parts += [_ball(at(0.95 * radius * np.sin(a), 0.95 * radius * np.cos(a), -0.025), 0.05, HAIR)
                  for a in np.linspace(-1.9, 1.9, 7)]
    return parts


def _ball(centre: np.ndarray, radius: float, material: int) -> Solid:
    return Solid(centre, centre, radius, radius, material)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
