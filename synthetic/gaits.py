"""Motions that take steps. Each foot stands still on the floor from touch-down to lift-off, so nothing slides."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthetic.body import neutral_tracks, SIDES, SIGN, STANCE_HALF_WIDTH
from t2m.motion import MOTION_FPS, smoothstep

GRID_FPS = 100.0            # samples per second at which the path over the floor is integrated
MARGIN_SECONDS = 3.0        # the path goes on before and after the clip, for footfalls outside it
RAMP_SECONDS = 0.5          # from standing to full stride


@dataclass(frozen=True)
class Gait:
    """One way to step. Ranges are (lowest, highest); a cycle is two steps."""

    speed: tuple[float, float] = (0.0, 0.0)         # metres per second forward
    sideways: tuple[float, float] = (0.0, 0.0)      # metres per second to the acting side
    turns: tuple[float, ...] = ()                   # whole turns to choose from, to the acting side
    turn_seconds: tuple[float, float] = (1.5, 2.8)  # per whole turn
    cadence: tuple[float, float] = (0.75, 1.0)      # cycles per second
    duty: float = 0.6                               # share of the cycle a foot is on the floor
    lift: tuple[float, float] = (0.09, 0.14)        # metres, highest point of the swinging foot
    reach: float = 0.0                              # metres the swinging foot is carried forward at the top
    hover: float = 0.0                              # metres the body rises between steps
    width: float = STANCE_HALF_WIDTH                # metres from the midline to each foot
    arm_swing: tuple[float, float] = (0.3, 0.55)    # radians
    elbow: float = 0.25                             # radians
    lean: float = 0.03                              # radians forward
    curl: float = 0.3
    groove: bool = False                            # dancing: random swings of the whole body
    sides: tuple[str, ...] = ()
    counted: bool = False


GAITS: dict[str, Gait] = {
    "walk": Gait(speed=(0.55, 1.15)),
    "walk_backwards": Gait(speed=(-0.75, -0.4), cadence=(0.65, 0.9), arm_swing=(0.15, 0.35)),
    "run": Gait(speed=(1.5, 2.4), cadence=(1.25, 1.55), duty=0.4, lift=(0.22, 0.34), reach=-0.1, hover=0.05,
                arm_swing=(0.6, 0.9), elbow=1.4, lean=0.16, curl=0.9),
    "jog_in_place": Gait(cadence=(1.2, 1.6), duty=0.42, lift=(0.2, 0.34), reach=-0.14, hover=0.04,
                         arm_swing=(0.4, 0.7), elbow=1.4, lean=0.08, curl=0.9),
    "march": Gait(cadence=(0.75, 1.05), duty=0.55, lift=(0.34, 0.46), reach=0.22, arm_swing=(0.6, 0.9), elbow=0.3,
                  lean=0.0, curl=0.7),
    "side_step": Gait(sideways=(0.28, 0.45), cadence=(0.7, 1.0), lift=(0.06, 0.1), width=0.16, arm_swing=(0.0, 0.1),
                      elbow=0.5, sides=SIDES),
    "turn": Gait(turns=(0.5, 0.5, 1.0), turn_seconds=(2.2, 4.5), cadence=(0.9, 1.2), lift=(0.05, 0.1),
                 arm_swing=(0.1, 0.2), sides=SIDES),
    "spin": Gait(turns=(2.0, 3.0), turn_seconds=(0.9, 1.4), cadence=(1.7, 2.2), lift=(0.05, 0.08),
                 arm_swing=(0.0, 0.1), elbow=0.4, sides=SIDES, counted=True),
    "dance": Gait(cadence=(0.8, 1.2), lift=(0.05, 0.12), width=0.13, arm_swing=(0.0, 0.2), elbow=0.8, groove=True),
}


def gait_tracks(gait: Gait, num_frames: int, sign: float, repetitions: int | None,
                rng: np.random.Generator) -> tuple[dict[str, np.ndarray], int | None, bool]:
    """Tracks of somebody stepping, how many whole turns they made (None unless counted), and whether it was brisk."""
    t = np.arange(num_frames) / MOTION_FPS                                                     # (T,) seconds
    seconds = num_frames / MOTION_FPS
    goes_on = not gait.turns and rng.random() < 0.35            # still stepping when the clip ends
    end = seconds + (2 * MARGIN_SECONDS if goes_on else -rng.uniform(0.05, 0.25))
    start = rng.uniform(0.0, 0.2)
    pace = rng.random()                                         # one throw for speed and cadence: they go together
    cadence = _within(gait.cadence, pace)
    turns = gait.turns[rng.integers(len(gait.turns))] if gait.turns else 0.0
    if repetitions is not None and gait.counted:
        turns = float(repetitions)
    if gait.turns:
        longest = turns * gait.turn_seconds[1]
        end = start + min(end - start, rng.uniform(turns * gait.turn_seconds[0], longest))
        if gait.counted and repetitions is None:
            turns = float(np.clip(round((end - start) / np.mean(gait.turn_seconds)), 1, turns))

    grid = np.arange(-MARGIN_SECONDS, seconds + MARGIN_SECONDS, 1 / GRID_FPS)
    going = _plateau(grid, start, end, min(RAMP_SECONDS, (end - start) / 3))            # (G,) 0 standing, 1 stepping
    turn = 2 * np.pi * turns * sign * np.cumsum(going) / going.sum()
    forward, sideways = _within(gait.speed, pace), sign * _within(gait.sideways, pace)
    x = np.cumsum(going * (sideways * np.cos(turn) + forward * np.sin(turn))) / GRID_FPS
    z = np.cumsum(going * (forward * np.cos(turn) - sideways * np.sin(turn))) / GRID_FPS
    origin = np.searchsorted(grid, 0.0)
    path = np.stack([x - x[origin], z - z[origin], turn - turn[origin]], axis=-1)       # (G, 3) x, z, turn

    phase = cadence * (t - start) + rng.choice([0.0, 0.5])                              # (T,) cycles of the left foot
    on = np.interp(t, grid, going)
    tracks = neutral_tracks(num_frames)
    for name, column in zip(("x", "z", "turn"), path.T):
        tracks[name] += np.interp(t, grid, column)
    lift, arm_swing = (rng.uniform(*span) for span in (gait.lift, gait.arm_swing))
    for side, offset in zip(SIDES, (0.0, 0.5)):
        _step(tracks, side, gait, phase + offset, t, cadence, grid, path, on, lift)
        tracks[f"{side}_swing"] += on * -arm_swing * np.cos(2 * np.pi * (phase + offset)) * np.sign(forward or 1)
        tracks[f"{side}_elbow"] += on * gait.elbow * rng.uniform(0.8, 1.15)
        tracks[f"{side}_curl"] += on * (gait.curl - 0.3)
    stride = min(abs(forward), 1.2) + 0.25 * (gait.reach != 0)
    tracks["twist"] += on * 0.12 * stride * np.cos(2 * np.pi * phase) * np.sign(forward or 1)
    tracks["roll"] += on * 0.03 * np.sin(2 * np.pi * phase)
    tracks["bend"] += on * gait.lean
    tracks["rise"] += on * (-0.025 + gait.hover * (0.5 + 0.5 * np.cos(4 * np.pi * (phase - gait.duty / 2 + 0.25))))
    if gait.groove:
        _groove(tracks, phase, on, rng)
    counted = int(turns) if gait.counted else None
    return tracks, counted, pace > 0.7


def _step(tracks, side, gait, phase, t, cadence, grid, path, on, lift) -> None:
    """Fill one foot's tracks: planted at the body's mid-stance position, carried over to the next in between."""
    cycle = np.floor(phase)
    within = phase - cycle                                                              # (T,) in [0, 1)
    swing = np.clip((within - gait.duty) / (1 - gait.duty), 0, 1)                       # 0 while planted
    plants = []
    for ahead in (0, 1):
        moment = t + (cycle + ahead + gait.duty / 2 - phase) / cadence                  # seconds, of mid-stance
        x, z, turn = (np.interp(moment, grid, column) for column in path.T)
        reach = SIGN[side] * gait.width
        plants.append(np.stack([x + reach * np.cos(turn), z - reach * np.sin(turn), turn]))   # (3, T)
    x, z, turn = plants[0] + (plants[1] - plants[0]) * smoothstep(swing)
    top = np.sin(np.pi * swing) * np.minimum(3 * on, 1)     # also the first, short step clears the floor
    tracks[f"{side}_foot_x"] = x + gait.reach * top * np.sin(turn)
    tracks[f"{side}_foot_z"] = z + gait.reach * top * np.cos(turn)
    tracks[f"{side}_splay"] += turn
    tracks[f"{side}_lift"] += lift * top
    moved = np.minimum(np.hypot(*(plants[1] - plants[0])[:2]) / 0.5, 1) + (gait.reach < 0)    # (T,) how long a stride
    late_stance = np.clip((within - 0.7 * gait.duty) / (0.3 * gait.duty), 0, 1) * (within < gait.duty)
    push_off = late_stance**2 + (within >= gait.duty) * np.clip(1 - 1.6 * swing, 0, 1)
    tracks[f"{side}_heel"] += on * np.minimum(moved, 1) * (0.45 * push_off - 0.2 * np.sin(np.pi * swing**3))


def _groove(tracks, phase, on, rng) -> None:
    """Sway hips, spine and arms in random time with the steps."""
    beats = {"side": 0.05, "roll": 0.1, "side_bend": 0.22, "twist": 0.3, "turn": 0.2, "nod": 0.12}
    for name, amplitude in beats.items():
        name = "x" if name == "side" else name
        rate = rng.choice([0.5, 1.0]) if name == "turn" else 1.0
        tracks[name] += on * rng.uniform(0.4, 1.2) * amplitude * np.sin(2 * np.pi * (rate * phase + rng.random()))
    tracks["rise"] += on * -0.04 * (1 - np.cos(4 * np.pi * phase))
    opposed = rng.random() < 0.6
    out, swing, elbow, spin = rng.uniform((0.3, 0.2, 0.4, -0.4), (1.4, 1.0, 1.3, 1.4))
    for side, offset in zip(SIDES, (0.0, 0.5 * opposed)):
        wave = np.sin(2 * np.pi * (phase + offset))
        tracks[f"{side}_out"] += on * (out + 0.45 * wave)
        tracks[f"{side}_swing"] += on * (swing + 0.45 * np.sin(2 * np.pi * (phase + offset + 0.2)))
        tracks[f"{side}_elbow"] += on * (elbow + 0.45 * np.sin(4 * np.pi * phase))
        tracks[f"{side}_spin"] += on * spin


def _plateau(t: np.ndarray, start: float, end: float, ramp: float) -> np.ndarray:
    """0 before `start` and after `end`, 1 between, with smooth ramps inside."""
    return smoothstep(np.minimum(t - start, end - t) / ramp)


def _within(span: tuple[float, float], share: float) -> float:
    return span[0] + share * (span[1] - span[0])
