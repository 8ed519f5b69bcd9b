"""One training loop for every learnt part: tasks, checkpoints, exact resume."""
