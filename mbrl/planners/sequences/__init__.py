"""Planners that decide several steps at a time: what a model says of the steps that they don't look at."""
