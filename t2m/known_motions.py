"""What a checkpoint was taught, and whether a motion shows it: the words it knows, and examples to compare with."""
from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from t2m.motion import (across_hips, across_shoulders, bone_directions, bone_lengths, forward_vector, HEAD, LEFT_ANKLE, LEFT_KNEE,
                        LEFT_SHOULDER, LEFT_WRIST, MOTION_FPS, PELVIS, RIGHT_ANKLE, RIGHT_KNEE, RIGHT_SHOULDER, RIGHT_WRIST, unit)

# -------------------------------------------------------------------------------------------- words of what is asked for

WORDS = re.compile(r"[a-z]+(?:'[a-z]+)?")
SUFFIXES = ("ing", "ed", "es", "s")
SHORTEST_STEM = 3                         # letters
ADVERBS = ("back", "down", "side")        # 'comes back up', 'from side to side'; 'backs away' is a verb
COUNTS = {"once": 1, "twice": 2, "thrice": 3, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
          "nine": 9, "ten": 10}
UP_AND_DOWN = ("squat", "jump", "bow", "lunge", "crouch", "touch_toes", "hop")              # kinds a head's height counts
COUNTED = (*UP_AND_DOWN, "jumping_jack", "kick", "knee_raise", "punch", "clap", "raise_arm")
FEWEST = {"clap": 2}                      # times, where a text says no number; 1 of other kinds
GOES_ON = ("walk", "walk_backwards", "run", "side_step", "jog_in_place", "march")           # kinds that may end in a stride
LEADS_AWAY = ("walk", "run", "side_step")                                                    # kinds that can go to a side
COMES_UP = ("squat", "jump", "bow", "lunge", "touch_toes", "hop", "jumping_jack")            # kinds that end as they begin
HANDS_COME_BACK = ("wave", "clap", "throw", "punch", "salute", "shrug", "drink", "kick", "nod", "shake_head")       # kinds that end with the hands as they began
MOST, ENOUGH = 0.75, 4.0                  # of a phrase: share of its words, weighed by their rarity, and their sum
NEARLY, UNSAID = 2.5, 0.4                 # of `likeliest`: in sums of words' rarity; weight of words that a text has not
TURNED = {0.0: "not at all", 0.25: "a quarter round", 0.5: "half way round", 0.75: "three quarters round", 1.0: "once round"}

# In patterns that are laid out (re.VERBOSE) spaces mean nothing.
AT_ONCE = re.compile(r"""                 # what joins movements at the same time: 'while', 'as she', 'and', 'jumps | clapping'; not 'as high as he can'
    \b (while | as (?=\s+(?:he|she|they|it|you|i|we|the|an?)\b) (?!\s+\w+\s+(?:can|could|may|might)\b) | and |
        with (?=\s+(?:\w+\s+){0,2}arms\s+(?:crossed|folded)\b)) \b |
    (?<!\bby)(?<!\bof)(?<!\bin)(?<!\bto)(?<!\bat)(?<!\ba)(?<!\ban)(?<!\bthe)(?<!\bfor)(?<!\bfrom)(?<!\bwith)(?<!\bis)(?<!\bas)
    (?<!\bwhile)(?<!\band) \s+ (?=[a-z]+ing\b)
    """, re.IGNORECASE | re.VERBOSE)
LOOKS = re.compile(r"""                   # 'while looking angry', 'and smiles': of the face
    \s* ,? \s* \b (?:while|as\s+(?:he|she|they|it)|and) \s+ (?:(?:he|she|they|it|is|are|also)\s+)*
    (?P<look> (?:smil|grin|frown|scowl|blink|wink|laugh)\w* | (?:cries|crying) |
              look(?:s|ing)?\s+
              (?!(?:around|left|right|up|down|at|to|towards?|into|back|away|ahead|over|from|out|behind|for|sideways|straight|like|in)\b)
              (?:very\s+|so\s+)? \w+)""", re.IGNORECASE | re.VERBOSE)
NUMBER = rf"({'|'.join(COUNTS)}|\d+)"
SAID = "|".join(kind.replace("touch_toes", "toe touche?").replace("_", "[ -]?") for kind in COUNTED)
TIMES = re.compile(                       # 'three times', 'two deep squats', 'twice'
    rf"\b{NUMBER}\s+times?\b|\b{NUMBER}\s+(?:\w+\s+)?(?:{SAID})(?:s|es)?\b|\b(once|twice|thrice)\b", re.IGNORECASE)
ONE = re.compile(rf"\b(?:a|an|single)\s+(?:\w+\s+)?(?:{SAID})\b", re.IGNORECASE)       # 'a deep squat'
TURNING = re.compile(r"""                 # of the body: 'turns around', 'a full turn'; not 'turns the head' or 'rotates both arms'
    \b (?:(?P<whole>spin|spun|twirl|whirl|pirouett) | turn|rotat|pivot|swivel|revol|wheel|about-face) \w* \b
    (?! \s+ (?:(?:the|his|her|their|its|both|one|left|right|upper)\s+)*
        (?:arm|hand|wrist|head|body|fist|leg|foot|feet|shoulder))""", re.IGNORECASE | re.VERBOSE)
WAY = re.compile(r"\bto\s+(?:(?:the|his|her|their|its)\s+)?(left|right)\b|\b(left|right)wards?\b", re.IGNORECASE)       # 'runs to the left'
DEGREES = re.compile(r"\b(\d+)\s*(?:-?\s*degrees?\b|°)", re.IGNORECASE)
SHARES = (                                # (pattern, the share of a whole turn that it says), the first one found counts
    (re.compile(r"\bthree[ -]quarters?\b", re.IGNORECASE), 0.75),
    (re.compile(r"\bquarter\b", re.IGNORECASE), 0.25),
    (re.compile(r"\bhalf\b", re.IGNORECASE), 0.5),
    (re.compile(r"\b(?:full|fully|whole|complete|completely|all the way)\b", re.IGNORECASE), 1.0),
    (re.compile(r"\b(?:around|round|about|about-face)\b", re.IGNORECASE), 0.5))
OFTEN = re.compile(rf"""                  # 'two times', 'three quick spins', 'once'
    \b {NUMBER} \s+ (?:times? | (?:\w+\s+)? (?:turns|spins|twirls|pirouettes|rotations|revolutions)) \b | \b(once|twice|thrice)\b
    """, re.IGNORECASE | re.VERBOSE)

# ----------------------------------------------------------------------- movements of words that are known, which no kind is

BODY = {part: name for name, parts in (
    ("arm", "arm forearm hand fist finger palm elbow wrist thumb biceps"), ("leg", "leg foot feet knee ankle toe heel thigh"),
    ("head", "head face chin neck"), ("shoulder", "shoulder"), ("hip", "hip waist")) for part in parts.split()}
MOVED_IN = {part: frozenset(kinds.split()) for part, kinds in {       # part of the body: the kinds that move it
    "arm": ("wave raise_arm hands_up arms_out arm_circles clap punch throw point salute drink phone hands_on_hips cross_arms flex "
            "jumping_jack touch_toes stretch"),
    "leg": "knee_raise kick jumping_jack squat crouch lunge kneel touch_toes march jog_in_place hop jump side_step walk run stretch",
    "head": "nod shake_head bow", "shoulder": "shrug arm_circles", "hip": "dance hands_on_hips squat lunge stretch"}.items()}
KINDS_OF_A_PART = frozenset().union(*MOVED_IN.values(), ("turn", "spin", "stand", "sit", "walk_backwards"))
WHOSE = r"(?:(?:the|his|her|their|its|both|two|one|of|left|right|own)\s+)"
PARTS = rf"(?:{'|'.join(BODY)})"
MOVES_PART = re.compile(rf"\b(?P<verb>[a-z]+)\s+{WHOSE}*(?P<part>{PARTS})s?\b", re.IGNORECASE)         # 'crosses her legs'
DONE_WITH_PART = re.compile(              # 'kicks with his left hand'; not 'jumps with the arms out'
    rf"\b(?:with|using)\s+{WHOSE}+(?P<part>{PARTS})s?(?=\s*(?:$|[,.]|and\b|twice\b|\w+\s+times\b|\w+ly\b))", re.IGNORECASE)
OTHER_PLACES = "(?:head|heart|chest|shoulder|back|belly|stomach|knee|thigh|nose|cheek|chin|face|eye|neck|elbow|hair)s?"
OTHER_MOVEMENTS = tuple(re.compile(pattern, re.IGNORECASE | re.VERBOSE) for pattern in (
    rf"""\b (?:turn|mov|swing)\w* \s+ {WHOSE}? (?:head|face|eyes|gaze) \b                # 'turns her head to the left'
        (?!.{{0,40}}\b (?:side\s+to\s+side | (?:left|right|up|down|back)\s+and\s+\w+ | both\s+sides | no | yes) \b)""",
    rf"""\b (?:stand|walk)\w* \s+ (?:\w+\s+){{0,2}}? on \s+ (?:(?:only|just|tip) \s+)?               # 'stands on one leg'
        (?: (?:a\s+|{WHOSE})? (?:one|left|right)?\s* (?:leg|foot|toes|heels|hands|head) | tiptoes?) \b""",
    rf"""\b (?:left|right|one|a|his|her|their|the) \s+ (?:hand|fist|palm) \s+                # 'puts her hand on her hip'
        (?:on|onto|against) \s+ {WHOSE}* (?:hips?|waist|sides?) \b""",
    rf"\b (?:hand|fist|palm|finger|arm)s? \s+ (?:on|onto|against|behind) \s+ {WHOSE}* {OTHER_PLACES} \b",
    rf"\b touch\w* \s+ {WHOSE}* {OTHER_PLACES} \b",
    r"\b un(?:cross|fold|clench|clasp)\w* \b | \b (?:legs|ankles|feet|fingers) \s+ crossed \b"))
ALSO_MEANT = (                            # what words may mean together, whatever each means by itself
    (re.compile(r"\bhigh[ -]knees\b", re.IGNORECASE), frozenset({"knee_raise", "march"})),
    (re.compile(rf"\bmov\w*\s+{WHOSE}*hands\s+up\b", re.IGNORECASE), frozenset({"hands_up"})))


def stem(word: str) -> str:
    """A word without its inflection, roughly: waves, waved and waving are one."""
    for suffix in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= SHORTEST_STEM:
            word = word[:-len(suffix)]
            break
    if len(word) > SHORTEST_STEM and word[-1] == word[-2]:
        word = word[:-1]
    return word.removesuffix("e") if len(word) > SHORTEST_STEM else word


def stems(text: str) -> list[str]:
    return [stem(word) for word in WORDS.findall(text.lower())]


@dataclass(frozen=True, eq=False)
class Example:
    """A motion of the kinds that the checkpoint was trained on."""

    kind: str
    side: str | None
    joints: np.ndarray              # (T, 22, 3) metres, 20 fps
    real: bool = False              # a person's, not made by a procedure


@dataclass(frozen=True)
class KnownMotions:
    """What a checkpoint was trained to do: stems of the words that name a motion, and one example phrase per motion.

    Where it is listed: which kinds a verb or a noun may mean, the phrases of every kind, what is beyond the training though the
    words are known, and examples of every kind.
    """

    stems: frozenset[str]
    phrases: tuple[str, ...]
    verbs: Mapping[str, frozenset[str]] = field(default_factory=dict)       # stem: kinds
    senses: tuple[tuple[re.Pattern, frozenset[str]], ...] = ()              # patterns whose kinds go before all words
    vague: Mapping[str, frozenset[str]] = field(default_factory=dict)       # of verbs that say little by themselves
    nouns: Mapping[str, frozenset[str]] = field(default_factory=dict)
    wordings: Mapping[str, tuple[frozenset[str], ...]] = field(default_factory=dict)         # kind: the stems of each phrase
    beyond: tuple[re.Pattern, ...] = ()
    only_with: Mapping[str, re.Pattern] = field(default_factory=dict)       # kind: what real people's examples of it have to do with
    spread: Mapping[str, float] = field(default_factory=dict)               # kind: how far apart its motions are; of others, 1
    examples: tuple[Example, ...] = ()

    @classmethod
    def of(cls, words: Iterable[str], phrases: Iterable[str], verbs: Mapping[str, Iterable[str]] | None = None,
           vague: Mapping[str, Iterable[str]] | None = None, nouns: Mapping[str, Iterable[str]] | None = None, beyond: Iterable[str] = (),
           senses: Iterable[tuple[str, Iterable[str]]] = (), wordings: Mapping[str, Iterable[str]] | None = None,
           only_with: Mapping[str, str] | None = None, spread: Mapping[str, float] | None = None,
           examples: Iterable[Example] = ()) -> KnownMotions:
        """From the entries of known_motions.json, whose `beyond` are regular expressions, and examples."""
        return cls(frozenset(stem(word) for word in words), tuple(phrases), by_stem(verbs or {}),
                   tuple((re.compile(pattern, re.IGNORECASE), frozenset(kinds)) for pattern, kinds in senses),
                   by_stem(vague or {}), by_stem(nouns or {}),
                   {kind: tuple(frozenset(stems(phrase)) for phrase in listed) for kind, listed in (wordings or {}).items()},
                   tuple(re.compile(pattern, re.IGNORECASE) for pattern in beyond),
                   {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in (only_with or {}).items()}, spread or {}, tuple(examples))

    def covers(self, text: str) -> bool:
        """Whether a text has a word that names a motion, or most of a phrase: 'boots the ball with his foot'."""
        said = frozenset(stems(text))
        return not self.stems.isdisjoint(said) or any(self.weight(phrase & said) >= max(MOST * self.weight(phrase), ENOUGH)
                                                      for listed in self.wordings.values() for phrase in listed)

    def is_shown_by_people(self, kind: str, text: str) -> bool:
        """Whether real people's examples of a kind, if there are any, do it as a text may mean: theirs may be of a ball that is kicked."""
        return kind not in self.only_with or self.only_with[kind].search(text) is not None

    def beyond_training(self, text: str) -> str | None:
        """The words of a text that ask for more than was trained, or None."""
        other = [pattern for pattern in OTHER_MOVEMENTS if not any(map(pattern.search, self.phrases))]
        found = next((found[0] for pattern in (*self.beyond, *other) if (found := pattern.search(text))), None)
        return found or self.other_part(text)

    def other_part(self, text: str) -> str | None:
        """The words of a text that move a part of the body which no kind of their verb moves, as in 'crosses her legs'; or None."""
        for pattern in (MOVES_PART, DONE_WITH_PART):
            for found in pattern.finditer(text):
                verb = stem(found["verb"].lower()) if pattern is MOVES_PART else None
                kinds = self.verbs.get(verb, frozenset()) | self.vague.get(verb, frozenset()) if verb else self.meant(text)
                if kinds and kinds <= KINDS_OF_A_PART and kinds.isdisjoint(MOVED_IN[BODY[found["part"].lower()]]):
                    return found[0]
        return None

    def meant(self, text: str) -> frozenset[str]:
        """Kinds a text may mean: those all its verbs may mean, else any of them, and any that a vague verb may mean; by
        its nouns where it has no verb. Of these, those whose phrases are nearest to the text.
        """
        also = frozenset().union(*(kinds for pattern, kinds in ALSO_MEANT if pattern.search(text)))
        for pattern, kinds in self.senses:
            if pattern.search(text):
                return kinds | also
        verbs, vague, nouns = ([kinds[s] for s in stems(text) if s in kinds] for kinds in (self.verbs, self.vague, self.nouns))
        clear = frozenset.intersection(*verbs) or frozenset.union(*verbs) if verbs else frozenset()
        possible = clear.union(*vague, also) or frozenset().union(*nouns)
        return possible & self.likeliest(text) | also or possible

    def likeliest(self, text: str) -> frozenset[str]:
        """Kinds one of whose phrases shares nearly as many words with a text as any other's; none where no phrases are listed.

        A rare word says more than a common one, and a phrase's words that are not in the text speak a little against it.
        """
        said = frozenset(stems(text))
        shared = {kind: max(self.weight(phrase & said) - UNSAID * self.weight(phrase - said) for phrase in listed)
                  for kind, listed in self.wordings.items()}
        most = max(shared.values(), default=0.0)
        return frozenset(kind for kind, weight in shared.items() if weight >= most - NEARLY)

    def weight(self, words: frozenset[str]) -> float:
        """How much these words of the phrases say in all."""
        return sum(self.rarity[word] for word in words)

    @cached_property
    def rarity(self) -> dict[str, float]:
        """Of every stem in the phrases: ln(1 + kinds / kinds whose phrases have it)."""
        by_kind = [frozenset().union(*listed) for listed in self.wordings.values()]
        return {word: math.log(1 + len(by_kind) / sum(word in words for words in by_kind)) for word in frozenset().union(*by_kind)}

    def at_once(self, text: str) -> list[tuple[str, frozenset[str]]]:
        """The movements that a text wants at the same time, as in 'claps while she kicks': a verb, and the kinds it may mean.

        A movement that is not known is told in its own words, without kinds. Empty where one movement may be them all.
        """
        joined = AT_ONCE.split(f"while {text}")[1:]                                # 'while', a part, 'and', a part, ...
        found = []
        for number, (word, part) in enumerate(zip(joined[::2], joined[1::2], strict=True)):
            words = [each for each in WORDS.findall(part.lower()) if each not in ADVERBS]
            verbs = [verb for verb in words if stem(verb) in self.verbs or word not in ("and", None) and stem(verb) in self.vague]
            kinds = self.meant(part) if verbs else frozenset()
            if word is None and found and stem(found[-1][0]) not in self.verbs:
                found.pop()                                                            # 'trains | boxing', 'says, | pointing'
            is_movement = kinds and "stand" not in kinds
            is_unknown = number > 0 and word not in ("and", None) and not (verbs or self.covers(part))
            if is_movement or is_unknown:
                found.append((verbs[0] if kinds else part.strip(" ,."), kinds))
        together = frozenset.intersection(*(kinds for _, kinds in found)) if found else frozenset()
        return [] if len(found) < 2 or together else found


def asked_side(text: str) -> str | None:
    """The one side a text names, or None."""
    sides = set(WORDS.findall(text.lower())) & {"left", "right"}
    return sides.pop() if len(sides) == 1 else None


def asked_way(text: str) -> str | None:
    """The side a text wants the person to go to, or None."""
    found = WAY.search(text)
    return (found[1] or found[2]).lower() if found else None


def asked_count(text: str) -> int | None:
    """How often a text wants its motion done: "twice", "3 times", "a squat"; None where it does not say."""
    if found := TIMES.search(text):
        return counted(found)
    return 1 if ONE.search(text) else None


def counted(found: re.Match) -> int:
    """The number that a pattern found, as a word or in digits."""
    word = next(filter(None, found.groups())).lower()
    return COUNTS.get(word) or int(word)


def asked_turns(text: str) -> float | None:
    """How many whole turns of the body a text wants in all: "turns around twice" 1, "a quarter turn" 0.25, "spins twice" 2;
    None where it does not say how far.
    """
    turn, often, degrees = TURNING.search(text), OFTEN.search(text), DEGREES.search(text)
    if turn is None:
        return None
    share = float(degrees[1]) / 360 if degrees else next((share for words, share in SHARES if words.search(text)), None)
    if turn["whole"] and not degrees:
        share = 1.0 if often else None
    return None if share is None else share * (counted(often) if often else 1)


# ------------------------------------------------------------------------------------------------ what a motion shows

COMPARED_EVERY = 2                # frames: motions are compared at 10 fps
VELOCITY_SPAN = 4                 # frames over which velocities are taken
DIRECTION_SPEED = 0.2             # weight of a bone's turning, in seconds: radians per second against radians
ROOT_WEIGHTS = np.array([1.0, 1.0, 0.6, 1.0, 3.0])    # of velocity right, ahead, yaw speed, rise and height
SIDEWAYS = 0.4                    # metres to a side, from which on somebody has gone there
RISE = 0.08                       # metres the head rises in a jump
GUARD_REACH = 0.3                 # metres that a boxer's resting fists are ahead of the pelvis
HANDS_APART = 0.4                 # metres between wrists: further apart is no nearer to a clap
AWAY, BACK = 0.5, 0.3             # shares of the head's longest way: beyond the one it is out, within the other it is back
TURNED_NEARLY = 1 / 8             # of a turn: so far off is near enough
IN_VIEW = np.pi / 3               # so far somebody turns aside, and the face is still seen
FIRST_FRAMES, LAST_FRAMES = 4, 6
STANDING = 0.06                   # metres the lowest joint may be above the floor


def headings(joints: np.ndarray) -> np.ndarray:
    """Where the hips of a motion (T, 22, 3) face, (T,) radians, without jumps."""
    forward = forward_vector(across_hips(joints))                                     # (T, 3)
    return np.unwrap(np.arctan2(forward[:, 0], forward[:, 2]))


def turns_done(joints: np.ndarray) -> float:
    """How far the body of a motion (T, 22, 3) turns, in whole turns."""
    return float(np.ptp(headings(joints))) / (2 * np.pi)


def turned_away(text: str, kind: str, joints: np.ndarray) -> float:
    """How far beyond IN_VIEW a motion (T, 22, 3) of this kind turns from where it began, radians; 0 where the text or the kind turns."""
    if kind in ("turn", "spin", *LEADS_AWAY) or TURNING.search(text):
        return 0.0
    turned = headings(joints)
    return max(0.0, float(np.abs(turned - turned[0]).max()) - IN_VIEW)


def in_turns(turns: float) -> str:
    """0.5 -> 'half way round', to the nearest quarter."""
    turns = round(4 * turns) / 4
    return TURNED.get(turns, f"{turns:g} times round")


def miscount(text: str, kind: str, joints: np.ndarray) -> str | None:
    """What a motion (T, 22, 3) of this kind does another number of times, turns another part of the way round, or does not go the
    way, that a text wants; None where it fits.
    """
    if (way := asked_way(text)) and kind in LEADS_AWAY:
        aside = float(joints[-1, PELVIS, 0] - joints[0, PELVIS, 0]) * (1 if way == "left" else -1)            # the person's left is +x
        return None if aside > SIDEWAYS else f"does not go to the {way}"
    asked = asked_turns(text)
    if asked is not None and kind in ("turn", "spin"):
        turned = turns_done(joints)
        return None if abs(turned - asked) <= max(TURNED_NEARLY, asked / 6) else f"turns {in_turns(turned)}, not {in_turns(asked)}"
    done, count = times_done(kind, joints), asked_count(text)
    wrong = done is not None and (done < FEWEST.get(kind, 1) if count is None else done != count)
    return f"does this {done} time{'s' * (done != 1)}, not {count or FEWEST.get(kind, 1)}" if wrong else None


def times_done(kind: str, joints: np.ndarray) -> int | None:
    """How often a motion (T, 22, 3) of this kind does it: whole turns of a spin, else how often what it moves goes out and comes
    back; None for kinds that this does not count.
    """
    if kind == "spin":
        return round(turns_done(joints))
    if kind not in COUNTED:
        return None
    gone = ways_out(kind, joints)                                                        # (S, T)
    gone = gone - np.median(gone[:, :FIRST_FRAMES], axis=1, keepdims=True)
    if kind in UP_AND_DOWN and gone.max() <= RISE:
        gone = -gone
    longest = max(gone.max(), RISE)
    count = 0
    for track in gone:
        is_out = False
        for metres in track:
            if not is_out and metres > AWAY * longest:
                count, is_out = count + 1, True
            elif metres <= BACK * longest:
                is_out = False
    return count


def ways_out(kind: str, joints: np.ndarray) -> np.ndarray:
    """Metres that what a kind moves is out, (S, T), a row for each limb that does it by itself.

    Of COUNTED kinds: feet from each other, an ankle, a knee or the higher wrist up, a fist ahead of a boxer's guard, hands to each other.
    """
    wrists, shoulders = joints[:, [LEFT_WRIST, RIGHT_WRIST]], joints[:, [LEFT_SHOULDER, RIGHT_SHOULDER]]             # (T, 2, 3)
    if kind == "jumping_jack":
        return np.linalg.norm(joints[:, LEFT_ANKLE] - joints[:, RIGHT_ANKLE], axis=-1)[None]
    if kind in ("kick", "knee_raise"):
        return joints[:, [LEFT_ANKLE, RIGHT_ANKLE] if kind == "kick" else [LEFT_KNEE, RIGHT_KNEE], 1].T
    if kind == "punch":
        ahead = np.einsum("tsc,tc->st", wrists - joints[:, None, PELVIS], forward_vector(across_hips(joints)))      # (2, T)
        return np.maximum(ahead, GUARD_REACH)
    if kind == "clap":
        return -np.minimum(np.linalg.norm(wrists[:, 0] - wrists[:, 1], axis=-1), HANDS_APART)[None]
    if kind == "raise_arm":
        return (wrists - shoulders)[..., 1].max(axis=1)[None]
    return joints[:, HEAD, 1][None]


def unrest(kind: str, joints: np.ndarray) -> float:
    """How far from rest a motion (T, 22, 3) of this kind ends: metres per second of its joints, unless the kind goes on and on,
    tenths of metres that it is off the floor, or lower or higher than it began where the kind comes up again, and half metres that a
    hand is from where it began where the kind lets it down again.
    """
    end = joints[-LAST_FRAMES:]
    speed = 0.0 if kind in GOES_ON else np.linalg.norm(np.diff(end, axis=0), axis=-1).mean() * MOTION_FPS
    off_floor = max(0.0, end[-1, :, 1].min() - joints[..., 1].min() - STANDING)
    away = abs(end[-1, HEAD, 1] - joints[0, HEAD, 1]) if kind in COMES_UP else 0.0
    hands = joints[[0, -1]][:, [LEFT_WRIST, RIGHT_WRIST]] - joints[[0, -1]][:, [PELVIS]]                   # (2, 2, 3)
    up = np.linalg.norm(hands[1] - hands[0], axis=-1).max() if kind in HANDS_COME_BACK else 0.0
    return float(speed + 10 * (off_floor + away) + 2 * up)


def by_stem(kinds: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    """Kinds by stem; words of one stem share theirs."""
    shared: dict[str, frozenset[str]] = {}
    for word, listed in kinds.items():
        shared[stem(word)] = shared.get(stem(word), frozenset()) | frozenset(listed)
    return shared


def pose_descriptors(joints: np.ndarray) -> np.ndarray:
    """Rows that are the same for every place, heading and body size. joints: (T, 22, 3) at 20 fps -> (F, D) float32

    Bone directions seen by the person, how fast they change, and the pelvis: velocity, turning and height.
    """
    joints = np.asarray(joints, dtype=np.float64)
    forward = unit(forward_vector(across_hips(joints) + across_shoulders(joints)))    # (T, 3)
    left = np.cross((0.0, 1.0, 0.0), forward)                                         # (T, 3)
    basis = np.stack([left, np.broadcast_to((0.0, 1.0, 0.0), left.shape), forward], axis=1)        # (T, 3, 3)
    directions = np.einsum("tij,tkj->tki", basis, bone_directions(joints)[:, 1:])     # (T, 21, 3)
    body = bone_lengths(joints).sum()
    pelvis = joints[:, PELVIS] / body                                                 # (T, 3) in body lengths
    velocity = np.einsum("tij,tj->ti", basis, speed(pelvis))                          # (T, 3)
    yaw_speed = speed(np.unwrap(np.arctan2(forward[:, 0], forward[:, 2]))[:, None])   # (T, 1)
    root = np.concatenate([10 * velocity[:, [0, 2]], yaw_speed, 10 * velocity[:, [1]],
                           10 * (pelvis[:, [1]] - joints[:, :, 1].min() / body)], axis=1)           # (T, 5)
    poses = directions.reshape(len(joints), -1)                                       # (T, 63)
    rows = np.concatenate([poses, DIRECTION_SPEED * speed(poses), ROOT_WEIGHTS * root], axis=1)
    return rows[::COMPARED_EVERY].astype(np.float32)


def speed(track: np.ndarray) -> np.ndarray:
    """Change per second over VELOCITY_SPAN frames, centred. (T, D) -> (T, D)"""
    half = VELOCITY_SPAN // 2
    padded = np.concatenate([track[:1].repeat(half, 0), track, track[-1:].repeat(half, 0)])
    return (padded[2 * half:] - padded[:-2 * half]) * MOTION_FPS / (2 * half)


@dataclass(frozen=True)
class MotionBank:
    """Known motions to compare with: every kind and side, several times."""

    rows: np.ndarray                                    # (N, D) all samples' descriptors, one after another
    starts: np.ndarray                                  # (S + 1,) first row of each sample
    labels: tuple[tuple[str, str | None], ...]          # S pairs of kind and side

    @classmethod
    def of(cls, samples: Iterable[tuple[str, str | None, np.ndarray]]) -> MotionBank:
        """From triples of kind, side and joints (T, 22, 3) at 20 fps."""
        samples = list(samples)
        rows = [pose_descriptors(joints) for _, _, joints in samples]
        return cls(np.concatenate(rows), np.cumsum([0, *map(len, rows)]),
                   tuple((kind, side) for kind, side, _ in samples))

    @cached_property
    def lengths(self) -> np.ndarray:
        """(N,) of the rows, squared."""
        return (self.rows**2).sum(axis=1)

    @cached_property
    def members(self) -> dict[tuple[str, str | None], list[int]]:
        """The samples of each kind and side."""
        return {label: [index for index, other in enumerate(self.labels) if other == label] for label in dict.fromkeys(self.labels)}


def motion_costs(joints: np.ndarray, bank: MotionBank) -> dict[tuple[str, str | None], float]:
    """How badly each kind and side fits a motion (T, 22, 3): a mean squared distance of descriptors, both ways.

    One way, from each moment of the motion to the nearest moment of any sample; the other way, from each moment of the
    best sample to the nearest of the motion. Order and tempo do not matter beyond the speeds themselves.
    """
    mine = pose_descriptors(joints)                                                   # (F, D)
    distance = np.maximum(
        (mine**2).sum(1)[:, None] - 2 * mine @ bank.rows.T + bank.lengths, 0)         # (F, N)
    to_sample = np.minimum.reduceat(distance, bank.starts[:-1], axis=1)               # (F, S)
    covered = np.add.reduceat(distance.min(axis=0), bank.starts[:-1]) / np.diff(bank.starts)        # (S,)
    return {label: float(to_sample[:, members].min(axis=1).mean() + covered[members].min()) for label, members in bank.members.items()}
