"""The photograph cut into moving layers: matting, limbs, hidden surfaces, background."""
