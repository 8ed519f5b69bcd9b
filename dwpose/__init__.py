"""Whole-body poses: the `Skeleton` type, the detector that finds one in frames, and the brush that draws it."""
