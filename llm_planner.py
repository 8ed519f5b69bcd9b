"""Text -> what the person does, action by action: `python llm_planner.py "A person waves, then does two squats."`

The planning stage of Fleximo (arXiv 2411.19459) asks a language model for atomic motions that a text-to-motion model
understands. Three backends give the same result type:
  rules   offline and instant: order words, sentences, counts, durations (English only); the default
  openai  any OpenAI-compatible server: --base_url, --model, the key from the environment variable --api_key_env
  local   a transformers chat model in the folder --model
Prints the plan as JSON, the format of plan.json in a run folder.
"""
if __name__ == "__main__":
    from runtime.terminal import interruptible

    interruptible()                     # also while the following is imported

import argparse
import json
import logging
import math
import sys
from dataclasses import asdict, dataclass, fields

from configs import run_main
from planning.actions import split_actions
from planning.chat import ask_for_actions, ChatServer, check_chat_folder, local_chat, openai_chat, SCHEMA
from planning.plain import check_total, without_controls
from planning.lexicon import MAX_TOTAL_SECONDS, SHORTEST_SECONDS

MAX_PROMPT_CHARACTERS = 2000
MAX_ACTION_CHARACTERS = 2 * MAX_PROMPT_CHARACTERS       # an action has a prompt's words, and some more
ONE_FRAME = 0.05                                        # seconds, of the 3D motion
LONGEST_WAIT = 86_400.0                                 # seconds
BACKENDS = ("rules", "openai", "local")


@dataclass(frozen=True)
class Segment:
    """One action of the person."""
    text: str        # one sentence, third person present: "a person waves with the right hand"
    seconds: float   # how long it lasts, seconds

    def __post_init__(self):
        if not self.text.strip():
            raise ValueError("segment: its text is empty")
        if len(self.text) > MAX_ACTION_CHARACTERS:
            raise ValueError(f"segment: its text must have at most {MAX_ACTION_CHARACTERS:,} characters (found {len(self.text):,}): shorten it")
        if has_surrogates(self.text):
            raise ValueError(f"segment {self.text!a}: expected text (found half of a character): write it anew")
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"segment '{self.text}': must last longer than 0 s (found {self.seconds:g})")


def plan(prompt: str, *, backend: str = "rules", max_seconds: float = 9.8, base_url: str = "", model: str = "",
         api_key_env: str = "OPENAI_API_KEY", timeout_seconds: float = 60.0, max_new_tokens: int = 1024,
         device: str = "cpu") -> list[Segment]:
    """Prompt -> segments in the order they are played, each 1 to `max_seconds` long (T2M-GPT was trained up to 9.8 s).

    `base_url`, `api_key_env` and `timeout_seconds` belong to backend openai; `max_new_tokens` and `device` to local;
    `model` is the served model's name (openai) or a folder (local).
    """
    prompt = without_controls(prompt)
    check_prompt(prompt)
    server = ChatServer(base_url, model, api_key_env, timeout_seconds)
    check_planner(backend, max_seconds, server, max_new_tokens)
    if backend == "rules":
        actions = split_actions(prompt, max_seconds)
    else:
        chat = openai_chat(server, SCHEMA) if backend == "openai" else local_chat(model, max_new_tokens, device)
        actions = ask_for_actions(prompt, chat, SHORTEST_SECONDS, max_seconds)
    check_total(sum(seconds for _, seconds in actions))
    return [Segment(text, seconds) for text, seconds in actions]


def check_planner(backend: str, max_seconds: float, server: ChatServer, max_new_tokens: int) -> None:
    """Raises ValueError for settings that no plan can be made with; nobody is asked, and no network loaded."""
    if backend not in BACKENDS:
        raise ValueError(f"planner.backend: must be one of {', '.join(BACKENDS)} (found '{backend}')")
    if not SHORTEST_SECONDS <= max_seconds <= MAX_TOTAL_SECONDS:
        raise ValueError(f"planner.max_seconds: must be {SHORTEST_SECONDS:g} to {MAX_TOTAL_SECONDS:g} s (found {max_seconds:g})")
    if not 0 < server.timeout_seconds <= LONGEST_WAIT:
        raise ValueError(f"planner.timeout_seconds: must be more than 0, and at most {LONGEST_WAIT:,.0f} s (found {server.timeout_seconds:g})")
    if max_new_tokens < 1:
        raise ValueError(f"planner.max_new_tokens: must be at least 1 (found {max_new_tokens})")
    if backend == "openai":
        openai_chat(server, SCHEMA)
    elif backend == "local":
        check_chat_folder(server.model)


def check_prompt(prompt: str) -> None:
    """Raises ValueError for a prompt no backend could use."""
    if not without_controls(prompt).strip():
        raise ValueError("prompt: is empty: say what the person does, as in prompt=\"A person waves.\"")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise ValueError(f"prompt: must have at most {MAX_PROMPT_CHARACTERS:,} characters (found {len(prompt):,}): "
                         "shorten it")
    if has_surrogates(prompt):
        raise ValueError("prompt: expected text (found bytes that are no UTF-8): write it anew, or set the terminal to UTF-8")


def has_surrogates(text: str) -> bool:
    """Are there halves of characters in it, which no encoding can write?"""
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def segments_to_json(segments: list[Segment]) -> str:
    return json.dumps({"segments": [asdict(segment) for segment in segments]}, indent=2, ensure_ascii=False) + "\n"


def segments_from_json(text: str, max_seconds: float = MAX_TOTAL_SECONDS) -> list[Segment]:
    """Reads plan.json, also after a person edited it; ValueError says what is wrong. max_seconds: of the longest segment."""
    try:
        plan = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=without_repeated)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"plan.json: expected JSON ({error}): mend it, or delete the file") from error
    if not isinstance(plan, dict) or plan.keys() != {"segments"} or not isinstance(plan["segments"], list) or not plan["segments"]:
        raise ValueError('plan.json: expected {"segments": [{"text": ..., "seconds": ...}, ...]}, at least one (found '
                         f"{json.dumps(plan)[:80]}): write it so")
    segments = [read_segment(segment, f"plan.json: segment {number}", max_seconds) for number, segment in enumerate(plan["segments"], 1)]
    check_total(sum(segment.seconds for segment in segments), "plan.json")
    return segments


def without_repeated(pairs: list[tuple[str, object]]) -> dict:
    """A JSON object, no key of which is said twice."""
    names = [name for name, _ in pairs]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"found {', '.join(sorted(repeated))} twice in one object")
    return dict(pairs)


def read_segment(segment: object, where: str, max_seconds: float) -> Segment:
    """One entry of plan.json; nothing in it is guessed or left out."""
    known = {field.name for field in fields(Segment)}
    if not isinstance(segment, dict) or segment.keys() != known:
        found = ", ".join(segment) if isinstance(segment, dict) else type(segment).__name__
        raise ValueError(f'{where}: expected "text" and "seconds" (found {found}): write both, and nothing else')
    text, seconds = segment["text"], segment["seconds"]
    if not isinstance(text, str):
        raise ValueError(f'{where}: "text" must be a sentence (found {json.dumps(text)[:40]})')
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not ONE_FRAME <= seconds <= max_seconds + 1e-6:
        raise ValueError(f'{where}: "seconds" must be a number from {ONE_FRAME:g} to {max_seconds:g} (found {json.dumps(seconds)[:40]})')
    try:
        return Segment(text, float(seconds))
    except ValueError as error:
        raise ValueError(f"{where}: {str(error).removeprefix('segment: ')}") from error


def known_to(weights: str, segments: list[Segment]) -> list[str]:
    """One line per segment: whether the text-to-motion weights in a folder were trained on such a motion."""
    from t2m.generate import TextToMotion               # slow to import, and not needed for a plan
    model = TextToMotion.load(weights)
    if model.known is None:
        raise ValueError(f"{weights}: expected a list of the motions it was trained on (found no known_motions.json)")
    return [f"segment {number} '{segment.text}': {model.unknown_motion(segment.text) or 'known'}"
            for number, segment in enumerate(segments, start=1)]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompt", help="what the person does, in words")
    parser.add_argument("--backend", choices=BACKENDS, default="rules", help="who plans (default: rules)")
    parser.add_argument("--max_seconds", type=float, default=9.8,
                        help="longest segment, seconds (9.8: T2M-GPT's training)")
    parser.add_argument("--base_url", default="https://api.openai.com/v1", help="openai: address of the server")
    parser.add_argument("--model", default="", help="openai: name of the model; local: its folder")
    parser.add_argument("--api_key_env", default="OPENAI_API_KEY",
                        help="openai: environment variable with the key; empty for none")
    parser.add_argument("--timeout_seconds", type=float, default=60.0,
                        help="openai: longest wait for one answer, seconds")
    parser.add_argument("--max_new_tokens", type=int, default=1024, help="local: longest answer, tokens")
    parser.add_argument("--device", default="cpu", help="local: cpu or cuda")
    parser.add_argument("--weights", default="", help="also say which segments these text-to-motion weights know")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    options = vars(parser.parse_args(argv))
    weights = options.pop("weights")
    segments = plan(**options)
    sys.stdout.write(segments_to_json(segments))
    for line in known_to(weights, segments) if weights else ():
        print(line, file=sys.stderr)
    return 0


if __name__ == "__main__":
    run_main(main)
