"""Who does what: the 20 motions in words, the procedural people, and the clips as (identity, motion) pairs."""
from __future__ import annotations

import csv
import io
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from media.files import entries
from synthetic.body import Body
from synthetic.character import Character
from synthetic.clips import following, HELD_OUT_SEED, reference_pose, sample_camera, SyntheticClip
from synthetic.motions import MotionSample, sample_motion
from t2m.camera import Camera
from t2m.motion import Motion
from t2m.project import resampled

SEPARATOR = "__"
FIRST_SEED = HELD_OUT_SEED + 700_000        # people of no other evaluation
PICTURE_YAW = 0.25                          # radians the person of the picture looks aside, at most
OPPOSITE = {"left": "right", "right": "left"}                # of a motion's side
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True)
class BenchMotion:
    """One of the benchmark's motions."""

    name: str                   # in file names and tables
    prompt: str                 # what a system is given
    kind: str                   # of synthetic.KINDS
    side: str | None = None     # "left", "right" or "both"; None where the kind has no sides
    travels: bool = False       # leads away from the spot: the camera follows

    @property
    def wordings(self) -> tuple[str, ...]:
        """The prompt, and the same motion in other people's words; none of those is a caption of the training data."""
        return self.prompt, *OTHER_WORDINGS.get(self.name, ())


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
OTHER_WORDINGS = {
    "wave_right": ("Hi there, over here! His right arm is up and swings from side to side.",
                   "The girl at the window signals hello, right palm moving to and fro."),
    "wave_left": ("Her left arm is up high and swings from side to side in greeting.",
                  "A sailor signals farewell from the ship, left palm moving to and fro."),
    "hands_up": ("Freeze! Both palms go up beside the head.",
                 "The suspect gives himself up, palms in the air."),
    "arms_out": ("He makes a T with his body.",
                 "Like a scarecrow she holds both arms level with the floor."),
    "arm_circles": ("Big windmills with both arms.",
                    "Warming up the shoulders, both arms go round and round."),
    "clap": ("Bravo! She brings her palms together over and over.",
             "The audience member applauds the band."),
    "punch_right": ("A boxer lands a right cross.",
                    "He strikes out straight ahead, his right knuckles first."),
    "throw_left": ("The left-handed pitcher hurls it far away.",
                   "With her left arm she lobs a stone across the lake."),
    "salute_right": ("Yes, sir! The private's right fingertips go to the brow.",
                     "A pilot pays respect to the flag, right hand at the temple."),
    "hands_on_hips": ("Arms akimbo, she looks annoyed.",
                      "A superhero pose: fists at the waist, elbows wide."),
    "squat": ("Knees bend deep, thighs level, and up again.",
              "Leg day: down until the seat nearly meets the heels, then back up."),
    "jump": ("Both feet leave the ground at once.",
             "For joy the boy leaps into the air."),
    "jumping_jack": ("Star jumps! Feet apart and arms overhead, then together.",
                     "The gym class does side-straddle hops."),
    "kick_right": ("The footballer boots it, right foot first.",
                   "A fighter strikes high with his right shin."),
    "kick_left": ("The footballer boots it, left foot first.",
                  "A fighter strikes high with her left shin."),
    "bow": ("The butler bends deeply at the waist in respect.",
            "At the curtain call the actor folds forward to thank the crowd."),
    "side_step_left": ("She shuffles crabwise to her left.",
                       "Without turning, he edges over to his left-hand side."),
    "walk": ("My grandmother strolls towards us.",
             "He ambles ahead, one foot after the other."),
    "march": ("A toy soldier lifts its knees high without getting anywhere.",
              "Left, right, left, right: the recruit keeps step where he is."),
    "turn_right": ("Somebody calls, and she swivels about over her right shoulder.",
                   "About-face by the right, says the sergeant, and he does it."),
}
MOTIONS_BY_NAME = {motion.name: motion for motion in MOTIONS}


@dataclass(frozen=True)
class Cell:
    """One clip of the benchmark; `name` is its file name without the ending."""

    identity: str
    motion: BenchMotion
    other: BenchMotion              # drawn at random, never the prompted one

    @property
    def name(self) -> str:
        return f"{self.identity}{SEPARATOR}{self.motion.name}"


def chosen_motions(names: str) -> tuple[BenchMotion, ...]:
    """"all", or motions of the benchmark separated by commas."""
    if names.strip() == "all":
        return MOTIONS
    listed = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in listed if name not in MOTIONS_BY_NAME]
    if unknown or not listed:
        raise ValueError(f"motions: expected 'all' or names separated by commas (found '{(unknown or [names])[0]}'): "
                         f"there are {', '.join(MOTIONS_BY_NAME)}")
    return tuple(MOTIONS_BY_NAME[name] for name in dict.fromkeys(listed))


def balanced_cells(identities: Sequence[str], motions: Sequence[BenchMotion], num_clips: int, seed: int) -> list[Cell]:
    """The first `num_clips` pairs (0: all), each once; every beginning has each identity and each motion alike often.

    The other motion is never a clip's own; where only one is measured, it is drawn from the whole benchmark.
    """
    if not identities:
        raise ValueError("identities: expected at least one (found none)")
    total, lap = len(identities) * len(motions), math.lcm(len(identities), len(motions))
    if not 0 <= num_clips <= total:
        raise ValueError(f"num_clips: expected 0 (all) to {total} = {len(identities)} identities x {len(motions)} "
                         f"motions (found {num_clips})")
    rng = np.random.default_rng([seed, 0x0B])
    foreign = motions if len(motions) > 1 else [motion for motion in MOTIONS if motion not in motions]
    cells = []
    for index in range(num_clips or total):
        motion = (index + index // lap) % len(motions)
        others = [other for other in foreign if other is not motions[motion]]
        cells.append(Cell(identities[index % len(identities)], motions[motion], others[rng.integers(len(others))]))
    return cells


def prompts_table(cells: Sequence[Cell], pictures: dict[str, str], num_frames: int, fps: float,
                  size: tuple[int, int]) -> str:
    """prompts.csv: what another system is to be given, and what its file must be called. size: (height, width)"""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("file", "identity", "picture", "motion", "prompt", "frames", "fps", "height", "width"))
    for cell in cells:
        table.writerow((f"{cell.name}.mp4", cell.identity, pictures[cell.identity], cell.motion.name,
                        cell.motion.prompt, num_frames, f"{fps:g}", *size))
    return text.getvalue()


@dataclass(frozen=True)
class Person:
    """A procedural identity: looks, how they stand in their picture, and the cameras of picture and videos."""

    name: str
    seed: int
    character: Character
    pose: tuple[np.ndarray, np.ndarray]     # joints (22, 3) metres, hand curl (2,)
    picture_camera: Camera
    camera: Camera                          # of the true videos: from the front, as a projected motion is seen


def person(number: int, seed: int) -> Person:
    """The identity of a number; `seed` moves to other people, 0 is the published benchmark."""
    own_seed = FIRST_SEED + 1000 * seed + number
    rng = np.random.default_rng([own_seed, 0xF1E8])
    character = Character.sample(rng)
    camera = replace(sample_camera(rng), yaw=0.0)
    picture_camera = replace(camera, yaw=rng.uniform(-PICTURE_YAW, PICTURE_YAW))
    return Person(f"person{number:02d}", own_seed, character, reference_pose(character, rng), picture_camera, camera)


def pictures_in(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by identity, which is the file's name without its ending."""
    if not folder.is_dir():
        raise ValueError(f"identities={folder}: expected a folder of pictures (found none): check the path")
    found: dict[str, Path] = {}
    for path in entries(folder):
        if path.suffix.lower() not in PICTURES:
            continue
        if path.stem in found:
            raise ValueError(f"{path}: expected one picture for each name (found {found[path.stem].name} too): "
                             "rename one")
        if SEPARATOR in path.stem:
            raise ValueError(f"{path}: expected a name without '{SEPARATOR}', which parts identity and motion: "
                             "rename it")
        found[path.stem] = path
    if not found:
        raise ValueError(f"identities={folder}: expected pictures ({', '.join(PICTURES)}) (found none)")
    return found


def performance(person: Person, motion: BenchMotion, seconds: float, body: Body) -> MotionSample:
    """The motion as this person does it, in their tempo and size, but with the bones of `body`."""
    rng = np.random.default_rng([person.seed, zlib.crc32(motion.name.encode())])
    return sample_motion(motion.kind, seconds, rng, side=motion.side, body=body)


def driving_motion(person: Person, motion: BenchMotion, seconds: float) -> Motion:
    """What a perfect text-to-motion model would give: the true motion on the standard body, (T, 22, 3) at 20 fps."""
    return performance(person, motion, seconds, Body()).motion


def true_clip(person: Person, motion: BenchMotion, seconds: float, fps: float, size: tuple[int, int]) -> SyntheticClip:
    """The person's own video, skeleton and picture; round(seconds * fps) frames, rendered when first asked for."""
    sample = performance(person, motion, seconds, person.character.body)
    clip_motion = Motion(resampled(sample.motion, fps), fps)
    picked = np.round(np.arange(len(clip_motion)) * sample.motion.fps / fps).astype(int).clip(0, len(sample.curl) - 1)
    camera = following(person.camera, clip_motion) if motion.travels else person.camera
    return SyntheticClip(person.character, camera, person.picture_camera, person.pose, clip_motion, sample.curl[picked],
                         motion.prompt, motion.kind, motion.side, sample.repetitions, size)


def num_frames_of(seconds: float, fps: float) -> int:
    """Frames of a clip, as projection counts them."""
    return max(round(seconds * fps), 1)


@dataclass(frozen=True)
class Phrasing:
    """A motion in words of a user's own, and what it may be understood as."""

    text: str                   # what a user types
    kinds: tuple[str, ...]      # names of synthetic.KINDS that count as understood: several where words cannot tell
    side: str | None = None     # "left" or "right": the person's own, None where the motion has no side


PHRASINGS = (
    Phrasing("Nothing much happens, she waits there with her arms hanging down.", ("stand",)),
    Phrasing("An elderly man remains motionless on the spot.", ("stand",)),
    Phrasing("My grandmother strolls ahead at an easy pace.", ("walk",)),
    Phrasing("somebody going for a casual walk towards the camera", ("walk",)),
    Phrasing("He backs away slowly, step after step.", ("walk_backwards",)),
    Phrasing("She is in a hurry and runs as fast as she can.", ("run",)),
    Phrasing("an athlete out for his morning jog", ("run", "jog_in_place")),
    Phrasing("A soldier on parade, knees coming up high with every step.", ("march",)),
    Phrasing("The guy greets someone with his left arm held high and moving from side to side.", ("wave",), "left"),
    Phrasing("the woman says hello to us with her right hand", ("wave",), "right"),
    Phrasing("A kid waves goodbye, right arm up.", ("wave",), "right"),
    Phrasing("Both of his hands are in the air, waving to the crowd.", ("wave",)),
    Phrasing("She goes down with bent knees and comes back up.", ("squat",)),
    Phrasing("doing squats at the gym", ("squat",)),
    Phrasing("He leaps into the air with both feet.", ("jump",)),
    Phrasing("a girl hopping up and down for joy, feet together", ("jump",)),
    Phrasing("Star jumps! Legs apart and arms overhead, then together again.", ("jumping_jack",)),
    Phrasing("a man warms up with jumping jacks", ("jumping_jack",)),
    Phrasing("A footballer boots the ball with his right foot.", ("kick",), "right"),
    Phrasing("She swings her left leg forward in a hard kick.", ("kick",), "left"),
    Phrasing("the fighter lands a kick with the right leg", ("kick",), "right"),
    Phrasing("A boxer throws a jab with his left fist.", ("punch",), "left"),
    Phrasing("He hits out straight ahead, right fist first.", ("punch",), "right"),
    Phrasing("She gives the performers a round of applause.", ("clap",)),
    Phrasing("a boy claps his hands in front of his chest", ("clap",)),
    Phrasing("The actor takes a bow at the end of the show.", ("bow",)),
    Phrasing("A polite gentleman bends forward at the waist to greet his guests.", ("bow",)),
    Phrasing("Someone calls him from behind, so he turns around over his left shoulder.", ("turn",), "left"),
    Phrasing("She rotates to the right until she faces the other way.", ("turn",), "right"),
    Phrasing("The student puts up her right hand to ask a question.", ("raise_arm",), "right"),
    Phrasing("he lifts the left arm straight up and holds it there", ("raise_arm",), "left"),
    Phrasing("A robber shouts freeze and she throws both hands up in surrender.", ("hands_up",)),
    Phrasing("They stand like a scarecrow with the arms stretched out sideways.", ("arms_out",)),
    Phrasing("a character in a T pose", ("arms_out",)),
    Phrasing("He shuffles sideways to his left.", ("side_step",), "left"),
    Phrasing("She takes a few steps to the right without turning.", ("side_step",), "right"),
    Phrasing("A teenager grooves to the music at a party.", ("dance",)),
    Phrasing("the couple's uncle shows off his dance moves", ("dance",)),
    Phrasing("Tired, he lowers himself onto a chair.", ("sit",)),
    Phrasing("A woman takes a seat.", ("sit",)),
    Phrasing("Leaning over sideways to the left to stretch her waist.", ("stretch",), "left"),
    Phrasing("He tilts his upper body to the right side, arm overhead, and feels the stretch.", ("stretch",), "right"),
    Phrasing("The pitcher hurls the ball with his right arm.", ("throw",), "right"),
    Phrasing("She tosses a stone far away, left-handed.", ("throw",), "left"),
    Phrasing("swinging both arms round and round in big circles", ("arm_circles",)),
    Phrasing("A fencer lunges, her right leg far in front.", ("lunge",), "right"),
    Phrasing("he takes one long stride with the left leg and sinks into a lunge", ("lunge",), "left"),
    Phrasing("The toddler says no by shaking his head.", ("shake_head",)),
    Phrasing("She moves her head up and down to say yes.", ("nod",)),
    Phrasing("A knight gets down on one knee before the queen.", ("kneel",)),
    Phrasing("He crouches low as if hiding behind a wall.", ("crouch",)),
    Phrasing("A child balances and hops on the left foot only.", ("hop",), "left"),
    Phrasing("bouncing on one leg, the right one", ("hop",), "right"),
    Phrasing("The guide points ahead with her right arm.", ("point",), "right"),
    Phrasing("\"Over there!\" he says, pointing with the left hand.", ("point",), "left"),
    Phrasing("An annoyed mother puts her hands on her hips.", ("hands_on_hips",)),
    Phrasing("He takes a sip from the cup in his right hand.", ("drink",), "right"),
    Phrasing("She holds the phone to her left ear and talks.", ("phone",), "left"),
    Phrasing("A ballerina twirls around and around on the spot.", ("spin",)),
    Phrasing("the skater does a full spin", ("spin", "turn")),
    Phrasing("She salutes the officer with her right hand.", ("salute",), "right"),
    Phrasing("two quick punches, one with each hand", ("punch",)),
    Phrasing("The cheerleader stretches both arms up over her head.", ("raise_arm", "stretch")),
)
