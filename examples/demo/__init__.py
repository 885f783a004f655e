"""The main job, run for real: `make demo`."""
