"""The rows of the report: the whole pipeline, the pipeline with a stage taken out, and the bounds nothing can leave."""

from __future__ import annotations

from dataclasses import dataclass

SYNTHETIC, REAL = "synthetic", "real"
FULL, FROM_FILES = "full", "videos"


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
