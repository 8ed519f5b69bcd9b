"""What scripts/benchmark.py measures: ours and the published way of working, in one run."""
