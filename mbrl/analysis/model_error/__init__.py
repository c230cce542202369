"""Analyses of a model's error: one per file, its result beside it."""
