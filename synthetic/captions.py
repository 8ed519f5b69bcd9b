"""Captions in many phrasings: subject x verb form x verb phrase x count or manner, with the side always said."""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthetic.phrases import OBJECTS, PHRASES

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
QUICKLY = ("quickly", "fast", "rapidly", "briskly", "energetically", "in a hurry", "with a lot of energy")
MANNERS = ("happily", "casually", "again", "now", "in front of the camera", "in the middle of the room", "with a smile",
           "alone", "calmly", "in a relaxed way", "on the spot", "for the camera")
MOVING = ("walk", "walk_backwards", "run", "side_step")          # "on the spot" would be untrue
DURATIONS = ("for a while", "for a few seconds", "for a moment", "for some time", "the whole time")
DOUBLED = frozenset((
    "run jog clap swig cup hop sit spin step squat stop get put cut dip hit jab bob nod strut trot flag chat drop wrap "
    "hug grab set tip split sip spar lob skip plop bid slap swim shrug wag sidestep goose-step").split())
GERUNDS = {"be": "being", "tie": "tying", "boogie": "boogying"}
THIRD_PERSONS = {"be": "is", "have": "has"}
PEOPLE = tuple("""
accountant acrobat aunt baker barber bartender beginner bride bricklayer brother builder butcher butler captain carpenter
cashier champion chef chief clerk climber clown colleague comedian commander composer conductor cook cousin cowboy
creature customer cyclist daughter dentist designer detective diver doctor doll driver drummer editor elder elf emperor
engineer explorer farmer father firefighter fisherman florist friend gardener giant grandfather granddad grandma groom
hairdresser hiker host housewife husband inspector instructor janitor jeweller journalist judge juggler king kid lawyer
librarian lifeguard magician mailman manager mechanic mermaid miner monk mother musician nanny neighbour nephew niece nun
nurse opponent painter parent passenger patient pedestrian pensioner philosopher photographer physicist pilot pirate
plumber poet policeman politician president priest prince princess prisoner professor programmer queen referee reporter
robot rider sculptor scientist secretary senator shepherd shopkeeper singer sister skier snowman son stranger surfer
surgeon tailor tenant tutor twin umpire uncle undertaker vampire veteran villager violinist visitor waiter waitress
watchman wife witch wizard worker writer youngster zombie adult baby toddler teenager student pupil volunteer trainee
stranger gentleman grandson grandmother bystander commuter cartoon avatar mannequin puppet figure silhouette
""".split())
ADJECTIVES = tuple("""
old young tall short small little big friendly angry sad happy shy brave tired sleepy famous rich poor clever silly cute
strong weak bearded blonde bald elegant cheerful lonely proud nervous excited bored calm busy lazy elderly middle-aged
cartoonish athletic slim chubby barefoot masked drunk polite rude curious grumpy playful serious
""".split())
SCENES = (
    "in the park", "on the beach", "at home", "in the kitchen", "on the street", "at the gym", "on stage",
    "in the garden", "in the office", "under a tree", "near the window", "in the rain", "at night", "in the morning",
    "wearing a red shirt", "wearing a hat", "in a blue dress", "with long hair", "in jeans", "with glasses",
    "in front of a wall", "in front of the camera", "in a studio", "in slow motion", "very slowly", "gently",
    "quickly", "with enthusiasm", "proudly", "nervously", "sadly", "angrily", "politely", "confidently", "carefully",
    "a little", "a bit", "several times", "over and over", "again and again", "for some seconds", "for the audience",
    "as if tired", "like a robot", "while smiling", "while looking ahead", "and smiles", "and then relaxes", "please",
    "in the middle of the night", "because of the music", "to show how it is done", "to greet the neighbours",
    "during the lesson", "after a long day", "before dinner", "with all their might", "as the crowd cheers",
    "in a friendly way", "without hurry", "without a word", "with closed eyes", "to amuse the children",
    "to the rhythm of a song", "next to a car", "behind the fence", "between two houses", "in an empty hall",
    "on a sunny day", "in the snow", "wearing a long coat", "dressed in black", "at a wedding", "at the airport",
    "at school", "in the living room", "for the first time", "for exercise", "for fun", "out of habit", "on command",
    "when the bell rings", "when asked", "as part of the training", "as a warm-up", "as a joke", "in full view",
)


@dataclass(frozen=True)
class Subject:
    """Who does it, and the words that agree with them."""

    name: str
    they: str = "they"
    their: str = "their"
    them_self: str = "themselves"
    plural: bool = False            # the verb after the name itself is plural

    def words(self) -> dict[str, str]:
        singular = self.they in ("he", "she")
        return {"they": self.they, "their": self.their, "them_self": self.them_self,
                "are": "is" if singular else "are", "have": "has" if singular else "have"}


YOU = Subject("", "you", "your", "yourself", plural=True)
NEUTRAL = tuple(Subject(name) for name in (
    "a person", "a person", "a person", "someone", "somebody", "the person", "the figure", "a human", "this person",
    "the character", "the dancer", "an actor", "a performer", "the model", "a player", "an athlete"))
MEN = tuple(Subject(name, "he", "his", "himself") for name in (
    "a man", "the man", "he", "a guy", "the boy", "a young man", "a gentleman", "an old man"))
WOMEN = tuple(Subject(name, "she", "her", "herself") for name in (
    "a woman", "the woman", "she", "a girl", "the lady", "a young woman", "a female dancer"))
THEY = (Subject("they", plural=True),)
SUBJECTS = NEUTRAL + MEN + WOMEN + THEY


def caption(kind: str, side: str | None, repetitions: int | None, rng: np.random.Generator, *,
            brisk: bool = False, name_side: bool = True) -> str:
    """One sentence or fragment saying that somebody does `kind`, on `side`, so many times (None: uncounted).

    The side is always said, unless `name_side` is False: then one side's wording leaves open which it is.
    """
    named = name_side or side not in ("left", "right")
    phrase = pick(phrases_of(kind, side) if named else unsided_phrases(kind, side), rng)
    counted_side = side if named else None
    ending = ""
    if repetitions is not None and repetitions < len(NUMBERS) and rng.random() < 0.4:
        if kind in OBJECTS and rng.random() < 0.5:
            phrase = _counted_object(kind, counted_side, repetitions, rng)
        else:
            ending = " " + _times(repetitions, rng)
    elif brisk and rng.random() < 0.4:
        ending = " " + pick(QUICKLY, rng)
    elif rng.random() < 0.15:
        ending = " " + pick([m for m in MANNERS if kind not in MOVING or m != "on the spot"], rng)
    elif repetitions is None and rng.random() < 0.12:
        ending = " " + pick(DURATIONS, rng)
    sentence = _sentence(phrase + ending, side, rng)
    if rng.random() < 0.25:
        sentence = sentence[0].upper() + sentence[1:] + "."
    return sentence


def phrases_of(kind: str, side: str | None) -> tuple[str, ...]:
    """The verb phrases for a kind done with a side; kinds that sound different with both sides have two lists."""
    listed = f"{kind}:{'both' if side == 'both' else 'one'}"
    return PHRASES[listed if listed in PHRASES else kind]


def unsided_phrases(kind: str, side: str) -> tuple[str, ...]:
    """The phrases for one side with the side left out: "*wave", "*kneel on one knee", "*turn"."""
    shortened = []
    for phrase in phrases_of(kind, side):
        bare = re.sub(r" (with|using|from|in) (the|\{their\}) \{side\} \w+$", "", phrase)
        shortened.append(bare)
        if " one" not in phrase:
            phrase = re.sub(r"( (to|toward|on) (the|\{their\}))? \{side\}( side)?$", "", phrase)
            phrase = re.sub(r"(the|\{their\}) \{side\} (hand|arm|fist|leg|foot|knee|ear)\b", r"one \2", phrase)
            shortened.append(re.sub(r"(?<! to the) \{side\} (?=\w)", " ", phrase))
    return tuple(dict.fromkeys(phrase for phrase in shortened if "{side}" not in phrase))


def third_person(verb: str) -> str:
    """'wave' to 'waves'."""
    if verb in THIRD_PERSONS:
        return THIRD_PERSONS[verb]
    if re.search(r"(s|x|z|ch|sh|o)$", verb):
        return verb + "es"
    if re.search(r"[^aeiou]y$", verb):
        return verb[:-1] + "ies"
    return verb + "s"


def gerund(verb: str) -> str:
    """'wave' to 'waving'."""
    if verb in GERUNDS:
        return GERUNDS[verb]
    if verb in DOUBLED:
        return verb + verb[-1] + "ing"
    if verb.endswith("e") and not verb.endswith("ee"):
        return verb[:-1] + "ing"
    return verb + "ing"


def _sentence(phrase: str, side: str | None, rng: np.random.Generator) -> str:
    """The phrase in one of the ways in which people write prompts."""
    subject = pick(SUBJECTS, rng)
    is_, starts, begins, keeps = (("are", "start", "begin", "keep") if subject.plural
                                  else ("is", "starts", "begins", "keeps"))
    finite = str if subject.plural else third_person
    forms = (                                       # weight, text before the phrase, verb form, whose words
        (0.42, f"{subject.name} ", finite, subject),
        (0.26, f"{subject.name} {is_} ", gerund, subject),
        (0.08, "", gerund, subject),
        (0.08, "", str, YOU),
        (0.04, f"{subject.name} {starts} ", gerund, subject),
        (0.04, f"{subject.name} {begins} to ", str, subject),
        (0.03, f"{subject.name} {keeps} ", gerund, subject),
        (0.03, f"{subject.name} can be seen ", gerund, subject),
        (0.02, f"a video of {'him' if subject.name == 'he' else 'her' if subject.name == 'she' else subject.name} ",
         gerund, subject),
    )
    weights = np.array([form[0] if not (form[1].endswith(f"{keeps} ") and phrase.startswith("*keep")) else 0.0
                        for form in forms])
    _, before, inflect, who = forms[rng.choice(len(forms), p=weights / weights.sum())]
    before = before.replace("video of they", "video of them")
    phrase = re.sub(r"\*([\w-]+)", lambda match: inflect(match[1]), phrase)
    return " ".join((before + phrase.format(side=side or "", **who.words())).split())


def _counted_object(kind: str, side: str | None, repetitions: int, rng: np.random.Generator) -> str:
    noun = OBJECTS[kind][repetitions > 1].replace("{side}", side if side in ("left", "right") else "")
    verb = pick(("*do", "*perform", "*make", "*complete"), rng)
    return f"{verb} {_number(repetitions, rng)} {noun}"


def _times(repetitions: int, rng: np.random.Generator) -> str:
    if repetitions <= 2 and rng.random() < 0.75:
        return ("once", "twice")[repetitions - 1]
    return f"{_number(repetitions, rng)} time{'s' if repetitions > 1 else ''}"


def _number(repetitions: int, rng: np.random.Generator) -> str:
    return str(repetitions) if rng.random() < 0.3 else NUMBERS[repetitions]


def pick(options: Sequence, rng: np.random.Generator):
    """One of the options, each as likely."""
    return options[rng.integers(len(options))]
