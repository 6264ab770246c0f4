"""Scores of pictures: of a run's own held-out pairs, of several methods side by side; their tables,
intervals and figures."""
