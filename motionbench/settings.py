"""Every setting of scripts/eval_motionbench.py."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from configs import setting
from motionbench.network_metrics import MetricWeights
from renderers import RENDERERS

SHORTEST_SECONDS = 1.0          # of a video
SYNTHETIC, REAL = "synthetic", "real"
FULL, GIVEN, FROM_FILES = "from_text", "given_motion", "videos"


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
    motions: str = setting("all", "all, or names separated by commas; see motionbench/cells.py")
    num_clips: int = setting(0, "clips for each variant, identities and motions alike often; 0: every pair")
    seconds: float = setting(2.4, "synthetic: of every video")
    variants: str = setting("from_text", "rows of the table, separated by commas; see motionbench/settings.py")
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
    bound: str = ""                 # not generated: see making.Clip.bound
    renderer: str = ""              # of renderers.RENDERERS; "": as the config says
    wording: int = 0                # which of a motion's wordings is the prompt

    @property
    def recipe(self) -> tuple:
        """All that decides the pixels."""
        return (self.name, self.given, self.alignment, self.adapter, self.refinement, self.bound, self.renderer,
                self.wording)

    @property
    def needs_truth(self) -> bool:
        """Can it only be made where the true video is known?"""
        return bool(self.bound) or self.given == "skeleton" or self.name == GIVEN

    @property
    def follows(self) -> bool:
        """Was its maker given the true motion, so that the video must show just that?"""
        return bool(self.bound or self.given)


def text_row(name: str, title: str, wording: int = 0) -> Variant:
    """A row that is given nothing but picture and prompt."""
    return Variant(name, title, "text to motion included: no video is the true one, so nothing is compared with it",
                   given="", compared=False, wording=wording)


def bound_row(name: str, title: str, note: str) -> Variant:
    """A row that no system makes."""
    return Variant(name, f"bound: {title}", note, bound=name)


VARIANTS = {variant.name: variant for variant in (
    text_row(FULL, "full pipeline, from the prompt"),
    text_row("from_text_2", "from the prompt, second wording", 1),
    text_row("from_text_3", "from the prompt, third wording", 2),
    Variant(GIVEN, "given the true motion", "the motion stage is exchanged for the clip's own true motion: measures "
            "rescaling, hands and rendering, not text to motion"),
    Variant("no_rescale", "no rescale", "given the true motion; the projected skeleton as it is, in its own place and "
            "size", alignment="none"),
    Variant("linear", "MimicMotion's linear alignment", "given the true motion; one scale and shift, fitted as published",
            alignment="published"),
    Variant("affine", "affine only", "given the true motion; scale and place of the clip as a whole, limbs as the driver's",
            alignment="affine"),
    Variant("no_adapter", "no adapter (handless)", "given the true motion; drawn poses without hands go to the video "
            "model", adapter=False),
    Variant("no_refinement", "no refinement", "given the true motion; the first pass is the result", refinement=False),
    Variant("true_skeleton", "given the true skeleton", "what the video model alone loses", given="skeleton"),
    *(Variant(name, f"{name}, given the true motion", "the same skeletons, drawn by this renderer", renderer=name,
              refinement=False) for name in RENDERERS),
    bound_row("truth", "the true video", "ceiling: what the measures say of the truth itself, after the same MP4 coding"),
    bound_row("frozen", "one true frame held", "the middle frame of the true video: a still picture must score nothing"),
    bound_row("reversed", "the true video backwards", "a motion that is the same backwards may pass"),
    bound_row("shuffled", "the true frames in any order", "no movement"),
    bound_row("half", "the first half, then frozen", "a motion that is over or repeated by then may pass"),
    bound_row("mirrored", "the true video mirrored", "motions with a side become the other one; others may pass"),
    bound_row("opposite", "the opposite side", "the person's own true video with the other hand, foot or direction; for "
              "motions without a side, another motion"),
    bound_row("repeat", "the picture repeated", "floor: nobody moves"),
    bound_row("other", "another motion's true video", "never the prompted one"),
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
    if edition == REAL and (wrong := [variant.name for variant in chosen if variant.needs_truth]):
        raise ValueError(f"variants: '{wrong[0]}' needs the truth, which edition=real has not: leave it out")
    if videos:
        return EXTERNAL, *(variant for variant in chosen if variant.bound)
    return tuple(chosen)
