"""The judge that is asked in words: a vision-language model behind any OpenAI-compatible server names the motion.

Only coarse labels are asked for, "kick" and not "kick with the left leg": such models agree with people on what is done
(Cohen's kappa 0.7), and hardly on which limb does it (0.1; NextMotionQA).
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from motionbench.distribution import spread_frames
from motionbench.judges import Verdict, coarse
from motionbench.metrics import ClipCase
from motionbench.prompts import BenchMotion

NUM_FRAMES = 8
LONGEST_SIDE = 512              # pixels of each frame that is sent
MOST_FAILURES = 3               # answers in a row that fail before the server counts as down
QUESTION = """These are {number} frames of one video, in order. One person is doing one of these motions:
{choices}
Which one? Answer with JSON only: {{"motion": "<one of the names above>"}}"""


@dataclass
class VlmJudge:
    """A server and the names it chooses from. Once it cannot be reached it is not asked again in this run."""

    base_url: str
    model: str
    motions: Sequence[BenchMotion]
    api_key_env: str = ""               # environment variable that holds the key; empty: the server wants none
    timeout_seconds: float = 60.0
    name: str = "vlm"
    needs: tuple[str, ...] = ()
    formula: str = "share of clips in which the model names the prompted kind of motion, sides aside"
    down: str = field(default="", init=False)           # why the server is not asked any more
    failures: int = field(default=0, init=False)        # answers in a row that failed

    def __post_init__(self):
        if not self.model:
            raise ValueError("judge vlm: expected the served model's name (found none): set judge.model")
        self.key = os.environ.get(self.api_key_env, "") if self.api_key_env else "unused"
        if not self.key:
            raise ValueError(f"judge vlm: the environment variable {self.api_key_env} holds no key: set it, "
                             "or judge.api_key_env= (empty) for a server that asks for none")
        self.labels = tuple(dict.fromkeys(coarse(motion.name) for motion in self.motions))
        self.source = f"{self.model}, an OpenAI-compatible server, {NUM_FRAMES} frames, coarse labels"

    def target(self, motion: str) -> str:
        return coarse(motion)

    def verdict(self, case: ClipCase) -> Verdict:
        import openai

        if self.down:
            return Verdict("", self.down, asked=False)
        client = openai.OpenAI(base_url=self.base_url, api_key=self.key, timeout=self.timeout_seconds, max_retries=0)
        try:
            answer = client.chat.completions.create(
                model=self.model, messages=self.messages(case.video),
                response_format={"type": "json_schema", "json_schema": self.schema()})
        except (openai.OpenAIError, json.JSONDecodeError) as error:
            self.failures += 1
            note = f"the judge's server at {self.base_url} did not answer ({_line(error)})"
            timed_out = isinstance(error, openai.APITimeoutError)               # a kind of connection error
            hopeless = (openai.APIConnectionError, openai.AuthenticationError, openai.NotFoundError)
            if self.failures >= MOST_FAILURES or (isinstance(error, hopeless) and not timed_out):
                self.down = f"{note} and is not asked any more: start it, or correct judge.base_url and judge.model"
            return Verdict("", self.down or note, asked=False)
        self.failures = 0
        choices = getattr(answer, "choices", None)
        return self.read((choices[0].message.content or "") if choices and choices[0].message else "")

    def read(self, content: str) -> Verdict:
        """The model's answer, which must be JSON with one of the labels; anything else recognises nothing."""
        try:
            answer = json.loads(content.strip().strip("`").removeprefix("json"))
        except ValueError:
            return Verdict("", f"the judge's answer is no JSON: {content[:60]!r}")
        label = answer.get("motion") if isinstance(answer, dict) else None
        label = label.strip().lower().replace(" ", "_") if isinstance(label, str) else None
        if label not in self.labels:
            return Verdict("", f"the judge's answer names no known motion: {content[:60]!r}")
        return Verdict(label, label)

    def messages(self, video: np.ndarray) -> list[dict]:
        frames = spread_frames(video, NUM_FRAMES)
        text = QUESTION.format(number=len(frames), choices="\n".join(f"- {label}" for label in self.labels))
        pictures = [{"type": "image_url", "image_url": {"url": data_url(frame)}} for frame in frames]
        return [{"role": "user", "content": [{"type": "text", "text": text}, *pictures]}]

    def schema(self) -> dict:
        return {"name": "verdict", "strict": True, "schema": {
            "type": "object", "properties": {"motion": {"type": "string", "enum": list(self.labels)}},
            "required": ["motion"], "additionalProperties": False}}


def data_url(frame: np.ndarray) -> str:
    """A frame (H, W, 3) uint8 RGB as a JPEG inside an address."""
    picture = Image.fromarray(frame)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _line(error: Exception) -> str:
    text = str(getattr(error, "message", "") or error).strip()
    return text.splitlines()[0][:120] if text else type(error).__name__
