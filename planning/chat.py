"""Chat models behind a server or on disk, and what can be read in their answers; prompt -> timed actions by one of them."""
import json
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

Message = dict[str, str | list]             # {"role": "system" | "user" | "assistant", "content": text or parts}
LONGEST_TEXT = 200                          # characters of an action; CLIP reads 77 tokens, about 300 characters
INSTRUCTIONS = """\
You plan human motion. Rewrite the user's text as a list of segments for a text-to-motion model, in the order they
happen. Rules for every segment:
- One person, one simple whole-body action, one short English sentence in the third person present:
  "a person waves with the right hand".
- Say left or right whenever one arm, hand, leg or side is meant; say how often where it matters ("jumps twice").
- Say what is done, never what is not done.
- Body movement only: no clothes, places, feelings, camera, other people or objects that do not shape the movement.
- Two movements that happen at the same time stay in one segment, joined by "while". Keep the same subject throughout.
- "seconds" is how long a person takes for it, between {shortest:g} and {longest:g}. Cut anything longer into several
  segments. Respect durations the user gives.
Answer with JSON only: {{"segments": [{{"text": "a person ...", "seconds": 2.5}}]}}"""
SCHEMA = {      # flat on purpose: strict modes of several servers refuse defaults, bounds and oneOf
    "name": "motion_plan",
    "strict": True,
    "schema": {
        "type": "object",
        "properties": {"segments": {"type": "array", "items": {
            "type": "object",
            "properties": {"text": {"type": "string"}, "seconds": {"type": "number"}},
            "required": ["text", "seconds"], "additionalProperties": False}}},
        "required": ["segments"], "additionalProperties": False},
}

FORMAT_REFUSED = re.compile(r"response_?format|json_?schema|json_?object|structured|guided|grammar", re.IGNORECASE)
THOUGHT_BEGINS, THOUGHT_ENDS = (re.compile(rf"<{end}think(?:ing)?>|◁{end}think▷", re.IGNORECASE) for end in ("", "/"))
MAX_ANSWER_BYTES = 4 << 20                  # of a whole reply; a plan has some thousand
MAX_OBJECTS = 100                           # braces of an answer at which an object is looked for


def ask_for_actions(prompt: str, ask: Callable[[list[Message]], str], min_seconds: float,
                    max_seconds: float) -> list[tuple[str, float]]:
    """Asks for the plan; an answer that fails the checks is sent back once, with what is wrong with it."""
    instructions = INSTRUCTIONS.format(shortest=min_seconds, longest=max_seconds)
    messages = [{"role": "system", "content": instructions}, {"role": "user", "content": prompt}]
    answer = ask(messages)
    try:
        return parse_answer(answer, min_seconds, max_seconds)
    except ValueError as error:
        complaint = f"That answer cannot be used: {error}. Send the corrected JSON, nothing else."
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": complaint}]
    try:
        return parse_answer(ask(messages), min_seconds, max_seconds)
    except ValueError as error:
        raise ValueError(f"planner: the language model gave no usable plan in two attempts ({error}): "
                         "try another model, or planner.backend=rules") from error


def parse_answer(answer: str, min_seconds: float, max_seconds: float) -> list[tuple[str, float]]:
    """A model's answer -> checked [(text, seconds)]; ValueError says what is wrong with it."""
    plan = json_in(answer, "segments")
    plan = {"segments": plan} if isinstance(plan, list) else plan
    if not isinstance(plan, dict) or not isinstance(plan.get("segments"), list):
        raise ValueError('expected an object with a list "segments"')
    if not plan["segments"]:
        raise ValueError('"segments" is empty')
    return [checked(segment, f"segment {i}", min_seconds, max_seconds)
            for i, segment in enumerate(plan["segments"], start=1)]


def json_in(answer: str, key: str) -> object:
    """The JSON of an answer: the whole answer, or else the last object with `key` that prose or marks surround.

    What a model thought before, or had not thought to its end, does not count.
    """
    thought = THOUGHT_ENDS.split(answer)[-1]
    body = THOUGHT_BEGINS.split(thought)[0].strip().lstrip("\ufeff").strip()
    try:
        return json.loads(body)
    except (json.JSONDecodeError, RecursionError) as error:
        failure = error
    found, end, decoder = None, 0, json.JSONDecoder()
    for start in [match.start() for match in re.finditer(r"\{", body)][:MAX_OBJECTS]:
        if start < end:
            continue
        try:
            value, end = decoder.raw_decode(body, start)
        except (json.JSONDecodeError, RecursionError):
            continue
        found = value if key in value else found
    if found is None:
        raise ValueError(f"not JSON ({first_line(failure)}; it begins {body[:40]!r})") from failure
    return found


def checked(segment: object, where: str, min_seconds: float, max_seconds: float) -> tuple[str, float]:
    """The text and seconds of one entry of an answer; ValueError says what is wrong with it."""
    if not isinstance(segment, dict):
        raise ValueError(f'{where}: expected an object with "text" and "seconds"')
    text, seconds = segment.get("text"), segment.get("seconds")
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f'{where}: "text" must be a sentence')
    if len(text) > LONGEST_TEXT:
        raise ValueError(f'{where}: "text" has {len(text)} characters, at most {LONGEST_TEXT} are read')
    if isinstance(seconds, str) and re.fullmatch(r"\d+(?:\.\d+)?", seconds):
        seconds = float(seconds)
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise ValueError(f'{where}: "seconds" must be a number')
    if not min_seconds <= seconds <= max_seconds:
        raise ValueError(f'{where}: "seconds" is {seconds:g}, must lie between {min_seconds:g} and {max_seconds:g}')
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split()).rstrip(".")
    if not text:
        raise ValueError(f'{where}: "text" must be a sentence')
    return text, float(seconds)


@dataclass(frozen=True)
class ChatServer:
    """A chat model behind any OpenAI-compatible server (OpenAI, vLLM, Ollama, llama.cpp), and what messages call it."""
    base_url: str
    model: str                  # the served model's name
    api_key_env: str            # environment variable with the key; empty: the server wants none
    timeout_seconds: float      # longest wait for a whole answer
    settings: str = "planner"   # the group of settings that these came from
    instead: str = ", or use planner.backend=rules"


def openai_chat(server: ChatServer, schema: dict) -> Callable[[list[Message]], str]:
    """What asks the server for an answer of the form `schema`, as text. Every error is a ValueError with one line.

    Where the server gave no answer, the error's cause is that of the openai package; an answer of no use has none.
    """
    try:
        import openai
    except ImportError as error:
        raise ValueError(f"{server.settings}: expected the package openai to be installed (found none): pip install openai") from error
    if not server.model:
        raise ValueError(f"{server.settings}.model is empty: name the model the server offers{server.instead}")
    key = key_of(server) if server.api_key_env else "unused"
    try:
        client = openai.OpenAI(base_url=server.base_url, api_key=key, timeout=server.timeout_seconds, max_retries=0)
    except Exception as error:          # the HTTP, TLS and proxy libraries raise classes of their own
        raise trouble(error, server) from error
    # what a request says of the answer's form, best first; those that the server has refused are dropped
    formats = [{"response_format": {"type": "json_schema", "json_schema": schema}}, {"response_format": {"type": "json_object"}}, {}]

    def ask(messages: list[Message]) -> str:
        while True:
            deadline = time.monotonic() + server.timeout_seconds
            try:
                with client.chat.completions.with_streaming_response.create(    # no temperature: reasoning models refuse it
                        model=server.model, messages=messages, **formats[0]) as response:
                    answer = json.loads(body_of(response, deadline))
            except Exception as error:
                if len(formats) == 1 or not refuses_format(error):
                    raise trouble(error, server) from error
                log.warning("%s: %s refuses response_format=%s: asking for JSON in another way", server.settings,
                            server.base_url, formats.pop(0)["response_format"]["type"])
            else:
                return content_of(answer, server)
    return ask


class BrokenOff(Exception):
    """An answer that began and has no end."""


def body_of(response: object, deadline: float) -> bytes:
    """The whole body of the openai package's streamed response; deadline: by time.monotonic()."""
    import openai
    body = bytearray()
    try:
        for part in response.iter_bytes():
            body += part
            if time.monotonic() > deadline:
                raise openai.APITimeoutError(response.http_request)
            if len(body) > MAX_ANSWER_BYTES:
                raise BrokenOff(f"more than {MAX_ANSWER_BYTES >> 20} MiB")
    except (openai.OpenAIError, BrokenOff):
        raise
    except Exception as error:          # the HTTP library's own
        if "timeout" in type(error).__name__.lower():
            raise openai.APITimeoutError(response.http_request) from error
        raise BrokenOff(f"{first_line(error)} after {len(body)} bytes") from error
    return bytes(body)


def refuses_format(error: Exception) -> bool:
    """Whether a server's error says that it does not know the asked form of the answer."""
    return getattr(error, "status_code", 0) in (400, 422, 501) and FORMAT_REFUSED.search(str(error)) is not None


def key_of(server: ChatServer) -> str:
    """The key in an environment variable; one that no header can carry is refused without being shown."""
    name, who = server.api_key_env, server.settings
    key = os.environ.get(name, "").strip()
    if not key:
        raise ValueError(f"{who}: the environment variable {name} holds no key: set it, "
                         f"or {who}.api_key_env= (empty) for a server that asks for none")
    if strange := re.search(r"[^!-~]", key):
        what = "a space or line break" if strange[0].isspace() else f"the character U+{ord(strange[0]):04X}"
        raise ValueError(f"{who}: the environment variable {name} holds no usable key (found {what} in it): "
                         "copy the key again, without quotes")
    return key


def trouble(error: Exception, server: ChatServer) -> ValueError:
    """One line that says what to do about an error of the openai package, or of the libraries below it."""
    import openai
    who, url, key = server.settings, server.base_url, os.environ.get(server.api_key_env, "").strip()
    said = first_line(getattr(error, "message", "") or error).replace(key or "\n", "(the key)")
    if isinstance(error, openai.APITimeoutError):
        return ValueError(f"{who}: {url} did not answer within {server.timeout_seconds:g} s: raise "
                          f"{who}.timeout_seconds{server.instead}")
    if isinstance(error, openai.AuthenticationError):
        return ValueError(f"{who}: {url} refused the key from "
                          f"{server.api_key_env or f'an empty {who}.api_key_env'} (HTTP 401): check it")
    if isinstance(error, openai.APIStatusError):
        remedy = f"check {who}.model={server.model} and the server's log"
        if error.status_code == 429:
            remedy = "wait, or look at what the key may still ask"
        elif error.status_code >= 500:
            remedy = "see the server's log, or try again later"
        return ValueError(f"{who}: {url} answered HTTP {error.status_code} ({said}): {remedy}")
    if isinstance(error, BrokenOff):
        return ValueError(f"{who}: {url}: expected a whole answer (found {said}): try again, or see the server's log")
    if isinstance(error, openai.APIConnectionError):
        return ValueError(f"{who}: no server reached at {url} ({first_line(error.__cause__ or error)}): "
                          f"start it, or correct {who}.base_url")
    if isinstance(error, (openai.OpenAIError, json.JSONDecodeError, UnicodeDecodeError, RecursionError)):
        return ValueError(f"{who}: {url} is not an OpenAI-compatible server ({said}): "
                          f"check {who}.base_url")
    return ValueError(f"{who}: no client for {url} ({said}): check {who}.base_url, and what the "
                      "environment says of proxies and certificates")


def content_of(answer: object, server: ChatServer) -> str:
    """The text of a chat completion, parsed JSON; a refusal, a cut-off answer and an answer without a message are errors."""
    who, choices = server.settings, answer.get("choices") if isinstance(answer, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise ValueError(f"{who}: {server.base_url} answered without a message: is it an OpenAI-compatible chat server?")
    content = message.get("content")
    if message.get("refusal"):
        raise ValueError(f"{who}: {server.model} refused the prompt ('{first_line(message['refusal'])}'): rephrase it")
    if isinstance(content, list):                                   # parts: text, thinking, pictures
        content = "".join(part["text"] for part in content
                          if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str))
    content = content if isinstance(content, str) else ""
    if choice.get("finish_reason") == "length" and not is_json(content):
        used = "all of it" if not content.strip() else "some of it"
        raise ValueError(f"{who}: the answer of {server.model} was cut off at the token limit ({used} perhaps spent on "
                         "reasoning): raise the server's limit of tokens in an answer, or use a model that reasons less")
    return content


def is_json(answer: str) -> bool:
    try:
        json_in(answer, "segments")
    except ValueError:
        return False
    return True


def check_chat_folder(folder: str) -> None:
    """A folder holds a transformers model, as far as its name and config.json say."""
    if not os.path.isfile(os.path.join(folder, "config.json")):
        raise ValueError(f"planner.model={folder or '(empty)'}: no config.json there: "
                         "give the folder of a transformers chat model")


def local_chat(folder: str, max_new_tokens: int, device: str) -> Callable[[list[Message]], str]:
    """A transformers chat model from a folder on disk; greedy, so the same prompt gives the same plan."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    check_chat_folder(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True).to(device).eval()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"planner.model={folder}: cannot be loaded ({first_line(error)}): "
                         "is the download complete?") from error
    if not tokenizer.chat_template:
        raise ValueError(f"planner.model={folder}: its tokenizer has no chat template: use an instruction-tuned model")

    def ask(messages: list[Message]) -> str:
        tokens = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt",
                                               return_dict=True).to(device)
        answer = model.generate(**tokens, max_new_tokens=max_new_tokens, do_sample=False)      # (1, prompt + new)
        written = answer[0, tokens["input_ids"].shape[1]:]                                    # (new,)
        content = tokenizer.decode(written, skip_special_tokens=True)
        if len(written) >= max_new_tokens and not is_json(content):
            log.warning("planner: the answer was cut off at planner.max_new_tokens=%d: raise it", max_new_tokens)
        return content
    return ask


def first_line(message: object) -> str:
    """The first line of a foreign error, short enough for one line of ours."""
    return (str(message).strip().splitlines() or [""])[0][:160]
