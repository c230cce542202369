"""Products of a run beside its checkpoints: the curve, videos, predictions."""
