"""Every setting of scripts/eval_motionbench.py."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from configs import setting
from motionbench.network_metrics import MetricWeights

SHORTEST_SECONDS = 1.0
SYNTHETIC, REAL = "synthetic", "real"
FULL, FROM_FILES = "full", "videos"


@dataclass
class JudgeConfig:
    """who says which motion a video shows"""
    names: str = setting("pose", "judges separated by commas, the first is the headline: pose, clip, vlm")
    clip: str = setting("weights/metrics/xclip-base-patch32",
                        "clip: folder of a video-text model of transformers (X-CLIP)")
    base_url: str = setting("http://localhost:8000/v1", "vlm: address of an OpenAI-compatible server")
    model: str = setting("", "vlm: the served model's name")
    api_key_env: str = setting("", "vlm: environment variable that holds the key; empty: no key")
    timeout_seconds: float = setting(60.0, "vlm: longest wait for an answer, seconds")


@dataclass
class MotionBenchConfig:
    """A run of MotionBench."""
    edition: str = setting(SYNTHETIC, "synthetic: procedural people with true videos; real: your pictures",
                           (SYNTHETIC, REAL))
    inference: str = setting("configs/demo.yaml", "config of inference.py the videos are made and detected with")
    inference_keys: str = setting("", "further keys for it, as on its command line: 'refinements=2 device=cpu'")
    identities: str = setting("", "real: folder of pictures, each of one person from head to feet")
    videos: str = setting("", "measure this folder's <identity>__<motion>.mp4 instead of making videos; "
                              "see prompts.csv")
    num_identities: int = setting(20, "synthetic: people")
    motions: str = setting("all", "all, or names separated by commas; see motionbench/prompts.py")
    num_clips: int = setting(0, "clips for each variant, identities and motions alike often; 0: every pair")
    seconds: float = setting(2.4, "synthetic: of every video")
    variants: str = setting("full", "rows of the table, separated by commas; see motionbench/settings.py")
    seed: int = setting(0, "0 is the benchmark; others move to other people and other noise")
    set_draws: int = setting(100, "draws behind the interval of a measure of a whole set (FID, FVD); 0: no interval")
    num_worst: int = setting(10, "worst clips shown in the report")
    keep_models: bool = setting(False, "keep adapter and generator in memory side by side: faster where there is room")
    keep_stages: bool = setting(False, "keep every stage's files of every clip")
    name: str = setting("run", "the run's folder is <outputs>/<name>; the same name goes on where it stopped")
    outputs: str = setting("outputs/motionbench", "folder of all runs")
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    weights: MetricWeights = field(default_factory=MetricWeights,
                                   metadata={"help": "networks of the measures; without its file a measure is absent"})

    def __post_init__(self):
        for name, smallest in (("num_identities", 1), ("num_clips", 0), ("seconds", SHORTEST_SECONDS), ("seed", 0),
                               ("set_draws", 0), ("num_worst", 0)):
            if getattr(self, name) < smallest:
                raise ValueError(f"{name}: must be at least {smallest} (found {getattr(self, name)})")
        if not self.name or Path(self.name).name != self.name:
            raise ValueError(f"name: must be a plain folder name (found '{self.name}'): use outputs= for the place")
        if self.edition == REAL and not self.identities:
            raise ValueError("identities: edition=real needs a folder of pictures: identities=FOLDER")
        if self.edition == SYNTHETIC and self.identities:
            raise ValueError("identities: edition=synthetic makes its own people: use edition=real for your pictures")

    @property
    def folder(self) -> Path:
        """Where the run's files go."""
        return Path(self.outputs) / self.name


@dataclass(frozen=True)
class Variant:
    """How one row's videos are made."""

    name: str                       # folder of its clips, key in results.json
    title: str                      # what a reader sees
    note: str = ""                  # one line below the table
    given: str = "motion"           # what the synthetic edition hands over: the true "motion" or "skeleton", "": text
    alignment: str = ""             # skeleton to picture: "" as the config says, "published", "affine", "none"
    adapter: bool = True            # as the config says
    refinement: bool = True
    compared: bool = True           # with the true video, where there is one
    bound: str = ""                 # not generated: "truth", "repeat" (the picture), "other" (a random motion's truth)

    @property
    def recipe(self) -> tuple:
        """All that decides the pixels."""
        return self.name, self.given, self.alignment, self.adapter, self.refinement, self.bound

    @property
    def needs_truth(self) -> bool:
        """Can it only be made where the true video is known?"""
        return bool(self.bound) or self.given == "skeleton"


VARIANTS = {variant.name: variant for variant in (
    Variant(FULL, "full pipeline"),
    Variant("no_rescale", "no rescale", "the projected skeleton as it is, in its own place and size", alignment="none"),
    Variant("linear", "MimicMotion's linear alignment", "one scale and shift, fitted as published",
            alignment="published"),
    Variant("affine", "affine only", "scale and place of the clip as a whole, limbs as the driver's",
            alignment="affine"),
    Variant("no_adapter", "no adapter (handless)", "drawn poses without hands go to the video model", adapter=False),
    Variant("no_refinement", "no refinement", "the first pass is the result", refinement=False),
    Variant("from_text", "full, from the prompt alone", "text to motion included: no video is the true one, so nothing "
            "is compared with the truth", given="", compared=False),
    Variant("true_skeleton", "full, from the true skeleton", "what the video model alone loses", given="skeleton"),
    Variant("truth", "bound: the true video", "ceiling: what the measures say of the truth itself, after the same MP4 "
            "coding", bound="truth"),
    Variant("repeat", "bound: the picture repeated", "floor: nobody moves", bound="repeat"),
    Variant("other_motion", "bound: a random motion's truth", "chance: MotionScore must be 1 / motions",
            bound="other"),
)}
EXTERNAL = Variant(FROM_FILES, "the given videos", "made by another system", given="")


def chosen_variants(names: str, edition: str, videos: str) -> tuple[Variant, ...]:
    """Variants by name, separated by commas, as far as the edition has them; with `videos`, those and the bounds."""
    listed = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    unknown = [name for name in listed if name not in VARIANTS]
    if unknown or not listed:
        raise ValueError(f"variants: expected names separated by commas (found '{(unknown or [names])[0]}'): "
                         f"there are {', '.join(VARIANTS)}")
    chosen = [VARIANTS[name] for name in listed]
    if edition == REAL:
        if wrong := [variant.name for variant in chosen if variant.needs_truth]:
            raise ValueError(f"variants: '{wrong[0]}' needs the truth, which edition=real has not: leave it out")
        if "from_text" in listed and not videos:
            raise ValueError("variants: 'from_text' is what 'full' is in edition=real: leave it out")
    if videos:
        return EXTERNAL, *(variant for variant in chosen if variant.bound)
    return tuple(chosen)
