"""MusePose: a picture and pose frames -> a video, by Stable Diffusion 1.5 with a reference network and motion modules."""
