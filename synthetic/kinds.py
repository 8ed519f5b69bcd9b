"""The motions done on the spot, as a table of held poses, keyframes and swings; locomotion is in gaits.py.

Channels are those of body.py with a limb in front: "arm" and "foot" are the acting side's, "other_arm" and
"other_foot" the opposite ones, "arms" and "feet" both, "left_foot" that one whatever the side. Foot channels are moves
away from the stance: `step` forward, `apart` outwards. Sideways body channels (`side`, `twist`, `side_bend`, `look`,
...) are positive to the acting side.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from synthetic.body import OFFSETS
from t2m import motion as smpl

LR, LRB = ("left", "right"), ("left", "right", "both")
TURN = 2 * np.pi
Pose = dict[str, float]


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
OVERHEAD = {"arms.out": 2.75, "arms.elbow": 0.2, "arms.curl": 0.1}
AIR = ((0.42, 0.13), (0.47, 0.22), (0.56, 0.28), (0.65, 0.22), (0.70, 0.13))    # (phase, metres): a thrown ball's path
CROUCH = {"rise": -0.48, "z": -0.18, "bend": 0.5, "pitch": 0.3, "nod": -0.4, "arms.swing": 0.9, "arms.elbow": 0.9,
          "feet.apart": 0.04}
SQUAT = {"rise": -0.40, "z": -0.16, "bend": 0.25, "pitch": 0.3, "nod": -0.3, "arms.swing": 1.5, "arms.elbow": 0.12,
         "feet.apart": 0.0}
SEATED = {"rise": -0.43, "z": -0.36, "bend": 0.05, "arms.swing": 0.5, "arms.elbow": 0.75, "arms.out": 0.1}

TABLE: dict[str, tuple[Kind, ...]] = {
    "stand": (Kind((2, 4), swing={"side": (0.012, 0), "roll": (0.01, 0)}),),
    "wave": (
        Kind((0.5, 0.9), hold={"arm.out": 1.4, "arm.spin": 1.5, "arm.elbow": 1.35, "arm.curl": 0.0},
             swing={"arm.elbow": (0.42, 0), "arm.out": (0.08, 0.1)}, sides=LRB, stays=0.2),
        Kind((0.6, 1.0), hold={"arm.out": 2.35, "arm.spin": 1.3, "arm.elbow": 0.5, "arm.curl": 0.0},
             swing={"arm.out": (0.3, 0), "arm.elbow": (0.25, 0.1)}, sides=LRB, stays=0.2)),
    "raise_arm": (
        Kind((1.6, 3.0), cycle=((0.35, {"arm.out": 2.85, "arm.elbow": 0.08, "arm.curl": 0.1}),
                                (0.65, {"arm.out": 2.85, "arm.elbow": 0.08})), sides=LRB, counted=True),
        Kind((1.6, 3.0), cycle=(
            (0.35, {"arm.swing": 2.85, "arm.out": -0.12, "arm.elbow": 0.08, "arm.curl": 0.1}),
            (0.65, {"arm.swing": 2.85, "arm.out": -0.12, "arm.elbow": 0.08})), sides=LRB, counted=True),
        Kind((9, 9), hold={"arm.out": 2.85, "arm.elbow": 0.1, "arm.curl": 0.1}, sides=LRB, stays=0.6)),
    "hands_up": (Kind((9, 9), hold={"arms.out": 1.35, "arms.spin": 1.5, "arms.elbow": 1.3, "arms.curl": 0.0},
                      stays=0.6, enter=(0.35, 0.6)),),
    "arms_out": (Kind((9, 9), hold={"arms.out": 1.53, "arms.elbow": 0.04, "arms.curl": 0.05}, stays=0.5,
                      amplitude=(0.96, 1.04)),),
    "arm_circles": (Kind((0.9, 1.6), hold={"arm.out": 0.0, "arm.elbow": 0.06}, ramp={"arm.swing": TURN},
                         swing={"arm.out": (0.35, 0.25)}, sides=LRB, counted=True),),
    "clap": (Kind((0.45, 0.8), hold=reach("arms", 0.2, -0.16, 0.30) | {"arms.curl": 0.05},
                  cycle=((0.5, reach("arms", 0.088, -0.15, 0.33)),), amplitude=(1, 1), counted=True),),
    "punch": (Kind((0.55, 1.0), hold=GUARD, sides=LRB, alternate=True, amplitude=(0.97, 1.03), counted=True,
                   cycle=((0.3, {"arm.swing": 1.5, "arm.out": 0.05, "arm.spin": 0.0, "arm.elbow": 0.1, "twist": -0.75,
                                 "z": 0.07}), (0.42, {"arm.swing": 1.5, "arm.elbow": 0.1, "twist": -0.75}))),),
    "throw": (Kind((1.2, 1.9), sides=LR, counted=True, cycle=(
        (0.35, {"arm.out": 1.5, "arm.swing": -0.1, "arm.spin": 1.6, "arm.elbow": 1.6, "arm.curl": 0.9, "twist": 0.6,
                "z": -0.08, "other_arm.swing": 1.0, "other_foot.lift": 0.12, "other_foot.step": 0.1}),
        (0.55, {"arm.out": 0.7, "arm.swing": 1.7, "arm.spin": 0.6, "arm.elbow": 0.25, "arm.curl": 0.0, "twist": -0.5,
                "bend": 0.3, "z": 0.12, "other_arm.swing": 0.1, "other_foot.step": 0.3, "other_foot.lift": 0.0}),
        (0.7, {"arm.out": 0.1, "arm.swing": 0.6, "arm.elbow": 0.2, "twist": -0.4, "bend": 0.3,
               "other_foot.step": 0.3}),
        (0.85, {"other_foot.step": 0.12, "other_foot.lift": 0.06}))),),
    "point": (
        Kind((9, 9), hold={"arm.out": 1.35, "arm.swing": 0.35, "arm.elbow": 0.05, "arm.curl": 0.55, "look": 0.5},
             sides=LR, stays=0.4),
        Kind((9, 9), hold={"arm.out": 0.75, "arm.swing": 1.15, "arm.elbow": 0.05, "arm.curl": 0.55}, sides=LR,
             stays=0.4)),
    "salute": (Kind((9, 9), hold=reach("arm", 0.17, 0.17, 0.17, (1, -0.2, -0.2)) | {"arm.curl": 0.0}, sides=LR,
                    stays=0.3, amplitude=(1, 1)),),
    "drink": (Kind((1.2, 2.2), hold=reach("arm", 0.07, 0.06, 0.26) | {"arm.curl": 0.75}, sides=LR,
                   cycle=((0.5, reach("arm", 0.06, 0.11, 0.25, (1, -0.6, -0.3)) | {"nod": -0.35}),),
                   amplitude=(1, 1)),),
    "phone": (Kind((9, 9), hold=reach("arm", 0.17, 0.1, 0.09, (0.7, -1, 0.3)) | {"arm.curl": 0.7, "tilt": 0.15},
                   sides=LR, stays=0.5, amplitude=(1, 1)),),
    "hands_on_hips": (Kind((9, 9), hold=reach("arms", 0.20, -0.34, 0.04, (1, 0, -0.5)) | {"arms.curl": 0.4},
                           stays=0.5, amplitude=(1, 1)),),
    "cross_arms": (Kind((9, 9), hold=reach("arm", -0.06, -0.22, 0.22) | reach("other_arm", -0.05, -0.16, 0.17)
                        | {"arms.curl": 0.3}, stays=0.5, amplitude=(1, 1)),),
    "shrug": (Kind((0.9, 1.6), counted=True, cycle=((0.4, {"arms.shrug": 0.5, "arms.out": 0.3, "arms.spin": 1.0,
                                                         "arms.elbow": 1.45, "arms.curl": 0.0, "tilt": 0.2}),
                                                    (0.6, {"arms.shrug": 0.5, "arms.elbow": 1.45}))),),
    "flex": (Kind((0.8, 1.5), hold={"arm.out": 1.5, "arm.spin": 1.55, "arm.elbow": 2.05, "arm.curl": 1.0},
                  swing={"arm.elbow": (0.18, 0)}, sides=LRB, stays=0.4, amplitude=(0.98, 1.04)),),
    "squat": (Kind((1.3, 2.4), cycle=((0.5, SQUAT),), counted=True, amplitude=(0.85, 1.15)),),
    "crouch": (Kind((9, 9), hold=CROUCH, stays=0.5, enter=(0.6, 0.9), amplitude=(0.9, 1.05)),),
    "kneel": (Kind((9, 9), sides=LR, stays=0.5, enter=(0.8, 1.2), amplitude=(1, 1), hold={
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
    "hop": (Kind((0.55, 0.85), sides=LR, counted=True, hold={
        "other_foot.lift": 0.32, "other_foot.step": -0.22, "other_foot.heel": 0.7, "side": 0.07, "arms.out": 0.45,
        "arms.elbow": 0.8},
        cycle=((0.2, {"rise": -0.1, "air": 0.0}), (0.35, {"air": 0.03, "rise": 0.0}), (0.55, {"air": 0.14}),
               (0.75, {"air": 0.03}), (0.82, {"air": 0.0}), (0.9, {"rise": -0.06}))),),
    "kick": (Kind((1.1, 1.8), sides=LR, counted=True, amplitude=(0.9, 1.08), cycle=(
        (0.25, {"foot.step": -0.35, "foot.lift": 0.22, "foot.heel": 0.7, "side": -0.07, "bend": 0.1}),
        (0.38, {"foot.step": 0.2, "foot.lift": 0.32, "foot.heel": 0.4}),
        (0.5, {"foot.step": 0.72, "foot.lift": 0.72, "foot.heel": -0.5, "bend": -0.2, "pitch": -0.15, "side": -0.07,
               "arms.out": 0.6, "other_arm.swing": 0.8, "arm.swing": -0.4}),
        (0.72, {"foot.step": 0.25, "foot.lift": 0.3, "foot.heel": 0.2, "side": -0.06}))),),
    "knee_raise": (Kind((1.1, 1.9), sides=LRB, alternate=True, counted=True, cycle=(
        (0.4, {"foot.lift": 0.47, "foot.step": 0.26, "foot.heel": 0.35, "side": -0.06, "bend": -0.05}),
        (0.6, {"foot.lift": 0.47, "foot.step": 0.26, "side": -0.06}))),),
    "lunge": (Kind((1.6, 2.6), sides=LR, counted=True, amplitude=(0.9, 1.08), cycle=(
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
    "stretch": (Kind((1.6, 2.6), hold=OVERHEAD, sides=LRB, alternate=True, enter=(0.6, 0.9), cycle=(
        (0.45, {"side_bend": 0.65, "roll": 0.1, "side": -0.05}), (0.6, {"side_bend": 0.65, "roll": 0.1}))),),
    "nod": (Kind((0.5, 0.9), hold={"nod": 0.15}, enter=(0.2, 0.3), swing={"nod": (0.5, 0)}, counted=True),),
    "shake_head": (Kind((0.6, 1.0), swing={"look": (1.0, 0)}),),
}
