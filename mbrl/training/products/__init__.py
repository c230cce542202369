"""What a run leaves beside its checkpoints: the curve, videos, predictions."""
