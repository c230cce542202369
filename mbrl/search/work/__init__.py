"""Running trials: the worker, the runs that it starts, and their processes."""
