"""Hyperparameter search over the YAML of `mbrl fit`.

Nothing is imported here: a worker that needs no sampler doesn't wait for one.
"""
