"""The UNet's deep features, kept over a few denoising steps (the idea of DeepCache, Ma et al. 2024, §3.2).

Deep blocks see a small picture and change slowly from one noise level to the next; in between, the outermost down and
up block run alone on the features of an earlier step. Not exact: what it costs is a measurement, per model and steps.
The demo weights, 12 steps: frames are 55 dB from exact with 2 and 49 dB with 3; half the steps, instead, are at 43 dB.
"""
from collections.abc import Hashable

from torch import Tensor


class FeatureCache:
    """Deep features per UNet call of a step. `every`: steps that share them; 1 keeps nothing."""

    def __init__(self, every: int):
        if every < 1:
            raise ValueError(f"feature_cache: expected 1 (no cache) or more steps (found {every})")
        self.every = every
        self.kept: dict[Hashable, Tensor] = {}
        self.age, self.calls = 0, None

    def next_step(self, calls: list[Hashable]) -> None:
        """Begin a step of these calls. All are worked out anew when old enough, or when the calls are not the same."""
        self.age += 1
        if self.age >= self.every or calls != self.calls:
            self.kept.clear()
            self.age, self.calls = 0, calls

    def get(self, call: Hashable) -> Tensor | None:
        """What an earlier step of this run kept for the call, (B*F, C, h, w)."""
        return self.kept.get(call)

    def put(self, call: Hashable, deep: Tensor) -> None:
        """Keep a call's deep features for the steps to come."""
        if self.every > 1:
            self.kept[call] = deep
