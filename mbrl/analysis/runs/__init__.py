"""Learning curves of runs, aggregates of their scores, and comparisons."""
