"""`sample_motion`: somebody does one kind of motion, in their own tempo, size and side, with a caption that fits."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

from synthetic.body import (
    ARM_CHANNELS, FOOT_CHANNELS, NEUTRAL_ARM, SIDES, SIGN, Body, joints_from_tracks, neutral_tracks)
from synthetic.captions import caption
from synthetic.gaits import GAITS, gait_tracks
from synthetic.kinds import TABLE, Kind
from t2m.motion import MOTION_FPS, Motion

KINDS = tuple(TABLE) + tuple(GAITS)
ANGLE_JITTER = 0.06                 # each channel's own deviation from the table
FOOT_MOVES = {"step": "foot_z", "apart": "foot_x"}      # the table's words for moves away from the stance
SIDEWAYS = ("twist", "side_bend", "look", "roll", "tilt", "x")


class MotionSample(NamedTuple):
    """A motion and everything known about it."""

    motion: Motion
    curl: np.ndarray                # (T, 2) left and right hand, 0 = open, 1 = fist
    caption: str
    kind: str
    side: str | None                # "left", "right", "both"; None where the kind has no sides
    repetitions: int | None         # None where counting makes no sense


def sides_of(kind: str) -> tuple[str, ...]:
    """The sides a kind can be done with; empty when it has none."""
    return (GAITS[kind] if kind in GAITS else TABLE[kind][0]).sides


def sample_motion(kind: str, seconds: float, rng: np.random.Generator, *, side: str | None = None,
                  repetitions: int | None = None, body: Body | None = None, fps: float = MOTION_FPS) -> MotionSample:
    """One motion of `seconds`, from a neutral stance at the origin facing +z; the standard body unless one is given."""
    if kind not in KINDS:
        raise ValueError(f"motion kind {kind!r}: expected one of {', '.join(KINDS)}")
    sides = sides_of(kind)
    if side is None and sides:
        side = str(rng.choice(sides))
    if side is not None and side not in sides:
        raise ValueError(f"side {side!r}: expected one of {sides or (None,)} for the kind {kind!r}")
    num_frames = int(round(seconds * fps))
    if num_frames < 2:
        raise ValueError(f"motion length: expected at least 2 frames (found {seconds} s at {fps} fps)")

    if kind in GAITS:
        tracks, repetitions, brisk = gait_tracks(GAITS[kind], num_frames, fps, SIGN.get(side, 1.0), repetitions, rng)
    else:
        variants = TABLE[kind]
        variant = variants[rng.integers(len(variants))]
        if repetitions is not None and not variant.counted:
            variant = next((v for v in variants if v.counted), variant)
        tracks, repetitions, brisk = _table_tracks(variant, num_frames, fps, side, repetitions, rng)
    _add_life(tracks, fps, rng)
    joints = joints_from_tracks(tracks, body or Body())
    curl = np.stack([tracks[f"{s}_curl"] for s in SIDES], axis=-1).clip(0, 1).astype(np.float32)
    words = caption(kind, side, repetitions, rng, brisk=brisk)
    return MotionSample(Motion(joints, fps), curl, words, kind, side, repetitions)


def _table_tracks(kind: Kind, num_frames, fps, side, repetitions, rng):
    """Tracks of a table kind, the repetitions made (None unless counted), and whether it was brisk."""
    t = np.arange(num_frames) / fps                                                     # (T,)
    seconds = num_frames / fps
    lead = min(rng.uniform(0.0, 0.25), 0.1 * seconds)
    enter = min(rng.uniform(*kind.enter), 0.3 * seconds) if kind.hold else 0.0
    returns = rng.random() >= kind.stays
    leave = enter if returns else 0.0
    available = seconds - 2 * lead - enter - leave
    pace = rng.random()
    period = kind.period[1] + pace * (kind.period[0] - kind.period[1])
    if not (kind.cycle or kind.counted):
        count = available / period                                                      # swings need not be whole
    else:
        count = max(1, int(available / period + 0.25)) if repetitions is None else repetitions
    period = min(period, available / count)
    begin = lead + enter + rng.uniform(0, max(available - count * period, 0.0)) * bool(kind.cycle or kind.ramp)
    end = begin + count * period
    phase = np.clip((t - begin) / period, 0, count)                                     # (T,) cycles done

    stop = max(end, seconds - lead - leave) if kind.hold else end
    held = _ease((t - begin + enter) / max(enter, 1e-6)) if kind.hold else np.ones_like(t)
    if returns and kind.hold:
        held = held * _ease((stop + leave - t) / max(leave, 1e-6))
    swinging = held if kind.hold else _ease((t - begin) / 0.3) * _ease((end - t) / 0.3)

    amplitude = rng.uniform(*kind.amplitude)
    jitter = 0.0 if kind.amplitude == (1, 1) else ANGLE_JITTER
    tracks = neutral_tracks(num_frames)
    kind = replace(kind, hold=_per_limb(kind.hold), cycle=tuple((p, _per_limb(pose)) for p, pose in kind.cycle),
                   ramp=_per_limb(kind.ramp))
    for name, track in _channels(kind, phase, held, swinging, amplitude, jitter, rng).items():
        _add(tracks, name, track, side, phase if kind.alternate else None)
    return tracks, int(count) if kind.counted else None, pace > 0.7


def _per_limb(pose: dict[str, float]) -> dict[str, float]:
    """The same pose with "arms" and "feet" spelt out as the acting and the other one."""
    spelt = {}
    for name, value in pose.items():
        limb, _, channel = name.rpartition(".")
        single = {"arms": "arm", "feet": "foot"}.get(limb)
        names = [name] if single is None else [f"{single}.{channel}", f"other_{single}.{channel}"]
        spelt.update(dict.fromkeys(names, value))
    return spelt


def _channels(kind: Kind, phase, held, swinging, amplitude, jitter, rng) -> dict[str, np.ndarray]:
    """The table's channels as deviations (T,) from standing: hold, then cycle about it, then swings and ramps."""
    deviations: dict[str, np.ndarray] = {}
    keyed = {name for _, pose in kind.cycle for name in pose}
    for name in sorted(keyed | set(kind.hold) | set(kind.swing) | set(kind.ramp)):
        gain = amplitude * rng.uniform(1 - jitter, 1 + jitter)
        rest = NEUTRAL_ARM.get(name.split(".")[-1], 0.0)
        hold = (kind.hold[name] - rest) * gain if name in kind.hold else 0.0
        track = hold * held
        if name in keyed:
            keys = [(p, (pose[name] - rest) * gain - hold) for p, pose in sorted(kind.cycle, key=lambda k: k[0])
                    if name in pose]
            track = track + held * _keyframes(keys)(phase % 1.0)
        if name in kind.swing:
            size, offset = kind.swing[name]
            track = track + swinging * size * gain * np.sin(2 * np.pi * (phase + offset))
        if name in kind.ramp:
            track = track + kind.ramp[name] * phase
        deviations[name] = track
    return deviations


def _keyframes(keys: list[tuple[float, float]]) -> PchipInterpolator:
    """A curve over phase [0, 1] through the keys, at rest at 0 and 1."""
    inner = [key for key in keys if 0 < key[0] < 1]
    points = [(-0.2, 0.0), (0.0, 0.0), *inner, (1.0, 0.0), (1.2, 0.0)]
    return PchipInterpolator(*zip(*points))


def _add(tracks, name: str, track: np.ndarray, side: str | None, alternating_phase: np.ndarray | None) -> None:
    """Add one table channel to the tracks of the sides it means."""
    limb, _, channel = name.rpartition(".")
    main = "left" if side in (None, "both") else side
    shares = {main: 1.0}                                        # how much of the acting part each side plays
    if side == "both":
        shares = {"left": 1.0, "right": 1.0}
        if alternating_phase is not None:
            turn = np.floor(np.maximum(alternating_phase - 1e-9, 0)) % 2
            shares = {"left": 1 - turn, "right": turn}
    if not limb:
        channel = "x" if channel == "side" else channel
        sideways = channel in SIDEWAYS
        direction = sum(share * SIGN[s] for s, share in shares.items()) if sideways else 1.0
        tracks[channel] += direction * track
        return
    for s in SIDES:
        acting = shares.get(s, 0.0)
        if limb.startswith("other_"):
            share = 0.0 if side == "both" and alternating_phase is None else 1.0 - acting
        else:
            share = acting if limb in ("arm", "foot") else float(limb.startswith(s))
        target = FOOT_MOVES.get(channel, channel)
        tracks[f"{s}_{target}"] += share * track * (SIGN[s] if channel == "apart" else 1.0)


def _add_life(tracks, fps: float, rng: np.random.Generator) -> None:
    """Breathing, small glances and relaxed arms: nobody stands like a statue."""
    t = np.arange(len(tracks["x"])) / fps
    for name, amplitude, rate in (("bend", 0.025, 0.3), ("side_bend", 0.015, 0.4), ("look", 0.06, 0.25)):
        tracks[name] += amplitude * np.sin(2 * np.pi * (rate * t + rng.random()))
    tracks["bend"] += 0.03
    tracks["look"] += rng.uniform(-0.1, 0.1)
    tracks["nod"] += rng.uniform(-0.05, 0.1)
    for side in SIDES:
        tracks[f"{side}_out"] += 0.02 * np.sin(2 * np.pi * (0.3 * t + rng.random()))


def _ease(x: np.ndarray) -> np.ndarray:
    """Smooth step from 0 at x <= 0 to 1 at x >= 1."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
