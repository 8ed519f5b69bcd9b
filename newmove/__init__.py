"""Customised motion in text-to-video models (Customizing Motion in Text-to-Video Diffusion Models, arXiv 2312.04966)."""
