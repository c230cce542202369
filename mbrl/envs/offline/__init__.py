"""The task that a dataset was recorded in."""
