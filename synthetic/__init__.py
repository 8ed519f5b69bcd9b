"""Procedural people: motions, captions and pictures with exact ground truth, for training and testing every stage."""
