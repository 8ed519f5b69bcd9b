"""Motions done on the spot, as a table of held poses, keyframes and swings; motions that travel are in gaits.py.

Channels are those of body.py with a limb in front: "arm" and "foot" are the acting side's, "other_arm" and
"other_foot" the opposite ones, "arms" and "feet" both, "left_foot" that one whatever the side. Foot channels are moves
away from the stance: `step` forward, `apart` outwards. Sideways body channels (`side`, `twist`, `side_bend`, `look`,
...) are positive to the acting side.
"""
from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

from synthetic.body import Body, joints_from_tracks, NEUTRAL_ARM, neutral_tracks, OFFSETS, SIDES, SIGN
from synthetic.captions import caption
from synthetic.gaits import gait_tracks, GAITS
from t2m import motion as smpl
from t2m.motion import Motion, MOTION_FPS, smoothstep

ANY_SIDE = (*SIDES, "both")
TURN = 2 * np.pi
Pose = dict[str, float]
OVERHEAD = {"arms.out": 2.75, "arms.elbow": 0.2, "arms.curl": 0.1}
AIR = ((0.42, 0.13), (0.47, 0.22), (0.56, 0.28), (0.65, 0.22), (0.70, 0.13))    # (phase, metres): a thrown ball's path
CROUCH = {"rise": -0.48, "z": -0.18, "bend": 0.5, "pitch": 0.3, "nod": -0.4, "arms.swing": 0.9, "arms.elbow": 0.9,
          "feet.apart": 0.04}
SQUAT = {"rise": -0.40, "z": -0.16, "bend": 0.25, "pitch": 0.3, "nod": -0.3, "arms.swing": 1.5, "arms.elbow": 0.12,
         "feet.apart": 0.0}
SEATED = {"rise": -0.43, "z": -0.36, "bend": 0.05, "arms.swing": 0.5, "arms.elbow": 0.75, "arms.out": 0.1}
ANGLE_JITTER = 0.06                 # each channel's own deviation from the table
FOOT_MOVES = {"step": "foot_z", "apart": "foot_x"}      # the table's words for moves away from the stance
SIDEWAYS = ("twist", "side_bend", "look", "roll", "tilt", "x")


@dataclass(frozen=True)
class Kind:
    """One way to do a motion: go to `hold`, repeat the `cycle`, come back."""

    period: tuple[float, float]                     # seconds per repetition, fastest and slowest
    hold: Pose = field(default_factory=dict)        # pose kept while it goes on
    cycle: tuple[tuple[float, Pose], ...] = ()      # (phase in [0, 1], pose) keys; each cycle begins and ends in `hold`
    swing: dict[str, tuple[float, float]] = field(default_factory=dict)  # channel: (amplitude, phase in cycles)
    ramp: Pose = field(default_factory=dict)        # channel: radians gained by each cycle
    sides: tuple[str, ...] = ()
    alternate: bool = False                         # with "both", the sides take turns
    stays: float = 0.0                              # how often the pose is kept to the end
    enter: tuple[float, float] = (0.4, 0.7)         # seconds from standing to `hold`
    amplitude: tuple[float, float] = (0.88, 1.1)    # (1, 1) where hands must meet
    counted: bool = False                           # "twice" makes sense


def reach(arm: str, out: float, up: float, forward: float, elbow: tuple[float, float, float] = (0.6, -1, -0.3)) -> Pose:
    """Arm angles that bring the wrist to a point: metres out from the midline, above and before the shoulder.

    `elbow` is the direction (out, up, forward) in which the elbow sticks out.
    """
    upper, lower = -OFFSETS[smpl.LEFT_ELBOW, 1], -OFFSETS[smpl.LEFT_WRIST, 1]
    shoulder = OFFSETS[smpl.LEFT_COLLAR, 0] + OFFSETS[smpl.LEFT_SHOULDER, 0]
    target = np.array([out - shoulder, up, forward])
    length = np.clip(np.linalg.norm(target), 0.12, 0.995 * (upper + lower))
    along = target / np.linalg.norm(target)
    before_elbow = (upper**2 - lower**2 + length**2) / (2 * length)
    pole = np.array(elbow) - np.dot(elbow, along) * along
    pole *= np.sqrt(upper**2 - before_elbow**2) / np.linalg.norm(pole)
    bone = (before_elbow * along + pole) / upper                                # the upper arm's direction
    fore = (length * along - upper * bone) / lower                              # the forearm's
    swing, abduction = np.arcsin(bone[2]), np.arctan2(bone[0], -bone[1])
    bend = np.arccos(np.clip(bone @ fore, -1, 1))
    cos_out, sin_out, cos_swing, sin_swing = np.cos(abduction), np.sin(abduction), np.cos(swing), np.sin(swing)
    level = np.array([cos_out * fore[0] + sin_out * fore[1], cos_out * fore[1] - sin_out * fore[0], fore[2]])
    ahead = cos_swing * level[2] + sin_swing * level[1]
    return {f"{arm}.out": abduction, f"{arm}.swing": swing, f"{arm}.elbow": bend,
            f"{arm}.spin": float(np.arctan2(level[0], ahead))}


GUARD = reach("arms", 0.13, -0.06, 0.24) | {
    "arms.curl": 1.0, "left_foot.step": 0.12, "right_foot.step": -0.12}
TABLE: dict[str, tuple[Kind, ...]] = {
    "stand": (Kind((2, 4), swing={"side": (0.012, 0), "roll": (0.01, 0)}),),
    "wave": (
        Kind((0.5, 0.9), hold={"arm.out": 1.4, "arm.spin": 1.5, "arm.elbow": 1.35, "arm.curl": 0.0},
             swing={"arm.elbow": (0.42, 0), "arm.out": (0.08, 0.1)}, sides=ANY_SIDE, stays=0.2),
        Kind((0.6, 1.0), hold={"arm.out": 2.35, "arm.spin": 1.3, "arm.elbow": 0.5, "arm.curl": 0.0},
             swing={"arm.out": (0.3, 0), "arm.elbow": (0.25, 0.1)}, sides=ANY_SIDE, stays=0.2)),
    "raise_arm": (
        Kind((1.6, 3.0), cycle=((0.35, {"arm.out": 2.85, "arm.elbow": 0.08, "arm.curl": 0.1}),
                                (0.65, {"arm.out": 2.85, "arm.elbow": 0.08})), sides=ANY_SIDE, counted=True),
        Kind((1.6, 3.0), cycle=(
            (0.35, {"arm.swing": 2.85, "arm.out": -0.12, "arm.elbow": 0.08, "arm.curl": 0.1}),
            (0.65, {"arm.swing": 2.85, "arm.out": -0.12, "arm.elbow": 0.08})), sides=ANY_SIDE, counted=True),
        Kind((9, 9), hold={"arm.out": 2.85, "arm.elbow": 0.1, "arm.curl": 0.1}, sides=ANY_SIDE, stays=0.6)),
    "hands_up": (Kind((9, 9), hold={"arms.out": 1.35, "arms.spin": 1.5, "arms.elbow": 1.3, "arms.curl": 0.0},
                      stays=0.6, enter=(0.35, 0.6)),),
    "arms_out": (Kind((9, 9), hold={"arms.out": 1.53, "arms.elbow": 0.04, "arms.curl": 0.05}, stays=0.5,
                      amplitude=(0.96, 1.04)),),
    "arm_circles": (Kind((0.9, 1.6), hold={"arm.out": 0.0, "arm.elbow": 0.06}, ramp={"arm.swing": TURN},
                         swing={"arm.out": (0.35, 0.25)}, sides=ANY_SIDE, counted=True),),
    "clap": (Kind((0.45, 0.8), hold=reach("arms", 0.2, -0.16, 0.30) | {"arms.curl": 0.05},
                  cycle=((0.5, reach("arms", 0.088, -0.15, 0.33)),), amplitude=(1, 1), counted=True),),
    "punch": (Kind((0.55, 1.0), hold=GUARD, sides=ANY_SIDE, alternate=True, amplitude=(0.97, 1.03), counted=True,
                   cycle=((0.3, {"arm.swing": 1.5, "arm.out": 0.05, "arm.spin": 0.0, "arm.elbow": 0.1, "twist": -0.75,
                                 "z": 0.07}), (0.42, {"arm.swing": 1.5, "arm.elbow": 0.1, "twist": -0.75}))),),
    "throw": (Kind((1.2, 1.9), sides=SIDES, counted=True, cycle=(
        (0.35, {"arm.out": 1.5, "arm.swing": -0.1, "arm.spin": 1.6, "arm.elbow": 1.6, "arm.curl": 0.9, "twist": 0.6,
                "z": -0.08, "other_arm.swing": 1.0, "other_foot.lift": 0.12, "other_foot.step": 0.1}),
        (0.55, {"arm.out": 0.7, "arm.swing": 1.7, "arm.spin": 0.6, "arm.elbow": 0.25, "arm.curl": 0.0, "twist": -0.5,
                "bend": 0.3, "z": 0.12, "other_arm.swing": 0.1, "other_foot.step": 0.3, "other_foot.lift": 0.0}),
        (0.7, {"arm.out": 0.1, "arm.swing": 0.6, "arm.elbow": 0.2, "twist": -0.4, "bend": 0.3,
               "other_foot.step": 0.3}),
        (0.85, {"other_foot.step": 0.12, "other_foot.lift": 0.06}))),),
    "point": (
        Kind((9, 9), hold={"arm.out": 1.35, "arm.swing": 0.35, "arm.elbow": 0.05, "arm.curl": 0.55, "look": 0.5},
             sides=SIDES, stays=0.4),
        Kind((9, 9), hold={"arm.out": 0.75, "arm.swing": 1.15, "arm.elbow": 0.05, "arm.curl": 0.55}, sides=SIDES,
             stays=0.4)),
    "salute": (Kind((9, 9), hold=reach("arm", 0.17, 0.17, 0.17, (1, -0.2, -0.2)) | {"arm.curl": 0.0}, sides=SIDES,
                    stays=0.3, amplitude=(1, 1)),),
    "drink": (Kind((1.2, 2.2), hold=reach("arm", 0.07, 0.06, 0.26) | {"arm.curl": 0.75}, sides=SIDES,
                   cycle=((0.5, reach("arm", 0.06, 0.11, 0.25, (1, -0.6, -0.3)) | {"nod": -0.35}),),
                   amplitude=(1, 1)),),
    "phone": (Kind((9, 9), hold=reach("arm", 0.17, 0.1, 0.09, (0.7, -1, 0.3)) | {"arm.curl": 0.7, "tilt": 0.15},
                   sides=SIDES, stays=0.5, amplitude=(1, 1)),),
    "hands_on_hips": (Kind((9, 9), hold=reach("arms", 0.20, -0.34, 0.04, (1, 0, -0.5)) | {"arms.curl": 0.4},
                           stays=0.5, amplitude=(1, 1)),),
    "cross_arms": (Kind((9, 9), hold=reach("arm", -0.06, -0.22, 0.22) | reach("other_arm", -0.05, -0.16, 0.17)
                        | {"arms.curl": 0.3}, stays=0.5, amplitude=(1, 1)),),
    "shrug": (Kind((0.9, 1.6), counted=True, cycle=((0.4, {"arms.shrug": 0.5, "arms.out": 0.3, "arms.spin": 1.0,
                                                         "arms.elbow": 1.45, "arms.curl": 0.0, "tilt": 0.2}),
                                                    (0.6, {"arms.shrug": 0.5, "arms.elbow": 1.45}))),),
    "flex": (Kind((0.8, 1.5), hold={"arm.out": 1.5, "arm.spin": 1.55, "arm.elbow": 2.05, "arm.curl": 1.0},
                  swing={"arm.elbow": (0.18, 0)}, sides=ANY_SIDE, stays=0.4, amplitude=(0.98, 1.04)),),
    "squat": (Kind((1.3, 2.4), cycle=((0.5, SQUAT),), counted=True, amplitude=(0.85, 1.15)),),
    "crouch": (Kind((9, 9), hold=CROUCH, stays=0.5, enter=(0.6, 0.9), amplitude=(0.9, 1.05)),),
    "kneel": (Kind((9, 9), sides=SIDES, stays=0.5, enter=(0.8, 1.2), amplitude=(1, 1), hold={
        "rise": -0.43, "z": 0.0, "other_foot.step": 0.34, "foot.step": -0.46, "foot.heel": 1.25, "bend": 0.12,
        "arms.swing": 0.35, "arms.elbow": 0.6}),),
    "sit": (Kind((9, 9), hold=SEATED, stays=0.6, enter=(0.8, 1.3), amplitude=(0.95, 1.04)),),
    "jump": (Kind((1.0, 1.5), counted=True, amplitude=(0.85, 1.2), cycle=(
        (0.22, {"rise": -0.26, "z": -0.08, "bend": 0.35, "pitch": 0.2, "arms.swing": -0.7, "arms.elbow": 0.2}),
        (0.38, {"air": 0.0, "rise": 0.0, "bend": 0.0, "feet.heel": 0.5}), *((p, {"air": h}) for p, h in AIR),
        (0.56, {"arms.swing": 2.3, "arms.out": -0.3, "feet.heel": 0.6}), (0.74, {"air": 0.0, "feet.heel": 0.0}),
        (0.84, {"rise": -0.2, "z": -0.06, "bend": 0.25, "arms.swing": 0.4}))),),
    "jumping_jack": (Kind((0.8, 1.3), counted=True, amplitude=(0.95, 1.05), cycle=(
        (0.08, {"air": 0.0, "rise": -0.05, "feet.apart": 0.0}), (0.25, {"air": 0.10, "rise": 0.0}),
        (0.42, {"air": 0.0, "feet.apart": 0.24}), (0.5, {"arms.out": 2.8, "arms.elbow": 0.15, "rise": -0.03}),
        (0.58, {"air": 0.0, "feet.apart": 0.24}), (0.75, {"air": 0.10}),
        (0.92, {"air": 0.0, "feet.apart": 0.0, "rise": -0.05}))),),
    "hop": (Kind((0.55, 0.85), sides=SIDES, counted=True, hold={
        "other_foot.lift": 0.32, "other_foot.step": -0.22, "other_foot.heel": 0.7, "side": 0.07, "arms.out": 0.45,
        "arms.elbow": 0.8},
        cycle=((0.2, {"rise": -0.1, "air": 0.0}), (0.35, {"air": 0.03, "rise": 0.0}), (0.55, {"air": 0.14}),
               (0.75, {"air": 0.03}), (0.82, {"air": 0.0}), (0.9, {"rise": -0.06}))),),
    "kick": (Kind((1.1, 1.8), sides=SIDES, counted=True, amplitude=(0.9, 1.08), cycle=(
        (0.25, {"foot.step": -0.35, "foot.lift": 0.22, "foot.heel": 0.7, "side": -0.07, "bend": 0.1}),
        (0.38, {"foot.step": 0.2, "foot.lift": 0.32, "foot.heel": 0.4}),
        (0.5, {"foot.step": 0.72, "foot.lift": 0.72, "foot.heel": -0.5, "bend": -0.2, "pitch": -0.15, "side": -0.07,
               "arms.out": 0.6, "other_arm.swing": 0.8, "arm.swing": -0.4}),
        (0.72, {"foot.step": 0.25, "foot.lift": 0.3, "foot.heel": 0.2, "side": -0.06}))),),
    "knee_raise": (Kind((1.1, 1.9), sides=ANY_SIDE, alternate=True, counted=True, cycle=(
        (0.4, {"foot.lift": 0.47, "foot.step": 0.26, "foot.heel": 0.35, "side": -0.06, "bend": -0.05}),
        (0.6, {"foot.lift": 0.47, "foot.step": 0.26, "side": -0.06}))),),
    "lunge": (Kind((1.6, 2.6), sides=SIDES, counted=True, amplitude=(0.9, 1.08), cycle=(
        (0.14, {"foot.step": 0.3, "foot.lift": 0.14, "z": 0.12}),
        (0.28, {"foot.step": 0.62, "foot.lift": 0.0, "z": 0.22, "other_foot.heel": 0.3}),
        (0.5, {"rise": -0.32, "z": 0.27, "other_foot.heel": 0.85, "arms.out": 0.35, "arms.elbow": 1.3}),
        (0.72, {"foot.step": 0.62, "foot.lift": 0.0, "z": 0.22, "other_foot.heel": 0.3}),
        (0.86, {"foot.step": 0.3, "foot.lift": 0.14, "z": 0.12}))),),
    "bow": (Kind((1.8, 3.0), counted=True, cycle=(
        (0.42, {"pitch": 0.5, "bend": 0.75, "nod": 0.3, "z": -0.1, "arms.swing": 0.5}),
        (0.58, {"pitch": 0.5, "bend": 0.75, "nod": 0.3, "z": -0.1, "arms.swing": 0.5}))),),
    "touch_toes": (Kind((1.8, 3.0), counted=True, cycle=(
        (0.42, {"pitch": 1.0, "bend": 1.2, "nod": 0.2, "z": -0.18, "arms.swing": 1.9, "arms.elbow": 0.05}),
        (0.58, {"pitch": 1.0, "bend": 1.2, "nod": 0.2, "z": -0.18, "arms.swing": 1.9, "arms.elbow": 0.05}))),),
    "stretch": (Kind((1.6, 2.6), hold=OVERHEAD, sides=ANY_SIDE, alternate=True, enter=(0.6, 0.9), cycle=(
        (0.45, {"side_bend": 0.65, "roll": 0.1, "side": -0.05}), (0.6, {"side_bend": 0.65, "roll": 0.1}))),),
    "nod": (Kind((0.5, 0.9), hold={"nod": 0.15}, enter=(0.2, 0.3), swing={"nod": (0.5, 0)}, counted=True),),
    "shake_head": (Kind((0.6, 1.0), swing={"look": (1.0, 0)}),),
}
KINDS = tuple(TABLE) + tuple(GAITS)


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
                  repetitions: int | None = None, body: Body | None = None) -> MotionSample:
    """One motion of `seconds`, from a neutral stance at the origin facing +z; the standard body unless one is given."""
    if kind not in KINDS:
        raise ValueError(f"motion kind {kind!r}: expected one of {', '.join(KINDS)}")
    sides = sides_of(kind)
    if side is None and sides:
        side = str(rng.choice(sides))
    if side is not None and side not in sides:
        raise ValueError(f"side {side!r}: expected one of {sides or (None,)} for the kind {kind!r}")
    num_frames = round(seconds * MOTION_FPS)
    if num_frames < 2:
        raise ValueError(f"motion length: expected at least 2 frames (found {seconds} s at {MOTION_FPS} fps)")

    if kind in GAITS:
        tracks, repetitions, brisk = gait_tracks(GAITS[kind], num_frames, SIGN.get(side, 1.0), repetitions, rng)
    else:
        variants = TABLE[kind]
        variant = variants[rng.integers(len(variants))]
        if repetitions is not None and not variant.counted:
            variant = next((v for v in variants if v.counted), variant)
        tracks, repetitions, brisk = _table_tracks(variant, num_frames, side, repetitions, rng)
    _add_life(tracks, rng)
    joints = joints_from_tracks(tracks, body or Body())
    curl = np.stack([tracks[f"{s}_curl"] for s in SIDES], axis=-1).clip(0, 1).astype(np.float32)
    words = caption(kind, side, repetitions, rng, brisk=brisk)
    return MotionSample(Motion(joints), curl, words, kind, side, repetitions)


def _table_tracks(kind: Kind, num_frames: int, side: str | None, repetitions: int | None,
                  rng: np.random.Generator) -> tuple[dict[str, np.ndarray], int | None, bool]:
    """Tracks of a table kind, the repetitions made (None unless counted), and whether it was brisk."""
    t = np.arange(num_frames) / MOTION_FPS                                                     # (T,)
    seconds = num_frames / MOTION_FPS
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
    held = smoothstep((t - begin + enter) / max(enter, 1e-6)) if kind.hold else np.ones_like(t)
    if returns and kind.hold:
        held = held * smoothstep((stop + leave - t) / max(leave, 1e-6))
    swinging = held if kind.hold else smoothstep((t - begin) / 0.3) * smoothstep((end - t) / 0.3)

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


def _add_life(tracks, rng: np.random.Generator) -> None:
    """Add breathing, small glances and relaxed arms, so that nobody stands like a statue."""
    t = np.arange(len(tracks["x"])) / MOTION_FPS
    for name, amplitude, rate in (("bend", 0.025, 0.3), ("side_bend", 0.015, 0.4), ("look", 0.06, 0.25)):
        tracks[name] += amplitude * np.sin(2 * np.pi * (rate * t + rng.random()))
    tracks["bend"] += 0.03
    tracks["look"] += rng.uniform(-0.1, 0.1)
    tracks["nod"] += rng.uniform(-0.05, 0.1)
    for side in SIDES:
        tracks[f"{side}_out"] += 0.02 * np.sin(2 * np.pi * (0.3 * t + rng.random()))
