"""The whole suite in one run: `parts` says what runs side by side, `run` runs it, `summary` says what came of it."""
