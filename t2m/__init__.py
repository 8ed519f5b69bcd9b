"""Text to 3D motion (T2M-GPT, Zhang et al. 2023), and 3D motion to 2D skeleton."""
