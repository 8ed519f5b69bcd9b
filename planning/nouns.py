"""Actions named by nouns: 'two squats', 'a jumping jack', 'a left jab'."""

from planning.lexicon import LIGHT_VERBS, NOUNS, OBJECT_ACTIONS, VERBS


def singulars(name: str) -> tuple[str, ...]:
    """The name itself, and what it may be the plural of: punches -> punches, punche, punch."""
    return name, name.removesuffix("s"), *[name[:-2]] * name.endswith(("ses", "xes", "ches", "shes"))


def is_name(words: list[str]) -> bool:
    """'jumping jacks', 'side steps', 'high knees': the name of an action, in two words."""
    return len(words) > 1 and any(name in NOUNS for name in singulars(" ".join(words[:2])))


def goes_with(verb: str | None, words: list[str]) -> bool:
    """Whether the words name what the verb does: any action of 'does', 'a jab' of 'throws', 'two steps' of 'walks'."""
    if verb in LIGHT_VERBS:
        return action_noun(" ".join(words)) is not None
    return any(name in OBJECT_ACTIONS.get(verb, ()) for word in words for name in singulars(word))


def action_noun(text: str) -> tuple[float, float] | None:
    """Lengths of the first action named as a noun ('two deep squats', 'a jumping jack')."""
    words = text.split()
    for i in range(len(words)):
        for span in (2, 1):
            for name in singulars(" ".join(words[i:i + span])):
                if name != "time" and (name in NOUNS or name in VERBS and span == 1 and words[i - 1:i] != ["the"]):
                    return NOUNS.get(name) or VERBS[name]
    return None
