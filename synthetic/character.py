"""A clay-like person and the room they stand in, drawn at random."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from synthetic.body import Body

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
