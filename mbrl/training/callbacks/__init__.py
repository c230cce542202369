"""Callbacks, which work beside the ticks of a run: checkpoints, metric lines, progress."""
