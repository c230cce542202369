"""What happens beside the ticks of a run: checkpoints, metric lines, progress."""
