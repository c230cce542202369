"""Sentences on recorded steps: what a reader, or a learner, had better mind about their values."""
