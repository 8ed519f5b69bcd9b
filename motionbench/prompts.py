"""MotionBench's 20 motions: what is asked for in words, and the procedural motion that is its truth.

They are told apart by what a skeleton seen from the front shows; left and right are the person's own.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class BenchMotion:
    """One of the benchmark's motions."""

    name: str                   # in file names and tables
    prompt: str                 # what a system is given
    kind: str                   # of synthetic.KINDS
    side: str | None = None     # "left", "right" or "both"; None where the kind has no sides
    travels: bool = False       # leads away from the spot: the camera follows


MOTIONS = (
    BenchMotion("wave_right", "A person waves with the right hand.", "wave", "right"),
    BenchMotion("wave_left", "A person waves with the left hand.", "wave", "left"),
    BenchMotion("hands_up", "A person raises both hands in surrender.", "hands_up"),
    BenchMotion("arms_out", "A person stretches both arms out to the sides.", "arms_out"),
    BenchMotion("arm_circles", "A person circles both arms.", "arm_circles", "both"),
    BenchMotion("clap", "A person claps.", "clap"),
    BenchMotion("punch_right", "A person punches with the right fist.", "punch", "right"),
    BenchMotion("throw_left", "A person throws a ball with the left hand.", "throw", "left"),
    BenchMotion("salute_right", "A person salutes with the right hand.", "salute", "right"),
    BenchMotion("hands_on_hips", "A person puts both hands on the hips.", "hands_on_hips"),
    BenchMotion("squat", "A person does a squat.", "squat"),
    BenchMotion("jump", "A person jumps.", "jump"),
    BenchMotion("jumping_jack", "A person does jumping jacks.", "jumping_jack"),
    BenchMotion("kick_right", "A person kicks with the right leg.", "kick", "right"),
    BenchMotion("kick_left", "A person kicks with the left leg.", "kick", "left"),
    BenchMotion("bow", "A person bows.", "bow"),
    BenchMotion("side_step_left", "A person steps sideways to the left.", "side_step", "left", travels=True),
    BenchMotion("walk", "A person walks forward.", "walk", travels=True),
    BenchMotion("march", "A person marches on the spot.", "march"),
    BenchMotion("turn_right", "A person turns around to the right.", "turn", "right"),
)
MOTIONS_BY_NAME = {motion.name: motion for motion in MOTIONS}
