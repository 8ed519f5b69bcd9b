"""Text -> 3D motion with T2M-GPT (Zhang et al. 2023): CLIP text feature -> GPT tokens -> VQ-VAE features -> joints."""
from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from t2m.features import features, FORWARD_SMOOTHING, joints_from_features
from t2m.known_motions import asked_side, KnownMotions, LOOKS, miscount, motion_costs, MotionBank, turned_away, unrest
from t2m.motion import Motion, MOTION_FPS
from t2m.networks import FRAMES_PER_STEP, GPT, VQVAE
from t2m.text_encoder import TextEncoder
from t2m.weights import found, GPT_FILES, load_strictly, read_config, read_examples, read_statistics, VQVAE_FILES, without_memory

UNLIKE, UNLIKE_PEOPLE = 3.0, 5.5 # costs of known_motions.motion_costs: 49 of 50 motions that are right cost less; by real people's examples
ALIKE = 0.5                      # share of the latter below which motions are as good as each other: people differ
LIKE_PEOPLE = 0.3                # share below which a motion is surely of their kind, even if procedural examples say another: a kick begins with a step
SURELY, CLEARLY = 1.1, 0.02      # the costs of other kinds are to be so many times, and so much more than, that of what is meant
MISTAKABLE = 0.5                 # weight of how near a motion is to another kind's examples
TAUGHT, AGAIN = "this checkpoint was trained on (docs/planner.md lists the demo's)", "another seed= draws another"
SECONDS_PER_STEP = FRAMES_PER_STEP / MOTION_FPS        # 4 / 20 = 0.2 s


@dataclass(frozen=True)
class TextToMotion:
    """Text and seconds -> Motion. The same class runs the released weights and ours; only sizes and files differ."""

    encoder: TextEncoder
    gpt: GPT
    vqvae: VQVAE
    mean: Tensor                     # (263,) float64, as upstream multiplies
    std: Tensor                      # (263,) float64
    prompt: str = "{text}"           # what the text encoder reads; may mention {seconds}
    temperature: float = 1.0         # of the draw, when there is a generator
    heading: str = "published"       # of the features the weights were trained on, as `features` takes it
    forward_smoothing: float = FORWARD_SMOOTHING     # frames; of the same
    draws: int = 1                   # of so many motions the one that is most what was asked for is taken
    known: KnownMotions | None = None

    @classmethod
    def load(cls, folder: str | Path, device: str | torch.device = "cpu",
             dtype: torch.dtype = torch.float32) -> TextToMotion:
        """From a folder with the weights of the VQ-VAE and the GPT, mean.npy, std.npy, and CLIP's text encoder.

        Ours: config.json, vqvae.safetensors, gpt.safetensors, text_encoder/, tokenizer/, known_motions.json, examples.npz.
        Released: net_last.pth, net_best_fid.pth (also in the folders they unpack to), text_encoder/, tokenizer/.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: expected a folder of text-to-motion weights (found none)")
        config, vqvae_path, gpt_path = read_config(folder), found(folder, VQVAE_FILES), found(folder, GPT_FILES)
        mean, std = read_statistics(folder, released=vqvae_path.suffix == ".pth")
        vqvae = load_strictly(without_memory(VQVAE, config, "vqvae", folder), vqvae_path)
        gpt = load_strictly(without_memory(GPT, config, "gpt", folder), gpt_path)
        if (gpt.end_token, gpt.levels) != (vqvae.num_codes, vqvae.levels):
            raise ValueError(f"{gpt_path}: expected the {vqvae.num_codes} codes of {vqvae_path.name}, levels {vqvae.levels} "
                             f"(found {gpt.end_token}, levels {gpt.levels})")
        known_path = folder / "known_motions.json"
        return cls(
            encoder=TextEncoder.load(folder, device, dtype),
            gpt=gpt.to(device, dtype).eval(),
            vqvae=vqvae.to(device, dtype).eval(),
            mean=torch.from_numpy(mean).to(device),
            std=torch.from_numpy(std).to(device),
            prompt=config.get("prompt", "{text}"),
            temperature=config.get("temperature", 1.0),
            heading=config.get("heading", "published"),
            forward_smoothing=config.get("forward_smoothing", FORWARD_SMOOTHING),
            draws=config.get("draws", 1),
            known=KnownMotions.of(**json.loads(known_path.read_text()), examples=read_examples(folder)) if known_path.exists() else None,
        )

    @property
    def max_seconds(self) -> float:
        return self.gpt.max_steps * SECONDS_PER_STEP

    def features(self, motion: Motion) -> Tensor:
        """A motion as the weights know it: (T - 1, 263), denormalised."""
        return torch.from_numpy(features(motion, self.forward_smoothing, self.heading))

    @torch.no_grad()
    def __call__(self, text: str, seconds: float, generator: torch.Generator | None = None) -> Motion:
        """A motion of round(seconds * 20) frames; the likeliest without a generator, else the best of `draws`.

        The end token is suppressed until the asked length, so the motion is as long as asked. Upstream stops where
        the model ends, and crashes when it ends at once.
        """
        num_frames = round(seconds * MOTION_FPS)
        if not text.strip():
            raise ValueError("t2m: expected a description of the motion (found an empty text)")
        if not 1 <= num_frames <= self.gpt.max_steps * FRAMES_PER_STEP:
            raise ValueError(f"t2m: {text!r}: {seconds:.2f} s is outside the {1 / MOTION_FPS:.2f} to "
                             f"{self.max_seconds:.1f} s this model can make: split it, or lower planner.max_seconds")
        num_steps = math.ceil(num_frames / FRAMES_PER_STEP)
        feature = self.encoder([self.prompt.format(text=text.strip(), seconds=seconds)]).to(self.mean.device)
        draws = self.draws if generator is not None and self.known and self.known.examples else 1
        codes = self.gpt.sample(feature.expand(draws, -1), min_steps=num_steps, max_steps=num_steps,
                                generator=generator, temperature=self.temperature)
        motions = self.decoded(torch.stack(codes), num_frames)
        if draws == 1:
            return motions[0]
        meant = self.known.meant(text)
        return min(motions, key=lambda motion: self.misses(text, meant, motion))

    def misses(self, text: str, meant: frozenset[str], motion: Motion) -> tuple[int, float]:
        """How badly a motion does what a text asks for, one of the kinds `meant`; the least of several is the best.

        First how wrong it is: in kind, unless it is much like real people's examples of what is meant; then in side, then in
        number. Then how unlike the examples of what is meant, real people's where there are any; how easily it is taken for
        something else; how far it turns away, unasked; and how far from rest it ends.
        """
        side, (costs, peoples) = asked_side(text), self.costs(text, motion)
        kind, done_with = min(costs, key=costs.get)
        of_procedure = least_of(costs, meant, side, default=costs[kind, done_with]) / UNLIKE
        of_people = least_of(peoples, meant, side, default=math.inf) / UNLIKE_PEOPLE
        of_others = min((cost for (other, _), cost in costs.items() if other not in meant), default=math.inf) / UNLIKE
        is_peoples = of_people < LIKE_PEOPLE
        other_kind = sum(seen not in meant for seen in (kind, self.looks_like(costs, peoples, meant)[0])) if meant and not is_peoples else 0
        other_side = side is not None and done_with in ("left", "right") and done_with != side
        other_number = miscount(text, kind, motion.joints) is not None
        unlike = max(of_people, ALIKE) if of_people < math.inf else of_procedure
        mistakable = 0 if is_peoples else MISTAKABLE * of_procedure / of_others
        unasked = turned_away(text, kind, motion.joints) + unrest(kind, motion.joints)
        return 4 * other_kind + 2 * other_side + other_number, unlike + mistakable + unasked

    @torch.no_grad()
    def decoded(self, codes: Tensor, num_frames: int) -> list[Motion]:
        """The first frames of token sequences (B, L Q) as motions."""
        rows = self.vqvae.decode(codes).double() * self.std + self.mean                         # (B, 4 L, 263)
        return [Motion(joints) for joints in joints_from_features(rows.float())[:, :num_frames].cpu().numpy()]

    def unknown_motion(self, text: str, motion: Motion | None = None) -> str | None:
        """Why `text` asks for nothing this checkpoint was trained on, or None; never a reason without a word list.

        With the motion that was drawn for it: also why that is not what was asked for.
        """
        if self.known is None:
            return None
        reason, look = self.other_motion(LOOKS.sub("", text), motion), LOOKS.search(text)
        unseen = f"'{look['look']}' will not be seen: only the body moves, and the face stays as it is" if look else None
        return "; ".join(filter(None, (unseen, reason))) or None

    def other_motion(self, text: str, motion: Motion | None) -> str | None:
        """Why a text asks for other movements than those that were trained, or that were drawn for it; None where it does not."""
        covered, meant, together = self.known.covers(text), self.known.meant(text), self.known.at_once(text)
        costs, peoples = self.costs(text, motion) if motion is not None and self.known.examples else ({}, {})
        shown, unlike = self.looks_like(costs, peoples, meant) if costs else (None, 0.0)
        seen = f"; the motion drawn for it looks like: {shown.replace('_', ' ')}" if shown else ""
        if words := self.known.beyond_training(text):
            return f"'{words}' is not among the motions {TAUGHT}{seen}"
        if not covered:
            return f"no motion word {TAUGHT}{seen}"
        if together:
            unseen = [verb for verb, kinds in together if shown not in kinds]
            return f"{' and '.join(map(repr, unseen))} {'will not be seen' if shown else 'at once'}: these weights make one movement at a time{seen}"
        if not (meant and costs):
            return None
        if shown not in meant:
            return f"the motion drawn for it looks like another: {shown.replace('_', ' ')} ({AGAIN})"
        if mistaken := self.hardly_told_from(costs, peoples, meant):
            return f"the motion drawn for it can hardly be told from another: {mistaken.replace('_', ' ')} ({AGAIN})"
        if other := miscount(text, shown, motion.joints):
            return f"the motion drawn for it {other} ({AGAIN})"
        return None if unlike < 1 else f"the motion drawn for it is unlike any known one ({AGAIN})"

    def costs(self, text: str, motion: Motion) -> tuple[dict, dict]:
        """How badly each kind and side fits a motion: by the procedural examples, and by real people's of what a text may mean."""
        peoples = motion_costs(motion.joints, self.people) if self.people else {}
        return motion_costs(motion.joints, self.examples), {
            (kind, side): cost for (kind, side), cost in peoples.items() if self.known.is_shown_by_people(kind, text)}

    def looks_like(self, costs: dict, peoples: dict, meant: frozenset[str]) -> tuple[str, float]:
        """The kind that a motion of these `costs` is most like, and how unlike that is: 1 where a motion is like none.

        Real people's examples are few and varied: a motion can be known by them as what is meant, never as something else.
        """
        nearest, _ = min(costs, key=costs.get)
        unlike = [(min(costs.values()) / UNLIKE / self.known.spread.get(nearest, 1), nearest)]
        unlike += [(cost / UNLIKE_PEOPLE, kind) for (kind, _), cost in peoples.items() if kind in meant]
        least, kind = min(unlike)
        return kind, least

    def hardly_told_from(self, costs: dict, peoples: dict, meant: frozenset[str]) -> str | None:
        """The other kind whose examples a motion of these `costs` is nearly as much like as those of what is meant, or None."""
        if least_of(peoples, meant, None, default=math.inf) < LIKE_PEOPLE * UNLIKE_PEOPLE:
            return None
        others = {kind: cost for (kind, _), cost in costs.items() if kind not in meant}
        nearest = min(others, key=others.get, default=None)
        return nearest if others and others[nearest] < SURELY * least_of(costs, meant, None, default=0.0) + CLEARLY else None

    @cached_property
    def examples(self) -> MotionBank:
        """The known motions' procedural examples, to compare others with."""
        return MotionBank.of((each.kind, each.side, each.joints) for each in self.known.examples if not each.real)

    @cached_property
    def people(self) -> MotionBank | None:
        """Those of real people, where there are any."""
        real = [(each.kind, each.side, each.joints) for each in self.known.examples if each.real]
        return MotionBank.of(real) if real else None


def least_of(costs: dict, kinds: frozenset[str], side: str | None, default: float) -> float:
    """How badly that example fits best which is of these kinds, and of this side where one is named."""
    return min((cost for (kind, done_with), cost in costs.items() if kind in kinds and (side is None or done_with in (side, None))),
               default=default)
