"""Products of a run beside its checkpoints: the curve, videos, predictions; and the figure of a dataset."""
