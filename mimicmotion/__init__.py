"""Picture + pose frames → video: MimicMotion (arXiv 2406.19680) on Stable Video Diffusion. Frames, never joints."""
