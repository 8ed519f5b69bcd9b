"""MotionBench: phrasings no template knows, and the measures that say how well a made video fits its truth."""
