"""The judges of a motion and MotionScore: the share of clips whose prompted motion a judge recognises.

This is our definition; that of the Fleximo paper is unpublished, and its 0.699 cannot be compared. The judge by pose is
in judge_pose.py; the two here need a model: a video-text model, or a vision-language model behind a server.
"""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from media.images import jpeg_link
from motionbench.metrics import ClipCase, Metric, Score
from motionbench.network_metrics import is_there, quiet_transformers, spread_frames
from motionbench.cells import BenchMotion, MOTIONS_BY_NAME
from planning.chat import ChatServer, json_in, openai_chat

CLIP_MODEL = "microsoft/xclip-base-patch32"
PAPER_GREY = 124                                # round the picture, where it is not square
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)        # RGB, of X-CLIP's training pictures in [0, 1]
NUM_FRAMES = 8                  # shown to the vision-language model
LONGEST_SIDE = 512              # pixels of each frame that is sent
MOST_FAILURES = 3               # answers in a row that fail before the server counts as down
QUESTION = """These are {number} frames of one video, in order. One person is doing one of these motions:
{choices}
Which one? Answer with JSON only: {{"motion": "<one of the names above>"}}"""


@dataclass(frozen=True)
class Verdict:
    """What a judge recognised: one of the labels, or "" with the reason why it could not say."""

    label: str
    note: str = ""
    asked: bool = True          # False: the judge could not be asked, so that the clip is not to blame
    unknown: bool = False       # it cannot be told, from such a view or by such an answer: neither right nor wrong


class Judge(Protocol):
    """Who says which motion a video shows."""

    name: str                   # "pose", "clip", "vlm"
    labels: tuple[str, ...]     # what it chooses from
    needs: tuple[str, ...]      # fields of ClipCase beside `video`
    formula: str
    source: str
    protocol: str               # settings that decide its verdicts

    def verdict(self, case: ClipCase) -> Verdict: ...

    def target(self, motion: str) -> str:
        """The label that means this motion is recognised."""


def motion_score(judge: Judge) -> Metric:
    """A judge as a metric: 1 for a clip whose prompted motion it recognises, else 0; also for a clip that failed.

    A clip of which the judge says that it cannot tell has no value."""
    def score(case: ClipCase) -> Score:
        verdict = judge.verdict(case)
        if not verdict.asked:
            return Score(float("nan"), verdict.note, again=True)
        if verdict.unknown:
            return Score(float("nan"), verdict.note)
        return Score(float(verdict.label == judge.target(case.motion)), verdict.note, verdict.label)

    return Metric(f"motion_score_{judge.name}", f"MotionScore ({judge.name})", "", "higher", (0, 1), judge.formula,
                  judge.source, judge.needs, clip=score, failed=0.0, protocol=judge.protocol)


@dataclass(frozen=True)
class ClipJudge:
    """X-CLIP and the embedded prompts of the benchmark's motions."""

    model: torch.nn.Module
    tokens: dict[str, Tensor]           # of the prompts, (L, tokens)
    labels: tuple[str, ...]
    device: str = "cpu"
    name: str = "clip"
    needs: tuple[str, ...] = ()
    formula: str = "share of clips whose evenly spaced frames fit the prompted motion's prompt best of all prompts"
    protocol: str = ""
    source: str = f"X-CLIP (Ni et al. 2022), transformers, {CLIP_MODEL}"

    @classmethod
    def load(cls, folder: str | os.PathLike, motions: Sequence[BenchMotion], device: str = "cpu") -> ClipJudge:
        """From a folder of transformers; nothing is downloaded."""
        from transformers import AutoTokenizer, XCLIPModel

        if not is_there(folder):
            raise ValueError(f"judge clip: expected X-CLIP in {folder} (found none): "
                             f"run: hf download {CLIP_MODEL} --local-dir {folder}")
        try:
            with quiet_transformers():
                model = XCLIPModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
            model = model.to(device).eval()
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ValueError(f"judge clip: expected X-CLIP and its tokenizer in {folder} "
                             f"({str(error).splitlines()[0]}): run: hf download {CLIP_MODEL} --local-dir {folder}") from error
        tokens = tokenizer([motion.prompt for motion in motions], padding=True, return_tensors="pt").to(device)
        kept = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        return cls(model, kept, tuple(motion.name for motion in motions), device)

    def target(self, motion: str) -> str:
        return motion

    @torch.no_grad()
    def verdict(self, case: ClipCase) -> Verdict:
        vision = self.model.config.vision_config
        pixels = frame_pixels(case.video, vision.num_frames, vision.image_size).to(self.device)
        logits = self.model(pixel_values=pixels[None], **self.tokens).logits_per_video[0]   # (L,)
        share = logits.softmax(dim=0)
        best = int(share.argmax())
        return Verdict(self.labels[best], f"{self.labels[best]} with {share[best]:.0%}")


def frame_pixels(video: np.ndarray, number: int, side: int) -> Tensor:
    """`number` evenly spaced frames, each whole on a grey square, normalised. (F, H, W, 3) -> (number, 3, side, side)

    X-CLIP's own preparation crops the middle, which cuts head and feet off a standing person.
    """
    frames = spread_frames(video, number)
    frames = np.concatenate([frames, np.repeat(frames[-1:], number - len(frames), axis=0)])
    height, width = frames.shape[1:3]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = np.full((number, side, side, 3), PAPER_GREY, np.uint8)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    for square, frame in zip(canvas, frames):
        picture = Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)
        square[top:top + size[1], left:left + size[0]] = picture
    pixels = (torch.from_numpy(canvas).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    return pixels.movedim(-1, 1)                                                            # (number, 3, side, side)


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
    protocol: str = f"{NUM_FRAMES} evenly spaced frames"
    ask: Callable[[list], str] = field(init=False)      # messages -> the answer's text
    down: str = field(default="", init=False)           # why the server is not asked any more
    failures: int = field(default=0, init=False)        # answers in a row that failed

    def __post_init__(self):
        server = ChatServer(self.base_url, self.model, self.api_key_env, self.timeout_seconds, "judge",
                            ", or leave vlm out of judge.names")
        self.labels = tuple(dict.fromkeys(coarse(motion.name) for motion in self.motions))
        self.ask = openai_chat(server, self.schema())
        self.source = f"{self.model}, an OpenAI-compatible server, {NUM_FRAMES} frames, coarse labels"

    def target(self, motion: str) -> str:
        return coarse(motion)

    def verdict(self, case: ClipCase) -> Verdict:
        if self.down:
            return Verdict("", self.down, asked=False)
        try:
            content = self.ask(self.messages(case.video))
        except ValueError as error:
            if error.__cause__ is None:                                         # an answer, but of no use
                return Verdict("", str(error), unknown=True)
            return self.not_answered(error)
        self.failures = 0
        return self.read(content)

    def not_answered(self, error: ValueError) -> Verdict:
        """No verdict; after a hopeless error, or too many in a row, the server is not asked any more."""
        import openai

        self.failures += 1
        hopeless = (openai.APIConnectionError, openai.AuthenticationError, openai.NotFoundError)
        timed_out = isinstance(error.__cause__, openai.APITimeoutError)         # a kind of connection error
        if self.failures >= MOST_FAILURES or (isinstance(error.__cause__, hopeless) and not timed_out):
            self.down = f"{error}; it is not asked any more"
        return Verdict("", self.down or str(error), asked=False)

    def read(self, content: str) -> Verdict:
        """The model's answer, JSON with one of the labels or a label alone; whatever else it says is unknown."""
        try:
            answer = json_in(content, "motion")
        except ValueError:
            answer = {"motion": content.strip(" \n`'\"*.")}
        label = answer.get("motion") if isinstance(answer, dict) else answer
        label = label.strip().lower().replace(" ", "_") if isinstance(label, str) else None
        if label not in self.labels:
            return Verdict("", f"the judge's answer names no known motion: {content[:60]!r}", unknown=True)
        return Verdict(label, label)

    def messages(self, video: np.ndarray) -> list[dict]:
        """The question with the frames, as an OpenAI-compatible server takes it."""
        frames = spread_frames(video, NUM_FRAMES)
        text = QUESTION.format(number=len(frames), choices="\n".join(f"- {label}" for label in self.labels))
        pictures = [{"type": "image_url", "image_url": {"url": as_link(frame)}} for frame in frames]
        return [{"role": "user", "content": [{"type": "text", "text": text}, *pictures]}]

    def schema(self) -> dict:
        """The only form an answer may have."""
        return {"name": "verdict", "strict": True, "schema": {
            "type": "object", "properties": {"motion": {"type": "string", "enum": list(self.labels)}},
            "required": ["motion"], "additionalProperties": False}}


def as_link(frame: np.ndarray) -> str:
    """A frame (H, W, 3) uint8 RGB as the address of a JPEG of at most LONGEST_SIDE pixels."""
    picture = Image.fromarray(frame)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return jpeg_link(picture, quality=90)


def cohens_kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Agreement of two judges on the same clips beyond chance (Cohen 1960): 1 always, 0 as by chance.

    Clips on which one of them said nothing ("") do not count. Where one judge only knows coarse labels, both are
    compared by those. NaN without clips, or where both know one answer only.
    """
    if len(first) != len(second):
        raise ValueError(f"judgements to compare: expected as many from each (found {len(first)} and {len(second)})")
    pairs = [(a, b) for a, b in zip(first, second) if a and b]
    if not pairs:
        return float("nan")
    a, b = (np.array(side) for side in zip(*pairs))
    if not all(all(label in MOTIONS_BY_NAME for label in side) for side in (a, b)):
        a, b = (np.array([coarse(str(label)) for label in side]) for side in (a, b))
    by_chance = sum((a == label).mean() * (b == label).mean() for label in np.union1d(a, b))
    return float("nan") if by_chance == 1 else float(((a == b).mean() - by_chance) / (1 - by_chance))


def coarse(label: str) -> str:
    """The kind of motion without its side: wave_right and wave_left are both wave; other words stay as they are."""
    return MOTIONS_BY_NAME[label].kind if label in MOTIONS_BY_NAME else label


def confusion(prompted: Sequence[str], recognised: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """(L, L) clips counted: row prompted, column recognised, in the order of `labels`; "" is left out."""
    place = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), int)
    for row, column in zip(prompted, recognised):
        if row in place and column in place:
            counts[place[row], place[column]] += 1
    return counts
